/* What a body says twice, says to nobody or says wrongly is refused by the name of its field; what nobody knows is
 * passed over, and told. */
#include "tests/app/openai_rig.h"

static const char recipe_text[] = "{\"alignment\":{\"template\":\"Next to {prompt}:\"}}",
                  history_text[] = "{\"novelty\":{\"template\":\"Likes {history}. Next:\"},\"alignment\":{\"template\":"
                                   "\"For {history}:\"}}";

static rig plain, judge, likes, alone; /* no recipe; {prompt}; {history}; nothing scores */

static int open_all(void **state) {
    (void)state;
    rig_open_small(&plain, NULL, 64, 0);
    rig_open_small(&judge, recipe_text, 64, 0);
    rig_open(&likes, history_text, true);
    rig_open(&alone, NULL, false);
    return 0;
}

static int close_all(void **state) {
    (void)state;
    rig_close(&alone);
    rig_close(&likes);
    rig_close(&judge);
    rig_close(&plain);
    return 0;
}

typedef struct {
    const char *body, *param, *says;
} row;

#define X40 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void check(rig *r, openai_route route, const row *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char param[80];
        int http;
        char *e = rig_post(r, route, rows[i].body, &http);
        if (rows[i].param) snprintf(param, sizeof param, "\"param\":\"%s\"", rows[i].param);
        else snprintf(param, sizeof param, "\"id\":\""); /* an answer */
        if (http != (rows[i].param ? 400 : 200) || !strstr(e, param) || !strstr(e, rows[i].says))
            fail_msg("%s: %d %s", rows[i].body, http, e);
        free(e);
    }
}
#define CHECK(r, route, rows) check(r, route, rows, sizeof(rows) / sizeof *(rows))

/* ---- completions ---- */

static void two_that_differ(void **state) {
    static const row rows[] = {
        {"{\"prompt\":\"a\",\"max_tokens\":3,\"max_completion_tokens\":4}", "max_completion_tokens", "max_tokens 3"},
        {"{\"prompt\":\"a\",\"max_tokens\":3,\"max_completion_tokens\":3}", NULL, ""},
        {"{\"prompt\":\"a\",\"max_tokens\":null,\"max_completion_tokens\":3}", NULL, ""},
        {"{\"prompt\":\"a\",\"structured_outputs\":{\"choice\":[\"x\",\"y\"]},\"forkcast\":{\"constraint\":\"off\"}}",
         "forkcast", "constraint: it is off, and a choice is given"},
        {"{\"prompt\":\"a\",\"guided_choice\":[\"x\",\"y\"],\"forkcast\":{\"constraint\":\"off\"}}", "forkcast",
         "a choice is given"},
        {"{\"prompt\":\"a\",\"guided_choice\":[\"x\",\"y\"],\"forkcast\":{\"constraint\":\"mask\"}}", NULL, ""},
        {"{\"prompt\":\"a\",\"guided_choice\":[\"x\",\"y\"],\"forkcast\":{\"constraint\":\"reject\"}}", NULL, ""},
        {"{\"prompt\":\"a\",\"n\":1,\"n\":2}", "n", "appears twice"},
        {"{\"prompt\":\"a\",\"forkcast\":{\"seed\":1,\"seed\":2}}", "forkcast", "appears twice"},
        {"{\"prompt\":\"a\",\"forkcast\":{\"distnict\":true}}", "forkcast", "distnict: there is no such option"}};
    (void)state;
    CHECK(&plain, OPENAI_COMPLETIONS, rows);
}

/* If this fails, who sent a wrong history is told that the prompt is wrong, or where the recipe lies. */
static void history_is_named(void **state) {
    static const row rows[] = {
        {"{\"forkcast\":{\"history\":[]}}", "prompt", "it is missing"},
        {"{\"prompt\":\"\",\"forkcast\":{\"history\":[\"\"]}}", "forkcast", "history[0]: it is empty"},
        {"{\"prompt\":\"a\",\"forkcast\":{\"history\":\"b\"}}", "forkcast", "history: a list of strings"}};
    static const row none[] = {{"{\"prompt\":\"a\",\"forkcast\":{\"history\":[\"b\"]}}", "forkcast", "history name 1"}};
    char *e;
    int http;
    (void)state;
    CHECK(&likes, OPENAI_COMPLETIONS, rows);
    CHECK(&plain, OPENAI_COMPLETIONS, none);
    e = rig_post(&likes, OPENAI_COMPLETIONS, "{\"prompt\":\"a\"}", &http);
    assert_non_null(strstr(e, "\"message\":\"recipe: "));
    assert_non_null(strstr(e, "\"param\":\"forkcast\"")); /* where a history would be */
    free(e);
}

static void what_nobody_knows_is_told(void **state) {
    openai_call *c =
        rig_parse(&plain, OPENAI_COMPLETIONS, "{\"prompt\":\"a\",\"max_token\":3,\"x\\ny\":1,\"n\":1,\"thinking\":{}}");
    (void)state;
    assert_string_equal(c->ignored, "max_token, thinking"); /* a name with a line break is no header */
    openai_call_close(c);
    c = rig_parse(&judge, OPENAI_RERANK, "{\"query\":\"a\",\"documents\":[\"b\"],\"topn\":1,\"user\":\"u\"}");
    assert_string_equal(c->ignored, "topn");
    openai_call_close(c);
    c = rig_parse(
        &plain, OPENAI_COMPLETIONS,
        "{\"prompt\":\"a\",\"vllm_xargs\":{\"best_of\":2,\"beam\":4,\"forkcast\":{\"all\":true},\"x y\":1,\"off\":null,"
        "\"temperature\":0},\"top\":1}");
    assert_string_equal(c->ignored, "top, vllm_xargs.beam, vllm_xargs.temperature");
    assert_int_equal(c->requests[0].n, 2);
    openai_call_close(c);
    c = rig_parse(&judge, OPENAI_RERANK, "{\"query\":\"a\",\"documents\":[\"b\"],\"vllm_xargs\":{\"beam\":4}}");
    assert_string_equal(c->ignored, "vllm_xargs.beam");
    openai_call_close(c);
}

/* If this fails, look-ups that are computed all wait in one line, whatever they say. */
static void a_look_up_has_a_place_in_the_line(void **state) {
    static const char said[] = "{\"history\":[\"x\"],\"priority\":-2,\"cache_salt\":\"s\"}";
    static const int header = 7;
    const openai_context before = likes.c;
    openai_call *c;
    char *one;
    int http;
    (void)state;
    likes.c.lookup.histories = true;
    likes.c.priority = &header;
    c = rig_parse(&likes, OPENAI_LOOKUP, "{\"history\":[\"x\"]}");
    assert_int_equal(c->requests[0].priority, 7);
    openai_call_close(c);
    c = rig_parse(&likes, OPENAI_LOOKUP, said);
    assert_int_equal(c->requests[0].priority, -2);
    assert_string_equal(c->requests[0].cache_salt, "s");
    one = rig_run(&likes, c, &http); /* its key is still there when the body is gone */
    assert_int_equal(http, 200);
    assert_non_null(strstr(one, "\"key\":[\"x\"]"));
    free(one);
    likes.c = before;
}

/* ---- scores ---- */

#define PAIR  "{\"queries\":\"a\",\"documents\":\"b\","
#define RANK  "{\"query\":\"a\",\"documents\":[\"b\",\"c\"],"
#define TEXTS "{\"query\":\"a\",\"texts\":[\"b\",\"c\"],"
#define LABEL "{\"query\":\"a\",\"items\":[\"b\"],\"label_token_ids\":[65,66],"

/* If this fails, a wish of a scoring request is taken, and nothing comes of it. */
static void a_score_says_nothing_of_drawing(void **state) {
    static const row rows[] = {
        {PAIR "\"temperature\":0.5}", "temperature", "nothing is drawn here"},
        {PAIR "\"stream\":true}", "stream", "nothing is drawn here"},
        {PAIR "\"stream\":false,\"stop\":[],\"logprobs\":null}", NULL, ""},
        {PAIR "\"metadata\":{\"a\":1},\"user\":\"u\",\"session_id\":\"s\"}", NULL, ""},
        {PAIR "\"forkcast\":{\"temperature\":0.5}}", "forkcast", "temperature: nothing is drawn here"},
        {PAIR "\"forkcast\":{\"seed\":1}}", "forkcast", "seed: nothing is drawn here"},
        {PAIR "\"forkcast\":{\"diversity\":\"parent\"}}", "forkcast", "diversity: nothing"},
        {PAIR "\"forkcast\":{\"taxonomy\":\"t\"}}", "forkcast", "taxonomy: nothing"},
        {PAIR "\"forkcast\":{\"all\":true}}", "forkcast", "all: nothing"},
        {PAIR "\"forkcast\":{\"all\":false,\"priority\":null}}", NULL, ""},
        {PAIR "\"vllm_xargs\":{\"forkcast\":\"{\\\"stop_when\\\":\\\"stable:2\\\"}\"}}", "forkcast", "stop_when"},
        {PAIR "\"forkcast\":{\"mode\":\"loglik-sum\",\"cache_salt\":\"s\",\"no_bos\":true,\"alignment_template\":"
              "\"{prompt} \"}}",
         NULL, ""},
        {PAIR "\"forkcast\":{\"nobos\":true}}", "forkcast", "there is no such option"},
        {PAIR "\"top_n\":1}", "top_n", "nothing in this form"},
        {PAIR "\"apply_softmax\":true}", "apply_softmax", "nothing in this form"},
        {PAIR "\"apply_softmax\":false}", NULL, ""},
        {PAIR "\"instruction\":\"x\"}", "instruction", "it is not offered"},
        {PAIR "\"truncation_side\":\"right\"}", "truncation_side", "left"},
        {PAIR "\"truncation_side\":\"left\",\"cache_salt\":\"s\",\"add_special_tokens\":false}", NULL, ""},
        {PAIR "\"cache_salt\":\"a/b\"}", "cache_salt", "1 to 128 bytes"},
        {PAIR "\"request_id\":\"mine\"}", NULL, "\"id\":\"score-mine\""},
        {PAIR "\"queries\":\"a\"}", "queries", "appears twice"}};
    (void)state;
    CHECK(&judge, OPENAI_SCORE, rows);
}

static void labels_read_no_recipe(void **state) {
    static const row judged[] = {
        {LABEL "\"apply_softmax\":true,\"forkcast\":{\"mode\":\"judge\"}}", "forkcast", "mode"},
        {LABEL "\"apply_softmax\":true,\"forkcast\":{\"suffix\":\"x\"}}", "forkcast", "suffix"},
        {LABEL "\"apply_softmax\":true,\"forkcast\":{\"novelty_adapter\":\"x\"}}", "forkcast",
         "novelty_adapter: it means nothing in this form"},
        {LABEL "\"apply_softmax\":true,\"use_activation\":true}", "use_activation", "form"},
        {LABEL "\"apply_softmax\":true,\"documents\":[\"b\"]}", "documents", "form"}};
    static const row drawn[] = {{LABEL "\"forkcast\":{\"alignment_adapter\":\"x\"}}", "forkcast", "alignment_adapter"}};
    (void)state;
    CHECK(&judge, OPENAI_SCORE, judged);
    CHECK(&alone, OPENAI_SCORE, drawn);
}

static void forms_of_rerank_are_not_mixed(void **state) {
    static const row rows[] = {
        {"{\"query\":\"a\",\"documents\":[\"b\"],\"texts\":[\"c\"]}", "texts", "documents are given, too"},
        {RANK "\"texts\":null,\"return_documents\":false,\"top_n\":1}", NULL, "\"index\""},
        {RANK "\"raw_scores\":true}", "raw_scores", "nothing in this form"},
        {RANK "\"truncate\":true}", "truncate", "nothing in this form"},
        {RANK "\"truncate\":false,\"raw_scores\":false}", NULL, ""},
        {RANK "\"return_text\":true}", "return_text", "nothing in this form"},
        {RANK "\"queries\":\"q\"}", "queries", "nothing in this form"},
        {RANK "\"rank_fields\":[\"a\"]}", "rank_fields", "it is not offered"},
        {RANK "\"n\":2}", "n", "nothing is drawn here"},
        {TEXTS "\"return_documents\":true}", "return_documents", "nothing in this form"},
        {TEXTS "\"use_activation\":true}", "use_activation", "nothing in this form"},
        {TEXTS "\"truncation_direction\":\"Left\"}", "truncation_direction", "right alone"}};
    (void)state;
    CHECK(&judge, OPENAI_RERANK, rows);
}

/* Sentences of the engine are about prompt and given; a body has other names for them. */
static void errors_name_the_bodys_fields(void **state) {
    static const row ranks[] = {{"{\"query\":\"" X40 X40 "\",\"documents\":[\"b\"]}", "query", "alignment prompt: "},
                                {"{\"query\":\"" X40 X40 "\",\"texts\":[\"b\"]}", "query", "alignment prompt: "}};
    static const row scores[] = {
        {"{\"data_1\":\"" X40 X40 "\",\"data_2\":\"b\"}", "data_1", "alignment prompt: "},
        {"{\"text_1\":\"a\",\"text_2\":[\"b\"],\"forkcast\":{\"history\":[\"x\"]}}", "forkcast", "history name 1"}};
    static const row text[] = {{"{\"prompt\":\"" X40 X40 "\"}", "prompt", "prompt: "}};
    (void)state;
    CHECK(&judge, OPENAI_RERANK, ranks);
    CHECK(&judge, OPENAI_SCORE, scores);
    CHECK(&judge, OPENAI_COMPLETIONS, text);
}

/* ---- /tokenize ---- */

static void one_text_is_tokenized(void **state) {
    static const row rows[] = {
        {"{\"prompt\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"b\"}]}", "prompt", "messages is given"},
        {"{\"prompt\":\"a\",\"content\":\"b\"}", "content", "prompt is given"},
        {"{\"content\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"b\"}]}", "content", "messages is given"},
        {"{\"content\":\"a\",\"add_special_tokens\":true}", "add_special_tokens", "content is given"},
        {"{\"prompt\":\"a\",\"with_pieces\":true}", "with_pieces", "prompt is given"},
        {"{\"prompt\":\"a\",\"add_generation_prompt\":true}", "add_generation_prompt", "prompt is given"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"b\"}],\"chat_template\":\"x\"}", "chat_template",
         "not offered"},
        {"{\"prompt\":\"a\",\"messages\":null,\"content\":null,\"with_pieces\":false}", "", ""}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fc_str out = {0};
        openai_error e = {0};
        const fc_status st = openai_tokenize(&plain.s, rows[i].body, strlen(rows[i].body), &out, &e);
        fc_str_fini(&out);
        if ((st != FC_OK) != (rows[i].param[0] != '\0') || strcmp(e.param, rows[i].param) != 0 ||
            !strstr(e.message, rows[i].says))
            fail_msg("%s: %s: %s", rows[i].body, e.param, e.message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_that_differ),
                                       cmocka_unit_test(history_is_named),
                                       cmocka_unit_test(what_nobody_knows_is_told),
                                       cmocka_unit_test(a_look_up_has_a_place_in_the_line),
                                       cmocka_unit_test(a_score_says_nothing_of_drawing),
                                       cmocka_unit_test(labels_read_no_recipe),
                                       cmocka_unit_test(forms_of_rerank_are_not_mixed),
                                       cmocka_unit_test(errors_name_the_bodys_fields),
                                       cmocka_unit_test(one_text_is_tokenized)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
