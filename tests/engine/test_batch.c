/* The attention plan: every row sees every tile up to its own position exactly once, through the right pages or slots,
 * in order; what sequences and chains share is read once. */
#include "engine/base/mem.h"
#include "engine/batch.h"
#include "kernels/cpu/backend_cpu.h"
#include "tests/engine/util_tree.h"

enum { TREES = 4, MAX_ROWS = 400 };

typedef struct {
    fc_backend *be;
    fc_kv *kv;
    fc_batch batch;
    tree trees[TREES];
    int tree_of[MAX_ROWS], node_of[MAX_ROWS]; /* of each row of a chain */
} fixture;

static void open_fixture(fixture *f, int P, int tables, int max_rows, int max_len) {
    assert_ok(fc_backend_open_cpu(
        FC_CPU_PORTABLE, 1, &(fc_op_limits){.rows = 16, .cols = 64, .vocab = 256, .heads = 1, .head_dim = 16}, &f->be));
    assert_ok(fc_kv_open(f->be, &(fc_kv_shape){.type = FC_F32, .n_pages = 20000, .P = P, .L = 1, .G = 1, .E = 16},
                         tables, max_len, &f->kv));
    assert_ok(fc_batch_open(f->be, f->kv, 4, max_rows, tables, max_len, 0, &f->batch));
}

static void close_fixture(fixture *f) {
    fc_batch_close(&f->batch);
    fc_kv_close(f->kv);
    fc_backend_close(f->be);
}

static int32_t ids[4096];

static void add(fixture *f, int table, int n) {
    assert_ok(fc_kv_append(f->kv, table, n));
    fc_batch_add(&f->batch, table, ids, n);
}

/* The table that a row belongs to. */
static const fc_batch_seq *seq_of(const fc_batch *b, int row) {
    for (int i = 0; i < b->n_seqs; i++)
        if (row >= b->seqs[i].row && row < b->seqs[i].row + b->seqs[i].n_rows) return &b->seqs[i];
    fail_msg("row %d belongs to no sequence", row);
    return NULL;
}

static void add_chain(fixture *f, int which, int node, int end) {
    int row = tree_add_chain(&f->trees[which], &f->batch, node, end);
    for (; node < end; node++, row++) {
        f->tree_of[row] = which;
        f->node_of[row] = node;
    }
}

/* Flat slots of the positions that a row sees, from its table or from its tree. */
static void expect_slots(const fixture *f, int row, int32_t *slot) {
    const fc_batch_seq *s = seq_of(&f->batch, row);
    const int32_t *pages = fc_kv_pages(f->kv, s->table);
    int P = fc_kv_store(f->kv)->shape.P, n = s->gather < 0 ? f->batch.pos[row] + 1 : s->base, path[TREE_NODES];
    for (int j = 0; j < n; j++) slot[j] = pages[j / P] * P + j % P;
    if (s->gather < 0) return;
    tree_path(&f->trees[f->tree_of[row]], f->node_of[row], path);
    for (int j = n; j <= f->batch.pos[row]; j++) slot[j] = f->trees[f->tree_of[row]].slot[path[j - n]];
}

/* If this fails, CUDA leaves an item to a kernel that is not launched. */
static void check_widths(const fc_batch *b) {
    bool few = false, more = false, many = false;
    for (int i = 0; i < b->n_items; i++) {
        int vectors = b->items[i].n_rows * b->per;
        few |= vectors <= 32;
        more |= vectors > 32 && vectors <= 64;
        many |= vectors > 64;
    }
    assert_int_equal(b->widths, few * FC_ATTN_FEW + more * FC_ATTN_MORE + many * FC_ATTN_MANY);
}

/* Walks a row's items as the fold does and checks them against its table or tree. */
static void check_row(const fixture *f, int row) {
    const fc_batch *b = &f->batch;
    const fc_batch_seq *s = seq_of(b, row);
    static int32_t expected[8192];
    int P = fc_kv_store(f->kv)->shape.P;
    int next = 0, items = 0, last_run = -1, folds = -1;
    for (int i = 0; i < b->n_fold; i++)
        if (b->dev.fold_row[i] == row) folds = i;
    expect_slots(f, row, expected);
    assert_int_equal(b->dev.page[row] * P + b->dev.slot[row], expected[b->pos[row]]);
    for (int i = 0; i < b->n_items; i++) {
        const fc_attn_item *it = &b->items[i];
        int at = -1;
        for (int r = 0; r < it->n_rows; r++)
            if (b->item_rows[it->row + r] == row) at = r;
        if (at < 0) continue;
        assert_int_equal(it->tile, next); /* in order, no gap, no overlap */
        next = it->tile + it->n_tiles;
        for (int j = it->tile * FC_ATTN_TILE; j <= b->pos[row] && j < next * FC_ATTN_TILE; j++) {
            int32_t slot = it->gather < 0 ? b->dev.pages[it->pages + j / P] * P + j % P
                                          : b->dev.slots[it->gather + j - it->tile * FC_ATTN_TILE];
            assert_int_equal(slot, expected[j]); /* through this row's own pages and slots */
        }
        if (it->part < 0) {
            assert_int_equal(it->tile, 0);
            assert_true(next >= s->n_tiles);
        } else {
            int slot;
            assert_true(folds >= 0);
            slot = b->dev.fold_slot[b->dev.fold_off[folds] + items];
            assert_int_equal(slot & (FC_ATTN_NEW_RUN - 1), it->part + at);
            assert_int_equal((slot & FC_ATTN_NEW_RUN) != 0, it->tile % FC_ATTN_RUN == 0);
            /* several tiles only from a run's beginning and inside that run */
            assert_true(it->n_tiles == 1 || it->tile % FC_ATTN_RUN == 0);
            assert_int_equal(it->tile / FC_ATTN_RUN, (next - 1) / FC_ATTN_RUN);
            if (it->tile % FC_ATTN_RUN) assert_int_equal(it->tile / FC_ATTN_RUN, last_run);
            last_run = it->tile / FC_ATTN_RUN;
        }
        items++;
    }
    assert_true(next * FC_ATTN_TILE > b->pos[row]);
    assert_int_equal(next, s->n_tiles);
    if (folds >= 0) assert_int_equal(b->dev.fold_off[folds + 1] - b->dev.fold_off[folds], items);
}

/* 16 candidates behind 1,000 tokens read the prompt's 15 whole tiles once, not 16 times. */
static void shared_prompt_is_read_once(void **state) {
    fixture f;
    int prompt, tables[16];
    (void)state;
    open_fixture(&f, 16, 32, 64, 4096);
    assert_ok(fc_kv_table_open(f.kv, &prompt));
    assert_ok(fc_kv_append(f.kv, prompt, 1000));
    for (int i = 0; i < 16; i++) {
        assert_ok(fc_kv_fork(f.kv, prompt, &tables[i]));
        add(&f, tables[i], 1);
    }
    assert_ok(fc_batch_plan(&f.batch));
    assert_int_equal((int)f.batch.tiles, 15 + 16); /* one tile each of its own */
    for (int r = 0; r < f.batch.T; r++) check_row(&f, r);
    check_widths(&f.batch);
    fc_batch_reset(&f.batch);
    f.batch.share = false;
    for (int i = 0; i < 16; i++) add(&f, tables[i], 1);
    assert_ok(fc_batch_plan(&f.batch));
    assert_int_equal((int)f.batch.tiles, 16 * 16);
    for (int r = 0; r < f.batch.T; r++) check_row(&f, r);
    check_widths(&f.batch);
    close_fixture(&f);
}

/* Forks of forks, prompts of different length, prefill beside decode, every page size. */
static void random_trees_are_covered(void **state) {
    uint64_t seed = 5;
    int shared_items = 0;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 60; round++) {
        fixture f;
        int P = 8 << test_below(&seed, 4), tables[24], n = 0;
        open_fixture(&f, P, 24, 400, 8192);
        f.be->attn_units = round % 3 * 300; /* some of them too many to be had */
        while (n < 24) {
            if (n == 0 || test_below(&seed, 5) == 0) assert_ok(fc_kv_table_open(f.kv, &tables[n]));
            else assert_ok(fc_kv_fork(f.kv, tables[test_below(&seed, n)], &tables[n]));
            assert_ok(fc_kv_append(f.kv, tables[n], 1 + test_below(&seed, test_below(&seed, 3) ? 200 : 1500)));
            n++;
            if (fc_kv_len(f.kv, tables[n - 1]) > 3000) fc_kv_table_close(f.kv, tables[--n]);
        }
        assert_ok(fc_kv_flush(f.kv));
        for (int i = 0; i < n; i++)
            if (test_below(&seed, 3)) add(&f, tables[i], 1 + (test_below(&seed, 4) ? 0 : test_below(&seed, 60)));
        if (f.batch.T == 0) add(&f, tables[0], 1);
        assert_ok(fc_kv_flush(f.kv));
        assert_ok(fc_batch_plan(&f.batch));
        for (int r = 0; r < f.batch.T; r++) check_row(&f, r);
        check_widths(&f.batch);
        for (int i = 0; i < f.batch.n_items; i++)
            shared_items += f.batch.items[i].n_rows > 1 && f.batch.items[i].part >= 0;
        assert_ok(fc_kv_check(f.kv));
        close_fixture(&f);
    }
    printf("%d items were read by several rows\n", shared_items);
    assert_true(shared_items > 200);
}

/* If this fails, a wide backend idles where few rows read long contexts, or is given more items than it needs. */
static void items_are_cut_until_a_backend_is_busy(void **state) {
    static const struct {
        int units, rows, n, items, parts; /* n tables of 40 tiles, of so many rows each */
    } cases[] = {{0, 1, 1, 1, 0},    {1, 1, 1, 1, 0},    {2, 1, 1, 3, 3}, {3, 1, 1, 3, 3},
                 {4, 1, 1, 40, 40},  {99, 1, 1, 40, 40}, {4, 1, 5, 5, 0}, {15, 1, 5, 15, 15},
                 {16, 1, 5, 200, 0}, {9, 32, 1, 3, 96},  {2, 32, 1, 1, 0}};
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        fixture f;
        int parts = 0;
        open_fixture(&f, 16, 8, 40, 4096);
        f.be->attn_units = cases[c].units;
        for (int i = 0; i < cases[c].n; i++) {
            int t;
            assert_ok(fc_kv_table_open(f.kv, &t));
            assert_ok(fc_kv_append(f.kv, t, 40 * FC_ATTN_TILE - cases[c].rows));
            add(&f, t, cases[c].rows);
        }
        assert_ok(fc_batch_plan(&f.batch));
        for (int r = 0; r < f.batch.T; r++) check_row(&f, r);
        check_widths(&f.batch);
        assert_int_equal(f.batch.n_items, cases[c].items);
        for (int i = 0; i < f.batch.n_items; i++)
            if (f.batch.items[i].part >= 0) parts += f.batch.items[i].n_rows;
        assert_int_equal(f.batch.n_parts, parts);
        if (cases[c].parts) assert_int_equal(parts, cases[c].parts);
        close_fixture(&f);
    }
}

/* A tree of `nodes` behind `base` new positions of a new table. */
static void plant(fixture *f, int i, int base, int nodes, int run, uint64_t *seed) {
    tree *t = &f->trees[i];
    assert_ok(fc_kv_table_open(f->kv, &t->table));
    assert_ok(fc_kv_append(f->kv, t->table, base));
    t->base = base;
    tree_grow(t, nodes, run, 100, seed);
    tree_place(t, f->kv, test_below(seed, 2), seed);
}

/* If this fails, each of 40 candidates' tails reads the prompt again. */
static void chains_read_the_prompt_once(void **state) {
    fixture f;
    uint64_t seed = 12;
    int chains = 0, own = 0, fork;
    unsigned long long before;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    open_fixture(&f, 16, 64, 200, 4096);
    plant(&f, 0, 1000, 120, 6, &seed);
    assert_ok(fc_kv_fork(f.kv, f.trees[0].table, &fork));
    assert_ok(fc_kv_append(f.kv, fork, 1));
    assert_ok(fc_kv_flush(f.kv));
    for (int share = 1; share >= 0; share--) {
        fc_batch_reset(&f.batch);
        f.batch.share = share;
        before = fc_alloc_count();
        fc_batch_add(&f.batch, fork, ids, 1);
        chains = own = 0;
        for (int i = 0, end; i < f.trees[0].n; i = end, chains++) {
            end = tree_chain_end(&f.trees[0], i);
            add_chain(&f, 0, i, end);
            own += (1000 + f.trees[0].depth[end - 1]) / FC_ATTN_TILE + 1 - 15;
        }
        assert_ok(fc_batch_plan(&f.batch));
        assert_true(fc_alloc_count() == before); /* all memory was taken at open */
        for (int r = 0; r < f.batch.T; r++) check_row(&f, r);
        check_widths(&f.batch);
        printf("share %s: %d rows in %d chains, 1 decode row: %d items, %d tiles, %d partial states\n",
               share ? "on" : "off", f.batch.T - 1, chains, f.batch.n_items, (int)f.batch.tiles, f.batch.n_parts);
        /* 15 whole tiles of the prompt, by all together or by each */
        assert_int_equal((int)f.batch.tiles, (share ? 15 : 15 * (chains + 1)) + 1 + own);
    }
    assert_true(chains > 20);
    close_fixture(&f);
}

/* Trees behind prompts of any length, forks of those prompts, a prompt's last rows in its tree's pass, decode rows.
 * If this fails, a candidate attends to another's tokens. */
static void random_chains_are_covered(void **state) {
    uint64_t seed = 31;
    int gathered = 0, shared = 0, left_out = 0;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 40; round++) {
        fixture f;
        int P = 8 << test_below(&seed, 4), forks[TREES];
        open_fixture(&f, P, 100, MAX_ROWS, 8192);
        f.be->attn_units = round % 3 * 300;
        for (int i = 0; i < TREES; i++) {
            int base = test_below(&seed, 4) ? test_below(&seed, 400) : test_below(&seed, 3000);
            plant(&f, i, base, 1 + test_below(&seed, TREE_NODES), 6 + test_below(&seed, 4), &seed);
            assert_ok(fc_kv_fork(f.kv, f.trees[i].table, &forks[i]));
            if (i && test_below(&seed, 2)) { /* another tree behind the beginning of the prompt before */
                f.trees[i].table = f.trees[i - 1].table;
                f.trees[i].base = f.trees[i - 1].base - test_below(&seed, f.trees[i - 1].base + 1);
            }
            assert_ok(fc_kv_append(f.kv, forks[i], 1 + test_below(&seed, 100)));
            f.batch.share = test_below(&seed, 4);
        }
        assert_ok(fc_kv_flush(f.kv));
        for (int i = 0; i < TREES; i++) {
            int table = f.trees[i].table;
            if (test_below(&seed, 2)) add(&f, forks[i], 1);
            if (test_below(&seed, 4) == 0 && fc_kv_len(f.kv, table) > 9) fc_batch_add(&f.batch, table, ids, 9);
        }
        for (int i = 0; i < TREES; i++) {
            const tree *t = &f.trees[i];
            for (int k = 0, end; k < t->n; k = end) {
                end = tree_chain_end(t, k);
                if (end > k + 1 && test_below(&seed, 3) == 0) end = k + 1 + test_below(&seed, end - k - 1);
                if (!fc_batch_fits_chain(&f.batch, t->base, t->base + t->depth[k], end - k)) left_out++;
                else if (test_below(&seed, 4)) add_chain(&f, i, k, end);
            }
        }
        if (f.batch.T == 0) add(&f, forks[0], 1);
        assert_ok(fc_kv_flush(f.kv));
        assert_ok(fc_batch_plan(&f.batch));
        for (int r = 0; r < f.batch.T; r++) check_row(&f, r);
        check_widths(&f.batch);
        for (int i = 0; i < f.batch.n_items; i++) {
            gathered += f.batch.items[i].gather >= 0;
            shared += f.batch.items[i].gather < 0 && f.batch.items[i].n_rows > 1 && f.batch.items[i].part >= 0;
        }
        assert_ok(fc_kv_check(f.kv));
        close_fixture(&f);
    }
    printf("%d items gathered, %d by page table for several rows, %d chains did not fit\n", gathered, shared, left_out);
    assert_true(gathered > 400 && shared > 100 && left_out > 10);
}

/* Rows that fill units of a GPU by themselves behind a short prompt: one item each, and nothing to fold; few rows, or a
 * long way, share. */
static void long_chains_of_a_gpu_are_one_item(void **state) {
    static const struct {
        int units, rows, base;
        bool alone;
    } cases[] = {{0, 40, 100, false}, {1, 40, 100, true}, {1, 31, 100, false}, {1, 32, 100, true},
                 {1, 33, 100, false}, {1, 40, 63, true},  {1, 40, 1087, true}, {1, 40, 1088, false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture f;
        uint64_t seed = 5;
        open_fixture(&f, 16, 8, MAX_ROWS, 8192);
        f.be->attn_units = cases[i].units;
        for (int k = 0; k < 2; k++) {
            plant(&f, k, cases[i].base, cases[i].rows, 10, &seed);
            if (k) f.trees[1].table = f.trees[0].table; /* of one prompt */
            assert_int_equal(tree_chain_end(&f.trees[k], 0), cases[i].rows);
            add_chain(&f, k, 0, cases[i].rows);
        }
        assert_ok(fc_kv_flush(f.kv));
        assert_ok(fc_batch_plan(&f.batch));
        for (int r = 0; r < f.batch.T; r++) check_row(&f, r);
        if (cases[i].alone) {
            assert_int_equal(f.batch.n_items, 2);
            assert_int_equal(f.batch.n_parts, 0);
        } else assert_true(f.batch.n_items > 2 && f.batch.n_parts > 0);
        fc_batch_reset(&f.batch); /* the same rows behind forks of a table, however long */
        for (int k = 0; k < 2; k++) {
            int fork;
            assert_ok(fc_kv_fork(f.kv, f.trees[0].table, &fork));
            add(&f, fork, cases[i].rows);
        }
        assert_ok(fc_kv_flush(f.kv));
        assert_ok(fc_batch_plan(&f.batch));
        for (int r = 0; r < f.batch.T; r++) check_row(&f, r);
        if (cases[i].alone || cases[i].base > 1087) assert_int_equal(f.batch.n_parts, 0);
        else assert_true(f.batch.n_parts > 0);
        close_fixture(&f);
    }
}

/* Long chains on a GPU read alone while others' slots are left, and share from there on: what the batch has counted is
 * what its chains are. If this fails, a batch that was said to fit does not. */
static void what_long_chains_take_is_counted(void **state) {
    enum { LEN = 2048, SEQS = 8, ROWS = 40 };
    int alone = 0, sharing = 0;
    (void)state;
    for (int base = 64; base < 1100; base += 33) {
        fixture f;
        uint64_t seed = (uint64_t)base;
        open_fixture(&f, 16, SEQS, MAX_ROWS, LEN);
        f.be->attn_units = 1;
        plant(&f, 0, base, ROWS, 10, &seed);
        while (fc_batch_fits_chain(&f.batch, base, base, ROWS)) {
            int slots = 0, parts = 0;
            add_chain(&f, 0, 0, ROWS);
            for (int i = 0; i < f.batch.n_seqs; i++) {
                const fc_batch_seq *s = &f.batch.seqs[i];
                slots += (s->n_tiles - s->n_paged) * FC_ATTN_TILE;
                for (int t = 0; s->n_paged && t < s->n_tiles; parts += s->n_rows) /* runs, tiles inside a run */
                    t = t % FC_ATTN_RUN == 0
                            ? (t + FC_ATTN_RUN < s->n_paged || t >= s->n_paged ? t + FC_ATTN_RUN : s->n_paged)
                            : t + 1;
            }
            assert_int_equal(f.batch.n_slots, slots);
            assert_int_equal(f.batch.chain_parts, parts);
        }
        for (int i = 0; i < f.batch.n_seqs; i++) *(f.batch.seqs[i].n_paged ? &sharing : &alone) += 1;
        assert_int_equal(f.batch.n_seqs, SEQS);
        assert_ok(fc_batch_plan(&f.batch));
        for (int r = 0; r < f.batch.T; r++) check_row(&f, r);
        close_fixture(&f);
    }
    assert_true(alone > 20 && sharing > 20);
}

/* Every table a tile longer than the one before it, a chain behind each: more partial states than there is room for.
 * The batch is then planned without sharing, and what fits_chain let in fits. */
static void a_batch_too_deep_to_share_is_read_alone(void **state) {
    enum { TABLES = 100 };
    fixture f;
    uint64_t seed = 8;
    int tables[TABLES], chains = 0;
    (void)state;
    open_fixture(&f, 16, 2 * TABLES + 8, 2 * TABLES, 8192);
    for (int i = 0; i < TABLES; i++) {
        if (i == 0) assert_ok(fc_kv_table_open(f.kv, &tables[0]));
        else assert_ok(fc_kv_fork(f.kv, tables[i - 1], &tables[i]));
        assert_ok(fc_kv_append(f.kv, tables[i], FC_ATTN_TILE));
        fc_batch_add(&f.batch, tables[i], ids, 1);
    }
    plant(&f, 0, 10, 1, 0, &seed);
    for (int i = 0; i < TABLES; i++) {
        f.trees[0].table = tables[TABLES - 1];
        f.trees[0].base = 10 + i * FC_ATTN_TILE;
        if (!fc_batch_fits_chain(&f.batch, f.trees[0].base, f.trees[0].base, 1)) continue;
        chains++;
        add_chain(&f, 0, 0, 1);
    }
    assert_int_equal(chains, TABLES);
    assert_ok(fc_batch_plan(&f.batch));
    assert_int_equal((int)f.batch.tiles, TABLES * (TABLES + 1));
    for (int r = 0; r < f.batch.T; r++) check_row(&f, r);
    check_widths(&f.batch);
    close_fixture(&f);
}

/* If this fails, a scheduler that asks first meets an assert, or waits for room for ever. */
static void what_fits_is_known_before(void **state) {
    enum { LEN = 8192 };
    fixture f;
    uint64_t seed = 3;
    int first = 0;
    (void)state;
    open_fixture(&f, 16, 8, 40, LEN);
    for (int base = 0; base < LEN; base += 37) {
        assert_true(fc_batch_fits_chain(&f.batch, base, LEN - 1, 1));
        assert_true(fc_batch_fits_chain(&f.batch, base, LEN - 40, 40));
        assert_false(fc_batch_fits_chain(&f.batch, base, LEN - 41, 41)); /* rows */
    }
    plant(&f, 0, 5, 3, 10, &seed);
    for (int i = 0; i < 8; i++) {
        assert_true(fc_batch_fits_chain(&f.batch, 5, 5, 3));
        add_chain(&f, 0, 0, 3);
    }
    assert_false(fc_batch_fits_chain(&f.batch, 5, 5, 3)); /* sequences */
    assert_ok(fc_batch_plan(&f.batch));
    assert_int_equal(f.batch.n_items, 8); /* behind no whole tile one item is all that a chain reads */
    assert_int_equal(f.batch.n_parts, 0);
    fc_batch_reset(&f.batch);
    assert_ok(fc_kv_append(f.kv, f.trees[0].table, LEN - 5));
    while (fc_batch_fits_chain(&f.batch, 5, LEN / 2, 1)) { /* slots: 8 x 4 tiles and 128 are 160, a chain takes 65 */
        f.trees[0].base = 5;
        f.trees[0].slot[0] = first++;
        fc_batch_add_chain(&f.batch, &(fc_batch_chain){.table = f.trees[0].table,
                                                       .base = 5,
                                                       .first = LEN / 2,
                                                       .ancestors = ids,
                                                       .ids = ids,
                                                       .slot = f.trees[0].slot,
                                                       .n = 1});
    }
    assert_int_equal(first, 2);
    assert_true(fc_batch_fits_chain(&f.batch, 5, 6, 1));
    assert_ok(fc_batch_plan(&f.batch));
    close_fixture(&f);
    /* partial states: one tile of the prompt, 15 of the rest of its run, 63 runs are 79 a row; there are 80 */
    open_fixture(&f, 16, 4, 2, 65536);
    assert_true(fc_batch_fits_chain(&f.batch, 64, 65535, 1));
    assert_false(fc_batch_fits_chain(&f.batch, 64, 65534, 2));
    assert_ok(fc_kv_table_open(f.kv, &f.trees[0].table));
    assert_ok(fc_kv_append(f.kv, f.trees[0].table, 64));
    f.trees[0] = (tree){.n = 1, .base = 64, .table = f.trees[0].table, .parent = {-1}};
    for (int i = 0; i < 90; i++) { /* two states each, given back by reset */
        add_chain(&f, 0, 0, 1);
        if (i % 2) fc_batch_reset(&f.batch);
    }
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_prompt_is_read_once),
        cmocka_unit_test(random_trees_are_covered),
        cmocka_unit_test(items_are_cut_until_a_backend_is_busy),
        cmocka_unit_test(chains_read_the_prompt_once),
        cmocka_unit_test(random_chains_are_covered),
        cmocka_unit_test(long_chains_of_a_gpu_are_one_item),
        cmocka_unit_test(what_long_chains_take_is_counted),
        cmocka_unit_test(a_batch_too_deep_to_share_is_read_alone),
        cmocka_unit_test(what_fits_is_known_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
