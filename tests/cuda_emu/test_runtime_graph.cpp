/* runtime_capture.cpp, runtime_graph.cpp: what is captured runs as it was written, what may not be is refused. */
#include "tests/cuda_emu/util_runtime.h"

enum { SEEDS = 25 };

static int read_int(const int *p) {
    int got;
    must(cudaDeviceSynchronize());
    must(cudaMemcpy(&got, p, 4, cudaMemcpyDeviceToHost));
    return got;
}

/* p[0] = 1; fork: p[1] = p[0] + 10 here, p[2] = p[0] + 20 there; join: p[3] = p[1] + 2, then to pinned[0]. */
static cudaGraph_t captured_fork(cudaStream_t s, cudaStream_t t, int *p, int *pinned, int first) {
    cudaGraph_t g;
    cudaEvent_t fork, join;
    must(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
    must(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
    must(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    must(cudaMemsetAsync(p, 0, 16, s));
    must(add(p, p, 1, first, s));
    must(cudaEventRecord(fork, s));
    must(cudaStreamWaitEvent(t, fork));
    must(add(p + 1, p, 1, 10, s));
    must(add(p + 2, p, 1, 20, t));
    must(cudaEventRecord(join, t));
    must(cudaStreamWaitEvent(s, join));
    must(add(p + 3, p + 2, 1, 2, s));
    must(cudaMemcpyAsync(pinned, p + 3, 4, cudaMemcpyDeviceToHost, s));
    must(cudaStreamEndCapture(s, &g));
    must(cudaEventDestroy(fork));
    must(cudaEventDestroy(join));
    return g;
}

static void a_capture_runs_at_its_launch(void **) {
    for (int seed = 0; seed < SEEDS; seed++) {
        fresh(NULL);
        emu_queue_opts.seed = (uint64_t)seed;
        cudaStream_t s = new_stream(), t = new_stream();
        int *p = device_ints(4), *pinned = pinned_ints(1);
        cudaGraph_t g = captured_fork(s, t, p, pinned, 1);
        cudaGraphExec_t x;
        size_t n = 0;
        assert_int_equal(emu_counts().launches, 0);
        must(cudaGraphGetNodes(g, NULL, &n));
        assert_int_equal(n, 6);
        must(cudaGraphInstantiate(&x, g, 0));
        must(cudaGraphDestroy(g)); /* the instance has what it needs */
        for (int k = 1; k <= 2; k++) {
            pinned[0] = 0;
            must(cudaGraphLaunch(x, k == 1 ? s : t));
            must(cudaStreamSynchronize(k == 1 ? s : t));
            assert_int_equal(pinned[0], 23);
            assert_int_equal(read_int(p + 1), 11);
            assert_int_equal(emu_counts().launches, 4 * k);
            assert_int_equal(emu_counts().graph_launches, k);
        }
        must(cudaGraphLaunch(x, s));
        must(cudaGraphExecDestroy(x)); /* what is in the stream runs all the same */
        must(cudaStreamSynchronize(s));
        assert_int_equal(emu_counts().launches, 12);
        must(cudaStreamDestroy(s));
        must(cudaStreamDestroy(t));
        must(cudaFree(p));
        must(cudaFreeHost(pinned));
        assert_int_equal(emu_leaks(true), 0);
    }
}

/* Two branches of a graph with no edge between them run in either order. */
static void missing_edges_are_found(void **) {
    int first = 0;
    for (int seed = 0; seed < SEEDS; seed++) {
        fresh(NULL);
        emu_queue_opts.seed = (uint64_t)seed;
        int *p = device_ints(1);
        cudaGraph_t g;
        cudaGraphExec_t x;
        cudaGraphNode_t a, b;
        ints one = {p, NULL, 1, 1}, two = {p, NULL, 1, 2};
        void *args1[1] = {&one}, *args2[1] = {&two};
        cudaStream_t s = new_stream();
        must(add(p, NULL, 1, 0, s)); /* the kernel is known from here */
        must(cudaGraphCreate(&g, 0));
        cudaKernelNodeParams k = {};
        k.func = (void *)(void (*)(const ints))add_kernel;
        k.gridDim = dim3(1);
        k.blockDim = dim3(32);
        k.kernelParams = args1;
        must(cudaGraphAddKernelNode(&a, g, NULL, 0, &k));
        k.kernelParams = args2;
        must(cudaGraphAddKernelNode(&b, g, NULL, 0, &k));
        one.value = two.value = 9; /* were copied */
        must(cudaGraphInstantiate(&x, g, 0));
        must(cudaGraphLaunch(x, s));
        int got = read_int(p);
        assert_true(got == 1 || got == 2);
        first += got == 1;
    }
    assert_in_range(first, SEEDS / 5, SEEDS * 4 / 5);
}

/* Two launches of one instance do not mix, whatever streams they are in: here each adds 3 by two steps. */
static void launches_of_an_instance_take_turns(void **) {
    for (int seed = 0; seed < SEEDS; seed++) {
        fresh(NULL);
        emu_queue_opts.seed = (uint64_t)seed;
        cudaStream_t s = new_stream(), t = new_stream();
        int *p = device_ints(2);
        cudaGraph_t g;
        cudaGraphExec_t x;
        must(cudaMemset(p, 0, 8));
        must(cudaDeviceSynchronize());
        must(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
        must(add(p + 1, p, 1, 1, s));
        must(add(p, p + 1, 1, 2, s));
        must(cudaStreamEndCapture(s, &g));
        must(cudaGraphInstantiate(&x, g, 0));
        for (int k = 0; k < 4; k++) must(cudaGraphLaunch(x, k % 2 ? s : t));
        assert_int_equal(read_int(p), 12);
    }
}

/* How a decode step's graph is used: one instance, a parameter changed before each launch, launches not waited for. */
static void parameters_change_between_launches(void **) {
    cudaStream_t s = new_stream();
    int *p = device_ints(2);
    cudaGraph_t g;
    cudaGraphExec_t x;
    cudaGraphNode_t nodes[2], none;
    cudaKernelNodeParams k;
    size_t n = 2;
    cudaGraphNodeType type;
    emu_queue_opts.early = -1;
    must(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
    must(cudaMemsetAsync(p, 0, 8, s));
    must(add(p, p, 1, 1, s));
    must(cudaStreamEndCapture(s, &g));
    must(cudaGraphInstantiate(&x, g, 0));
    must(cudaGraphGetNodes(g, nodes, &n));
    must(cudaGraphNodeGetType(nodes[0], &type));
    assert_int_equal(type, cudaGraphNodeTypeMemset);
    must_fail(cudaGraphKernelNodeGetParams(nodes[0], &k), cudaErrorInvalidValue, "no kernel");
    must(cudaGraphKernelNodeGetParams(nodes[1], &k));
    assert_int_equal(k.blockDim.x, 32);
    ints q = *(ints *)k.kernelParams[0];
    assert_int_equal(q.value, 1);
    n = 1;
    must(cudaGraphNodeGetDependencies(nodes[1], &none, NULL, &n));
    assert_ptr_equal(none, nodes[0]);
    int *pinned = pinned_ints(3);
    for (int i = 0; i < 3; i++) {
        void *args[1] = {&q};
        q.value = 100 + i;
        k.kernelParams = args;
        must(cudaGraphExecKernelNodeSetParams(x, nodes[1], &k));
        must(cudaGraphLaunch(x, s));
        must(cudaMemcpyAsync(pinned + i, p, 4, cudaMemcpyDeviceToHost, s));
    }
    q.value = 0;
    must(cudaStreamSynchronize(s));
    for (int i = 0; i < 3; i++) assert_int_equal(pinned[i], 100 + i);
    k.blockDim = dim3(2000);
    void *args[1] = {&q};
    k.kernelParams = args;
    must_fail(cudaGraphExecKernelNodeSetParams(x, nodes[1], &k), cudaErrorInvalidConfiguration, "2000");
    must_fail(cudaGraphExecKernelNodeSetParams(x, nodes[0], &k), cudaErrorInvalidValue, "no kernel");
    must(cudaGraphDestroy(g));
    must_fail(cudaGraphExecKernelNodeSetParams(x, nodes[1], &k), cudaErrorInvalidResourceHandle, "no node");
    must_fail(cudaGraphDestroy(g), cudaErrorInvalidResourceHandle, "was destroyed");
    must(cudaGraphExecDestroy(x));
    must_fail(cudaGraphLaunch(x, s), cudaErrorInvalidResourceHandle, "was destroyed");
}

static void an_instance_takes_another_capture_of_its_shape(void **) {
    cudaStream_t s = new_stream(), t = new_stream();
    int *p = device_ints(4), *pinned = pinned_ints(1);
    cudaGraph_t g = captured_fork(s, t, p, pinned, 1), h = captured_fork(s, t, p, pinned, 2), other;
    cudaGraphExec_t x;
    cudaGraphExecUpdateResultInfo info;
    must(cudaGraphInstantiate(&x, g, 0));
    must(cudaGraphExecUpdate(x, h, &info));
    assert_int_equal(info.result, cudaGraphExecUpdateSuccess);
    must(cudaGraphLaunch(x, s));
    must(cudaStreamSynchronize(s));
    assert_int_equal(pinned[0], 24);
    must(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
    for (int i = 0; i < 6; i++) must(add(p, NULL, 1, i, s));
    must(cudaStreamEndCapture(s, &other));
    must_fail(cudaGraphExecUpdate(x, other, &info), cudaErrorGraphExecUpdateFailure, "another type");
    assert_int_equal(info.result, cudaGraphExecUpdateErrorNodeTypeChanged);
    must(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
    must(add(p, NULL, 1, 0, s));
    must(cudaStreamEndCapture(s, &other));
    must_fail(cudaGraphExecUpdate(x, other, &info), cudaErrorGraphExecUpdateFailure, "another number of nodes");
}

static void explicit_graphs_have_copies_and_fills(void **) {
    cudaStream_t s = new_stream();
    int *p = device_ints(4), *pinned = pinned_ints(4), pageable[4];
    cudaGraph_t g, h;
    cudaGraphExec_t x;
    cudaGraphNode_t fill, copy, join, stranger;
    cudaMemsetParams m = {p, 0, 7, 1, 16, 1};
    must(cudaGraphCreate(&g, 0));
    must(cudaGraphCreate(&h, 0));
    must(cudaGraphAddMemsetNode(&fill, g, NULL, 0, &m));
    must(cudaGraphAddMemcpyNode1D(&copy, g, &fill, 1, pinned, p, 16, cudaMemcpyDeviceToHost));
    must(cudaGraphAddEmptyNode(&join, g, &copy, 1));
    must(cudaGraphAddEmptyNode(&stranger, h, NULL, 0));
    must_fail(cudaGraphAddEmptyNode(&join, g, &stranger, 1), cudaErrorInvalidValue, "another graph");
    must_fail(cudaGraphAddMemcpyNode1D(&copy, g, NULL, 0, pageable, p, 16, cudaMemcpyDeviceToHost),
              cudaErrorNotSupported, "pageable");
    must_fail(cudaGraphAddMemcpyNode1D(&copy, g, NULL, 0, pinned, p, 17, cudaMemcpyDeviceToHost), cudaErrorInvalidValue,
              "17 bytes");
    must(cudaGraphInstantiate(&x, g, 0));
    must(cudaGraphLaunch(x, s));
    must(cudaStreamSynchronize(s));
    assert_int_equal(pinned[3], 0x07070707);
    must(cudaFree(p));
    must(cudaGraphLaunch(x, s)); /* with an address of freed memory in it */
    must_fail(cudaStreamSynchronize(s), cudaErrorIllegalAddress, "a fill of 16 bytes from byte 0 of device allocation");
}

/* Each call that CUDA forbids during a capture, and what it does to the capture. */
static cudaStream_t begin(cudaStreamCaptureMode mode) {
    cudaStream_t s = new_stream();
    must(cudaStreamBeginCapture(s, mode));
    return s;
}
static void end_invalid(cudaStream_t s) {
    cudaGraph_t g = (cudaGraph_t)1;
    cudaStreamCaptureStatus status;
    must(cudaStreamIsCapturing(s, &status));
    assert_int_equal(status, cudaStreamCaptureStatusInvalidated);
    must_fail(cudaStreamEndCapture(s, &g), cudaErrorStreamCaptureInvalidated, "spoilt");
    assert_null(g);
    must(cudaStreamIsCapturing(s, &status));
    assert_int_equal(status, cudaStreamCaptureStatusNone);
}
static void captures_forbid_calls(void **) {
    void *q;
    int *p = device_ints(1), pageable = 0;
    cudaGraph_t g;
    cudaEvent_t e;
    cudaStream_t other = new_stream(), s;
    must(cudaEventCreate(&e));
    must(cudaEventRecord(e, other));
    must(cudaDeviceSynchronize());
    s = begin(cudaStreamCaptureModeGlobal);
    must_fail(cudaMalloc(&q, 4), cudaErrorStreamCaptureUnsupported, "not permitted when stream is capturing");
    must_fail(add(p, NULL, 1, 1, s), cudaErrorStreamCaptureInvalidated, "spoilt");
    end_invalid(s);
    s = begin(cudaStreamCaptureModeThreadLocal);
    must_fail(cudaFree(p), cudaErrorStreamCaptureUnsupported, "capture");
    end_invalid(s);
    s = begin(cudaStreamCaptureModeGlobal);
    must_fail(cudaEventQuery(e), cudaErrorStreamCaptureUnsupported, "capture");
    end_invalid(s);
    s = begin(cudaStreamCaptureModeRelaxed);
    must(cudaMalloc(&q, 4)); /* allowed there */
    must(cudaEventQuery(e));
    must(cudaStreamSynchronize(other));
    must_fail(cudaStreamSynchronize(s), cudaErrorStreamCaptureUnsupported, "the stream is capturing");
    end_invalid(s);
    s = begin(cudaStreamCaptureModeRelaxed);
    must_fail(cudaDeviceSynchronize(), cudaErrorStreamCaptureUnsupported, "capturing");
    end_invalid(s);
    s = begin(cudaStreamCaptureModeRelaxed);
    must_fail(cudaMemcpyAsync(p, &pageable, 4, cudaMemcpyHostToDevice, s), cudaErrorStreamCaptureUnsupported,
              "pageable");
    end_invalid(s);
    s = begin(cudaStreamCaptureModeRelaxed);
    must_fail(cudaStreamWaitEvent(s, e), cudaErrorStreamCaptureIsolation, "outside of the capture");
    end_invalid(s);
    s = begin(cudaStreamCaptureModeRelaxed);
    must(cudaEventRecord(e, s));
    must_fail(cudaEventSynchronize(e), cudaErrorCapturedEvent, "captured");
    must(cudaStreamEndCapture(s, &g));
    must_fail(cudaStreamWaitEvent(other, e), cudaErrorCapturedEvent, "has ended");
    must_fail(cudaStreamBeginCapture(NULL, cudaStreamCaptureModeRelaxed), cudaErrorStreamCaptureUnsupported, "legacy");
    must_fail(cudaStreamEndCapture(s, &g), cudaErrorIllegalState, "not capturing");
    s = begin(cudaStreamCaptureModeRelaxed);
    must_fail(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed), cudaErrorIllegalState, "already");
    must(cudaStreamEndCapture(s, &g));
    must(cudaStreamCreate(&s)); /* blocking */
    must(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
    must_fail(add(p, NULL, 1, 1, NULL), cudaErrorStreamCaptureImplicit, "blocking stream is capturing");
    end_invalid(s);
}

static void captures_end_where_they_began(void **) {
    int *p = device_ints(1);
    cudaGraph_t g;
    cudaEvent_t e;
    cudaStream_t s, t = new_stream(), u;
    must(cudaEventCreateWithFlags(&e, cudaEventDisableTiming));
    s = begin(cudaStreamCaptureModeRelaxed);
    must(cudaEventRecord(e, s));
    must(cudaStreamWaitEvent(t, e));
    must(add(p, NULL, 1, 1, t));
    must_fail(cudaStreamEndCapture(t, &g), cudaErrorStreamCaptureUnmatched, "another stream");
    must_fail(cudaStreamEndCapture(s, &g), cudaErrorStreamCaptureInvalidated, "spoilt");
    s = begin(cudaStreamCaptureModeRelaxed);
    must(cudaEventRecord(e, s));
    must(cudaStreamWaitEvent(t, e));
    must(add(p, NULL, 1, 1, t));
    must_fail(cudaStreamEndCapture(s, &g), cudaErrorStreamCaptureUnjoined, "no event leads");
    must(add(p, NULL, 1, 3, t)); /* no longer captured */
    must(cudaStreamSynchronize(t));
    assert_int_equal(read_int(p), 3);
    s = begin(cudaStreamCaptureModeRelaxed);
    u = begin(cudaStreamCaptureModeRelaxed);
    must(cudaEventRecord(e, u));
    must_fail(cudaStreamWaitEvent(s, e), cudaErrorStreamCaptureMerge, "another capture");
    end_invalid(s);
    end_invalid(u);
    s = begin(cudaStreamCaptureModeThreadLocal);
    pthread_t thread;
    void *seen;
    pthread_create(
        &thread, NULL,
        [](void *st) -> void * {
            cudaGraph_t h;
            void *q;
            cudaError_t there = cudaMalloc(&q, 4); /* another thread may, in this mode */
            return (void *)(intptr_t)(there ? there : cudaStreamEndCapture((cudaStream_t)st, &h));
        },
        s);
    pthread_join(thread, &seen);
    assert_int_equal((intptr_t)seen, cudaErrorStreamCaptureWrongThread);
    must(cudaStreamEndCapture(s, &g));
}

/* If a call during a capture fails, what was begun ends and nothing is left. */
static cudaError_t captured_program(void) {
    cudaStream_t s = NULL;
    cudaGraph_t g = NULL;
    cudaGraphExec_t x = NULL;
    void *p = NULL;
    cudaError_t e = cudaMalloc(&p, 4);
    if (!e) e = cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
    if (!e) e = cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
    if (!e) {
        e = add((int *)p, NULL, 1, 1, s);
        cudaError_t ended = cudaStreamEndCapture(s, &g);
        if (!e) e = ended;
    }
    if (!e) e = cudaGraphInstantiate(&x, g, 0);
    if (!e) e = cudaGraphLaunch(x, s);
    if (!e) e = cudaStreamSynchronize(s);
    if (x) cudaGraphExecDestroy(x);
    if (g) cudaGraphDestroy(g);
    if (s) cudaStreamDestroy(s);
    cudaFree(p);
    return e;
}
static void failures_leave_nothing(void **) {
    must(captured_program());
    int calls = (int)emu_calls();
    for (int k = 1; k <= calls; k++) {
        emu_fail_at((uint64_t)k);
        cudaError_t e = captured_program();
        if (k <= calls - 4 && !e) fail_msg("call %d did not fail", k);
        if (emu_leaks(true)) fail_msg("call %d left something behind", k);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_capture_runs_at_its_launch, fresh),
        cmocka_unit_test_setup(missing_edges_are_found, fresh),
        cmocka_unit_test_setup(launches_of_an_instance_take_turns, fresh),
        cmocka_unit_test_setup(parameters_change_between_launches, fresh),
        cmocka_unit_test_setup(an_instance_takes_another_capture_of_its_shape, fresh),
        cmocka_unit_test_setup(explicit_graphs_have_copies_and_fills, fresh),
        cmocka_unit_test_setup(captures_forbid_calls, fresh),
        cmocka_unit_test_setup(captures_end_where_they_began, fresh),
        cmocka_unit_test_setup(failures_leave_nothing, fresh),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    emu_reset();
    return failed;
}
