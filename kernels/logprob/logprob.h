/* logprob - log-probabilities under the softmax of whole rows of logits (temperature 1, no filter)
 *
 * logprob      lp[m] = logits[row[m], id[m]] - lse(row[m])
 * top_logprobs the n largest of each row, ties by smaller id, ids [R,n], lp [R,n]
 *
 * shapes  logits [R,V], row, id, lp [M]
 * dtype   f32; in the draw's tiles of 256 ids (draw.h, step 8): m_t = largest of the tile, s_t = sum of exp(l - m_t) by
 *         a fixed pairwise tree; lse = max + log(sum of s_t * exp(m_t - max)), tiles folded left in double. So draw and
 *         score agree on one number, and a tile's m_t and s_t come from one reading, whatever the other tiles hold
 * needs   R >= 1, V >= 1, id < V, 1 <= n <= FC_TOP_LOGPROBS_MAX and <= V
 * broken  where a logit is NaN or +inf, or all are -inf: lp NaN, ids -1. An id below 0, as a draw leaves it, has lp NaN
 * CUDA    the CPU's bits up to the fold of tiles, whose exp and log in double are the device's, within 1 ulp; a row
 *         that is refused (an id past V) is named by the next wait, the others are done
 * error   2e-6 + 2e-6 * |lp| against logprob_ref.c
 */
#ifndef FC_KERNELS_LOGPROB_H
#define FC_KERNELS_LOGPROB_H

#include "kernels/kernel.h"

enum { FC_TOP_LOGPROBS_MAX = 128 };

typedef struct {
    float *lp;           /* [M] out */
    const float *logits; /* [R,V]   */
    const int32_t *row;  /* [M], not decreasing */
    const int32_t *id;   /* [M]     */
    int R, V, M;
} fc_logprob_args;

fc_status fc_logprob_cpu(fc_stream s, const fc_logprob_args *a);
fc_status fc_logprob_cuda(fc_stream s, const fc_logprob_args *a);
fc_status fc_logprob_ref(fc_stream s, const fc_logprob_args *a);
fc_cost fc_logprob_cost(const fc_logprob_args *a);
/* Bytes of stream workspace for all rows at once; one row's will do. */
size_t fc_logprob_workspace_cuda(int R, int V);

typedef struct {
    int32_t *ids;        /* [R,n] out */
    float *lp;           /* [R,n] out */
    const float *logits; /* [.,V]     */
    const int32_t *rows; /* [R] rows of logits */
    int R, V, n;
} fc_top_logprobs_args;

fc_status fc_top_logprobs_cpu(fc_stream s, const fc_top_logprobs_args *a);
fc_status fc_top_logprobs_cuda(fc_stream s, const fc_top_logprobs_args *a);
fc_status fc_top_logprobs_ref(fc_stream s, const fc_top_logprobs_args *a);
fc_cost fc_top_logprobs_cost(const fc_top_logprobs_args *a);
size_t fc_top_logprobs_workspace_cuda(int R, int V);

#endif
