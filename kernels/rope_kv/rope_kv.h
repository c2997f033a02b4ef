/* rope_kv - per-head norm of q and k, rotary embedding, and the write of K and V into their pages
 *
 * shapes  qkv [T,(H+2G)*E] in/out: per row H query heads, G key heads, G value heads. q is normalised and rotated in
 *         place; k and v leave for page[t], slot[t] of layer `layer`, and what stays of k in qkv is the backend's
 *         affair. q_norm, k_norm [E] or NULL (no norm)
 *         cs [T,2,R/2]: cos then sin per row, made once per batch by rope_table; R <= E rotated dims, even
 * pairs   interleaved: (2i, 2i+1); else (i, i + R/2), the two halves
 * dtype   f32 in; K and V stored as kv.shape.type (kernels/kv/kv_buf.h)
 * order   the norm's sum: 16 chains over e mod 16, first to last, folded in halves. CUDA has the CPU's bits, in q and
 *         in the store, except in what a NaN of f32 holds besides being one
 * needs   CUDA: E <= 512, a multiple of 16
 * error   1e-6 relative to the row's largest element, against rope_kv_ref.c, before rounding to the KV type
 * source  Su et al., "RoFormer", 2021
 */
#ifndef FC_KERNELS_ROPE_KV_H
#define FC_KERNELS_ROPE_KV_H

#include "kernels/kv/kv_buf.h"

#include <stdbool.h>

typedef struct {
    float *qkv;                   /* [T,(H+2G)*E] in/out */
    const float *cs;              /* [T,2,R/2]           */
    const int32_t *page, *slot;   /* [T]                 */
    const float *q_norm, *k_norm; /* [E] or NULL       */
    const fc_kv_buf *kv;          /* host struct         */
    int layer, T, H, G, E, R;
    float eps;
    bool interleaved;
} fc_rope_kv_args;

fc_status fc_rope_kv_cpu(fc_stream s, const fc_rope_kv_args *a);
fc_status fc_rope_kv_cuda(fc_stream s, const fc_rope_kv_args *a);
fc_status fc_rope_kv_ref(fc_stream s, const fc_rope_kv_args *a);
fc_cost fc_rope_kv_cost(const fc_rope_kv_args *a);

/* rope_table - cs[t] = (cos, sin)(float(pos[t]) * inv_freq[i]) * mscale; the product is rounded to f32 first, as the
 * trusted implementation does, the functions are taken in double. CUDA's own are good to 2^-50 of an angle below 2^31:
 * its cs is the CPU's, but for one unit in the last place where so little decides the rounding to f32. */
typedef struct {
    float *cs;             /* [T,2,R/2] out */
    const int32_t *pos;    /* [T]           */
    const float *inv_freq; /* [R/2]         */
    float mscale;          /* 1, or YaRN's attention factor */
    int T, R;
} fc_rope_table_args;

fc_status fc_rope_table_cpu(fc_stream s, const fc_rope_table_args *a);
fc_status fc_rope_table_cuda(fc_stream s, const fc_rope_table_args *a);
fc_status fc_rope_table_ref(fc_stream s, const fc_rope_table_args *a);
fc_cost fc_rope_table_cost(const fc_rope_table_args *a);

#endif
