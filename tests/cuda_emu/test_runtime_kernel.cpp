/* runtime_kernel.cpp: what a launch may ask for. */
#include "tests/cuda_emu/util_runtime.h"

static cudaError_t shaped(dim3 grid, dim3 block, size_t shared) {
    return launch(add_kernel, "add", ints{NULL, NULL, 0, 1}, NULL, grid, block, shared);
}

static void shapes_have_limits(void **) {
    const struct {
        dim3 grid, block;
        bool ok;
    } shapes[] = {
        {1, 1024, true},
        {1, 1025, false},
        {1, dim3(32, 32), true},
        {1, dim3(33, 32), false},
        {1, dim3(1, 1, 64), true},
        {1, dim3(1, 1, 65), false},
        {0, 32, false},
        {1, 0, false},
        {dim3(1, 65535), 1, true},
        {dim3(1, 65536), 1, false},
        {dim3(1, 1, 65536), 1, false},
        {0x80000000u, 1, false},
    };
    emu_queue_opts.early = -1;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        cudaError_t e = shaped(shapes[i].grid, shapes[i].block, 0);
        if (e != (shapes[i].ok ? cudaSuccess : cudaErrorInvalidConfiguration))
            fail_msg("shape %zu: %s", i, cudaGetErrorString(e));
    }
}

static void a_grid_is_of_whole_clusters(void **) {
    int *p = device_ints(1);
    ints q = {p, NULL, 0, 1};
    void *args[1] = {&q};
    const void *k = (const void *)(void (*)(const ints))add_kernel;
    emu_call call = [](const void *f, const void *params) { ((void (*)(const ints))f)(*(const ints *)params); };
    emu_know(k, call, sizeof q, "add", dim3(2, 3));
    must(cudaLaunchKernel(k, dim3(4, 3), dim3(32), args, 0, NULL));
    must_fail(cudaLaunchKernel(k, dim3(4, 4), dim3(32), args, 0, NULL), cudaErrorInvalidConfiguration,
              "grid 4,4,1 in clusters of 2,3,1");
    must(cudaDeviceSynchronize());
    emu_device_opts.sm = 80;
    must_fail(cudaLaunchKernel(k, dim3(4, 3), dim3(32), args, 0, NULL), cudaErrorInvalidConfiguration, "from 9.0 on");
}

static void shared_memory_has_to_be_asked_for(void **) {
    const void *k = (const void *)(void (*)(const ints))add_kernel;
    must(shaped(1, 32, 48 << 10));
    must_fail(shaped(1, 32, (48 << 10) + 1), cudaErrorInvalidValue, "49152 are allowed (cudaFuncSetAttribute)");
    must(cudaFuncSetAttribute(k, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10));
    must(shaped(1, 32, 100 << 10));
    must_fail(shaped(1, 32, 101 << 10), cudaErrorInvalidValue, "102400 are allowed");
    must_fail(cudaFuncSetAttribute(k, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10), cudaErrorInvalidValue,
              "the device has 232448");
    emu_device_opts.sm = 86;
    must_fail(cudaFuncSetAttribute(k, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10), cudaErrorInvalidValue,
              "the device has 101376");
    must(cudaDeviceSynchronize());
}

static void kernels_must_be_known(void **) {
    int n = 0, *p = device_ints(1);
    ints q = {p, NULL, 1, 1};
    void *args[1] = {&q}, *none[1] = {NULL};
    const void *k = (const void *)(void (*)(const ints))add_kernel;
    must_fail(cudaLaunchKernel(&n, dim3(1), dim3(1), args, 0, NULL), cudaErrorInvalidDeviceFunction, "no kernel");
    must_fail(cudaFuncSetAttribute(&n, cudaFuncAttributeMaxDynamicSharedMemorySize, 1), cudaErrorInvalidDeviceFunction,
              "no kernel");
    must(shaped(1, 32, 0));
    must_fail(cudaLaunchKernel(k, dim3(1), dim3(1), none, 0, NULL), cudaErrorInvalidValue, "parameter is NULL");
    must(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n, k, 256, 40 << 10));
    assert_int_equal(n, 5); /* 228 KB, and 1 KB more for each block */
    must(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n, k, 1024, 0));
    assert_int_equal(n, 2);
    must(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n, k, 32, 0));
    assert_int_equal(n, 32);
}

/* The caller's parameter may be gone when the kernel runs. */
static void parameters_are_copied(void **) {
    int *p = device_ints(1), got;
    ints q = {p, NULL, 1, 5};
    void *args[1] = {&q};
    emu_queue_opts.early = -1;
    must(add(p, NULL, 1, 1, NULL));
    must(cudaLaunchKernel((const void *)(void (*)(const ints))add_kernel, dim3(1), dim3(32), args, 0, NULL));
    memset((void *)&q, 0, sizeof q);
    must(cudaMemcpy(&got, p, 4, cudaMemcpyDeviceToHost));
    assert_int_equal(got, 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(shapes_have_limits, fresh),
        cmocka_unit_test_setup(a_grid_is_of_whole_clusters, fresh),
        cmocka_unit_test_setup(shared_memory_has_to_be_asked_for, fresh),
        cmocka_unit_test_setup(kernels_must_be_known, fresh),
        cmocka_unit_test_setup(parameters_are_copied, fresh),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    emu_reset();
    return failed;
}
