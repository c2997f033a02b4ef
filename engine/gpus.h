/* gpus - the option that says on which GPUs a model computes: "0,1", or "novelty=0,1 alignment=2,3". */
#ifndef FC_ENGINE_GPUS_H
#define FC_ENGINE_GPUS_H

#include "engine/forkcast.h"

enum { FC_GPUS_MAX = 8 };

typedef struct {
    int n; /* 0: none is named */
    int device[FC_GPUS_MAX];
} fc_gpu_list;

/* Lists of both models, the same where no model is named. FC_ERR_ARG names what is wrong: a number twice, more than 8,
 * a model that is neither, one that has no list, GPUs that are only partly the same. text NULL: both are empty. */
fc_status fc_gpus_parse(const char *text, fc_gpu_list out[2]);

bool fc_gpus_same(const fc_gpu_list *a, const fc_gpu_list *b);

#endif
