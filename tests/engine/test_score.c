/* Scores against the definition: each candidate alone behind the prompt, log-softmax in double over the probe's
 * logits. */
#include "engine/base/mem.h"
#include "engine/probe.h"
#include "tests/engine/util_engine.h"

/* Both in f32 with KV in f32; the engine batches, the probe does not. Rounding of two softmaxes over logits of size
 * 10. */
static const double tolerance = 2e-5;

static const char prompt[] = "People who like gardening also like";
static const char *const texts[] = {" cooking", " cooking and baking", " a", " woodwork, tools", " cooking"};
enum { N_TEXTS = 5 };

typedef struct {
    fc_probe *probe;
    fc_tokenizer *tok;
    int V;
    int32_t *prompt;
    size_t n_prompt;
} oracle;

static void open_oracle(oracle *o, const char *path) {
    assert_ok(fc_probe_open(path, &(fc_probe_options){.ctx = 256, .max_rows = 256}, &o->probe));
    assert_ok(fc_tokenizer_open(path, &o->tok));
    o->V = fc_probe_config(o->probe)->V;
    assert_ok(fc_tokenizer_encode(o->tok, prompt, strlen(prompt), true, false, &o->prompt, &o->n_prompt));
}

static void close_oracle(oracle *o) {
    fc_memory_free(o->prompt);
    fc_tokenizer_close(o->tok);
    fc_probe_close(o->probe);
}

/* log P(id) of row `row` of logits. */
static double logprob(const float *logits, int V, int row, int32_t id) {
    const float *l = logits + (size_t)row * (size_t)V;
    double most = (double)l[0], sum = 0;
    for (int i = 1; i < V; i++)
        if ((double)l[i] > most) most = (double)l[i];
    for (int i = 0; i < V; i++) sum += exp((double)l[i] - most);
    return (double)l[id] - most - log(sum);
}

/* prompt + candidate + suffix as one sequence. */
static int32_t *sequence(const oracle *o, const int32_t *ids, size_t n, const char *suffix, size_t *total) {
    int32_t *s = NULL, *all;
    size_t n_s = 0;
    if (suffix) assert_ok(fc_tokenizer_encode(o->tok, suffix, strlen(suffix), false, true, &s, &n_s));
    all = calloc(o->n_prompt + n + n_s + 1, sizeof *all);
    memcpy(all, o->prompt, o->n_prompt * sizeof *all);
    if (n) memcpy(all + o->n_prompt, ids, n * sizeof *all);
    if (n_s) memcpy(all + o->n_prompt + n, s, n_s * sizeof *all);
    *total = o->n_prompt + n + n_s;
    if (s) fc_memory_free(s);
    return all;
}

static double want_loglik(const oracle *o, const int32_t *ids, size_t n, bool mean) {
    size_t total;
    int32_t *all = sequence(o, ids, n, NULL, &total);
    float *logits = malloc(total * (size_t)o->V * sizeof *logits);
    double sum = 0;
    assert_ok(fc_probe_logits(o->probe, all, (int)total, logits));
    for (size_t i = 0; i < n; i++) sum += logprob(logits, o->V, (int)(o->n_prompt + i) - 1, ids[i]);
    free(logits);
    free(all);
    return mean ? sum / (double)n : sum;
}

static double want_judge(const oracle *o, const int32_t *ids, size_t n, const char *suffix, const int32_t *labels,
                         int n_labels) {
    size_t total;
    int32_t *all = sequence(o, ids, n, suffix, &total);
    float *logits = malloc(total * (size_t)o->V * sizeof *logits);
    double p = 0, first = 0;
    assert_ok(fc_probe_logits(o->probe, all, (int)total, logits));
    for (int i = 0; i < n_labels; i++) p += exp(logprob(logits, o->V, (int)total - 1, labels[i]));
    first = exp(logprob(logits, o->V, (int)total - 1, labels[0]));
    free(logits);
    free(all);
    return first / p;
}

static double want_reward(const oracle *o, const int32_t *ids, size_t n, const char *suffix) {
    size_t total;
    float score;
    int32_t *all = sequence(o, ids, n, suffix, &total);
    assert_ok(fc_probe_reward(o->probe, all, (int)total, &score));
    free(all);
    return (double)score;
}

static void check_modes(const char *novelty, const char *alignment, bool drawn, bool same_tokenizer) {
    fc_engine *e = open_engine(
        &(fc_engine_options){.novelty = novelty, .alignment = alignment, .threads = 2, .ctx = 256, .kv_type = "f32"});
    static const char suffix[] = "!\nGood?";
    static const char *const labels[] = {"a", "b", "c"};
    const fc_piece tail = {.text = suffix, .size = sizeof suffix - 1, .special = true};
    oracle o;
    int32_t label_ids[3];
    fc_given given[N_TEXTS];
    fc_engine_info info;
    fc_engine_describe(e, &info);
    assert_int_equal(info.same_tokenizer, same_tokenizer);
    open_oracle(&o, alignment);
    for (int i = 0; i < 3; i++) {
        int32_t *ids;
        size_t n;
        assert_ok(fc_tokenizer_encode(o.tok, labels[i], 1, false, false, &ids, &n));
        assert_int_equal(n, 1);
        label_ids[i] = ids[0];
        fc_memory_free(ids);
    }
    for (int i = 0; i < N_TEXTS; i++) given[i] = (fc_given){.text = texts[i], .size = strlen(texts[i])};
    for (int mode = FC_SCORE_LOGLIK_MEAN; mode <= FC_SCORE_JUDGE; mode++)
        for (int with_suffix = 0; with_suffix < (mode >= FC_SCORE_REWARD ? 2 : 1); with_suffix++) {
            fc_request r = text_request(prompt, 12, 7);
            fc_event ev;
            r.score = true;
            r.mode = (fc_score_mode)mode;
            if (with_suffix) r.suffix = (fc_prompt){.pieces = &tail, .n_pieces = 1};
            if (mode == FC_SCORE_JUDGE) {
                r.labels = labels;
                r.n_labels = 3;
            }
            if (!drawn) {
                r.given = given;
                r.n_given = N_TEXTS;
            }
            ev = run_request(e, &r);
            for (int i = 0; i < ev.result->n_all; i++) {
                const fc_candidate *c = &ev.result->all[i];
                const int32_t *ids = c->tokens;
                int32_t *own = NULL;
                size_t n = c->n_tokens;
                double want = 0;
                if (drawn && !info.same_tokenizer) { /* scored as text */
                    assert_ok(fc_tokenizer_encode(o.tok, c->text, c->text_size, false, false, &own, &n));
                    ids = own;
                }
                if (mode <= FC_SCORE_LOGLIK_SUM)
                    want = n ? want_loglik(&o, ids, n, mode == FC_SCORE_LOGLIK_MEAN) : -INFINITY;
                if (mode == FC_SCORE_REWARD) want = want_reward(&o, ids, n, with_suffix ? suffix : NULL);
                if (mode == FC_SCORE_JUDGE) want = want_judge(&o, ids, n, with_suffix ? suffix : NULL, label_ids, 3);
                if (!(c->score == want || fabs(c->score - want) <= tolerance * (1 + fabs(want))))
                    fail_msg("mode %s, suffix %d, candidate %d \"%.*s\": score %.9g, alone %.9g",
                             fc_score_mode_name((fc_score_mode)mode), with_suffix, i, (int)c->text_size, c->text,
                             c->score, want);
                if (own) fc_memory_free(own);
            }
            if (!drawn) { /* the duplicate is scored once and counted twice */
                assert_int_equal(ev.result->confidence.distinct, N_TEXTS - 1);
                assert_int_equal(ev.result->all[0].votes, 2);
                assert_true(ev.result->all[0].score == ev.result->all[4].score);
            }
            fc_event_fini(&ev);
        }
    close_oracle(&o);
    fc_engine_close(e);
}

static void given_candidates(void **state) {
    (void)state;
    check_modes(tiny_model("llama", 2, true), tiny_model("llama", 2, true), false, true);
}

static void drawn_with_another_tokenizer(void **state) {
    (void)state;
    check_modes(tiny_model("llama", 1, false), tiny_model_vocab("llama", 2, true, 400), true, false);
}

static void drawn_with_the_same_model(void **state) {
    (void)state;
    check_modes(tiny_model("gemma3", 8, true), tiny_model("gemma3", 8, true), true, true);
}

/* Candidate longer than one batch: its rows come in several passes, the sum is the same. */
static void long_candidates_in_small_batches(void **state) {
    const char *model = tiny_model("llama", 2, true);
    fc_engine *e = open_engine(&(fc_engine_options){
        .novelty = model, .alignment = model, .threads = 2, .ctx = 256, .kv_type = "f32", .max_rows = 8});
    fc_given g = {.text = "one two three four five six seven eight nine ten eleven twelve", .size = 62};
    fc_request r = text_request(prompt, 1, 1);
    oracle o;
    fc_event ev;
    (void)state;
    open_oracle(&o, model);
    r.score = true;
    r.given = &g;
    r.n_given = 1;
    ev = run_request(e, &r);
    assert_true(ev.result->all[0].n_tokens > 16);
    assert_true(fabs(ev.result->all[0].score -
                     want_loglik(&o, ev.result->all[0].tokens, ev.result->all[0].n_tokens, true)) < tolerance * 20);
    fc_event_fini(&ev);
    close_oracle(&o);
    fc_engine_close(e);
}

/* No likelihood can be compared with nothing: the empty candidate ranks last, and says -inf. */
static void empty_candidate_ranks_last(void **state) {
    const char *model = tiny_model("llama", 2, true);
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = model, .alignment = model, .threads = 1, .ctx = 256});
    fc_given g[2] = {{.text = "", .size = 0}, {.text = "zzz", .size = 3}};
    fc_request r = text_request(prompt, 1, 1);
    fc_event ev;
    (void)state;
    r.score = true;
    r.given = g;
    r.n_given = 2;
    ev = run_request(e, &r);
    assert_int_equal(ev.result->kept[0].index, 1);
    assert_true(isinf(ev.result->kept[1].score));
    fc_event_fini(&ev);
    r.mode = FC_SCORE_REWARD; /* a head can judge the prompt alone */
    ev = run_request(e, &r);
    assert_true(isfinite(ev.result->all[0].score));
    fc_event_fini(&ev);
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_candidates),           cmocka_unit_test(drawn_with_another_tokenizer),
        cmocka_unit_test(drawn_with_the_same_model),  cmocka_unit_test(long_candidates_in_small_batches),
        cmocka_unit_test(empty_candidate_ranks_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
