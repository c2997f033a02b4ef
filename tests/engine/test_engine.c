/* The public interface: answers, events, options, cancel and drain, and what a wrong request is told. */
#include "engine/job.h"
#include "engine/model_tok.h"
#include "tests/engine/util_engine.h"

#include <pthread.h>
#include <unistd.h>

static const char prompt[] = "The cat sat on the mat.";

static fc_engine *two_models(void) {
    return open_engine(&(fc_engine_options){
        .novelty = tiny_model("llama", 1, false), .alignment = tiny_model("llama", 2, true), .threads = 2, .ctx = 128});
}

static void answer_is_ranked_and_counted(void **state) {
    fc_engine *e = two_models();
    fc_request r = text_request(prompt, 16, 8);
    fc_event ev;
    int votes = 0;
    (void)state;
    r.score = true;
    r.keep = 5;
    ev = run_request(e, &r);
    assert_int_equal(ev.result->n_kept, 5);
    assert_int_equal(ev.result->n_all, 16);
    for (int i = 0; i < 5; i++) {
        const fc_candidate *c = &ev.result->kept[i];
        double sum = 0;
        assert_int_equal(c->rank, i + 1);
        assert_int_equal(c->valid, -1);
        if (i) assert_true(ev.result->kept[i - 1].score >= c->score);
        for (size_t k = 0; k < c->n_logprobs; k++) sum += (double)c->logprobs[k];
        assert_true(c->logprob == sum && sum < 0);
        for (int k = 0; k < c->index; k++) /* index is the first that drew it */
            assert_false(ev.result->all[k].n_tokens == c->n_tokens && ev.result->all[k].finish == c->finish &&
                         memcmp(ev.result->all[k].tokens, c->tokens, c->n_tokens * sizeof *c->tokens) == 0);
    }
    for (int i = 0; i < 16; i++)
        if (ev.result->all[i].votes == 1) votes++;
    assert_true(votes >= 1);
    assert_true(ev.result->confidence.margin >= 0 && ev.result->confidence.entropy >= 0);
    assert_true(isnan(ev.result->confidence.valid_mass));
    assert_true(ev.result->timings.total > 0 && ev.result->accounting.kv_bytes > 0);
    fc_event_fini(&ev);
    r.score = false;
    ev = run_request(e, &r);
    for (int i = 0; i < ev.result->n_kept; i++) {
        assert_true(isnan(ev.result->kept[i].score));
        if (i) assert_true(ev.result->kept[i - 1].logprob >= ev.result->kept[i].logprob);
    }
    fc_event_fini(&ev);
    fc_engine_close(e);
}

/* Token texts put together are the candidate's text; each candidate and score is told once. */
static void events_tell_the_whole_story(void **state) {
    fc_engine *e = two_models();
    fc_request r = text_request(prompt, 4, 8);
    const int32_t asked[1] = {70};
    char text[4][512] = {""};
    int finished[4] = {0}, scored[4] = {0}, n[4] = {0};
    int32_t top[4][8][2];
    float top_lp[4][8][2], id_lp[4][8];
    uint64_t id;
    (void)state;
    r.score = r.events = true;
    r.sampling.top_logprobs = 2;
    r.sampling.logprob_ids = asked;
    r.sampling.n_logprob_ids = 1;
    assert_ok(fc_submit(e, &r, &id));
    for (;;) {
        fc_event ev;
        assert_ok(fc_poll(e, 60000, &ev));
        assert_int_equal(ev.id, id);
        if (ev.type == FC_EVENT_TOKEN) {
            int k = n[ev.candidate]++;
            strncat(text[ev.candidate], ev.text, ev.text_size);
            assert_int_equal(ev.top_n, 2);
            assert_int_equal(ev.n_ids, 1);
            memcpy(top[ev.candidate][k], ev.top_ids, sizeof top[0][0]);
            memcpy(top_lp[ev.candidate][k], ev.top_logprobs, sizeof top_lp[0][0]);
            id_lp[ev.candidate][k] = *ev.id_logprobs;
        }
        if (ev.type == FC_EVENT_CANDIDATE) finished[ev.candidate]++;
        if (ev.type == FC_EVENT_SCORE) scored[ev.candidate]++;
        if (ev.type == FC_EVENT_DONE) {
            assert_int_equal(ev.status, FC_OK);
            for (int i = 0; i < 4; i++) {
                /* an unfinished UTF-8 sequence at the very end is in the text, and never in an event */
                assert_int_equal(strncmp(text[i], ev.result->all[i].text, strlen(text[i])), 0);
                assert_true(ev.result->all[i].text_size - strlen(text[i]) < 4);
                assert_int_equal(finished[i], 1);
                assert_int_equal(scored[i], 1);
                assert_int_equal(n[i], (int)ev.result->all[i].n_logprobs);
                assert_memory_equal(top[i], ev.result->all[i].top_ids, (size_t)n[i] * sizeof top[0][0]);
                assert_memory_equal(top_lp[i], ev.result->all[i].top_logprobs, (size_t)n[i] * sizeof top_lp[0][0]);
                assert_memory_equal(id_lp[i], ev.result->all[i].id_logprobs, (size_t)n[i] * sizeof id_lp[0][0]);
            }
            fc_event_fini(&ev);
            break;
        }
        fc_event_fini(&ev);
    }
    fc_engine_close(e);
}

/* Names in no order, some the beginning of others: each is found, and nothing beside them. One that stands twice is
 * told. */
static void names_are_found(void **state) {
    static const char *const names[] = {"cycling", "art",         "arts",        "a",      "zoo",
                                        "Art",     "art\xC3\xA9", "board games", "cycling"};
    uint64_t id;
    static const struct {
        const char *text;
        int valid;
    } cases[] = {{"art", 1}, {"arts", 1}, {"artsy", 0}, {"ar", 0},          {"a", 1},
                 {"zoo", 1}, {"Art", 1},  {"zooz", 0},  {"art\xC3\xA9", 1}, {"board games", 1},
                 {"ART", 0}, {"b", 0},    {"0", 0},     {"cycling", 1},     {" art", 0}};
    enum { CASES = sizeof cases / sizeof *cases };
    fc_engine *e = two_models();
    fc_request r = text_request(prompt, 1, 1);
    fc_given given[CASES];
    fc_event ev;
    (void)state;
    for (int i = 0; i < CASES; i++) given[i] = (fc_given){.text = cases[i].text, .size = strlen(cases[i].text)};
    r.score = true;
    r.given = given;
    r.n_given = CASES;
    r.names = names;
    r.n_names = sizeof names / sizeof *names;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "the name \"cycling\" stands at 0 and 8");
    r.n_names--;
    ev = run_request(e, &r);
    for (int i = 0; i < CASES; i++)
        if (ev.result->all[i].valid != cases[i].valid)
            fail_msg("\"%s\": valid %d", cases[i].text, ev.result->all[i].valid);
    fc_event_fini(&ev);
    fc_engine_close(e);
}

/* If this fails, candidates of a SentencePiece model lose a blank where they part from their branch. */
static void a_text_is_that_of_its_ids(void **state) {
    static const struct {
        const char *from, *to;
    } files[] = {{"tests/data/models/llama/config.json", "config.json"},
                 {"tests/data/models/llama/model.safetensors", "model.safetensors"},
                 {"tests/data/tokenizer/llama2.json", "tokenizer.json"}};
    char folder[] = "/tmp/forkcast-test-XXXXXX", path[64], *here = realpath(".", NULL), from[4096];
    const int32_t ids[] = {1, 270, 280, 290};
    fc_request r = text_request("", 512, 8);
    fc_tokenizer *t;
    fc_engine *e;
    fc_event ev;
    int blanks = 0;
    (void)state;
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < 3; i++) {
        snprintf(from, sizeof from, "%s/%s", here, files[i].from);
        snprintf(path, sizeof path, "%s/%s", folder, files[i].to);
        assert_int_equal(symlink(from, path), 0);
    }
    free(here);
    assert_ok(fc_tokenizer_open(folder, &t));
    e = open_engine(&(fc_engine_options){.novelty = folder, .threads = 1, .ctx = 64});
    r.prompt = (fc_prompt){.ids = ids, .n_ids = 4};
    r.events = r.sampling.ignore_eos = true;
    ev = run_request(e, &r);
    for (int i = 0; i < ev.result->n_all; i++) {
        const fc_candidate *c = &ev.result->all[i];
        char *text;
        size_t size;
        assert_ok(fc_tokenizer_decode(t, c->tokens, c->n_tokens, false, &text, &size));
        assert_string_equal(c->text, text);
        for (size_t k = 1; k < size; k++) blanks += text[k] == ' ';
        fc_memory_free(text);
    }
    assert_true(blanks > 16); /* else nothing could have been lost */
    fc_event_fini(&ev);
    fc_engine_close(e);
    fc_tokenizer_close(t);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i].to);
        unlink(path);
    }
    rmdir(folder);
}

static void stops_and_lengths(void **state) {
    fc_engine *e = two_models();
    fc_request r = text_request(prompt, 1, 24);
    fc_event free_run, ev;
    char stop[8] = "";
    const char *stops[2] = {"\x01\x02\x03", stop};
    int32_t third;
    (void)state;
    r.sampling.temperature = 0;
    r.sampling.ignore_eos = true;
    free_run = run_request(e, &r);
    assert_int_equal(free_run.result->all[0].n_tokens, 24);
    assert_int_equal(free_run.result->all[0].finish, FC_FINISH_LENGTH);
    assert_int_equal(free_run.result->all[0].stop, -1);
    assert_int_equal(free_run.result->all[0].end_id, -1);
    third = free_run.result->all[0].tokens[2];
    r.sampling.stop_ids = &third; /* a stop token ends the candidate and is left out of tokens, not of logprob */
    r.sampling.n_stop_ids = 1;
    ev = run_request(e, &r);
    assert_int_equal(ev.result->all[0].finish, FC_FINISH_STOP);
    assert_true(ev.result->all[0].n_tokens <= 2);
    assert_int_equal(ev.result->all[0].n_logprobs, ev.result->all[0].n_tokens + 1);
    assert_int_equal(ev.result->all[0].stop, -1);
    assert_int_equal(ev.result->all[0].end_id, third);
    fc_event_fini(&ev);
    r.sampling.min_tokens = 5; /* forbidden until then: the greedy path changes, but does not end */
    ev = run_request(e, &r);
    assert_true(ev.result->all[0].n_logprobs >= 5);
    for (size_t i = 0; i < 4; i++) assert_int_not_equal(ev.result->all[0].tokens[i], third);
    fc_event_fini(&ev);
    r.sampling.n_stop_ids = 0;
    r.sampling.min_tokens = 0;
    memcpy(stop, free_run.result->all[0].text + 3, 2); /* two characters inside the text */
    r.sampling.stop = stops;
    r.sampling.n_stop = 2;
    for (int with_events = 0; with_events < 2; with_events++) {
        const char *first = strstr(free_run.result->all[0].text, stop);
        r.events = with_events;
        ev = run_request(e, &r);
        assert_int_equal(ev.result->all[0].finish, FC_FINISH_STOP);
        assert_int_equal(ev.result->all[0].text_size, (size_t)(first - free_run.result->all[0].text));
        assert_int_equal(ev.result->all[0].stop, 1);
        assert_int_equal(ev.result->all[0].end_id, -1);
        assert_memory_equal(ev.result->all[0].text, free_run.result->all[0].text, ev.result->all[0].text_size);
        fc_event_fini(&ev);
    }
    r.sampling.min_tokens = 24; /* until then a stop string is text like any other, and none of it is lost */
    r.events = true;
    ev = run_request(e, &r);
    assert_int_equal(ev.result->all[0].finish, FC_FINISH_LENGTH);
    assert_int_equal(ev.result->all[0].text_size, free_run.result->all[0].text_size);
    assert_memory_equal(ev.result->all[0].text, free_run.result->all[0].text, ev.result->all[0].text_size);
    fc_event_fini(&ev);
    fc_event_fini(&free_run);
    fc_engine_close(e);
}

/* What is held back because it may become a stop string is sent when the candidate ends instead. */
static void held_text_is_sent_at_the_end(void **state) {
    fc_engine *e = two_models();
    fc_request r = text_request(prompt, 1, 24);
    char sent[512] = "", stop[64];
    const char *stops[1] = {stop};
    fc_event free_run, ev;
    int32_t tenth;
    uint64_t id;
    (void)state;
    r.sampling.temperature = 0;
    r.sampling.ignore_eos = true;
    free_run = run_request(e, &r);
    tenth = free_run.result->all[0].tokens[9];
    r.sampling.stop_ids = &tenth;
    r.sampling.n_stop_ids = 1;
    ev = run_request(e, &r); /* up to the end token's first place */
    assert_int_equal(ev.result->all[0].finish, FC_FINISH_STOP);
    assert_true(ev.result->all[0].text_size >= 3);
    /* a stop string that the text's end begins, and that never completes */
    snprintf(stop, sizeof stop, "%s\x01", ev.result->all[0].text + ev.result->all[0].text_size - 3);
    fc_event_fini(&ev);
    r.sampling.stop = stops;
    r.sampling.n_stop = 1;
    r.events = true;
    assert_ok(fc_submit(e, &r, &id));
    for (bool done = false; !done;) {
        assert_ok(fc_poll(e, 60000, &ev));
        done = ev.type == FC_EVENT_DONE;
        if (ev.type == FC_EVENT_TOKEN) strncat(sent, ev.text, ev.text_size);
        if (done) assert_string_equal(sent, ev.result->all[0].text);
        fc_event_fini(&ev);
    }
    fc_event_fini(&free_run);
    fc_engine_close(e);
}

static void bias_and_top_logprobs(void **state) {
    fc_engine *e = two_models();
    fc_request r = text_request(prompt, 2, 6);
    int32_t ban;
    float minus = -INFINITY;
    fc_event ev;
    (void)state;
    r.sampling.temperature = 0;
    r.sampling.ignore_eos = true;
    r.sampling.top_logprobs = 5;
    ev = run_request(e, &r);
    for (size_t i = 0; i < ev.result->all[0].n_logprobs; i++) { /* greedy: the drawn id is the first alternative */
        assert_int_equal(ev.result->all[0].top_ids[i * 5], ev.result->all[0].tokens[i]);
        assert_true(ev.result->all[0].top_logprobs[i * 5] == ev.result->all[0].logprobs[i]);
        assert_true(ev.result->all[0].top_logprobs[i * 5] >= ev.result->all[0].top_logprobs[i * 5 + 4]);
    }
    ban = ev.result->all[0].tokens[0];
    fc_event_fini(&ev);
    r.sampling.bias_ids = &ban;
    r.sampling.bias_values = &minus;
    r.sampling.n_bias = 1;
    ev = run_request(e, &r);
    for (size_t i = 0; i < ev.result->all[0].n_tokens; i++) assert_int_not_equal(ev.result->all[0].tokens[i], ban);
    fc_event_fini(&ev);
    fc_engine_close(e);
}

static void wrong_requests_are_told_why(void **state) {
    fc_engine *e = two_models();
    fc_request good = text_request(prompt, 4, 8), r;
    const char *labels[2] = {"a", "a"}, *many[2] = {"several tokens", "no"};
    const char *empty_stop[1] = {""};
    int32_t id = 1 << 30;
    float bias = NAN;
    uint64_t job;
    (void)state;
#define REFUSED(change, words)                                                                                         \
    do {                                                                                                               \
        r = good;                                                                                                      \
        change;                                                                                                        \
        assert_fails(fc_submit(e, &r, &job), FC_ERR_ARG, words);                                                       \
    } while (0)
    REFUSED(r.n = 0, "n = 0");
    REFUSED(r.n = -3, "n = -3");
    REFUSED(r.n = 100000, "n = 100000");
    REFUSED(r.n = 2000, "max_branches");
    REFUSED(r.keep = -1, "keep = -1");
    REFUSED(r.sampling.temperature = NAN, "temperature = ");
    REFUSED(r.sampling.temperature = -1, "temperature = -1");
    REFUSED(r.sampling.temperature = INFINITY, "temperature = inf");
    REFUSED(r.sampling.top_p = 0, "top_p = 0");
    REFUSED(r.sampling.top_p = NAN, "top_p");
    REFUSED(r.sampling.top_k = -1, "top_k = -1");
    REFUSED(r.sampling.min_p = 2, "min_p = 2");
    REFUSED(r.sampling.typical_p = 0, "typical_p = 0");
    REFUSED(r.sampling.repetition_penalty = 0, "repetition_penalty = 0");
    REFUSED(r.sampling.presence_penalty = NAN, "presence_penalty");
    REFUSED(r.sampling.frequency_penalty = INFINITY, "frequency_penalty");
    REFUSED(r.sampling.max_tokens = 0, "max_tokens = 0");
    REFUSED(r.sampling.max_tokens = 1 << 20, "context of 128");
    REFUSED(r.sampling.min_tokens = 9, "min_tokens = 9");
    REFUSED(r.sampling.top_logprobs = 1000, "top_logprobs = 1000");
    REFUSED((r.sampling.stop_ids = &id, r.sampling.n_stop_ids = 1), "stop_token_ids: id 1073741824");
    REFUSED((r.sampling.bias_ids = &id, r.sampling.bias_values = &bias, r.sampling.n_bias = 1),
            "logit_bias: id 1073741824");
    REFUSED((r.sampling.stop = empty_stop, r.sampling.n_stop = 1), "stop: string 0 is empty");
    REFUSED(r.prompt = (fc_prompt){0}, "prompt: it is empty");
    REFUSED((r.prompt = (fc_prompt){.ids = &id, .n_ids = 1}), "prompt: id 1073741824 at place 0");
    REFUSED(r.end = "not one token", "end: \"not one token\" is");
    REFUSED((r.score = true, r.mode = (fc_score_mode)9), "mode = 9");
    REFUSED((r.score = true, r.mode = FC_SCORE_JUDGE, r.labels = labels, r.n_labels = 2), "are the same token");
    REFUSED((r.score = true, r.mode = FC_SCORE_JUDGE, r.labels = many, r.n_labels = 2), "must be exactly one");
    REFUSED((r.score = true, r.mode = FC_SCORE_JUDGE, r.labels = labels, r.n_labels = 1), "labels: 1");
    REFUSED((r.score = true, r.labels = many, r.n_labels = 2), "only mode judge");
    REFUSED((r.score = true, r.suffix = r.prompt), "suffix");
    REFUSED((r.given = &(fc_given){.text = "x", .size = 1}, r.n_given = 1, r.score = false), "score is off");
#undef REFUSED
    {
        static char long_text[4000];
        memset(long_text, 'x', sizeof long_text - 1);
        r = text_request(long_text, 2, 8);
        assert_fails(fc_submit(e, &r, &job), FC_ERR_ARG, "do not fit the context of 128");
    }
    { /* and the next request works */
        fc_event ev = run_request(e, &good);
        fc_event_fini(&ev);
    }
    fc_engine_close(e);
}

/* A classifier's checkpoint has no language head: it can score by its reward head, and nothing else. */
static void classifiers_do_not_speak(void **state) {
    fc_weights *w;
    fc_tok *tok;
    fc_model_config classifier;
    fc_job_rules rules = {.ctx = {128, 128}, .same_tokenizer = true, .max_branches = 64};
    fc_request r = text_request(prompt, 4, 8);
    fc_job *j;
    (void)state;
    assert_ok(fc_weights_open(tiny_model("llama", 2, true), &w));
    assert_ok(fc_model_tok_open(w, &tok));
    classifier = *fc_weights_config(w);
    classifier.no_lm_head = true;
    rules.tok[0] = rules.tok[1] = tok;
    rules.cfg[0] = &classifier;
    rules.cfg[1] = fc_weights_config(w);
    assert_fails(fc_job_open(&rules, &r, &j), FC_ERR_ARG, "cannot draw");
    rules.cfg[0] = fc_weights_config(w);
    rules.cfg[1] = &classifier;
    r.score = true;
    assert_fails(fc_job_open(&rules, &r, &j), FC_ERR_ARG, "use reward");
    r.mode = FC_SCORE_REWARD;
    assert_fails(fc_job_open(&rules, &r, &j), FC_ERR_ARG, "reward head");
    rules.reward = (const fc_weight *)&classifier; /* some head: nothing reads it here */
    assert_ok(fc_job_open(&rules, &r, &j));
    fc_job_close(j);
    fc_tok_close(tok);
    fc_weights_close(w);
}

/* A request that can be checked only while it runs ends alone: its neighbour in the batch goes on. */
static void one_bad_request_ends_alone(void **state) {
    fc_engine *e = two_models();
    fc_engine_info info;
    fc_request bad = text_request(prompt, 2, 8), good = text_request(prompt, 2, 8);
    uint64_t id[2];
    int32_t *all;
    float *ban;
    (void)state;
    fc_engine_describe(e, &info);
    all = calloc((size_t)info.novelty.vocab, sizeof *all);
    ban = calloc((size_t)info.novelty.vocab, sizeof *ban);
    for (int i = 0; i < info.novelty.vocab; i++) {
        all[i] = i;
        ban[i] = -INFINITY;
    }
    bad.sampling.bias_ids = all;
    bad.sampling.bias_values = ban;
    bad.sampling.n_bias = (size_t)info.novelty.vocab;
    assert_ok(fc_submit(e, &bad, &id[0]));
    assert_ok(fc_submit(e, &good, &id[1]));
    for (int i = 0; i < 2; i++) {
        fc_event ev;
        assert_ok(fc_poll(e, 60000, &ev));
        if (ev.id == id[0]) assert_int_equal(ev.status, FC_ERR_ARG);
        else assert_int_equal(ev.status, FC_OK);
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_pages_used(e), 0);
    free(all);
    free(ban);
    fc_engine_close(e);
}

static void pool_too_small_says_the_numbers(void **state) {
    fc_engine *e = open_engine(
        &(fc_engine_options){.novelty = tiny_model("llama", 1, false), .threads = 1, .ctx = 128, .kv_pool = 64 << 10});
    fc_request r = text_request(prompt, 64, 60);
    uint64_t id;
    fc_engine *none;
    (void)state;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "raise kv_pool to");
    fc_engine_close(e);
    assert_fails(fc_engine_open(&(fc_engine_options){.novelty = tiny_model("llama", 1, false), .kv_pool = 5}, &none),
                 FC_ERR_ARG, "kv_pool: 5 bytes");
    assert_fails(
        fc_engine_open(&(fc_engine_options){.novelty = tiny_model("llama", 1, false), .page_slots = 12}, &none),
        FC_ERR_ARG, "page_slots = 12");
    assert_fails(fc_engine_open(&(fc_engine_options){.novelty = tiny_model("llama", 1, false), .cpu = "mmx"}, &none),
                 FC_ERR_ARG, "mmx");
    assert_fails(
        fc_engine_open(&(fc_engine_options){.novelty = tiny_model("llama", 1, false), .backend = "cuda"}, &none),
        FC_ERR_UNSUPPORTED, "cuda");
    assert_fails(
        fc_engine_open(&(fc_engine_options){.novelty = tiny_model("llama", 1, false), .backend = "abacus"}, &none),
        FC_ERR_ARG, "abacus");
    assert_fails(fc_engine_open(&(fc_engine_options){.novelty = "/nowhere/x.gguf"}, &none), FC_ERR_IO,
                 "/nowhere/x.gguf");
}

/* If this hangs, a request was accepted that can never be admitted, and all behind it wait for ever. */
static void two_branches_are_needed_to_score(void **state) {
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = tiny_model("llama", 1, false),
                                                    .alignment = tiny_model("llama", 2, false),
                                                    .threads = 1,
                                                    .ctx = 128,
                                                    .max_branches = 1});
    fc_request r = text_request(prompt, 1, 4);
    fc_event ev;
    uint64_t id;
    (void)state;
    r.score = true;
    assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "needs 2 branches, and max_branches is 1");
    r.score = false;
    ev = run_request(e, &r);
    fc_event_fini(&ev);
    fc_engine_close(e);
}

/* A pool that holds one request at a time: the others wait, and all end. */
static void requests_wait_for_pages(void **state) {
    fc_engine *e = open_engine(&(fc_engine_options){
        .novelty = tiny_model("llama", 1, false), .threads = 2, .ctx = 64, .kv_pool = 300 << 10, .max_requests = 8});
    fc_request r = text_request(prompt, 8, 30);
    uint64_t id;
    (void)state;
    for (int i = 0; i < 8; i++) assert_ok(fc_submit(e, &r, &id));
    for (int i = 0; i < 8; i++) {
        fc_event ev;
        assert_ok(fc_poll(e, 60000, &ev));
        assert_int_equal(ev.status, FC_OK);
        fc_event_fini(&ev);
    }
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
}

static void cancel_drain_and_full_queue(void **state) {
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = tiny_model("llama", 1, false),
                                                    .alignment = tiny_model("llama", 2, false),
                                                    .threads = 1,
                                                    .ctx = 256,
                                                    .max_requests = 4});
    fc_request r = text_request(prompt, 32, 200);
    uint64_t id[4], more;
    int cancelled = 0;
    fc_event ev;
    (void)state;
    r.score = r.sampling.ignore_eos = true;
    for (int i = 0; i < 4; i++) assert_ok(fc_submit(e, &r, &id[i]));
    assert_fails(fc_submit(e, &r, &more), FC_ERR_FULL, "max_requests is 4");
    for (int i = 0; i < 3; i++) assert_ok(fc_cancel(e, id[i]));
    assert_ok(fc_cancel(e, 999)); /* unknown: fine */
    assert_ok(fc_drain(e));
    for (int i = 0; i < 4; i++) {
        assert_ok(fc_poll(e, 0, &ev));
        if (ev.status == FC_ERR_CANCELLED) cancelled++;
        else assert_int_equal(ev.status, FC_OK);
        fc_event_fini(&ev);
    }
    assert_true(cancelled >= 2 && cancelled <= 3);
    assert_fails(fc_poll(e, 0, &ev), FC_ERR_TIMEOUT, "no event");
    assert_fails(fc_submit(e, &r, &more), FC_ERR_FULL, "draining");
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
}

/* Closing with work in flight neither hangs nor leaks (LeakSanitizer looks). */
static void close_in_the_middle(void **state) {
    fc_engine *e = two_models();
    fc_request r = text_request(prompt, 16, 60);
    uint64_t id;
    (void)state;
    r.score = r.events = true;
    for (int i = 0; i < 6; i++) assert_ok(fc_submit(e, &r, &id));
    fc_engine_close(e);
    fc_engine_close(NULL);
}

static void *submitter(void *arg) {
    fc_request r = text_request(prompt, 3, 4);
    for (int i = 0; i < 10; i++) {
        uint64_t id;
        while (fc_submit(arg, &r, &id) == FC_ERR_FULL) continue;
    }
    return NULL;
}

static void many_threads_submit(void **state) {
    fc_engine *e = open_engine(
        &(fc_engine_options){.novelty = tiny_model("llama", 1, false), .threads = 2, .ctx = 64, .max_requests = 16});
    pthread_t t[3];
    (void)state;
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&t[i], NULL, submitter, e), 0);
    for (int i = 0; i < 30; i++) {
        fc_event ev;
        assert_ok(fc_poll(e, 60000, &ev));
        assert_int_equal(ev.status, FC_OK);
        fc_event_fini(&ev);
    }
    for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_is_ranked_and_counted),
        cmocka_unit_test(events_tell_the_whole_story),
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(a_text_is_that_of_its_ids),
        cmocka_unit_test(stops_and_lengths),
        cmocka_unit_test(held_text_is_sent_at_the_end),
        cmocka_unit_test(two_branches_are_needed_to_score),
        cmocka_unit_test(bias_and_top_logprobs),
        cmocka_unit_test(wrong_requests_are_told_why),
        cmocka_unit_test(classifiers_do_not_speak),
        cmocka_unit_test(one_bad_request_ends_alone),
        cmocka_unit_test(pool_too_small_says_the_numbers),
        cmocka_unit_test(requests_wait_for_pages),
        cmocka_unit_test(cancel_drain_and_full_queue),
        cmocka_unit_test(close_in_the_middle),
        cmocka_unit_test(many_threads_submit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
