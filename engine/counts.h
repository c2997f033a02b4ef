/* counts - what the scheduler did, for threads that must not wait for it: one thread puts the numbers, any may read. */
#ifndef FC_ENGINE_COUNTS_H
#define FC_ENGINE_COUNTS_H

#include "engine/sched.h"

#include <stdatomic.h>

enum { FC_COUNTS = 15 + FC_BATCH_SIZES };

/* Zeroed is empty. */
typedef struct {
    atomic_llong v[FC_COUNTS];
    _Atomic double bytes, flops;
} fc_counts;

void fc_counts_put(fc_counts *c, const fc_sched *s);           /* the engine thread */
void fc_counts_get(const fc_counts *c, fc_engine_counts *out); /* any thread; pages stay as they are */

#endif
