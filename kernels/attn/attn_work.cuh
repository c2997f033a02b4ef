/* attn_work - attention on CUDA: who computes what, and the fold of partial states in the same, or the last, launch.
 *
 * unit    64 (or 32, 16: attn_shape.ROWS) query vectors of one item and one KV head, over all tiles of the item that
 *         they see. Query vectors of (item, head) are numbered row by row, the H/G heads of a row side by side. Units
 *         are numbered item by item, then KV head, then from the last vectors to the first, which see the most tiles
 * ticket  a block draws numbers from one counter. The first are units; when they are all drawn, each block draws one
 *         more and folds a share of the rows, once every unit that leaves partial states has counted itself done. Who
 *         waits has finished its own units, and every unit is in the hands of a block that runs: nothing can wait for
 *         ever, whatever the grid and the order of blocks
 * count   the three counters are the stream's, zero between launches; the last block to leave clears them
 * wide    items of more than 64 query vectors may be another kernel's (attn_wide.cu): it goes first, deals its units
 *         out in the same way, and folds nothing
 * few     where no other item has more than 32, units have 16: a block takes half of the registers and less shared
 *         memory, so that 3 to 5 are on a multiprocessor instead of 2 or 3, and a unit's waits are the others' time. An
 *         item of two units reads its KV from the cache twice
 * state   (o, max, sum) of some positions; max in units of log 2; sum 0: no position, the identity of the fold
 */
#ifndef FC_KERNELS_ATTN_WORK_CUH
#define FC_KERNELS_ATTN_WORK_CUH

#include "kernels/cuda/sync.cuh"
#include "kernels/cuda/warp.cuh"
#include "kernels/kv/kv_cuda.cuh"

extern "C" {
#include "kernels/attn/attn.h"
}

enum { ATTN_THREADS = 128, ATTN_WARPS = ATTN_THREADS / FC_WARP };

typedef struct {
    unsigned next; /* ticket */
    unsigned done; /* units with partial states that have written them */
    unsigned gone; /* blocks that have left */
} attn_counters;

typedef struct {
    fc_attn_args a; /* a.kv is the host's: kv is meant */
    fc_kv_buf kv;
    int per, log_p;  /* H/G; log2 P */
    int least, most; /* items of so many query vectors are this launch's */
    attn_counters *counters;
    unsigned long long *trouble;
} attn_params;

typedef struct {
    int index, g; /* item, KV head */
    int v0, n;    /* query vectors v0 .. v0+n-1 */
    fc_attn_item item;
} attn_unit;

/* What a unit's rows see. */
typedef struct {
    int first, n;    /* tiles */
    int since, end;  /* positions [since,end) are seen by some row */
    int least, most; /* smallest and largest pos of its rows */
} attn_view;

/* A unit's query vectors. */
template <int ROWS> struct attn_vectors {
    int pos[ROWS], out[ROWS]; /* out: in y or part */
    int least[ATTN_WARPS], most[ATTN_WARPS];
};

/* Uniform, and in shared memory: registers are for tiles. */
typedef struct {
    int ticket;
    attn_unit unit;
    attn_view view;
    int ends[ATTN_THREADS]; /* of the items in sight: units up to and with each, without those of `before` */
    int units[ATTN_WARPS], parts[ATTN_WARPS];
} attn_work_shared;

/* Where a block stands in the list of items: it sees ATTN_THREADS of them at a time, and only goes forward. */
typedef struct {
    int first;       /* item in sight; ATTN_THREADS before the first one at the start */
    int before, now; /* units of the items before those in sight, and of those */
    int parts;       /* units with partial states, of all items up to those in sight */
} attn_place;

static __device__ __forceinline__ int attn_units(const attn_params &p, int n_rows, int rows) {
    int vectors = n_rows * p.per;
    return vectors < p.least || vectors > p.most ? 0 : (vectors + rows - 1) / rows * p.kv.shape.G;
}

/* The ATTN_THREADS threads, from FIRST on, that deal units out, meet. They are the block, or those of it that copy. */
template <int FIRST> static __device__ __forceinline__ void attn_meet() {
    if (FIRST == 0) __syncthreads();
    else fc_bar_sync(1, ATTN_THREADS);
}

/* The next items come in sight. All threads call. */
template <int FIRST>
static __device__ __forceinline__ void attn_look(const attn_params &p, int rows, attn_work_shared *w, attn_place *at) {
    int thread = (int)threadIdx.x - FIRST, lane = thread % FC_WARP, warp = thread / FC_WARP, units = 0, parts, sum, i;
    at->first += ATTN_THREADS;
    i = at->first + thread;
    if (i < p.a.n_items) units = attn_units(p, p.a.items[i].n_rows, rows);
    parts = units && p.a.items[i].part >= 0 ? units : 0;
    sum = fc_warp_scan(units);
    parts = fc_warp_sum(parts);
    attn_meet<FIRST>(); /* nobody looks for an item in the old ends any more */
    if (lane == FC_WARP - 1) w->units[warp] = sum, w->parts[warp] = parts;
    attn_meet<FIRST>();
    at->before += at->now;
    at->now = 0;
    for (int k = 0; k < ATTN_WARPS; k++) {
        if (k == warp) w->ends[thread] = at->now + sum;
        at->now += w->units[k];
        at->parts += w->parts[k];
    }
    attn_meet<FIRST>();
}

static __device__ __forceinline__ int attn_take(const attn_params &p) { return (int)atomicAdd(&p.counters->next, 1u); }

/* The unit of a ticket, to w->unit; false: it lies beyond the last one, which all items in sight by now have shown. All
 * threads call, with the same ticket. */
template <int FIRST>
static __device__ __forceinline__ bool attn_find(const attn_params &p, int ticket, int rows, attn_work_shared *w,
                                                 attn_place *at) {
    int lo = 0, hi = ATTN_THREADS - 1, chunks, i;
    while (ticket >= at->before + at->now && at->first + ATTN_THREADS < p.a.n_items) attn_look<FIRST>(p, rows, w, at);
    i = ticket - at->before;
    if (i >= at->now) return false;
    while (lo < hi) { /* the first item whose end is beyond the unit */
        int mid = (lo + hi) / 2;
        if (w->ends[mid] > i) hi = mid;
        else lo = mid + 1;
    }
    if (lo) i -= w->ends[lo - 1];
    if (threadIdx.x == FIRST) {
        attn_unit *u = &w->unit;
        u->index = at->first + lo;
        u->item = p.a.items[u->index];
        chunks = attn_units(p, u->item.n_rows, rows) / p.kv.shape.G;
        u->g = i / chunks;
        u->v0 = (chunks - 1 - i % chunks) * rows;
        u->n = min(u->item.n_rows * p.per - u->v0, rows);
    }
    attn_meet<FIRST>();
    return true;
}

/* State (m, l) becomes itself and then (m2, l2): o becomes o * keep + o2 * add. An empty state changes nothing, and
 * folded into an empty one a state stays as it is, exactly. */
static __device__ __forceinline__ void attn_fold(float *m, float *l, float m2, float l2, float *keep, float *add) {
    bool later = m2 > *m;
    float less = exp2f(-fabsf(m2 - *m));
    *keep = later ? less : 1.0f; /* the other factor is exp(0) */
    *add = later ? 1.0f : less;
    if (l2 == 0.0f) {
        *keep = 1.0f;
        *add = 0.0f;
        later = false;
    } else if (*l == 0.0f) {
        *keep = 0.0f;
        *add = 1.0f;
        later = true;
    }
    *m = later ? m2 : *m;
    *l = *l * *keep + l2 * *add;
}

/* What y is of o; -0 becomes 0, as a masked position that adds 0 makes it too. */
static __device__ __forceinline__ float attn_result(float o, float per, bool empty) {
    return empty ? 0.0f : o * per + 0.0f;
}

enum { ATTN_BATCH = 4 }; /* states of a row that are on their way at once */

/* One row and head by a warp: states of its slots in order, slots fold in their run, runs fold. WIDE: E at most 64 *
 * WIDE; a lane has elements 2 lane, 2 lane + 1, and those 64 further. */
template <int WIDE> static __device__ __forceinline__ void attn_fold_row(const attn_params &p, int f, int h) {
    const int E = p.kv.shape.E, lane = (int)threadIdx.x % FC_WARP, first = p.a.fold_off[f];
    const int n = p.a.fold_off[f + 1] - first;
    float run[WIDE][2] = {}, tot[WIDE][2] = {}, run_m = -INFINITY, run_l = 0.0f, tot_m = -INFINITY, tot_l = 0.0f, per;
    float *y = p.a.y + ((size_t)p.a.fold_row[f] * (size_t)p.a.H + (size_t)h) * (size_t)E;
    for (int i = 0; i <= n; i += ATTN_BATCH) {
        float2 o[ATTN_BATCH][WIDE];
        float m[ATTN_BATCH], l[ATTN_BATCH];
        bool closes[ATTN_BATCH];
#pragma unroll
        for (int b = 0; b < ATTN_BATCH; b++) {
            int slot = i + b < n ? p.a.fold_slot[first + i + b] : FC_ATTN_NEW_RUN; /* the last run closes too */
            const float *from = p.a.part + ((size_t)(slot & ~FC_ATTN_NEW_RUN) * (size_t)p.a.H + (size_t)h) * (E + 2);
            closes[b] = slot & FC_ATTN_NEW_RUN;
            m[b] = i + b < n ? from[E] : -INFINITY;
            l[b] = i + b < n ? from[E + 1] : 0.0f;
#pragma unroll
            for (int k = 0; k < WIDE; k++) {
                int e = 2 * lane + 64 * k;
                o[b][k] = i + b < n && e < E ? *(const float2 *)(const void *)(from + e) : make_float2(0.0f, 0.0f);
            }
        }
#pragma unroll
        for (int b = 0; b < ATTN_BATCH; b++) {
            float keep, add;
            if (closes[b]) {
                attn_fold(&tot_m, &tot_l, run_m, run_l, &keep, &add);
                run_m = -INFINITY;
                run_l = 0.0f;
#pragma unroll
                for (int k = 0; k < WIDE; k++)
                    for (int x = 0; x < 2; x++) tot[k][x] = fmaf(run[k][x], add, tot[k][x] * keep), run[k][x] = 0.0f;
            }
            attn_fold(&run_m, &run_l, m[b], l[b], &keep, &add);
#pragma unroll
            for (int k = 0; k < WIDE; k++) {
                run[k][0] = fmaf(o[b][k].x, add, run[k][0] * keep);
                run[k][1] = fmaf(o[b][k].y, add, run[k][1] * keep);
            }
        }
    }
    per = 1.0f / tot_l;
#pragma unroll
    for (int k = 0; k < WIDE; k++) {
        int e = 2 * lane + 64 * k;
        if (e < E)
            *(float2 *)(void *)(y + e) =
                make_float2(attn_result(tot[k][0], per, tot_l == 0.0f), attn_result(tot[k][1], per, tot_l == 0.0f));
    }
}

/* By one thread of a block that draws no more. */
static __device__ __forceinline__ void attn_leave(const attn_params &p) {
    __threadfence(); /* a block has counted its units before it counts as gone */
    if (atomicAdd(&p.counters->gone, 1u) == gridDim.x - 1) {
        __threadfence(); /* and so have all others before the counters are zero for the next launch */
        p.counters->next = 0;
        p.counters->done = 0;
        p.counters->gone = 0;
    }
}

/* The block's share of the folds, behind its last unit, and its leave. ticket: the first that was no unit. */
template <int WIDE>
static __device__ __forceinline__ void attn_folds(const attn_params &p, int ticket, const attn_place *at) {
    int warp = (int)threadIdx.x / FC_WARP, tasks = p.a.n_fold * p.a.H, step = (int)gridDim.x * ATTN_WARPS;
    int mine = ticket - at->before - at->now;
    if (mine * ATTN_WARPS < tasks) {
        if (threadIdx.x == 0) {
            while (*(volatile unsigned *)&p.counters->done < (unsigned)at->parts) {
            }
            __threadfence(); /* what other blocks wrote before they counted is seen from here on */
        }
        __syncthreads();
        for (int i = mine * ATTN_WARPS + warp; i < tasks; i += step) attn_fold_row<WIDE>(p, i / p.a.H, i % p.a.H);
    }
    if (threadIdx.x == 0) attn_leave(p);
}

#endif
