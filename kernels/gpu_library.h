/* gpu_library - libforkcast_cuda.so, found and opened; for gpu_probe.c and gpu_backend.c. */
#ifndef FC_KERNELS_GPU_LIBRARY_H
#define FC_KERNELS_GPU_LIBRARY_H

#include <stddef.h>

/* path NULL: beside the object this code lies in, beside the program, then by its plain name. It stays open: CUDA's
 * exit handlers lie in it. NULL: why [size] says what is missing. */
void *fc_gpu_library(const char *path, char *why, size_t size);

/* A function of the library as the object pointer that ISO C cannot cast; NULL: it has none of that name. */
void *fc_gpu_symbol(void *library, const char *name);

#endif
