#include "tests/util.h"

/* The known answers published with the Random123 library (kat_vectors, philox4x32-10). */
static void philox_gives_the_published_answers(void **state) {
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } kat[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0}, /* digits of pi */
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)state;
    for (size_t k = 0; k < sizeof kat / sizeof *kat; k++) {
        uint32_t out[4];
        fc_philox(kat[k].counter, kat[k].key, out);
        for (int i = 0; i < 4; i++) assert_int_equal(out[i], kat[k].want[i]);
    }
}

/* The key of a draw is (seed, candidate, attempt, position): the first two words, 53 bits, the high word first. */
static void a_draw_is_a_function_of_its_key(void **state) {
    const uint32_t counter[4] = {3, 1, 40, 0}, key[2] = {0x89abcdef, 0x01234567};
    uint32_t out[4];
    double u = fc_rng_uniform(0x0123456789abcdef, 3, 1, 40), base = fc_rng_uniform(1, 2, 3, 4);
    (void)state;
    fc_philox(counter, key, out);
    assert_true(u == ((double)out[0] * 0x1p21 + (double)(out[1] >> 11)) * 0x1p-53);
    assert_true(base == fc_rng_uniform(1, 2, 3, 4));
    assert_true(base != fc_rng_uniform(1 + ((uint64_t)1 << 32), 2, 3, 4));
    assert_true(base != fc_rng_uniform(2, 2, 3, 4));
    assert_true(base != fc_rng_uniform(1, 3, 3, 4));
    assert_true(base != fc_rng_uniform(1, 2, 4, 4));
    assert_true(base != fc_rng_uniform(1, 2, 3, 5));
}

/* Chi-square over 64 equal cells, 2^17 draws in each direction of the key: 63 degrees of freedom, and 140 is passed
 * with a chance of about 1e-7. */
static void draws_are_uniform_along_every_axis(void **state) {
    enum { CELLS = 64, N = 1 << 17 };
    (void)state;
    for (int axis = 0; axis < 4; axis++) {
        int count[CELLS] = {0};
        double chi = 0, expect = (double)N / CELLS, least = 1, most = 0;
        for (uint32_t i = 0; i < N; i++) {
            double u = fc_rng_uniform(axis == 0 ? i : 9, axis == 1 ? i : 9, axis == 2 ? i : 9, axis == 3 ? i : 9);
            assert_true(u >= 0.0 && u < 1.0);
            count[(int)(u * CELLS)]++;
            if (u < least) least = u;
            if (u > most) most = u;
        }
        for (int c = 0; c < CELLS; c++) chi += (count[c] - expect) * (count[c] - expect) / expect;
        print_message("axis %d: chi-square %.1f\n", axis, chi);
        assert_true(chi < 140.0);
        assert_true(least < 1e-3 && most > 1 - 1e-3);
    }
}

static void the_test_stream_is_splitmix64(void **state) {
    uint64_t s = 1234567; /* the published first outputs for this seed */
    (void)state;
    assert_true(fc_rng_next(&s) == 6457827717110365317u);
    assert_true(fc_rng_next(&s) == 3203168211198807973u);
    assert_true(fc_rng_next(&s) == 9817491932198370423u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_answers),
        cmocka_unit_test(a_draw_is_a_function_of_its_key),
        cmocka_unit_test(draws_are_uniform_along_every_axis),
        cmocka_unit_test(the_test_stream_is_splitmix64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
