#include "kernels/rows/rows_copy.h"

fc_status fc_rows_copy_ref(fc_stream s, const fc_rows_copy_args *a) {
    (void)s; /* the CPU has one queue: program order */
    for (int i = 0; i < a->n; i++)
        for (int d = 0; d < a->D; d++)
            a->y[(size_t)(a->dst ? a->dst[i] : i) * (size_t)a->D + (size_t)d] =
                a->x[(size_t)(a->src ? a->src[i] : i) * (size_t)a->D + (size_t)d];
    return FC_OK;
}
