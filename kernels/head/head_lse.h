/* head_lse - log of the sum of exp over the whole vocabulary, and log-probs of chosen ids, with no [R,V] array anywhere
 *
 *   logit[r,v] = W[v] x[r], then cap * tanh(logit / cap) where cap is not 0
 *   lse[r] = log of the sum of exp(logit[r,:]);  lp[m] = logit[row[m], id[m]] - lse[row[m]]
 *
 * shapes  x [R,D], W [V,D] packed, of one tensor; row, id, lp [M]; lse [R]
 * dtype   logits as linear, softcap and logprob would have them one after another: the same bits, lp included. A tile
 *         of 256 ids is computed for a few rows at a time and only its largest and its sum (logprob/tile.h) are kept;
 *         lse f64
 * needs   R >= 1, 0 <= id < V, rows not decreasing
 * broken  where a logit is NaN or +inf, or all are -inf: lse and lp NaN
 * memory  workspace: for each row of a piece, x rounded (CUDA: twice) and 8 bytes a tile; more rows than fit are done
 *         in pieces
 * bytes   W once for each 256 rows, CUDA: 1024, x, lp
 * flops   2*R*V*D and 20*R*V (60 with a cap)
 * CUDA    the same, with the bits of the operators of CUDA; a row or id that is refused is named by the next wait
 * error   lse: as logprob, 2e-6 + 2e-6 * |lse|, over logits within linear's tolerance, against head_lse_ref.c
 */
#ifndef FC_KERNELS_HEAD_LSE_H
#define FC_KERNELS_HEAD_LSE_H

#include "kernels/linear/linear.h"

typedef struct {
    double *lse;        /* [R] out */
    float *lp;          /* [M] out */
    const float *x;     /* [R,D]   */
    const fc_weight *w; /* [V,D] packed */
    const int32_t *row; /* [M], not decreasing */
    const int32_t *id;  /* [M]     */
    int R, M;
    float cap;    /* final soft cap, 0 = none */
    bool precise; /* as linear's */
} fc_head_lse_args;

fc_status fc_head_lse_cpu(fc_stream s, const fc_head_lse_args *a);
fc_status fc_head_lse_cuda(fc_stream s, const fc_head_lse_args *a);
fc_status fc_head_lse_ref(fc_stream s, const fc_head_lse_args *a);
fc_cost fc_head_lse_cost(const fc_head_lse_args *a);
/* Bytes of stream workspace for the best speed at R rows (it grows up to 256, CUDA's to 1024). */
size_t fc_head_lse_workspace_cpu(int R, int D, int V);
size_t fc_head_lse_workspace_cuda(int R, int D, int V);

#endif
