/* backend_cuda - the operators on a CUDA device, and the door by which a program that was built without CUDA opens
 * them.
 *
 * Launches are not sent one by one: they wait until somebody needs what they leave (an upload, a download, a mark), and
 * go as one CUDA graph where there are many; the graph of the last pass with the same kernels is used again, its
 * changed parameters patched. Host memory of copies is pinned and reserved at open. Who waits is wait and sync;
 * besides, a copy that finds its ring full, and a new form of a pass where 24 are kept (replay.cuh).
 */
#ifndef FC_KERNELS_BACKEND_CUDA_H
#define FC_KERNELS_BACKEND_CUDA_H

#include "kernels/backend.h"

typedef struct {
    int device;           /* 0 is the first that CUDA shows */
    bool invariant;       /* a row's bits depend on no other row: own products alone, never cuBLASLt */
    int threads;          /* of the host, that pack weights; 0: all cores */
    const int *devices;   /* [n_devices] instead: a rank of tensor parallelism on each (kernels/ranks) */
    int n_devices;        /* 0: `device` alone, by whichever thread calls; 1: by a thread of its own */
    struct fc_comm *comm; /* of such a rank, whose backend this is; else NULL */
} fc_cuda_options;

/* Inside libforkcast_cuda.so, and in tests under emulation. Caller closes with fc_backend_close. */
fc_status fc_backend_open_cuda(const fc_cuda_options *o, const fc_op_limits *limits, fc_backend **out);

/* Of o->devices; fc_backend_open_cuda goes there. FC_ERR_UNSUPPORTED where several want NCCL and it is missing. */
fc_status fc_backend_open_cuda_ranks(const fc_cuda_options *o, const fc_op_limits *limits, fc_backend **out);

/* ---- the library's door ---- */

/* What the program gives the library: sentences of errors are recorded in the program. The numbers tell two builds
 * apart whose structures or arithmetic differ. */
typedef struct {
    int size; /* sizeof(fc_cuda_door) */
    int backend_bytes, options_bytes, numerics;
    void (*record)(const char *sentence);
    void (*assert_failed)(const char *file, int line, const char *cond);
} fc_cuda_door;

/* -1: the library is of another build; else an fc_status. */
typedef int (*fc_cuda_open_fn)(const fc_cuda_door *door, const fc_cuda_options *o, const fc_op_limits *limits,
                               fc_backend **out);

/* ---- the program's side: kernels/gpu_backend.c ---- */

/* Opens libforkcast_cuda.so where gpu_probe finds it. FC_ERR_UNSUPPORTED says what is missing: library, driver,
 * device. */
fc_status fc_gpu_backend_open(const fc_cuda_options *o, const fc_op_limits *limits, fc_backend **out);

#endif
