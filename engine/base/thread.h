/* thread - a pool that runs numbered units of one job on all its threads.
 *
 * The caller is thread 0. Units are handed out by a counter, so which thread runs which unit is not
 * fixed: a job's result must not depend on it. A job ends with its last unit, whether all threads have seen it or not.
 * Idle threads spin at most 50 microseconds, then sleep.
 */
#ifndef FC_BASE_THREAD_H
#define FC_BASE_THREAD_H

#include "engine/base/status.h"

typedef struct fc_pool fc_pool; /* opaque */
typedef void (*fc_unit_fn)(void *arg, int unit, int thread);

fc_status fc_pool_open(int threads, fc_pool **out); /* 1..1024 */
void fc_pool_close(fc_pool *p);                     /* NULL is fine */
int fc_pool_threads(const fc_pool *p);

/* Runs job(arg, u, thread) for u in 0..units-1, begun in that order, and returns when all are done. One caller at a
 * time. */
void fc_pool_run(fc_pool *p, int units, fc_unit_fn job, void *arg);

#endif
