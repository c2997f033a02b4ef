#include "kernels/linear/round_quads_avx2.h"

#include <immintrin.h>

enum { N = 16 }; /* groups at once: one a lane where a value a group is computed */

FC_INLINE __m512i magnitude(const float *x) {
    return _mm512_and_si512(_mm512_loadu_si512(x), _mm512_set1_epi32(0x7fffffff));
}

FC_INLINE __m512i most(__m512i a, __m512i b) { return _mm512_max_epu32(a, b); }

/* In each 128 bits the larger of elements 0 and 2, then of 1 and 3: a's first, b's first, a's second, b's second. */
FC_INLINE __m512i most_of_pairs(__m512i a, __m512i b) {
    return most(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

/* In each 128 bits the largest of the four there, of a, b, c and d. */
FC_INLINE __m512i most_of_fours(__m512i a, __m512i b, __m512i c, __m512i d) {
    a = most_of_pairs(a, b), c = most_of_pairs(c, d);
    return most(_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c));
}

/* The larger ones of a's neighbouring 128 bits, then those of b's. */
FC_INLINE __m512i most_of_lanes(__m512i a, __m512i b) {
    return most(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
}

/* Bits of the largest magnitude of each of 16 groups; magnitudes order as their bits do, NaN above all. */
FC_INLINE __m512i largest_of(const float *const x[N]) {
    __m512i four[4];
    FC_UNROLL
    for (int i = 0; i < 4; i++) {
        __m512i m[4];
        FC_UNROLL
        for (int k = 0; k < 4; k++) m[k] = most(magnitude(x[4 * i + k]), magnitude(x[4 * i + k] + 16));
        four[i] = most_of_fours(m[0], m[1], m[2], m[3]);
    }
    return most_of_lanes(most_of_lanes(four[0], four[1]), most_of_lanes(four[2], four[3]));
}

/* Four side by side. Vectors are put together in registers: one that is read from memory behind narrower writes waits
 * until these have left for the cache. */
FC_INLINE __m512i together(const __m128i v[4]) {
    __m512i all = _mm512_inserti32x4(_mm512_castsi128_si512(v[0]), v[1], 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(all, v[2], 2), v[3], 3);
}

/* Of 16 groups the largest magnitude outside the first quad that holds the group's, and which quad that is. */
typedef struct {
    __m512i outside, quad;
    int number[N]; /* quad */
} apart;

FC_INLINE void quads_apart(const float *const x[N], __m512i largest, apart *out) {
    const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    __m128i outside[N / 2], quad[N / 2];
    FC_UNROLL
    for (int i = 0; i < N; i += 2) {
        const float *a = x[i], *b = x[i + 1];
        __m512i both = _mm512_add_epi32(_mm512_maskz_set1_epi32(0xff00, 1), _mm512_set1_epi32(i));
        __m512i q = most_of_fours(magnitude(a), magnitude(a + 16), magnitude(b), magnitude(b + 16));
        unsigned is;
        q = _mm512_permutexvar_epi32(in_order, q); /* a's eight quads, b's eight */
        is = _mm512_cmpeq_epi32_mask(q, _mm512_permutexvar_epi32(both, largest));
        out->number[i] = __builtin_ctz(is), out->number[i + 1] = __builtin_ctz(is >> 8);
        is = 1u << out->number[i] | 256u << out->number[i + 1];
        quad[i / 2] = _mm512_castsi512_si128(_mm512_maskz_compress_epi32((__mmask16)is, numbers));
        q = _mm512_maskz_mov_epi32((__mmask16)~is, q);
        q = most(q, _mm512_shuffle_epi32(q, _MM_PERM_CDAB));
        q = most(q, _mm512_shuffle_epi32(q, _MM_PERM_BADC));
        q = most(q, _mm512_shuffle_i32x4(q, q, 0xb1));
        outside[i / 2] = _mm512_castsi512_si128(_mm512_maskz_compress_epi32(0x0101, q));
    }
    FC_UNROLL
    for (int i = 0; i < 4; i++) {
        outside[i] = _mm_unpacklo_epi64(outside[2 * i], outside[2 * i + 1]);
        quad[i] = _mm_unpacklo_epi64(quad[2 * i], quad[2 * i + 1]);
    }
    out->outside = together(outside);
    out->quad = together(quad);
}

/* Codes of 32 numbers, of those that leave 8 bits the low byte; returns the sum of each four low bytes. */
FC_INLINE __m256i round_codes(const float *x, float inverse, int8_t *out) {
    const __m512 by = _mm512_set1_ps(inverse);
    __m128i low = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), by)));
    __m128i high = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16), by)));
    __m256i all = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    _mm256_storeu_si256((__m256i *)(void *)out, all);
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), all);
}

/* What follows the codes in n records: lane i of the eight fields goes to record i. */
FC_INLINE void store_fields(const __m512i f[8], int n, fc_linear_x *out) {
    __m256i record[N];
    FC_UNROLL
    for (int h = 0; h < 2; h++) { /* the first and the second four fields */
        __m512i a = _mm512_unpacklo_epi32(f[4 * h], f[4 * h + 1]), b = _mm512_unpackhi_epi32(f[4 * h], f[4 * h + 1]);
        __m512i c = _mm512_unpacklo_epi32(f[4 * h + 2], f[4 * h + 3]),
                d = _mm512_unpackhi_epi32(f[4 * h + 2], f[4 * h + 3]);
        __m512i four[4] = {_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c), _mm512_unpacklo_epi64(b, d),
                           _mm512_unpackhi_epi64(b, d)};
        FC_UNROLL
        for (int k = 0; k < 4; k++) {
            __m128i lane[4] = {_mm512_extracti32x4_epi32(four[k], 0), _mm512_extracti32x4_epi32(four[k], 1),
                               _mm512_extracti32x4_epi32(four[k], 2), _mm512_extracti32x4_epi32(four[k], 3)};
            FC_UNROLL
            for (int i = 0; i < 4; i++)
                record[4 * i + k] =
                    h ? _mm256_inserti128_si256(record[4 * i + k], lane[i], 1) : _mm256_castsi128_si256(lane[i]);
        }
    }
    FC_UNROLL
    for (int i = 0; i < N; i++)
        if (i < n) _mm256_storeu_si256((__m256i *)(void *)&out[i].scale, record[i]);
}
_Static_assert(offsetof(fc_linear_x, scale) == 32, "store_fields stores half a record");

/* fc_linear_scale_of each. */
FC_INLINE __m512i scales_of(__m512 m) {
    const __m512i root = _mm512_set1_epi32(FC_X_ROOT_BITS);
    __m512i bits = _mm512_castps_si512(_mm512_mul_ps(m, _mm512_set1_ps(FC_X_STEP)));
    __m512i power = _mm512_and_si512(bits, _mm512_set1_epi32(0x7f800000));
    __mmask16 above = _mm512_cmpgt_epi32_mask(_mm512_xor_si512(bits, power), root);
    return _mm512_mask_add_epi32(_mm512_or_si512(power, root), above, power, _mm512_set1_epi32(0x00800000));
}

/* n groups to neighbouring records, with fc_linear_group's bits, but quad where no byte is high. x and above have a
 * place for all 16. */
static void round_groups(const float *const x[N], const float above[N], int n, const fc_linear_prepare *p,
                         fc_linear_x *out) {
    const __m512i largest = largest_of(x), zero = _mm512_set1_epi32(-p->zero);
    const __m512 most = _mm512_castsi512_ps(largest);
    float inverse[N];
    int8_t beyond[FC_XGROUP]; /* codes of places without a group */
    apart quads;
    __m128i low[4], high[4], high_bytes[4];
    __m512i bits, power, bias, sum[2], start[2], whole, more, tail;
    __m512 rest, scale;
    __mmask16 second, usual = _mm512_cmpgt_epi32_mask(largest, _mm512_castps_si512(_mm512_set1_ps(FC_X_TINY))) &
                              _mm512_cmple_epi32_mask(largest, _mm512_castps_si512(_mm512_set1_ps(FC_X_LARGE)));
    quads_apart(x, largest, &quads);
    rest = _mm512_max_ps(_mm512_castsi512_ps(quads.outside), _mm512_mul_ps(most, _mm512_set1_ps(FC_X_REST)));
    rest = _mm512_mask_mov_ps(most, _mm512_cmp_ps_mask(most, _mm512_loadu_ps(above), _CMP_GT_OQ), rest);
    bits = scales_of(rest);
    scale = _mm512_castsi512_ps(bits);
    _mm512_storeu_ps(inverse, _mm512_div_ps(_mm512_set1_ps(1.0f), scale));
    FC_UNROLL
    for (int i = 0; i < 4; i++) {
        __m256i s[4];
        FC_UNROLL
        for (int k = 0; k < 4; k++)
            s[k] = round_codes(x[4 * i + k], inverse[4 * i + k], 4 * i + k < n ? out[4 * i + k].code : beyond);
        s[0] = _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
        low[i] = _mm256_castsi256_si128(s[0]); /* of the first halves */
        high[i] = _mm256_extracti128_si256(s[0], 1);
        high_bytes[i] = round_quads(x + 4 * i, inverse + 4 * i, quads.number + 4 * i);
    }
    whole = together(high_bytes);
    more = _mm512_slli_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), whole), 8);
    second = _mm512_cmpgt_epi32_mask(quads.quad, _mm512_set1_epi32(3));
    sum[0] = together(low), sum[1] = together(high);
    sum[0] = _mm512_mask_add_epi32(sum[0], (__mmask16)~second, sum[0], more);
    sum[1] = _mm512_mask_add_epi32(sum[1], second, sum[1], more);
    power = _mm512_and_si512(bits, _mm512_set1_epi32(0x7f800000));
    bias = _mm512_add_epi32(power, _mm512_set1_epi32(FC_X_BIAS));
    more = _mm512_abs_epi8(whole);
    more = _mm512_maskz_mov_epi8(_mm512_cmpgt_epi8_mask(more, _mm512_set1_epi8(FC_X_NARROW)), more);
    tail = _mm512_maskz_set1_epi32(_mm512_test_epi32_mask(more, more), 1 << 24); /* overflows */
    tail = _mm512_or_si512(tail, _mm512_slli_epi32(quads.quad, 6));
    tail =
        _mm512_mask_or_epi32(tail, _mm512_cmpneq_epi32_mask(bits, power), tail, _mm512_set1_epi32(64 << 16)); /* root */
    start[0] = _mm512_mullo_epi32(p->halves ? sum[0] : _mm512_add_epi32(sum[0], sum[1]), zero);
    start[1] = p->halves ? _mm512_mullo_epi32(sum[1], zero) : _mm512_slli_epi32(start[0], 4);
    {
        const __m512i fields[8] = {
            bits,     _mm512_castps_si512(_mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_add_epi32(sum[0], sum[1])))),
            start[0], start[1],
            bias,     _mm512_sub_epi32(bias, _mm512_set1_epi32(4 << 23)),
            whole,    tail};
        store_fields(fields, n, out);
    }
    if (usual == 0xffff) return;
    for (int i = 0; i < n; i++)
        if (!(usual >> i & 1)) fc_linear_group(x[i], p, above[i], out + i);
}
_Static_assert(FC_QUAD == 1 << 6, "a quad's offset is its number shifted");

/* The sum of their groups' largest magnitudes, first to last, says which groups of a row are fine. */
static float fine_above(const float *row, int groups, bool precise) {
    float sum = 0.0f;
    for (int g = 0; g < groups; g += N) {
        const float *x[N];
        float m[N];
        int n = groups - g < N ? groups - g : N;
        for (int i = 0; i < N; i++) x[i] = row + (size_t)(g + (i < n ? i : 0)) * FC_XGROUP;
        _mm512_storeu_si512(m, largest_of(x));
        for (int i = 0; i < n; i++) sum += m[i];
    }
    return fc_linear_fine_above(sum, groups, precise);
}

/* A tile's records, sixteen at a time in the order in which they lie. */
void fc_linear_prepare_avx512(const fc_linear_prepare *p) {
    const float *x[N];
    float above[FC_TILE_ROWS], limit[N];
    fc_linear_x *out = p->out;
    int n = 0, g = 0, r = 0, groups = p->K / FC_XGROUP, all = groups * p->rows;
    for (int i = 0; i < p->rows; i++) above[i] = fine_above(p->x + (size_t)i * p->stride, groups, p->precise);
    for (int i = 1; i <= all; i++) {
        limit[n] = above[r];
        x[n++] = p->x + (size_t)r * p->stride + (size_t)g * FC_XGROUP;
        if (++r == p->rows) r = 0, g++;
        if (n < N && i < all) continue;
        for (int k = n; k < N; k++) x[k] = x[0], limit[k] = limit[0];
        round_groups(x, limit, n, p, out);
        out += n;
        n = 0;
    }
}
