/* glu_levels - y[i] = act(gate[i]) * up[i] for i in [0,n), by vector unit; all give the same bits.
 * Inner to kernels/glu and kernels/linear.
 */
#ifndef FC_KERNELS_GLU_LEVELS_H
#define FC_KERNELS_GLU_LEVELS_H

#include "kernels/cpu/cpu.h"
#include "kernels/glu/glu.h"

typedef void (*fc_glu_run)(float *y, const float *gate, const float *up, size_t n);

void fc_glu_silu_portable(float *y, const float *gate, const float *up, size_t n);
void fc_glu_gelu_portable(float *y, const float *gate, const float *up, size_t n);
void fc_glu_silu_avx2(float *y, const float *gate, const float *up, size_t n);
void fc_glu_gelu_avx2(float *y, const float *gate, const float *up, size_t n);
void fc_glu_silu_avx512(float *y, const float *gate, const float *up, size_t n);
void fc_glu_gelu_avx512(float *y, const float *gate, const float *up, size_t n);
fc_glu_run fc_glu_run_of(fc_act act, fc_cpu_level level); /* NULL: there is no such act */

#endif
