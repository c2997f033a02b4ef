/* nccl - the functions of NCCL 2 that comm_nccl.cu calls, found at run time: the library is built and starts where NCCL
 * is missing. Types and numbers are NCCL's; where its header lies, nccl_open.cu holds them against it. */
#ifndef FC_KERNELS_NCCL_H
#define FC_KERNELS_NCCL_H

#include "engine/base/status.h"

#include <cuda_runtime.h>
#include <stddef.h>

enum { FC_NCCL_OK = 0, FC_NCCL_IN_PROGRESS = 7, FC_NCCL_F32 = 7 };

typedef void *fc_nccl_comm;

typedef struct {
    int (*comm_init_all)(fc_nccl_comm *comms, int n, const int *devices);
    int (*all_gather)(const void *x, void *out, size_t n, int type, fc_nccl_comm c, cudaStream_t s);
    int (*async_error)(fc_nccl_comm c, int *out);
    int (*abort)(fc_nccl_comm c); /* frees it, too */
    int (*destroy)(fc_nccl_comm c);
    const char *(*words)(int result);
} fc_nccl;

/* FC_ERR_UNSUPPORTED where libnccl.so.2 is missing, or lacks one of them. Stays open. */
fc_status fc_nccl_open(fc_nccl *out);

#endif
