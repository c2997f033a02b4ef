/* rng - counter-based random numbers: a pure function of key and counter, the same on every backend.
 *
 * source  Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011 (Philox4x32-10)
 */
#ifndef FC_BASE_RNG_H
#define FC_BASE_RNG_H

#include "engine/base/device.h"

#include <stdint.h>

/* Philox4x32-10: out = f(counter, key). */
FC_DEVICE static inline void fc_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int r = 0; r < 10; r++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* The one uniform number of a draw, in [0,1), 53 bits. Nothing else enters the key: not n, not the
 * batch, not the prompt's place in a list. */
FC_DEVICE static inline double fc_rng_uniform(uint64_t seed, uint32_t candidate, uint32_t attempt, uint32_t position) {
    const uint32_t counter[4] = {candidate, attempt, position, 0};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t r[4];
    fc_philox(counter, key, r);
    return (double)(((uint64_t)r[0] << 21) | (r[1] >> 11)) * 0x1p-53;
}

/* A stream of 64-bit numbers for tests and made-up weights; not for draws. */
FC_DEVICE static inline uint64_t fc_rng_next(uint64_t *state) { /* splitmix64, Steele, Lea, Flood 2014 */
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* ---- draws without replacement: one uniform number for each (seed, prefix of tokens, token), whoever asks */

/* Hash of a prefix and one more token; the empty prefix is 0. */
FC_DEVICE static inline uint64_t fc_rng_prefix(uint64_t prefix, int32_t token) {
    prefix += ((uint64_t)(uint32_t)token + 1) * 0xD6E8FEB86659FD93u;
    return fc_rng_next(&prefix);
}

/* 52 bits k; the number is (k + 1/2) / 2^52, in (0,1) at both ends. The last word keeps it apart from
 * fc_rng_uniform. */
FC_DEVICE static inline uint64_t fc_rng_token_bits(uint64_t seed, uint64_t prefix, int32_t token) {
    const uint32_t counter[4] = {(uint32_t)prefix, (uint32_t)(prefix >> 32), (uint32_t)token, 1};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t r[4];
    fc_philox(counter, key, r);
    return (uint64_t)r[0] << 20 | r[1] >> 12;
}

FC_DEVICE static inline double fc_rng_token_uniform(uint64_t bits) { return ((double)bits + 0.5) * 0x1p-52; }

#endif
