/* dtype - element types of files and buffers, their sizes, and the scalar conversions.
 *
 * A block type stores `block` elements in `bytes` bytes; plain types have block 1. Layouts of the
 * quantised blocks: engine/base/quant.h.
 */
#ifndef FC_BASE_DTYPE_H
#define FC_BASE_DTYPE_H

#include "engine/base/device.h"
#include "engine/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum {
    FC_F32 = 0,
    FC_F16,
    FC_BF16,
    FC_Q8_0,
    FC_Q4_0,
    FC_Q4_1,
    FC_Q5_0,
    FC_Q5_1,
    FC_Q4_K,
    FC_Q5_K,
    FC_Q6_K,
    FC_F8, /* F8_E4M3: 4 bits of exponent, 3 of mantissa, no infinity, NaN 0x7f; 448 is the largest */
    FC_I8,
    FC_I32,
    FC_I64,
    FC_Q4_W, /* no file's: what a file of another kind is read as (weights_tools/packed.h) */
    FC_Q8_W,
    FC_DTYPE_COUNT
} fc_dtype;

const char *fc_dtype_name(fc_dtype t);                /* "Q4_1"; "?" outside the enum */
bool fc_dtype_parse(const char *name, fc_dtype *out); /* case does not matter */
size_t fc_dtype_block(fc_dtype t);                    /* elements per block */
size_t fc_dtype_block_bytes(fc_dtype t);              /* bytes per block */
/* Bytes of one row of n elements; FC_ERR_FORMAT when n is no multiple of the block or the size wraps. */
fc_status fc_dtype_row_bytes(fc_dtype t, size_t n, size_t *out);

FC_DEVICE static inline float fc_bf16_to_f32(uint16_t v) {
    uint32_t u = (uint32_t)v << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Round to nearest even; NaN stays NaN. */
FC_DEVICE static inline uint16_t fc_f32_to_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

/* Exact. */
FC_DEVICE static inline float fc_f8_to_f32(uint8_t v) {
    uint32_t u = (uint32_t)(v & 0x7fu) << 20, sign = (uint32_t)(v & 0x80u) << 24;
    float f;
    if ((v & 0x7fu) == 0x7fu) u = 0x7fc00000u;
    memcpy(&f, &u, sizeof f);
    f *= 0x1p120f; /* from f32's exponent to this one's, denormals included */
    memcpy(&u, &f, sizeof u);
    u |= sign;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Round to nearest even; what is larger than 448 becomes 448 (as cvt.rn.satfinite does), NaN stays NaN. Without a
 * branch: compilers make vectors of loops over it. */
FC_DEVICE static inline uint8_t fc_f32_to_f8(float f) {
    int32_t u, code, small, most, is_small; /* masks are 0 or -1: an arithmetic shift of a difference */
    uint32_t sign;
    memcpy(&u, &f, sizeof u);
    sign = (uint32_t)u >> 24 & 0x80u;
    u &= 0x7fffffff;
    memcpy(&f, &u, sizeof f);
    f = f * 512.0f + 8388608.0f; /* below 2^-6, multiples of 2^-9: the sum rounds to a whole number of them */
    memcpy(&small, &f, sizeof small);
    is_small = (u - 0x3c800000) >> 31;
    code = (u - (120 << 23) + 0x7ffff + (u >> 20 & 1)) >> 20;
    code = (code & ~is_small) | (small & 0xf & is_small);
    most = 0x7e - ((0x7f800000 - u) >> 31); /* 0x7f for NaN */
    code = most + ((code - most) & ((code - most) >> 31));
    return (uint8_t)(sign | (uint32_t)code);
}

float fc_f16_to_f32(uint16_t v);
uint16_t fc_f32_to_f16(float f); /* round to nearest even, overflow to infinity */

#endif
