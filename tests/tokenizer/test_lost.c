/* Bytes that a byte-level vocabulary has no token for: who asks for the ids of data is told. */
#include "engine/job.h"
#include "tests/tokenizer/util_tok.h"

/* "a", "b", the byte 0xff as GPT-2's alphabet writes it, the end token. */
static fc_tok *small(void) {
    static const fc_tok_str pieces[] = {{"a", 1}, {"b", 1}, {"\xC3\xBF", 2}, {"<end>", 5}};
    static const int32_t types[] = {FC_TOK_NORMAL, FC_TOK_NORMAL, FC_TOK_NORMAL, FC_TOK_CONTROL};
    fc_tok *t = NULL;
    assert_ok(fc_tok_open(&(fc_tok_spec){.name = "small",
                                         .model = FC_TOK_BPE,
                                         .pieces = pieces,
                                         .types = types,
                                         .V = 4,
                                         .bos = -1,
                                         .eos = 3,
                                         .unk = -1,
                                         .pad = -1},
                          &t));
    return t;
}

/* If this fails, a prompt is computed without some of its bytes, and nobody knows. */
static void the_first_lost_byte_is_named(void **state) {
    fc_tok *t = small();
    fc_piece pieces[] = {{"ab", 2, true},
                         {"\xff"
                          "ac",
                          3, false}};
    const fc_prompt whole = {.pieces = pieces, .n_pieces = 2};
    const int32_t ids[] = {0};
    size_t at = 77;
    (void)state;
    assert_false(fc_tok_loses(t, "", 0, &at));
    assert_false(fc_tok_loses(t, "ab\xff", 3, &at));
    assert_int_equal(at, 77);
    assert_true(fc_tok_loses(t, "ab\xfe\xfd", 4, &at));
    assert_int_equal(at, 2);
    assert_fails(fc_prompt_check(t, &whole, "prompt"), FC_ERR_ARG, "prompt: byte 0x63 at offset 4 has no token");
    pieces[1].size = 2;
    assert_ok(fc_prompt_check(t, &whole, "prompt"));
    assert_ok(fc_prompt_check(t, &(fc_prompt){.ids = ids, .n_ids = 1}, "prompt"));
    fc_tok_close(t);
}

/* If this fails, texts are refused that the tokenizer turns into ids without loss. */
static void whole_alphabets_and_other_kinds_lose_nothing(void **state) {
    static const char *const families[] = {"gpt2", "llama3", "qwen2", "llama2", "mistral", "gemma", "unigram", "xlmr"};
    char every[256], path[128];
    size_t at;
    (void)state;
    for (int b = 0; b < 256; b++) every[b] = (char)b;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        fc_tok *t = NULL;
        snprintf(path, sizeof path, TOK_DATA "%s.json", families[i]);
        assert_ok(fc_tok_open_json(path, &t));
        assert_false(fc_tok_loses(t, every, sizeof every, &at));
        fc_tok_close(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_lost_byte_is_named),
        cmocka_unit_test(whole_alphabets_and_other_kinds_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
