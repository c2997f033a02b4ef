/* echo - log-probs of a request's own prompt: of each id behind those before it, with the most probable alternatives.
 *
 * The state at position i predicts id i + 1. States are read when the prompt is fed, whoever feeds it: a drawing
 * branch, the prompt of a search, or, where nothing is drawn, a branch for this alone. Each position is read once, in
 * rising order: where a prompt is fed again, after a preemption or for each candidate, only what was not read yet is.
 * So the prefix cache gives no more than what was read (cache.c). Answers land in the job's own memory, with the batch.
 */
#ifndef FC_ENGINE_ECHO_H
#define FC_ENGINE_ECHO_H

#include "engine/base/mem.h"
#include "engine/forkcast.h"

/* Of one job. */
typedef struct {
    bool on;
    int top;          /* alternatives */
    int read, all;    /* positions given to a batch so far; that predict an id of the prompt */
    float *lp;        /* [all + 1] the first NAN, and what is not read yet */
    int32_t *top_ids; /* [all + 1, top] -1 there */
    float *top_lp;    /* [all + 1, top] */
} fc_echo;

/* Nothing is drawn: the prompt's log-probs are all that is asked for. */
static inline bool fc_echo_alone(const fc_request *r) { return r->prompt_logprobs && r->sampling.max_tokens == 0; }
static inline bool fc_echo_pending(const fc_echo *e) { return e->read < e->all; }

/* Errors name the field. */
fc_status fc_echo_check(const fc_request *r, int V);
/* After the check; the request's prompt has n_prompt ids. Memory is the arena's. */
fc_status fc_echo_open(const fc_request *r, int n_prompt, fc_arena *a, fc_echo *out);

#endif
