/* measure - the rounds of a closed loop, and loads of an open one, into the points of a report. */
#ifndef FC_APP_BENCH_MEASURE_H
#define FC_APP_BENCH_MEASURE_H

#include "engine/app/bench/setup.h"

/* A point for each n. One at a time: rounds of one request of each n, each followed by its n separate requests (unless
 * --no-separate), so that what slows the machine for a while slows all of them; every --runs of them. Several at once:
 * one n after another, --runs requests of each. */
fc_status measure_closed(setup *s);
/* A point for each rate and n. */
fc_status measure_open(setup *s);
/* Where the taxonomy is small enough, and one request was asked at a time: regrets, by scoring every name for each
 * prompt. */
fc_status measure_regret(setup *s);

#endif
