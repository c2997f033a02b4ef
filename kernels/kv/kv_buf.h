/* kv_buf - the paged KV store of one model as operators see it: page p, layer l, KV head g, slot s.
 *
 * dtype   F32, BF16, or I8 or F8 (E4M3) with one f32 scale per (slot, head), apart for K and V, fixed when the slot is
 *         written: scale = max|x| / 127 (F8: / 448), code = round to nearest even (x / scale), at most 127 (F8: 448);
 *         an all-zero vector has scale 0; one that is not finite has scale NaN and codes 0, so no F8 code is NaN
 * layout  the backend's own; the engine holds page numbers only. CPU: kernels/kv/kv_cpu.h; CUDA: kernels/kv/kv_cuda.cuh
 */
#ifndef FC_KERNELS_KV_BUF_H
#define FC_KERNELS_KV_BUF_H

#include "kernels/kernel.h"

typedef struct {
    fc_dtype type;  /* FC_F32, FC_BF16, FC_I8 or FC_F8 */
    int n_pages, P; /* pages; slots a page: a power of two, 1..64, so that it divides a tile of 64 */
    int L, G, E;
} fc_kv_shape;

typedef struct {
    fc_kv_shape shape;
    void *base; /* backend buffer of fc_kv_bytes(shape); zeroed at allocation */
} fc_kv_buf;

static FC_DEVICE inline bool fc_kv_scaled(fc_dtype t) { return t == FC_I8 || t == FC_F8; }
static FC_DEVICE inline size_t fc_kv_elem_bytes(fc_dtype t) { return t == FC_F32 ? 4 : t == FC_BF16 ? 2 : 1; }

/* Of one page, layer and KV head: K, V, scales. A shape was checked when its store was sized: nothing here can wrap. */
static FC_DEVICE inline size_t fc_kv_block_bytes(const fc_kv_shape *s) {
    size_t slots = (size_t)s->P;
    return 2 * slots * (size_t)s->E * fc_kv_elem_bytes(s->type) +
           (fc_kv_scaled(s->type) ? 2 * slots * sizeof(float) : 0);
}

/* Bytes of one page (all layers, K and V, scales) and of the whole store; FC_ERR_ARG when a size wraps. */
fc_status fc_kv_page_bytes(const fc_kv_shape *s, size_t *out);
fc_status fc_kv_bytes(const fc_kv_shape *s, size_t *out);

/* kv_copy - slots [0,n) of page src to page dst, all layers: the copy before a write to a shared page. No page is both
 * a source and a destination of one call. Cost counts whole pages, as n lies in backend memory. */
typedef struct {
    const fc_kv_buf *kv;
    const int32_t *src, *dst, *n; /* [M] each */
    int M;
} fc_kv_copy_args;

fc_status fc_kv_copy_cpu(fc_stream s, const fc_kv_copy_args *a);
fc_status fc_kv_copy_cuda(fc_stream s, const fc_kv_copy_args *a);
fc_status fc_kv_copy_ref(fc_stream s, const fc_kv_copy_args *a);
fc_cost fc_kv_copy_cost(const fc_kv_copy_args *a);

#endif
