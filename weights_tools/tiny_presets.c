/* Shapes as each model's config.json publishes them. */
#include "weights_tools/tiny_presets.h"

#include "engine/base/str.h"
#include "weights_tools/config_read.h"
#include "weights_tools/tools.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *name, *arch;
    int V, D, L, H, G, E, F, ctx, window;
    float theta, norm_eps, llama3_factor; /* 0: no scaling */
    bool tied;
} preset;

static const preset presets[] = {
    {"smollm2-135m", "llama", 49152, 576, 30, 9, 3, 64, 1536, 8192, 0, 1e5f, 1e-5f, 0, true},
    {"smollm2-360m", "llama", 49152, 960, 32, 15, 5, 64, 2560, 8192, 0, 1e5f, 1e-5f, 0, true},
    {"smollm2-1.7b", "llama", 49152, 2048, 24, 32, 32, 64, 8192, 8192, 0, 1.3e5f, 1e-5f, 0, true},
    {"qwen2.5-0.5b", "qwen2", 151936, 896, 24, 14, 2, 64, 4864, 32768, 0, 1e6f, 1e-6f, 0, true},
    {"qwen2.5-7b", "qwen2", 152064, 3584, 28, 28, 4, 128, 18944, 32768, 0, 1e6f, 1e-6f, 0, false},
    {"qwen3-0.6b", "qwen3", 151936, 1024, 28, 16, 8, 128, 3072, 40960, 0, 1e6f, 1e-6f, 0, true},
    {"qwen3-1.7b", "qwen3", 151936, 2048, 28, 16, 8, 128, 6144, 40960, 0, 1e6f, 1e-6f, 0, true},
    {"qwen3-8b", "qwen3", 151936, 4096, 36, 32, 8, 128, 12288, 40960, 0, 1e6f, 1e-6f, 0, false},
    {"llama-3.2-1b", "llama", 128256, 2048, 16, 32, 8, 64, 8192, 131072, 0, 5e5f, 1e-5f, 32.0f, true},
    {"llama-3.2-3b", "llama", 128256, 3072, 28, 24, 8, 128, 8192, 131072, 0, 5e5f, 1e-5f, 32.0f, true},
    {"llama-3.1-8b", "llama", 128256, 4096, 32, 32, 8, 128, 14336, 131072, 0, 5e5f, 1e-5f, 8.0f, false},
    {"mistral-7b-v0.3", "llama", 32768, 4096, 32, 32, 8, 128, 14336, 32768, 0, 1e6f, 1e-5f, 0, false},
    {"gemma-2-2b", "gemma2", 256000, 2304, 26, 8, 4, 256, 9216, 8192, 4096, 1e4f, 1e-6f, 0, true},
    {"gemma-2-9b", "gemma2", 256000, 3584, 42, 16, 8, 256, 14336, 8192, 4096, 1e4f, 1e-6f, 0, true},
    {"gemma-3-1b", "gemma3", 262144, 1152, 26, 4, 1, 256, 6912, 32768, 512, 1e6f, 1e-6f, 0, true},
};
enum { PRESETS = sizeof presets / sizeof presets[0] };

/* Around 1 MB in F32. Gemma 3 needs six layers for one global one. */
static const preset small[] = {
    {"tiny", "llama", 512, 64, 2, 4, 2, 16, 128, 256, 0, 1e4f, 1e-5f, 0, false},
    {"tiny", "qwen2", 512, 64, 2, 4, 2, 16, 128, 256, 0, 1e6f, 1e-6f, 0, true},
    {"tiny", "qwen3", 512, 64, 2, 4, 2, 32, 128, 256, 0, 1e6f, 1e-6f, 0, true},
    {"tiny", "gemma2", 512, 64, 2, 4, 2, 32, 128, 256, 64, 1e4f, 1e-6f, 0, true},
    {"tiny", "gemma3", 512, 64, 6, 4, 1, 32, 128, 256, 64, 1e6f, 1e-6f, 0, true},
};

static fc_status fill(const preset *p, fc_model_config *c) {
    FC_TRY(fc_config_family("preset", p->arch, c));
    snprintf(c->name, sizeof c->name, "random weights, %s %s", p->name, p->arch);
    c->V = p->V;
    c->D = p->D;
    c->L = p->L;
    c->H = p->H;
    c->G = p->G;
    c->E = p->E;
    c->F = p->F;
    c->ctx = p->ctx;
    c->window = p->window;
    c->norm_eps = p->norm_eps;
    c->rope_theta = p->theta;
    c->rope_factor = c->rope_attn_factor = 1.0f;
    c->rope_beta_fast = 32.0f;
    c->rope_beta_slow = 1.0f;
    if (p->llama3_factor > 0.0f) {
        c->rope_scaling = FC_ROPE_LLAMA3;
        c->rope_factor = p->llama3_factor;
        c->rope_low_freq = 1.0f;
        c->rope_high_freq = 4.0f;
        c->rope_original_ctx = 8192;
    }
    if (strcmp(p->arch, "gemma2") == 0) {
        c->attn_soft_cap = 50.0f;
        c->final_soft_cap = 30.0f;
    }
    c->tied = p->tied;
    return FC_OK;
}

/* Families whose files say another architecture: GGUF writes Mistral and SmolLM2 as llama. */
static const char *arch_of(const char *family) {
    static const char *const same[][2] = {
        {"mistral", "llama"}, {"smollm", "llama"}, {"smollm2", "llama"}, {"qwen2.5", "qwen2"}};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        if (strcmp(family, same[i][0]) == 0) return same[i][1];
    return family;
}

fc_status fc_tiny_preset(const char *arch, const char *like, fc_model_config *out) {
    fc_model_config c = {0};
    fc_str names = {0};
    fc_status st = FC_OK;
    if (arch) arch = arch_of(arch);
    if (!like) {
        if (fc_config_family("random model", arch ? arch : "llama", &c))
            return FC_FAIL(FC_ERR_ARG, "%s", fc_status_text());
        for (size_t i = 0; i < sizeof small / sizeof small[0]; i++)
            if (strcmp(small[i].arch, c.arch) == 0) FC_TRY(fill(&small[i], &c));
        *out = c;
        return FC_OK;
    }
    for (int i = 0; i < PRESETS; i++) {
        if (strcmp(presets[i].name, like) != 0) continue;
        if (arch && strcmp(arch, presets[i].arch) != 0)
            return FC_FAIL(FC_ERR_ARG, "preset %s is of architecture %s, not %s", like, presets[i].arch, arch);
        FC_TRY(fill(&presets[i], &c));
        *out = c;
        return FC_OK;
    }
    for (int i = 0; i < PRESETS && !st; i++) st = fc_str_printf(&names, "%s%s", i ? ", " : "", presets[i].name);
    if (!st) st = FC_FAIL(FC_ERR_ARG, "preset \"%s\" is unknown; there are %s", like, fc_str_text(&names));
    fc_str_fini(&names);
    return st;
}

const char *const *fc_tools_tiny_presets(void) {
    static const char *names[PRESETS + 1];
    for (int i = 0; i < PRESETS; i++) names[i] = presets[i].name; /* the same values whoever comes first */
    return names;
}
