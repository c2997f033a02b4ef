/* util_runtime - what the tests of the fake runtime share: calls that must succeed or fail, and some kernels. C++. */
#ifndef FC_TESTS_UTIL_RUNTIME_H
#define FC_TESTS_UTIL_RUNTIME_H

#include "tests/cuda_emu/runtime_state.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include <cmocka.h>
}

#define must(call)                                                                                                     \
    do {                                                                                                               \
        cudaError_t e_ = (call);                                                                                       \
        if (e_) fail_msg("%s: %s: %s", #call, cudaGetErrorName(e_), cudaGetErrorString(e_));                           \
    } while (0)

/* Fails with this error, and its sentence has `words`. */
#define must_fail(call, error, words)                                                                                  \
    do {                                                                                                               \
        cudaError_t e_ = (call);                                                                                       \
        if (e_ != (error)) fail_msg("%s: %s, not %s", #call, cudaGetErrorName(e_), #error);                            \
        if (!strstr(cudaGetErrorString(e_), (words)))                                                                  \
            fail_msg("%s: \"%s\" does not say \"%s\"", #call, cudaGetErrorString(e_), (words));                        \
    } while (0)

/* The body, in a process of its own, must die of this signal, or, under AddressSanitizer, of its report. */
template <typename Body> static void must_die(int signal_number, Body body) {
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(signal_number, SIG_DFL); /* cmocka's would jump back into the test */
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
#ifdef EMU_ASAN
    assert_true(WIFEXITED(status) ? WEXITSTATUS(status) != 0 : WIFSIGNALED(status));
    (void)signal_number;
#else
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == signal_number);
#endif
}

template <typename P>
static cudaError_t launch(void (*kernel)(const P), const char *name, P p, cudaStream_t s, dim3 grid = dim3(1),
                          dim3 block = dim3(32), size_t shared = 0) {
    void *args[1] = {&p};
    emu_know((const void *)kernel, [](const void *k, const void *q) { ((void (*)(const P))k)(*(const P *)q); },
             sizeof(P), name);
    return cudaLaunchKernel((const void *)kernel, grid, block, args, shared, s);
}

struct ints {
    int *to;
    const int *from;
    int n, value;
};
/* to[i] = (from ? from[i] : 0) + value, for i < n; a thread may do several */
static __global__ void add_kernel(const ints p) {
    for (int i = (int)(blockIdx.x * blockDim.x + threadIdx.x); i < p.n; i += (int)(gridDim.x * blockDim.x))
        p.to[i] = (p.from ? p.from[i] : 0) + p.value;
}
static inline cudaError_t add(int *to, const int *from, int n, int value, cudaStream_t s) {
    return launch(add_kernel, "add", ints{to, from, n, value}, s);
}

static inline int *device_ints(int n) {
    void *p = NULL;
    must(cudaMalloc(&p, (size_t)n * sizeof(int)));
    return (int *)p;
}
static inline int *pinned_ints(int n) {
    void *p = NULL;
    must(cudaMallocHost(&p, (size_t)n * sizeof(int)));
    return (int *)p;
}
static inline cudaStream_t new_stream(void) {
    cudaStream_t s = NULL;
    must(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    return s;
}

/* Every test starts as a new process would, and must leave nothing behind that it did not mean to. */
static inline int fresh(void **) {
    emu_reset();
    emu_queue_opts = {};
    emu_device_opts = {};
    emu_opts = {};
    cudaGetLastError();
    return 0;
}

#endif
