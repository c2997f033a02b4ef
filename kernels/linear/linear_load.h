/* linear_load - what products do to a CUDA device: linear.cu, linear_wgmma.cu, linear_lt.cu and the heads' tiles, from
 * shapes.
 *
 * memory  the matrix as packed, once a launch; x and y where the cache does not keep them
 * cache   each block's share of the matrix and all of x that its rows are; of a cluster, once what its blocks share
 * ops     rows filled up to tiles of 8, by warpgroups to theirs, twice where x is precise; f32 and f16 matrices: fused
 *         multiply-adds
 * tests/cuda_emu/test_load.c holds bytes and launches against what is packed and launched.
 */
#ifndef FC_KERNELS_LINEAR_LOAD_H
#define FC_KERNELS_LINEAR_LOAD_H

#include "engine/base/dtype.h"
#include "kernels/load.h"

typedef enum { FC_FROM_ARRAY = 0, FC_FROM_NORM, FC_FROM_GLU } fc_linear_from_kind;

/* Of F8: none, one an output, one for some columns. */
typedef enum { FC_SCALES_NONE = 0, FC_SCALES_ROWS, FC_SCALES_BLOCKS } fc_scales;

typedef struct {
    fc_dtype type;
    fc_scales scales;
    int T, N, K;
    fc_linear_from_kind from;
    bool precise, variant; /* variant: of a stream that is not batch-invariant */
} fc_linear_shape;

/* Bytes of a packed matrix of one tensor. */
double fc_linear_packed_cuda(fc_dtype type, fc_scales scales, int N, int K);
double fc_linear_packed_cpu(fc_dtype type, int N, int K, int scale_cols); /* pack.c; scale_cols: of F8, 0: none */

fc_load fc_linear_load_cuda(const fc_linear_shape *a, const fc_load_device *d);

/* head_draw and head_lse: the same tiles over V outputs, of which sums alone are kept; M members of a draw read one
 * tile of 256 outputs each again, 0: head_lse. */
fc_load fc_head_load_cuda(const fc_linear_shape *a, int M, const fc_load_device *d);

#endif
