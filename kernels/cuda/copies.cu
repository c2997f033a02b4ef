#include "kernels/cuda/copies.cuh"

fc_status fc_ring_open(size_t bytes, fc_ring *out) {
    void *p;
    memset(out, 0, sizeof *out);
    out->segment = (bytes / FC_RING_SEGMENTS + 63) / 64 * 64;
    cudaError_t e = cudaMallocHost(&p, FC_RING_SEGMENTS * out->segment);
    if (e == cudaErrorMemoryAllocation) {
        FC_FAILS_HERE("cudaMallocHost: memory");
        cudaGetLastError();
        return FC_FAIL(FC_ERR_MEM, "cudaMallocHost: %zu bytes of pinned memory", FC_RING_SEGMENTS * out->segment);
    }
    if (e != cudaSuccess) return FC_CUDA_FAILED(e, "cudaMallocHost");
    out->base = (unsigned char *)p;
    for (int i = 0; i < FC_RING_SEGMENTS; i++)
        FC_CUDA_TRY(cudaEventCreateWithFlags(&out->done[i], cudaEventDisableTiming));
    return FC_OK;
}

void fc_ring_close(fc_ring *r) {
    for (int i = 0; i < FC_RING_SEGMENTS; i++)
        if (r->done[i]) cudaEventDestroy(r->done[i]);
    if (r->base) cudaFreeHost(r->base);
    memset(r, 0, sizeof *r);
}

fc_status fc_ring_take(fc_ring *r, size_t bytes, fc_stream s, unsigned char **out) {
    FC_ASSERT(bytes <= r->segment);
    if (fc_ring_turns(r, bytes)) {
        FC_CUDA_TRY(cudaEventRecord(r->done[r->now], s->queue));
        r->left[r->now] = true;
        r->now = (r->now + 1) % FC_RING_SEGMENTS;
        r->at = 0;
        if (r->left[r->now]) FC_TRY(fc_cuda_await(s, r->done[r->now]));
        r->left[r->now] = false;
    }
    *out = r->base + (size_t)r->now * r->segment + r->at;
    r->at += (bytes + 15) / 16 * 16;
    return FC_OK;
}
