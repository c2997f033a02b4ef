/* util_launches - writes what was launched to launches/PROGRAM.tsv of the build folder (FORKCAST_BUILD): the program's
 * path, then a line for each kernel and launch: its place in the program, threads a block, dynamic shared bytes.
 * The linker sends the calls of fc_cuda_launch through here (--wrap). Read by tests/kernels/test_cuda_static.py. */
#include "kernels/cuda/cuda.cuh"

#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mutex>
#include <set>
#include <tuple>

#define LAUNCH_PARAMS                                                                                                  \
    fc_stream s, const char *name, const void *kernel, dim3 grid, int block, size_t shared, const void *params,        \
        size_t bytes
fc_status launch_real(LAUNCH_PARAMS) __asm__("__real__Z14fc_cuda_launchP11fc_stream_sPKcPKv4dim3imS4_m");
fc_status launch_noted(LAUNCH_PARAMS) __asm__("__wrap__Z14fc_cuda_launchP11fc_stream_sPKcPKv4dim3imS4_m");

namespace {

struct notes {
    std::mutex lock; /* ranks launch side by side */
    std::set<std::tuple<size_t, unsigned, size_t>> seen;
    ~notes();
};

notes all;

notes::~notes() {
    const char *build = getenv("FORKCAST_BUILD");
    char exe[4096], path[4200];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (!build || n < 0) return;
    exe[n] = '\0';
    snprintf(path, sizeof path, "%s/launches", build);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/launches/%s.tsv", build, strrchr(exe, '/') + 1);
    FILE *f = fopen(path, "w");
    if (!f) return;
    fprintf(f, "%s\n", exe);
    for (const auto &[at, threads, shared] : seen) fprintf(f, "%zx\t%u\t%zu\n", at, threads, shared);
    fclose(f);
}

} // namespace

fc_status launch_noted(LAUNCH_PARAMS) {
    Dl_info here;
    if (dladdr((const void *)&all, &here)) {
        std::lock_guard<std::mutex> hold(all.lock);
        all.seen.insert({(size_t)((const char *)kernel - (const char *)here.dli_fbase), (unsigned)block, shared});
    }
    return launch_real(s, name, kernel, grid, block, shared, params, bytes);
}
