/* glu - y[t,f] = act(x[t,f]) * x[t,F+f]: SwiGLU, or GeGLU with the tanh form of GELU
 *
 * shapes  x [T,2F] (gate then up), y [T,F]; contiguous
 * dtype   f32
 * needs   T >= 1, F >= 1
 * error   2e-6 relative + 1e-7 absolute against glu_ref.c
 * bits    the same on every vector unit and on CUDA, except in what a NaN holds besides being one
 * used    by linear, to make its x (linear.h); no backend's table has it as an operator of its own
 * source  Shazeer, "GLU Variants Improve Transformer", 2020; Hendrycks & Gimpel, "GELUs", 2016 (tanh form)
 */
#ifndef FC_KERNELS_GLU_H
#define FC_KERNELS_GLU_H

#include "kernels/kernel.h"

typedef enum { FC_ACT_SILU = 0, FC_ACT_GELU_TANH } fc_act;

/* silu(x) = x / (1 + e^-x). The tanh form of GELU is x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3), since
 * (1 + tanh u) / 2 is the logistic function of 2u: no cancellation where tanh u is near -1. */
#define FC_GELU_K0 1.5957691216f  /* 2 sqrt(2/pi) */
#define FC_GELU_K1 0.07135481283f /* 2 sqrt(2/pi) * 0.044715 */

typedef struct {
    float *y;       /* [T,F] out */
    const float *x; /* [T,2F]    */
    int T, F;
    fc_act act;
} fc_glu_args;

fc_status fc_glu_cpu(fc_stream s, const fc_glu_args *a);
fc_status fc_glu_cuda(fc_stream s, const fc_glu_args *a);
fc_status fc_glu_ref(fc_stream s, const fc_glu_args *a);
fc_cost fc_glu_cost(const fc_glu_args *a);

#endif
