#include "kernels/linear/linear_ref_cuda.h"

#include "engine/base/mem.h"
#include "engine/base/quant.h"

#include <math.h>

static double bf16(double x) { return (double)fc_bf16_to_f32(fc_f32_to_bf16((float)x)); }

/* x as tensor cores are given it: hi, or hi + lo; NaN where hi would not be finite. */
static double read_x(float x, bool precise) {
    double hi = bf16((double)x);
    if (!isfinite(hi)) return NAN;
    return precise ? hi + bf16((double)x - hi) : hi; /* x - hi is exact in f32 */
}

/* A row of W in double: scale * code + minimum, or scale * (code - zero), not rounded; and what its error is measured
 * by, |scale * code| + |minimum|, since minimum * x is summed apart. */
static fc_status read_w(const fc_weight_part *p, int n, double *w, double *size) {
    const unsigned char *row = p->data;
    size_t K = (size_t)p->K, bytes, group;
    uint8_t codes[256];
    float scale[16], min[16], v;
    bool whole = p->dtype == FC_Q8_0 || p->dtype == FC_Q4_0 || p->dtype == FC_Q5_0 || p->dtype == FC_Q6_K;
    FC_TRY(fc_dtype_row_bytes(p->dtype, K, &bytes));
    row += (size_t)n * bytes;
    for (size_t k = 0; !fc_dtype_is_quant(p->dtype) && k < K; k++) {
        if (p->dtype == FC_F8) v = fc_f8_to_f32(row[k]);
        else FC_TRY(fc_dequant_row(p->dtype, row + k * fc_dtype_block_bytes(p->dtype), &v, 1));
        w[k] = (double)v * (double)fc_weight_part_scale(p, n, (int)k);
        size[k] = fabs(w[k]);
    }
    if (!fc_dtype_is_quant(p->dtype)) return FC_OK;
    group = (size_t)fc_quant_group(p->dtype);
    for (size_t k = 0; k < K; k += fc_dtype_block(p->dtype), row += fc_dtype_block_bytes(p->dtype)) {
        size_t block = fc_dtype_block(p->dtype);
        FC_TRY(fc_quant_codes(p->dtype, row, block, codes, scale, min));
        for (size_t i = 0; i < block; i++) {
            double d = (double)scale[i / group],
                   middle = p->dtype == FC_Q8_W ? 128.0 : 0.0; /* as the device holds it */
            double product = d * ((double)codes[i] - middle), least = (double)min[i / group] + d * middle;
            w[k + i] = product + least;
            size[k + i] = whole ? fabs(product + least) : fabs(product) + fabs(least);
        }
    }
    return FC_OK;
}

fc_status fc_linear_ref_cuda(const fc_linear_ref_cuda_args *a) {
    int N = 0, K = a->parts[0].K, column = 0;
    fc_status st = FC_OK;
    void *p;
    double *w, *size;
    for (int i = 0; i < a->n_parts; i++) N += a->parts[i].N;
    FC_TRY(fc_alloc((size_t)K, 2 * sizeof *w, "linear reference", &p));
    w = p;
    size = w + K;
    for (int i = 0; i < a->n_parts; i++) {
        bool stands = a->parts[i].dtype == FC_F32 || a->parts[i].dtype == FC_F16;
        for (int n = 0; n < a->parts[i].N; n++, column++) {
            FC_TRY_GOTO(st, read_w(&a->parts[i], n, w, size), done);
            for (int t = 0; t < a->T; t++) {
                double sum = 0.0, all = 0.0;
                for (int k = 0; k < K; k++) {
                    float x = a->x[(size_t)t * (size_t)K + (size_t)k];
                    double v = stands ? (double)x : read_x(x, a->precise);
                    sum += w[k] * v;
                    all += size[k] * fabs(v);
                }
                a->y[(size_t)t * (size_t)N + (size_t)column] = sum + (a->bias ? (double)a->bias[column] : 0.0);
                a->size[(size_t)t * (size_t)N + (size_t)column] = all;
            }
        }
    }
done:
    fc_free(p);
    return st;
}
