/* softcap_levels - x[i] = cap * tanh(x[i] * inv) by vector unit; all give the same bits. Inner to kernels/softcap and
 * kernels/head. */
#ifndef FC_KERNELS_SOFTCAP_LEVELS_H
#define FC_KERNELS_SOFTCAP_LEVELS_H

#include "kernels/cpu/cpu.h"

#include <stddef.h>

typedef void (*fc_softcap_run)(float *x, size_t n, float cap, float inv);

void fc_softcap_run_portable(float *x, size_t n, float cap, float inv);
void fc_softcap_run_avx2(float *x, size_t n, float cap, float inv);
void fc_softcap_run_avx512(float *x, size_t n, float cap, float inv);

fc_softcap_run fc_softcap_run_of(fc_cpu_level level);

#endif
