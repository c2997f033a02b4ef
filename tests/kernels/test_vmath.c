/* exp and tanh: their error against libm in double, and one set of bits on every vector unit. */
#include "kernels/cpu/vmath.h"
#include "kernels/logprob/tile.h"
#include "kernels/softcap/softcap_levels.h"
#include "tests/util.h"

static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Distance in units of the last place of the true value, which is positive. */
static double ulps(float y, double truth) {
    float f = (float)truth;
    return fabs((double)y - truth) / ((double)nextafterf(f, INFINITY) - (double)f);
}

enum { STEP = 5003 }; /* every 5003rd of all f32 values: 860,000 */

static void exp_is_within_an_ulp(void **state) {
    double worst = 0.0;
    (void)state;
    for (uint64_t u = 0; u < 1ull << 32; u += STEP) {
        float x = from_bits((uint32_t)u);
        if (x >= -87.3f && x <= 88.3f) worst = fmax(worst, ulps(fc_expf(x), exp((double)x)));
    }
    print_message("exp: %.3f ulp\n", worst);
    assert_true(worst < 1.0);
    assert_true(fc_expf(0.0f) == 1.0f && fc_expf(-0.0f) == 1.0f);
    assert_true(fc_expf(-INFINITY) == 0.0f && fc_expf(-87.31f) == 0.0f && fc_expf(-3e38f) == 0.0f);
    assert_true(fc_expf(-87.3f) > 1.17549435e-38f); /* never a subnormal */
    assert_true(isfinite(fc_expf(INFINITY)) && fc_expf(INFINITY) == fc_expf(88.3f));
    assert_true(isnan(fc_expf(NAN)));
}

static void tanh_is_within_two_ulp(void **state) {
    double worst = 0.0;
    (void)state;
    for (uint64_t u = 0; u < 0x7f800000u; u += STEP) {
        float x = from_bits((uint32_t)u);
        if (x < 1e-35f) continue; /* an ulp there is not a number that a result could be rounded to */
        worst = fmax(worst, ulps(fc_tanhf(x), tanh((double)x)));
        assert_true(fc_tanhf(-x) == -fc_tanhf(x));
    }
    print_message("tanh: %.3f ulp\n", worst);
    assert_true(worst < 1.4);
    assert_true(fc_tanhf(INFINITY) == 1.0f && fc_tanhf(-INFINITY) == -1.0f && fc_tanhf(9.1f) == 1.0f);
    assert_true(isnan(fc_tanhf(NAN)));
}

/* If this fails, one request gives other bits on another machine, or another `--cpu`. */
static void levels_agree_bit_for_bit(void **state) {
    static const fc_softcap_run runs[] = {NULL, fc_softcap_run_portable, fc_softcap_run_avx2, fc_softcap_run_avx2,
                                          fc_softcap_run_avx512};
    float x[FC_TILE], w[FC_TILE], t[FC_TILE];
    uint64_t u = 0;
    (void)state;
    while (u < 1ull << 32) {
        for (int i = 0; i < FC_TILE; i++, u += STEP) x[i] = from_bits((uint32_t)u);
        for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++) {
            memcpy(t, x, sizeof t);
            fc_tile_ops_of((fc_cpu_level)l)->weights(x, FC_TILE, 0.0f, 1.0f, w);
            runs[l](t, FC_TILE, 1.0f, 1.0f);
            for (int i = 0; i < FC_TILE; i++) {
                float e = fc_expf(x[i]), h = fc_tanhf(x[i]);
                if (isnan(x[i])) assert_true(isnan(w[i]) && isnan(t[i]));
                else if (memcmp(w + i, &e, 4) || memcmp(t + i, &h, 4))
                    fail_msg("level %d: x=%.9g exp %.9g, not %.9g; tanh %.9g, not %.9g", l, (double)x[i], (double)w[i],
                             (double)e, (double)t[i], (double)h);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_an_ulp),
        cmocka_unit_test(tanh_is_within_two_ulp),
        cmocka_unit_test(levels_agree_bit_for_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
