/* Whole engines on CUDA, under emulation, against the CPU backend: in f32 the same tokens, log-probs and scores within
 * rounding; a real model against transformers; calls a step, counted.
 *
 * tolerance  1e-3 on a sum of log-probs: f32 on both sides, other orders of summation, some tens of tokens
 */
#include "engine/cost.h"
#include "engine/probe.h"
#include "kernels/cuda/backend_cuda.h"
#include "tests/cuda_emu/runtime_control.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_smollm2.h"

static bool invariant; /* no product goes to cuBLASLt */

static fc_status open_cuda(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    (void)level;
    (void)threads;
    return fc_backend_open_cuda(&(fc_cuda_options){.invariant = invariant}, limits, out);
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
        fc_engine_options o = {
            .novelty = tiny_model(families[i], 1, true), .kv_type = "f32", .ctx = 256, .kv_pool = 8 << 20};
        fc_request r = text_request("The quick brown fox jumps over the lazy dog, again and again.", 12, 12);
        o.alignment = tiny_model(families[(i + 1) % 5], 2, true);
        r.score = true;
        r.keep = 5;
        both(families[i], o, &r);
    }
}

/* Codes, scales and minimums of GPTQ, AWQ and compressed-tensors on both; the CPU rounds x to 8 bits, CUDA to bf16. */
static void packed_models_compute_as_on_the_cpu(void **state) {
    static const char *const names[] = {"gptq-sym-32", "gptq-asym-64", "gptq-8-sym", "gptq-8-asym", "awq-32"};
    enum { T = 20, V = 16 }; /* more than 16 rows: the kernels of few rows and of many, in two passes */
    int32_t ids[T];
    (void)state;
    for (int i = 0; i < T; i++) ids[i] = (i * 5 + 1) % V;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        float logits[2][T * V];
        double off = 0.0, all = 0.0;
        char path[100];
        snprintf(path, sizeof path, "tests/data/weights/packed/%s", names[i]);
        for (int cuda = 0; cuda < 2; cuda++) {
            const fc_probe_options o = {.open = cuda ? open_cuda : NULL, .threads = 1, .ctx = 64, .max_rows = 17};
            fc_probe *p;
            assert_ok(fc_probe_open(path, &o, &p));
            assert_ok(fc_probe_logits(p, ids, T, logits[cuda]));
            fc_probe_close(p);
        }
        for (int k = 0; k < T * V; k++) {
            off += pow((double)logits[1][k] - (double)logits[0][k], 2.0);
            all += pow((double)logits[0][k], 2.0);
        }
        if (!(off <= 4e-4 * all)) fail_msg("%s: logits differ by %g of %g", names[i], sqrt(off), sqrt(all));
    }
}

static void filters_penalties_and_names_are_as_on_the_cpu(void **state) {
    static const char *const names[] = {"house", "night sky", "naive house", "x", "the night", "craft"};
    fc_engine_options o = {.novelty = tiny_model("llama", 1, true), .kv_type = "f32", .ctx = 256, .kv_pool = 8 << 20};
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

/* SmolLM2, Q4_1, behind one of the oracle's prompts (tests/oracle/smollm2_golden.py); the bound is the CPU's own. */
static void real_model_answers_as_transformers_does(bool imprecise) {
    enum { TOKENS = 10 };
    const fc_probe_options o = {.open = open_cuda, .kv_type = "bf16", .ctx = SMOLLM2_MAX_IDS, .imprecise = imprecise};
    fc_json_doc *doc = smollm2_open();
    const fc_json *prompt = fc_json_first(smollm2_need(fc_json_root(doc), "prompts"));
    const fc_json *lp, *top, *gap;
    int32_t ids[SMOLLM2_MAX_IDS];
    int start = smollm2_ids(smollm2_need(prompt, "ids"), ids, 0), V, wrong = 0, clear = 0;
    double sum = 0;
    fc_probe *p;
    float *logits;
    smollm2_ids(smollm2_need(prompt, "new"), ids, start);
    assert_ok(fc_probe_open(SMOLLM2_MODEL, &o, &p));
    V = fc_probe_config(p)->V;
    logits = malloc(sizeof *logits * (size_t)(start + TOKENS) * (size_t)V);
    assert_non_null(logits);
    assert_ok(fc_probe_logits(p, ids, start + TOKENS - 1, logits));
    lp = fc_json_first(smollm2_need(prompt, "logprob"));
    top = fc_json_first(smollm2_need(prompt, "top"));
    gap = fc_json_first(smollm2_need(prompt, "gap"));
    for (int i = start; i < start + TOKENS; i++) {
        int32_t two[SMOLLM2_MAX_IDS];
        int best;
        sum += fabs(smollm2_logprob(logits + (size_t)(i - 1) * (size_t)V, V, ids[i], &best) - smollm2_number(lp));
        assert_int_equal(smollm2_ids(top, two, 0), 2);
        if (smollm2_number(gap) > 0.2) clear++, wrong += best != two[0];
        lp = fc_json_next(lp);
        top = fc_json_next(top);
        gap = fc_json_next(gap);
    }
    print_message("%d tokens behind %d%s: log-probs %.4f mean; %d of %d first choices differ\n", TOKENS, start,
                  imprecise ? ", imprecise" : "", sum / TOKENS, wrong, clear);
    assert_true(clear >= TOKENS / 2 && wrong == 0);
    assert_true(sum / TOKENS <= 0.05);
    free(logits);
    fc_probe_close(p);
    fc_json_close(doc);
}

static void a_real_model_answers_as_transformers_does(void **state) {
    (void)state;
    for (int imprecise = 0; imprecise < 2; imprecise++) real_model_answers_as_transformers_does(imprecise);
}

/* One bf16 of what norms leave instead of two: another answer, not far off. If this fails, `precise` does nothing on
 * CUDA, or more than it says. */
static void imprecise_products_round_more(void **state) {
    fc_engine_options o = {.novelty = tiny_model_typed("llama", 1, FC_BF16), .kv_type = "f32", .ctx = 64};
    fc_request r = text_request("a night at the house of my sister", 1, 1);
    fc_event ev[2];
    double apart = 0;
    int n;
    (void)state;
    r.prompt_logprobs = true;
    for (int i = 0; i < 2; i++) {
        fc_engine *e = NULL;
        o.precise = i ? "auto" : "true";
        assert_ok(fc_engine_open_on(&o, open_cuda, &e));
        ev[i] = run_request(e, &r);
        fc_engine_close(e);
    }
    n = (int)ev[0].result->prompt_tokens;
    for (int k = 1; k < n; k++)
        apart += fabs((double)ev[1].result->prompt_logprobs[k] - (double)ev[0].result->prompt_logprobs[k]);
    print_message("imprecise: %d log-probs are %g apart in the mean\n", n - 1, apart / (n - 1));
    assert_true(apart > 0 && apart / (n - 1) < 0.02);
    for (int i = 0; i < 2; i++) fc_event_fini(&ev[i]);
}

/* A prompt of two batches in a model of bf16: their products go to cuBLASLt unless the engine is batch-invariant, which
 * is another order of sums. One that is off in its last bit may round the next layer's x to the other bf16, 0.4 % of
 * it: rarely, so the mean is held ten times closer than each. If this fails, lists of launches and what cuBLASLt
 * queues do not run in the order of the calls. */
static void long_prompts_go_through_cublaslt(void **state) {
    enum { LONG = 220 };
    static int32_t ids[LONG];
    const fc_engine_options o = {.novelty = tiny_model_typed("llama", 1, FC_BF16),
                                 .kv_type = "f32",
                                 .ctx = 256,
                                 .max_rows = 140,
                                 .kv_pool = 8 << 20};
    fc_request r = text_request("", 4, 4);
    fc_event ev[2];
    double apart = 0;
    (void)state;
    for (int i = 0; i < LONG; i++) ids[i] = 40 + i * 7 % 200;
    r.prompt = (fc_prompt){.ids = ids, .n_ids = LONG};
    r.prompt_logprobs = true;
    for (int i = 0; i < 2; i++) {
        fc_engine *e = NULL;
        invariant = i == 0;
        assert_ok(fc_engine_open_on(&o, open_cuda, &e));
        ev[i] = run_request(e, &r);
        fc_engine_close(e);
    }
    invariant = false;
    same_answer("cuBLASLt", ev[1].result, ev[0].result);
    for (int k = 1; k < LONG; k++) {
        double d = fabs((double)ev[1].result->prompt_logprobs[k] - (double)ev[0].result->prompt_logprobs[k]);
        if (!(d <= 1e-2)) fail_msg("log-prob %d of the prompt is %g off", k, d);
        apart += d;
    }
    print_message("log-probs are %g apart in the mean\n", apart / (LONG - 1));
    assert_true(apart > 0 && apart / (LONG - 1) <= 1e-3); /* 0: nothing went there */
    fc_event_fini(&ev[0]);
    fc_event_fini(&ev[1]);
}

/* Devices of little shared memory have smaller tiles, and the same bits. If this fails, an engine opens on a device
 * that its products do not fit on, and refuses every request. */
static void every_device_that_is_taken_runs(void **state) {
    static const int sm[] = {80, 86, 89, 120};
    static int32_t ids[40];
    const fc_engine_options o = {.novelty = tiny_model_typed("llama", 1, FC_BF16), .ctx = 64, .kv_pool = 1 << 20};
    fc_request r = text_request("", 10, 3);
    const fc_tiny_options heads = {.arch = "llama", .H = 1, .G = 1, .E = 256};
    const fc_engine_options wide = {.novelty = tiny_model_of(&heads), .kv_type = "f32", .ctx = 64, .kv_pool = 1 << 20};
    fc_event first = {0};
    fc_engine *e;
    (void)state;
    invariant = true;
    for (int i = 0; i < 40; i++) ids[i] = 40 + i * 7 % 200;
    r.prompt = (fc_prompt){.ids = ids, .n_ids = 40};
    for (int i = 0; i < 4; i++) {
        emu_reset();
        emu_device_opts.sm = sm[i];
        assert_ok(fc_engine_open_on(&o, open_cuda, &e));
        fc_event ev = run_request(e, &r);
        fc_engine_close(e);
        if (i == 0) {
            first = ev;
            continue;
        }
        same_answer("a device", ev.result, first.result);
        for (int k = 0; k < 10; k++) assert_true(ev.result->all[k].logprob == first.result->all[k].logprob);
        fc_event_fini(&ev);
    }
    invariant = false;
    fc_event_fini(&first);
    emu_reset();
    emu_device_opts.sm = 86;
    assert_fails(fc_engine_open_on(&wide, open_cuda, &e), FC_ERR_UNSUPPORTED, "another kv_type");
    emu_reset();
    emu_device_opts.sm = 75;
    assert_fails(fc_engine_open_on(&o, open_cuda, &e), FC_ERR_UNSUPPORTED, "8.0 and 101376 are needed");
    emu_reset();
    emu_device_opts.sm = 0;
}

/* Kernels of a step, by the cost model. */
static double predicted_launches(const fc_engine_options *o) {
    const fc_cost_machine c = {.gpu = true,
                               .memory_gbs = 1,
                               .cache_gbs = 1,
                               .tops = {1, 1, 1, 1},
                               .device = {.sms = 4, .shared_max = 227 << 10, .cache_bytes = 1 << 20},
                               .reach_memory = 1,
                               .reach_cache = 1,
                               .reach_product = 1,
                               .reach_library = 1,
                               .reach_attn = 1,
                               .reach_f32 = 1};
    fc_cost_model *m;
    fc_cost_time t;
    assert_ok(fc_cost_model_open(&(fc_cost_options){.path = o->novelty, .kv_type = o->kv_type}, &m));
    assert_ok(fc_cost_step(m, &c, &(fc_cost_job){.requests = 1, .prompt = 8, .tokens = 16, .n = 1}, 12, &t));
    fc_cost_model_close(m);
    return t.launches;
}

/* A step of one candidate that decodes: what it costs the host, as the longer of two jobs minus the shorter. */
static void count_step(const char *what, fc_request r, double most) {
    enum { SHORT = 4, LONG = 24 };
    const fc_engine_options o = {
        .novelty = tiny_model("llama", 1, false), .kv_type = "f32", .ctx = 128, .kv_pool = 8 << 20};
    double calls, syncs, launches, graphs;
    emu_counters c[2];
    r.sampling.ignore_eos = true;
    for (int i = 0; i < 2; i++) {
        fc_engine *e;
        fc_event ev;
        r.sampling.max_tokens = i ? LONG : SHORT;
        emu_reset();
        assert_ok(fc_engine_open_on(&o, open_cuda, &e));
        ev = run_request(e, &r);
        fc_event_fini(&ev);
        emu_counts_reset();
        ev = run_request(e, &r); /* graphs are made */
        c[i] = emu_counts();
        fc_event_fini(&ev);
        fc_engine_close(e);
    }
    calls = (double)(c[1].calls - c[0].calls) / (LONG - SHORT);
    syncs = (double)(c[1].syncs - c[0].syncs) / (LONG - SHORT);
    launches = (double)(c[1].launches - c[0].launches) / (LONG - SHORT);
    graphs = (double)(c[1].graph_launches - c[0].graph_launches) / (LONG - SHORT);
    print_message("a step of %s: %.1f calls of the runtime, %.1f of them wait, %.1f kernels, %.1f graphs\n", what,
                  calls, syncs, launches, graphs);
    assert_true(launches > 20);
    if (!r.sampling.n_bias && fabs(launches - predicted_launches(&o)) > 1e-9) /* the model knows a plain draw */
        fail_msg("%.2f kernels a step; the cost model has %.0f", launches, predicted_launches(&o));
    assert_true(syncs <= 1.01); /* for the drawn ids */
    assert_true(graphs <= 1.01);
    assert_true(calls <= most);
}

/* An upload of all lists, a graph, two downloads or more, two calls for complaints, a mark and the wait for it. If this
 * fails, lists go one by one, a step goes in pieces, or nodes of its graph are patched that need not be. */
static void a_step_is_a_few_calls(void **state) {
    static const int32_t ids[] = {5, 6, 7};
    static const float values[] = {1, -1, 0.5f};
    fc_request r = text_request("a night", 1, 1);
    (void)state;
    count_step("one candidate", r, 8.0);
    r.sampling.top_k = 20;
    r.sampling.top_p = 0.9f;
    r.sampling.frequency_penalty = 0.5f;
    r.sampling.top_logprobs = 3;
    r.sampling.bias_ids = ids;
    r.sampling.bias_values = values;
    r.sampling.n_bias = 3;
    r.sampling.logprob_ids = ids;
    r.sampling.n_logprob_ids = 3;
    count_step("one that reads every list", r, 13.5);
}

/* A prompt of many batches: one is put into the stream while the one before it runs, so the stream stands still where
 * tokens are drawn, as each step needs the last one's, and nowhere else. If this fails, the host plans a batch only
 * when the device has nothing left to do. */
static void batches_of_a_prompt_leave_no_gap(void **state) {
    enum { ROWS = 16, SHORT = 2, LONG = 12, TOKENS = 3 };
    static int32_t ids[LONG * ROWS + 1];
    uint64_t waits[2], gaps[2];
    (void)state;
    for (int i = 0; i <= LONG * ROWS; i++) ids[i] = 40 + i * 7 % 200;
    for (int i = 0; i < 2; i++) {
        const fc_engine_options o = {.novelty = tiny_model("llama", 1, false),
                                     .kv_type = "f32",
                                     .ctx = 256,
                                     .max_rows = ROWS,
                                     .kv_pool = 8 << 20};
        fc_request r = text_request("", 1, TOKENS);
        fc_engine *e;
        fc_event ev;
        r.prompt = (fc_prompt){.ids = ids, .n_ids = (i ? LONG : SHORT) * ROWS + 1};
        r.sampling.ignore_eos = true;
        emu_reset();
        assert_ok(fc_engine_open_on(&o, open_cuda, &e));
        emu_counts_reset();
        ev = run_request(e, &r);
        waits[i] = emu_counts().syncs, gaps[i] = emu_counts().gaps;
        fc_event_fini(&ev);
        fc_engine_close(e);
    }
    print_message("%d batches of a prompt more: %llu waits more, %llu gaps and then %llu\n", LONG - SHORT,
                  (unsigned long long)(waits[1] - waits[0]), (unsigned long long)gaps[0], (unsigned long long)gaps[1]);
    assert_int_equal(waits[1] - waits[0], LONG - SHORT);
    assert_int_equal(gaps[0], TOKENS);
    assert_int_equal(gaps[1], TOKENS);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_family_draws_and_scores_as_on_the_cpu),
                                       cmocka_unit_test(packed_models_compute_as_on_the_cpu),
                                       cmocka_unit_test(filters_penalties_and_names_are_as_on_the_cpu),
                                       cmocka_unit_test(every_device_that_is_taken_runs),
                                       cmocka_unit_test(imprecise_products_round_more),
                                       cmocka_unit_test(long_prompts_go_through_cublaslt),
                                       cmocka_unit_test(a_step_is_a_few_calls),
                                       cmocka_unit_test(batches_of_a_prompt_leave_no_gap),
                                       cmocka_unit_test(a_real_model_answers_as_transformers_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
