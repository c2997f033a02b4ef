/* What the tokenizer promises beside its ids: data never yields special tokens, bytes are kept, streams never cut a
 * character, the same rules are the same tokenizer whatever file they came from. */
#include "tests/tokenizer/util_tok.h"

#include "engine/base/json.h"
#include "engine/base/mem.h"

static const char *const families[] = {"gpt2", "llama3", "qwen2", "llama2", "mistral", "gemma", "unigram", "xlmr"};
enum { FAMILIES = sizeof families / sizeof *families };

static fc_tok *open_family(const char *name) {
    char path[128];
    fc_tok *t = NULL;
    snprintf(path, sizeof path, TOK_DATA "%s.json", name);
    assert_ok(fc_tok_open_json(path, &t));
    return t;
}

static void encodes_to(const fc_tok *t, const char *text, unsigned flags, const int32_t *want, size_t n) {
    tok_ids ids = {0};
    tok_encode(t, text, strlen(text), flags, &ids);
    assert_int_equal(ids.n, n);
    assert_memory_equal(ids.ids, want, n * sizeof *want);
    tok_ids_fini(&ids);
}

static bool holds_special(const fc_tok *t, const tok_ids *ids) {
    for (size_t i = 0; i < ids->n; i++)
        if (fc_tok_is_special(t, ids->ids[i])) return true;
    return false;
}

static fc_str piece_of(const fc_tok *t, int32_t id) {
    fc_str s = {0};
    assert_ok(fc_tok_piece(t, id, true, &s));
    return s;
}

/* If this fails, a user's text can end the prompt's turn and speak as the system. */
static void data_never_yields_special_tokens(void **state) {
    tok_ids ids = {0};
    (void)state;
    for (int f = 0; f < FAMILIES; f++) {
        fc_tok *t = open_family(families[f]);
        int specials = 0;
        for (int32_t id = 0; id < (int32_t)fc_tok_size(t); id++) {
            fc_str name, text = {0};
            if (!fc_tok_is_special(t, id)) continue;
            specials++;
            name = piece_of(t, id);
            tok_encode(t, name.data, name.size, 0, &ids);
            assert_false(holds_special(t, &ids));
            tok_encode(t, name.data, name.size, FC_TOK_PARSE_SPECIAL, &ids);
            assert_int_equal(ids.n, 1);
            assert_int_equal(ids.ids[0], id);
            assert_int_equal(fc_tok_find(t, name.data), id);
            assert_ok(fc_str_puts(&text, "a <|"));
            assert_ok(fc_str_put(&text, name.data, name.size));
            assert_ok(fc_str_put(&text, name.data, name.size));
            tok_encode(t, text.data, text.size, 0, &ids);
            assert_false(holds_special(t, &ids));
            fc_str_fini(&name);
            fc_str_fini(&text);
        }
        assert_true(specials > 0);
        fc_tok_close(t);
    }
    tok_ids_fini(&ids);
}

/* Nor does a normaliser make one: full-width letters become ASCII ones under NFKC. */
static void normalised_data_neither(void **state) {
    fc_tok *t = open_family("xlmr");
    tok_ids ids = {0};
    (void)state;
    for (unsigned flags = 0; flags < 4; flags += FC_TOK_PARSE_SPECIAL) {
        tok_encode(t, "\xEF\xBC\x9C/s\xEF\xBC\x9E", 8, flags, &ids);
        assert_false(holds_special(t, &ids));
    }
    tok_ids_fini(&ids);
    fc_tok_close(t);
}

static void bos_and_eos_by_the_tokenizers_rule(void **state) {
    static const struct {
        const char *family, *bos, *eos; /* what a text gets */
    } want[] = {{"gpt2", NULL, NULL},      {"llama3", "<|begin_of_text|>", NULL},
                {"llama2", "<s>", NULL},   {"gemma", "<bos>", NULL},
                {"unigram", NULL, "</s>"}, {"xlmr", "<s>", "</s>"}};
    tok_ids plain = {0}, both = {0};
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        fc_tok *t = open_family(want[i].family);
        size_t front = want[i].bos ? 1 : 0, back = want[i].eos ? 1 : 0;
        tok_encode(t, "maps", 4, 0, &plain);
        tok_encode(t, "maps", 4, FC_TOK_ADD_SPECIAL, &both);
        assert_int_equal(both.n, plain.n + front + back);
        assert_memory_equal(both.ids + front, plain.ids, plain.n * sizeof *plain.ids);
        if (front) assert_int_equal(both.ids[0], fc_tok_find(t, want[i].bos));
        if (front) assert_int_equal(fc_tok_bos(t), both.ids[0]);
        if (back) assert_int_equal(both.ids[both.n - 1], fc_tok_find(t, want[i].eos));
        if (back) assert_int_equal(fc_tok_eos(t), both.ids[both.n - 1]);
        assert_int_equal(fc_tok_adds_bos(t), front);
        fc_tok_close(t);
    }
    tok_ids_fini(&plain);
    tok_ids_fini(&both);
}

static void default_ends_fill_gaps_only(void **state) {
    fc_tok *t = open_family("llama3");
    int32_t bos = fc_tok_bos(t);
    (void)state;
    assert_int_equal(fc_tok_eos(t), -1);
    fc_tok_default_ends(t, 5, (int32_t)fc_tok_size(t));
    assert_int_equal(fc_tok_bos(t), bos);
    assert_int_equal(fc_tok_eos(t), -1);
    fc_tok_default_ends(t, -1, 7);
    assert_int_equal(fc_tok_eos(t), 7);
    fc_tok_close(t);
}

/* ---- bytes ----------------------------------------------------------------------------------------------- */

/* If this fails, text that passes through a byte-level tokenizer loses bytes. */
static void byte_level_keeps_every_byte(void **state) {
    uint64_t seed = 20;
    tok_ids ids = {0};
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int f = 0; f < 2; f++) { /* gpt2, llama3: no normaliser */
        fc_tok *t = open_family(families[f]);
        for (int round = 0; round < 2000; round++) {
            char text[64];
            size_t n = (size_t)test_below(&seed, sizeof text);
            fc_str out = {0};
            for (size_t i = 0; i < n; i++)
                text[i] = (char)(test_below(&seed, 3) ? test_below(&seed, 256) : "\xEF\xBF\xBD a"[i % 5]);
            tok_encode(t, text, n, 0, &ids);
            assert_ok(fc_tok_decode(t, ids.ids, ids.n, true, &out));
            assert_int_equal(out.size, n);
            assert_memory_equal(fc_str_text(&out), text, n);
            tok_check_stream(t, ids.ids, ids.n);
            fc_str_fini(&out);
        }
        fc_tok_close(t);
    }
    tok_ids_fini(&ids);
}

/* A normaliser keeps the bytes too: U+FFFD of the text and those that stand for bytes are told apart by their order. */
static void bytes_survive_normalisation(void **state) {
    static const char text[] = "e\xCC\x81\xFF\xEF\xBF\xBD\xE4\xB8 \xEF\xBF\xBD\xC3";
    static const char composed[] = "\xC3\xA9\xFF\xEF\xBF\xBD\xE4\xB8 \xEF\xBF\xBD\xC3";
    fc_tok *t = open_family("qwen2");
    tok_ids ids = {0};
    fc_str out = {0};
    (void)state;
    tok_encode(t, text, sizeof text - 1, 0, &ids);
    assert_ok(fc_tok_decode(t, ids.ids, ids.n, true, &out));
    assert_int_equal(out.size, sizeof composed - 1);
    assert_memory_equal(out.data, composed, out.size);
    fc_str_fini(&out);
    tok_ids_fini(&ids);
    fc_tok_close(t);
}

/* gpt2.json with the first `from` replaced; text in, the text that comes back out. */
static void comes_back_as(const char *from, const char *to, const char *text, const char *want) {
    tok_file f = tok_file_open(TOK_DATA "gpt2.json");
    char *at = strstr(f.data, from);
    fc_str json = {0}, out = {0};
    fc_tok *t = NULL;
    tok_ids ids = {0};
    assert_non_null(at);
    assert_ok(fc_str_put(&json, f.data, (size_t)(at - f.data)));
    assert_ok(fc_str_puts(&json, to));
    assert_ok(fc_str_puts(&json, at + strlen(from)));
    assert_ok(fc_tok_open_json_text("edited", json.data, json.size, &t));
    tok_encode(t, text, strlen(text), FC_TOK_PARSE_SPECIAL, &ids);
    assert_ok(fc_tok_decode(t, ids.ids, ids.n, true, &out));
    assert_string_equal(out.data, want);
    fc_str_fini(&out);
    fc_str_fini(&json);
    tok_ids_fini(&ids);
    fc_tok_close(t);
    tok_file_close(&f);
}

/* What takes a U+FFFD out of the text, a normaliser or an added token, leaves the other bytes in their places. */
static void a_removed_byte_shifts_no_other(void **state) {
    (void)state;
    comes_back_as("\"normalizer\":null",
                  "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\xEF\xBF\xBD\"},\"content\":\"\"}",
                  "x\xFFy\xFC<|endoftext|>\xFE", "y\xEF\xBF\xBD<|endoftext|>\xFE"); /* one too few to tell which */
    comes_back_as("\"special\":true}",
                  "\"special\":true},{\"id\":2001,\"content\":\"\xEF\xBF\xBD!\",\"normalized\":false}",
                  "\xFF! \xFE\xFD", "\xEF\xBF\xBD! \xFE\xFD"); /* the token is its own text */
    comes_back_as("\"special\":true}", "\"special\":true},{\"id\":2001,\"content\":\"ab c\",\"normalized\":false}",
                  "xab cx", "xab cx"); /* a blank is not in the alphabet: the piece is taken as it is */
}

/* One U+FFFD for each maximal part of a sequence, as Python and Rust decode. */
static void others_see_the_replacement_character(void **state) {
    static const struct {
        const char *bytes, *text;
    } same[] = {{"\xFF", "\xEF\xBF\xBD"},
                {"a\xE4\xB8z", "a\xEF\xBF\xBDz"},
                {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
                {"\xF0\x9F\x98", "\xEF\xBF\xBD"},
                {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},
                {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}};
    tok_ids a = {0}, b = {0};
    (void)state;
    for (int f = 3; f < FAMILIES; f++) {
        fc_tok *t = open_family(families[f]);
        for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
            tok_encode(t, same[i].bytes, strlen(same[i].bytes), 0, &a);
            tok_encode(t, same[i].text, strlen(same[i].text), 0, &b);
            assert_int_equal(a.n, b.n);
            assert_memory_equal(a.ids, b.ids, a.n * sizeof *a.ids);
        }
        fc_tok_close(t);
    }
    tok_ids_fini(&a);
    tok_ids_fini(&b);
}

/* ---- streams and pieces ---------------------------------------------------------------------------------- */

/* If this fails, a candidate that leaves its branch has another text than its ids: a blank too many or too few. */
static void a_copied_stream_goes_on_alike(void **state) {
    static const char text[] = "\xF0\x93\x80\x80 one  two\xE2\x82\xAC three";
    static const char *const names[] = {"llama2", "mistral", "xlmr", "gpt2"};
    (void)state;
    for (size_t f = 0; f < sizeof names / sizeof *names; f++) {
        fc_tok *t = open_family(names[f]);
        tok_ids ids = {0};
        fc_str whole = {0};
        tok_encode(t, text, sizeof text - 1, 0, &ids);
        assert_ok(fc_tok_decode(t, ids.ids, ids.n, false, &whole));
        for (size_t cut = 0; cut <= ids.n; cut++) {
            fc_tok_stream a, b;
            fc_str out = {0};
            fc_tok_stream_init(&a, t);
            fc_tok_stream_init(&b, t);
            assert_ok(fc_tok_stream_put(&b, ids.ids[ids.n - 1], &out)); /* what it held before is forgotten */
            fc_str_clear(&out);
            for (size_t i = 0; i < cut; i++) assert_ok(fc_tok_stream_put(&a, ids.ids[i], &out));
            assert_ok(fc_tok_stream_copy(&a, &b));
            fc_tok_stream_fini(&a);
            for (size_t i = cut; i < ids.n; i++) assert_ok(fc_tok_stream_put(&b, ids.ids[i], &out));
            assert_ok(fc_tok_stream_finish(&b, &out));
            if (strcmp(out.data, whole.data) != 0)
                fail_msg("%s: copied behind id %zu: \"%s\", not \"%s\"", names[f], cut, out.data, whole.data);
            fc_tok_stream_fini(&b);
            fc_str_fini(&out);
        }
        fc_str_fini(&whole);
        tok_ids_fini(&ids);
        fc_tok_close(t);
    }
}

static void stream_holds_back_half_a_character(void **state) {
    fc_tok *t = open_family("gpt2");
    /* F0, 93 and 80 as the byte alphabet writes them: together a hieroglyph */
    int32_t first = fc_tok_find(t, "\xC3\xB0"), second = fc_tok_find(t, "\xC4\xB5"), third = fc_tok_find(t, "\xC4\xA2");
    int32_t ids[4] = {first, second, third, third};
    fc_str out = {0};
    fc_tok_stream s;
    (void)state;
    fc_tok_stream_init(&s, t);
    for (int i = 0; i < 3; i++) {
        assert_ok(fc_tok_stream_put(&s, ids[i], &out));
        assert_int_equal(out.size, 0);
    }
    assert_ok(fc_tok_stream_put(&s, ids[3], &out));
    assert_string_equal(out.data, "\xF0\x93\x80\x80");
    fc_str_clear(&out);
    assert_ok(fc_tok_stream_put(&s, first, &out)); /* cut off: what is left comes at the end as it is */
    assert_fails(fc_tok_stream_put(&s, -1, &out), FC_ERR_ARG, "id -1");
    assert_int_equal(out.size, 0);
    assert_ok(fc_tok_stream_finish(&s, &out));
    assert_string_equal(out.data, "\xF0");
    fc_tok_stream_fini(&s);
    fc_str_fini(&out);
    fc_tok_close(t);
}

static void pieces_and_bounds(void **state) {
    fc_tok *t = open_family("llama2");
    int32_t bos = fc_tok_find(t, "<s>"), blank = fc_tok_find(t, "\xE2\x96\x81"), ids[2] = {blank, blank};
    fc_str out = {0};
    (void)state;
    assert_ok(fc_tok_piece(t, bos, false, &out));
    assert_int_equal(out.size, 0);
    assert_ok(fc_tok_piece(t, bos, true, &out));
    assert_string_equal(out.data, "<s>");
    fc_str_clear(&out);
    assert_ok(fc_tok_piece(t, blank, false, &out));
    assert_string_equal(out.data, " "); /* inside a text; at its front the first one is not part of it: */
    fc_str_clear(&out);
    assert_ok(fc_tok_decode(t, ids, 2, false, &out));
    assert_string_equal(out.data, " ");
    assert_fails(fc_tok_piece(t, (int32_t)fc_tok_size(t), true, &out), FC_ERR_ARG, "the vocabulary has 0 to");
    ids[1] = -5;
    fc_str_clear(&out);
    assert_fails(fc_tok_decode(t, ids, 2, true, &out), FC_ERR_ARG, "id -5");
    assert_int_equal(out.size, 0);
    assert_false(fc_tok_is_special(t, -1));
    assert_false(fc_tok_is_special(t, 1 << 30));
    assert_int_equal(fc_tok_find(t, "no such piece"), -1);
    assert_int_equal(fc_tok_find(t, ""), -1);
    fc_str_fini(&out);
    fc_tok_close(t);
}

static void encode_appends(void **state) {
    fc_tok *t = open_family("gpt2");
    tok_ids ids = {0};
    size_t n;
    (void)state;
    assert_ok(fc_tok_encode(t, "maps", 4, 0, &ids.ids, &ids.n, &ids.cap));
    n = ids.n;
    assert_ok(fc_tok_encode(t, "maps", 4, 0, &ids.ids, &ids.n, &ids.cap));
    assert_int_equal(ids.n, 2 * n);
    assert_memory_equal(ids.ids, ids.ids + n, n * sizeof *ids.ids);
    assert_ok(fc_tok_encode(t, NULL, 0, FC_TOK_ADD_SPECIAL, &ids.ids, &ids.n, &ids.cap));
    assert_int_equal(ids.n, 2 * n);
    assert_fails(fc_tok_encode(t, "", (size_t)1 << 40, 0, &ids.ids, &ids.n, &ids.cap), FC_ERR_ARG,
                 "1099511627776 bytes");
    assert_int_equal(ids.n, 2 * n);
    tok_ids_fini(&ids);
    fc_tok_close(t);
}

/* ---- the same from two kinds of file --------------------------------------------------------------------- */

typedef struct {
    fc_tok_spec spec;
    fc_tok_str *pieces, *merges;
    int32_t *types;
    fc_json_doc *doc;
} as_spec;

/* A byte-level tokenizer.json as GGUF metadata would state it. */
static as_spec spec_of(const char *family, const char *pre) {
    as_spec s = {.spec = {.name = family, .pre = pre, .bos = -1, .eos = -1, .unk = -1, .pad = -1}};
    const fc_json *root, *vocab, *merges, *added;
    char path[128];
    snprintf(path, sizeof path, TOK_DATA "%s.json", family);
    assert_ok(fc_json_open(path, 16 << 20, &s.doc));
    root = fc_json_root(s.doc);
    vocab = fc_json_get(fc_json_get(root, "model"), "vocab");
    merges = fc_json_get(fc_json_get(root, "model"), "merges");
    added = fc_json_get(root, "added_tokens");
    s.pieces = calloc(fc_json_count(vocab) + fc_json_count(added), sizeof *s.pieces);
    s.types = calloc(fc_json_count(vocab) + fc_json_count(added), sizeof *s.types);
    s.merges = calloc(fc_json_count(merges), sizeof *s.merges);
    for (const fc_json *c = fc_json_first(vocab); c; c = fc_json_next(c)) {
        int64_t id;
        assert_ok(fc_json_int(c, 0, 100000, &id));
        s.pieces[id] = (fc_tok_str){.text = fc_json_key(c), .size = strlen(fc_json_key(c))};
        s.types[id] = FC_TOK_NORMAL;
        s.spec.V++;
    }
    for (const fc_json *c = fc_json_first(added); c; c = fc_json_next(c)) {
        const char *text;
        int64_t id;
        bool special;
        assert_ok(fc_json_int(fc_json_get(c, "id"), 0, 100000, &id));
        assert_ok(fc_json_string(fc_json_get(c, "content"), &text));
        assert_ok(fc_json_bool(fc_json_get(c, "special"), &special));
        s.pieces[id] = (fc_tok_str){.text = text, .size = strlen(text)};
        s.types[id] = special ? FC_TOK_CONTROL : FC_TOK_USER;
        s.spec.V++;
    }
    for (const fc_json *c = fc_json_first(merges); c; c = fc_json_next(c)) {
        const char *left, *right;
        char *joined;
        assert_ok(fc_json_string(fc_json_first(c), &left));
        assert_ok(fc_json_string(fc_json_next(fc_json_first(c)), &right));
        joined = malloc(strlen(left) + strlen(right) + 2);
        sprintf(joined, "%s %s", left, right);
        s.merges[s.spec.n_merges++] = (fc_tok_str){.text = joined, .size = strlen(joined)};
    }
    s.spec.pieces = s.pieces;
    s.spec.types = s.types;
    s.spec.merges = s.merges;
    return s;
}

static void as_spec_fini(as_spec *s) {
    for (size_t i = 0; i < s->spec.n_merges; i++) free((void *)(uintptr_t)s->merges[i].text);
    free(s->merges);
    free(s->types);
    free(s->pieces);
    fc_json_close(s->doc);
}

/* If this fails, drawn ids are tokenised again although both models share a tokenizer; or, worse, are not although they
 * differ. */
static void same_rules_are_the_same_tokenizer(void **state) {
    static const char *const pre[] = {"gpt-2", "llama-bpe", "qwen2"};
    tok_file f;
    tok_text *texts;
    size_t n = tok_texts_open(&f, &texts);
    (void)state;
    for (int i = 0; i < 3; i++) {
        fc_tok *json = open_family(families[i]), *again = open_family(families[i]), *gguf = NULL, *other = NULL;
        as_spec s = spec_of(families[i], pre[i]);
        s.spec.bos = i == 1 ? fc_tok_bos(json) : -1;
        s.spec.add_bos = i == 1;
        assert_ok(fc_tok_open(&s.spec, &gguf));
        assert_true(fc_tok_same(json, again));
        assert_true(fc_tok_same(json, gguf));
        for (size_t k = 0; k < n; k += 7)
            assert_int_equal(tok_hash_string(gguf, texts[k].text, texts[k].size, 3),
                             tok_hash_string(json, texts[k].text, texts[k].size, 3));
        for (int k = 0; k < 4; k++) { /* one thing is different */
            fc_tok_str merge = s.merges[40], piece = s.pieces[300];
            s.spec.pre = k == 0 ? pre[(i + 1) % 3] : pre[i];
            if (k == 1) s.merges[40] = s.merges[41], s.merges[41] = merge;
            if (k == 2) s.types[5] = FC_TOK_USER;
            if (k == 3) s.spec.add_eos = true, s.spec.eos = 9;
            assert_ok(fc_tok_open(&s.spec, &other));
            assert_false(fc_tok_same(json, other));
            fc_tok_close(other);
            if (k == 1) s.merges[41] = s.merges[40], s.merges[40] = merge;
            s.types[5] = FC_TOK_NORMAL;
            s.spec.add_eos = false;
            s.pieces[300] = piece;
        }
        for (int k = 0; k < FAMILIES; k++) {
            if (k == i) continue;
            other = open_family(families[k]);
            assert_false(fc_tok_same(json, other));
            fc_tok_close(other);
        }
        fc_tok_close(json);
        fc_tok_close(again);
        fc_tok_close(gguf);
        as_spec_fini(&s);
    }
    free(texts);
    tok_file_close(&f);
}

/* SentencePiece: of equal scores the one on the left, whatever its id. */
static void equal_scores_merge_from_the_left(void **state) {
    fc_tok_str p[] = {{"<unk>", 5}, {"a", 1}, {"b", 1}, {"c", 1}, {"bc", 2}, {"ab", 2}};
    int32_t types[] = {FC_TOK_UNKNOWN, 1, 1, 1, 1, 1};
    float scores[] = {0, -9, -9, -9, -1, -1};
    fc_tok_spec s = {.name = "ties",
                     .model = FC_TOK_SPM_BPE,
                     .pieces = p,
                     .types = types,
                     .scores = scores,
                     .V = 6,
                     .bos = -1,
                     .eos = -1,
                     .unk = 0,
                     .pad = -1};
    fc_tok *t = NULL;
    (void)state;
    assert_ok(fc_tok_open(&s, &t));
    encodes_to(t, "abc", 0, (int32_t[]){5, 3}, 2);
    encodes_to(t, "xyabz", 0, (int32_t[]){0, 5, 0}, 3); /* no bytes to fall back to: a run of unknown is one */
    fc_tok_close(t);
    scores[4] = -0.5f;
    assert_ok(fc_tok_open(&s, &t));
    encodes_to(t, "abc", 0, (int32_t[]){1, 4}, 2);
    fc_tok_close(t);
}

static void empty_text_is_no_ids(void **state) {
    (void)state;
    for (int f = 0; f < FAMILIES; f++) {
        fc_tok *t = open_family(families[f]);
        encodes_to(t, "", FC_TOK_PARSE_SPECIAL, NULL, 0);
        fc_tok_close(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_never_yields_special_tokens),
        cmocka_unit_test(normalised_data_neither),
        cmocka_unit_test(bos_and_eos_by_the_tokenizers_rule),
        cmocka_unit_test(default_ends_fill_gaps_only),
        cmocka_unit_test(byte_level_keeps_every_byte),
        cmocka_unit_test(bytes_survive_normalisation),
        cmocka_unit_test(a_removed_byte_shifts_no_other),
        cmocka_unit_test(others_see_the_replacement_character),
        cmocka_unit_test(stream_holds_back_half_a_character),
        cmocka_unit_test(a_copied_stream_goes_on_alike),
        cmocka_unit_test(pieces_and_bounds),
        cmocka_unit_test(encode_appends),
        cmocka_unit_test(same_rules_are_the_same_tokenizer),
        cmocka_unit_test(equal_scores_merge_from_the_left),
        cmocka_unit_test(empty_text_is_no_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
