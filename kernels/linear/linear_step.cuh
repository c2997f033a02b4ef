/* linear_step - what a warp does with one group of 32 k of a panel and of 8 rows of x. Inner to kernels/linear.
 *
 * The weights are a (16 outputs), x is b (8 rows). Codes become bf16 exactly. BF16 and F8 go on adding to acc on tensor
 * cores, and F8's scale is for what a range has. Of other codes a group's sum of code * x is the tensor core's alone,
 * from zero; scale and minimum are applied to it in f32:  acc = fma(scale, sum of code * x, acc), then
 * acc = fma(minimum, sum of x, acc). In an acc of 4, lane 4g + t has outputs g, g, g+8, g+8 and rows 2t, 2t+1, 2t,
 * 2t+1.
 */
#ifndef FC_KERNELS_LINEAR_STEP_CUH
#define FC_KERNELS_LINEAR_STEP_CUH

#include "kernels/cuda/async.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/linear/linear_x.cuh"

#define FC_BF16_ONES    0x3f803f80u
#define FC_BF16_2_120S  0x7b807b80u
#define FC_BF16_MINUS_0 0x80008000u

/* First step of range r; range r ends where r + 1 begins. */
static __host__ __device__ __forceinline__ int fc_linear_range(int r, int steps) { return steps * r / FC_RANGES; }

/* What a thread keeps of a part: pairs of bf16 that codes are put into and lose again, and where in a chunk its scales
 * and minimums are. The pairs are made by an instruction, since one logical operation can take one constant only. */
typedef struct {
    uint32_t base, less; /* 128 and -(128 + zero): 128 + n is 128's bits with n in the low 7 */
    int scale, min;      /* bytes from the chunk: of groups 0; group 1's are one pair further */
} fc_linear_at;

static __device__ __forceinline__ fc_linear_at fc_linear_at_of(const fc_part_cuda &w, int code, int lane) {
    float less = -(float)(128 + w.zero);
    int pair = w.wide ? 8 : 4, groups = fc_code_scales(code);
    fc_linear_at at = {fc_bf16_pair(128.0f, 128.0f), fc_bf16_pair(less, less), 0, 0};
    at.scale = fc_code_bytes(code) + lane / 4 * groups * pair;
    at.min = at.scale + FC_PANEL / 2 * groups * pair;
    return at;
}

/* Two bytes with sign, in the low halves of 16 bits, as bf16: 128 + the low 7 bits, less 128, or 256 with the sign. */
static __device__ __forceinline__ uint32_t fc_i8_pair(uint32_t v, const fc_linear_at &at) {
    return fc_bf16_pair_fma((v & 0x007f007fu) | at.base, FC_BF16_ONES, (v & 0x00800080u) | at.less);
}

/* Two E4M3 likewise: bits in place are the number times 2^-120. */
static __device__ __forceinline__ uint32_t fc_f8_pair(uint32_t v) {
    return fc_bf16_pair_fma((v & 0x00800080u) << 8 | (v & 0x007f007fu) << 4, FC_BF16_2_120S, FC_BF16_MINUS_0);
}

template <int CODE> static __device__ __forceinline__ uint32_t fc_code_pair(uint32_t v, const fc_linear_at &at) {
    return CODE == FC_CODE_F8 || CODE == FC_CODE_F8B ? fc_f8_pair(v) : fc_i8_pair(v, at);
}

/* Both a of group `group` of a chunk. */
template <int CODE>
static __device__ __forceinline__ void fc_linear_a(uint32_t a[2][4], const unsigned char *chunk, int group, int lane,
                                                   const fc_linear_at &at) {
    if (CODE == FC_CODE_BF16) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            uint4 u = *(const uint4 *)(chunk + ((group * 2 + h) * 32 + lane) * 16);
            a[0][h] = u.x, a[0][2 + h] = u.y, a[1][h] = u.z, a[1][2 + h] = u.w;
        }
    } else if (CODE == FC_CODE_4) {
        uint2 u = *(const uint2 *)(chunk + lane * 16 + group * 8);
#pragma unroll
        for (int p = 0; p < 4; p++) {
            uint32_t lo = ((u.x >> 4 * p) & 0x000f000fu) | at.base, hi = ((u.y >> 4 * p) & 0x000f000fu) | at.base;
            a[p / 2][p % 2 * 2] = fc_bf16_pair_fma(lo, FC_BF16_ONES, at.less);
            a[p / 2][p % 2 * 2 + 1] = fc_bf16_pair_fma(hi, FC_BF16_ONES, at.less);
        }
    } else {
        uint4 u = *(const uint4 *)(chunk + (group * 32 + lane) * 16);
        uint32_t v[2][2] = {{u.x, u.y}, {u.z, u.w}}; /* [h][p / 2] */
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                a[j][h] = fc_code_pair<CODE>(v[h][j], at);
                a[j][2 + h] = fc_code_pair<CODE>(v[h][j] >> 8, at);
            }
    }
}

/* Scales and minimums of the lane's outputs g and g + 8; scale [1] is that of the second 16 k, where it has its own. */
typedef struct {
    float scale[2][2], min[2];
} fc_linear_scales;

static __device__ __forceinline__ void fc_scale_pair(float out[2], const unsigned char *from, bool wide, int pair) {
    if (wide) {
        float2 v = ((const float2 *)from)[pair];
        out[0] = v.x, out[1] = v.y;
    } else {
        uint32_t v = ((const uint32_t *)from)[pair];
        out[0] = fc_f16_float((uint16_t)(v & 0xffffu)), out[1] = fc_f16_float((uint16_t)(v >> 16));
    }
}

template <int CODE>
static __device__ __forceinline__ void fc_linear_scale(fc_linear_scales *s, const fc_part_cuda &w,
                                                       const unsigned char *chunk, int group, const fc_linear_at &at) {
    if (CODE == FC_CODE_8H) {
        fc_scale_pair(s->scale[0], chunk + at.scale, true, group * 2);
        fc_scale_pair(s->scale[1], chunk + at.scale, true, group * 2 + 1);
    } else if (CODE == FC_CODE_8 || CODE == FC_CODE_4) {
        fc_scale_pair(s->scale[0], chunk + at.scale, w.wide, group);
        s->min[0] = s->min[1] = 0.0f;
        if (w.min) fc_scale_pair(s->min, chunk + at.min, w.wide, group);
    } else if (CODE == FC_CODE_F8B) {
        fc_scale_pair(s->scale[0], chunk + at.scale, true, 0);
    }
}

/* Scales of the lane's outputs of a panel of F8, for sums of a range; a panel past the last has those of that one. */
template <int CODE>
static __device__ __forceinline__ void fc_linear_row_scale(float scale[2], const fc_part_cuda &w, int panel, int lane) {
    scale[0] = scale[1] = 1.0f;
    if (CODE == FC_CODE_F8 && w.wide)
        fc_scale_pair(scale, w.panels + (size_t)min(panel, w.n_panels - 1) * w.panel_bytes + (size_t)w.steps * w.chunk,
                      true, lane / 4);
}
template <int CODE> static __device__ __forceinline__ float fc_linear_row_scaled(float sum, float scale) {
    return CODE == FC_CODE_F8 ? sum * scale : sum;
}

/* A lane's share of 8 rows and 32 k of x; sum: of rows 2t, 2t + 1. lo where precise. */
typedef struct {
    uint4 hi, lo;
    float2 sum;
} fc_linear_b;

/* From a chunk of x, in shared or device memory; lanes and sums are the lane's places in it. A lane whose row is not
 * wanted reads none of it; sums are read where they count. */
static __device__ __forceinline__ void fc_linear_b_of(fc_linear_b *b, const unsigned char *lanes,
                                                      const unsigned char *sums, int group, bool precise, bool wanted,
                                                      bool sum) {
    if (wanted) b->hi = *(const uint4 *)(lanes + group * 512);
    if (wanted && precise) b->lo = *(const uint4 *)(lanes + FC_X_LO + group * 512);
    if (sum) b->sum = *(const float2 *)(sums + group * FC_X_ROWS * 4);
}

/* The lane's place among the sums of a chunk: rows 2t, 2t + 1. */
static __device__ __forceinline__ int fc_linear_sums(int lane) { return FC_X_SUMS + lane % 4 * 8; }

/* Where the lane's bytes of a step of a panel begin, and how far it is to those of the next step. */
template <int CODE>
static __device__ __forceinline__ const unsigned char *fc_linear_from(const fc_part_cuda &w, int panel, int step,
                                                                      int lane) {
    const unsigned char *at = w.panels + (size_t)panel * w.panel_bytes;
    if (CODE != FC_CODE_BF16 || !w.by_rows) return at + (size_t)step * w.chunk + lane * 16;
    return at + (size_t)(lane / 4) * fc_bf16_row_bytes(w.steps) + (size_t)step * (FC_STEP * 2) + lane % 4 * 16;
}
template <int CODE> static __device__ __forceinline__ int fc_linear_stride(const fc_part_cuda &w) {
    return CODE == FC_CODE_BF16 && w.by_rows ? FC_STEP * 2 : w.chunk;
}

/* That step to shared memory as a chunk, by the lanes of a warp; from and to are the lane's: 16 bytes a lane. */
template <int CODE>
static __device__ __forceinline__ void fc_linear_copy(unsigned char *to, const unsigned char *from,
                                                      const fc_part_cuda &w, int lane) {
    if constexpr (CODE == FC_CODE_BF16) {
        size_t group_at = w.by_rows ? FC_GROUP * 2 : 1024,
               half_at = w.by_rows ? FC_PANEL / 2 * fc_bf16_row_bytes(w.steps) : 512;
#pragma unroll
        for (int i = 0; i < 4; i++) fc_copy_async<16>(to + i * 512, from + i / 2 * group_at + i % 2 * half_at);
    } else {
#pragma unroll
        for (int i = 0; i < fc_code_bytes(CODE); i += 512) fc_copy_async<16>(to + i, from + i);
        if (fc_code_scales(CODE) && lane * 16 < w.chunk - fc_code_bytes(CODE)) /* at most 256 bytes */
            fc_copy_async<16>(to + fc_code_bytes(CODE), from + fc_code_bytes(CODE));
    }
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
    float zero[4] = {0.0f, 0.0f, 0.0f, 0.0f}, *p = fc_code_chained(CODE) ? acc : zero;
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
    if (fc_code_chained(CODE)) return;
    fc_linear_add(acc, p, s->scale[CODE == FC_CODE_8H]);
    if ((CODE == FC_CODE_8 || CODE == FC_CODE_4) && min) {
        acc[0] = fmaf(s->min[0], b->sum.x, acc[0]);
        acc[1] = fmaf(s->min[0], b->sum.y, acc[1]);
        acc[2] = fmaf(s->min[1], b->sum.x, acc[2]);
        acc[3] = fmaf(s->min[1], b->sum.y, acc[3]);
    }
}

#endif
