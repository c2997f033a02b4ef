/* Linked into a program of engine tests: its engines compute on CUDA, under emulation, by products that are
 * batch-invariant. */
#include "kernels/cuda/backend_cuda.h"
#include "tests/cuda_emu/emu_control.h"
#include "tests/cuda_emu/runtime_control.h"
#include "tests/engine/util_engine.h"

static fc_status open_cuda(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    (void)level;
    (void)threads;
    return fc_backend_open_cuda(&(fc_cuda_options){.invariant = true}, limits, out);
}

static void tell_launches(void) {
    print_message("%llu kernels were launched\n", (unsigned long long)emu_counts().launches);
}

__attribute__((constructor)) static void use_cuda(void) {
    emu_opts.order = EMU_WARPS; /* the fastest; the kernels' own tests run in all of them */
    engine_opener = open_cuda;
    atexit(tell_launches);
}
