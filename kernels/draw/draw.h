/* draw - one token id per member, drawn from its row of logits with the member's own uniform number
 *
 * Per row, in this order:
 *   1. logit bias:   l[id] += value (-inf forbids an id)
 *   2. penalties on ids that occurred: repetition r != 1: l > 0 ? l / r : l * r (prompt or output); then
 *      l -= frequency * count + presence * (count > 0), count = occurrences in the output alone
 *   3. temperature t > 0: l / t; t == 0: greedy, the largest l, ties to the smaller id; no uniform is used
 *   4. top-k (k largest, ties to the smaller id; 0 = off)
 *   5. typical-p: ids by | -log p - H | ascending, ties to the smaller id, the shortest prefix with mass >= p (1 = off)
 *   6. top-p: ids by p descending, ties to the smaller id, the shortest prefix with mass >= p (1 = off); over what 4-5
 *   kept 7. min-p: p >= min_p * largest p (0 = off)
 *   8. draw: tile t is ids 256t..256t+255. With m_t its largest logit, an id weighs exp(l - m_t), a filtered one
 *      exactly 0; s_t is the sum by a fixed pairwise tree in f32, from this tile alone. With max the largest m_t, tiles
 *      fold left in double: total = sum of s_t * exp(m_t - max). target = u * total; the first tile whose running total
 *      exceeds the target holds the id; what is left of the target, divided by the tile's exp(m_t - max), descends the
 *      tree (left when target < left sum). An id of weight 0 is never drawn
 * logprob of the drawn id: under the softmax of the untouched row (no bias, penalty, temperature or filter), as in
 * kernels/logprob.
 *
 * A list row (n_ids > 0) has its logits as a list of rising ids and their values: it means the row of V whose other ids
 * are -inf, token and logprob have that row's bits, and the work goes with n_ids. So logprob is under the list's own
 * softmax; bias and penalties on ids that are not listed do nothing.
 *
 * shapes  logits [R,V] (read only), rows [n_rows], members [M], token, logprob [M]
 * needs   ids of a list rise, 0 <= id < V
 * broken  where a logit is NaN or +inf, or no id keeps a finite one, members have token -fc_row_state, logprob NaN
 * CUDA    the CPU's tokens for the same logits, but where a uniform number lies within 1e-15 of a boundary, or the mass
 *         at which a filter stops within about 1e-13 of one: exp of a tile is the device's in double, within 1 ulp, and
 *         filters add weights as whole numbers (logprob/best.cuh). A row's draws depend on that row alone. A row
 *         whose fields are refused is named by the next wait, the others are drawn
 * error   ids: exact given the weights; logprob as kernels/logprob. draw_ref.c computes weights in double: it may
 *         choose a neighbouring id only when u lies within 1e-5 of a boundary of the cumulative distribution
 * source  Holtzman et al. 2020 (top-p); Meister et al. 2023 (typical); Nguyen et al. 2024 (min-p); Keskar et al. 2019
 *         (repetition penalty)
 */
#ifndef FC_KERNELS_DRAW_H
#define FC_KERNELS_DRAW_H

#include "kernels/kernel.h"

enum { FC_DRAW_TILE = 256 };

typedef struct {
    int32_t row;               /* of logits; for a list row only its name in errors */
    int32_t member, n_members; /* members[member .. member+n_members-1] draw from this row */
    int32_t bias, n_bias;      /* into bias_id, bias_value */
    int32_t seen, n_seen;      /* into seen_id, seen_count: ids that occurred, distinct */
    int32_t top_k;
    float temperature, top_p, min_p, typical_p;
    float repetition, presence, frequency; /* 1, 0, 0 = off */
    int32_t n_ids;                         /* 0: a whole row of logits; else a list of */
    int32_t ids, values;                   /* list_id[ids ..] and list_value[values ..], n_ids each */
} fc_draw_row;

/* The key of a member's uniform number: engine/base/rng.h, fc_rng_uniform. */
typedef struct {
    uint64_t seed;
    uint32_t candidate, attempt, position;
    uint32_t pad;
} fc_draw_member;

typedef struct {
    int32_t *token;                /* [M] out */
    float *logprob;                /* [M] out */
    const float *logits;           /* [R,V]; NULL and R 0 where all rows are lists */
    const fc_draw_row *rows;       /* [n_rows] */
    const fc_draw_member *members; /* [M]     */
    const int32_t *bias_id;
    const float *bias_value;
    const int32_t *seen_id, *seen_count;
    const int32_t *list_id;
    const float *list_value;
    int R, V, n_rows, M;
} fc_draw_args;

fc_status fc_draw_cpu(fc_stream s, const fc_draw_args *a);
fc_status fc_draw_cuda(fc_stream s, const fc_draw_args *a);
fc_status fc_draw_ref(fc_stream s, const fc_draw_args *a);
fc_cost fc_draw_cost(const fc_draw_args *a);
size_t fc_draw_workspace_cpu(int V); /* bytes per thread of stream scratch */
/* Bytes of stream workspace for all rows at once; one row's will do. */
size_t fc_draw_workspace_cuda(int n_rows, int V);

#endif
