/* linear_x - rows of x as products on CUDA read them, made once a call by one kernel. Inner to kernels/linear and
 * kernels/head.
 *
 * codes   for weights that are multiplied on tensor cores: x rounded to bf16 (hi), and, precise, what that leaves,
 *         rounded to bf16 again (lo). [T/8 rounded up][steps] chunks:
 *           hi [2 groups of 32 k][8 rows][t = 0..3][8] bf16, of k = 4t..4t+3 and 16+4t..16+4t+3: a lane's b, 16 bytes
 *           sum [2 groups][8 rows] f32: of what hi (and lo) hold, for minimums
 *           lo as hi, where precise
 *         rows past T and k past K are zero. A number that is not finite, or rounds to none, is NaN.
 * rows    hi of codes as [T rounded up to 8][64 steps] bf16, each group of 32 in the order of a row of BF16 weights
 *         (weight.cuh); lo, where precise, likewise
 * tiles   codes for products of warpgroups: [T/R rounded up][steps] chunks of R rows, each as it lies in shared
 *         memory (wgmma.cuh):
 *           hi [R rows][8 pieces] of 16 bytes [t][e], piece 4 group + 2 (p / 2) + p % 2 in place XOR row % 8
 *           lo as hi, where precise
 *           sum [2 groups][R rows] f32
 *         k past K are zero; rows past T, rounded up to 8, have no meaning
 * floats  for F32 and F16: x itself, [T][64 steps] f32, zero past K
 */
#ifndef FC_KERNELS_LINEAR_X_CUH
#define FC_KERNELS_LINEAR_X_CUH

#include "kernels/linear/weight.cuh"

enum {
    FC_X_ROWS = 8, /* rows of a chunk: columns of one mma */
    FC_X_ROWS_AT_ONCE = 1024,
    FC_X_SUMS = FC_X_ROWS * FC_STEP * 2,
    FC_X_LO = FC_X_SUMS + 2 * FC_X_ROWS * 4,
    FC_X_CHUNK = FC_X_LO, /* bytes of a chunk; of a precise one: */
    FC_X_CHUNK_PRECISE = FC_X_LO + FC_X_ROWS * FC_STEP * 2,
};

/* Bytes of hi of a tile's chunk, where lo begins; of its sums, with which it ends; of all. rows: a multiple of 8. */
static __host__ __device__ constexpr int fc_x_tile_lo(int rows) { return rows * FC_STEP * 2; }
static __host__ __device__ constexpr int fc_x_tile_sums(int rows) { return rows * 2 * 4; }
static __host__ __device__ constexpr int fc_x_tile_chunk(int rows, bool precise) {
    return (precise ? 2 : 1) * fc_x_tile_lo(rows) + fc_x_tile_sums(rows);
}

/* Passed to kernels by value. */
typedef struct {
    const unsigned char *codes; /* device, or NULL: no part reads them */
    const float *floats;        /* device, or NULL                     */
    int T, K, steps;
    int chunk; /* bytes */
    bool precise;
} fc_linear_x;

/* Where rows of x come from: linear.h's x, norm and glu, of which one is given; rows first .. first + T - 1 of them. */
typedef struct {
    const float *x;
    const fc_rmsnorm_args *norm;
    const fc_glu_args *glu;
    int first, T;
    bool precise;
} fc_linear_x_from;

/* Bytes that T rows take for w. */
size_t fc_linear_x_bytes(const fc_weight *w, int T, bool precise);
/* Rows of a tile that T rows are for products of warpgroups, at most; 0: fewer than 17 are none. Bytes of tiles. */
enum { FC_X_TILE_LEAST = 17, FC_X_TILE_MOST = 128 };
static inline int fc_linear_tile_rows(int T) {
    return T < FC_X_TILE_LEAST ? 0 : T <= 32 ? 32 : T <= 64 ? 64 : (int)FC_X_TILE_MOST;
}
static inline size_t fc_linear_tiles_bytes(int T, int K, bool precise) {
    int rows = fc_linear_tile_rows(T);
    if (!rows) return 0;
    return (size_t)fc_div_up(T, rows) * (size_t)fc_linear_steps(K) * (size_t)fc_x_tile_chunk(rows, precise);
}
/* Rows that can be made at once in what the stream has reserved: T, or FC_X_ROWS_AT_ONCE, or a smaller multiple of 8;
 * FC_ERR_MEM under the operator's name where 8 do not fit. */
fc_status fc_linear_x_rows(fc_stream s, const char *what, const fc_weight *w, int T, bool precise, int *out);
/* memory: device, 256-byte aligned, fc_linear_x_bytes; *out points into it. Writes what a norm or a gated unit leaves
 * to its y too, and updates the norm's res. */
fc_status fc_linear_x_make(fc_stream s, const fc_weight *w, const fc_linear_x_from *from, void *memory,
                           fc_linear_x *out);
/* The same as rows, at out->codes; lo is `half` bytes further. */
fc_status fc_linear_x_make_rows(fc_stream s, const fc_weight *w, const fc_linear_x_from *from, void *memory,
                                size_t half, fc_linear_x *out);
/* The same as tiles of so many rows, at out->codes; all parts of w are codes. */
fc_status fc_linear_x_make_tiles(fc_stream s, const fc_weight *w, const fc_linear_x_from *from, int tile, void *memory,
                                 fc_linear_x *out);

#endif
