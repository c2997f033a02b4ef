/* Adapters in requests, on a tiny model with random weights: against a probe that runs each sequence through one.
 *
 * tolerance  1e-4 on log-probs and scores: the engine's rows are summed in another order than the probe's
 */
#include "engine/engine.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_late.h"
#include "tests/engine/util_peft.h"
#include "tests/engine/util_whole.h"

enum { CTX = 256, V = 512, CALL = 1, N_SUFFIX = 5 }; /* CALL: id of <|im_start|>, which no text gives */

static const char prompt[] = "The quick brown fox jumps over the lazy dog. Topic:";
static const int32_t call[] = {CALL}, invoked[N_SUFFIX] = {70, CALL, 80, 90, 100},
                     plain_suffix[N_SUFFIX] = {70, 71, 80, 90, 100};
static const float never = -INFINITY;
static const char *const labels[] = {"a", "b", "c"};

enum { PLAIN, OTHER, HEAD, LATE, ADAPTERS };

static const char *base(void) { return tiny_model("llama", 3, true); }

static const fc_adapter_option *adapters(void) {
    static fc_adapter_option list[ADAPTERS];
    if (list[0].path) return list;
    list[PLAIN] = (fc_adapter_option){
        "plain", peft_folder(&(peft_options){.base = base(), .seed = 1, .r = 4, .score = true}), FC_NOVELTY};
    list[OTHER] =
        (fc_adapter_option){"other", peft_folder(&(peft_options){.base = base(), .seed = 2, .r = 7}), FC_NOVELTY};
    list[HEAD] =
        (fc_adapter_option){"head", peft_folder(&(peft_options){.base = base(), .seed = 3, .score = true}), FC_NOVELTY};
    list[LATE] = (fc_adapter_option){
        "late",
        peft_folder(
            &(peft_options){.base = base(), .seed = 4, .r = 5, .score = true, .invocation = call, .n_invocation = 1}),
        FC_NOVELTY};
    return list;
}

static fc_engine_options options(void) {
    return (fc_engine_options){.novelty = base(),
                               .alignment = base(),
                               .adapters = adapters(),
                               .n_adapters = ADAPTERS,
                               .threads = 2,
                               .ctx = CTX};
}

/* Another model for drawing, so that the alignment model's rows are counted alone. */
static fc_engine_options scoring_options(void) {
    static fc_adapter_option list[ADAPTERS];
    fc_engine_options o = options();
    for (int i = 0; i < ADAPTERS; i++) {
        list[i] = adapters()[i];
        list[i].model = FC_ALIGNMENT;
    }
    o.novelty = tiny_model("llama", 8, false);
    o.adapters = list;
    return o;
}

/* ---- what a probe says ---- */

static fc_probe *probe(int adapter) {
    fc_probe *p;
    assert_ok(fc_probe_open(
        base(), &(fc_probe_options){.adapter = adapter < 0 ? NULL : adapters()[adapter].path, .threads = 1}, &p));
    return p;
}

static double logprob(const float *logits, int32_t id) {
    double most = -INFINITY, sum = 0;
    for (int v = 0; v < V; v++) most = fmax(most, (double)logits[v]);
    for (int v = 0; v < V; v++) sum += exp((double)logits[v] - most);
    return (double)logits[id] - most - log(sum);
}

typedef struct {
    int32_t ids[CTX];
    int n;
    float logits[CTX * V];
} sequence;

static void put(sequence *s, const int32_t *ids, size_t n) {
    if (n) memcpy(s->ids + s->n, ids, n * sizeof *ids);
    s->n += (int)n;
}

static void near(const char *what, int candidate, double got, double want) {
    if (!(fabs(got - want) <= 1e-4))
        fail_msg("%s, candidate %d: %.7f; the probe says %.7f", what, candidate, got, want);
}

/* Log-probs of what was drawn behind these ids, and, at temperature 0, that nothing else is more probable. */
static void drawn_as_probed(const char *what, fc_probe *p, const fc_result *res, const int32_t *ids, int n,
                            bool greedy) {
    sequence *s = malloc(sizeof *s);
    assert_non_null(s);
    for (int i = 0; i < res->n_all; i++) {
        const fc_candidate *c = &res->all[i];
        s->n = 0;
        put(s, ids, (size_t)n);
        put(s, c->tokens, c->n_tokens);
        assert_ok(fc_probe_logits(p, s->ids, s->n, s->logits));
        for (size_t k = 0; k < c->n_tokens; k++) {
            const float *row = s->logits + ((size_t)n - 1 + k) * V;
            near(what, i, (double)c->logprobs[k], logprob(row, c->tokens[k]));
            for (int v = 0; greedy && v < V; v++) assert_true(row[v] <= row[c->tokens[k]] + 1e-4f);
        }
    }
    free(s);
}

/* Scores of all candidates from their definition, over prompt, candidate and suffix in one sequence. */
static void scored_as_probed(const char *what, fc_probe *p, const fc_result *res, const fc_request *r,
                             const int32_t *ids, int n) {
    sequence *s = malloc(sizeof *s);
    fc_tokenizer *t;
    int32_t label[3];
    assert_non_null(s);
    assert_ok(fc_tokenizer_open(base(), &t));
    for (int k = 0; k < 3; k++) {
        int32_t *one;
        size_t count;
        assert_ok(fc_tokenizer_encode(t, labels[k], 1, false, false, &one, &count));
        label[k] = one[0];
        fc_memory_free(one);
    }
    fc_tokenizer_close(t);
    for (int i = 0; i < res->n_all; i++) {
        const fc_candidate *c = &res->all[i];
        double want = 0, sum = 0;
        float reward;
        s->n = 0;
        put(s, ids, (size_t)n);
        put(s, c->tokens, c->n_tokens);
        put(s, r->suffix.ids, r->suffix.n_ids);
        if (r->mode == FC_SCORE_REWARD) {
            assert_ok(fc_probe_reward(p, s->ids, s->n, &reward));
            want = (double)reward;
        } else {
            assert_ok(fc_probe_logits(p, s->ids, s->n, s->logits));
            if (r->mode == FC_SCORE_JUDGE) {
                for (int k = 0; k < 3; k++) sum += exp(logprob(s->logits + (size_t)(s->n - 1) * V, label[k]));
                want = exp(logprob(s->logits + (size_t)(s->n - 1) * V, label[0])) / sum;
            } else {
                for (size_t k = 0; k < c->n_tokens; k++)
                    want += logprob(s->logits + ((size_t)n - 1 + k) * V, c->tokens[k]);
                if (c->n_tokens == 0) continue;
            }
        }
        near(what, i, c->score, want);
    }
    free(s);
}

static fc_request request_of(const int32_t *ids, int n, int adapter, int scorer, fc_score_mode mode) {
    fc_request r;
    fc_request_init(&r);
    r.prompt = (fc_prompt){.ids = ids, .n_ids = (size_t)n};
    r.n = 10;
    r.seed = 5;
    r.sampling.max_tokens = 12;
    r.sampling.bias_ids = call; /* prompts and suffixes invoke, candidates do not */
    r.sampling.bias_values = &never;
    r.sampling.n_bias = 1;
    r.novelty_adapter = adapter < 0 ? NULL : adapters()[adapter].name;
    r.alignment_adapter = scorer < 0 ? NULL : adapters()[scorer].name;
    r.score = true;
    r.mode = mode;
    if (mode == FC_SCORE_JUDGE) r.labels = labels, r.n_labels = 3;
    return r;
}

static const fc_score_mode modes[] = {FC_SCORE_LOGLIK_SUM, FC_SCORE_JUDGE, FC_SCORE_REWARD};

/* ---- drawing ---- */

/* If this fails, what is drawn comes from other weights than the adapter's. */
static void drawn_tokens_are_the_adapters(void **state) {
    fc_engine_options o = options();
    fc_engine *e;
    int n;
    int32_t *ids = prompt_ids(base(), prompt, &n), late[CTX];
    (void)state;
    memcpy(late, ids, (size_t)n * sizeof *ids);
    late[n / 2] = CALL;
    o.alignment = NULL;
    e = open_engine(&o);
    for (int a = -1; a < ADAPTERS; a++)
        for (int k = 0; k < 4; k++) { /* greedy or not; invoked or not; each again behind cached rows */
            fc_probe *p = probe(a);
            const int32_t *use = k / 2 ? late : ids;
            char what[64];
            snprintf(what, sizeof what, "%s, %s", a < 0 ? "base" : adapters()[a].name,
                     k / 2 ? "invoked" : "not invoked");
            for (int again = 0; again < 2; again++) {
                fc_request r = request_of(use, n, a, -1, FC_SCORE_LOGLIK_SUM);
                fc_event ev;
                r.score = false;
                if (k % 2) r.sampling.temperature = 0;
                ev = run_request(e, &r);
                drawn_as_probed(what, p, ev.result, use, n, k % 2);
                fc_event_fini(&ev);
            }
            fc_probe_close(p);
        }
    fc_memory_free(ids);
    fc_engine_close(e);
}

/* If this fails, searches run on the base. */
static void searches_go_through_the_adapter(void **state) {
    static const char *const names[] = {" music", " music video", " game", " gardening", " x", " movie night and day"};
    fc_engine_options o = options();
    fc_engine *e;
    (void)state;
    o.alignment = NULL;
    e = open_engine(&o);
    for (int a = -1; a <= OTHER; a++) {
        whole w;
        fc_request r = text_request(prompt, 6, 16);
        fc_event ev;
        whole_init(&w, base(), a < 0 ? NULL : adapters()[a].path, prompt, names, 6);
        r.names = names;
        r.n_names = 6;
        r.constraint = FC_CONSTRAINT_MASK;
        r.novelty_adapter = a < 0 ? NULL : adapters()[a].name;
        r.draw = FC_DRAW_EXACT;
        ev = run_request(e, &r);
        for (int i = 0; i < 6; i++) {
            assert_string_equal(ev.result->all[i].text, names[w.order[i]]);
            near("exact", i, ev.result->all[i].logprob, w.logprob[w.order[i]]);
        }
        fc_event_fini(&ev);
        whole_fini(&w);
    }
    fc_engine_close(e);
}

/* ---- scoring ---- */

/* If this fails, scores are the base's, or another adapter's, in one of the roles. */
static void scores_are_the_adapters(void **state) {
    fc_engine_options both[] = {options(), scoring_options()};
    int n;
    int32_t *ids = prompt_ids(base(), prompt, &n);
    (void)state;
    for (int k = 0; k < 2; k++) {
        fc_engine *e = open_engine(&both[k]);
        for (int a = -1; a < ADAPTERS; a++) {
            fc_probe *p = probe(a);
            for (int m = 0; m < 9; m++) { /* modes; without suffix, with one, and with the invocation in it */
                fc_request r = request_of(ids, n, k || m % 2 ? -1 : OTHER, a, modes[m / 3]);
                char what[96];
                fc_event ev;
                if (m % 3 && r.mode == FC_SCORE_LOGLIK_SUM) continue;
                if (m % 3) r.suffix = (fc_prompt){.ids = m % 3 == 1 ? plain_suffix : invoked, .n_ids = N_SUFFIX};
                snprintf(what, sizeof what, "%s, %s, suffix %d, %s", a < 0 ? "base" : adapters()[a].name,
                         fc_score_mode_name(r.mode), m % 3, k ? "its own model" : "one model");
                ev = run_request(e, &r);
                scored_as_probed(what, p, ev.result, &r, ids, n);
                fc_event_fini(&ev);
            }
            fc_probe_close(p);
        }
        fc_engine_close(e);
    }
    fc_memory_free(ids);
}

/* ---- what is reused ---- */

static int64_t scored_rows(fc_engine *e, const fc_request *r, int64_t *reused) {
    fc_event ev = run_request(e, r);
    int64_t rows = ev.result->accounting.rows_score;
    *reused = ev.result->accounting.rows_reused;
    fc_event_fini(&ev);
    return rows;
}

/* If this fails, KV of the base is thrown away where an adapter leaves it alone, or taken where it does not. Candidates
 * are given, so that the alignment model is the only one with rows. */
static void the_bases_rows_are_reused_where_they_are_the_same(void **state) {
    enum { ONE = 3 };
    static const int32_t one[ONE] = {60, 61, 62};
    const fc_given given = {.ids = one, .n_ids = ONE};
    fc_engine_options o = scoring_options();
    int n;
    int32_t *ids = prompt_ids(base(), prompt, &n);
    (void)state;
    o.off = FC_OFF_SCORE_CACHE;
    for (int a = 0; a < ADAPTERS; a++) {
        fc_engine *e = open_engine(&o);
        fc_request r = request_of(ids, n, -1, -1, FC_SCORE_REWARD);
        int64_t reused, rows, whole_prompt = n - 1; /* the last row is computed: its state may be wanted */
        r.given = &given;
        r.n_given = 1;
        r.suffix = (fc_prompt){.ids = a == LATE ? invoked : plain_suffix, .n_ids = N_SUFFIX};
        rows = scored_rows(e, &r, &reused);
        assert_int_equal(rows, n + ONE + N_SUFFIX);
        assert_int_equal(reused, 0);
        r.alignment_adapter = adapters()[a].name;
        rows = scored_rows(e, &r, &reused);
        if (a == HEAD || a == LATE) assert_int_equal(reused, whole_prompt);
        else assert_int_equal(reused, 0);
        assert_int_equal(rows + reused, n + ONE + N_SUFFIX);
        rows = scored_rows(e, &r, &reused); /* its own */
        assert_int_equal(reused, whole_prompt);
        r.alignment_adapter = NULL; /* the base's are there still */
        rows = scored_rows(e, &r, &reused);
        assert_int_equal(reused, whole_prompt);
        fc_engine_close(e);
    }
    fc_memory_free(ids);
}

/* aLoRA in the prompt: up to the invocation. One file in both roles: what drawing computed serves scoring. */
static void rows_before_the_invocation_are_reused(void **state) {
    fc_engine_options o = options();
    fc_engine *e = open_engine(&o);
    int n, at;
    int32_t *ids = prompt_ids(base(), prompt, &n);
    const char *const late = adapters()[LATE].name;
    fc_probe *p = probe(LATE);
    (void)state;
    at = n - 6;
    ids[at] = CALL;
    for (int k = 0; k < 3; k++) {
        fc_request r = request_of(ids, n, -1, -1, FC_SCORE_LOGLIK_SUM);
        fc_event ev;
        r.score = false;
        r.novelty_adapter = k ? late : NULL;
        ev = run_request(e, &r);
        assert_int_equal(ev.result->accounting.rows_reused, k ? at : 0);
        assert_int_equal(ev.result->prompt_cached, k ? at : 0);
        assert_int_equal(ev.result->accounting.rows_prefill, k ? n - at : n);
        if (k) drawn_as_probed("late", p, ev.result, ids, n, false);
        fc_event_fini(&ev);
    }
    for (int k = 0; k < 2; k++) { /* scores by the base, and by the adapter where it is invoked */
        fc_request r = request_of(ids, n, -1, k ? LATE : -1, FC_SCORE_REWARD);
        fc_event ev = run_request(e, &r);
        assert_int_equal(ev.result->accounting.rows_reused, n - 1 + (k ? at : n - 1));
        assert_int_equal(ev.result->prompt_cached, n - 1); /* the drawing model's alone */
        if (k) scored_as_probed("late", p, ev.result, &r, ids, n);
        fc_event_fini(&ev);
    }
    fc_probe_close(p);
    fc_memory_free(ids);
    fc_engine_close(e);
}

/* The reverse: an adapter comes first. If this fails, the base draws from an adapter's KV. */
static void what_an_adapter_changed_never_serves_the_base(void **state) {
    fc_engine_options o = options();
    int n;
    int32_t *ids = prompt_ids(base(), prompt, &n);
    fc_probe *p = probe(-1);
    (void)state;
    ids[n - 6] = CALL;
    o.alignment = NULL;
    for (int a = 0; a < ADAPTERS; a++) {
        const int same = a == HEAD ? n - 1 : a == LATE ? (n - 6) / 16 * 16 : 0; /* whole pages of an invoked prompt */
        fc_engine *e = open_engine(&o);
        for (int k = 0; k < 2; k++) {
            fc_request r = request_of(ids, n, k ? -1 : a, -1, FC_SCORE_LOGLIK_SUM);
            fc_event ev;
            r.score = false;
            ev = run_request(e, &r);
            assert_int_equal(ev.result->accounting.rows_reused, k ? same : 0);
            if (k) drawn_as_probed(adapters()[a].name, p, ev.result, ids, n, false);
            fc_event_fini(&ev);
        }
        fc_engine_close(e);
    }
    fc_probe_close(p);
    fc_memory_free(ids);
}

/* ---- the same bits ---- */

enum { CROWD = 18, POOL = 60 };

static fc_request member(int k, const int32_t *ids, const int32_t *late, int n) {
    fc_request r = request_of(k % 4 == 3 ? late : ids, n, k % 5 - 1, (k + 2) % 5 - 1, modes[k % 3]);
    if (k % 3 && k % 2) r.suffix = (fc_prompt){.ids = invoked, .n_ids = N_SUFFIX};
    r.seed = (uint64_t)k;
    return r;
}

/* All at once; returns how many preemptions there were. */
static int64_t crowd(const char *what, const fc_engine_options *o, bool strict, const fc_event *want,
                     const int32_t *ids, const int32_t *late, int n) {
    uint64_t id[CROWD];
    int64_t preemptions;
    fc_engine *e;
    if (strict) assert_ok(fc_engine_open_on(o, late_backend_open, &e));
    else e = open_engine(o);
    for (int k = 0; k < CROWD; k++) {
        fc_request r = member(k, ids, late, n);
        assert_ok(fc_submit(e, &r, &id[k]));
    }
    for (int left = CROWD; left > 0; left--) {
        fc_event ev;
        int k = 0;
        char name[96];
        assert_ok(fc_poll(e, 120000, &ev));
        if (ev.status) fail_msg("%s: %s", what, ev.error);
        while (id[k] != ev.id) k++;
        snprintf(name, sizeof name, "%s, request %d", what, k);
        assert_int_equal(ev.result->n_all, want[k].result->n_all);
        for (int i = 0; i < ev.result->n_all; i++)
            assert_same_candidate(name, &ev.result->all[i], &want[k].result->all[i]);
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_pages_used(e), 0);
    preemptions = fc_engine_stats(e).preemptions;
    fc_engine_close(e);
    return preemptions;
}

/* If this fails, adapters of requests in one batch disturb one another, or KV of one serves another. */
static void the_same_bits_in_every_crowd(void **state) {
    fc_engine_options o = options();
    int n;
    int32_t *ids = prompt_ids(base(), prompt, &n), late[CTX];
    fc_event want[CROWD];
    int64_t preemptions;
    (void)state;
    memcpy(late, ids, (size_t)n * sizeof *ids);
    late[n / 3] = CALL;
    for (int k = 0; k < CROWD; k++) { /* each in an engine of its own: nothing is cached */
        fc_engine *e = open_engine(&o);
        fc_request r = member(k, ids, late, n);
        want[k] = run_request(e, &r);
        fc_engine_close(e);
    }
    crowd("together", &o, false, want, ids, late, n);
    crowd("late backend", &o, true, want, ids, late, n);
    for (uint32_t bit = 1; bit < FC_OFF_ALL; bit *= 2) {
        o.off = bit;
        crowd(fc_off_name((fc_off)bit), &o, false, want, ids, late, n);
    }
    o.off = FC_OFF_ALL;
    crowd("all off", &o, false, want, ids, late, n);
    o.off = 0;
    o.threads = 3;
    o.page_slots = 8;
    o.max_rows = 7;
    crowd("3 threads, pages of 8, 7 rows", &o, false, want, ids, late, n);
    o.max_rows = 0;
    o.kv_pool = (uint64_t)POOL * 4096; /* of 8 slots: little more than one request needs */
    preemptions = crowd("small pool", &o, false, want, ids, late, n);
    preemptions += crowd("small pool, late backend", &o, true, want, ids, late, n);
    printf("%lld preemptions in pools of %d pages\n", (long long)preemptions, POOL);
    assert_true(preemptions > 0);
    for (int k = 0; k < CROWD; k++) fc_event_fini(&want[k]);
    fc_memory_free(ids);
}

/* ---- names ---- */

static void expect_open_fails(const fc_adapter_option *list, size_t n, const char *alignment, fc_status st,
                              const char *words) {
    fc_engine_options o = options();
    fc_engine *e;
    o.alignment = alignment;
    o.adapters = list;
    o.n_adapters = n;
    assert_fails(fc_engine_open(&o, &e), st, words);
}

/* If this fails, a request runs on other weights than it names. */
static void adapters_are_known_by_name(void **state) {
    const fc_adapter_option *a = adapters();
    const fc_adapter_option twice[] = {{"x", a[PLAIN].path, FC_NOVELTY}, {"x", a[OTHER].path, FC_NOVELTY}},
                            roles[] = {{"x", a[PLAIN].path, FC_NOVELTY}, {"x", a[OTHER].path, FC_ALIGNMENT}},
                            unnamed[] = {{"", a[PLAIN].path, FC_NOVELTY}}, nowhere[] = {{"x", "/nowhere", FC_NOVELTY}},
                            other[] = {{"x", a[PLAIN].path, FC_ALIGNMENT}};
    const char *qwen = tiny_model("gemma2", 5, false);
    fc_engine_options o = options();
    fc_engine *e;
    fc_request r = text_request("Hello", 1, 4);
    uint64_t id;
    (void)state;
    expect_open_fails(twice, 2, NULL, FC_ERR_ARG, "adapter \"x\": two");
    expect_open_fails(roles, 2, base(), FC_ERR_ARG, "adapter \"x\": two"); /* one model in both roles */
    expect_open_fails(unnamed, 1, NULL, FC_ERR_ARG, "name");
    expect_open_fails(nowhere, 1, NULL, FC_ERR_IO, "/nowhere");
    expect_open_fails(other, 1, NULL, FC_ERR_ARG, "adapter \"x\": there is no alignment model");
    expect_open_fails(other, 1, qwen, FC_ERR_FORMAT, "adapter_model.safetensors");
    e = open_engine(&o);
    r.novelty_adapter = "nobody";
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "novelty_adapter: no adapter \"nobody\"");
    r.novelty_adapter = NULL;
    r.alignment_adapter = "nobody";
    r.score = true;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "alignment_adapter: no adapter \"nobody\"");
    fc_engine_close(e);
    o.alignment = tiny_model("llama", 8, false); /* two models: an adapter belongs to one of them */
    e = open_engine(&o);
    r.alignment_adapter = "plain";
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "alignment_adapter: no adapter \"plain\"");
    r.alignment_adapter = NULL;
    r.mode = FC_SCORE_REWARD;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "reward head");
    fc_engine_close(e);
    o.alignment = NULL;
    e = open_engine(&o);
    r = text_request("Hello", 1, 4);
    r.alignment_adapter = "plain";
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "alignment_adapter");
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drawn_tokens_are_the_adapters),
        cmocka_unit_test(searches_go_through_the_adapter),
        cmocka_unit_test(scores_are_the_adapters),
        cmocka_unit_test(the_bases_rows_are_reused_where_they_are_the_same),
        cmocka_unit_test(rows_before_the_invocation_are_reused),
        cmocka_unit_test(what_an_adapter_changed_never_serves_the_base),
        cmocka_unit_test(the_same_bits_in_every_crowd),
        cmocka_unit_test(adapters_are_known_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
