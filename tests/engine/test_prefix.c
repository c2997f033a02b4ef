/* The prefix index: what is found again, what it costs, and what goes first when pages are wanted. Pages of 4 slots. */
#include "engine/prefix.h"
#include "kernels/cpu/backend_cpu.h"
#include "kernels/kv/kv_cpu.h"
#include "tests/util.h"

enum { P = 4 };

static fc_backend *be;
static fc_kv *kv;
static fc_prefix *index_;

static void open_pool(int pages) {
    assert_ok(fc_backend_open_cpu(
        FC_CPU_AUTO, 1, &(fc_op_limits){.rows = 16, .cols = 64, .vocab = 256, .heads = 2, .head_dim = 16}, &be));
    assert_ok(
        fc_kv_open(be, &(fc_kv_shape){.type = FC_F32, .n_pages = pages, .P = P, .L = 1, .G = 1, .E = 16}, 8, 64, &kv));
    assert_ok(fc_prefix_open(kv, &index_));
}

static void close_pool(void) {
    assert_ok(fc_kv_check(kv));
    fc_prefix_close(index_);
    assert_int_equal(fc_kv_pages_free(kv), fc_kv_pages_total(kv)); /* each test closes its tables */
    fc_kv_close(kv);
    fc_backend_close(be);
}

static void check(void) {
    assert_ok(fc_kv_check(kv));
    assert_ok(fc_prefix_check(index_));
}

/* Letters are ids. */
static int ids_of(const char *text, int32_t *ids) {
    int n = 0;
    for (; text[n]; n++) ids[n] = text[n];
    return n;
}

/* A table with the text in it: what is cached is taken, at most `most`, the rest appended and "computed", each slot's K
 * being its letter. */
static int feed(uint64_t ns, const char *text, int most, int *hit) {
    int32_t ids[64];
    int n = ids_of(text, ids), t = -1;
    assert_ok(fc_kv_table_open(kv, &t));
    assert_ok(fc_prefix_take(index_, ns, ids, n, most, t, hit));
    check();
    assert_ok(fc_kv_append(kv, t, n - *hit));
    assert_ok(fc_kv_flush(kv));
    for (int i = *hit; i < n; i++) {
        float x[16] = {(float)text[i]};
        fc_kv_put_cpu(fc_kv_store(kv), fc_kv_pages(kv, t)[i / P], i % P, 0, 0, x, x);
    }
    for (int i = 0; i < n; i++) {
        float k[16], v[16];
        fc_kv_get_cpu(fc_kv_store(kv), fc_kv_pages(kv, t)[i / P], i % P, 0, 0, k, v);
        if (k[0] != (float)text[i]) fail_msg("\"%s\": slot %d is '%c'", text, i, (int)k[0]);
    }
    check();
    return t;
}

static void finish(uint64_t ns, const char *text, int t) {
    int32_t ids[64];
    int n = ids_of(text, ids);
    assert_ok(fc_prefix_put(index_, ns, ids, n, t, true));
    check();
    fc_kv_table_close(kv, t);
    check();
}

/* A whole request; its hit. */
static int request(uint64_t ns, const char *text) {
    int hit = -1, t = feed(ns, text, 64, &hit);
    finish(ns, text, t);
    return hit;
}

static int cached(const char *text) {
    int32_t ids[64];
    int n = ids_of(text, ids);
    return fc_prefix_match(index_, 1, ids, n, n);
}

/* If this fails, the second request pays for the first one's prompt again. */
static void the_second_request_computes_what_is_new(void **state) {
    int hit;
    (void)state;
    open_pool(8);
    assert_int_equal(request(1, "abcdefghij"), 0);
    assert_int_equal(fc_kv_pages_free(kv), 5);
    assert_int_equal(fc_prefix_evictable(index_), 3);
    int t = feed(1, "abcdefghijkl", 64, &hit);
    assert_int_equal(hit, 10);                 /* two pages shared, two slots of the third copied */
    assert_int_equal(fc_kv_pages_free(kv), 4); /* one page of its own */
    assert_int_equal(fc_prefix_evictable(index_), 1);
    finish(1, "abcdefghijkl", t);
    assert_int_equal(fc_kv_pages_free(kv), 5); /* the whole page has replaced its beginning */
    assert_int_equal(request(1, "abcdefghijkl"), 12);
    assert_int_equal(request(1, "abcdefgX"), 7);
    assert_int_equal(request(1, "Xbcdefgh"), 0);
    fc_prefix_stats s = fc_prefix_counts(index_);
    assert_int_equal(s.lookups, 5);
    assert_int_equal(s.asked_tokens, 50);
    assert_int_equal(s.hit_tokens, 29);
    assert_int_equal(s.partial_copies, 2);
    assert_int_equal(s.pages, 6);
    assert_int_equal(s.idle_pages, 6);
    assert_int_equal(s.evicted_pages, 0);
    close_pool();
}

/* If this fails, a prompt that is all cached leaves no row to draw from. */
static void a_hit_is_no_longer_than_asked(void **state) {
    int hit;
    (void)state;
    open_pool(8);
    (void)request(1, "abcdefgh");
    finish(1, "abcdefgh", feed(1, "abcdefgh", 7, &hit));
    assert_int_equal(hit, 7);
    finish(1, "abcdefgh", feed(1, "abcdefgh", 4, &hit));
    assert_int_equal(hit, 4);
    finish(1, "abcdefgh", feed(1, "abcdefgh", 0, &hit));
    assert_int_equal(hit, 0);
    assert_int_equal(fc_prefix_counts(index_).pages, 2); /* the older ones */
    close_pool();
}

/* If this fails, a request sees what another key has asked. */
static void namespaces_never_meet(void **state) {
    fc_prefix_scope a = {.model = 7, .adapter = 0, .kv_type = FC_BF16, .api_key = "k", .cache_salt = NULL};
    fc_prefix_scope others[] = {
        {.model = 8, .kv_type = FC_BF16, .api_key = "k"},
        {.model = 0, .adapter = 7, .kv_type = FC_BF16, .api_key = "k"},
        {.model = 7, .adapter = 7, .kv_type = FC_BF16, .api_key = "k"},
        {.model = 7, .kv_type = FC_I8, .api_key = "k"},
        {.model = 7, .kv_type = FC_BF16, .api_key = "kk"},
        {.model = 7, .kv_type = FC_BF16, .api_key = NULL},
        {.model = 7, .kv_type = FC_BF16, .api_key = ""},
        {.model = 7, .kv_type = FC_BF16, .api_key = "k", .cache_salt = ""},
        {.model = 7, .kv_type = FC_BF16, .api_key = "k", .cache_salt = "k"},
        {.model = 7, .kv_type = FC_BF16, .cache_salt = "k"},
    };
    enum { OTHERS = sizeof others / sizeof *others };
    (void)state;
    for (int i = 0; i < OTHERS; i++) {
        assert_true(fc_prefix_namespace(&others[i]) != fc_prefix_namespace(&a));
        for (int k = 0; k < i; k++) assert_true(fc_prefix_namespace(&others[i]) != fc_prefix_namespace(&others[k]));
    }
    /* A cache on disk may be keyed by it: from another implementation of the paper's function. */
    assert_true(fc_prefix_namespace(&a) == 0xadec94c97f6cc86fu);
    open_pool(40);
    for (int i = 0; i < OTHERS; i++) assert_int_equal(request(fc_prefix_namespace(&others[i]), "abcdef"), 0);
    assert_int_equal(request(fc_prefix_namespace(&a), "abcdef"), 0);
    assert_int_equal(request(fc_prefix_namespace(&a), "abcdef"), 6);
    assert_int_equal(request(fc_prefix_namespace(&others[3]), "abcdef"), 6);
    close_pool();
}

/* If this fails, a prompt that many ask at once is cached many times. */
static void of_two_that_compute_the_same_the_first_stays(void **state) {
    int hit, a, b;
    (void)state;
    open_pool(8);
    a = feed(1, "abcdefgh", 64, &hit);
    b = feed(1, "abcdefghi", 64, &hit);
    assert_int_equal(hit, 0);
    int32_t first = fc_kv_pages(kv, a)[0];
    finish(1, "abcdefgh", a);
    finish(1, "abcdefghi", b);
    assert_int_equal(fc_prefix_counts(index_).pages, 3);
    assert_int_equal(fc_kv_pages_free(kv), 5);
    a = feed(1, "abcd", 64, &hit);
    assert_int_equal(fc_kv_pages(kv, a)[0], first);
    fc_kv_table_close(kv, a);
    close_pool();
}

/* If this fails, the prompt that all requests begin with is the first to go. */
static void who_was_used_last_goes_last(void **state) {
    (void)state;
    open_pool(8);
    (void)request(1, "aaaabbbb");
    (void)request(1, "aaaacccc");
    (void)request(1, "dddd");
    assert_int_equal(request(1, "aaaabb"), 6); /* inside a page: that is a use as well */
    assert_int_equal(fc_prefix_evict(index_, 1), 1);
    check();
    assert_int_equal(cached("aaaacccc"), 4);
    assert_int_equal(fc_prefix_evict(index_, 1), 1);
    check();
    assert_int_equal(cached("dddd"), 0);
    assert_int_equal(cached("aaaabbbb"), 8);
    assert_int_equal(fc_prefix_evict(index_, 1), 1); /* leaves first */
    check();
    assert_int_equal(cached("aaaabbbb"), 4);
    assert_int_equal(fc_prefix_evict(index_, 5), 1);
    assert_int_equal(fc_prefix_evict(index_, 5), 0);
    assert_int_equal(fc_prefix_counts(index_).evicted_pages, 4);
    close_pool();
}

/* If this fails, a page is taken from under a running request, or admission counts on one that cannot be had. */
static void what_a_table_reads_stays(void **state) {
    int hit, a, b;
    (void)state;
    open_pool(8);
    a = feed(1, "aaaabbbb", 64, &hit);
    b = feed(1, "aaaabbbbcccc", 64, &hit);
    finish(1, "aaaabbbb", a);
    assert_int_equal(fc_prefix_evictable(index_), 2);
    int32_t ids[64];
    int n = ids_of("aaaabbbbcccc", ids);
    assert_ok(fc_prefix_put(index_, 1, ids, n, b, false));
    check();
    /* b has pages of its own for the beginning, but the third one hangs below the first two */
    assert_int_equal(fc_prefix_evictable(index_), 0);
    assert_int_equal(fc_prefix_evict(index_, 3), 0);
    check();
    fc_kv_table_close(kv, b);
    check();
    assert_int_equal(fc_prefix_evictable(index_), 3);
    assert_int_equal(fc_prefix_evict(index_, 3), 3);
    close_pool();
}

/* If this fails, a full pool refuses what it could compute, or gives up the page that it is copying. */
static void a_hit_inside_a_page_needs_a_page(void **state) {
    int hit, t, other;
    (void)state;
    open_pool(4);
    (void)request(1, "aaaabb");
    (void)request(1, "dddd");
    other = feed(1, "eeee", 64, &hit);
    assert_int_equal(fc_kv_pages_free(kv), 0);
    t = feed(1, "aaaabb", 64, &hit);
    assert_int_equal(hit, 6);
    assert_int_equal(cached("dddd"), 0); /* given up for it */
    assert_int_equal(cached("aaaabb"), 6);
    fc_kv_table_close(kv, t);
    fc_kv_table_close(kv, other);
    other = feed(1, "eeeef", 64, &hit);
    assert_int_equal(fc_kv_pages_free(kv), 0);
    t = -1;
    int32_t ids[64];
    int n = ids_of("aaaabb", ids);
    assert_ok(fc_kv_table_open(kv, &t));
    assert_ok(fc_prefix_take(index_, 1, ids, n, n, t, &hit));
    assert_int_equal(hit, 4); /* nothing idle but the page itself */
    check();
    assert_fails(fc_kv_append(kv, t, 2), FC_ERR_FULL, "1 pages are needed");
    assert_int_equal(fc_prefix_evict(index_, 1), 1); /* now it is given up, and the request can go on */
    assert_ok(fc_kv_append(kv, t, 2));
    fc_kv_table_close(kv, t);
    fc_kv_table_close(kv, other);
    close_pool();
}

/* If this fails, a page is given up, filled anew, and only then copied. */
static void a_page_is_given_up_after_its_copy(void **state) {
    int32_t ids[64];
    int hit, n = ids_of("abX", ids), t = -1;
    (void)state;
    open_pool(3);
    (void)request(1, "abcd");
    assert_ok(fc_kv_table_open(kv, &t));
    assert_ok(fc_prefix_take(index_, 1, ids, n, n, t, &hit)); /* queued, not run */
    assert_int_equal(hit, 2);
    assert_int_equal(fc_prefix_evictable(index_), 1);
    assert_int_equal(fc_prefix_evict(index_, 1), 1);
    check();
    assert_int_equal(fc_kv_pages_free(kv), 2);
    float k[16], v[16];
    fc_kv_get_cpu(fc_kv_store(kv), fc_kv_pages(kv, t)[0], 1, 0, 0, k, v);
    assert_true(k[0] == (float)'b');
    fc_kv_table_close(kv, t);
    t = feed(1, "xy", 0, &hit);
    int fork = -1;
    assert_ok(fc_kv_fork(kv, t, &fork));
    assert_ok(fc_kv_append(kv, fork, 1));
    fc_kv_table_close(kv, t);
    assert_int_equal(fc_prefix_evictable(index_), 0);
    assert_int_equal(fc_prefix_evict(index_, 1), 1); /* the closed table's page, which only the copy kept */
    fc_kv_table_close(kv, fork);
    close_pool();
}

/* If this fails, the last branch of a prompt copies a page that it could write, or the page is lost with it. */
static void a_shared_last_page_is_offered_by_its_last_table(void **state) {
    int hit, a, b;
    (void)state;
    open_pool(8);
    a = feed(1, "abcdef", 64, &hit);
    assert_ok(fc_kv_fork(kv, a, &b));
    finish(1, "abcdef", a);
    assert_int_equal(cached("abcdef"), 4);
    assert_int_equal(fc_kv_append_cost(kv, b, 1), 0);
    finish(1, "abcdef", b);
    assert_int_equal(cached("abcdef"), 6);
    assert_int_equal(fc_prefix_counts(index_).pages, 2);
    close_pool();
}

/* If this fails, a page is in the tree twice: under two sets of ids or in two namespaces. */
static void a_page_is_in_the_tree_once(void **state) {
    int32_t ids[64];
    int hit, n = ids_of("abcdefghi", ids), a;
    (void)state;
    open_pool(8);
    a = feed(1, "abcdefghi", 64, &hit);
    assert_ok(fc_prefix_put(index_, 1, ids, 5, a, true));
    check();
    assert_int_equal(cached("abcdefghi"), 5);
    assert_ok(fc_prefix_put(index_, 1, ids, n, a, true)); /* the same page, more of it */
    check();
    assert_int_equal(cached("abcdefghi"), 9);
    assert_ok(fc_prefix_put(index_, 2, ids, n, a, true));
    check();
    assert_int_equal(fc_prefix_match(index_, 2, ids, n, n), 0);
    assert_int_equal(fc_prefix_counts(index_).pages, 3);
    assert_fails(fc_prefix_put(index_, 1, ids, 10, a, false), FC_ERR_ARG, "10 tokens of a table of 9");
    assert_fails(fc_prefix_take(index_, 1, ids, 4, 4, a, &hit), FC_ERR_ARG, "the table has 9 tokens");
    fc_kv_table_close(kv, a);
    close_pool();
}

/* If this fails, an engine that closes while requests run crashes or leaks. */
static void the_index_may_go_first(void **state) {
    int hit, a;
    (void)state;
    open_pool(8);
    (void)request(1, "abcdef");
    a = feed(1, "abcdefgh", 64, &hit);
    fc_prefix_close(index_);
    index_ = NULL;
    assert_ok(fc_kv_check(kv));
    assert_int_equal(fc_kv_pages_free(kv), 6);
    int32_t page = fc_kv_pages(kv, a)[0];
    fc_kv_hold(kv, page); /* nobody is told any more */
    fc_kv_table_close(kv, a);
    fc_kv_release(kv, page);
    close_pool();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_request_computes_what_is_new),
        cmocka_unit_test(a_hit_is_no_longer_than_asked),
        cmocka_unit_test(namespaces_never_meet),
        cmocka_unit_test(of_two_that_compute_the_same_the_first_stays),
        cmocka_unit_test(who_was_used_last_goes_last),
        cmocka_unit_test(what_a_table_reads_stays),
        cmocka_unit_test(a_hit_inside_a_page_needs_a_page),
        cmocka_unit_test(a_page_is_given_up_after_its_copy),
        cmocka_unit_test(a_shared_last_page_is_offered_by_its_last_table),
        cmocka_unit_test(a_page_is_in_the_tree_once),
        cmocka_unit_test(the_index_may_go_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
