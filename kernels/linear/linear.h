/* linear - y[t,:] = W x[t,:] (+ bias), W packed once from a file's tensor in the file's own precision
 *
 * shapes  x [T,K], W [N,K] as parts stacked along N, bias [N], y [T,N]; row-major, contiguous
 * dtype   x, y f32. W: f32 and f16 compute in f32; bf16 rounds x to bf16 and sums in f32; quantised types stay
 *         int8 or int4 codes in groups with scale and minimum, x is rounded to int8 per row and group of 32
 * needs   T >= 1; K a multiple of 32 for quantised W (of 256 for K-quants: the file's block)
 * order   K in one chain per (row, output), first to last, whatever T, threads or part: a row's bits depend on
 *         that row alone
 * error   see linear_ref.c: the reference rounds x the same way and sums in double
 */
#ifndef FC_KERNELS_LINEAR_H
#define FC_KERNELS_LINEAR_H

#include "kernels/kernel.h"

typedef struct fc_weight fc_weight; /* packed matrix; opaque, a backend's own layout */

/* One tensor of the stack; all parts have the same K. */
typedef struct {
    const char *name; /* for errors */
    const void *data; /* host, [N,K] in dtype; read during the call only */
    fc_dtype dtype;
    int N, K;
} fc_weight_part;

fc_status fc_weight_pack_cpu(fc_stream s, const fc_weight_part *parts, int n_parts, fc_weight **out);
void fc_weight_free_cpu(fc_weight *w); /* NULL is fine */
int fc_weight_rows(const fc_weight *w);      /* N, all parts  */
int fc_weight_cols(const fc_weight *w);      /* K             */
size_t fc_weight_bytes(const fc_weight *w);  /* held, packed  */

typedef struct {
    float *y;           /* [T,N] out        */
    const float *x;     /* [T,K]            */
    const fc_weight *w; /* [N,K] packed     */
    const float *bias;  /* [N] or NULL      */
    int T;
} fc_linear_args;

fc_status fc_linear_cpu(fc_stream s, const fc_linear_args *a);
fc_status fc_linear_ref(fc_stream s, const fc_linear_args *a);
fc_cost fc_linear_cost(const fc_linear_args *a);
size_t fc_linear_workspace_cpu(int T, int K); /* bytes of stream workspace that a call needs */

/* One row of W as f32, out [K] (host or backend memory of the CPU): embed and tests. */
void fc_weight_row_cpu(const fc_weight *w, int n, float *out);

#endif
