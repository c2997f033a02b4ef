/* linear_float - products with F32 and F16 weights: x as it stands, fused multiply-adds of f32. Inner to
 * kernels/linear.
 *
 * A warp has an output: lane l takes k = 128 i + 4 l .. + 3, i rising, in one chain, and lanes fold in halves. It has
 * up to 8 rows at once, whose x comes from L1 for all warps but the first.
 */
#ifndef FC_KERNELS_LINEAR_FLOAT_CUH
#define FC_KERNELS_LINEAR_FLOAT_CUH

#include "kernels/cuda/warp.cuh"
#include "kernels/linear/linear_x.cuh"

template <int CODE> static __device__ __forceinline__ float4 fc_float_weights(const unsigned char *row, int k) {
    if (CODE == FC_CODE_F32) return *(const float4 *)(row + (size_t)k * 4);
    uint2 u = *(const uint2 *)(row + (size_t)k * 2);
    return make_float4(fc_f16_float((uint16_t)(u.x & 0xffffu)), fc_f16_float((uint16_t)(u.x >> 16)),
                       fc_f16_float((uint16_t)(u.y & 0xffffu)), fc_f16_float((uint16_t)(u.y >> 16)));
}

/* out [8]: output o of the part for rows row .. row + rows - 1, rows at most 8; all lanes have them. */
template <int CODE>
static __device__ __forceinline__ void fc_linear_float(float out[FC_X_ROWS], const fc_part_cuda &w,
                                                       const fc_linear_x &x, int o, int row, int rows) {
    int lane = (int)threadIdx.x % 32, K = w.steps * FC_STEP;
    const unsigned char *weights = w.panels + (size_t)o * K * fc_code_bytes(CODE);
    const float *xr = x.floats + (size_t)row * K;
#pragma unroll
    for (int r = 0; r < FC_X_ROWS; r++) out[r] = 0.0f;
#pragma unroll 2
    for (int k = lane * 4; k < K; k += 32 * 4) {
        float4 a = fc_float_weights<CODE>(weights, k);
#pragma unroll
        for (int r = 0; r < FC_X_ROWS; r++) {
            if (r >= rows) continue;
            float4 b = *(const float4 *)(xr + (size_t)r * K + k);
            out[r] = fmaf(a.x, b.x, out[r]);
            out[r] = fmaf(a.y, b.y, out[r]);
            out[r] = fmaf(a.z, b.z, out[r]);
            out[r] = fmaf(a.w, b.w, out[r]);
        }
    }
    fc_warp_sums<FC_X_ROWS>(out, rows);
}

/* out[i], i not known when compiled: kept out of local memory. */
static __device__ __forceinline__ float fc_pick_of_8(const float v[FC_X_ROWS], int i) {
    float f = v[0];
#pragma unroll
    for (int r = 1; r < FC_X_ROWS; r++) f = i == r ? v[r] : f;
    return f;
}

/* linear_tile.cuh's logits [8 NT][pitch] of 256 outputs: a warp has every eighth. */
template <int CODE, int NT>
static __device__ __forceinline__ void fc_linear_float_tile(const fc_part_cuda &w, const fc_linear_x &x, int tile,
                                                            int row_tile, int outputs, int pitch, float *logits) {
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, warps = (int)blockDim.x / 32;
    for (int i = warp; i < outputs; i += warps)
        for (int n = 0; n < NT; n++) {
            int o = tile * outputs + i, row = (row_tile + n) * FC_X_ROWS, rows = min(x.T - row, (int)FC_X_ROWS);
            float v[FC_X_ROWS];
            if (o < w.N && rows > 0) fc_linear_float<CODE>(v, w, x, o, row, rows);
            else
                for (int r = 0; r < FC_X_ROWS; r++) v[r] = 0.0f;
            if (lane < FC_X_ROWS) logits[(n * FC_X_ROWS + lane) * pitch + i] = fc_pick_of_8(v, lane);
        }
}

#endif
