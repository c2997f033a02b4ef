/* lt - products by cuBLASLt, whose library is opened at run time: a backend that is batch-invariant does without it.
 *
 *   y[t,n] = sum over k of w[n,k] x[t,k]  (+ bias[n])  (+ y[t,n], where more)
 *
 * w and x are bf16, sums f32. Their order is cuBLASLt's, and depends on T. What it finds for a shape is kept for the
 * last shapes.
 */
#ifndef FC_KERNELS_CUDA_LT_CUH
#define FC_KERNELS_CUDA_LT_CUH

#include "kernels/cuda/cuda.cuh"

enum { FC_LT_WORKSPACE = 32 << 20 }; /* bytes that its algorithms are at their best with */

typedef struct fc_lt fc_lt;

/* Device memory. */
typedef struct {
    float *y;          /* [T,ldy] */
    const void *w, *x; /* [N,K], [T,K] bf16, at multiples of 16 bytes */
    const float *bias; /* [N] or NULL */
    int T, N, K, ldy;  /* K a multiple of 8 */
    bool more;
} fc_lt_product;

/* FC_ERR_UNSUPPORTED says what the loader said. */
fc_status fc_lt_open(fc_lt **out);
void fc_lt_close(fc_lt *lt); /* NULL is fine; nothing of it is under way any more */
/* Whether it has an algorithm for the product in so many bytes of workspace; asks once a shape. */
fc_status fc_lt_can(fc_lt *lt, const fc_lt_product *p, size_t bytes, bool *can);
/* Of a product that it can. workspace: device, 256-byte aligned; some bytes, or FC_LT_WORKSPACE. */
fc_status fc_lt_run(fc_lt *lt, cudaStream_t queue, const fc_lt_product *p, void *workspace, size_t bytes);

#endif
