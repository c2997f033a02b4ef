/* What servers are asked, by what they understand, and what of their answers is read. */
#include "engine/app/bench/remote_json.h"
#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "tests/util.h"

static const int32_t ids[] = {5, 6, 7};
static fc_request request;
static bench_prompts drawn = {.tokens = 3};
static const bench_line lines[] = {{.text = "say \"x\""},
                                   {.text = "a", .history = (const char *const[]){"Chess", "Go"}, .n_history = 2}};
static const bench_prompts given = {.lines = (bench_line *)(uintptr_t)lines, .n_lines = 2};

static void asks(bench_api api, const bench_prompts *p, int prompt, const char *more, const char *expected) {
    const remote_form f = {.api = api, .model = "m", .more = more, .r = &request, .prompts = p, .salt = 0xa5};
    fc_str out = {0};
    fc_json_doc *d;
    assert_ok(remote_body(&f, &(bench_ask){.n = 8, .seed = 3, .prompt = prompt, .salt = 255}, &out));
    assert_string_equal(fc_str_text(&out), expected);
    assert_ok(fc_json_parse("body", fc_str_text(&out), out.size, &d));
    fc_json_close(d);
    fc_str_fini(&out);
}

static void bodies(void **state) {
    (void)state;
    fc_request_init(&request);
    request.keep = 2;
    request.sampling.max_tokens = 6;
    request.sampling.ignore_eos = true;
    drawn.ids = (int32_t *)(uintptr_t)ids;
    asks(API_FORKCAST, &drawn, 0, NULL,
         "{\"model\":\"m\",\"prompt\":[5,6,7],\"n\":2,\"best_of\":8,\"max_tokens\":6,\"temperature\":1,\"seed\":3,"
         "\"ignore_eos\":true,\"cache_salt\":\"bench-a5-ff\"}");
    asks(API_VLLM, &drawn, 0, "\"x\":{\"y\":1}",
         "{\"model\":\"m\",\"prompt\":[5,6,7],\"n\":8,\"max_tokens\":6,\"temperature\":1,\"seed\":3,"
         "\"ignore_eos\":true,\"cache_salt\":\"bench-a5-ff\",\"x\":{\"y\":1}}");
    asks(API_LLAMA, &given, 0, NULL,
         "{\"model\":\"m\",\"prompt\":\"say \\\"x\\\"\",\"n\":8,\"max_tokens\":6,\"temperature\":1,\"seed\":3,"
         "\"ignore_eos\":true,\"cache_prompt\":false}");
    asks(API_OPENAI, &given, 2, NULL,
         "{\"model\":\"m\",\"prompt\":\"say \\\"x\\\"\",\"n\":8,\"max_tokens\":6,\"temperature\":1,\"seed\":3}");
    request.sampling.ignore_eos = false;
    asks(API_FORKCAST, &given, 1, NULL,
         "{\"model\":\"m\",\"forkcast\":{\"history\":[\"Chess\",\"Go\"]},\"n\":2,\"best_of\":8,\"max_tokens\":6,"
         "\"temperature\":1,\"seed\":3,\"cache_salt\":\"bench-a5-ff\"}");
}

static fc_json_doc *parse(const char *text) {
    fc_json_doc *d;
    assert_ok(fc_json_parse("answer", text, strlen(text), &d));
    return d;
}

static void answers(void **state) {
    fc_json_doc *d = parse(
        "{\"choices\":[{\"text\":\"a\"},{\"text\":\"b\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":12}}");
    bench_sample s;
    remote_texts t;
    (void)state;
    bench_sample_init(&s);
    assert_ok(remote_answer(API_VLLM, fc_json_root(d), &s, &t));
    assert_true(s.ok && s.counts[COUNT_PROMPT_TOKENS] == 3 && s.counts[COUNT_CANDIDATE_TOKENS] == 12);
    assert_true(isnan(s.best) && isnan(s.ms[PHASE_QUEUE]));
    assert_int_equal(t.n, 2);
    bench_sample_init(&s);
    fc_free(t.texts);
    assert_ok(remote_answer(API_LLAMA, fc_json_root(d), &s, &t)); /* of two choices it counts one */
    assert_true(s.ok && isnan(s.counts[COUNT_CANDIDATE_TOKENS]) && isnan(s.counts[COUNT_RETURNED_TOKENS]));
    assert_string_equal(t.texts[1], "b");
    fc_free(t.texts);
    fc_json_close(d);
    d = parse(
        "{\"choices\":[{\"text\":\"a\"}],\"usage\":{\"completion_tokens\":6},\"best_of\":{\"candidates\":[{\"score\":-"
        "1.5}],"
        "\"confidence\":{\"distinct\":7,\"n_used\":8},\"accounting\":{\"rows_prefill\":3,\"rows_decode\":30,\"rows_"
        "score\":40,"
        "\"rows_reused\":0,\"rows_flat_prefill\":24,\"rows_flat_decode\":40,\"rows_flat_score\":72,\"kv_bytes\":99},"
        "\"timings_ms\":{\"queue\":0.5,\"prefill\":1,\"decode\":2,\"score\":3,\"host\":4,\"total\":9}}}");
    bench_sample_init(&s);
    assert_ok(remote_answer(API_FORKCAST, fc_json_root(d), &s, NULL));
    assert_true(s.best == -1.5 && s.ms[PHASE_QUEUE] == 0.5 && s.ms[PHASE_HOST] == 4);
    assert_true(isnan(s.ms[PHASE_TOTAL])); /* the client's clock says that */
    assert_true(s.counts[COUNT_ROWS_FLAT] == 136 && s.counts[COUNT_KV_BYTES] == 99 && s.counts[COUNT_DISTINCT] == 7);
    assert_true(s.counts[COUNT_RETURNED_TOKENS] == 6 && s.counts[COUNT_CANDIDATE_TOKENS] == 48);
    fc_json_close(d);
    d = parse("{\"choices\":[]}");
    assert_fails(remote_answer(API_OPENAI, fc_json_root(d), &s, NULL), FC_ERR_FORMAT, "no choices");
    fc_json_close(d);
    d = parse("{\"choices\":[{\"message\":{}}]}");
    assert_fails(remote_answer(API_OPENAI, fc_json_root(d), &s, &t), FC_ERR_FORMAT, "no text");
    fc_json_close(d);
}

static void rankings(void **state) {
    const char *texts[] = {"a", "b\n"};
    fc_str out = {0};
    fc_json_doc *d;
    double best;
    (void)state;
    assert_ok(remote_rank_body(NULL, "q", &(remote_texts){.texts = texts, .n = 2}, &out));
    assert_string_equal(fc_str_text(&out), "{\"query\":\"q\",\"documents\":[\"a\",\"b\\n\"]}");
    fc_str_fini(&out);
    d = parse("{\"results\":[{\"index\":1,\"relevance_score\":-0.5},{\"index\":0,\"relevance_score\":0.25}]}");
    assert_ok(remote_rank_answer(fc_json_root(d), &best));
    assert_true(best == 0.25);
    fc_json_close(d);
    d = parse("{\"results\":[]}");
    assert_fails(remote_rank_answer(fc_json_root(d), &best), FC_ERR_FORMAT, "relevance_score");
    fc_json_close(d);
}

static void said(const char *body, const char *expected) {
    char out[200];
    remote_error(400, body, strlen(body), out, sizeof out);
    assert_string_equal(out, expected);
}

static void errors(void **state) {
    bench_api a;
    (void)state;
    said("{\"error\":{\"message\":\"n is too large\"}}", "status 400: n is too large");
    said("{\"message\":\"no\"}", "status 400: no");
    said("<html>", "status 400: <html>");
    assert_fails(bench_api_parse("tgi", &a), FC_ERR_ARG, "\"tgi\"; it is forkcast, vllm, llama or openai");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bodies), cmocka_unit_test(answers), cmocka_unit_test(rankings),
                                       cmocka_unit_test(errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
