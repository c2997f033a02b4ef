#include "kernels/kv/kv_cpu.h"

#include "engine/base/mem.h"
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static bool shape_bytes(const fc_kv_shape *s, size_t *page, size_t *all) {
    size_t n, scales;
    if (!fc_mul((size_t)s->L, (size_t)s->G, &n) || !fc_mul(n, 2 * (size_t)s->P, &n)) return false;
    if (!fc_mul(n, fc_kv_scaled(s->type) ? sizeof(float) : 0, &scales)) return false;
    if (!fc_mul(n, (size_t)s->E, &n) || !fc_mul(n, fc_kv_elem_bytes(s->type), &n) || !fc_add(n, scales, page))
        return false;
    return fc_mul(*page, (size_t)s->n_pages, all);
}

fc_status fc_kv_check_shape(const fc_kv_shape *s) {
    size_t page, all;
    if (s->type != FC_F32 && s->type != FC_BF16 && !fc_kv_scaled(s->type))
        return FC_FAIL(FC_ERR_ARG, "kv: type %s; it is F32, BF16, I8 or F8_E4M3", fc_dtype_name(s->type));
    if (s->P < 1 || s->P > 64 || (s->P & (s->P - 1)))
        return FC_FAIL(FC_ERR_ARG, "kv: %d slots a page; a power of two, 1 to 64", s->P);
    if (s->n_pages < 1 || s->L < 1 || s->G < 1 || s->E < 1)
        return FC_FAIL(FC_ERR_ARG, "kv: pages=%d L=%d G=%d E=%d; all must be at least 1", s->n_pages, s->L, s->G, s->E);
    if (!shape_bytes(s, &page, &all))
        return FC_FAIL(FC_ERR_ARG, "kv: pages=%d P=%d L=%d G=%d E=%d do not fit in the address space", s->n_pages, s->P,
                       s->L, s->G, s->E);
    return FC_OK;
}

fc_status fc_kv_page_bytes(const fc_kv_shape *s, size_t *out) {
    size_t all;
    FC_TRY(fc_kv_check_shape(s));
    (void)shape_bytes(s, out, &all);
    return FC_OK;
}

fc_status fc_kv_bytes(const fc_kv_shape *s, size_t *out) {
    size_t page;
    FC_TRY(fc_kv_check_shape(s));
    (void)shape_bytes(s, &page, out);
    return FC_OK;
}

enum { PIECE = 64 };

/* n codes of x / scale. Rounded by adding 1.5 * 2^23, which leaves a whole number, ties to even, in the low bits: plain
 * additions become vectors, rintf without SSE4 is a call. */
static void codes_i8(const float *x, float scale, int n, unsigned char *code) {
    const float magic = 12582912.0f;
    for (int i = 0; i < n; i++) {
        float c = x[i] / scale; /* a subnormal scale has lost bits: the quotient may pass 127 */
        c = c > 127.0f ? 127.0f : c < -127.0f ? -127.0f : c;
        code[i] = (unsigned char)(int8_t)((c + magic) - magic);
    }
}

static void codes_f8(const float *x, float scale, int n, unsigned char *code) {
    for (int i = 0; i < n; i++) code[i] = fc_f32_to_f8(x[i] / scale);
}

/* Codes of one vector at a stride; returns its scale. */
static float quantise(fc_dtype type, const float *x, int E, unsigned char *code, int stride) {
    float most = 0.0f, scale;
    uint32_t most_bits = 0;
    for (int e = 0; e < E;
         e++) { /* as bits, magnitudes order like integers, and infinity and NaN are above all others */
        uint32_t bits;
        memcpy(&bits, &x[e], sizeof bits);
        bits &= 0x7fffffffu;
        most_bits = bits > most_bits ? bits : most_bits;
    }
    memcpy(&most, &most_bits, sizeof most);
    scale = most_bits < 0x7f800000u ? most / (type == FC_I8 ? 127.0f : 448.0f) : NAN;
    for (int from = 0; from < E; from += PIECE) {
        unsigned char piece[PIECE] = {0};
        int n = E - from < PIECE ? E - from : PIECE;
        if (scale > 0.0f) { /* else all zero, or not finite: codes 0 */
            if (type == FC_I8) codes_i8(x + from, scale, n, piece);
            else codes_f8(x + from, scale, n, piece);
        }
        for (int i = 0; i < n; i++) code[(size_t)(from + i) * (size_t)stride] = piece[i];
    }
    return scale;
}

void fc_kv_put_cpu(const fc_kv_buf *kv, int page, int slot, int layer, int g, const float *k, const float *v) {
    const fc_kv_shape *s = &kv->shape;
    fc_kv_block b = fc_kv_block_at(kv, page, layer, g);
    size_t E = (size_t)s->E, P = (size_t)s->P, at = (size_t)slot;
    switch (s->type) {
    case FC_F32: {
        float *kd = (float *)(void *)b.k + at;
        for (size_t e = 0; e < E; e++) kd[e * P] = k[e];
        memcpy(b.v + at * E * sizeof(float), v, E * sizeof(float));
        break;
    }
    case FC_BF16: {
        uint16_t *kd = (uint16_t *)(void *)b.k + at, *vd = (uint16_t *)(void *)b.v + at * E;
        for (size_t from = 0; from < E; from += PIECE) { /* rounded as vectors, then each to its own line */
            uint16_t piece[PIECE];
            size_t n = E - from < PIECE ? E - from : PIECE;
            for (size_t i = 0; i < n; i++) piece[i] = fc_f32_to_bf16(k[from + i]);
            for (size_t i = 0; i < n; i++) kd[(from + i) * P] = piece[i];
        }
        for (size_t e = 0; e < E; e++) vd[e] = fc_f32_to_bf16(v[e]);
        break;
    }
    default:
        b.k_scale[at] = quantise(s->type, k, s->E, b.k + at, s->P);
        b.v_scale[at] = quantise(s->type, v, s->E, b.v + at * E, 1);
    }
}

static float get(const fc_kv_shape *s, const unsigned char *p, size_t i, const float *scale, size_t slot) {
    switch (s->type) {
    case FC_F32: return ((const float *)(const void *)p)[i];
    case FC_BF16: return fc_bf16_to_f32(((const uint16_t *)(const void *)p)[i]);
    case FC_F8: return fc_f8_to_f32(p[i]) * scale[slot];
    default: return (float)((const int8_t *)p)[i] * scale[slot];
    }
}

void fc_kv_get_cpu(const fc_kv_buf *kv, int page, int slot, int layer, int g, float *k, float *v) {
    fc_kv_block b = fc_kv_block_at(kv, page, layer, g);
    size_t E = (size_t)kv->shape.E, P = (size_t)kv->shape.P, at = (size_t)slot;
    for (size_t e = 0; e < E; e++) k[e] = get(&kv->shape, b.k, e * P + at, b.k_scale, at);
    for (size_t e = 0; e < E; e++) v[e] = get(&kv->shape, b.v, at * E + e, b.v_scale, at);
}

static fc_status check_copies(const fc_kv_copy_args *a) {
    const fc_kv_shape *s = &a->kv->shape;
    FC_TRY(fc_kv_check_shape(s));
    for (int m = 0; m < a->M; m++)
        if (a->src[m] < 0 || a->src[m] >= s->n_pages || a->dst[m] < 0 || a->dst[m] >= s->n_pages || a->n[m] < 0 ||
            a->n[m] > s->P)
            return FC_FAIL(FC_ERR_ARG, "kv_copy: %d slots of page %d to page %d; there are %d pages of %d slots",
                           a->n[m], a->src[m], a->dst[m], s->n_pages, s->P);
    return FC_OK;
}

/* One page and layer. */
static void copy_unit(void *arg, int unit, int thread) {
    const fc_kv_copy_args *a = arg;
    const fc_kv_shape *s = &a->kv->shape;
    int m = unit / s->L, layer = unit % s->L;
    size_t size = fc_kv_elem_bytes(s->type), E = (size_t)s->E, row = (size_t)s->P * size, part = (size_t)a->n[m] * size;
    (void)thread;
    if (a->n[m] == 0 || a->src[m] == a->dst[m]) return;
    if (a->n[m] == s->P) { /* the heads of a layer lie together */
        memcpy(fc_kv_block_at(a->kv, a->dst[m], layer, 0).k, fc_kv_block_at(a->kv, a->src[m], layer, 0).k,
               fc_kv_block_bytes(s) * (size_t)s->G);
        return;
    }
    for (int g = 0; g < s->G; g++) {
        fc_kv_block to = fc_kv_block_at(a->kv, a->dst[m], layer, g), from = fc_kv_block_at(a->kv, a->src[m], layer, g);
        for (size_t e = 0; e < E; e++) memcpy(to.k + e * row, from.k + e * row, part);
        memcpy(to.v, from.v, part * E);
        if (fc_kv_scaled(s->type)) {
            memcpy(to.k_scale, from.k_scale, (size_t)a->n[m] * sizeof(float));
            memcpy(to.v_scale, from.v_scale, (size_t)a->n[m] * sizeof(float));
        }
    }
}

fc_status fc_kv_copy_cpu(fc_stream s, const fc_kv_copy_args *a) {
    FC_TRY(check_copies(a));
    fc_pool_run(s->pool, a->M * a->kv->shape.L, copy_unit, (void *)(uintptr_t)a);
    return FC_OK;
}

fc_cost fc_kv_copy_cost(const fc_kv_copy_args *a) {
    const fc_kv_shape *s = &a->kv->shape;
    double page = (double)fc_kv_block_bytes(s) * s->L * s->G;
    return (fc_cost){.bytes = 2.0 * page * a->M, .flops = 0.0};
}
