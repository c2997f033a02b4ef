/* rmsnorm.cu under emulation against the reference, in every form of residual and row list and order of fibres. */
#include "kernels/rmsnorm/rmsnorm.h"
#include "tests/cuda_emu/util_cuda.h"

typedef struct {
    int T, D;
    bool res, rows, in_place;
} shape;

static const shape shapes[] = {{1, 1, false, false, false},   {3, 15, true, false, false},
                               {5, 256, false, false, true},  {7, 257, true, false, true},
                               {2, 576, true, true, false},   {4, 1100, false, true, false},
                               {2, 2100, true, false, true},  {1, 4099, true, true, false},
                               {2, 8192, true, false, false}, {2, 8201, true, false, true}};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], SPARE = 3 };

/* The header's order: 256 chains, folded in halves within each 32 of them, then those sums in halves. */
static float scale_in_order(const float *h, int D, float eps) {
    float sum[256] = {0};
    for (int d = 0; d < D; d++) sum[d % 256] = fmaf(h[d], h[d], sum[d % 256]);
    for (int width = 16; width; width /= 2)
        for (int i = 0; i < 256; i++)
            if (i % 32 < width) sum[i] += sum[i + width];
    for (int width = 4; width; width /= 2)
        for (int i = 0; i < width; i++) sum[32 * i] += sum[32 * (i + width)];
    return 1.0f / sqrtf(sum[0] / (float)D + eps);
}

static void meets_the_reference(const shape *c, uint64_t seed) {
    size_t n = (size_t)(c->T + SPARE) * (size_t)c->D, out = (size_t)c->T * (size_t)c->D, D = (size_t)c->D;
    float *x = calloc(n, 4), *res = calloc(n, 4), *w = calloc(D, 4), *y = calloc(n, 4), *got = calloc(n, 4), *x0;
    int32_t *rows = calloc((size_t)c->T, 4);
    fc_stream s = device_stream(0);
    fc_rmsnorm_args a = {.eps = 1e-5f, .T = c->T, .D = c->D}, ref;
    uint64_t used = seed;
    for (size_t i = 0; i < n; i++) x[i] = test_normal(&used) * 3, res[i] = test_normal(&used);
    for (size_t i = 0; i < D; i++) w[i] = test_normal(&used);
    for (int t = 0; t < c->T; t++) rows[t] = test_below(&used, c->T + SPARE);
    a.x = device_copy(s, x, n * 4);
    a.res = c->res ? device_copy(s, res, n * 4) : NULL;
    a.w = device_copy(s, w, D * 4);
    a.y = c->in_place ? (float *)(uintptr_t)a.x : device_copy(s, NULL, n * 4);
    a.rows = c->rows ? device_copy(s, rows, (size_t)c->T * 4) : NULL;
    x0 = malloc(n * 4);
    memcpy(x0, x, n * 4);
    assert_ok(fc_rmsnorm_cuda(s, &a));
    assert_ok(device_sync(s));
    ref = (fc_rmsnorm_args){.y = y,
                            .x = x,
                            .res = c->res ? res : NULL,
                            .w = w,
                            .rows = c->rows ? rows : NULL,
                            .eps = a.eps,
                            .T = a.T,
                            .D = a.D};
    assert_ok(fc_rmsnorm_ref(NULL, &ref));
    device_read(s, got, a.y, out * 4);
    for (size_t i = 0; i < out; i++)
        if (!(fabs((double)got[i] - (double)y[i]) <= 1e-5 * fabs((double)y[i]) + 1e-30))
            fail_msg("T %d D %d seed %llu: y[%zu] = %.9g, reference %.9g", c->T, c->D, (unsigned long long)seed, i,
                     (double)got[i], (double)y[i]);
    for (int t = 0; t < c->T; t++) {
        size_t from = (size_t)(c->rows ? rows[t] : t) * D, to = (size_t)t * D;
        float *h = x + from; /* the reference has updated res in place, or it is as it was */
        for (size_t d = 0; d < D && c->res; d++) h[d] = c->rows ? res[from + d] + x0[from + d] : res[from + d];
        float scale = scale_in_order(h, c->D, a.eps);
        for (size_t d = 0; d < D; d++) {
            float want = h[d] * scale * w[d];
            if (memcmp(&want, &got[to + d], 4))
                fail_msg("T %d D %d seed %llu: y[%d,%zu] = %.9g, in the header's order %.9g", c->T, c->D,
                         (unsigned long long)seed, t, d, (double)got[to + d], (double)want);
        }
    }
    if (c->res) {
        device_read(s, got, a.res, n * 4);
        assert_memory_equal(got, res, n * 4); /* updated, or left alone, with the reference's bits */
    }
    device_free((void *)(uintptr_t)a.x);
    if (!c->in_place) device_free(a.y);
    if (c->res) device_free(a.res);
    if (c->rows) device_free((void *)(uintptr_t)a.rows);
    device_free((void *)(uintptr_t)a.w);
    device_close(s);
    free(x0), free(x), free(res), free(w), free(y), free(got), free(rows);
}

static const shape full[] = {{4096, 4096, true, false, false}, {300, 8192, true, true, false}};

static void every_form_meets_the_reference(void **state) {
    (void)state;
    for (int k = 0; k < 2 && device_full(); k++) meets_the_reference(&full[k], 70 + (uint64_t)k);
    for (int k = 0; k < N_SHAPES; k++) each_order(meets_the_reference(&shapes[k], 7 + (uint64_t)k));
}

static void needs_are_told(void **state) {
    fc_stream s = device_stream(0);
    (void)state;
    assert_fails(fc_rmsnorm_cuda(s, &(fc_rmsnorm_args){.T = 0, .D = 4}), FC_ERR_ARG, "T=0");
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_form_meets_the_reference),
                                       cmocka_unit_test(needs_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
