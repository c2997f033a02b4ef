/* draw.cu under emulation: the CPU's tokens and log-probs, bit for bit, for whole rows and lists under any mix of bias,
 * penalties, temperature and filters; ties, masks, one id, wide rows; refused rows by number. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vmath.h"
#include "kernels/draw/draw.h"
#include "tests/cuda_emu/util_cuda.h"
#include "tests/cuda_emu/util_same.h"

enum { ROWS = 12, MEMBERS = 20, EXTRA = 20, KINDS = 6 };

typedef struct {
    float *x, *list_value, *bias_value; /* logits [ROWS,V] */
    int32_t *list_id, *bias_id, *seen_id, *seen_count;
    fc_draw_row rows[ROWS];
    fc_draw_member members[ROWS * MEMBERS];
    fc_draw_args a;
} batch;

static float pick(uint64_t *s, const float *v, int n) { return v[test_below(s, n)]; }

/* Logits of several kinds: normal, few values, all the same, masked, wide, steep. */
static float logit(int kind, uint64_t *s) {
    float n = test_normal(s);
    switch (kind) {
    case 1: return (float)(test_below(s, 6) - 3) * 0.75f;
    case 2: return -2.5f;
    case 3: return test_below(s, 3) ? -INFINITY : n * 2.0f;
    case 4: return n * 40.0f;
    case 5: return n * n * n * 2.0f;
    default: return n * 3.0f;
    }
}

static fc_draw_row any_row(uint64_t *s, int V) {
    static const float t[] = {0.0f, 0.3f, 1.0f, 1.0f, 1.7f}, p[] = {1.0f, 1.0f, 1.0f, 0.9f, 0.5f, 0.99f, 0.0f},
                       m[] = {0.0f, 0.0f, 0.0f, 0.01f, 0.2f, 1.0f}, rep[] = {1.0f, 1.0f, 1.3f, 0.8f},
                       pen[] = {0.0f, 0.0f, 0.5f, -0.3f};
    fc_draw_row d = {.temperature = pick(s, t, 5), .top_p = pick(s, p, 7), .typical_p = pick(s, p, 7)};
    d.top_k = test_below(s, 2) ? 0 : 1 + test_below(s, test_below(s, 2) ? V : V < 60 ? V : 60);
    d.min_p = pick(s, m, 6);
    d.repetition = pick(s, rep, 4);
    d.presence = pick(s, pen, 4);
    d.frequency = pick(s, pen, 4);
    return d;
}

/* Every third row is a list; several draw rows share a row of logits. */
static void make(batch *b, int V, uint64_t *s) {
    int extra = V < EXTRA ? V : EXTRA, listed = 0;
    memset(b, 0, sizeof *b);
    b->x = malloc((size_t)ROWS * (size_t)V * 4);
    b->list_id = malloc((size_t)ROWS * (size_t)V * 4);
    b->list_value = malloc((size_t)ROWS * (size_t)V * 4);
    b->bias_id = malloc(ROWS * EXTRA * 4);
    b->bias_value = malloc(ROWS * EXTRA * 4);
    b->seen_id = malloc(ROWS * EXTRA * 4);
    b->seen_count = malloc(ROWS * EXTRA * 4);
    b->a = (fc_draw_args){.R = ROWS, .V = V, .n_rows = ROWS};
    for (int r = 0; r < ROWS; r++) {
        int kind = test_below(s, KINDS), members = 1 + test_below(s, MEMBERS), at = r * EXTRA, share = test_below(s, 7);
        fc_draw_row d = any_row(s, V);
        for (int i = 0; i < V; i++) b->x[(size_t)r * (size_t)V + (size_t)i] = logit(kind, s);
        b->x[(size_t)r * (size_t)V + (size_t)test_below(s, V)] = 3.0f;
        d.row = r % 4 == 3 ? r - 1 : r;
        d.member = b->a.M;
        d.n_members = members;
        d.bias = d.seen = at;
        d.n_bias = test_below(s, 2) ? test_below(s, extra) : 0;
        d.n_seen = test_below(s, 2) ? extra : 0;
        for (int i = 0; i < extra; i++) {
            int step = V / extra, seen = i * step + test_below(s, step);
            b->seen_id[at + i] = seen; /* distinct */
            b->seen_count[at + i] = test_below(s, 4);
            if (i % 4 == 0) b->x[(size_t)r * (size_t)V + (size_t)seen] = 3.0f; /* likely ones */
        }
        for (int i = 0; i < extra; i++) { /* now and then one id twice, in order; half of them are seen too */
            b->bias_id[at + i] = i % 2 ? test_below(s, V) : b->seen_id[at + test_below(s, extra)];
            b->bias_value[at + i] = i % 7 == 6 ? -INFINITY : test_normal(s) * 2.0f;
        }
        if (r % 3 == 1) {
            d.ids = d.values = listed;
            for (int i = 0; i < V; i++) {
                if (i != V - 1 && test_below(s, 8) > share) continue;
                b->list_id[listed] = i;
                b->list_value[listed++] = i == V - 1 ? 1.0f : logit(kind, s);
            }
            d.n_ids = listed - d.ids;
        }
        for (int i = 0; i < members; i++)
            b->members[b->a.M++] =
                (fc_draw_member){.seed = *s, .candidate = (uint32_t)i, .attempt = (uint32_t)r, .position = 5};
        b->rows[r] = d;
    }
    b->a.logits = b->x;
    b->a.rows = b->rows;
    b->a.members = b->members;
    b->a.bias_id = b->bias_id;
    b->a.bias_value = b->bias_value;
    b->a.seen_id = b->seen_id;
    b->a.seen_count = b->seen_count;
    b->a.list_id = b->list_id;
    b->a.list_value = b->list_value;
}

static void drop(batch *b) {
    free(b->x), free(b->list_id), free(b->list_value), free(b->bias_id), free(b->bias_value), free(b->seen_id);
    free(b->seen_count);
}

static void *put(fc_stream s, const void *host, size_t n, size_t size) { return device_copy(s, host, n * size); }

/* The batch on the device, all places of token and logprob 0xff. */
static fc_draw_args upload(fc_stream s, const fc_draw_args *a) {
    size_t n = (size_t)ROWS * (size_t)a->V;
    fc_draw_args d = *a;
    d.token = put(s, NULL, (size_t)a->M, 4);
    d.logprob = put(s, NULL, (size_t)a->M, 4);
    d.logits = put(s, a->logits, n, 4);
    d.rows = put(s, a->rows, ROWS, sizeof(fc_draw_row));
    d.members = put(s, a->members, (size_t)a->M, sizeof(fc_draw_member));
    d.bias_id = put(s, a->bias_id, ROWS * EXTRA, 4);
    d.bias_value = put(s, a->bias_value, ROWS * EXTRA, 4);
    d.seen_id = put(s, a->seen_id, ROWS * EXTRA, 4);
    d.seen_count = put(s, a->seen_count, ROWS * EXTRA, 4);
    d.list_id = put(s, a->list_id, n, 4);
    d.list_value = put(s, a->list_value, n, 4);
    return d;
}

static void release(fc_draw_args *d) {
    const void *all[] = {d->token,      d->logprob, d->logits,     d->rows,    d->members,   d->bias_id,
                         d->bias_value, d->seen_id, d->seen_count, d->list_id, d->list_value};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) device_free((void *)(uintptr_t)all[i]);
}

static fc_status run_cpu(fc_draw_args a, int32_t *token, float *logprob) {
    fc_stream c;
    fc_status st;
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, fc_draw_workspace_cpu(a.V), &c));
    a.token = token;
    a.logprob = logprob;
    st = fc_draw_cpu(c, &a);
    fc_cpu_stream_close(c);
    return st;
}

static void tell(const fc_draw_row *r) {
    print_message(
        "row %d: k %d p %g typical %g min-p %g t %g, repetition %g presence %g frequency %g, %d bias, %d seen, "
        "%d listed\n",
        r->row, r->top_k, (double)r->top_p, (double)r->typical_p, (double)r->min_p, (double)r->temperature,
        (double)r->repetition, (double)r->presence, (double)r->frequency, r->n_bias, r->n_seen, r->n_ids);
}

/* One row after another by themselves on the CPU: some of the batch may be refused. Returns which. */
static void compare(const batch *b, const int32_t *token, const float *logprob, uint64_t seed, bool refused[ROWS]) {
    int32_t want[ROWS * MEMBERS];
    float lp[ROWS * MEMBERS];
    for (int r = 0; r < ROWS; r++) {
        fc_draw_args one = b->a;
        const fc_draw_row *d = b->rows + r;
        one.rows = d;
        one.n_rows = 1;
        refused[r] = run_cpu(one, want, lp) != FC_OK;
        for (int m = d->member; m < d->member + d->n_members; m++) {
            if (refused[r] ? token[m] == -1 : token[m] == want[m] && same_float(logprob[m], lp[m])) continue;
            tell(d);
            fail_msg("V %d seed %llu: member %d of row %d drew %d, %.9g; the CPU %d, %.9g", b->a.V,
                     (unsigned long long)seed, m, r, token[m], (double)logprob[m], refused[r] ? -1 : want[m],
                     refused[r] ? 0.0 : (double)lp[m]);
        }
    }
}

static void has_the_cpus_bits(int V, int piece_rows, uint64_t seed) {
    uint64_t used = seed;
    batch b;
    int32_t token[ROWS * MEMBERS];
    float logprob[ROWS * MEMBERS];
    bool refused[ROWS], any = false;
    fc_stream s = device_stream(fc_draw_workspace_cuda(piece_rows, V));
    fc_draw_args d;
    fc_status st;
    make(&b, V, &used);
    d = upload(s, &b.a);
    assert_ok(fc_draw_cuda(s, &d));
    st = device_sync(s);
    device_read(s, token, d.token, (size_t)b.a.M * 4);
    device_read(s, logprob, d.logprob, (size_t)b.a.M * 4);
    compare(&b, token, logprob, seed, refused);
    for (int r = 0; r < ROWS; r++) any |= refused[r];
    assert_int_equal(st, any ? FC_ERR_ARG : FC_OK);
    release(&d);
    device_close(s);
    drop(&b);
}

static void any_mix_has_the_cpus_bits(void **state) {
    static const int vocabs[] = {1, 2, 37, 255, 256, 257, 1000, 2311};
    (void)state;
    emu_opts = (emu_options){.order = EMU_FORWARD};
    for (int k = 0; k < 32; k++) {
        emu_opts = (emu_options){.order = (emu_order)(k % EMU_ORDERS), .seed = (uint64_t)k};
        has_the_cpus_bits(vocabs[k % 8], k % 3 ? ROWS : 5, 1000 + (uint64_t)k);
    }
    has_the_cpus_bits(257, ROWS, 1045); /* equal logits at the limits of two filters */
    emu_opts = (emu_options){.order = EMU_FORWARD};
}

static void each_order_has_the_cpus_bits(void **state) {
    (void)state;
    each_order(has_the_cpus_bits(700, ROWS, 77));
}

static void long_vocabularies(void **state) {
    (void)state;
    emu_opts = (emu_options){.order = EMU_FORWARD};
    has_the_cpus_bits(49152, ROWS, 5);
    has_the_cpus_bits(70001, 3, 6);
    for (int k = 0; k < 8 && device_full(); k++) has_the_cpus_bits(k % 2 ? 128256 : 262144, ROWS, 60 + (uint64_t)k);
}

enum { MANY = 20000, LARGE = 100 }; /* ids of a row, those of logit 0 */

/* Nearly flat rows: one id more or less that a filter keeps moves most draws. */
static void make_flat(batch *b, uint64_t *s) {
    static const float typical[] = {1.0f, 0.6f, 1.0f, 0.9f, 1.0f, 1.0f};
    static const int top_k[] = {0, 0, 9000, 15000, 0, 0};
    for (size_t i = 0; i < (size_t)ROWS * MANY; i++) {
        b->x[i] = 0.3f * test_normal(s);
        b->list_value[i] = 0.3f * test_normal(s);
    }
    for (int r = 0; r < ROWS; r++) {
        b->rows[r].temperature = r % 2 ? 1.0f : 0.8f;
        b->rows[r].top_p = r / 2 == 1 || r / 2 == 2 ? 1.0f : 0.52f + 0.037f * (float)r;
        b->rows[r].typical_p = typical[r / 2];
        b->rows[r].top_k = top_k[r / 2];
        b->rows[r].min_p = r / 2 == 4 ? 0.3f : 0.0f;
    }
}

/* Three values, and a top-p that a hundredth of an id keeps from one id of the last less. */
static void make_close(batch *b) {
    for (int r = 0; r < ROWS; r++) {
        float middle = -0.1f - 0.07f * (float)r, low = middle - 0.4f, least = fc_expf(low);
        int n = 100 * (r + 1); /* ids of the low value that are kept */
        double mass = 0.0;
        for (int i = 0; i < MANY; i++) b->x[r * MANY + i] = i % 2 ? low : i % (MANY / LARGE) ? middle : 0.0f;
        for (int i = 0; i < MANY; i++) mass += b->x[r * MANY + i] == low ? 0.0 : (double)fc_expf(b->x[r * MANY + i]);
        b->rows[r].top_p = (float)((mass + (n - 0.01) * (double)least) / (mass + MANY / 2 * (double)least));
        b->rows[r].row = r;
        b->rows[r].n_ids = b->rows[r].top_k = 0;
        b->rows[r].temperature = b->rows[r].typical_p = 1.0f;
        b->rows[r].min_p = 0.0f;
    }
}

static void keeps_the_cpus_ids(bool close, uint64_t seed) {
    uint64_t used = seed;
    batch b;
    int32_t token[ROWS * MEMBERS];
    float logprob[ROWS * MEMBERS];
    bool refused[ROWS];
    fc_stream s = device_stream(fc_draw_workspace_cuda(ROWS, MANY));
    fc_draw_args d;
    make(&b, MANY, &used);
    if (close) make_close(&b);
    else make_flat(&b, &used);
    for (int r = 0; r < ROWS; r++) b.rows[r].n_bias = b.rows[r].n_seen = 0;
    d = upload(s, &b.a);
    assert_ok(fc_draw_cuda(s, &d));
    assert_ok(device_sync(s));
    device_read(s, token, d.token, (size_t)b.a.M * 4);
    device_read(s, logprob, d.logprob, (size_t)b.a.M * 4);
    compare(&b, token, logprob, seed, refused);
    release(&d);
    device_close(s);
    drop(&b);
}

static void limits_are_the_cpus_to_the_id(void **state) {
    (void)state;
    emu_opts = (emu_options){.order = EMU_BACKWARD};
    keeps_the_cpus_ids(false, 21);
    keeps_the_cpus_ids(true, 22);
}

/* ---- against the reference, and by itself */

/* A neighbour is allowed where u lies near a boundary: one draw in a thousand at most. */
static void meets_the_reference(void **state) {
    int draws = 0, moved = 0;
    (void)state;
    emu_opts = (emu_options){.order = EMU_FORWARD};
    for (uint64_t k = 0; k < 8; k++) {
        uint64_t used = 300 + k;
        batch b;
        int32_t token[ROWS * MEMBERS], want[ROWS * MEMBERS];
        float logprob[ROWS * MEMBERS], lp[ROWS * MEMBERS];
        fc_stream s;
        fc_draw_args d, one;
        make(&b, 500, &used);
        s = device_stream(fc_draw_workspace_cuda(ROWS, 500));
        d = upload(s, &b.a);
        assert_ok(fc_draw_cuda(s, &d));
        (void)device_sync(s);
        device_read(s, token, d.token, (size_t)b.a.M * 4);
        device_read(s, logprob, d.logprob, (size_t)b.a.M * 4);
        one = b.a;
        one.n_rows = 1;
        one.token = want;
        one.logprob = lp;
        for (int r = 0; r < ROWS; r++) {
            one.rows = b.rows + r;
            if (fc_draw_ref(NULL, &one)) continue;
            for (int m = b.rows[r].member; m < b.rows[r].member + b.rows[r].n_members; m++) {
                draws++;
                if (token[m] == want[m])
                    assert_true(fabs((double)logprob[m] - (double)lp[m]) <= 2e-6 + 2e-6 * fabs((double)lp[m]));
                else moved++;
            }
        }
        release(&d);
        device_close(s);
        drop(&b);
    }
    assert_true(draws > 500 && moved * 1000 <= draws);
}

/* m members of one row are m rows of one member; an empty row draws nothing. */
static void coalesced_members_draw_as_alone(void **state) {
    enum { V = 1300 };
    uint64_t seed = 8;
    batch b;
    int32_t token[ROWS * MEMBERS], alone[ROWS * MEMBERS];
    fc_draw_row *rows;
    fc_stream s = device_stream(fc_draw_workspace_cuda(7, V));
    fc_draw_args d;
    int n = 0;
    (void)state;
    emu_opts = (emu_options){.order = EMU_FORWARD};
    make(&b, V, &seed);
    rows = malloc((size_t)(b.a.M + ROWS) * sizeof *rows);
    for (int r = 0; r < ROWS; r++) {
        for (int m = b.rows[r].n_members; m-- > 0;) {
            rows[n] = b.rows[r];
            rows[n].member += m;
            rows[n++].n_members = 1;
        }
        rows[n] = b.rows[r];
        rows[n++].n_members = 0;
    }
    d = upload(s, &b.a);
    assert_ok(fc_draw_cuda(s, &d));
    (void)device_sync(s);
    device_read(s, token, d.token, (size_t)b.a.M * 4);
    device_free((void *)(uintptr_t)d.rows);
    d.rows = device_copy(s, rows, (size_t)n * sizeof *rows);
    d.n_rows = n;
    assert_ok(fc_draw_cuda(s, &d));
    (void)device_sync(s);
    device_read(s, alone, d.token, (size_t)b.a.M * 4);
    assert_memory_equal(token, alone, (size_t)b.a.M * 4);
    release(&d);
    device_close(s);
    drop(&b);
    free(rows);
}

/* ---- what is refused */

enum { SMALL = 300 };

static const fc_draw_row plain = {
    .n_members = 1, .temperature = 1.0f, .top_p = 1.0f, .typical_p = 1.0f, .repetition = 1.0f};

/* Two rows, the second changed by the caller: it says what it is, or is named; the first draws as ever. */
static void refused(fc_draw_row bad, const float *x, fc_row_state says, const char *words) {
    static const int32_t ids[] = {5, 6, SMALL, 5, 6, 7, -1};
    static const float values[] = {INFINITY, -INFINITY, 0.0f, 1.0f, NAN, -INFINITY, -INFINITY};
    fc_draw_row rows[] = {plain, bad};
    fc_draw_member members[2] = {{.seed = 1}, {.seed = 1}};
    int32_t token[2];
    float lp[2];
    fc_stream s = device_stream(fc_draw_workspace_cuda(2, SMALL));
    fc_draw_args a = {.token = device_copy(s, NULL, 8),
                      .logprob = device_copy(s, NULL, 8),
                      .logits = device_copy(s, x, 2 * SMALL * 4),
                      .rows = device_copy(s, rows, sizeof rows),
                      .members = device_copy(s, members, sizeof members),
                      .bias_id = device_copy(s, ids, sizeof ids),
                      .bias_value = device_copy(s, values, sizeof values),
                      .R = 2,
                      .V = SMALL,
                      .n_rows = 2,
                      .M = 2};
    a.seen_id = a.seen_count = a.list_id = a.bias_id;
    a.list_value = a.bias_value;
    assert_ok(fc_draw_cuda(s, &a));
    if (words) assert_fails(device_sync(s), FC_ERR_ARG, words);
    else assert_ok(device_sync(s));
    device_read(s, token, a.token, sizeof token);
    assert_in_range(token[0], 0, SMALL - 1);
    device_read(s, lp, a.logprob, sizeof lp);
    if (says) {
        assert_int_equal(token[1], -(int)says);
        assert_true(isnan(lp[1]));
    }
    device_free(a.token);
    device_free(a.logprob);
    device_free((void *)(uintptr_t)a.logits);
    device_free((void *)(uintptr_t)a.rows);
    device_free((void *)(uintptr_t)a.members);
    device_free((void *)(uintptr_t)a.bias_id);
    device_free((void *)(uintptr_t)a.bias_value);
    device_close(s);
}

static void broken_rows_say_so_and_wrong_ones_are_named(void **state) {
    float x[2 * SMALL];
    fc_draw_row r = plain;
    uint64_t seed = 5;
    fc_stream s;
    (void)state;
    emu_opts = (emu_options){.order = EMU_FORWARD};
    for (int i = 0; i < 2 * SMALL; i++) x[i] = test_normal(&seed);
    r.row = r.member = 1;
#define with(field, value, words)                                                                                      \
    do {                                                                                                               \
        fc_draw_row w_ = r;                                                                                            \
        w_.field = value;                                                                                              \
        refused(w_, x, FC_ROW_OK, words);                                                                              \
    } while (0)
#define with_state(field, value, says)                                                                                 \
    do {                                                                                                               \
        fc_draw_row w_ = r;                                                                                            \
        w_.field = value;                                                                                              \
        refused(w_, x, says, NULL);                                                                                    \
    } while (0)
    with(row, 2, "draw: row 2: its row of logits");
    with(row, -1, "its row of logits");
    with(member, -1, "draw: row 1: its row of logits");
    with(n_members, 2, "draw: row 1: its row of logits");
    with(n_ids, -1, "draw: row 1: its row of logits");
    with(temperature, -1.0f, "draw: row 1: temperature");
    with(temperature, NAN, "draw: row 1: temperature");
    with(top_p, 1.5f, "draw: row 1: temperature");
    with(typical_p, -0.5f, "draw: row 1: temperature");
    with(min_p, NAN, "draw: row 1: temperature");
    with(top_k, -1, "draw: row 1: temperature");
    with(repetition, 0.0f, "draw: row 1: temperature");
    with(presence, NAN, "draw: row 1: temperature");
    with(frequency, INFINITY, "draw: row 1: temperature");
    with_state(n_bias, 1, FC_ROW_CHANGED_BROKEN);
    with(n_bias, 3, "draw: row 1: a bias id is outside"); /* both */
    r.bias = 2;
    with(n_bias, 1, "draw: row 1: a bias id is outside");
    r.repetition = 2.0f;
    r.seen = 2;
    with(n_seen, 1, "draw: row 1: a seen id is outside");
    r.bias = r.seen = 0;
    r.row = 7; /* a list's name */
    with(n_ids, 3, "draw: row 7: its listed ids");
    r.ids = 3;
    r.values = 1;
    with(n_ids, 4, "draw: row 7: its listed ids");
    r.values = 2;
    with_state(n_ids, 3, FC_ROW_BROKEN);
    r.values = 5;
    with_state(n_ids, 2, FC_ROW_EMPTY);
    r.values = 1; /* -inf, 0: the 0 is forbidden */
    r.bias = 1;
    r.n_bias = 1;
    r.ids = 0;
    with_state(n_ids, 1, FC_ROW_EMPTY);
    r.ids = 1;
    r.values = 3;
    with_state(n_ids, 1, FC_ROW_CHANGED_EMPTY);
    r = plain;
    r.row = r.member = 1;
    x[SMALL + 299] = NAN;
    refused(r, x, FC_ROW_BROKEN, NULL);
    for (int i = 0; i < SMALL; i++) x[SMALL + i] = -INFINITY;
    refused(r, x, FC_ROW_EMPTY, NULL);
    s = device_stream(0);
    assert_fails(fc_draw_cuda(s, &(fc_draw_args){.V = 0}), FC_ERR_ARG, "V=0");
    assert_fails(fc_draw_cuda(s, &(fc_draw_args){.V = 1, .n_rows = -1}), FC_ERR_ARG, "-1 rows");
    assert_fails(fc_draw_cuda(s, &(fc_draw_args){.V = 1, .n_rows = 1}), FC_ERR_MEM, "draw");
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_mix_has_the_cpus_bits),
                                       cmocka_unit_test(each_order_has_the_cpus_bits),
                                       cmocka_unit_test(long_vocabularies),
                                       cmocka_unit_test(limits_are_the_cpus_to_the_id),
                                       cmocka_unit_test(meets_the_reference),
                                       cmocka_unit_test(coalesced_members_draw_as_alone),
                                       cmocka_unit_test(broken_rows_say_so_and_wrong_ones_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
