/* tiny_presets - shapes of published models, and of the small ones that tests use. */
#ifndef FC_WEIGHTS_TINY_PRESETS_H
#define FC_WEIGHTS_TINY_PRESETS_H

#include "engine/base/status.h"
#include "weights_tools/config.h"

/* The configuration of a preset, as GGUF would state it but with Llama 3's scaling as FC_ROPE_LLAMA3; FC_ERR_ARG, with
 * the names that are known, for another name. like == NULL: the small model of a family (arch NULL: llama). */
fc_status fc_tiny_preset(const char *arch, const char *like, fc_model_config *out);

#endif
