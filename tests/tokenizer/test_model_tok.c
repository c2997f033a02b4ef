/* The tokenizer that a model file states: which keys count, what holds where they are absent, and the public calls. */
#include "tests/tokenizer/util_tok.h"

#include "engine/base/mem.h"
#include "engine/forkcast.h"
#include "engine/model_tok.h"
#include "weights_tools/gguf_write.h"

#include <unistd.h>

static char gguf_path[64];

typedef struct {
    const char *model, *pre, *json, *chat;
    const char *const *pieces; /* ends in NULL */
    const int32_t *types;
    const float *scores;
    const char *merge;
    int bos, eos, unk;               /* -1: no key */
    int add_bos, add_eos, add_space; /* -1: no key */
} facts;

static const char *const pieces[] = {"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a", "b", "ab", "<0x41>", NULL};
static const int32_t types[] = {FC_TOK_UNKNOWN, FC_TOK_CONTROL, FC_TOK_CONTROL, 1, 1, 1, 1, FC_TOK_BYTE};
static const float scores[] = {0, 0, 0, -1, -2, -3, -4, 0};
static const facts none = {.model = "llama",
                           .pieces = pieces,
                           .types = types,
                           .scores = scores,
                           .bos = 1,
                           .eos = 2,
                           .unk = 0,
                           .add_bos = -1,
                           .add_eos = -1,
                           .add_space = -1};

static void write_tokenizer(fc_gguf_write *w, const facts *f) {
    fc_view_str views[16];
    size_t n = 0;
    if (f->model) assert_ok(fc_gguf_write_string(w, "tokenizer.ggml.model", f->model, strlen(f->model)));
    if (f->pre) assert_ok(fc_gguf_write_string(w, "tokenizer.ggml.pre", f->pre, strlen(f->pre)));
    if (f->json) assert_ok(fc_gguf_write_string(w, "tokenizer.huggingface.json", f->json, strlen(f->json)));
    if (f->chat) assert_ok(fc_gguf_write_string(w, "tokenizer.chat_template", f->chat, strlen(f->chat)));
    for (; f->pieces[n]; n++) views[n] = (fc_view_str){f->pieces[n], strlen(f->pieces[n])};
    assert_ok(fc_gguf_write_strings(w, "tokenizer.ggml.tokens", views, n));
    if (f->types) assert_ok(fc_gguf_write_i32s(w, "tokenizer.ggml.token_type", f->types, n));
    if (f->scores) assert_ok(fc_gguf_write_f32s(w, "tokenizer.ggml.scores", f->scores, n));
    if (f->merge) {
        views[0] = (fc_view_str){f->merge, strlen(f->merge)};
        assert_ok(fc_gguf_write_strings(w, "tokenizer.ggml.merges", views, 1));
    }
    if (f->bos >= 0) assert_ok(fc_gguf_write_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)f->bos));
    if (f->eos >= 0) assert_ok(fc_gguf_write_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)f->eos));
    if (f->unk >= 0) assert_ok(fc_gguf_write_u32(w, "tokenizer.ggml.unknown_token_id", (uint32_t)f->unk));
    if (f->add_bos >= 0) assert_ok(fc_gguf_write_bool(w, "tokenizer.ggml.add_bos_token", f->add_bos));
    if (f->add_eos >= 0) assert_ok(fc_gguf_write_bool(w, "tokenizer.ggml.add_eos_token", f->add_eos));
    if (f->add_space >= 0) assert_ok(fc_gguf_write_bool(w, "tokenizer.ggml.add_space_prefix", f->add_space));
}

/* A model file with these facts about its tokenizer and the least of everything else. */
static void write_model(const facts *f) {
    static const struct {
        const char *key;
        uint32_t value;
    } numbers[] = {{"llama.block_count", 1},          {"llama.context_length", 64},
                   {"llama.embedding_length", 32},    {"llama.feed_forward_length", 32},
                   {"llama.attention.head_count", 4}, {"llama.attention.head_count_kv", 4}};
    static const char *const square[] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
    static const char *const vectors[] = {"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"};
    static const float zeros[16 * 32 + 3 * 32 + 7 * 32 * 32];
    char name[64];
    fc_gguf_write *w = NULL;
    snprintf(gguf_path, sizeof gguf_path, "model_tok-%d.gguf", (int)getpid());
    assert_ok(fc_gguf_write_open(gguf_path, NULL, &w));
    assert_ok(fc_gguf_write_string(w, "general.architecture", "llama", 5));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        assert_ok(fc_gguf_write_u32(w, numbers[i].key, numbers[i].value));
    assert_ok(fc_gguf_write_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f));
    write_tokenizer(w, f);
    assert_ok(fc_gguf_write_tensor(w, "token_embd.weight", FC_F32, 2, 16, 32));
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        snprintf(name, sizeof name, "%s.weight", vectors[i]);
        assert_ok(fc_gguf_write_tensor(w, name, FC_F32, 1, 1, 32));
    }
    for (size_t i = 0; i < sizeof square / sizeof *square; i++) {
        snprintf(name, sizeof name, "blk.0.%s.weight", square[i]);
        assert_ok(fc_gguf_write_tensor(w, name, FC_F32, 2, 32, 32));
    }
    assert_ok(fc_gguf_write_start(w, NULL, NULL));
    assert_ok(fc_gguf_write_data(w, zeros, sizeof zeros));
    assert_ok(fc_gguf_write_finish(w));
    fc_gguf_write_close(w);
}

static fc_status open_facts(const facts *f, fc_tok **out) {
    fc_weights *w = NULL;
    fc_status st;
    write_model(f);
    assert_ok(fc_weights_open(gguf_path, &w));
    unlink(gguf_path);
    st = fc_model_tok_open(w, out);
    fc_weights_close(w);
    return st;
}

static void gives(const facts *f, const char *text, size_t n, const int32_t *want) {
    fc_tok *t = NULL;
    tok_ids ids = {0};
    assert_ok(open_facts(f, &t));
    tok_encode(t, text, strlen(text), FC_TOK_ADD_SPECIAL, &ids);
    assert_int_equal(ids.n, n);
    assert_memory_equal(ids.ids, want, n * sizeof *want);
    tok_ids_fini(&ids);
    fc_tok_close(t);
}

#define GIVES(f, text, ...) gives(f, text, sizeof((int32_t[]){__VA_ARGS__}) / 4, (int32_t[]){__VA_ARGS__})

static void sentencepiece_by_its_keys(void **state) {
    facts f = none;
    (void)state;
    GIVES(&f, "ab A", 1, 3, 6, 3, 7); /* BOS and the blank in front are llama's defaults; A falls back to its byte */
    f.add_bos = 0;
    GIVES(&f, "ab", 3, 6);
    f.add_space = 0;
    GIVES(&f, "ab", 6);
    f.add_eos = 1;
    GIVES(&f, "ab", 6, 2);
    f = none;
    f.bos = -1; /* what is not named is not added */
    GIVES(&f, "ab", 3, 6);
}

static void unigram_by_its_keys(void **state) {
    facts f = none;
    (void)state;
    f.model = "t5";
    GIVES(&f, "ab", 3, 6, 2); /* EOS is t5's default; "ab" scores better than "a" and "b" */
    f.add_eos = 0;
    GIVES(&f, "b", 3, 5);
}

static void byte_level_by_its_keys(void **state) {
    facts f = none;
    (void)state;
    f.model = "gpt2";
    f.merge = "a b";
    GIVES(&f, "abb", 6, 5); /* nothing is added */
    f.pre = "llama-bpe";
    GIVES(&f, "ab", 1, 6);
    f.add_bos = 0;
    GIVES(&f, "ab", 6);
    f.merge = NULL;
    GIVES(&f, "ab", 6); /* ignore_merges: a word that is a piece */
}

static void wrong_keys_are_named(void **state) {
    facts f = none;
    fc_tok *t = NULL;
    (void)state;
    f.model = "rwkv";
    assert_fails(open_facts(&f, &t), FC_ERR_UNSUPPORTED, "tokenizer.ggml.model \"rwkv\"");
    f.model = NULL;
    assert_fails(open_facts(&f, &t), FC_ERR_FORMAT, "no tokenizer.ggml.model");
    f = none, f.model = "gpt2", f.pre = "tekken";
    assert_fails(open_facts(&f, &t), FC_ERR_UNSUPPORTED, "tokenizer.ggml.pre \"tekken\"");
    f = none, f.scores = NULL;
    assert_fails(open_facts(&f, &t), FC_ERR_FORMAT, "without scores");
    f = none, f.bos = -1, f.add_bos = 1;
    assert_fails(open_facts(&f, &t), FC_ERR_FORMAT, "BOS is to be added");
    f = none, f.model = "gpt2", f.merge = "a c";
    assert_fails(open_facts(&f, &t), FC_ERR_FORMAT, "merge 0 names \"c\"");
}

static const char json[] =
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":2,\"content\":\"<e>\",\"special\":true}],\"normalizer\":null,"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}";

static void a_whole_tokenizer_json_goes_first(void **state) {
    facts f = none;
    fc_tok *t = NULL;
    (void)state;
    f.json = json;
    GIVES(&f, "ab", 0, 1);
    assert_ok(open_facts(&f, &t));
    assert_int_equal(fc_tok_eos(t), 2); /* it names no end; the model's configuration does */
    fc_tok_close(t);
    f.json = "{";
    assert_fails(open_facts(&f, &t), FC_ERR_FORMAT, gguf_path);
}

/* ---- forkcast.h ------------------------------------------------------------------------------------------ */

static void public_calls(void **state) {
    static const char chatml[] = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
                                 "message['content'] + '<|im_end|>' + '\n'}}"
                                 "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    fc_message message = {.role = "user", .content = "ab<s>"};
    facts f = none;
    fc_tokenizer *t = NULL;
    int32_t *ids = NULL;
    size_t n, size;
    char *text = NULL;
    fc_piece *parts = NULL;
    fc_str whole = {0};
    (void)state;
    assert_fails(fc_tokenizer_open("no-such-file.gguf", &t), FC_ERR_IO, "no-such-file.gguf");
    assert_fails(fc_tokenizer_open(NULL, &t), FC_ERR_ARG, "model path");
    write_model(&f);
    assert_ok(fc_tokenizer_open(gguf_path, &t));
    assert_int_equal(fc_tokenizer_vocab(t), 8);
    assert_ok(fc_tokenizer_encode(t, "ab</s>", 6, true, true, &ids, &n));
    assert_int_equal(n, 4);
    assert_memory_equal(ids, ((int32_t[]){1, 3, 6, 2}), 16);
    assert_ok(fc_tokenizer_decode(t, ids, n, false, &text, &size));
    assert_string_equal(text, "ab");
    fc_memory_free(text);
    assert_ok(fc_tokenizer_decode(t, ids, n, true, &text, &size));
    assert_string_equal(text, "<s> ab</s>"); /* the blank in front belongs to the text only when it comes first */
    assert_int_equal(size, strlen(text));
    fc_memory_free(text);
    fc_memory_free(ids);
    assert_ok(fc_tokenizer_encode(t, "", 0, false, false, &ids, &n));
    assert_int_equal(n, 0);
    fc_memory_free(ids);
    assert_ok(fc_tokenizer_decode(t, NULL, 0, false, &text, &size));
    assert_string_equal(text, "");
    fc_memory_free(text);
    assert_fails(fc_tokenizer_chat(t, &message, 1, true, &parts, &n), FC_ERR_UNSUPPORTED, "no chat template");
    fc_tokenizer_close(t);
    f.chat = chatml;
    write_model(&f);
    assert_ok(fc_tokenizer_open(gguf_path, &t));
    assert_ok(fc_tokenizer_chat(t, &message, 1, true, &parts, &n));
    for (size_t i = 0; i < n; i++) {
        assert_ok(fc_str_put(&whole, parts[i].text, parts[i].size));
        if (strstr(parts[i].text, "ab<s>") == parts[i].text) assert_false(parts[i].special);
    }
    assert_string_equal(whole.data, "<|im_start|>user\nab<s><|im_end|>\n<|im_start|>assistant\n");
    fc_memory_free(parts);
    fc_str_fini(&whole);
    fc_tokenizer_close(t);
    fc_tokenizer_close(NULL);
    unlink(gguf_path);
}

static void a_tokenizer_json_alone(void **state) {
    fc_tokenizer *t = NULL;
    int32_t *ids = NULL;
    size_t n;
    FILE *f;
    char path[64];
    (void)state;
    snprintf(path, sizeof path, "model_tok-%d-tokenizer.json", (int)getpid());
    f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(json, 1, sizeof json - 1, f);
    fclose(f);
    assert_ok(fc_tokenizer_open(path, &t));
    unlink(path);
    assert_ok(fc_tokenizer_encode(t, "ba", 2, true, false, &ids, &n));
    assert_int_equal(n, 2);
    assert_int_equal(ids[0], 1);
    fc_memory_free(ids);
    fc_tokenizer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentencepiece_by_its_keys),
        cmocka_unit_test(unigram_by_its_keys),
        cmocka_unit_test(byte_level_by_its_keys),
        cmocka_unit_test(wrong_keys_are_named),
        cmocka_unit_test(a_whole_tokenizer_json_goes_first),
        cmocka_unit_test(public_calls),
        cmocka_unit_test(a_tokenizer_json_alone),
    };
    const char *folder = getenv("FORKCAST_BUILD"); /* files are written there, not into the tree */
    if (folder && chdir(folder)) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
