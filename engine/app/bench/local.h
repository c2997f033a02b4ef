/* local - the target that is an engine in this process, asked through engine/forkcast.h. */
#ifndef FC_APP_BENCH_LOCAL_H
#define FC_APP_BENCH_LOCAL_H

#include "engine/app/bench/prompts.h"
#include "engine/app/bench/target.h"

/* Opens the engine for requests like r, which request_args_request has made of *a, of up to r->n candidates. All is
 * borrowed until the target is closed. */
fc_status bench_local_open(request_args *a, const fc_request *r, bench_prompts *prompts, uint64_t salt, progress *p,
                           bench_target **out);
void bench_local_describe(const bench_target *t, fc_engine_info *out);
/* The folder of the adapter that requests name for that role; NULL: none. */
const char *bench_local_adapter(const bench_target *t, fc_role role);

#endif
