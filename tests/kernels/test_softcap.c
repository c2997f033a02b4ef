/* The soft cap against its reference; bits alike for any level and threads. */
#include "kernels/cpu/cpu.h"
#include "kernels/softcap/softcap.h"
#include "tests/util.h"

static void run_size(size_t n, float cap) {
    uint64_t seed = 5;
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y), *ref = malloc(n * sizeof *ref),
          *first = malloc(n * sizeof *first);
    for (size_t i = 0; i < n; i++) x[i] = test_normal(&seed) * cap * (i % 3 ? 0.3f : 5.0f);
    memcpy(ref, x, n * sizeof *x);
    assert_ok(fc_softcap_ref(NULL, &(fc_softcap_args){.x = ref, .n = n, .cap = cap}));
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
        for (int threads = 1; threads <= 2; threads++) {
            fc_stream st;
            assert_ok(fc_cpu_stream_open((fc_cpu_level)l, threads, 0, 0, &st));
            memcpy(y, x, n * sizeof *x);
            assert_ok(fc_softcap_cpu(st, &(fc_softcap_args){.x = y, .n = n, .cap = cap}));
            fc_cpu_stream_close(st);
            for (size_t i = 0; i < n; i++)
                if (!(fabs((double)y[i] - (double)ref[i]) <= 1e-6 * (double)cap))
                    fail_msg("n=%zu cap=%g level %d: x[%zu]=%.9g gives %.9g, reference %.9g", n, (double)cap, l, i,
                             (double)x[i], (double)y[i], (double)ref[i]);
            if (l == FC_CPU_PORTABLE && threads == 1) memcpy(first, y, n * sizeof *y);
            assert_memory_equal(first, y, n * sizeof *y);
        }
    free(x);
    free(y);
    free(ref);
    free(first);
}

static void every_level_meets_the_reference_with_the_same_bits(void **state) {
    (void)state;
    run_size(1, 30.0f);
    run_size(4097, 30.0f);
    run_size(12345, 50.0f);
    run_size(77, 0.5f);
}

static void a_cap_that_is_not_positive_is_refused(void **state) {
    fc_stream st;
    float x = 1.0f;
    (void)state;
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, 0, &st));
    assert_fails(fc_softcap_cpu(st, &(fc_softcap_args){.x = &x, .n = 1, .cap = 0.0f}), FC_ERR_ARG, "cap=0");
    assert_fails(fc_softcap_cpu(st, &(fc_softcap_args){.x = &x, .n = 1, .cap = NAN}), FC_ERR_ARG, "nan");
    assert_ok(fc_softcap_cpu(st, &(fc_softcap_args){.x = NULL, .n = 0, .cap = 1.0f}));
    fc_cpu_stream_close(st);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_meets_the_reference_with_the_same_bits),
        cmocka_unit_test(a_cap_that_is_not_positive_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
