/* probe - what libforkcast_cuda.so answers first: the devices it sees. Plain C, no CUDA header. */
#ifndef FC_KERNELS_CUDA_PROBE_H
#define FC_KERNELS_CUDA_PROBE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { FC_CUDA_DEVICES = 8 }; /* more are counted, not described */

/* What the kernels need of a device: a compute capability, and bytes of shared memory that a block may have: 8.6, 8.9
 * and 12.0 have as many, others more. */
enum { FC_CUDA_LEAST_MAJOR = 8, FC_CUDA_LEAST_SHARED = 99 << 10 };

typedef struct {
    int size;            /* sizeof(fc_cuda_devices), set by the caller: another version is refused */
    int devices;         /* all that were found */
    int driver, runtime; /* CUDA versions, 12040 for 12.4; driver 0: none is installed */
    char name[FC_CUDA_DEVICES][96];
    uint64_t bytes[FC_CUDA_DEVICES], shared[FC_CUDA_DEVICES];
    int major[FC_CUDA_DEVICES], minor[FC_CUDA_DEVICES]; /* compute capability */
    char error[160]; /* the CUDA library's own words, "" when devices could be asked for */
} fc_cuda_devices;

typedef int (*fc_cuda_probe_fn)(fc_cuda_devices *out);

/* 0, or -1 when out->size is not what this library was built with. Without driver or device it is 0 with devices ==
 * 0. */
int fc_cuda_probe(fc_cuda_devices *out);

#ifdef __cplusplus
}
#endif

#endif
