/* util_heads - what reads a vocabulary, on a backend and on ranks that share it: the same bits. */
#ifndef FC_TESTS_ENGINE_UTIL_HEADS_H
#define FC_TESTS_ENGINE_UTIL_HEADS_H

#include "kernels/backend.h"
#include "tests/util.h"

enum { HEADS_V = 1300, HEADS_D = 64, HEADS_ROWS = 300 }; /* limits of both backends; more rows than go at once */

/* Embedding, draws, sums, picked ids and whole logits of a matrix of this type: F32, BF16 or Q8_0. */
void heads_same(const char *what, fc_backend *one, fc_backend *ranks, fc_dtype type, float cap);

#endif
