/* Constraint mask: what is computed for it, counted against the arithmetic, and the same bits with each switch off. */
#include "engine/engine.h"
#include "engine/model_tok.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_exact.h"
#include "tests/engine/util_late.h"
#include "tests/engine/util_names.h"

enum { LONGEST = 32, MANY = 761 };

static const char prompt[] = "Name one interest of this person:";
static const char *const alike[] = {"The History of Art", "The History of Music", "The History of Food"};
static const char *const single[] = {"Documentary"};

/* ---- many names of 3 to 6 tokens ---- */

static char many_text[MANY][96];
static const char *many_names[MANY];

/* Two words of a short list choose the name: what follows them is said in one way only. */
static void make_many(const fc_tok *tok) {
    enum { WORDS = 28 };
    fc_str word[WORDS] = {{0}};
    int n = 0;
    for (int32_t id = (int32_t)fc_tok_size(tok) - 1; n < WORDS && id > 258; id--) {
        word[n].size = 0;
        assert_ok(fc_tok_piece(tok, id, false, &word[n]));
        n += word[n].size >= 4 && word[n].data[0] == ' '; /* whole words, with the blank in front */
    }
    assert_int_equal(n, WORDS);
    for (int i = 0; i < MANY; i++) {
        char *t = many_text[i];
        int a = i / WORDS, b = i % WORDS;
        t += sprintf(t, "%s%s", word[a].data, word[b].data);
        for (int k = 0; k <= (a + b) % 4; k++) t += sprintf(t, "%s", word[(a * 5 + b * 3 + k) % WORDS].data);
        many_names[i] = many_text[i];
    }
    for (int i = 0; i < WORDS; i++) fc_str_fini(&word[i]);
}

/* ---- the arithmetic ---- */

typedef struct {
    int64_t prefill, decode, batches;
} rows;

/* Depth of the last node of a name's path at which a row is needed: the last one that branches; forced off, the leaf's
 * parent. -1: none. */
static int last_row(const fc_trie *t, int leaf, uint32_t off) {
    for (int node = t->parent[leaf]; node >= 0; node = t->parent[node])
        if (t->n_children[node] > 1 || (off & FC_OFF_FORCED)) return t->depth[node];
    return -1;
}

/* Edges from the root that all names share. */
static int common_edges(const fc_trie *t, uint32_t off) { return off & FC_OFF_FORCED ? 0 : fc_trie_forced(t, 0); }

static rows expected_rows(const exact *x, const fc_result *r, uint32_t off) {
    const fc_trie *t = x->trie;
    uint8_t *seen = calloc((size_t)t->n_nodes, 1);
    bool alone = off & FC_OFF_FORK, apart = alone || (off & FC_OFF_COALESCE);
    int common = common_edges(t, off);
    rows n = {0};
    assert_non_null(seen);
    for (int i = 0; i < r->n_all; i++) {
        int leaf = t->leaf[exact_name(x, &r->all[i])], last = last_row(t, leaf, off);
        if (last < 0) continue;
        if (alone || n.prefill == 0) n.prefill += x->n_prompt;
        if (alone) n.decode += last;
        else if (apart) n.decode += last - common;
        for (int node = leaf; node > 0 && !apart; node = t->parent[node])
            if (t->depth[node] <= last && !seen[node]) {
                seen[node] = 1;
                n.decode++;
            }
    }
    if (apart && !alone && n.prefill) n.decode += common;
    free(seen);
    return n;
}

/* Passes of one candidate: the prompt's, which holds the ids that all names begin with, and one for each choice. */
static int64_t expected_batches(const exact *x, const fc_candidate *c) {
    const fc_trie *t = x->trie;
    int64_t n = 0;
    for (int node = t->parent[t->leaf[exact_name(x, c)]]; node >= 0; node = t->parent[node])
        n += t->n_children[node] > 1;
    return n;
}

static fc_request names_request(const exact *x, int n) {
    fc_request r = text_request(prompt, n, LONGEST);
    r.names = x->names;
    r.n_names = (size_t)x->n;
    r.constraint = FC_CONSTRAINT_MASK;
    return r;
}

typedef struct {
    const char *what, *const *names;
    int n;
} set;

static const set sets[] = {
    {"mixed", mixed_names, MIXED}, {"begin alike", alike, 3}, {"one", single, 1}, {"761", many_names, MANY}};
enum { SETS = sizeof sets / sizeof *sets };

/* ---- rows ---- */

static void count_rows(const exact *x, const set *s, const fc_engine_options *o, int n, bool full) {
    fc_engine *e = open_engine(o);
    fc_request r = names_request(x, n);
    fc_event ev;
    uint32_t off = full ? o->off | FC_OFF_FORCED : o->off; /* something is to be said of every id */
    rows want;
    r.full_logprob = full;
    ev = run_request(e, &r);
    want = expected_rows(x, ev.result, off);
    print_message("%-12s off %3x%s n %3d: %4d prompt rows, %4d decode rows\n", s->what, (unsigned)o->off,
                  full ? " full" : "     ", n, (int)want.prefill, (int)want.decode);
    assert_int_equal(ev.result->accounting.rows_prefill, want.prefill);
    assert_int_equal(ev.result->accounting.rows_decode, want.decode);
    assert_int_equal(ev.result->accounting.rows_replayed, 0);
    if (n == 1 && off == 0) assert_int_equal(fc_engine_stats(e).batches, expected_batches(x, &ev.result->all[0]));
    fc_event_fini(&ev);
    fc_engine_close(e);
}

/* If this fails, ids are computed that the names leave no choice about, or one by one instead of in a chunk. */
static void only_choices_are_computed(void **state) {
    fc_engine_options o = {.novelty = tiny_model("llama", 21, false), .threads = 2, .ctx = 256};
    (void)state;
    for (int i = 0; i < SETS; i++) {
        static const uint32_t offs[] = {0,           FC_OFF_FORCED,          FC_OFF_COALESCE,
                                        FC_OFF_FORK, FC_OFF_RESTRICTED_HEAD, FC_OFF_FORCED | FC_OFF_COALESCE,
                                        FC_OFF_ALL};
        exact x;
        exact_open(&x, o.novelty, prompt, sets[i].names, sets[i].n);
        for (size_t k = 0; k < sizeof offs / sizeof *offs; k++)
            for (int n = 1; n <= 64; n *= 8) {
                o.off = offs[k];
                count_rows(&x, &sets[i], &o, n, false);
            }
        o.off = 0;
        count_rows(&x, &sets[i], &o, 64, true);
        exact_close(&x);
    }
}

/* If this fails, 64 candidates of a large taxonomy cost as much as 64 candidates. */
static void a_large_taxonomy_takes_few_rows(void **state) {
    fc_engine_options o = {.novelty = tiny_model("llama", 21, false), .threads = 2, .ctx = 256};
    fc_engine *e = open_engine(&o);
    int64_t ids = 0, most;
    exact x;
    (void)state;
    exact_open(&x, o.novelty, prompt, many_names, MANY);
    for (int i = 0; i < MANY; i++) {
        int length = x.trie->depth[x.trie->leaf[i]] - 1;
        assert_in_range(length, 3, 6);
        ids += length;
    }
    most = 64 * ids / MANY / 5;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        fc_request r = names_request(&x, 64);
        fc_event ev;
        r.seed = seed;
        ev = run_request(e, &r);
        if (seed == 1)
            print_message("761 names of %.2f ids, n = 64: %d rows, fewer than %d\n", (double)ids / MANY,
                          (int)ev.result->accounting.rows_decode, (int)most);
        assert_true(ev.result->accounting.rows_decode < most);
        fc_event_fini(&ev);
    }
    exact_close(&x);
    fc_engine_close(e);
}

/* ---- bits ---- */

typedef struct {
    const char *what;
    fc_request r;
} variant;

static void assert_same_result(const char *what, const fc_result *a, const fc_result *b) {
    assert_int_equal(a->n_all, b->n_all);
    for (int i = 0; i < a->n_all; i++) {
        const fc_candidate *x = &a->all[i], *y = &b->all[i];
        assert_same_candidate(what, x, y);
        if (memcmp(&x->full_logprob, &y->full_logprob, sizeof x->full_logprob) != 0 || x->valid != y->valid)
            fail_msg("%s: candidate %d: full log-prob %.17g, not %.17g; valid %d, %d", what, i, x->full_logprob,
                     y->full_logprob, x->valid, y->valid);
        assert_int_equal(x->top_n, y->top_n);
        if (x->top_n)
            assert_memory_equal(x->top_logprobs, y->top_logprobs, x->n_logprobs * (size_t)x->top_n * sizeof(float));
    }
    assert_int_equal(a->n_kept, b->n_kept);
    for (int i = 0; i < a->n_kept; i++) {
        assert_int_equal(a->kept[i].index, b->kept[i].index);
        assert_int_equal(a->kept[i].votes, b->kept[i].votes);
    }
    if (memcmp(&a->confidence.valid_mass, &b->confidence.valid_mass, sizeof a->confidence.valid_mass) != 0)
        fail_msg("%s: valid mass %.17g, not %.17g", what, a->confidence.valid_mass, b->confidence.valid_mass);
}

static int make_variants(const exact *x, variant *v) {
    static const int32_t ids[] = {40, 305, 77};
    static const float values[] = {2.0f, -1.0f, 4.0f};
    static const char *const labels[] = {"a", "b"};
    for (int i = 0; i < 5; i++) {
        v[i].r = names_request(x, 24);
        v[i].r.score = true;
    }
    v[0].what = "plain";
    v[1].what = "full log-probs";
    v[1].r.full_logprob = true;
    v[2].what = "top log-probs, judged";
    v[2].r.sampling.top_logprobs = 4;
    v[2].r.mode = FC_SCORE_JUDGE;
    v[2].r.labels = labels;
    v[2].r.n_labels = 2;
    v[3].what = "penalties and bias, loglik-sum";
    v[3].r.mode = FC_SCORE_LOGLIK_SUM;
    v[3].r.sampling.repetition_penalty = 1.5f;
    v[3].r.sampling.presence_penalty = 0.7f;
    v[3].r.sampling.frequency_penalty = 0.4f;
    v[3].r.sampling.bias_ids = ids;
    v[3].r.sampling.bias_values = values;
    v[3].r.sampling.n_bias = 3;
    v[4].what = "events, filters";
    v[4].r.events = true;
    v[4].r.sampling.temperature = 1.7f;
    v[4].r.sampling.top_k = 7;
    v[4].r.sampling.top_p = 0.9f;
    return 5;
}

static void compare_engine(const char *what, const fc_engine_options *o, bool late, const exact *x,
                           const fc_event *want) {
    variant v[8];
    fc_engine *e = NULL;
    int n = make_variants(x, v);
    if (late) assert_ok(fc_engine_open_on(o, late_backend_open, &e));
    else e = open_engine(o);
    for (int i = 0; i < n; i++) {
        fc_event ev = run_request(e, &v[i].r);
        char line[160];
        snprintf(line, sizeof line, "%s, %s", what, v[i].what);
        assert_same_result(line, ev.result, want[i].result);
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
}

static void vary(const char *novelty, const char *alignment, const set *s) {
    fc_engine_options o = {.novelty = novelty, .alignment = alignment, .threads = 2, .ctx = 256};
    variant v[8];
    fc_event want[8];
    exact x;
    exact_open(&x, novelty, prompt, s->names, s->n);
    fc_engine *e = open_engine(&o);
    int n = make_variants(&x, v);
    for (int i = 0; i < n; i++) want[i] = run_request(e, &v[i].r);
    fc_engine_close(e);
    for (uint32_t bit = 1; bit < FC_OFF_ALL; bit *= 2) {
        o.off = bit;
        compare_engine(fc_off_name((fc_off)bit), &o, false, &x, want);
    }
    o.off = FC_OFF_ALL;
    compare_engine("all off", &o, false, &x, want);
    compare_engine("all off, late", &o, true, &x, want);
    o.off = FC_OFF_FORCED | FC_OFF_COALESCE;
    compare_engine("forced and coalesce off", &o, false, &x, want);
    o.off = 0;
    compare_engine("late", &o, true, &x, want);
    o.page_slots = 8;
    o.max_rows = 5;
    o.threads = 1;
    compare_engine("batches of 5 rows", &o, false, &x, want);
    for (int i = 0; i < n; i++) fc_event_fini(&want[i]);
    exact_close(&x);
}

/* If this fails, a switch that should only save work changes an answer. */
static void switches_change_no_bit(void **state) {
    (void)state;
    for (int i = 0; i < test_cases(SETS); i++)
        vary(tiny_model("llama", 21, false), tiny_model("qwen2", 22, false), &sets[i]);
    vary(tiny_model_typed("llama", 11, FC_Q4_0), tiny_model("llama", 2, false), &sets[0]);
    vary(tiny_model("gemma3", 5, false), tiny_model("gemma3", 5, false), &sets[0]);           /* one model for both */
    vary(tiny_model("gemma2", 6, false), tiny_model_vocab("llama", 3, false, 400), &sets[0]); /* another tokenizer */
}

/* ---- what the names leave no choice about ---- */

/* If this fails, an id that the request forbids comes out because nothing else was allowed. */
static void a_forbidden_id_is_not_forced(void **state) {
    fc_engine_options o = {.novelty = tiny_model("llama", 21, false), .threads = 2, .ctx = 256};
    static const float never[] = {-INFINITY};
    int32_t id;
    exact x;
    (void)state;
    exact_open(&x, o.novelty, prompt, single, 1);
    for (int depth = 1; depth <= x.trie->max_depth; depth++)
        for (int i = 0; i < 2; i++) {
            fc_engine *e;
            fc_request r = names_request(&x, 2);
            fc_event ev;
            uint64_t number;
            id = x.trie->token[depth]; /* one path: node d is at depth d */
            o.off = i ? FC_OFF_FORCED : 0;
            e = open_engine(&o);
            r.sampling.bias_ids = &id;
            r.sampling.bias_values = never;
            r.sampling.n_bias = 1;
            assert_ok(fc_submit(e, &r, &number));
            assert_ok(fc_poll(e, 60000, &ev));
            assert_int_equal(ev.type, FC_EVENT_DONE);
            assert_int_equal(ev.status, FC_ERR_ARG);
            if (!strstr(ev.error, "bias")) fail_msg("\"%s\" does not say why", ev.error);
            fc_event_fini(&ev);
            fc_engine_close(e);
        }
    exact_close(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_choices_are_computed),
        cmocka_unit_test(a_large_taxonomy_takes_few_rows),
        cmocka_unit_test(switches_change_no_bit),
        cmocka_unit_test(a_forbidden_id_is_not_forced),
    };
    fc_weights *w;
    fc_tok *tok;
    if (fc_weights_open(tiny_model("llama", 21, false), &w) || fc_model_tok_open(w, &tok)) return 1;
    make_many(tok);
    fc_tok_close(tok);
    fc_weights_close(w);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
