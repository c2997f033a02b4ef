/* rope - inverse frequencies of the rotary embedding under each kind of scaling, once per model. */
#include "engine/model.h"

#include <math.h>

static const double two_pi = 6.283185307179586476925;

/* Llama 3.1: wavelengths over original/low are divided by the factor, those under original/high stay, between is
 * blended. */
static double scale_llama3(const fc_model_config *c, double freq) {
    double wavelength = two_pi / freq, original = c->rope_original_ctx;
    double blend;
    if (wavelength < original / c->rope_high_freq) return freq;
    if (wavelength > original / c->rope_low_freq) return freq / c->rope_factor;
    blend = (original / wavelength - c->rope_low_freq) / ((double)c->rope_high_freq - c->rope_low_freq);
    return (1.0 - blend) * freq / c->rope_factor + blend * freq;
}

/* Dimension whose wavelength makes `turns` turns over the original context. */
static double yarn_dim(const fc_model_config *c, double base, double turns) {
    return c->rope_dim * log(c->rope_original_ctx / (turns * two_pi)) / (2.0 * log(base));
}

void fc_rope_frequencies(const fc_model_config *c, bool local, const float *divisors, float *inv_freq, float *mscale) {
    int half = c->rope_dim / 2;
    double base = local ? c->rope_theta_local : c->rope_theta;
    bool plain = local && c->rope_local_own;
    fc_rope_scaling scaling = plain ? FC_ROPE_NONE : c->rope_scaling;
    double low = 0, high = 0;
    *mscale = 1.0f;
    if (scaling == FC_ROPE_YARN) {
        low = fmax(floor(yarn_dim(c, base, c->rope_beta_fast)), 0.0);
        high = fmin(ceil(yarn_dim(c, base, c->rope_beta_slow)), c->rope_dim - 1.0);
        if (low == high) high += 0.001;
        *mscale = c->rope_attn_factor;
    }
    for (int i = 0; i < half; i++) {
        /* the trusted implementation keeps base^(2i/R) and its inverse in f32 */
        double freq = (double)(1.0f / (float)pow(base, 2.0 * i / c->rope_dim));
        switch (scaling) {
        case FC_ROPE_NONE: break;
        case FC_ROPE_LINEAR: freq /= c->rope_factor; break;
        case FC_ROPE_LLAMA3: freq = scale_llama3(c, freq); break;
        case FC_ROPE_YARN: {
            double ramp = fmin(fmax((i - low) / (high - low), 0.0), 1.0);
            freq = freq / c->rope_factor * ramp + freq * (1.0 - ramp);
            break;
        }
        }
        if (divisors && !plain) freq /= (double)divisors[i];
        inv_freq[i] = (float)freq;
    }
}
