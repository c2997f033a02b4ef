#include "kernels/cpu/vmath_avx2.h"

enum { V_LANES = 8 };
#define V_COLS  2
#define V_PAIRS 0
#define V_QUADS 0

typedef __m256 vf;

static inline vf v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline vf v_load_bf16(const uint16_t *p) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline vf v_load_i8(const int8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
static inline vf v_load_f8(const uint8_t *p) {
    __m128i wide = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)p)); /* sign in bit 15, too */
    wide = _mm_and_si128(_mm_slli_epi16(wide, 7), _mm_set1_epi16((short)0xbf80));
    return _mm256_mul_ps(_mm256_cvtph_ps(wide), _mm256_set1_ps(256.0f)); /* f16's exponents begin 8 lower */
}
static inline void v_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
static inline vf v_set1(float x) { return _mm256_set1_ps(x); }
static inline void v_store_rounded(float *row, int i, vf x) {
    __m256i bits = _mm256_castps_si256(x), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    bits = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))); /* ties to even */
    bits = _mm256_and_si256(bits, _mm256_set1_epi32(-0x10000));
    v_store(row + i, _mm256_blendv_ps(_mm256_castsi256_ps(bits), x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}
static inline void v_store_code(float *row, int i, vf x) { v_store(row + i, x); }
static inline vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }

/* vmath's exp with fused products, for x <= 0: no upper bound, and 2^n goes straight into the exponent (1 <= e^r where
 * n is smallest, so no result is subnormal). */
static inline vf v_exp(vf x) {
    const vf magic = v_set1(FC_EXP_MAGIC), low = v_set1(FC_EXP_LOW);
    vf c = _mm256_max_ps(low, x), t = v_fma(c, v_set1(FC_EXP_LOG2E), magic), n = v_sub(t, magic);
    vf r = v_fma(n, v_set1(-FC_EXP_LN2_LO), v_fma(n, v_set1(-FC_EXP_LN2_HI), c));
    vf q = v_fma(v_fma(v_set1(FC_EXP_C4), r, v_set1(FC_EXP_C3)), r, v_set1(FC_EXP_C2));
    vf y = v_add(v_fma(v_fma(v_fma(q, r, v_set1(FC_EXP_C1)), r, v_set1(FC_EXP_C0)), v_mul(r, r), r), v_set1(1.0f));
    __m256i bits = _mm256_add_epi32(_mm256_castps_si256(y), _mm256_slli_epi32(_mm256_castps_si256(t), 23));
    return _mm256_andnot_ps(_mm256_cmp_ps(x, low, _CMP_LT_OQ), _mm256_castsi256_ps(bits));
}
static inline vf v_expf(vf x) { return fc_exp_avx2(x); }
static inline vf v_tanh(vf x) { return fc_tanh_avx2(x); }

static inline vf v_keep(vf x, int lo, int hi) {
    const __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    __m256i out = _mm256_or_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(lo), lane),
                                  _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(hi - 1)));
    return _mm256_blendv_ps(x, _mm256_set1_ps(-__builtin_inff()), _mm256_castsi256_ps(out));
}

static inline float v_hmax(vf x) {
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

static inline float v_hsum(vf x) {
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#include "kernels/attn/attn_simd.h"

const fc_attn_code fc_attn_code_avx2 = {attn_block, attn_fold};
