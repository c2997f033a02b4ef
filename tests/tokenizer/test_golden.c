/* Ids and texts equal those of `tokenizers` and `sentencepiece`, family by family, on 10,000 strings; and each rule of
 * a tokenizer.json alone. The files come from tests/oracle/tokenizer_*.py. */
#include "tests/tokenizer/util_tok.h"

#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/model_tok.h"

static const char smollm2[] = "models/SmolLM2-135M-Instruct.Q4_1.gguf";

static void print_text(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) printf((unsigned char)text[i] < 0x20 ? "\\x%02x" : "%c", (unsigned char)text[i]);
    printf("\n");
}

static size_t check_strings(const fc_tok *t, const char *family, tok_file *g, unsigned flags, size_t n_full) {
    tok_file f;
    tok_text *texts;
    size_t n = tok_texts_open(&f, &texts), wrong = 0;
    tok_ids ids = {0};
    for (size_t i = 0; i < n; i++) {
        if (tok_hash_string(t, texts[i].text, texts[i].size, flags) == tok_file_u32(g)) continue;
        if (wrong++ > 4) continue;
        printf("%s: string %zu differs: ", family, i);
        print_text(texts[i].text, texts[i].size);
    }
    for (size_t i = 0; i < n_full; i++) {
        size_t count = tok_file_u16(g);
        tok_encode(t, texts[i].text, texts[i].size, 0, &ids);
        if (ids.n != count) fail_msg("%s: string %zu has %zu ids, not %zu", family, i, ids.n, count);
        for (size_t k = 0; k < count; k++) {
            int32_t want = (int32_t)tok_file_u16(g);
            if (ids.ids[k] != want) fail_msg("%s: string %zu, id %zu is %d, not %d", family, i, k, ids.ids[k], want);
        }
    }
    tok_ids_fini(&ids);
    free(texts);
    tok_file_close(&f);
    printf("%s: %zu of %zu strings identical\n", family, n - wrong, n);
    return wrong;
}

static void check_lists(const fc_tok *t, const char *family, tok_file *g, size_t n_lists, bool special_known) {
    int32_t ids[65536];
    fc_str text = {0};
    for (size_t i = 0; i < n_lists; i++) {
        size_t n = tok_file_u16(g);
        uint32_t plain, special;
        for (size_t k = 0; k < n; k++) ids[k] = (int32_t)tok_file_u16(g);
        plain = tok_file_u32(g);
        special = tok_file_u32(g);
        fc_str_clear(&text);
        assert_ok(fc_tok_decode(t, ids, n, false, &text));
        if (tok_hash_text(fc_str_text(&text), text.size) != plain)
            fail_msg("%s: list %zu decodes to \"%s\"", family, i, fc_str_text(&text));
        fc_str_clear(&text);
        assert_ok(fc_tok_decode(t, ids, n, true, &text));
        if (special_known && tok_hash_text(fc_str_text(&text), text.size) != special)
            fail_msg("%s: list %zu decodes with special tokens to \"%s\"", family, i, fc_str_text(&text));
        tok_check_stream(t, ids, n);
    }
    fc_str_fini(&text);
}

/* If this fails, a prompt reaches the model as other tokens than the ones it was trained on. */
static void check_family(const fc_tok *t, const char *family, unsigned flags) {
    char path[128];
    tok_file g;
    size_t n_full, n_lists, wrong;
    snprintf(path, sizeof path, TOK_DATA "%s.golden", family);
    g = tok_file_open(path);
    assert_int_equal(tok_file_u32(&g), 10000);
    n_full = tok_file_u32(&g);
    n_lists = tok_file_u32(&g);
    wrong = check_strings(t, family, &g, flags, n_full);
    check_lists(t, family, &g, n_lists, flags & FC_TOK_PARSE_SPECIAL);
    assert_int_equal(g.at, g.size);
    tok_file_close(&g);
    if (wrong) fail_msg("%s: %zu strings differ", family, wrong);
}

static void json_families(void **state) {
    static const char *const families[] = {"gpt2", "llama3", "qwen2", "llama2", "mistral", "gemma", "unigram", "xlmr"};
    (void)state;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char path[128];
        fc_tok *t = NULL;
        snprintf(path, sizeof path, TOK_DATA "%s.json", families[i]);
        assert_ok(fc_tok_open_json(path, &t));
        check_family(t, families[i], FC_TOK_ADD_SPECIAL | FC_TOK_PARSE_SPECIAL);
        fc_tok_close(t);
    }
}

static void sentencepiece_families(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        const char *family = i ? "t5.spec" : "llama2.spec";
        char path[128];
        fc_tok *t;
        snprintf(path, sizeof path, TOK_DATA "%s", family);
        t = tok_spec_open(path);
        check_family(t, family, FC_TOK_ADD_SPECIAL);
        fc_tok_close(t);
    }
}

static void smollm2_from_gguf(void **state) {
    fc_weights *w = NULL;
    fc_tok *t = NULL;
    FILE *there = fopen(smollm2, "rb");
    (void)state;
    if (!there) {
        printf("skipped: %s is not there (quickstart.sh gets it)\n", smollm2);
        skip();
    }
    fclose(there);
    assert_ok(fc_weights_open(smollm2, &w));
    assert_ok(fc_model_tok_open(w, &t));
    fc_weights_close(w);
    assert_int_equal(fc_tok_size(t), 49152);
    assert_int_equal(fc_tok_bos(t), 1);
    assert_int_equal(fc_tok_eos(t), 2);
    assert_false(fc_tok_adds_bos(t));
    check_family(t, "smollm2", FC_TOK_ADD_SPECIAL | FC_TOK_PARSE_SPECIAL);
    fc_tok_close(t);
}

/* ---- variants -------------------------------------------------------------------------------------------- */

static char *model_of(const char *file, const fc_json *edits) {
    char path[128], *text;
    tok_file f;
    snprintf(path, sizeof path, TOK_DATA "%s.json", file);
    f = tok_file_open(path);
    text = strstr(f.data, "\"model\":");
    assert_non_null(text);
    text = strdup(text + 8); /* up to the end of the file: the model comes last */
    tok_file_close(&f);
    for (const fc_json *e = fc_json_first(edits); e; e = fc_json_next(e)) {
        const char *from, *to;
        fc_str out = {0};
        assert_ok(fc_json_string(fc_json_first(e), &from));
        assert_ok(fc_json_string(fc_json_next(fc_json_first(e)), &to));
        for (char *p = text, *hit;; p = hit + strlen(from)) {
            hit = strstr(p, from);
            assert_ok(fc_str_put(&out, p, hit ? (size_t)(hit - p) : strlen(p)));
            if (!hit) break;
            assert_ok(fc_str_puts(&out, to));
        }
        free(text);
        text = strdup(out.data);
        fc_str_fini(&out);
    }
    return text;
}

static uint64_t hash_variant(const fc_tok *t, const tok_text *texts, size_t n) {
    uint64_t h = 0;
    size_t bad;
    for (size_t i = 0; i < n; i++) {
        uint32_t one;
        if (!fc_utf8_valid(texts[i].text, texts[i].size, &bad)) continue;
        one = tok_hash_string(t, texts[i].text, texts[i].size, FC_TOK_ADD_SPECIAL | FC_TOK_PARSE_SPECIAL);
        h = tok_fnv(&one, sizeof one, h);
    }
    return h;
}

static void every_rule_alone(void **state) {
    fc_json_doc *doc;
    tok_file f;
    tok_text *texts;
    size_t count = 0, wrong = 0, n = tok_texts_open(&f, &texts);
    (void)state;
    assert_true(n >= 1200);
    assert_ok(fc_json_open(TOK_DATA "variants.json", 16 << 20, &doc));
    for (const fc_json *v = fc_json_first(fc_json_root(doc)); v; v = fc_json_next(v), count++) {
        const char *name, *model, *head, *hash;
        char *tail;
        fc_str text = {0};
        fc_tok *t = NULL;
        assert_ok(fc_json_string(fc_json_get(v, "name"), &name));
        assert_ok(fc_json_string(fc_json_get(v, "model"), &model));
        assert_ok(fc_json_string(fc_json_get(v, "json"), &head));
        assert_ok(fc_json_string(fc_json_get(v, "hash"), &hash));
        tail = model_of(model, fc_json_get(v, "edit"));
        assert_ok(fc_str_puts(&text, head));
        assert_ok(fc_str_puts(&text, tail));
        assert_ok(fc_tok_open_json_text(name, text.data, text.size, &t));
        if (hash_variant(t, texts, 1200) != strtoull(hash, NULL, 16)) {
            printf("variant \"%s\" differs\n", name);
            wrong++;
        }
        fc_tok_close(t);
        fc_str_fini(&text);
        free(tail);
    }
    printf("%zu of %zu variants identical\n", count - wrong, count);
    assert_int_equal(wrong, 0);
    assert_true(count >= 70);
    fc_json_close(doc);
    free(texts);
    tok_file_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_families),
        cmocka_unit_test(sentencepiece_families),
        cmocka_unit_test(smollm2_from_gguf),
        cmocka_unit_test(every_rule_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
