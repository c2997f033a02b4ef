/* The fields of a request that a server hands through: each against its definition on the probe's logits, and the same
 * bits for every n, switch, backend and under preemption. */
#include "engine/engine.h"
#include "engine/probe.h"
#include "kernels/draw/draw.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_late.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char prompt[] =
    "The quick brown fox jumps over the lazy dog, and the rain in Spain falls mainly on the plain.";

static const char *model(void) { return tiny_model("llama", 1, false); }

/* Ids of a text without specials; returns how many. */
static int encode(const char *text, int32_t *out, int max) {
    fc_tokenizer *t;
    int32_t *ids;
    size_t n;
    assert_ok(fc_tokenizer_open(model(), &t));
    assert_ok(fc_tokenizer_encode(t, text, strlen(text), false, false, &ids, &n));
    assert_true(n <= (size_t)max);
    memcpy(out, ids, n * sizeof *ids);
    fc_memory_free(ids);
    fc_tokenizer_close(t);
    return (int)n;
}

static int32_t one_id(const char *text) {
    int32_t id[8];
    assert_int_equal(encode(text, id, 8), 1);
    return id[0];
}

/* ---- the same bits, however it runs ---- */

static int64_t all_replayed; /* rows of requests that gave way, over all tests */

typedef void (*same_fn)(const char *what, const fc_result *got, const fc_result *want);

static void same_candidates(const char *what, const fc_result *got, const fc_result *want) {
    for (int i = 0; i < got->n_all; i++) {
        const fc_candidate *a = &got->all[i], *b = &want->all[i];
        assert_same_candidate(what, a, b);
        assert_int_equal(a->text_size, b->text_size);
        assert_memory_equal(a->text, b->text, a->text_size);
        if (a->top_n) assert_memory_equal(a->top_logprobs, b->top_logprobs, a->n_logprobs * (size_t)a->top_n * 4);
    }
}

static void compare(const char *what, fc_engine *e, const fc_request *r, int n, const fc_result *want, same_fn same) {
    fc_request fewer = *r;
    fc_event ev;
    fewer.n = n;
    ev = run_request(e, &fewer);
    assert_int_equal(ev.result->n_all, n);
    same(what, ev.result, want);
    fc_event_fini(&ev);
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
}

/* The request gives way to others of a higher rank, in a pool that has no room for all. */
static void compare_preempted(fc_engine_options o, const fc_request *r, const fc_result *want, same_fn same) {
    enum { OTHERS = 6 };
    fc_request others[OTHERS], low = *r;
    fc_engine_info info;
    fc_engine *e = open_engine(&o);
    uint64_t id, ignored;
    int64_t replayed = 0;
    int most;
    fc_engine_describe(e, &info);
    fc_engine_close(e);
    o.page_slots = 8;
    o.max_rows = 128;
    most = 12 + r->n * (1 + (r->sampling.max_tokens + 7) / 8); /* pages of 8 that it may take itself */
    o.kv_pool = info.novelty.kv_page_bytes / 2 * (uint64_t)(most < 110 ? 110 : most);
    e = open_engine(&o);
    low.priority = 1;
    assert_ok(fc_submit(e, &low, &id));
    for (int i = 0; i < OTHERS; i++) {
        others[i] = text_request("abc abc abc abc abc", 16, 40);
        others[i].seed = (uint64_t)i;
        others[i].sampling.ignore_eos = true;
        assert_ok(fc_submit(e, &others[i], &ignored));
    }
    for (int done = 0; done < OTHERS + 1;) {
        fc_event ev;
        assert_ok(fc_poll(e, 60000, &ev));
        if (ev.type == FC_EVENT_DONE) {
            done++;
            if (ev.status) fail_msg("%s", ev.error);
            if (ev.id == id) same("preempted", ev.result, want);
            if (ev.id == id) replayed = ev.result->accounting.rows_replayed;
        }
        fc_event_fini(&ev);
    }
    print_message("  %lld preemptions, %lld rows of it replayed\n", (long long)fc_engine_stats(e).preemptions,
                  (long long)replayed);
    assert_true(fc_engine_stats(e).preemptions > 0);
    all_replayed += replayed;
    fc_engine_close(e);
}

/* Runs r everywhere; the answer of the first run is the caller's. */
static fc_event vary(const char *what, const fc_request *r, same_fn same) {
    fc_engine_options o = {.novelty = model(), .threads = 2, .kv_type = "f32", .ctx = 256};
    fc_engine *e;
    fc_event want;
    print_message("%s\n", what);
    if (r->score) o.alignment = tiny_model("llama", 2, false);
    e = open_engine(&o);
    want = run_request(e, r);
    compare("the same again, from the cache", e, r, r->n, want.result, same);
    compare("fewer", open_engine(&o), r, (r->n + 2) / 3, want.result, same);
    o.max_rows = 7;
    compare("batches of 7 rows", open_engine(&o), r, r->n, want.result, same);
    o.max_rows = 0;
    assert_ok(fc_engine_open_on(&o, late_backend_open, &e));
    compare("late", e, r, r->n, want.result, same);
    compare_preempted(o, r, want.result, same);
    for (uint32_t bit = 1; bit < FC_OFF_ALL; bit *= 2) {
        o.off = bit;
        compare(fc_off_name((fc_off)bit), open_engine(&o), r, r->n, want.result, same);
    }
    o.off = FC_OFF_ALL;
    compare("all off", open_engine(&o), r, r->n, want.result, same);
    return want;
}

static void refused(const fc_request *r, const char *words) {
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = model(), .threads = 1, .ctx = 256});
    uint64_t id;
    assert_fails(fc_submit(e, r, &id), FC_ERR_ARG, words);
    fc_engine_close(e);
}

/* It is accepted, and ends with that sentence. */
static void fails_later(const fc_request *r, const char *words) {
    for (int off = 0; off < 2; off++) {
        fc_engine *e = open_engine(
            &(fc_engine_options){.novelty = model(), .threads = 1, .ctx = 256, .off = off ? FC_OFF_ALL : 0});
        fc_request fine = text_request(prompt, 2, 4);
        fc_event ev;
        uint64_t id;
        assert_ok(fc_submit(e, r, &id));
        assert_ok(fc_poll(e, 60000, &ev));
        assert_int_equal(ev.status, FC_ERR_ARG);
        if (!strstr(ev.error, words)) fail_msg("\"%s\" does not say \"%s\"", ev.error, words);
        fc_event_fini(&ev);
        ev = run_request(e, &fine); /* nobody else is disturbed */
        fc_event_fini(&ev);
        fc_engine_close(e);
    }
}

/* ---- allowed_token_ids ---- */

/* If this fails, an id that is not allowed is drawn, or a log-prob is not the model's own. */
static void allowed_ids_are_a_bias_on_all_others(void **state) {
    enum { V_MAX = 4096 };
    static int32_t ids[V_MAX];
    static float values[V_MAX];
    const int32_t allowed[] = {300, 41, 305, 44, 41, 299, 7, 301, 42};
    fc_request r = text_request(prompt, 24, 10), biased = r;
    fc_engine_options o = {.novelty = model(), .threads = 2, .kv_type = "f32", .ctx = 256};
    fc_engine_info info;
    fc_engine *e = open_engine(&o);
    fc_event a, b;
    int n = 0;
    (void)state;
    fc_engine_describe(e, &info);
    for (int32_t id = 0; id < info.novelty.vocab; id++) {
        bool in = false;
        for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) in = in || allowed[i] == id;
        if (in) continue;
        ids[n] = id;
        values[n++] = -INFINITY;
    }
    biased.sampling.bias_ids = ids;
    biased.sampling.bias_values = values;
    biased.sampling.n_bias = (size_t)n;
    b = run_request(e, &biased);
    fc_engine_close(e);
    r.sampling.allowed_ids = allowed;
    r.sampling.n_allowed = sizeof allowed / sizeof *allowed;
    a = vary("allowed_token_ids", &r, same_candidates);
    same_candidates("a bias on all others", a.result, b.result);
    for (int i = 0; i < a.result->n_all; i++) assert_int_equal(a.result->all[i].finish, FC_FINISH_LENGTH);
    fc_event_fini(&a);
    fc_event_fini(&b);
}

static const char *const names[] = {"Spain", "Span", "Spa", "rain", "quick", "the rain"};

/* If this fails, mask and allowed_token_ids do not meet in their intersection. */
static void allowed_ids_and_mask(void **state) {
    int32_t allowed[64], end[1];
    fc_request r = text_request(prompt, 24, 10);
    fc_event ev;
    int n = 0, seen[3] = {0};
    (void)state;
    r.names = names;
    r.n_names = sizeof names / sizeof *names;
    r.constraint = FC_CONSTRAINT_MASK;
    for (int i = 0; i < 3; i++) { /* of three names, as the tokenizer spells them behind the prompt */
        fc_engine *e = open_engine(&(fc_engine_options){.novelty = model(), .threads = 1, .ctx = 256});
        fc_request one = r;
        one.names = &names[i];
        one.n_names = 1;
        one.n = 1;
        ev = run_request(e, &one);
        memcpy(allowed + n, ev.result->all[0].tokens, ev.result->all[0].n_tokens * sizeof *allowed);
        n += (int)ev.result->all[0].n_tokens;
        fc_event_fini(&ev);
        fc_engine_close(e);
    }
    {
        fc_probe *p;
        assert_ok(fc_probe_open(model(), &(fc_probe_options){.threads = 1, .ctx = 64}, &p));
        end[0] = fc_probe_config(p)->eos[0];
        fc_probe_close(p);
    }
    r.sampling.allowed_ids = allowed;
    r.sampling.n_allowed = (size_t)n;
    fails_later(&r, "allowed_token_ids: none of the "); /* names have an end token too, which is not listed */
    allowed[n++] = end[0];
    r.sampling.n_allowed = (size_t)n;
    ev = vary("allowed_token_ids under mask", &r, same_candidates);
    for (int i = 0; i < ev.result->n_all; i++) {
        const fc_candidate *c = &ev.result->all[i];
        int name = -1;
        for (int k = 0; k < 3; k++)
            if (strcmp(c->text, names[k]) == 0) name = k;
        if (name < 0) fail_msg("\"%s\" has an id that is not allowed", c->text);
        seen[name]++;
    }
    assert_true(seen[0] && seen[1] + seen[2]);
    fc_event_fini(&ev);
}

static void allowed_ids_are_checked(void **state) {
    const int32_t bad[] = {5, 1 << 20};
    fc_request r = text_request(prompt, 2, 8);
    (void)state;
    r.sampling.allowed_ids = bad;
    r.sampling.n_allowed = 2;
    refused(&r, "allowed_token_ids: id 1048576; the vocabulary has");
    r.sampling.n_allowed = 1;
    r.names = names;
    r.n_names = 2;
    r.constraint = FC_CONSTRAINT_MASK;
    r.draw = FC_DRAW_SBS;
    refused(&r, "draw sbs: allowed_token_ids");
}

/* ---- bad_words ---- */

static const char *const bad_words[] = {"ao", " oa", "aaa"};

static bool has(const int32_t *ids, size_t n, const int32_t *part, size_t m) {
    for (size_t at = 0; at + m <= n; at++)
        if (memcmp(ids + at, part, m * sizeof *ids) == 0) return true;
    return false;
}

/* Four ids take nearly all of the mass, so that words of them are drawn all the time. */
static fc_request few_letters(int n, int max_tokens) {
    static int32_t ids[4];
    static const float values[] = {14, 14, 14, 14};
    fc_request r = text_request(prompt, n, max_tokens);
    ids[0] = one_id("a");
    ids[1] = one_id("o");
    ids[2] = one_id(" a");
    ids[3] = one_id(" o");
    r.sampling.bias_ids = ids;
    r.sampling.bias_values = values;
    r.sampling.n_bias = 4;
    return r;
}

/* Draws of the reference on the probe's logits, with what would complete a word banned by a naive search. */
static void check_against_reference(const fc_request *r, const fc_candidate *c, int32_t words[][8], const int *sizes,
                                    int n_words, fc_probe *p, float *logits, int *banned) {
    int V = fc_probe_config(p)->V, n_prompt, n = (int)c->n_tokens;
    int32_t ids[256];
    n_prompt = encode(prompt, ids, 200);
    memcpy(ids + n_prompt, c->tokens, c->n_tokens * sizeof *ids);
    assert_ok(fc_probe_logits(p, ids, n_prompt + n - 1, logits));
    for (int i = 0; i < n; i++) {
        int32_t bias_id[64], token;
        float bias_value[64], lp;
        fc_draw_member m = {.seed = r->seed, .candidate = (uint32_t)c->index, .position = (uint32_t)i};
        fc_draw_row row = {.n_members = 1, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition = 1};
        for (size_t k = 0; k < r->sampling.n_bias; k++) {
            bias_id[row.n_bias] = r->sampling.bias_ids[k];
            bias_value[row.n_bias++] = r->sampling.bias_values[k];
        }
        for (int w = 0; w < n_words; w++) {
            int before = sizes[w] - 1;
            if (before > i || memcmp(c->tokens + i - before, words[w], (size_t)before * sizeof *ids) != 0) continue;
            bias_id[row.n_bias] = words[w][before];
            bias_value[row.n_bias++] = -INFINITY;
            *banned += 1;
        }
        assert_ok(fc_draw_ref(NULL, &(fc_draw_args){.token = &token,
                                                    .logprob = &lp,
                                                    .logits = logits + (size_t)(n_prompt - 1 + i) * (size_t)V,
                                                    .rows = &row,
                                                    .members = &m,
                                                    .bias_id = bias_id,
                                                    .bias_value = bias_value,
                                                    .R = 1,
                                                    .V = V,
                                                    .n_rows = 1,
                                                    .M = 1}));
        if (token != c->tokens[i])
            fail_msg("candidate %d drew %d at %d, the reference %d", c->index, c->tokens[i], i, token);
        assert_true(fabs((double)lp - (double)c->logprobs[i]) <= 1e-5 + 1e-5 * fabs((double)lp));
    }
}

/* If this fails, a word that was forbidden is in an answer, or more is forbidden than the word. */
static void bad_words_are_never_drawn(void **state) {
    enum { WORDS = 6 };
    static const char *const spelt[WORDS] = {"ao", " ao", "oa", " oa", "aaa", " aaa"};
    int32_t words[WORDS][8];
    int sizes[WORDS], before[WORDS] = {0}, banned = 0;
    fc_request r = few_letters(48, 16);
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = model(), .threads = 2, .kv_type = "f32", .ctx = 256});
    fc_event ev;
    fc_probe *p;
    float *logits;
    (void)state;
    for (int w = 0; w < WORDS; w++) sizes[w] = encode(spelt[w], words[w], 8);
    ev = run_request(e, &r);
    for (int i = 0; i < ev.result->n_all; i++)
        for (int w = 0; w < WORDS; w++)
            before[w] += has(ev.result->all[i].tokens, ev.result->all[i].n_tokens, words[w], (size_t)sizes[w]);
    for (int w = 0; w < WORDS; w++) print_message("  \"%s\" in %d of 48 candidates\n", spelt[w], before[w]);
    for (int w = 0; w < WORDS; w++) assert_true(before[w] > 0); /* all of them come by themselves */
    fc_event_fini(&ev);
    fc_engine_close(e);
    r.sampling.bad_words = bad_words;
    r.sampling.n_bad_words = 3;
    ev = vary("bad_words", &r, same_candidates);
    assert_ok(fc_probe_open(model(), &(fc_probe_options){.threads = 2, .ctx = 256}, &p));
    logits = malloc(sizeof *logits * 256 * (size_t)fc_probe_config(p)->V);
    assert_non_null(logits);
    for (int i = 0; i < ev.result->n_all; i++) {
        const fc_candidate *c = &ev.result->all[i];
        for (int w = 0; w < WORDS; w++)
            if (has(c->tokens, c->n_tokens, words[w], (size_t)sizes[w]))
                fail_msg("\"%s\" has \"%s\"", c->text, spelt[w]);
        check_against_reference(&r, c, words, sizes, WORDS, p, logits, &banned);
    }
    print_message("  %d bans\n", banned);
    assert_true(banned > 50);
    free(logits);
    fc_probe_close(p);
    fc_event_fini(&ev);
}

static void bad_words_are_checked(void **state) {
    static const char *const empty[] = {"x", "  "};
    static const char *const all[] = {"Spain"};
    fc_request r = text_request(prompt, 2, 8);
    (void)state;
    r.sampling.bad_words = empty;
    r.sampling.n_bad_words = 2;
    refused(&r, "bad_words: word 1 is empty");
    r.sampling.n_bad_words = FC_BAD_WORDS_MAX + 1;
    refused(&r, "bad_words: 1025 words; at most 1024");
    r.names = all;
    r.n_names = 1;
    r.constraint = FC_CONSTRAINT_MASK;
    r.sampling.bad_words = all;
    r.sampling.n_bad_words = 1;
    fails_later(&r, "bad_words: none of the 1 ids that go on to a name may be drawn behind the first");
}

/* ---- truncate_prompt_tokens, no_bos ---- */

/* A tiny model whose tokenizer puts BOS in front: the other's file with one byte turned. */
static const char *bos_model(void) {
    static char path[160];
    static const char key[] = "tokenizer.ggml.add_bos_token";
    FILE *in = fopen(model(), "rb"), *out;
    long size;
    char *bytes, *at = NULL;
    snprintf(path, sizeof path, "%s.bos.gguf", model());
    assert_non_null(in);
    fseek(in, 0, SEEK_END);
    size = ftell(in);
    rewind(in);
    bytes = malloc((size_t)size);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, in), size);
    fclose(in);
    for (long i = 0; i + 40 < size && !at; i++)
        if (memcmp(bytes + i, key, sizeof key - 1) == 0) at = bytes + i + sizeof key - 1 + 4; /* behind the type */
    assert_non_null(at);
    assert_int_equal(*at, 0);
    *at = 1;
    out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, (size_t)size, out), size);
    fclose(out);
    free(bytes);
    return path;
}

static void expect_prompt(fc_engine *e, const fc_request *r, int32_t first, const int32_t *rest, size_t n_rest) {
    fc_event ev = run_request(e, r);
    size_t n = n_rest + (first >= 0);
    assert_int_equal(ev.result->prompt_tokens, n);
    if (first >= 0) assert_int_equal(ev.result->prompt_ids[0], first);
    assert_memory_equal(ev.result->prompt_ids + (first >= 0), rest, n_rest * sizeof *rest);
    fc_event_fini(&ev);
}

/* If this fails, a prompt loses its BOS, or its end instead of its beginning. */
static void prompts_are_cut_on_the_left(void **state) {
    enum { CTX = 80, MAX_TOKENS = 10 };
    int32_t ids[256];
    const size_t n = (size_t)encode(prompt, ids, 256);
    fc_engine_options o = {.novelty = bos_model(), .threads = 1, .ctx = CTX};
    fc_engine *e = open_engine(&o);
    fc_request r = text_request(prompt, 2, MAX_TOKENS);
    const fc_piece twice[] = {{prompt, sizeof prompt - 1, false}, {prompt, sizeof prompt - 1, false}};
    fc_probe *p;
    int32_t bos;
    (void)state;
    assert_ok(fc_probe_open(o.novelty, &(fc_probe_options){.threads = 1, .ctx = 64}, &p));
    bos = fc_probe_config(p)->bos;
    fc_probe_close(p);
    assert_true(n > 30 && n < CTX - MAX_TOKENS - 1 && 2 * n > CTX && bos >= 0);
    expect_prompt(e, &r, bos, ids, n);
    r.truncate_prompt_tokens = 20;
    expect_prompt(e, &r, bos, ids + n - 19, 19);
    r.truncate_prompt_tokens = 1;
    expect_prompt(e, &r, bos, NULL, 0);
    r.truncate_prompt_tokens = (int)n + 1;
    expect_prompt(e, &r, bos, ids, n);
    r.no_bos = true;
    expect_prompt(e, &r, -1, ids, n);
    r.truncate_prompt_tokens = 20;
    expect_prompt(e, &r, -1, ids + n - 20, 20);
    r.no_bos = false;
    r.prompt = (fc_prompt){.ids = ids, .n_ids = n}; /* as they are: no BOS was added, none stays */
    expect_prompt(e, &r, -1, ids + n - 20, 20);
    r.prompt = (fc_prompt){.pieces = twice, .n_pieces = 2};
    r.truncate_prompt_tokens = -1;
    memcpy(ids + n, ids, n * sizeof *ids); /* a word begins at the seam, so both are spelt alike */
    expect_prompt(e, &r, bos, ids + 2 * n - (CTX - MAX_TOKENS - 1), CTX - MAX_TOKENS - 1);
    fc_engine_close(e);
    unlink(o.novelty);
}

/* If this fails, the alignment prompt is cut in another way than the novelty prompt. */
static void alignment_prompts_are_cut_alike(void **state) {
    int32_t ids[256];
    const size_t n = (size_t)encode(prompt, ids, 256);
    fc_engine_options o = {.novelty = model(),
                           .alignment = tiny_model("llama", 2, false),
                           .threads = 1,
                           .ctx = (int)n + 7,
                           .off = FC_OFF_PREFIX_CACHE};
    static const char *const labels[] = {"a", "b"};
    const fc_piece suffix = {"abc", 3, false};
    fc_engine *e = open_engine(&o);
    fc_request r = text_request(prompt, 4, 6), cut = r;
    (void)state;
    r.score = cut.score = true;
    r.mode = cut.mode = FC_SCORE_JUDGE;
    r.labels = cut.labels = labels;
    r.n_labels = cut.n_labels = 2;
    r.suffix = cut.suffix = (fc_prompt){.pieces = &suffix, .n_pieces = 1};
    for (int k = 0; k < 2; k++) {
        const size_t left = k ? n + 7 - 6 - 3 : 10, novelty = k ? n : 10;
        fc_event a, b;
        r.truncate_prompt_tokens = k ? -1 : 10;
        cut.prompt = (fc_prompt){.ids = ids + n - novelty, .n_ids = novelty};
        cut.alignment_prompt = (fc_prompt){.ids = ids + n - left, .n_ids = left};
        a = run_request(e, &r);
        b = run_request(e, &cut);
        for (int i = 0; i < 4; i++) assert_same_candidate("cut", &a.result->all[i], &b.result->all[i]);
        fc_event_fini(&a);
        fc_event_fini(&b);
    }
    fc_engine_close(e);
    r.truncate_prompt_tokens = -2;
    refused(&r, "truncate_prompt_tokens = -2; it must lie in -1 to");
    r.truncate_prompt_tokens = -1;
    r.given = &(fc_given){.text = "a", .size = 1};
    r.n_given = 1;
    refused(&r, "truncate_prompt_tokens = -1; it must lie in 0 to");
}

/* If this fails, the runs above that should give way never did. */
static void requests_gave_way(void **state) {
    (void)state;
    assert_true(all_replayed > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allowed_ids_are_a_bias_on_all_others),
        cmocka_unit_test(allowed_ids_and_mask),
        cmocka_unit_test(allowed_ids_are_checked),
        cmocka_unit_test(bad_words_are_never_drawn),
        cmocka_unit_test(bad_words_are_checked),
        cmocka_unit_test(prompts_are_cut_on_the_left),
        cmocka_unit_test(alignment_prompts_are_cut_alike),
        cmocka_unit_test(requests_gave_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
