/* util_weight - made-up packed matrices of every type, for tests of operators that multiply by one. */
#ifndef FC_TESTS_UTIL_WEIGHT_H
#define FC_TESTS_UTIL_WEIGHT_H

#include "kernels/linear/linear.h"

enum { WEIGHT_TYPES = 14 };
extern const fc_dtype weight_types[WEIGHT_TYPES];

/* Random codes, scales of about 0.01, from *seed; K a multiple of the type's block. Ends the test on failure; free with
 * fc_weight_free_cpu. */
fc_weight *weight_made_up(fc_stream s, fc_dtype t, int N, int K, uint64_t *seed);
/* The same of up to 4 tensors: types and outputs [n]. */
fc_weight *weight_stack(fc_stream s, const fc_dtype *types, const int *outputs, int n, int K, uint64_t *seed);

#endif
