/* Draws sbs, beam, topk and exact beside one another and beside others: the same bits however the engine is set up. */
#include "tests/engine/util_engine.h"
#include "tests/engine/util_names.h"

enum { CTX = 256 };

/* If this fails, a search that the pool can never hold waits for ever, and all requests behind it. */
static void a_search_that_never_fits_is_refused(void **state) {
    const char *const *names = sixty_names();
    fc_engine *e = open_engine(
        &(fc_engine_options){.novelty = tiny_model("llama", 3, false), .threads = 1, .ctx = CTX, .kv_pool = 8 * 8192});
    uint64_t id;
    (void)state;
    for (int m = 0; m < SEARCHES; m++) {
        fc_request r = search_of(searches[m], 1, names, NAMES);
        fc_event ev;
        if (searches[m] >= FC_DRAW_TOPK) {
            assert_fails(fc_submit(e, &r, &id), FC_ERR_ARG, "raise kv_pool");
            continue;
        }
        ev = run_request(e, &r); /* a beam of one feeds no more than its longest path */
        assert_int_equal(ev.result->n_all, 1);
        fc_event_fini(&ev);
    }
    fc_engine_close(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_search_that_never_fits_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
