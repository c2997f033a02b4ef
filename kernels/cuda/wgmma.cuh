/* wgmma - products of a warpgroup on tensor cores (sm_90a): asynchronous, B in shared memory, A there or in registers,
 * D in registers.
 *
 * A warpgroup is 4 warps, the first a multiple of 4; all 128 threads issue the same products in the same order. Warp w
 * has rows 16 (w % 4) .. + 15 of 64. With g = lane / 4 and t = lane % 4, of its rows, as PTX lays fragments out:
 *   a  as of m16n8k16 in mma.cuh
 *   d  d[4 i] d[4 i + 1] row g, columns 8 i + 2t, 8 i + 2t + 1; d[4 i + 2] d[4 i + 3] row g + 8, the same columns
 *   b  [N columns][16 k] bf16, in shared memory: k fastest as fc_wgmma_b says, or columns as fc_wgmma_b_turned does
 * A in shared memory is [64 rows][16 k], laid out as a b of 64 columns with k fastest.
 *
 * From issue to the wait that covers it a product's a and d are the tensor core's, and its b may not change. Before the
 * first product, and whenever other instructions have touched a or d since, goes fc_wgmma_fence. Products with one d
 * follow one another. Groups are done in the order of their commits. Sums as in mma.cuh.
 * source  PTX ISA, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions"
 */
#ifndef FC_KERNELS_CUDA_WGMMA_CUH
#define FC_KERNELS_CUDA_WGMMA_CUH

#include "kernels/cuda/mbarrier.cuh"

enum { FC_WARPGROUP = 128 };

/* b whose rows of 128 bytes, a column's 64 k each, lie one behind the other from a multiple of 1024 on; in each row the
 * pieces of 16 bytes are in places XOR row % 8. at: where the 16 k begin in the first row, before that: 0, 32, 64, 96
 * bytes behind its begin. Fields: address, no leading offset in this layout, 1024 bytes from 8 rows to the next 8, all
 * in 16 bytes; the kind of swizzle. */
static __device__ __forceinline__ uint64_t fc_wgmma_b(const void *at) {
    return (uint64_t)1 << 62 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 16 |
           (uint64_t)((fc_shared_address(at) & 0x3ffff) >> 4);
}

static __device__ __forceinline__ void fc_wgmma_fence() {
#ifdef FC_CUDA_EMU
    emu_wgmma_fence();
#elif FC_HOPPER
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
    __trap();
#endif
}

/* b whose columns are fastest: for each 64 of them rows of 128 bytes, a k each, one behind the other from a multiple of
 * 1024 on, swizzled as above; from one 64 columns to the next `panel` bytes, from 8 k to the next 8 1024. at: the first
 * of the 16 k, at a multiple of 1024. */
static __device__ __forceinline__ uint64_t fc_wgmma_b_turned(const void *at, unsigned panel) {
    return (uint64_t)1 << 62 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)(panel >> 4) << 16 |
           (uint64_t)((fc_shared_address(at) & 0x3ffff) >> 4);
}

/* What was issued since the last one is a group. */
static __device__ __forceinline__ void fc_wgmma_commit() {
#ifdef FC_CUDA_EMU
    emu_wgmma_commit();
#elif FC_HOPPER
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
    __trap();
#endif
}

/* Until at most PENDING of this thread's groups are not done. */
template <int PENDING> static __device__ __forceinline__ void fc_wgmma_wait() {
#ifdef FC_CUDA_EMU
    emu_wgmma_wait(PENDING);
#elif FC_HOPPER
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
#else
    __trap();
#endif
}

/* Behind the wait for them: what reads the sums is not moved before it. */
template <int N> static __device__ __forceinline__ void fc_wgmma_done(float *d) {
#if !defined(FC_CUDA_EMU) && FC_HOPPER
#pragma unroll
    for (int i = 0; i < N / 2; i++) asm volatile("" : "+f"(d[i])::"memory");
#else
    (void)d;
#endif
}

/* Before a wait: what computes these n floats is not moved behind it, so that it runs beside the products. */
template <int N> static __device__ __forceinline__ void fc_wgmma_beside(float *v) {
#if !defined(FC_CUDA_EMU) && FC_HOPPER
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(v[i])::"memory");
#else
    (void)v;
#endif
}

/* Operands of asm: d by eights, and their numbers in the instruction. */
#define FC_D8(d, i)                                                                                                    \
    "+f"((d)[i]), "+f"((d)[(i) + 1]), "+f"((d)[(i) + 2]), "+f"((d)[(i) + 3]), "+f"((d)[(i) + 4]), "+f"((d)[(i) + 5]),  \
        "+f"((d)[(i) + 6]), "+f"((d)[(i) + 7])
#define FC_D32(d, i)  FC_D8(d, i), FC_D8(d, (i) + 8), FC_D8(d, (i) + 16), FC_D8(d, (i) + 24)
#define FC_A4(a)      "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3])
#define FC_NUMBERS_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define FC_NUMBERS_32 FC_NUMBERS_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define FC_NUMBERS_64                                                                                                  \
    FC_NUMBERS_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, "  \
                  "%51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
/* more: number of the predicate's operand. columns: "n32" and so on. rest: a, b, p, and the immediates. */
#define FC_WGMMA(more, columns, numbers, rest)                                                                         \
    "{\n"                                                                                                              \
    ".reg .pred p;\n"                                                                                                  \
    "setp.ne.b32 p, " more ", 0;\n"                                                                                    \
    "wgmma.mma_async.sync.aligned.m64" columns "k16.f32.bf16.bf16 {" numbers "}, " rest ";\n"                          \
    "}"

/* d = a b, more: d += a b; 64 x N, k 16; d [N / 2]. turned: b is fc_wgmma_b_turned's. */
template <int N, bool TURNED = false>
static __device__ __forceinline__ void fc_wgmma_bf16(float *d, const uint32_t a[4], uint64_t b, bool more) {
    static_assert(N == 32 || N == 64 || N == 128, "columns of a product");
#ifdef FC_CUDA_EMU
    emu_wgmma_bf16(d, N, a, b, TURNED, more);
#elif FC_HOPPER
    if constexpr (N == 32)
        asm volatile(FC_WGMMA("%21", "n32", FC_NUMBERS_16, "{%16, %17, %18, %19}, %20, p, 1, 1, %22")
                     : FC_D8(d, 0), FC_D8(d, 8)
                     : FC_A4(a), "l"(b), "r"((int)more), "n"((int)TURNED));
    else if constexpr (N == 64)
        asm volatile(FC_WGMMA("%37", "n64", FC_NUMBERS_32, "{%32, %33, %34, %35}, %36, p, 1, 1, %38")
                     : FC_D32(d, 0)
                     : FC_A4(a), "l"(b), "r"((int)more), "n"((int)TURNED));
    else
        asm volatile(FC_WGMMA("%69", "n128", FC_NUMBERS_64, "{%64, %65, %66, %67}, %68, p, 1, 1, %70")
                     : FC_D32(d, 0), FC_D32(d, 32)
                     : FC_A4(a), "l"(b), "r"((int)more), "n"((int)TURNED));
#else
    __trap();
#endif
}

/* The same of an a in shared memory, b with k fastest; a, b: fc_wgmma_b. */
template <int N>
static __device__ __forceinline__ void fc_wgmma_bf16_shared(float *d, uint64_t a, uint64_t b, bool more) {
    static_assert(N == 64, "columns of a product");
#ifdef FC_CUDA_EMU
    emu_wgmma_bf16_shared(d, N, a, b, more);
#elif FC_HOPPER
    asm volatile(FC_WGMMA("%34", "n64", FC_NUMBERS_32, "%32, %33, p, 1, 1, 0, 0")
                 : FC_D32(d, 0)
                 : "l"(a), "l"(b), "r"((int)more));
#else
    __trap();
#endif
}

/* Registers of each thread of the warpgroup, all of whose warps come: fewer for who copies, more for who multiplies. A
 * multiple of 8, 24 to 240. */
template <int N> static __device__ __forceinline__ void fc_registers_fewer() {
    static_assert(N % 8 == 0 && N >= 24 && N <= 240, "setmaxnreg takes multiples of 8 from 24 to 240");
#ifdef FC_CUDA_EMU
    emu_registers(N);
#elif FC_HOPPER
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
#else
    __trap();
#endif
}
template <int N> static __device__ __forceinline__ void fc_registers_more() {
    static_assert(N % 8 == 0 && N >= 24 && N <= 240, "setmaxnreg takes multiples of 8 from 24 to 240");
#ifdef FC_CUDA_EMU
    emu_registers(N);
#elif FC_HOPPER
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
#else
    __trap();
#endif
}

#endif
