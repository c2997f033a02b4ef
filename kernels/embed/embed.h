/* embed - y[t,:] = scale * W[tokens[t],:]
 *
 * shapes  tokens [T], W [V,D] packed (kernels/linear), y [T,D]
 * dtype   y f32, W any packed type
 * shared  where W is some rows of a matrix that ranks share (fc_weight.of), y of tokens that others have is zero, and V
 *         is the whole matrix's
 * needs   T >= 1, 0 <= token < V (checked: FC_ERR_ARG; on CUDA sync says so, and the row is not written)
 * error   exact: dequantised value, one f32 multiplication when scale != 1; Q8_W on CUDA: scale * (code - 128) +
 *         (minimum + 128 * scale), two roundings more
 */
#ifndef FC_KERNELS_EMBED_H
#define FC_KERNELS_EMBED_H

#include "kernels/linear/linear.h"

typedef struct {
    float *y;              /* [T,D] out */
    const int32_t *tokens; /* [T]       */
    const fc_weight *w;    /* [V,D]     */
    float scale;
    int T;
} fc_embed_args;

fc_status fc_embed_cpu(fc_stream s, const fc_embed_args *a);
fc_status fc_embed_cuda(fc_stream s, const fc_embed_args *a);
fc_status fc_embed_ref(fc_stream s, const fc_embed_args *a);
fc_cost fc_embed_cost(const fc_embed_args *a);

#endif
