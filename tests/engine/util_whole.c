#include "tests/engine/util_whole.h"

#include "engine/base/mem.h"
#include "engine/forkcast.h"
#include "engine/model_tok.h"

int32_t *prompt_ids(const char *model, const char *text, int *n) {
    fc_tokenizer *t;
    int32_t *ids;
    size_t count;
    assert_ok(fc_tokenizer_open(model, &t));
    assert_ok(fc_tokenizer_encode(t, text, strlen(text), true, false, &ids, &count));
    fc_tokenizer_close(t);
    *n = (int)count;
    return ids;
}

/* Log-softmax over the children's logits, in place. */
static void normalise(double *x, int n) {
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++) most = fmax(most, x[i]);
    for (int i = 0; i < n; i++) sum += exp(x[i] - most);
    for (int i = 0; i < n; i++) x[i] -= most + log(sum);
}

static void rank_all(whole *w) {
    for (int i = 0; i < w->n; i++) {
        int at = i;
        w->logprob[i] = 0;
        for (int32_t x = w->trie->leaf[i]; x > 0; x = w->trie->parent[x]) w->logprob[i] += w->edge[x];
        for (; at > 0 && w->logprob[w->order[at - 1]] < w->logprob[i]; at--) w->order[at] = w->order[at - 1];
        w->order[at] = i;
    }
}

static void *room(size_t n, size_t size) {
    void *p = calloc(n, size);
    assert_non_null(p);
    return p;
}

void whole_init(whole *w, const char *model, const char *adapter, const char *prompt, const char *const *names, int n) {
    fc_weights *weights;
    fc_probe *p;
    int n_prompt, V;
    int32_t *ids = prompt_ids(model, prompt, &n_prompt), *path;
    float *logits;
    assert_ok(fc_weights_open(model, &weights));
    assert_ok(fc_model_tok_open(weights, &w->tok));
    assert_ok(fc_trie_open(w->tok, names, NULL, (size_t)n, prompt + strlen(prompt) - 1, 1,
                           fc_weights_config(weights)->eos[0], &w->trie));
    V = fc_weights_config(weights)->V;
    w->n = n;
    w->edge = room((size_t)w->trie->n_nodes, sizeof *w->edge);
    w->logprob = room((size_t)n, sizeof *w->logprob);
    w->order = room((size_t)n, sizeof *w->order);
    path = room((size_t)(n_prompt + w->trie->max_depth), sizeof *path);
    logits = room((size_t)(n_prompt + w->trie->max_depth) * (size_t)V, sizeof *logits);
    memcpy(path, ids, (size_t)n_prompt * sizeof *path);
    assert_ok(fc_probe_open(model, &(fc_probe_options){.adapter = adapter, .threads = 1}, &p));
    for (int32_t x = 0; x < w->trie->n_nodes; x++) {
        int32_t first = w->trie->first_child[x];
        int len = n_prompt + fc_trie_path(w->trie, x, path + n_prompt), k = w->trie->n_children[x];
        if (k == 0) continue;
        assert_ok(fc_probe_logits(p, path, len, logits));
        for (int i = 0; i < k; i++)
            w->edge[first + i] = (double)logits[(size_t)(len - 1) * (size_t)V + (size_t)w->trie->token[first + i]];
        normalise(w->edge + first, k);
    }
    fc_probe_close(p);
    fc_weights_close(weights);
    fc_memory_free(ids);
    free(logits);
    free(path);
    rank_all(w);
}

void whole_fini(whole *w) {
    free(w->order);
    free(w->logprob);
    free(w->edge);
    fc_trie_close(w->trie);
    fc_tok_close(w->tok);
}

void whole_temper(whole *w, double temperature) {
    for (int32_t x = 1; x < w->trie->n_nodes; x++) w->edge[x] /= temperature;
    for (int32_t x = 0; x < w->trie->n_nodes; x++)
        if (w->trie->n_children[x]) normalise(w->edge + w->trie->first_child[x], w->trie->n_children[x]);
    rank_all(w);
}

int whole_fed(const whole *w) {
    const fc_trie *t = w->trie;
    int fed = 0;
    bool *below = room((size_t)t->n_nodes, sizeof *below); /* a node that branches, here or further down */
    for (int32_t x = t->n_nodes - 1; x > 0; x--) {
        below[x] = below[x] || t->n_children[x] > 1;
        if (below[x]) below[t->parent[x]] = true;
        fed += below[x];
    }
    free(below);
    return fed;
}
