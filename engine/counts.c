#include "engine/counts.h"

void fc_counts_put(fc_counts *c, const fc_sched *s) {
    const fc_sched_stats t = fc_sched_counts(s);
    int64_t v[FC_COUNTS] = {0,
                            0,
                            t.steps,
                            t.batches,
                            t.preemptions,
                            t.rows_prefill,
                            t.rows_decode,
                            t.rows_score,
                            t.rows_replayed,
                            t.asked_tokens,
                            t.hit_tokens,
                            t.lost};
    for (const fc_job *j = s->running; j; j = j->next) v[0]++;
    for (const fc_job *j = s->waiting; j; j = j->next) v[1]++;
    atomic_store_explicit(&c->bytes, t.bytes, memory_order_relaxed);
    atomic_store_explicit(&c->flops, t.flops, memory_order_relaxed);
    for (int i = 0; i < FC_COUNTS; i++) atomic_store_explicit(&c->v[i], v[i], memory_order_relaxed);
}

void fc_counts_get(const fc_counts *c, fc_engine_counts *out) {
    int64_t *const to[FC_COUNTS] = {NULL,
                                    NULL,
                                    &out->steps,
                                    &out->batches,
                                    &out->preemptions,
                                    &out->rows_prefill,
                                    &out->rows_decode,
                                    &out->rows_score,
                                    &out->rows_replayed,
                                    &out->prefix_asked,
                                    &out->prefix_hit,
                                    NULL};
    for (int i = 2; i < FC_COUNTS - 1; i++) *to[i] = atomic_load_explicit(&c->v[i], memory_order_relaxed);
    out->bytes = atomic_load_explicit(&c->bytes, memory_order_relaxed);
    out->flops = atomic_load_explicit(&c->flops, memory_order_relaxed);
    out->running = (int)atomic_load_explicit(&c->v[0], memory_order_relaxed);
    out->lost = atomic_load_explicit(&c->v[FC_COUNTS - 1], memory_order_relaxed);
    out->waiting = (int)atomic_load_explicit(&c->v[1], memory_order_relaxed);
}
