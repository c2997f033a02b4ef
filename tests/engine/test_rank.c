/* Ranking against its definition: order, ties, what has no score, and who is kept where the kept may share nothing. */
#include "engine/names.h"
#include "engine/rank.h"
#include "tests/util.h"

enum { MAX = 40, TAGS = 12 };

typedef struct {
    fc_rank_item item[MAX];
    int32_t tag[MAX][4];
    int n;
} set;

/* Few different keys, so that ties are common; some have none. */
static void random_set(uint64_t *seed, set *s) {
    s->n = 1 + test_below(seed, MAX);
    for (int i = 0; i < s->n; i++) {
        double key = test_below(seed, 6) ? test_below(seed, 9) * 0.5 - 2 : -INFINITY;
        s->item[i] = (fc_rank_item){.index = i, .key = key, .tags = s->tag[i], .n_tags = test_below(seed, 4)};
        for (int t = 0; t < 4; t++) s->tag[i][t] = test_below(seed, TAGS);
    }
}

static void shuffle(uint64_t *seed, fc_rank_item *items, int n) {
    for (int i = n - 1; i > 0; i--) {
        int k = test_below(seed, i + 1);
        fc_rank_item t = items[i];
        items[i] = items[k];
        items[k] = t;
    }
}

/* If this fails, `score` or `blend` does not mean what the documents say. */
static void keys_are_the_plain_sum(void **state) {
    (void)state;
    assert_true(fc_rank_key(-2, -8, true, 0) == -2);
    assert_true(fc_rank_key(-2, -8, true, 1) == -8);
    assert_true(fc_rank_key(-2, -8, true, 0.25) == -3.5);
    assert_true(fc_rank_key(NAN, -8, false, 0) == -8);      /* not scored */
    assert_true(fc_rank_key(-2, -INFINITY, true, 0) == -2); /* a weight of 0 leaves its term out */
    assert_true(fc_rank_key(-2, NAN, true, 0) == -2);
    for (int b = 0; b <= 4; b++) assert_true(fc_rank_key(NAN, -8, true, b * 0.25) == -INFINITY);
    assert_true(fc_rank_key(-2, NAN, true, 0.5) == -INFINITY);
    assert_true(fc_rank_key(INFINITY, -INFINITY, true, 0.5) == -INFINITY); /* a sum that is no number */
    assert_true(fc_rank_key(NAN, NAN, false, 0) == -INFINITY);
}

/* If this fails, equal candidates change places between runs. */
static void order_is_the_one_order(void **state) {
    uint64_t seed = 31;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 2000; round++) {
        set s;
        fc_rank_item sorted[MAX];
        random_set(&seed, &s);
        memcpy(sorted, s.item, sizeof sorted);
        shuffle(&seed, sorted, s.n);
        fc_rank_sort(sorted, s.n);
        for (int i = 0; i < s.n; i++) { /* the place of an item is the number of those before it */
            int before = 0;
            for (int k = 0; k < s.n; k++)
                before += s.item[k].key > s.item[i].key || (s.item[k].key == s.item[i].key && k < i);
            assert_int_equal(sorted[before].index, i);
        }
    }
}

static bool share(const fc_rank_item *a, const fc_rank_item *b) {
    for (int i = 0; i < a->n_tags; i++)
        for (int k = 0; k < b->n_tags; k++)
            if (a->tags[i] == b->tags[k]) return true;
    return false;
}

/* If this fails, two of the kept have a keyword in common, or somebody was left out for nothing. */
static void kept_is_the_greedy_choice(void **state) {
    uint64_t seed = 32;
    fc_arena arena;
    fc_rank_marks marks;
    int fewer = 0;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    fc_arena_init(&arena);
    assert_ok(fc_rank_marks_open(&arena, TAGS, &marks)); /* one for all rounds: none remembers the one before */
    for (int round = 0; round < 3000; round++) {
        set s;
        int k, n, kept[MAX], naive[MAX], n_naive = 0;
        random_set(&seed, &s);
        k = 1 + test_below(&seed, s.n);
        fc_rank_sort(s.item, s.n);
        n = fc_rank_keep(s.item, s.n, k, &marks, kept);
        for (int i = 0; i < s.n && n_naive < k; i++) {
            bool clash = false;
            for (int j = 0; j < n_naive; j++) clash = clash || share(&s.item[naive[j]], &s.item[i]);
            if (!clash) naive[n_naive++] = i;
        }
        assert_int_equal(n, n_naive);
        assert_memory_equal(kept, naive, (size_t)n * sizeof *kept);
        fewer += n < k;
    }
    assert_true(fewer > 100);
    fc_arena_fini(&arena);
}

static void without_tags_the_first_k_are_kept(void **state) {
    fc_rank_item item[5];
    fc_rank_marks none = {0};
    int kept[5];
    (void)state;
    for (int i = 0; i < 5; i++) item[i] = (fc_rank_item){.index = i, .key = -i};
    assert_int_equal(fc_rank_keep(item, 5, 3, &none, kept), 3);
    for (int i = 0; i < 3; i++) assert_int_equal(kept[i], i);
    assert_int_equal(fc_rank_keep(item, 5, 5, &none, kept), 5);
}

static void margin_needs_two_numbers(void **state) {
    const fc_rank_item item[] = {{.index = 3, .key = -1}, {.index = 0, .key = -1.5}, {.index = 1, .key = -INFINITY}};
    (void)state;
    assert_true(fc_rank_margin(item, 3) == 0.5);
    assert_true(isnan(fc_rank_margin(item, 1)));
    assert_true(isnan(fc_rank_margin(item + 1, 2)));
    assert_true(isnan(fc_rank_margin(item, 0)));
}

/* If this fails, diversity looks at the wrong words. */
static void names_share_parents_and_whole_keywords(void **state) {
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    static const char *const parents[] = {"p", "q", NULL, "p", "", "pp"};
    static const char *const keywords[] = {"x, y", "xy, z", NULL, "z,y,,y", "", " x, X"};
    const fc_taxonomy_names t = {.names = names, .parents = parents, .keywords = keywords, .n = 6};
    const fc_taxonomy_names bare = {.names = names, .n = 6};
    static const char *const same[2][6] = {{"100100", "010000", "000000", "100100", "000000", "000001"},
                                           {"100100", "010100", "000000", "110100", "000000", "000001"}};
    fc_names *n;
    int count;
    (void)state;
    assert_ok(fc_names_open(&t, &n));
    assert_int_equal(fc_names_count_tags(n, FC_DIVERSITY_PARENT), 3);
    assert_int_equal(fc_names_count_tags(n, FC_DIVERSITY_KEYWORDS), 6); /* x, y, xy, z, " x", X */
    for (int d = 0; d < 2; d++)
        for (int i = 0; i < 6; i++)
            for (int k = 0; k < 6; k++) {
                fc_diversity by = d ? FC_DIVERSITY_KEYWORDS : FC_DIVERSITY_PARENT;
                fc_rank_item a = {.index = i}, b = {.index = k};
                a.tags = fc_names_tags(n, by, i, &a.n_tags);
                b.tags = fc_names_tags(n, by, k, &b.n_tags);
                if (share(&a, &b) != (same[d][i][k] == '1')) fail_msg("%s: %d and %d", fc_diversity_name(by), i, k);
            }
    fc_names_unref(n);
    assert_ok(fc_names_open(&bare, &n));
    assert_int_equal(fc_names_count_tags(n, FC_DIVERSITY_PARENT), 0);
    fc_names_tags(n, FC_DIVERSITY_KEYWORDS, 5, &count);
    assert_int_equal(count, 0);
    fc_names_unref(n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_the_plain_sum),    cmocka_unit_test(order_is_the_one_order),
        cmocka_unit_test(kept_is_the_greedy_choice), cmocka_unit_test(without_tags_the_first_k_are_kept),
        cmocka_unit_test(margin_needs_two_numbers),  cmocka_unit_test(names_share_parents_and_whole_keywords),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
