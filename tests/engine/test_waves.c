/* Drawing that ends early, through the whole engine: the answer is that of a request for as many candidates as it
 * used. */
#include "tests/engine/util_engine.h"

static const char prompt[] = "The cat sat on the mat.";

static fc_engine *open_with(bool two, uint32_t off) {
    return open_engine(&(fc_engine_options){.novelty = tiny_model("llama", 1, false),
                                            .alignment = tiny_model("llama", two ? 2 : 1, false),
                                            .threads = 2,
                                            .ctx = 128,
                                            .off = off});
}

/* If this fails, an answer depends on when it was known that enough was drawn. */
static void ended_early_is_a_request_for_fewer(void **state) {
    static const uint32_t offs[] = {0, FC_OFF_COALESCE, FC_OFF_ALL};
    uint64_t seed = 61;
    int early = 0, waves = 0, given_up = 0;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int k = 0; k < 6; k++) {
        fc_engine *e = open_with(k < 3, offs[k % 3]);
        for (int round = 0; round < 25; round++) {
            fc_request some = text_request(prompt, 1 + test_below(&seed, 8), 6), plain;
            char when[64];
            fc_event a, b;
            int used;
            some.score = test_below(&seed, 3) > 0;
            some.keep = 1 + test_below(&seed, 3);
            some.seed = (uint64_t)round;
            some.sampling.temperature = 0.7f;
            plain = some;
            snprintf(when, sizeof when, "stable:%d,margin:%d%s", 1 + test_below(&seed, 8), 2 + test_below(&seed, 3),
                     some.score ? ",hopeless:2" : "");
            some.stop_when = when;
            some.n_max = 40;
            if (test_below(&seed, 4) == 0) some.token_budget = 20 + test_below(&seed, 120);
            a = run_request(e, &some);
            used = plain.n = a.result->confidence.n_used;
            waves += used > some.n;
            early += used < 40;
            b = run_request(e, &plain);
            assert_int_equal(a.result->n_all, used);
            assert_int_equal(a.result->n_kept, b.result->n_kept);
            for (int i = 0; i < b.result->n_kept; i++) {
                assert_same_candidate("kept", &a.result->kept[i], &b.result->kept[i]);
                assert_int_equal(a.result->kept[i].votes, b.result->kept[i].votes);
            }
            for (int i = 0; i < used; i++) {
                if (a.result->all[i].hopeless) given_up++;
                else assert_same_candidate("all", &a.result->all[i], &b.result->all[i]);
            }
            fc_event_fini(&a);
            fc_event_fini(&b);
        }
        assert_int_equal(fc_engine_pages_used(e), 0);
        fc_engine_close(e);
    }
    printf("%d ended early, %d with more than one wave, %d candidates given up\n", early, waves, given_up);
    assert_true(early > 100 && waves > 50 && given_up > 10);
}

/* If this fails, a late request hangs or keeps its pages. */
static void late_requests_end(void **state) {
    fc_engine *e = open_with(true, 0);
    fc_request r = text_request(prompt, 32, 90);
    (void)state;
    r.score = r.sampling.ignore_eos = true;
    for (int i = 0; i < 4; i++) {
        fc_event ev;
        uint64_t id;
        r.deadline_ms = 1 + 100 * i;
        assert_ok(fc_submit(e, &r, &id));
        assert_ok(fc_poll(e, 60000, &ev));
        if (ev.status == FC_ERR_TIMEOUT) assert_non_null(strstr(ev.error, "passed before its first candidate"));
        else assert_true(ev.status == FC_OK && ev.result->n_all >= 1 && ev.result->n_all <= 32);
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ended_early_is_a_request_for_fewer),
                                       cmocka_unit_test(late_requests_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
