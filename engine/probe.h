/* probe - a model and nothing else: all logits of one sequence. For tests and for measuring accuracy. */
#ifndef FC_ENGINE_PROBE_H
#define FC_ENGINE_PROBE_H

#include "engine/choose.h"
#include "weights_tools/config.h"

#include <stdint.h>

typedef struct fc_probe fc_probe;

typedef struct {
    const char *cpu;        /* "auto", "amx", "avx512", "avxvnni", "avx2", "portable"; NULL: auto */
    const char *kv_type;    /* "f32", "bf16", "int8", "fp8"; NULL: f32 */
    int threads;            /* 0: all cores */
    int page_slots;         /* 0: 16 */
    int max_rows;           /* rows of one pass: longer sequences go in chunks; 0: 128 */
    int ctx;                /* positions; 0: 2048 */
    bool imprecise;         /* fc_engine_options.precise: "false" */
    const char *adapter;    /* folder of a PEFT adapter that every sequence goes through, or NULL */
    fc_backend_opener open; /* of the backend; NULL: the CPU's */
    void (*edit)(fc_model_config *c, void *arg); /* changes the configuration before the model is built; or NULL */
    void *arg;
} fc_probe_options;

fc_status fc_probe_open(const char *path, const fc_probe_options *o, fc_probe **out);
void fc_probe_close(fc_probe *p); /* NULL is fine */
const fc_model_config *fc_probe_config(const fc_probe *p);

/* logits [n,V], host: row i predicts the token after ids[i]. Each call starts from nothing. */
fc_status fc_probe_logits(fc_probe *p, const int32_t *ids, int n, float *logits);
/* Reward head (the adapter's, where it has one) on the last of n ids. FC_ERR_UNSUPPORTED without one. */
fc_status fc_probe_reward(fc_probe *p, const int32_t *ids, int n, float *score);

#endif
