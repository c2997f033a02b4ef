/* list_logprob.cu under emulation: the CPU's bits for lists of any length and place, lp over value, pieces; lists that
 * are none. */
#include "kernels/cpu/cpu.h"
#include "kernels/logprob/list_logprob.h"
#include "tests/cuda_emu/util_cuda.h"
#include "tests/cuda_emu/util_same.h"

enum { ROWS = 6 };

/* Lists of about one id in `stride`; values lie in the reverse order of rows, with gaps, in an array of n. */
typedef struct {
    int V, n_ids, n;
    fc_list_row rows[ROWS];
    int32_t *ids;
    float *x, *value; /* logits [ROWS,V] */
} lists;

static void make(lists *b, int V, int stride, uint64_t *s) {
    int at;
    memset(b, 0, sizeof *b);
    b->V = V;
    b->n = at = ROWS * V + ROWS;
    b->ids = malloc((size_t)b->n * 4);
    b->x = malloc((size_t)b->n * 4);
    b->value = calloc((size_t)b->n, 4);
    for (int r = 0; r < ROWS; r++) {
        fc_list_row *l = b->rows + r;
        *l = (fc_list_row){.row = ROWS - 1 - r, .ids = b->n_ids};
        for (int i = 0; i < V; i++) {
            float *x = b->x + l->row * V + i;
            *x = test_below(s, 9) || i == V - 1 ? test_normal(s) * 4.0f + (float)(i / 256 % 3) * 30.0f : -INFINITY;
            if (test_below(s, stride) && i != V - 1) continue;
            b->ids[b->n_ids++] = i;
            l->n_ids++;
        }
        l->values = at -= l->n_ids + 1;
    }
}

static void drop(lists *b) { free(b->ids), free(b->x), free(b->value); }

static void has_the_cpus_bits(int V, int stride, int pieces, uint64_t seed) {
    uint64_t used = seed;
    lists b;
    double lse[ROWS], got_lse[ROWS], ref_lse[ROWS];
    fc_stream s = device_stream(fc_list_logprob_workspace_cuda(ROWS, V) / (size_t)pieces), c;
    fc_list_gather_args g = {.n_rows = ROWS, .R = ROWS, .V = V}, dg;
    fc_list_logprob_args a = {.lse = lse, .n_rows = ROWS, .V = V}, d;
    float *lp, *got, *ref;
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, 20000 + (size_t)V * 16, &c));
    make(&b, V, stride, &used);
    lp = calloc((size_t)b.n, 4), got = calloc((size_t)b.n, 4), ref = calloc((size_t)b.n, 4);
    g.value = b.value, g.logits = b.x, g.ids = b.ids, g.rows = b.rows;
    assert_ok(fc_list_gather_ref(NULL, &g));
    a.lp = lp, a.value = b.value, a.ids = b.ids, a.rows = b.rows;
    assert_ok(fc_list_logprob_cpu(c, &a));
    d = a;
    a.lp = ref, a.lse = ref_lse;
    assert_ok(fc_list_logprob_ref(NULL, &a));
    dg = g;
    memset(got, 0, (size_t)b.n * 4);
    dg.value = device_copy(s, got, (size_t)b.n * 4);
    dg.logits = device_copy(s, b.x, (size_t)ROWS * (size_t)V * 4);
    dg.ids = d.ids = device_copy(s, b.ids, (size_t)b.n_ids * 4);
    dg.rows = d.rows = device_copy(s, b.rows, sizeof b.rows);
    d.value = d.lp = dg.value; /* in place */
    d.lse = device_copy(s, NULL, sizeof lse);
    assert_ok(fc_list_gather_cuda(s, &dg));
    assert_ok(device_sync(s));
    device_read(s, got, dg.value, (size_t)b.n * 4);
    assert_memory_equal(got, b.value, (size_t)b.n * 4); /* and the gaps are left alone */
    assert_ok(fc_list_logprob_cuda(s, &d));
    assert_ok(device_sync(s));
    device_read(s, got, d.lp, (size_t)b.n * 4);
    device_read(s, got_lse, d.lse, sizeof lse);
    for (int i = 0; i < b.n; i++) {
        if (!same_float(got[i], lp[i]))
            fail_msg("V %d stride %d seed %llu: lp[%d] = %.9g, the CPU has %.9g", V, stride, (unsigned long long)seed,
                     i, (double)got[i], (double)lp[i]);
        if (isfinite(ref[i])) assert_true(fabs((double)got[i] - (double)ref[i]) <= 2e-6 + 2e-6 * fabs((double)ref[i]));
    }
    for (int r = 0; r < ROWS; r++) assert_true(same_double(got_lse[r], lse[r]));
    for (int r = 0; r < ROWS; r++) assert_true(fabs(got_lse[r] - ref_lse[r]) <= 2e-6 + 2e-6 * fabs(ref_lse[r]));
    device_free(dg.value);
    device_free((void *)(uintptr_t)dg.logits);
    device_free((void *)(uintptr_t)dg.ids);
    device_free((void *)(uintptr_t)dg.rows);
    device_free(d.lse);
    device_close(s);
    fc_cpu_stream_close(c);
    free(lp), free(got), free(ref);
    drop(&b);
}

static void lists_have_the_cpus_bits(void **state) {
    static const int vocabs[] = {1, 2, 255, 257, 3000, 7001}, strides[] = {1, 4, 100, 3000};
    (void)state;
    for (int k = 0; k < 24; k++) {
        emu_opts = (emu_options){.order = (emu_order)(k % EMU_ORDERS), .seed = (uint64_t)k};
        has_the_cpus_bits(vocabs[k / 4], strides[k % 4], 1 + k % 3, 100 + (uint64_t)k);
    }
    each_order(has_the_cpus_bits(2000, 3, 1, 9));
    emu_opts = (emu_options){.order = EMU_FORWARD};
    has_the_cpus_bits(70001, 5, 1, 4);
}

/* One row is broken: its number, and the sums of the others. */
static void refused(const lists *b, const fc_list_row *rows, const int32_t *ids, const float *value, const char *words,
                    const char *gather_words) {
    double lse[2];
    float *zero = calloc((size_t)b->n, 4);
    fc_stream s = device_stream(fc_list_logprob_workspace_cuda(2, b->V));
    fc_list_logprob_args a = {.lse = device_copy(s, NULL, sizeof lse),
                              .value = device_copy(s, value, (size_t)b->n * 4),
                              .ids = device_copy(s, ids, (size_t)b->n_ids * 4),
                              .rows = device_copy(s, rows, 2 * sizeof *rows),
                              .n_rows = 2,
                              .V = b->V};
    fc_list_gather_args g = {.value = device_copy(s, zero, (size_t)b->n * 4),
                             .logits = device_copy(s, b->x, (size_t)(ROWS * b->V) * 4),
                             .ids = a.ids,
                             .rows = a.rows,
                             .n_rows = 2,
                             .R = ROWS,
                             .V = b->V};
    if (words) {
        assert_ok(fc_list_logprob_cuda(s, &a));
        if (*words) assert_fails(device_sync(s), FC_ERR_ARG, words);
        else assert_ok(device_sync(s));
        device_read(s, lse, a.lse, sizeof lse);
        assert_true(isfinite(lse[0]));
        assert_true(isnan(lse[1])); /* as it was, or broken */
    }
    if (gather_words) {
        assert_ok(fc_list_gather_cuda(s, &g));
        assert_fails(device_sync(s), FC_ERR_ARG, gather_words);
    }
    device_free(a.lse);
    device_free((void *)(uintptr_t)a.value);
    device_free((void *)(uintptr_t)a.ids);
    device_free((void *)(uintptr_t)a.rows);
    device_free(g.value);
    device_free((void *)(uintptr_t)g.logits);
    device_close(s);
    free(zero);
}

static void broken_lists_say_so_and_wrong_ones_are_named(void **state) {
    uint64_t seed = 3;
    lists b;
    fc_list_row rows[2];
    fc_stream s;
    (void)state;
    make(&b, 900, 2, &seed);
    memcpy(rows, b.rows, sizeof rows);
    for (int k = 0; k < 3; k++) {
        static const float bad[] = {NAN, INFINITY, -INFINITY};
        float *value = calloc((size_t)b.n, 4);
        for (int i = 0; i < rows[1].n_ids; i++)
            if (k == 2 || i == 100) value[rows[1].values + i] = bad[k];
        refused(&b, rows, b.ids, value, "", NULL);
        free(value);
    }
    for (int k = 0; k < 3; k++) {
        int32_t *ids = malloc((size_t)b.n_ids * 4), *at;
        memcpy(ids, b.ids, (size_t)b.n_ids * 4);
        at = ids + rows[1].ids;
        if (k == 0) at[0] = -1;
        if (k == 1) at[7] = at[6];
        if (k == 2) at[rows[1].n_ids - 1] = 900;
        refused(&b, rows, ids, b.value, "list_logprob: row 4: its list", "list_gather: row 4: its list");
        free(ids);
    }
    rows[1].row = ROWS;
    refused(&b, rows, b.ids, b.value, NULL, "list_gather: row 6 is out of range");
    rows[1].row = 4;
    rows[1].n_ids = 0;
    refused(&b, rows, b.ids, b.value, "list_logprob: row 4: its list is empty",
            "list_gather: row 4: its list is empty");
    drop(&b);
    s = device_stream(0);
    assert_fails(fc_list_logprob_cuda(s, &(fc_list_logprob_args){.n_rows = 1}), FC_ERR_ARG, "V=0");
    assert_fails(fc_list_gather_cuda(s, &(fc_list_gather_args){.n_rows = -1, .V = 1}), FC_ERR_ARG, "-1 rows");
    assert_fails(fc_list_logprob_cuda(s, &(fc_list_logprob_args){.n_rows = 1, .V = 1}), FC_ERR_MEM, "list_logprob");
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lists_have_the_cpus_bits),
                                       cmocka_unit_test(broken_lists_say_so_and_wrong_ones_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
