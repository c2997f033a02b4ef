#include "kernels/cpu/roof.h"

#include <immintrin.h>

enum { SUMS = FC_ROOF_SUMS };

uint64_t fc_roof_read_avx512(const void *p, size_t bytes) {
    const unsigned char *v = p;
    __m512i s[8];
    uint64_t out[8];
    for (int i = 0; i < 8; i++) s[i] = _mm512_setzero_si512();
    for (size_t at = 0; at < bytes; at += 512)
        for (int i = 0; i < 8; i++) s[i] = _mm512_xor_si512(s[i], _mm512_load_si512(v + at + 64 * (size_t)i));
    for (int i = 1; i < 8; i++) s[0] = _mm512_xor_si512(s[0], s[i]);
    _mm512_storeu_si512(out, s[0]);
    for (int i = 1; i < 8; i++) out[0] ^= out[i];
    return out[0];
}

static double total(const __m512 *s) {
    __m512 t = s[0];
    for (int i = 1; i < SUMS; i++) t = _mm512_add_ps(t, s[i]);
    return (double)_mm512_cvtss_f32(t);
}

static double int8_avx512(int rounds) {
    __m512i s[SUMS], a = _mm512_set1_epi8(1), b = a;
    for (int i = 0; i < SUMS; i++) s[i] = _mm512_setzero_si512();
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < SUMS; i++) {
            __asm__("" : "+v"(a)); /* a value that the compiler cannot foresee: no product is taken out of the loop */
            s[i] = _mm512_dpbusd_epi32(s[i], a, b);
        }
    for (int i = 1; i < SUMS; i++) s[0] = _mm512_xor_si512(s[0], s[i]);
    return (double)_mm_cvtsi128_si32(_mm512_castsi512_si128(s[0]));
}

double fc_roof_bf16_avx512(int rounds) {
    __m512 s[SUMS];
    __m512i a = _mm512_set1_epi32(0x3a003a00);
    for (int i = 0; i < SUMS; i++) s[i] = _mm512_setzero_ps();
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < SUMS; i++) {
            __asm__("" : "+v"(a));
            s[i] = _mm512_dpbf16_ps(s[i], (__m512bh)a, (__m512bh)a);
        }
    return total(s);
}

double fc_roof_f32_avx512(int rounds) {
    __m512 s[SUMS], a = _mm512_set1_ps(1e-3f), b = a;
    for (int i = 0; i < SUMS; i++) s[i] = _mm512_setzero_ps();
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < SUMS; i++) {
            __asm__("" : "+v"(a));
            s[i] = _mm512_fmadd_ps(a, b, s[i]);
        }
    return total(s);
}

const fc_roof_ops fc_roof_avx512 = {fc_roof_read_avx512,   int8_avx512, fc_roof_bf16_avx512,
                                    fc_roof_f32_avx512,    128 * SUMS,  FC_ROOF_BF16_OPS_AVX512,
                                    FC_ROOF_F32_OPS_AVX512};
