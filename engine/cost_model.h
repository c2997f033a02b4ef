/* cost_model - inner to engine/cost*.c: a model's shapes, and the sums of a planned pass. */
#ifndef FC_ENGINE_COST_MODEL_H
#define FC_ENGINE_COST_MODEL_H

#include "engine/cost.h"
#include "engine/cost_plan.h"
#include "kernels/linear/linear_load.h"
#include "weights_tools/config.h"

/* One matrix as it is multiplied: a product for each stretch of its rows of one type. */
typedef struct {
    int K, n;
    struct {
        fc_dtype type;
        fc_scales scales;
        int N, scale_cols;
    } part[3];
} fc_cost_matrix;

typedef struct {
    fc_cost_matrix qkv, o, gate_up, down;
} fc_cost_layer;

struct fc_cost_model {
    fc_model_config cfg;
    fc_cost_layer *layers; /* [L] */
    fc_cost_matrix head;
    fc_dtype embed, kv;
    int max_rows, P;
    bool variant, filtered, imprecise;
};

/* Bytes as packed. */
double fc_cost_packed(const fc_cost_matrix *x, bool gpu);
fc_kv_shape fc_cost_shape(const fc_cost_model *m, int pages);

/* What final hidden states are read for. */
typedef enum { FC_HEAD_NONE = 0, FC_HEAD_DRAW, FC_HEAD_SCORE } fc_cost_head;

/* Plans the batch as it stands, adds its kernels and empties it: `outs` rows are read by the head, `members` draw. */
fc_status fc_cost_add_pass(const fc_cost_model *m, const fc_cost_machine *c, fc_cost_plan *p, fc_cost_head h, int outs,
                           int members, fc_cost_time *t);
/* Totals of the parts. */
void fc_cost_finish(const fc_cost_machine *c, fc_cost_time *t);

#endif
