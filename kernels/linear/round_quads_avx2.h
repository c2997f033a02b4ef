/* round_quads_avx2 - the high bytes of fine groups, by units of 128 bits: for linear_avx2.c and
 * linear_prepare_avx512.c. Inner to kernels/linear.
 */
#ifndef FC_KERNELS_LINEAR_ROUND_QUADS_AVX2_H
#define FC_KERNELS_LINEAR_ROUND_QUADS_AVX2_H

#include "kernels/linear/levels.h"

#include <immintrin.h>

/* The high bytes of four groups' quads, [4][4]. */
FC_INLINE __m128i round_quads(const float *const x[4], const float inverse[4], const int quad[4]) {
    __m128i high[4];
    FC_UNROLL
    for (int i = 0; i < 4; i++) {
        __m128i code = _mm_cvtps_epi32(_mm_mul_ps(_mm_loadu_ps(x[i] + 4 * quad[i]), _mm_set1_ps(inverse[i])));
        high[i] = _mm_srai_epi32(_mm_add_epi32(code, _mm_set1_epi32(128)), 8);
    }
    return _mm_packs_epi16(_mm_packs_epi32(high[0], high[1]), _mm_packs_epi32(high[2], high[3]));
}

#endif
