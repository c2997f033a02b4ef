/* Draws against the reference, draw by draw, and at the edges: ties, masks, one id, u near 0 and 1, odd sizes. */
#include "kernels/cpu/cpu.h"
#include "kernels/draw/draw.h"
#include "tests/util.h"

static const uint64_t seed = 77001;
enum { MEMBERS = 64, MAX_ROWS = 12 };

static fc_stream open_stream(int level, int threads, int V) {
    fc_stream s;
    assert_ok(fc_cpu_stream_open((fc_cpu_level)level, threads, 0, fc_draw_workspace_cpu(V), &s));
    return s;
}

static fc_draw_row plain_row(int n_members) {
    return (fc_draw_row){.n_members = n_members, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition = 1};
}

/* One row with N members of candidates 0..N-1; the tokens at every level must be the same, and come back in token. */
static void draw_one(const float *x, int V, fc_draw_row r, const fc_draw_member *members, int32_t *token) {
    int32_t *other = malloc((size_t)r.n_members * sizeof *other);
    float *lp = malloc((size_t)r.n_members * sizeof *lp);
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++) {
        fc_stream s = open_stream(l, 1 + l % 2, V);
        assert_ok(fc_draw_cpu(s, &(fc_draw_args){.token = l == FC_CPU_PORTABLE ? token : other,
                                                 .logprob = lp,
                                                 .logits = x,
                                                 .rows = &r,
                                                 .members = members,
                                                 .R = 1,
                                                 .V = V,
                                                 .n_rows = 1,
                                                 .M = r.n_members}));
        fc_cpu_stream_close(s);
        if (l > FC_CPU_PORTABLE) assert_memory_equal(token, other, (size_t)r.n_members * sizeof *token);
    }
    free(other);
    free(lp);
}

/* ---- against the reference */

typedef struct {
    int V, n_rows, M;
    float *x;
    fc_draw_row rows[MAX_ROWS];
    fc_draw_member members[MAX_ROWS * MEMBERS];
    int32_t *bias_id, *seen_id, *seen_count;
    float *bias_value;
    fc_draw_args a;
} batch;

static float pick(uint64_t *s, const float *v, int n) { return v[test_below(s, n)]; }

/* Rows with any mix of transforms, in the order of rows 0.., several draw rows on one row of logits among them. */
static void make(batch *b, int V, uint64_t s) {
    static const float t[] = {0.0f, 0.3f, 1.0f, 1.0f, 1.7f}, p[] = {1.0f, 1.0f, 0.9f, 0.5f, 0.99f},
                       m[] = {0.0f, 0.0f, 0.01f, 0.2f};
    static const float rep[] = {1.0f, 1.3f, 0.8f}, pen[] = {0.0f, 0.5f, -0.3f};
    size_t n = (size_t)V * MAX_ROWS;
    int lists = V < 20 ? V : 20;
    *b = (batch){.V = V, .n_rows = MAX_ROWS};
    b->x = malloc(n * sizeof(float));
    b->bias_id = malloc(MAX_ROWS * 20 * sizeof(int32_t));
    b->seen_id = malloc(MAX_ROWS * 20 * sizeof(int32_t));
    b->seen_count = malloc(MAX_ROWS * 20 * sizeof(int32_t));
    b->bias_value = malloc(MAX_ROWS * 20 * sizeof(float));
    for (size_t i = 0; i < n; i++) b->x[i] = test_normal(&s) * 3.0f;
    for (int r = 0; r < MAX_ROWS; r++) {
        int members = 1 + test_below(&s, MEMBERS), at = r * 20;
        fc_draw_row d = {.row = r % 4 == 3 ? r - 1 : r, .member = b->M, .n_members = members, .bias = at, .seen = at};
        d.temperature = pick(&s, t, 5);
        d.top_k = test_below(&s, 3) ? 0 : 1 + test_below(&s, V < 60 ? V : 60);
        d.top_p = pick(&s, p, 5);
        d.typical_p = pick(&s, p, 5);
        d.min_p = pick(&s, m, 4);
        d.repetition = pick(&s, rep, 3);
        d.presence = pick(&s, pen, 3);
        d.frequency = pick(&s, pen, 3);
        d.n_bias = test_below(&s, 2) ? test_below(&s, lists) : 0;
        d.n_seen = test_below(&s, 2) ? lists : 0;
        for (int i = 0; i < lists; i++) { /* distinct ids: one out of each stretch */
            int step = V / lists;
            b->bias_id[at + i] = i * step + test_below(&s, step);
            b->bias_value[at + i] = i % 5 == 4 ? -INFINITY : test_normal(&s) * 2.0f;
            b->seen_id[at + i] = i * step + test_below(&s, step);
            b->seen_count[at + i] = test_below(&s, 4);
        }
        for (int i = 0; i < members; i++)
            b->members[b->M++] =
                (fc_draw_member){.seed = s, .candidate = (uint32_t)i, .attempt = (uint32_t)r, .position = 5};
        b->rows[r] = d;
    }
    b->a = (fc_draw_args){.logits = b->x,
                          .rows = b->rows,
                          .members = b->members,
                          .bias_id = b->bias_id,
                          .bias_value = b->bias_value,
                          .seen_id = b->seen_id,
                          .seen_count = b->seen_count,
                          .R = MAX_ROWS,
                          .V = V,
                          .n_rows = MAX_ROWS,
                          .M = b->M};
}

static void drop(batch *b) {
    free(b->x);
    free(b->bias_id);
    free(b->seen_id);
    free(b->seen_count);
    free(b->bias_value);
}

/* The reference's token for member i with its u moved by less than 1e-5: draw.h allows a neighbour there. The uniform
 * number cannot be set, so the row is asked for many other members, whose numbers lie on both sides, and the tokens of
 * those within 1e-5 are collected. */
static bool allowed(const batch *b, const fc_draw_row *row, int i, int32_t token) {
    enum { TRY = 400000 };
    const fc_draw_member *k = b->members + i;
    double u = fc_rng_uniform(k->seed, k->candidate, k->attempt, k->position);
    fc_draw_row r = *row;
    fc_draw_args a = b->a;
    fc_draw_member near[16];
    int32_t out[16];
    float lp[16];
    int n = 0;
    for (uint32_t c = 0; c < TRY && n < 16; c++)
        if (fabs(fc_rng_uniform(1, c, 0, 0) - u) < 1e-5) near[n++] = (fc_draw_member){.seed = 1, .candidate = c};
    r.member = 0;
    r.n_members = n;
    a.rows = &r;
    a.members = near;
    a.token = out;
    a.logprob = lp;
    a.n_rows = 1;
    a.M = n;
    assert_ok(fc_draw_ref(NULL, &a));
    for (int j = 0; j < n; j++)
        if (out[j] == token) return true;
    return false;
}

static void every_level_meets_the_reference(void **state) {
    static const int vocabs[] = {1, 2, 37, 255, 256, 257, 1000, 5003, 40000};
    long draws = 0, moved = 0;
    (void)state;
    for (int k = 0; k < 60; k++) {
        int V = vocabs[k % 9];
        int32_t ref[MAX_ROWS * MEMBERS], got[MAX_ROWS * MEMBERS], first[MAX_ROWS * MEMBERS];
        float ref_lp[MAX_ROWS * MEMBERS], lp[MAX_ROWS * MEMBERS], first_lp[MAX_ROWS * MEMBERS];
        batch b;
        if (V > 5003 && k > 10) V = 700;
        make(&b, V, seed + (uint64_t)k);
        if (V < 5)
            for (int r = 0; r < MAX_ROWS; r++) b.rows[r].n_bias = 0; /* a ban of every id is another test */
        b.a.token = ref;
        b.a.logprob = ref_lp;
        assert_ok(fc_draw_ref(NULL, &b.a));
        for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
            for (int threads = 1; threads <= 16; threads *= 4) { /* 16: more than rows, so that tiles are shared out */
                fc_stream s = open_stream(l, threads, V);
                b.a.token = got;
                b.a.logprob = lp;
                assert_ok(fc_draw_cpu(s, &b.a));
                fc_cpu_stream_close(s);
                if (l == FC_CPU_PORTABLE && threads == 1) {
                    memcpy(first, got, sizeof got);
                    memcpy(first_lp, lp, sizeof lp);
                }
                assert_memory_equal(got, first, (size_t)b.M * sizeof *got);
                assert_memory_equal(lp, first_lp, (size_t)b.M * sizeof *lp);
            }
        for (int r = 0; r < MAX_ROWS; r++)
            for (int i = b.rows[r].member; i < b.rows[r].member + b.rows[r].n_members; i++, draws++) {
                if (got[i] == ref[i]) {
                    assert_true(lp[i] == ref_lp[i] ||
                                fabs((double)(lp[i] - ref_lp[i])) <= 2e-6 + 2e-6 * fabs((double)ref_lp[i]));
                    continue;
                }
                moved++;
                if (b.rows[r].temperature == 0.0f || !allowed(&b, b.rows + r, i, got[i]))
                    fail_msg("case %d V=%d row %d member %d: token %d, reference %d", k, V, r, i, got[i], ref[i]);
            }
        drop(&b);
    }
    print_message("%ld draws, %ld on the other side of a boundary\n", draws, moved);
    assert_true(moved <= draws / 1000);
}

/* If this fails, coalesced branches draw other tokens than separate ones. */
static void members_together_draw_what_each_draws_alone(void **state) {
    int32_t all[MAX_ROWS * MEMBERS], one;
    float all_lp[MAX_ROWS * MEMBERS], lp;
    fc_stream s = open_stream(FC_CPU_AUTO, 2, 1000);
    batch b;
    (void)state;
    make(&b, 1000, seed);
    b.a.token = all;
    b.a.logprob = all_lp;
    assert_ok(fc_draw_cpu(s, &b.a));
    for (int r = 0; r < MAX_ROWS; r++)
        for (int i = b.rows[r].member; i < b.rows[r].member + b.rows[r].n_members; i++) {
            fc_draw_row row = b.rows[r];
            fc_draw_args a = b.a;
            row.member = 0;
            row.n_members = 1;
            a.rows = &row;
            a.n_rows = 1;
            a.members = b.members + i;
            a.M = 1;
            a.token = &one;
            a.logprob = &lp;
            assert_ok(fc_draw_cpu(s, &a));
            assert_int_equal(one, all[i]);
            assert_true(lp == all_lp[i]);
        }
    drop(&b);
    fc_cpu_stream_close(s);
}

/* ---- edges */

static void greedy_takes_the_largest_and_of_equals_the_smallest(void **state) {
    enum { V = 1300 };
    float x[V];
    int32_t token[3];
    fc_draw_member m[3] = {{.seed = 1}, {.seed = 2}, {.seed = 3}};
    fc_draw_row r = plain_row(3);
    uint64_t s = seed;
    (void)state;
    r.temperature = 0.0f;
    r.top_k = 5; /* greedy looks at no filter */
    for (int round = 0; round < 200; round++) {
        int want = 0;
        for (int i = 0; i < V; i++) x[i] = floorf(test_normal(&s) * 2.0f) - (round % 2 ? 40.0f : 0.0f);
        for (int i = 1; i < V; i++) want = x[i] > x[want] ? i : want;
        draw_one(x, V, r, m, token);
        for (int i = 0; i < 3; i++) assert_int_equal(token[i], want);
    }
}

/* Of four thousand million candidates of seed 1, those whose uniform numbers are the smallest and the largest. */
static const fc_draw_member ends[2] = {{.seed = 1, .candidate = 91093890}, {.seed = 1, .candidate = 1711450034}};

static void the_ends_of_the_uniform_number_meet_the_ends_of_the_row(void **state) {
    static const int vocabs[] = {1, 2, 100, 255, 256, 257, 511, 513, 1000};
    static float x[1000];
    const fc_draw_member *m = ends;
    int32_t token[2];
    (void)state;
    assert_true(fc_rng_uniform(1, ends[0].candidate, 0, 0) < 2e-11 &&
                fc_rng_uniform(1, ends[1].candidate, 0, 0) > 1.0 - 2e-10);
    for (int k = 0; k < 9; k++) {
        int V = vocabs[k];
        fc_draw_row r = plain_row(2);
        for (int i = 0; i < V; i++) x[i] = 0.5f;
        draw_one(x, V, r, m, token);
        assert_int_equal(token[0], 0);
        assert_int_equal(token[1], V - 1);
        r.top_k = (V + 1) / 2; /* ties: the smaller ids stay */
        draw_one(x, V, r, m, token);
        assert_int_equal(token[0], 0);
        assert_int_equal(token[1], (V + 1) / 2 - 1);
        r.top_k = V + 100;
        draw_one(x, V, r, m, token);
        assert_int_equal(token[1], V - 1);
        r = plain_row(2);
        r.top_p = 0.5f; /* equal ids: the shortest prefix that holds half of them */
        draw_one(x, V, r, m, token);
        assert_int_equal(token[0], 0);
        assert_int_equal(token[1], (V + 1) / 2 - 1);
        r = plain_row(2);
        r.typical_p = 0.5f;
        draw_one(x, V, r, m, token);
        assert_int_equal(token[1], (V + 1) / 2 - 1);
        if (V < 3) continue;
        x[0] = x[V - 1] = -INFINITY; /* an id of weight 0 is never drawn, not even at the ends */
        draw_one(x, V, plain_row(2), m, token);
        assert_int_equal(token[0], 1);
        assert_int_equal(token[1], V - 2);
        x[V - 1] = -200.0f; /* its weight underflows to 0 */
        draw_one(x, V, plain_row(2), m, token);
        assert_int_equal(token[1], V - 2);
    }
}

/* The sum of ids 0..3 rounds up, beyond the sum of its parts: a target in that gap must end on an id with weight. */
static void rounding_never_leads_to_an_id_without_weight(void **state) {
    float x[300];
    int32_t token[2];
    (void)state;
    for (int i = 0; i < 300; i++) x[i] = -INFINITY;
    x[0] = 0.0f;
    x[2] = logf(9e-8f);
    draw_one(x, 300, plain_row(2), ends, token);
    assert_int_equal(token[0], 0);
    assert_int_equal(token[1], 2);
}

static void all_mass_in_one_id_is_always_drawn(void **state) {
    static float x[3000];
    static fc_draw_member m[500];
    static int32_t token[500];
    static const int places[] = {0, 1, 255, 256, 511, 1499, 2999};
    (void)state;
    for (uint32_t i = 0; i < 500; i++) m[i] = (fc_draw_member){.seed = seed, .candidate = i};
    for (int k = 0; k < 7; k++) {
        for (int finite = 0; finite < 2; finite++) {
            fc_draw_row r = plain_row(500);
            for (int i = 0; i < 3000; i++) x[i] = finite ? -150.0f : -INFINITY;
            x[places[k]] = -3.0f;
            draw_one(x, 3000, r, m, token);
            for (int i = 0; i < 500; i++) assert_int_equal(token[i], places[k]);
            r.top_k = 40;
            r.top_p = 0.0f;
            r.typical_p = 0.0f;
            r.min_p = 1.0f;
            draw_one(x, 3000, r, m, token);
            for (int i = 0; i < 500; i++) assert_int_equal(token[i], places[k]);
        }
    }
}

static void a_tiny_temperature_is_nearly_greedy_and_never_breaks(void **state) {
    static float x[700];
    fc_draw_member m[50];
    int32_t token[50];
    fc_draw_row r = plain_row(50);
    uint64_t s = seed;
    (void)state;
    for (int i = 0; i < 700; i++) x[i] = test_normal(&s);
    x[600] = 9.0f;
    for (uint32_t i = 0; i < 50; i++) m[i] = (fc_draw_member){.seed = seed, .candidate = i};
    for (int k = 0; k < 6; k++) {
        static const float t[] = {1e-2f, 1e-6f, 1e-30f, 1e-40f, 1e-45f, 0.0f};
        for (int filter = 0; filter < 3; filter++) {
            r.temperature = t[k];
            r.top_p = filter == 1 ? 0.9f : 1.0f;
            r.typical_p = filter == 2 ? 0.9f : 1.0f;
            draw_one(x, 700, r, m, token);
            for (int i = 0; i < 50; i++) assert_int_equal(token[i], 600);
        }
    }
}

/* ---- errors */

/* Members are drawn, but for those that are listed with their token; -1 ends the list. */
static void says(fc_stream s, const fc_draw_args *a, const int *broken) {
    for (int ref = 0; ref < 2; ref++) {
        assert_ok((ref ? fc_draw_ref : fc_draw_cpu)(s, a));
        for (int m = 0; m < a->M; m++) {
            const int *b = broken;
            while (*b >= 0 && *b != m) b += 2;
            if (*b >= 0) assert_int_equal(a->token[m], b[1]);
            else assert_in_range(a->token[m], 0, a->V - 1);
            assert_int_equal(isnan(a->logprob[m]) != 0, *b >= 0);
        }
    }
}

static void broken_rows_are_named_the_first_of_them(void **state) {
    enum { V = 520, R = 9 };
    static float x[R * V];
    float inf[2] = {INFINITY, NAN}, ban[V], lp[R];
    int32_t ids[V], token[R];
    fc_draw_row rows[R];
    fc_draw_member m[R] = {{.seed = 1}};
    fc_draw_args a = {.token = token,
                      .logprob = lp,
                      .logits = x,
                      .rows = rows,
                      .members = m,
                      .bias_id = ids,
                      .R = R,
                      .V = V,
                      .n_rows = R,
                      .M = R};
    (void)state;
    for (int i = 0; i < V; i++) {
        ids[i] = i;
        ban[i] = -INFINITY;
    }
    for (int threads = 1; threads <= 16; threads *= 4)
        for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++) {
            fc_stream s = open_stream(l, threads, V);
            for (int r = 0; r < R; r++) {
                rows[r] = plain_row(1);
                rows[r].row = R - 1 - r;
                rows[r].member = r;
            }
            memset(x, 0, sizeof x);
            assert_ok(fc_draw_cpu(s, &a));
            x[2 * V + 519] = NAN; /* draw row 6 */
            says(s, &a, (const int[]){6, -FC_ROW_BROKEN, -1});
            x[5 * V + 255] = INFINITY; /* draw row 3 comes before it */
            for (int i = 0; i < V; i++) x[8 * V + i] = -INFINITY;
            says(s, &a, (const int[]){6, -FC_ROW_BROKEN, R - 1 - 5, -FC_ROW_BROKEN, R - 1 - 8, -FC_ROW_EMPTY, -1});
            memset(x, 0, sizeof x);
            rows[1].n_bias = V;
            a.bias_value = ban;
            says(s, &a, (const int[]){1, -FC_ROW_CHANGED_EMPTY, -1});
            rows[1].n_bias = V - 1; /* the last id stays */
            says(s, &a, (const int[]){-1});
            assert_int_equal(token[1], V - 1);
            a.bias_value = inf;
            rows[1].n_bias = 2;
            says(s, &a, (const int[]){1, -FC_ROW_CHANGED_BROKEN, -1});
            fc_cpu_stream_close(s);
        }
}

static void wrong_parameters_are_refused(void **state) {
    float x[4] = {0}, lp, bias = 0;
    int32_t token, id = 4, count = 1;
    fc_draw_member m = {.seed = 1};
    fc_stream s = open_stream(FC_CPU_PORTABLE, 1, 4), none;
    const struct {
        fc_draw_row r;
        const char *words;
    } bad[] = {
        {{.n_members = 1, .temperature = NAN, .top_p = 1, .typical_p = 1, .repetition = 1}, "temperature nan"},
        {{.n_members = 1, .temperature = -1, .top_p = 1, .typical_p = 1, .repetition = 1}, "temperature -1"},
        {{.n_members = 1, .temperature = 1, .top_p = 1.5f, .typical_p = 1, .repetition = 1}, "top-p 1.5"},
        {{.n_members = 1, .temperature = 1, .top_p = 1, .typical_p = NAN, .repetition = 1}, "typical-p nan"},
        {{.n_members = 1, .temperature = 1, .top_p = 1, .typical_p = 1, .min_p = -1, .repetition = 1}, "min-p -1"},
        {{.n_members = 1, .temperature = 1, .top_p = 1, .typical_p = 1, .top_k = -3, .repetition = 1}, "top-k -3"},
        {{.n_members = 1, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition = 0}, "repetition 0"},
        {{.n_members = 1, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition = 1, .presence = NAN},
         "presence nan"},
        {{.n_members = 1, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition = 1, .frequency = INFINITY},
         "frequency inf"},
        {{.n_members = 2, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition = 1}, "members 0+2 of 1"},
        {{.row = 1, .n_members = 1, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition = 1}, "row 1 of 1"},
        {{.n_members = 1, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition = 1, .n_bias = 1}, "bias id 4"},
        {{.n_members = 1, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition = 1, .n_seen = 1}, "seen id 4"},
    };
    fc_draw_row good = plain_row(1);
    fc_draw_args a = {.token = &token,
                      .logprob = &lp,
                      .logits = x,
                      .members = &m,
                      .bias_id = &id,
                      .bias_value = &bias,
                      .seen_id = &id,
                      .seen_count = &count,
                      .R = 1,
                      .V = 4,
                      .n_rows = 1,
                      .M = 1};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        a.rows = &bad[i].r;
        assert_fails(fc_draw_cpu(s, &a), FC_ERR_ARG, bad[i].words);
    }
    a.rows = &good;
    assert_ok(fc_draw_cpu(s, &a));
    fc_cpu_stream_close(s);
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, 128, &none));
    assert_fails(fc_draw_cpu(none, &a), FC_ERR_MEM, "draw");
    fc_cpu_stream_close(none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_meets_the_reference),
        cmocka_unit_test(members_together_draw_what_each_draws_alone),
        cmocka_unit_test(greedy_takes_the_largest_and_of_equals_the_smallest),
        cmocka_unit_test(the_ends_of_the_uniform_number_meet_the_ends_of_the_row),
        cmocka_unit_test(rounding_never_leads_to_an_id_without_weight),
        cmocka_unit_test(all_mass_in_one_id_is_always_drawn),
        cmocka_unit_test(a_tiny_temperature_is_nearly_greedy_and_never_breaks),
        cmocka_unit_test(broken_rows_are_named_the_first_of_them),
        cmocka_unit_test(wrong_parameters_are_refused),
    };
    print_message("seed %llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
