/* Log-probs of lists: the reference, logprob's bits for the masked row, the number that draw reports; cutting lists
 * out. */
#include "kernels/cpu/cpu.h"
#include "kernels/draw/draw.h"
#include "kernels/logprob/list.h"
#include "kernels/logprob/list_logprob.h"
#include "kernels/logprob/logprob.h"
#include "tests/util.h"

static uint64_t seed = 6021;
enum { ROWS = 9, V_MAX = 20000 };

static fc_stream open_stream(int level, int threads, int V) {
    fc_stream s;
    assert_ok(fc_cpu_stream_open((fc_cpu_level)level, threads, 0, fc_draw_workspace_cpu(V), &s));
    return s;
}

/* Whole rows with -inf outside the lists, and the lists; values lie in the reverse order of rows, with gaps. */
typedef struct {
    int V, n;
    fc_list_row rows[ROWS];
    int32_t *ids;
    float *x, *masked, *value; /* [ROWS,V] all logits, the same masked, the lists */
} batch;

static void make(batch *b, int V, int stride) {
    size_t n = (size_t)ROWS * (size_t)V;
    int at = (int)n + ROWS;
    *b = (batch){.V = V, .ids = malloc(n * sizeof *b->ids), .x = malloc(n * sizeof *b->x)};
    b->masked = malloc(n * sizeof *b->x);
    b->value = malloc((n + ROWS) * sizeof *b->x);
    for (int r = 0; r < ROWS; r++) {
        fc_list_row *l = b->rows + r;
        *l = (fc_list_row){.row = r, .ids = b->n};
        for (int i = 0; i < V; i++) {
            float *x = b->x + r * V + i;
            *x = test_below(&seed, 9) ? test_normal(&seed) * 4.0f + (float)(i / 256 % 3) * 30.0f : -INFINITY;
            b->masked[r * V + i] = -INFINITY;
            if (test_below(&seed, stride) && !(i == V - 1 && l->n_ids == 0)) continue;
            if (l->n_ids == 0) *x = 1.0f;
            b->masked[r * V + i] = *x;
            b->ids[b->n++] = i;
            l->n_ids++;
        }
        l->values = at -= l->n_ids + 1;
    }
}

static void drop(batch *b) {
    free(b->ids);
    free(b->x);
    free(b->masked);
    free(b->value);
}

/* If this fails, log-probs under the mask depend on whether the head was restricted. */
static void a_list_has_the_bits_of_the_masked_row(void **state) {
    static const int vocabs[] = {1, 2, 255, 257, 3000, V_MAX}, strides[] = {1, 4, 100, 3000};
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int k = 0; k < 24; k++) {
        int V = vocabs[k / 4];
        batch b;
        size_t n = (size_t)ROWS * (size_t)V + ROWS;
        float *lp = malloc(n * sizeof *lp), *want = malloc(n * sizeof *lp), *ref = malloc(n * sizeof *lp);
        int32_t *row = malloc(n * sizeof *row);
        double lse[ROWS], ref_lse[ROWS];
        fc_list_logprob_args a;
        fc_logprob_args whole;
        make(&b, V, strides[k % 4]);
        a = (fc_list_logprob_args){
            .lp = ref, .lse = ref_lse, .value = b.value, .ids = b.ids, .rows = b.rows, .n_rows = ROWS, .V = V};
        whole = (fc_logprob_args){.lp = want, .logits = b.masked, .row = row, .id = b.ids, .R = ROWS, .V = V, .M = b.n};
        for (int r = 0, i = 0; r < ROWS; r++)
            for (int j = 0; j < b.rows[r].n_ids; j++) row[i++] = r;
        for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
            for (int threads = 1; threads <= 4; threads += 3) {
                fc_stream s = open_stream(l, threads, V);
                memset(b.value, 0x7f, n * sizeof *b.value);
                assert_ok(fc_list_gather_cpu(s, &(fc_list_gather_args){.value = b.value,
                                                                       .logits = b.x,
                                                                       .ids = b.ids,
                                                                       .rows = b.rows,
                                                                       .n_rows = ROWS,
                                                                       .R = ROWS,
                                                                       .V = V}));
                a.lp = ref;
                a.lse = ref_lse;
                assert_ok(fc_list_logprob_ref(NULL, &a));
                a.lp = lp;
                a.lse = lse;
                assert_ok(fc_list_logprob_cpu(s, &a));
                assert_ok(fc_logprob_cpu(s, &whole));
                for (int r = 0, i = 0; r < ROWS; r++) {
                    assert_true(fabs(lse[r] - ref_lse[r]) <= 2e-6);
                    for (int j = 0; j < b.rows[r].n_ids; j++, i++) {
                        int at = b.rows[r].values + j;
                        if (memcmp(lp + at, want + i, sizeof *lp))
                            fail_msg("case %d V=%d level %d row %d id %d: list %.9g, masked row %.9g", k, V, l, r,
                                     b.ids[i], (double)lp[at], (double)want[i]);
                        assert_true(lp[at] == ref[at] ||
                                    fabs((double)lp[at] - (double)ref[at]) <= 2e-6 + 2e-6 * fabs((double)ref[at]));
                    }
                }
                a.lp = b.value; /* in place */
                a.lse = NULL;
                assert_ok(fc_list_logprob_cpu(s, &a));
                for (int r = 0; r < ROWS; r++)
                    assert_memory_equal(b.value + b.rows[r].values, lp + b.rows[r].values,
                                        (size_t)b.rows[r].n_ids * sizeof *lp);
                fc_cpu_stream_close(s);
            }
        free(lp);
        free(want);
        free(ref);
        free(row);
        drop(&b);
    }
}

/* The list's tiles are the row's, each with the same top and sum, at any temperature. */
static void a_list_s_tiles_are_the_row_s(void **state) {
    enum { V = 5000, TILES = 20 };
    static const float scales[] = {1.0f, 0.3f, 2e38f};
    batch b;
    (void)state;
    make(&b, V, 60);
    for (int r = 0; r < ROWS; r++)
        for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
            for (int k = 0; k < 3; k++) {
                const fc_tile_ops *ops = fc_tile_ops_of((fc_cpu_level)l);
                float value[V], top[TILES], sum[TILES], row_top[TILES], row_sum[TILES];
                int32_t tile[TILES];
                int n, n_ids = b.rows[r].n_ids, next = 0;
                if (r == 0 && n_ids > 1) /* a tile that is touched and weighs nothing */
                    for (int i = 0; i < 256; i++) b.masked[i] = -INFINITY;
                for (int i = 0; i < n_ids; i++) value[i] = b.masked[r * V + b.ids[b.rows[r].ids + i]];
                n = fc_list_tiles(ops, &(fc_id_list){b.ids + b.rows[r].ids, value, n_ids}, scales[k], tile, top, sum);
                ops->max(b.masked + r * V, V, 0, TILES, row_top);
                ops->sum(b.masked + r * V, V, 0, TILES, scales[k], row_top, row_sum);
                for (int t = 0; t < TILES; t++) {
                    if (next < n && tile[next] == t) {
                        assert_true(top[next] == row_top[t] && sum[next] == row_sum[t]);
                        next++;
                    } else {
                        assert_true(row_top[t] == -INFINITY && row_sum[t] == 0.0f);
                    }
                }
                assert_int_equal(next, n);
            }
    drop(&b);
}

/* If this fails, a candidate's log-prob is not the one that it was drawn with. */
static void a_drawn_id_has_the_list_s_logprob(void **state) {
    enum { N = 60 };
    batch b;
    float lp[ROWS * 1000 + ROWS], drawn[N];
    int32_t token[N];
    fc_draw_member m[N];
    fc_stream s = open_stream(FC_CPU_AUTO, 2, 1000);
    (void)state;
    make(&b, 1000, 20);
    assert_ok(fc_list_gather_ref(
        s, &(fc_list_gather_args){
               .value = b.value, .logits = b.x, .ids = b.ids, .rows = b.rows, .n_rows = ROWS, .R = ROWS, .V = 1000}));
    assert_ok(fc_list_logprob_cpu(
        s,
        &(fc_list_logprob_args){.lp = lp, .value = b.value, .ids = b.ids, .rows = b.rows, .n_rows = ROWS, .V = 1000}));
    for (uint32_t i = 0; i < N; i++) m[i] = (fc_draw_member){.seed = 3, .candidate = i};
    for (int r = 0; r < ROWS; r++) {
        const fc_list_row *l = b.rows + r;
        fc_draw_row d = {.n_members = N,
                         .temperature = 2,
                         .top_p = 0.99f,
                         .typical_p = 1,
                         .repetition = 1,
                         .n_ids = l->n_ids,
                         .ids = l->ids,
                         .values = l->values};
        assert_ok(fc_draw_cpu(s, &(fc_draw_args){.token = token,
                                                 .logprob = drawn,
                                                 .rows = &d,
                                                 .members = m,
                                                 .list_id = b.ids,
                                                 .list_value = b.value,
                                                 .V = 1000,
                                                 .n_rows = 1,
                                                 .M = N}));
        for (int i = 0; i < N; i++) {
            int at = fc_list_find(b.ids + l->ids, l->n_ids, token[i]);
            assert_true(at >= 0 && drawn[i] == lp[l->values + at]);
        }
    }
    fc_cpu_stream_close(s);
    drop(&b);
}

/* Several lists of one row, in any order. */
static void lists_are_cut_out_of_any_row(void **state) {
    batch b;
    fc_stream s = open_stream(FC_CPU_AUTO, 2, 700);
    fc_list_gather_args a = {.n_rows = ROWS, .R = ROWS, .V = 700};
    float *want;
    (void)state;
    make(&b, 700, 5);
    want = malloc((ROWS * 700 + ROWS) * sizeof *want);
    memset(want, 0, (ROWS * 700 + ROWS) * sizeof *want);
    memset(b.value, 0, (ROWS * 700 + ROWS) * sizeof *want);
    for (int r = 0; r < ROWS; r++) b.rows[r].row = (ROWS - 1 - r) / 2;
    a.logits = b.x;
    a.ids = b.ids;
    a.rows = b.rows;
    a.value = want;
    assert_ok(fc_list_gather_ref(s, &a));
    a.value = b.value;
    assert_ok(fc_list_gather_cpu(s, &a));
    assert_memory_equal(b.value, want, (ROWS * 700 + ROWS) * sizeof *want);
    assert_true(b.value[b.rows[2].values] == b.x[3 * 700 + b.ids[b.rows[2].ids]]);
    free(want);
    drop(&b);
    fc_cpu_stream_close(s);
}

static void broken_lists_say_so_and_wrong_ones_are_named(void **state) {
    float value[6] = {0, 1, 2, 3, 4, 5}, logits[20] = {0}, lp[6];
    double lse[2];
    int32_t ids[6] = {0, 4, 9, 1, 2, 3};
    fc_list_row rows[2] = {{.row = 40, .n_ids = 3}, {.row = 41, .ids = 3, .values = 3, .n_ids = 3}};
    fc_list_logprob_args a = {.lp = lp, .lse = lse, .value = value, .ids = ids, .rows = rows, .n_rows = 2, .V = 10};
    fc_list_gather_args g = {.value = lp, .logits = logits, .ids = ids, .rows = rows, .n_rows = 2, .R = 2, .V = 10};
    fc_stream s = open_stream(FC_CPU_AUTO, 2, 10);
    (void)state;
    assert_ok(fc_list_logprob_cpu(s, &a));
    assert_fails(fc_list_gather_cpu(s, &g), FC_ERR_ARG, "row 40 of 2");
    value[5] = NAN;
    for (int broken = 1; broken <= 3; broken++) { /* the second row, then the first in two ways too */
        if (broken == 2) value[1] = INFINITY;
        if (broken == 3) value[0] = value[1] = value[2] = -INFINITY;
        for (int ref = 0; ref < 2; ref++) {
            memset(lp, 0, sizeof lp);
            assert_ok((ref ? fc_list_logprob_ref : fc_list_logprob_cpu)(s, &a));
            for (int i = 0; i < 6; i++) assert_true((i < 3 && broken == 1 ? lp[i] < 0 : isnan(lp[i])) != 0);
            for (int r = 0; r < 2; r++) assert_true((r == 0 && broken == 1 ? isfinite(lse[r]) : isnan(lse[r])) != 0);
        }
    }
    ids[4] = 10;
    assert_fails(fc_list_logprob_cpu(s, &a), FC_ERR_ARG, "row 41: listed id 10 at place 1");
    assert_fails(fc_list_gather_cpu(s, &g), FC_ERR_ARG, "row 41: listed id 10 at place 1");
    ids[4] = 1;
    assert_fails(fc_list_logprob_cpu(s, &a), FC_ERR_ARG, "row 41: listed id 1 at place 1");
    rows[0].n_ids = 0;
    assert_fails(fc_list_logprob_cpu(s, &a), FC_ERR_ARG, "row 40: ids 0+0");
    a.V = 0;
    assert_fails(fc_list_logprob_cpu(s, &a), FC_ERR_ARG, "V=0");
    fc_cpu_stream_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_has_the_bits_of_the_masked_row),
        cmocka_unit_test(a_list_s_tiles_are_the_row_s),
        cmocka_unit_test(a_drawn_id_has_the_list_s_logprob),
        cmocka_unit_test(lists_are_cut_out_of_any_row),
        cmocka_unit_test(broken_lists_say_so_and_wrong_ones_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
