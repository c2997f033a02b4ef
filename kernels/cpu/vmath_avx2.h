/* vmath_avx2 - the eight-lane twins of vmath.h, the same bits in each lane. Only *_avx2.c may include it. */
#ifndef FC_KERNELS_VMATH_AVX2_H
#define FC_KERNELS_VMATH_AVX2_H

#include "kernels/cpu/vmath.h"

#include <immintrin.h>

static inline __m256 fc_exp_avx2(__m256 x) {
    const __m256 low = _mm256_set1_ps(FC_EXP_LOW), magic = _mm256_set1_ps(FC_EXP_MAGIC);
    __m256 c =
        _mm256_min_ps(_mm256_set1_ps(FC_EXP_HIGH), _mm256_max_ps(low, x)); /* NaN comes from the second operand */
    __m256 t = _mm256_add_ps(_mm256_mul_ps(c, _mm256_set1_ps(FC_EXP_LOG2E)), magic);
    __m256 n = _mm256_sub_ps(t, magic);
    __m256 r = _mm256_sub_ps(_mm256_sub_ps(c, _mm256_mul_ps(n, _mm256_set1_ps(FC_EXP_LN2_HI))),
                             _mm256_mul_ps(n, _mm256_set1_ps(FC_EXP_LN2_LO)));
    __m256 q = _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(FC_EXP_C4), r), _mm256_set1_ps(FC_EXP_C3));
    __m256i scale = _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23), _mm256_set1_epi32(0x3f800000));
    q = _mm256_add_ps(_mm256_mul_ps(q, r), _mm256_set1_ps(FC_EXP_C2));
    q = _mm256_add_ps(_mm256_mul_ps(q, r), _mm256_set1_ps(FC_EXP_C1));
    q = _mm256_add_ps(_mm256_mul_ps(q, r), _mm256_set1_ps(FC_EXP_C0));
    q = _mm256_add_ps(_mm256_add_ps(_mm256_mul_ps(q, _mm256_mul_ps(r, r)), r), _mm256_set1_ps(1.0f));
    q = _mm256_mul_ps(q, _mm256_castsi256_ps(scale));
    return _mm256_andnot_ps(_mm256_cmp_ps(x, low, _CMP_LT_OQ), q);
}

static inline __m256 fc_tanh_avx2(__m256 x) {
    const __m256 sign_bit = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1.0f);
    __m256 a = _mm256_andnot_ps(sign_bit, x), s = _mm256_mul_ps(a, a);
    __m256 q = _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(FC_TANH_C4), s), _mm256_set1_ps(FC_TANH_C3));
    __m256 small, large, y;
    q = _mm256_add_ps(_mm256_mul_ps(q, s), _mm256_set1_ps(FC_TANH_C2));
    q = _mm256_add_ps(_mm256_mul_ps(q, s), _mm256_set1_ps(FC_TANH_C1));
    q = _mm256_add_ps(_mm256_mul_ps(q, s), _mm256_set1_ps(FC_TANH_C0));
    small = _mm256_add_ps(_mm256_mul_ps(q, _mm256_mul_ps(s, a)), a);
    large = _mm256_add_ps(fc_exp_avx2(_mm256_add_ps(a, a)), one);
    large = _mm256_sub_ps(one, _mm256_div_ps(_mm256_set1_ps(2.0f), large));
    y = _mm256_blendv_ps(large, small, _mm256_cmp_ps(a, _mm256_set1_ps(FC_TANH_SPLIT), _CMP_LT_OQ));
    return _mm256_or_ps(y, _mm256_and_ps(sign_bit, x));
}

#endif
