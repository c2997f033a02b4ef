/* Constraint mask: what is drawn, and every number that is said of it, against the exact distribution over the names.
 *
 *   test_constraint_mask [SEED]
 */
#include "tests/engine/util_engine.h"
#include "tests/engine/util_exact.h"
#include "tests/engine/util_names.h"

enum { DRAWS = 100000, MOST = 4096, LONGEST = 32 };

static uint64_t base_seed = 20250701;
static const char prompt[] = "Name one interest of this person:";

static fc_engine *engine_for(const char *model) {
    return open_engine(
        &(fc_engine_options){.novelty = model, .threads = 2, .ctx = 256, .kv_type = "f32", .max_branches = MOST});
}

static fc_request mask_request(const exact *x, int n) {
    fc_request r = text_request(prompt, n, LONGEST);
    r.names = x->names;
    r.n_names = (size_t)x->n;
    r.constraint = FC_CONSTRAINT_MASK;
    return r;
}

static void assert_near(const char *what, const char *name, double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance)) fail_msg("%s of \"%s\": %.9g, not %.9g", what, name, got, want);
}

/* A candidate is a name, whole, ended by the end token, over its one path, with the log-prob that the mask leaves
 * it. */
static int check_candidate(const exact *x, const fc_candidate *c) {
    int name = exact_name(x, c);
    int32_t ids[LONGEST];
    double sum = 0;
    if (name < 0) fail_msg("candidate %d: \"%.*s\" is no name", c->index, (int)c->text_size, c->text);
    assert_int_equal(c->valid, 1);
    assert_int_equal(c->finish, FC_FINISH_STOP);
    assert_int_equal(fc_trie_path(x->trie, x->trie->leaf[name], ids), (int)c->n_tokens + 1);
    assert_memory_equal(ids, c->tokens, c->n_tokens * sizeof *ids);
    assert_int_equal(c->n_logprobs, c->n_tokens + 1);
    for (size_t i = 0; i < c->n_logprobs; i++) sum += (double)c->logprobs[i];
    assert_near("sum of log-probs", x->names[name], sum, c->logprob, 1e-12);
    assert_near("log-prob", x->names[name], c->logprob, exact_logprob(x, name), 1e-4);
    return name;
}

/* ---- frequencies ---- */

static void draw_many(fc_engine *e, const exact *x, const char *what, const fc_sampling *s, uint64_t seed) {
    int32_t *drawn = malloc(sizeof *drawn * (DRAWS + MOST));
    double *p = malloc(sizeof *p * (size_t)x->n);
    int n = 0;
    assert_true(drawn && p);
    exact_mask(x, s, p);
    for (int ask = 0; n < DRAWS; ask++) {
        static const int sizes[] = {MOST, 1000, MOST, 17};
        fc_request r = mask_request(x, sizes[ask % 4]);
        fc_event ev;
        r.sampling = *s;
        r.sampling.max_tokens = LONGEST;
        r.seed = seed + (uint64_t)ask;
        ev = run_request(e, &r);
        assert_int_equal(ev.result->n_all, r.n);
        assert_true(isnan(ev.result->confidence.valid_mass)); /* not asked for */
        for (int i = 0; i < ev.result->confidence.distinct && i < ev.result->n_kept; i++) {
            assert_true(isnan(ev.result->kept[i].full_logprob));
            check_candidate(x, &ev.result->kept[i]);
        }
        for (int i = 0; i < r.n; i++) drawn[n++] = exact_name(x, &ev.result->all[i]);
        fc_event_fini(&ev);
    }
    if (exact_chi2(x, what, drawn, n, p) < 1e-4) fail_msg("%s: not the exact distribution", what);
    free(p);
    free(drawn);
}

/* If this fails, names are drawn more or less often than the model says. */
static void names_come_as_often_as_they_should(void **state) {
    static const struct {
        const char *what;
        float temperature, top_p, min_p;
        int top_k;
    } cases[] = {{"temperature 1", 1.0f, 1.0f, 0.0f, 0},
                 {"temperature 0.6", 0.6f, 1.0f, 0.0f, 0},
                 {"temperature 2, top_k 3", 2.0f, 1.0f, 0.0f, 3},
                 {"temperature 2, top_p 0.8", 2.0f, 0.8f, 0.0f, 0},
                 {"temperature 1.5, top_k 6, top_p 0.9", 1.5f, 0.9f, 0.0f, 6},
                 {"temperature 2, min_p 0.1", 2.0f, 1.0f, 0.1f, 0}};
    static const char *const families[] = {"llama", "gemma2"}; /* untied head; tied, with a soft cap on the logits */
    (void)state;
    print_message("seed %llu\n", (unsigned long long)base_seed);
    for (size_t m = 0; m < 2; m++) {
        const char *model = tiny_model(families[m], 21, false);
        fc_engine *e = engine_for(model);
        exact x;
        exact_open(&x, model, prompt, mixed_names, MIXED);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            fc_sampling s;
            fc_sampling_init(&s);
            s.temperature = cases[i].temperature;
            s.top_p = cases[i].top_p;
            s.min_p = cases[i].min_p;
            s.top_k = cases[i].top_k;
            draw_many(e, &x, cases[i].what, &s, base_seed + 1000 * (uint64_t)i);
        }
        exact_close(&x);
        fc_engine_close(e);
    }
}

/* If this fails, a bias on ids of names does not move them as it should. */
static void a_bias_moves_names(void **state) {
    const char *model = tiny_model("llama", 21, false);
    fc_engine *e = engine_for(model);
    exact x;
    fc_sampling s;
    int32_t ids[2];
    static const float values[] = {-INFINITY, 1.5f};
    (void)state;
    exact_open(&x, model, prompt, mixed_names, MIXED);
    fc_sampling_init(&s);
    ids[0] = x.trie->token[1]; /* a first id is forbidden, another one likelier */
    ids[1] = x.trie->token[3];
    s.bias_ids = ids;
    s.bias_values = values;
    s.n_bias = 2;
    draw_many(e, &x, "a bias", &s, base_seed);
    exact_close(&x);
    fc_engine_close(e);
}

/* If this fails, temperature 0 does not follow the likeliest allowed id. */
static void greedy_follows_the_likeliest_edge(void **state) {
    const char *model = tiny_model("llama", 21, false);
    fc_engine *e = engine_for(model);
    fc_request r;
    fc_event ev;
    exact x;
    int node = 0;
    (void)state;
    exact_open(&x, model, prompt, mixed_names, MIXED);
    r = mask_request(&x, 9);
    r.sampling.temperature = 0.0f;
    ev = run_request(e, &r);
    while (x.trie->n_children[node] > 0) {
        int best = x.trie->first_child[node];
        for (int i = best; i < x.trie->first_child[node] + x.trie->n_children[node]; i++)
            if (x.logit[i] > x.logit[best]) best = i;
        node = best;
    }
    assert_int_equal(ev.result->confidence.distinct, 1);
    assert_int_equal(ev.result->kept[0].votes, 9);
    assert_int_equal(check_candidate(&x, &ev.result->kept[0]), x.trie->name[node]);
    fc_event_fini(&ev);
    exact_close(&x);
    fc_engine_close(e);
}

/* ---- the whole vocabulary ---- */

/* If this fails, full_logprob or valid_mass is not what forkcast.h says, or asking for them changes a draw. */
static void full_logprobs_and_valid_mass(void **state) {
    static const char *const families[] = {"llama", "qwen3", "gemma2"};
    (void)state;
    for (size_t m = 0; m < 3; m++) {
        const char *model = tiny_model(families[m], 22, false);
        fc_engine *e = engine_for(model);
        exact x;
        exact_open(&x, model, prompt, mixed_names, MIXED);
        for (int n = 1; n <= 256; n *= 16) {
            fc_request r = mask_request(&x, n);
            fc_event plain = run_request(e, &r), ev;
            double mass = 0;
            r.full_logprob = true;
            ev = run_request(e, &r);
            assert_int_equal(ev.result->n_kept, plain.result->n_kept);
            for (int i = 0; i < n; i++) {
                const fc_candidate *c = &ev.result->all[i];
                int name = check_candidate(&x, c);
                assert_same_candidate("with full log-probs", c, &plain.result->all[i]);
                assert_near("full log-prob", x.names[name], c->full_logprob, exact_full_logprob(&x, name), 1e-4);
                assert_true(c->full_logprob <= c->logprob);
                mass += exp(exact_log_mass(&x, name)) / n;
            }
            print_message("%s, n = %d: valid mass %.3g\n", families[m], n, ev.result->confidence.valid_mass);
            assert_near("valid mass", "all", ev.result->confidence.valid_mass / mass, 1.0, 1e-4);
            fc_event_fini(&ev);
            fc_event_fini(&plain);
        }
        exact_close(&x);
        fc_engine_close(e);
    }
}

/* If this fails, names stand behind another text than the prompt's last character. */
static void a_prompt_of_a_template_and_of_ids(void **state) {
    static const char *const names[] = {" the night", " the house", " x", "7", " craft", "ing"};
    static const char template[] = "<|im_end|>\nAnswer:";
    const fc_piece pieces[] = {{"Who?", 4, false}, {template, sizeof template - 1, true}, {"", 0, false}};
    const char *model = tiny_model("llama", 21, false);
    fc_engine *e = engine_for(model);
    fc_request r = text_request("", 64, LONGEST);
    fc_event a, b;
    exact x;
    int32_t ids[LONGEST];
    (void)state;
    exact_open(&x, model, "Who? Answer:", names, 6);
    r.names = names;
    r.n_names = 6;
    r.constraint = FC_CONSTRAINT_MASK;
    r.prompt = (fc_prompt){.pieces = pieces, .n_pieces = 3};
    a = run_request(e, &r);
    for (int i = 0; i < 64; i++) { /* ids of the names do not depend on what a template says before its last line */
        const fc_candidate *c = &a.result->all[i];
        int name = exact_name(&x, c);
        assert_int_equal(c->valid, 1);
        assert_true(name >= 0);
        assert_int_equal(fc_trie_path(x.trie, x.trie->leaf[name], ids), (int)c->n_tokens + 1);
        assert_memory_equal(ids, c->tokens, c->n_tokens * sizeof *ids);
    }
    r.prompt = (fc_prompt){.ids = x.ids, .n_ids = (size_t)x.n_prompt};
    b = run_request(e, &r);
    for (int i = 0; i < b.result->n_kept; i++) check_candidate(&x, &b.result->kept[i]);
    fc_event_fini(&b);
    fc_event_fini(&a);
    exact_close(&x);
    fc_engine_close(e);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_come_as_often_as_they_should), cmocka_unit_test(a_bias_moves_names),
        cmocka_unit_test(greedy_follows_the_likeliest_edge),  cmocka_unit_test(full_logprobs_and_valid_mass),
        cmocka_unit_test(a_prompt_of_a_template_and_of_ids),
    };
    if (argc > 1) base_seed = strtoull(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
