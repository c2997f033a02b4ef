#include "cuda_runtime.h"

#include <boost/context/detail/fcontext.hpp>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <deque>
#include <vector>

namespace ctx = boost::context::detail;

emu_options emu_opts;
thread_local emu_position *emu_at;

namespace {

enum { STACK = 128 << 10, PAGE = 4096, BARRIERS = 16 };
const unsigned char POISON = 0xff; /* NaN in every float format */

struct copy {
    void *to;
    const void *from;
    int bytes, read, group;
};

struct fibre {
    emu_position at;
    ctx::fcontext_t context;
    unsigned char *stack; /* its lowest page is a guard */
    int warp;
    bool ready, done;
    const char *waits; /* what for, when neither */
    std::deque<copy> copies;
    int group;
};

struct meeting {
    unsigned mask, come;
    const char *what;
    void *brought[32];
};

struct barrier {
    int come, want;
    const char *file;
    int line;
};

struct block {
    std::vector<fibre *> threads;
    std::vector<std::vector<meeting>> warps;
    barrier barriers[BARRIERS];
    int live;
    emu_call call;
    const void *kernel, *params;
};

thread_local block *now;
thread_local fibre *self;
thread_local ctx::fcontext_t scheduler;
thread_local char error_text[512];
thread_local bool failed;
thread_local std::vector<fibre *> pool;

void switch_out() { scheduler = ctx::jump_fcontext(scheduler, nullptr).fctx; }

void wait_for(const char *what) {
    self->ready = false;
    self->waits = what;
    switch_out();
    emu_at = &self->at;
}

void main_of_fibre(ctx::transfer_t from) {
    scheduler = from.fctx;
    emu_at = &self->at;
    now->call(now->kernel, now->params);
    self->done = true;
    self->ready = false;
    now->live--;
    switch_out();
    abort();
}

fibre *take_fibre(size_t i) {
    while (pool.size() <= i) {
        fibre *f = new fibre();
        void *p = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED || mprotect(p, PAGE, PROT_NONE)) abort();
        f->stack = (unsigned char *)p;
        pool.push_back(f);
    }
    return pool[i];
}

/* All that are alive have come to the barrier, or as many as it wants. */
void open_barriers(block *b) {
    for (int id = 0; id < BARRIERS; id++) {
        barrier *r = &b->barriers[id];
        if (r->come == 0 || r->come < (r->want ? r->want : b->live)) continue;
        r->come = 0;
        for (fibre *f : b->threads)
            if (!f->done && !f->ready && f->waits == r->file) f->ready = true;
    }
}

void run_block(block *b, uint64_t *random) {
    size_t n = b->threads.size();
    while (b->live > 0 && !failed) {
        bool any = false;
        size_t start =
            emu_opts.order == EMU_RANDOM ? (size_t)((*random = *random * 6364136223846793005u + 1) >> 33) : 0;
        for (size_t k = 0; k < n && !failed; k++) {
            size_t i = emu_opts.order == EMU_BACKWARD ? n - 1 - k : (start + k) % n;
            fibre *f = b->threads[i];
            if (!f->ready) continue;
            any = true;
            self = f;
            f->context = ctx::jump_fcontext(f->context, nullptr).fctx;
        }
        if (failed) return;
        open_barriers(b);
        if (any) continue;
        for (fibre *f : b->threads)
            if (f->ready) any = true;
        if (any) continue;
        const fibre *stuck = nullptr;
        for (const fibre *f : b->threads)
            if (!f->done) stuck = stuck ? stuck : f;
        snprintf(error_text, sizeof error_text, "deadlock: block %u,%u,%u: %d of %zu threads wait, thread %u at %s",
                 stuck->at.block.x, stuck->at.block.y, stuck->at.block.z, b->live, n, stuck->at.thread.x, stuck->waits);
        failed = true;
    }
}

} // namespace

const char *emu_error(void) { return error_text; }

void emu_fail(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = snprintf(error_text, sizeof error_text, "block %u,%u,%u thread %u: ", emu_at->block.x, emu_at->block.y,
                     emu_at->block.z, emu_at->thread.x);
    vsnprintf(error_text + n, sizeof error_text - (size_t)n, fmt, ap);
    va_end(ap);
    failed = true;
    switch_out();
    abort();
}

void emu_barrier(int id, int threads, const char *file, int line) {
    barrier *r = &now->barriers[id];
    if (r->come && (r->line != line || r->file != file || r->want != threads))
        emu_fail("threads at different barriers: %s:%d and %s:%d", r->file, r->line, file, line);
    r->file = file;
    r->line = line;
    r->want = threads;
    r->come++;
    wait_for(file);
}

void emu_meet(unsigned mask, const char *what, emu_meeting fn, void *brought) {
    std::vector<meeting> &warp = now->warps[(size_t)self->warp];
    int lane = self->at.lane;
    if (!(mask >> lane & 1)) emu_fail("%s: lane %d is not in its mask %08x", what, lane, mask);
    for (size_t i = 0; i < warp.size(); i++) {
        meeting *m = &warp[i];
        if (!(m->mask & mask)) continue;
        if (m->mask != mask || m->what != what)
            emu_fail("%s of mask %08x meets %s of mask %08x", what, mask, m->what, m->mask);
        m->brought[lane] = brought;
        m->come |= 1u << lane;
        if (m->come == m->mask) {
            meeting all = *m;
            warp.erase(warp.begin() + (long)i);
            fn(all.brought, mask);
            for (fibre *f : now->threads)
                if (f->warp == self->warp && f != self && all.mask >> f->at.lane & 1) f->ready = true;
            return;
        }
        wait_for(what);
        return;
    }
    if (mask == 1u << lane) {
        void *alone[32] = {nullptr};
        alone[lane] = brought;
        fn(alone, mask);
        return;
    }
    meeting m = {mask, 1u << lane, what, {nullptr}};
    m.brought[lane] = brought;
    warp.push_back(m);
    wait_for(what);
}

void emu_copy_async(void *shared, const void *global, int bytes, int read) {
    if ((uintptr_t)shared % (unsigned)bytes || (uintptr_t)global % (unsigned)bytes)
        emu_fail("cp.async of %d bytes: %p or %p is not aligned", bytes, shared, global);
    self->copies.push_back({shared, global, bytes, read, self->group});
}
void emu_copy_commit(void) { self->group++; }
void emu_copy_wait(int groups) {
    while (!self->copies.empty() && self->copies.front().group < self->group - groups) {
        copy c = self->copies.front();
        self->copies.pop_front();
        memcpy(c.to, c.from, (size_t)c.read);
        memset((char *)c.to + c.read, 0, (size_t)(c.bytes - c.read));
    }
}

bool emu_run(emu_call call, const void *kernel, const void *params, dim3 grid, dim3 dim, unsigned shared_bytes) {
    size_t n = (size_t)dim.x * dim.y * dim.z;
    uint64_t random = emu_opts.seed * 2 + 1;
    std::vector<unsigned char> memory(shared_bytes + 128);
    unsigned char *shared = memory.data() + (128 - (uintptr_t)memory.data() % 128);
    block b;
    failed = false;
    b.call = call;
    b.kernel = kernel;
    b.params = params;
    now = &b;
    for (size_t i = 0; i < n; i++) b.threads.push_back(take_fibre(i));
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                memset(shared, POISON, shared_bytes);
                memset(b.barriers, 0, sizeof b.barriers);
                b.warps.assign((n + 31) / 32, {});
                b.live = (int)n;
                for (size_t i = 0; i < n; i++) {
                    fibre *f = b.threads[i];
                    f->at.thread = {(unsigned)(i % dim.x), (unsigned)(i / dim.x % dim.y),
                                    (unsigned)(i / dim.x / dim.y)};
                    f->at.block = {x, y, z};
                    f->at.block_dim = dim;
                    f->at.grid_dim = grid;
                    f->at.shared = shared;
                    f->at.shared_bytes = shared_bytes;
                    f->at.lane = (int)(i % 32);
                    f->warp = (int)(i / 32);
                    f->ready = true;
                    f->done = false;
                    f->copies.clear();
                    f->group = 0;
                    f->context = ctx::make_fcontext(f->stack + STACK, STACK - PAGE, main_of_fibre);
                }
                run_block(&b, &random);
                if (failed) return false;
            }
    return true;
}
