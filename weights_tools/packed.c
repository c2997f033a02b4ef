#include "weights_tools/packed.h"

enum { BLOCK = 32, HALF = 16, TILE = 16 /* rows that share a line of 64 bytes where words lie down K */ };

/* Where output n of 8 lies in a word of AWQ. */
static const int awq_place[8] = {0, 4, 1, 5, 2, 6, 3, 7};

static unsigned bits_of(uint32_t word, int64_t i, int bits) {
    return word >> (unsigned)(i * bits) & ((1u << bits) - 1u);
}

static unsigned code_at(const fc_packed *p, int64_t n, int64_t k) {
    int64_t per = 32 / p->bits;
    if (p->bytes) return p->bytes[n * p->K + k] ^ 0x80u;
    switch (p->kind) {
    case FC_PACKED_GPTQ: return bits_of(p->words[k / per * p->N + n], k % per, p->bits);
    case FC_PACKED_AWQ: return bits_of(p->words[k * (p->N / per) + n / per], awq_place[n % per], p->bits);
    default: return bits_of(p->words[n * ((p->K - 1) / per + 1) + k / per], k % per, p->bits);
    }
}

static int zero_at(const fc_packed *p, int64_t n, int64_t g) {
    int64_t per = 32 / p->bits;
    unsigned z;
    if (!p->zeros) return 1 << (p->bits - 1);
    if (p->kind == FC_PACKED_COMPRESSED) z = bits_of(p->zeros[n / per * p->groups + g], n % per, p->bits);
    else if (p->kind == FC_PACKED_AWQ) z = bits_of(p->zeros[g * (p->N / per) + n / per], awq_place[n % per], p->bits);
    else z = bits_of(p->zeros[g * (p->N / per) + n / per], n % per, p->bits);
    return (int)((z + (unsigned)p->plus) & ((1u << p->bits) - 1u));
}

static float scale_at(const fc_packed *p, int64_t n, int64_t g) {
    int64_t i = p->kind == FC_PACKED_COMPRESSED ? n * p->groups + g : g * p->N + n;
    uint16_t half;
    float f;
    if (p->scale_type == FC_F32) {
        memcpy(&f, (const char *)p->scales + 4 * i, sizeof f);
        return f;
    }
    memcpy(&half, (const char *)p->scales + 2 * i, sizeof half);
    return p->scale_type == FC_F16 ? fc_f16_to_f32(half) : fc_bf16_to_f32(half);
}

static int64_t group_of(const fc_packed *p, int64_t k) { return p->g_idx ? p->g_idx[k] : k / p->group; }

void fc_packed_row(const fc_packed *p, int64_t r, float *out) {
    int64_t last = -1;
    float scale = 0.0f;
    int zero = 0;
    for (int64_t k = 0; k < p->K; k++) {
        int64_t g = group_of(p, k);
        if (g != last) scale = scale_at(p, r, g), zero = zero_at(p, r, g), last = g;
        out[k] = scale * (float)((int)code_at(p, r, k) - zero);
    }
}

/* Columns k .. k + 31. */
static void block_codes(const fc_packed *p, int64_t n, int64_t k, uint8_t out[BLOCK]) {
    if (p->kind == FC_PACKED_GPTQ && p->bits == 4) { /* the most common by far, and the one that strides */
        for (int i = 0; i < BLOCK / 8; i++) {
            uint32_t word = p->words[(k / 8 + i) * p->N + n];
            for (int j = 0; j < 8; j++) out[8 * i + j] = (uint8_t)(word >> 4 * j & 15u);
        }
        return;
    }
    for (int i = 0; i < BLOCK; i++) out[i] = (uint8_t)code_at(p, n, k + i);
}

static void put_block(const fc_tensor *t, int64_t n, int64_t k, unsigned char *b) {
    const fc_packed *p = t->packed;
    int64_t g = group_of(p, k);
    float scale = scale_at(p, n, g), min;
    uint16_t half = fc_f32_to_f16(scale); /* of Q4_0 and Q8_0: exact, or they would not be these */
    uint8_t codes[BLOCK];
    block_codes(p, n, k, codes);
    if (t->dtype == FC_Q4_0 || t->dtype == FC_Q8_0) {
        memcpy(b, &half, sizeof half);
        b += 2;
    } else {
        min = -(float)zero_at(p, n, g) * scale;
        memcpy(b, &scale, sizeof scale);
        memcpy(b + 4, &min, sizeof min);
        b += 8;
    }
    if (t->dtype == FC_Q8_0)
        for (int i = 0; i < BLOCK; i++) b[i] = codes[i] ^ 0x80u; /* two's complement of code - 128 */
    else if (t->dtype == FC_Q8_W) memcpy(b, codes, BLOCK);
    else
        for (int i = 0; i < HALF; i++) b[i] = (unsigned char)(codes[i] | codes[i + HALF] << 4);
}

void fc_packed_rows(const fc_tensor *t, int64_t first, int64_t n, unsigned char *out) {
    size_t step = fc_dtype_block_bytes(t->dtype), row = (size_t)t->K / fc_dtype_block(t->dtype) * step;
    if (t->dtype == FC_F32) {
        for (int64_t r = 0; r < n; r++) fc_packed_row(t->packed, first + r, (float *)(void *)(out + (size_t)r * row));
        return;
    }
    for (int64_t r0 = 0; r0 < n; r0 += TILE)
        for (int64_t k = 0; k < t->K; k += BLOCK)
            for (int64_t r = r0; r < n && r < r0 + TILE; r++)
                put_block(t, first + r, k, out + (size_t)r * row + (size_t)(k / BLOCK) * step);
}

/* Each 32 columns are of one group. */
static bool whole_blocks(const fc_packed *p) {
    if (p->K % BLOCK) return false;
    for (int64_t k = 0; k < p->K; k++)
        if (group_of(p, k) != group_of(p, k - k % BLOCK)) return false;
    return true;
}

fc_dtype fc_packed_type(const fc_packed *p) {
    bool plain = true;
    if (!whole_blocks(p)) return FC_F32;
    for (int64_t i = 0; plain && i < p->N * p->groups; i++) {
        float scale = scale_at(p, i % p->N, i / p->N);
        plain = zero_at(p, i % p->N, i / p->N) == 1 << (p->bits - 1) && fc_f16_to_f32(fc_f32_to_f16(scale)) == scale;
    }
    if (p->bits == 4) return plain ? FC_Q4_0 : FC_Q4_W;
    return plain ? FC_Q8_0 : FC_Q8_W;
}
