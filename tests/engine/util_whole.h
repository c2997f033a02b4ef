/* util_whole - all names of a taxonomy with their log-probs under the mask, by a probe over every path alone. */
#ifndef FC_TESTS_ENGINE_UTIL_WHOLE_H
#define FC_TESTS_ENGINE_UTIL_WHOLE_H

#include "engine/probe.h"
#include "engine/trie.h"
#include "tests/util.h"

typedef struct {
    fc_tok *tok;
    fc_trie *trie;
    int n;           /* names */
    double *edge;    /* [trie->n_nodes] log-prob of the edge into each node, among its siblings; root 0 */
    double *logprob; /* [n] */
    int *order;      /* [n] names, the most probable first */
} whole;

/* Names [n] behind a text prompt. adapter: NULL for the base. Undo with whole_fini. */
void whole_init(whole *w, const char *model, const char *adapter, const char *prompt, const char *const *names, int n);
void whole_fini(whole *w);
/* The same distribution at another temperature: edges are made anew. */
void whole_temper(whole *w, double temperature);
/* Nodes behind the prompt that are to be computed when every node that branches is looked at. */
int whole_fed(const whole *w);
/* Ids of a text as the model's tokenizer gives them, with what it puts in front; freed with fc_memory_free. */
int32_t *prompt_ids(const char *model, const char *text, int *n);

#endif
