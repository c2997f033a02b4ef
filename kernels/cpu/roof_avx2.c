#include "kernels/cpu/roof.h"

#include <immintrin.h>

enum { SUMS = FC_ROOF_SUMS };

uint64_t fc_roof_read_avx2(const void *p, size_t bytes) {
    const unsigned char *v = p;
    __m256i s[8];
    uint64_t out[4];
    for (int i = 0; i < 8; i++) s[i] = _mm256_setzero_si256();
    for (size_t at = 0; at < bytes; at += 256)
        for (int i = 0; i < 8; i++)
            s[i] = _mm256_xor_si256(s[i], _mm256_load_si256((const __m256i *)(const void *)(v + at + 32 * (size_t)i)));
    for (int i = 1; i < 8; i++) s[0] = _mm256_xor_si256(s[0], s[i]);
    _mm256_storeu_si256((__m256i *)(void *)out, s[0]);
    return out[0] ^ out[1] ^ out[2] ^ out[3];
}

static double total(const __m256 *s) {
    float out[8];
    __m256 t = s[0];
    for (int i = 1; i < SUMS; i++) t = _mm256_add_ps(t, s[i]);
    _mm256_storeu_ps(out, t);
    return (double)out[0];
}

static double int8_avx2(int rounds) {
    __m256i s[SUMS], a = _mm256_set1_epi8(1), b = a, ones = _mm256_set1_epi16(1);
    int32_t out[8];
    for (int i = 0; i < SUMS; i++) s[i] = _mm256_setzero_si256();
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < SUMS; i++) {
            __asm__("" : "+x"(a)); /* a value that the compiler cannot foresee: no product is taken out of the loop */
            s[i] = _mm256_add_epi32(s[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
        }
    for (int i = 1; i < SUMS; i++) s[0] = _mm256_xor_si256(s[0], s[i]);
    _mm256_storeu_si256((__m256i *)(void *)out, s[0]);
    return (double)out[0];
}

/* Two products of bf16 widened to f32: the even halves by a shift, the odd ones by a mask. */
double fc_roof_bf16_avx2(int rounds) {
    __m256 s[SUMS];
    __m256i a = _mm256_set1_epi32(0x3a003a00), odd = _mm256_set1_epi32((int)0xffff0000u);
    __m256 b = _mm256_set1_ps(1e-3f);
    for (int i = 0; i < SUMS; i++) s[i] = _mm256_setzero_ps();
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < SUMS; i++) {
            __asm__("" : "+x"(a));
            s[i] = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), b, s[i]);
            s[i] = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(a, odd)), b, s[i]);
        }
    return total(s);
}

double fc_roof_f32_avx2(int rounds) {
    __m256 s[SUMS], a = _mm256_set1_ps(1e-3f), b = a;
    for (int i = 0; i < SUMS; i++) s[i] = _mm256_setzero_ps();
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < SUMS; i++) {
            __asm__("" : "+x"(a));
            s[i] = _mm256_fmadd_ps(a, b, s[i]);
        }
    return total(s);
}

const fc_roof_ops fc_roof_avx2 = {fc_roof_read_avx2, int8_avx2, fc_roof_bf16_avx2, fc_roof_f32_avx2,
                                  64 * SUMS,         32 * SUMS, 16 * SUMS};
