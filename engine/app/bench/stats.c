#include "engine/app/bench/stats.h"

#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void stats_sort(double *v, size_t n) {
    if (n) qsort(v, n, sizeof *v, rising);
}

double stats_percentile(const double *sorted, size_t n, double p) {
    double at = n ? p * (double)(n - 1) : 0;
    size_t below = (size_t)at;
    if (n == 0) return (double)NAN;
    if (below + 1 >= n) return sorted[n - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

bool stats_enough(size_t n, double p) { return (double)n * (1 - p) >= 1 - 1e-9; }

double stats_mean(const double *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += v[i];
    return n ? sum / (double)n : (double)NAN;
}

static double uniform(uint64_t *state) { return (double)(fc_rng_next(state) >> 11) * 0x1p-53; }

/* n of v, with repeats, into out. */
static void resample(const double *v, size_t n, uint64_t *state, double *out) {
    for (size_t i = 0; i < n; i++) {
        size_t at = (size_t)(uniform(state) * (double)n);
        out[i] = v[at < n ? at : n - 1];
    }
}

static double median(double *v, size_t n) {
    stats_sort(v, n);
    return stats_percentile(v, n, 0.5);
}

static void middle(double *drawn, double mid, double confidence, stats_interval *out) {
    stats_sort(drawn, STATS_RESAMPLES);
    *out = (stats_interval){.low = stats_percentile(drawn, STATS_RESAMPLES, (1 - confidence) / 2),
                            .mid = mid,
                            .high = stats_percentile(drawn, STATS_RESAMPLES, (1 + confidence) / 2)};
}

static double mean(double *v, size_t n) { return stats_mean(v, n); }
static double divide(double a, double b) { return b / a; }
static double subtract(double a, double b) { return b - a; }

/* What join makes of a statistic of a and of b, from both as they are and from resampled ones. */
static fc_status between(const double *a, size_t n_a, const double *b, size_t n_b, double (*of)(double *v, size_t n),
                         double (*join)(double a, double b), double confidence, uint64_t seed, stats_interval *out) {
    double *room, *x, *y, *drawn, mid;
    size_t size;
    void *p;
    if (n_a == 0 || n_b == 0) return FC_FAIL(FC_ERR_ARG, "comparing needs samples of both: %zu and %zu", n_a, n_b);
    if (!fc_add(n_a, n_b, &size) || !fc_add(size, STATS_RESAMPLES, &size))
        return FC_FAIL(FC_ERR_MEM, "%zu and %zu samples do not fit in the address space", n_a, n_b);
    FC_TRY(fc_alloc(size, sizeof *room, "resampling", &p));
    room = p, x = room, y = x + n_a, drawn = y + n_b;
    memcpy(x, a, n_a * sizeof *x);
    memcpy(y, b, n_b * sizeof *y);
    mid = join(of(x, n_a), of(y, n_b));
    for (int k = 0; k < STATS_RESAMPLES; k++) {
        resample(a, n_a, &seed, x);
        resample(b, n_b, &seed, y);
        drawn[k] = join(of(x, n_a), of(y, n_b));
    }
    if (isfinite(mid)) middle(drawn, mid, confidence, out);
    fc_free(room);
    return isfinite(mid) ? FC_OK : FC_FAIL(FC_ERR_ARG, "comparing: %g is no number", mid);
}

fc_status stats_ratio(const double *a, size_t n_a, const double *b, size_t n_b, double confidence, uint64_t seed,
                      stats_interval *out) {
    return between(a, n_a, b, n_b, median, divide, confidence, seed, out);
}

fc_status stats_difference(const double *a, size_t n_a, const double *b, size_t n_b, double confidence, uint64_t seed,
                           stats_interval *out) {
    return between(a, n_a, b, n_b, mean, subtract, confidence, seed, out);
}

fc_status stats_mean_interval(const double *v, size_t n, double confidence, uint64_t seed, stats_interval *out) {
    double *room, *drawn;
    size_t size;
    void *p;
    if (n == 0) return FC_FAIL(FC_ERR_ARG, "a mean needs samples");
    if (!fc_add(n, STATS_RESAMPLES, &size))
        return FC_FAIL(FC_ERR_MEM, "%zu samples do not fit in the address space", n);
    FC_TRY(fc_alloc(size, sizeof *room, "resampling", &p));
    room = p, drawn = room + n;
    for (int k = 0; k < STATS_RESAMPLES; k++) {
        resample(v, n, &seed, room);
        drawn[k] = stats_mean(room, n);
    }
    middle(drawn, stats_mean(v, n), confidence, out);
    fc_free(room);
    return FC_OK;
}

static double log_choose(double n, double k) { return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1); }

double stats_by_luck(size_t a, size_t n_a, size_t b, size_t n_b) {
    const double m = (double)n_a, n = (double)n_b, failed = (double)a + (double)b;
    const double all = log_choose(m + n, failed), most = failed < n ? failed : n;
    double sum = 0, one = 1;
    if ((double)b * m <= (double)a * n) return 1;
    for (double k = (double)b; k <= most && one > sum * 1e-17; k++) { /* above the mean they only fall */
        one = exp(log_choose(n, k) + log_choose(m, failed - k) - all);
        sum += one;
    }
    return sum < 1 ? sum : 1;
}

double stats_gap(uint64_t *state, double rate) { return -log1p(-uniform(state)) / rate; }
