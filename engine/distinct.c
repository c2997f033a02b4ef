#include "engine/distinct.h"

#include "engine/base/hash.h"

#include <string.h>

fc_status fc_distinct_open(fc_arena *a, int max, fc_distinct *out) {
    uint32_t size = 2;
    void *p;
    while (size < 2 * (uint32_t)max) size *= 2;
    FC_TRY(fc_arena_alloc(a, size, sizeof *out->place, &p));
    *out = (fc_distinct){.place = p, .mask = size - 1};
    return FC_OK;
}

static uint64_t hash_of(const fc_path *p) {
    if (p->name >= 0) return fc_siphash(1, 0, &p->name, sizeof p->name);
    return fc_siphash(0, 0, p->ids, (size_t)p->n * sizeof *p->ids);
}

static bool same(const fc_path *x, const fc_path *y) {
    if (x->name >= 0 || y->name >= 0) return x->name == y->name;
    return x->n == y->n && (x->n == 0 || memcmp(x->ids, y->ids, (size_t)x->n * sizeof *x->ids) == 0);
}

int fc_distinct_put(fc_distinct *d, const fc_path *paths, int path) {
    uint32_t at = (uint32_t)hash_of(&paths[path]) & d->mask;
    for (; d->place[at]; at = (at + 1) & d->mask)
        if (same(&paths[d->place[at] - 1], &paths[path])) return d->place[at] - 1;
    d->place[at] = path + 1;
    return path;
}
