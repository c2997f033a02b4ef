/* forward - one pass of the transformer over a planned batch, and the heads that read its last hidden states.
 *
 * The order of calls in forward.c is the transformer; it is written once for every family and backend.
 * source  Vaswani et al. 2017; Touvron et al. 2023 (Llama); Gemma Team 2024 (post-norms, soft caps)
 */
#ifndef FC_ENGINE_FORWARD_H
#define FC_ENGINE_FORWARD_H

#include "engine/batch.h"
#include "engine/model.h"

/* Activations of one model, reserved at open. Backend buffers. */
typedef struct {
    fc_backend *be; /* borrowed */
    int max_rows, max_logit_rows;
    float *h;       /* [T,D] residual stream      */
    float *x;       /* [T,D] input of a block, its output */
    float *qkv;     /* [T,(H+2G)*E]; H, G and F are a rank's (fc_model) */
    float *att;     /* [T,H*E]                    */
    float *gate_up; /* [T,2F]                    */
    float *hidden;  /* [T,F] for adapters; NULL without */
    float *cs[2];   /* [T,2,R/2] global, local    */
    float *part;    /* partial attention states   */
    float *z;       /* [T,max_rank] what adapters shrink to; NULL without */
    int max_rank;
    float *out;        /* [T,D] final hidden states of the wanted rows */
    float *logits;     /* [max_logit_rows,V]         */
    float *own_logits; /* [max_logit_rows, most of a rank], where ranks share the vocabulary; else NULL */
    fc_cost done;      /* by one rank, of all passes and heads: what a perfect cache would move, and operations */
} fc_work;

fc_status fc_work_open(const fc_model *m, int max_rows, int max_parts, fc_work *out);
void fc_work_close(fc_work *w); /* zeroed and half-built are fine */

/* Runs all layers; w->out [b->n_outs,D] then holds the wanted rows after the final norm. Rows that the batch gives to
 * an adapter go through it; m->adapters must be what they were when w was opened. */
fc_status fc_forward(const fc_model *m, const fc_batch *b, fc_work *w);

/* Adds to w->done what reading `outs` outputs of the head, R rows in all, costs: V a row, or those that are picked. */
void fc_forward_count_head(const fc_model *m, int R, double outs, fc_work *w);

/* Logits of listed ids of w->out [R,D], into y [n], soft cap applied: segments [S] and ids [n] on the backend, as
 * kernels/linear/linear_pick.h has them. */
fc_status fc_forward_pick(const fc_model *m, const fc_pick_segment *segments, int S, const int32_t *ids, int n, int R,
                          float *y, fc_work *w);

/* logits [R,V] of R final hidden states, into w->logits from row `at` on; soft cap applied. at + R <= max_logit_rows */
fc_status fc_forward_logits(const fc_model *m, const float *hidden, int R, int at, fc_work *w);

#endif
