#include "kernels/cpu/vmath_avx2.h"
#include "kernels/logprob/tile.h"

#include <math.h>

/* The last, short tile is worked on as a copy that ends in -inf. */
static const float *whole_tile(const float *x, int V, int t, float copy[FC_TILE]) {
    const float *v = x + (size_t)t * FC_TILE;
    int n = V - t * FC_TILE;
    if (n >= FC_TILE) return v;
    for (int i = 0; i < FC_TILE; i++) copy[i] = i < n ? v[i] : -INFINITY;
    return copy;
}

static void max_avx2(const float *x, int V, int from, int to, float *top) {
    float copy[FC_TILE];
    for (int t = from; t < to; t++) {
        const float *v = whole_tile(x, V, t, copy);
        __m256 m0 = _mm256_set1_ps(-INFINITY), m1 = m0, bad = _mm256_setzero_ps();
        float lane[8], m;
        for (int i = 0; i < FC_TILE; i += 16) {
            __m256 a = _mm256_loadu_ps(v + i), b = _mm256_loadu_ps(v + i + 8);
            bad = _mm256_or_ps(bad, _mm256_cmp_ps(a, b, _CMP_UNORD_Q)); /* either of the two is NaN */
            m0 = _mm256_max_ps(m0, a);
            m1 = _mm256_max_ps(m1, b);
        }
        _mm256_storeu_ps(lane, _mm256_max_ps(m0, m1));
        m = lane[0];
        for (int l = 1; l < 8; l++) m = lane[l] > m ? lane[l] : m;
        top[t] = _mm256_movemask_ps(bad) ? NAN : m;
    }
}

static __m256 weigh(const float *x, __m256 max, __m256 scale) {
    return fc_exp_avx2(_mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x), max), scale));
}

/* Sums of 8 neighbours: of v[0..7], v[8..15], v[16..23], v[24..31]. */
static __m128 sum8(const float *x, __m256 max, __m256 scale) {
    __m256 a = _mm256_hadd_ps(weigh(x, max, scale), weigh(x + 8, max, scale));
    __m256 b = _mm256_hadd_ps(weigh(x + 16, max, scale), weigh(x + 24, max, scale));
    __m256 c = _mm256_hadd_ps(a, b); /* sums of 4: low halves of the four, then high halves */
    return _mm_add_ps(_mm256_castps256_ps128(c), _mm256_extractf128_ps(c, 1));
}

static void sum_avx2(const float *x, int V, int from, int to, float scale, const float *top, float *sum) {
    __m256 vscale = _mm256_set1_ps(scale);
    float copy[FC_TILE];
    for (int t = from; t < to; t++) {
        const float *v;
        __m256 vmax = _mm256_set1_ps(top[t]);
        __m128 q[4]; /* sums of 16, in order */
        sum[t] = 0.0f;
        if (top[t] == -INFINITY) continue; /* -inf less -inf is no weight */
        v = whole_tile(x, V, t, copy);
        for (int i = 0; i < 4; i++)
            q[i] = _mm_hadd_ps(sum8(v + 64 * i, vmax, vscale), sum8(v + 64 * i + 32, vmax, vscale));
        q[0] = _mm_hadd_ps(_mm_hadd_ps(q[0], q[1]), _mm_hadd_ps(q[2], q[3])); /* sums of 64 */
        q[0] = _mm_hadd_ps(q[0], q[0]);
        sum[t] = _mm_cvtss_f32(_mm_hadd_ps(q[0], q[0]));
    }
}

static void weights_avx2(const float *x, int n, float max, float scale, float *w) {
    __m256 vmax = _mm256_set1_ps(max), vscale = _mm256_set1_ps(scale);
    int i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(w + i, weigh(x + i, vmax, vscale));
    for (; i < n; i++) w[i] = fc_expf((x[i] - max) * scale);
    for (; i < FC_TILE; i++) w[i] = 0.0f;
}

const fc_tile_ops fc_tile_avx2 = {max_avx2, sum_avx2, weights_avx2};
