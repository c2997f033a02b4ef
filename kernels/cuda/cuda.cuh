/* cuda - what every .cu file includes first: the runtime, C headers, how a kernel is launched and how calls fail.
 *
 * Four habits, so that the same files run under tests/cuda_emu:
 *   (1) kernels are `static __global__ void name(const P p)`, templates at most, P one plain struct;
 *   (2) shared memory is the block's one dynamic piece, described by a struct: fc_shared<S>(). No __shared__ anywhere;
 *   (3) a launch is fc_launch, never <<<>>>;
 *   (4) PTX lives in kernels/cuda/ *.cuh alone, each wrapper beside its twin for FC_CUDA_EMU.
 * Headers of C are included inside extern "C".
 */
#ifndef FC_KERNELS_CUDA_CUH
#define FC_KERNELS_CUDA_CUH

#include <cuda_runtime.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

extern "C" {
#include "kernels/kernel.h"
}
#include "kernels/cuda/stream.cuh"

/* A place where a call that failed ends. Under emulation a test knows all of them, and which it saw. */
#ifdef FC_CUDA_EMU
#define FC_FAILS_HERE(call) emu_fails_here(call)
#else
#define FC_FAILS_HERE(call) ((void)0)
#endif

/* The call's name and CUDA's own words become the sentence; memory that is not to be had is FC_ERR_MEM. */
#define FC_CUDA_FAILED(e, call) (FC_FAILS_HERE(call), fc_cuda_failed(e, call))
#define FC_CUDA_TRY(call)                                                                                              \
    do {                                                                                                               \
        cudaError_t fc_cuda_e_ = (call);                                                                               \
        if (fc_cuda_e_ != cudaSuccess) return FC_CUDA_FAILED(fc_cuda_e_, #call);                                       \
    } while (0)

/* The block's dynamic shared memory as an S; the launch said how much there is. */
template <typename S> static __device__ __forceinline__ S *fc_shared() {
#ifdef FC_CUDA_EMU
    return (S *)emu_at->shared;
#else
    extern __shared__ __align__(128) unsigned char fc_shared_bytes[];
    return (S *)fc_shared_bytes;
#endif
}

/* One launch: grid of blocks, `block` threads each, `shared` bytes of dynamic shared memory. A grid of no blocks is no
 * launch. name is for errors. The order of calls is the order of execution. */
template <typename P>
static fc_status fc_launch(fc_stream s, const char *name, void (*kernel)(const P), dim3 grid, int block, size_t shared,
                           const P &p) {
    static_assert(sizeof(P) <= FC_CUDA_PARAMS, "a kernel's parameters are at most FC_CUDA_PARAMS bytes");
#ifdef FC_CUDA_EMU
    emu_know((const void *)kernel,
             [](const void *k, const void *params) { ((void (*)(const P))k)(*(const P *)params); }, sizeof(P), name);
#endif
    return fc_cuda_launch(s, name, (const void *)kernel, grid, block, shared, &p, sizeof p);
}

/* Blocks that run together and reach each other's shared memory (cluster.cuh), as an attribute of a kernel. */
#if defined(FC_CUDA_EMU) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900)
#define FC_CLUSTER(x, y)
#else
#define FC_CLUSTER(x, y) __cluster_dims__(x, y, 1)
#endif

/* The same of a kernel with FC_CLUSTER(x, y), on a device of 9.0; the grid is of whole clusters. */
template <typename P>
static fc_status fc_launch_cluster(fc_stream s, const char *name, void (*kernel)(const P), int x, int y, dim3 grid,
                                   int block, size_t shared, const P &p) {
    if (grid.x % (unsigned)x || grid.y % (unsigned)y)
        return FC_FAIL(FC_ERR_INTERNAL, "%s: a grid of %u x %u blocks in clusters of %d x %d", name, grid.x, grid.y, x,
                       y);
#ifdef FC_CUDA_EMU
    emu_know((const void *)kernel,
             [](const void *k, const void *params) { ((void (*)(const P))k)(*(const P *)params); }, sizeof(P), name,
             dim3((unsigned)x, (unsigned)y));
    return fc_cuda_launch(s, name, (const void *)kernel, grid, block, shared, &p, sizeof p);
#else
    return fc_launch(s, name, kernel, grid, block, shared, p);
#endif
}

/* v, opaque to the compiler: what is computed from it is computed here, and not kept in registers from before a loop.
 */
static __device__ __forceinline__ int fc_opaque(int v) {
#ifdef __CUDA_ARCH__
    asm volatile("" : "+r"(v));
#endif
    return v;
}

static inline int fc_div_up(int a, int b) { return (a + b - 1) / b; }

#endif
