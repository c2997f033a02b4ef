/* load - what the kernels of one call do to a device, told from shapes alone: what the cost model (engine/cost.h) sums.
 *
 * fc_cost is what a call needs on any backend. A load is what the kernels of one backend do for it: weights and KV that
 * several blocks read again by way of the cache, rows filled up to tiles, numbers multiplied in two halves, launches.
 */
#ifndef FC_KERNELS_LOAD_H
#define FC_KERNELS_LOAD_H

#include "kernels/kernel.h"

#include <stdbool.h>

/* What multiplies; on a GPU all but f32 are tensor cores. */
typedef enum { FC_UNIT_F32 = 0, FC_UNIT_BF16, FC_UNIT_I8, FC_UNIT_F8, FC_UNITS } fc_unit;

/* What loads depend on besides shapes. */
typedef struct {
    int sms;            /* multiprocessors */
    double shared_max;  /* bytes that a block may have */
    double cache_bytes; /* of the last cache before memory */
    bool warpgroups;    /* compute capability 9.0: linear_wgmma.cu, attn_wide.cu */
} fc_load_device;

typedef struct {
    double memory; /* bytes between memory and device: weights, KV and what the cache does not keep, once a launch */
    double cache;  /* bytes between the last cache and the cores, of all blocks */
    double ops[FC_UNITS]; /* that are done, padding included; multiply and add count as two */
    double busy;          /* (0,1]: of the cores, on the average over the largest launch, by the number of blocks */
    double units, tiles;  /* of attention, that a block works on one after another, whatever the rates */
    int launches;
    bool library, warpgroups; /* its products are cuBLASLt's; are warpgroups' */
    bool chained;             /* warpgroups', and nothing is added between them */
} fc_load;

/* An array that another kernel has just written or will read next: it stays in the cache where it is a small part of
 * that, and else goes to memory too. */
static inline void fc_load_array(fc_load *l, const fc_load_device *d, double bytes) {
    l->cache += bytes;
    if (bytes > d->cache_bytes / 4) l->memory += bytes;
}

/* Of pieces of equal work that so many places take in turn. */
static inline double fc_load_busy(double pieces, double places) {
    double turns = pieces / places, whole = (double)(long long)turns;
    if (whole < turns) whole += 1;
    return whole > 0 ? turns / whole : 1;
}

/* What walks over arrays once. */
static inline fc_load fc_load_of(fc_cost c, const fc_load_device *d, int launches) {
    fc_load l = {.busy = 1, .launches = launches};
    l.ops[FC_UNIT_F32] = c.flops;
    fc_load_array(&l, d, c.bytes);
    return l;
}

#endif
