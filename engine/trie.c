#include "engine/trie.h"

#include "engine/base/mem.h"
#include "engine/follow.h"

#include <stdlib.h>
#include <string.h>

/* ids of one name, end included */
typedef struct {
    const int32_t *ids;
    size_t at; /* of builder.ids, while that may still move */
    int32_t n, name;
} path;

typedef struct {
    fc_follow *follow;
    int32_t *ids; /* [n_ids] of all paths */
    size_t n_ids, cap_ids;
    path *paths; /* [n] */
    size_t n;
    int32_t end;
} builder;

static int quoted(size_t size) { return size < 60 ? (int)size : 60; }

static fc_status add_name(builder *b, size_t i, const char *name, size_t size) {
    const int32_t *ids = NULL;
    size_t n = 0;
    void *p = b->ids;
    if (size == 0) return FC_FAIL(FC_ERR_ARG, "trie: name %zu is empty", i);
    FC_TRY(fc_follow_ids(b->follow, name, size, &ids, &n));
    if (n == 0)
        return FC_FAIL(FC_ERR_ARG, "trie: the tokenizer has no ids for name %zu, \"%.*s\"", i, quoted(size), name);
    for (size_t k = 0; k < n; k++)
        if (ids[k] == b->end)
            return FC_FAIL(FC_ERR_ARG, "trie: name %zu, \"%.*s\", holds the end token, id %d", i, quoted(size), name,
                           b->end);
    if (n >= (size_t)INT32_MAX - 1 - b->n_ids)
        return FC_FAIL(FC_ERR_ARG, "trie: more than %d ids in %zu names", INT32_MAX, i);
    FC_TRY(fc_grow(&p, &b->cap_ids, b->n_ids + n + 1, sizeof *ids, "trie paths"));
    b->ids = p;
    memcpy(b->ids + b->n_ids, ids, n * sizeof *ids);
    b->ids[b->n_ids + n] = b->end;
    b->paths[i] = (path){.at = b->n_ids, .n = (int32_t)n + 1, .name = (int32_t)i};
    b->n_ids += n + 1;
    return FC_OK;
}

/* ---- paths to nodes -------------------------------------------------------------------------------------- */

static int32_t shared(const path *a, const path *b) {
    int32_t n = 0;
    while (n < a->n && n < b->n && a->ids[n] == b->ids[n]) n++;
    return n;
}

/* No path begins another, as each ends with an id that none holds inside. */
static int by_ids(const void *x, const void *y) {
    const path *a = x, *b = y;
    int32_t n = shared(a, b);
    if (n == a->n) return (a->name > b->name) - (a->name < b->name);
    return a->ids[n] < b->ids[n] ? -1 : 1;
}

/* Sorts the paths; *n_nodes: edges that are not the path's before it, and the root. */
static fc_status sort_paths(builder *b, const char *const *names, const size_t *sizes, size_t *n_nodes) {
    *n_nodes = 1;
    for (size_t i = 0; i < b->n; i++) b->paths[i].ids = b->ids + b->paths[i].at;
    qsort(b->paths, b->n, sizeof *b->paths, by_ids);
    for (size_t i = 0; i < b->n; i++) {
        const path *p = &b->paths[i];
        int32_t same = i ? shared(p - 1, p) : 0;
        if (same == p->n) {
            int32_t x = p[-1].name, y = p->name;
            return FC_FAIL(FC_ERR_ARG, "trie: names %d, \"%.*s\", and %d, \"%.*s\", have the same ids", x,
                           quoted(sizes ? sizes[x] : strlen(names[x])), names[x], y,
                           quoted(sizes ? sizes[y] : strlen(names[y])), names[y]);
        }
        *n_nodes += (size_t)(p->n - same);
    }
    return FC_OK;
}

/* Breadth first: node i's names are sorted paths low[i] .. high[i]. */
static void fill(const builder *b, fc_trie *t, int32_t *block, int32_t *low, int32_t *high) {
    size_t N = (size_t)t->n_nodes;
    int32_t *token = block, *first_child = block + N, *n_children = block + 2 * N, *parent = block + 3 * N;
    int32_t *depth = block + 4 * N, *name = block + 5 * N, *leaf = block + 6 * N, count = 1;
    token[0] = parent[0] = -1;
    depth[0] = low[0] = 0;
    high[0] = (int32_t)b->n;
    for (int32_t i = 0; i < t->n_nodes; i++) {
        const path *p = &b->paths[low[i]];
        int32_t d = depth[i];
        name[i] = first_child[i] = -1;
        n_children[i] = 0;
        if (p->n == d) {
            name[i] = p->name;
            leaf[p->name] = i;
            if (d > t->max_depth) t->max_depth = d;
            continue;
        }
        first_child[i] = count;
        for (int32_t k = low[i]; k < high[i]; k++) {
            int32_t id = b->paths[k].ids[d];
            if (k == low[i] || id != token[count - 1]) {
                token[count] = id;
                parent[count] = i;
                depth[count] = d + 1;
                low[count++] = k;
                n_children[i]++;
            }
            high[count - 1] = k + 1;
        }
        if (n_children[i] > t->max_children) t->max_children = n_children[i];
    }
    FC_ASSERT(count == t->n_nodes);
    t->token = token;
    t->first_child = first_child;
    t->n_children = n_children;
    t->parent = parent;
    t->depth = depth;
    t->name = name;
    t->leaf = leaf;
}

static fc_status build(builder *b, const char *const *names, const size_t *sizes, fc_trie **out) {
    size_t n_nodes, bytes;
    void *p, *ranges;
    FC_TRY(fc_alloc(b->n, sizeof *b->paths, "trie paths", &p));
    b->paths = p;
    for (size_t i = 0; i < b->n; i++) FC_TRY(add_name(b, i, names[i], sizes ? sizes[i] : strlen(names[i])));
    FC_TRY(sort_paths(b, names, sizes, &n_nodes));
    FC_TRY(fc_alloc(2 * n_nodes, sizeof(int32_t), "trie ranges", &ranges));
    bytes = sizeof(fc_trie) + (6 * n_nodes + b->n) * sizeof(int32_t); /* counts fit in 31 bits */
    if (fc_alloc(1, bytes, "trie", &p)) {
        fc_free(ranges);
        return FC_ERR_MEM;
    }
    *out = p;
    **out = (fc_trie){.n_nodes = (int32_t)n_nodes, .n_names = (int32_t)b->n, .end = b->end};
    fill(b, *out, (int32_t *)(*out + 1), ranges, (int32_t *)ranges + n_nodes);
    fc_free(ranges);
    return FC_OK;
}

fc_status fc_trie_open(const fc_tok *tok, const char *const *names, const size_t *sizes, size_t n, const char *before,
                       size_t before_size, int32_t end, fc_trie **out) {
    builder b = {.n = n, .end = end};
    fc_status st;
    if (n == 0 || n >= INT32_MAX) return FC_FAIL(FC_ERR_ARG, "trie: %zu names; at least 1, below %d", n, INT32_MAX);
    if (end < 0 || (size_t)end >= fc_tok_size(tok))
        return FC_FAIL(FC_ERR_ARG, "trie: end token %d; the vocabulary has %zu ids", end, fc_tok_size(tok));
    FC_TRY(fc_follow_open(tok, before, before_size, &b.follow));
    st = build(&b, names, sizes, out);
    fc_follow_close(b.follow);
    fc_free(b.ids);
    fc_free(b.paths);
    return st;
}

void fc_trie_close(fc_trie *t) { fc_free(t); }

/* ---- walks ----------------------------------------------------------------------------------------------- */

int32_t fc_trie_step(const fc_trie *t, int32_t node, int32_t token) {
    int32_t low = t->first_child[node], high = low + t->n_children[node]; /* a leaf: -1, -1 */
    while (low < high) {
        int32_t mid = low + (high - low) / 2;
        if (t->token[mid] == token) return mid;
        if (t->token[mid] < token) low = mid + 1;
        else high = mid;
    }
    return -1;
}

int32_t fc_trie_find(const fc_trie *t, const int32_t *ids, size_t n) {
    int32_t node = 0;
    for (size_t i = 0; i < n && node >= 0; i++) node = fc_trie_step(t, node, ids[i]);
    return node;
}

int32_t fc_trie_forced(const fc_trie *t, int32_t node) {
    int32_t n = 0;
    for (; t->n_children[node] == 1; n++) node = t->first_child[node];
    return n;
}

int32_t fc_trie_path(const fc_trie *t, int32_t node, int32_t *ids) {
    int32_t n = t->depth[node];
    for (int32_t i = n; i-- > 0; node = t->parent[node]) ids[i] = t->token[node];
    return n;
}

/* At one depth the order of nodes is the order of paths. */
bool fc_trie_before(const fc_trie *t, int32_t a, int32_t b) {
    int32_t x = a, y = b;
    while (t->depth[x] > t->depth[b]) x = t->parent[x];
    while (t->depth[y] > t->depth[a]) y = t->parent[y];
    return x == y ? t->depth[a] < t->depth[b] : x < y;
}

fc_status fc_trie_check(const fc_trie *t) {
    int32_t next = 1, leaves = 0;
    if (t->token[0] != -1 || t->parent[0] != -1 || t->depth[0] != 0)
        return FC_FAIL(FC_ERR_INTERNAL, "trie (1): the root has token %d, parent %d, depth %d", t->token[0],
                       t->parent[0], t->depth[0]);
    for (int32_t i = 0; i < t->n_nodes; i++) {
        int32_t n = t->n_children[i];
        if (n < 0 || n > t->n_nodes - next || (n > 0 && t->first_child[i] != next))
            return FC_FAIL(FC_ERR_INTERNAL, "trie (2): node %d has %d children from %d on, %d was to come", i, n,
                           t->first_child[i], next);
        for (int32_t k = next; k < next + n; k++) {
            if (t->parent[k] != i || t->depth[k] != t->depth[i] + 1)
                return FC_FAIL(FC_ERR_INTERNAL, "trie (1): node %d, a child of %d, has parent %d and depth %d", k, i,
                               t->parent[k], t->depth[k]);
            if (t->token[k] < 0 || (k > next && t->token[k] <= t->token[k - 1]))
                return FC_FAIL(FC_ERR_INTERNAL, "trie (3): node %d has id %d", k, t->token[k]);
        }
        next += n;
        if ((n == 0) != (t->name[i] >= 0) || (n == 0) != (t->token[i] == t->end))
            return FC_FAIL(FC_ERR_INTERNAL, "trie (4): node %d has %d children, name %d, id %d", i, n, t->name[i],
                           t->token[i]);
        if (n > 0) continue;
        leaves++;
        if (t->name[i] >= t->n_names || t->leaf[t->name[i]] != i)
            return FC_FAIL(FC_ERR_INTERNAL, "trie (5): the leaf %d has name %d of %d", i, t->name[i], t->n_names);
    }
    if (next != t->n_nodes) return FC_FAIL(FC_ERR_INTERNAL, "trie (2): %d of %d nodes are children", next, t->n_nodes);
    if (leaves != t->n_names) return FC_FAIL(FC_ERR_INTERNAL, "trie (5): %d leaves, %d names", leaves, t->n_names);
    return FC_OK;
}
