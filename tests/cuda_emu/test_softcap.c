/* softcap.cu under emulation: within the header's tolerance of the reference, and the bits of every CPU level. */
#include "kernels/cpu/cpu.h"
#include "kernels/softcap/softcap.h"
#include "tests/cuda_emu/util_cuda.h"

enum { GUARD = 8 };

static bool same(float a, float b) { return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b)); }

/* shift: floats by which x misses 16 bytes. */
static void meets_reference_and_cpu(size_t n, size_t shift, float cap, uint64_t seed) {
    static const float wide[] = {0.01f, 1.0f, 30.0f, 500.0f, 1e-30f};
    size_t all = n + shift + GUARD;
    float *x = calloc(all, 4), *got = calloc(all, 4), *ref = calloc(all, 4);
    fc_stream s = device_stream(0), cs;
    uint64_t used = seed;
    for (size_t i = 0; i < all; i++) x[i] = test_normal(&used) * wide[i % 5];
    if (n > 8) x[shift + 1] = INFINITY, x[shift + 2] = -INFINITY, x[shift + 3] = NAN, x[shift + 4] = -0.0f;
    float *d = device_copy(s, x, all * 4);
    memcpy(ref, x, all * 4);
    assert_ok(fc_softcap_cuda(s, &(fc_softcap_args){.x = d + shift, .n = n, .cap = cap}));
    assert_ok(device_sync(s));
    device_read(s, got, d, all * 4);
    assert_ok(fc_softcap_ref(NULL, &(fc_softcap_args){.x = ref + shift, .n = n, .cap = cap}));
    assert_ok(fc_cpu_stream_open(fc_cpu_best(), 1, 0, 0, &cs));
    assert_ok(fc_softcap_cpu(cs, &(fc_softcap_args){.x = x + shift, .n = n, .cap = cap}));
    fc_cpu_stream_close(cs);
    for (size_t i = 0; i < all; i++) { /* what lies before and behind x is as it was in all three */
        if (!(fabs((double)got[i] - (double)ref[i]) <= 1e-6 * (double)cap) && !(isnan(got[i]) && isnan(ref[i])))
            fail_msg("n %zu cap %g seed %llu: x[%zu] = %.9g, reference %.9g", n, (double)cap, (unsigned long long)seed,
                     i, (double)got[i], (double)ref[i]);
        if (!same(got[i], x[i]))
            fail_msg("n %zu cap %g seed %llu: x[%zu] = %.9g, on the CPU %.9g", n, (double)cap, (unsigned long long)seed,
                     i, (double)got[i], (double)x[i]);
    }
    device_free(d);
    device_close(s);
    free(x), free(got), free(ref);
}

static void every_length_meets_reference_and_cpu(void **state) {
    static const size_t lengths[] = {0, 1, 3, 4, 1023, 1024, 2500};
    (void)state;
    for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++)
        for (size_t shift = 0; shift < 2; shift++) {
            each_order(meets_reference_and_cpu(lengths[k], shift, 30.0f, 9 + k));
            meets_reference_and_cpu(lengths[k], shift, 0.7f, 90 + k);
        }
}

static void needs_are_told(void **state) {
    fc_stream s = device_stream(0);
    float x[1];
    (void)state;
    assert_fails(fc_softcap_cuda(s, &(fc_softcap_args){.x = x, .n = 1, .cap = 0.0f}), FC_ERR_ARG, "cap=0");
    assert_fails(fc_softcap_cuda(s, &(fc_softcap_args){.x = x, .n = 1, .cap = -1.0f}), FC_ERR_ARG, "cap=-1");
    assert_fails(fc_softcap_cuda(s, &(fc_softcap_args){.x = x, .n = 1, .cap = INFINITY}), FC_ERR_ARG, "cap=inf");
    assert_fails(fc_softcap_cuda(s, &(fc_softcap_args){.x = x, .n = 1, .cap = NAN}), FC_ERR_ARG, "cap=");
    assert_fails(fc_softcap_cuda(s, &(fc_softcap_args){.x = x, .n = (size_t)1 << 62, .cap = 1}), FC_ERR_ARG,
                 "too many");
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_length_meets_reference_and_cpu),
                                       cmocka_unit_test(needs_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
