/* quant_k - the super-blocks of 256 elements (Q4_K, Q5_K, Q6_K), for quant.c only. */
#ifndef FC_BASE_QUANT_K_H
#define FC_BASE_QUANT_K_H

#include "engine/base/quant.h"

enum { FC_QUANT_K = 256 };

void fc_quant_k_values(fc_dtype t, const uint8_t *block, float y[FC_QUANT_K]);
/* scale and min [256 / group] */
void fc_quant_k_codes(fc_dtype t, const uint8_t *block, uint8_t codes[FC_QUANT_K], float *scale, float *min);

#endif
