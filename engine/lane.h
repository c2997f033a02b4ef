/* lane - one model with everything that passes of it need beside a batch: KV pool, activations, kept hidden states. */
#ifndef FC_ENGINE_LANE_H
#define FC_ENGINE_LANE_H

#include "engine/forward.h"

typedef struct {
    fc_dtype kv_type;
    int ctx, page_slots, kv_pages;
    int max_rows, max_branches;
    bool scores;   /* it keeps hidden states */
    bool kv_touch; /* its pool's memory is written at open */
} fc_lane_options;

typedef struct {
    fc_model *model; /* borrowed */
    fc_backend *be;  /* borrowed */
    fc_kv *kv;
    fc_work work;
    float *states; /* [n_pages*P,D] backend: final hidden states by KV slot, of rows that a score reads */
    int n_states;
    float *read; /* [max_rows,D] backend: states gathered for a head */
    int max_rows, max_branches, ctx;
} fc_lane;

/* Rows from which on a matrix product takes no less time a row: the machine's ridge, measured on a layer of the model
 * in some milliseconds; a power of two from 8 to max_rows. */
fc_status fc_lane_ridge(const fc_lane *l, int *rows);
/* A batch of the lane's sizes; others as in fc_batch_open. */
fc_status fc_lane_batch(const fc_lane *l, size_t others, fc_batch *out);

/* What a lane that scores keeps hidden states in: D floats for each slot of its pool. */
uint64_t fc_lane_state_bytes(const fc_model_config *c, const fc_lane_options *o);
fc_status fc_lane_open(fc_model *m, const fc_lane_options *o, fc_lane *out);
void fc_lane_close(fc_lane *l); /* zeroed and half-built are fine */

/* "f32", "bf16", "int8", "fp8" */
fc_status fc_kv_type_parse(const char *name, fc_dtype *out);
const char *fc_kv_type_name(fc_dtype t);

#endif
