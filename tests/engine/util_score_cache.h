/* util_score_cache - files and keys for the tests of the score cache. */
#ifndef FC_TESTS_ENGINE_UTIL_SCORE_CACHE_H
#define FC_TESTS_ENGINE_UTIL_SCORE_CACHE_H

#include "engine/score_cache.h"
#include "tests/util.h"

/* A path in a temporary folder, where nothing is yet; what gets there, -wal and -shm included, is removed at exit. */
const char *fresh_file(void);

/* Runs statements in the SQLite file. */
void run_sql(const char *path, const char *sql);
int64_t ask_sql(const char *path, const char *sql); /* the first number of its answer */

/* A whole file; *bytes is freed by the caller. */
size_t read_bytes(const char *path, unsigned char **bytes);
void write_bytes(const char *path, const unsigned char *bytes, size_t n);

/* Opens, or fails the test; bytes that hold exactly n scores. */
fc_score_cache *open_cache(int n, const char *file);
/* Key of candidate i of some request. */
fc_score_key key_of(const fc_score_cache *c, int i);
/* A score for i: any bits but NaN, infinities, zeros and denormals among them. */
double score_of(int i);
bool same_bits(double a, double b);

#endif
