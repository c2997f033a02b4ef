/* adapter - an adapter's weights packed on the backend for one model.
 *
 * Immutable after open. Its model stays open longer; the file does not stay mapped. Low-rank updates are applied by
 * fc_forward to the rows that a batch gives them (fc_batch_adapter); a reward head is used by whoever scores.
 *
 * What an adapter leaves alone of a sequence is the base's, KV included: rows before fc_adapter_begins.
 */
#ifndef FC_ENGINE_ADAPTER_H
#define FC_ENGINE_ADAPTER_H

#include "engine/model.h"

typedef struct {
    fc_lora qkv, o, gate_up, down; /* R == 0: that matrix is the base's */
} fc_adapter_layer;

typedef struct fc_adapter {
    fc_backend *be;           /* borrowed */
    fc_adapter_layer *layers; /* [ranks,L]: of each rank what it has of the base's matrices (engine/split.h) */
    fc_weight *reward;        /* [1,D] or NULL: the model's own, if it has one */
    void *buffer;             /* backend: all A and B */
    int32_t *invocation;      /* [n_invocation] host, or NULL */
    int n_invocation;
    int rank;             /* largest R of its matrices; 0: it is a head alone */
    uint64_t fingerprint; /* beside the model's own, in the keys of caches */
    size_t bytes;         /* held on the backend */
} fc_adapter;

/* path: a folder as PEFT saves it (weights_tools/adapter.h). */
fc_status fc_adapter_open(const fc_model *m, const char *path, fc_adapter **out);
void fc_adapter_close(fc_adapter *a); /* NULL is fine */

/* From a rank's fc_lora of a layer's matrix to the next rank's. */
static inline size_t fc_adapter_stride(const fc_model *m) {
    return (size_t)m->cfg.L * (sizeof(fc_adapter_layer) / sizeof(fc_lora));
}

/* First of the n >= 1 rows of a prompt that the adapter changes; all behind it, and all that is drawn, are changed too.
 * 0 for plain LoRA, the beginning of the last invocation for aLoRA. n: it changes no row, of what is drawn neither:
 * aLoRA without its invocation, and a head alone. */
int fc_adapter_begins(const fc_adapter *a, const int32_t *ids, int n);

#endif
