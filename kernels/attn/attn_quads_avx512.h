/* attn_quads_avx512 - a tile of int8 K and V as AVX512_VNNI multiplies it: in words of four neighbours, which one
 * instruction multiplies by four others and adds to an i32. Inner to attn_avx512.c.
 *
 * tile    K [E/4][64] words of (e .. e+3), each code with its highest bit flipped, which is 128 more without a sign;
 *         V [16][E] words of (position .. position+3)
 * source  Intel, "Architecture Instruction Set Extensions Programming Reference", VPDPBUSD
 */
#ifndef FC_KERNELS_ATTN_QUADS_AVX512_H
#define FC_KERNELS_ATTN_QUADS_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Four rows of 16 bytes in words of one of each. */
static inline __m512i quads_of(__m128i a, __m128i b, __m128i c, __m128i d) {
    __m128i ab = _mm_unpacklo_epi8(a, b), cd = _mm_unpacklo_epi8(c, d);
    __m128i ab2 = _mm_unpackhi_epi8(a, b), cd2 = _mm_unpackhi_epi8(c, d);
    __m256i low =
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi16(ab, cd)), _mm_unpackhi_epi16(ab, cd), 1);
    __m256i high =
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi16(ab2, cd2)), _mm_unpackhi_epi16(ab2, cd2), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* K [E][P] of n slots from `at` on into lanes 0 .. n-1 of k [E/4][lanes]; the other lanes are left as they are. */
static inline void quad_keys(const int8_t *from, int P, int E, int at, int n, float *k, int lanes) {
    for (int i = 0; i < n; i += 16) {
        const __mmask16 in = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1u : 0xffffu);
        const int8_t *first = from + at + i;
        for (int e = 0; e < E; e += 4, first += 4 * P) {
            __m512i all = quads_of(_mm_maskz_loadu_epi8(in, first), _mm_maskz_loadu_epi8(in, first + P),
                                   _mm_maskz_loadu_epi8(in, first + 2 * P), _mm_maskz_loadu_epi8(in, first + 3 * P));
            all = _mm512_xor_si512(all, _mm512_set1_epi32((int32_t)0x80808080u));
            if (in == 0xffff) _mm512_storeu_si512(k + e / 4 * lanes + i, all);
            else _mm512_mask_storeu_epi32(k + e / 4 * lanes + i, in, all);
        }
    }
}

/* Four rows of V, [E] each, into one of words; E is a multiple of 16. */
static inline void quad_values(const int8_t *const row[4], int E, float *v) {
    for (int e = 0; e < E; e += 16) {
        __m128i r[4];
        for (int i = 0; i < 4; i++) r[i] = _mm_loadu_si128((const __m128i *)(const void *)(row[i] + e));
        _mm512_storeu_si512(v + e, quads_of(r[0], r[1], r[2], r[3]));
    }
}

/* sum += four products a lane, of a without a sign. What gcc makes of the intrinsic copies each sum of a loop to
 * another register and back, and has none left for that. */
static inline __m512i quad_dot(__m512i sum, __m512i a, __m512i b) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

enum { QUAD_ROWS = 6, QUAD_COLS = 4 };

/* out[r,c] = start[r] + sum_i a[r][i] . b[i,c], products of four codes: a signed and b not, or, of weights, the other
 * way round. Sums are exact, and so are they as f32: below 2^24. */
static inline __attribute__((always_inline)) void quad_product(const int R, const int C, const bool weights,
                                                               const float *const *a, const int32_t *start, int n,
                                                               const float *b, size_t ldb, float *out, size_t ldo) {
    __m512i acc[QUAD_ROWS][QUAD_COLS];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) acc[r][c] = weights ? _mm512_setzero_si512() : _mm512_set1_epi32(start[r]);
    for (int i = 0; i < n; i++, b += ldb) {
        __m512i bv[QUAD_COLS];
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) bv[c] = _mm512_loadu_si512(b + c * 16);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            int32_t four;
            memcpy(&four, a[r] + i, sizeof four);
            const __m512i av = _mm512_set1_epi32(four);
#pragma GCC unroll 8
            for (int c = 0; c < C; c++)
                acc[r][c] = weights ? quad_dot(acc[r][c], av, bv[c]) : quad_dot(acc[r][c], bv[c], av);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) _mm512_storeu_ps(out + (size_t)r * ldo + c * 16, _mm512_cvtepi32_ps(acc[r][c]));
}

typedef void (*quad_fn)(const float *const *a, const int32_t *start, int n, const float *b, size_t ldb, float *out,
                        size_t ldo);

/* clang-format off */
#define QUAD(w, C, R) \
    static void quads_##w##_##C##_##R(const float *const *a, const int32_t *start, int n, const float *b, size_t ldb, \
                                      float *out, size_t ldo) { \
        quad_product(R, C, w, a, start, n, b, ldb, out, ldo); \
    }
#define QUADS(w, C)      QUAD(w, C, 1) QUAD(w, C, 2) QUAD(w, C, 3) QUAD(w, C, 4) QUAD(w, C, 5) QUAD(w, C, 6)
#define QUAD_NAMES(w, C) \
    {quads_##w##_##C##_1, quads_##w##_##C##_2, quads_##w##_##C##_3, \
     quads_##w##_##C##_4, quads_##w##_##C##_5, quads_##w##_##C##_6}
QUADS(0, 1) QUADS(0, 2) QUADS(0, 3) QUADS(0, 4) QUADS(1, 1) QUADS(1, 2) QUADS(1, 3) QUADS(1, 4)
static const quad_fn quad_products[2][QUAD_COLS][QUAD_ROWS] = {
    {QUAD_NAMES(0, 1), QUAD_NAMES(0, 2), QUAD_NAMES(0, 3), QUAD_NAMES(0, 4)},
    {QUAD_NAMES(1, 1), QUAD_NAMES(1, 2), QUAD_NAMES(1, 3), QUAD_NAMES(1, 4)},
};
/* clang-format on */

#endif
