/* util_searches - small taxonomies behind one prompt, and searches over them. */
#ifndef FC_TESTS_ENGINE_UTIL_SEARCHES_H
#define FC_TESTS_ENGINE_UTIL_SEARCHES_H

#include "engine/forkcast.h"

enum { NAMES = 60, SIX = 6, SEARCHES = 4 };

extern const char prompt[]; /* what names stand behind */
extern const char *const six[SIX];
extern const fc_draw_mode searches[SEARCHES]; /* sbs, beam, topk, exact */

/* [NAMES] of words that share beginnings, and of names that begin other names. */
const char *const *sixty_names(void);

/* n of these names by a search under constraint mask, max_tokens 32. Everything is borrowed. */
fc_request search_of(fc_draw_mode draw, int n, const char *const *names, int n_names);

/* Which of n names a text is; fails the test when it is none. */
int name_of(const fc_candidate *c, const char *const *names, int n);

#endif
