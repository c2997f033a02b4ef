/* hash - SipHash-2-4: 64 bits of any bytes under a 128-bit key, little-endian on every machine.
 *
 * source  Aumasson, Bernstein, "SipHash: a fast short-input PRF", 2012
 */
#ifndef FC_BASE_HASH_H
#define FC_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t fc_rotl64(uint64_t x, int n) { return (x << n) | (x >> (64 - n)); }

static inline void fc_sip_rounds(uint64_t v[4], int n) {
    while (n-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = fc_rotl64(v[1], 13) ^ v[0];
        v[3] = fc_rotl64(v[3], 16) ^ v[2];
        v[0] = fc_rotl64(v[0], 32) + v[3];
        v[2] += v[1];
        v[1] = fc_rotl64(v[1], 17) ^ v[2];
        v[3] = fc_rotl64(v[3], 21) ^ v[0];
        v[2] = fc_rotl64(v[2], 32);
    }
}

static inline uint64_t fc_siphash(uint64_t k0, uint64_t k1, const void *data, size_t size) {
    const unsigned char *p = data;
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u,
                     k1 ^ 0x7465646279746573u};
    for (size_t at = 0;; at += 8) {
        uint64_t word = 0;
        size_t n = size - at < 8 ? size - at : 8;
        for (size_t i = 0; i < n; i++) word |= (uint64_t)p[at + i] << (8 * i);
        if (n < 8) word |= (uint64_t)size << 56; /* the last word, always there, carries the length */
        v[3] ^= word;
        fc_sip_rounds(v, 2);
        v[0] ^= word;
        if (n < 8) break;
    }
    v[2] ^= 0xff;
    fc_sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
