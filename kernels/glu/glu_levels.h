/* glu_levels - y[i] = act(gate[i]) * up[i] for i in [0,n), by vector unit; all give the same bits.
 * Inner to kernels/glu and kernels/linear.
 *
 * silu(x) = x / (1 + e^-x). The tanh form of GELU is x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3), since
 * (1 + tanh u) / 2 is the logistic function of 2u: no cancellation where tanh u is near -1.
 */
#ifndef FC_KERNELS_GLU_LEVELS_H
#define FC_KERNELS_GLU_LEVELS_H

#include "kernels/cpu/cpu.h"
#include "kernels/glu/glu.h"

#define FC_GELU_K0 1.5957691216f  /* 2 sqrt(2/pi) */
#define FC_GELU_K1 0.07135481283f /* 2 sqrt(2/pi) * 0.044715 */

typedef void (*fc_glu_run)(float *y, const float *gate, const float *up, size_t n);

void fc_glu_silu_portable(float *y, const float *gate, const float *up, size_t n);
void fc_glu_gelu_portable(float *y, const float *gate, const float *up, size_t n);
void fc_glu_silu_avx2(float *y, const float *gate, const float *up, size_t n);
void fc_glu_gelu_avx2(float *y, const float *gate, const float *up, size_t n);
void fc_glu_silu_avx512(float *y, const float *gate, const float *up, size_t n);
void fc_glu_gelu_avx512(float *y, const float *gate, const float *up, size_t n);
fc_glu_run fc_glu_run_of(fc_act act, fc_cpu_level level); /* NULL: there is no such act */

#endif
