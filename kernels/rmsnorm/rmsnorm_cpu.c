#include "kernels/cpu/cpu.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rmsnorm/rmsnorm_row.h"

enum { UNIT = 8192 }; /* elements a thread takes at once */

void fc_rmsnorm_row_portable(const fc_rmsnorm_row *r) {
    const float *h = r->res ? r->h : r->x;
    float lane[16] = {0}, scale;
    int d = 0;
    if (r->res)
        for (int i = 0; i < r->D; i++) r->h[i] = r->res[i] + r->x[i];
    for (; d + 16 <= r->D; d += 16)
        for (int l = 0; l < 16; l++) lane[l] += h[d + l] * h[d + l];
    for (int l = 0; d + l < r->D; l++) lane[l] += h[d + l] * h[d + l];
    scale = fc_rmsnorm_scale(lane, r->eps, r->D);
    for (d = 0; d < r->D; d++) r->y[d] = h[d] * scale * r->w[d];
}

fc_rmsnorm_run fc_rmsnorm_run_of(fc_cpu_level level) {
    static const fc_rmsnorm_run runs[] = {NULL,
                                          fc_rmsnorm_row_portable,
                                          fc_rmsnorm_row_avx2,
                                          fc_rmsnorm_row_avx2,
                                          fc_rmsnorm_row_avx512,
                                          fc_rmsnorm_row_avx512};
    return runs[level];
}

typedef struct {
    const fc_rmsnorm_args *a;
    fc_rmsnorm_run row;
    int rows; /* a unit */
} work;

static void run_rows(void *arg, int unit, int thread) {
    const work *w = arg;
    const fc_rmsnorm_args *a = w->a;
    size_t D = (size_t)a->D;
    int end = (unit + 1) * w->rows < a->T ? (unit + 1) * w->rows : a->T;
    (void)thread;
    for (int t = unit * w->rows; t < end; t++) {
        size_t from = (size_t)(a->rows ? a->rows[t] : t) * D;
        float *y = a->y + (size_t)t * D, *res = a->res ? a->res + from : NULL;
        fc_rmsnorm_row r = {
            .y = y, .x = a->x + from, .res = res, .h = a->rows ? y : res, .w = a->w, .eps = a->eps, .D = a->D};
        w->row(&r);
    }
}

fc_status fc_rmsnorm_cpu(fc_stream s, const fc_rmsnorm_args *a) {
    work w = {.a = a, .row = fc_rmsnorm_run_of(s->level), .rows = 1};
    if (a->T < 1 || a->D < 1) return FC_FAIL(FC_ERR_ARG, "rmsnorm: T=%d D=%d; both must be at least 1", a->T, a->D);
    if (a->D < UNIT) w.rows = UNIT / a->D;
    fc_pool_run(s->pool, (a->T - 1) / w.rows + 1, run_rows, &w);
    return FC_OK;
}

fc_cost fc_rmsnorm_cost(const fc_rmsnorm_args *a) {
    double n = (double)a->T * a->D, arrays = a->res ? (a->rows ? 3 : 4) : 2;
    return (fc_cost){.bytes = 4 * (arrays * n + a->D), .flops = (a->res ? 5 : 4) * n};
}
