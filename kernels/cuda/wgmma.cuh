/* wgmma - products of a warpgroup on tensor cores (sm_90a): asynchronous, B in shared memory, A and D in registers.
 *
 * A warpgroup is 4 warps, the first a multiple of 4; all 128 threads issue the same products in the same order. Warp w
 * has rows 16 (w % 4) .. + 15 of 64. With g = lane / 4 and t = lane % 4, of its rows, as PTX lays fragments out:
 *   a  as of m16n8k16 in mma.cuh
 *   d  d[4 i] d[4 i + 1] row g, columns 8 i + 2t, 8 i + 2t + 1; d[4 i + 2] d[4 i + 3] row g + 8, the same columns
 *   b  [N columns][16 k] bf16, k fastest, in shared memory as fc_wgmma_b says
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

#if !defined(FC_CUDA_EMU) && FC_HOPPER
static __device__ __forceinline__ void fc_wgmma_32(float *d, const uint32_t a[4], uint64_t b, bool more) {
    asm volatile("{\n"
                 ".reg .pred p;\n"
                 "setp.ne.b32 p, %21, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
                 "{%16, %17, %18, %19}, %20, p, 1, 1, 0;\n"
                 "}"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
                   "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)more));
}
static __device__ __forceinline__ void fc_wgmma_64(float *d, const uint32_t a[4], uint64_t b, bool more) {
    asm volatile("{\n"
                 ".reg .pred p;\n"
                 "setp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
                 "{%32, %33, %34, %35}, %36, p, 1, 1, 0;\n"
                 "}"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
                   "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
                   "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),
                   "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
                   "+f"(d[30]), "+f"(d[31])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)more));
}
#endif

/* d = a b, more: d += a b; 64 x N, k 16; d [N / 2]. */
template <int N>
static __device__ __forceinline__ void fc_wgmma_bf16(float *d, const uint32_t a[4], uint64_t b, bool more) {
    static_assert(N == 32 || N == 64, "columns of a product");
#ifdef FC_CUDA_EMU
    emu_wgmma_bf16(d, N, a, b, more);
#elif FC_HOPPER
    if constexpr (N == 32) fc_wgmma_32(d, a, b, more);
    else fc_wgmma_64(d, a, b, more);
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
