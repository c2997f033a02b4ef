/* fit - what an engine's parts take of the backend's memory, told before they are taken. */
#ifndef FC_ENGINE_FIT_H
#define FC_ENGINE_FIT_H

#include "engine/lane.h"

typedef struct {
    int lanes;
    uint64_t weights, pools, states; /* bytes on the backend */
    uint64_t scores;                 /* of the score cache, in the host's memory */
} fc_fit;

/* l->kv_pages: as many as `bytes` hold; 0: room for two full contexts, at least 256 MiB, at most a quarter of what the
 * backend has. */
fc_status fc_fit_pool(fc_backend *be, uint64_t bytes, const fc_model_config *c, fc_lane_options *l);

/* Bytes of a file's tensors: about those of its packed weights, known before they are packed. */
uint64_t fc_fit_tensors(const fc_weights *w);

/* Adds a lane with its model's packed weights; all of one of so many ranks. */
void fc_fit_lane(fc_fit *f, const fc_model_config *c, int ranks, uint64_t weights, const fc_lane_options *l);

/* Pools and score cache are touched page by page, long after open, and weights are packed for minutes: what the backend
 * does not have is refused here, FC_ERR_MEM with the sums. */
fc_status fc_fit_check(const fc_fit *f, fc_backend *be);

#endif
