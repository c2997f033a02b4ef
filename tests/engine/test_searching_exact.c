/* Draws sbs, beam, topk and exact beside one another and beside others: the same bits however the engine is set up. */
#include "engine/engine.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_late.h"
#include "tests/engine/util_searches.h"

/* LONGEST: ids of the longest name with its end. BRANCHES: what the largest request just needs, so chains wait. */
enum { CTX = 256, CROWD = 8, COPIES = 3, LONGEST = 15, BRANCHES = 9 };

static fc_request member(int k, const char *const *names) {
    fc_request r = k < SEARCHES ? search_of(searches[k], 9, names, NAMES)
                   : k == 4     ? search_of(FC_DRAW_IID, 4, names, NAMES)
                   : k == 5     ? text_request(prompt, 3, 24)
                   : k == 6     ? search_of(FC_DRAW_SBS, 5, six, SIX)
                                : search_of(FC_DRAW_EXACT, 9, names, NAMES);
    r.seed = (uint64_t)k;
    if (r.n_names) r.sampling.max_tokens = LONGEST;
    r.sampling.ignore_eos = k == 5; /* it takes all pages that it may */
    r.score = k < 6;
    if (k == 6) r.sampling.temperature = 1.5f;
    r.mode = k % 2 ? FC_SCORE_REWARD : FC_SCORE_LOGLIK_SUM;
    return r;
}

static void same_result(const char *what, const fc_result *got, const fc_result *want) {
    assert_int_equal(got->n_all, want->n_all);
    for (int i = 0; i < got->n_all; i++) {
        const fc_candidate *a = &got->all[i], *b = &want->all[i];
        assert_same_candidate(what, a, b);
        if (memcmp(&a->gumbel, &b->gumbel, sizeof a->gumbel) != 0 ||
            memcmp(&a->weight, &b->weight, sizeof a->weight) != 0)
            fail_msg("%s: \"%s\": gumbel %.9g, weight %.9g, not %.9g, %.9g", what, a->text, a->gumbel, a->weight,
                     b->gumbel, b->weight);
        assert_string_equal(a->text, b->text);
    }
}

/* All members at once, three times each in all priorities, some cancelled on the way. */
static void crowd(const char *what, const fc_engine_options *o, bool late, const fc_event *want,
                  const char *const *names, fc_sched_stats *stats) {
    uint64_t id[CROWD * COPIES], seed = 5;
    bool cancelled[CROWD * COPIES] = {false};
    fc_engine *e;
    if (late) assert_ok(fc_engine_open_on(o, late_backend_open, &e));
    else e = open_engine(o);
    for (int i = 0; i < CROWD * COPIES; i++) {
        fc_request r = member(i % CROWD, names);
        r.priority = 2 - i / CROWD; /* later ones push in */
        r.events = i % 3 == 1;
        assert_ok(fc_submit(e, &r, &id[i]));
        cancelled[i] = i >= CROWD && i % 5 == 0;
    }
    for (int left = CROWD * COPIES; left > 0;) {
        fc_event ev;
        int k = 0;
        assert_ok(fc_poll(e, 120000, &ev));
        while (id[k] != ev.id) k++;
        for (int i = 0; i < CROWD * COPIES; i++)
            if (cancelled[i] && test_below(&seed, 8) == 0) assert_ok(fc_cancel(e, id[i]));
        if (ev.type == FC_EVENT_DONE) {
            left--;
            if (ev.status && !(cancelled[k] && ev.status == FC_ERR_CANCELLED))
                fail_msg("%s: request %d: %s", what, k % CROWD, ev.error);
            if (!ev.status) same_result(what, ev.result, want[k % CROWD].result);
        }
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_pages_used(e), 0);
    if (stats) *stats = fc_engine_stats(e);
    fc_engine_close(e);
}

/* Bytes of KV that the member with the most of it just fits in. */
static uint64_t least_pool(fc_engine_options o, const char *const *names) {
    static const char words[] = "raise kv_pool to ";
    for (o.kv_pool = 1 << 16;;) {
        fc_engine *e = open_engine(&o);
        uint64_t id, least = 0;
        for (int k = 0; k < CROWD; k++) {
            fc_request r = member(k, names);
            if (fc_submit(e, &r, &id)) {
                const char *at = strstr(fc_last_error(), words);
                if (!at) fail_msg("%s", fc_last_error());
                least = strtoull(at + strlen(words), NULL, 10);
                break;
            }
        }
        fc_engine_close(e);
        if (!least) return o.kv_pool;
        o.kv_pool = least;
    }
}

static void vary(const char *novelty, const char *alignment) {
    const char *const *names = sixty_names();
    fc_engine_options o = {.novelty = novelty, .alignment = alignment, .threads = 2, .ctx = CTX};
    fc_engine *e = open_engine(&o);
    fc_event want[CROWD];
    fc_sched_stats stats;
    int64_t preemptions = 0;
    for (int k = 0; k < CROWD; k++) {
        fc_request r = member(k, names);
        want[k] = run_request(e, &r);
    }
    fc_engine_close(e);
    crowd("together", &o, false, want, names, NULL);
    crowd("late", &o, true, want, names, NULL);
    for (uint32_t bit = 1; bit < FC_OFF_ALL; bit *= 2) {
        o.off = bit;
        crowd(fc_off_name((fc_off)bit), &o, false, want, names, NULL);
    }
    o.off = FC_OFF_ALL;
    crowd("all off", &o, false, want, names, NULL);
    o.off = 0;
    o.threads = 3;
    o.page_slots = 8;
    o.max_rows = 7;
    crowd("3 threads, pages of 8, 7 rows", &o, false, want, names, NULL);
    o.max_branches = BRANCHES;
    crowd("few branches", &o, false, want, names, NULL);
    for (int i = 0; i < 8 || (preemptions == 0 && i < 80); i++) { /* who pushes in when is a matter of threads */
        o = (fc_engine_options){.novelty = novelty, .alignment = alignment, .threads = 1, .ctx = CTX, .page_slots = 8};
        o.max_rows = i % 2 ? 16 : 0;
        o.kv_pool = least_pool(o, names);
        o.max_branches = i & 2 ? BRANCHES : 0;
        crowd(i % 8 < 4 ? "small pool" : "small pool, late", &o, i % 8 >= 4, want, names, &stats);
        preemptions += stats.preemptions;
    }
    printf("%lld preemptions in pools of %llu bytes\n", (long long)preemptions, (unsigned long long)o.kv_pool);
    assert_true(preemptions > 0);
    for (int k = 0; k < CROWD; k++) fc_event_fini(&want[k]);
}

/* If this fails, names depend on who else is drawn, or on how the engine is set up. */
static void the_same_bits_in_every_crowd(void **state) {
    (void)state;
    vary(tiny_model("llama", 3, true), tiny_model("qwen3", 5, true));
}

static void the_same_bits_with_one_model(void **state) {
    (void)state;
    vary(tiny_model("llama", 3, true), tiny_model("llama", 3, true));
}

/* More children than a batch has room to read: its other rows wait. */
static void wide_nodes_wait_for_room(void **state) {
    enum { WIDE = 90, PAIRS = WIDE * WIDE, AT_A_TIME = 8 };
    static char text[PAIRS][4];
    static const char *names[PAIRS];
    fc_engine *e = open_engine(&(fc_engine_options){
        .novelty = tiny_model("llama", 3, false), .threads = 2, .ctx = CTX, .kv_pool = 1 << 26, .max_branches = 2048});
    fc_taxonomy_names t = {.id = "pairs", .names = names, .n = PAIRS};
    fc_event want;
    fc_request r = text_request(prompt, 50, 8);
    uint64_t id;
    (void)state;
    for (int i = 0; i < PAIRS; i++) {
        snprintf(text[i], sizeof text[i], "%c%c", 33 + i / WIDE, 33 + i % WIDE);
        names[i] = text[i];
    }
    assert_ok(fc_engine_set_taxonomy(e, &t));
    r.taxonomy = "pairs";
    r.constraint = FC_CONSTRAINT_MASK;
    r.draw = FC_DRAW_EXACT;
    want = run_request(e, &r);
    for (int i = 0; i < AT_A_TIME; i++) assert_ok(fc_submit(e, &r, &id));
    for (int i = 0; i < AT_A_TIME; i++) {
        fc_event ev;
        assert_ok(fc_poll(e, 120000, &ev));
        if (ev.status) fail_msg("%s", ev.error);
        same_result("wide", ev.result, want.result);
        fc_event_fini(&ev);
    }
    fc_event_fini(&want);
    fc_engine_close(e);
}

/* If this fails, a search over more names than the pool can hold does not run, or draws others. */
static void a_search_that_the_pool_cannot_hold_computes_again(void **state) {
    enum { MANY = 26 }; /* beside the least: less than all nodes need, enough for those that topk asks for */
    const char *const *names = sixty_names();
    fc_engine_options o = {.novelty = tiny_model("llama", 3, false), .threads = 1, .ctx = CTX};
    (void)state;
    for (int pages = 0; pages <= MANY; pages += pages < 16 ? 1 : MANY - 16)
        for (int m = 0; m < SEARCHES; m++) {
            fc_request r = search_of(searches[m], 9, names, NAMES);
            fc_event want, ev;
            fc_engine *e;
            fc_engine_info info;
            o.kv_pool = 0;
            e = open_engine(&o);
            fc_engine_describe(e, &info);
            want = run_request(e, &r);
            fc_engine_close(e);
            assert_int_equal(want.result->accounting.rows_replayed, 0);
            o.kv_pool = (uint64_t)(7 + pages) * info.novelty.kv_page_bytes;
            e = open_engine(&o);
            ev = run_request(e, &r);
            same_result(fc_draw_name(searches[m]), ev.result, want.result);
            /* topk asks for fewer at a time, and so for fewer that come to nothing */
            if (searches[m] == FC_DRAW_TOPK)
                assert_true(ev.result->accounting.rows_decode <= want.result->accounting.rows_decode);
            else assert_int_equal(ev.result->accounting.rows_decode, want.result->accounting.rows_decode);
            if (pages == 0) assert_true(ev.result->accounting.rows_replayed > 0);
            if (pages == MANY && searches[m] == FC_DRAW_TOPK) assert_int_equal(ev.result->accounting.rows_replayed, 0);
            fc_event_fini(&ev);
            fc_event_fini(&want);
            fc_engine_close(e);
        }
}

/* If this fails, a search that the pool can never hold waits for ever, and all requests behind it. */
static void a_search_that_never_fits_is_refused(void **state) {
    const char *const *names = sixty_names();
    fc_engine_options o = {.novelty = tiny_model("llama", 3, false), .threads = 1, .ctx = CTX};
    fc_engine_info info;
    fc_engine *e = open_engine(&o);
    uint64_t id;
    (void)state;
    fc_engine_describe(e, &info);
    fc_engine_close(e);
    o.kv_pool = 2 * info.novelty.kv_page_bytes; /* the prompt and no path */
    e = open_engine(&o);
    for (int m = 0; m < SEARCHES; m++) {
        fc_request r = search_of(searches[m], 1, names, NAMES);
        assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "raise kv_pool");
    }
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_bits_in_every_crowd),
        cmocka_unit_test(the_same_bits_with_one_model),
        cmocka_unit_test(wide_nodes_wait_for_room),
        cmocka_unit_test(a_search_that_the_pool_cannot_hold_computes_again),
        cmocka_unit_test(a_search_that_never_fits_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
