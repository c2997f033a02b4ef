/* linear_step - what a warp does with one group of 32 k of a panel and of 8 rows of x. Inner to kernels/linear.
 *
 * The weights are a (16 outputs), x is b (8 rows). Codes become bf16 exactly, so that a group's sum of code * x is the
 * tensor core's alone, from zero; scale and minimum are applied to it in f32:  acc = fma(scale, sum of code * x, acc),
 * then acc = fma(minimum, sum of x, acc). In an acc of 4, lane 4g + t has outputs g, g, g+8, g+8 and rows 2t, 2t+1, 2t,
 * 2t+1.
 */
#ifndef FC_KERNELS_LINEAR_STEP_CUH
#define FC_KERNELS_LINEAR_STEP_CUH

#include "kernels/cuda/async.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/linear/linear_x.cuh"

#define FC_BF16_ONES    0x3f803f80u
#define FC_BF16_128S    0x43004300u /* 128 + n for n in the low 7 bits */
#define FC_BF16_2_120S  0x7b807b80u
#define FC_BF16_MINUS_0 0x80008000u

/* First step of range r; range r ends where r + 1 begins. */
static __host__ __device__ __forceinline__ int fc_linear_range(int r, int steps) { return steps * r / FC_RANGES; }

/* Two bytes with sign, in the low halves of 16 bits, as bf16: 128 + the low 7 bits, less 128, or 256 with the sign. */
static __device__ __forceinline__ uint32_t fc_i8_pair(uint32_t v) {
    return fc_bf16_pair_fma((v & 0x007f007fu) | FC_BF16_128S, FC_BF16_ONES, (v & 0x00800080u) | 0xc300c300u);
}

/* Two E4M3 likewise: bits in place are the number times 2^-120. */
static __device__ __forceinline__ uint32_t fc_f8_pair(uint32_t v) {
    return fc_bf16_pair_fma((v & 0x00800080u) << 8 | (v & 0x007f007fu) << 4, FC_BF16_2_120S, FC_BF16_MINUS_0);
}

template <int CODE> static __device__ __forceinline__ uint32_t fc_code_pair(uint32_t v) {
    return CODE == FC_CODE_F8 ? fc_f8_pair(v) : fc_i8_pair(v);
}

/* Both a of group `group` of a chunk. less: -(128 + zero) in both halves, for 4 bits. */
template <int CODE>
static __device__ __forceinline__ void fc_linear_a(uint32_t a[2][4], const unsigned char *chunk, int group, int lane,
                                                   uint32_t less) {
    if (CODE == FC_CODE_BF16) {
        for (int j = 0; j < 2; j++) {
            uint4 u = *(const uint4 *)(chunk + ((group * 2 + j) * 32 + lane) * 16);
            a[j][0] = u.x, a[j][1] = u.y, a[j][2] = u.z, a[j][3] = u.w;
        }
    } else if (CODE == FC_CODE_4) {
        uint2 u = *(const uint2 *)(chunk + lane * 16 + group * 8);
#pragma unroll
        for (int p = 0; p < 4; p++) {
            uint32_t lo = u.x >> 4 * p, hi = u.y >> 4 * p;
            a[p / 2][p % 2 * 2] = fc_bf16_pair_fma((lo & 0x000f000fu) | FC_BF16_128S, FC_BF16_ONES, less);
            a[p / 2][p % 2 * 2 + 1] = fc_bf16_pair_fma((hi & 0x000f000fu) | FC_BF16_128S, FC_BF16_ONES, less);
        }
    } else {
        uint4 u = *(const uint4 *)(chunk + (group * 32 + lane) * 16);
        uint32_t v[2][2] = {{u.x, u.y}, {u.z, u.w}}; /* [h][p / 2] */
#pragma unroll
        for (int j = 0; j < 2; j++)
            for (int h = 0; h < 2; h++) {
                a[j][h] = fc_code_pair<CODE>(v[h][j]);
                a[j][2 + h] = fc_code_pair<CODE>(v[h][j] >> 8);
            }
    }
}

/* Scales and minimums of the lane's outputs g and g + 8; scale [1] is that of the second 16 k, where it has its own. */
typedef struct {
    float scale[2][2], min[2];
} fc_linear_scales;

static __device__ __forceinline__ float2 fc_scale_pair(const unsigned char *from, bool wide, int pair) {
    if (wide) return ((const float2 *)from)[pair];
    uint32_t both = ((const uint32_t *)from)[pair];
    return make_float2(fc_f16_float((uint16_t)(both & 0xffffu)), fc_f16_float((uint16_t)(both >> 16)));
}

template <int CODE>
static __device__ __forceinline__ void fc_linear_scale(fc_linear_scales *s, const fc_part_cuda &w,
                                                       const unsigned char *chunk, int group, int lane) {
    const unsigned char *from = chunk + fc_code_bytes(CODE);
    int g = lane / 4;
    if (CODE == FC_CODE_8H) {
        for (int j = 0; j < 2; j++) {
            float2 v = ((const float2 *)from)[g * 4 + group * 2 + j];
            s->scale[j][0] = v.x, s->scale[j][1] = v.y;
        }
    } else if (CODE == FC_CODE_8 || CODE == FC_CODE_4) {
        float2 v = fc_scale_pair(from, w.wide, g * 2 + group);
        s->scale[0][0] = v.x, s->scale[0][1] = v.y;
        if (w.min) {
            v = fc_scale_pair(from + FC_PANEL * 2 * (w.wide ? 4 : 2), w.wide, g * 2 + group);
            s->min[0] = v.x, s->min[1] = v.y;
        }
    }
}

/* A lane's share of 8 rows and 32 k of x; sum: of rows 2t, 2t + 1. lo where precise. */
typedef struct {
    uint4 hi, lo;
    float2 sum;
} fc_linear_b;

/* From a chunk of x, in shared or device memory. A lane whose row is not wanted reads none of it; sums are read where
 * they count. */
static __device__ __forceinline__ void fc_linear_b_of(fc_linear_b *b, const unsigned char *chunk, int group, int lane,
                                                      bool precise, bool wanted, bool sums) {
    if (wanted) b->hi = *(const uint4 *)(chunk + (group * 32 + lane) * 16);
    if (wanted && precise) b->lo = *(const uint4 *)(chunk + FC_X_LO + (group * 32 + lane) * 16);
    if (sums) b->sum = *(const float2 *)(chunk + FC_X_SUMS + (group * FC_X_ROWS + lane % 4 * 2) * 4);
}

/* One piece of a multiple of 16 bytes to shared memory by the lanes of a warp; zeros where it is not valid. */
static __device__ __forceinline__ void fc_linear_copy(unsigned char *to, const unsigned char *from, int bytes, int lane,
                                                      bool valid) {
    for (int i = lane * 16; i < bytes; i += 32 * 16) fc_copy_async<16>(to + i, valid ? from + i : from, valid);
}

static __device__ __forceinline__ void fc_linear_add(float acc[4], const float p[4], const float scale[2]) {
    acc[0] = fmaf(scale[0], p[0], acc[0]);
    acc[1] = fmaf(scale[0], p[1], acc[1]);
    acc[2] = fmaf(scale[1], p[2], acc[2]);
    acc[3] = fmaf(scale[1], p[3], acc[3]);
}

template <int CODE>
static __device__ __forceinline__ void fc_linear_group(float acc[4], const uint32_t a[2][4], const fc_linear_scales *s,
                                                       bool min, const fc_linear_b *b, bool precise) {
    uint32_t hi[2][2] = {{b->hi.x, b->hi.y}, {b->hi.z, b->hi.w}};
    float p[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    fc_mma_bf16(p, a[0], hi[0]);
    if (precise) {
        uint32_t lo[2] = {b->lo.x, b->lo.y};
        fc_mma_bf16(p, a[0], lo);
    }
    if (CODE == FC_CODE_8H) {
        fc_linear_add(acc, p, s->scale[0]);
        for (int i = 0; i < 4; i++) p[i] = 0.0f;
    }
    fc_mma_bf16(p, a[1], hi[1]);
    if (precise) {
        uint32_t lo[2] = {b->lo.z, b->lo.w};
        fc_mma_bf16(p, a[1], lo);
    }
    if (CODE == FC_CODE_BF16 || CODE == FC_CODE_F8) {
        for (int i = 0; i < 4; i++) acc[i] += p[i];
        return;
    }
    fc_linear_add(acc, p, s->scale[CODE == FC_CODE_8H]);
    if ((CODE == FC_CODE_8 || CODE == FC_CODE_4) && min) {
        acc[0] = fmaf(s->min[0], b->sum.x, acc[0]);
        acc[1] = fmaf(s->min[0], b->sum.y, acc[1]);
        acc[2] = fmaf(s->min[1], b->sum.x, acc[2]);
        acc[3] = fmaf(s->min[1], b->sum.y, acc[3]);
    }
}

/* -(128 + zero) as a pair of bf16, for fc_linear_a. */
static __device__ __forceinline__ uint32_t fc_linear_less(const fc_part_cuda &w) {
    return fc_bf16_pair(-(float)(128 + w.zero), -(float)(128 + w.zero));
}

#endif
