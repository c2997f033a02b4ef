/* util_stats - Pearson's chi-square test of drawn ids against exact probabilities. */
#ifndef FC_TESTS_UTIL_STATS_H
#define FC_TESTS_UTIL_STATS_H

#include <stdint.h>

/* p-value of ids[n] under p[V]; ids with fewer than 5 expected draws share one cell. 0 when an id of probability 0 was
 * drawn. *cells: cells used. */
double stats_chi2(const int32_t *ids, int n, const double *p, int V, int *cells);

#endif
