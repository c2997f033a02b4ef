/* Every sampling field of a request reaches the draw: what an engine drew, against draw_ref.c on rows that this file
 * builds itself from the request and the logits of each candidate's own prefix. All cases run in one engine at once, so
 * that one row's lists would be another's if they were cut wrongly. */
#include "engine/probe.h"
#include "kernels/draw/draw.h"
#include "tests/engine/util_engine.h"

enum { N = 64, MAX_TOKENS = 6, PROMPT = 12, MAX_IDS = PROMPT + MAX_TOKENS, POWER = 5 };

/* Twice 40 and 41: a penalty counts the prompt's ids once, and as occurring, not as output. */
static const int32_t prompt[PROMPT] = {1, 40, 41, 300, 40, 77, 41, 12, 305, 200, 9, 301};

/* Three ids take most of the mass, two of them in the prompt: then ids repeat, and counts of 2 and more occur. */
static const int32_t few_ids[] = {300, 305, 310};
static const float few_values[] = {7.0f, 6.5f, 7.0f};
static const int32_t mixed_ids[] = {300, 305, 310, 301, 5};
static const float mixed_values[] = {3.0f, -INFINITY, 4.0f, -2.5f, 4.5f};
static const int32_t end_ids[] = {310};

typedef struct {
    const char *name;
    fc_sampling s;
    fc_sampling other; /* the field off, or mistaken for its neighbour: these settings must draw otherwise */
    uint64_t seed, other_seed;
} sampling_case;

/* ---- the reference ---- */

typedef struct {
    const fc_sampling *s;
    uint64_t seed;
    const int32_t *ends;
    int n_ends, V;
} settings;

static int count_of(const int32_t *ids, int n, int32_t id) {
    int k = 0;
    for (int i = 0; i < n; i++) k += ids[i] == id;
    return k;
}

static int32_t draw_with(const settings *w, const float *logits, const int32_t *out, int n_out,
                         const fc_draw_member *members, int n_members, int32_t *tokens, float *logprob) {
    const fc_sampling *s = w->s;
    int32_t bias_id[16], seen_id[MAX_IDS], seen_count[MAX_IDS];
    float bias_value[16], lp[16];
    int n_bias = 0, n_seen = 0;
    for (size_t i = 0; i < s->n_bias; i++) {
        bias_id[n_bias] = s->bias_ids[i];
        bias_value[n_bias++] = s->bias_values[i];
    }
    for (int i = 0; i < w->n_ends && n_out < s->min_tokens; i++) {
        bias_id[n_bias] = w->ends[i];
        bias_value[n_bias++] = -INFINITY;
    }
    for (int i = 0; i < PROMPT + n_out; i++) {
        int32_t id = i < PROMPT ? prompt[i] : out[i - PROMPT];
        if (count_of(seen_id, n_seen, id)) continue;
        seen_id[n_seen] = id;
        seen_count[n_seen++] = count_of(out, n_out, id);
    }
    fc_draw_row row = {.n_members = n_members, .n_bias = n_bias, .n_seen = n_seen, .top_k = s->top_k};
    row.temperature = s->temperature;
    row.top_p = s->top_p;
    row.min_p = s->min_p;
    row.typical_p = s->typical_p;
    row.repetition = s->repetition_penalty;
    row.presence = s->presence_penalty;
    row.frequency = s->frequency_penalty;
    assert_true(n_bias <= 16 && n_members <= 16);
    assert_ok(fc_draw_ref(NULL, &(fc_draw_args){.token = tokens,
                                                .logprob = lp,
                                                .logits = logits,
                                                .rows = &row,
                                                .members = members,
                                                .bias_id = bias_id,
                                                .bias_value = bias_value,
                                                .seen_id = seen_id,
                                                .seen_count = seen_count,
                                                .R = 1,
                                                .V = w->V,
                                                .n_rows = 1,
                                                .M = n_members}));
    if (logprob) *logprob = lp[0];
    return tokens[0];
}

static int32_t expected(const settings *w, const float *logits, int candidate, const int32_t *out, int n_out,
                        float *logprob) {
    fc_draw_member m = {.seed = w->seed, .candidate = (uint32_t)candidate, .position = (uint32_t)n_out};
    int32_t token;
    return draw_with(w, logits, out, n_out, &m, 1, &token, logprob);
}

/* draw.h: where u lies within 1e-5 of a boundary, the reference may choose the neighbour. u cannot be set, so members
 * whose numbers lie as near on both sides are asked instead. */
static bool near_boundary(const settings *w, const float *logits, int candidate, const int32_t *out, int n_out,
                          int32_t got) {
    enum { TRY = 400000 };
    double u = fc_rng_uniform(w->seed, (uint32_t)candidate, 0, (uint32_t)n_out);
    fc_draw_member near[16];
    int32_t tokens[16];
    int n = 0;
    for (uint32_t c = 0; c < TRY && n < 16; c++)
        if (fabs(fc_rng_uniform(1, c, 0, 0) - u) < 1e-5) near[n++] = (fc_draw_member){.seed = 1, .candidate = c};
    if (n == 0 || w->s->temperature == 0.0f) return false;
    draw_with(w, logits, out, n_out, near, n, tokens, NULL);
    return count_of(tokens, n, got) > 0;
}

/* ---- one case ---- */

static bool is_end(const settings *w, int32_t id) { return count_of(w->ends, w->n_ends, id) > 0; }

/* Draws of one candidate that were checked; adds those that settings `other` would have drawn otherwise. */
static int check_candidate(const char *name, fc_probe *p, float *logits, const settings *w, const settings *other,
                           const fc_candidate *c, int *power, int *moved) {
    int32_t ids[MAX_IDS];
    int n = (int)c->n_tokens, drawn = (int)c->n_logprobs;
    assert_in_range(drawn, 1, MAX_TOKENS);
    assert_int_equal(drawn, n + (c->finish == FC_FINISH_STOP));
    memcpy(ids, prompt, sizeof prompt);
    memcpy(ids + PROMPT, c->tokens, c->n_tokens * sizeof *ids);
    assert_ok(fc_probe_logits(p, ids, PROMPT + drawn - 1, logits));
    for (int i = 0; i < drawn; i++) {
        const float *row = logits + (size_t)(PROMPT - 1 + i) * (size_t)w->V;
        float lp;
        int32_t want = expected(w, row, c->index, c->tokens, i, &lp);
        *power += want != expected(other, row, c->index, c->tokens, i, NULL);
        if (i == n ? is_end(w, want) : want == c->tokens[i]) { /* the end token itself is not in the answer */
            if (!(fabs((double)lp - (double)c->logprobs[i]) <= 1e-5 + 1e-5 * fabs((double)lp)))
                fail_msg("%s: candidate %d, token %d: log-prob %.9g, not %.9g", name, c->index, i,
                         (double)c->logprobs[i], (double)lp);
            continue;
        }
        bool fine = false;
        for (int k = 0; i == n && k < w->n_ends; k++)
            fine = fine || near_boundary(w, row, c->index, c->tokens, i, w->ends[k]);
        if (!fine && (i == n || !near_boundary(w, row, c->index, c->tokens, i, c->tokens[i])))
            fail_msg("%s: candidate %d drew %d at %d, the reference %d", name, c->index, i == n ? -1 : c->tokens[i], i,
                     want);
        *moved += 1;
    }
    return drawn;
}

static void check_case(const sampling_case *k, const fc_result *r, fc_probe *p, float *logits) {
    const fc_model_config *cfg = fc_probe_config(p);
    int32_t ends[8];
    int n_ends = 0, draws = 0, power = 0, moved = 0;
    for (int i = 0; i < cfg->n_eos; i++) ends[n_ends++] = cfg->eos[i];
    for (size_t i = 0; i < k->s.n_stop_ids; i++) ends[n_ends++] = k->s.stop_ids[i];
    settings w = {&k->s, k->seed, ends, n_ends, cfg->V}, other = {&k->other, k->other_seed, ends, n_ends, cfg->V};
    assert_int_equal(r->n_all, N);
    for (int i = 0; i < N; i++) draws += check_candidate(k->name, p, logits, &w, &other, &r->all[i], &power, &moved);
    print_message("%-28s %3d draws, %3d tell it from the other, %d at a boundary\n", k->name, draws, power, moved);
    assert_true(moved <= 2);
    if (power < POWER) fail_msg("%s: only %d of %d draws would show a mistake", k->name, power, draws);
}

/* ---- the cases ---- */

static fc_sampling plain(int max_tokens) {
    fc_sampling s;
    fc_sampling_init(&s);
    s.max_tokens = max_tokens;
    return s;
}

static fc_sampling few(void) {
    fc_sampling s = plain(MAX_TOKENS);
    s.bias_ids = few_ids;
    s.bias_values = few_values;
    s.n_bias = 3;
    return s;
}

static sampling_case *add(sampling_case *list, int *n, const char *name, fc_sampling start) {
    sampling_case *c = &list[*n];
    uint64_t seed = 100 + (uint64_t)*n;
    *c = (sampling_case){.name = name, .s = start, .other = start, .seed = seed, .other_seed = seed};
    *n += 1;
    return c;
}

static int make_cases(sampling_case *list) {
    int n = 0;
    sampling_case *c;
    add(list, &n, "temperature 0.6", plain(4))->s.temperature = 0.6f;
    add(list, &n, "temperature 0", plain(4))->s.temperature = 0.0f;
    add(list, &n, "top_k 5", plain(4))->s.top_k = 5;
    add(list, &n, "top_p 0.7", plain(4))->s.top_p = 0.7f;
    add(list, &n, "min_p 0.15", plain(4))->s.min_p = 0.15f;
    add(list, &n, "typical_p 0.5", plain(4))->s.typical_p = 0.5f;
    add(list, &n, "repetition 1.8", few())->s.repetition_penalty = 1.8f;
    add(list, &n, "presence 2.5", few())->s.presence_penalty = 2.5f;
    add(list, &n, "frequency 1.5", few())->s.frequency_penalty = 1.5f;
    c = add(list, &n, "presence, not frequency", few());
    c->s.presence_penalty = c->other.frequency_penalty = 2.0f;
    c = add(list, &n, "frequency, not presence", few());
    c->s.frequency_penalty = c->other.presence_penalty = 2.0f;
    c = add(list, &n, "logit bias", plain(4));
    c->s.bias_ids = mixed_ids;
    c->s.bias_values = mixed_values;
    c->s.n_bias = 5;
    c = add(list, &n, "min_tokens 3 and a stop id", few());
    c->s.stop_ids = end_ids;
    c->s.n_stop_ids = 1;
    c->s.min_tokens = 3;
    c = add(list, &n, "the seed's low half", plain(4));
    c->seed = 0x0123456789ABCDEFu;
    c->other_seed = 0x0123456700000000u;
    c = add(list, &n, "the seed's high half", plain(4));
    c->seed = 0x0123456789ABCDEFu;
    c->other_seed = 0x89ABCDEFu;
    c = add(list, &n, "all together", few());
    c->s.temperature = 1.3f;
    c->s.top_k = 40;
    c->s.top_p = 0.97f;
    c->s.min_p = 0.002f;
    c->s.typical_p = 0.98f;
    c->s.repetition_penalty = 1.2f;
    c->s.presence_penalty = 0.4f;
    c->s.frequency_penalty = 0.9f;
    c->s.min_tokens = 2;
    return n;
}

/* If this fails, a field of fc_sampling does nothing, or does what another says. */
static void every_field_reaches_the_draw(void **state) {
    enum { MAX_CASES = 32 };
    fc_engine_options o = {.novelty = tiny_model("llama", 1, false), .threads = 2, .kv_type = "f32", .ctx = 256};
    sampling_case cases[MAX_CASES];
    uint64_t ids[MAX_CASES];
    int n = make_cases(cases);
    fc_engine *e = open_engine(&o);
    fc_probe *p;
    (void)state;
    assert_true(n <= MAX_CASES);
    assert_ok(fc_probe_open(o.novelty, &(fc_probe_options){.threads = 2, .ctx = 256}, &p));
    float *logits = malloc(sizeof *logits * MAX_IDS * (size_t)fc_probe_config(p)->V);
    assert_non_null(logits);
    for (int i = 0; i < n; i++) {
        fc_request r;
        fc_request_init(&r);
        r.prompt = (fc_prompt){.ids = prompt, .n_ids = PROMPT};
        r.n = N;
        r.seed = cases[i].seed;
        r.sampling = cases[i].s;
        assert_ok(fc_submit(e, &r, &ids[i]));
    }
    for (int done = 0; done < n; done++) {
        fc_event ev;
        int k = 0;
        assert_ok(fc_poll(e, 60000, &ev));
        assert_int_equal(ev.type, FC_EVENT_DONE);
        if (ev.status) fail_msg("%s", ev.error);
        while (ids[k] != ev.id) k++;
        check_case(&cases[k], ev.result, p, logits);
        fc_event_fini(&ev);
    }
    free(logits);
    fc_probe_close(p);
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_field_reaches_the_draw)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
