/* rows - rows of x made ready for one tensor, and some of its outputs for them. For operators that want a few outputs
 * of a matrix, or all of them a piece at a time: each output has fc_linear's bits. Inner to kernels/linear and
 * kernels/head.
 */
#ifndef FC_KERNELS_LINEAR_ROWS_H
#define FC_KERNELS_LINEAR_ROWS_H

#include "kernels/cpu/cpu.h"
#include "kernels/linear/levels.h"

typedef struct {
    const fc_linear_level *level;
    const fc_linear_part *part;
    const float *x; /* [., K] */
    int K;
    bool precise;            /* of prepared rows: false where W is float */
    size_t row_bytes;        /* of a prepared row; 0: x is read as it stands */
    unsigned char *prepared; /* [rows][row_bytes] the caller's workspace */
} fc_linear_rows;

/* W must be one tensor: FC_ERR_UNSUPPORTED names the operator. prepared is left NULL. */
fc_status fc_linear_rows_of(fc_stream s, const char *what, const fc_weight *w, const float *x, bool precise,
                            fc_linear_rows *out);

/* A tile of n rows, at most the level's tile_rows, from x's row `row` on, whose prepared form starts at prepared row
 * `at`. */
typedef struct {
    int row, n, at;
} fc_linear_row_tile;

/* Tile i of n_rows rows cut into tiles that differ by at most one row. */
static inline int fc_linear_row_tiles(const fc_linear_rows *r, int n_rows) {
    return (n_rows - 1) / r->level->tile_rows + 1;
}
fc_linear_row_tile fc_linear_row_tile_of(const fc_linear_rows *r, int row, int at, int n_rows, int i);

void fc_linear_rows_prepare(const fc_linear_rows *r, fc_linear_row_tile t);

/* Outputs of 1..FC_TILE_PANELS panels from `panel` on, y [t.n, y_stride] at the first panel's first output; returns how
 * many outputs there are. next: the panels that will be wanted after these, or NULL. */
int fc_linear_rows_multiply(const fc_linear_rows *r, fc_linear_row_tile t, int panel, int panels, float *y,
                            size_t y_stride, const unsigned char *next);

static inline const unsigned char *fc_linear_panel(const fc_linear_rows *r, int panel) {
    return r->part->panels + (size_t)panel * r->part->panel_bytes;
}

#endif
