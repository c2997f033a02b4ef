#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/quant.h"
#include "kernels/cpu/cpu.h"
#include "kernels/linear/linear.h"

static const fc_dtype types[] = {FC_F32,  FC_F16,  FC_BF16, FC_Q8_0, FC_Q4_0, FC_Q4_1, FC_Q5_0,
                                 FC_Q5_1, FC_Q4_K, FC_Q5_K, FC_Q6_K, FC_F8,   FC_Q4_W, FC_Q8_W};
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
        case FC_F8: *b = fc_f32_to_f8(value); break;
        case FC_Q4_1:
        case FC_Q5_1:
        case FC_Q4_K:
        case FC_Q5_K:
            put_half(b, t == FC_Q4_1 || t == FC_Q5_1 ? scale : scale / 32);
            put_half(b + 2, t == FC_Q4_1 || t == FC_Q5_1 ? -8 * scale : scale / 4);
            break;
        case FC_Q4_W:
        case FC_Q8_W:
            value = -(t == FC_Q4_W ? 8.0f : 128.0f) * scale; /* of a scale that is no f16 */
            memcpy(b, &scale, 4), memcpy(b + 4, &value, 4);
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

/* Here and there one is 6 or 60 times larger than the rest, in any quad, or 32 of them are, as in models: these are
 * rounded finely. Not more: all would hang on a weight that is a small difference of scale * code and minimum. */
static float *normals(size_t n) {
    float *x = must(n, sizeof *x), size = 1.0f;
    for (size_t i = 0; i < n; i++) {
        if (i % 32 == 0) size = test_below(&seed, 8) ? 1.0f : 6.0f;
        x[i] = size * test_normal(&seed);
        if (test_below(&seed, 100) == 0) x[i] *= test_below(&seed, 10) ? 6.0f : 60.0f;
    }
    return x;
}

/* |y - ref| against the header's bound, of random terms or of equal ones. */
static void check_within(double bound, const float *y, const float *ref, const fc_weight *w, const float *x, int T,
                         const char *what) {
    int N = w->N, K = w->K;
    float *row = must((size_t)K, sizeof *row);
    for (int n = 0; n < N; n++) {
        fc_weight_row_cpu(w, n, row);
        for (int t = 0; t < T; t++) {
            double size = 0.0;
            size_t i = (size_t)t * (size_t)N + (size_t)n;
            for (int k = 0; k < K; k++) size += fabs((double)row[k] * (double)x[(size_t)t * (size_t)K + (size_t)k]);
            if (!(fabs((double)y[i] - (double)ref[i]) <= bound * size + 1e-30))
                fail_msg("%s: T=%d N=%d K=%d: y[%d,%d] = %.9g, reference %.9g", what, T, N, K, t, n, (double)y[i],
                         (double)ref[i]);
        }
    }
    fc_free(row);
}

static void check_close(const float *y, const float *ref, const fc_weight *w, const float *x, int T, const char *what) {
    check_within(1e-6, y, ref, w, x, T, what);
}

/* The same where weights are differences of scale * code and minimum, down to zero: these are what is rounded. */
static void check_apart(const float *y, const float *ref, fc_dtype t, const unsigned char *data, int N, int K,
                        const float *x, int T, const char *what) {
    size_t row = (size_t)K / fc_dtype_block(t) * fc_dtype_block_bytes(t);
    float scale[16], least[16];
    uint8_t codes[512];
    assert_in_range(K, 32, 512);
    for (int n = 0; n < N; n++) {
        assert_ok(fc_quant_codes(t, data + (size_t)n * row, (size_t)K, codes, scale, least));
        for (int r = 0; r < T; r++) {
            double size = 0.0;
            size_t i = (size_t)r * (size_t)N + (size_t)n;
            for (int k = 0; k < K; k++)
                size += (fabs((double)scale[k / 32] * codes[k]) + fabs((double)least[k / 32])) *
                        fabs((double)x[(size_t)r * (size_t)K + (size_t)k]);
            if (!(fabs((double)y[i] - (double)ref[i]) <= 1e-6 * size))
                fail_msg("%s: T=%d N=%d K=%d: y[%d,%d] = %.9g, reference %.9g", what, T, N, K, r, n, (double)y[i],
                         (double)ref[i]);
        }
    }
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
        for (int precise = 0; precise < 2; precise++) {
            a.y = y;
            a.precise = precise;
            assert_ok(fc_linear_cpu(s, &a));
            a.y = ref;
            assert_ok(fc_linear_ref(s, &a));
            if (t == FC_Q4_W || t == FC_Q8_W) check_apart(y, ref, t, data, N, K, x, rows[i], what);
            else check_close(y, ref, w, x, rows[i], what);
        }
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
                if (types[t] == FC_F8) continue; /* with scales: test_linear_f8.c */
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

static bool precise_run; /* what run() asks for */

static int x_in_16_bits(void **state) {
    (void)state;
    precise_run = true;
    return 0;
}

static int x_in_8_bits(void **state) {
    (void)state;
    precise_run = false;
    return 0;
}

/* y of T rows at one level, with a stream of its own. */
static float *run(fc_cpu_level level, int threads, const fc_weight *w, const float *x, const float *bias, int T) {
    fc_stream s = stream_of(level, threads);
    float *y = must((size_t)T * (size_t)w->N, sizeof *y);
    assert_ok(
        fc_linear_cpu(s, &(fc_linear_args){.y = y, .x = x, .w = w, .bias = bias, .T = T, .precise = precise_run}));
    fc_cpu_stream_close(s);
    return y;
}

static void same_bits(const float *a, const float *b, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0)
            fail_msg("%s: element %zu is %.9g and %.9g", what, i, (double)a[i], (double)b[i]);
}

/* If this fails, a candidate's tokens depend on who else is in the batch. */
static void a_row_s_bits_are_its_own(void **state) {
    enum { T = 64, N = 75 };
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++)
        for (int t = 0; t < N_TYPES; t++) {
            int K = 3 * (int)fc_dtype_block(types[t]) + (fc_dtype_is_float(types[t]) ? 40 : 0);
            fc_stream s = stream_of(FC_CPU_AUTO, 1);
            unsigned char *data = tensor(types[t], N, K, false);
            fc_weight *w = packed(s, types[t], data, N, K);
            float *x = normals((size_t)T * (size_t)K), *bias = normals(N), *all = run(l, 1, w, x, bias, T), *y;
            for (int threads = 2; threads <= 3; threads++) {
                y = run(l, threads, w, x, bias, T);
                same_bits(y, all, (size_t)T * N, "threads");
                fc_free(y);
            }
            for (int first = 0, n = 1; first + n <= T; first += n, n = n % 9 + 1) { /* cut into 1, 2, .. 9 rows */
                y = run(l, 2, w, x + (size_t)first * (size_t)K, bias, n);
                same_bits(y, all + (size_t)first * N, (size_t)n * N, "rows in a smaller batch");
                fc_free(y);
            }
            fc_free(all);
            fc_free(bias);
            fc_free(x);
            fc_free(data);
            fc_weight_free_cpu(w);
            fc_cpu_stream_close(s);
        }
}

/* Stacked parts, of one type or of several, are the same matrices side by side. */
static void parts_are_matrices_of_their_own(void **state) {
    static const fc_dtype mixes[][MAX_PARTS] = {
        {FC_Q4_K, FC_Q4_K, FC_Q6_K}, {FC_Q8_0, FC_Q5_0, FC_Q4_1}, {FC_F32, FC_BF16, FC_F16}, {FC_Q6_K, FC_F32, FC_Q8_0},
        {FC_Q4_0, FC_Q4_0, FC_Q4_0}, {FC_Q5_1, FC_Q6_K, FC_Q5_K}, {FC_F8, FC_F8, FC_Q8_0}};
    static const int outputs[MAX_PARTS] = {40, 17, 3};
    enum { T = 13, K = 512, N = 60 };
    (void)state;
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++)
        for (size_t m = 0; m < sizeof mixes / sizeof mixes[0]; m++) {
            fc_stream s = stream_of(FC_CPU_AUTO, 2);
            fc_weight_part parts[MAX_PARTS];
            unsigned char *data[MAX_PARTS];
            fc_weight *stack = NULL;
            float *x = normals((size_t)T * K), *bias = normals(N), *y;
            for (int p = 0; p < MAX_PARTS; p++) {
                data[p] = tensor(mixes[m][p], outputs[p], K, false);
                parts[p] =
                    (fc_weight_part){.name = "p", .data = data[p], .dtype = mixes[m][p], .N = outputs[p], .K = K};
            }
            assert_ok(fc_weight_pack_cpu(s, parts, MAX_PARTS, &stack));
            assert_int_equal(stack->N, N);
            assert_int_equal(stack->K, K);
            y = run(l, 2, stack, x, bias, T);
            for (int p = 0, first = 0; p < MAX_PARTS; first += outputs[p++]) {
                fc_weight *w = packed(s, mixes[m][p], data[p], outputs[p], K);
                float *alone = run(l, 1, w, x, bias + first, T);
                for (int t = 0; t < T; t++)
                    same_bits(y + t * N + first, alone + t * outputs[p], (size_t)outputs[p], "part");
                fc_free(alone);
                fc_free(data[p]);
                fc_weight_free_cpu(w);
            }
            fc_free(y);
            fc_free(x);
            fc_free(bias);
            fc_weight_free_cpu(stack);
            fc_cpu_stream_close(s);
        }
}

/* A workspace that holds one row or three gives the same bits; one that holds none is refused with the numbers. */
static void a_small_workspace_changes_no_bit(void **state) {
    enum { T = 11, N = 33, K = 256 };
    fc_stream big = stream_of(FC_CPU_AUTO, 2);
    unsigned char *data = tensor(FC_Q4_1, N, K, false);
    fc_weight *w = packed(big, FC_Q4_1, data, N, K);
    float *x = normals(T * K), *want = run(FC_CPU_AUTO, 2, w, x, NULL, T), y[T * N];
    (void)state;
    for (int rows = 1; rows <= 3; rows += 2) {
        fc_stream s = stream_with(FC_CPU_AUTO, 2, fc_linear_workspace_cpu(rows, K));
        assert_ok(fc_linear_cpu(s, &(fc_linear_args){.y = y, .x = x, .w = w, .T = T, .precise = precise_run}));
        same_bits(y, want, T * N, "small workspace");
        fc_cpu_stream_close(s);
    }
    big->workspace_bytes = 64;
    assert_fails(fc_linear_cpu(big, &(fc_linear_args){.y = y, .x = x, .w = w, .T = T}), FC_ERR_MEM, "64 are reserved");
    fc_free(data);
    fc_free(x);
    fc_free(want);
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(big);
}

/* Nor does the matrix that is multiplied next, of any type, shape and number of parts: its panels are only fetched. */
static void what_comes_next_changes_no_bit(void **state) {
    static const fc_dtype next[] = {FC_Q4_1, FC_Q6_K, FC_BF16, FC_F8};
    static const int rows[] = {1, 5, 33, 300};
    enum { N = 60, K = 256, MOST = 300 };
    fc_stream s = stream_of(FC_CPU_AUTO, 3);
    unsigned char *data = tensor(FC_Q4_1, N, K, false), *other = tensor(FC_Q8_0, 17, K, false);
    fc_weight *w = packed(s, FC_Q4_1, data, N, K);
    float *x = normals((size_t)MOST * K), *y = must((size_t)MOST * N, sizeof *y);
    (void)state;
    for (size_t i = 0; i < sizeof next / sizeof *next; i++) {
        unsigned char *mine = tensor(next[i], 40, K, false);
        const fc_weight_part parts[] = {{.name = "a", .data = mine, .dtype = next[i], .N = 40, .K = K},
                                        {.name = "b", .data = other, .dtype = FC_Q8_0, .N = 17, .K = K}};
        fc_weight *then;
        assert_ok(fc_weight_pack_cpu(s, parts, 2, &then));
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            float *want = run(FC_CPU_AUTO, 1, w, x, NULL, rows[r]);
            fc_linear_args a = {.y = y, .x = x, .w = w, .T = rows[r], .precise = precise_run, .then = then};
            assert_ok(fc_linear_cpu(s, &a));
            same_bits(y, want, (size_t)rows[r] * N, "with a next one");
            fc_free(want);
        }
        fc_weight_free_cpu(then);
        fc_free(mine);
    }
    fc_free(data);
    fc_free(other);
    fc_free(x);
    fc_free(y);
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(s);
}

/* Beyond 256 rows the call prepares x in pieces. 65 threads are more than such a piece has tiles, and than the tile
 * units that linear cuts any into. */
static void many_rows(void **state) {
    static const int threads[] = {9, 12, 16, 32, 65}; /* with rows of their own, that some share, and without */
    enum { T = 600, N = 84, K = 64 };
    fc_stream s = stream_of(FC_CPU_AUTO, 2);
    unsigned char *data = tensor(FC_Q8_0, N, K, false);
    fc_weight *w = packed(s, FC_Q8_0, data, N, K);
    float *x = normals((size_t)T * K), *ref = must((size_t)T * N, sizeof *ref);
    (void)state;
    assert_ok(fc_linear_ref(s, &(fc_linear_args){.y = ref, .x = x, .w = w, .T = T, .precise = precise_run}));
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
        float *y = run(l, 1, w, x, NULL, T);
        check_close(y, ref, w, x, T, "many rows");
        for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
            float *many = run(l, threads[i], w, x, NULL, T);
            same_bits(many, y, (size_t)T * N, "many threads");
            fc_free(many);
        }
        fc_free(y);
    }
    fc_free(ref);
    fc_free(x);
    fc_free(data);
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(s);
}

/* All codes at one end and x at its largest: no sum may saturate or wrap, neither of a tile with a row above
 * FC_X_LARGE, for which AVX-512 has a way of its own, nor of one without. */
static void extremes_do_not_saturate(void **state) {
    enum { T = 7, N = 17, K = 1024 };
    (void)state;
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++)
        for (int j = 0; j < 2 * N_TYPES; j++) {
            const int t = j / 2;
            const float size = j % 2 ? 1e30f : 3.0f;
            fc_stream s;
            unsigned char *data;
            fc_weight *w;
            float *x, *y, *ref;
            if (fc_dtype_is_float(types[t])) continue;
            s = stream_of(l, 1);
            data = tensor(types[t], N, K, true);
            w = packed(s, types[t], data, N, K);
            x = must(T * K, sizeof *x);
            ref = must(T * N, sizeof *ref);
            for (int i = 0; i < T * K; i++) x[i] = i / K % 2 ? size : -3.0f;
            for (int i = 4 * K; i < 6 * K; i += 64) /* every other group's quad, each in turn, at 250 times the rest */
                for (int k = 0; k < 4; k++) x[i + i / 64 % 8 * 4 + k] *= 250.0f;
            y = run(l, 1, w, x, NULL, T);
            assert_ok(fc_linear_ref(s, &(fc_linear_args){.y = ref, .x = x, .w = w, .T = T, .precise = precise_run}));
            check_within(K / 16 * 6e-8, y, ref, w, x, T, fc_dtype_name(types[t])); /* all terms of a row are equal */
            fc_free(ref);
            fc_free(x);
            fc_free(y);
            fc_free(data);
            fc_weight_free_cpu(w);
            fc_cpu_stream_close(s);
        }
}

/* A NaN or an infinity in x makes its row NaN and no other; a tiny row gives zero, not NaN. */
static void non_finite_rows_stay_alone(void **state) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    enum { T = 5, N = 16, K = 96 };
    (void)state;
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++)
        for (size_t b = 0; b < 3; b++)
            for (int t = 0; t < 2; t++) {
                fc_stream s = stream_of(l, 1);
                unsigned char *data = tensor(t ? FC_Q4_1 : FC_Q8_0, N, K, false);
                fc_weight *w = packed(s, t ? FC_Q4_1 : FC_Q8_0, data, N, K);
                float *x = normals(T * K), *clean = run(l, 1, w, x, NULL, T), *y;
                x[2 * K + 40 + (int)b] = bad[b];
                for (int k = 0; k < K; k++) x[4 * K + k] = 1e-39f;
                y = run(l, 1, w, x, NULL, T);
                for (int n = 0; n < N; n++) {
                    assert_true(isnan(y[2 * N + n]));
                    assert_true(y[4 * N + n] == 0.0f);
                }
                same_bits(y, clean, 2 * N, "rows before");
                same_bits(y + 3 * N, clean + 3 * N, N, "row behind");
                fc_free(clean);
                fc_free(x);
                fc_free(y);
                fc_free(data);
                fc_weight_free_cpu(w);
                fc_cpu_stream_close(s);
            }
}

/* AVX2, AVX-VNNI and AVX-512 do the same operations in the same order. */
static void wide_levels_agree_bit_for_bit(void **state) {
    enum { T = 8, N = 50, K = 512 };
    (void)state;
    if (fc_cpu_best() <= FC_CPU_AVX2) skip();
    for (int t = 0; t < N_TYPES; t++) {
        fc_stream s = stream_of(FC_CPU_AUTO, 1);
        unsigned char *data = tensor(types[t], N, K, false);
        fc_weight *w = packed(s, types[t], data, N, K);
        float *x = normals(T * K), *a = run(FC_CPU_AVX2, 1, w, x, NULL, T);
        for (fc_cpu_level l = FC_CPU_AVXVNNI; l <= fc_cpu_best(); l++) {
            float *b = run(l, 1, w, x, NULL, T);
            same_bits(a, b, T * N, fc_dtype_name(types[t]));
            fc_free(b);
        }
        fc_free(a);
        fc_free(x);
        fc_free(data);
        fc_weight_free_cpu(w);
        fc_cpu_stream_close(s);
    }
}

/* Sizes and types come from model files: each error names the tensor and the number. */
static void bad_parts_are_named(void **state) {
    static const struct {
        fc_weight_part part;
        fc_status status;
        const char *words;
    } cases[] = {
        {{.name = "blk.3.ffn_down", .dtype = FC_I32, .N = 4, .K = 64},
         FC_ERR_UNSUPPORTED,
         "blk.3.ffn_down: a matrix of type I32"},
        {{.name = "a", .dtype = FC_Q4_K, .N = 4, .K = 64},
         FC_ERR_FORMAT,
         "tensor a: 64 columns are no multiple of the block of Q4_K, 256"},
        {{.name = "b", .dtype = FC_F32, .N = 4, .K = 63},
         FC_ERR_ARG,
         "tensor b: 63 columns; the parts stacked before it have 64"},
        {{.name = "c", .dtype = FC_F32, .N = 0, .K = 64}, FC_ERR_ARG, "tensor c: [0,64]"},
        {{.name = "d", .dtype = FC_F32, .N = 4, .K = -1}, FC_ERR_ARG, "tensor d: [4,-1]"},
        {{.name = "e", .dtype = FC_F32, .N = INT32_MAX, .K = 64}, FC_ERR_ARG, "tensor e: 2147483647 rows"},
    };
    fc_stream s = stream_of(FC_CPU_AUTO, 1);
    float good[64] = {0};
    fc_weight *w = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fc_weight_part parts[2] = {{.name = "first", .data = good, .dtype = FC_F32, .N = 1, .K = 64}, cases[i].part};
        if (cases[i].part.dtype == FC_Q4_K) parts[0] = parts[1];
        assert_fails(fc_weight_pack_cpu(s, parts, 2, &w), cases[i].status, cases[i].words);
        assert_null(w);
    }
    assert_fails(fc_weight_pack_cpu(s, NULL, 0, &w), FC_ERR_ARG, "0 parts");
    w = packed(s, FC_F32, good, 1, 64);
    assert_fails(fc_linear_cpu(s, &(fc_linear_args){.w = w, .T = 0}), FC_ERR_ARG, "T=0");
    fc_weight_free_cpu(w);
    fc_weight_free_cpu(NULL);
    fc_cpu_stream_close(s);
}

/* If this fails, inspect and doctor estimate memory that is not what is held. */
static void what_is_held_can_be_told_before(void **state) {
    fc_stream s = stream_of(FC_CPU_AUTO, 1);
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        unsigned char *data = tensor(types[i], 32, 512, false);
        fc_weight *w = packed(s, types[i], data, 32, 512);
        uint64_t told = fc_quant_held_bytes(types[i], 32 * 512) + (types[i] == FC_F8 ? 32 * sizeof(float) : 0);
        if (w->bytes != told)
            fail_msg("%s: %zu bytes held, %llu told", fc_dtype_name(types[i]), w->bytes, (unsigned long long)told);
        fc_free(data);
        fc_weight_free_cpu(w);
    }
    fc_cpu_stream_close(s);
}

static void costs_count_the_matrix_once(void **state) {
    fc_stream s = stream_of(FC_CPU_AUTO, 1);
    unsigned char *data = tensor(FC_Q4_1, 32, 64, false);
    fc_weight *w = packed(s, FC_Q4_1, data, 32, 64);
    fc_cost cost = fc_linear_cost(&(fc_linear_args){.w = w, .T = 10});
    (void)state;
    assert_int_equal(w->bytes, 2 * (64 * 16 / 2 + 2 * 2 * 16 * 2)); /* what the file holds: 5 bits a weight */
    assert_true(cost.flops == 2.0 * 10 * 32 * 64);
    assert_true(fc_linear_cost(&(fc_linear_args){.w = w, .T = 10, .precise = true}).flops ==
                cost.flops); /* the same sum */
    assert_true(cost.bytes == (double)w->bytes + 4.0 * 10 * (32 + 64));
    fc_free(data);
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(s);
}

/* The same story with x in 16 bits. */
#define precise_unit_test(story)                                                                                       \
    { "precise: " #story, story, x_in_16_bits, x_in_8_bits, NULL }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_reference),
        cmocka_unit_test(rows_are_the_file_s_values),
        cmocka_unit_test(a_row_s_bits_are_its_own),
        precise_unit_test(a_row_s_bits_are_its_own),
        cmocka_unit_test(parts_are_matrices_of_their_own),
        precise_unit_test(parts_are_matrices_of_their_own),
        cmocka_unit_test(a_small_workspace_changes_no_bit),
        precise_unit_test(a_small_workspace_changes_no_bit),
        cmocka_unit_test(what_comes_next_changes_no_bit),
        cmocka_unit_test(many_rows),
        precise_unit_test(many_rows),
        cmocka_unit_test(extremes_do_not_saturate),
        precise_unit_test(extremes_do_not_saturate),
        cmocka_unit_test(non_finite_rows_stay_alone),
        precise_unit_test(non_finite_rows_stay_alone),
        cmocka_unit_test(wide_levels_agree_bit_for_bit),
        precise_unit_test(wide_levels_agree_bit_for_bit),
        cmocka_unit_test(bad_parts_are_named),
        cmocka_unit_test(what_is_held_can_be_told_before),
        cmocka_unit_test(costs_count_the_matrix_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
