#include "kernels/cuda/probe.h"

#include <cuda_runtime.h>
#include <stdio.h>
#include <string.h>

extern "C" __attribute__((visibility("default"))) int fc_cuda_probe(fc_cuda_devices *out) {
    cudaError_t e;
    if (out->size != (int)sizeof *out) return -1;
    memset(out, 0, sizeof *out);
    out->size = (int)sizeof *out;
    cudaRuntimeGetVersion(&out->runtime);
    if (cudaDriverGetVersion(&out->driver) != cudaSuccess) out->driver = 0;
    e = cudaGetDeviceCount(&out->devices);
    if (e != cudaSuccess) {
        out->devices = 0;
        snprintf(out->error, sizeof out->error, "%s", cudaGetErrorString(e));
        cudaGetLastError(); /* the error stays with the thread otherwise */
        return 0;
    }
    for (int i = 0; i < out->devices && i < FC_CUDA_DEVICES; i++) {
        cudaDeviceProp p;
        e = cudaGetDeviceProperties(&p, i);
        if (e != cudaSuccess) {
            snprintf(out->error, sizeof out->error, "device %d: %s", i, cudaGetErrorString(e));
            cudaGetLastError();
            continue;
        }
        snprintf(out->name[i], sizeof out->name[i], "%.95s", p.name);
        out->bytes[i] = (uint64_t)p.totalGlobalMem;
        out->shared[i] = (uint64_t)p.sharedMemPerBlockOptin;
        out->major[i] = p.major;
        out->minor[i] = p.minor;
    }
    return 0;
}
