#include "engine/batch.h"

#include "engine/base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Partial states are bounded so that the scratch is; a batch that would need more is planned without sharing. */
enum { PARTS_PER_ROW = 24, TILES_PER_CHAIN = 4 };

/* How finely items are cut, besides where rows part: not; into runs; into tiles, where one unit reads all rows. */
enum { CUT_NOT, CUT_RUNS, CUT_TILES };
static int unit_vectors(const fc_batch *b) {
    const fc_kv_shape *k = &fc_kv_store(b->kv)->shape;
    return fc_attn_unit_vectors(k->type, k->E);
}

static int tiles_for(int positions) { return (positions + FC_ATTN_TILE - 1) / FC_ATTN_TILE; }

/* Where the item from tile t0 on ends: a run where one begins, one tile inside a run. */
static int item_end(int t0, int t1) {
    int end = t0 % FC_ATTN_RUN ? t0 + 1 : t0 + FC_ATTN_RUN;
    return end < t1 ? end : t1;
}

int fc_batch_parts(int max_rows, int max_len) {
    int deepest = tiles_for(max_len) / FC_ATTN_RUN + FC_ATTN_RUN; /* items of one chain alone */
    return max_rows * PARTS_PER_ROW > deepest ? max_rows * PARTS_PER_ROW : deepest;
}

fc_status fc_batch_open(fc_backend *be, fc_kv *kv, int per, int max_rows, int max_seqs, int max_len, size_t others,
                        fc_batch *out) {
    fc_status st = FC_OK;
    fc_batch b = {.be = be, .kv = kv, .per = per, .max_rows = max_rows, .max_seqs = max_seqs, .share = true};
    int P = fc_kv_store(kv)->shape.P;
    size_t rows = (size_t)max_rows, seqs = (size_t)max_seqs, pages = (size_t)fc_kv_pages_for(max_len, P), bytes;
    void *p;
    int tiles = tiles_for(max_len);
    b.max_parts = fc_batch_parts(max_rows, max_len);
    b.max_slots = (max_seqs * TILES_PER_CHAIN + tiles) * FC_ATTN_TILE;
    b.max_items = b.max_parts + max_seqs;
    bytes = 9 * fc_stage_room(rows * 4) + fc_stage_room(seqs * pages * 4) + fc_stage_room((size_t)b.max_slots * 4) +
            fc_stage_room((size_t)b.max_items * sizeof(fc_attn_item)) + 2 * fc_stage_room((rows + 1) * 4) +
            fc_stage_room((size_t)b.max_parts * 4); /* what list() puts */
    FC_TRY_GOTO(st, fc_alloc(rows, 4, "batch tokens", &p), fail);
    b.tokens = p;
    FC_TRY_GOTO(st, fc_alloc(rows, 4, "batch positions", &p), fail);
    b.pos = p;
    FC_TRY_GOTO(st, fc_alloc(rows, 4, "batch slots", &p), fail);
    b.place = p;
    FC_TRY_GOTO(st, fc_alloc((size_t)b.max_slots, 4, "gathered slots", &p), fail);
    b.slots = p;
    FC_TRY_GOTO(st, fc_alloc(seqs, sizeof *b.seqs, "batch sequences", &p), fail);
    b.seqs = p;
    FC_TRY_GOTO(st, fc_alloc(rows, 4, "batch outputs", &p), fail);
    b.outs = p;
    FC_TRY_GOTO(st, fc_alloc((size_t)b.max_items, sizeof *b.items, "attention items", &p), fail);
    b.items = p;
    FC_TRY_GOTO(st, fc_alloc(seqs, 4, "batch order", &p), fail);
    b.order = p;
    FC_TRY_GOTO(st, fc_alloc(rows, 4, "batch rows", &p), fail);
    b.item_rows = p;
    FC_TRY_GOTO(st, fc_alloc(rows + 1, 4, "batch folds", &p), fail);
    b.fold_count = p;
    FC_TRY_GOTO(st, fc_alloc(rows, 4, "batch adapters", &p), fail);
    b.adapter = p;
    memset(b.adapter, 0xff, rows * 4); /* -1 */
    FC_TRY_GOTO(st, fc_stage_open(be, bytes + others, "batch plan", &b.stage), fail);
    *out = b;
    return FC_OK;
fail:
    fc_batch_close(&b);
    return st;
}

void fc_batch_close(fc_batch *b) {
    if (!b->be) return;
    fc_stage_close(&b->stage);
    fc_free(b->adapter);
    fc_free(b->fold_count);
    fc_free(b->item_rows);
    fc_free(b->order);
    fc_free(b->items);
    fc_free(b->outs);
    fc_free(b->seqs);
    fc_free(b->slots);
    fc_free(b->place);
    fc_free(b->pos);
    fc_free(b->tokens);
    memset(b, 0, sizeof *b);
}

void fc_batch_reset(fc_batch *b) {
    for (int t = 0; t < b->T; t++) b->adapter[t] = -1;
    b->T = b->n_seqs = b->n_outs = b->n_slots = b->chain_parts = 0;
}

void fc_batch_adapter(fc_batch *b, int first_row, int n, int adapter) {
    FC_ASSERT(first_row >= 0 && n >= 0 && first_row + n <= b->T && adapter >= 0 && adapter < FC_MAX_ADAPTERS);
    for (int t = first_row; t < first_row + n; t++) b->adapter[t] = adapter;
}

int fc_batch_add(fc_batch *b, int table, const int32_t *ids, int n) {
    int first = b->T, len = fc_kv_len(b->kv, table);
    FC_ASSERT(n > 0 && n <= len && b->T + n <= b->max_rows && b->n_seqs < b->max_seqs);
    b->seqs[b->n_seqs++] = (fc_batch_seq){
        .table = table,
        .row = first,
        .n_rows = n,
        .n_tiles = tiles_for(len),
        .n_paged = tiles_for(len),
        .gather = -1,
    };
    for (int i = 0; i < n; i++) {
        b->tokens[first + i] = ids[i];
        b->pos[first + i] = len - n + i;
    }
    b->T += n;
    return first;
}

/* Rows that fill units of a GPU by themselves: whoever else reads their tiles would spare them nothing, and one item
 * for all that they read leaves no partial states. */
static bool fills_units(const fc_batch *b, int n_rows) {
    int vectors = n_rows * b->per, halves;
    if (vectors < FC_ATTN_WIDE_UNIT || b->be->attn_units == 0) return false;
    halves = (vectors + FC_ATTN_WIDE_HALF - 1) / FC_ATTN_WIDE_HALF;
    return 3 * halves * FC_ATTN_WIDE_HALF <= 4 * vectors;
}

/* Tiles of a chain that are read by page table, with all that share them; others by its list of slots. */
static int paged_tiles(const fc_batch *b, int base, int first, int n) {
    int tiles = base / FC_ATTN_TILE;
    if (!fills_units(b, n) || tiles > FC_ATTN_RUN) return tiles;
    /* what is reserved for sequences that are still to come stays theirs */
    int others = (b->max_seqs - b->n_seqs - 1) * TILES_PER_CHAIN, room = b->max_slots / FC_ATTN_TILE - others;
    return b->n_slots / FC_ATTN_TILE + tiles_for(first + n) <= room ? 0 : tiles;
}

/* Partial states of a chain when nothing is shared: none where one item is all that its rows read. */
static int64_t parts_alone(int n_paged, int first, int n) {
    int n_tiles = tiles_for(first + n), items = 0;
    for (int t = 0; n_paged && t < n_tiles; t = item_end(t, t < n_paged ? n_paged : n_tiles)) items++;
    return (int64_t)items * n;
}

static int gathered_slots(int n_paged, int first, int n) { return (tiles_for(first + n) - n_paged) * FC_ATTN_TILE; }

bool fc_batch_fits_chain(const fc_batch *b, int base, int first, int n) {
    int n_paged = paged_tiles(b, base, first, n);
    return b->T + n <= b->max_rows && b->n_seqs < b->max_seqs &&
           b->n_slots + gathered_slots(n_paged, first, n) <= b->max_slots &&
           b->chain_parts + parts_alone(n_paged, first, n) <= b->max_parts;
}

int fc_batch_add_chain(fc_batch *b, const fc_batch_chain *c) {
    int row = b->T, n_paged = paged_tiles(b, c->base, c->first, c->n);
    int at = b->n_slots - n_paged * FC_ATTN_TILE; /* position p's entry is slots[at + p] */
    FC_ASSERT(c->n > 0 && c->base >= 0 && c->base <= fc_kv_len(b->kv, c->table) && c->first >= c->base);
    FC_ASSERT(fc_batch_fits_chain(b, c->base, c->first, c->n));
    b->seqs[b->n_seqs++] = (fc_batch_seq){
        .table = c->table,
        .row = row,
        .n_rows = c->n,
        .n_tiles = tiles_for(c->first + c->n),
        .base = c->base,
        .n_paged = n_paged,
        .gather = b->n_slots,
    };
    for (int p = c->base; p < c->first; p++) b->slots[at + p] = c->ancestors[p - c->base]; /* plan knows those before */
    for (int i = 0; i < c->n; i++) {
        b->tokens[row + i] = c->ids[i];
        b->pos[row + i] = c->first + i;
        b->place[row + i] = b->slots[at + c->first + i] = c->slot[i];
    }
    for (int p = c->first + c->n; p % FC_ATTN_TILE; p++) b->slots[at + p] = -1;
    b->T += c->n;
    b->n_slots += gathered_slots(n_paged, c->first, c->n);
    b->chain_parts += (int)parts_alone(n_paged, c->first, c->n);
    return row;
}

int fc_batch_want(fc_batch *b, int row) {
    FC_ASSERT(row >= 0 && row < b->T && (b->n_outs == 0 || b->outs[b->n_outs - 1] < row));
    b->outs[b->n_outs] = row;
    return b->n_outs++;
}

/* ---- the plan ---- */

/* Pages that two tables share from the start. */
static int common_pages(const fc_batch_seq *x, const fc_batch_seq *y) {
    int n = x->n_pages < y->n_pages ? x->n_pages : y->n_pages, i = 0;
    while (i < n && x->page[i] == y->page[i]) i++;
    return i;
}

/* Order of page lists, shorter first, behind those that are read alone: what shares a prefix becomes neighbours. */
static bool pages_before(const fc_batch_seq *x, const fc_batch_seq *y) {
    int i = common_pages(x, y);
    if (x->alone != y->alone) return x->alone;
    if (i == x->n_pages || i == y->n_pages) return x->n_pages < y->n_pages;
    return x->page[i] < y->page[i];
}

/* Merge sort of b->order, with fold_count as scratch (max_rows + 1 >= sequences: each has a row). Stable. */
static void sort_order(fc_batch *b, int lo, int hi) {
    int mid = lo + (hi - lo) / 2, i = lo, j = mid, k = 0;
    if (hi - lo < 2) return;
    sort_order(b, lo, mid);
    sort_order(b, mid, hi);
    while (i < mid || j < hi) {
        bool right = i == mid || (j < hi && pages_before(&b->seqs[b->order[j]], &b->seqs[b->order[i]]));
        b->fold_count[k++] = right ? b->order[j++] : b->order[i++];
    }
    memcpy(b->order + lo, b->fold_count, (size_t)k * sizeof *b->order);
}

static const fc_batch_seq *seq_at(const fc_batch *b, int i) { return &b->seqs[b->order[i]]; }

/* One item over tiles [t0, t1) for the rows of ordered sequences lo..hi-1. first: where their rows stand in
 * item_rows. */
static bool emit_item(fc_batch *b, int lo, int first, int n_rows, int t0, int t1, bool whole) {
    const fc_batch_seq *s = seq_at(b, lo);
    if (b->n_items == b->max_items || (!whole && b->n_parts + n_rows > b->max_parts)) return false;
    b->items[b->n_items++] = (fc_attn_item){
        .pages = s->pages,
        .tile = t0,
        .n_tiles = t1 - t0,
        .row = first,
        .n_rows = n_rows,
        .part = whole ? -1 : b->n_parts,
        .gather = t0 < s->n_paged ? -1 : s->gather + (t0 - s->n_paged) * FC_ATTN_TILE,
    };
    if (!whole) b->n_parts += n_rows;
    b->widths |= fc_attn_width(n_rows * b->per);
    b->tiles += t1 - t0;
    b->row_tiles += (double)(t1 - t0) * n_rows;
    return true;
}

/* Pieces of work that an item is to a backend. */
static int units_of(const fc_batch *b, int n_rows) {
    return (n_rows * b->per + unit_vectors(b) - 1) / unit_vectors(b) * fc_kv_store(b->kv)->shape.G;
}

/* The same as this plan cuts them. */
static int cut_end(const fc_batch *b, int n_rows, int t0, int t1) {
    return b->cut == CUT_TILES && n_rows * b->per <= unit_vectors(b) ? t0 + 1 : item_end(t0, t1);
}

/* Tiles [t0, t1): run by run where a run begins here, tile by tile inside a run that an ancestor began. */
static bool emit_stretch(fc_batch *b, int lo, int first, int n_rows, int t0, int t1) {
    while (t0 < t1) {
        int end = cut_end(b, n_rows, t0, t1);
        if (!emit_item(b, lo, first, n_rows, t0, end, false)) return false;
        t0 = end;
    }
    return true;
}

/* The tiles of one ordered sequence from t0 on, which nobody shares. */
static bool emit_alone(fc_batch *b, int i, int first, int t0) {
    const fc_batch_seq *s = seq_at(b, i);
    bool whole = b->cut == CUT_NOT || cut_end(b, s->n_rows, 0, s->n_tiles) == s->n_tiles;
    if (whole && t0 == 0 && (s->gather < 0 || s->n_paged == 0))
        return emit_item(b, i, first, s->n_rows, 0, s->n_tiles, true);
    return emit_stretch(b, i, first, s->n_rows, t0, s->n_paged) &&
           emit_stretch(b, i, first, s->n_rows, s->n_paged, s->n_tiles);
}

/* Ordered sequences lo..hi-1 share every page of the tiles before t0. */
static bool emit_group(fc_batch *b, int lo, int hi, int first, int t0) {
    int per_tile = FC_ATTN_TILE / fc_kv_store(b->kv)->shape.P, n_rows = 0, t1;
    if (hi - lo == 1) return emit_alone(b, lo, first, t0);
    for (int i = lo; i < hi; i++) n_rows += seq_at(b, i)->n_rows;
    t1 = common_pages(seq_at(b, lo), seq_at(b, hi - 1)) / per_tile; /* sorted: what first and last share, all share */
    if (t1 > t0 && !emit_stretch(b, lo, first, n_rows, t0, t1)) return false;
    if (t1 < t0) t1 = t0;
    while (lo < hi) { /* those that still share tile t1 go on together */
        int end = lo + 1, rows = seq_at(b, lo)->n_rows;
        while (end < hi && common_pages(seq_at(b, lo), seq_at(b, end)) >= (t1 + 1) * per_tile)
            rows += seq_at(b, end++)->n_rows;
        if (!emit_group(b, lo, end, first, t1)) return false;
        first += rows;
        lo = end;
    }
    return true;
}

/* All items, or false where they leave more partial states than there is room for. */
static bool emit(fc_batch *b, int cut, bool share) {
    int per_tile = FC_ATTN_TILE / fc_kv_store(b->kv)->shape.P, first = 0;
    b->cut = cut;
    b->n_items = b->n_parts = b->widths = 0;
    b->tiles = b->row_tiles = 0;
    for (int lo = 0; lo < b->n_seqs;) {
        int end = lo + 1, rows = seq_at(b, lo)->n_rows;
        bool alone = !share || seq_at(b, lo)->alone;
        while (!alone && end < b->n_seqs && common_pages(seq_at(b, lo), seq_at(b, end)) >= per_tile)
            rows += seq_at(b, end++)->n_rows;
        if (!emit_group(b, lo, end, first, 0)) return false;
        first += rows;
        lo = end;
    }
    return true;
}

static bool keeps_busy(const fc_batch *b) {
    int units = 0;
    if (b->be->attn_units == 0) return true;
    for (int i = 0; i < b->n_items; i++) units += units_of(b, b->items[i].n_rows);
    return units >= b->be->attn_units;
}

static void emit_all(fc_batch *b) {
    bool fits = emit(b, CUT_NOT, b->share);
    int cut = CUT_NOT;
    while (fits && cut < CUT_TILES && !keeps_busy(b)) fits = emit(b, ++cut, b->share);
    if (!fits && cut > CUT_NOT) fits = emit(b, cut - 1, b->share);
    if (fits) return;
    fits = emit(b, CUT_NOT, false);
    FC_ASSERT(fits); /* of chains fc_batch_fits_chain has counted them; others are one item each */
}

/* Which partial states make up each row, in KV order: items are emitted in that order for every row. */
static void put_folds(fc_batch *b) {
    const void *dev;
    int32_t *row, *off, *slot, *next = b->fold_count;
    int total = b->n_parts, f = 0, at = 0;
    memset(next, 0, (size_t)b->max_rows * sizeof *next);
    for (int i = 0; i < b->n_items; i++)
        for (int r = 0; b->items[i].part >= 0 && r < b->items[i].n_rows; r++) next[b->items[i].row + r]++;
    row = fc_stage_take(&b->stage, (size_t)b->T * 4, &dev);
    b->dev.fold_row = dev;
    off = fc_stage_take(&b->stage, ((size_t)b->T + 1) * 4, &dev);
    b->dev.fold_off = dev;
    slot = fc_stage_take(&b->stage, (size_t)total * 4, &dev);
    b->dev.fold_slot = dev;
    for (int i = 0; i < b->T; i++) {
        int n = next[i];
        if (n == 0) continue;
        row[f] = b->item_rows[i];
        off[f++] = at;
        next[i] = at;
        at += n;
    }
    off[f] = at;
    for (int i = 0; i < b->n_items; i++) {
        const fc_attn_item *it = &b->items[i];
        int32_t flag = it->tile % FC_ATTN_RUN == 0 ? FC_ATTN_NEW_RUN : 0;
        for (int r = 0; it->part >= 0 && r < it->n_rows; r++) slot[next[it->row + r]++] = (it->part + r) | flag;
    }
    b->n_fold = f;
    b->n_fold_slots = at;
}

/* Rows by adapter, so that an adapter's weights are read once for all of its rows. */
static void put_adapters(fc_batch *b) {
    int count[FC_MAX_ADAPTERS] = {0}, n = 0;
    const void *dev;
    int32_t *rows = fc_stage_take(&b->stage, (size_t)b->T * 4, &dev);
    b->dev.lora_rows = dev;
    b->n_lora = 0;
    for (int t = 0; t < b->T; t++)
        if (b->adapter[t] >= 0) count[b->adapter[t]]++;
    for (int a = 0; a < FC_MAX_ADAPTERS; a++) {
        if (!count[a]) continue;
        b->lora[b->n_lora++] = (fc_batch_lora){.adapter = a, .first = n, .n_rows = count[a]};
        for (int t = 0; t < b->T; t++)
            if (b->adapter[t] == a) rows[n++] = t;
    }
}

void fc_batch_list(fc_batch *b) {
    int P = fc_kv_store(b->kv)->shape.P, n_pages = 0, k = 0;
    size_t T = (size_t)b->T;
    int32_t *page, *slot, *pages;
    const void *dev;
    b->dev.tokens = fc_stage_put(&b->stage, b->tokens, T * 4);
    b->dev.pos = fc_stage_put(&b->stage, b->pos, T * 4);
    page = fc_stage_take(&b->stage, T * 4, &dev);
    b->dev.page = dev;
    slot = fc_stage_take(&b->stage, T * 4, &dev);
    b->dev.slot = dev;
    for (int i = 0; i < b->n_seqs; i++) {
        fc_batch_seq *s = &b->seqs[i];
        s->alone = s->gather < 0 && fills_units(b, s->n_rows);
        s->page = fc_kv_pages(b->kv, s->table);
        s->n_pages = s->gather < 0 ? fc_kv_pages_for(fc_kv_len(b->kv, s->table), P) : s->n_paged * (FC_ATTN_TILE / P);
        s->pages = n_pages;
        n_pages += s->n_pages;
        for (int r = s->row; r < s->row + s->n_rows; r++) {
            page[r] = s->gather < 0 ? s->page[b->pos[r] / P] : b->place[r] / P;
            slot[r] = s->gather < 0 ? b->pos[r] % P : b->place[r] % P;
        }
        for (int p = s->n_paged * FC_ATTN_TILE, at = s->gather; at >= 0 && p < s->base; p++)
            b->slots[at++] = s->page[p / P] * P + p % P;
        b->order[i] = i;
    }
    pages = fc_stage_take(&b->stage, (size_t)n_pages * 4, &dev);
    b->dev.pages = dev;
    for (int i = 0; i < b->n_seqs; i++)
        memcpy(pages + b->seqs[i].pages, b->seqs[i].page, (size_t)b->seqs[i].n_pages * 4);
    b->dev.slots = fc_stage_put(&b->stage, b->slots, (size_t)b->n_slots * 4);
    if (b->share) sort_order(b, 0, b->n_seqs);
    for (int i = 0; i < b->n_seqs; i++)
        for (int r = 0; r < seq_at(b, i)->n_rows; r++) b->item_rows[k++] = seq_at(b, i)->row + r;
    emit_all(b);
    b->dev.items = fc_stage_put(&b->stage, b->items, (size_t)b->n_items * sizeof *b->items);
    b->dev.item_rows = fc_stage_put(&b->stage, b->item_rows, T * 4);
    b->dev.outs = fc_stage_put(&b->stage, b->outs, (size_t)b->n_outs * 4);
    put_folds(b);
    put_adapters(b);
}

fc_status fc_batch_plan(fc_batch *b) {
    fc_stage_begin(&b->stage);
    fc_batch_list(b);
    return fc_stage_send(&b->stage);
}
