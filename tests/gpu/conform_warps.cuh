/* conform_warps - what lanes of a warp and threads of a block do together: shuffles, votes, folds, atomics. */
#include "kernels/cuda/warp.cuh"
#include "tests/gpu/conform.cuh"

struct warp_args {
    uint32_t *out;
    const uint32_t *in;
};

enum { WARP_OUT = 20, WARP_THREADS = 256 };

/* Each shuffle with whole and with half warps, and some by half of the lanes. */
static __global__ void warp_kernel(const warp_args p) {
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), lane = (int)threadIdx.x % FC_WARP;
    uint32_t v = p.in[i], *y = p.out + (size_t)i * WARP_OUT;
    int n = 0;
    y[n++] = __shfl_sync(FC_ALL_LANES, v, 5);
    y[n++] = __shfl_sync(FC_ALL_LANES, v, (lane * 7 + 3) % 32);
    y[n++] = __shfl_sync(FC_ALL_LANES, v, lane + 3, 8);
    for (int bit = 16; bit; bit /= 4) y[n++] = __shfl_xor_sync(FC_ALL_LANES, v, bit);
    y[n++] = __shfl_xor_sync(FC_ALL_LANES, v, 3, 16);
    y[n++] = __shfl_down_sync(FC_ALL_LANES, v, 3);
    y[n++] = __shfl_down_sync(FC_ALL_LANES, v, 2, 8);
    y[n++] = __shfl_up_sync(FC_ALL_LANES, v, 5);
    y[n++] = __shfl_up_sync(FC_ALL_LANES, v, 1, 16);
    y[n++] = __float_as_uint(__shfl_sync(FC_ALL_LANES, __uint_as_float(v), 31));
    y[n++] = __ballot_sync(FC_ALL_LANES, v & 1);
    y[n++] = (uint32_t)__any_sync(FC_ALL_LANES, v % 64 == 0) << 1 | (uint32_t)__all_sync(FC_ALL_LANES, v % 64 != 1);
    __syncwarp();
    if (lane < 16) { /* each half by itself */
        y[n] = __shfl_xor_sync(0xffffu, v, 9);
        y[n + 1] = __ballot_sync(0xffffu, v & 2);
    } else {
        y[n] = __shfl_sync(0xffff0000u, v, 20);
        y[n + 1] = __ballot_sync(0xffff0000u, v & 4);
    }
    n += 2;
    while (n < WARP_OUT) y[n++] = 0;
}

struct fold_shared {
    float fold[FC_WARPS_MAX];
};

static __global__ void fold_kernel(const warp_args p) {
    fold_shared *m = fc_shared<fold_shared>();
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    float v = __uint_as_float(p.in[i]);
    p.out[3 * i] = __float_as_uint(fc_warp_sum(v));
    p.out[3 * i + 1] = __float_as_uint(fc_warp_max(v));
    p.out[3 * i + 2] = __float_as_uint(fc_block_sum(v, m->fold));
}

enum { LANES_OUT = 11 };

/* What is one meeting under emulation. */
static __global__ void lanes_kernel(const warp_args p) {
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    uint32_t u = p.in[i], *y = p.out + (size_t)i * LANES_OUT;
    float v = __uint_as_float(u), three[3] = {v, 2 * v, -v}, many[2] = {v, -v};
    double mine, total = fc_warp_add((double)v, 3.5, &mine);
    fc_warp_sums<3>(three, 2);
    y[0] = __float_as_uint(fc_lanes_sum<1, 16>(v));
    y[1] = __float_as_uint(fc_lanes_sum<1, 2>(v));
    fc_lanes_fold<2, 8, 1>(many, [](float a, float b) { return fmaxf(a, b); });
    y[2] = __float_as_uint(many[0] + many[1]);
    y[3] = (uint32_t)fc_warp_min((int)u);
    y[4] = fc_warp_max(u);
    y[5] = fc_warp_scan(u);
    y[6] = __float_as_uint(three[0]);
    y[7] = __float_as_uint(three[1]);
    y[8] = __float_as_uint((float)total);
    y[9] = __float_as_uint((float)mine);
    y[10] = __float_as_uint((float)(mine - (double)(float)mine));
}

/* All threads on a few words: what is left does not depend on their order. */
static __global__ void atomic_kernel(const warp_args p) {
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), at = i % 4;
    uint32_t v = p.in[i], *y = p.out;
    unsigned long long *wide = (unsigned long long *)(p.out + 32);
    atomicMin((int *)y + at, (int)v);
    atomicMax((int *)y + 4 + at, (int)v);
    atomicMin(y + 8 + at, v);
    atomicMax(y + 12 + at, v);
    atomicAdd(y + 16 + at, v);
    atomicOr(y + 20 + at, v & 0x0f0f0f0fu << at);
    atomicAdd((float *)y + 24 + at, (float)(v % 1024)); /* integers: exact in any order */
    atomicCAS(y + 28 + at, 0x77u, 0x78u);
    atomicMin(wide + at, (unsigned long long)v << 20);
    atomicAdd(wide + 4 + at, (unsigned long long)v << 20);
    atomicMax(wide + 8 + at, (unsigned long long)v << 20);
    fc_complain(wide + 12, FC_TROUBLE_TOKEN, i + 17);
}

static void conform_atomics(conform_run *r) {
    enum { N = 512, WORDS = 58 };
    words in(N), start(WORDS, 0), out(WORDS);
    warp_args p = {NULL, NULL};
    for (uint32_t &v : in) v = conform_random(r);
    for (int i = 0; i < 4; i++) {
        start[i] = 0x7fffffff, start[4 + i] = 0x80000000u, start[8 + i] = 0xffffffffu, start[28 + i] = 0x77;
        start[32 + 2 * i] = start[33 + 2 * i] = 0xffffffffu;
    }
    start[56] = start[57] = 0xffffffffu;
    p.out = (uint32_t *)device_copy(r->s, start.data(), WORDS * 4);
    p.in = (const uint32_t *)device_copy(r->s, in.data(), N * 4);
    conform_must(fc_launch(r->s, "atomics", atomic_kernel, dim3(N / 64), 64, 0, p), "atomics");
    conform_must(device_sync(r->s), "atomics");
    device_read(r->s, out.data(), p.out, WORDS * 4);
    device_free(p.out);
    device_free((void *)p.in);
    conform_keep(r, "atomics, fc_complain", BITS, out);
}

void conform_warps(conform_run *r) {
    enum { N = 8 * WARP_THREADS };
    words any(N), floats;
    warp_args p = {NULL, NULL};
    for (uint32_t &v : any) v = conform_random(r);
    conform_keep(r, "shuffles and votes", BITS,
                 conform_launch(r, "shuffles", warp_kernel, 8, WARP_THREADS, 0, any, (size_t)N * WARP_OUT, p));
    for (int i = 0; i < N; i++) { /* 2^-12 .. 2^12: the order shows in the bits */
        uint32_t v = conform_random(r);
        floats.push_back((v & 0x807fffffu) | (115 + (v >> 23) % 24) << 23);
    }
    conform_keep(r, "fc_warp_sum, fc_warp_max, fc_block_sum", BITS,
                 conform_launch(r, "folds", fold_kernel, 8, WARP_THREADS, sizeof(fold_shared), floats, 3 * N, p));
    conform_keep(r, "folds and sums of lanes", BITS,
                 conform_launch(r, "lanes", lanes_kernel, 8, WARP_THREADS, 0, floats, (size_t)N * LANES_OUT, p));
    floats = conform_floats(r, N);
    conform_keep(r, "fc_warp_sum, fc_warp_max, fc_block_sum of hard floats", VALUES,
                 conform_launch(r, "folds", fold_kernel, 8, WARP_THREADS, sizeof(fold_shared), floats, 3 * N, p));
    conform_atomics(r);
}
