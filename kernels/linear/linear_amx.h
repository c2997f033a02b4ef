/* linear_amx - codes by tiles: 16 rows times 32 k of 16 outputs is one product of bytes; what it gives is scaled as
 * linear_avx512.c scales it, in the same order, so that bits are the same. Written against six wrappers, for the
 * instructions and for what imitates them where a machine has none. Inner to kernels/linear and to tests.
 *
 * The file that includes this defines before, with t, dst, a, b the literal numbers of tiles:
 *   FC_TILE_CONFIGURE(c)        shapes of all tiles from a fc_tile_config; their contents are zero
 *   FC_TILE_RELEASE()           no tile has a shape, nothing is left to be saved for this thread
 *   FC_TILE_LOAD(t, p, stride)  rows of t from p, stride bytes apart
 *   FC_TILE_ZERO(t)
 *   FC_TILE_DOT(dst, a, b)      dst[m][n] += the sum over k and i of signed a[m][4k+i] * unsigned b[k][4n+i]
 *   FC_TILE_STORE(t, p, stride)
 *
 * A tile of x is 16 records' codes, as they lie; one of weights is a group of a panel, which is packed as b wants it;
 * codes of 4 bits become bytes first, once for all rows of the call. A call shapes its tiles and releases them, so that
 * a thread that goes on to other work has none.
 *
 * source  Intel, "Architecture Instruction Set Extensions Programming Reference", AMX: LDTILECFG, TDPBSUD
 */
#include "kernels/cpu/lanes_avx512.h"
#include "kernels/linear/levels.h"

#include <immintrin.h>

#define TILE_X   0
#define TILE_W   1
#define TILE_SUM 2

enum {
    FEW_ROWS = 4, /* for so many a tile is mostly empty */
    GROUP_BYTES = FC_XGROUP / 4 * FC_QUAD,
    B_MAX = FC_TILE_PANELS,
};

/* As LDTILECFG reads it. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} fc_tile_config;
_Static_assert(sizeof(fc_tile_config) == 64, "what LDTILECFG reads");

/* Sums of a group, whole or scaled, [row][lane]. */
typedef int32_t whole_sums[FC_TILE_ROWS][FC_LANES];
typedef float float_sums[FC_TILE_ROWS][FC_LANES];

/* x's rows of `bytes` codes, and as many quads of weights. */
static fc_tile_config config_of(int rows, int bytes) {
    fc_tile_config c = {.palette = 1};
    c.rows[TILE_X] = c.rows[TILE_SUM] = (uint8_t)rows;
    c.rows[TILE_W] = (uint8_t)(bytes / 4);
    c.row_bytes[TILE_X] = (uint16_t)bytes;
    c.row_bytes[TILE_W] = c.row_bytes[TILE_SUM] = FC_QUAD;
    return c;
}

FC_INLINE __m512 vector(const unsigned char *p, bool half) {
    return half ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)) : _mm512_loadu_ps(p);
}

/* The even (0) or odd (1) group of GROUP_BYTES of codes of 4 bits. */
FC_INLINE void unpack(unsigned char *to, const unsigned char *from, int odd) {
    for (int i = 0; i < GROUP_BYTES; i += 64) {
        __m512i w = _mm512_loadu_si512(from + i);
        if (odd) w = _mm512_srli_epi16(w, 4);
        _mm512_store_si512(to + i, _mm512_and_si512(w, _mm512_set1_epi8(15)));
    }
}

static bool any_high(const fc_linear_x *x, int rows) {
    int32_t any = 0, high;
    for (int r = 0; r < rows; r++) {
        memcpy(&high, x[r].high, sizeof high);
        any |= high;
    }
    return any != 0;
}

/* 256 times the high bytes of x in the quad that has them; w: the group's codes. */
FC_INLINE __m512i high_dot(const unsigned char *w, const fc_linear_x *x) {
    int32_t high;
    memcpy(&high, x->high, sizeof high);
    return _mm512_slli_epi32(
        _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_loadu_si512(w + x->quad), _mm512_set1_epi32(high)), 8);
}

/* One scale's sums onto acc. part: of the group, where a scale is of 16; high: add what x has above 8 bits. */
FC_INLINE void add_scaled(float_sums acc, whole_sums sum, const fc_linear_x *x, int rows, fc_form form, int part,
                          const unsigned char *w, const unsigned char *scales, size_t mins, bool high) {
    const bool has_min = fc_form_has_min(form), half = fc_form_scale_bytes(form) == 2;
    const __m512 scale = vector(scales, half), min = has_min ? vector(scales + mins, half) : scale;
    for (int r = 0; r < rows; r++, x++) {
        const bool here = fc_form_group(form) == FC_XGROUP || x->quad / (4 * FC_QUAD) == part;
        __m512i s = _mm512_load_si512(sum[r]);
        __m512 a = _mm512_load_ps(acc[r]), step = _mm512_mul_ps(scale, _mm512_set1_ps(x->scale));
        if (!has_min) s = _mm512_add_epi32(s, _mm512_set1_epi32(x->start[part]));
        if (high && here) s = _mm512_add_epi32(s, high_dot(w, x));
        a = _mm512_fmadd_ps(step, _mm512_cvtepi32_ps(s), a);
        if (has_min) a = _mm512_fmadd_ps(min, _mm512_set1_ps(x->sum), a);
        _mm512_store_ps(acc[r], a);
    }
}

static void store(const fc_linear_multiply *m, float_sums acc, int b) {
    __mmask16 lanes = fc_lanes_avx512(m->lanes - b * FC_LANES);
    __m512 bias = m->bias ? _mm512_maskz_loadu_ps(lanes, m->bias + b * FC_LANES) : _mm512_setzero_ps();
    for (int r = 0; r < m->rows; r++)
        _mm512_mask_storeu_ps(m->y + (size_t)r * m->y_stride + b * FC_LANES, lanes,
                              _mm512_add_ps(_mm512_load_ps(acc[r]), bias));
}

FC_INLINE void codes(const fc_linear_multiply *m, fc_form form) {
    const int groups = m->K / FC_XGROUP, bits = fc_form_bits(form), parts = FC_XGROUP / fc_form_group(form);
    const size_t scale_bytes = FC_LANES * fc_form_scale_bytes(form), at = fc_panel_scales(form, m->K);
    const size_t mins = fc_panel_mins(form, m->K) - at;
    const fc_linear_x *x = m->x;
    const fc_tile_config config = config_of(m->rows, FC_XGROUP / parts);
    _Alignas(64) unsigned char bytes[GROUP_BYTES];
    _Alignas(64) whole_sums sum;
    _Alignas(64) float_sums acc[B_MAX];
    for (int b = 0; b < m->panels; b++)
        for (int r = 0; r < m->rows; r++) _mm512_store_ps(acc[b][r], _mm512_setzero_ps());
    FC_TILE_CONFIGURE(&config);
    for (int g = 0; g < groups; g++, x += m->rows) {
        const bool high = any_high(x, m->rows);
        for (int part = 0; part < parts; part++) {
            FC_TILE_LOAD(TILE_X, x->code + part * 16, sizeof *x);
            for (int b = 0; b < m->panels; b++) {
                const unsigned char *panel = m->panel + (size_t)b * m->panel_bytes, *w;
                const unsigned char *scales = panel + at + (size_t)(g * parts + part) * scale_bytes;
                if (bits == 4) unpack(bytes, panel + g / 2 * GROUP_BYTES, g % 2);
                w = bits == 4 ? bytes : panel + (size_t)g * GROUP_BYTES;
                FC_TILE_LOAD(TILE_W, w + part * GROUP_BYTES / 2, FC_QUAD);
                FC_TILE_ZERO(TILE_SUM);
                FC_TILE_DOT(TILE_SUM, TILE_X, TILE_W);
                FC_TILE_STORE(TILE_SUM, sum, sizeof sum[0]);
                if (high) add_scaled(acc[b], sum, x, m->rows, form, part, w, scales, mins, true);
                else add_scaled(acc[b], sum, x, m->rows, form, part, w, scales, mins, false);
            }
        }
    }
    FC_TILE_RELEASE();
    for (int b = 0; b < m->panels; b++) store(m, acc[b], b);
}

/* A tile of rows, which may be more than AVX-512 takes, of weights that are no codes. */
static void floats(const fc_linear_multiply *all) {
    fc_linear_multiply m = *all;
    for (int r = 0; r < all->rows; r += m.rows, m.next = NULL) {
        m.rows = all->rows - r < FC_VECTOR_ROWS ? all->rows - r : FC_VECTOR_ROWS;
        m.x = (const float *)all->x + (size_t)r * m.stride;
        m.y = all->y + (size_t)r * m.y_stride;
        fc_linear_avx512.multiply(&m);
    }
}

static void multiply(const fc_linear_multiply *m) {
    if (fc_form_is_float(m->form)) {
        floats(m);
        return;
    }
    if (m->rows <= FEW_ROWS) {
        fc_linear_avx512.multiply(m);
        return;
    }
    switch (m->form) {
    case FC_FORM_Q8_ZERO: codes(m, FC_FORM_Q8_ZERO); break;
    case FC_FORM_Q8_MIN: codes(m, FC_FORM_Q8_MIN); break;
    case FC_FORM_Q8_MIN32: codes(m, FC_FORM_Q8_MIN32); break;
    case FC_FORM_Q8_HALF: codes(m, FC_FORM_Q8_HALF); break;
    case FC_FORM_Q4_ZERO: codes(m, FC_FORM_Q4_ZERO); break;
    case FC_FORM_Q4_MIN: codes(m, FC_FORM_Q4_MIN); break;
    default: codes(m, FC_FORM_Q4_MIN32);
    }
}
