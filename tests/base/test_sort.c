#include "tests/util.h"

#include "engine/base/sort.h"

static int by_value(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

/* All lengths up to 300, of ids with and without many equals. */
static void ids_rise(void **state) {
    enum { MOST = 300 };
    uint64_t seed = 31;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int n = 0; n <= MOST; n++)
        for (int range = 3; range <= 3000; range *= 1000) {
            int32_t a[MOST + 1], b[MOST];
            for (int i = 0; i < n; i++) a[i] = b[i] = test_below(&seed, range) - range / 2;
            a[n] = INT32_MIN; /* not to be touched */
            fc_sort_ids(a, n);
            qsort(b, (size_t)n, sizeof *b, by_value);
            assert_memory_equal(a, b, (size_t)n * sizeof *a);
            assert_int_equal(a[n], INT32_MIN);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_rise)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
