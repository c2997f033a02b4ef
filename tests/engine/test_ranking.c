/* Who is kept, through the whole engine: blend, diversity, keep; what a wrong request is told; and answers that cover
 * fewer candidates than were drawn. */
#include "engine/answer.h"
#include "engine/model_tok.h"
#include "engine/sched.h"
#include "engine/stop_job.h"
#include "kernels/cpu/backend_cpu.h"
#include "tests/engine/util_engine.h"

static const char prompt[] = "The cat sat on the mat.";

enum { NAMES = 12 };
static const char *const names[NAMES] = {"ab", "ac", "ad", "ba", "bb", "bc", "ca", "cb", "cc", "da", "db", "dc"};
static const char *const parents[NAMES] = {"p", "p", "q", "q", "r", "r", NULL, "p", "q", "r", NULL, "s"};
static const char *const keywords[NAMES] = {"x, y", "y, z", "z, w", "u", "v, x", "w, v",
                                            NULL,   "u, y", "t, s", "s", "r",    "x, t"};
static const fc_taxonomy_names whole = {
    .id = "t", .names = names, .parents = parents, .keywords = keywords, .n = NAMES};

static fc_engine *open_two(uint32_t off) {
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = tiny_model("llama", 1, false),
                                                    .alignment = tiny_model("llama", 2, true),
                                                    .threads = 2,
                                                    .ctx = 128,
                                                    .off = off});
    assert_ok(fc_engine_set_taxonomy(e, &whole));
    assert_ok(fc_engine_set_taxonomy(e, &(fc_taxonomy_names){.id = "bare", .names = names, .n = NAMES}));
    return e;
}

/* ---- the definition, from what the answer says of every candidate ---- */

static double key_of(const fc_request *r, const fc_candidate *c) {
    double key;
    if (!r->score) key = c->logprob;
    else if (r->blend == 0) key = c->score;
    else if (r->blend == 1) key = c->logprob;
    else key = (1 - (double)r->blend) * c->score + (double)r->blend * c->logprob;
    return isnan(key) ? -INFINITY : key;
}

static int name_of(const fc_candidate *c) {
    for (int i = 0; i < NAMES; i++)
        if (strlen(names[i]) == c->text_size && memcmp(names[i], c->text, c->text_size) == 0) return i;
    return -1;
}

static bool clash(fc_diversity d, const fc_candidate *a, const fc_candidate *b) {
    int x = name_of(a), y = name_of(b);
    if (d == FC_DIVERSITY_OFF || x < 0 || y < 0) return false;
    if (d == FC_DIVERSITY_PARENT) return parents[x] && parents[y] && strcmp(parents[x], parents[y]) == 0;
    for (const char *k = keywords[x]; k && *k;
         k += strcspn(k, ", ") + strspn(k + strcspn(k, ", "), ", ")) /* one letter each */
        if (keywords[y] && strchr(keywords[y], *k)) return true;
    return false;
}

static bool same(const fc_candidate *a, const fc_candidate *b) {
    if (name_of(a) >= 0 || name_of(b) >= 0) return name_of(a) == name_of(b);
    return a->n_logprobs == b->n_logprobs && a->n_tokens == b->n_tokens &&
           memcmp(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens) == 0;
}

/* Returns how many fewer than keep were kept. */
static int check_kept(const fc_request *r, const fc_result *a) {
    bool out[64] = {false};
    int n = 0, keep = r->keep ? r->keep : r->n, distinct = 0;
    for (int i = 0; i < a->n_all; i++)
        for (int k = 0; k < i; k++) out[i] = out[i] || same(&a->all[k], &a->all[i]);
    for (int i = 0; i < a->n_all; i++) {
        int votes = 0;
        for (int k = 0; k < a->n_all; k++) votes += same(&a->all[k], &a->all[i]);
        assert_int_equal(a->all[i].votes, votes);
        assert_int_equal(a->all[i].index, i);
        distinct += !out[i];
    }
    assert_int_equal(a->confidence.distinct, distinct);
    for (;; n++) {
        int best = -1;
        for (int i = 0; i < a->n_all; i++) {
            bool ok = !out[i] && n < keep;
            for (int k = 0; k < n; k++) ok = ok && !clash(r->diversity, &a->kept[k], &a->all[i]);
            if (ok && (best < 0 || key_of(r, &a->all[i]) > key_of(r, &a->all[best]))) best = i;
        }
        if (best < 0) break;
        assert_true(n < a->n_kept);
        assert_int_equal(a->kept[n].index, best);
        assert_int_equal(a->kept[n].rank, n + 1);
        assert_int_equal(a->all[best].rank, n + 1);
        out[best] = true;
    }
    assert_int_equal(a->n_kept, n);
    return (keep < distinct ? keep : distinct) - n;
}

/* If this fails, what is kept is not what was asked for. */
static void kept_are_those_of_the_definition(void **state) {
    static const fc_constraint constraints[] = {FC_CONSTRAINT_OFF, FC_CONSTRAINT_MASK, FC_CONSTRAINT_MASK};
    fc_engine *e[2] = {open_two(0), open_two(FC_OFF_COALESCE)}; /* candidates are the same, drawn together or apart */
    uint64_t seed = 51;
    int fewer = 0, blended = 0;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 60; round++) {
        fc_request r = text_request(prompt, 1 + test_below(&seed, 40), 3);
        fc_event ev;
        r.seed = (uint64_t)round;
        r.taxonomy = "t";
        r.constraint = constraints[test_below(&seed, 3)];
        r.score = test_below(&seed, 4) > 0;
        r.mode = test_below(&seed, 2) ? FC_SCORE_LOGLIK_MEAN : FC_SCORE_REWARD;
        r.keep = test_below(&seed, 3) ? 1 + test_below(&seed, r.n) : 0;
        r.diversity = (fc_diversity)test_below(&seed, 3);
        if (r.score) r.blend = (float)test_below(&seed, 5) * 0.25f;
        ev = run_request(e[round % 2], &r);
        fewer += check_kept(&r, ev.result);
        if (r.score && ev.result->confidence.distinct > 1) assert_true(ev.result->confidence.margin >= 0);
        blended += r.blend > 0 && r.blend < 1;
        fc_event_fini(&ev);
    }
    printf("%d kept fewer, %d blends\n", fewer, blended);
    assert_true(fewer > 20 && blended > 10);
    for (int i = 0; i < 2; i++) fc_engine_close(e[i]);
}

/* If this fails, an answer of a search that found fewer names than were asked for speaks of candidates that are
 * none. */
static void searches_are_ranked_too(void **state) {
    fc_engine *e = open_two(0);
    (void)state;
    for (int draw = FC_DRAW_SBS; draw <= FC_DRAW_EXACT; draw++) {
        fc_request r = text_request(prompt, 20, 8);
        fc_event ev;
        r.score = true;
        r.taxonomy = "t";
        r.constraint = FC_CONSTRAINT_MASK;
        r.draw = (fc_draw_mode)draw;
        r.diversity = FC_DIVERSITY_PARENT;
        r.stop_when = "hopeless:1";
        r.deadline_ms = 60000;
        ev = run_request(e, &r);
        assert_int_equal(ev.result->n_all, NAMES);
        assert_int_equal(ev.result->confidence.n_used, NAMES);
        check_kept(&r, ev.result);
        fc_event_fini(&ev);
    }
    fc_engine_close(e);
}

/* If this fails, a given candidate that is a name is called invalid, and diversity does not see it. */
static void given_candidates_are_names_too(void **state) {
    const fc_given given[] = {{.text = "ab", .size = 2},
                              {.text = "zz", .size = 2},
                              {.text = "ac", .size = 2},
                              {.text = "ab", .size = 2},
                              {.text = "dc", .size = 2}};
    fc_engine *e = open_two(0);
    fc_request r = text_request(prompt, 1, 4);
    fc_event ev;
    (void)state;
    r.given = given;
    r.n_given = 5;
    r.score = true;
    r.taxonomy = "t";
    r.diversity = FC_DIVERSITY_PARENT;
    ev = run_request(e, &r);
    assert_int_equal(ev.result->all[0].valid, 1);
    assert_int_equal(ev.result->all[1].valid, 0);
    assert_int_equal(ev.result->all[3].votes, 2);
    assert_int_equal(ev.result->n_kept, 3); /* ab or ac, zz, dc */
    r.keep = 0;
    r.n = 5;
    assert_int_equal(check_kept(&r, ev.result), 1);
    fc_event_fini(&ev);
    fc_engine_close(e);
}

static void wrong_requests_are_told_why(void **state) {
    const fc_given given = {.text = "ab", .size = 2};
    fc_engine *e = open_two(0);
    fc_request good = text_request(prompt, 4, 8), r;
    fc_event ev;
    uint64_t job;
    (void)state;
    good.score = true;
    good.taxonomy = "t";
#define REFUSED(change, words)                                                                                         \
    do {                                                                                                               \
        r = good;                                                                                                      \
        change;                                                                                                        \
        assert_fails(fc_submit(e, &r, &job), FC_ERR_ARG, words);                                                       \
    } while (0)
    REFUSED(r.blend = 1.5f, "blend = 1.5; it must lie in 0 to 1");
    REFUSED(r.blend = NAN, "blend = ");
    REFUSED((r.blend = 0.5f, r.score = false), "blend = 0.5: without scoring");
    REFUSED((r.blend = 0.5f, r.given = &given, r.n_given = 1), "blend = 0.5: given candidates have no log-prob");
    REFUSED(r.diversity = (fc_diversity)3, "diversity = 3");
    REFUSED((r.diversity = FC_DIVERSITY_PARENT, r.taxonomy = NULL), "diversity parent: it needs a taxonomy");
    REFUSED((r.diversity = FC_DIVERSITY_PARENT, r.taxonomy = "bare"),
            "diversity parent: the taxonomy \"bare\" has no parent");
    REFUSED((r.diversity = FC_DIVERSITY_KEYWORDS, r.taxonomy = "bare"),
            "diversity keywords: the taxonomy \"bare\" has no");
    REFUSED(r.stop_when = "sometimes", "stop_when: \"sometimes\"");
    REFUSED((r.stop_when = "hopeless:4", r.mode = FC_SCORE_REWARD),
            "stop_when: hopeless needs a log-likelihood, whose parts "
            "bound the whole; the mode is reward");
    REFUSED((r.stop_when = "hopeless:4", r.score = false), "the mode is none");
    REFUSED((r.stop_when = "hopeless:4", r.diversity = FC_DIVERSITY_KEYWORDS),
            "hopeless does not go with diversity keywords");
    REFUSED(r.n_max = 3, "n_max = 3; it must lie in n = 4 to 4096");
    REFUSED(r.n_max = -1, "n_max = -1");
    REFUSED(r.n_max = 5000, "n_max = 5000");
    REFUSED(r.token_budget = 7, "token_budget = 7; one candidate may take 8: max_tokens 8, attempts 1");
    REFUSED((r.token_budget = 39, r.constraint = FC_CONSTRAINT_REJECT),
            "one candidate may take 40: max_tokens 8, attempts 5");
    REFUSED(r.token_budget = -1, "token_budget = -1");
    REFUSED((r.draw = FC_DRAW_TOPK, r.constraint = FC_CONSTRAINT_MASK, r.n_max = 8),
            "draw topk: its candidates come all");
    REFUSED(r.deadline_ms = -1, "deadline_ms = -1");
    REFUSED((r.given = &given, r.n_given = 1, r.stop_when = "stable:1"), "stop_when: given candidates are not drawn");
    REFUSED((r.given = &given, r.n_given = 1, r.n_max = 4), "n_max: given candidates are not drawn; leave it out");
    REFUSED((r.given = &given, r.n_given = 1, r.n_max = 4, r.token_budget = 9),
            "n_max and token_budget: given candidates are not drawn; leave them out");
    REFUSED((r.given = &given, r.n_given = 1, r.token_budget = 9), "token_budget: given candidates are not drawn");
#undef REFUSED
    assert_fails(fc_diversity_parse("parents", &r.diversity), FC_ERR_ARG, "it is off, parent or keywords");
    for (int d = 0; d < 3; d++) {
        assert_ok(fc_diversity_parse(fc_diversity_name((fc_diversity)d), &r.diversity));
        assert_int_equal(r.diversity, d);
    }
    good.stop_when = "";
    good.token_budget = 1000;
    ev = run_request(e, &good);
    assert_int_equal(ev.result->confidence.n_used, 4);
    fc_event_fini(&ev);
    fc_engine_close(e);
}

/* ---- jobs on a scheduler, whose answers are made here ---- */

typedef struct {
    fc_weights *weights;
    fc_tok *tok;
    fc_backend *be;
    fc_model *model;
    fc_lane lane;
    fc_sched sched;
    fc_job_rules rules;
    fc_names *names;
    fc_job *done;
} fixture;

static void on_done(void *arg, fc_job *j) { ((fixture *)arg)->done = j; }

static fc_status find_names(void *arg, const char *id, fc_names **out) {
    (void)id;
    return fc_names_share(((fixture *)arg)->names, out);
}

static void open_fixture(fixture *f, uint32_t off) {
    fc_lane_options o = {.kv_type = FC_F32,
                         .ctx = 128,
                         .page_slots = 16,
                         .kv_pages = 400,
                         .max_rows = 64,
                         .max_branches = 64,
                         .scores = true};
    fc_op_limits limits = {0};
    fc_sched_options so = {.same_tokenizer = true, .max_branches = 64, .off = off, .sink = {.arg = f, .done = on_done}};
    memset(f, 0, sizeof *f);
    assert_ok(fc_names_open(&whole, &f->names));
    assert_ok(fc_weights_open(tiny_model("llama", 1, false), &f->weights));
    assert_ok(fc_model_tok_open(f->weights, &f->tok));
    fc_model_limits(fc_weights_config(f->weights), o.max_rows, &limits);
    assert_ok(fc_backend_open_cpu(FC_CPU_AUTO, 2, &limits, &f->be));
    assert_ok(fc_model_open(f->weights, f->be, NULL, NULL, &f->model));
    assert_ok(fc_lane_open(f->model, &o, &f->lane));
    f->rules = (fc_job_rules){.tok = {f->tok, f->tok},
                              .cfg = {&f->model->cfg, &f->model->cfg},
                              .ctx = {128, 128},
                              .same_tokenizer = true,
                              .coalesce = !(off & FC_OFF_COALESCE),
                              .names = find_names,
                              .names_arg = f,
                              .max_branches = 64};
    so.tok[0] = so.tok[1] = f->tok;
    assert_ok(fc_sched_open(&f->lane, &f->lane, &so, &f->sched));
}

static void close_fixture(fixture *f) {
    fc_sched_close(&f->sched);
    fc_lane_close(&f->lane);
    fc_model_close(f->model);
    fc_backend_close(f->be);
    fc_tok_close(f->tok);
    fc_weights_close(f->weights);
    fc_names_unref(f->names);
}

static fc_job *run_job(fixture *f, const fc_request *r) {
    fc_job *j;
    assert_ok(fc_job_open(&f->rules, r, &j));
    j->id = 1;
    f->done = NULL;
    fc_sched_submit(&f->sched, j);
    for (int steps = 0; !f->done; steps++) {
        assert_true(steps < 2000);
        fc_sched_step(&f->sched);
        assert_ok(fc_sched_check(&f->sched));
    }
    if (f->done->failed) fail_msg("%s", f->done->error);
    return f->done;
}

static void assert_same_answer(const fc_result *a, const fc_result *b) {
    const fc_confidence *x = &a->confidence, *y = &b->confidence;
    assert_int_equal(a->n_all, b->n_all);
    assert_int_equal(a->n_kept, b->n_kept);
    for (int i = 0; i < a->n_all; i++) {
        assert_same_candidate("all", &a->all[i], &b->all[i]);
        assert_int_equal(a->all[i].votes, b->all[i].votes);
        assert_int_equal(a->all[i].rank, b->all[i].rank);
    }
    for (int i = 0; i < a->n_kept; i++) {
        assert_same_candidate("kept", &a->kept[i], &b->kept[i]);
        assert_int_equal(a->kept[i].index, b->kept[i].index);
    }
    assert_true(x->n_used == y->n_used && x->distinct == y->distinct && x->entropy == y->entropy &&
                x->vote_share == y->vote_share && x->logprob == y->logprob);
    assert_memory_equal(&x->margin, &y->margin, sizeof x->margin);
    assert_memory_equal(&x->valid_mass, &y->valid_mass, sizeof x->valid_mass);
    assert_int_equal(a->accounting.rows_flat_prefill, b->accounting.rows_flat_prefill);
    assert_int_equal(a->accounting.rows_flat_decode, b->accounting.rows_flat_decode);
    assert_int_equal(a->accounting.rows_flat_score, b->accounting.rows_flat_score);
}

/* If this fails, an answer that ended early still counts what came after its end. */
static void answer_of_a_prefix_is_that_of_fewer_candidates(void **state) {
    static const uint32_t offs[] = {0, FC_OFF_COALESCE};
    (void)state;
    for (int k = 0; k < 2; k++)
        for (int constraint = 0; constraint < 3; constraint++) {
            fixture f;
            fc_request r = text_request(prompt, 24, 3);
            open_fixture(&f, offs[k]);
            r.score = true;
            r.keep = 4;
            r.taxonomy = "t";
            r.constraint = (fc_constraint)constraint;
            r.reject_budget = 2;
            r.full_logprob = constraint == FC_CONSTRAINT_MASK;
            r.diversity = FC_DIVERSITY_KEYWORDS;
            for (int m = 1; m <= 24; m += constraint == 0 ? 1 : 5) {
                fc_job *all, *some;
                const fc_result *a, *b;
                r.n = 24;
                all = run_job(&f, &r);
                all->n_used = m;
                assert_ok(fc_answer_make(all, 0, &a));
                r.n = m;
                some = run_job(&f, &r);
                assert_ok(fc_answer_make(some, 0, &b));
                assert_same_answer(a, b);
                fc_job_close(all);
                fc_job_close(some);
            }
            close_fixture(&f);
        }
}

/* Letters of the names and the end, made likely: so that some first attempts are names, and many are drawn together. */
static void prefer_names(const fixture *f, fc_request *r) {
    static int32_t ids[8];
    static float values[8];
    const char *const texts[] = {"a", "b", "c", "d"};
    const fc_model_config *cfg = &f->model->cfg;
    r->sampling.n_bias = 0;
    for (int i = 0; i < 4; i++) {
        int32_t *one = NULL;
        size_t n = 0, cap = 0;
        assert_ok(fc_tok_encode(f->tok, texts[i], 1, 0, &one, &n, &cap));
        assert_int_equal(n, 1);
        ids[r->sampling.n_bias++] = one[0];
        fc_free(one);
    }
    ids[r->sampling.n_bias++] = cfg->eos[0];
    for (int i = 0; i < 8; i++) values[i] = 100;
    r->sampling.temperature = 8; /* nearly even among them */
    r->sampling.bias_ids = ids;
    r->sampling.bias_values = values;
}

/* If this fails, token_budget forgets what constraint reject threw away, or counts it by who was drawn together; or
 * valid_mass counts candidates that became names only when they were drawn again. */
static void attempts_thrown_away_are_counted(void **state) {
    enum { N = 48 };
    (void)state;
    for (int k = 0; k < 2; k++) {
        fixture f;
        fc_request r = text_request(prompt, N, 2);
        const fc_result *first, *second;
        fc_job *once, *twice;
        int valid = 0, later = 0;
        open_fixture(&f, k ? FC_OFF_COALESCE : 0);
        prefer_names(&f, &r);
        r.taxonomy = "t";
        r.constraint = FC_CONSTRAINT_REJECT;
        r.reject_budget = 0;
        once = run_job(&f, &r);
        assert_ok(fc_answer_make(once, 0, &first));
        r.reject_budget = 1;
        twice = run_job(&f, &r);
        assert_ok(fc_answer_make(twice, 0, &second));
        for (int i = 0; i < N; i++) {
            bool again = !first->all[i].valid;
            assert_int_equal(twice->attempt[i], again);
            assert_int_equal(twice->discarded[i], again ? first->all[i].n_logprobs : 0);
            valid += !again;
            later += again && second->all[i].valid;
        }
        printf("%d names of %d, and %d when drawn again\n", valid, N, later);
        assert_true(valid > 2 && later > 2 && valid < N - 10);
        assert_true(first->confidence.valid_mass == (double)valid / N);
        assert_true(second->confidence.valid_mass == (double)valid / N);
        fc_job_close(once);
        fc_job_close(twice);
        close_fixture(&f);
    }
}

/* If this fails, a second wave draws again what the first one drew, or forgets somebody. */
static void waves_stand_ready_in_order(void **state) {
    (void)state;
    for (int coalesce = 0; coalesce < 2; coalesce++) {
        fixture f;
        fc_request r = text_request(prompt, 4, 3);
        fc_job *j;
        open_fixture(&f, coalesce ? 0 : FC_OFF_COALESCE);
        r.n_max = 10;
        assert_ok(fc_job_open(&f.rules, &r, &j));
        assert_true(j->n == 4 && j->n_max == 10 && j->keep == 10 && j->n_used == 4 && j->stop);
        for (int wave = 0; wave < 3; wave++) {
            int at = 4 * wave, groups = 0;
            assert_int_equal(j->n, wave < 2 ? at + 4 : 10);
            assert_int_equal(j->n_used, j->n);
            for (int g = j->idle; g >= 0; g = j->group_next[g], groups++)
                for (int m = g; m >= 0; m = j->members[m]) {
                    assert_int_equal(m, at);
                    assert_int_equal(j->paths[m].n, 0);
                    at++;
                }
            assert_int_equal(at, j->n);
            assert_int_equal(groups, j->n_open);
            assert_int_equal(groups, coalesce ? 1 : j->n - 4 * wave);
            assert_false(fc_stop_job_wants_wave(j));
            for (int g = j->idle; g >= 0; g = j->group_next[g]) j->finished[j->n_finished++] = g;
            j->n_open = 0;
            j->idle = -1;
            assert_false(fc_stop_job_over(j, 0));
            assert_int_equal(fc_stop_job_wants_wave(j), wave < 2);
            if (wave < 2) fc_job_next_wave(j);
        }
        fc_job_close(j);
        close_fixture(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_are_those_of_the_definition),
        cmocka_unit_test(searches_are_ranked_too),
        cmocka_unit_test(given_candidates_are_names_too),
        cmocka_unit_test(wrong_requests_are_told_why),
        cmocka_unit_test(answer_of_a_prefix_is_that_of_fewer_candidates),
        cmocka_unit_test(attempts_thrown_away_are_counted),
        cmocka_unit_test(waves_stand_ready_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
