#include "weights_tools/names.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *hf, *gguf;
} layer_names[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.q_proj.bias", "attn_q.bias"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.k_proj.bias", "attn_k.bias"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.v_proj.bias", "attn_v.bias"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.o_proj.bias", "attn_output.bias"},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight"},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.gate_proj.bias", "ffn_gate.bias"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.up_proj.bias", "ffn_up.bias"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"mlp.down_proj.bias", "ffn_down.bias"},
};

static const struct {
    const char *hf, *gguf;
} outside_names[] = {
    {"embed_tokens.weight", "token_embd.weight"},
    {"norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
    {"lm_head.bias", "output.bias"},
    {"score.weight", "score.weight"},
};

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

/* Number of a layer and what stands behind its point; NULL when s does not begin "layers.<number>." */
static const char *layer_of(const char *s, unsigned *layer) {
    int digits = 0;
    if (!begins(s, "layers.")) return NULL;
    s += strlen("layers.");
    for (*layer = 0; *s >= '0' && *s <= '9' && digits < 6; s++, digits++) *layer = *layer * 10 + (unsigned)(*s - '0');
    return digits && *s == '.' ? s + 1 : NULL;
}

bool fc_names_from_hf(const char *hf, bool gemma, char *out, size_t size) {
    static const char *const towers[] = {"vision_tower.", "vision_model.", "multi_modal_projector."};
    const char *s = hf, *in_layer;
    unsigned layer;
    size_t n = strlen(hf);
    /* a language model inside another is called model.language_model. or language_model.model. */
    if (begins(s, "model.")) s += strlen("model.");
    for (size_t i = 0; i < sizeof towers / sizeof towers[0]; i++)
        if (begins(s, towers[i])) return false;
    if (begins(s, "language_model.")) s += strlen("language_model.");
    if (begins(s, "model.")) s += strlen("model.");
    if (n >= 8 && strcmp(hf + n - 8, "inv_freq") == 0) return false;
    in_layer = layer_of(s, &layer);
    if (in_layer) {
        if (strcmp(in_layer, "post_attention_layernorm.weight") == 0) {
            snprintf(out, size, "blk.%u.%s", layer, gemma ? "post_attention_norm.weight" : "ffn_norm.weight");
            return true;
        }
        for (size_t i = 0; i < sizeof layer_names / sizeof layer_names[0]; i++)
            if (strcmp(in_layer, layer_names[i].hf) == 0) {
                snprintf(out, size, "blk.%u.%s", layer, layer_names[i].gguf);
                return true;
            }
        snprintf(out, size, "blk.%u.%s", layer,
                 in_layer); /* of the layer all the same: who opens the file may refuse it */
        return true;
    } else {
        for (size_t i = 0; i < sizeof outside_names / sizeof outside_names[0]; i++)
            if (strcmp(s, outside_names[i].hf) == 0) {
                snprintf(out, size, "%s", outside_names[i].gguf);
                return true;
            }
    }
    snprintf(out, size, "%s", hf);
    return true;
}
