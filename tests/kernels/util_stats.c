#include "tests/kernels/util_stats.h"

#include <math.h>
#include <stdlib.h>

/* Upper tail of the chi-square distribution with k degrees of freedom: the regularised incomplete gamma function Q(k/2,
 * x/2), by its series below the mean and its continued fraction (Lentz's method) above. */
static double chi2_tail(double x, double k) {
    double a = 0.5 * k, z = 0.5 * x, front;
    if (z <= 0.0) return 1.0;
    front = exp(a * log(z) - z - lgamma(a));
    if (z < a + 1.0) {
        double term = 1.0 / a, sum = term;
        for (int i = 1; i < 100000 && term > sum * 1e-16; i++) sum += term *= z / (a + i);
        return 1.0 - front * sum;
    } else {
        double b = z + 1.0 - a, c = 1e300, d = 1.0 / b, h = d;
        for (int i = 1; i < 100000; i++) {
            double an = -i * (i - a), step;
            b += 2.0;
            d = 1.0 / (an * d + b);
            c = b + an / c;
            step = c * d;
            h *= step;
            if (fabs(step - 1.0) < 1e-15) break;
        }
        return front * h;
    }
}

double stats_chi2(const int32_t *ids, int n, const double *p, int V, int *cells) {
    int *count = calloc((size_t)V, sizeof *count), few = 0, used = 0, bad = 0;
    double chi2 = 0.0, few_expected = 0.0;
    if (!count) return 0.0;
    for (int i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= V || p[ids[i]] == 0.0) bad = 1;
        else count[ids[i]]++;
    }
    for (int i = 0; i < V; i++) {
        double e = p[i] * n, d = count[i] - e;
        if (e < 5.0) {
            few += count[i];
            few_expected += e;
            continue;
        }
        chi2 += d * d / e;
        used++;
    }
    free(count);
    if (few_expected >= 5.0) {
        chi2 += (few - few_expected) * (few - few_expected) / few_expected;
        used++;
    } else if (few > 40) { /* fewer than 5 expected: over 40 has a probability below 1e-20 */
        bad = 1;
    }
    *cells = used;
    if (bad) return 0.0;
    return used > 1 ? chi2_tail(chi2, used - 1) : 1.0;
}
