#include "kernels/linear/levels.h"

#define MAGIC 12582912.0f   /* 1.5 * 2^23: adding it rounds to a whole number, ties to even */
enum { BYTES = 64 };        /* one quad of k of 16 lanes */

void fc_linear_group(const float *x, int zero, bool halves, fc_linear_x *out) {
    uint32_t most = 0;
    int32_t sum[2] = {0, 0};
    float m, inverse;
    for (int k = 0; k < FC_XGROUP; k++) { /* magnitudes order as their bits do, NaN above all */
        uint32_t bits;
        memcpy(&bits, x + k, sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    memcpy(&m, &most, sizeof m);
    if (!(m > FC_X_TINY && m < INFINITY)) { /* NaN too */
        memset(out, 0, sizeof *out);
        if (most >= 0x7f800000u) out->scale = out->sum = NAN;
        return;
    }
    inverse = 127.0f / m;
    for (int k = 0; k < FC_XGROUP; k++) {
        float t = x[k] * inverse + MAGIC;
        int32_t bits;
        memcpy(&bits, &t, sizeof bits);
        out->code[k] = (int8_t)(bits - 0x4b400000);
    }
    for (int k = 0; k < 16; k++) sum[0] += out->code[k];
    for (int k = 16; k < 32; k++) sum[1] += out->code[k];
    out->scale = m / 127.0f;
    out->sum = out->scale * (float)(sum[0] + sum[1]);
    out->start[0] = -zero * (halves ? sum[0] : sum[0] + sum[1]);
    out->start[1] = halves ? -zero * sum[1] : 16 * out->start[0];
}

static void prepare(const fc_linear_prepare *p) {
    fc_linear_x *out = p->out;
    for (int g = 0; g < p->K / FC_XGROUP; g++)
        for (int r = 0; r < p->rows; r++)
            fc_linear_group(p->x + (size_t)r * p->stride + (size_t)g * FC_XGROUP, p->zero, p->halves, out++);
}

static float half_to_float(uint16_t v) { /* branch-free, so that it vectorises; the same values as fc_f16_to_f32 */
    uint32_t sign = (uint32_t)(v & 0x8000u) << 16, body = (uint32_t)(v & 0x7fffu) << 13, u;
    float f;
    memcpy(&f, &body, sizeof f);
    f *= 0x1p112f;
    memcpy(&u, &f, sizeof u);
    u |= body >= 0x0f800000u ? 0x7f800000u : 0u; /* infinities and NaN */
    u |= sign;
    memcpy(&f, &u, sizeof f);
    return f;
}

static void store(const fc_linear_multiply *m, int r, const float acc[FC_LANES]) {
    for (int i = 0; i < m->lanes; i++) m->y[(size_t)r * m->y_stride + (size_t)i] = acc[i] + (m->bias ? m->bias[i] : 0.0f);
}

/* 16 numbers of a panel's scales or minimums, or 16 f16 weights. */
static void load_half(const unsigned char *p, float out[FC_LANES]) {
    uint16_t h[FC_LANES];
    memcpy(h, p, sizeof h);
    for (int i = 0; i < FC_LANES; i++) out[i] = half_to_float(h[i]);
}

static void load_vector(const unsigned char *p, bool half, float out[FC_LANES]) {
    if (half) load_half(p, out);
    else memcpy(out, p, FC_LANES * sizeof *out);
}

static void multiply_float(const fc_linear_multiply *m) {
    float acc[FC_TILE_ROWS][FC_LANES] = {{0}};
    bool half = m->form == FC_FORM_F16;
    for (int k = 0; k < m->K; k++) {
        float w[FC_LANES];
        load_vector(m->panel + (size_t)k * FC_LANES * (half ? 2 : 4), half, w);
        for (int r = 0; r < m->rows; r++) {
            float x = ((const float *)m->x)[(size_t)r * m->stride + (size_t)k];
            for (int i = 0; i < FC_LANES; i++) acc[r][i] += w[i] * x;
        }
    }
    for (int r = 0; r < m->rows; r++) store(m, r, acc[r]);
}

static void multiply_bf16(const fc_linear_multiply *m) {
    float acc[FC_TILE_ROWS][FC_LANES] = {{0}};
    for (int k = 0; k < m->K; k++) {
        uint32_t w[FC_LANES]; /* pairs of k: the even one is the low half */
        float v[FC_LANES];
        memcpy(w, m->panel + (size_t)(k / 2) * sizeof w, sizeof w);
        for (int i = 0; i < FC_LANES; i++) w[i] = k % 2 ? w[i] & 0xffff0000u : w[i] << 16;
        memcpy(v, w, sizeof w);
        for (int r = 0; r < m->rows; r++) {
            float x = ((const float *)m->x)[(size_t)r * m->stride + (size_t)k];
            for (int i = 0; i < FC_LANES; i++) acc[r][i] += v[i] * x;
        }
    }
    for (int r = 0; r < m->rows; r++) store(m, r, acc[r]);
}

/* One quad of k as two planes of 16-bit pairs per lane: (k0, k2) and (k1, k3). */
static void widen(const unsigned char *p, int part, int16_t even[2 * FC_LANES], int16_t odd[2 * FC_LANES]) {
    for (int i = 0; i < 2 * FC_LANES; i++) {
        unsigned a = p[2 * i], b = p[2 * i + 1];
        even[i] = (int16_t)(part == 1 ? a & 15u : part == 2 ? a >> 4 : a);
        odd[i] = (int16_t)(part == 1 ? b & 15u : part == 2 ? b >> 4 : b);
    }
}

/* Integer sums of `quads` quads onto acc. */
static void dot(const int16_t (*even)[2 * FC_LANES], const int16_t (*odd)[2 * FC_LANES], const int8_t *x, int quads,
                int32_t acc[FC_LANES]) {
    for (int q = 0; q < quads; q++, x += 4)
        for (int i = 0; i < FC_LANES; i++) {
            acc[i] += even[q][2 * i] * x[0] + even[q][2 * i + 1] * x[2];
            acc[i] += odd[q][2 * i] * x[1] + odd[q][2 * i + 1] * x[3];
        }
}

static void multiply_codes(const fc_linear_multiply *m) {
    const fc_linear_x *x = m->x;
    const unsigned char *scales = m->panel + fc_panel_scales(m->form, m->K), *mins = m->panel + fc_panel_mins(m->form, m->K);
    bool narrow = fc_form_bits(m->form) == 4, has_min = fc_form_has_min(m->form), half = fc_form_scale_bytes(m->form) == 2;
    int parts = FC_XGROUP / fc_form_group(m->form), quads = 8 / parts;
    size_t step = FC_LANES * fc_form_scale_bytes(m->form);
    float acc[FC_TILE_ROWS][FC_LANES] = {{0}};
    for (int g = 0; g < m->K / FC_XGROUP; g++, x += m->rows) {
        int16_t even[8][2 * FC_LANES], odd[8][2 * FC_LANES];
        float scale[FC_LANES], min[FC_LANES];
        for (int q = 0; q < 8; q++)
            widen(m->panel + ((narrow ? g / 2 : g) * 8 + q) * BYTES, narrow ? 1 + g % 2 : 0, even[q], odd[q]);
        if (has_min) load_vector(mins + (size_t)g * step, half, min);
        for (int h = 0; h < parts; h++) {
            load_vector(scales + (size_t)(g * parts + h) * step, half, scale);
            for (int r = 0; r < m->rows; r++) {
                int32_t sum[FC_LANES];
                for (int i = 0; i < FC_LANES; i++) sum[i] = has_min ? 0 : x[r].start[h];
                dot(even + h * quads, odd + h * quads, x[r].code + h * 16, quads, sum);
                for (int i = 0; i < FC_LANES; i++) acc[r][i] += scale[i] * x[r].scale * (float)sum[i];
                if (has_min)
                    for (int i = 0; i < FC_LANES; i++) acc[r][i] += min[i] * x[r].sum;
            }
        }
    }
    for (int r = 0; r < m->rows; r++) store(m, r, acc[r]);
}

static void multiply(const fc_linear_multiply *all) {
    for (int i = 0; i < all->panels; i++) {
        fc_linear_multiply m = fc_linear_one_panel(all, i);
        if (m.form == FC_FORM_BF16) multiply_bf16(&m);
        else if (fc_form_is_float(m.form)) multiply_float(&m);
        else multiply_codes(&m);
    }
}

const fc_linear_level fc_linear_portable = {sizeof(fc_linear_x), prepare, multiply};
