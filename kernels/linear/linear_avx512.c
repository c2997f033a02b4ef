#include "kernels/linear/levels.h"

#include <immintrin.h>

/* The loops below are written once with rows R, panels B and the form as arguments; each table entry is a copy in which
 * they are constants, so that all sums stay in registers. */
#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { R_MAX = FC_TILE_ROWS, B_MAX = FC_TILE_PANELS, QUAD = 64 /* bytes of four k of 16 lanes */ };

INLINE __m512i broadcast(const void *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
}

INLINE __m512 vector(const unsigned char *p, bool half) {
    return half ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)) : _mm512_loadu_ps(p);
}

INLINE void clear(__m512 acc[R_MAX][B_MAX], int R, int B) {
    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int b = 0; b < B; b++) acc[r][b] = _mm512_setzero_ps();
    }
}

INLINE void store(const fc_linear_multiply *m, int R, int B, __m512 acc[R_MAX][B_MAX]) {
    UNROLL
    for (int b = 0; b < B; b++) {
        int left = m->lanes - b * FC_LANES;
        __mmask16 lanes = (__mmask16)(left < FC_LANES ? (1u << left) - 1u : 0xffffu);
        __m512 bias = m->bias ? _mm512_maskz_loadu_ps(lanes, m->bias + b * FC_LANES) : _mm512_setzero_ps();
        UNROLL
        for (int r = 0; r < R; r++)
            _mm512_mask_storeu_ps(m->y + (size_t)r * m->y_stride + b * FC_LANES, lanes, _mm512_add_ps(acc[r][b], bias));
    }
}

/* gcc keeps a zero in a register and copies it, and then lacks that register for a sum. */
INLINE __m512i zero(void) {
    __m512i z;
    __asm__ volatile("vpxord %0, %0, %0" : "=v"(z));
    return z;
}

/* Where the loop over groups stands. */
typedef struct {
    const fc_linear_x *x;
    const unsigned char *codes[B_MAX], *scales[B_MAX];
    size_t mins; /* from a scale to its minimum */
} place;

/* The codes of one scale onto acc: `quads` quads from element `first` of the group on. nibble 1 is the low half of each
 * byte, 2 the high half, which counts 16 times, 0 the whole byte. */
INLINE void group(__m512 acc[R_MAX][B_MAX], place *at, int R, int B, fc_form form, int nibble, int quads, int first) {
    const bool has_min = fc_form_has_min(form), half = fc_form_scale_bytes(form) == 2;
    const __m512i mask = _mm512_set1_epi8(nibble == 2 ? (char)0xf0 : 0x0f);
    const fc_linear_x *x = at->x;
    __m512i sum[R_MAX][B_MAX];
    __asm__ volatile("" ::
                         : "memory"); /* load the codes again for the high halves: kept, they would push out the sums */
    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int b = 0; b < B; b++)
            sum[r][b] = has_min ? zero() : _mm512_set1_epi32(x[r].start[nibble == 2 || first > 0]);
    }
    UNROLL
    for (int q = 0; q < quads; q++) {
        __m512i w[B_MAX];
        UNROLL
        for (int b = 0; b < B; b++) {
            w[b] = _mm512_loadu_si512(at->codes[b] + (first / 4 + q) * QUAD);
            if (nibble) w[b] = _mm512_and_si512(w[b], mask);
        }
        UNROLL
        for (int r = 0; r < R; r++) {
            __m512i v = broadcast(x[r].code + first + 4 * q);
            UNROLL
            for (int b = 0; b < B; b++) sum[r][b] = _mm512_dpbusd_epi32(sum[r][b], w[b], v);
        }
    }
    UNROLL
    for (int b = 0; b < B; b++) {
        __m512 scale = vector(at->scales[b], half), min = has_min ? vector(at->scales[b] + at->mins, half) : scale;
        at->scales[b] += FC_LANES * fc_form_scale_bytes(form);
        UNROLL
        for (int r = 0; r < R; r++) {
            __m512 step = _mm512_mul_ps(scale, _mm512_set1_ps(nibble == 2 ? x[r].scale16 : x[r].scale));
            acc[r][b] = _mm512_fmadd_ps(step, _mm512_cvtepi32_ps(sum[r][b]), acc[r][b]);
            if (has_min) acc[r][b] = _mm512_fmadd_ps(min, _mm512_set1_ps(x[r].sum), acc[r][b]);
        }
    }
}

/* Fetches the next panels in equal steps while `steps` steps of these are multiplied. */
typedef struct {
    const unsigned char *at;
    size_t lines; /* a step */
} fetch;

INLINE fetch fetch_of(const fc_linear_multiply *m, int steps) {
    size_t lines = m->next ? (size_t)m->panels * m->panel_bytes / 64 : 0;
    return (fetch){.at = m->next, .lines = (lines + (size_t)steps - 1) / (size_t)steps};
}

INLINE void fetch_step(fetch *f) {
    for (size_t i = 0; i < f->lines; i++) __builtin_prefetch(f->at + 64 * i, 0, 2);
    f->at += 64 * f->lines;
}

INLINE void codes(const fc_linear_multiply *m, int R, int B, fc_form form) {
    const int groups = m->K / FC_XGROUP;
    fetch next = fetch_of(m, fc_form_bits(form) == 4 ? (groups + 1) / 2 : groups);
    place at = {.x = m->x, .mins = fc_panel_mins(form, m->K) - fc_panel_scales(form, m->K)};
    __m512 acc[R_MAX][B_MAX];
    clear(acc, R, B);
    UNROLL
    for (int b = 0; b < B; b++) {
        at.codes[b] = m->panel + (size_t)b * m->panel_bytes;
        at.scales[b] = at.codes[b] + fc_panel_scales(form, m->K);
    }
    for (int g = 0; g < groups; g++) {
        fetch_step(&next);
        if (fc_form_bits(form) == 4) {
            group(acc, &at, R, B, form, 1, 8, 0);
            if (g + 1 < groups) { /* the odd group lies in the same bytes */
                at.x += R;
                group(acc, &at, R, B, form, 2, 8, 0);
                g++;
            }
        } else if (fc_form_group(form) == 16) {
            group(acc, &at, R, B, form, 0, 4, 0);
            group(acc, &at, R, B, form, 0, 4, 16);
        } else {
            group(acc, &at, R, B, form, 0, 8, 0);
        }
        at.x += R;
        UNROLL
        for (int b = 0; b < B; b++) at.codes[b] += 8 * QUAD;
    }
    store(m, R, B, acc);
}

/* Weight k of 16 lanes. A bf16 is the high half of an f32, and two k share a word. AVX512_BF16 has a dot product, but where
 * it was measured it does half the work of these multiply-adds, and it would round x. */
INLINE __m512 weight(const unsigned char *panel, size_t k, fc_form form) {
    __m512i pair;
    if (form != FC_FORM_BF16) return vector(panel + k * (form == FC_FORM_F16 ? 32 : 64), form == FC_FORM_F16);
    pair = _mm512_loadu_si512(panel + k / 2 * 64);
    return _mm512_castsi512_ps(k % 2 ? _mm512_and_si512(pair, _mm512_set1_epi32(-0x10000))
                                     : _mm512_slli_epi32(pair, 16));
}

INLINE void add_products(__m512 acc[R_MAX][B_MAX], const fc_linear_multiply *m, int R, int B, fc_form form, size_t k) {
    const float *x = (const float *)m->x + k;
    __m512 w[B_MAX];
    UNROLL
    for (int b = 0; b < B; b++) w[b] = weight(m->panel + (size_t)b * m->panel_bytes, k, form);
    UNROLL
    for (int r = 0; r < R; r++) {
        __m512 v = _mm512_set1_ps(x[(size_t)r * m->stride]);
        UNROLL
        for (int b = 0; b < B; b++) acc[r][b] = _mm512_fmadd_ps(w[b], v, acc[r][b]);
    }
}

INLINE void floats(const fc_linear_multiply *m, int R, int B, fc_form form) {
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

INLINE void any(const fc_linear_multiply *m, int R, int B, fc_form form) {
    if (fc_form_is_float(form)) floats(m, R, B, form);
    else codes(m, R, B, form);
}

/* clang-format off */
#define COPY(form, R, B) \
    static void form##_##R##_##B(const fc_linear_multiply *m) { any(m, R, B, FC_FORM_##form); }
#define COPIES_B(form, B) \
    COPY(form, 1, B) COPY(form, 2, B) COPY(form, 3, B) COPY(form, 4, B) COPY(form, 5, B) COPY(form, 6, B)
#define COPIES(form) COPIES_B(form, 1) COPIES_B(form, 2)
#define NAMES_B(form, B) {form##_1_##B, form##_2_##B, form##_3_##B, form##_4_##B, form##_5_##B, form##_6_##B}
#define NAMES(form)      [FC_FORM_##form] = {NAMES_B(form, 1), NAMES_B(form, 2)}

COPIES(F32) COPIES(F16) COPIES(BF16)
COPIES(Q8_ZERO) COPIES(Q8_MIN) COPIES(Q8_MIN32) COPIES(Q8_HALF)
COPIES(Q4_ZERO) COPIES(Q4_MIN) COPIES(Q4_MIN32)
    /* clang-format on */

    static void multiply(const fc_linear_multiply *m) {
    static void (*const copies[FC_FORM_COUNT][B_MAX][R_MAX])(const fc_linear_multiply *) = {
        NAMES(F32),      NAMES(F16),     NAMES(BF16),    NAMES(Q8_ZERO), NAMES(Q8_MIN),
        NAMES(Q8_MIN32), NAMES(Q8_HALF), NAMES(Q4_ZERO), NAMES(Q4_MIN),  NAMES(Q4_MIN32),
    };
    copies[m->form][m->panels - 1][m->rows - 1](m);
}

const fc_linear_level fc_linear_avx512 = {sizeof(fc_linear_x), fc_linear_prepare_avx2, multiply};
