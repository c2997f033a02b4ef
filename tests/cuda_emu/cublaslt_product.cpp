/* cublaslt_product.cpp - the product itself: inputs exact, one sum in double, scaled, rounded once. cuBLAS adds in
 * another order, in float; what agrees with this within the error of float sums can agree with it. */
#include "tests/cuda_emu/cublaslt_state.h"
#include "tests/cuda_emu/runtime_state.h"

extern "C" {
#include "engine/base/dtype.h"
}

#include <stdio.h>

enum { BAND = 256 }; /* rows at a time */

size_t emu_lt_size(unsigned type) {
    switch (type) {
    case CUDA_R_32F: return 4;
    case CUDA_R_16F:
    case CUDA_R_16BF: return 2;
    case CUDA_R_8F_E4M3:
    case CUDA_R_8F_E5M2: return 1;
    default: return 0;
    }
}

bool emu_lt_fp8(unsigned type) { return type == CUDA_R_8F_E4M3 || type == CUDA_R_8F_E5M2; }

size_t emu_lt_bytes(const emu_lt_layout *l) {
    return (size_t)((l->cols - 1) * (uint64_t)l->ld + l->rows) * emu_lt_size(l->type);
}

static float load(const void *p, unsigned type, size_t i) {
    switch (type) {
    case CUDA_R_16F: return fc_f16_to_f32(((const uint16_t *)p)[i]);
    case CUDA_R_16BF: return fc_bf16_to_f32(((const uint16_t *)p)[i]);
    case CUDA_R_8F_E4M3: return fc_f8_to_f32(((const uint8_t *)p)[i]);
    case CUDA_R_8F_E5M2: return fc_f16_to_f32((uint16_t)(((const uint8_t *)p)[i] << 8)); /* f16's upper half */
    default: return ((const float *)p)[i];
    }
}

/* Once, from double: to float first would round twice. */
static uint16_t bf16_of(double v) {
    float f = (float)v;
    uint32_t bits;
    if (f != (float)INFINITY && f != (float)-INFINITY && f == f && (double)f != v) { /* round to odd, then to bf16 */
        memcpy(&bits, &f, 4);
        if (!(bits & 1)) bits += fabs(v) > fabs((double)f) ? 1u : ~0u;
        memcpy(&f, &bits, 4);
    }
    return fc_f32_to_bf16(f);
}

static uint16_t f16_of(double v) {
    double a = fabs(v), unit;
    uint16_t sign = signbit(v) ? 0x8000 : 0;
    if (v != v) return 0x7fff;
    if (a >= 65520) return sign | 0x7c00;
    int e;
    frexp(a, &e);
    if (e < -13) e = -13; /* subnormal: units of 2^-24 */
    unit = ldexp(1.0, e - 11);
    double steps = nearbyint(a / unit); /* exact quotient */
    if (steps >= 2048) steps /= 2, e++;
    return sign | (uint16_t)(steps >= 1024 ? (unsigned)(e + 14) << 10 | ((unsigned)steps & 1023u) : (unsigned)steps);
}

static void store(void *p, unsigned type, size_t i, double v) {
    if (type == CUDA_R_16BF) ((uint16_t *)p)[i] = bf16_of(v);
    else if (type == CUDA_R_16F) ((uint16_t *)p)[i] = f16_of(v);
    else ((float *)p)[i] = (float)v;
}

const char *emu_lt_out_of_memory(const emu_lt_product *p) {
    static thread_local std::string text;
    bool vec_a = p->desc.scale_mode_a == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    bool vec_b = p->desc.scale_mode_b == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    const struct {
        const char *name;
        const void *at;
        size_t bytes;
    } all[] = {
        {"A", p->pa, emu_lt_bytes(&p->a)},
        {"B", p->pb, emu_lt_bytes(&p->b)},
        {"C", p->pc, p->pc ? emu_lt_bytes(&p->c) : 0},
        {"D", p->pd, emu_lt_bytes(&p->d)},
        {"the bias", p->desc.bias,
         p->desc.epilogue == CUBLASLT_EPILOGUE_BIAS ? p->m * emu_lt_size((unsigned)p->bias_type) : 0},
        {"A's scale", p->desc.scale_a, p->desc.scale_a ? (vec_a ? p->m : 1) * sizeof(float) : 0},
        {"B's scale", p->desc.scale_b, p->desc.scale_b ? (vec_b ? p->n : 1) * sizeof(float) : 0},
        {"alpha", p->p_alpha, p->p_alpha ? sizeof(float) : 0},
        {"beta", p->p_beta, p->p_beta ? sizeof(float) : 0},
        {"the workspace", p->workspace, p->workspace_used},
    };
    for (const auto &one : all) {
        const char *wrong = one.bytes ? emu_check_device(one.at, one.bytes) : nullptr;
        if (!wrong) continue;
        text = std::string(one.name) + ": " + wrong;
        return text.c_str();
    }
    return nullptr;
}

/* op(X)[row, col], X stored by columns of ld */
static size_t place(const emu_lt_layout *l, int trans, uint64_t row, uint64_t col) {
    return trans == CUBLAS_OP_N ? (size_t)(col * (uint64_t)l->ld + row) : (size_t)(row * (uint64_t)l->ld + col);
}

bool emu_lt_compute(const emu_lt_product *p, std::string *problem) {
    const char *wrong = emu_lt_out_of_memory(p); /* again: a graph keeps addresses */
    if (wrong) {
        *problem = wrong;
        return false;
    }
    const emu_lt_desc *o = &p->desc;
    const float *scale_a = (const float *)o->scale_a, *scale_b = (const float *)o->scale_b;
    bool vec_a = o->scale_mode_a == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    bool vec_b = o->scale_mode_b == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    double alpha = p->p_alpha ? *(const float *)p->p_alpha : p->alpha;
    double beta = p->p_beta ? *(const float *)p->p_beta : p->beta;
    std::vector<double> band(p->k * BAND), sum(BAND);
    if (p->workspace_used) memset(p->workspace, 0xff, p->workspace_used); /* whoever keeps something there loses it */
    for (uint64_t from = 0; from < p->m; from += BAND) {
        uint64_t rows = p->m - from < BAND ? p->m - from : (uint64_t)BAND;
        for (uint64_t k = 0; k < p->k; k++)
            for (uint64_t i = 0; i < rows; i++)
                band[k * BAND + i] = load(p->pa, p->a.type, place(&p->a, o->trans_a, from + i, k));
        for (uint64_t j = 0; j < p->n; j++) {
            for (uint64_t i = 0; i < rows; i++) sum[i] = 0;
            for (uint64_t k = 0; k < p->k; k++) {
                double b = load(p->pb, p->b.type, place(&p->b, o->trans_b, k, j));
                const double *a = &band[k * BAND];
                for (uint64_t i = 0; i < rows; i++) sum[i] += a[i] * b;
            }
            for (uint64_t i = 0; i < rows; i++) {
                size_t at = (size_t)(j * (uint64_t)p->d.ld + from + i);
                double v = alpha * sum[i];
                if (scale_a) v *= scale_a[vec_a ? from + i : 0];
                if (scale_b) v *= scale_b[vec_b ? j : 0];
                if (beta != 0) v += beta * load(p->pc, p->c.type, (size_t)(j * (uint64_t)p->c.ld + from + i));
                if (o->epilogue == CUBLASLT_EPILOGUE_BIAS) v += load(o->bias, (unsigned)p->bias_type, from + i);
                store(p->pd, p->d.type, at, v);
            }
        }
    }
    return true;
}
