/* runtime_kernel.cpp - kernels: what is known of them, what a launch may ask for, launches. */
#include "tests/cuda_emu/runtime_state.h"

#include <stdio.h>

void emu_know(const void *kernel, emu_call call, size_t param_bytes, const char *name, dim3 cluster) {
    std::lock_guard<std::recursive_mutex> hold(emu_rt.lock);
    std::unique_ptr<emu_kernel> &k = emu_rt.kernels[kernel];
    char address[32];
    if (!k) k.reset(new emu_kernel);
    k->call = call;
    k->function = kernel;
    k->param_bytes = param_bytes;
    k->cluster = cluster;
    if (!name) snprintf(address, sizeof address, "%p", kernel);
    if (k->name != (name ? name : address)) k->name = name ? name : address;
}

static emu_kernel *kernel_of(emu_enter &call, const void *kernel) {
    auto k = emu_rt.kernels.find(kernel);
    if (k != emu_rt.kernels.end()) return k->second.get();
    call.fail(cudaErrorInvalidDeviceFunction, "%p is no kernel", kernel);
    return nullptr;
}

/* Registers are not known here, and not counted. */
static int blocks_of_multiprocessor(size_t threads, size_t shared) {
    cudaDeviceProp p = emu_device_prop();
    size_t n = (size_t)p.maxThreadsPerMultiProcessor / ((threads + 31) / 32 * 32);
    size_t by_memory = p.sharedMemPerMultiprocessor / (shared + p.reservedSharedMemPerBlock);
    if (by_memory < n) n = by_memory;
    return n < (size_t)p.maxBlocksPerMultiProcessor ? (int)n : p.maxBlocksPerMultiProcessor;
}

static cudaError_t check_shape(emu_enter &call, const emu_kernel *k, dim3 grid, dim3 block, size_t shared) {
    cudaDeviceProp p = emu_device_prop();
    const unsigned g[3] = {grid.x, grid.y, grid.z}, b[3] = {block.x, block.y, block.z};
    uint64_t threads = (uint64_t)block.x * block.y * block.z;
    for (int i = 0; i < 3; i++)
        if (g[i] < 1 || g[i] > (unsigned)p.maxGridSize[i] || b[i] < 1 || b[i] > (unsigned)p.maxThreadsDim[i])
            return call.fail(cudaErrorInvalidConfiguration, "%s: grid %u,%u,%u of blocks of %u,%u,%u threads",
                             k->name.c_str(), g[0], g[1], g[2], b[0], b[1], b[2]);
    if (threads > (uint64_t)p.maxThreadsPerBlock)
        return call.fail(cudaErrorInvalidConfiguration, "%s: %llu threads a block; at most %d", k->name.c_str(),
                         (unsigned long long)threads, p.maxThreadsPerBlock);
    const unsigned c[3] = {k->cluster.x, k->cluster.y, k->cluster.z};
    if (c[0] * c[1] * c[2] > 1 && p.major < 9)
        return call.fail(cudaErrorInvalidConfiguration, "%s: clusters are of devices from 9.0 on", k->name.c_str());
    for (int i = 0; i < 3; i++)
        if (g[i] % c[i])
            return call.fail(cudaErrorInvalidConfiguration, "%s: grid %u,%u,%u in clusters of %u,%u,%u blocks",
                             k->name.c_str(), g[0], g[1], g[2], c[0], c[1], c[2]);
    if (shared > (size_t)k->shared_max)
        return call.fail(cudaErrorInvalidValue, "%s: %zu bytes of shared memory; %d are allowed (cudaFuncSetAttribute)",
                         k->name.c_str(), shared, k->shared_max);
    return cudaSuccess;
}

cudaError_t emu_kernel_work(emu_enter &call, const void *kernel, dim3 grid, dim3 block, void **args, size_t shared,
                            emu_work *w) {
    emu_kernel *k = kernel_of(call, kernel);
    if (!k) return call.failed;
    if (!args || !args[0]) return call.fail(cudaErrorInvalidValue, "%s: its parameter is NULL", k->name.c_str());
    if (cudaError_t e = check_shape(call, k, grid, block, shared)) return e;
    w->type = cudaGraphNodeTypeKernel;
    w->kernel = k;
    w->grid = grid;
    w->block = block;
    w->shared = (unsigned)shared;
    w->params.resize((k->param_bytes + sizeof(emu_line) - 1) / sizeof(emu_line));
    memcpy((void *)w->params.data(), args[0], k->param_bytes);
    return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **args, size_t shared,
                             cudaStream_t stream) {
    EMU_ENTER(EMU_PLAIN);
    auto w = std::make_shared<emu_work>();
    emu_stream *s = emu_stream_of(call, stream);
    if (!s) return call.failed;
    if (cudaError_t e = emu_kernel_work(call, kernel, grid, block, args, shared, w.get())) return e;
    return emu_issue(call, s, w);
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute a, int value) {
    EMU_ENTER(EMU_PLAIN);
    emu_kernel *k = kernel_of(call, kernel);
    size_t most = emu_device_prop().sharedMemPerBlockOptin;
    if (!k) return call.failed;
    if (a == cudaFuncAttributePreferredSharedMemoryCarveout && value >= -1 && value <= 100) return call.end();
    if (a != cudaFuncAttributeMaxDynamicSharedMemorySize)
        return call.fail(cudaErrorInvalidValue, "attribute %d, value %d", (int)a, value);
    if (value < 0 || (size_t)value > most)
        return call.fail(cudaErrorInvalidValue, "%s: %d bytes of shared memory; the device has %zu", k->name.c_str(),
                         value, most);
    k->shared_max = value;
    return call.end();
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *kernel) {
    EMU_ENTER(EMU_PLAIN);
    emu_kernel *k = kernel_of(call, kernel);
    if (!k) return call.failed;
    if (!a) return call.fail(cudaErrorInvalidValue, "the attributes are NULL");
    *a = {};
    a->maxThreadsPerBlock = emu_device_prop().maxThreadsPerBlock;
    a->maxDynamicSharedSizeBytes = k->shared_max;
    a->binaryVersion = a->ptxVersion = emu_device_opts.sm ? emu_device_opts.sm : 90;
    return call.end();
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *kernel, int block, size_t shared) {
    EMU_ENTER(EMU_PLAIN);
    emu_kernel *k = kernel_of(call, kernel);
    if (!k) return call.failed;
    if (!blocks || block < 1 || block > emu_device_prop().maxThreadsPerBlock)
        return call.fail(cudaErrorInvalidValue, "%s: blocks of %d threads", k->name.c_str(), block);
    *blocks = shared > (size_t)k->shared_max ? 0 : blocks_of_multiprocessor((size_t)block, shared);
    return call.end();
}
