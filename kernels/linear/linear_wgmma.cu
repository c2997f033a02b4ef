/* linear_wgmma - products of 17 rows and more on a device of 9.0: clusters of blocks of 128 outputs x 32, 64 or 128
 * rows (linear_block.cuh).
 *
 * rows       few are bound by memory: 32 or 64 make the tensor cores' work less. 128 read weights less often, but where
 *            they leave half of the processors without a block, 64 do not
 * in flight  a step of 64 k and 128 rows is 17 KB of x (precise: 33) and 4 to 16 KB of weights. All stages but one are
 *            on their way: 3 to 6 of 22 to 49 KB
 * occupancy  one block of 384 threads, 2 x 128 x 240 + 128 x 24 registers of 65,536, and nearly all shared memory
 * share      a step of 128 rows is 512 clocks of tensor cores (precise: 1024). Alone a block would ask L2 for 43 to 66
 *            bytes a clock (37 to 49), and L2 gives some 24 to 30. Two that share x ask for 26 to 49 (21 to 33), four
 *            of bf16 that share weights too for 33 (25)
 * issue      chained codes add nothing beside the products: of a step a thread reads 4 times 16 bytes of weights and
 *            issues 4 products of 128 rows (precise: 8)
 * banks      a lane reads its 16 bytes of codes beside its neighbour's. 8 rows of a product's 16 bytes of x lie in 8
 *            places of 128 bytes, by the swizzle. Scales and sums of x are read by 4 and 8 lanes in common
 * y          a warp stores 32 bytes of each of 4 rows at once: whole sectors
 */
#include "kernels/linear/linear_wgmma.cuh"

#include "kernels/linear/linear_block.cuh"
#include "kernels/linear/linear_fold.cuh"

/* x and y begin at the call's first row. */
typedef struct {
    fc_linear_block_ring ring;
    fc_linear_block_parts to;
    float *y;          /* [x.T,N] */
    const float *bias; /* [N] or NULL */
} wgmma_params;

template <int CODE, int ROWS, bool PRECISE, int CX>
static __global__ void __launch_bounds__(FC_LINEAR_BLOCK_THREADS, 1) FC_CLUSTER(CX, FC_LINEAR_BLOCK_PAIR)
    wgmma_kernel(const wgmma_params p) {
#if FC_HOPPER
    unsigned char *ring = fc_linear_block_begin<CX>(p.ring);
    int warp = (int)threadIdx.x / 32;
    if (warp >= FC_LINEAR_BLOCK_COPIER) {
        fc_registers_fewer<24>();
        if (warp == FC_LINEAR_BLOCK_COPIER) fc_linear_block_copy<CX>(p.ring, ring);
    } else {
        float total[ROWS / 2];
        fc_registers_more<240>();
        fc_linear_block_multiply<CODE, ROWS, PRECISE, CX>(total, p.ring, p.to, ring);
#pragma unroll
        for (int i = 0; i < ROWS / 2 && !p.to.part; i++) {
            int row = (int)blockIdx.x * ROWS + fc_linear_block_row(i),
                o = (int)blockIdx.y * FC_LINEAR_BLOCK_OUTPUTS + fc_linear_block_output(i);
            if (row >= p.ring.x.T || o >= p.ring.w.N) continue;
            o += p.ring.w.first;
            p.y[(size_t)row * p.to.N + o] = total[i] + (p.bias ? p.bias[o] : 0.0f);
        }
    }
#else
    __trap();
#endif
}

/* ---- launch */

template <int CODE, int ROWS, int CX> static fc_status launch_rows(fc_stream s, const wgmma_params &p, dim3 grid) {
    size_t shared = (size_t)(p.ring.stages * p.ring.stage) + fc_linear_block_beside(CODE, ROWS);
    if (p.ring.x.precise)
        return fc_launch_cluster(s, "linear: wgmma", wgmma_kernel<CODE, ROWS, true, CX>, CX, FC_LINEAR_BLOCK_PAIR, grid,
                                 FC_LINEAR_BLOCK_THREADS, shared, p);
    return fc_launch_cluster(s, "linear: wgmma", wgmma_kernel<CODE, ROWS, false, CX>, CX, FC_LINEAR_BLOCK_PAIR, grid,
                             FC_LINEAR_BLOCK_THREADS, shared, p);
}

/* Of 64 or 128 rows; of BF16, whose panels are as many bytes as x, in clusters of four where tiles are even. */
template <int CODE> static fc_status launch_tall(fc_stream s, const wgmma_params &p, dim3 grid, int tile) {
    if constexpr (CODE == FC_CODE_BF16)
        if (grid.x % 2 == 0)
            return tile == 64 ? launch_rows<CODE, 64, 2>(s, p, grid) : launch_rows<CODE, 128, 2>(s, p, grid);
    return tile == 64 ? launch_rows<CODE, 64, 1>(s, p, grid) : launch_rows<CODE, 128, 1>(s, p, grid);
}

/* Where blocks are few they share K: not for less than twice as many, since sums of ranges are written and read. An odd
 * number of blocks of outputs is filled up with one that has none. */
template <int CODE> static fc_status launch(fc_stream s, const wgmma_params &all, int tile) {
    wgmma_params p = all;
    const fc_part_cuda *w = &p.ring.w;
    int T = p.ring.x.T, blocks = fc_div_up(w->N, FC_LINEAR_BLOCK_PAIR * FC_LINEAR_BLOCK_OUTPUTS);
    dim3 grid((unsigned)fc_div_up(T, tile), (unsigned)(blocks * FC_LINEAR_BLOCK_PAIR));
    while (p.to.part && grid.z < FC_RANGES && (int)(grid.x * grid.y * grid.z) * 2 <= s->sms) grid.z *= 2;
    if (grid.z == 1) p.to.part = NULL;
    FC_TRY(tile == 32 ? (launch_rows<CODE, 32, 1>(s, p, grid)) : launch_tall<CODE>(s, p, grid, tile));
    if (!p.to.part) return FC_OK;
    return fc_linear_fold_parts(s, w, p.to.part, p.bias, p.y, T, p.to.N);
}

static fc_status run_part(fc_stream s, const wgmma_params &p, int tile) {
    switch (p.ring.w.code) {
    case FC_CODE_BF16: return launch<FC_CODE_BF16>(s, p, tile);
    case FC_CODE_F8: return launch<FC_CODE_F8>(s, p, tile);
    case FC_CODE_F8B: return launch<FC_CODE_F8B>(s, p, tile);
    case FC_CODE_8: return launch<FC_CODE_8>(s, p, tile);
    case FC_CODE_8H: return launch<FC_CODE_8H>(s, p, tile);
    case FC_CODE_4: return launch<FC_CODE_4>(s, p, tile);
    default: return FC_FAIL(FC_ERR_INTERNAL, "linear: code %d by wgmma", (int)p.ring.w.code);
    }
}

/* Rows of a tile, of n: where 128 leave half of the processors or more without a block, and K cannot be shared, 64. */
static int tile_of(fc_stream s, const fc_linear_args *a, int n) {
    const fc_weight_cuda *w = fc_weight_cuda_of(a->w);
    int most = 0, rows = fc_linear_tile_rows(n);
    if (rows < 128) return rows;
    for (int i = 0; i < w->n_parts; i++) most = w->parts[i].N > most ? w->parts[i].N : most;
    return n > FC_SPLIT_ROWS && fc_div_up(n, 128) * fc_div_up(most, FC_LINEAR_BLOCK_OUTPUTS) * 2 <= s->sms ? 64 : 128;
}

static size_t x_bytes(const fc_linear_args *a, int n, int tile) {
    size_t chunks = (size_t)fc_div_up(n, tile) * (size_t)fc_linear_steps(a->w->K);
    return (chunks * (size_t)fc_x_tile_chunk(tile, a->precise) + 255) & ~(size_t)255;
}

extern "C" bool fc_linear_wgmma_takes(fc_stream s, const fc_linear_args *a, int n) {
    const fc_weight_cuda *w = fc_weight_cuda_of(a->w);
    int tile = tile_of(s, a, n);
    if (s->sm != 90 || n < FC_X_TILE_LEAST || x_bytes(a, n, tile) > s->workspace_bytes) return false;
    for (int i = 0; i < w->n_parts; i++) {
        const fc_part_cuda *part = &w->parts[i];
        if (fc_code_is_float(part->code) || part->by_rows ||
            fc_linear_block_stages(part, tile, a->precise, s->shared_max) < 2)
            return false;
    }
    return true;
}

fc_status fc_linear_wgmma(fc_stream s, const fc_linear_args *a, int first, int n) {
    const fc_weight_cuda *w = fc_weight_cuda_of(a->w);
    int tile = tile_of(s, a, n);
    size_t used = x_bytes(a, n, tile);
    fc_linear_x_from from = {a->x, a->norm, a->glu, first, n, a->precise};
    wgmma_params p = {};
    FC_TRY(fc_linear_x_make_tiles(s, a->w, &from, tile, s->workspace, &p.ring.x));
    p.to.N = a->w->N;
    p.y = a->y + (size_t)first * (size_t)p.to.N;
    p.bias = a->bias;
    if (n <= FC_SPLIT_ROWS && used + fc_linear_part_bytes(n, p.to.N) <= s->workspace_bytes)
        p.to.part = (float *)(s->workspace + used);
    for (int i = 0; i < w->n_parts; i++) {
        p.ring.w = w->parts[i];
        p.ring.stage = fc_linear_block_stage(&p.ring.w, tile, a->precise);
        p.ring.stages = fc_linear_block_stages(&p.ring.w, tile, a->precise, s->shared_max);
        FC_TRY(run_part(s, p, tile));
    }
    return FC_OK;
}
