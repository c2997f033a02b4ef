/* Constraint reject: accepted names come as free draws do that happen to be names; redraws, budget, shares are exact.
 *
 *   test_constraint_reject [SEED]
 */
#include "engine/engine.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_exact.h"
#include "tests/engine/util_late.h"

enum { MOST = 4096, MAX_TOKENS = 4 };

static uint64_t base_seed = 20250702;
static const char prompt[] = "Name one interest of this person:";

/* Texts of e, r and er: most of them over several paths of ids. */
static const char *const few[] = {"er", "ereee", "rer", "ere", "erer", "r", "eeee", "reee", "ree", "e"};
enum { FEW = sizeof few / sizeof *few };

static fc_engine *engine_for(const char *novelty, const char *alignment) {
    return open_engine(&(fc_engine_options){.novelty = novelty,
                                            .alignment = alignment,
                                            .threads = 1,
                                            .ctx = 256,
                                            .kv_type = "f32",
                                            .max_branches = MOST + 64});
}

static fc_request reject_request(const exact *x, const fc_sampling *s, int n, int budget) {
    fc_request r = text_request(prompt, n, MAX_TOKENS);
    r.names = x->names;
    r.n_names = (size_t)x->n;
    r.constraint = FC_CONSTRAINT_REJECT;
    r.reject_budget = budget;
    r.sampling = *s;
    r.seed = base_seed;
    return r;
}

typedef struct {
    fc_engine *e;
    exact x;
    fc_sampling s;
    exact_bias bias;
} fixture;

static void open_fixture(fixture *f, const char *const *names, int n, bool few_ids) {
    const char *model = tiny_model("llama", 31, false);
    exact_open(&f->x, model, prompt, names, n);
    f->e = engine_for(model, tiny_model("llama", 32, false));
    fc_sampling_init(&f->s);
    f->s.max_tokens = MAX_TOKENS;
    if (few_ids) exact_few_ids(&f->x, &f->bias, &f->s);
}

static void close_fixture(fixture *f) {
    assert_int_equal(fc_engine_pages_used(f->e), 0);
    fc_engine_close(f->e);
    exact_close(&f->x);
}

static int count_invalid(const fc_result *r) {
    int n = 0;
    for (int i = 0; i < r->n_all; i++) n += r->all[i].valid == 0;
    return n;
}

/* ---- frequencies ---- */

static void check_frequencies(fixture *f, const char *what, int draws, int n, int budget) {
    int32_t *drawn = malloc(sizeof *drawn * (size_t)(draws + n));
    double *p = malloc(sizeof *p * (size_t)f->x.n), share = 0, mass;
    int count = 0, asks = 0, valid = 0;
    assert_true(drawn && p);
    mass = exact_free(&f->x, &f->s, p);
    for (; count < draws; asks++) {
        fc_request r = reject_request(&f->x, &f->s, n, budget);
        fc_event ev;
        r.seed = base_seed + (uint64_t)asks;
        ev = run_request(f->e, &r);
        for (int i = 0; i < n; i++) {
            const fc_candidate *c = &ev.result->all[i];
            int name = exact_name(&f->x, c);
            assert_int_equal(c->valid, name >= 0);
            valid += name >= 0;
            drawn[count++] = name;
        }
        share += ev.result->confidence.valid_mass;
        fc_event_fini(&ev);
    }
    share /= asks;
    print_message("%s: a name comes with probability %.4f; %.4f of first attempts; %d of %d at the end\n", what, mass,
                  share, valid, count);
    assert_true(fabs(share - mass) <= 5 * sqrt(mass * (1 - mass) / count));
    mass = 1 - pow(1 - mass, budget + 1);
    assert_true(fabs((double)valid / count - mass) <= 5 * sqrt(mass * (1 - mass) / count) + 1e-9);
    if (exact_chi2(&f->x, what, drawn, count, p) < 1e-4) fail_msg("%s: not the exact distribution", what);
    free(p);
    free(drawn);
}

/* If this fails, drawing again prefers some names. */
static void accepted_names_have_the_free_distribution(void **state) {
    fixture f;
    (void)state;
    print_message("seed %llu\n", (unsigned long long)base_seed);
    open_fixture(&f, few, FEW, true);
    check_frequencies(&f, "temperature 2", test_cases(100000), MOST, 100);
    check_frequencies(&f, "budget 1", test_cases(20000), 1000, 1);
    f.s.temperature = 1.0f;
    check_frequencies(&f, "temperature 1", test_cases(50000), MOST, 10);
    f.s.temperature = 2.0f;
    f.s.top_k = 3;
    check_frequencies(&f, "temperature 2, top_k 3", test_cases(50000), MOST, 30);
    close_fixture(&f);
}

/* The most frequent texts of free draws from the whole vocabulary. */
static int frequent_texts(const char *const none[], char texts[][16], const char **out, int most) {
    enum { N = 4000 };
    const char *model = tiny_model("llama", 31, false);
    fc_engine *e = engine_for(model, NULL);
    fc_request r = text_request(prompt, N, 2);
    fc_event ev;
    int n = 0;
    r.names = none;
    r.n_names = 1;
    r.seed = 99;
    ev = run_request(e, &r);
    for (int votes = N; votes > 0 && n < most; votes--)
        for (int i = 0; i < ev.result->n_kept && n < most; i++) {
            const fc_candidate *c = &ev.result->kept[i];
            bool fits = c->votes == votes && c->text_size > 0 && c->text_size < 16;
            for (size_t k = 0; k < c->text_size; k++) fits = fits && c->text[k] >= ' ' && c->text[k] < 127;
            for (int k = 0; k < n && fits; k++) fits = strcmp(texts[k], c->text) != 0;
            if (!fits) continue;
            snprintf(texts[n], 16, "%s", c->text);
            out[n] = texts[n];
            n++;
        }
    fc_event_fini(&ev);
    fc_engine_close(e);
    return n;
}

/* If this fails, the whole vocabulary is not what names are drawn from. */
static void so_have_names_among_all_ids(void **state) {
    enum { NAMES = 60 };
    static const char *const none[] = {"x"};
    char texts[NAMES][16];
    const char *names[NAMES];
    int n = frequent_texts(none, texts, names, NAMES);
    fixture f;
    (void)state;
    assert_int_equal(n, NAMES);
    open_fixture(&f, names, NAMES, false);
    f.s.max_tokens = 2;
    check_frequencies(&f, "all ids, budget 3", test_cases(20000), 2000, 3);
    close_fixture(&f);
}

/* ---- attempts ---- */

/* If this fails, redraws are counted wrongly, a candidate changes after it was accepted, or the budget is not kept. A
 * candidate's attempts do not depend on the budget: with one more, those are drawn again that were no names before. */
static void budgets_add_up(void **state) {
    enum { N = 300, BUDGETS = 8 };
    fixture f;
    fc_request r;
    fc_event before;
    int64_t redraws = 0;
    double share;
    (void)state;
    open_fixture(&f, few, FEW, true);
    r = reject_request(&f.x, &f.s, N, 1000);
    r.constraint = FC_CONSTRAINT_OFF;
    r.score = true;
    before = run_request(f.e, &r); /* first attempts */
    share = 1.0 - (double)count_invalid(before.result) / N;
    assert_true(isnan(before.result->confidence.valid_mass));
    assert_int_equal(before.result->accounting.redraws, 0);
    for (r.reject_budget = 0; r.reject_budget < BUDGETS; r.reject_budget++) {
        fc_event ev;
        int invalid = count_invalid(before.result);
        r.constraint = FC_CONSTRAINT_REJECT;
        ev = run_request(f.e, &r);
        if (r.reject_budget > 0) redraws += invalid;
        assert_int_equal(ev.result->accounting.redraws, redraws);
        assert_true(ev.result->confidence.valid_mass == share);
        for (int i = 0; i < N; i++)
            if (r.reject_budget == 0 || before.result->all[i].valid)
                assert_same_candidate("accepted", &ev.result->all[i], &before.result->all[i]);
        assert_true(r.reject_budget == 0 || count_invalid(ev.result) < invalid);
        print_message("budget %d: %d invalid, %d redraws\n", r.reject_budget, count_invalid(ev.result), (int)redraws);
        fc_event_fini(&before);
        before = ev;
    }
    assert_true(count_invalid(before.result) > 0); /* the budget ended before all were names */
    fc_event_fini(&before);
    close_fixture(&f);
}

/* ---- bits ---- */

static fc_event run_with(const fc_engine_options *o, bool late, const fc_request *r) {
    fc_engine *e = NULL;
    fc_event ev;
    if (late) assert_ok(fc_engine_open_on(o, late_backend_open, &e));
    else e = open_engine(o);
    ev = run_request(e, r);
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
    return ev;
}

static void compare(const char *what, const fc_result *got, const fc_result *want, bool whole) {
    for (int i = 0; i < got->n_all; i++) {
        assert_same_candidate(what, &got->all[i], &want->all[i]);
        assert_int_equal(got->all[i].valid, want->all[i].valid);
    }
    if (!whole) return;
    assert_int_equal(got->accounting.redraws, want->accounting.redraws);
    assert_true(got->confidence.valid_mass == want->confidence.valid_mass);
    assert_int_equal(got->n_kept, want->n_kept);
    for (int i = 0; i < got->n_kept; i++) {
        assert_int_equal(got->kept[i].index, want->kept[i].index);
        assert_int_equal(got->kept[i].votes, want->kept[i].votes);
    }
}

static void vary(fc_request r) {
    fc_engine_options o = {.novelty = tiny_model("llama", 31, false),
                           .alignment = tiny_model("llama", 32, false),
                           .threads = 2,
                           .ctx = 256};
    fc_event want = run_with(&o, false, &r), ev;
    assert_in_range(count_invalid(want.result), 1, 50);
    for (int n = 1; n < 64; n *= 4) {
        fc_request less = r;
        less.n = n;
        ev = run_with(&o, false, &less);
        compare("fewer", ev.result, want.result, false);
        fc_event_fini(&ev);
    }
    for (uint32_t bit = 1; bit < 2 * FC_OFF_ALL; bit *= 2) {
        const char *name = fc_off_name((fc_off)bit);
        o.off = name ? bit : FC_OFF_ALL;
        for (int late = 0; late < 2; late++) {
            ev = run_with(&o, late, &r);
            compare(name ? name : "all off", ev.result, want.result, true);
            fc_event_fini(&ev);
        }
    }
    o.off = 0;
    o.max_rows = 3;
    o.page_slots = 8;
    ev = run_with(&o, false, &r);
    compare("batches of 3 rows", ev.result, want.result, true);
    fc_event_fini(&ev);
    fc_event_fini(&want);
}

/* If this fails, a candidate depends on n, on who is drawn beside it, or on a switch that only saves work. */
static void same_bits_for_every_shape(void **state) {
    fixture f;
    fc_request r;
    (void)state;
    open_fixture(&f, few, FEW, true);
    r = reject_request(&f.x, &f.s, 64, 3);
    r.score = true;
    r.sampling.top_logprobs = 2;
    vary(r);
    r.sampling.top_logprobs = 0;
    r.sampling.min_tokens = 3; /* in one batch with candidates that may not end yet, and others */
    r.sampling.presence_penalty = 0.5f;
    vary(r);
    close_fixture(&f);
}

/* If this fails, requests disturb each other's attempts. */
static void same_bits_in_a_crowd(void **state) {
    enum { ASKS = 12 };
    fixture f;
    fc_event want[ASKS];
    uint64_t ids[ASKS];
    fc_request r[ASKS];
    (void)state;
    open_fixture(&f, few, FEW, true);
    for (int i = 0; i < ASKS; i++) {
        r[i] = reject_request(&f.x, &f.s, 1 + 5 * i, i % 5);
        r[i].seed = (uint64_t)i;
        r[i].score = i % 3 == 0;
        r[i].events = i % 2;
        if (i % 4 == 3) {
            r[i].constraint = FC_CONSTRAINT_MASK;
            r[i].sampling.max_tokens = 16;
            r[i].sampling.n_bias = 0;
        }
        want[i] = run_request(f.e, &r[i]);
    }
    for (int i = 0; i < ASKS; i++) assert_ok(fc_submit(f.e, &r[i], &ids[i]));
    for (int left = ASKS; left > 0;) {
        fc_event ev;
        int k = 0;
        assert_ok(fc_poll(f.e, 60000, &ev));
        while (ids[k] != ev.id) k++;
        if (ev.type == FC_EVENT_DONE) {
            assert_int_equal(ev.status, FC_OK);
            compare("in a crowd", ev.result, want[k].result, r[k].constraint == FC_CONSTRAINT_REJECT);
            left--;
        }
        fc_event_fini(&ev);
    }
    for (int i = 0; i < ASKS; i++) fc_event_fini(&want[i]);
    close_fixture(&f);
}

/* ---- work ---- */

/* If this fails, candidates that are refused together draw again apart, or a long list of biases cuts batches small. A
 * batch holds a step of every branch: there are as many as the longest chain of attempts has steps. */
static void redraws_share_rows_and_batches(void **state) {
    enum { BUDGET = 3 };
    fixture f;
    int64_t before, batches;
    (void)state;
    open_fixture(&f, few, FEW, true);
    for (int n = 16; n <= 1024; n *= 4) {
        fc_request r = reject_request(&f.x, &f.s, n, BUDGET);
        fc_event ev;
        r.cache_salt = "its own";
        before = fc_engine_stats(f.e).batches;
        ev = run_request(f.e, &r);
        batches = fc_engine_stats(f.e).batches - before;
        print_message("n %4d: %4d redraws, %d prompt rows again, %d decode rows in %d batches\n", n,
                      (int)ev.result->accounting.redraws, (int)ev.result->accounting.rows_replayed,
                      (int)ev.result->accounting.rows_decode, (int)batches);
        assert_true(batches <= (BUDGET + 1) * MAX_TOKENS);
        assert_true(ev.result->accounting.rows_replayed < batches); /* one for all that a batch refused */
        fc_event_fini(&ev);
    }
    close_fixture(&f);
}

/* ---- memory ---- */

/* If this fails, a request is let in that finds no page for its redraws: it then waits for ever, or fails. */
static void a_pool_that_fits_is_enough(void **state) {
    static const char words[] = "raise kv_pool to ";
    int64_t redraws = 0;
    fixture f;
    (void)state;
    open_fixture(&f, few, FEW, true);
    for (int n_prompt = 13; n_prompt <= 35; n_prompt++)
        for (int k = 0; k < 6; k++) {
            static const uint32_t offs[] = {0, FC_OFF_PREFIX_CACHE, FC_OFF_COALESCE};
            fc_engine_options o = {
                .novelty = tiny_model("llama", 31, false), .threads = 1, .ctx = 256, .off = offs[k % 3]};
            fc_request r = reject_request(&f.x, &f.s, k < 3 ? 1 : 8, 40);
            int32_t ids[40];
            fc_engine *e;
            fc_event ev;
            uint64_t id;
            for (int i = 0; i < n_prompt; i++) ids[i] = 10 + i;
            r.prompt = (fc_prompt){.ids = ids, .n_ids = (size_t)n_prompt};
            o.kv_pool = 1 << 14;
            e = open_engine(&o);
            assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, words);
            o.kv_pool = strtoull(strstr(fc_last_error(), words) + sizeof words - 1, NULL, 10);
            fc_engine_close(e);
            e = open_engine(&o);
            for (r.seed = 1; r.seed <= 4; r.seed++) {
                ev = run_request(e, &r);
                redraws += ev.result->accounting.redraws;
                fc_event_fini(&ev);
            }
            fc_engine_close(e);
        }
    print_message("%d redraws\n", (int)redraws);
    assert_true(redraws > 1000);
    close_fixture(&f);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_names_have_the_free_distribution),
        cmocka_unit_test(so_have_names_among_all_ids),
        cmocka_unit_test(budgets_add_up),
        cmocka_unit_test(same_bits_for_every_shape),
        cmocka_unit_test(same_bits_in_a_crowd),
        cmocka_unit_test(redraws_share_rows_and_batches),
        cmocka_unit_test(a_pool_that_fits_is_enough),
    };
    if (argc > 1) base_seed = strtoull(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
