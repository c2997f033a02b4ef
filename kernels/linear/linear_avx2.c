#include "kernels/linear/levels.h"

#include <immintrin.h>

/* The loops below are written once with the number of rows and the form as arguments; each table entry is a copy in which
 * they are constants, so that all sums stay in registers. */
#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* Rows at once: 12 float sums, or 6 integer and 6 float sums, of 8 lanes. */
enum { F_ROWS = 6, C_ROWS = 3, QUAD = 64 /* bytes of four k of 16 lanes */ };

void fc_linear_group_avx2(const float *x, int zero, bool halves, fc_linear_x *out) {
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

static void prepare(const fc_linear_prepare *p) {
    const __m128i order = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
    fc_linear_x_wide *out = p->out;
    for (int g = 0; g < p->K / FC_XGROUP; g++)
        for (int r = 0; r < p->rows; r++, out++) {
            fc_linear_group_avx2(p->x + (size_t)r * p->stride + (size_t)g * FC_XGROUP, p->zero, p->halves, &out->x);
            for (int h = 0; h < 2; h++) {
                __m128i code = _mm_loadu_si128((const __m128i *)(const void *)(out->x.code + 16 * h));
                _mm256_storeu_si256((__m256i *)(void *)out->pairs[4 * h], _mm256_cvtepi8_epi16(_mm_shuffle_epi8(code, order)));
            }
        }
}

/* One panel and R rows from row `first` of the tile on. */
INLINE void store(const fc_linear_multiply *m, int R, int first, __m256 (*acc)[2]) {
    UNROLL
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
INLINE __m256 vector(const unsigned char *p, int half, size_t bytes) {
    if (bytes == 4) return _mm256_loadu_ps((const float *)(const void *)(p + half * 32));
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + half * 16)));
}

INLINE __m256i broadcast(const void *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

INLINE __m256i load(const unsigned char *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }

/* Four-bit codes: products of a quad fit 16 bits, and so do the eight quads of a group, at most 8 * 2 * 15 * 127. */
INLINE void dot_narrow(__m256i sum[C_ROWS][2], int R, bool high, const unsigned char *codes, const fc_linear_x_wide *x) {
    UNROLL
    for (int h = 0; h < 2; h++) {
        __m256i s[C_ROWS];
        UNROLL
        for (int r = 0; r < R; r++) s[r] = _mm256_setzero_si256();
        for (int q = 0; q < 8; q++) {
            __m256i w = load(codes + q * QUAD + h * 32);
            w = _mm256_and_si256(high ? _mm256_srli_epi16(w, 4) : w, _mm256_set1_epi8(15));
            UNROLL
            for (int r = 0; r < R; r++)
                s[r] = _mm256_add_epi16(s[r], _mm256_maddubs_epi16(w, broadcast(x[r].x.code + 4 * q)));
        }
        UNROLL
        for (int r = 0; r < R; r++) sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(s[r], _mm256_set1_epi16(1)));
    }
}

/* Eight-bit codes: 16-bit products of unsigned by signed bytes would saturate, so both are widened. */
INLINE void dot_wide(__m256i sum[C_ROWS][2], int R, int quads, int first, const unsigned char *codes, const fc_linear_x_wide *x) {
    for (int q = first / 4; q < first / 4 + quads; q++) {
        UNROLL
        for (int h = 0; h < 2; h++) {
            __m256i w = load(codes + q * QUAD + h * 32), even = _mm256_and_si256(w, _mm256_set1_epi16(255));
            __m256i odd = _mm256_srli_epi16(w, 8);
            UNROLL
            for (int r = 0; r < R; r++) {
                sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(even, broadcast(x[r].pairs[q][0])));
                sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(odd, broadcast(x[r].pairs[q][1])));
            }
        }
    }
}

INLINE void codes(const fc_linear_multiply *m, int R, int first, fc_form form) {
    const bool narrow = fc_form_bits(form) == 4, has_min = fc_form_has_min(form);
    const int parts = FC_XGROUP / fc_form_group(form), groups = m->K / FC_XGROUP;
    const size_t bytes = fc_form_scale_bytes(form), mins = fc_panel_mins(form, m->K) - fc_panel_scales(form, m->K);
    const unsigned char *at = m->panel, *scales = at + fc_panel_scales(form, m->K);
    const fc_linear_x_wide *x = (const fc_linear_x_wide *)m->x + first;
    __m256 acc[C_ROWS][2];
    UNROLL
    for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (int g = 0; g < groups; g++, x += m->rows) {
        for (int p = 0; p < parts; p++, scales += FC_LANES * bytes) {
            __m256i sum[C_ROWS][2];
            UNROLL
            for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = has_min ? _mm256_setzero_si256() : broadcast(&x[r].x.start[p]);
            if (narrow) dot_narrow(sum, R, g % 2, at, x);
            else dot_wide(sum, R, 8 / parts, p * 16, at, x);
            UNROLL
            for (int h = 0; h < 2; h++) {
                __m256 scale = vector(scales, h, bytes), min = has_min ? vector(scales + mins, h, bytes) : scale;
                UNROLL
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
INLINE __m256 weight(const unsigned char *panel, int h, size_t k, fc_form form) {
    __m256i pair;
    if (form != FC_FORM_BF16) return vector(panel + k * (form == FC_FORM_F16 ? 32 : 64), h, form == FC_FORM_F16 ? 2 : 4);
    pair = load(panel + k / 2 * 64 + h * 32);
    return _mm256_castsi256_ps(k % 2 ? _mm256_and_si256(pair, _mm256_set1_epi32(-0x10000)) : _mm256_slli_epi32(pair, 16));
}

INLINE void floats(const fc_linear_multiply *m, int R, int first, fc_form form) {
    const float *x = (const float *)m->x + (size_t)first * m->stride;
    __m256 acc[F_ROWS][2];
    UNROLL
    for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (size_t k = 0; k < (size_t)m->K; k++) {
        __m256 low = weight(m->panel, 0, k, form), high = weight(m->panel, 1, k, form);
        UNROLL
        for (int r = 0; r < R; r++) {
            __m256 v = _mm256_set1_ps(x[(size_t)r * m->stride + k]);
            acc[r][0] = _mm256_fmadd_ps(low, v, acc[r][0]);
            acc[r][1] = _mm256_fmadd_ps(high, v, acc[r][1]);
        }
    }
    store(m, R, first, acc);
}

#define COPY(form, R)                                                      \
    static void form##_##R(const fc_linear_multiply *m, int first) {       \
        if (fc_form_is_float(FC_FORM_##form)) floats(m, R, first, FC_FORM_##form); \
        else codes(m, R > C_ROWS ? C_ROWS : R, first, FC_FORM_##form);     \
    }
#define COPIES3(form) COPY(form, 1) COPY(form, 2) COPY(form, 3)
#define NAMES3(form)  form##_1, form##_2, form##_3
#define COPIES6(form) COPIES3(form) COPY(form, 4) COPY(form, 5) COPY(form, 6)
#define NAMES6(form)  NAMES3(form), form##_4, form##_5, form##_6

COPIES6(F32) COPIES6(F16) COPIES6(BF16)
COPIES3(Q8_ZERO) COPIES3(Q8_MIN) COPIES3(Q8_MIN32) COPIES3(Q8_HALF)
COPIES3(Q4_ZERO) COPIES3(Q4_MIN) COPIES3(Q4_MIN32)

static void multiply(const fc_linear_multiply *all) {
    static void (*const copies[FC_FORM_COUNT][F_ROWS])(const fc_linear_multiply *, int) = {
        {NAMES6(F32)},      {NAMES6(F16)},     {NAMES6(BF16)},    {NAMES3(Q8_ZERO)}, {NAMES3(Q8_MIN)},
        {NAMES3(Q8_MIN32)}, {NAMES3(Q8_HALF)}, {NAMES3(Q4_ZERO)}, {NAMES3(Q4_MIN)},  {NAMES3(Q4_MIN32)},
    };
    int most = fc_form_is_float(all->form) ? F_ROWS : C_ROWS;
    for (int i = 0; i < all->panels; i++) {
        fc_linear_multiply m = fc_linear_one_panel(all, i);
        for (int first = 0; first < m.rows; first += most) {
            int R = m.rows - first < most ? m.rows - first : most;
            copies[m.form][R - 1](&m, first);
        }
    }
}

const fc_linear_level fc_linear_avx2 = {sizeof(fc_linear_x_wide), prepare, multiply};
