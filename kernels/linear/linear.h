/* linear - y[t,:] = W x[t,:] (+ bias), W packed once from a file's tensor in the file's own precision
 *
 * shapes  x [T,K], W [N,K] as parts stacked along N, bias [N], y [T,N]; row-major, contiguous
 * dtype   x, y f32. W f32, f16, bf16 and F8 (E4M3): x as it stands, sums in f32; F8 may have a scale for each block
 *         of rows and columns, which multiplies the sum over its columns. W quantised: codes of 4 or 8 bits with f16 or
 *         f32 scale and minimum for each 32 (Q6_K: 16); x is rounded to int8 for each 32 of a row, whose scale is the
 *         least of ... 1/2, sqrt(1/2), 1, sqrt(2), 2 ... by which their largest magnitude is 127.49 or less (all 32 are
 *         zero where it is not above 2^-80), integer dot products, sums in f32. Where the largest magnitude of 32 is
 *         above 3 times the mean of the row's groups', precise: 1.25 times, the quad that holds it (4 of the 32, from a
 *         multiple of 4 on) does not count for the scale, but that this is at least 1/250 of the whole one; the quad's
 *         codes have 16 bits. It costs a ninth quad of multiplications where one of the rows that share registers has
 *         such codes (AVX-512: 6, AVX-VNNI and AVX2: 3, AMX: 16), nothing where codes of 8 bits meet AVX2 or the
 *         portable level, which widen all to 16
 * from    x is an array, or what a norm or a gated unit would leave in its y, made a few rows at a time just before
 *         they are rounded, with the bits of that operator (a norm's res is updated, once): one call instead of two,
 *         and x need not be written at all
 * needs   T >= 1; K a multiple of the file's block (32, K-quants 256) for quantised W; scales are finite, and their
 *         columns an even number or all
 * order   one chain for each output: over groups (over k where W is float), first to last, then the bias; whatever T,
 *         threads, workspace or part. F8: a chain over k for each scale, and one over scales. A row's bits depend on
 *         that row alone, at one level; all but portable agree
 * nan     a NaN or an infinity in a row of x makes that row of y NaN where W is quantised, what IEEE 754 says
 *         otherwise; no other row changes. A weight of F8 that is NaN makes all of its row NaN that have its scale
 * CUDA    x as it stands for W f32 and f16: fused multiply-adds of f32, lane l of 32 taking k = 128 i + 4 l .. + 3 in
 *         one chain, lanes folded in halves. Else, W bf16, fp8 (E4M3) and quantised: x is rounded to bf16, precise: to
 *         the sum of two bf16, which keeps 16 bits and more; codes are exact as bf16. K is cut into 8 ranges of whole
 *         64 k, by K alone, whose sums fold first to last; then the bias. Of bf16, and of fp8 with no scales or one an
 *         output, a range's sum is the tensor cores' own: from zero, 16 k after 16 k (precise: hi, then lo), then times
 *         the scale. Of others tensor cores sum products with x for each 32 k (Q6_K: 16) from zero; acc = fma(scale,
 *         that, acc), then acc = fma(minimum, sum of x, acc), one chain over the groups of a range. The same whatever
 *         T, part, workspace and kernel, so that a row's bits depend on that row alone; a row with NaN or infinity is
 *         NaN where x is rounded. A device of 9.0 multiplies 17 rows and more by warpgroups, unless a part of W is f32
 *         or f16: the same bits, since an H100 adds 32 k alike by both (seen of 128 columns and chains of 2 and 4;
 *         tests/gpu/conform_async.cuh asks a device of 32, 64 and 128, and of long chains). Of a stream that is not
 *         batch-invariant, W with a part of bf16 never is, and 128 rows and more of bf16 alone: the same x, sums in f32
 *         by cuBLASLt
 * bytes   W once as packed (the file's bits a weight for all types with f16 scales; F8: and a scale for each row and
 *         block of columns), x, or what it is made from, and y. The CPU reads W anew for each 256 rows, and of 8 rows a
 *         thread and more each of up to 8 threads reads it, best out of a cache that they share
 * flops   2*T*N*K, precise or not, and those of what makes x
 * error   against linear_ref.c, which rounds x alike and sums in double: 1e-6 of sum(|w| |x|), the rounding of chains
 *         of at most K/16 terms (K where W is float) at 6e-8 each, which add up like their square root, or one by one
 *         where all terms are equal; the rounding of x itself is up to 0.56 % of what the scale is of: the largest
 *         magnitude of 32 or, where it stands out, of those outside that quad. Where a weight is a small difference of
 *         scale * code and minimum, these count instead. CUDA: the same 1e-6 against linear_ref_cuda.h, of
 *         sum((|scale * code| + |minimum|) |x|): a tensor core cuts off what is below an ulp of f32 or so at each
 *         addition. Of groups there are at most 4 from zero, 2e-7 of a group's magnitudes together, and chains have at
 *         most K/256 terms of groups. Where a range is one chain, K/128 (precise: K/64) * 2^-23 more, where all that is
 *         cut off has one sign. Rounding x is up to 0.2 % (precise: 0.0008 %) of each x. cuBLASLt: K/16 * 2^-23 more,
 *         since one sum goes through all K
 */
#ifndef FC_KERNELS_LINEAR_H
#define FC_KERNELS_LINEAR_H

#include "kernels/glu/glu.h"
#include "kernels/kernel.h"
#include "kernels/rmsnorm/rmsnorm.h"

#include <stdbool.h>

/* Packed matrix: what each backend's own form begins with; the rest is that backend's. */
typedef struct fc_weight {
    int N, K;      /* N of all parts */
    int first, of; /* it is rows first .. first + N - 1 of a matrix of `of` rows; 0 and N where it is all of one */
    size_t bytes;  /* held, packed   */
} fc_weight;

/* Of a matrix whose rows several ranks share (kernels/ranks), this one has some. */
static inline bool fc_weight_shared(const fc_weight *w) { return w->of > w->N; }

/* One tensor of the stack; all parts have the same K. */
typedef struct {
    const char *name; /* for errors */
    const void *data; /* host, [N,K] in dtype; read during the call only */
    fc_dtype dtype;
    int N, K;
    const float *scale; /* F8 alone: host, [ceil(N/scale_rows),ceil(K/scale_cols)], read during the call; NULL: 1 */
    int scale_rows, scale_cols; /* weights that share one: a tensor's N and K, a row's 1 and K, a block's 128 and 128 */
    int first,
        of; /* rows first .. first + N - 1 of a tensor of `of`, as fc_weight has it; of 0: all. The only part then,
                      cut at multiples of 256 rows */
} fc_weight_part;

enum { FC_WEIGHT_CUT = 256, FC_WEIGHT_SHARED_MAX = 1 << 24 /* rows whose number an f32 holds */ };
/* first and of, where N is known. */
static inline fc_status fc_weight_place(fc_weight *w, const fc_weight_part *parts, int n_parts) {
    const fc_weight_part *p = &parts[0];
    w->of = p->of ? p->of : w->N;
    w->first = p->of ? p->first : 0;
    if (!p->of) return FC_OK;
    if (n_parts != 1 || p->of > FC_WEIGHT_SHARED_MAX || p->first < 0 || p->first > p->of - p->N ||
        p->first % FC_WEIGHT_CUT || (p->N % FC_WEIGHT_CUT && p->first + p->N < p->of))
        return FC_FAIL(FC_ERR_ARG, "tensor %s: rows %d+%d of %d, %d parts", p->name ? p->name : "?", p->first, p->N,
                       p->of, n_parts);
    return FC_OK;
}

/* What multiplies element [n,k] of a part. */
static inline float fc_weight_part_scale(const fc_weight_part *p, int n, int k) {
    if (!p->scale) return 1.0f;
    return p
        ->scale[(size_t)(n / p->scale_rows) * (size_t)((p->K - 1) / p->scale_cols + 1) + (size_t)(k / p->scale_cols)];
}

fc_status fc_weight_pack_cpu(fc_stream s, const fc_weight_part *parts, int n_parts, fc_weight **out);
void fc_weight_free_cpu(fc_weight *w); /* NULL is fine */
/* An element of F8 that is NaN is refused, and so are scales of some columns but no multiple of 64. Waits for the
 * queue. */
fc_status fc_weight_pack_cuda(fc_stream s, const fc_weight_part *parts, int n_parts, fc_weight **out);
void fc_weight_free_cuda(fc_weight *w); /* NULL is fine; nothing that is queued may still read w */

typedef struct {
    float *y;           /* [T,N] out; overlaps nothing that is read */
    const float *x;     /* [T,K]; not looked at where norm or glu is given */
    const fc_weight *w; /* [N,K] packed     */
    const float *bias;  /* [N] or NULL      */
    /* Host, read during the call; at most one. Their T is T, their D or F is K, a norm has no rows. Their y is x: the
     * caller's [T,K] where somebody reads x later, else NULL, and x is written nowhere. */
    const fc_rmsnorm_args *norm;
    const fc_glu_args *glu;
    int T;
    bool precise;          /* quantised W: more of what stands out of x in 16 bits instead of 8 */
    const fc_weight *then; /* multiplied next, by as many rows; NULL: not known. CPU: its first panels are fetched while
                              the last of w are multiplied. No bit depends on it */
} fc_linear_args;

fc_status fc_linear_cpu(fc_stream s, const fc_linear_args *a);
fc_status fc_linear_cuda(fc_stream s, const fc_linear_args *a);
fc_status fc_linear_ref(fc_stream s, const fc_linear_args *a);
fc_cost fc_linear_cost(const fc_linear_args *a);
/* Bytes of stream workspace for the best speed at T rows (it grows up to 256); a call with less, but with enough for
 * one row, computes its rows in pieces, with the same bits. */
size_t fc_linear_workspace_cpu(int T, int K);
/* CUDA's, likewise; N of the widest matrix. It grows up to 1024 rows. */
size_t fc_linear_workspace_cuda(int T, int K, int N);
/* Bytes of stream scratch that a thread needs where x is made from something and has no y to go to. */
size_t fc_linear_scratch_cpu(int K);

/* Row n of W as f32, out [K] (host or backend memory of the CPU), with the bits of fc_dequant_row, and of one product
 * with the scale where there is one: embed and tests. */
void fc_weight_row_cpu(const fc_weight *w, int n, float *out);

#endif
