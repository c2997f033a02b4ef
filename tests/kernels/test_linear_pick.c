/* Picked outputs: fc_linear's bits for every weight type, level, number of threads and workspace; the reference;
 * errors. */
#include "kernels/linear/linear_pick.h"

#include "engine/base/mem.h"
#include "kernels/cpu/cpu.h"
#include "tests/kernels/util_weight.h"
#include "tests/util.h"

static uint64_t seed = 90210;
enum { N = 501, R = 40, S_MAX = 40 };

static fc_stream stream_of(int level, int threads, int rows, int K) {
    fc_stream s = NULL;
    assert_ok(fc_cpu_stream_open((fc_cpu_level)level, threads, fc_linear_workspace_cpu(rows, K), 64, &s));
    return s;
}

typedef struct {
    fc_pick_segment segments[S_MAX];
    int32_t ids[S_MAX * N];
    int S, n_y;
} plan;

/* Rising ids, each with chance 1 / stride; shape 0: one segment of many rows; 1: a row each; 2: anything, with rows and
 * ids that several segments share and segments of nothing. */
static void make(plan *p, int shape) {
    int n = 0;
    *p = (plan){.S = shape == 0 ? 1 : shape == 1 ? R : S_MAX};
    for (int i = 0; i < p->S; i++) {
        fc_pick_segment *g = p->segments + i;
        int stride = shape == 0 ? 2 : shape == 1 ? 150 : 1 + test_below(&seed, 200);
        *g = (fc_pick_segment){.row = shape == 0   ? 3
                                      : shape == 1 ? i
                                                   : test_below(&seed, R),
                               .ids = n,
                               .y = p->n_y + 1};
        g->n_rows = shape == 0 ? R - 3 : shape == 1 ? 1 : test_below(&seed, R - g->row + 1);
        if (shape == 2 && i % 7 == 3) g->n_rows = 0;
        for (int id = test_below(&seed, stride); id < N; id += 1 + test_below(&seed, stride)) p->ids[n++] = id;
        g->n_ids = n - g->ids;
        p->n_y = g->y + g->n_rows * g->n_ids;
    }
}

static void *must(size_t n, size_t size) {
    void *p = NULL;
    assert_ok(fc_alloc(n ? n : 1, size, "test", &p));
    return p;
}

/* Every element of y is fc_linear's for its row and id; what lies between the segments is untouched. */
static void check_bits(const plan *p, const float *y, const float *all, const char *what) {
    int at = 0;
    for (int i = 0; i < p->S; i++) {
        const fc_pick_segment *g = p->segments + i;
        for (; at < g->y; at++) assert_true(y[at] == 123.0f);
        for (int r = 0; r < g->n_rows; r++)
            for (int k = 0; k < g->n_ids; k++, at++) {
                int id = p->ids[g->ids + k];
                if (memcmp(y + at, all + (g->row + r) * N + id, sizeof *y))
                    fail_msg("%s segment %d row %d id %d: %.9g, linear %.9g", what, i, g->row + r, id, (double)y[at],
                             (double)all[(g->row + r) * N + id]);
            }
    }
    assert_true(y[at] == 123.0f);
}

/* If this fails, a restricted head draws other tokens than the whole one. */
static void outputs_have_the_bits_of_linear(void **state) {
    static plan p;
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int t = 0; t < WEIGHT_TYPES; t++) {
        int block = (int)fc_dtype_block(weight_types[t]), K = block == 1 ? 37 : block == 32 ? 96 : 256;
        fc_stream pack = stream_of(FC_CPU_AUTO, 1, 1, K);
        fc_weight *w = weight_made_up(pack, weight_types[t], N, K, &seed);
        float *x = must((size_t)R * (size_t)K, sizeof *x), *all = must(R * N, sizeof *all);
        for (int i = 0; i < R * K; i++) x[i] = test_normal(&seed);
        x[7 * K + 5] = NAN; /* its row alone is NaN */
        for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
            for (int precise = 0; precise < 2; precise++) {
                fc_stream s = stream_of(l, 2, R, K);
                assert_ok(fc_linear_cpu(s, &(fc_linear_args){.y = all, .x = x, .w = w, .T = R, .precise = precise}));
                fc_cpu_stream_close(s);
                for (int shape = 0; shape < 3; shape++)
                    for (int threads = 1; threads <= 4; threads += 3) {
                        float *y;
                        make(&p, shape);
                        y = must((size_t)p.n_y + 1, sizeof *y);
                        for (int i = 0; i <= p.n_y; i++) y[i] = 123.0f;
                        s = stream_of(l, threads, shape == 2 ? 3 : R, K); /* 3: chunks that cut segments */
                        assert_ok(fc_linear_pick_cpu(s, &(fc_linear_pick_args){.y = y,
                                                                               .x = x,
                                                                               .w = w,
                                                                               .segments = p.segments,
                                                                               .ids = p.ids,
                                                                               .R = R,
                                                                               .S = p.S,
                                                                               .precise = precise}));
                        fc_cpu_stream_close(s);
                        check_bits(&p, y, all, fc_dtype_name(weight_types[t]));
                        fc_free(y);
                    }
            }
        fc_free(all);
        fc_free(x);
        fc_weight_free_cpu(w);
        fc_cpu_stream_close(pack);
    }
}

static void outputs_meet_the_reference(void **state) {
    enum { K = 256 };
    static plan p;
    static float x[R * K], row[K];
    fc_stream s = stream_of(FC_CPU_AUTO, 2, R, K);
    (void)state;
    for (int t = 0; t < WEIGHT_TYPES; t++) {
        fc_weight *w = weight_made_up(s, weight_types[t], N, K, &seed);
        float *y, *ref;
        fc_linear_pick_args a = {.x = x, .w = w, .segments = p.segments, .ids = p.ids, .R = R};
        for (int i = 0; i < R * K; i++) x[i] = test_normal(&seed);
        make(&p, 2);
        a.S = p.S = 12;
        y = must((size_t)p.n_y + 1, sizeof *y);
        ref = must((size_t)p.n_y + 1, sizeof *ref);
        a.y = y;
        assert_ok(fc_linear_pick_cpu(s, &a));
        a.y = ref;
        assert_ok(fc_linear_pick_ref(s, &a));
        for (int i = 0; i < p.S; i++) {
            const fc_pick_segment *g = p.segments + i;
            for (int e = 0; e < g->n_rows * g->n_ids; e++) {
                const float *xr = x + (g->row + e / g->n_ids) * K;
                double size = 0.0;
                fc_weight_row_cpu(w, p.ids[g->ids + e % g->n_ids], row);
                for (int k = 0; k < K; k++) size += fabs((double)row[k] * (double)xr[k]);
                assert_true(fabs((double)y[g->y + e] - (double)ref[g->y + e]) <= 1e-6 * size + 1e-30);
            }
        }
        fc_free(y);
        fc_free(ref);
        fc_weight_free_cpu(w);
    }
    fc_cpu_stream_close(s);
}

static void nothing_is_fine_and_wrong_segments_are_named(void **state) {
    enum { K = 64 };
    fc_stream s = stream_of(FC_CPU_AUTO, 2, 4, K);
    fc_weight *w = weight_made_up(s, FC_Q8_0, 20, K, &seed), *two = NULL;
    float x[3 * K] = {0}, y[64], data[K] = {0};
    int32_t ids[3] = {1, 5, 19};
    fc_pick_segment g = {.n_rows = 3, .n_ids = 3};
    fc_linear_pick_args a = {.y = y, .x = x, .w = w, .segments = &g, .ids = ids, .R = 3};
    fc_weight_part parts[2] = {{.name = "a", .data = data, .dtype = FC_F32, .N = 1, .K = K},
                               {.name = "b", .data = data, .dtype = FC_F32, .N = 1, .K = K}};
    (void)state;
    assert_ok(fc_linear_pick_cpu(s, &a));
    a.S = 1;
    assert_ok(fc_linear_pick_cpu(s, &a));
    ids[2] = 20;
    assert_fails(fc_linear_pick_cpu(s, &a), FC_ERR_ARG, "segment 0: id 20 at place 2");
    ids[2] = 5;
    assert_fails(fc_linear_pick_cpu(s, &a), FC_ERR_ARG, "segment 0: id 5 at place 2");
    ids[0] = -1;
    assert_fails(fc_linear_pick_cpu(s, &a), FC_ERR_ARG, "segment 0: id -1 at place 0");
    g.n_ids = 0;
    assert_ok(fc_linear_pick_cpu(s, &a));
    g.row = 1;
    assert_fails(fc_linear_pick_cpu(s, &a), FC_ERR_ARG, "segment 0: rows 1+3 of 3");
    g = (fc_pick_segment){.n_rows = 1, .n_ids = -1};
    assert_fails(fc_linear_pick_cpu(s, &a), FC_ERR_ARG, "segment 0: ids 0+-1");
    g.n_ids = 0;
    s->workspace_bytes = 64;
    assert_fails(fc_linear_pick_cpu(s, &a), FC_ERR_MEM, "64 are reserved");
    assert_ok(fc_weight_pack_cpu(s, parts, 2, &two));
    a.w = two;
    assert_fails(fc_linear_pick_cpu(s, &a), FC_ERR_UNSUPPORTED, "a matrix of 2 tensors");
    fc_weight_free_cpu(two);
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(s);
}

static void cost_counts_the_panels_that_are_touched(void **state) {
    enum { K = 64 };
    fc_stream s = stream_of(FC_CPU_AUTO, 1, 1, K);
    fc_weight *w = weight_made_up(s, FC_F32, 64, K, &seed);
    const int32_t ids[] = {0, 3, 15, 16, 63};
    const fc_pick_segment g = {.n_rows = 2, .n_ids = 5};
    fc_cost c = fc_linear_pick_cost(&(fc_linear_pick_args){.w = w, .segments = &g, .ids = ids, .R = 2, .S = 1});
    (void)state;
    assert_true(c.flops == 2.0 * 2 * 3 * 16 * K);
    assert_true(c.bytes == 3.0 * 16 * K * 4 + 4.0 * 2 * (K + 5));
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_have_the_bits_of_linear),
        cmocka_unit_test(outputs_meet_the_reference),
        cmocka_unit_test(nothing_is_fine_and_wrong_segments_are_named),
        cmocka_unit_test(cost_counts_the_panels_that_are_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
