/* The emulator's memory: asynchronous copies that land at their wait, poisoned shared memory, borders, alignment. */
#include "tests/cuda_emu/util_emu.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

struct copied {
    const unsigned char *x;
    uint32_t *y;
    int how;
};

static bool poison(uint32_t v) { return v == 0xffffffffu; }

/* ---- asynchronous copies ---- */

/* Three groups of one word each; y[3 i ..] is what is seen after waiting for all but 2 - i of them. */
static void groups(const copied p) {
    uint32_t *m = fc_shared<uint32_t>() + threadIdx.x * 4, *y = p.y + threadIdx.x * 12;
    m[0] = m[1] = m[2] = m[3] = 7;
    for (int i = 0; i < 3; i++) {
        fc_copy_async<4>(m + i, p.x + 4 * i);
        fc_copy_commit();
    }
    fc_copy_async<4>(m + 3, p.x + 12); /* belongs to a group that is not committed */
    for (int i = 0; i < 3; i++) y[i] = m[i];
    fc_copy_wait<2>();
    for (int i = 0; i < 3; i++) y[3 + i] = m[i];
    fc_copy_wait<1>();
    for (int i = 0; i < 3; i++) y[6 + i] = m[i];
    fc_copy_wait<0>();
    y[9] = m[1], y[10] = m[2], y[11] = m[3];
}

static void copies_land_at_their_wait_and_not_before(void **) {
    enum { THREADS = 40 };
    alignas(16) const uint32_t x[4] = {11, 22, 33, 44};
    static uint32_t y[THREADS * 12];
    every_order({
        assert_runs(run(groups, {(const unsigned char *)x, y, 0}, 1, THREADS, THREADS * 16));
        for (int t = 0; t < THREADS; t++) {
            const uint32_t *z = y + t * 12;
            for (int i = 0; i < 3; i++) assert_true(poison(z[i]));
            assert_true(z[3] == 11 && poison(z[4]) && poison(z[5]));
            assert_true(z[6] == 11 && z[7] == 22 && poison(z[8]));
            assert_true(z[9] == 22 && z[10] == 33 && poison(z[11]));
        }
    });
}

/* Pieces of 4, 8 and 16 bytes, and more copies in flight than the queue begins with; those of odd pieces are zeroes. */
template <int BYTES> static void pieces(const copied p) {
    unsigned char *m = fc_shared<unsigned char>();
    for (int i = 0; i < 100; i++) fc_copy_async<BYTES>(m + i * BYTES, p.x + i * BYTES, i % 2 == 0);
    fc_copy_commit();
    fc_copy_wait<0>();
    memcpy(p.y, m, 100 * BYTES);
}
template <int BYTES> static void all_pieces() {
    alignas(16) static unsigned char x[1600], y[1600];
    for (int i = 0; i < 1600; i++) x[i] = (unsigned char)(i * 7 + i / 256);
    assert_runs(run(pieces<BYTES>, {x, (uint32_t *)y, 0}, 1, 1, 100 * BYTES));
    for (int i = 0; i < 100 * BYTES; i++) assert_int_equal(y[i], i / BYTES % 2 ? 0 : x[i]);
}

static void copies_of_every_size_and_zeroes(void **) {
    all_pieces<4>();
    all_pieces<8>();
    all_pieces<16>();
}

/* A pipeline of two stages with one mistake at a time, y[t] is the sum of all words that thread t sees. */
static void pipeline(const copied p) {
    uint32_t *m = fc_shared<uint32_t>(), sum = 0;
    int t = (int)threadIdx.x, n = (int)blockDim.x, o = (t + 35) % n;
    fc_copy_async<4>(m + t, p.x + t * 4);
    fc_copy_commit();
    for (int i = 0; i < 6; i++) {
        if (i + 1 < 6) fc_copy_async<4>(m + (i + 1) % 2 * n + t, p.x + ((i + 1) * n + t) * 4);
        fc_copy_commit();
        if (p.how != 1) fc_copy_wait<1>(); /* else the newest is not waited for */
        if (p.how != 2) __syncthreads();
        sum += m[i % 2 * n + o];
        if (p.how != 3) __syncthreads();
    }
    p.y[t] = sum;
}

static void a_pipeline_without_its_wait_or_a_barrier_is_seen(void **) {
#ifdef FC_EMU_TSAN
    skip(); /* TSan would tell of it: test_races.sh */
#endif
    enum { THREADS = 96 };
    static uint32_t x[THREADS * 6], y[THREADS];
    int wrong[4] = {0};
    for (int i = 0; i < THREADS * 6; i++) x[i] = (uint32_t)(i * i);
    every_order({
        for (int how = 0; how < 4; how++) {
            assert_runs(run(pipeline, {(const unsigned char *)x, y, how}, 1, THREADS, THREADS * 8));
            for (int t = 0; t < THREADS; t++) {
                uint32_t sum = 0;
                for (int i = 0; i < 6; i++) sum += x[i * THREADS + (t + 35) % THREADS];
                wrong[how] += y[t] != sum;
            }
        }
    });
    assert_int_equal(wrong[0], 0);
    assert_true(wrong[1] > 0); /* the wait */
    assert_true(wrong[2] > 0); /* the barrier behind it */
    assert_true(wrong[3] > 0); /* the barrier before the buffer is filled again: poison from the moment of the copy */
}

static void bad_copies(const copied p) {
    unsigned char *m = fc_shared<unsigned char>();
    if (p.how == 0) fc_copy_async<16>(m + 8, p.x);
    if (p.how == 1) fc_copy_async<8>(m, p.x + 4);
    if (p.how == 2) fc_copy_async<16>(m + 64, p.x);
    if (p.how == 3) fc_copy_async<4>(m - 4, p.x);
    if (p.how == 4) {
        fc_copy_async<4>(m, p.x);
        fc_copy_commit();
        *(unsigned char *)(uintptr_t)p.x ^= 1;
        fc_copy_wait<0>();
    }
    if (p.how == 5) {
        uint32_t r[4];
        fc_ldmatrix<4, false>(r, m + 16 * threadIdx.x + (threadIdx.x == 9 ? 8 : 0));
    }
    if (p.how == 6) {
        uint32_t r[4];
        fc_ldmatrix<4, false>(r, m + 16 * threadIdx.x + 16);
    }
    if (p.how == 7) {
        uint32_t r[2];
        fc_ldmatrix<2, false>(r, threadIdx.x < 16 ? m + 16 * threadIdx.x : NULL); /* other addresses are not used */
    }
}

static void copies_that_the_device_would_refuse(void **) {
    alignas(16) static unsigned char x[64];
    every_order({
        assert_caught(run(bad_copies, {x, NULL, 0}, 1, 1, 64), "cp.async: byte 8 is not a multiple of 16");
        assert_caught(run(bad_copies, {x, NULL, 1}, 1, 1, 64), "of 8 bytes: source");
        assert_caught(run(bad_copies, {x, NULL, 2}, 1, 1, 64), "bytes 64 to 80 are outside the block's 64");
        assert_caught(run(bad_copies, {x, NULL, 3}, 1, 1, 64), "bytes -4 to 0 are outside");
        assert_caught(run(bad_copies, {x, NULL, 4}, 1, 1, 64), "was written before it landed");
        assert_caught(run(bad_copies, {x, NULL, 5}, 1, 32, 512), "thread 9: ldmatrix: byte 152 is not a multiple");
        assert_caught(run(bad_copies, {x, NULL, 6}, 1, 32, 512), "thread 31: ldmatrix: bytes 512 to 528");
        assert_runs(run(bad_copies, {x, NULL, 7}, 1, 32, 512));
    });
}

/* ---- shared memory ---- */

static void look(const copied p) {
    uint32_t *m = fc_shared<uint32_t>();
    p.y[blockIdx.x * blockDim.x + threadIdx.x] = m[threadIdx.x];
    m[threadIdx.x] = 5;
}

static void each_block_finds_poison(void **) {
    uint32_t y[3 * 64];
    every_order({
        memset(y, 0, sizeof y);
        assert_runs(run(look, {NULL, y, 0}, 3, 64, 256));
        for (int i = 0; i < 3 * 64; i++) assert_true(poison(y[i]) && isnan(__uint_as_float(y[i])));
    });
}

static void write_at(const copied p) { fc_shared<unsigned char>()[p.how] = 1; }

/* True if the launch fails as it should, or a sanitizer ends the process for it. */
static bool dies(int how) {
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(open("/dev/null", O_WRONLY), 2);
        if (run(write_at, {NULL, NULL, how}, 2, 1, 60)) _exit(0);
        _exit(strstr(emu_error(), "wrote outside its shared memory: at byte") ? 1 : 0);
    }
    waitpid(child, &status, 0);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void an_index_outside_shared_memory_is_caught(void **) {
    assert_false(dies(0));
    assert_false(dies(59));
    assert_true(dies(60));
    assert_true(dies(-1));
    assert_true(dies(1000));
    assert_true(dies(-1000));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(copies_land_at_their_wait_and_not_before),
                                       cmocka_unit_test(copies_of_every_size_and_zeroes),
                                       cmocka_unit_test(a_pipeline_without_its_wait_or_a_barrier_is_seen),
                                       cmocka_unit_test(copies_that_the_device_would_refuse),
                                       cmocka_unit_test(each_block_finds_poison),
                                       cmocka_unit_test(an_index_outside_shared_memory_is_caught)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
