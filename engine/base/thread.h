/* thread - a pool that runs numbered units of one job on all its threads.
 *
 * The caller is thread 0. Of n units and T threads, thread t begins with those from n t / T on, in rising order: the
 * same part of each job, so that it finds in its cache what it left there. Who has none left looks at all others and
 * takes of their last, so which thread runs which unit, and when, is not fixed: a job's result must not depend on it. A
 * job ends with its last unit, whether all threads have seen it or not. Idle threads spin at most 50 microseconds, then
 * sleep.
 */
#ifndef FC_BASE_THREAD_H
#define FC_BASE_THREAD_H

#include "engine/base/status.h"

#include <pthread.h>

typedef struct fc_pool fc_pool; /* opaque */
typedef void (*fc_unit_fn)(void *arg, int unit, int thread);

fc_status fc_pool_open(int threads, fc_pool **out); /* 1..1024 */
void fc_pool_close(fc_pool *p);                     /* NULL is fine */
int fc_pool_threads(const fc_pool *p);
int fc_pool_first(const fc_pool *p, int units, int thread); /* unit that a thread, 0..threads, begins with */

/* Thread i stays on the i-th of the cores that this process may use, counted from 0; caller is the thread that will
 * call run, thread 0. Two pools take the same cores. FC_ERR_UNSUPPORTED where cores are fewer than threads, with both
 * numbers and before anything is pinned; or where the system refuses one, and those before it stay pinned. */
fc_status fc_pool_pin(fc_pool *p, pthread_t caller);

/* Runs job(arg, u, thread) for u in 0..units-1 and returns when all are done. One caller at a time. */
void fc_pool_run(fc_pool *p, int units, fc_unit_fn job, void *arg);
/* The same for short units that read what their thread has near: others leave the last three of a thread that has
 * begun, which computes them sooner than another core fetches what they read. If the system does not run it meanwhile,
 * the job waits for these. */
void fc_pool_run_near(fc_pool *p, int units, fc_unit_fn job, void *arg);

#endif
