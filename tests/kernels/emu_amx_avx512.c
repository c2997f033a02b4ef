/* linear_amx.h against the imitated instructions. */
#include "tests/kernels/emu_amx.h"

#define FC_TILE_CONFIGURE(c)        emu_tile_configure(c)
#define FC_TILE_RELEASE()           emu_tile_release()
#define FC_TILE_LOAD(t, p, stride)  emu_tile_load(t, p, (ptrdiff_t)(stride))
#define FC_TILE_ZERO(t)             emu_tile_zero(t)
#define FC_TILE_DOT(dst, a, b)      emu_tile_dot(dst, a, b)
#define FC_TILE_STORE(t, p, stride) emu_tile_store(t, p, (ptrdiff_t)(stride))
#include "kernels/linear/linear_amx.h"

extern const fc_linear_level emu_linear_amx;
const fc_linear_level emu_linear_amx = {sizeof(fc_linear_x), FC_TILE_ROWS, fc_linear_prepare_avx2, multiply};
