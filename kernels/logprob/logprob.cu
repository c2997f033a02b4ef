#include "kernels/logprob/best.cuh"

extern "C" {
#include "kernels/logprob/logprob.h"
}

enum { SUM_THREADS = 256, LP_THREADS = 128, TOP_THREADS = 512, ROW_TILES = 4 };
enum { LP_TILE = 2 * sizeof(float), TOP_TILE = sizeof(uint64_t) + 2 * sizeof(float) }; /* workspace for a tile */

/* A piece of the rows, with what is known of their tiles. */
typedef struct {
    const float *logits;
    int V, tiles, first, n;
    float *top, *sum; /* [n][tiles] */
} rows_piece;

/* First of the n that belongs to row or a later one. */
static __device__ int first_of(const int32_t *of, int n, int row) { return fc_list_from(of, n, row); }

static __device__ bool asked(const int32_t *of, int n, int row) {
    int m = first_of(of, n, row);
    return m < n && of[m] == row;
}

/* Row `row` of the logits, place i of the piece: a warp has some tiles, ROW_TILES of them a block's length apart. */
static __device__ void sum_tiles(const rows_piece *w, int row, int i) {
    const float *x = w->logits + (size_t)row * (size_t)w->V;
    size_t at = (size_t)i * (size_t)w->tiles;
    int tile = (int)blockIdx.y * (SUM_THREADS / FC_WARP * ROW_TILES) + (int)threadIdx.x / FC_WARP;
    for (int k = 0; k < ROW_TILES && tile < w->tiles; k++, tile += SUM_THREADS / FC_WARP) {
        float v[FC_TILE_LANE], top, sum;
        fc_tile_load(v, x, w->V, tile);
        top = fc_tile_top(v);
        sum = fc_tile_sum(v, top, 1.0f);
        if (fc_lane() == 0) {
            w->top[at + tile] = top;
            w->sum[at + tile] = sum;
        }
    }
}

static dim3 sum_grid(const rows_piece *w) {
    return dim3((unsigned)w->n, (unsigned)fc_div_up(w->tiles, SUM_THREADS / FC_WARP * ROW_TILES));
}

static size_t row_bytes(int V, size_t tile_bytes) { return V < 1 ? 0 : tile_bytes * (size_t)fc_tile_count(V); }

/* The first piece of R rows, as long as there is workspace for; memory [n][tiles] of tile_bytes each. */
static fc_status first_piece(fc_stream s, const char *what, const float *logits, int R, int V, size_t tile_bytes,
                             rows_piece *out, void **memory) {
    size_t one = row_bytes(V, tile_bytes), rows = s->workspace_bytes / one;
    FC_TRY(fc_cuda_workspace(s, one, what, memory));
    *out = {logits, V, fc_tile_count(V), 0, rows < (size_t)R ? (int)rows : R, NULL, NULL};
    return FC_OK;
}

/* top and sum [n][tiles] each at memory. */
static void put_sums(rows_piece *w, void *memory) {
    w->top = (float *)memory;
    w->sum = w->top + (size_t)w->n * (size_t)w->tiles;
}

static void next_piece(rows_piece *w, int R) {
    w->first += w->n;
    if (w->n > R - w->first) w->n = R - w->first;
}

/* Of block's row by its first warp, for the block. */
static __device__ fc_row_lse row_lse(const rows_piece *w, int i, fc_row_lse *shared) {
    size_t at = (size_t)i * (size_t)w->tiles;
    if (threadIdx.x < FC_WARP) {
        fc_row_lse lse = fc_tops_lse(w->top + at, w->sum + at, w->tiles, NULL);
        if (fc_lane() == 0) *shared = lse;
    }
    __syncthreads();
    return *shared;
}

/* ---- logprob */

typedef struct {
    fc_logprob_args a;
    rows_piece w;
    unsigned long long *trouble;
} lp_params;

static __global__ void logprob_sums(const lp_params p) {
    int i = (int)blockIdx.x, row = p.w.first + i;
    if (asked(p.a.row, p.a.M, row)) sum_tiles(&p.w, row, i);
}

static __global__ void logprob_rows(const lp_params p) {
    int i = (int)blockIdx.x, row = p.w.first + i, stride = (int)gridDim.x * LP_THREADS;
    const float *x = p.a.logits + (size_t)row * (size_t)p.a.V;
    fc_row_lse lse;
    for (int m = i * LP_THREADS + (int)threadIdx.x; m < p.a.M; m += stride)
        if (p.a.row[m] < (m ? p.a.row[m - 1] : 0) || p.a.row[m] >= p.a.R)
            fc_complain(p.trouble, FC_TROUBLE_LOGPROB_ROW, m);
    if (!asked(p.a.row, p.a.M, row)) return;
    lse = row_lse(&p.w, i, fc_shared<fc_row_lse>());
    for (int m = first_of(p.a.row, p.a.M, row) + (int)threadIdx.x; m < p.a.M && p.a.row[m] == row; m += LP_THREADS) {
        int id = p.a.id[m];
        if (id >= p.a.V) fc_complain(p.trouble, FC_TROUBLE_LOGPROB_ID, row);
        else p.a.lp[m] = id < 0 ? NAN : (float)((double)x[id] - lse.lse);
    }
}

extern "C" fc_status fc_logprob_cuda(fc_stream s, const fc_logprob_args *a) {
    lp_params p = {*a, {}, s->trouble};
    void *memory;
    if (a->R < 1 || a->V < 1 || a->M < 0 || a->R > INT_MAX / 4)
        return FC_FAIL(FC_ERR_ARG, "logprob: R=%d V=%d M=%d; R and V must be at least 1", a->R, a->V, a->M);
    FC_TRY(first_piece(s, "logprob", a->logits, a->R, a->V, LP_TILE, &p.w, &memory));
    put_sums(&p.w, memory);
    for (; p.w.n > 0; next_piece(&p.w, a->R)) {
        FC_TRY(fc_launch(s, "logprob", logprob_sums, sum_grid(&p.w), SUM_THREADS, 0, p));
        FC_TRY(fc_launch(s, "logprob", logprob_rows, dim3((unsigned)p.w.n), LP_THREADS, sizeof(fc_row_lse), p));
    }
    return FC_OK;
}

extern "C" size_t fc_logprob_workspace_cuda(int R, int V) { return R < 1 ? 0 : (size_t)R * row_bytes(V, LP_TILE); }

/* ---- top_logprobs */

struct top_shared {
    float buf[TOP_THREADS / FC_WARP][FC_TILE];
    fc_best_shared best;
    fc_row_lse lse;
    int n;
    int32_t id[FC_TOP_LOGPROBS_MAX]; /* in any order */
    float x[FC_TOP_LOGPROBS_MAX];
};

typedef struct {
    fc_top_logprobs_args a;
    rows_piece w;
    uint64_t *ties; /* [n][tiles] */
    unsigned long long *trouble;
} top_params;

/* Place i of the piece's row of logits, -1 if there is none such. */
static __device__ int top_row(const top_params *p, int i) {
    int row = p->a.rows[p->w.first + i];
    return row < 0 || row > INT_MAX / 4 - 1 ? -1 : row;
}

static __global__ void top_sums(const top_params p) {
    int i = (int)blockIdx.x, row = top_row(&p, i);
    if (row >= 0) sum_tiles(&p.w, row, i);
}

/* What is kept, as it comes. */
static __device__ void gather_kept(const fc_line *l, const float *top, const fc_keep *keep, top_shared *m) {
    for (int k = (int)threadIdx.x / FC_WARP; k < l->n_tiles; k += TOP_THREADS / FC_WARP) {
        float v[FC_TILE_LANE];
        if (top[k] < keep->value) continue;
        fc_tile_load(v, l->x, l->V, k);
        for (int j = 0; j < FC_TILE_LANE; j++) {
            int id = k * FC_TILE + fc_lane() * FC_TILE_LANE + j, at;
            if (!fc_keeps(keep, v[j], id)) continue;
            at = atomicAdd(&m->n, 1);
            if (at >= FC_TOP_LOGPROBS_MAX) continue; /* never: the limit keeps n */
            m->id[at] = id;
            m->x[at] = v[j];
        }
    }
}

static __global__ void __launch_bounds__(TOP_THREADS) top_rows(const top_params p) {
    top_shared *m = fc_shared<top_shared>();
    int i = (int)blockIdx.x, r = p.w.first + i, row = top_row(&p, i), n;
    const float *top = p.w.top + (size_t)i * (size_t)p.w.tiles;
    fc_line line = {
        p.a.logits + (size_t)(row < 0 ? 0 : row) * (size_t)p.a.V, NULL, NULL, NULL, p.a.V, p.a.V, p.w.tiles};
    fc_row_lse lse;
    fc_keep keep;
    fc_best_limit limit;
    if (row < 0) {
        if (threadIdx.x == 0) fc_complain(p.trouble, FC_TROUBLE_TOP_ROW, r);
        return;
    }
    if (threadIdx.x == 0) m->n = 0;
    lse = row_lse(&p.w, i, &m->lse);
    if (lse.state != FC_ROW_OK) {
        for (int k = (int)threadIdx.x; k < p.a.n; k += TOP_THREADS) {
            p.a.ids[(size_t)r * (size_t)p.a.n + (size_t)k] = -1;
            p.a.lp[(size_t)r * (size_t)p.a.n + (size_t)k] = NAN;
        }
        return;
    }
    keep = fc_keep_all(lse.max, 1.0f);
    keep.value = fc_best_bound(top, p.w.tiles, p.a.n, &m->best);
    if (fc_best_find(&line, top, &keep, FC_BEST_COUNT, (uint64_t)p.a.n, 0, p.ties + (size_t)i * (size_t)p.w.tiles,
                     m->buf[threadIdx.x / FC_WARP], &m->best, &limit)) {
        keep.value = fc_best_value(limit.key);
        keep.id = limit.id;
    }
    gather_kept(&line, top, &keep, m);
    __syncthreads();
    n = m->n;
    for (int k = (int)threadIdx.x; k < n; k += TOP_THREADS) {
        size_t at = (size_t)r * (size_t)p.a.n;
        int better = 0;
        for (int o = 0; o < n; o++) better += m->x[o] > m->x[k] || (m->x[o] == m->x[k] && m->id[o] < m->id[k]);
        p.a.ids[at + (size_t)better] = m->id[k];
        p.a.lp[at + (size_t)better] = (float)((double)m->x[k] - lse.lse);
    }
}

extern "C" fc_status fc_top_logprobs_cuda(fc_stream s, const fc_top_logprobs_args *a) {
    top_params p = {*a, {}, NULL, s->trouble};
    void *memory;
    if (a->R < 1 || a->V < 1 || a->n < 1 || a->n > FC_TOP_LOGPROBS_MAX || a->n > a->V)
        return FC_FAIL(FC_ERR_ARG, "top_logprobs: R=%d V=%d n=%d; n is 1 to %d and at most V", a->R, a->V, a->n,
                       (int)FC_TOP_LOGPROBS_MAX);
    FC_TRY(first_piece(s, "top_logprobs", a->logits, a->R, a->V, TOP_TILE, &p.w, &memory));
    p.ties = (uint64_t *)memory;
    put_sums(&p.w, p.ties + (size_t)p.w.n * (size_t)p.w.tiles);
    for (; p.w.n > 0; next_piece(&p.w, a->R)) {
        FC_TRY(fc_launch(s, "top_logprobs", top_sums, sum_grid(&p.w), SUM_THREADS, 0, p));
        FC_TRY(fc_launch(s, "top_logprobs", top_rows, dim3((unsigned)p.w.n), TOP_THREADS, sizeof(top_shared), p));
    }
    return FC_OK;
}

extern "C" size_t fc_top_logprobs_workspace_cuda(int R, int V) {
    return R < 1 ? 0 : (size_t)R * row_bytes(V, TOP_TILE);
}
