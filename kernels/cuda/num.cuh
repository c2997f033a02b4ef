/* num - conversions between float and the narrow formats, with the bits of engine/base/dtype.h on every device. */
#ifndef FC_KERNELS_CUDA_NUM_CUH
#define FC_KERNELS_CUDA_NUM_CUH

#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "engine/base/dtype.h"
}

/* Two floats rounded to nearest even as bf16: lo in the low half. NaN becomes 0x7fff (PTX cvt.rn.bf16x2.f32). */
static __device__ __forceinline__ uint32_t fc_bf16_pair(float lo, float hi) {
#ifdef FC_CUDA_EMU
    uint32_t l = isnan(lo) ? 0x7fffu : fc_f32_to_bf16(lo), h = isnan(hi) ? 0x7fffu : fc_f32_to_bf16(hi);
    return h << 16 | l;
#else
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
#endif
}

static __device__ __forceinline__ float fc_bf16_lo(uint32_t pair) { return __uint_as_float(pair << 16); }
static __device__ __forceinline__ float fc_bf16_hi(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

/* a b + c in both halves, one rounding each (PTX fma.rn.bf16x2). The twin rounds twice where f32 cannot hold it. */
static __device__ __forceinline__ uint32_t fc_bf16_pair_fma(uint32_t a, uint32_t b, uint32_t c) {
#ifdef FC_CUDA_EMU
    return fc_bf16_pair(fmaf(fc_bf16_lo(a), fc_bf16_lo(b), fc_bf16_lo(c)),
                        fmaf(fc_bf16_hi(a), fc_bf16_hi(b), fc_bf16_hi(c)));
#else
    uint32_t r;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
#endif
}

/* Exact. */
static __device__ __forceinline__ float fc_f16_float(uint16_t h) {
#ifdef FC_CUDA_EMU
    return fc_f16_to_f32(h);
#else
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
#endif
}

#endif
