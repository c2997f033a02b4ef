/* Searches over random tries against the whole distribution, enumerated. */
#include "tests/engine/util_trie.h"

#include "engine/base/gumbel.h"
#include "engine/search.h"

/* ---- the whole distribution ---------------------------------------------------------------------------------- */

typedef struct {
    int32_t name, node, path[TRIE_DEPTH + 1];
    double logprob, gumbel;
    int32_t n;
} entry;

static int by_path(const entry *a, const entry *b) {
    for (int32_t k = 0; k < a->n && k < b->n; k++)
        if (a->path[k] != b->path[k]) return a->path[k] < b->path[k] ? -1 : 1;
    return (a->n > b->n) - (a->n < b->n);
}

static int by_logprob(const void *x, const void *y) {
    const entry *a = x, *b = y;
    if (a->logprob != b->logprob) return a->logprob > b->logprob ? -1 : 1;
    return by_path(a, b);
}

static int by_gumbel(const void *x, const void *y) {
    const entry *a = x, *b = y;
    if (a->gumbel != b->gumbel) return a->gumbel > b->gumbel ? -1 : 1;
    return by_path(a, b);
}

static entry entry_of(const fc_trie *t, int32_t node) {
    entry e = {.name = t->name[node], .node = node};
    e.n = fc_trie_path(t, node, e.path);
    return e;
}

/* All names, most probable first. Caller frees. */
static entry *enumerate(const fc_trie *t, const float *lp) {
    entry *all = calloc((size_t)t->n_names, sizeof *all);
    assert_non_null(all);
    for (int32_t i = 0; i < t->n_names; i++) {
        int32_t node = 0;
        all[i] = entry_of(t, t->leaf[i]);
        for (int32_t k = 0; k < all[i].n; k++) {
            node = fc_trie_step(t, node, all[i].path[k]);
            all[i].logprob += (double)lp[node];
        }
    }
    qsort(all, (size_t)t->n_names, sizeof *all, by_logprob);
    return all;
}

/* ---- the caller of a search -------------------------------------------------------------------------------- */

typedef struct {
    fc_arena arena;
    fc_search *s;
    const fc_search_result *r;
    int n, asked, rounds;
    uint8_t seen[TRIE_NODES];
} run;

/* Asks for few or many, tells in any order and leaves some for later. rng 0: one at a time, at once. */
static void run_search(run *r, const fc_trie *t, const float *lp, const fc_search_options *o, uint64_t *rng) {
    int32_t air[TRIE_NODES];
    unsigned long long allocated;
    int n_air = 0;
    memset(r, 0, sizeof *r);
    fc_arena_init(&r->arena);
    assert_ok(fc_search_open(t, o, &r->arena, &r->s));
    allocated = fc_alloc_count();
    while (!fc_search_done(r->s)) {
        int max = rng ? 1 + test_below(rng, 6) : 1, got = fc_search_ask(r->s, air + n_air, max);
        int keep = rng && got ? test_below(rng, 3) : 0;
        assert_in_range(got, 0, max);
        r->rounds++;
        for (int i = n_air; i < n_air + got; i++) {
            assert_true(t->n_children[air[i]] > (o->every_node ? 0 : 1));
            assert_false(r->seen[air[i]]);
            r->seen[air[i]] = 1;
            r->asked++;
        }
        n_air += got;
        if (o->method == FC_SEARCH_TOPK) assert_true(n_air <= (o->batch ? o->batch : 1));
        if (got == 0) assert_true(n_air > 0 || fc_search_done(r->s));
        while (n_air > keep) {
            int k = rng ? test_below(rng, n_air) : 0;
            assert_ok(fc_search_tell(r->s, air[k], lp + t->first_child[air[k]]));
            air[k] = air[--n_air];
        }
    }
    assert_int_equal(n_air, 0);
    assert_int_equal(fc_search_ask(r->s, air, 1), 0);
    assert_int_equal(fc_search_expanded(r->s), r->asked);
    assert_int_equal(fc_alloc_count(), allocated);
    r->r = fc_search_results(r->s, &r->n);
}

static void run_end(run *r) { fc_arena_fini(&r->arena); }

static void same_results(const run *a, const run *b) {
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        assert_int_equal(a->r[i].name, b->r[i].name);
        assert_memory_equal(&a->r[i].logprob, &b->r[i].logprob, 3 * sizeof(double));
    }
}

/* How many of the n best have a probability, and are these the search's results? */
static int same_names(const run *r, const entry *all, int n_names, int n) {
    int want = 0;
    while (want < n && want < n_names && all[want].logprob > -INFINITY) want++;
    assert_int_equal(r->n, want);
    for (int i = 0; i < want; i++) {
        assert_int_equal(r->r[i].name, all[i].name);
        assert_true(r->r[i].logprob == all[i].logprob);
    }
    return want;
}

/* ---- exact and topk ---------------------------------------------------------------------------------------- */

static void exact_is_the_product_of_its_edges(void **state) {
    uint64_t rng = 11;
    (void)state;
    printf("seed %llu\n", (unsigned long long)rng);
    for (int round = 0; round < 300; round++) {
        fc_trie *t = trie_random(&rng, 1 + test_below(&rng, 60));
        float *lp = trie_model_random(t, &rng, (trie_model)(round % MODELS));
        entry *all = enumerate(t, lp);
        double sum = 0.0;
        run r;
        run_search(&r, t, lp, &(fc_search_options){.method = FC_SEARCH_EXACT, .every_node = round % 2}, &rng);
        assert_int_equal(r.n, t->n_names);
        for (int i = 0; i < r.n; i++) {
            assert_int_equal(r.r[i].name, all[i].name);
            assert_true(r.r[i].logprob == all[i].logprob);
            assert_true(isnan(r.r[i].gumbel) && r.r[i].weight == exp(all[i].logprob));
            sum += r.r[i].weight;
        }
        if (round % MODELS != MODEL_TIES) assert_true(fabs(sum - 1.0) < 1e-6); /* edges are floats */
        run_end(&r);
        free(all);
        free(lp);
        free(t);
    }
}

/* If this fails, "the n most probable names" are not, or computing them reads nodes that nobody needs. */
static void best_first_is_the_exhaustive_best(void **state) {
    uint64_t rng = 12;
    int asked = 0, nodes = 0, branching = 0, tied = 0;
    (void)state;
    printf("seed %llu\n", (unsigned long long)rng);
    for (int round = 0; round < 1500; round++) {
        fc_trie *t = trie_random(&rng, 1 + test_below(&rng, 80));
        float *lp = trie_model_random(t, &rng, (trie_model)(round % MODELS));
        entry *all = enumerate(t, lp);
        fc_search_options o = {.method = FC_SEARCH_TOPK, .n = 1 + test_below(&rng, 8)};
        run fewest, many;
        int n;
        run_search(&fewest, t, lp, &o, NULL);
        n = same_names(&fewest, all, t->n_names, o.n);
        tied += n < t->n_names && n > 0 && all[n].logprob == all[n - 1].logprob;
        for (int32_t i = 0; i < t->n_nodes && n == o.n; i++) { /* no node whose names all come behind the last result */
            double bound = 0.0;
            if (!fewest.seen[i]) continue;
            for (int32_t k = fc_trie_path(t, i, (int32_t[TRIE_DEPTH + 1]){0}), up = i; k-- > 0; up = t->parent[up])
                bound += (double)lp[up];
            assert_true(bound > all[n - 1].logprob - 1e-9);
            if (bound < all[n - 1].logprob + 1e-9 && t->n_children[i] > 0) {
                entry e = entry_of(t, i);
                assert_true(by_path(&e, &all[n - 1]) < 0);
            }
        }
        asked += fewest.asked;
        nodes += t->n_nodes;
        for (int32_t i = 0; i < t->n_nodes; i++) branching += t->n_children[i] > 1;
        o.batch = 1 + test_below(&rng, 9);
        o.every_node = test_below(&rng, 2);
        run_search(&many, t, lp, &o, &rng);
        same_results(&fewest, &many);
        if (!o.every_node) assert_true(many.asked >= fewest.asked);
        run_end(&fewest);
        run_end(&many);
        free(all);
        free(lp);
        free(t);
    }
    printf("%d of %d branching nodes expanded (%d nodes in all); the last place was tied %d times\n", asked, branching,
           nodes, tied);
    assert_true(tied > 100);
    assert_true(asked < branching);
}

/* ---- beam --------------------------------------------------------------------------------------------------- */

/* As textbooks have it: every path one token longer, the n best stay. Returns how many names are left in beam. */
static int slow_beam(const fc_trie *t, const float *lp, int n, entry *beam) {
    int count = 1;
    bool grew = true;
    entry *next = calloc((size_t)t->n_nodes + 1, sizeof *next);
    assert_non_null(next);
    beam[0] = (entry){.name = -1};
    while (grew) {
        int m = 0;
        grew = false;
        for (int i = 0; i < count; i++) {
            int32_t node = beam[i].node;
            if (t->n_children[node] == 0) next[m++] = beam[i];
            for (int32_t k = 0; k < t->n_children[node]; k++) {
                int32_t c = t->first_child[node] + k;
                grew = true;
                if (lp[c] == -INFINITY) continue;
                next[m] = entry_of(t, c);
                next[m++].logprob = beam[i].logprob + (double)lp[c];
            }
        }
        qsort(next, (size_t)m, sizeof *next, by_logprob);
        count = m < n ? m : n;
        for (int i = 0; i < count; i++) beam[i] = next[i];
    }
    free(next);
    return count;
}

static void a_beam_is_the_textbooks(void **state) {
    static entry beam[TRIE_NODES];
    uint64_t rng = 13;
    int missed = 0;
    (void)state;
    printf("seed %llu\n", (unsigned long long)rng);
    for (int round = 0; round < 1500; round++) {
        fc_trie *t = trie_random(&rng, 1 + test_below(&rng, 80));
        float *lp = trie_model_random(t, &rng, (trie_model)(round % MODELS));
        entry *all = enumerate(t, lp);
        bool wide = round % 5 == 0;
        fc_search_options o = {.method = FC_SEARCH_BEAM,
                               .n = wide ? t->n_names + test_below(&rng, 3) : 1 + test_below(&rng, 6),
                               .every_node = test_below(&rng, 2)};
        int n = slow_beam(t, lp, o.n, beam);
        run r;
        run_search(&r, t, lp, &o, round % 2 ? &rng : NULL);
        assert_int_equal(r.n, n);
        for (int i = 0; i < n; i++) {
            assert_int_equal(r.r[i].name, beam[i].name);
            assert_true(r.r[i].logprob == beam[i].logprob);
            missed += r.r[i].name != all[i].name;
        }
        if (wide) same_names(&r, all, t->n_names, o.n);
        run_end(&r);
        free(all);
        free(lp);
        free(t);
    }
    printf("%d places that are not the exact ones\n", missed);
    assert_true(missed > 0); /* else these tries could not tell a beam from topk */
}

/* ---- without replacement ------------------------------------------------------------------------------------ */

/* Perturbed log-probs of all names, down every branch; node's own is top. */
static void perturb_all(const fc_trie *t, const float *lp, uint64_t seed, int32_t node, uint64_t prefix, double logprob,
                        double top, double *gumbel) {
    double g[8], z = -INFINITY;
    if (t->n_children[node] == 0) gumbel[t->name[node]] = top;
    if (top == -INFINITY) return;
    for (int32_t k = 0; k < t->n_children[node]; k++) {
        int32_t c = t->first_child[node] + k;
        g[k] = logprob + (double)lp[c] + fc_gumbel(seed, prefix, t->token[c]);
        if (g[k] > z) z = g[k];
    }
    for (int32_t k = 0; k < t->n_children[node]; k++) {
        int32_t c = t->first_child[node] + k;
        /* the paper's formula as it stands; exp(-G) is out of range for none of these */
        double below = -log(exp(-top) - exp(-z) + exp(-g[k]));
        perturb_all(t, lp, seed, c, fc_prefix_hash(prefix, t->token[c]), logprob + (double)lp[c],
                    g[k] == z ? top : below, gumbel);
    }
}

/* If this fails, draws without replacement depend on how the work was batched, or are not the largest. */
static void stochastic_beams_find_the_largest(void **state) {
    uint64_t rng = 14;
    (void)state;
    printf("seed %llu\n", (unsigned long long)rng);
    for (int round = 0; round < 1000; round++) {
        fc_trie *t = trie_random(&rng, 1 + test_below(&rng, 80));
        float *lp = trie_model_random(t, &rng, round % 2 ? MODEL_UNIFORM : MODEL_SMOOTH);
        entry *all = enumerate(t, lp);
        double gumbel[TRIE_NODES], kappa;
        int support = 0;
        fc_search_options o = {.method = FC_SEARCH_SBS, .n = 1 + test_below(&rng, 12), .seed = fc_rng_next(&rng)};
        run a, b;
        run_search(&a, t, lp, &o, NULL);
        perturb_all(t, lp, o.seed, 0, 0, 0.0, fc_gumbel(o.seed, 0, -1), gumbel);
        for (int i = 0; i < t->n_names; i++) {
            all[i].gumbel = all[i].logprob > -INFINITY ? gumbel[all[i].name] : -INFINITY;
            support += all[i].logprob > -INFINITY;
        }
        qsort(all, (size_t)t->n_names, sizeof *all, by_gumbel);
        kappa = o.n < support ? all[o.n].gumbel : -INFINITY;
        assert_int_equal(a.n, o.n < support ? o.n : support);
        assert_true(kappa == fc_search_kappa(a.s) || fabs(kappa - fc_search_kappa(a.s)) < 1e-6);
        for (int i = 0; i < a.n; i++) {
            double p = exp(all[i].logprob), q = 1.0 - exp(-exp(all[i].logprob - kappa));
            assert_int_equal(a.r[i].name, all[i].name);
            assert_true(a.r[i].logprob == all[i].logprob);
            assert_true(fabs(a.r[i].gumbel - all[i].gumbel) < 1e-6);
            assert_true(a.r[i].gumbel > fc_search_kappa(a.s));
            assert_true(fabs(a.r[i].weight / (p / q) - 1.0) < 1e-5);
        }
        o.every_node = round % 3 == 0;
        run_search(&b, t, lp, &o, &rng);
        same_results(&a, &b);
        assert_true(fc_search_kappa(a.s) == fc_search_kappa(b.s));
        run_end(&a);
        run_end(&b);
        free(all);
        free(lp);
        free(t);
    }
}

/* The six names of a trie that branches at every depth, and their probabilities. */
static fc_trie *six_names(uint64_t *rng, float **lp, double p[6]) {
    for (;;) {
        fc_trie *t = trie_random(rng, 6);
        if (t->n_names == 6 && t->max_children <= 3 && t->max_depth >= 4) {
            double least = 1.0;
            *lp = trie_model_random(t, rng, MODEL_SMOOTH);
            for (int i = 0; i < 6; i++) {
                p[i] = 0.0;
                for (int32_t node = t->leaf[i]; node > 0; node = t->parent[node]) p[i] += (double)(*lp)[node];
                p[i] = exp(p[i]);
                least = fmin(least, p[i]);
            }
            if (least > 0.02) return t; /* else a cell of the tests below is too small for chi-square */
            free(*lp);
        }
        free(t);
    }
}

/* If this fails, names drawn without replacement are biased, and so is every estimate made of them. */
static void draws_without_replacement_have_the_right_odds(void **state) {
    enum { SEEDS = 20000, N = 3 };
    uint64_t rng = 15;
    double p[6], included[6] = {0}, first2 = 0.0, orders2 = 0.0, want_mean = 0.0, f[6];
    double mean = 0.0, square = 0.0, mass = 0.0, mass_square = 0.0, se;
    int seen[6] = {0}, first[6] = {0}, orders[6][6][6] = {{{0}}};
    float *lp = NULL;
    fc_trie *t = six_names(&rng, &lp, p);
    (void)state;
    printf("seeds 15 and 0 to %d; p %.3f %.3f %.3f %.3f %.3f %.3f\n", SEEDS - 1, p[0], p[1], p[2], p[3], p[4], p[5]);
    for (int i = 0; i < 6; i++) {
        f[i] = 3.0 * (double)test_normal(&rng) + i;
        want_mean += p[i] * f[i];
    }
    for (int seed = 0; seed < SEEDS; seed++) {
        run r;
        double sum = 0.0, total = 0.0;
        run_search(&r, t, lp, &(fc_search_options){.method = FC_SEARCH_SBS, .n = N, .seed = (uint64_t)seed}, NULL);
        assert_int_equal(r.n, N);
        first[r.r[0].name]++;
        orders[r.r[0].name][r.r[1].name][r.r[2].name]++;
        for (int i = 0; i < N; i++) {
            seen[r.r[i].name]++;
            sum += r.r[i].weight * f[r.r[i].name];
            total += r.r[i].weight;
        }
        mean += sum / SEEDS;
        square += sum * sum / SEEDS;
        mass += total / SEEDS;
        mass_square += total * total / SEEDS;
        run_end(&r);
    }
    for (int a = 0; a < 6; a++) {
        first2 += pow(first[a] - SEEDS * p[a], 2.0) / (SEEDS * p[a]);
        for (int b = 0; b < 6; b++)
            for (int c = 0; c < 6; c++) {
                double q = p[a] * p[b] / (1 - p[a]) * p[c] / (1 - p[a] - p[b]);
                if (a == b || b == c || a == c) {
                    assert_int_equal(orders[a][b][c], 0);
                    continue;
                }
                included[a] += q;
                included[b] += q;
                included[c] += q;
                orders2 += pow(orders[a][b][c] - SEEDS * q, 2.0) / (SEEDS * q);
            }
    }
    /* bounds: chi-square exceeds them with probability 1e-4 at 5 and at 119 degrees of freedom */
    printf("chi-square of the first draw %.1f (25.7), of all 120 orders %.1f (182)\n", first2, orders2);
    assert_true(first2 < 25.7);
    assert_true(orders2 < 182.0);
    for (int i = 0; i < 6; i++) {
        double z = (seen[i] - SEEDS * included[i]) / sqrt(SEEDS * included[i] * (1 - included[i]));
        printf("name %d in %.4f of the draws, exactly %.4f: %+.1f standard errors\n", i, (double)seen[i] / SEEDS,
               included[i], z);
        assert_true(fabs(z) < 4.0);
    }
    se = sqrt((square - mean * mean) / SEEDS);
    printf("mean of f %.4f, exactly %.4f, standard error %.4f; sum of weights %.4f\n", mean, want_mean, se, mass);
    assert_true(fabs(mean - want_mean) < 4 * se);
    assert_true(fabs(mass - 1.0) < 4 * sqrt((mass_square - mass * mass) / SEEDS));
    assert_true(se > 1e-3); /* the estimate varies: the bound above says something */
    free(lp);
    free(t);
}

static void noise_is_gumbels(void **state) {
    enum { M = 200000, BINS = 32 };
    int by_token[BINS] = {0}, by_prefix[BINS] = {0}, by_seed[BINS] = {0};
    double chi[3] = {0};
    uint64_t prefix = 0;
    (void)state;
    for (int i = 0; i < M; i++) { /* exp(-exp(-g)) is uniform */
        prefix = fc_prefix_hash(prefix, i % 3);
        by_token[(int)(BINS * exp(-exp(-fc_gumbel(1, 2, i))))]++;
        by_prefix[(int)(BINS * exp(-exp(-fc_gumbel(1, prefix, 5))))]++;
        by_seed[(int)(BINS * exp(-exp(-fc_gumbel((uint64_t)i << 20, 2, 5))))]++;
    }
    for (int i = 0; i < BINS; i++) {
        double want = (double)M / BINS;
        chi[0] += pow(by_token[i] - want, 2.0) / want;
        chi[1] += pow(by_prefix[i] - want, 2.0) / want;
        chi[2] += pow(by_seed[i] - want, 2.0) / want;
    }
    printf("chi-square over tokens %.1f, prefixes %.1f, seeds %.1f (71: 1e-4 at 31 degrees)\n", chi[0], chi[1], chi[2]);
    for (int k = 0; k < 3; k++) assert_true(chi[k] < 71.0);
    assert_true(fc_prefix_hash(fc_prefix_hash(0, 1), 2) != fc_prefix_hash(fc_prefix_hash(0, 2), 1));
    assert_true(fc_prefix_hash(0, 0) != 0);
    assert_true(fc_gumbel(1, 2, 3) != fc_gumbel(1, 2 + (UINT64_C(1) << 40), 3));
    assert_true(fc_gumbel_below(-3.0, -3.0, -1.25) == -1.25);
    assert_true(fc_gumbel_below(-800.0, -3.0, -1.25) < -700.0); /* far below: no overflow on the way */
    assert_true(fc_gumbel_below(-3.0 - 1e-15, -3.0, -1.25) <= -1.25);
    /* close to the largest, and that far below top: 1e-9 would be lost in 1 - exp(g - z) */
    assert_true(fabs(fc_gumbel_below(-40.0 - 0x1p-27, -40.0, 0.0) + log1p(exp(40.0) * expm1(0x1p-27))) < 1e-10);
    assert_true(fc_gumbel_below(-INFINITY, -3.0, -1.25) == -INFINITY);
}

/* ---- edges --------------------------------------------------------------------------------------------------- */

static void wrong_use_is_said(void **state) {
    uint64_t rng = 16;
    fc_trie *t = trie_random(&rng, 30);
    float *lp = trie_model_random(t, &rng, MODEL_SMOOTH), bad[8];
    fc_arena arena;
    fc_search *s = NULL;
    int32_t nodes[4];
    int n;
    (void)state;
    fc_arena_init(&arena);
    assert_fails(fc_search_open(t, &(fc_search_options){.n = 0}, &arena, &s), FC_ERR_ARG, "0 names wanted");
    assert_fails(fc_search_open(t, &(fc_search_options){.n = 1, .batch = -1}, &arena, &s), FC_ERR_ARG, "batch -1");
    assert_fails(fc_search_open(t, &(fc_search_options){.method = 4, .n = 1}, &arena, &s), FC_ERR_ARG, "method 4");
    assert_null(s);
    for (int m = FC_SEARCH_BEAM; m <= FC_SEARCH_EXACT; m++) {
        assert_ok(fc_search_open(t, &(fc_search_options){.method = (fc_search_method)m, .n = 3}, &arena, &s));
        assert_int_equal(fc_search_ask(s, nodes, 1), 1);
        for (int32_t i = 0; i < t->n_children[nodes[0]]; i++) bad[i] = lp[t->first_child[nodes[0]] + i];
        bad[1] = NAN;
        assert_fails(fc_search_tell(s, nodes[0], bad), FC_ERR_ARG, "child 1 of node ");
        bad[1] = 0.5f;
        assert_fails(fc_search_tell(s, nodes[0], bad), FC_ERR_ARG, "has log-prob 0.5");
        for (int i = 0; i < 8; i++) bad[i] = 1e-6f; /* rounding */
        assert_int_equal(fc_search_expanded(s), 0);
        assert_ok(fc_search_tell(s, nodes[0], bad));
        while ((n = fc_search_ask(s, nodes, 4)) > 0)
            for (int i = 0; i < n; i++) assert_ok(fc_search_tell(s, nodes[i], bad));
        assert_true(fc_search_done(s));
        for (int i = 0; i < (fc_search_results(s, &n), n); i++) assert_true(fc_search_results(s, &n)[i].logprob == 0.0);
    }
    fc_arena_fini(&arena);
    free(lp);
    free(t);
}

/* One name, and a model that gives probability to nothing. */
static void small_worlds(void **state) {
    uint64_t rng = 17;
    fc_trie *one = trie_random(&rng, 1), *t = trie_random(&rng, 9);
    float *lp = trie_model_random(one, &rng, MODEL_SMOOTH), *none = trie_model_random(t, &rng, MODEL_SMOOTH);
    (void)state;
    for (int32_t i = 1; i < t->n_nodes; i++) none[i] = -INFINITY;
    for (int m = FC_SEARCH_BEAM; m <= FC_SEARCH_EXACT; m++)
        for (int every = 0; every < 2; every++) {
            fc_search_options o = {.method = (fc_search_method)m, .n = 5, .every_node = every};
            run r;
            run_search(&r, one, lp, &o, NULL);
            assert_int_equal(r.n, 1);
            assert_int_equal(r.r[0].name, 0);
            assert_true(r.r[0].logprob == 0.0);
            assert_int_equal(r.asked, every ? one->n_nodes - 1 : 0);
            if (m == FC_SEARCH_SBS || m == FC_SEARCH_EXACT) assert_true(r.r[0].weight == 1.0);
            else assert_true(isnan(r.r[0].weight));
            run_end(&r);
            run_search(&r, t, none, &o, NULL);
            assert_int_equal(r.n, m == FC_SEARCH_EXACT ? t->n_names : 0);
            run_end(&r);
        }
    free(lp);
    free(none);
    free(one);
    free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_is_the_product_of_its_edges),
        cmocka_unit_test(best_first_is_the_exhaustive_best),
        cmocka_unit_test(a_beam_is_the_textbooks),
        cmocka_unit_test(stochastic_beams_find_the_largest),
        cmocka_unit_test(draws_without_replacement_have_the_right_odds),
        cmocka_unit_test(noise_is_gumbels),
        cmocka_unit_test(wrong_use_is_said),
        cmocka_unit_test(small_worlds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
