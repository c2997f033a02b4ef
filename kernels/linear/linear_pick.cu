#include "kernels/linear/linear_float.cuh"
#include "kernels/linear/linear_panel.cuh"

extern "C" {
#include "kernels/linear/linear_pick.h"
}

enum { BLOCKS_A_PROCESSOR = 8 /* of all segments: what some of them leave idle, others have to do */ };

typedef struct {
    fc_part_cuda w;
    fc_linear_x x; /* rows first .. of all R */
    int first, R;
    int own, of; /* w has the ids from own on, of so many */
    float *y;
    const fc_pick_segment *segments; /* [S] */
    const int32_t *ids;
    unsigned long long *trouble;
} pick_params;

/* Segments are on the device: a block finds out here what its own is. False: it is nothing, or it is broken, and that
 * has been told. */
static __device__ __forceinline__ bool segment_of(const pick_params &p, fc_pick_segment *out) {
    int i = (int)blockIdx.y;
    fc_pick_segment g = p.segments[i];
    if (g.row < 0 || g.n_rows < 0 || g.n_rows > p.R - g.row || g.n_ids < 0 || g.ids < 0 || g.y < 0 ||
        (long long)g.n_ids * g.n_rows > 0x7fffffffll) {
        if (threadIdx.x == 0) fc_complain(p.trouble, FC_TROUBLE_PICK_SEGMENT, i);
        return false;
    }
    *out = g;
    return true;
}

/* Id number k of a segment; -1, and told, where ids do not rise or it is outside the matrix. */
static __device__ __forceinline__ int id_of(const pick_params &p, const fc_pick_segment &g, int k) {
    int id = p.ids[g.ids + k], before = k ? p.ids[g.ids + k - 1] : -1;
    if (id > before && id >= 0 && id < p.of) return id;
    if (threadIdx.x % 32 == 0) fc_complain(p.trouble, FC_TROUBLE_PICK_ID, (int)blockIdx.y); /* warps may differ */
    return -1;
}

/* The panel of an id; -1: another rank's. */
static __device__ __forceinline__ int panel_of(const pick_params &p, int id) {
    int row = id - p.own;
    return row >= 0 && row < p.w.N ? row / FC_PANEL : -1;
}

/* y of id number k in rows row0 .. row1 - 1 of x here, by `threads` threads: there is nothing of it here. */
static __device__ __forceinline__ void leave_zero(const pick_params &p, const fc_pick_segment &g, int k, int row0,
                                                  int row1, int thread, int threads) {
    for (int r = row0 + thread; r < row1; r += threads)
        p.y[(size_t)g.y + (size_t)(r + p.first - g.row) * g.n_ids + k] = 0.0f;
}

/* A block takes ids at a stride; the first id in a panel stands for all that the panel holds. */
template <int CODE> static __global__ void __launch_bounds__(FC_PANEL_THREADS, 2) pick_kernel(const pick_params p) {
    float *sums = fc_shared<float>();
    fc_pick_segment g;
    if (!segment_of(p, &g)) return;
    int row0 = max(g.row - p.first, 0), row1 = min(g.row + g.n_rows - p.first, p.x.T); /* of x, as far as it is here */
    for (int k = (int)blockIdx.x; k < g.n_ids; k += (int)gridDim.x) {
        int id = id_of(p, g, k), panel = panel_of(p, id), n = 1;
        if (id < 0) continue;
        if (panel < 0) {
            leave_zero(p, g, k, row0, row1, (int)threadIdx.x, FC_PANEL_THREADS);
            continue;
        }
        if (k > 0 && panel_of(p, p.ids[g.ids + k - 1]) == panel) continue;
        while (n < FC_PANEL && k + n < g.n_ids && panel_of(p, p.ids[g.ids + k + n]) == panel) n++;
        for (int tile = row0 / FC_X_ROWS; tile * FC_X_ROWS < row1; tile++) {
            fc_linear_panels<CODE, 1, 1>(p.w, p.x, panel, tile, row0, row1, sums,
                                         (unsigned char *)(sums + fc_linear_panel_sums(1, 1)));
            int row = (int)threadIdx.x % FC_X_ROWS, i = (int)threadIdx.x / FC_X_ROWS, r = tile * FC_X_ROWS + row;
            if (i < n && r >= row0 && r < row1) {
                int out = p.ids[g.ids + k + i] - p.own - panel * FC_PANEL;
                if (out >= 0 && out < FC_PANEL)
                    p.y[(size_t)g.y + (size_t)(r + p.first - g.row) * g.n_ids + k + i] =
                        fc_linear_fold<1, 1>(sums, row, out);
            }
            __syncthreads(); /* sums are written again */
        }
    }
}

/* A warp per id. */
template <int CODE> static __global__ void pick_float_kernel(const pick_params p) {
    int warps = (int)blockDim.x / 32, lane = (int)threadIdx.x % 32;
    fc_pick_segment g;
    if (!segment_of(p, &g)) return;
    int row0 = max(g.row - p.first, 0), row1 = min(g.row + g.n_rows - p.first, p.x.T);
    for (int k = (int)blockIdx.x * warps + (int)threadIdx.x / 32; k < g.n_ids; k += (int)gridDim.x * warps) {
        int id = id_of(p, g, k);
        if (id < 0) continue;
        if (panel_of(p, id) < 0) {
            leave_zero(p, g, k, row0, row1, lane, 32);
            continue;
        }
        for (int r = row0; r < row1; r += FC_X_ROWS) {
            int rows = min((int)FC_X_ROWS, row1 - r);
            float v[FC_X_ROWS];
            fc_linear_float<CODE>(v, p.w, p.x, id - p.own, r, rows);
            if (lane < rows)
                p.y[(size_t)g.y + (size_t)(r + lane + p.first - g.row) * g.n_ids + k] = fc_pick_of_8(v, lane);
        }
    }
}

template <int CODE> static fc_status run_codes(fc_stream s, dim3 grid, const pick_params &p) {
    return fc_launch(s, "linear_pick", pick_kernel<CODE>, grid, FC_PANEL_THREADS, fc_linear_panel_shared(&p.w, 1, 1),
                     p);
}

static fc_status run(fc_stream s, dim3 grid, const pick_params &p) {
    switch (p.w.code) {
    case FC_CODE_F32: return fc_launch(s, "linear_pick", pick_float_kernel<FC_CODE_F32>, grid, FC_PANEL_THREADS, 0, p);
    case FC_CODE_F16: return fc_launch(s, "linear_pick", pick_float_kernel<FC_CODE_F16>, grid, FC_PANEL_THREADS, 0, p);
    case FC_CODE_BF16: return run_codes<FC_CODE_BF16>(s, grid, p);
    case FC_CODE_F8: return run_codes<FC_CODE_F8>(s, grid, p);
    case FC_CODE_F8B: return run_codes<FC_CODE_F8B>(s, grid, p);
    case FC_CODE_8: return run_codes<FC_CODE_8>(s, grid, p);
    case FC_CODE_8H: return run_codes<FC_CODE_8H>(s, grid, p);
    case FC_CODE_4: return run_codes<FC_CODE_4>(s, grid, p);
    default: return FC_FAIL(FC_ERR_INTERNAL, "linear_pick: code %d", (int)p.w.code);
    }
}

extern "C" fc_status fc_linear_pick_cuda(fc_stream s, const fc_linear_pick_args *a) {
    const fc_weight_cuda *w = fc_weight_cuda_of(a->w);
    pick_params p = {w->parts[0], {}, 0, a->R, a->w->first, a->w->of, a->y, a->segments, a->ids, s->trouble};
    int rows, blocks;
    if (a->S < 0 || a->R < 0) return FC_FAIL(FC_ERR_ARG, "linear_pick: R=%d S=%d", a->R, a->S);
    if (w->n_parts != 1)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "linear_pick: a matrix of %d tensors; it must be one", w->n_parts);
    if (a->S == 0 || a->R == 0) return FC_OK;
    blocks = s->sms * BLOCKS_A_PROCESSOR / a->S;
    blocks = blocks < 1 ? 1 : blocks > p.w.n_panels ? p.w.n_panels : blocks;
    FC_TRY(fc_linear_x_rows(s, "linear_pick", a->w, a->R, a->precise, &rows));
    for (; p.first < a->R; p.first += rows) {
        fc_linear_x_from from = {a->x, NULL, NULL, p.first, a->R - p.first < rows ? a->R - p.first : rows, a->precise};
        FC_TRY(fc_linear_x_make(s, a->w, &from, s->workspace, &p.x));
        FC_TRY(run(s, dim3((unsigned)blocks, (unsigned)a->S), p));
    }
    return FC_OK;
}
