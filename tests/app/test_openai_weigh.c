/* What bodies and answers take of memory, told beforehand, against what they take. */
#include "tests/app/openai_rig.h"

#include "engine/app/openai/call.h"
#include "engine/base/mem.h"

static rig aligned;

static int open_all(void **state) {
    (void)state;
    rig_open(&aligned, NULL, true);
    return 0;
}

static int close_all(void **state) {
    (void)state;
    rig_close(&aligned);
    return 0;
}

/* If this fails, a body is let in whose tree has no room, or a long text is taken for many values. */
static void a_body_weighs_what_its_values_do(void **state) {
    char list[3000] = "[", text[3000] = "\"";
    size_t plain, values, words;
    (void)state;
    for (int i = 0; i < 1000; i++) {
        memcpy(list + 1 + 2 * i, "0,", 2);
        memcpy(text + 1 + 2 * i, i % 2 ? "[{" : "\\\"", 2);
    }
    text[2001] = '"';
    list[2001] = '0';
    memset(list + 2002, ']', 1);
    plain = openai_weigh_body("0", 1);
    values = openai_weigh_body(list, 2003);
    words = openai_weigh_body(text, 2002);
    assert_true(values - plain > 1000 * 120); /* cJSON's 64 bytes, ours, and two allocations' own */
    assert_true(words - plain < 1000 * 20);
    assert_true(openai_weigh_body("\"", 1) >= plain); /* a text without an end is not read on */
    assert_true(openai_weigh_body("\"\\", 2) >= plain);
}

/* The most that the answer took, its bytes included. */
static size_t run(openai_call *c) {
    openai_answer *a;
    openai_error err;
    uint64_t ids[8];
    fc_str out = {0};
    bool over = false;
    size_t most = 0, left = c->n_requests, n = left;
    assert_true(n <= 8);
    for (size_t i = 0; i < n; i++) assert_ok(fc_submit(aligned.e, &c->requests[i], &ids[i]));
    openai_call_trim(c);
    assert_ok(openai_answer_open(&aligned.s, c, &a));
    while (left) {
        fc_event ev;
        size_t i = 0;
        assert_ok(fc_poll(aligned.e, 60000, &ev));
        while (i < n && ids[i] != ev.id) i++;
        assert_true(i < n);
        assert_ok(openai_answer_event(a, i, &ev, &out, &over, &err));
        if (openai_answer_size(a) + out.cap > most) most = openai_answer_size(a) + out.cap;
        left -= ev.type == FC_EVENT_DONE;
        fc_event_fini(&ev);
    }
    assert_true(over);
    fc_str_fini(&out);
    openai_answer_close(a);
    return most;
}

/* If this fails, answers are let in that there is no room for, once they are written. */
static void an_answer_takes_no_more_than_it_weighs(void **state) {
    static const struct {
        openai_route route;
        const char *body;
    } asks[] = {
        {OPENAI_COMPLETIONS, "{\"prompt\":\"abc\",\"max_tokens\":60,\"ignore_eos\":true}"},
        {OPENAI_COMPLETIONS,
         "{\"prompt\":[\"abc\",\"x\"],\"n\":8,\"max_tokens\":60,\"logprobs\":20,\"ignore_eos\":true}"},
        {OPENAI_COMPLETIONS,
         "{\"prompt\":\"abc\",\"n\":2,\"best_of\":16,\"max_tokens\":60,\"logprobs\":5,\"ignore_eos\":true,"
         "\"return_token_ids\":true,\"echo\":true,\"forkcast\":{\"all\":true}}"},
        {OPENAI_COMPLETIONS,
         "{\"prompt\":\"abc\",\"n\":4,\"best_of\":5,\"max_tokens\":60,\"logprobs\":3,\"stream\":true,"
         "\"ignore_eos\":true}"},
        {OPENAI_COMPLETIONS, "{\"prompt\":\"abc\",\"n\":4,\"max_tokens\":60,\"logprobs\":3,\"ignore_eos\":true,"
                             "\"prompt_logprobs\":5}"},
        {OPENAI_RERANK, "{\"query\":\"abc\",\"documents\":[\"abc\",\"x\",\"a longer one, with \\\" and \\u0001\"]}"},
        {OPENAI_SCORE, "{\"text_1\":\"abc\",\"text_2\":[\"abc\",\"x\"]}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        openai_call *c = rig_parse(&aligned, asks[i].route, asks[i].body);
        const size_t weight = openai_weigh_answer(c), took = run(c);
        if (took > weight) fail_msg("%s: it took %zu bytes, and weighed %zu", asks[i].body, took, weight);
        if (weight > 12 * took) fail_msg("%s: it weighed %zu bytes, and took %zu", asks[i].body, weight, took);
    }
}

/* If this fails, a sum wraps, and what no memory could hold is let in. */
static void weights_do_not_wrap(void **state) {
    openai_call *c = rig_parse(&aligned, OPENAI_COMPLETIONS, "{\"prompt\":\"abc\",\"n\":8,\"max_tokens\":9}");
    (void)state;
    c->requests[0].sampling.max_tokens = INT32_MAX;
    c->requests[0].sampling.top_logprobs = INT32_MAX;
    c->requests[0].n_max = INT32_MAX;
    assert_true(openai_weigh_answer(c) == OPENAI_WEIGHT_MAX);
    openai_call_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_weighs_what_its_values_do),
        cmocka_unit_test(an_answer_takes_no_more_than_it_weighs),
        cmocka_unit_test(weights_do_not_wrap),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
