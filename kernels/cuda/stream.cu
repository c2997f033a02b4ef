#include "kernels/cuda/lt.cuh"
#include "kernels/cuda/probe.h"
#include "kernels/cuda/replay.cuh"

extern "C" {
#include "engine/base/mem.h"
#include "engine/base/thread.h"
#include "kernels/comm/comm.h"
}

#include <sched.h>
#include <unistd.h>

enum { POLLS_AWAKE = 512, POLLS_A_CHECK = 16, POLL_US = 20 };

static const char *const troubles[FC_TROUBLE_COUNT] = {
    "",
    "embed: row %d: its token is outside the vocabulary",
    "rows_copy: src[%d] is no row of x",
    "rows_copy: dst[%d] is no row of y",
    "kv_copy: pair %d: the store has no such page, or pages have fewer slots",
    "rope_kv: row %d writes a slot of a page that the store does not have",
    "linear_pick: segment %d: its rows, ids or y are not where they can be",
    "linear_pick: segment %d: its ids do not rise, or are outside the matrix",
    "attn: item %d: a position that its rows see lies in no slot of the store",
    "logprob: row[%d] is out of range, or less than the one before it; rows must not decrease",
    "logprob: row %d: an id is outside the vocabulary",
    "top_logprobs: rows[%d] is out of range",
    "list_logprob: row %d: its list is empty, its ids do not rise, or one is outside the vocabulary",
    "list_gather: row %d is out of range",
    "list_gather: row %d: its list is empty, its ids do not rise, or one is outside the vocabulary",
    "draw: row %d: its row of logits, list or members are out of range",
    "draw: row %d: temperature, top-k, top-p, min-p, typical-p, repetition, presence or frequency is out of range",
    "draw: row %d: its listed ids do not rise, or one is outside the vocabulary",
    "draw: row %d: a bias id is outside the vocabulary",
    "draw: row %d: a seen id is outside the vocabulary",
    "head_lse: row[%d] is out of range, or less than the one before it; rows must not decrease",
    "head_lse: row %d: an id is outside the vocabulary",
    "head_draw: row %d: its members are out of range, or not behind those of the rows before it",
    "head_draw: row %d: its temperature is below 0, or not finite",
};

fc_status fc_cuda_failed(cudaError_t e, const char *call) {
    int n = (int)strcspn(call, "(");
    cudaGetLastError(); /* the error stays with the thread otherwise */
    return FC_FAIL(e == cudaErrorMemoryAllocation ? FC_ERR_MEM : FC_ERR_INTERNAL, "%.*s: %s", n, call,
                   cudaGetErrorString(e));
}

fc_status fc_cuda_alloc(const char *what, size_t bytes, void **out) {
    size_t left = 0, all = 0;
    cudaError_t e = cudaMalloc(out, bytes ? bytes : 1);
    if (e == cudaSuccess) return FC_OK;
    if (e != cudaErrorMemoryAllocation) return FC_CUDA_FAILED(e, "cudaMalloc");
    FC_FAILS_HERE("cudaMalloc: memory");
    cudaGetLastError();
    cudaMemGetInfo(&left, &all);
    return FC_FAIL(FC_ERR_MEM, "%s: %zu bytes of device memory; %zu of %zu are free", what, bytes, left, all);
}

fc_status fc_cuda_launch(fc_stream s, const char *name, const void *kernel, dim3 grid, int block, size_t shared,
                         const void *params, size_t param_bytes) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return FC_OK;
    if (shared > s->shared_max)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: %zu bytes of shared memory a block; the device has %zu", name, shared,
                       s->shared_max);
    return fc_replay_add(s->replay, s->queue, name, kernel, grid, block, shared, params, param_bytes);
}

fc_status fc_cuda_flush(fc_stream s) { return fc_replay_flush(s->replay, s->queue); }

fc_status fc_cuda_await(fc_stream s, cudaEvent_t e) {
    if (!s->comm) {
        FC_CUDA_TRY(cudaEventSynchronize(e));
        return FC_OK;
    }
    for (unsigned i = 1;; i++) {
        cudaError_t now = cudaEventQuery(e);
        if (now == cudaSuccess) return FC_OK;
        if (now != cudaErrorNotReady) return FC_CUDA_FAILED(now, "cudaEventQuery");
        cudaGetLastError(); /* that it is not ready stays with the thread otherwise */
        if (i % POLLS_A_CHECK == 0) FC_TRY(s->comm->check(s->comm));
        if (i < POLLS_AWAKE) sched_yield();
        else usleep(POLL_US);
    }
}

fc_status fc_cuda_finish(fc_stream s) {
    if (!s->comm) {
        FC_CUDA_TRY(cudaStreamSynchronize(s->queue));
        return FC_OK;
    }
    FC_CUDA_TRY(cudaEventRecord(s->end, s->queue));
    return fc_cuda_await(s, s->end);
}

fc_status fc_cuda_workspace(fc_stream s, size_t bytes, const char *what, void **out) {
    if (bytes > s->workspace_bytes)
        return FC_FAIL(FC_ERR_MEM, "%s: %zu bytes of workspace; %zu are reserved", what, bytes, s->workspace_bytes);
    *out = s->workspace;
    return FC_OK;
}

static fc_status open_device(fc_stream s, size_t workspace) {
    void *p;
    cudaDeviceProp prop;
    FC_CUDA_TRY(cudaSetDevice(s->device));
    FC_CUDA_TRY(cudaGetDeviceProperties(&prop, s->device));
    s->sms = prop.multiProcessorCount;
    s->sm = prop.major * 10 + prop.minor;
    s->shared_max = prop.sharedMemPerBlockOptin;
    if (prop.major < FC_CUDA_LEAST_MAJOR || s->shared_max < (size_t)FC_CUDA_LEAST_SHARED)
        return FC_FAIL(FC_ERR_UNSUPPORTED,
                       "cuda: %s has compute capability %d.%d and %zu bytes of shared memory a block; %d.0 and %d are "
                       "needed",
                       prop.name, prop.major, prop.minor, s->shared_max, (int)FC_CUDA_LEAST_MAJOR,
                       (int)FC_CUDA_LEAST_SHARED);
    FC_TRY(fc_replay_open(s->shared_max, s, &s->replay));
    FC_CUDA_TRY(cudaStreamCreateWithFlags(&s->queue, cudaStreamNonBlocking));
    FC_CUDA_TRY(cudaEventCreateWithFlags(&s->end, cudaEventDisableTiming));
    FC_CUDA_TRY(cudaMalloc(&p, sizeof *s->trouble));
    s->trouble = (unsigned long long *)p;
    FC_CUDA_TRY(cudaMemsetAsync(s->trouble, 0xff, sizeof *s->trouble, s->queue));
    FC_CUDA_TRY(cudaMalloc(&p, FC_CUDA_COUNTERS * sizeof *s->counters));
    s->counters = (unsigned *)p;
    FC_CUDA_TRY(cudaMemsetAsync(s->counters, 0, FC_CUDA_COUNTERS * sizeof *s->counters, s->queue));
    if (workspace) {
        FC_TRY(fc_cuda_alloc("workspace", workspace, &p));
        s->workspace = (unsigned char *)p;
        s->workspace_bytes = workspace;
    }
    return FC_OK;
}

fc_status fc_cuda_stream_open(int device, size_t workspace, bool invariant, fc_stream *out) {
    void *p;
    fc_stream s;
    fc_status st;
    FC_TRY(fc_alloc(1, sizeof *s, "cuda stream", &p));
    s = (fc_stream)p;
    s->device = device;
    s->invariant = invariant;
    st = open_device(s, workspace);
    if (st) {
        fc_cuda_stream_close(s);
        return st;
    }
    *out = s;
    return FC_OK;
}

void fc_cuda_stream_close(fc_stream s) {
    if (!s) return;
    if (s->queue) cudaStreamSynchronize(s->queue);
    fc_replay_close(s->replay);
    fc_lt_close(s->lt);
    fc_pool_close(s->pool);
    cudaFree(s->workspace);
    cudaFree(s->counters);
    cudaFree(s->trouble);
    if (s->end) cudaEventDestroy(s->end);
    if (s->queue) cudaStreamDestroy(s->queue);
    fc_free(s);
}

fc_status fc_cuda_complaint(unsigned long long trouble) {
    if (trouble == ~0ull) return FC_OK;
    FC_ASSERT((trouble & 255) < FC_TROUBLE_COUNT);
    return FC_FAIL(FC_ERR_ARG, troubles[trouble & 255], (int)(trouble >> 8));
}
