/* Exactness over random scenarios: models, KV types, requests, priorities and cancels are drawn from a seed. Every
 * request is answered alone by a plain engine (pages of 16, 2 threads, rows and branches by default, all sharing on),
 * then together with the others and with some that are cancelled, by an engine of another shape: another page size and
 * batch, a KV pool in which not all find room at once, some of the sharing off, every third on the late backend, where
 * two batches are under way and drawn tokens come one step late. The same bits each time.
 *
 *   test_scenarios [SEED [SCENARIOS [FIRST]]]
 */
#include "engine/engine.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_late.h"

#include "kernels/cpu/cpu.h"

enum { MAX_REQUESTS = 6, MAX_COPIES = 5, MAX_TEXT = 120, CTX = 256, OTHER_V = 400, MAX_NAMES = 12, MAX_NAME = 32 };

static uint64_t base_seed = 20250612;
static int n_scenarios, first_scenario;
static fc_sched_stats total;
static int n_constrained[FC_CONSTRAINT_REJECT + 1]; /* requests of each kind, with names */
static int n_preempted;                             /* candidates of requests that gave way and went on */
static int64_t n_rows;                              /* of answers that were compared */
static int n_searches, n_waves, n_read; /* draws over a trie; with rules when to stop; prompts with log-probs */

typedef struct {
    char text[MAX_TEXT + 1], align_text[MAX_TEXT + 1];
    int32_t ids[MAX_TEXT];
    int32_t bias_ids[3];
    float bias_values[3];
    char name_text[MAX_NAMES][MAX_NAME];
    const char *names[MAX_NAMES];
    int32_t allowed[OTHER_V / 2], asked[3];
    fc_piece piece, align_piece, suffix;
    fc_request r;
    int n_less; /* candidates that the other engine draws */
    int priority;
    fc_event want;
} ask;

typedef struct {
    uint64_t s;
    fc_engine_options plain, other;
    bool same_tokenizer, late;
    int n;
    ask asks[MAX_REQUESTS];
    char what[256];
} scenario;

/* ---- drawing a scenario ---- */

static bool chance(scenario *c, int of) { return test_below(&c->s, of) == 0; }

static const char *family(scenario *c) {
    static const char *const names[] = {"llama", "qwen2", "qwen3", "gemma2", "gemma3"};
    return names[test_below(&c->s, 5)];
}

/* On CUDA, which is emulated, of each kind a smaller one. Gemma 3 keeps the layers that make the sixth a global one. */
static const char *model(fc_tiny_options o) {
    if (engine_opener) {
        o.V = o.V ? o.V : 320;
        o.L = strcmp(o.arch, "gemma3") ? 1 : 0;
        o.F = 64;
    }
    return tiny_model_of(&o);
}

static void pick_models(scenario *c) {
    static const fc_dtype types[] = {FC_Q4_0, FC_Q8_0, FC_BF16, FC_F16};
    fc_engine_options *o = &c->plain;
    c->same_tokenizer = true;
    if (chance(c, 4))
        o->novelty = model((fc_tiny_options){.arch = "llama", .seed = 11, .type = types[test_below(&c->s, 4)]});
    else o->novelty = model((fc_tiny_options){.arch = family(c), .seed = 1, .reward_head = true});
    switch (test_below(&c->s, 5)) {
    case 0: break; /* none: ranked by log-prob */
    case 1: o->alignment = o->novelty; break;
    case 2:
        o->alignment = model((fc_tiny_options){.arch = "llama", .seed = 3, .reward_head = true, .V = OTHER_V});
        c->same_tokenizer = false;
        break;
    default: o->alignment = model((fc_tiny_options){.arch = family(c), .seed = 2, .reward_head = true});
    }
}

static void pick_engines(scenario *c) {
    static const char *const kv[] = {NULL, "f32", "bf16", "int8", "fp8"};
    static const int pages[] = {8, 16, 32, 64};
    fc_cpu_level level = (fc_cpu_level)(FC_CPU_PORTABLE + test_below(&c->s, (int)fc_cpu_best() - FC_CPU_PORTABLE + 1));
    c->plain = (fc_engine_options){.threads = 2, .page_slots = 16, .ctx = CTX, .cpu = fc_cpu_level_name(level)};
    c->plain.kv_type = kv[test_below(&c->s, 5)];
    pick_models(c);
    if (engine_opener) c->plain.kv_pool = 32 << 20; /* zeroing the usual one takes emulation longer than a scenario */
    c->other = c->plain;
    c->other.page_slots = pages[test_below(&c->s, 4)];
    c->other.threads = 1 + test_below(&c->s, 4);
    c->other.max_rows = chance(c, 3) ? 0 : 1 + test_below(&c->s, chance(c, 2) ? 12 : 200);
    c->other.score_rows = 1 + test_below(&c->s, 100);
    if (!chance(c, 3)) c->other.off = (uint32_t)test_below(&c->s, FC_OFF_ALL + 1);
    if (chance(c, 12)) c->other.off = FC_OFF_ALL;
    c->late = chance(c, 3);
}

static const char *const scraps[] = {"the ", "night ", "x", "naive ", "\n", "house ", "7", "? ", "craft ", "\xC3\xA9"};

static int pick_text(scenario *c, char *out) {
    int size = 0, want = 1 + test_below(&c->s, chance(c, 2) ? 20 : MAX_TEXT - 8);
    while (size < want) {
        const char *w = scraps[test_below(&c->s, 10)];
        memcpy(out + size, w, strlen(w));
        size += (int)strlen(w);
    }
    out[size] = '\0';
    return size;
}

static void pick_sampling(scenario *c, ask *a) {
    static const float temperatures[] = {0.0f, 0.4f, 1.0f, 1.0f, 1.4f};
    static const char *const stops[] = {"the", " w"};
    fc_sampling *s = &a->r.sampling;
    /* at least 8 where the tokenizers differ: four times as many ids are promised room, not four times of each one */
    s->max_tokens = c->same_tokenizer ? 1 + test_below(&c->s, 16) : 8 + test_below(&c->s, 9);
    s->min_tokens = chance(c, 4) ? test_below(&c->s, s->max_tokens + 1) : 0;
    s->temperature = temperatures[test_below(&c->s, 5)];
    s->top_k = chance(c, 3) ? 1 + test_below(&c->s, 30) : 0;
    s->top_p = chance(c, 3) ? 0.8f : 1.0f;
    s->min_p = chance(c, 4) ? 0.05f : 0.0f;
    s->typical_p = chance(c, 4) ? 0.7f : 1.0f;
    s->repetition_penalty = chance(c, 4) ? 1.3f : 1.0f;
    s->presence_penalty = chance(c, 4) ? 0.7f : 0.0f;
    s->frequency_penalty = chance(c, 4) ? 0.4f : 0.0f;
    s->ignore_eos = chance(c, 5);
    s->top_logprobs = chance(c, 3) ? 3 : 0;
    a->bias_ids[0] = 2; /* the end token: candidates of many lengths */
    a->bias_values[0] = 2.5f;
    s->bias_ids = a->bias_ids;
    s->bias_values = a->bias_values;
    s->n_bias = (size_t)test_below(&c->s, 2);
    if (chance(c, 4)) {
        s->stop = stops;
        s->n_stop = 2;
    }
}

/* Names of one to three words, different ones; under reject, of x and 7, which the bias makes frequent. */
static void pick_names(scenario *c, ask *a, bool frequent) {
    int want = 1 + test_below(&c->s, MAX_NAMES), n = 0;
    for (int tries = 0; n < want && tries < 100; tries++) {
        char *t = a->name_text[n];
        bool again = false;
        t[0] = '\0';
        for (int k = test_below(&c->s, 3); k >= 0; k--)
            strcat(t, frequent ? chance(c, 2) ? "x" : "7" : scraps[test_below(&c->s, 10)]);
        for (int i = 0; i < n; i++) again = again || strcmp(a->name_text[i], t) == 0;
        a->names[n] = t;
        n += !again;
    }
    a->r.names = a->names;
    a->r.n_names = (size_t)n;
}

static void pick_constraint(scenario *c, ask *a) {
    fc_sampling *s = &a->r.sampling;
    if (chance(c, 2)) return;
    a->r.constraint = (fc_constraint)test_below(&c->s, FC_CONSTRAINT_REJECT + 1);
    a->r.reject_budget = test_below(&c->s, 6);
    a->r.full_logprob = chance(c, 3) && a->r.constraint == FC_CONSTRAINT_MASK;
    pick_names(c, a, a->r.constraint != FC_CONSTRAINT_MASK);
    n_constrained[a->r.constraint]++;
    if (a->r.constraint == FC_CONSTRAINT_MASK) {
        s->min_tokens = 0;
        s->max_tokens = MAX_NAME;
        return;
    }
    for (int i = 1; i < 3; i++) { /* a byte's id is 3 more: weights_tools/tiny_tok.h */
        a->bias_ids[i] = i == 1 ? 'x' + 3 : '7' + 3;
        a->bias_values[i] = 4.0f;
    }
    a->bias_values[0] = 4.0f;
    s->n_bias = 3;
}

static void pick_scoring(scenario *c, ask *a) {
    static const char *const labels[] = {"a", "b", "c"};
    fc_request *r = &a->r;
    if (!c->plain.alignment || chance(c, 8)) return;
    r->score = true;
    r->mode = (fc_score_mode)test_below(&c->s, FC_SCORE_JUDGE + 1);
    if (strstr(c->plain.alignment, "reward") == NULL && r->mode == FC_SCORE_REWARD) r->mode = FC_SCORE_LOGLIK_SUM;
    if (chance(c, 2)) {
        a->align_piece = (fc_piece){.text = a->align_text, .size = (size_t)pick_text(c, a->align_text)};
        r->alignment_prompt = (fc_prompt){.pieces = &a->align_piece, .n_pieces = 1};
    }
    if (r->mode >= FC_SCORE_REWARD && chance(c, 2)) {
        a->suffix = (fc_piece){.text = " good?", .size = 6};
        r->suffix = (fc_prompt){.pieces = &a->suffix, .n_pieces = 1};
    }
    if (r->mode == FC_SCORE_JUDGE) {
        r->labels = labels;
        r->n_labels = 3;
    }
}

/* Another draw than i.i.d. over the names. */
static void pick_search(scenario *c, ask *a) {
    fc_request *r = &a->r;
    if (r->constraint != FC_CONSTRAINT_MASK || chance(c, 2)) return;
    r->draw = (fc_draw_mode)(FC_DRAW_SBS + test_below(&c->s, 4));
    r->full_logprob = false;
    fc_sampling_init(&r->sampling);
    r->sampling.max_tokens = MAX_NAME;
    if (r->draw == FC_DRAW_SBS && chance(c, 2)) r->sampling.temperature = 1.4f;
    a->n_less = r->n; /* weights are those of n */
    n_searches++;
}

/* Rules when enough is drawn; these depend on candidates alone. */
static void pick_rules(scenario *c, ask *a) {
    static const char *const rules[] = {NULL, "stable:3", "stable:9", "margin:0.7"};
    fc_request *r = &a->r;
    if (r->draw != FC_DRAW_IID || !chance(c, 4)) return;
    r->n = 1 + test_below(&c->s, 12);
    r->n_max = r->n + test_below(&c->s, 40);
    r->stop_when = rules[test_below(&c->s, r->score ? 4 : 3)];
    r->keep = 1 + test_below(&c->s, 4);
    a->n_less = r->n;
    n_waves++;
}

static void pick_fields(scenario *c, ask *a) {
    static const char *const bad[] = {"house", "x"};
    fc_request *r = &a->r;
    fc_sampling *s = &r->sampling;
    r->prompt_logprobs = chance(c, 4);
    r->prompt_top_logprobs = r->prompt_logprobs ? test_below(&c->s, 4) : 0;
    n_read += r->prompt_logprobs;
    s->skip_special = !chance(c, 4);
    if (r->draw != FC_DRAW_IID) return;
    s->include_stop = chance(c, 4);
    if (chance(c, 4)) {
        for (int i = 0; i < 3; i++) a->asked[i] = test_below(&c->s, OTHER_V - 100);
        s->logprob_ids = a->asked;
        s->n_logprob_ids = 3;
    }
    if (r->constraint == FC_CONSTRAINT_MASK) return; /* no name may be left */
    if (chance(c, 6)) {
        s->bad_words = bad;
        s->n_bad_words = 2;
    }
    if (chance(c, 6)) { /* the end token and letters */
        for (int i = 0; i < OTHER_V / 2; i++) a->allowed[i] = 2 + i;
        s->allowed_ids = a->allowed;
        s->n_allowed = OTHER_V / 2;
    }
}

static void pick_ask(scenario *c, ask *a) {
    fc_request *r = &a->r;
    fc_request_init(r);
    if (c->same_tokenizer && chance(c, 4)) {
        int n = 1 + test_below(&c->s, MAX_TEXT);
        for (int i = 0; i < n; i++) a->ids[i] = test_below(&c->s, OTHER_V - 100);
        r->prompt = (fc_prompt){.ids = a->ids, .n_ids = (size_t)n};
    } else {
        a->piece = (fc_piece){.text = a->text, .size = (size_t)pick_text(c, a->text)};
        r->prompt = (fc_prompt){.pieces = &a->piece, .n_pieces = 1};
    }
    r->n = 1 + test_below(&c->s, chance(c, 2) ? 8 : 64);
    r->seed = fc_rng_next(&c->s);
    a->n_less = chance(c, 2) ? r->n : 1 + test_below(&c->s, r->n);
    a->priority = test_below(&c->s, 3);
    pick_sampling(c, a);
    pick_constraint(c, a);
    pick_scoring(c, a);
    pick_search(c, a);
    pick_rules(c, a);
    pick_fields(c, a);
}

/* ---- the two runs ---- */

/* KV bytes that the largest request just fits in, as the refusals say: the others wait for pages, or give way. */
static uint64_t pool_for(scenario *c) {
    fc_engine_options o;
    static const char words[] = "raise kv_pool to ";
    uint64_t least = 1 << 18, id;
    for (int i = 0; i < c->n; i++) {
        fc_engine *e;
        fc_request r = c->asks[i].r;
        fc_event ev;
        const char *at;
        fc_status st;
        o = c->other;
        o.kv_pool = least;
        e = open_engine(&o);
        r.n = c->asks[i].n_less;
        st = fc_submit(e, &r, &id);
        if (st) {
            assert_int_equal(st, FC_ERR_ARG);
            at = strstr(fc_last_error(), words);
            assert_non_null(at);
            least = strtoull(at + strlen(words), NULL, 10);
            i--; /* the other model's pool may need more */
        } else {
            assert_ok(fc_cancel(e, id));
            assert_ok(fc_poll(e, -1, &ev));
            fc_event_fini(&ev);
        }
        fc_engine_close(e);
    }
    return least + least * (uint64_t)test_below(&c->s, 3) / 8;
}

static bool same_confidence(const fc_confidence *a, const fc_confidence *b) {
    const double x[] = {a->logprob, a->entropy, a->vote_share, a->margin, a->valid_mass};
    const double y[] = {b->logprob, b->entropy, b->vote_share, b->margin, b->valid_mass};
    return memcmp(x, y, sizeof x) == 0 && a->distinct == b->distinct && a->n_used == b->n_used; /* NAN is NAN */
}

static void compare_prompts(const char *what, const fc_result *got, const fc_result *want) {
    size_t n = got->prompt_tokens, tops = n * (size_t)got->prompt_top_n;
    if (!want->prompt_logprobs) return;
    if (n != want->prompt_tokens || memcmp(got->prompt_logprobs, want->prompt_logprobs, n * 4) != 0)
        fail_msg("%s: other log-probs of the prompt", what);
    if (tops && (memcmp(got->prompt_top_ids, want->prompt_top_ids, tops * 4) != 0 ||
                 memcmp(got->prompt_top_logprobs, want->prompt_top_logprobs, tops * 4) != 0))
        fail_msg("%s: other top log-probs of the prompt", what);
}

static void compare(const scenario *c, const ask *a, const fc_event *ev, int k) {
    const fc_result *got = ev->result, *want = a->want.result;
    char what[320];
    snprintf(what, sizeof what, "%s, request %d (n %d)", c->what, k, a->n_less);
    if (ev->status) fail_msg("%s: %s", what, ev->error);
    if (got->n_all != (a->n_less == a->r.n ? want->n_all : a->n_less))
        fail_msg("%s: %d candidates, %d of the whole (n %d, n_max %d, stop_when %s, draw %s, constraint %s)", what,
                 got->n_all, want->n_all, a->r.n, a->r.n_max, a->r.stop_when ? a->r.stop_when : "none",
                 fc_draw_name(a->r.draw), fc_constraint_name(a->r.constraint));
    compare_prompts(what, got, want);
    for (int i = 0; i < got->n_all; i++) {
        const fc_candidate *x = &got->all[i], *y = &want->all[i];
        size_t tops = x->n_logprobs * (size_t)x->top_n;
        assert_same_candidate(what, x, y);
        if (x->text_size != y->text_size || memcmp(x->text, y->text, x->text_size) != 0)
            fail_msg("%s: candidate %d: another text", what, i);
        if (x->top_n != y->top_n || (tops && (memcmp(x->top_ids, y->top_ids, tops * sizeof *x->top_ids) != 0 ||
                                              memcmp(x->top_logprobs, y->top_logprobs, tops * sizeof(float)) != 0)))
            fail_msg("%s: candidate %d: other top log-probs", what, i);
        if (x->n_ids && memcmp(x->id_logprobs, y->id_logprobs, x->n_logprobs * (size_t)x->n_ids * sizeof(float)) != 0)
            fail_msg("%s: candidate %d: other log-probs of ids", what, i);
        if (memcmp(&x->gumbel, &y->gumbel, sizeof x->gumbel) != 0 ||
            memcmp(&x->weight, &y->weight, sizeof x->weight) != 0)
            fail_msg("%s: candidate %d: gumbel %.9g, weight %.9g, not %.9g, %.9g", what, i, x->gumbel, x->weight,
                     y->gumbel, y->weight);
        if (x->valid != y->valid || memcmp(&x->full_logprob, &y->full_logprob, sizeof x->full_logprob) != 0)
            fail_msg("%s: candidate %d: valid %d, not %d; full log-prob %.9g, not %.9g", what, i, x->valid, y->valid,
                     x->full_logprob, y->full_logprob);
    }
    if (got->n_all != want->n_all) return; /* ranks and votes are of the whole */
    if (got->n_kept != want->n_kept || !same_confidence(&got->confidence, &want->confidence))
        fail_msg("%s: another confidence record", what);
    /* where a rule ends drawing, how far the others had come is a matter of batches */
    if (!a->r.stop_when) assert_int_equal(got->accounting.redraws, want->accounting.redraws);
    for (int i = 0; i < got->n_kept; i++)
        if (got->kept[i].index != want->kept[i].index || got->kept[i].votes != want->kept[i].votes)
            fail_msg("%s: another candidate at rank %d", what, i + 1);
}

/* An answer that was the same bits. Only a preemption lets rows be computed again where nothing is drawn again and no
 * names are searched. */
static void count(const fc_request *r, const fc_result *got) {
    const fc_accounting *a = &got->accounting;
    if (r->n_names == 0 && a->rows_replayed > 0) n_preempted += got->n_all;
    n_rows += a->rows_prefill + a->rows_decode + a->rows_score + a->rows_replayed;
}

typedef struct {
    uint64_t id;
    int ask;
    bool cancelled, done;
} flight;

/* All requests at once, each up to MAX_COPIES times; all but the first ones may be cancelled on the way. Returns how
 * many were. */
static int fly(scenario *c, fc_engine *e) {
    flight f[MAX_COPIES * MAX_REQUESTS];
    int n = 0, left, cancelled = 0, copies = 2 + test_below(&c->s, MAX_COPIES - 1);
    for (int i = 0; i < copies * c->n; i++) {
        fc_request r = c->asks[i % c->n].r;
        if (i >= c->n && chance(c, 3)) continue;
        r.n = c->asks[i % c->n].n_less;
        r.priority = c->asks[i % c->n].priority;
        r.events = chance(c, 2);
        f[n] = (flight){.ask = i % c->n, .cancelled = i >= c->n && !chance(c, 3)};
        assert_ok(fc_submit(e, &r, &f[n].id));
        if (f[n].cancelled && chance(c, 3)) assert_ok(fc_cancel(e, f[n].id)); /* before it began, as a rule */
        n++;
    }
    for (left = n; left > 0;) {
        fc_event ev;
        int k = 0;
        assert_ok(fc_poll(e, ENGINE_PATIENCE, &ev));
        while (f[k].id != ev.id) k++;
        for (int i = 0; i < n; i++)
            if (f[i].cancelled && chance(c, 20)) assert_ok(fc_cancel(e, f[i].id));
        if (ev.type == FC_EVENT_DONE) {
            assert_false(f[k].done);
            f[k].done = true;
            left--;
            if (f[k].cancelled && ev.status == FC_ERR_CANCELLED) cancelled++;
            else {
                compare(c, &c->asks[f[k].ask], &ev, f[k].ask);
                count(&c->asks[f[k].ask].r, ev.result);
            }
        }
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_pages_used(e), 0);
    return cancelled;
}

static void describe(scenario *c, int number, bool tight) {
    const char *align = c->plain.alignment ? strrchr(c->plain.alignment, '/') + 1 : "none";
    snprintf(c->what, sizeof c->what,
             "seed %llu, scenario %d: %s + %s, %s, KV %s, pages of %d, %d threads, %d rows, off %x%s%s",
             (unsigned long long)base_seed, number, strrchr(c->plain.novelty, '/') + 1, align, c->plain.cpu,
             c->plain.kv_type ? c->plain.kv_type : "default", c->other.page_slots, c->other.threads, c->other.max_rows,
             (unsigned)c->other.off, tight ? ", small pool" : "", c->late ? ", late" : "");
}

static void add_stats(fc_sched_stats s) {
    total.preemptions += s.preemptions;
    total.splits += s.splits;
    total.redraws += s.redraws;
    total.shared_tiles += s.shared_tiles;
    total.cross_groups += s.cross_groups;
    total.evicted_pages += s.evicted_pages;
    total.partial_copies += s.partial_copies;
}

static void one_scenario(int number, int *candidates, int *cancelled) {
    scenario *c = calloc(1, sizeof *c);
    fc_engine *e;
    int widest = 0, preempted = n_preempted;
    bool tight;
    assert_non_null(c);
    c->s = base_seed * 1000003u + (uint64_t)number;
    pick_engines(c);
    c->n = 1 + test_below(&c->s, MAX_REQUESTS);
    for (int i = 0; i < c->n; i++) {
        pick_ask(c, &c->asks[i]);
        if (c->asks[i].r.n > widest) widest = c->asks[i].r.n;
    }
    e = open_engine(&c->plain);
    tight = !chance(c, 3);
    if (chance(c, 2)) c->other.max_branches = widest + 24; /* with room for the tables of a score tree */
    if (tight) c->other.kv_pool = pool_for(c);
    describe(c, number, tight);
    for (int i = 0; i < c->n; i++) {
        c->asks[i].want = run_request(e, &c->asks[i].r);
        *candidates += c->asks[i].n_less;
    }
    fc_engine_close(e);
    if (c->late && !engine_opener) assert_ok(fc_engine_open_on(&c->other, late_backend_open, &e));
    else e = open_engine(&c->other);
    *cancelled += fly(c, e);
    add_stats(fc_engine_stats(e));
    if (fc_engine_stats(e).preemptions == 0) assert_int_equal(n_preempted, preempted);
    fc_engine_close(e);
    for (int i = 0; i < c->n; i++) fc_event_fini(&c->asks[i].want);
    free(c);
}

/* If this fails, an answer depends on what stands around it. The scenario's line says how to run it alone. */
static void random_scenarios_are_exact(void **state) {
    int candidates = 0, cancelled = 0;
    (void)state;
    print_message("seed %llu, scenarios %d to %d\n", (unsigned long long)base_seed, first_scenario,
                  first_scenario + n_scenarios - 1);
    for (int i = first_scenario; i < first_scenario + n_scenarios; i++) one_scenario(i, &candidates, &cancelled);
    print_message("%d scenarios: %d candidates and %lld rows are the same bits; %d cancels, %lld preemptions, %d "
                  "candidates came back from one, %lld evicted pages, %lld splits, %lld copies of part of a page, %lld "
                  "shared tiles, %lld groups across requests, %d masked requests, %d that reject with %lld redraws, %d "
                  "searches, %d with rules, %d prompts with log-probs\n",
                  n_scenarios, candidates, (long long)n_rows, cancelled, (long long)total.preemptions, n_preempted,
                  (long long)total.evicted_pages, (long long)total.splits, (long long)total.partial_copies,
                  (long long)total.shared_tiles, (long long)total.cross_groups, n_constrained[FC_CONSTRAINT_MASK],
                  n_constrained[FC_CONSTRAINT_REJECT], (long long)total.redraws, n_searches, n_waves, n_read);
    if (n_scenarios >= 25) assert_true(n_preempted > 0);
    if (n_scenarios < 1000) return;
    assert_true(cancelled >= 100 && total.preemptions >= 100 && total.evicted_pages >= 100 && total.splits >= 100);
    assert_true(total.partial_copies >= 100 && total.cross_groups >= 100);
    assert_true(n_constrained[FC_CONSTRAINT_MASK] >= 100 && total.redraws >= 100);
    assert_true(n_searches >= 100 && n_waves >= 100 && n_read >= 100);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_scenarios_are_exact)};
    if (argc > 1) base_seed = strtoull(argv[1], NULL, 10);
    n_scenarios = argc > 2 ? atoi(argv[2]) : test_cases(50);
    if (argc > 3) first_scenario = atoi(argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
