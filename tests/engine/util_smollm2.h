/* util_smollm2 - the stored answers of transformers on SmolLM2 (tests/oracle/smollm2_golden.py), read for two tests. */
#ifndef FC_TESTS_ENGINE_UTIL_SMOLLM2_H
#define FC_TESTS_ENGINE_UTIL_SMOLLM2_H

#include "engine/base/json.h"
#include "tests/util.h"

#define SMOLLM2_MODEL  "models/SmolLM2-135M-Instruct.Q4_1.gguf"
#define SMOLLM2_GOLDEN "tests/data/models/smollm2_golden.json"

enum { SMOLLM2_MAX_IDS = 192 };

/* The answers, to be closed with fc_json_close; skips the test where the model is absent. */
fc_json_doc *smollm2_open(void);
/* A key that must be there. */
const fc_json *smollm2_need(const fc_json *n, const char *key);
/* A list of ids to out[at...]; returns where they end. out [SMOLLM2_MAX_IDS] */
int smollm2_ids(const fc_json *list, int32_t *out, int at);
double smollm2_number(const fc_json *n);
/* Log-prob of id under logits x [V]; *best, if asked for, is the first of the largest. */
double smollm2_logprob(const float *x, int V, int id, int *best);

#endif
