/* head_tiles - logits of a whole matrix for a piece of rows on the device, a tile of 256 ids at a time, none of them
 * kept: tops and sums of tiles (logprob/tile.cuh), with the bits of linear, softcap and logprob. Inner to kernels/head.
 */
#ifndef FC_KERNELS_HEAD_TILES_CUH
#define FC_KERNELS_HEAD_TILES_CUH

#include "kernels/draw/draw_tree.cuh"
#include "kernels/linear/linear_tile.cuh"
#include "kernels/logprob/tile.cuh"

extern "C" {
#include "kernels/comm/comm.h"
#include "kernels/head/head_draw.h"
#include "kernels/head/head_lse.h"
}

static_assert((int)FC_LINEAR_TILE == (int)FC_TILE, "linear and logprob share their tiles");

enum { FC_HEAD_ROWS_AT_ONCE = 1024, FC_HEAD_ROW_THREADS = 128 };

/* A piece of the rows. Passed to kernels by value. */
typedef struct {
    fc_part_cuda w;
    fc_linear_x x; /* as chunks; as tiles of so many rows where warpgroups multiply them, else 0 */
    fc_linear_x x_tiles;
    int tile_rows;
    float cap, inv;               /* 0: no cap */
    int tiles, first;             /* of w; the call's number of the piece's first row */
    int own;                      /* its first tile, in a vocabulary that ranks share; else 0 */
    float *top, *sum;             /* [x.T,tiles] */
    float *drawn;                 /* [x.T,tiles] sums at the row's temperature where that is another than 1; or NULL */
    const fc_head_draw_row *rows; /* of the call, with drawn */
    float *lp;                    /* logits of row, id [M] left in lp; M 0: none are asked for */
    const int32_t *row, *id;
    int M;
} fc_head_piece;

/* cap is what softcap wants, or 0; w is one tensor: else an error under the operator's name. */
fc_status fc_head_piece_of(fc_stream s, const char *what, const fc_weight *w, float cap, fc_head_piece *out);

/* Where ranks share the vocabulary: what each has of the piece's tiles becomes all of them, [x.T,all]. NULL: none. */
fc_status fc_head_join_tiles(fc_stream s, const fc_weight *w, const fc_head_piece *p, float *top, float *sum,
                             float *drawn);
/* Tiles of the whole vocabulary; the most that one rank has of them. */
static inline int fc_head_tiles_all(const fc_weight *w) { return fc_tile_count(w->of); }
int fc_head_tiles_most(fc_stream s, const fc_weight *w);

/* How many of R rows can be done at once: row_bytes a row and `fixed` lie behind x in the workspace. */
fc_status fc_head_rows(fc_stream s, const char *what, const fc_weight *w, int R, bool precise, size_t row_bytes,
                       size_t fixed, int *out);
size_t fc_head_x_bytes(const fc_weight *w, int R, bool precise);
/* As much for any weight: R rows of D. */
size_t fc_head_workspace(int R, int D, size_t row_bytes, size_t fixed);

/* p->x of n rows of x [.,D] from p->first on, in the workspace. again: some are multiplied again by others than
 * fc_head_sum_tiles. */
fc_status fc_head_make_x(fc_stream s, const fc_weight *w, const float *x, int n, bool precise, bool again,
                         fc_head_piece *p);

fc_status fc_head_sum_tiles(fc_stream s, const char *what, const fc_head_piece *p);

/* head_wgmma.cu. Rows of a tile of n rows of x, 0: warpgroups do not take them. */
extern "C" int fc_head_wgmma_rows(fc_stream s, const fc_weight *w, int n, bool precise);
fc_status fc_head_wgmma(fc_stream s, const char *what, const fc_head_piece *p);

/* ---- in kernels */

static __device__ __forceinline__ float fc_head_cap(const fc_head_piece &p, float x) {
    return p.cap > 0.0f ? p.cap * fc_tanhf(x * p.inv) : x;
}

/* The lane's 8 logits of a tile, capped; past the vocabulary -inf. */
static __device__ __forceinline__ void fc_head_cap_lane(float v[FC_TILE_LANE], const fc_head_piece &p, int tile) {
    int n = p.w.N - tile * FC_TILE - fc_lane() * FC_TILE_LANE;
    for (int j = 0; j < FC_TILE_LANE; j++) v[j] = j < n ? fc_head_cap(p, v[j]) : -INFINITY;
}

/* The same of a row of fc_linear_tile's logits. */
static __device__ __forceinline__ void fc_head_load(float v[FC_TILE_LANE], const fc_head_piece &p, const float *logits,
                                                    int tile) {
    fc_tile_load(v, logits, FC_TILE, 0);
    fc_head_cap_lane(v, p, tile);
}

/* A warp: top and sums of a tile of the piece's row. */
static __device__ __forceinline__ void fc_head_sum_row(const fc_head_piece &p, const float v[FC_TILE_LANE], int row,
                                                       int tile) {
    size_t at = (size_t)row * (size_t)p.tiles + (size_t)tile;
    float top = fc_tile_top(v), sum = fc_tile_sum(v, top, 1.0f), scale = 1.0f;
    if (fc_lane() == 0) {
        p.top[at] = top;
        p.sum[at] = sum;
    }
    if (p.drawn && p.rows[p.first + row].temperature > 0.0f) scale = fc_draw_scale(p.rows[p.first + row].temperature);
    if (scale == 1.0f) return;
    sum = fc_tile_sum(v, top, scale);
    if (fc_lane() == 0) p.drawn[at] = sum;
}

/* Logits that are asked for: of n ids from `id` on, of the part, and of rows row .. row + rows - 1 of the piece; by the
 * threads of a block that have numbers below `threads`. logits: the first row's, `pitch` apart. */
static __device__ __forceinline__ void fc_head_pick(const fc_head_piece &p, const float *logits, int pitch, int id,
                                                    int n, int row, int rows, int threads) {
    int first = p.first + row, from = p.own * FC_TILE + id;
    n = min(n, p.w.N - id);
    for (int m = fc_list_from(p.row, p.M, first) + (int)threadIdx.x; m < p.M; m += threads) {
        int r = p.row[m] - first, i = p.id[m] - from;
        if (r >= rows) return;
        if (r >= 0 && i >= 0 && i < n) p.lp[m] = fc_head_cap(p, logits[r * pitch + i]);
    }
}

#endif
