/* Models split over 1, 2 and 4 ranks: every operator on each rank's part, sums and joins between them, against the CPU
 * backend itself; what comes of a rank that fails.
 *
 * tolerance  util_ranks.h
 */
#include "tests/engine/util_ranks.h"

#include "kernels/cpu/backend_cpu.h"
#include "tests/engine/util_heads.h"

static void answer(const fc_engine_options *given, const fc_request *r, fc_backend_opener opener, fc_event *out) {
    fc_engine_options o = *given;
    fc_engine *e;
    o.threads = 1;
    assert_ok(fc_engine_open_on(&o, opener, &e));
    *out = run_request(e, r);
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
}

static void ranks_answer_as_one_backend_does(void **state) {
    static const int counts[] = {1, 2, 4};
    (void)state;
    for (int i = 0; i < RANKS_JOBS; i++) {
        const ranks_job *j = &ranks_jobs()[i];
        fc_event want, got;
        answer(&j->o, &j->r, NULL, &want);
        for (int k = 0; k < 3; k++) {
            ranks_n = counts[k];
            answer(&j->o, &j->r, ranks_backend_open, &got);
            ranks_same(j->name, got.result, want.result);
            for (int c = 0; counts[k] == 1 && c < got.result->n_all; c++)
                assert_same_candidate(j->name, &got.result->all[c], &want.result->all[c]);
            fc_event_fini(&got);
        }
        fc_event_fini(&want);
    }
}

/* Tiles of ids, wherever they lie, are summed and folded alike. */
static void shared_vocabularies_have_the_same_bits(void **state) {
    static const fc_dtype types[] = {FC_F32, FC_BF16, FC_Q8_0};
    const fc_op_limits limits = {.rows = HEADS_ROWS, .cols = HEADS_D, .vocab = HEADS_V};
    fc_backend *one, *ranks;
    (void)state;
    for (ranks_n = 2; ranks_n <= 5; ranks_n++) {
        assert_ok(fc_backend_open_cpu(FC_CPU_AUTO, 1, &limits, &one));
        assert_ok(ranks_backend_open(FC_CPU_AUTO, 1, &limits, &ranks));
        for (int i = 0; i < 3; i++) heads_same("heads", one, ranks, types[i], i == 1 ? 30.0f : 0.0f);
        fc_backend_close(ranks);
        fc_backend_close(one);
    }
}

/* More calls than the ring holds, of which ranks are through none at first. */
static void a_ring_that_is_full_waits(void **state) {
    enum { CALLS = 30000, N = 16 };
    float x[N], y[N];
    fc_backend *be;
    void *dev;
    (void)state;
    ranks_n = 2;
    for (int i = 0; i < N; i++) x[i] = (float)(i + 1);
    assert_ok(ranks_backend_open(FC_CPU_AUTO, 1, &(fc_op_limits){.rows = 1, .cols = N, .vocab = N}, &be));
    assert_ok(be->alloc(be, sizeof x, "x", &dev));
    assert_ok(be->upload(be, dev, x, sizeof x));
    for (int i = 0; i < CALLS; i++)
        assert_ok(be->softcap(be->stream, &(fc_softcap_args){.x = dev, .n = 1, .cap = 1e9f}));
    assert_ok(be->sum(be->stream, &(fc_sum_args){.y = dev, .n = N}));
    assert_ok(be->download(be, y, dev, sizeof y));
    assert_ok(be->sync(be));
    for (int i = 1; i < N; i++) assert_true(y[i] == 2 * x[i]);
    be->free(be, dev);
    fc_backend_close(be);
}

/* A candidate is the same whatever else is in the batch, since ranks' sums are added in the order of ranks. */
static void a_candidate_does_not_depend_on_the_batch(void **state) {
    const ranks_job *j = &ranks_jobs()[1];
    fc_request alone = j->r;
    fc_event all, one;
    (void)state;
    ranks_n = 4;
    alone.n = 1;
    alone.keep = 1;
    answer(&j->o, &j->r, ranks_backend_open, &all);
    answer(&j->o, &alone, ranks_backend_open, &one);
    assert_same_candidate("alone", &one.result->all[0], &all.result->all[0]);
    fc_event_fini(&one);
    fc_event_fini(&all);
}

/* The request ends with the rank's own sentence, and the next one works. If this fails, a rank waits for one that
 * failed, or for ever after all do. */
static void a_rank_that_fails_ends_the_request_alone(void **state) {
    const ranks_job *j = &ranks_jobs()[1];
    fc_engine_options o = j->o;
    (void)state;
    ranks_n = 2;
    o.threads = 1;
    for (int rank = 0; rank < 2; rank++)
        for (int in = 0; in < 6; in++) {
            fc_event want, ev;
            fc_engine *e;
            uint64_t id;
            ranks_failing = rank;
            ranks_fail_in = 1 << 20;
            assert_ok(fc_engine_open_on(&o, ranks_backend_open, &e));
            want = run_request(e, &j->r);
            ranks_fail_in = in;
            assert_ok(fc_submit(e, &j->r, &id));
            do {
                assert_ok(fc_poll(e, ENGINE_PATIENCE, &ev));
                if (ev.type == FC_EVENT_DONE) break;
                fc_event_fini(&ev);
            } while (true);
            assert_int_equal(ev.status, FC_ERR_MEM);
            assert_non_null(strstr(ev.error, "told to fail"));
            fc_event_fini(&ev);
            ev = run_request(e, &j->r);
            ranks_same("behind a failure", ev.result, want.result);
            fc_event_fini(&ev);
            fc_event_fini(&want);
            fc_engine_close(e);
        }
    ranks_failing = -1;
}

/* What cannot be shared is refused with the numbers. */
static void shapes_that_cannot_be_shared_are_refused(void **state) {
    fc_engine_options o = {.novelty = tiny_model("llama", 1, false), .ctx = 64, .threads = 1, .kv_pool = 1 << 20};
    fc_engine *e;
    (void)state;
    ranks_n = 3;
    assert_fails(fc_engine_open_on(&o, ranks_backend_open, &e), FC_ERR_UNSUPPORTED,
                 "4 heads cannot be shared by 3 GPUs");
    ranks_n = 8;
    assert_fails(fc_engine_open_on(&o, ranks_backend_open, &e), FC_ERR_UNSUPPORTED,
                 "4 heads cannot be shared by 8 GPUs");
    ranks_n = 4; /* 64 columns of heads, 16 a rank */
    o.novelty = tiny_model_typed("llama", 1, FC_Q8_0);
    assert_fails(fc_engine_open_on(&o, ranks_backend_open, &e), FC_ERR_UNSUPPORTED, "Q8_0 has blocks of 32");
}

static void refused(const char *text, const char *words) {
    fc_gpu_list lists[2];
    assert_fails(fc_gpus_parse(text, lists), FC_ERR_ARG, words);
}

static void lists_of_gpus_are_read(void **state) {
    fc_gpu_list l[2];
    (void)state;
    assert_ok(fc_gpus_parse(NULL, l));
    assert_true(l[0].n == 0 && l[1].n == 0);
    assert_ok(fc_gpus_parse("0,2,1", l));
    assert_true(l[0].n == 3 && l[1].n == 3 && l[0].device[1] == 2 && l[1].device[2] == 1);
    assert_ok(fc_gpus_parse("alignment=2,3 novelty=0,1", l));
    assert_true(l[0].n == 2 && l[0].device[0] == 0 && l[1].device[1] == 3 && !fc_gpus_same(&l[0], &l[1]));
    assert_ok(fc_gpus_parse("novelty=0;alignment=0", l));
    assert_true(fc_gpus_same(&l[0], &l[1]));
    refused("", "it has no novelty=");
    refused("1,", "is no number");
    refused("0,0", "0 is there twice");
    refused("-1", "it is 0,1 or");
    refused("0,1 x", "\"x\" follows the list");
    refused("0 1", "\"1\" follows the list");
    refused("0x", "\"x\" follows a number");
    refused("0,1,2,3,4,5,6,7,8", "8 GPUs at most");
    refused("novelty=0", "it has no alignment=");
    refused("novelty=0 novelty=1", "novelty= is there twice");
    refused("novelty=0,1 alignment=1", "1 is of both models");
    refused("tp=2", "\"tp=2\"; it is");
    refused("99999999999999999999", "is no number");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_answer_as_one_backend_does),
        cmocka_unit_test(shared_vocabularies_have_the_same_bits),
        cmocka_unit_test(a_ring_that_is_full_waits),
        cmocka_unit_test(a_candidate_does_not_depend_on_the_batch),
        cmocka_unit_test(a_rank_that_fails_ends_the_request_alone),
        cmocka_unit_test(shapes_that_cannot_be_shared_are_refused),
        cmocka_unit_test(lists_of_gpus_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
