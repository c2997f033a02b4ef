#include "tests/kernels/util_weight.h"

#include "engine/base/mem.h"
#include "tests/util.h"

const fc_dtype weight_types[WEIGHT_TYPES] = {FC_F32,  FC_F16,  FC_BF16, FC_Q8_0, FC_Q4_0, FC_Q4_1, FC_Q5_0,
                                             FC_Q5_1, FC_Q4_K, FC_Q5_K, FC_Q6_K, FC_F8,   FC_Q4_W, FC_Q8_W};

static void put_half(unsigned char *p, float f) {
    uint16_t h = fc_f32_to_f16(f);
    memcpy(p, &h, 2);
}

static void put_block(fc_dtype t, unsigned char *b, uint64_t *seed) {
    float value = 0.3f * test_normal(seed), scale = 0.01f * (1.5f + test_uniform(seed));
    uint16_t half = fc_f32_to_bf16(value);
    switch (t) {
    case FC_F32: memcpy(b, &value, 4); break;
    case FC_F16: put_half(b, value); break;
    case FC_BF16: memcpy(b, &half, 2); break;
    case FC_F8: *b = fc_f32_to_f8(100.0f * value); break;
    case FC_Q4_1:
    case FC_Q5_1: put_half(b, scale), put_half(b + 2, -8 * scale); break;
    case FC_Q4_K:
    case FC_Q5_K: put_half(b, scale / 32), put_half(b + 2, scale / 4); break;
    case FC_Q4_W:
    case FC_Q8_W:
        value = -(t == FC_Q4_W ? 8.0f : 128.0f) * scale; /* of a scale that is no f16 */
        memcpy(b, &scale, 4), memcpy(b + 4, &value, 4);
        break;
    case FC_Q6_K: put_half(b + 208, scale / 64); break;
    default: put_half(b, scale);
    }
}

static void *tensor(fc_dtype t, int N, int K, uint64_t *seed) {
    size_t row, block = fc_dtype_block_bytes(t);
    void *data = NULL;
    unsigned char *p;
    assert_ok(fc_dtype_row_bytes(t, (size_t)K, &row));
    assert_ok(fc_alloc((size_t)N, row, "test", &data));
    p = data;
    for (size_t i = 0; i < (size_t)N * row; i++) p[i] = (unsigned char)fc_rng_next(seed);
    for (unsigned char *b = p; b < p + (size_t)N * row; b += block) put_block(t, b, seed);
    return data;
}

enum { SCALE_ROWS = 3, SCALE_COLS = 16 };

/* Scales of about 0.01 for blocks of an F8 tensor. */
static void *scales(int N, int K, uint64_t *seed) {
    size_t n = (size_t)((N - 1) / SCALE_ROWS + 1) * (size_t)((K - 1) / SCALE_COLS + 1);
    void *p = NULL;
    assert_ok(fc_alloc(n, sizeof(float), "test", &p));
    for (size_t i = 0; i < n; i++) ((float *)p)[i] = 0.005f * (1.0f + test_uniform(seed));
    return p;
}

fc_weight *weight_stack(fc_stream s, const fc_dtype *types, const int *outputs, int n, int K, uint64_t *seed) {
    void *data[4], *scale[4];
    fc_weight_part parts[4];
    fc_weight *w = NULL;
    assert_in_range(n, 1, 4);
    for (int i = 0; i < n; i++) {
        data[i] = tensor(types[i], outputs[i], K, seed);
        parts[i] = (fc_weight_part){.name = "w", .data = data[i], .dtype = types[i], .N = outputs[i], .K = K};
        scale[i] = types[i] == FC_F8 ? scales(outputs[i], K, seed) : NULL;
        parts[i].scale = scale[i];
        parts[i].scale_rows = SCALE_ROWS, parts[i].scale_cols = SCALE_COLS;
    }
    assert_ok(fc_weight_pack_cpu(s, parts, n, &w));
    for (int i = 0; i < n; i++) fc_free(data[i]), fc_free(scale[i]);
    return w;
}

fc_weight *weight_made_up(fc_stream s, fc_dtype t, int N, int K, uint64_t *seed) {
    return weight_stack(s, &t, &N, 1, K, seed);
}
