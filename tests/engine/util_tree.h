/* util_tree - random trees of tokens behind a prompt, cut into the chains that a batch takes. */
#ifndef FC_TESTS_ENGINE_UTIL_TREE_H
#define FC_TESTS_ENGINE_UTIL_TREE_H

#include "engine/batch.h"
#include "tests/util.h"

enum { TREE_NODES = 200 };

/* Nodes in preorder: what follows node i without branching off is i+1, i+2, ... */
typedef struct {
    int n, base;            /* nodes; length of the prompt */
    int table;              /* the prompt's */
    int parent[TREE_NODES]; /* -1: the prompt is */
    int depth[TREE_NODES];  /* 0: a child of the prompt */
    int32_t id[TREE_NODES], slot[TREE_NODES];
} tree;

/* n nodes; `run` is how likely, of 10, a node has the one before it as its parent. Ids below V. */
void tree_grow(tree *t, int n, int run, int V, uint64_t *seed);
/* Slots of n new positions of a table of the tree's own, in order, or dealt out at random. Returns the table. */
int tree_place(tree *t, fc_kv *kv, bool shuffled, uint64_t *seed);
/* One past the last node of the longest chain from node i on. */
int tree_chain_end(const tree *t, int i);
bool tree_is_leaf(const tree *t, int i);
/* The nodes from the prompt's child to i: depth[i] + 1 of them. */
void tree_path(const tree *t, int i, int *path);
/* Nodes i..end-1 as a chain; fits_chain must hold. Returns the first row. */
int tree_add_chain(const tree *t, fc_batch *b, int i, int end);

#endif
