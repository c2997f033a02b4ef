/* Clusters: a barrier of several blocks, copies to all of them, arrivals at another's barrier, reads of its memory;
 * mistakes that must be seen. */
#include "kernels/cuda/cluster.cuh"
#include "tests/cuda_emu/util_emu.h"

enum { X = 2, Y = 2, BLOCKS = X * Y, ROUNDS = 7, SLOTS = 2, PIECE = 256, READERS = 64, THREADS = 32 + READERS };

struct shared_ring {
    uint32_t piece[SLOTS][PIECE / 4]; /* each block copies a fourth, to all */
    uint64_t full[SLOTS], empty[SLOTS];
};

struct ringed {
    const uint32_t *x; /* [clusters][ROUNDS][PIECE / 4] */
    uint32_t *y;       /* [clusters][BLOCKS][ROUNDS][READERS] */
    int how;
};

enum {
    RIGHT = 0,
    NO_BEGIN,  /* barriers are used before all blocks have made theirs */
    NO_END,    /* a block ends, and others may still arrive there */
    OWN_EMPTY, /* a block waits for its own readers alone, which count for all */
    NO_BLOCK,  /* a copy to a block that the cluster does not have */
    NO_RANK,   /* an arrival there */
    HOW_COUNT
};

static void ring(const ringed p) {
    shared_ring *m = fc_shared<shared_ring>();
    int t = (int)threadIdx.x, rank = fc_cluster_rank(),
        cluster = (int)(blockIdx.x / X + blockIdx.y / Y * (gridDim.x / X));
    if (t == 0) {
        for (int i = 0; i < SLOTS; i++) {
            fc_mbarrier_init(&m->full[i], 1);
            fc_mbarrier_init(&m->empty[i], p.how == OWN_EMPTY ? READERS : READERS * BLOCKS);
        }
        fc_proxy_fence();
    }
    if (p.how == NO_BEGIN) __syncthreads();
    else fc_cluster_sync_relaxed();
    for (int i = 0; i < ROUNDS; i++) {
        int slot = i % SLOTS;
        unsigned parity = (unsigned)(i / SLOTS & 1);
        if (t == 0) {
            uint32_t *to = m->piece[slot] + rank * (PIECE / BLOCKS / 4);
            fc_mbarrier_wait(&m->empty[slot], parity ^ 1);
            fc_mbarrier_expect(&m->full[slot], PIECE);
            fc_copy_bulk_all(to, p.x + (cluster * ROUNDS + i) * (PIECE / 4) + rank * (PIECE / BLOCKS / 4),
                             PIECE / BLOCKS, &m->full[slot], p.how == NO_BLOCK ? 0x1fu : 0xfu);
        } else if (t >= 32) {
            fc_mbarrier_wait(&m->full[slot], parity);
            p.y[((cluster * BLOCKS + rank) * ROUNDS + i) * READERS + t - 32] = m->piece[slot][(t + i) % (PIECE / 4)];
            if (p.how == OWN_EMPTY) fc_mbarrier_arrive(&m->empty[slot]);
            else
                for (int b = 0; b < BLOCKS; b++) fc_mbarrier_arrive_at(&m->empty[slot], p.how == NO_RANK ? b + 1 : b);
        }
    }
    if (p.how != NO_END) fc_cluster_sync_relaxed();
}

/* True: as it should be, in this order. */
static bool ring_is_right(int how) {
    enum { CLUSTERS = 6 };
    alignas(16) static uint32_t x[CLUSTERS * ROUNDS * PIECE / 4], y[CLUSTERS * BLOCKS * ROUNDS * READERS];
    for (size_t i = 0; i < sizeof x / 4; i++) x[i] = (uint32_t)(i * 2654435761u) >> 1;
    memset(y, 0, sizeof y);
    if (!run(ring, {x, y, how}, dim3(3 * X, 2 * Y), THREADS, sizeof(shared_ring), dim3(X, Y))) return false;
    for (int at = 0; at < CLUSTERS * BLOCKS * ROUNDS; at++)
        for (int r = 0, i = at % ROUNDS, c = at / ROUNDS / BLOCKS; r < READERS; r++)
            if (y[at * READERS + r] != x[(c * ROUNDS + i) * (PIECE / 4) + (r + 32 + i) % (PIECE / 4)]) return false;
    return true;
}

static void rings_through_all_blocks(void **) { every_order(assert_runs(ring_is_right(RIGHT))); }

/* In some order, each of them. */
static void mistakes_of_rings_are_seen(void **) {
#ifdef FC_EMU_TSAN
    skip(); /* it sees them too */
#endif
    static const struct {
        int how;
        const char *says; /* "": wrong numbers do, too */
    } all[] = {{NO_BEGIN, "is no barrier"},
               {NO_END, "has ended"},
               {OWN_EMPTY, ""},
               {NO_BLOCK, "of a cluster of 4"},
               {NO_RANK, "of a cluster of 4"}};
    static_assert(sizeof all / sizeof all[0] == HOW_COUNT - 1, "each of them");
    for (auto &a : all) {
        int said = 0;
        every_order(said += !ring_is_right(a.how) && strstr(emu_error(), a.says));
        if (!said) fail_msg("mistake %d: \"%s\"", a.how, emu_error());
    }
}

enum { NO_WAIT = 1, NO_STAY }; /* nobody waits for the writer; for the reader */

/* Each thread reads what the same thread of the next block wrote. */
struct read_next {
    uint32_t *y; /* [blocks][THREADS] */
    int how;
};

static void next_block(const read_next p) {
    uint32_t *m = fc_shared<uint32_t>();
    int t = (int)threadIdx.x, rank = fc_cluster_rank();
    m[t] = (uint32_t)((int)blockIdx.x * THREADS + t);
    if (p.how != NO_WAIT) fc_cluster_sync();
    p.y[(int)blockIdx.x * THREADS + t] = fc_cluster_at(m, (rank + 1) % X)[t];
    if (p.how != NO_STAY) fc_cluster_sync();
}

static bool next_is_right(int how) {
    static uint32_t y[3 * X * THREADS];
    memset(y, 0, sizeof y);
    if (!run(next_block, {y, how}, 3 * X, THREADS, THREADS * 4, X)) return false;
    for (int b = 0; b < 3 * X; b++)
        for (int t = 0; t < THREADS; t++)
            if (y[b * THREADS + t] != (uint32_t)((b ^ 1) * THREADS + t)) return false;
    return true;
}

static void a_neighbour_is_read(void **) {
    every_order(assert_runs(next_is_right(RIGHT)));
#ifdef FC_EMU_TSAN
    skip();
#endif
    for (int how = NO_WAIT; how <= NO_STAY; how++) {
        int seen = 0;
        every_order(seen += !next_is_right(how));
        assert_true(seen > 0);
    }
}

/* A thread that has ended is waited for no longer; one that never comes is told, with its block. */
static void odd_ones_wait(const read_next p) {
    if (p.how && threadIdx.x == 3 && blockIdx.x == 1) fc_bar_sync(1, 64);
    if (threadIdx.x % 2) fc_cluster_sync();
}

static void a_barrier_of_all_blocks(void **) {
    every_order({
        assert_runs(run(odd_ones_wait, {nullptr, 0}, X, 64, 0, X));
        assert_caught(run(odd_ones_wait, {nullptr, 1}, X, 64, 0, X), "barrier.cluster");
        assert_non_null(strstr(emu_error(), "block 1,0,0: 32 of 64 threads wait"));
        assert_non_null(strstr(emu_error(), "bar.sync"));
    });
}

static void what_is_no_cluster(void **) {
    assert_caught(run(odd_ones_wait, {nullptr, 0}, 3, 32, 0, 2), "in clusters of 2,1,1");
    assert_caught(run(odd_ones_wait, {nullptr, 0}, 16, 32, 0, 16), "at most 8");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rings_through_all_blocks),
                                       cmocka_unit_test(mistakes_of_rings_are_seen),
                                       cmocka_unit_test(a_neighbour_is_read), cmocka_unit_test(a_barrier_of_all_blocks),
                                       cmocka_unit_test(what_is_no_cluster)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
