/* vmath_avx512 - the sixteen-lane twins of vmath.h, the same bits in each lane. Only *_avx512.c may include it. */
#ifndef FC_KERNELS_VMATH_AVX512_H
#define FC_KERNELS_VMATH_AVX512_H

#include "kernels/cpu/vmath.h"

#include <immintrin.h>

static inline __m512 fc_exp_avx512(__m512 x) {
    const __m512 low = _mm512_set1_ps(FC_EXP_LOW), magic = _mm512_set1_ps(FC_EXP_MAGIC);
    __m512 c =
        _mm512_min_ps(_mm512_set1_ps(FC_EXP_HIGH), _mm512_max_ps(low, x)); /* NaN comes from the second operand */
    __m512 t = _mm512_add_ps(_mm512_mul_ps(c, _mm512_set1_ps(FC_EXP_LOG2E)), magic);
    __m512 n = _mm512_sub_ps(t, magic);
    __m512 r = _mm512_sub_ps(_mm512_sub_ps(c, _mm512_mul_ps(n, _mm512_set1_ps(FC_EXP_LN2_HI))),
                             _mm512_mul_ps(n, _mm512_set1_ps(FC_EXP_LN2_LO)));
    __m512 q = _mm512_add_ps(_mm512_mul_ps(_mm512_set1_ps(FC_EXP_C4), r), _mm512_set1_ps(FC_EXP_C3));
    __m512i scale = _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(t), 23), _mm512_set1_epi32(0x3f800000));
    q = _mm512_add_ps(_mm512_mul_ps(q, r), _mm512_set1_ps(FC_EXP_C2));
    q = _mm512_add_ps(_mm512_mul_ps(q, r), _mm512_set1_ps(FC_EXP_C1));
    q = _mm512_add_ps(_mm512_mul_ps(q, r), _mm512_set1_ps(FC_EXP_C0));
    q = _mm512_add_ps(_mm512_add_ps(_mm512_mul_ps(q, _mm512_mul_ps(r, r)), r), _mm512_set1_ps(1.0f));
    return _mm512_maskz_mul_ps(_mm512_cmp_ps_mask(x, low, _CMP_NLT_UQ), q, _mm512_castsi512_ps(scale));
}

static inline __m512 fc_tanh_avx512(__m512 x) {
    const __m512 sign_bit = _mm512_set1_ps(-0.0f), one = _mm512_set1_ps(1.0f);
    __m512 a = _mm512_andnot_ps(sign_bit, x), s = _mm512_mul_ps(a, a);
    __m512 q = _mm512_add_ps(_mm512_mul_ps(_mm512_set1_ps(FC_TANH_C4), s), _mm512_set1_ps(FC_TANH_C3));
    __m512 small, large, y;
    q = _mm512_add_ps(_mm512_mul_ps(q, s), _mm512_set1_ps(FC_TANH_C2));
    q = _mm512_add_ps(_mm512_mul_ps(q, s), _mm512_set1_ps(FC_TANH_C1));
    q = _mm512_add_ps(_mm512_mul_ps(q, s), _mm512_set1_ps(FC_TANH_C0));
    small = _mm512_add_ps(_mm512_mul_ps(q, _mm512_mul_ps(s, a)), a);
    large = _mm512_add_ps(fc_exp_avx512(_mm512_add_ps(a, a)), one);
    large = _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0f), large));
    y = _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, _mm512_set1_ps(FC_TANH_SPLIT), _CMP_LT_OQ), large, small);
    return _mm512_or_ps(y, _mm512_and_ps(sign_bit, x));
}

#endif
