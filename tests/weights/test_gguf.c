/* GGUF: what a file says is what comes out, and what it must not say is refused with file, name and number. */
#include "tests/util.h"

#include "tests/weights/util_gguf.h"
#include "weights_tools/gguf.h"

#include <unistd.h>

/* Parses what g makes, from memory of exactly that size; the caller frees *bytes after use. */
static fc_status parse(const gg_file *g, fc_str *bytes, fc_gguf *out) {
    gg_finish(g, bytes);
    return fc_gguf_parse("made.gguf", (const unsigned char *)bytes->data, bytes->size, out);
}

static void refused(const gg_file *g, fc_status status, const char *words) {
    fc_str bytes = {0};
    fc_gguf out;
    assert_fails(parse(g, &bytes, &out), status, words);
    assert_non_null(strstr(fc_status_text(), "made.gguf"));
    fc_str_fini(&bytes);
}

/* Opens the file that g makes through the whole door. */
static fc_status open_model(const gg_file *g, fc_weights **out) {
    fc_str bytes = {0};
    const char *path = gg_path("model.gguf");
    gg_finish(g, &bytes);
    gg_write(path, bytes.data, bytes.size);
    fc_str_fini(&bytes);
    return fc_weights_open(path, out);
}

static const fc_meta *meta(const fc_gguf *g, const char *key) {
    const fc_gguf_meta *m = fc_gguf_find(g, key);
    if (!m) fail_msg("%s is missing", key);
    return &m->value;
}

/* If this fails, a tokenizer or a configuration reads other numbers than the file holds. */
static void every_value_type_is_read(void **state) {
    gg_file g;
    fc_str bytes = {0};
    fc_gguf f;
    const int8_t i8 = -5;
    const int16_t i16 = -3000;
    const int32_t i32 = -70000;
    const int64_t i64 = -5000000000;
    const uint8_t u8 = 250;
    const uint16_t u16 = 65000;
    const uint64_t u64 = 1ull << 40, huge = 1ull << 63;
    const double f64 = 0.1;
    (void)state;
    gg_init(&g);
    gg_raw(&g, "u8", GG_U8, &u8, 1);
    gg_raw(&g, "i8", GG_I8, &i8, 1);
    gg_raw(&g, "u16", GG_U16, &u16, 2);
    gg_raw(&g, "i16", GG_I16, &i16, 2);
    gg_u32(&g, "u32", 4000000000u);
    gg_raw(&g, "i32", GG_I32, &i32, 4);
    gg_raw(&g, "u64", GG_U64, &u64, 8);
    gg_raw(&g, "i64", GG_I64, &i64, 8);
    gg_raw(&g, "huge", GG_U64, &huge, 8);
    gg_f32(&g, "f32", 1.5f);
    gg_raw(&g, "f64", GG_F64, &f64, 8);
    gg_bool(&g, "bool", true);
    gg_str(&g, "string", "two words");
    assert_ok(parse(&g, &bytes, &f));
    assert_int_equal(f.n_meta, 13);
    assert_int_equal(meta(&f, "u8")->i, 250);
    assert_int_equal(meta(&f, "i8")->i, -5);
    assert_int_equal(meta(&f, "u16")->i, 65000);
    assert_int_equal(meta(&f, "i16")->i, -3000);
    assert_int_equal(meta(&f, "u32")->i, 4000000000);
    assert_int_equal(meta(&f, "i32")->i, -70000);
    assert_int_equal(meta(&f, "u64")->i, 1ll << 40);
    assert_int_equal(meta(&f, "i64")->i, -5000000000);
    assert_int_equal(meta(&f, "huge")->kind, FC_META_FLOAT);
    assert_true(meta(&f, "huge")->f == 0x1p63);
    assert_int_equal(meta(&f, "f32")->kind, FC_META_FLOAT);
    assert_true(meta(&f, "f32")->f == 1.5 && meta(&f, "f64")->f == 0.1);
    assert_int_equal(meta(&f, "bool")->kind, FC_META_BOOL);
    assert_int_equal(meta(&f, "bool")->i, 1);
    assert_int_equal(meta(&f, "string")->s.size, 9);
    assert_memory_equal(meta(&f, "string")->s.text, "two words", 9);
    assert_string_equal(f.meta[2].key, "u16"); /* file order is kept */
    assert_null(fc_gguf_find(&f, "absent"));
    fc_gguf_fini(&f);
    fc_str_fini(&bytes);
    gg_fini(&g);
}

static void arrays_are_read(void **state) {
    gg_file g;
    fc_str bytes = {0};
    fc_gguf f;
    static const char *const words[] = {"a", "", "ccc"};
    const int16_t shorts[] = {-1, 2, 30000};
    const float floats[] = {0.5f, -2.0f};
    const uint8_t bools[] = {1, 0, 1};
    const uint32_t wide[] = {1, 3000000000u};
    const float nan_one[] = {NAN};
    fc_view_str s[3];
    int32_t i[3];
    float x[2];
    (void)state;
    gg_init(&g);
    gg_strs(&g, "words", words, 3);
    gg_array(&g, "shorts", GG_I16, shorts, 3, 2);
    gg_array(&g, "floats", GG_F32, floats, 2, 4);
    gg_array(&g, "bools", GG_BOOL, bools, 3, 1);
    gg_array(&g, "wide", GG_U32, wide, 2, 4);
    gg_array(&g, "nan", GG_F32, nan_one, 1, 4);
    gg_strs(&g, "none", NULL, 0);
    assert_ok(parse(&g, &bytes, &f));
    assert_ok(fc_gguf_strings(&f, "words", s, 3));
    assert_int_equal(s[1].size, 0);
    assert_memory_equal(s[2].text, "ccc", 3);
    assert_ok(fc_gguf_ints(&f, "shorts", i, 3));
    assert_int_equal(i[0], -1);
    assert_int_equal(i[2], 30000);
    assert_ok(fc_gguf_ints(&f, "bools", i, 3));
    assert_true(i[0] == 1 && i[1] == 0 && i[2] == 1);
    assert_ok(fc_gguf_floats(&f, "floats", x, 2));
    assert_true(x[0] == 0.5f && x[1] == -2.0f);
    assert_ok(fc_gguf_strings(&f, "none", s, 0));
    assert_fails(fc_gguf_strings(&f, "shorts", s, 3), FC_ERR_FORMAT, "shorts");
    assert_fails(fc_gguf_ints(&f, "words", i, 3), FC_ERR_FORMAT, "words");
    assert_fails(fc_gguf_ints(&f, "shorts", i, 2), FC_ERR_FORMAT, "3 elements, not 2");
    assert_fails(fc_gguf_ints(&f, "wide", i, 2), FC_ERR_FORMAT, "element 1 is 3000000000");
    assert_fails(fc_gguf_floats(&f, "nan", x, 1), FC_ERR_FORMAT, "nan: element 0");
    assert_fails(fc_gguf_floats(&f, "absent", x, 1), FC_ERR_FORMAT, "absent is missing");
    fc_gguf_fini(&f);
    fc_str_fini(&bytes);
    gg_fini(&g);
}

/* If this fails, rows of a quantised matrix are read from the wrong place. */
static void every_tensor_type_has_its_size(void **state) {
    static const struct {
        uint32_t number;
        fc_dtype dtype;
        size_t bytes; /* of 2 rows of 256 */
    } types[] = {{0, FC_F32, 2048},  {1, FC_F16, 1024}, {30, FC_BF16, 1024}, {8, FC_Q8_0, 544},  {2, FC_Q4_0, 288},
                 {3, FC_Q4_1, 320},  {6, FC_Q5_0, 352}, {7, FC_Q5_1, 384},   {12, FC_Q4_K, 288}, {13, FC_Q5_K, 352},
                 {14, FC_Q6_K, 420}, {24, FC_I8, 512},  {26, FC_I32, 2048}};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        gg_file g;
        fc_str bytes = {0};
        fc_gguf f;
        const uint64_t dims[] = {256, 2};
        gg_init(&g);
        gg_entry(&g, "t", 2, dims, types[i].number, 0);
        for (size_t k = 0; k < types[i].bytes; k++) gg_put(&g.data, &(unsigned char){(unsigned char)k}, 1);
        assert_ok(parse(&g, &bytes, &f));
        assert_int_equal(f.tensors[0].dtype, types[i].dtype);
        assert_int_equal(f.tensors[0].bytes, types[i].bytes);
        assert_int_equal(f.tensors[0].N, 2);
        assert_int_equal(f.tensors[0].K, 256);
        assert_memory_equal(f.tensors[0].data, g.data.data, types[i].bytes);
        fc_gguf_fini(&f);
        fc_str_fini(&bytes);
        /* one byte less, and the tensor ends behind the file */
        g.data.size--;
        refused(&g, FC_ERR_FORMAT, "tensor t");
        gg_fini(&g);
    }
}

static void other_tensor_types_are_refused_by_number(void **state) {
    static const uint32_t numbers[] = {4, 5, 9, 10, 11, 15, 16, 20, 25, 27, 28, 31, 34, 39, 40, 255, 0xffffffffu};
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        gg_file g;
        char words[64];
        const uint64_t dims[] = {256};
        gg_init(&g);
        gg_entry(&g, "odd.weight", 1, dims, numbers[i], 0);
        gg_put(&g.data, "", 1);
        snprintf(words, sizeof words, "number %u", numbers[i]);
        refused(&g, FC_ERR_UNSUPPORTED, words);
        refused(&g, FC_ERR_UNSUPPORTED, "odd.weight");
        gg_fini(&g);
    }
}

static void shapes_keep_their_order(void **state) {
    gg_file g;
    fc_str bytes = {0};
    fc_gguf f;
    const uint64_t dims[] = {2, 3, 4, 5};
    (void)state;
    gg_init(&g);
    gg_u32(&g, "general.alignment", 64);
    g.alignment = 64;
    gg_tensor(&g, "vector", 0, 7);
    gg_tensor(&g, "matrix", 5, 3);
    while (g.data.size % 64) gg_put(&g.data, "", 1);
    gg_entry(&g, "four", 4, dims, 0, g.data.size);
    for (int i = 0; i < 120; i++) gg_put_u32(&g.data, 0);
    assert_ok(parse(&g, &bytes, &f));
    assert_true(f.tensors[0].N == 1 && f.tensors[0].K == 7 && f.tensors[0].n_dims == 1);
    assert_true(f.tensors[1].N == 5 && f.tensors[1].K == 3);
    assert_true(f.tensors[2].N == 60 && f.tensors[2].K == 2);
    assert_int_equal((const char *)f.tensors[1].data - (const char *)f.tensors[0].data, 64);
    assert_int_equal(f.data_offset % 64, 0);
    fc_gguf_fini(&f);
    fc_str_fini(&bytes);
    gg_fini(&g);
}

static void versions_and_kinds_of_file(void **state) {
    gg_file g;
    fc_str bytes = {0};
    fc_gguf f;
    (void)state;
    gg_init(&g);
    g.version = 2;
    assert_ok(parse(&g, &bytes, &f));
    fc_gguf_fini(&f);
    fc_str_fini(&bytes);
    g.version = 1;
    refused(&g, FC_ERR_UNSUPPORTED, "version 1");
    g.version = 4;
    refused(&g, FC_ERR_UNSUPPORTED, "version 4");
    g.version = 0x03000000;
    refused(&g, FC_ERR_UNSUPPORTED, "big-endian");
    g.version = 3;
    gg_u32(&g, "split.count", 3);
    refused(&g, FC_ERR_UNSUPPORTED, "one of 3 parts");
    gg_fini(&g);
}

static void twice_is_refused(void **state) {
    gg_file g;
    (void)state;
    gg_init(&g);
    gg_u32(&g, "general.alignment", 32);
    gg_u32(&g, "x", 1);
    gg_u32(&g, "general.alignment", 64);
    refused(&g, FC_ERR_FORMAT, "general.alignment is there twice");
    gg_fini(&g);
    gg_init(&g);
    gg_tensor(&g, "a", 0, 8);
    gg_tensor(&g, "b", 0, 8);
    gg_tensor(&g, "a", 0, 8);
    refused(&g, FC_ERR_FORMAT, "tensor a is there twice");
    gg_fini(&g);
}

static void a_tiny_model_opens(void **state) {
    static const char *const archs[] = {"llama", "qwen2", "qwen3", "gemma2", "gemma3"};
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        gg_file g;
        fc_weights *w = NULL;
        const fc_tensor *t;
        fc_meta m;
        gg_init(&g);
        gg_model(&g, archs[i], 2);
        assert_ok(open_model(&g, &w));
        assert_string_equal(fc_weights_config(w)->arch, archs[i]);
        assert_true(fc_weights_is_gguf(w));
        assert_int_equal(fc_weights_count(w), g.n_tensors);
        assert_string_equal(fc_weights_at(w, 0)->name, "token_embd.weight");
        assert_null(fc_weights_at(w, fc_weights_count(w)));
        assert_ok(fc_weights_need(w, "blk.1.ffn_down.weight", 32, 48, &t));
        assert_fails(fc_weights_need(w, "blk.1.ffn_down.weight", 48, 32, &t), FC_ERR_FORMAT,
                     "32 rows of 48, not 48 rows");
        assert_fails(fc_weights_need(w, "blk.2.ffn_down.weight", 32, 48, &t), FC_ERR_FORMAT,
                     "blk.2.ffn_down.weight is missing");
        assert_null(fc_weights_find(w, "blk.2.ffn_down.weight"));
        assert_true(fc_weights_meta(w, "tokenizer.ggml.tokens", &m));
        assert_int_equal(m.count, 24);
        assert_false(fc_weights_meta(w, "tokenizer.ggml.merges", &m));
        assert_int_equal(fc_weights_meta_count(w), g.n_meta);
        assert_string_equal(fc_weights_meta_key(w, 0, &m), "general.architecture");
        assert_null(fc_weights_tokenizer_json_path(w));
        fc_weights_close(w);
        gg_fini(&g);
    }
}

/* Every tensor that the configuration implies is demanded: leave any one out, and its name is in the error. */
static void a_missing_tensor_is_named(void **state) {
    static const char *const archs[] = {"qwen2", "gemma3"};
    (void)state;
    for (size_t a = 0; a < 2; a++)
        for (size_t left_out = 0;; left_out++) {
            gg_file g;
            fc_weights *w = NULL;
            fc_str bytes = {0};
            fc_gguf f;
            char name[64];
            size_t n;
            gg_init(&g);
            gg_model(&g, archs[a], 1);
            assert_ok(parse(&g, &bytes, &f));
            n = f.n_tensors;
            if (left_out < n) {
                char *at;
                snprintf(name, sizeof name, "%s", f.tensors[left_out].name);
                /* renamed rather than cut out: offsets stay as they are */
                at = gg_at(&g.infos, name);
                at[strlen(name) - 1] = 'X';
                if (strcmp(name, "blk.0.attn_q.bias") == 0) at[strlen(name) - 4] = 'X'; /* no longer a bias at all */
                assert_int_not_equal(open_model(&g, &w), FC_OK);
                if (!strstr(fc_status_text(), name)) fail_msg("without %s: %s", name, fc_status_text());
            }
            fc_gguf_fini(&f);
            fc_str_fini(&bytes);
            gg_fini(&g);
            if (left_out >= n) break;
        }
}

static void extra_tensors_are_listed_unless_they_matter(void **state) {
    gg_file g;
    fc_weights *w = NULL;
    (void)state;
    gg_init(&g);
    gg_model(&g, "llama", 1);
    gg_tensor(&g, "something.else", 3, 3);
    gg_tensor(&g, "blk.1.nextn.eh_proj.weight", 3, 3); /* behind the last layer: a head that predicts further tokens */
    assert_ok(open_model(&g, &w));
    assert_non_null(fc_weights_find(w, "something.else"));
    fc_weights_close(w);
    gg_tensor(&g, "blk.0.ffn_up.bias", 0, 48);
    assert_fails(open_model(&g, &w), FC_ERR_UNSUPPORTED, "blk.0.ffn_up.bias");
    gg_fini(&g);
    gg_init(&g);
    gg_model(&g, "llama", 1);
    gg_tensor(&g, "blk.0.attn_q_norm.weight", 0, 8);
    assert_fails(open_model(&g, &w), FC_ERR_UNSUPPORTED, "blk.0.attn_q_norm.weight");
    gg_fini(&g);
    gg_init(&g);
    gg_model(&g, "llama", 1);
    gg_tensor(&g, "blk.0.attn_sinks", 0, 4);
    assert_fails(open_model(&g, &w), FC_ERR_UNSUPPORTED, "blk.0.attn_sinks");
    gg_fini(&g);
}

/* If this fails, a scaled rotary embedding reads past its factors. */
static void rope_factors_need_their_shape(void **state) {
    gg_file g;
    fc_weights *w = NULL;
    (void)state;
    gg_init(&g);
    gg_model(&g, "llama", 1);
    gg_tensor(&g, "rope_freqs.weight", 0, 4);
    assert_ok(open_model(&g, &w));
    assert_true(fc_weights_config(w)->rope_freqs_tensor);
    fc_weights_close(w);
    gg_fini(&g);
    gg_init(&g);
    gg_model(&g, "llama", 1);
    gg_tensor(&g, "rope_freqs.weight", 0, 3);
    assert_fails(open_model(&g, &w), FC_ERR_FORMAT, "rope_freqs.weight has 1 rows of 3, not 1 rows of 4");
    gg_fini(&g);
}

/* Integers and vectors of blocks cannot be weights. */
static void unusable_types_are_refused(void **state) {
    static const struct {
        const char *name;
        uint32_t type;
    } wrong[] = {{"token_embd.weight", 24}, {"token_embd.weight", 26}, {"output_norm.weight", 8}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        gg_file g;
        fc_weights *w = NULL;
        char *at;
        size_t dims;
        gg_init(&g);
        gg_model(&g, "llama", 1);
        at = gg_at(&g.infos, wrong[i].name);
        dims = strcmp(wrong[i].name, "output_norm.weight") == 0 ? 1 : 2;
        memcpy(at + strlen(wrong[i].name) + 4 + 8 * dims, &wrong[i].type, 4);
        assert_fails(open_model(&g, &w), FC_ERR_UNSUPPORTED, wrong[i].name);
        gg_fini(&g);
    }
}

static uint64_t fingerprint_of(const gg_file *g) {
    fc_weights *w = NULL;
    uint64_t f;
    assert_ok(open_model(g, &w));
    f = fc_weights_fingerprint(w);
    fc_weights_close(w);
    return f;
}

static uint64_t whole_fingerprint_of(const gg_file *g) {
    fc_weights *w = NULL;
    uint64_t f;
    assert_ok(open_model(g, &w));
    f = fc_weights_fingerprint_whole(w);
    fc_weights_close(w);
    return f;
}

/* If this fails, scores in a file are those of the model before an edit. */
static void whole_fingerprints_see_every_byte(void **state) {
    uint64_t first, seed = 6;
    gg_file g;
    (void)state;
    gg_init(&g);
    gg_model(&g, "llama", 1);
    gg_tensor(&g, "large", 64, 128);
    first = whole_fingerprint_of(&g);
    assert_true(whole_fingerprint_of(&g) == first);
    for (int i = 0; i < 400; i++) {
        unsigned char *at = (unsigned char *)g.data.data + g.data.size - 1 - test_below(&seed, 32768);
        unsigned char bit = (unsigned char)(1 << test_below(&seed, 8));
        *at ^= bit;
        if (whole_fingerprint_of(&g) == first)
            fail_msg("byte %d from the end, bit %d", (int)((unsigned char *)g.data.data + g.data.size - at), bit);
        *at ^= bit;
    }
    gg_arch_f32(&g, "llama", "rope.freq_base", 20000.0f);
    assert_true(whole_fingerprint_of(&g) != first);
    gg_fini(&g);
}

/* If this fails, a cached score of one model is given out for another. */
static void fingerprints_tell_models_apart(void **state) {
    gg_file g;
    uint64_t first, again, other_weight, other_config;
    (void)state;
    gg_init(&g);
    gg_model(&g, "llama", 1);
    first = fingerprint_of(&g);
    again = fingerprint_of(&g);
    assert_true(first == again);
    g.data.data[g.data.size - 1] ^= 1;
    other_weight = fingerprint_of(&g);
    assert_true(other_weight != first);
    g.data.data[g.data.size - 1] ^= 1;
    assert_true(fingerprint_of(&g) == first);
    gg_tensor(&g, "large", 64, 128); /* 32 KiB: only samples of it count, but both ends always */
    first = fingerprint_of(&g);
    g.data.data[g.data.size - 1] ^= 1;
    assert_true(fingerprint_of(&g) != first);
    g.data.data[g.data.size - 1] ^= 1;
    g.data.data[g.data.size - 32768] ^= 1;
    assert_true(fingerprint_of(&g) != first);
    g.data.data[g.data.size - 32768] ^= 1;
    gg_arch_f32(&g, "llama", "rope.freq_base", 20000.0f);
    other_config = fingerprint_of(&g);
    assert_true(other_config != first && other_config != other_weight);
    gg_fini(&g);
}

static void folders_and_wrong_paths(void **state) {
    gg_file g;
    fc_weights *w = NULL;
    fc_str bytes = {0};
    (void)state;
    gg_init(&g);
    gg_model(&g, "llama", 1);
    assert_ok(open_model(&g, &w));
    fc_weights_close(w);
    assert_ok(fc_weights_open(gg_folder(), &w)); /* its only .gguf file */
    assert_string_equal(fc_weights_path(w), gg_path("model.gguf"));
    fc_weights_close(w);
    gg_finish(&g, &bytes);
    gg_write(gg_path("second.gguf"), bytes.data, bytes.size);
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "2 files end in .gguf");
    assert_int_equal(remove(gg_path("second.gguf")), 0);
    assert_int_equal(remove(gg_path("model.gguf")), 0);
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "no model.safetensors.index.json");
    assert_fails(fc_weights_open(gg_path("absent.gguf"), &w), FC_ERR_IO, "absent.gguf");
    gg_write(gg_path("empty.gguf"), "", 0);
    assert_fails(fc_weights_open(gg_path("empty.gguf"), &w), FC_ERR_FORMAT, "an empty file");
    gg_write(gg_path("text.txt"), "hello, this is text", 19);
    assert_fails(fc_weights_open(gg_path("text.txt"), &w), FC_ERR_FORMAT, "neither GGUF");
    gg_write(gg_path("text.gguf"), "hello, this is text", 19);
    assert_fails(fc_weights_open(gg_path("text.gguf"), &w), FC_ERR_FORMAT, "68 65 6c 6c");
    fc_weights_close(NULL);
    fc_str_fini(&bytes);
    gg_fini(&g);
}

/* The real file: what Hugging Face publishes about SmolLM2-135M. */
static void the_real_model_opens(void **state) {
    const char *path = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
    fc_weights *w = NULL;
    const fc_model_config *c;
    const fc_tensor *t;
    (void)state;
    if (access(path, R_OK) != 0) {
        print_message("[ skipped ] %s is not there\n", path);
        skip();
    }
    assert_ok(fc_weights_open(path, &w));
    c = fc_weights_config(w);
    assert_string_equal(c->arch, "llama");
    assert_int_equal(c->L, 30);
    assert_int_equal(c->D, 576);
    assert_int_equal(c->H, 9);
    assert_int_equal(c->G, 3);
    assert_int_equal(c->E, 64);
    assert_int_equal(c->F, 1536);
    assert_int_equal(c->V, 49152);
    assert_int_equal(c->ctx, 8192);
    assert_true(c->tied && c->rope_interleaved && !c->qkv_bias && !c->reward_head && !c->add_bos);
    assert_true(c->rope_theta == 100000.0f && c->norm_eps == 1e-5f && c->attn_scale == 0.125f);
    assert_int_equal(c->bos, 1);
    assert_int_equal(c->n_eos, 2);
    assert_int_equal(c->eos[0], 2); /* <|im_end|>, then <|endoftext|> */
    assert_int_equal(c->eos[1], 0);
    assert_int_equal(fc_weights_count(w), 272);
    assert_ok(fc_weights_need(w, "token_embd.weight", 49152, 576, &t));
    assert_int_equal(t->dtype, FC_Q8_0);
    assert_ok(fc_weights_need(w, "blk.29.ffn_down.weight", 576, 1536, &t));
    assert_int_equal(t->dtype, FC_Q4_1);
    assert_int_equal(t->bytes, 576 * 1536 / 32 * 20);
    fc_weights_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_type_is_read),
        cmocka_unit_test(arrays_are_read),
        cmocka_unit_test(every_tensor_type_has_its_size),
        cmocka_unit_test(other_tensor_types_are_refused_by_number),
        cmocka_unit_test(shapes_keep_their_order),
        cmocka_unit_test(versions_and_kinds_of_file),
        cmocka_unit_test(twice_is_refused),
        cmocka_unit_test(a_tiny_model_opens),
        cmocka_unit_test(a_missing_tensor_is_named),
        cmocka_unit_test(extra_tensors_are_listed_unless_they_matter),
        cmocka_unit_test(rope_factors_need_their_shape),
        cmocka_unit_test(unusable_types_are_refused),
        cmocka_unit_test(fingerprints_tell_models_apart),
        cmocka_unit_test(whole_fingerprints_see_every_byte),
        cmocka_unit_test(folders_and_wrong_paths),
        cmocka_unit_test(the_real_model_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
