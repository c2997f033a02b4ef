/* races - kernels with one missing order each, and the same kernels with it: what test_races.sh shows to TSan.
 *
 *   races good       all kernels as they should be: silence
 *   races NAME       that kernel with its mistake: a report that names the line marked "race: NAME"
 *   races list       the names
 * No order of fibres makes these wrong: a thread runs to its next barrier before the next one begins.
 */
#include "kernels/cuda/async.cuh"
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/sync.cuh"

struct race {
    unsigned *x, *y; /* [BLOCKS * N] device */
    bool bad;
};
enum { N = 64, BLOCKS = 3 };

/* Forward, thread t reads what thread t - 1 wrote just before. */
static void barrier(const race p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x;
    m[t] = t;
    if (!p.bad) __syncthreads();
    if (t) p.y[blockIdx.x * N + t] = m[t - 1]; /* race: barrier */
}

static void refill(const race p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x, sum = 0;
    for (unsigned i = 0; i < 2; i++) {
        m[t] = i + t; /* race: refill */
        __syncthreads();
        sum += m[t ^ 1];
        if (!p.bad) __syncthreads();
    }
    p.y[blockIdx.x * N + t] = sum;
}

static void shuffle(const race p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x, v = 1;
    m[t] = t;
    v = __shfl_xor_sync(~0u, v, 1); /* all lanes have been here: that orders no memory */
    if (!p.bad) __syncwarp();
    p.y[blockIdx.x * N + t] = m[t ^ 1] + v; /* race: shuffle */
}

static void warps(const race p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x;
    m[t] = t;
    if (p.bad) __syncwarp();
    else __syncthreads();
    if (t >= 32) p.y[blockIdx.x * N + t] = m[t - 32]; /* race: warps */
}

static void halves(const race p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x, half = t / 16 % 2;
    m[t] = t;
    __syncwarp(p.bad ? 0xffffu << 16 * half : ~0u);
    p.y[blockIdx.x * N + t] = half ? m[t ^ 16] : 0; /* race: halves */
}

static void landed(const race p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x;
    fc_copy_async<4>(m + t, p.x + t);
    fc_copy_commit();
    fc_copy_wait<0>(); /* for this thread alone */
    if (!p.bad) __syncthreads();
    if (t) p.y[blockIdx.x * N + t] = m[t - 1]; /* race: landed */
}

static void issued(const race p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x, v;
    m[t] = t;
    __syncthreads();
    v = t < N - 1 ? m[t + 1] : 0;
    if (!p.bad) __syncthreads();
    fc_copy_async<4>(m + t, p.x + t); /* race: issued */
    fc_copy_commit();
    fc_copy_wait<0>();
    p.y[blockIdx.x * N + t] = v;
}

static void matrix(const race p) {
    uint16_t *m = fc_shared<uint16_t>();
    unsigned t = threadIdx.x;
    uint32_t r[2] = {0, 0};
    for (unsigned i = 0; i < 4; i++) m[t / 32 * 128 + i * 32 + t % 32] = (uint16_t)i;
    if (!p.bad) __syncwarp();
    fc_ldmatrix<2, false>(r, m + t / 32 * 128 + t % 16 * 8); /* race: matrix */
    p.y[blockIdx.x * N + t] = r[0] + r[1];
}

static void named(const race p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x;
    if (t < 32) {
        m[t] = t;
        fc_bar_arrive(1, 64);
        fc_bar_arrive(2, 64);
        if (p.bad) m[t] = 0; /* after its arrival */
    } else {
        fc_bar_sync(1, 64);
        p.y[blockIdx.x * N + t] = m[t - 32]; /* race: named */
        fc_bar_sync(2, 64);
    }
}

/* Bytes of a bulk copy are there for who waited for its barrier. */
static void bulk(const race p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x;
    uint64_t *full = (uint64_t *)(m + N);
    if (t == 0) {
        fc_mbarrier_init(full, 1);
        fc_proxy_fence();
        fc_mbarrier_expect(full, N * 4);
        fc_copy_bulk(m, p.x, N * 4, full);
    }
    __syncthreads();
    if (!p.bad || t < 32) fc_mbarrier_wait(full, 0);
    p.y[blockIdx.x * N + t] = t < 32 ? 0 : m[t]; /* race: bulk */
}

/* A place is filled again when all have said that they read it. */
static void again(const race p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x;
    uint64_t *full = (uint64_t *)(m + N), *empty = full + 2;
    if (t == 0) {
        fc_mbarrier_init(full, 1);
        fc_mbarrier_init(full + 1, 1);
        fc_mbarrier_init(empty, N - 1);
        fc_proxy_fence();
    }
    __syncthreads();
    for (unsigned i = 0; i < 2; i++) {
        if (t == 0) {
            if (i && !p.bad) fc_mbarrier_wait(empty, 0);
            fc_mbarrier_expect(full + i, N * 4);
            fc_copy_bulk(m, p.x, N * 4, full + i); /* race: again */
        } else {
            fc_mbarrier_wait(full + i, 0);
            p.y[blockIdx.x * N + t] = m[t];
            fc_mbarrier_arrive(empty);
        }
    }
}

/* Another block's memory is there when all of the cluster have come. */
static void neighbour(const race p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x;
    m[t] = t;
    if (p.bad) __syncthreads();
    else fc_cluster_sync();
    p.y[blockIdx.x * N + t] = fc_cluster_at(m, (fc_cluster_rank() + 1) % BLOCKS)[t]; /* race: neighbour */
    fc_cluster_sync();
}

/* A place is copied to again when the readers of all blocks that it is copied to have said so. */
static void readers(const race p) {
    unsigned *m = fc_shared<unsigned>(), t = threadIdx.x;
    uint64_t *full = (uint64_t *)(m + N), *empty = full + 2;
    if (t == 0) {
        fc_mbarrier_init(full, 1);
        fc_mbarrier_init(full + 1, 1);
        fc_mbarrier_init(empty, p.bad ? N - 1 : BLOCKS * (N - 1));
        fc_proxy_fence();
    }
    fc_cluster_sync();
    for (unsigned i = 0; i < 2; i++) {
        if (t == 0) {
            if (i) fc_mbarrier_wait(empty, 0);
            fc_mbarrier_expect(full + i, N * 4);
            if (fc_cluster_rank() == 0)
                fc_copy_bulk_all(m, p.x, N * 4, full + i, (1u << BLOCKS) - 1); /* race: readers */
        } else {
            fc_mbarrier_wait(full + i, 0);
            p.y[blockIdx.x * N + t] = m[t];
            if (p.bad) fc_mbarrier_arrive(empty);
            else
                for (int b = 0; b < BLOCKS; b++) fc_mbarrier_arrive_at(empty, b);
        }
    }
    fc_cluster_sync();
}

static void blocks(const race p) {
    if (threadIdx.x) return;
    if (p.bad) p.y[0] += 1; /* race: blocks */
    else atomicAdd(p.y, 1u);
}

/* The last block to come adds what all have left. */
static void last(const race p) {
    if (threadIdx.x) return;
    p.y[blockIdx.x + 1] = blockIdx.x;
    if (!p.bad) __threadfence();
    if (atomicAdd(p.y, 1u) != gridDim.x - 1) return;
    __threadfence();
    for (unsigned i = 1; i < gridDim.x; i++) p.y[0] += p.y[i]; /* race: last */
}

/* The same, with its first fence and without its second. */
static void learned(const race p) {
    if (threadIdx.x) return;
    p.y[blockIdx.x + 1] = blockIdx.x;
    __threadfence();
    if (atomicAdd(p.y, 1u) != gridDim.x - 1) return;
    if (!p.bad) __threadfence();
    for (unsigned i = 1; i < gridDim.x; i++) p.y[0] += p.y[i]; /* race: learned */
}

static void late(const race p) {
    if (threadIdx.x) return;
    p.y[blockIdx.x + 1] = blockIdx.x;
    __threadfence();
    if (p.bad) p.y[blockIdx.x + 1] = 0; /* after its fence */
    if (atomicAdd(p.y, 1u) != gridDim.x - 1) return;
    __threadfence();
    for (unsigned i = 1; i < gridDim.x; i++) p.y[0] += p.y[i]; /* race: late */
}

static const struct {
    const char *name;
    void (*kernel)(const race);
    bool cluster = false;
} kernels[] = {{"barrier", barrier},
               {"refill", refill},
               {"shuffle", shuffle},
               {"warps", warps},
               {"halves", halves},
               {"landed", landed},
               {"issued", issued},
               {"matrix", matrix},
               {"named", named},
               {"bulk", bulk},
               {"again", again},
               {"neighbour", neighbour, true},
               {"readers", readers, true},
               {"blocks", blocks},
               {"last", last},
               {"learned", learned},
               {"late", late}};

static unsigned x[BLOCKS * N], y[BLOCKS * N];

static bool run(void (*kernel)(const race), bool cluster, bool bad) {
    race p = {x, y, bad};
    emu_call call = [](const void *k, const void *q) { ((void (*)(const race))k)(*(const race *)q); };
    memset(y, 0, sizeof y);
    bool ok = emu_run(call, (const void *)kernel, &p, BLOCKS, N, N * 16, cluster ? BLOCKS : 1);
    if (!ok) fprintf(stderr, "%s\n", emu_error());
    return ok;
}

int main(int argc, char **argv) {
    for (auto &k : kernels) {
        if (argc < 2 || !strcmp(argv[1], "list")) puts(k.name);
        else if (!strcmp(argv[1], "good"))
            for (int again = 0; again < 3; again++)
                for (int order = 0; order < EMU_ORDERS; order++) {
                    emu_opts = {(emu_order)order, (uint64_t)again, 1 + again};
                    if (!run(k.kernel, k.cluster, false)) return 1;
                }
        else if (!strcmp(argv[1], k.name) && !run(k.kernel, k.cluster, true)) return 1;
    }
    return 0;
}
