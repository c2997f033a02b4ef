/* conform_async - kernels/cuda/mbarrier.cuh and wgmma.cuh: bulk copies through a ring, products of warpgroups. Of
 * devices of 9.0; records of others are empty. */
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/warp.cuh"
#include "kernels/cuda/wgmma.cuh"
#include "tests/gpu/conform.cuh"

struct async_args {
    uint32_t *out;
    const uint32_t *in;
    bool more;
};

enum { RING_ROUNDS = 11, RING_SLOTS = 3, RING_WORDS = 256, RING_READERS = 96 };

struct ring_shared {
    alignas(16) uint32_t piece[RING_SLOTS][RING_WORDS];
    uint64_t full[RING_SLOTS], empty[RING_SLOTS];
};

/* A thread copies, three warps read crosswise; out: a word of each reader and round. */
static __global__ void ring_kernel(const async_args p) {
    ring_shared *m = fc_shared<ring_shared>();
    int t = (int)threadIdx.x;
    if (t == 0) {
        for (int i = 0; i < RING_SLOTS; i++) {
            fc_mbarrier_init(&m->full[i], 1);
            fc_mbarrier_init(&m->empty[i], RING_READERS);
        }
        fc_proxy_fence();
    }
    __syncthreads();
    for (int i = 0; i < RING_ROUNDS; i++) {
        int slot = i % RING_SLOTS;
        unsigned parity = (unsigned)(i / RING_SLOTS & 1);
        if (t == 0) {
            fc_mbarrier_wait(&m->empty[slot], parity ^ 1);
            fc_mbarrier_expect(&m->full[slot], RING_WORDS * 4);
            fc_copy_bulk(m->piece[slot], p.in + i * RING_WORDS, RING_WORDS * 2, &m->full[slot]);
            fc_copy_bulk(m->piece[slot] + RING_WORDS / 2, p.in + i * RING_WORDS + RING_WORDS / 2, RING_WORDS * 2,
                         &m->full[slot]);
        } else if (t >= 32) {
            fc_mbarrier_wait(&m->full[slot], parity);
            p.out[i * RING_READERS + t - 32] = m->piece[slot][(t * 5 + i) % RING_WORDS];
            fc_mbarrier_arrive(&m->empty[slot]);
        }
    }
}

enum { CHAIN = 9, GROUP_DEPTH = 64, GROUP_A = 64 * GROUP_DEPTH / 2 }; /* words */
static __host__ __device__ constexpr int group_b(int columns) { return columns * GROUP_DEPTH / 2; }

/* A warpgroup's 64 x N, k 64, in two groups of two products; a second one gives its registers away. in: b as it is to
 * lie in shared memory, then a [64][64], both bf16. more: d begins as whole numbers. The first half of b is copied, the
 * second stored by threads. */
template <int N> static __global__ void __launch_bounds__(2 * FC_WARPGROUP, 1) group_kernel(const async_args p) {
    constexpr int GROUP_B = group_b(N);
    int t = (int)threadIdx.x, lane = t % 32, row = t / 32 * 16 + lane / 4, c = lane % 4;
    unsigned char *raw = fc_shared<unsigned char>();
    uint32_t *b = (uint32_t *)(raw + (1024 - fc_shared_address(raw) % 1024) % 1024);
    uint64_t *full = (uint64_t *)(b + GROUP_B);
    const uint32_t *rows = p.in + GROUP_B;
    if (t == 0) {
        fc_mbarrier_init(full, 1);
        fc_proxy_fence();
        fc_mbarrier_expect(full, GROUP_B * 2);
        fc_copy_bulk(b, p.in, GROUP_B * 2, full);
    }
    for (int i = t; i < GROUP_B / 2; i += 2 * FC_WARPGROUP) b[GROUP_B / 2 + i] = p.in[GROUP_B / 2 + i];
    fc_proxy_fence();
    __syncthreads();
    if (t >= FC_WARPGROUP) {
        fc_registers_fewer<40>();
    } else {
        uint32_t a[GROUP_DEPTH / 16][4];
        float d[N / 2];
        fc_registers_more<240>();
        fc_mbarrier_wait(full, 0);
#pragma unroll
        for (int i = 0; i < N / 2; i++) d[i] = (float)((row + i / 2 % 2 * 8) * 3 - (i / 4 * 8 + c * 2 + i % 2));
#pragma unroll
        for (int k = 0; k < GROUP_DEPTH; k += 32) {
#pragma unroll
            for (int j = k / 16; j < k / 16 + 2; j++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    a[j][i] = rows[((row + i % 2 * 8) * GROUP_DEPTH + 16 * j + c * 2 + i / 2 * 8) / 2];
            fc_wgmma_fence();
#pragma unroll
            for (int j = k / 16; j < k / 16 + 2; j++)
                fc_wgmma_bf16<N>(d, a[j], fc_wgmma_b(b + 16 * j / 2), p.more || j);
            fc_wgmma_commit();
        }
        fc_wgmma_wait<1>();
        fc_wgmma_wait<0>();
        fc_wgmma_done<N>(d);
#pragma unroll
        for (int i = 0; i < N / 2; i++)
            p.out[(row + i / 2 % 2 * 8) * N + i / 4 * 8 + c * 2 + i % 2] = __float_as_uint(d[i]);
    }
}

/* The same 64 x N by mma.sync and by wgmma, from zero, as linear sums them: groups of 32 k, two products or four, each
 * from zero and then added in f32; or, more, on and on to the same sums, CHAIN times through all 64 k. out: where they
 * differ. Whether the two have the same bits is what a kernel that wants to mix them asks. */
template <int N, int PRODUCTS>
static __global__ void __launch_bounds__(FC_WARPGROUP, 1) alike_kernel(const async_args p) {
    constexpr int GROUP_B = group_b(N);
    int t = (int)threadIdx.x, lane = t % 32, row = t / 32 * 16 + lane / 4, c = lane % 4;
    unsigned char *raw = fc_shared<unsigned char>();
    uint32_t *b = (uint32_t *)(raw + (1024 - fc_shared_address(raw) % 1024) % 1024);
    const uint32_t *rows = p.in + GROUP_B;
    float acc[N / 2], other[N / 2], d[N / 2];
    for (int i = t; i < GROUP_B; i += FC_WARPGROUP) b[i] = p.in[i];
    fc_proxy_fence();
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N / 2; i++) acc[i] = other[i] = 0.0f;
#pragma unroll 1
    for (int at_k = 0; at_k < GROUP_DEPTH * (p.more ? CHAIN : 1); at_k += 32) {
        const int k = at_k % GROUP_DEPTH;
        uint32_t a[2][4];
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[j][i] = rows[((row + i % 2 * 8) * GROUP_DEPTH + k + 16 * j + c * 2 + i / 2 * 8) / 2];
#pragma unroll
        for (int i = 0; i < N / 2; i++) d[i] = p.more ? acc[i] : 0.0f;
        fc_wgmma_fence();
#pragma unroll
        for (int j = 0; j < PRODUCTS; j++)
            fc_wgmma_bf16<N>(d, a[j % 2], fc_wgmma_b(b + (k + 16 * (j * 2 / PRODUCTS)) / 2), p.more || j);
        fc_wgmma_commit();
        fc_wgmma_wait<0>();
        fc_wgmma_done<N>(d);
#pragma unroll
        for (int n = 0; n < N / 8; n++) {
            float e[4];
#pragma unroll
            for (int i = 0; i < 4; i++) e[i] = p.more ? other[n * 4 + i] : 0.0f;
#pragma unroll
            for (int j = 0; j < PRODUCTS; j++) {
                uint32_t of_b[2];
                int column = n * 8 + lane / 4, at = k + 16 * (j * 2 / PRODUCTS);
#pragma unroll
                for (int i = 0; i < 2; i++)
                    of_b[i] = b[column * (GROUP_DEPTH / 2) + (((at + 8 * i) / 8) ^ column % 8) * 4 + c];
                fc_mma_bf16(e, a[j % 2], of_b);
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                other[n * 4 + i] = p.more ? e[i] : other[n * 4 + i] + e[i];
                acc[n * 4 + i] = p.more ? d[n * 4 + i] : acc[n * 4 + i] + d[n * 4 + i];
            }
        }
    }
#pragma unroll
    for (int i = 0; i < N / 2; i++) {
        int at = (row + i / 2 % 2 * 8) * N + i / 4 * 8 + c * 2 + i % 2;
        p.out[at] = __float_as_uint(acc[i]) ^ __float_as_uint(other[i]);
    }
}

/* whole: small integers, exact; else ordinary numbers, whose sums may differ by 2^-19 of the sum of absolute terms. */
template <int N> static void conform_group(conform_run *r, const char *what, bool whole, bool more) {
    constexpr int GROUP_B = group_b(N);
    char name[80];
    words in(GROUP_B + GROUP_A), out;
    std::vector<float> allow;
    async_args p = {NULL, NULL, more};
    auto half = [&](size_t i) { return fc_bf16_to_f32((uint16_t)(in[i / 2] >> i % 2 * 16)); };
    for (uint32_t &w : in) {
        uint32_t v = conform_random(r);
        if (whole)
            w = (uint32_t)fc_f32_to_bf16((float)((int)(v % 17) - 8)) |
                (uint32_t)fc_f32_to_bf16((float)((int)(v >> 8 & 15) - 8)) << 16;
        else w = (v & 0x807f807fu) | (119 + (v >> 7 & 15)) << 7 | (119 + (v >> 23 & 15)) << 23;
    }
    snprintf(name, sizeof name, "fc_wgmma_bf16<%d>%s", N, what);
    if (r->s->sm == 90)
        out = conform_launch(r, name, group_kernel<N>, 1, 2 * FC_WARPGROUP, GROUP_B * 4 + 1024 + 8, in, 64 * N, p);
    conform_keep(r, name, whole ? BITS : SUMS, out);
    for (int row = 0; row < 64 && !whole; row++)
        for (int n = 0; n < N; n++) {
            double sum = more ? fabs(row * 3.0 - n) : 0.0;
            for (int k = 0; k < GROUP_DEPTH; k++)
                sum += fabs((double)half((size_t)(GROUP_B * 2 + row * GROUP_DEPTH + k)) *
                            (double)half((size_t)(n * GROUP_DEPTH + ((k / 8 ^ n % 8) * 8 + k % 8))));
            allow.push_back((float)(sum * 0x1p-19));
        }
    r->records.back().allow = allow;
}

/* Numbers as models have them, and some of very different size: zero where the two units of products agree. */
template <int N, int PRODUCTS> static void conform_alike(conform_run *r, bool more) {
    constexpr int GROUP_B = group_b(N);
    for (int spread = 4; spread <= 24; spread += 10) {
        words in(GROUP_B + GROUP_A), out;
        async_args p = {NULL, NULL, more};
        char name[80];
        snprintf(name, sizeof name, "fc_wgmma_bf16<%d> has fc_mma_bf16's bits, %d in turn%s, 2^%d", N, PRODUCTS,
                 more ? ", on and on" : "", spread);
        for (uint32_t &w : in) {
            uint32_t v = conform_random(r), e[2];
            for (uint32_t &x : e) x = 127 - (uint32_t)spread / 2 + conform_random(r) % (uint32_t)spread;
            w = (v & 0x807f807fu) | e[0] << 7 | e[1] << 23;
        }
        if (r->s->sm == 90)
            out =
                conform_launch(r, name, alike_kernel<N, PRODUCTS>, 1, FC_WARPGROUP, GROUP_B * 4 + 1024, in, 64 * N, p);
        conform_keep(r, name, BITS, out);
    }
}

template <int N> static void conform_columns(conform_run *r) {
    conform_group<N>(r, " of small integers", true, false);
    conform_group<N>(r, " of small integers, more", true, true);
    conform_group<N>(r, ", fc_wgmma_b, _fence, _commit, _wait", false, true);
    for (int more = 0; more < 2; more++) {
        conform_alike<N, 2>(r, more);
        conform_alike<N, 4>(r, more); /* as where x is precise */
    }
}

void conform_async(conform_run *r) {
    words in(RING_ROUNDS * RING_WORDS), out;
    async_args p = {NULL, NULL, false};
    for (uint32_t &v : in) v = conform_random(r);
    if (r->s->sm == 90)
        out = conform_launch(r, "ring", ring_kernel, 1, 32 + RING_READERS, sizeof(ring_shared), in,
                             RING_ROUNDS * RING_READERS, p);
    conform_keep(r, "fc_copy_bulk, fc_mbarrier_init, _expect, _arrive, _wait", BITS, out);
    conform_columns<32>(r);
    conform_columns<64>(r);
    conform_columns<128>(r);
}
