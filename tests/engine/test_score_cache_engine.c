/* Cached scores in the engine: what a second request computes, what must not be shared, files between engines. Bits are
 * those of an engine without the cache each time. */
#include "engine/engine.h"
#include "kernels/cpu/cpu.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_late.h"
#include "tests/engine/util_score_cache.h"

#include <unistd.h>

static const char prompt[] = "People who like gardening also like";
static const char *const labels[] = {"a", "b", "c"};
static const fc_piece suffix = {.text = " good?", .size = 6};

static fc_engine_options options(const char *novelty, const char *alignment) {
    return (fc_engine_options){.novelty = novelty, .alignment = alignment, .threads = 2, .ctx = 256};
}

static fc_request scored(fc_score_mode mode) {
    fc_request r = text_request(prompt, 12, 6);
    r.score = true;
    r.mode = mode;
    if (mode == FC_SCORE_JUDGE) {
        r.labels = labels;
        r.n_labels = 3;
    }
    return r;
}

static void assert_same_answer(const char *what, const fc_event *a, const fc_event *b) {
    assert_int_equal(a->result->n_all, b->result->n_all);
    for (int i = 0; i < a->result->n_all; i++) assert_same_candidate(what, &a->result->all[i], &b->result->all[i]);
}

/* Runs r; it must give want's bits, and take `cached` scores from the cache. */
static void expect(const char *what, fc_engine *e, const fc_request *r, const fc_event *want, int cached) {
    fc_event ev = run_request(e, r);
    const fc_accounting *a = &ev.result->accounting;
    assert_same_answer(what, &ev, want);
    if (a->scores_cached != cached)
        fail_msg("%s: %d scores from the cache, not %d", what, (int)a->scores_cached, cached);
    if ((a->rows_score == 0) != (cached == ev.result->confidence.distinct))
        fail_msg("%s: %d of %d scores cached, and %d rows", what, cached, ev.result->confidence.distinct,
                 (int)a->rows_score);
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_event_fini(&ev);
}

static fc_event without_cache(fc_engine_options o, const fc_request *r) {
    fc_engine *e;
    fc_event ev;
    o.off = FC_OFF_SCORE_CACHE;
    o.score_cache_file = NULL;
    e = open_engine(&o);
    ev = run_request(e, r);
    fc_event_fini(&ev);
    ev = run_request(e, r); /* again: nothing may be kept */
    assert_int_equal(ev.result->accounting.scores_cached, 0);
    assert_true(ev.result->accounting.rows_score > 0);
    fc_engine_close(e);
    return ev;
}

static int distinct(const fc_event *ev) { return ev->result->confidence.distinct; }

/* ---- a second request ---- */

static void check_second(const char *novelty, const char *alignment, uint32_t off, bool late) {
    for (int mode = FC_SCORE_LOGLIK_MEAN; mode <= FC_SCORE_JUDGE; mode++) {
        fc_engine_options o = options(novelty, alignment);
        fc_request r = scored((fc_score_mode)mode);
        fc_event want = without_cache(o, &r);
        fc_engine *e;
        o.off = off;
        if (late) assert_ok(fc_engine_open_on(&o, late_backend_open, &e));
        else e = open_engine(&o);
        if (off & (FC_OFF_FORK | FC_OFF_COALESCE)) { /* candidates that were drawn twice may meet in the cache */
            fc_event first = run_request(e, &r);
            assert_same_answer("first", &first, &want);
            fc_event_fini(&first);
        } else {
            expect("first", e, &r, &want, 0);
            expect("second", e, &r, &want, distinct(&want));
        }
        r.events = true;
        r.n = 5; /* fewer of the same candidates */
        {
            fc_event ev = run_request(e, &r);
            for (int i = 0; i < 5; i++) assert_same_candidate("fewer", &ev.result->all[i], &want.result->all[i]);
            assert_int_equal(ev.result->accounting.rows_score, 0);
            fc_event_fini(&ev);
        }
        fc_event_fini(&want);
        fc_engine_close(e);
    }
}

/* If this fails, what was scored is scored again, or the alignment prompt is computed for nothing. */
static void a_second_request_computes_no_scoring_row(void **state) {
    static const uint32_t offs[] = {
        0, FC_OFF_SCORE_TREE, FC_OFF_FORK, FC_OFF_OVERLAP, FC_OFF_PREFIX_CACHE, FC_OFF_GROUPS};
    (void)state;
    for (int i = 0; i < 6; i++)
        check_second(tiny_model("llama", 1, false), tiny_model("llama", 2, true), offs[i], i == 0);
    check_second(tiny_model("gemma3", 8, true), tiny_model("gemma3", 8, true), 0, false);
    check_second(tiny_model("llama", 1, false), tiny_model_vocab("llama", 2, true, 400), 0, true);
}

/* Each candidate's score is sent once, cached or not. */
static void cached_scores_are_events_too(void **state) {
    fc_engine_options o = options(tiny_model("llama", 1, false), tiny_model("llama", 2, true));
    fc_engine *e = open_engine(&o);
    fc_request r = scored(FC_SCORE_REWARD);
    (void)state;
    r.events = true;
    for (int round = 0; round < 2; round++) {
        int seen[12] = {0};
        double score[12];
        fc_event ev;
        uint64_t id;
        assert_ok(fc_submit(e, &r, &id));
        for (;;) {
            assert_ok(fc_poll(e, 60000, &ev));
            if (ev.type == FC_EVENT_DONE) break;
            if (ev.type == FC_EVENT_SCORE) {
                seen[ev.candidate]++;
                score[ev.candidate] = ev.score;
            }
            fc_event_fini(&ev);
        }
        assert_ok(ev.status);
        for (int i = 0; i < 12; i++) {
            assert_int_equal(seen[i], 1);
            assert_true(same_bits(score[i], ev.result->all[i].score));
        }
        assert_int_equal(ev.result->accounting.scores_cached, round ? distinct(&ev) : 0);
        fc_event_fini(&ev);
    }
    fc_engine_close(e);
}

static void known_and_new_candidates_mix(void **state) {
    static const char *const texts[] = {" cooking", " woodwork", " a", " cooking and baking", " tools", " zzz"};
    fc_engine_options o = options(tiny_model("llama", 1, false), tiny_model("llama", 2, true));
    fc_engine *e = open_engine(&o);
    fc_given given[6];
    fc_request r = scored(FC_SCORE_LOGLIK_SUM);
    fc_event all, ev;
    (void)state;
    for (int i = 0; i < 6; i++) given[i] = (fc_given){.text = texts[i], .size = strlen(texts[i])};
    r.given = given;
    r.n_given = 6;
    all = without_cache(o, &r);
    r.n_given = 3;
    ev = run_request(e, &r);
    fc_event_fini(&ev);
    r.n_given = 6;
    expect("3 of 6", e, &r, &all, 3);
    expect("6 of 6", e, &r, &all, 6);
    fc_event_fini(&all);
    fc_engine_close(e);
}

/* If this fails, a candidate that did not fit once is never judged again, by whatever engine. */
static void what_does_not_fit_is_not_cached(void **state) {
    enum { CTX = 64, MAX_TOKENS = 8 };
    fc_engine_options o = options(tiny_model("llama", 1, false), tiny_model_vocab("llama", 2, true, 300));
    fc_engine *e;
    fc_request r = text_request("x", 32, MAX_TOKENS);
    int32_t ids[CTX];
    int nan = 0, rest = 0;
    fc_event want;
    (void)state;
    for (int i = 0; i < CTX; i++) ids[i] = 5 + i;
    o.ctx = CTX;
    r.score = true;
    r.alignment_prompt = (fc_prompt){.ids = ids, .n_ids = CTX - MAX_TOKENS};
    want = without_cache(o, &r);
    for (int i = 0; i < want.result->n_kept; i++) {
        nan += isnan(want.result->kept[i].score);
        rest += isfinite(want.result->kept[i].score);
    }
    assert_true(nan > 0 && rest > 0);
    e = open_engine(&o);
    for (int round = 0; round < 2; round++) {
        fc_event ev = run_request(e, &r);
        assert_same_answer("NaN", &ev, &want);
        assert_int_equal(ev.result->accounting.scores_cached, round ? rest : 0);
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_score_stats(e).lookups, 2 * rest);
    fc_event_fini(&want);
    fc_engine_close(e);
}

/* An empty candidate's log-likelihood is -inf by definition. */
static void what_needs_no_row_is_not_cached(void **state) {
    fc_engine_options o = options(tiny_model("llama", 1, false), tiny_model("llama", 2, true));
    fc_engine *e = open_engine(&o);
    fc_given g = {.text = "", .size = 0};
    fc_request r = scored(FC_SCORE_LOGLIK_MEAN);
    (void)state;
    r.given = &g;
    r.n_given = 1;
    for (int round = 0; round < 2; round++) {
        fc_event ev = run_request(e, &r);
        assert_true(isinf(ev.result->all[0].score));
        assert_int_equal(ev.result->accounting.scores_cached, 0);
        assert_int_equal(ev.result->accounting.rows_score, 0);
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_score_stats(e).lookups, 0);
    fc_engine_close(e);
}

/* ---- what must not be shared ---- */

/* If this fails, a caller is told another caller's score, or one of another question. */
static void another_question_misses(void **state) {
    fc_engine_options o = options(tiny_model("llama", 1, false), tiny_model("llama", 2, true));
    enum { QUESTIONS = 10 };
    static const char *const turned[] = {"b", "a", "c"};
    const fc_piece p = {.text = "Somebody likes", .size = 14};
    static const int32_t ends[2][2] = {{5, 6}, {5, 7}};
    fc_request v[QUESTIONS];
    fc_event want[QUESTIONS];
    fc_engine *e = open_engine(&o);
    (void)state;
    for (int i = 0; i < QUESTIONS; i++) v[i] = scored(FC_SCORE_JUDGE);
    v[1].cache_salt = "salt";
    v[2].api_key = "salt";
    v[3].labels = turned;
    v[4].n_labels = 2;
    v[5].suffix = (fc_prompt){.pieces = &suffix, .n_pieces = 1};
    v[6].alignment_prompt = (fc_prompt){.pieces = &p, .n_pieces = 1};
    v[7] = scored(FC_SCORE_REWARD);
    for (int i = 0; i < 2; i++) v[8 + i].suffix = (fc_prompt){.ids = ends[i], .n_ids = 2};
    for (int i = 0; i < QUESTIONS; i++) want[i] = without_cache(o, &v[i]);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < QUESTIONS; i++) {
            char what[48];
            snprintf(what, sizeof what, "request %d, round %d", i, round);
            expect(what, e, &v[i], &want[i], round ? distinct(&want[i]) : 0);
        }
    for (int i = 0; i < QUESTIONS; i++) fc_event_fini(&want[i]);
    fc_engine_close(e);
}

/* Prompt and candidate of one request are the same ids as those of another, cut elsewhere: other log-likelihoods. */
static void where_the_candidate_begins_counts(void **state) {
    static const int32_t ids[] = {5, 6, 7, 8, 9, 10};
    fc_engine_options o = options(tiny_model("llama", 1, false), tiny_model("llama", 2, true));
    fc_engine *e = open_engine(&o);
    (void)state;
    for (int cut = 2; cut < 6; cut++) {
        fc_given g = {.ids = ids + cut, .n_ids = (size_t)(6 - cut)};
        fc_request r = scored(FC_SCORE_LOGLIK_SUM);
        fc_event want;
        r.prompt = (fc_prompt){.ids = ids, .n_ids = (size_t)cut};
        r.given = &g;
        r.n_given = 1;
        want = without_cache(o, &r);
        expect("cut", e, &r, &want, 0);
        expect("cut again", e, &r, &want, 1);
        fc_event_fini(&want);
    }
    fc_engine_close(e);
}

/* ---- files ---- */

static void use_file(const char *what, fc_engine_options o, const fc_request *r, bool known) {
    fc_event want = without_cache(o, r);
    fc_engine *e = open_engine(&o);
    expect(what, e, r, &want, known ? distinct(&want) : 0);
    assert_int_equal(fc_engine_score_stats(e).file_errors, 0);
    fc_event_fini(&want);
    fc_engine_close(e);
}

/* If this fails, a restart forgets scores, or an engine of another kind believes scores that it would not compute. */
static void a_file_serves_engines_of_its_kind(void **state) {
    const char *models[] = {tiny_model("llama", 2, true), tiny_model("llama", 3, true),
                            tiny_model_typed("llama", 2, FC_Q8_0)};
    fc_engine_options o[7];
    fc_request r = scored(FC_SCORE_LOGLIK_MEAN);
    const char *file = fresh_file();
    int n = 6;
    (void)state;
    for (int i = 0; i < 7; i++) {
        o[i] = options(tiny_model("llama", 1, false), models[0]);
        o[i].score_cache_file = file;
        o[i].cpu = "portable";
    }
    o[1].alignment = models[1];
    o[2].alignment = models[2];
    o[3].kv_type = "bf16";
    o[4].kv_type = "int8";
    o[5].alignment = models[2];
    o[5].precise = "false";
    if (fc_cpu_best() > FC_CPU_PORTABLE) o[n++].cpu = "auto";
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < n; i++) {
            char what[40];
            snprintf(what, sizeof what, "engine %d, round %d", i, round);
            use_file(what, o[i], &r, round > 0);
        }
    o[0].threads = 1; /* what changes no bit is not in the key */
    o[0].page_slots = 8;
    o[0].max_rows = 7;
    use_file("another shape", o[0], &r, true);
}

/* One row of a matrix far above the size up to which a sampled fingerprint sees all: the embedding of an id that the
 * prompt has, the head's row of an id that is drawn. If this fails, an edited model is given the scores that it had
 * before. */
static void an_edited_model_is_another(void **state) {
    static const char *const tensors[] = {"token_embd.weight", "output.weight"};
    const int32_t ids[] = {66, 67, 68}, edited[] = {66, 71};
    const fc_given given[] = {{.ids = (const int32_t[]){70, 71}, .n_ids = 2},
                              {.ids = (const int32_t[]){71}, .n_ids = 1}};
    const char *model = tiny_model("llama", 2, false);
    (void)state;
    for (int shared = 0; shared < 2; shared++) /* also where the file is the novelty model too */
        for (int i = 0; i < 2; i++) {
            fc_engine_options o = options(shared ? model : tiny_model("llama", 1, false), model);
            fc_request r = scored(FC_SCORE_LOGLIK_SUM);
            char path[160];
            r.prompt = (fc_prompt){.ids = ids, .n_ids = 3};
            r.given = given;
            r.n_given = 2;
            o.score_cache_file = fresh_file();
            use_file("as it was", o, &r, false);
            use_file("again", o, &r, true);
            change_row(model, tensors[i], edited[i], 0.25f, path);
            o.alignment = path;
            if (shared) o.novelty = path;
            use_file("edited", o, &r, false);
            use_file("edited, again", o, &r, true);
            assert_int_equal(unlink(path), 0);
        }
}

static void two_engines_share_a_file(void **state) {
    fc_engine_options o = options(tiny_model("llama", 1, false), tiny_model("llama", 2, true));
    fc_request r = scored(FC_SCORE_REWARD);
    fc_event want = without_cache(o, &r);
    fc_engine *a, *b;
    (void)state;
    o.score_cache_file = fresh_file();
    a = open_engine(&o);
    b = open_engine(&o);
    expect("a", a, &r, &want, 0);
    for (int tries = 0; ask_sql(o.score_cache_file, "SELECT count(*) FROM scores") == 1;
         tries++) { /* the secret's row */
        fc_event ev;
        assert_int_equal(fc_poll(a, 10, &ev), FC_ERR_TIMEOUT);
        assert_true(tries < 3000);
    }
    expect("b", b, &r, &want, distinct(&want));
    assert_int_equal(fc_engine_score_stats(b).file_hits, distinct(&want));
    fc_event_fini(&want);
    fc_engine_close(b);
    fc_engine_close(a);
}

/* If this fails, a file that cannot be used stops a server, or makes it answer wrongly. */
static void damaged_files_change_no_answer(void **state) {
    fc_engine_options o = options(tiny_model("llama", 1, false), tiny_model("llama", 2, true));
    fc_request r = scored(FC_SCORE_JUDGE);
    fc_event want = without_cache(o, &r);
    fc_engine *e;
    const char *file = fresh_file();
    (void)state;
    o.score_cache_file = file;
    use_file("fresh", o, &r, false);
    run_sql(file, "UPDATE scores SET bits = bits + 4096 WHERE length(key) = 16");
    e = open_engine(&o);
    expect("changed scores", e, &r, &want, 0);
    assert_int_equal(fc_engine_score_stats(e).file_damaged, distinct(&want));
    fc_engine_close(e);
    use_file("put right", o, &r, true);
    write_bytes(file, (const unsigned char *)"no database, and long enough to be read as one", 46);
    e = open_engine(&o);
    expect("no database", e, &r, &want, 0);
    expect("no database", e, &r, &want, distinct(&want)); /* memory goes on */
    assert_int_equal(fc_engine_score_stats(e).file_errors, 1);
    fc_engine_close(e);
    fc_event_fini(&want);
}

static void options_are_checked(void **state) {
    fc_engine_options o = options(tiny_model("llama", 1, false), tiny_model("llama", 2, true));
    fc_engine *e;
    uint32_t off;
    (void)state;
    o.score_cache = 10;
    assert_fails(fc_engine_open(&o, &e), FC_ERR_ARG, "score_cache = 10");
    assert_ok(fc_off_parse("score-cache", &off));
    assert_int_equal(off, FC_OFF_SCORE_CACHE);
    assert_string_equal(fc_off_name(FC_OFF_SCORE_CACHE), "score-cache");
}

/* ---- many requests ---- */

enum { REQUESTS = 10000, TOGETHER = 50, GIVEN = 4 };

typedef struct {
    int32_t prompt[4], ids[GIVEN][3];
    fc_given given[GIVEN];
    fc_request r;
} ask;

static void pick(uint64_t *s, ask *a) {
    static const char *const salts[] = {NULL, NULL, "", "x"};
    int n = 1 + test_below(s, 3);
    a->r = scored((fc_score_mode)test_below(s, FC_SCORE_JUDGE + 1));
    for (int i = 0; i < n; i++) a->prompt[i] = 5 + test_below(s, 2);
    a->r.prompt = (fc_prompt){.ids = a->prompt, .n_ids = (size_t)n};
    a->r.n_given = (size_t)(1 + test_below(s, GIVEN));
    for (size_t g = 0; g < a->r.n_given; g++) {
        a->given[g] = (fc_given){.ids = a->ids[g], .n_ids = (size_t)(1 + test_below(s, 3))};
        for (int i = 0; i < 3; i++) a->ids[g][i] = 5 + test_below(s, 4);
    }
    a->r.given = a->given;
    a->r.cache_salt = salts[test_below(s, 4)];
    if (a->r.mode == FC_SCORE_JUDGE) a->r.n_labels = (size_t)(2 + test_below(s, 2));
    if (a->r.mode >= FC_SCORE_REWARD && test_below(s, 2)) a->r.suffix = (fc_prompt){.pieces = &suffix, .n_pieces = 1};
}

/* Submits all and takes their events, in the order of the requests. */
static void run_all(fc_engine *e, ask *a, fc_event *out) {
    uint64_t ids[TOGETHER];
    for (int i = 0; i < TOGETHER; i++) assert_ok(fc_submit(e, &a[i].r, &ids[i]));
    for (int left = TOGETHER; left > 0; left--) {
        fc_event ev;
        int i = 0;
        assert_ok(fc_poll(e, 60000, &ev));
        while (ids[i] != ev.id) i++;
        out[i] = ev;
        if (ev.status) fail_msg("request %d: %s", i, ev.error);
    }
}

/* If this fails, some mix of requests gets a score that is not its own. */
static void random_requests_have_the_scores_of_no_cache(void **state) {
    fc_engine_options o = options(tiny_model("llama", 1, false), tiny_model("llama", 2, true));
    fc_engine *with, *without;
    ask *a = calloc(TOGETHER, sizeof *a);
    fc_event x[TOGETHER], y[TOGETHER];
    uint64_t seed = 4242;
    int64_t cached = 0, scores = 0;
    fc_score_cache_stats n;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    o.max_requests = TOGETHER;
    o.off = FC_OFF_SCORE_CACHE;
    without = open_engine(&o);
    o.off = 0;
    o.score_cache = 44 * 2000; /* far fewer than there are */
    o.score_cache_file = fresh_file();
    with = open_engine(&o);
    for (int done = 0; done < REQUESTS; done += TOGETHER) {
        for (int i = 0; i < TOGETHER; i++) pick(&seed, &a[i]);
        if (done == REQUESTS / 2) { /* the second half without a file */
            fc_engine_close(with);
            o.score_cache_file = NULL;
            with = open_engine(&o);
        }
        run_all(with, a, x);
        run_all(without, a, y);
        for (int i = 0; i < TOGETHER; i++) {
            char what[40];
            snprintf(what, sizeof what, "request %d", done + i);
            assert_same_answer(what, &x[i], &y[i]);
            cached += x[i].result->accounting.scores_cached;
            scores += distinct(&x[i]);
            assert_int_equal(y[i].result->accounting.scores_cached, 0);
            fc_event_fini(&x[i]);
            fc_event_fini(&y[i]);
        }
    }
    n = fc_engine_score_stats(with);
    printf("%lld of %lld scores were cached; %lld left for want of room\n", (long long)cached, (long long)scores,
           (long long)n.evicted);
    assert_true(cached > scores / 4 && cached < scores && n.evicted > 1000);
    fc_engine_close(with);
    fc_engine_close(without);
    free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_request_computes_no_scoring_row),
        cmocka_unit_test(cached_scores_are_events_too),
        cmocka_unit_test(known_and_new_candidates_mix),
        cmocka_unit_test(what_does_not_fit_is_not_cached),
        cmocka_unit_test(what_needs_no_row_is_not_cached),
        cmocka_unit_test(another_question_misses),
        cmocka_unit_test(where_the_candidate_begins_counts),
        cmocka_unit_test(a_file_serves_engines_of_its_kind),
        cmocka_unit_test(an_edited_model_is_another),
        cmocka_unit_test(two_engines_share_a_file),
        cmocka_unit_test(damaged_files_change_no_answer),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(random_requests_have_the_scores_of_no_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
