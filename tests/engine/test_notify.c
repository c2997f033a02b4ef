/* An engine in somebody else's loop: it says that events wait, and what it has done, and nobody waits for it. */
#include "tests/engine/util_engine.h"

#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void wake(void *arg) {
    const uint64_t one = 1;
    if (write(*(int *)arg, &one, sizeof one) != (ssize_t)sizeof one) abort();
}

/* Waits for the word, then takes what is there. Returns how many requests ended; adds up their rows. */
static int take(fc_engine *e, int fd, int64_t rows[3]) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t count;
    fc_event ev;
    int ended = 0;
    fc_status st;
    assert_int_equal(poll(&p, 1, 60000), 1);
    assert_int_equal(read(fd, &count, sizeof count), sizeof count);
    while ((st = fc_poll(e, 0, &ev)) == FC_OK) {
        if (ev.type == FC_EVENT_DONE) {
            assert_int_equal(ev.status, FC_OK);
            rows[0] += ev.result->accounting.rows_prefill;
            rows[1] += ev.result->accounting.rows_decode;
            rows[2] += ev.result->accounting.rows_score;
            ended++;
        }
        fc_event_fini(&ev);
    }
    assert_int_equal(st, FC_ERR_TIMEOUT);
    return ended;
}

/* If this fails, a server sleeps while an answer waits, or its metrics are not what was computed. */
static void events_are_announced_and_counted(void **state) {
    const char *path = tiny_model("llama", 1, false);
    fc_engine *e = open_engine(&(fc_engine_options){.novelty = path, .alignment = path, .threads = 1, .ctx = 128});
    fc_request r = text_request("The cat sat on the mat.", 4, 8);
    int fd = eventfd(0, 0), ended = 0;
    int64_t rows[3] = {0};
    fc_engine_counts c;
    uint64_t id;
    (void)state;
    fc_engine_notify(e, wake, &fd);
    r.score = r.events = true;
    for (int i = 0; i < 20; i++) {
        r.seed = (uint64_t)i;
        assert_ok(fc_submit(e, &r, &id));
        if (i % 5 == 0) ended += take(e, fd, rows);
    }
    while (ended < 20) ended += take(e, fd, rows);
    fc_engine_notify(e, NULL, NULL);
    assert_ok(fc_drain(e));
    for (int i = 0; i < 1000; i++) { /* the last step says so a moment after its last event */
        fc_engine_count(e, &c);
        if (!c.running) break;
        usleep(1000);
    }
    assert_int_equal(c.running + c.waiting + c.pages_used, 0);
    assert_true(c.pages > 0 && c.steps >= c.batches && c.batches > 0);
    assert_int_equal(c.rows_prefill, rows[0]);
    assert_int_equal(c.rows_decode, rows[1]);
    assert_int_equal(c.rows_score, rows[2]);
    assert_true(c.prefix_hit > 0 && c.prefix_hit < c.prefix_asked); /* 20 requests of one prompt */
    close(fd);
    fc_engine_close(e);
}

/* Events that came before somebody listened are announced at once. */
static void late_listeners_are_told(void **state) {
    fc_engine *e =
        open_engine(&(fc_engine_options){.novelty = tiny_model("llama", 1, false), .threads = 1, .ctx = 128});
    fc_request r = text_request("x", 1, 2);
    int fd = eventfd(0, EFD_NONBLOCK);
    int64_t rows[3] = {0};
    uint64_t id;
    (void)state;
    assert_ok(fc_submit(e, &r, &id));
    assert_ok(fc_drain(e));
    fc_engine_notify(e, wake, &fd);
    assert_int_equal(take(e, fd, rows), 1);
    close(fd);
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_announced_and_counted),
        cmocka_unit_test(late_listeners_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
