/* What of a candidate is shown as text: stop strings and end tokens, special tokens. */
#include "engine/probe.h"
#include "tests/engine/util_vary.h"

static int32_t end_id(void) {
    fc_probe *p;
    int32_t id;
    assert_ok(fc_probe_open(vary_model(), &(fc_probe_options){.threads = 1, .ctx = 64}, &p));
    id = fc_probe_config(p)->eos[0];
    fc_probe_close(p);
    return id;
}

/* Text of ids with special tokens, freed by the caller with fc_memory_free. */
static char *text_of(const int32_t *ids, size_t n) {
    fc_tokenizer *t;
    char *text;
    size_t size;
    assert_ok(fc_tokenizer_open(vary_model(), &t));
    assert_ok(fc_tokenizer_decode(t, ids, n, true, &text, &size));
    fc_tokenizer_close(t);
    return text;
}

/* Ends come often: an end token and a stop string among the few ids that are drawn. */
static fc_request ending(int n, bool ignore_eos) {
    static int32_t ids[4];
    static const float values[] = {15, 17, 14, 10};
    static const char *const stop[] = {"zz", "oa", "o a"};
    fc_request r = text_request(vary_prompt, n, 10);
    ids[0] = vary_one_id("a");
    ids[1] = vary_one_id("o");
    ids[2] = vary_one_id(" a");
    ids[3] = end_id();
    r.sampling.bias_ids = ids;
    r.sampling.bias_values = values;
    r.sampling.n_bias = 4;
    r.sampling.stop = stop;
    r.sampling.n_stop = 3;
    r.sampling.ignore_eos = ignore_eos;
    return r;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* If this fails, include_stop_str_in_output shows something else than what ended the candidate, or changes a score. */
static void ends_are_shown(void **state) {
    fc_request r = ending(24, false), plain = r;
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = vary_model(),
                                                    .alignment = tiny_model("llama", 2, false),
                                                    .threads = 2,
                                                    .kv_type = "f32",
                                                    .ctx = 256});
    const int32_t end = end_id();
    char *name = text_of(&end, 1);
    fc_event a, b;
    int by_string = 0, by_token = 0, by_length = 0;
    (void)state;
    assert_true(strlen(name) > 2);
    plain.score = r.score = true;
    b = run_request(e, &plain);
    for (int special = 0; special < 2; special++) {
        r.sampling.include_stop = true;
        r.sampling.skip_special = !special;
        r.events = special;
        a = vary_request(special ? "include_stop, skip_special false" : "include_stop", &r, vary_same_candidates);
        for (int i = 0; i < 24; i++) {
            const fc_candidate *x = &a.result->all[i], *y = &b.result->all[i];
            const char *rest = x->text + y->text_size;
            assert_same_candidate("shown", x, y);
            assert_true(x->text_size >= y->text_size && memcmp(x->text, y->text, y->text_size) == 0);
            if (x->finish == FC_FINISH_LENGTH) {
                assert_string_equal(rest, "");
                by_length++;
            } else if (x->n_logprobs > x->n_tokens) {
                assert_string_equal(rest, special ? name : "");
                by_token++;
            } else {
                assert_true(strcmp(rest, "oa") == 0 || strcmp(rest, "o a") == 0);
                by_string++;
            }
        }
        fc_event_fini(&a);
    }
    print_message("  %d by a string, %d by a token, %d by length\n", by_string, by_token, by_length);
    assert_true(by_string > 5 && by_token > 5 && by_length > 0);
    fc_event_fini(&b);
    fc_engine_close(e);
    fc_memory_free(name);
}

/* If this fails, special tokens that were drawn do not stand where they were drawn, or stop strings do not see them. */
static void special_tokens_are_shown(void **state) {
    fc_request r = ending(24, true);
    const int32_t end = end_id();
    char *name = text_of(&end, 1);
    const char *const stop[] = {name};
    fc_event ev;
    int shown = 0, stopped = 0;
    (void)state;
    r.sampling.n_stop = 0;
    r.sampling.skip_special = false;
    for (int events = 0; events < 2; events++) { /* text that is kept while it is drawn, and text made at the end */
        r.events = events;
        ev = vary_request("skip_special false", &r, vary_same_candidates);
        for (int i = 0; i < 24; i++) {
            const fc_candidate *c = &ev.result->all[i];
            char *text = text_of(c->tokens, c->n_tokens);
            assert_string_equal(c->text, text);
            shown += strstr(text, name) != NULL;
            fc_memory_free(text);
        }
        fc_event_fini(&ev);
    }
    r.sampling.stop = stop;
    r.sampling.n_stop = 1;
    ev = vary_request("a special token's name as a stop string", &r, vary_same_candidates);
    for (int i = 0; i < 24; i++) {
        const fc_candidate *c = &ev.result->all[i];
        stopped += c->finish == FC_FINISH_STOP;
        assert_int_equal(c->finish == FC_FINISH_STOP, c->tokens[c->n_tokens - 1] == end);
        assert_null(strstr(c->text, name));
    }
    assert_true(shown > 4 && stopped > 2);
    fc_event_fini(&ev);
    fc_memory_free(name);
}

/* If this fails, a name is none any more because what ended it is shown. */
static void names_are_names_without_their_end(void **state) {
    static const char *const all[] = {"a", "aa", "a a", " a", "o", "ao", "aao", " ao"};
    fc_request r = ending(40, false), plain = r;
    fc_engine *e =
        open_engine(&(fc_engine_options){.novelty = vary_model(), .threads = 2, .kv_type = "f32", .ctx = 256});
    fc_event a, b;
    int valid = 0, redrawn = 0;
    (void)state;
    r.names = plain.names = all;
    r.n_names = plain.n_names = 8;
    r.constraint = plain.constraint = FC_CONSTRAINT_REJECT;
    r.reject_budget = plain.reject_budget = 2;
    r.sampling.include_stop = true;
    r.sampling.skip_special = false;
    b = run_request(e, &plain);
    a = vary_request("include_stop under reject", &r, vary_same_candidates);
    for (int i = 0; i < 40; i++) {
        assert_same_candidate("a name", &a.result->all[i], &b.result->all[i]);
        assert_int_equal(a.result->all[i].valid, b.result->all[i].valid);
        valid += a.result->all[i].valid == 1 && a.result->all[i].text_size > b.result->all[i].text_size;
        redrawn += a.result->all[i].valid == 0 && ends_with(a.result->all[i].text, "oa");
    }
    print_message("  %d valid, %d not\n", valid, redrawn);
    assert_true(valid > 3 && a.result->accounting.redraws > 3);
    fc_event_fini(&a);
    fc_event_fini(&b);
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_are_shown),
        cmocka_unit_test(special_tokens_are_shown),
        cmocka_unit_test(names_are_names_without_their_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
