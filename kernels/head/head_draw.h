/* head_draw - one token id per member, drawn from the whole vocabulary with no [R,V] array anywhere
 *
 *   logit[r,v] = W[v] x[r], then cap * tanh(logit / cap) where cap is not 0; then draw.h, of whole rows with a
 *   temperature and nothing else
 *
 * shapes  x [R,D], W [V,D] packed, of one tensor; rows [R]: row r draws from x[r]; members, token, logprob [M]
 * dtype   token and logprob as linear, softcap and draw would have them one after another: the same bits. A tile of 256
 *         ids is computed for a few rows at a time and only its largest and its sums are kept, at the row's temperature
 *         and, for logprob, at 1; the tile that a uniform number falls into is computed again, for that row alone and
 *         once for all its members that fell there
 * needs   R >= 1, temperature >= 0 and finite (0: greedy); members of a row behind those of the rows before it: token
 *         and logprob of others are left as they are
 * broken  as draw's
 * memory  workspace: for each row of a piece, x rounded (CUDA: twice) and 20 bytes a tile; more rows than fit are done
 *         in pieces
 * bytes   W once for each 256 rows (CUDA: 1024) and at most 256 rows of it for each member, x, members, token, logprob
 * flops   2*R*V*D and 20*R*V (60 with a cap; 36 and 76 at temperatures other than 0 and 1)
 * CUDA    the same, with the bits of the operators of CUDA; a row whose fields are refused is named by the next wait,
 *         the others are drawn
 * error   ids as draw's, logprob as kernels/logprob, over logits within linear's tolerance, against head_draw_ref.c
 */
#ifndef FC_KERNELS_HEAD_DRAW_H
#define FC_KERNELS_HEAD_DRAW_H

#include "kernels/draw/draw.h"
#include "kernels/linear/linear.h"

typedef struct {
    int32_t member, n_members; /* members[member .. member+n_members-1] draw from this row */
    float temperature;
} fc_head_draw_row;

typedef struct {
    int32_t *token;                /* [M] out */
    float *logprob;                /* [M] out */
    const float *x;                /* [R,D] */
    const fc_weight *w;            /* [V,D] packed */
    const fc_head_draw_row *rows;  /* [R] */
    const fc_draw_member *members; /* [M] */
    int R, M;
    float cap;    /* final soft cap, 0 = none */
    bool precise; /* as linear's */
} fc_head_draw_args;

fc_status fc_head_draw_cpu(fc_stream s, const fc_head_draw_args *a);
fc_status fc_head_draw_cuda(fc_stream s, const fc_head_draw_args *a);
fc_status fc_head_draw_ref(fc_stream s, const fc_head_draw_args *a);
fc_cost fc_head_draw_cost(const fc_head_draw_args *a);
/* Bytes of stream workspace for the best speed at R rows (it grows up to 256, CUDA's to 1024). */
size_t fc_head_draw_workspace_cpu(int R, int D, int V);
size_t fc_head_draw_workspace_cuda(int R, int M, int D, int V);

#endif
