/* linear_wgmma.cu under emulation: products of many rows by warpgroups meet the reference; who takes them. */
#include "kernels/linear/linear.h"
#include "tests/cuda_emu/util_matrix.h"
#ifndef FC_TESTS_GPU
#include "tests/cuda_emu/runtime_control.h"
#endif

enum { ROOM = 16 << 20, ROWS = 128 /* from here on */ };
static uint64_t seed = 20261127;

static float *normals(size_t n) {
    float *x = calloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = test_normal(&seed) * (test_below(&seed, 50) ? 1.0f : 30.0f);
    return x;
}

static float *run(fc_stream s, fc_linear_args a) {
    size_t n = (size_t)a.T * (size_t)a.w->N;
    float *y = calloc(n, 4);
    a.y = device_copy(s, NULL, n * 4);
    assert_ok(fc_linear_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, y, a.y, n * 4);
    device_free(a.y);
    return y;
}

/* y has the bits of the kernels of any number of rows. Theirs of more than 64 k are another order of sums. */
static bool as_without(const fc_linear_args *a, const float *y) {
    fc_stream own = device_stream(ROOM);
    float *all = run(own, *a);
    bool same = memcmp(y, all, (size_t)a->T * (size_t)a->w->N * 4) == 0;
    device_close(own);
    free(all);
    return same;
}

/* taken: by warpgroups, told by the bits. */
static void meets_the_reference(const fc_dtype *types, const int *outputs, int parts, int K, int T, bool precise,
                                size_t room, bool taken) {
    fc_stream s = device_stream_variant(room);
    float *x = normals((size_t)T * (size_t)K), *bias, *y;
    fc_linear_args a = {.T = T, .precise = precise};
    matrix m;
    char what[80];
    matrix_init(&m, s, types, outputs, parts, K, &seed);
    bias = T % 2 ? normals((size_t)m.N) : NULL;
    a.w = m.w;
    a.x = device_copy(s, x, (size_t)T * (size_t)K * 4);
    a.bias = bias ? device_copy(s, bias, (size_t)m.N * 4) : NULL;
    y = run(s, a);
    snprintf(what, sizeof what, "%s, %d parts, order %d", fc_dtype_name(types[0]), parts, (int)emu_opts.order);
    matrix_check(&m, y, x, bias, T, precise, MATRIX_MOST, what);
    if (as_without(&a, y) != (!taken || K <= 64)) fail_msg("%s, T=%d, K=%d: taken: %d", what, T, K, !taken);
    device_free((void *)(uintptr_t)a.x);
    if (bias) device_free((void *)(uintptr_t)a.bias);
    matrix_fini(&m);
    device_close(s);
    free(x), free(bias), free(y);
}

static void one(fc_dtype t, int N, int K, int T, bool precise) {
    meets_the_reference(&t, &N, 1, K, T, precise, ROOM, true);
}

enum { FIRST_CODE = 3 /* of matrix_types: F8 */ };

/* If this fails, prefill and scoring of quantised models on an H100 compute the wrong numbers. */
static void every_code_meets_the_reference(void **state) {
    static const int rows[] = {ROWS, ROWS + 1, 200};
    (void)state;
    device_sms = 1;
    for (int t = FIRST_CODE; t < MATRIX_TYPES; t++)
        for (int precise = 0; precise < 2; precise++) {
            emu_opts.order = (emu_order)((t + precise) % EMU_ORDERS);
            emu_opts.seed = (uint64_t)t;
            one(matrix_types[t], precise ? 37 : 96, 512, rows[(t + precise) % 3], precise);
        }
    emu_opts.order = EMU_WARPS;
    device_sms = 0;
}

/* More steps than stages, more outputs than a block, K that ends inside a step, and one step alone. */
static void rings_tiles_and_tails(void **state) {
    (void)state;
    device_sms = 1;
    each_order(one(FC_Q8_0, 20, 64 * 15 + 32, ROWS, emu_opts.order % 2));
    each_order(one(FC_Q4_1, 20, 64 * 15, ROWS, emu_opts.order % 2 == 0)); /* minimums: sums of x are read last */
    one(FC_Q4_1, 300, 96, ROWS + 3, true);
    one(FC_F8, 260, 64 * 14 + 3, ROWS + 130, true);
    one(FC_F8, 511, 61, ROWS, false);
    one(FC_Q6_K, 257, 256 * 4, ROWS + 1, false);
    one(FC_Q4_0, 16, 64, ROWS + 1, true);
    one(FC_Q4_K, 1, 256 * 5, 3 * ROWS, true);
    for (int t = FIRST_CODE; t < MATRIX_TYPES && device_full(); t++) {
        if (t % 2) one(matrix_types[t], 4500, 4096, 1000, t % 4 == 1);
        else one(matrix_types[t], 1030, 14336, 300, t % 4 == 0);
    }
    device_sms = 0;
}

static void parts_and_pieces(void **state) {
    static const fc_dtype types[][MATRIX_PARTS] = {{FC_Q4_K, FC_Q6_K, FC_Q8_0, FC_F8}, {FC_Q4_0, FC_Q4_0, FC_Q8_0}};
    static const int outputs[MATRIX_PARTS] = {32, 19, 16, 21};
    (void)state;
    device_sms = 1;
    meets_the_reference(types[0], outputs, 4, 256, ROWS + 7, true, ROOM, true);
    meets_the_reference(types[1], outputs, 3, 256, ROWS, false, ROOM, true);
    meets_the_reference(types[1], outputs, 3, 256, 3 * ROWS + 9, true, 4 * 33792 * 2 + 5000,
                        true);                                                            /* 256 rows at a time */
    meets_the_reference(types[1], outputs, 3, 256, 2 * ROWS, true, 4 * 33792 - 1, false); /* not 128 of them */
    device_sms = 0;
}

/* Who has too few rows, blocks or shared memory, other weights or another device stays with the kernels of any. */
static void others_are_not_taken(void **state) {
    static const fc_dtype types[][2] = {{FC_Q8_0, FC_Q8_0}, {FC_Q4_0, FC_F32}, {FC_Q4_0, FC_BF16}};
    static const int outputs[2] = {32, 16};
    (void)state;
    device_sms = 2;
    meets_the_reference(types[0], outputs, 2, 128, ROWS, false, ROOM, false); /* one block is not more than half */
    device_sms = 1;
    meets_the_reference(types[0], outputs, 2, 128, ROWS, false, ROOM, true);
    meets_the_reference(types[0], outputs, 2, 128, ROWS - 1, false, ROOM, false);
    meets_the_reference(types[1], outputs, 2, 128, ROWS, false, ROOM, false);
    meets_the_reference(types[2], outputs, 2, 128, ROWS, false, ROOM, false);
    device_shared = DEVICE_SMALL;
    meets_the_reference(types[0], outputs, 2, 128, ROWS, true, ROOM, false);
    device_shared = 0;
#ifndef FC_TESTS_GPU
    for (int sm = 80; sm <= 120; sm += 40) {
        emu_reset();
        emu_device_opts.sm = sm;
        meets_the_reference(types[0], outputs, 2, 128, ROWS, false, ROOM, false);
    }
    emu_reset();
    emu_device_opts.sm = 0;
#endif
    device_sms = 0;
}

/* x made by a norm or a gated unit is the operator's, and a row with a NaN or an infinity is NaN alone. */
static void made_x_and_broken_rows(void **state) {
    enum { K = 160, T = 140 };
    static const fc_dtype types[2] = {FC_Q4_1, FC_Q8_0};
    static const int outputs[2] = {33, 16};
    fc_stream s;
    float *x = normals(2 * T * K), *w = normals(K), *made = calloc(T * K, 4), *dx, *dw, *dm;
    fc_rmsnorm_args norm;
    fc_glu_args glu;
    (void)state;
    device_sms = 1;
    s = device_stream_variant(ROOM);
    x[20 * K + 5] = NAN;
    dx = device_copy(s, x, 2 * T * K * 4), dw = device_copy(s, w, K * 4), dm = device_copy(s, NULL, T * K * 4);
    norm = (fc_rmsnorm_args){.y = dm, .x = dx, .w = dw, .eps = 1e-5f, .T = T, .D = K};
    glu = (fc_glu_args){.y = dm, .x = dx, .T = T, .F = K, .act = FC_ACT_SILU};
    for (int way = 0; way < 2; way++) {
        fc_linear_args a = {.T = T, .precise = way == 0};
        matrix m;
        float *y;
        matrix_init(&m, s, types, outputs, 2, K, &seed);
        a.w = m.w;
        if (way == 0) a.norm = &norm;
        else a.glu = &glu;
        y = run(s, a);
        assert_false(as_without(&a, y));
        device_read(s, made, dm, T * K * 4);
        matrix_check(&m, y, made, NULL, T, way == 0, MATRIX_MOST, way ? "gated unit" : "norm");
        for (int r = 0, broken = way ? 10 : 20; r < T; r++) assert_int_equal(isnan(y[r * m.N]) != 0, r == broken);
        matrix_fini(&m);
        free(y);
    }
    device_free(dx), device_free(dw), device_free(dm);
    device_close(s);
    device_sms = 0;
    free(x), free(w), free(made);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_code_meets_the_reference),
                                       cmocka_unit_test(rings_tiles_and_tails), cmocka_unit_test(parts_and_pieces),
                                       cmocka_unit_test(others_are_not_taken),
                                       cmocka_unit_test(made_x_and_broken_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
