#include "kernels/head/head_lse.h"

#include "kernels/head/head_tiles.h"

#include <string.h>

typedef struct {
    const fc_head_lse_args *a;
    fc_head_tiles h;
    float *top, *sum; /* [h.n][h.tiles] */
    float *lp;        /* [M] logits that were asked for: the call's lp; where ranks share the vocabulary another, and in
                         it 0 for what other ranks have */
} work;

/* First of the m that belongs to row or a later one. */
static int first_of(const int32_t *of, int n, int row) {
    int lo = 0;
    while (n > lo) {
        int mid = lo + (n - lo) / 2;
        if (of[mid] < row) lo = mid + 1;
        else n = mid;
    }
    return lo;
}

/* The tile's top and sum, and what was asked for, left in lp for the time being. */
static void reduce(void *arg, int row, int tile, const float *x, int n) {
    const work *w = arg;
    const fc_head_lse_args *a = w->a;
    size_t at = (size_t)row * (size_t)w->h.tiles + (size_t)tile;
    int r = w->h.first + row, from = (w->h.own + tile) * FC_TILE;
    w->h.ops->max(x, n, 0, 1, w->top + at);
    w->h.ops->sum(x, n, 0, 1, 1.0f, w->top + at, w->sum + at);
    for (int m = first_of(a->row, a->M, r); m < a->M && a->row[m] == r; m++)
        if (a->id[m] >= from && a->id[m] - from < n) w->lp[m] = x[a->id[m] - from];
}

/* Folds the tiles of the piece's rows, [h.n][n_tiles]. */
static void fold_rows(const work *w, const float *top, const float *sum, int n_tiles) {
    for (int i = 0; i < w->h.n; i++) {
        size_t at = (size_t)i * (size_t)n_tiles;
        fc_row_lse lse;
        (void)fc_tops_lse(top + at, sum + at, n_tiles, &lse);
        w->a->lse[w->h.first + i] = lse.lse;
    }
}

static fc_status check(const fc_head_lse_args *a) {
    int V = a->w->of;
    if (a->R < 1 || a->M < 0) return FC_FAIL(FC_ERR_ARG, "head_lse: R=%d M=%d; R must be at least 1", a->R, a->M);
    for (int i = 0; i < a->M; i++) {
        if (a->row[i] < (i ? a->row[i - 1] : 0) || a->row[i] >= a->R)
            return FC_FAIL(FC_ERR_ARG, "head_lse: row[%d]=%d of %d; rows must not decrease", i, a->row[i], a->R);
        if (a->id[i] < 0 || a->id[i] >= V)
            return FC_FAIL(FC_ERR_ARG, "head_lse: row %d: id %d; ids are 0 to %d", a->row[i], a->id[i], V - 1);
    }
    return FC_OK;
}

fc_status fc_head_lse_cpu(fc_stream s, const fc_head_lse_args *a) {
    work w = {.a = a, .lp = a->lp};
    const bool shared = fc_weight_shared(a->w);
    size_t row_bytes, rows, fixed = shared ? sizeof(float) * (size_t)a->M : 0;
    float *top, *sum; /* of all ranks */
    void *memory;
    FC_TRY(check(a));
    FC_TRY(fc_head_tiles_of(s, "head_lse", a->w, a->x, a->cap, a->precise, &w.h));
    row_bytes = w.h.rows.row_bytes + 2 * sizeof(float) * (size_t)(w.h.most + (shared ? w.h.all : 0));
    FC_TRY(fc_cpu_workspace(s, row_bytes + fixed, "head_lse", &memory));
    rows = (s->workspace_bytes - fixed) / row_bytes;
    if (rows > fc_head_chunk(a->R)) rows = fc_head_chunk(a->R);
    w.h.rows.prepared = memory;
    w.top = top = (float *)(void *)(w.h.rows.prepared + rows * w.h.rows.row_bytes);
    w.sum = sum = w.top + rows * (size_t)w.h.most;
    if (shared) {
        top = w.sum + rows * (size_t)w.h.most;
        sum = top + rows * (size_t)w.h.all;
        w.lp = sum + rows * (size_t)w.h.all;
        memset(w.lp, 0, fixed);
    }
    for (; w.h.first < a->R; w.h.first += w.h.n) {
        w.h.n = a->R - w.h.first < (int)rows ? a->R - w.h.first : (int)rows;
        fc_head_tiles_run(s, &w.h, reduce, &w);
        if (shared) {
            FC_TRY(fc_head_tiles_join(s, &w.h, w.top, top));
            FC_TRY(fc_head_tiles_join(s, &w.h, w.sum, sum));
        }
        fold_rows(&w, top, sum, w.h.all);
    }
    if (shared) FC_TRY(fc_sum_cpu(s, &(fc_sum_args){.y = w.lp, .n = (size_t)a->M}));
    for (int m = 0; m < a->M; m++) a->lp[m] = (float)((double)w.lp[m] - a->lse[a->row[m]]);
    return FC_OK;
}

size_t fc_head_lse_workspace_cpu(int R, int D, int V) {
    size_t tiles = V > 0 ? (size_t)fc_tile_count(V) : 0;
    return fc_linear_workspace_cpu(R, D) + fc_head_chunk(R) * 2 * sizeof(float) * tiles;
}

fc_cost fc_head_lse_cost(const fc_head_lse_args *a) {
    double R = a->R, V = a->w->N, D = a->w->K;
    return (fc_cost){.bytes = fc_head_readings(a->R) * (double)a->w->bytes + 4 * R * D + 8 * R + 12.0 * a->M,
                     .flops = 2 * R * V * D + (a->cap > 0.0f ? 60 : 20) * R * V};
}
