#include "kernels/linear/levels.h"

#include <immintrin.h>

/* Rows at once: 12 float sums, or 6 integer and 6 float sums, of 8 lanes. */
enum { F_ROWS = 6, C_ROWS = 3, QUAD = 64 /* bytes of four k of 16 lanes */ };

FC_INLINE __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

/* Bits of the largest magnitude in each four of 32 numbers; magnitudes order as their bits do, NaN above all. */
FC_INLINE __m128i magnitudes(const float *x) {
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    __m256i m = _mm256_and_si256(load(x), mask);
    FC_UNROLL
    for (int i = 1; i < 4; i++) m = _mm256_max_epu32(m, _mm256_and_si256(load(x + 8 * i), mask));
    return _mm_max_epu32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
}

/* 32 whole numbers as bytes, and the sum of each four. */
FC_INLINE __m256i pack_bytes(const __m256i c[4], int8_t *out) {
    __m256i all = _mm256_packs_epi16(_mm256_packs_epi32(c[0], c[1]), _mm256_packs_epi32(c[2], c[3]));
    all = _mm256_permutevar8x32_epi32(all, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)out, all);
    return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), all), _mm256_set1_epi16(1));
}

/* Behind a record of any kind that has room there. */
FC_INLINE int8_t *low_of(fc_linear_x *x) { return (int8_t *)(x + 1); }

/* Codes of 32 numbers, and low when precise, 0 where fine is; returns the sum of each four. */
FC_INLINE __m256i round_codes(const float *x, float inverse, bool precise, int32_t fine, fc_linear_x *out) {
    const __m256 by = _mm256_set1_ps(inverse);
    __m256i c[4], rest[4], sum;
    FC_UNROLL
    for (int i = 0; i < 4; i++) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), by);
        c[i] = _mm256_cvtps_epi32(v);
        if (!precise) continue;
        v = _mm256_mul_ps(_mm256_sub_ps(v, _mm256_cvtepi32_ps(c[i])), _mm256_set1_ps(256.0f));
        rest[i] = _mm256_and_si256(_mm256_cvtps_epi32(v), _mm256_set1_epi32(fine)); /* 128 is packed as 127 */
    }
    sum = pack_bytes(c, out->code);
    return precise ? _mm256_add_epi32(_mm256_slli_epi32(sum, 8), pack_bytes(rest, low_of(out))) : sum;
}

FC_INLINE fc_linear_x *record(void *out, size_t bytes, int i) {
    return (fc_linear_x *)(void *)((char *)out + (size_t)i * bytes);
}

/* Four groups to four neighbouring records, with fc_linear_group's bits. */
FC_INLINE void round_groups(const float *const x[4], const float above[4], const fc_linear_prepare *p, bool precise,
                            void *out, size_t bytes) {
    const __m128i zero = _mm_set1_epi32(-p->zero);
    float inverse[4];
    int32_t fine[4] = {0};
    __m128i m[4], top, low, high, start0, start1;
    __m128 scale, scale16, sum, start;
    __m256i s[4];
    FC_UNROLL
    for (int i = 0; i < 4; i++) m[i] = magnitudes(x[i]);
    m[0] = _mm_max_epu32(_mm_unpacklo_epi32(m[0], m[1]), _mm_unpackhi_epi32(m[0], m[1]));
    m[2] = _mm_max_epu32(_mm_unpacklo_epi32(m[2], m[3]), _mm_unpackhi_epi32(m[2], m[3]));
    top = _mm_max_epu32(_mm_unpacklo_epi64(m[0], m[2]), _mm_unpackhi_epi64(m[0], m[2]));
    low = _mm_cmpgt_epi32(top, _mm_castps_si128(_mm_set1_ps(FC_X_TINY)));
    high = _mm_cmplt_epi32(top, _mm_castps_si128(_mm_set1_ps(INFINITY)));
    if (_mm_movemask_ps(_mm_castsi128_ps(_mm_and_si128(low, high))) != 15) {
        for (int i = 0; i < 4; i++)
            fc_linear_group(x[i], p, above[i], record(out, bytes, i), low_of(record(out, bytes, i)));
        return;
    }
    _mm_storeu_ps(inverse, _mm_div_ps(_mm_set1_ps(127.0f), _mm_castsi128_ps(top)));
    if (precise)
        _mm_storeu_si128((__m128i *)(void *)fine,
                         _mm_castps_si128(_mm_cmpgt_ps(_mm_castsi128_ps(top), _mm_loadu_ps(above))));
    FC_UNROLL
    for (int i = 0; i < 4; i++) s[i] = round_codes(x[i], inverse[i], precise, fine[i], record(out, bytes, i));
    s[0] = _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
    low = _mm256_castsi256_si128(s[0]); /* the first halves' sums of all four groups */
    high = _mm256_extracti128_si256(s[0], 1);
    scale = _mm_mul_ps(_mm_castsi128_ps(top), _mm_set1_ps(precise ? FC_X_STEP / 256.0f : FC_X_STEP));
    scale16 = _mm_mul_ps(scale, _mm_set1_ps(0.0625f));
    sum = _mm_mul_ps(scale, _mm_cvtepi32_ps(_mm_add_epi32(low, high)));
    start0 = _mm_mullo_epi32(p->halves ? low : _mm_add_epi32(low, high), zero);
    start1 = p->halves ? _mm_mullo_epi32(high, zero) : _mm_slli_epi32(start0, 4);
    start = _mm_castsi128_ps(start0);
    _MM_TRANSPOSE4_PS(scale, scale16, sum, start); /* now each holds the four fields of one record */
    _mm_storeu_ps(&record(out, bytes, 0)->scale, scale);
    _mm_storeu_ps(&record(out, bytes, 1)->scale, scale16);
    _mm_storeu_ps(&record(out, bytes, 2)->scale, sum);
    _mm_storeu_ps(&record(out, bytes, 3)->scale, start);
    record(out, bytes, 0)->start[1] = _mm_extract_epi32(start1, 0);
    record(out, bytes, 1)->start[1] = _mm_extract_epi32(start1, 1);
    record(out, bytes, 2)->start[1] = _mm_extract_epi32(start1, 2);
    record(out, bytes, 3)->start[1] = _mm_extract_epi32(start1, 3);
    FC_UNROLL
    for (int i = 0; i < 4; i++) record(out, bytes, i)->fine = fine[i];
}
_Static_assert(offsetof(fc_linear_x, start) == offsetof(fc_linear_x, scale) + 12,
               "round_groups stores four fields at once");

static float fine_above(const float *row, int groups) {
    float sum = 0.0f;
    for (int g = 0; g < groups; g++) {
        __m128i m = magnitudes(row + (size_t)g * FC_XGROUP);
        m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
        m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
        sum += _mm_cvtss_f32(_mm_castsi128_ps(m));
    }
    return fc_linear_fine_above(sum, groups);
}

/* A tile's records of so many bytes, four at a time in the order in which they lie. */
FC_INLINE void round_tile(const fc_linear_prepare *p, bool precise, size_t bytes) {
    const float *x[4];
    float above[FC_TILE_ROWS] = {0}, limit[4] = {0};
    int n = 0, g = 0, r = 0, groups = p->K / FC_XGROUP, all = groups * p->rows;
    for (int i = 0; precise && i < p->rows; i++) above[i] = fine_above(p->x + (size_t)i * p->stride, groups);
    for (int i = 0; i < all; i++) {
        limit[n] = above[r];
        x[n++] = p->x + (size_t)r * p->stride + (size_t)g * FC_XGROUP;
        if (++r == p->rows) r = 0, g++;
        if (n < 4) continue;
        round_groups(x, limit, p, precise, record(p->out, bytes, i - 3), bytes);
        n = 0;
    }
    for (int i = 0; i < n; i++) {
        fc_linear_x *last = record(p->out, bytes, all - n + i);
        fc_linear_group(x[i], p, limit[i], last, low_of(last));
    }
}

void fc_linear_prepare_avx2(const fc_linear_prepare *p) {
    if (p->precise) round_tile(p, true, sizeof(fc_linear_x_precise));
    else round_tile(p, false, sizeof(fc_linear_x));
}

/* 16 bytes of a quad each, widened, in the order of pairs. */
FC_INLINE __m256i widen(const int8_t *code) {
    const __m128i order = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)code), order));
}

static void prepare(const fc_linear_prepare *p) {
    fc_linear_x_wide *out = p->out;
    if (p->precise) round_tile(p, true, sizeof *out);
    else round_tile(p, false, sizeof *out);
    for (int i = 0; i < p->K / FC_XGROUP * p->rows; i++) {
        const int8_t *code = out[i].x.code, *low = low_of(&out[i].x); /* low lies where pairs will */
        __m256i first = widen(code), second = widen(code + 16);
        if (p->precise) {
            first = _mm256_add_epi16(_mm256_slli_epi16(first, 8), widen(low));
            second = _mm256_add_epi16(_mm256_slli_epi16(second, 8), widen(low + 16));
        }
        _mm256_storeu_si256((__m256i *)(void *)out[i].pairs[0], first);
        _mm256_storeu_si256((__m256i *)(void *)out[i].pairs[4], second);
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

/* Four-bit codes: products of a quad fit 16 bits, and so do the eight quads of a group, at most 8 * 2 * 15 * 127. */
FC_INLINE void dot_narrow(__m256i sum[C_ROWS][2], int R, bool high, const unsigned char *codes,
                          const fc_linear_x_wide *x) {
    FC_UNROLL
    for (int h = 0; h < 2; h++) {
        __m256i s[C_ROWS];
        FC_UNROLL
        for (int r = 0; r < R; r++) s[r] = _mm256_setzero_si256();
        for (int q = 0; q < 8; q++) {
            __m256i w = load(codes + q * QUAD + h * 32);
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

/* Codes of any width: 16-bit products of unsigned by signed bytes would saturate, so both are widened. nibble 1 is the
 * low half of each byte, 2 the high half, 0 the whole byte. */
FC_INLINE void dot_wide(__m256i sum[C_ROWS][2], int R, int nibble, int quads, int first, const unsigned char *codes,
                        const fc_linear_x_wide *x) {
    const __m256i mask = _mm256_set1_epi16(nibble ? 15 : 255);
    for (int q = first / 4; q < first / 4 + quads; q++) {
        FC_UNROLL
        for (int h = 0; h < 2; h++) {
            __m256i w = load(codes + q * QUAD + h * 32);
            __m256i even = _mm256_and_si256(nibble == 2 ? _mm256_srli_epi16(w, 4) : w, mask);
            __m256i odd = nibble == 1 ? _mm256_and_si256(_mm256_srli_epi16(w, 8), mask)
                                      : _mm256_srli_epi16(w, nibble == 2 ? 12 : 8);
            FC_UNROLL
            for (int r = 0; r < R; r++) {
                sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(even, broadcast(x[r].pairs[q][0])));
                sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(odd, broadcast(x[r].pairs[q][1])));
            }
        }
    }
}

FC_INLINE bool any_fine(const fc_linear_x_wide *x, int R) {
    int32_t fine = 0;
    FC_UNROLL
    for (int r = 0; r < R; r++) fine |= x[r].x.fine;
    return fine != 0;
}

/* Four-bit codes with a precise x that has no low part here. */
FC_INLINE void dot_coarse(__m256i sum[C_ROWS][2], int R, bool high, const unsigned char *codes,
                          const fc_linear_x_wide *x) {
    __m256i s[C_ROWS][2];
    FC_UNROLL
    for (int r = 0; r < R; r++) s[r][0] = s[r][1] = _mm256_setzero_si256();
    dot_narrow(s, R, high, codes, x);
    FC_UNROLL
    for (int r = 0; r < R; r++) {
        sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_slli_epi32(s[r][0], 8));
        sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_slli_epi32(s[r][1], 8));
    }
}

FC_INLINE void codes(const fc_linear_multiply *m, int R, int first, fc_form form, bool precise) {
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
            if (!narrow) dot_wide(sum, R, 0, 8 / parts, p * 16, at, x);
            else if (!precise) dot_narrow(sum, R, g % 2, at, x);
            else if (!any_fine(x, R)) dot_coarse(sum, R, g % 2, at, x);
            else if (g % 2) dot_wide(sum, R, 2, 8, 0, at, x);
            else dot_wide(sum, R, 1, 8, 0, at, x);
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
        if (!narrow || g % 2) at += 8 * QUAD;
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
#define COPY(form, R, precise) \
    static void form##_##R##_##precise(const fc_linear_multiply *m, int first) { \
        if (fc_form_is_float(FC_FORM_##form)) floats(m, R, first, FC_FORM_##form); \
        else codes(m, R > C_ROWS ? C_ROWS : R, first, FC_FORM_##form, precise); \
    }
#define COPIES3(form, p) COPY(form, 1, p) COPY(form, 2, p) COPY(form, 3, p)
#define COPIES6(form)    COPIES3(form, 0) COPY(form, 4, 0) COPY(form, 5, 0) COPY(form, 6, 0)
#define NAMES3(form, p)  form##_1_##p, form##_2_##p, form##_3_##p
#define NAMES6(form)     [FC_FORM_##form] = {NAMES3(form, 0), form##_4_0, form##_5_0, form##_6_0}
#define NAMES(form, p)   [FC_FORM_##form] = {NAMES3(form, p)}

COPIES6(F32) COPIES6(F16) COPIES6(BF16)
COPIES3(Q8_ZERO, 0) COPIES3(Q8_MIN, 0) COPIES3(Q8_MIN32, 0) COPIES3(Q8_HALF, 0)
COPIES3(Q4_ZERO, 0) COPIES3(Q4_MIN, 0) COPIES3(Q4_MIN32, 0)
COPIES3(Q4_ZERO, 1) COPIES3(Q4_MIN, 1) COPIES3(Q4_MIN32, 1)
    /* clang-format on */

    typedef void (*copy)(const fc_linear_multiply *m, int first);

/* Bytes are widened in any case, so that they need no copies for a precise x. */
static const copy copies[2][FC_FORM_COUNT][F_ROWS] = {
    {NAMES6(F32), NAMES6(F16), NAMES6(BF16), NAMES(Q8_ZERO, 0), NAMES(Q8_MIN, 0), NAMES(Q8_MIN32, 0), NAMES(Q8_HALF, 0),
     NAMES(Q4_ZERO, 0), NAMES(Q4_MIN, 0), NAMES(Q4_MIN32, 0)},
    {NAMES(Q8_ZERO, 0), NAMES(Q8_MIN, 0), NAMES(Q8_MIN32, 0), NAMES(Q8_HALF, 0), NAMES(Q4_ZERO, 1), NAMES(Q4_MIN, 1),
     NAMES(Q4_MIN32, 1)},
};

#endif

/* R rows of one panel, from row `first` on. */
static void multiply_rows(const fc_linear_multiply *m, int R, int first) {
#if FC_ONE_COPY
    if (fc_form_is_float(m->form)) floats(m, R, first, m->form);
    else codes(m, R, first, m->form, m->precise);
#else
    copies[m->precise][m->form][R - 1](m, first);
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

const fc_linear_level fc_linear_avx2 = {{sizeof(fc_linear_x_wide), sizeof(fc_linear_x_wide)}, prepare, multiply};
