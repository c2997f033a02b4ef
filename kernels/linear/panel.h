/* panel - how a packed matrix lies in memory, the same for every vector unit. Inner to kernels/linear
 * and, by rows.h, to kernels/head.
 *
 * A part of N outputs is cut into panels of 16 outputs (lanes); outputs past N are zero. A panel is one contiguous
 * piece:
 *
 *   F32, F16  [K][16]
 *   BF16      [K/2][16][2], a missing last k is zero
 *   F8        codes [K/2][2][16] u8, a missing last k is zero; then f32 scales [K/scale_cols][16], NaN where the codes
 *             under one hold a NaN: what multiplies need not look for it
 *   8 bits    codes [K/32][8][16][4] u8: group, quad of four k, lane, k within the quad
 *   4 bits    codes [K/64][8][16][4] bytes: the low half is the even group, the high half the odd one (zero if absent)
 *   then, for codes, scales [K/group][16] and, unless the type has a fixed zero code, minimums [K/group][16]
 *
 * A weight is scale * code + minimum, or scale * (code - zero). Scales and minimums are f16 where the file has f16, so
 * that no more is read than the file holds, else f32.
 */
#ifndef FC_KERNELS_LINEAR_PANEL_H
#define FC_KERNELS_LINEAR_PANEL_H

#include "engine/base/region.h"
#include "kernels/linear/linear.h"

enum { FC_LANES = 16, FC_XGROUP = 32, FC_QUAD = 64 /* bytes of four k of 16 lanes */ };

typedef enum {
    FC_FORM_F32 = 0,
    FC_FORM_F16,
    FC_FORM_BF16,
    FC_FORM_F8,
    FC_FORM_Q8_ZERO,  /* 8-bit codes, f16 scale, fixed zero code: Q8_0, Q5_0 */
    FC_FORM_Q8_MIN,   /* 8-bit codes, f16 scale and minimum: Q5_1            */
    FC_FORM_Q8_MIN32, /* 8-bit codes, f32 scale and minimum: Q5_K, Q8_W     */
    FC_FORM_Q8_HALF,  /* 8-bit codes, f32 scale for each 16, fixed zero: Q6_K */
    FC_FORM_Q4_ZERO,  /* 4-bit codes, f16 scale, fixed zero code: Q4_0       */
    FC_FORM_Q4_MIN,   /* 4-bit codes, f16 scale and minimum: Q4_1            */
    FC_FORM_Q4_MIN32, /* 4-bit codes, f32 scale and minimum: Q4_K, Q4_W     */
    FC_FORM_COUNT
} fc_form;

static inline int fc_form_bits(fc_form f) { return f >= FC_FORM_Q4_ZERO ? 4 : 8; } /* of a code */
static inline int fc_form_group(fc_form f) { return f == FC_FORM_Q8_HALF ? 16 : 32; }
static inline bool fc_form_has_min(fc_form f) {
    return f == FC_FORM_Q8_MIN || f == FC_FORM_Q8_MIN32 || f == FC_FORM_Q4_MIN || f == FC_FORM_Q4_MIN32;
}
static inline bool fc_form_is_float(fc_form f) { return f <= FC_FORM_F8; }
static inline size_t fc_form_scale_bytes(fc_form f) {
    return f == FC_FORM_Q8_MIN32 || f == FC_FORM_Q8_HALF || f == FC_FORM_Q4_MIN32 ? 4 : 2;
}

/* Offsets inside a panel of K inputs. */
static inline size_t fc_panel_scales(fc_form f, int K) {
    size_t groups = (size_t)K / FC_XGROUP;
    return fc_form_bits(f) == 4 ? (groups + 1) / 2 * 512 : groups * 512;
}
static inline size_t fc_panel_scales_f8(int K) { return ((size_t)K + 1) / 2 * 2 * FC_LANES; }
static inline size_t fc_panel_mins(fc_form f, int K) {
    return fc_panel_scales(f, K) + (size_t)(K / fc_form_group(f)) * FC_LANES * fc_form_scale_bytes(f);
}

typedef struct {
    const unsigned char *panels; /* [n_panels][panel_bytes], 64-byte aligned */
    size_t panel_bytes;
    fc_form form;
    int zero;       /* code that means 0 in forms without a minimum */
    int scale_cols; /* F8: columns that share a scale, at most K */
    int N, n_panels;
    int first; /* column of y of this part's output 0 */
} fc_linear_part;

typedef struct {
    fc_weight w; /* first: an fc_weight of the CPU is one of these */
    int n_parts;
    fc_region_piece memory; /* [w.bytes] all panels */
    fc_linear_part parts[];
} fc_weight_cpu;

static inline const fc_weight_cpu *fc_weight_cpu_of(const fc_weight *w) { return (const fc_weight_cpu *)w; }

#endif
