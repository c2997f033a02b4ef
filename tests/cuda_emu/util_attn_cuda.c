#include "tests/cuda_emu/util_attn_cuda.h"

#include "kernels/kv/kv_cpu.h"

#include <math.h>

void attn_cuda_slot(const attn_cuda_work *w, int page, int slot, int layer, int g, unsigned char **k, unsigned char **v,
                    float **k_scale, float **v_scale) {
    const fc_kv_shape *s = &w->kv.shape;
    size_t vector = (size_t)s->E * fc_kv_elem_bytes(s->type), half = (size_t)s->P * vector;
    size_t index = ((size_t)page * (size_t)s->L + (size_t)layer) * (size_t)s->G + (size_t)g;
    unsigned char *block = w->kv_host + index * fc_kv_block_bytes(s);
    *k = block + (size_t)slot * vector;
    *v = *k + half;
    *k_scale = fc_kv_scaled(s->type) ? (float *)(void *)(block + 2 * half) + slot : NULL;
    *v_scale = fc_kv_scaled(s->type) ? *k_scale + s->P : NULL;
}

/* x [E] as codes of E4M3; a vector that is not finite has codes 0 and a scale that is no number. */
static float put_f8(unsigned char *code, const float *x, int E) {
    float most = 0.0f, scale;
    for (int e = 0; e < E; e++) most = isfinite(x[e]) ? fmaxf(most, fabsf(x[e])) : NAN;
    scale = most / 448.0f;
    for (int e = 0; e < E; e++) code[e] = scale > 0.0f ? fc_f32_to_f8(x[e] / scale) : 0;
    return scale;
}

static void put_slot(attn_cuda_work *w, int page, int slot, int layer, int g) {
    const fc_kv_buf *from = &w->host.kv;
    const size_t E = (size_t)from->shape.E, P = (size_t)from->shape.P;
    unsigned char *k, *v;
    float *k_scale, *v_scale, ks[256], vs[256];
    attn_cuda_slot(w, page, slot, layer, g, &k, &v, &k_scale, &v_scale);
    fc_kv_get_cpu(from, page, slot, layer, g, ks, vs);
    switch (w->kv.shape.type) {
    case FC_F32:
        memcpy(k, ks, E * 4);
        memcpy(v, vs, E * 4);
        break;
    case FC_BF16:
        for (size_t e = 0; e < E; e++) ((uint16_t *)(void *)k)[e] = fc_f32_to_bf16(ks[e]);
        for (size_t e = 0; e < E; e++) ((uint16_t *)(void *)v)[e] = fc_f32_to_bf16(vs[e]);
        break;
    case FC_F8:
        *k_scale = put_f8(k, ks, (int)E);
        *v_scale = put_f8(v, vs, (int)E);
        break;
    default: {
        fc_kv_block b = fc_kv_block_at(from, page, layer, g);
        for (size_t e = 0; e < E; e++) k[e] = b.k[e * P + (size_t)slot];
        memcpy(v, b.v + (size_t)slot * E, E);
        *k_scale = b.k_scale[slot];
        *v_scale = b.v_scale[slot];
    }
    }
}

void attn_cuda_store(attn_cuda_work *w) {
    if (w->kv.base) device_free(w->kv.base);
    w->kv.base = device_copy(w->s, w->kv_host, w->kv_bytes);
}

void attn_cuda_open(const attn_case *c, attn_cut cut, fc_stream s, attn_cuda_work *w) {
    attn_case cpu = *c;
    fc_kv_shape shape;
    if (c->type == FC_F8) cpu.type = FC_F32;
    memset(w, 0, sizeof *w);
    w->s = s;
    attn_work_open(&cpu, cut, NULL, &w->host);
    w->kv.shape = w->host.kv.shape;
    w->kv.shape.type = c->type;
    shape = w->kv.shape;
    w->kv_bytes = (size_t)shape.n_pages * (size_t)shape.L * (size_t)shape.G * fc_kv_block_bytes(&shape);
    w->kv_host = malloc(w->kv_bytes);
    for (int page = 0; page < shape.n_pages; page++)
        for (int i = 0; i < shape.L * shape.G * shape.P; i++)
            put_slot(w, page, i % shape.P, i / shape.P / shape.G, i / shape.P % shape.G);
    attn_cuda_store(w);
    w->n_slots = (size_t)(c->branches * w->host.slots_per_branch) + 1;
}

void attn_cuda_close(attn_cuda_work *w) {
    device_free(w->kv.base);
    free(w->kv_host);
    attn_work_close(&w->host);
}

fc_status attn_cuda_run(attn_cuda_work *w, float *y) {
    enum { COPIES = 10 };
    const fc_attn_args *h = &w->host.args;
    size_t T = (size_t)h->T, n_rows = 0, n_parts = 0, bytes = T * (size_t)h->H * (size_t)w->kv.shape.E * 4;
    void *d[COPIES];
    fc_status st;
    for (int i = 0; i < h->n_items; i++) {
        const fc_attn_item *it = &h->items[i];
        size_t rows = (size_t)(it->row + it->n_rows), parts = it->part < 0 ? 0 : (size_t)(it->part + it->n_rows);
        n_rows = rows > n_rows ? rows : n_rows;
        n_parts = parts > n_parts ? parts : n_parts;
    }
    w->args = *h;
    w->args.kv = &w->kv;
    w->args.y = d[0] = device_copy(w->s, NULL, bytes); /* a row that is forgotten stays NaN */
    w->args.q = d[1] = device_copy(w->s, h->q, T * (size_t)h->ldq * 4);
    w->args.pos = d[2] = device_copy(w->s, h->pos, T * 4);
    w->args.pages = d[3] = device_copy(w->s, h->pages, ATTN_PAGES * sizeof *h->pages);
    w->args.slots = d[4] = device_copy(w->s, h->slots, w->n_slots * sizeof *h->slots);
    w->args.items = d[5] = device_copy(w->s, h->items, (size_t)h->n_items * sizeof *h->items);
    w->args.item_rows = d[6] = device_copy(w->s, h->item_rows, n_rows * 4);
    w->args.fold_row = d[7] = device_copy(w->s, h->fold_row, (size_t)h->n_fold * 4);
    w->args.fold_off = d[8] = device_copy(w->s, h->fold_off, ((size_t)h->n_fold + 1) * 4);
    w->args.fold_slot = d[9] = device_copy(w->s, h->fold_slot, (size_t)h->fold_off[h->n_fold] * 4);
    w->args.part = device_copy(w->s, NULL, n_parts * (size_t)h->H * (size_t)(w->kv.shape.E + 2) * 4);
    st = fc_attn_cuda(w->s, &w->args);
    if (!st) st = device_sync(w->s);
    if (!st) device_read(w->s, y, w->args.y, bytes);
    for (int i = 0; i < COPIES; i++) device_free(d[i]);
    device_free(w->args.part);
    return st;
}

/* ---- the reference ---- */

static double rounded(double x) { return (double)fc_bf16_to_f32(fc_f32_to_bf16((float)x)); }

static double element(fc_dtype type, const unsigned char *p, int e) {
    switch (type) {
    case FC_F32: return (double)((const float *)(const void *)p)[e];
    case FC_BF16: return (double)fc_bf16_to_f32(((const uint16_t *)(const void *)p)[e]);
    case FC_F8: return (double)fc_f8_to_f32(p[e]);
    default: return (double)((const int8_t *)p)[e];
    }
}

/* The flat slot of position j of row t, from the item that covers it. */
static int slot_of(const attn_cuda_work *w, int t, int j) {
    const fc_attn_args *a = &w->host.args;
    int P = w->kv.shape.P;
    for (int i = 0; i < a->n_items; i++) {
        const fc_attn_item *it = &a->items[i];
        int first = it->tile * FC_ATTN_TILE;
        if (j < first || j >= first + it->n_tiles * FC_ATTN_TILE) continue;
        for (int r = 0; r < it->n_rows; r++)
            if (a->item_rows[it->row + r] == t)
                return it->gather < 0 ? a->pages[it->pages + j / P] * P + j % P : a->slots[it->gather + j - first];
    }
    fail_msg("no item covers position %d of row %d", j, t);
    return 0;
}

static void ref_head(const attn_cuda_work *w, int t, int h, const int *slot, double *score, float *y) {
    const fc_attn_args *a = &w->host.args;
    const fc_kv_shape *s = &w->kv.shape;
    const int pos = a->pos[t], since = pos - a->window + 1, first = a->window > 0 && since > 0 ? since : 0;
    const float *q = a->q + (size_t)t * (size_t)a->ldq + (size_t)h * (size_t)s->E;
    const bool exact = s->type == FC_F32;
    double max = -INFINITY, sum = 0.0, o[256] = {0}, most = 0.0;
    unsigned char *k, *v;
    float *k_scale, *v_scale;
    for (int j = first; j <= pos; j++) {
        double dot = 0.0;
        attn_cuda_slot(w, slot[j] / s->P, slot[j] % s->P, a->layer, h / (a->H / s->G), &k, &v, &k_scale, &v_scale);
        for (int e = 0; e < s->E; e++) dot += (exact ? (double)q[e] : rounded((double)q[e])) * element(s->type, k, e);
        dot *= (double)a->scale * (k_scale ? (double)*k_scale : 1.0);
        score[j] = a->soft_cap > 0 ? (double)a->soft_cap * tanh(dot / (double)a->soft_cap) : dot;
        if (score[j] > max) max = score[j];
    }
    for (int j = first; j <= pos; j++) {
        double weight = exp(score[j] - max);
        if (j == first || j % FC_ATTN_TILE == 0) {
            most = -INFINITY;
            for (int i = j; i <= pos && i / FC_ATTN_TILE == j / FC_ATTN_TILE; i++) most = fmax(most, score[i]);
        }
        attn_cuda_slot(w, slot[j] / s->P, slot[j] % s->P, a->layer, h / (a->H / s->G), &k, &v, &k_scale, &v_scale);
        sum += weight;
        if (!exact) weight = rounded(exp(score[j] - most) * (v_scale ? (double)*v_scale : 1.0)) * exp(most - max);
        for (int e = 0; e < s->E; e++) o[e] += weight * element(s->type, v, e);
    }
    for (int e = 0; e < s->E; e++) y[e] = (float)(o[e] / sum);
}

void attn_cuda_ref(const attn_cuda_work *w, float *y) {
    const fc_attn_args *a = &w->host.args;
    for (int t = 0; t < a->T; t++) {
        size_t n = (size_t)a->pos[t] + 1;
        int *slot = calloc(n, sizeof *slot);
        double *score = calloc(n, sizeof *score);
        for (int j = 0; j < (int)n; j++) slot[j] = slot_of(w, t, j);
        for (int h = 0; h < a->H; h++)
            ref_head(w, t, h, slot, score, y + ((size_t)t * (size_t)a->H + (size_t)h) * (size_t)w->kv.shape.E);
        free(slot);
        free(score);
    }
}
