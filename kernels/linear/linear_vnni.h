/* linear_vnni - the loop over codes for units of 256 bits that multiply bytes (VPDPBUSD), written once for both ways in
 * which it is encoded: AVX-VNNI, and AVX-512 VNNI with VL, which machines without bf16 have. Inner to kernels/linear;
 * the file that includes this defines FC_DPBUSD before. The same bits as AVX2 and AVX-512: integer sums are exact, and
 * floats follow in the same order.
 *
 * source  Intel, "Architecture Instruction Set Extensions Programming Reference", VPDPBUSD
 */
#include "kernels/linear/levels.h"

#include <immintrin.h>

enum { ROWS = 3 }; /* at once: 6 integer and 6 float sums of 8 lanes */

FC_INLINE __m256i broadcast(const void *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

/* Eight of a panel's scales or minimums. */
FC_INLINE __m256 vector(const unsigned char *p, int half, size_t bytes) {
    if (bytes == 4) return _mm256_loadu_ps((const float *)(const void *)(p + half * 32));
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + half * 16)));
}

/* Half h of a quad of 16 lanes. nibble 1 is the low half of each byte, 2 the high half, 0 the whole byte. */
FC_INLINE __m256i quad(const unsigned char *codes, int h, int nibble) {
    __m256i w = _mm256_loadu_si256((const __m256i *)(const void *)(codes + h * 32));
    if (!nibble) return w;
    return _mm256_and_si256(nibble == 2 ? _mm256_srli_epi16(w, 4) : w, _mm256_set1_epi8(15));
}

/* 256 times the high bytes of x in the quad that has them, where it is one of `quads` from element `first` on. */
FC_INLINE void dot_high(__m256i sum[ROWS][2], int R, int nibble, int quads, int first, const unsigned char *codes,
                        const fc_linear_x *x) {
    FC_UNROLL
    for (int r = 0; r < R; r++) {
        if (quads < 8 && x[r].quad / (4 * FC_QUAD) != first / 16) continue;
        FC_UNROLL
        for (int h = 0; h < 2; h++) {
            __m256i high = FC_DPBUSD(_mm256_setzero_si256(), quad(codes + x[r].quad, h, nibble), broadcast(x[r].high));
            sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_slli_epi32(high, 8));
        }
    }
}

FC_INLINE void dot(__m256i sum[ROWS][2], int R, int nibble, int quads, int first, const unsigned char *codes,
                   const fc_linear_x *x) {
    for (int q = first / 4; q < first / 4 + quads; q++) {
        __m256i low = quad(codes + q * FC_QUAD, 0, nibble), high = quad(codes + q * FC_QUAD, 1, nibble);
        FC_UNROLL
        for (int r = 0; r < R; r++) {
            __m256i v = broadcast(x[r].code + 4 * q);
            sum[r][0] = FC_DPBUSD(sum[r][0], low, v);
            sum[r][1] = FC_DPBUSD(sum[r][1], high, v);
        }
    }
}

FC_INLINE bool any_high(const fc_linear_x *x, int R) {
    int32_t any = 0, high;
    FC_UNROLL
    for (int r = 0; r < R; r++) {
        memcpy(&high, x[r].high, sizeof high);
        any |= high;
    }
    return any != 0;
}

FC_INLINE void codes(const fc_linear_multiply *m, int R, int first, fc_form form) {
    const bool has_min = fc_form_has_min(form);
    const int bits = fc_form_bits(form), parts = FC_XGROUP / fc_form_group(form), groups = m->K / FC_XGROUP;
    const size_t bytes = fc_form_scale_bytes(form), mins = fc_panel_mins(form, m->K) - fc_panel_scales(form, m->K);
    const unsigned char *at = m->panel, *scales = at + fc_panel_scales(form, m->K);
    const fc_linear_x *x = (const fc_linear_x *)m->x + first;
    __m256 acc[ROWS][2];
    FC_UNROLL
    for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (int g = 0; g < groups; g++, x += m->rows) {
        for (int p = 0; p < parts; p++, scales += FC_LANES * bytes) {
            __m256i sum[ROWS][2];
            FC_UNROLL
            for (int r = 0; r < R; r++)
                sum[r][0] = sum[r][1] = has_min ? _mm256_setzero_si256() : broadcast(&x[r].start[p]);
            for (int nibble = 0; nibble < 3; nibble++) {
                if (nibble != (bits == 8 ? 0 : 1 + g % 2)) continue;
                if (any_high(x, R)) dot_high(sum, R, nibble, 8 / parts, p * 16, at, x);
                dot(sum, R, nibble, 8 / parts, p * 16, at, x);
            }
            FC_UNROLL
            for (int h = 0; h < 2; h++) {
                __m256 scale = vector(scales, h, bytes), min = has_min ? vector(scales + mins, h, bytes) : scale;
                FC_UNROLL
                for (int r = 0; r < R; r++) {
                    __m256 step = _mm256_mul_ps(scale, _mm256_set1_ps(x[r].scale));
                    acc[r][h] = _mm256_fmadd_ps(step, _mm256_cvtepi32_ps(sum[r][h]), acc[r][h]);
                    if (has_min) acc[r][h] = _mm256_fmadd_ps(min, _mm256_set1_ps(x[r].sum), acc[r][h]);
                }
            }
        }
        if (bits == 8 || g % 2) at += 8 * FC_QUAD;
    }
    FC_UNROLL
    for (int r = 0; r < R; r++) {
        float v[FC_LANES], *y = m->y + (size_t)(first + r) * m->y_stride;
        _mm256_storeu_ps(v, acc[r][0]);
        _mm256_storeu_ps(v + 8, acc[r][1]);
        if (m->bias)
            for (int i = 0; i < m->lanes; i++) v[i] += m->bias[i];
        memcpy(y, v, (size_t)m->lanes * sizeof *y);
    }
}

#if FC_ONE_COPY
static void rows(const fc_linear_multiply *m, int R, int first) { codes(m, R, first, m->form); }
#else
/* clang-format off */
#define COPY(form, R) \
    static void form##_##R(const fc_linear_multiply *m, int first) { codes(m, R, first, FC_FORM_##form); }
#define COPIES(form) COPY(form, 1) COPY(form, 2) COPY(form, 3)
#define NAMES(form)  [FC_FORM_##form] = {form##_1, form##_2, form##_3}
COPIES(Q8_ZERO) COPIES(Q8_MIN) COPIES(Q8_MIN32) COPIES(Q8_HALF) COPIES(Q4_ZERO) COPIES(Q4_MIN) COPIES(Q4_MIN32)

    static void (*const copies[FC_FORM_COUNT][ROWS])(const fc_linear_multiply *m, int first) = {
        NAMES(Q8_ZERO), NAMES(Q8_MIN), NAMES(Q8_MIN32), NAMES(Q8_HALF), NAMES(Q4_ZERO), NAMES(Q4_MIN), NAMES(Q4_MIN32),
};
/* clang-format on */

static void rows(const fc_linear_multiply *m, int R, int first) { copies[m->form][R - 1](m, first); }
#endif

static void multiply(const fc_linear_multiply *all) {
    if (fc_form_is_float(all->form)) {
        fc_linear_avx2.multiply(all);
        return;
    }
    for (int i = 0; i < all->panels; i++) {
        fc_linear_multiply m = fc_linear_one_panel(all, i);
        for (int first = 0; first < m.rows; first += ROWS)
            rows(&m, m.rows - first < ROWS ? m.rows - first : ROWS, first);
    }
}
