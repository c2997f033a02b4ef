/* linear_from - rows of linear's x: an array, or made by a norm or a gated unit when they are wanted.
 * Inner to kernels/linear.
 */
#ifndef FC_KERNELS_LINEAR_FROM_H
#define FC_KERNELS_LINEAR_FROM_H

#include "kernels/glu/glu_levels.h"
#include "kernels/linear/linear.h"
#include "kernels/rmsnorm/rmsnorm_row.h"

typedef struct {
    const fc_linear_args *a;
    fc_rmsnorm_run norm; /* or NULL */
    fc_glu_run glu;      /* or NULL */
    float *y;            /* [T,K] where x is left for others, or NULL */
    bool again;          /* all rows were made before: what was updated or written then is read now */
} fc_linear_from;

/* FC_ERR_ARG where shapes do not fit. Holds a. */
fc_status fc_linear_from_of(fc_cpu_level level, const fc_linear_args *a, fc_linear_from *out);

/* x is made, not given: rows must be asked for before they can be read. */
static inline bool fc_linear_from_makes(const fc_linear_from *f) { return (f->norm || f->glu) && !(f->again && f->y); }

/* Rows row .. row+rows-1 of x [rows,K], where they lie. They are made in y, or in spare where there is none. */
const float *fc_linear_from_rows(const fc_linear_from *f, int row, int rows, float *spare);

#endif
