#include "kernels/cuda/cuda.cuh"

#include <stdlib.h>

extern "C" {
void *device_copy(fc_stream s, const void *host, size_t bytes);
void device_read(fc_stream s, void *host, const void *device, size_t bytes);
void device_free(void *device);
fc_stream device_stream(size_t workspace);
fc_stream device_stream_variant(size_t workspace);
void device_close(fc_stream s);
fc_status device_sync(fc_stream s);
bool device_full(void);
}

static void must(cudaError_t e, const char *what) {
    if (e == cudaSuccess) return;
    fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(e));
    abort();
}

void *device_copy(fc_stream s, const void *host, size_t bytes) {
    void *p;
    must(cudaMalloc(&p, bytes), "cudaMalloc");
    if (host) must(cudaMemcpyAsync(p, host, bytes, cudaMemcpyHostToDevice, s->queue), "cudaMemcpyAsync");
    else must(cudaMemsetAsync(p, 0xff, bytes, s->queue), "cudaMemsetAsync");
    must(cudaStreamSynchronize(s->queue), "cudaStreamSynchronize");
    return p;
}

void device_read(fc_stream s, void *host, const void *device, size_t bytes) {
    if (fc_cuda_flush(s)) must(cudaErrorLaunchFailure, fc_status_text());
    must(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, s->queue), "cudaMemcpyAsync");
    must(cudaStreamSynchronize(s->queue), "cudaStreamSynchronize");
}

void device_free(void *device) { must(cudaFree(device), "cudaFree"); }

size_t device_shared;
int device_sms;

static fc_stream open_stream(size_t workspace, bool invariant) {
    fc_stream s;
    if (fc_cuda_stream_open(0, workspace, invariant, &s)) {
        fprintf(stderr, "%s\n", fc_status_text());
        abort();
    }
    if (device_shared) s->shared_max = device_shared;
    if (device_sms) s->sms = device_sms;
    return s;
}
fc_stream device_stream(size_t workspace) { return open_stream(workspace, true); }
fc_stream device_stream_variant(size_t workspace) { return open_stream(workspace, false); }
void device_close(fc_stream s) { fc_cuda_stream_close(s); }

/* The queue is empty: what kernels complained of since the last time, forgotten there. */
fc_status device_sync(fc_stream s) {
    unsigned long long t;
    FC_TRY(fc_cuda_flush(s));
    cudaError_t e = cudaMemcpyAsync(&t, s->trouble, sizeof t, cudaMemcpyDeviceToHost, s->queue);
    if (e == cudaSuccess) e = cudaMemsetAsync(s->trouble, 0xff, sizeof *s->trouble, s->queue);
    if (e == cudaSuccess) e = cudaStreamSynchronize(s->queue);
    return e == cudaSuccess ? fc_cuda_complaint(t) : fc_cuda_failed(e, "cuda: device_sync");
}

bool device_full(void) { return getenv("FORKCAST_GPU_FULL") != NULL; }
