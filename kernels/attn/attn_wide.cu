/* attn_wide - items of more than 64 query vectors over bf16 KV of heads up to 128, by warpgroups (sm_90a): a kernel of
 * its own, with the bits of attn_rows.cuh, since wgmma has those of mma.sync.
 *
 * A unit is 128 query vectors of an item and a KV head. Two warpgroups multiply, 64 vectors each; a third one deals the
 * units out and copies K and V, so that the next unit's tiles are on their way while this one's are worked on. A tile's
 * scores are products of q and K, both in shared memory; its o is one of weights, from the registers that the scores
 * were made in, and V, whose columns are fastest there. While the tensor cores make the o of a tile, and before that
 * the products of the next one, the warps make that one's weights.
 *
 * tile       a thread has 64 registers of o so far (E 128), 64 of the tile's o, 32 of scores, 16 of weights
 * in flight  halves (K or V of a tile) are 16 KB (E 64: 8); up to 3 are copied beside those that wait in the ring of 8
 * occupancy  one block of 384 threads, 2 x 128 x 224 + 128 x 56 registers of 65,536; 168 KB of shared memory
 * share      of a tile and 128 vectors tensor cores have 1,024 clocks (E 128). A warp issues some 550 instructions for
 *            it, the four schedulers 1,100; exponentials are 512 clocks of the units that make them. Partly beside the
 *            products: 60 % of the peak are possible. K and V are read once for 128 vectors, 32 bytes a clock; L2 gives
 *            some 24 to 30
 * banks      rows of 128 bytes, whose pieces of 16 lie in places XOR row % 8, as products want them: eight threads that
 *            copy a row's pieces, or that write q, meet in no bank
 * source     Shah et al., "FlashAttention-3", 2024 (who overlaps what)
 */
#include "kernels/attn/attn_wide.cuh"

#include "kernels/attn/attn_rows.cuh"
#include "kernels/cuda/wgmma.cuh"

#include <limits.h>

enum {
    WIDE_GROUP = FC_ATTN_WIDE_HALF, /* query vectors of a warpgroup: as many as a half has positions */
    WIDE_ROWS = FC_ATTN_WIDE_UNIT,
    WIDE_FIRST = 2 * FC_WARPGROUP, /* the first thread that copies */
    WIDE_THREADS = WIDE_FIRST + ATTN_THREADS,
    WIDE_WARPS = WIDE_FIRST / FC_WARP, /* that multiply */
    WIDE_RING = 8,
    WIDE_AHEAD = 3, /* halves that a thread has on their way */
    WIDE_ALIGN = 1024,
    WIDE_LINE = 128 /* bytes of a row that swizzles know: 64 elements */
};

typedef struct {
    attn_unit unit;
    attn_view view;
    attn_vectors<WIDE_ROWS> vectors;
    bool none; /* there are no more */
} wide_unit;

/* Halves and queries are [E / 64][64][128 bytes], swizzled. */
template <int E> struct wide_shared {
    enum { HALF = ATTN_TILE * E * 2, PANEL = ATTN_TILE * WIDE_LINE };
    unsigned char ring[WIDE_RING][HALF];
    unsigned char q[2][HALF]; /* of each warpgroup */
    uint64_t full[WIDE_RING], empty[WIDE_RING], dealt[2], done[2];
    const unsigned char *k[2][ATTN_TILE]; /* of each position of a tile; NULL: not read */
    wide_unit units[2];                   /* one that is worked on, one whose tiles are copied */
    attn_work_shared work;
};

#if FC_HOPPER /* elsewhere the kernel traps */
/* 16 bytes of a half or of queries: elements 8 piece .. + 7 of a row. */
static __device__ __forceinline__ int wide_at(int row, int piece) {
    return piece / 8 * (ATTN_TILE * WIDE_LINE) + row * WIDE_LINE + ((piece % 8) ^ (row % 8)) * 16;
}

/* Where half h, counted through all units of the block, lies, and the parity of its turn. */
static __device__ __forceinline__ int wide_place(unsigned h) { return (int)(h % WIDE_RING); }
static __device__ __forceinline__ unsigned wide_parity(unsigned h) { return h / WIDE_RING & 1; }

/* ---- the warpgroup that copies */

/* Half h sets out: K of a tile, or V, which lies `beside` bytes behind it. */
template <int E>
static __device__ __forceinline__ void wide_send(const attn_params &p, const unsigned char *const *k, size_t beside,
                                                 unsigned h, wide_shared<E> *m) {
    enum { PIECES = E / 8 };
    const int thread = (int)threadIdx.x - WIDE_FIRST, width = p.kv.shape.E * 2;
    unsigned char *to = m->ring[wide_place(h)];
    fc_mbarrier_wait(&m->empty[wide_place(h)], wide_parity(h) ^ 1);
#pragma unroll
    for (int i = 0; i < ATTN_TILE * PIECES / ATTN_THREADS; i++) {
        const int at = thread + i * ATTN_THREADS, j = at / PIECES, piece = at % PIECES;
        const bool is = k[j] && piece * 16 < width;
        fc_copy_async<16>(to + wide_at(j, piece), is ? k[j] + beside + piece * 16 : (const unsigned char *)p.kv.base,
                          is);
    }
    fc_copy_commit();
}

/* All but the newest LEFT halves of this thread have landed; half h is the last of them. */
template <int E, int LEFT> static __device__ __forceinline__ void wide_landed(unsigned h, wide_shared<E> *m) {
    fc_copy_wait<LEFT>();
    fc_proxy_fence();
    fc_mbarrier_arrive(&m->full[wide_place(h)]);
}

template <int E>
static __device__ __forceinline__ void wide_note(const attn_params &p, const wide_unit &u, int i, int j, int entry,
                                                 wide_shared<E> *m) {
    const float *scale = NULL; /* of codes, which are not here */
    if (i < u.view.n) m->k[i % 2][j] = attn_key(p, u.unit, u.view, i, j, entry, 2, &scale);
}

/* The unit's tiles; *h: halves so far. */
template <int E>
static __device__ __forceinline__ void wide_copy(const attn_params &p, const wide_unit &u, wide_shared<E> *m,
                                                 unsigned *h) {
    const int thread = (int)threadIdx.x - WIDE_FIRST, n = u.view.n;
    const size_t beside = (size_t)p.kv.shape.P * (size_t)p.kv.shape.E * 2;
    const unsigned last = *h + 2 * (unsigned)n;
    unsigned landed = *h;
    int entry = -1;
    if (thread < ATTN_TILE) {
        wide_note(p, u, 0, thread, attn_entry(p, u.unit, u.view, 0, thread), m);
        entry = attn_entry(p, u.unit, u.view, 1, thread);
    }
    if (n == 0 && thread == 0) m->work.ticket = attn_take(p);
    for (int i = 0; i < n; i++) {
        if (i + 1 == n && thread == 0) m->work.ticket = attn_take(p); /* who is done first draws first */
        attn_meet<WIDE_FIRST>(); /* places are noted, and those of the tile before are done with */
        if (thread < ATTN_TILE) {
            wide_note(p, u, i + 1, thread, entry, m);
            entry = attn_entry(p, u.unit, u.view, i + 2, thread);
        }
        for (int half = 0; half < 2; half++) {
            wide_send(p, m->k[i % 2], half ? beside : 0, (*h)++, m);
            if (*h - landed > WIDE_AHEAD) wide_landed<E, WIDE_AHEAD>(landed++, m);
        }
    }
    while (landed < last) wide_landed<E, 0>(landed++, m);
    attn_meet<WIDE_FIRST>();
}

template <int E> static __device__ __forceinline__ void wide_deal(const attn_params &p, wide_shared<E> *m) {
    attn_place at = {-ATTN_THREADS, 0, 0, 0};
    unsigned h = 0;
    if (threadIdx.x == WIDE_FIRST) m->work.ticket = attn_take(p);
    attn_meet<WIDE_FIRST>();
    for (unsigned i = 0;; i++) {
        wide_unit *u = &m->units[i % 2];
        const bool is = attn_find<WIDE_FIRST>(p, m->work.ticket, WIDE_ROWS, &m->work, &at);
        fc_mbarrier_wait(&m->done[i % 2], (i / 2 & 1) ^ 1);
        if (is) attn_view_open<WIDE_FIRST>(p, m->work.unit, &u->vectors, &u->view);
        if (threadIdx.x == WIDE_FIRST) {
            u->unit = m->work.unit;
            u->none = !is;
            fc_mbarrier_arrive(&m->dealt[i % 2]);
        }
        if (!is) break;
        attn_meet<WIDE_FIRST>();
        wide_copy(p, *u, m, &h);
    }
    if (threadIdx.x == WIDE_FIRST) attn_leave(p);
}

/* ---- warpgroups that multiply */

static __device__ __forceinline__ int wide_group(void) { return (int)threadIdx.x / FC_WARPGROUP; }

/* Half h has landed. */
template <int E> static __device__ __forceinline__ void wide_await(unsigned h, wide_shared<E> *m) {
    fc_mbarrier_wait(&m->full[wide_place(h)], wide_parity(h));
}

/* The warp has done with half h. */
template <int E> static __device__ __forceinline__ void wide_leave(unsigned h, wide_shared<E> *m) {
    __syncwarp();
    if (threadIdx.x % FC_WARP == 0) fc_mbarrier_arrive(&m->empty[wide_place(h)]);
}

/* The warpgroup's queries as bf16, zero beyond the unit's vectors and beyond the true E. */
template <int E>
static __device__ __forceinline__ void wide_queries(const attn_params &p, const attn_unit &u, wide_shared<E> *m) {
    fc_bar_sync(2 + wide_group(), FC_WARPGROUP); /* the last unit's are not read any more */
    for (int i = (int)threadIdx.x % FC_WARPGROUP; i < WIDE_GROUP * (E / 4); i += FC_WARPGROUP) {
        int r = i / (E / 4), e = i % (E / 4) * 4, vector = wide_group() * WIDE_GROUP + r;
        float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (vector < u.n && e < p.kv.shape.E) x = *(const float4 *)(const void *)(attn_query(p, u, vector) + e);
        *(uint2 *)(void *)(m->q[wide_group()] + wide_at(r, e / 8) + e % 8 * 2) =
            make_uint2(fc_bf16_pair(x.x, x.y), fc_bf16_pair(x.z, x.w));
    }
    fc_proxy_fence();
    fc_bar_sync(2 + wide_group(), FC_WARPGROUP);
}

/* Products of the queries and half h, which has landed, set out. */
template <int E> static __device__ __forceinline__ void wide_dots(unsigned h, wide_shared<E> *m, float *s) {
    const uint64_t q = fc_wgmma_b(m->q[wide_group()]), k = fc_wgmma_b(m->ring[wide_place(h)]);
    fc_wgmma_fence();
#pragma unroll
    for (int e = 0; e < E; e += 16) {
        const uint64_t at = (uint64_t)((e / 64 * wide_shared<E>::PANEL + e % 64 * 2) >> 4);
        fc_wgmma_bf16_shared<ATTN_TILE>(s, q + at, k + at, e > 0);
    }
    fc_wgmma_commit();
}

/* o of half h, the tile's V, which has landed, sets out. */
template <int E>
static __device__ __forceinline__ void wide_values(unsigned h, wide_shared<E> *m, const uint32_t (*weight)[4],
                                                   float *o) {
    const uint64_t v = fc_wgmma_b_turned(m->ring[wide_place(h)], wide_shared<E>::PANEL);
    fc_wgmma_fence();
#pragma unroll
    for (int j = 0; j < ATTN_STEPS; j++)
        fc_wgmma_bf16<E, true>(o, weight[j], v + (uint64_t)(j * 16 * WIDE_LINE >> 4), j > 0);
    fc_wgmma_commit();
}

template <int E>
static __device__ __forceinline__ void wide_fold(const float *o, const float own[2], const float sum[2],
                                                 attn_rows_state<E> *st) {
    float keep[2], add[2];
    for (int half = 0; half < 2; half++)
        attn_fold(&st->m[half], &st->l[half], own[half], sum[half], &keep[half], &add[half]);
#pragma unroll
    for (int c = 0; c < E / 8; c++)
        for (int x = 0; x < 4; x++) st->o[c][x] = fmaf(o[c * 4 + x], add[x / 2], st->o[c][x] * keep[x / 2]);
}

/* All tiles of a unit, whose first half is h. */
template <int E>
static __device__ __forceinline__ void wide_run(const attn_params &p, const wide_unit &u, wide_shared<E> *m,
                                                unsigned h) {
    const attn_view &w = u.view;
    attn_rows_state<E> st = {};
    uint32_t weight[ATTN_STEPS][4];
    float s[ATTN_STEPS][2][4], o[E / 2], own[2], sum[2];
    for (int half = 0; half < 2; half++) st.m[half] = st.tot_m[half] = -INFINITY;
    wide_queries(p, u.unit, m);
    if (w.n > 0) {
        wide_await(h, m);
        wide_dots(h, m, &s[0][0][0]);
        fc_wgmma_wait<0>();
        fc_wgmma_done<ATTN_TILE>(&s[0][0][0]);
        wide_leave(h, m);
        attn_rows_scores(p, w, 0, u.vectors.pos, s, own);
        attn_rows_weights(s, own, sum);
        attn_rows_round(s, weight);
        wide_await(h + 1, m);
    }
    for (int i = 0; i + 1 < w.n; i++, h += 2) {
        float next[2], next_sum[2];
        wide_await(h + 2, m);
        wide_dots(h + 2, m, &s[0][0][0]);
        wide_values(h + 1, m, weight, o);
        fc_wgmma_wait<1>();
        fc_wgmma_done<ATTN_TILE>(&s[0][0][0]);
        wide_leave(h + 2, m);
        attn_rows_scores(p, w, i + 1, u.vectors.pos, s, next);
        attn_rows_weights(s, next, next_sum);
        fc_wgmma_beside<ATTN_TILE / 2>(&s[0][0][0]);
        fc_wgmma_beside<2>(next_sum);
        wide_await(h + 3, m); /* a branch: ptxas would do the wait below before the weights above */
        fc_wgmma_wait<0>();
        fc_wgmma_done<E>(o);
        wide_leave(h + 1, m);
        wide_fold<E>(o, own, sum, &st);
        if ((w.first + i) % FC_ATTN_RUN == FC_ATTN_RUN - 1) attn_rows_close<E>(p, u.unit, false, u.vectors.out, &st);
        attn_rows_round(s, weight);
        for (int half = 0; half < 2; half++) own[half] = next[half], sum[half] = next_sum[half];
    }
    if (w.n > 0) {
        wide_values(h + 1, m, weight, o);
        fc_wgmma_wait<0>();
        fc_wgmma_done<E>(o);
        wide_leave(h + 1, m);
        wide_fold<E>(o, own, sum, &st);
    }
    attn_rows_close<E>(p, u.unit, true, u.vectors.out, &st);
}

/* A warpgroup that has no vector of the unit lets its halves pass. */
template <int E> static __device__ __forceinline__ void wide_pass(const wide_unit &u, wide_shared<E> *m, unsigned h) {
    for (unsigned end = h + 2 * (unsigned)u.view.n; h < end; h++) {
        wide_await(h, m);
        wide_leave(h, m);
    }
}

template <int E> static __device__ __forceinline__ void wide_multiply(const attn_params &p, wide_shared<E> *m) {
    unsigned h = 0;
    for (unsigned i = 0;; i++) {
        const wide_unit &u = m->units[i % 2];
        fc_mbarrier_wait(&m->dealt[i % 2], i / 2 & 1);
        if (u.none) break;
        if (wide_group() * WIDE_GROUP < u.unit.n) wide_run(p, u, m, h);
        else wide_pass(u, m, h);
        h += 2 * (unsigned)u.view.n;
        __syncwarp();
        if (threadIdx.x % FC_WARP == 0) fc_mbarrier_arrive(&m->done[i % 2]);
    }
}
#endif

template <int E> static __global__ void __launch_bounds__(WIDE_THREADS, 1) wide_kernel(const attn_params p) {
#if FC_HOPPER
    unsigned char *begin = fc_shared<unsigned char>();
    wide_shared<E> *m =
        (wide_shared<E> *)(void *)(begin + (WIDE_ALIGN - fc_shared_address(begin) % WIDE_ALIGN) % WIDE_ALIGN);
    if (threadIdx.x == 0) {
        for (int i = 0; i < WIDE_RING; i++) {
            fc_mbarrier_init(&m->full[i], ATTN_THREADS);
            fc_mbarrier_init(&m->empty[i], WIDE_WARPS);
        }
        for (int i = 0; i < 2; i++) {
            fc_mbarrier_init(&m->dealt[i], 1);
            fc_mbarrier_init(&m->done[i], WIDE_WARPS);
        }
    }
    __syncthreads();
    if (threadIdx.x >= WIDE_FIRST) {
        fc_registers_fewer<56>();
        wide_deal<E>(p, m);
    } else {
        fc_registers_more<224>();
        wide_multiply<E>(p, m);
    }
#else
    __trap();
#endif
}

template <int E> static fc_status launch(fc_stream s, const attn_params &p) {
    double units = (double)p.a.n_items * p.kv.shape.G * fc_div_up(p.a.T * p.per, WIDE_ROWS);
    unsigned grid = (unsigned)(units < s->sms ? units : s->sms);
    return fc_launch(s, "attn: wide", wide_kernel<E>, dim3(grid), WIDE_THREADS, sizeof(wide_shared<E>) + WIDE_ALIGN, p);
}

fc_status fc_attn_wide(fc_stream s, attn_params p, int *left) {
    const int E = p.kv.shape.E;
    if (s->sm != 90 || p.kv.shape.type != FC_BF16 || E > 128 || !(*left & FC_ATTN_MANY) || p.a.n_items == 0 ||
        p.a.T * p.per < FC_ATTN_WIDE_LEAST || sizeof(wide_shared<128>) + WIDE_ALIGN > s->shared_max)
        return FC_OK;
    p.least = FC_ATTN_WIDE_LEAST;
    p.most = INT_MAX;
    if (E <= 64) FC_TRY((launch<64>(s, p)));
    else FC_TRY((launch<128>(s, p)));
    *left &= ~FC_ATTN_MANY;
    return FC_OK;
}
