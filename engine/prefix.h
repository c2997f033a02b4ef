/* prefix - KV pages of earlier requests, found again by their token ids: a radix tree whose edges are whole pages.
 *
 * A node is a page of the pool and the ids of its slots; its path from the root spells a prefix. A node of fewer than P
 * ids is a leaf. The index holds one reference to each of its pages, so that nobody writes them (kv.h, invariant 3).
 *
 *   table_open -> take -> (append, compute, put)* -> put with closing -> table_close
 *
 * What no table reads any more is idle, and is given up when pages are wanted: least recently used first, leaves first.
 * A page counts as used for as long as a table lists it or a page behind it, and when a hit ends in it.
 *
 * Invariants; fc_prefix_check() verifies all five, and tests call it after every call:
 *   (1) the nodes are exactly the pages that the pool says are held;
 *   (2) 1 <= ids of a node <= P; a node with children has P and its children's namespace;
 *   (3) a search for a node's ids finds this node: siblings are in order, and none begins with another;
 *   (4) busy == (a table lists the page) + number of children with busy > 0;
 *   (5) the idle list has exactly the nodes with busy == 0, each one after its children.
 *
 * source  Zheng et al., "SGLang: Efficient Execution of Structured Language Model Programs", 2024 (radix attention);
 *         Seidel, Aragon, "Randomized Search Trees", 1996 (siblings are a treap)
 */
#ifndef FC_ENGINE_PREFIX_H
#define FC_ENGINE_PREFIX_H

#include "engine/kv.h"

typedef struct fc_prefix fc_prefix; /* opaque: only prefix.c sees inside */

/* Everything that changes KV, or who may see it. Fields that are zero take part like any other value. */
typedef struct {
    uint64_t model, adapter;          /* fingerprints; adapter 0: none */
    fc_dtype kv_type;                 /* type of the pool */
    const char *api_key, *cache_salt; /* NULL: none, which is not "" */
} fc_prefix_scope;

/* One number per scope: pages of one namespace are never seen from another. The same on every machine and run. */
uint64_t fc_prefix_namespace(const fc_prefix_scope *s);

/* Takes all memory now, for as many nodes as the pool has pages. The pool is borrowed and must outlive the index;
 * it has one index at a time. */
fc_status fc_prefix_open(fc_kv *kv, fc_prefix **out);
void fc_prefix_close(fc_prefix *p); /* NULL is fine; gives every page back */

/* The longest cached prefix of ids [n] in the namespace, at most `most` tokens, becomes the contents of the empty
 * table; *hit is its length. Whole pages are shared. A hit that ends inside a page takes a page of its own and
 * queues the copy of the matching slots: fc_kv_flush must run before the batch that reads the table. Where no page
 * is free for it, the least recently used one is given up; where there is none either, the hit ends at the page's
 * border: never FC_ERR_FULL. Fails only with the operator of a flush; the table then has to be closed. O(hit), and
 * the logarithm of the number of siblings at each node. */
fc_status fc_prefix_take(fc_prefix *p, uint64_t ns, const int32_t *ids, int n, int most, int table, int *hit);

/* How many of these tokens take would find now; nothing counts as used. */
int fc_prefix_match(const fc_prefix *p, uint64_t ns, const int32_t *ids, int n, int most);

/* The table's first n tokens are ids [n], and are computed or launched: its whole pages enter the tree.
 * Where the tree has the same ids already, the older page stays. Counts only; FC_ERR_ARG: n is not in 0..len.
 * closing: the table will be closed next, and nothing more is written to it. Then the last page enters as well where n
 * ends inside it, unless another table lists it too: that one may still write to it, and offers it when it closes. A
 * longer page takes the place of one that is its beginning. */
fc_status fc_prefix_put(fc_prefix *p, uint64_t ns, const int32_t *ids, int n, int table, bool closing);

/* Gives up idle pages until `pages` more are free or no idle page is left; returns by how many the free pages grew.
 * Runs the queued copies where they stand in the way: a page that one of them reads is free only after it. */
int fc_prefix_evict(fc_prefix *p, int pages);
/* Pages that evict can free: admission counts them as free. O(1). */
int fc_prefix_evictable(const fc_prefix *p);

typedef struct {
    int64_t lookups, asked_tokens; /* calls of take, and the sum of their n */
    int64_t hit_tokens;
    int64_t partial_copies; /* hits that ended inside a page */
    int64_t evicted_pages;
    int pages, idle_pages; /* now */
} fc_prefix_stats;
fc_prefix_stats fc_prefix_counts(const fc_prefix *p);

/* FC_ERR_INTERNAL with the number of the invariant that does not hold. */
fc_status fc_prefix_check(const fc_prefix *p);

#endif
