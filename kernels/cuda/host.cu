/* host - the door of libforkcast_cuda.so: sentences and asserts of this library belong to the program that opened it.
 * */
#include "kernels/cuda/cuda.cuh"

#include <stdarg.h>
#include <stdlib.h>

extern "C" {
#include "kernels/cuda/backend_cuda.h"
}

static fc_cuda_door program;

static thread_local char sentence[1024]; /* the thread's last: kernels/ranks hands it to another thread */

extern "C" void fc_status_record(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, ap);
    va_end(ap);
    program.record(sentence);
}

extern "C" const char *fc_status_text(void) { return sentence; }

extern "C" void fc_assert_failed(const char *file, int line, const char *cond) {
    program.assert_failed(file, line, cond);
    abort();
}

extern "C" __attribute__((visibility("default"))) int fc_cuda_open(const fc_cuda_door *door, const fc_cuda_options *o,
                                                                   const fc_op_limits *limits, fc_backend **out) {
    if (door->size != (int)sizeof *door || door->backend_bytes != (int)sizeof(fc_backend) ||
        door->options_bytes != (int)sizeof(fc_cuda_options) || door->numerics != FC_NUMERICS)
        return -1;
    program = *door;
    return fc_backend_open_cuda(o, limits, out);
}
