/* model - one model ready to run: configuration, packed weights on a backend, rotary frequencies.
 *
 * Immutable after open. The weights file stays mapped for the tokenizer and the fingerprint; packed copies belong to
 * the backend.
 */
#ifndef FC_ENGINE_MODEL_H
#define FC_ENGINE_MODEL_H

#include "kernels/backend.h"
#include "weights_tools/weights.h"

/* One transformer layer; vectors are backend buffers inside fc_model.vectors. NULL: the family has none. */
typedef struct {
    fc_weight *qkv;     /* [(H+2G)*E, D]; H, G and F are a rank's: fc_model */
    fc_weight *o;       /* [D, H*E]      */
    fc_weight *gate_up; /* [2F, D]       */
    fc_weight *down;    /* [D, F]        */
    const float *qkv_bias, *o_bias;
    const float *attn_norm, *ffn_norm, *post_attn_norm, *post_ffn_norm; /* [D] */
    const float *q_norm, *k_norm;                                       /* [E] */
    bool local; /* sees the window, if the model has one, and the local rotary base */
} fc_layer;

typedef struct {
    fc_model_config cfg;
    const char *path;         /* of its file, for sentences; borrowed from the weights */
    fc_backend *be;           /* borrowed */
    int H, G, F;              /* of one rank of the backend: heads, KV heads, hidden units (engine/split.h) */
    fc_layer *layers;         /* [L] */
    fc_weight *embed;         /* [V,D], or a rank's rows of it */
    fc_weight *head;          /* [V,D]; the same as embed when tied */
    fc_weight *reward;        /* [1,D] or NULL */
    const float *out_norm;    /* [D] */
    const float *inv_freq[2]; /* [R/2] global, local */
    float mscale[2];
    float *vectors;                           /* backend buffer of all vectors */
    size_t vectors_used, vectors_cap;         /* floats */
    size_t bytes;                             /* held on the backend, by one rank */
    bool imprecise;                           /* what fc_engine_options.precise comes to; set before a lane is opened */
    const struct fc_adapter *const *adapters; /* [n_adapters] borrowed; set before the model's lane is opened */
    int n_adapters;
} fc_model;

/* edit (or NULL) may change the configuration before anything is built from it: tests take features out. */
fc_status fc_model_open(const fc_weights *w, fc_backend *be, void (*edit)(fc_model_config *cfg, void *arg), void *arg,
                        fc_model **out);
void fc_model_close(fc_model *m); /* NULL is fine */

/* Shapes that the model's operators need, for fc_backend_open_*: raises *l to them. */
void fc_model_limits(const fc_model_config *cfg, int max_rows, fc_op_limits *l);

/* Rotary frequencies of one base, with scaling: inv_freq [R/2] and *mscale. divisors [R/2] or NULL: GGUF's rope_freqs.
 * source: Su et al. 2021; Peng et al. "YaRN" 2023; Llama 3.1 model card (llama3 scaling) */
void fc_rope_frequencies(const fc_model_config *cfg, bool local, const float *divisors, float *inv_freq, float *mscale);

#endif
