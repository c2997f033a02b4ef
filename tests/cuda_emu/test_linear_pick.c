/* linear_pick.cu under emulation: picked outputs have linear's bits; segments that are broken are told by sync. */
#include "kernels/linear/linear_pick.h"
#include "tests/cuda_emu/util_matrix.h"

static uint64_t seed = 90211;
enum { N = 117, R = 29, S_MAX = 24 };

typedef struct {
    fc_pick_segment segments[S_MAX];
    int32_t ids[S_MAX * N];
    int S, n_y, n_ids;
} plan;

/* Rising ids, each with chance 1 / stride; shape 0: one segment of many rows; 1: a row each; 2: anything, with rows and
 * ids that several segments share and segments of nothing. */
static void make(plan *p, int shape) {
    memset(p, 0, sizeof *p);
    p->S = shape == 0 ? 1 : shape == 1 ? 12 : S_MAX;
    for (int i = 0; i < p->S; i++) {
        fc_pick_segment *g = p->segments + i;
        int stride = shape == 0 ? 3 : shape == 1 ? 40 : 1 + test_below(&seed, 60);
        g->row = shape == 0 ? 3 : shape == 1 ? i : test_below(&seed, R);
        g->n_rows = shape == 0 ? R - 3 : shape == 1 ? 1 : i % 7 == 3 ? 0 : test_below(&seed, R - g->row + 1) / 2;
        g->ids = p->n_ids;
        for (int id = test_below(&seed, stride); id < N; id += 1 + test_below(&seed, stride)) p->ids[p->n_ids++] = id;
        g->n_ids = p->n_ids - g->ids;
        g->y = p->n_y + 1; /* one between them, which nobody may touch */
        p->n_y = g->y + g->n_rows * g->n_ids;
    }
}

/* Picks on s; y [n_y + 1] of the device, where it was untouched 0xff. */
static float *pick(fc_stream s, const matrix *m, const float *x, const plan *p, bool precise) {
    size_t bytes = ((size_t)p->n_y + 1) * 4;
    float *dx = device_copy(s, x, (size_t)R * (size_t)m->K * 4), *dy = device_copy(s, NULL, bytes), *y = malloc(bytes);
    fc_pick_segment *segments = device_copy(s, p->segments, sizeof p->segments);
    int32_t *ids = device_copy(s, p->ids, sizeof p->ids);
    fc_linear_pick_args a = {
        .y = dy, .x = dx, .w = m->w, .segments = segments, .ids = ids, .R = R, .S = p->S, .precise = precise};
    assert_ok(fc_linear_pick_cuda(s, &a));
    device_read(s, y, dy, bytes);
    device_free(dx), device_free(dy), device_free(segments), device_free(ids);
    return y;
}

static void untouched(const float *y) {
    static const unsigned char was[4] = {0xff, 0xff, 0xff, 0xff};
    assert_memory_equal(y, was, 4);
}

static void has_the_bits(const plan *p, const float *y, const float *all, const char *what) {
    int at = 0;
    for (int i = 0; i < p->S; i++) {
        const fc_pick_segment *g = p->segments + i;
        for (; at < g->y; at++) untouched(y + at);
        for (int r = 0; r < g->n_rows; r++)
            for (int k = 0; k < g->n_ids; k++, at++) {
                int id = p->ids[g->ids + k];
                if (memcmp(y + at, all + (g->row + r) * N + id, 4))
                    fail_msg("%s segment %d row %d id %d: %.9g, linear %.9g", what, i, g->row + r, id, (double)y[at],
                             (double)all[(g->row + r) * N + id]);
            }
    }
    untouched(y + at);
}

static void of_type(fc_dtype t) {
    static plan p;
    int block = (int)fc_dtype_block(t), K = block == 1 ? 141 : block == 32 ? 32 * 19 : 512, n = N;
    fc_stream s = device_stream(2 << 20), small = device_stream(96 << 10);
    float *x = calloc((size_t)R * (size_t)K, 4), *all = calloc(R * N, 4), *dx, *dall;
    matrix m;
    for (int i = 0; i < R * K; i++) x[i] = test_normal(&seed);
    x[7 * K + 5] = NAN; /* its row alone is NaN */
    dx = device_copy(s, x, (size_t)R * (size_t)K * 4), dall = device_copy(s, NULL, R * N * 4);
    matrix_init(&m, s, &t, &n, 1, K, &seed);
    for (int shape = 0; shape < 3; shape++) {
        bool precise = shape % 2 == (int)t % 2;
        float *y;
        assert_ok(fc_linear_cuda(s, &(fc_linear_args){.y = dall, .x = dx, .w = m.w, .T = R, .precise = precise}));
        device_read(s, all, dall, R * N * 4);
        make(&p, shape);
        y = pick(shape == 2 ? small : s, &m, x, &p, precise); /* small: x in pieces that cut segments */
        assert_ok(device_sync(s));
        assert_ok(device_sync(small));
        has_the_bits(&p, y, all, fc_dtype_name(t));
        free(y);
    }
    device_free(dx), device_free(dall);
    matrix_fini(&m);
    device_close(s), device_close(small);
    free(x), free(all);
}

/* If this fails, a restricted head draws other tokens than the whole one. */
static void outputs_have_the_bits_of_linear(void **state) {
    (void)state;
    for (int t = 0; t < MATRIX_TYPES; t++) {
        emu_opts.order = (emu_order)(t % EMU_ORDERS);
        of_type(matrix_types[t]);
    }
}

static void broken_segments_are_told(void **state) {
    static const fc_pick_segment broken[] = {{-1, 1, 0, 3, 1}, {R, 1, 0, 3, 1},  {4, R, 0, 3, 1}, {0, -1, 0, 3, 1},
                                             {0, 1, -1, 3, 1}, {0, 1, 0, 3, -1}, {0, 1, 0, -3, 1}};
    static const int32_t ids[][3] = {{3, 3, 4}, {3, 2, 20}, {3, 40, N}, {-1, 3, 4}};
    static const fc_dtype types[] = {FC_Q8_0, FC_F32}, two[] = {FC_BF16, FC_F16};
    static const int outputs[] = {N, 3};
    fc_stream s = device_stream(1 << 20), poor = device_stream(1000);
    float *x = calloc(R * 64, 4);
    matrix m;
    (void)state;
    for (int t = 0; t < 2; t++) {
        matrix_init(&m, s, &types[t], outputs, 1, 64, &seed);
        for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
            plan p = {.segments = {{0, 1, 0, 3, 5}, broken[i]}, .ids = {1, 2, 3}, .S = 2, .n_y = 20};
            float *y = pick(s, &m, x, &p, false);
            assert_fails(device_sync(s), FC_ERR_ARG, "linear_pick: segment 1: its rows");
            assert_true(y[5] == 0.0f);
            for (int k = 0; k <= 20; k++)
                if (k < 5 || k > 7) untouched(y + k);
            free(y);
        }
        for (int i = 0; i < 4; i++) {
            plan p = {.segments = {{0, 2, 0, 3, 0}}, .S = 1, .n_y = 6};
            memcpy(p.ids, ids[i], sizeof ids[i]);
            free(pick(s, &m, x, &p, true));
            assert_fails(device_sync(s), FC_ERR_ARG, "linear_pick: segment 0: its ids");
        }
        matrix_fini(&m);
    }
    matrix_init(&m, s, two, outputs, 2, 64, &seed);
    assert_fails(fc_linear_pick_cuda(s, &(fc_linear_pick_args){.w = m.w, .R = 1, .S = 1}), FC_ERR_UNSUPPORTED,
                 "linear_pick: a matrix of 2 tensors");
    matrix_fini(&m);
    matrix_init(&m, s, two, outputs, 1, 64, &seed);
    assert_fails(fc_linear_pick_cuda(s, &(fc_linear_pick_args){.w = m.w, .R = -1}), FC_ERR_ARG, "R=-1");
    assert_fails(fc_linear_pick_cuda(poor, &(fc_linear_pick_args){.w = m.w, .R = 3, .S = 1}), FC_ERR_MEM,
                 "linear_pick: 1088 bytes of workspace; 1000 are reserved");
    assert_ok(fc_linear_pick_cuda(s, &(fc_linear_pick_args){.w = m.w, .R = 3, .S = 0}));
    matrix_fini(&m);
    device_close(s), device_close(poor);
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(outputs_have_the_bits_of_linear),
                                       cmocka_unit_test(broken_segments_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
