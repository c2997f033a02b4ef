/* How long prompts and answers are where nobody says it, what is left of a prompt that is cut, and in which order the
 * choices of a stream come. */
#include "tests/app/openai_rig.h"

static const char recipe_text[] = "{\"alignment\":{\"template\":\"Next to {prompt}:\"}}";

static rig narrow, poor, judge; /* 64 positions; few pages; scores behind a template, 64 positions */

static int open_all(void **state) {
    (void)state;
    rig_open_small(&narrow, NULL, 64, 0);
    rig_open_small(&poor, NULL, 0, 512 << 10);
    rig_open_small(&judge, recipe_text, 64, 0);
    return 0;
}

static int close_all(void **state) {
    (void)state;
    rig_close(&judge);
    rig_close(&poor);
    rig_close(&narrow);
    return 0;
}

static char *post(rig *r, openai_route route, const char *body) {
    int http;
    char *text = rig_post(r, route, body, &http);
    if (http != 200) fail_msg("%s: %d %s", body, http, text);
    return text;
}

static fc_json_doc *answer(rig *r, openai_route route, const char *body) {
    char *text = post(r, route, body);
    fc_json_doc *d = rig_json(text);
    free(text);
    return d;
}

#define X40 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X80 X40 X40

/* ---- max_tokens that nobody said ---- */

static int drawn(rig *r, openai_route route, const char *body, int candidates) {
    fc_json_doc *d = answer(r, route, body);
    const int n = (int)rig_number(d, "usage.completion_tokens");
    fc_json_close(d);
    assert_int_equal(n % candidates, 0);
    return n / candidates;
}

/* If this fails, a first chat with best_of 16 on the defaults is an error about pages. */
static void a_chat_takes_what_there_is_room_for(void **state) {
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"ignore_eos\":true,\"seed\":1,"
                               "\"n\":%d%s}";
    char text[256], limit[64];
    int one, eight, http;
    char *e;
    (void)state;
    snprintf(text, sizeof text, body, 1, "");
    one = drawn(&poor, OPENAI_CHAT, text, 1);
    snprintf(text, sizeof text, body, 8, "");
    eight = drawn(&poor, OPENAI_CHAT, text, 8);
    assert_true(eight >= 1 && eight < one && one <= 512);
    snprintf(limit, sizeof limit, ",\"max_tokens\":%d", eight); /* said, it is the same, */
    snprintf(text, sizeof text, body, 8, limit);
    assert_int_equal(drawn(&poor, OPENAI_CHAT, text, 8), eight);
    snprintf(limit, sizeof limit, ",\"max_tokens\":%d", eight + 16);
    snprintf(text, sizeof text, body, 8, limit); /* and a page more does not fit: nobody cuts what is said */
    e = rig_post(&poor, OPENAI_CHAT, text, &http);
    assert_int_equal(http, 400);
    assert_non_null(strstr(e, " bytes (--kv-pool), or lower n"));
    free(e);
}

static void completions_take_what_the_context_leaves(void **state) {
    (void)state;
    assert_int_equal(drawn(&narrow, OPENAI_COMPLETIONS,
                           "{\"prompt\":\"a\",\"ignore_eos\":true,\"forkcast\":{\"token_budget\":5}}", 1),
                     5);
    assert_int_equal(drawn(&narrow, OPENAI_COMPLETIONS, "{\"prompt\":\"a\",\"ignore_eos\":true}", 1), 16);
    assert_int_equal(drawn(&narrow, OPENAI_COMPLETIONS,
                           "{\"prompt\":\"" X40 "xxxxxxxxxxxxxx\",\"ignore_eos\":true,\"forkcast\":"
                           "{\"no_bos\":true}}",
                           1),
                     10);
}

static void min_tokens_and_names_are_the_least(void **state) {
    char *e;
    int http;
    (void)state;
    assert_int_equal(
        drawn(&narrow, OPENAI_CHAT,
              "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"min_tokens\":20,\"ignore_eos\":true}", 1) >= 20,
        1);
    e = rig_post(&narrow, OPENAI_COMPLETIONS, "{\"prompt\":\"" X40 "xxxxxxxxxxxxxx\",\"min_tokens\":12}", &http);
    assert_int_equal(http, 400);
    assert_non_null(strstr(e, "do not fit the context of 64, which ctx sets"));
    free(e);
    e = post(&narrow, OPENAI_COMPLETIONS, "{\"prompt\":\"" X40 "xxxxxxxxxxxxxx\",\"guided_choice\":[\"abcdef\"]}");
    assert_non_null(strstr(e, "\"text\":\"abcdef\""));
    free(e);
    e = rig_post(&narrow, OPENAI_COMPLETIONS,
                 "{\"prompt\":\"" X40 "xxxxxxxxxxxxxxxxxxxx\",\"guided_choice\":"
                 "[\"abcdef\"]}",
                 &http);
    assert_int_equal(http, 400);
    free(e);
}

/* ---- prompts that are cut ---- */

/* -1: what the context leaves beside max_tokens. */
static void a_cut_prompt_is_counted_as_it_was_fed(void **state) {
    static const struct {
        const char *body;
        int prompt, drawn;
    } rows[] = {
        {"{\"prompt\":\"" X80 "\",\"truncate_prompt_tokens\":-1,\"max_tokens\":4,\"ignore_eos\":true%s}", 60, 4},
        {"{\"prompt\":\"" X80 "\",\"truncate_prompt_tokens\":-1,\"ignore_eos\":true%s}", 48, 16},
        {"{\"prompt\":\"" X80 "\",\"truncate_prompt_tokens\":7,\"max_tokens\":4,\"ignore_eos\":true%s}", 7, 4},
        {"{\"prompt\":\"xxx\",\"truncate_prompt_tokens\":-1,\"max_tokens\":4,\"ignore_eos\":true,\"add_special_"
         "tokens\":"
         "false%s}",
         3, 4}};
#define USAGE ",\"stream\":true,\"stream_options\":{\"include_usage\":true"
    static const char *const ways[] = {"", USAGE "}", USAGE ",\"continuous_usage_stats\":true}"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            char body[512], usage[64];
            char *text;
            int n;
            snprintf(body, sizeof body, rows[i].body, ways[w]);
            text = post(&narrow, OPENAI_COMPLETIONS, body);
            snprintf(usage, sizeof usage, "\"usage\":{\"prompt_tokens\":%d,", rows[i].prompt);
            n = rig_count(text, usage);
            if (n != rig_count(text, "\"usage\":{") || n < 1) fail_msg("%s: %s", body, text);
            snprintf(usage, sizeof usage, "\"completion_tokens\":%d,", rows[i].drawn);
            assert_true(rig_count(text, usage) >= 1);
            free(text);
        }
}

/* If this fails, a stream's echo shows what the model did not read. */
static void an_echo_shows_what_is_left(void **state) {
    static const char body[] = "{\"prompt\":\"abcdefghij\",\"truncate_prompt_tokens\":4,\"max_tokens\":2,\"echo\":true,"
                               "\"add_special_tokens\":false,\"seed\":1,\"logprobs\":%s,\"stream\":%s}";
    (void)state;
    for (int l = 0; l < 2; l++) {
        char text[256], *whole, *stream, *joined;
        fc_json_doc *d;
        snprintf(text, sizeof text, body, l ? "1" : "null", "false");
        whole = post(&narrow, OPENAI_COMPLETIONS, text);
        snprintf(text, sizeof text, body, l ? "1" : "null", "true");
        stream = post(&narrow, OPENAI_COMPLETIONS, text);
        joined = rig_joined(stream, 0);
        d = rig_json(whole);
        assert_string_equal(joined, rig_text(d, "choices.0.text"));
        assert_int_equal(strncmp(joined, "ghij", 4), 0);
        if (l) assert_int_equal(fc_json_count(rig_at(d, "choices.0.logprobs.tokens")), 6);
        fc_json_close(d);
        free(joined);
        free(stream);
        free(whole);
    }
}

/* A chat without max_tokens keeps half of the context for its prompt. */
static void a_cut_chat_has_room_for_both(void **state) {
    fc_json_doc *d = answer(&narrow, OPENAI_CHAT,
                            "{\"messages\":[{\"role\":\"user\",\"content\":\"" X80 X80
                            "\"}],\"truncate_prompt_tokens\":-1,\"ignore_eos\":true}");
    (void)state;
    assert_int_equal(rig_number(d, "usage.prompt_tokens"), 32);
    assert_int_equal(rig_number(d, "usage.completion_tokens"), 32);
    fc_json_close(d);
}

static void queries_and_documents_are_cut(void **state) {
    fc_json_doc *d = answer(&judge, OPENAI_RERANK,
                            "{\"query\":\"" X80 "\",\"documents\":[\"abcd\",\"b\"],\"truncate_prompt_tokens\":-1}");
    char *e;
    int http;
    (void)state;
    assert_int_equal(rig_number(d, "usage.prompt_tokens"), 60 + 4 + 1); /* the longest text and the prompt fill it */
    fc_json_close(d);
    d = answer(&judge, OPENAI_SCORE,
               "{\"queries\":\"" X80 "\",\"documents\":[\"abcd\",\"b\"],\"truncate_prompt_tokens\":9}");
    assert_int_equal(rig_number(d, "usage.prompt_tokens"), 9 + 4 + 1);
    fc_json_close(d);
    e = rig_post(&judge, OPENAI_RERANK, "{\"query\":\"a\",\"texts\":[\"" X80 "\",\"b\"]}", &http);
    assert_int_equal(http, 400);
    free(e);
    e = post(&judge, OPENAI_RERANK,
             "{\"query\":\"a\",\"texts\":[\"" X80 "\",\"b\"],\"truncate\":true,\"truncation_direction\":\"Right\"}");
    assert_int_equal(rig_count(e, "\"index\":"), 2);
    free(e);
}

/* If this fails, a deadline leaves texts without a score, and memory behind the list is told as one. */
static void a_deadline_is_an_error_of_scores(void **state) {
    openai_call *c = rig_parse(&judge, OPENAI_SCORE,
                               "{\"queries\":\"a\",\"documents\":[\"b\",\"c\"],\"forkcast\":{\"deadline_ms\":77}}");
    fc_candidate one = {.score = -1, .n_tokens = 1};
    fc_result r = {.n = 2, .n_all = 1, .n_kept = 1, .all = &one, .kept = &one, .scored = true};
    fc_event ev = {.type = FC_EVENT_DONE, .result = &r};
    openai_answer *a;
    openai_error e;
    fc_str out = {0};
    bool over;
    (void)state;
    assert_ok(openai_answer_open(&judge.s, c, &a));
    assert_int_equal(openai_answer_event(a, 0, &ev, &out, &over, &e), FC_ERR_TIMEOUT);
    assert_int_equal(e.http, 504);
    assert_non_null(strstr(e.message, "deadline_ms = 77: 1 of 2"));
    fc_str_fini(&out);
    openai_answer_close(a);
}

/* ---- order ---- */

/* candidate_index of each choice of a stream, by its index; how many. */
static int places(const char *stream, int out[16]) {
    int n = 0;
    for (const char *at = stream; (at = strstr(at, "\"candidate_index\":")); at++, n++) {
        const char *chunk = at;
        int index;
        while (strncmp(chunk, "data: ", 6) != 0) chunk--;
        assert_int_equal(sscanf(strstr(chunk, "\"choices\":[{\"index\":"), "\"choices\":[{\"index\":%d", &index), 1);
        assert_true(index >= 0 && index < 16);
        assert_int_equal(sscanf(at, "\"candidate_index\":%d", &out[index]), 1);
        assert_non_null(strstr(chunk, "\"score\":")); /* in the last chunk of its content */
    }
    return n;
}

static void streams_of_all_are_in_candidate_order(void **state) {
    static const char *const late[] = {"",
                                       ",\"forkcast\":{\"constraint\":\"reject\"},\"guided_choice\":[\"a\",\"b\"]",
                                       ",\"forkcast\":{\"distinct\":true}",
                                       ",\"forkcast\":{\"token_budget\":1000}",
                                       ",\"forkcast\":{\"stop_when\":\"stable:100\"}",
                                       ",\"forkcast\":{\"n_max\":6}"};
    (void)state;
    for (size_t i = 0; i < sizeof late / sizeof *late; i++) {
        char body[256], *text;
        int at[16];
        snprintf(body, sizeof body,
                 "{\"prompt\":\"ab\",\"n\":6,\"best_of\":6,\"seed\":3,\"max_tokens\":3,\"stream\":true%s}", late[i]);
        text = post(&judge, OPENAI_COMPLETIONS, body);
        for (int k = 1, n = places(text, at); k < n || k < 2; k++)
            if (at[k] <= at[k - 1]) fail_msg("%s: choice %d is candidate %d", body, k, at[k]);
        free(text);
    }
}

static void other_streams_are_ranked(void **state) {
    static const char *const ranked[] = {"\"n\":3,\"best_of\":6", "\"n\":3,\"forkcast\":{\"n_max\":9}"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char body[256], *text;
        int at[16], falls = 0;
        snprintf(body, sizeof body, "{\"prompt\":\"ab\",\"seed\":3,\"max_tokens\":3,\"stream\":true,%s}", ranked[i]);
        text = post(&judge, OPENAI_COMPLETIONS, body);
        assert_int_equal(places(text, at), 3);
        for (int k = 1; k < 3; k++) falls += at[k] < at[k - 1];
        if (!falls) fail_msg("%s: candidates %d, %d, %d", body, at[0], at[1], at[2]);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_chat_takes_what_there_is_room_for),
                                       cmocka_unit_test(completions_take_what_the_context_leaves),
                                       cmocka_unit_test(min_tokens_and_names_are_the_least),
                                       cmocka_unit_test(a_cut_prompt_is_counted_as_it_was_fed),
                                       cmocka_unit_test(an_echo_shows_what_is_left),
                                       cmocka_unit_test(a_cut_chat_has_room_for_both),
                                       cmocka_unit_test(queries_and_documents_are_cut),
                                       cmocka_unit_test(a_deadline_is_an_error_of_scores),
                                       cmocka_unit_test(streams_of_all_are_in_candidate_order),
                                       cmocka_unit_test(other_streams_are_ranked)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
