/* conform_turned - kernels/cuda/wgmma.cuh as attention has it: a in shared memory, and a b whose columns are fastest.
 * Of devices of 9.0; records of others are empty. */
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/wgmma.cuh"
#include "tests/gpu/conform.cuh"

/* Of 64 lines of 128 bytes, swizzled: words, as all sizes here. */
enum { TURNED_PANEL = 64 * 32, TURNED_WORDS = 3 * TURNED_PANEL, TURNED_OUT = 64 * 64 + 64 * 128 };

struct turned_args {
    uint32_t *out;      /* dots [64][64], sums [64][128] */
    const uint32_t *in; /* a [64][64], b two panels of [64][64], as they are to lie */
    int turns;          /* how often a d goes through the 64 k */
    bool alike;         /* out: where mma.sync has other bits */
};

static __device__ __forceinline__ uint32_t turned_pair(const uint32_t *panel, int line, int at) {
    return panel[line * 32 + ((at / 8) ^ (line % 8)) * 4 + at % 8 / 2];
}
static __device__ __forceinline__ uint32_t turned_half(const uint32_t *panel, int line, int at) {
    return turned_pair(panel, line, at) >> at % 2 * 16 & 0xffffu;
}

/* Column group n of 8 by mma.sync, b's lines being columns, or k. */
template <bool TURNED>
static __device__ __forceinline__ void turned_other(const uint32_t *a, const uint32_t *b, int n, int turns,
                                                    float e[4]) {
    int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32 * 16 + lane / 4, c = lane % 4,
        column = n * 8 + lane / 4;
    const uint32_t *panel = b + column / 64 * TURNED_PANEL;
    for (int i = 0; i < 4; i++) e[i] = 0.0f;
    for (int k = 0; k < 64 * turns; k += 16) {
        uint32_t of_a[4], of_b[2];
        for (int i = 0; i < 4; i++) of_a[i] = turned_pair(a, row + i % 2 * 8, k % 64 + c * 2 + i / 2 * 8);
        for (int i = 0; i < 2; i++) {
            int at = k % 64 + c * 2 + i * 8;
            of_b[i] = TURNED ? turned_half(panel, at, column % 64) | turned_half(panel, at + 1, column % 64) << 16
                             : turned_pair(panel, column, at);
        }
        fc_mma_bf16(e, of_a, of_b);
    }
}

template <int N, bool TURNED>
static __device__ __forceinline__ void turned_put(const turned_args &p, uint32_t *out, const uint32_t *a,
                                                  const uint32_t *b, const float *d) {
    int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32 * 16 + lane / 4;
#pragma unroll
    for (int n = 0; n < N / 8; n++) {
        float e[4];
        if (p.alike) turned_other<TURNED>(a, b, n, p.turns, e);
#pragma unroll
        for (int i = 0; i < 4; i++)
            out[(row + i / 2 * 8) * N + n * 8 + lane % 4 * 2 + i % 2] =
                __float_as_uint(d[n * 4 + i]) ^ (p.alike ? __float_as_uint(e[i]) : 0);
    }
}

static __global__ void __launch_bounds__(FC_WARPGROUP, 1) turned_kernel(const turned_args p) {
    int t = (int)threadIdx.x, lane = t % 32, row = t / 32 * 16 + lane / 4;
    unsigned char *raw = fc_shared<unsigned char>();
    uint32_t *a = (uint32_t *)(raw + (1024 - fc_shared_address(raw) % 1024) % 1024), *b = a + TURNED_PANEL;
    float dots[32], sums[64], half[32];
    for (int i = t; i < TURNED_WORDS; i += FC_WARPGROUP) a[i] = p.in[i];
    fc_proxy_fence();
    __syncthreads();
    fc_wgmma_fence();
#pragma unroll 1
    for (int turn = 0; turn < p.turns; turn++)
#pragma unroll
        for (int k = 0; k < 64; k += 16)
            fc_wgmma_bf16_shared<64>(dots, fc_wgmma_b(a + k / 2), fc_wgmma_b(b + k / 2), turn || k);
    fc_wgmma_commit();
    for (int i = 0; i < 32; i++) half[i] = (float)i;
    fc_wgmma_beside<32>(half);
    fc_wgmma_wait<0>();
    fc_wgmma_done<64>(dots);
#pragma unroll 1
    for (int turn = 0; turn < p.turns; turn++) {
        uint32_t of_a[4][4];
#pragma unroll
        for (int k = 0; k < 64; k += 16)
#pragma unroll
            for (int i = 0; i < 4; i++) of_a[k / 16][i] = turned_pair(a, row + i % 2 * 8, k + lane % 4 * 2 + i / 2 * 8);
        fc_wgmma_fence();
#pragma unroll
        for (int k = 0; k < 64; k += 16)
            fc_wgmma_bf16<128, true>(sums, of_a[k / 16], fc_wgmma_b_turned(b + k * 32, TURNED_PANEL * 4), turn || k);
#pragma unroll
        for (int k = 0; k < 64; k += 16)
            fc_wgmma_bf16<64, true>(half, of_a[k / 16], fc_wgmma_b_turned(b + TURNED_PANEL + k * 32, 0), turn || k);
        fc_wgmma_commit();
        fc_wgmma_wait<0>();
        fc_wgmma_done<128>(sums);
        fc_wgmma_done<64>(half);
    }
#pragma unroll
    for (int i = 0; i < 32; i++) /* the second panel alone is the second half of both: NaN where it is not */
        if (__float_as_uint(sums[32 + i]) != __float_as_uint(half[i])) sums[32 + i] = __uint_as_float(0x7fffffffu);
    turned_put<64, false>(p, p.out, a, b, dots);
    turned_put<128, true>(p, p.out + 64 * 64, a, b, sums);
}

static void conform_of_turned(conform_run *r, const char *name, int turns, int spread) {
    words in(TURNED_WORDS), out;
    turned_args p = {NULL, NULL, turns, spread > 0};
    for (uint32_t &w : in) {
        uint32_t v = conform_random(r), e[2];
        for (uint32_t &x : e) x = 127 - (uint32_t)spread / 2 + (spread ? conform_random(r) % (uint32_t)spread : 0);
        w = spread ? (v & 0x807f807fu) | e[0] << 7 | e[1] << 23
                   : (uint32_t)fc_f32_to_bf16((float)((int)(v % 17) - 8)) |
                         (uint32_t)fc_f32_to_bf16((float)((int)(v >> 8 & 15) - 8)) << 16;
    }
    if (r->s->sm == 90)
        out = conform_launch(r, name, turned_kernel, 1, FC_WARPGROUP, TURNED_WORDS * 4 + 1024, in, TURNED_OUT, p);
    conform_keep(r, name, BITS, out);
}

void conform_turned(conform_run *r) {
    conform_of_turned(r, "fc_wgmma_bf16_shared, fc_wgmma_b_turned of small integers", 1, 0);
    conform_of_turned(r, "fc_wgmma_bf16_shared, turned has fc_mma_bf16's bits, 4 in turn, 2^14", 1, 14);
    conform_of_turned(r, "fc_wgmma_bf16_shared, turned has fc_mma_bf16's bits, 8 in turn, 2^24", 2, 24);
}
