/* The emulator's orders, grids, OS threads, and what an error leaves behind. */
#include "tests/cuda_emu/util_emu.h"

#include <thread>

struct traced {
    int *y;
    unsigned *next; /* the place in y that is written next */
    int how;
};

/* ---- orders ---- */

static void trace(const traced p) {
    int me = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    p.y[atomicAdd(p.next, 1u)] = me;
    __syncthreads();
    for (int i = 0; i < 3; i++) {
        p.y[atomicAdd(p.next, 1u)] = me;
        __syncwarp();
    }
}

enum { WIDE = 70, GRID = 3, STEPS = 4, ALL = WIDE * GRID * STEPS };

static void traced_run(int *y) {
    unsigned next = 0;
    assert_runs(run(trace, {y, &next, 0}, GRID, WIDE));
    assert_int_equal(next, ALL);
}

static void orders_are_what_they_say(void **) {
    int y[ALL], z[ALL], moved = 0, changes = 0, blocks[GRID] = {0};
    emu_opts.order = EMU_FORWARD;
    traced_run(y);
    for (int i = 0; i < WIDE; i++) assert_int_equal(y[i], i);
    emu_opts.order = EMU_BACKWARD;
    traced_run(y);
    for (int i = 0; i < WIDE; i++) assert_int_equal(y[i], GRID * WIDE - 1 - i);
    emu_opts.order = EMU_WARPS; /* after the barrier one warp makes all its steps before the next makes one */
    traced_run(y);
    for (int i = WIDE + 1; i < 4 * WIDE; i++) changes += y[i] / 32 != y[i - 1] / 32;
    assert_int_equal(changes, 2);
    emu_opts.seed = 1;
    traced_run(y);
    for (int i = 0; i < WIDE % 32; i++) assert_int_equal(y[i] % WIDE / 32, 2); /* the last warp is the first */
    emu_opts.order = EMU_RANDOM;
    emu_opts.seed = 5;
    traced_run(y);
    traced_run(z);
    assert_memory_equal(y, z, sizeof y); /* a seed is an order */
    emu_opts.seed = 6;
    traced_run(z);
    for (int i = 1; i < WIDE; i++) moved += abs(z[i] - z[i - 1]) > 2;
    assert_true(moved > WIDE / 2); /* shuffled, not rotated */
    assert_true(memcmp(y, z, sizeof y) != 0);
    for (int i = 0; i < ALL; i++) blocks[z[i] / WIDE]++;
    for (int k = 0; k < GRID; k++) assert_int_equal(blocks[k], WIDE * STEPS);
    emu_opts = {};
}

/* ---- places ---- */

struct placed {
    unsigned *y;
};

static void place(const placed p) {
    unsigned b = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned t = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    p.y[b * blockDim.x * blockDim.y * blockDim.z + t] +=
        ((((blockIdx.z * 10 + blockIdx.y) * 10 + blockIdx.x) * 10 + threadIdx.z) * 10 + threadIdx.y) * 10 + threadIdx.x;
}

static void every_thread_of_every_block_runs_once(void **) {
    enum { X = 5, Y = 4, Z = 3, BX = 3, BY = 2, BZ = 4, TOTAL = X * Y * Z * BX * BY * BZ };
    static unsigned y[TOTAL];
    every_order({
        for (emu_opts.threads = 0; emu_opts.threads < 4; emu_opts.threads++) {
            memset(y, 0, sizeof y);
            assert_runs(run(place, {y}, dim3(BX, BY, BZ), dim3(X, Y, Z)));
            for (unsigned i = 0; i < TOTAL; i++) {
                unsigned t = i % (X * Y * Z), b = i / (X * Y * Z);
                assert_int_equal(y[i], b / (BX * BY) * 100000 + b / BX % BY * 10000 + b % BX * 1000 +
                                           t / (X * Y) * 100 + t / X % Y * 10 + t % X);
            }
        }
    });
}

static void grids_that_a_device_refuses(void **) {
    assert_caught(run(place, {NULL}, 1, 1025), "1 to 1024");
    assert_caught(run(place, {NULL}, 1, dim3(1, 1, 65)), "at most 64 in z");
    assert_caught(run(place, {NULL}, dim3(1, 65536), 1), "at most 65535");
    assert_caught(run(place, {NULL}, dim3(1, 1, 0), 1), "a grid of 1,1,0");
}

/* ---- errors ---- */

struct failing {
    int *done; /* [blocks] */
    int first, second, how, *source;
};

static void fail_in(const failing p) {
    int b = (int)blockIdx.x;
    unsigned *m = fc_shared<unsigned>();
    if (threadIdx.x < 4) fc_copy_async<4>(m + threadIdx.x, p.source);
    fc_copy_commit();
    if ((b == p.first || b == p.second) && threadIdx.x == 37) {
        if (p.how == 0) __trap();
        emu_fail("block %d says no", b);
    }
    __syncthreads();
    if (threadIdx.x == 0) p.done[b]++;
}

/* The first block that fails is the one that is told, whatever the OS threads; the others' stacks are used again. */
static void an_error_ends_the_launch_and_the_next_one_works(void **) {
    enum { BLOCKS = 50 };
    every_order({
        for (emu_opts.threads = 1; emu_opts.threads <= 4; emu_opts.threads++) {
            int done[BLOCKS] = {0}, source = 1;
            assert_caught(run(fail_in, {done, 20, 20, 0, &source}, BLOCKS, 64, 64), "block 20,0,0 thread 37: __trap at "
                                                                                    "test_emu_grid.cpp:");
            assert_int_equal(done[20], 0);
            if (emu_opts.order != EMU_RANDOM)
                assert_caught(run(fail_in, {done, 11, 12, 1, &source}, BLOCKS, 64, 64),
                              emu_opts.order == EMU_BACKWARD ? "block 12 says no" : "block 11 says no");
            memset(done, 0, sizeof done);
            assert_runs(run(fail_in, {done, -1, -1, 0, &source}, BLOCKS, 64, 64));
            for (int i = 0; i < BLOCKS; i++) assert_int_equal(done[i], 1);
        }
    });
}

/* ---- OS threads ---- */

struct summed {
    const float *x; /* [blocks][64] */
    float *y;       /* [blocks] */
};

static void sum_row(const summed p) {
    float *scratch = fc_shared<float>();
    float sum = fc_block_sum(p.x[blockIdx.x * 64 + threadIdx.x], scratch);
    if (threadIdx.x == 5) p.y[blockIdx.x] = sum;
}

static void launches_of_several_os_threads_at_once(void **) {
    enum { BLOCKS = 300 };
    static float x[BLOCKS * 64], want[BLOCKS], y[4][BLOCKS];
    uint64_t seed = 1;
    for (float &v : x) v = (float)next_random(&seed) * 1e-9f;
    assert_runs(run(sum_row, {x, want}, BLOCKS, 64, 128));
    emu_opts.threads = 3;
    std::thread others[4];
    bool fine[4] = {false};
    for (int i = 0; i < 4; i++)
        others[i] = std::thread([i, &fine] {
            fine[i] = true;
            for (int k = 0; k < 5; k++) fine[i] &= run(sum_row, {x, y[i]}, BLOCKS, 64, 128);
        });
    for (std::thread &t : others) t.join();
    for (int i = 0; i < 4; i++) {
        assert_true(fine[i]);
        assert_memory_equal(y[i], want, sizeof want);
    }
    emu_opts = {};
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(orders_are_what_they_say),
                                       cmocka_unit_test(every_thread_of_every_block_runs_once),
                                       cmocka_unit_test(grids_that_a_device_refuses),
                                       cmocka_unit_test(an_error_ends_the_launch_and_the_next_one_works),
                                       cmocka_unit_test(launches_of_several_os_threads_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
