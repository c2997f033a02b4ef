#include "engine/base/dtype.h"

#include "engine/base/mem.h"

#include <strings.h>

static const struct {
    const char *name;
    size_t block, bytes;
} types[FC_DTYPE_COUNT] = {
    [FC_F32] = {"F32", 1, 4},       [FC_F16] = {"F16", 1, 2},       [FC_BF16] = {"BF16", 1, 2},
    [FC_Q8_0] = {"Q8_0", 32, 34},   [FC_Q4_0] = {"Q4_0", 32, 18},   [FC_Q4_1] = {"Q4_1", 32, 20},
    [FC_Q5_0] = {"Q5_0", 32, 22},   [FC_Q5_1] = {"Q5_1", 32, 24},   [FC_Q4_K] = {"Q4_K", 256, 144},
    [FC_Q5_K] = {"Q5_K", 256, 176}, [FC_Q6_K] = {"Q6_K", 256, 210}, [FC_I8] = {"I8", 1, 1},
    [FC_I32] = {"I32", 1, 4},       [FC_I64] = {"I64", 1, 8},       [FC_F8] = {"F8_E4M3", 1, 1},
    [FC_Q4_W] = {"Q4_W", 32, 24},   [FC_Q8_W] = {"Q8_W", 32, 40},
};

const char *fc_dtype_name(fc_dtype t) { return (unsigned)t < FC_DTYPE_COUNT ? types[t].name : "?"; }

bool fc_dtype_parse(const char *name, fc_dtype *out) {
    for (int t = 0; t < FC_DTYPE_COUNT; t++)
        if (strcasecmp(name, types[t].name) == 0) {
            *out = (fc_dtype)t;
            return true;
        }
    return false;
}

size_t fc_dtype_block(fc_dtype t) {
    FC_ASSERT((unsigned)t < FC_DTYPE_COUNT);
    return types[t].block;
}

size_t fc_dtype_block_bytes(fc_dtype t) {
    FC_ASSERT((unsigned)t < FC_DTYPE_COUNT);
    return types[t].bytes;
}

fc_status fc_dtype_row_bytes(fc_dtype t, size_t n, size_t *out) {
    size_t block = fc_dtype_block(t);
    if (n % block)
        return FC_FAIL(FC_ERR_FORMAT, "%s: a row of %zu elements is no multiple of its block of %zu", fc_dtype_name(t),
                       n, block);
    if (!fc_mul(n / block, fc_dtype_block_bytes(t), out))
        return FC_FAIL(FC_ERR_FORMAT, "%s: a row of %zu elements does not fit in the address space", fc_dtype_name(t),
                       n);
    return FC_OK;
}

float fc_f16_to_f32(uint16_t v) {
    uint32_t sign = (uint32_t)(v & 0x8000u) << 16, exp = (v >> 10) & 31u, man = v & 0x3ffu, u;
    float f;
    if (exp == 31) {
        u = sign | 0x7f800000u | (man << 13);
    } else if (exp) {
        u = sign | ((exp + 112u) << 23) | (man << 13);
    } else {
        f = (float)man * 0x1p-24f; /* subnormal: exact in f32 */
        memcpy(&u, &f, sizeof u);
        u |= sign;
    }
    memcpy(&f, &u, sizeof f);
    return f;
}

uint16_t fc_f32_to_f16(float f) {
    uint32_t u, man, half;
    int exp;
    uint16_t sign;
    memcpy(&u, &f, sizeof u);
    sign = (uint16_t)((u >> 16) & 0x8000u);
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((u >> 13) & 0x3ffu));
    exp = (int)(u >> 23) - 112;
    man = u & 0x7fffffu;
    if (exp >= 31) return (uint16_t)(sign | 0x7c00u);
    if (exp <= 0) { /* subnormal half: shift the full significand, round to even */
        int shift = 14 - exp;
        uint32_t rest, mid;
        if (shift > 24) return sign;
        man |= 0x800000u;
        half = man >> shift;
        rest = man & ((1u << shift) - 1u);
        mid = 1u << (shift - 1);
        half += rest > mid || (rest == mid && (half & 1u));
        return (uint16_t)(sign | half);
    }
    half = ((uint32_t)exp << 10) | (man >> 13);
    half += (man & 0x1fffu) > 0x1000u || ((man & 0x1fffu) == 0x1000u && (half & 1u));
    return (uint16_t)(sign | half); /* a carry out of the fraction rightly reaches the exponent */
}
