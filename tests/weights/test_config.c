/* Flags of the forward pass: config.json against what transformers makes of it, GGUF against llama.cpp's keys. */
#include "tests/util.h"

#include "engine/base/json.h"
#include "tests/weights/util_gguf.h"
#include "weights_tools/config_read.h"
#include "weights_tools/layout.h"
#include "weights_tools/names.h"

#include <limits.h>

static double number(const fc_json *o, const char *key) {
    const fc_json *n = fc_json_get(o, key);
    double v = 0.0;
    if (!n) fail_msg("golden file: no %s", key);
    if (fc_json_kind(n) == FC_JSON_NULL) return 0.0;
    assert_ok(fc_json_double(n, &v));
    return v;
}

static bool truth(const fc_json *o, const char *key) {
    bool v = false;
    assert_ok(fc_json_bool(fc_json_get(o, key), &v));
    return v;
}

static const char *string(const fc_json *o, const char *key) {
    const char *v = "";
    assert_ok(fc_json_string(fc_json_get(o, key), &v));
    return v;
}

#define same_int(got, key)                                                                                             \
    do {                                                                                                               \
        if ((double)(got) != number(e, key)) fail_msg("%s: %s is %d, not %g", name, key, (int)(got), number(e, key));  \
    } while (0)

/* Both sides round a double to float once, so 1e-6 is more than their difference. */
#define same_float(got, key)                                                                                           \
    do {                                                                                                               \
        double want_ = number(e, key);                                                                                 \
        if (!(fabs((double)(got)-want_) <= 1e-6 * fabs(want_)))                                                        \
            fail_msg("%s: %s is %.9g, not %.9g", name, key, (double)(got), want_);                                     \
    } while (0)

static void check_rope(const char *name, const fc_json *e, const fc_model_config *c) {
    static const char *const types[] = {"default", "linear", "llama3", "yarn"};
    same_float(c->rope_theta, "rope_theta");
    same_float(c->rope_theta_local, "rope_theta_local");
    same_float(c->rope_attn_factor, "rope_attn_factor");
    assert_string_equal(types[c->rope_scaling], string(e, "rope_type"));
    assert_int_equal(c->rope_dim, c->E);
    assert_false(c->rope_interleaved);
    if (c->rope_scaling != FC_ROPE_NONE) same_float(c->rope_factor, "rope_factor");
    if (c->rope_scaling == FC_ROPE_LLAMA3 || c->rope_scaling == FC_ROPE_YARN)
        same_int(c->rope_original_ctx, "rope_original_ctx");
    if (c->rope_scaling == FC_ROPE_LLAMA3) {
        same_float(c->rope_low_freq, "rope_low_freq");
        same_float(c->rope_high_freq, "rope_high_freq");
    }
    if (c->rope_scaling == FC_ROPE_YARN) {
        double after = number(e, "rope_original_ctx") * number(e, "rope_factor");
        same_float(c->rope_beta_fast, "rope_beta_fast");
        same_float(c->rope_beta_slow, "rope_beta_slow");
        assert_int_equal(c->ctx, after > number(e, "ctx") ? (int)after : (int)number(e, "ctx"));
    } else {
        same_int(c->ctx, "ctx");
    }
}

/* The tensors that the layout demands are exactly those that the model has, shape by shape. */
static void check_layout(const char *name, const fc_json *e, fc_model_config c) {
    const fc_json *weights = fc_json_get(e, "weights");
    size_t n = fc_layout_count(&c), theirs = 0;
    if (truth(e, "reward")) {
        c.reward_head = true;
        c.tied = true; /* as fc_weights_open finds it: no lm_head.weight */
        n = fc_layout_count(&c);
    }
    for (const fc_json *w = fc_json_first(weights); w; w = fc_json_next(w)) {
        char mine[256];
        bool found = false;
        const fc_json *dim = fc_json_first(w);
        int64_t N = 1, K = 1;
        if (!fc_names_from_hf(fc_json_key(w), c.post_norms, mine, sizeof mine)) continue;
        theirs++;
        for (; dim; dim = fc_json_next(dim)) {
            N *= K;
            assert_ok(fc_json_int(dim, 1, INT_MAX, &K));
        }
        for (size_t i = 0; i < n && !found; i++) {
            fc_layout_entry entry;
            fc_layout_at(&c, i, &entry);
            if (strcmp(entry.name, mine) != 0) continue;
            found = true;
            if (entry.N != N || entry.K != K)
                fail_msg("%s: %s is %d x %d, not %d x %d", name, mine, (int)entry.N, (int)entry.K, (int)N, (int)K);
            assert_int_equal(entry.vector, fc_json_count(w) == 1);
        }
        if (!found) fail_msg("%s: %s (%s) is not in the layout", name, fc_json_key(w), mine);
    }
    if (theirs != n) fail_msg("%s: %zu tensors, the layout has %zu", name, theirs, n);
}

static void check_case(const fc_json *k) {
    const fc_json *e = fc_json_get(k, "expect"), *list;
    const char *name = string(k, "name");
    bool gemma = strstr(name, "gemma") != NULL;
    fc_model_config c;
    int i = 0;
    if (fc_config_hf(name, fc_json_get(k, "config"), NULL, NULL, &c)) fail_msg("%s: %s", name, fc_status_text());
    same_int(c.V, "V");
    same_int(c.D, "D");
    same_int(c.L, "L");
    same_int(c.H, "H");
    same_int(c.G, "G");
    same_int(c.E, "E");
    same_int(c.F, "F");
    same_float(c.norm_eps, "norm_eps");
    check_rope(name, e, &c);
    same_float(c.attn_scale, "attn_scale");
    same_float(c.attn_soft_cap, "attn_soft_cap");
    same_float(c.final_soft_cap, "final_soft_cap");
    for (list = fc_json_first(fc_json_get(e, "windows")); list; list = fc_json_next(list), i++) {
        int64_t window = -1;
        assert_ok(fc_json_int(list, 0, INT_MAX, &window));
        if ((c.local[i] ? c.window : 0) != window)
            fail_msg("%s: layer %d: window %d (local %d), not %d", name, i, c.window, c.local[i], (int)window);
    }
    assert_int_equal(i, c.L);
    assert_int_equal(c.tied, truth(e, "tied"));
    same_int(c.bos, "bos");
    i = 0;
    for (list = fc_json_first(fc_json_get(e, "eos")); list; list = fc_json_next(list), i++) {
        int64_t id = -1;
        assert_ok(fc_json_int(list, 0, INT_MAX, &id));
        assert_int_equal(c.eos[i], id);
    }
    assert_int_equal(c.n_eos, i);
    assert_true(c.norm_plus_one == gemma && c.gelu_tanh == gemma && c.embed_scale == gemma && c.post_norms == gemma);
    check_layout(name, e, c);
}

/* If this fails, a model from the hub computes something else than transformers does. */
static void config_json_means_what_transformers_makes_of_it(void **state) {
    fc_json_doc *doc = NULL;
    size_t n = 0;
    (void)state;
    assert_ok(fc_json_open("tests/data/weights/configs.json", 1 << 20, &doc));
    for (const fc_json *k = fc_json_first(fc_json_get(fc_json_root(doc), "cases")); k; k = fc_json_next(k), n++)
        check_case(k);
    assert_true(n >= 25);
    fc_json_close(doc);
}

static const char llama_json[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"vocab_size\":24,\"eos_token_id\":[3,5],\"generation\":{\"eos_token_id\":[5,7]}%s}";

static fc_status hf(const char *more, fc_model_config *c) {
    char text[1500];
    fc_json_doc *doc = NULL;
    fc_status st;
    int n = snprintf(text, sizeof text, llama_json, more);
    assert_true(n > 0 && (size_t)n < sizeof text);
    assert_ok(fc_json_parse("config.json", text, (size_t)n, &doc));
    st = fc_config_hf("config.json", fc_json_root(doc), fc_json_get(fc_json_root(doc), "generation"), fc_json_root(doc),
                      c);
    fc_json_close(doc);
    return st;
}

/* What cannot be computed, or makes no sense, is refused with field and number. */
static void config_json_is_refused_by_name(void **state) {
    static const struct {
        const char *more;
        fc_status status;
        const char *words;
    } bad[] = {
        {",\"mlp_bias\":true", FC_ERR_UNSUPPORTED, "mlp_bias"},
        {",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0}", FC_ERR_UNSUPPORTED, "\"dynamic\""},
        {",\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":2.0}", FC_ERR_UNSUPPORTED, "\"longrope\""},
        {",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2.0,\"truncate\":false}", FC_ERR_UNSUPPORTED,
         "truncate"},
        {",\"rope_scaling\":{\"rope_type\":\"linear\"}", FC_ERR_FORMAT, "rope scaling factor is 0"},
        {",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":-2}", FC_ERR_FORMAT, "rope scaling factor is -2"},
        {",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":2,\"low_freq_factor\":4,\"high_freq_factor\":4}",
         FC_ERR_FORMAT, "high_freq_factor 4"},
        {",\"rope_scaling\":{\"rope_type\":3}", FC_ERR_FORMAT, "rope_type"},
        {",\"rope_parameters\":{\"full_attention\":{}}", FC_ERR_UNSUPPORTED, "only Gemma 3"},
        {",\"partial_rotary_factor\":0.5", FC_ERR_UNSUPPORTED, "partial_rotary_factor is 0.5"},
        {",\"hidden_act\":\"relu\"", FC_ERR_UNSUPPORTED, "\"relu\""},
        {",\"num_key_value_heads\":3", FC_ERR_FORMAT, "no multiple of 3"},
        {",\"num_key_value_heads\":0", FC_ERR_FORMAT, "KV heads is 0"},
        {",\"head_dim\":7", FC_ERR_FORMAT, "odd: 7"},
        {",\"head_dim\":0", FC_ERR_FORMAT, "head dimension is 0"},
        {",\"head_dim\":100000", FC_ERR_FORMAT, "100000"},
        {",\"max_position_embeddings\":0", FC_ERR_FORMAT, "context length is 0"},
        {",\"max_position_embeddings\":99999999999", FC_ERR_FORMAT, "max_position_embeddings"},
        {",\"rms_norm_eps\":0", FC_ERR_FORMAT, "epsilon is 0"},
        {",\"rms_norm_eps\":\"1e-5\"", FC_ERR_FORMAT, "rms_norm_eps"},
        {",\"rope_theta\":0.5", FC_ERR_FORMAT, "rope base is 0.5"},
        {",\"rope_theta\":1e300", FC_ERR_FORMAT, "rope base"},
        {",\"bos_token_id\":24", FC_ERR_FORMAT, "bos_token_id"},
        {",\"bos_token_id\":-3", FC_ERR_FORMAT, "bos_token_id"},
        {",\"tie_word_embeddings\":1", FC_ERR_FORMAT, "tie_word_embeddings"},
    };
    fc_model_config c;
    (void)state;
    assert_ok(hf("", &c));
    assert_int_equal(c.n_eos, 3); /* both lists, each id once */
    assert_true(c.eos[0] == 3 && c.eos[1] == 5 && c.eos[2] == 7);
    assert_false(c.add_bos);
    assert_ok(hf(",\"add_bos_token\":true", &c)); /* stands for tokenizer_config.json here */
    assert_true(c.add_bos);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fc_status st = hf(bad[i].more, &c);
        if (st != bad[i].status || !strstr(fc_status_text(), bad[i].words) || !strstr(fc_status_text(), "config.json"))
            fail_msg("%s: %s: %s", bad[i].more, fc_status_name(st), st ? fc_status_text() : "");
    }
}

static void other_architectures_are_refused(void **state) {
    static const struct {
        const char *json;
        fc_status status;
        const char *words;
    } bad[] = {
        {"{}", FC_ERR_FORMAT, "neither architectures nor model_type"},
        {"[]", FC_ERR_FORMAT, "not a JSON object"},
        {"{\"architectures\":[\"Qwen2MoeForCausalLM\"]}", FC_ERR_UNSUPPORTED, "Qwen2MoeForCausalLM"},
        {"{\"architectures\":[\"LlamaForTokenClassification\"]}", FC_ERR_UNSUPPORTED, "LlamaForTokenClassification"},
        {"{\"architectures\":[7]}", FC_ERR_FORMAT, "architectures"},
        {"{\"architectures\":[],\"model_type\":\"gpt2\"}", FC_ERR_UNSUPPORTED, "gpt2"},
        {"{\"model_type\":\"llama\",\"hidden_size\":32}", FC_ERR_FORMAT, "intermediate_size is missing"},
        {"{\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_"
         "heads\":512,"
         "\"head_dim\":4096}",
         FC_ERR_FORMAT, "heads x head dimension is 2097152"},
        {"{\"model_type\":\"qwen3\",\"hidden_size\":32,\"intermediate_size\":8,\"num_hidden_layers\":1000}",
         FC_ERR_FORMAT, "1000"},
        {"{\"model_type\":\"qwen3\",\"hidden_size\":32,\"intermediate_size\":8,\"num_hidden_layers\":2,\"layer_types\":"
         "[\"full_attention\"]}",
         FC_ERR_FORMAT, "layer_types"},
        {"{\"model_type\":\"qwen3\",\"hidden_size\":32,\"intermediate_size\":8,\"num_hidden_layers\":1,\"layer_types\":"
         "[\"chunked_attention\"]}",
         FC_ERR_UNSUPPORTED, "chunked_attention"},
        {"{\"model_type\":\"qwen3\",\"hidden_size\":32,\"intermediate_size\":8,\"num_hidden_layers\":1,\"layer_types\":"
         "[\"sliding_attention\"]}",
         FC_ERR_FORMAT, "layer 0 uses a sliding window"},
        {"{\"model_type\":\"gemma2\",\"hidden_size\":32,\"intermediate_size\":8,\"num_hidden_layers\":1,\"use_"
         "bidirectional_attention\":true}",
         FC_ERR_UNSUPPORTED, "use_bidirectional_attention"},
        {"{\"model_type\":\"gemma3_text\",\"hidden_size\":32,\"intermediate_size\":8,\"num_hidden_layers\":1,\"rope_"
         "parameters\":"
         "{\"sliding_attention\":{\"rope_type\":\"linear\",\"factor\":2}}}",
         FC_ERR_UNSUPPORTED, "sliding_attention"},
        {"{\"architectures\":[\"LlamaForSequenceClassification\"],\"hidden_size\":32,\"intermediate_size\":8,\"num_"
         "hidden_layers\":1,"
         "\"num_labels\":3}",
         FC_ERR_UNSUPPORTED, "3 labels"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fc_json_doc *doc = NULL;
        fc_model_config c;
        assert_ok(fc_json_parse("config.json", bad[i].json, strlen(bad[i].json), &doc));
        assert_fails(fc_config_hf("config.json", fc_json_root(doc), NULL, NULL, &c), bad[i].status, bad[i].words);
        fc_json_close(doc);
    }
}

/* Configuration of the file that g makes; the metadata may be broken by the caller. */
static fc_status gguf_config(const gg_file *g, fc_model_config *c) {
    fc_str bytes = {0};
    fc_gguf f;
    fc_status st;
    gg_finish(g, &bytes);
    st = fc_gguf_parse("made.gguf", (const unsigned char *)bytes.data, bytes.size, &f);
    if (!st) {
        st = fc_config_gguf(&f, c);
        fc_gguf_fini(&f);
    }
    fc_str_fini(&bytes);
    return st;
}

static void gguf_families(void **state) {
    gg_file g;
    fc_model_config c;
    (void)state;
    gg_init(&g);
    gg_model(&g, "llama", 2);
    assert_ok(gguf_config(&g, &c));
    assert_true(c.V == 24 && c.D == 32 && c.L == 2 && c.H == 4 && c.G == 2 && c.E == 8 && c.F == 48 && c.ctx == 256);
    assert_true(c.rope_interleaved && c.tied && !c.qkv_bias && !c.qk_norm && !c.post_norms && !c.gelu_tanh &&
                !c.norm_plus_one);
    assert_true(c.rope_theta == 10000.0f && c.rope_dim == 8 && c.rope_scaling == FC_ROPE_NONE &&
                c.rope_attn_factor == 1.0f);
    assert_true(c.add_bos && !c.add_eos && c.bos == 1 && c.window == 0);
    assert_int_equal(c.n_eos, 2); /* </s> is the EOS; <|im_end|> is a control token, <|eot_id|> is not here */
    assert_true(c.eos[0] == 2 && c.eos[1] == 3);
    gg_fini(&g);

    gg_init(&g);
    gg_model(&g, "qwen2", 1);
    assert_ok(gguf_config(&g, &c));
    assert_true(c.qkv_bias && !c.out_bias && !c.rope_interleaved);
    gg_fini(&g);

    gg_init(&g);
    gg_model(&g, "qwen3", 1);
    assert_ok(gguf_config(&g, &c));
    assert_true(c.qk_norm && !c.qkv_bias && !c.rope_interleaved);
    gg_fini(&g);

    gg_init(&g);
    gg_model(&g, "gemma2", 5);
    assert_ok(gguf_config(&g, &c));
    assert_true(c.post_norms && c.gelu_tanh && c.embed_scale && !c.norm_plus_one && !c.qk_norm);
    assert_true(c.attn_soft_cap == 50.0f && c.final_soft_cap == 30.0f && c.window == 4096);
    for (int i = 0; i < 5; i++) assert_int_equal(c.local[i], i % 2 == 0);
    assert_float_equal(c.attn_scale, 1.0f / sqrtf(8.0f), 1e-7);
    gg_fini(&g);

    gg_init(&g);
    gg_model(&g, "gemma3", 8);
    gg_arch_u32(&g, "gemma3", "attention.sliding_window", 64);
    gg_arch_f32(&g, "gemma3", "rope.scaling.factor", 8.0f);
    gg_str(&g, "gemma3.rope.scaling.type", "linear");
    assert_ok(gguf_config(&g, &c));
    assert_true(c.qk_norm && c.post_norms && c.attn_soft_cap == 0.0f && c.final_soft_cap == 0.0f);
    assert_true(c.rope_theta == 1e6f && c.rope_theta_local == 1e4f && c.rope_scaling == FC_ROPE_LINEAR &&
                c.rope_factor == 8.0f);
    for (int i = 0; i < 8; i++) assert_int_equal(c.local[i], i != 5);
    assert_true(c.rope_local_own);
    gg_arch_f32(&g, "gemma3", "rope.freq_base", 1e4f); /* the same as that of local layers, which stay unscaled */
    assert_ok(gguf_config(&g, &c));
    assert_true(c.rope_theta == c.rope_theta_local && c.rope_local_own);
    gg_fini(&g);
}

/* GGUF has no query_pre_attn_scalar: the 27B models are known by their layers. */
static void the_large_gemmas_scale_by_width(void **state) {
    static const struct {
        const char *arch;
        int L;
        bool large;
    } models[] = {{"gemma2", 46, true}, {"gemma3", 62, true}, {"gemma2", 42, false}, {"gemma3", 48, false}};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        gg_file g;
        fc_model_config c;
        gg_init(&g);
        gg_model(&g, models[i].arch, models[i].L);
        gg_arch_u32(&g, models[i].arch, "attention.key_length", 16);
        gg_arch_u32(&g, models[i].arch, "attention.value_length", 16);
        assert_ok(gguf_config(&g, &c));
        assert_int_equal(c.E, 16);
        assert_float_equal(c.attn_scale, (models[i].large ? 1.0f / sqrtf(32.0f / 4.0f) : 0.25f), 1e-7);
        gg_arch_f32(&g, models[i].arch, "attention.scale", 0.125f);
        assert_ok(gguf_config(&g, &c));
        assert_true(c.attn_scale == 0.125f);
        gg_fini(&g);
    }
}

static void gguf_keys_change_the_flags(void **state) {
    gg_file g;
    fc_model_config c;
    const uint8_t pattern[] = {0, 1, 1};
    const int32_t per_layer[] = {2, 2, 2};
    (void)state;
    gg_init(&g);
    gg_model(&g, "llama", 3);
    gg_str(&g, "llama.rope.scaling.type", "yarn");
    gg_arch_f32(&g, "llama", "rope.scaling.factor", 4.0f);
    gg_arch_u32(&g, "llama", "rope.scaling.original_context_length", 128);
    gg_arch_f32(&g, "llama", "rope.scaling.yarn_beta_fast", 16.0f);
    gg_arch_f32(&g, "llama", "rope.freq_base", 5000.0f);
    gg_arch_u32(&g, "llama", "rope.dimension_count", 4);
    gg_arch_u32(&g, "llama", "attention.sliding_window", 32);
    gg_array(&g, "llama.attention.sliding_window_pattern", GG_BOOL, pattern, 3, 1);
    gg_tensor(&g, "rope_freqs.weight", 0, 2);
    gg_tensor(&g, "output.weight", 24, 32);
    gg_tensor(&g, "score.weight", 1, 32);
    gg_tensor(&g, "blk.0.attn_q.bias", 0, 32);
    gg_tensor(&g, "blk.0.attn_output.bias", 0, 32);
    gg_bool(&g, "tokenizer.ggml.add_bos_token", false);
    gg_u32(&g, "tokenizer.ggml.eot_token_id", 7);
    assert_ok(gguf_config(&g, &c));
    assert_true(c.rope_scaling == FC_ROPE_YARN && c.rope_factor == 4.0f && c.rope_original_ctx == 128 && c.ctx == 512);
    assert_true(c.rope_beta_fast == 16.0f && c.rope_beta_slow == 1.0f && c.rope_theta == 5000.0f && c.rope_dim == 4);
    assert_true(!c.rope_local_own && c.rope_theta_local == 5000.0f);
    assert_float_equal(c.rope_attn_factor, 0.1f * logf(4.0f) + 1.0f, 1e-6);
    assert_true(c.window == 32 && !c.local[0] && c.local[1] && c.local[2]);
    assert_true(c.rope_freqs_tensor && !c.tied && c.reward_head && c.qkv_bias && c.out_bias && !c.add_bos);
    assert_true(c.n_eos == 3 && c.eos[0] == 2 && c.eos[1] == 7 && c.eos[2] == 3);
    gg_arch_f32(&g, "llama", "rope.scaling.attn_factor", 0.5f);
    assert_ok(gguf_config(&g, &c));
    assert_float_equal(c.rope_attn_factor, 0.05f * logf(4.0f) + 0.5f, 1e-6);
    gg_arch_f32(&g, "llama", "rope.scaling.yarn_attn_factor", 3.0f);
    assert_ok(gguf_config(&g, &c));
    assert_float_equal(c.rope_attn_factor, 1.5, 1e-6);
    gg_fini(&g);

    gg_init(&g);
    gg_model(&g, "llama", 3);
    memcpy(gg_at(&g.meta, "llama.attention.head_count_kv"), "llama.attention.head_count_xx", 29);
    assert_ok(gguf_config(&g, &c));
    assert_int_equal(c.G, 4); /* absent: as many as heads */
    gg_array(&g, "llama.attention.head_count_kv", GG_I32, per_layer, 3, 4);
    assert_ok(gguf_config(&g, &c));
    assert_int_equal(c.G, 2);
    gg_fini(&g);
}

typedef void (*spoil)(gg_file *g);
static void s_moe(gg_file *g) { gg_u32(g, "llama.expert_count", 8); }
static void s_value_length(gg_file *g) { gg_u32(g, "llama.attention.value_length", 16); }
static void s_longrope(gg_file *g) {
    gg_str(g, "llama.rope.scaling.type", "longrope");
    gg_f32(g, "llama.rope.scaling.factor", 2.0f);
}
static void s_yarn_nothing(gg_file *g) { gg_str(g, "llama.rope.scaling.type", "yarn"); }
static void s_yarn_ext(gg_file *g) {
    gg_str(g, "llama.rope.scaling.type", "yarn");
    gg_f32(g, "llama.rope.scaling.factor", 2.0f);
    gg_f32(g, "llama.rope.scaling.yarn_ext_factor", 0.5f);
}
static void s_kv_differ(gg_file *g) {
    const int32_t each[] = {2, 4};
    memcpy(gg_at(&g->meta, "llama.attention.head_count_kv"), "llama.attention.head_count_xx", 29);
    gg_array(g, "llama.attention.head_count_kv", GG_I32, each, 2, 4);
}
static void s_no_head(gg_file *g) {
    gg_tensor(g, "output.weight", 24, 32);
    gg_bool(g, "forkcast.no_lm_head", true);
}
static void s_eos(gg_file *g) { gg_u32(g, "tokenizer.ggml.eot_token_id", 24); }
static void s_bos(gg_file *g) {
    const int32_t v = -2;
    memcpy(gg_at(&g->meta, "tokenizer.ggml.bos_token_id"), "tokenizer.ggml.bos_token_xx", 27);
    gg_raw(g, "tokenizer.ggml.bos_token_id", GG_I32, &v, 4);
}
static void s_types(gg_file *g) {
    const int32_t one = 1;
    memcpy(gg_at(&g->meta, "tokenizer.ggml.token_type"), "tokenizer.ggml.token_typx", 25);
    gg_array(g, "tokenizer.ggml.token_type", GG_I32, &one, 1, 4);
}
static void s_scores(gg_file *g) {
    memcpy(gg_at(&g->meta, "tokenizer.ggml.scores"), "tokenizer.ggml.scorex", 21);
    gg_u32(g, "tokenizer.ggml.scores", 1);
}
static void s_tokens(gg_file *g) {
    static const char *const many[25] = {"", "", "", "", "", "", "", "", "", "", "", "", "",
                                         "", "", "", "", "", "", "", "", "", "", "", ""};
    memcpy(gg_at(&g->meta, "tokenizer.ggml.tokens"), "tokenizer.ggml.tokenx", 21);
    gg_strs(g, "tokenizer.ggml.tokens", many, 25);
}
static void s_eps_nan(gg_file *g) {
    const float v = NAN;
    memcpy(gg_at(&g->meta, "llama.attention.layer_norm_rms_epsilon") + 38 + 4, &v, 4);
}
static void s_eps_zero(gg_file *g) { memset(gg_at(&g->meta, "llama.attention.layer_norm_rms_epsilon") + 38 + 4, 0, 4); }
static void s_heads_zero(gg_file *g) { memset(gg_at(&g->meta, "llama.attention.head_count") + 26 + 4, 0, 4); }
static void s_layers_huge(gg_file *g) { memset(gg_at(&g->meta, "llama.block_count") + 17 + 4, 0x7f, 4); }
static void s_layers_string(gg_file *g) {
    memcpy(gg_at(&g->meta, "llama.block_count"), "llama.block_counX", 17), gg_str(g, "llama.block_count", "2");
}
static void s_arch(gg_file *g) { memcpy(gg_at(&g->meta, "llama"), "mamba", 5); }
static void s_window_float(gg_file *g) { gg_f32(g, "llama.attention.sliding_window", 4.0f); }
static void s_pattern(gg_file *g) {
    const uint8_t three[] = {1, 1, 1};
    gg_u32(g, "llama.attention.sliding_window", 16);
    gg_array(g, "llama.attention.sliding_window_pattern", GG_BOOL, three, 3, 1);
}
static void s_rope_dim(gg_file *g) { gg_u32(g, "llama.rope.dimension_count", 10); }
static void s_rope_odd(gg_file *g) { gg_u32(g, "llama.rope.dimension_count", 3); }

static void gguf_is_refused_by_name(void **state) {
    static const struct {
        spoil by;
        fc_status status;
        const char *words;
    } bad[] = {
        {s_moe, FC_ERR_UNSUPPORTED, "llama.expert_count is 8"},
        {s_value_length, FC_ERR_UNSUPPORTED, "values 16"},
        {s_longrope, FC_ERR_UNSUPPORTED, "longrope"},
        {s_yarn_nothing, FC_ERR_UNSUPPORTED, "without rope.scaling.factor"},
        {s_yarn_ext, FC_ERR_UNSUPPORTED, "yarn_ext_factor 0.5"},
        {s_kv_differ, FC_ERR_UNSUPPORTED, "head_count_kv differs between layers: 2 in layer 0, 4 in layer 1"},
        {s_no_head, FC_ERR_FORMAT, "forkcast.no_lm_head is true, but tensor output.weight"},
        {s_eos, FC_ERR_FORMAT, "tokenizer.ggml.eot_token_id is 24"},
        {s_bos, FC_ERR_FORMAT, "tokenizer.ggml.bos_token_id is -2"},
        {s_types, FC_ERR_FORMAT, "token_type has 1 elements for 24 tokens"},
        {s_scores, FC_ERR_FORMAT, "tokenizer.ggml.scores"},
        {s_tokens, FC_ERR_FORMAT, "has 25 tokens, token_embd.weight only 24"},
        {s_eps_nan, FC_ERR_FORMAT, "layer_norm_rms_epsilon"},
        {s_eps_zero, FC_ERR_FORMAT, "epsilon is 0"},
        {s_heads_zero, FC_ERR_FORMAT, "head_count is 0"},
        {s_layers_huge, FC_ERR_FORMAT, "block_count is 2139062143"},
        {s_layers_string, FC_ERR_FORMAT, "block_count is not a whole number"},
        {s_arch, FC_ERR_UNSUPPORTED, "\"mamba\""},
        {s_window_float, FC_ERR_FORMAT, "sliding_window is not a whole number"},
        {s_pattern, FC_ERR_FORMAT, "sliding_window_pattern has 3 elements, not 2"},
        {s_rope_dim, FC_ERR_FORMAT, "rotated dimensions is 10"},
        {s_rope_odd, FC_ERR_FORMAT, "odd: 3"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gg_file g;
        fc_model_config c;
        gg_init(&g);
        gg_model(&g, "llama", 2);
        bad[i].by(&g);
        assert_fails(gguf_config(&g, &c), bad[i].status, bad[i].words);
        assert_non_null(strstr(fc_status_text(), "made.gguf"));
        gg_fini(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_json_means_what_transformers_makes_of_it),
        cmocka_unit_test(config_json_is_refused_by_name),
        cmocka_unit_test(other_architectures_are_refused),
        cmocka_unit_test(gguf_families),
        cmocka_unit_test(the_large_gemmas_scale_by_width),
        cmocka_unit_test(gguf_keys_change_the_flags),
        cmocka_unit_test(gguf_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
