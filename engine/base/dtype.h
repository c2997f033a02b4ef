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
    FC_I8,
    FC_I32,
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

float fc_f16_to_f32(uint16_t v);
uint16_t fc_f32_to_f16(float f); /* round to nearest even, overflow to infinity */

#endif
