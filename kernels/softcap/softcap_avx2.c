#include "kernels/cpu/vmath_avx2.h"
#include "kernels/softcap/softcap_levels.h"

void fc_softcap_run_avx2(float *x, size_t n, float cap, float inv) {
    const __m256 vcap = _mm256_set1_ps(cap), vinv = _mm256_set1_ps(inv);
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(x + i, _mm256_mul_ps(vcap, fc_tanh_avx2(_mm256_mul_ps(_mm256_loadu_ps(x + i), vinv))));
    for (; i < n; i++) x[i] = cap * fc_tanhf(x[i] * inv);
}
