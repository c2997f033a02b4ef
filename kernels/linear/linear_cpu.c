#include "kernels/cpu/cpu.h"
#include "kernels/linear/levels.h"
#include "kernels/linear/linear_from.h"

#include <stdatomic.h>
#include <threads.h>

enum {
    CHUNK_ROWS = 256,     /* rows that are prepared at once: more would fall out of the second cache */
    PIECES_A_THREAD = 3,  /* at least, where there are tiles enough */
    MOST_TILE_UNITS = 64, /* 256 rows are fewer tiles */
    OWN_ROWS = 8,         /* a thread: so many and more stay with it, in tiles of their own; AMX: a whole tile */
    MOST_OWN = 8,         /* threads with rows of their own, each of which reads all of W; of more some share theirs */
    SPINS = 4096,         /* looks at a counter before the core is offered to others */
};

/* Consecutive parts that read x in one and the same form. */
typedef struct {
    const fc_linear_part *parts;
    int n_parts, panels;
    bool codes; /* x as codes, else as it stands */
    int zero;
    bool halves;
} pass;

/* The tiles of one tile unit: whose rows somebody prepares, and has. */
typedef struct {
    _Alignas(64) atomic_int taken;
    atomic_int prepared;
} tile_unit;

typedef struct {
    fc_stream s;
    const fc_linear_args *a;
    const fc_linear_level *level;
    fc_linear_from from;
    const pass *p;
    unsigned char *prepared_x;  /* [rows] codes, or rows of f32 that were made and have no y */
    int first, rows, tiles;     /* this chunk of rows, cut into tiles that differ by at most one row */
    int unit_tiles, tile_units; /* a piece is a pair of panels times unit_tiles tiles */
    int pairs, pieces;
    bool prepares;    /* x is rounded or made first */
    tile_unit *units; /* [tile_units] */
} work;

static size_t prepared_row_bytes(const work *w) {
    size_t K = (size_t)w->a->w->K;
    return w->p->codes ? K / FC_XGROUP * w->level->x_bytes : K * sizeof(float);
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

static void prepare_tile(work *w, int tile, int thread) {
    int at = tile_start(w, tile), rows = tile_start(w, tile + 1) - at, K = w->a->w->K;
    unsigned char *out = w->prepared_x + (size_t)at * prepared_row_bytes(w);
    float *spare = w->p->codes ? fc_cpu_scratch_of(w->s, thread) : (float *)(void *)out;
    const float *x = fc_linear_from_rows(&w->from, w->first + at, rows, spare);
    if (w->p->codes)
        w->level->prepare(&(fc_linear_prepare){.x = x,
                                               .stride = (size_t)K,
                                               .rows = rows,
                                               .K = K,
                                               .zero = w->p->zero,
                                               .halves = w->p->halves,
                                               .precise = w->a->precise,
                                               .out = out});
}

/* Tiles of tile unit i. */
static int tiles_of(const work *w, int i) {
    int first = i * w->unit_tiles, left = w->tiles - first;
    return left < w->unit_tiles ? left : w->unit_tiles;
}

static bool is_prepared(work *w, int i) {
    return atomic_load_explicit(&w->units[i].prepared, memory_order_acquire) == tiles_of(w, i);
}

/* Whoever waits has found no tile left to prepare: those are taken by threads that are at work. */
static void prepare_unit(work *w, int i, int thread) {
    tile_unit *u = &w->units[i];
    for (int t; (t = atomic_fetch_add_explicit(&u->taken, 1, memory_order_relaxed)) < tiles_of(w, i);) {
        prepare_tile(w, i * w->unit_tiles + t, thread);
        atomic_fetch_add_explicit(&u->prepared, 1, memory_order_release);
    }
    for (int looks = 0; !is_prepared(w, i); looks++)
        if (looks >= SPINS) thrd_yield();
}

static int least(int a, int b) { return a < b ? a : b; }

/* What the multiplication reads from prepared row `at` of the chunk on. */
static const void *x_of(const work *w, int at) {
    size_t K = (size_t)w->a->w->K, row = (size_t)(w->first + at) * K;
    if (w->p->codes || (fc_linear_from_makes(&w->from) && !w->from.y))
        return w->prepared_x + (size_t)at * prepared_row_bytes(w);
    return w->from.y ? w->from.y + row : w->a->x + row;
}

/* next: panels to fetch meanwhile. */
static void multiply_panels(const work *w, const fc_linear_part *part, int panel, int panels, int tile0, int tile1,
                            const unsigned char *next) {
    const fc_linear_args *a = w->a;
    int K = a->w->K, column = part->first + panel * FC_LANES;
    fc_linear_multiply m = {.panel = part->panels + (size_t)panel * part->panel_bytes,
                            .panel_bytes = part->panel_bytes,
                            .form = part->form,
                            .panels = panels,
                            .K = K,
                            .scale_cols = part->scale_cols,
                            .lanes = least(part->N - panel * FC_LANES, panels * FC_LANES),
                            .stride = (size_t)K,
                            .y_stride = (size_t)a->w->N,
                            .bias = a->bias ? a->bias + column : NULL};
    for (int i = tile0; i < tile1; i++) {
        int at = tile_start(w, i);
        size_t row = (size_t)(w->first + at);
        m.rows = tile_start(w, i + 1) - at;
        m.x = x_of(w, at);
        m.y = a->y + row * m.y_stride + column;
        m.next = i == tile0 ? next : NULL;
        w->level->multiply(&m);
    }
}

/* Where there are many rows each thread, or as many as read one cache, begins with rows of its own: those that it made
 * in the operator before. How many shares that is, or 0. */
static int own_shares(const work *w) {
    const int threads = fc_pool_threads(w->s->pool), own = w->level == &fc_linear_amx ? FC_TILE_ROWS : OWN_ROWS;
    return w->rows >= threads * own ? least(threads, MOST_OWN) : 0;
}

/* Else each begins with panels, and, of few panels, some of the tiles. */
static void cut(work *w) {
    const int threads = fc_pool_threads(w->s->pool);
    int units = own_shares(w);
    w->pairs = (w->p->panels - 1) / FC_TILE_PANELS + 1;
    if (!units) units = (threads * PIECES_A_THREAD - 1) / w->pairs + 1;
    units = least(least(units, w->tiles), MOST_TILE_UNITS);
    w->unit_tiles = (w->tiles - 1) / units + 1;
    w->tile_units = (w->tiles - 1) / w->unit_tiles + 1;
    w->pieces = w->pairs * w->tile_units;
}

/* Panel `panel` of a pass. */
static const unsigned char *panel_of(const pass *p, int panel) {
    const fc_linear_part *part = p->parts;
    for (; panel >= part->n_panels; part++) panel -= part->n_panels;
    return part->panels + (size_t)panel * part->panel_bytes;
}

static pass pass_of(const fc_weight *w, const fc_linear_part *part) {
    const fc_linear_part *end = fc_weight_cpu_of(w)->parts + fc_weight_cpu_of(w)->n_parts;
    pass p = {.parts = part};
    while (part < end && joins(&p, part)) part++;
    return p;
}

/* What this thread begins with once these rows have passed: panels of this pass again, for more rows, of the next pass,
 * or of the matrix that is multiplied next; NULL: that is not known. */
static const unsigned char *then_of(const work *w, int thread) {
    const fc_weight_cpu *own = fc_weight_cpu_of(w->a->w);
    const fc_linear_part *after = w->p->parts + w->p->n_parts;
    work next = {.s = w->s, .level = w->level, .rows = w->rows, .tiles = w->tiles};
    pass p;
    if (w->first + w->rows < w->a->T) p = *w->p;
    else if (after < own->parts + own->n_parts) p = pass_of(w->a->w, after);
    else if (w->a->then) p = pass_of(w->a->then, fc_weight_cpu_of(w->a->then)->parts);
    else return NULL;
    next.p = &p;
    cut(&next);
    return panel_of(&p, fc_pool_first(w->s->pool, next.pieces, thread) % next.pairs * FC_TILE_PANELS);
}

/* A pair of panels passes the tiles of a tile unit while it is near. */
static void multiply_piece(void *arg, int piece, int thread) {
    work *w = arg;
    const bool last = piece + 1 == fc_pool_first(w->s->pool, w->pieces, thread + 1);
    const fc_linear_part *part = w->p->parts;
    int i = piece / w->pairs, tile0 = i * w->unit_tiles, tile1 = tile0 + tiles_of(w, i), before = 0;
    int panel = piece % w->pairs * FC_TILE_PANELS, to = least(panel + FC_TILE_PANELS, w->p->panels);
    if (w->prepares && !is_prepared(w, i)) prepare_unit(w, i, thread); /* only looked at once it is: no line travels */
    for (int n; panel < to; panel += n) {
        while (panel - before >= part->n_panels) before += part++->n_panels;
        n = least(to - panel, before + part->n_panels - panel);
        multiply_panels(w, part, panel - before, n, tile0, tile1,
                        last && panel + n == to ? then_of(w, thread) : panel_of(w->p, (panel + n) % w->p->panels));
    }
}

static void run_pass(work *w) {
    tile_unit units[MOST_TILE_UNITS];
    w->prepares = w->p->codes || fc_linear_from_makes(&w->from);
    w->units = units;
    cut(w);
    for (int i = 0; i < w->tile_units; i++) {
        atomic_init(&units[i].taken, 0);
        atomic_init(&units[i].prepared, 0);
    }
    fc_pool_run_near(w->s->pool, w->pieces, multiply_piece, w);
}

/* Rows that can be prepared at once in what the stream has reserved. */
static fc_status chunk_rows(fc_stream s, const work *w, int *out) {
    size_t row = prepared_row_bytes(w), rows = CHUNK_ROWS;
    void *unused;
    bool makes = fc_linear_from_makes(&w->from) && !w->from.y;
    if (w->p->codes || makes) {
        FC_TRY(fc_cpu_workspace(s, row, "linear", &unused));
        if (s->workspace_bytes / row < rows) rows = s->workspace_bytes / row;
    }
    if (w->p->codes && makes) FC_TRY(fc_cpu_scratch(s, fc_linear_scratch_cpu(w->a->w->K), "linear"));
    *out = (int)rows;
    return FC_OK;
}

fc_status fc_linear_cpu(fc_stream s, const fc_linear_args *a) {
    const fc_linear_part *part = fc_weight_cpu_of(a->w)->parts, *end = part + fc_weight_cpu_of(a->w)->n_parts;
    work w = {.s = s, .a = a, .level = fc_linear_level_of(s->level), .prepared_x = s->workspace};
    if (a->T < 1) return FC_FAIL(FC_ERR_ARG, "linear: T=%d; it must be at least 1", a->T);
    FC_TRY(fc_linear_from_of(s->level, a, &w.from));
    while (part < end) {
        const pass p = pass_of(a->w, part);
        int rows;
        part += p.n_parts;
        w.p = &p;
        FC_TRY(chunk_rows(s, &w, &rows));
        for (w.first = 0; w.first < a->T; w.first += w.rows) {
            w.rows = a->T - w.first < rows ? a->T - w.first : rows;
            w.tiles = (w.rows - 1) / w.level->tile_rows + 1;
            if (own_shares(&w)) w.tiles = (w.tiles - 1) / own_shares(&w) * own_shares(&w) + own_shares(&w);
            run_pass(&w);
        }
        w.from.again = true;
    }
    return FC_OK;
}

size_t fc_linear_workspace_cpu(int T, int K) {
    size_t rows = T < CHUNK_ROWS ? (size_t)(T > 0 ? T : 0) : CHUNK_ROWS, k = (size_t)(K > 0 ? K : 0);
    size_t wide = sizeof(fc_linear_x_wide), f32 = FC_XGROUP * sizeof(float); /* the widest of all levels, or x itself */
    return rows * ((k + FC_XGROUP - 1) / FC_XGROUP) * (wide > f32 ? wide : f32);
}

size_t fc_linear_scratch_cpu(int K) { return FC_TILE_ROWS * (size_t)(K > 0 ? K : 0) * sizeof(float); }

fc_cost fc_linear_cost(const fc_linear_args *a) {
    double T = a->T, N = a->w->N, K = a->w->K, written = 0;
    fc_cost from = {.bytes = 4 * T * K};
    if (a->norm) {
        from = fc_rmsnorm_cost(a->norm);
        written = a->norm->y ? 0 : 4 * T * K;
    }
    if (a->glu) {
        from = fc_glu_cost(a->glu);
        written = a->glu->y ? 0 : 4 * T * K;
    }
    return (fc_cost){.bytes = (double)a->w->bytes + 4 * T * N + (a->bias ? 4 * N : 0) + from.bytes - written,
                     .flops = 2 * T * N * K + from.flops};
}
