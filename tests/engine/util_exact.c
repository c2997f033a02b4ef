#include "tests/engine/util_exact.h"

#include "engine/model_tok.h"
#include "tests/kernels/util_stats.h"

/* ---- the trie's edges ---- */

static double log_sum(const float *logit, int n) {
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++) most = fmax(most, (double)logit[i]);
    for (int i = 0; i < n; i++) sum += exp((double)logit[i] - most);
    return most + log(sum);
}

/* Children of a node, from the row of logits behind it. */
static void read_node(exact *x, int node, const float *row) {
    int first = x->trie->first_child[node], n = x->trie->n_children[node];
    double listed, whole = log_sum(row, x->V);
    for (int i = first; i < first + n; i++) x->logit[i] = row[x->trie->token[i]];
    listed = log_sum(x->logit + first, n);
    x->mass[node] = listed - whole;
    for (int i = first; i < first + n; i++) {
        x->masked[i] = (double)x->logit[i] - listed;
        x->full[i] = (double)x->logit[i] - whole;
    }
}

static const float *row_behind(exact *x, int n_drawn) {
    assert_ok(fc_probe_logits(x->probe, x->ids, x->n_prompt + n_drawn, x->rows));
    return x->rows + (size_t)(x->n_prompt + n_drawn - 1) * (size_t)x->V;
}

void exact_open(exact *x, const char *model, const char *prompt, const char *const *names, int n) {
    size_t count = 0, cap = 0, size = strlen(prompt);
    int32_t *ids = NULL;
    memset(x, 0, sizeof *x);
    x->names = names;
    x->n = n;
    assert_ok(fc_weights_open(model, &x->weights));
    assert_ok(fc_model_tok_open(x->weights, &x->tok));
    assert_ok(fc_probe_open(model, &(fc_probe_options){.threads = 2, .ctx = EXACT_CTX}, &x->probe));
    x->V = fc_probe_config(x->probe)->V;
    assert_ok(fc_tok_encode(x->tok, prompt, size, 0, &ids, &count, &cap));
    memcpy(x->ids, ids, count * sizeof *ids);
    x->n_prompt = (int)count;
    free(ids);
    assert_ok(fc_trie_open(x->tok, names, NULL, (size_t)n, prompt + size - 1, 1, fc_tok_eos(x->tok), &x->trie));
    assert_true(x->n_prompt + x->trie->max_depth <= EXACT_CTX);
    size = (size_t)x->trie->n_nodes;
    x->rows = malloc(sizeof *x->rows * EXACT_CTX * (size_t)x->V);
    x->logit = calloc(size, sizeof *x->logit);
    x->masked = calloc(size, sizeof *x->masked);
    x->full = calloc(size, sizeof *x->full);
    x->mass = calloc(size, sizeof *x->mass);
    assert_true(x->rows && x->logit && x->masked && x->full && x->mass);
    for (int i = 0; i < n; i++) {
        int node = x->trie->leaf[i], depth = fc_trie_path(x->trie, node, x->ids + x->n_prompt);
        row_behind(x, depth - 1);
        for (int d = depth - 1; d >= 0; d--) {
            node = x->trie->parent[node];
            read_node(x, node, x->rows + (size_t)(x->n_prompt + d - 1) * (size_t)x->V);
        }
    }
}

void exact_close(exact *x) {
    free(x->mass);
    free(x->full);
    free(x->masked);
    free(x->logit);
    free(x->rows);
    fc_trie_close(x->trie);
    fc_probe_close(x->probe);
    fc_tok_close(x->tok);
    fc_weights_close(x->weights);
    memset(x, 0, sizeof *x);
}

/* ---- draw.h's rules, in double ---- */

/* p [n] of ids that rise, from their logits. */
static void settle(const fc_sampling *s, const int32_t *ids, const float *logit, int n, double *p) {
    double *l = malloc(sizeof *l * (size_t)n), total = 0, run = 0;
    int *order = malloc(sizeof *order * (size_t)n), keep = n;
    assert_true(l && order);
    for (int i = 0; i < n; i++) {
        int at = i;
        l[i] = (double)logit[i];
        for (size_t b = 0; b < s->n_bias; b++)
            if (s->bias_ids[b] == ids[i]) l[i] += (double)s->bias_values[b];
        l[i] /= (double)s->temperature;
        for (; at > 0 && l[order[at - 1]] < l[i]; at--) order[at] = order[at - 1]; /* falling, ties by id */
        order[at] = i;
        p[i] = 0;
    }
    if (s->top_k && s->top_k < keep) keep = s->top_k;
    for (int i = 0; i < keep; i++) total += exp(l[order[i]] - l[order[0]]);
    for (int i = 0; i < keep; i++) {
        p[order[i]] = exp(l[order[i]] - l[order[0]]);
        if (p[order[i]] < (double)s->min_p) p[order[i]] = 0;
        run += exp(l[order[i]] - l[order[0]]);
        if (s->top_p < 1.0f && run >= (double)s->top_p * total) break;
    }
    total = 0;
    for (int i = 0; i < n; i++) total += p[i];
    for (int i = 0; i < n; i++) p[i] /= total;
    free(order);
    free(l);
}

void exact_mask(const exact *x, const fc_sampling *s, double *p) {
    const fc_trie *t = x->trie;
    double *edge = malloc(sizeof *edge * (size_t)t->n_nodes);
    assert_non_null(edge);
    for (int i = 0; i < t->n_nodes; i++)
        if (t->n_children[i])
            settle(s, t->token + t->first_child[i], x->logit + t->first_child[i], t->n_children[i],
                   edge + t->first_child[i]);
    for (int i = 0; i < x->n; i++) {
        p[i] = 1;
        for (int node = t->leaf[i]; node > 0; node = t->parent[node]) p[i] *= edge[node];
    }
    free(edge);
}

/* ---- free draws ---- */

typedef struct {
    exact *x;
    const fc_sampling *s;
    const int32_t *all; /* [V] every id */
    double *p;
} freely;

static void finish(const freely *f, const fc_str *text, double p) {
    for (int i = 0; i < f->x->n; i++)
        if (strlen(f->x->names[i]) == text->size && memcmp(f->x->names[i], fc_str_text(text), text->size) == 0)
            f->p[i] += p;
}

static bool begins_a_name(const exact *x, const fc_str *text) {
    for (int i = 0; i < x->n; i++)
        if (strncmp(x->names[i], fc_str_text(text), text->size) == 0) return true;
    return false;
}

static bool is_end(const exact *x, int32_t id) {
    const fc_model_config *c = fc_probe_config(x->probe);
    for (int i = 0; i < c->n_eos; i++)
        if (c->eos[i] == id) return true;
    return false;
}

/* All that may follow n ids of this text, as far as a name can come of it. */
static void follow(const freely *f, int n, fc_str *text, double p) {
    exact *x = f->x;
    double *q = malloc(sizeof *q * (size_t)x->V);
    size_t size = text->size;
    assert_non_null(q);
    settle(f->s, f->all, row_behind(x, n), x->V, q);
    for (int32_t id = 0; id < x->V; id++) {
        if (q[id] == 0) continue;
        if (is_end(x, id)) {
            finish(f, text, p * q[id]);
            continue;
        }
        assert_ok(fc_tok_piece(x->tok, id, false, text));
        x->ids[x->n_prompt + n] = id;
        if (n + 1 == f->s->max_tokens) finish(f, text, p * q[id]);
        else if (text->size == 0 || begins_a_name(x, text)) follow(f, n + 1, text, p * q[id]);
        text->size = size;
    }
    free(q);
}

double exact_free(exact *x, const fc_sampling *s, double *p) {
    int32_t *all = malloc(sizeof *all * (size_t)x->V);
    freely f = {.x = x, .s = s, .all = all, .p = p};
    fc_str text = {0};
    double sum = 0;
    assert_non_null(all);
    for (int i = 0; i < x->V; i++) all[i] = i;
    for (int i = 0; i < x->n; i++) p[i] = 0;
    follow(&f, 0, &text, 1.0);
    for (int i = 0; i < x->n; i++) sum += p[i];
    fc_str_fini(&text);
    free(all);
    return sum;
}

void exact_few_ids(const exact *x, exact_bias *b, fc_sampling *s) {
    static const struct {
        const char *text;
        float value; /* for tiny_model("llama", 31, false) */
    } left[] = {{"e", 3.5f}, {"r", 2.0f}, {"er", 2.0f}};
    assert_true(x->V <= 1024);
    for (int32_t id = 0; id < x->V; id++) {
        b->ids[id] = id;
        b->values[id] = id == fc_tok_eos(x->tok) ? -2.0f : -INFINITY;
    }
    for (int i = 0; i < 3; i++) {
        int32_t id = fc_tok_find(x->tok, left[i].text);
        assert_true(id >= 0);
        b->values[id] = left[i].value;
    }
    s->bias_ids = b->ids;
    s->bias_values = b->values;
    s->n_bias = (size_t)x->V;
    s->temperature = 2.0f;
}

/* ---- sums and tests ---- */

static double sum_up(const exact *x, int node, const double *of) {
    double sum = 0;
    for (; node > 0; node = x->trie->parent[node]) sum += of[node];
    return sum;
}

double exact_logprob(const exact *x, int name) { return sum_up(x, x->trie->leaf[name], x->masked); }
double exact_full_logprob(const exact *x, int name) { return sum_up(x, x->trie->leaf[name], x->full); }

double exact_log_mass(const exact *x, int name) {
    return sum_up(x, x->trie->leaf[name], x->mass) + x->mass[0]; /* the root's too; the leaf's is 0 */
}

int exact_name(const exact *x, const fc_candidate *c) {
    for (int i = 0; i < x->n; i++)
        if (strlen(x->names[i]) == c->text_size && memcmp(x->names[i], c->text, c->text_size) == 0) return i;
    return -1;
}

double exact_chi2(const exact *x, const char *what, const int32_t *names, int n, const double *p) {
    int32_t *drawn = malloc(sizeof *drawn * (size_t)n);
    double *q = malloc(sizeof *q * (size_t)x->n), total = 0, value;
    int m = 0, cells;
    assert_true(drawn && q);
    for (int i = 0; i < x->n; i++) total += p[i];
    for (int i = 0; i < x->n; i++) q[i] = p[i] / total;
    for (int i = 0; i < n; i++)
        if (names[i] >= 0) drawn[m++] = names[i];
    value = stats_chi2(drawn, m, q, x->n, &cells);
    print_message("%-36s %6d draws of %d names, %d cells: p = %.4f\n", what, m, x->n, cells, value);
    assert_true(cells >= 5);
    free(q);
    free(drawn);
    return value;
}
