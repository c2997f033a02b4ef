#include "engine/base/rng.h"
#include "kernels/draw/draw_row.h"
#include "kernels/draw/draw_tree.h"

#include <float.h>
#include <math.h>

/* ---- scratch */

static void *cut(unsigned char *base, size_t *used, size_t count, size_t size) {
    void *p = base ? base + *used : NULL;
    *used += (count * size + 63) & ~(size_t)63;
    return p;
}

size_t fc_draw_scratch_init(fc_draw_scratch *m, void *base, int V) {
    size_t n = (size_t)V, tiles = (size_t)fc_tile_count(V), used = 0;
    unsigned char *b = base;
    *m = (fc_draw_scratch){.run = cut(b, &used, tiles, sizeof *m->run)};
    m->digits = cut(b, &used, FC_BEST_DIGITS, sizeof *m->digits);
    m->x = cut(b, &used, n, sizeof *m->x);
    m->tile = cut(b, &used, tiles, sizeof *m->tile);
    m->top = cut(b, &used, tiles, sizeof *m->top);
    m->sum = cut(b, &used, tiles, sizeof *m->sum);
    m->id = cut(b, &used, n, sizeof *m->id);
    m->value = cut(b, &used, n, sizeof *m->value);
    m->w = cut(b, &used, n, sizeof *m->w);
    m->key = cut(b, &used, n, sizeof *m->key);
    return used;
}

size_t fc_draw_workspace_cpu(int V) {
    fc_draw_scratch m;
    return V < 1 ? 0 : fc_draw_scratch_init(&m, NULL, V);
}

/* ---- one row */

static bool has_changes(const fc_draw_row *r) {
    return r->n_bias > 0 || (r->n_seen > 0 && (r->repetition != 1.0f || r->presence != 0.0f || r->frequency != 0.0f));
}

/* The logit of an id in x, which holds a whole row (list_id NULL) or a list's values; NULL: the list does not have
 * it. */
static float *logit_of(float *x, const int32_t *list_id, int n, int32_t id) {
    int i = list_id ? fc_list_find(list_id, n, id) : id;
    return i < 0 ? NULL : x + i;
}

static void change_logits(const fc_draw_args *a, const fc_draw_row *r, const float *from, float *x) {
    const int32_t *list = r->n_ids ? a->list_id + r->ids : NULL;
    memcpy(x, from, (size_t)(list ? r->n_ids : a->V) * sizeof *x);
    for (int i = r->bias; i < r->bias + r->n_bias; i++) {
        float *l = logit_of(x, list, r->n_ids, a->bias_id[i]);
        if (l) *l += a->bias_value[i];
    }
    for (int i = r->seen; i < r->seen + r->n_seen; i++) {
        float *l = logit_of(x, list, r->n_ids, a->seen_id[i]), count = (float)a->seen_count[i];
        if (!l) continue;
        if (r->repetition != 1.0f) *l = *l > 0.0f ? *l / r->repetition : *l * r->repetition;
        *l -= r->frequency * count + (count > 0.0f ? r->presence : 0.0f);
    }
}

/* The smaller of the ids that share the largest logit. */
static int32_t greedy(const fc_draw_dist *d, const fc_draw_scratch *m) {
    int t = 0, i;
    if (!d->x) {
        for (i = 0; d->list.value[i] != d->max; i++) {
        }
        return d->list.id[i];
    }
    while (m->top[t] != d->max) t++;
    for (i = t * FC_TILE; d->x[i] != d->max; i++) {
    }
    return i;
}

double fc_draw_tiles(fc_draw_dist *d, fc_draw_scratch *m) {
    bool known;
    if (!d->x) {
        d->tile = m->tile;
        d->n_tiles = fc_list_tiles(d->tiler.ops, &d->list, d->scale, m->tile, m->top, m->sum);
    } else if (!d->summed) {
        fc_tiles_sum(d->tiler, d->x, d->V, d->scale, m->top, m->sum);
        d->summed = true;
    }
    known = fc_tops_max(m->top, d->n_tiles, &d->max);
    FC_ASSERT(known); /* a row with NaN or +inf has been refused */
    return fc_tiles_fold(m->top, m->sum, d->n_tiles, d->max, d->scale, m->run);
}

/* Tile k of what may be drawn, as 256 values; what is not in the list is -inf. Returns how many of them are meant. */
static int tile_values(const fc_draw_dist *d, int k, const float **v, float buf[FC_TILE]) {
    int from = (d->tile ? d->tile[k] : k) * FC_TILE, i;
    if (d->x) {
        *v = d->x + from;
        return d->V - from < FC_TILE ? d->V - from : FC_TILE;
    }
    for (i = 0; i < FC_TILE; i++) buf[i] = -INFINITY;
    for (i = fc_list_from(d->list.id, d->list.n, from); i < d->list.n && d->list.id[i] - from < FC_TILE; i++)
        buf[d->list.id[i] - from] = d->list.value[i];
    *v = buf;
    return FC_TILE;
}

/* The tile that the last draw fell into: on a sure model the next one falls there too. */
typedef struct {
    int k; /* -1: none yet */
    fc_draw_tree tree;
} last_tile;

static int32_t invert(const fc_draw_dist *d, const fc_draw_scratch *m, double u, last_tile *last) {
    double target = u * m->run[d->n_tiles - 1];
    int k = fc_draw_find_tile(m->run, d->n_tiles, target);
    if (last->k != k) {
        float buf[FC_TILE];
        const float *v;
        int n = tile_values(d, k, &v, buf);
        fc_draw_tree_build(&last->tree, d->tiler.ops, v, n, m->top[k], d->max, d->scale);
        last->k = k;
    }
    return (int32_t)((d->tile ? d->tile[k] : k) * FC_TILE +
                     fc_draw_tree_find(&last->tree, fc_draw_left(m->run, k, target)));
}

/* The row as it came: sets d's logits, m's tiles at scale 1 and lse. */
static fc_row_state read_row(const fc_draw_args *a, fc_draw_dist *d, fc_draw_scratch *m, fc_row_lse *lse) {
    const fc_draw_row *r = d->r;
    fc_row_state st;
    if (r->n_ids) {
        d->list = (fc_id_list){a->list_id + r->ids, a->list_value + r->values, r->n_ids};
        st = fc_list_lse(d->tiler.ops, &d->list, m->tile, m->top, m->sum, &d->n_tiles, lse);
    } else {
        d->x = a->logits + (size_t)r->row * (size_t)a->V;
        d->n_tiles = fc_tile_count(a->V);
        st = fc_tiles_lse(d->tiler, d->x, a->V, m->top, m->sum, lse);
    }
    d->max = lse->max;
    return st;
}

/* Bias and penalties. */
static fc_row_state change_row(const fc_draw_args *a, fc_draw_dist *d, fc_draw_scratch *m) {
    bool sound;
    change_logits(a, d->r, d->x ? d->x : d->list.value, m->x);
    if (d->x) {
        d->x = m->x;
        sound = fc_tiles_max(d->tiler, m->x, a->V, m->top, &d->max);
    } else {
        d->list.value = m->x;
        sound = fc_tops_max(m->top, fc_list_tiles(d->tiler.ops, &d->list, 1.0f, m->tile, m->top, m->sum), &d->max);
    }
    if (!sound) return FC_ROW_CHANGED_BROKEN;
    return d->max == -INFINITY ? FC_ROW_CHANGED_EMPTY : FC_ROW_OK;
}

/* A row that is not FC_ROW_OK says so in its members' places. */
static void refuse_row(const fc_draw_args *a, const fc_draw_row *r, fc_row_state st) {
    for (int i = r->member; i < r->member + r->n_members; i++) {
        a->token[i] = -(int32_t)st;
        a->logprob[i] = NAN;
    }
}

static void draw_row(const fc_draw_args *a, const fc_draw_row *r, fc_tiler tiler, fc_draw_scratch *m) {
    fc_draw_dist d = {.tiler = tiler, .r = r, .V = a->V};
    fc_row_lse lse;
    fc_row_state st = read_row(a, &d, m, &lse);
    const float *logits = d.x ? d.x : d.list.value; /* untouched */
    bool changed = has_changes(r), filtered = r->top_k || r->typical_p < 1.0f || r->top_p < 1.0f || r->min_p > 0.0f;
    last_tile last = {.k = -1};
    int32_t id = -1;
    if (!st && changed) st = change_row(a, &d, m);
    if (st) {
        refuse_row(a, r, st);
        return;
    }
    if (r->temperature == 0.0f) {
        id = greedy(&d, m);
    } else {
        d.scale = fc_draw_scale(r->temperature);
        d.summed = !changed && d.scale == 1.0f;
        if (filtered) fc_draw_filter(&d, m);
        (void)fc_draw_tiles(&d, m);
    }
    for (int i = r->member; i < r->member + r->n_members; i++) {
        const fc_draw_member *k = a->members + i;
        if (r->temperature != 0.0f)
            id = invert(&d, m, fc_rng_uniform(k->seed, k->candidate, k->attempt, k->position), &last);
        a->token[i] = id;
        a->logprob[i] =
            (float)((double)logits[r->n_ids ? fc_list_find(a->list_id + r->ids, r->n_ids, id) : id] - lse.lse);
    }
}

/* ---- all rows */

typedef struct {
    fc_stream s;
    const fc_draw_args *a;
} work;

static void run_row(void *arg, int unit, int thread) {
    const work *w = arg;
    fc_draw_scratch m;
    fc_tiler tiler = {fc_tile_ops_of(w->s->level), NULL};
    fc_draw_scratch_init(&m, fc_cpu_scratch_of(w->s, thread), w->a->V);
    draw_row(w->a, w->a->rows + unit, tiler, &m);
}

static fc_status check_ids(const char *what, int row, const int32_t *id, int from, int n, int V) {
    for (int i = from; i < from + n; i++)
        if (id[i] < 0 || id[i] >= V)
            return FC_FAIL(FC_ERR_ARG, "draw: row %d: %s id %d; ids are 0 to %d", row, what, id[i], V - 1);
    return FC_OK;
}

static fc_status check_list(const fc_draw_args *a, const fc_draw_row *r) {
    const int32_t *id = a->list_id + r->ids;
    for (int i = 0; i < r->n_ids; i++)
        if (id[i] < (i ? id[i - 1] + 1 : 0) || id[i] >= a->V)
            return FC_FAIL(FC_ERR_ARG, "draw: row %d: listed id %d at place %d; ids rise, from 0 to %d", r->row, id[i],
                           i, a->V - 1);
    return FC_OK;
}

static bool within(float v, float lo, float hi) { return v >= lo && v <= hi; } /* NaN is not */

static fc_status check_row(const fc_draw_args *a, const fc_draw_row *r) {
    if (r->n_ids < 0) return FC_FAIL(FC_ERR_ARG, "draw: row %d: a list of %d ids", r->row, r->n_ids);
    if (r->n_ids == 0 && (r->row < 0 || r->row >= a->R)) return FC_FAIL(FC_ERR_ARG, "draw: row %d of %d", r->row, a->R);
    if (r->member < 0 || r->n_members < 0 || r->n_members > a->M - r->member)
        return FC_FAIL(FC_ERR_ARG, "draw: row %d: members %d+%d of %d", r->row, r->member, r->n_members, a->M);
    if (!within(r->temperature, 0.0f, FLT_MAX) || !within(r->top_p, 0.0f, 1.0f) || !within(r->typical_p, 0.0f, 1.0f) ||
        !within(r->min_p, 0.0f, 1.0f) || r->top_k < 0)
        return FC_FAIL(FC_ERR_ARG, "draw: row %d: temperature %g, top-k %d, top-p %g, min-p %g, typical-p %g", r->row,
                       (double)r->temperature, r->top_k, (double)r->top_p, (double)r->min_p, (double)r->typical_p);
    if (!within(r->repetition, FLT_MIN, FLT_MAX) || !isfinite(r->presence) || !isfinite(r->frequency))
        return FC_FAIL(FC_ERR_ARG, "draw: row %d: repetition %g, presence %g, frequency %g", r->row,
                       (double)r->repetition, (double)r->presence, (double)r->frequency);
    FC_TRY(check_list(a, r));
    FC_TRY(check_ids("bias", r->row, a->bias_id, r->bias, r->n_bias, a->V));
    return check_ids("seen", r->row, a->seen_id, r->seen, r->n_seen, a->V);
}

fc_status fc_draw_cpu(fc_stream s, const fc_draw_args *a) {
    work w = {.s = s, .a = a};
    if (a->V < 1) return FC_FAIL(FC_ERR_ARG, "draw: V=%d; it must be at least 1", a->V);
    if (a->n_rows < 0) return FC_FAIL(FC_ERR_ARG, "draw: %d rows", a->n_rows);
    for (int i = 0; i < a->n_rows; i++) FC_TRY(check_row(a, a->rows + i));
    FC_TRY(fc_cpu_scratch(s, fc_draw_workspace_cpu(a->V), "draw"));
    if (a->n_rows >= fc_pool_threads(s->pool)) {
        fc_pool_run(s->pool, a->n_rows, run_row, &w);
    } else { /* few rows: the threads share the tiles of each whole one */
        fc_draw_scratch m;
        fc_draw_scratch_init(&m, fc_cpu_scratch_of(s, 0), a->V);
        for (int i = 0; i < a->n_rows; i++) draw_row(a, a->rows + i, (fc_tiler){fc_tile_ops_of(s->level), s->pool}, &m);
    }
    return FC_OK;
}

fc_cost fc_draw_cost(const fc_draw_args *a) {
    double whole = 0.0, listed = 0.0;
    for (int i = 0; i < a->n_rows; i++) {
        if (a->rows[i].n_ids) listed += a->rows[i].n_ids;
        else whole += a->V;
    }
    return (fc_cost){.bytes = 4 * whole + 8 * listed + 8.0 * a->M, /* an exponential counts as 16 */
                     .flops = 20 * (whole + listed) + 20.0 * FC_TILE * a->M};
}
