#include "kernels/head/head_tiles.cuh"

/* A block has 256 ids and 8 NT rows. */
template <int CODE, int NT, int STAGES>
static __global__ void __launch_bounds__(FC_LINEAR_THREADS, 1) tile_kernel(const fc_head_piece p) {
    float *logits = fc_shared<float>();
    int row = (int)blockIdx.x * NT * FC_X_ROWS, rows = min(NT * FC_X_ROWS, p.x.T - row), tile = (int)blockIdx.y;
    fc_linear_tile<CODE, NT, STAGES>(p.w, p.x, tile, (int)blockIdx.x * NT,
                                     (unsigned char *)(logits + NT * FC_X_ROWS * FC_LINEAR_PITCH), logits);
    for (int r = (int)threadIdx.x / FC_WARP; r < rows; r += FC_LINEAR_WARPS) {
        float v[FC_TILE_LANE];
        fc_head_load(v, p, logits + r * FC_LINEAR_PITCH, tile);
        fc_head_sum_row(p, v, row + r, tile);
    }
    if (p.M > 0) fc_head_pick(p, logits, FC_LINEAR_PITCH, tile * FC_TILE, FC_TILE, row, rows, FC_LINEAR_THREADS);
}

fc_status fc_head_piece_of(fc_stream s, const char *what, const fc_weight *w, float cap, fc_head_piece *out) {
    const fc_weight_cuda *c = fc_weight_cuda_of(w);
    fc_head_piece p = {};
    if (!(cap >= 0.0f) || !isfinite(cap))
        return FC_FAIL(FC_ERR_ARG, "%s: cap=%g; it must be positive, or 0 for none", what, (double)cap);
    if (c->n_parts != 1)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: a matrix of %d tensors; it must be one", what, c->n_parts);
    if (fc_weight_shared(w) && !s->comm)
        return FC_FAIL(FC_ERR_INTERNAL, "%s: rows %d+%d of %d, and the stream is of no rank", what, w->first, w->N,
                       w->of);
    p.w = c->parts[0];
    p.cap = cap;
    if (cap > 0.0f) p.inv = 1.0f / cap;
    p.tiles = fc_tile_count(w->N);
    p.own = w->first / FC_TILE;
    *out = p;
    return FC_OK;
}

int fc_head_tiles_most(fc_stream s, const fc_weight *w) {
    return fc_weight_shared(w) ? fc_comm_most(fc_head_tiles_all(w), s->comm->ranks) : fc_tile_count(w->N);
}

fc_status fc_head_join_tiles(fc_stream s, const fc_weight *w, const fc_head_piece *p, float *top, float *sum,
                             float *drawn) {
    const struct {
        float *to;
        const float *from;
    } arrays[] = {{top, p->top}, {sum, p->sum}, {drawn, p->drawn}};
    for (const auto &a : arrays) {
        const fc_join_args join = {a.to, a.from, p->x.T, fc_head_tiles_all(w), 1};
        if (a.to) FC_TRY(fc_join_cuda(s, &join));
    }
    return FC_OK;
}

static size_t lines(size_t bytes) { return (bytes + 255) & ~(size_t)255; }

/* x as chunks, then as tiles. */
static size_t chunks_bytes(const fc_weight *w, int R, bool precise) { return lines(fc_linear_x_bytes(w, R, precise)); }

size_t fc_head_x_bytes(const fc_weight *w, int R, bool precise) {
    return chunks_bytes(w, R, precise) + lines(fc_linear_tiles_bytes(R, w->K, precise));
}

fc_status fc_head_rows(fc_stream s, const char *what, const fc_weight *w, int R, bool precise, size_t row_bytes,
                       size_t fixed, int *out) {
    int n = R < FC_HEAD_ROWS_AT_ONCE ? R : FC_HEAD_ROWS_AT_ONCE;
    void *unused;
    while (n > 1 && fc_head_x_bytes(w, n, precise) + (size_t)n * row_bytes + fixed > s->workspace_bytes)
        n = n > FC_X_ROWS ? (n - 1) / FC_X_ROWS * FC_X_ROWS : n - 1;
    *out = n;
    return fc_cuda_workspace(s, fc_head_x_bytes(w, n, precise) + (size_t)n * row_bytes + fixed, what, &unused);
}

size_t fc_head_workspace(int R, int D, size_t row_bytes, size_t fixed) {
    int n = R < FC_HEAD_ROWS_AT_ONCE ? R : FC_HEAD_ROWS_AT_ONCE;
    return R < 1 ? 0
                 : fc_linear_workspace_cuda(n, D, 0) + fc_linear_tiles_bytes(n, D, true) + 512 + (size_t)n * row_bytes +
                       fixed;
}

fc_status fc_head_make_x(fc_stream s, const fc_weight *w, const float *x, int n, bool precise, bool again,
                         fc_head_piece *p) {
    const fc_linear_x_from from = {x, NULL, NULL, p->first, n, precise};
    unsigned char *tiles = s->workspace + chunks_bytes(w, n, precise);
    p->tile_rows = fc_head_wgmma_rows(s, w, n, precise);
    p->x.T = n;
    if (p->tile_rows) FC_TRY(fc_linear_x_make_tiles(s, w, &from, p->tile_rows, tiles, &p->x_tiles));
    if (p->tile_rows && !again) return FC_OK;
    return fc_linear_x_make(s, w, &from, s->workspace, &p->x);
}

template <int CODE, int NT, int STAGES> static fc_status launch(fc_stream s, const char *what, const fc_head_piece &p) {
    dim3 grid((unsigned)fc_div_up(p.x.T, NT * FC_X_ROWS), (unsigned)p.tiles);
    size_t shared = fc_linear_tile_shared(&p.w, NT, STAGES, p.x.precise);
    return fc_launch(s, what, tile_kernel<CODE, NT, STAGES>, grid, FC_LINEAR_THREADS, shared, p);
}

/* 64 rows a block where there are as many and their logits fit beside the ring, else 32, or 8; where a block may have
 * little, 16 or 8 beside a smaller ring. Q6_K's second scale a group is more than the registers of 64 rows leave. */
template <int CODE> static fc_status run(fc_stream s, const char *what, const fc_head_piece &p) {
    constexpr int most = CODE == FC_CODE_8H ? 4 : 8, stages = fc_linear_tile_stages(CODE),
                  few = fc_linear_tile_few_stages(CODE);
    auto fits = [&](int nt) { return fc_linear_tile_shared(&p.w, nt, stages, p.x.precise) <= s->shared_max; };
    if constexpr (CODE == FC_CODE_BF16)
        if (p.x.T <= FC_X_ROWS && !fits(1)) return launch<CODE, 1, few>(s, what, p);
    if (p.x.T <= FC_X_ROWS) return launch<CODE, 1, stages>(s, what, p);
    if constexpr (!fc_code_is_float(CODE))
        if (!fits(4)) return launch<CODE, 2, few>(s, what, p);
    if (p.x.T <= 4 * FC_X_ROWS || !fits(8)) return launch<CODE, 4, stages>(s, what, p);
    return launch<CODE, most, stages>(s, what, p);
}

fc_status fc_head_sum_tiles(fc_stream s, const char *what, const fc_head_piece *p) {
    if (p->tile_rows) return fc_head_wgmma(s, what, p);
    switch (p->w.code) {
    case FC_CODE_F32: return run<FC_CODE_F32>(s, what, *p);
    case FC_CODE_F16: return run<FC_CODE_F16>(s, what, *p);
    case FC_CODE_BF16: return run<FC_CODE_BF16>(s, what, *p);
    case FC_CODE_F8: return run<FC_CODE_F8>(s, what, *p);
    case FC_CODE_F8B: return run<FC_CODE_F8B>(s, what, *p);
    case FC_CODE_8: return run<FC_CODE_8>(s, what, *p);
    case FC_CODE_8H: return run<FC_CODE_8H>(s, what, *p);
    case FC_CODE_4: return run<FC_CODE_4>(s, what, *p);
    default: return FC_FAIL(FC_ERR_INTERNAL, "%s: code %d", what, (int)p->w.code);
    }
}
