#include "kernels/draw/gumbel.h"

#include "engine/base/rng.h"
#include "kernels/logprob/logprob.h"
#include "kernels/logprob/tile.h"

#include <limits.h>
#include <stdatomic.h>

static const double LN2 = 0.6931471805599453;

static double noise(uint64_t bits) { return -log(-log(fc_rng_token_uniform(bits))); }

/* log(1 - exp(a)), a <= 0 */
static double log1mexp(double a) { return a > -LN2 ? log(-expm1(a)) : log1p(-exp(a)); }

/* g given that the largest is G instead of Z: G itself for g = Z, as log1mexp(0) is -inf; -inf for g = -inf. */
static double given_max(double g, double Z, double G) {
    double v = G - g + log1mexp(g - Z);
    return G - fmax(0.0, v) - log1p(exp(-fabs(v)));
}

typedef struct {
    fc_stream s;
    const fc_gumbel_list_args *list;
    const fc_gumbel_top_args *top;
    atomic_int worst; /* smallest place of a row * 4 + state that failed: the same whoever comes first */
} work;

static void note(work *w, int row, fc_row_state st) {
    int now = row * 4 + (int)st, old = atomic_load(&w->worst);
    if (st == FC_ROW_OK) return;
    while (now < old && !atomic_compare_exchange_weak(&w->worst, &old, now)) {
    }
}

static fc_status run(work *w, const char *what, const fc_gumbel_row *rows, int n_rows, fc_unit_fn job) {
    int worst;
    atomic_init(&w->worst, INT_MAX);
    fc_pool_run(w->s->pool, n_rows, job, w);
    worst = atomic_load(&w->worst);
    if (worst == INT_MAX) return FC_OK;
    return FC_FAIL(FC_ERR_ARG, "%s: row %d: %s", what, rows[worst / 4].row,
                   worst % 4 == FC_ROW_BROKEN ? "a log-prob is NaN or +inf" : "every log-prob is -inf");
}

static fc_status check_rows(const char *what, const fc_gumbel_row *rows, int n_rows, int V) {
    if (n_rows < 0 || n_rows > INT_MAX / 4 || V < 1)
        return FC_FAIL(FC_ERR_ARG, "%s: %d rows, V=%d; V must be at least 1", what, n_rows, V);
    for (int r = 0; r < n_rows; r++)
        if (!isfinite(rows[r].lp) || !isfinite(rows[r].G))
            return FC_FAIL(FC_ERR_ARG, "%s: row %d: log-prob %g, perturbed %g", what, rows[r].row, rows[r].lp,
                           rows[r].G);
    return FC_OK;
}

/* ---- gumbel_list */

static void list_row(void *arg, int r, int thread) {
    work *w = arg;
    const fc_gumbel_list_args *a = w->list;
    const fc_gumbel_row *row = a->rows + r;
    const float *lp = a->lp + row->values;
    double *g = a->g + row->values, Z = -INFINITY;
    fc_row_state st = FC_ROW_EMPTY;
    (void)thread;
    for (int i = 0; i < row->n_ids && st != FC_ROW_BROKEN; i++) {
        g[i] = row->lp + (double)lp[i] + noise(fc_rng_token_bits(row->seed, row->prefix, a->ids[row->ids + i]));
        Z = fmax(Z, g[i]);
        if (!(lp[i] < INFINITY)) st = FC_ROW_BROKEN;
        else if (lp[i] > -INFINITY) st = FC_ROW_OK;
    }
    note(w, r, st);
    for (int i = 0; i < row->n_ids && st == FC_ROW_OK; i++) g[i] = given_max(g[i], Z, row->G);
}

fc_status fc_gumbel_list_cpu(fc_stream s, const fc_gumbel_list_args *a) {
    work w = {.s = s, .list = a};
    FC_TRY(check_rows("gumbel_list", a->rows, a->n_rows, a->V));
    for (int r = 0; r < a->n_rows; r++) {
        const fc_gumbel_row *l = a->rows + r;
        if (l->n_ids < 1 || l->ids < 0 || l->values < 0)
            return FC_FAIL(FC_ERR_ARG, "gumbel_list: row %d: ids %d+%d, values %d; a list has at least one id", l->row,
                           l->ids, l->n_ids, l->values);
        for (int i = 0; i < l->n_ids; i++) {
            const int32_t *id = a->ids + l->ids + i;
            if (*id < (i ? id[-1] + 1 : 0) || *id >= a->V)
                return FC_FAIL(FC_ERR_ARG, "gumbel_list: row %d: listed id %d at place %d; ids rise, from 0 to %d",
                               l->row, *id, i, a->V - 1);
        }
    }
    return run(&w, "gumbel_list", a->rows, a->n_rows, list_row);
}

fc_cost fc_gumbel_list_cost(const fc_gumbel_list_args *a) {
    double n = 0.0;
    for (int r = 0; r < a->n_rows; r++) n += a->rows[r].n_ids;
    return (fc_cost){.bytes = 16 * n, .flops = 200 * n}; /* the generator's rounds and six functions of 16 */
}

/* ---- gumbel_top */

/* No noise of these bits is above this: -log(u) > 1 - u, and 1 - u is at least half of its leading bit. */
static double noise_bound(uint64_t bits) {
    uint64_t rest = ((uint64_t)1 << 52) - 1 - bits; /* 1 - u = (rest + 1/2) / 2^52 */
    int zeros = rest ? __builtin_clzll(rest) - 12 : 52;
    return (zeros + 1) * LN2 + 1e-9;
}

/* The n largest g of a row in falling order, by insertion: few come to the front, and most are known by a bound. */
static void best_of_row(const fc_gumbel_top_args *a, const fc_gumbel_row *row, const float *logits, double lse,
                        int32_t *ids, double *g, float *lp) {
    int kept = 0;
    for (int i = 0; i < a->V; i++) {
        float p = (float)((double)logits[i] - lse);
        double phi = row->lp + (double)p, value;
        uint64_t bits = fc_rng_token_bits(row->seed, row->prefix, i);
        int at;
        if (kept == a->n && phi + noise_bound(bits) < g[kept - 1]) continue;
        value = phi + noise(bits);
        if (kept == a->n && value <= g[kept - 1]) continue; /* ids rise: of equals the earlier one stays */
        at = kept < a->n ? kept++ : kept - 1;
        for (; at > 0 && g[at - 1] < value; at--) {
            g[at] = g[at - 1];
            ids[at] = ids[at - 1];
            lp[at] = lp[at - 1];
        }
        g[at] = value;
        ids[at] = i;
        lp[at] = p;
    }
}

static size_t scratch_bytes(int V) { return 2 * sizeof(float) * (size_t)fc_tile_count(V); }

static void top_row(void *arg, int r, int thread) {
    work *w = arg;
    const fc_gumbel_top_args *a = w->top;
    const fc_gumbel_row *row = a->rows + r;
    const float *logits = a->logits + (size_t)row->row * (size_t)a->V;
    float *top = fc_cpu_scratch_of(w->s, thread); /* [tiles], as the sums behind it */
    size_t at = (size_t)r * (size_t)a->n;
    double *g = a->g + at, Z;
    fc_row_lse lse;
    fc_tiler tiler = {fc_tile_ops_of(w->s->level), NULL};
    fc_row_state st = fc_tiles_lse(tiler, logits, a->V, top, top + fc_tile_count(a->V), &lse);
    note(w, r, st);
    if (st) return;
    best_of_row(a, row, logits, lse.lse, a->ids + at, g, a->lp + at);
    Z = g[0];
    for (int i = 0; i < a->n; i++) g[i] = given_max(g[i], Z, row->G);
}

fc_status fc_gumbel_top_cpu(fc_stream s, const fc_gumbel_top_args *a) {
    work w = {.s = s, .top = a};
    FC_TRY(check_rows("gumbel_top", a->rows, a->n_rows, a->V));
    if (a->n < 1 || a->n > FC_TOP_LOGPROBS_MAX || a->n > a->V)
        return FC_FAIL(FC_ERR_ARG, "gumbel_top: V=%d n=%d; n is 1 to %d and at most V", a->V, a->n,
                       (int)FC_TOP_LOGPROBS_MAX);
    for (int r = 0; r < a->n_rows; r++)
        if (a->rows[r].row < 0 || a->rows[r].row >= a->R)
            return FC_FAIL(FC_ERR_ARG, "gumbel_top: row %d of %d", a->rows[r].row, a->R);
    FC_TRY(fc_cpu_scratch(s, scratch_bytes(a->V), "gumbel_top"));
    return run(&w, "gumbel_top", a->rows, a->n_rows, top_row);
}

fc_cost fc_gumbel_top_cost(const fc_gumbel_top_args *a) {
    double n =
        (double)a->n_rows * a->V; /* the generator's 100 for each id; noise for the few that a bound does not exclude */
    return (fc_cost){.bytes = 4 * n + 16.0 * a->n_rows * a->n, .flops = 120 * n};
}
