/* Log-probs of a prompt's own ids, against the probe's logits, and the same bits however it is read. */
#include "engine/base/os.h"
#include "engine/engine.h"
#include "engine/probe.h"
#include "tests/engine/util_vary.h"

#include <math.h>
#include <sched.h>

static const char *const names[] = {"Spain", "Span", "Spa", "rain", "quick", "the rain"};

static void same_prompts(const char *what, const fc_result *got, const fc_result *want) {
    size_t n = got->prompt_tokens, tops = n * (size_t)got->prompt_top_n;
    assert_int_equal(n, want->prompt_tokens);
    assert_int_equal(got->prompt_top_n, want->prompt_top_n);
    if (memcmp(got->prompt_logprobs, want->prompt_logprobs, n * 4) != 0) fail_msg("%s: other log-probs", what);
    assert_memory_equal(got->prompt_top_ids, want->prompt_top_ids, tops * 4);
    assert_memory_equal(got->prompt_top_logprobs, want->prompt_top_logprobs, tops * 4);
    vary_same_candidates(what, got, want);
}

static bool near(double a, double b) { return fabs(a - b) <= 1e-5 + 1e-5 * fabs(b); }

/* Log-probs of one row of logits, in double. */
static void log_softmax(const float *logits, int V, double *lp) {
    double most = -INFINITY, sum = 0;
    for (int v = 0; v < V; v++) most = fmax(most, (double)logits[v]);
    for (int v = 0; v < V; v++) sum += exp((double)logits[v] - most);
    for (int v = 0; v < V; v++) lp[v] = (double)logits[v] - most - log(sum);
}

static void check_prompt(const fc_result *r, int top) {
    fc_probe *p;
    int V, n = (int)r->prompt_tokens;
    float *logits;
    double *lp;
    assert_ok(fc_probe_open(vary_model(), &(fc_probe_options){.threads = 2, .ctx = 256}, &p));
    V = fc_probe_config(p)->V;
    logits = malloc(sizeof *logits * (size_t)(n * V));
    lp = malloc(sizeof *lp * (size_t)V);
    assert_true(logits && lp);
    assert_ok(fc_probe_logits(p, r->prompt_ids, n, logits));
    assert_int_equal(r->prompt_top_n, top);
    assert_true(isnan(r->prompt_logprobs[0]));
    for (int k = 0; k < top; k++) assert_true(r->prompt_top_ids[k] == -1 && isnan(r->prompt_top_logprobs[k]));
    for (int i = 1; i < n; i++) {
        log_softmax(logits + (size_t)(i - 1) * (size_t)V, V, lp);
        if (!near((double)r->prompt_logprobs[i], lp[r->prompt_ids[i]]))
            fail_msg("id %d of the prompt: %.9g, not %.9g", i, (double)r->prompt_logprobs[i], lp[r->prompt_ids[i]]);
        for (int k = 0; k < top; k++) {
            int32_t id = r->prompt_top_ids[i * top + k];
            double most = -INFINITY;
            for (int v = 0; v < V; v++) most = fmax(most, lp[v]);
            assert_true(near(lp[id], most) && near((double)r->prompt_top_logprobs[i * top + k], most));
            lp[id] = -INFINITY;
        }
    }
    free(lp);
    free(logits);
    fc_probe_close(p);
}

/* If this fails, echo shows log-probs that are not the prompt's, or asking for them changes what is drawn. */
static void prompts_have_log_probs(void **state) {
    fc_request r = text_request(vary_prompt, 12, 8), plain = r;
    fc_engine *e =
        open_engine(&(fc_engine_options){.novelty = vary_model(), .threads = 2, .kv_type = "f32", .ctx = 256});
    fc_event ev, other;
    (void)state;
    r.prompt_logprobs = true;
    r.prompt_top_logprobs = 5;
    ev = vary_request("prompt_logprobs", &r, same_prompts);
    check_prompt(ev.result, 5);
    other = run_request(e, &plain);
    assert_null(other.result->prompt_logprobs);
    vary_same_candidates("without", other.result, ev.result);
    fc_event_fini(&other);
    for (int i = 0; i < 2;
         i++) { /* from a cache that has it all, and, without alternatives, through another operator */
        fc_request again = r;
        again.prompt_top_logprobs = i ? 0 : 5;
        other = run_request(e, &again);
        assert_int_equal(other.result->accounting.rows_reused, 0);
        assert_int_equal(other.result->accounting.rows_prefill, other.result->prompt_tokens);
        assert_memory_equal(other.result->prompt_logprobs, ev.result->prompt_logprobs, ev.result->prompt_tokens * 4);
        fc_event_fini(&other);
    }
    other = run_request(e, &plain);
    assert_true(other.result->accounting.rows_reused > 0);
    fc_event_fini(&other);
    fc_event_fini(&ev);
    fc_engine_close(e);
    r.prompt_top_logprobs = 0;
    r.score = true;
    ev = vary_request("prompt_logprobs, scored", &r, same_prompts);
    check_prompt(ev.result, 0);
    for (int off = 0; off < 2; off++) { /* one model in both roles, which feeds a short alignment prompt before */
        static const fc_piece piece = {"not this one", 12, false};
        e = open_engine(&(fc_engine_options){.novelty = vary_model(),
                                             .alignment = vary_model(),
                                             .threads = 2,
                                             .kv_type = "f32",
                                             .ctx = 256,
                                             .off = off ? FC_OFF_FORK : 0});
        r.alignment_prompt = (fc_prompt){.pieces = &piece, .n_pieces = 1};
        other = run_request(e, &r);
        assert_memory_equal(other.result->prompt_logprobs, ev.result->prompt_logprobs, ev.result->prompt_tokens * 4);
        fc_event_fini(&other);
        fc_engine_close(e);
    }
    fc_event_fini(&ev);
}

/* If this fails, a prompt that nothing is drawn behind is not read. */
static void prompts_alone(void **state) {
    fc_request r = text_request(vary_prompt, 1, 0);
    fc_event ev, other;
    (void)state;
    r.prompt_logprobs = r.events = true;
    r.prompt_top_logprobs = 3;
    ev = vary_request("max_tokens 0", &r, same_prompts);
    check_prompt(ev.result, 3);
    assert_int_equal(ev.result->n_all, 1);
    assert_int_equal(ev.result->kept[0].n_tokens, 0);
    assert_int_equal(ev.result->kept[0].text_size, 0);
    assert_int_equal(ev.result->kept[0].finish, FC_FINISH_LENGTH);
    assert_int_equal(ev.result->accounting.rows_decode, 0);
    assert_int_equal(ev.result->accounting.rows_flat_decode, 0);
    r = text_request(vary_prompt, 1, 10); /* a name without a choice, and all ways to search names */
    r.prompt_logprobs = true;
    r.prompt_top_logprobs = 3;
    r.names = names;
    r.constraint = FC_CONSTRAINT_MASK;
    for (int draw = FC_DRAW_IID; draw <= FC_DRAW_EXACT; draw++)
        for (int how = 0; how < 3; how++) {
            fc_engine *e = open_engine(&(fc_engine_options){.novelty = vary_model(),
                                                            .threads = 2,
                                                            .kv_type = "f32",
                                                            .ctx = 256,
                                                            .max_rows = how ? 7 : 0,
                                                            .off = how == 2 ? FC_OFF_ALL : 0});
            r.draw = (fc_draw_mode)draw;
            r.n_names = draw == FC_DRAW_IID ? 1 : 6;
            r.n = draw == FC_DRAW_IID ? 3 : 1; /* enough is drawn before the prompt is read */
            r.stop_when = draw == FC_DRAW_IID ? "stable:1" : NULL;
            other = run_request(e, &r);
            assert_memory_equal(other.result->prompt_logprobs, ev.result->prompt_logprobs,
                                ev.result->prompt_tokens * 4);
            assert_memory_equal(other.result->prompt_top_ids, ev.result->prompt_top_ids, ev.result->prompt_tokens * 12);
            assert_int_equal(other.result->all[0].valid, 1);
            fc_event_fini(&other);
            fc_engine_close(e);
        }
    fc_event_fini(&ev);
    r = text_request("a", 1, 0);
    r.prompt_logprobs = true;
    ev = vary_request("a prompt of one id", &r, same_prompts);
    assert_int_equal(ev.result->prompt_tokens, 1);
    assert_true(isnan(ev.result->prompt_logprobs[0]));
    fc_event_fini(&ev);
}

/* If this fails, prompts that are read in one batch get one another's log-probs. */
static void prompts_in_a_crowd(void **state) {
    enum { CROWD = 6 };
    static const char *const texts[CROWD] = {
        vary_prompt,      "abc",   "The rain in Spain falls mainly on the plain, they say.",
        vary_prompt + 20, "Hello", "in the city of light"};
    fc_engine_options o = {.novelty = vary_model(), .threads = 2, .kv_type = "f32", .ctx = 256, .max_rows = 40};
    fc_engine *e = open_engine(&o);
    fc_request r[CROWD];
    fc_event alone[CROWD], ev;
    uint64_t id[CROWD];
    (void)state;
    for (int i = 0; i < CROWD; i++) {
        r[i] = text_request(texts[i], 1, i % 2);
        r[i].prompt_logprobs = true;
        r[i].prompt_top_logprobs = i % 3;
        alone[i] = run_request(e, &r[i]);
    }
    for (int i = 0; i < CROWD; i++) assert_ok(fc_submit(e, &r[i], &id[i]));
    for (int done = 0; done < CROWD; done++) {
        int k = 0;
        assert_ok(fc_poll(e, 60000, &ev));
        if (ev.status) fail_msg("%s", ev.error);
        while (id[k] != ev.id) k++;
        same_prompts("in a crowd", ev.result, alone[k].result);
        fc_event_fini(&ev);
    }
    for (int i = 0; i < CROWD; i++) fc_event_fini(&alone[i]);
    fc_engine_close(e);
}

/* If this fails, what is read of a prompt before it gives way is lost, or read for another position. */
static void prompts_give_way_half_read(void **state) {
    enum { OTHERS = 6 };
    fc_engine_options o = {.novelty = vary_model(), .threads = 2, .kv_type = "f32", .ctx = 256, .page_slots = 8};
    (void)state;
    for (int k = 0; k < 4;
         k++) { /* nothing drawn behind it, or one id; what it fed comes from the cache again, or not */
        fc_request r = text_request(vary_prompt, 1, k % 2);
        fc_engine_info info;
        fc_engine *e = open_engine(&o);
        fc_event want, ev;
        uint64_t id, ignored;
        int64_t replayed = 0;
        fc_engine_describe(e, &info);
        r.prompt_logprobs = true;
        r.prompt_top_logprobs = 2;
        want = run_request(e, &r);
        fc_engine_close(e);
        o.max_rows = OTHERS + 1; /* the others leave it one row a step, and then no page */
        o.kv_pool = 32 * info.novelty.kv_page_bytes;
        o.off = k < 2 ? 0 : FC_OFF_PREFIX_CACHE;
        e = vary_open_held(&o);
        r.priority = 1;
        for (int i = 0; i < OTHERS; i++) {
            fc_request other = text_request("abc", 1, 40);
            other.seed = (uint64_t)i;
            other.sampling.ignore_eos = true;
            assert_ok(fc_submit(e, &other, &ignored));
            if (i == 0) vary_wait_begun(); /* the next pass has all others */
        }
        assert_ok(fc_submit(e, &r, &id));
        vary_go();
        for (int done = 0; done < OTHERS + 1; done++) {
            assert_ok(fc_poll(e, 60000, &ev));
            if (ev.status) fail_msg("%s", ev.error);
            if (ev.id == id) {
                same_prompts("half read", ev.result, want.result);
                replayed = ev.result->accounting.rows_replayed;
            }
            fc_event_fini(&ev);
        }
        print_message("  %lld preemptions, %lld rows of it replayed\n", (long long)fc_engine_stats(e).preemptions,
                      (long long)replayed);
        assert_true(fc_engine_stats(e).preemptions > 0 && (k < 2 || replayed > 8));
        fc_event_fini(&want);
        fc_engine_close(e);
        o.max_rows = 0;
        o.kv_pool = 0;
    }
}

/* If this fails, a deadline is not heeded while a prompt is read, or what was not read has a log-prob. */
static void a_deadline_leaves_the_rest_out(void **state) {
    enum { ROWS = 7, DEADLINE_MS = 1000 };
    fc_engine_options o = {.novelty = vary_model(), .threads = 2, .kv_type = "f32", .ctx = 256, .max_rows = ROWS};
    fc_request r = text_request(vary_prompt, 1, 10);
    uint64_t id, end;
    fc_event want, ev;
    fc_engine *e;
    (void)state;
    r.prompt_logprobs = true;
    r.prompt_top_logprobs = 2;
    r.names = names;
    r.n_names = 1; /* without a choice: the candidate is complete before the prompt is read */
    r.constraint = FC_CONSTRAINT_MASK;
    e = open_engine(&o);
    want = run_request(e, &r);
    fc_engine_close(e);
    r.deadline_ms = DEADLINE_MS;
    e = vary_open_held(&o);
    assert_ok(fc_submit(e, &r, &id));
    vary_wait_begun(); /* the first rows are under way */
    end = fc_clock_ns() + (DEADLINE_MS + 1) * (uint64_t)1000000;
    while (fc_clock_ns() < end) sched_yield();
    vary_go();
    assert_ok(fc_poll(e, 60000, &ev));
    if (ev.status) fail_msg("%s", ev.error);
    assert_int_equal(ev.result->confidence.n_used, 1);
    assert_true(ev.result->prompt_tokens > ROWS + 1);
    assert_memory_equal(ev.result->prompt_logprobs + 1, want.result->prompt_logprobs + 1, ROWS * 4);
    assert_memory_equal(ev.result->prompt_top_ids, want.result->prompt_top_ids, (ROWS + 1) * 2 * 4);
    for (size_t i = ROWS + 1; i < ev.result->prompt_tokens; i++)
        assert_true(isnan(ev.result->prompt_logprobs[i]) && ev.result->prompt_top_ids[2 * i] == -1);
    fc_event_fini(&ev);
    fc_event_fini(&want);
    fc_engine_close(e);
}

static void prompt_log_probs_are_checked(void **state) {
    fc_request r = text_request(vary_prompt, 2, 0);
    (void)state;
    vary_refused(&r, "max_tokens = 0: nothing would be drawn; give 1 or more");
    r.sampling.max_tokens = 1;
    r.prompt_top_logprobs = 1;
    vary_refused(&r, "prompt_top_logprobs = 1: prompt_logprobs is off");
    r.sampling.max_tokens = 0;
    r.prompt_logprobs = true;
    vary_refused(&r, "max_tokens = 0: nothing is drawn, so n is 1, not 2");
    r.n = 1;
    r.n_max = 4;
    vary_refused(&r, "max_tokens = 0: nothing is drawn; leave n_max above 1 out");
    r.n_max = 0;
    r.score = true;
    vary_refused(&r, "max_tokens = 0: nothing is drawn; leave score out");
    r.score = false;
    r.sampling.min_tokens = 1;
    vary_refused(&r, "min_tokens = 1; it must lie in 0 to 0");
    r.sampling.min_tokens = 0;
    r.prompt_top_logprobs = 129;
    vary_refused(&r, "prompt_top_logprobs = 129; it must lie in 0 to 128");
    r.prompt_top_logprobs = 0;
    r.given = &(fc_given){.text = "a", .size = 1};
    r.n_given = 1;
    r.score = true;
    vary_refused(&r, "prompt_logprobs: for given candidates");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_have_log_probs),
        cmocka_unit_test(prompts_alone),
        cmocka_unit_test(prompts_in_a_crowd),
        cmocka_unit_test(prompts_give_way_half_read),
        cmocka_unit_test(a_deadline_leaves_the_rest_out),
        cmocka_unit_test(prompt_log_probs_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
