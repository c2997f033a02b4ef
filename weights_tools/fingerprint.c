#include "weights_tools/fingerprint.h"

#include <string.h>

enum { WHOLE = 16 << 10, SAMPLES = 64, SAMPLE = 256 };

/* Each word is multiplied and rotated into the state; an odd multiplier keeps every step a bijection of the state. */
static uint64_t mix(uint64_t h, uint64_t v) {
    h ^= v * 0x9FB21C651E98DF25u;
    h = (h << 29) | (h >> 35);
    return h * 0xD6E8FEB86659FD93u + 0x2545F4914F6CDD1Du;
}

static uint64_t mix_bytes(uint64_t h, const void *data, size_t n) {
    const unsigned char *p = data;
    uint64_t v;
    h = mix(h, n);
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&v, p, 8);
        h = mix(h, v);
    }
    v = 0;
    memcpy(&v, p, n);
    return mix(h, v);
}

static uint64_t mix_float(uint64_t h, float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return mix(h, u);
}

static uint64_t mix_config(uint64_t h, const fc_model_config *c) {
    const int ints[] = {
        c->V,     c->D, c->L, c->H, c->G, c->E, c->F, c->ctx, c->rope_dim, (int)c->rope_scaling, c->rope_original_ctx,
        c->window};
    const float floats[] = {c->norm_eps,         c->rope_theta,     c->rope_theta_local, c->rope_factor,
                            c->rope_low_freq,    c->rope_high_freq, c->rope_beta_fast,   c->rope_beta_slow,
                            c->rope_attn_factor, c->attn_scale,     c->attn_soft_cap,    c->final_soft_cap};
    const bool flags[] = {c->rope_interleaved, c->rope_freqs_tensor, c->qkv_bias,  c->out_bias,    c->qk_norm,
                          c->post_norms,       c->norm_plus_one,     c->gelu_tanh, c->embed_scale, c->tied,
                          c->no_lm_head,       c->reward_head,       c->add_bos,   c->add_eos,     c->rope_local_own};
    h = mix_bytes(h, c->arch, strlen(c->arch));
    for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++) h = mix(h, (uint64_t)ints[i]);
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) h = mix_float(h, floats[i]);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) h = mix(h, flags[i]);
    for (int i = 0; i < c->L; i++) h = mix(h, c->local[i]);
    h = mix(h, (uint64_t)c->bos);
    for (int i = 0; i < c->n_eos; i++) h = mix(h, (uint64_t)c->eos[i]);
    return h;
}

static uint64_t mix_tensor(uint64_t h, const fc_tensor *t) {
    const unsigned char *p = t->data;
    h = mix_bytes(h, t->name, strlen(t->name));
    h = mix(h, (uint64_t)t->dtype);
    h = mix(h, (uint64_t)t->N);
    h = mix(h, (uint64_t)t->K);
    if (t->bytes <= WHOLE) return mix_bytes(h, p, t->bytes);
    for (size_t i = 0; i < SAMPLES; i++) h = mix_bytes(h, p + (t->bytes - SAMPLE) / (SAMPLES - 1) * i, SAMPLE);
    return mix_bytes(h, p + t->bytes - SAMPLE, SAMPLE);
}

uint64_t fc_fingerprint_bytes(uint64_t h, const void *data, size_t n) { return mix_bytes(h, data, n); }

uint64_t fc_fingerprint_tensors(uint64_t h, const fc_tensor *const *by_name, size_t n) {
    for (size_t i = 0; i < n; i++) h = mix_tensor(h, by_name[i]);
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return h ^ (h >> 32);
}

uint64_t fc_fingerprint(const fc_model_config *c, const fc_tensor *const *by_name, size_t n) {
    return fc_fingerprint_tensors(mix_config(0x66635F6D6F64656Cu, c), by_name, n);
}
