/* runtime_memory.cpp and copies: what a program may do with memory, and that each breach is found. */
#include "tests/cuda_emu/util_runtime.h"

struct touch {
    unsigned char *p;
    long at;
    bool write;
};
static __global__ void touch_kernel(const touch p) {
    if (threadIdx.x) return;
    if (p.write) p.p[p.at] = 1;
    else if (p.p[p.at] == 77) p.p[0] = 78; /* the read must not be left out */
}
static cudaError_t touched(void *p, long at, bool write, cudaStream_t s) {
    cudaError_t e = launch(touch_kernel, "touch", touch{(unsigned char *)p, at, write}, s);
    return e ? e : cudaStreamSynchronize(s);
}

static void is_aligned_filled_and_counted(void **) {
    size_t free_before, free_now, total;
    void *p[3];
    unsigned char seen[1000];
    must(cudaMemGetInfo(&free_before, &total));
    assert_int_equal(total, (size_t)8 << 30);
    for (int i = 0; i < 3; i++) {
        must(cudaMalloc(&p[i], 1000));
        assert_int_equal((uintptr_t)p[i] % 256, 0);
    }
    must(cudaMemcpy(seen, p[1], 1000, cudaMemcpyDeviceToHost));
    for (int i = 0; i < 1000; i++) assert_int_equal(seen[i], 0xff);
    must(cudaMemGetInfo(&free_now, &total));
    assert_int_equal(free_before - free_now, 3 * 1024);
    for (int i = 0; i < 3; i++) must(cudaFree(p[i]));
    must(cudaMemGetInfo(&free_now, &total));
    assert_int_equal(free_before, free_now);
    assert_int_equal(emu_leaks(false), 0);
}

static void ends_where_the_device_ends(void **) {
    void *p, *q = &p;
    emu_device_opts.memory = 1 << 20;
    must(cudaMalloc(&p, 1 << 19));
    must_fail(cudaMalloc(&q, (1 << 19) + 1), cudaErrorMemoryAllocation, "524289 bytes; 524288 of 1048576 are free");
    assert_null(q);
    assert_string_equal(cudaGetErrorName(cudaGetLastError()), "cudaErrorMemoryAllocation");
    must(cudaMalloc(&q, 1 << 19));
    must(cudaFree(p));
    must(cudaFree(q));
    must(cudaMalloc(&p, 0));
    assert_null(p);
    must(cudaFree(NULL));
}

/* If this fails, the engine can follow a buffer's pointer on the emulator and crash on a device. */
static void host_cannot_touch_it(void **) {
    cudaStream_t s = new_stream();
    int *p = device_ints(4);
    must_die(SIGSEGV, [&] { *(volatile int *)p = 1; });
    must(add(p, NULL, 4, 5, s));
    must(cudaStreamSynchronize(s));
    must_die(SIGSEGV, [&] { (void)*(volatile int *)p; });
    must(cudaFree(p));
    must_die(SIGSEGV, [&] { (void)*(volatile int *)p; });
    emu_queue_opts.open_memory = true;
    p = device_ints(4);
    p[0] = 3; /* allowed by that switch */
    must(cudaFree(p));
    must(cudaStreamDestroy(s));
}

static void wrong_frees_are_found(void **) {
    int on_stack = 0;
    int *p = device_ints(100), *pinned = pinned_ints(4);
    must_fail(cudaFree(p + 1), cudaErrorInvalidValue, "byte 4 of device allocation 1");
    must_fail(cudaFree(&on_stack), cudaErrorInvalidValue, "neither device nor pinned");
    must_fail(cudaFree(pinned), cudaErrorInvalidValue, "pinned allocation 1");
    must_fail(cudaFreeHost(p), cudaErrorInvalidValue, "device allocation 1");
    must(cudaFree(p));
    must_fail(cudaFree(p), cudaErrorInvalidValue, "which was freed");
    must(cudaFreeHost(pinned));
    must_fail(cudaFreeHost(pinned), cudaErrorInvalidValue, "which was freed");
}

static void leaks_are_counted(void **) {
    cudaEvent_t e;
    int *p = device_ints(1), *q = pinned_ints(1);
    cudaStream_t s = new_stream();
    must(cudaEventCreate(&e));
    assert_int_equal(emu_leaks(false), 4);
    must(cudaFree(p));
    must(cudaFreeHost(q));
    must(cudaStreamDestroy(s));
    must(cudaEventDestroy(e));
    assert_int_equal(emu_leaks(false), 0);
}

#ifndef EMU_ASAN /* there the report of AddressSanitizer comes first: under_asan */
/* The message names the kernel and the byte. */
static void kernels_stay_inside(void **) {
    const struct {
        long at;
        bool write;
        const char *words;
    } breaches[] = {
        {1000, true, "kernel touch wrote the byte 0 behind the end of device allocation 1 (1000 bytes)"},
        {1023, true, "kernel touch wrote the byte 23 behind the end"},
        {-1, true, "kernel touch wrote the byte 1 before device allocation 1"},
        {1024, true, "touches the byte 24 behind the end of device allocation 1"},
        {1024, false, "touches the byte 24 behind the end of device allocation 1"},
        {-8000, false, "touches"},
    };
    for (size_t i = 0; i < sizeof breaches / sizeof *breaches; i++) {
        fresh(NULL);
        cudaStream_t s = new_stream();
        void *p;
        must(cudaMalloc(&p, 1000));
        must(touched(p, 999, true, s));
        must_fail(touched(p, breaches[i].at, breaches[i].write, s), cudaErrorIllegalAddress, breaches[i].words);
        must_fail(cudaStreamSynchronize(s), cudaErrorIllegalAddress, breaches[i].words); /* it sticks */
        must_fail(cudaStreamSynchronize(s), cudaErrorIllegalAddress, "kernel touch");
        must_fail(cudaFree(p), cudaErrorIllegalAddress, "touch");
        must_fail(cudaStreamDestroy(s), cudaErrorIllegalAddress, "touch");
        assert_int_equal(emu_leaks(false), 0);
    }
}

/* Between allocations too, and where one was freed between others. */
static void kernels_stay_out_of_the_neighbours(void **) {
    const long beside[] = {4096, -4096, 8000, -1000};
    for (size_t i = 0; i < sizeof beside / sizeof *beside + 1; i++) {
        fresh(NULL);
        cudaStream_t s = new_stream();
        unsigned char *p[5];
        for (int k = 0; k < 5; k++) must(cudaMalloc((void **)&p[k], 4096));
        must(cudaFree(p[3]));
        bool freed = i == sizeof beside / sizeof *beside;
        must(touched(p[2], 4095, true, s));
        must_fail(touched(freed ? p[3] : p[1], freed ? 77 : beside[i], false, s), cudaErrorIllegalAddress, "touches");
        if (freed) must_die(SIGSEGV, [&] { (void)*(volatile unsigned char *)p[3]; });
    }
}

static void freed_and_foreign_memory_is_no_kernels(void **) {
    cudaStream_t s = new_stream();
    void *p;
    must(cudaMalloc(&p, 1000));
    must(cudaFree(p));
    must_fail(touched(p, 3, false, s), cudaErrorIllegalAddress, "byte 3 of device allocation 1 (1000 bytes, which was");
    fresh(NULL);
    s = new_stream();
    must_fail(touched(NULL, 8, false, s), cudaErrorIllegalAddress, "touches 0x8, which is neither");
}

/* A pointer that reached the kernel through memory: found at the next synchronisation, not under the kernel's name. */
static __global__ void through_kernel(const touch p) {
    if (threadIdx.x == 0 && blockIdx.x == 0) (*(unsigned char **)(void *)p.p)[p.at] = 0;
}
static void overwritten_by_a_pointer_in_memory(void **) {
    cudaStream_t s = new_stream();
    void *p, *table;
    must(cudaMalloc(&p, 100));
    must(cudaMalloc(&table, sizeof p));
    must(cudaMemcpy(table, &p, sizeof p, cudaMemcpyHostToDevice));
    must(cudaDeviceSynchronize());
    must(launch(through_kernel, "through", touch{(unsigned char *)table, 101, true}, s));
    must_fail(cudaStreamSynchronize(s), cudaErrorIllegalAddress, "the byte 1 behind the end of device allocation 1");
}

static void host_stays_inside_of_pinned_memory(void **) {
    int *p = pinned_ints(3);
    ((char *)p)[12] = 1;
    must_fail(cudaFreeHost(p), cudaErrorIllegalAddress, "byte 0 behind the end of pinned allocation 1");
}
#else
static void under_asan(void **) {
    cudaStream_t s = new_stream();
    void *p;
    must(cudaMalloc(&p, 1000));
    must(touched(p, 999, true, s));
    must_die(SIGABRT, [&] { touched(p, 1000, false, s); });
    must_die(SIGABRT, [&] { touched(p, 1024, false, s); });
    must_die(SIGABRT, [&] { touched(p, -1, true, s); });
    must(cudaFree(p));
    must(cudaStreamDestroy(s));
}
#endif

static void copies_say_what_they_are(void **) {
    int host[4] = {1, 2, 3, 4};
    int *p = device_ints(4), *q = device_ints(4), *pinned = pinned_ints(4);
    cudaStream_t s = new_stream();
    must_fail(cudaMemcpyAsync(host, p, 16, cudaMemcpyHostToDevice, s), cudaErrorInvalidValue, "to: 16 bytes");
    must_fail(cudaMemcpyAsync(p, q, 16, cudaMemcpyHostToDevice, s), cudaErrorInvalidValue, "from is not the host's");
    must_fail(cudaMemcpyAsync(p, host, 16, cudaMemcpyDeviceToDevice, s), cudaErrorInvalidValue, "from: 16 bytes");
    must_fail(cudaMemcpyAsync(p, q, 16, cudaMemcpyDeviceToHost, s), cudaErrorInvalidValue, "to is not the host's");
    must_fail(cudaMemcpyAsync(p, host, 17, cudaMemcpyHostToDevice, s), cudaErrorInvalidValue, "to: 17 bytes");
    must_fail(cudaMemcpyAsync(p + 1, host, 16, cudaMemcpyHostToDevice, s), cudaErrorInvalidValue, "byte 4 of device");
    must_fail(cudaMemcpyAsync(pinned, p, 17, cudaMemcpyDeviceToHost, s), cudaErrorInvalidValue, "to: 17 bytes");
    must_fail(cudaMemcpyAsync(p, p + 1, 8, cudaMemcpyDeviceToDevice, s), cudaErrorInvalidValue, "overlap");
    must_fail(cudaMemcpyAsync(p, NULL, 8, cudaMemcpyHostToDevice, s), cudaErrorInvalidValue, "from is NULL");
    must_fail(cudaMemcpyAsync(p, host, 8, (cudaMemcpyKind)9, s), cudaErrorInvalidMemcpyDirection, "kind 9");
    must_fail(cudaMemsetAsync(p, 0, 17, s), cudaErrorInvalidValue, "17 bytes from byte 0 of device allocation 1");
    must_fail(cudaMemsetAsync(host, 0, 4, s), cudaErrorInvalidValue, "neither");
    must(cudaMemcpyAsync(p, host, 16, cudaMemcpyDefault, s));
    must(cudaMemcpyAsync(q, p, 16, cudaMemcpyDefault, s));
    must(cudaMemsetAsync(p, 0, 16, s));
    must(cudaMemcpyAsync(pinned, q, 16, cudaMemcpyDefault, s));
    must(cudaStreamSynchronize(s));
    assert_memory_equal(pinned, host, 16);
    must(cudaMemcpyAsync(host, p, 0, cudaMemcpyHostToDevice, s)); /* of nothing, nothing is asked */
    emu_counters c = emu_counts();
    assert_int_equal(c.bytes_to_device, 16);
    assert_int_equal(c.bytes_on_device, 16);
    assert_int_equal(c.bytes_to_host, 16);
    assert_int_equal(c.copies, 3);
    assert_int_equal(c.fills, 1);
    cudaPointerAttributes a;
    must(cudaPointerGetAttributes(&a, p + 1));
    assert_int_equal(a.type, cudaMemoryTypeDevice);
    must(cudaPointerGetAttributes(&a, pinned));
    assert_int_equal(a.type, cudaMemoryTypeHost);
    must(cudaPointerGetAttributes(&a, host));
    assert_int_equal(a.type, cudaMemoryTypeUnregistered);
}

/* Pinned memory is read when the copy runs: who writes into it too early sends the wrong bytes, every time here. */
static void pinned_memory_is_read_late(void **) {
    int *p = device_ints(1), *pinned = pinned_ints(1), pageable = 1, got = 0;
    cudaStream_t s = new_stream();
    emu_queue_opts.early = -1;
    pinned[0] = 1;
    must(cudaMemcpyAsync(p, pinned, 4, cudaMemcpyHostToDevice, s));
    pinned[0] = 2;
    must(cudaMemcpyAsync(&got, p, 4, cudaMemcpyDeviceToHost, s)); /* pageable: there at the return */
    assert_int_equal(got, 2);
    must(cudaMemcpyAsync(p, &pageable, 4, cudaMemcpyHostToDevice, s));
    pageable = 2; /* was staged */
    must(cudaMemcpyAsync(pinned, p, 4, cudaMemcpyDeviceToHost, s));
    assert_int_equal(pinned[0], 2); /* not there yet */
    must(cudaStreamSynchronize(s));
    assert_int_equal(pinned[0], 1);
}

/* cudaMemcpy from pageable memory says nothing of when other streams may look: documented, and easily forgotten. */
static void memcpy_does_not_wait_for_the_device(void **) {
    int *p = device_ints(1), value = 5, got = 0, stale = 0;
    cudaStream_t s = new_stream();
    for (int seed = 0; seed < 20; seed++) {
        emu_queue_opts.seed = (uint64_t)seed;
        must(cudaMemset(p, 0, 4));
        must(cudaDeviceSynchronize());
        must(cudaMemcpy(p, &value, 4, cudaMemcpyHostToDevice));
        must(cudaMemcpyAsync(&got, p, 4, cudaMemcpyDeviceToHost, s)); /* s does not wait for the legacy stream */
        assert_true(got == 5 || got == 0);
        stale += got == 0;
        must(cudaMemcpy(&got, p, 4, cudaMemcpyDeviceToHost));
        assert_int_equal(got, 5);
    }
    assert_in_range(stale, 3, 20);
}

/* Of much pageable memory no copy is kept: the call waits for the stream, as CUDA's may. */
static void large_pageable_copies_wait(void **) {
    size_t n = (1 << 20) + 1;
    char *host = (char *)calloc(n, 1), *p;
    cudaStream_t s = new_stream();
    emu_queue_opts.early = -1;
    must(cudaMalloc((void **)&p, n));
    must(cudaMemcpyAsync(p, host, n - 1, cudaMemcpyHostToDevice, s));
    assert_int_equal(emu_counts().copies, 0);
    must(cudaMemcpyAsync(p, host, n, cudaMemcpyHostToDevice, s));
    assert_int_equal(emu_counts().copies, 2);
    free(host);
}

static void free_waits_for_what_is_queued(void **) {
    int *p = device_ints(4), *q = device_ints(4), got[4];
    cudaStream_t s = new_stream();
    emu_queue_opts.early = -1;
    must(add(p, NULL, 4, 7, s));
    must(cudaMemcpyAsync(q, p, 16, cudaMemcpyDeviceToDevice, s));
    must(cudaFree(p));
    must(cudaMemcpy(got, q, 16, cudaMemcpyDeviceToHost));
    assert_int_equal(got[3], 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(is_aligned_filled_and_counted, fresh),
        cmocka_unit_test_setup(ends_where_the_device_ends, fresh),
        cmocka_unit_test_setup(host_cannot_touch_it, fresh),
        cmocka_unit_test_setup(wrong_frees_are_found, fresh),
        cmocka_unit_test_setup(leaks_are_counted, fresh),
#ifndef EMU_ASAN
        cmocka_unit_test_setup(kernels_stay_inside, fresh),
        cmocka_unit_test_setup(kernels_stay_out_of_the_neighbours, fresh),
        cmocka_unit_test_setup(freed_and_foreign_memory_is_no_kernels, fresh),
        cmocka_unit_test_setup(overwritten_by_a_pointer_in_memory, fresh),
        cmocka_unit_test_setup(host_stays_inside_of_pinned_memory, fresh),
#else
        cmocka_unit_test_setup(under_asan, fresh),
#endif
        cmocka_unit_test_setup(copies_say_what_they_are, fresh),
        cmocka_unit_test_setup(pinned_memory_is_read_late, fresh),
        cmocka_unit_test_setup(memcpy_does_not_wait_for_the_device, fresh),
        cmocka_unit_test_setup(large_pageable_copies_wait, fresh),
        cmocka_unit_test_setup(free_waits_for_what_is_queued, fresh),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    emu_reset(); /* some tests mean to leave things behind */
    return failed;
}
