/* Scores in the forms of vLLM, SGLang, Jina, Cohere and TEI, and what a server says of itself and its tokenizer. */
#include "tests/app/openai_rig.h"

static const char recipe_text[] = "{\"alignment\":{\"mode\":\"loglik-mean\",\"template\":\"Next to {prompt}:\"}}";

static rig shared, alone; /* with a recipe; one model that draws and nothing that scores */

static int open_all(void **state) {
    (void)state;
    rig_open(&shared, recipe_text, true);
    rig_open(&alone, NULL, false);
    return 0;
}

static int close_all(void **state) {
    (void)state;
    rig_close(&alone);
    rig_close(&shared);
    return 0;
}

static fc_json_doc *post(rig *r, openai_route route, const char *body) {
    int http;
    char *text = rig_post(r, route, body, &http);
    fc_json_doc *d;
    if (http != 200) fail_msg("%s: %d %s", body, http, text);
    d = rig_json(text);
    free(text);
    return d;
}

/* Of "tea", "rain" and "owl" behind the template, by the C API. */
static void own_scores(const char *query, double out[3]) {
    static const fc_given given[3] = {
        {.text = "tea", .size = 3}, {.text = "rain", .size = 4}, {.text = "owl", .size = 3}};
    const fc_piece pieces[3] = {{"Next to ", 8, true}, {query, strlen(query), false}, {":", 1, true}};
    fc_request r;
    fc_event ev;
    fc_request_init(&r);
    r.alignment_prompt = r.prompt = (fc_prompt){.pieces = pieces, .n_pieces = 3};
    r.score = true;
    r.given = given;
    r.n_given = 3;
    ev = run_request(shared.e, &r);
    for (int i = 0; i < 3; i++) out[i] = ev.result->all[i].score;
    fc_event_fini(&ev);
}

static void close_to(double a, double b) {
    if (!(fabs(a - b) <= 1e-8 * fabs(b))) fail_msg("%.12g, not %.12g", a, b);
}

/* ---- vLLM's /score ---- */

static void one_query_many_documents(void **state) {
    static const char *const forms[] = {
        "{\"queries\":\"sun\",\"documents\":[\"tea\",\"rain\",\"owl\"]}",
        "{\"queries\":[\"sun\"],\"items\":[\"tea\",\"rain\",\"owl\"]}",
        "{\"data_1\":\"sun\",\"data_2\":[{\"text\":\"tea\"},\"rain\",{\"type\":\"text\",\"text\":\"owl\"}]}",
        "{\"text_1\":\"sun\",\"text_2\":[\"tea\",\"rain\",\"owl\"],\"model\":\"tiny\"}"};
    double own[3];
    (void)state;
    own_scores("sun", own);
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        fc_json_doc *d = post(&shared, OPENAI_SCORE, forms[f]);
        assert_string_equal(rig_text(d, "id"), "score-0000000000001234");
        assert_string_equal(rig_text(d, "object"), "list");
        assert_string_equal(rig_text(d, "data.1.object"), "score");
        assert_int_equal(rig_number(d, "data.2.index"), 2);
        close_to(rig_number(d, "data.0.score"), own[0]);
        close_to(rig_number(d, "data.1.score"), own[1]);
        close_to(rig_number(d, "data.2.score"), own[2]);
        assert_true(rig_number(d, "usage.prompt_tokens") > 3);
        assert_true(rig_number(d, "usage.total_tokens") == rig_number(d, "usage.prompt_tokens"));
        fc_json_close(d);
    }
}

static void pairs_are_scored_pairwise(void **state) {
    fc_json_doc *d = post(&shared, OPENAI_SCORE,
                          "{\"queries\":[\"sun\",\"sea\"],\"documents\":[\"tea\",\"rain\"],\"use_activation\":true}");
    double sun[3], sea[3];
    (void)state;
    own_scores("sun", sun);
    own_scores("sea", sea);
    close_to(rig_number(d, "data.0.score"), exp(sun[0]));
    close_to(rig_number(d, "data.1.score"), exp(sea[1]));
    fc_json_close(d);
}

static void what_cannot_be_scored(void **state) {
    static const struct {
        const char *body, *says;
        int http;
    } rows[] = {
        {"{}", "queries and documents are expected", 400},
        {"{\"queries\":\"a\"}", "queries and documents are expected", 400},
        {"{\"queries\":[\"a\",\"b\"],\"documents\":[\"c\",\"d\",\"e\"]}", "2 queries and 3 documents", 400},
        {"{\"queries\":\"a\",\"documents\":[]}", "\"param\":\"documents\"", 400},
        {"{\"queries\":\"a\",\"documents\":[\"\"]}", "it is empty", 400},
        {"{\"queries\":\"a\",\"documents\":[{\"image\":\"x\"}]}", "string is expected", 400},
        {"{\"queries\":\"a\",\"documents\":\"b\",\"truncate_prompt_tokens\":\"x\"}", "truncate_prompt_tokens", 400},
        {"{\"queries\":\"a\",\"documents\":\"b\",\"forkcast\":{\"n\":3}}", "nothing is drawn", 400},
        {"{\"queries\":\"a\",\"documents\":\"b\",\"model\":\"x\"}", "does not exist", 404}};
    int http;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *e = rig_refused(&shared, OPENAI_SCORE, rows[i].body, &http);
        if (http != rows[i].http || !strstr(e, rows[i].says)) fail_msg("%s: %d %s", rows[i].body, http, e);
    }
    rig_refused(&alone, OPENAI_SCORE, "{\"queries\":\"a\",\"documents\":\"b\"}", &http);
    assert_int_equal(http, 501);
    rig_refused(&alone, OPENAI_RERANK, "{\"query\":\"a\",\"documents\":[\"b\"]}", &http);
    assert_int_equal(http, 501);
}

/* ---- SGLang's /v1/score ---- */

static int32_t byte_id(rig *r, const char *byte) {
    int32_t *ids, id;
    size_t n;
    assert_ok(fc_tokenizer_encode(r->tok[0], byte, 1, false, false, &ids, &n));
    id = ids[0];
    fc_memory_free(ids);
    return id;
}

static void labels_have_probabilities(void **state) {
    rig *rigs[2] = {&shared, &alone};
    double soft[2][2][3] = {{{0}}};
    (void)state;
    for (int k = 0; k < 2; k++) {
        char body[256];
        int32_t ids[3] = {byte_id(rigs[k], "x"), byte_id(rigs[k], "y"), byte_id(rigs[k], "z")};
        fc_json_doc *d;
        snprintf(body, sizeof body,
                 "{\"query\":\"Is it? \",\"items\":[\"Yes.\",\"Maybe.\"],\"label_token_ids\":[%d,%d,%d],"
                 "\"apply_softmax\":true,\"model\":\"tiny\"}",
                 ids[0], ids[1], ids[2]);
        d = post(rigs[k], OPENAI_SCORE, body);
        assert_string_equal(rig_text(d, "object"), "scoring");
        for (int i = 0; i < 2; i++) {
            double sum = 0;
            for (int l = 0; l < 3; l++) {
                char path[32];
                snprintf(path, sizeof path, "scores.%d.%d", i, l);
                sum += soft[k][i][l] = rig_number(d, path);
            }
            assert_true(fabs(sum - 1) < 1e-6);
        }
        fc_json_close(d);
    }
    /* judged behind the query, and drawn behind both in one text: where tokens do not join the same */
    for (int i = 0; i < 2; i++)
        for (int l = 0; l < 3; l++) assert_true(fabs(soft[0][i][l] - soft[1][i][l]) < 1e-5);
}

static void labels_of_the_whole_vocabulary(void **state) {
    char body[256];
    fc_json_doc *d;
    double whole[2], soft[2];
    int32_t x = byte_id(&shared, "x"), y = byte_id(&shared, "y");
    (void)state;
    snprintf(body, sizeof body,
             "{\"query\":[70,71],\"items\":[[72],[73]],\"label_token_ids\":[%d,%d],\"item_first\":true}", x, y);
    d = post(&shared, OPENAI_SCORE, body);
    whole[0] = rig_number(d, "scores.1.0");
    whole[1] = rig_number(d, "scores.1.1");
    fc_json_close(d);
    snprintf(body, sizeof body,
             "{\"query\":[70,71],\"items\":[[72],[73]],\"label_token_ids\":[%d,%d],\"item_first\":true,"
             "\"apply_softmax\":true}",
             x, y);
    d = post(&shared, OPENAI_SCORE, body);
    soft[0] = rig_number(d, "scores.1.0");
    soft[1] = rig_number(d, "scores.1.1");
    fc_json_close(d);
    assert_true(whole[0] > 0 && whole[0] + whole[1] < 1);
    assert_true(fabs(whole[0] / (whole[0] + whole[1]) - soft[0]) < 1e-5);
    assert_true(fabs(soft[0] + soft[1] - 1) < 1e-6);
    assert_non_null(strstr(rig_refused(&shared, OPENAI_SCORE, "{\"query\":\"a\",\"items\":[\"b\"]}", NULL),
                           "\"param\":\"label_token_ids\""));
}

/* ---- rerank ---- */

static void documents_are_ranked(void **state) {
    double own[3], best;
    int first = 0;
    fc_json_doc *d;
    (void)state;
    own_scores("sun", own);
    for (int i = 1; i < 3; i++)
        if (own[i] > own[first]) first = i;
    best = own[first];
    d = post(&shared, OPENAI_RERANK, "{\"query\":\"sun\",\"documents\":[\"tea\",{\"text\":\"rain\"},\"owl\"]}");
    assert_string_equal(rig_text(d, "id"), "rerank-0000000000001234");
    assert_int_equal(fc_json_count(rig_at(d, "results")), 3);
    assert_int_equal(rig_number(d, "results.0.index"), first);
    close_to(rig_number(d, "results.0.relevance_score"), best);
    assert_string_equal(rig_text(d, "results.0.document.text"), first == 0 ? "tea" : first == 1 ? "rain" : "owl");
    assert_true(rig_number(d, "results.1.relevance_score") >= rig_number(d, "results.2.relevance_score"));
    assert_null(fc_json_get(fc_json_root(d), "meta"));
    fc_json_close(d);
    d = post(&shared, OPENAI_RERANK_V2, "{\"query\":\"sun\",\"documents\":[\"tea\",\"rain\",\"owl\"],\"top_n\":1}");
    assert_int_equal(fc_json_count(rig_at(d, "results")), 1);
    assert_int_equal(rig_number(d, "results.0.index"), first);
    assert_null(fc_json_get(rig_at(d, "results.0"), "document"));
    assert_string_equal(rig_text(d, "meta.api_version.version"), "2");
    fc_json_close(d);
    d = post(&shared, OPENAI_RERANK,
             "{\"query\":\"sun\",\"texts\":[\"tea\",\"rain\",\"owl\"],\"raw_scores\":true,"
             "\"return_text\":true}");
    assert_int_equal(fc_json_kind(fc_json_root(d)), FC_JSON_ARRAY);
    assert_int_equal(rig_number(d, "0.index"), first);
    close_to(rig_number(d, "0.score"), best);
    assert_string_equal(rig_text(d, "0.text"), first == 0 ? "tea" : first == 1 ? "rain" : "owl");
    fc_json_close(d);
    d = post(&shared, OPENAI_RERANK, "{\"query\":\"sun\",\"texts\":[\"tea\",\"rain\",\"owl\"]}");
    close_to(rig_number(d, "0.score"), exp(best));
    assert_null(fc_json_get(rig_at(d, "0"), "text"));
    fc_json_close(d);
}

/* Equal documents are computed once, and all are shown; a cut one is another. */
static void documents_may_repeat_and_be_cut(void **state) {
    fc_json_doc *d = post(&shared, OPENAI_RERANK,
                          "{\"query\":\"sun\",\"documents\":[\"tea\",\"tea\",\"tea time\"],"
                          "\"max_tokens_per_doc\":1,\"top_n\":0}");
    (void)state;
    assert_int_equal(fc_json_count(rig_at(d, "results")), 3);
    close_to(rig_number(d, "results.0.relevance_score"), rig_number(d, "results.2.relevance_score"));
    assert_int_equal(rig_number(d, "results.1.index"), 1);
    fc_json_close(d);
    assert_non_null(
        strstr(rig_refused(&shared, OPENAI_RERANK, "{\"documents\":[\"a\"]}", NULL), "\"param\":\"query\""));
    assert_non_null(strstr(rig_refused(&shared, OPENAI_RERANK, "{\"query\":\"a\"}", NULL), "\"param\":\"documents\""));
    assert_non_null(strstr(
        rig_refused(&shared, OPENAI_RERANK_V2, "{\"query\":\"a\",\"documents\":[\"b\"],\"rank_fields\":[\"x\"]}", NULL),
        "\"param\":\"rank_fields\""));
}

/* ---- what a server says of itself ---- */

/* If this fails, who wants long queries cut to what fits is turned away, or cut too short. */
static void queries_are_cut_to_the_context(void **state) {
    static const char form[] =
        "{\"query\":\"%s\",\"documents\":[\"tea\",\"rain and owls\"],\"truncate_prompt_tokens\":%d}";
    const int ctx = shared.s.info.alignment.ctx;
    const size_t room = 4 * (size_t)ctx + sizeof form + 16;
    char *query = calloc(4 * (size_t)ctx + 1, 1), *body = calloc(room, 1);
    double own[2];
    int32_t *ids;
    size_t longest;
    openai_call *c;
    (void)state;
    assert_true(query && body);
    assert_ok(fc_tokenizer_encode(shared.tok[FC_ALIGNMENT], "rain and owls", 13, false, false, &ids, &longest));
    fc_memory_free(ids);
    for (int i = 0; i < 2 * ctx; i++) memcpy(query + 2 * i, i % 3 ? "q " : "z ", 2);
    for (int k = 0; k < 2; k++) {
        fc_json_doc *d;
        snprintf(body, room, form, query, k ? ctx - (int)longest : -1);
        c = rig_parse(&shared, OPENAI_RERANK, body);
        assert_int_equal(c->requests[0].truncate_prompt_tokens, ctx - (int)longest);
        openai_call_close(c);
        d = post(&shared, OPENAI_RERANK, body);
        own[k] = rig_number(d, "results.0.relevance_score");
        fc_json_close(d);
    }
    assert_true(own[0] == own[1]);
    free(body);
    free(query);
}

static void check(fc_str *out, const char *expected) {
    assert_string_equal(fc_str_text(out), expected);
    fc_str_clear(out);
}

static void models_are_listed(void **state) {
    fc_str out = {0};
    char expected[1024];
    int ctx = shared.s.info.novelty.ctx;
    openai_error e;
#define MODEL                                                                                                          \
    "{\"id\":\"%s\",\"object\":\"model\",\"created\":1600000000,\"owned_by\":\"forkcast\",\"root\":\"%s\",\"parent\":" \
    "%s,"                                                                                                              \
    "\"max_model_len\":%d,\"permission\":[]}"
    (void)state;
    snprintf(expected, sizeof expected, "{\"object\":\"list\",\"data\":[" MODEL "," MODEL "]}", "tiny", "tiny-root",
             "null", ctx, "tuned", "tuned-root", "\"tiny\"", ctx);
    assert_ok(openai_models(&shared.s, &out));
    check(&out, expected);
    snprintf(expected, sizeof expected, MODEL, "tuned", "tuned-root", "\"tiny\"", ctx);
    assert_ok(openai_model_one(&shared.s, "tuned", &out, &e));
    check(&out, expected);
    assert_int_equal(openai_model_one(&shared.s, "nope", &out, &e), FC_ERR_ARG);
    assert_int_equal(e.http, 404);
    assert_ok(openai_version(&out));
    check(&out, "{\"version\":\"" FC_VERSION "\"}");
    assert_int_equal(openai_health(true, true, &out), 200);
    check(&out, "");
    assert_int_equal(openai_health(true, false, &out), 503);
    check(&out, "{\"error\":{\"message\":\"the server is loading or draining\",\"type\":\"ServiceUnavailableError\","
                "\"param\":null,\"code\":503}}");
    assert_int_equal(openai_health(false, true, &out), 503);
    fc_str_fini(&out);
}

/* ---- tokenizer ---- */

static void tokens(const char *body, const char *begins, const char *contains) {
    fc_str out = {0};
    openai_error e;
    if (openai_tokenize(&shared.s, body, strlen(body), &out, &e)) fail_msg("%s: %s", body, e.message);
    if (strncmp(out.data, begins, strlen(begins)) != 0 || !strstr(out.data, contains))
        fail_msg("%s: %s", body, out.data);
    fc_str_fini(&out);
}

static void text_becomes_tokens(void **state) {
    fc_str out = {0};
    openai_error e;
    char expected[256], body[64];
    int32_t x = byte_id(&shared, "x");
    (void)state;
    snprintf(expected, sizeof expected, "{\"count\":1,\"max_model_len\":%d,\"tokens\":[%d]}", shared.s.info.novelty.ctx,
             x);
    tokens("{\"model\":\"tiny\",\"prompt\":\"x\",\"add_special_tokens\":false}", expected, "");
    snprintf(expected, sizeof expected, "{\"count\":1,\"max_model_len\":%d,\"tokens\":[%d],\"token_strs\":[\"x\"]}",
             shared.s.info.novelty.ctx, x); /* this tokenizer's rule puts no BOS in front */
    tokens("{\"prompt\":\"x\",\"return_token_strs\":true}", expected, "");
    snprintf(expected, sizeof expected, "{\"tokens\":[%d]}", x);
    tokens("{\"content\":\"x\"}", expected, "");
    tokens("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "{\"count\":", "\"tokens\":[");
    tokens("{\"prompt\":\"\",\"add_special_tokens\":false}", "{\"count\":0", "\"tokens\":[]");
    snprintf(body, sizeof body, "{\"tokens\":[%d,%d]}", x, byte_id(&shared, "y"));
    assert_ok(openai_detokenize(&shared.s, body, strlen(body), &out, &e));
    check(&out, "{\"prompt\":\"xy\"}");
    assert_int_not_equal(openai_detokenize(&shared.s, "{\"tokens\":[-1]}", 15, &out, &e), FC_OK);
    assert_string_equal(e.param, "tokens");
    assert_int_not_equal(openai_detokenize(&shared.s, "{}", 2, &out, &e), FC_OK);
    assert_int_not_equal(openai_tokenize(&shared.s, "{}", 2, &out, &e), FC_OK);
    assert_string_equal(e.param, "prompt");
    assert_int_not_equal(openai_tokenize(&shared.s, "{\"prompt\":\"a\",\"model\":\"z\"}", 26, &out, &e), FC_OK);
    assert_int_equal(e.http, 404);
    fc_str_fini(&out);
}

/* If this fails, /tokenize says other ids than the engine computes with. */
static void a_chats_tokens_are_the_engines(void **state) {
    static const char list[] =
        "[{\"role\":\"system\",\"content\":\"Be\"},{\"role\":\"user\",\"content\":\"a <s>  b\\n\"}]";
    char body[256], *answer, ids[512];
    fc_str out = {0};
    openai_error e;
    int http;
    (void)state;
    snprintf(body, sizeof body, "{\"messages\":%s}", list);
    assert_ok(openai_tokenize(&shared.s, body, strlen(body), &out, &e));
    snprintf(body, sizeof body, "{\"messages\":%s,\"max_tokens\":1,\"n\":1,\"best_of\":1,\"return_token_ids\":true}",
             list);
    answer = rig_post(&shared, OPENAI_CHAT, body, &http);
    snprintf(ids, sizeof ids, "\"prompt_token_ids\":%s", strstr(out.data, "\"tokens\":") + strlen("\"tokens\":"));
    ids[strcspn(ids, "]") + 1] = '\0';
    if (!strstr(answer, ids)) fail_msg("%s is not in %s", ids, answer);
    free(answer);
    fc_str_fini(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_query_many_documents),
        cmocka_unit_test(pairs_are_scored_pairwise),
        cmocka_unit_test(what_cannot_be_scored),
        cmocka_unit_test(labels_have_probabilities),
        cmocka_unit_test(labels_of_the_whole_vocabulary),
        cmocka_unit_test(documents_are_ranked),
        cmocka_unit_test(documents_may_repeat_and_be_cut),
        cmocka_unit_test(queries_are_cut_to_the_context),
        cmocka_unit_test(models_are_listed),
        cmocka_unit_test(text_becomes_tokens),
        cmocka_unit_test(a_chats_tokens_are_the_engines),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
