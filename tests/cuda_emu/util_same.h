/* util_same - a number that the CPU computed, and the device's: under emulation bit for bit. A device's exp and log in
 * double are its own, within 1 ulp of the CPU's: there sums may differ in their last bits, and what they round to. */
#ifndef FC_TESTS_UTIL_SAME_H
#define FC_TESTS_UTIL_SAME_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

static inline bool same_double(double got, double want) {
#ifdef FC_TESTS_GPU
    if (fabs(got - want) <= 1e-13 + 1e-14 * fabs(want)) return true;
#endif
    return !memcmp(&got, &want, sizeof got);
}

static inline bool same_float(float got, float want) {
#ifdef FC_TESTS_GPU
    if (fabs((double)got - (double)want) <= 1e-13 + 1.2e-7 * fabs((double)want)) return true;
#endif
    return !memcmp(&got, &want, sizeof got);
}

#endif
