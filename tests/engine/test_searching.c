/* Draws sbs, beam, topk and exact on a model: against the distribution of all names, each path run alone by a probe.
 *
 * tolerance  1e-4 on a name's log-prob: the engine's rows are summed in another order than the probe's
 */
#include "tests/engine/util_engine.h"
#include "tests/engine/util_searches.h"
#include "tests/engine/util_whole.h"

enum { CTX = 256 };

/* ---- against all names ---- */

/* Place i of the answer is the i-th most probable name; names within the tolerance of one another may change places. */
static void expect_top(const char *what, const fc_result *got, const whole *w, const char *const *names, int n) {
    assert_int_equal(got->n_all, n);
    for (int i = 0; i < n; i++) {
        const fc_candidate *c = &got->all[i];
        int name = name_of(c, names, w->n);
        int32_t node = w->trie->leaf[name];
        if (!(fabs(c->logprob - w->logprob[name]) <= 1e-4) ||
            !(fabs(w->logprob[name] - w->logprob[w->order[i]]) <= 1e-4))
            fail_msg("%s, place %d: \"%s\" %.6f; alone it has %.6f, and the place %.6f", what, i, c->text, c->logprob,
                     w->logprob[name], w->logprob[w->order[i]]);
        for (int k = 0; k < i; k++) assert_false(name_of(&got->all[k], names, w->n) == name);
        assert_int_equal(c->n_logprobs, w->trie->depth[node]);
        assert_int_equal(c->n_tokens + 1, c->n_logprobs);
        for (size_t k = c->n_logprobs; k-- > 0; node = w->trie->parent[node])
            if (!(fabs((double)c->logprobs[k] - w->edge[node]) <= 1e-4))
                fail_msg("%s: \"%s\", token %zu: %.6f, alone %.6f", what, c->text, k, (double)c->logprobs[k],
                         w->edge[node]);
        assert_true(c->valid == 1 && c->finish == FC_FINISH_STOP && c->votes == 1 && c->index == i);
    }
}

/* If this fails, the best names of a taxonomy are not the ones that come out. */
static void topk_exact_and_a_wide_beam_are_the_enumeration(void **state) {
    static const char *const families[] = {"llama", "gemma2", "qwen3"};
    static const int wanted[] = {1, 7, NAMES, NAMES + 40};
    const char *const *names = sixty_names();
    (void)state;
    for (int f = 0; f < 3; f++) {
        const char *model = tiny_model(families[f], 3, false);
        fc_engine *e = open_engine(&(fc_engine_options){.novelty = model, .threads = 2, .ctx = CTX});
        whole w;
        whole_init(&w, model, NULL, prompt, names, NAMES);
        for (int k = 0; k < 4; k++)
            for (int m = 1; m < SEARCHES; m++) {
                int n = wanted[k] < NAMES ? wanted[k] : NAMES;
                fc_request r = search_of(searches[m], wanted[k], names, NAMES);
                fc_event ev;
                double sum = 0;
                char what[64];
                if (searches[m] == FC_DRAW_BEAM && n < NAMES) continue; /* not exact */
                snprintf(what, sizeof what, "%s, %s, n %d", families[f], fc_draw_name(searches[m]), wanted[k]);
                ev = run_request(e, &r);
                expect_top(what, ev.result, &w, names, n);
                for (int i = 0; i < n; i++) {
                    const fc_candidate *c = &ev.result->all[i];
                    assert_true(isnan(c->gumbel) && isnan(c->weight) == (searches[m] != FC_DRAW_EXACT));
                    if (searches[m] == FC_DRAW_EXACT) assert_true(fabs(c->weight - exp(c->logprob)) < 1e-6);
                    sum += c->weight;
                }
                if (searches[m] == FC_DRAW_EXACT && n == NAMES && !(fabs(sum - 1) < 1e-5))
                    fail_msg("%s: the distribution sums to %.9f", what, sum);
                assert_int_equal(ev.result->n_kept, n);
                assert_int_equal(ev.result->confidence.n_used, n);
                fc_event_fini(&ev);
            }
        whole_fini(&w);
        fc_engine_close(e);
    }
}

/* If this fails, nodes are computed twice, or ones that nobody asked for. */
static void rows_are_the_nodes_that_branch(void **state) {
    const char *model = tiny_model("llama", 3, false);
    const char *const *names = sixty_names();
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = model, .threads = 2, .ctx = CTX});
    int64_t fed, rows[SEARCHES];
    whole w;
    (void)state;
    whole_init(&w, model, NULL, prompt, names, NAMES);
    fed = whole_fed(&w);
    for (int m = 0; m < SEARCHES; m++) {
        fc_request r = search_of(searches[m], NAMES, names, NAMES);
        fc_event ev = run_request(e, &r);
        const fc_accounting *a = &ev.result->accounting;
        assert_int_equal(a->rows_decode, fed);
        assert_int_equal(a->rows_prefill + a->rows_reused, ev.result->prompt_tokens);
        assert_true(m == 0 ? a->rows_reused == 0 : a->rows_reused > 0);
        assert_int_equal(a->rows_replayed, 0);
        fc_event_fini(&ev);
    }
    for (int m = 0; m < SEARCHES; m++) {
        fc_request r = search_of(searches[m], 2, names, NAMES);
        fc_event ev = run_request(e, &r);
        rows[m] = ev.result->accounting.rows_decode;
        fc_event_fini(&ev);
    }
    printf("rows of %lld nodes for n = 2: sbs %lld, beam %lld, topk %lld\n", (long long)fed, (long long)rows[0],
           (long long)rows[1], (long long)rows[2]);
    assert_int_equal(rows[3], fed);
    for (int m = 0; m < 3; m++) assert_true(rows[m] > 0 && rows[m] < fed);
    whole_fini(&w);
    fc_engine_close(e);
}

/* Nothing to choose: nothing to compute. */
static void a_single_name_needs_no_row(void **state) {
    fc_engine *e =
        open_engine(&(fc_engine_options){.novelty = tiny_model("llama", 3, false), .threads = 1, .ctx = CTX});
    (void)state;
    for (int m = 0; m < SEARCHES; m++) {
        fc_request r = search_of(searches[m], 4, six, 1);
        fc_event ev = run_request(e, &r);
        assert_int_equal(ev.result->n_all, 1);
        assert_string_equal(ev.result->all[0].text, six[0]);
        assert_true(ev.result->all[0].logprob == 0.0);
        assert_int_equal(ev.result->accounting.rows_prefill + ev.result->accounting.rows_decode, 0);
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
}

/* ---- without replacement ---- */

enum { SEEDS = 3000, AT_ONCE = 50 };

typedef struct {
    int first[SIX], pair[SIX * SIX]; /* how often; in order of drawing */
    double weight[SIX], square[SIX]; /* sums over seeds of a name's weight, and of its square */
} counts;

static void count_draws(fc_engine *e, float temperature, counts *out) {
    memset(out, 0, sizeof *out);
    for (int begin = 0; begin < SEEDS; begin += AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++) {
            fc_request r = search_of(FC_DRAW_SBS, 2, six, SIX);
            uint64_t id;
            r.seed = (uint64_t)(begin + i);
            r.sampling.temperature = temperature;
            assert_ok(fc_submit(e, &r, &id));
        }
        for (int i = 0; i < AT_ONCE; i++) {
            fc_event ev;
            int name[2];
            assert_ok(fc_poll(e, 60000, &ev));
            if (ev.status) fail_msg("%s", ev.error);
            assert_int_equal(ev.result->n_all, 2);
            for (int k = 0; k < 2; k++) {
                double weight = ev.result->all[k].weight;
                name[k] = name_of(&ev.result->all[k], six, SIX);
                out->weight[name[k]] += weight;
                out->square[name[k]] += weight * weight;
            }
            assert_true(name[0] != name[1] && ev.result->all[0].gumbel > ev.result->all[1].gumbel);
            out->first[name[0]]++;
            out->pair[name[0] * SIX + name[1]]++;
            fc_event_fini(&ev);
        }
    }
}

/* Pearson's statistic against the mean and spread of the chi-square distribution; cells of fewer than 5 are one. */
static void expect_counts(const char *what, const int *count, const double *p, int n) {
    double chi2 = 0, few = 0, few_expected = 0, df = -1;
    for (int i = 0; i < n; i++) {
        double want = SEEDS * p[i];
        if (want < 5) {
            few += count[i];
            few_expected += want;
            continue;
        }
        chi2 += (count[i] - want) * (count[i] - want) / want;
        df++;
    }
    if (few_expected > 0.5) {
        chi2 += (few - few_expected) * (few - few_expected) / few_expected;
        df++;
    }
    printf("%s: chi-square %.2f of %.0f\n", what, chi2, df);
    assert_true(df >= 3);
    if (!(chi2 < df + 4.5 * sqrt(2 * df))) fail_msg("%s: chi-square %.2f with %.0f degrees of freedom", what, chi2, df);
}

/* If this fails, draws without replacement are not draws from the model: kept sets and estimates are biased. */
static void sbs_draws_without_replacement(void **state) {
    static const float temperatures[] = {1.0f, 2.0f};
    const char *model = tiny_model("llama", 3, false);
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = model, .threads = 2, .ctx = CTX});
    (void)state;
    printf("seeds 0 to %d\n", SEEDS - 1);
    for (int t = 0; t < 2; t++) {
        double p[SIX], pair[SIX * SIX] = {0}, in[SIX] = {0};
        counts c;
        whole w;
        char what[64];
        whole_init(&w, model, NULL, prompt, six, SIX);
        if (temperatures[t] != 1.0f) whole_temper(&w, (double)temperatures[t]);
        for (int i = 0; i < SIX; i++) p[i] = exp(w.logprob[i]);
        for (int i = 0; i < SIX; i++)
            for (int k = 0; k < SIX; k++)
                if (i != k) {
                    pair[i * SIX + k] = p[i] * p[k] / (1 - p[i]);
                    in[i] += pair[i * SIX + k];
                    in[k] += pair[i * SIX + k];
                }
        count_draws(e, temperatures[t], &c);
        snprintf(what, sizeof what, "temperature %g, first name", (double)temperatures[t]);
        expect_counts(what, c.first, p, SIX);
        snprintf(what, sizeof what, "temperature %g, pairs", (double)temperatures[t]);
        expect_counts(what, c.pair, pair, SIX * SIX);
        for (int i = 0; i < SIX; i++) { /* frequencies and weighted frequencies, within 5 standard deviations */
            double got = 0, mean = c.weight[i] / SEEDS, var = c.square[i] / SEEDS - mean * mean;
            for (int k = 0; k < SIX; k++) got += c.pair[i * SIX + k] + c.pair[k * SIX + i];
            if (!(fabs(got / SEEDS - in[i]) < 5 * sqrt(in[i] * (1 - in[i]) / SEEDS) + 1e-9))
                fail_msg("%s: drawn with frequency %.4f, not %.4f", six[i], got / SEEDS, in[i]);
            if (!(fabs(mean - p[i]) < 5 * sqrt(var / SEEDS) + 1e-3))
                fail_msg("%s: weights give %.4f, and its probability is %.4f", six[i], mean, p[i]);
        }
        whole_fini(&w);
    }
    fc_engine_close(e);
}

/* Log-probs are the model's own at every temperature; with all names drawn, weights are tempered probabilities. */
static void sbs_says_both_distributions(void **state) {
    const char *model = tiny_model("llama", 3, false);
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = model, .threads = 2, .ctx = CTX});
    fc_request r = search_of(FC_DRAW_SBS, 9, six, SIX);
    fc_event ev;
    whole w, tempered;
    (void)state;
    whole_init(&w, model, NULL, prompt, six, SIX);
    whole_init(&tempered, model, NULL, prompt, six, SIX);
    whole_temper(&tempered, 0.5);
    r.sampling.temperature = 0.5f;
    ev = run_request(e, &r);
    assert_int_equal(ev.result->n_all, SIX);
    for (int i = 0; i < SIX; i++) {
        const fc_candidate *c = &ev.result->all[i];
        int name = name_of(c, six, SIX);
        if (!(fabs(c->logprob - w.logprob[name]) <= 1e-4) || !(fabs(c->weight - exp(tempered.logprob[name])) <= 1e-4))
            fail_msg("%s: log-prob %.6f, weight %.6f; not %.6f, %.6f", c->text, c->logprob, c->weight, w.logprob[name],
                     exp(tempered.logprob[name]));
    }
    fc_event_fini(&ev);
    whole_fini(&w);
    whole_fini(&tempered);
    fc_engine_close(e);
}

/* ---- what comes with the names ---- */

/* If this fails, who listens to a request sees names without their text. */
static void events_have_the_names_texts(void **state) {
    fc_engine *e =
        open_engine(&(fc_engine_options){.novelty = tiny_model("llama", 3, false), .threads = 1, .ctx = CTX});
    (void)state;
    for (int m = 0; m < SEARCHES; m++) {
        fc_request r = search_of(searches[m], SIX, six, SIX);
        char text[SIX][64] = {{0}};
        bool seen[SIX] = {false};
        uint64_t id;
        fc_event ev;
        r.events = true;
        assert_ok(fc_submit(e, &r, &id));
        for (;;) {
            assert_ok(fc_poll(e, 60000, &ev));
            if (ev.type == FC_EVENT_DONE) break;
            assert_in_range(ev.candidate, 0, SIX - 1);
            if (ev.type == FC_EVENT_TOKEN) strncat(text[ev.candidate], ev.text, ev.text_size);
            if (ev.type == FC_EVENT_CANDIDATE) {
                fc_candidate c = {.text = ev.text, .text_size = ev.text_size};
                int name = name_of(&c, six, SIX);
                assert_false(seen[name]);
                seen[name] = true;
                assert_string_equal(text[ev.candidate], six[name]);
                assert_int_equal(ev.finish, FC_FINISH_STOP);
            }
            fc_event_fini(&ev);
        }
        if (ev.status) fail_msg("%s", ev.error);
        for (int i = 0; i < SIX; i++) {
            assert_true(seen[i]);
            assert_int_equal(ev.result->all[i].valid, 1);
            assert_string_equal(ev.result->all[i].text, text[i]);
        }
        fc_event_fini(&ev);
    }
    fc_engine_close(e);
}

/* If this fails, a searched name is scored as something else than itself. */
static void names_score_as_the_same_names_given(void **state) {
    static const fc_score_mode modes[] = {FC_SCORE_LOGLIK_MEAN, FC_SCORE_LOGLIK_SUM, FC_SCORE_REWARD, FC_SCORE_JUDGE};
    static const char *const labels[] = {"a", "b"};
    const char *alignment[] = {tiny_model("llama", 3, true), tiny_model("qwen3", 5, true)};
    (void)state;
    for (int k = 0; k < 2; k++) {
        fc_engine *e = open_engine(&(fc_engine_options){
            .novelty = tiny_model("llama", 3, true), .alignment = alignment[k], .threads = 2, .ctx = CTX});
        for (int m = 0; m < 4 * SEARCHES; m++) {
            fc_request r = search_of(searches[m / 4], SIX, six, SIX);
            fc_given given[SIX];
            fc_event a, b;
            r.score = true;
            r.mode = modes[m % 4];
            if (r.mode == FC_SCORE_JUDGE) r.labels = labels, r.n_labels = 2;
            a = run_request(e, &r);
            for (int i = 0; i < SIX; i++)
                given[i] = (fc_given){.ids = a.result->all[i].tokens, .n_ids = a.result->all[i].n_tokens};
            r.given = given;
            r.n_given = SIX;
            b = run_request(e, &r);
            for (int i = 0; i < SIX; i++)
                if (memcmp(&a.result->all[i].score, &b.result->all[i].score, sizeof(double)) != 0 ||
                    isnan(a.result->all[i].score))
                    fail_msg("%s, %s: \"%s\" has %.9g, given %.9g", fc_draw_name(r.draw), fc_score_mode_name(r.mode),
                             a.result->all[i].text, a.result->all[i].score, b.result->all[i].score);
            for (int i = 0; i < SIX; i++) assert_string_equal(a.result->kept[i].text, b.result->kept[i].text);
            fc_event_fini(&a);
            fc_event_fini(&b);
        }
        fc_engine_close(e);
    }
}

/* If this fails, a list of all names must be counted before it can be asked for. */
static void more_than_there_are_needs_no_more(void **state) {
    const char *model = tiny_model("llama", 3, false);
    fc_engine_options o = {.novelty = model, .alignment = model, .threads = 1, .ctx = CTX, .max_branches = SIX};
    fc_engine *e;
    (void)state;
    o.kv_pool = 1 << 20;
    e = open_engine(&o);
    for (int m = 0; m < SEARCHES; m++) {
        fc_request r = search_of(searches[m], FC_N_MAX, six, SIX);
        fc_event ev;
        r.score = true;
        ev = run_request(e, &r);
        assert_int_equal(ev.status, FC_OK);
        assert_true(ev.result->n == FC_N_MAX && ev.result->n_all == SIX && ev.result->confidence.n_used == SIX);
        assert_true(ev.result->timings.prefill > 0 && ev.result->timings.decode > 0);
        assert_true(ev.result->timings.prefill + ev.result->timings.decode <= ev.result->timings.total);
        fc_event_fini(&ev);
    }
    fc_engine_close(e);
}

/* ---- what is refused ---- */

/* If this fails, an option is passed over in silence. */
static void what_a_search_cannot_do_is_refused_by_name(void **state) {
    static const int32_t id = 5;
    static const float value = 1.0f;
    static const char *const stop[] = {"x"};
    fc_engine *e = open_engine(
        &(fc_engine_options){.novelty = tiny_model("llama", 3, false), .threads = 1, .ctx = CTX, .max_branches = 16});
    (void)state;
    for (int m = 0; m < SEARCHES; m++) {
        const fc_request plain = search_of(searches[m], 2, six, SIX);
        fc_request r = plain;
        uint64_t x;
        assert_fails((r.constraint = FC_CONSTRAINT_OFF, fc_submit(e, &r, &x)), FC_ERR_ARG, "constraint mask");
        assert_fails((r.constraint = FC_CONSTRAINT_REJECT, fc_submit(e, &r, &x)), FC_ERR_ARG, "constraint mask");
        r = plain;
        r.names = NULL;
        r.n_names = 0;
        assert_fails(fc_submit(e, &r, &x), FC_ERR_ARG, "taxonomy");
        r = plain;
        assert_fails((r.sampling.top_k = 3, fc_submit(e, &r, &x)), FC_ERR_ARG, "top_k");
        r = plain;
        assert_fails((r.sampling.top_p = 0.5f, fc_submit(e, &r, &x)), FC_ERR_ARG, "top_p");
        r = plain;
        assert_fails((r.sampling.min_p = 0.5f, fc_submit(e, &r, &x)), FC_ERR_ARG, "min_p");
        r = plain;
        assert_fails((r.sampling.typical_p = 0.5f, fc_submit(e, &r, &x)), FC_ERR_ARG, "typical_p");
        r = plain;
        assert_fails((r.sampling.repetition_penalty = 2, fc_submit(e, &r, &x)), FC_ERR_ARG, "repetition_penalty");
        r = plain;
        assert_fails((r.sampling.presence_penalty = 1, fc_submit(e, &r, &x)), FC_ERR_ARG, "presence_penalty");
        r = plain;
        assert_fails((r.sampling.frequency_penalty = 1, fc_submit(e, &r, &x)), FC_ERR_ARG,
                     "frequency_penalty belongs to draw iid");
        r = plain;
        r.sampling.bias_ids = &id;
        r.sampling.bias_values = &value;
        assert_fails((r.sampling.n_bias = 1, fc_submit(e, &r, &x)), FC_ERR_ARG, "logit_bias");
        r = plain;
        r.sampling.stop = stop;
        assert_fails((r.sampling.n_stop = 1, fc_submit(e, &r, &x)), FC_ERR_ARG, "stop");
        r = plain;
        r.sampling.stop_ids = &id;
        assert_fails((r.sampling.n_stop_ids = 1, fc_submit(e, &r, &x)), FC_ERR_ARG, "stop");
        r = plain;
        assert_fails((r.sampling.top_logprobs = 1, fc_submit(e, &r, &x)), FC_ERR_ARG, "top_logprobs");
        r = plain;
        assert_fails((r.sampling.min_tokens = 1, fc_submit(e, &r, &x)), FC_ERR_ARG, "min_tokens");
        r = plain;
        assert_fails((r.full_logprob = true, fc_submit(e, &r, &x)), FC_ERR_ARG, "full_logprob");
        r = plain;
        assert_fails((r.sampling.max_tokens = 2, fc_submit(e, &r, &x)), FC_ERR_ARG, "max_tokens = 2");
        r = plain;
        assert_fails((r.sampling.temperature = 0, fc_submit(e, &r, &x)), FC_ERR_ARG, "temperature = 0");
        r = plain;
        r.sampling.temperature = 0.5f;
        if (searches[m] != FC_DRAW_SBS) assert_fails(fc_submit(e, &r, &x), FC_ERR_ARG, "temperature = 0.5");
        r = plain;
        r.sampling.top_p = 0.5f;
        r.sampling.bad_words = (const char *const[]){"x"};
        r.sampling.n_bad_words = 1;
        assert_fails((r.sampling.top_k = 3, fc_submit(e, &r, &x)), FC_ERR_ARG,
                     "top_k, top_p and bad_words belong to draw iid");
        r = plain;
        r.n_max = 4;
        assert_fails((r.token_budget = 9, fc_submit(e, &r, &x)), FC_ERR_ARG, "leave out n_max and token_budget");
        r = search_of(searches[m], 17, sixty_names(), NAMES);
        assert_fails(fc_submit(e, &r, &x), FC_ERR_ARG, "n = 17 needs 17 branches, and max_branches is 16");
        r = plain;
        r = plain;
        assert_fails((r.draw = (fc_draw_mode)5, fc_submit(e, &r, &x)), FC_ERR_ARG, "draw = 5");
    }
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topk_exact_and_a_wide_beam_are_the_enumeration),
        cmocka_unit_test(rows_are_the_nodes_that_branch),
        cmocka_unit_test(a_single_name_needs_no_row),
        cmocka_unit_test(sbs_draws_without_replacement),
        cmocka_unit_test(sbs_says_both_distributions),
        cmocka_unit_test(events_have_the_names_texts),
        cmocka_unit_test(names_score_as_the_same_names_given),
        cmocka_unit_test(more_than_there_are_needs_no_more),
        cmocka_unit_test(what_a_search_cannot_do_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
