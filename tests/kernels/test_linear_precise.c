/* linear's precise x: how far each number is from what it is read as, at every level, wherever in a group it stands
 * out. */
#include "engine/base/mem.h"
#include "engine/base/quant.h"
#include "kernels/cpu/cpu.h"
#include "kernels/linear/linear.h"
#include "tests/kernels/util_weight.h"
#include "tests/util.h"

static uint64_t seed = 4711;

static void *must(size_t n, size_t size) {
    void *p = NULL;
    assert_ok(fc_alloc(n, size, "test", &p));
    return p;
}

static fc_stream stream_of(fc_cpu_level level, int threads) {
    fc_stream s = NULL;
    assert_ok(fc_cpu_stream_open(level, threads, fc_linear_workspace_cpu(256, 512), 64, &s));
    return s;
}

/* The header's bound on how far an element of these 32 is from what it is rounded to. */
static double rounded_by(const float *group, bool fine) {
    double quad[8] = {0}, most = 0, rest;
    int at = 0;
    for (int k = 0; k < 32; k++) quad[k / 4] = fmax(quad[k / 4], fabs((double)group[k]));
    for (int q = 0; q < 8; q++)
        if (quad[q] > most) most = quad[at = q];
    if (!fine) return most * 0.0056;
    rest = most / 250;
    for (int q = 0; q < 8; q++) rest = q != at && quad[q] > rest ? quad[q] : rest;
    return rest * 0.0056;
}

/* If this fails, one large number in 32 takes the others' bits. The first 32 of each row stand out by one number about
 * 60 times larger than their rest, far enough where x is precise, and not where it is not. */
static void precise_is_nearer(void **state) {
    enum { T = 5, N = 40, K = 256 };
    (void)state;
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++)
        for (int type = 0; type < WEIGHT_TYPES; type++) {
            fc_stream s = stream_of(l, 2);
            fc_weight *w = weight_made_up(s, weight_types[type], N, K, &seed);
            float *x = must((size_t)T * K, sizeof *x), y[T * N], row[K];
            for (int i = 0; i < T * K; i++) x[i] = i / 32 % 8 ? 50.0f : test_normal(&seed); /* 50: exact */
            for (int i = 0; i < T * K; i += K) x[i + test_below(&seed, 32)] = test_below(&seed, 2) ? 120.0f : -120.0f;
            double error[2] = {0, 0};
            for (int precise = 0; precise < 2 && fc_dtype_is_quant(weight_types[type]); precise++) {
                assert_ok(fc_linear_cpu(s, &(fc_linear_args){.y = y, .x = x, .w = w, .T = T, .precise = precise}));
                for (int i = 0; i < T * N; i++) {
                    double sum = 0, most = 0, by = rounded_by(x + i / N * K, precise);
                    fc_weight_row_cpu(w, i % N, row);
                    for (int k = 0; k < K; k++) {
                        double term = (double)row[k] * (double)x[i / N * K + k];
                        sum += term;
                        most += (k < 32 ? fabs((double)row[k]) * by : 0.0) + 1e-6 * fabs(term);
                    }
                    if (!(fabs(sum - (double)y[i]) <= most))
                        fail_msg("%s: %g off, more than %g", fc_dtype_name(weight_types[type]), sum - (double)y[i],
                                 most);
                    error[precise] += fabs(sum - (double)y[i]);
                }
            }
            assert_true(error[1] <= error[0] / 20); /* 120 over about 2.5, the rest's largest, is near 50 */
            fc_weight_free_cpu(w);
            fc_free(x);
            fc_cpu_stream_close(s);
        }
}

/* A matrix that hands out x as it is read: y[t,n] is x[t,n] rounded. */
static fc_weight *identity(fc_stream s, fc_dtype t, int K) {
    size_t bytes = (size_t)K / 32 * fc_dtype_block_bytes(t);
    unsigned char *data = must((size_t)K, bytes);
    fc_weight *w = NULL;
    const uint16_t one = 0x3c00;                              /* 1 as f16 */
    memset(data, t == FC_Q4_0 ? 0x88 : 0, (size_t)K * bytes); /* Q4_0: 8 is the zero code */
    for (int n = 0; n < K; n++)
        for (int g = 0; g < K / 32; g++) {
            unsigned char *block = data + (size_t)n * bytes + (size_t)g * fc_dtype_block_bytes(t), *codes = block + 2;
            memcpy(block, &one, sizeof one);
            if (n / 32 != g) continue;
            if (t == FC_Q4_0) codes[n % 16] = n % 32 < 16 ? 0x89 : 0x98;
            else codes[n % 32] = 1;
        }
    assert_ok(
        fc_weight_pack_cpu(s, &(fc_weight_part){.name = "identity", .data = data, .dtype = t, .N = K, .K = K}, 1, &w));
    fc_free(data);
    return w;
}

/* x as a precise product reads it: the same at all levels and in the reference. */
static void read_back(fc_dtype t, const float *x, int T, int K, bool precise, float *out) {
    fc_stream s = stream_of(FC_CPU_AUTO, 1);
    fc_weight *w = identity(s, t, K);
    fc_linear_args a = {.y = out, .x = x, .w = w, .T = T, .precise = precise};
    float *y = must((size_t)T * (size_t)K, sizeof *y);
    assert_ok(fc_linear_ref(s, &a));
    fc_cpu_stream_close(s);
    a.y = y;
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
        s = stream_of(l, 1);
        assert_ok(fc_linear_cpu(s, &a));
        for (int i = 0; i < T * K; i++)
            if (y[i] != out[i] && !(isnan(y[i]) && isnan(out[i])))
                fail_msg("%s %s: x[%d,%d] = %.9g is read as %.9g, by the reference as %.9g", fc_cpu_level_name(l),
                         fc_dtype_name(t), i / K, i % K, (double)x[i], (double)y[i], (double)out[i]);
        fc_cpu_stream_close(s);
    }
    fc_free(y);
    fc_weight_free_cpu(w);
}

/* If this fails, a number that stands out is read from the wrong place, or its neighbours lose their bits to it. */
static void what_stands_out_is_read_as_told(void **state) {
    static const float sizes[] = {3.1f, 40.0f, -127.0f, 128.5f, -249.0f, 251.0f, -5000.0f, 1e20f};
    enum { K = 96, SIZES = sizeof sizes / sizeof sizes[0] };
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int type = 0; type < 2; type++)
        for (int i = 0; i < SIZES; i++) {
            static float x[32 * K], y[32 * K];
            for (int k = 0; k < 32 * K; k++) x[k] = test_uniform(&seed);
            for (int t = 0; t < 32; t++) x[t * K + 32 + t] = sizes[i]; /* each place of the middle group */
            read_back(type ? FC_Q4_0 : FC_Q8_0, x, 32, K, true, y);
            for (int k = 0; k < 32 * K; k++) {
                double by = rounded_by(x + k / 32 * 32, k / 32 % 3 == 1) + 1e-6 * fabs((double)x[k]);
                if (!(fabs((double)y[k] - (double)x[k]) <= by))
                    fail_msg("%g at %d: x[%d,%d] = %.9g is read as %.9g", (double)sizes[i], k / K, k / K, k % K,
                             (double)x[k], (double)y[k]);
            }
        }
}

/* Rows in which no single quad is far above the rest are those of 8 bits: one group alone, which is its own mean; equal
 * maxima in two quads; zeros of both signs; magnitudes below 2^-80. A NaN or an infinity anywhere makes all NaN. */
static void edges_of_what_stands_out(void **state) {
    enum { T = 8, K = 64, ONE = 32 };
    float x[T * K], y[2][T * K];
    (void)state;
    for (int type = 0; type < 2; type++) {
        fc_dtype t = type ? FC_Q4_0 : FC_Q8_0;
        for (int i = 0; i < T * K; i++) x[i] = test_uniform(&seed);
        for (int i = 0; i < T; i++) x[i * ONE + 4 * i] = 100.0f;
        for (int precise = 0; precise < 2; precise++) read_back(t, x, T, ONE, precise, y[precise]);
        assert_memory_equal(y[0], y[1], T * ONE * sizeof(float));

        for (int i = 0; i < T * K; i++) x[i] = test_uniform(&seed);
        for (int i = 0; i < T; i++) x[i * K + 4 * i] = 100.0f, x[i * K + 4 * ((i + 3) % 8)] = -100.0f;
        for (int i = 0; i < 32; i++) x[7 * K + i] = i % 2 ? 0.0f : -0.0f;
        for (int precise = 0; precise < 2; precise++) read_back(t, x, T - 1, K, precise, y[precise]);
        assert_memory_equal(y[0], y[1], (T - 1) * K * sizeof(float));

        for (int i = 0; i < 32; i++) x[K + i] = i == 9 ? 0x1p-80f : 0x1p-90f; /* and the other 32 nothing at all */
        for (int i = 32; i < K; i++) x[K + i] = 0.0f;
        for (int i = 0; i < 32; i++) x[2 * K + i] = i == 9 ? 0x1.1p-80f : 0x1p-84f;
        for (int i = 32; i < K; i++) x[2 * K + i] = 0.0f;
        x[3 * K + 21] = NAN;
        x[4 * K + 21] = INFINITY;
        x[5 * K + 40] = -INFINITY;
        read_back(t, x, T, K, true, y[1]);
        for (int i = 0; i < K; i++) {
            assert_true(y[1][K + i] == 0.0f);
            if (i < 32) assert_true(fabsf(y[1][2 * K + i] - x[2 * K + i]) <= 0x1p-84f * 0.0056f);
            assert_true(isnan(y[1][3 * K + i]) && isnan(y[1][4 * K + i]) && isnan(y[1][5 * K + i]));
            if (i < 32) assert_true(y[1][7 * K + i] == 0.0f);
        }
    }
}

/* If this fails, what is not fine costs as much as what is, or is rounded otherwise than with 8 bits. */
static void what_is_not_fine_has_8_bits(void **state) {
    enum { T = 7, N = 40, K = 512 };
    (void)state;
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++)
        for (int type = 0; type < WEIGHT_TYPES; type++) {
            fc_stream s = stream_of(l, 2);
            fc_weight *w = weight_made_up(s, weight_types[type], N, K, &seed);
            float *x = must((size_t)T * K, sizeof *x), y[2][T * N];
            for (int i = 0; i < T * K; i++) x[i] = i % 32 ? test_uniform(&seed) : 1.5f; /* no group stands out */
            for (int precise = 0; precise < 2; precise++)
                assert_ok(
                    fc_linear_cpu(s, &(fc_linear_args){.y = y[precise], .x = x, .w = w, .T = T, .precise = precise}));
            if (memcmp(y[0], y[1], sizeof y[0]) != 0) fail_msg("%s: other bits", fc_dtype_name(weight_types[type]));
            fc_weight_free_cpu(w);
            fc_free(x);
            fc_cpu_stream_close(s);
        }
}

/* If this fails, a group that stands out by far meets weights so large that its sum leaves the bits that AVX-512 keeps
 * it in, or one that does not is taken for such. */
static void large_sums_are_whole(void **state) {
    enum { T = 6, N = 32, K = 64 };
    static const float sizes[] = {2.0f, 8.0f, 12.0f, 13.0f, 25.0f, 100.0f, 249.0f};
    (void)state;
    for (int sign = -1; sign <= 1; sign += 2)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            float weights[N * K], x[T * K], y[T * N], ref[T * N];
            size_t bytes = (size_t)K / 32 * fc_dtype_block_bytes(FC_Q8_0);
            unsigned char *data = must(N, bytes);
            for (int k = 0; k < N * K; k++) weights[k] = (float)sign * 127.0f;
            for (int n = 0; n < N; n++) assert_ok(fc_quant_row(FC_Q8_0, weights + n * K, data + (size_t)n * bytes, K));
            for (int k = 0; k < T * K; k++) x[k] = k % K < 4 ? sizes[i] : 1.0f;
            for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
                fc_stream s = stream_of(l, 1);
                fc_weight *w = NULL;
                fc_linear_args a = {.y = y, .x = x, .T = T, .precise = true};
                assert_ok(fc_weight_pack_cpu(
                    s, &(fc_weight_part){.name = "large", .data = data, .dtype = FC_Q8_0, .N = N, .K = K}, 1, &w));
                a.w = w;
                assert_ok(fc_linear_cpu(s, &a));
                a.y = ref;
                assert_ok(fc_linear_ref(s, &a));
                for (int k = 0; k < T * N; k++)
                    if (!(fabsf(y[k] - ref[k]) <= 1e-6f * fabsf(ref[k])))
                        fail_msg("%s: %g in a quad: %.9g, reference %.9g", fc_cpu_level_name(l), (double)sizes[i],
                                 (double)y[k], (double)ref[k]);
                fc_weight_free_cpu(w);
                fc_cpu_stream_close(s);
            }
            fc_free(data);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(precise_is_nearer),
        cmocka_unit_test(what_is_not_fine_has_8_bits),
        cmocka_unit_test(what_stands_out_is_read_as_told),
        cmocka_unit_test(edges_of_what_stands_out),
        cmocka_unit_test(large_sums_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
