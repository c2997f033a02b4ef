/* levels - the two inner loops of linear, by vector unit. Inner to kernels/linear.
 *
 * prepare  rounds a tile of rows of x to codes, in the form that `multiply` of the same level reads
 * multiply one or two panels times one tile of rows: each output is one chain over K, first to last, so its bits do not
 *          depend on how many rows and panels share the call
 *
 * A prepared tile of R rows lies in the workspace as [K/32][R] records; F32, F16, BF16 and F8 panels read x itself.
 */
#ifndef FC_KERNELS_LINEAR_LEVELS_H
#define FC_KERNELS_LINEAR_LEVELS_H

#include "kernels/cpu/cpu.h"
#include "kernels/linear/panel.h"

#include <math.h>

/* Loops are written once, with rows, panels and form as arguments, and compiled once for each combination, so that all
 * sums stay in registers. A sanitizer would take minutes over those copies: there one copy with variables serves
 * all. */
#define FC_INLINE static inline __attribute__((always_inline))
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FC_ONE_COPY 1
#elif defined(__has_feature)
#define FC_ONE_COPY (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define FC_ONE_COPY 0
#endif
#if FC_ONE_COPY
#define FC_UNROLL
#elif defined(__clang__)
#define FC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FC_UNROLL _Pragma("GCC unroll 16")
#endif

/* Most of a call: of a vector unit, 12 integer and 12 float sums fill AVX-512's registers; of any level. */
enum { FC_VECTOR_ROWS = 6, FC_TILE_ROWS = 16, FC_TILE_PANELS = 2 };

/* A group whose largest magnitude is not above this is zero: 127 / it would leave f32, and scales / 16 or times those
 * of weights would lose bits. */
#define FC_X_TINY 0x1p-80f
/* precise: groups whose largest magnitude is more than so many times the mean of the row's groups' are fine. */
#define FC_X_FINE 1.0f
/* fine: code 127 stands for this part of the largest magnitude or more, so that codes fit 16 bits. */
#define FC_X_REST (1.0f / 250.0f)
#define FC_X_STEP (1.0f / 127.0f) /* scale of a group in which code 127 is 1 */

/* One group of 32 of a row: x = scale * code, and in one quad, four k from a multiple of 4 on, x = scale * (256 * high
 * + code). Codes are in -127..127, of a fine group's quad in -128..127 with high in -124..124; high is 0 where a group
 * is not fine. A group with a NaN or an infinity has codes 0 and scale NaN, so that all outputs of its row are NaN. */
typedef struct {
    int8_t code[FC_XGROUP];
    float scale;
    float scale16;    /* scale / 16: for the 4-bit codes that AVX-512 leaves in the high halves of their bytes */
    float sum;        /* scale * sum of whole codes */
    int32_t start[2]; /* where integer sums start, so that codes count from the part's zero code: -zero * sum of whole
                         codes [0] and 16 times that [1]; for groups of 16 the first and the second half's */
    int8_t high[4];
    int32_t quad; /* that quad's offset from the group's codes in a panel: FC_QUAD times its number */
} fc_linear_x;

/* AVX2's and the portable one's: they multiply 16-bit numbers in pairs, and take (k0, k2) and (k1, k3) of each quad of
 * k. Here a code is whole. */
typedef struct {
    fc_linear_x x;
    int16_t pairs[FC_XGROUP / 4][2][2];
} fc_linear_x_wide;

typedef struct {
    const float *x; /* [rows, stride] first row of the tile */
    size_t stride;
    int rows, K;
    int zero;    /* of the parts that will read it; 0 when all have minimums */
    bool halves; /* start[] by halves */
    bool precise;
    void *out; /* [K/32][rows] */
} fc_linear_prepare;

typedef struct {
    const unsigned char *panel; /* [panels][panel_bytes] */
    size_t panel_bytes;
    fc_form form;
    int panels, rows, K; /* 1..FC_TILE_PANELS, 1..the level's tile_rows, inputs */
    int lanes;           /* outputs that exist: 1..16 * panels, the last panel may be short */
    int scale_cols;      /* F8: columns that share a scale */
    bool precise;        /* how x was prepared */
    const void *x;       /* prepared tile; f32 [rows, stride] for F32, F16, BF16 and F8 */
    size_t stride;
    float *y; /* [rows, y_stride] at the panel's first column */
    size_t y_stride;
    const float *bias;         /* [lanes] or NULL */
    const unsigned char *next; /* the panels after these, to be fetched early; NULL: none, or it was done */
} fc_linear_multiply;

/* Panel i of a call as a call of its own. */
static inline fc_linear_multiply fc_linear_one_panel(const fc_linear_multiply *all, int i) {
    fc_linear_multiply m = *all;
    int left = m.lanes - i * FC_LANES;
    m.panel += (size_t)i * m.panel_bytes;
    m.panels = 1;
    m.lanes = left < FC_LANES ? left : FC_LANES;
    m.y += i * FC_LANES;
    m.bias = m.bias ? m.bias + i * FC_LANES : NULL;
    return m;
}

typedef struct {
    size_t x_bytes; /* of a prepared group */
    int tile_rows;  /* most rows of a tile: FC_VECTOR_ROWS or FC_TILE_ROWS */
    void (*prepare)(const fc_linear_prepare *p);
    void (*multiply)(const fc_linear_multiply *m);
} fc_linear_level;

extern const fc_linear_level fc_linear_portable, fc_linear_avx2, fc_linear_avxvnni, fc_linear_vnni256, fc_linear_avx512,
    fc_linear_amx;
const fc_linear_level *fc_linear_level_of(fc_cpu_level level); /* of an open stream */

/* Of a row: the magnitude above which a group is fine, by the largest magnitudes of its groups, first to last. */
static inline float fc_linear_fine_above(float sum_of_largest, int groups) {
    return sum_of_largest * (FC_X_FINE / (float)groups);
}
/* One group of one row, plain C. */
void fc_linear_group(const float *x, const fc_linear_prepare *p, float fine_above, fc_linear_x *out);
/* Records of fc_linear_x; AVX-512 has nothing faster to offer. */
void fc_linear_prepare_avx2(const fc_linear_prepare *p);

#endif
