/* gumbel - perturbed log-probs: the k largest leaves of a tree are k draws without replacement
 *
 * A node is a prefix of tokens with log-prob `lp` and perturbed log-prob `G`; for each next token i with log-prob lp_i:
 *   phi_i = lp + lp_i;  g_i = phi_i - log(-log(u_i)), u_i = the uniform number of (seed, prefix, i): engine/base/rng.h
 *   Z = largest g_i;  g~_i = -log(exp(-G) - exp(-Z) + exp(-g_i)): g_i given that the largest of them is G
 * worked out as v = G - g_i + log(1 - exp(g_i - Z)), g~_i = G - max(0, v) - log(1 + exp(-|v|)), which does not
 * overflow. The largest g~ is G itself, and no other is above it. At the root lp = G = 0.
 *
 * gumbel_list  g~ of every listed id of each row, from given log-probs
 * gumbel_top   whole rows of logits, lp_i as logprob has them: the n ids of largest g~ (by g, ties to the smaller id)
 *
 * shapes  rows [n_rows]; lists as in kernels/logprob/list_logprob.h, g laid out as lp; logits [R,V]; of
 *         gumbel_top ids, g, lp [n_rows,n]
 * dtype   lp f32, all else f64
 * needs   lp and G of a row finite; n_ids >= 1, ids rise, 0 <= id < V; 1 <= n <= FC_TOP_LOGPROBS_MAX and <= V; a NaN or
 *         +inf among log-probs or logits, or nothing but -inf: FC_ERR_ARG names the row. An id of -inf has g~ = -inf
 * error   1e-9 absolute against gumbel_ref.c, which uses the short formula in long double, where |G - g~| < 30;
 *         gumbel_top as logprob besides
 * source  Kool, van Hoof, Welling, "Stochastic Beams and Where to Find Them", 2019 (appendix B.3 for the stable form)
 */
#ifndef FC_KERNELS_GUMBEL_H
#define FC_KERNELS_GUMBEL_H

#include "kernels/kernel.h"

typedef struct {
    uint64_t seed;
    uint64_t prefix; /* fc_rng_prefix of the node's tokens */
    double lp, G;
    int32_t row;                /* gumbel_top: of logits; gumbel_list: only its name in errors */
    int32_t ids, n_ids, values; /* gumbel_list: ids[ids ..], lp[values ..] and g[values ..] */
} fc_gumbel_row;

typedef struct {
    double *g;                 /* out */
    const float *lp;
    const int32_t *ids;
    const fc_gumbel_row *rows; /* [n_rows] */
    int n_rows, V;
} fc_gumbel_list_args;

fc_status fc_gumbel_list_cpu(fc_stream s, const fc_gumbel_list_args *a);
fc_status fc_gumbel_list_ref(fc_stream s, const fc_gumbel_list_args *a);
fc_cost fc_gumbel_list_cost(const fc_gumbel_list_args *a);

typedef struct {
    int32_t *ids;              /* [n_rows,n] out */
    double *g;                 /* [n_rows,n] out */
    float *lp;                 /* [n_rows,n] out */
    const float *logits;       /* [R,V] */
    const fc_gumbel_row *rows; /* [n_rows] */
    int n_rows, R, V, n;
} fc_gumbel_top_args;

fc_status fc_gumbel_top_cpu(fc_stream s, const fc_gumbel_top_args *a);
fc_status fc_gumbel_top_ref(fc_stream s, const fc_gumbel_top_args *a);
fc_cost fc_gumbel_top_cost(const fc_gumbel_top_args *a);

#endif
