/* The attention plan: every row sees every tile up to its own position exactly once, through the right pages, in order; what
 * sequences share is read once. */
#include "engine/batch.h"
#include "tests/util.h"

typedef struct {
    fc_backend *be;
    fc_kv *kv;
    fc_batch batch;
} fixture;

static void open_fixture(fixture *f, int P, int tables, int max_rows, int max_len) {
    assert_ok(fc_backend_open_cpu(
        FC_CPU_PORTABLE, 1, &(fc_op_limits){.rows = 16, .cols = 64, .vocab = 256, .heads = 1, .head_dim = 16}, &f->be));
    assert_ok(fc_kv_open(f->be, &(fc_kv_shape){.type = FC_F32, .n_pages = 20000, .P = P, .L = 1, .G = 1, .E = 16},
                         tables, max_len, &f->kv));
    assert_ok(fc_batch_open(f->be, f->kv, max_rows, tables, max_len, &f->batch));
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

/* Walks a row's items as the fold does and checks them against its table. */
static void check_row(const fc_batch *b, int row, int P) {
    const fc_batch_seq *s = seq_of(b, row);
    int next = 0, items = 0, last_run = -1, folds = -1;
    for (int f = 0; f < b->n_fold; f++)
        if (b->dev.fold_row[f] == row) folds = f;
    for (int i = 0; i < b->n_items; i++) {
        const fc_attn_item *it = &b->items[i];
        int at = -1;
        for (int r = 0; r < it->n_rows; r++)
            if (b->item_rows[it->row + r] == row) at = r;
        if (at < 0) continue;
        assert_int_equal(it->tile, next); /* in order, no gap, no overlap */
        next = it->tile + it->n_tiles;
        for (int p = it->tile * FC_ATTN_TILE / P; p < s->n_pages && p < next * FC_ATTN_TILE / P; p++)
            assert_int_equal(b->dev.pages[it->pages + p], s->page[p]); /* through this row's own pages */
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
    for (int r = 0; r < f.batch.T; r++) check_row(&f.batch, r, 16);
    fc_batch_reset(&f.batch);
    f.batch.share = false;
    for (int i = 0; i < 16; i++) add(&f, tables[i], 1);
    assert_ok(fc_batch_plan(&f.batch));
    assert_int_equal((int)f.batch.tiles, 16 * 16);
    for (int r = 0; r < f.batch.T; r++) check_row(&f.batch, r, 16);
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
        for (int r = 0; r < f.batch.T; r++) check_row(&f.batch, r, P);
        for (int i = 0; i < f.batch.n_items; i++)
            shared_items += f.batch.items[i].n_rows > 1 && f.batch.items[i].part >= 0;
        assert_ok(fc_kv_check(f.kv));
        close_fixture(&f);
    }
    printf("%d items were read by several rows\n", shared_items);
    assert_true(shared_items > 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shared_prompt_is_read_once),
                                       cmocka_unit_test(random_trees_are_covered)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
