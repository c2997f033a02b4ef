#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/vmath_avx512.h"
#include "kernels/logprob/tile.h"

#include <math.h>

static void max_avx512(const float *x, int V, int from, int to, float *top) {
    const __m512 none = _mm512_set1_ps(-INFINITY);
    for (int t = from; t < to; t++) {
        const float *v = x + (size_t)t * FC_TILE;
        int n = V - t * FC_TILE;
        __m512 m0 = none, m1 = none;
        __mmask16 bad = 0;
        for (int i = 0; i < FC_TILE && i < n; i += 32) {
            __m512 a = _mm512_mask_loadu_ps(none, fc_lanes_avx512(n - i), v + i);
            __m512 b = _mm512_mask_loadu_ps(none, fc_lanes_avx512(n - i - 16), v + i + 16);
            bad |= _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q); /* either of the two is NaN */
            m0 = _mm512_max_ps(m0, a);
            m1 = _mm512_max_ps(m1, b);
        }
        top[t] = bad ? NAN : _mm512_reduce_max_ps(_mm512_max_ps(m0, m1));
    }
}

static __m512 weigh(const float *x, int left, __m512 max, __m512 scale) {
    __m512 v = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), fc_lanes_avx512(left), x);
    return fc_exp_avx512(_mm512_mul_ps(_mm512_sub_ps(v, max), scale));
}

/* Neighbours added within each quarter of 128 bits: a01 a23 b01 b23. */
static __m512 pairs(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}

/* Neighbouring quarters added: a's first two, a's last two, b's first two, b's last two. */
static __m512 quarters(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

static void sum_avx512(const float *x, int V, int from, int to, float scale, const float *top, float *sum) {
    __m512 vscale = _mm512_set1_ps(scale);
    for (int t = from; t < to; t++) {
        const float *v = x + (size_t)t * FC_TILE;
        int n = V - t * FC_TILE;
        __m512 vmax = _mm512_set1_ps(top[t]);
        __m512 four[4], all; /* four[i]: of ids 64i.., quarter k element e is the sum of 4 ids from 16e + 4k */
        float lane[16];
        sum[t] = 0.0f;
        if (top[t] == -INFINITY) continue; /* -inf less -inf is no weight */
        for (int i = 0; i < 4; i++) {
            __m512 a = weigh(v + 64 * i, n - 64 * i, vmax, vscale),
                   b = weigh(v + 64 * i + 16, n - 64 * i - 16, vmax, vscale);
            __m512 c = weigh(v + 64 * i + 32, n - 64 * i - 32, vmax, vscale);
            __m512 d = weigh(v + 64 * i + 48, n - 64 * i - 48, vmax, vscale);
            four[i] = pairs(pairs(a, b), pairs(c, d));
        }
        all = quarters(quarters(four[0], four[1]), quarters(four[2], four[3])); /* sums of 16 ids, in order */
        _mm512_storeu_ps(lane, all);
        sum[t] = fc_tree_sum(lane, 16);
    }
}

static void weights_avx512(const float *x, int n, float max, float scale, float *w) {
    __m512 vmax = _mm512_set1_ps(max), vscale = _mm512_set1_ps(scale);
    int i = 0;
    for (; i < n; i += 16) _mm512_storeu_ps(w + i, weigh(x + i, n - i, vmax, vscale));
    for (; i < FC_TILE; i += 16) _mm512_storeu_ps(w + i, _mm512_setzero_ps());
}

const fc_tile_ops fc_tile_avx512 = {max_avx512, sum_avx512, weights_avx512};
