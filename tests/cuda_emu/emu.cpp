#include "tests/cuda_emu/emu_sched.h"
#include "tests/cuda_emu/emu_switch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

using namespace emu;

emu_options emu_opts;
__thread emu_position *emu_at;

namespace {

/* GUARD bytes of poison before and behind shared memory. Stacks are of one size, so hot ends would share lines of L1:
 * COLOURS of them begin SHIFT bytes apart. SPARE: under TSan, so that a block's thread is not the last block's. */
enum { STACK = 256 << 10, PAGE = 4096, GUARD = 1024, COLOURS = 8, SHIFT = 512, SPARE = 17 };

thread_local char error_text[TEXT];

struct worker {
    void *scheduler, *nobody, *fake, *tsan, *janitor; /* nobody: contexts that are never come back to */
    const void *bottom;                               /* its own stack, as ASan tells it */
    size_t size;
    stack *first, *last; /* free stacks */
    int n_free, n_stacks;
    std::vector<block *> blocks;
    cluster group;

    ~worker();
};
__thread worker *me; /* this OS thread's, from its first launch on */

/* ---- stacks and switches ---- */

stack *new_stack(worker *w) {
    stack *s = new stack();
    void *p = mmap(nullptr, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || mprotect(p, PAGE, PROT_NONE)) {
        fprintf(stderr, "emu: no memory for stack %d\n", w->n_stacks);
        abort();
    }
    s->low = (unsigned char *)p + PAGE;
    s->top = s->low + STACK - (w->n_stacks++ % COLOURS) * SHIFT;
    s->tsan = tsan_new();
    return s;
}

stack *take_stack(worker *w) {
    stack *s = w->first;
    if (!s) return new_stack(w);
    w->first = s->next;
    w->n_free--;
    return s;
}

/* The last to be given back is the first to be taken, still in the cache; under TSan the last. */
void give_stack(worker *w, stack *s) {
    bool front = !TSAN_FIBRES || !w->first;
    s->next = front ? w->first : nullptr;
    if (!w->first) w->last = s;
    if (front) w->first = s;
    else w->last->next = s, w->last = s;
    w->n_free++;
}

/* TSan's threads know what their maker knew: made by a thread of the block, they would miss its races. */
void make_stacks(worker *w, int n) {
    while (TSAN_FIBRES && w->n_free < n + SPARE) give_stack(w, new_stack(w));
}

void delete_stack(stack *s) {
    if (s->tsan) tsan_delete(s->tsan);
    if (s->fence) tsan_delete(s->fence);
    munmap(s->low - PAGE, STACK + PAGE);
    delete s;
}

void main_of_fibre(void);

/* Goes on with t, or with the scheduler (nullptr). *keep: where this context is left; its fake stack is *fake's, or
 * nobody's if it is never come back to. */
inline void go(thread *t, void **keep, void **fake) {
    void *to = me->scheduler;
    if (t) {
        if (!t->on) {
            t->on = take_stack(me);
            t->context = new_context(t->on->top, (size_t)(t->on->top - t->on->low), main_of_fibre);
        }
        to = t->context;
        emu_at = &t->at;
        asan_leave(fake, t->on->low, STACK);
        tsan_become(t->on->tsan);
    } else {
        asan_leave(fake, me->bottom, me->size);
        tsan_become(me->tsan);
    }
    switch_to(keep, to);
    asan_arrive(fake ? *fake : nullptr, nullptr, nullptr);
}

uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint32_t below(uint64_t *random, uint32_t n) {
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*random >> 32) * n >> 32);
}

/* ---- who is next ---- */

inline thread *taken(block *b, int w, int lane) {
    warp *p = &b->warp_of[w];
    p->ready &= ~(1u << lane);
    if (!p->ready) b->ready_warps &= ~(1u << w);
    return &b->threads[(size_t)w * 32 + (size_t)lane];
}

thread *pick_random(block *b) {
    if (b->list.empty() && b->in->n > 1 && !b->resumed) {
        b->resumed = true;
        return nullptr; /* another block's turn, perhaps */
    }
    b->resumed = false;
    if (b->list.empty()) {
        for (unsigned ws = b->ready_warps; ws; ws &= ws - 1) {
            int w = __builtin_ctz(ws);
            for (unsigned m = b->warp_of[w].ready; m; m &= m - 1)
                b->list.push_back((uint32_t)(w * 32 + __builtin_ctz(m)));
        }
        uint32_t n = (uint32_t)b->list.size();
        uint32_t keep = 1 + below(&b->random, n);
        for (uint32_t i = 0; i < keep; i++) { /* the first `keep` become a random choice in random order */
            uint32_t j = i + below(&b->random, n - i), t = b->list[i];
            b->list[i] = b->list[j];
            b->list[j] = t;
        }
        b->list.resize(keep);
    }
    uint32_t i = b->list.back();
    b->list.pop_back();
    return taken(b, (int)i / 32, (int)i % 32);
}

/* The next warp that has ready lanes, after w and round to w itself. */
inline int warp_after(unsigned ready, int w, bool down) {
    if (down) {
        unsigned below_w = ready & ((1u << w) - 1u);
        return 31 - __builtin_clz(below_w ? below_w : ready);
    }
    unsigned above = w == 31 ? 0 : ready & ~0u << (w + 1);
    return __builtin_ctz(above ? above : ready);
}

/* nullptr: none can run. */
inline thread *pick(block *b) {
    if (!b->ready_warps) return nullptr;
    emu_order order = b->of->opts.order;
    if (order == EMU_RANDOM) return pick_random(b);
    bool down = order == EMU_BACKWARD, far = order == EMU_WARPS;
    unsigned m = b->turn & b->warp_of[b->at_warp].ready;
    if (!m) {
        bool stay = far && !b->fresh && b->warp_of[b->at_warp].ready;
        if (!stay) b->at_warp = warp_after(b->ready_warps, b->at_warp, down || (far && b->of->opts.seed & 1));
        b->fresh = false;
        m = b->turn = b->warp_of[b->at_warp].ready;
    }
    int lane = down ? 31 - __builtin_clz(m) : __builtin_ctz(m);
    b->turn = m & ~(1u << lane);
    return taken(b, b->at_warp, lane);
}

void forget(thread *t) {
    t->on = nullptr;
    t->head = t->tail = 0; /* copies that nobody waited for never land */
    t->group = 0;
    t->fenced = false;
    t->n_seen = 0;
}

/* Runs threads one after the other: a thread that never waited leaves its stack to the next one that begins. */
void main_of_fibre(void) {
    const void *bottom = nullptr;
    size_t size = 0;
    asan_arrive(nullptr, &bottom, &size);
    if (!me->bottom) { /* the first ever comes from the scheduler */
        me->bottom = bottom;
        me->size = size;
    }
    for (;;) {
        thread *t = self();
        block *b = t->of;
        launch *l = b->of;
        tsan_acquire(&b->begin);
        l->call(l->kernel, l->params);
        b->live--;
        b->warp_of[t->warp].live &= ~(1u << t->at.lane);
        leave_meetings(t);
        leave_barriers(t);
        leave_cluster(t);
        tsan_release(&l->ended);
        stack *mine = t->on;
        forget(t);
        thread *next = pick(b);
        if (next && !next->on && !TSAN_FIBRES) {
            next->on = mine;
            emu_at = &next->at;
            continue;
        }
        if (TSAN_FIBRES && next && !next->on) { /* not this one: it is still stood upon */
            next->on = take_stack(me);
            next->context = new_context(next->on->top, (size_t)(next->on->top - next->on->low), main_of_fibre);
        }
        give_stack(me, mine);
        go(next, &me->nobody, nullptr);
        abort();
    }
}

/* ---- blocks ---- */

void fail_block(block *b, const char *text) {
    launch *l = b->of;
    std::lock_guard<std::mutex> hold(l->lock);
    b->failed = true;
    if (b->turn_of_launch >= l->failed_at) return;
    l->failed_at = b->turn_of_launch;
    l->failed = true;
    snprintf(l->error, sizeof l->error, "%s", text);
}

void begin_shared(block *b, unsigned bytes) {
    size_t need = bytes + 2 * GUARD + 512;
    if (need > b->memory_bytes || TSAN_FIBRES) { /* new memory has no history for TSan; end_shared freed the old */
        free(b->memory);
        b->memory = (unsigned char *)malloc(need);
        b->memory_bytes = need;
        if (!b->memory) abort();
        /* 128-byte aligned, and no more than that */
        b->shared = (unsigned char *)(((uintptr_t)b->memory + GUARD + 255) / 256 * 256 + 128);
    }
    asan_open(b->shared - GUARD, bytes + 2 * GUARD);
    memset(b->shared - GUARD, POISON, bytes + 2 * GUARD);
    asan_close(b->shared - GUARD, GUARD);
    asan_close(b->shared + bytes, GUARD);
}

void end_shared(block *b, unsigned bytes) {
#ifndef FC_EMU_ASAN
    static const std::vector<unsigned char> whole(GUARD, POISON);
    tsan_quiet();
    bool touched = memcmp(b->shared - GUARD, whole.data(), GUARD) || memcmp(b->shared + bytes, whole.data(), GUARD);
    tsan_heard();
    for (int i = 0; i < 2 * GUARD && touched && !b->failed; i++) {
        long at = i < GUARD ? -1 - (long)i : (long)bytes + i - GUARD;
        if (b->shared[at] == POISON) continue;
        char text[TEXT];
        const emu_position *p = &b->threads[0].at;
        snprintf(text, sizeof text, "block %u,%u,%u wrote outside its shared memory: at byte %ld of %u", p->block.x,
                 p->block.y, p->block.z, at, bytes);
        fail_block(b, text);
    }
#endif
    if (TSAN_FIBRES) {
        if (!me->janitor) me->janitor = tsan_new();
        tsan_become(me->janitor); /* knows that all is over, which the next block must not learn from its scheduler */
        tsan_acquire(&b->of->ended);
        free(b->memory);
        tsan_become(me->tsan);
        b->memory = nullptr;
    }
    asan_open(b->shared - GUARD, bytes + 2 * GUARD);
}

/* What is the same for all blocks of a launch. */
void prepare_threads(block *b, launch *l) {
    uint3 at = {0, 0, 0};
    b->prepared = l->serial;
    for (int i = 0; i < b->n; i++) {
        thread *t = &b->threads[(size_t)i];
        t->at.thread = at;
        t->at.block_dim = l->dim;
        t->at.grid_dim = l->grid;
        t->at.shared = b->shared;
        t->at.shared_bytes = l->shared_bytes;
        t->at.lane = i % 32;
        t->of = b;
        t->warp = i / 32;
        forget(t);
        if (++at.x == l->dim.x) at.x = 0, at.y++;
        if (at.y == l->dim.y) at.y = 0, at.z++;
    }
}

/* Block number `rank` of cluster k. */
void begin_block(block *b, launch *l, size_t turn, size_t k, int rank) {
    const dim3 &c = l->cluster;
    unsigned gx = l->grid.x / c.x, gy = l->grid.y / c.y, r = (unsigned)rank;
    uint3 at = {(unsigned)(k % gx) * c.x + r % c.x, (unsigned)(k / gx % gy) * c.y + r / c.x % c.y,
                (unsigned)(k / gx / gy) * c.z + r / c.x / c.y};
    int n = l->threads;
    bool down = l->opts.order == EMU_BACKWARD || (l->opts.order == EMU_WARPS && l->opts.seed & 1);
    b->of = l;
    b->in = &me->group;
    b->rank = rank;
    b->resumed = true;
    b->turn_of_launch = turn;
    b->n = b->live = n;
    b->warps = (n + 31) / 32;
    b->at_warp = down ? 0 : b->warps - 1; /* the next one is the first */
    b->turn = 0;
    b->fresh = true; /* no warp to stay with */
    b->failed = false;
    b->random = mix(l->opts.seed ^ mix(k * CLUSTER + r));
    b->list.clear();
    if ((int)b->threads.size() < n) b->threads.resize((size_t)n);
    begin_shared(b, l->shared_bytes);
    memset(b->barriers, 0, sizeof b->barriers);
    b->open_barriers = 0;
    b->ready_warps = b->warps == 32 ? ~0u : (1u << b->warps) - 1u;
    for (int w = 0; w < b->warps; w++) {
        int lanes = n - w * 32 < 32 ? n - w * 32 : 32;
        b->warp_of[w].ready = b->warp_of[w].live = ~0u >> (32 - lanes);
        b->warp_of[w].open = 0;
    }
    if (b->prepared != l->serial || TSAN_FIBRES) prepare_threads(b, l);
    for (int i = 0; i < n; i++) b->threads[(size_t)i].at.block = at;
    b->list.reserve((size_t)n); /* not from a thread of the block: TSan would order its growth */
    tsan_release(&b->begin);
}

/* The stacks of threads that will never go on; TSan's threads on them stay inside their calls, so they go. */
void end_block(block *b, bool failed) {
    char text[TEXT];
    if (!failed && copies_in_flight(b, text, sizeof text)) fail_block(b, text);
    forget_async(b);
    for (int i = 0; i < b->n; i++) {
        thread *t = &b->threads[(size_t)i];
        if (!t->on) continue;
        asan_open(t->on->low, STACK);
        if (TSAN_FIBRES) {
            tsan_become(t->on->tsan);
            tsan_release(&b->of->ended);
            tsan_become(me->tsan);
            tsan_delete(t->on->tsan);
            t->on->tsan = tsan_new();
        }
        give_stack(me, t->on);
        forget(t);
    }
    end_shared(b, b->of->shared_bytes);
}

/* Until none of the block's threads can go on, or one failed. */
void run_ready(block *b) {
    thread *t = pick(b);
    if (t) go(t, &me->scheduler, &me->fake);
}

/* All that are left wait. */
void deadlock(cluster *c) {
    char text[TEXT] = "deadlock:";
    size_t n = strlen(text);
    block *first = nullptr;
    for (int i = 0; i < c->n; i++) {
        block *b = c->blocks[i];
        const emu_position *p = &b->threads[0].at;
        if (!b->live) continue;
        if (!first) first = b;
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "%s block %u,%u,%u: %d of %d threads wait:", b == first ? "" : ";", p->block.x,
                              p->block.y, p->block.z, b->live, b->n);
        if (n >= sizeof text) break;
        describe_waits(b, text + n, sizeof text - n);
        n = strlen(text);
    }
    fail_block(first, text);
}

block *block_of(worker *w, size_t i) {
    while (w->blocks.size() <= i) w->blocks.push_back(new block());
    return w->blocks[i];
}

void enter(void) {
    static thread_local worker mine;
    me = &mine;
    me->tsan = tsan_here();
}

void begin_cluster(cluster *c, launch *l, size_t turn) {
    size_t k = turn;
    if (l->opts.order == EMU_BACKWARD) k = l->clusters - 1 - turn;
    if (l->shuffled) k = l->shuffled[turn];
    c->n = (int)(l->cluster.x * l->cluster.y * l->cluster.z);
    c->come = 0;
    memset(c->waits, 0, sizeof c->waits);
    c->random = mix(l->opts.seed + k);
    c->at = l->opts.order == EMU_BACKWARD || (l->opts.order == EMU_WARPS && l->opts.seed & 1) ? 0 : c->n - 1;
    for (int i = 0; i < c->n; i++) {
        c->blocks[i] = block_of(me, (size_t)i);
        begin_block(c->blocks[i], l, turn, k, i);
    }
    make_stacks(me, c->n * l->threads);
}

/* Who goes on; nullptr: none can, or one failed. */
block *next_block(cluster *c) {
    const launch *l = c->blocks[0]->of;
    block *ready[CLUSTER];
    int n = 0;
    bool down = l->opts.order == EMU_BACKWARD || (l->opts.order == EMU_WARPS && l->opts.seed & 1);
    for (int i = 1; i <= c->n; i++) {
        block *b = c->blocks[(c->at + (down ? c->n - i : i)) % c->n];
        if (b->failed) return nullptr;
        if (b->live && b->ready_warps) ready[n++] = b;
    }
    if (!n) return nullptr;
    block *b = ready[l->opts.order == EMU_RANDOM ? below(&c->random, (uint32_t)n) : 0];
    c->at = b->rank;
    return b;
}

worker::~worker() {
    for (stack *s = first, *next; s; s = next) {
        next = s->next;
        delete_stack(s);
    }
    for (block *b : blocks) {
        for (thread &t : b->threads) free(t.ring);
        free(b->memory);
        delete b;
    }
    if (janitor) tsan_delete(janitor);
}

bool refuse(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(error_text, sizeof error_text, fmt, ap);
    va_end(ap);
    return false;
}

bool run(emu_call call, const void *kernel, const void *params, dim3 grid, dim3 dim, unsigned shared_bytes,
         dim3 cluster) {
    size_t n = (size_t)dim.x * dim.y * dim.z, blocks = (size_t)grid.x * grid.y * grid.z,
           of_cluster = (size_t)cluster.x * cluster.y * cluster.z;
    if (n < 1 || n > 1024 || dim.z > 64)
        return refuse("a block of %u,%u,%u threads; it has 1 to 1024, at most 64 in z", dim.x, dim.y, dim.z);
    if (blocks < 1 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
        return refuse("a grid of %u,%u,%u blocks; y and z are at most 65535", grid.x, grid.y, grid.z);
    if (of_cluster < 1 || of_cluster > CLUSTER || grid.x % cluster.x || grid.y % cluster.y || grid.z % cluster.z)
        return refuse("a grid of %u,%u,%u blocks in clusters of %u,%u,%u: at most %d, in whole ones", grid.x, grid.y,
                      grid.z, cluster.x, cluster.y, cluster.z, (int)CLUSTER);
    if (emu_at) return refuse("a launch from inside a kernel");
    launch l = {};
    std::vector<uint32_t> shuffled;
    static std::atomic<uint64_t> serial;
    l.serial = ++serial;
    l.call = call;
    l.kernel = kernel;
    l.params = params;
    l.grid = grid;
    l.dim = dim;
    l.shared_bytes = shared_bytes;
    l.threads = (int)n;
    l.cluster = cluster;
    l.clusters = blocks / of_cluster;
    l.opts = emu_opts;
    l.failed_at = (size_t)-1;
    if (l.opts.order == EMU_RANDOM) {
        uint64_t random = mix(l.opts.seed);
        for (size_t i = 0; i < l.clusters; i++) shuffled.push_back((uint32_t)i);
        for (size_t i = 0; i < l.clusters; i++) {
            size_t j = i + below(&random, (uint32_t)(l.clusters - i));
            uint32_t t = shuffled[i];
            shuffled[i] = shuffled[j];
            shuffled[j] = t;
        }
        l.shuffled = shuffled.data();
    }
    int share = l.opts.threads < 16 ? l.opts.threads : 16;
    if ((size_t)share > l.clusters) share = (int)l.clusters;
    if (share > 1) run_helped(&l, share - 1);
    else run_blocks(&l);
    emu_at = nullptr;
    tsan_acquire(&l.ended);
    if (l.failed) return refuse("%s", l.error);
    return true;
}

} // namespace

void emu::run_blocks(launch *l) {
    enter();
    cluster *c = &me->group;
    for (;;) {
        size_t turn = l->next++;
        if (turn >= l->clusters || l->failed) break;
        begin_cluster(c, l, turn);
        block *b;
        while ((b = next_block(c))) run_ready(b);
        int live = 0, failed = 0;
        for (int i = 0; i < c->n; i++) live += c->blocks[i]->live, failed += c->blocks[i]->failed;
        if (live && !failed) deadlock(c);
        for (int i = 0; i < c->n; i++) end_block(c->blocks[i], failed);
    }
    emu_at = nullptr;
}

const char *emu_error(void) { return error_text; }

bool emu_run(emu_call call, const void *kernel, const void *params, dim3 grid, dim3 block, unsigned shared_bytes,
             dim3 cluster) {
    return run(call, kernel, params, grid, block, shared_bytes, cluster);
}

void emu_fail(const char *fmt, ...) {
    char text[TEXT];
    va_list ap;
    bool flat = blockDim.y == 1 && blockDim.z == 1;
    int n = snprintf(text, sizeof text, "block %u,%u,%u thread %u", blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x);
    if (!flat) n += snprintf(text + n, sizeof text - (size_t)n, ",%u,%u", threadIdx.y, threadIdx.z);
    n += snprintf(text + n, sizeof text - (size_t)n, ": ");
    va_start(ap, fmt);
    vsnprintf(text + n, sizeof text - (size_t)n, fmt, ap);
    va_end(ap);
    fail_block(self()->of, text);
    go(nullptr, &me->nobody, nullptr);
    abort();
}

void emu::wait_for(thread *t, const char *what, const char *file, int line) {
    t->what = what;
    t->file = file;
    t->line = line;
    thread *next = pick(t->of);
    if (next != t) go(next, &t->context, &t->fake);
}
