/* Adapter folders: what adapter_config.json means for each matrix, and nothing wrong passes. Numbers against peft:
 * tests/engine/test_adapter.c.
 */
#include "tests/util.h"

#include "engine/base/os.h"
#include "tests/weights/util_gguf.h"
#include "tests/weights/util_st.h"
#include "weights_tools/adapter.h"
#include "weights_tools/layout.h"
#include "weights_tools/pattern.h"

static const fc_model_config base = {
    .arch = "llama", .V = 64, .D = 32, .L = 2, .H = 4, .G = 2, .E = 16, .F = 48, .rope_dim = 16};

#define PRE "base_model.model.model.layers."

static void write_config(const char *text) { gg_write(gg_path("adapter_config.json"), text, strlen(text)); }

static void write_tensors(const st_file *f) {
    fc_str bytes = {0};
    st_finish(f, 8, &bytes);
    gg_write(gg_path("adapter_model.safetensors"), bytes.data, bytes.size);
    fc_str_fini(&bytes);
}

static void pair(st_file *f, const char *module, uint64_t N, uint64_t K, uint64_t r) {
    char name[128];
    snprintf(name, sizeof name, PRE "%s.lora_A.weight", module);
    st_tensor(f, name, "F32", r, K);
    snprintf(name, sizeof name, PRE "%s.lora_B.weight", module);
    st_tensor(f, name, "BF16", N, r);
}

/* q and v of both layers, rank 4. */
static st_file q_and_v(void) {
    st_file f = {.seed = 3};
    pair(&f, "0.self_attn.q_proj", 64, 32, 4);
    pair(&f, "0.self_attn.v_proj", 32, 32, 4);
    pair(&f, "1.self_attn.q_proj", 64, 32, 4);
    pair(&f, "1.self_attn.v_proj", 32, 32, 4);
    return f;
}

static fc_status open_file(fc_adapter_file **out) { return fc_adapter_file_open(gg_folder(), &base, out); }

static uint64_t fingerprint(void) {
    fc_adapter_file *f;
    uint64_t print;
    assert_ok(open_file(&f));
    print = fc_adapter_file_fingerprint(f);
    fc_adapter_file_close(f);
    return print;
}

/* The sentence that opening ends with; the file must be refused. */
static void refused(fc_status st, const char *words) {
    fc_adapter_file *f = NULL;
    assert_fails(open_file(&f), st, words);
}

#define GOOD                                                                                                           \
    "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":4,\"lora_alpha\":8,\"target_modules\":[\"q_proj\",\"v_" \
    "proj\"]"

/* If this fails, an adapter is applied to the wrong matrix or with the wrong weight. */
static void config_says_rank_and_scale(void **state) {
    st_file f = {.seed = 3};
    fc_adapter_file *a;
    int count;
    (void)state;
    pair(&f, "0.self_attn.q_proj", 64, 32, 9);
    pair(&f, "0.mlp.gate_proj", 48, 32, 4);
    pair(&f, "1.mlp.gate_proj", 48, 32, 2);
    pair(&f, "1.mlp.down_proj", 32, 48, 4);
    write_tensors(&f);
    st_fini(&f);
    write_config("{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":6.5,\"use_rslora\":true,\"target_modules\":"
                 "\"(.*\\\\.0\\\\.self_attn\\\\.q_proj)|(?:.*(?:gate|1.mlp.down)_proj)\",\"rank_pattern\":{"
                 "\"self_attn.q_proj\":9,\"layers.1.mlp.gate_proj\":2,\"mlp.gate_proj\":4},\"alpha_pattern\":{"
                 "\"^model.layers.1.mlp\\\\.\\\\w+\":1},\"alora_invocation_tokens\":[63,0],\"use_dora\":false,"
                 "\"lora_dropout\":0.1,\"layer_replication\":null,\"something_new\":{}}");
    assert_ok(open_file(&a));
    assert_int_equal(fc_adapter_file_pair(a, 0, FC_ADAPTER_Q)->r, 9);
    assert_true(fc_adapter_file_pair(a, 0, FC_ADAPTER_Q)->scale == (float)(6.5 / 3));
    assert_true(fc_adapter_file_pair(a, 0, FC_ADAPTER_GATE)->scale == (float)(6.5 / 2));
    assert_true(fc_adapter_file_pair(a, 1, FC_ADAPTER_GATE)->scale == (float)(1 / sqrt(2)));
    assert_true(fc_adapter_file_pair(a, 1, FC_ADAPTER_DOWN)->scale == 0.5f);
    assert_int_equal(fc_adapter_file_pair(a, 1, FC_ADAPTER_DOWN)->a->K, 48);
    assert_int_equal(fc_adapter_file_pair(a, 1, FC_ADAPTER_DOWN)->b->N, 32);
    assert_null(fc_adapter_file_pair(a, 1, FC_ADAPTER_Q)->a);
    assert_null(fc_adapter_file_pair(a, 1, FC_ADAPTER_Q)->b);
    assert_null(fc_adapter_file_reward(a));
    assert_int_equal(fc_adapter_file_invocation(a, &count)[0], 63);
    assert_int_equal(count, 2);
    fc_adapter_file_close(a);
    fc_adapter_file_close(NULL);
}

static void lists_and_layers_say_targets(void **state) {
    static const char *const configs[] = {
        GOOD "}",
        "{\"peft_type\":\"LORA\",\"r\":4,\"target_modules\":[\"self_attn.q_proj\",\"v_proj\",\"elsewhere\"]}",
        "{\"peft_type\":\"LORA\",\"r\":4,\"target_modules\":\"all-linear\",\"exclude_modules\":\".*(k|o|gate|up|down)_"
        "proj\"}",
        "{\"peft_type\":\"LORA\",\"r\":4,\"target_modules\":\"ALL-linear\",\"exclude_modules\":[\"k_proj\",\"o_proj\","
        "\"gate_proj\",\"up_proj\",\"mlp.down_proj\"]}",
        "{\"peft_type\":\"LORA\",\"r\":4,\"target_modules\":[\"q_proj\",\"v_proj\"],\"layers_to_transform\":[0,1],"
        "\"layers_pattern\":\"layers\"}",
        "{\"peft_type\":\"LORA\",\"r\":4}",                                       /* the tensors alone say it */
        "{\"peft_type\":\"LORA\",\"r\":4,\"target_modules\":\"(?!.*k_proj).*\"}", /* not understood, so not checked */
    };
    st_file f = q_and_v();
    fc_adapter_file *a;
    (void)state;
    write_tensors(&f);
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        write_config(configs[i]);
        assert_ok(open_file(&a));
        assert_non_null(fc_adapter_file_pair(a, 1, FC_ADAPTER_V)->a);
        fc_adapter_file_close(a);
    }
    write_config(GOOD ",\"layers_to_transform\":1}");
    refused(FC_ERR_FORMAT, "layers.0.self_attn.q_proj is not named by target_modules and has tensors");
    write_config(GOOD ",\"layers_to_transform\":[2]}");
    refused(FC_ERR_FORMAT, "layers_to_transform");
    write_config("{\"peft_type\":\"LORA\",\"r\":4,\"target_modules\":\"all-linear\"}");
    refused(FC_ERR_FORMAT, "layers.0.self_attn.k_proj is named by target_modules and has none");
    st_fini(&f);
}

static void fingerprints_tell_adapters_apart(void **state) {
    st_file f = q_and_v();
    uint64_t print, other;
    (void)state;
    write_tensors(&f);
    write_config(GOOD "}");
    print = fingerprint();
    write_config(GOOD ",\"lora_dropout\":0.5,\"base_model_name_or_path\":\"x\"}");
    assert_true(fingerprint() == print);
    write_config(GOOD ",\"use_rslora\":true}");
    other = fingerprint();
    assert_true(other != print);
    write_config(GOOD ",\"alora_invocation_tokens\":[5]}");
    assert_true(fingerprint() != print);
    f.data.data[f.data.size - 1] ^= 1;
    write_tensors(&f);
    assert_true(fingerprint() != print);
    st_fini(&f);
}

/* Two adapters of one engine may differ in one number of a large matrix. If this fails, they share cached prompts and
 * scores. */
static void fingerprints_see_every_byte(void **state) {
    enum { RANK = 160, BYTES = RANK * 32 * 4 }; /* above 16 KiB */
    uint64_t print, seed = 6;
    st_file f = {.seed = 3};
    (void)state;
    st_tensor(&f, PRE "0.self_attn.q_proj.lora_B.weight", "F32", 64, RANK);
    st_tensor(&f, PRE "0.self_attn.q_proj.lora_A.weight", "F32", RANK, 32);
    write_tensors(&f);
    write_config("{\"peft_type\":\"LORA\",\"r\":160,\"target_modules\":[\"layers.0.self_attn.q_proj\"]}");
    print = fingerprint();
    for (int i = 0; i < 300; i++) {
        char *at = f.data.data + f.data.size - 1 - test_below(&seed, BYTES);
        *at ^= 1;
        write_tensors(&f);
        if (fingerprint() == print) fail_msg("byte %d from the end", (int)(f.data.data + f.data.size - at));
        *at ^= 1;
    }
    st_fini(&f);
}

static void scores_are_read(void **state) {
    st_file f = q_and_v();
    fc_adapter_file *a;
    (void)state;
    st_tensor(&f, "base_model.model.score.weight", "F16", 1, 32);
    write_tensors(&f);
    st_fini(&f);
    write_config(GOOD ",\"modules_to_save\":[\"classifier\",\"score\"]}");
    assert_ok(open_file(&a));
    assert_int_equal(fc_adapter_file_reward(a)->K, 32);
    fc_adapter_file_close(a);
    write_config(GOOD "}");
    refused(FC_ERR_FORMAT, "score.weight is not named by modules_to_save");
    f = q_and_v();
    write_tensors(&f);
    write_config(GOOD ",\"modules_to_save\":[\"score\"]}");
    refused(FC_ERR_FORMAT, "score.weight is not there");
    st_tensor(&f, "base_model.model.score.modules_to_save.default.weight", "F32", 3, 32);
    write_tensors(&f);
    refused(FC_ERR_FORMAT, "3 x 32; 1 x 32");
    st_fini(&f);
}

/* If this fails, an adapter that this engine computes wrongly is computed all the same. */
static void other_kinds_are_refused_by_name(void **state) {
    static const struct {
        const char *config, *words;
        fc_status st;
    } cases[] = {
        {"[]", "not a JSON object", FC_ERR_FORMAT},
        {"{\"r\":4}", "peft_type is missing", FC_ERR_FORMAT},
        {"{\"peft_type\":\"IA3\"}", "\"IA3\" is not supported, LORA is", FC_ERR_UNSUPPORTED},
        {GOOD ",\"task_type\":\"CAUSAL_LM\"}", "task_type", FC_ERR_FORMAT}, /* twice */
        {"{\"peft_type\":\"LORA\",\"task_type\":\"SEQ_2_SEQ_LM\"}", "SEQ_2_SEQ_LM", FC_ERR_UNSUPPORTED},
        {GOOD ",\"use_dora\":true}", "use_dora", FC_ERR_UNSUPPORTED},
        {GOOD ",\"lora_bias\":true}", "lora_bias", FC_ERR_UNSUPPORTED},
        {GOOD ",\"fan_in_fan_out\":true}", "fan_in_fan_out", FC_ERR_UNSUPPORTED},
        {GOOD ",\"bias\":\"lora_only\"}", "\"lora_only\" is not supported, none is", FC_ERR_UNSUPPORTED},
        {GOOD ",\"layer_replication\":[[0,1]]}", "layer_replication", FC_ERR_UNSUPPORTED},
        {GOOD ",\"trainable_token_indices\":[3]}", "trainable_token_indices", FC_ERR_UNSUPPORTED},
        {GOOD ",\"twist\":0.5}", "twist", FC_ERR_UNSUPPORTED},
        {GOOD ",\"init_lora_weights\":\"pissa_niter_4\"}", "pissa_niter_4", FC_ERR_UNSUPPORTED},
        {GOOD ",\"modules_to_save\":[\"embed_tokens\"]}", "embed_tokens", FC_ERR_UNSUPPORTED},
        {GOOD ",\"modules_to_save\":[\"lm_head\"]}", "lm_head", FC_ERR_UNSUPPORTED},
        {GOOD ",\"layers_to_transform\":[0],\"layers_pattern\":\"blocks\"}", "blocks", FC_ERR_UNSUPPORTED},
        {"{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"lm_head\"]}", "lm_head", FC_ERR_UNSUPPORTED},
        {"{\"peft_type\":\"LORA\",\"target_modules\":[\"model.embed_tokens\"]}", "embed_tokens", FC_ERR_UNSUPPORTED},
        {"{\"peft_type\":\"LORA\",\"target_modules\":5}", "target_modules", FC_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":0}", "r", FC_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":100000}", "100000", FC_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":1e300}", "1e+300", FC_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":\"8\"}", "lora_alpha", FC_ERR_FORMAT},
        {GOOD ",\"rank_pattern\":{\"q_proj\":-1}}", "-1", FC_ERR_FORMAT},
        {GOOD ",\"rank_pattern\":{\"(?=q_proj)\":4}}", "(?=q_proj)", FC_ERR_UNSUPPORTED},
        {GOOD ",\"rank_pattern\":{\"q_proj\":5}}", "4 x 32; 5 x 32 are expected", FC_ERR_FORMAT},
        {GOOD ",\"alora_invocation_tokens\":[]}", "alora_invocation_tokens", FC_ERR_FORMAT},
        {GOOD ",\"alora_invocation_tokens\":[64]}", "64", FC_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\"", "adapter_config.json", FC_ERR_FORMAT},
    };
    st_file f = q_and_v();
    (void)state;
    write_tensors(&f);
    st_fini(&f);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_config(cases[i].config);
        refused(cases[i].st, cases[i].words);
    }
}

static void wrong_tensors_are_refused(void **state) {
    static const struct {
        const char *name;
        uint64_t N, K;
        const char *words;
        fc_status st;
    } cases[] = {
        {PRE "0.self_attn.q_proj.lora_A.weight", 4, 31, "2 dimensions, 4 x 31; 4 x 32", FC_ERR_FORMAT},
        {PRE "0.self_attn.q_proj.lora_A.weight", 8, 32, "8 x 32; 4 x 32", FC_ERR_FORMAT},
        {PRE "0.self_attn.q_proj.lora_B.weight", 32, 4, "32 x 4; 64 x 4", FC_ERR_FORMAT},
        {PRE "0.self_attn.q_proj.lora_B.weight", 0, 64, "1 dimensions", FC_ERR_FORMAT},
        {PRE "2.self_attn.q_proj.lora_A.weight", 4, 32, "layer 2 of a model with 2", FC_ERR_FORMAT},
        {PRE "99999999999.self_attn.q_proj.lora_A.weight", 4, 32, "neither", FC_ERR_UNSUPPORTED},
        {PRE "0.self_attn.q_proj.lora_magnitude_vector.weight", 0, 64, "lora_magnitude_vector", FC_ERR_UNSUPPORTED},
        {PRE "0.self_attn.qkv_proj.lora_A.weight", 4, 32, "qkv_proj", FC_ERR_UNSUPPORTED},
        {PRE "0.self_attn.q_proj.lora_A.bias", 4, 32, "lora_A.bias", FC_ERR_UNSUPPORTED},
        {PRE "0.input_layernorm.weight", 0, 32, "input_layernorm", FC_ERR_UNSUPPORTED},
        {PRE "x.self_attn.q_proj.lora_A.weight", 4, 32, "neither", FC_ERR_UNSUPPORTED},
        {"base_model.model.lm_head.lora_A.weight", 4, 32, "lm_head", FC_ERR_UNSUPPORTED},
        {"base_model.model.model.embed_tokens.lora_embedding_A", 4, 64, "embed_tokens", FC_ERR_UNSUPPORTED},
        {"model.layers.0.self_attn.q_proj.lora_A.weight", 4, 32, "neither", FC_ERR_UNSUPPORTED},
        {PRE "0.self_attn.q_proj.lora_A.weight", 4, 32, "has lora_A and not lora_B", FC_ERR_FORMAT},
        {PRE "0.self_attn.q_proj.lora_B.weight", 64, 4, "has lora_B and not lora_A", FC_ERR_FORMAT},
    };
    st_file f;
    (void)state;
    write_config(GOOD "}");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        f = (st_file){.seed = 1};
        st_tensor(&f, cases[i].name, "F32", cases[i].N, cases[i].K);
        write_tensors(&f);
        st_fini(&f);
        refused(cases[i].st, cases[i].words);
    }
    f = q_and_v();
    st_tensor(&f, PRE "0.self_attn.q_proj.lora_A.default.weight", "F32", 4, 32);
    write_tensors(&f);
    refused(FC_ERR_FORMAT, "under two names");
    st_fini(&f);
    f = (st_file){.seed = 1};
    st_raw(&f,
           "\"" PRE "0.self_attn.q_proj.lora_A.weight\":{\"dtype\":\"I8\",\"shape\":[1,32],\"data_offsets\":[0,32]}");
    gg_put(&f.data, (const char[32]){0}, 32);
    write_tensors(&f);
    refused(FC_ERR_UNSUPPORTED, "has type I8; adapters are floats");
    st_fini(&f);
    f = (st_file){.seed = 1};
    write_tensors(&f);
    write_config("{\"peft_type\":\"LORA\",\"target_modules\":[]}");
    refused(FC_ERR_FORMAT, "no tensor of an adapter");
    st_fini(&f);
}

static void missing_and_cut_files_are_refused(void **state) {
    st_file f = q_and_v();
    fc_str bytes = {0};
    fc_adapter_file *a;
    (void)state;
    write_config(GOOD "}");
    st_finish(&f, 8, &bytes);
    for (size_t n = 0; n < bytes.size; n += 1 + bytes.size / 97) {
        gg_write(gg_path("adapter_model.safetensors"), bytes.data, n);
        assert_int_equal(open_file(&a), FC_ERR_FORMAT);
    }
    assert_int_equal(remove(gg_path("adapter_model.safetensors")), 0);
    refused(FC_ERR_IO, "no adapter_model.safetensors");
    assert_fails(fc_adapter_file_open("/nowhere", &base, &a), FC_ERR_IO, "/nowhere");
    fc_str_fini(&bytes);
    st_fini(&f);
}

/* Random bytes in either file: an error or an adapter, never anything else (run under AddressSanitizer). */
static void damaged_files_end_in_a_status(void **state) {
    static const char config[] =
        GOOD ",\"rank_pattern\":{\"layers\\\\.[01]\\\\.(self_attn)?.q_proj\":4},\"alpha_pattern\":{\"v_{1,2}proj\":3},"
             "\"layers_to_transform\":[0,1],\"modules_to_save\":[\"classifier\"],\"alora_invocation_tokens\":[1,2]}";
    st_file f = q_and_v();
    fc_str bytes = {0};
    uint64_t seed = 21;
    int opened = 0;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    st_finish(&f, 8, &bytes);
    for (int i = 0; i < 3000; i++) {
        fc_adapter_file *a;
        fc_str c = {0}, t = {0};
        gg_put(&c, config, sizeof config - 1);
        gg_put(&t, bytes.data, bytes.size);
        for (int k = test_below(&seed, 3); k >= 0; k--) {
            fc_str *s = i % 2 ? &c : &t;
            size_t header = i % 2 ? c.size : bytes.size - f.data.size;
            s->data[test_below(&seed, (int)header)] =
                (char)(test_below(&seed, 4) ? ' ' + test_below(&seed, 95) : test_below(&seed, 256));
        }
        gg_write(gg_path("adapter_config.json"), c.data, c.size);
        gg_write(gg_path("adapter_model.safetensors"), t.data, t.size);
        if (open_file(&a) == FC_OK) {
            opened++;
            assert_true(fc_adapter_file_fingerprint(a) != 0);
            fc_adapter_file_close(a);
        }
        fc_str_fini(&c);
        fc_str_fini(&t);
    }
    printf("%d of 3000 still open\n", opened);
    assert_true(opened > 20 && opened < 2900);
    fc_str_fini(&bytes);
    st_fini(&f);
}

/* Python's answers. */
static void expressions_mean_what_they_mean_in_python(void **state) {
    static const struct {
        const char *python, *name;
        bool tail, matches;
    } cases[] = {
        {"q_proj", "model.layers.0.self_attn.q_proj", true, true},
        {"q_proj", "model.layers.0.self_attn.q_proj", false, false},
        {"proj", "model.layers.0.self_attn.q_proj", true, false}, /* only behind a point */
        {"q_proj|v_proj", "model.layers.0.self_attn.v_proj", true, true},
        {"^model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.q_proj", true, true},
        {"^layers.0.self_attn.q_proj", "model.layers.0.self_attn.q_proj", true, false},
        {".*\\.(?:q|v)_proj", "model.layers.0.self_attn.v_proj", false, true},
        {".*?layers\\.[\\d]{1,}\\.mlp.*?(?:up|down)_proj$", "model.layers.12.mlp.up_proj", false, true},
        {".*\\blayers\\b.*", "model.layers.1.mlp.up_proj", false, true},
        {".*\\blayer\\b.*", "model.layers.1.mlp.up_proj", false, false},
        {"model\\.layers\\.(?:[0-9]|1[0-1])\\..*", "model.layers.12.mlp.up_proj", false, false},
        {"model\\.layers\\.(?:[0-9]|1[0-2])\\..*", "model.layers.12.mlp.up_proj", false, true},
        {"[^k]+", "model.layers.1.self_attn.q_proj", false, true},
        {"[^q]+", "model.layers.1.self_attn.q_proj", false, false},
        {"\\w+\\.\\w+\\.\\d\\.[\\w.]+", "model.layers.1.self_attn.q_proj", false, true},
        {"model.layers.\\d{2}.mlp.up\\_proj", "model.layers.1.mlp.up_proj", false, false},
        {"model.layers.\\d{1,2}.mlp.up\\_proj", "model.layers.1.mlp.up_proj", false, true},
    };
    static const char *const unknown[] = {
        "(?=x)", "(?P<n>x)", "x*+",  "[[:alpha:]]", "\\s", "a{17}", "a{1}b{1}c{1}d{1}",
        "a{x}",  "[a\\]b]",  "[abc", "x\\",         "(",   "\\1",   "\xc3\xa4"};
    fc_pattern p;
    char longer[400];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_ok(fc_pattern_open("f", cases[i].python, cases[i].tail, &p));
        if (fc_pattern_matches(&p, cases[i].name) != cases[i].matches)
            fail_msg("%s on %s is not %d", cases[i].python, cases[i].name, cases[i].matches);
        fc_pattern_fini(&p);
    }
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_fails(fc_pattern_open("f", unknown[i], false, &p), FC_ERR_UNSUPPORTED, unknown[i]);
    memset(longer, 'w', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_fails(fc_pattern_open("f", longer, false, &p), FC_ERR_UNSUPPORTED, "399 bytes");
    for (int i = 0; i < 256; i += 2) longer[i] = '\\'; /* the longest translation */
    longer[256] = 0;
    assert_ok(fc_pattern_open("f", longer, true, &p));
    fc_pattern_fini(&p);
}

/* Row n of the base in pairs (2i, 2i+1) is row e/2 + (e odd) * R/2 of Hugging Face's head. */
static void rows_of_q_and_k_change_places_for_pairs(void **state) {
    fc_model_config pairs = base;
    (void)state;
    pairs.rope_interleaved = true;
    for (int n = 0; n < 64; n++) {
        int e = n % 16, other = n - e + e / 2 + (e % 2) * 8;
        assert_int_equal(fc_adapter_row(&pairs, FC_ADAPTER_Q, n), other);
        assert_int_equal(fc_adapter_row(&pairs, FC_ADAPTER_K, n), other);
        assert_int_equal(fc_adapter_row(&pairs, FC_ADAPTER_V, n), n);
        assert_int_equal(fc_adapter_row(&base, FC_ADAPTER_Q, n), n);
        assert_int_equal(fc_layout_pairs_row(&pairs, n), other);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_says_rank_and_scale),
        cmocka_unit_test(lists_and_layers_say_targets),
        cmocka_unit_test(fingerprints_tell_adapters_apart),
        cmocka_unit_test(fingerprints_see_every_byte),
        cmocka_unit_test(scores_are_read),
        cmocka_unit_test(other_kinds_are_refused_by_name),
        cmocka_unit_test(wrong_tensors_are_refused),
        cmocka_unit_test(missing_and_cut_files_are_refused),
        cmocka_unit_test(damaged_files_end_in_a_status),
        cmocka_unit_test(expressions_mean_what_they_mean_in_python),
        cmocka_unit_test(rows_of_q_and_k_change_places_for_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
