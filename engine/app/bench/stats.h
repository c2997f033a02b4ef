/* stats - what a benchmark makes of its samples: percentiles, intervals by resampling, and Poisson arrivals.
 *
 * Random numbers come from a seed that the caller prints: the same samples give the same intervals.
 * source  Hyndman & Fan, "Sample Quantiles in Statistical Packages", 1996 (type 7); Efron, "Bootstrap Methods", 1979
 */
#ifndef FC_APP_BENCH_STATS_H
#define FC_APP_BENCH_STATS_H

#include "engine/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void stats_sort(double *v, size_t n);
/* Of sorted values, p in [0,1], linear between neighbours; NAN of none. */
double stats_percentile(const double *sorted, size_t n, double p);
/* Is there a sample above it? The 99th percentile needs a hundred; fewer give a guess from the largest. */
bool stats_enough(size_t n, double p);
double stats_mean(const double *v, size_t n); /* NAN of none */

typedef struct {
    double low, mid, high;
} stats_interval;

enum { STATS_RESAMPLES = 2000, STATS_LEAST = 5 /* samples, below which an interval says nothing */ };

/* Median of b over median of a, which are independent, with the middle `confidence` of what resampling gives. Needs
 * samples of both, and a median of a above 0. */
fc_status stats_ratio(const double *a, size_t n_a, const double *b, size_t n_b, double confidence, uint64_t seed,
                      stats_interval *out);
/* Mean of b minus mean of a, likewise. */
fc_status stats_difference(const double *a, size_t n_a, const double *b, size_t n_b, double confidence, uint64_t seed,
                           stats_interval *out);
/* The same of a mean. */
fc_status stats_mean_interval(const double *v, size_t n, double confidence, uint64_t seed, stats_interval *out);

/* a of n_a failed, and b of n_b: the chance that b or more of them fall to the second by luck alone, as both fail
 * equally often (Fisher, "Statistical Methods for Research Workers", 1934: the exact test of two binomials, one-sided).
 * a <= n_a, b <= n_b; 1 where b's share is not the larger. */
double stats_by_luck(size_t a, size_t n_a, size_t b, size_t n_b);

/* Seconds until the next arrival of a Poisson process of so many a second. */
double stats_gap(uint64_t *state, double rate);

#endif
