/* lora_simd - shrink and expand, written once for every vector unit.
 *
 * The file that includes this defines before: V_LANES (4, 8 or 16); V_ROWS rows that are done together with V_RANKS
 * rows of A or V_COLS vectors of B, and V_RANKS1, V_COLS1 of a row alone; the type vf, and v_load v_load_bf16 v_store
 * v_set1 v_add, v_fma(a,b,c) = a*b + c, and v_hsum, which folds lanes in halves.
 */
#include "kernels/lora/lora_code.h"

#define ALWAYS static inline __attribute__((always_inline))

enum { LANES = FC_LORA_LANES, VECS = LANES / V_LANES };

ALWAYS vf load_as(const fc_dtype type, const void *p, size_t i) {
    if (type == FC_F32) return v_load((const float *)p + i);
    return v_load_bf16((const uint16_t *)p + i);
}

ALWAYS size_t row_of(const fc_lora_rows *u, int i) { return (size_t)u->a->rows[u->g->first + i]; }
ALWAYS float *z_of(const fc_lora_rows *u, int i) { return u->a->z + (size_t)(u->g->first + i) * (size_t)u->a->ldz; }

/* acc[j][t] += A[j, k..k+15] * x[t][0..15] */
ALWAYS void step(const fc_dtype type, const int J, const int T, const void *a, size_t lda, size_t k,
                 const float *const *x, vf acc[V_RANKS1][V_ROWS][VECS]) {
#pragma GCC unroll 8
    for (int v = 0; v < VECS; v++) {
        vf xv[V_ROWS];
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) xv[t] = v_load(x[t] + v * V_LANES);
#pragma GCC unroll 8
        for (int j = 0; j < J; j++) {
            vf av = load_as(type, a, (size_t)j * lda + k + (size_t)(v * V_LANES));
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) acc[j][t][v] = v_fma(av, xv[t], acc[j][t][v]);
        }
    }
}

/* z[i+t][j+jj] for T rows and J rows of A. x behind K is read as zero, as A is there. */
ALWAYS void dots(const fc_dtype type, const int J, const int T, const fc_lora_rows *u, int i, int j) {
    const size_t K = (size_t)u->a->K, lda = fc_lora_pad(u->a->K);
    const void *a = (const unsigned char *)u->g->w->a + (size_t)j * lda * (type == FC_F32 ? 4 : 2);
    const float *x[V_ROWS];
    vf acc[V_RANKS1][V_ROWS][VECS];
    size_t k = 0;
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) x[t] = u->a->x + row_of(u, i + t) * K;
#pragma GCC unroll 8
    for (int jj = 0; jj < J; jj++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
#pragma GCC unroll 8
            for (int v = 0; v < VECS; v++) acc[jj][t][v] = v_set1(0.0f);
    for (; k + LANES <= K; k += LANES) {
        step(type, J, T, a, lda, k, x, acc);
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) x[t] += LANES;
    }
    if (k < K) {
        float rest[V_ROWS][LANES] = {{0}};
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            memcpy(rest[t], x[t], (K - k) * sizeof(float));
            x[t] = rest[t];
        }
        step(type, J, T, a, lda, k, x, acc);
    }
#pragma GCC unroll 8
    for (int jj = 0; jj < J; jj++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
#pragma GCC unroll 8
            for (int n = VECS / 2; n > 0; n /= 2)
#pragma GCC unroll 8
                for (int v = 0; v < n; v++) acc[jj][t][v] = v_add(acc[jj][t][v], acc[jj][t][v + n]);
            z_of(u, i + t)[j + jj] = v_hsum(acc[jj][t][0]);
        }
}

ALWAYS void shrink_as(const fc_dtype type, const fc_lora_rows *u, int j0, int j1) {
    int i = u->i0, j;
    for (; i + V_ROWS <= u->i1; i += V_ROWS) {
        for (j = j0; j + V_RANKS <= j1; j += V_RANKS) dots(type, V_RANKS, V_ROWS, u, i, j);
        for (; j < j1; j++) dots(type, 1, V_ROWS, u, i, j);
    }
    for (; i < u->i1; i++) {
        for (j = j0; j + V_RANKS1 <= j1; j += V_RANKS1) dots(type, V_RANKS1, 1, u, i, j);
        for (; j < j1; j++) dots(type, 1, 1, u, i, j);
    }
}

static void shrink(const fc_lora_rows *u, int j0, int j1) {
    if (u->g->w->dtype == FC_F32) shrink_as(FC_F32, u, j0, j1);
    else shrink_as(FC_BF16, u, j0, j1);
}

/* C vectors of outputs of T rows: y[t] += scale * sum_j z[t][j] * B[j] */
ALWAYS void columns(const fc_dtype type, const int C, const int T, const void *b, size_t at, size_t ldb, int r,
                    float scale, const float *const *z, float *const *y) {
    vf acc[V_ROWS][V_COLS1];
    const vf s = v_set1(scale);
#pragma GCC unroll 8
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) acc[t][c] = v_set1(0.0f);
    for (int j = 0; j < r; j++, at += ldb) {
        vf bv[V_COLS1];
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) bv[c] = load_as(type, b, at + (size_t)(c * V_LANES));
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            vf zv = v_set1(z[t][j]);
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) acc[t][c] = v_fma(zv, bv[c], acc[t][c]);
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            float *to = y[t] + c * V_LANES;
            v_store(to, v_fma(s, acc[t][c], v_load(to)));
        }
}

ALWAYS void expand_rows(const fc_dtype type, const int C, const int T, const fc_lora_rows *u, int i,
                        const fc_lora_part *p, int n0, int n1) {
    const size_t ldb = fc_lora_pad(p->N);
    const void *b = u->g->w->b;
    const float *z[V_ROWS];
    float *y[V_ROWS];
    int n = n0;
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
        z[t] = z_of(u, i + t) + p->z;
        y[t] = u->a->y + row_of(u, i + t) * (size_t)u->a->ldy + p->col + n0;
    }
    for (; n + C * V_LANES <= n1; n += C * V_LANES) {
        columns(type, C, T, b, p->b + (size_t)n, ldb, p->r, p->scale, z, y);
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) y[t] += C * V_LANES;
    }
    for (; n < n1; n += LANES) {
        float rest[V_ROWS][LANES] = {{0}}; /* the last ones need not be sixteen, and what is behind them is not ours */
        float *to[V_ROWS];
        size_t left = (size_t)(n1 - n < LANES ? n1 - n : LANES);
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            memcpy(rest[t], y[t], left * sizeof(float));
            to[t] = rest[t];
        }
        columns(type, VECS, T, b, p->b + (size_t)n, ldb, p->r, p->scale, z, to);
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            memcpy(y[t], rest[t], left * sizeof(float));
            y[t] += LANES;
        }
    }
}

ALWAYS void expand_as(const fc_dtype type, const fc_lora_rows *u, const fc_lora_part *p, int n0, int n1) {
    int i = u->i0;
    for (; i + V_ROWS <= u->i1; i += V_ROWS) expand_rows(type, V_COLS, V_ROWS, u, i, p, n0, n1);
    for (; i < u->i1; i++) expand_rows(type, V_COLS1, 1, u, i, p, n0, n1);
}

static void expand(const fc_lora_rows *u, const fc_lora_part *p, int n0, int n1) {
    if (u->g->w->dtype == FC_F32) expand_as(FC_F32, u, p, n0, n1);
    else expand_as(FC_BF16, u, p, n0, n1);
}
