#include "kernels/head/head_tiles.cuh"

typedef struct {
    fc_head_piece p;
    double *lse; /* [R] of the call */
    int R, V;
    unsigned long long *trouble;
    float
        *lp; /* [M] where ranks share the vocabulary: the call's; p.lp then has this rank's logits, 0 of the others' */
} lse_params;

static __global__ void zero_kernel(const lse_params q) {
    int m = (int)(blockIdx.x * FC_HEAD_ROW_THREADS + threadIdx.x);
    if (m < q.p.M) q.p.lp[m] = 0.0f;
}

/* Logits, summed over ranks, become log-probs. */
static __global__ void finish_kernel(const lse_params q) {
    int m = (int)(blockIdx.x * FC_HEAD_ROW_THREADS + threadIdx.x);
    if (m >= q.p.M || q.p.row[m] < 0 || q.p.row[m] >= q.R || q.p.id[m] < 0 || q.p.id[m] >= q.V) return;
    q.lp[m] = (float)((double)q.p.lp[m] - q.lse[q.p.row[m]]);
}

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
        if (p.id[m] < 0 || p.id[m] >= q.V) fc_complain(q.trouble, FC_TROUBLE_HEAD_LSE_ID, r);
        else if (!q.lp) p.lp[m] = (float)((double)p.lp[m] - shared->lse);
    }
}

static size_t row_bytes(int V) { return V < 1 ? 0 : 2 * sizeof(float) * (size_t)fc_tile_count(V); }

static dim3 all_asked(int M) { return dim3((unsigned)fc_div_up(M, FC_HEAD_ROW_THREADS)); }

/* The vocabulary is shared: tiles go to every rank, and so do the logits that were asked for. */
static fc_status shared_lse(fc_stream s, const fc_head_lse_args *a, lse_params q) {
    fc_head_piece mine = q.p;
    int all = fc_head_tiles_all(a->w), most = fc_head_tiles_most(s, a->w), rows;
    FC_TRY(fc_head_rows(s, "head_lse", a->w, a->R, a->precise, row_bytes(a->w->of) + 2 * sizeof(float) * (size_t)most,
                        sizeof(float) * (size_t)a->M, &rows));
    q.p.tiles = all;
    q.p.top = (float *)(s->workspace + fc_head_x_bytes(a->w, rows, a->precise));
    q.p.sum = q.p.top + (size_t)rows * (size_t)all;
    mine.top = q.p.sum + (size_t)rows * (size_t)all;
    mine.sum = mine.top + (size_t)rows * (size_t)most;
    q.lp = a->lp;
    q.p.lp = mine.lp = mine.sum + (size_t)rows * (size_t)most;
    FC_TRY(fc_launch(s, "head_lse", zero_kernel, all_asked(a->M), FC_HEAD_ROW_THREADS, 0, q));
    for (int n; q.p.first < a->R; q.p.first += n) {
        n = rows < a->R - q.p.first ? rows : a->R - q.p.first;
        mine.first = q.p.first;
        FC_TRY(fc_head_make_x(s, a->w, a->x, n, a->precise, false, &mine));
        q.p.x = mine.x;
        FC_TRY(fc_head_sum_tiles(s, "head_lse", &mine));
        FC_TRY(fc_head_join_tiles(s, a->w, &mine, q.p.top, q.p.sum, NULL));
        FC_TRY(fc_launch(s, "head_lse", fold_rows, dim3((unsigned)n), FC_HEAD_ROW_THREADS, sizeof(fc_row_lse), q));
    }
    const fc_sum_args sum = {q.p.lp, (size_t)a->M};
    FC_TRY(fc_sum_cuda(s, &sum));
    return fc_launch(s, "head_lse", finish_kernel, all_asked(a->M), FC_HEAD_ROW_THREADS, 0, q);
}

extern "C" fc_status fc_head_lse_cuda(fc_stream s, const fc_head_lse_args *a) {
    lse_params q = {{}, a->lse, a->R, a->w->of, s->trouble, NULL};
    fc_head_piece *p = &q.p;
    int rows;
    if (a->R < 1 || a->M < 0) return FC_FAIL(FC_ERR_ARG, "head_lse: R=%d M=%d; R must be at least 1", a->R, a->M);
    FC_TRY(fc_head_piece_of(s, "head_lse", a->w, a->cap, p));
    p->row = a->row;
    p->id = a->id;
    p->M = a->M;
    if (fc_weight_shared(a->w)) return shared_lse(s, a, q);
    FC_TRY(fc_head_rows(s, "head_lse", a->w, a->R, a->precise, row_bytes(a->w->N), 0, &rows));
    p->top = (float *)(s->workspace + fc_head_x_bytes(a->w, rows, a->precise));
    p->sum = p->top + (size_t)rows * (size_t)p->tiles;
    p->lp = a->lp;
    for (int n; p->first < a->R; p->first += n) {
        n = rows < a->R - p->first ? rows : a->R - p->first;
        FC_TRY(fc_head_make_x(s, a->w, a->x, n, a->precise, false, p));
        FC_TRY(fc_head_sum_tiles(s, "head_lse", p));
        FC_TRY(fc_launch(s, "head_lse", fold_rows, dim3((unsigned)n), FC_HEAD_ROW_THREADS, sizeof(fc_row_lse), q));
    }
    return FC_OK;
}

extern "C" size_t fc_head_lse_workspace_cuda(int R, int D, int V) { return fc_head_workspace(R, D, row_bytes(V), 0); }
