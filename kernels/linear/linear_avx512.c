#include "kernels/cpu/lanes_avx512.h"
#include "kernels/linear/levels.h"

#include <immintrin.h>

enum { R_MAX = FC_VECTOR_ROWS, B_MAX = FC_TILE_PANELS, ROOTS_FROM = 3 /* rows: fewer have nothing to share */ };

FC_INLINE __m512i broadcast(const void *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
}

FC_INLINE __m512 vector(const unsigned char *p, bool half) {
    return half ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)) : _mm512_loadu_ps(p);
}

FC_INLINE void clear(__m512 acc[R_MAX][B_MAX], int R, int B) {
    FC_UNROLL
    for (int r = 0; r < R; r++) {
        FC_UNROLL
        for (int b = 0; b < B; b++) acc[r][b] = _mm512_setzero_ps();
    }
}

FC_INLINE void store(const fc_linear_multiply *m, int R, int B, __m512 acc[R_MAX][B_MAX]) {
    FC_UNROLL
    for (int b = 0; b < B; b++) {
        __mmask16 lanes = fc_lanes_avx512(m->lanes - b * FC_LANES);
        __m512 bias = m->bias ? _mm512_maskz_loadu_ps(lanes, m->bias + b * FC_LANES) : _mm512_setzero_ps();
        FC_UNROLL
        for (int r = 0; r < R; r++)
            _mm512_mask_storeu_ps(m->y + (size_t)r * m->y_stride + b * FC_LANES, lanes, _mm512_add_ps(acc[r][b], bias));
    }
}

/* gcc keeps a zero in a register and copies it, and then lacks that register for a sum. */
FC_INLINE __m512i zero(void) {
    __m512i z;
    __asm__ volatile("vpxord %0, %0, %0" : "=v"(z));
    return z;
}

/* What the copies of a loop differ in. */
typedef struct {
    int R, B;
    fc_form form;
} shape;

/* Where the loop over groups stands. */
typedef struct {
    const fc_linear_x *x; /* [R] */
    const unsigned char *codes[B_MAX], *scales[B_MAX];
    size_t mins; /* from a scale to its minimum */
} place;

/* A quad of codes. nibble 1 is the low half of each byte, 2 the high half, which counts 16 times, 0 the whole byte. */
FC_INLINE __m512i quad(const unsigned char *codes, int nibble) {
    __m512i w = _mm512_loadu_si512(codes);
    return nibble ? _mm512_and_si512(w, _mm512_set1_epi8(nibble == 2 ? (char)0xf0 : 0x0f)) : w;
}

/* 256 times the sum of this and of row r's high bytes by the codes of their quad, where that is one of `quads` from
 * element `first` on. */
FC_INLINE __m512i high_dot(__m512i from, const place *at, int r, int b, int nibble, int quads, int first) {
    const fc_linear_x *x = at->x + r;
    if (quads == 8 || x->quad / (4 * FC_QUAD) == first / 16)
        from = _mm512_dpbusd_epi32(from, quad(at->codes[b] + x->quad, nibble), broadcast(x->high));
    return _mm512_slli_epi32(from, 8);
}

/* Where sums start. */
FC_INLINE void start(__m512i sum[R_MAX][B_MAX], const place *at, shape s, int nibble, int quads, int first, bool high) {
    FC_UNROLL
    for (int r = 0; r < s.R; r++) {
        const __m512i from = broadcast(&at->x[r].start[nibble == 2 || first > 0]);
        FC_UNROLL
        for (int b = 0; b < s.B; b++) {
            sum[r][b] = high                      ? high_dot(zero(), at, r, b, nibble, quads, first)
                        : fc_form_has_min(s.form) ? zero()
                                                  : from;
            if (high && !fc_form_has_min(s.form)) sum[r][b] = _mm512_add_epi32(sum[r][b], from);
        }
    }
}

/* The same from the bits of bias, whose lowest eight are zero. */
FC_INLINE void start_biased(__m512i sum[R_MAX][B_MAX], const place *at, shape s, int nibble, int quads, int first,
                            bool high) {
    FC_UNROLL
    for (int r = 0; r < s.R; r++) {
        const fc_linear_x *x = at->x + r;
        const __m512i bias = broadcast(&x->bias[nibble == 2]), from = broadcast(&x->start[nibble == 2 || first > 0]);
        FC_UNROLL
        for (int b = 0; b < s.B; b++) {
            sum[r][b] = high ? high_dot(_mm512_srli_epi32(bias, 8), at, r, b, nibble, quads, first) : bias;
            if (!fc_form_has_min(s.form)) sum[r][b] = _mm512_add_epi32(sum[r][b], from);
        }
    }
}

/* `quads` quads from element `first` of the group on. */
FC_INLINE void dot(__m512i sum[R_MAX][B_MAX], const place *at, shape s, int nibble, int quads, int first) {
    __asm__ volatile("" ::: "memory"); /* load codes anew each time: kept for the next, they would push out the sums */
    FC_UNROLL
    for (int q = first / 4; q < first / 4 + quads; q++) {
        __m512i w[B_MAX];
        FC_UNROLL
        for (int b = 0; b < s.B; b++) w[b] = quad(at->codes[b] + q * FC_QUAD, nibble);
        FC_UNROLL
        for (int r = 0; r < s.R; r++) {
            __m512i v = broadcast(at->x[r].code + 4 * q);
            FC_UNROLL
            for (int b = 0; b < s.B; b++) sum[r][b] = _mm512_dpbusd_epi32(sum[r][b], w[b], v);
        }
    }
}

FC_INLINE void scales_of(const place *at, shape s, __m512 out[B_MAX]) {
    FC_UNROLL
    for (int b = 0; b < s.B; b++) out[b] = vector(at->scales[b], fc_form_scale_bytes(s.form) == 2);
}

FC_INLINE void mins_of(const place *at, shape s, __m512 out[B_MAX]) {
    if (!fc_form_has_min(s.form)) return;
    FC_UNROLL
    for (int b = 0; b < s.B; b++) out[b] = vector(at->scales[b] + at->mins, fc_form_scale_bytes(s.form) == 2);
}

/* The codes of one scale onto acc: `quads` quads from element `first` of the group on. */
FC_INLINE void group_steps(__m512 acc[R_MAX][B_MAX], const place *at, shape s, int nibble, int quads, int first,
                           bool high) {
    __m512i sum[R_MAX][B_MAX];
    __m512 scale[B_MAX], min[B_MAX];
    start(sum, at, s, nibble, quads, first, high);
    dot(sum, at, s, nibble, quads, first);
    scales_of(at, s, scale);
    mins_of(at, s, min);
    FC_UNROLL
    for (int r = 0; r < s.R; r++) {
        const fc_linear_x *x = at->x + r;
        const __m512 by = _mm512_set1_ps(nibble == 2 ? x->scale * 0.0625f : x->scale);
        FC_UNROLL
        for (int b = 0; b < s.B; b++) {
            acc[r][b] = _mm512_fmadd_ps(_mm512_mul_ps(scale[b], by), _mm512_cvtepi32_ps(sum[r][b]), acc[r][b]);
            if (fc_form_has_min(s.form)) acc[r][b] = _mm512_fmadd_ps(min[b], _mm512_set1_ps(x->sum), acc[r][b]);
        }
    }
}

/* The same bits by fewer multiplications, where no record overflows; high: one has high bytes. Sums start from bits of
 * bias, and a row takes scales of weights, or the root of two times these, from memory. */
FC_INLINE void group_roots(__m512 acc[R_MAX][B_MAX], const place *at, shape s, int nibble, int quads, int first,
                           bool high) {
    _Alignas(64) float scales[B_MAX][2][FC_LANES];
    __m512i sum[R_MAX][B_MAX];
    __m512 scale[B_MAX], min[B_MAX];
    scales_of(at, s, scale);
    FC_UNROLL
    for (int b = 0; b < s.B; b++) {
        _mm512_store_ps(scales[b][0], scale[b]);
        _mm512_store_ps(scales[b][1], _mm512_mul_ps(scale[b], _mm512_set1_ps(FC_X_ROOT)));
    }
    start_biased(sum, at, s, nibble, quads, first, high);
    dot(sum, at, s, nibble, quads, first);
    mins_of(at, s, min);
    FC_UNROLL
    for (int r = 0; r < s.R; r++) {
        const fc_linear_x *x = at->x + r;
        const __m512 bias = _mm512_set1_ps(x->bias[nibble == 2]);
        FC_UNROLL
        for (int b = 0; b < s.B; b++) {
            const __m512 by = _mm512_load_ps((const float *)(const void *)((const char *)scales[b] + x->root));
            acc[r][b] = _mm512_fmadd_ps(by, _mm512_sub_ps(_mm512_castsi512_ps(sum[r][b]), bias), acc[r][b]);
            if (fc_form_has_min(s.form)) acc[r][b] = _mm512_fmadd_ps(min[b], _mm512_set1_ps(x->sum), acc[r][b]);
        }
    }
}

FC_INLINE void group(__m512 acc[R_MAX][B_MAX], place *at, shape s, int nibble, int quads, int first) {
    const uint64_t tails = fc_linear_tails(at->x, s.R);
    if (s.R < ROOTS_FROM || fc_linear_any_overflows(tails)) {
        if (fc_linear_any_high(tails)) group_steps(acc, at, s, nibble, quads, first, true);
        else group_steps(acc, at, s, nibble, quads, first, false);
    } else if (fc_linear_any_high(tails)) {
        group_roots(acc, at, s, nibble, quads, first, true);
    } else {
        group_roots(acc, at, s, nibble, quads, first, false);
    }
    FC_UNROLL
    for (int b = 0; b < s.B; b++) at->scales[b] += FC_LANES * fc_form_scale_bytes(s.form);
}

/* Fetches the next panels in equal steps while `steps` steps of these are multiplied. */
typedef struct {
    const unsigned char *at;
    size_t lines; /* a step */
} fetch;

FC_INLINE fetch fetch_of(const fc_linear_multiply *m, int steps) {
    size_t lines = m->next ? (size_t)m->panels * m->panel_bytes / 64 : 0;
    return (fetch){.at = m->next, .lines = (lines + (size_t)steps - 1) / (size_t)steps};
}

FC_INLINE void fetch_step(fetch *f) {
    for (size_t i = 0; i < f->lines; i++) __builtin_prefetch(f->at + 64 * i, 0, 2);
    f->at += 64 * f->lines;
}

FC_INLINE void codes(const fc_linear_multiply *m, shape s) {
    const int groups = m->K / FC_XGROUP;
    fetch next = fetch_of(m, fc_form_bits(s.form) == 4 ? (groups + 1) / 2 : groups);
    place at = {.x = m->x, .mins = fc_panel_mins(s.form, m->K) - fc_panel_scales(s.form, m->K)};
    __m512 acc[R_MAX][B_MAX];
    clear(acc, s.R, s.B);
    FC_UNROLL
    for (int b = 0; b < s.B; b++) {
        at.codes[b] = m->panel + (size_t)b * m->panel_bytes;
        at.scales[b] = at.codes[b] + fc_panel_scales(s.form, m->K);
    }
    for (int g = 0; g < groups; g++) {
        fetch_step(&next);
        if (fc_form_bits(s.form) == 4) {
            group(acc, &at, s, 1, 8, 0);
            if (g + 1 < groups) { /* the odd group lies in the same bytes */
                at.x += s.R;
                group(acc, &at, s, 2, 8, 0);
                g++;
            }
        } else if (fc_form_group(s.form) == 16) {
            group(acc, &at, s, 0, 4, 0);
            group(acc, &at, s, 0, 4, 16);
        } else {
            group(acc, &at, s, 0, 8, 0);
        }
        at.x += s.R;
        FC_UNROLL
        for (int b = 0; b < s.B; b++) at.codes[b] += 8 * FC_QUAD;
    }
    store(m, s.R, s.B, acc);
}

/* Weight k of 16 lanes. A bf16 is the high half of an f32, and two k share a word. AVX512_BF16 has a dot product, but
 * where it was measured it does half the work of these multiply-adds, and it would round x. */
FC_INLINE __m512 weight(const unsigned char *panel, size_t k, fc_form form) {
    __m512i pair;
    if (form != FC_FORM_BF16) return vector(panel + k * (form == FC_FORM_F16 ? 32 : 64), form == FC_FORM_F16);
    pair = _mm512_loadu_si512(panel + k / 2 * 64);
    return _mm512_castsi512_ps(k % 2 ? _mm512_and_si512(pair, _mm512_set1_epi32(-0x10000))
                                     : _mm512_slli_epi32(pair, 16));
}

FC_INLINE void add_products(__m512 acc[R_MAX][B_MAX], const fc_linear_multiply *m, int R, int B, fc_form form,
                            size_t k) {
    const float *x = (const float *)m->x + k;
    __m512 w[B_MAX];
    FC_UNROLL
    for (int b = 0; b < B; b++) w[b] = weight(m->panel + (size_t)b * m->panel_bytes, k, form);
    FC_UNROLL
    for (int r = 0; r < R; r++) {
        __m512 v = _mm512_set1_ps(x[(size_t)r * m->stride]);
        FC_UNROLL
        for (int b = 0; b < B; b++) acc[r][b] = _mm512_fmadd_ps(w[b], v, acc[r][b]);
    }
}

FC_INLINE void floats(const fc_linear_multiply *m, int R, int B, fc_form form) {
    size_t K = (size_t)m->K, k;
    __m512 acc[R_MAX][B_MAX];
    clear(acc, R, B);
    for (k = 0; k + 2 <= K; k += 2) {
        add_products(acc, m, R, B, form, k); /* k is even here, which bf16 makes use of */
        add_products(acc, m, R, B, form, k + 1);
    }
    if (k < K) add_products(acc, m, R, B, form, k);
    store(m, R, B, acc);
}

/* E4M3 of k and k + 1 of 16 lanes: in f16, whose exponents begin 8 lower, so that weights come out 2^8 too small; NaN
 * is taken for 480: panel.h. */
FC_INLINE void f8_pair(const unsigned char *p, __m512 w[2]) {
    __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)p)); /* sign in bit 15, too */
    wide = _mm512_and_si512(_mm512_slli_epi16(wide, 7), _mm512_set1_epi16((short)0xbf80));
    w[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(wide));
    w[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(wide, 1));
}

/* Products of n, 1 or 2, columns from k on, which is even. */
FC_INLINE void add_f8(__m512 acc[R_MAX][B_MAX], const fc_linear_multiply *m, int R, int B, size_t k, int n) {
    const float *x = (const float *)m->x + k;
    __m512 w[B_MAX][2];
    FC_UNROLL
    for (int b = 0; b < B; b++) f8_pair(m->panel + (size_t)b * m->panel_bytes + k * FC_LANES, w[b]);
    FC_UNROLL
    for (int i = 0; i < n; i++) {
        FC_UNROLL
        for (int r = 0; r < R; r++) {
            __m512 v = _mm512_set1_ps(x[(size_t)r * m->stride + (size_t)i]);
            FC_UNROLL
            for (int b = 0; b < B; b++) acc[r][b] = _mm512_fmadd_ps(w[b][i], v, acc[r][b]);
        }
    }
}

FC_INLINE void f8(const fc_linear_multiply *m, int R, int B) {
    const unsigned char *scales = m->panel + fc_panel_scales_f8(m->K);
    size_t K = (size_t)m->K, cols = (size_t)m->scale_cols, k = 0;
    __m512 all[R_MAX][B_MAX];
    clear(all, R, B);
    for (size_t end = cols; k < K; end += cols, scales += FC_LANES * sizeof(float)) {
        __m512 acc[R_MAX][B_MAX];
        clear(acc, R, B);
        for (end = end < K ? end : K; k + 2 <= end; k += 2) add_f8(acc, m, R, B, k, 2);
        if (k < end) add_f8(acc, m, R, B, k++, 1);
        FC_UNROLL
        for (int b = 0; b < B; b++) {
            __m512 scale = vector(scales + (size_t)b * m->panel_bytes, false);
            scale = _mm512_mul_ps(scale, _mm512_set1_ps(256.0f));
            FC_UNROLL
            for (int r = 0; r < R; r++) all[r][b] = _mm512_fmadd_ps(scale, acc[r][b], all[r][b]);
        }
    }
    store(m, R, B, all);
}

FC_INLINE void any(const fc_linear_multiply *m, shape s) {
    if (s.form == FC_FORM_F8) f8(m, s.R, s.B);
    else if (fc_form_is_float(s.form)) floats(m, s.R, s.B, s.form);
    else codes(m, s);
}

#if FC_ONE_COPY
static void multiply(const fc_linear_multiply *m) { any(m, (shape){m->rows, m->panels, m->form}); }
#else
/* clang-format off */
#define COPY(form, B, R) \
    static void form##_##B##_##R(const fc_linear_multiply *m) { any(m, (shape){R, B, FC_FORM_##form}); }
#define COPIES_B(form, B) \
    COPY(form, B, 1) COPY(form, B, 2) COPY(form, B, 3) COPY(form, B, 4) COPY(form, B, 5) COPY(form, B, 6)
#define COPIES(form) COPIES_B(form, 1) COPIES_B(form, 2)
#define NAMES_B(form, B) \
    {form##_##B##_1, form##_##B##_2, form##_##B##_3, form##_##B##_4, form##_##B##_5, form##_##B##_6}
#define NAMES(form) [FC_FORM_##form] = {NAMES_B(form, 1), NAMES_B(form, 2)}

COPIES(F32) COPIES(F16) COPIES(BF16) COPIES(F8)
COPIES(Q8_ZERO) COPIES(Q8_MIN) COPIES(Q8_MIN32) COPIES(Q8_HALF)
COPIES(Q4_ZERO) COPIES(Q4_MIN) COPIES(Q4_MIN32)

static void (*const copies[FC_FORM_COUNT][B_MAX][R_MAX])(const fc_linear_multiply *) = {
    NAMES(F32), NAMES(F16), NAMES(BF16), NAMES(F8), NAMES(Q8_ZERO), NAMES(Q8_MIN), NAMES(Q8_MIN32), NAMES(Q8_HALF),
    NAMES(Q4_ZERO), NAMES(Q4_MIN), NAMES(Q4_MIN32),
};
/* clang-format on */

static void multiply(const fc_linear_multiply *m) { copies[m->form][m->panels - 1][m->rows - 1](m); }
#endif

const fc_linear_level fc_linear_avx512 = {sizeof(fc_linear_x), R_MAX, fc_linear_prepare_avx512, multiply};
