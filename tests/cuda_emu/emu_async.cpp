/* Hopper's asynchronous side: barriers in shared memory, bulk copies, products of warpgroups.
 *
 * A block has shared memory twice: as its threads see it, and as copies and products do. A bulk copy lands in both;
 * what threads store gets into the second with fc_proxy_fence. A product is computed when its warp issues it, from the
 * second; its accumulators are poison until the wait, which looks whether anything of it was touched in between. */
#include "tests/cuda_emu/emu_async.h"
#include "tests/cuda_emu/emu_sched.h"

#include <map>

using namespace emu;

namespace {

/* WINDOW: where shared memory begins. MOST_BYTES, MOST_ARRIVALS: what a barrier counts. */
enum {
    WINDOW = 1024 + 128,
    MOST_BYTES = (1 << 20) - 1,
    MOST_ARRIVALS = (1 << 20) - 1,
    GROUP_WARPS = 4,
    K = 16,
    COLUMNS = 256
};

struct bulk {
    unsigned char *to;
    const unsigned char *from;
    std::vector<unsigned char> was; /* the source when it was issued */
    const char *file;
    int line;
};

struct mbarrier {
    unsigned count, pending, phase; /* arrivals of a phase; missing ones; the current phase's number */
    long bytes;                     /* announced and not yet on their way */
    const thread *maker;
    bool seen; /* by copies */
    unsigned waits[WARPS];
    std::vector<bulk> copies;
    uint64_t order;
};

struct product {
    int group, n;
    float *d[32];
    const uint32_t *a[32]; /* NULL: in shared memory */
    uint32_t a_was[32][4];
    uint64_t a_at, b; /* descriptors */
    bool turned;
    unsigned char b_was[COLUMNS * K * 2], rows_was[16 * K * 2]; /* rows: the warp's, of an a in shared memory */
    float sums[32][COLUMNS / 2];
    const char *file;
    int line;
};

struct lane_state {
    bool fenced;
    int group;
};

} // namespace

struct emu::async_side {
    std::vector<unsigned char> shared; /* as copies and products see it */
    std::map<unsigned, mbarrier> barriers;
    std::vector<lane_state> lanes;
    std::vector<product> flying[WARPS];
    std::vector<uint64_t> issued[WARPS]; /* descriptors of each product since the block began, as one number */
    void *engine;    /* TSan's thread that copies: a barrier of threads does not order what it writes */
    uint64_t handed; /* to it */
};

namespace {

async_side *side(block *b) {
    if (!b->async) {
        tsan_quiet(); /* what belongs to the block comes and goes by any of its threads */
        b->async = new async_side();
        b->async->engine = tsan_new();
        b->async->shared.assign(b->of->shared_bytes, POISON);
        b->async->lanes.assign((size_t)b->n, {false, 0});
        tsan_heard();
    }
    return b->async;
}

lane_state *my_state(void) { return &side(self()->of)->lanes[(size_t)(self() - self()->of->threads.data())]; }

unsigned offset_of(const void *p) { return (unsigned)((const unsigned char *)p - emu_at->shared); }

block *block_of_cluster(int rank) { return self()->of->in->blocks[rank]; }

/* What a barrier's 8 bytes hold: its place, so that who writes over them is noticed. */
uint64_t mark_of(unsigned offset) { return 0xb0b0b0b000000000u | offset; }

/* Barrier b, of this block's shared memory, as it is in block `of` of the cluster. */
mbarrier *find(block *of, const uint64_t *b, const char *what, const char *file, int line) {
    emu_must_be_shared(b, 8, 8, what);
    unsigned at = offset_of(b);
    const void *there = of->shared + at;
    if (!of->live) emu_fail("%s at %s:%d: block %d of the cluster has ended", what, base_name(file), line, of->rank);
    auto found = side(of)->barriers.find(at);
    uint64_t now;
    tsan_reads(there, 8);
    tsan_quiet();
    memcpy(&now, there, 8);
    tsan_heard();
    if (found == side(of)->barriers.end() || now != mark_of(at))
        emu_fail("%s at %s:%d: byte %u is no barrier, or was written over", what, base_name(file), line, at);
    return &found->second;
}

void land(block *b, const bulk &c) {
    tsan_quiet();
    bool same = !memcmp(c.from, c.was.data(), c.was.size());
    memcpy(c.to, c.was.data(), c.was.size());
    memcpy(b->async->shared.data() + (c.to - b->shared), c.was.data(), c.was.size());
    tsan_heard();
    if (!same) emu_fail("the source of the bulk copy of %s:%d was written before it landed", base_name(c.file), c.line);
}

void complete(block *b, mbarrier *m) {
    if (m->pending || m->bytes) return;
    for (const bulk &c : m->copies) land(b, c);
    tsan_quiet();
    m->copies.clear();
    tsan_heard();
    m->phase++;
    m->pending = m->count;
    for (int w = 0; w < b->warps; w++) {
        make_ready(b, w, m->waits[w]);
        m->waits[w] = 0;
    }
}

/* ---- products */

/* Registers of all lanes lie on stacks, which other threads have had before: what is done to them here is no access of
 * anybody's. */
void copy_unheard(void *to, const void *from, size_t bytes) {
    tsan_quiet();
    memcpy(to, from, bytes);
    tsan_heard();
}

void poison_unheard(void *to, size_t bytes) {
    tsan_quiet();
    memset(to, POISON, bytes);
    tsan_heard();
}

bool equal_unheard(const void *a, const void *b, size_t bytes) {
    tsan_quiet();
    bool same = !memcmp(a, b, bytes);
    tsan_heard();
    return same;
}

float bf16_of(uint16_t u) {
    uint32_t bits = (uint32_t)u << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* Where 16 bytes lie, k 8 half .. + 7 of column n, as the descriptor has it. */
unsigned piece_at(uint64_t b, int n, int half) {
    unsigned start = (unsigned)(b & 0x3fff) << 4, leading = (unsigned)(b >> 16 & 0x3fff) << 4,
             stride = (unsigned)(b >> 32 & 0x3fff) << 4, row = (unsigned)n % 8, at;
    if (b >> 62 == 0) return start + (unsigned)n / 8 * stride + (unsigned)half * leading + row * 16;
    at = start + (unsigned)n / 8 * stride + row * 128 + (unsigned)half * 16;
    return at ^ (at >> 7 & 7) << 4;
}

/* Where columns 8 eight .. + 7 of row k lie, of a b whose columns are fastest. */
unsigned turned_at(uint64_t b, int eight, int k) {
    unsigned start = (unsigned)(b & 0x3fff) << 4, panel = (unsigned)(b >> 16 & 0x3fff) << 4,
             stride = (unsigned)(b >> 32 & 0x3fff) << 4, at;
    at = start + (unsigned)eight / 8 * panel + (unsigned)k / 8 * stride + (unsigned)k % 8 * 128 +
         (unsigned)eight % 8 * 16;
    return at ^ (at >> 7 & 7) << 4;
}

void check_descriptor(uint64_t b, bool turned, const char *file, int line) {
    unsigned kind = (unsigned)(b >> 62), start = (unsigned)(b & 0x3fff) << 4;
    if (kind > 1 || b >> 49 & 7)
        emu_fail("wgmma at %s:%d: swizzle %u with base offset %u is not emulated", base_name(file), line, kind,
                 (unsigned)(b >> 49 & 7));
    if (kind == 1 && start % 1024 >= 128)
        emu_fail("wgmma at %s:%d: b begins at %u: rows swizzled over 128 bytes begin at a multiple of 1024",
                 base_name(file), line, start);
    if (turned && (kind != 1 || start % 1024))
        emu_fail("wgmma at %s:%d: a turned b begins at %u, swizzle %u: a multiple of 1024 and 1 are emulated",
                 base_name(file), line, start, kind);
}

void read_piece(unsigned char *out, const async_side *s, const product &p, const char *what, unsigned at) {
    at -= WINDOW;
    if (at + 16 > s->shared.size() || at + 16 < 16)
        emu_fail("wgmma at %s:%d: %s has bytes %d to %d, outside the block's %zu of shared memory", base_name(p.file),
                 p.line, what, (int)at, (int)at + 16, s->shared.size());
    copy_unheard(out, &s->shared[at], 16);
}

/* The pieces of b, [n][2][8] elements; turned: [16][n / 8][8]. */
void read_b(unsigned char *out, const async_side *s, const product &p) {
    for (int i = 0; i < p.n * 2; i++)
        read_piece(out + i * 16, s, p, "b",
                   p.turned ? turned_at(p.b, i % (p.n / 8), i / (p.n / 8)) : piece_at(p.b, i / 2, i % 2));
}

/* The warp's rows of an a in shared memory, [16][2][8]. */
void read_rows(unsigned char *out, const async_side *s, const product &p, int warp) {
    for (int i = 0; i < 16 * 2; i++)
        read_piece(out + i * 16, s, p, "a", piece_at(p.a_at, warp % GROUP_WARPS * 16 + i / 2, i % 2));
}

struct brought_product {
    float *d;
    const uint32_t *a; /* NULL: a_at */
    int n;
    uint64_t a_at, b;
    bool turned, more, fenced;
    int group;
    const char *file;
    int line;
};

/* All four warps must say the same products in the same order. */
void agree(block *b, int warp, uint64_t descriptor, const char *file, int line) {
    async_side *s = side(b);
    size_t k = s->issued[warp].size();
    int first = warp / GROUP_WARPS * GROUP_WARPS;
    if (b->warps < first + GROUP_WARPS)
        emu_fail("wgmma at %s:%d: the block's %d warps leave a warpgroup incomplete", base_name(file), line, b->warps);
    for (int w = first; w < first + GROUP_WARPS; w++)
        if (s->issued[w].size() > k && s->issued[w][k] != descriptor)
            emu_fail("wgmma at %s:%d: warps %d and %d of a warpgroup have different descriptors", base_name(file), line,
                     warp, w);
    tsan_quiet();
    s->issued[warp].push_back(descriptor);
    tsan_heard();
}

void place_of(int lane, int i, int *row, int *column) {
    *row = lane / 4 + i / 2 % 2 * 8;
    *column = i / 4 * 8 + lane % 4 * 2 + i % 2;
}

/* sums += a b, in double, k upwards, rounded once. */
void multiply(product *p) {
    static thread_local double a[16][K], c[16][COLUMNS], b[COLUMNS];
    int n = p->n, row, column;
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 8; i++) {
            place_of(lane, i, &row, &column);
            uint16_t u = (uint16_t)(p->a_was[lane][i / 2] >> i % 2 * 16);
            if (!p->a[lane]) memcpy(&u, p->rows_was + (row * K + column) * 2, 2);
            a[row][column] = (double)bf16_of(u);
        }
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < n / 2; i++) {
            place_of(lane, i, &row, &column);
            c[row][column] = (double)p->sums[lane][i];
        }
    for (int k = 0; k < K; k++) {
        for (int j = 0; j < n; j++) {
            uint16_t u;
            memcpy(&u, p->b_was + (p->turned ? k * n + j : j * K + k) * 2, 2);
            b[j] = (double)bf16_of(u);
        }
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < n; j++) c[i][j] += a[i][k] * b[j];
    }
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < n / 2; i++) {
            place_of(lane, i, &row, &column);
            p->sums[lane][i] = (float)c[row][column];
        }
}

/* Errors leave their fibre where it is: what is allocated here belongs to the block. */
void issue(void *const brought[32], unsigned) {
    const brought_product *first = (const brought_product *)brought[0];
    block *b = self()->of;
    int warp = self()->warp, n = first->n;
    std::vector<product> &flying = side(b)->flying[warp];
    check_descriptor(first->b, first->turned, first->file, first->line);
    if (!first->a) check_descriptor(first->a_at, false, first->file, first->line);
    agree(b, warp, first->b ^ first->a_at << 1, first->file, first->line);
    tsan_quiet();
    flying.emplace_back();
    tsan_heard();
    product *p = &flying.back();
    p->group = first->group, p->n = n, p->b = first->b, p->file = first->file, p->line = first->line;
    p->a_at = first->a_at, p->turned = first->turned;
    const product *before = nullptr;
    for (const product &q : flying)
        if (&q != p && q.d[0] == first->d) before = &q;
    for (int lane = 0; lane < 32; lane++) {
        const brought_product *q = (const brought_product *)brought[lane];
        size_t bytes = (size_t)(n / 2) * sizeof(float);
        if (q->b != first->b || q->a_at != first->a_at || q->n != n || q->more != first->more ||
            q->group != first->group)
            emu_fail("wgmma at %s:%d: lanes 0 and %d differ in more than a and d", base_name(q->file), q->line, lane);
        if (!q->fenced) emu_fail("wgmma at %s:%d: no wgmma.fence since a and d were used", base_name(q->file), q->line);
        p->d[lane] = q->d;
        p->a[lane] = q->a;
        if (q->a) copy_unheard(p->a_was[lane], q->a, sizeof p->a_was[lane]);
        if (first->more) copy_unheard(p->sums[lane], before ? before->sums[lane] : q->d, bytes);
        poison_unheard(q->d, bytes);
    }
    read_b(p->b_was, side(b), *p);
    if (!first->a) read_rows(p->rows_was, side(b), *p, warp);
    multiply(p);
}

/* Its accumulators are there; `last`: no other product in flight has the same. */
void retire(const async_side *s, const product &p, bool last) {
    static thread_local unsigned char now[sizeof p.b_was];
    size_t bytes = (size_t)(p.n / 2) * sizeof(float);
    read_b(now, s, p);
    if (!equal_unheard(now, p.b_was, (size_t)(p.n * K * 2)))
        emu_fail("b of the wgmma of %s:%d was written before its wait", base_name(p.file), p.line);
    if (!p.a[0]) {
        read_rows(now, s, p, self()->warp);
        if (!equal_unheard(now, p.rows_was, sizeof p.rows_was))
            emu_fail("a of the wgmma of %s:%d was written before its wait", base_name(p.file), p.line);
    }
    for (int lane = 0; lane < 32; lane++) {
        if (p.a[lane] && !equal_unheard(p.a[lane], p.a_was[lane], sizeof p.a_was[lane]))
            emu_fail("a of the wgmma of %s:%d was written before its wait, by lane %d", base_name(p.file), p.line,
                     lane);
        if (!last) continue;
        for (size_t i = 0; i < bytes; i++)
            if (((const unsigned char *)p.d[lane])[i] != POISON)
                emu_fail("d of the wgmma of %s:%d was written before its wait, by lane %d", base_name(p.file), p.line,
                         lane);
        copy_unheard(p.d[lane], p.sums[lane], bytes);
    }
}

/* Groups before the one that all lanes say. */
void retire_until(void *const brought[32], unsigned) {
    async_side *s = side(self()->of);
    std::vector<product> &f = s->flying[self()->warp];
    int groups = *(const int *)brought[0];
    size_t done = 0;
    for (int lane = 1; lane < 32; lane++)
        if (*(const int *)brought[lane] != groups)
            emu_fail("wgmma.wait_group: lanes 0 and %d have committed different numbers of groups", lane);
    for (; done < f.size() && f[done].group < groups; done++) {
        bool last = true;
        for (size_t j = done + 1; j < f.size(); j++) last = last && f[j].d[0] != f[done].d[0];
        retire(s, f[done], last);
    }
    tsan_quiet();
    f.erase(f.begin(), f.begin() + (long)done);
    tsan_heard();
}

} // namespace

void emu::forget_async(block *b) {
    if (b->async && b->async->engine) tsan_delete(b->async->engine);
    tsan_quiet();
    delete b->async;
    tsan_heard();
    b->async = nullptr;
}

bool emu::copies_in_flight(const block *b, char *text, size_t room) {
    if (!b->async) return false;
    for (const auto &[at, m] : b->async->barriers)
        if (!m.copies.empty()) {
            snprintf(text, room, "block %u,%u,%u ended before the bulk copy of %s:%d had landed",
                     b->threads[0].at.block.x, b->threads[0].at.block.y, b->threads[0].at.block.z,
                     base_name(m.copies[0].file), m.copies[0].line);
            return true;
        }
    return false;
}

unsigned emu_shared_address(const void *p) {
    emu_must_be_shared(p, 0, 1, "an address of shared memory");
    return WINDOW + offset_of(p);
}

void emu_mbarrier_init(uint64_t *b, unsigned count, const char *file, int line) {
    emu_must_be_shared(b, 8, 8, "mbarrier.init");
    if (count < 1 || count > MOST_ARRIVALS)
        emu_fail("mbarrier.init at %s:%d: a count of %u", base_name(file), line, count);
    unsigned at = offset_of(b);
    uint64_t mark = mark_of(at);
    tsan_writes(b, 8);
    mbarrier m = {};
    m.count = m.pending = count;
    m.maker = self();
    async_side *s = side(self()->of);
    tsan_quiet();
    s->barriers[at] = m;
    memcpy(b, &mark, 8);
    tsan_heard();
}

static void arrive(block *of, uint64_t *b, unsigned bytes, const char *file, int line) {
    mbarrier *m = find(of, b, "mbarrier.arrive", file, line);
    if (!m->pending)
        emu_fail("mbarrier.arrive at %s:%d: all %u of this phase have arrived", base_name(file), line, m->count);
    if (bytes > MOST_BYTES) emu_fail("mbarrier.arrive at %s:%d: %u bytes are expected", base_name(file), line, bytes);
    tsan_release(&m->order);
    m->pending--;
    m->bytes += (long)bytes;
    complete(of, m);
}

void emu_mbarrier_arrive(uint64_t *b, unsigned bytes, const char *file, int line) {
    arrive(self()->of, b, bytes, file, line);
}

void emu_mbarrier_arrive_at(uint64_t *b, int rank, const char *file, int line) {
    emu_cluster_at(b, rank, file, line);
    arrive(block_of_cluster(rank), b, 0, file, line);
}

void emu_mbarrier_wait(uint64_t *b, unsigned parity, const char *file, int line) {
    thread *t = self();
    mbarrier *m = find(t->of, b, "mbarrier.try_wait", file, line);
    if (parity > 1) emu_fail("mbarrier.try_wait at %s:%d: parity %u", base_name(file), line, parity);
    while ((m->phase & 1) == parity) {
        m->waits[t->warp] |= 1u << t->at.lane;
        wait_for(t, "mbarrier", file, line);
    }
    tsan_acquire(&m->order);
}

/* caller: of the emulator, for TSan's reports. */
static void copy_to(block *of, void *shared, const void *global, unsigned bytes, uint64_t *b, void *caller,
                    const char *file, int line) {
    unsigned char *to = of->shared + offset_of(shared);
    emu_must_be_shared(shared, (int)bytes, 16, "cp.async.bulk");
    if (bytes % 16 || !bytes || (uintptr_t)global % 16)
        emu_fail("cp.async.bulk at %s:%d: %u bytes from %p; both are multiples of 16", base_name(file), line, bytes,
                 global);
    mbarrier *m = find(of, b, "cp.async.bulk", file, line);
    if (!m->seen)
        emu_fail("cp.async.bulk at %s:%d: its barrier has no fence.proxy.async behind its mbarrier.init",
                 base_name(file), line);
    async_side *s = side(of);
    tsan_release(&s->handed);
    tsan_become(s->engine);
    tsan_acquire(&s->handed);
    tsan_call(caller);
    tsan_reads(global, bytes);
    tsan_writes(to, bytes);
    tsan_return();
    tsan_release(&m->order);
    tsan_become(self()->on->tsan);
    tsan_quiet();
    const unsigned char *from = (const unsigned char *)global;
    m->copies.push_back({to, from, {from, from + bytes}, file, line});
    memset(to, POISON, bytes);
    memset(s->shared.data() + offset_of(shared), POISON, bytes);
    tsan_heard();
    m->bytes -= (long)bytes;
    complete(of, m);
}

void emu_copy_bulk(void *shared, const void *global, unsigned bytes, uint64_t *b, const char *file, int line) {
    copy_to(self()->of, shared, global, bytes, b, __builtin_return_address(0), file, line);
}

void emu_copy_bulk_all(void *shared, const void *global, unsigned bytes, uint64_t *b, unsigned blocks, const char *file,
                       int line) {
    if (!blocks || blocks >> self()->of->in->n)
        emu_fail("cp.async.bulk at %s:%d: blocks %#x of a cluster of %d", base_name(file), line, blocks,
                 self()->of->in->n);
    for (; blocks; blocks &= blocks - 1)
        copy_to(block_of_cluster(__builtin_ctz(blocks)), shared, global, bytes, b, __builtin_return_address(0), file,
                line);
}

void emu_proxy_fence(void) {
    async_side *s = side(self()->of);
    tsan_quiet();
    memcpy(s->shared.data(), emu_at->shared, s->shared.size());
    tsan_heard();
    for (auto &[at, m] : s->barriers) m.seen = m.seen || m.maker == self();
}

void emu_wgmma_fence(void) { my_state()->fenced = true; }
void emu_wgmma_commit(void) { my_state()->group++; }

void emu_wgmma_wait(int pending, const char *file, int line) {
    lane_state *s = my_state();
    int done = s->group - pending;
    emu_meet_whole(0xffffffffu, "wgmma.wait_group", retire_until, &done, file, line);
    s->fenced = false; /* who waited is about to use them */
}

void emu_wgmma_bf16(float *d, int n, const uint32_t a[4], uint64_t b, bool turned, bool more, const char *file,
                    int line) {
    lane_state *s = my_state();
    brought_product mine = {d, a, n, 0, b, turned, more, s->fenced, s->group, file, line};
    emu_meet_whole(0xffffffffu, "wgmma", issue, &mine, file, line);
}

void emu_wgmma_bf16_shared(float *d, int n, uint64_t a, uint64_t b, bool more, const char *file, int line) {
    lane_state *s = my_state();
    brought_product mine = {d, nullptr, n, a, b, false, more, s->fenced, s->group, file, line};
    emu_meet_whole(0xffffffffu, "wgmma", issue, &mine, file, line);
}

void emu_registers(int n, const char *file, int line) {
    int warps = self()->of->warps;
    if (self()->warp / GROUP_WARPS * GROUP_WARPS + GROUP_WARPS > warps)
        emu_fail("setmaxnreg %d at %s:%d: the block's %d warps leave a warpgroup incomplete", n, base_name(file), line,
                 warps);
}
