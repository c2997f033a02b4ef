/* rows_copy.cu under emulation: gathered, scattered, both or neither, and what no list named stays. */
#include "kernels/rows/rows_copy.h"
#include "tests/cuda_emu/util_cuda.h"

typedef struct {
    int n, D, x_rows, y_rows, shift; /* shift: floats by which x misses 16 bytes */
    bool src, dst;
} shape;

static const shape shapes[] = {{1, 1, 1, 1, 0, false, false},   {3, 1028, 5, 4, 0, true, false},
                               {4, 64, 4, 9, 0, false, true},   {5, 1030, 8, 7, 0, true, true},
                               {2, 2048, 6, 2, 1, true, false}, {0, 8, 3, 3, 0, true, true}};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static void moves_the_rows(const shape *c, uint64_t seed) {
    size_t nx = (size_t)(c->x_rows * c->D + c->shift), ny = (size_t)(c->y_rows * c->D);
    float *x = calloc(nx, 4), *y = calloc(ny, 4), *got = calloc(ny, 4);
    int32_t src[8], dst[8];
    fc_stream s = device_stream(0);
    uint64_t used = seed;
    fc_rows_copy_args a = {.n = c->n, .D = c->D, .x_rows = c->x_rows, .y_rows = c->y_rows}, ref = a;
    for (size_t i = 0; i < nx; i++) x[i] = test_normal(&used);
    for (size_t i = 0; i < ny; i++) y[i] = test_normal(&used);
    x[c->shift] = NAN;
    for (int i = 0; i < 8; i++) {
        src[i] = test_below(&used, c->x_rows); /* a row may be read twice */
        dst[i] = c->y_rows - 1 - i;
    }
    float *dx = device_copy(s, x, nx * 4);
    a.x = dx + c->shift;
    a.y = device_copy(s, y, ny * 4);
    a.src = c->src ? device_copy(s, src, sizeof src) : NULL;
    a.dst = c->dst ? device_copy(s, dst, sizeof dst) : NULL;
    assert_ok(fc_rows_copy_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, got, a.y, ny * 4);
    ref.x = x + c->shift, ref.y = y, ref.src = c->src ? src : NULL, ref.dst = c->dst ? dst : NULL;
    assert_ok(fc_rows_copy_ref(NULL, &ref));
    if (memcmp(got, y, ny * 4)) fail_msg("n %d D %d seed %llu: not the rows", c->n, c->D, (unsigned long long)seed);
    device_free(dx);
    device_free(a.y);
    if (c->src) device_free((void *)(uintptr_t)a.src);
    if (c->dst) device_free((void *)(uintptr_t)a.dst);
    device_close(s);
    free(x), free(y), free(got);
}

static void every_form_moves_the_rows(void **state) {
    (void)state;
    for (int k = 0; k < N_SHAPES; k++) each_order(moves_the_rows(&shapes[k], 5 + (uint64_t)k));
}

/* Row 1 of a list is wrong: told by number, not followed, and the other rows arrive. */
static void a_wrong_row_is_told(bool in_src, int32_t value) {
    enum { ROWS = 3, D = 20 };
    float x[ROWS * D], y[ROWS * D] = {0}, got[ROWS * D];
    int32_t src[ROWS] = {2, 1, 0}, dst[ROWS] = {0, 1, 2};
    fc_stream s = device_stream(0);
    fc_rows_copy_args a = {.n = ROWS, .D = D, .x_rows = ROWS, .y_rows = ROWS};
    for (int i = 0; i < ROWS * D; i++) x[i] = (float)(i + 1);
    (in_src ? src : dst)[1] = value;
    a.x = device_copy(s, x, sizeof x), a.y = device_copy(s, y, sizeof y);
    a.src = device_copy(s, src, sizeof src), a.dst = device_copy(s, dst, sizeof dst);
    assert_ok(fc_rows_copy_cuda(s, &a));
    assert_fails(device_sync(s), FC_ERR_ARG, in_src ? "rows_copy: src[1]" : "rows_copy: dst[1]");
    device_read(s, got, a.y, sizeof got);
    memcpy(y, x + 2 * D, D * sizeof *y);
    memcpy(y + 2 * D, x, D * sizeof *y);
    assert_memory_equal(got, y, sizeof y);
    device_free((void *)(uintptr_t)a.x), device_free(a.y);
    device_free((void *)(uintptr_t)a.src), device_free((void *)(uintptr_t)a.dst);
    device_close(s);
}

static void wrong_rows_are_told(void **state) {
    (void)state;
    for (int in_src = 0; in_src < 2; in_src++) {
        a_wrong_row_is_told(in_src, -1);
        a_wrong_row_is_told(in_src, 3);
    }
}

static void needs_are_told(void **state) {
    fc_stream s = device_stream(0);
    int32_t list[1] = {0}; /* never followed */
    (void)state;
    assert_fails(fc_rows_copy_cuda(s, &(fc_rows_copy_args){.n = 1, .D = 0}), FC_ERR_ARG, "D=0");
    assert_fails(fc_rows_copy_cuda(s, &(fc_rows_copy_args){.n = -1, .D = 4}), FC_ERR_ARG, "n=-1");
    assert_fails(fc_rows_copy_cuda(s, &(fc_rows_copy_args){.n = 3, .D = 4, .x_rows = 2, .y_rows = 3, .dst = list}),
                 FC_ERR_ARG, "src[2]=2 of 2");
    assert_fails(fc_rows_copy_cuda(s, &(fc_rows_copy_args){.n = 3, .D = 4, .x_rows = 3, .y_rows = 2, .src = list}),
                 FC_ERR_ARG, "dst[2]=2 of 2");
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_form_moves_the_rows),
                                       cmocka_unit_test(wrong_rows_are_told), cmocka_unit_test(needs_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
