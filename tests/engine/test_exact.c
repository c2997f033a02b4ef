/* Exactness: candidate i of (model, prompt, seed) is the same, bit for bit, whatever stands around it. */
#include "engine/engine.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_late.h"

static const char prompt[] =
    "The quick brown fox jumps over the lazy dog, and the rain in Spain falls mainly on the plain. "
    "Once more: the quick brown fox jumps over the lazy dog.";

/* All n candidates of one engine configuration against the reference run, which has more of them. */
static void compare(const char *what, const fc_engine_options *o, int n, const fc_result *want) {
    fc_engine *e = open_engine(o);
    fc_request r = text_request(prompt, n, 12);
    fc_event ev;
    r.score = o->alignment != NULL;
    ev = run_request(e, &r);
    assert_int_equal(ev.result->n_all, n);
    for (int i = 0; i < n; i++) assert_same_candidate(what, &ev.result->all[i], &want->all[i]);
    fc_event_fini(&ev);
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
}

static void vary(const char *novelty, const char *alignment, const char *kv, const char *cpu) {
    fc_engine_options o = {
        .novelty = novelty, .alignment = alignment, .threads = 2, .kv_type = kv, .cpu = cpu, .ctx = 256};
    fc_engine *e = open_engine(&o);
    fc_request r = text_request(prompt, 64, 12);
    fc_event ref;
    r.score = true;
    ref = run_request(e, &r);
    fc_engine_close(e);
    compare("the same again", &o, 64, ref.result);
    compare("n = 4", &o, 4, ref.result);
    compare("n = 1", &o, 1, ref.result);
    o.threads = 1;
    compare("1 thread", &o, 64, ref.result);
    o.threads = 3;
    o.page_slots = 8;
    compare("3 threads, pages of 8", &o, 64, ref.result);
    o.page_slots = 64;
    compare("pages of 64", &o, 64, ref.result);
    o.page_slots = 16;
    o.max_rows = 7; /* prompt in chunks of 7, decode rows over several batches */
    compare("batches of 7 rows", &o, 64, ref.result);
    o.max_rows = 0;
    for (uint32_t bit = 1; bit < FC_OFF_ALL; bit *= TEST_WATCHED ? 8 : 2) {
        o.off = bit;
        compare(fc_off_name((fc_off)bit), &o, 64, ref.result);
    }
    o.off = FC_OFF_ALL;
    compare("all off", &o, 64, ref.result);
    fc_event_fini(&ref);
}

/* If this fails, an answer depends on n, threads, page size or how rows are cut into batches. */
static void same_for_every_shape(void **state) {
    (void)state;
    vary(tiny_model("llama", 1, false), tiny_model("llama", 2, false), NULL, NULL);
}

static void same_with_one_model_for_both(void **state) {
    (void)state;
    vary(tiny_model("llama", 1, false), tiny_model("llama", 1, false), "bf16", NULL);
}

static void same_with_windows_and_int8(void **state) {
    (void)state;
    vary(tiny_model("gemma2", 3, false), tiny_model("gemma3", 4, false), "int8", NULL);
}

static void same_with_fp8_and_fp8(void **state) {
    (void)state;
    vary(tiny_model_typed("qwen3", 5, FC_F8), tiny_model_typed("llama", 6, FC_F8), "fp8", NULL);
}

static void same_on_portable(void **state) {
    (void)state;
    vary(tiny_model("qwen3", 5, false), tiny_model("qwen2", 6, false), "bf16", "portable");
}

/* Codes, scales and the activations' rounding: each type has its own few-row and many-row code. */
static void same_with_every_weight_type(void **state) {
    static const char *const levels[] = {"amx", "avx512", "avxvnni", "avx2", "portable"};
    static const fc_dtype types[] = {FC_Q4_0, FC_Q8_0, FC_BF16, FC_F16, FC_F8};
    (void)state;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        fc_cpu_level level;
        assert_ok(fc_cpu_level_parse(levels[i], &level));
        if (fc_cpu_level_check(level)) {
            printf("%s\n", fc_status_text());
            continue;
        }
        for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
            const char *model = tiny_model_typed("llama", 11, types[k]);
            fc_engine_options o = {.novelty = model, .alignment = model, .threads = 2, .cpu = levels[i], .ctx = 256};
            fc_engine *e = open_engine(&o);
            fc_request r = text_request(prompt, 24, 12);
            fc_event ref;
            r.score = true;
            ref = run_request(e, &r);
            fc_engine_close(e);
            compare("n = 3", &o, 3, ref.result);
            o.max_rows = 5;
            o.threads = 1;
            compare("batches of 5 rows, 1 thread", &o, 24, ref.result);
            fc_event_fini(&ref);
        }
    }
}

/* If this fails, engine code follows a backend's pointer, or reads a download before sync. */
static void same_on_the_strict_backend(void **state) {
    fc_engine_options o = {
        .novelty = tiny_model("qwen3", 5, false), .alignment = tiny_model("gemma3", 4, true), .threads = 2, .ctx = 256};
    fc_engine *e = open_engine(&o), *strict;
    static const fc_score_mode modes[] = {FC_SCORE_LOGLIK_SUM, FC_SCORE_REWARD, FC_SCORE_JUDGE};
    static const char *const labels[] = {"a", "b"};
    (void)state;
    assert_ok(fc_engine_open_on(&o, late_backend_open, &strict));
    for (size_t m = 0; m < 3; m++) {
        fc_request r = text_request(prompt, 12, 10);
        fc_event a, b;
        r.score = true;
        r.mode = modes[m];
        r.sampling.top_logprobs = 3;
        r.sampling.frequency_penalty = 0.5f;
        if (modes[m] == FC_SCORE_JUDGE) {
            r.labels = labels;
            r.n_labels = 2;
        }
        a = run_request(e, &r);
        b = run_request(strict, &r);
        for (int i = 0; i < 12; i++) assert_same_candidate("strict backend", &b.result->all[i], &a.result->all[i]);
        fc_event_fini(&a);
        fc_event_fini(&b);
    }
    fc_engine_close(strict);
    fc_engine_close(e);
}

/* If this fails, requests in one batch disturb one another. */
static void same_in_a_crowd(void **state) {
    const char *const prompts[] = {prompt, "The quick brown fox jumps over the lazy dog, and the rain in Spain",
                                   "Hello", prompt};
    fc_engine_options o = {
        .novelty = tiny_model("llama", 1, false), .alignment = tiny_model("llama", 2, false), .threads = 2, .ctx = 256};
    fc_engine *e = open_engine(&o);
    fc_event alone[4], crowd;
    uint64_t ids[4];
    (void)state;
    for (int i = 0; i < 4; i++) {
        fc_request r = text_request(prompts[i], 8 + i, 10);
        r.score = true;
        r.seed = (uint64_t)i;
        alone[i] = run_request(e, &r);
    }
    for (int i = 0; i < 4; i++) {
        fc_request r = text_request(prompts[i], 8 + i, 10);
        r.score = true;
        r.seed = (uint64_t)i;
        assert_ok(fc_submit(e, &r, &ids[i]));
    }
    for (int done = 0; done < 4; done++) {
        int k = 0;
        assert_ok(fc_poll(e, 60000, &crowd));
        if (crowd.status) fail_msg("%s", crowd.error);
        while (ids[k] != crowd.id) k++;
        for (int i = 0; i < crowd.result->n_all; i++)
            assert_same_candidate("in a crowd", &crowd.result->all[i], &alone[k].result->all[i]);
        fc_event_fini(&crowd);
    }
    for (int i = 0; i < 4; i++) fc_event_fini(&alone[i]);
    fc_engine_close(e);
}

/* ---- n, threads and page sizes, alone and in a crowd, in every combination ---- */

enum { OURS = 3, CROWD = 5 };

/* Request i of the crowd: ours with n = 1, 4 and 64, then two strangers. */
static fc_request crowd_request(int i) {
    static const int n[CROWD] = {1, 4, 64, 9, 16};
    fc_request r = text_request(i == 3   ? "The quick brown fox jumps over the lazy dog, and then"
                                : i == 4 ? "Hello"
                                         : prompt,
                                n[i], 12);
    r.score = true;
    if (i >= OURS) r.seed = 100 + (uint64_t)i;
    return r;
}

static void compare_result(const char *what, int i, const fc_engine_options *o, const fc_event *ev,
                           const fc_event want[CROWD]) {
    char text[128];
    const fc_event *ref = &want[i < OURS ? OURS - 1 : i];
    snprintf(text, sizeof text, "%s, request %d, %d threads, pages of %d", what, i, o->threads, o->page_slots);
    if (ev->status) fail_msg("%s: %s", text, ev->error);
    for (int k = 0; k < ev->result->n_all; k++) assert_same_candidate(text, &ev->result->all[k], &ref->result->all[k]);
}

static void vary_in_a_crowd(const fc_engine_options *o, const fc_event want[CROWD]) {
    fc_engine *e = open_engine(o);
    uint64_t ids[CROWD];
    fc_event ev;
    for (int i = 0; i < OURS; i++) {
        fc_request r = crowd_request(i);
        ev = run_request(e, &r);
        compare_result("alone", i, o, &ev, want);
        fc_event_fini(&ev);
    }
    for (int i = 0; i < CROWD; i++) {
        fc_request r = crowd_request(CROWD - 1 - i); /* the strangers first */
        assert_ok(fc_submit(e, &r, &ids[CROWD - 1 - i]));
    }
    for (int done = 0; done < CROWD; done++) {
        int i = 0;
        assert_ok(fc_poll(e, 60000, &ev));
        while (ids[i] != ev.id) i++;
        compare_result("in a crowd", i, o, &ev, want);
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
}

/* If this fails, what one setting hides another one shows: the same candidates only while no two of them change. */
static void same_in_every_combination(void **state) {
    static const int pages[] = {8, 16, 64};
    fc_engine_options o = {.novelty = tiny_model("qwen3", 5, false),
                           .alignment = tiny_model("llama", 2, false),
                           .threads = 2,
                           .page_slots = 16,
                           .ctx = 256};
    fc_engine *e = open_engine(&o);
    fc_event want[CROWD] = {0};
    (void)state;
    for (int i = OURS - 1; i < CROWD; i++) { /* of ours the largest holds all the others */
        fc_request r = crowd_request(i);
        want[i] = run_request(e, &r);
    }
    fc_engine_close(e);
    for (o.threads = 1; o.threads <= 2; o.threads++)
        for (size_t p = 0; p < 3; p++) {
            o.page_slots = pages[p];
            vary_in_a_crowd(&o, want);
        }
    for (int i = OURS - 1; i < CROWD; i++) fc_event_fini(&want[i]);
}

/* Coalesced: temperature 0 draws one path for all members, and computes it once. */
static void greedy_members_share_rows(void **state) {
    fc_engine_options o = {.novelty = tiny_model("llama", 1, false), .threads = 2, .ctx = 256};
    fc_engine *e = open_engine(&o);
    fc_request r = text_request(prompt, 16, 10);
    fc_event ev;
    (void)state;
    r.sampling.temperature = 0;
    r.sampling.ignore_eos = true;
    ev = run_request(e, &r);
    assert_int_equal(ev.result->n_kept, 1);
    assert_int_equal(ev.result->kept[0].votes, 16);
    assert_int_equal(ev.result->accounting.rows_decode, 9);
    assert_int_equal(ev.result->accounting.rows_flat_decode, 16 * 9);
    assert_true(ev.result->confidence.entropy == 0.0);
    fc_event_fini(&ev);
    fc_engine_close(e);
}

/* The accounting against the arithmetic: prompt once, distinct prefixes once, distinct tails once. */
static void rows_are_what_the_tree_needs(void **state) {
    fc_engine_options o = {
        .novelty = tiny_model("llama", 1, false), .alignment = tiny_model("llama", 2, false), .threads = 2, .ctx = 256};
    fc_engine *e = open_engine(&o);
    fc_request r = text_request("abc abc", 64, 6);
    fc_event ev;
    int64_t decode = 0, tails = 0, flat = 0;
    const fc_result *res;
    (void)state;
    r.score = true;
    r.sampling.temperature = 0.7f;
    ev = run_request(e, &r);
    res = ev.result;
    for (int i = 0; i < res->n_all; i++) { /* a decode row per distinct proper prefix of what was drawn */
        const fc_candidate *c = &res->all[i];
        flat += (int64_t)c->n_logprobs - 1;
        for (size_t len = 1; len < c->n_logprobs; len++) {
            bool seen = false;
            for (int k = 0; k < i && !seen; k++)
                seen =
                    res->all[k].n_logprobs > len && memcmp(res->all[k].tokens, c->tokens, len * sizeof *c->tokens) == 0;
            decode += !seen;
        }
    }
    for (int i = 0; i < res->n_kept; i++) { /* a scoring row per distinct proper prefix of what is scored */
        const fc_candidate *c = &res->kept[i];
        for (size_t len = 1; len < c->n_tokens; len++) {
            bool seen = false;
            for (int k = 0; k < i && !seen; k++)
                seen =
                    res->kept[k].n_tokens > len && memcmp(res->kept[k].tokens, c->tokens, len * sizeof *c->tokens) == 0;
            tails += !seen;
        }
    }
    assert_int_equal(res->n_kept, res->confidence.distinct);
    assert_int_equal(res->accounting.rows_prefill, (int64_t)res->prompt_tokens);
    assert_int_equal(res->accounting.rows_decode, decode);
    assert_int_equal(res->accounting.rows_flat_decode, flat);
    assert_int_equal(res->accounting.rows_score, (int64_t)res->prompt_tokens + tails);
    assert_true(decode < flat);
    fc_event_fini(&ev);
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_for_every_shape),
        cmocka_unit_test(same_with_one_model_for_both),
        cmocka_unit_test(same_with_windows_and_int8),
        cmocka_unit_test(same_with_fp8_and_fp8),
        cmocka_unit_test(same_on_portable),
        cmocka_unit_test(same_with_every_weight_type),
        cmocka_unit_test(same_on_the_strict_backend),
        cmocka_unit_test(same_in_a_crowd),
        cmocka_unit_test(same_in_every_combination),
        cmocka_unit_test(greedy_members_share_rows),
        cmocka_unit_test(rows_are_what_the_tree_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
