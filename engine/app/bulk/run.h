/* run - a plan's keys through the engine into a work file, many at once.
 *
 *   key --its prompt and settings are as in the work file--> kept
 *     \-- as in the table that is replaced -----------------> copied
 *      \-- else ------- fc_submit ------- done -------------> put, or tried again, or recorded as failed
 *
 * The first key runs alone: whoever follows finds what all prompts share in the prefix cache.
 */
#ifndef FC_APP_BULK_RUN_H
#define FC_APP_BULK_RUN_H

#include "engine/app/bulk/plan.h"
#include "engine/app/request_args.h"
#include "engine/table.h"

enum { RUN_FLIGHT_MAX = 4096 };

typedef struct {
    request_args *args;
    plan *p;
    const lines_map *retrieved; /* NULL: none is given */
    fc_table *work, *old;       /* old: of the same meta, or NULL */
    uint64_t seed;
    bool names;           /* candidates are names or not */
    const char *taxonomy; /* id of a registered one, or NULL */
    int flight, retries;
    progress *shown;
} run_job;

typedef struct {
    int64_t kept, copied, computed, failed, retried;
    int64_t lines;                        /* keys that have a retrieved line */
    double seconds;                       /* of the computed ones: from the first submit to the last row */
    fc_accounting rows;                   /* sums over the computed ones; kv_bytes: the most of one */
    int64_t prompt_tokens, prompt_cached; /* of novelty prompts */
} run_counts;

/* FC_ERR_CANCELLED: SIGINT or SIGTERM; what is done is in the work file. */
fc_status run_keys(const run_job *j, fc_engine *e, run_counts *out);

#endif
