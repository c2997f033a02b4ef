#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/str.h"
#include "engine/forkcast.h"

#include <sys/stat.h>
#include <unistd.h>

/* From a block of exactly this size, for the address sanitizer. */
static fc_status parse_text(const char *text, fc_recipe **out) {
    size_t size = strlen(text);
    char *exact = malloc(size ? size : 1);
    fc_status st;
    assert_non_null(exact);
    memcpy(exact, text, size);
    st = fc_recipe_parse("r.json", exact, size, out);
    free(exact);
    return st;
}

static fc_recipe *parse(const char *text) {
    fc_recipe *r = NULL;
    assert_ok(parse_text(text, &r));
    return r;
}

static void refused_as(fc_status st, const char *text, const char *words) {
    fc_recipe *r = NULL;
    assert_fails(parse_text(text, &r), st, words);
    assert_null(r);
}

static void refused(const char *text, const char *words) { refused_as(FC_ERR_FORMAT, text, words); }

/* The pieces as text: literals in [ ], data in < >. */
static const char *shown(const fc_prompt *p) {
    static char text[4][2048];
    static int turn;
    char *t = text[turn++ % 4];
    size_t at = 0;
    t[0] = '\0';
    for (size_t i = 0; i < p->n_pieces; i++)
        at += (size_t)snprintf(t + at, 2048 - at, "%c%.*s%c", p->pieces[i].special ? '[' : '<', (int)p->pieces[i].size,
                               p->pieces[i].text, p->pieces[i].special ? ']' : '>');
    return t;
}

static char folder[64];

static void write_file(const char *name, const char *text) {
    char path[128];
    FILE *f;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/forkcast_recipe_XXXXXX");
    if (!mkdtemp(folder)) return -1;
    write_file("t.tsv", "g\tGames\tplay, rules\nc\tChess\tpawns, kings\tg\nn\tNothing\t\tg\n");
    return 0;
}

static int remove_folder(void **state) {
    char path[128];
    (void)state;
    snprintf(path, sizeof path, "%s/t.tsv", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/r.json", folder);
    unlink(path);
    return rmdir(folder);
}

static void an_empty_recipe_is_the_defaults(void **state) {
    fc_recipe *r = parse("{}");
    const fc_recipe_info *i = fc_recipe_edit(r);
    fc_request q;
    const char *const *names;
    (void)state;
    assert_null(i->novelty_model);
    assert_null(i->alignment_model);
    assert_null(i->request.end);
    assert_int_equal(i->request.mode, FC_SCORE_LOGLIK_MEAN);
    assert_int_equal(i->request.n, 16);
    assert_int_equal(i->request.keep, 4);
    assert_int_equal(i->request.seed, 1);
    assert_true(i->request.sampling.temperature == 1.0f && i->request.sampling.top_p == 1.0f &&
                i->request.sampling.typical_p == 1.0f);
    assert_true(i->request.sampling.repetition_penalty == 1.0f && i->request.sampling.min_p == 0.0f &&
                i->request.sampling.top_k == 0);
    assert_int_equal(i->request.sampling.max_tokens, 16);
    assert_int_equal(fc_recipe_names(r, &names), 0);
    assert_null(names);
    assert_ok(fc_recipe_request(r, &(fc_holes){.prompt = "{x} <|im_start|>"}, &q));
    assert_string_equal(shown(&q.prompt), "<{x} <|im_start|>>"); /* data: braces and special tokens mean nothing */
    assert_false(q.score);
    assert_int_equal(q.alignment_prompt.n_pieces + q.suffix.n_pieces + q.n_names + q.n_labels, 0);
    fc_recipe_close(r);
    fc_recipe_close(NULL);
}

static void every_key_is_read(void **state) {
    fc_recipe *r = parse(
        "{\"novelty\":{\"model\":\"/m/a.gguf\",\"adapter\":null,\"template\":\"<s>{prompt}!\",\"end\":\"</s>\"},"
        "\"alignment\":{\"model\":\"b.gguf\",\"adapter\":null,\"mode\":\"judge\",\"template\":\"Q {{{prompt}}}\","
        "\"suffix\":\"? {prompt}\",\"labels\":[\" Yes\",\" No\",\"Maybe\"]},"
        "\"sampling\":{\"temperature\":0.5,\"top_k\":40,\"top_p\":0.9,\"min_p\":0.05,\"typical_p\":0.8,"
        "\"repetition_penalty\":1.1,\"presence_penalty\":-2,\"frequency_penalty\":2.5,"
        "\"logit_bias\":{\"7\":-1.5,\"0\":false,\"2147483647\":3},\"stop\":[\"\\n\",\"END\"],\"stop_token_ids\":[5,6],"
        "\"min_tokens\":2,\"max_tokens\":64,\"ignore_eos\":true,\"top_logprobs\":128},"
        "\"n\":4096,\"keep\":3,\"seed\":18446744073709551615}");
    const fc_recipe_info *i = fc_recipe_edit(r);
    const fc_sampling *s = &i->request.sampling;
    fc_request q;
    (void)state;
    assert_string_equal(i->novelty_model, "/m/a.gguf");
    assert_string_equal(i->alignment_model, "b.gguf");
    assert_string_equal(i->request.end, "</s>");
    assert_int_equal(i->request.mode, FC_SCORE_JUDGE);
    assert_int_equal(i->request.n, 4096);
    assert_int_equal(i->request.keep, 3);
    assert_true(i->request.seed == UINT64_MAX);
    assert_true(s->temperature == 0.5f && s->top_k == 40 && s->top_p == 0.9f && s->min_p == 0.05f &&
                s->typical_p == 0.8f);
    assert_true(s->repetition_penalty == 1.1f && s->presence_penalty == -2.0f && s->frequency_penalty == 2.5f);
    assert_int_equal(s->n_bias, 3);
    assert_int_equal(s->bias_ids[0], 7);
    assert_true(s->bias_values[0] == -1.5f && s->bias_values[1] == -INFINITY && s->bias_values[2] == 3.0f);
    assert_int_equal(s->bias_ids[2], 2147483647);
    assert_int_equal(s->n_stop, 2);
    assert_string_equal(s->stop[0], "\n");
    assert_string_equal(s->stop[1], "END");
    assert_int_equal(s->n_stop_ids, 2);
    assert_int_equal(s->stop_ids[1], 6);
    assert_true(s->min_tokens == 2 && s->max_tokens == 64 && s->ignore_eos && s->top_logprobs == 128);
    assert_ok(fc_recipe_request(r, &(fc_holes){.prompt = "why"}, &q));
    assert_string_equal(shown(&q.prompt), "[<s>]<why>[!]");
    assert_string_equal(shown(&q.alignment_prompt), "[Q {]<why>[}]");
    assert_string_equal(shown(&q.suffix), "[? ]<why>");
    assert_int_equal(q.n_labels, 3);
    assert_string_equal(q.labels[0], " Yes");
    assert_true(q.score && q.mode == FC_SCORE_JUDGE && q.n == 4096 && q.keep == 3 && q.seed == UINT64_MAX);
    assert_string_equal(q.end, "</s>");
    assert_int_equal(q.sampling.top_k, 40);
    fc_recipe_close(r);
    r = parse("{\"sampling\":{\"stop\":\"one\",\"temperature\":0}}");
    assert_int_equal(fc_recipe_edit(r)->request.sampling.n_stop, 1);
    assert_string_equal(fc_recipe_edit(r)->request.sampling.stop[0], "one");
    assert_true(fc_recipe_edit(r)->request.sampling.temperature == 0.0f);
    fc_recipe_close(r);
}

static fc_recipe *with_taxonomy(const char *text) {
    char path[128];
    fc_recipe *r = parse(text);
    snprintf(path, sizeof path, "%s/t.tsv", folder);
    assert_ok(fc_recipe_set_taxonomy(r, path));
    return r;
}

/* If this fails, a recipe cannot say what a flag can. */
static void options_are_keys(void **state) {
    fc_recipe *r = parse(
        "{\"novelty\":{\"adapter\":\"lora/a\"},\"alignment\":{\"adapter\":\"/abs/"
        "b\"},\"draw\":\"sbs\",\"constraint\":\"mask\","
        "\"reject_budget\":9,\"full_logprob\":true,\"n_max\":64,\"stop_when\":\"stable:3\",\"token_budget\":5000000000,"
        "\"deadline_ms\":500,\"diversity\":\"parent\",\"blend\":0.5,\"priority\":-3,\"cache_salt\":\"s\","
        "\"kv_pool\":\"64M\",\"kv_type\":\"bf16\",\"ctx\":512,\"page_slots\":8,\"max_rows\":100,\"max_branches\":50,"
        "\"threads\":2,\"score_rows\":7,\"off\":\"fork,groups\",\"backend\":\"cpu\",\"cpu\":\"portable\","
        "\"batch_invariant\":false}");
    const fc_recipe_info *i = fc_recipe_edit(r);
    const fc_engine_options *e = &i->engine;
    char path[128], want[160];
    fc_request q;
    (void)state;
    assert_ok(fc_recipe_request(r, &(fc_holes){.prompt = "p"}, &q));
    assert_true(q.draw == FC_DRAW_SBS && q.constraint == FC_CONSTRAINT_MASK && q.reject_budget == 9 && q.full_logprob);
    assert_true(q.n_max == 64 && q.token_budget == 5000000000 && q.deadline_ms == 500 && q.priority == -3);
    assert_true(q.diversity == FC_DIVERSITY_PARENT && q.blend == 0.5f);
    assert_string_equal(q.stop_when, "stable:3");
    assert_string_equal(q.cache_salt, "s");
    assert_string_equal(q.novelty_adapter, "lora/a");
    assert_string_equal(q.alignment_adapter, "/abs/b");
    assert_true(e->kv_pool == 64 << 20 && e->ctx == 512 && e->page_slots == 8 && e->max_rows == 100);
    assert_true(e->max_branches == 50 && e->threads == 2 && e->score_rows == 7 && e->batch_variant);
    assert_int_equal(e->off, FC_OFF_FORK | FC_OFF_GROUPS);
    assert_string_equal(e->kv_type, "bf16");
    assert_string_equal(e->backend, "cpu");
    assert_string_equal(e->cpu, "portable");
    fc_recipe_edit(r)->alignment_model = "none"; /* then nothing is scored, and nothing loaded for it */
    assert_ok(fc_recipe_request(r, &(fc_holes){.prompt = "p"}, &q));
    assert_null(q.alignment_adapter);
    fc_recipe_close(r);

    write_file("r.json", "{\"novelty\":{\"adapter\":\"a\"},\"alignment\":{\"adapter\":\"../b\"}}");
    snprintf(path, sizeof path, "%s/r.json", folder);
    assert_ok(fc_recipe_open(path, &r));
    snprintf(want, sizeof want, "%s/a", folder);
    assert_string_equal(fc_recipe_edit(r)->request.novelty_adapter, want);
    snprintf(want, sizeof want, "%s/../b", folder);
    assert_string_equal(fc_recipe_edit(r)->request.alignment_adapter, want);
    fc_recipe_close(r);

    refused("{\"draw\":\"gumbel\"}", "r.json: draw: \"gumbel\"; it is iid, sbs, beam, topk or exact");
    refused("{\"constraint\":true}", "constraint is of type bool");
    refused("{\"diversity\":\"name\"}", "diversity: \"name\"; it is off, parent or keywords");
    refused("{\"reject_budget\":1001}", "reject_budget is 1001; a whole number from 0 to 1000");
    refused("{\"full_logprob\":\"true\"}", "full_logprob is of type string");
    refused("{\"n_max\":4097}", "n_max is 4097");
    refused("{\"stop_when\":\"soon\"}",
            "r.json: stop_when: \"soon\"; it is a list of stable:R, margin:X and hopeless:B");
    refused("{\"token_budget\":-1}", "token_budget is -1");
    refused("{\"deadline_ms\":0.5}", "deadline_ms is 0.5");
    refused("{\"blend\":2}", "blend: it is 2; a number from 0 to 1");
    refused("{\"priority\":\"high\"}", "priority is of type string");
    refused("{\"cache_salt\":\"\"}", "cache_salt: it is empty");
    refused("{\"kv_pool\":\"lots\"}", "kv_pool: \"lots\" is not a number of bytes");
    refused("{\"kv_type\":\"f16\"}", "kv_type: \"f16\"; it is f32, bf16, int8 or fp8");
    refused("{\"page_slots\":9}", "page_slots: \"9\"; it is 0, 8, 16, 32 or 64");
    refused("{\"off\":\"all,none\"}", "off: \"all,none\"; it is fork, groups");
    refused("{\"cpu\":\"sse\"}", "cpu: \"sse\"; it is auto, amx, avx512, avxvnni, avx2 or portable");
    refused("{\"backend\":\"abacus\"}", "backend: \"abacus\"; it is auto, cpu or cuda");
    refused("{\"batch_invariant\":0}", "r.json: batch_invariant");
    refused("{\"novelty\":{\"adapter\":{}}}", "novelty.adapter is of type object");
    refused("{\"alignment\":{\"adapter\":\"\"}}", "alignment.adapter: it is empty");
    refused("{\"novelty_adapter\":\"a\"}", "novelty_adapter: unknown key"); /* there is one key for each */
    refused("{\"temperature\":1}", "temperature: unknown key");
    refused("{\"sampling.temperature\":1}", "sampling.temperature: unknown key");
    refused("{\"sampling\":{\"draw\":\"iid\"}}", "sampling.draw: unknown key");
    refused("{\"x\":1}", "off, batch_invariant"); /* the whole list fits */
}

/* If this fails, diversity by parent or keyword finds none in a recipe's taxonomy. */
static void a_taxonomy_has_columns(void **state) {
    fc_recipe *r = with_taxonomy("{}");
    fc_taxonomy_names t;
    (void)state;
    assert_int_equal(fc_recipe_taxonomy(r, &t), 3);
    assert_int_equal(t.n, 3);
    assert_null(t.id);
    assert_string_equal(t.names[2], "Nothing");
    assert_string_equal(t.keywords[1], "pawns, kings");
    assert_null(t.keywords[2]);
    assert_null(t.parents[0]);
    assert_string_equal(t.parents[1], "g");
    fc_recipe_close(r);
    r = parse("{}");
    assert_int_equal(fc_recipe_taxonomy(r, &t), 0);
    assert_null(t.names);
    fc_recipe_close(r);
}

static void what_is_unknown_is_named(void **state) {
    (void)state;
    refused("{\"novelti\":{}}", "r.json: novelti: unknown key; known here are novelty, alignment, taxonomy");
    refused("{\"novelty\":{\"modle\":\"x\"}}",
            "novelty.modle: unknown key; known here are model, template, adapter, end");
    refused("{\"alignment\":{\"label\":[]}}", "alignment.label: unknown key");
    refused("{\"sampling\":{\"Temperature\":1}}", "sampling.Temperature: unknown key");
    refused("{\"sampling\":{\"x\":1}}", "logprob_token_ids, top_logprobs"); /* the whole list fits */
    refused("{\"novelty\":{\"template\":\"a {user} b\"}}",
            "novelty.template: unknown hole {user}; known are {prompt}, {retrieved}");
    refused("{\"alignment\":{\"template\":\"{history_0}\"}}", "alignment.template: unknown hole {history_0}");
    refused("{\"novelty\":{\"template\":\"{history_01}\"}}", "unknown hole {history_01}");
    refused("{\"novelty\":{\"template\":\"{history_1000}\"}}", "unknown hole {history_1000}");
    refused("{\"novelty\":{\"template\":\"{history_}\"}}", "unknown hole {history_}");
    refused("{\"novelty\":{\"template\":\"{historyx}\"}}", "unknown hole {historyx}");
    refused("{\"novelty\":{\"template\":\"{prompt_1}\"}}", "unknown hole {prompt_1}");
    refused("{\"novelty\":{\"template\":\"{}\"}}", "unknown hole {}");
    refused("{\"novelty\":{\"template\":\"{ prompt}\"}}", "unknown hole { prompt}");
    refused("{\"novelty\":{\"template\":\"ab{prompt\"}}", "a single { at byte 3");
    refused("{\"novelty\":{\"template\":\"ab{pro{mpt}\"}}", "a single { at byte 3");
    refused("{\"novelty\":{\"template\":\"a}b\"}}", "a single } at byte 2");
    refused("{\"alignment\":{\"mode\":\"judge\",\"suffix\":\"{\"}}", "alignment.suffix: a single {");
    refused("{\"alignment\":{\"mode\":\"likelihood\"}}",
            "alignment.mode: \"likelihood\"; it is loglik-mean, loglik-sum, reward or judge");
}

static void numbers_are_held_to_their_ranges(void **state) {
    (void)state;
    refused("{\"n\":0}", "r.json: n is 0; a whole number from 1 to 4096");
    refused("{\"n\":4097}", "n is 4097");
    refused("{\"n\":1.5}", "n is 1.5");
    refused("{\"n\":\"16\"}", "n is of type string; number");
    refused("{\"n\":1e400}", "n: a number that no double can hold");
    refused("{\"n\":NaN}", "line 1, column 6");
    refused("{\"keep\":-1}", "keep is -1");
    refused("{\"seed\":-1}", "seed is -1");
    refused("{\"seed\":18446744073709551616}", "seed is 1.8446744073709552e+19");
    refused("{\"seed\":0.5}", "seed is 0.5");
    refused("{\"sampling\":{\"temperature\":-0.1}}", "sampling.temperature: it is -0.1; a number from 0 to 100");
    refused("{\"sampling\":{\"temperature\":1e30}}", "sampling.temperature: it is 1e+30");
    refused("{\"sampling\":{\"top_p\":0}}", "sampling.top_p: it is 0");
    refused("{\"sampling\":{\"top_p\":1e-300}}", "sampling.top_p: it is 1e-300"); /* would be 0 as a float */
    refused("{\"sampling\":{\"top_p\":1.01}}", "sampling.top_p: it is 1.01");
    refused("{\"sampling\":{\"min_p\":2}}", "sampling.min_p: it is 2");
    refused("{\"sampling\":{\"typical_p\":0}}", "sampling.typical_p: it is 0");
    refused("{\"sampling\":{\"repetition_penalty\":0}}", "sampling.repetition_penalty: it is 0");
    refused("{\"sampling\":{\"presence_penalty\":101}}", "sampling.presence_penalty: it is 101");
    refused("{\"sampling\":{\"frequency_penalty\":-101}}", "sampling.frequency_penalty: it is -101");
    refused("{\"sampling\":{\"top_k\":-1}}", "sampling.top_k is -1");
    refused("{\"sampling\":{\"top_k\":2147483648}}", "sampling.top_k is 2147483648");
    refused("{\"sampling\":{\"max_tokens\":-1}}", "sampling.max_tokens is -1");
    refused("{\"sampling\":{\"min_tokens\":17}}", "sampling.min_tokens: it is 17, above max_tokens, which is 16");
    refused("{\"sampling\":{\"top_logprobs\":129}}", "sampling.top_logprobs is 129");
    refused("{\"sampling\":{\"ignore_eos\":1}}", "sampling.ignore_eos is of type number");
    refused("{\"sampling\":{\"logit_bias\":{\"-1\":0}}}", "sampling.logit_bias.-1: the key is no token id");
    refused("{\"sampling\":{\"logit_bias\":{\"01\":0}}}", "no token id");
    refused("{\"sampling\":{\"logit_bias\":{\"\":0}}}", "no token id");
    refused("{\"sampling\":{\"logit_bias\":{\"99999999999999999999\":0}}}", "no token id");
    refused("{\"sampling\":{\"logit_bias\":{\"2147483648\":0}}}", "above 2147483647");
    refused("{\"sampling\":{\"logit_bias\":{\"1\":true}}}", "it is true");
    refused("{\"sampling\":{\"logit_bias\":{\"1\":2e9}}}", "it is 2e+09");
    refused("{\"sampling\":{\"logit_bias\":[1]}}", "sampling.logit_bias: an object");
    refused("{\"sampling\":{\"stop\":[\"a\",\"\"]}}", "sampling.stop[1]: it is empty");
    refused("{\"sampling\":{\"stop\":\"\"}}", "sampling.stop: it is empty");
    refused("{\"sampling\":{\"stop\":[1]}}", "sampling.stop[0] is of type number");
    refused("{\"sampling\":{\"stop\":{\"a\":\"b\"}}}", "sampling.stop: a string or a list");
    refused("{\"sampling\":{\"stop_token_ids\":[-1]}}", "sampling.stop_token_ids[0] is -1");
    refused("{\"sampling\":{\"stop_token_ids\":3}}", "sampling.stop_token_ids: a list");
    refused("{\"sampling\":[]}", "sampling: it is of type array; object");
    refused("{\"novelty\":\"m.gguf\"}", "novelty: it is of type string; object");
    refused("[]", "r.json: the document: it is of type array");
    refused("{\"novelty\":{\"model\":\"\"}}", "novelty.model: it is empty");
    refused("{\"novelty\":{\"model\":null}}", "novelty.model is of type null");
    refused("{\"novelty\":{\"template\":\"\"}}", "novelty.template: it is empty");
    refused("{\"novelty\":{\"end\":\"\"}}", "novelty.end: it is empty");
    refused("{\"alignment\":{\"suffix\":\"x\"}}", "alignment.suffix: it follows the candidate");
    refused("{\"alignment\":{\"labels\":[\"a\",\"b\"]}}", "alignment.labels: only mode judge");
    refused("{\"alignment\":{\"mode\":\"judge\",\"labels\":[\"a\"]}}", "alignment.labels: a list of 2 to 64");
    refused("{\"alignment\":{\"mode\":\"judge\",\"labels\":[\"a\",\"a\"]}}",
            "alignment.labels[1]: the label \"a\" appears twice");
    refused("{\"alignment\":{\"mode\":\"judge\",\"labels\":[\"a\",\"\"]}}", "alignment.labels[1]: it is empty");
    refused("{\"n\":1,\"n\":2}", "\"n\" appears twice");
    refused("", "r.json: line 1, column 1");
}

static void paths_start_at_the_recipes_folder(void **state) {
    char path[128], want[160];
    fc_recipe *r;
    const char *const *names;
    (void)state;
    write_file(
        "r.json",
        "{\"novelty\":{\"model\":\"m/a.gguf\"},\"alignment\":{\"model\":\"/abs/b.gguf\"},\"taxonomy\":\"t.tsv\"}");
    snprintf(path, sizeof path, "%s/r.json", folder);
    assert_ok(fc_recipe_open(path, &r));
    snprintf(want, sizeof want, "%s/m/a.gguf", folder);
    assert_string_equal(fc_recipe_edit(r)->novelty_model, want);
    assert_string_equal(fc_recipe_edit(r)->alignment_model, "/abs/b.gguf");
    assert_int_equal(fc_recipe_names(r, &names), 3);
    assert_string_equal(names[1], "Chess");
    fc_recipe_close(r);
    write_file("r.json", "{\"alignment\":{\"model\":\"none\"},\"taxonomy\":\"missing.tsv\"}");
    assert_fails(fc_recipe_open(path, &r), FC_ERR_IO, "missing.tsv");
    write_file("r.json", "{\"alignment\":{\"model\":\"none\"}}");
    assert_ok(fc_recipe_open(path, &r));
    assert_string_equal(fc_recipe_edit(r)->alignment_model, "none");
    assert_fails(fc_recipe_set_taxonomy(r, path), FC_ERR_FORMAT, "line 1");
    assert_int_equal(fc_recipe_names(r, &names), 0);
    snprintf(path, sizeof path, "%s/t.tsv", folder);
    assert_ok(fc_recipe_set_taxonomy(r, path));
    assert_int_equal(fc_recipe_names(r, &names), 3);
    assert_ok(fc_recipe_set_taxonomy(r, "examples/interests.tsv"));
    assert_fails(fc_recipe_set_taxonomy(r, "no/such.tsv"), FC_ERR_IO, "no/such.tsv");
    assert_int_equal(fc_recipe_names(r, &names), 284); /* as it was */
    fc_recipe_close(r);
    assert_fails(fc_recipe_open("no/such.json", &r), FC_ERR_IO, "no/such.json");
}

static void holes_are_filled_or_named(void **state) {
    static const char *const two[] = {"Chess", "Games"}, *const odd[] = {"chess"}, *const none[] = {"Nothing"},
                             *const hole[] = {NULL};
    fc_request q;
    fc_recipe *r = with_taxonomy("{\"novelty\":{\"template\":\"A {history} ({keywords})\"},"
                                 "\"alignment\":{\"template\":\"{keywords_2}{history_1}<x>\"}}");
    char *borrowed = strdup("Chess");
    const char *list[] = {borrowed, "Games"};
    (void)state;
    assert_ok(fc_recipe_request(r, &(fc_holes){.history = list, .n_history = 2}, &q));
    memset(borrowed, 'x', 5); /* the request does not borrow from the holes */
    free(borrowed);
    assert_string_equal(shown(&q.prompt), "[A ]<Chess, Games>[ (]<pawns, kings; play, rules>[)]");
    assert_string_equal(shown(&q.alignment_prompt), "<play, rules><Chess>[<x>]");
    assert_int_equal(q.n_names, 3);
    assert_string_equal(q.names[0], "Games");
    assert_true(q.score);
    assert_fails(fc_recipe_request(r, &(fc_holes){.prompt = "p", .history = two, .n_history = 2}, &q), FC_ERR_ARG,
                 "r.json: a prompt is given, and no template has the hole {prompt}");
    assert_fails(fc_recipe_request(r, &(fc_holes){.prompt = NULL}, &q), FC_ERR_ARG,
                 "r.json: novelty.template: the template's hole {history} has no value: 0 history names are given");
    assert_fails(fc_recipe_request(r, &(fc_holes){.history = two, .n_history = 1}, &q), FC_ERR_ARG,
                 "alignment.template: the template's hole {keywords_2} has no value: 1 history name is given");
    assert_fails(fc_recipe_request(r, &(fc_holes){.history = odd, .n_history = 1}, &q), FC_ERR_ARG,
                 "history: the taxonomy has no name \"chess\"; it has \"Chess\"");
    assert_fails(fc_recipe_request(r, &(fc_holes){.history = none, .n_history = 1}, &q), FC_ERR_ARG,
                 "{keywords} has no value: the taxonomy has no keywords for \"Nothing\"");
    assert_fails(fc_recipe_request(r, &(fc_holes){.history = hole, .n_history = 1}, &q), FC_ERR_ARG, "name 1 is empty");
    fc_recipe_edit(r)->alignment_model = "none"; /* then only the novelty template counts */
    assert_ok(fc_recipe_request(r, &(fc_holes){.history = two, .n_history = 1}, &q));
    assert_false(q.score);
    assert_int_equal(q.alignment_prompt.n_pieces, 0);
    fc_recipe_close(r);

    r = with_taxonomy("{\"novelty\":{\"template\":\"{history_1}{keywords_3}\"}}");
    static const char *const three[] = {"Chess", "Games", "Chess"};
    assert_fails(
        fc_recipe_request(r, &(fc_holes){.history = three, .n_history = 3}, &q), FC_ERR_ARG,
        "history name 2, \"Games\", is given, and no template has a hole for it: {history}, {keywords}, {history_2}");
    assert_fails(fc_recipe_request(r, &(fc_holes){.prompt = ""}, &q), FC_ERR_ARG, "r.json: prompt: it is empty");
    fc_recipe_close(r);

    r = parse(
        "{\"novelty\":{\"template\":\"{history}\"},\"alignment\":{\"template\":\"{keywords}\"}}"); /* no taxonomy */
    assert_fails(fc_recipe_request(r, &(fc_holes){.history = odd, .n_history = 1}, &q), FC_ERR_ARG,
                 "there is no taxonomy");
    fc_recipe_edit(r)->alignment_model = "none";
    assert_ok(fc_recipe_request(r, &(fc_holes){.history = odd, .n_history = 1}, &q)); /* any name goes */
    assert_string_equal(shown(&q.prompt), "<chess>");
    fc_recipe_close(r);
}

/* If this fails, a flag does not override the recipe. */
static void edits_count(void **state) {
    static const int32_t ids[] = {9};
    static const float values[] = {1};
    fc_recipe *r = parse("{\"alignment\":{\"mode\":\"judge\",\"suffix\":\"?\",\"labels\":[\"a\",\"b\"]},\"n\":2}");
    fc_recipe_info *i = fc_recipe_edit(r);
    fc_request q;
    (void)state;
    assert_ok(fc_recipe_request(r, &(fc_holes){.prompt = "p"}, &q));
    assert_true(q.score && q.n_labels == 2 && q.suffix.n_pieces == 1); /* the model comes from elsewhere */
    i->request.mode = FC_SCORE_LOGLIK_SUM;
    i->request.n = 7;
    i->request.keep = 5;
    i->request.seed = 11;
    i->request.end = "X";
    i->request.sampling.temperature = 0.25f;
    i->request.sampling.bias_ids = ids;
    i->request.sampling.bias_values = values;
    i->request.sampling.n_bias = 1;
    assert_ok(fc_recipe_request(r, &(fc_holes){.prompt = "p"}, &q));
    assert_true(q.mode == FC_SCORE_LOGLIK_SUM && q.n == 7 && q.keep == 5 && q.seed == 11);
    assert_true(q.sampling.temperature == 0.25f && q.sampling.bias_ids == ids);
    assert_string_equal(q.end, "X");
    assert_int_equal(q.n_labels, 0); /* this mode reads neither */
    assert_int_equal(q.suffix.n_pieces, 0);
    i->request.mode = FC_SCORE_REWARD;
    assert_ok(fc_recipe_request(r, &(fc_holes){.prompt = "p"}, &q));
    assert_int_equal(q.suffix.n_pieces, 1);
    assert_int_equal(q.n_labels, 0);
    i->alignment_model = "none";
    assert_ok(fc_recipe_request(r, &(fc_holes){.prompt = "p"}, &q));
    assert_false(q.score);
    fc_recipe_close(r);
    r = parse("{}");
    fc_recipe_edit(r)->alignment_model = "x.gguf";
    assert_ok(fc_recipe_request(r, &(fc_holes){.prompt = "p"}, &q));
    assert_true(q.score);
    fc_recipe_close(r);
}

static void the_examples_hold(void **state) {
    static const char *const two[] = {"Chess", "Day Hiking"};
    fc_recipe *r, *b;
    fc_request q, w;
    fc_holes h = {.history = two, .n_history = 2};
    const char *const *a_names, *const *b_names;
    (void)state;
    assert_ok(fc_recipe_open("examples/recipes/freetext-judge.json", &r));
    assert_ok(fc_recipe_request(r, &(fc_holes){.prompt = "Why?"}, &q));
    assert_true(q.score && q.mode == FC_SCORE_JUDGE && q.n == 16 && q.keep == 4 && q.n_labels == 2);
    assert_true(q.prompt.n_pieces == 3 && q.alignment_prompt.n_pieces == 3 && q.suffix.n_pieces == 1);
    fc_recipe_close(r);
    assert_ok(fc_recipe_open("examples/recipes/interests-reward.json", &r));
    assert_ok(fc_recipe_request(r, &h, &q));
    assert_true(q.score && q.mode == FC_SCORE_REWARD && q.n_names == 284);
    assert_string_equal(fc_recipe_edit(r)->alignment_model, "examples/recipes/../../models/tiny-reward.gguf");
    fc_recipe_close(r);
    assert_ok(fc_recipe_open("examples/recipes/interests-taxonomy.json", &r));
    assert_ok(fc_recipe_request(r, &h, &q));
    assert_true(q.score && q.mode == FC_SCORE_LOGLIK_MEAN && q.n == 64 && q.keep == 5 && q.n_names == 284);
    assert_true(q.constraint == FC_CONSTRAINT_MASK && q.full_logprob);
    fc_recipe_close(r);
    assert_ok(fc_recipe_open("examples/recipes/interests-loglik.json", &r));
    assert_ok(fc_recipe_builtin("interests", &b)); /* the same, with its models looked for in the working folder */
    assert_ok(fc_recipe_request(r, &h, &q));
    assert_ok(fc_recipe_request(b, &h, &w));
    assert_string_equal(shown(&q.prompt), shown(&w.prompt));
    assert_string_equal(shown(&q.alignment_prompt), shown(&w.alignment_prompt));
    assert_non_null(strstr(shown(&q.prompt), "<Chess, Day Hiking>"));
    assert_true(q.score && w.score && q.n == w.n && q.keep == w.keep && q.seed == w.seed && q.mode == w.mode);
    assert_int_equal(fc_recipe_names(r, &a_names), 284);
    assert_int_equal(fc_recipe_names(b, &b_names), 284);
    for (int i = 0; i < 284; i++) assert_string_equal(a_names[i], b_names[i]);
    assert_string_equal(fc_recipe_edit(b)->novelty_model, "models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert_string_equal(fc_recipe_edit(b)->alignment_model, "models/SmolLM2-135M-Instruct.Q4_1.gguf");
    fc_recipe_close(r);
    fc_recipe_close(b);
    assert_fails(fc_recipe_builtin("topics", &b), FC_ERR_ARG, "no built-in recipe \"topics\"");
}

/* Every cut and every changed byte of a recipe gives an answer, and every answer that is a recipe makes a request or
 * says why. */
static void damaged_recipes_end_in_an_answer(void **state) {
    static const char text[] =
        "{\"novelty\":{\"template\":\"{prompt}{{{history_1}\",\"end\":\"e\"},\"alignment\":{\"mode\":\"judge\","
        "\"suffix\":\"{history}\",\"labels\":[\"a\",\"b\"]},\"sampling\":{\"top_p\":0.5,\"stop\":[\"x\"],"
        "\"logit_bias\":{\"1\":2}},\"n\":3,\"seed\":12345678901234567890}";
    static const char *const history[] = {"h"};
    char copy[sizeof text];
    int good = 0;
    fc_request q;
    (void)state;
    for (size_t i = 0; i < strlen(text); i++)
        for (int c = 1; c < 256; c++) {
            fc_recipe *r = NULL;
            memcpy(copy, text, sizeof text);
            copy[i] = (char)c;
            if (parse_text(copy, &r) == FC_OK) {
                good++;
                fc_recipe_request(r, &(fc_holes){.prompt = "p", .history = history, .n_history = 1}, &q);
            } else {
                assert_true(strncmp(fc_status_text(), "r.json: ", 8) == 0);
            }
            fc_recipe_close(r);
        }
    for (size_t n = 0; n < strlen(text); n++) {
        memcpy(copy, text, sizeof text);
        copy[n] = '\0';
        refused(copy, "r.json: ");
    }
    assert_true(good > 500);
}

static void hostile_templates_are_bounded(void **state) {
    fc_str s = {0};
    fc_recipe *r;
    fc_request q;
    static const char *const history[] = {"h"};
    (void)state;
    assert_ok(fc_str_puts(&s, "{\"novelty\":{\"template\":\""));
    for (int i = 0; i < 100000; i++) assert_ok(fc_str_puts(&s, i % 3 ? "{history}" : "{{x}}"));
    assert_ok(fc_str_puts(&s, "\"}}"));
    r = parse(s.data);
    assert_ok(fc_recipe_request(r, &(fc_holes){.history = history, .n_history = 1}, &q));
    assert_int_equal(q.prompt.n_pieces, 66666 + 33334);
    fc_recipe_close(r);
    fc_str_clear(&s);
    assert_ok(fc_str_puts(&s, "{\"novelty\":{\""));
    for (int i = 0; i < 5000; i++) assert_ok(fc_str_puts(&s, "%s\xC3\xA9"));
    assert_ok(fc_str_puts(&s, "\":1}}"));
    refused(s.data, "unknown key; known here are model"); /* a long key does not push the sentence out */
    fc_str_clear(&s);
    for (int i = 0; i < 5 << 20; i++) assert_ok(fc_str_put(&s, " ", 1));
    assert_fails(fc_recipe_parse("r.json", s.data, s.size, &r), FC_ERR_FORMAT, "at most 4194304");
    fc_str_fini(&s);
}

static void modes_have_names(void **state) {
    fc_score_mode m;
    fc_request q;
    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_ok(fc_score_mode_parse(fc_score_mode_name((fc_score_mode)i), &m));
        assert_int_equal(m, i);
    }
    assert_string_equal(fc_score_mode_name(FC_SCORE_LOGLIK_SUM), "loglik-sum");
    assert_string_equal(fc_score_mode_name((fc_score_mode)9), "?");
    assert_fails(fc_score_mode_parse("", &m), FC_ERR_ARG, "loglik-mean, loglik-sum, reward or judge");
    memset(&q, 0xFF, sizeof q);
    fc_request_init(&q);
    assert_true(q.n == 1 && q.keep == 0 && q.mode == FC_SCORE_LOGLIK_MEAN && !q.score && !q.given && q.seed == 0);
    assert_true(q.sampling.temperature == 1.0f && q.sampling.max_tokens == 16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_recipe_is_the_defaults),
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(options_are_keys),
        cmocka_unit_test(a_taxonomy_has_columns),
        cmocka_unit_test(what_is_unknown_is_named),
        cmocka_unit_test(numbers_are_held_to_their_ranges),
        cmocka_unit_test(paths_start_at_the_recipes_folder),
        cmocka_unit_test(holes_are_filled_or_named),
        cmocka_unit_test(edits_count),
        cmocka_unit_test(the_examples_hold),
        cmocka_unit_test(damaged_recipes_end_in_an_answer),
        cmocka_unit_test(hostile_templates_are_bounded),
        cmocka_unit_test(modes_have_names),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
