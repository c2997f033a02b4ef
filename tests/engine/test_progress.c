/* The first in rank always ends: whoever was accepted gets an answer, in pools that just hold it, whatever others
 * hold. */
#include "engine/base/os.h"
#include "engine/engine.h"
#include "tests/engine/util_late.h"
#include "tests/engine/util_smollm2.h"
#include "tests/engine/util_vary.h"

enum { P = 8, CTX = 256, LONG = 200, KINDS = 4, PATIENCE_MS = 60000 };

/* Prompts of ids, each kind its own. */
static const int32_t *ids_of(int kind) {
    static int32_t ids[KINDS][CTX];
    for (int i = 0; i < CTX; i++) ids[kind][i] = 10 + (i * (7 + 2 * kind) + 31 * kind) % 240;
    return ids[kind];
}

static fc_request ids_request(const int32_t *ids, int n_ids, int n, int max_tokens) {
    fc_request r = text_request("", n, max_tokens);
    r.prompt = (fc_prompt){.ids = ids, .n_ids = (size_t)n_ids};
    r.sampling.ignore_eos = true;
    return r;
}

static fc_engine_options options(const char *alignment) {
    return (fc_engine_options){
        .novelty = vary_model(), .alignment = alignment, .threads = 1, .kv_type = "f32", .ctx = CTX, .page_slots = P};
}

static uint64_t pages_of(fc_engine_options o, int pages) {
    fc_engine_info info;
    fc_engine *e;
    o.kv_pool = 0;
    e = open_engine(&o);
    fc_engine_describe(e, &info);
    fc_engine_close(e);
    return (uint64_t)pages * info.novelty.kv_page_bytes;
}

/* n requests end well. */
static void all_end(const char *what, fc_engine *e, int n) {
    while (n > 0) {
        fc_event ev;
        if (fc_poll(e, PATIENCE_MS, &ev)) fail_msg("%s: %d requests never ended", what, n);
        if (ev.type == FC_EVENT_DONE && ev.status) fail_msg("%s: request %d: %s", what, (int)ev.id, ev.error);
        n -= ev.type == FC_EVENT_DONE;
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_pages_used(e), 0);
}

/* The engine is held in its first pass, by a request of one id. */
static fc_engine *hold(const fc_engine_options *o) {
    fc_engine *e = vary_open_held(o);
    fc_request r = ids_request(ids_of(2), 1, 1, 1);
    uint64_t id;
    assert_ok(fc_submit(e, &r, &id));
    vary_wait_begun();
    return e;
}

/* If this fails, what one request put into the prefix cache below another's pages keeps these, and a third finds no
 * room. */
static void equal_prompts_at_once(void **state) {
    enum { PROMPT = 160, NEED = 24 };
    fc_engine_options o = options(NULL);
    (void)state;
    o.max_rows = 16;
    for (int more = 0; more < 16; more++) {
        fc_request r = ids_request(ids_of(0), PROMPT, 1, 1);
        uint64_t id;
        fc_engine *e;
        o.kv_pool = pages_of(o, NEED + more);
        e = hold(&o);
        assert_ok(fc_submit(e, &r, &id));
        r.sampling.max_tokens = 20;
        assert_ok(fc_submit(e, &r, &id));
        vary_go();
        all_end("equal prompts", e, 3);
        fc_engine_close(e);
    }
}

/* If this fails, tables that computed the same prompt apart go on apart. */
static void equal_prompts_become_one(void **state) {
    enum { PROMPT = 161, BOTH = 2 };
    fc_engine_options o = options(NULL);
    fc_request r = ids_request(ids_of(0), PROMPT, 1, 40);
    int64_t shared;
    uint64_t id;
    fc_engine *e = hold(&o);
    (void)state;
    for (int i = 0; i < BOTH; i++) {
        r.seed = (uint64_t)i;
        assert_ok(fc_submit(e, &r, &id));
    }
    vary_go();
    all_end("two", e, BOTH + 1);
    shared = fc_engine_stats(e).cross_groups;
    print_message("  %lld groups across the two\n", (long long)shared);
    assert_true(shared > 10);
    fc_engine_close(e);
}

/* If this fails, pages that a request took from the cache and has not used yet cannot be had by one of higher rank. */
static void pages_from_the_cache_can_be_had(void **state) {
    static int32_t longer[LONG];
    (void)state;
    for (int role = 0; role < 2; role++) {
        fc_engine_options o = options(role ? tiny_model("llama", 2, false) : NULL);
        fc_request cached = ids_request(ids_of(0), 160, 1, 1), first = ids_request(ids_of(1), 16, 16, 16), last;
        fc_event ev;
        uint64_t id;
        fc_engine *e;
        memcpy(longer, ids_of(0), 160 * 4);
        memcpy(longer + 160, ids_of(3), 40 * 4);
        last = ids_request(longer, LONG, 1, 1);
        last.priority = 1;
        o.max_rows = role ? 8 : 16;
        o.off = role ? 0 : FC_OFF_COALESCE;
        o.score_rows = 65536;
        o.kv_pool = pages_of(o, role ? 36 : 38);
        if (role) { /* the same in the alignment model */
            fc_request *all[] = {&cached, &first, &last};
            for (int i = 0; i < 3; i++) {
                all[i]->alignment_prompt = all[i]->prompt;
                all[i]->prompt = (fc_prompt){.ids = ids_of(2) + 20 * i, .n_ids = 4};
                all[i]->score = true;
                all[i]->n = 1;
                all[i]->sampling.max_tokens = 2;
            }
            first.alignment_prompt = (fc_prompt){.ids = ids_of(1), .n_ids = 240};
        }
        e = vary_open_held(&o);
        vary_go();
        ev = run_request(e, &cached);
        fc_event_fini(&ev);
        assert_ok(fc_submit(e, &first, &id));
        assert_ok(fc_submit(e, &last, &id));
        all_end(role ? "scored" : "drawn", e, 2);
        fc_engine_close(e);
    }
}

/* If this fails, what submit accepts is never let in, and holds up everybody behind it. */
static void prompt_logprobs_take_a_table_more(void **state) {
    fc_engine_options o = options(NULL);
    fc_request r = text_request("The cat", 4, 4);
    uint64_t id;
    fc_engine *e;
    (void)state;
    r.prompt_logprobs = true;
    o.max_branches = 4;
    e = open_engine(&o);
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG,
                 "n = 4 needs 5 branches, and max_branches is 4; raise it, or ask for fewer");
    r.n = 3;
    assert_ok(fc_submit(e, &r, &id));
    all_end("n = 3", e, 1);
    fc_engine_close(e);
}

/* If this fails, a scored request waits as long as others come that only draw. */
static void drawing_does_not_starve_scoring(void **state) {
    enum { OTHERS = 12, MOST = 200 };
    fc_engine_options o = options(tiny_model("llama", 2, false));
    (void)state;
    for (int priority = -1; priority <= 0; priority++) {
        fc_engine *e = hold(&o);
        fc_request r = text_request("The cat", 1, 2), other = text_request("abc", 1, 30);
        uint64_t id, scored;
        int ended = 0;
        bool done = false;
        r.score = true;
        r.priority = priority;
        r.sampling.ignore_eos = other.sampling.ignore_eos = true;
        for (int i = 0; i < OTHERS; i++) {
            other.sampling.max_tokens = 30 + 17 * i % 170;
            assert_ok(fc_submit(e, &other, &id));
        }
        assert_ok(fc_submit(e, &r, &scored));
        vary_go();
        while (!done) { /* whoever ends is followed by another */
            fc_event ev;
            assert_ok(fc_poll(e, PATIENCE_MS, &ev));
            if (ev.status) fail_msg("%s", ev.error);
            done = ev.id == scored;
            fc_event_fini(&ev);
            if (done) break;
            if (++ended == MOST) fail_msg("%d others ended before it", ended);
            other.seed++;
            other.sampling.max_tokens = 30 + ended * 13 % 170;
            assert_ok(fc_submit(e, &other, &id));
        }
        print_message("  priority %d: %d others ended before it\n", priority, ended);
        fc_engine_close(e);
    }
}

/* If this fails, candidates that are scored alone each hold a part of the pool, and none has enough. */
static void candidates_alone_do_not_lock(void **state) {
    static const char *const names[] = {"a", "ab", "abc", "b", "ba", "xyz", "x", "c"};
    static const uint32_t off[] = {FC_OFF_FORK | FC_OFF_COALESCE | FC_OFF_SCORE_TREE,
                                   FC_OFF_SCORE_TREE | FC_OFF_COALESCE | FC_OFF_GROUPS | FC_OFF_PREFIX_CACHE};
    uint64_t id, seed = 3;
    int runs = 0;
    (void)state;
    for (int draw = FC_DRAW_IID; draw <= FC_DRAW_EXACT; draw++)
        for (int i = 0; i < 24; i++) {
            int sizes[] = {8, 16, 32}, len = 70 + (int)test_below(&seed, 50);
            fc_engine_options o = options(i % 2 ? tiny_model("llama", 2, false) : vary_model());
            fc_request r = ids_request(ids_of(0), len, 7 + i % 5, 40);
            fc_engine *e = NULL;
            o.page_slots = sizes[i % 3];
            o.max_rows = 5 + (int)test_below(&seed, 20);
            o.off = off[i / 2 % 2];
            r.draw = (fc_draw_mode)draw;
            r.names = names;
            r.n_names = 8;
            r.constraint = FC_CONSTRAINT_MASK;
            r.sampling.ignore_eos = false;
            r.score = true;
            for (o.kv_pool = pages_of(o, 1); !e;) { /* the least that submit accepts */
                static const char words[] = "raise kv_pool to ";
                const char *at;
                assert_ok(fc_engine_open_on(&o, late_backend_open, &e));
                if (fc_submit(e, &r, &id) == FC_OK) break;
                at = strstr(fc_last_error(), words);
                if (!at) fail_msg("%s", fc_last_error());
                o.kv_pool = strtoull(at + strlen(words), NULL, 10);
                fc_engine_close(e);
                e = NULL;
            }
            all_end("alone", e, 1);
            fc_engine_close(e);
            runs++;
        }
    print_message("  %d runs\n", runs);
}

/* If this fails, ids of another tokenizer that nobody promised room for end the process. */
static void long_tails_are_refused(void **state) {
    fc_engine_options o = options(tiny_model_vocab("llama", 3, false, 300));
    fc_event ev;
    uint64_t id;
    (void)state;
    o.novelty = SMOLLM2_MODEL;
    o.kv_type = NULL;
    for (int off = 0; off < 2; off++) {
        static const int32_t words[] = {4974, 1725, 2546, 4616, 3113, 5730, 7400, 2908}; /* of seven letters and more */
        static const int32_t letters[] = {81, 82};                                       /* of one */
        fc_request r = text_request("x", 16, 16), after = text_request("x", 1, 2);
        fc_engine *e;
        o.off = off ? FC_OFF_SCORE_TREE : 0;
        e = open_engine(&o);
        r.sampling.allowed_ids = words;
        r.sampling.n_allowed = 8;
        after.sampling.allowed_ids = letters; /* so that its candidate fits whatever is drawn */
        after.sampling.n_allowed = 2;
        r.score = after.score = true;
        assert_ok(fc_submit(e, &r, &id));
        assert_ok(fc_poll(e, PATIENCE_MS, &ev));
        assert_int_equal(ev.status, FC_ERR_UNSUPPORTED);
        assert_non_null(
            strstr(ev.error, "ids of its candidates in the alignment model's tokenizer; there is room for"));
        fc_event_fini(&ev);
        ev = run_request(e, &after);
        fc_event_fini(&ev);
        fc_engine_close(e);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_prompts_at_once),           cmocka_unit_test(equal_prompts_become_one),
        cmocka_unit_test(pages_from_the_cache_can_be_had), cmocka_unit_test(prompt_logprobs_take_a_table_more),
        cmocka_unit_test(drawing_does_not_starve_scoring), cmocka_unit_test(candidates_alone_do_not_lock),
        cmocka_unit_test(long_tails_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
