/* mma - matrix products of a warp on tensor cores (sm_80), and loads of their fragments.
 *
 * With g = lane / 4 and t = lane % 4, as PTX lays fragments out:
 *   m16n8k16 bf16  a[0] rows g,   k 2t 2t+1;    a[1] row g+8;  a[2] row g, k 2t+8 2t+9;  a[3] row g+8, the same k
 *                  b[0] k 2t 2t+1, column g;    b[1] k 2t+8 2t+9
 *   m16n8k32 s8    a[0] row g, k 4t..4t+3;      a[1] row g+8;  a[2] row g, k 4t+16..;    a[3] row g+8, the same k
 *                  b[0] k 4t..4t+3, column g;   b[1] k 4t+16..
 *   both           d[0] d[1] row g, columns 2t 2t+1;  d[2] d[3] row g+8
 * All 32 lanes take part. Sums: products are exact; how they are added to d is the hardware's (bf16: at least f32),
 * here one rounding of the exact sum; s8: exact, wraps.
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

static inline void emu_mma_bf16(void *const brought[32], unsigned) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const emu_mma *m = (const emu_mma *)brought[lane];
        int g = lane / 4, t = lane % 4;
        for (int r = 0; r < 4; r++)
            for (int i = 0; i < 2; i++)
                a[g + r % 2 * 8][2 * t + r / 2 * 8 + i] = fc_bf16_to_f32((uint16_t)(m->a[r] >> 16 * i));
        for (int r = 0; r < 2; r++)
            for (int i = 0; i < 2; i++) b[2 * t + r * 8 + i][g] = fc_bf16_to_f32((uint16_t)(m->b[r] >> 16 * i));
    }
    for (int lane = 0; lane < 32; lane++) {
        float *d = (float *)((const emu_mma *)brought[lane])->d;
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) {
            double sum = (double)d[i];
            for (int k = 0; k < 16; k++) sum += (double)a[g + i / 2 * 8][k] * (double)b[k][2 * t + i % 2];
            d[i] = (float)sum;
        }
    }
}

static inline void emu_mma_s8(void *const brought[32], unsigned) {
    int8_t a[16][32], b[32][8];
    for (int lane = 0; lane < 32; lane++) {
        const emu_mma *m = (const emu_mma *)brought[lane];
        int g = lane / 4, t = lane % 4;
        for (int r = 0; r < 4; r++)
            for (int i = 0; i < 4; i++) a[g + r % 2 * 8][4 * t + r / 2 * 16 + i] = (int8_t)(m->a[r] >> 8 * i);
        for (int r = 0; r < 2; r++)
            for (int i = 0; i < 4; i++) b[4 * t + r * 16 + i][g] = (int8_t)(m->b[r] >> 8 * i);
    }
    for (int lane = 0; lane < 32; lane++) {
        int32_t *d = (int32_t *)((const emu_mma *)brought[lane])->d;
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) {
            uint32_t sum = (uint32_t)d[i];
            for (int k = 0; k < 32; k++) sum += (uint32_t)(a[g + i / 2 * 8][k] * b[k][2 * t + i % 2]);
            d[i] = (int32_t)sum;
        }
    }
}

struct emu_ldmatrix {
    uint32_t *r;
    const void *row;
    int n;
    bool trans;
};

static inline void emu_load_matrices(void *const brought[32], unsigned) {
    const emu_ldmatrix *first = (const emu_ldmatrix *)brought[0];
    uint32_t out[32][4];
    for (int m = 0; m < first->n; m++) {
        uint16_t tile[8][8];
        for (int i = 0; i < 8; i++) {
            const void *row = ((const emu_ldmatrix *)brought[m * 8 + i])->row;
            if ((uintptr_t)row % 16) emu_fail("ldmatrix: row %d of matrix %d is not aligned to 16 bytes", i, m);
            memcpy(tile[i], row, 16);
        }
        for (int lane = 0; lane < 32; lane++) {
            int i = lane / 4, j = lane % 4 * 2;
            uint16_t lo = first->trans ? tile[j][i] : tile[i][j], hi = first->trans ? tile[j + 1][i] : tile[i][j + 1];
            out[lane][m] = (uint32_t)hi << 16 | lo;
        }
    }
    for (int lane = 0; lane < 32; lane++)
        memcpy(((const emu_ldmatrix *)brought[lane])->r, out[lane], (size_t)first->n * 4);
}

#endif

/* d += a b, 16 x 8, k 16. */
static __device__ __forceinline__ void fc_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
#ifdef FC_CUDA_EMU
    emu_mma m = {d, a, b};
    emu_meet(0xffffffffu, "mma.m16n8k16.bf16", emu_mma_bf16, &m);
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/* d += a b, 16 x 8, k 32, bytes with sign. */
static __device__ __forceinline__ void fc_mma_s8(int32_t d[4], const uint32_t a[4], const uint32_t b[2]) {
#ifdef FC_CUDA_EMU
    emu_mma m = {d, a, b};
    emu_meet(0xffffffffu, "mma.m16n8k32.s8", emu_mma_s8, &m);
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
    emu_ldmatrix m = {r, row, N, TRANS};
    emu_meet(0xffffffffu, "ldmatrix", emu_load_matrices, &m);
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
