#include "tests/engine/util_vary.h"

#include "engine/engine.h"
#include "tests/engine/util_late.h"

#include <sched.h>
#include <stdatomic.h>

const char *vary_model(void) { return tiny_model("llama", 1, false); }

int vary_encode(const char *text, int32_t *out, int max) {
    fc_tokenizer *t;
    int32_t *ids;
    size_t n;
    assert_ok(fc_tokenizer_open(vary_model(), &t));
    assert_ok(fc_tokenizer_encode(t, text, strlen(text), false, false, &ids, &n));
    assert_true(n <= (size_t)max);
    memcpy(out, ids, n * sizeof *ids);
    fc_memory_free(ids);
    fc_tokenizer_close(t);
    return (int)n;
}

int32_t vary_one_id(const char *text) {
    int32_t id[8];
    assert_int_equal(vary_encode(text, id, 8), 1);
    return id[0];
}

/* ---- the same bits, however it runs ---- */

int64_t vary_replayed;

void vary_same_candidates(const char *what, const fc_result *got, const fc_result *want) {
    for (int i = 0; i < got->n_all; i++) {
        const fc_candidate *a = &got->all[i], *b = &want->all[i];
        assert_same_candidate(what, a, b);
        assert_int_equal(a->text_size, b->text_size);
        assert_memory_equal(a->text, b->text, a->text_size);
        assert_int_equal(a->n_ids, b->n_ids);
        if (a->n_ids) assert_memory_equal(a->id_logprobs, b->id_logprobs, a->n_logprobs * (size_t)a->n_ids * 4);
        if (a->top_n) assert_memory_equal(a->top_logprobs, b->top_logprobs, a->n_logprobs * (size_t)a->top_n * 4);
    }
}

static void compare(const char *what, fc_engine *e, const fc_request *r, int n, const fc_result *want,
                    vary_same_fn same) {
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

static fc_status (*cpu_embed)(fc_stream s, const fc_embed_args *a);
static atomic_bool begun, gate;

static fc_status held_embed(fc_stream s, const fc_embed_args *a) {
    atomic_store(&begun, true);
    while (!atomic_load(&gate)) sched_yield();
    return cpu_embed(s, a);
}

static fc_status open_held(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    FC_TRY(fc_backend_open_cpu(level, threads, limits, out));
    cpu_embed = (*out)->embed;
    (*out)->embed = held_embed;
    return FC_OK;
}

fc_engine *vary_open_held(const fc_engine_options *o) {
    fc_engine *e = NULL;
    atomic_store(&begun, false);
    atomic_store(&gate, false);
    assert_ok(fc_engine_open_on(o, open_held, &e));
    return e;
}

void vary_wait_begun(void) {
    while (!atomic_load(&begun)) sched_yield();
}

void vary_go(void) { atomic_store(&gate, true); }

/* The request gives way to others of a higher rank, in a pool that has no room for all. */
static void compare_preempted(fc_engine_options o, const fc_request *r, const fc_result *want, vary_same_fn same) {
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
    e = vary_open_held(&o);
    low.priority = 1;
    for (int i = 0; i < OTHERS; i++) {
        others[i] = text_request("abc abc abc abc abc", 16, 40);
        others[i].seed = (uint64_t)i;
        others[i].sampling.ignore_eos = true;
        assert_ok(fc_submit(e, &others[i], &ignored));
        if (i > 0) continue;
        vary_wait_begun();
        assert_ok(fc_submit(e, &low, &id));
    }
    vary_go();
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
    vary_replayed += replayed;
    fc_engine_close(e);
}

fc_event vary_request(const char *what, const fc_request *r, vary_same_fn same) {
    fc_engine_options o = {.novelty = vary_model(), .threads = 2, .kv_type = "f32", .ctx = 256};
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

void vary_refused(const fc_request *r, const char *words) {
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = vary_model(), .threads = 1, .ctx = 256});
    uint64_t id;
    assert_fails(fc_submit(e, r, &id), FC_ERR_ARG, words);
    fc_engine_close(e);
}

void vary_fails_later(const fc_request *r, const char *words) {
    for (int off = 0; off < 2; off++) {
        fc_engine *e = open_engine(
            &(fc_engine_options){.novelty = vary_model(), .threads = 1, .ctx = 256, .off = off ? FC_OFF_ALL : 0});
        fc_request fine = text_request(vary_prompt, 2, 4);
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
