/* Models whose numbers are NaN or infinite: each request that reads them is told which file and role it was, and no
 * other. */
#include "engine/base/os.h"
#include "engine/engine.h"
#include "tests/engine/util_engine.h"
#include "tests/engine/util_late.h"

#include <sys/stat.h>
#include <unistd.h>

enum { BROKEN_ID = 65 };

static void write_file(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* The end of a request, which the caller finishes. */
static fc_event end_of(fc_engine *e, const fc_request *r) {
    fc_event ev;
    uint64_t id;
    assert_ok(fc_submit(e, r, &id));
    assert_ok(fc_poll(e, 60000, &ev));
    assert_int_equal(ev.id, id);
    return ev;
}

/* The request fails, and its sentence begins with who it was and where, says so once, and ends with what. */
static void assert_blamed(fc_engine *e, const char *what, const fc_request *r, const char *role, const char *path,
                          const char *words) {
    fc_event ev = end_of(e, r);
    char begin[256];
    snprintf(begin, sizeof begin, "%s model %s", role, path);
    if (ev.status != FC_ERR_FORMAT || strncmp(ev.error, begin, strlen(begin)) != 0 || !strstr(ev.error, words) ||
        strstr(strstr(ev.error, " gives ") + 1, " gives "))
        fail_msg("%s: %s: \"%s\", not \"%s ... %s\"", what, fc_status_name(ev.status), ev.error ? ev.error : "", begin,
                 words);
    fc_event_fini(&ev);
}

static const char *const names[] = {"Birds", "Boats", "Tax law", "Taxis"};

/* If this fails, a damaged file looks like a wrong request, and nobody knows which of two files it is. */
static void every_way_to_draw_names_the_model(void **state) {
    static const float values[] = {NAN, INFINITY};
    char path[160];
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        fc_engine *e;
        fc_request r = text_request("The cat", 4, 4);
        change_row(tiny_model("llama", 1, false), "output_norm.weight", -1, values[v], path);
        e = open_engine(&(fc_engine_options){
            .novelty = path, .alignment = tiny_model("llama", 2, false), .threads = 2, .ctx = 128});
        assert_blamed(e, "iid", &r, "novelty", path, "a logit is NaN");
        r.sampling.bias_ids = (const int32_t[]){7};
        r.sampling.bias_values = (const float[]){2.0f};
        r.sampling.n_bias = 1;
        r.sampling.presence_penalty = 0.5f;
        assert_blamed(e, "bias and penalties", &r, "novelty", path, "a logit is NaN");
        r = text_request("The cat", 2, 8);
        r.names = names;
        r.n_names = 4;
        r.constraint = FC_CONSTRAINT_MASK;
        assert_blamed(e, "mask", &r, "novelty", path, "a logit is NaN");
        r.full_logprob = true;
        assert_blamed(e, "mask, full", &r, "novelty", path, "a logit is NaN");
        r.full_logprob = false;
        for (int d = FC_DRAW_SBS; d <= FC_DRAW_EXACT; d++) {
            r.draw = (fc_draw_mode)d;
            assert_blamed(e, fc_draw_name(r.draw), &r, "novelty", path, "a logit is NaN");
        }
        assert_int_equal(fc_engine_pages_used(e), 0);
        fc_engine_close(e);
        assert_int_equal(unlink(path), 0);
    }
}

static void every_score_names_the_model(void **state) {
    static const fc_score_mode modes[] = {FC_SCORE_LOGLIK_SUM, FC_SCORE_LOGLIK_MEAN, FC_SCORE_JUDGE, FC_SCORE_REWARD};
    static const char *const labels[] = {"a", "b"};
    char path[160];
    fc_engine *e;
    (void)state;
    change_row(tiny_model("llama", 2, true), "output_norm.weight", -1, NAN, path);
    e = open_engine(
        &(fc_engine_options){.novelty = tiny_model("llama", 1, false), .alignment = path, .threads = 2, .ctx = 128});
    for (size_t m = 0; m < 4; m++) {
        fc_request r = text_request("The cat", 4, 4);
        r.score = true;
        r.mode = modes[m];
        if (r.mode == FC_SCORE_JUDGE) {
            r.labels = labels;
            r.n_labels = 2;
        }
        assert_blamed(e, "score", &r, "alignment", path,
                      r.mode == FC_SCORE_REWARD ? "a score of " : "a logit is NaN or +inf");
    }
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
    assert_int_equal(unlink(path), 0);
}

/* One row of the head: only who asks for the whole vocabulary reads it, and its neighbour in the batch does not. */
static void a_broken_row_outside_the_names_is_of_full_logprob_alone(void **state) {
    char path[160];
    fc_engine *e;
    fc_request full = text_request("The cat", 2, 8), masked;
    uint64_t id[2];
    (void)state;
    change_row(tiny_model("llama", 1, false), "output.weight", BROKEN_ID + 20, NAN,
               path); /* byte-level: no name's id */
    e = open_engine(&(fc_engine_options){.novelty = path, .threads = 2, .ctx = 128});
    full.names = names;
    full.n_names = 4;
    full.constraint = FC_CONSTRAINT_MASK;
    masked = full;
    full.full_logprob = true;
    assert_blamed(e, "full", &full, "novelty", path, "a logit is NaN or +inf");
    assert_ok(fc_submit(e, &full, &id[0]));
    assert_ok(fc_submit(e, &masked, &id[1]));
    for (int i = 0; i < 2; i++) {
        fc_event ev;
        assert_ok(fc_poll(e, 60000, &ev));
        if (ev.status != (ev.id == id[0] ? FC_ERR_FORMAT : FC_OK)) fail_msg("%s", ev.error ? ev.error : "no error");
        fc_event_fini(&ev);
    }
    fc_engine_close(e);
    assert_int_equal(unlink(path), 0);
}

/* One row of the embedding: a request that reads it fails, and those beside it in the batch go on. */
static void who_does_not_read_them_goes_on(void **state) {
    static const int32_t ids[] = {40, BROKEN_ID, 41};
    static const float ban = -INFINITY;
    char path[160];
    fc_engine *e;
    uint64_t bad[3], good[3];
    int n_bad = 0;
    (void)state;
    change_row(tiny_model("llama", 1, false), "token_embd.weight", BROKEN_ID, NAN, path);
    e = open_engine(&(fc_engine_options){.novelty = path, .alignment = path, .threads = 2, .ctx = 128});
    for (int i = 0; i < 3; i++) {
        fc_request r = text_request("", 4, 4);
        r.score = i != 1;
        r.prompt = (fc_prompt){.ids = ids, .n_ids = 3};
        r.sampling.bias_ids = &ids[1];
        r.sampling.bias_values = &ban;
        r.sampling.n_bias = 1;
        assert_ok(fc_submit(e, &r, &bad[i]));
        r.prompt.n_ids = 1;
        assert_ok(fc_submit(e, &r, &good[i]));
    }
    for (int i = 0; i < 6; i++) {
        fc_event ev;
        bool is_bad;
        assert_ok(fc_poll(e, 60000, &ev));
        is_bad = ev.id == bad[0] || ev.id == bad[1] || ev.id == bad[2];
        n_bad += is_bad;
        if (ev.status != (is_bad ? FC_ERR_FORMAT : FC_OK)) fail_msg("%s", ev.error ? ev.error : "no error");
        fc_event_fini(&ev);
    }
    assert_int_equal(n_bad, 3);
    fc_engine_close(e);
    assert_int_equal(unlink(path), 0);
}

/* If this fails, sums of a whole vocabulary that one request's row broke are missing, or wrong, for those behind it. */
static void full_logprobs_beside_a_broken_row_are_those_alone(void **state) {
    static const int32_t ids[] = {40, BROKEN_ID};
    char path[160];
    fc_engine *e;
    fc_request r = text_request("", 6, 8);
    fc_event alone[3], ev;
    uint64_t id[3];
    (void)state;
    change_row(tiny_model("llama", 1, false), "token_embd.weight", BROKEN_ID, NAN, path);
    e = open_engine(&(fc_engine_options){.novelty = path, .threads = 2, .ctx = 128});
    r.names = names;
    r.constraint = FC_CONSTRAINT_MASK;
    r.full_logprob = true;
    r.prompt = (fc_prompt){.ids = ids, .n_ids = 1};
    for (int i = 0; i < 3; i += 2) {
        r.n_names = 4 - (size_t)i;
        alone[i] = run_request(e, &r);
    }
    for (int i = 0; i < 3; i++) {
        r.prompt.n_ids = i == 1 ? 2 : 1;
        r.n_names = i == 2 ? 2 : 4;
        assert_ok(fc_submit(e, &r, &id[i]));
    }
    for (int i = 0; i < 3; i++) {
        assert_ok(fc_poll(e, 60000, &ev));
        if (ev.id == id[1]) {
            assert_int_equal(ev.status, FC_ERR_FORMAT);
        } else {
            const fc_result *want = alone[ev.id == id[2] ? 2 : 0].result;
            if (ev.status) fail_msg("%s", ev.error);
            for (int k = 0; k < 6; k++) {
                assert_same_candidate("beside", &ev.result->all[k], &want->all[k]);
                assert_true(ev.result->all[k].full_logprob == want->all[k].full_logprob);
            }
        }
        fc_event_fini(&ev);
    }
    fc_event_fini(&alone[0]);
    fc_event_fini(&alone[2]);
    fc_engine_close(e);
    assert_int_equal(unlink(path), 0);
}

/* Log-probs of the prompt: they are read before anything is drawn, or where nothing is. */
static void log_probs_of_a_prompt_name_the_model(void **state) {
    static const int32_t ids[] = {40, BROKEN_ID, 41, 42};
    char path[160];
    fc_engine *e;
    (void)state;
    change_row(tiny_model("llama", 1, false), "token_embd.weight", BROKEN_ID, NAN, path);
    e = open_engine(&(fc_engine_options){.novelty = path, .threads = 2, .ctx = 128});
    for (int tops = 0; tops <= 3; tops += 3)
        for (int tokens = 0; tokens <= 2; tokens += 2) {
            fc_request r = text_request("", 1, tokens), good;
            uint64_t id[2];
            r.prompt = (fc_prompt){.ids = ids, .n_ids = 4};
            r.prompt_logprobs = true;
            r.prompt_top_logprobs = tops;
            assert_blamed(e, tops ? "alternatives" : "log-probs", &r, "novelty", path, "a logit is NaN");
            good = r;
            good.prompt.n_ids = 1; /* beside it in the batch */
            good.sampling.max_tokens = 2;
            good.sampling.allowed_ids = (const int32_t[]){50, 51};
            good.sampling.n_allowed = 2;
            assert_ok(fc_submit(e, &r, &id[0]));
            assert_ok(fc_submit(e, &good, &id[1]));
            for (int i = 0; i < 2; i++) {
                fc_event ev;
                assert_ok(fc_poll(e, 60000, &ev));
                if (ev.status != (ev.id == id[0] ? FC_ERR_FORMAT : FC_OK)) fail_msg("%s", ev.error ? ev.error : "?");
                fc_event_fini(&ev);
            }
        }
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
    assert_int_equal(unlink(path), 0);
}

/* One row of the head is NaN, and what is drawn comes from a list without it: only who reads the whole row meets it,
 * and its neighbours in the batch do not. */
static void a_broken_row_outside_the_list_is_of_those_who_read_it(void **state) {
    enum { WAYS = 6 };
    static const int32_t allowed[] = {50, 51}, asked[] = {7, 8};
    fc_request r[WAYS + 1];
    uint64_t id[WAYS + 1];
    char path[160];
    fc_engine *e;
    (void)state;
    change_row(tiny_model("llama", 1, false), "output.weight", BROKEN_ID + 20, NAN, path);
    e = open_engine(&(fc_engine_options){.novelty = path, .threads = 2, .ctx = 128});
    for (int i = 0; i <= WAYS; i++) {
        r[i] = text_request("The cat", 2, i < 3 ? 2 : 8);
        if (i < 3) { /* log-probs of allowed_token_ids are those of the whole row */
            r[i].sampling.allowed_ids = allowed;
            r[i].sampling.n_allowed = 2;
        } else {
            r[i].names = names;
            r[i].n_names = 4;
            r[i].constraint = FC_CONSTRAINT_MASK;
        }
        if (i == 1 || i == 3 || i == 5) r[i].sampling.top_logprobs = 3;
        if (i == 2 || i == 4 || i == 5) {
            r[i].sampling.logprob_ids = asked;
            r[i].sampling.n_logprob_ids = 2;
        }
    }
    for (int i = 0; i < WAYS; i++) {
        char what[20];
        snprintf(what, sizeof what, "way %d", i);
        assert_blamed(e, what, &r[i], "novelty", path, "a logit is NaN");
    }
    for (int i = 0; i <= WAYS; i++) assert_ok(fc_submit(e, &r[i], &id[i]));
    for (int i = 0; i <= WAYS; i++) {
        fc_event ev;
        assert_ok(fc_poll(e, 60000, &ev));
        if (ev.status != (ev.id == id[WAYS] ? FC_OK : FC_ERR_FORMAT))
            fail_msg("request %d: %s", (int)(ev.id - id[0]), ev.error ? ev.error : "no error");
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
    assert_int_equal(unlink(path), 0);
}

/* If this fails, alternatives that a broken row leaves are taken for its neighbour's. */
static void alternatives_beside_a_broken_row_are_those_alone(void **state) {
    static const int32_t ids[] = {40, BROKEN_ID};
    fc_request good = text_request("", 6, 4), bad;
    fc_event alone;
    uint64_t id[3];
    char path[160];
    fc_engine *e;
    (void)state;
    change_row(tiny_model("llama", 1, false), "token_embd.weight", BROKEN_ID, NAN, path);
    e = open_engine(&(fc_engine_options){.novelty = path, .threads = 2, .ctx = 128});
    good.prompt = (fc_prompt){.ids = ids, .n_ids = 1};
    good.sampling.top_logprobs = 3;
    good.sampling.bias_ids = &ids[1]; /* or it draws the broken one */
    good.sampling.bias_values = (const float[]){-INFINITY};
    good.sampling.n_bias = 1;
    bad = good;
    bad.prompt.n_ids = 2;
    alone = run_request(e, &good);
    for (int i = 0; i < 3; i++) assert_ok(fc_submit(e, i == 1 ? &good : &bad, &id[i]));
    for (int i = 0; i < 3; i++) {
        fc_event ev;
        assert_ok(fc_poll(e, 60000, &ev));
        assert_int_equal(ev.status, ev.id == id[1] ? FC_OK : FC_ERR_FORMAT);
        for (int k = 0; ev.id == id[1] && k < 6; k++) {
            const fc_candidate *a = &ev.result->all[k], *b = &alone.result->all[k];
            assert_same_candidate("beside", a, b);
            assert_memory_equal(a->top_ids, b->top_ids, 3 * a->n_logprobs * sizeof *a->top_ids);
            assert_memory_equal(a->top_logprobs, b->top_logprobs, 3 * a->n_logprobs * sizeof *a->top_logprobs);
        }
        fc_event_fini(&ev);
    }
    fc_event_fini(&alone);
    fc_engine_close(e);
    assert_int_equal(unlink(path), 0);
}

/* With two batches under way the one behind the last that an answer needs may land with a broken row: nobody asks any
 * more. If this fails, such a request fails, or the process ends. */
static void a_broken_row_behind_the_answer_is_nobody_s(void **state) {
    enum { NAMES = 16, SEEDS = 60, ID = 123 };
    static char text[NAMES][8];
    static const char *list[NAMES];
    fc_engine_options o = {.threads = 1, .ctx = 128, .max_rows = 1};
    int good = 0, bad = 0;
    char path[160];
    fc_engine *e = NULL;
    (void)state;
    for (int i = 0; i < NAMES; i++) { /* half of them have the broken id's neighbours behind them */
        bool b = i < NAMES / 2;
        snprintf(text[i], sizeof text[i], "%c%c%c%c", b ? 'B' : 'T', i & 1 ? (b ? 'a' : 'c') : 'b',
                 i & 2 ? (b ? 'a' : 'x') : 'b', i & 4 ? (b ? 'a' : 'x') : 'b');
        list[i] = text[i];
    }
    change_row(tiny_model("llama", 1, false), "token_embd.weight", ID, NAN, path);
    o.novelty = path;
    assert_ok(fc_engine_open_on(&o, late_backend_open, &e));
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        fc_request r = text_request("The cat", 3, 12);
        fc_event ev;
        r.names = list;
        r.n_names = NAMES;
        r.constraint = FC_CONSTRAINT_MASK;
        r.seed = seed;
        r.keep = 1;
        r.stop_when = "stable:1";
        ev = end_of(e, &r);
        if (ev.status) assert_int_equal(ev.status, FC_ERR_FORMAT);
        good += ev.status == FC_OK;
        bad += ev.status != FC_OK;
        fc_event_fini(&ev);
    }
    printf("%d answers, %d requests that read the broken row\n", good, bad);
    assert_true(good > 5 && bad > 5);
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
    assert_int_equal(unlink(path), 0);
}

/* Rank 1 on one matrix of a tiny llama; A is all NaN. */
static void write_adapter(const char *folder) {
    static const char config[] = "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":1,\"lora_alpha\":1,"
                                 "\"target_modules\":[\"model.layers.0.self_attn.q_proj\"]}";
    static const char header[] = "{\"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\":"
                                 "{\"dtype\":\"F32\",\"shape\":[1,64],\"data_offsets\":[0,256]},"
                                 "\"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight\":"
                                 "{\"dtype\":\"F32\",\"shape\":[64,1],\"data_offsets\":[256,512]}}";
    unsigned char bytes[8 + sizeof header - 1 + 512];
    uint64_t n = sizeof header - 1;
    float v[128];
    char path[200];
    for (int i = 0; i < 128; i++) v[i] = i < 64 ? NAN : 1.0f;
    memcpy(bytes, &n, 8); /* little-endian, as this machine */
    memcpy(bytes + 8, header, sizeof header - 1);
    memcpy(bytes + 8 + sizeof header - 1, v, sizeof v);
    assert_int_equal(mkdir(folder, 0700), 0);
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    write_file(path, config, sizeof config - 1);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    write_file(path, bytes, sizeof bytes);
}

static void an_adapter_is_not_forgotten(void **state) {
    const char *model = tiny_model("llama", 1, false);
    char folder[160], path[200];
    fc_adapter_option a = {.name = "a", .path = folder, .model = FC_NOVELTY};
    fc_request r = text_request("The cat", 2, 4);
    fc_event ev;
    fc_engine *e;
    (void)state;
    snprintf(folder, sizeof folder, "%s.adapter", model);
    write_adapter(folder);
    e = open_engine(&(fc_engine_options){.novelty = model, .threads = 1, .ctx = 128, .adapters = &a, .n_adapters = 1});
    ev = end_of(e, &r);
    assert_int_equal(ev.status, FC_OK);
    fc_event_fini(&ev);
    r.novelty_adapter = "a";
    assert_blamed(e, "adapter", &r, "novelty", model, " with the request's adapter: it gives NaN or infinity");
    fc_engine_close(e);
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_draw_names_the_model),
        cmocka_unit_test(every_score_names_the_model),
        cmocka_unit_test(a_broken_row_outside_the_names_is_of_full_logprob_alone),
        cmocka_unit_test(who_does_not_read_them_goes_on),
        cmocka_unit_test(full_logprobs_beside_a_broken_row_are_those_alone),
        cmocka_unit_test(log_probs_of_a_prompt_name_the_model),
        cmocka_unit_test(a_broken_row_outside_the_list_is_of_those_who_read_it),
        cmocka_unit_test(alternatives_beside_a_broken_row_are_those_alone),
        cmocka_unit_test(a_broken_row_behind_the_answer_is_nobody_s),
        cmocka_unit_test(an_adapter_is_not_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
