/* Rows given as lists of ids: the whole row with -inf elsewhere, bit for bit, under every mix of transforms. */
#include "kernels/cpu/cpu.h"
#include "kernels/draw/draw.h"
#include "tests/util.h"

static const uint64_t seed = 41007;
enum { ROWS = 10, MEMBERS = 24, CHANGES = 12, V_MAX = 9000 };

static fc_stream open_stream(int level, int threads, int V) {
    fc_stream s;
    assert_ok(fc_cpu_stream_open((fc_cpu_level)level, threads, 0, fc_draw_workspace_cpu(V), &s));
    return s;
}

typedef struct {
    float *x, *value; /* [ROWS,V] whole rows; lists, one after another */
    int32_t *id;
    int32_t token[ROWS * MEMBERS], bias_id[ROWS * CHANGES], seen_id[ROWS * CHANGES], seen_count[ROWS * CHANGES];
    float logprob[ROWS * MEMBERS], bias_value[ROWS * CHANGES];
    fc_draw_row whole[ROWS], list[ROWS];
    fc_draw_member members[ROWS * MEMBERS];
    fc_draw_args a; /* of the lists */
} batch;

static float pick(uint64_t *s, const float *v, int n) { return v[test_below(s, n)]; }

/* About one id in `stride` is listed, one in five of those at -inf; half of bias and penalties fall on listed ids. */
static void make(batch *b, int V, int stride, uint64_t s) {
    static const float t[] = {0.0f, 0.4f, 1.0f, 1.0f, 2.0f}, p[] = {1.0f, 1.0f, 0.8f, 0.4f}, m[] = {0.0f, 0.0f, 0.05f},
                       rep[] = {1.0f, 1.3f, 0.8f}, pen[] = {0.0f, 0.5f, -0.3f};
    int n = 0;
    *b = (batch){.x = malloc(sizeof(float) * ROWS * (size_t)V),
                 .value = malloc(sizeof(float) * ROWS * (size_t)V),
                 .id = malloc(sizeof(int32_t) * ROWS * (size_t)V)};
    for (int r = 0; r < ROWS; r++) {
        int at = r * CHANGES, first = n;
        fc_draw_row *d = b->whole + r;
        for (int i = 0; i < V; i++) {
            b->x[r * V + i] = -INFINITY;
            if (test_below(&s, stride) && !(i == V - 1 && n == first)) continue;
            b->x[r * V + i] = n > first && test_below(&s, 5) == 0 ? -INFINITY : test_normal(&s) * 4.0f;
            b->value[n] = b->x[r * V + i];
            b->id[n++] = i;
        }
        *d = (fc_draw_row){.row = r, .member = r * MEMBERS, .n_members = MEMBERS, .bias = at, .seen = at};
        d->temperature = pick(&s, t, 5);
        d->top_k = test_below(&s, 3) ? 0 : 1 + test_below(&s, 40);
        d->top_p = pick(&s, p, 4);
        d->typical_p = pick(&s, p, 4);
        d->min_p = pick(&s, m, 3);
        d->repetition = pick(&s, rep, 3);
        d->presence = pick(&s, pen, 3);
        d->frequency = pick(&s, pen, 3);
        d->n_bias = test_below(&s, 2) && V > CHANGES ? CHANGES : 0;
        d->n_seen = test_below(&s, 2) && V > CHANGES ? CHANGES : 0;
        for (int i = 0; i < CHANGES; i++) {
            int step = V / CHANGES, any = i * step + test_below(&s, step ? step : 1);
            b->bias_id[at + i] = i % 2 ? any : b->id[first + test_below(&s, n - first)];
            b->bias_value[at + i] = test_normal(&s) * 2.0f;
            b->seen_id[at + i] = any;
            b->seen_count[at + i] = test_below(&s, 4);
        }
        for (uint32_t i = 0; i < MEMBERS; i++)
            b->members[r * MEMBERS + (int)i] = (fc_draw_member){.seed = s, .candidate = i, .position = (uint32_t)r};
        b->list[r] = *d;
        b->list[r].ids = b->list[r].values = first;
        b->list[r].n_ids = n - first;
    }
    b->a = (fc_draw_args){.token = b->token,
                          .logprob = b->logprob,
                          .rows = b->list,
                          .members = b->members,
                          .bias_id = b->bias_id,
                          .bias_value = b->bias_value,
                          .seen_id = b->seen_id,
                          .seen_count = b->seen_count,
                          .list_id = b->id,
                          .list_value = b->value,
                          .V = V,
                          .n_rows = ROWS,
                          .M = ROWS * MEMBERS};
}

static void drop(batch *b) {
    free(b->x);
    free(b->value);
    free(b->id);
}

/* If this fails, turning the restricted head off changes tokens. */
static void a_list_draws_what_the_masked_row_draws(void **state) {
    static const int vocabs[] = {1, 2, 100, 256, 257, 1000, V_MAX}, strides[] = {1, 3, 50, 700};
    static batch b;
    int cases = 0;
    (void)state;
    for (int k = 0; k < 7; k++)
        for (int j = 0; j < 4; j++)
            for (int again = 0; again < 4; again++, cases++) {
                int32_t token[ROWS * MEMBERS];
                float logprob[ROWS * MEMBERS];
                fc_draw_args whole;
                make(&b, vocabs[k], strides[j], seed + (uint64_t)cases);
                whole = b.a;
                whole.logits = b.x;
                whole.R = ROWS;
                whole.rows = b.whole;
                whole.token = token;
                whole.logprob = logprob;
                for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
                    for (int threads = 1; threads <= 16; threads *= 4) {
                        fc_stream s = open_stream(l, threads, vocabs[k]);
                        memset(b.token, -1, sizeof b.token);
                        assert_ok(fc_draw_cpu(s, &whole));
                        assert_ok(fc_draw_cpu(s, &b.a));
                        fc_cpu_stream_close(s);
                        for (int i = 0; i < ROWS * MEMBERS; i++)
                            if (token[i] != b.token[i] || memcmp(logprob + i, b.logprob + i, sizeof *logprob))
                                fail_msg("case %d V=%d stride %d row %d: list %d %.9g, whole row %d %.9g", cases,
                                         vocabs[k], strides[j], i / MEMBERS, b.token[i], (double)b.logprob[i], token[i],
                                         (double)logprob[i]);
                    }
                drop(&b);
            }
}

static void lists_meet_the_reference(void **state) {
    static batch b;
    int moved = 0;
    (void)state;
    for (int k = 0; k < 20; k++) {
        int32_t token[ROWS * MEMBERS];
        float logprob[ROWS * MEMBERS];
        fc_stream s = open_stream(FC_CPU_AUTO, 2, 1000);
        make(&b, 1000, 10, seed + 500 + (uint64_t)k);
        assert_ok(fc_draw_cpu(s, &b.a));
        b.a.token = token;
        b.a.logprob = logprob;
        assert_ok(fc_draw_ref(NULL, &b.a));
        for (int i = 0; i < ROWS * MEMBERS; i++) {
            moved += token[i] != b.token[i];
            if (token[i] == b.token[i])
                assert_true(fabs((double)(logprob[i] - b.logprob[i])) <= 2e-6 + 2e-6 * fabs((double)logprob[i]));
        }
        fc_cpu_stream_close(s);
        drop(&b);
    }
    print_message("%d draws of %d on the other side of a boundary\n", moved, 20 * ROWS * MEMBERS);
    assert_true(moved <= 5);
}

/* Lists and whole rows in one call, and several lists in the same ids. */
static void kinds_of_rows_mix(void **state) {
    static batch b;
    fc_draw_args mixed;
    fc_draw_row rows[ROWS];
    int32_t token[ROWS * MEMBERS];
    fc_stream s = open_stream(FC_CPU_AUTO, 2, 1000);
    (void)state;
    make(&b, 1000, 10, seed + 900);
    assert_ok(fc_draw_cpu(s, &b.a));
    mixed = b.a;
    mixed.logits = b.x;
    mixed.R = ROWS;
    mixed.rows = rows;
    mixed.token = token;
    for (int r = 0; r < ROWS; r++) rows[r] = r % 2 ? b.whole[r] : b.list[r];
    assert_ok(fc_draw_cpu(s, &mixed));
    assert_memory_equal(token, b.token, sizeof token);
    rows[0] = b.list[1];
    rows[0].member = 0;
    for (int i = 0; i < MEMBERS; i++) b.members[i] = b.members[MEMBERS + i];
    assert_ok(fc_draw_cpu(s, &mixed));
    assert_memory_equal(token, token + MEMBERS, MEMBERS * sizeof *token);
    fc_cpu_stream_close(s);
    drop(&b);
}

/* Both ways to draw a's one member leave that token; a log-prob with an id alone. */
static void says(fc_stream s, const fc_draw_args *a, int token) {
    for (int ref = 0; ref < 2; ref++) {
        assert_ok((ref ? fc_draw_ref : fc_draw_cpu)(s, a));
        assert_int_equal(*a->token, token);
        assert_int_equal(isnan(*a->logprob) != 0, token < 0);
    }
}

static void broken_lists_are_named(void **state) {
    float value[4] = {0, 1, 2, 3}, lp, ban = -INFINITY;
    int32_t id[4] = {2, 5, 700, 999}, token, banned = 5;
    fc_draw_member m = {.seed = 1};
    fc_draw_row r = {
        .row = 77, .n_members = 1, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition = 1, .n_ids = 4};
    fc_draw_args a = {.token = &token,
                      .logprob = &lp,
                      .rows = &r,
                      .members = &m,
                      .bias_id = &banned,
                      .bias_value = &ban,
                      .list_id = id,
                      .list_value = value,
                      .V = 1000,
                      .n_rows = 1,
                      .M = 1};
    fc_stream s = open_stream(FC_CPU_AUTO, 2, 1000);
    (void)state;
    assert_ok(fc_draw_cpu(s, &a));
    id[3] = 1000;
    assert_fails(fc_draw_cpu(s, &a), FC_ERR_ARG, "row 77: listed id 1000 at place 3");
    id[3] = 700;
    assert_fails(fc_draw_cpu(s, &a), FC_ERR_ARG, "row 77: listed id 700 at place 3");
    id[0] = -1;
    assert_fails(fc_draw_cpu(s, &a), FC_ERR_ARG, "row 77: listed id -1 at place 0");
    id[0] = 2;
    id[3] = 999;
    r.n_ids = -1;
    assert_fails(fc_draw_cpu(s, &a), FC_ERR_ARG, "row 77: a list of -1 ids");
    r.n_ids = 4;
    value[2] = NAN;
    says(s, &a, -FC_ROW_BROKEN);
    value[2] = INFINITY;
    says(s, &a, -FC_ROW_BROKEN);
    for (int i = 0; i < 4; i++) value[i] = -INFINITY;
    says(s, &a, -FC_ROW_EMPTY);
    value[1] = 0.5f;
    says(s, &a, 5);
    assert_true(lp == 0.0f);
    r.n_bias = 1;
    says(s, &a, -FC_ROW_CHANGED_EMPTY);
    banned = 6; /* not in the list */
    says(s, &a, 5);
    ban = NAN;
    banned = 5;
    says(s, &a, -FC_ROW_CHANGED_BROKEN);
    fc_cpu_stream_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_draws_what_the_masked_row_draws),
        cmocka_unit_test(lists_meet_the_reference),
        cmocka_unit_test(kinds_of_rows_mix),
        cmocka_unit_test(broken_lists_are_named),
    };
    print_message("seed %llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
