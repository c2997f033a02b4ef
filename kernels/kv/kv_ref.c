#include "kernels/kv/kv_cpu.h"

/* Byte for byte, one element after another: copied codes keep their scale. */
static void copy_slot(const fc_kv_shape *s, const fc_kv_block *to, const fc_kv_block *from, int slot) {
    size_t size = fc_kv_elem_bytes(s->type);
    for (int e = 0; e < s->E; e++)
        for (size_t b = 0; b < size; b++) {
            size_t in_k = ((size_t)e * (size_t)s->P + (size_t)slot) * size + b;
            size_t in_v = ((size_t)slot * (size_t)s->E + (size_t)e) * size + b;
            to->k[in_k] = from->k[in_k];
            to->v[in_v] = from->v[in_v];
        }
    if (fc_kv_scaled(s->type)) {
        to->k_scale[slot] = from->k_scale[slot];
        to->v_scale[slot] = from->v_scale[slot];
    }
}

fc_status fc_kv_copy_ref(fc_stream s, const fc_kv_copy_args *a) {
    (void)s;
    for (int m = 0; m < a->M; m++)
        for (int layer = 0; layer < a->kv->shape.L; layer++)
            for (int g = 0; g < a->kv->shape.G; g++) {
                fc_kv_block to = fc_kv_block_at(a->kv, a->dst[m], layer, g);
                fc_kv_block from = fc_kv_block_at(a->kv, a->src[m], layer, g);
                for (int slot = 0; slot < a->n[m]; slot++) copy_slot(&a->kv->shape, &to, &from, slot);
            }
    return FC_OK;
}
