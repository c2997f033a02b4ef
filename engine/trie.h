/* trie - the token trie of a taxonomy: one path of ids for each name, each ending with the end token.
 *
 * Nodes stand in breadth-first order, so that a node's children are neighbours with rising ids: token + first_child[i]
 * is the list of the n_children[i] ids that may follow node i, as operators take it. Every name ends with the edge
 * `end`, so that a name may begin another ("Art", "Art History").
 *
 *              0                   names "Art" and "Art History"; ids [Art], [Art] [Hist] [ory]
 *              | Art
 *              1
 *        end /   \ Hist            forced run of node 0: 1 edge, up to node 1, which branches
 *           2     3                forced run of node 3: 2 edges, up to leaf 5
 *       "Art"     | ory
 *                 4
 *                 | end
 *                 5 "Art History"
 *
 * A name's ids are those that it has behind `before`, the last characters of the prompt: follow.h has the rule.
 *
 * Invariants; fc_trie_check() verifies all five:
 *   (1) node 0 is the root: token -1, parent -1, depth 0; a child names its parent, and has depth one more;
 *   (2) children are neighbours, in order of their parents: together they are the nodes 1, 2, ... n_nodes - 1;
 *   (3) ids of siblings rise;
 *   (4) leaves, and no other nodes, have an edge `end` into them, no children and a name;
 *   (5) there are n_names leaves, and leaf[name[i]] == i for each.
 *
 * Immutable after open: threads may share it.
 */
#ifndef FC_ENGINE_TRIE_H
#define FC_ENGINE_TRIE_H

#include "tokenizer/tokenizer.h"

typedef struct fc_trie {
    int32_t n_nodes, n_names;
    int32_t end;
    int32_t max_depth;          /* ids of the longest path, end included */
    int32_t max_children;       /* most ids that one node allows */
    const int32_t *token;       /* [n_nodes] id on the edge into the node; root -1 */
    const int32_t *first_child; /* [n_nodes] leaf -1 */
    const int32_t *n_children;  /* [n_nodes] */
    const int32_t *parent;      /* [n_nodes] root -1 */
    const int32_t *depth;       /* [n_nodes] edges from the root */
    const int32_t *name;        /* [n_nodes] leaf: index of its name, else -1 */
    const int32_t *leaf;        /* [n_names] node of each name */
} fc_trie;

/* sizes [n], or NULL: names end in NUL. Everything is borrowed during open only. Errors are FC_ERR_ARG and name the
 * name: empty, without ids, the end token's id inside it, two with the same ids. Caller closes. */
fc_status fc_trie_open(const fc_tok *tok, const char *const *names, const size_t *sizes, size_t n, const char *before,
                       size_t before_size, int32_t end, fc_trie **out);
void fc_trie_close(fc_trie *t); /* NULL is fine */

/* Child of node by the id on its edge, or -1. O(log children). */
int32_t fc_trie_step(const fc_trie *t, int32_t node, int32_t token);
/* Node at the end of the path ids [n] from the root, or -1. */
int32_t fc_trie_find(const fc_trie *t, const int32_t *ids, size_t n);
/* How many edges from node are the only ones, up to the next node that branches or is a leaf. */
int32_t fc_trie_forced(const fc_trie *t, int32_t node);
/* Writes the depth[node] ids from the root to node (for a name: of leaf[name]); returns how many. */
int32_t fc_trie_path(const fc_trie *t, int32_t node, int32_t *ids);
/* Order of paths: by the first id that differs; a node comes before those below it. */
bool fc_trie_before(const fc_trie *t, int32_t a, int32_t b);

/* FC_ERR_INTERNAL with the number of the invariant that does not hold. O(nodes). */
fc_status fc_trie_check(const fc_trie *t);

#endif
