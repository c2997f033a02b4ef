/* head_wgmma - sums of tiles of 17 rows and more on a device of 9.0: two blocks of a cluster, of 128 ids x 32, 64 or
 * 128 rows (linear/linear_block.cuh), together have the 256 ids of a tile; of bf16, a cluster of four has twice the
 * rows.
 *
 * Each leaves its logits in its own shared memory, where the ring was, and sums half of the rows, whose other 128 ids
 * it reads from the other's. No logit reaches device memory but those that are asked for.
 *
 * share      products as in linear_wgmma.cu. Behind them a warp has 2, 4 or 8 rows, each of 8 logits a lane: some 150
 *            instructions of a row, where its products were 2 K clocks of a tensor core's
 * banks      a thread stores rows 2t of lanes g: 8 t + g of 32, by a pitch of 132. A warp reads 8 neighbours a lane
 */
#include "kernels/head/head_tiles.cuh"

#include "kernels/linear/linear_block.cuh"

enum { PITCH = FC_LINEAR_BLOCK_OUTPUTS + 4 };

typedef struct {
    fc_head_piece p;
    fc_linear_block_ring ring;
} head_wgmma_params;

#if FC_HOPPER
/* Rows of this block's half, of the tile that both blocks have. */
template <int ROWS, int CX> static __device__ __forceinline__ void sum_rows(const fc_head_piece &p, float *logits) {
    int rank = fc_cluster_rank(), side = rank / CX, tile = (int)blockIdx.y / FC_LINEAR_BLOCK_PAIR,
        row = (int)blockIdx.x * ROWS, rows = min(ROWS, p.x.T - row), last = min(rows, (side + 1) * (ROWS / 2));
    const float *half = fc_cluster_at(logits, rank % CX + fc_lane() / 16 * CX) + fc_lane() % 16 * FC_TILE_LANE;
    for (int r = side * (ROWS / 2) + (int)threadIdx.x / FC_WARP; r < last; r += FC_LINEAR_BLOCK_COPIER) {
        float v[FC_TILE_LANE];
        fc_tile_load(v, half + r * PITCH - fc_lane() * FC_TILE_LANE, FC_TILE, 0);
        fc_head_cap_lane(v, p, tile);
        fc_head_sum_row(p, v, row + r, tile);
    }
    if (p.M > 0)
        fc_head_pick(p, logits, PITCH, (int)blockIdx.y * FC_LINEAR_BLOCK_OUTPUTS, FC_LINEAR_BLOCK_OUTPUTS, row, rows,
                     FC_LINEAR_BLOCK_ADDERS);
}
#endif

template <int CODE, int ROWS, bool PRECISE, int CX>
static __global__ void __launch_bounds__(FC_LINEAR_BLOCK_THREADS, 1) FC_CLUSTER(CX, FC_LINEAR_BLOCK_PAIR)
    tile_kernel(const head_wgmma_params q) {
#if FC_HOPPER
    unsigned char *ring = fc_linear_block_begin<CX>(q.ring);
    int warp = (int)threadIdx.x / FC_WARP;
    if (warp >= FC_LINEAR_BLOCK_COPIER) {
        fc_registers_fewer<24>();
        if (warp == FC_LINEAR_BLOCK_COPIER) fc_linear_block_copy<CX>(q.ring, ring);
        fc_cluster_sync_relaxed();
        fc_cluster_sync_relaxed();
    } else {
        float total[ROWS / 2], *logits = (float *)ring; /* [ROWS][PITCH], when all has been multiplied */
        fc_registers_more<240>();
        fc_linear_block_multiply<CODE, ROWS, PRECISE, CX>(total, q.ring, {NULL, 0}, ring);
        fc_bar_sync(1, FC_LINEAR_BLOCK_ADDERS); /* all that was copied here has been read */
#pragma unroll
        for (int i = 0; i < ROWS / 2; i++)
            logits[fc_linear_block_row(i) * PITCH + fc_linear_block_output(i)] = total[i];
        fc_cluster_sync();
        sum_rows<ROWS, CX>(q.p, logits);
        fc_cluster_sync_relaxed(); /* another may still read here */
    }
#else
    __trap();
#endif
}

template <int CODE, int ROWS, int CX>
static fc_status launch(fc_stream s, const char *what, const head_wgmma_params &q, dim3 grid) {
    size_t shared = (size_t)(q.ring.stages * q.ring.stage) + fc_linear_block_beside(CODE, ROWS);
    if (q.ring.x.precise)
        return fc_launch_cluster(s, what, tile_kernel<CODE, ROWS, true, CX>, CX, FC_LINEAR_BLOCK_PAIR, grid,
                                 FC_LINEAR_BLOCK_THREADS, shared, q);
    return fc_launch_cluster(s, what, tile_kernel<CODE, ROWS, false, CX>, CX, FC_LINEAR_BLOCK_PAIR, grid,
                             FC_LINEAR_BLOCK_THREADS, shared, q);
}

template <int CODE> static fc_status run(fc_stream s, const char *what, const head_wgmma_params &q) {
    const int rows = q.p.tile_rows;
    dim3 grid((unsigned)fc_div_up(q.p.x.T, rows), (unsigned)q.p.tiles * FC_LINEAR_BLOCK_PAIR);
    if constexpr (CODE == FC_CODE_BF16)
        if (rows == 128 && grid.x % 2 == 0) return launch<CODE, 128, 2>(s, what, q, grid);
    return rows == 32   ? launch<CODE, 32, 1>(s, what, q, grid)
           : rows == 64 ? launch<CODE, 64, 1>(s, what, q, grid)
                        : launch<CODE, 128, 1>(s, what, q, grid);
}

/* Logits lie where the ring was, and not over its barriers, at which the other block may still arrive. */
extern "C" int fc_head_wgmma_rows(fc_stream s, const fc_weight *w, int n, bool precise) {
    const fc_part_cuda *part = &fc_weight_cuda_of(w)->parts[0];
    int rows = fc_linear_tile_rows(n), stages;
    if (s->sm != 90 || !rows || fc_code_is_float(part->code) || part->by_rows) return 0;
    stages = fc_linear_block_stages(part, rows, precise, s->shared_max);
    return stages >= 2 && stages * fc_linear_block_stage(part, rows, precise) >= rows * PITCH * (int)sizeof(float)
               ? rows
               : 0;
}

fc_status fc_head_wgmma(fc_stream s, const char *what, const fc_head_piece *p) {
    head_wgmma_params q = {*p, {p->w, p->x_tiles, 0, 0}};
    q.ring.stages = fc_linear_block_stages(&p->w, p->tile_rows, p->x_tiles.precise, s->shared_max);
    q.ring.stage = fc_linear_block_stage(&p->w, p->tile_rows, p->x_tiles.precise);
    switch (p->w.code) {
    case FC_CODE_BF16: return run<FC_CODE_BF16>(s, what, q);
    case FC_CODE_F8: return run<FC_CODE_F8>(s, what, q);
    case FC_CODE_F8B: return run<FC_CODE_F8B>(s, what, q);
    case FC_CODE_8: return run<FC_CODE_8>(s, what, q);
    case FC_CODE_8H: return run<FC_CODE_8H>(s, what, q);
    case FC_CODE_4: return run<FC_CODE_4>(s, what, q);
    default: return FC_FAIL(FC_ERR_INTERNAL, "%s: code %d by wgmma", what, (int)p->w.code);
    }
}
