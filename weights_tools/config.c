#include "weights_tools/config_read.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *arch;
    bool qkv_bias, qk_norm, post_norms, gelu_tanh, embed_scale;
} families[] = {
    {"llama", false, false, false, false, false}, {"qwen2", true, false, false, false, false},
    {"qwen3", false, true, false, false, false},  {"gemma2", false, false, true, true, true},
    {"gemma3", false, true, true, true, true},
};

fc_status fc_config_family(const char *path, const char *arch, fc_model_config *c) {
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (strcmp(arch, families[i].arch) != 0) continue;
        memcpy(c->arch, arch, strlen(arch) + 1);
        c->qkv_bias = families[i].qkv_bias;
        c->qk_norm = families[i].qk_norm;
        c->post_norms = families[i].post_norms;
        c->gelu_tanh = families[i].gelu_tanh;
        c->embed_scale = families[i].embed_scale;
        return FC_OK;
    }
    return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: architecture \"%s\"; llama, qwen2, qwen3, gemma2 and gemma3 are supported",
                   path, arch);
}

void fc_config_local_pattern(fc_model_config *c, int64_t n) {
    for (int i = 0; i < c->L && i < FC_MAX_LAYERS; i++) c->local[i] = n == 0 || i % n < n - 1;
}

void fc_config_add_eos(fc_model_config *c, int32_t id) {
    for (int i = 0; i < c->n_eos && i < FC_MAX_EOS; i++)
        if (c->eos[i] == id) return;
    if (c->n_eos < FC_MAX_EOS) c->eos[c->n_eos] = id;
    c->n_eos++; /* one too many is counted, and refused by fc_config_check */
}

double fc_config_yarn_mscale(double factor, double mscale) {
    return factor <= 1.0 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

static fc_status whole(const char *path, const char *field, int64_t v, int64_t min, int64_t max) {
    if (v < min || v > max)
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s is %lld; %lld to %lld are possible", path, field, (long long)v,
                       (long long)min, (long long)max);
    return FC_OK;
}

static fc_status real(const char *path, const char *field, float v, double min, double max) {
    if (!((double)v >= min && (double)v <= max)) /* written so that NaN fails */
        return FC_FAIL(FC_ERR_FORMAT, "%s: %s is %g; %g to %g are possible", path, field, (double)v, min, max);
    return FC_OK;
}

static fc_status check_rope(const char *path, const fc_model_config *c) {
    FC_TRY(real(path, "the rope base", c->rope_theta, 1.001, 1e12));
    FC_TRY(real(path, "the rope base of local layers", c->rope_theta_local, 1.001, 1e12));
    FC_TRY(whole(path, "the number of rotated dimensions", c->rope_dim, 2, c->E));
    if (c->rope_dim % 2)
        return FC_FAIL(FC_ERR_FORMAT, "%s: the number of rotated dimensions is odd: %d", path, c->rope_dim);
    FC_TRY(real(path, "the rope attention factor", c->rope_attn_factor, 1e-3, 1e3));
    if (c->rope_scaling == FC_ROPE_NONE) return FC_OK;
    FC_TRY(real(path, "the rope scaling factor", c->rope_factor, 1e-4, 1e5));
    if (c->rope_scaling == FC_ROPE_LINEAR) return FC_OK;
    FC_TRY(whole(path, "the rope scaling's original context length", c->rope_original_ctx, 1, 1 << 30));
    if (c->rope_scaling == FC_ROPE_LLAMA3) {
        FC_TRY(real(path, "rope low_freq_factor", c->rope_low_freq, 1e-6, 1e6));
        FC_TRY(real(path, "rope high_freq_factor", c->rope_high_freq, 1e-6, 1e6));
        if (!(c->rope_high_freq > c->rope_low_freq))
            return FC_FAIL(FC_ERR_FORMAT, "%s: rope high_freq_factor %g is not above low_freq_factor %g", path,
                           (double)c->rope_high_freq, (double)c->rope_low_freq);
        return FC_OK;
    }
    FC_TRY(real(path, "rope beta_slow", c->rope_beta_slow, 1e-6, 1e6));
    return real(path, "rope beta_fast", c->rope_beta_fast, (double)c->rope_beta_slow, 1e6);
}

fc_status fc_config_check(const char *path, const fc_model_config *c) {
    FC_TRY(whole(path, "the number of layers", c->L, 1, FC_MAX_LAYERS));
    FC_TRY(whole(path, "the vocabulary size", c->V, 1, 1 << 24));
    FC_TRY(whole(path, "the model dimension", c->D, 1, 1 << 20));
    FC_TRY(whole(path, "the hidden dimension", c->F, 1, 1 << 22));
    FC_TRY(whole(path, "the number of heads", c->H, 1, 1 << 12));
    FC_TRY(whole(path, "the number of KV heads", c->G, 1, c->H));
    FC_TRY(whole(path, "the head dimension", c->E, 2, 1 << 12));
    if (c->E % 2) return FC_FAIL(FC_ERR_FORMAT, "%s: the head dimension is odd: %d", path, c->E);
    if (c->H % c->G) return FC_FAIL(FC_ERR_FORMAT, "%s: %d heads are no multiple of %d KV heads", path, c->H, c->G);
    FC_TRY(whole(path, "heads x head dimension", (int64_t)c->H * c->E, 1, 1 << 20));
    FC_TRY(whole(path, "the context length", c->ctx, 1, 1 << 30));
    FC_TRY(real(path, "the norm's epsilon", c->norm_eps, 1e-20, 0.1));
    FC_TRY(check_rope(path, c));
    FC_TRY(real(path, "the attention scale", c->attn_scale, 1e-6, 1e3));
    FC_TRY(real(path, "the attention soft cap", c->attn_soft_cap, 0.0, 1e6));
    FC_TRY(real(path, "the final soft cap", c->final_soft_cap, 0.0, 1e6));
    FC_TRY(whole(path, "the sliding window", c->window, 0, 1 << 30));
    for (int i = 0; i < c->L; i++)
        if (c->local[i] && c->window == 0)
            return FC_FAIL(FC_ERR_FORMAT, "%s: layer %d uses a sliding window, but none is given", path, i);
    FC_TRY(whole(path, "the BOS id", c->bos, -1, c->V - 1));
    FC_TRY(whole(path, "the number of EOS ids", c->n_eos, 0, FC_MAX_EOS));
    for (int i = 0; i < c->n_eos; i++) FC_TRY(whole(path, "an EOS id", c->eos[i], 0, c->V - 1));
    return FC_OK;
}
