/* quant_config - what config.json's quantization_config says of a checkpoint's weights. Only FP8 (E4M3) is read.
 *
 * quant_method  fp8 (fmt e4m3, weight_block_size or none), fbgemm_fp8, modelopt (quant_algo FP8 or
 *               FP8_PER_CHANNEL_PER_TOKEN), compressed-tensors (all config_groups 8-bit floats, strategy tensor,
 *               channel, group or block); others are refused by name. Which modules are left out is not read: a
 *               tensor's own type says it. Nor is how activations are to be rounded: they are not
 * source        Hugging Face transformers and vLLM, the configurations of published checkpoints
 */
#ifndef FC_WEIGHTS_QUANT_CONFIG_H
#define FC_WEIGHTS_QUANT_CONFIG_H

#include "engine/base/json.h"
#include "weights_tools/weights.h"

/* path names config.json in errors. Without a quantization_config *out is zeroed. */
fc_status fc_quant_config_hf(const char *path, const fc_json *config, fc_quant_info *out);

#endif
