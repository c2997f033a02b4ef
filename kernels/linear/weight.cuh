/* weight - how a packed matrix lies in the memory of a CUDA device. Inner to kernels/linear, kernels/embed and
 * kernels/head.
 *
 * A part of N outputs is cut into panels of 16 outputs; outputs past N are zero. K is filled up with zeros to steps of
 * 64 k. A panel of F32 or F16 is [16][64 steps], row-major. So is one of BF16 where cuBLASLt may read it (by_rows); the
 * k of a group of 32 are then in the order of t below, [t][p / 2][p % 2][e], as those of x are (linear_x.cuh): its
 * product cares for no order of k. Any other panel is [steps] chunks, each one contiguous piece: codes, then scales,
 * then minimums, where the type has them.
 * Codes lie as mma.m16n8k16 wants its a. With g = output % 8, h = output / 8 and, in a group of 32 k,
 * k = 16 (p / 2) + 4 t + 2 (p % 2) + e: lane 4g + t holds the pairs p of (e = 0, 1); p = 0, 1 (the first 16 k) are its
 * first a, p = 2, 3 its second, and its b is two runs of four.
 *
 *   BF16   [2 groups][h][32 lanes][p / 2][p % 2][e] u16; a panel by rows becomes that in shared memory
 *   8 bit  [2 groups][32 lanes][h][p / 2][e][p % 2] bytes: code minus zero code as i8, or F8 as it stands
 *   4 bit  [32 lanes][2 groups][h] u32, whose bits 4p + 16e.. are the code
 *   scales and minimums [8 g][groups of the step][h], f16 where the file has f16, else f32; of F8B one for the step. A
 *          panel of F8 has its 16 scales, where there are any, behind its last chunk
 *
 * A weight is scale * code + minimum, or scale * (code - zero). A warp reads a chunk 16 bytes a lane, and a panel from
 * first byte to last, by rows 128 bytes of each at a time. Bytes a chunk: BF16 2048, F8 1024, F8B 1088,
 * 8 bit 1088 to 1280, 4 bit 576 to 768.
 */
#ifndef FC_KERNELS_LINEAR_WEIGHT_CUH
#define FC_KERNELS_LINEAR_WEIGHT_CUH

#include "kernels/cuda/num.cuh"

extern "C" {
#include "kernels/linear/linear.h"
}

enum {
    FC_PANEL = 16, /* outputs of a panel                           */
    FC_STEP = 64,  /* k of a chunk                                 */
    FC_GROUP = 32, /* k that share a scale and, unless chained, a sum from scratch */
    FC_RANGES = 8, /* chains of an output: linear.h, order         */
};

typedef enum {
    FC_CODE_F32 = 0,
    FC_CODE_F16,
    FC_CODE_BF16,
    FC_CODE_F8,  /* with no scale, or one an output */
    FC_CODE_F8B, /* with a scale for some columns */
    FC_CODE_8,   /* Q8_0, Q5_0, Q5_1, Q5_K, Q8_W      */
    FC_CODE_8H,  /* Q6_K: a scale for each 16         */
    FC_CODE_4,   /* Q4_0, Q4_1, Q4_K, Q4_W            */
    FC_CODE_COUNT
} fc_code;

/* Passed to kernels by value. */
typedef struct {
    const unsigned char *panels; /* device [n_panels][panel_bytes], 64-byte aligned */
    size_t panel_bytes;
    int chunk; /* bytes of a step of a panel, by rows in shared memory; 0: F32, F16 */
    fc_code code;
    bool by_rows; /* BF16 as cuBLASLt reads it */
    bool wide;    /* scales and minimums are f32; F8: there are scales */
    bool min;     /* there are minimums          */
    int zero;     /* code of 4 bits that means 0 */
    int N, n_panels;
    int first; /* column of y of this part's output 0 */
    int K, steps;
} fc_part_cuda;

typedef struct {
    fc_weight w;           /* first: an fc_weight of CUDA is one of these */
    int n_parts;           /* neighbours of one form are one part where the first ends with a panel */
    unsigned char *memory; /* device [w.bytes] */
    fc_part_cuda parts[];  /* host */
} fc_weight_cuda;

static inline const fc_weight_cuda *fc_weight_cuda_of(const fc_weight *w) { return (const fc_weight_cuda *)w; }

static __host__ __device__ constexpr bool fc_code_is_float(int code) { return code <= FC_CODE_F16; }
static __host__ __device__ __forceinline__ int fc_linear_steps(int K) { return (K + FC_STEP - 1) / FC_STEP; }

/* Bytes of codes of a chunk; bytes of an element of F32, F16. */
static __host__ __device__ constexpr int fc_code_bytes(int code) {
    return code == FC_CODE_F32    ? 4
           : code == FC_CODE_F16  ? 2
           : code == FC_CODE_BF16 ? 2048
           : code == FC_CODE_4    ? 512
                                  : 1024;
}

/* Groups of a step that have a scale each; 0: a chunk has none. */
static __host__ __device__ constexpr int fc_code_scales(int code) {
    return code == FC_CODE_8H ? 4 : code == FC_CODE_8 || code == FC_CODE_4 ? 2 : code == FC_CODE_F8B ? 1 : 0;
}

/* Sums of a range of K are the tensor cores' own, from its first 16 k to its last: nothing comes between groups. */
static __host__ __device__ constexpr bool fc_code_chained(int code) {
    return code == FC_CODE_BF16 || code == FC_CODE_F8;
}

/* Bytes of a row of a panel of BF16 by rows. */
static __host__ __device__ __forceinline__ size_t fc_bf16_row_bytes(int steps) {
    return (size_t)steps * FC_STEP * sizeof(uint16_t);
}
/* Where in a panel of BF16 weight k of output o lies: the byte. */
static __host__ __device__ __forceinline__ size_t fc_bf16_place(const fc_part_cuda &w, int o, int k) {
    int in = k % FC_GROUP, t = in % 16 / 4, pair = in / 16 * 4 + in % 4;
    if (w.by_rows) return (size_t)o * fc_bf16_row_bytes(w.steps) + (size_t)((k - in + t * 8 + pair) * 2);
    return (size_t)(k / FC_STEP) * 2048 + (size_t)((k % FC_STEP / FC_GROUP * 2 + o / 8) * 512) +
           (size_t)((o % 8 * 4 + t) * 16 + pair * 2);
}

/* Where output o (of 16) and k (of 64) lie in a chunk of codes of 4 or 8 bits: the byte, and for 4 bits by how much the
 * code is shifted. */
typedef struct {
    int byte, shift;
} fc_code_place;

static __host__ __device__ __forceinline__ fc_code_place fc_code_place_of(int code, int o, int k) {
    int g = o % 8, h = o / 8, group = k / FC_GROUP, in = k % FC_GROUP;
    int p = in / 16 * 2 + in % 4 / 2, e = in % 2, lane = g * 4 + in % 16 / 4;
    fc_code_place at = {0, 0};
    if (code == FC_CODE_4) {
        at.byte = lane * 16 + (group * 2 + h) * 4 + p / 2 + e * 2;
        at.shift = p % 2 * 4;
    } else {
        at.byte = (group * 32 + lane) * 16 + h * 8 + p / 2 * 4 + e * 2 + p % 2;
    }
    return at;
}

/* The scale (minimum) of output o and group `group` of a step: its place among the scales (minimums) of a chunk. */
static __host__ __device__ __forceinline__ int fc_code_scale_place(int code, int o, int group) {
    return (o % 8 * fc_code_scales(code) + group) * 2 + o / 8;
}

/* The scale of an output of F8: its place among the 16 behind the panel's chunks. */
static __host__ __device__ __forceinline__ int fc_code_row_place(int o) { return o % 8 * 2 + o / 8; }

/* A scale or minimum of a chunk. */
static __device__ __forceinline__ float fc_part_scale(const fc_part_cuda &w, const unsigned char *from, int place) {
    return w.wide ? ((const float *)from)[place] : fc_f16_float(((const uint16_t *)from)[place]);
}

/* Weight k of output o of a panel, with the bits of fc_dequant_row. */
static __device__ __forceinline__ float fc_part_value(const fc_part_cuda &w, const unsigned char *panel, int o, int k) {
    if (fc_code_is_float(w.code)) {
        size_t at = (size_t)o * (size_t)(w.steps * FC_STEP) + (size_t)k;
        return w.code == FC_CODE_F32 ? ((const float *)panel)[at] : fc_f16_float(((const uint16_t *)panel)[at]);
    }
    if (w.code == FC_CODE_BF16) return fc_bf16_to_f32(*(const uint16_t *)(panel + fc_bf16_place(w, o, k)));
    const unsigned char *chunk = panel + (size_t)(k / FC_STEP) * w.chunk, *scales = chunk + fc_code_bytes(w.code);
    fc_code_place at = fc_code_place_of(w.code, o, k % FC_STEP);
    if (w.code == FC_CODE_F8) {
        float v = fc_f8_to_f32(chunk[at.byte]);
        return w.wide ? v * ((const float *)(panel + (size_t)w.steps * w.chunk))[fc_code_row_place(o)] : v;
    }
    int groups = fc_code_scales(w.code), place = fc_code_scale_place(w.code, o, k % FC_STEP / (FC_STEP / groups));
    float scale = fc_part_scale(w, scales, place);
    if (w.code == FC_CODE_F8B) return fc_f8_to_f32(chunk[at.byte]) * scale;
    int code = w.code == FC_CODE_4 ? (chunk[at.byte] >> at.shift & 15) - w.zero : (int)(int8_t)chunk[at.byte];
    if (!w.min) return scale * (float)code;
    return scale * (float)code + fc_part_scale(w, scales + FC_PANEL * groups * (w.wide ? 4 : 2), place);
}

#endif
