/* cpu - the CPU's stream: level of the vector unit, threads, and the memory that operators borrow.
 *
 * Everything is reserved when the stream opens; an operator that needs more than was reserved fails with
 * FC_ERR_MEM and the numbers.
 */
#ifndef FC_KERNELS_CPU_H
#define FC_KERNELS_CPU_H

#include "engine/base/region.h"
#include "engine/base/thread.h"
#include "kernels/kernel.h"

#include <stdbool.h>

typedef enum { FC_CPU_AUTO = 0, FC_CPU_PORTABLE, FC_CPU_AVX2, FC_CPU_AVXVNNI, FC_CPU_AVX512, FC_CPU_AMX } fc_cpu_level;

/* AVX2 means AVX2 + FMA + F16C; AVXVNNI that and VPDPBUSD of 256 bits, as AVX-VNNI or as AVX-512 VNNI with VL encodes
 * it: linear alone has a form for it, all else runs as AVX2. AVX512 means F, BW, VL, DQ, VNNI and BF16; AMX that and
 * tiles of bytes (AMX-TILE, AMX-INT8), which again linear alone has a form for. */
fc_cpu_level fc_cpu_best(void);                /* what AUTO takes: never AMX, whose speed nobody has measured */
const char *fc_cpu_level_name(fc_cpu_level l); /* "amx", "avx512", "avxvnni", "avx2", "portable", "auto" */
bool fc_cpu_has_vex_vnni(void);                /* AVX-VNNI itself */
fc_status fc_cpu_level_parse(const char *name, fc_cpu_level *out);

struct fc_stream_s {
    fc_cpu_level level; /* never AUTO in an open stream */
    fc_pool *pool;
    struct fc_comm *comm;     /* borrowed: where it works for one of several ranks (kernels/comm), else NULL */
    unsigned char *workspace; /* [workspace_bytes], 64-byte aligned: shared by all threads of one operator */
    size_t workspace_bytes;
    unsigned char *scratch; /* [threads][scratch_bytes], 64-byte aligned: one piece a thread */
    size_t scratch_bytes;
    fc_region *weights; /* where matrices are packed; they may outlive the stream */
};

/* FC_ERR_UNSUPPORTED where this machine has less than the level needs, and says what. For AMX the kernel is asked to
 * let this process use tiles, which holds from then on. */
fc_status fc_cpu_level_check(fc_cpu_level level);

/* The level must pass fc_cpu_level_check. scratch is per thread. */
fc_status fc_cpu_stream_open(fc_cpu_level level, int threads, size_t workspace, size_t scratch, fc_stream *out);
void fc_cpu_stream_close(fc_stream s); /* NULL is fine */

/* The operator's borrowed memory; FC_ERR_MEM when less was reserved. what names the operator. */
fc_status fc_cpu_workspace(fc_stream s, size_t bytes, const char *what, void **out);
fc_status fc_cpu_scratch(fc_stream s, size_t bytes, const char *what); /* checks that each thread has it */
static inline void *fc_cpu_scratch_of(fc_stream s, int thread) {
    return s->scratch + (size_t)thread * s->scratch_bytes;
}

#endif
