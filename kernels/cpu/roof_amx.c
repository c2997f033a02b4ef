#include "kernels/cpu/roof.h"

#include <immintrin.h>
#include <string.h>

/* Four sums at once: more than the latency of a product is worth. Tiles 4 and 5 are x, 6 and 7 weights. */
enum { SUMS = 4, ROWS = 16, ROW_BYTES = 64 };

static double int8_amx(int rounds) {
    _Alignas(64) unsigned char config[64] = {1}, bytes[ROWS * ROW_BYTES];
    _Alignas(64) int32_t out[SUMS][ROWS * ROW_BYTES / 4];
    for (int t = 0; t < 8; t++) {
        config[16 + 2 * t] = ROW_BYTES;
        config[48 + t] = ROWS;
    }
    memset(bytes, 1, sizeof bytes);
    __asm__ volatile("" : : "r"(config), "r"(bytes) : "memory"); /* the intrinsics do not say that they read these */
    _tile_loadconfig(config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, bytes, ROW_BYTES);
    _tile_loadd(5, bytes, ROW_BYTES);
    _tile_loadd(6, bytes, ROW_BYTES);
    _tile_loadd(7, bytes, ROW_BYTES);
    for (int r = 0; r < rounds; r++) {
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        _tile_dpbsud(2, 5, 6);
        _tile_dpbsud(3, 5, 7);
    }
    _tile_stored(0, out[0], ROW_BYTES);
    _tile_stored(1, out[1], ROW_BYTES);
    _tile_stored(2, out[2], ROW_BYTES);
    _tile_stored(3, out[3], ROW_BYTES);
    _tile_release();
    return (double)(out[0][0] ^ out[1][0] ^ out[2][0] ^ out[3][0]);
}

const fc_roof_ops fc_roof_amx = {fc_roof_read_avx512,
                                 int8_amx,
                                 fc_roof_bf16_avx512,
                                 fc_roof_f32_avx512,
                                 SUMS * 2.0 * ROWS *ROW_BYTES *(ROW_BYTES / 4),
                                 FC_ROOF_BF16_OPS_AVX512,
                                 FC_ROOF_F32_OPS_AVX512};
