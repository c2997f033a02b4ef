#include "tests/engine/util_tree.h"

void tree_grow(tree *t, int n, int run, int V, uint64_t *seed) {
    assert_true(n >= 1 && n <= TREE_NODES);
    t->n = n;
    for (int i = 0; i < n; i++) {
        int p = i - 1;
        if (test_below(seed, 10) >= run) /* off some ancestor of the node before, or a new child of the prompt */
            for (int up = 1 + test_below(seed, i + 1); up > 0 && p >= 0; up--) p = t->parent[p];
        t->parent[i] = p;
        t->depth[i] = p < 0 ? 0 : t->depth[p] + 1;
        t->id[i] = test_below(seed, V);
    }
}

int tree_place(tree *t, fc_kv *kv, bool shuffled, uint64_t *seed) {
    int P = fc_kv_store(kv)->shape.P, table;
    const int32_t *pages;
    assert_ok(fc_kv_table_open(kv, &table));
    assert_ok(fc_kv_append(kv, table, t->n));
    pages = fc_kv_pages(kv, table);
    for (int i = 0; i < t->n; i++) {
        int j = shuffled ? test_below(seed, i + 1) : i;
        t->slot[i] = t->slot[j];
        t->slot[j] = pages[i / P] * P + i % P;
    }
    return table;
}

int tree_chain_end(const tree *t, int i) {
    for (i++; i < t->n && t->parent[i] == i - 1;) i++;
    return i;
}

bool tree_is_leaf(const tree *t, int i) { return i + 1 == t->n || t->parent[i + 1] != i; }

void tree_path(const tree *t, int i, int *path) {
    for (; i >= 0; i = t->parent[i]) path[t->depth[i]] = i;
}

int tree_add_chain(const tree *t, fc_batch *b, int i, int end) {
    int path[TREE_NODES];
    int32_t ancestors[TREE_NODES];
    tree_path(t, i, path);
    for (int d = 0; d < t->depth[i]; d++) ancestors[d] = t->slot[path[d]];
    assert_true(fc_batch_fits_chain(b, t->base, t->base + t->depth[i], end - i));
    return fc_batch_add_chain(b, &(fc_batch_chain){.table = t->table,
                                                   .base = t->base,
                                                   .first = t->base + t->depth[i],
                                                   .ancestors = t->depth[i] ? ancestors : NULL,
                                                   .ids = t->id + i,
                                                   .slot = t->slot + i,
                                                   .n = end - i});
}
