/* The cost model against the engine: what it predicts of bytes and operations is what the engine counts. */
#include "engine/cost.h"
#include "tests/engine/util_engine.h"

static const char prompt[] = "a night in the house of the day, and the night of the house";
enum { TOKENS = 6, N = 3 };

static const fc_cost_machine machine = {.name = "made up",
                                        .memory_gbs = 100,
                                        .cache_gbs = 200,
                                        .tops = {1, 2, 4, 0},
                                        .device = {4, 227 << 10, 16e6, false},
                                        .launch_us = 1,
                                        .pass_us = 10,
                                        .reach_memory = 1,
                                        .reach_cache = 1,
                                        .reach_product = 0.5,
                                        .reach_library = 0.5,
                                        .reach_attn = 0.5,
                                        .reach_f32 = 0.5};

static fc_cost_model *open_model(const char *path, const char *kv) {
    fc_cost_model *m;
    assert_ok(fc_cost_model_open(&(fc_cost_options){.path = path, .kv_type = kv}, &m));
    return m;
}

/* Counts of one request, of which nothing is shared but the prompt's pages. */
static fc_engine_counts counts_of(const char *path, const char *kv, const char *alignment, int *prompt_tokens) {
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = path,
                                                    .alignment = alignment,
                                                    .threads = 1,
                                                    .kv_type = kv,
                                                    .off = FC_OFF_COALESCE | FC_OFF_PREFIX_CACHE | FC_OFF_SCORE_CACHE});
    fc_request r = text_request(prompt, N, TOKENS);
    fc_engine_counts c;
    fc_event ev;
    r.sampling.ignore_eos = true;
    r.score = alignment != NULL;
    ev = run_request(e, &r);
    do fc_engine_count(e, &c);
    while (c.running);
    *prompt_tokens = (int)ev.result->prompt_tokens;
    fc_event_fini(&ev);
    fc_engine_close(e);
    return c;
}

static void near(const char *what, double predicted, double counted) {
    if (predicted < counted * (1 - 1e-12) || predicted > counted * (1 + 1e-12))
        fail_msg("%s: predicted %.17g, counted %.17g", what, predicted, counted);
}

static void job_is_counted(const char *path, const char *kv) {
    fc_cost_model *m = open_model(path, kv);
    fc_cost_job j = {.requests = 1, .tokens = TOKENS, .n = N};
    fc_engine_counts c = counts_of(path, kv, NULL, &j.prompt);
    fc_cost_time prefill, decode;
    assert_ok(fc_cost_prefill(m, &machine, &j, &prefill));
    assert_ok(fc_cost_decode(m, &machine, &j, &decode));
    assert_int_equal((int)prefill.rows, c.rows_prefill);
    assert_int_equal((int)decode.rows, c.rows_decode);
    assert_int_equal((int)(prefill.passes + decode.passes), c.batches);
    near("bytes", prefill.counted.bytes + decode.counted.bytes, c.bytes);
    near("flops", prefill.counted.flops + decode.counted.flops, c.flops);
    fc_cost_model_close(m);
}

/* If this fails, predictions are of other rows, tiles or weights than the engine's. */
static void jobs_are_counted_exactly(void **state) {
    (void)state;
    job_is_counted(tiny_model("llama", 3, false), "f32");
    job_is_counted(tiny_model("qwen3", 3, false), "bf16");
    job_is_counted(tiny_model("gemma3", 3, false), "int8");
    job_is_counted(tiny_model_typed("llama", 3, FC_Q8_0), "bf16");
    job_is_counted(tiny_model_typed("llama", 3, FC_Q4_0), "fp8");
}

/* Both roles: candidates are scored as a tree behind one prompt; here they have no stem in common. */
static void scores_are_counted_exactly(void **state) {
    const char *path = tiny_model("llama", 3, false), *alignment = tiny_model("qwen3", 4, false);
    fc_cost_model *novelty = open_model(path, "f32"), *m = open_model(alignment, "f32");
    fc_cost_job j = {.requests = 1, .tokens = TOKENS, .n = N};
    fc_engine_counts c = counts_of(path, "f32", alignment, &j.prompt);
    fc_cost_time prefill, decode, score;
    (void)state;
    assert_ok(fc_cost_prefill(novelty, &machine, &j, &prefill));
    assert_ok(fc_cost_decode(novelty, &machine, &j, &decode));
    assert_ok(fc_cost_score(m, &machine, &j, false, &score));
    assert_int_equal((int)score.rows, c.rows_score);
    near("flops", prefill.counted.flops + decode.counted.flops + score.counted.flops, c.flops);
    near("bytes", prefill.counted.bytes + decode.counted.bytes + score.counted.bytes, c.bytes);
    fc_cost_model_close(m);
    fc_cost_model_close(novelty);
}

static double seconds_at(const fc_cost_model *m, fc_cost_job j) {
    fc_cost_time t;
    assert_ok(fc_cost_step(m, &machine, &j, 2, &t));
    return t.seconds;
}

static void sharing_and_distinct_rows_count(void **state) {
    fc_cost_model *m = open_model("like:qwen3-0.6b", NULL);
    const fc_cost_job j = {.requests = 2, .prompt = 4096, .tokens = 16, .n = 32};
    fc_cost_job alone = j, fewer = j, one = j;
    fc_cost_time all, cached;
    (void)state;
    alone.unshared = true;
    fewer.rows = 4;
    one.requests = 1;
    assert_true(seconds_at(m, j) < 0.5 * seconds_at(m, alone));
    assert_true(seconds_at(m, fewer) < seconds_at(m, j));
    assert_true(seconds_at(m, one) < seconds_at(m, j));
    assert_ok(fc_cost_score(m, &machine, &j, false, &all));
    assert_ok(fc_cost_score(m, &machine, &j, true, &cached));
    assert_int_equal((int)all.rows, 2 * (4096 + 32 * 15));
    assert_int_equal((int)cached.rows, 2 * (1 + 32 * 15)); /* and the prompt's last row */
    fc_cost_model_close(m);
}

/* 16 bits of 8 billion weights, and of each position K and V of 32 layers, 8 heads and 128 numbers. */
static void shapes_are_the_models(void **state) {
    fc_cost_machine h100;
    fc_cost_model *m;
    (void)state;
    assert_ok(fc_cost_machine_find("h100", 0, &h100));
    m = open_model("like:llama-3.1-8b", "bf16");
    assert_true(fc_cost_model_kv_bytes(m) == 2.0 * 32 * 8 * 128 * 2);
    assert_true(fc_cost_model_bytes(m, &h100) > 16.0e9 && fc_cost_model_bytes(m, &h100) < 16.1e9);
    fc_cost_model_close(m);
}

/* A machine twice as fast in all takes half as long, and no part beats its floor. */
static void times_follow_the_machine(void **state) {
    fc_cost_model *m = open_model("like:llama-3.2-1b", NULL);
    const fc_cost_job j = {.requests = 1, .prompt = 300, .tokens = 40, .n = 8};
    fc_cost_machine twice = machine;
    fc_cost_time slow, fast;
    double parts = 0;
    (void)state;
    twice.memory_gbs *= 2, twice.cache_gbs *= 2, twice.launch_us /= 2, twice.pass_us /= 2;
    for (int u = 0; u < FC_UNITS; u++) twice.tops[u] *= 2;
    assert_ok(fc_cost_decode(m, &machine, &j, &slow));
    assert_ok(fc_cost_decode(m, &twice, &j, &fast));
    assert_true(fast.seconds > 0.4999 * slow.seconds && fast.seconds < 0.5001 * slow.seconds);
    for (int i = 0; i < slow.n_parts; i++) {
        assert_true(slow.parts[i].floor <= slow.parts[i].seconds);
        parts += slow.parts[i].seconds;
    }
    assert_true(parts < slow.seconds); /* passes have a cost of their own */
    assert_int_equal((int)(slow.rows + 0.5), 39 * 8);
    fc_cost_model_close(m);
}

static void what_cannot_be_is_refused(void **state) {
    const fc_cost_job good = {.requests = 1, .prompt = 10, .tokens = 5, .n = 2};
    fc_cost_model *m = open_model("like:smollm2-135m", NULL), *none;
    fc_cost_machine c;
    fc_cost_time t;
    fc_cost_job j = good;
    (void)state;
    j.prompt = 8190;
    assert_int_equal(fc_cost_prefill(m, &machine, &j, &t), FC_ERR_ARG);
    assert_non_null(strstr(fc_last_error(), "8190 positions of prompt and 5 tokens; the model was made for 8192"));
    j = good;
    j.rows = 3;
    assert_int_equal(fc_cost_decode(m, &machine, &j, &t), FC_ERR_ARG);
    assert_non_null(strstr(fc_last_error(), "3 distinct rows of n = 2"));
    assert_int_equal(fc_cost_step(m, &machine, &good, 6, &t), FC_ERR_ARG);
    assert_int_equal(fc_cost_machine_find("h900", 0, &c), FC_ERR_ARG);
    assert_non_null(strstr(fc_last_error(), "\"h900\" is not described; cpu, h100, "));
    assert_int_equal(fc_cost_model_open(&(fc_cost_options){.path = "like:smollm2-135m", .weights = "int3"}, &none),
                     FC_ERR_ARG);
    assert_non_null(strstr(fc_last_error(), "\"int3\"; bf16, fp8, int8 and int4"));
    assert_int_equal(fc_cost_model_open(&(fc_cost_options){.path = "like:smollm2-135m", .kv_type = "int3"}, &none),
                     FC_ERR_ARG);
    fc_cost_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_are_counted_exactly),        cmocka_unit_test(scores_are_counted_exactly),
        cmocka_unit_test(sharing_and_distinct_rows_count), cmocka_unit_test(shapes_are_the_models),
        cmocka_unit_test(times_follow_the_machine),        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
