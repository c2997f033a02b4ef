/* Rows that the head draws, and rows of logits that are kept: the same candidates, alone and side by side in one batch,
 * each kind computed in its own way and no other. */
#include "engine/engine.h"
#include "tests/engine/util_engine.h"

enum { N = 24, TOKENS = 6, V = 600 };

static const int32_t stops[] = {40, 300, 511};
static const int32_t bias_ids[] = {5};
static const float bias_values[] = {-1.0f};

/* ---- the CPU backend, counted */

static fc_backend cpu;                       /* its operators */
static int head_rows, kept_rows, drawn_rows; /* rows of head_draw; of the head's linear; of draw */

static fc_status counted_head_draw(fc_stream s, const fc_head_draw_args *a) {
    head_rows += a->R;
    return cpu.head_draw(s, a);
}

static fc_status counted_linear(fc_stream s, const fc_linear_args *a) {
    if (a->w->N == V) kept_rows += a->T;
    return cpu.linear(s, a);
}

static fc_status counted_draw(fc_stream s, const fc_draw_args *a) {
    drawn_rows += a->n_rows;
    return cpu.draw(s, a);
}

static fc_status open_counted(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    FC_TRY(fc_backend_open_cpu(level, threads, limits, out));
    cpu = **out;
    (*out)->head_draw = counted_head_draw;
    (*out)->linear = counted_linear;
    (*out)->draw = counted_draw;
    head_rows = kept_rows = drawn_rows = 0;
    return FC_OK;
}

/* ---- the requests */

enum { WARM, HOT, COLD, GREEDY, GREEDY_FILTERED, STOPS, KINDS };

static fc_request request(int kind) {
    static const float temperature[KINDS] = {1.0f, 2.5f, 0.3f, 0.0f, 0.0f, 1.0f};
    fc_request r = text_request("The cat sat on the mat.", N, TOKENS);
    r.sampling.temperature = temperature[kind];
    r.sampling.ignore_eos = kind != STOPS;
    r.seed = 50 + (uint64_t)kind;
    if (kind == GREEDY_FILTERED) {
        r.sampling.top_k = 3;
        r.sampling.top_p = 0.5f;
    }
    if (kind == STOPS) { /* its first rows have a bias, those behind them none */
        r.sampling.stop_ids = stops;
        r.sampling.n_stop_ids = 3;
        r.sampling.min_tokens = 2;
    }
    return r;
}

/* The same draws from rows of logits that are kept, in one of three ways. */
static fc_request kept(fc_request r, int way) {
    if (way == 0) r.sampling.top_logprobs = 2;
    if (way == 1) {
        r.sampling.logprob_ids = bias_ids;
        r.sampling.n_logprob_ids = 1;
    }
    if (way == 2) { /* a bias of nothing */
        static const float nothing[] = {0.0f};
        r.sampling.bias_ids = bias_ids;
        r.sampling.bias_values = nothing;
        r.sampling.n_bias = 1;
    }
    return r;
}

/* One setting that needs logits. */
enum { TOP_K, TOP_P, MIN_P, TYPICAL_P, REPETITION, PRESENCE, FREQUENCY, BIAS, ALLOWED, OTHERS };

static fc_request other(int which) {
    static const int32_t allowed[] = {7, 90, 400};
    fc_request r = request(which % 2 ? WARM : HOT);
    fc_sampling *c = &r.sampling;
    if (which == TOP_K) c->top_k = 5;
    if (which == TOP_P) c->top_p = 0.8f;
    if (which == MIN_P) c->min_p = 0.1f;
    if (which == TYPICAL_P) c->typical_p = 0.7f;
    if (which == REPETITION) c->repetition_penalty = 1.4f;
    if (which == PRESENCE) c->presence_penalty = 1.5f;
    if (which == FREQUENCY) c->frequency_penalty = 1.5f;
    if (which == BIAS) {
        c->bias_ids = bias_ids;
        c->bias_values = bias_values;
        c->n_bias = 1;
    }
    if (which == ALLOWED) {
        c->allowed_ids = allowed;
        c->n_allowed = 3;
    }
    return r;
}

static void assert_same(const char *what, const fc_result *a, const fc_result *b) {
    assert_int_equal(a->n_all, b->n_all);
    for (int i = 0; i < a->n_all; i++) assert_same_candidate(what, &a->all[i], &b->all[i]);
}

static fc_engine *open_on(const char *path) {
    fc_engine *e;
    assert_ok(fc_engine_open_on(&(fc_engine_options){.novelty = path, .threads = 2, .ctx = 64}, open_counted, &e));
    return e;
}

/* If this fails, asking for alternatives changes what is drawn, or the [R,V] array is still written for those who do
 * not ask. */
static void a_row_of_logits_that_is_kept_changes_nothing(void **state) {
    static const char *const families[] = {"llama", "gemma2"}; /* the second has a soft cap */
    (void)state;
    for (int f = 0; f < 2; f++) {
        fc_engine *e = open_on(tiny_model_vocab(families[f], 1, false, V));
        for (int k = 0; k < KINDS; k++) {
            fc_request r = request(k);
            fc_event fused, ev;
            char what[40];
            head_rows = kept_rows = drawn_rows = 0;
            fused = run_request(e, &r);
            assert_true(head_rows > 0);
            assert_int_equal(kept_rows, drawn_rows);
            if (k == STOPS) assert_true(kept_rows > 0);
            else assert_int_equal(kept_rows, 0);
            for (int way = 0; way < 3; way++) {
                snprintf(what, sizeof what, "%s, kind %d, way %d", families[f], k, way);
                r = kept(request(k), way);
                head_rows = kept_rows = 0;
                ev = run_request(e, &r);
                assert_int_equal(head_rows, 0);
                assert_true(kept_rows > 0);
                assert_same(what, ev.result, fused.result);
                fc_event_fini(&ev);
            }
            fc_event_fini(&fused);
        }
        fc_engine_close(e);
    }
}

/* Filters, bias, penalties and lists, which no head draws, one after another with those that it does. If this fails, a
 * row reads another row's state, or its members take another row's tokens. */
static void both_ways_in_one_batch_are_each_alone(void **state) {
    enum { ALL = 2 * KINDS + OTHERS, STEP = 8 }; /* no common factor: kinds stand side by side, each once */
    fc_engine *e = open_on(tiny_model_vocab("llama", 1, false, V));
    fc_request r[ALL];
    fc_event alone[ALL];
    uint64_t id[ALL];
    (void)state;
    for (int i = 0; i < KINDS; i++) {
        r[2 * i] = request(i);
        r[2 * i + 1] = kept(request(i), i % 3);
    }
    for (int i = 0; i < OTHERS; i++) r[2 * KINDS + i] = other(i);
    for (int i = 0; i < ALL; i++) {
        head_rows = 0;
        alone[i] = run_request(e, &r[i]);
        if ((i < 2 * KINDS && i % 2 == 0) != (head_rows > 0))
            fail_msg("request %d: the head drew %d rows", i, head_rows);
    }
    head_rows = kept_rows = 0;
    for (int i = 0, k = 0; i < ALL; i++, k = (k + STEP) % ALL) assert_ok(fc_submit(e, &r[k], &id[k]));
    for (int done = 0; done < ALL; done++) {
        fc_event ev;
        int k = 0;
        char what[20];
        assert_ok(fc_poll(e, 60000, &ev));
        if (ev.status) fail_msg("%s", ev.error);
        while (id[k] != ev.id) k++;
        snprintf(what, sizeof what, "request %d", k);
        assert_same(what, ev.result, alone[k].result);
        fc_event_fini(&ev);
    }
    assert_true(head_rows > 0 && kept_rows > 0);
    for (int i = 0; i < ALL; i++) fc_event_fini(&alone[i]);
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_of_logits_that_is_kept_changes_nothing),
        cmocka_unit_test(both_ways_in_one_batch_are_each_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
