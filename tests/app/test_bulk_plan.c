/* The plan of a bulk job: every history once, neighbours that share, shards that meet and do not overlap. */
#include "engine/app/bulk/plan.h"
#include "tests/util.h"

static const char *const names[] = {"Tea", "Chess", "Go", "Maps", "Jazz", "Rock"};
enum { N = 6 };

static int64_t power(int64_t n, int k) { return k ? n * power(n, k - 1) : 1; }

/* How many, by going through all tuples. */
static int64_t counted(const plan_shape *s) {
    int64_t found = 0;
    for (int64_t i = 0; i < power(N, s->clusters); i++) {
        int at[3];
        bool ok = true;
        int64_t rest = i;
        for (int k = 0; k < s->clusters; k++, rest /= N) at[k] = (int)(rest % N);
        for (int k = 0; k < s->clusters; k++)
            for (int j = 0; j < k; j++) {
                ok = ok && (s->self || at[j] != at[k]);
                ok = ok && (!s->set || at[j] <= at[k]);
            }
        found += ok;
    }
    return found;
}

/* If this fails, a table lacks histories or computes some twice, or neighbours do not share their beginnings. */
static void every_history_once_and_in_order(void **state) {
    (void)state;
    for (int i = 0; i < 12; i++) {
        const plan_shape shape = {.clusters = i % 3 + 1, .set = i / 3 % 2, .self = i / 6};
        char last[128] = "";
        plan p = {0};
        assert_ok(plan_histories(&p, names, N, &shape));
        assert_int_equal(p.total, counted(&shape));
        assert_true(p.first == 0 && p.end == p.total);
        for (int64_t k = 0; k < p.total; k++) {
            plan_item item;
            assert_ok(plan_at(&p, k, &item));
            assert_true(strcmp(last, item.key) < 0); /* rising: none twice, and depth first */
            assert_int_equal(item.holes.n_history, shape.clusters);
            for (int a = 0; a + 1 < shape.clusters; a++) {
                const int c = strcmp(item.holes.history[a], item.holes.history[a + 1]);
                if (shape.set) assert_true(shape.self ? c <= 0 : c < 0);
                else if (!shape.self) assert_true(c != 0);
            }
            snprintf(last, sizeof last, "%s", item.key);
        }
        plan_close(&p);
    }
}

/* The production size: 761 names. */
static void numbers_of_the_method(void **state) {
    enum { MANY = 761 };
    static char texts[MANY][16];
    static const char *many[MANY];
    plan p = {0};
    plan_item item;
    (void)state;
    for (int i = 0; i < MANY; i++) {
        snprintf(texts[i], sizeof texts[i], "n%03d", i);
        many[i] = texts[i];
    }
    assert_ok(plan_histories(&p, many, MANY, &(plan_shape){.clusters = 2, .self = true}));
    assert_int_equal(p.total, 579121);
    assert_ok(plan_at(&p, 579120, &item));
    assert_string_equal(item.key, "n760\tn760");
    plan_close(&p);
    p = (plan){0};
    assert_ok(plan_histories(&p, many, MANY, &(plan_shape){.clusters = 2, .set = true}));
    assert_int_equal(p.total, 289180);
    plan_close(&p);
    p = (plan){0};
    assert_ok(plan_histories(&p, many, MANY, &(plan_shape){.clusters = 3, .self = true}));
    assert_int_equal(p.total, 440711081);
    assert_ok(plan_at(&p, p.total - 2, &item));
    assert_string_equal(item.key, "n760\tn760\tn759");
    plan_close(&p);
}

static void shards_meet(void **state) {
    (void)state;
    for (int n = 1; n <= 30; n++) {
        int64_t at = 0;
        for (int i = 1; i <= n; i++) {
            plan p = {0};
            char text[16];
            assert_ok(plan_histories(&p, names, N, &(plan_shape){.clusters = 2}));
            snprintf(text, sizeof text, "%d/%d", i, n);
            assert_ok(plan_shard(&p, text));
            assert_true(p.first == at && p.end > p.first && p.end - p.first <= p.total / n + 1);
            at = p.end;
            plan_close(&p);
        }
        assert_int_equal(at, 30);
    }
}

static void what_cannot_be_planned(void **state) {
    static const char *const wrong[] = {"", "1", "0/2", "3/2", "1/2x", "-1/2", "1/0", "a/b"};
    plan p = {0};
    (void)state;
    assert_fails(plan_histories(&p, names, 1, &(plan_shape){.clusters = 2}), FC_ERR_ARG,
                 "2 different names are needed");
    plan_close(&p);
    p = (plan){0};
    assert_fails(plan_histories(&p, names, 0, &(plan_shape){.clusters = 2}), FC_ERR_ARG, "need a taxonomy");
    plan_close(&p);
    p = (plan){0};
    assert_ok(plan_histories(&p, names, 2, &(plan_shape){.clusters = 2}));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(plan_shard(&p, wrong[i]), FC_ERR_ARG, "is not I/N");
    assert_fails(plan_shard(&p, "1/3"), FC_ERR_ARG, "3 shards, and 2 keys");
    plan_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_history_once_and_in_order),
        cmocka_unit_test(numbers_of_the_method),
        cmocka_unit_test(shards_meet),
        cmocka_unit_test(what_cannot_be_planned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
