#include "kernels/head/head_lse.h"

#include "kernels/linear/rows.h"
#include "kernels/logprob/tile.h"
#include "kernels/softcap/softcap_levels.h"

#include <limits.h>

enum {
    CHUNK_ROWS = 256, /* rows that share one reading of W, as in linear */
    GROUP_TILES = 4,  /* tiles of rows whose logits of one tile of ids are held at once, 24 KB; of 16 rows, 2 */
    GROUP_ROWS = 32,
    FETCH_ROWS = 3, /* with fewer, fetching early only costs, as in linear */
    TILE_PANELS = FC_TILE / FC_LANES,
};
_Static_assert(FC_TILE % (FC_LANES * FC_TILE_PANELS) == 0, "a tile of ids is whole pairs of panels");

typedef struct {
    const fc_head_lse_args *a;
    fc_linear_rows rows;
    const fc_tile_ops *ops;
    fc_softcap_run softcap; /* NULL: no cap */
    int V, tiles;
    int first, n, row_tiles; /* this piece of x's rows */
    float *top, *sum;        /* [n][tiles] */
} work;

static fc_linear_row_tile row_tile(const work *w, int i) {
    return fc_linear_row_tile_of(&w->rows, w->first, 0, w->n, i);
}

static void prepare_unit(void *arg, int unit, int thread) {
    const work *w = arg;
    (void)thread;
    fc_linear_rows_prepare(&w->rows, row_tile(w, unit));
}

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

/* Logits of row's ids from .. from + n - 1: the tile's top and sum, and what was asked for, left in lp for the time
 * being. */
static void reduce(const work *w, int row, int tile, float *x, int n) {
    const fc_head_lse_args *a = w->a;
    size_t at = (size_t)(row - w->first) * (size_t)w->tiles + (size_t)tile;
    int from = tile * FC_TILE;
    if (w->softcap) w->softcap(x, (size_t)n, a->cap, 1.0f / a->cap);
    w->ops->max(x, n, 0, 1, w->top + at);
    w->ops->sum(x, n, 0, 1, 1.0f, w->top + at, w->sum + at);
    for (int m = first_of(a->row, a->M, row); m < a->M && a->row[m] == row; m++)
        if (a->id[m] >= from && a->id[m] - from < n) a->lp[m] = x[a->id[m] - from];
}

/* A unit is a tile of ids for all rows of the piece, some tiles of rows at a time: a pair of panels passes them while
 * it is in the first cache, and the next pair is on its way. */
static void tile_unit(void *arg, int tile, int thread) {
    const work *w = arg;
    int panel = tile * TILE_PANELS, end = panel + TILE_PANELS, all = w->rows.part->n_panels;
    int tile_rows = w->rows.level->tile_rows, group = GROUP_ROWS / tile_rows, logits = tile_rows * FC_TILE;
    float x[GROUP_ROWS * FC_TILE];
    (void)thread;
    if (group > GROUP_TILES) group = GROUP_TILES;
    if (end > all) end = all;
    for (int from = 0; from < w->row_tiles; from += group) {
        int to = from + group < w->row_tiles ? from + group : w->row_tiles, n = 0;
        for (int p = panel, panels; p < end; p += panels) {
            bool fetch = w->n >= FETCH_ROWS && p + 2 * FC_TILE_PANELS <= all;
            const unsigned char *next = fetch ? fc_linear_panel(&w->rows, p + FC_TILE_PANELS) : NULL;
            int outputs = 0;
            panels = end - p < FC_TILE_PANELS ? end - p : FC_TILE_PANELS;
            for (int i = from; i < to; i++)
                outputs = fc_linear_rows_multiply(&w->rows, row_tile(w, i), p, panels,
                                                  x + (i - from) * logits + (p - panel) * FC_LANES, FC_TILE,
                                                  i == from ? next : NULL);
            n += outputs;
        }
        for (int i = from; i < to; i++) {
            fc_linear_row_tile t = row_tile(w, i);
            for (int r = 0; r < t.n; r++) reduce(w, t.row + r, tile, x + (i - from) * logits + r * FC_TILE, n);
        }
    }
}

/* Folds the tiles of the piece's rows; an error names the first row that is broken. */
static fc_status fold_rows(const work *w) {
    const fc_head_lse_args *a = w->a;
    int m = first_of(a->row, a->M, w->first);
    for (int i = 0; i < w->n; i++) {
        size_t at = (size_t)i * (size_t)w->tiles;
        fc_row_lse lse;
        fc_row_state st = fc_tops_lse(w->top + at, w->sum + at, w->tiles, &lse);
        if (st)
            return FC_FAIL(FC_ERR_ARG, "head_lse: row %d: %s", w->first + i,
                           st == FC_ROW_BROKEN ? "a logit is NaN or +inf" : "every logit is -inf");
        a->lse[w->first + i] = lse.lse;
        for (; m < a->M && a->row[m] == w->first + i; m++) a->lp[m] = (float)((double)a->lp[m] - lse.lse);
    }
    return FC_OK;
}

static fc_status check(const fc_head_lse_args *a) {
    int V = fc_weight_rows(a->w);
    if (a->R < 1 || a->M < 0) return FC_FAIL(FC_ERR_ARG, "head_lse: R=%d M=%d; R must be at least 1", a->R, a->M);
    if (!(a->cap >= 0.0f) || !isfinite(a->cap))
        return FC_FAIL(FC_ERR_ARG, "head_lse: cap=%g; it must be positive, or 0 for none", (double)a->cap);
    for (int i = 0; i < a->M; i++) {
        if (a->row[i] < (i ? a->row[i - 1] : 0) || a->row[i] >= a->R)
            return FC_FAIL(FC_ERR_ARG, "head_lse: row[%d]=%d of %d; rows must not decrease", i, a->row[i], a->R);
        if (a->id[i] < 0 || a->id[i] >= V)
            return FC_FAIL(FC_ERR_ARG, "head_lse: row %d: id %d; ids are 0 to %d", a->row[i], a->id[i], V - 1);
    }
    return FC_OK;
}

fc_status fc_head_lse_cpu(fc_stream s, const fc_head_lse_args *a) {
    work w = {.a = a, .ops = fc_tile_ops_of(s->level), .V = fc_weight_rows(a->w)};
    size_t row_bytes, rows;
    void *memory;
    FC_TRY(check(a));
    FC_TRY(fc_linear_rows_of(s, "head_lse", a->w, a->x, a->precise, &w.rows));
    if (a->cap > 0.0f) w.softcap = fc_softcap_run_of(s->level);
    w.tiles = fc_tile_count(w.V);
    row_bytes = w.rows.row_bytes + 2 * sizeof(float) * (size_t)w.tiles;
    FC_TRY(fc_cpu_workspace(s, row_bytes, "head_lse", &memory));
    rows = s->workspace_bytes / row_bytes;
    if (rows > CHUNK_ROWS) rows = CHUNK_ROWS;
    if (rows > (size_t)a->R) rows = (size_t)a->R;
    w.rows.prepared = memory;
    w.top = (float *)(void *)(w.rows.prepared + rows * w.rows.row_bytes);
    w.sum = w.top + rows * (size_t)w.tiles;
    for (; w.first < a->R; w.first += w.n) {
        w.n = a->R - w.first < (int)rows ? a->R - w.first : (int)rows;
        w.row_tiles = fc_linear_row_tiles(&w.rows, w.n);
        if (w.rows.row_bytes) fc_pool_run(s->pool, w.row_tiles, prepare_unit, &w);
        fc_pool_run(s->pool, w.tiles, tile_unit, &w);
        FC_TRY(fold_rows(&w));
    }
    return FC_OK;
}

size_t fc_head_lse_workspace_cpu(int R, int D, int V) {
    size_t rows = R < CHUNK_ROWS ? (size_t)(R > 0 ? R : 0) : CHUNK_ROWS, tiles = V > 0 ? (size_t)fc_tile_count(V) : 0;
    return fc_linear_workspace_cpu(R, D) + rows * 2 * sizeof(float) * tiles;
}

fc_cost fc_head_lse_cost(const fc_head_lse_args *a) {
    double R = a->R, V = fc_weight_rows(a->w), D = fc_weight_cols(a->w), readings = (a->R - 1) / CHUNK_ROWS + 1;
    return (fc_cost){.bytes = readings * (double)fc_weight_bytes(a->w) + 4 * R * D + 8 * R + 12.0 * a->M,
                     .flops = 2 * R * V * D * (a->precise ? 2 : 1) + (a->cap > 0.0f ? 60 : 20) * R * V};
}
