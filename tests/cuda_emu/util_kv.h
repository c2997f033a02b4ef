/* util_kv - where a slot of CUDA's KV store lies, computed from what kv_cuda.cuh says and apart from its code. */
#ifndef FC_TESTS_UTIL_KV_H
#define FC_TESTS_UTIL_KV_H

#include "kernels/kv/kv_buf.h"

typedef struct {
    size_t k, v, k_scale, v_scale; /* bytes from the store's beginning; the scales' mean nothing without scales */
    size_t bytes;                  /* of k, and of v */
} kv_slot;

kv_slot kv_slot_at(const fc_kv_shape *s, int page, int layer, int g, int slot);
size_t kv_store_bytes(const fc_kv_shape *s);

/* A store of random bytes on the host; free it. */
unsigned char *kv_random_store(const fc_kv_shape *s, uint64_t seed);

/* Slots [0,n) of page src to page dst, byte for byte. */
void kv_copy_slots(const fc_kv_shape *s, unsigned char *store, int src, int dst, int n);

#endif
