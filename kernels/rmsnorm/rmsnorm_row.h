/* rmsnorm_row - one row of rmsnorm, by vector unit; all give the same bits. Inner to kernels/rmsnorm and
 * kernels/linear. */
#ifndef FC_KERNELS_RMSNORM_ROW_H
#define FC_KERNELS_RMSNORM_ROW_H

#include "kernels/cpu/cpu.h"

#include <math.h>

typedef struct {
    float *y;         /* [D] out */
    const float *x;   /* [D] */
    const float *res; /* [D] or NULL */
    float *h;         /* [D] where res + x goes, before the second pass: res itself or y. NULL without res */
    const float *w;   /* [D] */
    float eps;
    int D;
} fc_rmsnorm_row;

typedef void (*fc_rmsnorm_run)(const fc_rmsnorm_row *r);

void fc_rmsnorm_row_portable(const fc_rmsnorm_row *r);
void fc_rmsnorm_row_avx2(const fc_rmsnorm_row *r);
void fc_rmsnorm_row_avx512(const fc_rmsnorm_row *r);
fc_rmsnorm_run fc_rmsnorm_run_of(fc_cpu_level level);

/* Lane l holds the sum over d = l, l+16, l+32, ...; lanes fold in halves. */
static inline float fc_rmsnorm_scale(float lane[16], float eps, int D) {
    for (int n = 8; n > 0; n /= 2)
        for (int l = 0; l < n; l++) lane[l] += lane[l + n];
    return 1.0f / sqrtf(lane[0] / (float)D + eps);
}

#endif
