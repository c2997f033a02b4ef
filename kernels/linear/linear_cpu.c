#include "kernels/cpu/cpu.h"
#include "kernels/linear/levels.h"

#include <stdatomic.h>
#include <threads.h>

enum {
    CHUNK_ROWS = 256,   /* rows that are prepared at once: more would fall out of the second cache */
    UNITS_A_THREAD = 8, /* so that threads end together */
    UNIT_PANELS = 16,
    FETCH_ROWS = 3, /* with fewer, memory is busy anyhow and fetching early only costs */
    SPINS = 4096,   /* looks at a counter before the core is offered to others */
};

/* Consecutive parts that read x in one and the same form. */
typedef struct {
    const fc_linear_part *parts;
    int n_parts, panels;
    bool codes; /* x as codes, else as it stands */
    int zero;
    bool halves;
} pass;

typedef struct {
    const fc_linear_args *a;
    const fc_linear_level *level;
    const pass *p;
    unsigned char *prepared_x;
    int first, rows, tiles; /* this chunk of rows, cut into tiles that differ by at most one row */
    int unit_panels, unit_tiles, tile_units;
    int to_prepare; /* units 0 to this prepare a tile each, the others multiply: one start of the pool serves both */
    atomic_int prepared;
} work;

static size_t prepared_row_bytes(const work *w) {
    return (size_t)w->a->w->K / FC_XGROUP * w->level->x_bytes[w->a->precise];
}

static bool joins(pass *p, const fc_linear_part *part) {
    bool codes = !fc_form_is_float(part->form), halves = fc_form_group(part->form) == 16;
    bool fixed = codes && !fc_form_has_min(part->form);
    if (p->n_parts == 0) p->codes = codes;
    if (p->codes != codes) return false;
    if (fixed && p->zero && (p->zero != part->zero || p->halves != halves)) return false;
    if (fixed) {
        p->zero = part->zero;
        p->halves = halves;
    }
    p->n_parts++;
    p->panels += part->n_panels;
    return true;
}

static int tile_start(const work *w, int i) {
    int base = w->rows / w->tiles, extra = w->rows % w->tiles;
    return i * base + (i < extra ? i : extra);
}

static void prepare_tile(work *w, int tile) {
    int at = tile_start(w, tile), K = w->a->w->K;
    w->level->prepare(&(fc_linear_prepare){.x = w->a->x + (size_t)(w->first + at) * (size_t)K,
                                           .stride = (size_t)K,
                                           .rows = tile_start(w, tile + 1) - at,
                                           .K = K,
                                           .zero = w->p->zero,
                                           .halves = w->p->halves,
                                           .precise = w->a->precise,
                                           .out = w->prepared_x + (size_t)at * prepared_row_bytes(w)});
    atomic_fetch_add_explicit(&w->prepared, 1, memory_order_release);
}

/* Units are handed out in order, so what is waited for has been taken by threads that are at work on it. */
static void await_prepared(work *w) {
    for (int i = 0; atomic_load_explicit(&w->prepared, memory_order_acquire) < w->to_prepare; i++)
        if (i >= SPINS) thrd_yield();
}

static int least(int a, int b) { return a < b ? a : b; }

static void multiply_panels(const work *w, const fc_linear_part *part, int panel, int panels, int tile0, int tile1) {
    const fc_linear_args *a = w->a;
    int K = a->w->K, column = part->first + panel * FC_LANES;
    fc_linear_multiply m = {.panel = part->panels + (size_t)panel * part->panel_bytes,
                            .panel_bytes = part->panel_bytes,
                            .form = part->form,
                            .panels = panels,
                            .K = K,
                            .precise = a->precise && w->p->codes,
                            .lanes = least(part->N - panel * FC_LANES, panels * FC_LANES),
                            .stride = (size_t)K,
                            .y_stride = (size_t)a->w->N,
                            .bias = a->bias ? a->bias + column : NULL};
    for (int i = tile0; i < tile1; i++) {
        int at = tile_start(w, i);
        size_t row = (size_t)(w->first + at);
        m.rows = tile_start(w, i + 1) - at;
        m.x = w->p->codes ? (const void *)(w->prepared_x + (size_t)at * prepared_row_bytes(w)) : a->x + row * (size_t)K;
        m.y = a->y + row * m.y_stride + column;
        m.next = i == tile0 && w->rows >= FETCH_ROWS && panel + 2 * panels <= part->n_panels
                     ? m.panel + (size_t)panels * m.panel_bytes
                     : NULL;
        w->level->multiply(&m);
    }
}

/* A unit is some panels times some tiles; a pair of panels passes all of them while it is near. */
static void multiply_unit(const work *w, int unit) {
    const fc_linear_part *part = w->p->parts;
    int tile0 = unit % w->tile_units * w->unit_tiles, panel = unit / w->tile_units * w->unit_panels;
    int tile1 = least(tile0 + w->unit_tiles, w->tiles), end = least(panel + w->unit_panels, w->p->panels), before = 0;
    for (int n; panel < end; panel += n) {
        while (panel - before >= part->n_panels) before += part++->n_panels;
        n = least(FC_TILE_PANELS, least(end - panel, before + part->n_panels - panel));
        multiply_panels(w, part, panel - before, n, tile0, tile1);
    }
}

static void run_unit(void *arg, int unit, int thread) {
    work *w = arg;
    (void)thread;
    if (unit < w->to_prepare) {
        prepare_tile(w, unit);
    } else {
        await_prepared(w);
        multiply_unit(w, unit - w->to_prepare);
    }
}

static void run_pass(fc_stream s, work *w) {
    int wanted = fc_pool_threads(s->pool) * UNITS_A_THREAD, panel_units;
    w->to_prepare = w->p->codes ? w->tiles : 0;
    atomic_init(&w->prepared, 0);
    w->unit_panels = least(w->p->panels / wanted, UNIT_PANELS) / FC_TILE_PANELS * FC_TILE_PANELS;
    if (w->unit_panels < FC_TILE_PANELS) w->unit_panels = FC_TILE_PANELS;
    panel_units = (w->p->panels - 1) / w->unit_panels + 1;
    w->tile_units = (wanted - 1) / panel_units + 1; /* few panels and many threads: tiles are shared out too */
    if (w->tile_units > w->tiles) w->tile_units = w->tiles;
    w->unit_tiles = (w->tiles - 1) / w->tile_units + 1;
    w->tile_units = (w->tiles - 1) / w->unit_tiles + 1;
    fc_pool_run(s->pool, w->to_prepare + panel_units * w->tile_units, run_unit, w);
}

/* Rows that can be prepared at once in what the stream has reserved. */
static fc_status chunk_rows(fc_stream s, const work *w, int *out) {
    size_t row = prepared_row_bytes(w), rows = CHUNK_ROWS;
    void *unused;
    if (w->p->codes) {
        FC_TRY(fc_cpu_workspace(s, row, "linear", &unused));
        if (s->workspace_bytes / row < rows) rows = s->workspace_bytes / row;
    }
    *out = (int)rows;
    return FC_OK;
}

fc_status fc_linear_cpu(fc_stream s, const fc_linear_args *a) {
    const fc_linear_part *part = a->w->parts, *end = part + a->w->n_parts;
    work w = {.a = a, .level = fc_linear_level_of(s->level), .prepared_x = s->workspace};
    if (a->T < 1) return FC_FAIL(FC_ERR_ARG, "linear: T=%d; it must be at least 1", a->T);
    while (part < end) {
        pass p = {.parts = part};
        int rows;
        while (part < end && joins(&p, part)) part++;
        w.p = &p;
        FC_TRY(chunk_rows(s, &w, &rows));
        for (w.first = 0; w.first < a->T; w.first += w.rows) {
            w.rows = a->T - w.first < rows ? a->T - w.first : rows;
            w.tiles = (w.rows - 1) / w.level->tile_rows + 1;
            run_pass(s, &w);
        }
    }
    return FC_OK;
}

size_t fc_linear_workspace_cpu(int T, int K) {
    size_t rows = T < CHUNK_ROWS ? (size_t)(T > 0 ? T : 0) : CHUNK_ROWS, k = (size_t)(K > 0 ? K : 0);
    return rows * ((k + FC_XGROUP - 1) / FC_XGROUP) * sizeof(fc_linear_x_wide); /* the widest of all levels */
}

fc_cost fc_linear_cost(const fc_linear_args *a) {
    double T = a->T, N = a->w->N, K = a->w->K;
    return (fc_cost){.bytes = (double)a->w->bytes + 4 * T * (K + N) + (a->bias ? 4 * N : 0), .flops = 2 * T * N * K};
}
