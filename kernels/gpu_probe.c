#include "kernels/gpu_probe.h"

#include "kernels/cuda/probe.h"
#include "kernels/gpu_library.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void say(fc_gpus *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(fc_gpus *g, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g->found, sizeof g->found, fmt, ap);
    va_end(ap);
}

static void describe(const fc_cuda_devices *d, fc_gpus *g) {
    if (d->devices == 0) {
        if (d->driver == 0) say(g, "no CUDA device: no NVIDIA driver is installed");
        else
            say(g, "no CUDA device: driver %d.%d says \"%.100s\"", d->driver / 1000, d->driver % 1000 / 10,
                d->error[0] ? d->error : "no device");
        return;
    }
    g->n = d->devices < FC_GPUS ? d->devices : FC_GPUS;
    for (int i = 0; i < g->n; i++) {
        memcpy(g->name[i], d->name[i], sizeof g->name[i]);
        g->name[i][sizeof g->name[i] - 1] = '\0';
        g->bytes[i] = d->bytes[i];
    }
    g->usable = d->major[0] >= FC_CUDA_LEAST_MAJOR && d->shared[0] >= FC_CUDA_LEAST_SHARED;
    say(g,
        g->usable ? "%d CUDA device%s, driver %d.%d"
                  : "%d CUDA device%s, driver %d.%d, not used: compute capability %d.%d, %llu bytes of shared memory a "
                    "block; %d.0 and %d are needed",
        d->devices, d->devices > 1 ? "s" : "", d->driver / 1000, d->driver % 1000 / 10, d->major[0], d->minor[0],
        (unsigned long long)d->shared[0], (int)FC_CUDA_LEAST_MAJOR, (int)FC_CUDA_LEAST_SHARED);
}

void fc_gpu_probe_file(const char *path, fc_gpus *out) {
    fc_cuda_devices d = {.size = (int)sizeof d};
    fc_cuda_probe_fn probe;
    char why[160];
    void *lib, *symbol;
    *out = (fc_gpus){0};
    lib = fc_gpu_library(path, why, sizeof why);
    if (!lib) {
        say(out, "no CUDA device: %s", why);
        return;
    }
    symbol = fc_gpu_symbol(lib, "fc_cuda_probe");
    memcpy(&probe, &symbol, sizeof probe); /* ISO C knows no cast from an object's address to a function's */
    if (!symbol) say(out, "no CUDA device: %s has no fc_cuda_probe", path ? path : "libforkcast_cuda.so");
    else if (probe(&d) != 0)
        say(out, "no CUDA device: %s is of another version than the program", path ? path : "libforkcast_cuda.so");
    else describe(&d, out);
}

void fc_gpu_probe(fc_gpus *out) { fc_gpu_probe_file(NULL, out); }
