#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/quant.h"
#include "kernels/cpu/cpu.h"
#include "kernels/linear/linear.h"

static const fc_dtype types[] = {FC_F32,  FC_F16,  FC_BF16, FC_Q8_0, FC_Q4_0, FC_Q4_1,
                                 FC_Q5_0, FC_Q5_1, FC_Q4_K, FC_Q5_K, FC_Q6_K};
enum { N_TYPES = sizeof types / sizeof types[0], MAX_PARTS = 3 };

static uint64_t seed = 20;

static void *must(size_t n, size_t size) {
    void *p = NULL;
    assert_ok(fc_alloc(n ? n : 1, size, "test", &p));
    return p;
}

static fc_stream stream_with(fc_cpu_level level, int threads, size_t workspace) {
    fc_stream s = NULL;
    assert_ok(fc_cpu_stream_open(level, threads, workspace, 64, &s));
    return s;
}

static fc_stream stream_of(fc_cpu_level level, int threads) {
    return stream_with(level, threads, fc_linear_workspace_cpu(256, 4096));
}

static void put_half(unsigned char *p, float f) {
    uint16_t h = fc_f32_to_f16(f);
    memcpy(p, &h, 2);
}

/* A made-up tensor of any type: random codes, scales of about 0.01; extreme: all codes 0xff. */
static unsigned char *tensor(fc_dtype t, int N, int K, bool extreme) {
    size_t row, block = fc_dtype_block_bytes(t);
    unsigned char *data;
    assert_ok(fc_dtype_row_bytes(t, (size_t)K, &row));
    data = must((size_t)N, row);
    for (size_t i = 0; i < (size_t)N * row; i++) data[i] = extreme ? 0xff : (unsigned char)fc_rng_next(&seed);
    for (unsigned char *b = data; b < data + (size_t)N * row; b += block) {
        float value = 0.3f * test_normal(&seed), scale = 0.01f * (1.5f + test_uniform(&seed));
        uint16_t half = fc_f32_to_bf16(value);
        switch (t) {
        case FC_F32: memcpy(b, &value, 4); break;
        case FC_F16: put_half(b, value); break;
        case FC_BF16: memcpy(b, &half, 2); break;
        case FC_Q4_1:
        case FC_Q5_1:
        case FC_Q4_K:
        case FC_Q5_K:
            put_half(b, t == FC_Q4_1 || t == FC_Q5_1 ? scale : scale / 32);
            put_half(b + 2, t == FC_Q4_1 || t == FC_Q5_1 ? -8 * scale : scale / 4);
            break;
        case FC_Q6_K: put_half(b + 208, scale / 64); break;
        default: put_half(b, scale);
        }
    }
    return data;
}

static fc_weight *packed(fc_stream s, fc_dtype t, const void *data, int N, int K) {
    fc_weight *w = NULL;
    fc_weight_part part = {.name = "w", .data = data, .dtype = t, .N = N, .K = K};
    assert_ok(fc_weight_pack_cpu(s, &part, 1, &w));
    return w;
}

static float *normals(size_t n) {
    float *x = must(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = test_normal(&seed);
    return x;
}

/* |y - ref| against the header's bound. */
static void check_close(const float *y, const float *ref, const fc_weight *w, const float *x, int T, const char *what) {
    int N = fc_weight_rows(w), K = fc_weight_cols(w);
    float *row = must((size_t)K, sizeof *row);
    for (int n = 0; n < N; n++) {
        fc_weight_row_cpu(w, n, row);
        for (int t = 0; t < T; t++) {
            double size = 0.0;
            size_t i = (size_t)t * (size_t)N + (size_t)n;
            for (int k = 0; k < K; k++) size += fabs((double)row[k] * (double)x[(size_t)t * (size_t)K + (size_t)k]);
            if (!(fabs((double)y[i] - (double)ref[i]) <= 1e-6 * size + 1e-30))
                fail_msg("%s: T=%d N=%d K=%d: y[%d,%d] = %.9g, reference %.9g", what, T, N, K, t, n, (double)y[i], (double)ref[i]);
        }
    }
    fc_free(row);
}

static void against_reference_at(fc_cpu_level level, fc_dtype t, int N, int K) {
    static const int rows[] = {1, 2, 3, 5, 6, 7, 16, 17, 64};
    fc_stream s = stream_of(level, 2);
    unsigned char *data = tensor(t, N, K, false);
    fc_weight *w = packed(s, t, data, N, K);
    float *bias = normals((size_t)N), *x = normals((size_t)64 * (size_t)K);
    float *y = must((size_t)64 * (size_t)N, sizeof *y), *ref = must((size_t)64 * (size_t)N, sizeof *ref);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fc_linear_args a = {.y = y, .x = x, .w = w, .bias = i % 2 ? bias : NULL, .T = rows[i]};
        char what[64];
        snprintf(what, sizeof what, "%s %s", fc_cpu_level_name(level), fc_dtype_name(t));
        assert_ok(fc_linear_cpu(s, &a));
        a.y = ref;
        assert_ok(fc_linear_ref(s, &a));
        check_close(y, ref, w, x, rows[i], what);
    }
    fc_free(y);
    fc_free(ref);
    fc_free(x);
    fc_free(bias);
    fc_free(data);
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(s);
}

/* If this fails, some model computes the wrong numbers. */
static void agrees_with_the_reference(void **state) {
    static const int outputs[] = {1, 15, 16, 17, 100};
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++)
        for (int t = 0; t < N_TYPES; t++)
            for (int n = 0; n < 5; n++) {
                int block = (int)fc_dtype_block(types[t]), K = block == 1 ? (n % 2 ? 37 : 64) : block * (1 + n % 3);
                against_reference_at(l, types[t], outputs[n], K);
            }
}

/* Embedding and tests see the values of the file, bit for bit. */
static void rows_are_the_file_s_values(void **state) {
    (void)state;
    for (int t = 0; t < N_TYPES; t++) {
        fc_stream s = stream_of(FC_CPU_AUTO, 2);
        enum { N = 21, K = 512 };
        unsigned char *data = tensor(types[t], N, K, false);
        fc_weight *w = packed(s, types[t], data, N, K);
        size_t row_bytes = (size_t)K / fc_dtype_block(types[t]) * fc_dtype_block_bytes(types[t]);
        for (int n = 0; n < N; n++) {
            float got[K], want[K];
            fc_weight_row_cpu(w, n, got);
            assert_ok(fc_dequant_row(types[t], data + (size_t)n * row_bytes, want, K));
            assert_memory_equal(got, want, sizeof got);
        }
        fc_weight_free_cpu(w);
        fc_free(data);
        fc_cpu_stream_close(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_reference),
        cmocka_unit_test(rows_are_the_file_s_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
