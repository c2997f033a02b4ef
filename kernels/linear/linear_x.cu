#include "kernels/linear/linear_x.cuh"

#include "kernels/cuda/warp.cuh"
#include "kernels/glu/glu.cuh"

enum { THREADS = 256, PIECE = 8 /* elements of a thread: a lane's b */ };

typedef enum { FROM_ARRAY = 0, FROM_NORM, FROM_GLU } from_kind;

typedef enum { CHUNKS = 0, ROWS, TILES } x_form; /* of codes */

/* Rows are those of this call: pointers begin at its first. */
typedef struct {
    const float *x; /* [T,K]; of a gated unit [T,2K] */
    float *res;     /* [T,K] or NULL */
    const float *w; /* [K] of a norm */
    float *y;       /* [T,K] or NULL */
    unsigned char *codes;
    x_form form;
    int tile;    /* rows of one */
    size_t half; /* of rows: from hi to lo */
    float *floats;
    float eps;
    int T, K, steps, chunk;
    fc_act act;
    bool precise;
    bool aligned; /* all that is read and y: in fours */
} x_params;

struct x_shared {
    float fold[FC_WARPS_MAX];
};

/* x[0..3], zero from n on. */
static __device__ __forceinline__ void load_4(float v[4], const float *x, int n, bool aligned) {
    if (aligned && n >= 4) {
        float4 f = *(const float4 *)x;
        v[0] = f.x, v[1] = f.y, v[2] = f.z, v[3] = f.w;
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = i < n ? x[i] : 0.0f;
}

static __device__ __forceinline__ void store_4(float *y, const float v[4], int n, bool aligned) {
    if (aligned && n >= 4) {
        *(float4 *)y = make_float4(v[0], v[1], v[2], v[3]);
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (i < n) y[i] = v[i];
}

/* Elements k .. k + 3 of row t as x has them; those past K are zero. */
template <int FROM>
static __device__ __forceinline__ void make_4(float v[4], const x_params &p, int t, int k, float scale) {
    int n = p.K - k;
    size_t at = (size_t)t * p.K + k;
    if (n <= 0) {
        v[0] = v[1] = v[2] = v[3] = 0.0f;
        return;
    }
    if (FROM == FROM_GLU) {
        float up[4];
        load_4(v, p.x + (size_t)t * p.K + at, n, p.aligned);
        load_4(up, p.x + (size_t)t * p.K + at + p.K, n, p.aligned);
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = fc_glu_one(v[i], up[i], p.act);
    } else {
        load_4(v, p.x + at, n, p.aligned);
    }
    if (FROM == FROM_NORM) {
        float other[4];
        if (p.res) {
            load_4(other, p.res + at, n, p.aligned);
#pragma unroll
            for (int i = 0; i < 4; i++) v[i] = other[i] + v[i];
            store_4(p.res + at, v, n, p.aligned);
        }
        load_4(other, p.w + k, n, p.aligned);
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = v[i] * scale * other[i];
    }
    if (p.y) store_4(p.y + at, v, n, p.aligned);
}

/* 1 / rms of row t, in rmsnorm.cu's order. */
static __device__ __forceinline__ float norm_scale(const x_params &p, int t, float *fold) {
    const float *x = p.x + (size_t)t * p.K, *res = p.res ? p.res + (size_t)t * p.K : NULL;
    float sum = 0.0f;
    for (int k = (int)threadIdx.x; k < p.K; k += THREADS) {
        float h = res ? res[k] + x[k] : x[k];
        sum = fmaf(h, h, sum);
    }
    return 1.0f / sqrtf(fc_block_sum(sum, fold) / (float)p.K + p.eps);
}

/* Two numbers as bf16, what they leave in lo, what both hold together added to *sum. */
static __device__ __forceinline__ uint32_t split(float a, float b, bool precise, uint32_t *lo, float *sum) {
    a = fabsf(a) < 0x1.ffp127f ? a : NAN; /* what is as large as this would round to infinity */
    b = fabsf(b) < 0x1.ffp127f ? b : NAN;
    uint32_t hi = fc_bf16_pair(a, b);
    *lo = precise ? fc_bf16_pair(a - fc_bf16_lo(hi), b - fc_bf16_hi(hi)) : 0;
    *sum += fc_bf16_lo(hi) + fc_bf16_lo(*lo);
    *sum += fc_bf16_hi(hi) + fc_bf16_hi(*lo);
    return hi;
}

/* The same words as part of a tile. */
static __device__ __forceinline__ void put_tile(const x_params &p, int row, int group, int t, const uint32_t hi[4],
                                                const uint32_t lo[4], float sum) {
    int r = row % p.tile;
    unsigned char *chunk = p.codes + ((size_t)(row / p.tile) * p.steps + group / 2) * p.chunk;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        unsigned char *to = chunk + r * (FC_STEP * 2) + ((group % 2 * 4 + i) ^ (r % 8)) * 16 + t * 4;
        *(uint32_t *)to = hi[i];
        if (p.precise) *(uint32_t *)(to + fc_x_tile_lo(p.tile)) = lo[i];
    }
    if (t == 0) ((float *)(chunk + p.chunk - fc_x_tile_sums(p.tile)))[group % 2 * p.tile + r] = sum;
}

/* A thread's 8 elements, 4 from k and 4 from k + 16 on, to their place; 4 threads have a group of a row. */
static __device__ __forceinline__ void put_codes(const x_params &p, int row, int piece, const float v[2][4],
                                                 bool there) {
    int group = piece / 4, t = piece % 4;
    unsigned char *chunk = p.codes + ((size_t)(row / FC_X_ROWS) * p.steps + group / 2) * p.chunk;
    unsigned char *to = chunk + ((group % 2 * FC_X_ROWS + row % FC_X_ROWS) * 4 + t) * 16;
    size_t lo_at = FC_X_LO;
    float sum = 0.0f;
    uint32_t lo[4];
    uint4 hi;
    hi.x = split(v[0][0], v[0][1], p.precise, &lo[0], &sum);
    hi.y = split(v[0][2], v[0][3], p.precise, &lo[1], &sum);
    hi.z = split(v[1][0], v[1][1], p.precise, &lo[2], &sum);
    hi.w = split(v[1][2], v[1][3], p.precise, &lo[3], &sum);
    sum = fc_lanes_sum<1, 2>(sum);
    if (!there) return;
    if (p.form == TILES) {
        const uint32_t word[4] = {hi.x, hi.y, hi.z, hi.w};
        put_tile(p, row, group, t, word, lo, sum);
        return;
    }
    if (p.form == ROWS) {
        to = p.codes + (size_t)row * fc_bf16_row_bytes(p.steps) + piece * 16;
        lo_at = p.half;
    }
    *(uint4 *)to = hi;
    if (p.precise) *(uint4 *)(to + lo_at) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
    if (t == 0 && p.form == CHUNKS) ((float *)(chunk + FC_X_SUMS))[group % 2 * FC_X_ROWS + row % FC_X_ROWS] = sum;
}

/* A block per row, or, where no sum needs it whole, per THREADS * PIECE elements of one. */
template <int FROM> static __global__ void x_kernel(const x_params p) {
    int row = (int)blockIdx.x, pieces = p.steps * (FC_STEP / PIECE), stride = (int)gridDim.y * THREADS;
    bool real = row < p.T;
    float scale = 0.0f;
    if (FROM == FROM_NORM && real) scale = norm_scale(p, row, fc_shared<x_shared>()->fold);
    for (int first = (int)blockIdx.y * THREADS; first < pieces; first += stride) {
        int piece = first + (int)threadIdx.x, k = piece / 4 * FC_GROUP + piece % 4 * 4;
        bool there = piece < pieces;
        float v[2][4] = {{0.0f, 0.0f, 0.0f, 0.0f}, {0.0f, 0.0f, 0.0f, 0.0f}};
        if (there && real) {
            make_4<FROM>(v[0], p, row, k, scale);
            make_4<FROM>(v[1], p, row, k + FC_GROUP / 2, scale);
        }
        if (p.codes) put_codes(p, row, piece, v, there);
        if (p.floats && there && real) {
            float *to = p.floats + (size_t)row * p.steps * FC_STEP + k;
            store_4(to, v[0], 4, true);
            store_4(to + FC_GROUP / 2, v[1], 4, true);
        }
    }
}

/* Which of the two forms the parts of w read. */
static void forms_of(const fc_weight *w, bool *codes, bool *floats) {
    const fc_weight_cuda *c = fc_weight_cuda_of(w);
    *codes = *floats = false;
    for (int i = 0; i < c->n_parts; i++) *(fc_code_is_float(c->parts[i].code) ? floats : codes) = true;
}

static size_t codes_bytes(int T, int steps, bool precise) {
    return (size_t)fc_div_up(T, FC_X_ROWS) * (size_t)steps * (size_t)(precise ? FC_X_CHUNK_PRECISE : FC_X_CHUNK);
}

static size_t floats_bytes(int T, int steps) { return (size_t)T * (size_t)steps * FC_STEP * sizeof(float); }

size_t fc_linear_x_bytes(const fc_weight *w, int T, bool precise) {
    bool codes, floats;
    int steps = fc_linear_steps(w->K);
    forms_of(w, &codes, &floats);
    return (codes ? codes_bytes(T, steps, precise) : 0) + (floats ? floats_bytes(T, steps) : 0);
}

fc_status fc_linear_x_rows(fc_stream s, const char *what, const fc_weight *w, int T, bool precise, int *out) {
    int rows = T < FC_X_ROWS_AT_ONCE ? T : FC_X_ROWS_AT_ONCE;
    if (fc_linear_x_bytes(w, rows, precise) > s->workspace_bytes) {
        size_t eight = fc_linear_x_bytes(w, FC_X_ROWS, precise), eights = s->workspace_bytes / eight;
        void *unused;
        FC_TRY(fc_cuda_workspace(s, eight, what, &unused));
        if (eights * FC_X_ROWS < (size_t)rows) rows = (int)eights * FC_X_ROWS;
    }
    *out = rows;
    return FC_OK;
}

static bool in_fours(const void *p) { return (uintptr_t)p % 16 == 0; }

static fc_status make(fc_stream s, const fc_weight *w, const fc_linear_x_from *from, void *memory, x_form form,
                      int tile, size_t half, fc_linear_x *out) {
    bool codes, floats;
    int K = w->K, steps = fc_linear_steps(K), rows = fc_div_up(from->T, FC_X_ROWS) * FC_X_ROWS;
    size_t at = (size_t)from->first * (size_t)K;
    x_params p = {};
    dim3 grid((unsigned)rows, (unsigned)fc_div_up(steps * (FC_STEP / PIECE), THREADS));
    forms_of(w, &codes, &floats);
    p.T = from->T, p.K = K, p.steps = steps, p.precise = from->precise;
    p.tile = tile;
    p.chunk = form == TILES ? fc_x_tile_chunk(tile, p.precise) : p.precise ? FC_X_CHUNK_PRECISE : FC_X_CHUNK;
    p.form = form;
    p.half = half;
    if (codes) p.codes = (unsigned char *)memory;
    if (floats) p.floats = (float *)((unsigned char *)memory + (codes ? codes_bytes(p.T, steps, p.precise) : 0));
    *out = {p.codes, p.floats, p.T, K, steps, p.chunk, p.precise};
    if (from->norm) {
        p.x = from->norm->x + at;
        p.res = from->norm->res ? from->norm->res + at : NULL;
        p.y = from->norm->y ? from->norm->y + at : NULL;
        p.w = from->norm->w;
        p.eps = from->norm->eps;
        grid.y = 1;
    } else if (from->glu) {
        p.x = from->glu->x + 2 * at;
        p.y = from->glu->y ? from->glu->y + at : NULL;
        p.act = from->glu->act;
    } else {
        p.x = from->x + at;
    }
    p.aligned = K % 4 == 0 && in_fours(p.x) && in_fours(p.res) && in_fours(p.w) && in_fours(p.y);
    if (from->norm) return fc_launch(s, "linear: x of a norm", x_kernel<FROM_NORM>, grid, THREADS, sizeof(x_shared), p);
    if (from->glu) return fc_launch(s, "linear: x of a gated unit", x_kernel<FROM_GLU>, grid, THREADS, 0, p);
    return fc_launch(s, "linear: x", x_kernel<FROM_ARRAY>, grid, THREADS, 0, p);
}

fc_status fc_linear_x_make(fc_stream s, const fc_weight *w, const fc_linear_x_from *from, void *memory,
                           fc_linear_x *out) {
    return make(s, w, from, memory, CHUNKS, 0, 0, out);
}

fc_status fc_linear_x_make_rows(fc_stream s, const fc_weight *w, const fc_linear_x_from *from, void *memory,
                                size_t half, fc_linear_x *out) {
    return make(s, w, from, memory, ROWS, 0, half, out);
}

fc_status fc_linear_x_make_tiles(fc_stream s, const fc_weight *w, const fc_linear_x_from *from, int tile, void *memory,
                                 fc_linear_x *out) {
    return make(s, w, from, memory, TILES, tile, 0, out);
}
