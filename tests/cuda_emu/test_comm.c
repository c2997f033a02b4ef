/* sum and join among ranks on emulated devices, by NCCL's all-gather, against the CPU's ranks: the same bits, whatever
 * the sizes and however they are cut into pieces. */
#include "kernels/comm/comm.h"
#include "kernels/cuda/backend_cuda.h"
#include "kernels/ranks/ranks.h"
#include "tests/cuda_emu/runtime_control.h"
#include "tests/engine/util_heads.h"
#include "tests/engine/util_ranks.h"

enum { RANKS = 3 };

static fc_status open_cuda(int ranks, fc_backend **out) {
    static const int devices[FC_RANKS_MAX] = {2, 0, 1, 3};
    const fc_cuda_options o = {.invariant = true, .devices = devices, .n_devices = ranks, .threads = 1};
    return fc_backend_open_cuda(&o, &(fc_op_limits){.rows = 4, .cols = 32, .vocab = 300}, out);
}

static fc_status open_cpu(int ranks, fc_backend **out) {
    ranks_n = ranks;
    return ranks_backend_open(FC_CPU_AUTO, 1, &(fc_op_limits){.rows = 4, .cols = 32, .vocab = 300}, out);
}

static void *up(fc_backend *be, size_t n) {
    void *p;
    assert_ok(be->alloc(be, n * sizeof(float), "values", &p));
    return p;
}

/* Each rank's own values, from a seed. */
static void fill(fc_backend *be, float *dev, size_t n, uint64_t seed) {
    float *host = malloc(n * sizeof *host);
    assert_non_null(host);
    for (int r = 0; r < be->ranks; r++) {
        for (size_t i = 0; i < n; i++) host[i] = test_normal(&seed);
        assert_ok(be->upload_to(be, r, dev, host, n * sizeof *host));
    }
    free(host);
}

static void sum_of(fc_backend *be, size_t n, uint64_t seed, float *out) {
    float *y = up(be, n);
    fill(be, y, n, seed);
    assert_ok(be->sum(be->stream, &(fc_sum_args){.y = y, .n = n}));
    assert_ok(be->download(be, out, y, n * sizeof *out));
    assert_ok(be->sync(be));
    be->free(be, y);
}

static void join_of(fc_backend *be, int R, int N, int unit, uint64_t seed, float *out) {
    size_t most = (size_t)fc_comm_most((N - 1) / unit + 1, be->ranks) * (size_t)unit;
    float *x = up(be, (size_t)R * most), *y = up(be, (size_t)R * (size_t)N);
    fill(be, x, (size_t)R * most, seed);
    assert_ok(be->join(be->stream, &(fc_join_args){.y = y, .x = x, .R = R, .N = N, .unit = unit}));
    assert_ok(be->download(be, out, y, (size_t)R * (size_t)N * sizeof *out));
    assert_ok(be->sync(be));
    be->free(be, y);
    be->free(be, x);
}

static void sums_and_joins_have_the_cpus_bits(void **state) {
    static const size_t sizes[] = {1, 2, 255, 256, 257, 10000};
    static const int shapes[][3] = {{1, 3, 1}, {2, 7, 1}, {5, 300, 16}, {4, 301, 16}, {40, 257, 8}, {3, 3, 1}};
    static float got[12000], want[12000];
    fc_backend *cuda, *cpu;
    (void)state;
    emu_reset();
    emu_device_opts.devices = 4;
    assert_ok(open_cuda(RANKS, &cuda));
    assert_ok(open_cpu(RANKS, &cpu));
    assert_int_equal(cuda->ranks, RANKS);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sum_of(cuda, sizes[i], i, got);
        sum_of(cpu, sizes[i], i, want);
        assert_memory_equal(got, want, sizes[i] * sizeof *got);
    }
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int *s = shapes[i];
        join_of(cuda, s[0], s[1], s[2], i, got);
        join_of(cpu, s[0], s[1], s[2], i, want);
        assert_memory_equal(got, want, (size_t)s[0] * (size_t)s[1] * sizeof *got);
    }
    fc_backend_close(cpu);
    fc_backend_close(cuda);
    emu_device_opts.devices = 0;
    emu_reset();
}

/* Against one device. */
static void shared_vocabularies_have_the_same_bits(void **state) {
    static const int devices[] = {0, 1, 2};
    static const fc_dtype types[] = {FC_F32, FC_BF16, FC_Q8_0};
    const fc_op_limits limits = {.rows = HEADS_ROWS, .cols = HEADS_D, .vocab = HEADS_V};
    fc_cuda_options o = {.invariant = true, .threads = 1};
    fc_backend *one, *ranks;
    (void)state;
    emu_reset();
    emu_device_opts.devices = RANKS;
    assert_ok(fc_backend_open_cuda(&o, &limits, &one));
    o.devices = devices;
    o.n_devices = RANKS;
    assert_ok(fc_backend_open_cuda(&o, &limits, &ranks));
    for (int i = 0; i < 3; i++) heads_same("devices", one, ranks, types[i], i == 1 ? 30.0f : 0.0f);
    fc_backend_close(ranks);
    fc_backend_close(one);
    emu_device_opts.devices = 0;
    emu_reset();
}

/* Columns of a rank are where comm.h says: x of rank r holds 1000 r + its own column. */
static void columns_are_side_by_side(void **state) {
    enum { N = 70, UNIT = 16, MOST = 32 }; /* five units for three ranks: 1, 2, 2 */
    float x[2 * MOST], y[2 * N];
    fc_backend *be;
    float *dev_x, *dev_y;
    (void)state;
    assert_ok(open_cpu(RANKS, &be));
    dev_x = up(be, 2 * MOST);
    dev_y = up(be, 2 * N);
    for (int r = 0; r < RANKS; r++) {
        const int own = r == 0 ? UNIT : r == 1 ? 2 * UNIT : N - 3 * UNIT;
        for (int row = 0; row < 2; row++)
            for (int c = 0; c < own; c++) x[row * own + c] = (float)(1000 * r + 100 * row + c);
        assert_ok(be->upload_to(be, r, dev_x, x, sizeof x));
    }
    assert_ok(be->join(be->stream, &(fc_join_args){.y = dev_y, .x = dev_x, .R = 2, .N = N, .unit = UNIT}));
    assert_ok(be->download(be, y, dev_y, sizeof y));
    assert_ok(be->sync(be));
    for (int row = 0; row < 2; row++)
        for (int c = 0; c < N; c++) {
            const int r = c < UNIT ? 0 : c < 3 * UNIT ? 1 : 2, first = r == 0 ? 0 : r == 1 ? UNIT : 3 * UNIT;
            assert_true(y[row * N + c] == (float)(1000 * r + 100 * row + c - first));
        }
    be->free(be, dev_y);
    be->free(be, dev_x);
    fc_backend_close(be);
}

static void shares_are_whole_and_rise(void **state) {
    (void)state;
    for (int n = 1; n < 60; n++)
        for (int ranks = 1; ranks <= FC_RANKS_MAX && ranks <= n; ranks++) {
            assert_int_equal(fc_comm_first(n, ranks, 0), 0);
            assert_int_equal(fc_comm_first(n, ranks, ranks), n);
            for (int r = 0; r < ranks; r++) {
                const int first = fc_comm_first(n, ranks, r), end = fc_comm_first(n, ranks, r + 1);
                assert_true(end > first && end - first <= fc_comm_most(n, ranks));
                for (int i = first; i < end; i++) assert_int_equal(fc_comm_owner(n, ranks, i), r);
            }
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_joins_have_the_cpus_bits),
        cmocka_unit_test(shared_vocabularies_have_the_same_bits),
        cmocka_unit_test(columns_are_side_by_side),
        cmocka_unit_test(shares_are_whole_and_rise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
