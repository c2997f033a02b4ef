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

/* Whether a group of 32 is fine, by the header's rule, whose two limits are these. */
static bool is_fine(const float *row, int groups, int group, bool precise) {
    double sum = 0, mine = 0;
    for (int g = 0; g < groups; g++) {
        double most = 0;
        for (int k = 0; k < 32; k++) most = fmax(most, fabs((double)row[g * 32 + k]));
        sum += most;
        if (g == group) mine = most;
    }
    return mine > (precise ? 1.25 : 3.0) * sum / groups;
}

/* If this fails, what is read finely is not what the header says. One group of each row has a number that is just below
 * or above a limit; the rest of it is so small that 8 bits of the whole read it as zero. */
static void fine_is_told_by_the_mean(void **state) {
    static const double limits[] = {1.25, 3.0};
    static const int groups[] = {4, 7, 16};
    enum { T = 6, K_MAX = 512 };
    static float x[T * K_MAX], y[T * K_MAX];
    (void)state;
    for (int i = 0; i < 2 * 2 * 2 * 3 * 2; i++) {
        const bool precise = i % 2, above = i / 2 % 2;
        const int n = groups[i / 8 % 3], K = n * 32;
        const double limit = limits[i / 4 % 2] * (above ? 1.0001 : 0.9999), size = 40.0;
        const float most = (float)(limit * (n - 1) * size / (n - limit)); /* limit times the mean of all n */
        for (int k = 0; k < T * K; k++) x[k] = k % 5 ? 1.0f : -(float)size;
        for (int t = 0; t < T; t++) {
            float *group = x + t * K + t % n * 32;
            for (int k = 0; k < 32; k++) group[k] = most / 400 * test_uniform(&seed);
            group[test_below(&seed, 32)] = t % 2 ? most : -most;
        }
        read_back(i / 24 ? FC_Q4_0 : FC_Q8_0, x, T, K, precise, y);
        for (int t = 0; t < T; t++) {
            const float *from = x + t * K + t % n * 32, *to = y + t * K + t % n * 32;
            const bool fine = is_fine(x + t * K, n, t % n, precise);
            for (int k = 0; k < 32; k++)
                if (fabsf(from[k]) < most && !(fine ? fabsf(to[k] - from[k]) <= most / 250 * 0.0056f : to[k] == 0.0f))
                    fail_msg("%g of %d groups, precise %d: %g beside %g is read as %g, fine %d", limit, n, precise,
                             (double)from[k], (double)most, (double)to[k], fine);
        }
    }
}

/* T rows of K at every level against the reference. */
static void near_the_reference(const fc_weight_part *part, const float *x, int T, const char *what) {
    float *y = must((size_t)T * (size_t)part->N, sizeof *y), *ref = must((size_t)T * (size_t)part->N, sizeof *ref);
    float *row = must((size_t)part->K, sizeof *row);
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
        fc_stream s = stream_of(l, 1);
        fc_weight *w = NULL;
        fc_linear_args a = {.y = y, .x = x, .T = T, .precise = true};
        assert_ok(fc_weight_pack_cpu(s, part, 1, &w));
        a.w = w;
        assert_ok(fc_linear_cpu(s, &a));
        a.y = ref;
        assert_ok(fc_linear_ref(s, &a));
        for (int i = 0; i < T * part->N; i++) {
            double size = 0;
            fc_weight_row_cpu(w, i % part->N, row);
            for (int k = 0; k < part->K; k++)
                size += fabs((double)row[k] * (double)x[(size_t)(i / part->N) * (size_t)part->K + (size_t)k]);
            if (!(fabs((double)y[i] - (double)ref[i]) <= 1e-6 * size))
                fail_msg("%s %s, %s: y[%d,%d] = %.9g, reference %.9g", fc_cpu_level_name(l), fc_dtype_name(part->dtype),
                         what, i / part->N, i % part->N, (double)y[i], (double)ref[i]);
        }
        fc_weight_free_cpu(w);
        fc_cpu_stream_close(s);
    }
    fc_free(row);
    fc_free(ref);
    fc_free(y);
}

/* A tensor whose bytes of codes are all the same, and so are its scales; minimums are 0. */
static unsigned char *all_codes(fc_dtype t, unsigned char code, float scale, int N, int K) {
    const bool whole = t == FC_Q4_W || t == FC_Q8_W;
    const size_t block = fc_dtype_block_bytes(t), bytes = (size_t)N * (size_t)K / 32 * block;
    const size_t head = whole ? 8 : t == FC_Q4_1 ? 4 : 2;
    const uint16_t half = fc_f32_to_f16(scale);
    unsigned char *data = must(bytes, 1);
    memset(data, code, bytes);
    for (unsigned char *b = data; b < data + bytes; b += block) {
        memset(b, 0, head);
        if (whole) memcpy(b, &scale, sizeof scale);
        else memcpy(b, &half, sizeof half);
    }
    return data;
}

/* If this fails, a group that stands out by far meets weights so large that its sum leaves the bits that AVX-512 keeps
 * it in. Numbers are their own codes, or the root of two times these: 32 of the largest, 127, and one quad of sizes,
 * whose high bytes are 2, then the last of 12, the first and the last of 13, those of 14, and far more. Below zero
 * -3200 is the last of 12. Codes of 4 bits count 16 times in odd groups. */
static void large_sums_are_whole(void **state) {
    static const struct {
        fc_dtype type;
        unsigned char code;
    } weights[] = {{FC_Q8_W, 0xff}, {FC_Q8_0, 0x7f}, {FC_Q8_0, 0x80}, {FC_Q4_W, 0xff},
                   {FC_Q4_1, 0xff}, {FC_Q4_0, 0xff}, {FC_Q4_0, 0x00}};
    static const float sizes[] = {639, 3199, 3200, 3201, 3455, 3456, 3711, 6400, 25600, 31750};
    enum { T = 6, N = 32, K = 64, SIZES = sizeof sizes / sizeof sizes[0] };
    (void)state;
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        unsigned char *data = all_codes(weights[i].type, weights[i].code, 1.0f, N, K);
        const fc_weight_part part = {.name = "w", .data = data, .dtype = weights[i].type, .N = N, .K = K};
        for (int j = 0; j < 4 * SIZES; j++) {
            const float scale = (j & 1 ? 1.41421356f : 1.0f) * (j & 2 ? -1.0f : 1.0f);
            float x[T * K];
            char what[32];
            for (int k = 0; k < T * K; k++) x[k] = scale * 127.0f;
            for (int t = 0; t < T; t++) /* in the odd group, in the even one, any quad */
                for (int k = 0; k < 4; k++) x[t * K + (t + 1) % 2 * 32 + t * 4 + k] = scale * sizes[j / 4];
            snprintf(what, sizeof what, "%g in a quad", (double)(scale * sizes[j / 4]));
            near_the_reference(&part, x, T, what);
        }
        fc_free(data);
    }
}

/* If this fails, a group's power of two leaves f32 with its sums, where several rows are multiplied at once. */
static void large_rows_are_whole(void **state) {
    static const fc_dtype types[] = {FC_Q8_0, FC_Q8_W, FC_Q4_0, FC_Q4_1};
    static const float sizes[] = {0x1p59f, 0x1p61f, 1e30f, 1e37f};
    enum { T = 6, N = 32, K = 64 };
    (void)state;
    for (int i = 0; i < 16; i++) {
        unsigned char *data = all_codes(types[i / 4], 0x9e, 0x1p-10f, N, K); /* far from f32's own end */
        const fc_weight_part part = {.name = "w", .data = data, .dtype = types[i / 4], .N = N, .K = K};
        float x[T * K];
        for (int k = 0; k < T * K; k++) x[k] = sizes[i % 4] * test_uniform(&seed);
        near_the_reference(&part, x, T, "large");
        fc_free(data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(precise_is_nearer),
        cmocka_unit_test(what_is_not_fine_has_8_bits),
        cmocka_unit_test(what_stands_out_is_read_as_told),
        cmocka_unit_test(edges_of_what_stands_out),
        cmocka_unit_test(fine_is_told_by_the_mean),
        cmocka_unit_test(large_sums_are_whole),
        cmocka_unit_test(large_rows_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
