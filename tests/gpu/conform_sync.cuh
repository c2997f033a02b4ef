/* conform_sync - kernels/cuda/sync.cuh: named barriers. */
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

void conform_sync(conform_run *r) {
    words in(4 * SYNC_THREADS);
    sync_args p = {NULL, NULL};
    size_t half = SYNC_THREADS / 2;
    for (uint32_t &v : in) v = conform_random(r);
    conform_keep(r, "fc_bar_sync, fc_bar_arrive", BITS,
                 conform_launch(r, "named barriers", handed_kernel, SYNC_BLOCKS, SYNC_THREADS, sizeof(handed_shared),
                                in, SYNC_BLOCKS * SYNC_ROUNDS * half, p));
}
