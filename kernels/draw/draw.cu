/* Three launches a piece of rows: tiles of whole rows summed by all multiprocessors; a block a row that folds, filters
 * and folds again; members drawn by a warp each. A list row's tiles are summed by its block. */
#include "kernels/draw/draw_filter.cuh"

extern "C" {
#include "engine/base/rng.h"
}

enum { SUM_THREADS = 256, SUM_WARPS = SUM_THREADS / FC_WARP, WARP_TILES = 4, MEMBER_THREADS = 256 };
enum { MEMBER_WARPS = MEMBER_THREADS / FC_WARP };

/* ---- whole rows: tops and sums of the untouched row, and of the changed one */

typedef struct {
    draw_params d;
    int warp_tiles; /* a warp has so many tiles, a block's warps apart */
} sums_params;

static __device__ __forceinline__ void store_tile(float *x, int V, int tile, const float v[FC_TILE_LANE]) {
    int from = tile * FC_TILE + fc_lane() * FC_TILE_LANE;
    if (V - from >= FC_TILE_LANE) {
        ((float4 *)(x + from))[0] = make_float4(v[0], v[1], v[2], v[3]);
        ((float4 *)(x + from))[1] = make_float4(v[4], v[5], v[6], v[7]);
    } else {
        for (int j = 0; j < FC_TILE_LANE; j++)
            if (j < V - from) x[from + j] = v[j];
    }
}

static __global__ void __launch_bounds__(SUM_THREADS) draw_sums(const sums_params q) {
    const draw_params *p = &q.d;
    const fc_draw_row *r = p->a.rows + p->first + blockIdx.x;
    int block = SUM_WARPS * q.warp_tiles, from = (int)blockIdx.y * block, to = min(from + block, p->tiles);
    int first = from + (int)threadIdx.x / FC_WARP;
    draw_room m = draw_room_of(p, (int)blockIdx.x);
    bool changed, needs;
    float scale, v[FC_TILE_LANE];
    fc_line l;
    if (r->n_ids || draw_row_trouble(&p->a, r) != FC_TROUBLE_NONE) return;
    l = draw_line_of(p, r, &m);
    changed = draw_changes(r);
    needs = draw_needs_sums(r);
    scale = needs ? fc_draw_scale(r->temperature) : 1.0f;
    for (int t = first; t < to; t += SUM_WARPS) {
        float top, sum, drawn = 0.0f;
        fc_tile_load(v, l.x, l.V, t);
        top = fc_tile_top(v);
        sum = fc_tile_sum(v, top, 1.0f);
        if (changed) store_tile(m.x, l.V, t, v);
        else if (needs) drawn = fc_tile_sum(v, top, scale);
        if (fc_lane() == 0) {
            m.top0[t] = top;
            m.sum0[t] = sum;
            if (needs) m.sum[t] = drawn;
        }
    }
    if (!changed) return;
    __syncthreads();
    draw_change(p, r, &l, m.x, from * FC_TILE, min(to * FC_TILE, l.V));
    for (int t = first; t < to; t += SUM_WARPS) {
        float top, sum = 0.0f;
        fc_tile_load(v, m.x, l.V, t);
        top = fc_tile_top(v);
        if (needs) sum = fc_tile_sum(v, top, scale);
        if (fc_lane() == 0) {
            m.top[t] = top;
            m.sum[t] = sum;
        }
    }
}

/* ---- a row */

/* Tops and sums of the line's tiles; of what keep keeps where it is not NULL. */
static __device__ void sum_line(draw_dist *d, const fc_keep *keep, float scale, float *top, float *sum) {
    for (int k = draw_warp(); k < d->line.n_tiles; k += DRAW_ROW_WARPS) {
        float v[FC_TILE_LANE], most = -INFINITY, all = 0.0f;
        if (!keep || d->top[k] >= keep->value) {
            int from = fc_line_tile(&d->line, k) * FC_TILE + fc_lane() * FC_TILE_LANE;
            fc_line_load(v, &d->line, k, d->buf[draw_warp()]);
            if (keep)
                for (int j = 0; j < FC_TILE_LANE; j++) v[j] = fc_keeps(keep, v[j], from + j) ? v[j] : -INFINITY;
            most = fc_tile_top(v);
            all = fc_tile_sum(v, most, scale);
        }
        __syncwarp(); /* top may be d->top, of which all lanes have read by now */
        if (fc_lane() == 0) {
            top[k] = most;
            sum[k] = all;
        }
    }
    __syncthreads();
}

/* Largest of the tops by the first warp, for the block. */
static __device__ fc_row_state tops_max(draw_dist *d, float *max) {
    if (draw_warp() == 0) {
        float most;
        fc_row_state state = fc_tops_max(d->top, d->line.n_tiles, &most);
        if (fc_lane() == 0) {
            d->state = state;
            d->max = most;
        }
    }
    __syncthreads();
    *max = d->max;
    return d->state;
}

static __device__ void fold(draw_dist *d, float max, float scale) {
    if (draw_warp() == 0) (void)fc_tiles_fold(d->top, d->m.sum, d->line.n_tiles, max, scale, d->m.run);
    __syncthreads();
}

/* The smaller of the ids that share the largest logit. */
static __device__ int greedy(draw_dist *d, float max) {
    int best = INT_MAX;
    if (threadIdx.x == 0) d->greedy = INT_MAX;
    __syncthreads();
    for (int k = (int)threadIdx.x; k < d->line.n_tiles; k += DRAW_ROW_THREADS)
        if (d->top[k] == max) atomicMin(&d->greedy, k);
    __syncthreads();
    if (draw_warp() == 0) {
        float v[FC_TILE_LANE];
        unsigned there;
        int k = d->greedy, from = fc_line_tile(&d->line, k) * FC_TILE + fc_lane() * FC_TILE_LANE;
        fc_line_load(v, &d->line, k, d->buf[0]);
        for (int j = FC_TILE_LANE - 1; j >= 0; j--)
            if (v[j] == max) best = from + j;
        there = __ballot_sync(FC_ALL_LANES, best < INT_MAX);
        best = __shfl_sync(FC_ALL_LANES, best, there ? __ffs((int)there) - 1 : 0);
    }
    return best; /* the first warp's */
}

/* The row as it came: lse, and running totals of what weigh_row begins with, unless the row is to be changed. Two warps
 * fold at the same time. */
static __device__ fc_trouble read_row(const draw_params *p, draw_dist *d) {
    const fc_draw_row *r = p->a.rows + p->first + blockIdx.x;
    bool tempered = draw_needs_sums(r) && !draw_changes(r);
    float scale = tempered ? fc_draw_scale(r->temperature) : 1.0f;
    fc_trouble trouble = draw_row_trouble(&p->a, r);
    if (trouble != FC_TROUBLE_NONE) return trouble;
    if (threadIdx.x == 0) {
        d->r = r;
        d->m = draw_room_of(p, (int)blockIdx.x);
        d->line = draw_line_of(p, r, &d->m);
        d->top = d->m.top0;
    }
    __syncthreads();
    if (r->n_ids) {
        int n = fc_list_cut(d->line.id, r->n_ids, d->line.V, d->m.tile, d->m.begin, d->votes);
        if (n < 0) return FC_TROUBLE_DRAW_IDS;
        if (threadIdx.x == 0) d->line.n_tiles = n;
        __syncthreads();
        sum_line(d, NULL, 1.0f, d->m.top0, d->m.sum0);
        if (tempered) sum_line(d, NULL, scale, d->m.top0, d->m.sum);
    }
    if (draw_warp() == 0) {
        fc_row_lse lse = fc_tops_lse(d->m.top0, d->m.sum0, d->line.n_tiles, tempered ? NULL : d->m.run);
        if (fc_lane() == 0) d->lse = lse;
    }
    if (draw_warp() == 1 && tempered) {
        float max;
        (void)fc_tops_max(d->m.top0, d->line.n_tiles, &max); /* of a row that is refused the total says nothing */
        (void)fc_tiles_fold(d->m.top0, d->m.sum, d->line.n_tiles, max, scale, d->m.run);
    }
    __syncthreads();
    return FC_TROUBLE_NONE;
}

/* Bias and penalties; of a whole row they have been worked in. max: the largest logit then. */
static __device__ fc_row_state change_row(const draw_params *p, draw_dist *d, float scale, float *max) {
    if (d->r->n_ids) {
        for (int i = (int)threadIdx.x; i < d->line.n; i += DRAW_ROW_THREADS) d->m.x[i] = d->line.x[i];
        __syncthreads();
        draw_change(p, d->r, &d->line, d->m.x, 0, d->line.V);
    }
    if (threadIdx.x == 0) {
        d->line.x = d->m.x;
        d->top = d->m.top;
    }
    __syncthreads();
    if (d->r->n_ids) sum_line(d, NULL, scale, d->m.top, d->m.sum);
    switch (tops_max(d, max)) {
    case FC_ROW_BROKEN: return FC_ROW_CHANGED_BROKEN;
    case FC_ROW_EMPTY: return FC_ROW_CHANGED_EMPTY;
    default: return FC_ROW_OK;
    }
}

/* Running totals of what may be drawn, at the row's temperature; max: the largest logit, then and now. */
static __device__ void weigh_row(draw_dist *d, float *max, float scale) {
    if (draw_changes(d->r) && draw_needs_sums(d->r)) fold(d, *max, scale);
    if (draw_filters(d->r)) {
        fc_keep keep = fc_keep_all(*max, scale);
        draw_filter(d, &keep, d->m.run[d->line.n_tiles - 1]);
        sum_line(d, &keep, scale, d->m.top, d->m.sum);
        if (threadIdx.x == 0) {
            d->top = d->m.top;
            d->m.state->keep = keep;
        }
        __syncthreads();
        (void)tops_max(d, max);
        fold(d, *max, scale);
    }
}

static __global__ void __launch_bounds__(DRAW_ROW_THREADS) draw_rows(const draw_params p) {
    draw_dist *d = fc_shared<draw_dist>();
    float max = 0.0f, scale = 1.0f;
    int id = -1;
    fc_trouble trouble = read_row(&p, d);
    fc_row_state state = FC_ROW_OK;
    if (trouble == FC_TROUBLE_NONE) {
        state = d->lse.state;
        max = d->lse.max;
        if (d->r->temperature != 0.0f) scale = fc_draw_scale(d->r->temperature);
        if (state == FC_ROW_OK && draw_changes(d->r)) state = change_row(&p, d, scale, &max);
    }
    if (trouble != FC_TROUBLE_NONE || state != FC_ROW_OK) {
        const fc_draw_row *r = p.a.rows + p.first + blockIdx.x;
        if (threadIdx.x == 0) {
            if (trouble != FC_TROUBLE_NONE) fc_complain(p.trouble, trouble, r->row);
            draw_room_of(&p, (int)blockIdx.x).state->n_tiles = 0;
        }
        for (int i = (int)threadIdx.x; trouble == FC_TROUBLE_NONE && i < r->n_members; i += DRAW_ROW_THREADS) {
            p.a.token[r->member + i] = -(int32_t)state;
            p.a.logprob[r->member + i] = NAN;
        }
        return;
    }
    if (d->r->temperature == 0.0f) id = greedy(d, max);
    else weigh_row(d, &max, scale);
    if (threadIdx.x == 0) {
        draw_state *st = d->m.state;
        st->lse = d->lse.lse;
        st->max = max;
        st->scale = scale;
        st->n_tiles = d->line.n_tiles;
        st->greedy = id;
        st->changed = draw_changes(d->r);
        st->filtered = id < 0 && draw_filters(d->r);
        st->own = d->top != d->m.top0;
    }
}

/* ---- members */

static __device__ int draw_one(const draw_room *m, const draw_state *st, const fc_line *l, const fc_draw_member *who,
                               float *buf) {
    const float *top = st->own ? m->top : m->top0;
    double target = fc_rng_uniform(who->seed, who->candidate, who->attempt, who->position) * m->run[st->n_tiles - 1];
    int k = fc_draw_find_tile(m->run, st->n_tiles, target), from = fc_line_tile(l, k) * FC_TILE;
    float v[FC_TILE_LANE], w[FC_TILE_LANE];
    fc_line_load(v, l, k, buf);
    if (st->filtered)
        for (int j = 0; j < FC_TILE_LANE; j++)
            if (!fc_keeps(&st->keep, v[j], from + fc_lane() * FC_TILE_LANE + j)) v[j] = -INFINITY;
    fc_tile_weigh(w, v, top[k], st->scale);
    return from + fc_draw_tree_find(w, fc_draw_left(m->run, k, target), fc_tile_factor(top[k], st->max, st->scale));
}

static __global__ void __launch_bounds__(MEMBER_THREADS) draw_members(const draw_params p) {
    const fc_draw_row *r = p.a.rows + p.first + blockIdx.x;
    draw_room m = draw_room_of(&p, (int)blockIdx.x);
    int warp = (int)threadIdx.x / FC_WARP, stride = (int)gridDim.y * MEMBER_WARPS;
    float *buf = fc_shared<float>() + warp * FC_TILE;
    const float *logits; /* untouched */
    draw_state st = *m.state;
    fc_line l;
    if (st.n_tiles == 0) return;
    l = draw_line_of(&p, r, &m);
    l.n_tiles = st.n_tiles;
    logits = l.x;
    if (st.changed) l.x = m.x;
    for (int i = (int)blockIdx.y * MEMBER_WARPS + warp; i < r->n_members; i += stride) {
        int id = st.greedy >= 0 ? st.greedy : draw_one(&m, &st, &l, p.a.members + r->member + i, buf);
        if (fc_lane() == 0) {
            p.a.token[r->member + i] = id;
            p.a.logprob[r->member + i] = (float)((double)logits[l.id ? fc_list_find(l.id, l.n, id) : id] - st.lse);
        }
    }
}

/* ---- all rows */

/* Blocks that share a row's members: how many members it has is on the device, at most all. */
static int member_splits(fc_stream s, int n, int M) {
    int all = fc_div_up(M > 0 ? M : 1, MEMBER_WARPS), most = 4 * s->sms / n;
    return all < most ? all : most > 0 ? most : 1;
}

/* Rows [first, first + n): fewer tiles a warp where rows are few, so that every multiprocessor has some. */
static fc_status run_piece(fc_stream s, const draw_params *p, int n) {
    sums_params q = {*p, WARP_TILES};
    while (q.warp_tiles > 1 && n * fc_div_up(p->tiles, SUM_WARPS * q.warp_tiles) < 4 * s->sms) q.warp_tiles /= 2;
    if (p->a.R > 0)
        FC_TRY(fc_launch(s, "draw", draw_sums,
                         dim3((unsigned)n, (unsigned)fc_div_up(p->tiles, SUM_WARPS * q.warp_tiles)), SUM_THREADS, 0,
                         q));
    FC_TRY(fc_launch(s, "draw", draw_rows, dim3((unsigned)n), DRAW_ROW_THREADS, sizeof(draw_dist), *p));
    return fc_launch(s, "draw", draw_members, dim3((unsigned)n, (unsigned)member_splits(s, n, p->a.M)), MEMBER_THREADS,
                     MEMBER_WARPS * FC_TILE * sizeof(float), *p);
}

extern "C" fc_status fc_draw_cuda(fc_stream s, const fc_draw_args *a) {
    draw_params p = {*a, 0, 0, NULL, 0, s->trouble};
    size_t rows;
    void *memory;
    if (a->V < 1) return FC_FAIL(FC_ERR_ARG, "draw: V=%d; it must be at least 1", a->V);
    if (a->n_rows < 0) return FC_FAIL(FC_ERR_ARG, "draw: %d rows", a->n_rows);
    p.tiles = fc_tile_count(a->V);
    p.stride = draw_row_bytes(a->V);
    FC_TRY(fc_cuda_workspace(s, p.stride, "draw", &memory));
    p.memory = (unsigned char *)memory;
    rows = s->workspace_bytes / p.stride;
    for (int n; p.first < a->n_rows; p.first += n) {
        n = rows < (size_t)(a->n_rows - p.first) ? (int)rows : a->n_rows - p.first;
        FC_TRY(run_piece(s, &p, n));
    }
    return FC_OK;
}

extern "C" size_t fc_draw_workspace_cuda(int n_rows, int V) {
    return n_rows < 1 || V < 1 ? 0 : (size_t)n_rows * draw_row_bytes(V);
}
