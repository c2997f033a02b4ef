/* The one table of options: whole, in step with the structs and enums that it sets, and strict about every value. */
#include "engine/base/json.h"
#include "engine/options.h"
#include "tests/util.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static fc_engine_options engine;
static fc_request request;
static fc_option_target target;

static void begin(void) {
    fc_option_target_fini(&target);
    memset(&engine, 0, sizeof engine);
    fc_request_init(&request);
    target = (fc_option_target){.engine = &engine, .request = &request};
}

static void set(const char *name, const char *text) { assert_ok(fc_option_set_text(&target, name, text)); }

/* Refused with these words, and nothing is changed. */
static void refused(const char *name, const char *text, const char *words) {
    fc_engine_options e = engine;
    fc_request r = request;
    assert_fails(fc_option_set_text(&target, name, text), FC_ERR_ARG, words);
    assert_memory_equal(&e, &engine, sizeof e);
    assert_memory_equal(&r, &request, sizeof r);
}

static fc_status set_json(const char *name, const char *json) {
    fc_json_doc *d;
    fc_status st;
    assert_ok(fc_json_parse("doc", json, strlen(json), &d));
    st = fc_option_set_json(&target, name, fc_json_get(fc_json_root(d), "x"));
    fc_json_close(d);
    return st;
}

/* If this fails, two options answer to one name, or a name cannot be a flag and a key. */
static void names_are_unique(void **state) {
    (void)state;
    for (size_t i = 0; i < fc_option_count(); i++) {
        const fc_option *a = fc_option_at(i);
        assert_ptr_equal(fc_option_find(a->name), a);
        assert_int_equal(strspn(a->name, "abcdefghijklmnopqrstuvwxyz_"), strlen(a->name));
        assert_true(a->help && a->help[0] && a->key && strlen(a->name) < 30);
        assert_true(a->value || a->choices || a->kind == FC_OPTION_BOOL); /* help can say what is taken */
        assert_int_equal(a->part == FC_PART_ENGINE, a->scope == FC_SCOPE_ENGINE);
        assert_int_equal(strncmp(a->key, "sampling.", 9) == 0, a->scope == FC_SCOPE_SAMPLING);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(fc_option_at(k)->name, a->name);
            assert_string_not_equal(fc_option_at(k)->key, a->key);
        }
    }
    assert_null(fc_option_find("kv-pool"));
    assert_null(fc_option_find(""));
    assert_string_equal(fc_option_kind_name(FC_OPTION_BIASES), "biases");
    assert_string_equal(fc_option_kind_name((fc_option_kind)99), "?");
    assert_string_equal(fc_option_scope_name(FC_SCOPE_SAMPLING), "sampling");
    assert_string_equal(fc_option_part_name(FC_PART_SCORE), "score");
}

static void same_choices(const char *option, int at, const char *name) {
    const fc_option *o = fc_option_find(option);
    assert_int_equal(fc_option_choice(o, name, strlen(name)), at);
}

static int count_choices(const char *option) {
    int n = 1;
    for (const char *c = fc_option_find(option)->choices; *c; c++) n += *c == '|';
    return n;
}

/* If this fails, `draw beam` runs another draw. */
static void choices_are_the_enums(void **state) {
    int offs = 0;
    (void)state;
    for (int i = 0; i <= (int)FC_DRAW_EXACT; i++) same_choices("draw", i, fc_draw_name((fc_draw_mode)i));
    for (int i = 0; i <= (int)FC_CONSTRAINT_REJECT; i++)
        same_choices("constraint", i, fc_constraint_name((fc_constraint)i));
    for (int i = 0; i <= (int)FC_DIVERSITY_KEYWORDS; i++)
        same_choices("diversity", i, fc_diversity_name((fc_diversity)i));
    for (int i = 0; i <= (int)FC_SCORE_JUDGE; i++) same_choices("mode", i, fc_score_mode_name((fc_score_mode)i));
    assert_int_equal(count_choices("draw"), FC_DRAW_EXACT + 1);
    assert_int_equal(count_choices("constraint"), FC_CONSTRAINT_REJECT + 1);
    assert_int_equal(count_choices("diversity"), FC_DIVERSITY_KEYWORDS + 1);
    assert_int_equal(count_choices("mode"), FC_SCORE_JUDGE + 1);
    for (uint32_t bit = 1; bit & FC_OFF_ALL; bit <<= 1, offs++) {
        const char *name = fc_off_name((fc_off)bit);
        begin();
        set("off", name);
        assert_int_equal(engine.off, bit);
    }
    assert_int_equal(count_choices("off"), offs + 1); /* and all */
    begin();
    set("off", "all");
    assert_int_equal(engine.off, FC_OFF_ALL);
    begin();
    set("draw", "beam");
    set("constraint", "mask");
    set("diversity", "keywords");
    set("mode", "judge");
    assert_true(request.draw == FC_DRAW_BEAM && request.constraint == FC_CONSTRAINT_MASK &&
                request.diversity == FC_DIVERSITY_KEYWORDS && request.mode == FC_SCORE_JUDGE);
}

/* If this fails, help names a default that is none. */
static void fallbacks_are_the_defaults(void **state) {
    fc_recipe *r;
    fc_engine_options e;
    fc_request q;
    (void)state;
    assert_ok(fc_recipe_parse("r", "{}", 2, &r));
    e = fc_recipe_edit(r)->engine;
    q = fc_recipe_edit(r)->request;
    fc_recipe_close(r);
    begin();
    memset(&engine, 0x55, sizeof engine);
    memset(&request, 0x55, sizeof request);
    for (size_t i = 0; i < fc_option_count(); i++) {
        const fc_option_row *row = fc_option_row_at(i);
        const char *was = row->o.scope == FC_SCOPE_ENGINE    ? (const char *)&e
                          : row->o.scope == FC_SCOPE_REQUEST ? (const char *)&q
                                                             : (const char *)&q.sampling;
        size_t size = row->o.kind == FC_OPTION_BOOL                                       ? sizeof(bool)
                      : row->o.kind >= FC_OPTION_INT64 && row->o.kind <= FC_OPTION_UINT64 ? sizeof(int64_t)
                      : row->o.kind == FC_OPTION_BYTES                                    ? sizeof(uint64_t)
                                                                                          : sizeof(int);
        const char *zero = "\0\0\0\0\0\0\0";
        char *place;
        if (!row->o.fallback) {
            size_t n = row->o.kind == FC_OPTION_WORDS ? sizeof(uint32_t) : sizeof(void *);
            assert_memory_equal(was + row->at, zero, n);
            continue;
        }
        set(row->o.name, row->o.fallback);
        /* zero is the default, and there is no word for it in the struct */
        if (row->o.kind == FC_OPTION_WORD) continue;
        assert_ok(fc_option_place(&target, &row->o, &place));
        assert_memory_equal(place, was + row->at, size);
    }
}

/* If this fails, the table takes a number that the engine refuses, or the other way round. */
static void numbers_end_where_the_engine_says(void **state) {
    int held = 0;
    (void)state;
    for (size_t i = 0; i < fc_option_count(); i++) {
        const fc_option *o = fc_option_at(i);
        char text[40], words[120];
        fc_engine *e = NULL;
        begin();
        if (o->kind == FC_OPTION_FLOAT) {
            snprintf(text, sizeof text, "%.17g", o->max);
            set(o->name, text);
            snprintf(text, sizeof text, "%g", o->max * 1.01);
            snprintf(words, sizeof words, "%s: \"%s\" is not a number from %g to %g", o->name, text, o->min, o->max);
            refused(o->name, text, words);
        }
        if (o->kind != FC_OPTION_INT) continue;
        for (int side = 0; side < 2; side++) {
            double edge = side ? o->max : o->min;
            snprintf(text, sizeof text, "%.0f", edge);
            set(o->name, text);
            snprintf(text, sizeof text, "%.0f", edge + (side ? 1 : -1));
            snprintf(words, sizeof words, "%s: \"%s\" is not a whole number from %.0f to %.0f", o->name, text, o->min,
                     o->max);
            refused(o->name, text, words);
        }
        if (o->scope != FC_SCOPE_ENGINE) continue;
        char *place;
        assert_ok(fc_option_place(&target, o, &place));
        *(int *)(void *)place = (int)o->max + 1;
        engine.novelty = "no/such.gguf";
        snprintf(words, sizeof words, "%s = %.0f; 0 (default) to %.0f", o->name, o->max + 1, o->max);
        assert_fails(fc_engine_open(&engine, &e), FC_ERR_ARG, words);
        held++;
    }
    assert_int_equal(held, 6);
}

/* If this fails, a wrong value is taken for another one. */
static void wrong_values_are_named(void **state) {
    (void)state;
    begin();
    for (const char *const *t =
             (const char *const[]){"", " 3", "3 ", "+3", "0x3", "3.0", "3e0", "many", "99999999999999999999", NULL};
         *t; t++)
        refused("n", *t, "is not a whole number from 1 to 4096");
    refused("seed", "-1", "seed: \"-1\" is not a whole number from 0 to 18446744073709551615");
    refused("seed", "18446744073709551616", "to 18446744073709551615");
    refused("token_budget", "-1", "token_budget: \"-1\" is not a whole number from 0 to 9223372036854775807");
    refused("token_budget", "9223372036854775808", "token_budget");
    refused("temperature", "nan", "temperature: \"nan\" is not a number from 0 to 100");
    refused("temperature", "1x", "\"1x\"");
    refused("top_p", "0", "top_p: \"0\" is not a number from 1e-09 to 1");
    refused("full_logprob", "yes", "full_logprob: \"yes\"; it is true or false");
    refused("draw", "Beam", "draw: \"Beam\"; it is iid, sbs, beam, topk or exact");
    refused("draw", "", "draw: \"\"; it is iid");
    refused("draw", "iid|sbs", "draw: \"iid|sbs\"; it is iid");
    refused("kv_type", "f", "kv_type: \"f\"; it is f32, bf16, int8 or fp8");
    refused("page_slots", "12", "page_slots: \"12\"; it is 0, 8, 16, 32 or 64");
    refused("off", "fork,", "off: \"fork,\"; it is fork, groups, ");
    refused("off", "fork,spoon", "off: \"fork,spoon\"; it is fork, groups, ");
    refused("off", "", "off: \"\"");
    for (const char *const *t = (const char *const[]){"", "M", "-1", "1P", "1MB", "nan", NULL}; *t; t++)
        refused("kv_pool", *t, "is not a number of bytes, such as 512M or 2G");
    for (const char *const *t = (const char *const[]){"1e30", "1000000T", NULL}; *t; t++)
        refused("kv_pool", *t, "is too large; it is at most 900000T");
    refused("kv_pool", "inf", "is not a number of bytes");
    refused("cache_salt", "", "cache_salt: it is empty");
    refused("stop", "", "stop: it is empty");
    refused("stop_when", "stable", "stop_when: \"stable\"; it is a list of stable:R");
    refused("stop_token_ids", "3,", "stop_token_ids: \"\" is not a token id");
    refused("stop_token_ids", "-3", "stop_token_ids: \"-3\" is not a token id");
    refused("stop_token_ids", "1,2147483648", "\"2147483648\" is not a token id");
    refused("logit_bias", "5", "logit_bias: \"5\" is not ID=VALUE");
    refused("logit_bias", "5=", "\"5=\" is not ID=VALUE");
    refused("logit_bias", "5=1,6=x", "\"6=x\" is not ID=VALUE");
    refused("logit_bias", "5=nan", "\"5=nan\"");
    refused("logit_bias", "5=inf", "\"5=inf\"");
    refused("logit_bias", "5=2e9", "\"5=2e9\"");
    refused("batch_invariant", "no", "batch_invariant: \"no\"");
    refused("kv-pool", "1", "kv-pool: there is no such option");
    target.said = "--kv-pool";
    refused("kv_pool", "lots", "--kv-pool: \"lots\" is not");
}

static void values_arrive(void **state) {
    char salt[] = "salt";
    (void)state;
    begin();
    set("cache_salt", salt);
    memset(salt, 'x', 4); /* it is a copy */
    assert_string_equal(request.cache_salt, "salt");
    set("seed", "18446744073709551615");
    assert_true(request.seed == UINT64_MAX);
    set("token_budget", "9223372036854775807");
    assert_true(request.token_budget == INT64_MAX);
    set("priority", "-5");
    set("n_max", "64");
    set("deadline_ms", "250");
    set("reject_budget", "7");
    set("blend", "0.25");
    assert_true(request.priority == -5 && request.n_max == 64 && request.deadline_ms == 250 &&
                request.reject_budget == 7 && request.blend == 0.25f);
    set("stop_when", "stable:4,margin:0.5");
    assert_string_equal(request.stop_when, "stable:4,margin:0.5");
    set("full_logprob", "true");
    assert_true(request.full_logprob);
    set("full_logprob", "false");
    assert_false(request.full_logprob);
    set("kv_pool", "1.5K");
    assert_int_equal(engine.kv_pool, 1536);
    set("kv_pool", "2T");
    assert_true(engine.kv_pool == (uint64_t)2 << 40);
    set("kv_pool", "2G");
    assert_true(engine.kv_pool == (uint64_t)2 << 30);
    set("page_slots", "32");
    set("score_rows", "9");
    set("cpu", "portable");
    set("kv_type", "int8");
    set("backend", "cpu");
    set("batch_invariant", "false");
    assert_true(engine.page_slots == 32 && engine.score_rows == 9 && engine.batch_variant);
    set("batch_invariant", "true");
    assert_false(engine.batch_variant);
    set("precise", "false");
    assert_string_equal(engine.precise, "false");
    set("precise", "true");
    assert_string_equal(engine.precise, "true");
    assert_ok(set_json("precise", "{\"x\": false}")); /* as it was before there was auto */
    assert_string_equal(engine.precise, "false");
    assert_ok(set_json("precise", "{\"x\": true}"));
    assert_string_equal(engine.precise, "true");
    assert_ok(set_json("precise", "{\"x\": \"auto\"}"));
    assert_string_equal(engine.precise, "auto");
    assert_int_equal(set_json("precise", "{\"x\": \"maybe\"}"), FC_ERR_FORMAT);
    assert_int_equal(set_json("backend", "{\"x\": true}"), FC_ERR_FORMAT);
    refused("precise", "maybe", "auto");
    assert_string_equal(engine.cpu, "portable");
    assert_string_equal(engine.kv_type, "int8");
    assert_string_equal(engine.backend, "cpu");
    set("novelty_adapter", "a");
    set("alignment_adapter", "b");
    assert_string_equal(request.novelty_adapter, "a");
    assert_string_equal(request.alignment_adapter, "b");
}

/* If this fails, a flag given twice loses one, or a flag adds to the recipe's list instead of replacing it. */
static void lists_replace_then_add(void **state) {
    static const int32_t old_ids[] = {1, 2};
    static const float old_values[] = {3, 4};
    static const char *const old_stop[] = {"old"};
    fc_sampling *s = &request.sampling;
    (void)state;
    begin();
    s->stop_ids = s->bias_ids = old_ids;
    s->n_stop_ids = s->n_bias = 2;
    s->bias_values = old_values;
    s->stop = old_stop;
    s->n_stop = 1;
    set("stop_token_ids", "7");
    set("stop_token_ids", "8,9");
    assert_int_equal(s->n_stop_ids, 3);
    assert_true(s->stop_ids[0] == 7 && s->stop_ids[1] == 8 && s->stop_ids[2] == 9);
    set("logit_bias", "5=1.5,6=-inf");
    set("logit_bias", "7=-2");
    assert_int_equal(s->n_bias, 3);
    assert_true(s->bias_ids[0] == 5 && s->bias_ids[1] == 6 && s->bias_ids[2] == 7);
    assert_true(s->bias_values[0] == 1.5f && s->bias_values[1] == -INFINITY && s->bias_values[2] == -2.0f);
    set("stop", "a,b"); /* a comma is text */
    set("stop", "\n");
    assert_int_equal(s->n_stop, 2);
    assert_string_equal(s->stop[0], "a,b");
    assert_string_equal(s->stop[1], "\n");
    engine.off = FC_OFF_GROUPS;
    set("off", "fork,coalesce");
    set("off", "overlap");
    assert_int_equal(engine.off, FC_OFF_FORK | FC_OFF_COALESCE | FC_OFF_OVERLAP);
    assert_ok(set_json("stop_token_ids", "{\"x\":[4]}")); /* one value is the whole list */
    assert_int_equal(s->n_stop_ids, 1);
    assert_ok(set_json("off", "{\"x\":\"groups\"}"));
    assert_int_equal(engine.off, FC_OFF_GROUPS);
    assert_ok(set_json("off", "{\"x\":[\"fork\",\"forced\"]}"));
    assert_int_equal(engine.off, FC_OFF_FORK | FC_OFF_FORCED);
    assert_ok(set_json("logit_bias", "{\"x\":{}}"));
    assert_int_equal(s->n_bias, 0);
}

/* If this fails, a request of one caller changes the engine of all. */
static void scopes_are_kept(void **state) {
    (void)state;
    for (size_t i = 0; i < fc_option_count(); i++) {
        const fc_option *o = fc_option_at(i);
        char words[120];
        begin();
        if (o->scope == FC_SCOPE_ENGINE) target.engine = NULL;
        else target.request = NULL;
        snprintf(words, sizeof words, "%s: it is an option of %s", o->name,
                 o->scope == FC_SCOPE_ENGINE ? "the engine: flag and recipe only" : "a request, not of the engine");
        refused(o->name, "?", words);
        assert_fails(set_json(o->name, "{\"x\":{\"?\":[]}}"), FC_ERR_FORMAT, "doc: x: it is an option of");
    }
}

static void json_is_typed(void **state) {
    static const struct {
        const char *name, *json, *words;
    } wrong[] = {
        {"n", "\"4\"", "x is of type string; number"},
        {"n", "4097", "x is 4097; a whole number from 1 to 4096"},
        {"n", "null", "x is of type null"},
        {"full_logprob", "1", "x is of type number"},
        {"blend", "1.5", "x: it is 1.5; a number from 0 to 1 is expected"},
        {"draw", "2", "x is of type number; string"},
        {"draw", "\"gumbel\"", "x: \"gumbel\"; it is iid, sbs, beam, topk or exact"},
        {"page_slots", "9", "x: \"9\"; it is 0, 8, 16, 32 or 64"},
        {"kv_pool", "-1", "x is -1"},
        {"kv_pool", "\"lots\"", "x: \"lots\" is not a number of bytes"},
        {"off", "\"spoon\"", "x: \"spoon\"; it is fork, groups"},
        {"off", "[\"fork\",\"spoon\"]", "x[1]: \"spoon\"; it is fork, groups"},
        {"off", "[3]", "x[0]: a string is expected"},
        {"kv_pool", "\"1000000T\"", "x: \"1000000T\" is too large"},
        {"stop_when", "\"margin:-1\"", "x: margin:-1; it must be above 0"},
        {"cache_salt", "\"\"", "x: it is empty"},
        {"token_budget", "-1", "x is -1"},
        {"stop_token_ids", "[1,-1]", "x[1] is -1"},
        {"batch_invariant", "1", "x is of type number; boolean is expected"},
        {"nothing", "1", "x: there is no such option"},
    };
    char json[64], words[160];
    (void)state;
    begin();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(json, sizeof json, "{\"x\":%s}", wrong[i].json);
        snprintf(words, sizeof words, "doc: %s", wrong[i].words);
        assert_fails(set_json(wrong[i].name, json), FC_ERR_FORMAT, words);
    }
    assert_ok(set_json("kv_pool", "{\"x\":\"64M\"}"));
    assert_int_equal(engine.kv_pool, 64 << 20);
    assert_ok(set_json("kv_pool", "{\"x\":12345}"));
    assert_int_equal(engine.kv_pool, 12345);
    assert_ok(set_json("seed", "{\"x\":18446744073709551615}"));
    assert_true(request.seed == UINT64_MAX);
    assert_ok(set_json("page_slots", "{\"x\":8}"));
    assert_int_equal(engine.page_slots, 8);
    assert_ok(set_json("draw", "{\"x\":\"topk\"}"));
    assert_int_equal(request.draw, FC_DRAW_TOPK);
    assert_ok(set_json("stop", "{\"x\":[\"a\",\"b\"]}"));
    assert_int_equal(request.sampling.n_stop, 2);
    assert_ok(set_json("cache_salt", "{\"x\":\"s\"}"));
    assert_ok(set_json("cache_salt", "{\"x\":null}"));
    assert_null(request.cache_salt);
}

static int end(void **state) {
    (void)state;
    fc_option_target_fini(&target);
    fc_option_target_fini(&target); /* twice is fine */
    return 0;
}

/* If this fails, what a recipe leaves open is taken for its wish. */
static void a_recipe_says_what_it_gives(void **state) {
    static const char text[] = "{\"n\":16,\"sampling\":{\"top_k\":0},\"novelty\":{\"end\":\"x\"}}";
    fc_recipe *r;
    (void)state;
    assert_ok(fc_recipe_parse("r.json", text, strlen(text), &r));
    assert_true(fc_recipe_gives(r, "n") && fc_recipe_gives(r, "top_k") && fc_recipe_gives(r, "end"));
    assert_false(fc_recipe_gives(r, "keep") || fc_recipe_gives(r, "seed") || fc_recipe_gives(r, "no such option"));
    fc_recipe_close(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recipe_says_what_it_gives),
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(choices_are_the_enums),
        cmocka_unit_test(fallbacks_are_the_defaults),
        cmocka_unit_test(numbers_end_where_the_engine_says),
        cmocka_unit_test(wrong_values_are_named),
        cmocka_unit_test(values_arrive),
        cmocka_unit_test(lists_replace_then_add),
        cmocka_unit_test(scopes_are_kept),
        cmocka_unit_test(json_is_typed),
    };
    return cmocka_run_group_tests(tests, NULL, end);
}
