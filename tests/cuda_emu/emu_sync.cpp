/* What the threads of an emulated kernel call: barriers, meetings, asynchronous copies, fences. */
#include "tests/cuda_emu/emu_sched.h"

#include <stdio.h>
#include <stdlib.h>

using namespace emu;

namespace {

bool same_place(const char *f, int l, const char *g, int m) { return l == m && (f == g || !strcmp(f, g)); }

void open_barrier(block *b, barrier *r) {
    if (!r->come || r->come < (r->want ? r->want : b->live)) return;
    b->open_barriers &= ~(1u << (r - b->barriers));
    r->come = 0;
    r->result = r->yes;
    r->yes = 0;
    for (int w = 0; w < b->warps; w++) {
        unsigned waits = r->waits[w];
        r->came[w] = r->waits[w] = 0;
        make_ready(b, w, waits);
        if (TSAN_FIBRES) let_know(b, w, waits, &r->order);
    }
}

barrier *come_to(int id, int threads, const char *file, int line) {
    thread *t = self();
    block *b = t->of;
    if (id < 0 || id >= BARRIERS || threads < 0 || threads % 32 || threads > b->n)
        emu_fail(
            "barrier %d of %d threads at %s:%d; barriers are 0 to 15, of a multiple of 32 threads of the block's %d",
            id, threads, base_name(file), line, b->n);
    barrier *r = &b->barriers[id];
    unsigned bit = 1u << t->at.lane;
    if (!r->come) {
        b->open_barriers |= 1u << id;
        r->file = file;
        r->line = line;
        r->want = threads;
        r->first = (unsigned)(t - b->threads.data());
    } else if (threads == 0 && r->want == 0 && !same_place(r->file, r->line, file, line)) {
        emu_fail("divergent barrier: at %s:%d, and thread %u is at %s:%d", base_name(file), line, r->first,
                 base_name(r->file), r->line);
    } else if (threads != r->want) {
        emu_fail("barrier %d of %d threads at %s:%d; thread %u came to it at %s:%d for %d threads", id, threads,
                 base_name(file), line, r->first, base_name(r->file), r->line, r->want);
    }
    if (r->came[t->warp] & bit) emu_fail("comes twice to barrier %d, at %s:%d", id, base_name(file), line);
    r->came[t->warp] |= bit;
    r->come++;
    tsan_release(&r->order);
    return r;
}

void finish(block *b, int w, int index) {
    warp *p = &b->warp_of[w];
    meeting m = p->meetings[index];
    p->meetings[index] = p->meetings[--p->open];
    m.fn(p->brought, m.come);
    thread *t = self();
    unsigned others = t->warp == w ? m.come & ~(1u << t->at.lane) : m.come;
    make_ready(b, w, others);
    if (TSAN_FIBRES && m.kind == ORDERED) {
        uint64_t *order = &p->order[__builtin_ctz(m.mask)];
        let_know(b, w, others, order);
        tsan_acquire(order);
    }
}

void meet(unsigned mask, meeting_kind kind, const char *what, emu_meeting fn, void *brought, const char *file,
          int line) {
    thread *t = self();
    block *b = t->of;
    warp *p = &b->warp_of[t->warp];
    int lane = t->at.lane, i = 0;
    unsigned bit = 1u << lane;
    meeting *m = p->meetings;
    bool usual = p->open && mask & bit && m->mask == mask && m->fn == fn && m->what == what;
    if (usual && m->come != (mask & p->live & ~bit) && !TSAN_FIBRES) {
        p->brought[lane] = brought; /* the common case: others of this mask are here, and not all */
        m->come |= bit;
        wait_for(t, what, file, line);
        return;
    }
    if (!(mask & bit))
        emu_fail("%s at %s:%d: lane %d is not in its mask %08x", what, base_name(file), line, lane, mask);
    if (kind == WHOLE && mask & ~p->live)
        emu_fail("%s at %s:%d: lane %d has ended", what, base_name(file), line, __builtin_ctz(mask & ~p->live));
    if (TSAN_FIBRES && kind == ORDERED) tsan_release(&p->order[__builtin_ctz(mask)]);
    while (i < p->open && !(p->meetings[i].mask & mask)) i++;
    m = &p->meetings[i];
    if (i == p->open) {
        p->open++;
        *m = {mask, 0, kind, what, file, line, fn};
    } else if (m->mask != mask || m->fn != fn || strcmp(m->what, what)) {
        emu_fail("%s of mask %08x at %s:%d meets %s of mask %08x at %s:%d", what, mask, base_name(file), line, m->what,
                 m->mask, base_name(m->file), m->line);
    }
    p->brought[lane] = brought;
    m->come |= bit;
    if (m->come == (mask & p->live)) {
        for (unsigned rest = mask & ~m->come; rest; rest &= rest - 1) p->brought[__builtin_ctz(rest)] = nullptr;
        finish(b, t->warp, i);
    } else wait_for(t, what, file, line);
}

void land(thread *t, copy *c) {
    unsigned char now[16];
    tsan_reads(c->from, (size_t)c->read);
    tsan_writes(c->to, (size_t)c->bytes);
    tsan_quiet();
    memcpy(now, c->from, (size_t)c->read);
    memset(now + c->read, 0, (size_t)(c->bytes - c->read));
    bool same = !memcmp(now, c->was, (size_t)c->read);
    memcpy(c->to, now, (size_t)c->bytes);
    tsan_heard();
    if (!same)
        emu_fail("the source of the asynchronous copy of %s:%d was written before it landed", base_name(c->file),
                 c->line);
    t->head++;
}

void more_room(thread *t) {
    unsigned room = t->room ? 2 * t->room : 16;
    copy *ring = (copy *)malloc(room * sizeof *ring);
    if (!ring) abort();
    for (unsigned i = t->head; i != t->tail; i++) ring[i & (room - 1)] = t->ring[i & (t->room - 1)];
    free(t->ring);
    t->ring = ring;
    t->room = room;
}

} // namespace

void emu::let_know(block *b, int w, unsigned lanes, uint64_t *order) {
    void *here = tsan_here();
    for (; lanes; lanes &= lanes - 1) {
        tsan_become(b->threads[(size_t)(w * 32 + __builtin_ctz(lanes))].on->tsan);
        tsan_acquire(order);
    }
    tsan_become(here);
}

void emu::leave_barriers(thread *t) {
    block *b = t->of;
    for (unsigned m = b->open_barriers; m; m &= m - 1) open_barrier(b, &b->barriers[__builtin_ctz(m)]);
}

/* ---- a cluster's barrier ---- */

namespace {

void open_cluster(cluster *c) {
    int live = 0;
    for (int i = 0; i < c->n; i++) live += c->blocks[i]->live;
    if (!c->come || c->come < live) return;
    c->come = 0;
    for (int i = 0; i < c->n; i++)
        for (int w = 0; w < c->blocks[i]->warps; w++) {
            unsigned waits = c->waits[i][w];
            c->waits[i][w] = 0;
            make_ready(c->blocks[i], w, waits);
            if (TSAN_FIBRES) let_know(c->blocks[i], w, waits, &c->order);
        }
}

} // namespace

void emu::leave_cluster(thread *t) { open_cluster(t->of->in); }

void emu_cluster_sync(const char *file, int line) {
    thread *t = self();
    cluster *c = t->of->in;
    unsigned *waits = &c->waits[t->of->rank][t->warp];
    c->come++;
    *waits |= 1u << t->at.lane;
    tsan_release(&c->order);
    open_cluster(c);
    if (*waits >> t->at.lane & 1) wait_for(t, "barrier.cluster", file, line);
    else {
        t->of->warp_of[t->warp].ready &= ~(1u << t->at.lane); /* the one who opens it goes on */
        if (!t->of->warp_of[t->warp].ready) t->of->ready_warps &= ~(1u << t->warp);
    }
}

int emu_cluster_rank(void) { return self()->of->rank; }

void *emu_cluster_at(void *p, int rank, const char *file, int line) {
    const cluster *c = self()->of->in;
    emu_must_be_shared(p, 0, 1, "mapa");
    if (rank < 0 || rank >= c->n)
        emu_fail("mapa at %s:%d: block %d of a cluster of %d", base_name(file), line, rank, c->n);
    if (!c->blocks[rank]->live)
        emu_fail("mapa at %s:%d: block %d of the cluster has ended", base_name(file), line, rank);
    return c->blocks[rank]->shared + ((unsigned char *)p - emu_at->shared);
}

void emu::leave_meetings(thread *t) {
    warp *p = &t->of->warp_of[t->warp];
    unsigned bit = 1u << t->at.lane;
    for (int i = 0; i < p->open; i++) {
        meeting *m = &p->meetings[i];
        if (!(m->mask & bit)) continue;
        if (m->kind == WHOLE)
            emu_fail("ends, and is in mask %08x of %s at %s:%d", m->mask, m->what, base_name(m->file), m->line);
        if (m->come != (m->mask & p->live)) return;
        for (unsigned rest = m->mask & ~m->come; rest; rest &= rest - 1) p->brought[__builtin_ctz(rest)] = nullptr;
        finish(t->of, t->warp, i);
        return; /* masks are disjoint */
    }
}

/* Warp by warp, lanes that wait at the same place together. */
void emu::describe_waits(const block *b, char *text, size_t room) {
    size_t n = 0;
    for (int w = 0; w < b->warps; w++) {
        unsigned told = 0;
        for (unsigned rest = b->warp_of[w].live; rest; rest &= ~told) {
            const thread *t = &b->threads[(size_t)(w * 32 + __builtin_ctz(rest))];
            unsigned same = 0;
            for (unsigned m = rest; m; m &= m - 1) {
                const thread *o = &b->threads[(size_t)(w * 32 + __builtin_ctz(m))];
                if (o->what == t->what && o->line == t->line && o->file == t->file) same |= 1u << o->at.lane;
            }
            told |= same;
            int more = snprintf(text + n, room - n, " warp %d lanes %08x at %s %s:%d;", w, same, t->what,
                                base_name(t->file), t->line);
            if (n + (size_t)more >= room) return;
            n += (size_t)more;
        }
    }
    if (n) text[n - 1] = '\0';
}

void emu_trap(const char *file, int line) { emu_fail("__trap at %s:%d", base_name(file), line); }

unsigned emu_active(void) { return self()->of->warp_of[self()->warp].live; }

/* ---- barriers ---- */

void emu_barrier(int id, int threads, const char *file, int line) {
    thread *t = self();
    barrier *r = come_to(id, threads, file, line);
    r->waits[t->warp] |= 1u << t->at.lane;
    open_barrier(t->of, r);
    if (r->waits[t->warp] >> t->at.lane & 1) wait_for(t, threads ? "bar.sync" : "__syncthreads", file, line);
    else {
        t->of->warp_of[t->warp].ready &= ~(1u << t->at.lane); /* the one who opens it goes on */
        if (!t->of->warp_of[t->warp].ready) t->of->ready_warps &= ~(1u << t->warp);
    }
}

void emu_barrier_arrive(int id, int threads, const char *file, int line) {
    if (!threads) emu_fail("bar.arrive at %s:%d tells no number of threads", base_name(file), line);
    open_barrier(self()->of, come_to(id, threads, file, line));
}

int emu_barrier_count(int vote, const char *file, int line) {
    barrier *r = &self()->of->barriers[0];
    r->yes += vote != 0;
    emu_barrier(0, 0, file, line);
    return r->result;
}

/* ---- meetings ---- */

void emu_meet(unsigned mask, const char *what, emu_meeting fn, void *brought, const char *file, int line) {
    meet(mask, PLAIN, what, fn, brought, file, line);
}
void emu_meet_whole(unsigned mask, const char *what, emu_meeting fn, void *brought, const char *file, int line) {
    meet(mask, WHOLE, what, fn, brought, file, line);
}
void emu_syncwarp(unsigned mask, const char *file, int line) {
    meet(
        mask, ORDERED, "__syncwarp", [](void *const *, unsigned) {}, nullptr, file, line);
}

/* ---- asynchronous copies ---- */

void emu_must_be_shared(const void *p, int bytes, int align, const char *what) {
    intptr_t at = (intptr_t)p - (intptr_t)emu_at->shared;
    if ((uintptr_t)p % (unsigned)align) emu_fail("%s: byte %ld is not a multiple of %d", what, (long)at, align);
    if (at < 0 || at + bytes > (intptr_t)emu_at->shared_bytes)
        emu_fail("%s: bytes %ld to %ld are outside the block's %u of shared memory", what, (long)at, (long)at + bytes,
                 emu_at->shared_bytes);
}

void emu_copy_async(void *shared, const void *global, int bytes, int read, const char *file, int line) {
    thread *t = self();
    emu_must_be_shared(shared, bytes, bytes, "cp.async");
    if ((uintptr_t)global % (unsigned)bytes)
        emu_fail("cp.async at %s:%d of %d bytes: source %p is not aligned", base_name(file), line, bytes, global);
    tsan_call(__builtin_return_address(0));
    tsan_reads(global, (size_t)read);
    tsan_writes(shared, (size_t)bytes); /* from now on it may land */
    tsan_quiet();
    if (t->tail - t->head == t->room) more_room(t);
    copy *c = &t->ring[t->tail++ & (t->room - 1)];
    *c = {shared, global, file, line, bytes, read, t->group, {}};
    memcpy(c->was, global, (size_t)read);
    memset(shared, POISON, (size_t)bytes);
    tsan_heard();
    tsan_return();
}

void emu_copy_commit(void) { self()->group++; }

void emu_copy_wait(int groups) {
    thread *t = self();
    tsan_call(__builtin_return_address(0));
    while (t->head != t->tail) {
        copy *c = &t->ring[t->head & (t->room - 1)];
        if (c->group >= t->group - groups) break;
        land(t, c);
    }
    tsan_return();
}

/* ---- fences and atomics, for TSan ----
 * A fence keeps what the thread knows in a second thread of TSan's (`fence`). An atomic after it is done by that one,
 * which makes it known at the address: what the thread did since the fence is not. A fence after an atomic learns what
 * was made known there. */
#ifdef FC_EMU_TSAN
void emu_fence(void) {
    thread *t = self();
    for (int i = 0; i < t->n_seen && i < SEEN; i++) tsan_acquire((void *)t->seen[i]);
    t->n_seen = 0;
    if (!t->on->fence) t->on->fence = tsan_new();
    tsan_release(&t->on->tsan);
    tsan_become(t->on->fence);
    tsan_acquire(&t->on->tsan);
    tsan_become(t->on->tsan);
    t->fenced = true;
}

void emu_atomic_begins(const void *) {
    thread *t = self();
    if (!t->fenced) return;
    tsan_become(t->on->fence);
    tsan_call(__builtin_return_address(0));
}

void emu_atomic_ends(const void *p) {
    thread *t = self();
    if (t->fenced) {
        tsan_return();
        tsan_release((void *)p);
        tsan_release(&t->on->fence);
        tsan_become(t->on->tsan);
        tsan_acquire(&t->on->fence); /* it is this thread's own */
    }
    t->seen[t->n_seen++ % SEEN] = p;
}
#endif
