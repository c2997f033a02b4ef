#include "kernels/linear/linear_pick.h"

#include "kernels/linear/rows.h"

#include <limits.h>

enum {
    CHUNK_ROWS = 256,   /* rows that are prepared at once, as in linear */
    UNITS_A_THREAD = 8, /* so that threads end together */
};

/* Rows `first` to first + n - 1 of one segment; their prepared rows start at `at`. A chunk is a run of pieces: whole
 * segments, but for the first and the last, which may be cut. */
typedef struct {
    const fc_pick_segment *segment;
    int first, n, at;
} piece;

typedef struct {
    const fc_linear_pick_args *a;
    fc_linear_rows rows;
    piece start; /* the chunk's first piece */
    int n_rows;  /* of the chunk */
    int64_t items;
    int units;
} work;

static int least(int a, int b) { return a < b ? a : b; }

static piece piece_at(const work *w, int segment, int first, int at) {
    const fc_pick_segment *s = w->a->segments + segment;
    return (piece){s, first, least(s->n_rows - first, w->n_rows - at), at};
}

/* The chunk's first piece, from the row on that is number `done` of all segments. */
static piece piece_of_row(const work *w, int64_t done) {
    int segment = 0;
    for (; done >= w->a->segments[segment].n_rows; segment++) done -= w->a->segments[segment].n_rows;
    return piece_at(w, segment, (int)done, 0);
}

/* The piece behind p; past the chunk's end its n is 0. */
static piece next_piece(const work *w, piece p) {
    int at = p.at + p.n, segment = (int)(p.segment - w->a->segments);
    if (at == w->n_rows) return (piece){.n = 0};
    do segment++;
    while (w->a->segments[segment].n_rows == 0);
    return piece_at(w, segment, 0, at);
}

/* Items are dealt out to units in equal runs; a job sees each piece with the part of [0, items of the piece) that is
 * the unit's. Units find their place by walking the pieces: there is no table to keep. */
static void run_items(const work *w, int unit, int64_t (*items_of)(const work *w, const piece *p),
                      void (*job)(const work *w, const piece *p, int from, int to)) {
    int64_t from = w->items * unit / w->units, to = w->items * (unit + 1) / w->units, before = 0;
    for (piece p = w->start; p.n > 0 && before < to; p = next_piece(w, p)) {
        int64_t n = items_of(w, &p), lo = from - before, hi = to - before;
        if (hi > 0 && lo < n) job(w, &p, (int)(lo > 0 ? lo : 0), (int)(hi < n ? hi : n));
        before += n;
    }
}

static fc_linear_row_tile tile_of(const work *w, const piece *p, int i) {
    return fc_linear_row_tile_of(&w->rows, p->segment->row + p->first, p->at, p->n, i);
}

/* ---- x: an item is a tile of rows */

static int64_t row_tiles(const work *w, const piece *p) { return fc_linear_row_tiles(&w->rows, p->n); }

static void prepare_items(const work *w, const piece *p, int from, int to) {
    for (int i = from; i < to; i++) fc_linear_rows_prepare(&w->rows, tile_of(w, p, i));
}

static void prepare_unit(void *arg, int unit, int thread) {
    (void)thread;
    run_items(arg, unit, row_tiles, prepare_items);
}

/* ---- y: an item is an id and a tile of rows. The first id in a panel stands for all that the panel holds. */

/* The panel of an id; -1: another rank's. */
static int panel_of(const work *w, int32_t id) {
    int row = id - w->a->w->first;
    return row >= 0 && row < w->a->w->N ? row / FC_LANES : -1;
}

static int64_t id_tiles(const work *w, const piece *p) {
    return (int64_t)p->segment->n_ids * fc_linear_row_tiles(&w->rows, p->n);
}

static void pick(const work *w, const piece *p, int tile, int i, int end, const unsigned char *next) {
    const fc_pick_segment *s = p->segment;
    const int32_t *ids = w->a->ids + s->ids;
    fc_linear_row_tile t = tile_of(w, p, tile);
    float out[FC_TILE_ROWS * FC_LANES];
    int panel = panel_of(w, ids[i]), first = w->a->w->first;
    if (panel >= 0) fc_linear_rows_multiply(&w->rows, t, panel, 1, out, FC_LANES, next);
    for (int r = 0; r < t.n; r++) {
        float *y = w->a->y + (size_t)s->y + (size_t)(t.row - s->row + r) * (size_t)s->n_ids;
        for (int k = i; k < end; k++) y[k] = panel < 0 ? 0.0f : out[r * FC_LANES + (ids[k] - first) % FC_LANES];
    }
}

static void pick_items(const work *w, const piece *p, int from, int to) {
    const int32_t *ids = w->a->ids + p->segment->ids;
    int tiles = fc_linear_row_tiles(&w->rows, p->n), n_ids = p->segment->n_ids;
    for (int i = from / tiles, end; i * tiles < to; i = end) {
        int panel = panel_of(w, ids[i]), first = from - i * tiles, last = to - i * tiles;
        const unsigned char *next;
        for (end = i + 1; end < n_ids && panel_of(w, ids[end]) == panel; end++) {
        }
        if (i > 0 && panel_of(w, ids[i - 1]) == panel) continue; /* whoever has that id does this panel */
        next = end < n_ids && panel_of(w, ids[end]) >= 0 ? fc_linear_panel(&w->rows, panel_of(w, ids[end])) : NULL;
        first = first > 0 ? first : 0;
        for (int t = first; t < least(last, tiles); t++) pick(w, p, t, i, end, t == first ? next : NULL);
    }
}

static void pick_unit(void *arg, int unit, int thread) {
    (void)thread;
    run_items(arg, unit, id_tiles, pick_items);
}

/* ---- all segments */

static void run(fc_stream s, work *w, int64_t (*items_of)(const work *w, const piece *p), fc_unit_fn job) {
    int64_t most = (int64_t)fc_pool_threads(s->pool) * UNITS_A_THREAD;
    w->items = 0;
    for (piece p = w->start; p.n > 0; p = next_piece(w, p)) w->items += items_of(w, &p);
    w->units = (int)(w->items < most ? w->items : most);
    fc_pool_run(s->pool, w->units, job, w);
}

static fc_status check(const fc_linear_pick_args *a) {
    int N = a->w->of;
    if (a->S < 0 || a->R < 0) return FC_FAIL(FC_ERR_ARG, "linear_pick: R=%d S=%d", a->R, a->S);
    for (int i = 0; i < a->S; i++) {
        const fc_pick_segment *s = a->segments + i;
        if (s->row < 0 || s->n_rows < 0 || s->n_rows > a->R - s->row)
            return FC_FAIL(FC_ERR_ARG, "linear_pick: segment %d: rows %d+%d of %d", i, s->row, s->n_rows, a->R);
        if (s->n_ids < 0 || s->ids < 0 || s->y < 0 || (int64_t)s->n_ids * s->n_rows > INT_MAX)
            return FC_FAIL(FC_ERR_ARG, "linear_pick: segment %d: ids %d+%d, y %d", i, s->ids, s->n_ids, s->y);
        for (int k = 0; k < s->n_ids; k++) {
            const int32_t *id = a->ids + s->ids + k;
            if (*id < (k ? id[-1] + 1 : 0) || *id >= N)
                return FC_FAIL(FC_ERR_ARG, "linear_pick: segment %d: id %d at place %d; ids rise, from 0 to %d", i, *id,
                               k, N - 1);
        }
    }
    return FC_OK;
}

fc_status fc_linear_pick_cpu(fc_stream s, const fc_linear_pick_args *a) {
    work w = {.a = a};
    int64_t rows = 0, room = INT_MAX;
    void *memory = NULL;
    FC_TRY(check(a));
    FC_TRY(fc_linear_rows_of(s, "linear_pick", a->w, a->x, a->precise, &w.rows));
    if (w.rows.row_bytes) {
        FC_TRY(fc_cpu_workspace(s, w.rows.row_bytes, "linear_pick", &memory));
        room = CHUNK_ROWS;
        if (s->workspace_bytes / w.rows.row_bytes < CHUNK_ROWS) room = (int64_t)(s->workspace_bytes / w.rows.row_bytes);
    }
    w.rows.prepared = memory;
    for (int i = 0; i < a->S; i++) rows += a->segments[i].n_rows;
    for (int64_t done = 0; done < rows; done += w.n_rows) {
        w.n_rows = (int)(rows - done < room ? rows - done : room);
        w.start = piece_of_row(&w, done);
        if (w.rows.row_bytes) run(s, &w, row_tiles, prepare_unit);
        run(s, &w, id_tiles, pick_unit);
    }
    return FC_OK;
}

fc_cost fc_linear_pick_cost(const fc_linear_pick_args *a) {
    double K = a->w->K, panel = (double)a->w->bytes / ((a->w->N - 1) / FC_LANES + 1), panels = 0, rows = 0, y = 0,
           n = 0;
    for (int i = 0; i < a->S; i++) {
        const fc_pick_segment *s = a->segments + i;
        int held = 0;
        for (int k = 0; k < s->n_ids; k++)
            held += k == 0 || a->ids[s->ids + k] / FC_LANES != a->ids[s->ids + k - 1] / FC_LANES;
        panels += held;
        n += (double)held * s->n_rows;
        rows += s->n_rows;
        y += (double)s->n_ids * s->n_rows;
    }
    return (fc_cost){.bytes = panels * panel + 4 * (rows * K + y), .flops = 2 * K * FC_LANES * n};
}
