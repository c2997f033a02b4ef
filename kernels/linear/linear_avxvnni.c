#define FC_DPBUSD _mm256_dpbusd_avx_epi32
#include "kernels/linear/linear_vnni.h"

const fc_linear_level fc_linear_avxvnni = {sizeof(fc_linear_x), FC_VECTOR_ROWS, fc_linear_prepare_avx2, multiply};
