#include "kernels/head/head_tiles.h"

enum {
    GROUP_TILES = 4, /* tiles of rows whose logits of one tile of ids are held at once, 24 KB; of 16 rows, 2 */
    GROUP_ROWS = 32,
    TILE_PANELS = FC_TILE / FC_LANES,
};
_Static_assert(FC_TILE % (FC_LANES * FC_TILE_PANELS) == 0, "a tile of ids is whole pairs of panels");

typedef struct {
    const fc_head_tiles *h;
    fc_head_tile_fn see;
    void *arg;
    int row_tiles;
} work;

static int least(int a, int b) { return a < b ? a : b; }

static fc_linear_row_tile row_tile(const fc_head_tiles *h, int i) {
    return fc_linear_row_tile_of(&h->rows, h->first, 0, h->n, i);
}

static void prepare_unit(void *arg, int unit, int thread) {
    const work *w = arg;
    (void)thread;
    fc_linear_rows_prepare(&w->h->rows, row_tile(w->h, unit));
}

static int tile_logits(const fc_head_tiles *h) { return h->rows.level->tile_rows * FC_TILE; }

/* Tiles of rows times a tile of ids; y [n_tiles][tile_logits]. A pair of panels passes all rows while it is
 * in the first cache, and the next pair is on its way. */
static int multiply(const fc_head_tiles *h, const fc_linear_row_tile *rows, int n_tiles, int tile, float *y) {
    int all = h->rows.part->n_panels, panel = tile * TILE_PANELS, end = least(panel + TILE_PANELS, all), n = 0;
    for (int p = panel, panels; p < end; p += panels) {
        const unsigned char *next =
            p + 2 * FC_TILE_PANELS <= all ? fc_linear_panel(&h->rows, p + FC_TILE_PANELS) : NULL;
        int outputs = 0;
        panels = least(end - p, FC_TILE_PANELS);
        for (int i = 0; i < n_tiles; i++)
            outputs =
                fc_linear_rows_multiply(&h->rows, rows[i], p, panels, y + i * tile_logits(h) + (p - panel) * FC_LANES,
                                        FC_TILE, i == 0 ? next : NULL);
        n += outputs;
    }
    return n;
}

static void soften(const fc_head_tiles *h, float *x, int n) {
    if (h->softcap) h->softcap(x, (size_t)n, h->cap, 1.0f / h->cap);
}

/* A unit is a tile of ids for all rows of the piece, some tiles of rows at a time. */
static void tile_unit(void *arg, int tile, int thread) {
    const work *w = arg;
    const fc_head_tiles *h = w->h;
    float y[GROUP_ROWS * FC_TILE];
    int group = least(GROUP_TILES, GROUP_ROWS / h->rows.level->tile_rows);
    (void)thread;
    for (int from = 0, k; from < w->row_tiles; from += k) {
        fc_linear_row_tile rows[GROUP_TILES];
        int n;
        k = least(w->row_tiles - from, group);
        for (int i = 0; i < k; i++) rows[i] = row_tile(h, from + i);
        n = multiply(h, rows, k, tile, y);
        for (int i = 0; i < k; i++)
            for (int r = 0; r < rows[i].n; r++) {
                float *x = y + i * tile_logits(h) + r * FC_TILE;
                soften(h, x, n);
                w->see(w->arg, rows[i].at + r, tile, x, n);
            }
    }
}

fc_status fc_head_tiles_of(fc_stream s, const char *what, const fc_weight *w, const float *x, float cap, bool precise,
                           fc_head_tiles *out) {
    fc_head_tiles h = {.ops = fc_tile_ops_of(s->level), .cap = cap, .V = w->N};
    if (!(cap >= 0.0f) || !isfinite(cap))
        return FC_FAIL(FC_ERR_ARG, "%s: cap=%g; it must be positive, or 0 for none", what, (double)cap);
    FC_TRY(fc_linear_rows_of(s, what, w, x, precise, &h.rows));
    if (cap > 0.0f) h.softcap = fc_softcap_run_of(s->level);
    h.tiles = h.most = fc_tile_count(h.V);
    h.all = fc_tile_count(w->of);
    h.own = w->first / FC_TILE;
    if (fc_weight_shared(w)) {
        if (!s->comm)
            return FC_FAIL(FC_ERR_INTERNAL, "%s: rows %d+%d of %d, and the stream is of no rank", what, w->first, w->N,
                           w->of);
        h.most = fc_comm_most(h.all, s->comm->ranks);
    }
    *out = h;
    return FC_OK;
}

fc_status fc_head_tiles_join(fc_stream s, const fc_head_tiles *h, const float *own, float *all) {
    return fc_join_cpu(s, &(fc_join_args){.y = all, .x = own, .R = h->n, .N = h->all, .unit = 1});
}

void fc_head_tiles_run(fc_stream s, const fc_head_tiles *h, fc_head_tile_fn see, void *arg) {
    work w = {.h = h, .see = see, .arg = arg, .row_tiles = fc_linear_row_tiles(&h->rows, h->n)};
    if (h->rows.row_bytes) fc_pool_run(s->pool, w.row_tiles, prepare_unit, &w);
    fc_pool_run(s->pool, h->tiles, tile_unit, &w);
}

/* Prepared rows of a tile lie among each other: of a tile of one row, where they were, each is by itself. */
static fc_linear_row_tile one_row(const fc_head_tiles *h, int row) {
    return (fc_linear_row_tile){.row = h->first + row, .n = 1, .at = row};
}

void fc_head_tiles_alone(const fc_head_tiles *h, int row) {
    if (h->rows.row_bytes) fc_linear_rows_prepare(&h->rows, one_row(h, row));
}

int fc_head_tiles_again(const fc_head_tiles *h, int row, int tile, float x[FC_TILE]) {
    fc_linear_row_tile one = one_row(h, row);
    int n = multiply(h, &one, 1, tile, x);
    soften(h, x, n);
    return n;
}
