#include "weights_tools/config_read.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What is being read: the file, and the architecture that prefixes its keys. */
typedef struct {
    const fc_gguf *g;
    char arch[32];
} source;

static const fc_meta *find(const source *s, const char *suffix, char key[96]) {
    const fc_gguf_meta *m;
    snprintf(key, 96, "%s.%s", s->arch, suffix);
    m = fc_gguf_find(s->g, key);
    return m ? &m->value : NULL;
}

/* A whole number, or one per layer when all are the same. *out stays as it is when the key is absent. */
static fc_status get_int(const source *s, const char *suffix, bool required, int *out) {
    char key[96];
    const fc_meta *m = find(s, suffix, key);
    int64_t v;
    if (!m) return required ? FC_FAIL(FC_ERR_FORMAT, "%s: %s is missing", s->g->path, key) : FC_OK;
    if (m->kind == FC_META_ARRAY && m->elem == FC_META_INT && m->count >= 1 && m->count <= FC_MAX_LAYERS) {
        int32_t each[FC_MAX_LAYERS];
        FC_TRY(fc_gguf_ints(s->g, key, each, m->count));
        for (size_t i = 1; i < m->count; i++)
            if (each[i] != each[0])
                return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: %s differs between layers: %d in layer 0, %d in layer %zu",
                               s->g->path, key, each[0], each[i], i);
        v = each[0];
    } else if (m->kind == FC_META_INT) {
        v = m->i;
    } else {
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not a whole number", s->g->path, key);
    }
    if (v < 0 || v > INT_MAX) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is %lld", s->g->path, key, (long long)v);
    *out = (int)v;
    return FC_OK;
}

static fc_status get_float(const source *s, const char *suffix, bool required, float *out) {
    char key[96];
    const fc_meta *m = find(s, suffix, key);
    if (!m) return required ? FC_FAIL(FC_ERR_FORMAT, "%s: %s is missing", s->g->path, key) : FC_OK;
    if (m->kind != FC_META_FLOAT && m->kind != FC_META_INT)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not a number", s->g->path, key);
    if (!isfinite(m->f) || fabs(m->f) > 1e30) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is %g", s->g->path, key, m->f);
    *out = (float)m->f;
    return FC_OK;
}

/* A string into a buffer of size bytes; "" when absent. Names, not texts: control bytes and NULs are refused. */
static fc_status get_name(const fc_gguf *g, const char *key, char *out, size_t size) {
    const fc_gguf_meta *m = fc_gguf_find(g, key);
    out[0] = '\0';
    if (!m) return FC_OK;
    if (m->value.kind != FC_META_STRING) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not a string", g->path, key);
    if (m->value.s.size >= size)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s has %zu bytes; at most %zu are read", g->path, key, m->value.s.size,
                       size - 1);
    for (size_t i = 0; i < m->value.s.size; i++)
        if ((unsigned char)m->value.s.text[i] < 0x20)
            return FC_FAIL(FC_ERR_FORMAT, "%s: %s contains the byte 0x%02x", g->path, key,
                           (unsigned char)m->value.s.text[i]);
    memcpy(out, m->value.s.text, m->value.s.size);
    out[m->value.s.size] = '\0';
    return FC_OK;
}

static const fc_tensor *tensor(const fc_gguf *g, const char *name) {
    for (size_t i = 0; i < g->n_tensors; i++)
        if (strcmp(g->tensors[i].name, name) == 0) return &g->tensors[i];
    return NULL;
}

static fc_status read_shape(const source *s, fc_model_config *c) {
    int v = 0;
    FC_TRY(get_int(s, "block_count", true, &c->L));
    FC_TRY(get_int(s, "embedding_length", true, &c->D));
    FC_TRY(get_int(s, "feed_forward_length", true, &c->F));
    FC_TRY(get_int(s, "attention.head_count", true, &c->H));
    c->G = c->H;
    FC_TRY(get_int(s, "attention.head_count_kv", false, &c->G));
    FC_TRY(get_int(s, "context_length", true, &c->ctx));
    FC_TRY(get_int(s, "expert_count", false, &v));
    if (v > 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: %s.expert_count is %d; mixtures of experts are not supported",
                       s->g->path, s->arch, v);
    if (c->H < 1) return FC_FAIL(FC_ERR_FORMAT, "%s: %s.attention.head_count is %d", s->g->path, s->arch, c->H);
    c->E = c->D / c->H;
    FC_TRY(get_int(s, "attention.key_length", false, &c->E));
    v = c->E;
    FC_TRY(get_int(s, "attention.value_length", false, &v));
    if (v != c->E)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: keys have %d dimensions a head and values %d; they must be equal",
                       s->g->path, c->E, v);
    return get_float(s, "attention.layer_norm_rms_epsilon", true, &c->norm_eps);
}

static fc_status read_yarn(const source *s, fc_model_config *c) {
    float ext = 1.0f, log_mul = 0.0f, whole = 0.0f, part = 1.0f;
    double after;
    c->rope_original_ctx = c->ctx;
    FC_TRY(get_int(s, "rope.scaling.original_context_length", false, &c->rope_original_ctx));
    FC_TRY(get_float(s, "rope.scaling.yarn_beta_fast", false, &c->rope_beta_fast));
    FC_TRY(get_float(s, "rope.scaling.yarn_beta_slow", false, &c->rope_beta_slow));
    FC_TRY(get_float(s, "rope.scaling.yarn_ext_factor", false, &ext));
    FC_TRY(get_float(s, "rope.scaling.yarn_log_multiplier", false, &log_mul));
    if (ext != 1.0f || log_mul != 0.0f)
        return FC_FAIL(FC_ERR_UNSUPPORTED,
                       "%s: YaRN with yarn_ext_factor %g and yarn_log_multiplier %g; only 1 and 0 are supported",
                       s->g->path, (double)ext, (double)log_mul);
    FC_TRY(get_float(s, "rope.scaling.yarn_attn_factor", false, &whole));
    FC_TRY(get_float(s, "rope.scaling.attn_factor", false, &part));
    c->rope_attn_factor = part * (whole > 0.0f ? whole : (float)fc_config_yarn_mscale((double)c->rope_factor, 1.0));
    after = (double)c->rope_original_ctx * (double)c->rope_factor;
    if (after > c->ctx && after <= 1 << 30) c->ctx = (int)after;
    return FC_OK;
}

static fc_status read_rope(const source *s, fc_model_config *c) {
    char key[96], type[32], text[96];
    bool gemma3 = strcmp(c->arch, "gemma3") == 0;
    const fc_meta *m;
    c->rope_theta = gemma3 ? 1e6f : 1e4f;
    FC_TRY(get_float(s, "rope.freq_base", false, &c->rope_theta));
    c->rope_theta_local = gemma3 ? 1e4f : c->rope_theta;
    FC_TRY(get_float(s, "rope.freq_base_swa", false, &c->rope_theta_local));
    c->rope_local_own = gemma3 || find(s, "rope.freq_base_swa", key);
    c->rope_dim = c->E;
    FC_TRY(get_int(s, "rope.dimension_count", false, &c->rope_dim));
    c->rope_interleaved = strcmp(c->arch, "llama") == 0;
    c->rope_freqs_tensor = tensor(s->g, "rope_freqs.weight") != NULL;
    c->rope_beta_fast = 32.0f;
    c->rope_beta_slow = 1.0f;
    c->rope_attn_factor = 1.0f;
    c->rope_factor = 1.0f;
    snprintf(text, sizeof text, "%s.rope.scaling.type", s->arch);
    FC_TRY(get_name(s->g, text, type, sizeof type));
    m = find(s, "rope.scaling.factor", key);
    if (!m) m = find(s, "rope.scale_linear", key); /* its older name */
    if (!m || strcmp(type, "none") == 0) {
        if (type[0] && strcmp(type, "none") != 0 && strcmp(type, "linear") != 0)
            return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: rope scaling \"%s\" without rope.scaling.factor", s->g->path, type);
        return FC_OK;
    }
    FC_TRY(get_float(s, key + strlen(s->arch) + 1, true, &c->rope_factor));
    if (c->rope_factor == 0.0f) c->rope_factor = 1.0f; /* written by converters that mean "none" */
    if (!type[0] || strcmp(type, "linear") == 0) {
        if (c->rope_factor != 1.0f) c->rope_scaling = FC_ROPE_LINEAR;
        return FC_OK;
    }
    if (strcmp(type, "yarn") != 0)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: rope scaling \"%s\"; none, linear and yarn are supported in GGUF",
                       s->g->path, type);
    c->rope_scaling = FC_ROPE_YARN;
    return read_yarn(s, c);
}

static fc_status read_window(const source *s, fc_model_config *c) {
    char key[96];
    bool gemma2 = strcmp(c->arch, "gemma2") == 0, gemma3 = strcmp(c->arch, "gemma3") == 0;
    const fc_meta *m = find(s, "attention.sliding_window_pattern", key);
    c->window = gemma2 ? 4096 : 0;
    FC_TRY(get_int(s, "attention.sliding_window", false, &c->window));
    if (c->window == 0) return FC_OK;
    if (m && m->kind == FC_META_ARRAY) {
        int32_t each[FC_MAX_LAYERS];
        FC_TRY(fc_gguf_ints(s->g, key, each, (size_t)c->L));
        for (int i = 0; i < c->L; i++) c->local[i] = each[i] != 0;
    } else {
        int n = gemma2 ? 2 : gemma3 ? 6 : 0;
        FC_TRY(get_int(s, "attention.sliding_window_pattern", false, &n));
        fc_config_local_pattern(c, n);
    }
    return FC_OK;
}

/* The larger Gemmas scale queries by D/H, not by the head dimension; GGUF tells them by their number of layers. */
static fc_status read_attention(const source *s, fc_model_config *c) {
    bool gemma2 = strcmp(c->arch, "gemma2") == 0, gemma3 = strcmp(c->arch, "gemma3") == 0;
    int scalar = (gemma2 && c->L == 46) || (gemma3 && c->L == 62) ? c->D / c->H : c->E;
    if (scalar < 1) return FC_FAIL(FC_ERR_FORMAT, "%s: %d heads for a model dimension of %d", s->g->path, c->H, c->D);
    c->attn_scale = 1.0f / sqrtf((float)scalar);
    FC_TRY(get_float(s, "attention.scale", false, &c->attn_scale));
    c->attn_soft_cap = gemma2 ? 50.0f : 0.0f;
    c->final_soft_cap = gemma2 ? 30.0f : 0.0f;
    FC_TRY(get_float(s, "attn_logit_softcapping", false, &c->attn_soft_cap));
    return get_float(s, "final_logit_softcapping", false, &c->final_soft_cap);
}

/* -1 when absent, or written as "none" (all bits set). */
static fc_status get_id(const fc_gguf *g, const char *key, int V, int32_t *out) {
    const fc_gguf_meta *m = fc_gguf_find(g, key);
    *out = -1;
    if (!m) return FC_OK;
    if (m->value.kind != FC_META_INT) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not a whole number", g->path, key);
    if (m->value.i == -1 || m->value.i == UINT32_MAX) return FC_OK;
    if (m->value.i < 0 || m->value.i >= V)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s is %lld, outside the vocabulary of %d", g->path, key,
                       (long long)m->value.i, V);
    *out = (int32_t)m->value.i;
    return FC_OK;
}

static bool ends_turn(fc_view_str s) {
    static const char *const markers[] = {"<|im_end|>",    "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>",
                                          "<end_of_turn>", "</s>",       "<|eom_id|>"};
    for (size_t i = 0; i < sizeof markers / sizeof markers[0]; i++)
        if (s.size == strlen(markers[i]) && memcmp(s.text, markers[i], s.size) == 0) return true;
    return false;
}

/* Control tokens whose text is a known end of turn; n = tokens = types, checked. */
static fc_status add_markers(const fc_gguf *g, size_t n, fc_model_config *c) {
    enum { CONTROL = 3 };
    void *texts_p = NULL, *types_p = NULL;
    fc_status st;
    FC_TRY_GOTO(st, fc_alloc(n, sizeof(fc_view_str), "token texts", &texts_p), out);
    FC_TRY_GOTO(st, fc_alloc(n, sizeof(int32_t), "token types", &types_p), out);
    FC_TRY_GOTO(st, fc_gguf_strings(g, "tokenizer.ggml.tokens", texts_p, n), out);
    FC_TRY_GOTO(st, fc_gguf_ints(g, "tokenizer.ggml.token_type", types_p, n), out);
    for (size_t i = 0; i < n; i++)
        if (((const int32_t *)types_p)[i] == CONTROL && ends_turn(((const fc_view_str *)texts_p)[i]))
            fc_config_add_eos(c, (int32_t)i);
out:
    fc_free(types_p);
    fc_free(texts_p);
    return st;
}

static fc_status read_ids(const fc_gguf *g, fc_model_config *c) {
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const fc_gguf_meta *tokens = fc_gguf_find(g, "tokenizer.ggml.tokens");
    static const char *const parallel[] = {"tokenizer.ggml.token_type", "tokenizer.ggml.scores"};
    FC_TRY(get_id(g, "tokenizer.ggml.bos_token_id", c->V, &c->bos));
    for (size_t i = 0; i < 3; i++) {
        int32_t id;
        FC_TRY(get_id(g, ends[i], c->V, &id));
        if (id >= 0) fc_config_add_eos(c, id);
    }
    if (!tokens) return FC_OK;
    if (tokens->value.kind != FC_META_ARRAY || tokens->value.elem != FC_META_STRING)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tokenizer.ggml.tokens is not an array of strings", g->path);
    if (tokens->value.count > (size_t)c->V) /* fewer is fine: embeddings may be padded */
        return FC_FAIL(FC_ERR_FORMAT, "%s: tokenizer.ggml.tokens has %zu tokens, token_embd.weight only %d rows",
                       g->path, tokens->value.count, c->V);
    for (size_t i = 0; i < 2; i++) {
        const fc_gguf_meta *m = fc_gguf_find(g, parallel[i]);
        if (m && (m->value.kind != FC_META_ARRAY || m->value.count != tokens->value.count))
            return FC_FAIL(FC_ERR_FORMAT, "%s: %s has %zu elements for %zu tokens", g->path, parallel[i],
                           m->value.count, tokens->value.count);
    }
    return fc_gguf_find(g, parallel[0]) ? add_markers(g, tokens->value.count, c) : FC_OK;
}

static fc_status get_flag(const fc_gguf *g, const char *key, bool *out) {
    const fc_gguf_meta *m = fc_gguf_find(g, key);
    if (!m) return FC_OK;
    if (m->value.kind != FC_META_BOOL) return FC_FAIL(FC_ERR_FORMAT, "%s: %s is not a bool", g->path, key);
    *out = m->value.i != 0;
    return FC_OK;
}

/* SentencePiece BPE and the pre-tokenisers of Llama 3 and Mistral begin with BOS unless the file says otherwise. */
static fc_status read_add(const fc_gguf *g, fc_model_config *c) {
    char model[64], pre[64];
    FC_TRY(get_name(g, "tokenizer.ggml.model", model, sizeof model));
    FC_TRY(get_name(g, "tokenizer.ggml.pre", pre, sizeof pre));
    c->add_bos = strcmp(model, "llama") == 0 || strcmp(pre, "llama-bpe") == 0 || strcmp(pre, "llama3") == 0 ||
                 strcmp(pre, "llama-v3") == 0 || strcmp(pre, "tekken") == 0;
    c->add_eos = strcmp(model, "t5") == 0;
    FC_TRY(get_flag(g, "tokenizer.ggml.add_bos_token", &c->add_bos));
    return get_flag(g, "tokenizer.ggml.add_eos_token", &c->add_eos);
}

fc_status fc_config_gguf(const fc_gguf *g, fc_model_config *out) {
    fc_model_config c = {.bos = -1};
    source s = {.g = g};
    const fc_tensor *embd = tensor(g, "token_embd.weight");
    const fc_gguf_meta *name = fc_gguf_find(g, "general.name");
    FC_TRY(get_name(g, "general.architecture", s.arch, sizeof s.arch));
    if (!s.arch[0]) return FC_FAIL(FC_ERR_FORMAT, "%s: general.architecture is missing", g->path);
    FC_TRY(fc_config_family(g->path, s.arch, &c));
    if (name && name->value.kind == FC_META_STRING) {
        size_t n = name->value.s.size < sizeof c.name ? name->value.s.size : sizeof c.name - 1;
        for (size_t i = 0; i < n; i++) { /* a title, shown to people: cut, and without control bytes */
            char b = name->value.s.text[i];
            c.name[i] = (unsigned char)b < 0x20 || b == 0x7f ? ' ' : b;
        }
    }
    if (!embd) return FC_FAIL(FC_ERR_FORMAT, "%s: tensor token_embd.weight is missing", g->path);
    if (embd->N > 1 << 24)
        return FC_FAIL(FC_ERR_FORMAT, "%s: tensor token_embd.weight has %lld rows", g->path, (long long)embd->N);
    c.V = (int)embd->N;
    FC_TRY(read_shape(&s, &c));
    if (c.L < 1 || c.L > FC_MAX_LAYERS)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s.block_count is %d; 1 to %d are possible", g->path, s.arch, c.L,
                       FC_MAX_LAYERS);
    FC_TRY(read_rope(&s, &c));
    FC_TRY(read_window(&s, &c));
    FC_TRY(read_attention(&s, &c));
    c.qkv_bias = c.qkv_bias || tensor(g, "blk.0.attn_q.bias") != NULL;
    c.out_bias = tensor(g, "blk.0.attn_output.bias") != NULL;
    c.tied = tensor(g, "output.weight") == NULL;
    c.reward_head = tensor(g, "score.weight") != NULL;
    FC_TRY(get_flag(g, FC_KEY_NO_LM_HEAD, &c.no_lm_head));
    if (c.no_lm_head && !c.tied)
        return FC_FAIL(FC_ERR_FORMAT, "%s: " FC_KEY_NO_LM_HEAD " is true, but tensor output.weight is there", g->path);
    FC_TRY(read_ids(g, &c));
    FC_TRY(read_add(g, &c));
    FC_TRY(fc_config_check(g->path, &c));
    *out = c;
    return FC_OK;
}
