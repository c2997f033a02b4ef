/* The KV pool: what sharing costs, what copies, and the invariants after every one of many random calls. */
#include "engine/kv.h"
#include "kernels/cpu/backend_cpu.h"
#include "kernels/kv/kv_cpu.h"
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

/* A token's mark in the store, written and read where the table says it lies. */
static void mark(fc_kv *kv, int table, int at, float value) {
    int P = fc_kv_store(kv)->shape.P;
    float x[16] = {value};
    fc_kv_put_cpu(fc_kv_store(kv), fc_kv_pages(kv, table)[at / P], at % P, 0, 0, x, x);
}

static float mark_at(const fc_kv *kv, int table, int at) {
    int P = fc_kv_store(kv)->shape.P;
    float k[16], v[16];
    fc_kv_get_cpu(fc_kv_store(kv), fc_kv_pages(kv, table)[at / P], at % P, 0, 0, k, v);
    return k[0];
}

/* Table a with tokens 0..n-1, each marked with its number. */
static int marked_table(fc_kv *kv, int n) {
    int a = -1;
    assert_ok(fc_kv_table_open(kv, &a));
    assert_ok(fc_kv_append(kv, a, n));
    for (int i = 0; i < n; i++) mark(kv, a, i, (float)i);
    return a;
}

/* If this fails, a fork behind the end of a candidate writes into the candidate. */
static void fork_at_sees_the_first_tokens(void **state) {
    fc_backend *be = backend();
    fc_kv *kv = tiny_pool(be, 8, 4, 4, 32);
    int a = marked_table(kv, 11), b, c;
    (void)state;
    assert_ok(fc_kv_fork_at(kv, a, 6, &b));
    assert_int_equal(fc_kv_len(kv, b), 6);
    assert_int_equal(fc_kv_pages_free(kv), 5);
    assert_int_equal(fc_kv_append_cost(kv, b, 1), 1);
    assert_ok(fc_kv_append(kv, b, 1));
    assert_ok(fc_kv_flush(kv));
    mark(kv, b, 6, 99.0f);
    assert_true(mark_at(kv, a, 6) == 6.0f && mark_at(kv, b, 5) == 5.0f);
    assert_fails(fc_kv_fork_at(kv, a, 12, &c), FC_ERR_ARG, "12 of 11");
    assert_ok(fc_kv_fork_at(kv, a, 0, &c));
    assert_int_equal(fc_kv_len(kv, c), 0);
    assert_ok(fc_kv_check(kv));
    fc_kv_close(kv);
    fc_backend_close(be);
}

/* If this fails, a copy takes what somebody else wrote to the page in between. */
static void a_page_stays_until_its_copy_has_run(void **state) {
    fc_backend *be = backend();
    fc_kv *kv = tiny_pool(be, 4, 4, 4, 16);
    int a = marked_table(kv, 2), b, c;
    (void)state;
    assert_ok(fc_kv_fork(kv, a, &b));
    assert_ok(fc_kv_append(kv, b, 1)); /* the copy is queued */
    fc_kv_table_close(kv, a);
    assert_int_equal(fc_kv_pages_free(kv), 2); /* a's page is nobody's, but not free */
    assert_ok(fc_kv_check(kv));
    assert_ok(fc_kv_table_open(kv, &c));
    assert_fails(fc_kv_append(kv, c, 12), FC_ERR_FULL, "3 pages are needed, 2 of 4");
    assert_ok(fc_kv_flush(kv));
    assert_int_equal(fc_kv_pages_free(kv), 3);
    assert_true(mark_at(kv, b, 0) == 0.0f && mark_at(kv, b, 1) == 1.0f);
    assert_ok(fc_kv_append(kv, c, 12));
    assert_ok(fc_kv_check(kv));
    fc_kv_close(kv);
    fc_backend_close(be);
}

/* If this fails, two copies write one page at the same time. */
static void a_copy_to_a_closed_table_is_forgotten(void **state) {
    fc_backend *be = backend();
    fc_kv *kv = tiny_pool(be, 3, 4, 4, 16);
    int a = marked_table(kv, 2), z = marked_table(kv, 3), b, c;
    (void)state;
    mark(kv, z, 0, 50.0f);
    assert_ok(fc_kv_fork(kv, a, &b));
    assert_ok(fc_kv_append(kv, b, 1));
    fc_kv_table_close(kv, b); /* cancelled before the batch */
    assert_ok(fc_kv_check(kv));
    assert_ok(fc_kv_fork(kv, z, &c));
    assert_ok(fc_kv_append(kv, c, 1)); /* the same page, another source */
    assert_ok(fc_kv_check(kv));
    assert_ok(fc_kv_flush(kv));
    assert_true(mark_at(kv, c, 0) == 50.0f && mark_at(kv, c, 2) == 2.0f);
    fc_kv_close(kv);
    fc_backend_close(be);
}

/* If this fails, a branch that splits twice in one step reads a page that is not there yet. */
static void a_copy_of_a_copy_comes_after_it(void **state) {
    fc_backend *be = backend();
    fc_kv *kv = tiny_pool(be, 4, 4, 4, 16);
    int a = marked_table(kv, 3), b, c;
    (void)state;
    assert_ok(fc_kv_fork(kv, a, &b));
    assert_ok(fc_kv_append(kv, b, 1));
    assert_ok(fc_kv_fork_at(kv, b, 2, &c));
    assert_ok(fc_kv_append(kv, c, 1)); /* from b's page, to which a copy is queued */
    assert_ok(fc_kv_check(kv));
    assert_ok(fc_kv_flush(kv));
    assert_true(mark_at(kv, b, 2) == 2.0f && mark_at(kv, c, 1) == 1.0f);
    fc_kv_close(kv);
    fc_backend_close(be);
}

static void count_reads(void *index, int32_t page, bool read) {
    int *count = index;
    count[page] += read ? 1 : -1;
}

/* If this fails, a cached page is lost with the request that computed it, or written by the next one. */
static void held_pages_outlive_their_table(void **state) {
    fc_backend *be = backend();
    fc_kv *kv = tiny_pool(be, 4, 4, 4, 16);
    int a = marked_table(kv, 7), b, reads[4] = {0};
    int32_t whole = fc_kv_pages(kv, a)[0], part = fc_kv_pages(kv, a)[1];
    (void)state;
    fc_kv_watch(kv, count_reads, reads);
    fc_kv_hold(kv, whole);
    fc_kv_hold(kv, part);
    assert_int_equal(fc_kv_readers(kv, part), 1);
    assert_int_equal(fc_kv_append_cost(kv, a, 1), 1); /* the index reads it too: a copy */
    fc_kv_table_close(kv, a);
    assert_int_equal(fc_kv_pages_free(kv), 2);
    assert_int_equal(reads[whole] + reads[part], -2);
    assert_ok(fc_kv_table_open(kv, &b));
    assert_ok(fc_kv_adopt(kv, b, whole));
    assert_ok(fc_kv_adopt_part(kv, b, part, 2));
    assert_int_equal(fc_kv_len(kv, b), 6);
    assert_int_equal(reads[whole], 0); /* the table lists it; of the other one it only wants a copy */
    assert_int_equal(reads[part], -1);
    fc_kv_release(kv, part);
    assert_int_equal(fc_kv_pages_free(kv), 1); /* the copy is still to be made */
    assert_ok(fc_kv_check(kv));
    assert_ok(fc_kv_flush(kv));
    assert_int_equal(fc_kv_pages_free(kv), 2);
    for (int i = 0; i < 6; i++) assert_true(mark_at(kv, b, i) == (float)i);
    fc_kv_release(kv, whole);
    fc_kv_table_close(kv, b);
    assert_int_equal(fc_kv_pages_free(kv), 4);
    assert_ok(fc_kv_check(kv));
    fc_kv_close(kv);
    fc_backend_close(be);
}

/* If this fails, a hit damages a table for which there was no room. */
static void adopting_without_room_changes_nothing(void **state) {
    fc_backend *be = backend();
    fc_kv *kv = tiny_pool(be, 2, 4, 4, 6);
    int a = marked_table(kv, 6), b;
    int32_t page = fc_kv_pages(kv, a)[0];
    (void)state;
    assert_ok(fc_kv_table_open(kv, &b));
    assert_fails(fc_kv_adopt_part(kv, b, page, 3), FC_ERR_FULL, "none of 2 pages");
    assert_int_equal(fc_kv_len(kv, b), 0);
    assert_ok(fc_kv_adopt(kv, b, page));
    assert_fails(fc_kv_adopt(kv, b, page), FC_ERR_ARG, "4 + 4 tokens; a branch holds at most 6");
    assert_int_equal(fc_kv_len(kv, b), 4);
    assert_ok(fc_kv_check(kv));
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
        int P = 1 << test_below(&seed, 6), open[12], n = 0, pages = 5 + test_below(&seed, 60);
        fc_kv *kv = tiny_pool(be, pages, P, 12, 40 * P);
        for (int step = 0; step < 600; step++) {
            int what = test_below(&seed, 14), k = n ? test_below(&seed, n) : 0, page = test_below(&seed, pages);
            if (n == 0 || (what == 0 && n < 12)) assert_ok(fc_kv_table_open(kv, &open[n++]));
            else if (what == 1 && n < 12) assert_ok(fc_kv_fork(kv, open[k], &open[n++]));
            else if (what == 2 && n < 12) {
                int len = test_below(&seed, fc_kv_len(kv, open[k]) + 1);
                assert_ok(fc_kv_fork_at(kv, open[k], len, &open[n++]));
            } else if (what == 3) {
                fc_kv_table_close(kv, open[k]);
                open[k] = open[--n];
            } else if (what == 4) assert_ok(fc_kv_flush(kv));
            else if (what == 5 && fc_kv_held(kv, page)) fc_kv_release(kv, page);
            else if (what == 5 && fc_kv_readers(kv, page) > 0) fc_kv_hold(kv, page);
            else if (what == 6 && fc_kv_readers(kv, page) + fc_kv_held(kv, page) > 0 && n < 12) {
                int part = test_below(&seed, P);
                assert_ok(fc_kv_table_open(kv, &open[n++]));
                assert_ok(fc_kv_adopt(kv, open[n - 1], page));
                if (part && fc_kv_pages_free(kv) > 0) assert_ok(fc_kv_adopt_part(kv, open[n - 1], page, part));
            } else if (what > 6) {
                int more = test_below(&seed, 3 * P + 1), cost = fc_kv_append_cost(kv, open[k], more),
                    free = fc_kv_pages_free(kv);
                fc_status st = fc_kv_append(kv, open[k], more);
                if (st) assert_int_equal(fc_kv_pages_free(kv), free);
                else assert_true(fc_kv_pages_free(kv) >= free - cost); /* more where a full queue ran */
            }
            assert_ok(fc_kv_check(kv));
        }
        for (int page = 0; page < pages; page++)
            if (fc_kv_held(kv, page)) fc_kv_release(kv, page);
        while (n) fc_kv_table_close(kv, open[--n]);
        assert_int_equal(fc_kv_pages_free(kv), fc_kv_pages_total(kv)); /* no copy is left that somebody waits for */
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
        cmocka_unit_test(fork_at_sees_the_first_tokens),
        cmocka_unit_test(a_page_stays_until_its_copy_has_run),
        cmocka_unit_test(a_copy_to_a_closed_table_is_forgotten),
        cmocka_unit_test(a_copy_of_a_copy_comes_after_it),
        cmocka_unit_test(held_pages_outlive_their_table),
        cmocka_unit_test(adopting_without_room_changes_nothing),
        cmocka_unit_test(random_calls_keep_the_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
