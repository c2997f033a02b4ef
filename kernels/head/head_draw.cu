/* A piece of rows: tiles summed; a block a row that folds them and finds its members' tiles; a block a member that
 * computes its tile again, for the row's later members that fell there too. */
#include "kernels/head/head_tiles.cuh"

#include "kernels/draw/draw_tree.cuh"

extern "C" {
#include "engine/base/rng.h"
}

enum { ROW_WARPS = FC_HEAD_ROW_THREADS / FC_WARP };

/* What is known of a row when its tiles have been folded. */
typedef struct {
    double lse;
    float max, scale;
    bool drawn, greedy; /* not drawn: it is refused, or broken */
    fc_row_state state;
} row_sum;

typedef struct {
    fc_head_piece p;
    row_sum *sums; /* [p.x.T] */
    double *run;   /* [p.x.T,p.tiles] running totals at the row's temperature */
    int32_t *tile; /* [M] where a member's number fell */
    const fc_draw_member *members;
    int32_t *token;
    float *logprob;
    int M;
    int own, own_tiles; /* of the vocabulary's tiles, p.tiles, what w has */
    float *share;       /* [2M] where ranks share the vocabulary: tokens and log-probs, zero of other ranks' */
    unsigned long long *trouble;
} head_params;

static __device__ __forceinline__ double uniform(const fc_draw_member *k) {
    return fc_rng_uniform(k->seed, k->candidate, k->attempt, k->position);
}

/* Row r of the call. */
static __device__ fc_trouble row_trouble(const head_params &q, int r) {
    const fc_head_draw_row *w = q.p.rows + r;
    int before = r > 0 ? w[-1].member + w[-1].n_members : 0;
    if (w->member < before || w->member < 0 || w->n_members < 0 || w->n_members > q.M - w->member)
        return FC_TROUBLE_HEAD_DRAW_MEMBERS;
    if (!(w->temperature >= 0.0f && w->temperature <= FLT_MAX)) return FC_TROUBLE_HEAD_DRAW_TEMPERATURE;
    return FC_TROUBLE_NONE;
}

/* By one warp: first tile that holds the row's largest logit. */
static __device__ int greedy_tile(const float *top, int n, float max) {
    int k = fc_lane();
    unsigned there = 0;
    for (int from = 0; from < n && !there; from += FC_WARP, k += FC_WARP)
        there = __ballot_sync(FC_ALL_LANES, k < n && top[k] == max);
    return k - FC_WARP - fc_lane() + __ffs((int)there) - 1;
}

static __global__ void fold_rows(const head_params q) {
    const fc_head_piece &p = q.p;
    row_sum *shared = fc_shared<row_sum>();
    int i = (int)blockIdx.x, r = p.first + i, warp = (int)threadIdx.x / FC_WARP;
    size_t at = (size_t)i * (size_t)p.tiles;
    const fc_head_draw_row *w = p.rows + r;
    fc_trouble trouble = row_trouble(q, r);
    row_sum sum;
    if (warp == 0) {
        row_sum mine = {};
        if (trouble == FC_TROUBLE_NONE) {
            fc_row_lse lse = fc_tops_lse(p.top + at, p.sum + at, p.tiles, q.run + at);
            mine.state = lse.state;
            mine.lse = lse.lse;
            mine.max = lse.max;
            mine.greedy = w->temperature == 0.0f;
            mine.scale = mine.greedy ? 1.0f : fc_draw_scale(w->temperature);
            mine.drawn = lse.state == FC_ROW_OK;
            if (mine.drawn && mine.scale != 1.0f)
                (void)fc_tiles_fold(p.top + at, p.drawn + at, p.tiles, mine.max, mine.scale, q.run + at);
        }
        if (fc_lane() == 0) {
            if (trouble != FC_TROUBLE_NONE) fc_complain(q.trouble, trouble, r);
            *shared = q.sums[i] = mine;
        }
    }
    __syncthreads();
    sum = *shared;
    if (sum.state != FC_ROW_OK)
        for (int m = w->member + (int)threadIdx.x; m < w->member + w->n_members; m += FC_HEAD_ROW_THREADS) {
            q.token[m] = -(int32_t)sum.state;
            q.logprob[m] = NAN;
        }
    if (!sum.drawn) return;
    for (int m = w->member + warp; m < w->member + w->n_members; m += ROW_WARPS) {
        const double *run = q.run + at;
        int k = sum.greedy ? greedy_tile(p.top + at, p.tiles, sum.max)
                           : fc_draw_find_tile(run, p.tiles, uniform(q.members + m) * run[p.tiles - 1]);
        if (fc_lane() == 0) q.tile[m] = k;
        if (q.share && fc_lane() == 0) q.share[m] = q.share[q.M + m] = 0.0f;
    }
}

/* The piece's row of member m, -1: it is of another piece, or of none. Members of rows rise. */
static __device__ int row_of(const head_params &q, int m) {
    const fc_head_draw_row *w = q.p.rows + q.p.first;
    int lo = 0, hi = q.p.x.T;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (w[mid].member <= m) lo = mid + 1;
        else hi = mid;
    }
    return lo > 0 && m - w[lo - 1].member < w[lo - 1].n_members ? lo - 1 : -1;
}

/* A place of the tile for member m; v the lane's logits of the tile. */
static __device__ int place_of(const head_params &q, const row_sum &sum, const double *run, int k, float top, int m,
                               const float v[FC_TILE_LANE]) {
    float w[FC_TILE_LANE];
    int best = FC_TILE;
    if (!sum.greedy) {
        fc_tile_weigh(w, v, top, sum.scale);
        return fc_draw_tree_find(w, fc_draw_left(run, k, uniform(q.members + m) * run[q.p.tiles - 1]),
                                 fc_tile_factor(top, sum.max, sum.scale));
    }
    for (int j = FC_TILE_LANE - 1; j >= 0; j--)
        if (v[j] == sum.max) best = fc_lane() * FC_TILE_LANE + j;
    return fc_warp_min(best);
}

struct again_shared {
    unsigned earlier; /* votes of the warps: a member before this one fell into the tile */
    unsigned unused[31];
    float logits[FC_X_ROWS * FC_LINEAR_PITCH]; /* the ring follows */
};

template <int CODE, int STAGES>
static __global__ void __launch_bounds__(FC_LINEAR_THREADS, 1) again_kernel(const head_params q) {
    const fc_head_piece &p = q.p;
    again_shared *s = fc_shared<again_shared>();
    int m = (int)blockIdx.x, i = row_of(q, m), end, k;
    row_sum sum;
    float v[FC_TILE_LANE];
    if (i < 0) return;
    sum = q.sums[i];
    if (!sum.drawn) return;
    k = q.tile[m];
    if (k < q.own || k >= q.own + q.own_tiles) return; /* another rank's; else where members lie over one another */
    if (threadIdx.x == 0) s->earlier = 0;
    __syncthreads();
    for (int e = p.rows[p.first + i].member + (int)threadIdx.x; e < m; e += FC_LINEAR_THREADS)
        if (q.tile[e] == k) atomicOr(&s->earlier, 1u);
    __syncthreads();
    if (s->earlier) return;
    fc_linear_tile<CODE, 1, STAGES>(p.w, p.x, k - q.own, i / FC_X_ROWS, (unsigned char *)(s + 1), s->logits);
    fc_head_load(v, p, s->logits + i % FC_X_ROWS * FC_LINEAR_PITCH, k - q.own);
    end = p.rows[p.first + i].member + p.rows[p.first + i].n_members;
    for (int e = m + (int)threadIdx.x / FC_WARP; e < end; e += FC_LINEAR_WARPS) {
        size_t at = (size_t)i * (size_t)p.tiles;
        int place;
        if (q.tile[e] != k) continue;
        place = place_of(q, sum, q.run + at, k, p.top[at + (size_t)k], e, v);
        if (fc_lane() != place / FC_TILE_LANE) continue;
        int token = k * FC_TILE + place;
        float lp = (float)((double)fc_head_cap(p, s->logits[i % FC_X_ROWS * FC_LINEAR_PITCH + place]) - sum.lse);
        if (q.share) {
            q.share[e] = (float)token;
            q.share[q.M + e] = lp;
        } else {
            q.token[e] = token;
            q.logprob[e] = lp;
        }
    }
}

/* A block a row: what ranks have drawn for its members, summed. */
static __global__ void take_kernel(const head_params q) {
    int i = (int)blockIdx.x, r = q.p.first + i;
    const fc_head_draw_row *w = q.p.rows + r;
    if (!q.sums[i].drawn) return;
    for (int m = w->member + (int)threadIdx.x; m < w->member + w->n_members; m += FC_HEAD_ROW_THREADS) {
        q.token[m] = (int32_t)q.share[m];
        q.logprob[m] = q.share[q.M + m];
    }
}

template <int CODE, int STAGES> static size_t again_bytes(const head_params &q) {
    return sizeof(again_shared) + fc_linear_tile_ring(&q.p.w, 1, STAGES, q.p.x.precise);
}

template <int CODE, int STAGES> static fc_status launch_again(fc_stream s, const head_params &q) {
    return fc_launch(s, "head_draw", again_kernel<CODE, STAGES>, dim3((unsigned)q.M), FC_LINEAR_THREADS,
                     again_bytes<CODE, STAGES>(q), q);
}

template <int CODE> static fc_status draw_again(fc_stream s, const head_params &q) {
    constexpr int stages = fc_linear_tile_stages(CODE);
    if constexpr (CODE == FC_CODE_BF16)
        if (again_bytes<CODE, stages>(q) > s->shared_max)
            return launch_again<CODE, fc_linear_tile_few_stages(CODE)>(s, q);
    return launch_again<CODE, stages>(s, q);
}

static fc_status run_again(fc_stream s, const head_params &q) {
    switch (q.p.w.code) {
    case FC_CODE_F32: return draw_again<FC_CODE_F32>(s, q);
    case FC_CODE_F16: return draw_again<FC_CODE_F16>(s, q);
    case FC_CODE_BF16: return draw_again<FC_CODE_BF16>(s, q);
    case FC_CODE_F8: return draw_again<FC_CODE_F8>(s, q);
    case FC_CODE_F8B: return draw_again<FC_CODE_F8B>(s, q);
    case FC_CODE_8: return draw_again<FC_CODE_8>(s, q);
    case FC_CODE_8H: return draw_again<FC_CODE_8H>(s, q);
    case FC_CODE_4: return draw_again<FC_CODE_4>(s, q);
    default: return FC_FAIL(FC_ERR_INTERNAL, "head_draw: code %d", (int)q.p.w.code);
    }
}

static size_t row_bytes(int V) {
    return V < 1 ? 0 : sizeof(row_sum) + (sizeof(double) + 3 * sizeof(float)) * (size_t)fc_tile_count(V);
}

/* What a rank has of the tiles becomes all of them, in q. */
static fc_status join(fc_stream s, const fc_head_draw_args *a, const fc_head_piece &mine, head_params *q) {
    q->p.x = mine.x;
    return fc_head_join_tiles(s, a->w, &mine, q->p.top, q->p.sum, q->p.drawn);
}

static fc_status take(fc_stream s, const head_params &q) {
    const fc_sum_args sum = {q.share, 2 * (size_t)q.M};
    FC_TRY(fc_sum_cuda(s, &sum));
    return fc_launch(s, "head_draw", take_kernel, dim3((unsigned)q.p.x.T), FC_HEAD_ROW_THREADS, 0, q);
}

extern "C" fc_status fc_head_draw_cuda(fc_stream s, const fc_head_draw_args *a) {
    const bool shared = fc_weight_shared(a->w);
    head_params q = {};
    fc_head_piece *p = &q.p, mine;
    int rows, most;
    size_t cells, fixed = (shared ? 12 : 4) * (size_t)a->M;
    if (a->R < 1 || a->M < 0) return FC_FAIL(FC_ERR_ARG, "head_draw: R=%d M=%d; R must be at least 1", a->R, a->M);
    FC_TRY(fc_head_piece_of(s, "head_draw", a->w, a->cap, p));
    q.own = p->own;
    q.own_tiles = p->tiles;
    mine = *p;
    p->tiles = fc_head_tiles_all(a->w);
    most = shared ? fc_head_tiles_most(s, a->w) : 0;
    FC_TRY(fc_head_rows(s, "head_draw", a->w, a->R, a->precise, row_bytes(a->w->of) + 3 * sizeof(float) * (size_t)most,
                        fixed, &rows));
    cells = (size_t)rows * (size_t)p->tiles;
    q.sums = (row_sum *)(s->workspace + fc_head_x_bytes(a->w, rows, a->precise));
    q.run = (double *)(q.sums + rows);
    p->top = (float *)(q.run + cells);
    p->sum = p->top + cells;
    p->drawn = p->sum + cells;
    mine.top = p->drawn + cells;
    mine.sum = mine.top + (size_t)rows * (size_t)most;
    mine.drawn = mine.sum + (size_t)rows * (size_t)most;
    q.tile = (int32_t *)(mine.drawn + (size_t)rows * (size_t)most);
    if (shared) q.share = (float *)(q.tile + a->M);
    p->rows = mine.rows = a->rows;
    q.members = a->members;
    q.token = a->token;
    q.logprob = a->logprob;
    q.M = a->M;
    q.trouble = s->trouble;
    for (int n; p->first < a->R; p->first += n) {
        n = rows < a->R - p->first ? rows : a->R - p->first;
        mine.first = p->first;
        FC_TRY(fc_head_make_x(s, a->w, a->x, n, a->precise, true, shared ? &mine : p));
        FC_TRY(fc_head_sum_tiles(s, "head_draw", shared ? &mine : p));
        if (shared) FC_TRY(join(s, a, mine, &q));
        FC_TRY(fc_launch(s, "head_draw", fold_rows, dim3((unsigned)n), FC_HEAD_ROW_THREADS, sizeof(row_sum), q));
        FC_TRY(run_again(s, q));
        if (shared) FC_TRY(take(s, q));
    }
    return FC_OK;
}

extern "C" size_t fc_head_draw_workspace_cuda(int R, int M, int D, int V) {
    return fc_head_workspace(R, D, row_bytes(V), 4 * (size_t)(M > 0 ? M : 0));
}
