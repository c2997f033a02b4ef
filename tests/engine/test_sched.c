/* The scheduler's invariants after every step, under random requests, cancels, small pools and both models in one
 * lane. */
#include "engine/answer.h"
#include "engine/base/os.h"
#include "engine/model_tok.h"
#include "engine/sched.h"
#include "kernels/cpu/backend_cpu.h"
#include "tests/engine/util_engine.h"

typedef struct {
    fc_weights *weights[2];
    fc_tok *tok[2];
    fc_backend *be;
    fc_model *model[2];
    fc_lane lane[2];
    fc_sched sched;
    fc_job_rules rules;
    int done, failed;
    fc_job **keep; /* [id] jobs that are done, or NULL: they are closed */
} fixture;

static void on_token(void *arg, fc_job *j, int candidate, const fc_path *p, const char *text, size_t size) {
    (void)arg, (void)j, (void)candidate, (void)p, (void)text, (void)size;
}
static void on_candidate(void *arg, fc_job *j, int candidate, const fc_path *p) {
    (void)arg, (void)j, (void)candidate, (void)p;
}
static void on_score(void *arg, fc_job *j, int candidate, double score) {
    (void)arg, (void)j, (void)candidate, (void)score;
}

static void on_done(void *arg, fc_job *j) {
    fixture *f = arg;
    f->done++;
    f->failed += j->failed;
    if (j->failed) assert_int_equal(j->status, FC_ERR_CANCELLED);
    assert_int_equal(j->pages[0], 0); /* everything was given back, by the job's own count */
    assert_int_equal(j->pages[1], 0);
    if (f->keep) f->keep[j->id] = j;
    else fc_job_close(j);
}

enum { BRANCHES = 24, JOBS = 6 };

static void open_fixture(fixture *f, bool shared, int P, int pages) {
    const char *paths[2] = {tiny_model("llama", 1, false), tiny_model_vocab("llama", 2, false, 400)};
    fc_lane_options o = {.kv_type = FC_F32,
                         .ctx = 128,
                         .page_slots = P,
                         .kv_pages = pages,
                         .max_rows = 40,
                         .max_branches = BRANCHES,
                         .scores = true};
    fc_sched_options so = {
        .same_tokenizer = shared,
        .max_branches = BRANCHES,
        .score_rows = 64,
        .sink = {.arg = f, .token = on_token, .candidate = on_candidate, .score = on_score, .done = on_done}};
    fc_op_limits limits = {0};
    memset(f, 0, sizeof *f);
    for (int i = 0; i < (shared ? 1 : 2); i++) {
        assert_ok(fc_weights_open(paths[i], &f->weights[i]));
        assert_ok(fc_model_tok_open(f->weights[i], &f->tok[i]));
        fc_model_limits(fc_weights_config(f->weights[i]), o.max_rows, &limits);
    }
    assert_ok(fc_backend_open_cpu(FC_CPU_AUTO, 2, &limits, &f->be));
    for (int i = 0; i < (shared ? 1 : 2); i++) {
        assert_ok(fc_model_open(f->weights[i], f->be, NULL, NULL, &f->model[i]));
        assert_ok(fc_lane_open(f->model[i], &o, &f->lane[i]));
    }
    f->rules = (fc_job_rules){.same_tokenizer = shared, .coalesce = true, .max_branches = BRANCHES, .ctx = {128, 128}};
    for (int i = 0; i < 2; i++) {
        f->rules.tok[i] = f->tok[shared ? 0 : i];
        f->rules.cfg[i] = &f->model[shared ? 0 : i]->cfg;
    }
    so.tok[0] = f->rules.tok[0];
    so.tok[1] = f->rules.tok[1];
    assert_ok(fc_sched_open(&f->lane[0], &f->lane[shared ? 0 : 1], &so, &f->sched));
}

static void close_fixture(fixture *f) {
    fc_sched_close(&f->sched);
    for (int i = 0; i < 2; i++) {
        fc_lane_close(&f->lane[i]);
        fc_model_close(f->model[i]);
        fc_tok_close(f->tok[i]);
        fc_weights_close(f->weights[i]);
    }
    fc_backend_close(f->be);
}

static const char text[] = "a b c d e f g h i j k l m n o p q r s t u v w x y z and so on";

/* Texts of x and 7, which a bias makes frequent: many draws are names, many are not. */
static void pick_names(fc_request *r, uint64_t *seed) {
    static const char *const names[] = {"x", "7", "x7", "7x", "xx", "x77", "7x7x", "xxx"};
    static const int32_t ids[] = {2, 'x' + 3, '7' + 3}; /* the end; a byte's id is 3 more: weights_tools/tiny_tok.h */
    static const float values[] = {4.0f, 5.0f, 5.0f};
    r->names = names;
    r->n_names = (size_t)(1 + test_below(seed, 8));
    r->constraint = (fc_constraint)test_below(seed, FC_CONSTRAINT_REJECT + 1);
    r->reject_budget = test_below(seed, 8);
    r->full_logprob = test_below(seed, 3) == 0 && r->constraint == FC_CONSTRAINT_MASK;
    if (r->constraint == FC_CONSTRAINT_MASK) r->sampling.max_tokens = 8; /* room for each name */
    r->sampling.bias_ids = ids;
    r->sampling.bias_values = values;
    r->sampling.n_bias = 3;
}

static int submit_one(fixture *f, uint64_t *seed, uint64_t id) {
    fc_request r = text_request(text, 1 + test_below(seed, 12), 1 + test_below(seed, 20));
    fc_piece piece = {.text = text, .size = (size_t)(1 + test_below(seed, (int)sizeof text - 1))};
    fc_job *j;
    r.prompt.pieces = &piece;
    r.score = test_below(seed, 4) != 0;
    r.mode = test_below(seed, 2) ? FC_SCORE_LOGLIK_SUM : FC_SCORE_LOGLIK_MEAN;
    r.seed = *seed;
    r.sampling.temperature = test_below(seed, 3) ? 1.0f : 0.3f;
    r.sampling.ignore_eos = test_below(seed, 2);
    if (test_below(seed, 2)) pick_names(&r, seed);
    assert_ok(fc_job_open(&f->rules, &r, &j));
    if (fc_sched_can_run(&f->sched, j)) {
        fc_job_close(j);
        return 0;
    }
    j->id = id;
    fc_sched_submit(&f->sched, j);
    return 1;
}

static void random_life(bool shared, uint64_t seed) {
    printf("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < test_cases(12); round++) {
        fixture f;
        int submitted = 0, refused = 0, P = 8 << test_below(&seed, 3), steps = 0;
        open_fixture(&f, shared, P, 20 + test_below(&seed, 200));
        while (submitted + refused < 25 || fc_sched_busy(&f.sched)) {
            if (submitted + refused < 25 && test_below(&seed, 3) == 0) {
                if (submit_one(&f, &seed, (uint64_t)submitted + 1)) submitted++;
                else refused++;
            }
            if (test_below(&seed, 25) == 0) fc_sched_cancel(&f.sched, 1 + (uint64_t)test_below(&seed, 25));
            fc_sched_step(&f.sched);
            assert_ok(fc_sched_check(&f.sched));
            assert_true(++steps < 20000); /* a request that never ends */
        }
        assert_int_equal(f.done, submitted);
        assert_true(f.failed < submitted);
        close_fixture(&f);
    }
}

static void two_models(void **state) {
    (void)state;
    random_life(false, 11);
}

static void one_model_for_both(void **state) {
    (void)state;
    random_life(true, 12);
}

/* ---- preemption ---- */

static void preempt_some(fixture *f, uint64_t *seed) {
    fc_job *next;
    for (fc_job *j = f->sched.running; j; j = next) {
        next = j->next;
        if (j->n_flying == 0 && !j->failed && test_below(seed, 4) == 0) fc_preempt(&f->sched, j);
    }
}

enum { ASKS = 12 };

/* The same requests in the same order, one job each: often, many of them give way after any step. */
static void live_once(fixture *f, uint64_t seed, bool often, fc_job **jobs) {
    uint64_t moments = seed;
    int steps = 0;
    f->keep = jobs;
    for (int i = 0; i < ASKS; i++) assert_true(submit_one(f, &seed, (uint64_t)i));
    while (fc_sched_busy(&f->sched)) {
        fc_sched_step(&f->sched);
        if (often) preempt_some(f, &moments);
        assert_ok(fc_sched_check(&f->sched));
        assert_true(++steps < 20000);
    }
    f->keep = NULL;
}

static void compare(fc_job *a, fc_job *b) {
    const fc_result *x, *y;
    char what[64];
    assert_ok(fc_answer_make(a, 0, &x));
    assert_ok(fc_answer_make(b, 0, &y));
    snprintf(what, sizeof what, "request %d, constraint %s", (int)a->id, fc_constraint_name(a->constraint));
    assert_int_equal(x->n_kept, y->n_kept);
    assert_int_equal(x->accounting.redraws, y->accounting.redraws);
    assert_memory_equal(&x->confidence, &y->confidence, offsetof(fc_confidence, n_used));
    for (int i = 0; i < x->n_all; i++) assert_same_candidate(what, &x->all[i], &y->all[i]);
    for (int i = 0; i < x->n_kept; i++) {
        assert_same_candidate(what, &x->kept[i], &y->kept[i]);
        assert_int_equal(x->kept[i].index, y->kept[i].index);
        assert_int_equal(x->kept[i].votes, y->kept[i].votes);
    }
}

/* If this fails, giving way loses a token, changes one, or mixes candidates up. */
static void preempted_at_any_step(void **state) {
    int64_t preemptions = 0, redraws = 0;
    (void)state;
    printf("seeds 100 to 139\n");
    for (uint64_t seed = 100; seed < 140; seed++) {
        fc_job *want[ASKS] = {0}, *got[ASKS] = {0};
        fixture f;
        open_fixture(&f, seed % 2, 8, 400);
        live_once(&f, seed, false, want);
        close_fixture(&f);
        open_fixture(&f, seed % 2, 8, 400);
        live_once(&f, seed, true, got);
        preemptions += f.sched.stats.preemptions;
        redraws += f.sched.stats.redraws;
        close_fixture(&f);
        for (int i = 0; i < ASKS; i++) {
            compare(got[i], want[i]);
            fc_job_close(got[i]);
            fc_job_close(want[i]);
        }
    }
    printf("%d preemptions, %d redraws\n", (int)preemptions, (int)redraws);
    assert_true(preemptions >= 1000 && redraws >= 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_models), cmocka_unit_test(one_model_for_both),
                                       cmocka_unit_test(preempted_at_any_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
