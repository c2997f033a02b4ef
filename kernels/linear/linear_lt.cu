#include "kernels/linear/linear_lt.cuh"

#include "kernels/cuda/lt.cuh"

enum { LEAST_ROWS = 128 /* from here on tensor cores are the limit, not memory */ };

/* Bytes of n rows of x as bf16, and as many of what that leaves. */
static size_t half_bytes(int n, int steps) {
    return ((size_t)fc_div_up(n, FC_X_ROWS) * FC_X_ROWS * (size_t)steps * FC_STEP * sizeof(uint16_t) + 255) &
           ~(size_t)255;
}

static size_t x_bytes(const fc_linear_args *a, int n) {
    return half_bytes(n, fc_linear_steps(a->w->K)) * (a->precise ? 2 : 1);
}

/* Rows at a time. */
static int rows_of(fc_stream s, const fc_linear_args *a) {
    int rows = a->T;
    while (rows > LEAST_ROWS && x_bytes(a, rows) > s->workspace_bytes) rows = (rows + 1) / 2;
    return rows;
}

/* The product of part i for n rows from row `first` on, of x's rounded numbers or of what they leave. */
static fc_lt_product product_of(const fc_linear_args *a, int i, const void *x, int first, int n, bool rest) {
    const fc_part_cuda *part = &fc_weight_cuda_of(a->w)->parts[i];
    fc_lt_product p = {a->y + (size_t)first * (size_t)a->w->N + part->first,
                       part->panels,
                       x,
                       a->bias && !rest ? a->bias + part->first : NULL,
                       n,
                       part->N,
                       part->steps * FC_STEP,
                       a->w->N,
                       rest};
    return p;
}

fc_status fc_linear_lt_takes(fc_stream s, const fc_linear_args *a, bool *takes) {
    const fc_weight_cuda *w = fc_weight_cuda_of(a->w);
    int rows, last;
    *takes = false;
    if (!s->lt || a->T < LEAST_ROWS || x_bytes(a, LEAST_ROWS) > s->workspace_bytes) return FC_OK;
    for (int i = 0; i < w->n_parts; i++)
        if (!w->parts[i].by_rows) return FC_OK;
    rows = rows_of(s, a);
    last = (a->T - 1) / rows * rows;
    *takes = true;
    for (int i = 0; i < w->n_parts; i++)
        for (int rest = 0; rest <= (int)a->precise; rest++)
            for (int first = 0; first <= last && *takes; first += last > 0 ? last : 1) {
                int n = a->T - first < rows ? a->T - first : rows;
                fc_lt_product p = product_of(a, i, s->workspace, first, n, rest);
                FC_TRY(fc_lt_can(s->lt, &p, s->workspace_bytes - x_bytes(a, n), takes));
            }
    return FC_OK;
}

/* Rows first .. first + n - 1, whose x begins the workspace. */
static fc_status run_rows(fc_stream s, const fc_linear_args *a, const fc_linear_x *x, int first) {
    size_t half = half_bytes(x->T, x->steps), used = x_bytes(a, x->T);
    FC_TRY(fc_cuda_flush(s)); /* cuBLASLt puts its kernels into the queue itself */
    for (int i = 0; i < fc_weight_cuda_of(a->w)->n_parts; i++)
        for (int rest = 0; rest <= (int)a->precise; rest++) {
            fc_lt_product p = product_of(a, i, x->codes + (rest ? half : 0), first, x->T, rest);
            FC_TRY(fc_lt_run(s->lt, s->queue, &p, s->workspace + used, s->workspace_bytes - used));
        }
    return FC_OK;
}

fc_status fc_linear_lt(fc_stream s, const fc_linear_args *a) {
    int rows = rows_of(s, a);
    for (int first = 0, n; first < a->T; first += n) {
        fc_linear_x_from from = {a->x, a->norm, a->glu, first, 0, a->precise};
        fc_linear_x x;
        n = from.T = rows < a->T - first ? rows : a->T - first;
        FC_TRY(fc_linear_x_make_rows(s, a->w, &from, s->workspace, half_bytes(n, fc_linear_steps(a->w->K)), &x));
        FC_TRY(run_rows(s, a, &x, first));
    }
    return FC_OK;
}
