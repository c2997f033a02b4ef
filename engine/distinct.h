/* distinct - which candidates are the same: a name is one candidate whatever path drew it; else the ids drawn tell.
 *
 * Put in rising order of index, the first of its kind stands for all that follow. Memory lies in the caller's arena.
 */
#ifndef FC_ENGINE_DISTINCT_H
#define FC_ENGINE_DISTINCT_H

#include "engine/job.h"

typedef struct {
    int *place; /* [mask + 1] 1 + path, 0 free: hashed, at most half full */
    uint32_t mask;
} fc_distinct;

fc_status fc_distinct_open(fc_arena *a, int max, fc_distinct *out);
/* Index of the path put before that is the same as this finished one, or its own. */
int fc_distinct_put(fc_distinct *d, const fc_path *paths, int path);

#endif
