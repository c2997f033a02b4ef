#include "kernels/rows/rows_copy.h"

#include "kernels/cpu/cpu.h"

#include <string.h>

enum { UNIT_FLOATS = 1 << 16 }; /* what a thread takes at once, so that small copies wake nobody */

typedef struct {
    const fc_rows_copy_args *a;
    int rows; /* of a unit */
} work;

static int row_of(const int32_t *list, int i) { return list ? list[i] : i; }

static void copy_unit(void *arg, int unit, int thread) {
    const work *w = arg;
    const fc_rows_copy_args *a = w->a;
    size_t D = (size_t)a->D;
    int from = unit * w->rows, to = a->n - from < w->rows ? a->n : from + w->rows;
    (void)thread;
    for (int i = from; i < to; i++)
        memcpy(a->y + (size_t)row_of(a->dst, i) * D, a->x + (size_t)row_of(a->src, i) * D, D * sizeof *a->y);
}

fc_status fc_rows_copy_cpu(fc_stream s, const fc_rows_copy_args *a) {
    work w = {.a = a};
    if (a->n < 0 || a->D < 1) return FC_FAIL(FC_ERR_ARG, "rows_copy: n=%d D=%d; D must be at least 1", a->n, a->D);
    for (int i = 0; i < a->n; i++) {
        int src = row_of(a->src, i), dst = row_of(a->dst, i);
        if (src < 0 || src >= a->x_rows) return FC_FAIL(FC_ERR_ARG, "rows_copy: src[%d]=%d of %d", i, src, a->x_rows);
        if (dst < 0 || dst >= a->y_rows) return FC_FAIL(FC_ERR_ARG, "rows_copy: dst[%d]=%d of %d", i, dst, a->y_rows);
    }
    w.rows = UNIT_FLOATS / a->D + 1;
    fc_pool_run(s->pool, a->n / w.rows + (a->n % w.rows > 0), copy_unit, &w);
    return FC_OK;
}

fc_cost fc_rows_copy_cost(const fc_rows_copy_args *a) {
    return (fc_cost){.bytes = a->n * (8.0 * a->D + (a->src ? 4 : 0) + (a->dst ? 4 : 0))};
}
