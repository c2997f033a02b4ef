/* Values that config.json leaves out are those of the configuration classes of transformers 5, so that a file means
 * here what it means there; a key that is null is "none", which is not the same as one that is absent.
 */
#include "weights_tools/config_read.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* One configuration class and its defaults. -1: none; G == -1: as many as heads; E == -1: D/H. */
typedef struct {
    const char *name, *model_type, *arch;
    int V, H, G, E, ctx, window, bos, eos;
    bool tied;
} family;

static const family families[] = {
    {"Llama", "llama", "llama", 32000, 32, -1, -1, 2048, 0, 1, 2, false},
    {"Mistral", "mistral", "llama", 32000, 32, 8, -1, 131072, 4096, 1, 2, false},
    {"Qwen2", "qwen2", "qwen2", 151936, 32, 32, -1, 32768, 4096, -1, -1, false},
    {"Qwen3", "qwen3", "qwen3", 151936, 32, 32, 128, 32768, 4096, -1, -1, false},
    {"Gemma2", "gemma2", "gemma2", 256000, 8, 4, 256, 8192, 4096, 2, 1, true},
    {"Gemma3Text", "gemma3_text", "gemma3", 262208, 8, 4, 256, 131072, 4096, 2, 1, true},
    {"Gemma3", "gemma3", "gemma3", 262208, 8, 4, 256, 131072, 4096, 2, 1, true},
};

typedef struct {
    const char *path;
    const fc_json *top;  /* the document */
    const fc_json *text; /* what describes the language model: text_config, or the document itself */
    const family *f;
} source;

static bool is_null(const fc_json *n) { return fc_json_kind(n) == FC_JSON_NULL; }

/* A node of the language model; what its text_config does not say may stand at the top. NULL when absent. */
static const fc_json *find(const source *s, const char *key) {
    const fc_json *n = fc_json_get(s->text, key);
    return n ? n : fc_json_get(s->top, key);
}

/* *out stays as it is when the key is absent, and becomes `none` when it is null. */
static fc_status get_int(const fc_json *n, int64_t max, int none, int *out) {
    int64_t v;
    if (!n) return FC_OK;
    if (is_null(n)) {
        *out = none;
        return FC_OK;
    }
    FC_TRY(fc_json_int(n, 0, max, &v));
    *out = (int)v;
    return FC_OK;
}

static fc_status get_float(const fc_json *n, float none, float *out) {
    double v = 0.0;
    if (!n) return FC_OK;
    if (is_null(n)) {
        *out = none;
        return FC_OK;
    }
    FC_TRY(fc_json_double(n, &v));
    *out = fabs(v) < 1e30 ? (float)v : 1e30f; /* still out of range for every field */
    return FC_OK;
}

static fc_status get_bool(const fc_json *n, bool *out) { return !n || is_null(n) ? FC_OK : fc_json_bool(n, out); }

static fc_status refuse_true(const source *s, const char *key) {
    bool v = false;
    FC_TRY(get_bool(find(s, key), &v));
    return v ? FC_FAIL(FC_ERR_UNSUPPORTED, "%s: %s is true, which is not supported", s->path, key) : FC_OK;
}

/* "Qwen2ForSequenceClassification" is of the family "Qwen2". */
static bool class_is(const char *name, const char *family_name) {
    static const char *const tails[] = {"ForCausalLM", "ForSequenceClassification", "Model",
                                        "ForConditionalGeneration"};
    size_t n = strlen(family_name);
    if (strncmp(name, family_name, n) != 0) return false;
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++)
        if (strcmp(name + n, tails[i]) == 0) return true;
    return false;
}

static fc_status read_family(source *s) {
    const fc_json *list = fc_json_get(s->top, "architectures"), *first = list ? fc_json_first(list) : NULL;
    const fc_json *type = fc_json_get(s->top, "model_type");
    const char *name = NULL;
    if (first) FC_TRY(fc_json_string(first, &name));
    else if (type) FC_TRY(fc_json_string(type, &name));
    else return FC_FAIL(FC_ERR_FORMAT, "%s: neither architectures nor model_type says what this is", s->path);
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (first ? class_is(name, families[i].name) : strcmp(name, families[i].model_type) == 0) s->f = &families[i];
    if (!s->f)
        return FC_FAIL(FC_ERR_UNSUPPORTED,
                       "%s: %s \"%.60s\"; Llama, Mistral, Qwen2, Qwen3, Gemma2 and Gemma3, ForCausalLM and "
                       "ForSequenceClassification, are supported",
                       s->path, first ? "architecture" : "model_type", name);
    return FC_OK;
}

static fc_status read_shape(const source *s, fc_model_config *c) {
    static const char *const needed[] = {"hidden_size", "intermediate_size", "num_hidden_layers"};
    int *const into[] = {&c->D, &c->F, &c->L};
    for (size_t i = 0; i < 3; i++) {
        const fc_json *n = find(s, needed[i]);
        if (!n) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is missing", s->path, needed[i]);
        FC_TRY(get_int(n, INT_MAX, 0, into[i]));
    }
    c->V = s->f->V;
    c->H = s->f->H;
    c->G = s->f->G;
    c->E = s->f->E;
    c->ctx = s->f->ctx;
    c->norm_eps = 1e-6f;
    FC_TRY(get_int(find(s, "vocab_size"), INT_MAX, 0, &c->V));
    FC_TRY(get_int(find(s, "num_attention_heads"), INT_MAX, 0, &c->H));
    FC_TRY(get_int(find(s, "num_key_value_heads"), INT_MAX, -1, &c->G));
    FC_TRY(get_int(find(s, "head_dim"), INT_MAX, -1, &c->E));
    FC_TRY(get_int(find(s, "max_position_embeddings"), INT_MAX, 0, &c->ctx));
    if (c->H < 1) return FC_FAIL(FC_ERR_FORMAT, "%s: num_attention_heads is %d", s->path, c->H);
    if (c->L < 1 || c->L > FC_MAX_LAYERS)
        return FC_FAIL(FC_ERR_FORMAT, "%s: num_hidden_layers is %d; 1 to %d are possible", s->path, c->L,
                       FC_MAX_LAYERS);
    if (c->G < 0) c->G = c->H;
    if (c->E < 0) c->E = c->D / c->H;
    return get_float(find(s, "rms_norm_eps"), 0.0f, &c->norm_eps);
}

static fc_status read_yarn(const source *s, const fc_json *rope, fc_model_config *c) {
    float mscale = 0.0f, mscale_all = 0.0f;
    bool truncate = true;
    double factor, after;
    FC_TRY(get_bool(fc_json_get(rope, "truncate"), &truncate));
    if (!truncate) return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: YaRN with truncate false is not supported", s->path);
    if (c->rope_factor == 0.0f && c->rope_original_ctx > 0)
        c->rope_factor = (float)c->ctx / (float)c->rope_original_ctx;
    FC_TRY(get_float(fc_json_get(rope, "mscale"), 0.0f, &mscale));
    FC_TRY(get_float(fc_json_get(rope, "mscale_all_dim"), 0.0f, &mscale_all));
    FC_TRY(get_float(fc_json_get(rope, "beta_fast"), 0.0f, &c->rope_beta_fast));
    FC_TRY(get_float(fc_json_get(rope, "beta_slow"), 0.0f, &c->rope_beta_slow));
    if (c->rope_beta_fast == 0.0f) c->rope_beta_fast = 32.0f;
    if (c->rope_beta_slow == 0.0f) c->rope_beta_slow = 1.0f;
    factor = (double)c->rope_factor;
    if (mscale != 0.0f && mscale_all != 0.0f)
        c->rope_attn_factor =
            (float)(fc_config_yarn_mscale(factor, (double)mscale) / fc_config_yarn_mscale(factor, (double)mscale_all));
    else c->rope_attn_factor = (float)fc_config_yarn_mscale(factor, 1.0);
    FC_TRY(get_float(fc_json_get(rope, "attention_factor"), c->rope_attn_factor, &c->rope_attn_factor));
    after = (double)c->rope_original_ctx * factor;
    if (after > c->ctx && after <= 1 << 30) c->ctx = (int)after;
    return FC_OK;
}

/* rope_type of a dictionary, "default" without one. */
static fc_status rope_type(const fc_json *rope, const char **out) {
    const fc_json *n = rope ? fc_json_get(rope, "rope_type") : NULL;
    if (rope && !n) n = fc_json_get(rope, "type"); /* its older name */
    *out = "default";
    return n && !is_null(n) ? fc_json_string(n, out) : FC_OK;
}

static fc_status refuse_partial(const source *s, const fc_json *n) {
    float part = 1.0f;
    FC_TRY(get_float(n, 1.0f, &part));
    if (part == 1.0f) return FC_OK;
    return FC_FAIL(FC_ERR_UNSUPPORTED,
                   "%s: partial_rotary_factor is %g; none of the supported architectures rotates a part", s->path,
                   (double)part);
}

/* The scaling that one dictionary says (NULL: none). */
static fc_status read_scaling(const source *s, const fc_json *rope, fc_model_config *c) {
    const fc_json *original = fc_json_get(s->text, "original_max_position_embeddings");
    const char *type = NULL;
    FC_TRY(rope_type(rope, &type));
    if (strcmp(type, "default") == 0) return FC_OK;
    FC_TRY(refuse_partial(s, fc_json_get(rope, "partial_rotary_factor")));
    c->rope_factor = 0.0f; /* out of range, unless it is given */
    FC_TRY(get_float(fc_json_get(rope, "factor"), 0.0f, &c->rope_factor));
    if (strcmp(type, "linear") == 0) {
        c->rope_scaling = FC_ROPE_LINEAR;
        return FC_OK;
    }
    c->rope_original_ctx = c->ctx;
    FC_TRY(get_int(original ? original : fc_json_get(rope, "original_max_position_embeddings"), INT_MAX, 0,
                   &c->rope_original_ctx));
    if (strcmp(type, "llama3") == 0) {
        c->rope_scaling = FC_ROPE_LLAMA3;
        FC_TRY(get_float(fc_json_get(rope, "low_freq_factor"), 0.0f, &c->rope_low_freq));
        return get_float(fc_json_get(rope, "high_freq_factor"), 0.0f, &c->rope_high_freq);
    }
    if (strcmp(type, "yarn") != 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: rope_type \"%.60s\"; default, linear, llama3 and yarn are supported",
                       s->path, type);
    c->rope_scaling = FC_ROPE_YARN;
    return read_yarn(s, rope, c);
}

static const fc_json *object_or_null(const fc_json *n) { return n && fc_json_kind(n) == FC_JSON_OBJECT ? n : NULL; }

/* Gemma 3 has one dictionary for global and one for local layers; only global ones may be scaled. */
static fc_status read_rope_gemma3(const source *s, fc_model_config *c) {
    const fc_json *both = object_or_null(find(s, "rope_parameters")),
                  *scaling = object_or_null(find(s, "rope_scaling"));
    const fc_json *full = both ? object_or_null(fc_json_get(both, "full_attention")) : NULL;
    const fc_json *local = both ? object_or_null(fc_json_get(both, "sliding_attention")) : NULL;
    const char *type = NULL;
    c->rope_theta = 1e6f;
    c->rope_theta_local = 1e4f;
    c->rope_local_own = true;
    FC_TRY(get_float(find(s, "rope_theta"), 0.0f, &c->rope_theta));
    FC_TRY(get_float(find(s, "rope_local_base_freq"), 0.0f, &c->rope_theta_local));
    if (full) FC_TRY(get_float(fc_json_get(full, "rope_theta"), 0.0f, &c->rope_theta));
    if (local) FC_TRY(get_float(fc_json_get(local, "rope_theta"), 0.0f, &c->rope_theta_local));
    FC_TRY(rope_type(local, &type));
    if (strcmp(type, "default") != 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: rope_type \"%.60s\" of sliding_attention; only default is supported",
                       s->path, type);
    return read_scaling(s, scaling && fc_json_count(scaling) ? scaling : full, c);
}

static fc_status read_rope(const source *s, fc_model_config *c) {
    const fc_json *rope = object_or_null(find(s, "rope_scaling"));
    c->rope_dim = c->E;
    c->rope_factor = 1.0f;
    c->rope_attn_factor = 1.0f;
    c->rope_beta_fast = 32.0f;
    c->rope_beta_slow = 1.0f;
    FC_TRY(refuse_partial(s, find(s, "partial_rotary_factor")));
    if (strcmp(s->f->arch, "gemma3") == 0) return read_rope_gemma3(s, c);
    if (!rope || fc_json_count(rope) == 0) rope = object_or_null(find(s, "rope_parameters"));
    if (rope && (fc_json_get(rope, "full_attention") || fc_json_get(rope, "sliding_attention")))
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: rope_parameters for each layer type; only Gemma 3 has them", s->path);
    c->rope_theta = 1e4f;
    FC_TRY(get_float(find(s, "rope_theta"), 0.0f, &c->rope_theta));
    if (rope) FC_TRY(get_float(fc_json_get(rope, "rope_theta"), 0.0f, &c->rope_theta));
    c->rope_theta_local = c->rope_theta;
    return read_scaling(s, rope, c);
}

static fc_status read_layer_types(const source *s, const fc_json *list, fc_model_config *c) {
    int i = 0;
    if (fc_json_kind(list) != FC_JSON_ARRAY || fc_json_count(list) != (size_t)c->L)
        return FC_FAIL(FC_ERR_FORMAT, "%s: layer_types is not an array of num_hidden_layers = %d entries", s->path,
                       c->L);
    for (const fc_json *n = fc_json_first(list); n; n = fc_json_next(n), i++) {
        const char *type = NULL;
        FC_TRY(fc_json_string(n, &type));
        c->local[i] = strcmp(type, "sliding_attention") == 0;
        if (!c->local[i] && strcmp(type, "full_attention") != 0)
            return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: layer_types: layer %d is \"%.60s\"", s->path, i, type);
    }
    return FC_OK;
}

static fc_status read_window(const source *s, fc_model_config *c) {
    const fc_json *types = find(s, "layer_types");
    bool llama = strcmp(s->f->name, "Llama") == 0, mistral = strcmp(s->f->name, "Mistral") == 0;
    bool qwen = strncmp(s->f->name, "Qwen", 4) == 0, use = !qwen;
    int pattern = strcmp(s->f->arch, "gemma2") == 0 ? 2 : 6, from = 28;
    if (llama) return FC_OK; /* the Llama class has no window, whatever the file says */
    c->window = s->f->window;
    FC_TRY(get_int(find(s, "sliding_window"), 1 << 30, 0, &c->window));
    FC_TRY(get_bool(find(s, "use_sliding_window"), &use));
    if (!use && qwen) c->window = 0;
    if (!mistral && types && !is_null(types)) {
        FC_TRY(read_layer_types(s, types, c));
    } else if (mistral) {
        fc_config_local_pattern(c, c->window ? 0 : 1);
    } else if (qwen) {
        FC_TRY(get_int(find(s, "max_window_layers"), INT_MAX, 28, &from));
        for (int i = from; i < c->L && c->window; i++) c->local[i] = true;
    } else {
        if (pattern == 6) FC_TRY(get_int(find(s, "sliding_window_pattern"), INT_MAX, 6, &pattern));
        if (pattern < 1) return FC_FAIL(FC_ERR_FORMAT, "%s: sliding_window_pattern is %d", s->path, pattern);
        fc_config_local_pattern(c, pattern);
    }
    return FC_OK;
}

static fc_status read_attention(const source *s, fc_model_config *c) {
    bool gemma2 = strcmp(s->f->arch, "gemma2") == 0, gemma = c->post_norms, bias = false;
    float scalar = gemma ? 256.0f : (float)c->E;
    if (gemma) {
        FC_TRY(get_float(find(s, "query_pre_attn_scalar"), 0.0f, &scalar));
        if (!(scalar > 0.0f)) return FC_FAIL(FC_ERR_FORMAT, "%s: query_pre_attn_scalar is %g", s->path, (double)scalar);
        c->attn_soft_cap = gemma2 ? 50.0f : 0.0f;
        c->final_soft_cap = gemma2 ? 30.0f : 0.0f;
        FC_TRY(get_float(find(s, "attn_logit_softcapping"), 0.0f, &c->attn_soft_cap));
        FC_TRY(get_float(find(s, "final_logit_softcapping"), 0.0f, &c->final_soft_cap));
        FC_TRY(refuse_true(s, "use_bidirectional_attention"));
    }
    c->attn_scale = (float)(1.0 / sqrt((double)scalar));
    if (strcmp(s->f->name, "Mistral") == 0 || strcmp(s->f->name, "Qwen2") == 0) return FC_OK; /* fixed by the class */
    FC_TRY(get_bool(find(s, "attention_bias"), &bias));
    c->qkv_bias = bias;
    c->out_bias = bias;
    return strcmp(s->f->name, "Llama") == 0 ? refuse_true(s, "mlp_bias") : FC_OK;
}

static fc_status read_activation(const source *s, const fc_model_config *c) {
    const char *key = c->gelu_tanh ? "hidden_activation" : "hidden_act",
               *want = c->gelu_tanh ? "gelu_pytorch_tanh" : "silu";
    const fc_json *n = find(s, key);
    const char *is = NULL;
    if (!n || is_null(n)) return FC_OK;
    FC_TRY(fc_json_string(n, &is));
    if (strcmp(is, want) == 0) return FC_OK;
    return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: %s is \"%.60s\"; %s has %s", s->path, key, is, s->f->name, want);
}

/* One id or a list of them; absent or null adds none. */
static fc_status add_eos(const fc_json *n, const fc_model_config *limits, fc_model_config *c) {
    int64_t id;
    if (!n || is_null(n)) return FC_OK;
    if (fc_json_kind(n) == FC_JSON_ARRAY) {
        for (const fc_json *e = fc_json_first(n); e; e = fc_json_next(e)) {
            FC_TRY(fc_json_int(e, 0, limits->V - 1, &id));
            fc_config_add_eos(c, (int32_t)id);
        }
        return FC_OK;
    }
    FC_TRY(fc_json_int(n, 0, limits->V - 1, &id));
    fc_config_add_eos(c, (int32_t)id);
    return FC_OK;
}

static fc_status read_ids(const source *s, const fc_json *generation, fc_model_config *c) {
    const fc_json *bos = find(s, "bos_token_id"), *eos = find(s, "eos_token_id");
    int id = s->f->bos < c->V ? s->f->bos : -1;
    if (bos && fc_json_kind(bos) == FC_JSON_NUMBER) FC_TRY(get_int(bos, c->V - 1, -1, &id));
    else if (bos) id = -1;
    c->bos = id;
    FC_TRY(add_eos(eos, c, c));
    if (!eos && s->f->eos >= 0 && s->f->eos < c->V) fc_config_add_eos(c, s->f->eos);
    return generation ? add_eos(fc_json_get(generation, "eos_token_id"), c, c) : FC_OK;
}

/* A classifier is a reward head when it has one label. */
static fc_status read_labels(const source *s) {
    const fc_json *labels = fc_json_get(s->top, "id2label"), *list = fc_json_get(s->top, "architectures");
    const fc_json *first = list ? fc_json_first(list) : NULL;
    const char *name = "";
    int n = 1;
    if (first) FC_TRY(fc_json_string(first, &name));
    if (!strstr(name, "ForSequenceClassification")) return FC_OK;
    if (labels && fc_json_kind(labels) == FC_JSON_OBJECT)
        n = fc_json_count(labels) < INT_MAX ? (int)fc_json_count(labels) : INT_MAX;
    FC_TRY(get_int(fc_json_get(s->top, "num_labels"), INT_MAX, n, &n));
    if (n != 1)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: a classifier with %d labels; a reward head has one", s->path, n);
    return FC_OK;
}

fc_status fc_config_hf(const char *path, const fc_json *config, const fc_json *generation, const fc_json *tokenizer,
                       fc_model_config *out) {
    fc_model_config c = {.bos = -1};
    source s = {.path = path, .top = config, .text = config};
    const fc_json *n;
    if (fc_json_kind(config) != FC_JSON_OBJECT) return FC_FAIL(FC_ERR_FORMAT, "%s: not a JSON object", path);
    FC_TRY(read_family(&s));
    if (strcmp(s.f->name, "Gemma3") == 0 && (n = object_or_null(fc_json_get(config, "text_config")))) s.text = n;
    FC_TRY(fc_config_family(path, s.f->arch, &c));
    n = fc_json_get(config, "_name_or_path");
    if (n && fc_json_kind(n) == FC_JSON_STRING) {
        const char *name = "";
        FC_TRY(fc_json_string(n, &name));
        size_t most = strlen(name) < sizeof c.name ? strlen(name) : sizeof c.name - 1;
        memcpy(c.name, name, fc_utf8_complete(name, most));
    }
    c.norm_plus_one = c.post_norms; /* the Gemmas */
    c.tied = s.f->tied;
    FC_TRY(get_bool(find(&s, "tie_word_embeddings"), &c.tied));
    FC_TRY(read_shape(&s, &c));
    FC_TRY(read_rope(&s, &c));
    FC_TRY(read_window(&s, &c));
    FC_TRY(read_attention(&s, &c));
    FC_TRY(read_activation(&s, &c));
    FC_TRY(read_ids(&s, generation, &c));
    FC_TRY(read_labels(&s));
    if (tokenizer) {
        FC_TRY(get_bool(fc_json_get(tokenizer, "add_bos_token"), &c.add_bos));
        FC_TRY(get_bool(fc_json_get(tokenizer, "add_eos_token"), &c.add_eos));
    }
    FC_TRY(fc_config_check(path, &c));
    *out = c;
    return FC_OK;
}
