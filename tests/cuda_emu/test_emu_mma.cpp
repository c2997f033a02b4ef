/* The wrappers' twins: products of a warp and their fragments, folds of warps and blocks, numbers and bits. */
#include "tests/cuda_emu/util_emu.h"

/* ---- products ----
 * What PTX says of fragments is written down a second time, as its tables do it: element i of lane l's registers. */

typedef struct {
    int row, col;
} place;

/* m16n8k16 of 16 bits; m16n8k32 of 8 bits. i counts elements, low to high, through the registers. */
static place a16(int l, int i) { return {i % 4 < 2 ? l / 4 : l / 4 + 8, l % 4 * 2 + (i & 1) + (i < 4 ? 0 : 8)}; }
static place b16(int l, int i) { return {l % 4 * 2 + (i & 1) + (i < 2 ? 0 : 8), l / 4}; }
static place a8(int l, int i) {
    return {i < 4 || (i >= 8 && i < 12) ? l / 4 : l / 4 + 8, l % 4 * 4 + (i & 3) + (i < 8 ? 0 : 16)};
}
static place b8(int l, int i) { return {l % 4 * 4 + (i & 3) + (i < 4 ? 0 : 16), l / 4}; }
static place c32(int l, int i) { return {i < 2 ? l / 4 : l / 4 + 8, l % 4 * 2 + (i & 1)}; }

struct fragments {
    uint32_t (*a)[4], (*b)[2]; /* [32] */
    float (*f)[4];
    int32_t (*i)[4];
    int how;
};

static void product(const fragments p) {
    int l = (int)threadIdx.x;
    if (p.how == 0) fc_mma_bf16(p.f[l], p.a[l], p.b[l]);
    else fc_mma_s8(p.i[l], p.a[l], p.b[l]);
}

static void products_of_random_matrices(void **) {
    uint64_t seed = 3;
    every_order({
        for (int round = 0; round < 20; round++)
            for (int how = 0; how < 2; how++) {
                int K = how ? 32 : 16, bits = how ? 8 : 16, per = 32 / bits;
                uint32_t A[16][32], B[32][8], a[32][4] = {{0}}, b[32][2] = {{0}};
                double C[16][8], want;
                float f[32][4];
                int32_t s[32][4];
                for (auto &r : A)
                    for (auto &v : r)
                        v = how ? next_random(&seed) & 255 /* halves of small integers: every sum is exact */
                                : fc_f32_to_bf16((float)(int)(next_random(&seed) % 65 - 32) / 4);
                for (auto &r : B)
                    for (auto &v : r)
                        v = how ? next_random(&seed) & 255
                                : fc_f32_to_bf16((float)(int)(next_random(&seed) % 65 - 32) / 2);
                for (auto &r : C)
                    for (double &v : r) v = (double)(int)(next_random(&seed) % 2001 - 1000);
                for (int l = 0; l < 32; l++) {
                    for (int i = 0; i < 4 * per; i++) {
                        place at = bits == 8 ? a8(l, i) : a16(l, i);
                        a[l][i / per] |= A[at.row][at.col] << bits * (i % per);
                    }
                    for (int i = 0; i < 2 * per; i++) {
                        place at = bits == 8 ? b8(l, i) : b16(l, i);
                        b[l][i / per] |= B[at.row][at.col] << bits * (i % per);
                    }
                    for (int i = 0; i < 4; i++) {
                        f[l][i] = (float)C[c32(l, i).row][c32(l, i).col];
                        s[l][i] = (int32_t)C[c32(l, i).row][c32(l, i).col];
                    }
                }
                assert_runs(run(product, {a, b, f, s, how}, 1, 32));
                for (int l = 0; l < 32; l++)
                    for (int i = 0; i < 4; i++) {
                        place at = c32(l, i);
                        want = C[at.row][at.col];
                        for (int k = 0; k < K; k++) {
                            uint32_t x = A[at.row][k], y = B[k][at.col];
                            want += how ? (double)((int8_t)x * (int8_t)y)
                                        : (double)fc_bf16_to_f32((uint16_t)x) * (double)fc_bf16_to_f32((uint16_t)y);
                        }
                        assert_true(want == (how ? (double)s[l][i] : (double)f[l][i]));
                    }
            }
    });
}

static void products_at_their_borders(void **) {
    uint32_t a[32][4] = {{0}}, b[32][2] = {{0}};
    float f[32][4] = {{0}};
    int32_t s[32][4];
    for (int l = 0; l < 32; l++) {
        for (uint32_t &w : a[l]) w = 0x80808080u; /* -128 */
        for (uint32_t &w : b[l]) w = 0x80808080u;
        for (int32_t &w : s[l]) w = INT32_MAX;
    }
    assert_runs(run(product, {a, b, f, s, 1}, 1, 32));
    for (int l = 0; l < 32; l++) assert_int_equal(s[l][3], (int32_t)(0x7fffffffu + 32u * 128u * 128u)); /* wraps */
    memset(a, 0, sizeof a), memset(b, 0, sizeof b);
    a[0][0] = 0x7f80;     /* row 0, k 0: infinity */
    b[4 * 3][0] = 0x3f80; /* k 0, column 3: one; zeroes elsewhere, and infinity times zero is NaN */
    assert_runs(run(product, {a, b, f, s, 0}, 1, 32));
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            place at = c32(l, i);
            if (at.row) assert_true(f[l][i] == 0.0f);
            else assert_true(at.col == 3 ? isinf(f[l][i]) : isnan(f[l][i]));
        }
}

static void product_of_31(const fragments p) {
    if (threadIdx.x != 30) product(p);
}
static void a_product_needs_all_lanes(void **) {
    uint32_t a[32][4] = {{0}}, b[32][2] = {{0}};
    float f[32][4] = {{0}};
    every_order(assert_caught(run(product_of_31, {a, b, f, NULL, 0}, 1, 32), "mma.m16n8k16.bf16"));
}

/* ---- ldmatrix ---- */

struct loaded {
    uint32_t (*r)[4]; /* [32] */
    int how;          /* bit 0: 4 matrices, else 2; bit 1: trans; 4: a product with b loaded as it lies */
    const uint16_t *x;
    float (*f)[4];
};

static void load_tiles(const loaded p) {
    uint16_t *m = fc_shared<uint16_t>();
    int l = (int)threadIdx.x;
    for (int i = l; i < 4 * 64; i += 32) m[i] = (uint16_t)(1000 * (i / 64) + i % 64);
    __syncwarp();
    const uint16_t *row = m + l * 8;
    if (p.how == 0) fc_ldmatrix<2, false>(p.r[l], row);
    if (p.how == 1) fc_ldmatrix<4, false>(p.r[l], row);
    if (p.how == 2) fc_ldmatrix<2, true>(p.r[l], row);
    if (p.how == 3) fc_ldmatrix<4, true>(p.r[l], row);
}

static void matrices_are_loaded_as_they_lie_and_turned(void **) {
    uint32_t r[32][4];
    every_order({
        for (int how = 0; how < 4; how++) {
            memset(r, 0xff, sizeof r);
            assert_runs(run(load_tiles, {r, how, NULL, NULL}, 1, 32, 512));
            for (int l = 0; l < 32; l++)
                for (int m = 0; m < 4; m++)
                    for (int half = 0; half < 2; half++) {
                        int g = l / 4, e = l % 4 * 2 + half, want = how & 2 ? e * 8 + g : g * 8 + e;
                        if (m >= (how & 1 ? 4 : 2)) assert_int_equal(r[l][m], ~0u);
                        else assert_int_equal(r[l][m] >> 16 * half & 0xffff, 1000 * m + want);
                    }
        }
    });
}

/* y = a b, a [16][16] and b [16][8] row-major in shared memory: b's fragment needs trans; how 1 leaves it out. */
static void load_and_multiply(const loaded p) {
    uint16_t *m = fc_shared<uint16_t>();
    int l = (int)threadIdx.x;
    uint32_t a[4], b[2];
    for (int i = l; i < 384; i += 32) m[i] = p.x[i];
    __syncwarp();
    fc_ldmatrix<4, false>(a, m + l % 16 * 16 + l / 16 * 8);
    if (p.how == 0) fc_ldmatrix<2, true>(b, m + 256 + l % 16 * 8);
    else fc_ldmatrix<2, false>(b, m + 256 + l % 16 * 8);
    fc_mma_bf16(p.f[l], a, b);
}

static void a_wrong_fragment_is_a_wrong_product(void **) {
    uint16_t x[384];
    float f[32][4];
    uint64_t seed = 9;
    for (uint16_t &v : x) v = fc_f32_to_bf16((float)(int)(next_random(&seed) % 15 - 7));
    every_order({
        for (int how = 0; how < 2; how++) {
            int wrong = 0;
            memset(f, 0, sizeof f);
            assert_runs(run(load_and_multiply, {NULL, how, x, f}, 1, 32, 768));
            for (int l = 0; l < 32; l++)
                for (int i = 0; i < 4; i++) {
                    place at = c32(l, i);
                    float sum = 0;
                    for (int k = 0; k < 16; k++)
                        sum += fc_bf16_to_f32(x[at.row * 16 + k]) * fc_bf16_to_f32(x[256 + k * 8 + at.col]);
                    wrong += f[l][i] != sum;
                }
            assert_true(how ? wrong > 64 : wrong == 0);
        }
    });
}

/* ---- folds ---- */

struct folded {
    const float *x; /* [n] */
    float *sum;
    double *exact;
    int *count;
};

static void fold(const folded p) {
    struct scratch {
        float f[FC_WARPS_MAX];
        double d[FC_WARPS_MAX];
        int i[FC_WARPS_MAX];
    } *m = fc_shared<scratch>();
    int t = (int)threadIdx.x;
    p.sum[t] = fc_block_sum(p.x[t], m->f);
    p.exact[t] = fc_block_sum((double)p.x[t], m->d);
    p.count[t] = fc_block_sum(t % 3 == 0 ? 1 : 0, m->i);
}

/* x[t] with x[t ^ 16], then 8, 4, 2, 1; warps the same. */
static float tree(const float *x, int n) {
    float warps[32] = {0}, v[32];
    for (int w = 0; w <= n / 32; w++) {
        const float *from = w < n / 32 ? x + w * 32 : warps;
        for (int i = 0; i < 32; i++) v[i] = from[i];
        for (int bit = 16; bit; bit /= 2)
            for (int i = 0; i < bit; i++) v[i] += v[i + bit];
        if (w < n / 32) warps[w] = v[0];
    }
    return v[0];
}

static void folds_of_blocks_in_their_order(void **) {
    static float x[1024], sum[1024];
    static double exact[1024];
    static int count[1024];
    uint64_t seed = 4;
    every_order({
        for (int n = 32; n <= 1024; n += n < 128 ? 32 : 448) {
            for (int nan = 0; nan < 2; nan++) {
                double all = 0;
                for (int i = 0; i < n; i++) x[i] = (float)(int)(next_random(&seed) % 101 - 50) / 8;
                if (nan) x[n - 2] = x[n - 7] = NAN;
                for (int i = 0; i < n; i++) all += (double)x[i];
                assert_runs(run(fold, {x, sum, exact, count}, 1, n, 4096));
                for (int t = 0; t < n; t++) {
                    assert_int_equal(count[t], (n + 2) / 3);
                    if (nan) assert_true(isnan(sum[t]) && isnan(exact[t]));
                    else assert_true(sum[t] == tree(x, n) && exact[t] == all);
                }
            }
        }
    });
}

/* ---- numbers and bits ---- */

struct nothing {
    int unused;
};

static void numbers(const nothing) {
#define MUST(what)                                                                                                     \
    if (!(what)) emu_fail("%s", #what)
    MUST(__byte_perm(0x33221100u, 0x77665544u, 0x5410) == 0x55441100u && __byte_perm(0x80u, 0, 0x1118) == 0x000000ffu);
    MUST(__byte_perm(0x33221100u, 0x77665544u, 0x7236) == 0x77223366u);
    MUST(__funnelshift_l(0x80000001u, 0x7u, 4) == 0x78u && __funnelshift_r(0x80000001u, 0x7u, 4) == 0x78000000u);
    MUST(__funnelshift_r(1u, 2u, 32) == 1u && __brev(0x00000003u) == 0xc0000000u);
    MUST(__dp4a((int)0x80ff7f01u, (int)0x80ff7f01u, 5) == 16384 + 1 + 16129 + 1 + 5);
    MUST(__dp4a(0x80ff7f01u, 0x80ff7f01u, 5u) == 16384 + 65025 + 16129 + 1 + 5);
    MUST(__clz(0) == 32 && __clz(1) == 31 && __ffs(0) == 0 && __ffs(8) == 4 && __popc(0xf0f0u) == 8);
    MUST(__umulhi(0xffffffffu, 0xffffffffu) == 0xfffffffeu && __mulhi(-1, 1) == -1);
    MUST(__umul64hi(~0ull, ~0ull) == ~0ull - 1);
    MUST(__float2int_rn(2.5f) == 2 && __float2int_rn(-3.5f) == -4 && __float2int_rz(-2.9f) == -2);
    MUST(__float2int_rd(-2.1f) == -3 && __float2int_ru(2.1f) == 3 && __float2int_rn(1e20f) == INT32_MAX);
    MUST(__float2int_rn(-1e20f) == INT32_MIN && __float2int_rn(NAN) == 0 && __float2uint_rz(-5.0f) == 0);
    MUST(__float2uint_rn(4294967040.0f) == 4294967040u && __saturatef(NAN) == 0.0f && __saturatef(2.0f) == 1.0f);
    MUST(fc_bf16_pair(1.0f, -2.0f) == 0xc0003f80u && fc_bf16_pair(1.00390625f, NAN) == 0x7fff3f80u);
    MUST(fc_bf16_lo(0xc0003f80u) == 1.0f && fc_bf16_hi(0xc0003f80u) == -2.0f && fc_f16_float(0x3c01) == 0x1.004p0f);
}

static void numbers_are_the_devices(void **) { assert_runs(run(numbers, {0}, 1, 1)); }

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products_of_random_matrices),
                                       cmocka_unit_test(products_at_their_borders),
                                       cmocka_unit_test(a_product_needs_all_lanes),
                                       cmocka_unit_test(matrices_are_loaded_as_they_lie_and_turned),
                                       cmocka_unit_test(a_wrong_fragment_is_a_wrong_product),
                                       cmocka_unit_test(folds_of_blocks_in_their_order),
                                       cmocka_unit_test(numbers_are_the_devices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
