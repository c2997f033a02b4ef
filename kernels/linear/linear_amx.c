#include <immintrin.h>

/* gcc's intrinsics do not say what they read: without this, stores meant for them may be late, or left out. */
#define FC_AFTER_STORES(p, statement)                                                                                  \
    do {                                                                                                               \
        __asm__ volatile("" : : "r"(p) : "memory");                                                                    \
        statement;                                                                                                     \
    } while (0)
#define FC_TILE_CONFIGURE(c)        FC_AFTER_STORES(c, _tile_loadconfig(c))
#define FC_TILE_RELEASE()           _tile_release()
#define FC_TILE_LOAD(t, p, stride)  FC_AFTER_STORES(p, _tile_loadd(t, p, stride))
#define FC_TILE_ZERO(t)             _tile_zero(t)
#define FC_TILE_DOT(dst, a, b)      _tile_dpbsud(dst, a, b)
#define FC_TILE_STORE(t, p, stride) _tile_stored(t, p, stride)
#include "kernels/linear/linear_amx.h"

const fc_linear_level fc_linear_amx = {sizeof(fc_linear_x), FC_TILE_ROWS, fc_linear_prepare_avx512, multiply};
