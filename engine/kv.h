/* kv - the paged KV pool of one model: fixed pages of P token slots, shared by count.
 *
 * A table is one KV timeline: pages and a length. Tables are numbers; kv.c owns their memory, all of it taken at open.
 *
 *   table_open -> adopt* -> append* -> table_close          fork: table_open + the same pages
 *
 * Copies are queued and run together, by fc_kv_flush. Any call may come between, in any order: a page that a queued
 * copy reads is not given out before the copy has run, and a copy to a page that nobody needs any more is forgotten.
 *
 * Invariants; fc_kv_check() verifies all six, and tests call it after every call:
 *   (1) a page is on the free list if and only if refs == 0 and no queued copy reads it;
 *   (2) refs == number of tables that list the page, + 1 if the prefix index holds it;
 *   (3) only a page with refs == 1 is ever written: fork shares, append copies the last, partial page first;
 *   (4) free + used == total;
 *   (5) a table lists exactly ceil(len / P) pages;
 *   (6) a page is the destination of at most one queued copy, and then of none the source.
 */
#ifndef FC_ENGINE_KV_H
#define FC_ENGINE_KV_H

#include "kernels/backend.h"

typedef struct fc_kv fc_kv; /* opaque: only kv.c sees inside */

/* Takes the store and all tables now; nothing allocates later. max_len: positions of one table. The backend is borrowed
 * and must outlive kv. */
fc_status fc_kv_open(fc_backend *be, const fc_kv_shape *shape, int max_tables, int max_len, fc_kv **out);
void fc_kv_close(fc_kv *kv); /* NULL is fine */

const fc_kv_buf *fc_kv_store(const fc_kv *kv); /* what operators take */
size_t fc_kv_bytes_per_page(const fc_kv *kv);
int fc_kv_pages_total(const fc_kv *kv);
int fc_kv_pages_free(const fc_kv *kv);
int fc_kv_tables_free(const fc_kv *kv);
int fc_kv_max_len(const fc_kv *kv); /* positions of one table */
static inline int fc_kv_pages_for(int len, int P) { return len / P + (len % P != 0); }

/* An empty table; FC_ERR_FULL when all are taken. */
fc_status fc_kv_table_open(fc_kv *kv, int *table);
/* A table that sees src's tokens, or the first len of them. Counts only, copies no bytes: O(pages). Where the
 * new table ends inside a page, all tokens of that page must have been computed: a later copy takes what is there. */
fc_status fc_kv_fork(fc_kv *kv, int src, int *table);
fc_status fc_kv_fork_at(fc_kv *kv, int src, int len, int *table);
void fc_kv_table_close(fc_kv *kv, int table); /* its pages lose one reference each */

/* Room for n more tokens. When the last page is partial and shared it is replaced by a copy: the copy is queued, and
 * fc_kv_flush must run before the batch that writes. On FC_ERR_FULL the table is as it was. */
fc_status fc_kv_append(fc_kv *kv, int table, int n);
/* Pages that append would take. */
int fc_kv_append_cost(const fc_kv *kv, int table, int n);
/* Runs the queued page copies, in one operator. */
fc_status fc_kv_flush(fc_kv *kv);

/* For the prefix index (prefix.h), one a pool. Adopt: a table of whole pages sees P more tokens, on a page that is
 * in use; counts only. Adopt part: it sees the first n < P tokens of the page, on a page of its own; the copy is
 * queued. On FC_ERR_FULL (no page is free) the table is as it was. */
fc_status fc_kv_adopt(fc_kv *kv, int table, int32_t page);
fc_status fc_kv_adopt_part(fc_kv *kv, int table, int32_t page, int n);
/* The table reads its i-th page, a whole one, from another that holds the same: the index's. */
void fc_kv_exchange(fc_kv *kv, int table, int i, int32_t page);
void fc_kv_hold(fc_kv *kv, int32_t page);    /* the index's reference, to a page that a table lists */
void fc_kv_release(fc_kv *kv, int32_t page); /* gives it back */
bool fc_kv_held(const fc_kv *kv, int32_t page);
int fc_kv_readers(const fc_kv *kv, int32_t page);  /* tables that list the page */
bool fc_kv_copying(const fc_kv *kv, int32_t page); /* a queued copy reads it */
/* `watch` is told when a held page comes to its first reader (read: true) and when it has lost its last one. It may
 * not call back. NULL ends it. */
void fc_kv_watch(fc_kv *kv, void (*watch)(void *index, int32_t page, bool read), void *index);

/* Pages of the table that were not stamped with this number before: pages of several tables, each counted once. */
int fc_kv_stamp(fc_kv *kv, int table, uint32_t stamp);

int fc_kv_len(const fc_kv *kv, int table);
const int32_t *fc_kv_pages(const fc_kv *kv, int table); /* [ceil(len/P)], borrowed until the next call on the table */

/* FC_ERR_INTERNAL with the number of the invariant that does not hold. O(pages). */
fc_status fc_kv_check(const fc_kv *kv);

#endif
