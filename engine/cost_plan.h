/* cost_plan - plans of passes over a KV pool that has no memory: what engine/cost.c reads its rows and items from. */
#ifndef FC_ENGINE_COST_PLAN_H
#define FC_ENGINE_COST_PLAN_H

#include "engine/batch.h"

typedef struct {
    fc_backend be; /* buffers that nobody may read; no operators */
    fc_kv *kv;
    fc_batch batch;
    int32_t *ids; /* [max_rows] zero */
} fc_cost_plan;

/* Room for so many tables and rows. units: fc_backend.attn_units. Not moved from then on. */
fc_status fc_cost_plan_open(const fc_kv_shape *shape, int per, int units, int max_rows, int tables, int max_len,
                            fc_cost_plan *p);
void fc_cost_plan_close(fc_cost_plan *p); /* zeroed and half-built are fine */

/* n more positions at the table's end that nobody computes. */
fc_status fc_cost_plan_fill(fc_cost_plan *p, int table, int n);
/* The same as rows of the batch; *done of n: what it had room for. */
fc_status fc_cost_plan_add(fc_cost_plan *p, int table, int n, int *done);

#endif
