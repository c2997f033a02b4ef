/* mbarrier - barriers in shared memory that count arrivals and bytes, and bulk copies that complete on them (sm_90).
 *
 * A barrier's phase completes with its last arrival, once all bytes that were announced in it have landed; the next one
 * begins, with the same count. Waiting names a phase by its parity: those from fc_mbarrier_init on are 0, 1, 0, .., and
 * a wait for 1 at a new barrier returns at once. Who waits sees what came before the arrivals, and the bytes.
 *
 * Bulk copies and warpgroup products (wgmma.cuh) reach shared memory by a way of their own: what threads have stored
 * there, a barrier's first state included, is seen on it after fc_proxy_fence of the thread that stored it.
 */
#ifndef FC_KERNELS_CUDA_MBARRIER_CUH
#define FC_KERNELS_CUDA_MBARRIER_CUH

#include "kernels/cuda/cuda.cuh"

/* Whether this compilation has the pieces here and in wgmma.cuh; elsewhere they trap, and nothing may launch them. */
#if defined(FC_CUDA_EMU) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define FC_HOPPER 1
#else
#define FC_HOPPER 0
#endif

/* Where p lies in the multiprocessor's window of shared memory: what descriptors and swizzles count from. */
static __device__ __forceinline__ unsigned fc_shared_address(const void *p) {
#ifdef FC_CUDA_EMU
    return emu_shared_address(p);
#else
    return (unsigned)__cvta_generic_to_shared(p);
#endif
}

/* b: 8 bytes of shared memory, aligned to 8. One thread; others use it after a barrier. */
static __device__ __forceinline__ void fc_mbarrier_init(uint64_t *b, unsigned count) {
#ifdef FC_CUDA_EMU
    emu_mbarrier_init(b, count);
#elif FC_HOPPER
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(fc_shared_address(b)), "r"(count) : "memory");
#else
    __trap();
#endif
}

static __device__ __forceinline__ void fc_mbarrier_arrive(uint64_t *b) {
#ifdef FC_CUDA_EMU
    emu_mbarrier_arrive(b, 0);
#elif FC_HOPPER
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(fc_shared_address(b)) : "memory");
#else
    __trap();
#endif
}

/* Arrives, and announces that so many bytes of copies belong to this phase: less than 2^20. */
static __device__ __forceinline__ void fc_mbarrier_expect(uint64_t *b, unsigned bytes) {
#ifdef FC_CUDA_EMU
    emu_mbarrier_arrive(b, bytes);
#elif FC_HOPPER
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(fc_shared_address(b)), "r"(bytes)
                 : "memory");
#else
    __trap();
#endif
}

/* Until the phase of this parity has completed: the current one or the one before it. */
static __device__ __forceinline__ void fc_mbarrier_wait(uint64_t *b, unsigned parity) {
#ifdef FC_CUDA_EMU
    emu_mbarrier_wait(b, parity);
#elif FC_HOPPER
    unsigned at = fc_shared_address(b), done;
    do {
        asm volatile("{\n"
                     ".reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n"
                     "}"
                     : "=r"(done)
                     : "r"(at), "r"(parity)
                     : "memory");
    } while (!done);
#else
    __trap();
#endif
}

/* bytes, a multiple of 16 as both addresses are, to shared memory; they count at b when they have landed. */
static __device__ __forceinline__ void fc_copy_bulk(void *shared, const void *global, unsigned bytes, uint64_t *b) {
#ifdef FC_CUDA_EMU
    emu_copy_bulk(shared, global, bytes, b);
#elif FC_HOPPER
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     fc_shared_address(shared)),
                 "l"(__cvta_generic_to_global(global)), "r"(bytes), "r"(fc_shared_address(b))
                 : "memory");
#else
    __trap();
#endif
}

/* ---- in clusters (cluster.cuh): a block's barriers and memory are named by this block's at the same place */

/* At block `rank`'s b, where bytes that this thread has read may be copied over by who waits. What it wrote need not be
 * seen there: that would be a fence of the whole device. */
static __device__ __forceinline__ void fc_mbarrier_arrive_at(uint64_t *b, int rank) {
#ifdef FC_CUDA_EMU
    emu_mbarrier_arrive_at(b, rank);
#elif FC_HOPPER
    asm volatile("{\n"
                 ".reg .b32 there;\n"
                 "mapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
                 "}" ::"r"(fc_shared_address(b)),
                 "r"(rank)
                 : "memory");
#else
    __trap();
#endif
}

/* As fc_copy_bulk to each block whose bit is set, where the bytes count at that one's b. Read once. */
static __device__ __forceinline__ void fc_copy_bulk_all(void *shared, const void *global, unsigned bytes, uint64_t *b,
                                                        unsigned blocks) {
#ifdef FC_CUDA_EMU
    emu_copy_bulk_all(shared, global, bytes, b, blocks);
#elif FC_HOPPER
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, "
                 "[%3], %4;" ::"r"(fc_shared_address(shared)),
                 "l"(__cvta_generic_to_global(global)), "r"(bytes), "r"(fc_shared_address(b)), "h"((uint16_t)blocks)
                 : "memory");
#else
    __trap();
#endif
}

static __device__ __forceinline__ void fc_proxy_fence() {
#ifdef FC_CUDA_EMU
    emu_proxy_fence();
#elif FC_HOPPER
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
    __trap();
#endif
}

#endif
