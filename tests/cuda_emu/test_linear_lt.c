/* linear_lt.cu under emulation: products of many rows by (a fake) cuBLASLt meet the reference; who takes them. */
#include "kernels/linear/linear.h"
#include "tests/cuda_emu/util_matrix.h"
#ifndef FC_TESTS_GPU
#include "tests/cuda_emu/runtime_control.h"
#endif

enum { ROOM = 8 << 20, ROWS = 128 /* from here on */ };
static uint64_t seed = 20261126;

/* Of the sum of absolute products: one accumulator goes through all K, 16 at a time, and a tensor core cuts off what is
 * below its ulp, instead of rounding it, each time. Own kernels begin anew every 32. An H100's cuBLASLt was 1.5e-6 off
 * at K 640, of 5.8e-6. */
static double most_of(const matrix *m) {
#ifdef FC_TESTS_GPU
    return MATRIX_MOST + m->K / 16 * 0x1p-23;
#else
    (void)m; /* the emulated one sums in double */
    return MATRIX_MOST;
#endif
}

static float *normals(size_t n) {
    float *x = calloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = test_normal(&seed) * (test_below(&seed, 50) ? 1.0f : 30.0f);
    return x;
}

/* y [T,N]; x NULL: it is where norm or glu says. The stream is the caller's. */
typedef struct {
    matrix m;
    fc_linear_args a;
    size_t n; /* elements of y */
} product;

static void begin(product *p, fc_stream s, const fc_dtype *types, const int *outputs, int parts, int K, int T,
                  bool precise) {
    matrix_init(&p->m, s, types, outputs, parts, K, &seed);
    p->n = (size_t)T * (size_t)p->m.N;
    p->a = (fc_linear_args){.y = device_copy(s, NULL, p->n * 4), .w = p->m.w, .T = T, .precise = precise};
}

static float *run(product *p, fc_stream s) {
    float *y = calloc(p->n, 4);
    assert_ok(fc_linear_cuda(s, &p->a));
    assert_ok(device_sync(s));
    device_read(s, y, p->a.y, p->n * 4);
    return y;
}

static void end(product *p) {
    device_free(p->a.y);
    matrix_fini(&p->m);
}

/* The same product by kernels of our own: another order of sums, so other bits somewhere, unless there is no other. */
static bool as_without(product *p, const float *y) {
    fc_stream own = device_stream(ROOM);
    float *all = run(p, own);
    bool same = memcmp(y, all, p->n * 4) == 0;
    device_close(own);
    free(all);
    return same;
}

static void meets_the_reference(const int *outputs, int parts, int K, int T, bool precise, size_t room) {
    static const fc_dtype types[MATRIX_PARTS] = {FC_BF16, FC_BF16, FC_BF16, FC_BF16};
    fc_stream s = device_stream_variant(room);
    float *x = normals((size_t)T * (size_t)K), *bias, *y;
    product p;
    char what[80];
    begin(&p, s, types, outputs, parts, K, T, precise);
    bias = T % 2 ? normals((size_t)p.m.N) : NULL;
    p.a.x = device_copy(s, x, (size_t)T * (size_t)K * 4);
    p.a.bias = bias ? device_copy(s, bias, (size_t)p.m.N * 4) : NULL;
    y = run(&p, s);
    snprintf(what, sizeof what, "%d parts, %zu bytes, order %d", parts, room, (int)emu_opts.order);
    matrix_check(&p.m, y, x, bias, T, precise, most_of(&p.m), what);
    assert_int_equal(as_without(&p, y), T < ROWS);
    device_free((void *)(uintptr_t)p.a.x);
    if (bias) device_free((void *)(uintptr_t)p.a.bias);
    end(&p);
    device_close(s);
    free(x), free(bias), free(y);
}

static void many_rows_meet_the_reference(void **state) {
    static const int one[] = {48}, odd[] = {37}, three[] = {32, 19, 16}, four[] = {16, 5, 1, 2};
    (void)state;
    each_order(meets_the_reference(one, 1, 192, ROWS, false, ROOM));
    meets_the_reference(odd, 1, 333, ROWS + 1, true, ROOM);
    meets_the_reference(three, 3, 70, 200, true, ROOM); /* the first two are one */
    meets_the_reference(four, 4, 64, 131, false, ROOM);
    meets_the_reference(one, 1, 640, 1500, false, ROOM);
    meets_the_reference(odd, 1, 640, 515, true, 1 << 20);    /* in pieces */
    meets_the_reference(odd, 1, 640, 256, false, 165 << 10); /* without workspace for cuBLASLt */
    meets_the_reference(odd, 1, 640, ROWS - 1, false, ROOM); /* too few */
    meets_the_reference(one, 1, 64 * 20, ROWS - 8, true, ROOM);
}

/* More shapes than are kept: they come and go. */
static void any_number_of_shapes(void **state) {
    static const fc_dtype type = FC_BF16;
    static const int outputs = 20;
    fc_stream s = device_stream_variant(ROOM);
    float *x = normals(220 * 64);
    (void)state;
    for (int round = 0; round < 2; round++)
        for (int T = ROWS; T < ROWS + 90; T += round ? 7 : 1) {
            product p;
            float *y;
            begin(&p, s, &type, &outputs, 1, 64, T, false);
            p.a.x = device_copy(s, x, (size_t)T * 64 * 4);
            y = run(&p, s);
            matrix_check(&p.m, y, x, NULL, T, false, most_of(&p.m), "shapes");
            device_free((void *)(uintptr_t)p.a.x);
            end(&p);
            free(y);
        }
    device_close(s);
    free(x);
}

/* x made by a norm or a gated unit is the operator's, and a row with a NaN is NaN alone. */
static void made_x_and_broken_rows(void **state) {
    enum { K = 100, T = 140 };
    static const fc_dtype type = FC_BF16;
    static const int outputs = 33;
    fc_stream s = device_stream_variant(ROOM);
    float *x = normals(2 * T * K), *w = normals(K), *made = calloc(T * K, 4), *dx, *dw, *dm, *y;
    product p;
    fc_rmsnorm_args norm;
    fc_glu_args glu;
    (void)state;
    x[20 * K + 5] = NAN;
    dx = device_copy(s, x, 2 * T * K * 4), dw = device_copy(s, w, K * 4), dm = device_copy(s, NULL, T * K * 4);
    norm = (fc_rmsnorm_args){.y = dm, .x = dx, .w = dw, .eps = 1e-5f, .T = T, .D = K};
    glu = (fc_glu_args){.y = dm, .x = dx, .T = T, .F = K, .act = FC_ACT_SILU};
    for (int way = 0; way < 2; way++) {
        begin(&p, s, &type, &outputs, 1, K, T, way == 0);
        if (way == 0) p.a.norm = &norm;
        else p.a.glu = &glu;
        y = run(&p, s);
        device_read(s, made, dm, T * K * 4);
        matrix_check(&p.m, y, made, NULL, T, way == 0, most_of(&p.m), way ? "gated unit" : "norm");
        for (int r = 0, broken = way ? 10 : 20; r < T; r++) assert_int_equal(isnan(y[r * outputs]) != 0, r == broken);
        end(&p);
        free(y);
    }
    device_free(dx), device_free(dw), device_free(dm);
    device_close(s);
    free(x), free(w), free(made);
}

/* Other types, and a part of another type, stay with kernels of our own. */
static void other_types_are_not_taken(void **state) {
    static const fc_dtype types[][2] = {{FC_F8, FC_F8}, {FC_Q8_0, FC_Q8_0}, {FC_BF16, FC_Q4_0}, {FC_F32, FC_F32}};
    static const int outputs[] = {16, 16};
    (void)state;
    for (int i = 0; i < 4; i++) {
        fc_stream s = device_stream_variant(ROOM);
        float *x = normals(ROWS * 128), *y;
        product p;
        begin(&p, s, types[i], outputs, 2, 128, ROWS, true);
        p.a.x = device_copy(s, x, ROWS * 128 * 4);
        y = run(&p, s);
        assert_true(as_without(&p, y));
        device_free((void *)(uintptr_t)p.a.x);
        end(&p);
        device_close(s);
        free(x), free(y);
    }
}

#ifndef FC_TESTS_GPU
/* Every call that a product makes fails in turn: a status, no leak, and the next product is right. */
static void every_call_may_fail(void **state) {
    static const fc_dtype type = FC_BF16;
    static const int outputs = 20;
    fc_stream s = device_stream_variant(ROOM);
    float *x = normals(ROWS * 64), *y;
    product p;
    int failed = 0;
    (void)state;
    begin(&p, s, &type, &outputs, 1, 64, ROWS, true);
    p.a.x = device_copy(s, x, ROWS * 64 * 4);
    for (uint64_t k = 1;; k++, failed++) {
        uint64_t before = emu_calls();
        fc_status st;
        emu_fail_at(k);
        st = fc_linear_cuda(s, &p.a);
        if (!st) st = device_sync(s);
        if (emu_calls() - before < k) break;
        if (!st) fail_msg("call %llu failed and nobody said so", (unsigned long long)k);
        assert_true(st == FC_ERR_INTERNAL || st == FC_ERR_MEM);
        (void)device_sync(s);
        emu_fail_at(0);
        device_free((void *)(uintptr_t)p.a.x);
        end(&p);
        device_close(s);
        s = device_stream_variant(ROOM);
        begin(&p, s, &type, &outputs, 1, 64, ROWS, true);
        p.a.x = device_copy(s, x, ROWS * 64 * 4);
    }
    emu_fail_at(0);
    printf("%d calls failed\n", failed);
    assert_true(failed > 15);
    y = run(&p, s);
    matrix_check(&p.m, y, x, NULL, ROWS, true, most_of(&p.m), "after failures");
    device_free((void *)(uintptr_t)p.a.x);
    end(&p);
    device_close(s);
    assert_int_equal(emu_leaks(true), 0);
    free(x), free(y);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_rows_meet_the_reference), cmocka_unit_test(any_number_of_shapes),
        cmocka_unit_test(made_x_and_broken_rows),       cmocka_unit_test(other_types_are_not_taken),
#ifndef FC_TESTS_GPU
        cmocka_unit_test(every_call_may_fail),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
