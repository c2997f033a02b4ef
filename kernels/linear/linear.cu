#include "kernels/linear/linear_fold.cuh"
#include "kernels/linear/linear_lt.cuh"
#include "kernels/linear/linear_panel.cuh"
#include "kernels/linear/linear_tile.cuh"
#include "kernels/linear/linear_wgmma.cuh"

enum {
    FEW_ROWS = 16,     /* up to here K is cut among the warps of a block */
    FLOAT_OUTPUTS = 8, /* a warp each */
};

/* What kernels read; y, bias and x begin at the call's first row. */
typedef struct {
    fc_part_cuda w;
    fc_linear_x x;
    float *y;          /* [x.T,N] */
    const float *bias; /* [N] or NULL */
    float *part;       /* [FC_RANGES][x.T,N] or NULL: sums of ranges, folded by another kernel */
    int N;
} linear_params;

/* ---- few rows: a block per M panels */

template <int CODE, int M, int NT>
static __global__ void __launch_bounds__(FC_PANEL_THREADS, 2) few_kernel(const linear_params p) {
    float *sums = fc_shared<float>();
    int panel = (int)blockIdx.x * M;
    fc_linear_panels<CODE, M, NT>(p.w, p.x, panel, 0, 0, p.x.T, sums,
                                  (unsigned char *)(sums + fc_linear_panel_sums(M, NT)));
    for (int i = (int)threadIdx.x; i < p.x.T * M * FC_PANEL; i += FC_PANEL_THREADS) {
        int row = i / (M * FC_PANEL), out = i % (M * FC_PANEL), o = panel * FC_PANEL + out;
        if (o >= p.w.N) continue;
        o += p.w.first;
        p.y[(size_t)row * p.N + o] = fc_linear_fold<M, NT>(sums, row, out) + (p.bias ? p.bias[o] : 0.0f);
    }
}

template <int CODE, int M, int NT> static fc_status launch_few(fc_stream s, const linear_params &p) {
    return fc_launch(s, "linear", few_kernel<CODE, M, NT>, dim3((unsigned)fc_div_up(p.w.n_panels, M)), FC_PANEL_THREADS,
                     fc_linear_panel_shared(&p.w, M, NT), p);
}

/* Two panels a block share what is done for x, where they fit and there are still blocks for all processors. Q6_K's two
 * scales and 16 rows leave no registers for that. */
template <int CODE> static fc_status run_few(fc_stream s, const linear_params &p) {
    int nt = p.x.T <= FC_X_ROWS ? 1 : 2;
    bool two = p.w.n_panels >= 2 * s->sms && fc_linear_panel_shared(&p.w, 2, nt) <= s->shared_max;
    if (nt == 1) return two ? launch_few<CODE, 2, 1>(s, p) : launch_few<CODE, 1, 1>(s, p);
    if constexpr (CODE != FC_CODE_8H)
        if (two) return launch_few<CODE, 2, 2>(s, p);
    return launch_few<CODE, 1, 2>(s, p);
}

/* ---- many rows: a block per 256 outputs and 8 NT rows, and, where there are too few of these, per some ranges of K */

template <int CODE, int NT, int STAGES>
static __global__ void __launch_bounds__(FC_LINEAR_THREADS, fc_linear_tile_blocks(NT))
    many_kernel(const linear_params p) {
    float *logits = fc_shared<float>();
    int row_tile = (int)blockIdx.x * NT, tile = (int)blockIdx.y;
    if (p.part) {
        int ranges = FC_RANGES / (int)gridDim.z, range = (int)blockIdx.z * ranges;
        fc_linear_sink to = {NULL, p.part, p.x.T, p.N, p.w.first};
        fc_linear_tile_ranges<CODE, NT, STAGES>(p.w, p.x, tile, row_tile, range, range + ranges,
                                                (unsigned char *)logits, to);
        return;
    }
    fc_linear_tile<CODE, NT, STAGES>(p.w, p.x, tile, row_tile,
                                     (unsigned char *)(logits + NT * FC_X_ROWS * FC_LINEAR_PITCH), logits);
    int out = (int)threadIdx.x, o = tile * FC_LINEAR_TILE + out,
        rows = min(NT * FC_X_ROWS, p.x.T - row_tile * FC_X_ROWS);
    if (o >= p.w.N) return;
    o += p.w.first;
    float bias = p.bias ? p.bias[o] : 0.0f;
    for (int r = 0; r < rows; r++)
        p.y[(size_t)(row_tile * FC_X_ROWS + r) * p.N + o] = logits[r * FC_LINEAR_PITCH + out] + bias;
}

template <int CODE, int NT, int STAGES> static fc_status launch_many(fc_stream s, const linear_params &all) {
    linear_params p = all;
    dim3 grid((unsigned)fc_div_up(p.x.T, NT * FC_X_ROWS), (unsigned)fc_div_up(p.w.N, FC_LINEAR_TILE));
    size_t shared = fc_linear_tile_ring(&p.w, NT, STAGES, p.x.precise);
    if (p.part) /* not for less than twice the blocks: the sums of ranges have to be written and read */
        while (grid.z < FC_RANGES && (int)(grid.x * grid.y * grid.z) * 2 <= s->sms) grid.z *= 2;
    if (grid.z == 1) {
        p.part = NULL;
        shared += fc_linear_tile_logits(NT);
    }
    FC_TRY(fc_launch(s, "linear", many_kernel<CODE, NT, STAGES>, grid, FC_LINEAR_THREADS, shared, p));
    if (!p.part) return FC_OK;
    return fc_linear_fold_parts(s, &p.w, p.part, p.bias, p.y, p.x.T, p.N);
}

/* 64 rows a block where there are as many and their logits fit beside the ring, else 32, or 16 beside a smaller one. */
template <int CODE> static fc_status run_many(fc_stream s, const linear_params &p) {
    constexpr int stages = fc_linear_tile_stages(CODE);
    if (p.x.T > 32 && fc_linear_tile_shared(&p.w, 8, stages, p.x.precise) <= s->shared_max)
        return launch_many<CODE, 8, stages>(s, p);
    if (fc_linear_tile_shared(&p.w, 4, stages, p.x.precise) <= s->shared_max) return launch_many<CODE, 4, stages>(s, p);
    return launch_many<CODE, 2, fc_linear_tile_few_stages(CODE)>(s, p);
}

/* ---- F32 and F16: a warp per output and 8 rows */

template <int CODE> static __global__ void float_kernel(const linear_params p) {
    int o = (int)blockIdx.x * FLOAT_OUTPUTS + (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    int row = (int)blockIdx.y * FC_X_ROWS, rows = min((int)FC_X_ROWS, p.x.T - row);
    float v[FC_X_ROWS];
    if (o >= p.w.N) return;
    fc_linear_float<CODE>(v, p.w, p.x, o, row, rows);
    o += p.w.first;
    if (lane < rows) p.y[(size_t)(row + lane) * p.N + o] = fc_pick_of_8(v, lane) + (p.bias ? p.bias[o] : 0.0f);
}

template <int CODE> static fc_status run_float(fc_stream s, const linear_params &p) {
    dim3 grid((unsigned)fc_div_up(p.w.N, FLOAT_OUTPUTS), (unsigned)fc_div_up(p.x.T, FC_X_ROWS));
    return fc_launch(s, "linear", float_kernel<CODE>, grid, FLOAT_OUTPUTS * 32, 0, p);
}

/* ---- all parts, a piece of rows at a time */

template <int CODE> static fc_status run_codes(fc_stream s, const linear_params &p) {
    return p.x.T <= FEW_ROWS ? run_few<CODE>(s, p) : run_many<CODE>(s, p);
}

static fc_status run_part(fc_stream s, const linear_params &p) {
    switch (p.w.code) {
    case FC_CODE_F32: return run_float<FC_CODE_F32>(s, p);
    case FC_CODE_F16: return run_float<FC_CODE_F16>(s, p);
    case FC_CODE_BF16: return run_codes<FC_CODE_BF16>(s, p);
    case FC_CODE_F8: return run_codes<FC_CODE_F8>(s, p);
    case FC_CODE_F8B: return run_codes<FC_CODE_F8B>(s, p);
    case FC_CODE_8: return run_codes<FC_CODE_8>(s, p);
    case FC_CODE_8H: return run_codes<FC_CODE_8H>(s, p);
    case FC_CODE_4: return run_codes<FC_CODE_4>(s, p);
    default: return FC_FAIL(FC_ERR_INTERNAL, "linear: code %d", (int)p.w.code);
    }
}

static fc_status check(const fc_linear_args *a) {
    const fc_rmsnorm_args *norm = a->norm;
    const fc_glu_args *glu = a->glu;
    int K = a->w->K, act = FC_ACT_SILU;
    if (a->T < 1) return FC_FAIL(FC_ERR_ARG, "linear: T=%d; it must be at least 1", a->T);
    if (norm && glu) return FC_FAIL(FC_ERR_ARG, "linear: x from a norm and from a gated unit");
    if (norm && (norm->T != a->T || norm->D != K || norm->rows))
        return FC_FAIL(FC_ERR_ARG, "linear: x is [%d,%d], its norm's y [%d,%d]%s", a->T, K, norm->T, norm->D,
                       norm->rows ? " of listed rows" : "");
    if (glu) memcpy(&act, &glu->act, sizeof act); /* C's enum may hold any number, which C++ may not load as one */
    if (glu && (glu->T != a->T || glu->F != K || (act != FC_ACT_SILU && act != FC_ACT_GELU_TANH)))
        return FC_FAIL(FC_ERR_ARG, "linear: x is [%d,%d], its gated unit's y [%d,%d], activation %d", a->T, K, glu->T,
                       glu->F, act);
    return FC_OK;
}

static int least(int a, int b) { return a < b ? a : b; }

extern "C" fc_status fc_linear_cuda(fc_stream s, const fc_linear_args *a) {
    const fc_weight_cuda *w = fc_weight_cuda_of(a->w);
    int rows, n;
    bool lt;
    FC_TRY(check(a));
    FC_TRY(fc_linear_lt_takes(s, a, &lt));
    if (lt) return fc_linear_lt(s, a);
    FC_TRY(fc_linear_x_rows(s, "linear", a->w, a->T, a->precise, &rows));
    for (int first = 0; first < a->T; first += n) {
        fc_linear_x_from from = {a->x, a->norm, a->glu, first, 0, a->precise};
        linear_params p = {};
        size_t x_bytes;
        n = from.T = least(rows, a->T - first);
        if (fc_linear_wgmma_takes(s, a, n)) {
            FC_TRY(fc_linear_wgmma(s, a, first, n));
            continue;
        }
        FC_TRY(fc_linear_x_make(s, a->w, &from, s->workspace, &p.x));
        x_bytes = (fc_linear_x_bytes(a->w, n, a->precise) + 255) & ~(size_t)255;
        p.N = a->w->N;
        p.y = a->y + (size_t)first * (size_t)p.N;
        p.bias = a->bias;
        if (n > FEW_ROWS && n <= FC_SPLIT_ROWS && x_bytes + fc_linear_part_bytes(n, p.N) <= s->workspace_bytes)
            p.part = (float *)(s->workspace + x_bytes);
        for (int i = 0; i < w->n_parts; i++) {
            p.w = w->parts[i];
            FC_TRY(run_part(s, p));
        }
    }
    return FC_OK;
}

extern "C" size_t fc_linear_workspace_cuda(int T, int K, int N) {
    int rows = least(T > 0 ? T : 1, FC_X_ROWS_AT_ONCE), steps = fc_linear_steps(K > 0 ? K : 1);
    size_t eights = (size_t)fc_div_up(rows, FC_X_ROWS) * (size_t)steps;
    size_t x = eights * (FC_X_CHUNK_PRECISE + FC_X_ROWS * FC_STEP * sizeof(float)); /* in both forms */
    return x + 256 + fc_linear_part_bytes(least(rows, FC_SPLIT_ROWS), N > 0 ? N : 0);
}
