/* draw_row - one row on its way to a draw on the device: its memory, what is known of it, bias and penalties. Inner to
 * kernels/draw. */
#ifndef FC_KERNELS_DRAW_ROW_CUH
#define FC_KERNELS_DRAW_ROW_CUH

#include "kernels/draw/draw_tree.cuh"
#include "kernels/logprob/best.cuh"

extern "C" {
#include "kernels/draw/draw.h"
}

/* What a row's tiles, summed and filtered, leave for the draws of its members. */
typedef struct {
    double lse;
    fc_keep keep; /* where filtered */
    float max, scale;
    int n_tiles;                 /* 0: the row is refused */
    int greedy;                  /* the id, -1: drawn by number */
    bool filtered, changed, own; /* own: tops and sums are draw_room's top and sum, not the untouched row's */
} draw_state;

/* A piece of the rows, and the workspace: a draw_room for each. */
typedef struct {
    fc_draw_args a;
    int first, tiles; /* tiles: of V */
    unsigned char *memory;
    size_t stride; /* bytes a row */
    unsigned long long *trouble;
} draw_params;

typedef struct {
    draw_state *state;
    float *x;                       /* [V] after bias and penalties: of a whole row by id, of a list row by place */
    double *run, *aux;              /* [tiles] running totals; sums on the way */
    float *top0, *sum0, *top, *sum; /* [tiles] of the untouched row; of what may be drawn */
    int32_t *tile, *begin;          /* [tiles], [tiles+1] of a list row */
} draw_room;

static __host__ __device__ __forceinline__ size_t draw_lines(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

static inline size_t draw_row_bytes(int V) {
    size_t tiles = (size_t)fc_tile_count(V);
    return draw_lines(sizeof(draw_state)) + draw_lines(4 * (size_t)V) + draw_lines(tiles * 40 + 4);
}

static __device__ __forceinline__ draw_room draw_room_of(const draw_params *p, int i) {
    unsigned char *at = p->memory + (size_t)i * p->stride;
    draw_room m;
    m.state = (draw_state *)at;
    m.x = (float *)(at + draw_lines(sizeof(draw_state)));
    m.run = (double *)((unsigned char *)m.x + draw_lines(4 * (size_t)p->a.V));
    m.aux = m.run + p->tiles;
    m.top0 = (float *)(m.aux + p->tiles);
    m.sum0 = m.top0 + p->tiles;
    m.top = m.sum0 + p->tiles;
    m.sum = m.top + p->tiles;
    m.tile = (int32_t *)(m.sum + p->tiles);
    m.begin = m.tile + p->tiles;
    return m;
}

/* ---- what a row asks for */

static __device__ __forceinline__ bool draw_changes(const fc_draw_row *r) {
    return r->n_bias > 0 || (r->n_seen > 0 && (r->repetition != 1.0f || r->presence != 0.0f || r->frequency != 0.0f));
}

static __device__ __forceinline__ bool draw_filters(const fc_draw_row *r) {
    return r->top_k || r->typical_p < 1.0f || r->top_p < 1.0f || r->min_p > 0.0f;
}

/* Whether sums of the whole row, unfiltered, are needed at its temperature, and are not those of the untouched row. */
static __device__ __forceinline__ bool draw_needs_sums(const fc_draw_row *r) {
    if (r->temperature == 0.0f || (!draw_changes(r) && fc_draw_scale(r->temperature) == 1.0f)) return false;
    return !draw_filters(r) || (r->top_k == 0 && r->typical_p >= 1.0f && r->top_p < 1.0f);
}

static __device__ __forceinline__ bool draw_within(float v, float lo, float hi) { return v >= lo && v <= hi; }

/* FC_TROUBLE_NONE: nothing of it leads out of memory. */
static __device__ __forceinline__ fc_trouble draw_row_trouble(const fc_draw_args *a, const fc_draw_row *r) {
    if (r->n_ids < 0 || r->n_ids > a->V || (r->n_ids == 0 && (r->row < 0 || r->row >= a->R)) || r->member < 0 ||
        r->n_members < 0 || r->n_members > a->M - r->member)
        return FC_TROUBLE_DRAW_ROW;
    if (!draw_within(r->temperature, 0.0f, FLT_MAX) || !draw_within(r->top_p, 0.0f, 1.0f) ||
        !draw_within(r->typical_p, 0.0f, 1.0f) || !draw_within(r->min_p, 0.0f, 1.0f) || r->top_k < 0 ||
        !draw_within(r->repetition, FLT_MIN, FLT_MAX) || !draw_within(r->presence, -FLT_MAX, FLT_MAX) ||
        !draw_within(r->frequency, -FLT_MAX, FLT_MAX))
        return FC_TROUBLE_DRAW_OPTIONS;
    return FC_TROUBLE_NONE;
}

/* The row as it came; of a list, without its tiles. */
static __device__ __forceinline__ fc_line draw_line_of(const draw_params *p, const fc_draw_row *r, const draw_room *m) {
    fc_line l = {NULL, NULL, m->tile, m->begin, p->a.V, r->n_ids, 0};
    if (r->n_ids) {
        l.id = p->a.list_id + r->ids;
        l.x = p->a.list_value + r->values;
    } else {
        l.x = p->a.logits + (size_t)r->row * (size_t)p->a.V;
        l.n_tiles = p->tiles;
    }
    return l;
}

/* ---- bias and penalties */

static __device__ __forceinline__ float draw_penalised(const fc_draw_row *r, float l, float count) {
    if (r->repetition != 1.0f) l = l > 0.0f ? l / r->repetition : l * r->repetition;
    return l - (r->frequency * count + (count > 0.0f ? r->presence : 0.0f));
}

/* Where the logit of an id between from and to is in x: at the id, or at its place in the list; -1: it is not. */
static __device__ __forceinline__ int draw_place(const fc_line *l, int id, int from, int to) {
    if (id < from || id >= to) return -1;
    return l->id ? fc_list_find(l->id, l->n, id) : id;
}

/* x, a copy of the line's logits, changed by the whole block at ids from .. to-1; a barrier goes before and comes
 * after. Of values for one id, which may be several, one thread adds all, in their order; seen ids are distinct. */
static __device__ void draw_change(const draw_params *p, const fc_draw_row *r, const fc_line *l, float *x, int from,
                                   int to) {
    const fc_draw_args *a = &p->a;
    for (int i = r->bias; i < r->bias + r->n_bias; i++) {
        int id = a->bias_id[i], at;
        if (id < 0 || id >= a->V) {
            if (threadIdx.x == 0) fc_complain(p->trouble, FC_TROUBLE_DRAW_BIAS, r->row);
        } else if (id % (int)blockDim.x == (int)threadIdx.x) {
            at = draw_place(l, id, from, to);
            if (at >= 0) x[at] += a->bias_value[i];
        }
    }
    __syncthreads();
    for (int i = r->seen + (int)threadIdx.x; i < r->seen + r->n_seen; i += (int)blockDim.x) {
        int id = a->seen_id[i], at;
        if (id < 0 || id >= a->V) {
            fc_complain(p->trouble, FC_TROUBLE_DRAW_SEEN, r->row);
        } else {
            at = draw_place(l, id, from, to);
            if (at >= 0) x[at] = draw_penalised(r, x[at], (float)a->seen_count[i]);
        }
    }
    __syncthreads();
}

#endif
