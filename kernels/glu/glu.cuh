/* glu - one output of the gated unit on the device, with the CPU's bits: for glu.cu and for who makes its x with it. */
#ifndef FC_KERNELS_GLU_CUH
#define FC_KERNELS_GLU_CUH

#include "kernels/cuda/vmath.cuh"

extern "C" {
#include "kernels/glu/glu.h"
}

static __device__ __forceinline__ float fc_glu_one(float gate, float up, fc_act act) {
    float z = act == FC_ACT_SILU ? gate : gate * (FC_GELU_K0 + FC_GELU_K1 * (gate * gate));
    return gate / (1.0f + fc_expf(-z)) * up;
}

#endif
