/* late - the CPU backend as an engine must be able to live with it: buffers that nobody but operators, upload and
 * download can touch (a read or write elsewhere is a SIGSEGV), and downloads that arrive at sync, not before. */
#ifndef FC_TESTS_UTIL_LATE_H
#define FC_TESTS_UTIL_LATE_H

#include "kernels/cpu/backend_cpu.h"

/* Until sync, the destination of a download holds this byte throughout. */
enum { LATE_BYTE = 0xa5 };

/* As fc_backend_open_cpu; close with fc_backend_close. All buffers together may take 8 GB of address space. */
fc_status late_backend_open(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out);

#endif
