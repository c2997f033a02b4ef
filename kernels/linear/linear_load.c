#include "kernels/linear/linear_load.h"

#include <math.h>

/* As weight.cuh, linear.cu, linear_tile.cuh, linear_block.cuh, linear_lt.cu and head_tiles.cuh have them. */
enum {
    PANEL = 16,
    STEP = 64,
    TILE = 256,
    EIGHT = 8,
    PITCH = 260,
    RANGES = 8,
    FEW_ROWS = 16,
    SPLIT_ROWS = 128,
    LIBRARY_ROWS = 128,
    GROUPS_TILE = 128, /* outputs of a block of warpgroups, and rows at most */
    PAIR = 2,          /* blocks of a cluster that share x */
    ROWS_AT_ONCE = 1024,
    HEAD_ROWS_AT_ONCE = 1024,
    CHUNK_X = 2 * EIGHT * STEP + 2 * EIGHT * 4, /* a chunk of 8 rows of x: bf16, and sums of groups */
    CHUNK_X_PRECISE = CHUNK_X + 2 * EIGHT * STEP,
};

static double up(double n, double by) { return ceil(n / by); }
static bool plain(fc_dtype t) { return t == FC_F32 || t == FC_F16; }

/* Bytes of 16 outputs and 64 k. */
static int chunk(fc_dtype t, fc_scales scales) {
    switch (t) {
    case FC_F32: return PANEL * STEP * 4;
    case FC_F16:
    case FC_BF16: return PANEL * STEP * 2;
    case FC_F8: return PANEL * STEP + (scales == FC_SCALES_BLOCKS ? PANEL * 4 : 0);
    case FC_Q8_0:
    case FC_Q5_0: return PANEL * STEP + PANEL * 2 * 2;
    case FC_Q5_1: return PANEL * STEP + PANEL * 2 * 2 * 2;
    case FC_Q5_K:
    case FC_Q8_W: return PANEL * STEP + PANEL * 2 * 4 * 2;
    case FC_Q6_K: return PANEL * STEP + PANEL * 4 * 4;
    case FC_Q4_0: return PANEL * STEP / 2 + PANEL * 2 * 2;
    case FC_Q4_1: return PANEL * STEP / 2 + PANEL * 2 * 2 * 2;
    case FC_Q4_K:
    case FC_Q4_W: return PANEL * STEP / 2 + PANEL * 2 * 4 * 2;
    default: return 0; /* no matrix has it: packing refuses it */
    }
}

double fc_linear_packed_cuda(fc_dtype type, fc_scales scales, int N, int K) {
    const int rows = type == FC_F8 && scales == FC_SCALES_ROWS ? PANEL * 4 : 0;
    return up(N, PANEL) * (up(K, STEP) * chunk(type, scales) + rows);
}

/* The launch that makes x of T rows: what it reads, and what products read instead. */
static double make_x(const fc_linear_shape *a, int T, const fc_load_device *d, fc_load *l) {
    double row =
        plain(a->type) ? up(a->K, STEP) * STEP * 4 : up(a->K, STEP) * (a->precise ? CHUNK_X_PRECISE : CHUNK_X) / EIGHT;
    double x = 4.0 * T * a->K, made = up(T, EIGHT) * EIGHT * row;
    fc_load_array(l, d,
                  a->from == FC_FROM_ARRAY ? x
                  : a->from == FC_FROM_GLU ? 2 * x
                                           : 3 * x); /* a norm: x, res twice */
    fc_load_array(l, d, made);
    l->ops[FC_UNIT_F32] += a->from == FC_FROM_GLU ? 20.0 * T * a->K : 5.0 * T * a->K;
    l->launches++;
    return made;
}

/* Tiles of 8 rows that a block has, of many rows or of a head's. */
static int row_tiles(const fc_linear_shape *a, int T, bool head, const fc_load_device *d) {
    const double w = TILE / PANEL * chunk(a->type, a->scales), x = a->precise ? CHUNK_X_PRECISE : CHUNK_X;
    const int stages = a->type == FC_BF16 ? 3 : 4, most = a->type == FC_Q6_K && head ? 4 : 8;
    if (head && T <= EIGHT) return 1;
    for (int nt = most; nt >= 4; nt /= 2) {
        double ring = plain(a->type) ? 0 : stages * (w + nt * x), logits = nt * EIGHT * PITCH * 4.0;
        if ((T > 4 * EIGHT || nt == 4) && ring + logits <= d->shared_max) return nt;
    }
    return 2;
}

/* A launch over tiles of nt eights of rows and 256 outputs, z times cut along K. */
static void add_tiles(const fc_linear_shape *a, int T, int nt, int z, double x, const fc_load_device *d, fc_load *l) {
    double packed = fc_linear_packed_cuda(a->type, a->scales, a->N, a->K), rows = up(T, nt * EIGHT),
           cols = up(a->N, TILE);
    l->memory += packed;
    l->cache += packed * rows + x * cols;
    l->ops[FC_UNIT_BF16] +=
        2 * rows * nt * EIGHT * up(a->N, PANEL) * PANEL * up(a->K, STEP) * STEP * (a->precise ? 2 : 1);
    l->busy = fc_load_busy(rows * cols * z, (double)d->sms * (nt < 8 ? 2 : 1));
    l->launches++;
}

/* A block for 16 or 32 outputs and all rows, of which there are 16 at most. */
static void add_few(const fc_linear_shape *a, int T, double x, const fc_load_device *d, fc_load *l) {
    double packed = fc_linear_packed_cuda(a->type, a->scales, a->N, a->K), panels = up(a->N, PANEL);
    bool two = panels >= 2 * d->sms && !(a->type == FC_Q6_K && T > EIGHT);
    double blocks = two ? up(panels, 2) : panels;
    l->memory += packed;
    l->cache += packed + x * blocks;
    l->ops[FC_UNIT_BF16] += 2 * up(T, EIGHT) * EIGHT * panels * PANEL * up(a->K, STEP) * STEP * (a->precise ? 2 : 1);
    l->busy = fc_load_busy(blocks, 2.0 * d->sms);
    l->launches++;
}

static void add_plain(const fc_linear_shape *a, int T, const fc_load_device *d, fc_load *l) {
    double packed = fc_linear_packed_cuda(a->type, a->scales, a->N, a->K);
    l->memory += packed;
    l->cache += packed * up(T, EIGHT) + up(a->N, EIGHT) * 4.0 * T * a->K;
    l->ops[FC_UNIT_F32] += 2.0 * T * a->N * a->K;
    l->busy = fc_load_busy(up(a->N, EIGHT) * up(T, EIGHT), 4.0 * d->sms);
    l->launches++;
}

static void add_library(const fc_linear_shape *a, int T, double x, const fc_load_device *d, fc_load *l) {
    const int halves = a->precise ? 2 : 1;
    l->memory += halves * fc_linear_packed_cuda(a->type, a->scales, a->N, a->K);
    l->ops[FC_UNIT_BF16] += 2.0 * halves * T * a->N * a->K;
    fc_load_array(l, d, x + (halves - 1) * 8.0 * T * a->N); /* what a second product adds to */
    l->busy = fc_load_busy(up(T, 128) * up(a->N, 128), d->sms);
    l->launches += halves;
    l->library = true;
}

/* Times that a launch over few blocks is cut along K, so that all processors have work. */
static int cuts(int T, double tiles, const fc_load_device *d) {
    int z = 1;
    if (T > SPLIT_ROWS) return 1;
    while (z < RANGES && tiles * z * 2 <= d->sms) z *= 2;
    return z;
}

static bool by_warpgroups(const fc_linear_shape *a, int T, const fc_load_device *d) {
    return d->warpgroups && T > FEW_ROWS && !plain(a->type) && !(a->variant && a->type == FC_BF16);
}

/* Rows of a block. */
static int groups_rows(const fc_linear_shape *a, int T, const fc_load_device *d) {
    if (T <= 64) return T <= 32 ? 32 : 64;
    return T > SPLIT_ROWS && up(T, GROUPS_TILE) * up(a->N, GROUPS_TILE) * 2 <= d->sms ? 64 : GROUPS_TILE;
}

/* Blocks of `tile` rows, in clusters of two that share x, and of four that share weights too: x and the matrix as they
 * are read by way of the cache. */
static void add_blocks(const fc_linear_shape *a, int T, double tile, bool four, int z, double x,
                       const fc_load_device *d, fc_load *l) {
    double packed = fc_linear_packed_cuda(a->type, a->scales, a->N, a->K), rows = up(T, tile),
           pairs = up(a->N, PAIR * GROUPS_TILE);
    l->memory += packed;
    l->cache += packed * rows / (four ? 2 : 1) + x * pairs;
    l->ops[FC_UNIT_BF16] += 2 * rows * tile * pairs * PAIR * GROUPS_TILE * up(a->K, STEP) * STEP * (a->precise ? 2 : 1);
    l->busy = fc_load_busy(rows * pairs * PAIR * z, d->sms);
    l->launches++;
    l->warpgroups = true;
    l->chained = a->type == FC_BF16 || (a->type == FC_F8 && a->scales != FC_SCALES_BLOCKS);
}

/* Returns the cuts along K. */
static int add_warpgroups(const fc_linear_shape *a, int T, double x, const fc_load_device *d, fc_load *l) {
    double tile = groups_rows(a, T, d), rows = up(T, tile);
    int z = cuts(T, rows * up(a->N, PAIR * GROUPS_TILE) * PAIR, d);
    bool four = a->type == FC_BF16 && fmod(rows, 2) == 0;
    add_blocks(a, T, tile, four, z, x, d, l);
    return z;
}

static void add_rows(const fc_linear_shape *a, int T, const fc_load_device *d, fc_load *l) {
    double x = make_x(a, T, d, l), y = 4.0 * T * a->N;
    int nt, z = 1;
    if (a->variant && T >= LIBRARY_ROWS && a->type == FC_BF16) add_library(a, T, x, d, l);
    else if (plain(a->type)) add_plain(a, T, d, l);
    else if (by_warpgroups(a, T, d)) z = add_warpgroups(a, T, x, d, l);
    else if (T <= FEW_ROWS) add_few(a, T, x, d, l);
    else {
        nt = row_tiles(a, T, false, d);
        z = cuts(T, up(T, nt * EIGHT) * up(a->N, TILE), d);
        add_tiles(a, T, nt, z, x, d, l);
    }
    if (z > 1) { /* sums of ranges, and the launch that folds them */
        fc_load_array(l, d, 2 * RANGES * y);
        l->launches++;
    }
    fc_load_array(l, d, y);
}

fc_load fc_linear_load_cuda(const fc_linear_shape *a, const fc_load_device *d) {
    fc_load l = {.busy = 1};
    for (int first = 0; first < a->T; first += ROWS_AT_ONCE)
        add_rows(a, a->T - first < ROWS_AT_ONCE ? a->T - first : ROWS_AT_ONCE, d, &l);
    return l;
}

fc_load fc_head_load_cuda(const fc_linear_shape *a, int M, const fc_load_device *d) {
    fc_load l = {.busy = 1};
    double sums = up(a->N, TILE), packed = fc_linear_packed_cuda(a->type, a->scales, a->N, a->K);
    for (int first = 0; first < a->T; first += HEAD_ROWS_AT_ONCE) {
        int T = a->T - first < HEAD_ROWS_AT_ONCE ? a->T - first : HEAD_ROWS_AT_ONCE;
        double x = make_x(a, T, d, &l), busy;
        if (plain(a->type)) add_plain(a, T, d, &l);
        else if (by_warpgroups(a, T, d)) {
            if (M > 0) (void)make_x(a, T, d, &l); /* for the tiles that are computed again */
            const double tile = T <= 32 ? 32 : T <= 64 ? 64 : GROUPS_TILE;
            add_blocks(a, T, tile, a->type == FC_BF16 && fmod(up(T, tile), 2) == 0, 1, x, d, &l);
        } else add_tiles(a, T, row_tiles(a, T, true, d), 1, x, d, &l);
        busy = l.busy;
        l.ops[FC_UNIT_F32] += 20.0 * T * a->N; /* an exponential counts as 16 */
        fc_load_array(&l, d, 2 * 8.0 * T * sums);
        l.launches++; /* rows */
        if (M > 0) {
            double tiles = M < sums ? M : sums; /* members of one row that chose the same tile find it in the cache */
            l.memory += packed * tiles / sums;
            l.cache += packed * M / sums;
            l.ops[plain(a->type) ? FC_UNIT_F32 : FC_UNIT_BF16] += 2.0 * TILE * EIGHT * a->K * M * (a->precise ? 2 : 1);
            l.launches++;
        }
        l.busy = busy;
    }
    return l;
}
