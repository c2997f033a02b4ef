/* util_trie - random tries without a tokenizer, and random models of them: conditional log-probs of every edge. */
#ifndef FC_TESTS_UTIL_TRIE_H
#define FC_TESTS_UTIL_TRIE_H

#include "engine/trie.h"
#include "tests/util.h"

enum { TRIE_NODES = 4096, TRIE_DEPTH = 8 };

/* Caller frees. At most `names` names (at least 1), many nodes with one child, names that begin others. */
fc_trie *trie_random(uint64_t *rng, int names);

typedef enum {
    MODEL_SMOOTH,  /* normal logits, softmax; now and then a probability of 0, never all */
    MODEL_TIES,    /* weights 1, 1/2, 1/4 and, seldom, 0: many equal sums */
    MODEL_UNIFORM, /* all children alike: everything ties that has as many branches */
    MODELS
} trie_model;

/* lp [n_nodes]: of the edge into each node; 0 where it is the only child. Caller frees. */
float *trie_model_random(const fc_trie *t, uint64_t *rng, trie_model kind);

#endif
