#include "engine/app/bulk/plan.h"

#include "engine/base/hash.h"
#include "engine/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plan_prompt {
    const char *key;
    fc_holes holes;
};

/* ---- histories ---- */

static int by_bytes(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* How many ways there are to choose the k names that still miss, of n; sets: of those that may follow. */
static int64_t ways(const plan_shape *s, int64_t n, int k) {
    int64_t out = 1;
    for (int i = 0; i < k; i++) {
        if (s->set) out = out * (s->self ? n + i : n - i) / (i + 1); /* a product of i + 1 neighbours */
        else out *= s->self ? n : n - i;
        if (out <= 0) return 0;
    }
    return out;
}

fc_status plan_histories(plan *p, const char *const *names, size_t n, const plan_shape *shape) {
    enum { NAMES_MAX = 1 << 20 }; /* its third power fits in 63 bits */
    void *mem;
    fc_arena_init(&p->arena);
    p->shape = *shape;
    if (!n)
        return FC_FAIL(FC_ERR_ARG,
                       "bulk: histories need a taxonomy, of the recipe or by --taxonomy; or give --prompts");
    if (n > NAMES_MAX) return FC_FAIL(FC_ERR_ARG, "bulk: a taxonomy of %zu names; at most %d", n, NAMES_MAX);
    FC_TRY(fc_alloc(n, sizeof *p->names, "plan", &mem));
    p->names = mem;
    memcpy(p->names, names, n * sizeof *names);
    p->n_names = n;
    qsort(p->names, n, sizeof *p->names, by_bytes);
    p->total = p->end = ways(shape, (int64_t)n, shape->clusters);
    if (!p->total)
        return FC_FAIL(FC_ERR_ARG, "bulk: %d different names are needed for a history, and the taxonomy has %zu",
                       shape->clusters, n);
    return FC_OK;
}

/* Which names the i-th history has: at each place the candidates are gone through, each with as many histories as the
 * places behind it can be filled in. */
static void choose(const plan *p, int64_t i, size_t *at) {
    const plan_shape *s = &p->shape;
    const int64_t n = (int64_t)p->n_names;
    for (int k = 0; k < s->clusters; k++) {
        const int rest = s->clusters - k - 1;
        size_t c = s->set && k ? at[k - 1] + !s->self : 0;
        if (!s->set && s->self) {
            const int64_t each = ways(s, n, rest);
            at[k] = (size_t)(i / each);
            i %= each;
            continue;
        }
        for (;; c++) {
            bool used = false;
            int64_t each;
            for (int j = 0; j < k && !s->set; j++) used = used || at[j] == c;
            if (used) continue;
            each = s->set ? ways(s, n - (int64_t)c - !s->self, rest) : ways(s, n - k - 1, rest);
            if (i < each) break;
            i -= each;
        }
        at[k] = c;
    }
}

/* ---- prompts ---- */

static fc_status copy(plan *p, const char *text, const char **out) {
    void *mem;
    FC_TRY(fc_arena_alloc(&p->arena, strlen(text) + 1, 1, &mem));
    *out = memcpy(mem, text, strlen(text) + 1);
    return FC_OK;
}

static fc_status read_history(plan *p, const fc_json *list, fc_holes *out) {
    const char **names;
    void *mem;
    if (fc_json_kind(list) != FC_JSON_ARRAY || !fc_json_count(list))
        return fc_json_fail(list, FC_ERR_FORMAT, "a list of names is expected");
    FC_TRY(fc_arena_alloc(&p->arena, fc_json_count(list), sizeof *names, &mem));
    names = mem;
    out->history = names;
    for (const fc_json *k = fc_json_first(list); k; k = fc_json_next(k)) {
        const char *name;
        FC_TRY(fc_json_string(k, &name));
        FC_TRY(copy(p, name, &names[out->n_history++]));
    }
    return FC_OK;
}

static fc_status read_prompt(plan *p, const fc_json *root, struct plan_prompt *out) {
    const fc_json *history = fc_json_get(root, "history");
    const char *text;
    fc_str_clear(&p->key);
    FC_TRY(lines_key(root, false, &p->key));
    FC_TRY(copy(p, fc_str_text(&p->key), &out->key));
    if (fc_json_get(root, "prompt")) {
        FC_TRY(lines_text(root, "prompt", &text));
        FC_TRY(copy(p, text, &out->holes.prompt));
    }
    if (fc_json_get(root, "retrieved")) {
        FC_TRY(lines_text(root, "retrieved", &text));
        FC_TRY(copy(p, text, &out->holes.retrieved));
    }
    if (history) FC_TRY(read_history(p, history, &out->holes));
    if (!out->holes.prompt && !history) return fc_json_fail(root, FC_ERR_FORMAT, "neither prompt nor history is there");
    return FC_OK;
}

static fc_status read_all(plan *p, lines *l) {
    static const char *const known[] = {"key", "prompt", "history", "retrieved", NULL};
    void *items = NULL;
    size_t cap = 0, n = 0;
    fc_status st = FC_OK;
    while (!st) {
        const fc_json *root;
        st = lines_next(l, known, &root);
        if (st || !root) break;
        st = fc_grow(&items, &cap, n + 1, sizeof *p->items, "prompts");
        if (!st) st = read_prompt(p, root, (struct plan_prompt *)items + n++);
    }
    p->items = items;
    p->total = p->end = (int64_t)n;
    return st;
}

static int by_key(const void *a, const void *b) {
    const struct plan_prompt *x = a, *y = b;
    return strcmp(x->key, y->key);
}

/* Prompts before histories, each in the order of their bytes; then keys, so that the order is one. */
static int by_text(const void *a, const void *b) {
    const struct plan_prompt *x = a, *y = b;
    const fc_holes *h = &x->holes, *g = &y->holes;
    int c = !h->prompt - !g->prompt;
    if (!c && h->prompt) c = strcmp(h->prompt, g->prompt);
    for (size_t i = 0; !c && i < h->n_history && i < g->n_history; i++) c = strcmp(h->history[i], g->history[i]);
    if (!c && h->n_history != g->n_history) c = h->n_history < g->n_history ? -1 : 1;
    return c ? c : by_key(a, b);
}

static uint64_t put_text(uint64_t h, const char *text) {
    return text ? fc_siphash(h, 1, text, strlen(text)) : fc_siphash(h, 0, "", 0);
}

static uint64_t put_texts(uint64_t h, const fc_holes *holes) {
    h = put_text(put_text(h, holes->prompt), holes->retrieved);
    for (size_t i = 0; i < holes->n_history; i++) h = put_text(h, holes->history[i]);
    return fc_siphash(h, holes->n_history, "", 0);
}

static fc_status sort_prompts(plan *p, const char *path) {
    const size_t n = (size_t)p->total;
    if (!n) return FC_FAIL(FC_ERR_FORMAT, "%s: no prompts", path);
    qsort(p->items, n, sizeof *p->items, by_key);
    for (size_t i = 0; i < n; i++) {
        if (i && strcmp(p->items[i - 1].key, p->items[i].key) == 0)
            return FC_FAIL(FC_ERR_FORMAT, "%s: key \"%.200s\" is there twice", path, p->items[i].key);
        p->fingerprint = fc_siphash(p->fingerprint, i, p->items[i].key, strlen(p->items[i].key));
        p->texts = put_texts(p->texts, &p->items[i].holes);
    }
    qsort(p->items, n, sizeof *p->items, by_text);
    return FC_OK;
}

fc_status plan_prompts(plan *p, const char *path) {
    lines l = {0};
    fc_status st;
    fc_arena_init(&p->arena);
    st = lines_open(&l, path);
    if (!st) st = read_all(p, &l);
    lines_close(&l);
    return st ? st : sort_prompts(p, path);
}

void plan_close(plan *p) {
    fc_free(p->items);
    fc_free(p->names);
    fc_arena_fini(&p->arena);
    fc_str_fini(&p->key);
}

/* ---- both ---- */

fc_status plan_shard(plan *p, const char *text) {
    int i, n, read = 0;
    if (sscanf(text, "%d/%d%n", &i, &n, &read) != 2 || text[read] || n < 1 || i < 1 || i > n)
        return FC_FAIL(FC_ERR_ARG, "--shard: \"%.40s\" is not I/N with 1 <= I <= N", text);
    if (n > p->total) return FC_FAIL(FC_ERR_ARG, "--shard: %d shards, and %lld keys", n, (long long)p->total);
    /* the first total % n shards have one more: no product that could overflow */
    p->first = p->total / n * (i - 1) + (p->total % n < i - 1 ? p->total % n : i - 1);
    p->end = p->first + p->total / n + (i <= p->total % n);
    return FC_OK;
}

fc_status plan_at(plan *p, int64_t i, plan_item *out) {
    size_t at[PLAN_CLUSTERS_MAX];
    FC_ASSERT(i >= 0 && i < p->total);
    if (!p->names) {
        *out = (plan_item){.key = p->items[i].key, .holes = p->items[i].holes};
        return FC_OK;
    }
    choose(p, i, at);
    for (int k = 0; k < p->shape.clusters; k++) p->chosen[k] = p->names[at[k]];
    fc_str_clear(&p->key);
    FC_TRY(fc_table_key(p->chosen, (size_t)p->shape.clusters, false, &p->key)); /* a set's are in order already */
    *out = (plan_item){.key = fc_str_text(&p->key),
                       .holes = {.history = p->chosen, .n_history = (size_t)p->shape.clusters}};
    return FC_OK;
}

fc_status plan_describe(const plan *p, fc_str *out) {
    if (!p->names)
        return fc_str_printf(out, "{\"kind\":\"prompts\",\"order\":\"ordered\",\"fingerprint\":\"%016llx\"}",
                             (unsigned long long)p->fingerprint);
    return fc_str_printf(out, "{\"kind\":\"histories\",\"clusters\":%d,\"order\":\"%s\",\"self\":%s}",
                         p->shape.clusters, p->shape.set ? "set" : "ordered", p->shape.self ? "true" : "false");
}
