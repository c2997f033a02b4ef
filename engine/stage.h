/* stage - lists of one step on their way to a backend: gathered in one block, and uploaded in one piece.
 *
 *   begin -> (put | take)* -> send -> operators that read the lists -> begin
 *
 * A list gets room for somewhat more than it has, so that those behind it keep their places while it grows a little:
 * where places stay, a backend that replays a step has nothing to change.
 */
#ifndef FC_ENGINE_STAGE_H
#define FC_ENGINE_STAGE_H

#include "kernels/backend.h"

typedef struct {
    fc_backend *be;            /* borrowed */
    unsigned char *host, *dev; /* [bytes] */
    size_t bytes, used;
} fc_stage;

/* Bytes that a list of n takes in the block: not less for a longer one. */
size_t fc_stage_room(size_t n);

fc_status fc_stage_open(fc_backend *be, size_t bytes, const char *what, fc_stage *out);
void fc_stage_close(fc_stage *s); /* zeroed and half-built are fine */

void fc_stage_begin(fc_stage *s);
/* Room for a list that the caller writes before send; *dev is where operators find it. */
void *fc_stage_take(fc_stage *s, size_t bytes, const void **dev);
/* A copy of the list; returns where operators find it. */
const void *fc_stage_put(fc_stage *s, const void *list, size_t bytes);
fc_status fc_stage_send(fc_stage *s); /* where nothing was put, nothing is sent */

#endif
