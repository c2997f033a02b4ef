#include "kernels/cuda/backend_cuda.h"
#include "kernels/gpu_library.h"
#include "kernels/gpu_probe.h"

#include <string.h>

static void record(const char *sentence) { fc_status_record("%s", sentence); }

fc_status fc_gpu_backend_open(const fc_cuda_options *o, const fc_op_limits *limits, fc_backend **out) {
    const fc_cuda_door door = {.size = (int)sizeof door,
                               .backend_bytes = (int)sizeof(fc_backend),
                               .options_bytes = (int)sizeof *o,
                               .numerics = FC_NUMERICS,
                               .record = record,
                               .assert_failed = fc_assert_failed};
    fc_cuda_open_fn open_library;
    fc_gpus g;
    char why[160];
    void *lib, *symbol;
    int st;
    fc_gpu_probe(&g);
    if (g.n == 0) return FC_FAIL(FC_ERR_UNSUPPORTED, "backend \"cuda\": %s", g.found);
    for (int i = 0; i < (o->n_devices ? o->n_devices : 1); i++) {
        const int device = o->n_devices ? o->devices[i] : o->device;
        if (device < 0 || device >= g.n)
            return FC_FAIL(FC_ERR_ARG, "backend \"cuda\": device %d; there are %d, counted from 0", device, g.n);
    }
    lib = fc_gpu_library(NULL, why, sizeof why);
    if (!lib) return FC_FAIL(FC_ERR_UNSUPPORTED, "backend \"cuda\": %s", why);
    symbol = fc_gpu_symbol(lib, "fc_cuda_open");
    memcpy(&open_library, &symbol, sizeof open_library); /* as in gpu_probe.c */
    if (!symbol) return FC_FAIL(FC_ERR_UNSUPPORTED, "backend \"cuda\": libforkcast_cuda.so has no fc_cuda_open");
    st = open_library(&door, o, limits, out);
    if (st < 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED,
                       "backend \"cuda\": libforkcast_cuda.so is of another build than the program");
    return (fc_status)st;
}
