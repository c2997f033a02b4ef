/* rope_table.cu under emulation: each value is the double's rounding to f32, or its neighbour where the double lies
 * between the two. */
#include "kernels/rope_kv/rope_kv.h"
#include "tests/cuda_emu/util_cuda.h"

/* Positions: the edges first, then any below most. */
static void meets_libm(int T, int R, int most, float mscale, uint64_t seed) {
    static const int32_t edges[] = {0, 1, 2, 3, 22, 44, 355, 710, 103993, 1 << 20, 131071, INT32_MAX};
    size_t n = (size_t)T * (size_t)R, half = (size_t)R / 2;
    int32_t *pos = calloc((size_t)T, 4);
    float *freq = calloc(half + 1, 4), *got = calloc(n + 1, 4), *ref = calloc(n + 1, 4);
    fc_stream s = device_stream(0);
    uint64_t used = seed;
    int differ = 0;
    for (int t = 0; t < T; t++) pos[t] = t < 12 ? edges[t] : test_below(&used, most);
    for (size_t i = 0; i < half; i++) freq[i] = (float)pow(10000.0, -2.0 * (double)i / R);
    fc_rope_table_args a = {.mscale = mscale, .T = T, .R = R}, r = a;
    a.cs = device_copy(s, NULL, (n + 1) * 4);
    a.pos = device_copy(s, pos, (size_t)T * 4);
    a.inv_freq = device_copy(s, freq, (half + 1) * 4);
    assert_ok(fc_rope_table_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, got, a.cs, (n + 1) * 4);
    r.cs = ref, r.pos = pos, r.inv_freq = freq;
    assert_ok(fc_rope_table_ref(NULL, &r));
    for (size_t i = 0; i < n; i++) {
        size_t t = i / (size_t)R, k = i % (size_t)R;
        float angle = (float)pos[t] * freq[k % half];
        double exact = (k < half ? cos((double)angle) : sin((double)angle)) * (double)mscale;
        double ulp = (double)nextafterf(fabsf(ref[i]), INFINITY) - (double)fabsf(ref[i]);
        if (!(fabs((double)got[i] - exact) <= 0.500001 * ulp))
            fail_msg("R %d pos %d dim %zu seed %llu: %.9g, exactly %.17g", R, pos[t], k, (unsigned long long)seed,
                     (double)got[i], exact);
        differ += memcmp(&got[i], &ref[i], 4) != 0;
    }
    if (differ > (int)(n / 10000)) fail_msg("R %d: %d of %zu values are not the CPU's", R, differ, n);
    assert_true(isnan(got[n]));
    device_free(a.cs);
    device_free((void *)(uintptr_t)a.pos);
    device_free((void *)(uintptr_t)a.inv_freq);
    device_close(s);
    free(pos), free(freq), free(got), free(ref);
}

static void every_size_meets_libm(void **state) {
    (void)state;
    each_order(meets_libm(3, 2, 1, 1.0f, 1));
    each_order(meets_libm(12, 66, 1, 1.0f, 2));
    each_order(meets_libm(40, 130, 1 << 20, 1.2079441f, 3));
    meets_libm(1, 0, 1, 1.0f, 4);
    meets_libm(2000, 128, 1 << 20, 1.0f, 5);
    meets_libm(4000, 16, INT32_MAX, 1.0f, 6);
}

static void needs_are_told(void **state) {
    fc_stream s = device_stream(0);
    (void)state;
    assert_fails(fc_rope_table_cuda(s, &(fc_rope_table_args){.T = 0, .R = 4}), FC_ERR_ARG, "T=0");
    assert_fails(fc_rope_table_cuda(s, &(fc_rope_table_args){.T = 1, .R = 3}), FC_ERR_ARG, "R=3");
    assert_fails(fc_rope_table_cuda(s, &(fc_rope_table_args){.T = 1, .R = -2}), FC_ERR_ARG, "R=-2");
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_size_meets_libm), cmocka_unit_test(needs_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
