/* The server's budget, asked by several threads at once. */
#include "tests/util.h"

#include "engine/app/http/budget.h"

#include <pthread.h>

/* If this fails, what is new leaves nothing for what is under way, or is let in beyond the bound. */
static void the_last_eighth_is_for_what_is_under_way(void **state) {
    http_budget b = {.most = 800};
    (void)state;
    assert_int_equal(http_budget_new(&b), 700);
    assert_true(http_budget_fits(&b, 700));
    assert_false(http_budget_fits(&b, 701));
    assert_true(http_budget_admit(&b, HTTP_BODIES, 600));
    assert_false(http_budget_admit(&b, HTTP_PARSED, 101));
    assert_false(http_budget_fits(&b, 101));
    assert_true(http_budget_take(&b, HTTP_ANSWERS, 200));
    assert_false(http_budget_take(&b, HTTP_ANSWERS, 1));
    assert_false(http_budget_take(&b, HTTP_ANSWERS, SIZE_MAX));
    assert_false(http_budget_admit(&b, HTTP_ANSWERS, SIZE_MAX));
    http_budget_hold(&b, HTTP_UNREAD, 1000); /* it is there */
    assert_int_equal(http_budget_used(&b), 1800);
    assert_false(http_budget_admit(&b, HTTP_BODIES, 0));
    http_budget_give(&b, HTTP_BODIES, 600);
    http_budget_give(&b, HTTP_ANSWERS, 200);
    http_budget_give(&b, HTTP_UNREAD, 1000);
    assert_int_equal(http_budget_used(&b), 0);
    for (int s = 0; s < HTTP_SHARES; s++) assert_int_equal(http_budget_share(&b, (http_share)s), 0);
}

typedef struct {
    http_budget *b;
    uint64_t rng;
    int let_in, refused;
} taker;

static void *take_and_give(void *arg) {
    taker *t = arg;
    for (int i = 0; i < 20000; i++) {
        const http_share s = (http_share)test_below(&t->rng, HTTP_SHARES);
        const size_t size = (size_t)test_below(&t->rng, 500);
        const bool in = i % 2 ? http_budget_take(t->b, s, size) : http_budget_admit(t->b, s, size);
        if (http_budget_used(t->b) > t->b->most) abort();
        t->let_in += in;
        t->refused += !in;
        if (in) http_budget_give(t->b, s, size);
    }
    return NULL;
}

/* If this fails, two that ask at once are both let in, or bytes stay counted that nobody has. */
static void threads_share_it(void **state) {
    http_budget b = {.most = 700};
    taker t[4];
    pthread_t threads[4];
    (void)state;
    for (int i = 0; i < 4; i++) {
        t[i] = (taker){.b = &b, .rng = (uint64_t)i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &t[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(t[i].let_in > 1000);
    }
    assert_int_equal(http_budget_used(&b), 0);
    for (int s = 0; s < HTTP_SHARES; s++) assert_int_equal(http_budget_share(&b, (http_share)s), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_eighth_is_for_what_is_under_way),
        cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
