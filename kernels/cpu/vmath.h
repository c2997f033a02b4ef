/* vmath - exp and tanh in f32, one sequence of operations on every vector unit and on CUDA devices.
 *
 * No fused multiply-add: each product and each sum is rounded by itself, so the portable, the AVX2 and the AVX-512 form
 * give the same bits for the same argument. The twins: vmath_avx2.h, vmath_avx512.h; test_vmath compares them. CUDA
 * compiles the functions below (cuda/vmath.cuh).
 *
 * fc_expf    1 ulp on [-87.3, 88.3]; exp(0) is 1 exactly; below -87.3, -inf included, exactly 0 (never a subnormal);
 *            above 88.3 it stays at exp(88.3) = 2.2e38, finite; NaN stays NaN
 * fc_tanhf   1.4 ulp; odd; +-1 beyond +-9.1; NaN stays NaN
 */
#ifndef FC_KERNELS_VMATH_H
#define FC_KERNELS_VMATH_H

#include "engine/base/device.h"

#include <stdint.h>
#include <string.h>

/* exp(x) = 2^n * e^r, n = round(x / ln 2), |r| <= ln 2 / 2. HI has 9 significant bits: n * HI is exact. */
#define FC_EXP_LOW    (-87.3f)
#define FC_EXP_HIGH   88.3f
#define FC_EXP_LOG2E  1.44269504f
#define FC_EXP_LN2_HI 0.693359375f
#define FC_EXP_LN2_LO (-2.12194440e-4f)
#define FC_EXP_MAGIC  12582912.0f /* 1.5 * 2^23: adding it rounds to a whole number, left in the low bits */
/* e^r = 1 + (r + r^2 (C0 + C1 r + ...)): smallest largest relative error, 3e-9 */
#define FC_EXP_C0 0.49999994f
#define FC_EXP_C1 0.16666521f
#define FC_EXP_C2 0.04166839f
#define FC_EXP_C3 0.008368745f
#define FC_EXP_C4 0.001381454f

/* |x| < SPLIT: x + x^3 (C0 + C1 x^2 + ...), relative error 5e-9; else 1 - 2 / (e^2|x| + 1) */
#define FC_TANH_SPLIT 0.625f
#define FC_TANH_C0    (-0.33333278f)
#define FC_TANH_C1    0.13331331f
#define FC_TANH_C2    (-0.053730007f)
#define FC_TANH_C3    0.020606173f
#define FC_TANH_C4    (-0.005666973f)

/* yes ? a : b by masks: gcc makes a branch of the plain form, which keeps loops from being vectorised. */
FC_DEVICE static inline float fc_pick(int yes, float a, float b) {
    uint32_t x, y, mask = 0u - (uint32_t)yes;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    x = (x & mask) | (y & ~mask);
    memcpy(&a, &x, sizeof a);
    return a;
}

FC_DEVICE static inline float fc_expf(float x) {
    float c = fc_pick(FC_EXP_LOW > x, FC_EXP_LOW, x); /* NaN stays, as with max_ps and min_ps */
    float t, n, r, q, scale, y;
    uint32_t bits;
    c = fc_pick(FC_EXP_HIGH < c, FC_EXP_HIGH, c);
    t = c * FC_EXP_LOG2E + FC_EXP_MAGIC;
    n = t - FC_EXP_MAGIC;
    r = (c - n * FC_EXP_LN2_HI) - n * FC_EXP_LN2_LO;
    q = (((FC_EXP_C4 * r + FC_EXP_C3) * r + FC_EXP_C2) * r + FC_EXP_C1) * r + FC_EXP_C0;
    y = (q * (r * r) + r) + 1.0f;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits << 23) + 0x3f800000u; /* 2^n */
    memcpy(&scale, &bits, sizeof scale);
    y = y * scale;
    return fc_pick(x < FC_EXP_LOW, 0.0f, y);
}

FC_DEVICE static inline float fc_tanhf(float x) {
    uint32_t bits, sign;
    float a, s, q, small, large, y;
    memcpy(&bits, &x, sizeof bits);
    sign = bits & 0x80000000u;
    bits &= 0x7fffffffu;
    memcpy(&a, &bits, sizeof a);
    s = a * a;
    q = (((FC_TANH_C4 * s + FC_TANH_C3) * s + FC_TANH_C2) * s + FC_TANH_C1) * s + FC_TANH_C0;
    small = q * (s * a) + a;
    large = 1.0f - 2.0f / (fc_expf(a + a) + 1.0f);
    y = fc_pick(a < FC_TANH_SPLIT, small, large);
    memcpy(&bits, &y, sizeof bits);
    bits |= sign;
    memcpy(&y, &bits, sizeof y);
    return y;
}

#endif
