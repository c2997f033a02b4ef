#include "kernels/softcap/softcap.h"

#include "kernels/cpu/vmath.h"
#include "kernels/softcap/softcap_levels.h"

#include <limits.h>
#include <math.h>

enum { UNIT = 4096 }; /* elements a thread takes at once */

void fc_softcap_run_portable(float *x, size_t n, float cap, float inv) {
    for (size_t i = 0; i < n; i++) x[i] = cap * fc_tanhf(x[i] * inv);
}

fc_softcap_run fc_softcap_run_of(fc_cpu_level level) {
    if (level >= FC_CPU_AVX512) return fc_softcap_run_avx512;
    return level >= FC_CPU_AVX2 ? fc_softcap_run_avx2 : fc_softcap_run_portable;
}

typedef struct {
    const fc_softcap_args *a;
    fc_softcap_run run;
} work;

static void run_unit(void *arg, int unit, int thread) {
    const work *w = arg;
    size_t i = (size_t)unit * UNIT, n = w->a->n - i < UNIT ? w->a->n - i : UNIT;
    (void)thread;
    w->run(w->a->x + i, n, w->a->cap, 1.0f / w->a->cap);
}

fc_status fc_softcap_cpu(fc_stream s, const fc_softcap_args *a) {
    work w = {.a = a, .run = fc_softcap_run_of(s->level)};
    if (!(a->cap > 0.0f) || !isfinite(a->cap))
        return FC_FAIL(FC_ERR_ARG, "softcap: cap=%g; it must be positive", (double)a->cap);
    if (a->n / UNIT >= INT_MAX) return FC_FAIL(FC_ERR_ARG, "softcap: n=%zu elements are too many", a->n);
    fc_pool_run(s->pool, (int)((a->n + UNIT - 1) / UNIT), run_unit, &w);
    return FC_OK;
}

fc_cost fc_softcap_cost(const fc_softcap_args *a) {
    return (fc_cost){.bytes = 8 * (double)a->n, .flops = 40 * (double)a->n};
}
