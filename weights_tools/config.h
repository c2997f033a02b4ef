/* config - what a model file says about its model, as flags of one forward pass.
 *
 * Filled from GGUF metadata or from Hugging Face config.json; checked: every number is in a sane range
 * and fits the others, so that nothing behind it checks again.
 */
#ifndef FC_WEIGHTS_CONFIG_H
#define FC_WEIGHTS_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { FC_ROPE_NONE = 0, FC_ROPE_LINEAR, FC_ROPE_LLAMA3, FC_ROPE_YARN } fc_rope_scaling;

enum { FC_MAX_LAYERS = 512, FC_MAX_EOS = 64 };

typedef struct {
    char arch[32]; /* GGUF's name: llama, qwen2, qwen3, gemma2, gemma3; Mistral and SmolLM2 are llama */
    char name[128];
    int V, D, L, H, G, E, F; /* vocab, model, layers, heads, KV heads, head dim, hidden */
    int ctx;                 /* positions the model was made for, after scaling */
    float norm_eps;

    /* rotary embedding; `local` is the base of sliding-window layers (Gemma 3), else equal to rope_theta */
    float rope_theta, rope_theta_local;
    bool rope_local_own;   /* local layers have a base of their own, be it equal: they are neither scaled nor divided */
    int rope_dim;          /* R <= E rotated dims */
    bool rope_interleaved; /* pairs (2i,2i+1): q and k rows as GGUF stores them for llama; else halves */
    fc_rope_scaling rope_scaling; /* of global layers alone with rope_local_own, else of all */
    float rope_factor;
    int rope_original_ctx;                /* llama3, yarn */
    float rope_low_freq, rope_high_freq;  /* llama3 */
    float rope_beta_fast, rope_beta_slow; /* yarn; defaults 32, 1 */
    float rope_attn_factor;               /* yarn: multiplies cos and sin; resolved, never 0 */
    bool rope_freqs_tensor; /* GGUF: tensor rope_freqs.weight [R/2] divides inv_freq (converted llama3 scaling) */

    bool qkv_bias, out_bias; /* Qwen2: qkv_bias */
    bool qk_norm;            /* per-head norm of q and k: Qwen3, Gemma 3 */
    bool post_norms;         /* norms after attention and FFN: Gemma 2, 3 */
    bool norm_plus_one;      /* stored norm weights mean 1 + w: Gemma in safetensors; GGUF has added it */
    bool gelu_tanh;          /* GeGLU; else SwiGLU */
    bool embed_scale;        /* embeddings times sqrt(D): Gemma */
    bool tied;               /* the head is the embedding matrix */
    bool no_lm_head;         /* a classifier's checkpoint: tied for its shapes only, can score but not speak */
    float attn_scale;        /* 1/sqrt(E), or 1/sqrt(query_pre_attn_scalar) */
    float attn_soft_cap, final_soft_cap; /* 0 = none */
    int window;                          /* sliding window in positions, 0 = none */
    bool local[FC_MAX_LAYERS];           /* layer uses the window (and rope_theta_local) */

    bool reward_head;                    /* tensor score.weight [1,D] is there (sequence classification, one label) */
    int32_t bos, eos[FC_MAX_EOS], n_eos; /* -1 = none; all EOS and EOT ids the file names */
    bool add_bos, add_eos;               /* the tokenizer's own rule, as far as the file says */
} fc_model_config;

#endif
