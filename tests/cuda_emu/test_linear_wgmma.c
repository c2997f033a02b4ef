/* linear_wgmma.cu under emulation: products of 17 rows and more by warpgroups meet the reference, with the bits
 * of few rows; who takes them. */
#include "kernels/linear/linear.h"
#include "tests/cuda_emu/util_matrix.h"
#ifndef FC_TESTS_GPU
#include "tests/cuda_emu/runtime_control.h"
#endif

enum { ROOM = 16 << 20, FEW = 16 /* rows up to which others take them */ };
static uint64_t seed = 20261127;

bool fc_linear_wgmma_takes(fc_stream s, const fc_linear_args *a, int n); /* linear_wgmma.cuh */

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

/* y has the bits of few rows at a time, which warps multiply by mma.sync. */
static void as_few_rows(fc_stream s, const fc_linear_args *all, const float *y, const char *what) {
    int N = all->w->N;
    for (int first = 0; first<all->T; first += all->T> 150 ? 3 * FEW : FEW) {
        fc_linear_args a = *all;
        float *few;
        a.T = a.T - first < FEW ? a.T - first : FEW;
        a.x += (size_t)first * (size_t)a.w->K;
        assert_false(fc_linear_wgmma_takes(s, &a, a.T));
        few = run(s, a);
        for (int i = 0; i < a.T * N; i++)
            if (memcmp(&few[i], &y[(size_t)first * (size_t)N + (size_t)i], 4) != 0)
                fail_msg("%s: T=%d, row %d, output %d: %a, of %d rows %a", what, all->T, first + i / N, i % N,
                         (double)y[(size_t)first * (size_t)N + (size_t)i], a.T, (double)few[i]);
        free(few);
    }
}

static void meets_the_reference(const fc_dtype *types, const int *outputs, int parts, int K, int T, bool precise,
                                size_t room, bool taken) {
    fc_stream s = device_stream(room);
    float *x = normals((size_t)T * (size_t)K), *bias, *y;
    fc_linear_args a = {.T = T, .precise = precise};
    matrix m;
    char what[80];
    matrix_init(&m, s, types, outputs, parts, K, &seed);
    bias = T % 2 ? normals((size_t)m.N) : NULL;
    a.w = m.w;
    a.x = device_copy(s, x, (size_t)T * (size_t)K * 4);
    a.bias = bias ? device_copy(s, bias, (size_t)m.N * 4) : NULL;
    snprintf(what, sizeof what, "%s, %d parts, K %d, order %d", fc_dtype_name(types[0]), parts, K, (int)emu_opts.order);
    if (fc_linear_wgmma_takes(s, &a, T < 256 ? T : 256) != taken) fail_msg("%s, T=%d: taken: %d", what, T, !taken);
    y = run(s, a);
    matrix_check(&m, y, x, bias, T, precise, MATRIX_MOST, what);
    if (taken) as_few_rows(s, &a, y, what);
    device_free((void *)(uintptr_t)a.x);
    if (bias) device_free((void *)(uintptr_t)a.bias);
    matrix_fini(&m);
    device_close(s);
    free(x), free(bias), free(y);
}

static void one(fc_dtype t, int N, int K, int T, bool precise) {
    meets_the_reference(&t, &N, 1, K, T, precise, ROOM, true);
}

enum { FIRST_CODE = 2 /* of matrix_types: BF16 */ };

/* If this fails, steps of many candidates, prefill and scoring on an H100 compute the wrong numbers, or others than a
 * step of one candidate. */
static void every_code_meets_the_reference(void **state) {
    static const int rows[] = {17, 33, 64, 65, 129, 200};
    (void)state;
    for (int t = FIRST_CODE; t < MATRIX_TYPES; t++)
        for (int precise = 0; precise < 2; precise++) {
            emu_opts.order = (emu_order)((t + precise) % EMU_ORDERS);
            emu_opts.seed = (uint64_t)t;
            device_sms = t % 3 ? 1 : 0; /* alone, or sharing K among blocks */
            one(matrix_types[t], precise ? 37 : 96, 512, rows[(2 * t + precise) % 6], precise);
        }
    emu_opts.order = EMU_WARPS;
    device_sms = 0;
}

/* Neighbours of every form of F8, and of BF16, stacked: only those of one form are one part. */
static void every_form_of_fp8(void **state) {
    static const fc_dtype types[] = {FC_F8, FC_F8, FC_BF16};
    static const int outputs[] = {32, 19, 16};
    (void)state;
    for (matrix_f8 = 0; matrix_f8 <= MATRIX_F8_BLOCKS; matrix_f8++)
        for (int i = 0; i < 2; i++) {
            device_sms = i;
            meets_the_reference(types, outputs, 3, 64 * 11 + 4, i ? 70 : 33, i == 0, ROOM, true);
        }
    matrix_f8 = 0;
    device_sms = 0;
}

/* Four blocks share rows and outputs: more outputs than two blocks have, an odd number of blocks, the ring twice
 * through, tiles of 64 rows. */
static void clusters_of_four(void **state) {
    (void)state;
    device_sms = 1;
    emu_opts.order = EMU_RANDOM;
    one(FC_BF16, 300, 64 * 14, 256, false);
    one(FC_BF16, 200, 64 * 17 + 9, 250, true);
    emu_opts.order = EMU_WARPS;
    device_sms = 12; /* 2 tiles of 128 rows x 2 blocks leave most without one */
    one(FC_BF16, 140, 64 * 13, 200, true);
    device_sms = 0;
}

/* More steps than stages, more outputs than a block, K that ends inside a step or is one: ranges without steps. */
static void rings_tiles_and_tails(void **state) {
    (void)state;
    device_sms = 1;
    each_order(one(FC_Q8_0, 20, 64 * 15 + 32, 70, emu_opts.order % 2));
    each_order(one(FC_Q4_1, 20, 64 * 15, 40, emu_opts.order % 2 == 0)); /* minimums: sums of x are read last */
    each_order(one(FC_BF16, 20, 64 * 9, 20, emu_opts.order % 2));
    one(FC_Q4_1, 300, 96, 131, true);
    one(FC_BF16, 260, 64 * 14 + 3, 258, true);
    one(FC_F8, 260, 64 * 9 + 3, 66, true);
    one(FC_F8, 511, 61, 128, false);
    one(FC_Q6_K, 257, 256 * 4, 129, false);
    one(FC_Q4_0, 16, 64, 129, true);
    one(FC_Q4_K, 1, 256 * 5, 300, true);
    device_sms = 0;
    one(FC_Q6_K, 300, 256 * 3, 100, true); /* blocks share K */
    one(FC_BF16, 300, 64 * 3 + 5, 30, true);
    for (int t = FIRST_CODE; t < MATRIX_TYPES && device_full(); t++) {
        if (t % 2) one(matrix_types[t], 4500, 4096, 1000, t % 4 == 1);
        else one(matrix_types[t], 1030, 14336, t % 4 ? 300 : 64, t % 4 == 0);
    }
}

/* Where 128 rows a block leave half of the processors without one, there are 64. */
static void few_blocks(void **state) {
    (void)state;
    for (device_sms = 3; device_sms <= 4; device_sms++) one(FC_Q8_0, 130, 128, 130, device_sms == 3);
    device_sms = 0;
}

static void parts_and_pieces(void **state) {
    static const fc_dtype types[][MATRIX_PARTS] = {{FC_Q4_K, FC_Q6_K, FC_Q8_0, FC_BF16}, {FC_Q4_0, FC_Q4_0, FC_Q8_0}};
    static const int outputs[MATRIX_PARTS] = {32, 19, 16, 21};
    (void)state;
    device_sms = 1;
    meets_the_reference(types[0], outputs, 4, 256, 135, true, ROOM, true);
    meets_the_reference(types[1], outputs, 3, 256, 128, false, ROOM, true);
    meets_the_reference(types[1], outputs, 3, 256, 393, true, 4 * 33792 * 2 + 5000, true); /* 256 rows at a time */
    meets_the_reference(types[1], outputs, 3, 256, 256, true, 4 * 33792 - 1, false);       /* not 128 of them */
    device_sms = 0;
    meets_the_reference(types[0], outputs, 4, 256, 50, true, ROOM, true);
}

/* Who has too few rows or shared memory, other weights or another device stays with the kernels of any. */
static void others_are_not_taken(void **state) {
    static const fc_dtype types[][2] = {{FC_Q8_0, FC_Q8_0}, {FC_Q4_0, FC_F32}, {FC_F16, FC_BF16}};
    static const int outputs[2] = {32, 16};
    (void)state;
    device_sms = 1;
    meets_the_reference(types[0], outputs, 2, 128, FEW + 1, false, ROOM, true);
    meets_the_reference(types[0], outputs, 2, 128, FEW, false, ROOM, false);
    meets_the_reference(types[1], outputs, 2, 128, 128, false, ROOM, false);
    meets_the_reference(types[2], outputs, 2, 128, 128, false, ROOM, false);
    device_shared = DEVICE_SMALL;
    meets_the_reference(types[0], outputs, 2, 128, 128, true, ROOM, false);
    device_shared = 0;
#ifndef FC_TESTS_GPU
    for (int sm = 80; sm <= 120; sm += 40) {
        emu_reset();
        emu_device_opts.sm = sm;
        meets_the_reference(types[0], outputs, 2, 128, 128, false, ROOM, false);
    }
    emu_reset();
    emu_device_opts.sm = 0;
#endif
    device_sms = 0;
}

/* BF16 that cuBLASLt may read lies otherwise, and is for it alone; other types are taken as ever. Where another stream
 * packed, both have the same bits all the same. */
static void weights_for_the_library(void **state) {
    static const fc_dtype types[][2] = {{FC_BF16, FC_BF16}, {FC_Q8_0, FC_Q8_0}, {FC_BF16, FC_Q8_0}};
    static const int outputs[2] = {40, 30};
    (void)state;
    for (int i = 0; i < 3; i++) {
        fc_stream s = device_stream_variant(ROOM), own = device_stream(ROOM);
        float *x = normals(130 * 192);
        fc_linear_args a = {.x = device_copy(s, x, 130 * 192 * 4)};
        matrix m;
        matrix_init(&m, s, types[i], outputs, 2, 192, &seed);
        a.w = m.w;
        for (a.T = 5; a.T <= 40; a.T += 35) {
            float *y = run(s, a), *other = run(own, a);
            assert_int_equal(fc_linear_wgmma_takes(s, &a, a.T), i == 1 && a.T == 40);
            matrix_check(&m, y, x, NULL, a.T, false, MATRIX_MOST, fc_dtype_name(types[i][0]));
            assert_memory_equal(y, other, (size_t)a.T * (size_t)m.N * 4);
            free(y), free(other);
        }
        matrix_fini(&m);
        matrix_init(&m, own, types[i], outputs, 2, 192, &seed); /* in chunks, and a stream that has the library */
        a.w = m.w, a.T = 130;
        {
            float *y = run(s, a);
            matrix_check(&m, y, x, NULL, a.T, false, MATRIX_MOST, "packed by a batch-invariant stream");
            as_few_rows(own, &a, y, "packed by a batch-invariant stream");
            free(y);
        }
        matrix_fini(&m);
        device_free((void *)(uintptr_t)a.x);
        device_close(s), device_close(own);
        free(x);
    }
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
    s = device_stream(ROOM);
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
        assert_true(fc_linear_wgmma_takes(s, &a, T));
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
                                       cmocka_unit_test(every_form_of_fp8),
                                       cmocka_unit_test(clusters_of_four),
                                       cmocka_unit_test(rings_tiles_and_tails),
                                       cmocka_unit_test(few_blocks),
                                       cmocka_unit_test(parts_and_pieces),
                                       cmocka_unit_test(weights_for_the_library),
                                       cmocka_unit_test(others_are_not_taken),
                                       cmocka_unit_test(made_x_and_broken_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
