#include "kernels/linear/round_quads_avx2.h"

#include <immintrin.h>

/* Rows at once: 12 float sums, or 6 integer and 6 float sums, of 8 lanes. */
enum { F_ROWS = 6, C_ROWS = 3 };

FC_INLINE __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

FC_INLINE __m256i magnitude(const float *x) { return _mm256_and_si256(load(x), _mm256_set1_epi32(0x7fffffff)); }

FC_INLINE __m128i max_of_halves(__m256i m) {
    return _mm_max_epu32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
}

/* Bits of the largest magnitude in each four of 32 numbers; magnitudes order as their bits do, NaN above all. */
FC_INLINE __m128i magnitudes(const float *x) {
    __m256i m = magnitude(x);
    FC_UNROLL
    for (int i = 1; i < 4; i++) m = _mm256_max_epu32(m, magnitude(x + 8 * i));
    return max_of_halves(m);
}

/* The same of each quad, first to last. */
FC_INLINE __m256i quads(const float *x) {
    __m256i a = magnitude(x), b = magnitude(x + 8), c = magnitude(x + 16), d = magnitude(x + 24);
    a = _mm256_max_epu32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    c = _mm256_max_epu32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    a = _mm256_max_epu32(_mm256_unpacklo_epi64(a, c), _mm256_unpackhi_epi64(a, c)); /* 0, 2, 4, 6, 1, 3, 5, 7 */
    return _mm256_permutevar8x32_epi32(a, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* The largest of each m, side by side. */
FC_INLINE __m128i largest_of(const __m128i m[4]) {
    __m128i a = _mm_max_epu32(_mm_unpacklo_epi32(m[0], m[1]), _mm_unpackhi_epi32(m[0], m[1]));
    __m128i b = _mm_max_epu32(_mm_unpacklo_epi32(m[2], m[3]), _mm_unpackhi_epi32(m[2], m[3]));
    return _mm_max_epu32(_mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b));
}

/* Codes of 32 numbers, of those that leave 8 bits the low byte; returns the sum of each four low bytes. */
FC_INLINE __m256i round_codes(const float *x, float inverse, int8_t *out) {
    const __m256 by = _mm256_set1_ps(inverse);
    const __m256i byte = _mm256_set1_epi16(255);
    __m256i c[4], low, high, all;
    FC_UNROLL
    for (int i = 0; i < 4; i++) c[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), by));
    low = _mm256_packs_epi32(c[0], c[1]);
    high = _mm256_packs_epi32(c[2], c[3]);
    all = _mm256_packus_epi16(_mm256_and_si256(low, byte), _mm256_and_si256(high, byte));
    all = _mm256_permutevar8x32_epi32(all, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)out, all);
    return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), all), _mm256_set1_epi16(1));
}

FC_INLINE fc_linear_x *record(void *out, size_t bytes, int i) {
    return (fc_linear_x *)(void *)((char *)out + (size_t)i * bytes);
}

/* Of four groups, by their quads' and their own largest magnitudes: what the largest code stands for; quad, that of
 * each. */
FC_INLINE __m128i outside_quads(const __m256i q[4], __m128 most, __m128 above, int quad[4]) {
    static const int32_t but_one[15] = {-1, -1, -1, -1, -1, -1, -1, 0, -1, -1, -1, -1, -1, -1, -1};
    float m[4];
    __m128i outside[4];
    __m128 rest;
    _mm_storeu_ps(m, most);
    FC_UNROLL
    for (int i = 0; i < 4; i++) {
        __m256i at = _mm256_cmpeq_epi32(q[i], _mm256_castps_si256(_mm256_set1_ps(m[i])));
        quad[i] = __builtin_ctz((unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(at)));
        outside[i] = max_of_halves(_mm256_and_si256(q[i], load(but_one + 7 - quad[i])));
    }
    rest = _mm_max_ps(_mm_castsi128_ps(largest_of(outside)), _mm_mul_ps(most, _mm_set1_ps(FC_X_REST)));
    return _mm_castps_si128(_mm_blendv_ps(most, rest, _mm_cmpgt_ps(most, above)));
}

/* fc_linear_scale_of each. */
FC_INLINE __m128i scales_of(__m128 m) {
    const __m128i root = _mm_set1_epi32(FC_X_ROOT_BITS);
    __m128i bits = _mm_castps_si128(_mm_mul_ps(m, _mm_set1_ps(FC_X_STEP)));
    __m128i power = _mm_and_si128(bits, _mm_set1_epi32(0x7f800000));
    return _mm_blendv_epi8(_mm_or_si128(power, root), _mm_add_epi32(power, _mm_set1_epi32(0x00800000)),
                           _mm_cmpgt_epi32(_mm_xor_si128(bits, power), root));
}

/* Lane i of four fields to record i, from `at` of it on. */
FC_INLINE void store_fields(__m128i a, __m128i b, __m128i c, __m128i d, size_t at, void *out, size_t bytes) {
    __m128 f[4] = {_mm_castsi128_ps(a), _mm_castsi128_ps(b), _mm_castsi128_ps(c), _mm_castsi128_ps(d)};
    _MM_TRANSPOSE4_PS(f[0], f[1], f[2], f[3]);
    FC_UNROLL
    for (int i = 0; i < 4; i++) _mm_storeu_ps((float *)(void *)((char *)out + (size_t)i * bytes + at), f[i]);
}

/* Four groups to four neighbouring records, with fc_linear_group's bits, but quad where no byte is high. */
FC_INLINE void round_groups(const float *const x[4], const float above[4], const fc_linear_prepare *p, void *out,
                            size_t bytes) {
    const __m128i zero = _mm_set1_epi32(-p->zero);
    float inverse[4];
    int quad[4];
    __m128i m[4], top, low, high, start0, start1, bits, power, bias, high_bytes, more, second, at;
    __m256i s[4], q[4];
    FC_UNROLL
    for (int i = 0; i < 4; i++) {
        q[i] = quads(x[i]);
        m[i] = max_of_halves(q[i]);
    }
    top = largest_of(m);
    low = _mm_cmpgt_epi32(top, _mm_castps_si128(_mm_set1_ps(FC_X_TINY)));
    high = _mm_cmpgt_epi32(top, _mm_castps_si128(_mm_set1_ps(FC_X_LARGE)));
    if (_mm_movemask_ps(_mm_castsi128_ps(_mm_andnot_si128(high, low))) != 15) {
        for (int i = 0; i < 4; i++) fc_linear_group(x[i], p, above[i], record(out, bytes, i));
        return;
    }
    top = outside_quads(q, _mm_castsi128_ps(top), _mm_loadu_ps(above), quad);
    bits = scales_of(_mm_castsi128_ps(top));
    _mm_storeu_ps(inverse, _mm_div_ps(_mm_set1_ps(1.0f), _mm_castsi128_ps(bits)));
    FC_UNROLL
    for (int i = 0; i < 4; i++) s[i] = round_codes(x[i], inverse[i], record(out, bytes, i)->code);
    s[0] = _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
    high_bytes = round_quads(x, inverse, quad);
    at = _mm_loadu_si128((const __m128i *)(const void *)quad);
    more = _mm_madd_epi16(_mm_maddubs_epi16(_mm_set1_epi8(1), high_bytes), _mm_set1_epi16(1));
    more = _mm_slli_epi32(more, 8);
    second = _mm_cmpgt_epi32(at, _mm_set1_epi32(3));
    low = _mm_add_epi32(_mm256_castsi256_si128(s[0]), _mm_andnot_si128(second, more)); /* the first halves' sums */
    high = _mm_add_epi32(_mm256_extracti128_si256(s[0], 1), _mm_and_si128(second, more));
    start0 = _mm_mullo_epi32(p->halves ? low : _mm_add_epi32(low, high), zero);
    start1 = p->halves ? _mm_mullo_epi32(high, zero) : _mm_slli_epi32(start0, 4);
    store_fields(bits, _mm_castps_si128(_mm_mul_ps(_mm_castsi128_ps(bits), _mm_cvtepi32_ps(_mm_add_epi32(low, high)))),
                 start0, start1, offsetof(fc_linear_x, scale), out, bytes);
    power = _mm_and_si128(bits, _mm_set1_epi32(0x7f800000));
    bias = _mm_add_epi32(power, _mm_set1_epi32(FC_X_BIAS));
    more = _mm_cmpgt_epi8(_mm_abs_epi8(high_bytes), _mm_set1_epi8(FC_X_NARROW));
    more = _mm_andnot_si128(_mm_cmpeq_epi32(more, _mm_setzero_si128()), _mm_set1_epi32(1 << 24)); /* overflows */
    at = _mm_or_si128(more, _mm_slli_epi32(at, 6));
    at = _mm_or_si128(at, _mm_andnot_si128(_mm_cmpeq_epi32(bits, power), _mm_set1_epi32(64 << 16))); /* root */
    store_fields(bias, _mm_sub_epi32(bias, _mm_set1_epi32(4 << 23)), high_bytes, at, offsetof(fc_linear_x, bias), out,
                 bytes);
}
_Static_assert(FC_QUAD == 1 << 6 && offsetof(fc_linear_x, bias) == offsetof(fc_linear_x, scale) + 16,
               "four fields are stored at once, and a quad's offset is its number shifted");

static float fine_above(const float *row, int groups, bool precise) {
    float sum = 0.0f;
    for (int g = 0; g < groups; g++) {
        __m128i m = magnitudes(row + (size_t)g * FC_XGROUP);
        m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
        m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
        sum += _mm_cvtss_f32(_mm_castsi128_ps(m));
    }
    return fc_linear_fine_above(sum, groups, precise);
}

/* A tile's records of so many bytes, four at a time in the order in which they lie. */
FC_INLINE void round_tile(const fc_linear_prepare *p, size_t bytes) {
    const float *x[4];
    float above[FC_TILE_ROWS], limit[4];
    int n = 0, g = 0, r = 0, groups = p->K / FC_XGROUP, all = groups * p->rows;
    for (int i = 0; i < p->rows; i++) above[i] = fine_above(p->x + (size_t)i * p->stride, groups, p->precise);
    for (int i = 0; i < all; i++) {
        limit[n] = above[r];
        x[n++] = p->x + (size_t)r * p->stride + (size_t)g * FC_XGROUP;
        if (++r == p->rows) r = 0, g++;
        if (n < 4) continue;
        round_groups(x, limit, p, record(p->out, bytes, i - 3), bytes);
        n = 0;
    }
    for (int i = 0; i < n; i++) fc_linear_group(x[i], p, limit[i], record(p->out, bytes, all - n + i));
}

void fc_linear_prepare_avx2(const fc_linear_prepare *p) { round_tile(p, sizeof(fc_linear_x)); }

/* Four quads of bytes, widened, in the order of pairs. */
FC_INLINE __m256i widen(__m128i code) {
    const __m128i order = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(code, order));
}

/* 256 times the record's high bytes onto the pairs of their quad. */
FC_INLINE void add_high(fc_linear_x_wide *out) {
    __m128i *quad = (__m128i *)(void *)out->pairs[out->x.quad / FC_QUAD], high;
    int32_t four;
    memcpy(&four, out->x.high, sizeof four);
    high = _mm256_castsi256_si128(widen(_mm_cvtsi32_si128(four)));
    _mm_storel_epi64(quad, _mm_add_epi16(_mm_loadl_epi64(quad), _mm_slli_epi16(high, 8)));
}

static void prepare(const fc_linear_prepare *p) {
    fc_linear_x_wide *out = p->out;
    round_tile(p, sizeof *out);
    for (int i = 0; i < p->K / FC_XGROUP * p->rows; i++, out++) {
        __m256i code = load(out->x.code);
        _mm256_storeu_si256((__m256i *)(void *)out->pairs[0], widen(_mm256_castsi256_si128(code)));
        _mm256_storeu_si256((__m256i *)(void *)out->pairs[4], widen(_mm256_extracti128_si256(code, 1)));
        add_high(out);
    }
}

/* One panel and R rows from row `first` of the tile on. */
FC_INLINE void store(const fc_linear_multiply *m, int R, int first, __m256 (*acc)[2]) {
    FC_UNROLL
    for (int r = 0; r < R; r++) {
        float *y = m->y + (size_t)(first + r) * m->y_stride, v[FC_LANES];
        _mm256_storeu_ps(v, acc[r][0]);
        _mm256_storeu_ps(v + 8, acc[r][1]);
        if (m->bias)
            for (int i = 0; i < m->lanes; i++) v[i] += m->bias[i];
        memcpy(y, v, (size_t)m->lanes * sizeof *y);
    }
}

/* Eight of a panel's scales or minimums, or of its f16 weights. */
FC_INLINE __m256 vector(const unsigned char *p, int half, size_t bytes) {
    if (bytes == 4) return _mm256_loadu_ps((const float *)(const void *)(p + half * 32));
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + half * 16)));
}

FC_INLINE __m256i broadcast(const void *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

/* Four-bit codes: products of a quad fit 16 bits, and so do the eight quads of a group, at most 8 * 2 * 15 * 128. */
FC_INLINE void dot_narrow(__m256i sum[C_ROWS][2], int R, bool high, const unsigned char *codes,
                          const fc_linear_x_wide *x) {
    FC_UNROLL
    for (int h = 0; h < 2; h++) {
        __m256i s[C_ROWS];
        FC_UNROLL
        for (int r = 0; r < R; r++) s[r] = _mm256_setzero_si256();
        for (int q = 0; q < 8; q++) {
            __m256i w = load(codes + q * FC_QUAD + h * 32);
            w = _mm256_and_si256(high ? _mm256_srli_epi16(w, 4) : w, _mm256_set1_epi8(15));
            FC_UNROLL
            for (int r = 0; r < R; r++)
                s[r] = _mm256_add_epi16(s[r], _mm256_maddubs_epi16(w, broadcast(x[r].x.code + 4 * q)));
        }
        FC_UNROLL
        for (int r = 0; r < R; r++)
            sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(s[r], _mm256_set1_epi16(1)));
    }
}

/* Codes of 8 bits: 16-bit products of unsigned by signed bytes would saturate, so both are widened. */
FC_INLINE void dot_wide(__m256i sum[C_ROWS][2], int R, int quads, int first, const unsigned char *codes,
                        const fc_linear_x_wide *x) {
    for (int q = first / 4; q < first / 4 + quads; q++) {
        FC_UNROLL
        for (int h = 0; h < 2; h++) {
            __m256i w = load(codes + q * FC_QUAD + h * 32);
            __m256i even = _mm256_and_si256(w, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(w, 8);
            FC_UNROLL
            for (int r = 0; r < R; r++) {
                sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(even, broadcast(x[r].pairs[q][0])));
                sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(odd, broadcast(x[r].pairs[q][1])));
            }
        }
    }
}

FC_INLINE bool any_high(const fc_linear_x_wide *x, int R) {
    int32_t any = 0;
    FC_UNROLL
    for (int r = 0; r < R; r++) {
        int32_t high;
        memcpy(&high, x[r].x.high, sizeof high);
        any |= high;
    }
    return any != 0;
}

/* Four-bit codes: 256 times the high bytes of x, each row's in its quad. */
FC_INLINE void dot_high(__m256i sum[C_ROWS][2], int R, bool high, const unsigned char *codes,
                        const fc_linear_x_wide *x) {
    FC_UNROLL
    for (int r = 0; r < R; r++) {
        __m256i v = broadcast(x[r].x.high);
        FC_UNROLL
        for (int h = 0; h < 2; h++) {
            __m256i w = load(codes + x[r].x.quad + h * 32);
            w = _mm256_and_si256(high ? _mm256_srli_epi16(w, 4) : w, _mm256_set1_epi8(15));
            w = _mm256_madd_epi16(_mm256_maddubs_epi16(w, v), _mm256_set1_epi16(256));
            sum[r][h] = _mm256_add_epi32(sum[r][h], w);
        }
    }
}

FC_INLINE void codes(const fc_linear_multiply *m, int R, int first, fc_form form) {
    const bool narrow = fc_form_bits(form) == 4, has_min = fc_form_has_min(form);
    const int parts = FC_XGROUP / fc_form_group(form), groups = m->K / FC_XGROUP;
    const size_t bytes = fc_form_scale_bytes(form), mins = fc_panel_mins(form, m->K) - fc_panel_scales(form, m->K);
    const unsigned char *at = m->panel, *scales = at + fc_panel_scales(form, m->K);
    const fc_linear_x_wide *x = (const fc_linear_x_wide *)m->x + first;
    __m256 acc[C_ROWS][2];
    FC_UNROLL
    for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (int g = 0; g < groups; g++, x += m->rows) {
        for (int p = 0; p < parts; p++, scales += FC_LANES * bytes) {
            __m256i sum[C_ROWS][2];
            FC_UNROLL
            for (int r = 0; r < R; r++)
                sum[r][0] = sum[r][1] = has_min ? _mm256_setzero_si256() : broadcast(&x[r].x.start[p]);
            if (!narrow) dot_wide(sum, R, 8 / parts, p * 16, at, x);
            else dot_narrow(sum, R, g % 2, at, x);
            if (narrow && any_high(x, R)) dot_high(sum, R, g % 2, at, x);
            FC_UNROLL
            for (int h = 0; h < 2; h++) {
                __m256 scale = vector(scales, h, bytes), min = has_min ? vector(scales + mins, h, bytes) : scale;
                FC_UNROLL
                for (int r = 0; r < R; r++) {
                    __m256 step = _mm256_mul_ps(scale, _mm256_set1_ps(x[r].x.scale));
                    acc[r][h] = _mm256_fmadd_ps(step, _mm256_cvtepi32_ps(sum[r][h]), acc[r][h]);
                    if (has_min) acc[r][h] = _mm256_fmadd_ps(min, _mm256_set1_ps(x[r].x.sum), acc[r][h]);
                }
            }
        }
        if (!narrow || g % 2) at += 8 * FC_QUAD;
    }
    store(m, R, first, acc);
}

/* Weight k of eight lanes. A bf16 is the high half of an f32, and two k share a word. */
FC_INLINE __m256 weight(const unsigned char *panel, int h, size_t k, fc_form form) {
    __m256i pair;
    if (form != FC_FORM_BF16)
        return vector(panel + k * (form == FC_FORM_F16 ? 32 : 64), h, form == FC_FORM_F16 ? 2 : 4);
    pair = load(panel + k / 2 * 64 + h * 32);
    return _mm256_castsi256_ps(k % 2 ? _mm256_and_si256(pair, _mm256_set1_epi32(-0x10000))
                                     : _mm256_slli_epi32(pair, 16));
}

/* E4M3 of eight lanes: in f16, whose exponents begin 8 lower, so that weights come out 2^8 too small; NaN is taken for
 * 480: panel.h. */
FC_INLINE __m256 f8_weight(const unsigned char *p) {
    __m128i wide = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)p)); /* sign in bit 15, too */
    return _mm256_cvtph_ps(_mm_and_si128(_mm_slli_epi16(wide, 7), _mm_set1_epi16((short)0xbf80)));
}

FC_INLINE void f8(const fc_linear_multiply *m, int R, int first) {
    const float *x = (const float *)m->x + (size_t)first * m->stride;
    const unsigned char *scales = m->panel + fc_panel_scales_f8(m->K);
    size_t K = (size_t)m->K, cols = (size_t)m->scale_cols, k = 0;
    __m256 all[F_ROWS][2];
    FC_UNROLL
    for (int r = 0; r < R; r++) all[r][0] = all[r][1] = _mm256_setzero_ps();
    for (size_t end = cols; k < K; end += cols, scales += FC_LANES * sizeof(float)) {
        __m256 acc[F_ROWS][2];
        FC_UNROLL
        for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
        for (end = end < K ? end : K; k < end; k++) {
            __m256 low = f8_weight(m->panel + k * FC_LANES), high = f8_weight(m->panel + k * FC_LANES + 8);
            FC_UNROLL
            for (int r = 0; r < R; r++) {
                __m256 v = _mm256_set1_ps(x[(size_t)r * m->stride + k]);
                acc[r][0] = _mm256_fmadd_ps(low, v, acc[r][0]);
                acc[r][1] = _mm256_fmadd_ps(high, v, acc[r][1]);
            }
        }
        FC_UNROLL
        for (int h = 0; h < 2; h++) {
            __m256 scale = _mm256_mul_ps(vector(scales, h, 4), _mm256_set1_ps(256.0f));
            FC_UNROLL
            for (int r = 0; r < R; r++) all[r][h] = _mm256_fmadd_ps(scale, acc[r][h], all[r][h]);
        }
    }
    store(m, R, first, all);
}

FC_INLINE void floats(const fc_linear_multiply *m, int R, int first, fc_form form) {
    const float *x = (const float *)m->x + (size_t)first * m->stride;
    __m256 acc[F_ROWS][2];
    FC_UNROLL
    for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (size_t k = 0; k < (size_t)m->K; k++) {
        __m256 low = weight(m->panel, 0, k, form), high = weight(m->panel, 1, k, form);
        FC_UNROLL
        for (int r = 0; r < R; r++) {
            __m256 v = _mm256_set1_ps(x[(size_t)r * m->stride + k]);
            acc[r][0] = _mm256_fmadd_ps(low, v, acc[r][0]);
            acc[r][1] = _mm256_fmadd_ps(high, v, acc[r][1]);
        }
    }
    store(m, R, first, acc);
}

#if !FC_ONE_COPY
/* clang-format off */
#define COPY(form, R) \
    static void form##_##R(const fc_linear_multiply *m, int first) { \
        if (FC_FORM_##form == FC_FORM_F8) f8(m, R, first); \
        else if (fc_form_is_float(FC_FORM_##form)) floats(m, R, first, FC_FORM_##form); \
        else codes(m, R > C_ROWS ? C_ROWS : R, first, FC_FORM_##form); \
    }
#define COPIES3(form) COPY(form, 1) COPY(form, 2) COPY(form, 3)
#define COPIES6(form) COPIES3(form) COPY(form, 4) COPY(form, 5) COPY(form, 6)
#define NAMES3(form)  form##_1, form##_2, form##_3
#define NAMES6(form)  [FC_FORM_##form] = {NAMES3(form), form##_4, form##_5, form##_6}
#define NAMES(form)   [FC_FORM_##form] = {NAMES3(form)}

COPIES6(F32) COPIES6(F16) COPIES6(BF16) COPIES6(F8)
COPIES3(Q8_ZERO) COPIES3(Q8_MIN) COPIES3(Q8_MIN32) COPIES3(Q8_HALF)
COPIES3(Q4_ZERO) COPIES3(Q4_MIN) COPIES3(Q4_MIN32)

static void (*const copies[FC_FORM_COUNT][F_ROWS])(const fc_linear_multiply *m, int first) = {
    NAMES6(F32), NAMES6(F16), NAMES6(BF16), NAMES6(F8), NAMES(Q8_ZERO), NAMES(Q8_MIN), NAMES(Q8_MIN32), NAMES(Q8_HALF),
    NAMES(Q4_ZERO), NAMES(Q4_MIN), NAMES(Q4_MIN32),
};
/* clang-format on */
#endif

/* R rows of one panel, from row `first` on. */
static void multiply_rows(const fc_linear_multiply *m, int R, int first) {
#if FC_ONE_COPY
    if (m->form == FC_FORM_F8) f8(m, R, first);
    else if (fc_form_is_float(m->form)) floats(m, R, first, m->form);
    else codes(m, R, first, m->form);
#else
    copies[m->form][R - 1](m, first);
#endif
}

static void multiply(const fc_linear_multiply *all) {
    int most = fc_form_is_float(all->form) ? F_ROWS : C_ROWS;
    for (int i = 0; i < all->panels; i++) {
        fc_linear_multiply m = fc_linear_one_panel(all, i);
        for (int first = 0; first < m.rows; first += most)
            multiply_rows(&m, m.rows - first < most ? m.rows - first : most, first);
    }
}

const fc_linear_level fc_linear_avx2 = {sizeof(fc_linear_x_wide), FC_VECTOR_ROWS, prepare, multiply};
