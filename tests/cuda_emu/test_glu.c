/* glu.cu under emulation: within the header's tolerance of the reference, and the bits of every CPU level. */
#include "kernels/cpu/cpu.h"
#include "kernels/glu/glu.h"
#include "tests/cuda_emu/util_cuda.h"

typedef struct {
    int T, F, shift; /* shift: floats by which x and y miss 16 bytes */
} shape;

static const shape shapes[] = {{1, 1, 0}, {3, 37, 0}, {2, 1024, 0}, {3, 1100, 0}, {2, 1100, 1}, {5, 64, 3}};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], GUARD = 8 };

static bool same(float a, float b) { return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b)); }

static void meets_reference_and_cpu(const shape *c, fc_act act, uint64_t seed) {
    static const float wide[] = {1.0f, 4.0f, 30.0f, 300.0f}; /* both tails of the activation */
    size_t n = (size_t)c->T * (size_t)c->F, at = (size_t)c->shift, guarded = n + at + GUARD;
    float *x = calloc(2 * n + at, 4), *y = calloc(guarded, 4), *ref = calloc(n, 4), *cpu = calloc(n, 4);
    fc_stream s = device_stream(0), cs;
    fc_glu_args a = {.T = c->T, .F = c->F, .act = act}, host = {.x = x + at, .T = c->T, .F = c->F, .act = act};
    uint64_t used = seed;
    float *dx, *dy;
    for (size_t i = 0; i < 2 * n; i++) x[at + i] = test_normal(&used) * wide[i % 4];
    if (n > 8) x[at] = NAN, x[at + 1] = INFINITY, x[at + 2] = -INFINITY, x[at + 3] = 0.0f, x[at + 4] = -0.0f;
    dx = device_copy(s, x, (2 * n + at) * 4);
    dy = device_copy(s, NULL, guarded * 4);
    a.x = dx + at;
    a.y = dy + at;
    assert_ok(fc_glu_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, y, dy, guarded * 4);
    host.y = ref;
    assert_ok(fc_glu_ref(NULL, &host));
    host.y = cpu;
    assert_ok(fc_cpu_stream_open(fc_cpu_best(), 1, 0, 0, &cs));
    assert_ok(fc_glu_cpu(cs, &host));
    fc_cpu_stream_close(cs);
    for (size_t i = 0; i < n; i++) {
        float got = y[at + i];
        if (!(fabs((double)got - (double)ref[i]) <= 2e-6 * fabs((double)ref[i]) + 1e-7) && isfinite(ref[i]))
            fail_msg("T %d F %d act %d seed %llu: y[%zu] = %.9g, reference %.9g", c->T, c->F, (int)act,
                     (unsigned long long)seed, i, (double)got, (double)ref[i]);
        if (!same(got, cpu[i]))
            fail_msg("T %d F %d act %d seed %llu: y[%zu] = %.9g, on the CPU %.9g", c->T, c->F, (int)act,
                     (unsigned long long)seed, i, (double)got, (double)cpu[i]);
    }
    for (size_t i = 0; i < guarded; i++)
        if ((i < at || i >= at + n) && !isnan(y[i])) fail_msg("T %d F %d: wrote outside y, at %zu", c->T, c->F, i);
    device_free(dx);
    device_free(dy);
    device_close(s);
    free(x), free(y), free(ref), free(cpu);
}

static void every_form_meets_reference_and_cpu(void **state) {
    (void)state;
    for (int k = 0; k < N_SHAPES; k++)
        for (int act = FC_ACT_SILU; act <= FC_ACT_GELU_TANH; act++)
            each_order(meets_reference_and_cpu(&shapes[k], (fc_act)act, 31 + (uint64_t)k));
}

static void needs_are_told(void **state) {
    fc_stream s = device_stream(0);
    (void)state;
    assert_fails(fc_glu_cuda(s, &(fc_glu_args){.T = 0, .F = 4}), FC_ERR_ARG, "T=0");
    assert_fails(fc_glu_cuda(s, &(fc_glu_args){.T = 1, .F = 0}), FC_ERR_ARG, "F=0");
    assert_fails(fc_glu_cuda(s, &(fc_glu_args){.T = 1, .F = 1, .act = (fc_act)7}), FC_ERR_ARG, "7");
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_form_meets_reference_and_cpu),
                                       cmocka_unit_test(needs_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
