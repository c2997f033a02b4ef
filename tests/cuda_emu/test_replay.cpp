/* replay: launches run in their order with their own parameters, however they are sent; a pass's graph is used
 * again. */
#include "kernels/cuda/copies.cuh"
#include "kernels/cuda/replay.cuh"
#include "tests/cuda_emu/runtime_control.h"

extern "C" {
#include "tests/cuda_emu/util_cuda.h"
#include "tests/util.h"
}

struct step {
    float *y;
    float times, plus;
    int n, rest; /* no padding: a replay compares bytes */
};

static __global__ void scale_kernel(const step p) {
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < p.n) p.y[i] = p.y[i] * p.times + p.plus;
}

static __global__ void double_kernel(const step p) {
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < p.n) p.y[i] *= 2.0f;
}

enum { N = 70 };

static fc_stream s;
static float *y;

static void open_all(void) {
    void *p;
    emu_reset();
    assert_ok(fc_cuda_stream_open(0, 0, false, &s));
    assert_int_equal(cudaMalloc(&p, N * sizeof *y), cudaSuccess);
    y = (float *)p;
    assert_int_equal(cudaMemsetAsync(y, 0, N * sizeof *y, s->queue), cudaSuccess);
}

static void close_all(void) {
    assert_int_equal(cudaFree(y), cudaSuccess);
    fc_cuda_stream_close(s);
    assert_int_equal(emu_leaks(true), 0);
}

static float first(void) {
    float v;
    assert_ok(fc_cuda_flush(s));
    assert_int_equal(cudaMemcpyAsync(&v, y, sizeof v, cudaMemcpyDeviceToHost, s->queue), cudaSuccess);
    return v;
}

static void scale(float times, float plus, int n) {
    assert_ok(fc_launch(s, "scale", scale_kernel, dim3((unsigned)fc_div_up(n, 32)), 32, 0, step{y, times, plus, n, 0}));
}

static __global__ void shared_kernel(const step p) {
    float *v = fc_shared<float>();
    v[threadIdx.x] = p.plus;
    if (threadIdx.x == 0) p.y[0] = v[0];
}

/* If this fails, one model's smaller launch takes away what another's larger one was told that it may have. */
static void shared_memory_is_granted_to_all_streams(void **state) {
    enum { LARGE = 150 << 10, SMALL = 60 << 10 };
    fc_stream other;
    (void)state;
    open_all();
    assert_ok(fc_cuda_stream_open(0, 0, false, &other));
    assert_ok(fc_launch(s, "large", shared_kernel, dim3(1), 32, LARGE, step{y, 1, 1, N, 0}));
    assert_float_equal(first(), 1.0f, 0);
    assert_ok(fc_launch(other, "small", shared_kernel, dim3(1), 32, SMALL, step{y, 1, 2, N, 0}));
    assert_ok(device_sync(other));
    assert_ok(fc_launch(s, "large", shared_kernel, dim3(1), 32, LARGE, step{y, 1, 3, N, 0}));
    assert_float_equal(first(), 3.0f, 0);
    fc_cuda_stream_close(other);
    close_all();
}

/* A pass of `launches`, and what it makes of v. */
static float pass(float v, int launches, float plus) {
    for (int i = 0; i < launches; i++) {
        scale(i % 2 ? 0.5f : 2.0f, plus + (float)i, 1 + i % N);
        v = v * (i % 2 ? 0.5f : 2.0f) + plus + (float)i;
        if (i % 3) continue;
        assert_ok(fc_launch(s, "double", double_kernel, dim3(1), 32, 0, step{y, 0, 0, 1, 0}));
        v *= 2.0f;
    }
    return v;
}

static void launches_run_in_order_with_their_parameters(void **) {
    float v = 0;
    open_all();
    for (int n = 1; n <= 40; n += 3) {
        v = pass(0.25f * v, n, (float)n) * 0.0f; /* too large otherwise */
        scale(0.0f, 0.0f, N);
        v = pass(v, n, (float)n);
        assert_true(first() == v);
        scale(0.0f, 0.0f, N);
        v = 0;
    }
    close_all();
}

/* If this fails, each step of decoding makes a graph anew. */
static void the_same_pass_is_one_graph_with_patched_nodes(void **) {
    fc_replay_counts c;
    float v = 0;
    open_all();
    emu_counts_reset();
    for (int i = 0; i < 10; i++) {
        v = pass(0, 12, i < 5 || i == 9 ? 1.0f : (float)i);
        assert_true(first() == v);
        scale(0.0f, 0.0f, N); /* alone: no graph */
        first();
    }
    c = fc_replay_counted(s->replay);
    assert_int_equal(c.made, 1);
    assert_int_equal(c.graphs, 10);
    assert_int_equal(c.patched, 5 * 12); /* parameters of scale from the sixth on; double's are the same */
    assert_int_equal(c.launches, 10 * (12 + 4 + 1));
    assert_int_equal(c.single, 10);
    assert_int_equal(emu_counts().graph_launches, 10);
    close_all();
}

static __global__ void blocks_kernel(const step p) {
    if (threadIdx.x == 0) atomicAdd(p.y, 1.0f);
}

/* Grids alone change, and change back. */
static void a_grid_is_patched_too(void **) {
    float blocks = 0;
    open_all();
    for (int i = 0; i < 6; i++) {
        for (int k = 0; k < 9; k++) {
            unsigned grid = i % 2 ? (unsigned)(k + 2) : 1;
            assert_ok(fc_launch(s, "blocks", blocks_kernel, dim3(grid), 32, 0, step{y, 0, 0, 0, 0}));
            blocks += (float)grid;
        }
        assert_true(first() == blocks);
    }
    assert_int_equal(fc_replay_counted(s->replay).made, 1);
    close_all();
}

/* More forms of a pass than are remembered, and a list that is longer than there is room for. */
static void many_forms_and_long_lists_go_through(void **) {
    float v = 0;
    open_all();
    for (int round = 0; round < 2; round++)
        for (int n = 8; n < 48; n++) {
            v = pass(0, n, 1.0f);
            assert_true(first() == v);
            scale(0.0f, 0.0f, N);
            first();
        }
    for (int i = 0; i < 10000; i++) scale(1.0f, 1.0f, 1);
    assert_true(first() == 10000.0f);
    close_all();
}

/* Patching a graph must not touch a launch of it that waits in the queue. */
static void a_queued_graph_keeps_its_parameters(void **) {
    float v = 0;
    open_all();
    emu_queue_opts.early = -1;
    for (int i = 0; i < 6; i++) {
        v = v * 0.5f + (float)i;
        for (int k = 0; k < 9; k++) scale(k ? 1.0f : 0.5f, k ? 0.0f : (float)i, 1);
        assert_ok(fc_cuda_flush(s));
    }
    assert_true(first() == v);
    emu_queue_opts.early = 0;
    close_all();
}

/* Each call of the runtime fails in turn: a status, and nothing is left. */
static void every_failing_call_is_a_status(void **) {
    int failed = 0;
    for (uint64_t k = 1;; k++) {
        fc_status st;
        fc_stream t = NULL;
        uint64_t before;
        emu_reset();
        emu_fail_at(k);
        before = emu_calls();
        st = fc_cuda_stream_open(0, 100, false, &t);
        for (int i = 0; !st && i < 2 * 12; i++) {
            st = fc_launch(t, "scale", scale_kernel, dim3(1), 32, 0,
                           step{(float *)t->workspace, 1.0f, (float)(i / 12), 1, 0});
            if (!st && i % 12 == 11) st = device_sync(t);
        }
        if (st) assert_true(strstr(fc_status_text(), "cuda") || strstr(fc_status_text(), " of device memory; "));
        failed += st != FC_OK;
        bool reached = emu_calls() - before >= k;
        emu_fail_at(0);
        fc_cuda_stream_close(t);
        assert_int_equal(emu_leaks(true), 0);
        if (!reached) break;
        if (!st) fail_msg("call %llu failed, and nobody said so", (unsigned long long)k);
    }
    printf("%d calls failed in turn\n", failed);
    assert_true(failed > 20);
}

/* Pieces of a ring hold what was put into them until their copies are done, however often it comes round. */
static void rings_keep_what_is_under_way(void **) {
    fc_ring r;
    uint64_t seed = 5;
    unsigned char *device, got[1000], want[1000];
    void *p;
    open_all();
    assert_int_equal(cudaMalloc(&p, sizeof want), cudaSuccess);
    device = (unsigned char *)p;
    assert_ok(fc_ring_open(4 * 256, &r));
    for (int i = 0; i < 300; i++) {
        size_t n = 1 + (size_t)test_below(&seed, 250);
        size_t at = (size_t)test_below(&seed, (int)(sizeof want - n));
        unsigned char *piece;
        assert_ok(fc_ring_take(&r, n, s, &piece));
        for (size_t k = 0; k < n; k++) piece[k] = want[at + k] = (unsigned char)test_below(&seed, 256);
        if (i == 0) memset(want, 0, sizeof want), memcpy(want + at, piece, n);
        if (i == 0) assert_int_equal(cudaMemsetAsync(device, 0, sizeof want, s->queue), cudaSuccess);
        assert_int_equal(cudaMemcpyAsync(device + at, piece, n, cudaMemcpyHostToDevice, s->queue), cudaSuccess);
    }
    assert_int_equal(cudaMemcpyAsync(got, device, sizeof got, cudaMemcpyDeviceToHost, s->queue), cudaSuccess);
    assert_memory_equal(got, want, sizeof got);
    fc_ring_close(&r);
    assert_int_equal(cudaFree(device), cudaSuccess);
    close_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_memory_is_granted_to_all_streams),

        cmocka_unit_test(launches_run_in_order_with_their_parameters),
        cmocka_unit_test(the_same_pass_is_one_graph_with_patched_nodes),
        cmocka_unit_test(a_grid_is_patched_too),
        cmocka_unit_test(many_forms_and_long_lists_go_through),
        cmocka_unit_test(a_queued_graph_keeps_its_parameters),
        cmocka_unit_test(every_failing_call_is_a_status),
        cmocka_unit_test(rings_keep_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
