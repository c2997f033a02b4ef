/* cublaslt_state - a product as the emulated cuBLASLt sees it: cublaslt.cpp checks and queues it, cublaslt_product.cpp
 * computes it. */
#ifndef FC_EMU_CUBLASLT_STATE_H
#define FC_EMU_CUBLASLT_STATE_H

#include "cublasLt.h"

#include <string>

struct emu_lt {
    int unused;
};
struct emu_lt_desc {
    int compute, scale, trans_a, trans_b, pointer_mode, bias_type, scale_mode_a, scale_mode_b, sm_target;
    unsigned epilogue;
    int8_t fast_accum;
    const void *bias, *scale_a, *scale_b;
};
struct emu_lt_layout {
    unsigned type;
    int order;
    uint64_t rows, cols;
    int64_t ld;
};
struct emu_lt_preference {
    uint64_t workspace;
    unsigned schemes, align[4]; /* of A, B, C, D */
};

struct emu_lt_product { /* D = alpha op(A) op(B) + beta C, + bias down each column; column-major */
    emu_lt_desc desc;
    emu_lt_layout a, b, c, d;
    const void *pa, *pb, *pc;
    void *pd, *workspace;
    size_t workspace_used;
    float alpha, beta;            /* pointer mode host */
    const void *p_alpha, *p_beta; /* pointer mode device */
    uint64_t m, n, k;
    int bias_type;
};

size_t emu_lt_size(unsigned type); /* bytes of an element; 0: not emulated */
size_t emu_lt_bytes(const emu_lt_layout *l);
bool emu_lt_fp8(unsigned type);
/* Everything that a product reads or writes lies in device memory; NULL, or what does not. */
const char *emu_lt_out_of_memory(const emu_lt_product *p);
bool emu_lt_compute(const emu_lt_product *p, std::string *problem);

#endif
