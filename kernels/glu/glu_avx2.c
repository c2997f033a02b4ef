#include "kernels/cpu/vmath_avx2.h"
#include "kernels/glu/glu_levels.h"

/* x / (1 + e^z) * up */
static __m256 gated(__m256 x, __m256 z, __m256 up) {
    return _mm256_mul_ps(_mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), fc_exp_avx2(z))), up);
}

void fc_glu_silu_avx2(float *y, const float *gate, const float *up, size_t n) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 x = _mm256_loadu_ps(gate + i);
        _mm256_storeu_ps(y + i, gated(x, _mm256_xor_ps(x, sign), _mm256_loadu_ps(up + i)));
    }
    for (; i < n; i++) y[i] = gate[i] / (1.0f + fc_expf(-gate[i])) * up[i];
}

void fc_glu_gelu_avx2(float *y, const float *gate, const float *up, size_t n) {
    const __m256 sign = _mm256_set1_ps(-0.0f), k0 = _mm256_set1_ps(FC_GELU_K0), k1 = _mm256_set1_ps(FC_GELU_K1);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 x = _mm256_loadu_ps(gate + i);
        __m256 u2 = _mm256_mul_ps(x, _mm256_add_ps(k0, _mm256_mul_ps(k1, _mm256_mul_ps(x, x))));
        _mm256_storeu_ps(y + i, gated(x, _mm256_xor_ps(u2, sign), _mm256_loadu_ps(up + i)));
    }
    for (; i < n; i++) {
        float x = gate[i], u2 = x * (FC_GELU_K0 + FC_GELU_K1 * (x * x));
        y[i] = x / (1.0f + fc_expf(-u2)) * up[i];
    }
}
