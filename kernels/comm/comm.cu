#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "kernels/comm/comm.h"
}

enum { THREADS = 256 };

typedef struct {
    float *y;
    const float *room; /* [ranks,n] */
    size_t n;
    int ranks;
} sum_params;

static __global__ void sum_kernel(const sum_params p) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= p.n) return;
    float sum = p.room[i];
    for (int r = 1; r < p.ranks; r++) sum += p.room[(size_t)r * p.n + i];
    p.y[i] = sum;
}

typedef struct {
    fc_join_args a;    /* R rows of this piece */
    const float *room; /* [ranks, R * most] */
    int ranks, units, most;
} join_params;

/* A block per row, and per THREADS columns of it. */
static __global__ void join_kernel(const join_params p) {
    int row = (int)blockIdx.x, col = (int)(blockIdx.y * THREADS + threadIdx.x);
    if (col >= p.a.N) return;
    int rank = fc_comm_owner(p.units, p.ranks, col / p.a.unit);
    size_t own = (size_t)fc_comm_columns(&p.a, p.ranks, rank);
    size_t from = (size_t)(col - fc_comm_first(p.units, p.ranks, rank) * p.a.unit);
    p.a.y[(size_t)row * p.a.N + col] = p.room[(size_t)rank * p.a.R * p.most + (size_t)row * own + from];
}

extern "C" fc_status fc_sum_cuda(fc_stream s, const fc_sum_args *a) {
    fc_comm *c = s->comm;
    size_t piece;
    if (!c || c->ranks == 1) return FC_OK;
    piece = c->room_floats / (size_t)c->ranks;
    for (size_t at = 0, n; at < a->n; at += n) {
        n = a->n - at < piece ? a->n - at : piece;
        const sum_params p = {a->y + at, c->room, n, c->ranks};
        FC_TRY(c->gather(c, s, a->y + at, n, c->room));
        FC_TRY(fc_launch(s, "sum", sum_kernel, dim3((unsigned)((n + THREADS - 1) / THREADS)), THREADS, 0, p));
    }
    return FC_OK;
}

extern "C" fc_status fc_join_cuda(fc_stream s, const fc_join_args *a) {
    fc_comm *c = s->comm;
    int rows, own;
    if (!c) return FC_FAIL(FC_ERR_INTERNAL, "join: the stream is of no rank");
    if (a->R < 0 || a->N < 1 || a->unit < 1) return FC_FAIL(FC_ERR_ARG, "join: R=%d N=%d unit=%d", a->R, a->N, a->unit);
    join_params p = {*a, c->room, c->ranks, (a->N - 1) / a->unit + 1, 0};
    p.most = fc_comm_most(p.units, c->ranks) * a->unit;
    own = fc_comm_columns(a, c->ranks, c->rank);
    rows = (int)(c->room_floats / ((size_t)c->ranks * (size_t)p.most));
    if (rows < 1)
        return FC_FAIL(FC_ERR_MEM, "join: a row of %d ranks with %d columns each; %zu floats are reserved", c->ranks,
                       p.most, c->room_floats);
    for (int at = 0; at < a->R; at += p.a.R) {
        p.a.R = a->R - at < rows ? a->R - at : rows;
        p.a.y = a->y + (size_t)at * (size_t)a->N;
        FC_TRY(c->gather(c, s, a->x + (size_t)at * (size_t)own, (size_t)p.a.R * (size_t)p.most, c->room));
        FC_TRY(fc_launch(s, "join", join_kernel, dim3((unsigned)p.a.R, (unsigned)fc_div_up(a->N, THREADS)), THREADS, 0,
                         p));
    }
    return FC_OK;
}
