/* quant - the quantised block formats of GGUF: values, groups, and making new blocks.
 *
 * Every supported type can be seen as groups of codes: value = scale * code + min, code in 0..255. That
 * is what the kernels pack; the dequantised value itself follows each format's own order of operations, so
 * that it equals the `gguf` package bit for bit.
 *
 * Q4_W and Q8_W are no file's: blocks of 32 with an f32 scale and minimum, which hold without rounding what other kinds
 * of files say with a scale of 16 bits and a zero code.
 *
 * source  GGUF specification (ggml); `gguf` Python package for the values
 */
#ifndef FC_BASE_QUANT_H
#define FC_BASE_QUANT_H

#include "engine/base/dtype.h"

/* y[n] = the values of a row of type t (any float or quantised type). n is a multiple of the block. */
fc_status fc_dequant_row(fc_dtype t, const void *src, float *y, size_t n);

/* A row of n floats to type t: F32, F16, BF16, F8, Q8_0, Q4_0, Q4_1; others FC_ERR_UNSUPPORTED. Same rounding as the
 * `gguf` package; F8 (of a value, not of scale * value) to nearest even. A value that is not finite, or that the type
 * would not hold as a finite one, is FC_ERR_FORMAT. */
fc_status fc_quant_row(fc_dtype t, const float *x, void *dst, size_t n);

bool fc_dtype_is_float(fc_dtype t); /* F32, F16, BF16, F8 */
bool fc_dtype_is_quant(fc_dtype t); /* the block types */

/* For a quantised type: elements that share one scale (32; 16 for Q6_K) and bits of a code (4 or 8; 5- and
 * 6-bit codes count as 8). */
int fc_quant_group(fc_dtype t);
int fc_quant_bits(fc_dtype t);

/* Bytes that n weights of a matrix of type t take once packed for the kernels: floats as they are; else a code each,
 * and for each group a scale and, unless a code is fixed as zero, a minimum, in f16 where the file has f16, else in
 * f32. What a layout pads rows or panels with comes on top, and F8's scales, an f32 for each row and block of columns.
 * n is a multiple of the block. */
uint64_t fc_quant_held_bytes(fc_dtype t, uint64_t n);

/* A row of n quantised elements as codes: codes [n] (0..255, 0..15 for 4-bit types), scale and min
 * [n / group]. */
fc_status fc_quant_codes(fc_dtype t, const void *src, size_t n, uint8_t *codes, float *scale, float *min);

#endif
