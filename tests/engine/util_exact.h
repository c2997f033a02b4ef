/* util_exact - the exact distribution of draws from a closed set of names, by enumeration: logits of the probe, sums in
 * double, nothing of the engine but its trie.
 */
#ifndef FC_TESTS_ENGINE_UTIL_EXACT_H
#define FC_TESTS_ENGINE_UTIL_EXACT_H

#include "engine/forkcast.h"
#include "engine/probe.h"
#include "engine/trie.h"
#include "tests/util.h"
#include "weights_tools/weights.h"

enum { EXACT_CTX = 256 };

typedef struct {
    fc_weights *weights;
    fc_tok *tok;
    fc_probe *probe;
    fc_trie *trie;            /* behind the prompt's last character, each name with the model's end token */
    const char *const *names; /* [n] borrowed */
    int n, V;
    int32_t ids[EXACT_CTX]; /* [n_prompt] the prompt, and room behind it */
    int n_prompt;
    float *rows;           /* [EXACT_CTX,V] scratch */
    float *logit;          /* [n_nodes] of the edge into a node, as the model gives it */
    double *masked, *full; /* [n_nodes] its log-prob among its siblings, and in the whole vocabulary */
    double *mass;          /* [n_nodes] log of the whole vocabulary's probability of a node's children; leaf 0 */
} exact;

/* Every name is computed once. The prompt is data; the last character of it must be one byte. */
void exact_open(exact *x, const char *model, const char *prompt, const char *const *names, int n);
void exact_close(exact *x);

/* p [n]: of drawing each name under the mask. Of the settings: bias, temperature, top_k, top_p, min_p. */
void exact_mask(const exact *x, const fc_sampling *s, double *p);
/* p [n]: of each name as the text of a free draw, over whatever ids; besides the above max_tokens. Returns the sum. */
double exact_free(exact *x, const fc_sampling *s, double *p);

/* Sums over the name's one path. */
double exact_logprob(const exact *x, int name);
double exact_full_logprob(const exact *x, int name);
double exact_log_mass(const exact *x, int name);

/* Settings under which e, r, er and the end come about alike, and nothing else: short texts come over several paths.
 * The list is the caller's. */
typedef struct {
    int32_t ids[1024];
    float values[1024];
} exact_bias;
void exact_few_ids(const exact *x, exact_bias *b, fc_sampling *s);

/* Index of the name that the candidate's text is, or -1. */
int exact_name(const exact *x, const fc_candidate *c);
/* p-value of names [n] under p [x->n], summed to 1 or not; -1 counts as nothing. Prints it. */
double exact_chi2(const exact *x, const char *what, const int32_t *names, int n, const double *p);

#endif
