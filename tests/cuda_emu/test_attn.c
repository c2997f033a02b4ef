/* attn.cu under emulation: against one softmax in double, and that nothing but the row itself changes its bits. */
#include "tests/cuda_emu/util_attn_cuda.h"

static const fc_dtype types[] = {FC_F32, FC_BF16, FC_I8, FC_F8};
enum { N_TYPES = 4 };

static size_t outputs(const attn_case *c) { return (size_t)c->rows * (size_t)c->H * (size_t)c->E; }
static float *take_y(const attn_case *c) { return calloc(outputs(c), sizeof(float)); }

/* Rows at these positions of branches 0, 1, ... in turn. */
static void set_rows(attn_case *c, int branches, int rows, const int *pos) {
    c->branches = branches;
    c->rows = rows;
    for (int t = 0; t < rows; t++) {
        c->branch[t] = t % branches;
        c->pos[t] = pos[t];
    }
}

static void print_case(const attn_case *c, attn_cut cut, const char *what) {
    print_message(
        "%s: cut=%d %s P=%d H=%d G=%d E=%d rows=%d branches=%d prefix=%d window=%d cap=%g pos[0]=%d gather=%d "
        "from tile %d stretch=%d seed=%llu order=%d\n",
        what, (int)cut, fc_dtype_name(c->type), c->P, c->H, c->G, c->E, c->rows, c->branches, c->prefix, c->window,
        (double)c->soft_cap, c->pos[0], c->gather, c->gather_tile, c->stretch, (unsigned long long)c->seed,
        (int)emu_opts.order);
}

static void run_on(fc_stream s, const attn_case *c, attn_cut cut, float *y) {
    attn_cuda_work w;
    attn_cuda_open(c, cut, s, &w);
    assert_ok(attn_cuda_run(&w, y));
    attn_cuda_close(&w);
}

static float *run_case(const attn_case *c, attn_cut cut) {
    float *y = take_y(c);
    fc_stream s = device_stream(0);
    run_on(s, c, cut, y);
    device_close(s);
    return y;
}

static attn_case some_case(uint64_t *seed, int longest) {
    static const int heads[][2] = {{1, 1}, {1, 3}, {2, 4}, {1, 8}, {2, 6}, {2, 2}}, dims[] = {16, 64, 96, 128, 256, 48};
    static const int page[] = {1, 4, 16, 64, 2, 32};
    int h = test_below(seed, 6), pos[ATTN_ROWS], rows = 1 + test_below(seed, 9);
    attn_case c = {.type = types[test_below(seed, N_TYPES)],
                   .P = page[test_below(seed, 6)],
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

/* ---- against the references ---- */

static double off, of; /* where weights are rounded: the sum of differences, and of how many outputs */

/* Outputs are means of unit normals, so 2e-5 is absolute. Where weights are rounded to bf16 it is in the mean of all
 * cases, as a weight that is rounded the other way moves its outputs by up to 1e-2: attn.h. */
static void assert_near(const attn_case *c, attn_cut cut, const float *y, const float *ref) {
    const float most = c->type == FC_F32 ? 2e-5f : 1e-2f;
    for (size_t i = 0; i < outputs(c); i++) {
        if (c->type != FC_F32) off += fabs((double)y[i] - (double)ref[i]), of++;
        if (fabsf(y[i] - ref[i]) <= most) continue;
        print_case(c, cut, "far off");
        fail_msg("element %zu: %.9g, reference %.9g", i, (double)y[i], (double)ref[i]);
    }
}

/* The CPU's reference knows f32 and bf16, and reads the CPU's layout: that it agrees with this one's holds both. */
static void assert_references_agree(const attn_case *c, const attn_cuda_work *w, const float *ref) {
    float *y = take_y(c);
    fc_attn_args a = w->host.args;
    a.y = y;
    assert_ok(fc_attn_ref(NULL, &a));
    for (size_t i = 0; i < outputs(c); i++) assert_true(fabsf(y[i] - ref[i]) <= 1e-6f);
    free(y);
}

static void meets_the_reference(fc_stream s, const attn_case *c, attn_cut cut) {
    float *y = take_y(c), *ref = take_y(c);
    attn_cuda_work w;
    attn_cuda_open(c, cut, s, &w);
    assert_ok(attn_cuda_run(&w, y));
    attn_cuda_ref(&w, ref);
    if (c->type == FC_F32 || c->type == FC_BF16) assert_references_agree(c, &w, ref);
    assert_near(c, cut, y, ref);
    attn_cuda_close(&w);
    free(y), free(ref);
}

/* Decoding of Llama 3.1 8B: a prefix of 4096 that 16 branches share. */
static attn_case decoding(fc_dtype type, int rows) {
    attn_case c = {.type = type, .P = 16, .G = 8, .H = 32, .E = 128, .L = 1, .prefix = 4096, .seed = 99};
    int pos[ATTN_ROWS];
    for (int t = 0; t < rows; t++) pos[t] = 4096 + 7 * t % 60;
    set_rows(&c, ATTN_BRANCHES, rows, pos);
    return c;
}

static void every_kind_meets_the_reference(void **state) {
    static const int dims[] = {16, 64, 96, 128, 256, 48, 80, 208};
    uint64_t seed = 20240611;
    fc_stream s = device_stream(0);
    (void)state;
    off = of = 0.0;
    for (int i = 0; i < 64; i++) {
        attn_case c = some_case(&seed, i % 16 == 15 ? 1300 : i % 2 ? 200 : 90);
        c.type = types[i % N_TYPES];
        c.E = dims[i / N_TYPES % 8];
        emu_opts.order = (emu_order)(i % EMU_ORDERS);
        emu_opts.seed = (uint64_t)i;
        if (i % 3 == 2) c = gathered(&c, &seed);
        meets_the_reference(s, &c, (attn_cut)test_below(&seed, CUT_COUNT));
    }
    for (int i = 0; i < 2 * N_TYPES && device_full(); i++) {
        attn_case c = decoding(types[i % N_TYPES], i < N_TYPES ? 64 : 16);
        meets_the_reference(s, &c, i < N_TYPES ? CUT_RUNS : CUT_WHOLE);
    }
    device_close(s);
    print_message("rounded weights: %.3g off in the mean of %.0f outputs\n", off / of, of);
    assert_true(of > 10000 && off / of <= 2e-5);
}

/* Items of several units, and more items than a block sees at a time. */
static void many_rows_and_items_meet_the_reference(void **state) {
    uint64_t seed = 31;
    fc_stream s = device_stream(0);
    (void)state;
    for (int i = 0; i < N_TYPES + 1; i++) {
        attn_case c = {.type = types[i % N_TYPES], .P = 16, .G = 1, .H = 8, .E = 64, .L = 1, .seed = 100 + (uint64_t)i};
        int pos[ATTN_ROWS], rows = i < N_TYPES ? 65 + 2 * i : 16;
        emu_opts.order = (emu_order)(i % EMU_ORDERS);
        for (int t = 0; t < rows; t++) pos[t] = i < N_TYPES ? test_below(&seed, 150) : 700 + test_below(&seed, 100);
        set_rows(&c, i < N_TYPES ? 3 : 16, rows, pos);
        if (i == N_TYPES) c.H = 2, c.E = 16; /* 176 items or more */
        meets_the_reference(s, &c, i < N_TYPES ? CUT_WHOLE : CUT_TILES);
    }
    device_close(s);
}

/* ---- bits ---- */

static void assert_same_bits(const attn_case *c, attn_cut cut, const char *what, const float *y, const float *base) {
    if (memcmp(y, base, outputs(c) * sizeof(float)) == 0) return;
    print_case(c, cut, what);
    for (size_t i = 0; i < outputs(c); i++)
        if (memcmp(&y[i], &base[i], sizeof(float)))
            fail_msg("element %zu: %.9g, elsewhere %.9g", i, (double)y[i], (double)base[i]);
}

/* If this fails, an answer depends on who else is served, on the page size, or on where K and V lie. */
static void nothing_else_changes_a_bit(void **state) {
    static const int pages[] = {4, 16, 64, 1};
    uint64_t seed = 777;
    (void)state;
    for (int i = 0; i < 12; i++) {
        attn_case c = some_case(&seed, i % 6 == 5 ? 2300 : i % 2 ? 1100 : 200);
        float *base, *y;
        c.type = types[i % N_TYPES];
        if (i % 6 >= 4) c.E = 48, c.G = 1, c.H = 2;
        emu_opts.order = EMU_FORWARD;
        base = run_case(&c, CUT_ALONE);
        for (attn_cut cut = CUT_WHOLE; cut < CUT_COUNT; cut++) {
            attn_case other = (i + (int)cut) % 2 ? gathered(&c, &seed) : c;
            other.P = pages[(i + (int)cut) % 4];
            other.poison = i % 2;
            emu_opts.order = (emu_order)test_below(&seed, EMU_ORDERS);
            emu_opts.seed = fc_rng_next(&seed);
            y = run_case(&other, cut);
            assert_same_bits(&other, cut, "bits", y, base);
            free(y);
        }
        free(base);
    }
}

/* Items of few query vectors are a kernel's of smaller units, where the host says that there are no others. */
static void small_units_change_no_bit(void **state) {
    static const int dims[] = {128, 64, 96, 16, 80};
    uint64_t seed = 20261128;
    fc_stream s = device_stream(0);
    (void)state;
    for (int i = 0; i < 15; i++) {
        attn_case c = some_case(&seed, i % 5 == 4 ? 1300 : 200);
        attn_cut cut = (attn_cut)test_below(&seed, CUT_COUNT);
        float *y, *base;
        attn_cuda_work w;
        c.type = types[1 + i % (N_TYPES - 1)];
        c.E = dims[i % 5];
        c.H = c.G * (1 + test_below(&seed, FC_ATTN_FEW_MOST / c.rows));
        if (i % 2) c = gathered(&c, &seed);
        y = take_y(&c), base = take_y(&c);
        emu_opts.order = (emu_order)(i % EMU_ORDERS);
        attn_cuda_open(&c, cut, s, &w);
        assert_int_equal(w.host.args.widths, FC_ATTN_FEW);
        assert_ok(attn_cuda_run(&w, y));
        w.host.args.widths = 0;
        assert_ok(attn_cuda_run(&w, base));
        assert_same_bits(&c, cut, "small units", y, base);
        attn_cuda_close(&w);
        free(y), free(base);
    }
    device_close(s);
}

/* Rows of two and three runs, folded in y by one unit, or from partial states; some of them grow at a later run. */
static void runs_fold_alike_in_y_and_from_parts(void **state) {
    static const int pos[] = {2100, 1500, 1024, 2047};
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        attn_case c = {.type = types[i], .P = 64, .G = 1, .H = 4, .E = 16, .L = 1, .seed = 50 + (uint64_t)i};
        fc_stream s = device_stream(0);
        float *whole, *y;
        emu_opts.order = (emu_order)(i % EMU_ORDERS);
        set_rows(&c, 1, 4, pos);
        meets_the_reference(s, &c, CUT_WHOLE);
        whole = run_case(&c, CUT_WHOLE);
        for (attn_cut cut = CUT_RUNS; cut <= CUT_TILES; cut++) {
            y = run_case(&c, cut);
            assert_same_bits(&c, cut, "runs", y, whole);
            free(y);
        }
        free(whole);
        device_close(s);
    }
}

/* A row by itself against the same row in a crowd: decode of n candidates, a chunk of prefill of 70 rows. */
static void a_row_is_the_same_in_a_crowd(void **state) {
    (void)state;
    for (int kind = 0; kind < 2 * N_TYPES; kind++) {
        const bool prefill = kind % 2;
        attn_case crowd = {.type = types[kind / 2], .P = 16, .G = 1, .E = 64, .L = 1, .prefix = 1030, .seed = 5};
        float *all;
        size_t n;
        emu_opts.order = (emu_order)(kind % EMU_ORDERS);
        crowd.H = prefill ? 2 : 8;
        crowd.branches = prefill ? 1 : 9;
        crowd.rows = prefill ? 70 : 9;
        n = (size_t)crowd.H * (size_t)crowd.E;
        for (int t = 0; t < crowd.rows; t++) {
            crowd.branch[t] = prefill ? 0 : t;
            crowd.pos[t] = prefill ? 1030 + t : 1040 + 7 * t;
        }
        all = run_case(&crowd, CUT_RUNS);
        for (int t = 0; t < crowd.rows; t += prefill ? 23 : 4) {
            attn_case one = crowd;
            float *y;
            one.rows = 1;
            one.branch[0] = crowd.branch[t];
            one.pos[0] = crowd.pos[t];
            one.branches = one.branch[0] + 1;
            if (!prefill && t == 0) one.prefix = crowd.prefix; /* branch 0's own */
            y = run_case(&one, CUT_ALONE);
            if (memcmp(y, all + (size_t)t * n, n * sizeof(float))) {
                print_case(&crowd, CUT_RUNS, "crowd");
                fail_msg("row %d has other bits alone", t);
            }
            free(y);
        }
        free(all);
    }
}

/* If this fails, a barrier or a wait is missing somewhere: small cases of every type, in each order of fibres. */
static void the_order_of_fibres_changes_no_bit(void **state) {
    static const int pos[] = {130, 70, 1, 64, 127};
    static const int dims[] = {48, 96, 128, 256};
    (void)state;
    for (int k = 0; k < 2 * N_TYPES; k++) {
        attn_case c = {.type = types[k % N_TYPES], .P = 4, .G = 1, .H = k < N_TYPES ? 2 : 8, .L = 1};
        float *base;
        c.E = dims[(k + k / N_TYPES) % 4];
        c.seed = 40 + (uint64_t)k;
        c.prefix = 1;
        set_rows(&c, 2, 5, pos);
        emu_opts.order = EMU_FORWARD;
        base = run_case(&c, CUT_RUNS);
        each_order({
            float *y = run_case(&c, CUT_RUNS);
            assert_same_bits(&c, CUT_RUNS, "order", y, base);
            free(y);
        });
        free(base);
    }
}

/* If this fails, the counters of one call stay behind: the next call on the stream skips units or folds too early. */
static void calls_leave_nothing_behind(void **state) {
    static const int pos[] = {200, 90, 3, 150};
    fc_stream s = device_stream(0);
    attn_case c = {.type = FC_BF16, .P = 16, .G = 2, .H = 4, .E = 32, .L = 1, .seed = 12, .prefix = 3};
    attn_case d = {.type = FC_F32, .P = 16, .G = 1, .H = 3, .E = 16, .L = 1, .seed = 13, .prefix = 3};
    float *first[2], *again;
    (void)state;
    set_rows(&c, 2, 4, pos);
    set_rows(&d, 1, 4, pos);
    first[0] = run_case(&c, CUT_TILES);
    first[1] = run_case(&d, CUT_WHOLE);
    for (int i = 0; i < 4; i++) {
        const attn_case *k = i % 2 ? &d : &c;
        again = take_y(k);
        run_on(s, k, i % 2 ? CUT_WHOLE : CUT_TILES, again);
        assert_same_bits(k, CUT_TILES, "again", again, first[i % 2]);
        free(again);
    }
    free(first[0]), free(first[1]);
    device_close(s);
}

/* ---- numbers that are none, zeroes, and exact answers ---- */

/* Slots that nobody wrote, or that a freed branch left, must not leak into an answer: 0 * NaN is NaN. */
static void unwritten_slots_are_never_read(void **state) {
    static const int pos[] = {0, 5, 63, 64, 70, 130, 1023, 1024};
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        attn_case c = {.type = types[i], .P = 32, .G = 1, .H = 2, .E = 32, .L = 1, .seed = 9};
        float *clean, *poisoned;
        set_rows(&c, 8, 8, pos);
        clean = run_case(&c, CUT_WHOLE);
        c.poison = true;
        poisoned = run_case(&c, CUT_TILES);
        for (size_t k = 0; k < outputs(&c); k++) assert_true(isfinite(poisoned[k]));
        assert_same_bits(&c, CUT_TILES, "poison", poisoned, clean);
        free(clean), free(poisoned);
    }
}

/* If this fails, one request's broken numbers reach another row, or the next call. */
static void a_nan_stays_in_its_head(void **state) {
    static const int pos[] = {1100, 90, 3};
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        attn_case c = {.type = types[i], .P = 16, .G = 1, .H = 3, .E = 32, .L = 1, .seed = 21};
        fc_stream s = device_stream(0);
        float *first, *broken = NULL, *again = NULL;
        set_rows(&c, 1, 3, pos);
        first = run_case(&c, CUT_TILES);
        for (int round = 0; round < 2; round++) {
            float *y = take_y(&c);
            attn_cuda_work w;
            attn_cuda_open(&c, CUT_TILES, s, &w);
            if (round == 0) w.host.q[0] = w.host.q[w.host.args.ldq] = w.host.q[2 * w.host.args.ldq] = NAN;
            assert_ok(attn_cuda_run(&w, y));
            attn_cuda_close(&w);
            if (round) again = y;
            else broken = y;
        }
        for (int t = 0; t < 3; t++)
            for (int e = 0; e < 3 * 32; e++) {
                float y = broken[t * 96 + e];
                if (e < 32) assert_true(isnan(y));
                else assert_memory_equal(&y, &first[t * 96 + e], sizeof y);
            }
        assert_same_bits(&c, CUT_TILES, "after NaN", again, first);
        device_close(s);
        free(first), free(again), free(broken);
    }
}

/* -1e-45 times a weight of e^-60 underflows to -0; a masked position then adds +0, or is left out. */
static void a_zero_has_one_sign(void **state) {
    static const int pos[] = {1, 40};
    (void)state;
    for (int i = 0; i < 2; i++) {
        float *y[2];
        for (int crowd = 0; crowd < 2; crowd++) {
            attn_case c = {.type = types[i], .P = 16, .G = 1, .H = 1, .E = 16, .L = 1, .seed = 1};
            fc_stream s = device_stream(0);
            attn_cuda_work w;
            unsigned char *k, *v;
            float *k_scale, *v_scale;
            set_rows(&c, 1, 1 + crowd, pos);
            y[crowd] = take_y(&c);
            attn_cuda_open(&c, CUT_WHOLE, s, &w);
            w.host.q[0] = 1.0f;
            for (int slot = 0; slot < 2; slot++) {
                attn_cuda_slot(&w, w.host.pages[0], slot, 0, 0, &k, &v, &k_scale, &v_scale);
                memset(k, 0, 16 * fc_kv_elem_bytes(c.type));
                memset(v, 0, 16 * fc_kv_elem_bytes(c.type));
                if (c.type == FC_F32 && slot == 0) *(float *)(void *)k = 240.0f;
                if (c.type == FC_F32 && slot == 1) *(float *)(void *)v = -0x1p-149f;
                if (c.type == FC_BF16 && slot == 0) *(uint16_t *)(void *)k = fc_f32_to_bf16(240.0f);
                if (c.type == FC_BF16 && slot == 1) *(uint16_t *)(void *)v = 0x8001;
            }
            attn_cuda_store(&w);
            assert_ok(attn_cuda_run(&w, y[crowd]));
            attn_cuda_close(&w);
            device_close(s);
        }
        assert_memory_equal(y[0], y[1], 16 * sizeof(float));
        assert_true(y[0][0] == 0.0f && !signbit(y[0][0]));
        free(y[0]), free(y[1]);
    }
}

/* Position 0 sees itself alone: softmax of one score is 1, so the answer is V, exactly: every code of a byte. */
static void the_first_position_returns_its_value(void **state) {
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        attn_case c = {
            .type = types[i], .P = 16, .G = 2, .H = 4, .E = 256, .L = 1, .seed = 3, .rows = 1, .branches = 1};
        fc_stream s = device_stream(0);
        float *y = take_y(&c), *ref = take_y(&c);
        attn_cuda_work w;
        attn_cuda_open(&c, CUT_WHOLE, s, &w);
        for (int g = 0; g < 2 && fc_kv_scaled(c.type); g++) {
            unsigned char *k, *v;
            float *k_scale, *v_scale;
            attn_cuda_slot(&w, w.host.pages[0], 0, 0, g, &k, &v, &k_scale, &v_scale);
            for (int e = 0; e < 256; e++) k[e] = v[e] = (unsigned char)(c.type == FC_F8 && e % 128 == 127 ? 0 : e);
            *k_scale = 0.01f;
            *v_scale = 0.375f;
        }
        attn_cuda_store(&w);
        assert_ok(attn_cuda_run(&w, y));
        attn_cuda_ref(&w, ref);
        assert_same_bits(&c, CUT_WHOLE, "exact", y, ref);
        if (c.type == FC_I8) assert_true(y[255] == -0.375f && y[128] == -48.0f && y[127] == 47.625f);
        if (c.type == FC_F8) assert_true(y[0x7e] == 448.0f * 0.375f && y[1] == 0x1p-9f * 0.375f && y[0xb8] == -0.375f);
        attn_cuda_close(&w);
        device_close(s);
        free(y), free(ref);
    }
}

/* ---- what is refused ---- */

/* If this fails, a wrong list of the engine's reads outside the store. */
static void refuses_slots_that_do_not_exist(void **state) {
    attn_case c = {.type = FC_BF16,
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
    fc_stream s = device_stream(0);
    float *y = take_y(&c);
    attn_cuda_work w;
    int32_t kept;
    (void)state;
    attn_cuda_open(&c, CUT_WHOLE, s, &w);
    assert_int_equal(w.host.items[1].gather, 0);
    kept = w.host.slots[36];
    assert_int_equal(w.host.slots[37], -1); /* position 101: nobody sees it */
    assert_ok(attn_cuda_run(&w, y));
    w.host.slots[36] = -1;
    assert_fails(attn_cuda_run(&w, y), FC_ERR_ARG, "attn: item 1: a position that its rows see lies in no slot");
    w.host.slots[36] = w.kv.shape.n_pages * 16;
    assert_fails(attn_cuda_run(&w, y), FC_ERR_ARG, "attn: item 1");
    w.host.slots[36] = kept;
    kept = w.host.pages[0];
    w.host.pages[0] = w.kv.shape.n_pages;
    assert_fails(attn_cuda_run(&w, y), FC_ERR_ARG, "attn: item 0");
    w.host.pages[0] = kept;
    assert_ok(attn_cuda_run(&w, y)); /* said once, forgotten then */
    attn_cuda_close(&w);
    device_close(s);
    free(y);
}

static void needs_are_told(void **state) {
    attn_case c = {.type = FC_F32, .P = 16, .G = 2, .H = 4, .E = 32, .L = 1, .seed = 3, .rows = 1, .branches = 1};
    attn_case wide = c;
    fc_stream s = device_stream(0), little;
    float *y = take_y(&c), *wide_y;
    attn_cuda_work w, v;
    (void)state;
    wide.E = 256;
    wide_y = take_y(&wide);
    attn_cuda_open(&c, CUT_WHOLE, s, &w);
    w.host.args.H = 5;
    assert_fails(attn_cuda_run(&w, y), FC_ERR_ARG, "5 query heads");
    w.host.args.H = 4;
    w.host.args.layer = 1;
    assert_fails(attn_cuda_run(&w, y), FC_ERR_ARG, "layer=1");
    w.host.args.layer = 0;
    w.kv.shape.E = 24;
    assert_fails(attn_cuda_run(&w, y), FC_ERR_ARG, "E=24");
    w.kv.shape.E = 32;
    w.kv.shape.P = 24;
    assert_fails(attn_cuda_run(&w, y), FC_ERR_ARG, "24 slots");
    w.kv.shape.P = 16;
    w.kv.shape.type = FC_F16;
    assert_fails(attn_cuda_run(&w, y), FC_ERR_ARG, "type F16");
    w.kv.shape.type = FC_F32;
    w.host.args.ldq--;
    assert_fails(attn_cuda_run(&w, y), FC_ERR_ARG, "ldq=");
    w.host.args.ldq++;
    assert_ok(attn_cuda_run(&w, y));
    device_shared = DEVICE_SMALL;
    little = device_stream(0);
    device_shared = 0;
    attn_cuda_open(&wide, CUT_WHOLE, little, &v);
    assert_fails(attn_cuda_run(&v, wide_y), FC_ERR_UNSUPPORTED, "heads of 256 in KV of type F32 want 15");
    attn_cuda_close(&v);
    device_close(little);
    free(wide_y);
    attn_cuda_close(&w);
    device_close(s);
    free(y);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_meets_the_reference),
        cmocka_unit_test(many_rows_and_items_meet_the_reference),
        cmocka_unit_test(nothing_else_changes_a_bit),
        cmocka_unit_test(small_units_change_no_bit),
        cmocka_unit_test(runs_fold_alike_in_y_and_from_parts),
        cmocka_unit_test(a_row_is_the_same_in_a_crowd),
        cmocka_unit_test(the_order_of_fibres_changes_no_bit),
        cmocka_unit_test(calls_leave_nothing_behind),
        cmocka_unit_test(unwritten_slots_are_never_read),
        cmocka_unit_test(a_nan_stays_in_its_head),
        cmocka_unit_test(a_zero_has_one_sign),
        cmocka_unit_test(the_first_position_returns_its_value),
        cmocka_unit_test(refuses_slots_that_do_not_exist),
        cmocka_unit_test(needs_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
