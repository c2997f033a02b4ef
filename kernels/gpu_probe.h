/* gpu_probe - opens libforkcast_cuda.so, if it is there, and asks for devices. Never fails and never needs CUDA: what
 * is missing becomes a sentence. */
#ifndef FC_KERNELS_GPU_PROBE_H
#define FC_KERNELS_GPU_PROBE_H

#include <stdbool.h>
#include <stdint.h>

enum { FC_GPUS = 8 };

typedef struct {
    int n;       /* devices described, at most FC_GPUS */
    bool usable; /* kernels can run on the first; else found says why not */
    char name[FC_GPUS][96];
    uint64_t bytes[FC_GPUS];
    char found[256]; /* a clause: "no CUDA device: <why>", or "2 CUDA devices, driver 12.4" */
} fc_gpus;

/* The library is looked for beside the object this code lies in and beside the program, then by its plain name. It
 * stays open: CUDA's exit handlers lie in it. */
void fc_gpu_probe(fc_gpus *out);

/* The same with one file, for tests; NULL as above. */
void fc_gpu_probe_file(const char *path, fc_gpus *out);

#endif
