#include "kernels/kv/kv_cpu.h"
#include "kernels/rope_kv/rope_kv.h"

#include <math.h>

/* One head: norm (w may be NULL), then rotation, all in double, rounded once at the end. E <= 1024 elements. */
static void one_head(float *x, const float *w, const float *cs, const fc_rope_kv_args *a) {
    double v[1024], sum = 0.0;
    int half = a->R / 2;
    for (int e = 0; e < a->E; e++) sum += (double)x[e] * x[e];
    for (int e = 0; e < a->E; e++) v[e] = w ? (double)x[e] / sqrt(sum / a->E + a->eps) * w[e] : (double)x[e];
    for (int i = 0; i < half; i++) {
        int first = a->interleaved ? 2 * i : i, second = a->interleaved ? 2 * i + 1 : i + half;
        double p = v[first], q = v[second], c = cs[i], s = cs[half + i];
        v[first] = p * c - q * s;
        v[second] = q * c + p * s;
    }
    for (int e = 0; e < a->E; e++) x[e] = (float)v[e];
}

fc_status fc_rope_kv_ref(fc_stream s, const fc_rope_kv_args *a) {
    (void)s;
    if (a->E > 1024) return FC_FAIL(FC_ERR_UNSUPPORTED, "rope_kv reference: E=%d; at most 1024", a->E);
    for (int t = 0; t < a->T; t++) {
        float *q = a->qkv + (size_t)t * (size_t)((a->H + 2 * a->G) * a->E);
        float *k = q + a->H * a->E, *v = k + a->G * a->E;
        const float *cs = a->cs + (size_t)t * (size_t)a->R;
        for (int h = 0; h < a->H; h++) one_head(q + h * a->E, a->q_norm, cs, a);
        for (int g = 0; g < a->G; g++) {
            one_head(k + g * a->E, a->k_norm, cs, a);
            fc_kv_put_cpu(a->kv, a->page[t], a->slot[t], a->layer, g, k + g * a->E, v + g * a->E);
        }
    }
    return FC_OK;
}

fc_status fc_rope_table_ref(fc_stream s, const fc_rope_table_args *a) {
    (void)s;
    for (int t = 0; t < a->T; t++)
        for (int i = 0; i < a->R / 2; i++) {
            float angle = (float)a->pos[t] * a->inv_freq[i];
            a->cs[t * a->R + i] = (float)(cos(angle) * a->mscale);
            a->cs[t * a->R + a->R / 2 + i] = (float)(sin(angle) * a->mscale);
        }
    return FC_OK;
}
