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

/* The value of an E4M3 by its definition, in double. */
static double f8_value(unsigned c) {
    unsigned e = c >> 3 & 15, m = c & 7;
    double v = e ? ldexp(1.0 + m / 8.0, (int)e - 7) : ldexp(m / 8.0, -6);
    if ((c & 0x7f) == 0x7f) v = NAN;
    return c >> 7 ? -v : v;
}

static void all_f8_are_exact(void **state) {
    (void)state;
    assert_string_equal(fc_dtype_name(FC_F8), "F8_E4M3");
    assert_true(fc_f8_to_f32(0x7e) == 448.0f && fc_f8_to_f32(0x81) == -0x1p-9f);
    for (unsigned c = 0; c < 256; c++) {
        float f = fc_f8_to_f32((uint8_t)c);
        double want = f8_value(c);
        if (isnan(want)) {
            assert_true(isnan(f));
        } else if ((double)f != want || !signbit(f) != !signbit(want)) {
            fail_msg("code %02x is %g, not %g", c, (double)f, want);
        }
        assert_int_equal(fc_f32_to_f8(f), c); /* NaN too: it keeps its sign */
    }
}

static void rounding_to_f8_is_to_nearest_even(void **state) {
    (void)state;
    for (unsigned sign = 0; sign < 2; sign++)
        for (unsigned c = 0; c < 0x7e; c++) {
            float middle = (float)((f8_value(c) + f8_value(c + 1)) / 2); /* exact: 5 bits */
            unsigned s = sign << 7, even = c & 1 ? c + 1 : c;
            if (sign) middle = -middle;
            if (fc_f32_to_f8(middle) != (s | even) || fc_f32_to_f8(nextafterf(middle, 0.0f)) != (s | c) ||
                fc_f32_to_f8(nextafterf(middle, sign ? -INFINITY : INFINITY)) != (s | (c + 1)))
                fail_msg("around %a (code %02x): %02x %02x %02x", (double)middle, c,
                         fc_f32_to_f8(nextafterf(middle, 0.0f)), fc_f32_to_f8(middle),
                         fc_f32_to_f8(nextafterf(middle, sign ? -INFINITY : INFINITY)));
        }
}

/* There is no infinity: what is too large becomes the largest, and does not turn into NaN. */
static void f8_saturates_and_keeps_nan(void **state) {
    static const float large[] = {448.5f, 463.9f, 464.0f, 480.0f, 512.0f, 1e38f, INFINITY};
    uint64_t seed = 3;
    (void)state;
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        assert_int_equal(fc_f32_to_f8(large[i]), 0x7e);
        assert_int_equal(fc_f32_to_f8(-large[i]), 0xfe);
    }
    assert_int_equal(fc_f32_to_f8(1e-45f), 0);
    assert_int_equal(fc_f32_to_f8(-1e-45f), 0x80);
    for (int i = 0; i < 100000; i++) { /* any bits: the nearest of all codes */
        uint32_t u = (uint32_t)fc_rng_next(&seed);
        unsigned got;
        float f;
        if (i % 2) u = (u & 0x80ffffffu) | (0x3a000000u + (uint32_t)test_below(&seed, 12) * 0x01000000u);
        memcpy(&f, &u, sizeof f);
        got = fc_f32_to_f8(f);
        if (isnan(f)) {
            assert_int_equal(got & 0x7f, 0x7f);
            continue;
        }
        assert_int_equal(got >> 7, u >> 31);
        for (unsigned c = got & 0x80; c < (got & 0x80) + 0x7f; c++)
            if (fabs((double)f - f8_value(c)) < fabs((double)f - f8_value(got)))
                fail_msg("%a became %02x; %02x is nearer", (double)f, got, c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_go_there_and_back),
        cmocka_unit_test(rows_have_the_formats_sizes),
        cmocka_unit_test(all_halves_are_exact),
        cmocka_unit_test(rounding_to_half_is_to_nearest_even),
        cmocka_unit_test(bf16_is_the_upper_half_rounded),
        cmocka_unit_test(all_f8_are_exact),
        cmocka_unit_test(rounding_to_f8_is_to_nearest_even),
        cmocka_unit_test(f8_saturates_and_keeps_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
