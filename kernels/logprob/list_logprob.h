/* list_logprob - log-probabilities of rows that are given as lists of ids: the softmax over what a constraint allows
 *
 * list_logprob  lp[values + i] = value[values + i] - lse, lse[r] = log of the sum of exp over the list, for each row r
 * list_gather   value[values + i] = logits[row, ids[ids + i]]: lists cut out of whole rows, in the layout of the others
 *
 * shapes  rows [n_rows], each n_ids rising ids and, compact, as many values; lp laid out as values, lp may be value;
 *         lse [n_rows]; logits [R,V]
 * dtype   f32, lse f64; tiles of 256 ids in their own places (kernels/logprob/list.h), so that lse has the bits of
 *         logprob's for the row of V whose other ids are -inf, and of a list row's in draw
 * needs   n_ids >= 1, 0 <= id < V
 * broken  where a value is NaN or +inf, or all are -inf: lse and lp NaN
 * CUDA    as logprob's
 * error   2e-6 + 2e-6 * |lp| against list_logprob_ref.c; list_gather exact
 */
#ifndef FC_KERNELS_LIST_LOGPROB_H
#define FC_KERNELS_LIST_LOGPROB_H

#include "kernels/kernel.h"

typedef struct {
    int32_t row;    /* list_gather: of logits; else only its name in errors */
    int32_t ids;    /* ids[ids ..] */
    int32_t values; /* value[values ..] and lp[values ..] */
    int32_t n_ids;
} fc_list_row;

typedef struct {
    float *lp;   /* out, or NULL */
    double *lse; /* [n_rows] out, or NULL */
    const float *value;
    const int32_t *ids;
    const fc_list_row *rows; /* [n_rows] */
    int n_rows, V;
} fc_list_logprob_args;

fc_status fc_list_logprob_cpu(fc_stream s, const fc_list_logprob_args *a);
fc_status fc_list_logprob_cuda(fc_stream s, const fc_list_logprob_args *a);
fc_status fc_list_logprob_ref(fc_stream s, const fc_list_logprob_args *a);
fc_cost fc_list_logprob_cost(const fc_list_logprob_args *a);
/* Bytes of stream workspace for all rows at once; one row's will do. */
size_t fc_list_logprob_workspace_cuda(int n_rows, int V);

typedef struct {
    float *value;        /* out */
    const float *logits; /* [R,V] */
    const int32_t *ids;
    const fc_list_row *rows; /* [n_rows] */
    int n_rows, R, V;
} fc_list_gather_args;

fc_status fc_list_gather_cpu(fc_stream s, const fc_list_gather_args *a);
fc_status fc_list_gather_cuda(fc_stream s, const fc_list_gather_args *a);
fc_status fc_list_gather_ref(fc_stream s, const fc_list_gather_args *a);
fc_cost fc_list_gather_cost(const fc_list_gather_args *a);

#endif
