#define _GNU_SOURCE
#include "engine/base/region.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE   ((size_t)1 << 21)
#define REGION ((size_t)1 << 26) /* addresses, which cost nothing until they are touched */

struct fc_region {
    void *memory; /* [bytes] */
    unsigned char *begin;
    size_t bytes, used, size; /* size: from begin on, a multiple of HUGE */
    atomic_int refs;
};

static void drop(fc_region *r) {
    if (atomic_fetch_sub(&r->refs, 1) > 1) return;
    fc_pages_free(r->memory, r->bytes);
    fc_free(r);
}

static fc_status open_region(size_t size, const char *what, fc_region **out) {
    fc_status st = FC_OK;
    fc_region *r;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *r, what, &p));
    r = p;
    r->size = size;
    r->bytes = size + HUGE;
    FC_TRY_GOTO(st, fc_pages_alloc(r->bytes, what, &r->memory), fail);
    r->begin = (unsigned char *)(((uintptr_t)r->memory + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
    (void)madvise(r->begin, size, MADV_HUGEPAGE); /* a wish: small pages do as well, a tenth slower */
    atomic_init(&r->refs, 1);
    *out = r;
    return FC_OK;
fail:
    fc_free(r);
    return st;
}

fc_status fc_region_take(fc_region **current, size_t bytes, const char *what, fc_region_piece *out) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE); /* pieces share none: one's are given back */
    fc_region *r = *current;
    size_t size;
    bool large;
    if (!fc_add(bytes, 2 * HUGE, &size))
        return FC_FAIL(FC_ERR_MEM, "%s: %zu bytes do not fit in the address space", what, bytes);
    size = (bytes + page - 1) / page * page;
    large = size > REGION / 2;
    if (large || !r || size > r->size - r->used) {
        FC_TRY(open_region(large ? (size + HUGE - 1) & ~(HUGE - 1) : REGION, what, &r));
        if (!large) {
            fc_region_leave(current);
            *current = r;
        }
    }
    *out = (fc_region_piece){r, r->begin + r->used, bytes};
    r->used += size;
    if (!large) atomic_fetch_add(&r->refs, 1); /* else the piece has the only one */
    return FC_OK;
}

void fc_region_give(fc_region_piece *piece) {
    if (!piece->region) return;
    if (piece->bytes) (void)madvise(piece->at, piece->bytes, MADV_DONTNEED); /* or later, with the region */
    drop(piece->region);
    *piece = (fc_region_piece){0};
}

void fc_region_leave(fc_region **current) {
    if (*current) drop(*current);
    *current = NULL;
}
