/* util - what every C test uses: cmocka with its includes, assert_ok, and seeded numbers. */
#ifndef FC_TESTS_UTIL_H
#define FC_TESTS_UTIL_H

#include "engine/base/rng.h"
#include "engine/base/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* How many of n random cases are enough: where memory is watched all take ten times as long, and the first ones find
 * bad memory as well as the last. */
#if defined(__SANITIZE_ADDRESS__)
#define TEST_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_WATCHED 1
#endif
#endif
#ifndef TEST_WATCHED
#define TEST_WATCHED 0
#endif
static inline int test_cases(int n) { return TEST_WATCHED ? (n + 3) / 4 : n; }

/* The call must succeed; prints the recorded sentence when it does not. */
#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        fc_status ok_st_ = (call);                                                                                     \
        if (ok_st_) fail_msg("%s: %s: %s", #call, fc_status_name(ok_st_), fc_status_text());                           \
    } while (0)

/* The call must fail with this status, and its sentence must contain `words`. */
#define assert_fails(call, status, words)                                                                              \
    do {                                                                                                               \
        fc_status ok_st_ = (call);                                                                                     \
        if (ok_st_ != (status))                                                                                        \
            fail_msg("%s: %s (%s), not %s", #call, fc_status_name(ok_st_), fc_status_text(), fc_status_name(status));  \
        if (!strstr(fc_status_text(), (words)))                                                                        \
            fail_msg("%s: the sentence \"%s\" does not say \"%s\"", #call, fc_status_text(), (words));                 \
    } while (0)

static inline float test_uniform(uint64_t *state) { /* [-1,1) */
    return (float)((double)(fc_rng_next(state) >> 11) * 0x1p-52 - 1.0);
}

static inline float test_normal(uint64_t *state) { /* Box-Muller */
    double u = ((double)(fc_rng_next(state) >> 11) + 0.5) * 0x1p-53, v = (double)(fc_rng_next(state) >> 11) * 0x1p-53;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

static inline int test_below(uint64_t *state, int n) { return (int)(fc_rng_next(state) % (uint64_t)n); }

#endif
