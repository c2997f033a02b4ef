#include "weights_tools/config_read.h"

fc_status fc_config_hf(const char *path, const fc_json *config, const fc_json *generation, const fc_json *tokenizer,
                       fc_model_config *out) {
    (void)config, (void)generation, (void)tokenizer, (void)out;
    return FC_FAIL(FC_ERR_UNSUPPORTED, "%s: config.json is not read yet", path);
}
