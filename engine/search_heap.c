#include "engine/search_heap.h"

bool fc_search_better(const fc_trie *t, const fc_search_item *a, const fc_search_item *b) {
    if (a->key != b->key) return a->key > b->key;
    return fc_trie_before(t, a->node, b->node);
}

/* a belongs nearer to the top */
static bool above(const fc_search_heap *h, const fc_trie *t, const fc_search_item *a, const fc_search_item *b) {
    return h->best_on_top ? fc_search_better(t, a, b) : fc_search_better(t, b, a);
}

/* x into the place i, or below it where it belongs */
static void sink(fc_search_heap *h, const fc_trie *t, int i, fc_search_item x) {
    for (int c; (c = 2 * i + 1) < h->n; i = c) {
        if (c + 1 < h->n && above(h, t, &h->items[c + 1], &h->items[c])) c++;
        if (!above(h, t, &h->items[c], &x)) break;
        h->items[i] = h->items[c];
    }
    h->items[i] = x;
}

void fc_search_heap_put(fc_search_heap *h, const fc_trie *t, const fc_search_item *x) {
    int i = h->n++;
    FC_ASSERT(h->n <= h->cap);
    for (int up; i > 0 && above(h, t, x, &h->items[up = (i - 1) / 2]); i = up) h->items[i] = h->items[up];
    h->items[i] = *x;
}

fc_search_item fc_search_heap_take(fc_search_heap *h, const fc_trie *t) {
    fc_search_item top;
    FC_ASSERT(h->n > 0);
    top = h->items[0];
    h->n--;
    sink(h, t, 0, h->items[h->n]);
    return top;
}

bool fc_search_heap_offer(fc_search_heap *h, const fc_trie *t, const fc_search_item *x, fc_search_item *gone) {
    if (h->n < h->cap) {
        fc_search_heap_put(h, t, x);
        return false;
    }
    *gone = *x;
    if (!fc_search_better(t, x, &h->items[0])) return true;
    *gone = h->items[0];
    sink(h, t, 0, *x);
    return true;
}

int fc_search_heap_sort(fc_search_heap *h, const fc_trie *t) {
    int n = h->n;
    while (h->n > 0) {
        fc_search_item worst = fc_search_heap_take(h, t);
        h->items[h->n] = worst;
    }
    return n;
}
