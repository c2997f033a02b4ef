/* How finely a plan cuts attention's items changes no bit of what an engine draws and scores. */
#include "engine/engine.h"
#include "kernels/cpu/backend_cpu.h"
#include "tests/engine/util_engine.h"

static int units, items; /* what the backend wants; how many it got */
static fc_status (*cpu_attn)(fc_stream s, const fc_attn_args *a);

static fc_status counted_attn(fc_stream s, const fc_attn_args *a) {
    items += a->n_items;
    return cpu_attn(s, a);
}

static fc_status open_counted(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    FC_TRY(fc_backend_open_cpu(level, threads, limits, out));
    cpu_attn = (*out)->attn;
    (*out)->attn = counted_attn;
    (*out)->attn_units = units;
    return FC_OK;
}

enum { LONG = 230 };

/* Alone behind four tiles, so many that they share no unit, and trees that are scored behind a prompt. */
static void run(fc_event out[3]) {
    static int32_t ids[LONG];
    fc_request r = text_request("", 1, 8);
    fc_engine *e = NULL;
    fc_engine_options o = {.novelty = tiny_model("llama", 1, false),
                           .alignment = tiny_model("llama", 2, false),
                           .threads = 2,
                           .ctx = 256,
                           .max_rows = 256};
    for (int i = 0; i < LONG; i++) ids[i] = 40 + i * 7 % 200;
    assert_ok(fc_engine_open_on(&o, open_counted, &e));
    r.prompt = (fc_prompt){.ids = ids, .n_ids = LONG};
    out[0] = run_request(e, &r);
    r.n = 40;
    out[1] = run_request(e, &r);
    r.n = 8;
    r.score = true;
    out[2] = run_request(e, &r);
    fc_engine_close(e);
}

static void cuts_change_no_bit(void **state) {
    fc_event want[3], got[3];
    int whole;
    (void)state;
    run(want);
    whole = items;
    for (units = 8; units <= 4096; units *= 8) {
        items = 0;
        run(got);
        printf("%d units wanted: %d items, not %d\n", units, items, whole);
        assert_true(items > whole);
        for (int i = 0; i < 3; i++) {
            char what[20];
            snprintf(what, sizeof what, "request %d", i);
            assert_int_equal(got[i].result->n_all, want[i].result->n_all);
            for (int k = 0; k < got[i].result->n_all; k++)
                assert_same_candidate(what, &got[i].result->all[k], &want[i].result->all[k]);
            fc_event_fini(&got[i]);
        }
    }
    for (int i = 0; i < 3; i++) fc_event_fini(&want[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cuts_change_no_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
