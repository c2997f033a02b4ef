/* mem - checked sizes, allocation with a reason, and the arena of a request.
 *
 * Sizes that come from outside are multiplied and added with fc_mul/fc_add, never with * and +.
 */
#ifndef FC_BASE_MEM_H
#define FC_BASE_MEM_H

#include "engine/base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* *out = a*b (a+b); false, and *out untouched, when the result does not fit in size_t. */
bool fc_mul(size_t a, size_t b, size_t *out);
bool fc_add(size_t a, size_t b, size_t *out);

/* count zeroed elements of size bytes, 64-byte aligned; `what` names them in the error. Free with
 * fc_free. count == 0 gives one byte, so that a success is never NULL. */
fc_status fc_alloc(size_t count, size_t size, const char *what, void **out);
void fc_free(void *p); /* NULL is fine */

/* Grow *p (fc_alloc's or NULL) to hold at least want elements; doubles *cap. Contents are kept and the
 * new part is zero. On failure *p and *cap are as they were. */
fc_status fc_grow(void **p, size_t *cap, size_t want, size_t size, const char *what);

/* Copy of n bytes, or of a string, with a NUL behind; free with fc_free. */
fc_status fc_copy_bytes(const void *src, size_t n, const char *what, char **out);
fc_status fc_copy_str(const char *src, const char *what, char **out);

/* Arena: many small pieces with one lifetime. init/fini, the caller holds the struct. */
typedef struct fc_arena {
    struct fc_arena_block *head;
    size_t used; /* bytes handed out, for tests and accounting */
} fc_arena;

void fc_arena_init(fc_arena *a);
void fc_arena_fini(fc_arena *a);                                              /* frees everything at once */
fc_status fc_arena_alloc(fc_arena *a, size_t count, size_t size, void **out); /* zeroed, 16-byte aligned */

/* Number of fc_alloc, fc_grow and arena-block allocations so far, all threads: tests hold fc_step against it. */
unsigned long long fc_alloc_count(void);

#endif
