/* linear_pick - some outputs of a matrix for some rows: what a head restricted to listed ids computes
 *
 *   y[y + r * n_ids + i] = (W x[row + r])[ids[i]],  r = 0 .. n_rows-1, i = 0 .. n_ids-1, for each segment
 *
 * shapes  x [R,K], W [N,K] packed, of one tensor; segments [S], each some rows of x and some rising ids; y compact,
 *         laid out by the segments
 * dtype   as linear; x is rounded once for each row of a segment
 * shared  where W is some rows of a matrix that ranks share (fc_weight.of), y of ids that others have is zero, and N is
 *         the whole matrix's
 * needs   0 <= ids < N, rising inside a segment; rows inside x. Segments may share ids and rows, not y
 * order   as linear: every output has the bits that fc_linear gives it, whatever else is picked
 * bytes   the panels of 16 outputs that hold a picked id, once for each segment; x, y
 * flops   2*K*16 for each row and panel
 * error   as linear, against linear_pick_ref.c
 */
#ifndef FC_KERNELS_LINEAR_PICK_H
#define FC_KERNELS_LINEAR_PICK_H

#include "kernels/linear/linear.h"

typedef struct {
    int32_t row, n_rows; /* of x */
    int32_t ids, n_ids;  /* ids[ids ..] */
    int32_t y;           /* where its [n_rows,n_ids] block starts in y */
} fc_pick_segment;

typedef struct {
    float *y;                        /* out */
    const float *x;                  /* [R,K] */
    const fc_weight *w;              /* [N,K] packed */
    const fc_pick_segment *segments; /* [S] */
    const int32_t *ids;
    int R, S;
    bool precise; /* as linear's */
} fc_linear_pick_args;

/* Workspace: fc_linear_workspace_cpu of as many rows as all segments have; with less, but with enough for one row, it
 * works in pieces, with the same bits. */
fc_status fc_linear_pick_cpu(fc_stream s, const fc_linear_pick_args *a);
/* Segments and ids are seen by the device alone: what is wrong with them the next sync says, and nothing of it is
 * written. Workspace: fc_linear_workspace_cuda, or less. */
fc_status fc_linear_pick_cuda(fc_stream s, const fc_linear_pick_args *a);
fc_status fc_linear_pick_ref(fc_stream s, const fc_linear_pick_args *a);
fc_cost fc_linear_pick_cost(const fc_linear_pick_args *a);

#endif
