/* Layouts per super-block:
 *   Q4_K  d, dmin, sc[12], qs[128]           value = (d*s) * q - (dmin*m), groups of 32 with 6-bit s and m
 *   Q5_K  d, dmin, sc[12], qh[32], qs[128]   the same with a fifth bit: bit g of qh[j] belongs to element j of group g
 *   Q6_K  ql[128], qh[64], i8 s[16], d       value = (d*s) * (q - 32), groups of 16
 * Codes of four bits come in pairs of groups: low halves of 32 bytes are group 2p, high halves group 2p + 1.
 */
#include "engine/base/quant_k.h"

static uint16_t u16_at(const uint8_t *p) { return (uint16_t)(p[0] | (unsigned)p[1] << 8); }

/* Scale and minimum of group g out of the 12 bytes: the first four lie in six low bits, the other four in a nibble plus
 * two bits borrowed from the bytes of the first four. */
static void scale_min(const uint8_t sc[12], int g, unsigned *s, unsigned *m) {
    if (g < 4) {
        *s = sc[g] & 63u;
        *m = sc[g + 4] & 63u;
    } else {
        *s = (sc[g + 4] & 15u) | (sc[g - 4] >> 6 & 3u) << 4;
        *m = (unsigned)(sc[g + 4] >> 4) | (sc[g] >> 6 & 3u) << 4;
    }
}

static void codes_45(fc_dtype t, const uint8_t *b, uint8_t *codes, float *scale, float *min) {
    const uint8_t *qh = b + 16, *qs = t == FC_Q5_K ? b + 48 : b + 16;
    float d = fc_f16_to_f32(u16_at(b)), dmin = fc_f16_to_f32(u16_at(b + 2));
    for (int g = 0; g < 8; g++) {
        unsigned s, m;
        scale_min(b + 4, g, &s, &m);
        scale[g] = d * (float)s;
        min[g] = -(dmin * (float)m);
        for (int j = 0; j < 32; j++) {
            unsigned q = (unsigned)qs[g / 2 * 32 + j] >> (g % 2 * 4) & 15u;
            if (t == FC_Q5_K) q |= ((unsigned)qh[j] >> g & 1u) << 4;
            codes[g * 32 + j] = (uint8_t)q;
        }
    }
}

static void codes_6(const uint8_t *b, uint8_t *codes, float *scale) {
    const uint8_t *ql = b, *qh = b + 128, *sc = b + 192;
    float d = fc_f16_to_f32(u16_at(b + 208));
    for (int h = 0; h < 2; h++) /* halves of 128 elements: 64 bytes of ql, 32 of qh */
        for (int q = 0; q < 4; q++)
            for (int j = 0; j < 32; j++) {
                unsigned low = (unsigned)ql[h * 64 + q % 2 * 32 + j] >> (q / 2 * 4) & 15u;
                unsigned high = (unsigned)qh[h * 32 + j] >> (q * 2) & 3u;
                codes[h * 128 + q * 32 + j] = (uint8_t)(low | high << 4);
            }
    for (int g = 0; g < 16; g++) scale[g] = d * (float)(int8_t)sc[g];
}

void fc_quant_k_codes(fc_dtype t, const uint8_t *block, uint8_t codes[FC_QUANT_K], float *scale, float *min) {
    if (t == FC_Q6_K) {
        codes_6(block, codes, scale);
        for (int g = 0; g < 16; g++) min[g] = -32.0f * scale[g];
    } else {
        codes_45(t, block, codes, scale, min);
    }
}

void fc_quant_k_values(fc_dtype t, const uint8_t *block, float y[FC_QUANT_K]) {
    uint8_t codes[FC_QUANT_K];
    float scale[16], min[8];
    if (t == FC_Q6_K) {
        codes_6(block, codes, scale);
        for (int i = 0; i < FC_QUANT_K; i++) y[i] = scale[i / 16] * (float)(codes[i] - 32);
    } else {
        codes_45(t, block, codes, scale, min);
        for (int i = 0; i < FC_QUANT_K; i++) y[i] = scale[i / 32] * (float)codes[i] + min[i / 32]; /* x + -m is x - m */
    }
}
