/* Two batches under way at once: which go, on a backend that delivers late. */
#include "tests/engine/util_engine.h"
#include "tests/engine/util_late.h"

enum { LONG = 64, SHORT = 24 };

static void submit(fc_engine *e, const char *prompt, int tokens, bool events) {
    fc_request r = text_request(prompt, 2, tokens);
    uint64_t id;
    r.sampling.ignore_eos = true;
    r.events = events;
    assert_ok(fc_submit(e, &r, &id));
}

static fc_event_type next(fc_engine *e) {
    fc_event ev;
    fc_event_type type;
    assert_ok(fc_poll(e, ENGINE_PATIENCE, &ev));
    assert_ok(ev.status);
    type = ev.type;
    fc_event_fini(&ev);
    return type;
}

/* A request that comes while another's batch is under way. If this fails, each of them decodes in batches of its own
 * from then on, and every step reads the weights twice. */
static void requests_that_come_later_decode_in_the_same_batches(void **state) {
    const fc_engine_options o = {.novelty = tiny_model("llama", 1, false), .threads = 1, .ctx = 256};
    fc_engine *e = NULL;
    int done = 0;
    (void)state;
    assert_ok(fc_engine_open_on(&o, late_backend_open, &e));
    submit(e, "The first", LONG, true);
    while (next(e) != FC_EVENT_TOKEN) {
    }
    submit(e, "The second", SHORT, false);
    while (done < 2) done += next(e) == FC_EVENT_DONE;
    printf("%lld batches\n", (long long)fc_engine_stats(e).batches);
    assert_in_range(fc_engine_stats(e).batches, LONG, LONG + 4);
    fc_engine_close(e);
}

/* A prompt of many batches beside a request that decodes: a token of that in each. If this fails, batches of the prompt
 * alone go in between, and whoever decodes waits for two of them a token. */
static void a_long_prompt_does_not_hold_up_who_decodes(void **state) {
    enum { ROWS = 16, PROMPT = 240 };
    static int32_t ids[PROMPT];
    const fc_engine_options o = {
        .novelty = tiny_model("llama", 1, false), .threads = 1, .ctx = 256, .max_rows = ROWS, .kv_pool = 8 << 20};
    fc_request r = text_request("", 1, 2);
    fc_engine *e = NULL;
    uint64_t id;
    int done = 0;
    (void)state;
    for (int i = 0; i < PROMPT; i++) ids[i] = 40 + i * 7 % 200;
    r.prompt = (fc_prompt){.ids = ids, .n_ids = PROMPT};
    assert_ok(fc_engine_open_on(&o, late_backend_open, &e));
    submit(e, "The first", LONG, true);
    while (next(e) != FC_EVENT_TOKEN) {
    }
    assert_ok(fc_submit(e, &r, &id));
    while (done < 2) done += next(e) == FC_EVENT_DONE;
    printf("%lld batches\n", (long long)fc_engine_stats(e).batches);
    assert_in_range(fc_engine_stats(e).batches, LONG, LONG + 4);
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(requests_that_come_later_decode_in_the_same_batches),
                                       cmocka_unit_test(a_long_prompt_does_not_hold_up_who_decodes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
