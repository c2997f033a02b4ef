#include "kernels/cuda/cuda.cuh"

#include "kernels/comm/nccl.h"

#include <dlfcn.h>

#if __has_include(<nccl.h>)
#include <nccl.h>

#include <type_traits>
static_assert((int)ncclSuccess == (int)FC_NCCL_OK && (int)ncclInProgress == (int)FC_NCCL_IN_PROGRESS &&
                  (int)ncclFloat32 == (int)FC_NCCL_F32 && sizeof(ncclResult_t) == sizeof(int) &&
                  sizeof(ncclDataType_t) == sizeof(int) && sizeof(ncclComm_t) == sizeof(fc_nccl_comm),
              "types and numbers of NCCL are other than nccl.h says");
static_assert(std::is_same<decltype(&ncclAllGather), ncclResult_t (*)(const void *, void *, size_t, ncclDataType_t,
                                                                      ncclComm_t, cudaStream_t)>::value &&
                  std::is_same<decltype(&ncclCommInitAll), ncclResult_t (*)(ncclComm_t *, int, const int *)>::value,
              "functions of NCCL are other than nccl.h says");
#endif

static const char *const library = "libnccl.so.2";

fc_status fc_nccl_open(fc_nccl *out) {
    void *lib = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    fc_nccl n = {};
    const struct {
        const char *name;
        void *to; /* of a pointer to a function */
    } functions[] = {
        {"ncclCommInitAll", &n.comm_init_all},     {"ncclAllGather", &n.all_gather},
        {"ncclCommGetAsyncError", &n.async_error}, {"ncclCommAbort", &n.abort},
        {"ncclCommDestroy", &n.destroy},           {"ncclGetErrorString", &n.words},
    };
    if (!lib) return FC_FAIL(FC_ERR_UNSUPPORTED, "several GPUs want NCCL: %s", dlerror());
    for (const auto &f : functions) {
        void *symbol = dlsym(lib, f.name);
        if (!symbol) return FC_FAIL(FC_ERR_UNSUPPORTED, "several GPUs want NCCL: %s has no %s", library, f.name);
        memcpy(f.to, &symbol, sizeof symbol);
    }
    *out = n;
    return FC_OK;
}
