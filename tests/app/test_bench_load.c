/* How requests are sent, against a target that only remembers what it was asked. */
#include "engine/app/bench/load.h"
#include "engine/base/os.h"
#include "tests/util.h"

#include <unistd.h>

enum { ROOM = 512 };

/* Answers the oldest request at every wait, or fails those that it is told to. */
typedef struct {
    bench_target base;
    bench_ask asked[ROOM];
    int tags[ROOM];
    int n, answered, most, refuse_from, fail_from, waits_before; /* waits without an answer, for each one with */
    int silent, send_ms;                                         /* a target that keeps who asks waiting */
    bool cancelled;
    double moved;
} fake;

static fc_status fake_send(bench_target *base, const bench_ask *ask, int tag) {
    fake *f = (fake *)base;
    if (f->n >= f->refuse_from) return FC_FAIL(FC_ERR_FULL, "the queue is at its bound");
    assert_true(f->n < ROOM);
    usleep((useconds_t)f->send_ms * 1000);
    f->asked[f->n] = *ask;
    f->tags[f->n++] = tag;
    if (f->n - f->answered > f->most) f->most = f->n - f->answered;
    return FC_OK;
}

static fc_status fake_wait(bench_target *base, int timeout_ms, int *tag, bench_sample *out) {
    fake *f = (fake *)base;
    if (f->answered == f->n || (!f->cancelled && f->silent < f->waits_before)) {
        f->silent++;
        usleep((useconds_t)(timeout_ms < 1 ? 1 : timeout_ms > 2 ? 2 : timeout_ms) * 1000);
        return FC_ERR_TIMEOUT;
    }
    f->silent = 0;
    bench_sample_init(out);
    out->ok = !f->cancelled && f->answered < f->fail_from;
    out->counts[COUNT_ROWS_PREFILL] = f->asked[f->answered].n;
    f->moved += 10;
    *tag = f->tags[f->answered++];
    return FC_OK;
}

static void fake_cancel(bench_target *base) { ((fake *)base)->cancelled = true; }
static void fake_work(bench_target *base, bench_work *out) {
    *out = (bench_work){.known = true, .bytes = ((fake *)base)->moved};
}

static fake make(void) {
    return (fake){
        .base = {.send = fake_send, .wait = fake_wait, .cancel = fake_cancel, .work = fake_work, .salts = true},
        .refuse_from = ROOM,
        .fail_from = ROOM};
}

static void closed_keeps_so_many_under_way(void **state) {
    fake f = make();
    bench_run run = {0};
    (void)state;
    assert_ok(bench_load_run(
        &f.base, &(bench_load){.n = 8, .requests = 20, .concurrency = 3, .seed = 5, .first = 100, .series = 2}, &run));
    assert_int_equal(f.most, 3);
    assert_int_equal(run.samples.n, 20);
    assert_true(run.work.known && run.work.bytes == 200);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(f.asked[i].n, 8);
        assert_int_equal(f.asked[i].prompt, 100 + i);
        assert_int_equal(f.asked[i].seed, 5 + i);
        assert_true(f.asked[i].salt == ((uint64_t)2 << 32) + (uint64_t)i);
        assert_true(run.samples.v[i].ms[PHASE_TOTAL] >= 0);
    }
    bench_run_fini(&run);
}

/* If this fails, an open loop waits for answers before it asks again, and a slow target looks fast. */
static void open_sends_whoever_waits(void **state) {
    fake f = make();
    bench_run run = {0};
    (void)state;
    f.waits_before = 40; /* nothing is answered until all were sent */
    assert_ok(bench_load_run(&f.base, &(bench_load){.n = 1, .requests = 30, .concurrency = 1, .rate = 20000, .seed = 3},
                             &run));
    assert_int_equal(run.samples.n, 30);
    assert_int_equal(f.most, 30);
    assert_false(run.gave_up);
    bench_run_fini(&run);
}

/* Latency counts from when a request was due: whoever was due first and answered later has waited longer. */
static void latency_counts_from_when_it_was_due(void **state) {
    fake f = make();
    bench_run run = {0};
    double least = 1e9, most = 0;
    (void)state;
    f.waits_before = 3; /* each answer comes after three waits, of which the last ones are long */
    assert_ok(
        bench_load_run(&f.base, &(bench_load){.n = 1, .requests = 12, .concurrency = 1, .rate = 1e6, .seed = 3}, &run));
    for (size_t i = 0; i < run.samples.n; i++) {
        double ms = run.samples.v[i].ms[PHASE_TOTAL];
        least = ms < least ? ms : least;
        most = ms > most ? ms : most;
    }
    print_message("latencies of %.1f to %.1f ms\n", least, most);
    assert_true(run.samples.v[11].ms[PHASE_TOTAL] >= 11 * 3 * 2); /* all were due in the first microseconds */
    bench_run_fini(&run);
}

/* The same where asking itself is held up: the client is late, and the request has waited all the same. */
static void a_late_client_is_no_excuse(void **state) {
    fake f = make();
    bench_run run = {0};
    (void)state;
    f.send_ms = 4;
    assert_ok(
        bench_load_run(&f.base, &(bench_load){.n = 1, .requests = 12, .concurrency = 1, .rate = 1e6, .seed = 3}, &run));
    assert_true(run.samples.v[11].ms[PHASE_TOTAL] >= 12 * 4);
    bench_run_fini(&run);
}

static void failures_are_samples(void **state) {
    fake f = make();
    bench_run run = {0};
    int refused = 0;
    (void)state;
    f.refuse_from = 7;
    f.fail_from = 5;
    assert_ok(bench_load_run(&f.base, &(bench_load){.n = 1, .requests = 10, .concurrency = 2, .seed = 1}, &run));
    assert_int_equal(run.samples.n, 10);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(run.samples.v[i].ok, i < 5);
        refused += strcmp(run.samples.v[i].why, "the queue is at its bound") == 0;
    }
    assert_int_equal(refused, 3);
    bench_run_fini(&run);
}

/* More than one in a hundred too late: the rest is not sent, and what is under way is cancelled. */
static void an_open_loop_gives_up(void **state) {
    fake f = make();
    bench_run run = {0};
    (void)state;
    f.waits_before = 2;
    assert_ok(bench_load_run(
        &f.base, &(bench_load){.n = 1, .requests = 200, .concurrency = 1, .rate = 50, .seed = 1, .give_up_ms = 1e-6},
        &run));
    assert_true(run.gave_up && f.cancelled && run.samples.n < 200);
    bench_run_fini(&run);
}

/* n requests of one, which may share a cache with one another and with nobody else. */
static void separate_requests(void **state) {
    fake f = make();
    const bench_load l = {.n = 300, .requests = 1, .concurrency = 1, .seed = 5, .first = 9, .series = 4};
    double seconds;
    (void)state;
    assert_ok(bench_load_separate(&f.base, &l, &seconds));
    assert_true(seconds >= 0);
    assert_int_equal(f.n, 300);
    assert_int_equal(f.most, 256);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(f.asked[i].n, 1);
        assert_int_equal(f.asked[i].prompt, 9);
        assert_true(f.asked[i].salt == f.asked[0].salt && f.asked[i].salt != (uint64_t)4 << 32);
        for (int k = 0; k < i; k++) assert_true(f.asked[k].seed != f.asked[i].seed);
    }
    f = make();
    f.fail_from = 3;
    assert_ok(bench_load_separate(&f.base, &(bench_load){.n = 4, .requests = 1, .concurrency = 1}, &seconds));
    assert_true(isnan(seconds));
    f = make();
    f.base.salts = false; /* its cache has just seen the prompt */
    assert_ok(bench_load_separate(&f.base, &l, &seconds));
    assert_int_not_equal(f.asked[0].prompt, 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_keeps_so_many_under_way),
        cmocka_unit_test(open_sends_whoever_waits),
        cmocka_unit_test(latency_counts_from_when_it_was_due),
        cmocka_unit_test(a_late_client_is_no_excuse),
        cmocka_unit_test(failures_are_samples),
        cmocka_unit_test(an_open_loop_gives_up),
        cmocka_unit_test(separate_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
