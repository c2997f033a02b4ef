#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/vmath_avx512.h"
#include "kernels/glu/glu_levels.h"

/* x / (1 + e^z) * up */
static __m512 gated(__m512 x, __m512 z, __m512 up) {
    return _mm512_mul_ps(_mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), fc_exp_avx512(z))), up);
}

void fc_glu_silu_avx512(float *y, const float *gate, const float *up, size_t n) {
    const __m512 sign = _mm512_set1_ps(-0.0f);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = fc_lanes_avx512((int64_t)(n - i));
        __m512 x = _mm512_maskz_loadu_ps(m, gate + i);
        _mm512_mask_storeu_ps(y + i, m, gated(x, _mm512_xor_ps(x, sign), _mm512_maskz_loadu_ps(m, up + i)));
    }
}

void fc_glu_gelu_avx512(float *y, const float *gate, const float *up, size_t n) {
    const __m512 sign = _mm512_set1_ps(-0.0f), k0 = _mm512_set1_ps(FC_GELU_K0), k1 = _mm512_set1_ps(FC_GELU_K1);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = fc_lanes_avx512((int64_t)(n - i));
        __m512 x = _mm512_maskz_loadu_ps(m, gate + i);
        __m512 u2 = _mm512_mul_ps(x, _mm512_add_ps(k0, _mm512_mul_ps(k1, _mm512_mul_ps(x, x))));
        _mm512_mask_storeu_ps(y + i, m, gated(x, _mm512_xor_ps(u2, sign), _mm512_maskz_loadu_ps(m, up + i)));
    }
}
