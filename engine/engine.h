/* engine - the inner door of engine.c: opening on a backend of the caller's choice, and what the scheduler counted.
 * Tests open on a stricter backend. */
#ifndef FC_ENGINE_ENGINE_H
#define FC_ENGINE_ENGINE_H

#include "engine/choose.h"
#include "engine/forkcast.h"
#include "engine/sched.h"

/* What the scheduler counted so far. Read it while nothing runs. */
fc_sched_stats fc_engine_stats(const fc_engine *e);
fc_score_cache_stats fc_engine_score_stats(const fc_engine *e); /* the same of the score cache; zero without one */

/* fc_engine_open, with the backend from `open_backend` instead of what the options name; the engine closes it. */
fc_status fc_engine_open_on(const fc_engine_options *o, fc_backend_opener open_backend, fc_engine **out);

#endif
