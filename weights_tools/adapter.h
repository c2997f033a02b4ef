/* adapter - a PEFT LoRA adapter's folder, adapter_config.json and adapter_model.safetensors, checked against its base.
 *
 * Understood: peft_type LORA, task_type CAUSAL_LM or SEQ_CLS (or none); r, lora_alpha, use_rslora, rank_pattern,
 * alpha_pattern, target_modules (list, expression or "all-linear") with exclude_modules and layers_to_transform;
 * modules_to_save `score` [1,D]; alora_invocation_tokens. Keys that change no arithmetic are passed over; every other
 * key that is not null, false or empty (use_dora, lora_bias, fan_in_fan_out, ...) is FC_ERR_UNSUPPORTED by name, and so
 * are lm_head and embed_tokens. A matrix that the config names must have both tensors, and a tensor must be named.
 * Errors name file, tensor and number.
 *
 * source  PEFT's LoraConfig and save_pretrained (Hugging Face); Hu et al. 2021; Kalajdzievski, "A Rank Stabilization
 *         Scaling Factor for Fine-Tuning with LoRA", 2023; Greenewald et al., "Activated LoRA", 2025
 */
#ifndef FC_WEIGHTS_ADAPTER_H
#define FC_WEIGHTS_ADAPTER_H

#include "weights_tools/weights.h"

typedef enum {
    FC_ADAPTER_Q = 0,
    FC_ADAPTER_K,
    FC_ADAPTER_V,
    FC_ADAPTER_O,
    FC_ADAPTER_GATE,
    FC_ADAPTER_UP,
    FC_ADAPTER_DOWN,
    FC_ADAPTER_MODULES
} fc_adapter_module;

/* W + scale * B A. Both tensors are there or none. */
typedef struct {
    const fc_tensor *a; /* [r,K] F32, F16 or BF16 */
    const fc_tensor *b; /* [N,r] rows in Hugging Face's order: see fc_adapter_row */
    int r;
    float scale;
} fc_adapter_pair;

typedef struct fc_adapter_file fc_adapter_file; /* opaque; owns the mapping */

fc_status fc_adapter_file_open(const char *folder, const fc_model_config *base, fc_adapter_file **out);
void fc_adapter_file_close(fc_adapter_file *f); /* NULL is fine */

const char *fc_adapter_file_path(const fc_adapter_file *f); /* of the tensors */
const fc_adapter_pair *fc_adapter_file_pair(const fc_adapter_file *f, int layer, fc_adapter_module m);
const fc_tensor *fc_adapter_file_reward(const fc_adapter_file *f);               /* [1,D] or NULL */
const int32_t *fc_adapter_file_invocation(const fc_adapter_file *f, int *count); /* NULL: acts on every row */
/* 64-bit hash over all bytes of tensors, scales and invocation: names an adapter in caches, beside its base's
 * fingerprint. Adapters of one engine may differ in a row, so nothing is sampled. */
uint64_t fc_adapter_file_fingerprint(const fc_adapter_file *f);

/* Shape of a module's matrix in the base. */
void fc_adapter_shape(const fc_model_config *base, fc_adapter_module m, int *N, int *K);
/* Which row of B belongs to row n of the base's matrix: GGUF keeps q and k of Llama in pairs. */
int fc_adapter_row(const fc_model_config *base, fc_adapter_module m, int n);

#endif
