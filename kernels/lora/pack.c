#include "kernels/lora/lora.h"

static size_t a_elements(int K, const fc_lora_source *parts, int n_parts) {
    size_t n = 0;
    for (int p = 0; p < n_parts; p++) n += (size_t)parts[p].r * fc_lora_pad(K);
    return n;
}

size_t fc_lora_pack_bytes(fc_dtype dtype, int K, const fc_lora_source *parts, int n_parts) {
    size_t n = a_elements(K, parts, n_parts);
    for (int p = 0; p < n_parts; p++) n += (size_t)parts[p].r * fc_lora_pad(parts[p].N);
    return n * fc_dtype_block_bytes(dtype);
}

static void put(fc_dtype dtype, void *at, size_t i, float v) {
    if (dtype == FC_F32) ((float *)at)[i] = v;
    else ((uint16_t *)at)[i] = fc_f32_to_bf16(v);
}

void fc_lora_pack(fc_dtype dtype, int K, const fc_lora_source *parts, int n_parts, void *host, const void *dev,
                  fc_lora *out) {
    size_t lda = fc_lora_pad(K), at_a = 0, at_b = 0;
    size_t skip = a_elements(K, parts, n_parts) * fc_dtype_block_bytes(dtype);
    unsigned char *host_b = (unsigned char *)host + skip;
    fc_lora w = {.a = dev, .b = (const unsigned char *)dev + skip, .dtype = dtype, .K = K, .n_parts = n_parts};
    FC_ASSERT((dtype == FC_F32 || dtype == FC_BF16) && n_parts >= 1 && n_parts <= FC_LORA_PARTS);
    memset(host, 0, fc_lora_pack_bytes(dtype, K, parts, n_parts));
    for (int p = 0; p < n_parts; p++) {
        const fc_lora_source *s = &parts[p];
        size_t r = (size_t)s->r, ldb = fc_lora_pad(s->N);
        w.part[p] = (fc_lora_part){.col = s->col, .N = s->N, .r = s->r, .z = w.R, .b = at_b, .scale = s->scale};
        for (size_t j = 0; j < r; j++, at_a += lda, at_b += ldb) {
            for (size_t k = 0; k < (size_t)K; k++) put(dtype, host, at_a + k, s->a[j * (size_t)K + k]);
            for (size_t n = 0; n < (size_t)s->N; n++) put(dtype, host_b, at_b + n, s->b[n * r + j]);
        }
        w.R += s->r;
    }
    *out = w;
}
