/* attn_wide.cu under emulation: against one softmax in double, and with the bits of the kernel for few query vectors.
 */
#include "kernels/attn/attn_load.h"
#include "tests/cuda_emu/runtime_control.h"
#include "tests/cuda_emu/util_attn_cuda.h"

#if defined(FC_EMU_TSAN) || TEST_WATCHED
enum { CASES = 10 }; /* which are five times as slow */
#else
enum { CASES = 32 };
#endif

static size_t outputs(const attn_case *c) { return (size_t)c->rows * (size_t)c->H * (size_t)c->E; }

static void print_case(const attn_case *c, attn_cut cut, const char *what) {
    print_message("%s: cut=%d P=%d H=%d G=%d E=%d rows=%d branches=%d prefix=%d window=%d cap=%g pos[0]=%d gather=%d "
                  "stretch=%d seed=%llu order=%d\n",
                  what, (int)cut, c->P, c->H, c->G, c->E, c->rows, c->branches, c->prefix, c->window,
                  (double)c->soft_cap, c->pos[0], c->gather, c->stretch, (unsigned long long)c->seed,
                  (int)emu_opts.order);
}

/* small: blocks may have less shared memory than this kernel's want, so that another one has all items. */
static float *run_case(const attn_case *c, attn_cut cut, bool small) {
    float *y = calloc(outputs(c), sizeof *y);
    fc_stream s;
    attn_cuda_work w;
    device_shared = small ? DEVICE_SMALL : 0;
    s = device_stream(0);
    device_shared = 0;
    attn_cuda_open(c, cut, s, &w);
    if (!small && !(w.host.args.widths & FC_ATTN_MANY)) {
        print_case(c, cut, "not wide");
        fail_msg("no item has many query vectors");
    }
    assert_ok(attn_cuda_run(&w, y));
    attn_cuda_close(&w);
    device_close(s);
    return y;
}

static void assert_same(const attn_case *c, attn_cut cut, const float *y, const float *base) {
    for (size_t i = 0; i < outputs(c); i++)
        if (memcmp(&y[i], &base[i], sizeof *y)) {
            print_case(c, cut, "bits");
            fail_msg("element %zu: %.9g, elsewhere %.9g", i, (double)y[i], (double)base[i]);
        }
}

/* As in test_attn.c: 1e-2 where a weight was rounded the other way, 2e-5 in the mean. */
static void assert_near(const attn_case *c, attn_cut cut, const float *y) {
    float *ref = calloc(outputs(c), sizeof *ref);
    double off = 0.0;
    fc_stream s = device_stream(0);
    attn_cuda_work w;
    attn_cuda_open(c, cut, s, &w);
    attn_cuda_ref(&w, ref);
    for (size_t i = 0; i < outputs(c); i++) {
        double d = fabs((double)y[i] - (double)ref[i]);
        off += d;
        if (d <= 1e-2) continue;
        print_case(c, cut, "far off");
        fail_msg("element %zu: %.9g, reference %.9g", i, (double)y[i], (double)ref[i]);
    }
    assert_true(off / (double)outputs(c) <= 2e-5);
    attn_cuda_close(&w);
    device_close(s);
    free(ref);
}

/* Rows of branches 0, 1, .. in turn, at positions from first on. */
static void set_rows(attn_case *c, int branches, int rows, int first, int apart) {
    c->branches = branches;
    c->rows = rows;
    for (int t = 0; t < rows; t++) {
        c->branch[t] = t % branches;
        c->pos[t] = first + t * apart % 97;
    }
}

/* A chunk of a prompt, branches of one prefix, several runs in one item, windows, soft caps, slots of their own; heads
 * of all widths, filled up to 64 and 128. */
static attn_case some_case(uint64_t *seed, int i) {
    static const int heads[][2] = {{1, 4}, {2, 8}, {1, 8}, {1, 12}, {2, 32}}, dims[] = {64, 128, 16, 96, 48, 80, 112};
    static const int page[] = {16, 64, 1, 4, 32};
    const int h = i % 5, long_ones = i % 4 == 3, per = heads[h][1] / heads[h][0];
    attn_case c = {.type = FC_BF16,
                   .P = page[test_below(seed, 5)],
                   .G = heads[h][0],
                   .H = heads[h][1],
                   .E = dims[i % 7],
                   .L = 2,
                   .layer = test_below(seed, 2),
                   .seed = fc_rng_next(seed)};
    int rows = 64 / per + 1 + test_below(seed, ATTN_ROWS - 64 / per - 1),
        first = test_below(seed, long_ones ? 1300 : 300);
    set_rows(&c, i % 3 == 0 ? 1 : 1 + test_below(seed, ATTN_BRANCHES), rows, first, 1 + test_below(seed, 3));
    c.prefix = c.branches > 1 ? first : 0;
    if (i % 5 == 1) c.soft_cap = 5.0f;
    if (i % 4 == 1) c.window = 1 + test_below(seed, 150);
    if (i % 6 == 5) {
        c.gather = true;
        c.stretch = 1 + test_below(seed, 40);
    }
    return c;
}

static void every_kind_is_as_the_reference_and_as_few(void **state) {
    uint64_t seed = 20261127;
    (void)state;
    for (int i = 0; i < CASES; i++) {
        attn_case c = some_case(&seed, i);
        attn_cut cut = c.branches == 1 ? (i % 2 ? CUT_TILES : CUT_WHOLE) : i % 2 ? CUT_RUNS : CUT_TILES;
        float *few, *y;
        if (c.prefix < FC_ATTN_TILE && c.branches > 1)
            c.prefix = 0, c.branches = 1, memset(c.branch, 0, sizeof c.branch);
        emu_opts.order = (emu_order)(i % EMU_ORDERS);
        emu_opts.seed = (uint64_t)i;
        y = run_case(&c, cut, false);
        few = run_case(&c, cut, true);
        assert_same(&c, cut, y, few);
        assert_near(&c, cut, y);
        free(y), free(few);
    }
}

/* A unit of two runs and more closes them in y, one after the other. */
static void runs_of_an_item_close_in_y(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        attn_case c = {.type = FC_BF16, .P = 64, .G = 1, .H = 2, .E = i ? 16 : 80, .L = 1, .seed = 3};
        float *few, *y;
        set_rows(&c, 1, 70, 2050, 1);
        y = run_case(&c, CUT_WHOLE, false);
        few = run_case(&c, CUT_RUNS, true);
        assert_same(&c, CUT_WHOLE, y, few);
        free(y), free(few);
    }
}

/* If this fails, a barrier or a wait is missing somewhere. Units of one and of two warpgroups, more of them than
 * blocks, of one tile and of more than the ring holds. */
static void the_order_of_fibres_changes_no_bit(void **state) {
    (void)state;
    device_sms = 2;
    for (int i = 0; i < 3; i++) {
        attn_case c = {.type = FC_BF16, .P = 16, .G = 2, .H = 8, .E = i == 1 ? 128 : 32, .L = 1, .seed = 40};
        float *base;
        set_rows(&c, 1, i == 2 ? 72 : 40, i ? 400 : 1, 1);
        emu_opts.order = EMU_FORWARD;
        base = run_case(&c, CUT_WHOLE, true);
        each_order({
            float *y = run_case(&c, CUT_WHOLE, false);
            assert_same(&c, CUT_WHOLE, y, base);
            free(y);
        });
        free(base);
    }
    device_sms = 0;
}

/* A NaN of a row, a slot that nobody wrote: only who has or sees it is changed. */
static void broken_numbers_stay_where_they_are(void **state) {
    attn_case c = {.type = FC_BF16, .P = 32, .G = 1, .H = 4, .E = 64, .L = 1, .seed = 9};
    float *clean, *poisoned, *y = NULL;
    fc_stream s = device_stream(0);
    attn_cuda_work w;
    (void)state;
    set_rows(&c, 1, 40, 20, 5);
    clean = run_case(&c, CUT_WHOLE, false);
    c.poison = true;
    poisoned = run_case(&c, CUT_WHOLE, false);
    assert_same(&c, CUT_WHOLE, poisoned, clean);
    y = calloc(outputs(&c), sizeof *y);
    attn_cuda_open(&c, CUT_WHOLE, s, &w);
    w.host.q[7 * w.host.args.ldq] = NAN; /* row 7, head 0 */
    assert_ok(attn_cuda_run(&w, y));
    attn_cuda_close(&w);
    for (size_t i = 0; i < outputs(&c); i++) {
        if (i / 64 == 7 * 4) assert_true(isnan(y[i]));
        else assert_memory_equal(&y[i], &clean[i], sizeof *y);
    }
    free(clean), free(poisoned), free(y);
    device_close(s);
}

/* If this fails, a page table that is wrong is read wherever it points. */
static void slots_that_do_not_exist_are_told(void **state) {
    attn_case c = {.type = FC_BF16, .P = 16, .G = 1, .H = 8, .E = 64, .L = 1, .seed = 3};
    fc_stream s = device_stream(0);
    float *y, *clean;
    attn_cuda_work w;
    (void)state;
    set_rows(&c, 1, 10, 90, 1);
    clean = run_case(&c, CUT_WHOLE, false);
    y = calloc(outputs(&c), sizeof *y);
    attn_cuda_open(&c, CUT_WHOLE, s, &w);
    for (int i = 0; i < 2; i++) {
        int32_t kept = w.host.pages[3];
        w.host.pages[3] = i ? w.kv.shape.n_pages : -1;
        assert_fails(attn_cuda_run(&w, y), FC_ERR_ARG, "attn: item 0: a position that its rows see lies in no slot");
        w.host.pages[3] = kept;
        assert_ok(attn_cuda_run(&w, y)); /* said once, forgotten then */
        assert_same(&c, CUT_WHOLE, y, clean);
    }
    attn_cuda_close(&w);
    device_close(s);
    free(y), free(clean);
}

#ifndef FC_TESTS_GPU
/* As many as the cost model says. */
static uint64_t launches(const attn_case *c, attn_cut cut) {
    const fc_load_device d = {.sms = 4, .warpgroups = !emu_device_opts.sm || emu_device_opts.sm == 90};
    fc_stream s = device_stream(0);
    attn_cuda_work w;
    fc_attn_args told;
    fc_load l[2];
    uint64_t before, n;
    attn_cuda_open(c, cut, s, &w);
    told = w.host.args;
    told.kv = &w.kv;
    before = emu_counts().launches;
    free(run_case(c, cut, false));
    n = emu_counts().launches - before;
    assert_int_equal(n, fc_attn_load_cuda(&told, &d, l));
    attn_cuda_close(&w);
    device_close(s);
    return n;
}

/* Items of few vectors, and folds, want the other kernel; what is left for nobody is not launched. */
static void who_is_launched(void **state) {
    attn_case c = {.type = FC_BF16, .P = 16, .G = 1, .H = 8, .E = 64, .L = 1, .seed = 1};
    (void)state;
    set_rows(&c, 1, 9, 100, 1);
    assert_int_equal(launches(&c, CUT_WHOLE), 1);
    assert_int_equal(launches(&c, CUT_TILES), 2); /* folds */
    set_rows(&c, 2, 10, 100, 1);
    c.prefix = 64;
    assert_int_equal(launches(&c, CUT_RUNS), 2); /* branches' own tiles */
    set_rows(&c, 1, 9, 100, 1);
    c.prefix = 0;
    c.E = 256;
    assert_int_equal(launches(&c, CUT_WHOLE), 1); /* too wide a head */
    c.E = 64;
    for (int sm = 80; sm <= 120; sm += 40) {
        emu_reset();
        emu_device_opts.sm = sm;
        assert_int_equal(launches(&c, CUT_TILES), 1);
    }
    emu_reset();
    emu_device_opts.sm = 0;
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_as_the_reference_and_as_few),
        cmocka_unit_test(runs_of_an_item_close_in_y),
        cmocka_unit_test(the_order_of_fibres_changes_no_bit),
        cmocka_unit_test(broken_numbers_stay_where_they_are),
        cmocka_unit_test(slots_that_do_not_exist_are_told),
#ifndef FC_TESTS_GPU
        cmocka_unit_test(who_is_launched),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
