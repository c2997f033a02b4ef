/* conform_cluster - kernels/cuda/cluster.cuh, and mbarrier.cuh in clusters: copies to several blocks, arrivals at
 * another's barrier, reads of another's memory. Of devices of 9.0; records of others are empty. */
#include "kernels/cuda/cluster.cuh"
#include "tests/gpu/conform.cuh"

struct cluster_args {
    uint32_t *out;
    const uint32_t *in;
};

enum {
    CLUSTERS = 40, /* more than run at once */
    CLUSTER_X = 2,
    CLUSTER_Y = 2,
    CLUSTER_BLOCKS = CLUSTER_X * CLUSTER_Y,
    CLUSTER_ROUNDS = 13,
    CLUSTER_SLOTS = 3,
    CLUSTER_WORDS = 256,
    CLUSTER_READERS = 96,
    CLUSTER_OUT = CLUSTER_ROUNDS * CLUSTER_READERS + CLUSTER_READERS /* words of a block */
};

struct cluster_shared {
    alignas(16) uint32_t piece[CLUSTER_SLOTS][CLUSTER_WORDS];
    uint64_t full[CLUSTER_SLOTS], empty[CLUSTER_SLOTS];
    uint32_t mine[CLUSTER_READERS];
};

/* A block copies a fourth of each round's words to all four, whose readers tell all four when they have read; then each
 * reads what the block opposite has left. */
static __global__ void __launch_bounds__(32 + CLUSTER_READERS) FC_CLUSTER(CLUSTER_X, CLUSTER_Y)
    cluster_kernel(const cluster_args p) {
#if FC_HOPPER
    cluster_shared *m = fc_shared<cluster_shared>();
    int t = (int)threadIdx.x, rank = fc_cluster_rank(), r = t - 32;
    uint32_t *out = p.out + ((int)blockIdx.x * CLUSTER_Y + (int)blockIdx.y) * CLUSTER_OUT;
    if (t == 0) {
        for (int i = 0; i < CLUSTER_SLOTS; i++) {
            fc_mbarrier_init(&m->full[i], 1);
            fc_mbarrier_init(&m->empty[i], CLUSTER_READERS * CLUSTER_BLOCKS);
        }
        fc_proxy_fence();
    }
    fc_cluster_sync_relaxed();
    for (int i = 0; i < CLUSTER_ROUNDS; i++) {
        int slot = i % CLUSTER_SLOTS, from = rank * (CLUSTER_WORDS / CLUSTER_BLOCKS);
        unsigned parity = (unsigned)(i / CLUSTER_SLOTS & 1);
        if (t == 0) {
            fc_mbarrier_wait(&m->empty[slot], parity ^ 1);
            fc_mbarrier_expect(&m->full[slot], CLUSTER_WORDS * 4);
            fc_copy_bulk_all(m->piece[slot] + from, p.in + i * CLUSTER_WORDS + from, CLUSTER_WORDS / CLUSTER_BLOCKS * 4,
                             &m->full[slot], (1u << CLUSTER_BLOCKS) - 1);
        } else if (t >= 32) {
            fc_mbarrier_wait(&m->full[slot], parity);
            out[i * CLUSTER_READERS + r] = m->piece[slot][(t * 5 + i + rank) % CLUSTER_WORDS];
            for (int b = 0; b < CLUSTER_BLOCKS; b++) fc_mbarrier_arrive_at(&m->empty[slot], b);
        }
    }
    if (t >= 32) m->mine[r] = (uint32_t)(rank << 16 | t) ^ p.in[r];
    fc_cluster_sync();
    if (t >= 32) out[CLUSTER_ROUNDS * CLUSTER_READERS + r] = fc_cluster_at(m->mine, CLUSTER_BLOCKS - 1 - rank)[r ^ 1];
    fc_cluster_sync_relaxed();
#else
    __trap();
#endif
}

void conform_cluster(conform_run *r) {
    words in(CLUSTER_ROUNDS * CLUSTER_WORDS), out;
    for (uint32_t &v : in) v = conform_random(r);
    if (r->s->sm == 90)
        out = conform_launch(r, "cluster", cluster_kernel, CLUSTERS, 32 + CLUSTER_READERS, sizeof(cluster_shared), in,
                             (size_t)CLUSTERS * CLUSTER_BLOCKS * CLUSTER_OUT, cluster_args(), CLUSTER_X, CLUSTER_Y);
    conform_keep(r, "fc_copy_bulk_all, fc_mbarrier_arrive_at, fc_cluster_at, _sync, _sync_relaxed", BITS, out);
}
