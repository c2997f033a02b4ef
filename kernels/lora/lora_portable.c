#include "engine/base/dtype.h"

/* The compilers' own vector type: no instruction set is named. Products are rounded before they are added. */
typedef float vf __attribute__((vector_size(16)));

enum { V_LANES = 4 };
#define V_ROWS   1
#define V_RANKS  2
#define V_RANKS1 2
#define V_COLS   4
#define V_COLS1  4

static inline vf v_load(const float *p) {
    vf x;
    memcpy(&x, p, sizeof x);
    return x;
}
static inline vf v_load_bf16(const uint16_t *p) {
    return (vf){fc_bf16_to_f32(p[0]), fc_bf16_to_f32(p[1]), fc_bf16_to_f32(p[2]), fc_bf16_to_f32(p[3])};
}
static inline void v_store(float *p, vf x) { memcpy(p, &x, sizeof x); }
static inline vf v_set1(float x) { return (vf){x, x, x, x}; }
static inline vf v_add(vf a, vf b) { return a + b; }
static inline vf v_fma(vf a, vf b, vf c) { return a * b + c; }
static inline float v_hsum(vf x) { return (x[0] + x[2]) + (x[1] + x[3]); }

#include "kernels/lora/lora_simd.h"

const fc_lora_code fc_lora_code_portable = {shrink, expand};
