#include "tests/util.h"

#include "engine/base/dtype.h"

static void names_go_there_and_back(void **state) {
    fc_dtype t = FC_I8;
    (void)state;
    for (int i = 0; i < FC_DTYPE_COUNT; i++) {
        char low[16];
        const char *name = fc_dtype_name((fc_dtype)i);
        size_t n = strlen(name);
        for (size_t j = 0; j <= n; j++) low[j] = name[j] >= 'A' && name[j] <= 'Z' ? (char)(name[j] + 32) : name[j];
        assert_true(fc_dtype_parse(low, &t));
        assert_int_equal(t, i);
    }
    t = FC_I8;
    assert_false(fc_dtype_parse("Q9_9", &t));
    assert_false(fc_dtype_parse("", &t));
    assert_int_equal(t, FC_I8);
    assert_string_equal(fc_dtype_name(FC_DTYPE_COUNT), "?");
}

static void rows_have_the_formats_sizes(void **state) {
    size_t bytes = 1;
    (void)state;
    assert_ok(fc_dtype_row_bytes(FC_Q4_1, 576, &bytes));
    assert_int_equal(bytes, 576 / 32 * 20);
    assert_ok(fc_dtype_row_bytes(FC_Q6_K, 512, &bytes));
    assert_int_equal(bytes, 420);
    assert_ok(fc_dtype_row_bytes(FC_BF16, 3, &bytes));
    assert_int_equal(bytes, 6);
    assert_ok(fc_dtype_row_bytes(FC_Q8_0, 0, &bytes));
    assert_int_equal(bytes, 0);
    assert_fails(fc_dtype_row_bytes(FC_Q4_K, 576, &bytes), FC_ERR_FORMAT, "576");
    assert_fails(fc_dtype_row_bytes(FC_F32, SIZE_MAX / 2, &bytes), FC_ERR_FORMAT, "address space");
    assert_int_equal(bytes, 0);
}

/* The value of a half by its definition, in double. */
static double half_value(unsigned h) {
    unsigned e = h >> 10 & 31, m = h & 1023;
    double v = e ? ldexp(1.0 + m / 1024.0, (int)e - 15) : ldexp(m / 1024.0, -14);
    if (e == 31) v = m ? NAN : INFINITY;
    return h >> 15 ? -v : v;
}

static void all_halves_are_exact(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float f = fc_f16_to_f32((uint16_t)h);
        double want = half_value(h);
        if (isnan(want)) {
            assert_true(isnan(f));
            assert_int_equal(fc_f32_to_f16(f) & 0x7c00, 0x7c00);
            assert_true(fc_f32_to_f16(f) & 0x3ff);
        } else {
            if ((double)f != want || !signbit(f) != !signbit(want))
                fail_msg("half %04x is %g, not %g", h, (double)f, want);
            assert_int_equal(fc_f32_to_f16(f), h);
        }
    }
}

/* Between neighbours a and b = a + 1 bit: below the middle is a, above is b, the middle goes to the even one. */
static void rounding_to_half_is_to_nearest_even(void **state) {
    (void)state;
    for (unsigned sign = 0; sign < 2; sign++)
        for (unsigned h = 0; h < 0x7c00; h++) {
            double a = half_value(h), b = h + 1 == 0x7c00 ? 65536.0 : half_value(h + 1);
            float middle = (float)((a + b) / 2); /* exact: 12 bits */
            unsigned s = sign << 15, even = h & 1 ? h + 1 : h;
            if (sign) middle = -middle;
            if (fc_f32_to_f16(middle) != (s | even) || fc_f32_to_f16(nextafterf(middle, 0.0f)) != (s | h) ||
                fc_f32_to_f16(nextafterf(middle, sign ? -INFINITY : INFINITY)) != (s | (h + 1)))
                fail_msg("around %a (half %04x): %04x %04x %04x", (double)middle, h,
                         fc_f32_to_f16(nextafterf(middle, 0.0f)), fc_f32_to_f16(middle),
                         fc_f32_to_f16(nextafterf(middle, sign ? -INFINITY : INFINITY)));
        }
    assert_int_equal(fc_f32_to_f16(1e38f), 0x7c00);
    assert_int_equal(fc_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(fc_f32_to_f16(1e-45f), 0);
    assert_int_equal(fc_f32_to_f16(-1e-45f), 0x8000);
}

static void bf16_is_the_upper_half_rounded(void **state) {
    uint64_t seed = 2;
    (void)state;
    for (unsigned b = 0; b < 65536; b++) {
        float f = fc_bf16_to_f32((uint16_t)b);
        uint32_t u;
        memcpy(&u, &f, sizeof u);
        if (!isnan(f)) assert_int_equal(u, b << 16);
        if (!isnan(f)) assert_int_equal(fc_f32_to_bf16(f), b);
        else assert_true(isnan(fc_bf16_to_f32(fc_f32_to_bf16(f))));
    }
    for (int i = 0; i < 200000; i++) {
        uint32_t u = (uint32_t)fc_rng_next(&seed);
        unsigned low, got;
        float f;
        if (i % 4 == 0) u = (u & 0xffff0000u) | 0x8000u; /* ties */
        memcpy(&f, &u, sizeof f);
        if (isnan(f)) {
            assert_true(isnan(fc_bf16_to_f32(fc_f32_to_bf16(f))));
            continue;
        }
        low = u & 0xffffu;
        got = fc_f32_to_bf16(f);
        assert_int_equal(got, (u >> 16) + (low > 0x8000u || (low == 0x8000u && (u >> 16 & 1u))));
    }
    assert_int_equal(fc_f32_to_bf16(3.4028235e38f), 0x7f80); /* rounds to infinity */
    assert_int_equal(fc_f32_to_bf16(-1e-45f), 0x8000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_go_there_and_back),        cmocka_unit_test(rows_have_the_formats_sizes),
        cmocka_unit_test(all_halves_are_exact),           cmocka_unit_test(rounding_to_half_is_to_nearest_even),
        cmocka_unit_test(bf16_is_the_upper_half_rounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
