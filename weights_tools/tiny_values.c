#include "weights_tools/tiny_values.h"

#include "engine/base/rng.h"
#include "engine/base/str.h"

#include <math.h>
#include <string.h>

/* attention scores of this spread choose between positions, and neither evenly nor one alone */
static const double query_gain = 1.3;
/* averaging over positions and silu(g)*u make an output smaller than what enters; measured, not exact */
static const double attention_gain = 2.0, ffn_gain = 1.7;

fc_tiny_spread fc_tiny_values(const fc_model_config *c, const char *name, float std) {
    double logit_std = std > 0.0f ? (double)std : 2.0, D = c->D, HE = (double)c->H * c->E, unit = 1.0 / sqrt(D),
           head = logit_std / sqrt(D);
    /* size of one layer output; 2L of them add up to the hidden state */
    double output = c->tied ? (c->embed_scale ? sqrt(D) : 1.0) * logit_std / sqrt(2.0 * c->L) : 1.0;
    if (output < 1.0) output = 1.0;
    if (strcmp(name, "token_embd.weight") == 0)
        return (fc_tiny_spread){0, c->tied ? head : c->embed_scale ? unit : 1.0};
    if (strcmp(name, "output.weight") == 0) return (fc_tiny_spread){0, head};
    if (strcmp(name, "score.weight") == 0) return (fc_tiny_spread){0, unit};
    if (fc_ends_with(name, "post_attention_norm.weight") || fc_ends_with(name, "post_ffw_norm.weight"))
        return (fc_tiny_spread){output, 0.1 * output};
    if (fc_ends_with(name, "q_norm.weight") || fc_ends_with(name, "k_norm.weight"))
        return (fc_tiny_spread){query_gain, 0.1 * query_gain};
    if (fc_ends_with(name, "norm.weight")) return (fc_tiny_spread){1.0, 0.1};
    if (fc_ends_with(name, ".bias")) return (fc_tiny_spread){0, 0.3};
    if (fc_ends_with(name, "attn_q.weight") || fc_ends_with(name, "attn_k.weight"))
        return (fc_tiny_spread){0, query_gain * unit};
    if (fc_ends_with(name, "attn_output.weight")) return (fc_tiny_spread){0, output * attention_gain / sqrt(HE)};
    if (fc_ends_with(name, "ffn_down.weight")) return (fc_tiny_spread){0, output * ffn_gain / sqrt((double)c->F)};
    return (fc_tiny_spread){0, unit};
}

uint64_t fc_tiny_stream(uint64_t seed, const char *name) {
    uint64_t state = seed;
    for (const char *p = name; *p; p++) {
        state = fc_rng_next(&state) ^ (unsigned char)*p;
    }
    return fc_rng_next(&state);
}

static float uniform(uint32_t bits, float mean, float half_width) {
    return mean + half_width * ((float)(int32_t)bits * 0x1p-31f);
}

void fc_tiny_draw(uint64_t *state, fc_tiny_spread v, float *x, size_t n) {
    float mean = (float)v.mean, half_width = (float)(v.spread * 1.7320508075688772);
    size_t i = 0;
    for (; i + 2 <= n; i += 2) {
        uint64_t r = fc_rng_next(state);
        x[i] = uniform((uint32_t)r, mean, half_width);
        x[i + 1] = uniform((uint32_t)(r >> 32), mean, half_width);
    }
    if (i < n) x[i] = uniform((uint32_t)fc_rng_next(state), mean, half_width);
}
