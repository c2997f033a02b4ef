/* emu_async - Hopper's asynchronous side (kernels/cuda/mbarrier.cuh, wgmma.cuh): barriers in shared memory, bulk copies
 * that land when their barrier's phase completes, products of warpgroups whose sums are there at their wait. README.md
 * tells which mistakes end a launch. */
#ifndef FC_EMU_ASYNC_H
#define FC_EMU_ASYNC_H

#include "cuda_runtime.h"

/* Dynamic shared memory begins at a multiple of 128 in its window, and not at one of 1024. */
unsigned emu_shared_address(const void *p);

void emu_mbarrier_init(uint64_t *b, unsigned count, EMU_WHERE);
void emu_mbarrier_arrive(uint64_t *b, unsigned bytes, EMU_WHERE); /* bytes more are expected in this phase */
void emu_mbarrier_arrive_at(uint64_t *b, int rank, EMU_WHERE);    /* at that block's of the cluster */
void emu_mbarrier_wait(uint64_t *b, unsigned parity, EMU_WHERE);
void emu_copy_bulk(void *shared, const void *global, unsigned bytes, uint64_t *b, EMU_WHERE);
/* The same to each block of the cluster whose bit is set, where that one's b counts. */
void emu_copy_bulk_all(void *shared, const void *global, unsigned bytes, uint64_t *b, unsigned blocks, EMU_WHERE);
void emu_proxy_fence(void);

void emu_wgmma_fence(void);
void emu_wgmma_commit(void);
void emu_wgmma_wait(int pending, EMU_WHERE); /* until no more than so many groups are left */
/* d [n / 2], n columns. turned: b's columns are fastest. */
void emu_wgmma_bf16(float *d, int n, const uint32_t a[4], uint64_t b, bool turned, bool more, EMU_WHERE);
void emu_wgmma_bf16_shared(float *d, int n, uint64_t a, uint64_t b, bool more, EMU_WHERE);
void emu_registers(int n, EMU_WHERE);

#endif
