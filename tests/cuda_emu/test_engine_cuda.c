/* Whole engines on CUDA, under emulation, against the CPU backend: in f32 the same tokens, log-probs and scores within
 * rounding.
 *
 * tolerance  1e-3 on a sum of log-probs: f32 on both sides, other orders of summation, some tens of tokens
 */
#include "kernels/cuda/backend_cuda.h"
#include "tests/engine/util_engine.h"

static fc_status open_cuda(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    (void)level;
    (void)threads;
    return fc_backend_open_cuda(&(fc_cuda_options){.invariant = false}, limits, out);
}

static void same_answer(const char *what, const fc_result *got, const fc_result *want) {
    assert_int_equal(got->n_all, want->n_all);
    for (int i = 0; i < got->n_all; i++) {
        const fc_candidate *a = &got->all[i], *b = &want->all[i];
        if (a->n_tokens != b->n_tokens || memcmp(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens) != 0)
            fail_msg("%s: candidate %d: \"%.*s\", on the CPU \"%.*s\"", what, i, (int)a->text_size, a->text,
                     (int)b->text_size, b->text);
        if (!(fabs(a->logprob - b->logprob) <= 1e-3))
            fail_msg("%s: candidate %d: log-prob %.9g, on the CPU %.9g", what, i, a->logprob, b->logprob);
        if (isnan(a->score) != isnan(b->score) || fabs(a->score - b->score) > 1e-3)
            fail_msg("%s: candidate %d: score %.9g, on the CPU %.9g", what, i, a->score, b->score);
    }
    assert_int_equal(got->n_kept, want->n_kept);
    for (int i = 0; i < got->n_kept; i++) assert_int_equal(got->kept[i].index, want->kept[i].index);
}

/* One request on both. */
static void both(const char *what, fc_engine_options o, const fc_request *r) {
    fc_engine *e;
    fc_event want, got;
    o.threads = 1;
    assert_ok(fc_engine_open(&o, &e));
    want = run_request(e, r);
    fc_engine_close(e);
    assert_ok(fc_engine_open_on(&o, open_cuda, &e));
    got = run_request(e, r);
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
    same_answer(what, got.result, want.result);
    fc_event_fini(&got);
    fc_event_fini(&want);
}

static const char *const families[] = {"llama", "qwen2", "qwen3", "gemma2", "gemma3"};

static void every_family_draws_and_scores_as_on_the_cpu(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        fc_engine_options o = {.novelty = tiny_model(families[i], 1, true), .kv_type = "f32", .ctx = 256};
        fc_request r = text_request("The quick brown fox jumps over the lazy dog, again and again.", 12, 12);
        o.alignment = tiny_model(families[(i + 1) % 5], 2, true);
        r.score = true;
        r.keep = 5;
        both(families[i], o, &r);
    }
}

static void filters_penalties_and_names_are_as_on_the_cpu(void **state) {
    static const char *const names[] = {"house", "night sky", "naive house", "x", "the night", "craft"};
    fc_engine_options o = {.novelty = tiny_model("llama", 1, true), .kv_type = "f32", .ctx = 256};
    fc_request r = text_request("a night in the house", 16, 10);
    (void)state;
    o.alignment = o.novelty;
    r.score = true;
    r.mode = FC_SCORE_REWARD;
    r.sampling.top_k = 20;
    r.sampling.top_p = 0.9f;
    r.sampling.repetition_penalty = 1.2f;
    r.sampling.top_logprobs = 3;
    both("filters", o, &r);
    r = text_request("a night in the house", 16, 32);
    r.names = names;
    r.n_names = 6;
    r.constraint = FC_CONSTRAINT_MASK;
    r.full_logprob = true;
    r.score = true;
    both("names", o, &r);
    r.full_logprob = false;
    r.draw = FC_DRAW_SBS;
    both("without replacement", o, &r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_family_draws_and_scores_as_on_the_cpu),
                                       cmocka_unit_test(filters_penalties_and_names_are_as_on_the_cpu)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
