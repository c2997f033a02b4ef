#include "kernels/logprob/logprob.h"

#include "kernels/logprob/best.h"
#include "kernels/logprob/tile.h"

#include <math.h>

/* A thread's scratch; kernels/draw reserves more than this for the same V. */
typedef struct {
    double *digits;   /* [FC_BEST_DIGITS] */
    float *top, *sum; /* [tiles] */
    int32_t *id;      /* [V] these three for top_logprobs alone */
    float *value;
    uint32_t *key;
} room;

static size_t lines(size_t n) { return (n + 15) & ~(size_t)15; } /* of 16 numbers, 64 bytes */

static size_t room_bytes(int V, bool lists) {
    size_t fixed = FC_BEST_DIGITS * sizeof(double) + 2 * lines((size_t)fc_tile_count(V)) * sizeof(float);
    return fixed + (lists ? 3 * lines((size_t)V) * sizeof(float) : 0);
}

static room room_of(fc_stream s, int thread, int V) {
    size_t tiles = lines((size_t)fc_tile_count(V)), n = lines((size_t)V);
    room m = {.digits = fc_cpu_scratch_of(s, thread)};
    m.top = (float *)(m.digits + FC_BEST_DIGITS);
    m.sum = m.top + tiles;
    m.id = (int32_t *)(m.sum + tiles);
    m.value = (float *)(m.id + n);
    m.key = (uint32_t *)(m.value + n);
    return m;
}

typedef struct {
    fc_stream s;
    const fc_logprob_args *lp;
    const fc_top_logprobs_args *top;
    fc_pool *inner; /* for few rows: the threads share a row's tiles */
} work;

static fc_row_state row_lse(const work *w, const float *logits, int V, int row, room *m, fc_row_lse *out) {
    fc_tiler tiler = {fc_tile_ops_of(w->s->level), w->inner};
    return fc_tiles_lse(tiler, logits + (size_t)row * (size_t)V, V, m->top, m->sum, out);
}

static void run(work *w, int rows, fc_unit_fn job) {
    if (rows >= fc_pool_threads(w->s->pool)) {
        fc_pool_run(w->s->pool, rows, job, w);
    } else {
        w->inner = w->s->pool;
        for (int r = 0; r < rows; r++) job(w, r, 0);
    }
}

/* ---- logprob */

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

static void logprob_row(void *arg, int row, int thread) {
    const work *w = arg;
    const fc_logprob_args *a = w->lp;
    const float *logits = a->logits + (size_t)row * (size_t)a->V;
    int i = first_of(a->row, a->M, row);
    fc_row_lse lse;
    room m = room_of(w->s, thread, a->V);
    if (i == a->M || a->row[i] != row) return;
    (void)row_lse(w, a->logits, a->V, row, &m, &lse);
    for (; i < a->M && a->row[i] == row; i++)
        a->lp[i] = a->id[i] < 0 ? NAN : (float)((double)logits[a->id[i]] - lse.lse);
}

fc_status fc_logprob_cpu(fc_stream s, const fc_logprob_args *a) {
    work w = {.s = s, .lp = a};
    if (a->R < 1 || a->V < 1 || a->M < 0)
        return FC_FAIL(FC_ERR_ARG, "logprob: R=%d V=%d M=%d; R and V must be at least 1", a->R, a->V, a->M);
    for (int i = 0; i < a->M; i++) {
        if (a->row[i] < (i ? a->row[i - 1] : 0) || a->row[i] >= a->R)
            return FC_FAIL(FC_ERR_ARG, "logprob: row[%d]=%d of %d; rows must not decrease", i, a->row[i], a->R);
        if (a->id[i] >= a->V)
            return FC_FAIL(FC_ERR_ARG, "logprob: row %d: id %d; ids are 0 to %d", a->row[i], a->id[i], a->V - 1);
    }
    FC_TRY(fc_cpu_scratch(s, room_bytes(a->V, false), "logprob"));
    run(&w, a->R, logprob_row);
    return FC_OK;
}

fc_cost fc_logprob_cost(const fc_logprob_args *a) {
    double n = (double)a->R * a->V; /* an exponential counts as 16 */
    return (fc_cost){.bytes = 4 * n + 12.0 * a->M, .flops = 20 * n};
}

/* ---- top_logprobs */

static void top_row(void *arg, int r, int thread) {
    const work *w = arg;
    const fc_top_logprobs_args *a = w->top;
    const float *logits = a->logits + (size_t)a->rows[r] * (size_t)a->V;
    int32_t *ids = a->ids + (size_t)r * (size_t)a->n;
    float *lp = a->lp + (size_t)r * (size_t)a->n;
    fc_row_lse lse;
    fc_best_cut cut;
    room m = room_of(w->s, thread, a->V);
    int n, kept = 0;
    if (row_lse(w, a->logits, a->V, a->rows[r], &m, &lse)) {
        for (int i = 0; i < a->n; i++) {
            ids[i] = -1;
            lp[i] = NAN;
        }
        return;
    }
    n = fc_best_collect(logits, a->V, m.top, fc_best_bound(m.top, fc_tile_count(a->V), a->n, m.key, m.digits), m.id,
                        m.value);
    for (int i = 0; i < n; i++) m.key[i] = fc_best_key(m.value[i]);
    cut = fc_best_find(m.key, NULL, n, a->n, m.digits);
    for (int i = 0; i < n;
         i++) { /* sorted by insertion: at most FC_TOP_LOGPROBS_MAX, ids rise, so ties stay in order */
        int at = kept;
        if (!fc_best_keeps(&cut, m.key[i])) continue;
        for (; at > 0 && logits[ids[at - 1]] < m.value[i]; at--) ids[at] = ids[at - 1];
        ids[at] = m.id[i];
        kept++;
    }
    for (int i = 0; i < a->n; i++) lp[i] = (float)((double)logits[ids[i]] - lse.lse);
}

fc_status fc_top_logprobs_cpu(fc_stream s, const fc_top_logprobs_args *a) {
    work w = {.s = s, .top = a};
    if (a->R < 1 || a->V < 1 || a->n < 1 || a->n > FC_TOP_LOGPROBS_MAX || a->n > a->V)
        return FC_FAIL(FC_ERR_ARG, "top_logprobs: R=%d V=%d n=%d; n is 1 to %d and at most V", a->R, a->V, a->n,
                       (int)FC_TOP_LOGPROBS_MAX);
    for (int r = 0; r < a->R; r++)
        if (a->rows[r] < 0) return FC_FAIL(FC_ERR_ARG, "top_logprobs: rows[%d]=%d", r, a->rows[r]);
    FC_TRY(fc_cpu_scratch(s, room_bytes(a->V, true), "top_logprobs"));
    run(&w, a->R, top_row);
    return FC_OK;
}

fc_cost fc_top_logprobs_cost(const fc_top_logprobs_args *a) {
    double n = (double)a->R * a->V; /* an exponential counts as 16 */
    return (fc_cost){.bytes = 4 * n + 8.0 * a->R * a->n, .flops = 20 * n};
}
