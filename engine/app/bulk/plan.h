/* plan - the keys of a bulk job, in the order in which they are computed.
 *
 * Histories of a taxonomy: K names, ordered or as sets, with or without repeats. Names are taken in the order of their
 * bytes, the last one changing first, so that neighbours share the longest beginning of a prompt; that is also the
 * order of keys. Prompts of a file: in the order of their texts, for the same reason. A shard is a run of neighbours.
 */
#ifndef FC_APP_BULK_PLAN_H
#define FC_APP_BULK_PLAN_H

#include "engine/app/bulk/lines.h"
#include "engine/base/mem.h"
#include "engine/forkcast.h"

enum { PLAN_CLUSTERS_MAX = 3 };

typedef struct {
    int clusters; /* K: 1..3 */
    bool set;     /* the order of a history does not count */
    bool self;    /* a name may follow itself */
} plan_shape;

typedef struct {
    plan_shape shape;
    int64_t total;      /* keys of the whole job */
    int64_t first, end; /* those of the shard */
    fc_str key;         /* of the item asked for last */

    /* owned */
    const char **names; /* [n_names] in the order of their bytes; NULL: prompts */
    size_t n_names;
    const char *chosen[PLAN_CLUSTERS_MAX];
    fc_arena arena;            /* of prompts */
    struct plan_prompt *items; /* [total] in their order */
    uint64_t fingerprint;      /* of all keys of prompts, */
    uint64_t texts;            /* and of what they bring */
} plan;

typedef struct {
    const char *key;
    fc_holes holes; /* without what is retrieved for the key, unless the prompt brings it */
} plan_item;

/* Zeroed, then one of these; plan_close takes half-built. names [n] are borrowed. */
fc_status plan_histories(plan *p, const char *const *names, size_t n, const plan_shape *shape);
fc_status plan_prompts(plan *p, const char *path);
void plan_close(plan *p);

/* text: "2/8". first and end become those of the shard. */
fc_status plan_shard(plan *p, const char *text);
/* Item i of the whole job; gone with the next call. */
fc_status plan_at(plan *p, int64_t i, plan_item *out);
/* What the keys are, as JSON. */
fc_status plan_describe(const plan *p, fc_str *out);

#endif
