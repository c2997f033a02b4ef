/* What a benchmark says of its samples: percentiles, intervals, arrivals. */
#include "engine/app/bench/stats.h"
#include "tests/util.h"

enum { MANY = 20000 };

static double of(double p, size_t n, ...) {
    double v[16];
    va_list args;
    va_start(args, n);
    for (size_t i = 0; i < n; i++) v[i] = va_arg(args, double);
    va_end(args);
    stats_sort(v, n);
    return stats_percentile(v, n, p);
}

static void percentiles_are_those_of_textbooks(void **state) {
    (void)state;
    assert_true(of(0.5, 1, 7.0) == 7 && of(0.99, 1, 7.0) == 7 && of(0.0, 1, 7.0) == 7);
    assert_true(of(0.5, 3, 3.0, 1.0, 2.0) == 2);
    assert_true(of(0.5, 4, 4.0, 1.0, 3.0, 2.0) == 2.5);
    assert_true(fabs(of(0.9, 5, 10.0, 20.0, 30.0, 40.0, 50.0) - 46) < 1e-9); /* R: quantile(x, 0.9) */
    assert_true(of(1.0, 3, 1.0, 2.0, 3.0) == 3 && of(0.0, 3, 1.0, 2.0, 3.0) == 1);
    assert_true(isnan(stats_percentile(NULL, 0, 0.5)) && isnan(stats_mean(NULL, 0)));
}

/* If this fails, a p99 of twenty requests is passed off as one. */
static void few_samples_are_called_few(void **state) {
    (void)state;
    assert_true(stats_enough(100, 0.99) && !stats_enough(99, 0.99));
    assert_true(stats_enough(10, 0.9) && !stats_enough(9, 0.9));
    assert_true(stats_enough(2, 0.5) && !stats_enough(1, 0.5));
}

/* An interval of 90 % holds the truth in about nine of ten experiments; fewer, and compare cries wolf. */
static void intervals_cover(void **state) {
    enum { EXPERIMENTS = 120, SAMPLES = 25 };
    uint64_t seed = 17;
    int ratio = 0, mean = 0, difference = 0;
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int k = 0; k < EXPERIMENTS; k++) {
        double a[SAMPLES], b[SAMPLES];
        stats_interval i;
        for (int s = 0; s < SAMPLES; s++) {
            a[s] = 10 + (double)test_normal(&seed);
            b[s] = 12 + (double)test_normal(&seed);
        }
        assert_ok(stats_ratio(a, SAMPLES, b, SAMPLES, 0.9, (uint64_t)k, &i));
        assert_true(i.low <= i.mid && i.mid <= i.high);
        ratio += i.low <= 1.2 && 1.2 <= i.high;
        assert_ok(stats_mean_interval(a, SAMPLES, 0.9, (uint64_t)k, &i));
        mean += i.low <= 10 && 10 <= i.high;
        assert_ok(stats_difference(a, SAMPLES, b, SAMPLES, 0.9, (uint64_t)k, &i));
        difference += i.low <= 2 && 2 <= i.high;
    }
    print_message("of %d intervals of 90 %%: %d, %d and %d hold the truth\n", EXPERIMENTS, ratio, mean, difference);
    assert_in_range(ratio, 95, 118); /* 108, and four standard deviations of a binomial to the low side */
    assert_in_range(mean, 93, 118);  /* of 25 samples they are a little short */
    assert_in_range(difference, 93, 118);
}

/* If this fails, failures of luck are called worse, or real ones luck. */
static void failures_are_told_from_luck(void **state) {
    (void)state;
    assert_true(fabs(stats_by_luck(0, 12, 6, 12) - 924.0 / 134596) < 1e-9); /* all six among 24 fall to one half */
    assert_true(fabs(stats_by_luck(1, 4, 3, 4) - 17.0 / 70) < 1e-9);        /* the tea-tasting lady */
    assert_true(fabs(stats_by_luck(0, 1, 1, 3) - 0.75) < 1e-9);
    assert_true(stats_by_luck(0, 12, 0, 12) == 1 && stats_by_luck(0, 0, 3, 3) == 1 && stats_by_luck(0, 3, 0, 0) == 1);
    assert_true(stats_by_luck(6, 12, 3, 12) == 1 && stats_by_luck(5, 5, 5, 5) == 1);
    assert_true(stats_by_luck(0, 1000000, 1000, 1000000) < 1e-100);
    assert_true(stats_by_luck(500, 1000000, 520, 1000000) > 0.2);
}

static void intervals_are_repeated_by_their_seed(void **state) {
    const double a[] = {1, 2, 3, 4, 5, 6}, b[] = {2, 3, 4, 5, 6, 9};
    stats_interval x, y, z;
    (void)state;
    assert_ok(stats_ratio(a, 6, b, 6, 0.95, 3, &x));
    assert_ok(stats_ratio(a, 6, b, 6, 0.95, 3, &y));
    assert_ok(stats_ratio(a, 6, b, 6, 0.95, 4, &z));
    assert_memory_equal(&x, &y, sizeof x);
    assert_true(x.low != z.low || x.high != z.high);
    assert_true(x.mid == 4.5 / 3.5);
    assert_fails(stats_ratio(a, 0, b, 6, 0.95, 3, &x), FC_ERR_ARG, "0 and 6");
    assert_fails(stats_ratio((const double[]){0, 0}, 2, b, 6, 0.95, 3, &x), FC_ERR_ARG, "no number");
}

/* Gaps are exponential: mean and variance are 1/rate and 1/rate^2, and the share above t is exp(-rate t). */
static void arrivals_are_a_poisson_process(void **state) {
    const double rate = 40;
    uint64_t seed = 99;
    double sum = 0, squares = 0, above = 0;
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < MANY; i++) {
        double gap = stats_gap(&seed, rate);
        assert_true(gap >= 0 && isfinite(gap));
        sum += gap;
        squares += gap * gap;
        above += gap > 0.05;
    }
    sum /= MANY;
    assert_true(fabs(sum * rate - 1) < 4 / sqrt(MANY));
    assert_true(fabs((squares / MANY - sum * sum) * rate * rate - 1) < 4 * sqrt(8.0 / MANY));
    assert_true(fabs(above / MANY - exp(-2)) < 4 * sqrt(exp(-2) * (1 - exp(-2)) / MANY));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_those_of_textbooks),
        cmocka_unit_test(few_samples_are_called_few),
        cmocka_unit_test(intervals_cover),
        cmocka_unit_test(failures_are_told_from_luck),
        cmocka_unit_test(intervals_are_repeated_by_their_seed),
        cmocka_unit_test(arrivals_are_a_poisson_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
