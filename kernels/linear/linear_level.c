#include "kernels/linear/levels.h"

const fc_linear_level *fc_linear_level_of(fc_cpu_level level) {
    switch (level) {
    case FC_CPU_AMX: return &fc_linear_amx;
    case FC_CPU_AVX512: return &fc_linear_avx512;
    case FC_CPU_AVXVNNI: return fc_cpu_has_vex_vnni() ? &fc_linear_avxvnni : &fc_linear_vnni256;
    case FC_CPU_AVX2: return &fc_linear_avx2;
    default: return &fc_linear_portable;
    }
}
