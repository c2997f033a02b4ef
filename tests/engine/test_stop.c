/* Stop rules against their definition, computed from scratch for every number of candidates; and that the order in
 * which candidates become known changes nothing. */
#include "engine/stop_job.h"
#include "tests/util.h"

enum { MAX = 24, LEN = 12, TAGS = 6 };

/* ---- the definition ---- */

typedef struct {
    int first; /* the least index of the same identity */
    double key, bound;
    int64_t ids;
    int32_t tag[2];
    int n_tags;
} known;

static bool shares(const known *a, const known *b) {
    for (int i = 0; i < a->n_tags; i++)
        for (int k = 0; k < b->n_tags; k++)
            if (a->tag[i] == b->tag[k]) return true;
    return false;
}

/* The best of 0..m-1 that is distinct and not in out; with[0..n) must share nothing with it. -1: none. */
static int best_of(const known *c, int m, const bool *out, const int *with, int n) {
    int best = -1;
    for (int i = 0; i < m; i++) {
        bool ok = c[i].first == i && !out[i];
        for (int k = 0; k < n; k++) ok = ok && !shares(&c[with[k]], &c[i]);
        if (ok && (best < 0 || c[i].key > c[best].key)) best = i;
    }
    return best;
}

static int naive_kept(const known *c, int m, int keep, int *kept) {
    bool out[MAX] = {false};
    int n = 0;
    for (; n < keep; n++) {
        kept[n] = best_of(c, m, out, kept, n);
        if (kept[n] < 0) break;
        out[kept[n]] = true;
    }
    return n;
}

static bool same_kept(const known *c, int a, int b, int keep) {
    int x[MAX], y[MAX], n = naive_kept(c, a, keep, x);
    return n == naive_kept(c, b, keep, y) && memcmp(x, y, (size_t)n * sizeof *x) == 0;
}

static double naive_margin(const known *c, int m) {
    bool out[MAX] = {false};
    int a = best_of(c, m, out, NULL, 0), b;
    if (a < 0) return NAN;
    out[a] = true;
    b = best_of(c, m, out, NULL, 0);
    return b < 0 || !isfinite(c[a].key) || !isfinite(c[b].key) ? NAN : c[a].key - c[b].key;
}

static bool naive_holds(const fc_stop_rules *r, const known *c, int m, int keep) {
    bool stable = r->stable && m > r->stable;
    for (int k = 1; stable && k <= r->stable; k++) stable = same_kept(c, m, m - k, keep);
    return stable || (r->margin > 0 && naive_margin(c, m) >= r->margin);
}

/* Key that one of index m must reach to be kept or to be second best. */
static double naive_floor(const known *c, int m, int keep) {
    bool out[MAX] = {false};
    int kept[MAX], n = naive_kept(c, m, keep, kept), second;
    if (n < keep) return -INFINITY;
    if (keep > 1) return c[kept[n - 1]].key;
    out[kept[0]] = true;
    second = best_of(c, m, out, NULL, 0);
    return second < 0 ? -INFINITY : c[second].key;
}

/* n_used; gives up who is hopeless on the way, in candidate order. */
static int naive_end(const fc_stop_options *o, known *c, int n, bool *given_up) {
    int64_t ids = 0;
    memset(given_up, 0, MAX * sizeof *given_up);
    for (int m = 0; m < n; m++) {
        ids += c[m].ids;
        if (o->token_budget && ids > o->token_budget) return m;
        given_up[m] = o->rules.hopeless && c[m].first == m && c[m].bound < naive_floor(c, m, o->keep);
        if (given_up[m]) c[m].key = -INFINITY;
        if (naive_holds(&o->rules, c, m + 1, o->keep)) return m + 1;
    }
    return n;
}

/* ---- candidates one by one ---- */

static fc_stop_options random_options(uint64_t *seed, int n, bool hopeless) {
    fc_stop_options o = {.keep = 1 + test_below(seed, 2) * test_below(seed, n), .max = n, .n_tags = TAGS};
    if (test_below(seed, 2)) o.rules.stable = 1 + test_below(seed, 6);
    if (test_below(seed, 4) == 0) o.rules.margin = 0.5 * (1 + test_below(seed, 6));
    if (test_below(seed, 4) == 0) o.token_budget = LEN + test_below(seed, n * LEN);
    if (hopeless) o.rules.hopeless = 1 + test_below(seed, 4);
    return o;
}

/* If this fails, drawing ends where the documents do not say so: too early, or never. */
static void each_end_is_that_of_the_definition(void **state) {
    uint64_t seed = 41;
    int early = 0, budget = 0, repeats = 0, given = 0;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 4000; round++) {
        int n = 1 + test_below(&seed, MAX), end;
        fc_stop_options o = random_options(&seed, n, test_below(&seed, 2));
        int most_tags = o.rules.hopeless ? 1 : 2; /* keywords and hopeless do not go together */
        known c[MAX];
        bool given_up[MAX];
        fc_arena arena;
        fc_stop s;
        for (int i = 0; i < n; i++) {
            double key = test_below(&seed, 8) ? test_below(&seed, 12) * 0.5 : -INFINITY;
            c[i] = (known){.first = i, .key = key, .bound = INFINITY, .ids = 1 + test_below(&seed, LEN)};
            if (test_below(&seed, 2)) c[i].bound = key + test_below(&seed, 3) * 0.5;
            c[i].n_tags = test_below(&seed, most_tags + 1);
            for (int t = 0; t < 2; t++) c[i].tag[t] = test_below(&seed, TAGS);
            if (i == 0 || test_below(&seed, 3)) continue;
            c[i] = c[c[test_below(&seed, i)].first];
            repeats++;
        }
        fc_arena_init(&arena);
        assert_ok(fc_stop_open(&arena, &o, &s));
        {
            known ranked[MAX];
            memcpy(ranked, c, sizeof ranked);
            end = naive_end(&o, ranked, n, given_up);
        }
        while (!s.fixed && s.m < n) {
            const known *k = &c[s.m];
            fc_stop_candidate x = {.item = {.index = s.m, .key = k->key, .tags = k->tag, .n_tags = k->n_tags},
                                   .repeats = k->first != s.m,
                                   .bound = k->bound,
                                   .ids = k->ids};
            int at = s.m;
            bool up = fc_stop_take(&s, &x);
            assert_int_equal(up, at < end && given_up[at]);
            given += up;
        }
        assert_int_equal(s.m, end);
        early += end < n;
        budget += end < n && o.token_budget && s.ids + c[end].ids > o.token_budget;
        fc_arena_fini(&arena);
    }
    printf("%d early, %d by budget, %d repeats, %d given up\n", early, budget, repeats, given);
    assert_true(early > 500 && budget > 100 && repeats > 1000 && given > 100);
}

/* If this fails, a candidate is given up that would have been kept. */
static void the_floor_never_falls(void **state) {
    uint64_t seed = 42;
    (void)state;
    for (int round = 0; round < 500; round++) {
        fc_stop_options o = {.keep = 1 + test_below(&seed, 5), .max = MAX, .n_tags = TAGS, .rules = {.hopeless = 1}};
        fc_arena arena;
        fc_stop s;
        int32_t tag[MAX];
        double last = -INFINITY;
        fc_arena_init(&arena);
        assert_ok(fc_stop_open(&arena, &o, &s));
        for (int i = 0; i < MAX; i++) {
            tag[i] = test_below(&seed, TAGS);
            fc_stop_take(&s, &(fc_stop_candidate){.item = {i, test_below(&seed, 20), &tag[i], test_below(&seed, 2)},
                                                  .bound = INFINITY});
            assert_true(fc_stop_floor(&s) >= last);
            last = fc_stop_floor(&s);
        }
        assert_false(fc_stop_hopeless(&s, last)); /* as good as the last kept is good enough to go on */
        assert_true(fc_stop_hopeless(&s, nextafter(last, -INFINITY)));
        fc_arena_fini(&arena);
    }
}

/* ---- a job whose candidates become known in any order ---- */

typedef struct {
    fc_job job;
    fc_path path[MAX];
    int members[MAX], finished[MAX];
    int64_t discarded[MAX];
    int32_t ids[MAX][LEN];
    float logprobs[MAX][LEN], lp[MAX][LEN]; /* of both models */
    int head[MAX], n;
} world;

/* Candidates of one group have the same ids; some groups are the same name over different ids. */
static void random_world(uint64_t *seed, world *w, const fc_stop_options *o) {
    fc_job *j = &w->job;
    memset(w, 0, sizeof *w);
    w->n = o->max;
    fc_arena_init(&j->arena);
    *j = (fc_job){.arena = j->arena,
                  .n = w->n,
                  .wave = w->n,
                  .n_max = w->n,
                  .n_used = w->n,
                  .keep = o->keep,
                  .max_tokens = LEN,
                  .score = true,
                  .blend = test_below(seed, 2) * 0.25,
                  .paths = w->path,
                  .mode = test_below(seed, 2) ? FC_SCORE_LOGLIK_MEAN : FC_SCORE_LOGLIK_SUM,
                  .members = w->members,
                  .finished = w->finished,
                  .discarded = w->discarded};
    for (int i = 0; i < w->n; i++) {
        fc_path *p = &w->path[i];
        w->members[i] = -1;
        w->head[i] = i;
        w->discarded[i] = test_below(seed, 4) ? 0 : test_below(seed, 5);
        *p = (fc_path){.ids = w->ids[i],
                       .score_ids = w->ids[i],
                       .logprobs = w->logprobs[i],
                       .name = -1,
                       .score = NAN,
                       .bound = INFINITY,
                       .n = 1 + test_below(seed, LEN),
                       .finish = FC_FINISH_STOP};
        if (test_below(seed, 3) == 0) p->name = test_below(seed, 4);
        if (test_below(seed, 6) == 0) p->n = 1; /* few ids: the same again */
        p->n_score_ids = p->n;
        for (int k = 0; k < p->n; k++) {
            w->ids[i][k] = test_below(seed, 3);
            w->logprobs[i][k] = (float)(-0.25 * test_below(seed, 8));
            w->lp[i][k] = test_below(seed, 30) ? (float)(-0.1 * test_below(seed, 20)) : -INFINITY;
        }
        for (int k = 0; k < i && w->head[i] == i; k++) { /* one name has one score, one drawn sequence too */
            const fc_path *q = &w->path[k];
            bool same =
                q->name == p->name && (p->name >= 0 || (q->n == p->n && memcmp(q->ids, p->ids, (size_t)p->n * 4) == 0));
            if (!same) continue;
            p->score_ids = q->score_ids;
            p->n_score_ids = q->n_score_ids;
            memcpy(w->lp[i], w->lp[k], sizeof w->lp[i]);
            if (w->head[k] != k || test_below(seed, 2)) continue;
            w->head[i] = k; /* drawn together: a member of its group, and of no other */
        }
    }
    for (int i = w->n - 1; i >= 0; i--) { /* members in rising order */
        int last = w->head[i];
        if (last == i) continue;
        while (w->members[last] >= 0 && w->members[last] < i) last = w->members[last];
        w->members[i] = w->members[last];
        w->members[last] = i;
    }
}

static void add_logprob(fc_job *j, world *w, int path) {
    fc_path *p = &w->path[path];
    p->sum += (double)w->lp[path][p->n_score_done++];
    if (fc_stop_job_hopeless(j, path)) {
        p->score = NAN;
        p->scoring = FC_SCORED;
    } else if (p->n_score_done == p->n_score_ids) {
        p->score = j->mode == FC_SCORE_LOGLIK_SUM ? p->sum : p->sum / p->n_score_ids;
        p->scoring = FC_SCORED;
    }
}

/* Runs the job to its end. random: whoever is next is drawn by lot, else in the order of candidates. Returns how many
 * log-probs were computed. */
static int run(world *w, const fc_stop_rules *rules, int64_t budget, uint64_t *random) {
    fc_job *j = &w->job;
    fc_str text = {0};
    fc_request r = {.token_budget = budget,
                    .deadline_ms = 1}; /* a deadline that does not come, so that there is a fc_stop_job */
    int computed = 0, left = 0;
    bool drawn[MAX] = {false}, over = false;
    assert_ok(fc_stop_format(rules, &text));
    r.stop_when = fc_str_text(&text);
    assert_ok(fc_stop_job_open(j, &r));
    fc_str_fini(&text);
    for (int i = 0; i < w->n; i++) left += w->head[i] == i;
    for (int next = 0; left > 0 && !over;) {
        int i = random ? test_below(random, w->n) : next;
        if (w->head[i] != i || w->path[i].scoring == FC_SCORED) {
            next += !random;
            continue;
        }
        if (!drawn[i]) {
            drawn[i] = true;
            j->finished[j->n_finished++] = i;
        } else {
            add_logprob(j, w, i);
            computed++;
            left -= w->path[i].scoring == FC_SCORED;
        }
        over = fc_stop_job_over(j, 0);
    }
    return computed;
}

/* What a job's outcome is by the definition; the keys of those who are given up stay in `full`. */
static int define(const world *w, const fc_stop_rules *rules, int64_t budget, known *full, bool *given_up) {
    const fc_stop_options o = {.rules = *rules, .keep = w->job.keep, .token_budget = budget};
    known c[MAX];
    for (int i = 0; i < w->n; i++) {
        const fc_path *p = &w->path[w->head[i]];
        bool mean = w->job.mode == FC_SCORE_LOGLIK_MEAN;
        double sum = 0, logprob = fc_job_logprob(p);
        full[i] = (known){.first = i, .bound = INFINITY, .ids = p->n + w->discarded[i]};
        for (int k = 0; k < p->n_score_ids; k++) {
            sum += (double)w->lp[w->head[i]][k];
            if (rules->hopeless && (k + 1) % rules->hopeless == 0 && k + 1 < p->n_score_ids)
                full[i].bound = fc_rank_key(mean ? sum / p->n_score_ids : sum, logprob, true, w->job.blend);
        }
        full[i].key = fc_rank_key(mean ? sum / p->n_score_ids : sum, logprob, true, w->job.blend);
        assert_true(full[i].key <= full[i].bound);
        for (int k = i - 1; k >= 0; k--) {
            const fc_path *q = &w->path[w->head[k]];
            if (q->name == p->name && (p->name >= 0 || (q->n == p->n && memcmp(q->ids, p->ids, (size_t)p->n * 4) == 0)))
                full[i].first = k;
        }
    }
    memcpy(c, full, sizeof c);
    return naive_end(&o, c, w->n, given_up);
}

static void reset(world *w) {
    w->job.n_finished = 0;
    w->job.stop = NULL;
    w->job.n_used = w->n;
    for (int i = 0; i < w->n; i++) {
        fc_path *p = &w->path[i];
        p->sum = 0;
        p->score = NAN;
        p->bound = INFINITY;
        p->n_score_done = 0;
        p->scoring = FC_UNSCORED;
        p->hopeless = false;
    }
}

/* If this fails, the same request gives another answer on another machine, or beside another request. */
static void arrival_changes_nothing(void **state) {
    uint64_t seed = 43;
    int given = 0, spared = 0, early = 0, all = 0;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 600; round++) {
        fc_stop_options o = random_options(&seed, 1 + test_below(&seed, MAX), true);
        int64_t budget = test_below(&seed, 4) ? 0 : LEN + test_below(&seed, 100);
        world w;
        known c[MAX];
        bool given_up[MAX], none[MAX];
        int end, kept[MAX], plain[MAX], n_kept;
        if (test_below(&seed, 4) == 0) o.rules.hopeless = 0;
        random_world(&seed, &w, &o);
        end = define(&w, &o.rules, budget, c, given_up);
        for (int order = 0; order < 6; order++) {
            known seen[MAX];
            int computed;
            reset(&w);
            computed = run(&w, &o.rules, budget, order ? &seed : NULL);
            assert_int_equal(w.job.n_used, end);
            memcpy(seen, c, sizeof seen);
            for (int i = 0; i < end; i++) {
                if (c[i].first != i) continue;
                assert_int_equal(w.path[i].hopeless, given_up[i]);
                if (given_up[i]) seen[i].key = -INFINITY;
                else
                    assert_true(fc_rank_key(w.path[i].score, fc_job_logprob(&w.path[i]), true, w.job.blend) ==
                                c[i].key);
                given += given_up[i];
            }
            /* and nobody is worse off for it: kept set, margin and end are those without hopeless */
            n_kept = naive_kept(seen, end, o.keep, kept);
            assert_int_equal(n_kept, naive_kept(c, end, o.keep, plain));
            assert_memory_equal(kept, plain, (size_t)n_kept * sizeof *kept);
            if (!isnan(naive_margin(c, end))) assert_true(naive_margin(seen, end) == naive_margin(c, end));
            for (int i = 0; i < end; i++)
                if (w.head[i] == i && w.path[i].hopeless) spared += w.path[i].n_score_ids - w.path[i].n_score_done;
            all += computed;
        }
        {
            fc_stop_rules without = o.rules;
            without.hopeless = 0;
            assert_int_equal(define(&w, &without, budget, c, none), end);
        }
        early += end < w.n;
        fc_arena_fini(&w.job.arena);
    }
    printf("%d given up, %d of %d log-probs spared, %d early ends\n", given, spared, all, early);
    assert_true(given > 500 && spared > 500 && early > 100);
}

/* If this fails, a late request hangs, or says less than it knows. */
static void a_deadline_keeps_the_complete_prefix(void **state) {
    const uint64_t ms = 1000000;
    int finished[3] = {2, 0, 1}, members[3] = {-1, -1, -1};
    fc_path path[3] = {{.n = 1, .name = 0}, {.n = 1, .name = 1}, {.n = 1, .name = 2}};
    float lp[1] = {-1};
    fc_job j = {.id = 5,
                .n = 3,
                .wave = 3,
                .n_max = 3,
                .n_used = 3,
                .keep = 3,
                .max_tokens = 4,
                .score = true,
                .paths = path,
                .members = members,
                .finished = finished,
                .clock = {.submit_ns = 7 * ms}};
    const fc_request r = {.deadline_ms = 10};
    (void)state;
    for (int i = 0; i < 3; i++) path[i].logprobs = lp;
    fc_arena_init(&j.arena);
    assert_ok(fc_stop_job_open(&j, &r));
    j.n_finished = 2; /* 2 is complete, 0 is drawn and not scored */
    path[2].scoring = FC_SCORED;
    assert_false(fc_stop_job_over(&j, 17 * ms - 1));
    path[0].scoring = FC_SCORED;
    assert_true(fc_stop_job_over(&j, 17 * ms));
    assert_int_equal(j.n_used, 1);
    assert_false(j.failed);
    j.n_finished = 3;
    path[1].scoring = FC_SCORED;
    assert_true(fc_stop_job_over(&j, 17 * ms));
    assert_int_equal(j.n_used, 3);
    fc_arena_fini(&j.arena);
    fc_arena_init(&j.arena);
    path[0].scoring = FC_UNSCORED;
    assert_ok(fc_stop_job_open(&j, &r));
    assert_true(fc_stop_job_over(&j, 17 * ms));
    assert_true(j.failed && j.status == FC_ERR_TIMEOUT && strstr(j.error, "deadline_ms = 10"));
    fc_arena_fini(&j.arena);
}

/* ---- text ---- */

static void text_is_read_and_written(void **state) {
    static const char *const good[][2] = {{"", ""},
                                          {"stable:3", "stable:3"},
                                          {"hopeless:4096,stable:1", "stable:1,hopeless:4096"},
                                          {"margin:0.1", "margin:0.1"},
                                          {"margin:1e-3,hopeless:1", "margin:0.001,hopeless:1"},
                                          {"margin:0.33333333333333331", "margin:0.3333333333333333"}};
    static const char *const bad[][2] = {{"stabel:3", "\"stabel:3\"; it is a list of stable:R"},
                                         {"stable", "\"stable\""},
                                         {"stable:", "\"stable:\""},
                                         {"stable:x", "\"stable:x\""},
                                         {"stable:0", "stable:0; it is a whole number from 1 to 4096"},
                                         {"stable:2.5", "stable:2.5; it is a whole number"},
                                         {"stable:4097", "from 1 to 4096"},
                                         {"stable:1,stable:2", "stable is given twice"},
                                         {"margin:1,margin:1", "margin is given twice"},
                                         {"margin:0", "margin:0; it must be above 0"},
                                         {"margin:-1", "must be above 0"},
                                         {"margin:0x10", "\"margin:0x10\""},
                                         {"margin:nan", "\"margin:nan\""},
                                         {"hopeless:-4", "hopeless:-4"},
                                         {"stable:1,", "ends in a comma"},
                                         {",stable:1", "\"\"; it is a list"},
                                         {"stable:1,,margin:1", "\"\"; it is a list"},
                                         {"stable:1 ,margin:1x", "\"margin:1x\""}};
    fc_stop_rules r, again;
    (void)state;
    assert_ok(fc_stop_parse(NULL, &r));
    assert_true(r.stable == 0 && r.hopeless == 0 && !(r.margin > 0));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        fc_str text = {0};
        assert_ok(fc_stop_parse(good[i][0], &r));
        assert_ok(fc_stop_format(&r, &text));
        assert_string_equal(fc_str_text(&text), good[i][1]);
        assert_ok(fc_stop_parse(fc_str_text(&text), &again));
        assert_true(again.stable == r.stable && again.margin == r.margin && again.hopeless == r.hopeless);
        fc_str_fini(&text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(fc_stop_parse(bad[i][0], &r), FC_ERR_ARG, bad[i][1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_end_is_that_of_the_definition),
        cmocka_unit_test(the_floor_never_falls),
        cmocka_unit_test(arrival_changes_nothing),
        cmocka_unit_test(a_deadline_keeps_the_complete_prefix),
        cmocka_unit_test(text_is_read_and_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
