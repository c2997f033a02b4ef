/* The KV pool: what sharing costs, what copies, and the invariants after every one of many random calls. */
#include "engine/kv.h"
#include "tests/util.h"

static fc_backend *backend(void) {
    fc_backend *be;
    assert_ok(fc_backend_open_cpu(
        FC_CPU_AUTO, 1, &(fc_op_limits){.rows = 16, .cols = 64, .vocab = 256, .heads = 2, .head_dim = 16}, &be));
    return be;
}

static fc_kv *tiny_pool(fc_backend *be, int pages, int P, int tables, int max_len) {
    fc_kv *kv;
    assert_ok(fc_kv_open(be, &(fc_kv_shape){.type = FC_F32, .n_pages = pages, .P = P, .L = 1, .G = 1, .E = 16}, tables,
                         max_len, &kv));
    return kv;
}

/* If this fails, n-way sampling takes n times the memory. */
static void fork_costs_no_page(void **state) {
    fc_backend *be = backend();
    fc_kv *kv = tiny_pool(be, 8, 4, 4, 32);
    int a, b;
    (void)state;
    assert_ok(fc_kv_table_open(kv, &a));
    assert_ok(fc_kv_append(kv, a, 6)); /* 2 pages, the second half full */
    assert_ok(fc_kv_fork(kv, a, &b));
    assert_int_equal(fc_kv_pages_free(kv), 6);
    assert_int_equal(fc_kv_append_cost(kv, b, 1), 1);
    assert_ok(fc_kv_append(kv, b, 1)); /* copies the shared half page */
    assert_int_equal(fc_kv_pages_free(kv), 5);
    assert_int_equal(fc_kv_append_cost(kv, a, 1), 0); /* alone on its page again */
    assert_ok(fc_kv_check(kv));
    fc_kv_close(kv);
    fc_backend_close(be);
}

/* If this fails, a full pool damages the branch that asked. */
static void full_leaves_the_table_as_it_was(void **state) {
    fc_backend *be = backend();
    fc_kv *kv = tiny_pool(be, 3, 4, 4, 64);
    int a, b;
    (void)state;
    assert_ok(fc_kv_table_open(kv, &a));
    assert_ok(fc_kv_append(kv, a, 10));
    assert_ok(fc_kv_fork(kv, a, &b));
    assert_fails(fc_kv_append(kv, b, 1), FC_ERR_FULL, "1 pages are needed, 0 of 3 are free");
    assert_int_equal(fc_kv_len(kv, b), 10);
    assert_fails(fc_kv_append(kv, a, 55), FC_ERR_ARG, "at most 64");
    assert_ok(fc_kv_check(kv));
    fc_kv_table_close(kv, a);
    assert_ok(fc_kv_append(kv, b, 1));
    fc_kv_table_close(kv, b);
    assert_int_equal(fc_kv_pages_free(kv), 3);
    assert_ok(fc_kv_check(kv));
    fc_kv_close(kv);
    fc_backend_close(be);
}

static void tables_run_out_cleanly(void **state) {
    fc_backend *be = backend();
    fc_kv *kv = tiny_pool(be, 3, 4, 2, 8);
    int a, b, c;
    (void)state;
    assert_ok(fc_kv_table_open(kv, &a));
    assert_ok(fc_kv_fork(kv, a, &b));
    assert_fails(fc_kv_fork(kv, a, &c), FC_ERR_FULL, "all 2 branches");
    fc_kv_close(kv);
    fc_backend_close(be);
}

/* Pages by number: two tables share exactly the pages of their common past. */
static void random_calls_keep_the_invariants(void **state) {
    uint64_t seed = 20261123;
    fc_backend *be = backend();
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 20; round++) {
        int P = 1 << test_below(&seed, 6), open[12], n = 0;
        fc_kv *kv = tiny_pool(be, 5 + test_below(&seed, 60), P, 12, 40 * P);
        for (int step = 0; step < 400; step++) {
            int what = test_below(&seed, 10), k = n ? test_below(&seed, n) : 0;
            if (n == 0 || (what == 0 && n < 12)) assert_ok(fc_kv_table_open(kv, &open[n++]));
            else if (what <= 2 && n < 12) assert_ok(fc_kv_fork(kv, open[k], &open[n++]));
            else if (what == 3) {
                assert_ok(fc_kv_flush(kv));
                fc_kv_table_close(kv, open[k]);
                open[k] = open[--n];
            } else {
                int more = test_below(&seed, 3 * P + 1), cost = fc_kv_append_cost(kv, open[k], more),
                    free = fc_kv_pages_free(kv);
                fc_status st = fc_kv_append(kv, open[k], more);
                if (st == FC_OK) assert_int_equal(fc_kv_pages_free(kv), free - cost);
                else assert_int_equal(fc_kv_pages_free(kv), free);
            }
            assert_ok(fc_kv_check(kv));
        }
        assert_ok(fc_kv_flush(kv));
        while (n) fc_kv_table_close(kv, open[--n]);
        assert_int_equal(fc_kv_pages_free(kv), fc_kv_pages_total(kv));
        assert_ok(fc_kv_check(kv));
        fc_kv_close(kv);
    }
    fc_backend_close(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fork_costs_no_page),
        cmocka_unit_test(full_leaves_the_table_as_it_was),
        cmocka_unit_test(tables_run_out_cleanly),
        cmocka_unit_test(random_calls_keep_the_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
