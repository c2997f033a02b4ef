/* runtime.cpp: errors that stick, errors to order, what the device says of itself, counts. */
#include "tests/cuda_emu/util_runtime.h"

struct nothing {
    int n;
};
static __global__ void stuck_kernel(const nothing) {
    if (threadIdx.x < 7) __syncthreads();
    else if (threadIdx.x == 7) emu_barrier(1, 32, __FILE__, __LINE__);
}

/* The kernel's own complaint comes at the synchronisation, under its name, and at every call from there on. */
static void a_broken_kernel_breaks_the_device(void **) {
    cudaStream_t s = new_stream(), other = new_stream();
    int *p = device_ints(1), got;
    emu_queue_opts.early = -1;
    must(launch(stuck_kernel, "stuck", nothing{0}, s));
    must(add(p, NULL, 1, 1, s)); /* never runs */
    assert_int_equal(cudaPeekAtLastError(), cudaSuccess);
    must_fail(cudaStreamSynchronize(s), cudaErrorLaunchFailure, "kernel stuck: deadlock");
    assert_int_equal(cudaGetLastError(), cudaErrorLaunchFailure);
    assert_int_equal(cudaGetLastError(), cudaErrorLaunchFailure); /* asking does not clear it */
    must_fail(add(p, NULL, 1, 1, other), cudaErrorLaunchFailure, "kernel stuck");
    must_fail(cudaMemcpy(&got, p, 4, cudaMemcpyDeviceToHost), cudaErrorLaunchFailure, "kernel stuck");
    must_fail(cudaMalloc((void **)&p, 4), cudaErrorLaunchFailure, "kernel stuck");
    assert_int_equal(emu_counts().launches, 1);
    emu_reset();
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    s = new_stream();
    p = device_ints(1);
    must(add(p, NULL, 1, 1, s));
    must(cudaMemcpyAsync(&got, p, 4, cudaMemcpyDeviceToHost, s));
    assert_int_equal(got, 1);
}

static void the_last_error_is_the_threads(void **) {
    void *p;
    must_fail(cudaSetDevice(3), cudaErrorInvalidDevice, "invalid device ordinal: cudaSetDevice: device 3");
    must(cudaMalloc(&p, 4)); /* a call that succeeds leaves it */
    assert_int_equal(cudaPeekAtLastError(), cudaErrorInvalidDevice);
    pthread_t t;
    void *seen;
    pthread_create(
        &t, NULL, [](void *) -> void * { return (void *)(intptr_t)cudaPeekAtLastError(); }, NULL);
    pthread_join(t, &seen);
    assert_int_equal((intptr_t)seen, cudaSuccess);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidDevice);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    assert_string_equal(cudaGetErrorString(cudaSuccess), "no error");
    assert_string_equal(cudaGetErrorString(cudaErrorNotReady), "device not ready");
    assert_string_equal(cudaGetErrorName(cudaErrorStreamCaptureUnjoined), "cudaErrorStreamCaptureUnjoined");
    must(cudaFree(p));
}

/* A program in the style of the backend: every call checked, everything undone on the way out. */
static cudaError_t program(int *got) {
    void *p = NULL, *pinned = NULL;
    cudaStream_t s = NULL;
    cudaEvent_t done = NULL;
    cudaError_t e = cudaSetDevice(0);
    if (!e) e = cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
    if (!e) e = cudaEventCreateWithFlags(&done, cudaEventDisableTiming);
    if (!e) e = cudaMalloc(&p, 64);
    if (!e) e = cudaMallocHost(&pinned, 64);
    if (!e) e = cudaMemsetAsync(p, 0, 64, s);
    if (!e) e = add((int *)p, NULL, 16, 6, s);
    if (!e) e = cudaMemcpyAsync(pinned, p, 64, cudaMemcpyDeviceToHost, s);
    if (!e) e = cudaEventRecord(done, s);
    if (!e) e = cudaEventSynchronize(done);
    if (!e) *got = ((int *)pinned)[15];
    cudaError_t all[4] = {cudaFree(p), cudaFreeHost(pinned), done ? cudaEventDestroy(done) : cudaSuccess,
                          s ? cudaStreamDestroy(s) : cudaSuccess};
    for (cudaError_t one : all)
        if (!e) e = one;
    return e;
}

/* If this fails, no test can show that the backend undoes what it had done when a call fails. */
static void every_call_can_be_told_to_fail(void **) {
    int got = 0;
    emu_fail_at(0);
    must(program(&got));
    assert_int_equal(got, 6);
    int calls = (int)emu_calls(), memory = 0;
    assert_int_equal(calls, 14);
    for (int k = 1; k <= calls; k++) {
        emu_fail_at((uint64_t)k);
        cudaError_t e = program(&got);
        if (e != cudaErrorUnknown && e != cudaErrorMemoryAllocation) fail_msg("call %d: %s", k, cudaGetErrorName(e));
        assert_non_null(strstr(cudaGetErrorString(e), "told to fail"));
        memory += e == cudaErrorMemoryAllocation;
        if (emu_leaks(true)) fail_msg("call %d left something behind", k);
    }
    assert_int_equal(memory, 4); /* stream, event, device and pinned memory */
    emu_fail_at((uint64_t)calls + 1);
    must(program(&got));
}

static void the_device_is_what_a_test_says(void **) {
    cudaDeviceProp p;
    int n = 0, v = 0;
    must(cudaGetDeviceCount(&n));
    assert_int_equal(n, 1);
    must(cudaGetDeviceProperties(&p, 0));
    assert_int_equal(p.major * 10 + p.minor, 90);
    assert_int_equal(p.multiProcessorCount, 4);
    assert_int_equal(p.sharedMemPerBlockOptin, 227 << 10);
    emu_device_opts = {false, (size_t)1 << 30, 132, 80, 1};
    must(cudaGetDeviceProperties(&p, 0));
    assert_int_equal(p.totalGlobalMem, 1 << 30);
    must(cudaDeviceGetAttribute(&v, cudaDevAttrMultiProcessorCount, 0));
    assert_int_equal(v, 132);
    must(cudaDeviceGetAttribute(&v, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
    assert_int_equal(v, 163 << 10);
    must_fail(cudaGetDeviceProperties(&p, 1), cudaErrorInvalidDevice, "device 1");
    must(cudaRuntimeGetVersion(&v));
    assert_int_equal(v, 13000);
    emu_device_opts.none = true;
    must_fail(cudaGetDeviceCount(&n), cudaErrorNoDevice, "no CUDA-capable device is detected");
    must_fail(cudaSetDevice(0), cudaErrorNoDevice, "none");
    must(cudaDriverGetVersion(&v));
    assert_int_equal(v, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_broken_kernel_breaks_the_device, fresh),
        cmocka_unit_test_setup(the_last_error_is_the_threads, fresh),
        cmocka_unit_test_setup(every_call_can_be_told_to_fail, fresh),
        cmocka_unit_test_setup(the_device_is_what_a_test_says, fresh),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    emu_reset();
    return failed;
}
