/* roof_vnni - int8 by VPDPBUSD of 256 bits, written once for both ways in which it is encoded (linear_vnni.h); reads
 * and floats are AVX2's. Inner to roof. The file that includes this defines FC_DPBUSD before. */
#include "kernels/cpu/roof.h"

#include <immintrin.h>

static double int8_vnni(int rounds) {
    __m256i s[FC_ROOF_SUMS], a = _mm256_set1_epi8(1), b = a;
    int32_t out[8];
    for (int i = 0; i < FC_ROOF_SUMS; i++) s[i] = _mm256_setzero_si256();
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < FC_ROOF_SUMS; i++) {
            __asm__("" : "+x"(a)); /* a value that the compiler cannot foresee: no product is taken out of the loop */
            s[i] = FC_DPBUSD(s[i], a, b);
        }
    for (int i = 1; i < FC_ROOF_SUMS; i++) s[0] = _mm256_xor_si256(s[0], s[i]);
    _mm256_storeu_si256((__m256i *)(void *)out, s[0]);
    return (double)out[0];
}
