/* attn_rows - a unit of more than 32 query vectors over bf16 KV: each warp has 16 of them, and all positions and
 * columns.
 *
 * What attn_mma.cuh shares among warps, a row's maximum, weights and sum, stays in a warp's registers here: a tile
 * wants a barrier when its K has landed and one when its V has, and no third. The price is that each warp reads all of
 * K and V from shared memory, which pays once all four have rows. The same operations in the same order: the same bits.
 * Heads of 65 to 128: smaller ones have three blocks a multiprocessor, for whose registers it is too much, as is
 * making codes wide. attn_wide.cu has these steps too, but for the products.
 *
 * threads lane = 4 g + t has, of rows g and g + 8 of its warp's 16, columns 2t and 2t+1 of each 8; their running max
 *         and sum are in all four lanes of a quad
 */
#ifndef FC_KERNELS_ATTN_ROWS_CUH
#define FC_KERNELS_ATTN_ROWS_CUH

#include "kernels/attn/attn_mma.cuh"

enum { ATTN_STEPS = ATTN_TILE / 16 /* of 16 positions */ };

template <int E> struct attn_rows_state {
    float o[E / 8][4];
    float m[2], l[2], tot_m[2], tot_l[2];
    bool begun; /* a run has been closed */
};

/* s: products of the warp's queries and the tile's K. */
template <int E>
static __device__ __forceinline__ void attn_rows_dots(int place, const attn_mma_shared<FC_BF16, E, 64> *m,
                                                      float (*s)[2][4]) {
    enum { STEP = 2 * E + 16 };
    const int lane = (int)threadIdx.x % FC_WARP, first = (int)threadIdx.x / FC_WARP * 16;
    const unsigned char *k = attn_half(place, m) + (lane % 8 + lane / 16 * 8) * STEP + lane / 8 % 2 * 16;
    const unsigned char *q = (const unsigned char *)m->q[first + lane % 16] + lane / 16 * 16;
#pragma unroll
    for (int j = 0; j < ATTN_STEPS; j++)
        for (int x = 0; x < 8; x++) s[j][x / 4][x % 4] = 0.0f;
#pragma unroll
    for (int e = 0; e < E; e += 16) {
        uint32_t a[4]; /* again for each tile: there are no registers to keep it in */
        fc_ldmatrix<4, false>(a, q + e * 2);
#pragma unroll
        for (int j = 0; j < ATTN_STEPS; j++) {
            uint32_t b[4];
            fc_ldmatrix<4, false>(b, k + j * 16 * STEP + e * 2);
            fc_mma_bf16(s[j][0], a, b);
            fc_mma_bf16(s[j][1], a, b + 2);
        }
    }
}

/* Products become scores, masked ones -inf; own: the rows' largest. pos: of the unit's query vectors. */
static __device__ __forceinline__ void attn_rows_scores(const attn_params &p, const attn_view &w, int i, const int *pos,
                                                        float (*s)[2][4], float own[2]) {
    const int lane = (int)threadIdx.x % FC_WARP, row = (int)threadIdx.x / FC_WARP * 16 + lane / 4;
    const int at = (w.first + i) * ATTN_TILE + lane % 4 * 2;
    const bool all = attn_all_seen(p, w, i);
    if (attn_capped(p)) {
#pragma unroll
        for (int x = 0; x < ATTN_STEPS * 8; x++)
            s[x / 8][x / 4 % 2][x % 4] = attn_score<true>(p, s[x / 8][x / 4 % 2][x % 4]);
    } else {
#pragma unroll
        for (int x = 0; x < ATTN_STEPS * 8; x++)
            s[x / 8][x / 4 % 2][x % 4] = attn_score<false>(p, s[x / 8][x / 4 % 2][x % 4]);
    }
    if (!all) {
        const int last[2] = {pos[row], pos[row + 8]};
#pragma unroll
        for (int x = 0; x < ATTN_STEPS * 8; x++)
            if (!attn_seen(p, at + x / 4 * 8 + x % 2, last[x / 2 % 2])) s[x / 8][x / 4 % 2][x % 4] = -INFINITY;
    }
    own[0] = own[1] = -INFINITY;
#pragma unroll
    for (int x = 0; x < ATTN_STEPS * 8; x++) own[x / 2 % 2] = fmaxf(own[x / 2 % 2], s[x / 8][x / 4 % 2][x % 4]);
    for (int half = 0; half < 2; half++) own[half] = fc_lanes_max<1, 2>(own[half]);
}

/* Scores become weights; sum: of the rows'. */
static __device__ __forceinline__ void attn_rows_weights(float (*s)[2][4], const float own[2], float sum[2]) {
    sum[0] = sum[1] = 0.0f;
#pragma unroll
    for (int j = 0; j < ATTN_STEPS; j++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = own[half] == -INFINITY ? 0.0f : own[half]; /* sees nothing: weights of 0, not of NaN */
            float(*x)[4] = s[j];
#pragma unroll
            for (int c = 0; c < 4; c++) x[c / 2][half * 2 + c % 2] = fc_exp2_ftz(x[c / 2][half * 2 + c % 2] - most);
            sum[half] +=
                fc_lanes_sum<1, 2>((x[0][half * 2] + x[0][half * 2 + 1]) + (x[1][half * 2] + x[1][half * 2 + 1]));
        }
}

/* weight: of each 16 positions an a. */
static __device__ __forceinline__ void attn_rows_round(const float (*s)[2][4], uint32_t (*weight)[4]) {
#pragma unroll
    for (int j = 0; j < ATTN_STEPS; j++)
#pragma unroll
        for (int x = 0; x < 4; x++) weight[j][x] = fc_bf16_pair(s[j][x / 2][x % 2 * 2], s[j][x / 2][x % 2 * 2 + 1]);
}

/* The tile's o is made, some columns at a time, and folds into the run. */
template <int E>
static __device__ __forceinline__ void attn_rows_fold(int place, const attn_mma_shared<FC_BF16, E, 64> *m,
                                                      const uint32_t (*weight)[4], const float own[2],
                                                      const float sum[2], attn_rows_state<E> *st) {
    enum { STEP = 2 * E + 16, N = ATTN_COLUMNS };
    const int lane = (int)threadIdx.x % FC_WARP;
    const unsigned char *v = attn_half(place, m) + lane % 16 * STEP + lane / 16 * 16;
    float keep[2], add[2];
    for (int half = 0; half < 2; half++)
        attn_fold(&st->m[half], &st->l[half], own[half], sum[half], &keep[half], &add[half]);
#pragma unroll
    for (int c0 = 0; c0 < E / 8; c0 += N) {
        float o[N][4];
#pragma unroll
        for (int x = 0; x < N * 4; x++) o[x / 4][x % 4] = 0.0f;
#pragma unroll
        for (int j = 0; j < ATTN_STEPS; j++)
#pragma unroll
            for (int c = 0; c < N; c += 2) {
                uint32_t b[4];
                fc_ldmatrix<4, true>(b, v + j * 16 * STEP + (c0 + c) * 16);
                fc_mma_bf16(o[c], weight[j], b);
                fc_mma_bf16(o[c + 1], weight[j], b + 2);
            }
#pragma unroll
        for (int c = 0; c < N; c++)
            for (int x = 0; x < 4; x++) st->o[c0 + c][x] = fmaf(o[c][x], add[x / 2], st->o[c0 + c][x] * keep[x / 2]);
    }
}

/* The run ends, as in attn_mma_close. out: places of the unit's query vectors. */
template <int E>
static __device__ __forceinline__ void attn_rows_close(const attn_params &p, const attn_unit &u, bool last,
                                                       const int *out, attn_rows_state<E> *st) {
    const int lane = (int)threadIdx.x % FC_WARP, t = lane % 4;
    const bool whole = u.item.part < 0;
    const int width = whole ? p.kv.shape.E : p.kv.shape.E + 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = (int)threadIdx.x / FC_WARP * 16 + lane / 4 + half * 8;
        float *to = (whole ? p.a.y : p.a.part) + (row < u.n ? (size_t)out[row] * (size_t)width : 0);
        float keep, add, per;
        attn_fold(&st->tot_m[half], &st->tot_l[half], st->m[half], st->l[half], &keep, &add);
        st->m[half] = -INFINITY;
        st->l[half] = 0.0f;
        per = 1.0f / st->tot_l[half];
        if (!whole && t == 0 && row < u.n) {
            to[p.kv.shape.E] = st->tot_m[half];
            to[p.kv.shape.E + 1] = st->tot_l[half];
        }
#pragma unroll
        for (int c = 0; c < E / 8; c++) {
            float2 o = make_float2(st->o[c][half * 2], st->o[c][half * 2 + 1]);
            float2 *at = (float2 *)(void *)(to + c * 8 + 2 * t);
            st->o[c][half * 2] = st->o[c][half * 2 + 1] = 0.0f;
            if (row >= u.n || c * 8 + 2 * t >= p.kv.shape.E) continue;
            if (st->begun) o = make_float2(fmaf(o.x, add, at->x * keep), fmaf(o.y, add, at->y * keep));
            if (whole && last)
                o = make_float2(attn_result(o.x, per, st->tot_l[half] == 0.0f),
                                attn_result(o.y, per, st->tot_l[half] == 0.0f));
            *at = o;
        }
    }
    st->begun = true;
}

/* All tiles of a unit of at most 64 query vectors; as attn_mma_unit. */
template <int E>
static __device__ __forceinline__ void attn_rows_unit(const attn_params &p, const attn_unit &u, const attn_view &w,
                                                      attn_mma_shared<FC_BF16, E, 64> *m, int *ticket) {
    typedef attn_shape<FC_BF16, E> S;
    static_assert(S::ROWS == 16 * ATTN_WARPS, "16 rows a warp");
    attn_rows_state<E> st = {};
    uint32_t weight[ATTN_STEPS][4];
    float s[ATTN_STEPS][2][4], own[2], sum[2];
    int entry;
    for (int half = 0; half < 2; half++) st.m[half] = st.tot_m[half] = -INFINITY;
    attn_start(p, u, w, &m->tiles, &entry);
    attn_mma_queries<FC_BF16, E, ATTN_WARPS>(p, u, m);
    for (int i = 0; i < w.n; i++) {
        const int k = 2 * i % S::RING, v = (2 * i + 1) % S::RING;
        attn_step(p, u, w, 2 * i, &m->tiles, &entry);
        if (i + 1 == w.n && threadIdx.x == 0) *ticket = attn_take(p);
        attn_rows_dots<E>(k, m, s);
        attn_rows_scores(p, w, i, m->vectors.pos, s, own);
        attn_step(p, u, w, 2 * i + 1, &m->tiles, &entry); /* K is done with */
        attn_rows_weights(s, own, sum);
        attn_rows_round(s, weight);
        attn_rows_fold<E>(v, m, weight, own, sum, &st);
        if ((w.first + i) % FC_ATTN_RUN == FC_ATTN_RUN - 1 && i + 1 < w.n)
            attn_rows_close<E>(p, u, false, m->vectors.out, &st);
    }
    attn_rows_close<E>(p, u, true, m->vectors.out, &st);
}

template <fc_dtype TYPE, int E, int UNIT>
static __device__ __forceinline__ void attn_unit_run(const attn_params &p, const attn_unit &u, const attn_view &w,
                                                     attn_mma_shared<TYPE, E, UNIT> *m, int *ticket) {
    if (UNIT == 16 || u.n <= 16) {
        attn_mma_unit<TYPE, E, 1>(p, u, w, m, ticket);
    } else if constexpr (UNIT > 16) {
        if (UNIT == 32 || u.n <= 32) attn_mma_unit<TYPE, E, 2>(p, u, w, m, ticket);
        else if constexpr (attn_shape<TYPE, E>::BY_ROWS) attn_rows_unit<E>(p, u, w, m, ticket);
        else attn_mma_unit<TYPE, E, UNIT / 16>(p, u, w, m, ticket);
    }
}

#endif
