#include "kernels/rmsnorm/rmsnorm_row.h"

#include <immintrin.h>

void fc_rmsnorm_row_avx2(const fc_rmsnorm_row *r) {
    const float *h = r->res ? r->h : r->x;
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, scale;
    float lane[16], f;
    int d = 0;
    for (; d + 16 <= r->D; d += 16) {
        __m256 a = _mm256_loadu_ps(r->x + d), b = _mm256_loadu_ps(r->x + d + 8);
        if (r->res) {
            a = _mm256_add_ps(_mm256_loadu_ps(r->res + d), a);
            b = _mm256_add_ps(_mm256_loadu_ps(r->res + d + 8), b);
            _mm256_storeu_ps(r->h + d, a);
            _mm256_storeu_ps(r->h + d + 8, b);
        }
        s0 = _mm256_add_ps(s0, _mm256_mul_ps(a, a));
        s1 = _mm256_add_ps(s1, _mm256_mul_ps(b, b));
    }
    _mm256_storeu_ps(lane, s0);
    _mm256_storeu_ps(lane + 8, s1);
    for (int l = 0; d + l < r->D; l++) {
        if (r->res) r->h[d + l] = r->res[d + l] + r->x[d + l];
        lane[l] += h[d + l] * h[d + l];
    }
    f = fc_rmsnorm_scale(lane, r->eps, r->D);
    scale = _mm256_set1_ps(f);
    for (d = 0; d + 8 <= r->D; d += 8)
        _mm256_storeu_ps(r->y + d,
                         _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(h + d), scale), _mm256_loadu_ps(r->w + d)));
    for (; d < r->D; d++) r->y[d] = h[d] * f * r->w[d];
}
