/* Sets of names: what is refused and how, sets by id that come and go, and what it means that a candidate is a name. */
#include "engine/base/os.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_exact.h"
#include "tests/engine/util_names.h"

#include <malloc.h>
#include <unistd.h>

static const char prompt[] = "Name one interest of this person:";

static fc_engine *engine_for(const char *novelty, const char *alignment) {
    return open_engine(&(fc_engine_options){.novelty = novelty, .alignment = alignment, .threads = 2, .ctx = 256});
}

static fc_request names_request(const char *const *names, int n_names, fc_constraint constraint) {
    fc_request r = text_request(prompt, 8, 32);
    r.names = names;
    r.n_names = (size_t)n_names;
    r.constraint = constraint;
    return r;
}

/* ---- what is refused ---- */

/* If this fails, a request with a mistake runs, or its sentence does not say what is wrong. */
static void mistakes_are_named(void **state) {
    static const char *const twice[] = {"Art", "Chess", "Art"};
    static const char *const empty[] = {"Art", ""};
    fc_engine *e = engine_for(tiny_model("llama", 1, false), NULL);
    fc_taxonomy_names set = {.id = "hobbies", .names = twice, .n = 3};
    fc_request r = text_request(prompt, 4, 32);
    uint64_t id;
    (void)state;
    r.constraint = FC_CONSTRAINT_MASK;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "constraint mask: it needs a taxonomy");
    r.constraint = FC_CONSTRAINT_REJECT;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "constraint reject: it needs a taxonomy");
    r.taxonomy = "hobbies";
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "\"hobbies\"");
    assert_fails(fc_engine_set_taxonomy(e, &set), FC_ERR_ARG, "\"hobbies\": the name \"Art\" stands at 0 and 2");
    set.names = empty;
    set.n = 2;
    assert_fails(fc_engine_set_taxonomy(e, &set), FC_ERR_ARG, "name 1 is empty");
    set.n = 0;
    assert_fails(fc_engine_set_taxonomy(e, &set), FC_ERR_ARG, "at least one");
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "\"hobbies\""); /* nothing of it was registered */
    set.names = mixed_names;
    set.n = MIXED;
    assert_ok(fc_engine_set_taxonomy(e, &set));
    r.names = mixed_names;
    r.n_names = MIXED;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "a taxonomy is given too");
    r.n_names = 0;
    r.reject_budget = -1;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "reject_budget = -1");
    r.reject_budget = 1001;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "reject_budget = 1001");
    r.reject_budget = 4;
    r.constraint = (fc_constraint)3;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "constraint = 3");
    r.constraint = FC_CONSTRAINT_MASK;
    r.sampling.min_tokens = 2;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "min_tokens = 2");
    r.sampling.min_tokens = 0;
    r.end = "no token at all";
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "end: \"no token at all\"");
    r.end = NULL;
    r.sampling.max_tokens = 5;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "max_tokens = 5: the name \"Art History of France\" has");
    r.sampling.max_tokens = 32;
    fc_engine_drop_taxonomy(e, "hobbies");
    fc_engine_drop_taxonomy(e, "hobbies"); /* an unknown id is fine */
    fc_engine_drop_taxonomy(e, NULL);
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "\"hobbies\"");
    fc_engine_close(e);
}

/* Exactly the ids of the longest name are enough. */
static void max_tokens_has_room_for_the_longest(void **state) {
    const char *model = tiny_model("llama", 1, false);
    fc_engine *e = engine_for(model, NULL);
    fc_request r = names_request(mixed_names, MIXED, FC_CONSTRAINT_MASK);
    uint64_t id;
    fc_event ev;
    exact x;
    (void)state;
    exact_open(&x, model, prompt, mixed_names, MIXED);
    r.sampling.max_tokens = x.trie->max_depth - 1;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "max_tokens");
    r.sampling.max_tokens = x.trie->max_depth;
    ev = run_request(e, &r);
    for (int i = 0; i < ev.result->n_all; i++) assert_int_equal(ev.result->all[i].valid, 1);
    fc_event_fini(&ev);
    exact_close(&x);
    fc_engine_close(e);
}

/* A model of 320 ids in a folder with a tokenizer of 2,000 that normalises text. */
static void make_folder(char *path, size_t size) {
    static const char *const files[][2] = {{"models/qwen2/config.json", "config.json"},
                                           {"models/qwen2/model.safetensors", "model.safetensors"},
                                           {"tokenizer/qwen2.json", "tokenizer.json"}};
    snprintf(path, size, "/tmp/forkcast-names-XXXXXX");
    assert_non_null(mkdtemp(path));
    for (int i = 0; i < 3; i++) {
        char from[512], to[512], cwd[256];
        assert_non_null(getcwd(cwd, sizeof cwd));
        snprintf(from, sizeof from, "%s/tests/data/%s", cwd, files[i][0]);
        snprintf(to, sizeof to, "%s/%s", path, files[i][1]);
        assert_int_equal(symlink(from, to), 0);
    }
}

static void remove_folder(const char *path) {
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json"};
    for (int i = 0; i < 3; i++) {
        char file[512];
        snprintf(file, sizeof file, "%s/%s", path, files[i]);
        unlink(file);
    }
    rmdir(path);
}

/* If this fails, two names that no id tells apart become one, or an id that the model has not is looked up. */
static void names_must_have_paths_of_their_own(void **state) {
    static const char *const nfc[] = {"Art", "Caf\xC3\xA9", "Cafe\xCC\x81"};
    static const char *const large[] = {"a", "understanding"};
    static const int32_t ids[] = {64, 65, 66};
    char folder[64];
    fc_engine *e;
    fc_request r;
    fc_event ev;
    uint64_t id;
    (void)state;
    make_folder(folder, sizeof folder);
    e = open_engine(&(fc_engine_options){.novelty = folder, .threads = 1, .ctx = 64});
    fc_request_init(&r);
    r.prompt = (fc_prompt){.ids = ids, .n_ids = 3};
    r.names = nfc;
    r.n_names = 3;
    r.constraint = FC_CONSTRAINT_MASK;
    r.end = "!";
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG,
                 "names 1, \"Caf\xC3\xA9\", and 2, \"Cafe\xCC\x81\", have the same ids");
    r.names = large;
    r.n_names = 2;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "\"understanding\"");
    r.n_names = 1;
    ev = run_request(e, &r);
    assert_int_equal(ev.result->all[0].valid, 1);
    fc_event_fini(&ev);
    fc_engine_close(e);
    remove_folder(folder);
}

/* ---- sets by id ---- */

static bool among(const fc_candidate *c, const char *const *names, int n) {
    for (int i = 0; i < n; i++)
        if (strlen(names[i]) == c->text_size && memcmp(names[i], c->text, c->text_size) == 0) return true;
    return false;
}

/* If this fails, requests draw from another request's names, or from what came to stand under their id later. */
static void sets_come_and_go_while_requests_run(void **state) {
    enum { ROUNDS = 12, SETS = 3, PER_SET = 12, ASKS = ROUNDS * SETS };
    static const char *const set_ids[SETS] = {"a", "b", NULL};
    fc_engine *e = engine_for(tiny_model("llama", 1, false), tiny_model("llama", 2, false));
    int at[ASKS];
    uint64_t ids[ASKS];
    int left = ASKS, refused = 0;
    (void)state;
    for (int ask = 0; ask < 2 * ASKS; ask++) { /* in each round three are registered, then three asked for */
        int round = ask / (2 * SETS), k = ask % SETS, own = round * SETS + k;
        fc_request r = text_request(prompt, 16, 32);
        uint64_t unused;
        r.taxonomy = k < 2 ? set_ids[k] : ""; /* NULL is "" */
        r.constraint = round % 3 == 2 ? FC_CONSTRAINT_REJECT : FC_CONSTRAINT_MASK;
        r.score = round % 2;
        r.seed = (uint64_t)ask;
        if (ask % (2 * SETS) >= SETS) {
            assert_ok(fc_submit(e, &r, &ids[own]));
            continue;
        }
        at[own] = (round * 5 + k * 7) % (MIXED - PER_SET);
        if (round % 4 == 3) { /* gone for a moment; requests under way keep it */
            fc_engine_drop_taxonomy(e, set_ids[k]);
            refused += fc_submit(e, &r, &unused) == FC_ERR_ARG;
        }
        assert_ok(fc_engine_set_taxonomy(
            e, &(fc_taxonomy_names){.id = set_ids[k], .names = mixed_names + at[own], .n = PER_SET}));
    }
    fc_engine_drop_taxonomy(e, "a");
    while (left > 0) {
        fc_event ev;
        int ask = 0, round;
        assert_ok(fc_poll(e, 60000, &ev));
        while (ids[ask] != ev.id) ask++;
        round = ask / SETS;
        if (ev.status) fail_msg("%s", ev.error);
        for (int i = 0; i < ev.result->n_all; i++) {
            const fc_candidate *c = &ev.result->all[i];
            assert_int_equal(c->valid, among(c, mixed_names + at[ask], PER_SET));
            if (round % 3 != 2) assert_int_equal(c->valid, 1);
        }
        left--;
        fc_event_fini(&ev);
    }
    assert_int_equal(refused, ROUNDS / 4 * SETS);
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
}

/* ---- a name is one candidate ---- */

enum { N = 1000 };

/* What events say of a candidate. */
typedef struct {
    int32_t ids[8];
    int n;
    double score;
} heard;

static fc_event run_and_listen(fc_engine *e, const fc_request *r, heard *h) {
    fc_event ev;
    uint64_t id;
    assert_ok(fc_submit(e, r, &id));
    for (;;) {
        assert_ok(fc_poll(e, 60000, &ev));
        if (ev.type == FC_EVENT_DONE) break;
        if (ev.type == FC_EVENT_TOKEN) h[ev.candidate].ids[h[ev.candidate].n++] = ev.token;
        if (ev.type == FC_EVENT_SCORE) h[ev.candidate].score = ev.score;
        fc_event_fini(&ev);
    }
    if (ev.status) fail_msg("%s", ev.error);
    return ev;
}

/* If this fails, one name takes several places in the ranking, or its score depends on how it was spelt. */
static void a_name_over_another_path_is_that_name(void **state) {
    static const char *const names[] = {"er", "ere", "rer", "eer"};
    const char *model = tiny_model("llama", 31, false);
    fc_engine *e = engine_for(model, tiny_model("llama", 32, false));
    static heard h[N];
    int other_paths = 0, known = 0;
    exact_bias b;
    exact x;
    fc_request r = names_request(names, 4, FC_CONSTRAINT_OFF);
    fc_event ev;
    (void)state;
    exact_open(&x, model, prompt, names, 4);
    exact_few_ids(&x, &b, &r.sampling);
    r.sampling.temperature = 6.0f;
    r.n = N;
    r.sampling.max_tokens = 4;
    r.score = r.events = true;
    ev = run_and_listen(e, &r, h);
    for (int k = 0; k < ev.result->n_kept; k++) {
        const fc_candidate *c = &ev.result->kept[k];
        int name = exact_name(&x, c), votes = 0, n;
        int32_t path[8];
        fc_given given;
        fc_request g = text_request(prompt, 1, 1);
        fc_event scored;
        assert_int_equal(c->valid, name >= 0);
        assert_memory_equal(c->tokens, h[c->index].ids, c->n_tokens * sizeof(int32_t)); /* as the first one drew it */
        if (name < 0) continue;
        known++;
        for (int i = 0; i < N; i++) {
            const fc_candidate *a = &ev.result->all[i];
            if (exact_name(&x, a) != name) continue;
            assert_true(votes > 0 || i == c->index); /* the first of them */
            assert_int_equal(a->rank, c->rank);
            assert_int_equal(a->votes, c->votes);
            votes++;
        }
        assert_int_equal(c->votes, votes);
        n = fc_trie_path(x.trie, x.trie->leaf[name], path) - 1;
        given = (fc_given){.ids = path, .n_ids = (size_t)n};
        g.given = &given;
        g.n_given = 1;
        g.score = true;
        scored = run_request(e, &g);
        for (int i = 0; i < N; i++) { /* each was scored apart, before they were found to be one name */
            if (exact_name(&x, &ev.result->all[i]) != name) continue;
            other_paths += memcmp(h[i].ids, path, (size_t)n * sizeof *path) != 0;
            if (h[i].score != scored.result->all[0].score || c->score != h[i].score)
                fail_msg("\"%s\": candidate %d has score %.9g, not that of its one path, %.9g", names[name], i,
                         h[i].score, scored.result->all[0].score);
        }
        fc_event_fini(&scored);
    }
    for (int k = 0; k < ev.result->n_kept; k++) /* texts that are no names stay apart by their ids */
        for (int l = 0; l < k; l++) {
            const fc_candidate *p = &ev.result->kept[k], *q = &ev.result->kept[l];
            if (p->valid && q->valid) assert_int_not_equal(exact_name(&x, p), exact_name(&x, q));
            else
                assert_true(p->n_logprobs != q->n_logprobs || p->n_tokens != q->n_tokens ||
                            memcmp(p->tokens, q->tokens, p->n_tokens * sizeof(int32_t)) != 0);
        }
    print_message("%d names, %d draws over another path than their one\n", known, other_paths);
    assert_true(known >= 3 && other_paths >= 10);
    fc_event_fini(&ev);
    exact_close(&x);
    fc_engine_close(e);
}

/* If this fails, candidates that the caller brings are not told names from others. */
static void given_candidates_are_marked(void **state) {
    static const char *const names[] = {"er", "Chess", "Art History"};
    const char *model = tiny_model("llama", 31, false);
    fc_engine *e = engine_for(model, tiny_model("llama", 32, false));
    static const fc_given given[] = {{.text = "Chess", .size = 5},        {.text = "Chess ", .size = 6},
                                     {.text = "Art History", .size = 11}, {.text = "", .size = 0},
                                     {.text = "chess", .size = 5},        {.text = "Art", .size = 3}};
    static const int want[] = {1, 0, 1, 0, 0, 0, 1, 0};
    int32_t ids[2] = {'e' + 3, 'r' + 3}; /* a byte's id is 3 more: another path than that of "er" in one piece */
    fc_given all[8];
    fc_request r = text_request(prompt, 1, 1), plain;
    fc_event a, b;
    (void)state;
    memcpy(all, given, sizeof given);
    all[6] = (fc_given){.ids = ids, .n_ids = 2};
    all[7] = (fc_given){.ids = ids, .n_ids = 1};
    r.given = all;
    r.n_given = 8;
    r.score = true;
    plain = r;
    a = run_request(e, &plain);
    for (int by_id = 0; by_id < 2; by_id++) {
        r.names = by_id ? NULL : names;
        r.n_names = by_id ? 0 : 3;
        r.taxonomy = by_id ? "mine" : NULL;
        if (by_id) assert_ok(fc_engine_set_taxonomy(e, &(fc_taxonomy_names){.id = "mine", .names = names, .n = 3}));
        b = run_request(e, &r);
        assert_int_equal(a.result->n_kept, b.result->n_kept);
        for (int i = 0; i < 8; i++) {
            assert_int_equal(a.result->all[i].valid, -1);
            assert_int_equal(b.result->all[i].valid, want[i]);
            assert_same_candidate("with names", &a.result->all[i], &b.result->all[i]);
        }
        assert_true(isnan(b.result->confidence.valid_mass));
        fc_event_fini(&b);
    }
    fc_event_fini(&a);
    fc_engine_close(e);
}

/* Requests whose prompts end with each of n ids; the bytes that the process holds afterwards. */
static size_t ask_behind(fc_engine *e, int first, int n) {
    for (int i = 0; i < n; i++) {
        const int32_t ids[] = {5, first + i};
        fc_request r = text_request("", 2, 32);
        fc_event ev;
        r.prompt = (fc_prompt){.ids = ids, .n_ids = 2};
        r.taxonomy = "hobbies";
        r.constraint = FC_CONSTRAINT_MASK;
        ev = run_request(e, &r);
        assert_true(ev.result->n_kept > 0);
        fc_event_fini(&ev);
    }
    return mallinfo2().uordblks + mallinfo2().hblkhd;
}

/* If this fails, callers choose how much memory a registered taxonomy takes, and it never comes back. */
static void tries_behind_many_ids_are_not_kept(void **state) {
    fc_engine *e = engine_for(tiny_model("llama", 1, false), NULL);
    size_t before, after;
    (void)state;
    assert_ok(fc_engine_set_taxonomy(e, &(fc_taxonomy_names){.id = "hobbies", .names = mixed_names, .n = MIXED}));
    before = ask_behind(e, 40, 20);
    after = ask_behind(e, 60, 180);
    printf("%zu bytes behind 20 last ids, %zu behind 200\n", before, after);
    if (before) assert_true(after < before + (64 << 10)); /* AddressSanitizer's allocator counts elsewhere */
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(max_tokens_has_room_for_the_longest),
        cmocka_unit_test(names_must_have_paths_of_their_own),
        cmocka_unit_test(sets_come_and_go_while_requests_run),
        cmocka_unit_test(a_name_over_another_path_is_that_name),
        cmocka_unit_test(given_candidates_are_marked),
        cmocka_unit_test(tries_behind_many_ids_are_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
