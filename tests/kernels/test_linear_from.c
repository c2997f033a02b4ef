/* linear whose x a norm or a gated unit makes: the bits of the two operators one after the other, whatever the type,
 * rows, threads, workspace and parts; res is updated once; errors. */
#include "kernels/linear/linear.h"

#include "engine/base/mem.h"
#include "engine/base/quant.h"
#include "kernels/cpu/cpu.h"
#include "tests/kernels/util_weight.h"
#include "tests/util.h"

static uint64_t seed = 1201;

/* What makes x, and where it is left. */
typedef enum { NORM, NORM_RES, GLU, GELU, MAKERS } maker;
typedef enum { NOWHERE, APART, IN_PLACE, PLACES } place; /* in place: a norm alone */

typedef struct {
    maker from;
    place left;
    bool precise;
    int T, K;
    const fc_weight *w;
    const float *in, *res, *norm, *bias; /* [T,2K], [T,K], [K], [N]: never written */
} story;

typedef struct {
    float *y, *x, *res, *in; /* [T,N], [T,K], [T,K], [T,2K] */
} outcome;

static float *room(size_t n) {
    void *p = NULL;
    assert_ok(fc_alloc(n, sizeof(float), "test", &p));
    memset(p, 0xff, n * sizeof(float)); /* NaN */
    return p;
}

/* Some 32 of them stand out: fine groups. */
static float *floats(size_t n, float scale) {
    float *x = room(n);
    for (size_t i = 0; i < n; i++) x[i] = scale * (i / 32 % 5 ? 1.0f : 6.0f) * test_normal(&seed);
    return x;
}

static float *copy(const float *from, size_t n) {
    float *x = room(n);
    memcpy(x, from, n * sizeof *x);
    return x;
}

static outcome begin(const story *c) {
    size_t T = (size_t)c->T, K = (size_t)c->K, N = (size_t)c->w->N;
    return (outcome){.y = room(T * N), .x = room(T * K), .res = copy(c->res, T * K), .in = copy(c->in, T * 2 * K)};
}

static void drop(outcome *o) {
    fc_free(o->y);
    fc_free(o->x);
    fc_free(o->res);
    fc_free(o->in);
}

static fc_rmsnorm_args norm_of(const story *c, const outcome *o, float *y) {
    return (fc_rmsnorm_args){.y = y,
                             .x = o->in,
                             .res = c->from == NORM_RES ? o->res : NULL,
                             .w = c->norm,
                             .eps = 1e-5f,
                             .T = c->T,
                             .D = c->K};
}

static fc_glu_args glu_of(const story *c, const outcome *o, float *y) {
    return (fc_glu_args){
        .y = y, .x = o->in, .T = c->T, .F = c->K, .act = c->from == GLU ? FC_ACT_SILU : FC_ACT_GELU_TANH};
}

static bool is_norm(const story *c) { return c->from == NORM || c->from == NORM_RES; }

/* Two operators. */
static outcome apart(fc_stream s, const story *c) {
    outcome o = begin(c);
    fc_rmsnorm_args norm = norm_of(c, &o, o.x);
    fc_glu_args glu = glu_of(c, &o, o.x);
    assert_ok(is_norm(c) ? fc_rmsnorm_cpu(s, &norm) : fc_glu_cpu(s, &glu));
    assert_ok(fc_linear_cpu(
        s, &(fc_linear_args){.y = o.y, .x = o.x, .w = c->w, .bias = c->bias, .T = c->T, .precise = c->precise}));
    return o;
}

typedef fc_status (*linear)(fc_stream s, const fc_linear_args *a);

/* One. */
static outcome fused(fc_stream s, linear run, const story *c) {
    outcome o = begin(c);
    float *left = c->left == NOWHERE ? NULL : c->left == APART ? o.x : o.in;
    fc_rmsnorm_args norm = norm_of(c, &o, left);
    fc_glu_args glu = glu_of(c, &o, left);
    assert_ok(run(s, &(fc_linear_args){.y = o.y,
                                       .w = c->w,
                                       .bias = c->bias,
                                       .norm = is_norm(c) ? &norm : NULL,
                                       .glu = is_norm(c) ? NULL : &glu,
                                       .T = c->T,
                                       .precise = c->precise}));
    return o;
}

static void same_bits(const float *a, const float *b, size_t n, const story *c, const char *what) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0)
            fail_msg("%s: from %d left %d precise %d T=%d K=%d N=%d: element %zu is %.9g, apart %.9g", what,
                     (int)c->from, (int)c->left, c->precise, c->T, c->K, c->w->N, i, (double)a[i], (double)b[i]);
}

static void same(const outcome *one, const outcome *two, const story *c) {
    size_t T = (size_t)c->T, K = (size_t)c->K;
    same_bits(one->y, two->y, T * (size_t)c->w->N, c, "y");
    same_bits(one->res, two->res, T * K, c, "res");
    if (c->left != NOWHERE) same_bits(c->left == APART ? one->x : one->in, two->x, T * K, c, "x");
    if (c->left != IN_PLACE) same_bits(one->in, c->in, T * 2 * K, c, "what x is made from");
}

static fc_stream stream_of(int level, int threads, int rows, int K) {
    fc_stream s = NULL;
    assert_ok(fc_cpu_stream_open((fc_cpu_level)level, threads, fc_linear_workspace_cpu(rows, K),
                                 fc_linear_scratch_cpu(K), &s));
    return s;
}

/* Every maker and place, precise or not, of T rows, with workspace for `rows` rows. */
static void check(int level, int threads, const fc_weight *w, int T, int rows) {
    int K = w->K;
    size_t n = (size_t)T * (size_t)K;
    float *in = floats(2 * n, 1.0f), *res = floats(n, 3.0f), *norm = floats((size_t)K, 1.0f);
    float *bias = floats((size_t)w->N, 1.0f);
    fc_stream s = stream_of(level, threads, rows, K), wide = stream_of(level, 1, 256, K);
    for (int i = 0; i < 2 * MAKERS * PLACES; i++) {
        story c = {.from = (maker)(i / 2 / PLACES),
                   .left = (place)(i / 2 % PLACES),
                   .precise = i % 2,
                   .T = T,
                   .K = K,
                   .w = w,
                   .in = in,
                   .res = res,
                   .norm = norm,
                   .bias = bias};
        outcome one, two;
        if (c.left == IN_PLACE && !is_norm(&c)) continue;
        one = fused(s, fc_linear_cpu, &c);
        two = apart(wide, &c);
        same(&one, &two, &c);
        drop(&one);
        drop(&two);
    }
    fc_free(in);
    fc_free(res);
    fc_free(norm);
    fc_free(bias);
    fc_cpu_stream_close(s);
    fc_cpu_stream_close(wide);
}

/* If this fails, a model computes other numbers than its operators one by one. */
static void one_call_has_the_bits_of_two(void **state) {
    static const int rows[] = {1, 5, 6, 7, 64, 300};
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
        for (int t = 0; t < WEIGHT_TYPES; t++) {
            fc_dtype type = weight_types[t];
            int K = fc_dtype_is_float(type) ? 77 : 1280; /* 1280: 40 groups, no multiple of the 16 that AVX-512 takes */
            fc_stream s = stream_of(l, 1, 0, 0);
            fc_weight *w = weight_made_up(s, type, 19, K, &seed);
            for (int i = 0; i < 6; i++) check(l, 1 + (t + i) % 4, w, rows[i], rows[i]);
            fc_weight_free_cpu(w);
            fc_cpu_stream_close(s);
        }
}

/* Parts that read x in several forms are several passes over it: res must not be added to again, in any chunk, and x
 * not lost. A workspace of one row or of three cuts the rows into more chunks. */
static void passes_and_chunks_make_x_once(void **state) {
    static const fc_dtype mixes[][3] = {{FC_Q6_K, FC_F32, FC_Q8_0},
                                        {FC_F16, FC_Q4_K, FC_BF16},
                                        {FC_Q8_0, FC_Q5_0, FC_Q4_1},
                                        {FC_Q4_0, FC_Q4_0, FC_Q4_0}};
    static const int outputs[] = {18, 16, 3}, rows[] = {1, 7, 64, 300};
    (void)state;
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
        for (size_t m = 0; m < sizeof mixes / sizeof mixes[0]; m++) {
            fc_stream s = stream_of(l, 1, 0, 0);
            fc_weight *w = weight_stack(s, mixes[m], outputs, 3, 768, &seed);
            for (int i = 0; i < 4; i++) {
                check(l, 1 + i, w, rows[i], 256);
                check(l, 4 - i, w, rows[i], 1);
                check(l, 2, w, rows[i], 3);
            }
            fc_weight_free_cpu(w);
            fc_cpu_stream_close(s);
        }
}

/* 65 threads are more than the 256 rows made at once have tiles: some find nothing to do, and x
 * is made once all the same. */
static void more_threads_than_tiles(void **state) {
    (void)state;
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
        for (int i = 0; i < 2; i++) {
            fc_stream s = stream_of(l, 1, 0, 0);
            fc_weight *w = weight_made_up(s, i ? FC_Q4_0 : FC_BF16, 40, 64, &seed);
            check(l, 65, w, 600, 256);
            fc_weight_free_cpu(w);
            fc_cpu_stream_close(s);
        }
}

/* The reference is held to the references of its two operators, and these to the fast ones elsewhere. */
static void the_reference_is_two_references(void **state) {
    enum { T = 3, K = 64, N = 5 };
    fc_stream s = stream_of(FC_CPU_AUTO, 1, T, K);
    fc_weight *w = weight_made_up(s, FC_Q4_1, N, K, &seed);
    float *in = floats((size_t)2 * T * K, 1.0f), *res = floats((size_t)T * K, 3.0f), *norm = floats(K, 1.0f);
    (void)state;
    for (int i = 0; i < MAKERS * PLACES; i++) {
        story c = {.from = (maker)(i / PLACES),
                   .left = (place)(i % PLACES),
                   .T = T,
                   .K = K,
                   .w = w,
                   .in = in,
                   .res = res,
                   .norm = norm};
        outcome one, two;
        fc_rmsnorm_args n;
        fc_glu_args g;
        if (c.left == IN_PLACE && !is_norm(&c)) continue;
        one = fused(s, fc_linear_ref, &c);
        two = begin(&c);
        n = norm_of(&c, &two, two.x);
        g = glu_of(&c, &two, two.x);
        assert_ok(is_norm(&c) ? fc_rmsnorm_ref(s, &n) : fc_glu_ref(s, &g));
        assert_ok(fc_linear_ref(s, &(fc_linear_args){.y = two.y, .x = two.x, .w = w, .T = T}));
        same(&one, &two, &c);
        drop(&one);
        drop(&two);
    }
    fc_free(in);
    fc_free(res);
    fc_free(norm);
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(s);
}

static void wrong_arguments_are_refused(void **state) {
    enum { T = 2, K = 64, N = 5 };
    float y[T * N], x[T * 2 * K] = {0}, w_norm[K] = {0};
    int32_t rows[T] = {0, 1};
    fc_stream s = stream_of(FC_CPU_AUTO, 2, T, K);
    fc_weight *w = weight_made_up(s, FC_Q4_1, N, K, &seed), *f = weight_made_up(s, FC_F32, N, K, &seed);
    fc_rmsnorm_args norm = {.x = x, .w = w_norm, .T = T, .D = K}, other_norm = norm;
    fc_glu_args glu = {.x = x, .T = T, .F = K}, other_glu = glu;
    fc_linear_args a = {.y = y, .w = w, .norm = &norm, .glu = &glu, .T = T};
    (void)state;
    assert_fails(fc_linear_cpu(s, &a), FC_ERR_ARG, "a norm and from a gated unit");
    a.glu = NULL;
    a.norm = &other_norm;
    other_norm.T = 3;
    assert_fails(fc_linear_cpu(s, &a), FC_ERR_ARG, "x is [2,64], its norm's y [3,64]");
    other_norm = norm;
    other_norm.D = 32;
    assert_fails(fc_linear_cpu(s, &a), FC_ERR_ARG, "its norm's y [2,32]");
    other_norm = norm;
    other_norm.rows = rows;
    assert_fails(fc_linear_cpu(s, &a), FC_ERR_ARG, "of listed rows");
    a.norm = NULL;
    a.glu = &other_glu;
    other_glu.T = 1;
    assert_fails(fc_linear_cpu(s, &a), FC_ERR_ARG, "its gated unit's y [1,64]");
    other_glu = glu;
    other_glu.F = 32;
    assert_fails(fc_linear_cpu(s, &a), FC_ERR_ARG, "its gated unit's y [2,32]");
    other_glu = glu;
    other_glu.act = (fc_act)7;
    assert_fails(fc_linear_cpu(s, &a), FC_ERR_ARG, "activation 7");
    a.glu = &glu;
    s->scratch_bytes = 64;
    assert_fails(fc_linear_cpu(s, &a), FC_ERR_MEM, "4096 bytes of scratch a thread, 64 are reserved");
    a.w = f; /* rows of x that nobody keeps, for a matrix that reads them as they stand */
    assert_ok(fc_linear_cpu(s, &a));
    s->workspace_bytes = 64;
    assert_fails(fc_linear_cpu(s, &a), FC_ERR_MEM, "256 bytes of workspace, 64 are reserved");
    s->scratch_bytes = fc_linear_scratch_cpu(K);
    s->workspace_bytes = fc_linear_workspace_cpu(T, K);
    fc_weight_free_cpu(w);
    fc_weight_free_cpu(f);
    fc_cpu_stream_close(s);
}

/* x made in the call is neither written nor read, unless somebody wants it. */
static void costs_leave_x_out(void **state) {
    enum { T = 10, K = 64, N = 32 };
    fc_stream s = stream_of(FC_CPU_AUTO, 1, T, K);
    fc_weight *w = weight_made_up(s, FC_Q4_1, N, K, &seed);
    float x[1];
    fc_rmsnorm_args norm = {.res = x, .T = T, .D = K};
    fc_glu_args glu = {.T = T, .F = K};
    fc_cost plain = fc_linear_cost(&(fc_linear_args){.w = w, .T = T});
    fc_cost one = fc_rmsnorm_cost(&norm), two = fc_linear_cost(&(fc_linear_args){.w = w, .T = T, .norm = &norm});
    (void)state;
    assert_true(two.bytes == plain.bytes + one.bytes - 2 * 4.0 * T * K && two.flops == plain.flops + one.flops);
    norm.y = x;
    two = fc_linear_cost(&(fc_linear_args){.w = w, .T = T, .norm = &norm});
    assert_true(two.bytes == plain.bytes + one.bytes - 4.0 * T * K);
    one = fc_glu_cost(&glu);
    two = fc_linear_cost(&(fc_linear_args){.w = w, .T = T, .glu = &glu});
    assert_true(two.bytes == plain.bytes + one.bytes - 2 * 4.0 * T * K && two.flops == plain.flops + one.flops);
    glu.y = x;
    two = fc_linear_cost(&(fc_linear_args){.w = w, .T = T, .glu = &glu});
    assert_true(two.bytes == plain.bytes + one.bytes - 4.0 * T * K);
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_call_has_the_bits_of_two), cmocka_unit_test(passes_and_chunks_make_x_once),
        cmocka_unit_test(more_threads_than_tiles),      cmocka_unit_test(the_reference_is_two_references),
        cmocka_unit_test(wrong_arguments_are_refused),  cmocka_unit_test(costs_leave_x_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
