#include "kernels/cpu/lanes_avx512.h"
#include "kernels/rmsnorm/rmsnorm_row.h"

/* Lanes past D are read as zero and written nowhere. */
void fc_rmsnorm_row_avx512(const fc_rmsnorm_row *r) {
    const float *h = r->res ? r->h : r->x;
    __m512 sum = _mm512_setzero_ps(), scale;
    float lane[16];
    for (int d = 0; d < r->D; d += 16) {
        __mmask16 m = fc_lanes_avx512(r->D - d);
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
        __mmask16 m = fc_lanes_avx512(r->D - d);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, h + d), scale);
        _mm512_mask_storeu_ps(r->y + d, m, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, r->w + d)));
    }
}
