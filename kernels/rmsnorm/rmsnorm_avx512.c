#include "kernels/rmsnorm/rmsnorm_row.h"

#include <immintrin.h>

/* Lanes past D are read as zero and written nowhere. */
static __mmask16 lanes(int left) { return left >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1u); }

void fc_rmsnorm_row_avx512(const fc_rmsnorm_row *r) {
    const float *h = r->res ? r->h : r->x;
    __m512 sum = _mm512_setzero_ps(), scale;
    float lane[16];
    for (int d = 0; d < r->D; d += 16) {
        __mmask16 m = lanes(r->D - d);
        __m512 v = _mm512_maskz_loadu_ps(m, r->x + d);
        if (r->res) {
            v = _mm512_add_ps(_mm512_maskz_loadu_ps(m, r->res + d), v);
            _mm512_mask_storeu_ps(r->h + d, m, v);
        }
        sum = _mm512_add_ps(sum, _mm512_mul_ps(v, v));
    }
    _mm512_storeu_ps(lane, sum);
    scale = _mm512_set1_ps(fc_rmsnorm_scale(lane, r->eps, r->D));
    for (int d = 0; d < r->D; d += 16) {
        __mmask16 m = lanes(r->D - d);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, h + d), scale);
        _mm512_mask_storeu_ps(r->y + d, m, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, r->w + d)));
    }
}
