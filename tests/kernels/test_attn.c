/* Attention: against one softmax in double, and that nothing but the row itself changes its bits. */
#include "engine/base/mem.h"
#include "kernels/attn/attn.h"
#include "kernels/cpu/cpu.h"
#include "kernels/kv/kv_cpu.h"
#include "tests/kernels/util_attn.h"
#include "tests/util.h"

static fc_stream open_stream(fc_cpu_level level, int threads, int E) {
    fc_stream s = NULL;
    assert_ok(fc_cpu_stream_open(level, threads, 0, fc_attn_scratch_cpu(E), &s));
    return s;
}

static float *take_y(const attn_case *c) {
    void *y;
    assert_ok(fc_alloc((size_t)c->rows * (size_t)c->H * (size_t)c->E, sizeof(float), "test", &y));
    return y;
}

static size_t y_bytes(const attn_case *c) { return (size_t)c->rows * (size_t)c->H * (size_t)c->E * sizeof(float); }

static int gathered_items, gathered_by_branches; /* of all cases run, the second: for rows of several branches */

static void count_gathered(const attn_case *c, const attn_work *w) {
    for (int i = 0; i < w->args.n_items; i++) {
        const fc_attn_item *it = &w->items[i];
        bool several = false;
        for (int r = 1; r < it->n_rows; r++)
            several |= c->branch[w->item_rows[it->row + r]] != c->branch[w->item_rows[it->row]];
        gathered_items += it->gather >= 0;
        gathered_by_branches += it->gather >= 0 && several;
    }
}

/* The answer of one level, cut and number of threads, in a new y. */
static float *run_case(const attn_case *c, attn_cut cut, fc_cpu_level level, int threads) {
    float *y = take_y(c);
    attn_work w;
    fc_stream s = open_stream(level, threads, c->E);
    memset(y, 0xff, y_bytes(c)); /* a row that is forgotten stays NaN */
    attn_work_open(c, cut, y, &w);
    assert_ok(fc_attn_cpu(s, &w.args));
    count_gathered(c, &w);
    attn_work_close(&w);
    fc_cpu_stream_close(s);
    return y;
}

/* Rows at these positions of branches 0, 1, ... in turn. */
static void set_rows(attn_case *c, int branches, int rows, const int *pos) {
    c->branches = branches;
    c->rows = rows;
    for (int t = 0; t < rows; t++) {
        c->branch[t] = t % branches;
        c->pos[t] = pos[t];
    }
}

static attn_case some_case(uint64_t *seed, int longest) {
    static const int heads[][2] = {{1, 1}, {2, 6}, {2, 8}, {1, 8}, {3, 9}, {2, 2}}, dims[] = {16, 64, 96, 128, 256, 48};
    static const int page[] = {1, 2, 4, 8, 16, 32, 64};
    static const fc_dtype types[] = {FC_F32, FC_BF16, FC_I8, FC_F8};
    int h = test_below(seed, 6), pos[ATTN_ROWS], rows = 1 + test_below(seed, 9);
    attn_case c = {.type = types[test_below(seed, 4)],
                   .P = page[test_below(seed, 7)],
                   .G = heads[h][0],
                   .H = heads[h][1],
                   .E = dims[test_below(seed, 6)],
                   .L = 2,
                   .layer = test_below(seed, 2),
                   .seed = fc_rng_next(seed)};
    for (int t = 0; t < rows; t++) pos[t] = test_below(seed, longest);
    set_rows(&c, 1 + test_below(seed, 3), rows, pos);
    c.prefix = test_below(seed, longest);
    for (int t = 0; t < rows; t++) /* the shared part is one that every branch has */
        if (c.prefix > c.pos[t]) c.prefix = c.pos[t];
    if (test_below(seed, 3) == 0) c.soft_cap = 5.0f;
    if (test_below(seed, 2) == 0) c.window = 1 + test_below(seed, test_below(seed, 2) ? longest : 70);
    return c;
}

static void print_case(const attn_case *c, attn_cut cut, const char *level) {
    print_message("%s cut=%d %s P=%d H=%d G=%d E=%d rows=%d branches=%d prefix=%d window=%d cap=%g pos[0]=%d gather=%d "
                  "from tile %d "
                  "stretch=%d seed=%llu\n",
                  level, (int)cut, fc_dtype_name(c->type), c->P, c->H, c->G, c->E, c->rows, c->branches, c->prefix,
                  c->window, (double)c->soft_cap, c->pos[0], c->gather, c->gather_tile, c->stretch,
                  (unsigned long long)c->seed);
}

static double rounded_off, rounded_outputs; /* of all cases over bf16 and int8 KV: the sum of differences, how many */

/* Outputs are means of unit normals, so 2e-5 is absolute. Over bf16 and int8 KV it is in the mean of all cases, as a
 * weight that is rounded the other way moves its outputs by up to 1e-2 and 2e-2, 1/255 of a V of 5: attn.h. */
static void assert_near(const attn_case *c, attn_cut cut, const char *level, const float *y, const float *ref) {
    const bool rounds = c->type == FC_BF16 || c->type == FC_I8;
    const float most = c->type == FC_BF16 ? 1e-2f : c->type == FC_I8 ? 2e-2f : 2e-5f;
    size_t n = y_bytes(c) / sizeof(float);
    for (size_t i = 0; i < n; i++) {
        if (rounds) rounded_off += fabs((double)y[i] - (double)ref[i]), rounded_outputs++;
        if (fabsf(y[i] - ref[i]) <= most) continue;
        print_case(c, cut, level);
        fail_msg("element %zu: %.9g, reference %.9g", i, (double)y[i], (double)ref[i]);
    }
}

static void assert_near_in_the_mean(void) {
    print_message("rounded: %.3g off in the mean of %.0f outputs\n", rounded_off / rounded_outputs, rounded_outputs);
    assert_true(rounded_outputs > 10000 && rounded_off / rounded_outputs <= 2e-5);
}

static float *run_ref(const attn_case *c) {
    float *y = take_y(c);
    attn_work w;
    attn_work_open(c, CUT_ALONE, y, &w);
    assert_ok(fc_attn_ref(NULL, &w.args));
    attn_work_close(&w);
    return y;
}

static void matches_the_reference(void **state) {
    uint64_t seed = 20240611;
    (void)state;
    rounded_off = rounded_outputs = 0.0;
    for (int i = 0; i < 60; i++) {
        attn_case c = some_case(&seed, i % 10 == 9 ? 3000 : i % 2 ? 300 : 90);
        float *ref = run_ref(&c);
        for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
            attn_cut cut = (attn_cut)test_below(&seed, CUT_COUNT);
            float *y = run_case(&c, cut, l, 1 + i % 2);
            assert_near(&c, cut, fc_cpu_level_name(l), y, ref);
            fc_free(y);
        }
        fc_free(ref);
    }
    assert_near_in_the_mean();
}

static void assert_same_bits(const attn_case *c, attn_cut cut, const char *what, const float *y, const float *base) {
    if (memcmp(y, base, y_bytes(c)) == 0) return;
    print_case(c, cut, what);
    for (size_t i = 0; i < y_bytes(c) / sizeof(float); i++)
        if (memcmp(&y[i], &base[i], sizeof(float)))
            fail_msg("element %zu: %.9g, elsewhere %.9g", i, (double)y[i], (double)base[i]);
}

/* If this fails, an answer depends on who else is served, on the page size or on the number of threads. */
static void nothing_else_changes_a_bit(void **state) {
    static const int pages[] = {8, 16, 32, 64, 1};
    uint64_t seed = 777;
    (void)state;
    for (int i = 0; i < 14; i++) {
        attn_case c = some_case(&seed, i % 7 == 6 ? 2600 : i % 2 ? 1300 : 200);
        c.P = 16;
        for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
            float *base = run_case(&c, CUT_ALONE, l, 1), *y;
            for (attn_cut cut = CUT_WHOLE; cut < CUT_COUNT; cut++) {
                attn_case other = c;
                other.P = pages[(i + (int)cut) % 5];
                other.poison = i % 2;
                y = run_case(&other, cut, l, 1 + (i + (int)cut) % 3);
                assert_same_bits(&other, cut, fc_cpu_level_name(l), y, base);
                fc_free(y);
            }
            fc_free(base);
        }
    }
}

/* c with its positions from some tile on in slots of their own: single ones, short runs, or runs over many pages. */
static attn_case gathered(const attn_case *c, uint64_t *seed) {
    static const int stretches[] = {1, 5, 20, 200};
    attn_case other = *c;
    int most = 0;
    for (int t = 0; t < c->rows; t++) most = c->pos[t] > most ? c->pos[t] : most;
    other.gather = true;
    other.gather_tile = test_below(seed, 3) ? test_below(seed, most / FC_ATTN_TILE + 1) : 0;
    other.stretch = stretches[test_below(seed, 4)];
    return other;
}

/* If this fails, the score of a candidate depends on which other candidates share its stem. */
static void where_kv_lies_changes_no_bit(void **state) {
    static const fc_dtype types[] = {FC_F32, FC_BF16, FC_I8, FC_F8};
    static const int pages[] = {8, 16, 64, 32, 1};
    uint64_t seed = 4711;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    gathered_items = gathered_by_branches = 0;
    for (int i = 0; i < 48; i++) {
        attn_case c = some_case(&seed, i % 6 == 5 ? 2600 : i % 2 ? 1300 : 200);
        c.type = types[i % 4];
        for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
            float *base = run_case(&c, CUT_ALONE, l, 1);
            for (attn_cut cut = CUT_WHOLE; cut < CUT_COUNT; cut++) {
                attn_case other = gathered(&c, &seed);
                float *y;
                other.P = pages[test_below(&seed, 5)];
                other.poison = test_below(&seed, 2);
                y = run_case(&other, cut, l, 1 + test_below(&seed, 3));
                assert_same_bits(&other, cut, fc_cpu_level_name(l), y, base);
                fc_free(y);
            }
            fc_free(base);
        }
    }
    printf("%d items gathered, %d of them for several branches\n", gathered_items, gathered_by_branches);
    assert_true(gathered_items > 1000 && gathered_by_branches > 100);
}

static void gathered_matches_the_reference(void **state) {
    uint64_t seed = 90210;
    (void)state;
    rounded_off = rounded_outputs = 0.0;
    for (int i = 0; i < 24; i++) {
        attn_case c = some_case(&seed, i % 8 == 7 ? 1500 : 300), other = gathered(&c, &seed);
        float *paged = run_ref(&c), *ref = run_ref(&other);
        assert_same_bits(&other, CUT_ALONE, "reference", ref, paged);
        for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
            attn_cut cut = (attn_cut)test_below(&seed, CUT_COUNT);
            float *y = run_case(&other, cut, l, 2);
            assert_near(&other, cut, fc_cpu_level_name(l), y, ref);
            fc_free(y);
        }
        fc_free(ref), fc_free(paged);
    }
    assert_near_in_the_mean();
}

/* A row by itself against the same row among fifteen others: decode of n candidates, and a chunk of prefill. */
static void a_row_is_the_same_in_a_crowd(void **state) {
    (void)state;
    for (int prefill = 0; prefill < 2; prefill++)
        for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
            attn_case crowd = {.type = FC_F32, .P = 16, .G = 3, .H = 9, .E = 64, .L = 1, .prefix = 1100, .seed = 5};
            float *all;
            crowd.branches = prefill ? 1 : 16;
            crowd.rows = prefill ? 40 : 16;
            for (int t = 0; t < crowd.rows; t++) {
                crowd.branch[t] = prefill ? 0 : t;
                crowd.pos[t] = prefill ? 1100 + t : 1110 + 7 * t;
            }
            all = run_case(&crowd, CUT_RUNS, l, 2);
            for (int t = 0; t < crowd.rows; t += 5) {
                attn_case one = crowd;
                float *y;
                if (!prefill && t == 0) one.branches = 1;
                one.rows = 1;
                one.branch[0] = crowd.branch[t];
                one.pos[0] = crowd.pos[t];
                one.branches = one.branch[0] + 1;
                y = run_case(&one, CUT_ALONE, l, 1);
                assert_memory_equal(y, all + (size_t)t * 9 * 64, 9 * 64 * sizeof(float));
                fc_free(y);
            }
            fc_free(all);
        }
}

/* Slots that nobody wrote, or that a freed branch left, must not leak into an answer: 0 * NaN is NaN. */
static void unwritten_slots_are_never_read(void **state) {
    static const fc_dtype types[] = {FC_F32, FC_BF16, FC_I8, FC_F8};
    static const int pos[] = {0, 5, 63, 64, 70, 130, 1023, 1024};
    (void)state;
    for (int i = 0; i < 4; i++)
        for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
            attn_case c = {.type = types[i], .P = 32, .G = 1, .H = 2, .E = 32, .L = 1, .seed = 9};
            float *clean, *poisoned;
            set_rows(&c, 8, 8, pos);
            clean = run_case(&c, CUT_WHOLE, l, 1);
            c.poison = true;
            poisoned = run_case(&c, CUT_TILES, l, 1);
            for (size_t k = 0; k < y_bytes(&c) / sizeof(float); k++) assert_true(isfinite(poisoned[k]));
            assert_same_bits(&c, CUT_TILES, "poison", poisoned, clean);
            fc_free(clean);
            fc_free(poisoned);
        }
}

/* Of q, or of K or V of a position that row 0 sees: what reads it is broken, and nothing else, nor the next call. If
 * this fails, one request's broken numbers reach another's, or the next one's through a thread's scratch. */
static void a_nan_does_not_outlive_its_call(void **state) {
    static const fc_dtype types[] = {FC_F32, FC_BF16, FC_I8, FC_F8};
    static const int pos[] = {1100, 90, 3};
    (void)state;
    for (int i = 0; i < 4 * 3; i++)
        for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
            const int where = i % 3; /* q, K, V */
            attn_case c = {.type = types[i / 3], .P = 16, .G = 1, .H = 3, .E = 32, .L = 1, .seed = 21};
            float *first, *again, *broken, k[32] = {0}, v[32] = {0};
            attn_work w;
            fc_stream s = open_stream(l, 1, c.E);
            set_rows(&c, 1, 3, pos);
            first = run_case(&c, CUT_TILES, l, 1);
            again = take_y(&c), broken = take_y(&c);
            for (int round = 0; round < 2; round++) {
                attn_work_open(&c, CUT_TILES, round ? again : broken, &w);
                if (round == 0 && where == 0) w.q[0] = w.q[w.args.ldq] = w.q[2 * w.args.ldq] = NAN;
                if (round == 0 && where > 0) {
                    (where == 1 ? k : v)[0] = NAN;
                    fc_kv_put_cpu(&w.kv, w.pages[500 / c.P], 500 % c.P, 0, 0, k, v); /* rows 1 and 2 end before it */
                }
                assert_ok(fc_attn_cpu(s, &w.args));
                attn_work_close(&w);
            }
            assert_true(isnan(broken[0]));
            assert_true(where ? isfinite(broken[c.H * c.E]) && isfinite(broken[2 * c.H * c.E]) /* other rows */
                              : isfinite(broken[c.E]));                                        /* other heads */
            assert_same_bits(&c, CUT_TILES, "after NaN", again, first);
            fc_cpu_stream_close(s);
            fc_free(first), fc_free(again), fc_free(broken);
        }
}

/* Over int8 KV: numbers whose reciprocal is no f32. A tiny query sees all alike; where V is zero under the one score
 * that counts, what is left weighs e^-80. */
static void tiny_numbers_are_divided_by_nowhere(void **state) {
    static const int pos[] = {1};
    const float high[16] = {320.0f}, none[16] = {0.0f}, one[16] = {1.0f, -1.0f}, three[16] = {3.0f, 3.0f};
    (void)state;
    for (int tiny_query = 0; tiny_query < 2; tiny_query++)
        for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
            attn_case c = {.type = FC_I8, .P = 16, .G = 1, .H = 1, .E = 16, .L = 1, .seed = 1};
            fc_stream s = open_stream(l, 1, c.E);
            float *y = take_y(&c), *ref = take_y(&c);
            attn_work w;
            set_rows(&c, 1, 1, pos);
            attn_work_open(&c, CUT_WHOLE, y, &w);
            for (int e = 0; e < 16; e++) w.q[e] = tiny_query ? 1e-38f : e == 0 ? 1.0f : 0.0f;
            fc_kv_put_cpu(&w.kv, w.pages[0], 0, 0, 0, high, tiny_query ? one : none);
            fc_kv_put_cpu(&w.kv, w.pages[0], 1, 0, 0, none, three);
            assert_ok(fc_attn_cpu(s, &w.args));
            assert_true(fabsf(y[0] - (tiny_query ? 2.0f : 0.0f)) < 2e-2f);
            assert_true(fabsf(y[1] - (tiny_query ? 1.0f : 0.0f)) < 2e-2f);
            w.args.y = ref;
            assert_ok(fc_attn_ref(s, &w.args));
            for (int e = 0; e < 16; e++) assert_true(fabsf(y[e] - ref[e]) < 1e-5f);
            attn_work_close(&w);
            fc_cpu_stream_close(s);
            fc_free(y), fc_free(ref);
        }
}

/* -1e-45 times a weight of e^-60 underflows to -0; a masked position then adds +0, or is left out. Both are +0 at the
 * end. */
static void a_zero_has_one_sign(void **state) {
    static const int pos[] = {1, 40};
    (void)state;
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
        float *y[2];
        for (int crowd = 0; crowd < 2; crowd++) {
            attn_case c = {.type = FC_F32, .P = 16, .G = 1, .H = 1, .E = 16, .L = 1, .seed = 1};
            const float high[16] = {240.0f}, none[16] = {0.0f}, tiny[16] = {-0x1p-149f, -0x1p-149f};
            attn_work w;
            fc_stream s = open_stream(l, 1, c.E);
            set_rows(&c, 1, 1 + crowd, pos);
            y[crowd] = take_y(&c);
            attn_work_open(&c, CUT_WHOLE, y[crowd], &w);
            w.q[0] = 1.0f;
            fc_kv_put_cpu(&w.kv, w.pages[0], 0, 0, 0, high, none);
            fc_kv_put_cpu(&w.kv, w.pages[0], 1, 0, 0, none, tiny);
            assert_ok(fc_attn_cpu(s, &w.args));
            attn_work_close(&w);
            fc_cpu_stream_close(s);
        }
        assert_memory_equal(y[0], y[1], 16 * sizeof(float));
        assert_true(y[0][0] == 0.0f);
        fc_free(y[0]), fc_free(y[1]);
    }
}

/* Position 0 sees itself alone: softmax of one score is 1, so the answer is V, exactly. */
static void the_first_position_returns_its_value(void **state) {
    (void)state;
    for (fc_cpu_level l = FC_CPU_PORTABLE; l <= fc_cpu_best(); l++) {
        attn_case c = {.type = FC_F32, .P = 16, .G = 2, .H = 4, .E = 48, .L = 1, .seed = 3, .rows = 1, .branches = 1};
        float *y = take_y(&c), k[48], v[48];
        attn_work w;
        fc_stream s = open_stream(l, 1, c.E);
        attn_work_open(&c, CUT_WHOLE, y, &w);
        assert_ok(fc_attn_cpu(s, &w.args));
        for (int h = 0; h < 4; h++) {
            fc_kv_get_cpu(&w.kv, w.pages[0], 0, 0, h / 2, k, v);
            assert_memory_equal(y + h * 48, v, sizeof v);
        }
        attn_work_close(&w);
        fc_cpu_stream_close(s);
        fc_free(y);
    }
}

static void refuses_what_it_cannot_do(void **state) {
    attn_case c = {
        .type = FC_F32, .P = 16, .G = 2, .H = 4, .E = 32, .L = 1, .seed = 3, .rows = 1, .branches = 1, .pos = {2000}};
    float *y = take_y(&c);
    attn_work w;
    fc_stream s = open_stream(FC_CPU_AUTO, 1, c.E), small = NULL;
    unsigned long long before;
    (void)state;
    attn_work_open(&c, CUT_WHOLE, y, &w);
    before = fc_alloc_count();
    assert_ok(fc_attn_cpu(s, &w.args));
    assert_true(fc_alloc_count() == before); /* memory was reserved at open */
    w.args.H = 5;
    assert_fails(fc_attn_cpu(s, &w.args), FC_ERR_ARG, "5 query heads");
    w.args.H = 4;
    w.args.layer = 1;
    assert_fails(fc_attn_cpu(s, &w.args), FC_ERR_ARG, "layer=1");
    w.args.layer = 0;
    w.kv.shape.E = 40;
    assert_fails(fc_attn_cpu(s, &w.args), FC_ERR_ARG, "E=40");
    w.kv.shape.E = 32;
    w.kv.shape.P = 24;
    assert_fails(fc_attn_cpu(s, &w.args), FC_ERR_ARG, "24 slots");
    w.kv.shape.P = 16;
    w.items[0].part = 0;
    assert_fails(fc_attn_cpu(s, &w.args), FC_ERR_ARG, "several runs");
    w.items[0].part = -1;
    w.items[0].tile = 3;
    assert_fails(fc_attn_cpu(s, &w.args), FC_ERR_ARG, "begins no run");
    w.items[0].tile = 0;
    assert_ok(fc_cpu_stream_open(FC_CPU_AUTO, 1, 0, 4096, &small));
    assert_fails(fc_attn_cpu(small, &w.args), FC_ERR_MEM, "attn: needs");
    fc_cpu_stream_close(small);
    attn_work_close(&w);
    fc_cpu_stream_close(s);
    fc_free(y);
}

/* If this fails, a wrong list of the engine's reads outside the store. */
static void refuses_slots_that_do_not_exist(void **state) {
    attn_case c = {.type = FC_F32,
                   .P = 16,
                   .G = 1,
                   .H = 2,
                   .E = 32,
                   .L = 1,
                   .seed = 3,
                   .rows = 1,
                   .branches = 1,
                   .pos = {100},
                   .gather = true,
                   .gather_tile = 1};
    float *y = take_y(&c);
    attn_work w;
    fc_stream s = open_stream(FC_CPU_AUTO, 1, c.E);
    int32_t kept;
    (void)state;
    attn_work_open(&c, CUT_WHOLE, y, &w);
    assert_int_equal(w.items[1].gather, 0);
    kept = w.slots[36];
    assert_int_equal(w.slots[37], -1); /* position 101: nobody sees it */
    assert_ok(fc_attn_cpu(s, &w.args));
    w.slots[36] = -1;
    assert_fails(fc_attn_cpu(s, &w.args), FC_ERR_ARG, "position 100 in slot -1");
    w.slots[36] = w.kv.shape.n_pages * 16;
    assert_fails(fc_attn_cpu(s, &w.args), FC_ERR_ARG, "item 1: position 100 in slot");
    w.slots[36] = kept;
    w.items[1].gather = -2;
    assert_fails(fc_attn_cpu(s, &w.args), FC_ERR_ARG, "gather=-2");
    w.items[1].gather = 0;
    w.args.slots = NULL;
    assert_fails(fc_attn_cpu(s, &w.args), FC_ERR_ARG, "without slots");
    attn_work_close(&w);
    fc_cpu_stream_close(s);
    fc_free(y);
}

static void cost_counts_what_the_header_says(void **state) {
    fc_kv_buf kv = {.shape = {.type = FC_BF16, .n_pages = 1, .P = 16, .L = 1, .G = 3, .E = 64}};
    fc_attn_args a = {.kv = &kv, .T = 16, .H = 9};
    fc_cost c = fc_attn_cost(&a, 16.0, 256.0);
    (void)state;
    assert_true(c.flops == 256.0 * 64 * 9 * 64 * 4);
    assert_true(c.bytes == 16.0 * 64 * 3 * 64 * 2 * 2 + 16.0 * 9 * 64 * 4 * 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_reference),
        cmocka_unit_test(nothing_else_changes_a_bit),
        cmocka_unit_test(where_kv_lies_changes_no_bit),
        cmocka_unit_test(gathered_matches_the_reference),
        cmocka_unit_test(a_row_is_the_same_in_a_crowd),
        cmocka_unit_test(unwritten_slots_are_never_read),
        cmocka_unit_test(a_nan_does_not_outlive_its_call),
        cmocka_unit_test(tiny_numbers_are_divided_by_nowhere),
        cmocka_unit_test(a_zero_has_one_sign),
        cmocka_unit_test(the_first_position_returns_its_value),
        cmocka_unit_test(refuses_what_it_cannot_do),
        cmocka_unit_test(refuses_slots_that_do_not_exist),
        cmocka_unit_test(cost_counts_what_the_header_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
