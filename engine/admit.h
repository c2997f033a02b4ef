/* admit - what a job needs of the KV pools, and the promise of it. */
#ifndef FC_ENGINE_ADMIT_H
#define FC_ENGINE_ADMIT_H

#include "engine/sched.h"

/* Pages and branches of one job at their worst, by role. Scoring needs `base` and at least one tail at a time. */
typedef struct {
    int64_t draw_pages, base_pages, tail_pages; /* tail_pages: one tail */
    int draw_tables, tails;                     /* tails: at most so many at once */
} fc_need;

fc_need fc_need_of(const fc_sched *s, const fc_job *j);
/* Promises what the job needs, if it is there now, and writes it into the job. */
bool fc_admit_try(fc_sched *s, fc_job *j);
void fc_admit_release(fc_sched *s, fc_job *j);

#endif
