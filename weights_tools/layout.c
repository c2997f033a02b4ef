#include "weights_tools/layout.h"

#include <stdio.h>
#include <string.h>

enum { MOST = 24 };

typedef struct {
    const char *name;
    int64_t N, K;
    bool vector, there;
} item;

/* The items that are there, counted; out may be NULL. */
static size_t pack(const item *items, size_t n, item *out) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (items[i].there) {
            if (out) out[k] = items[i];
            k++;
        }
    return k;
}

static size_t outside_layers(const fc_model_config *c, item *out) {
    const item items[] = {
        {"token_embd.weight", c->V, c->D, false, true},
        {"output_norm.weight", 1, c->D, true, true},
        {"output.weight", c->V, c->D, false, !c->tied},
        {"score.weight", 1, c->D, false, c->reward_head},
        {"rope_freqs.weight", 1, c->rope_dim / 2, true, c->rope_freqs_tensor},
    };
    return pack(items, sizeof items / sizeof items[0], out);
}

static size_t inside_layer(const fc_model_config *c, item *out) {
    int64_t D = c->D, F = c->F, HE = (int64_t)c->H * c->E, GE = (int64_t)c->G * c->E;
    const item items[] = {
        {"attn_norm.weight", 1, D, true, true},
        {"attn_q.weight", HE, D, false, true},
        {"attn_q.bias", 1, HE, true, c->qkv_bias},
        {"attn_k.weight", GE, D, false, true},
        {"attn_k.bias", 1, GE, true, c->qkv_bias},
        {"attn_v.weight", GE, D, false, true},
        {"attn_v.bias", 1, GE, true, c->qkv_bias},
        {"attn_q_norm.weight", 1, c->E, true, c->qk_norm},
        {"attn_k_norm.weight", 1, c->E, true, c->qk_norm},
        {"attn_output.weight", D, HE, false, true},
        {"attn_output.bias", 1, D, true, c->out_bias},
        {"post_attention_norm.weight", 1, D, true, c->post_norms},
        {"ffn_norm.weight", 1, D, true, true},
        {"ffn_gate.weight", F, D, false, true},
        {"ffn_up.weight", F, D, false, true},
        {"ffn_down.weight", D, F, false, true},
        {"post_ffw_norm.weight", 1, D, true, c->post_norms},
    };
    return pack(items, sizeof items / sizeof items[0], out);
}

size_t fc_layout_count(const fc_model_config *c) {
    return outside_layers(c, NULL) + (size_t)c->L * inside_layer(c, NULL);
}

void fc_layout_at(const fc_model_config *c, size_t i, fc_layout_entry *out) {
    item items[MOST];
    size_t n = outside_layers(c, items);
    memset(out, 0, sizeof *out);
    if (i < n) {
        snprintf(out->name, sizeof out->name, "%s", items[i].name);
    } else {
        size_t layer;
        i -= n;
        n = inside_layer(c, items);
        layer = i / n;
        i %= n;
        snprintf(out->name, sizeof out->name, "blk.%d.%s", (int)layer, items[i].name);
    }
    out->N = items[i].N;
    out->K = items[i].K;
    out->vector = items[i].vector;
}

int64_t fc_layout_pairs_row(const fc_model_config *c, int64_t r) {
    int64_t e = r % c->E;
    return e < c->rope_dim ? r - e + e % 2 * (c->rope_dim / 2) + e / 2 : r;
}
