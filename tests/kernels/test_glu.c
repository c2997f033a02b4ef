/* SwiGLU and GeGLU against the reference; bits alike for any level and threads. */
#include "kernels/cpu/cpu.h"
#include "kernels/glu/glu.h"
#include "tests/util.h"

static void run_shape(int T, int F, fc_act act) {
    size_t n = (size_t)T * (size_t)F;
    uint64_t seed = 31;
    float *x = malloc(2 * n * sizeof *x), *y = malloc(n * sizeof *y), *ref = malloc(n * sizeof *ref),
          *first = malloc(n * sizeof *first);
    fc_glu_args a = {.y = ref, .x = x, .T = T, .F = F, .act = act};
    for (size_t i = 0; i < 2 * n; i++) {
        static const float wide[] = {1.0f, 4.0f, 30.0f, 300.0f};
        x[i] = test_normal(&seed) * wide[i % 4]; /* both tails of the activation */
    }
    x[0] = 0.0f;
    assert_ok(fc_glu_ref(NULL, &a));
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
        for (int threads = 1; threads <= 2; threads++) {
            fc_stream st;
            assert_ok(fc_cpu_stream_open((fc_cpu_level)l, threads, 0, 0, &st));
            a.y = y;
            for (size_t i = 0; i < n; i++) y[i] = NAN;
            assert_ok(fc_glu_cpu(st, &a));
            fc_cpu_stream_close(st);
            for (size_t i = 0; i < n; i++)
                if (!(fabs((double)y[i] - (double)ref[i]) <= 2e-6 * fabs((double)ref[i]) + 1e-7))
                    fail_msg("T=%d F=%d act %d level %d: y[%zu]=%.9g, reference %.9g", T, F, (int)act, l, i,
                             (double)y[i], (double)ref[i]);
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
    for (int act = FC_ACT_SILU; act <= FC_ACT_GELU_TANH; act++) {
        run_shape(1, 1, (fc_act)act);
        run_shape(1, 1536, (fc_act)act);
        run_shape(3, 37, (fc_act)act);
        run_shape(5, 4096, (fc_act)act);
        run_shape(2, 9001, (fc_act)act); /* units of 4096 end inside rows */
        run_shape(300, 100, (fc_act)act);
    }
}

static void wrong_arguments_are_refused(void **state) {
    fc_stream st;
    (void)state;
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, 0, &st));
    assert_fails(fc_glu_cpu(st, &(fc_glu_args){.T = 0, .F = 4}), FC_ERR_ARG, "T=0");
    assert_fails(fc_glu_cpu(st, &(fc_glu_args){.T = 1, .F = 0}), FC_ERR_ARG, "F=0");
    assert_fails(fc_glu_cpu(st, &(fc_glu_args){.T = 1, .F = 1, .act = (fc_act)7}), FC_ERR_ARG, "7");
    fc_cpu_stream_close(st);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_meets_the_reference_with_the_same_bits),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
