#include "engine/tree.h"

#include "engine/base/mem.h"

#include <string.h>

static int child_of(const fc_tree *t, int parent, int32_t token) {
    int c = parent < 0 ? t->n ? t->first : -1 : t->nodes[parent].child;
    while (c >= 0 && t->nodes[c].token != token) c = t->nodes[c].sibling;
    return c;
}

fc_status fc_tree_insert(fc_tree *t, const int32_t *ids, int n, int *node) {
    int at = -1, k = 0;
    void *mem = t->nodes;
    FC_ASSERT(n >= 1);
    for (; k < n; k++) {
        int c = child_of(t, at, ids[k]);
        if (c < 0) break;
        at = c;
    }
    FC_TRY(fc_grow(&mem, &t->cap, (size_t)t->n + (size_t)(n - k), sizeof *t->nodes, "tree of candidates"));
    t->nodes = mem;
    for (; k < n; k++) {
        int *head = at < 0 ? &t->first : &t->nodes[at].child;
        t->nodes[t->n] = (fc_tree_node){
            .token = ids[k], .parent = at, .child = -1, .sibling = t->n ? *head : -1, .depth = k, .slot = -1};
        *head = t->n;
        at = t->n++;
    }
    *node = at;
    return FC_OK;
}

void fc_tree_fini(fc_tree *t) {
    FC_ASSERT(t->n_tables == 0);
    fc_free(t->nodes);
    memset(t, 0, sizeof *t);
}

int fc_tree_unfed(const fc_tree *t, int node) {
    int from = -1;
    for (; node >= 0 && !t->nodes[node].queued; node = t->nodes[node].parent) from = node;
    return from;
}

void fc_tree_queue(fc_tree *t, int from, int node) {
    for (; node != from; node = t->nodes[node].parent) t->nodes[node].queued = true;
    t->nodes[from].queued = true;
}

int fc_tree_up(const fc_tree *t, int node, int depth) {
    while (t->nodes[node].depth > depth) node = t->nodes[node].parent;
    return node;
}

/* ---- KV ---- */

static int room_in(const fc_tree *t, const fc_kv *kv) {
    return t->n_tables ? fc_kv_max_len(kv) - fc_kv_len(kv, t->tables[t->n_tables - 1]) : 0;
}

int fc_tree_cost(const fc_tree *t, const fc_kv *kv, int n) {
    int P = fc_kv_store(kv)->shape.P, room = room_in(t, kv), here = n < room ? n : room, pages = 0;
    if (here > 0) pages = fc_kv_append_cost(kv, t->tables[t->n_tables - 1], here);
    for (n -= here; n > 0; n -= here) {
        here = n < fc_kv_max_len(kv) ? n : fc_kv_max_len(kv);
        pages += fc_kv_pages_for(here, P);
    }
    return pages;
}

/* The last n nodes of the path get the next slots, top first: from the bottom up, each knows its own number. */
fc_status fc_tree_place(fc_tree *t, fc_kv *kv, int node, int n) {
    int P = fc_kv_store(kv)->shape.P, cost = fc_tree_cost(t, kv, n), left = n, max = fc_kv_max_len(kv);
    if (cost > fc_kv_pages_free(kv))
        return FC_FAIL(FC_ERR_FULL, "KV pool: %d pages are needed, %d are free", cost, fc_kv_pages_free(kv));
    while (left > 0) {
        int room = room_in(t, kv), here = left < room ? left : room;
        if (here == 0) {
            FC_ASSERT(t->n_tables < t->max_tables); /* promised at admission */
            FC_TRY(fc_kv_table_open(kv, &t->tables[t->n_tables]));
            t->n_tables++;
            continue;
        }
        FC_TRY(fc_kv_append(kv, t->tables[t->n_tables - 1], here));
        left -= here;
    }
    t->n_slots += n;
    for (int i = t->n_slots - 1; i >= t->n_slots - n; i--, node = t->nodes[node].parent) {
        const int32_t *pages = fc_kv_pages(kv, t->tables[i / max]);
        FC_ASSERT(node >= 0 && t->nodes[node].slot < 0);
        t->nodes[node].slot = pages[i % max / P] * P + i % max % P;
    }
    return FC_OK;
}

void fc_tree_drop_kv(fc_tree *t, fc_kv *kv) {
    while (t->n_tables > 0) fc_kv_table_close(kv, t->tables[--t->n_tables]);
    t->n_slots = 0;
    for (int i = 0; i < t->n; i++) {
        t->nodes[i].once = t->nodes[i].once || t->nodes[i].slot >= 0;
        t->nodes[i].slot = -1;
        t->nodes[i].queued = false;
    }
}

fc_status fc_tree_check(const fc_tree *t, const fc_kv *kv) {
    int P = fc_kv_store(kv)->shape.P, placed = 0;
    for (int i = 0; i < t->n; i++) {
        const fc_tree_node *x = &t->nodes[i];
        if (x->parent >= i || x->depth != (x->parent < 0 ? 0 : t->nodes[x->parent].depth + 1))
            return FC_FAIL(FC_ERR_INTERNAL, "tree (1): node %d has parent %d, depth %d", i, x->parent, x->depth);
        for (int c = x->sibling; c >= 0; c = t->nodes[c].sibling)
            if (t->nodes[c].token == x->token)
                return FC_FAIL(FC_ERR_INTERNAL, "tree (1): nodes %d and %d are siblings with token %d", i, c, x->token);
        if (x->slot < 0) continue;
        placed++;
        if (x->parent >= 0 && t->nodes[x->parent].slot < 0)
            return FC_FAIL(FC_ERR_INTERNAL, "tree (2): node %d is placed, its parent %d is not", i, x->parent);
        if (x->slot / P >= fc_kv_pages_total(kv))
            return FC_FAIL(FC_ERR_INTERNAL, "tree (3): node %d lies in slot %d", i, x->slot);
    }
    if (placed != t->n_slots)
        return FC_FAIL(FC_ERR_INTERNAL, "tree (3): %d nodes are placed, %d slots are taken", placed, t->n_slots);
    return FC_OK;
}
