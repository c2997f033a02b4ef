/* util_head - a head's matrix and states of rows, and the logits that linear and softcap make of them. */
#ifndef FC_TESTS_UTIL_HEAD_H
#define FC_TESTS_UTIL_HEAD_H

#include "tests/cuda_emu/util_matrix.h"

typedef struct {
    matrix m;
    int V, D, R;
    float cap; /* 0: none */
    bool precise;
    float *x, *logits; /* [R,D], [R,V] */
    float *device_x;
} head;

/* Row `broken` of x, if it is one, holds a NaN. head_fini frees. */
void head_init(head *h, fc_stream s, fc_dtype type, int V, int R, float cap, bool precise, int broken, uint64_t *seed);
void head_fini(head *h);

#endif
