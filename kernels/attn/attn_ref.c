#include "kernels/attn/attn.h"

#include "engine/base/mem.h"
#include "kernels/kv/kv_cpu.h"

#include <math.h>
#include <stdbool.h>

static bool has_row(const fc_attn_args *a, const fc_attn_item *item, int t) {
    for (int i = 0; i < item->n_rows; i++)
        if (a->item_rows[item->row + i] == t) return true;
    return false;
}

/* The flat slot of each of the n positions of row t, from whichever item covers it; -1 where none does. */
static void row_slots(const fc_attn_args *a, int t, int32_t *slot, int n) {
    int P = a->kv->shape.P;
    for (int j = 0; j < n; j++) slot[j] = -1;
    for (int i = 0; i < a->n_items; i++) {
        const fc_attn_item *it = &a->items[i];
        int first = it->tile * FC_ATTN_TILE;
        if (!has_row(a, it, t)) continue;
        for (int j = first; j < first + it->n_tiles * FC_ATTN_TILE && j < n; j++)
            slot[j] = it->gather < 0 ? a->pages[it->pages + j / P] * P + j % P : a->slots[it->gather + j - first];
    }
}

static double rounded(double x) { return (double)fc_bf16_to_f32(fc_f32_to_bf16((float)x)); }

/* The largest score of the tile of position j, of positions first .. last. */
static double tile_max(const double *score, int j, int first, int last) {
    int begin = j - j % FC_ATTN_TILE, end = begin + FC_ATTN_TILE;
    double max = -INFINITY;
    for (int i = begin > first ? begin : first; i < end && i <= last; i++) max = score[i] > max ? score[i] : max;
    return max;
}

/* q as int8 KV is multiplied by it: codes of -127 .. 127 of one scale. */
static void as_codes(const float *q, int E, double *out) {
    float most = 0.0f, by;
    for (int e = 0; e < E; e++) most = fabsf(q[e]) > most || isnan(q[e]) ? fabsf(q[e]) : most;
    if (most < FC_ATTN_TINY) most = 0.0f;
    by = most > 0.0f ? 127.0f / most : 0.0f;
    for (int e = 0; e < E; e++) out[e] = nearbyint((double)(q[e] * by)) * (double)(most * (1.0f / 127.0f));
}

static float v_scale(const fc_attn_args *a, int g, int32_t slot) {
    const fc_kv_shape *s = &a->kv->shape;
    return fc_kv_block_at(a->kv, slot / s->P, a->layer, g).v_scale[slot % s->P];
}

/* Over int8 KV: the weight of position j times its V's scale as a code of 0 .. 255, the largest of the tile 255; with
 * that scale taken out again, as V is read with it. */
static double code_weight(const fc_attn_args *a, int g, const int32_t *slot, const double *score, int j, int first,
                          int last) {
    const int begin = j - j % FC_ATTN_TILE, end = begin + FC_ATTN_TILE;
    const double max = tile_max(score, j, first, last);
    const float own = v_scale(a, g, slot[j]);
    double largest = 0.0;
    for (int i = begin > first ? begin : first; i < end && i <= last; i++)
        largest = fmax(largest, exp(score[i] - max) * (double)v_scale(a, g, slot[i]));
    if (!(largest >= (double)FC_ATTN_TINY) || own == 0.0f) return 0.0;
    return nearbyint(exp(score[j] - max) * (double)own * (255.0 / largest)) * (largest / 255.0) / (double)own;
}

static fc_status one_head(const fc_attn_args *a, int t, int h, const int32_t *slot, double *score) {
    const fc_kv_shape *s = &a->kv->shape;
    int E = s->E, g = h / (a->H / s->G), pos = a->pos[t];
    int first = a->window > 0 && pos - a->window + 1 > 0 ? pos - a->window + 1 : 0;
    const float *q = a->q + (size_t)t * (size_t)a->ldq + (size_t)h * (size_t)E;
    const bool bf16 = s->type == FC_BF16, codes = s->type == FC_I8;
    float *y = a->y + ((size_t)t * (size_t)a->H + (size_t)h) * (size_t)E, k[256], v[256];
    double max = -INFINITY, sum = 0.0, o[256] = {0}, read[256];
    if (codes) as_codes(q, E, read);
    for (int e = 0; !codes && e < E; e++) read[e] = bf16 ? rounded((double)q[e]) : (double)q[e];
    for (int j = first; j <= pos; j++) {
        double dot = 0.0;
        if (slot[j] < 0) return FC_FAIL(FC_ERR_ARG, "attn reference: no item covers position %d of row %d", j, t);
        fc_kv_get_cpu(a->kv, slot[j] / s->P, slot[j] % s->P, a->layer, g, k, v);
        for (int e = 0; e < E; e++) dot += read[e] * (double)k[e];
        score[j] = a->soft_cap > 0 ? a->soft_cap * tanh(a->scale * dot / a->soft_cap) : a->scale * dot;
        if (score[j] > max) max = score[j];
    }
    for (int j = first; j <= pos; j++) {
        double w = exp(score[j] - max), most = bf16 || codes ? tile_max(score, j, first, pos) : 0.0;
        fc_kv_get_cpu(a->kv, slot[j] / s->P, slot[j] % s->P, a->layer, g, k, v);
        sum += w;
        if (bf16) w = rounded(exp(score[j] - most)) * exp(most - max);
        if (codes) w = code_weight(a, g, slot, score, j, first, pos) * exp(most - max);
        for (int e = 0; e < E; e++) o[e] += w * v[e];
    }
    for (int e = 0; e < E; e++) y[e] = (float)(o[e] / sum);
    return FC_OK;
}

static fc_status one_row(const fc_attn_args *a, int t) {
    fc_status st = FC_OK;
    int n = a->pos[t] + 1;
    void *slot, *score;
    FC_TRY(fc_alloc((size_t)n, sizeof(int32_t), "attn reference: slots", &slot));
    st = fc_alloc((size_t)n, sizeof(double), "attn reference: scores", &score);
    if (st) {
        fc_free(slot);
        return st;
    }
    row_slots(a, t, slot, n);
    for (int h = 0; h < a->H && !st; h++) st = one_head(a, t, h, slot, score);
    fc_free(score);
    fc_free(slot);
    return st;
}

fc_status fc_attn_ref(fc_stream s, const fc_attn_args *a) {
    (void)s;
    if (a->kv->shape.E > 256) return FC_FAIL(FC_ERR_UNSUPPORTED, "attn reference: E=%d; at most 256", a->kv->shape.E);
    for (int t = 0; t < a->T; t++) FC_TRY(one_row(a, t));
    return FC_OK;
}
