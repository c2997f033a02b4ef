/* Frequencies of 10^5 draws under each transform against probabilities worked out here, in double, by picking ids one
 * by one. A p-value below 1e-6 fails: seeds are fixed, so a pass stays a pass. */
#include "kernels/cpu/cpu.h"
#include "kernels/draw/draw.h"
#include "tests/kernels/util_stats.h"
#include "tests/util.h"

enum { N = 100000, V_MAX = 1000, SEEN = 12, BIAS = 9 };
static const uint64_t seed = 20240607;

typedef struct {
    const char *name;
    fc_draw_row r; /* zeroed fields mean off here: see filled() */
    int bias;      /* 1: BIAS ids get a bias; 2: three of them get -inf */
} chi2_case;

static const chi2_case cases[] = {
    {"plain", {.temperature = 1.0f}, 0},
    {"temperature 0.6", {.temperature = 0.6f}, 0},
    {"temperature 3", {.temperature = 3.0f}, 0},
    {"top-k 1", {.temperature = 1.0f, .top_k = 1}, 0},
    {"top-k 7", {.temperature = 1.0f, .top_k = 7}, 0},
    {"top-k 30, ties", {.temperature = 1.0f, .top_k = 30}, 0},
    {"top-k beyond V", {.temperature = 1.0f, .top_k = V_MAX + 5}, 0},
    {"top-p 0.3", {.temperature = 1.0f, .top_p = 0.3f}, 0},
    {"top-p 0.9", {.temperature = 1.0f, .top_p = 0.9f}, 0},
    {"top-p 0.95, temperature 2", {.temperature = 2.0f, .top_p = 0.95f}, 0},
    {"min-p 0.02", {.temperature = 1.0f, .min_p = 0.02f}, 0},
    {"min-p 0.3", {.temperature = 1.5f, .min_p = 0.3f}, 0},
    {"typical 0.2", {.temperature = 1.0f, .typical_p = 0.2f}, 0},
    {"typical 0.9", {.temperature = 1.0f, .typical_p = 0.9f}, 0},
    {"repetition 1.7", {.temperature = 1.0f, .repetition = 1.7f, .n_seen = SEEN}, 0},
    {"repetition 0.6", {.temperature = 1.0f, .repetition = 0.6f, .n_seen = SEEN}, 0},
    {"presence 0.9", {.temperature = 1.0f, .presence = 0.9f, .n_seen = SEEN}, 0},
    {"frequency 0.4", {.temperature = 1.0f, .frequency = 0.4f, .n_seen = SEEN}, 0},
    {"frequency -0.4", {.temperature = 1.0f, .frequency = -0.4f, .n_seen = SEEN}, 0},
    {"bias", {.temperature = 1.0f}, 1},
    {"mask", {.temperature = 1.0f}, 2},
    {"penalties then temperature",
     {.temperature = 0.5f, .repetition = 1.3f, .presence = 0.5f, .frequency = 0.2f, .n_seen = SEEN},
     1},
    {"top-k then top-p", {.temperature = 1.0f, .top_k = 12, .top_p = 0.8f}, 0},
    {"top-k, typical, top-p, min-p",
     {.temperature = 1.3f, .top_k = 40, .typical_p = 0.8f, .top_p = 0.9f, .min_p = 0.05f},
     0},
    {"typical then top-p", {.temperature = 1.0f, .typical_p = 0.6f, .top_p = 0.7f}, 0},
    {"top-p then min-p", {.temperature = 1.0f, .top_p = 0.95f, .min_p = 0.1f}, 0},
    {"everything",
     {.temperature = 0.8f,
      .top_k = 45,
      .typical_p = 0.95f,
      .top_p = 0.9f,
      .min_p = 0.03f,
      .repetition = 1.2f,
      .presence = 0.3f,
      .frequency = 0.1f,
      .n_seen = SEEN},
     2},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

typedef struct {
    int V;
    float logits[V_MAX];
    int32_t seen_id[SEEN], seen_count[SEEN], bias_id[BIAS];
    float bias_value[BIAS];
} problem;

static void make(problem *q, int V) {
    uint64_t s = seed + (uint64_t)V;
    q->V = V;
    for (int i = 0; i < V; i++) {
        q->logits[i] = fminf(test_normal(&s) * 1.5f, 2.25f);               /* ties at the top */
        if (i % 3 == 0) q->logits[i] = floorf(q->logits[i] * 4.0f) / 4.0f; /* and everywhere */
    }
    for (int i = 0; i < SEEN; i++) {
        q->seen_id[i] = i * (V / SEEN) + i % 3;
        q->seen_count[i] = i % 4; /* 0: in the prompt alone */
    }
    for (int i = 0; i < BIAS; i++) {
        q->bias_id[i] = (i * 7 + 3) % V;
        q->bias_value[i] = (float)(i - 4) * 0.75f;
    }
}

static fc_draw_row filled(const chi2_case *c) {
    fc_draw_row r = c->r;
    r.n_members = N;
    if (r.top_p == 0.0f) r.top_p = 1.0f;
    if (r.typical_p == 0.0f) r.typical_p = 1.0f;
    if (r.repetition == 0.0f) r.repetition = 1.0f;
    r.n_bias = c->bias ? BIAS : 0;
    return r;
}

static void normalise(double *p, int V) {
    double sum = 0.0;
    for (int i = 0; i < V; i++) sum += p[i];
    for (int i = 0; i < V; i++) p[i] /= sum;
}

/* Keeps ids one by one, smallest cost first, smaller id among equals, until they are `count` or weigh `mass`. */
static void keep(double *p, const double *cost, int V, int count, double mass) {
    static char kept[V_MAX];
    double sum = 0.0;
    memset(kept, 0, sizeof kept);
    for (int n = 0; n < count && (n == 0 || sum < mass); n++) {
        int best = -1;
        for (int i = 0; i < V; i++)
            if (!kept[i] && p[i] > 0.0 && (best < 0 || cost[i] < cost[best])) best = i;
        if (best < 0) break;
        kept[best] = 1;
        sum += p[best];
    }
    for (int i = 0; i < V; i++)
        if (!kept[i]) p[i] = 0.0;
    normalise(p, V);
}

static void exact(const problem *q, const fc_draw_row *r, double *p) {
    static double l[V_MAX], cost[V_MAX];
    double max = -INFINITY, H = 0.0, most = 0.0;
    for (int i = 0; i < q->V; i++) l[i] = (double)q->logits[i];
    for (int i = 0; i < r->n_bias; i++) l[q->bias_id[i]] += (double)q->bias_value[i];
    for (int i = 0; i < r->n_seen; i++) {
        double *x = &l[q->seen_id[i]];
        *x = *x > 0.0 ? *x / (double)r->repetition : *x * (double)r->repetition;
        *x -= (double)r->frequency * q->seen_count[i];
        if (q->seen_count[i] > 0) *x -= (double)r->presence;
    }
    for (int i = 0; i < q->V; i++) {
        l[i] /= (double)r->temperature;
        max = fmax(max, l[i]);
    }
    for (int i = 0; i < q->V; i++) p[i] = exp(l[i] - max);
    normalise(p, q->V);
    for (int i = 0; i < q->V; i++) cost[i] = -l[i];
    if (r->top_k > 0) keep(p, cost, q->V, r->top_k, 2.0);
    if (r->typical_p < 1.0f) {
        for (int i = 0; i < q->V; i++)
            if (p[i] > 0.0) H -= p[i] * log(p[i]);
        for (int i = 0; i < q->V; i++) cost[i] = fabs(-log(p[i]) - H);
        keep(p, cost, q->V, q->V, (double)r->typical_p);
        for (int i = 0; i < q->V; i++) cost[i] = -l[i];
    }
    if (r->top_p < 1.0f) keep(p, cost, q->V, q->V, (double)r->top_p);
    for (int i = 0; i < q->V; i++) most = fmax(most, p[i]);
    for (int i = 0; i < q->V; i++)
        if (p[i] < (double)r->min_p * most) p[i] = 0.0;
    normalise(p, q->V);
}

static void run_vocab(int V) {
    static fc_draw_member members[N];
    static int32_t token[N], again[N];
    static float logprob[N];
    static double p[V_MAX];
    static problem q;
    int levels = (int)fc_cpu_best();
    fc_stream s[FC_CPU_AVX512 + 1] = {NULL};
    for (int l = FC_CPU_PORTABLE; l <= levels; l++)
        assert_ok(fc_cpu_stream_open((fc_cpu_level)l, 1, 0, fc_draw_workspace_cpu(V), s + l));
    make(&q, V);
    for (int k = 0; k < N_CASES; k++) {
        fc_draw_row r = filled(cases + k);
        fc_draw_args a = {.token = token,
                          .logprob = logprob,
                          .logits = q.logits,
                          .rows = &r,
                          .members = members,
                          .bias_id = q.bias_id,
                          .bias_value = q.bias_value,
                          .seen_id = q.seen_id,
                          .seen_count = q.seen_count,
                          .R = 1,
                          .V = V,
                          .n_rows = 1,
                          .M = N};
        int cells, kept = 0;
        double pv;
        for (int i = 0; i < 3; i++) q.bias_value[3 * i] = cases[k].bias == 2 ? -INFINITY : (float)(3 * i - 4) * 0.75f;
        for (uint32_t i = 0; i < N; i++)
            members[i] =
                (fc_draw_member){.seed = seed, .candidate = i, .attempt = (uint32_t)k, .position = (uint32_t)V};
        exact(&q, &r, p);
        for (int i = 0; i < V; i++) kept += p[i] > 0.0;
        assert_ok(fc_draw_cpu(s[levels], &a));
        pv = stats_chi2(token, N, p, V, &cells);
        print_message("V=%d %s: %d ids kept, %d cells, p = %.4g\n", V, cases[k].name, kept, cells, pv);
        if (!(pv > 1e-6)) fail_msg("V=%d %s: p = %g", V, cases[k].name, pv);
        a.M = r.n_members = N / 20; /* the other levels give the same tokens; all of them take long under a sanitizer */
        a.token = again;
        for (int l = FC_CPU_PORTABLE; l < levels; l++) {
            assert_ok(fc_draw_cpu(s[l], &a));
            assert_memory_equal(again, token, sizeof *again * (size_t)a.M);
        }
    }
    for (int l = FC_CPU_PORTABLE; l <= levels; l++) fc_cpu_stream_close(s[l]);
}

static void frequencies_match_50_ids(void **state) {
    (void)state;
    run_vocab(50);
}

static void frequencies_match_1000_ids(void **state) {
    (void)state;
    run_vocab(V_MAX);
}

/* The test itself: draws from p against a slightly different q must fail, else nothing above means anything. */
static void the_test_sees_one_percent(void **state) {
    static int32_t ids[N];
    double p[10], wrong[10];
    int cells;
    (void)state;
    for (int i = 0; i < 10; i++) p[i] = 0.1;
    memcpy(wrong, p, sizeof p);
    wrong[2] = 0.11;
    wrong[3] = 0.09;
    for (uint32_t i = 0; i < N; i++) ids[i] = (int32_t)(fc_rng_uniform(seed, i, 0, 0) * 10.0);
    assert_true(stats_chi2(ids, N, p, 10, &cells) > 1e-3);
    assert_true(stats_chi2(ids, N, wrong, 10, &cells) < 1e-6);
    wrong[2] = 0.0; /* an id that may not come */
    assert_true(stats_chi2(ids, N, wrong, 10, &cells) == 0.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_test_sees_one_percent),
        cmocka_unit_test(frequencies_match_50_ids),
        cmocka_unit_test(frequencies_match_1000_ids),
    };
    print_message("seed %llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
