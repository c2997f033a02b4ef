#include "tests/cuda_emu/util_matrix.h"

#include "engine/base/quant.h"
#include "kernels/linear/linear_ref_cuda.h"

const fc_dtype matrix_types[MATRIX_TYPES] = {FC_F32,  FC_F16,  FC_BF16, FC_F8,   FC_Q8_0, FC_Q4_0, FC_Q4_1,
                                             FC_Q5_0, FC_Q5_1, FC_Q4_K, FC_Q5_K, FC_Q6_K, FC_Q4_W, FC_Q8_W};

static void put_half(unsigned char *p, float f) {
    uint16_t h = fc_f32_to_f16(f);
    memcpy(p, &h, 2);
}

/* The bytes of b are random already: what is a scale or a float among them becomes a likely one. */
static void put_block(fc_dtype t, unsigned char *b, uint64_t *seed) {
    float value = 0.3f * test_normal(seed), scale = test_below(seed, 16) ? 0.01f * (1.5f + test_uniform(seed)) : 0.0f;
    uint16_t half = fc_f32_to_bf16(value);
    switch (t) {
    case FC_F32: memcpy(b, &value, 4); break;
    case FC_F16: put_half(b, value); break;
    case FC_BF16: memcpy(b, &half, 2); break;
    case FC_F8: *b = (unsigned char)((*b & 0x7f) == 0x7f ? 0 : *b); break;
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

int matrix_f8;

void matrix_init(matrix *m, fc_stream s, const fc_dtype *types, const int *outputs, int n, int K, uint64_t *seed) {
    memset(m, 0, sizeof *m);
    m->n_parts = n;
    m->K = K;
    for (int i = 0; i < n; i++) {
        size_t row, step = fc_dtype_block_bytes(types[i]), all;
        unsigned char *data;
        assert_ok(fc_dtype_row_bytes(types[i], (size_t)K, &row));
        all = row * (size_t)outputs[i];
        data = malloc(all);
        for (size_t k = 0; k < all; k++) data[k] = (unsigned char)fc_rng_next(seed);
        for (size_t k = 0; k < all; k += step) put_block(types[i], data + k, seed);
        m->parts[i] = (fc_weight_part){.name = "w", .data = data, .dtype = types[i], .N = outputs[i], .K = K};
        int f8 = matrix_f8 ? matrix_f8 : 1 + test_below(seed, 3);
        if (types[i] == FC_F8 && f8 != MATRIX_F8_NONE) {
            static const int cols[] = {64, 128};
            int rows = 1 + test_below(seed, 7), n_scales = outputs[i] * (K / 64 + 1);
            float *scale = calloc((size_t)n_scales, sizeof *scale);
            for (int k = 0; k < n_scales; k++) scale[k] = 0.1f * test_normal(seed);
            m->parts[i].scale = scale;
            m->parts[i].scale_rows = rows;
            m->parts[i].scale_cols = f8 == MATRIX_F8_ROWS ? 1 << 20 : cols[test_below(seed, 2)];
        }
        m->N += outputs[i];
    }
    assert_ok(fc_weight_pack_cuda(s, m->parts, n, &m->w));
    assert_int_equal(m->w->N, m->N);
    assert_int_equal(m->w->K, K);
}

void matrix_fini(matrix *m) {
    for (int i = 0; i < m->n_parts; i++) {
        free((void *)(uintptr_t)m->parts[i].data);
        free((void *)(uintptr_t)m->parts[i].scale);
    }
    fc_weight_free_cuda(m->w);
}

/* Of products that would take the reference minutes, some rows: those at the edges of tiles, and what seed says. */
static const size_t MOST_PRODUCTS = (size_t)1 << 26;

static void check_rows(const matrix *m, const float *y, const float *x, const float *bias, int T, bool precise,
                       double most, const char *what) {
    size_t n = (size_t)T * (size_t)m->N;
    double *ref = calloc(n, sizeof *ref), *size = calloc(n, sizeof *size);
    assert_ok(fc_linear_ref_cuda(&(fc_linear_ref_cuda_args){.y = ref,
                                                            .size = size,
                                                            .x = x,
                                                            .bias = bias,
                                                            .parts = m->parts,
                                                            .n_parts = m->n_parts,
                                                            .T = T,
                                                            .precise = precise}));
    for (size_t i = 0; i < n; i++) {
        double bias_size = bias ? fabs((double)bias[i % (size_t)m->N]) : 0.0;
        if (isnan(ref[i])
                ? isnan(y[i])
                : (double)y[i] == ref[i] || fabs((double)y[i] - ref[i]) <= most * size[i] + 6e-8 * bias_size + 1e-30)
            continue;
        fail_msg("%s: T=%d N=%d K=%d precise=%d: y[%zu,%zu] = %.9g, reference %.9g, size %.3g", what, T, m->N, m->K,
                 precise, i / (size_t)m->N, i % (size_t)m->N, (double)y[i], ref[i], size[i]);
    }
    free(ref);
    free(size);
}

void matrix_check(const matrix *m, const float *y, const float *x, const float *bias, int T, bool precise, double most,
                  const char *what) {
    enum { EDGES = 8 };
    static const int edges[EDGES] = {0, 7, 8, 63, 64, 127, 128, 255};
    size_t N = (size_t)m->N, K = (size_t)m->K, rows = MOST_PRODUCTS / (N * K);
    uint64_t seed = (uint64_t)T * 1000003 + N;
    if (rows < 12) rows = 12;
    if (rows >= (size_t)T) {
        check_rows(m, y, x, bias, T, precise, most, what);
        return;
    }
    float *some_x = calloc(rows * K, sizeof *some_x), *some_y = calloc(rows * N, sizeof *some_y);
    char said[160];
    for (size_t i = 0; i < rows; i++) {
        size_t t = i == 0 ? (size_t)T - 1 : i <= EDGES ? (size_t)edges[i - 1] : (size_t)T;
        if (t >= (size_t)T) t = (size_t)test_below(&seed, T);
        memcpy(some_x + i * K, x + t * K, K * sizeof *x);
        memcpy(some_y + i * N, y + t * N, N * sizeof *y);
    }
    snprintf(said, sizeof said, "%s, %zu rows of %d", what, rows, T);
    check_rows(m, some_y, some_x, bias, (int)rows, precise, most, said);
    free(some_x), free(some_y);
}
