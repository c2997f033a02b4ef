#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/vmath_avx512.h"
#include "kernels/softcap/softcap_levels.h"

void fc_softcap_run_avx512(float *x, size_t n, float cap, float inv) {
    const __m512 vcap = _mm512_set1_ps(cap), vinv = _mm512_set1_ps(inv);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = fc_lanes_avx512((int64_t)(n - i));
        __m512 v = fc_tanh_avx512(_mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), vinv));
        _mm512_mask_storeu_ps(x + i, m, _mm512_mul_ps(vcap, v));
    }
}
