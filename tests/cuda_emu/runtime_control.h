/* runtime_control - the fake runtime's switches and counts, for tests in C.
 *
 * Where CUDA leaves something open, the runtime here takes the choice that a wrong program notices:
 *   time     what is put into a stream runs at a synchronisation, a query or a wait for an event, or at any call before
 *            it, by chance; streams run in any order that events allow. All from the seed.
 *   copies   pinned memory is read and written when the copy runs; pageable memory is read in the call (HtoD; above
 *            1 MB the call waits), or written in the call, behind all that the stream had to do (DtoH).
 *   memory   device memory is 0xff at cudaMalloc, cannot be touched by the host outside of copies (SIGSEGV; where there
 *            is much of it, not after each call: 128 pages for each operation that ran), is never given out again
 *            while there is address space, and has guard pages around it: what a kernel touches outside of its memory
 *            fails the launch with a sentence. The last bytes to a multiple of 256 are compared. Under
 *            AddressSanitizer both are its reports.
 *   errors   an error of a kernel stays until emu_reset. Errors that CUDA does not promise to find are found: a copy
 *            whose kind or range is wrong, a handle that was destroyed, a double free, a graph's stale pointer.
 */
#ifndef FC_EMU_RUNTIME_CONTROL_H
#define FC_EMU_RUNTIME_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the queues run; may be changed at any time. All zero is the default. The order also depends on emu_opts.seed. */
typedef struct {
    uint64_t seed;
    int early;        /* of 1000 calls that enqueue, at how many the device gets ahead by itself; 0: 20; -1: none;
                         1000: everything runs in its call */
    bool open_memory; /* the host can touch device memory: no system calls for protection */
} emu_queue_options;
extern emu_queue_options emu_queue_opts;

/* The pretended device; set before the first call or behind emu_reset. 0 is the default. */
typedef struct {
    bool none;     /* no device, no driver */
    size_t memory; /* bytes; 8 GB */
    int sms;       /* 4 */
    int sm;        /* compute capability: 90 */
    int devices;   /* 1; all alike, and all memory is every device's */
} emu_device_options;
extern emu_device_options emu_device_opts;

/* Since emu_reset or emu_counts_reset. */
typedef struct {
    uint64_t calls;    /* of the runtime, those that ask for errors excepted */
    uint64_t launches; /* kernels that ran, a graph's included; products of cuBLASLt too */
    uint64_t copies, bytes_to_device, bytes_to_host, bytes_on_device; /* that ran */
    uint64_t fills;                                                   /* cudaMemset that ran */
    uint64_t syncs; /* calls that waited: synchronisations, pageable DtoH copies, frees */
    /* Waits for a stream or an event of it, when nothing to do had been put into the stream behind that: it stands
     * still until the host has put in more, however fast either is. By the order of calls alone, not by chance. */
    uint64_t gaps;
    uint64_t graph_launches;
    size_t most_queued; /* operations that had been put into streams and had not run, at the worst moment */
} emu_counters;
emu_counters emu_counts(void);
void emu_counts_reset(void);

/* The k-th call from now (1: the next) fails: cudaErrorMemoryAllocation of what allocates, else cudaErrorUnknown, and
 * does nothing, except for what frees or destroys, which does so. 0: none. */
void emu_fail_at(uint64_t k);
void emu_fail_next(const char *call); /* the next call of that name, as above; NULL: none */
void emu_not_ready(uint64_t n);       /* as on a slow device, the next n queries of events find them not reached */
void emu_lose_at(uint64_t k); /* the k-th call from now finds the device lost; 0: none does */
void emu_lose_device(void);   /* every call from now on fails, cudaErrorIllegalAddress, until emu_reset */
uint64_t emu_calls(void);     /* since emu_reset, whatever emu_counts_reset does */

/* What is allocated or created and not freed or destroyed: how many things; their list goes to stderr when list. A
 * program that ends with such things prints the list. */
int emu_leaks(bool list);

/* As a new process: forgets queued work, frees everything, ends captures and errors. Handles of before are invalid. */
void emu_reset(void);

#ifdef __cplusplus
}
#endif

#endif
