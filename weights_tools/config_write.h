/* config_write - a configuration as GGUF metadata: what config_read.h's fc_config_gguf reads back to the same flags. */
#ifndef FC_WEIGHTS_CONFIG_WRITE_H
#define FC_WEIGHTS_CONFIG_WRITE_H

#include "weights_tools/gguf_write.h"

/* The configuration under which GGUF states the same model: q and k rows of llama in pairs, Gemma's norms with the 1
 * added, Llama 3's scaling as tensor rope_freqs.weight. */
void fc_config_to_gguf(const fc_model_config *c, fc_model_config *out);
/* c as fc_config_to_gguf makes it; type is that of the matrices. The keys general.* and ARCH.*, and FC_KEY_NO_LM_HEAD
 * where it is so; none of a tokenizer. */
fc_status fc_config_write(fc_gguf_write *w, const fc_model_config *c, fc_dtype type);
/* general.file_type and, for quantised types, general.quantization_version: the only two that depend on type. */
fc_status fc_config_write_type(fc_gguf_write *w, fc_dtype type);

/* Type of a tensor in a file whose matrices have `type`: vectors and a reward head F32, rows that are no multiple of
 * the block F16. */
fc_dtype fc_config_tensor_type(fc_dtype type, const char *name, bool vector, int64_t K);

/* rope_freqs.weight [R/2] of Llama 3's scaling; c states it as FC_ROPE_LLAMA3.
 * source  Llama 3.1 model card's RoPE scaling, as in config.json (rope_type llama3) */
void fc_config_rope_divisors(const fc_model_config *c, float *out);

#endif
