/* Log-probabilities and the best of a row: the reference, ties, masks, errors; bits alike for any level and threads,
 * and the same number as the draw reports. */
#include "kernels/cpu/cpu.h"
#include "kernels/draw/draw.h"
#include "kernels/logprob/logprob.h"
#include "kernels/logprob/tile.h"
#include "tests/util.h"

enum { ROWS = 5, PER_ROW = 7 };
static const int vocabs[] = {1, 2, 255, 256, 257, 1000, 32800, 70001};
enum { N_VOCABS = sizeof vocabs / sizeof vocabs[0] };

static fc_stream open_stream(int level, int threads, int V) {
    fc_stream s;
    assert_ok(fc_cpu_stream_open((fc_cpu_level)level, threads, 0, fc_draw_workspace_cpu(V), &s));
    return s;
}

static float *logits_of(int rows, int V, float scale, uint64_t seed) {
    size_t n = (size_t)rows * (size_t)V;
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = test_normal(&seed) * scale - 3.0f;
    return x;
}

static void logprob_meets_the_reference_with_the_same_bits(void **state) {
    (void)state;
    for (int k = 0; k < N_VOCABS; k++) {
        int V = vocabs[k], M = 0;
        uint64_t seed = 11;
        float *x = logits_of(ROWS, V, k % 2 ? 8.0f : 1.0f, 100 + (uint64_t)k), lp[ROWS * PER_ROW], ref[ROWS * PER_ROW],
              first[ROWS * PER_ROW];
        int32_t row[ROWS * PER_ROW], id[ROWS * PER_ROW];
        fc_logprob_args a = {.logits = x, .row = row, .id = id, .R = ROWS, .V = V};
        if (V > 2) x[V / 2] = -INFINITY;
        x[3 * V] = NAN; /* row 3 is asked for nothing, so it is not looked at */
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; r != 3 && i < PER_ROW; i++) {
                row[M] = r;
                id[M++] = i == 0 ? V - 1 : test_below(&seed, V);
            }
        if (V > 2) id[0] = V / 2;
        a.M = M;
        a.lp = ref;
        assert_ok(fc_logprob_ref(NULL, &a));
        for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
            for (int threads = 1; threads <= 8; threads *= 2) { /* 8: more than rows, so that tiles are shared out */
                fc_stream s = open_stream(l, threads, V);
                a.lp = lp;
                assert_ok(fc_logprob_cpu(s, &a));
                fc_cpu_stream_close(s);
                for (int i = 0; i < M; i++)
                    if (lp[i] != ref[i] &&
                        !(fabs((double)lp[i] - (double)ref[i]) <= 2e-6 + 2e-6 * fabs((double)ref[i])))
                        fail_msg("V=%d level %d: lp[%d]=%.9g, reference %.9g", V, l, i, (double)lp[i], (double)ref[i]);
                if (l == FC_CPU_PORTABLE && threads == 1) memcpy(first, lp, sizeof lp);
                assert_memory_equal(first, lp, (size_t)M * sizeof *lp);
            }
        free(x);
    }
}

/* A fused head keeps (top, sum) of each tile and sees no other tile. If this fails, its log-probs have bits of their
 * own. */
static void a_tile_is_summed_from_itself_alone(void **state) {
    enum { V = 3000, TILES = 12 };
    float *x = logits_of(1, V, 3.0f, 21), top[TILES], sum[TILES], one_top, one_sum, scale[] = {1.0f, 0.4f, 3e38f};
    (void)state;
    for (int i = 0; i < V; i++)
        x[i] += (float)(i / FC_TILE * 37 % 5) * 60.0f; /* most tiles are far below the largest */
    for (int i = 5 * FC_TILE; i < 6 * FC_TILE; i++) x[i] = -INFINITY;
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
        for (int k = 0; k < 3; k++) {
            const fc_tile_ops *ops = fc_tile_ops_of((fc_cpu_level)l);
            float max;
            assert_true(fc_tiles_max((fc_tiler){ops, NULL}, x, V, top, &max));
            fc_tiles_sum((fc_tiler){ops, NULL}, x, V, scale[k], top, sum);
            for (int t = 0; t < TILES; t++) {
                int n = V - t * FC_TILE < FC_TILE ? V - t * FC_TILE : FC_TILE;
                ops->max(x + t * FC_TILE, n, 0, 1, &one_top);
                ops->sum(x + t * FC_TILE, n, 0, 1, scale[k], &one_top, &one_sum);
                assert_true(one_top == top[t] && one_sum == sum[t]);
                assert_true(t == 5 ? sum[t] == 0.0f : sum[t] >= 1.0f && sum[t] <= 256.0f);
            }
        }
    free(x);
}

/* If this fails, a candidate's log-prob depends on whether the model drew it or scored it. */
static void a_drawn_id_and_a_scored_id_have_one_logprob(void **state) {
    enum { V = 5000, N = 300 };
    float *x = logits_of(1, V, 3.0f, 8), drawn[N], scored[N];
    int32_t token[N], row[N] = {0};
    fc_draw_member members[N];
    fc_draw_row r = {.n_members = N, .top_k = 40, .temperature = 0.7f, .top_p = 0.9f, .typical_p = 1, .repetition = 1};
    fc_draw_args d = {.token = token,
                      .logprob = drawn,
                      .logits = x,
                      .rows = &r,
                      .members = members,
                      .R = 1,
                      .V = V,
                      .n_rows = 1,
                      .M = N};
    fc_logprob_args a = {.lp = scored, .logits = x, .row = row, .id = token, .R = 1, .V = V, .M = N};
    fc_stream s = open_stream(FC_CPU_AUTO, 2, V);
    (void)state;
    for (uint32_t i = 0; i < N; i++) members[i] = (fc_draw_member){.seed = 4, .candidate = i};
    assert_ok(fc_draw_cpu(s, &d));
    assert_ok(fc_logprob_cpu(s, &a));
    assert_memory_equal(drawn, scored, sizeof drawn);
    fc_cpu_stream_close(s);
    free(x);
}

static void top_row(float *x, int V, int n, const char *what) {
    int32_t rows[2] = {1, 0}, *ids = malloc(sizeof *ids * 2 * (size_t)n), *want = malloc(sizeof *want * 2 * (size_t)n);
    float *lp = malloc(sizeof *lp * 2 * (size_t)n), *ref = malloc(sizeof *ref * 2 * (size_t)n);
    fc_top_logprobs_args a = {.ids = want, .lp = ref, .logits = x, .rows = rows, .R = 2, .V = V, .n = n};
    assert_ok(fc_top_logprobs_ref(NULL, &a));
    a.ids = ids;
    a.lp = lp;
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
        for (int threads = 1; threads <= 4; threads *= 2) {
            fc_stream s = open_stream(l, threads, V);
            assert_ok(fc_top_logprobs_cpu(s, &a));
            fc_cpu_stream_close(s);
            for (int i = 0; i < 2 * n; i++) {
                if (ids[i] != want[i])
                    fail_msg("%s V=%d n=%d: place %d holds id %d, reference %d", what, V, n, i, ids[i], want[i]);
                if (lp[i] != ref[i] && !(fabs((double)lp[i] - (double)ref[i]) <= 2e-6 + 2e-6 * fabs((double)ref[i])))
                    fail_msg("%s V=%d n=%d: lp[%d]=%.9g, reference %.9g", what, V, n, i, (double)lp[i], (double)ref[i]);
            }
        }
    free(ids);
    free(want);
    free(lp);
    free(ref);
}

static void top_logprobs_meet_the_reference(void **state) {
    static const int counts[] = {1, 2, 5, 40, FC_TOP_LOGPROBS_MAX};
    (void)state;
    for (int k = 0; k < N_VOCABS; k++)
        for (int c = 0; c < 5; c++) {
            int V = vocabs[k], n = counts[c];
            float *x = logits_of(2, V, 4.0f, 50 + (uint64_t)k);
            if (n > V || (size_t)n * (size_t)V > 4300000) { /* the reference passes n times over the row */
                free(x);
                continue;
            }
            top_row(x, V, n, "random");
            for (int i = 0; i < 2 * V; i++) x[i] = truncf(x[i]); /* whole numbers: many ties, -0 and +0 among them */
            top_row(x, V, n, "ties");
            for (int i = 0; i < 2 * V; i++)
                if (i % V != V / 3) x[i] = -INFINITY; /* fewer finite ids than places */
            top_row(x, V, n, "masked");
            for (int i = 0; i < 2 * V; i++) x[i] = 1.5f;
            top_row(x, V, n, "flat");
            free(x);
        }
}

static void a_broken_row_says_so(void **state) {
    enum { V = 600, R = 12 };
    float *x = logits_of(R, V, 1.0f, 3), lp[R];
    int32_t row[R], id[R] = {0}, ids[R];
    fc_logprob_args a = {.lp = lp, .logits = x, .row = row, .id = id, .R = R, .V = V, .M = R};
    fc_top_logprobs_args t = {.ids = ids, .lp = lp, .logits = x, .rows = row, .R = R, .V = V, .n = 1};
    (void)state;
    for (int r = 0; r < R; r++) row[r] = r;
    x[7 * V + 599] = NAN;
    x[9 * V + 3] = INFINITY;
    for (int i = 0; i < V; i++) x[4 * V + i] = -INFINITY;
    id[2] = -1; /* as a draw leaves it */
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
        for (int threads = 1; threads <= 16; threads *= 4) {
            fc_stream s = open_stream(l, threads, V);
            for (int ref = 0; ref < 2; ref++) {
                assert_ok((ref ? fc_logprob_ref : fc_logprob_cpu)(s, &a));
                for (int r = 0; r < R; r++) assert_int_equal(isnan(lp[r]) != 0, r == 2 || r == 4 || r == 7 || r == 9);
                assert_ok((ref ? fc_top_logprobs_ref : fc_top_logprobs_cpu)(s, &t));
                for (int r = 0; r < R; r++) {
                    bool broken = r == 4 || r == 7 || r == 9;
                    assert_int_equal(isnan(lp[r]) != 0, broken);
                    assert_int_equal(ids[r] == -1, broken);
                }
            }
            fc_cpu_stream_close(s);
        }
    free(x);
}

static void wrong_arguments_are_refused(void **state) {
    float x[8] = {0}, lp[3];
    int32_t row[3] = {0, 1, 0}, id[3] = {0, 0, 0}, ids[3];
    fc_logprob_args a = {.lp = lp, .logits = x, .row = row, .id = id, .R = 2, .V = 4, .M = 3};
    fc_top_logprobs_args t = {.ids = ids, .lp = lp, .logits = x, .rows = row, .R = 1, .V = 4, .n = 5};
    fc_stream s = open_stream(FC_CPU_PORTABLE, 1, 4), none;
    (void)state;
    assert_fails(fc_logprob_cpu(s, &a), FC_ERR_ARG, "row[2]=0");
    row[2] = 2;
    assert_fails(fc_logprob_cpu(s, &a), FC_ERR_ARG, "row[2]=2");
    row[2] = 1;
    id[1] = 4;
    assert_fails(fc_logprob_cpu(s, &a), FC_ERR_ARG, "id 4");
    assert_fails(fc_top_logprobs_cpu(s, &t), FC_ERR_ARG, "n=5");
    t.n = 0;
    assert_fails(fc_top_logprobs_cpu(s, &t), FC_ERR_ARG, "n=0");
    fc_cpu_stream_close(s);
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, 64, &none));
    id[1] = 0;
    assert_fails(fc_logprob_cpu(none, &a), FC_ERR_MEM, "logprob");
    fc_cpu_stream_close(none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logprob_meets_the_reference_with_the_same_bits),
        cmocka_unit_test(a_tile_is_summed_from_itself_alone),
        cmocka_unit_test(a_drawn_id_and_a_scored_id_have_one_logprob),
        cmocka_unit_test(top_logprobs_meet_the_reference),
        cmocka_unit_test(a_broken_row_says_so),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
