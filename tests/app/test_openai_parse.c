/* Bodies to requests: prompts, messages, how many, recipes, and what is no JSON. */
#include "tests/app/openai_rig.h"

static const char recipe_text[] =
    "{\"novelty\":{\"template\":\"<s>Q {prompt} A\"},"
    "\"alignment\":{\"mode\":\"judge\",\"template\":\"Rate {prompt}:\",\"suffix\":\" good?\",\"labels\":[\"y\",\"n\"]},"
    "\"sampling\":{\"max_tokens\":5,\"temperature\":0.5,\"stop\":\"!\"},\"n\":6,\"keep\":2,\"seed\":99}";

static rig plain, recipe;

static int open_all(void **state) {
    (void)state;
    rig_open(&plain, NULL, true);
    rig_open(&recipe, recipe_text, true);
    return 0;
}

static int close_all(void **state) {
    (void)state;
    rig_close(&recipe);
    rig_close(&plain);
    return 0;
}

/* ---- prompts ---- */

static const char *pieces(const fc_prompt *p) {
    static char text[512];
    text[0] = '\0';
    for (size_t i = 0; i < p->n_pieces; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%.*s%s", p->pieces[i].special ? "<" : "[",
                 (int)p->pieces[i].size, p->pieces[i].text, p->pieces[i].special ? ">" : "]");
    return text;
}

static void prompts_of_each_kind(void **state) {
    openai_call *c = rig_parse(&plain, OPENAI_COMPLETIONS, "{\"prompt\":\"a <s> b\"}");
    (void)state;
    assert_int_equal(c->n_requests, 1);
    assert_string_equal(pieces(&c->requests[0].prompt), "[a <s> b]"); /* data: no special token comes of it */
    openai_call_close(c);
    c = rig_parse(&plain, OPENAI_COMPLETIONS, "{\"prompt\":[\"a\",\"b\"]}");
    assert_int_equal(c->n_requests, 2);
    assert_string_equal(pieces(&c->requests[1].prompt), "[b]");
    openai_call_close(c);
    c = rig_parse(&plain, OPENAI_COMPLETIONS, "{\"prompt\":[65,66,67]}");
    assert_int_equal(c->n_requests, 1);
    assert_int_equal(c->requests[0].prompt.n_ids, 3);
    assert_int_equal(c->requests[0].prompt.ids[2], 67);
    openai_call_close(c);
    c = rig_parse(&plain, OPENAI_COMPLETIONS, "{\"prompt\":[[65],[66,67]]}");
    assert_int_equal(c->n_requests, 2);
    assert_int_equal(c->requests[1].prompt.n_ids, 2);
    assert_int_equal(c->requests[1].prompt.ids[0], 66);
    openai_call_close(c);
}

static void prompts_that_are_none(void **state) {
    static const char *const bodies[] = {"{}",
                                         "{\"prompt\":null}",
                                         "{\"prompt\":\"\"}",
                                         "{\"prompt\":[]}",
                                         "{\"prompt\":[[]]}",
                                         "{\"prompt\":[\"\"]}",
                                         "{\"prompt\":7}",
                                         "{\"prompt\":{\"text\":\"a\"}}",
                                         "{\"prompt\":[\"a\",[1]]}",
                                         "{\"prompt\":[1,\"a\"]}",
                                         "{\"prompt\":[-1]}",
                                         "{\"prompt\":[1000000]}",
                                         "{\"prompt\":[1.5]}",
                                         "{\"prompt\":[[1,null]]}"};
    int http;
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const char *e = rig_refused(&plain, OPENAI_COMPLETIONS, bodies[i], &http);
        if (http != 400 || !strstr(e, "\"param\":\"prompt\"")) fail_msg("%s: %s", bodies[i], e);
    }
}

static void too_many_prompts(void **state) {
    fc_str s = {0};
    int http;
    (void)state;
    assert_ok(fc_str_puts(&s, "{\"prompt\":[\"a\""));
    for (int i = 0; i < 64; i++) assert_ok(fc_str_puts(&s, ",\"a\""));
    assert_ok(fc_str_puts(&s, "]}"));
    assert_non_null(strstr(rig_refused(&plain, OPENAI_COMPLETIONS, s.data, &http), "65 prompts; at most 64"));
    fc_str_fini(&s);
}

/* ---- messages ---- */

static void messages_become_the_models_prompt(void **state) {
    fc_message m[2] = {{"system", "Be short."}, {"user", "Hi\nthere"}};
    fc_prompt expected;
    fc_piece *list;
    char text[512];
    openai_call *c = rig_parse(&plain, OPENAI_CHAT,
                               "{\"messages\":[{\"role\":\"developer\",\"content\":\"Be short.\"},"
                               "{\"role\":\"user\",\"name\":\"x\",\"content\":[{\"type\":\"text\",\"text\":\"Hi\"},"
                               "{\"type\":\"text\",\"text\":\"there\"}]}]}");
    (void)state;
    assert_ok(fc_tokenizer_chat(plain.tok[0], m, 2, true, &list, &expected.n_pieces));
    expected.pieces = list;
    snprintf(text, sizeof text, "%s", pieces(&expected));
    assert_string_equal(pieces(&c->requests[0].prompt), text);
    assert_int_equal(c->requests[0].sampling.max_tokens,
                     plain.s.info.novelty.ctx < 512 ? c->requests[0].sampling.max_tokens : 512);
    fc_memory_free(list);
    openai_call_close(c);
}

/* As a server begins an answer and lets the model go on. */
static void a_final_message_goes_on(void **state) {
    fc_message m[1] = {{"user", "Hi"}};
    fc_prompt expected;
    fc_piece *list;
    char text[512];
    openai_call *c =
        rig_parse(&plain, OPENAI_CHAT,
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\","
                  "\"content\":\"Well\"}],\"continue_final_message\":true,\"add_generation_prompt\":false}");
    (void)state;
    assert_ok(fc_tokenizer_chat(plain.tok[0], m, 1, true, &list, &expected.n_pieces));
    expected.pieces = list;
    snprintf(text, sizeof text, "%s[Well]", pieces(&expected));
    assert_string_equal(pieces(&c->requests[0].prompt), text);
    fc_memory_free(list);
    openai_call_close(c);
}

static void messages_that_are_none(void **state) {
    static const char *const bodies[] = {
        "{}",
        "{\"messages\":[]}",
        "{\"messages\":\"Hi\"}",
        "{\"messages\":[\"Hi\"]}",
        "{\"messages\":[{\"content\":\"Hi\"}]}",
        "{\"messages\":[{\"role\":\"user\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":null}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":7}]}",
        "{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]}",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[{}]}]}",
    };
    int http;
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const char *e = rig_refused(&plain, OPENAI_CHAT, bodies[i], &http);
        if (http != 400 || !strstr(e, "\"param\":\"messages\"")) fail_msg("%s: %s", bodies[i], e);
    }
}

/* ---- how many ---- */

static void counts(rig *r, const char *members, int n, int best_of) {
    char body[256];
    openai_call *c;
    snprintf(body, sizeof body, "{\"prompt\":\"a\"%s}", members);
    c = rig_parse(r, OPENAI_COMPLETIONS, body);
    if (c->show->n != n || c->show->best_of != best_of || c->requests[0].n != best_of || c->requests[0].keep != n)
        fail_msg("%s: n %d of %d, not %d of %d", body, c->show->n, c->show->best_of, n, best_of);
    openai_call_close(c);
}

/* An absent n is the recipe's keep, else 1; an absent best_of the larger of n and the recipe's n. */
static void n_and_best_of(void **state) {
    (void)state;
    counts(&plain, "", 1, 1);
    counts(&plain, ",\"n\":3", 3, 3);
    counts(&plain, ",\"best_of\":3", 1, 3);
    counts(&plain, ",\"n\":2,\"best_of\":3", 2, 3);
    counts(&plain, ",\"forkcast\":{\"n\":4,\"keep\":2}", 2, 4);
    counts(&plain, ",\"forkcast\":{\"n\":4,\"keep\":0}", 4, 4);
    counts(&recipe, "", 2, 6);
    counts(&recipe, ",\"n\":3", 3, 6);
    counts(&recipe, ",\"n\":8", 8, 8);
    counts(&recipe, ",\"best_of\":4", 2, 4);
    counts(&recipe, ",\"best_of\":1", 1, 1);
    counts(&recipe, ",\"n\":1,\"best_of\":1", 1, 1);
}

/* ---- recipes ---- */

/* If this fails, every request without a seed gets the same answer, because a recipe for something else is there. */
static void what_the_recipe_does_not_say(void **state) {
    rig silent, drawn, kept;
    openai_call *c;
    (void)state;
    rig_open(&silent, "{\"sampling\":{\"temperature\":0.5}}", true);
    rig_open(&drawn, "{\"n\":6}", true);
    rig_open(&kept, "{\"keep\":3}", true);
    counts(&silent, "", 1, 1);
    counts(&silent, ",\"forkcast\":{\"keep\":0}", 1, 1);
    counts(&drawn, "", 1, 6);
    counts(&kept, "", 3, 3);
    counts(&kept, ",\"best_of\":2", 2, 2);
    c = rig_parse(&silent, OPENAI_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}");
    assert_int_equal(c->requests[0].seed, 0x1234);
    assert_true(fabs((double)c->requests[0].sampling.temperature - 0.5) < 1e-6);
    assert_true(c->requests[0].sampling.max_tokens > 16); /* what the context leaves */
    openai_call_close(c);
    c = rig_parse(&recipe, OPENAI_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}");
    assert_int_equal(c->requests[0].seed, 99);
    assert_int_equal(c->requests[0].sampling.max_tokens, 5);
    openai_call_close(c);
    rig_close(&kept);
    rig_close(&drawn);
    rig_close(&silent);
}

static void the_recipe_fills_and_the_request_wins(void **state) {
    openai_call *c =
        rig_parse(&recipe, OPENAI_COMPLETIONS, "{\"prompt\":\"why</s>\",\"temperature\":0.75,\"max_tokens\":null}");
    const fc_request *r = &c->requests[0];
    (void)state;
    assert_string_equal(pieces(&r->prompt), "<<s>Q >[why</s>]< A>");
    assert_string_equal(pieces(&r->alignment_prompt), "<Rate >[why</s>]<:>");
    assert_string_equal(pieces(&r->suffix), "< good?>");
    assert_int_equal(r->n_labels, 2);
    assert_string_equal(r->labels[0], "y");
    assert_int_equal(r->mode, FC_SCORE_JUDGE);
    assert_true(r->score);
    assert_int_equal(r->sampling.max_tokens, 5);
    assert_true(fabs((double)r->sampling.temperature - 0.75) < 1e-6);
    assert_string_equal(r->sampling.stop[0], "!");
    assert_int_equal(r->seed, 99);
    openai_call_close(c);
    /* nothing of it stays in the recipe */
    c = rig_parse(&recipe, OPENAI_COMPLETIONS, "{\"prompt\":\"b\"}");
    assert_true(fabs((double)c->requests[0].sampling.temperature - 0.5) < 1e-6);
    openai_call_close(c);
    c = rig_parse(&plain, OPENAI_COMPLETIONS, "{\"prompt\":\"b\"}");
    assert_int_equal(c->requests[0].seed, 0x1234);
    assert_int_equal(c->requests[0].sampling.max_tokens, 16);
    openai_call_close(c);
}

static void a_mode_leaves_what_it_does_not_read(void **state) {
    openai_call *c =
        rig_parse(&recipe, OPENAI_COMPLETIONS, "{\"prompt\":\"a\",\"forkcast\":{\"mode\":\"loglik-sum\"}}");
    (void)state;
    assert_int_equal(c->requests[0].mode, FC_SCORE_LOGLIK_SUM);
    assert_int_equal(c->requests[0].suffix.n_pieces, 0);
    assert_int_equal(c->requests[0].n_labels, 0);
    openai_call_close(c);
    c = rig_parse(&recipe, OPENAI_COMPLETIONS, "{\"prompt\":\"a\",\"forkcast\":{\"score\":false}}");
    assert_false(c->requests[0].score);
    assert_int_equal(c->requests[0].alignment_prompt.n_pieces, 0);
    openai_call_close(c);
}

/* What a request brings is data: it names no special token. */
static void a_request_brings_its_own_template(void **state) {
    openai_call *c = rig_parse(&plain, OPENAI_COMPLETIONS,
                               "{\"prompt\":\"why\",\"forkcast\":{\"alignment_template\":\"<s>Is {prompt} good?\","
                               "\"mode\":\"judge\",\"suffix\":\"</s>\",\"labels\":[\"1\",\"0\"]}}");
    const fc_request *r = &c->requests[0];
    (void)state;
    assert_string_equal(pieces(&r->prompt), "[why]");
    assert_string_equal(pieces(&r->alignment_prompt), "[<s>Is ][why][ good?]");
    assert_string_equal(pieces(&r->suffix), "[</s>]");
    assert_string_equal(r->labels[1], "0");
    openai_call_close(c);
    assert_non_null(strstr(rig_refused(&plain, OPENAI_COMPLETIONS,
                                       "{\"prompt\":\"a\",\"forkcast\":{\"alignment_template\":\"{nope}\"}}", NULL),
                           "\"param\":\"forkcast\""));
}

static void ids_stand_as_they_are(void **state) {
    openai_call *c = rig_parse(&recipe, OPENAI_COMPLETIONS, "{\"prompt\":[65,66]}");
    (void)state;
    assert_int_equal(c->requests[0].prompt.n_ids, 2);
    assert_int_equal(c->requests[0].alignment_prompt.n_pieces, 3);
    openai_call_close(c);
}

/* The last user's words are what the alignment template asks about. */
static void a_chat_is_scored_by_the_template(void **state) {
    openai_call *c =
        rig_parse(&recipe, OPENAI_CHAT,
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"one\"},{\"role\":\"assistant\",\"content\":"
                  "\"x\"},{\"role\":\"user\",\"content\":\"two\"}]}");
    (void)state;
    assert_string_equal(pieces(&c->requests[0].alignment_prompt), "<Rate >[two]<:>");
    openai_call_close(c);
}

/* ---- models, ids, headers ---- */

static void models_are_found(void **state) {
    int http;
    const char *e = rig_refused(&plain, OPENAI_COMPLETIONS, "{\"model\":\"gpt\",\"prompt\":\"a\"}", &http);
    (void)state;
    assert_int_equal(http, 404);
    assert_string_equal(e,
                        "{\"error\":{\"message\":\"The model `gpt` does not exist; /v1/models lists those that do.\","
                        "\"type\":\"NotFoundError\",\"param\":\"model\",\"code\":404}}");
}

static void ids_and_headers(void **state) {
    const int low = 7;
    openai_call *c = rig_parse(&plain, OPENAI_COMPLETIONS, "{\"prompt\":\"a\"}");
    (void)state;
    assert_string_equal(c->id, "cmpl-0000000000001234");
    openai_call_close(c);
    plain.c.request_id = "from-header";
    plain.c.priority = &low;
    plain.c.api_key = "k1";
    c = rig_parse(&plain, OPENAI_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}");
    assert_string_equal(c->id, "chatcmpl-from-header");
    assert_int_equal(c->requests[0].priority, 7);
    assert_string_equal(c->requests[0].api_key, "k1");
    openai_call_close(c);
    c = rig_parse(&plain, OPENAI_COMPLETIONS, "{\"prompt\":\"a\",\"priority\":2,\"request_id\":\"body\"}");
    assert_string_equal(c->id, "cmpl-body");
    assert_int_equal(c->requests[0].priority, 2);
    openai_call_close(c);
    plain.c = (openai_context){.random = 0x1234, .now = 1700000000};
}

/* ---- live or not ---- */

static void live(const char *members, bool expected) {
    char body[512];
    openai_call *c;
    snprintf(body, sizeof body, "{\"prompt\":\"a\",\"stream\":true,%s}", members);
    c = rig_parse(&plain, OPENAI_COMPLETIONS, body);
    if (c->show->live != expected || c->requests[0].events < expected) fail_msg("%s: live %d", body, c->show->live);
    openai_call_close(c);
}

static void who_streams_live(void **state) {
    (void)state;
    live("\"n\":2", true);
    live("\"n\":2,\"best_of\":2", true);
    live("\"n\":1,\"best_of\":2", false);
    live("\"logprobs\":0", true);
    live("\"logprobs\":1,\"logprob_token_ids\":[70]", true);
    live("\"echo\":true", true);
    live("\"echo\":true,\"logprobs\":0", false);
    live("\"n\":2,\"forkcast\":{\"distinct\":true}", false);
    live("\"n\":2,\"forkcast\":{\"deadline_ms\":50}", false);
    live("\"n\":2,\"forkcast\":{\"stop_when\":\"stable:1\"}", false);
    live("\"guided_choice\":[\"a\",\"b\"]", true);
    live("\"guided_choice\":[\"a\",\"b\"],\"forkcast\":{\"constraint\":\"reject\"}", false);
}

/* ---- hostile ---- */

static void what_is_no_request(void **state) {
    static const char *const bodies[] = {
        "",
        " ",
        "null",
        "[]",
        "\"prompt\"",
        "{\"prompt\":\"a\"",
        "{\"prompt\":\"a\"} {}",
        "{\"prompt\":\"a\",}",
        "{\"prompt\":\"a\\u0000b\"}",
        "{\"prompt\":\"\xff\"}",
        "{\"prompt\":\"\xed\xa0\x80\"}",
        "{\"prompt\":\"a\",\"prompt\":\"b\"}",
        "{\"prompt\":\"a\",\"n\":1,\"\\u006e\":2}",
        "{\"prompt\":\"a\",\"seed\":01}",
        "{\"prompt\":\"a\",\"temperature\":NaN}",
        "{\"prompt\":\"a\",\"temperature\":1e999}",
        "{\"prompt\":\"a\",\"temperature\":-Infinity}",
        "{\"prompt\":\"a\",\"unknown\":1e400}",
        "{'prompt':'a'}",
        "{\"prompt\":\"a\n\"}",
    };
    char deep[256];
    int http;
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const char *e = rig_refused(&plain, OPENAI_COMPLETIONS, bodies[i], &http);
        if (http != 400 || !strstr(e, "\"type\":\"BadRequestError\"")) fail_msg("%s: %s", bodies[i], e);
    }
    snprintf(deep, sizeof deep, "{\"prompt\":\"a\",\"x\":%s1%s}", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
             "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
    assert_non_null(strstr(rig_refused(&plain, OPENAI_COMPLETIONS, deep, &http), "BadRequestError"));
}

/* A NUL in the bytes themselves, and a body that is not what its size says. */
static void bytes_are_counted(void **state) {
    static const char body[] = "{\"prompt\":\"a\"}\0{\"n\":0}";
    openai_call *c;
    openai_error e;
    (void)state;
    assert_int_equal(openai_call_parse(&plain.s, OPENAI_COMPLETIONS, &plain.c, body, sizeof body - 1, &c, &e),
                     FC_ERR_FORMAT);
    assert_int_equal(e.http, 400);
    assert_ok(openai_call_parse(&plain.s, OPENAI_COMPLETIONS, &plain.c, body, strlen(body), &c, &e));
    openai_call_close(c);
}

/* An error repeats no more of what came than fits a line. */
static void errors_do_not_grow(void **state) {
    fc_str s = {0};
    int http;
    (void)state;
    assert_ok(fc_str_puts(&s, "{\"prompt\":\"a\",\"model\":\""));
    for (int i = 0; i < 10000; i++) assert_ok(fc_str_puts(&s, "mmmmmmmmmm"));
    assert_ok(fc_str_puts(&s, "\"}"));
    assert_true(strlen(rig_refused(&plain, OPENAI_COMPLETIONS, s.data, &http)) < 300);
    fc_str_clear(&s);
    assert_ok(fc_str_puts(&s, "{\"prompt\":[0"));
    for (int i = 0; i < OPENAI_VALUES_MAX + 1; i++) assert_ok(fc_str_puts(&s, ",0"));
    assert_ok(fc_str_puts(&s, "]}"));
    assert_non_null(strstr(rig_refused(&plain, OPENAI_COMPLETIONS, s.data, &http), "commas; at most"));
    fc_str_fini(&s);
}

/* Whatever byte is missing or other, it is an error or a request, never a crash. */
static void any_damage_is_survived(void **state) {
    static const char body[] =
        "{\"prompt\":[\"a\",\"b\"],\"n\":2,\"best_of\":3,\"stop\":[\"x\"],\"logit_bias\":{\"5\":1},\"forkcast\":{"
        "\"draw\":"
        "\"iid\",\"labels\":[\"1\",\"0\"],\"mode\":\"judge\"},\"guided_choice\":[\"a\",\"b\"],\"stream\":true}";
    char copy[sizeof body];
    (void)state;
    for (size_t i = 0; i + 1 < sizeof body; i++)
        for (int k = 0; k < 4; k++) {
            openai_call *c;
            openai_error e;
            size_t size = sizeof body - 1;
            memcpy(copy, body, sizeof body);
            if (k == 0) size = i;
            else copy[i] = "\"]7"[k - 1];
            if (openai_call_parse(&plain.s, OPENAI_COMPLETIONS, &plain.c, copy, size, &c, &e)) continue;
            openai_call_close(c);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_of_each_kind),
        cmocka_unit_test(prompts_that_are_none),
        cmocka_unit_test(too_many_prompts),
        cmocka_unit_test(messages_become_the_models_prompt),
        cmocka_unit_test(a_final_message_goes_on),
        cmocka_unit_test(messages_that_are_none),
        cmocka_unit_test(n_and_best_of),
        cmocka_unit_test(what_the_recipe_does_not_say),
        cmocka_unit_test(the_recipe_fills_and_the_request_wins),
        cmocka_unit_test(a_mode_leaves_what_it_does_not_read),
        cmocka_unit_test(a_request_brings_its_own_template),
        cmocka_unit_test(ids_stand_as_they_are),
        cmocka_unit_test(a_chat_is_scored_by_the_template),
        cmocka_unit_test(models_are_found),
        cmocka_unit_test(ids_and_headers),
        cmocka_unit_test(who_streams_live),
        cmocka_unit_test(what_is_no_request),
        cmocka_unit_test(bytes_are_counted),
        cmocka_unit_test(errors_do_not_grow),
        cmocka_unit_test(any_damage_is_survived),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
