/* linear_x.cu under emulation: x made by a norm or a gated unit is the operator's, in both forms of x. */
#include "kernels/linear/linear.h"
#include "tests/cuda_emu/util_matrix.h"

enum { ROOM = 4 << 20 };
static uint64_t seed = 99;

static float *normals(size_t n) {
    float *x = calloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = test_normal(&seed);
    return x;
}

static void close_to(const float *got, const float *want, size_t n, double relative, double absolute,
                     const char *what) {
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= relative * fabs((double)want[i]) + absolute))
            fail_msg("%s: element %zu is %.9g, reference %.9g", what, i, (double)got[i], (double)want[i]);
}

/* The product of what was made, with and without a y for it. */
static void check_both(fc_stream s, const matrix *m, fc_linear_args *a, const float *made, const char *what) {
    size_t n = (size_t)a->T * (size_t)m->N;
    float *y = calloc(n, 4);
    device_read(s, y, a->y, n * 4);
    matrix_check(m, y, made, NULL, a->T, a->precise, MATRIX_MOST, what);
    free(y);
}

static void of_a_norm(int K, int T, bool has_res, bool in_place) {
    static const fc_dtype types[2] = {FC_BF16, FC_F32};
    static const int outputs[2] = {17, 5};
    size_t n = (size_t)T * (size_t)K;
    fc_stream s = device_stream(ROOM);
    float *x = normals(n), *res = normals(n), *w = normals((size_t)K), *made = calloc(n, 4), *ref = calloc(n, 4);
    float *dx = device_copy(s, x, n * 4), *dres = device_copy(s, res, n * 4), *dw = device_copy(s, w, (size_t)K * 4);
    float *dm = in_place ? dx : device_copy(s, NULL, n * 4), *same = device_copy(s, NULL, n * 4), *bits = calloc(n, 4);
    fc_rmsnorm_args norm = {.y = dm, .x = dx, .res = has_res ? dres : NULL, .w = dw, .eps = 1e-5f, .T = T, .D = K};
    fc_rmsnorm_args host = {.y = ref, .x = x, .res = has_res ? res : NULL, .w = w, .eps = 1e-5f, .T = T, .D = K};
    fc_rmsnorm_args alone = norm;
    fc_linear_args a = {.norm = &norm, .T = T, .precise = T % 2};
    matrix m;
    matrix_init(&m, s, types, outputs, 2, K, &seed);
    a.w = m.w;
    a.y = device_copy(s, NULL, (size_t)T * (size_t)m.N * 4);
    alone.y = same, alone.res = has_res ? device_copy(s, res, n * 4) : NULL;
    assert_ok(fc_rmsnorm_cuda(s, &alone));
    if (!in_place) { /* once without y, on a residual of its own */
        norm.y = NULL, norm.res = has_res ? device_copy(s, res, n * 4) : NULL;
        assert_ok(fc_linear_cuda(s, &a));
        device_read(s, made, same, n * 4);
        check_both(s, &m, &a, made, "norm without y");
        if (norm.res) device_free(norm.res);
        norm.y = dm, norm.res = has_res ? dres : NULL;
    }
    assert_ok(fc_linear_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, made, dm, n * 4);
    device_read(s, bits, same, n * 4);
    assert_memory_equal(made, bits, n * 4); /* the bits of rmsnorm */
    assert_ok(fc_rmsnorm_ref(NULL, &host));
    close_to(made, ref, n, 1e-5, 1e-30, "norm");
    check_both(s, &m, &a, made, "norm");
    if (has_res) {
        device_read(s, made, dres, n * 4);
        assert_memory_equal(made, res, n * 4); /* updated, once */
        device_free(alone.res);
    }
    device_free(dx), device_free(dres), device_free(dw), device_free(same), device_free(a.y);
    if (!in_place) device_free(dm);
    matrix_fini(&m);
    device_close(s);
    free(x), free(res), free(w), free(made), free(ref), free(bits);
}

static void a_norm_s_x(void **state) {
    (void)state;
    each_order(of_a_norm(64, 1, true, false));
    each_order(of_a_norm(333, 5, true, true));
    of_a_norm(2052, 3, true, false);
    of_a_norm(35, 18, false, true);
    of_a_norm(260, 9, false, false);
}

static void of_a_gated_unit(int K, int T, fc_act act) {
    static const fc_dtype types[2] = {FC_F16, FC_BF16};
    static const int outputs[2] = {3, 17};
    size_t n = (size_t)T * (size_t)K;
    fc_stream s = device_stream(ROOM);
    float *x = normals(2 * n), *made = calloc(n, 4), *ref = calloc(n, 4);
    float *dx = device_copy(s, x, 2 * n * 4), *dm = device_copy(s, NULL, n * 4);
    fc_glu_args glu = {.y = dm, .x = dx, .T = T, .F = K, .act = act},
                host = {.y = ref, .x = x, .T = T, .F = K, .act = act};
    fc_linear_args a = {.glu = &glu, .T = T, .precise = T % 2};
    matrix m;
    matrix_init(&m, s, types, outputs, 2, K, &seed);
    a.w = m.w;
    a.y = device_copy(s, NULL, (size_t)T * (size_t)m.N * 4);
    assert_ok(fc_linear_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, made, dm, n * 4);
    assert_ok(fc_glu_ref(NULL, &host));
    close_to(made, ref, n, 2e-6, 1e-7, "gated unit");
    check_both(s, &m, &a, made, "gated unit");
    glu.y = NULL;
    assert_ok(fc_linear_cuda(s, &a));
    check_both(s, &m, &a, made, "gated unit without y");
    device_free(dx), device_free(dm), device_free(a.y);
    matrix_fini(&m);
    device_close(s);
    free(x), free(made), free(ref);
}

static void a_gated_unit_s_x(void **state) {
    (void)state;
    each_order(of_a_gated_unit(65, 3, FC_ACT_SILU));
    each_order(of_a_gated_unit(128, 2, FC_ACT_GELU_TANH));
    of_a_gated_unit(4100, 9, FC_ACT_SILU);
    of_a_gated_unit(33, 20, FC_ACT_GELU_TANH);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_norm_s_x), cmocka_unit_test(a_gated_unit_s_x)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
