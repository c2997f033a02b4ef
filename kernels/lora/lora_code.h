/* lora_code - between lora_cpu.c, which deals out the work, and the three builds of lora_simd.h, which do it. */
#ifndef FC_KERNELS_LORA_CODE_H
#define FC_KERNELS_LORA_CODE_H

#include "kernels/lora/lora.h"

/* Rows i0 .. i1-1 of a group. */
typedef struct {
    const fc_lora_args *a;
    const fc_lora_group *g;
    int i0, i1;
} fc_lora_rows;

typedef struct {
    void (*shrink)(const fc_lora_rows *u, int j0, int j1); /* elements j0 .. j1-1 of z */
    /* outputs n0 .. n1-1 of a part; n0 is a multiple of 16, n1 too unless it is N */
    void (*expand)(const fc_lora_rows *u, const fc_lora_part *p, int n0, int n1);
} fc_lora_code;

extern const fc_lora_code fc_lora_code_portable, fc_lora_code_avx2, fc_lora_code_avx512;

#endif
