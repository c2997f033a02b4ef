/* attn_product - small matrix products in registers. Inner to attn_simd.h, which says what is defined before. */

/* out[r,c] = sum_i a[r][i] * b[i,c] for R rows and C vectors; with pairs, where a vector unit has them, a and b are
 * words of two bf16, and a product is the sum of both theirs. The last addition makes a zero that underflow left
 * negative positive, so that leaving out exact zeros cannot be told from adding them. */
ALWAYS void product(const int R, const int C, const bool pairs, const float *const *a, int n, const float *b,
                    size_t ldb, float *out, size_t ldo) {
    vf acc[MICRO][V_COLS];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) acc[r][c] = v_set1(0.0f);
    for (int i = 0; i < n; i++, b += ldb) {
        vf bv[V_COLS];
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) bv[c] = v_load(b + c * V_LANES);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
#if V_PAIRS
            vf av = pairs ? v_set1_pair(a[r] + i) : v_set1(a[r][i]);
#pragma GCC unroll 8
            for (int c = 0; c < C; c++)
                acc[r][c] = pairs ? v_dot_pairs(av, bv[c], acc[r][c]) : v_fma(av, bv[c], acc[r][c]);
#else
            vf av = v_set1(a[r][i]);
            (void)pairs;
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) acc[r][c] = v_fma(av, bv[c], acc[r][c]);
#endif
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) v_store(out + (size_t)r * ldo + c * V_LANES, v_add(acc[r][c], v_set1(0.0f)));
}

typedef void (*product_fn)(const float *const *a, int n, const float *b, size_t ldb, float *out, size_t ldo);

/* clang-format off */
#define PRODUCT(p, C, R) \
    static void product_##p##_##C##_##R(const float *const *a, int n, const float *b, size_t ldb, float *out, \
                                        size_t ldo) { \
        product(R, C, p, a, n, b, ldb, out, ldo); \
    }
#define PRODUCTS(p, C) \
    PRODUCT(p, C, 1) PRODUCT(p, C, 2) PRODUCT(p, C, 3) PRODUCT(p, C, 4) PRODUCT(p, C, 5) PRODUCT(p, C, 6)
#define NAMES(p, C) \
    {product_##p##_##C##_1, product_##p##_##C##_2, product_##p##_##C##_3, \
     product_##p##_##C##_4, product_##p##_##C##_5, product_##p##_##C##_6}
#if V_COLS == 4
#define ALL_PRODUCTS(p) PRODUCTS(p, 1) PRODUCTS(p, 2) PRODUCTS(p, 3) PRODUCTS(p, 4)
#define ALL_NAMES(p)    {NAMES(p, 1), NAMES(p, 2), NAMES(p, 3), NAMES(p, 4)}
#else
#define ALL_PRODUCTS(p) PRODUCTS(p, 1) PRODUCTS(p, 2)
#define ALL_NAMES(p)    {NAMES(p, 1), NAMES(p, 2)}
#endif
ALL_PRODUCTS(0)
#if V_PAIRS
ALL_PRODUCTS(1)
static const product_fn products[2][V_COLS][MICRO] = {ALL_NAMES(0), ALL_NAMES(1)};
#else
static const product_fn products[1][V_COLS][MICRO] = {ALL_NAMES(0)};
#endif
/* clang-format on */

/* The same over cols columns, a multiple of V_LANES. */
static void product_wide(bool pairs, int R, const float *const *a, int n, const float *b, size_t ldb, float *out,
                         size_t ldo, int cols) {
    for (int c = 0; c < cols; c += V_COLS * V_LANES) {
        int vecs = (cols - c) / V_LANES < V_COLS ? (cols - c) / V_LANES : V_COLS;
        products[pairs][vecs - 1][R - 1](a, n, b + c, ldb, out + c, ldo);
    }
}
