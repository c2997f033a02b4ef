/* The token trie of a taxonomy: which ids a name has behind which text, and the nodes that they make. */
#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/model_tok.h"
#include "engine/taxonomy.h"
#include "engine/trie.h"

#define DATA "tests/data/tokenizer/"
static const char smollm2[] = "models/SmolLM2-135M-Instruct.Q4_1.gguf";

typedef struct {
    int32_t *ids;
    size_t n, cap;
} id_list;

static void encode(const fc_tok *t, const char *text, unsigned flags, id_list *out) {
    out->n = 0;
    assert_ok(fc_tok_encode(t, text, strlen(text), flags, &out->ids, &out->n, &out->cap));
}

static fc_tok *open_tok(const char *family) {
    char path[64];
    fc_tok *t = NULL;
    snprintf(path, sizeof path, DATA "%s.json", family);
    assert_ok(fc_tok_open_json(path, &t));
    return t;
}

static int32_t end_of(const fc_tok *t) {
    static const char *const names[] = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (fc_tok_find(t, names[i]) >= 0) return fc_tok_find(t, names[i]);
    fail_msg("a fixture without an end token");
    return -1;
}

static fc_status open_names(const fc_tok *tok, const char *before, const char *const *names, size_t n, fc_trie **out) {
    return fc_trie_open(tok, names, NULL, n, before, strlen(before), end_of(tok), out);
}

/* ---- the slow way: nodes that hold a list of children ------------------------------------------------------ */

typedef struct naive {
    int32_t token, name;
    struct naive *child, *next; /* next: a sibling with a larger id */
} naive;

static naive *naive_new(int32_t token) {
    naive *x = calloc(1, sizeof *x);
    assert_non_null(x);
    x->token = token;
    x->name = -1;
    return x;
}

static void naive_add(naive *root, const int32_t *ids, size_t n, int32_t name) {
    for (size_t i = 0; i < n; i++) {
        naive **at = &root->child;
        while (*at && (*at)->token < ids[i]) at = &(*at)->next;
        if (!*at || (*at)->token != ids[i]) {
            naive *x = naive_new(ids[i]);
            x->next = *at;
            *at = x;
        }
        root = *at;
    }
    assert_int_equal(root->name, -1);
    root->name = name;
}

/* Frees it on the way. Returns the number of nodes. */
static int naive_same(naive *x, const fc_trie *t, int32_t node) {
    int count = 1, n = 0, forced = 0;
    assert_int_equal(x->token, t->token[node]);
    assert_int_equal(x->name, t->name[node]);
    for (const naive *c = x; c->child && !c->child->next; c = c->child) forced++;
    assert_int_equal(forced, fc_trie_forced(t, node));
    for (naive *c = x->child, *next; c; c = next, n++) {
        next = c->next;
        assert_true(n < t->n_children[node]);
        assert_int_equal(fc_trie_step(t, node, c->token), t->first_child[node] + n);
        count += naive_same(c, t, t->first_child[node] + n);
    }
    assert_int_equal(n, t->n_children[node]);
    free(x);
    return count;
}

/* ---- paths ------------------------------------------------------------------------------------------------- */

typedef struct {
    int natural, apart; /* names whose path is the rest of before + name, and the others */
} tally;

/* The ids of before and then the path read as before + name does, and no path has what the tokenizer would not put
 * there. lossless: the path's own text is the name. */
static void check_path(const fc_tok *tok, const fc_trie *t, const char *before, const char *name, int32_t i,
                       bool lossless, tally *count) {
    id_list alone = {0}, whole = {0};
    fc_str text = {0}, read = {0}, path_text = {0};
    int32_t ids[256], n = fc_trie_path(t, t->leaf[i], ids) - 1;
    char joined[512];
    assert_in_range(n, 1, 255);
    assert_int_equal(ids[n], t->end);
    assert_int_equal(fc_trie_find(t, ids, (size_t)n + 1), t->leaf[i]);
    snprintf(joined, sizeof joined, "%s%s", before, name);
    encode(tok, before, 0, &alone);
    encode(tok, joined, 0, &whole);
    assert_ok(fc_tok_decode(tok, whole.ids, whole.n, false, &text));
    if (whole.n > alone.n && (alone.n == 0 || memcmp(whole.ids, alone.ids, alone.n * sizeof *alone.ids) == 0)) {
        count->natural++;
        assert_int_equal(n, whole.n - alone.n);
        assert_memory_equal(ids, whole.ids + alone.n, (size_t)n * sizeof *ids);
    } else {
        count->apart++;
    }
    whole.n = 0;
    for (size_t k = 0; k < alone.n + (size_t)n; k++) {
        void *p = whole.ids;
        assert_ok(fc_grow(&p, &whole.cap, whole.n + 1, sizeof *whole.ids, "ids"));
        whole.ids = p;
        whole.ids[whole.n++] = k < alone.n ? alone.ids[k] : ids[k - alone.n];
    }
    assert_ok(fc_tok_decode(tok, whole.ids, whole.n, false, &read));
    if (strcmp(fc_str_text(&read), fc_str_text(&text)) != 0)
        fail_msg("\"%s\" and the path of \"%s\" read \"%s\", not \"%s\"", before, name, fc_str_text(&read),
                 fc_str_text(&text));
    if (lossless) {
        for (int32_t k = 0; k < n; k++) assert_ok(fc_tok_piece(tok, ids[k], false, &path_text));
        if (!before[0] && path_text.size &&
            path_text.data[0] == ' ') { /* the dummy prefix, at the beginning of a text */
            assert_string_equal(path_text.data + 1, name);
        } else {
            assert_string_equal(fc_str_text(&path_text), name);
        }
    }
    fc_free(alone.ids);
    fc_free(whole.ids);
    fc_str_fini(&text);
    fc_str_fini(&read);
    fc_str_fini(&path_text);
}

static void check_names(const fc_tok *tok, const char *const *names, size_t n, bool lossless, const char *before,
                        tally *count) {
    fc_trie *t = NULL;
    naive *root = naive_new(-1);
    int32_t ids[256];
    assert_ok(open_names(tok, before, names, n, &t));
    assert_ok(fc_trie_check(t));
    for (size_t i = 0; i < n; i++) {
        check_path(tok, t, before, names[i], (int32_t)i, lossless, count);
        naive_add(root, ids, (size_t)fc_trie_path(t, t->leaf[i], ids), (int32_t)i);
    }
    assert_int_equal(naive_same(root, t, 0), t->n_nodes);
    fc_trie_close(t);
}

static const struct {
    const char *family;
    bool lossless; /* no normalisation that a name of the tests would notice */
} families[] = {{"gpt2", true},  {"llama3", true},  {"qwen2", true},    {"llama2", true},
                {"gemma", true}, {"mistral", true}, {"unigram", false}, {"xlmr", false}};
static const char *const befores[] = {"", " ", "\n", ": ", "Answer:", "New interest:\n", "Answ", "the 1"};
enum { FAMILIES = sizeof families / sizeof *families, BEFORES = sizeof befores / sizeof *befores };

/* If this fails, a model asked for one of the taxonomy's names reads ids that its tokenizer would not have written. */
static void every_name_has_the_tokenizers_ids(void **state) {
    fc_taxonomy *x = NULL;
    (void)state;
    assert_ok(fc_taxonomy_open("examples/interests.tsv", &x));
    for (int f = 0; f < FAMILIES; f++) {
        fc_tok *tok = open_tok(families[f].family);
        printf("%-8s names as the tokenizer continues, and apart:", families[f].family);
        for (int b = 0; b < BEFORES; b++) {
            tally count = {0};
            check_names(tok, x->names, (size_t)x->n, families[f].lossless, befores[b], &count);
            printf(" %d+%d", count.natural, count.apart);
            assert_true(count.natural == x->n || befores[b][0]); /* at the beginning of a text nothing can be joined */
        }
        printf("\n");
        fc_tok_close(tok);
    }
    fc_taxonomy_close(x);
}

/* Fragments that meet in every way: scripts, digits, quotes, emoji, a name of a special token, half a one. */
static size_t random_names(uint64_t *rng, char (*texts)[128], const char **names, size_t n) {
    static const char *const parts[] = {"Art",
                                        "art",
                                        "\xC3\xA9t\xC3\xA9",
                                        "\xE6\x97\xA5\xE6\x9C\xAC",
                                        "3D",
                                        "42",
                                        " & ",
                                        "-",
                                        "'s",
                                        "\xF0\x9F\x98\x80",
                                        " of the",
                                        " ",
                                        "x",
                                        "<s>",
                                        "</s>",
                                        "<|endoftext|>",
                                        "<|im_",
                                        "end|>",
                                        " Chess",
                                        "(",
                                        ")",
                                        ".",
                                        "ing",
                                        "\xCE\xA9"};
    size_t count = 0;
    while (count < n) {
        char *t = texts[count];
        size_t k = 0;
        t[0] = '\0';
        for (int i = 1 + test_below(rng, 5); i > 0; i--)
            strcat(t, parts[test_below(rng, sizeof parts / sizeof *parts)]);
        while (t[0] == ' ') memmove(t, t + 1, strlen(t));
        while (t[0] && t[strlen(t) - 1] == ' ') t[strlen(t) - 1] = '\0';
        while (k < count && strcmp(texts[k], t) != 0) k++;
        if (t[0] && k == count) {
            names[count] = t;
            count++;
        }
    }
    return count;
}

static void random_names_too(void **state) {
    enum { N = 200 };
    static char texts[N][128];
    const char *names[N];
    uint64_t rng = 20240531;
    (void)state;
    printf("seed %llu\n", (unsigned long long)rng);
    for (int f = 0; f < FAMILIES; f++) {
        fc_tok *tok = open_tok(families[f].family);
        for (int b = 0; b < BEFORES && families[f].lossless; b++) {
            tally count = {0};
            check_names(tok, names, random_names(&rng, texts, names, N), true, befores[b], &count);
        }
        fc_tok_close(tok);
    }
}

/* ---- special tokens ---------------------------------------------------------------------------------------- */

static void path_is(const fc_tok *tok, const char *before, const char *name, const int32_t *want, size_t n) {
    fc_trie *t = NULL;
    int32_t ids[64];
    assert_ok(open_names(tok, before, &name, 1, &t));
    assert_int_equal(fc_trie_path(t, t->leaf[0], ids), n + 1);
    assert_memory_equal(ids, want, n * sizeof *ids);
    fc_trie_close(t);
}

/* If this fails, a taxonomy can make the model read <|im_end|>, or a name behind a chat template gets a blank too many.
 */
static void names_are_data_and_templates_are_not(void **state) {
    static const char *const family[] = {"qwen2", "mistral", "llama2", "gemma"};
    static const char *const before[] = {"<|im_start|>", "[/INST]", "</s>", "<start_of_turn>"};
    static const char *const spelt[] = {"<|im_end|>", "</s>", "<s>", "<end_of_turn>"};
    static const char *const half[][2] = {{"<|im_", "end|> x"}, {"[/IN", "ST] x"}, {"</", "s> x"}, {"<eo", "s> x"}};
    (void)state;
    for (int f = 0; f < 4; f++) {
        fc_tok *tok = open_tok(family[f]);
        id_list want = {0};
        char text[64];
        snprintf(text, sizeof text, "%sChess",
                 before[f]); /* one special token, then the name as the tokenizer has it there */
        encode(tok, text, FC_TOK_PARSE_SPECIAL, &want);
        assert_true(fc_tok_is_special(tok, want.ids[0]));
        path_is(tok, before[f], "Chess", want.ids + 1, want.n - 1);
        encode(tok, spelt[f], 0, &want); /* as fc_chat_encode: apart, as data */
        for (size_t i = 0; i < want.n; i++) assert_false(fc_tok_is_special(tok, want.ids[i]));
        path_is(tok, before[f], spelt[f], want.ids, want.n);
        path_is(tok, "", spelt[f], want.ids, want.n);
        for (int k = 0; k < 2; k++) { /* a special token across the border is none, whatever stands in front */
            fc_trie *t = NULL;
            int32_t ids[64];
            snprintf(text, sizeof text, "%s%s", k ? before[f] : "", half[f][0]);
            assert_ok(open_names(tok, text, &half[f][1], 1, &t));
            for (int32_t i = fc_trie_path(t, t->leaf[0], ids) - 1; i-- > 0;)
                assert_false(fc_tok_is_special(tok, ids[i]));
            fc_trie_close(t);
        }
        fc_free(want.ids);
        fc_tok_close(tok);
    }
}

/* The same, where a blank stands between: follow.h's own cases. */
static void blanks_go_where_the_tokenizer_puts_them(void **state) {
    fc_tok *tok = open_tok("gpt2");
    id_list want = {0};
    (void)state;
    encode(tok, " Chess", 0, &want);
    path_is(tok, "Answer:", " Chess", want.ids, want.n);
    encode(tok, "Chess", 0, &want);
    path_is(tok, "Answer:", "Chess", want.ids, want.n);
    path_is(tok, "Answer: ", "Chess", want.ids, want.n);
    path_is(tok, "<|endoftext|>", "Chess", want.ids, want.n);
    fc_tok_close(tok);
    tok = open_tok("mistral"); /* a dummy prefix at the beginning of a text only */
    encode(tok, "Chess", 0, &want);
    path_is(tok, "", "Chess", want.ids, want.n);
    encode(tok, "\nChess", 0, &want);
    path_is(tok, "Answer: ", "Chess", want.ids + 2, want.n - 2); /* less the prefix and \n */
    fc_tok_close(tok);
    tok = open_tok("xlmr"); /* a character that it does not know, in running text */
    encode(tok, "Answer:\xE2\x98\x83", 0, &want);
    assert_int_equal(want.ids[want.n - 1], fc_tok_find(tok, "<unk>"));
    path_is(tok, "Answer:", "\xE2\x98\x83", want.ids + want.n - 1, 1);
    fc_free(want.ids);
    fc_tok_close(tok);
}

/* ---- shape ------------------------------------------------------------------------------------------------- */

static void a_name_may_begin_another(void **state) {
    static const char *const names[] = {"Art History", "Chess", "Art", "Art Historyx"};
    fc_tok *tok = open_tok("gpt2");
    fc_trie *t = NULL;
    int32_t ids[64], n, node;
    (void)state;
    assert_ok(open_names(tok, "\n", names, 4, &t));
    assert_ok(fc_trie_check(t));
    n = fc_trie_path(t, t->leaf[2], ids);
    node = fc_trie_find(t, ids, (size_t)n - 1);
    assert_int_equal(t->n_children[node], 2); /* the end, or more */
    assert_int_equal(fc_trie_step(t, node, t->end), t->leaf[2]);
    assert_int_equal(fc_trie_find(t, NULL, 0), 0);
    assert_int_equal(fc_trie_step(t, t->leaf[2], t->end), -1);
    ids[n] = t->end;
    assert_int_equal(fc_trie_find(t, ids, (size_t)n + 1), -1);
    n = fc_trie_path(t, t->leaf[1], ids);
    node = fc_trie_step(t, 0, ids[0]);
    assert_int_equal(fc_trie_forced(t, node), n - 1); /* nothing else begins as Chess does */
    assert_int_equal(fc_trie_forced(t, 0), 0);
    assert_int_equal(fc_trie_forced(t, t->leaf[1]), 0);
    assert_int_equal(t->max_depth, fc_trie_path(t, t->leaf[3], ids));
    assert_int_equal(t->max_children, 2);
    fc_trie_close(t);
    fc_trie_close(NULL);
    fc_tok_close(tok);
}

static void paths_are_in_the_order_of_their_ids(void **state) {
    fc_taxonomy *x = NULL;
    fc_tok *tok = open_tok("gpt2");
    fc_trie *t = NULL;
    uint64_t rng = 5;
    (void)state;
    printf("seed %llu\n", (unsigned long long)rng);
    assert_ok(fc_taxonomy_open("examples/interests.tsv", &x));
    assert_ok(open_names(tok, "\n", x->names, (size_t)x->n, &t));
    for (int i = 0; i < 20000; i++) {
        int32_t a = test_below(&rng, t->n_nodes), b = test_below(&rng, t->n_nodes), p[64], q[64], k = 0;
        int32_t n = fc_trie_path(t, a, p), m = fc_trie_path(t, b, q);
        while (k < n && k < m && p[k] == q[k]) k++;
        assert_int_equal(fc_trie_before(t, a, b), k == n ? n < m : k < m && p[k] < q[k]);
    }
    fc_trie_close(t);
    fc_tok_close(tok);
    fc_taxonomy_close(x);
}

/* ---- errors ------------------------------------------------------------------------------------------------ */

static void names_that_cannot_be_told_apart_are_refused(void **state) {
    static const char *const same[] = {"Chess", "Art", "Chess"};
    static const char *const nfc[] = {"Art", "Caf\xC3\xA9", "Cafe\xCC\x81"};
    static const char *const blank[] = {" Art", "Art"};
    static const char *const cases[] = {"ART", "x", "art"};
    static const char *const empty[] = {"Art", ""};
    static const char *const blanks[] = {"Art", "  "};
    static const char *const lines[] = {"Art", "Chess\nGo"};
    static const char zero[] = "a\0b";
    static const char *const bytes[] = {zero, zero};
    static const size_t sizes[] = {3, 1};
    fc_tok *gpt2 = open_tok("gpt2"), *qwen2 = open_tok("qwen2"), *mistral = open_tok("mistral"),
           *xlmr = open_tok("xlmr");
    int32_t newline = fc_tok_find(gpt2, "\xC4\x8A");
    fc_trie *t = NULL;
    (void)state;
    assert_fails(open_names(gpt2, "\n", same, 3, &t), FC_ERR_ARG,
                 "names 0, \"Chess\", and 2, \"Chess\", have the same");
    assert_fails(open_names(qwen2, "\n", nfc, 3, &t), FC_ERR_ARG,
                 "names 1, \"Caf\xC3\xA9\", and 2, \"Cafe\xCC\x81\", have the same ids");
    assert_fails(open_names(mistral, "", blank, 2, &t), FC_ERR_ARG, "names 0, \" Art\", and 1, \"Art\"");
    assert_fails(open_names(xlmr, ":", cases, 3, &t), FC_ERR_ARG, "names 0, \"ART\", and 2, \"art\"");
    assert_fails(open_names(gpt2, "", empty, 2, &t), FC_ERR_ARG, "name 1 is empty");
    assert_fails(open_names(xlmr, "", blanks, 2, &t), FC_ERR_ARG, "no ids for name 1, \"  \"");
    assert_fails(open_names(gpt2, "", empty, 0, &t), FC_ERR_ARG, "0 names");
    assert_fails(fc_trie_open(gpt2, lines, NULL, 2, "\n", 1, newline, &t), FC_ERR_ARG,
                 "name 1, \"Chess\nGo\", holds the end token");
    assert_fails(fc_trie_open(gpt2, lines, NULL, 2, "\n", 1, (int32_t)fc_tok_size(gpt2), &t), FC_ERR_ARG,
                 "; the vocabulary has");
    assert_fails(fc_trie_open(gpt2, lines, NULL, 2, "\n", 1, -1, &t), FC_ERR_ARG, "end token -1");
    assert_null(t);
    assert_ok(open_names(gpt2, "", blank, 2, &t)); /* in byte-level BPE these are two */
    fc_trie_close(t);
    assert_ok(fc_trie_open(gpt2, bytes, sizes, 2, "\n", 1, newline, &t)); /* sizes, not NULs, end these */
    assert_int_equal(t->depth[t->leaf[0]] > t->depth[t->leaf[1]], 1);
    fc_trie_close(t);
    fc_tok_close(gpt2);
    fc_tok_close(qwen2);
    fc_tok_close(mistral);
    fc_tok_close(xlmr);
}

static void damage(const fc_trie *t, const int32_t *field, int32_t at, int32_t value, const char *words) {
    int32_t *p = (int32_t *)(uintptr_t)field, was = p[at];
    p[at] = value;
    assert_fails(fc_trie_check(t), FC_ERR_INTERNAL, words);
    p[at] = was;
    assert_ok(fc_trie_check(t));
}

static void the_check_sees_every_damage(void **state) {
    static const char *const names[] = {"Art History", "Chess", "Art", "Go"};
    fc_tok *tok = open_tok("gpt2");
    fc_trie *t = NULL;
    (void)state;
    assert_ok(open_names(tok, "\n", names, 4, &t));
    damage(t, t->token, 0, 5, "trie (1)");
    damage(t, t->depth, 0, 1, "trie (1)");
    damage(t, t->parent, 3, 3, "trie (1)");
    damage(t, t->depth, 3, 3, "trie (1)");
    damage(t, t->n_children, 0, t->n_children[0] - 1, "trie (2)");
    damage(t, t->n_children, t->parent[t->leaf[0]], 2, "trie (");
    damage(t, t->first_child, 0, 2, "trie (2)");
    damage(t, t->token, 2, t->token[1], "trie (3)");
    damage(t, t->token, t->leaf[0], t->end + 1, "trie (4)");
    damage(t, t->name, 0, 1, "trie (4)");
    damage(t, t->name, t->leaf[0], -1, "trie (4)");
    damage(t, t->name, t->leaf[0], 1, "trie (5)");
    damage(t, t->leaf, 0, 0, "trie (5)");
    damage(t, &t->n_names, 0, 5, "trie (5)");
    damage(t, &t->n_nodes, 0, t->n_nodes - 1, "trie (");
    fc_trie_close(t);
    t = &(fc_trie){.n_nodes = 3, /* node 2 is nobody's child */
                   .n_names = 2,
                   .end = 7,
                   .token = (int32_t[]){-1, 7, 7},
                   .first_child = (int32_t[]){1, -1, -1},
                   .n_children = (int32_t[]){1, 0, 0},
                   .parent = (int32_t[]){-1, 0, 0},
                   .depth = (int32_t[]){0, 1, 1},
                   .name = (int32_t[]){-1, 0, 1},
                   .leaf = (int32_t[]){1, 2}};
    assert_fails(fc_trie_check(t), FC_ERR_INTERNAL, "trie (2): 2 of 3 nodes");
    fc_tok_close(tok);
}

/* ---- size -------------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Distinct words of the example's names and keywords, put together by two and three. */
static size_t many_names(fc_arena *arena, size_t n, const char **names) {
    fc_taxonomy *x = NULL;
    static char words[4096][32];
    size_t n_words = 0, count = 0;
    assert_ok(fc_taxonomy_open("examples/interests.tsv", &x));
    for (int i = 0; i < x->n; i++)
        for (int column = 0; column < 2; column++)
            for (const char *p = column ? x->entries[i].keywords : x->names[i]; *p;) {
                size_t size = strcspn(p, " ,"), k = 0;
                char *w = words[n_words];
                snprintf(w, sizeof *words, "%.*s", (int)size, p);
                if (column == 1 && *w >= 'a' && *w <= 'z') *w = (char)(*w - 32);
                while (k < n_words && strcmp(words[k], w) != 0) k++;
                if (*w && k == n_words && n_words < 4095) n_words++;
                p += size + strspn(p + size, " ,");
            }
    fc_taxonomy_close(x);
    for (size_t k = 0; count < n; k++) { /* (k mod words, ...) written in the base of words: never twice */
        const char *a = words[k * 7919 % n_words], *b = words[k / n_words % n_words];
        size_t size = strlen(a) + strlen(b) + 40;
        void *p;
        char *text;
        assert_ok(fc_arena_alloc(arena, size, 1, &p));
        text = p;
        if (k % 3) snprintf(text, size, "%s %s", a, b);
        else snprintf(text, size, "%s %s %s", a, b, words[k % 97]);
        names[count++] = text;
    }
    return n_words;
}

/* If this fails, a large taxonomy takes minutes to load, or its trie has lost names. */
static void a_hundred_thousand_names(void **state) {
    enum { N = 100000 };
    static const char before[] = "New interest:\n";
    const char **names = calloc(N, sizeof *names);
    uint64_t *hashes = NULL, start;
    size_t n_hashes = 0, cap = 0, distinct = 1, n_words;
    fc_weights *w = NULL;
    fc_tok *tok = NULL;
    fc_trie *t = NULL;
    fc_arena arena;
    id_list alone = {0}, whole = {0};
    FILE *there = fopen(smollm2, "rb");
    (void)state;
    assert_non_null(names);
    if (there) {
        fclose(there);
        assert_ok(fc_weights_open(smollm2, &w));
        assert_ok(fc_model_tok_open(w, &tok));
        fc_weights_close(w);
    } else {
        tok = open_tok("gpt2");
    }
    fc_arena_init(&arena);
    n_words = many_names(&arena, N, names);
    start = fc_clock_ns();
    assert_ok(open_names(tok, before, names, N, &t));
    printf("%d names of %zu words, %zu ids in the vocabulary: %d nodes of 24 bytes in %.2f s\n", N, n_words,
           fc_tok_size(tok), t->n_nodes, (double)(fc_clock_ns() - start) * 1e-9);
    assert_ok(fc_trie_check(t));
    encode(tok, before, 0, &alone);
    for (size_t i = 0; i < N; i++) { /* every prefix of every path by its hash; equal ones are one node */
        char text[256];
        uint64_t h = 0;
        int32_t node = 0;
        snprintf(text, sizeof text, "%s%s", before, names[i]);
        encode(tok, text, 0, &whole);
        assert_true(whole.n > alone.n);
        for (size_t k = alone.n; k <= whole.n; k++) {
            int32_t id = k < whole.n ? whole.ids[k] : t->end;
            void *p = hashes;
            uint64_t mix = h ^ (uint64_t)(id + 1);
            assert_ok(fc_grow(&p, &cap, n_hashes + 1, sizeof *hashes, "hashes"));
            hashes = p;
            hashes[n_hashes++] = h = fc_rng_next(&mix);
            node = fc_trie_step(t, node, id);
            assert_true(node > 0);
        }
        assert_int_equal(t->name[node], i);
    }
    qsort(hashes, n_hashes, sizeof *hashes, by_number);
    for (size_t i = 0; i < n_hashes; i++) distinct += i == 0 || hashes[i] != hashes[i - 1];
    assert_int_equal(t->n_nodes, distinct);
    fc_free(hashes);
    fc_free(alone.ids);
    fc_free(whole.ids);
    fc_trie_close(t);
    fc_arena_fini(&arena);
    fc_tok_close(tok);
    free((void *)names);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_has_the_tokenizers_ids),
        cmocka_unit_test(random_names_too),
        cmocka_unit_test(names_are_data_and_templates_are_not),
        cmocka_unit_test(blanks_go_where_the_tokenizer_puts_them),
        cmocka_unit_test(a_name_may_begin_another),
        cmocka_unit_test(paths_are_in_the_order_of_their_ids),
        cmocka_unit_test(names_that_cannot_be_told_apart_are_refused),
        cmocka_unit_test(the_check_sees_every_damage),
        cmocka_unit_test(a_hundred_thousand_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
