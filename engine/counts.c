#include "engine/counts.h"

/* Places of the numbers that stand alone; then those of batches_of. */
enum {
    RUNNING = 0,
    WAITING,
    STEPS,
    BATCHES,
    PREEMPTIONS,
    ROWS_PREFILL,
    ROWS_DECODE,
    ROWS_SCORE,
    ROWS_REPLAYED,
    PREFIX_ASKED,
    PREFIX_HIT,
    BATCH_ROWS,
    LOST,
    ADAPTERS_RUNNING,
    ADAPTERS_WAITING,
    SINGLES
};

static int64_t count(const fc_job *j, uint64_t *adapters) {
    int64_t n = 0;
    for (*adapters = 0; j; j = j->next, n++) {
        const int a = j->stem[FC_NOVELTY].adapter;
        if (a >= 0 && a < 64) *adapters |= UINT64_C(1) << a;
    }
    return n;
}

void fc_counts_put(fc_counts *c, const fc_sched *s) {
    const fc_sched_stats t = fc_sched_counts(s);
    uint64_t running, waiting;
    const int64_t v[SINGLES] = {
        [RUNNING] = count(s->running, &running),
        [WAITING] = count(s->waiting, &waiting),
        [STEPS] = t.steps,
        [BATCHES] = t.batches,
        [PREEMPTIONS] = t.preemptions,
        [ROWS_PREFILL] = t.rows_prefill,
        [ROWS_DECODE] = t.rows_decode,
        [ROWS_SCORE] = t.rows_score,
        [ROWS_REPLAYED] = t.rows_replayed,
        [PREFIX_ASKED] = t.asked_tokens,
        [PREFIX_HIT] = t.hit_tokens,
        [BATCH_ROWS] = t.batch_rows,
        [LOST] = t.lost,
    };
    _Static_assert((int)SINGLES + (int)FC_BATCH_SIZES == (int)FC_COUNTS, "a place for each number");
    for (int i = 0; i < ADAPTERS_RUNNING; i++) atomic_store_explicit(&c->v[i], v[i], memory_order_relaxed);
    atomic_store_explicit(&c->v[ADAPTERS_RUNNING], (long long)running, memory_order_relaxed);
    atomic_store_explicit(&c->v[ADAPTERS_WAITING], (long long)waiting, memory_order_relaxed);
    atomic_store_explicit(&c->bytes, t.bytes, memory_order_relaxed);
    atomic_store_explicit(&c->flops, t.flops, memory_order_relaxed);
    for (int i = 0; i < FC_BATCH_SIZES; i++)
        atomic_store_explicit(&c->v[SINGLES + i], t.batches_of[i], memory_order_relaxed);
}

static int64_t get(const fc_counts *c, int i) { return atomic_load_explicit(&c->v[i], memory_order_relaxed); }

void fc_counts_get(const fc_counts *c, fc_engine_counts *out) {
    out->running = (int)get(c, RUNNING);
    out->waiting = (int)get(c, WAITING);
    out->steps = get(c, STEPS);
    out->batches = get(c, BATCHES);
    out->preemptions = get(c, PREEMPTIONS);
    out->rows_prefill = get(c, ROWS_PREFILL);
    out->rows_decode = get(c, ROWS_DECODE);
    out->rows_score = get(c, ROWS_SCORE);
    out->rows_replayed = get(c, ROWS_REPLAYED);
    out->prefix_asked = get(c, PREFIX_ASKED);
    out->prefix_hit = get(c, PREFIX_HIT);
    out->bytes = atomic_load_explicit(&c->bytes, memory_order_relaxed);
    out->flops = atomic_load_explicit(&c->flops, memory_order_relaxed);
    out->batch_rows = get(c, BATCH_ROWS);
    out->lost = get(c, LOST) != 0;
    out->adapters_running = (uint64_t)get(c, ADAPTERS_RUNNING);
    out->adapters_waiting = (uint64_t)get(c, ADAPTERS_WAITING);
    for (int i = 0; i < FC_BATCH_SIZES; i++) out->batches_of[i] = get(c, SINGLES + i);
}
