/* F8 (E4M3) matrices: scales for a tensor, rows and blocks, at every level. What all types share is tested where they
 * are: test_linear.c and others. */
#include "tests/util.h"

#include "engine/base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/linear/linear.h"

static uint64_t seed = 4448;

static void *must(size_t n, size_t size) {
    void *p = NULL;
    assert_ok(fc_alloc(n, size, "test", &p));
    return p;
}

static fc_stream stream_of(fc_cpu_level level, int threads) {
    fc_stream s = NULL;
    assert_ok(fc_cpu_stream_open(level, threads, fc_linear_workspace_cpu(16, 512), 64, &s));
    return s;
}

/* All weights share a scale, those of some rows, of some columns, of a block; none has one. */
typedef struct {
    const char *name;
    int rows, cols; /* 0: all there are */
} scheme;

static const scheme schemes[] = {{"none", -1, -1},   {"tensor", 0, 0},   {"row", 1, 0},     {"five rows", 5, 0},
                                 {"columns", 0, 32}, {"group", 1, 16},   {"block", 16, 64}, {"block", 7, 2},
                                 {"huge", 999, 998}, {"block", 128, 128}};
enum { SCHEMES = sizeof schemes / sizeof schemes[0] };

/* Codes of any size, now and then the largest, the smallest and both zeros. */
static unsigned char *codes(int N, int K) {
    static const unsigned char special[] = {0x7e, 0xfe, 0x01, 0x81, 0x00, 0x80, 0x07, 0x08};
    unsigned char *data = must((size_t)N, (size_t)K);
    for (size_t i = 0; i < (size_t)N * (size_t)K; i++)
        data[i] = test_below(&seed, 10) ? fc_f32_to_f8(60.0f * test_normal(&seed)) : special[test_below(&seed, 8)];
    return data;
}

/* Some of either sign, and a zero. */
static float *scales(int n) {
    float *v = must((size_t)n, sizeof *v);
    for (int i = 0; i < n; i++) {
        int kind = test_below(&seed, 12);
        v[i] = ldexpf(1.0f + test_uniform(&seed), -test_below(&seed, 14));
        if (kind == 0) v[i] = 0.0f;
        if (kind == 1) v[i] = -v[i];
    }
    return v;
}

/* The caller frees data and scale. */
static fc_weight_part part_of(const scheme *c, int N, int K) {
    fc_weight_part p = {.name = c->name, .data = codes(N, K), .dtype = FC_F8, .N = N, .K = K};
    if (c->rows < 0) return p;
    p.scale_rows = c->rows ? c->rows : N;
    p.scale_cols = c->cols ? c->cols : K;
    p.scale = scales(((N - 1) / p.scale_rows + 1) * ((K - 1) / p.scale_cols + 1));
    return p;
}

static void part_fini(fc_weight_part *p) {
    fc_free((void *)(uintptr_t)p->data);
    fc_free((void *)(uintptr_t)p->scale);
}

static fc_weight *packed(fc_stream s, const fc_weight_part *p) {
    fc_weight *w = NULL;
    assert_ok(fc_weight_pack_cpu(s, p, 1, &w));
    return w;
}

static float *normals(size_t n) {
    float *x = must(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = test_normal(&seed);
    return x;
}

/* The weight by its definition, once rounded. */
static float weight_at(const fc_weight_part *p, int n, int k) {
    uint8_t code = ((const uint8_t *)p->data)[(size_t)n * (size_t)p->K + (size_t)k];
    return fc_f8_to_f32(code) * fc_weight_part_scale(p, n, k);
}

static float *product(fc_cpu_level level, int threads, const fc_weight *w, const float *x, const float *bias, int T) {
    fc_stream s = stream_of(level, threads);
    float *y = must((size_t)T * (size_t)w->N, sizeof *y);
    assert_ok(fc_linear_cpu(s, &(fc_linear_args){.y = y, .x = x, .w = w, .bias = bias, .T = T}));
    fc_cpu_stream_close(s);
    return y;
}

static void a_row_is_codes_times_scales(void **state) {
    enum { N = 37, K = 203 };
    fc_stream s = stream_of(FC_CPU_AUTO, 2);
    (void)state;
    for (int i = 0; i < SCHEMES; i++) {
        fc_weight_part p = part_of(&schemes[i], N, K);
        fc_weight *w = packed(s, &p);
        for (int n = 0; n < N; n++) {
            float row[K];
            fc_weight_row_cpu(w, n, row);
            for (int k = 0; k < K; k++) {
                float want = weight_at(&p, n, k);
                if (memcmp(&row[k], &want, sizeof want) != 0)
                    fail_msg("%s: [%d,%d] is %g, not %g", schemes[i].name, n, k, (double)row[k], (double)want);
            }
        }
        fc_weight_free_cpu(w);
        part_fini(&p);
    }
    fc_cpu_stream_close(s);
}

/* Sum and size of the terms of y[t,n], in double. */
static double exact(const fc_weight_part *p, const float *x, int n, double *size) {
    double sum = 0.0;
    *size = 0.0;
    for (int k = 0; k < p->K; k++) {
        double term = (double)weight_at(p, n, k) * (double)x[k];
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

/* If this fails, an FP8 checkpoint computes the wrong numbers. */
static void agrees_with_the_definition(void **state) {
    static const int Ns[] = {1, 16, 17, 50}, Ks[] = {1, 2, 37, 64, 131, 448};
    enum { T = 13 };
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < SCHEMES; i++)
        for (int c = 0; c < 24; c++) {
            fc_stream s = stream_of(FC_CPU_AUTO, 2);
            int N = Ns[c % 4], K = Ks[c / 4];
            fc_weight_part p = part_of(&schemes[i], N, K);
            fc_weight *w = packed(s, &p);
            float *x = normals((size_t)T * (size_t)K), *bias = c % 2 ? normals((size_t)N) : NULL, *wide = NULL;
            float *ref = must((size_t)T * (size_t)N, sizeof *ref);
            assert_ok(fc_linear_ref(s, &(fc_linear_args){.y = ref, .x = x, .w = w, .bias = bias, .T = T}));
            for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
                float *y = product(l, 2, w, x, bias, T);
                for (int t = 0; t < T; t++)
                    for (int n = 0; n < N; n++) {
                        double size, b = bias ? (double)bias[n] : 0.0;
                        double want = exact(&p, x + (size_t)t * (size_t)K, n, &size) + b;
                        double got = (double)y[t * N + n], slow = (double)ref[t * N + n];
                        size += fabs(b);
                        if (!(fabs(got - want) <= 1e-6 * size) || !(fabs(slow - want) <= 1e-7 * size))
                            fail_msg("%s %s N=%d K=%d: y[%d,%d] = %.9g, reference %.9g, not %.9g", schemes[i].name,
                                     fc_cpu_level_name(l), N, K, t, n, got, slow, want);
                    }
                if (wide) assert_memory_equal(y, wide, sizeof *y * (size_t)(T * N)); /* all but portable agree */
                fc_free(wide);
                wide = l == FC_CPU_PORTABLE ? NULL : y;
                if (!wide) fc_free(y);
            }
            fc_free(wide);
            fc_free(ref);
            fc_free(bias);
            fc_free(x);
            fc_weight_free_cpu(w);
            part_fini(&p);
            fc_cpu_stream_close(s);
        }
}

/* If this fails, a candidate's tokens depend on who else is in the batch. */
static void a_row_s_bits_are_its_own(void **state) {
    enum { T = 40, N = 75, K = 203 };
    (void)state;
    for (int i = 0; i < SCHEMES; i++)
        for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
            fc_stream s = stream_of(FC_CPU_AUTO, 1);
            fc_weight_part p = part_of(&schemes[i], N, K);
            fc_weight *w = packed(s, &p);
            float *x = normals((size_t)T * K), *all = product(l, 3, w, x, NULL, T);
            for (int first = 0, n = 1; first + n <= T; first += n, n = n % 7 + 1) {
                float *y = product(l, 2, w, x + first * K, NULL, n);
                assert_memory_equal(y, all + first * N, sizeof *y * (size_t)(n * N));
                fc_free(y);
            }
            fc_free(all);
            fc_free(x);
            fc_weight_free_cpu(w);
            part_fini(&p);
            fc_cpu_stream_close(s);
        }
}

/* q, k and v of a checkpoint have scales of their own. */
static void stacked_parts_keep_their_scales(void **state) {
    enum { T = 5, K = 256 };
    static const int outputs[] = {40, 17, 3};
    fc_stream s = stream_of(FC_CPU_AUTO, 2);
    fc_weight_part parts[3];
    fc_weight *stack = NULL;
    float *x = normals((size_t)T * K);
    (void)state;
    for (int p = 0; p < 3; p++) parts[p] = part_of(&schemes[p == 0 ? 6 : p], outputs[p], K);
    assert_ok(fc_weight_pack_cpu(s, parts, 3, &stack));
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
        float *y = product(l, 2, stack, x, NULL, T);
        for (int p = 0, first = 0; p < 3; first += outputs[p++]) {
            fc_weight *w = packed(s, &parts[p]);
            float *alone = product(l, 1, w, x, NULL, T);
            for (int t = 0; t < T; t++)
                assert_memory_equal(y + t * 60 + first, alone + t * outputs[p], sizeof *y * (size_t)outputs[p]);
            fc_free(alone);
            fc_weight_free_cpu(w);
        }
        fc_free(y);
    }
    for (int p = 0; p < 3; p++) part_fini(&parts[p]);
    fc_free(x);
    fc_weight_free_cpu(stack);
    fc_cpu_stream_close(s);
}

/* A NaN in the file reaches its own output, at every level, and no other; one in x its own row. */
static void nan_stays_where_it_is(void **state) {
    enum { N = 33, K = 96, T = 3 };
    static const unsigned char nans[] = {0x7f, 0xff};
    (void)state;
    for (int i = 0; i < 2; i++)
        for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
            fc_stream s = stream_of(FC_CPU_AUTO, 1);
            fc_weight_part p = part_of(&schemes[i ? 5 : 0], N, K);
            fc_weight *w;
            float *x = normals((size_t)T * K), *y, *ref = must(T * N, sizeof *ref), row[K];
            ((unsigned char *)(uintptr_t)p.data)[18 * K + 40] = nans[i];
            x[K + 77] = NAN;
            w = packed(s, &p);
            y = product(l, 1, w, x, NULL, T);
            assert_ok(fc_linear_ref(s, &(fc_linear_args){.y = ref, .x = x, .w = w, .T = T}));
            for (int t = 0; t < T; t++)
                for (int n = 0; n < N; n++) {
                    assert_int_equal(isnan(y[t * N + n]), t == 1 || n == 18);
                    assert_int_equal(isnan(ref[t * N + n]), t == 1 || n == 18);
                }
            fc_weight_row_cpu(w, 18, row);
            for (int k = 0; k < K; k++) assert_int_equal(isnan(row[k]), i == 0 || k / 16 == 2);
            fc_free(ref);
            fc_free(y);
            fc_free(x);
            fc_weight_free_cpu(w);
            part_fini(&p);
            fc_cpu_stream_close(s);
        }
}

static void bad_scales_are_named(void **state) {
    float one[64] = {0}, bad[2] = {1.0f, NAN};
    const unsigned char data[64 * 4] = {0};
    const fc_weight_part good = {
        .name = "a", .data = data, .dtype = FC_F8, .N = 4, .K = 64, .scale = one, .scale_rows = 4, .scale_cols = 32};
    fc_stream s = stream_of(FC_CPU_AUTO, 1);
    fc_weight *w = NULL;
    fc_weight_part p = good;
    (void)state;
    p.dtype = FC_F32, p.data = one, p.N = 1;
    assert_fails(fc_weight_pack_cpu(s, &p, 1, &w), FC_ERR_UNSUPPORTED, "tensor a: scales of type F32; only F8_E4M3");
    p = good, p.scale_rows = 0;
    assert_fails(fc_weight_pack_cpu(s, &p, 1, &w), FC_ERR_ARG, "tensor a: scales of 0 rows and 32 columns");
    p = good, p.scale_cols = -1;
    assert_fails(fc_weight_pack_cpu(s, &p, 1, &w), FC_ERR_ARG, "4 rows and -1 columns");
    p = good, p.scale_cols = 31;
    assert_fails(fc_weight_pack_cpu(s, &p, 1, &w), FC_ERR_UNSUPPORTED, "tensor a: scales of 31 columns");
    p = good, p.scale = bad;
    assert_fails(fc_weight_pack_cpu(s, &p, 1, &w), FC_ERR_FORMAT, "tensor a: scale 1 is nan");
    bad[1] = INFINITY;
    assert_fails(fc_weight_pack_cpu(s, &p, 1, &w), FC_ERR_FORMAT, "tensor a: scale 1 is inf");
    assert_null(w);
    w = packed(s, &good);
    assert_int_equal(w->bytes, 64 * 16 + 2 * 16 * 4);
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_codes_times_scales), cmocka_unit_test(agrees_with_the_definition),
        cmocka_unit_test(a_row_s_bits_are_its_own),    cmocka_unit_test(stacked_parts_keep_their_scales),
        cmocka_unit_test(nan_stays_where_it_is),       cmocka_unit_test(bad_scales_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
