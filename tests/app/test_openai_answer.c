/* Bodies through an engine: streams say what whole answers say, and both what the C API and the program say. */
#include "tests/app/openai_rig.h"

#include "engine/base/mem.h"

static rig shared;

static int open_shared(void **state) {
    (void)state;
    rig_open(&shared, NULL, true);
    return 0;
}

static int close_shared(void **state) {
    (void)state;
    rig_close(&shared);
    return 0;
}

static char *post(openai_route route, const char *body) {
    int http;
    char *text = rig_post(&shared, route, body, &http);
    if (http != 200) fail_msg("%s: %d %s", body, http, text);
    return text;
}

/* 3 is the byte 0: the tests' own reader of JSON takes no text with one. */
#define TEXT "\"prompt\":\"The tea\",\"logit_bias\":{\"3\":false},\"seed\":7,\"max_tokens\":12,\"temperature\":1.2"
#define CHAT                                                                                                           \
    "\"messages\":[{\"role\":\"user\",\"content\":\"The "                                                              \
    "tea\"}],\"logit_bias\":{\"3\":false},\"seed\":7,\"max_tokens\":12,\"temperature\":1.2"

/* ---- the same everywhere ---- */

static fc_request as_c(int keep) {
    static const int32_t ids[] = {3};
    static const float values[] = {-INFINITY};
    fc_request r = text_request("The tea", 6, 12);
    r.sampling.temperature = 1.2f;
    r.sampling.bias_ids = ids;
    r.sampling.bias_values = values;
    r.sampling.n_bias = 1;
    r.score = true;
    r.keep = keep;
    return r;
}

/* If this fails, a client and a program see different candidates. */
static void the_c_api_says_the_same(void **state) {
    fc_request r = as_c(3);
    fc_event ev;
    char *text = post(OPENAI_COMPLETIONS, "{" TEXT ",\"n\":3,\"best_of\":6}");
    (void)state;
    ev = run_request(shared.e, &r);
    for (int k = 0; k < 3; k++) {
        const fc_candidate *c = &ev.result->kept[k]; /* all different, as it happens */
        fc_str s = {0};
        assert_ok(fc_str_printf(&s, "{\"index\":%d,\"text\":", k));
        assert_ok(fc_json_put_string(&s, c->text, c->text_size));
        assert_ok(fc_str_puts(&s, ",\"logprobs\":null,\"finish_reason\":\"length\",\"stop_reason\":null,\"score\":"));
        assert_ok(fc_json_put_double(&s, c->score));
        assert_ok(fc_str_printf(&s, ",\"candidate_index\":%d}", c->index));
        if (!strstr(text, s.data)) fail_msg("%s is not in %s", s.data, text);
        fc_str_fini(&s);
    }
    fc_event_fini(&ev);
    free(text);
}

/* Up to what was measured: the part of a record in front of accounting and timings. */
static void cut_measured(char *record) {
    char *at = strstr(record, "\"accounting\":");
    assert_non_null(at);
    *at = '\0';
}

/* If this fails, `best_of` is not the object that the program prints. */
static void the_record_is_the_programs(void **state) {
    fc_request r = as_c(3);
    fc_event ev;
    fc_str out = {0};
    char *text = post(OPENAI_COMPLETIONS, "{" TEXT ",\"n\":3,\"best_of\":6,\"forkcast\":{\"all\":true}}"), *record;
    (void)state;
    ev = run_request(shared.e, &r);
    assert_ok(print_json(ev.result, &(print_options){.prompt = "The tea", .prompt_size = 7, .all = true}, &out));
    record = strstr(text, "\"best_of\":") + strlen("\"best_of\":");
    cut_measured(record);
    cut_measured(out.data);
    assert_string_equal(record, out.data);
    fc_event_fini(&ev);
    fc_str_fini(&out);
    free(text);
}

/* ---- streams ---- */

static const char *choice_text(const fc_json_doc *d, bool chat, int k) {
    char path[64];
    snprintf(path, sizeof path, chat ? "choices.%d.message.content" : "choices.%d.text", k);
    return rig_text(d, path);
}

/* If this fails, a client that streams reads another text than one that does not. */
static void same_when_streamed(openai_route route, const char *members, int choices, bool by_candidate) {
    char body[1024], path[64], *whole, *stream;
    bool chat = route == OPENAI_CHAT;
    fc_json_doc *d;
    snprintf(body, sizeof body, "{%s%s}", chat ? CHAT : TEXT, members);
    whole = post(route, body);
    snprintf(body, sizeof body, "{%s%s,\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
             chat ? CHAT : TEXT, members);
    stream = post(route, body);
    d = rig_json(whole);
    assert_int_equal(fc_json_count(rig_at(d, "choices")), choices);
    for (int k = 0; k < choices; k++) {
        int index = k;
        char *joined;
        snprintf(path, sizeof path, "choices.%d.candidate_index", k);
        if (by_candidate) index = (int)rig_number(d, path);
        joined = rig_joined(stream, index);
        if (strcmp(joined, choice_text(d, chat, k)) != 0)
            fail_msg("%s: choice %d: streamed \"%s\", whole \"%s\"", body, k, joined, choice_text(d, chat, k));
        free(joined);
    }
    assert_int_equal(rig_count(stream, "\"finish_reason\":\"") -
                         rig_count(strstr(stream, "\"best_of\":"), "\"finish_reason\":\""),
                     choices);
    assert_int_equal(rig_count(stream, "\"best_of\":"), 1);
    assert_int_equal(rig_count(stream, "\"usage\":"), 1);
    assert_int_equal(rig_count(stream, "data: [DONE]\n\n"), 1);
    { /* the same usage, but for what the second one finds cached */
        const char *a = strstr(whole, "\"usage\":"), *b = strstr(stream, "\"usage\":");
        assert_memory_equal(a, b, (size_t)(strstr(a, ",\"prompt_tokens_details\"") - a));
    }
    fc_json_close(d);
    free(stream);
    free(whole);
}

static void streams_join_to_whole_answers(void **state) {
    static const char *const live[] = {"",
                                       ",\"logprobs\":null",
                                       ",\"stop\":[\"e\",\"qq\"]",
                                       ",\"stop\":\"e\",\"include_stop_str_in_output\":true",
                                       ",\"return_token_ids\":true",
                                       ",\"temperature\":0",
                                       ",\"skip_special_tokens\":false,\"ignore_eos\":true"};
    (void)state;
    for (size_t i = 0; i < sizeof live / sizeof *live; i++) {
        char members[256];
        snprintf(members, sizeof members, ",\"n\":3%s", strstr(live[i], "temp") ? "" : live[i]);
        same_when_streamed(OPENAI_COMPLETIONS, members, 3, true);
        same_when_streamed(OPENAI_CHAT, members, 3, true);
    }
    same_when_streamed(OPENAI_COMPLETIONS, ",\"n\":2,\"best_of\":5", 2, false);
    same_when_streamed(OPENAI_CHAT, ",\"n\":2,\"best_of\":5", 2, false);
    same_when_streamed(OPENAI_COMPLETIONS, ",\"n\":2,\"best_of\":5,\"stop\":\"e\",\"logprobs\":2", 2, false);
    same_when_streamed(OPENAI_COMPLETIONS, ",\"n\":2,\"logprobs\":2,\"echo\":true", 2, false);
    same_when_streamed(OPENAI_COMPLETIONS, ",\"n\":2,\"echo\":true", 2, true);
    same_when_streamed(OPENAI_COMPLETIONS, ",\"n\":2,\"guided_choice\":[\"yes\",\"no\",\"maybe so\"]", 2, true);
    same_when_streamed(OPENAI_COMPLETIONS, ",\"best_of\":3,\"guided_choice\":[\"yes\",\"no\",\"maybe so\"]", 1, false);
}

/* Bytes that are no text yet, or never: the tiny model draws them often. */
static void characters_are_never_cut(void **state) {
    (void)state;
    for (int seed = 0; seed < 20; seed++) {
        char body[256], *text;
        snprintf(body, sizeof body,
                 "{\"prompt\":\"x\",\"seed\":%d,\"n\":4,\"max_tokens\":24,\"ignore_eos\":true,"
                 "\"temperature\":3,\"stream\":true}",
                 seed);
        text = post(OPENAI_COMPLETIONS, body);
        assert_true(fc_utf8_valid(text, strlen(text), &(size_t){0}));
        free(text);
    }
}

/* What the stream says of tokens is what the whole answer says of them. */
static void logprobs_join_too(void **state) {
    static const char *const lists[] = {"token_logprobs", "tokens", "text_offset"};
    char *whole = post(OPENAI_COMPLETIONS, "{" TEXT ",\"logprobs\":0}"),
         *stream = post(OPENAI_COMPLETIONS, "{" TEXT ",\"logprobs\":0,\"stream\":true}");
    (void)state;
    *strstr(stream, "\"best_of\":") = '\0'; /* it has tokens, too */
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const char *end = i == 1 ? "],\"top" : "]"; /* a token may be "]" */
        char key[64], *a, *b = stream;
        fc_str joined = {0};
        snprintf(key, sizeof key, "\"%s\":[", lists[i]);
        a = strstr(whole, key) + strlen(key);
        while ((b = strstr(b, key))) {
            b += strlen(key);
            if (joined.size && *b != ']') assert_ok(fc_str_puts(&joined, ","));
            assert_ok(fc_str_put(&joined, b, (size_t)(strstr(b, end) - b)));
        }
        assert_memory_equal(a, fc_str_text(&joined), joined.size);
        assert_int_equal(a[joined.size], ']');
        fc_str_fini(&joined);
    }
    free(stream);
    free(whole);
}

/* ---- several prompts ---- */

static void prompts_keep_their_places(void **state) {
    char *both = post(OPENAI_COMPLETIONS, "{\"prompt\":[\"One\",\"Two\"],\"n\":2,\"best_of\":3,\"seed\":5}"),
         *second = post(OPENAI_COMPLETIONS, "{\"prompt\":\"Two\",\"n\":2,\"best_of\":3,\"seed\":5}");
    fc_json_doc *a = rig_json(both), *b = rig_json(second);
    (void)state;
    assert_int_equal(fc_json_count(rig_at(a, "choices")), 4);
    assert_int_equal(rig_number(a, "choices.3.index"), 3);
    assert_string_equal(rig_text(a, "choices.2.text"), rig_text(b, "choices.0.text")); /* no place is in the key */
    assert_string_equal(rig_text(a, "choices.3.text"), rig_text(b, "choices.1.text"));
    assert_int_equal(fc_json_count(rig_at(a, "best_of")), 2);
    assert_string_equal(rig_text(a, "best_of.1.prompt"), "Two");
    fc_json_close(b);
    fc_json_close(a);
    free(second);
    free(both);
    both = post(OPENAI_COMPLETIONS, "{\"prompt\":[\"One\",\"Two\"],\"n\":2,\"seed\":5,\"stream\":true}");
    assert_int_equal(rig_count(both, "\"best_of\":["), 1);
    for (int k = 0; k < 4; k++) {
        char last[64];
        snprintf(last, sizeof last, "\"candidate_index\":%d}]", k % 2);
        assert_non_null(strstr(both, last));
        free(rig_joined(both, k));
    }
    free(both);
}

/* ---- echo and prompts' log-probs ---- */

static void prompts_are_scored(void **state) {
    char *text = post(OPENAI_COMPLETIONS, "{\"prompt\":\"abc\",\"echo\":true,\"max_tokens\":0,\"logprobs\":1}");
    fc_json_doc *d = rig_json(text);
    (void)state;
    assert_string_equal(rig_text(d, "choices.0.text"), "abc");
    assert_string_equal(rig_text(d, "choices.0.finish_reason"), "length");
    assert_int_equal(fc_json_kind(rig_at(d, "choices.0.logprobs.token_logprobs.0")), FC_JSON_NULL);
    assert_int_equal(fc_json_kind(rig_at(d, "choices.0.logprobs.top_logprobs.0")), FC_JSON_NULL);
    assert_true(rig_number(d, "choices.0.logprobs.token_logprobs.1") < 0);
    assert_int_equal(rig_number(d, "usage.completion_tokens"), 0);
    assert_int_equal(fc_json_count(rig_at(d, "choices.0.logprobs.tokens")), rig_number(d, "usage.prompt_tokens"));
    fc_json_close(d);
    free(text);
    text = post(OPENAI_COMPLETIONS, "{\"prompt\":\"abc\",\"prompt_logprobs\":1,\"max_tokens\":2}");
    d = rig_json(text);
    assert_int_equal(fc_json_kind(rig_at(d, "choices.0.prompt_logprobs.0")), FC_JSON_NULL);
    assert_int_equal(fc_json_kind(rig_at(d, "choices.0.prompt_logprobs.1")), FC_JSON_OBJECT);
    assert_int_equal(fc_json_count(rig_at(d, "choices.0.prompt_logprobs")), rig_number(d, "usage.prompt_tokens"));
    fc_json_close(d);
    free(text);
    text = post(OPENAI_CHAT, "{" CHAT ",\"prompt_logprobs\":0,\"return_token_ids\":true}");
    d = rig_json(text);
    assert_int_equal(fc_json_count(rig_at(d, "prompt_logprobs")), fc_json_count(rig_at(d, "prompt_token_ids")));
    fc_json_close(d);
    free(text);
}

/* The count in advance, which chunks show, is the engine's own. */
static void usage_is_known_in_advance(void **state) {
    static const openai_route routes[2] = {OPENAI_COMPLETIONS, OPENAI_CHAT};
    (void)state;
    for (int i = 0; i < 2; i++) {
        char body[512], *text, *first, *last;
        snprintf(body, sizeof body,
                 "{%s,\"stream\":true,\"stream_options\":{\"include_usage\":true,"
                 "\"continuous_usage_stats\":true}}",
                 i ? CHAT : TEXT);
        text = post(routes[i], body);
        first = strstr(text, "\"prompt_tokens\":");
        last = strstr(strstr(text, "\"choices\":[],"), "\"prompt_tokens\":");
        assert_memory_equal(first, last, strcspn(first, ","));
        assert_true(rig_count(text, "\"usage\":") > 2);
        free(text);
    }
}

/* ---- counts, reasons, refusals ---- */

static void all_candidates_count_where_asked(void **state) {
    char *text = post(OPENAI_COMPLETIONS, "{" TEXT ",\"best_of\":4,\"ignore_eos\":true}");
    fc_json_doc *d = rig_json(text);
    (void)state;
    assert_int_equal(rig_number(d, "usage.completion_tokens"), 12);
    fc_json_close(d);
    free(text);
    shared.s.usage_all = true;
    text = post(OPENAI_COMPLETIONS, "{" TEXT ",\"best_of\":4,\"ignore_eos\":true}");
    shared.s.usage_all = false;
    d = rig_json(text);
    assert_int_equal(rig_number(d, "usage.completion_tokens"), 48);
    fc_json_close(d);
    free(text);
}

static void the_engine_refuses_with_the_fields_name(void **state) {
    static const struct {
        const char *members, *param;
    } rows[] = {
        {",\"min_tokens\":13", "min_tokens"},
        {",\"stop_token_ids\":[99999999]", "stop_token_ids"},
        {",\"best_of\":4,\"forkcast\":{\"n_max\":2}", "forkcast"},
        {",\"forkcast\":{\"taxonomy\":\"none\"}", "forkcast"},
        {",\"n\":2,\"guided_choice\":[\"a\"],\"logit_bias\":{\"5\":1},\"forkcast\":{\"draw\":\"sbs\"}", "forkcast"},
        {",\"max_tokens\":100000", "prompt"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[512], param[64], *text;
        int http;
        snprintf(body, sizeof body, "{\"prompt\":\"The tea\"%s%s}", rows[i].members,
                 strstr(rows[i].members, "max_tokens") ? "" : ",\"max_tokens\":12");
        text = rig_post(&shared, OPENAI_COMPLETIONS, body, &http);
        snprintf(param, sizeof param, "\"param\":\"%s\"", rows[i].param);
        if (http != 400 || !strstr(text, param)) fail_msg("%s: %d %s", body, http, text);
        free(text);
    }
}

/* Fewer than n, where there are no more names. */
static void draws_without_replacement_differ(void **state) {
    char *text =
        post(OPENAI_COMPLETIONS, "{\"prompt\":\"The tea\",\"seed\":7,\"n\":5,\"guided_choice\":[\"red\",\"blue\","
                                 "\"green\"],\"forkcast\":{\"draw\":\"sbs\"}}");
    fc_json_doc *d = rig_json(text);
    (void)state;
    assert_int_equal(fc_json_count(rig_at(d, "choices")), 3);
    assert_string_not_equal(rig_text(d, "choices.0.text"), rig_text(d, "choices.1.text"));
    assert_string_not_equal(rig_text(d, "choices.1.text"), rig_text(d, "choices.2.text"));
    fc_json_close(d);
    free(text);
}

static void a_choice_is_one_of_them(void **state) {
    char *text = post(OPENAI_COMPLETIONS, "{" TEXT ",\"n\":4,\"guided_choice\":[\"red\",\"blue\"]}");
    fc_json_doc *d = rig_json(text);
    (void)state;
    for (int k = 0; k < 4; k++) {
        const char *c = choice_text(d, false, k);
        assert_true(strcmp(c, "red") == 0 || strcmp(c, "blue") == 0);
    }
    fc_json_close(d);
    free(text);
}

/* What the novelty model reads as ids or in its own template, another tokenizer's model reads as text and in its. */
static void a_scorer_of_another_tokenizer(void **state) {
    static const struct {
        openai_route route;
        const char *body;
    } rows[] = {
        {OPENAI_COMPLETIONS, "{\"prompt\":[70,71,72],\"best_of\":3}"},
        {OPENAI_COMPLETIONS, "{\"prompt\":\"abc\",\"best_of\":3,\"stream\":true}"},
        {OPENAI_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"best_of\":3,\"max_tokens\":4}"},
        {OPENAI_SCORE, "{\"queries\":\"a\",\"documents\":[\"b\",\"c\"]}"},
        {OPENAI_SCORE, "{\"query\":\"a\",\"items\":[\"b\"],\"label_token_ids\":[100,101],\"apply_softmax\":true}"}};
    rig r;
    (void)state;
    rig_open_apart(&r, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int http;
        char *text = rig_post(&r, rows[i].route, rows[i].body, &http);
        if (http != 200) fail_msg("%s: %d %s", rows[i].body, http, text);
        free(text);
    }
    assert_non_null(
        strstr(rig_refused(&r, OPENAI_SCORE, "{\"query\":\"a\",\"items\":[\"b\"],\"label_token_ids\":[100,101]}", NULL),
               "\"param\":\"apply_softmax\""));
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_c_api_says_the_same),
        cmocka_unit_test(the_record_is_the_programs),
        cmocka_unit_test(streams_join_to_whole_answers),
        cmocka_unit_test(characters_are_never_cut),
        cmocka_unit_test(logprobs_join_too),
        cmocka_unit_test(prompts_keep_their_places),
        cmocka_unit_test(prompts_are_scored),
        cmocka_unit_test(usage_is_known_in_advance),
        cmocka_unit_test(all_candidates_count_where_asked),
        cmocka_unit_test(the_engine_refuses_with_the_fields_name),
        cmocka_unit_test(draws_without_replacement_differ),
        cmocka_unit_test(a_choice_is_one_of_them),
        cmocka_unit_test(a_scorer_of_another_tokenizer),
    };
    return cmocka_run_group_tests(tests, open_shared, close_shared);
}
