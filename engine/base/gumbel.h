/* gumbel - the noise of draws without replacement, a pure function of seed, prefix and token.
 *
 * A name's perturbed log-prob is log p + Gumbel noise; the n largest are n names drawn without replacement. Noise of
 * names need not be drawn one by one: the largest below a node of a tree is log p(node) + Gumbel too, and given it the
 * largest of each child follows. All in double.
 *
 * source  Kool, van Hoof, Welling, "Stochastic Beams and Where to Find Them", 2019 (section 4.1, appendix B.3)
 */
#ifndef FC_BASE_GUMBEL_H
#define FC_BASE_GUMBEL_H

#include "engine/base/rng.h"

#include <math.h>

/* Hash of a token prefix and one more token. The empty prefix is 0. */
static inline uint64_t fc_prefix_hash(uint64_t prefix, int32_t token) {
    uint64_t state = prefix ^ (uint64_t)(uint32_t)token * 0xD1342543DE82EF95u;
    return fc_rng_next(&state);
}

/* Gumbel(0) noise of one token behind one prefix: -log(-log u), u in (0,1), 52 bits and a half, so never 0 or 1. The
 * counter's last word is 1: no draw of fc_rng_uniform has the same. */
static inline double fc_gumbel(uint64_t seed, uint64_t prefix, int32_t token) {
    const uint32_t counter[4] = {(uint32_t)prefix, (uint32_t)(prefix >> 32), (uint32_t)token, 1};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t r[4];
    fc_philox(counter, key, r);
    return -log(-log(((double)(((uint64_t)r[0] << 20) | (r[1] >> 12)) + 0.5) * 0x1p-52));
}

/* g, one of several perturbed log-probs whose largest is z, moved as if the largest were top:
 * -log(exp(-top) - exp(-z) + exp(-g)), never above top, and top itself where g is z. z and top are finite; g may be
 * -INFINITY, and stays so. */
static inline double fc_gumbel_below(double g, double z, double top) {
    double v = top - g + log(-expm1(g - z)); /* -inf where g is z */
    return top - fmax(v, 0.0) - log1p(exp(-fabs(v)));
}

#endif
