/* Every field of a completion's body is honoured, or refused by its name: never ignored. */
#include "engine/app/openai/fields.h"
#include "tests/app/openai_rig.h"

static rig shared; /* opened once: an engine takes a while */

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

typedef bool (*check)(const openai_call *c);
#define CHECK(name, what)                                                                                              \
    static bool name(const openai_call *c) {                                                                           \
        const fc_request *r = &c->requests[0];                                                                         \
        const fc_sampling *s = &r->sampling;                                                                           \
        const openai_show *w = c->show;                                                                                \
        (void)r, (void)s, (void)w;                                                                                     \
        return what;                                                                                                   \
    }

#define NEAR(a, b) (fabs((double)(a) - (b)) < 1e-6)

CHECK(any, true)
CHECK(model, strcmp(c->model, "tuned") == 0 && strcmp(r->novelty_adapter, "tuned") == 0)
CHECK(n_3, r->keep == 3 && r->n == 3 && w->n == 3)
CHECK(best_of_8, r->n == 8 && r->keep == 1 && w->best_of == 8)
CHECK(max_tokens_9, s->max_tokens == 9)
CHECK(temperature, NEAR(s->temperature, 0.25))
CHECK(top_p, NEAR(s->top_p, 0.5))
CHECK(seed_wide, r->seed == 9007199254740993u)
CHECK(seed_negative, r->seed == UINT64_MAX)
CHECK(stop_one, s->n_stop == 1 && strcmp(s->stop[0], "x") == 0)
CHECK(stop_two, s->n_stop == 2 && strcmp(s->stop[1], "yz") == 0)
CHECK(logprobs_2, w->logprobs && s->top_logprobs == 2)
CHECK(logprobs_on, w->logprobs && s->top_logprobs == 0)
CHECK(no_logprobs, !w->logprobs)
CHECK(echo, w->echo)
CHECK(bias, s->n_bias == 1 && s->bias_ids[0] == 50 && NEAR(s->bias_values[0], -100))
CHECK(presence, NEAR(s->presence_penalty, 0.5))
CHECK(frequency, NEAR(s->frequency_penalty, -1.5))
CHECK(stream, c->stream && w->live)
CHECK(usage, c->stream && w->include_usage && !w->continuous)
CHECK(usage_each, c->stream && w->continuous && w->prompts[0].tokens > 0)
CHECK(top_k_5, s->top_k == 5)
CHECK(top_k_off, s->top_k == 0)
CHECK(min_p, NEAR(s->min_p, 0.1))
CHECK(typical, NEAR(s->typical_p, 0.9))
CHECK(repetition, NEAR(s->repetition_penalty, 1.5))
CHECK(min_tokens_2, s->min_tokens == 2)
CHECK(ignore_eos, s->ignore_eos)
CHECK(stop_ids, s->n_stop_ids == 2 && s->stop_ids[1] == 8)
CHECK(bad_words, s->n_bad_words == 1 && strcmp(s->bad_words[0], "no") == 0)
CHECK(allowed, s->n_allowed == 2 && s->allowed_ids[0] == 70)
CHECK(include_stop, s->include_stop)
CHECK(show_special, !s->skip_special)
CHECK(no_bos, r->no_bos)
CHECK(truncate, r->truncate_prompt_tokens == 3)
CHECK(truncate_all, r->truncate_prompt_tokens == -1)
CHECK(prompt_logprobs, r->prompt_logprobs && r->prompt_top_logprobs == 2 && w->prompt_logprobs)
CHECK(return_ids, w->return_ids)
CHECK(as_ids, w->ids_as_tokens)
CHECK(asked, s->n_logprob_ids == 2 && s->logprob_ids[1] == 9)
CHECK(choice, r->n_names == 2 && strcmp(r->names[1], "no") == 0 && r->constraint == FC_CONSTRAINT_MASK)
CHECK(priority, r->priority == -4)
CHECK(request_id, strstr(c->id, "-abc.1_2"))
CHECK(salt, strcmp(r->cache_salt, "s1") == 0)
CHECK(draw_sbs, r->draw == FC_DRAW_SBS)
CHECK(best_inside, r->n == 6)
CHECK(no_generation, r->prompt.n_pieces > 0)

static const struct {
    const char *name, *members;
    int where;
    check ok;
} honoured[] = {
    {"model", "\"model\":\"tuned\"", OPENAI_IN_BOTH, model},
    {"n", "\"n\":3", OPENAI_IN_BOTH, n_3},
    {"best_of", "\"best_of\":8", OPENAI_IN_BOTH, best_of_8},
    {"max_tokens", "\"max_tokens\":9", OPENAI_IN_BOTH, max_tokens_9},
    {"max_completion_tokens", "\"max_completion_tokens\":9", OPENAI_IN_BOTH, max_tokens_9},
    {"temperature", "\"temperature\":0.25", OPENAI_IN_BOTH, temperature},
    {"top_p", "\"top_p\":0.5", OPENAI_IN_BOTH, top_p},
    {"seed", "\"seed\":9007199254740993", OPENAI_IN_BOTH, seed_wide},
    {"seed", "\"seed\":-1", OPENAI_IN_BOTH, seed_negative},
    {"stop", "\"stop\":\"x\"", OPENAI_IN_BOTH, stop_one},
    {"stop", "\"stop\":[\"x\",\"yz\"]", OPENAI_IN_BOTH, stop_two},
    {"logprobs", "\"logprobs\":2", OPENAI_IN_COMPLETIONS, logprobs_2},
    {"logprobs", "\"logprobs\":true", OPENAI_IN_CHAT, logprobs_on},
    {"logprobs", "\"logprobs\":false", OPENAI_IN_CHAT, no_logprobs},
    {"top_logprobs", "\"logprobs\":true,\"top_logprobs\":2", OPENAI_IN_CHAT, logprobs_2},
    {"echo", "\"echo\":true", OPENAI_IN_COMPLETIONS, echo},
    {"logit_bias", "\"logit_bias\":{\"50\":-100}", OPENAI_IN_BOTH, bias},
    {"presence_penalty", "\"presence_penalty\":0.5", OPENAI_IN_BOTH, presence},
    {"frequency_penalty", "\"frequency_penalty\":-1.5", OPENAI_IN_BOTH, frequency},
    {"user", "\"user\":\"somebody\"", OPENAI_IN_BOTH, any},
    {"session_id", "\"session_id\":\"s\"", OPENAI_IN_BOTH, any},
    {"metadata", "\"metadata\":{\"a\":\"b\"}", OPENAI_IN_BOTH, any},
    {"service_tier", "\"service_tier\":\"auto\"", OPENAI_IN_BOTH, any},
    {"store", "\"store\":false", OPENAI_IN_BOTH, any},
    {"parallel_tool_calls", "\"parallel_tool_calls\":true", OPENAI_IN_CHAT, any},
    {"tool_choice", "\"tool_choice\":\"none\"", OPENAI_IN_CHAT, any},
    {"modalities", "\"modalities\":[\"text\"]", OPENAI_IN_CHAT, any},
    {"stream", "\"stream\":true", OPENAI_IN_BOTH, stream},
    {"stream_options", "\"stream\":true,\"stream_options\":{\"include_usage\":true}", OPENAI_IN_BOTH, usage},
    {"stream_options", "\"stream\":true,\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true}",
     OPENAI_IN_BOTH, usage_each},
    {"top_k", "\"top_k\":5", OPENAI_IN_BOTH, top_k_5},
    {"top_k", "\"top_k\":-1", OPENAI_IN_BOTH, top_k_off},
    {"min_p", "\"min_p\":0.1", OPENAI_IN_BOTH, min_p},
    {"typical_p", "\"typical_p\":0.9", OPENAI_IN_BOTH, typical},
    {"repetition_penalty", "\"repetition_penalty\":1.5", OPENAI_IN_BOTH, repetition},
    {"min_tokens", "\"min_tokens\":2", OPENAI_IN_BOTH, min_tokens_2},
    {"ignore_eos", "\"ignore_eos\":true", OPENAI_IN_BOTH, ignore_eos},
    {"stop_token_ids", "\"stop_token_ids\":[7,8]", OPENAI_IN_BOTH, stop_ids},
    {"bad_words", "\"bad_words\":[\"no\"]", OPENAI_IN_BOTH, bad_words},
    {"allowed_token_ids", "\"allowed_token_ids\":[70,71]", OPENAI_IN_BOTH, allowed},
    {"include_stop_str_in_output", "\"include_stop_str_in_output\":true", OPENAI_IN_BOTH, include_stop},
    {"skip_special_tokens", "\"skip_special_tokens\":false", OPENAI_IN_BOTH, show_special},
    {"add_special_tokens", "\"add_special_tokens\":false", OPENAI_IN_BOTH, no_bos},
    {"truncate_prompt_tokens", "\"truncate_prompt_tokens\":3", OPENAI_IN_BOTH, truncate},
    {"truncate_prompt_tokens", "\"truncate_prompt_tokens\":-1", OPENAI_IN_BOTH, truncate_all},
    {"prompt_logprobs", "\"prompt_logprobs\":2", OPENAI_IN_BOTH, prompt_logprobs},
    {"return_token_ids", "\"return_token_ids\":true", OPENAI_IN_BOTH, return_ids},
    {"return_tokens_as_token_ids", "\"return_tokens_as_token_ids\":true", OPENAI_IN_BOTH, as_ids},
    {"logprob_token_ids", "\"logprobs\":1,\"logprob_token_ids\":[8,9]", OPENAI_IN_COMPLETIONS, asked},
    {"logprob_token_ids", "\"logprobs\":true,\"logprob_token_ids\":[8,9]", OPENAI_IN_CHAT, asked},
    {"structured_outputs", "\"structured_outputs\":{\"choice\":[\"yes\",\"no\"],\"json\":null}", OPENAI_IN_BOTH,
     choice},
    {"guided_choice", "\"guided_choice\":[\"yes\",\"no\"]", OPENAI_IN_BOTH, choice},
    {"response_format", "\"response_format\":{\"type\":\"text\"}", OPENAI_IN_BOTH, any},
    {"priority", "\"priority\":-4", OPENAI_IN_BOTH, priority},
    {"request_id", "\"request_id\":\"abc.1_2\"", OPENAI_IN_BOTH, request_id},
    {"cache_salt", "\"cache_salt\":\"s1\"", OPENAI_IN_BOTH, salt},
    {"forkcast", "\"forkcast\":{\"draw\":\"sbs\"}", OPENAI_IN_BOTH, draw_sbs},
    {"vllm_xargs", "\"vllm_xargs\":{\"forkcast\":{\"draw\":\"sbs\"}}", OPENAI_IN_BOTH, draw_sbs},
    {"vllm_xargs", "\"vllm_xargs\":{\"forkcast\":\"{\\\"draw\\\":\\\"sbs\\\"}\"}", OPENAI_IN_BOTH, draw_sbs},
    {"vllm_xargs", "\"vllm_xargs\":{\"best_of\":6,\"other\":1}", OPENAI_IN_BOTH, best_inside},
    {"length_penalty", "\"length_penalty\":1.0", OPENAI_IN_BOTH, any},
    {"add_generation_prompt", "\"add_generation_prompt\":false", OPENAI_IN_CHAT, no_generation},
    {"continue_final_message", "\"continue_final_message\":false", OPENAI_IN_CHAT, any},
};

/* member that is refused, and what the sentence must say */
static const struct {
    const char *name, *members;
    int where;
    const char *says;
} refused[] = {
    {"suffix", "\"suffix\":\"end\"", OPENAI_IN_COMPLETIONS, "not offered"},
    {"judge", "\"judge\":{}", OPENAI_IN_BOTH, "use forkcast"},
    {"return_candidates", "\"return_candidates\":false", OPENAI_IN_BOTH, "use forkcast"},
    {"min_score", "\"min_score\":0", OPENAI_IN_BOTH, "use forkcast"},
    {"guided_json", "\"guided_json\":{\"type\":\"object\"}", OPENAI_IN_BOTH, "choice and taxonomy"},
    {"guided_regex", "\"guided_regex\":\"a+\"", OPENAI_IN_BOTH, "choice and taxonomy"},
    {"guided_grammar", "\"guided_grammar\":\"root ::= x\"", OPENAI_IN_BOTH, "choice and taxonomy"},
    {"guided_decoding_backend", "\"guided_decoding_backend\":\"x\"", OPENAI_IN_BOTH, "choice and taxonomy"},
    {"guided_whitespace_pattern", "\"guided_whitespace_pattern\":\"x\"", OPENAI_IN_BOTH, "choice and taxonomy"},
    {"structural_tag", "\"structural_tag\":\"x\"", OPENAI_IN_BOTH, "choice and taxonomy"},
    {"structured_outputs", "\"structured_outputs\":{\"regex\":\"a\"}", OPENAI_IN_BOTH, "choice and taxonomy"},
    {"structured_outputs", "\"structured_outputs\":{\"grammar\":\"a\"}", OPENAI_IN_BOTH, "choice and taxonomy"},
    {"structured_outputs", "\"structured_outputs\":{\"structural_tag\":\"a\"}", OPENAI_IN_BOTH, "choice and taxonomy"},
    {"structured_outputs", "\"structured_outputs\":{\"choice\":[]}", OPENAI_IN_BOTH, "empty"},
    {"response_format", "\"response_format\":{\"type\":\"json_object\"}", OPENAI_IN_BOTH, "choice and taxonomy"},
    {"kv_transfer_params", "\"kv_transfer_params\":{\"a\":1}", OPENAI_IN_BOTH, "not moved"},
    {"use_beam_search", "\"use_beam_search\":true", OPENAI_IN_BOTH, "draw beam"},
    {"length_penalty", "\"length_penalty\":2", OPENAI_IN_BOTH, "leave it out"},
    {"prompt_embeds", "\"prompt_embeds\":\"AAAA\"", OPENAI_IN_BOTH, "text or token ids"},
    {"logits_processors", "\"logits_processors\":[\"os.system\"]", OPENAI_IN_BOTH, "not taken"},
    {"store", "\"store\":true", OPENAI_IN_BOTH, "stored"},
    {"chat_template", "\"chat_template\":\"\"", OPENAI_IN_CHAT, "never a request's"},
    {"chat_template_kwargs", "\"chat_template_kwargs\":{\"x\":1}", OPENAI_IN_CHAT, "no arguments"},
    {"documents", "\"documents\":[{\"text\":\"x\"}]", OPENAI_IN_CHAT, "no documents"},
    {"tools", "\"tools\":[{\"type\":\"function\"}]", OPENAI_IN_CHAT, "not offered"},
    {"tool_choice", "\"tool_choice\":\"required\"", OPENAI_IN_CHAT, "not offered"},
    {"functions", "\"functions\":[{}]", OPENAI_IN_CHAT, "not offered"},
    {"function_call", "\"function_call\":\"auto\"", OPENAI_IN_CHAT, "not offered"},
    {"modalities", "\"modalities\":[\"audio\"]", OPENAI_IN_CHAT, "text alone"},
    {"audio", "\"audio\":{\"voice\":\"x\"}", OPENAI_IN_CHAT, "is text"},
    {"web_search_options", "\"web_search_options\":{}", OPENAI_IN_CHAT, "searched"},
    {"echo", "\"echo\":true", OPENAI_IN_CHAT, "/v1/completions"},
    {"tools", "\"tools\":[1]", OPENAI_IN_COMPLETIONS, "/v1/chat/completions"},
    {"prompt", "\"prompt\":\"x\"", OPENAI_IN_CHAT, "/v1/completions"},
    {"messages", "\"messages\":[{}]", OPENAI_IN_COMPLETIONS, "/v1/chat/completions"},
    /* ranges */
    {"n", "\"n\":0", OPENAI_IN_BOTH, "from 1 to 4096"},
    {"n", "\"n\":-1", OPENAI_IN_BOTH, "from 1 to 4096"},
    {"n", "\"n\":1.5", OPENAI_IN_BOTH, "whole number"},
    {"n", "\"n\":\"2\"", OPENAI_IN_BOTH, "number is expected"},
    {"n", "\"n\":1e300", OPENAI_IN_BOTH, "whole number"},
    {"n", "\"n\":65", OPENAI_IN_BOTH, "at most 64"},
    {"best_of", "\"best_of\":0", OPENAI_IN_BOTH, "from 1 to 4096"},
    {"best_of", "\"best_of\":2,\"n\":3", OPENAI_IN_BOTH, "at least n = 3"},
    {"best_of", "\"best_of\":65", OPENAI_IN_BOTH, "at most 64"},
    {"best_of", "\"best_of\":99999999999", OPENAI_IN_BOTH, "from 1 to 4096"},
    {"max_tokens", "\"max_tokens\":0", OPENAI_IN_BOTH, "draws nothing"},
    {"max_tokens", "\"max_tokens\":-5", OPENAI_IN_BOTH, "from 0 to"},
    {"max_tokens", "\"max_tokens\":16777216,\"best_of\":64", OPENAI_IN_BOTH, "at most 4194304"},
    {"temperature", "\"temperature\":-1", OPENAI_IN_BOTH, "from 0 to 100"},
    {"temperature", "\"temperature\":\"hot\"", OPENAI_IN_BOTH, "number is expected"},
    {"top_p", "\"top_p\":1.1", OPENAI_IN_BOTH, "to 1"},
    {"seed", "\"seed\":1.5", OPENAI_IN_BOTH, "whole number"},
    {"seed", "\"seed\":99999999999999999999999", OPENAI_IN_BOTH, "whole number"},
    {"stop", "\"stop\":\"\"", OPENAI_IN_BOTH, "empty"},
    {"stop",
     "\"stop\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"]",
     OPENAI_IN_BOTH, "17 strings"},
    {"logprobs", "\"logprobs\":21", OPENAI_IN_COMPLETIONS, "from 0 to 20"},
    {"logprobs", "\"logprobs\":-1", OPENAI_IN_COMPLETIONS, "from 0 to 20"},
    {"logprobs", "\"logprobs\":5", OPENAI_IN_CHAT, "boolean is expected"},
    {"top_logprobs", "\"top_logprobs\":2", OPENAI_IN_CHAT, "needs logprobs"},
    {"prompt_logprobs", "\"prompt_logprobs\":-1", OPENAI_IN_BOTH, "from 0 to 20"},
    {"prompt_logprobs", "\"prompt_logprobs\":1,\"stream\":true", OPENAI_IN_BOTH, "with stream"},
    {"stream_options", "\"stream_options\":{\"include_usage\":true}", OPENAI_IN_BOTH, "needs stream"},
    {"stream", "\"stream\":1", OPENAI_IN_BOTH, "boolean is expected"},
    {"logprob_token_ids", "\"logprob_token_ids\":[1]", OPENAI_IN_BOTH, "logprobs"},
    {"cache_salt", "\"cache_salt\":\"a/b\"", OPENAI_IN_BOTH, "without"},
    {"cache_salt", "\"cache_salt\":\"\"", OPENAI_IN_BOTH, "1 to 128"},
    {"request_id", "\"request_id\":\"a b\"", OPENAI_IN_BOTH, "letters"},
    {"user", "\"user\":7", OPENAI_IN_BOTH, "string is expected"},
    {"logit_bias", "\"logit_bias\":{\"x\":1}", OPENAI_IN_BOTH, "token id"},
    {"forkcast", "\"forkcast\":{\"nonsense\":1}", OPENAI_IN_BOTH, "no such option"},
    {"forkcast", "\"forkcast\":{\"kv_pool\":1}", OPENAI_IN_BOTH, "of the engine"},
    {"forkcast", "\"forkcast\":{\"n\":4},\"best_of\":4", OPENAI_IN_BOTH, "best_of says the same"},
    {"forkcast", "\"forkcast\":{\"seed\":4},\"seed\":4", OPENAI_IN_BOTH, "seed says the same"},
    {"forkcast", "\"forkcast\":{\"events\":true}", OPENAI_IN_BOTH, "need stream"},
    {"forkcast", "\"forkcast\":{\"suffix\":\"x\"}", OPENAI_IN_BOTH, "judge and reward"},
    {"forkcast", "\"forkcast\":{},\"vllm_xargs\":{\"forkcast\":{}}", OPENAI_IN_BOTH, "too"},
    {"forkcast", "\"forkcast\":{\"n_max\":4096}", OPENAI_IN_BOTH, "at most 64"},
};

static void body_of(char *out, size_t size, bool chat, const char *members) {
    const char *rest = chat ? "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]" : "\"prompt\":\"Hi\"";
    bool own = strncmp(members, chat ? "\"messages\"" : "\"prompt\"", chat ? 10 : 8) == 0;
    snprintf(out, size, "{%s%s%s}", members, own ? "" : ",", own ? "" : rest);
}

/* If this fails, a client's field is read wrongly, or not at all. */
static void every_field_is_honoured(void **state) {
    char body[1024];
    (void)state;
    for (size_t i = 0; i < sizeof honoured / sizeof *honoured; i++)
        for (int chat = 0; chat < 2; chat++) {
            openai_call *c;
            if (!(honoured[i].where & (chat ? OPENAI_IN_CHAT : OPENAI_IN_COMPLETIONS))) continue;
            body_of(body, sizeof body, chat, honoured[i].members);
            c = rig_parse(&shared, chat ? OPENAI_CHAT : OPENAI_COMPLETIONS, body);
            if (!honoured[i].ok(c)) fail_msg("%s: not honoured", body);
            openai_call_close(c);
        }
}

static void others_are_refused_by_name(void **state) {
    char body[1024], param[80];
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        for (int chat = 0; chat < 2; chat++) {
            const char *e;
            int http;
            if (!(refused[i].where & (chat ? OPENAI_IN_CHAT : OPENAI_IN_COMPLETIONS))) continue;
            body_of(body, sizeof body, chat, refused[i].members);
            e = rig_refused(&shared, chat ? OPENAI_CHAT : OPENAI_COMPLETIONS, body, &http);
            snprintf(param, sizeof param, "\"param\":\"%s\",\"code\":400}}", refused[i].name);
            if (http != 400 || !strstr(e, param) || !strstr(e, refused[i].says)) fail_msg("%s: %s", body, e);
        }
}

/* null is absent, for each field of the table. */
static void null_says_nothing(void **state) {
    char body[1024], members[128];
    (void)state;
    for (size_t i = 0; i < openai_field_count(); i++) {
        const openai_field *f = openai_field_at(i);
        bool chat = f->where == OPENAI_IN_CHAT;
        if (strcmp(f->name, "prompt") == 0 || strcmp(f->name, "messages") == 0) continue;
        snprintf(members, sizeof members, "\"%s\":null", f->name);
        body_of(body, sizeof body, chat, members);
        openai_call_close(rig_parse(&shared, chat ? OPENAI_CHAT : OPENAI_COMPLETIONS, body));
    }
}

/* If this fails, a field was added to the table and nobody tries it. */
static void the_tables_cover_each_field(void **state) {
    (void)state;
    for (size_t i = 0; i < openai_field_count(); i++) {
        const char *name = openai_field_at(i)->name;
        bool tried = false;
        for (size_t k = 0; k < sizeof honoured / sizeof *honoured; k++)
            tried = tried || strcmp(honoured[k].name, name) == 0;
        for (size_t k = 0; k < sizeof refused / sizeof *refused; k++)
            tried = tried || strcmp(refused[k].name, name) == 0;
        if (!tried) fail_msg("%s: no test", name);
    }
}

static void unknown_fields_are_ignored(void **state) {
    openai_call *c = rig_parse(&shared, OPENAI_COMPLETIONS, "{\"prompt\":\"Hi\",\"whatever\":{\"n\":0}}");
    (void)state;
    assert_int_equal(c->n_requests, 1);
    openai_call_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_honoured),    cmocka_unit_test(others_are_refused_by_name),
        cmocka_unit_test(null_says_nothing),          cmocka_unit_test(the_tables_cover_each_field),
        cmocka_unit_test(unknown_fields_are_ignored),
    };
    return cmocka_run_group_tests(tests, open_shared, close_shared);
}
