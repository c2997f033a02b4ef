/* num - conversions between float and the narrow formats, with the bits of engine/base/dtype.h on every device, and the
 * few instructions on words that CUDA has no function for. */
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

static __device__ __forceinline__ uint16_t fc_bf16_of(float f) { return (uint16_t)(fc_bf16_pair(f, 0.0f) & 0xffffu); }

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

/* 2^x, relative error at most 2^-22 (PTX ex2.approx.ftz.f32): results that would be denormal are 0, NaN stays NaN. The
 * twin rounds correctly: tests of what uses it leave room for 2 ulp more. */
static __device__ __forceinline__ float fc_exp2(float x) {
#ifdef FC_CUDA_EMU
    float y = exp2f(x);
    return y < 0x1p-126f ? 0.0f : y;
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

/* Bit i of the result is bit (a_i << 2 | b_i << 1 | c_i) of TABLE: 0xf0, 0xcc and 0xaa stand for a, b and c in the
 * formula, so (a & b) | c is (0xf0 & 0xcc) | 0xaa. */
template <int TABLE> static __device__ __forceinline__ uint32_t fc_lop3(uint32_t a, uint32_t b, uint32_t c) {
    static_assert(TABLE >= 0 && TABLE < 256, "a table of 8 bits");
#ifdef FC_CUDA_EMU
    uint32_t r = 0;
    for (int i = 0; i < 8; i++)
        if (TABLE >> i & 1) r |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    return r;
#else
    uint32_t r;
    asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(r) : "r"(a), "r"(b), "r"(c), "n"(TABLE));
    return r;
#endif
}

#endif
