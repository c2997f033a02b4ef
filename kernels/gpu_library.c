#define _GNU_SOURCE
#include "kernels/gpu_library.h"

#include "engine/base/os.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const library = "libforkcast_cuda.so";

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

void *fc_gpu_library(const char *path, char *why, size_t size) {
    char at[PATH_MAX];
    void *lib;
    if (!path && find(at)) path = at;
    if (path && !fc_path_exists(path)) {
        snprintf(why, size, "%.100s does not exist", path);
        return NULL;
    }
    lib = dlopen(path ? path : library, RTLD_NOW | RTLD_LOCAL);
    if (lib) return lib;
    if (path) snprintf(why, size, "%.150s", dlerror());
    else
        snprintf(why, size, "%s is not beside the program; `ninja -C build forkcast_cuda` builds it, with nvcc",
                 library);
    return NULL;
}

void *fc_gpu_symbol(void *lib, const char *name) { return dlsym(lib, name); }
