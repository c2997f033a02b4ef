/* attn_fma - a unit over f32 KV, by fused multiply-adds.
 *
 * A row belongs to 16 lanes, half a warp: row half-warp + 8 i for i < RT. A lane has the scores of positions x + 16 k
 * (x = lane % 16, k < 4) and columns 2x + 32 c, 2x + 32 c + 1 of o. So maxima and sums stay within a half-warp, and all
 * that warps share is K and V.
 *
 * order   a score: one chain over e; a row's sum: the four of a lane, then lanes in halves; o of a tile: one chain over
 *         the 64 positions. The same for every number of rows
 */
#ifndef FC_KERNELS_ATTN_FMA_CUH
#define FC_KERNELS_ATTN_FMA_CUH

#include "kernels/attn/attn_tiles.cuh"

enum { ATTN_LANES = 16, ATTN_HALVES = ATTN_THREADS / ATTN_LANES }; /* of a row; half-warps of a block */

template <int E> struct attn_fma_shared {
    typedef attn_shape<FC_F32, E> S;
    attn_tiles_shared<FC_F32, E> tiles;
    __align__(16) float q[S::ROWS][E + 4];
    __align__(16) float weight[S::ROWS][ATTN_TILE + 4]; /* a row is its half-warp's alone */
    attn_vectors<S::ROWS> vectors;
    attn_work_shared work;
};

/* A unit's run so far and the runs before, the lane's share; see attn_mma_state. */
template <int E, int RT> struct attn_fma_state {
    float o[RT][E / 32][2];
    float m[RT], l[RT], tot_m[RT], tot_l[RT];
    bool begun;
};

template <int E, int RT>
static __device__ __forceinline__ void attn_fma_queries(const attn_params &p, const attn_unit &u,
                                                        attn_fma_shared<E> *m) {
    for (int i = (int)threadIdx.x; i < RT * ATTN_HALVES * (E / 4); i += ATTN_THREADS) {
        int r = i / (E / 4), e = i % (E / 4) * 4;
        float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (r < u.n && e < p.kv.shape.E) x = *(const float4 *)(const void *)(attn_query(p, u, r) + e);
        *(float4 *)(void *)&m->q[r][e] = x;
    }
}

template <int E, int RT>
static __device__ __forceinline__ void attn_fma_scores(const attn_params &p, const attn_view &w, int i, int place,
                                                       const attn_fma_shared<E> *m, float (*s)[4]) {
    const int x = (int)threadIdx.x % ATTN_LANES, r = (int)threadIdx.x / ATTN_LANES;
    const int at = (w.first + i) * ATTN_TILE + x;
    const bool all = attn_all_seen(p, w, i);
#pragma unroll
    for (int a = 0; a < RT; a++)
        for (int k = 0; k < 4; k++) s[a][k] = 0.0f;
#pragma unroll 4
    for (int e = 0; e < E; e += 4) {
        float4 key[4];
#pragma unroll
        for (int k = 0; k < 4; k++) key[k] = *(const float4 *)(const void *)&m->tiles.ring[place][x + 16 * k][e * 4];
#pragma unroll
        for (int a = 0; a < RT; a++) {
            float4 q = *(const float4 *)(const void *)&m->q[r + a * ATTN_HALVES][e];
#pragma unroll
            for (int k = 0; k < 4; k++) {
                s[a][k] = fmaf(q.x, key[k].x, s[a][k]);
                s[a][k] = fmaf(q.y, key[k].y, s[a][k]);
                s[a][k] = fmaf(q.z, key[k].z, s[a][k]);
                s[a][k] = fmaf(q.w, key[k].w, s[a][k]);
            }
        }
    }
#pragma unroll
    for (int a = 0; a < RT; a++)
        for (int k = 0; k < 4; k++) {
            s[a][k] = attn_score(p, s[a][k]);
            if (!all && !attn_seen(p, at + 16 * k, m->vectors.pos[r + a * ATTN_HALVES])) s[a][k] = -INFINITY;
        }
}

/* The rows' weights, for their own lanes behind the next barrier; most, sum: of the tile. */
template <int E, int RT>
static __device__ __forceinline__ void attn_fma_weights(attn_fma_shared<E> *m, float (*s)[4], float *most, float *sum) {
    const int x = (int)threadIdx.x % ATTN_LANES, r = (int)threadIdx.x / ATTN_LANES;
#pragma unroll
    for (int a = 0; a < RT; a++) {
        float base;
        most[a] = fmaxf(fmaxf(s[a][0], s[a][1]), fmaxf(s[a][2], s[a][3]));
        most[a] = fc_lanes_max<ATTN_LANES / 2, 1>(most[a]);
        base = most[a] == -INFINITY ? 0.0f : most[a]; /* sees nothing: weights of 0, not of NaN */
        for (int k = 0; k < 4; k++) s[a][k] = fc_exp2_ftz(s[a][k] - base);
        sum[a] = (s[a][0] + s[a][1]) + (s[a][2] + s[a][3]);
        sum[a] = fc_lanes_sum<ATTN_LANES / 2, 1>(sum[a]);
        for (int k = 0; k < 4; k++) m->weight[r + a * ATTN_HALVES][x + 16 * k] = s[a][k];
    }
}

template <int E, int RT>
static __device__ __forceinline__ void attn_fma_values(int place, const attn_fma_shared<E> *m, float (*o)[E / 32][2]) {
    const int x = (int)threadIdx.x % ATTN_LANES, r = (int)threadIdx.x / ATTN_LANES;
#pragma unroll
    for (int a = 0; a < RT; a++)
        for (int c = 0; c < E / 32; c++) o[a][c][0] = o[a][c][1] = 0.0f;
    for (int j = 0; j < ATTN_TILE; j += 4) {
        float weight[RT][4];
#pragma unroll
        for (int a = 0; a < RT; a++) {
            float4 four = *(const float4 *)(const void *)&m->weight[r + a * ATTN_HALVES][j];
            weight[a][0] = four.x, weight[a][1] = four.y, weight[a][2] = four.z, weight[a][3] = four.w;
        }
#pragma unroll
        for (int k = 0; k < 4; k++)
#pragma unroll
            for (int c = 0; c < E / 32; c++) {
                float2 v = *(const float2 *)(const void *)&m->tiles.ring[place][j + k][(2 * x + 32 * c) * 4];
#pragma unroll
                for (int a = 0; a < RT; a++) {
                    o[a][c][0] = fmaf(weight[a][k], v.x, o[a][c][0]);
                    o[a][c][1] = fmaf(weight[a][k], v.y, o[a][c][1]);
                }
            }
    }
}

/* The run ends. It folds into y, or as the unit's last becomes the answer or the partial state. */
template <int E, int RT>
static __device__ __forceinline__ void attn_fma_close(const attn_params &p, const attn_unit &u, bool last,
                                                      const attn_fma_shared<E> *m, attn_fma_state<E, RT> *st) {
    const int x = (int)threadIdx.x % ATTN_LANES;
    const bool whole = u.item.part < 0;
    const int width = whole ? p.kv.shape.E : p.kv.shape.E + 2;
#pragma unroll
    for (int a = 0; a < RT; a++) {
        const int row = (int)threadIdx.x / ATTN_LANES + a * ATTN_HALVES;
        float keep, add, per;
        float *to = (whole ? p.a.y : p.a.part) + (row < u.n ? (size_t)m->vectors.out[row] * (size_t)width : 0);
        attn_fold(&st->tot_m[a], &st->tot_l[a], st->m[a], st->l[a], &keep, &add);
        per = 1.0f / st->tot_l[a];
        st->m[a] = -INFINITY;
        st->l[a] = 0.0f;
        if (!whole && x == 0 && row < u.n) {
            to[p.kv.shape.E] = st->tot_m[a];
            to[p.kv.shape.E + 1] = st->tot_l[a];
        }
#pragma unroll
        for (int c = 0; c < E / 32; c++) {
            float2 o = make_float2(st->o[a][c][0], st->o[a][c][1]);
            int e = 2 * x + 32 * c;
            st->o[a][c][0] = st->o[a][c][1] = 0.0f;
            if (row >= u.n || e >= p.kv.shape.E) continue;
            if (st->begun) {
                float2 before = *(const float2 *)(const void *)(to + e);
                o = make_float2(fmaf(o.x, add, before.x * keep), fmaf(o.y, add, before.y * keep));
            }
            if (whole && last)
                o = make_float2(attn_result(o.x, per, st->tot_l[a] == 0.0f),
                                attn_result(o.y, per, st->tot_l[a] == 0.0f));
            *(float2 *)(void *)(to + e) = o;
        }
    }
    st->begun = true;
}

/* All tiles of a unit of at most 8 RT query vectors. ticket: thread 0's next one, drawn when little is left to do. */
template <int E, int RT>
static __device__ __forceinline__ void attn_fma_unit(const attn_params &p, const attn_unit &u, const attn_view &w,
                                                     attn_fma_shared<E> *m, int *ticket) {
    enum { RING = attn_shape<FC_F32, E>::RING };
    attn_fma_state<E, RT> st = {};
    float s[RT][4], o[RT][E / 32][2], most[RT], sum[RT];
    int entry;
    for (int a = 0; a < RT; a++) st.m[a] = st.tot_m[a] = -INFINITY;
    attn_start(p, u, w, &m->tiles, &entry);
    attn_fma_queries<E, RT>(p, u, m);
    for (int i = 0; i < w.n; i++) {
        attn_step(p, u, w, 2 * i, &m->tiles, &entry);
        if (i + 1 == w.n && threadIdx.x == 0) *ticket = attn_take(p);
        attn_fma_scores<E, RT>(p, w, i, 2 * i % RING, m, s);
        attn_fma_weights<E, RT>(m, s, most, sum);
        attn_step(p, u, w, 2 * i + 1, &m->tiles, &entry);
        attn_fma_values<E, RT>((2 * i + 1) % RING, m, o);
#pragma unroll
        for (int a = 0; a < RT; a++) {
            float keep, add;
            attn_fold(&st.m[a], &st.l[a], most[a], sum[a], &keep, &add);
            for (int c = 0; c < E / 32 * 2; c++)
                st.o[a][c / 2][c % 2] = fmaf(o[a][c / 2][c % 2], add, st.o[a][c / 2][c % 2] * keep);
        }
        if ((w.first + i) % FC_ATTN_RUN == FC_ATTN_RUN - 1 && i + 1 < w.n) attn_fma_close<E, RT>(p, u, false, m, &st);
    }
    attn_fma_close<E, RT>(p, u, true, m, &st);
}

template <int E>
static __device__ __forceinline__ void attn_unit_run(const attn_params &p, const attn_unit &u, const attn_view &w,
                                                     attn_fma_shared<E> *m, int *ticket) {
    if (u.n <= ATTN_HALVES) attn_fma_unit<E, 1>(p, u, w, m, ticket);
    else attn_fma_unit<E, attn_shape<FC_F32, E>::ROWS / ATTN_HALVES>(p, u, w, m, ticket);
}

#endif
