/* batch - the ragged set of rows of one pass of one model, and the plan of its attention.
 *
 * A sequence is the rows that one KV table gets in this pass; its KV room is appended before it is added. A chain is a
 * run of nodes, without branching between them, of a tree of tokens behind a prompt: the prompt lies in a KV table,
 * each node in a slot of its own, wherever the caller has one. Chains may be added in any order, and a chain whose
 * ancestors are rows of the same batch too: a layer writes the K and V of all rows before it reads any. plan() turns
 * the batch into flat work lists (kernels/attn) and sends them in one piece.
 *
 *   reset -> add*, add_chain* -> plan -> forward (reads dev) -> reset
 *
 * Adapters: a row belongs to none until fc_batch_adapter says otherwise; plan() lists the rows of each together.
 *
 * Sharing: sequences and chains whose tables begin with the same pages are found by sorting the tables; what they share
 * is read by one item for all their rows. A chain's table counts up to the last whole tile of its prompt; its tiles
 * from there on are gathered slot by slot, for that chain alone. On a GPU, whose units its rows fill, a sequence or a
 * chain behind a short prompt reads all its tiles by itself, as one item. Where that leaves a backend idle
 * (fc_backend.attn_units), items are cut into runs, and into tiles where few rows read them. Where items are cut, and
 * where K and V lie, never changes a bit (kernels/attn/attn.h): a node's hidden state is that of the same tokens in one
 * sequence.
 */
#ifndef FC_ENGINE_BATCH_H
#define FC_ENGINE_BATCH_H

#include "engine/kv.h"
#include "engine/stage.h"

typedef struct {
    int table;
    int row, n_rows;     /* rows row .. row+n_rows-1 of the batch */
    int n_tiles;         /* tiles that its last row sees */
    int base;            /* of a chain: positions in the table */
    int n_paged;         /* tiles read by page table: all, or of a chain the whole ones of its prompt, or none */
    bool alone;          /* after list: read as one item by page table, whoever shares its pages */
    int gather;          /* the first of the other tiles' entries in slots; -1: no chain */
    const int32_t *page; /* the table's pages; borrowed from kv until the pass ran */
    int n_pages, pages;  /* number of them, of a chain those of n_paged tiles; where they start in the flat list */
} fc_batch_seq;

/* Slots are flat: page * P + slot. All lists are copied. */
typedef struct {
    int table, base;           /* the prompt's KV table; positions 0 .. base-1 are the prompt's */
    int first;                 /* position of the first new row, at least base */
    const int32_t *ancestors;  /* [first-base] slots of positions base .. first-1, root first */
    const int32_t *ids, *slot; /* [n] the new rows and where their K and V go */
    int n;
} fc_batch_chain;

enum { FC_MAX_ADAPTERS = 64 }; /* of one model */

typedef struct {
    int adapter;       /* index in the model's table */
    int first, n_rows; /* stretch of dev.lora_rows */
} fc_batch_lora;

/* The uploaded lists. Backend buffers. */
typedef struct {
    const int32_t *tokens, *pos, *page, *slot; /* [T] */
    const int32_t *pages, *slots;
    const fc_attn_item *items;
    const int32_t *item_rows, *fold_row, *fold_off, *fold_slot;
    const int32_t *outs;      /* [n_outs] rows whose final hidden state is wanted */
    const int32_t *lora_rows; /* rows that have an adapter, by adapter, rising */
} fc_batch_dev;

typedef struct {
    fc_backend *be; /* borrowed */
    fc_kv *kv;      /* borrowed */
    int max_rows, max_seqs, max_parts, max_slots;
    int per;    /* query heads of a KV head */
    bool share; /* false: every sequence reads all its tiles alone */

    int T, n_seqs, n_outs;
    int n_slots, chain_parts;      /* entries of slots; partial states of all chains when nothing is shared */
    int32_t *tokens, *pos, *place; /* [max_rows] host; place: flat slot of a chain's row */
    int32_t *slots;                /* [max_slots] what chains gather: see fc_batch_seq.gather */
    fc_batch_seq *seqs;            /* [max_seqs] */
    int32_t *outs;                 /* [max_rows] */

    int n_items, n_fold, n_fold_slots, n_parts; /* after plan */
    int widths;                                 /* fc_attn_args.widths */
    double tiles, row_tiles;                    /* of all items, for accounting and cost */
    int cut;                                    /* batch.c's: how finely items are cut */
    fc_attn_item *items;                        /* [max_items] host */
    int max_items;
    int32_t *order, *item_rows, *fold_count; /* [max_seqs], [max_rows], [max_rows] host scratch */

    int32_t *adapter;                    /* [max_rows] of each row, -1: none */
    fc_batch_lora lora[FC_MAX_ADAPTERS]; /* after plan */
    int n_lora;

    fc_stage stage; /* of the plan's lists, and of what else the step reads */
    fc_batch_dev dev;
} fc_batch;

/* Partial attention states that a batch of so many rows may leave: fc_work_open reserves them. */
int fc_batch_parts(int max_rows, int max_len);
/* All memory now. per: query heads of a KV head. max_len: positions of one table, and of a chain with its prompt.
 * others: room in the stage for lists that are not the plan's, as fc_stage_room counts. */
fc_status fc_batch_open(fc_backend *be, fc_kv *kv, int per, int max_rows, int max_seqs, int max_len, size_t others,
                        fc_batch *out);
void fc_batch_close(fc_batch *b); /* zeroed and half-built are fine */

void fc_batch_reset(fc_batch *b);
/* n rows of ids at the end of the table: fc_kv_append was called for them. The caller keeps within max_rows and
 * max_seqs. Returns the first row. */
int fc_batch_add(fc_batch *b, int table, const int32_t *ids, int n);
/* The same for a chain; its slots hold their K and V when the pass ran. fc_batch_fits_chain was asked. The table may
 * grow or be forked before plan(), not be closed before the pass ran. */
int fc_batch_add_chain(fc_batch *b, const fc_batch_chain *c);
/* Is there room for a chain of n rows from position `first` on behind a prompt of `base`? Besides rows and sequences it
 * takes gathered slots, of which 4 tiles a sequence and one chain of max_len are reserved, and partial states, 24 a
 * row: in a batch of its own one row always fits, and max_rows up to position 8192. */
bool fc_batch_fits_chain(const fc_batch *b, int base, int first, int n);
/* Rows first_row .. first_row+n-1, which were added, go through an adapter of the model (fc_model.adapters). */
void fc_batch_adapter(fc_batch *b, int first_row, int n, int adapter);
/* Wants the final hidden state of a row; returns its place among the outputs. Rows must be given in rising order. */
int fc_batch_want(fc_batch *b, int row);
/* Begins the stage, puts the plan's lists into it and sends it. */
fc_status fc_batch_plan(fc_batch *b);
/* The plan's lists alone, into a stage that was begun and that the caller sends, with other lists beside them. */
void fc_batch_list(fc_batch *b);

#endif
