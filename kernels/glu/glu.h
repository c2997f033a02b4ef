/* glu - y[t,f] = act(x[t,f]) * x[t,F+f]: SwiGLU, or GeGLU with the tanh form of GELU
 *
 * shapes  x [T,2F] (gate then up), y [T,F]; contiguous
 * dtype   f32
 * needs   T >= 1, F >= 1
 * error   2e-6 relative + 1e-7 absolute against glu_ref.c
 * used    by linear, to make its x (linear.h); no backend's table has it as an operator of its own
 * source  Shazeer, "GLU Variants Improve Transformer", 2020; Hendrycks & Gimpel, "GELUs", 2016 (tanh form)
 */
#ifndef FC_KERNELS_GLU_H
#define FC_KERNELS_GLU_H

#include "kernels/kernel.h"

typedef enum { FC_ACT_SILU = 0, FC_ACT_GELU_TANH } fc_act;

typedef struct {
    float *y;       /* [T,F] out */
    const float *x; /* [T,2F]    */
    int T, F;
    fc_act act;
} fc_glu_args;

fc_status fc_glu_cpu(fc_stream s, const fc_glu_args *a);
fc_status fc_glu_ref(fc_stream s, const fc_glu_args *a);
fc_cost fc_glu_cost(const fc_glu_args *a);

#endif
