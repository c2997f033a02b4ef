/* safetensors: one file or shards, Hugging Face's names in GGUF's words, and nothing wrong passes. */
#include "tests/util.h"

#include "tests/weights/util_gguf.h"
#include "tests/weights/util_st.h"
#include "weights_tools/names.h"
#include "weights_tools/safetensors.h"

static void write_text(const char *name, const char *text) { gg_write(gg_path(name), text, strlen(text)); }

static void write_file(const char *name, const st_file *f, size_t align) {
    fc_str bytes = {0};
    st_finish(f, align, &bytes);
    gg_write(gg_path(name), bytes.data, bytes.size);
    fc_str_fini(&bytes);
}

/* One file with only these entries and `data` bytes of zeroes behind them, read without a config. */
static fc_status read_raw(const char *entries, size_t data) {
    st_file f = {.seed = 1};
    fc_safetensors s;
    fc_status st;
    st_raw(&f, entries);
    for (size_t i = 0; i < data; i++) gg_put(&f.data, "", 1);
    write_file("raw.safetensors", &f, 8);
    st_fini(&f);
    st = fc_safetensors_open(gg_path("raw.safetensors"), false, &s);
    if (!st) fc_safetensors_fini(&s);
    return st;
}

static void one_file_opens(void **state) {
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    static const fc_dtype want[] = {FC_F32, FC_F16, FC_BF16};
    (void)state;
    write_text("config.json", st_llama_config);
    write_text("generation_config.json", "{\"eos_token_id\":[3,4]}");
    write_text("tokenizer.json", "{}");
    for (size_t i = 0; i < 3; i++) {
        st_file f = {.seed = 7};
        fc_weights *w = NULL;
        const fc_tensor *t;
        st_llama(&f, dtypes[i], 0);
        write_file("model.safetensors", &f, 8);
        assert_ok(fc_weights_open(i ? gg_path("model.safetensors") : gg_folder(), &w));
        assert_false(fc_weights_is_gguf(w));
        assert_int_equal(fc_weights_count(w), 12);
        assert_int_equal(fc_weights_meta_count(w), 0);
        assert_ok(fc_weights_need(w, "blk.0.attn_k.weight", 16, 32, &t));
        assert_int_equal(t->dtype, want[i]);
        assert_string_equal(t->file_name, "model.layers.0.self_attn.k_proj.weight");
        assert_ok(fc_weights_need(w, "blk.0.ffn_norm.weight", 1, 32, &t));
        assert_ok(fc_weights_need(w, "token_embd.weight", 24, 32, &t));
        assert_memory_equal(t->data, f.data.data, t->bytes); /* the first tensor */
        assert_false(fc_weights_config(w)->tied);
        assert_false(fc_weights_config(w)->rope_interleaved);
        assert_int_equal(fc_weights_config(w)->n_eos, 3);
        assert_int_equal(fc_weights_config(w)->eos[2], 4);
        assert_string_equal(fc_weights_tokenizer_json_path(w), gg_path("tokenizer.json"));
        fc_weights_close(w);
        st_fini(&f);
    }
}

/* A header that is not padded puts F32 at odd addresses; the numbers must come out all the same. */
static void odd_addresses_are_read(void **state) {
    st_file f = {.seed = 7};
    fc_str bytes = {0};
    fc_safetensors s;
    (void)state;
    st_llama(&f, "F32", 0);
    st_finish(&f, 8, &bytes);
    gg_put(&f.header, " ", 1);
    fc_str_clear(&bytes);
    st_finish(&f, 1, &bytes);
    while ((bytes.size - f.data.size) % 4 != 1) {
        gg_put(&f.header, " ", 1);
        fc_str_clear(&bytes);
        st_finish(&f, 1, &bytes);
    }
    gg_write(gg_path("odd.safetensors"), bytes.data, bytes.size);
    assert_ok(fc_safetensors_open(gg_path("odd.safetensors"), false, &s));
    assert_int_equal((uintptr_t)s.tensors[0].data % 4, 0);
    assert_memory_equal(s.tensors[0].data, f.data.data, s.tensors[0].bytes);
    fc_safetensors_fini(&s);
    assert_int_equal(remove(gg_path("odd.safetensors")), 0);
    fc_str_fini(&bytes);
    st_fini(&f);
}

static void index_of(const char *embed, const char *norm, const char *rest) {
    char text[600];
    snprintf(text, sizeof text,
             "{\"metadata\":{\"total_size\":1},\"weight_map\":{\"model.embed_tokens.weight\":\"%s\",\"model.norm."
             "weight\":\"%s\","
             "\"lm_head.weight\":\"%s\"}}",
             embed, norm, rest);
    write_text("model.safetensors.index.json", text);
}

static void shards_open(void **state) {
    st_file a = {.seed = 1}, b = {.seed = 2};
    fc_weights *w = NULL;
    const fc_tensor *t;
    uint64_t print;
    (void)state;
    st_llama(&a, "F32", 1);
    st_llama(&b, "F32", 2);
    write_file("a.safetensors", &a, 8);
    write_file("b.safetensors", &b, 8);
    index_of("a.safetensors", "a.safetensors", "b.safetensors");
    assert_ok(fc_weights_open(gg_folder(), &w)); /* the index comes before model.safetensors */
    assert_string_equal(fc_weights_path(w), gg_path("model.safetensors.index.json"));
    assert_int_equal(fc_weights_count(w), 12);
    assert_ok(fc_weights_need(w, "output.weight", 24, 32, &t));
    assert_memory_equal(t->data, b.data.data, t->bytes);
    print = fc_weights_fingerprint(w);
    fc_weights_close(w);
    index_of("b.safetensors", "b.safetensors", "a.safetensors"); /* the order of shards does not name the model */
    assert_ok(fc_weights_open(gg_path("model.safetensors.index.json"), &w));
    assert_true(fc_weights_fingerprint(w) == print);
    fc_weights_close(w);
    assert_fails(fc_weights_open(gg_path("a.safetensors"), &w), FC_ERR_FORMAT, "output.weight is missing");

    index_of("a.safetensors", "a.safetensors", "absent.safetensors");
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_IO, "absent.safetensors");
    index_of("a.safetensors", "../a.safetensors", "b.safetensors");
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "plainly in the same folder");
    index_of("a.safetensors", "a.safetensors", "..");
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "plainly in the same folder");
    index_of("a.safetensors", "a.safetensors", "/etc/passwd");
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "plainly in the same folder");
    index_of("a.safetensors", "a.safetensors", "");
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "plainly in the same folder");
    index_of("a.safetensors", "a.safetensors", "x\\\\y");
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "plainly in the same folder");
    write_text("model.safetensors.index.json", "{\"weight_map\":{\"a\":7}}");
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "weight_map.a");
    write_text("model.safetensors.index.json", "{\"weight_map\":[]}");
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "no weight_map");

    st_tensor(&b, "model.norm.weight", "F32", 0, 32);
    write_file("b.safetensors", &b, 8);
    index_of("a.safetensors", "a.safetensors", "b.safetensors");
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "output_norm.weight is there twice");
    assert_int_equal(remove(gg_path("model.safetensors.index.json")), 0);
    st_fini(&a);
    st_fini(&b);
}

/* The list of shards has a fixed size, the index has not. */
static void too_many_shards_are_refused(void **state) {
    fc_str json = {0};
    fc_safetensors s;
    char entry[64];
    (void)state;
    gg_put(&json, "{\"weight_map\":{", 15);
    for (int i = 0; i <= 1000; i++) {
        snprintf(entry, sizeof entry, "%s\"t%d\":\"s%d\"", i ? "," : "", i, i);
        gg_put(&json, entry, strlen(entry));
    }
    gg_put(&json, "}}", 2);
    gg_write(gg_path("many.json"), json.data, json.size);
    assert_fails(fc_safetensors_open(gg_path("many.json"), false, &s), FC_ERR_FORMAT, "more than 1000 files");
    assert_int_equal(remove(gg_path("many.json")), 0);
    fc_str_fini(&json);
}

static void one_name_two_spellings_is_refused(void **state) {
    st_file f = {.seed = 1};
    fc_weights *w = NULL;
    (void)state;
    st_llama(&f, "F32", 0);
    st_tensor(&f, "model.layers.00.mlp.up_proj.weight", "F32", 48, 32);
    write_file("model.safetensors", &f, 8);
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "blk.0.ffn_up.weight is there twice");
    st_fini(&f);
}

static void headers_are_refused_by_name(void **state) {
    static const struct {
        const char *entries;
        fc_status status;
        const char *words;
    } bad[] = {
        {"\"t\":{\"dtype\":\"U64\",\"shape\":[2],\"data_offsets\":[0,16]}", FC_ERR_UNSUPPORTED,
         "tensor t has dtype \"U64\""},
        {"\"t\":{\"dtype\":\"F8_E5M2\",\"shape\":[2],\"data_offsets\":[0,2]}", FC_ERR_UNSUPPORTED, "F8_E5M2"},
        {"\"t\":{\"shape\":[2],\"data_offsets\":[0,8]}", FC_ERR_FORMAT, "tensor t has no dtype"},
        {"\"t\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}", FC_ERR_FORMAT, "dtype"},
        {"\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}", FC_ERR_FORMAT, "tensor t: its shape"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":{\"a\":2},\"data_offsets\":[0,8]}", FC_ERR_FORMAT, "tensor t: its shape"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}", FC_ERR_FORMAT, "at most 8"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}", FC_ERR_FORMAT, "dimension 0 is 0"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}", FC_ERR_FORMAT, "shape"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[2.5],\"data_offsets\":[0,8]}", FC_ERR_FORMAT, "shape"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,12]}", FC_ERR_FORMAT, "do not take the 12 bytes"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}", FC_ERR_FORMAT, "data_offsets 8 to 0"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}", FC_ERR_FORMAT, "in 16 bytes of data"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}", FC_ERR_FORMAT, "array of two"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,16]}", FC_ERR_FORMAT, "array of two"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[18446744073709551608,18446744073709551616]}",
         FC_ERR_FORMAT, "data_offsets"},
        /* products that wrap to the 8 bytes that the offsets claim */
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[4611686018427387906],\"data_offsets\":[0,8]}", FC_ERR_FORMAT, "tensor t"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,2],\"data_offsets\":[0,8]}", FC_ERR_FORMAT,
         "tensor t"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[7,7905747460161236407,2],\"data_offsets\":[0,8]}", FC_ERR_FORMAT,
         "tensor t"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,2],\"data_offsets\":[0,8]}", FC_ERR_FORMAT,
         "tensor t"},
        {"\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_"
         "offsets\":[4,12]}",
         FC_ERR_FORMAT, "tensors a and b overlap"},
        {"\"a\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_"
         "offsets\":[7,11]}",
         FC_ERR_FORMAT, "b begins 7 bytes behind it"},
        {"\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],"
         "\"data_offsets\":[8,16]}",
         FC_ERR_FORMAT, "overlap"},
        {"\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_"
         "offsets\":[8,16]}",
         FC_ERR_FORMAT, "twice"},
        {"\"t\":[1,2]", FC_ERR_FORMAT, "tensor t is not an object"},
        {"\"\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}", FC_ERR_FORMAT, "has 0 bytes"},
        {"\"a\\u0007b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}", FC_ERR_FORMAT, "0x07"},
    };
    (void)state;
    assert_ok(read_raw("\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}", 16));
    assert_ok(read_raw("\"t\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[12,16]}", 16));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fc_status st = read_raw(bad[i].entries, 16);
        if (st != bad[i].status || !strstr(fc_status_text(), bad[i].words) ||
            !strstr(fc_status_text(), "raw.safetensors"))
            fail_msg("%s: %s: %s", bad[i].entries, fc_status_name(st), st ? fc_status_text() : "");
    }
    assert_int_equal(remove(gg_path("raw.safetensors")), 0);
}

static fc_status read_bytes(const void *bytes, size_t n) {
    fc_safetensors s;
    fc_status st;
    gg_write(gg_path("raw.safetensors"), bytes, n);
    st = fc_safetensors_open(gg_path("raw.safetensors"), false, &s);
    if (!st) fc_safetensors_fini(&s);
    return st;
}

static void header_lengths_are_checked(void **state) {
    const unsigned char huge[16] = {255, 255, 255, 255, 255, 255, 255, 255, '{', '}'};
    const unsigned char longer[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}', ' ', ' ', ' ', ' ', ' ', ' '};
    const unsigned char list[10] = {2, 0, 0, 0, 0, 0, 0, 0, '[', ']'};
    const unsigned char none[8] = {0};
    (void)state;
    assert_fails(read_bytes(huge, 16), FC_ERR_FORMAT, "18446744073709551615 bytes");
    assert_fails(read_bytes(longer, 16), FC_ERR_FORMAT, "a header of 9 bytes in a file of 16");
    assert_fails(read_bytes(huge, 7), FC_ERR_FORMAT, "7 bytes are too few");
    assert_fails(read_bytes(list, 10), FC_ERR_FORMAT, "not a JSON object");
    assert_fails(read_bytes(none, 8), FC_ERR_FORMAT, "raw.safetensors");
    assert_int_equal(remove(gg_path("raw.safetensors")), 0);
}

static void config_json_is_needed(void **state) {
    st_file f = {.seed = 1};
    fc_weights *w = NULL;
    (void)state;
    st_llama(&f, "F32", 0);
    write_file("model.safetensors", &f, 8);
    assert_int_equal(remove(gg_path("config.json")), 0);
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_IO, "config.json");
    write_text("config.json", "{\"architectures\":");
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "config.json");
    write_text("config.json", st_llama_config);
    write_text("generation_config.json", "{\"eos_token_id\":24}");
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "generation_config.json");
    assert_int_equal(remove(gg_path("generation_config.json")), 0);
    assert_ok(fc_weights_open(gg_folder(), &w));
    fc_weights_close(w);
    st_fini(&f);
}

/* A classifier has a head that scores and none that speaks. */
static void a_reward_head_is_found(void **state) {
    st_file f = {.seed = 1};
    fc_weights *w = NULL;
    (void)state;
    st_llama(&f, "F32", 0);
    st_tensor(&f, "score.weight", "F32", 1, 32);
    write_file("model.safetensors", &f, 8);
    write_text("config.json", st_llama_config);
    assert_ok(fc_weights_open(gg_folder(), &w));
    assert_true(fc_weights_config(w)->reward_head && !fc_weights_config(w)->no_lm_head && !fc_weights_config(w)->tied);
    fc_weights_close(w);
    memcpy(gg_at(&f.header, "lm_head.weight"), "xm_head.weight", 14);
    write_file("model.safetensors", &f, 8);
    assert_ok(fc_weights_open(gg_folder(), &w));
    assert_true(fc_weights_config(w)->reward_head && fc_weights_config(w)->no_lm_head && fc_weights_config(w)->tied);
    fc_weights_close(w);
    memcpy(gg_at(&f.header, "score.weight"), "scare.weight", 12);
    write_file("model.safetensors", &f, 8);
    assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_FORMAT, "output.weight is missing");
    st_fini(&f);
}

/* If this fails, a part of a layer that nobody computes is passed over, and the model answers as another one. */
static void unknown_parts_of_a_layer_are_refused(void **state) {
    static const struct {
        const char *name;
        bool refused;
    } extra[] = {
        {"model.layers.0.self_attn.sinks", true},
        {"model.layers.0.mlp.shared_expert_gate.weight", true},
        {"model.layers.0.self_attn.q_proj.weight_scale", true},
        {"model.layers.0.self_attn.q_norm.weight", true},
        {"lm_head.bias", true},
        {"model.layers.1.self_attn.sinks", false}, /* behind the last layer */
        {"model.layers.0.self_attn.rotary_emb.inv_freq", false},
        {"model.something.else", false},
    };
    (void)state;
    write_text("config.json", st_llama_config);
    for (size_t i = 0; i < sizeof extra / sizeof *extra; i++) {
        st_file f = {.seed = 1};
        fc_weights *w = NULL;
        st_llama(&f, "F32", 0);
        st_tensor(&f, extra[i].name, "F32", 0, 4);
        write_file("model.safetensors", &f, 8);
        if (extra[i].refused) {
            assert_fails(fc_weights_open(gg_folder(), &w), FC_ERR_UNSUPPORTED, extra[i].name);
        } else {
            assert_ok(fc_weights_open(gg_folder(), &w));
            fc_weights_close(w);
        }
        st_fini(&f);
    }
}

static void names_are_translated(void **state) {
    static const struct {
        const char *hf;
        bool gemma;
        const char *gguf; /* NULL: left out */
    } names[] = {
        {"model.embed_tokens.weight", false, "token_embd.weight"},
        {"embed_tokens.weight", false, "token_embd.weight"},
        {"language_model.model.embed_tokens.weight", true, "token_embd.weight"},
        {"model.language_model.embed_tokens.weight", true, "token_embd.weight"},
        {"language_model.lm_head.weight", true, "output.weight"},
        {"model.layers.11.post_attention_layernorm.weight", false, "blk.11.ffn_norm.weight"},
        {"model.layers.11.post_attention_layernorm.weight", true, "blk.11.post_attention_norm.weight"},
        {"model.language_model.layers.3.pre_feedforward_layernorm.weight", true, "blk.3.ffn_norm.weight"},
        {"model.layers.3.post_feedforward_layernorm.weight", true, "blk.3.post_ffw_norm.weight"},
        {"model.layers.0.self_attn.o_proj.bias", false, "blk.0.attn_output.bias"},
        {"vision_tower.vision_model.embeddings.weight", true, NULL},
        {"model.vision_tower.layers.0.mlp.up_proj.weight", true, NULL},
        {"multi_modal_projector.weight", true, NULL},
        {"model.layers.0.self_attn.rotary_emb.inv_freq", false, NULL},
        {"model.layers.3.mlp.experts.7.w1.weight", false, "blk.3.mlp.experts.7.w1.weight"},
        {"model.layers.x.mlp.up_proj.weight", false, "model.layers.x.mlp.up_proj.weight"},
        {"model.layers.9999999.mlp.up_proj.weight", false, "model.layers.9999999.mlp.up_proj.weight"},
        {"model.layers.", false, "model.layers."},
        {"anything", false, "anything"},
    };
    char out[256];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bool kept = fc_names_from_hf(names[i].hf, names[i].gemma, out, sizeof out);
        assert_int_equal(kept, names[i].gguf != NULL);
        if (kept) assert_string_equal(out, names[i].gguf);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_file_opens),
        cmocka_unit_test(odd_addresses_are_read),
        cmocka_unit_test(shards_open),
        cmocka_unit_test(too_many_shards_are_refused),
        cmocka_unit_test(one_name_two_spellings_is_refused),
        cmocka_unit_test(headers_are_refused_by_name),
        cmocka_unit_test(header_lengths_are_checked),
        cmocka_unit_test(config_json_is_needed),
        cmocka_unit_test(a_reward_head_is_found),
        cmocka_unit_test(unknown_parts_of_a_layer_are_refused),
        cmocka_unit_test(names_are_translated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
