#include "engine/base/dtype.h"
#include "kernels/cpu/vmath.h"

#include <string.h>

enum { V_LANES = 4 };
#define V_COLS  2
#define V_PAIRS 0
#define V_QUADS 0

/* The compilers' own vector type: no instruction set is named. Products are rounded before they are added. */
typedef float vf __attribute__((vector_size(16)));

static inline vf v_load(const float *p) {
    vf x;
    memcpy(&x, p, sizeof x);
    return x;
}
static inline vf v_load_bf16(const uint16_t *p) {
    return (vf){fc_bf16_to_f32(p[0]), fc_bf16_to_f32(p[1]), fc_bf16_to_f32(p[2]), fc_bf16_to_f32(p[3])};
}
static inline vf v_load_i8(const int8_t *p) { return (vf){(float)p[0], (float)p[1], (float)p[2], (float)p[3]}; }
static inline vf v_load_f8(const uint8_t *p) {
    return (vf){fc_f8_to_f32(p[0]), fc_f8_to_f32(p[1]), fc_f8_to_f32(p[2]), fc_f8_to_f32(p[3])};
}
static inline void v_store(float *p, vf x) { memcpy(p, &x, sizeof x); }
static inline vf v_set1(float x) { return (vf){x, x, x, x}; }
static inline void v_store_rounded(float *row, int i, vf x) {
    for (int j = 0; j < V_LANES; j++) row[i + j] = fc_bf16_to_f32(fc_f32_to_bf16(x[j]));
}
static inline void v_store_code(float *row, int i, vf x) { v_store(row + i, x); }
static inline vf v_add(vf a, vf b) { return a + b; }
static inline vf v_sub(vf a, vf b) { return a - b; }
static inline vf v_mul(vf a, vf b) { return a * b; }
static inline vf v_fma(vf a, vf b, vf c) { return a * b + c; }
static inline float larger(float a, float b) { return a > b ? a : b; }
static inline vf v_max(vf a, vf b) {
    return (vf){larger(a[0], b[0]), larger(a[1], b[1]), larger(a[2], b[2]), larger(a[3], b[3])};
}
static inline vf v_expf(vf x) { return (vf){fc_expf(x[0]), fc_expf(x[1]), fc_expf(x[2]), fc_expf(x[3])}; }
static inline vf v_exp(vf x) { return v_expf(x); }
static inline vf v_tanh(vf x) { return (vf){fc_tanhf(x[0]), fc_tanhf(x[1]), fc_tanhf(x[2]), fc_tanhf(x[3])}; }
static inline vf v_keep(vf x, int lo, int hi) {
    for (int i = 0; i < 4; i++)
        if (i < lo || i >= hi) x[i] = -__builtin_inff();
    return x;
}
static inline float v_hmax(vf x) { return larger(larger(x[0], x[2]), larger(x[1], x[3])); }
static inline float v_hsum(vf x) { return (x[0] + x[2]) + (x[1] + x[3]); }

#include "kernels/attn/attn_simd.h"

const fc_attn_code fc_attn_code_portable = {attn_block, attn_fold};
