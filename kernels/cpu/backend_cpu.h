/* backend_cpu - the operators on the CPU. */
#ifndef FC_KERNELS_BACKEND_CPU_H
#define FC_KERNELS_BACKEND_CPU_H

#include "kernels/backend.h"
#include "kernels/cpu/cpu.h"

/* threads 0: all cores. Caller closes with fc_backend_close. */
fc_status fc_backend_open_cpu(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out);

#endif
