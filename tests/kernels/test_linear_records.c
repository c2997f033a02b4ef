/* linear's records of a prepared tile: those of all vector units have the bits of plain C's, but for the quad of a
 * group without high bytes, which nothing hangs on. */
#include "engine/base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/linear/levels.h"
#include "tests/util.h"

enum { GROUPS_MAX = 33, STRIDE = GROUPS_MAX * FC_XGROUP + 8, UNWRITTEN = 0xa5 };

static uint64_t seed = 1973;

static const struct {
    const char *name;
    fc_cpu_level needs;
    size_t bytes;
    void (*prepare)(const fc_linear_prepare *p);
} units[] = {{"AVX2", FC_CPU_AVX2, sizeof(fc_linear_x), fc_linear_prepare_avx2},
             {"AVX-512", FC_CPU_AVX512, sizeof(fc_linear_x), fc_linear_prepare_avx512}};

/* What a group may be: the edges of each case that prepares tell apart. */
typedef enum { NORMAL, STANDS_OUT, OF_12, OF_13, TIES, TWO_QUADS, ZERO, TINY, NEAR_TINY, CALM_KINDS } calm;
typedef enum { LARGE = CALM_KINDS, NEAR_LARGE, HUGE_ONES, NOT_A_NUMBER, INFINITE, KINDS } wild;

static float sign(void) { return test_below(&seed, 2) ? 1.0f : -1.0f; }

/* All but one quad have codes up to 127, that one the code `most` and smaller ones. */
static void own_codes(float *x, int most, float scale) {
    const float s = sign();
    for (int k = 0; k < FC_XGROUP; k++) x[k] = scale * sign() * (float)(127 - test_below(&seed, 100));
    x[8] = x[20] = scale * 127.0f; /* one of them outside the quad */
    for (int k = 4 * test_below(&seed, 8), i = 0; i < 4; i++) x[k + i] = scale * s * (float)(most - i * 3);
}

static void make_group(float *x, int kind) {
    static const float tiny[] = {0x1p-80f, 0x1.000002p-80f, 0x1p-81f}, large[] = {0x1p60f, 0x1.000002p60f, 0x1p61f};
    const int at = test_below(&seed, FC_XGROUP), i = test_below(&seed, 3);
    for (int k = 0; k < FC_XGROUP; k++) x[k] = test_normal(&seed);
    switch (kind) {
    case STANDS_OUT: x[at] = sign() * ldexpf(1.0f + fabsf(x[at]), test_below(&seed, 12)); break;
    case OF_12: own_codes(x, 3199 + test_below(&seed, 2), i ? 1.0f : FC_X_ROOT); break;
    case OF_13: own_codes(x, 3201 + test_below(&seed, 255), i ? 1.0f : FC_X_ROOT); break;
    case TIES:
        for (int k = 0; k < FC_XGROUP; k++) x[k] = (float)(test_below(&seed, 255) - 127) + 0.5f * (k > 0);
        x[0] = 127.0f; /* a scale of 1 */
        break;
    case TWO_QUADS: x[at] = 90.0f, x[(at + 11) % FC_XGROUP] = -90.0f; break;
    case ZERO:
        for (int k = 0; k < FC_XGROUP; k++) x[k] = k % 3 ? 0.0f : -0.0f;
        break;
    case TINY:
        for (int k = 0; k < FC_XGROUP; k++) x[k] *= 1e-39f;
        break;
    case NEAR_TINY:
        for (int k = 0; k < FC_XGROUP; k++) x[k] = test_uniform(&seed) * 0x1p-82f;
        x[at] = sign() * tiny[i];
        break;
    case LARGE:
        for (int k = 0; k < FC_XGROUP; k++) x[k] *= 0x1p70f;
        break;
    case NEAR_LARGE:
        for (int k = 0; k < FC_XGROUP; k++) x[k] *= 0x1p50f;
        x[at] = sign() * large[i];
        break;
    case HUGE_ONES:
        for (int k = 0; k < FC_XGROUP; k++) x[k] *= 1e37f;
        break;
    case NOT_A_NUMBER: x[at] = sign() * NAN; break;
    case INFINITE: x[at] = sign() * INFINITY; break;
    default: break;
    }
}

/* Most rows are calm: where one number is wild, no other group of its row is fine. In some rows OF_12 and OF_13 have
 * smaller groups around them, so that these are. */
static void make_rows(float *x, int rows, int groups) {
    for (int r = 0; r < rows; r++) {
        const bool is_wild = test_below(&seed, 4) == 0, apart = test_below(&seed, 3) == 0;
        for (int g = 0; g < groups; g++) {
            int kind = test_below(&seed, is_wild ? KINDS : CALM_KINDS);
            if (apart) kind = g % 3 == 1 ? OF_12 + test_below(&seed, 2) : kind % 2 ? NORMAL : TIES;
            make_group(x + r * STRIDE + g * FC_XGROUP, kind);
        }
    }
}

static int most_high(const fc_linear_x *x) {
    int most = 0;
    for (int i = 0; i < 4; i++) most = abs(x->high[i]) > most ? abs(x->high[i]) : most;
    return most;
}

/* n records of `size` compared bytes, `bytes` apart. */
static void same(const char *name, const void *got, const void *want, int n, int rows, size_t size, size_t bytes,
                 size_t want_bytes) {
    for (int i = 0; i < n; i++) {
        fc_linear_x_wide a, b;
        memcpy(&a, (const char *)got + (size_t)i * bytes, size);
        memcpy(&b, (const char *)want + (size_t)i * want_bytes, size);
        if (!most_high(&a.x)) a.x.quad = b.x.quad;
        for (size_t k = 0; k < size; k++)
            if (((const char *)&a)[k] != ((const char *)&b)[k])
                fail_msg("%s: row %d group %d: byte %zu of a record (scale %g, plain C's %g) is %d, plain C's %d", name,
                         i % rows, i / rows, k, (double)a.x.scale, (double)b.x.scale, ((const char *)&a)[k],
                         ((const char *)&b)[k]);
    }
}

/* Which cases a test has met. */
static struct { int zero, nan, large, fine, of_12, of_13, fine_with_root; } met;

static void count(const fc_linear_x *x) {
    met.zero += x->scale == 0.0f;
    met.nan += isnan(x->scale);
    met.large += x->overflows && x->bias[0] == 0.0f;
    met.fine += most_high(x) > 0;
    met.fine_with_root += most_high(x) > 0 && x->root;
    met.of_12 += most_high(x) == 12 && !x->overflows;
    met.of_13 += most_high(x) == 13 && x->overflows;
}

static unsigned char *records(size_t n, size_t bytes) {
    void *p = NULL;
    assert_ok(fc_alloc(n + 1, bytes, "test", &p));
    memset(p, UNWRITTEN, (n + 1) * bytes);
    return p;
}

static void untouched(const unsigned char *p, size_t bytes, const char *name) {
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != UNWRITTEN) fail_msg("%s: writes behind the last record", name);
}

/* All levels' records of one tile. */
static void compare(fc_linear_prepare p) {
    const int n = p.K / FC_XGROUP * p.rows;
    const size_t wide = sizeof(fc_linear_x_wide), all = (size_t)n;
    unsigned char *want = records(all, wide), *got;
    p.out = want;
    fc_linear_portable.prepare(&p);
    untouched(want + all * wide, wide, "portable");
    for (int i = 0; i < n; i++) count(&((const fc_linear_x_wide *)(const void *)want)[i].x);
    if (fc_cpu_best() >= FC_CPU_AVX2) {
        p.out = got = records(all, wide);
        fc_linear_avx2.prepare(&p);
        same("AVX2, in pairs", got, want, n, p.rows, wide, wide, wide);
        untouched(got + all * wide, wide, "AVX2, in pairs");
        fc_free(got);
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (fc_cpu_best() < units[i].needs) continue;
        p.out = got = records(all, units[i].bytes);
        units[i].prepare(&p);
        same(units[i].name, got, want, n, p.rows, sizeof(fc_linear_x), units[i].bytes, wide);
        untouched(got + all * units[i].bytes, units[i].bytes, units[i].name);
        fc_free(got);
    }
    fc_free(want);
}

/* If this fails, levels round x otherwise, or one multiplies what another would not. Numbers of groups are no multiples
 * of 4 and 16 here and there, at which vector units take them. */
static void all_levels_make_the_same_records(void **state) {
    static const int rows[] = {1, 2, 3, 5, 6, 7, 16}, groups[] = {1, 2, 3, 5, 8, 15, 17, GROUPS_MAX};
    static const int zeros[] = {0, 8, 16, 32, 128};
    static float x[FC_TILE_ROWS * STRIDE];
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 8 * 7 * 8; i++) {
        const int R = rows[i % 7], n = groups[i / 7 % 8];
        make_rows(x, R, n);
        compare((fc_linear_prepare){.x = x,
                                    .stride = STRIDE,
                                    .rows = R,
                                    .K = n * FC_XGROUP,
                                    .zero = zeros[i % 5],
                                    .halves = i % 3 == 0,
                                    .precise = i / 2 % 2});
    }
    if (!(met.zero && met.nan && met.large && met.fine && met.fine_with_root && met.of_12 && met.of_13))
        fail_msg("a case is missing: zero %d, NaN %d, large %d, fine %d, with root %d, of 12 %d, of 13 %d", met.zero,
                 met.nan, met.large, met.fine, met.fine_with_root, met.of_12, met.of_13);
}

/* AMX, AVX-VNNI and AVX-512 VNNI of 256 bits have no prepare of their own. */
static void other_levels_share_these(void **state) {
    (void)state;
    assert_true(fc_linear_avxvnni.prepare == fc_linear_prepare_avx2);
    assert_true(fc_linear_vnni256.prepare == fc_linear_prepare_avx2);
    assert_true(fc_linear_avx512.prepare == fc_linear_prepare_avx512);
    assert_true(fc_linear_amx.prepare == fc_linear_prepare_avx512);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_levels_make_the_same_records),
        cmocka_unit_test(other_levels_share_these),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
