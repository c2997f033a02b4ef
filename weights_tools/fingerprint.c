#include "weights_tools/fingerprint.h"

#include "weights_tools/packed.h"

#include <string.h>

#define XXH_INLINE_ALL /* the header alone: nothing to link or to have at run time */
#include <xxhash.h>

enum { WHOLE = 16 << 10, SAMPLES = 64, SAMPLE = 256 };

static uint64_t mix_bytes(uint64_t h, const void *data, size_t n) { return XXH3_64bits_withSeed(data, n, h); }
static uint64_t mix(uint64_t h, uint64_t v) { return mix_bytes(h, &v, sizeof v); }

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

static uint64_t mix_data(uint64_t h, const unsigned char *p, size_t bytes, bool whole) {
    if (whole || bytes <= WHOLE) return mix_bytes(h, p, bytes);
    for (size_t i = 0; i < SAMPLES; i++) h = mix_bytes(h, p + (bytes - SAMPLE) / (SAMPLES - 1) * i, SAMPLE);
    return mix_bytes(h, p + bytes - SAMPLE, SAMPLE);
}

static uint64_t mix_tensor(uint64_t h, const fc_tensor *t, bool whole) {
    const fc_packed *packed = t->packed;
    h = mix_bytes(h, t->name, strlen(t->name));
    h = mix(h, (uint64_t)t->dtype);
    h = mix(h, (uint64_t)t->N);
    h = mix(h, (uint64_t)t->K);
    if (t->scale) {
        h = mix(h, (uint64_t)t->scale_rows);
        h = mix(h, (uint64_t)t->scale_cols);
        h = mix_bytes(h, t->scale, fc_tensor_scales(t) * sizeof *t->scale);
    }
    if (!packed) return mix_data(h, t->data, t->bytes, whole);
    h = mix(h, (uint64_t)packed->kind);
    h = mix(h, (uint64_t)packed->bits);
    h = mix(h, (uint64_t)packed->plus);
    h = mix(h, (uint64_t)packed->group);
    for (int i = 0; i < packed->n_pieces; i++) h = mix_data(h, packed->pieces[i].data, packed->pieces[i].bytes, whole);
    return h;
}

uint64_t fc_fingerprint_bytes(uint64_t h, const void *data, size_t n) { return mix_bytes(h, data, n); }

uint64_t fc_fingerprint_tensors(uint64_t h, const fc_tensor *const *by_name, size_t n) {
    for (size_t i = 0; i < n; i++) h = mix_tensor(h, by_name[i], true);
    return h;
}

uint64_t fc_fingerprint(const fc_model_config *c, const fc_tensor *const *by_name, size_t n, bool whole) {
    uint64_t h = mix_config(0x66635F6D6F64656Cu, c);
    for (size_t i = 0; i < n; i++) h = mix_tensor(h, by_name[i], whole);
    return h;
}
