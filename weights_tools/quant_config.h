/* quant_config - what config.json's quantization_config says of a checkpoint's weights.
 *
 * quant_method  fp8 (fmt e4m3, weight_block_size or none), fbgemm_fp8, modelopt (quant_algo FP8 or
 *               FP8_PER_CHANNEL_PER_TOKEN), gptq (4 or 8 bits, checkpoint_format gptq or gptq_v2), awq (4 bits, version
 *               gemm), compressed-tensors (all config_groups 8-bit floats, strategy tensor, channel, group or block, or
 *               of format pack-quantized or int-quantized integers of 4 or 8 bits, strategy channel or group); others
 *               are refused by name. Which modules are left out is not read: a tensor's own type says it. Nor is how
 *               activations are to be rounded: they are not
 * source        Hugging Face transformers and vLLM, the configurations of published checkpoints
 */
#ifndef FC_WEIGHTS_QUANT_CONFIG_H
#define FC_WEIGHTS_QUANT_CONFIG_H

#include "engine/base/json.h"
#include "weights_tools/weights.h"

/* path names config.json in errors. Without a quantization_config *out is zeroed. */
fc_status fc_quant_config_hf(const char *path, const fc_json *config, fc_quant_info *out);
/* quantize_config.json of AutoGPTQ or quant_config.json of AutoAWQ, which say it where config.json does not. */
fc_status fc_quant_config_own(const fc_json *root, fc_quant_info *out);

#endif
