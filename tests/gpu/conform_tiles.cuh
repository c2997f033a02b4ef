/* conform_tiles - kernels/cuda/async.cuh and mma.cuh: copies to shared memory, fragments, products of a warp. */
#include "kernels/cuda/async.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/warp.cuh"
#include "tests/gpu/conform.cuh"

struct tile_args {
    uint32_t *out;
    const uint32_t *in;
};

enum { COPIES = 8, COPY_THREADS = 64 };

template <int BYTES> struct copy_shared { unsigned char piece[COPIES * COPY_THREADS][BYTES]; };

/* Thread i copies pieces i, i + 64 ..: a group each two; every third is not valid; sources are dealt out crosswise. Its
 * own first groups are read after a wait that leaves two under way, all of them after the last wait and a barrier. */
template <int BYTES> static __global__ void copy_kernel(const tile_args p) {
    copy_shared<BYTES> *m = fc_shared<copy_shared<BYTES>>();
    const unsigned char *in = (const unsigned char *)p.in;
    unsigned char *out = (unsigned char *)p.out;
    int i = (int)threadIdx.x, all = COPIES * COPY_THREADS;
    for (int c = 0; c < COPIES; c++)
        for (int b = 0; b < BYTES; b++) m->piece[c * COPY_THREADS + i][b] = 0x5a;
    __syncthreads();
    for (int c = 0; c < COPIES; c++) {
        int piece = c * COPY_THREADS + i;
        fc_copy_async<BYTES>(m->piece[piece], in + (size_t)(piece * 37 % all) * BYTES, piece % 3 != 1);
        if (c % 2) fc_copy_commit();
    }
    fc_copy_wait<2>();
    for (int c = 0; c < COPIES - 4; c++)
        for (int b = 0; b < BYTES; b++)
            out[(size_t)(c * COPY_THREADS + i) * BYTES + b] = m->piece[c * COPY_THREADS + i][b];
    fc_copy_wait<0>();
    __syncthreads();
    out += (size_t)all * BYTES;
    for (int c = 0; c < COPIES; c++) /* another thread's */
        for (int b = 0; b < BYTES; b++)
            out[(size_t)(c * COPY_THREADS + i) * BYTES + b] = m->piece[c * COPY_THREADS + (i * 5 + 1) % 64][b];
}

template <int BYTES> static void conform_copy(conform_run *r, const char *name) {
    size_t pieces = COPIES * COPY_THREADS, n = pieces * BYTES / 4;
    words in(n), out;
    tile_args p = {NULL, NULL};
    for (uint32_t &v : in) v = conform_random(r);
    out = conform_launch(r, name, copy_kernel<BYTES>, 1, COPY_THREADS, sizeof(copy_shared<BYTES>), in, 2 * n, p);
    out.erase(out.begin() + (long)(n / 2), out.begin() + (long)n); /* not written: the groups under way */
    conform_keep(r, name, BITS, out);
}

struct matrix_shared {
    uint16_t row[64][8];
};

/* in: 64 rows of 8, then for each lane which row it names. */
template <int N, bool TRANS> static __global__ void matrix_kernel(const tile_args p) {
    matrix_shared *m = fc_shared<matrix_shared>();
    int lane = (int)threadIdx.x;
    uint32_t got[N];
    for (int i = lane; i < 256; i += FC_WARP) ((uint32_t *)m->row)[i] = p.in[i];
    __syncthreads();
    fc_ldmatrix<N, TRANS>(got, m->row[p.in[256 + lane]]);
    for (int i = 0; i < N; i++) p.out[lane * N + i] = got[i];
}

template <int N, bool TRANS> static void conform_matrix(conform_run *r, const char *name) {
    words in(256 + 32);
    tile_args p = {NULL, NULL};
    for (uint32_t &v : in) v = conform_random(r);
    for (int i = 256; i < 288; i++) in[i] %= 64;
    conform_keep(r, name, BITS,
                 conform_launch(r, name, matrix_kernel<N, TRANS>, 1, FC_WARP, sizeof(matrix_shared), in, 32 * N, p));
}

typedef enum { PRODUCT_BF16, PRODUCT_S8 } product_type;

/* in and out: for each block a[4], b[2], d[4] of each lane. */
template <int TYPE> static __global__ void product_kernel(const tile_args p) {
    int at = (int)(blockIdx.x * FC_WARP + threadIdx.x);
    const uint32_t *in = p.in + (size_t)at * 10;
    uint32_t a[4] = {in[0], in[1], in[2], in[3]}, b[2] = {in[4], in[5]}, *out = p.out + (size_t)at * 4;
    if (TYPE == PRODUCT_S8) {
        int32_t d[4] = {(int32_t)in[6], (int32_t)in[7], (int32_t)in[8], (int32_t)in[9]};
        fc_mma_s8(d, a, b);
        for (int i = 0; i < 4; i++) out[i] = (uint32_t)d[i];
    } else {
        float d[4];
        for (int i = 0; i < 4; i++) d[i] = __uint_as_float(in[6 + i]);
        fc_mma_bf16(d, a, b);
        for (int i = 0; i < 4; i++) out[i] = __float_as_uint(d[i]);
    }
}

static inline uint32_t float_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

/* What a device may differ by: 2^-19 of the sum of absolute terms: it may drop bits below the last of the largest. */
static void product_allow(const words &in, std::vector<float> *allow) {
    for (size_t block = 0; block < in.size() / 320; block++) {
        double a[16][16], b[16][8];
        const uint32_t *at = in.data() + block * 320;
        for (int lane = 0; lane < 32; lane++, at += 10) {
            int g = lane / 4, t = lane % 4;
            for (int i = 0; i < 8; i++)
                a[g + i / 2 % 2 * 8][2 * t + i / 4 * 8 + i % 2] =
                    fabs((double)fc_bf16_to_f32((uint16_t)(at[i / 2] >> i % 2 * 16)));
            for (int i = 0; i < 4; i++)
                b[2 * t + i / 2 * 8 + i % 2][g] = fabs((double)fc_bf16_to_f32((uint16_t)(at[4 + i / 2] >> i % 2 * 16)));
        }
        at = in.data() + block * 320;
        for (int lane = 0; lane < 32; lane++, at += 10)
            for (int i = 0; i < 4; i++) {
                float d;
                memcpy(&d, &at[6 + i], 4);
                double sum = fabs((double)d);
                for (int k = 0; k < 16; k++) sum += a[lane / 4 + i / 2 * 8][k] * b[k][lane % 4 * 2 + i % 2];
                allow->push_back((float)(sum * 0x1p-19));
            }
    }
}

/* Small integers; those in units so small that the sums (TINY) or the factors are denormal; the first with
 * infinities and NaN; ordinary numbers. All but the last have exact sums. */
enum product_inputs { WHOLE, TINY, DENORMAL, HARD, ORDINARY };

static void conform_product(conform_run *r, const char *name, product_inputs kind) {
    enum { BLOCKS = 16 };
    float a_unit = kind == TINY ? 0x1p-100f : kind == DENORMAL ? 0x1p-133f : 1.0f;
    float b_unit = kind == TINY ? 0x1p-40f : kind == DENORMAL ? 16.0f : 1.0f;
    words in;
    tile_args p = {NULL, NULL};
    for (int lane = 0; lane < BLOCKS * 32; lane++) {
        for (int i = 0; i < 6; i++) {
            uint16_t half[2];
            for (uint16_t &h : half) {
                uint32_t v = conform_random(r);
                h = fc_f32_to_bf16((float)((int)(v % 17) - 8) * (i < 4 ? a_unit : b_unit));
                v = conform_random(r);
                if (kind == ORDINARY) /* 2^-8 .. 2^7 */
                    h = (uint16_t)((v & 0x807f) | (127 - 8 + (v >> 12 & 15)) << 7);
                if (kind == HARD && v % 61 == 0) h = v & 64 ? 0x7f80 : v & 128 ? 0xff80 : 0x7fc0;
            }
            in.push_back((uint32_t)half[1] << 16 | half[0]);
        }
        for (int i = 0; i < 4; i++) {
            float d = (float)((int)(conform_random(r) % 2001) - 1000) * a_unit * b_unit;
            in.push_back(float_bits(kind == ORDINARY ? d / 7.0f : d));
        }
    }
    conform_keep(r, name,
                 kind == ORDINARY ? SUMS
                 : kind == HARD   ? VALUES
                                  : BITS,
                 conform_launch(r, name, product_kernel<PRODUCT_BF16>, BLOCKS, FC_WARP, 0, in, BLOCKS * 128, p));
    if (kind == ORDINARY) product_allow(in, &r->records.back().allow);
}

void conform_tiles(conform_run *r) {
    words bytes(16 * 320);
    tile_args p = {NULL, NULL};
    conform_copy<4>(r, "fc_copy_async of 4 bytes, fc_copy_commit, fc_copy_wait");
    conform_copy<8>(r, "fc_copy_async of 8 bytes");
    conform_copy<16>(r, "fc_copy_async of 16 bytes");
    conform_matrix<2, false>(r, "fc_ldmatrix of 2");
    conform_matrix<4, false>(r, "fc_ldmatrix of 4");
    conform_matrix<2, true>(r, "fc_ldmatrix of 2, by column");
    conform_matrix<4, true>(r, "fc_ldmatrix of 4, by column");
    for (uint32_t &v : bytes) v = conform_random(r); /* d takes any value: sums wrap */
    conform_keep(r, "fc_mma_s8", BITS,
                 conform_launch(r, "fc_mma_s8", product_kernel<PRODUCT_S8>, 16, FC_WARP, 0, bytes, 16 * 128, p));
    conform_product(r, "fc_mma_bf16 of small integers", WHOLE);
    conform_product(r, "fc_mma_bf16 with denormal sums", TINY);
    conform_product(r, "fc_mma_bf16 of denormals", DENORMAL);
    conform_product(r, "fc_mma_bf16 with infinities and NaN", HARD);
    conform_product(r, "fc_mma_bf16", ORDINARY);
}
