/* The fields of a request that a server hands through, each against its definition, and the same bits however it
 * runs. */
#include "engine/probe.h"
#include "kernels/draw/draw.h"
#include "tests/engine/util_vary.h"

#include <math.h>

/* ---- allowed_token_ids ---- */

/* If this fails, an id that is not allowed is drawn, or a log-prob is not the model's own. */
static void allowed_ids_are_a_bias_on_all_others(void **state) {
    enum { V_MAX = 4096 };
    static int32_t ids[V_MAX];
    static float values[V_MAX];
    const int32_t allowed[] = {300, 41, 305, 44, 41, 299, 7, 301, 42};
    fc_request r = text_request(vary_prompt, 24, 10), biased = r;
    fc_engine_options o = {.novelty = vary_model(), .threads = 2, .kv_type = "f32", .ctx = 256};
    fc_engine_info info;
    fc_engine *e = open_engine(&o);
    fc_event a, b;
    int n = 0;
    (void)state;
    fc_engine_describe(e, &info);
    for (int32_t id = 0; id < info.novelty.vocab; id++) {
        bool in = false;
        for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) in = in || allowed[i] == id;
        if (in) continue;
        ids[n] = id;
        values[n++] = -INFINITY;
    }
    biased.sampling.bias_ids = ids;
    biased.sampling.bias_values = values;
    biased.sampling.n_bias = (size_t)n;
    b = run_request(e, &biased);
    fc_engine_close(e);
    r.sampling.allowed_ids = allowed;
    r.sampling.n_allowed = sizeof allowed / sizeof *allowed;
    a = vary_request("allowed_token_ids", &r, vary_same_candidates);
    vary_same_candidates("a bias on all others", a.result, b.result);
    for (int i = 0; i < a.result->n_all; i++) assert_int_equal(a.result->all[i].finish, FC_FINISH_LENGTH);
    fc_event_fini(&a);
    fc_event_fini(&b);
}

static const char *const names[] = {"Spain", "Span", "Spa", "rain", "quick", "the rain"};

/* If this fails, mask and allowed_token_ids do not meet in their intersection. */
static void allowed_ids_and_mask(void **state) {
    int32_t allowed[64], end[1];
    fc_request r = text_request(vary_prompt, 24, 10);
    fc_event ev;
    int n = 0, seen[3] = {0};
    (void)state;
    r.names = names;
    r.n_names = sizeof names / sizeof *names;
    r.constraint = FC_CONSTRAINT_MASK;
    for (int i = 0; i < 3; i++) { /* of three names, as the tokenizer spells them behind the prompt */
        fc_engine *e = open_engine(&(fc_engine_options){.novelty = vary_model(), .threads = 1, .ctx = 256});
        fc_request one = r;
        one.names = &names[i];
        one.n_names = 1;
        one.n = 1;
        ev = run_request(e, &one);
        memcpy(allowed + n, ev.result->all[0].tokens, ev.result->all[0].n_tokens * sizeof *allowed);
        n += (int)ev.result->all[0].n_tokens;
        fc_event_fini(&ev);
        fc_engine_close(e);
    }
    {
        fc_probe *p;
        assert_ok(fc_probe_open(vary_model(), &(fc_probe_options){.threads = 1, .ctx = 64}, &p));
        end[0] = fc_probe_config(p)->eos[0];
        fc_probe_close(p);
    }
    r.sampling.allowed_ids = allowed;
    r.sampling.n_allowed = (size_t)n;
    /* names have an end token too, which is not listed */
    vary_fails_later(&r, "constraint mask and allowed_token_ids: together they leave no id to draw as token ");
    allowed[n++] = end[0];
    r.sampling.n_allowed = (size_t)n;
    ev = vary_request("allowed_token_ids under mask", &r, vary_same_candidates);
    for (int i = 0; i < ev.result->n_all; i++) {
        const fc_candidate *c = &ev.result->all[i];
        int name = -1;
        for (int k = 0; k < 3; k++)
            if (strcmp(c->text, names[k]) == 0) name = k;
        if (name < 0) fail_msg("\"%s\" has an id that is not allowed", c->text);
        seen[name]++;
    }
    assert_true(seen[0] && seen[1] + seen[2]);
    fc_event_fini(&ev);
}

static void allowed_ids_are_checked(void **state) {
    const int32_t bad[] = {5, 1 << 20};
    fc_request r = text_request(vary_prompt, 2, 8);
    (void)state;
    r.sampling.allowed_ids = bad;
    r.sampling.n_allowed = 2;
    vary_refused(&r, "allowed_token_ids: id 1048576; the vocabulary has");
    r.sampling.n_allowed = 1;
    r.names = names;
    r.n_names = 2;
    r.constraint = FC_CONSTRAINT_MASK;
    r.draw = FC_DRAW_SBS;
    vary_refused(&r, "draw sbs: allowed_token_ids");
}

/* ---- bad_words ---- */

static const char *const bad_words[] = {"ao", " oa", "aaa"};

static bool has(const int32_t *ids, size_t n, const int32_t *part, size_t m) {
    for (size_t at = 0; at + m <= n; at++)
        if (memcmp(ids + at, part, m * sizeof *ids) == 0) return true;
    return false;
}

/* Four ids take nearly all of the mass, so that words of them are drawn all the time. */
static fc_request few_letters(int n, int max_tokens) {
    static int32_t ids[4];
    static const float values[] = {14, 14, 14, 14};
    fc_request r = text_request(vary_prompt, n, max_tokens);
    ids[0] = vary_one_id("a");
    ids[1] = vary_one_id("o");
    ids[2] = vary_one_id(" a");
    ids[3] = vary_one_id(" o");
    r.sampling.bias_ids = ids;
    r.sampling.bias_values = values;
    r.sampling.n_bias = 4;
    return r;
}

/* Draws of the reference on the probe's logits, with what would complete a word banned by a naive search. */
static void check_against_reference(const fc_request *r, const fc_candidate *c, int32_t words[][8], const int *sizes,
                                    int n_words, fc_probe *p, float *logits, int *banned) {
    int V = fc_probe_config(p)->V, n_prompt, n = (int)c->n_tokens;
    int32_t ids[256];
    n_prompt = vary_encode(vary_prompt, ids, 200);
    memcpy(ids + n_prompt, c->tokens, c->n_tokens * sizeof *ids);
    assert_ok(fc_probe_logits(p, ids, n_prompt + n - 1, logits));
    for (int i = 0; i < n; i++) {
        int32_t bias_id[64], token;
        float bias_value[64], lp;
        fc_draw_member m = {.seed = r->seed, .candidate = (uint32_t)c->index, .position = (uint32_t)i};
        fc_draw_row row = {.n_members = 1, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition = 1};
        for (size_t k = 0; k < r->sampling.n_bias; k++) {
            bias_id[row.n_bias] = r->sampling.bias_ids[k];
            bias_value[row.n_bias++] = r->sampling.bias_values[k];
        }
        for (int w = 0; w < n_words; w++) {
            int before = sizes[w] - 1;
            if (before > i || memcmp(c->tokens + i - before, words[w], (size_t)before * sizeof *ids) != 0) continue;
            bias_id[row.n_bias] = words[w][before];
            bias_value[row.n_bias++] = -INFINITY;
            *banned += 1;
        }
        assert_ok(fc_draw_ref(NULL, &(fc_draw_args){.token = &token,
                                                    .logprob = &lp,
                                                    .logits = logits + (size_t)(n_prompt - 1 + i) * (size_t)V,
                                                    .rows = &row,
                                                    .members = &m,
                                                    .bias_id = bias_id,
                                                    .bias_value = bias_value,
                                                    .R = 1,
                                                    .V = V,
                                                    .n_rows = 1,
                                                    .M = 1}));
        if (token != c->tokens[i])
            fail_msg("candidate %d drew %d at %d, the reference %d", c->index, c->tokens[i], i, token);
        assert_true(fabs((double)lp - (double)c->logprobs[i]) <= 1e-5 + 1e-5 * fabs((double)lp));
    }
}

/* If this fails, a word that was forbidden is in an answer, or more is forbidden than the word. */
static void bad_words_are_never_drawn(void **state) {
    enum { WORDS = 6 };
    static const char *const spelt[WORDS] = {"ao", " ao", "oa", " oa", "aaa", " aaa"};
    int32_t words[WORDS][8];
    int sizes[WORDS], before[WORDS] = {0}, banned = 0;
    fc_request r = few_letters(48, 16);
    fc_engine *e =
        open_engine(&(fc_engine_options){.novelty = vary_model(), .threads = 2, .kv_type = "f32", .ctx = 256});
    fc_event ev;
    fc_probe *p;
    float *logits;
    (void)state;
    for (int w = 0; w < WORDS; w++) sizes[w] = vary_encode(spelt[w], words[w], 8);
    ev = run_request(e, &r);
    for (int i = 0; i < ev.result->n_all; i++)
        for (int w = 0; w < WORDS; w++)
            before[w] += has(ev.result->all[i].tokens, ev.result->all[i].n_tokens, words[w], (size_t)sizes[w]);
    for (int w = 0; w < WORDS; w++) print_message("  \"%s\" in %d of 48 candidates\n", spelt[w], before[w]);
    for (int w = 0; w < WORDS; w++) assert_true(before[w] > 0); /* all of them come by themselves */
    fc_event_fini(&ev);
    fc_engine_close(e);
    r.sampling.bad_words = bad_words;
    r.sampling.n_bad_words = 3;
    ev = vary_request("bad_words", &r, vary_same_candidates);
    assert_ok(fc_probe_open(vary_model(), &(fc_probe_options){.threads = 2, .ctx = 256}, &p));
    logits = malloc(sizeof *logits * 256 * (size_t)fc_probe_config(p)->V);
    assert_non_null(logits);
    for (int i = 0; i < ev.result->n_all; i++) {
        const fc_candidate *c = &ev.result->all[i];
        for (int w = 0; w < WORDS; w++)
            if (has(c->tokens, c->n_tokens, words[w], (size_t)sizes[w]))
                fail_msg("\"%s\" has \"%s\"", c->text, spelt[w]);
        check_against_reference(&r, c, words, sizes, WORDS, p, logits, &banned);
    }
    print_message("  %d bans\n", banned);
    assert_true(banned > 50);
    free(logits);
    fc_probe_close(p);
    fc_event_fini(&ev);
}

static void bad_words_are_checked(void **state) {
    static const char *const empty[] = {"x", "  "};
    static const char *const all[] = {"Spain"};
    fc_request r = text_request(vary_prompt, 2, 8);
    (void)state;
    r.sampling.bad_words = empty;
    r.sampling.n_bad_words = 2;
    vary_refused(&r, "bad_words: word 1 is empty");
    r.sampling.n_bad_words = FC_BAD_WORDS_MAX + 1;
    vary_refused(&r, "bad_words: 1025 words; at most 1024");
    r.names = all;
    r.n_names = 1;
    r.constraint = FC_CONSTRAINT_MASK;
    r.sampling.bad_words = all;
    r.sampling.n_bad_words = 1;
    vary_fails_later(&r, "constraint mask and bad_words: together they leave no id to draw as token ");
}

/* ---- logprob_token_ids ---- */

static void check_id_logprobs(const fc_request *r, const fc_candidate *c, fc_probe *p, float *logits) {
    int V = fc_probe_config(p)->V, n = (int)c->n_logprobs, n_prompt;
    int32_t ids[256];
    n_prompt = vary_encode(vary_prompt, ids, 200);
    memcpy(ids + n_prompt, c->tokens, c->n_tokens * sizeof *ids);
    assert_ok(fc_probe_logits(p, ids, n_prompt + n - 1, logits));
    assert_int_equal(c->n_ids, r->sampling.n_logprob_ids);
    for (int i = 0; i < n; i++) {
        const float *row = logits + (size_t)(n_prompt - 1 + i) * (size_t)V;
        double most = -INFINITY, sum = 0;
        for (int v = 0; v < V; v++) most = fmax(most, (double)row[v]);
        for (int v = 0; v < V; v++) sum += exp((double)row[v] - most);
        for (int k = 0; k < c->n_ids; k++) {
            double lp = (double)row[r->sampling.logprob_ids[k]] - most - log(sum);
            double got = (double)c->id_logprobs[i * c->n_ids + k];
            if (!(fabs(lp - got) <= 1e-5 + 1e-5 * fabs(lp)))
                fail_msg("candidate %d, id %d of the list at %d: %.9g, not %.9g", c->index, k, i, got, lp);
        }
    }
}

/* If this fails, ids get one another's log-probs, or those of another step. */
static void ids_have_log_probs(void **state) {
    static const int32_t asked[] = {300, 7, 511, 7, 0};
    fc_request r = text_request(vary_prompt, 24, 8);
    fc_event ev;
    fc_probe *p;
    float *logits;
    (void)state;
    r.sampling.logprob_ids = asked;
    r.sampling.n_logprob_ids = 5;
    assert_ok(fc_probe_open(vary_model(), &(fc_probe_options){.threads = 2, .ctx = 256}, &p));
    logits = malloc(sizeof *logits * 256 * (size_t)fc_probe_config(p)->V);
    assert_non_null(logits);
    for (int mask = 0; mask < 2; mask++) {
        r.names = names;
        r.n_names = mask ? 6 : 0;
        r.constraint = mask ? FC_CONSTRAINT_MASK : FC_CONSTRAINT_OFF;
        r.sampling.top_logprobs = mask ? 0 : 2;
        ev = vary_request(mask ? "logprob_token_ids under mask" : "logprob_token_ids", &r, vary_same_candidates);
        for (int i = 0; i < ev.result->n_all; i++) check_id_logprobs(&r, &ev.result->all[i], p, logits);
        fc_event_fini(&ev);
    }
    free(logits);
    fc_probe_close(p);
    r.draw = FC_DRAW_TOPK;
    vary_refused(&r, "draw topk: logprob_token_ids belongs to draw iid");
    r.draw = FC_DRAW_IID;
    r.sampling.n_logprob_ids = 129;
    vary_refused(&r, "logprob_token_ids: 129 ids; at most 128");
    r.sampling.n_logprob_ids = 1;
    r.sampling.logprob_ids = &(const int32_t){512};
    vary_refused(&r, "logprob_token_ids: id 512; the vocabulary has 512 ids");
}

/* If this fails, the runs above that should give way never did. */
static void requests_gave_way(void **state) {
    (void)state;
    assert_true(vary_replayed > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allowed_ids_are_a_bias_on_all_others),
        cmocka_unit_test(allowed_ids_and_mask),
        cmocka_unit_test(allowed_ids_are_checked),
        cmocka_unit_test(bad_words_are_never_drawn),
        cmocka_unit_test(bad_words_are_checked),
        cmocka_unit_test(ids_have_log_probs),
        cmocka_unit_test(requests_gave_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
