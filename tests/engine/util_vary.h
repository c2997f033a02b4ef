/* util_vary - one request run in every way that must not change a bit of its answer. */
#ifndef FC_TESTS_ENGINE_UTIL_VARY_H
#define FC_TESTS_ENGINE_UTIL_VARY_H

#include "tests/engine/util_engine.h"

static const char vary_prompt[] =
    "The quick brown fox jumps over the lazy dog, and the rain in Spain falls mainly on the plain.";

/* The tiny model that all of it runs on. */
const char *vary_model(void);
/* Ids of a text without specials, to out [max]; returns how many. */
int vary_encode(const char *text, int32_t *out, int max);
int32_t vary_one_id(const char *text); /* of a text that is one token */

extern int64_t vary_replayed; /* rows of requests that gave way, over all that vary_request ran */

typedef void (*vary_same_fn)(const char *what, const fc_result *got, const fc_result *want);
void vary_same_candidates(const char *what, const fc_result *got, const fc_result *want);

/* From the cache, with a third of n, in batches of 7 rows, on the late backend, giving way to others, with each switch
 * and with all of them off. The answer of the first run is the caller's. */
fc_event vary_request(const char *what, const fc_request *r, vary_same_fn same);

/* An engine whose first pass, once begun, waits until vary_go: so that what is submitted meanwhile all comes into the
 * second. One at a time. */
fc_engine *vary_open_held(const fc_engine_options *o);
void vary_wait_begun(void);
void vary_go(void);

/* Submit says so. */
void vary_refused(const fc_request *r, const char *words);
/* It is accepted, and ends with that sentence, whatever is off. */
void vary_fails_later(const fc_request *r, const char *words);

#endif
