/* best - ids picked out of a row by key: the k best, or the fewest that reach a mass; no full sort.
 *
 * Best first means: larger key first, among equal keys the smaller id. Lists are in rising order of ids throughout.
 * The threshold is found by digits (11, 11 and 10 bits of the key): three passes, each a sum per digit.
 * Inner to kernels/logprob and kernels/draw.
 */
#ifndef FC_KERNELS_BEST_H
#define FC_KERNELS_BEST_H

#include <stdint.h>
#include <string.h>

enum { FC_BEST_DIGITS = 2048 };

/* Order of keys = order of floats; -0 and +0 have one key. NaN is not for here. */
static inline uint32_t fc_best_key(float f) {
    uint32_t u;
    f += 0.0f;
    memcpy(&u, &f, sizeof u);
    return u ^ (u >> 31 ? 0xffffffffu : 0x80000000u);
}

static inline float fc_best_value(uint32_t key) {
    uint32_t u = key ^ (key >> 31 ? 0x80000000u : 0xffffffffu);
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* What is kept: keys above `key`, and among those equal to it the first `ties` of the list. */
typedef struct {
    uint32_t key;
    int ties;
} fc_best_cut;

/* The shortest best-first prefix of n keys whose mass reaches target; mass NULL: each weighs 1. Everything when even
 * all of it stays below. n >= 1, target > 0. digits: [FC_BEST_DIGITS] scratch. */
fc_best_cut fc_best_find(const uint32_t *key, const float *mass, int n, double target, double *digits);

/* True for an element that the cut keeps; called once per element, in list order. */
static inline int fc_best_keeps(fc_best_cut *cut, uint32_t key) {
    if (__builtin_expect(key == cut->key, 0)) return cut->ties-- > 0;
    return key > cut->key;
}

/* A value that at least k ids of the row reach, from the largest value of each tile; -inf when tiles are too few.
 * key: [tiles] scratch. */
float fc_best_bound(const float *top, int n_tiles, int k, uint32_t *key, double *digits);

/* Ids of x [V] with x >= bound, in order, with their values; returns how many. Tiles whose top is lower are skipped. */
int fc_best_collect(const float *x, int V, const float *top, float bound, int32_t *id, float *value);

#endif
