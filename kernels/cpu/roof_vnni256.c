#define FC_DPBUSD _mm256_dpbusd_epi32
#include "kernels/cpu/roof_vnni.h"

const fc_roof_ops fc_roof_vnni256 = {fc_roof_read_avx2, int8_vnni,         fc_roof_bf16_avx2, fc_roof_f32_avx2,
                                     64 * FC_ROOF_SUMS, 32 * FC_ROOF_SUMS, 16 * FC_ROOF_SUMS};
