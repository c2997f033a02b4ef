/* Rows moved by lists: every kind of list against the reference, what is not named stays, lists out of range by
 * number. */
#include "kernels/rows/rows_copy.h"

#include "kernels/cpu/cpu.h"
#include "tests/util.h"

static uint64_t seed = 404;
enum { X = 700, Y = 900, N = 640, D_MAX = 576 };

static void lists_of_any_kind_move_rows(void **state) {
    static const int widths[] = {1, 3, 64, D_MAX};
    static float x[X * D_MAX], y[Y * D_MAX], want[Y * D_MAX];
    static int32_t src[N], dst[N];
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = test_normal(&seed);
    x[5] = NAN;
    for (int k = 0; k < 64; k++) {
        int n = k % 16 == 0 ? 0 : k % 16 == 1 ? N : 1 + test_below(&seed, N);
        fc_rows_copy_args a = {.x = x,
                               .src = k & 1 ? src : NULL,
                               .dst = k & 2 ? dst : NULL,
                               .n = n,
                               .D = widths[k / 16],
                               .x_rows = X,
                               .y_rows = Y};
        fc_stream s;
        for (int i = 0; i < N; i++) {
            src[i] = test_below(&seed, X);
            dst[i] = i * 7 % Y; /* 7 and 900 share no factor: distinct */
        }
        memset(y, 1, sizeof y);
        memset(want, 1, sizeof want);
        a.y = want;
        assert_ok(fc_rows_copy_ref(NULL, &a));
        a.y = y;
        assert_ok(fc_cpu_stream_open(FC_CPU_AUTO, 1 + k % 3, 0, 64, &s));
        assert_ok(fc_rows_copy_cpu(s, &a));
        fc_cpu_stream_close(s);
        assert_memory_equal(y, want, sizeof y);
    }
}

static void rows_out_of_range_are_named(void **state) {
    float x[6] = {0}, y[6];
    int32_t src[2] = {0, 2}, dst[2] = {2, 1};
    fc_rows_copy_args a = {.y = y, .x = x, .src = src, .dst = dst, .n = 2, .D = 2, .x_rows = 3, .y_rows = 3};
    fc_stream s;
    (void)state;
    assert_ok(fc_cpu_stream_open(FC_CPU_AUTO, 1, 0, 64, &s));
    assert_ok(fc_rows_copy_cpu(s, &a));
    src[1] = 3;
    assert_fails(fc_rows_copy_cpu(s, &a), FC_ERR_ARG, "src[1]=3 of 3");
    src[1] = -1;
    assert_fails(fc_rows_copy_cpu(s, &a), FC_ERR_ARG, "src[1]=-1 of 3");
    src[1] = 0;
    dst[0] = 3;
    assert_fails(fc_rows_copy_cpu(s, &a), FC_ERR_ARG, "dst[0]=3 of 3");
    a.dst = NULL;
    a.y_rows = 1;
    assert_fails(fc_rows_copy_cpu(s, &a), FC_ERR_ARG, "dst[1]=1 of 1");
    a.D = 0;
    assert_fails(fc_rows_copy_cpu(s, &a), FC_ERR_ARG, "D=0");
    fc_cpu_stream_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_any_kind_move_rows),
        cmocka_unit_test(rows_out_of_range_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
