#include "kernels/cuda/warp.cuh"
#include "kernels/kv/kv_cuda.cuh"

extern "C" {
#include "kernels/rope_kv/rope_kv.h"
}

enum { WARPS = 4, CHAINS = 16, MOST_E = 512 };

struct rope_params {
    fc_rope_kv_args a; /* its kv is the host's; this one is ours: */
    fc_kv_buf kv;
    unsigned long long *trouble;
};

/* Element e of a head is v[e / 32] of lane e % 32. m [E] is the warp's shared memory. The CPU's order: 16 chains over e
 * mod 16, each product and each sum rounded by itself, chains folded in halves; the warp's halves do the same twice. */
template <int N>
static __device__ __forceinline__ void norm_head(float v[N], float *m, const float *w, int E, float eps, int lane) {
    float sum = 0.0f, scale;
#pragma unroll
    for (int i = 0; i < N; i++)
        if (lane + FC_WARP * i < E) m[lane + FC_WARP * i] = v[i];
    __syncwarp();
    for (int e = lane % CHAINS; e < E; e += CHAINS) sum += m[e] * m[e];
    sum = fc_lanes_sum<CHAINS / 2, 1>(sum);
    scale = 1.0f / sqrtf(sum / (float)E + eps);
#pragma unroll
    for (int i = 0; i < N; i++)
        if (lane + FC_WARP * i < E) v[i] = v[i] * scale * w[lane + FC_WARP * i];
    __syncwarp(); /* all have read m: the rotation writes it */
}

/* cs [2,R/2] of the row. */
template <int N>
static __device__ __forceinline__ void rotate_head(float v[N], float *m, const float *cs, const fc_rope_kv_args *a,
                                                   int lane) {
    int half = a->R / 2;
#pragma unroll
    for (int i = 0; i < N; i++)
        if (lane + FC_WARP * i < a->R) m[lane + FC_WARP * i] = v[i];
    __syncwarp();
#pragma unroll
    for (int i = 0; i < N; i++) {
        int e = lane + FC_WARP * i, other = e < half ? e + half : e - half, angle = e < half ? e : other;
        bool first = e < half;
        if (e >= a->R) continue;
        if (a->interleaved) other = e ^ 1, angle = e / 2, first = e % 2 == 0;
        float mine = v[i] * cs[angle], theirs = m[other] * cs[half + angle];
        v[i] = first ? mine - theirs : mine + theirs;
    }
}

/* The scale of a vector whose largest magnitude is `top` codes away from zero: as bits magnitudes order like integers,
 * infinity and NaN above all others, and make the scale NaN. */
template <int N> static __device__ __forceinline__ float scale_of(const float v[N], float top, int E, int lane) {
    unsigned most = 0;
#pragma unroll
    for (int i = 0; i < N; i++)
        if (lane + FC_WARP * i < E) most = max(most, __float_as_uint(v[i]) & 0x7fffffffu);
    most = fc_warp_max(most);
    return most < 0x7f800000u ? __uint_as_float(most) / top : NAN;
}

static __device__ __forceinline__ uint8_t code_of(float x, float scale, fc_dtype type) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number, ties to even */
    float c;
    if (!(scale > 0.0f)) return 0; /* all zero, or not finite */
    c = x / scale;                 /* a subnormal scale has lost bits: the quotient may pass the largest code */
    if (type == FC_F8) return fc_f32_to_f8(c);
    c = c > 127.0f ? 127.0f : c < -127.0f ? -127.0f : c;
    return (uint8_t)(int8_t)((c + magic) - magic);
}

/* to [E] in the store's type, scale: where the slot's scale lies. */
template <int N>
static __device__ __forceinline__ void put_head(const float v[N], unsigned char *to, float *scale, fc_dtype type, int E,
                                                int lane) {
    float by = fc_kv_scaled(type) ? scale_of<N>(v, type == FC_F8 ? 448.0f : 127.0f, E, lane) : 0.0f;
    if (fc_kv_scaled(type) && lane == 0) *scale = by;
#pragma unroll
    for (int i = 0; i < N; i++) {
        int e = lane + FC_WARP * i;
        if (e >= E) continue;
        if (type == FC_F32) ((float *)to)[e] = v[i];
        else if (type == FC_BF16) ((uint16_t *)to)[e] = fc_f32_to_bf16(v[i]);
        else to[e] = code_of(v[i], by, type);
    }
}

/* A warp per row and head: H of q, G of k, G of v. */
template <int N> static __global__ void rope_kv_kernel(const rope_params p) {
    const fc_rope_kv_args *a = &p.a;
    int lane = (int)threadIdx.x % FC_WARP, warp = (int)threadIdx.x / FC_WARP, t = (int)blockIdx.x;
    int heads = a->H + 2 * a->G, h = (int)blockIdx.y * WARPS + warp, g = (h - a->H) % a->G;
    float *m = fc_shared<float>() + warp * a->E, *x = a->qkv + ((size_t)t * heads + h) * a->E;
    const float *w = h < a->H ? a->q_norm : a->k_norm;
    float v[N];
    if (h >= heads) return;
#pragma unroll
    for (int i = 0; i < N; i++) v[i] = lane + FC_WARP * i < a->E ? x[lane + FC_WARP * i] : 0.0f;
    if (h < a->H + a->G) {
        if (w) norm_head<N>(v, m, w, a->E, a->eps, lane);
        rotate_head<N>(v, m, a->cs + (size_t)t * a->R, a, lane);
    }
    if (h < a->H) {
#pragma unroll
        for (int i = 0; i < N; i++)
            if (lane + FC_WARP * i < a->E) x[lane + FC_WARP * i] = v[i];
        return;
    }
    int page = a->page[t], slot = a->slot[t];
    if (page < 0 || page >= p.kv.shape.n_pages || slot < 0 || slot >= p.kv.shape.P) {
        if (lane == 0) fc_complain(p.trouble, FC_TROUBLE_KV_SLOT, t);
        return;
    }
    fc_kv_block_cuda b = fc_kv_block_cuda_at(p.kv, page, a->layer, g);
    bool key = h < a->H + a->G;
    size_t at = (size_t)slot * a->E * fc_kv_elem_bytes(p.kv.shape.type);
    put_head<N>(v, (key ? b.k : b.v) + at, (key ? b.k_scale : b.v_scale) + slot, p.kv.shape.type, a->E, lane);
}

extern "C" fc_status fc_rope_kv_cuda(fc_stream s, const fc_rope_kv_args *a) {
    const fc_kv_shape *k = &a->kv->shape;
    rope_params p = {*a, *a->kv, s->trouble};
    dim3 grid((unsigned)a->T, (unsigned)fc_div_up(a->H + 2 * a->G, WARPS));
    size_t shared = WARPS * (size_t)a->E * sizeof(float);
    if (a->T < 1 || a->H < 1 || a->G != k->G || a->E != k->E || a->layer < 0 || a->layer >= k->L)
        return FC_FAIL(FC_ERR_ARG, "rope_kv: T=%d H=%d G=%d E=%d layer=%d; the store has L=%d G=%d E=%d", a->T, a->H,
                       a->G, a->E, a->layer, k->L, k->G, k->E);
    if (a->R < 0 || a->R > a->E || a->R % 2) return FC_FAIL(FC_ERR_ARG, "rope_kv: R=%d of E=%d dims", a->R, a->E);
    FC_TRY(fc_kv_check_cuda(k));
    if (a->E > MOST_E) return FC_FAIL(FC_ERR_UNSUPPORTED, "rope_kv: E=%d; on CUDA at most %d", a->E, MOST_E);
    if (a->E <= 64) return fc_launch(s, "rope_kv", rope_kv_kernel<2>, grid, WARPS * FC_WARP, shared, p);
    if (a->E <= 128) return fc_launch(s, "rope_kv", rope_kv_kernel<4>, grid, WARPS * FC_WARP, shared, p);
    if (a->E <= 256) return fc_launch(s, "rope_kv", rope_kv_kernel<8>, grid, WARPS * FC_WARP, shared, p);
    return fc_launch(s, "rope_kv", rope_kv_kernel<MOST_E / FC_WARP>, grid, WARPS * FC_WARP, shared, p);
}
