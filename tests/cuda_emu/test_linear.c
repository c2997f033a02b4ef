/* linear.cu under emulation: every type and number of rows against the reference; a row's bits are its own. */
#include "kernels/linear/linear.h"
#include "tests/cuda_emu/util_matrix.h"
#ifndef FC_TESTS_GPU
#include "tests/cuda_emu/runtime_control.h"
#endif

static uint64_t seed = 4711;
enum { ROOM = 8 << 20 };

/* Here and there one stands out, as in models. */
static float *normals(size_t n) {
    float *x = calloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = test_normal(&seed) * (test_below(&seed, 50) ? 1.0f : 30.0f);
    return x;
}

static int columns(fc_dtype t, int odd) {
    int block = (int)fc_dtype_block(t);
    return block == 1 ? (odd ? 37 + 64 * 9 : 129) : block == 32 ? (odd ? 32 * 21 : 96) : 256 * (1 + 2 * odd);
}

/* y [T,N] of the device; x NULL: a says where x comes from. */
static float *product(fc_stream s, const matrix *m, const float *x, const float *bias, int T, bool precise) {
    size_t n = (size_t)T * (size_t)m->N;
    float *dx = device_copy(s, x, (size_t)T * (size_t)m->K * 4), *y = calloc(n, 4);
    float *db = bias ? device_copy(s, bias, (size_t)m->N * 4) : NULL, *dy = device_copy(s, NULL, n * 4);
    assert_ok(
        fc_linear_cuda(s, &(fc_linear_args){.y = dy, .x = dx, .w = m->w, .bias = db, .T = T, .precise = precise}));
    assert_ok(device_sync(s));
    device_read(s, y, dy, n * 4);
    device_free(dx), device_free(dy);
    if (db) device_free(db);
    return y;
}

static void meets_the_reference(fc_dtype t, int N, int K, int T, bool precise) {
    fc_stream s = device_stream(ROOM);
    uint64_t used = seed;
    float *x = normals((size_t)T * (size_t)K), *bias = T % 2 ? normals((size_t)N) : NULL, *y;
    char what[64];
    matrix m;
    snprintf(what, sizeof what, "%s, seed %llu, order %d", fc_dtype_name(t), (unsigned long long)used,
             (int)emu_opts.order);
    matrix_init(&m, s, &t, &N, 1, K, &seed);
    y = product(s, &m, x, bias, T, precise);
    matrix_check(&m, y, x, bias, T, precise, MATRIX_MOST, what);
    matrix_fini(&m);
    device_close(s);
    free(x), free(bias), free(y);
}

/* No scale, one an output, one for some columns: of few rows, of tiles, of warpgroups. */
static void every_form_of_fp8_meets_the_reference(void **state) {
    static const int rows[] = {3, 9, 20, 70};
    (void)state;
    for (matrix_f8 = MATRIX_F8_NONE; matrix_f8 <= MATRIX_F8_BLOCKS; matrix_f8++)
        for (int i = 0; i < 8; i++) {
            emu_opts.order = (emu_order)(i % EMU_ORDERS);
            meets_the_reference(FC_F8, i % 2 ? 35 : 130, 37 + 64 * 9, rows[i % 4], i / 4);
        }
    matrix_f8 = 0;
}

/* If this fails, some model computes the wrong numbers. */
static void every_type_meets_the_reference(void **state) {
    static const int rows[] = {1, 3, 8, 9, 16, 17, 33, 70};
    (void)state;
    for (int t = 0; t < MATRIX_TYPES; t++)
        for (int i = 0; i < 8; i++) {
            emu_opts.order = (emu_order)((t + i) % EMU_ORDERS);
            emu_opts.seed = (uint64_t)i;
            meets_the_reference(matrix_types[t], i % 2 ? 35 : 13, columns(matrix_types[t], i < 2), rows[i],
                                i % 2 != t % 2);
        }
}

/* With the 4 processors of the emulator a block has two panels from 128 outputs on, and all ranges from 1024 on. */
static void many_outputs_meet_the_reference(void **state) {
    (void)state;
    for (int t = 2; t < MATRIX_TYPES; t += 3) each_order(meets_the_reference(matrix_types[t], 131, 256, 3 + t, t % 2));
    meets_the_reference(FC_Q4_0, 1030, 96, 18, true);
    meets_the_reference(FC_BF16, 1030, 70, 35, false);
    meets_the_reference(FC_BF16, 40, 96, 129, false); /* K is not cut among blocks any more */
    meets_the_reference(FC_BF16, 20, 64, 1100, true); /* x in pieces */
    meets_the_reference(FC_Q8_0, 1030, 32, 3, false);
    meets_the_reference(FC_F32, 300, 70, 9, false);
    for (int t = 0; t < MATRIX_TYPES && device_full(); t++) { /* enough for 132 processors, too */
        static const int shapes[][3] = {
            {6144, 4096, 8}, {4500, 4096, 16}, {2048, 4096, 70}, {1030, 4096, 140}, {4096, 14336, 3}};
        for (int i = t % 2; i < 5; i += 2)
            meets_the_reference(matrix_types[t], shapes[i][0], shapes[i][1], shapes[i][2], (t / 2 + i) % 2);
    }
}

/* Ranges longer than a warp's ring of steps, of one panel and of two. */
static void long_rows_meet_the_reference(void **state) {
    static const fc_dtype types[] = {FC_BF16, FC_F8, FC_Q6_K, FC_Q4_K};
    static const int steps[] = {8 * 6, 8 * 9 + 4, 8 * 9 + 4, 8 * 11 + 4};
    (void)state;
    for (int t = 0; t < 4; t++) {
        each_order(meets_the_reference(types[t], 9, 64 * steps[t], 2, t % 2));
        meets_the_reference(types[t], 129, 64 * steps[t], 1, true);
        meets_the_reference(types[t], 20, 64 * steps[t], 9, true);
    }
}

static void stacked_parts_meet_the_reference(void **state) {
    static const fc_dtype types[][MATRIX_PARTS] = {
        {FC_Q4_K, FC_F16, FC_Q6_K, FC_BF16}, {FC_Q4_0, FC_Q4_0, FC_Q4_0, FC_Q8_0}, {FC_BF16, FC_BF16, FC_F8, FC_F32}};
    static const int outputs[MATRIX_PARTS] = {32, 19, 16, 21};
    fc_stream s = device_stream(ROOM);
    (void)state;
    for (int i = 0; i < 3; i++)
        for (int T = 5; T <= 21; T += 16) {
            float *x, *bias, *y;
            matrix m;
            matrix_init(&m, s, types[i], outputs, MATRIX_PARTS, 256, &seed);
            x = normals((size_t)T * 256), bias = normals((size_t)m.N);
            y = product(s, &m, x, bias, T, true);
            matrix_check(&m, y, x, bias, T, true, MATRIX_MOST, "parts");
            matrix_fini(&m);
            free(x), free(bias), free(y);
        }
    device_close(s);
}

/* Rows first .. first + T - 1 of x by a call of their own, on s, have the bits of `all`. */
static void rows_are_the_same(fc_stream s, const matrix *m, const float *x, const float *all, int first, int T) {
    size_t N = (size_t)m->N;
    float *y = product(s, m, x + (size_t)first * (size_t)m->K, NULL, T, true);
    for (size_t i = 0; i < (size_t)T * N; i++)
        if (memcmp(y + i, all + (size_t)first * N + i, 4))
            fail_msg("%s: row %zu of %d from %d, output %zu: %.9g, in its batch %.9g", fc_dtype_name(m->parts[0].dtype),
                     i / N, T, first, i % N, (double)y[i], (double)all[(size_t)first * N + i]);
    free(y);
}

/* If this fails, a candidate's tokens depend on who else is in the batch. */
static void a_row_s_bits_are_its_own(void **state) {
    enum { T = 70, N = 131 };
    (void)state;
    for (int t = 0; t < MATRIX_TYPES; t++) {
        fc_stream s = device_stream(ROOM), small = device_stream(64 << 10), none = device_stream(300 << 10), lean;
        int K = columns(matrix_types[t], 1), n = N;
        float *x = normals(T * (size_t)K), *all;
        matrix m;
        emu_opts.order = (emu_order)(t % EMU_ORDERS);
        matrix_init(&m, s, &matrix_types[t], &n, 1, K, &seed);
        all = product(s, &m, x, NULL, T, true);
        rows_are_the_same(s, &m, x, all, test_below(&seed, T), 1);
        rows_are_the_same(s, &m, x, all, 11, 9);
        rows_are_the_same(s, &m, x, all, 50, 20);
        rows_are_the_same(s, &m, x, all, 3, 33);
        rows_are_the_same(small, &m, x, all, 1, 40); /* in pieces */
        rows_are_the_same(none, &m, x, all, 30, 40); /* K is not cut among blocks */
        device_shared = DEVICE_SMALL;
        lean = device_stream(ROOM); /* smaller tiles and rings */
        device_shared = 0;
        rows_are_the_same(lean, &m, x, all, 3, 41);
        rows_are_the_same(lean, &m, x, all, 50, 13);
        device_close(lean);
        free(all);
        x[20 * K + 5] = NAN, x[40 * K + K - 1] = INFINITY; /* as do rows that are broken */
        all = product(s, &m, x, NULL, T, true);
        for (int i = 0; i < N; i++) assert_true(isnan(all[20 * N + i]));
        if (t > 1)
            for (int i = 0; i < N; i++) assert_true(isnan(all[40 * N + i]));
        for (int r = 0; r < T; r++)
            for (int i = 0; i < N; i++) assert_true(r == 20 || r == 40 || isfinite(all[r * N + i]));
        rows_are_the_same(s, &m, x, all, 21, 1);
        rows_are_the_same(s, &m, x, all, 41, 16);
        free(all), free(x);
        matrix_fini(&m);
        device_close(s), device_close(small), device_close(none);
    }
}

static void needs_are_told(void **state) {
    static const fc_dtype type = FC_BF16;
    static const int outputs = 5;
    fc_stream s = device_stream(1 << 20), poor = device_stream(1000);
    fc_rmsnorm_args norm = {.T = 2, .D = 64};
    fc_glu_args glu = {.T = 2, .F = 64, .act = (fc_act)7};
    int32_t row = 0;
    float nothing[64] = {0};
    float scales[2] = {1.0f, INFINITY};
    fc_weight_part f8 = {.name = "f", .data = nothing, .dtype = FC_F8, .N = 2, .K = 65};
    unsigned char nan8[32] = {[3] = 0xff};
    fc_weight *w = NULL;
    matrix m;
    (void)state;
    matrix_init(&m, s, &type, &outputs, 1, 64, &seed);
    assert_fails(fc_linear_cuda(s, &(fc_linear_args){.w = m.w, .T = 0}), FC_ERR_ARG, "T=0");
    assert_fails(fc_linear_cuda(s, &(fc_linear_args){.w = m.w, .norm = &norm, .glu = &glu, .T = 2}), FC_ERR_ARG,
                 "from a norm and from a gated unit");
    assert_fails(fc_linear_cuda(s, &(fc_linear_args){.w = m.w, .norm = &norm, .T = 3}), FC_ERR_ARG, "[2,64]");
    assert_fails(fc_linear_cuda(s, &(fc_linear_args){.w = m.w, .glu = &glu, .T = 2}), FC_ERR_ARG, "activation 7");
    norm.rows = &row;
    assert_fails(fc_linear_cuda(s, &(fc_linear_args){.w = m.w, .norm = &norm, .T = 2}), FC_ERR_ARG, "listed rows");
    assert_fails(fc_linear_cuda(poor, &(fc_linear_args){.w = m.w, .x = nothing, .y = nothing, .T = 1}), FC_ERR_MEM,
                 "1000 are reserved");
    assert_fails(fc_weight_pack_cuda(s, m.parts, 0, &w), FC_ERR_ARG, "0 parts");
    assert_fails(
        fc_weight_pack_cuda(s, &(fc_weight_part){.name = "q", .data = nothing, .dtype = FC_I8, .N = 1, .K = 64}, 1, &w),
        FC_ERR_UNSUPPORTED, "tensor q: a matrix of type I8");
    assert_fails(fc_weight_pack_cuda(
                     s, &(fc_weight_part){.name = "q", .data = nothing, .dtype = FC_Q8_0, .N = 1, .K = 48}, 1, &w),
                 FC_ERR_FORMAT, "tensor q: 48 columns");
    assert_fails(fc_weight_pack_cuda(s, &(fc_weight_part){.data = nothing, .dtype = FC_F32, .N = 0, .K = 4}, 1, &w),
                 FC_ERR_ARG, "tensor ?: [0,4] is no matrix");
    assert_fails(
        fc_weight_pack_cuda(s, &(fc_weight_part){.name = "q", .data = nan8, .dtype = FC_F8, .N = 2, .K = 16}, 1, &w),
        FC_ERR_FORMAT, "tensor q: [0,3] is NaN");
    f8.scale = scales, f8.scale_rows = 1, f8.scale_cols = 32;
    assert_fails(fc_weight_pack_cuda(s, &f8, 1, &w), FC_ERR_UNSUPPORTED, "scales of 32 columns; a multiple of 64");
    f8.scale_cols = 0;
    assert_fails(fc_weight_pack_cuda(s, &f8, 1, &w), FC_ERR_ARG, "scales of 1 rows and 0 columns");
    f8.scale_cols = 65;
    assert_fails(fc_weight_pack_cuda(s, &f8, 1, &w), FC_ERR_FORMAT, "tensor f: scale 1 is inf");
    f8.dtype = FC_F32;
    assert_fails(fc_weight_pack_cuda(s, &f8, 1, &w), FC_ERR_UNSUPPORTED, "scales of type F32");
    m.parts[1] = m.parts[0];
    m.parts[1].K = 32;
    assert_fails(fc_weight_pack_cuda(s, m.parts, 2, &w), FC_ERR_ARG, "32 columns; the parts stacked before it have 64");
    assert_null(w);
    fc_weight_free_cuda(NULL);
    matrix_fini(&m);
    device_close(s), device_close(poor);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_form_of_fp8_meets_the_reference),
                                       cmocka_unit_test(every_type_meets_the_reference),
                                       cmocka_unit_test(many_outputs_meet_the_reference),
                                       cmocka_unit_test(stacked_parts_meet_the_reference),
                                       cmocka_unit_test(long_rows_meet_the_reference),
                                       cmocka_unit_test(a_row_s_bits_are_its_own),
                                       cmocka_unit_test(needs_are_told)};
#ifndef FC_TESTS_GPU
    emu_device_opts.sm = 100; /* a device of 9.0 gives many rows to linear_wgmma.cu, which has a test of its own */
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
