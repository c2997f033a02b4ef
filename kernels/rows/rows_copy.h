/* rows_copy - y[dst[i],:] = x[src[i],:]: rows gathered, scattered, or both
 *
 * shapes  x [x_rows,D], y [y_rows,D], src, dst [n]; NULL means row i
 * dtype   f32, moved as bits
 * needs   D >= 1; 0 <= src < x_rows, 0 <= dst < y_rows, dst distinct; x and y do not overlap
 * bytes   8*n*D + 4*n for each list
 * error   exact
 */
#ifndef FC_KERNELS_ROWS_COPY_H
#define FC_KERNELS_ROWS_COPY_H

#include "kernels/kernel.h"

typedef struct {
    float *y;           /* [y_rows,D] out */
    const float *x;     /* [x_rows,D] */
    const int32_t *dst; /* [n] or NULL */
    const int32_t *src; /* [n] or NULL */
    int n, D, x_rows, y_rows;
} fc_rows_copy_args;

fc_status fc_rows_copy_cpu(fc_stream s, const fc_rows_copy_args *a);
fc_status fc_rows_copy_cuda(fc_stream s, const fc_rows_copy_args *a);
fc_status fc_rows_copy_ref(fc_stream s, const fc_rows_copy_args *a);
fc_cost fc_rows_copy_cost(const fc_rows_copy_args *a);

#endif
