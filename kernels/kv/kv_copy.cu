#include "kernels/kv/kv_cuda.cuh"

enum { THREADS = 256, FLIGHT = 4, GRID_Y = 65535 };

struct kv_copy_params {
    fc_kv_buf kv;
    const int32_t *src, *dst, *n; /* [M] each */
    unsigned long long *trouble;
};

/* bytes: a multiple of a UNIT's. All threads of the block, each with several units on their way. */
template <typename UNIT>
static __device__ __forceinline__ void copy_piece(unsigned char *to, const unsigned char *from, size_t bytes) {
    int n = (int)(bytes / sizeof(UNIT));
    for (int i = (int)threadIdx.x; i < n; i += FLIGHT * THREADS) {
        UNIT v[FLIGHT] = {};
#pragma unroll
        for (int k = 0; k < FLIGHT; k++)
            if (i + k * THREADS < n) v[k] = ((const UNIT *)from)[i + k * THREADS];
#pragma unroll
        for (int k = 0; k < FLIGHT; k++)
            if (i + k * THREADS < n) ((UNIT *)to)[i + k * THREADS] = v[k];
    }
}

/* A block per pair of pages, layer and KV head. The filled slots of K and of V are one stretch of bytes each, and a
 * page that is full is one with its scales. WIDE: what every block's size is a multiple of. */
template <typename WIDE> static __global__ void kv_copy_kernel(const kv_copy_params p) {
    const fc_kv_shape *s = &p.kv.shape;
    int m = (int)blockIdx.x, layer = (int)blockIdx.y / s->G, g = (int)blockIdx.y % s->G;
    int src = p.src[m], dst = p.dst[m], n = p.n[m];
    if (src < 0 || src >= s->n_pages || dst < 0 || dst >= s->n_pages || n < 0 || n > s->P) {
        if (blockIdx.y == 0 && threadIdx.x == 0) fc_complain(p.trouble, FC_TROUBLE_KV_COPY, m);
        return;
    }
    if (src == dst) return;
    fc_kv_block_cuda to = fc_kv_block_cuda_at(p.kv, dst, layer, g), from = fc_kv_block_cuda_at(p.kv, src, layer, g);
    size_t part = (size_t)n * (size_t)s->E * fc_kv_elem_bytes(s->type);
    if (n == s->P) {
        copy_piece<WIDE>(to.k, from.k, fc_kv_block_bytes(s));
        return;
    }
    copy_piece<WIDE>(to.k, from.k, part);
    copy_piece<WIDE>(to.v, from.v, part);
    if (!fc_kv_scaled(s->type)) return;
    copy_piece<float>((unsigned char *)to.k_scale, (const unsigned char *)from.k_scale, (size_t)n * sizeof(float));
    copy_piece<float>((unsigned char *)to.v_scale, (const unsigned char *)from.v_scale, (size_t)n * sizeof(float));
}

extern "C" fc_status fc_kv_copy_cuda(fc_stream s, const fc_kv_copy_args *a) {
    const fc_kv_shape *k = &a->kv->shape;
    kv_copy_params p = {*a->kv, a->src, a->dst, a->n, s->trouble};
    dim3 grid((unsigned)a->M);
    FC_TRY(fc_kv_check_cuda(k));
    if (a->M < 0) return FC_FAIL(FC_ERR_ARG, "kv_copy: M=%d; it must be at least 0", a->M);
    if (k->L > GRID_Y / k->G)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "kv_copy: L=%d G=%d; on CUDA L * G <= %d", k->L, k->G, GRID_Y);
    grid.y = (unsigned)(k->L * k->G);
    if (fc_kv_block_bytes(k) % sizeof(uint4) == 0)
        return fc_launch(s, "kv_copy", kv_copy_kernel<uint4>, grid, THREADS, 0, p);
    return fc_launch(s, "kv_copy", kv_copy_kernel<uint2>, grid, THREADS, 0, p);
}
