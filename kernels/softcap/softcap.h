/* softcap - x = cap * tanh(x / cap), in place: Gemma 2's bound on logits
 *
 * shapes  x [n]; dtype f32; needs cap > 0; error 1e-6 * cap against softcap_ref.c
 * bits    the same on every vector unit and on CUDA, except in what a NaN holds besides being one
 * source  Gemma Team, "Gemma 2", 2024
 */
#ifndef FC_KERNELS_SOFTCAP_H
#define FC_KERNELS_SOFTCAP_H

#include "kernels/kernel.h"

typedef struct {
    float *x; /* [n] in/out */
    size_t n;
    float cap;
} fc_softcap_args;

fc_status fc_softcap_cpu(fc_stream s, const fc_softcap_args *a);
fc_status fc_softcap_cuda(fc_stream s, const fc_softcap_args *a);
fc_status fc_softcap_ref(fc_stream s, const fc_softcap_args *a);
fc_cost fc_softcap_cost(const fc_softcap_args *a);

#endif
