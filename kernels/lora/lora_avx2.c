#include <immintrin.h>
#include <stdint.h>

typedef __m256 vf;

enum { V_LANES = 8 };
#define V_ROWS   2
#define V_RANKS  2
#define V_RANKS1 4
#define V_COLS   4
#define V_COLS1  8

static inline vf v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline vf v_load_bf16(const uint16_t *p) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline void v_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
static inline vf v_set1(float x) { return _mm256_set1_ps(x); }
static inline vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline float v_hsum(vf x) {
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#include "kernels/lora/lora_simd.h"

const fc_lora_code fc_lora_code_avx2 = {shrink, expand};
