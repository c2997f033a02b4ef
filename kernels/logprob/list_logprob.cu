#include "kernels/logprob/tile.cuh"

#include <limits.h>

extern "C" {
#include "kernels/logprob/list_logprob.h"
}

enum { THREADS = 256, WARPS = THREADS / FC_WARP, GATHER_BLOCKS = 8 };

typedef struct {
    fc_list_logprob_args a;
    int first, tiles; /* of V */
    unsigned char *memory;
    unsigned long long *trouble;
} list_params;

struct list_shared {
    float buf[WARPS][FC_TILE];
    fc_row_lse lse;
    int votes[FC_WARPS_MAX];
};

/* tile, begin, top and sum of the tiles that a list can touch. */
static __host__ __device__ __forceinline__ size_t row_bytes(int tiles) { return 16 * (size_t)tiles + 16; }

/* A block per list. */
static __global__ void list_rows(const list_params p) {
    list_shared *m = fc_shared<list_shared>();
    int i = (int)blockIdx.x, r = p.first + i, warp = (int)threadIdx.x / FC_WARP;
    const fc_list_row *row = p.a.rows + r;
    int32_t *tile = (int32_t *)(p.memory + (size_t)i * row_bytes(p.tiles)), *begin = tile + p.tiles;
    float *top = (float *)(begin + p.tiles + 1), *sum = top + p.tiles;
    fc_line l = {p.a.value + row->values, p.a.ids + row->ids, tile, begin, p.a.V, row->n_ids, -1};
    if (row->n_ids > 0 && row->ids >= 0 && row->values >= 0)
        l.n_tiles = fc_list_cut(l.id, l.n, l.V, tile, begin, m->votes);
    if (l.n_tiles < 0) {
        if (threadIdx.x == 0) fc_complain(p.trouble, FC_TROUBLE_LIST_IDS, row->row);
        return;
    }
    for (int k = warp; k < l.n_tiles; k += WARPS) {
        float v[FC_TILE_LANE], most, all;
        fc_line_load(v, &l, k, m->buf[warp]);
        most = fc_tile_top(v);
        all = fc_tile_sum(v, most, 1.0f);
        if (fc_lane() == 0) {
            top[k] = most;
            sum[k] = all;
        }
    }
    __syncthreads();
    if (warp == 0) {
        fc_row_lse lse = fc_tops_lse(top, sum, l.n_tiles, NULL);
        if (fc_lane() == 0) m->lse = lse;
    }
    __syncthreads();
    if (p.a.lse && threadIdx.x == 0) p.a.lse[r] = m->lse.lse;
    if (p.a.lp)
        for (int k = (int)threadIdx.x; k < l.n; k += THREADS)
            p.a.lp[row->values + k] = (float)((double)l.x[k] - m->lse.lse);
}

static fc_status check(const char *what, int n_rows, int V) {
    if (n_rows < 0 || n_rows > INT_MAX / 4 || V < 1)
        return FC_FAIL(FC_ERR_ARG, "%s: %d rows, V=%d; V must be at least 1", what, n_rows, V);
    return FC_OK;
}

extern "C" fc_status fc_list_logprob_cuda(fc_stream s, const fc_list_logprob_args *a) {
    list_params p = {*a, 0, 0, NULL, s->trouble};
    void *memory;
    int rows;
    FC_TRY(check("list_logprob", a->n_rows, a->V));
    p.tiles = fc_tile_count(a->V);
    FC_TRY(fc_cuda_workspace(s, row_bytes(p.tiles), "list_logprob", &memory));
    p.memory = (unsigned char *)memory;
    rows = (int)(s->workspace_bytes / row_bytes(p.tiles) < INT_MAX ? s->workspace_bytes / row_bytes(p.tiles) : INT_MAX);
    for (; p.first < a->n_rows; p.first += rows) {
        if (rows > a->n_rows - p.first) rows = a->n_rows - p.first;
        FC_TRY(fc_launch(s, "list_logprob", list_rows, dim3((unsigned)rows), THREADS, sizeof(list_shared), p));
    }
    return FC_OK;
}

extern "C" size_t fc_list_logprob_workspace_cuda(int n_rows, int V) {
    return n_rows < 1 || V < 1 ? 0 : (size_t)n_rows * row_bytes(fc_tile_count(V));
}

/* ---- list_gather */

typedef struct {
    fc_list_gather_args a;
    unsigned long long *trouble;
} gather_params;

/* GATHER_BLOCKS blocks have a list. */
static __global__ void gather_rows(const gather_params p) {
    const fc_list_row *row = p.a.rows + blockIdx.x;
    const int32_t *id = p.a.ids + row->ids;
    const float *x = p.a.logits + (size_t)row->row * (size_t)p.a.V;
    int part = (int)blockIdx.y * THREADS + (int)threadIdx.x;
    if (row->row < 0 || row->row >= p.a.R) {
        if (part == 0) fc_complain(p.trouble, FC_TROUBLE_GATHER_ROW, row->row);
        return;
    }
    if (row->n_ids < 1 || row->ids < 0 || row->values < 0) {
        if (part == 0) fc_complain(p.trouble, FC_TROUBLE_GATHER_IDS, row->row);
        return;
    }
    for (int i = part; i < row->n_ids; i += GATHER_BLOCKS * THREADS) {
        if (id[i] < (i ? id[i - 1] + 1 : 0) || id[i] >= p.a.V) fc_complain(p.trouble, FC_TROUBLE_GATHER_IDS, row->row);
        else p.a.value[row->values + i] = x[id[i]];
    }
}

extern "C" fc_status fc_list_gather_cuda(fc_stream s, const fc_list_gather_args *a) {
    gather_params p = {*a, s->trouble};
    FC_TRY(check("list_gather", a->n_rows, a->V));
    return fc_launch(s, "list_gather", gather_rows, dim3((unsigned)a->n_rows, GATHER_BLOCKS), THREADS, 0, p);
}
