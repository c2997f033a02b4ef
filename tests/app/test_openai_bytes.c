/* Answers to the byte: events by hand, so that nothing hangs on a model. */
#include "tests/app/openai_rig.h"

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

/* ---- by hand ---- */

enum { LONG = 8 };

/* A candidate whose tokens are the bytes of its text; log-probs -0.5, -1.5, ... */
typedef struct {
    int32_t ids[LONG];
    float lps[LONG];
    int32_t top_ids[2 * LONG];
    float top_lps[2 * LONG];
} made;

static int32_t id_of(char byte) {
    int32_t *ids, id;
    size_t n;
    assert_ok(fc_tokenizer_encode(shared.tok[0], &byte, 1, false, false, &ids, &n));
    assert_int_equal(n, 1);
    id = ids[0];
    fc_memory_free(ids);
    return id;
}

enum { EOS = 2 }; /* what ends a candidate by itself */

static fc_candidate candidate(made *m, int index, const char *text, double score, bool ended) {
    size_t n = strlen(text);
    for (size_t i = 0; i <= n && i < LONG; i++) {
        m->ids[i] = i < n ? id_of(text[i]) : -1;
        m->lps[i] = -0.5f - (float)i;
        m->top_ids[2 * i] = id_of('x');
        m->top_lps[2 * i] = -0.25f;
        m->top_ids[2 * i + 1] = m->ids[i];
        m->top_lps[2 * i + 1] = m->lps[i];
    }
    return (fc_candidate){.index = index,
                          .text = text,
                          .text_size = n,
                          .tokens = m->ids,
                          .n_tokens = n,
                          .score = score,
                          .logprob = -1,
                          .gumbel = NAN,
                          .weight = NAN,
                          .full_logprob = NAN,
                          .votes = 1,
                          .valid = -1,
                          .finish = ended ? FC_FINISH_STOP : FC_FINISH_LENGTH,
                          .stop = -1,
                          .end_id = ended ? EOS : -1,
                          .logprobs = m->lps,
                          .n_logprobs = n + ended,
                          .top_ids = m->top_ids,
                          .top_logprobs = m->top_lps};
}

static fc_result result(fc_candidate *all, int n, fc_candidate *kept, int n_kept) {
    static const int32_t prompt[3] = {5, 6, 7};
    return (fc_result){
        .n = n,
        .n_kept = n_kept,
        .n_all = n,
        .kept = kept,
        .all = all,
        .scored = true,
        .prompt_tokens = 3,
        .prompt_ids = prompt,
        .confidence = {.logprob = -1, .vote_share = 0.5, .distinct = 2, .margin = 1, .n_used = n, .valid_mass = NAN}};
}

static openai_answer *begin(openai_route route, const char *body) {
    openai_answer *a;
    assert_ok(openai_answer_open(&shared.s, rig_parse(&shared, route, body), &a));
    return a;
}

static bool feed(openai_answer *a, size_t request, fc_event ev, fc_str *out) {
    openai_error e;
    bool over;
    if (openai_answer_event(a, request, &ev, out, &over, &e)) fail_msg("%s", e.message);
    return over;
}

static void token(openai_answer *a, int c, char byte, const char *text, fc_str *out) {
    fc_event ev = {.type = FC_EVENT_TOKEN, .candidate = c, .token = id_of(byte), .logprob = -0.5f, .text = text};
    ev.text_size = strlen(text);
    assert_false(feed(a, 0, ev, out));
}

static void ended(openai_answer *a, int c, const char *text, fc_finish finish, fc_str *out) {
    fc_event ev = {.type = FC_EVENT_CANDIDATE, .candidate = c, .finish = finish, .stop = -1, .text = text};
    ev.end_id = finish == FC_FINISH_STOP ? EOS : -1;
    ev.text_size = strlen(text);
    assert_false(feed(a, 0, ev, out));
}

static void scored(openai_answer *a, int c, double score, fc_str *out) {
    assert_false(feed(a, 0, (fc_event){.type = FC_EVENT_SCORE, .candidate = c, .score = score, .text = ""}, out));
}

static void check(fc_str *out, const char *expected) {
    assert_string_equal(fc_str_text(out), expected);
    fc_str_clear(out);
}

/* From "best_of" on, which print.c writes and the program's own tests look at. */
static void check_before_record(const fc_str *out, const char *expected) {
    const char *record = strstr(fc_str_text(out), ",\"best_of\":");
    assert_non_null(record);
    assert_int_equal(record - fc_str_text(out), strlen(expected));
    assert_memory_equal(fc_str_text(out), expected, strlen(expected));
}

#define TEXT_HEAD "{\"id\":\"cmpl-r1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"tiny\""
#define CHAT_HEAD                                                                                                      \
    "{\"id\":\"chatcmpl-r1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"tiny\""
#define PRINT           "\"system_fingerprint\":\"forkcast-" FC_VERSION "\""
#define TEXT_BODY(rest) "{\"prompt\":\"Hi\",\"request_id\":\"r1\"" rest "}"
#define CHAT_BODY(rest) "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"request_id\":\"r1\"" rest "}"

/* ---- whole answers ---- */

/* Ranked by candidate: the best twice, as two candidates drew it. */
static void choices_are_ranked(void **state) {
    made m[3];
    fc_str out = {0};
    openai_answer *a = begin(OPENAI_COMPLETIONS, TEXT_BODY(",\"n\":2,\"best_of\":3"));
    fc_candidate all[3], kept[2];
    fc_result r;
    (void)state;
    all[0] = candidate(&m[0], 0, "no", -2, false);
    all[1] = candidate(&m[1], 1, "yes", -1, true);
    all[2] = candidate(&m[1], 2, "yes", -1, true);
    kept[0] = all[1];
    kept[1] = all[0];
    r = result(all, 3, kept, 2);
    assert_true(feed(a, 0, (fc_event){.type = FC_EVENT_DONE, .result = &r}, &out));
    check_before_record(
        &out, TEXT_HEAD
        ",\"choices\":[{\"index\":0,\"text\":\"yes\",\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null,"
        "\"score\":-1,\"candidate_index\":1},"
        "{\"index\":1,\"text\":\"yes\",\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null,\"score\":-1,"
        "\"candidate_index\":2}],"
        "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":8,\"total_tokens\":11,"
        "\"prompt_tokens_details\":{\"cached_tokens\":0}}," PRINT);
    assert_non_null(
        strstr(out.data, ",\"best_of\":{\"prompt\":\"Hi\",\"n\":3,\"candidates\":[{\"rank\":0,\"index\":1,"));
    assert_string_equal(out.data + out.size - 3, "}}}");
    openai_answer_close(a);
    fc_str_fini(&out);
}

static void distinct_choices_differ(void **state) {
    made m[3];
    fc_str out = {0};
    openai_answer *a = begin(OPENAI_COMPLETIONS, TEXT_BODY(",\"n\":2,\"best_of\":3,\"forkcast\":{\"distinct\":true}"));
    fc_candidate all[3], kept[2];
    fc_result r;
    (void)state;
    all[0] = candidate(&m[0], 0, "no", -2, false);
    all[1] = candidate(&m[1], 1, "yes", -1, true);
    all[2] = candidate(&m[1], 2, "yes", -1, true);
    kept[0] = all[1];
    kept[1] = all[0];
    r = result(all, 3, kept, 2);
    assert_true(feed(a, 0, (fc_event){.type = FC_EVENT_DONE, .result = &r}, &out));
    assert_int_equal(rig_count(out.data, "\"candidate_index\":1}"), 1);
    assert_int_equal(rig_count(out.data, "\"candidate_index\":0}"), 1);
    openai_answer_close(a);
    fc_str_fini(&out);
}

static void logprobs_of_completions(void **state) {
    made m;
    fc_str out = {0};
    openai_answer *a = begin(OPENAI_COMPLETIONS, TEXT_BODY(",\"logprobs\":2"));
    fc_candidate c = candidate(&m, 0, "a\"", -2, true);
    fc_result r;
    (void)state;
    c.top_n = 2;
    m.lps[1] = -INFINITY;
    m.top_lps[3] = -INFINITY;
    r = result(&c, 1, &c, 1);
    assert_true(feed(a, 0, (fc_event){.type = FC_EVENT_DONE, .result = &r}, &out));
    assert_non_null(strstr(out.data, "\"logprobs\":{\"text_offset\":[0,1],\"token_logprobs\":[-0.5,-9999.0],"
                                     "\"tokens\":[\"a\",\"\\\"\"],\"top_logprobs\":[{\"a\":-0.5,\"x\":-0.25},"
                                     "{\"\\\"\":-9999.0,\"x\":-0.25}]},"));
    openai_answer_close(a);
    fc_str_fini(&out);
}

static void logprobs_of_chats(void **state) {
    made m;
    fc_str out = {0};
    openai_answer *a = begin(OPENAI_CHAT, CHAT_BODY(",\"logprobs\":true,\"top_logprobs\":1"));
    fc_candidate c = candidate(&m, 0, "a", NAN, false);
    fc_result r;
    (void)state;
    c.top_n = 1;
    r = result(&c, 1, &c, 1);
    assert_true(feed(a, 0, (fc_event){.type = FC_EVENT_DONE, .result = &r}, &out));
    check_before_record(
        &out,
        "{\"id\":\"chatcmpl-r1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"tiny\",\"choices\":["
        "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\"},"
        "\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],"
        "\"top_logprobs\":[{\"token\":\"x\",\"logprob\":-0.25,\"bytes\":[120]}]}]},"
        "\"finish_reason\":\"length\",\"stop_reason\":null,\"score\":null,\"candidate_index\":0}],"
        "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4,"
        "\"prompt_tokens_details\":{\"cached_tokens\":0}}," PRINT);
    openai_answer_close(a);
    fc_str_fini(&out);
}

static void token_ids_are_shown(void **state) {
    made m;
    fc_str out = {0};
    char expected[128];
    openai_answer *a = begin(OPENAI_COMPLETIONS, TEXT_BODY(",\"return_token_ids\":true"));
    fc_candidate c = candidate(&m, 0, "ab", -2, false);
    fc_result r = result(&c, 1, &c, 1);
    (void)state;
    assert_true(feed(a, 0, (fc_event){.type = FC_EVENT_DONE, .result = &r}, &out));
    snprintf(expected, sizeof expected, "\"token_ids\":[%d,%d],\"prompt_token_ids\":[5,6,7],\"score\":-2", m.ids[0],
             m.ids[1]);
    assert_non_null(strstr(out.data, expected));
    openai_answer_close(a);
    fc_str_fini(&out);
}

/* The engine cuts the text in front of the stop string: what is cut says which it was. */
static void stop_reasons(void **state) {
    made m;
    fc_str out = {0};
    openai_answer *a = begin(OPENAI_COMPLETIONS, TEXT_BODY(",\"stop\":[\"zz\",\"cd\"]"));
    fc_candidate c = candidate(&m, 0, "abcd", -2, false);
    fc_result r;
    (void)state;
    c.finish = FC_FINISH_STOP;
    c.stop = 1;
    c.text_size = 2;
    r = result(&c, 1, &c, 1);
    assert_true(feed(a, 0, (fc_event){.type = FC_EVENT_DONE, .result = &r}, &out));
    assert_non_null(
        strstr(out.data, "\"text\":\"ab\",\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":\"cd\""));
    openai_answer_close(a);
    fc_str_clear(&out);

    a = begin(OPENAI_COMPLETIONS, TEXT_BODY(",\"stop_token_ids\":[77]"));
    c = candidate(&m, 0, "ab", -2, true);
    c.end_id = 77;
    r = result(&c, 1, &c, 1);
    assert_true(feed(a, 0, (fc_event){.type = FC_EVENT_DONE, .result = &r}, &out));
    assert_non_null(strstr(out.data, "\"finish_reason\":\"stop\",\"stop_reason\":77,"));
    openai_answer_close(a);
    fc_str_fini(&out);
}

/* ---- streams ---- */

/* Each candidate as it is drawn; the score in the last chunk of each; the record in the very last. */
static void live_stream(void **state) {
    made m[2];
    fc_str out = {0};
    openai_answer *a =
        begin(OPENAI_COMPLETIONS, TEXT_BODY(",\"n\":2,\"stream\":true,\"stream_options\":{\"include_usage\":true}"));
    fc_candidate all[2];
    fc_result r;
    (void)state;
    assert_true(openai_answer_call(a)->sends_early);
    token(a, 1, 'a', "a", &out);
    check(&out, "data: " TEXT_HEAD ",\"choices\":[{\"index\":1,\"text\":\"a\",\"logprobs\":null,"
                "\"finish_reason\":null}]," PRINT "}\n\n");
    token(a, 0, 'b', "", &out); /* may begin a character, or a stop string */
    check(&out, "");
    token(a, 0, 'c', "bc", &out);
    check(&out, "data: " TEXT_HEAD ",\"choices\":[{\"index\":0,\"text\":\"bc\",\"logprobs\":null,"
                "\"finish_reason\":null}]," PRINT "}\n\n");
    ended(a, 1, "a", FC_FINISH_STOP, &out);
    ended(a, 0, "bc!", FC_FINISH_LENGTH, &out);
    check(&out, "");
    scored(a, 1, -1.25, &out);
    check(&out, ""); /* held: it may be the very last */
    scored(a, 0, -3, &out);
    check(&out,
          "data: " TEXT_HEAD ",\"choices\":[{\"index\":1,\"text\":\"\",\"logprobs\":null,"
          "\"finish_reason\":\"stop\",\"stop_reason\":null,\"score\":-1.25,\"candidate_index\":1}]," PRINT "}\n\n");
    all[0] = candidate(&m[0], 0, "bc!", -3, false);
    all[1] = candidate(&m[1], 1, "a", -1.25, true);
    r = result(all, 2, all, 2);
    assert_true(feed(a, 0, (fc_event){.type = FC_EVENT_DONE, .result = &r}, &out));
    check_before_record(
        &out, "data: " TEXT_HEAD ",\"choices\":[{\"index\":0,\"text\":\"!\",\"logprobs\":null,"
              "\"finish_reason\":\"length\",\"stop_reason\":null,\"score\":-3,\"candidate_index\":0}]," PRINT);
    assert_non_null(strstr(out.data, "}}\n\ndata: " TEXT_HEAD ",\"choices\":[],\"usage\":{\"prompt_tokens\":3,"
                                     "\"completion_tokens\":5,\"total_tokens\":8,\"prompt_tokens_details\":"
                                     "{\"cached_tokens\":0}}," PRINT "}\n\ndata: [DONE]\n\n"));
    openai_answer_close(a);
    fc_str_fini(&out);
}

/* The role comes with the first text: an empty chunk before it would count as a first token. */
static void live_chat(void **state) {
    made m;
    fc_str out = {0};
    openai_answer *a = begin(OPENAI_CHAT, CHAT_BODY(",\"stream\":true,\"forkcast\":{\"score\":false}"));
    fc_candidate c;
    fc_result r;
    (void)state;
    token(a, 0, 'a', "a", &out);
    check(&out, "data: " CHAT_HEAD ",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                "\"logprobs\":null,\"finish_reason\":null}]," PRINT "}\n\n"
                "data: " CHAT_HEAD ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":null,"
                "\"finish_reason\":null}]," PRINT "}\n\n");
    ended(a, 0, "a", FC_FINISH_STOP, &out);
    check(&out, "");
    c = candidate(&m, 0, "a", NAN, true);
    r = result(&c, 1, &c, 1);
    assert_true(feed(a, 0, (fc_event){.type = FC_EVENT_DONE, .result = &r}, &out));
    check_before_record(
        &out, "data: " CHAT_HEAD ",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
              "\"finish_reason\":\"stop\",\"stop_reason\":null,\"score\":null,\"candidate_index\":0}]," PRINT);
    assert_string_equal(out.data + out.size - 17, "}\n\ndata: [DONE]\n\n");
    openai_answer_close(a);
    fc_str_fini(&out);
}

/* A token with its log-prob waits for the next one, as the end token has none. */
static void live_logprobs(void **state) {
    made m;
    fc_str out = {0};
    openai_answer *a = begin(OPENAI_COMPLETIONS, TEXT_BODY(",\"stream\":true,\"logprobs\":0"));
    fc_candidate c;
    fc_result r;
    (void)state;
    token(a, 0, 'a', "a", &out);
    check(&out, "");
    token(a, 0, 'b', "b", &out);
    check(&out, "data: " TEXT_HEAD ",\"choices\":[{\"index\":0,\"text\":\"a\",\"logprobs\":{\"text_offset\":[0],"
                "\"token_logprobs\":[-0.5],\"tokens\":[\"a\"],\"top_logprobs\":[{\"a\":-0.5}]},"
                "\"finish_reason\":null}]," PRINT "}\n\n");
    token(a, 0, 'c', "", &out); /* the end token, as it turns out */
    fc_str_clear(&out);
    ended(a, 0, "ab", FC_FINISH_STOP, &out);
    scored(a, 0, -1, &out);
    c = candidate(&m, 0, "ab", -1, true);
    r = result(&c, 1, &c, 1);
    assert_true(feed(a, 0, (fc_event){.type = FC_EVENT_DONE, .result = &r}, &out));
    check_before_record(&out,
                        "data: " TEXT_HEAD ",\"choices\":[{\"index\":0,\"text\":\"\",\"logprobs\":{\"text_offset\":[],"
                        "\"token_logprobs\":[],\"tokens\":[],\"top_logprobs\":[]},"
                        "\"finish_reason\":\"stop\",\"stop_reason\":null,\"score\":-1,\"candidate_index\":0}]," PRINT);
    openai_answer_close(a);
    fc_str_fini(&out);
}

/* The winner of more candidates than choices: a chunk a token, none inside a character. */
static void judged_stream(void **state) {
    made m[2];
    fc_str out = {0};
    openai_answer *a = begin(OPENAI_CHAT, CHAT_BODY(",\"best_of\":2,\"stream\":true"));
    fc_candidate all[2], kept[1];
    fc_result r;
    (void)state;
    assert_false(openai_answer_call(a)->sends_early);
    all[0] = candidate(&m[0], 0, "no", -2, false);
    all[1] = candidate(&m[1], 1, "a\xC3\xA9z", -1, true);
    kept[0] = all[1];
    r = result(all, 2, kept, 1);
    assert_true(feed(a, 0, (fc_event){.type = FC_EVENT_DONE, .result = &r}, &out));
    check_before_record(
        &out, "data: " CHAT_HEAD ",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
              "\"logprobs\":null,\"finish_reason\":null}]," PRINT "}\n\n"
              "data: " CHAT_HEAD ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":null,"
              "\"finish_reason\":null}]," PRINT "}\n\n"
              "data: " CHAT_HEAD ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xC3\xA9\"},\"logprobs\":null,"
              "\"finish_reason\":null}]," PRINT "}\n\n"
              "data: " CHAT_HEAD ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"z\"},\"logprobs\":null,"
              "\"finish_reason\":\"stop\",\"stop_reason\":null,\"score\":-1,\"candidate_index\":1}]," PRINT);
    openai_answer_close(a);
    fc_str_fini(&out);
}

static void events_are_shown(void **state) {
    fc_str out = {0};
    openai_answer *a =
        begin(OPENAI_COMPLETIONS, TEXT_BODY(",\"best_of\":3,\"stream\":true,\"forkcast\":{\"events\":true}"));
    char expected[512];
    (void)state;
#define EVENT                                                                                                          \
    "data: "                                                                                                           \
    "{\"id\":\"cmpl-r1\",\"object\":\"forkcast.event\",\"created\":1700000000,\"model\":\"tiny\",\"choices\":[],"      \
    "\"event\":"
    token(a, 2, 'a', "a", &out);
    snprintf(expected, sizeof expected,
             EVENT
             "{\"type\":\"token\",\"prompt\":0,\"candidate\":2,\"token\":%d,\"text\":\"a\",\"logprob\":-0.5}}\n\n",
             id_of('a'));
    check(&out, expected);
    ended(a, 2, "ab", FC_FINISH_STOP, &out);
    check(&out, EVENT "{\"type\":\"candidate\",\"prompt\":0,\"candidate\":2,\"text\":\"ab\",\"finish_reason\":\"stop\","
                      "\"same_as\":2,\"votes\":1}}\n\n");
    ended(a, 1, "ab", FC_FINISH_STOP, &out);
    check(&out, EVENT "{\"type\":\"candidate\",\"prompt\":0,\"candidate\":1,\"text\":\"ab\",\"finish_reason\":\"stop\","
                      "\"same_as\":1,\"votes\":2}}\n\n");
    scored(a, 1, NAN, &out);
    check(&out, EVENT "{\"type\":\"score\",\"prompt\":0,\"candidate\":1,\"score\":null}}\n\n");
    openai_answer_close(a);
    fc_str_fini(&out);
}

/* ---- failures ---- */

static void errors_are_objects(void **state) {
    static const struct {
        fc_status st;
        bool draining;
        int http;
        const char *type;
        bool retry;
    } rows[] = {{FC_ERR_ARG, false, 400, "BadRequestError", false},
                {FC_ERR_FORMAT, false, 400, "BadRequestError", false},
                {FC_ERR_IO, false, 500, "InternalServerError", true},
                {FC_ERR_MEM, false, 503, "ServiceUnavailableError", true},
                {FC_ERR_FULL, false, 429, "RateLimitError", true},
                {FC_ERR_FULL, true, 503, "ServiceUnavailableError", true},
                {FC_ERR_UNSUPPORTED, false, 501, "NotImplementedError", false},
                {FC_ERR_CANCELLED, false, 503, "ServiceUnavailableError", true},
                {FC_ERR_TIMEOUT, false, 504, "TimeoutError", false},
                {FC_ERR_INTERNAL, false, 500, "InternalServerError", true}};
    openai_error e;
    fc_str out = {0};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        openai_error_of(rows[i].st, "why", NULL, rows[i].draining, &e);
        assert_int_equal(e.http, rows[i].http);
        assert_string_equal(e.type, rows[i].type);
        assert_int_equal(e.may_retry, rows[i].retry);
    }
    openai_error_of(FC_ERR_ARG, "min_tokens = 9; 0 to 4 are possible", NULL, false, &e);
    assert_ok(openai_error_put(&e, &out));
    check(&out, "{\"error\":{\"message\":\"min_tokens = 9; 0 to 4 are possible\",\"type\":\"BadRequestError\","
                "\"param\":\"min_tokens\",\"code\":400}}");
    openai_error_of(FC_ERR_FULL, "submit: \"full\"", NULL, false, &e);
    assert_ok(openai_stream_error(&e, &out));
    check(&out, "data: {\"error\":{\"message\":\"submit: \\\"full\\\"\",\"type\":\"RateLimitError\",\"param\":null,"
                "\"code\":429}}\n\ndata: [DONE]\n\n");
    openai_error_http(405, "POST alone", &e);
    assert_string_equal(e.type, "MethodNotAllowedError");
    assert_string_equal(openai_ping, ": ping\n\n");
    fc_str_fini(&out);
}

static void a_failed_request_fails_the_answer(void **state) {
    openai_answer *a = begin(OPENAI_COMPLETIONS, "{\"prompt\":[\"a\",\"b\"]}");
    fc_event ev = {.type = FC_EVENT_DONE, .status = FC_ERR_TIMEOUT, .error = "deadline_ms = 5: nothing was complete"};
    fc_str out = {0};
    openai_error e;
    bool over;
    (void)state;
    assert_int_equal(openai_answer_event(a, 1, &ev, &out, &over, &e), FC_ERR_TIMEOUT);
    assert_false(over);
    assert_int_equal(out.size, 0);
    assert_int_equal(e.http, 504);
    assert_string_equal(e.message, ev.error);
    openai_answer_close(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_are_ranked),
        cmocka_unit_test(distinct_choices_differ),
        cmocka_unit_test(logprobs_of_completions),
        cmocka_unit_test(logprobs_of_chats),
        cmocka_unit_test(token_ids_are_shown),
        cmocka_unit_test(stop_reasons),
        cmocka_unit_test(live_stream),
        cmocka_unit_test(live_chat),
        cmocka_unit_test(live_logprobs),
        cmocka_unit_test(judged_stream),
        cmocka_unit_test(events_are_shown),
        cmocka_unit_test(errors_are_objects),
        cmocka_unit_test(a_failed_request_fails_the_answer),
    };
    return cmocka_run_group_tests(tests, open_shared, close_shared);
}
