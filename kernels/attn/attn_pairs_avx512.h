/* attn_pairs_avx512 - a tile of bf16 K and V as AVX512_BF16 multiplies it: in words of two neighbours, which one
 * instruction multiplies by two others and adds to an f32. Inner to attn_avx512.c.
 *
 * tile    K [E/2][64] words of (e, e+1); V [32][E] words of (position, position + 1)
 * source  Intel, "Architecture Instruction Set Extensions Programming Reference", VDPBF16PS
 */
#ifndef FC_KERNELS_ATTN_PAIRS_AVX512_H
#define FC_KERNELS_ATTN_PAIRS_AVX512_H

#include <immintrin.h>
#include <stdint.h>

/* K [E][P] of n slots from `at` on into lanes 0 .. n-1 of k [E/2][lanes]; the other lanes are left as they are. */
static inline void pair_keys(const uint16_t *from, int P, int E, int at, int n, float *k, int lanes) {
    for (int i = 0; i < n; i += 16) {
        const __mmask16 in = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1u : 0xffffu);
        const uint16_t *even = from + at + i;
        for (int e = 0; e < E; e += 2, even += 2 * P) {
            __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(in, even)),
                    high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(in, even + P));
            __m512i both = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
            float *to = k + e / 2 * lanes + i;
            if (in == 0xffff) _mm512_storeu_si512(to, both);
            else _mm512_mask_storeu_epi32(to, in, both);
        }
    }
}

/* Two rows of V, [E] each, into one of words; E is a multiple of 16. */
static inline void pair_values(const uint16_t *even, const uint16_t *odd, int E, float *v) {
    for (int e = 0; e < E; e += 16) {
        __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(even + e))),
                high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(odd + e)));
        _mm512_storeu_si512(v + e, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
}

#endif
