/* kv_cuda - where CUDA keeps K and V: pages one after another, in each page one block per (layer, KV head).
 *
 * block   K [P][E], V [P][E], then for I8 and F8 the scales: K [P] f32, V [P] f32
 *         both have a slot's elements side by side: a slot is read in pieces of 16 bytes, and written by one warp
 * align   E is a multiple of 16, so a slot begins at a multiple of 16 bytes whatever the type; a block too, at P >= 2
 *         (P = 1 with scales: 8)
 */
#ifndef FC_KERNELS_KV_CUDA_CUH
#define FC_KERNELS_KV_CUDA_CUH

#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "kernels/kv/kv_buf.h"
}

typedef struct {
    unsigned char *k, *v;     /* [P][E] each in shape.type           */
    float *k_scale, *v_scale; /* [P] each; NULL unless I8 or F8      */
} fc_kv_block_cuda;

static __device__ __forceinline__ fc_kv_block_cuda fc_kv_block_cuda_at(const fc_kv_buf &kv, int page, int layer,
                                                                       int g) {
    const fc_kv_shape *s = &kv.shape;
    size_t half = (size_t)s->P * (size_t)s->E * fc_kv_elem_bytes(s->type);
    size_t index = ((size_t)page * (size_t)s->L + (size_t)layer) * (size_t)s->G + (size_t)g;
    unsigned char *p = (unsigned char *)kv.base + index * fc_kv_block_bytes(s);
    fc_kv_block_cuda b = {p, p + half, NULL, NULL};
    if (fc_kv_scaled(s->type)) {
        b.k_scale = (float *)(p + 2 * half);
        b.v_scale = b.k_scale + s->P;
    }
    return b;
}

/* A store that CUDA's operators can use; the sizes were checked when it was made. */
static inline fc_status fc_kv_check_cuda(const fc_kv_shape *s) {
    if (s->type != FC_F32 && s->type != FC_BF16 && !fc_kv_scaled(s->type))
        return FC_FAIL(FC_ERR_ARG, "kv: type %s; it is F32, BF16, I8 or F8_E4M3", fc_dtype_name(s->type));
    if (s->P < 1 || s->P > 64 || (s->P & (s->P - 1)))
        return FC_FAIL(FC_ERR_ARG, "kv: %d slots a page; a power of two, 1 to 64", s->P);
    if (s->n_pages < 1 || s->L < 1 || s->G < 1 || s->E < 1)
        return FC_FAIL(FC_ERR_ARG, "kv: pages=%d L=%d G=%d E=%d; all must be at least 1", s->n_pages, s->L, s->G, s->E);
    if (s->E % 16) return FC_FAIL(FC_ERR_UNSUPPORTED, "kv: E=%d; on CUDA a multiple of 16", s->E);
    return FC_OK;
}

#endif
