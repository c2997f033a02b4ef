/* attn_tiles - a unit's tiles of K and V on their way to shared memory.
 *
 * Halves (K of a tile, then its V) go through a ring: half h lies in place h % RING, and while one is worked on, the
 * next RING - 1 are on their way. Where the 64 positions of a tile lie is looked up two or three tiles earlier, by half
 * of the threads, so that nobody waits for a page table. Positions that no row of the unit sees are not read: zeroes
 * land in their place. Rows are padded by 16 bytes, so that eight of them lie in different banks.
 */
#ifndef FC_KERNELS_ATTN_TILES_CUH
#define FC_KERNELS_ATTN_TILES_CUH

#include "kernels/attn/attn_work.cuh"
#include "kernels/cuda/async.cuh"
#include "kernels/cuda/exp2.cuh"

enum { ATTN_TILE = FC_ATTN_TILE };

/* Sizes for a KV type and E, the head dimension rounded up to one of 64, 96, 128, 256. */
template <fc_dtype TYPE, int E> struct attn_shape {
    enum {
        SIZE = TYPE == FC_F32    ? 4
               : TYPE == FC_BF16 ? 2
                                 : 1,
        SCALED = TYPE == FC_I8 || TYPE == FC_F8,
        STRIDE = E * SIZE + 16, /* bytes from one position to the next */
        PIECES = E * SIZE / 16, /* of a position */
        /* Two halves where three are more than the 99 KiB that a block may have on most devices. */
        RING = E <= 64 && TYPE != FC_F32               ? 4
               : E > 128 || (E > 96 && TYPE == FC_F32) ? 2
                                                       : 3,
        ROWS = TYPE == FC_F32 ? (E > 128 ? 16 : 32) : (E > 128 ? 32 : 64), /* query vectors of a unit */
        BY_ROWS = TYPE == FC_BF16 && E > 64 && E <= 128, /* units of more than 32 vectors: attn_rows.cuh */
        AHEAD = RING / 2 + 1, /* tiles between the one worked on and the one whose places are noted */
        LISTS = AHEAD + 1,
        BLOCKS = E <= 64                      ? 3
                 : E <= 128 || TYPE != FC_F32 ? 2
                                              : 1, /* a multiprocessor */
        /* The same of units of FC_ATTN_FEW_UNIT: as many as 228 KiB hold, Hopper's; 0: there are none. */
        FEW_BLOCKS = TYPE == FC_F32 || E > 128 ? 0
                     : E <= 64                 ? 5
                     : E <= 96 || SCALED       ? 4
                                               : 3,
        WIDE = (E + 63) / 64
    };
};

template <fc_dtype TYPE, int E> struct attn_tiles_shared {
    typedef attn_shape<TYPE, E> S;
    __align__(16) unsigned char ring[S::RING][ATTN_TILE][S::STRIDE];
    const unsigned char *k[S::LISTS][ATTN_TILE]; /* of each position; NULL: not read */
    const float *k_scale[S::SCALED ? S::LISTS : 1][S::SCALED ? ATTN_TILE : 1];
    __align__(16) float scale[S::SCALED ? S::RING : 1][S::SCALED ? ATTN_TILE : 4]; /* of each half in the ring */
};

/* Query vector i of a unit: [E] of q. */
static __device__ __forceinline__ const float *attn_query(const attn_params &p, const attn_unit &u, int i) {
    int v = u.v0 + i, t = p.a.item_rows[u.item.row + v / p.per], h = u.g * p.per + v % p.per;
    return p.a.q + (size_t)t * (size_t)p.a.ldq + h * p.kv.shape.E;
}

/* Positions and places of the unit's query vectors, and what they see; ends with a barrier. */
template <int FIRST, int ROWS>
static __device__ __forceinline__ void attn_view_open(const attn_params &p, const attn_unit &u, attn_vectors<ROWS> *m,
                                                      attn_view *w) {
    const int i = (int)threadIdx.x - FIRST, warp = i / FC_WARP, window = p.a.window;
    const bool mine = i < u.n;
    int pos = -1, r, h, t, least, most;
    if (mine) {
        r = (u.v0 + i) / p.per;
        h = u.g * p.per + (u.v0 + i) % p.per;
        t = p.a.item_rows[u.item.row + r];
        pos = p.a.pos[t];
        m->out[i] = (u.item.part < 0 ? t : u.item.part + r) * p.a.H + h;
    }
    if (i < ROWS) m->pos[i] = pos; /* no vector: sees nothing */
    least = fc_warp_min(mine ? pos : INT32_MAX);
    most = fc_warp_max(pos);
    if (i % FC_WARP == 0) m->least[warp] = least, m->most[warp] = most;
    attn_meet<FIRST>();
    if (i == 0) {
        for (int k = 1; k < ATTN_WARPS; k++) {
            least = min(least, m->least[k]);
            most = max(most, m->most[k]);
        }
        w->least = least;
        w->most = most;
        w->since = window > 0 ? max(least - window + 1, 0) : 0;
        w->end = most + 1;
        w->first = max(u.item.tile, w->since / ATTN_TILE);
        w->n = max(min(u.item.tile + u.item.n_tiles, (w->end + ATTN_TILE - 1) / ATTN_TILE) - w->first, 0);
    }
    attn_meet<FIRST>();
}

/* Position j of the view's tile i: its entry in the page table or the list of slots; what attn_note wants. */
static __device__ __forceinline__ int attn_entry(const attn_params &p, const attn_unit &u, const attn_view &w, int i,
                                                 int j) {
    int at = (w.first + i) * ATTN_TILE + j;
    if (i >= w.n || at < w.since || at >= w.end) return -1;
    return u.item.gather < 0 ? p.a.pages[u.item.pages + (at >> p.log_p)]
                             : p.a.slots[u.item.gather + at - u.item.tile * ATTN_TILE];
}

/* Where K of position j of tile i lies, of elements of `size` bytes, and its scale; NULL: it is not read. */
static __device__ __forceinline__ const unsigned char *attn_key(const attn_params &p, const attn_unit &u,
                                                                const attn_view &w, int i, int j, int entry, int size,
                                                                const float **scale) {
    int at = (w.first + i) * ATTN_TILE + j, in_page = u.item.gather < 0 ? at : entry;
    int page = u.item.gather < 0 ? entry : entry >> p.log_p;
    const unsigned char *k = NULL;
    in_page &= p.kv.shape.P - 1;
    if (at >= w.since && at < w.end) {
        if (page < 0 || page >= p.kv.shape.n_pages) {
            fc_complain(p.trouble, FC_TROUBLE_ATTN_SLOT, u.index);
        } else {
            fc_kv_block_cuda b = fc_kv_block_cuda_at(p.kv, page, p.a.layer, u.g);
            k = b.k + (size_t)in_page * (size_t)p.kv.shape.E * size;
            *scale = b.k_scale + in_page;
        }
    }
    return k;
}

template <fc_dtype TYPE, int E>
static __device__ __forceinline__ void attn_note(const attn_params &p, const attn_unit &u, const attn_view &w, int i,
                                                 int j, int entry, attn_tiles_shared<TYPE, E> *m) {
    typedef attn_shape<TYPE, E> S;
    const float *scale = NULL;
    if (i >= w.n) return;
    m->k[i % S::LISTS][j] = attn_key(p, u, w, i, j, entry, S::SIZE, &scale);
    if (S::SCALED) m->k_scale[i % S::LISTS][j] = scale;
}

/* Half h, where there is one, sets out: a group of copies in any case, so that groups can be counted. */
template <fc_dtype TYPE, int E>
static __device__ __forceinline__ void attn_send(const attn_params &p, const attn_view &w, int h,
                                                 attn_tiles_shared<TYPE, E> *m) {
    typedef attn_shape<TYPE, E> S;
    if (h < 2 * w.n) {
        const int width = p.kv.shape.E * S::SIZE, to = h % S::RING, thread = (int)threadIdx.x;
        const size_t beside = h % 2 ? (size_t)p.kv.shape.P * (size_t)width : 0; /* V from K */
        const unsigned char *const *k = m->k[h / 2 % S::LISTS];
        const bool halved = S::SCALED && p.kv.shape.P == 1; /* a block lies at a multiple of 8 */
#pragma unroll
        for (int i = 0; i < ATTN_TILE * S::PIECES / ATTN_THREADS; i++) {
            int piece = thread + i * ATTN_THREADS, j = piece / S::PIECES, b = piece % S::PIECES * 16;
            const unsigned char *from = k[j];
            bool is = from && b < width;
            from = is ? from + beside + b : (const unsigned char *)p.kv.base;
            if (!halved) {
                fc_copy_async<16>(&m->ring[to][j][b], from, is);
            } else {
                fc_copy_async<8>(&m->ring[to][j][b], from, is);
                fc_copy_async<8>(&m->ring[to][j][b + 8], is ? from + 8 : from, is);
            }
        }
        if (S::SCALED && thread < ATTN_TILE) {
            const float *from = m->k_scale[h / 2 % S::LISTS][thread];
            bool is = k[thread] != NULL;
            fc_copy_async<4>(&m->scale[to][thread], is ? from + (h % 2 ? p.kv.shape.P : 0) : (const float *)p.kv.base,
                             is);
        }
    }
    fc_copy_commit();
}

/* The first halves set out; entry: of tile AHEAD, as attn_step wants it. */
template <fc_dtype TYPE, int E>
static __device__ __forceinline__ void attn_start(const attn_params &p, const attn_unit &u, const attn_view &w,
                                                  attn_tiles_shared<TYPE, E> *m, int *entry) {
    typedef attn_shape<TYPE, E> S;
    const int j = (int)threadIdx.x % ATTN_TILE;
    for (int i = (int)threadIdx.x / ATTN_TILE; i < S::AHEAD; i += ATTN_THREADS / ATTN_TILE)
        attn_note(p, u, w, i, j, attn_entry(p, u, w, i, j), m);
    *entry = (int)threadIdx.x < ATTN_TILE ? attn_entry(p, u, w, S::AHEAD, j) : -1;
    __syncthreads();
    for (int h = 0; h < S::RING - 1; h++) attn_send(p, w, h, m);
}

/* Half h has landed for all threads, and all are done with the one before, whose place is filled. With each K the
 * places of a tile are noted, and the entries of the one behind it asked for. */
template <fc_dtype TYPE, int E>
static __device__ __forceinline__ void attn_step(const attn_params &p, const attn_unit &u, const attn_view &w, int h,
                                                 attn_tiles_shared<TYPE, E> *m, int *entry) {
    typedef attn_shape<TYPE, E> S;
    fc_copy_wait<S::RING - 2>();
    __syncthreads();
    attn_send(p, w, h + S::RING - 1, m);
    if (h % 2 == 0 && (int)threadIdx.x < ATTN_TILE) {
        int i = h / 2 + S::AHEAD;
        attn_note(p, u, w, i, (int)threadIdx.x, *entry, m);
        *entry = attn_entry(p, u, w, i + 1, (int)threadIdx.x);
    }
}

/* Does every row see every position of tile i of the view? */
static __device__ __forceinline__ bool attn_all_seen(const attn_params &p, const attn_view &w, int i) {
    int t0 = (w.first + i) * ATTN_TILE;
    return t0 + ATTN_TILE - 1 <= w.least && (p.a.window <= 0 || t0 > w.most - p.a.window);
}

static __device__ __forceinline__ bool attn_seen(const attn_params &p, int at, int pos) {
    return at <= pos && (p.a.window <= 0 || at > pos - p.a.window);
}

/* A score in units of log 2, of the product of q and K. */
template <bool CAPPED> static __device__ __forceinline__ float attn_score(const attn_params &p, float dot) {
    const float log2e = 1.44269504f;
    if (!CAPPED) return dot * (p.a.scale * log2e);
    return p.a.soft_cap * log2e * tanhf(dot * (p.a.scale / p.a.soft_cap));
}
static __device__ __forceinline__ bool attn_capped(const attn_params &p) { return p.a.soft_cap > 0.0f; }
static __device__ __forceinline__ float attn_score(const attn_params &p, float dot) {
    return attn_capped(p) ? attn_score<true>(p, dot) : attn_score<false>(p, dot);
}

#endif
