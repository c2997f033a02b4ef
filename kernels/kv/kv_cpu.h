/* kv_cpu - where the CPU keeps K and V: pages one after another, in each page one block per (layer, KV head).
 *
 * block   K [E][P], V [P][E], then for I8 and F8 the scales: K [P] f32, V [P] f32
 *         K has its slots in the lanes, so a product of one query with 16 keys is a load and a multiply-add per e;
 *         V has its elements in the lanes, so the weighted sum is the same
 * align   a block is a multiple of 8 bytes; at P >= 8 a multiple of 64
 */
#ifndef FC_KERNELS_KV_CPU_H
#define FC_KERNELS_KV_CPU_H

#include "kernels/kv/kv_buf.h"

typedef struct {
    unsigned char *k, *v;     /* [E][P], [P][E] in shape.type */
    float *k_scale, *v_scale; /* [P] each; NULL unless I8 or F8 */
} fc_kv_block;

static inline fc_kv_block fc_kv_block_at(const fc_kv_buf *kv, int page, int layer, int g) {
    const fc_kv_shape *s = &kv->shape;
    size_t half = (size_t)s->P * (size_t)s->E * fc_kv_elem_bytes(s->type);
    size_t index = ((size_t)page * (size_t)s->L + (size_t)layer) * (size_t)s->G + (size_t)g;
    unsigned char *p = (unsigned char *)kv->base + index * fc_kv_block_bytes(s);
    fc_kv_block b = {p, p + half, NULL, NULL};
    if (fc_kv_scaled(s->type)) {
        b.k_scale = (float *)(void *)(p + 2 * half);
        b.v_scale = b.k_scale + s->P;
    }
    return b;
}

/* Type, P, L, G and E are usable and the whole store fits in the address space; else FC_ERR_ARG with the numbers. */
fc_status fc_kv_check_shape(const fc_kv_shape *s);

/* One slot of one head, k and v [E]: rounded to the store's type, and back. A vector with a NaN or an infinity comes
 * back from I8 and F8 as NaN throughout. */
void fc_kv_put_cpu(const fc_kv_buf *kv, int page, int slot, int layer, int g, const float *k, const float *v);
void fc_kv_get_cpu(const fc_kv_buf *kv, int page, int slot, int layer, int g, float *k, float *v);

#endif
