/* emu - CUDA's device side on the host: one fibre per thread, meetings (barriers, shuffles, votes, matrix products) as
 * rendezvous, asynchronous copies that land at their wait, poisoned shared memory.
 *
 * A fibre runs until it meets others or ends; which one runs next is the order (emu_options). A meeting of a warp is one
 * function that the last lane to come calls over what all lanes brought. What goes wrong (a barrier that some never
 * reach, threads at different barriers, lanes that are not in their mask) ends the launch with a sentence, not the test.
 */
#ifndef FC_EMU_H
#define FC_EMU_H

#include "tests/cuda_emu/emu_control.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

struct emu_position {
    uint3 thread, block;
    dim3 block_dim, grid_dim;
    unsigned char *shared; /* the block's dynamic shared memory */
    unsigned shared_bytes;
    int lane;
};
extern thread_local emu_position *emu_at;

/* Calls, so that the runtime's structs can have members of the names of the last two. */
static inline dim3 &emu_block_dim() { return emu_at->block_dim; }
static inline dim3 &emu_grid_dim() { return emu_at->grid_dim; }
#define threadIdx (emu_at->thread)
#define blockIdx  (emu_at->block)
#define blockDim  emu_block_dim()
#define gridDim   emu_grid_dim()
enum { warpSize = 32 };

/* Runs one grid to its end; false: emu_error() says what was wrong. call(kernel, params) is the kernel's call. */
typedef void (*emu_call)(const void *kernel, const void *params);
bool emu_run(emu_call call, const void *kernel, const void *params, dim3 grid, dim3 block, unsigned shared_bytes);
const char *emu_error(void);
[[noreturn]] void emu_fail(const char *fmt, ...)
    __attribute__((format(printf, 1, 2))); /* in a kernel: ends the launch */

/* ---- meetings ---- */

void emu_barrier(int id, int threads, const char *file, int line); /* threads 0: all of the block */
#define __syncthreads() emu_barrier(0, 0, __FILE__, __LINE__)

/* Lanes of mask meet; the last to come calls fn once with what each brought (NULL: not in the mask). */
typedef void (*emu_meeting)(void *const brought[32], unsigned mask);
void emu_meet(unsigned mask, const char *what, emu_meeting fn, void *brought);

static inline void __syncwarp(unsigned mask = 0xffffffffu) {
    int nothing;
    emu_meet(
        mask, "__syncwarp", [](void *const *, unsigned) {}, &nothing);
}

template <typename T> struct emu_shuffle {
    T value, got;
    int from;
};
template <typename T> static inline T emu_shuffle_from(unsigned mask, const char *what, T value, int from) {
    emu_shuffle<T> mine = {value, value, from};
    emu_meet(
        mask, what,
        [](void *const brought[32], unsigned m) {
            for (int i = 0; i < 32; i++) {
                if (!(m >> i & 1)) continue;
                emu_shuffle<T> *s = (emu_shuffle<T> *)brought[i];
                if (!(m >> s->from & 1)) emu_fail("a shuffle reads lane %d, which is not in mask %08x", s->from, m);
                s->got = ((emu_shuffle<T> *)brought[s->from])->value;
            }
        },
        &mine);
    return mine.got;
}
template <typename T> static inline T __shfl_sync(unsigned mask, T v, int lane, int width = 32) {
    int base = emu_at->lane & ~(width - 1);
    return emu_shuffle_from(mask, "__shfl_sync", v, base | (lane & (width - 1)));
}
template <typename T> static inline T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) {
    int to = emu_at->lane ^ bits;
    if (to / width > emu_at->lane / width) to = emu_at->lane;
    return emu_shuffle_from(mask, "__shfl_xor_sync", v, to);
}
template <typename T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
    int to = emu_at->lane + (int)by;
    if (to / width != emu_at->lane / width) to = emu_at->lane;
    return emu_shuffle_from(mask, "__shfl_down_sync", v, to);
}
template <typename T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
    int to = emu_at->lane - (int)by;
    if (to < 0 || to / width != emu_at->lane / width) to = emu_at->lane;
    return emu_shuffle_from(mask, "__shfl_up_sync", v, to);
}
static inline unsigned __ballot_sync(unsigned mask, int vote) {
    struct ballot {
        int vote;
        unsigned all;
    } mine = {vote, 0};
    emu_meet(
        mask, "__ballot_sync",
        [](void *const brought[32], unsigned m) {
            unsigned all = 0;
            for (int i = 0; i < 32; i++)
                if (m >> i & 1 && ((ballot *)brought[i])->vote) all |= 1u << i;
            for (int i = 0; i < 32; i++)
                if (m >> i & 1) ((ballot *)brought[i])->all = all;
        },
        &mine);
    return mine.all;
}
static inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
static inline int __all_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) == mask; }

/* ---- asynchronous copies: queued by a thread, landed at its wait ---- */

void emu_copy_async(void *shared, const void *global, int bytes, int read); /* bytes beyond `read` are zeroed */
void emu_copy_commit(void);
void emu_copy_wait(int groups); /* all but the newest `groups` groups land */

/* ---- atomics, fences, numbers ---- */

template <typename T> static inline T atomicAdd(T *p, T v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
static inline float atomicAdd(float *p, float v) {
    uint32_t *u = (uint32_t *)p, old = __atomic_load_n(u, __ATOMIC_RELAXED), now;
    float f;
    do {
        memcpy(&f, &old, 4);
        f += v;
        memcpy(&now, &f, 4);
    } while (!__atomic_compare_exchange_n(u, &old, now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    memcpy(&f, &old, 4);
    return f;
}
template <typename T> static inline T atomicExch(T *p, T v) { return __atomic_exchange_n(p, v, __ATOMIC_RELAXED); }
template <typename T> static inline T atomicCAS(T *p, T expected, T v) {
    __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return expected;
}
template <typename T> static inline T atomicMin(T *p, T v) {
    T old = __atomic_load_n(p, __ATOMIC_RELAXED);
    while (v < old && !__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return old;
}
template <typename T> static inline T atomicMax(T *p, T v) {
    T old = __atomic_load_n(p, __ATOMIC_RELAXED);
    while (v > old && !__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return old;
}
static inline unsigned atomicOr(unsigned *p, unsigned v) { return __atomic_fetch_or(p, v, __ATOMIC_RELAXED); }
static inline void __threadfence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __threadfence_block(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

template <typename T> static inline T __ldg(const T *p) { return *p; }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline unsigned __float_as_uint(float f) {
    unsigned u;
    memcpy(&u, &f, 4);
    return u;
}
static inline float __uint_as_float(unsigned u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline int __float_as_int(float f) { return (int)__float_as_uint(f); }
static inline float __int_as_float(int i) { return __uint_as_float((unsigned)i); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline int __float2int_rn(float f) { return (int)nearbyintf(f); }
static inline int min(int a, int b) { return b < a ? b : a; }
static inline int max(int a, int b) { return b > a ? b : a; }
static inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
static inline unsigned max(unsigned a, unsigned b) { return b > a ? b : a; }

#endif
