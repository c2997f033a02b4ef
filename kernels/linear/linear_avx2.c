#include "kernels/linear/levels.h"

static void multiply(const fc_linear_multiply *m) { fc_linear_portable.multiply(m); }

const fc_linear_level fc_linear_avx2 = {fc_linear_prepare_codes_avx2, fc_linear_prepare_bf16_avx2, multiply};
