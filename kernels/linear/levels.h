/* levels - the two inner loops of linear, by vector unit. Inner to kernels/linear.
 *
 * prepare  writes a tile of rows of x in the form that `multiply` reads
 * multiply one or two panels times one tile of rows: each output is one chain over K, first to last, so its bits do not
 *          depend on how many rows and panels share the call
 *
 * A tile of R rows, in the workspace:
 *   codes  [K/32][R] fc_linear_x
 *   BF16   [(K+1)/2][R][2] bf16, a missing last k is zero
 * F32 and F16 panels read x itself.
 */
#ifndef FC_KERNELS_LINEAR_LEVELS_H
#define FC_KERNELS_LINEAR_LEVELS_H

#include "kernels/linear/panel.h"

#include <math.h>

enum { FC_TILE_ROWS = 6, FC_TILE_PANELS = 2 }; /* most of a call: 12 integer and 12 float sums fill AVX-512's registers */

/* One group of 32 of a row: x = scale * code, codes in -127..127. A group with a NaN or an infinity has codes 0 and scale
 * NaN, so that all outputs of its row are NaN; one without any magnitude above 2^-100 is zero. */
typedef struct {
    int8_t code[FC_XGROUP];
    float scale;
    float sum;       /* scale * sum of codes */
    int32_t start[2]; /* where integer sums start, so that codes count from the part's zero code: -zero * sum of codes
                         [0] and 16 times that [1]; for groups of 16 the first and the second half's */
} fc_linear_x;

typedef struct {
    const float *x; /* [rows, stride] first row of the tile */
    size_t stride;
    int rows, K;
    int zero;  /* of the parts that will read it; 0 when all have minimums */
    bool halves; /* start[] by halves */
    void *out;
} fc_linear_prepare;

typedef struct {
    const unsigned char *panel; /* [panels][panel_bytes] */
    size_t panel_bytes;
    fc_form form;
    int panels, rows, K; /* 1..FC_TILE_PANELS, 1..FC_TILE_ROWS, inputs */
    int lanes;           /* outputs that exist: 1..16 * panels, the last panel may be short */
    const void *x;      /* prepared tile; f32 [rows, stride] for F32 and F16 */
    size_t stride;
    float *y;        /* [rows, y_stride] at the panel's first column */
    size_t y_stride;
    const float *bias; /* [lanes] or NULL */
} fc_linear_multiply;

typedef struct {
    void (*prepare_codes)(const fc_linear_prepare *p);
    void (*prepare_bf16)(const fc_linear_prepare *p);
    void (*multiply)(const fc_linear_multiply *m);
} fc_linear_level;

extern const fc_linear_level fc_linear_portable, fc_linear_avx2, fc_linear_avx512;

/* A group whose largest magnitude is not above this is zero: 127 / it would leave f32. */
#define FC_X_TINY 0x1p-100f

void fc_linear_group(const float *x, int zero, bool halves, fc_linear_x *out); /* one group of one row, plain C */
void fc_linear_prepare_codes_avx2(const fc_linear_prepare *p);
void fc_linear_prepare_bf16_avx2(const fc_linear_prepare *p);

#endif
