/* emu - CUDA's device side on the host: one fibre per thread, meetings (shuffles, votes, matrix products) and barriers
 * as rendezvous, asynchronous copies that land at their wait, poisoned shared memory.
 *
 * A fibre runs until it meets others or ends; which one runs next is the order (emu_options). A meeting of a warp is
 * one function that the last lane to come calls over what all lanes brought. What goes wrong (a barrier that some never
 * reach, threads at different barriers, lanes that are not in their mask) ends the launch with a sentence, not the
 * test.
 *
 * Under TSan each thread is one of TSan's threads, and only what CUDA orders is ordered: __syncthreads, named barriers,
 * __syncwarp, and a fence before and after an atomic. Shuffles, votes and products order nothing.
 * README.md tells what this sees and what it cannot see.
 */
#ifndef FC_EMU_H
#define FC_EMU_H

#include "tests/cuda_emu/emu_control.h"
#include "tests/cuda_emu/emu_num.h"

struct emu_position {
    uint3 thread, block;
    dim3 block_dim, grid_dim;
    unsigned char *shared; /* the block's dynamic shared memory */
    unsigned shared_bytes;
    int lane;
};
extern __thread emu_position *emu_at __attribute__((tls_model("initial-exec")));

/* Calls, so that the runtime's structs can have members of the names of the last two. */
static inline dim3 &emu_block_dim() { return emu_at->block_dim; }
static inline dim3 &emu_grid_dim() { return emu_at->grid_dim; }
#define threadIdx (emu_at->thread)
#define blockIdx  (emu_at->block)
#define blockDim  emu_block_dim()
#define gridDim   emu_grid_dim()
enum { warpSize = 32 };

/* Runs one grid to its end; false: emu_error() says what was wrong. call(kernel, params) is the kernel's call. Any OS
 * thread may call it; emu_error() is of the calling one. cluster: as the kernel's __cluster_dims__. */
typedef void (*emu_call)(const void *kernel, const void *params);
bool emu_run(emu_call call, const void *kernel, const void *params, dim3 grid, dim3 block, unsigned shared_bytes,
             dim3 cluster = 1);
const char *emu_error(void);
[[noreturn]] void emu_fail(const char *fmt, ...)
    __attribute__((format(printf, 1, 2))); /* in a kernel: ends the launch */
[[noreturn]] void emu_trap(const char *file = __builtin_FILE(), int line = __builtin_LINE());
#define __trap() emu_trap()

/* Looks at what TSan must not: other lanes' registers. */
#define EMU_QUIET __attribute__((no_sanitize("thread")))
/* The last parameters of what waits: where the kernel called it. */
#define EMU_WHERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

/* A place of the host's code where a failing call ends (FC_CUDA_TRY and its kin); all of them lie in one section. */
struct alignas(32) emu_place {
    const char *file, *call;
    int line;
    unsigned times; /* that it was come to */
};
#define emu_fails_here(call)                                                                                           \
    ({                                                                                                                 \
        static emu_place here_ __attribute__((section("emu_places"), used)) = {__FILE__, EMU_TEXT(call), __LINE__, 0}; \
        __atomic_fetch_add(&here_.times, 1, __ATOMIC_RELAXED);                                                         \
    })
#define EMU_TEXT(call)  EMU_TEXT_(call)
#define EMU_TEXT_(call) #call

/* ---- barriers ---- */

/* id 0 to 15; threads 0: all of the block that have not ended. */
void emu_barrier(int id, int threads, const char *file, int line);
void emu_barrier_arrive(int id, int threads, const char *file, int line); /* counts, and goes on */
#define __syncthreads() emu_barrier(0, 0, __FILE__, __LINE__)
int emu_barrier_count(int vote, const char *file, int line); /* __syncthreads, then how many voted yes */
#define __syncthreads_count(vote) emu_barrier_count(vote, __FILE__, __LINE__)
#define __syncthreads_or(vote)    (emu_barrier_count(vote, __FILE__, __LINE__) != 0)
#define __syncthreads_and(vote)   (emu_barrier_count(!(vote), __FILE__, __LINE__) == 0)

/* ---- clusters: a block's number among its cluster's, a barrier of all their threads, other blocks' shared memory ----
 */

int emu_cluster_rank(void);
void emu_cluster_sync(EMU_WHERE);
void *emu_cluster_at(void *p, int rank, EMU_WHERE); /* what p, of this block's shared memory, is in that block */

/* ---- meetings of a warp ---- */

/* The lanes of mask meet; the last to come calls fn once with what each brought (NULL: not in the mask, or ended). The
 * mask that fn gets is of those who came. whole: a lane of the mask that has ended is an error. */
typedef void (*emu_meeting)(void *const brought[32], unsigned mask);
void emu_meet(unsigned mask, const char *what, emu_meeting fn, void *brought, EMU_WHERE);
void emu_meet_whole(unsigned mask, const char *what, emu_meeting fn, void *brought, EMU_WHERE);
void emu_syncwarp(unsigned mask, const char *file, int line); /* orders memory, as the others do not */

static inline void __syncwarp(unsigned mask = 0xffffffffu, EMU_WHERE) { emu_syncwarp(mask, file, line); }
unsigned emu_active(void); /* the lanes of this warp that have not ended */
#define __activemask() emu_active()

template <typename T> struct emu_shuffle {
    T value, got;
    int from;
};
template <typename T>
static inline T emu_shuffle_from(unsigned mask, const char *what, T value, int from, const char *file, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    emu_shuffle<T> mine = {value, value, from};
    emu_meet(
        mask, what,
        [](void *const brought[32], unsigned m) EMU_QUIET {
            for (unsigned rest = m; rest; rest &= rest - 1) {
                emu_shuffle<T> *s = (emu_shuffle<T> *)brought[__builtin_ctz(rest)];
                if (!(m >> s->from & 1)) emu_fail("a shuffle reads lane %d, which is not in mask %08x", s->from, m);
                s->got = ((const emu_shuffle<T> *)brought[s->from])->value;
            }
        },
        &mine, file, line);
    return mine.got;
}
static inline void emu_width(const char *what, int width) {
    if (width < 1 || width > 32 || width & (width - 1)) emu_fail("%s: width %d", what, width);
}
template <typename T> static inline T __shfl_sync(unsigned mask, T v, int lane, int width = 32, EMU_WHERE) {
    emu_width("__shfl_sync", width);
    int base = emu_at->lane & ~(width - 1);
    return emu_shuffle_from(mask, "__shfl_sync", v, base | (lane & (width - 1)), file, line);
}
template <typename T> static inline T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32, EMU_WHERE) {
    emu_width("__shfl_xor_sync", width);
    int to = emu_at->lane ^ (bits & 31);
    if (to / width > emu_at->lane / width) to = emu_at->lane;
    return emu_shuffle_from(mask, "__shfl_xor_sync", v, to, file, line);
}
template <typename T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32, EMU_WHERE) {
    emu_width("__shfl_down_sync", width);
    int to = emu_at->lane + (int)(by & 31u);
    if (to / width != emu_at->lane / width) to = emu_at->lane;
    return emu_shuffle_from(mask, "__shfl_down_sync", v, to, file, line);
}
template <typename T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32, EMU_WHERE) {
    emu_width("__shfl_up_sync", width);
    int to = emu_at->lane - (int)(by & 31u);
    if (to < 0 || to / width != emu_at->lane / width) to = emu_at->lane;
    return emu_shuffle_from(mask, "__shfl_up_sync", v, to, file, line);
}

/* v[0 .. N) of all 32 lanes, changed together: all(a) for each of the N, a [32] what the lanes have. The twin of many
 * shuffles is one meeting, which costs a switch a lane: as much as some hundred sums. */
template <typename T, typename F> struct emu_together {
    T *v;
    F all;
};
template <int N, typename T, typename F> static inline void emu_lanes(T *v, const char *what, F all, EMU_WHERE) {
    emu_together<T, F> mine = {v, all};
    emu_meet_whole(
        0xffffffffu, what,
        [](void *const brought[32], unsigned) EMU_QUIET {
            const emu_together<T, F> *const *lane = (const emu_together<T, F> *const *)brought;
            for (int n = 0; n < N; n++) {
                T a[32];
                for (int i = 0; i < 32; i++) a[i] = lane[i]->v[n];
                lane[0]->all(a);
                for (int i = 0; i < 32; i++) lane[i]->v[n] = a[i];
            }
        },
        &mine, file, line);
}

/* Every lane gets fold(what lanes brought, one after the other from lane 0). */
template <typename T> struct emu_brought {
    T in;
    unsigned long long out; /* a mask, or a T */
    unsigned came;
};
template <typename T, typename F>
static inline emu_brought<T> emu_fold(unsigned mask, const char *what, T in, F, const char *file, int line) {
    emu_brought<T> mine = {in, 0, 0};
    emu_meet(
        mask, what,
        [](void *const brought[32], unsigned m) EMU_QUIET {
            for (unsigned rest = m; rest; rest &= rest - 1) {
                emu_brought<T> *b = (emu_brought<T> *)brought[__builtin_ctz(rest)];
                b->came = m;
                b->out = F::of(brought, m, b->in);
            }
        },
        &mine, file, line);
    return mine;
}
template <typename T> EMU_QUIET static inline T emu_in(void *const brought[32], int lane) {
    return ((const emu_brought<T> *)brought[lane])->in;
}
struct emu_ballot {
    EMU_QUIET static unsigned long long of(void *const brought[32], unsigned m, int) {
        unsigned all = 0;
        for (int i = 0; i < 32; i++)
            if (m >> i & 1 && emu_in<int>(brought, i)) all |= 1u << i;
        return all;
    }
};
template <typename T> struct emu_match {
    EMU_QUIET static unsigned long long of(void *const brought[32], unsigned m, T mine) {
        unsigned all = 0;
        for (int i = 0; i < 32; i++)
            if (m >> i & 1 && emu_in<T>(brought, i) == mine) all |= 1u << i;
        return all;
    }
};
static inline unsigned __ballot_sync(unsigned mask, int vote, EMU_WHERE) {
    return (unsigned)emu_fold(mask, "__ballot_sync", vote, emu_ballot(), file, line).out;
}
static inline int __any_sync(unsigned mask, int vote, EMU_WHERE) {
    return emu_fold(mask, "__any_sync", vote, emu_ballot(), file, line).out != 0;
}
static inline int __all_sync(unsigned mask, int vote, EMU_WHERE) {
    emu_brought<int> b = emu_fold(mask, "__all_sync", vote, emu_ballot(), file, line);
    return b.out == b.came;
}
template <typename T> static inline unsigned __match_any_sync(unsigned mask, T v, EMU_WHERE) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "matches are of 4 or 8 bytes");
    return (unsigned)emu_fold(mask, "__match_any_sync", v, emu_match<T>(), file, line).out;
}
#define EMU_REDUCE(name, type, step)                                                                                   \
    struct emu_reduce_##name##_##type {                                                                                \
        EMU_QUIET static unsigned long long of(void *const brought[32], unsigned m, type) {                            \
            type r = emu_in<type>(brought, __builtin_ctz(m));                                                          \
            for (unsigned rest = m & (m - 1); rest; rest &= rest - 1) {                                                \
                type v = emu_in<type>(brought, __builtin_ctz(rest));                                                   \
                r = (type)(step);                                                                                      \
            }                                                                                                          \
            return (unsigned long long)r;                                                                              \
        }                                                                                                              \
    };                                                                                                                 \
    static inline type __reduce_##name##_sync(unsigned mask, type v, EMU_WHERE) {                                      \
        return (type)emu_fold(mask, "__reduce_" #name "_sync", v, emu_reduce_##name##_##type(), file, line).out;       \
    }
EMU_REDUCE(add, unsigned, r + v)
EMU_REDUCE(add, int, (unsigned)r + (unsigned)v)
EMU_REDUCE(min, unsigned, r < v ? r : v)
EMU_REDUCE(min, int, r < v ? r : v)
EMU_REDUCE(max, unsigned, r > v ? r : v)
EMU_REDUCE(max, int, r > v ? r : v)
EMU_REDUCE(and, unsigned, r &v)
EMU_REDUCE(or, unsigned, r | v)
EMU_REDUCE(xor, unsigned, r ^ v)

/* ---- asynchronous copies: queued by a thread, landed at its wait; poison until then ---- */

void emu_copy_async(void *shared, const void *global, int bytes, int read, EMU_WHERE); /* beyond `read`: zeroes */
void emu_copy_commit(void);
void emu_copy_wait(int groups); /* all but the newest `groups` groups land */

/* Ends the launch unless the bytes at p are the block's shared memory and p is a multiple of align. */
void emu_must_be_shared(const void *p, int bytes, int align, const char *what);

/* ---- atomics and fences: relaxed, as CUDA's; a fence before one releases, a fence after one acquires ---- */

#ifdef FC_EMU_TSAN
void emu_atomic_begins(const void *p);
void emu_atomic_ends(const void *p);
void emu_fence(void);
#else
static inline void emu_atomic_begins(const void *) {}
static inline void emu_atomic_ends(const void *) {}
static inline void emu_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
#endif
static inline void __threadfence(void) { emu_fence(); }
static inline void __threadfence_block(void) { emu_fence(); }
static inline void __threadfence_system(void) { emu_fence(); }

/* *p becomes step(*p); what it was is the result. */
template <typename T, typename F> static inline T emu_atomic(T *p, F step) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "atomics are of 4 or 8 bytes");
    T old, now;
    emu_atomic_begins(p);
    __atomic_load(p, &old, __ATOMIC_RELAXED);
    do now = step(old);
    while (!__atomic_compare_exchange(p, &old, &now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    emu_atomic_ends(p);
    return old;
}
#define EMU_ATOMIC(name, type, step)                                                                                   \
    static inline type name(type *p, type v) {                                                                         \
        return emu_atomic(p, [v]([[maybe_unused]] type old) { return (type)(step); });                                 \
    }
typedef unsigned long long emu_u64;
EMU_ATOMIC(atomicAdd, int, (unsigned)old + (unsigned)v)
EMU_ATOMIC(atomicAdd, unsigned, old + v)
EMU_ATOMIC(atomicAdd, emu_u64, old + v)
EMU_ATOMIC(atomicAdd, float, old + v)
EMU_ATOMIC(atomicAdd, double, old + v)
EMU_ATOMIC(atomicSub, int, (unsigned)old - (unsigned)v)
EMU_ATOMIC(atomicSub, unsigned, old - v)
EMU_ATOMIC(atomicMin, int, v < old ? v : old)
EMU_ATOMIC(atomicMin, unsigned, v < old ? v : old)
EMU_ATOMIC(atomicMin, long long, v < old ? v : old)
EMU_ATOMIC(atomicMin, emu_u64, v < old ? v : old)
EMU_ATOMIC(atomicMax, int, v > old ? v : old)
EMU_ATOMIC(atomicMax, unsigned, v > old ? v : old)
EMU_ATOMIC(atomicMax, long long, v > old ? v : old)
EMU_ATOMIC(atomicMax, emu_u64, v > old ? v : old)
EMU_ATOMIC(atomicExch, int, v)
EMU_ATOMIC(atomicExch, unsigned, v)
EMU_ATOMIC(atomicExch, emu_u64, v)
EMU_ATOMIC(atomicExch, float, v)
EMU_ATOMIC(atomicOr, int, old | v)
EMU_ATOMIC(atomicOr, unsigned, old | v)
EMU_ATOMIC(atomicOr, emu_u64, old | v)
EMU_ATOMIC(atomicAnd, int, old &v)
EMU_ATOMIC(atomicAnd, unsigned, old &v)
EMU_ATOMIC(atomicAnd, emu_u64, old &v)
EMU_ATOMIC(atomicXor, int, old ^ v)
EMU_ATOMIC(atomicXor, unsigned, old ^ v)
EMU_ATOMIC(atomicXor, emu_u64, old ^ v)
EMU_ATOMIC(atomicInc, unsigned, old >= v ? 0 : old + 1)
EMU_ATOMIC(atomicDec, unsigned, old == 0 || old > v ? v : old - 1)
template <typename T> static inline T atomicCAS(T *p, T expected, T v) { /* int, unsigned, unsigned long long */
    return emu_atomic(p, [expected, v](T old) { return old == expected ? v : old; });
}

#endif
