#include "cuda_runtime.h"

#include <stdlib.h>

#include <map>

namespace {
struct known {
    emu_call call;
    size_t bytes;
};
std::map<const void *, known> kernels;
} // namespace

void emu_know(const void *kernel, emu_call call, size_t param_bytes) { kernels[kernel] = {call, param_bytes}; }

const char *cudaGetErrorString(cudaError_t e) { return e == cudaErrorLaunchFailure ? emu_error() : "an error"; }
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorNoDevice; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
    *p = {};
    strcpy(p->name, "emulated");
    p->totalGlobalMem = (size_t)8 << 30;
    p->sharedMemPerBlockOptin = 227 << 10;
    p->major = 9;
    p->multiProcessorCount = 4;
    return cudaSuccess;
}
cudaError_t cudaGetLastError(void) { return cudaSuccess; }
cudaError_t cudaMalloc(void **p, size_t bytes) {
    *p = aligned_alloc(256, (bytes + 255) / 256 * 256);
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *p) {
    free(p);
    return cudaSuccess;
}
cudaError_t cudaMallocHost(void **p, size_t bytes) { return cudaMalloc(p, bytes); }
cudaError_t cudaFreeHost(void *p) { return cudaFree(p); }
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
    memcpy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t) {
    memset(p, value, bytes);
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) {
    *s = nullptr;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int) { return cudaSuccess; }
cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **args, size_t shared, cudaStream_t) {
    auto k = kernels.find(kernel);
    if (k == kernels.end()) return cudaErrorInvalidValue;
    return emu_run(k->second.call, kernel, args[0], grid, block, (unsigned)shared) ? cudaSuccess
                                                                                   : cudaErrorLaunchFailure;
}
