#include "kernels/head/head_tiles.cuh"

typedef struct {
    fc_head_piece p;
    double *lse; /* [R] of the call */
    int R;
    unsigned long long *trouble;
} lse_params;

/* A block per row: its tiles folded, and what was asked for, which the tiles have left in lp. */
static __global__ void fold_rows(const lse_params q) {
    const fc_head_piece &p = q.p;
    fc_row_lse *shared = fc_shared<fc_row_lse>();
    int i = (int)blockIdx.x, r = p.first + i, stride = (int)gridDim.x * FC_HEAD_ROW_THREADS;
    size_t at = (size_t)i * (size_t)p.tiles;
    for (int m = i * FC_HEAD_ROW_THREADS + (int)threadIdx.x; m < p.M; m += stride)
        if (p.row[m] < (m ? p.row[m - 1] : 0) || p.row[m] >= q.R) fc_complain(q.trouble, FC_TROUBLE_HEAD_LSE_ROW, m);
    if (threadIdx.x < FC_WARP) {
        fc_row_lse lse = fc_tops_lse(p.top + at, p.sum + at, p.tiles, NULL);
        if (fc_lane() == 0) *shared = lse;
    }
    __syncthreads();
    if (threadIdx.x == 0) q.lse[r] = shared->lse;
    if (p.M == 0) return;
    for (int m = fc_list_from(p.row, p.M, r) + (int)threadIdx.x; m < p.M && p.row[m] == r; m += FC_HEAD_ROW_THREADS) {
        if (p.id[m] < 0 || p.id[m] >= p.w.N) fc_complain(q.trouble, FC_TROUBLE_HEAD_LSE_ID, r);
        else p.lp[m] = (float)((double)p.lp[m] - shared->lse);
    }
}

static size_t row_bytes(int V) { return V < 1 ? 0 : 2 * sizeof(float) * (size_t)fc_tile_count(V); }

extern "C" fc_status fc_head_lse_cuda(fc_stream s, const fc_head_lse_args *a) {
    lse_params q = {{}, a->lse, a->R, s->trouble};
    fc_head_piece *p = &q.p;
    int rows;
    if (a->R < 1 || a->M < 0) return FC_FAIL(FC_ERR_ARG, "head_lse: R=%d M=%d; R must be at least 1", a->R, a->M);
    FC_TRY(fc_head_piece_of("head_lse", a->w, a->cap, p));
    FC_TRY(fc_head_rows(s, "head_lse", a->w, a->R, a->precise, row_bytes(a->w->N), 0, &rows));
    p->top = (float *)(s->workspace + fc_head_x_bytes(a->w, rows, a->precise));
    p->sum = p->top + (size_t)rows * (size_t)p->tiles;
    p->lp = a->lp;
    p->row = a->row;
    p->id = a->id;
    p->M = a->M;
    for (int n; p->first < a->R; p->first += n) {
        n = rows < a->R - p->first ? rows : a->R - p->first;
        FC_TRY(fc_head_make_x(s, a->w, a->x, n, a->precise, p));
        FC_TRY(fc_head_sum_tiles(s, "head_lse", p));
        FC_TRY(fc_launch(s, "head_lse", fold_rows, dim3((unsigned)n), FC_HEAD_ROW_THREADS, sizeof(fc_row_lse), q));
    }
    return FC_OK;
}

extern "C" size_t fc_head_lse_workspace_cuda(int R, int D, int V) { return fc_head_workspace(R, D, row_bytes(V), 0); }
