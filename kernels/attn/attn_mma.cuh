/* attn_mma - a unit over KV that is multiplied as bf16, on tensor cores: bf16 as it lies, int8 and fp8 codes made bf16
 * in shared memory, exactly, tile by tile. Units of more than 32 query vectors may be attn_rows.cuh's.
 *
 * A warp makes the scores of all rows at its 16 of the tile's 64 positions, and later all rows of its quarter of the
 * columns of o: so one row is worked on by all four warps, and K and V are read once for up to 64 rows. In between the
 * warps tell one another the rows' maxima, weights and sums.
 *
 * order   a score: k steps of 16 elements, first to last; a row's sum: the four of a lane, lanes of a quad, then warps;
 *         o of a tile: steps of 16 positions, first to last. The same for every number of rows
 * threads lane = 4 g + t. It holds, of fragment rows g and g + 8 of each of MT groups of 16 rows, columns 2t and 2t+1;
 *         the running max and sum of rows 16 t + g and 16 t + g + 8 are its own (in each warp alike), and it tells the
 *         other three of its quad
 */
#ifndef FC_KERNELS_ATTN_MMA_CUH
#define FC_KERNELS_ATTN_MMA_CUH

#include "kernels/attn/attn_tiles.cuh"
#include "kernels/cuda/mma.cuh"

/* UNIT: query vectors of a unit, at most. */
template <fc_dtype TYPE, int E, int UNIT> struct attn_mma_shared {
    typedef attn_shape<TYPE, E> S;
    enum { ROWS = S::BY_ROWS && UNIT > 32 ? 32 : UNIT }; /* that warps share */
    attn_tiles_shared<TYPE, E> tiles;
    /* pairs of bf16; q and wide have rows padded by 16 bytes, weight its 16-byte pieces c of row r at c ^ r % 8 */
    __align__(16) uint32_t q[UNIT][(E + 8) / 2];
    __align__(16) uint32_t weight[ROWS][ATTN_TILE / 2];
    __align__(16) uint32_t wide[S::SCALED ? ATTN_TILE : 1][S::SCALED ? (E + 8) / 2 : 4]; /* a half of codes */
    float max[ATTN_WARPS][ROWS], sum[ATTN_WARPS][ROWS]; /* each warp's, of its positions */
    attn_vectors<UNIT> vectors;
    attn_work_shared work;
};

/* Two codes, the low bytes, as a pair of bf16; exact. */
template <fc_dtype TYPE> static __device__ __forceinline__ uint32_t attn_codes(uint32_t two) {
    float lo, hi;
    if (TYPE == FC_I8) { /* the last bits of 2^23 + code + 128 */
        two ^= 0x8080u;
        lo = __uint_as_float(0x4b000000u | (two & 0xffu)) - 8388736.0f;
        hi = __uint_as_float(0x4b000000u | (two >> 8 & 0xffu)) - 8388736.0f;
    } else { /* the exponent is f32's but for its bias; NaN is told by the slot's scale */
        lo = __uint_as_float((two & 0x80u) << 24 | (two & 0x7fu) << 20) * 0x1p120f;
        hi = __uint_as_float((two & 0x8000u) << 16 | (two & 0x7f00u) << 12) * 0x1p120f;
    }
    return (__float_as_uint(hi) & 0xffff0000u) | __float_as_uint(lo) >> 16;
}

template <fc_dtype TYPE, int E, int UNIT>
static __device__ __forceinline__ void attn_widen(int place, attn_mma_shared<TYPE, E, UNIT> *m) {
    enum { PIECES = E / 8 };
#pragma unroll(UNIT > 16 ? 16 : 4) /* small units have registers for no more */
    for (int i = 0; i < ATTN_TILE * PIECES / ATTN_THREADS; i++) {
        int piece = (int)threadIdx.x + i * ATTN_THREADS, j = piece / PIECES, at = piece % PIECES * 8;
        uint2 c = *(const uint2 *)(const void *)&m->tiles.ring[place][j][at];
        *(uint4 *)(void *)&m->wide[j][at / 2] = make_uint4(attn_codes<TYPE>(c.x), attn_codes<TYPE>(c.x >> 16),
                                                           attn_codes<TYPE>(c.y), attn_codes<TYPE>(c.y >> 16));
    }
}

/* Where the half in a place of the ring lies as bf16, positions 2 E + 16 bytes apart. */
template <fc_dtype TYPE, int E, int UNIT>
static __device__ __forceinline__ const unsigned char *attn_half(int place, const attn_mma_shared<TYPE, E, UNIT> *m) {
    return attn_shape<TYPE, E>::SCALED ? (const unsigned char *)m->wide[0] : m->tiles.ring[place][0];
}

/* The unit's queries as bf16, zero beyond its vectors and beyond the true E. */
template <fc_dtype TYPE, int E, int MT, int UNIT>
static __device__ __forceinline__ void attn_mma_queries(const attn_params &p, const attn_unit &u,
                                                        attn_mma_shared<TYPE, E, UNIT> *m) {
    for (int i = (int)threadIdx.x; i < MT * 16 * (E / 4); i += ATTN_THREADS) {
        int r = i / (E / 4), e = i % (E / 4) * 4;
        float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (r < u.n && e < p.kv.shape.E) x = *(const float4 *)(const void *)(attn_query(p, u, r) + e);
        m->q[r][e / 2] = fc_bf16_pair(x.x, x.y);
        m->q[r][e / 2 + 1] = fc_bf16_pair(x.z, x.w);
    }
}

/* s: scores of the unit's rows at the warp's positions of tile i, masked ones -inf; and each row's largest, told. */
template <fc_dtype TYPE, int E, int MT, int UNIT>
static __device__ __forceinline__ void attn_mma_scores(const attn_params &p, const attn_view &w, int i, int place,
                                                       attn_mma_shared<TYPE, E, UNIT> *m, float (*s)[2][4]) {
    typedef attn_shape<TYPE, E> S;
    enum { STEP = 2 * E + 16 };
    const int lane = (int)threadIdx.x % FC_WARP, warp = (int)threadIdx.x / FC_WARP, g = lane / 4, t = lane % 4;
    const int at = (w.first + i) * ATTN_TILE + warp * 16 + 2 * t; /* position of the lane's first column */
    const bool all = attn_all_seen(p, w, i);
    const unsigned char *k = attn_half(place, m) + (warp * 16 + lane % 8 + lane / 16 * 8) * STEP + lane / 8 % 2 * 16;
    const unsigned char *q = (const unsigned char *)m->q[lane % 16] + lane / 16 * 16;
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
        for (int x = 0; x < 8; x++) s[mt][x / 4][x % 4] = 0.0f;
#pragma unroll
    for (int e = 0; e < E; e += 16) {
        uint32_t b[4];
        fc_ldmatrix<4, false>(b, k + e * 2);
#pragma unroll
        for (int mt = 0; mt < MT; mt++) {
            uint32_t a[4];
            fc_ldmatrix<4, false>(a, q + mt * 16 * STEP + e * 2);
            fc_mma_bf16(s[mt][0], a, b);
            fc_mma_bf16(s[mt][1], a, b + 2);
        }
    }
    if (S::SCALED) {
        const float *scale = &m->tiles.scale[place][warp * 16 + 2 * t];
        const float per[4] = {scale[0], scale[1], scale[8], scale[9]};
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
            for (int x = 0; x < 8; x++) s[mt][x / 4][x % 4] *= per[x / 4 * 2 + x % 2];
    }
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = -INFINITY;
            int row = mt * 16 + g + half * 8, pos = all ? 0 : m->vectors.pos[row];
#pragma unroll
            for (int x = 0; x < 4; x++) {
                float *v = &s[mt][x / 2][half * 2 + x % 2];
                *v = attn_score(p, *v);
                if (!all && !attn_seen(p, at + x / 2 * 8 + x % 2, pos)) *v = -INFINITY;
                most = fmaxf(most, *v);
            }
            most = fc_lanes_max<1, 2>(most);
            if (t == 0) m->max[warp][row] = most;
        }
}

/* The lane's two rows' maxima, and then all rows' weights and sums of the warp's positions, told. */
template <fc_dtype TYPE, int E, int MT, int UNIT>
static __device__ __forceinline__ void attn_mma_weights(int place, attn_mma_shared<TYPE, E, UNIT> *m, float (*s)[2][4],
                                                        float own[2]) {
    typedef attn_shape<TYPE, E> S;
    const int lane = (int)threadIdx.x % FC_WARP, warp = (int)threadIdx.x / FC_WARP, g = lane / 4, t = lane % 4;
    const float *scale = &m->tiles.scale[S::SCALED ? place : 0][S::SCALED ? warp * 16 + 2 * t : 0];
    float base[2];
    for (int half = 0; half < 2; half++) {
        own[half] = -INFINITY;
        for (int k = 0; k < ATTN_WARPS && t < MT; k++) own[half] = fmaxf(own[half], m->max[k][t * 16 + g + half * 8]);
        base[half] = own[half] == -INFINITY ? 0.0f : own[half]; /* sees nothing: weights of 0, not of NaN */
    }
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = __shfl_sync(FC_ALL_LANES, base[half], (lane & ~3) | mt), x[4], sum;
            int row = mt * 16 + g + half * 8;
#pragma unroll
            for (int c = 0; c < 4; c++) x[c] = fc_exp2_ftz(s[mt][c / 2][half * 2 + c % 2] - most);
            sum = fc_lanes_sum<1, 2>((x[0] + x[1]) + (x[2] + x[3]));
            if (t == 0) m->sum[warp][row] = sum;
            if (S::SCALED) /* a masked position's scale may be anything */
                for (int c = 0; c < 4; c++) x[c] = x[c] > 0.0f ? x[c] * scale[c / 2 * 8 + c % 2] : 0.0f;
            m->weight[row][(2 * warp ^ g) * 4 + t] = fc_bf16_pair(x[0], x[1]);
            m->weight[row][((2 * warp + 1) ^ g) * 4 + t] = fc_bf16_pair(x[2], x[3]);
        }
}

enum { ATTN_COLUMNS = 4 }; /* groups of 8 columns that a warp multiplies at a time */
template <int E> struct attn_columns {
    enum { N = E / 32 < ATTN_COLUMNS ? E / 32 : ATTN_COLUMNS };
};

/* o: the tile's weights times V, all rows, N groups of 8 of the warp's columns, from group c0 on. */
template <fc_dtype TYPE, int E, int MT, int N, int UNIT>
static __device__ __forceinline__ void attn_mma_values(int place, int c0, const attn_mma_shared<TYPE, E, UNIT> *m,
                                                       float (*o)[N][4]) {
    enum { STEP = 2 * E + 16 };
    const int lane = (int)threadIdx.x % FC_WARP, warp = (int)threadIdx.x / FC_WARP;
    const unsigned char *v =
        attn_half(place, m) + lane % 16 * STEP + warp * (E / ATTN_WARPS) * 2 + c0 * 16 + lane / 16 * 16;
    const unsigned char *weight = (const unsigned char *)m->weight[lane % 16];
    const int turn = (lane / 16) ^ (lane % 8);
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
        for (int x = 0; x < N * 4; x++) o[mt][x / 4][x % 4] = 0.0f;
#pragma unroll 2
    for (int j = 0; j < ATTN_TILE; j += 16) {
        uint32_t a[MT][4];
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
            fc_ldmatrix<4, false>(a[mt], weight + mt * 16 * ATTN_TILE * 2 + (turn ^ (j / 8)) * 16);
#pragma unroll
        for (int c = 0; c < N; c += 2) {
            uint32_t b[4];
            if (c + 1 < N) fc_ldmatrix<4, true>(b, v + j * STEP + c * 16);
            else fc_ldmatrix<2, true>(b, v + j * STEP + c * 16);
#pragma unroll
            for (int mt = 0; mt < MT; mt++) {
                fc_mma_bf16(o[mt][c], a[mt], b);
                if (c + 1 < N) fc_mma_bf16(o[mt][c + 1 < N ? c + 1 : c], a[mt], b + 2);
            }
        }
    }
}

/* A unit's run so far and the runs before, the lane's share. tot of o lies in y: only who writes y has several runs. */
template <int E, int MT> struct attn_mma_state {
    float o[MT][E / 32][4];
    float m[2], l[2], tot_m[2], tot_l[2];
    bool begun; /* a run has been closed */
};

/* Factors of the lane's two rows, to all that hold elements of the row: keep and add of row g + 8 half of group mt. */
static __device__ __forceinline__ float attn_tell(float own, int mt) {
    return __shfl_sync(FC_ALL_LANES, own, ((int)threadIdx.x % FC_WARP & ~3) | mt);
}

/* The tile's o is made, and folds into the run by the maxima and sums that the warps have told. */
template <fc_dtype TYPE, int E, int MT, int UNIT>
static __device__ __forceinline__ void attn_mma_fold(int place, const attn_mma_shared<TYPE, E, UNIT> *m,
                                                     const float own[2], attn_mma_state<E, MT> *st) {
    enum { N = attn_columns<E>::N };
    const int lane = (int)threadIdx.x % FC_WARP, g = lane / 4, t = lane % 4;
    float keep[2], add[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = 0.0f;
        for (int k = 0; k < ATTN_WARPS && t < MT; k++) sum += m->sum[k][t * 16 + g + half * 8];
        attn_fold(&st->m[half], &st->l[half], own[half], sum, &keep[half], &add[half]);
    }
#pragma unroll
    for (int c0 = 0; c0 < E / 32; c0 += N) {
        float o[MT][N][4];
        attn_mma_values<TYPE, E, MT, N>(place, c0, m, o);
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float k = attn_tell(keep[half], mt), a = attn_tell(add[half], mt);
#pragma unroll
                for (int c = 0; c < N; c++)
                    for (int x = half * 2; x < half * 2 + 2; x++)
                        st->o[mt][c0 + c][x] = fmaf(o[mt][c][x], a, st->o[mt][c0 + c][x] * k);
            }
    }
}

/* The run ends. It folds into y, or as the unit's last becomes the answer or the partial state. */
template <fc_dtype TYPE, int E, int MT, int UNIT>
static __device__ __forceinline__ void attn_mma_close(const attn_params &p, const attn_unit &u, bool last,
                                                      const attn_mma_shared<TYPE, E, UNIT> *m,
                                                      attn_mma_state<E, MT> *st) {
    const int lane = (int)threadIdx.x % FC_WARP, warp = (int)threadIdx.x / FC_WARP, g = lane / 4, t = lane % 4;
    const bool whole = u.item.part < 0;
    const int width = whole ? p.kv.shape.E : p.kv.shape.E + 2;
    float keep[2], add[2];
    for (int half = 0; half < 2; half++) {
        int row = t * 16 + g + half * 8;
        attn_fold(&st->tot_m[half], &st->tot_l[half], st->m[half], st->l[half], &keep[half], &add[half]);
        st->m[half] = -INFINITY;
        st->l[half] = 0.0f;
        if (!whole && warp == 0 && row < u.n) {
            float *to = p.a.part + (size_t)m->vectors.out[row] * (size_t)width + p.kv.shape.E;
            to[0] = st->tot_m[half];
            to[1] = st->tot_l[half];
        }
    }
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float k = attn_tell(keep[half], mt), a = attn_tell(add[half], mt), sum = attn_tell(st->tot_l[half], mt);
            float per = 1.0f / sum;
            int row = mt * 16 + g + half * 8, e = warp * (E / ATTN_WARPS) + 2 * t;
            float *to = (whole ? p.a.y : p.a.part) + (row < u.n ? (size_t)m->vectors.out[row] * (size_t)width : 0) + e;
#pragma unroll
            for (int c = 0; c < E / 32; c++) {
                float2 o = make_float2(st->o[mt][c][half * 2], st->o[mt][c][half * 2 + 1]);
                st->o[mt][c][half * 2] = st->o[mt][c][half * 2 + 1] = 0.0f;
                if (row >= u.n || e + c * 8 >= p.kv.shape.E) continue;
                if (st->begun) {
                    float2 before = *(const float2 *)(const void *)(to + c * 8);
                    o = make_float2(fmaf(o.x, a, before.x * k), fmaf(o.y, a, before.y * k));
                }
                if (whole && last)
                    o = make_float2(attn_result(o.x, per, sum == 0.0f), attn_result(o.y, per, sum == 0.0f));
                *(float2 *)(void *)(to + c * 8) = o;
            }
        }
    st->begun = true;
}

/* All tiles of a unit of at most 16 MT query vectors. ticket: thread 0's next one, drawn when little is left to do. */
template <fc_dtype TYPE, int E, int MT, int UNIT>
static __device__ __forceinline__ void attn_mma_unit(const attn_params &p, const attn_unit &u, const attn_view &w,
                                                     attn_mma_shared<TYPE, E, UNIT> *m, int *ticket) {
    typedef attn_shape<TYPE, E> S;
    attn_mma_state<E, MT> st = {};
    float s[MT][2][4], own[2];
    int entry;
    for (int half = 0; half < 2; half++) st.m[half] = st.tot_m[half] = -INFINITY;
    attn_start(p, u, w, &m->tiles, &entry);
    attn_mma_queries<TYPE, E, MT>(p, u, m);
    for (int i = 0; i < w.n; i++) {
        const int k = 2 * i % S::RING, v = (2 * i + 1) % S::RING;
        attn_step(p, u, w, 2 * i, &m->tiles, &entry);
        if (i + 1 == w.n && threadIdx.x == 0) *ticket = attn_take(p);
        if (S::SCALED) {
            attn_widen(k, m);
            __syncthreads();
        }
        attn_mma_scores<TYPE, E, MT>(p, w, i, k, m, s);
        attn_step(p, u, w, 2 * i + 1, &m->tiles, &entry); /* maxima are told, K is done with */
        if (S::SCALED) attn_widen(v, m);
        attn_mma_weights<TYPE, E, MT>(v, m, s, own);
        __syncthreads();
        attn_mma_fold<TYPE, E, MT>(v, m, own, &st);
        if ((w.first + i) % FC_ATTN_RUN == FC_ATTN_RUN - 1 && i + 1 < w.n)
            attn_mma_close<TYPE, E, MT>(p, u, false, m, &st);
    }
    attn_mma_close<TYPE, E, MT>(p, u, true, m, &st);
}

#endif
