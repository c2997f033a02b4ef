/* Many requests with random cancels, from several threads' point of view one after another: every page comes back, and
 * memory does not grow.
 *
 *   test_cancels [REQUESTS [SEED]]
 */
#include "engine/base/mem.h"
#include "engine/engine.h"
#include "tests/engine/util_engine.h"

#include <stdlib.h>
#include <unistd.h>

enum { IN_FLIGHT = 24 };

static int n_requests;
static uint64_t seed = 20261126;

static long resident_pages(void) {
    FILE *f = fopen("/proc/self/statm", "r");
    long total = 0, resident = 0;
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &total, &resident), 2);
    fclose(f);
    return resident;
}

typedef struct {
    fc_engine *e;
    uint64_t ids[IN_FLIGHT];
    int n, done, cancelled;
} crowd;

static void submit(crowd *c) {
    static const char *const texts[] = {"the night", "the house of the craft", "a naive story about the craft of beer",
                                        "x"};
    static const char *const names[] = {"the night", "the house", "craft", "craft beer"};
    fc_request r = text_request(texts[test_below(&seed, 4)], 1 + test_below(&seed, 6), 1 + test_below(&seed, 24));
    r.score = test_below(&seed, 2);
    r.seed = seed;
    r.priority = test_below(&seed, 3);
    if (test_below(&seed, 3) == 0) {
        r.names = names;
        r.n_names = 4;
        r.constraint = test_below(&seed, 2) ? FC_CONSTRAINT_MASK : FC_CONSTRAINT_REJECT;
        if (r.constraint == FC_CONSTRAINT_MASK && r.sampling.max_tokens < 8)
            r.sampling.max_tokens = 8; /* the longest name */
    }
    assert_ok(fc_submit(c->e, &r, &c->ids[c->n++]));
}

static void take_one(crowd *c) {
    fc_event ev;
    int i = 0;
    assert_ok(fc_poll(c->e, 60000, &ev));
    assert_int_equal(ev.type, FC_EVENT_DONE);
    while (c->ids[i] != ev.id) i++;
    c->ids[i] = c->ids[--c->n];
    if (ev.status && ev.status != FC_ERR_CANCELLED) fail_msg("request %llu: %s", (unsigned long long)ev.id, ev.error);
    c->cancelled += ev.status == FC_ERR_CANCELLED;
    c->done++;
    fc_event_fini(&ev);
}

/* If this fails, a cancelled request keeps its KV memory or leaks: a server dies of its clients' impatience. */
static void every_page_comes_back(void **state) {
    fc_engine_options o = {.novelty = tiny_model("llama", 1, false),
                           .alignment = tiny_model("llama", 2, false),
                           .threads = 2,
                           .ctx = 128,
                           .page_slots = 8,
                           .max_branches = 96,
                           .kv_pool = 1 << 20};
    crowd c = {.e = open_engine(&o)};
    fc_engine_info info;
    long half = 0;
    int submitted = 0;
    (void)state;
    fc_engine_describe(c.e, &info);
    fc_engine_close(c.e);
    o.kv_pool = 44 * info.novelty.kv_page_bytes; /* the largest request fits, and some must give way */
    c.e = open_engine(&o);
    print_message("seed %llu, %d requests\n", (unsigned long long)seed, n_requests);
    while (c.done < n_requests) {
        while (submitted < n_requests && c.n < IN_FLIGHT) {
            submit(&c);
            submitted++;
            if (test_below(&seed, 2) == 0) assert_ok(fc_cancel(c.e, c.ids[test_below(&seed, c.n)]));
        }
        take_one(&c);
        if (c.done == n_requests / 2) half = resident_pages();
    }
    assert_int_equal(fc_engine_pages_used(c.e), 0);
    print_message("%d cancelled, %lld preempted; resident pages: %ld at half, %ld at the end\n", c.cancelled,
                  (long long)fc_engine_stats(c.e).preemptions, half, resident_pages());
    assert_true(c.cancelled > n_requests / 10);
    assert_true(fc_engine_stats(c.e).preemptions > n_requests / 100);
#if !TEST_WATCHED                                            /* which keeps what was freed for a while */
    assert_true(resident_pages() <= half + half / 20 + 256); /* a page a request would be far above */
#endif
    fc_engine_close(c.e);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_page_comes_back)};
    n_requests = argc > 1 ? atoi(argv[1]) : test_cases(10000);
    if (argc > 2) seed = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
