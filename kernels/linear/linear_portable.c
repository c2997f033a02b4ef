#include "kernels/linear/levels.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define MAGIC 12582912.0f /* 1.5 * 2^23: adding it rounds to a whole number, ties to even */

static int32_t nearest(float v) {
    float t = v + MAGIC;
    int32_t bits;
    memcpy(&bits, &t, sizeof bits);
    return bits - 0x4b400000;
}

/* The largest magnitude of n numbers; magnitudes order as their bits do, NaN above all. */
static float largest(const float *x, int n) {
    uint32_t most = 0;
    float m;
    for (int k = 0; k < n; k++) {
        uint32_t bits;
        memcpy(&bits, x + k, sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    memcpy(&m, &most, sizeof m);
    return m;
}

/* The first quad that holds m, a fine group's largest magnitude; *rest, what the largest code stands for. */
static int quad_of(const float *x, float m, float *rest) {
    int quad = 0;
    while (largest(x + 4 * quad, 4) < m) quad++;
    *rest = m * FC_X_REST;
    for (int q = 0; q < FC_XGROUP / 4; q++) {
        float l = q == quad ? 0.0f : largest(x + 4 * q, 4);
        *rest = l > *rest ? l : *rest;
    }
    return quad;
}

static uint32_t bits_of(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

void fc_linear_group(const float *x, const fc_linear_prepare *p, float fine_above, fc_linear_x *out) {
    int32_t sum[2] = {0, 0};
    float most = largest(x, FC_XGROUP), m = most, inverse;
    uint32_t bias;
    int quad = 0;
    memset(out, 0, sizeof *out);
    if (!(m > FC_X_TINY && m < INFINITY)) { /* NaN too */
        if (!isfinite(m)) out->scale = out->sum = out->bias[0] = out->bias[1] = NAN;
        return;
    }
    if (m > fine_above) quad = quad_of(x, m, &m);
    out->scale = fc_linear_scale_of(m);
    inverse = 1.0f / out->scale;
    for (int k = 0; k < FC_XGROUP; k++) {
        int32_t code = nearest(x[k] * inverse), high = (code + 128) >> 8; /* 0 unless in a fine group's quad */
        out->code[k] = (int8_t)(code - 256 * high);
        if (k / 4 == quad) out->high[k % 4] = (int8_t)high;
        out->overflows |= high > FC_X_NARROW || high < -FC_X_NARROW;
        sum[k / 16] += code;
    }
    out->quad = (uint16_t)(FC_QUAD * quad);
    out->root = bits_of(out->scale) & 0x7fffffu ? 64 : 0;
    out->sum = out->scale * (float)(sum[0] + sum[1]);
    out->start[0] = -p->zero * (p->halves ? sum[0] : sum[0] + sum[1]);
    out->start[1] = p->halves ? -p->zero * sum[1] : 16 * out->start[0];
    if (most > FC_X_LARGE) { /* far below where the bias would overflow */
        out->overflows = true;
        return;
    }
    bias = (bits_of(out->scale) & 0x7f800000u) + FC_X_BIAS;
    memcpy(&out->bias[0], &bias, sizeof bias);
    out->bias[1] = out->bias[0] * 0.0625f;
}

static void prepare(const fc_linear_prepare *p) {
    fc_linear_x_wide *out = p->out;
    int groups = p->K / FC_XGROUP;
    float above[FC_TILE_ROWS] = {0};
    for (int r = 0; r < p->rows; r++) {
        const float *x = p->x + (size_t)r * p->stride;
        for (int g = 0; g < groups; g++) above[r] += largest(x + (size_t)g * FC_XGROUP, FC_XGROUP);
        above[r] = fc_linear_fine_above(above[r], groups, p->precise);
    }
    for (int g = 0; g < groups; g++)
        for (int r = 0; r < p->rows; r++, out++) {
            fc_linear_group(p->x + (size_t)r * p->stride + (size_t)g * FC_XGROUP, p, above[r], &out->x);
            for (int k = 0; k < FC_XGROUP; k++) {
                int high = k / 4 == out->x.quad / FC_QUAD ? out->x.high[k % 4] : 0;
                out->pairs[k / 4][k % 2][k / 2 % 2] = (int16_t)(256 * high + out->x.code[k]);
            }
        }
}

/* Vectors of the compiler: whatever unit the machine has, and never a loop that it failed to see through. */
typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint8_t u8x4 __attribute__((vector_size(4)));
typedef int16_t i16x8 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));

enum { V = 4, N_V = FC_LANES / V, K_BLOCK = 32 /* floats of a panel that are widened at once */ };

/* acc[i] += a[2i] * b[2i] + a[2i+1] * b[2i+1] */
static inline void add_pairs(i32x4 *acc, i16x8 a, i16x8 b) {
#ifdef __SSE2__
    *acc += (i32x4)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    for (int i = 0; i < V; i++) (*acc)[i] += a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
#endif
}

static inline u32x4 load4(const void *p) {
    u32x4 v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* f16 in the low halves of the words to f32; the same values as fc_f16_to_f32. */
static inline f32x4 half_to_float(u32x4 v) {
    u32x4 sign = (v & 0x8000u) << 16, body = (v & 0x7fffu) << 13;
    u32x4 special = (u32x4)(body >= 0x0f800000u) & 0x7f800000u; /* infinities and NaN */
    return (f32x4)((u32x4)((f32x4)body * 0x1p112f) | special | sign);
}

/* 16 scales, minimums or weights, f16 or f32. */
static inline void load_vector(const unsigned char *p, bool half, f32x4 out[N_V]) {
    for (int i = 0; i < N_V; i++) {
        u32x4 w = {0};
        if (half)
            for (int j = 0; j < V; j++) {
                uint16_t h;
                memcpy(&h, p + 2 * (V * i + j), sizeof h);
                w[j] = h;
            }
        else w = load4(p + 4 * V * i);
        out[i] = half ? half_to_float(w) : (f32x4)w;
    }
}

static void store(const fc_linear_multiply *m, f32x4 acc[FC_VECTOR_ROWS][N_V]) {
    for (int r = 0; r < m->rows; r++) {
        float v[FC_LANES], *y = m->y + (size_t)r * m->y_stride;
        memcpy(v, acc[r], sizeof v);
        for (int i = 0; i < m->lanes; i++) y[i] = v[i] + (m->bias ? m->bias[i] : 0.0f);
    }
}

/* E4M3 in words to f32; NaN is taken for 480: panel.h. */
static inline f32x4 f8_to_float(u32x4 v) {
    u32x4 sign = (v & 0x80u) << 24, body = (v & 0x7fu) << 20;
    return (f32x4)((u32x4)((f32x4)body * 0x1p120f) | sign);
}

/* Weight k of 16 lanes. A bf16 is the high half of an f32, and two k share a word. */
static inline void load_weights(const fc_linear_multiply *m, size_t k, f32x4 out[N_V]) {
    if (m->form == FC_FORM_BF16)
        for (int i = 0; i < N_V; i++) {
            u32x4 pair = load4(m->panel + k / 2 * 64 + 16 * (size_t)i);
            out[i] = (f32x4)(k % 2 ? pair & 0xffff0000u : pair << 16);
        }
    else if (m->form == FC_FORM_F8)
        for (int i = 0; i < N_V; i++) {
            u8x4 codes;
            memcpy(&codes, m->panel + k * FC_LANES + V * (size_t)i, sizeof codes);
            out[i] = f8_to_float(__builtin_convertvector(codes, u32x4));
        }
    else load_vector(m->panel + k * (m->form == FC_FORM_F16 ? 32 : 64), m->form == FC_FORM_F16, out);
}

/* Products of weights from .. end - 1 onto acc. */
static void add_floats(const fc_linear_multiply *m, size_t from, size_t end, f32x4 acc[FC_VECTOR_ROWS][N_V]) {
    f32x4 w[K_BLOCK][N_V];
    for (size_t k = from; k < end; k += K_BLOCK) {
        size_t n = end - k < K_BLOCK ? end - k : K_BLOCK;
        for (size_t i = 0; i < n; i++) load_weights(m, k + i, w[i]);
        for (int r = 0; r < m->rows; r++) {
            const float *x = (const float *)m->x + (size_t)r * m->stride + k;
            f32x4 a0 = acc[r][0], a1 = acc[r][1], a2 = acc[r][2], a3 = acc[r][3];
            for (size_t i = 0; i < n; i++) {
                a0 += w[i][0] * x[i];
                a1 += w[i][1] * x[i];
                a2 += w[i][2] * x[i];
                a3 += w[i][3] * x[i];
            }
            acc[r][0] = a0, acc[r][1] = a1, acc[r][2] = a2, acc[r][3] = a3;
        }
    }
}

static void multiply_floats(const fc_linear_multiply *m) {
    f32x4 acc[FC_VECTOR_ROWS][N_V] = {{{0}}};
    add_floats(m, 0, (size_t)m->K, acc);
    store(m, acc);
}

static void multiply_f8(const fc_linear_multiply *m) {
    const unsigned char *scales = m->panel + fc_panel_scales_f8(m->K);
    size_t K = (size_t)m->K, cols = (size_t)m->scale_cols;
    f32x4 all[FC_VECTOR_ROWS][N_V] = {{{0}}}, scale[N_V];
    for (size_t k = 0; k < K; k += cols, scales += FC_LANES * sizeof(float)) {
        f32x4 acc[FC_VECTOR_ROWS][N_V] = {{{0}}};
        add_floats(m, k, K - k < cols ? K : k + cols, acc);
        load_vector(scales, false, scale);
        for (int r = 0; r < m->rows; r++)
            for (int i = 0; i < N_V; i++) all[r][i] += scale[i] * acc[r][i];
    }
    store(m, all);
}

/* The codes of a group by quad and four lanes, in the pairs of fc_linear_x_wide. */
typedef struct {
    i16x8 pairs[FC_XGROUP / 4][N_V][2];
} wide_codes;

static void widen(const unsigned char *p, int shift, uint16_t mask, wide_codes *out) {
    for (int q = 0; q < FC_XGROUP / 4; q++)
        for (int i = 0; i < N_V; i++) {
            u16x8 w = (u16x8)load4(p + (q * N_V + i) * 16);
            out->pairs[q][i][0] = (i16x8)(w >> shift & mask);
            out->pairs[q][i][1] = (i16x8)(w >> (shift + 8) & mask);
        }
}

static inline i16x8 both(const int16_t pair[2]) {
    int32_t v;
    memcpy(&v, pair, sizeof v);
    return (i16x8)(i32x4){v, v, v, v};
}

static inline void dot(const wide_codes *w, const fc_linear_x_wide *x, int first, int quads, int32_t start,
                       i32x4 sum[N_V]) {
    i32x4 s0 = {start, start, start, start}, s1 = s0, s2 = s0, s3 = s0;
    for (int q = first; q < first + quads; q++)
        for (int h = 0; h < 2; h++) {
            i16x8 v = both(x->pairs[q][h]);
            add_pairs(&s0, w->pairs[q][0][h], v);
            add_pairs(&s1, w->pairs[q][1][h], v);
            add_pairs(&s2, w->pairs[q][2][h], v);
            add_pairs(&s3, w->pairs[q][3][h], v);
        }
    sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
}

static void multiply_codes(const fc_linear_multiply *m) {
    const fc_linear_x_wide *x = m->x;
    const unsigned char *scales = m->panel + fc_panel_scales(m->form, m->K),
                        *mins = m->panel + fc_panel_mins(m->form, m->K);
    bool narrow = fc_form_bits(m->form) == 4, has_min = fc_form_has_min(m->form),
         half = fc_form_scale_bytes(m->form) == 2;
    int parts = FC_XGROUP / fc_form_group(m->form), quads = 8 / parts;
    size_t step = FC_LANES * fc_form_scale_bytes(m->form);
    f32x4 acc[FC_VECTOR_ROWS][N_V] = {{{0}}}, scale[N_V], min[N_V] = {{0}};
    for (int g = 0; g < m->K / FC_XGROUP; g++, x += m->rows) {
        wide_codes w;
        widen(m->panel + (size_t)(narrow ? g / 2 : g) * 512, narrow && g % 2 ? 4 : 0, narrow ? 15 : 255, &w);
        if (has_min) load_vector(mins + (size_t)g * step, half, min);
        for (int h = 0; h < parts; h++) {
            load_vector(scales + (size_t)(g * parts + h) * step, half, scale);
            for (int r = 0; r < m->rows; r++) {
                i32x4 sum[N_V];
                dot(&w, x + r, h * quads, quads, has_min ? 0 : x[r].x.start[h], sum);
                for (int i = 0; i < N_V; i++) {
                    f32x4 s = __builtin_convertvector(sum[i], f32x4);
                    acc[r][i] += scale[i] * x[r].x.scale * s;
                    if (has_min) acc[r][i] += min[i] * x[r].x.sum;
                }
            }
        }
    }
    store(m, acc);
}

static void multiply(const fc_linear_multiply *all) {
    for (int i = 0; i < all->panels; i++) {
        fc_linear_multiply m = fc_linear_one_panel(all, i);
        if (m.form == FC_FORM_F8) multiply_f8(&m);
        else if (fc_form_is_float(m.form)) multiply_floats(&m);
        else multiply_codes(&m);
    }
}

const fc_linear_level fc_linear_portable = {sizeof(fc_linear_x_wide), FC_VECTOR_ROWS, prepare, multiply};
