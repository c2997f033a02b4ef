/* batch - the ragged set of rows of one pass of one model, and the plan of its attention.
 *
 * A sequence is the rows that one KV table gets in this pass; its KV room is appended before it is added. plan()
 * turns the batch into flat work lists (kernels/attn) and uploads them in one piece.
 *
 *   reset -> add* -> plan -> forward (reads dev) -> reset
 *
 * Sharing: sequences whose tables begin with the same pages are found by sorting the tables; what they share is read by
 * one item for all their rows. Where items are cut never changes a bit (kernels/attn/attn.h).
 */
#ifndef FC_ENGINE_BATCH_H
#define FC_ENGINE_BATCH_H

#include "engine/kv.h"

typedef struct {
    int table;
    int row, n_rows; /* rows row .. row+n_rows-1 of the batch */
    int n_tiles;     /* tiles that its last row sees */
    const int32_t *page; /* the table's pages; borrowed from kv until the pass ran */
    int n_pages, pages;  /* number of them; where they start in the flat list */
} fc_batch_seq;

/* The uploaded lists. Backend buffers. */
typedef struct {
    const int32_t *tokens, *pos, *page, *slot; /* [T] */
    const int32_t *pages;
    const fc_attn_item *items;
    const int32_t *item_rows, *fold_row, *fold_off, *fold_slot;
    const int32_t *outs; /* [n_outs] rows whose final hidden state is wanted */
} fc_batch_dev;

typedef struct {
    fc_backend *be; /* borrowed */
    fc_kv *kv;      /* borrowed */
    int max_rows, max_seqs, max_parts;
    bool share; /* false: every sequence reads all its tiles alone */

    int T, n_seqs, n_outs;
    int32_t *tokens, *pos; /* [max_rows] host */
    fc_batch_seq *seqs;    /* [max_seqs] */
    int32_t *outs;         /* [max_rows] */

    int n_items, n_fold, n_fold_slots, n_parts; /* after plan */
    double tiles, row_tiles;                    /* of all items, for accounting and cost */
    fc_attn_item *items;                        /* [max_items] host */
    int max_items;
    int32_t *order, *item_rows, *fold_count; /* [max_seqs], [max_rows], [max_rows] host scratch */

    unsigned char *host, *device; /* [bytes] staging and its copy on the backend */
    size_t bytes;
    fc_batch_dev dev;
} fc_batch;

/* All memory now. max_len: positions of one table. */
fc_status fc_batch_open(fc_backend *be, fc_kv *kv, int max_rows, int max_seqs, int max_len, fc_batch *out);
void fc_batch_close(fc_batch *b); /* zeroed and half-built are fine */

void fc_batch_reset(fc_batch *b);
/* n rows of ids at the end of the table: fc_kv_append was called for them. The caller keeps within max_rows and max_seqs.
 * Returns the first row. */
int fc_batch_add(fc_batch *b, int table, const int32_t *ids, int n);
/* Wants the final hidden state of a row; returns its place among the outputs. Rows must be given in rising order. */
int fc_batch_want(fc_batch *b, int row);
fc_status fc_batch_plan(fc_batch *b);

#endif
