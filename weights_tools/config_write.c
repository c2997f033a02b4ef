#include "weights_tools/config_write.h"

#include "weights_tools/config_read.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool is(const fc_model_config *c, const char *arch) { return strcmp(c->arch, arch) == 0; }

void fc_config_to_gguf(const fc_model_config *c, fc_model_config *out) {
    *out = *c;
    out->rope_interleaved = is(c, "llama");
    out->norm_plus_one = false;
    if (c->rope_scaling == FC_ROPE_LLAMA3) {
        out->rope_scaling = FC_ROPE_NONE;
        out->rope_freqs_tensor = true;
    }
}

void fc_config_rope_divisors(const fc_model_config *c, float *out) {
    double low_wavelength = c->rope_original_ctx / (double)c->rope_low_freq;
    double high_wavelength = c->rope_original_ctx / (double)c->rope_high_freq;
    for (int i = 0; i < c->rope_dim / 2; i++) {
        double wavelength = 2.0 * 3.14159265358979323846 * pow((double)c->rope_theta, 2.0 * i / c->rope_dim);
        double blend = (c->rope_original_ctx / wavelength - (double)c->rope_low_freq) /
                       ((double)c->rope_high_freq - (double)c->rope_low_freq);
        if (wavelength < high_wavelength) out[i] = 1.0f;
        else if (wavelength > low_wavelength) out[i] = c->rope_factor;
        else out[i] = (float)(1.0 / ((1.0 - blend) / (double)c->rope_factor + blend));
    }
}

fc_dtype fc_config_tensor_type(fc_dtype type, const char *name, bool vector, int64_t K) {
    if (vector || strcmp(name, "score.weight") == 0) return FC_F32;
    return (size_t)K % fc_dtype_block(type) ? FC_F16 : type;
}

/* Keys ARCH.suffix. */
typedef struct {
    fc_gguf_write *w;
    const fc_model_config *c;
    char key[96];
} sink;

static const char *key(sink *s, const char *suffix) {
    snprintf(s->key, sizeof s->key, "%s.%s", s->c->arch, suffix);
    return s->key;
}

static fc_status put_int(sink *s, const char *suffix, int v) {
    return fc_gguf_write_u32(s->w, key(s, suffix), (uint32_t)v);
}
static fc_status put_float(sink *s, const char *suffix, float v) { return fc_gguf_write_f32(s->w, key(s, suffix), v); }

static fc_status put_shape(sink *s) {
    const fc_model_config *c = s->c;
    FC_TRY(put_int(s, "vocab_size", c->V));
    FC_TRY(put_int(s, "context_length", c->ctx));
    FC_TRY(put_int(s, "embedding_length", c->D));
    FC_TRY(put_int(s, "block_count", c->L));
    FC_TRY(put_int(s, "feed_forward_length", c->F));
    FC_TRY(put_int(s, "attention.head_count", c->H));
    FC_TRY(put_int(s, "attention.head_count_kv", c->G));
    FC_TRY(put_int(s, "attention.key_length", c->E));
    FC_TRY(put_int(s, "attention.value_length", c->E));
    return put_float(s, "attention.layer_norm_rms_epsilon", c->norm_eps);
}

static fc_status put_rope(sink *s) {
    const fc_model_config *c = s->c;
    const char *type = c->rope_scaling == FC_ROPE_YARN ? "yarn" : "linear";
    FC_TRY(put_int(s, "rope.dimension_count", c->rope_dim));
    FC_TRY(put_float(s, "rope.freq_base", c->rope_theta));
    if (c->rope_local_own) FC_TRY(put_float(s, "rope.freq_base_swa", c->rope_theta_local));
    if (c->rope_scaling == FC_ROPE_NONE) return FC_OK;
    FC_TRY(fc_gguf_write_string(s->w, key(s, "rope.scaling.type"), type, strlen(type)));
    FC_TRY(put_float(s, "rope.scaling.factor", c->rope_factor));
    if (c->rope_scaling != FC_ROPE_YARN) return FC_OK;
    FC_TRY(put_int(s, "rope.scaling.original_context_length", c->rope_original_ctx));
    FC_TRY(put_float(s, "rope.scaling.yarn_beta_fast", c->rope_beta_fast));
    FC_TRY(put_float(s, "rope.scaling.yarn_beta_slow", c->rope_beta_slow));
    /* engines do not agree on what this key multiplies, so it is written only where it must be */
    if (c->rope_attn_factor != (float)fc_config_yarn_mscale((double)c->rope_factor, 1.0))
        FC_TRY(put_float(s, "rope.scaling.yarn_attn_factor", c->rope_attn_factor));
    return FC_OK;
}

static fc_status put_attention(sink *s) {
    const fc_model_config *c = s->c;
    bool gemma2 = is(c, "gemma2"), gemma3 = is(c, "gemma3");
    fc_model_config usual = {.L = c->L};
    if (gemma2 || gemma3 || c->window) FC_TRY(put_int(s, "attention.sliding_window", c->window));
    fc_config_local_pattern(&usual, gemma2 ? 2 : gemma3 ? 6 : 0);
    if (c->window && memcmp(usual.local, c->local, sizeof usual.local) != 0)
        FC_TRY(fc_gguf_write_bools(s->w, key(s, "attention.sliding_window_pattern"), c->local, (size_t)c->L));
    if (gemma2 || gemma3 || c->attn_scale != 1.0f / sqrtf((float)c->E))
        FC_TRY(put_float(s, "attention.scale", c->attn_scale));
    if (gemma2 || c->attn_soft_cap != 0.0f) FC_TRY(put_float(s, "attn_logit_softcapping", c->attn_soft_cap));
    if (gemma2 || c->final_soft_cap != 0.0f) FC_TRY(put_float(s, "final_logit_softcapping", c->final_soft_cap));
    return FC_OK;
}

fc_status fc_config_write_type(fc_gguf_write *w, fc_dtype type) {
    static const int file_types[FC_DTYPE_COUNT] = {
        [FC_F16] = 1, [FC_BF16] = 32, [FC_Q8_0] = 7, [FC_Q4_0] = 2, [FC_Q4_1] = 3, [FC_F8] = 1024 /* none of GGUF's */};
    FC_TRY(fc_gguf_write_u32(w, "general.file_type", (uint32_t)file_types[type]));
    if (type == FC_F8) FC_TRY(fc_gguf_write_bool(w, FC_KEY_F8, true));
    return fc_dtype_block(type) > 1 ? fc_gguf_write_u32(w, "general.quantization_version", 2) : FC_OK;
}

fc_status fc_config_write(fc_gguf_write *w, const fc_model_config *c, fc_dtype type) {
    sink s = {.w = w, .c = c};
    FC_TRY(fc_gguf_write_string(w, "general.architecture", c->arch, strlen(c->arch)));
    FC_TRY(fc_gguf_write_string(w, "general.type", "model", 5));
    if (c->name[0]) FC_TRY(fc_gguf_write_string(w, "general.name", c->name, strlen(c->name)));
    FC_TRY(fc_config_write_type(w, type));
    FC_TRY(put_shape(&s));
    FC_TRY(put_rope(&s));
    if (c->no_lm_head) FC_TRY(fc_gguf_write_bool(w, FC_KEY_NO_LM_HEAD, true));
    return put_attention(&s);
}
