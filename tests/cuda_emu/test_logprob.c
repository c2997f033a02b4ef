/* logprob.cu under emulation: the CPU's bits for any shape, ties, masked ids, pieces of rows; refused rows by name. */
#include "kernels/cpu/cpu.h"
#include "kernels/logprob/logprob.h"
#include "tests/cuda_emu/util_cuda.h"
#include "tests/cuda_emu/util_same.h"

enum { ROWS = 5, MEMBERS = 40 };

static fc_stream cpu_stream(int V) {
    fc_stream s;
    size_t scratch = 20000 + (size_t)V * 16;
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, scratch, &s));
    return s;
}

/* Rows of normal numbers; row 1 has ties everywhere, row 2 a stretch of -inf, row 3 one finite id. */
static float *make_logits(int V, uint64_t *seed) {
    float *x = malloc((size_t)ROWS * (size_t)V * sizeof *x);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < V; i++) {
            float *at = x + (size_t)r * (size_t)V + (size_t)i;
            *at = test_normal(seed) * 4.0f;
            if (r == 1) *at = (float)(test_below(seed, 5) - 2) * 0.5f;
            if (r == 2 && V > 4 && i > V / 4 && i < V / 2) *at = -INFINITY;
            if (r == 3 && i != V / 3) *at = -INFINITY;
        }
    return x;
}

/* ---- logprob */

static void logprob_has_the_cpus_bits(int V, size_t pieces, uint64_t seed) {
    uint64_t used = seed;
    float *x = make_logits(V, &used), want[MEMBERS], ref[MEMBERS], got[MEMBERS];
    int32_t row[MEMBERS], id[MEMBERS];
    fc_stream s = device_stream(fc_logprob_workspace_cuda(ROWS, V) / pieces), c = cpu_stream(V);
    fc_logprob_args a = {.lp = want, .logits = x, .row = row, .id = id, .R = ROWS, .V = V, .M = MEMBERS}, d = a;
    for (int m = 0, r = 0; m < MEMBERS; m++) {
        r += m % 7 == 6 && r < ROWS - 1; /* 0 .. 4, not one row left out */
        row[m] = r == 2 ? 3 : r;         /* but the third */
        id[m] = m == 0 ? 0 : m == 1 ? V - 1 : test_below(&used, V);
    }
    assert_ok(fc_logprob_cpu(c, &a));
    a.lp = ref;
    assert_ok(fc_logprob_ref(NULL, &a));
    d.lp = device_copy(s, NULL, sizeof got);
    d.logits = device_copy(s, x, (size_t)ROWS * (size_t)V * 4);
    d.row = device_copy(s, row, sizeof row);
    d.id = device_copy(s, id, sizeof id);
    assert_ok(fc_logprob_cuda(s, &d));
    assert_ok(device_sync(s));
    device_read(s, got, d.lp, sizeof got);
    for (int m = 0; m < MEMBERS; m++) {
        if (!same_float(got[m], want[m]))
            fail_msg("V %d seed %llu: lp[%d] = %.9g, the CPU has %.9g", V, (unsigned long long)seed, m, (double)got[m],
                     (double)want[m]);
        if (isfinite(ref[m])) assert_true(fabs((double)got[m] - (double)ref[m]) <= 2e-6 + 2e-6 * fabs((double)ref[m]));
    }
    device_free(d.lp);
    device_free((void *)(uintptr_t)d.logits);
    device_free((void *)(uintptr_t)d.row);
    device_free((void *)(uintptr_t)d.id);
    device_close(s);
    fc_cpu_stream_close(c);
    free(x);
}

static void every_shape_of_logprob(void **state) {
    static const int vocabs[] = {1, 7, 255, 256, 257, 1000, 5003};
    (void)state;
    for (int k = 0; k < 7; k++) each_order(logprob_has_the_cpus_bits(vocabs[k], k % 2 ? 2 : 1, 11 + (uint64_t)k));
    logprob_has_the_cpus_bits(70001, 3, 5);
    for (int k = 0; k < 4 && device_full(); k++)
        logprob_has_the_cpus_bits(k % 2 ? 128256 : 262144, 1, 50 + (uint64_t)k);
}

/* ---- top_logprobs */

static void top_has_the_cpus_bits(int V, int n, size_t pieces, uint64_t seed) {
    static const int32_t rows[] = {3, 0, 1, 2, 1};
    uint64_t used = seed;
    size_t out = (size_t)ROWS * (size_t)n;
    float *x = make_logits(V, &used), *want = malloc(out * 4), *got = malloc(out * 4), *ref = malloc(out * 4);
    int32_t *ids = malloc(out * 4), *got_ids = malloc(out * 4), *ref_ids = malloc(out * 4);
    fc_stream s = device_stream(fc_top_logprobs_workspace_cuda(ROWS, V) / pieces), c = cpu_stream(V);
    fc_top_logprobs_args a = {.ids = ids, .lp = want, .logits = x, .rows = rows, .R = ROWS, .V = V, .n = n}, d = a;
    assert_ok(fc_top_logprobs_cpu(c, &a));
    a.ids = ref_ids;
    a.lp = ref;
    assert_ok(fc_top_logprobs_ref(NULL, &a));
    d.ids = device_copy(s, NULL, out * 4);
    d.lp = device_copy(s, NULL, out * 4);
    d.logits = device_copy(s, x, (size_t)ROWS * (size_t)V * 4);
    d.rows = device_copy(s, rows, sizeof rows);
    assert_ok(fc_top_logprobs_cuda(s, &d));
    assert_ok(device_sync(s));
    device_read(s, got_ids, d.ids, out * 4);
    device_read(s, got, d.lp, out * 4);
    for (size_t i = 0; i < out; i++) {
        if (got_ids[i] != ids[i] || !same_float(got[i], want[i]))
            fail_msg("V %d n %d seed %llu: place %zu has id %d, %.9g; the CPU has id %d, %.9g", V, n,
                     (unsigned long long)seed, i, got_ids[i], (double)got[i], ids[i], (double)want[i]);
        assert_int_equal(got_ids[i], ref_ids[i]);
        if (isfinite(ref[i])) assert_true(fabs((double)got[i] - (double)ref[i]) <= 2e-6 + 2e-6 * fabs((double)ref[i]));
    }
    device_free(d.ids);
    device_free(d.lp);
    device_free((void *)(uintptr_t)d.logits);
    device_free((void *)(uintptr_t)d.rows);
    device_close(s);
    fc_cpu_stream_close(c);
    free(x), free(want), free(got), free(ref), free(ids), free(got_ids), free(ref_ids);
}

static void every_shape_of_top_logprobs(void **state) {
    static const struct {
        int V, n;
    } shapes[] = {{1, 1}, {7, 7}, {128, 128}, {255, 3}, {300, 128}, {1000, 1}, {5003, 20}, {12000, 128}};
    (void)state;
    for (int k = 0; k < 8; k++)
        each_order(top_has_the_cpus_bits(shapes[k].V, shapes[k].n, k % 3 == 2 ? 2 : 1, 31 + (uint64_t)k));
    top_has_the_cpus_bits(70001, 128, 1, 3);
    for (int k = 0; k < 4 && device_full(); k++)
        top_has_the_cpus_bits(k % 2 ? 128256 : 262144, 20, 1, 50 + (uint64_t)k);
}

/* ---- what is refused */

static void broken_rows_say_so_and_wrong_ones_are_named(void **state) {
    enum { V = 600 };
    static const int32_t row[] = {0, 1, 2, 4}, id[] = {5, 6, 7, 8}, far[] = {-1, 6, V, 8}, back[] = {0, 2, 1, 4};
    uint64_t seed = 9;
    float *x = make_logits(V, &seed), lp[4];
    fc_stream s = device_stream(fc_top_logprobs_workspace_cuda(ROWS, V));
    fc_logprob_args a = {.lp = device_copy(s, NULL, 16),
                         .row = device_copy(s, row, 16),
                         .id = device_copy(s, id, 16),
                         .R = ROWS,
                         .V = V,
                         .M = 4};
    fc_top_logprobs_args t = {.ids = device_copy(s, NULL, 16), .lp = a.lp, .rows = a.row, .R = 4, .V = V, .n = 1};
    static const struct {
        int row, at;
        float value;
    } cases[] = {{1, 3, NAN},
                 {2, V - 1, INFINITY},
                 {3, 0, NAN}, /* nobody asks for that row */
                 {4, -1, -INFINITY}};
    int32_t ids[4];
    (void)state;
    for (int k = 0; k < 4; k++) {
        float *y = malloc((size_t)ROWS * V * 4);
        memcpy(y, x, (size_t)ROWS * V * 4);
        for (int i = 0; i < V; i++)
            if (cases[k].at < 0 || i == cases[k].at) y[cases[k].row * V + i] = cases[k].value;
        a.logits = t.logits = device_copy(s, y, (size_t)ROWS * V * 4);
        assert_ok(fc_logprob_cuda(s, &a));
        assert_ok(device_sync(s));
        device_read(s, lp, a.lp, 16);
        for (int m = 0; m < 4; m++) assert_true(row[m] == cases[k].row ? isnan(lp[m]) : lp[m] < 0.0f);
        assert_ok(fc_top_logprobs_cuda(s, &t));
        assert_ok(device_sync(s));
        device_read(s, lp, t.lp, 16);
        device_read(s, ids, t.ids, 16);
        for (int m = 0; m < 4; m++) {
            assert_true(row[m] == cases[k].row ? isnan(lp[m]) : lp[m] < 0.0f);
            assert_int_equal(ids[m] == -1, row[m] == cases[k].row);
        }
        device_free((void *)(uintptr_t)a.logits);
        free(y);
    }
    a.logits = t.logits = device_copy(s, x, (size_t)ROWS * V * 4);
    device_free((void *)(uintptr_t)a.id);
    a.id = device_copy(s, far, 16);
    assert_ok(fc_logprob_cuda(s, &a));
    assert_fails(device_sync(s), FC_ERR_ARG, "logprob: row 2: an id is outside");
    device_read(s, lp, a.lp, 16);
    assert_true(isnan(lp[0]) && lp[1] < 0.0f); /* an id below 0, as a draw leaves it, is no mistake */
    device_free((void *)(uintptr_t)a.row);
    a.row = device_copy(s, back, 16);
    assert_ok(fc_logprob_cuda(s, &a));
    assert_fails(device_sync(s), FC_ERR_ARG, "rows must not decrease");
    assert_fails(fc_logprob_cuda(s, &(fc_logprob_args){.R = 0, .V = 4}), FC_ERR_ARG, "R=0");
    assert_fails(fc_top_logprobs_cuda(s, &(fc_top_logprobs_args){.R = 1, .V = 4, .n = 5}), FC_ERR_ARG, "n=5");
    a.V = t.V = 1 << 24;
    assert_fails(fc_logprob_cuda(s, &a), FC_ERR_MEM, "workspace");
    assert_fails(fc_top_logprobs_cuda(s, &t), FC_ERR_MEM, "workspace");
    device_free((void *)(uintptr_t)a.logits);
    device_free((void *)(uintptr_t)a.id);
    device_free((void *)(uintptr_t)a.row);
    device_free(t.ids);
    device_free(a.lp);
    device_close(s);
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_shape_of_logprob),
                                       cmocka_unit_test(every_shape_of_top_logprobs),
                                       cmocka_unit_test(broken_rows_say_so_and_wrong_ones_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
