/* adapter_config - what adapter_config.json says of each matrix; inner to adapter.c. */
#ifndef FC_WEIGHTS_ADAPTER_CONFIG_H
#define FC_WEIGHTS_ADAPTER_CONFIG_H

#include "engine/base/json.h"
#include "weights_tools/adapter.h"

enum { FC_ADAPTER_MAX_RANK = 1024, FC_ADAPTER_MAX_INVOCATION = 256 };

extern const char *const fc_adapter_module_names[FC_ADAPTER_MODULES]; /* "self_attn.q_proj" */

typedef struct {
    bool target; /* target_modules names it */
    int r;
    float scale;
} fc_adapter_rule;

typedef struct {
    fc_adapter_rule *rules; /* [L * FC_ADAPTER_MODULES] */
    bool targets_known;     /* false: target_modules says nothing that is understood, so the tensors alone count */
    bool saves_score;
    int32_t invocation[FC_ADAPTER_MAX_INVOCATION];
    int n_invocation;
} fc_adapter_config;

/* prefix: what the file puts before "layers.", "model." in most. */
fc_status fc_adapter_config_read(const char *path, const fc_json *root, const fc_model_config *base, const char *prefix,
                                 fc_adapter_config *out);
void fc_adapter_config_fini(fc_adapter_config *c); /* zeroed is fine */

#endif
