/* emu_sched - inside the emulator: a launch, its blocks, their threads. emu.cpp decides who runs and switches;
 * emu_sync.cpp and emu_async.cpp are what threads call: barriers, meetings, copies, fences; Hopper's asynchronous side.
 *
 * One OS thread (a worker) runs a cluster's blocks, mostly one alone, from their first thread to their last; nothing of
 * it is seen by another.
 */
#ifndef FC_EMU_SCHED_H
#define FC_EMU_SCHED_H

#include "cuda_runtime.h"
#include "tests/cuda_emu/emu_sanitize.h"

#include <atomic>
#include <mutex>
#include <vector>

namespace emu {

enum { WARPS = 32, BARRIERS = 16, SEEN = 8, TEXT = 1024 };
const unsigned char POISON = 0xff; /* NaN in every float format */

struct stack {
    unsigned char *low, *top; /* a guard page lies below low */
    void *tsan, *fence;       /* TSan's thread; its state at the last fence, as a second thread */
    stack *next;
};

struct copy {
    void *to;
    const void *from;
    const char *file;
    int line, bytes, read, group;
    unsigned char was[16]; /* the source when it was queued */
};

struct block;

struct alignas(64) thread { /* what a switch reads is the second line of cache */
    emu_position at;        /* first: emu_at points at it */
    block *of;
    int warp, line;
    stack *on;               /* nullptr: it has not begun, or has ended */
    void *context;           /* where it goes on */
    void *fake;              /* ASan's */
    const char *what, *file; /* what it waits for, and with line, where */
    copy *ring;
    unsigned head, tail, room; /* copies: ring[head .. tail) modulo room, a power of two */
    int group;
    bool fenced;
    int n_seen;
    const void *seen[SEEN]; /* atomics since the last fence, the newest of them */
};

enum meeting_kind { PLAIN, WHOLE, ORDERED };

struct meeting {
    unsigned mask, come;
    meeting_kind kind;
    const char *what, *file;
    int line;
    emu_meeting fn;
};

struct warp {
    unsigned ready, live;
    int open; /* meetings that wait for lanes; their masks are disjoint */
    meeting meetings[32];
    void *brought[32];
    uint64_t order[32]; /* for TSan: of __syncwarp, by the mask's first lane */
};

struct barrier {
    int come, want; /* 0: all that live */
    const char *file;
    int line;
    unsigned first; /* the first thread to come */
    unsigned came[WARPS], waits[WARPS];
    int yes, result; /* __syncthreads_count */
    uint64_t order;
};

struct launch {
    uint64_t serial;
    emu_call call;
    const void *kernel, *params;
    dim3 grid, dim;
    unsigned shared_bytes;
    int threads;  /* of a block */
    dim3 cluster; /* blocks of one, in each direction */
    size_t clusters;
    emu_options opts;
    const uint32_t *shuffled; /* the order of clusters, when it is random */
    std::atomic<size_t> next;
    std::atomic<bool> failed;
    std::mutex lock;
    size_t failed_at;
    char error[TEXT];
    uint64_t ended; /* for TSan: all that its threads did */
};

enum { CLUSTER = 8 }; /* blocks at most */

struct cluster {
    block *blocks[CLUSTER]; /* by rank */
    int n, at;              /* at: who ran */
    uint64_t random;
    int come; /* threads at its barrier */
    unsigned waits[CLUSTER][WARPS];
    uint64_t order;
};

struct async_side; /* emu_async.cpp: barriers in shared memory, bulk copies, products of warpgroups */

struct block {
    launch *of;
    cluster *in;
    int rank;
    bool resumed;          /* EMU_RANDOM, of several blocks: it begins a turn, else others may come first */
    uint64_t prepared;     /* the launch that its threads' positions are of */
    size_t turn_of_launch; /* its cluster's turn */
    std::vector<thread> threads;
    int n, live;
    int warps, at_warp;
    unsigned ready_warps, turn; /* lanes of at_warp that still have their turn */
    bool fresh, failed;         /* fresh: nobody has run */
    uint64_t random;
    std::vector<uint32_t> list; /* EMU_RANDOM: this turn's threads, the next one last */
    unsigned char *memory, *shared;
    size_t memory_bytes;
    barrier barriers[BARRIERS];
    unsigned open_barriers; /* those that some have come to */
    warp warp_of[WARPS];
    uint64_t begin;
    async_side *async = nullptr; /* from its first use on */
};

inline thread *self(void) { return reinterpret_cast<thread *>(emu_at); }

inline const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

inline void make_ready(block *b, int w, unsigned lanes) {
    if (!lanes) return;
    b->warp_of[w].ready |= lanes;
    b->ready_warps |= 1u << w;
}

/* The thread waits until somebody makes it ready; others run meanwhile. */
void wait_for(thread *t, const char *what, const char *file, int line);

/* A launch's clusters, one after the other, until there are no more; the same with so many other OS threads. */
void run_blocks(launch *l);
void run_helped(launch *l, int others);

/* t has ended: what waits for it no longer does. */
void leave_barriers(thread *t);
void leave_meetings(thread *t);
void describe_waits(const block *b, char *text, size_t room);

void leave_cluster(thread *t);
void forget_async(block *b);
bool copies_in_flight(const block *b, char *text, size_t room); /* says which */

void let_know(block *b, int w, unsigned lanes, uint64_t *order); /* TSan: those lanes acquire order */

} // namespace emu

#endif
