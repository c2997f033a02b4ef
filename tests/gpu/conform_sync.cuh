/* conform_sync - kernels/cuda/sync.cuh and load.cuh: named barriers, the grid, words between blocks, wide loads. */
#include "kernels/cuda/load.cuh"
#include "kernels/cuda/sync.cuh"
#include "tests/gpu/conform.cuh"

struct sync_args {
    uint32_t *out;
    const uint32_t *in;
};

enum { SYNC_THREADS = 128, SYNC_BLOCKS = 4, SYNC_ROUNDS = 8 };

struct handed_shared {
    uint32_t word[2][SYNC_THREADS / 2];
};

/* The first half of a block makes words, each of another thread's of its half, and only arrives; the second waits for
 * them, reads them crosswise, and says so. Two places take turns. */
static __global__ void handed_kernel(const sync_args p) {
    handed_shared *m = fc_shared<handed_shared>();
    int i = (int)threadIdx.x, half = SYNC_THREADS / 2, at = i % half;
    uint32_t *out = p.out + (size_t)blockIdx.x * SYNC_ROUNDS * half;
    for (int k = 0; k < SYNC_ROUNDS; k++) {
        uint32_t *place = m->word[k % 2];
        if (i < half) {
            if (k > 1) fc_bar_sync(3 + k % 2, SYNC_THREADS); /* it was read */
            place[at] = p.in[(k * half + at) % SYNC_THREADS] + blockIdx.x;
            fc_bar_sync(5, half);
            uint32_t other = place[(at + 7) % half];
            fc_bar_sync(6, half);
            place[at] ^= other << 1;
            fc_bar_arrive(1 + k % 2, SYNC_THREADS);
        } else {
            fc_bar_sync(1 + k % 2, SYNC_THREADS);
            out[k * half + at] = place[(at * 5 + 3) % half];
            if (k < SYNC_ROUNDS - 2) fc_bar_arrive(3 + k % 2, SYNC_THREADS);
        }
    }
}

/* Each block leaves words, all meet, and each reads those of the next one. */
static __global__ void grid_kernel(const sync_args p) {
    int i = (int)threadIdx.x, here = (int)blockIdx.x, next = (here + 1) % SYNC_BLOCKS, n = SYNC_BLOCKS * SYNC_THREADS;
    for (int k = 0; k < SYNC_ROUNDS; k++) {
        uint32_t *row = p.out + (size_t)k * n;
        row[here * SYNC_THREADS + i] = p.in[i] * (uint32_t)(k + 3) + (uint32_t)here;
        fc_grid_sync();
        uint32_t other = row[next * SYNC_THREADS + i];
        fc_grid_sync();
        row[here * SYNC_THREADS + i] ^= other << 1;
    }
}

/* A word goes from block to block: who has it adds to what the last one left, and hands it on. out[0] is the word. */
static __global__ void chain_kernel(const sync_args p) {
    unsigned turn = blockIdx.x;
    if (threadIdx.x != 0) return;
    if (turn == 0) p.out[1] = p.in[0];
    else {
        while (fc_load_acquire(p.out) != turn) fc_pause();
        p.out[1 + turn] = p.out[turn] * 3 + p.in[turn];
    }
    fc_store_release(p.out, turn + 1);
}

static __global__ void load_kernel(const sync_args p) {
    int i = (int)threadIdx.x;
    uint4 a = fc_load_stream(p.in + 4 * (i * 5 % SYNC_THREADS)), b = fc_load_16(p.in + 4 * (i * 3 % SYNC_THREADS));
    uint32_t v[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
    for (int k = 0; k < 8; k++) p.out[8 * i + k] = v[k];
}

void conform_sync(conform_run *r) {
    words in(4 * SYNC_THREADS);
    sync_args p = {NULL, NULL};
    size_t half = SYNC_THREADS / 2;
    for (uint32_t &v : in) v = conform_random(r);
    conform_keep(r, "fc_bar_sync, fc_bar_arrive", BITS,
                 conform_launch(r, "named barriers", handed_kernel, SYNC_BLOCKS, SYNC_THREADS, sizeof(handed_shared),
                                in, SYNC_BLOCKS * SYNC_ROUNDS * half, p));
    conform_keep(r, "fc_grid_sync", BITS,
                 conform_launch(r, "grid", grid_kernel, SYNC_BLOCKS, SYNC_THREADS, 0, in,
                                (size_t)SYNC_ROUNDS * SYNC_BLOCKS * SYNC_THREADS, p, true));
    conform_keep(r, "fc_load_acquire, fc_store_release, fc_pause", BITS,
                 conform_launch(r, "words", chain_kernel, SYNC_BLOCKS, 32, 0, in, 1 + SYNC_BLOCKS, p, true));
    conform_keep(r, "fc_load_stream, fc_load_16", BITS,
                 conform_launch(r, "loads", load_kernel, 1, SYNC_THREADS, 0, in, 8 * SYNC_THREADS, p));
}
