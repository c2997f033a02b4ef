/* vmath - exp and tanh of the CPU on the device: fc_expf and fc_tanhf of kernels/cpu/vmath.h, the same operations in
 * the same order, so the same bits. What that takes of the compiler are nvcc's defaults but one, -fmad=false: products
 * and sums are rounded by themselves, subnormal numbers kept, quotients rounded correctly.
 */
#ifndef FC_KERNELS_CUDA_VMATH_CUH
#define FC_KERNELS_CUDA_VMATH_CUH

#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "kernels/cpu/vmath.h"
}

#endif
