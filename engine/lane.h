/* lane - one model with everything a pass of it needs: KV pool, batch, activations, read-back. */
#ifndef FC_ENGINE_LANE_H
#define FC_ENGINE_LANE_H

#include "engine/forward.h"

typedef struct {
    fc_dtype kv_type;
    int ctx, page_slots, kv_pages;
    int max_rows, max_branches, max_jobs;
} fc_lane_options;

typedef struct {
    fc_model *model; /* borrowed */
    fc_backend *be;  /* borrowed */
    fc_kv *kv;
    fc_batch batch;
    fc_work work;
    float *last;     /* [max_jobs,D] backend: final hidden state of each job's alignment prompt */
    int max_jobs, ctx;
} fc_lane;

fc_status fc_lane_open(fc_model *m, const fc_lane_options *o, fc_lane *out);
void fc_lane_close(fc_lane *l); /* zeroed and half-built are fine */

/* "f32", "bf16", "int8" */
fc_status fc_kv_type_parse(const char *name, fc_dtype *out);
const char *fc_kv_type_name(fc_dtype t);

#endif
