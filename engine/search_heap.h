/* search_heap - partial paths of a search in a fixed order, and heaps of them.
 *
 * The order is total: larger key first, equal keys by path (fc_trie_before). So what a heap keeps does not depend on
 * the order in which it was offered.
 */
#ifndef FC_ENGINE_SEARCH_HEAP_H
#define FC_ENGINE_SEARCH_HEAP_H

#include "engine/trie.h"

typedef struct {
    double key;      /* what is compared: logprob, or its perturbed value */
    double logprob;  /* of the path from the root to node */
    uint64_t prefix; /* hash of that path's tokens */
    int32_t node;
} fc_search_item;

bool fc_search_better(const fc_trie *t, const fc_search_item *a, const fc_search_item *b);

typedef struct {
    fc_search_item *items; /* [cap], the caller's */
    int n, cap;
    bool best_on_top; /* else the worst */
} fc_search_heap;

void fc_search_heap_put(fc_search_heap *h, const fc_trie *t, const fc_search_item *x); /* n < cap */
fc_search_item fc_search_heap_take(fc_search_heap *h, const fc_trie *t);               /* the top; n > 0 */
/* The best cap of all that were offered stay; true when x or another had to go, *gone. Worst on top. */
bool fc_search_heap_offer(fc_search_heap *h, const fc_trie *t, const fc_search_item *x, fc_search_item *gone);
/* items [n], best first; the heap is then empty. Worst on top. */
int fc_search_heap_sort(fc_search_heap *h, const fc_trie *t);

#endif
