/* Token texts and prompt ids by the public tokenizer, on real families' tokenizers. */
#include "tests/app/openai_rig.h"

static const char *const files[] = {"tests/data/tokenizer/llama2.json", "tests/data/tokenizer/llama3.json",
                                    "tests/data/tokenizer/gemma.json",  "tests/data/tokenizer/qwen2.json",
                                    "tests/data/tokenizer/gpt2.json",   "tests/data/tokenizer/mistral.json"};
static const char *const texts[] = {"Hello world", " two  blanks ", "caf\xC3\xA9 \xE2\x98\x83\n\ttab", "x", "<s>a</s>"};

enum { FILES = sizeof files / sizeof *files, TEXTS = sizeof texts / sizeof *texts };

/* If this fails, logprobs.tokens do not add up to the text, and chunks are cut at other places than tokens. */
static void texts_of_tokens_add_up(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++) {
        fc_tokenizer *t;
        assert_ok(fc_tokenizer_open(files[f], &t));
        for (int k = 0; k < TEXTS; k++) {
            int32_t *ids;
            size_t n, size;
            char *whole;
            fc_str sum = {0};
            if (fc_tokenizer_encode(t, texts[k], strlen(texts[k]), false, false, &ids, &n)) continue; /* lost bytes */
            assert_ok(fc_tokenizer_decode(t, ids, n, true, &whole, &size));
            for (size_t i = 0; i < n; i++) assert_ok(openai_token_text(t, ids, i, true, &sum));
            if (strcmp(fc_str_text(&sum), whole) != 0)
                fail_msg("%s: \"%s\" is \"%s\", its tokens \"%s\"", files[f], texts[k], whole, fc_str_text(&sum));
            fc_str_fini(&sum);
            fc_memory_free(whole);
            fc_memory_free(ids);
        }
        fc_tokenizer_close(t);
    }
}

static void ids_beyond_the_tokenizer_have_no_text(void **state) {
    fc_tokenizer *t;
    fc_str out = {0};
    int32_t far;
    (void)state;
    assert_ok(fc_tokenizer_open(files[0], &t));
    far = fc_tokenizer_vocab(t);
    assert_ok(openai_token_text(t, &far, 0, true, &out));
    assert_int_equal(out.size, 0);
    fc_tokenizer_close(t);
}

static void same_ids(const char *file, const fc_tokenizer *t, const fc_prompt *p, bool bos, const char *text,
                     bool special) {
    int32_t *ids, *expected;
    size_t n, n_expected;
    if (fc_tokenizer_encode(t, text, strlen(text), bos, special, &expected, &n_expected)) return;
    assert_ok(openai_prompt_ids(t, p, bos, &ids, &n));
    if (n != n_expected || memcmp(ids, expected, n * sizeof *ids) != 0)
        fail_msg("%s: \"%s\": %zu ids, not %zu", file, text, n, n_expected);
    fc_memory_free(ids);
    fc_memory_free(expected);
}

/* BOS where the tokenizer's rule has one, once; template and data as one text. */
static void prompts_are_counted(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++) {
        fc_tokenizer *t;
        assert_ok(fc_tokenizer_open(files[f], &t));
        for (int k = 0; k < TEXTS; k++) {
            const fc_piece one = {texts[k], strlen(texts[k]), false};
            same_ids(files[f], t, &(fc_prompt){.pieces = &one, .n_pieces = 1}, true, texts[k], false);
            same_ids(files[f], t, &(fc_prompt){.pieces = &one, .n_pieces = 1}, false, texts[k], false);
        }
        {
            const fc_piece three[3] = {{"Ask: ", 5, true}, {"why not", 7, false}, {"?\n", 2, true}};
            same_ids(files[f], t, &(fc_prompt){.pieces = three, .n_pieces = 3}, true, "Ask: why not?\n", true);
        }
        fc_tokenizer_close(t);
    }
}

/* A template that writes its own BOS gets no second one, and data that spells it stays text. */
static void one_bos_and_no_more(void **state) {
    const fc_piece with[2] = {{"<s>Q ", 5, true}, {"<s>", 3, false}}, data = {"<s>", 3, false};
    fc_tokenizer *t;
    int32_t *ids;
    size_t n;
    (void)state;
    assert_ok(fc_tokenizer_open(files[0], &t));
    assert_ok(openai_prompt_ids(t, &(fc_prompt){.pieces = with, .n_pieces = 2}, true, &ids, &n));
    assert_int_equal(ids[0], 1);
    for (size_t i = 1; i < n; i++) assert_int_not_equal(ids[i], 1);
    fc_memory_free(ids);
    assert_ok(openai_prompt_ids(t, &(fc_prompt){.pieces = &data, .n_pieces = 1}, false, &ids, &n));
    for (size_t i = 0; i < n; i++) assert_int_not_equal(ids[i], 1);
    fc_memory_free(ids);
    fc_tokenizer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_tokens_add_up),
        cmocka_unit_test(ids_beyond_the_tokenizer_have_no_text),
        cmocka_unit_test(prompts_are_counted),
        cmocka_unit_test(one_bos_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
