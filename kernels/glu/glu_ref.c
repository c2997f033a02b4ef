#include "kernels/glu/glu.h"

#include <math.h>

fc_status fc_glu_ref(fc_stream s, const fc_glu_args *a) {
    (void)s; /* the CPU has one queue: program order */
    for (int t = 0; t < a->T; t++)
        for (int f = 0; f < a->F; f++) {
            const float *row = a->x + (size_t)t * 2 * (size_t)a->F;
            double x = (double)row[f], up = (double)row[a->F + f], act;
            if (a->act == FC_ACT_SILU) act = x / (1.0 + exp(-x));
            else act = 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
            a->y[(size_t)t * (size_t)a->F + (size_t)f] = (float)(act * up);
        }
    return FC_OK;
}
