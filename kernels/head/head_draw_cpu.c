#include "kernels/head/head_draw.h"

#include "engine/base/rng.h"
#include "kernels/draw/draw_tree.h"
#include "kernels/head/head_tiles.h"

#include <float.h>
#include <string.h>

/* What is known of a row when its tiles have been folded. */
typedef struct {
    double lse;
    float max;
    fc_row_state state;
} row_sum;

typedef struct {
    const fc_head_draw_args *a;
    fc_head_tiles h;
    double *run;               /* [h.n][h.all] running totals at the row's temperature */
    row_sum *row;              /* [h.n] */
    float *top, *sum1, *sum_t; /* [h.n][h.all] sums at temperature 1, and at the row's where that is another */
    float *own[3];  /* where ranks share the vocabulary: these of its own tiles, [h.n][h.tiles]; else the same */
    float *share;   /* [2M] or NULL: tokens and log-probs of its own tiles, zero of other ranks' */
    int32_t *drawn; /* [h.all] first of the members whose number fell into the tile, -1: none */
} work;

static const fc_head_draw_row *row_of(const work *w, int row) { return w->a->rows + w->h.first + row; }

static int end_of(const work *w, int row) { return row_of(w, row)->member + row_of(w, row)->n_members; }

static bool greedy(const fc_head_draw_row *r) { return r->temperature == 0.0f; }

static bool tempered(const fc_head_draw_row *r) { return !greedy(r) && fc_draw_scale(r->temperature) != 1.0f; }

/* Where the row's number of a tile, counted among all ranks', stands in run, top and the sums. */
static size_t at_tile(const work *w, int row, int tile) { return (size_t)row * (size_t)w->h.all + (size_t)tile; }

static double uniform(const fc_draw_member *k) {
    return fc_rng_uniform(k->seed, k->candidate, k->attempt, k->position);
}

static void reduce(void *arg, int row, int tile, const float *x, int n) {
    const work *w = arg;
    const fc_head_draw_row *r = row_of(w, row);
    size_t at = (size_t)row * (size_t)w->h.tiles + (size_t)tile;
    w->h.ops->max(x, n, 0, 1, w->own[0] + at);
    w->h.ops->sum(x, n, 0, 1, 1.0f, w->own[0] + at, w->own[1] + at);
    if (tempered(r)) w->h.ops->sum(x, n, 0, 1, fc_draw_scale(r->temperature), w->own[0] + at, w->own[2] + at);
}

/* The row's tiles folded; each member's tile, left in token for the time being. */
static void fold_row(void *arg, int row, int thread) {
    const work *w = arg;
    const fc_head_draw_row *r = row_of(w, row);
    size_t at = at_tile(w, row, 0);
    const float *top = w->top + at, *sum = (tempered(r) ? w->sum_t : w->sum1) + at;
    double *run = w->run + at, total;
    int tiles = w->h.all, best = 0;
    fc_row_lse lse;
    fc_row_state state = fc_tops_lse(top, w->sum1 + at, tiles, &lse);
    (void)thread;
    w->row[row] = (row_sum){.lse = lse.lse, .max = lse.max, .state = state};
    if (state) {
        for (int m = r->member; m < end_of(w, row); m++) {
            w->a->token[m] = -(int32_t)state;
            w->a->logprob[m] = NAN;
        }
        return;
    }
    if (greedy(r)) {
        while (top[best] != lse.max) best++;
        for (int m = r->member; m < end_of(w, row); m++) w->a->token[m] = best;
    } else {
        total = fc_tiles_fold(top, sum, tiles, lse.max, fc_draw_scale(r->temperature), run);
        for (int m = r->member; m < end_of(w, row); m++)
            w->a->token[m] = fc_draw_find_tile(run, tiles, uniform(w->a->members + m) * total);
    }
    fc_head_tiles_alone(&w->h, row);
}

/* Members by tile: of those of a tile, rising, token leads to the next one. */
static void list_members(const work *w) {
    int32_t *token = w->a->token;
    for (int t = 0; t < w->h.all; t++) w->drawn[t] = -1;
    for (int i = w->h.n; i-- > 0;)
        for (int m = end_of(w, i); m-- > row_of(w, i)->member && !w->row[i].state;) {
            int tile = token[m];
            token[m] = w->drawn[tile];
            w->drawn[tile] = m;
        }
}

/* A tile of one row, computed again. */
typedef struct {
    float x[FC_TILE];
    fc_draw_tree tree; /* of a greedy row: nothing */
} again;

static void compute_again(const work *w, int row, int tile, again *g) {
    const fc_head_draw_row *r = row_of(w, row);
    int n = fc_head_tiles_again(&w->h, row, tile - w->h.own, g->x);
    if (!greedy(r))
        fc_draw_tree_build(&g->tree, w->h.ops, g->x, n, w->top[at_tile(w, row, tile)], w->row[row].max,
                           fc_draw_scale(r->temperature));
}

/* The member's place in the tile. */
static int place_of(const work *w, int row, int tile, const again *g, int m) {
    const double *run = w->run + at_tile(w, row, 0);
    int i = 0;
    if (!greedy(row_of(w, row)))
        return fc_draw_tree_find(&g->tree, fc_draw_left(run, tile, uniform(w->a->members + m) * run[w->h.all - 1]));
    while (g->x[i] != w->row[row].max) {
        i++;
        FC_ASSERT(i < FC_TILE); /* the tile has the bits that it had */
    }
    return i;
}

/* All that fell into one of its own tiles: it passes their rows while it is near. */
static void draw_tile(void *arg, int own, int thread) {
    const work *w = arg;
    int tile = w->h.own + own;
    again g;
    (void)thread;
    for (int m = w->drawn[tile], next, row = -1, end = 0; m >= 0; m = next) {
        int i;
        next = w->a->token[m];
        if (m >= end) {
            do end = end_of(w, ++row);
            while (m >= end);
            compute_again(w, row, tile, &g);
        }
        i = place_of(w, row, tile, &g, m);
        if (w->share) {
            w->share[m] = (float)(tile * FC_TILE + i);
            w->share[w->a->M + m] = (float)((double)g.x[i] - w->row[row].lse);
            continue;
        }
        w->a->token[m] = tile * FC_TILE + i;
        w->a->logprob[m] = (float)((double)g.x[i] - w->row[row].lse);
    }
}

/* Ranks share the vocabulary: what this one has of the tiles becomes all of them. */
static fc_status join(fc_stream s, const work *w) {
    FC_TRY(fc_head_tiles_join(s, &w->h, w->own[0], w->top));
    FC_TRY(fc_head_tiles_join(s, &w->h, w->own[1], w->sum1));
    return fc_head_tiles_join(s, &w->h, w->own[2], w->sum_t);
}

/* What ranks have drawn, each in its own tiles, becomes the tokens of the piece's rows. */
static fc_status take(fc_stream s, const work *w) {
    FC_TRY(fc_sum_cpu(s, &(fc_sum_args){.y = w->share, .n = 2 * (size_t)w->a->M}));
    for (int i = 0; i < w->h.n; i++)
        for (int m = row_of(w, i)->member; m < end_of(w, i) && !w->row[i].state; m++) {
            w->a->token[m] = (int32_t)w->share[m];
            w->a->logprob[m] = w->share[w->a->M + m];
        }
    return FC_OK;
}

static fc_status check(const fc_head_draw_args *a) {
    if (a->R < 1 || a->M < 0) return FC_FAIL(FC_ERR_ARG, "head_draw: R=%d M=%d; R must be at least 1", a->R, a->M);
    for (int i = 0, from = 0; i < a->R; i++) {
        const fc_head_draw_row *r = a->rows + i;
        if (r->member < from || r->n_members < 0 || r->n_members > a->M - r->member)
            return FC_FAIL(FC_ERR_ARG, "head_draw: row %d: members %d+%d of %d; %d have gone before", i, r->member,
                           r->n_members, a->M, from);
        if (!(r->temperature >= 0.0f && r->temperature <= FLT_MAX))
            return FC_FAIL(FC_ERR_ARG, "head_draw: row %d: temperature %g", i, (double)r->temperature);
        from = r->member + r->n_members;
    }
    return FC_OK;
}

static size_t sums_bytes(size_t tiles) { return tiles * (sizeof(double) + 3 * sizeof(float)) + sizeof(row_sum); }
static size_t own_bytes(const work *w) { return w->share ? (size_t)w->h.most * 3 * sizeof(float) : 0; } /* a row */
/* 63: prepared rows begin at 64 */
static size_t fixed_bytes(size_t tiles) { return tiles * sizeof(int32_t) + 63; }
static size_t share_bytes(const work *w) { return w->share ? 2 * sizeof(float) * (size_t)w->a->M : 0; }

/* Cuts the workspace for the rows of the largest piece, and returns how many they are. */
static int cut(work *w, unsigned char *memory, size_t bytes) {
    size_t tiles = (size_t)w->h.all, row = w->h.rows.row_bytes + sums_bytes(tiles) + own_bytes(w);
    size_t rows = (bytes - fixed_bytes(tiles) - share_bytes(w)) / row, used;
    if (rows > fc_head_chunk(w->a->R)) rows = fc_head_chunk(w->a->R);
    used = rows * (sums_bytes(tiles) + own_bytes(w)) + tiles * sizeof(int32_t) + share_bytes(w);
    w->run = (double *)(void *)memory;
    w->row = (row_sum *)(void *)(w->run + rows * tiles);
    w->top = (float *)(void *)(w->row + rows);
    w->sum1 = w->top + rows * tiles;
    w->sum_t = w->sum1 + rows * tiles;
    w->own[0] = w->top;
    w->own[1] = w->sum1;
    w->own[2] = w->sum_t;
    w->drawn = (int32_t *)(void *)(w->sum_t + rows * tiles);
    if (w->share) {
        for (int k = 0; k < 3; k++) w->own[k] = w->sum_t + rows * (tiles + (size_t)k * (size_t)w->h.most);
        w->share = w->own[2] + rows * (size_t)w->h.most;
        memset(w->share, 0, share_bytes(w));
        w->drawn = (int32_t *)(void *)(w->share + 2 * (size_t)w->a->M);
    }
    w->h.rows.prepared = memory + ((used + 63) & ~(size_t)63);
    return (int)rows;
}

fc_status fc_head_draw_cpu(fc_stream s, const fc_head_draw_args *a) {
    work w = {.a = a};
    float to_be;
    void *memory;
    int rows;
    FC_TRY(check(a));
    FC_TRY(fc_head_tiles_of(s, "head_draw", a->w, a->x, a->cap, a->precise, &w.h));
    if (fc_weight_shared(a->w)) w.share = &to_be; /* until cut */
    FC_TRY(fc_cpu_workspace(s,
                            fixed_bytes((size_t)w.h.all) + share_bytes(&w) + w.h.rows.row_bytes +
                                sums_bytes((size_t)w.h.all) + own_bytes(&w),
                            "head_draw", &memory));
    rows = cut(&w, memory, s->workspace_bytes);
    for (; w.h.first < a->R; w.h.first += w.h.n) {
        w.h.n = a->R - w.h.first < rows ? a->R - w.h.first : rows;
        fc_head_tiles_run(s, &w.h, reduce, &w);
        if (w.share) FC_TRY(join(s, &w));
        fc_pool_run(s->pool, w.h.n, fold_row, &w);
        list_members(&w);
        fc_pool_run(s->pool, w.h.tiles, draw_tile, &w);
        if (w.share) FC_TRY(take(s, &w));
    }
    return FC_OK;
}

size_t fc_head_draw_workspace_cpu(int R, int D, int V) {
    size_t tiles = V > 0 ? (size_t)fc_tile_count(V) : 0;
    return fc_linear_workspace_cpu(R, D) + fc_head_chunk(R) * sums_bytes(tiles) + fixed_bytes(tiles);
}

fc_cost fc_head_draw_cost(const fc_head_draw_args *a) {
    double R = a->R, V = a->w->N, D = a->w->K, sums = 0.0, more = (double)a->M * FC_TILE;
    for (int i = 0; i < a->R; i++) sums += (a->cap > 0.0f ? 60 : 20) + (tempered(a->rows + i) ? 16 : 0);
    return (fc_cost){.bytes = (fc_head_readings(a->R) + (more < V ? more / V : 1)) * (double)a->w->bytes + 4 * R * D +
                              (double)(sizeof(fc_draw_member) + 8) * a->M,
                     .flops = 2 * (R * V + more) * D + sums * V + 20 * more};
}
