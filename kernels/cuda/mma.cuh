/* mma - matrix products of a warp on tensor cores (sm_80), and loads of their fragments.
 *
 * With g = lane / 4 and t = lane % 4, as PTX lays fragments out:
 *   m16n8k16 bf16  a[0] row g,    k 2t 2t+1;    a[1] row g+8;  a[2] row g, k 2t+8 2t+9;  a[3] row g+8, the same k
 *                  b[0] k 2t 2t+1, column g;    b[1] k 2t+8 2t+9
 *   m16n8k32 s8    a[0] row g, k 4t..4t+3;      a[1] row g+8;  a[2] row g, k 4t+16..;    a[3] row g+8, the same k
 *                  b[0] k 4t..4t+3, column g;   b[1] k 4t+16..
 *   both           d[0] d[1] row g, columns 2t 2t+1;  d[2] d[3] row g+8
 * All 32 lanes take part. Sums: products are exact; how they are added to d is the hardware's (bf16: at least f32),
 * here in double, d first, then k upwards, rounded once; s8: exact, wraps.
 * source  PTX ISA, "Warp-level matrix instructions"
 */
#ifndef FC_KERNELS_CUDA_MMA_CUH
#define FC_KERNELS_CUDA_MMA_CUH

#include "kernels/cuda/num.cuh"

#ifdef FC_CUDA_EMU

struct emu_mma {
    void *d;
    const uint32_t *a, *b;
};

/* Whole matrices from the lanes' registers. 16 bits an element: k 16; 8 bits: k 32; word(register) is its elements. */
template <typename T, int K, typename F>
EMU_QUIET static inline void emu_gather(void *const brought[32], T a[16][K], T b[K][8], F element) {
    enum { PER = K / 8, STEP = 32 / PER };
    for (int lane = 0; lane < 32; lane++) {
        const emu_mma *m = (const emu_mma *)brought[lane];
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < PER; i++) {
            for (int r = 0; r < 4; r++) a[g + r % 2 * 8][PER * t + r / 2 * (K / 2) + i] = element(m->a[r] >> STEP * i);
            for (int r = 0; r < 2; r++) b[PER * t + r * (K / 2) + i][g] = element(m->b[r] >> STEP * i);
        }
    }
}

/* c += a b, rows at a time, k upwards. Eight columns are a vector of the compiler's: left to itself it takes twice as
 * long. */
template <typename T, int K> EMU_QUIET static inline void emu_product(T c[16][8], const T a[16][K], const T b[K][8]) {
    typedef T eight __attribute__((vector_size(8 * sizeof(T))));
    for (int i = 0; i < 16; i += 2) {
        eight r0, r1, row;
        __builtin_memcpy(&r0, c[i], sizeof r0);
        __builtin_memcpy(&r1, c[i + 1], sizeof r1);
        for (int k = 0; k < K; k++) {
            __builtin_memcpy(&row, b[k], sizeof row);
            r0 += a[i][k] * row;
            r1 += a[i + 1][k] * row;
        }
        __builtin_memcpy(c[i], &r0, sizeof r0);
        __builtin_memcpy(c[i + 1], &r1, sizeof r1);
    }
}

/* D: what d is made of, T: what sums are in. */
template <typename T, typename D, int K, typename F>
EMU_QUIET static inline void emu_mma_of(void *const brought[32], F element) {
    T a[16][K], b[K][8], c[16][8];
    emu_gather<T, K>(brought, a, b, element);
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++)
            c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = (T)((const D *)((const emu_mma *)brought[lane])->d)[i];
    emu_product<T, K>(c, a, b);
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++)
            ((D *)((const emu_mma *)brought[lane])->d)[i] = (D)c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}
EMU_QUIET static inline void emu_mma_bf16(void *const brought[32], unsigned) {
    emu_mma_of<double, float, 16>(brought, [](uint32_t u) EMU_QUIET { return (double)__uint_as_float(u << 16); });
}
/* Unsigned sums wrap; the product of two bytes with sign is the same modulo 2^32. */
EMU_QUIET static inline void emu_mma_s8(void *const brought[32], unsigned) {
    emu_mma_of<uint32_t, uint32_t, 32>(brought, [](uint32_t u) EMU_QUIET { return (uint32_t)(int32_t)(int8_t)u; });
}

struct emu_ldmatrix {
    uint32_t *r;
    int n;
    bool trans;
    uint16_t row[8]; /* read by the lane that has its address: another lane's write that nothing orders is a race */
};

EMU_QUIET static inline void emu_load_matrices(void *const brought[32], unsigned) {
    int n = ((const emu_ldmatrix *)brought[0])->n;
    bool trans = ((const emu_ldmatrix *)brought[0])->trans;
    for (int m = 0; m < n; m++) {
        const emu_ldmatrix *const *tile = (const emu_ldmatrix *const *)brought + m * 8;
        for (int lane = 0; lane < 32; lane++) {
            int i = lane / 4, j = lane % 4 * 2;
            uint16_t lo = trans ? tile[j]->row[i] : tile[i]->row[j];
            uint16_t hi = trans ? tile[j + 1]->row[i] : tile[i]->row[j + 1];
            ((const emu_ldmatrix *)brought[lane])->r[m] = (uint32_t)hi << 16 | lo;
        }
    }
}

#endif

/* d += a b, 16 x 8, k 16. */
static __device__ __forceinline__ void fc_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
#ifdef FC_CUDA_EMU
    emu_mma m = {d, a, b};
    emu_meet_whole(0xffffffffu, "mma.m16n8k16.bf16", emu_mma_bf16, &m);
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/* d += a b, 16 x 8, k 32, bytes with sign. No kernel multiplies bytes yet: tests/gpu/bench_roof measures what that
 * would give. */
static __device__ __forceinline__ void fc_mma_s8(int32_t d[4], const uint32_t a[4], const uint32_t b[2]) {
#ifdef FC_CUDA_EMU
    emu_mma m = {d, a, b};
    emu_meet_whole(0xffffffffu, "mma.m16n8k32.s8", emu_mma_s8, &m);
#else
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/* N (2 or 4) 8 x 8 matrices of 16-bit elements from shared memory: lane 8m + i has the address of row i of matrix m, 16
 * bytes aligned to 16; r[m] gets elements 2t, 2t+1 of row g, TRANS: of column g. Addresses of other lanes are not
 * used. */
template <int N, bool TRANS> static __device__ __forceinline__ void fc_ldmatrix(uint32_t r[N], const void *row) {
    static_assert(N == 2 || N == 4, "ldmatrix loads 2 or 4 matrices here");
#ifdef FC_CUDA_EMU
    emu_ldmatrix m = {r, N, TRANS, {}};
    if (emu_at->lane < 8 * N) {
        emu_must_be_shared(row, 16, 16, "ldmatrix");
        memcpy(m.row, row, 16);
    }
    emu_meet_whole(0xffffffffu, "ldmatrix", emu_load_matrices, &m);
#else
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    if (N == 4 && TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[N == 4 ? 2 : 0]), "=r"(r[N == 4 ? 3 : 1])
                     : "r"(at)
                     : "memory");
    else if (N == 4)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[N == 4 ? 2 : 0]), "=r"(r[N == 4 ? 3 : 1])
                     : "r"(at)
                     : "memory");
    else if (TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(at)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(at)
                     : "memory");
#endif
}

#endif
