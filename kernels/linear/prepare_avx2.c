#include "kernels/linear/levels.h"

#include <immintrin.h>

/* Rounds one group as fc_linear_group does, with the same bits; used by AVX-512 too, since a group is only 32 numbers. */
static void group(const float *x, int zero, bool halves, fc_linear_x *out) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256 v[4];
    __m256i most = _mm256_setzero_si256(), code[4], sum;
    __m128i m;
    int32_t low, high;
    float top, inverse;
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        most = _mm256_max_epu32(most, _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude));
    }
    m = _mm_max_epu32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    top = _mm_cvtss_f32(_mm_castsi128_ps(m));
    if (!(top > FC_X_TINY && top < INFINITY)) {
        fc_linear_group(x, zero, halves, out);
        return;
    }
    inverse = 127.0f / top;
    for (int i = 0; i < 4; i++) code[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], _mm256_set1_ps(inverse)));
    code[0] = _mm256_packs_epi16(_mm256_packs_epi32(code[0], code[1]), _mm256_packs_epi32(code[2], code[3]));
    code[0] = _mm256_permutevar8x32_epi32(code[0], _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)out->code, code[0]);
    sum = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), code[0]), _mm256_set1_epi16(1));
    sum = _mm256_add_epi32(sum, _mm256_shuffle_epi32(sum, 0x4e)); /* each 128-bit lane is a half of the group */
    sum = _mm256_add_epi32(sum, _mm256_shuffle_epi32(sum, 0xb1));
    low = _mm_cvtsi128_si32(_mm256_castsi256_si128(sum));
    high = _mm_cvtsi128_si32(_mm256_extracti128_si256(sum, 1));
    out->scale = top / 127.0f;
    out->sum = out->scale * (float)(low + high);
    out->start[0] = -zero * (halves ? low : low + high);
    out->start[1] = halves ? -zero * high : 16 * out->start[0];
}

void fc_linear_prepare_codes_avx2(const fc_linear_prepare *p) {
    fc_linear_x *out = p->out;
    for (int g = 0; g < p->K / FC_XGROUP; g++)
        for (int r = 0; r < p->rows; r++)
            group(p->x + (size_t)r * p->stride + (size_t)g * FC_XGROUP, p->zero, p->halves, out++);
}

/* To the nearest bf16, ties to even, in the high half of each lane's number; NaN stays NaN. */
static __m256i round_bf16(__m256 x) {
    __m256i u = _mm256_castps_si256(x), odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i near = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(near, _mm256_or_si256(u, _mm256_set1_epi32(0x400000)), nan);
}

void fc_linear_prepare_bf16_avx2(const fc_linear_prepare *p) {
    int whole = p->K / 8 * 8;
    uint32_t *out = p->out; /* [(K+1)/2][rows] pairs */
    for (int r = 0; r < p->rows; r++) {
        const float *x = p->x + (size_t)r * p->stride;
        for (int k = 0; k < whole; k += 8) {
            uint32_t u[8];
            _mm256_storeu_si256((__m256i *)(void *)u, round_bf16(_mm256_loadu_ps(x + k)));
            for (int i = 0; i < 4; i++) out[(k / 2 + i) * p->rows + r] = u[2 * i] >> 16 | (u[2 * i + 1] & 0xffff0000u);
        }
        for (int k = whole; k < p->K; k += 2)
            out[k / 2 * p->rows + r] =
                fc_f32_to_bf16(x[k]) | (k + 1 < p->K ? (uint32_t)fc_f32_to_bf16(x[k + 1]) << 16 : 0u);
    }
}
