/* rmsnorm against its reference, in every form of residual and row list; bits alike for any level and batch. */
#include "kernels/cpu/cpu.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "tests/util.h"

typedef struct {
    int T, D;
    int res, rows, in_place;
} shape;

static const shape shapes[] = {
    {1, 1, 0, 0, 0},   {3, 15, 1, 0, 0},  {5, 16, 0, 0, 1},   {7, 17, 1, 0, 1},   {2, 576, 1, 0, 0},  {33, 64, 1, 0, 0},
    {4, 100, 0, 1, 0}, {4, 100, 1, 1, 0}, {2, 8200, 1, 0, 0}, {70, 576, 1, 1, 0}, {300, 48, 0, 0, 0},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], SPARE = 3 }; /* x has some rows that nobody asks for */

typedef struct {
    float *x, *res, *y, *w;
    int32_t *rows;
    size_t n;
    fc_rmsnorm_args a;
} data;

static float *floats(size_t n, uint64_t *seed, float scale) {
    float *p = malloc(n * sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) p[i] = test_normal(seed) * scale;
    return p;
}

static void make(data *d, const shape *s, uint64_t seed) {
    float scale = seed % 2 ? 3.0f : 2e-3f; /* small rows: eps counts */
    d->n = (size_t)(s->T + SPARE) * (size_t)s->D;
    d->x = floats(d->n, &seed, scale);
    d->res = s->res ? floats(d->n, &seed, 5.0f * scale) : NULL;
    d->w = floats((size_t)s->D, &seed, 1.0f);
    d->y = s->in_place ? d->x : floats(d->n, &seed, 1.0f);
    d->rows = malloc((size_t)s->T * sizeof *d->rows);
    for (int t = 0; t < s->T; t++) d->rows[t] = test_below(&seed, s->T + SPARE);
    d->a = (fc_rmsnorm_args){.y = d->y,
                             .x = d->x,
                             .res = d->res,
                             .w = d->w,
                             .rows = s->rows ? d->rows : NULL,
                             .eps = 1e-5f,
                             .T = s->T,
                             .D = s->D};
}

static void drop(data *d) {
    if (d->y != d->x) free(d->y);
    free(d->x);
    free(d->res);
    free(d->w);
    free(d->rows);
}

static void close_to(const float *got, const float *want, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= 1e-5 * fabs((double)want[i]) + 1e-30))
            fail_msg("%s[%zu] = %.9g, reference %.9g", what, i, (double)got[i], (double)want[i]);
}

static void every_level_meets_the_reference_with_the_same_bits(void **state) {
    (void)state;
    for (int k = 0; k < N_SHAPES; k++) {
        const shape *s = shapes + k;
        size_t out = (size_t)s->T * (size_t)s->D;
        data ref, first = {0};
        make(&ref, s, 7 + (uint64_t)k);
        assert_ok(fc_rmsnorm_ref(NULL, &ref.a));
        for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
            for (int threads = 1; threads <= 3; threads += 2) {
                bool is_first = l == FC_CPU_PORTABLE && threads == 1;
                fc_stream st;
                data d;
                assert_ok(fc_cpu_stream_open((fc_cpu_level)l, threads, 0, 0, &st));
                make(&d, s, 7 + (uint64_t)k);
                assert_ok(fc_rmsnorm_cpu(st, &d.a));
                fc_cpu_stream_close(st);
                close_to(d.y, ref.y, out, "y");
                if (s->res) close_to(d.res, ref.res, d.n, "res");
                if (is_first) {
                    first = d;
                    continue;
                }
                assert_memory_equal(d.y, first.y, out * sizeof(float));
                if (s->res) assert_memory_equal(d.res, first.res, d.n * sizeof(float));
                drop(&d);
            }
        drop(&first);
        drop(&ref);
    }
}

/* If this fails, a branch's tokens depend on who else is in the batch. */
static void a_row_alone_has_the_bits_it_has_in_a_batch(void **state) {
    const shape s = {9, 577, 1, 1, 0};
    fc_stream st;
    data all, one;
    (void)state;
    assert_ok(fc_cpu_stream_open(FC_CPU_AUTO, 2, 0, 0, &st));
    make(&all, &s, 99);
    make(&one, &s, 99);
    assert_ok(fc_rmsnorm_cpu(st, &all.a));
    for (int t = 0; t < s.T; t++) {
        one.a.T = 1;
        one.a.rows = one.rows + t;
        assert_ok(fc_rmsnorm_cpu(st, &one.a));
        assert_memory_equal(one.y, all.y + t * s.D, (size_t)s.D * sizeof(float));
    }
    drop(&all);
    drop(&one);
    fc_cpu_stream_close(st);
}

static void empty_shapes_are_refused(void **state) {
    fc_stream st;
    (void)state;
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, 0, &st));
    assert_fails(fc_rmsnorm_cpu(st, &(fc_rmsnorm_args){.T = 0, .D = 4}), FC_ERR_ARG, "T=0");
    assert_fails(fc_rmsnorm_cpu(st, &(fc_rmsnorm_args){.T = 1, .D = 0}), FC_ERR_ARG, "D=0");
    fc_cpu_stream_close(st);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_meets_the_reference_with_the_same_bits),
        cmocka_unit_test(a_row_alone_has_the_bits_it_has_in_a_batch),
        cmocka_unit_test(empty_shapes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
