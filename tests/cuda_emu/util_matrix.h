/* util_matrix - made-up tensors of every type that CUDA's matrices accept, stacked and packed. */
#ifndef FC_TESTS_UTIL_MATRIX_H
#define FC_TESTS_UTIL_MATRIX_H

#include "kernels/linear/linear.h"
#include "tests/cuda_emu/util_cuda.h"

enum { MATRIX_TYPES = 14, MATRIX_PARTS = 4 };
extern const fc_dtype matrix_types[MATRIX_TYPES];

typedef struct {
    fc_weight_part parts[MATRIX_PARTS];
    int n_parts, N, K;
    fc_weight *w;
} matrix;

/* Scales of F8: none, one an output, one for some columns; of other values, one of these at random. */
enum { MATRIX_F8_NONE = 1, MATRIX_F8_ROWS, MATRIX_F8_BLOCKS };
extern int matrix_f8;

/* Random codes, scales of about 0.01, some of 0; K a multiple of each type's block. matrix_fini frees. */
void matrix_init(matrix *m, fc_stream s, const fc_dtype *types, const int *outputs, int n, int K, uint64_t *seed);
void matrix_fini(matrix *m);

#define MATRIX_MOST 1e-6 /* linear.h, error: of own kernels */

/* |y - ref| at most `most` of the sum of absolute products, and the bias's rounding; NaN where and only where the
 * reference has it. Of a product that would take the reference minutes, some rows. */
void matrix_check(const matrix *m, const float *y, const float *x, const float *bias, int T, bool precise, double most,
                  const char *what);

#endif
