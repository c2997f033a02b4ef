#include "tests/engine/util_trie.h"

enum { END = 7 };

/* Breadth first, as nodes stand: a node's children are decided when it is its turn. */
fc_trie *trie_random(uint64_t *rng, int names) {
    enum { FIELDS = 6 };
    fc_trie *t = calloc(1, sizeof *t + (FIELDS + 1) * TRIE_NODES * sizeof(int32_t));
    int32_t *f = (int32_t *)(t + 1), *token = f, *first = f + TRIE_NODES, *n = f + 2 * TRIE_NODES;
    int32_t *parent = f + 3 * TRIE_NODES, *depth = f + 4 * TRIE_NODES, *name = f + 5 * TRIE_NODES;
    int32_t *leaf = f + 6 * TRIE_NODES, count = 1, open = 1; /* open: names that exist or must come of nodes waiting */
    assert_non_null(t);
    assert_in_range(names, 1, TRIE_NODES / (TRIE_DEPTH + 1) - 1);
    token[0] = parent[0] = -1;
    for (int32_t i = 0; i < count; i++) {
        int32_t id = test_below(rng, 3), more = test_below(rng, 3) ? 1 + test_below(rng, 4) : 1;
        bool ends = depth[i] > 0 && (depth[i] == TRIE_DEPTH - 1 || test_below(rng, 3) == 0);
        name[i] = first[i] = -1;
        if (i > 0 && token[i] == END) {
            name[i] = t->n_names;
            leaf[t->n_names++] = i;
            continue;
        }
        if (depth[i] == TRIE_DEPTH - 1) more = 1;
        if (more > names - open + 1) more = names - open + 1;
        if (i == 0 && names > 1 && more < 2) more = 2;
        open += more - 1;
        first[i] = count;
        for (int32_t k = 0; k < more; k++, count++) { /* rising ids; END among them, or alone, where the name may end */
            bool last = k == more - 1;
            if (ends && (id >= END || last)) {
                id = END;
                ends = false;
            } else if (id == END) {
                id++;
            }
            assert_true(count < TRIE_NODES);
            token[count] = id;
            parent[count] = i;
            depth[count] = depth[i] + 1;
            if (depth[count] > t->max_depth) t->max_depth = depth[count];
            id += 1 + test_below(rng, 3);
            if (ends && id > END) id = END;
        }
        n[i] = count - first[i];
        if (n[i] > t->max_children) t->max_children = n[i];
    }
    for (int32_t i = t->n_names; i-- > 1;) { /* names are in no order */
        int32_t k = test_below(rng, i + 1), x = leaf[i];
        leaf[i] = leaf[k];
        leaf[k] = x;
    }
    for (int32_t i = 0; i < t->n_names; i++) name[leaf[i]] = i;
    t->n_nodes = count;
    t->end = END;
    t->token = token;
    t->first_child = first;
    t->n_children = n;
    t->parent = parent;
    t->depth = depth;
    t->name = name;
    t->leaf = leaf;
    assert_ok(fc_trie_check(t));
    return t;
}

float *trie_model_random(const fc_trie *t, uint64_t *rng, trie_model kind) {
    float *lp = calloc((size_t)t->n_nodes, sizeof *lp);
    assert_non_null(lp);
    for (int32_t i = 0; i < t->n_nodes; i++) {
        int32_t first = t->first_child[i], n = t->n_children[i];
        double w[8], sum = 0.0;
        assert_in_range(n, 0, 8);
        for (int32_t k = 0; k < n; k++) {
            w[k] = kind == MODEL_SMOOTH ? exp(1.5 * (double)test_normal(rng)) : 1.0;
            if (kind == MODEL_SMOOTH && k > 0 && test_below(rng, 12) == 0) w[k] = 0.0;
            if (kind == MODEL_TIES) w[k] = ldexp(1.0, -test_below(rng, 3)) * (test_below(rng, 12) ? 1.0 : 0.0);
            sum += w[k];
        }
        for (int32_t k = 0; k < n; k++) {
            if (kind == MODEL_TIES) lp[first + k] = (float)log(w[k]); /* a sum above 1 does no harm to ties */
            else lp[first + k] = (float)log(w[k] / sum);
            if (n == 1) lp[first + k] = 0.0f;
        }
    }
    return lp;
}
