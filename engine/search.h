/* search - draws other than i.i.d. from the names of a trie: which nodes to expand, and which names come out.
 *
 *   open -> { ask -> the caller runs the model on those nodes -> tell each }* until ask has nothing more -> results
 *
 * No model is inside: the caller tells the log-probs of a node's children, already tempered, under the mask (so that
 * they sum to 1). What is asked may be told in any order and over several rounds: results do not depend on it, nor on
 * `batch`. A node with one child has log-prob 0 below it under the mask and is passed without being asked, unless
 * every_node.
 *
 * method
 *   beam    the n best partial paths by log-prob, token by token; finished names stay and compete. Not exact: the
 *           baseline.
 *   sbs     n distinct names without replacement: the n largest of log p + Gumbel noise, found exactly by a beam over
 *           the largest noise below each node. kappa is the next largest. A name's inclusion probability given kappa is
 *           q = 1 - exp(-exp(log p - kappa)); sum of f * p / q over the drawn names is an unbiased estimate of the
 *           mean of f over all.
 *   topk    the n most probable names, exactly, by best-first search: a path's log-prob only falls, so a node that is
 *           not above the n-th name found needs no expansion. One node at a time (batch 1) expands the fewest.
 *   exact   all names with their log-probs; asks for all nodes at once, so that the caller may run them in one pass, or
 *           for max of them, subtree by subtree, so that few of those before are on the way.
 *
 * Order of results: by log-prob, sbs by perturbed log-prob; equal ones by path. A name of probability 0 comes out of
 * exact alone. All memory is taken at open, from an arena: O(n) for beam and sbs, O(nodes) for topk and exact.
 *
 * source  Kool, van Hoof, Welling, "Stochastic Beams and Where to Find Them", 2019; Hart, Nilsson, Raphael, "A Formal
 *         Basis for the Heuristic Determination of Minimum Cost Paths", 1968
 */
#ifndef FC_ENGINE_SEARCH_H
#define FC_ENGINE_SEARCH_H

#include "engine/base/mem.h"
#include "engine/trie.h"

typedef enum { FC_SEARCH_BEAM, FC_SEARCH_SBS, FC_SEARCH_TOPK, FC_SEARCH_EXACT } fc_search_method;

typedef struct {
    fc_search_method method;
    int n;           /* names wanted, the width of a beam; exact does not read it */
    int batch;       /* topk: nodes asked and not told yet, at most; 0: 1 */
    uint64_t seed;   /* sbs */
    bool every_node; /* ask for nodes with one child too: their rows are wanted for full-vocabulary log-probs */
} fc_search_options;

typedef struct {
    int32_t name;
    double logprob;
    double gumbel; /* sbs: perturbed log-prob; else NAN */
    double weight; /* sbs: p / q, exact: p; else NAN */
} fc_search_result;

typedef struct fc_search fc_search;

/* The trie is borrowed. The search is the arena's. */
fc_status fc_search_open(const fc_trie *t, const fc_search_options *o, fc_arena *arena, fc_search **out);

/* Writes up to max nodes, each at most once in a search, and returns how many. 0 while nodes that were asked are not
 * told yet: tell them first; 0 when there are none: the search is done. */
int fc_search_ask(fc_search *s, int32_t *nodes, int max);
/* child_lp [n_children[node]] of a node that was asked. FC_ERR_ARG where one is not a log-prob: NAN, or above 0 by more
 * than rounding (1e-3; below that it counts as 0); the node is then as not told. -INFINITY is one. */
fc_status fc_search_tell(fc_search *s, int32_t node, const float *child_lp);
bool fc_search_done(const fc_search *s);

/* When done: results [*n], the arena's. */
const fc_search_result *fc_search_results(const fc_search *s, int *n);
double fc_search_kappa(const fc_search *s); /* sbs, when done; -INFINITY when no name was left out */
int fc_search_expanded(const fc_search *s); /* nodes told so far */

#endif
