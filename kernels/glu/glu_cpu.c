#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vmath.h"
#include "kernels/glu/glu.h"
#include "kernels/glu/glu_levels.h"

enum { UNIT = 4096 }; /* elements of y that a thread takes at once; they may cross rows */

void fc_glu_silu_portable(float *y, const float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = gate[i] / (1.0f + fc_expf(-gate[i])) * up[i];
}

void fc_glu_gelu_portable(float *y, const float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float x = gate[i], u2 = x * (FC_GELU_K0 + FC_GELU_K1 * (x * x));
        y[i] = x / (1.0f + fc_expf(-u2)) * up[i];
    }
}

fc_glu_run fc_glu_run_of(fc_act act, fc_cpu_level level) {
    static const fc_glu_run runs[2][6] = {
        {NULL, fc_glu_silu_portable, fc_glu_silu_avx2, fc_glu_silu_avx2, fc_glu_silu_avx512, fc_glu_silu_avx512},
        {NULL, fc_glu_gelu_portable, fc_glu_gelu_avx2, fc_glu_gelu_avx2, fc_glu_gelu_avx512, fc_glu_gelu_avx512},
    };
    return act == FC_ACT_SILU || act == FC_ACT_GELU_TANH ? runs[act][level] : NULL;
}

typedef struct {
    const fc_glu_args *a;
    fc_glu_run run;
} work;

static void run_unit(void *arg, int unit, int thread) {
    const work *w = arg;
    const fc_glu_args *a = w->a;
    size_t F = (size_t)a->F, all = (size_t)a->T * F, i = (size_t)unit * UNIT, end = i + UNIT < all ? i + UNIT : all;
    (void)thread;
    while (i < end) {
        size_t t = i / F, f = i % F, n = F - f < end - i ? F - f : end - i;
        const float *gate = a->x + 2 * t * F + f;
        w->run(a->y + i, gate, gate + F, n);
        i += n;
    }
}

fc_status fc_glu_cpu(fc_stream s, const fc_glu_args *a) {
    work w = {.a = a, .run = fc_glu_run_of(a->act, s->level)};
    if (a->T < 1 || a->F < 1) return FC_FAIL(FC_ERR_ARG, "glu: T=%d F=%d; both must be at least 1", a->T, a->F);
    if (!w.run) return FC_FAIL(FC_ERR_ARG, "glu: activation %d", (int)a->act);
    fc_pool_run(s->pool, (int)(((size_t)a->T * (size_t)a->F - 1) / UNIT + 1), run_unit, &w);
    return FC_OK;
}

fc_cost fc_glu_cost(const fc_glu_args *a) {
    double n = (double)a->T * a->F; /* the exponential counts as 16 */
    return (fc_cost){.bytes = 12 * n, .flops = 20 * n};
}
