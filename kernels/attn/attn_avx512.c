#include "kernels/attn/attn_pairs_avx512.h"
#include "kernels/attn/attn_quads_avx512.h"
#include "kernels/cpu/vmath_avx512.h"

#include <string.h>

enum { V_LANES = 16 };
#define V_COLS  4
#define V_PAIRS 1
#define V_QUADS 1

typedef __m512 vf;

static inline vf v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline vf v_load_bf16(const uint16_t *p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline vf v_load_i8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
static inline vf v_load_f8(const uint8_t *p) {
    __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p)); /* sign in bit 15, too */
    wide = _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16((short)0xbf80));
    return _mm512_mul_ps(_mm512_cvtph_ps(wide), _mm512_set1_ps(256.0f)); /* f16's exponents begin 8 lower */
}
static inline void v_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
static inline vf v_set1(float x) { return _mm512_set1_ps(x); }
static inline vf v_set1_pair(const float *p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_castsi512_ps(_mm512_set1_epi32(pair));
}
static inline vf v_dot_pairs(vf a, vf b, vf c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
static inline void v_store_rounded(float *row, int i, vf x) {
    _mm256_storeu_si256((__m256i *)(void *)((uint16_t *)(void *)row + i), (__m256i)_mm512_cvtneps_pbh(x));
}
static inline void v_store_code(float *row, int i, vf x) {
    _mm_storeu_si128((__m128i *)(void *)((int8_t *)(void *)row + i), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}
static inline vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }

/* vmath's exp with fused products, for x <= 0: no upper bound, and 2^n goes straight into the exponent (1 <= e^r where
 * n is smallest, so no result is subnormal). */
static inline vf v_exp(vf x) {
    const vf magic = v_set1(FC_EXP_MAGIC);
    vf c = _mm512_max_ps(v_set1(FC_EXP_LOW), x), t = v_fma(c, v_set1(FC_EXP_LOG2E), magic), n = v_sub(t, magic);
    vf r = v_fma(n, v_set1(-FC_EXP_LN2_LO), v_fma(n, v_set1(-FC_EXP_LN2_HI), c));
    vf q = v_fma(v_fma(v_set1(FC_EXP_C4), r, v_set1(FC_EXP_C3)), r, v_set1(FC_EXP_C2));
    vf y = v_add(v_fma(v_fma(v_fma(q, r, v_set1(FC_EXP_C1)), r, v_set1(FC_EXP_C0)), v_mul(r, r), r), v_set1(1.0f));
    __m512i n23 = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    __mmask16 in = _mm512_cmp_ps_mask(x, v_set1(FC_EXP_LOW), _CMP_NLT_UQ);
    return _mm512_castsi512_ps(_mm512_maskz_add_epi32(in, _mm512_castps_si512(y), n23));
}
static inline vf v_expf(vf x) { return fc_exp_avx512(x); }
static inline vf v_tanh(vf x) { return fc_tanh_avx512(x); }

static inline vf v_keep(vf x, int lo, int hi) {
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __mmask16 in =
        _mm512_cmpge_epi32_mask(lane, _mm512_set1_epi32(lo)) & _mm512_cmplt_epi32_mask(lane, _mm512_set1_epi32(hi));
    return _mm512_mask_blend_ps(in, _mm512_set1_ps(-__builtin_inff()), x);
}

static inline float v_hmax(vf x) { return _mm512_reduce_max_ps(x); } /* a maximum has no order */

/* Halves, quarters, pairs: spelled out, as the compiler's reduction promises no order. */
static inline float v_hsum(vf x) {
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#include "kernels/attn/attn_simd.h"

const fc_attn_code fc_attn_code_avx512 = {attn_block, attn_fold};
