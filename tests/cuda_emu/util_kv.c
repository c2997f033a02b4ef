#include "tests/cuda_emu/util_kv.h"

#include "engine/base/rng.h"

#include <stdlib.h>

static size_t element_bytes(const fc_kv_shape *s) { return s->type == FC_F32 ? 4 : s->type == FC_BF16 ? 2 : 1; }
static bool scaled(const fc_kv_shape *s) { return s->type == FC_I8 || s->type == FC_F8; }

static size_t block_bytes(const fc_kv_shape *s) {
    size_t slot = (size_t)s->E * element_bytes(s) + (scaled(s) ? 4 : 0);
    return 2 * (size_t)s->P * slot;
}

kv_slot kv_slot_at(const fc_kv_shape *s, int page, int layer, int g, int slot) {
    size_t P = (size_t)s->P, bytes = (size_t)s->E * element_bytes(s);
    size_t at = (((size_t)page * (size_t)s->L + (size_t)layer) * (size_t)s->G + (size_t)g) * block_bytes(s);
    kv_slot k = {.bytes = bytes};
    k.k = at + (size_t)slot * bytes;
    k.v = k.k + P * bytes;
    k.k_scale = at + 2 * P * bytes + 4 * (size_t)slot;
    k.v_scale = k.k_scale + 4 * P;
    return k;
}

size_t kv_store_bytes(const fc_kv_shape *s) {
    return (size_t)s->n_pages * (size_t)s->L * (size_t)s->G * block_bytes(s);
}

unsigned char *kv_random_store(const fc_kv_shape *s, uint64_t seed) {
    size_t n = kv_store_bytes(s);
    unsigned char *p = malloc(n);
    for (size_t i = 0; p && i < n; i++) p[i] = (unsigned char)(fc_rng_next(&seed) >> 32);
    return p;
}

void kv_copy_slots(const fc_kv_shape *s, unsigned char *store, int src, int dst, int n) {
    for (int layer = 0; layer < s->L; layer++)
        for (int g = 0; g < s->G; g++)
            for (int slot = 0; slot < n; slot++) {
                kv_slot from = kv_slot_at(s, src, layer, g, slot), to = kv_slot_at(s, dst, layer, g, slot);
                memcpy(store + to.k, store + from.k, from.bytes);
                memcpy(store + to.v, store + from.v, from.bytes);
                if (!scaled(s)) continue;
                memcpy(store + to.k_scale, store + from.k_scale, 4);
                memcpy(store + to.v_scale, store + from.v_scale, 4);
            }
}
