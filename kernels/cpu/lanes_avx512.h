/* lanes_avx512 - the mask of a row's last sixteen lanes. Only *_avx512.c may include it. */
#ifndef FC_KERNELS_LANES_AVX512_H
#define FC_KERNELS_LANES_AVX512_H

#include <immintrin.h>
#include <stdint.h>

/* The first `left` of 16 lanes: none at 0 or less, all from 16 on. The cast stands outside the choice: inside it gcc's
 * -Wconversion sees the promoted int. */
static inline __mmask16 fc_lanes_avx512(int64_t left) {
    return (__mmask16)(left >= 16 ? 0xffffu : left <= 0 ? 0u : (1u << left) - 1u);
}

#endif
