/* tree - token sequences behind one prompt, each distinct prefix once: nodes, and where their KV lies.
 *
 *   insert* -> (next, place: a chain of nodes is fed) -> drop_kv -> insert* ...
 *
 * Nodes stay until fini; KV tables hold their slots one after another, in the order in which nodes are placed, and may
 * be dropped at any time: nodes are then placed anew when they are needed.
 *
 * Invariants; fc_tree_check() verifies them:
 *   (1) a node's parent has a smaller number; siblings have different tokens;
 *   (2) a placed node's parent is placed, or is the prompt;
 *   (3) slots of placed nodes are different and lie in the tables.
 */
#ifndef FC_ENGINE_TREE_H
#define FC_ENGINE_TREE_H

#include "engine/kv.h"

/* Flag in an id that is inserted: the job's adapter changes this row. With and without it are different nodes. */
#define FC_TREE_ADAPTED ((int32_t)1 << 30)

typedef struct {
    int32_t token;              /* with its flag */
    int parent, child, sibling; /* -1: the prompt, none, none */
    int depth;                  /* 0 behind the prompt */
    int32_t slot;               /* flat: page * P + slot; -1: not placed */
    bool queued;                /* a branch feeds it, or it is placed */
    bool once;                  /* it was placed before: a replay */
} fc_tree_node;

typedef struct {
    fc_tree_node *nodes; /* [n] */
    int n, first;        /* first: of the prompt's children */
    size_t cap;
    int *tables, n_tables, n_slots; /* [max_tables] open KV tables; slots taken */
    int max_tables;
} fc_tree;

/* The node of ids [n] (n >= 1), made where it is missing. Memory grows. */
fc_status fc_tree_insert(fc_tree *t, const int32_t *ids, int n, int *node);
void fc_tree_fini(fc_tree *t); /* nodes; KV must have been dropped */

/* The topmost node of the path to `node` that no branch feeds; -1: all are fed or placed. */
int fc_tree_unfed(const fc_tree *t, int node);
void fc_tree_queue(fc_tree *t, int from, int node); /* a branch feeds the path from one to the other */

/* Pages that placing n more nodes takes. */
int fc_tree_cost(const fc_tree *t, const fc_kv *kv, int n);
/* The n nodes of the path that ends at `node` get slots. FC_ERR_FULL: nothing was placed. */
fc_status fc_tree_place(fc_tree *t, fc_kv *kv, int node, int n);
void fc_tree_drop_kv(fc_tree *t, fc_kv *kv);

/* Node at `depth` on the path to `node`. */
int fc_tree_up(const fc_tree *t, int node, int depth);

fc_status fc_tree_check(const fc_tree *t, const fc_kv *kv);

#endif
