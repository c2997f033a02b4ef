/* What is reserved at open holds for every request: many candidates on few ids, cancels that come while others end. */
#include "engine/base/os.h"
#include "engine/engine.h"
#include "tests/engine/util_engine.h"

#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

static const char prompt[] = "The cat sat on the mat.";

/* If this fails (AddressSanitizer looks), the members of one branch outgrow the list that they are split in. */
static void more_candidates_than_ids(void **state) {
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = tiny_model_vocab("llama", 3, false, 300),
                                                    .threads = 1,
                                                    .ctx = 64,
                                                    .max_branches = 4096,
                                                    .kv_pool = 256 << 20});
    fc_request r = text_request(prompt, 4096, 2);
    fc_event ev;
    int votes = 0;
    (void)state;
    ev = run_request(e, &r);
    for (int i = 0; i < ev.result->n_kept; i++) votes += ev.result->kept[i].votes;
    assert_int_equal(votes, 4096);
    fc_event_fini(&ev);
    fc_engine_close(e);
}

/* Bytes of this process that lie in memory. */
static size_t resident(void) {
    unsigned long long all, in_memory;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%llu %llu", &all, &in_memory), 2);
    fclose(f);
    return (size_t)in_memory * (size_t)sysconf(_SC_PAGESIZE);
}

/* If this fails, requests wait for memory that was asked for at open, or an engine that was not told so takes it. */
static void kv_memory_is_there_when_told_so(void **state) {
    enum { POOL = 200 << 20 };
    (void)state;
    for (int touch = 0; touch < 2; touch++) {
        size_t before = resident(), more;
        fc_engine *e = open_engine(&(fc_engine_options){
            .novelty = tiny_model("llama", 1, false), .threads = 2, .ctx = 128, .kv_pool = POOL, .kv_touch = touch});
        more = resident() > before ? resident() - before : 0;
        assert_true(touch ? more > POOL / 10 * 9 : more < POOL / 2);
        fc_engine_close(e);
    }
}

/* ---- max_tokens that fit ---- */

static size_t fed; /* of the prompt last run */

static size_t drawn(fc_engine *e, const fc_request *r) {
    fc_event ev = run_request(e, r);
    size_t n = ev.result->all[0].n_logprobs;
    fed = ev.result->prompt_tokens;
    fc_event_fini(&ev);
    return n;
}

/* If this fails, a wish is refused that could be met in part, or more is drawn than the pool holds. */
static void max_tokens_that_fit(void **state) {
    enum { CTX = 128, POOL = 1 << 20 };
    fc_engine *e = open_engine(
        &(fc_engine_options){.novelty = tiny_model("llama", 3, false), .threads = 1, .ctx = CTX, .kv_pool = POOL});
    fc_request r = text_request(prompt, 64, 4096);
    size_t most;
    uint64_t id;
    (void)state;
    r.sampling.ignore_eos = true;
    assert_int_equal(fc_submit(e, &r, &id), FC_ERR_ARG);
    r.fit_max_tokens = true;
    most = drawn(e, &r);
    assert_true(most >= 1 && most < CTX - fed);
    r.fit_max_tokens = false;
    r.sampling.max_tokens = (int)most;
    assert_int_equal(drawn(e, &r), most);
    r.sampling.max_tokens = (int)most + 1;
    assert_int_equal(fc_submit(e, &r, &id), FC_ERR_ARG); /* it was the most */
    r.fit_max_tokens = true;
    r.sampling.max_tokens = (int)most - 1;
    assert_int_equal(drawn(e, &r), most - 1); /* and never more than is said */
    r.n = 1;
    r.sampling.max_tokens = 4096;
    assert_int_equal(drawn(e, &r), CTX - fed); /* the context's */
    r.sampling.min_tokens = CTX;
    assert_int_equal(fc_submit(e, &r, &id), FC_ERR_ARG);
    assert_non_null(strstr(fc_last_error(), "do not fit the context of 128, which ctx sets"));
    fc_engine_close(e);
}

static void batches_are_counted_by_size(void **state) {
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = tiny_model("llama", 3, false), .threads = 1});
    fc_request r = text_request(prompt, 1, 4);
    fc_engine_counts c;
    fc_event ev;
    int64_t sum = 0;
    (void)state;
    r.sampling.ignore_eos = true;
    ev = run_request(e, &r);
    do fc_engine_count(e, &c);
    while (c.running); /* told behind the step that made the event */
    for (size_t i = 0; i < sizeof c.batches_of / sizeof *c.batches_of; i++) sum += c.batches_of[i];
    assert_int_equal(sum, c.batches);
    assert_int_equal(c.batches_of[0], 3); /* each token but the last, fed alone */
    assert_in_range(ev.result->prompt_tokens, 9, 16);
    assert_int_equal(c.batches_of[2], 1);
    assert_int_equal(c.batch_rows, (int64_t)ev.result->prompt_tokens + 3);
    fc_event_fini(&ev);
    fc_engine_close(e);
}

/* ---- cancels that come while a step is under way: the CPU backend, whose draws wait for the test ---- */

static fc_status (*cpu_draw)(fc_stream s, const fc_head_draw_args *a);
static atomic_int draws, allowed; /* begun so far; how many may go on */

static fc_status waiting_draw(fc_stream s, const fc_head_draw_args *a) {
    int mine = atomic_fetch_add(&draws, 1);
    while (atomic_load(&allowed) <= mine) sched_yield();
    return cpu_draw(s, a);
}

static fc_status open_waiting(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    FC_TRY(fc_backend_open_cpu(level, threads, limits, out));
    cpu_draw = (*out)->head_draw;
    (*out)->head_draw = waiting_draw;
    return FC_OK;
}

static void submit_and_cancel(fc_engine *e, const fc_request *r) {
    uint64_t id;
    assert_ok(fc_submit(e, r, &id));
    assert_ok(fc_cancel(e, id));
}

/* If this fails (AddressSanitizer looks), a request that ends in the step in which it is cancelled stays in the list of
 * cancels, whose room is that of the requests: the next ones in its place are written behind its end. */
static void cancels_never_outnumber_requests(void **state) {
    enum { REQUESTS = 256 };
    const int32_t id = 65;
    fc_request r = text_request(prompt, 1, 1);
    uint64_t ids[REQUESTS];
    fc_engine *e;
    int cancelled = 0;
    (void)state;
    r.prompt = (fc_prompt){.ids = &id, .n_ids = 1};
    assert_ok(fc_engine_open_on(
        &(fc_engine_options){
            .novelty = tiny_model("llama", 1, false), .threads = 1, .ctx = 64, .max_requests = REQUESTS},
        open_waiting, &e));
    assert_ok(fc_submit(e, &r, &ids[0]));
    while (atomic_load(&draws) < 1) sched_yield(); /* the first step is under way: the others come into the second */
    for (int i = 1; i < REQUESTS; i++) assert_ok(fc_submit(e, &r, &ids[i]));
    atomic_store(&allowed, 1);
    while (atomic_load(&draws) < 2) sched_yield();
    for (int i = 0; i < REQUESTS; i++) assert_ok(fc_cancel(e, ids[i]));
    atomic_store(&allowed, INT_MAX);
    for (int i = 0; i < 2 * REQUESTS; i++) { /* while that step ends all of them */
        fc_event ev;
        assert_ok(fc_poll(e, 60000, &ev));
        cancelled += ev.status == FC_ERR_CANCELLED;
        fc_event_fini(&ev);
        if (i < REQUESTS) submit_and_cancel(e, &r);
    }
    assert_true(cancelled > 0);
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
}

/* If this fails, the system ends the process at hour ten, when more pages are touched than the machine has. */
static void memory_that_is_not_there_is_refused(void **state) {
    const uint64_t ram = fc_ram_bytes(), most_pages = 1 << 24;
    fc_engine_options o = {.novelty = tiny_model("llama", 1, false),
                           .alignment = tiny_model("llama", 2, false),
                           .threads = 1,
                           .ctx = 64,
                           .page_slots = 64,
                           .kv_type = "f32"};
    fc_engine_info info;
    fc_engine *e;
    (void)state;
    e = open_engine(&o);
    fc_engine_describe(e, &info);
    fc_engine_close(e);
    o.kv_pool = (most_pages + 1) * info.novelty.kv_page_bytes;
    assert_fails(fc_engine_open(&o, &e), FC_ERR_ARG, "is too large: 16777217 pages");
    if (ram == 0 || ram / info.novelty.kv_page_bytes > most_pages) {
        printf("skipped: pools of %llu bytes cannot be asked for\n", (unsigned long long)ram);
        return;
    }
    o.kv_pool = ram / 2 + ram / 8; /* one would fit */
    assert_fails(fc_engine_open(&o, &e), FC_ERR_MEM, "kv_pool: 2 pools");
    o.kv_pool = ram - info.novelty.weight_bytes; /* beside its weights it does, but not with the last page */
    o.alignment = NULL;
    e = open_engine(&o);
    fc_engine_close(e);
    o.kv_pool += info.novelty.kv_page_bytes;
    assert_fails(fc_engine_open(&o, &e), FC_ERR_MEM, "kv_pool: 1 pool of");
}

/* If this fails, what scoring keeps beside the pool, and cached scores, are touched at hour ten. */
static void memory_of_scoring_is_counted(void **state) {
    const uint64_t ram = fc_ram_bytes(), cache = fc_score_cache_bytes(64 << 20);
    const uint64_t states = 64 * 64 * sizeof(float); /* slots of a page, D of a tiny model */
    const char *model = tiny_model("llama", 1, false);
    fc_engine_options o = {
        .novelty = model, .alignment = model, .threads = 1, .ctx = 64, .page_slots = 64, .score_cache = cache};
    uint64_t page, pages;
    fc_engine_info info;
    fc_engine *e;
    (void)state;
    e = open_engine(&o);
    fc_engine_describe(e, &info);
    fc_engine_close(e);
    assert_true(info.shared_model);
    page = info.novelty.kv_page_bytes;
    pages = (ram - cache - info.novelty.weight_bytes) / (page + states);
    if (ram == 0 || pages >= 1 << 24) {
        printf("skipped: pools of %llu bytes cannot be asked for\n", (unsigned long long)ram);
        return;
    }
    o.kv_pool = pages * page;
    e = open_engine(&o);
    fc_engine_close(e);
    o.kv_pool += page;
    assert_fails(fc_engine_open(&o, &e), FC_ERR_MEM, ", kept hidden states of ");
    o.kv_pool -= page;
    o.score_cache += page + states;
    assert_fails(fc_engine_open(&o, &e), FC_ERR_MEM, ", a score cache of ");
    o.off = FC_OFF_SCORE_CACHE; /* it takes nothing */
    e = open_engine(&o);
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_candidates_than_ids),
        cmocka_unit_test(kv_memory_is_there_when_told_so),
        cmocka_unit_test(max_tokens_that_fit),
        cmocka_unit_test(batches_are_counted_by_size),
        cmocka_unit_test(cancels_never_outnumber_requests),
        cmocka_unit_test(memory_that_is_not_there_is_refused),
        cmocka_unit_test(memory_of_scoring_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
