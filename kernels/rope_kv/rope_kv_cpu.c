#include "kernels/rope_kv/rope_kv.h"

#include "kernels/cpu/cpu.h"
#include "kernels/kv/kv_cpu.h"

#include <math.h>

enum { ROWS = 16, LANES = 16 }; /* most rows a unit: neighbours in one page share K's cache lines */

/* x = w * x / sqrt(mean(x^2) + eps), the sum of squares in 16 chains and one fixed fold. */
static void norm_head(float *x, const float *w, int E, float eps) {
    float lane[LANES] = {0}, scale;
    int e = 0;
    for (; e + LANES <= E; e += LANES)
        for (int i = 0; i < LANES; i++) lane[i] += x[e + i] * x[e + i];
    for (int i = 0; e + i < E; i++) lane[i] += x[e + i] * x[e + i];
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
    scale = 1.0f / sqrtf(lane[0] / (float)E + eps);
    for (e = 0; e < E; e++) x[e] = x[e] * scale * w[e];
}

static void rotate_head(float *restrict x, const float *restrict c, int R, bool interleaved) {
    const float *restrict s = c + R / 2;
    if (interleaved) {
        for (int i = 0; i < R / 2; i++) {
            float a = x[2 * i], b = x[2 * i + 1];
            x[2 * i] = a * c[i] - b * s[i];
            x[2 * i + 1] = b * c[i] + a * s[i];
        }
        return;
    }
    for (int i = 0; i < R / 2; i++) {
        float a = x[i], b = x[i + R / 2];
        x[i] = a * c[i] - b * s[i];
        x[i + R / 2] = b * c[i] + a * s[i];
    }
}

typedef struct {
    const fc_rope_kv_args *a;
    int rows; /* a unit */
} rope_job;

static void rope_unit(void *arg, int unit, int thread) {
    const rope_job *j = arg;
    const fc_rope_kv_args *a = j->a;
    size_t E = (size_t)a->E, ld = (size_t)(a->H + 2 * a->G) * E;
    int begin = unit * j->rows, end = a->T - begin < j->rows ? a->T : begin + j->rows;
    (void)thread;
    for (int t = begin; t < end; t++) {
        float *row = a->qkv + (size_t)t * ld;
        const float *cs = a->cs + (size_t)t * (size_t)a->R;
        for (int h = 0; h < a->H + a->G; h++) { /* the key heads follow the query heads */
            float *x = row + (size_t)h * E;
            const float *w = h < a->H ? a->q_norm : a->k_norm;
            if (w) norm_head(x, w, a->E, a->eps);
            rotate_head(x, cs, a->R, a->interleaved);
        }
        for (int g = 0; g < a->G; g++)
            fc_kv_put_cpu(a->kv, a->page[t], a->slot[t], a->layer, g, row + (size_t)(a->H + g) * E,
                          row + (size_t)(a->H + a->G + g) * E);
    }
}

fc_status fc_rope_kv_cpu(fc_stream s, const fc_rope_kv_args *a) {
    const fc_kv_shape *k = &a->kv->shape;
    rope_job j = {a, ROWS};
    if (a->T < 1 || a->H < 1 || a->G != k->G || a->E != k->E || a->layer < 0 || a->layer >= k->L)
        return FC_FAIL(FC_ERR_ARG, "rope_kv: T=%d H=%d G=%d E=%d layer=%d; the store has L=%d G=%d E=%d", a->T, a->H,
                       a->G, a->E, a->layer, k->L, k->G, k->E);
    if (a->R < 0 || a->R > a->E || a->R % 2) return FC_FAIL(FC_ERR_ARG, "rope_kv: R=%d of E=%d dims", a->R, a->E);
    for (int t = 0; t < a->T; t++)
        if (a->page[t] < 0 || a->page[t] >= k->n_pages || a->slot[t] < 0 || a->slot[t] >= k->P)
            return FC_FAIL(FC_ERR_ARG, "rope_kv: row %d writes slot %d of page %d; there are %d pages of %d slots", t,
                           a->slot[t], a->page[t], k->n_pages, k->P);
    while (j.rows > 1 && a->T < 2 * j.rows * fc_pool_threads(s->pool))
        j.rows /= 2; /* decode: few rows for all threads */
    fc_pool_run(s->pool, (a->T + j.rows - 1) / j.rows, rope_unit, &j);
    return FC_OK;
}

fc_cost fc_rope_kv_cost(const fc_rope_kv_args *a) {
    double q = (double)a->T * a->H * a->E, k = (double)a->T * a->G * a->E,
           rotated = (double)a->T * (a->H + a->G) * a->R;
    double slot = (double)fc_kv_block_bytes(&a->kv->shape) / a->kv->shape.P;
    fc_cost c = {.bytes = 4.0 * (2.0 * q + 2.0 * k) + 4.0 * a->T * a->R + a->T * a->G * slot, .flops = 3.0 * rotated};
    if (a->q_norm) c.flops += 4.0 * q;
    if (a->k_norm) c.flops += 4.0 * k;
    return c;
}

static void table_unit(void *arg, int unit, int thread) {
    const fc_rope_table_args *a = arg;
    int half = a->R / 2, end = a->T - unit * ROWS < ROWS ? a->T : (unit + 1) * ROWS;
    (void)thread;
    for (int t = unit * ROWS; t < end; t++) {
        float *c = a->cs + (size_t)t * (size_t)a->R, *s = c + half;
        for (int i = 0; i < half; i++) {
            float angle = (float)a->pos[t] * a->inv_freq[i];
            c[i] = (float)(cos((double)angle) * (double)a->mscale);
            s[i] = (float)(sin((double)angle) * (double)a->mscale);
        }
    }
}

fc_status fc_rope_table_cpu(fc_stream s, const fc_rope_table_args *a) {
    if (a->T < 1 || a->R < 0 || a->R % 2) return FC_FAIL(FC_ERR_ARG, "rope_table: T=%d R=%d", a->T, a->R);
    fc_pool_run(s->pool, (a->T + ROWS - 1) / ROWS, table_unit, (void *)(uintptr_t)a);
    return FC_OK;
}

fc_cost fc_rope_table_cost(const fc_rope_table_args *a) {
    double n = (double)a->T * a->R;
    return (fc_cost){.bytes = 4.0 * (n + a->T + a->R / 2), .flops = 20.0 * n}; /* about 20 for a sine or a cosine */
}
