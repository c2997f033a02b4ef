/* Draws without replacement: the conditional form against the short formula, frequencies of ordered pairs on one list
 * and on a tree against exact ones, the best of whole rows, errors. */
#include "kernels/draw/gumbel.h"

#include "kernels/cpu/cpu.h"
#include "kernels/draw/draw.h"
#include "kernels/logprob/logprob.h"
#include "tests/kernels/util_stats.h"
#include "tests/util.h"

static uint64_t seed = 2019;

static fc_stream open_stream(int level, int threads, int V) {
    fc_stream s;
    assert_ok(fc_cpu_stream_open((fc_cpu_level)level, threads, 0, fc_draw_workspace_cpu(V), &s));
    return s;
}

static bool close_to(double a, double b) { return a == b || fabs(a - b) <= 1e-9; }

/* Also: the largest is the parent's G, exactly; an id of -inf comes last. */
static void lists_meet_the_reference_and_their_maximum(void **state) {
    enum { ROWS = 40, V = 2000, N = ROWS * 60 };
    fc_gumbel_row rows[ROWS];
    int32_t ids[N];
    float lp[N];
    double g[N], ref[N];
    fc_gumbel_list_args a = {.lp = lp, .ids = ids, .rows = rows, .n_rows = ROWS, .V = V};
    int n = 0;
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int r = 0; r < ROWS; r++) {
        rows[r] = (fc_gumbel_row){.seed = seed, .prefix = fc_rng_next(&seed), .row = r, .ids = n, .values = n};
        rows[r].n_ids = 1 + test_below(&seed, 60);
        rows[r].lp = -fabs((double)test_normal(&seed)) * 3.0;
        rows[r].G = rows[r].lp + 2.0 * (double)test_normal(&seed);
        for (int i = 0; i < rows[r].n_ids; i++, n++) {
            ids[n] = i * (V / 60) + test_below(&seed, V / 60);
            lp[n] = i % 7 == 3 ? -INFINITY : test_normal(&seed) - 3.0f;
        }
    }
    a.g = ref;
    assert_ok(fc_gumbel_list_ref(NULL, &a));
    for (int threads = 1; threads <= 3; threads++) {
        fc_stream s = open_stream(FC_CPU_AUTO, threads, V);
        a.g = g;
        assert_ok(fc_gumbel_list_cpu(s, &a));
        fc_cpu_stream_close(s);
        for (int r = 0; r < ROWS; r++) {
            double most = -INFINITY;
            for (int i = rows[r].values; i < rows[r].values + rows[r].n_ids; i++) {
                if (!close_to(g[i], ref[i])) fail_msg("row %d id %d: %.15g, reference %.15g", r, ids[i], g[i], ref[i]);
                if (lp[i] == -INFINITY) assert_true(g[i] == -INFINITY);
                most = fmax(most, g[i]);
            }
            assert_true(most == rows[r].G);
        }
    }
}

/* Nothing overflows where the short formula does. */
static void far_values_stay_finite(void **state) {
    int32_t ids[4] = {0, 1, 2, 3};
    float lp[4] = {-1, -5000, -2e30f, -3};
    double g[4];
    fc_stream s = open_stream(FC_CPU_AUTO, 1, 4);
    (void)state;
    for (int k = 0; k < 5; k++) {
        static const double G[] = {-1e4, 1e4, 0.0, -800.0, 800.0};
        fc_gumbel_row r = {.seed = 5, .prefix = 1, .lp = -700.0, .G = G[k], .n_ids = 4};
        assert_ok(fc_gumbel_list_cpu(
            s, &(fc_gumbel_list_args){.g = g, .lp = lp, .ids = ids, .rows = &r, .n_rows = 1, .V = 4}));
        assert_true(fmax(g[0], g[3]) == G[k]);
        for (int i = 0; i < 4; i++) assert_true(isfinite(g[i]) && g[i] <= G[k]);
        assert_true(g[2] <= g[1] && g[1] <= g[0]); /* far above G's own place all of them are G, to rounding */
    }
    fc_cpu_stream_close(s);
}

/* ---- frequencies */

enum { RUNS = 40000 };

/* If this fails, candidates do not come with their probabilities: of 6 ids, the first and the second together. */
static void pairs_come_as_without_replacement(void **state) {
    enum { K = 6 };
    static const double p[K] = {0.4, 0.25, 0.15, 0.1, 0.07, 0.03};
    static int32_t first[RUNS], pair[RUNS];
    int32_t ids[K] = {3, 8, 9, 300, 301, 999};
    float lp[K];
    double g[K], exact[K * K], pv;
    int cells;
    fc_stream s = open_stream(FC_CPU_AUTO, 1, 1000);
    (void)state;
    for (int i = 0; i < K; i++) lp[i] = (float)log(p[i]);
    for (int i = 0; i < K * K; i++) exact[i] = i / K == i % K ? 0.0 : p[i / K] * p[i % K] / (1.0 - p[i / K]);
    for (int n = 0; n < RUNS; n++) {
        fc_gumbel_row r = {.seed = (uint64_t)n, .n_ids = K, .G = n % 3 - 1.0};
        int a = 0, b = -1;
        assert_ok(fc_gumbel_list_cpu(
            s, &(fc_gumbel_list_args){.g = g, .lp = lp, .ids = ids, .rows = &r, .n_rows = 1, .V = 1000}));
        for (int i = 1; i < K; i++) a = g[i] > g[a] ? i : a;
        for (int i = 0; i < K; i++)
            if (i != a && (b < 0 || g[i] > g[b])) b = i;
        first[n] = a;
        pair[n] = a * K + b;
    }
    pv = stats_chi2(first, RUNS, p, K, &cells);
    print_message("first: %d cells, p = %.4g\n", cells, pv);
    assert_true(pv > 1e-6);
    pv = stats_chi2(pair, RUNS, exact, K * K, &cells);
    print_message("pairs: %d cells, p = %.4g\n", cells, pv);
    assert_true(pv > 1e-6);
    fc_cpu_stream_close(s);
}

/* Three nodes of three leaves each, perturbed from the root down: the two largest leaves are two draws without
 * replacement from all nine. This is what the conditional form is for: were a node's G not handed down, it would
 * fail. */
static void leaves_of_a_tree_come_as_without_replacement(void **state) {
    enum { B = 3, LEAVES = B * B };
    static const double p[B] = {0.6, 0.3, 0.1}, q[B][B] = {{0.5, 0.3, 0.2}, {0.1, 0.1, 0.8}, {0.3, 0.35, 0.35}};
    static int32_t pair[RUNS];
    const int32_t ids[B] = {5, 6, 900};
    float lp[B], lq[B][B];
    double leaf[LEAVES], exact[LEAVES * LEAVES], pv;
    int cells;
    fc_stream s = open_stream(FC_CPU_AUTO, 1, 1000);
    (void)state;
    for (int i = 0; i < LEAVES; i++) {
        lp[i / B] = (float)log(p[i / B]);
        lq[i / B][i % B] = (float)log(q[i / B][i % B]);
        leaf[i] = p[i / B] * q[i / B][i % B];
    }
    for (int i = 0; i < LEAVES * LEAVES; i++) {
        int a = i / LEAVES, b = i % LEAVES;
        exact[i] = a == b ? 0.0 : leaf[a] * leaf[b] / (1.0 - leaf[a]);
    }
    for (int n = 0; n < RUNS; n++) {
        double g[B], deep[LEAVES];
        int a = 0, b = -1;
        fc_gumbel_row root = {.seed = (uint64_t)n, .n_ids = B}, nodes[B];
        fc_gumbel_list_args args = {.g = g, .lp = lp, .ids = ids, .rows = &root, .n_rows = 1, .V = 1000};
        assert_ok(fc_gumbel_list_cpu(s, &args));
        for (int i = 0; i < B; i++)
            nodes[i] = (fc_gumbel_row){.seed = (uint64_t)n,
                                       .prefix = fc_rng_prefix(0, ids[i]),
                                       .lp = (double)lp[i],
                                       .G = g[i],
                                       .n_ids = B,
                                       .values = i * B};
        args = (fc_gumbel_list_args){.g = deep, .lp = lq[0], .ids = ids, .rows = nodes, .n_rows = B, .V = 1000};
        assert_ok(fc_gumbel_list_cpu(s, &args));
        for (int i = 1; i < LEAVES; i++) a = deep[i] > deep[a] ? i : a;
        for (int i = 0; i < LEAVES; i++)
            if (i != a && (b < 0 || deep[i] > deep[b])) b = i;
        assert_true(deep[a] == 0.0);
        pair[n] = a * LEAVES + b;
    }
    pv = stats_chi2(pair, RUNS, exact, LEAVES * LEAVES, &cells);
    print_message("pairs of leaves: %d cells, p = %.4g\n", cells, pv);
    assert_true(pv > 1e-6);
    fc_cpu_stream_close(s);
}

/* ---- whole rows */

static void the_best_of_whole_rows_meet_the_reference_and_the_list(void **state) {
    static const int vocabs[] = {1, 5, 256, 700, 6000};
    enum { R = 3, V_MAX = 6000 };
    static float x[R * V_MAX], lp_all[V_MAX];
    static double g_all[V_MAX];
    static int32_t all[V_MAX], rows_of[V_MAX];
    (void)state;
    for (int k = 0; k < 20; k++) {
        int V = vocabs[k / 4], n = k % 4 == 0 ? 1 : k % 4 == 1 ? 5 : k % 4 == 2 ? 40 : FC_TOP_LOGPROBS_MAX;
        int32_t ids[R * FC_TOP_LOGPROBS_MAX], want[R * FC_TOP_LOGPROBS_MAX];
        double g[R * FC_TOP_LOGPROBS_MAX], ref[R * FC_TOP_LOGPROBS_MAX];
        float lp[R * FC_TOP_LOGPROBS_MAX], ref_lp[R * FC_TOP_LOGPROBS_MAX];
        fc_gumbel_row rows[R];
        fc_gumbel_top_args a = {.logits = x, .rows = rows, .n_rows = R, .R = R, .V = V};
        a.n = n = n < V ? n : V;
        for (int i = 0; i < R * V; i++) x[i] = i % 11 == 5 ? -INFINITY : test_normal(&seed) * (float)(1 + k % 3 * 4);
        for (int i = 0; i < V && V > 5; i++) /* fewer finite ids than places */
            if (i > 30) x[i] = -INFINITY;
        for (int r = 0; r < R; r++)
            rows[r] = (fc_gumbel_row){.seed = seed, .prefix = (uint64_t)k, .lp = -1.5, .G = 0.7, .row = R - 1 - r};
        if (V == 1) x[0] = x[1] = x[2] = 1.0f;
        a.ids = want;
        a.g = ref;
        a.lp = ref_lp;
        assert_ok(fc_gumbel_top_ref(NULL, &a));
        a.ids = ids;
        a.g = g;
        a.lp = lp;
        for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++) {
            fc_stream s = open_stream(l, 1 + l % 2, V);
            fc_gumbel_row list = rows[0];
            assert_ok(fc_gumbel_top_cpu(s, &a));
            for (int i = 0; i < R * n; i++)
                if (ids[i] != want[i] || !(g[i] == ref[i] || fabs(g[i] - ref[i]) <= 2e-6 + 2e-6 * fabs(ref[i])))
                    fail_msg("V=%d n=%d place %d: id %d %.12g, reference %d %.12g", V, n, i, ids[i], g[i], want[i],
                             ref[i]);
            for (int i = 0; i < V; i++) {
                all[i] = i;
                rows_of[i] = list.row;
            }
            assert_ok(fc_logprob_cpu(
                s, &(fc_logprob_args){.lp = lp_all, .logits = x, .row = rows_of, .id = all, .R = R, .V = V, .M = V}));
            list.n_ids = V;
            assert_ok(fc_gumbel_list_cpu(
                s, &(fc_gumbel_list_args){.g = g_all, .lp = lp_all, .ids = all, .rows = &list, .n_rows = 1, .V = V}));
            for (int i = 0; i < n; i++) assert_true(g[i] == g_all[ids[i]] && lp[i] == lp_all[ids[i]]);
            fc_cpu_stream_close(s);
        }
    }
}

/* ---- the numbers behind it, and errors */

static void prefixes_and_numbers_are_pinned(void **state) {
    uint64_t a = fc_rng_prefix(fc_rng_prefix(0, 1), 2), b = fc_rng_prefix(fc_rng_prefix(0, 2), 1);
    (void)state;
    assert_true(a != b && a != fc_rng_prefix(0, 1) && fc_rng_prefix(0, 0) != 0);
    assert_true(fc_rng_token_uniform(0) > 0.0 && fc_rng_token_uniform(((uint64_t)1 << 52) - 1) < 1.0);
    assert_true(fc_rng_token_bits(1, a, 7) != fc_rng_token_bits(1, b, 7));
    assert_true(fc_rng_token_bits(1, a, 7) != fc_rng_token_bits(2, a, 7));
    assert_true(fc_rng_token_bits(1, a, 7) < (uint64_t)1 << 52);
    /* of this program since its first version: a change makes every seed draw something else */
    assert_true(a == 0xafddde4b5d06ae56u && fc_rng_token_bits(1, a, 7) == 0xfcfcbb5209c2cu);
}

static void broken_rows_are_named(void **state) {
    float lp[3] = {-1, -2, -3}, out[3];
    int32_t ids[3] = {0, 1, 3}, top[3];
    double g[3];
    fc_gumbel_row r = {.row = 70, .n_ids = 3};
    fc_gumbel_list_args a = {.g = g, .lp = lp, .ids = ids, .rows = &r, .n_rows = 1, .V = 4};
    fc_gumbel_top_args t = {
        .ids = top, .g = g, .lp = out, .logits = lp, .rows = &r, .n_rows = 1, .R = 1, .V = 3, .n = 3};
    fc_stream s = open_stream(FC_CPU_AUTO, 2, 4);
    (void)state;
    assert_ok(fc_gumbel_list_cpu(s, &a));
    assert_fails(fc_gumbel_top_cpu(s, &t), FC_ERR_ARG, "row 70 of 1");
    t.R = 71;
    t.n = 4;
    assert_fails(fc_gumbel_top_cpu(s, &t), FC_ERR_ARG, "V=3 n=4");
    t.n = 0;
    assert_fails(fc_gumbel_top_cpu(s, &t), FC_ERR_ARG, "V=3 n=0");
    r.G = NAN;
    assert_fails(fc_gumbel_list_cpu(s, &a), FC_ERR_ARG, "row 70: log-prob 0, perturbed nan");
    r.G = 0.0;
    r.lp = -INFINITY;
    assert_fails(fc_gumbel_list_cpu(s, &a), FC_ERR_ARG, "row 70: log-prob -inf");
    r.lp = 0.0;
    lp[2] = NAN;
    assert_fails(fc_gumbel_list_cpu(s, &a), FC_ERR_ARG, "row 70: a log-prob is NaN or +inf");
    r.row = 0;
    t.n = 2;
    assert_fails(fc_gumbel_top_cpu(s, &t), FC_ERR_ARG, "row 0: a log-prob is NaN or +inf");
    lp[2] = INFINITY;
    assert_fails(fc_gumbel_list_cpu(s, &a), FC_ERR_ARG, "row 0: a log-prob is NaN or +inf");
    lp[0] = lp[1] = lp[2] = -INFINITY;
    assert_fails(fc_gumbel_list_cpu(s, &a), FC_ERR_ARG, "row 0: every log-prob is -inf");
    assert_fails(fc_gumbel_top_cpu(s, &t), FC_ERR_ARG, "row 0: every log-prob is -inf");
    ids[2] = 4;
    assert_fails(fc_gumbel_list_cpu(s, &a), FC_ERR_ARG, "listed id 4 at place 2");
    r.n_ids = 0;
    assert_fails(fc_gumbel_list_cpu(s, &a), FC_ERR_ARG, "ids 0+0");
    fc_cpu_stream_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_meet_the_reference_and_their_maximum),
        cmocka_unit_test(far_values_stay_finite),
        cmocka_unit_test(pairs_come_as_without_replacement),
        cmocka_unit_test(leaves_of_a_tree_come_as_without_replacement),
        cmocka_unit_test(the_best_of_whole_rows_meet_the_reference_and_the_list),
        cmocka_unit_test(prefixes_and_numbers_are_pinned),
        cmocka_unit_test(broken_rows_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
