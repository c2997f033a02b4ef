/* util_ranks - engines whose models are split over ranks: CPU backends side by side, and the jobs that show all of it.
 * */
#ifndef FC_TESTS_ENGINE_UTIL_RANKS_H
#define FC_TESTS_ENGINE_UTIL_RANKS_H

#include "tests/engine/util_engine.h"

/* So many ranks has what ranks_backend_open opens, a CPU backend of one thread each. */
extern int ranks_n;
/* On rank ranks_failing (-1: none) the attention that comes ranks_fail_in calls from now fails, once. */
extern int ranks_failing, ranks_fail_in;

fc_status ranks_backend_open(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out);

typedef struct {
    const char *name;
    fc_engine_options o;
    fc_request r;
} ranks_job;

enum { RANKS_JOBS = 14 };
/* Each draws or scores by other operators; models are f32, and 4 ranks can share them, but for the first, whose
 * vocabulary has fewer tiles than that. Pointers stay good. */
const ranks_job *ranks_jobs(void);

/* Same tokens; log-probs and scores within 1e-3: f32, other orders of sums, some tens of tokens. */
void ranks_same(const char *what, const fc_result *got, const fc_result *want);

#endif
