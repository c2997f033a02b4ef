/* Layouts, little-endian, per block: d and m are f16, qs codes of 4 bits (element j in the low half of byte j, element
 * j + half a block in the high half), qh the fifth bits (bit j belongs to element j).
 *   Q8_0  d, i8[32]           value = d * q
 *   Q4_0  d, qs[16]           value = d * (q - 8)
 *   Q4_1  d, m, qs[16]        value = d * q + m
 *   Q5_0  d, qh[4], qs[16]    value = d * (q - 16)
 *   Q5_1  d, m, qh[4], qs[16] value = d * q + m
 *   Q4_W  d, m, qs[16]        value = d * q + m, d and m f32
 *   Q8_W  d, m, u8[32]        value = d * q + m, d and m f32
 * The super-blocks of 256 are in quant_k.c.
 */
#include "engine/base/quant.h"

#include "engine/base/quant_k.h"

#include <math.h>

enum { BLOCK = 32, HALF = 16 };

static uint16_t u16_at(const uint8_t *p) { return (uint16_t)(p[0] | (unsigned)p[1] << 8); }

static void put_u16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

bool fc_dtype_is_float(fc_dtype t) { return t == FC_F32 || t == FC_F16 || t == FC_BF16 || t == FC_F8; }

static bool is_wide(fc_dtype t) { return t == FC_Q4_W || t == FC_Q8_W; }

bool fc_dtype_is_quant(fc_dtype t) { return (t >= FC_Q8_0 && t <= FC_Q6_K) || is_wide(t); }

int fc_quant_group(fc_dtype t) { return t == FC_Q6_K ? 16 : 32; }

int fc_quant_bits(fc_dtype t) { return t == FC_Q4_0 || t == FC_Q4_1 || t == FC_Q4_K || t == FC_Q4_W ? 4 : 8; }

uint64_t fc_quant_held_bytes(fc_dtype t, uint64_t n) {
    bool small = t == FC_Q8_0 || t == FC_Q4_0 || t == FC_Q4_1 || t == FC_Q5_0 || t == FC_Q5_1; /* f16, used as it is */
    bool has_min = t == FC_Q4_1 || t == FC_Q5_1 || t == FC_Q4_K || t == FC_Q5_K || is_wide(t);
    if (!fc_dtype_is_quant(t)) return n * fc_dtype_block_bytes(t);
    return n * (uint64_t)fc_quant_bits(t) / 8 + n / (uint64_t)fc_quant_group(t) * (small ? 2 : 4) * (has_min ? 2 : 1);
}

/* One small block as codes; *d and *m as stored, *m only for the types that have one. Code minus *zero is what d
 * scales. */
static void block_codes(fc_dtype t, const uint8_t *b, uint8_t codes[BLOCK], float *d, float *m, int *zero) {
    const uint8_t *qs = b + 2;
    uint32_t qh = 0;
    *zero = t == FC_Q8_0 ? 128 : t == FC_Q4_0 ? 8 : t == FC_Q5_0 ? 16 : 0;
    if (is_wide(t)) {
        memcpy(d, b, 4);
        memcpy(m, b + 4, 4);
        qs = b + 8;
    } else {
        *d = fc_f16_to_f32(u16_at(b));
        *m = 0.0f;
    }
    if (t == FC_Q8_W) {
        memcpy(codes, qs, BLOCK);
        return;
    }
    if (t == FC_Q8_0) {
        for (int j = 0; j < BLOCK; j++) codes[j] = (uint8_t)(qs[j] ^ 0x80u); /* two's complement + 128 */
        return;
    }
    if (t == FC_Q4_1 || t == FC_Q5_1) {
        *m = fc_f16_to_f32(u16_at(qs));
        qs += 2;
    }
    if (t == FC_Q5_0 || t == FC_Q5_1) {
        qh = (uint32_t)u16_at(qs) | (uint32_t)u16_at(qs + 2) << 16;
        qs += 4;
    }
    for (int j = 0; j < HALF; j++) {
        codes[j] = (uint8_t)((qs[j] & 15u) | (qh >> j & 1u) << 4);
        codes[j + HALF] = (uint8_t)(qs[j] >> 4 | (qh >> (j + HALF) & 1u) << 4);
    }
}

static fc_status check_row(fc_dtype t, size_t n, const char *what) {
    if (!fc_dtype_is_float(t) && !fc_dtype_is_quant(t))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: type %s has no float values", what, fc_dtype_name(t));
    if (n % fc_dtype_block(t))
        return FC_FAIL(FC_ERR_FORMAT, "%s: a row of %zu elements is no multiple of the block of %s, %zu", what, n,
                       fc_dtype_name(t), fc_dtype_block(t));
    return FC_OK;
}

fc_status fc_dequant_row(fc_dtype t, const void *src, float *y, size_t n) {
    const uint8_t *b = src;
    FC_TRY(check_row(t, n, "dequantise"));
    if (t == FC_F32) {
        memcpy(y, src, n * sizeof *y);
    } else if (t == FC_F16) {
        for (size_t i = 0; i < n; i++) y[i] = fc_f16_to_f32(u16_at(b + 2 * i));
    } else if (t == FC_BF16) {
        for (size_t i = 0; i < n; i++) y[i] = fc_bf16_to_f32(u16_at(b + 2 * i));
    } else if (t == FC_F8) {
        for (size_t i = 0; i < n; i++) y[i] = fc_f8_to_f32(b[i]);
    } else if (fc_dtype_block(t) == FC_QUANT_K) {
        for (size_t i = 0; i < n; i += FC_QUANT_K, b += fc_dtype_block_bytes(t)) fc_quant_k_values(t, b, y + i);
    } else {
        for (size_t i = 0; i < n; i += BLOCK, b += fc_dtype_block_bytes(t)) {
            uint8_t codes[BLOCK];
            float d, m;
            int zero;
            block_codes(t, b, codes, &d, &m, &zero);
            if (t == FC_Q4_1 || t == FC_Q5_1 || is_wide(t)) /* apart: adding m = 0 to the others would turn -0 into 0 */
                for (int j = 0; j < BLOCK; j++) y[i + (size_t)j] = d * (float)codes[j] + m;
            else
                for (int j = 0; j < BLOCK; j++) y[i + (size_t)j] = d * (float)(codes[j] - zero);
        }
    }
    return FC_OK;
}

fc_status fc_quant_codes(fc_dtype t, const void *src, size_t n, uint8_t *codes, float *scale, float *min) {
    const uint8_t *b = src;
    FC_TRY(check_row(t, n, "codes"));
    if (!fc_dtype_is_quant(t)) return FC_FAIL(FC_ERR_UNSUPPORTED, "codes: type %s is not quantised", fc_dtype_name(t));
    if (fc_dtype_block(t) == FC_QUANT_K) {
        size_t groups = FC_QUANT_K / (size_t)fc_quant_group(t);
        for (size_t i = 0; i < n; i += FC_QUANT_K, b += fc_dtype_block_bytes(t), scale += groups, min += groups)
            fc_quant_k_codes(t, b, codes + i, scale, min);
    } else {
        for (size_t i = 0; i < n; i += BLOCK, b += fc_dtype_block_bytes(t)) {
            float d, m;
            int zero;
            block_codes(t, b, codes + i, &d, &m, &zero);
            scale[i / BLOCK] = d;
            min[i / BLOCK] = zero ? (float)-zero * d : m; /* exact: zero is a power of two */
        }
    }
    return FC_OK;
}

static fc_status not_finite(fc_dtype t, size_t i, float x) {
    return FC_FAIL(FC_ERR_FORMAT, "%s: element %zu is %g, which the type cannot hold", fc_dtype_name(t), i, (double)x);
}

/* 1/d, and 0 where that is not finite: such a d is below every f16, so the block is all zero whatever its codes. */
static float inverse(float d) {
    float id = d == 0.0f ? 0.0f : 1.0f / d;
    return isfinite(id) ? id : 0.0f;
}

/* Element of largest magnitude, the first of equals. */
static float extreme(const float x[BLOCK]) {
    float most = x[0];
    for (int j = 1; j < BLOCK; j++)
        if (fabsf(x[j]) > fabsf(most)) most = x[j];
    return most;
}

/* Half away from zero, as the package rounds: floor(a) + floor(2 (a - floor(a))). */
static float round_half_up(float x) {
    float a = fabsf(x), whole = floorf(a);
    return copysignf(whole + floorf(2.0f * (a - whole)), x);
}

static fc_status put_scale(fc_dtype t, uint8_t *b, float d, size_t i, float most) {
    uint16_t h = fc_f32_to_f16(d);
    if ((h & 0x7c00u) == 0x7c00u) return not_finite(t, i, most);
    put_u16(b, h);
    return FC_OK;
}

static fc_status quant_q8_0(const float *x, uint8_t *b, size_t i) {
    float most = extreme(x), d = fabsf(most) / 127.0f, id = inverse(d);
    FC_TRY(put_scale(FC_Q8_0, b, d, i, most));
    for (int j = 0; j < BLOCK; j++) b[2 + j] = (uint8_t)(int8_t)round_half_up(x[j] * id);
    return FC_OK;
}

static fc_status quant_q4_0(const float *x, uint8_t *b, size_t i) {
    float most = extreme(x), d = most / -8.0f, id = inverse(d);
    uint8_t q[BLOCK];
    FC_TRY(put_scale(FC_Q4_0, b, d, i, most));
    for (int j = 0; j < BLOCK; j++) {
        int code = (int)(x[j] * id + 8.5f);
        q[j] = (uint8_t)(code > 15 ? 15 : code);
    }
    for (int j = 0; j < HALF; j++) b[2 + j] = (uint8_t)(q[j] | q[j + HALF] << 4);
    return FC_OK;
}

/* Codes 0 and 15 at the ends. */
static fc_status quant_q4_1(const float *x, uint8_t *b, size_t i) {
    float least = x[0], most = x[0], d, id;
    uint8_t q[BLOCK];
    for (int j = 1; j < BLOCK; j++) {
        least = x[j] < least ? x[j] : least;
        most = x[j] > most ? x[j] : most;
    }
    d = (most - least) / 15.0f;
    id = inverse(d);
    FC_TRY(put_scale(FC_Q4_1, b, d, i, most));
    FC_TRY(put_scale(FC_Q4_1, b + 2, least, i, least));
    for (int j = 0; j < BLOCK; j++) {
        int code = (int)((x[j] - least) * id + 0.5f);
        q[j] = (uint8_t)(code > 15 ? 15 : code);
    }
    for (int j = 0; j < HALF; j++) b[4 + j] = (uint8_t)(q[j] | q[j + HALF] << 4);
    return FC_OK;
}

fc_status fc_quant_row(fc_dtype t, const float *x, void *dst, size_t n) {
    uint8_t *b = dst;
    FC_TRY(check_row(t, n, "quantise"));
    if (fc_dtype_is_quant(t) && t != FC_Q8_0 && t != FC_Q4_0 && t != FC_Q4_1)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "quantise: no blocks of type %s are made", fc_dtype_name(t));
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return not_finite(t, i, x[i]);
    if (t == FC_F32) {
        memcpy(dst, x, n * sizeof *x);
    } else if (t == FC_F8) {
        for (size_t i = 0; i < n; i++) {
            if (fabsf(x[i]) >= 464.0f)
                return not_finite(t, i, x[i]); /* nearer to 480, which is NaN's code, than to 448 */
            b[i] = fc_f32_to_f8(x[i]);
        }
    } else if (fc_dtype_is_float(t)) {
        for (size_t i = 0; i < n; i++) {
            uint16_t h = t == FC_F16 ? fc_f32_to_f16(x[i]) : fc_f32_to_bf16(x[i]);
            unsigned inf = t == FC_F16 ? 0x7c00u : 0x7f80u;
            if ((h & inf) == inf) return not_finite(t, i, x[i]);
            put_u16(b + 2 * i, h);
        }
    } else {
        for (size_t i = 0; i < n; i += BLOCK, b += fc_dtype_block_bytes(t))
            FC_TRY(t == FC_Q8_0   ? quant_q8_0(x + i, b, i)
                   : t == FC_Q4_0 ? quant_q4_0(x + i, b, i)
                                  : quant_q4_1(x + i, b, i));
    }
    return FC_OK;
}
