/* Constraint mask: what is computed for it, counted against the arithmetic. */
#include "engine/engine.h"
#include "engine/model_tok.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_exact.h"
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_choices_are_computed),
        cmocka_unit_test(a_large_taxonomy_takes_few_rows),
    };
    fc_weights *w;
    fc_tok *tok;
    if (fc_weights_open(tiny_model("llama", 21, false), &w) || fc_model_tok_open(w, &tok)) return 1;
    make_many(tok);
    fc_tok_close(tok);
    fc_weights_close(w);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
