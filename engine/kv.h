/* kv - the paged KV pool of one model: fixed pages of P token slots, shared by count.
 *
 * A table is one KV timeline: pages and a length. Tables are numbers; kv.c owns their memory, all of it taken at open.
 *
 *   table_open -> append* -> table_close          fork: table_open + the same pages
 *
 * Invariants; fc_kv_check() verifies all five, and tests call it after every call:
 *   (1) a page is on the free list if and only if refs == 0;
 *   (2) refs == number of tables that list the page;
 *   (3) only a page with refs == 1 is ever written: fork shares, append copies the last, partial page first;
 *   (4) free + used == total;
 *   (5) a table lists exactly ceil(len / P) pages.
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
static inline int fc_kv_pages_for(int len, int P) { return len / P + (len % P != 0); }

/* An empty table; FC_ERR_FULL when all are taken. */
fc_status fc_kv_table_open(fc_kv *kv, int *table);
/* A table that sees src's tokens. Counts only, copies no bytes: O(pages). */
fc_status fc_kv_fork(fc_kv *kv, int src, int *table);
void fc_kv_table_close(fc_kv *kv, int table); /* its pages lose one reference each */

/* Room for n more tokens. When the last page is partial and shared it is replaced by a copy: the copy is queued, and
 * fc_kv_flush must run before the batch that writes. On FC_ERR_FULL the table is as it was. */
fc_status fc_kv_append(fc_kv *kv, int table, int n);
/* Pages that append would take. */
int fc_kv_append_cost(const fc_kv *kv, int table, int n);
/* Runs the queued page copies, in one operator. */
fc_status fc_kv_flush(fc_kv *kv);

int fc_kv_len(const fc_kv *kv, int table);
const int32_t *fc_kv_pages(const fc_kv *kv, int table); /* [ceil(len/P)], borrowed until the next call on the table */

/* FC_ERR_INTERNAL with the number of the invariant that does not hold. O(pages). */
fc_status fc_kv_check(const fc_kv *kv);

#endif
