#define _GNU_SOURCE
#include "kernels/gpu_probe.h"

#include "engine/base/os.h"
#include "kernels/cuda/probe.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const library = "libforkcast_cuda.so";

static void say(fc_gpus *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(fc_gpus *g, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g->found, sizeof g->found, fmt, ap);
    va_end(ap);
}

/* path becomes folder-of-file/library, and must exist. */
static bool beside(const char *file, char path[PATH_MAX]) {
    const char *slash = file ? strrchr(file, '/') : NULL;
    size_t dir = slash ? (size_t)(slash - file) + 1 : 0;
    if (!slash || dir + strlen(library) >= PATH_MAX) return false;
    memcpy(path, file, dir);
    strcpy(path + dir, library);
    return fc_path_exists(path);
}

static bool find(char path[PATH_MAX]) {
    static const char here = 0;
    char exe[PATH_MAX];
    Dl_info info;
    ssize_t n;
    if (dladdr(&here, &info) && beside(info.dli_fname, path)) return true;
    n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n < 0) return false;
    exe[n] = '\0';
    return beside(exe, path);
}

static void *open_library(const char *path, fc_gpus *g) {
    char at[PATH_MAX];
    void *lib;
    if (!path && find(at)) path = at;
    if (path && !fc_path_exists(path)) {
        say(g, "no CUDA device: %.100s does not exist", path);
        return NULL;
    }
    lib = dlopen(path ? path : library, RTLD_NOW | RTLD_LOCAL);
    if (lib) return lib;
    if (path) say(g, "no CUDA device: %.150s", dlerror());
    else say(g, "no CUDA device: %s is not beside the program; it is built where nvcc is found", library);
    return NULL;
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
    say(g, "%d CUDA device%s, driver %d.%d", d->devices, d->devices > 1 ? "s" : "", d->driver / 1000,
        d->driver % 1000 / 10);
}

void fc_gpu_probe_file(const char *path, fc_gpus *out) {
    fc_cuda_devices d = {.size = (int)sizeof d};
    fc_cuda_probe_fn probe;
    void *lib, *symbol;
    *out = (fc_gpus){0};
    lib = open_library(path, out);
    if (!lib) return;
    symbol = dlsym(lib, "fc_cuda_probe");
    memcpy(&probe, &symbol, sizeof probe); /* ISO C knows no cast from an object's address to a function's */
    if (!symbol) say(out, "no CUDA device: %s has no fc_cuda_probe", path ? path : library);
    else if (probe(&d) != 0)
        say(out, "no CUDA device: %s is of another version than the program", path ? path : library);
    else describe(&d, out);
}

void fc_gpu_probe(fc_gpus *out) { fc_gpu_probe_file(NULL, out); }
