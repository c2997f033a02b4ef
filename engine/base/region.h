/* region - memory for what is written once and read at every step: pieces that lie together in huge pages, so that a
 * core that streams through them needs few translations.
 *
 *   take* -> give, once for each take, in any order        leave, when no more will be taken
 *
 * One thread takes at a time; any may give. The pages of a piece go back to the system when it is given, the addresses
 * when all pieces of its region have been.
 */
#ifndef FC_BASE_REGION_H
#define FC_BASE_REGION_H

#include "engine/base/status.h"

#include <stddef.h>

typedef struct fc_region fc_region; /* opaque */

typedef struct {
    fc_region *region; /* a reference; NULL: no piece */
    void *at;          /* [bytes] zero, page-aligned */
    size_t bytes;
} fc_region_piece;

/* *current is the region that pieces come from, NULL at first; it moves on when one is full. A
 * piece of more than 32 MiB has a region of its own. FC_ERR_MEM as
 * fc_pages_alloc; what names it. */
fc_status fc_region_take(fc_region **current, size_t bytes, const char *what, fc_region_piece *out);
void fc_region_give(fc_region_piece *piece); /* and clears it; one that is clear is fine */
void fc_region_leave(fc_region **current);   /* NULL in it is fine */

#endif
