/* runtime_queue.cpp: streams run late, in any order that events allow; events; the legacy stream; host functions. */
#include "tests/cuda_emu/util_runtime.h"

enum { SEEDS = 40 };

/* Each stream in its own order, whatever the others do: 8 additions and doublings give one number. */
struct twice {
    int *p;
};
static __global__ void twice_kernel(const twice q) {
    if (threadIdx.x == 0) *q.p *= 2;
}
static void a_stream_is_in_order(void **) {
    for (int seed = 0; seed < SEEDS; seed++) {
        fresh(NULL);
        emu_queue_opts.seed = (uint64_t)seed;
        emu_queue_opts.early = seed % 2 ? 300 : -1;
        cudaStream_t s[3];
        int *p[3], got;
        for (int i = 0; i < 3; i++) {
            s[i] = new_stream();
            p[i] = device_ints(1);
            must(cudaMemsetAsync(p[i], 0, 4, s[i]));
        }
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < 3; i++) {
                must(add(p[i], p[i], 1, i + k, s[i]));
                must(launch(twice_kernel, "twice", twice{p[i]}, s[i]));
            }
        for (int i = 0; i < 3; i++) {
            must(cudaMemcpyAsync(&got, p[i], 4, cudaMemcpyDeviceToHost, s[i]));
            assert_int_equal(got, ((((0 + i) * 2 + i + 1) * 2 + i + 2) * 2 + i + 3) * 2);
        }
    }
}

/* If this fails, a program that forgets to wait is not found out. Both outcomes must appear over the seeds. */
static void streams_are_in_no_order(void **) {
    int first = 0, second = 0;
    for (int seed = 0; seed < SEEDS; seed++) {
        fresh(NULL);
        emu_queue_opts.seed = (uint64_t)seed;
        cudaStream_t a = new_stream(), b = new_stream();
        int *p = device_ints(1), got;
        must(add(p, NULL, 1, 1, a));
        must(add(p, NULL, 1, 2, b));
        must(cudaDeviceSynchronize());
        must(cudaMemcpy(&got, p, 4, cudaMemcpyDeviceToHost));
        first += got == 1;
        second += got == 2;
    }
    assert_int_equal(first + second, SEEDS);
    assert_in_range(first, SEEDS / 5, SEEDS * 4 / 5);
}

static void events_order_streams(void **) {
    for (int seed = 0; seed < SEEDS; seed++) {
        fresh(NULL);
        emu_queue_opts.seed = (uint64_t)seed;
        cudaStream_t a = new_stream(), b = new_stream();
        cudaEvent_t e;
        int *p = device_ints(1), got;
        must(cudaEventCreateWithFlags(&e, cudaEventDisableTiming));
        must(cudaMemsetAsync(p, 0, 4, a));
        for (int k = 1; k <= 3; k++) { /* a record is of its moment: the event may be recorded again */
            must(add(p, p, 1, k, a));
            must(launch(twice_kernel, "twice", twice{p}, a));
            must(cudaEventRecord(e, a));
            must(cudaStreamWaitEvent(b, e));
            must(add(p, p, 1, -1, b));
            must(cudaEventRecord(e, b));
            must(cudaStreamWaitEvent(a, e));
        }
        must(cudaMemcpyAsync(&got, p, 4, cudaMemcpyDeviceToHost, a));
        assert_int_equal(got, 2 * (2 * (2 * 1 - 1 + 2) - 1 + 3) - 1);
    }
}

/* Work is late: what the host reads without waiting is stale, and what it reads behind an event is there. */
static void work_is_late(void **) {
    cudaStream_t s = new_stream();
    cudaEvent_t e;
    int *p = device_ints(1), *pinned = pinned_ints(1);
    emu_queue_opts.early = -1;
    must(cudaEventCreate(&e));
    pinned[0] = 0;
    must(add(p, NULL, 1, 9, s));
    must(cudaMemcpyAsync(pinned, p, 4, cudaMemcpyDeviceToHost, s));
    must(cudaEventRecord(e, s));
    must(add(p, NULL, 1, 10, s));
    assert_int_equal(pinned[0], 0);
    assert_int_equal(emu_counts().launches, 0);
    must(cudaEventSynchronize(e));
    assert_int_equal(pinned[0], 9);
    assert_int_equal(emu_counts().most_queued, 4);
    must(cudaStreamSynchronize(s));
    assert_int_equal(emu_counts().launches, 2);
    assert_int_equal(emu_counts().syncs, 2);
    emu_queue_opts.early = 1000; /* everything in its call */
    must(add(p, NULL, 1, 11, s));
    assert_int_equal(emu_counts().launches, 3);
}

/* A wait for one stream lets others get ahead, or does not. */
static void others_may_get_ahead(void **) {
    int all = 0, none = 0, some = 0;
    for (int seed = 0; seed < SEEDS; seed++) {
        fresh(NULL);
        emu_queue_opts.seed = (uint64_t)seed;
        emu_queue_opts.early = -1;
        cudaStream_t a = new_stream(), b = new_stream();
        int *p = device_ints(2);
        for (int i = 0; i < 4; i++) must(add(p, NULL, 1, i, a));
        for (int i = 0; i < 4; i++) must(cudaMemsetAsync(p + 1, i, 4, b));
        must(cudaStreamSynchronize(a));
        uint64_t ran = emu_counts().fills;
        all += ran == 4;
        none += ran == 0;
        some += ran > 0 && ran < 4;
    }
    assert_true(all > 3 && none > 3 && some > 3);
}

static void early_is_by_chance(void **) {
    cudaStream_t s = new_stream();
    int *p = device_ints(1), sometimes = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t before = emu_counts().launches;
        must(add(p, NULL, 1, i, s));
        sometimes += emu_counts().launches != before;
    }
    assert_in_range(sometimes, 5, 60); /* 20 of 1000 by default */
}

/* A loop over a query ends, and takes more than one turn at times. */
static void queries_make_progress(void **) {
    int turns = 0;
    cudaStream_t s = new_stream();
    cudaEvent_t e;
    int *p = device_ints(1);
    must(cudaEventCreate(&e));
    must(cudaEventQuery(e)); /* never recorded: done */
    must(cudaEventSynchronize(e));
    must(cudaStreamWaitEvent(s, e));
    for (int i = 0; i < 20; i++) {
        for (int k = 0; k < 8; k++) must(add(p, NULL, 1, i, s));
        must(cudaEventRecord(e, s));
        while (cudaEventQuery(e) == cudaErrorNotReady) turns++;
        assert_int_equal(emu_counts().launches, 8);
        must(add(p, NULL, 1, i, s));
        while (cudaStreamQuery(s) == cudaErrorNotReady) turns++;
        assert_int_equal(emu_counts().launches, 9);
        emu_counts_reset();
    }
    assert_true(turns > 10);
    assert_int_equal(cudaGetLastError(), cudaErrorNotReady); /* recorded, as by CUDA */
    assert_int_equal(cudaGetLastError(), cudaSuccess);
}

static void a_queue_has_an_end(void **) {
    cudaStream_t s = new_stream();
    int *p = device_ints(1);
    emu_queue_opts.early = -1;
    for (int i = 0; i < EMU_QUEUE_MAX + 50; i++) must(cudaMemsetAsync(p, i, 4, s));
    assert_int_equal(emu_counts().fills, 50);
}

/* The legacy stream and blocking streams wait for each other; non-blocking ones do not take part. */
static void the_legacy_stream_blocks(void **) {
    for (int seed = 0; seed < SEEDS; seed++) {
        fresh(NULL);
        emu_queue_opts.seed = (uint64_t)seed;
        cudaStream_t a, b;
        int *p = device_ints(1), got;
        must(cudaStreamCreate(&a));
        must(cudaStreamCreate(&b));
        must(cudaMemsetAsync(p, 0, 4, a));
        must(add(p, p, 1, 3, NULL));
        must(launch(twice_kernel, "twice", twice{p}, b));
        must(add(p, p, 1, 1, NULL));
        must(launch(twice_kernel, "twice", twice{p}, a));
        must(cudaMemcpy(&got, p, 4, cudaMemcpyDeviceToHost));
        assert_int_equal(got, 14);
        must(add(p, NULL, 1, 1, b));
        must(cudaStreamSynchronize(NULL));
        must(cudaStreamQuery(b));
    }
}

static void destroyed_handles_are_known(void **) {
    cudaStream_t s = new_stream(), dead = new_stream();
    cudaEvent_t e, gone;
    int *p = device_ints(1), got = 0;
    emu_queue_opts.early = -1;
    must(cudaEventCreate(&e));
    must(cudaEventCreate(&gone));
    must(add(p, NULL, 1, 4, dead));
    must(cudaEventRecord(e, dead));
    must(cudaStreamDestroy(dead)); /* what is in it runs all the same */
    must(cudaEventDestroy(gone));
    must(cudaStreamWaitEvent(s, e));
    must(cudaMemcpyAsync(&got, p, 4, cudaMemcpyDeviceToHost, s));
    assert_int_equal(got, 4);
    must_fail(cudaStreamSynchronize(dead), cudaErrorInvalidResourceHandle, "was destroyed");
    must_fail(add(p, NULL, 1, 4, dead), cudaErrorInvalidResourceHandle, "was destroyed");
    must_fail(cudaStreamDestroy(dead), cudaErrorInvalidResourceHandle, "was destroyed");
    must_fail(cudaStreamDestroy(NULL), cudaErrorInvalidResourceHandle, "legacy");
    must_fail(cudaEventRecord(gone, s), cudaErrorInvalidResourceHandle, "was destroyed");
    must_fail(cudaEventDestroy(gone), cudaErrorInvalidResourceHandle, "was destroyed");
    emu_reset();
    must_fail(cudaStreamSynchronize(s), cudaErrorInvalidResourceHandle, "was destroyed");
}

static void events_take_time(void **) {
    cudaStream_t s = new_stream();
    cudaEvent_t a, b, untimed, never;
    int *p = device_ints(1);
    float ms = -1;
    emu_queue_opts.early = -1;
    must(cudaEventCreate(&a));
    must(cudaEventCreate(&b));
    must(cudaEventCreate(&never));
    must(cudaEventCreateWithFlags(&untimed, cudaEventDisableTiming));
    must(cudaEventRecord(a, s));
    must(add(p, NULL, 1, 4, s));
    must(cudaEventRecord(b, s));
    must_fail(cudaEventElapsedTime(&ms, a, b), cudaErrorNotReady, "left");
    must(cudaEventRecord(untimed, s));
    must(cudaEventSynchronize(b));
    must(cudaEventElapsedTime(&ms, a, b));
    assert_true(ms > 0);
    must_fail(cudaEventElapsedTime(&ms, a, untimed), cudaErrorInvalidResourceHandle, "takes no time");
    must_fail(cudaEventElapsedTime(&ms, a, never), cudaErrorInvalidResourceHandle, "not recorded");
}

struct told {
    int *pinned;
    int seen;
    cudaError_t e;
};
static void host_function(void *data) {
    told *t = (told *)data;
    t->seen = t->pinned[0];
    t->e = cudaStreamSynchronize(NULL);
}
static void host_functions_run_in_order(void **) {
    cudaStream_t s = new_stream();
    int *p = device_ints(1);
    told t = {pinned_ints(1), 0, cudaSuccess};
    t.pinned[0] = 0;
    must(add(p, NULL, 1, 4, s));
    must(cudaMemcpyAsync(t.pinned, p, 4, cudaMemcpyDeviceToHost, s));
    must(cudaLaunchHostFunc(s, host_function, &t));
    must(add(p, NULL, 1, 5, s));
    must(cudaMemcpyAsync(t.pinned, p, 4, cudaMemcpyDeviceToHost, s));
    must(cudaStreamSynchronize(s));
    assert_int_equal(t.seen, 4);
    assert_int_equal(t.e, cudaErrorNotPermitted);
    assert_int_equal(t.pinned[0], 5);
}

/* Two threads with a stream each, at once. */
static void *use_a_stream(void *arg) {
    int *ok = (int *)arg, *p = device_ints(1), got = 0;
    cudaStream_t s = new_stream();
    *ok = 1;
    for (int i = 0; i < 100; i++) {
        cudaError_t e = add(p, NULL, 1, i, s);
        if (!e) e = cudaMemcpyAsync(&got, p, 4, cudaMemcpyDeviceToHost, s);
        *ok = *ok && !e && got == i;
    }
    *ok = *ok && !cudaFree(p) && !cudaStreamDestroy(s);
    return NULL;
}
static void threads_share_the_device(void **) {
    pthread_t t[2];
    int ok[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, use_a_stream, &ok[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    assert_true(ok[0] && ok[1]);
    assert_int_equal(emu_leaks(false), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_stream_is_in_order, fresh),
        cmocka_unit_test_setup(streams_are_in_no_order, fresh),
        cmocka_unit_test_setup(events_order_streams, fresh),
        cmocka_unit_test_setup(work_is_late, fresh),
        cmocka_unit_test_setup(others_may_get_ahead, fresh),
        cmocka_unit_test_setup(early_is_by_chance, fresh),
        cmocka_unit_test_setup(queries_make_progress, fresh),
        cmocka_unit_test_setup(a_queue_has_an_end, fresh),
        cmocka_unit_test_setup(the_legacy_stream_blocks, fresh),
        cmocka_unit_test_setup(destroyed_handles_are_known, fresh),
        cmocka_unit_test_setup(events_take_time, fresh),
        cmocka_unit_test_setup(host_functions_run_in_order, fresh),
        cmocka_unit_test_setup(threads_share_the_device, fresh),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    emu_reset();
    return failed;
}
