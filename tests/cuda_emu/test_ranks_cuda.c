/* Models split over 2 and 4 emulated devices: the jobs of tests/engine/test_ranks.c, against one device. */
#include "kernels/cuda/backend_cuda.h"
#include "tests/cuda_emu/runtime_control.h"
#include "tests/engine/util_ranks.h"

static int n_devices; /* 0: device 0 alone, no rank */

static fc_status open_cuda(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    static const int devices[] = {0, 1, 2, 3};
    const fc_cuda_options o = {.invariant = true, .devices = devices, .n_devices = n_devices, .threads = 1};
    (void)level;
    (void)threads;
    return fc_backend_open_cuda(&o, limits, out);
}

static void answer(const ranks_job *j, fc_backend_opener opener, fc_event *out) {
    fc_engine_options o = j->o;
    fc_engine *e;
    o.threads = 1;
    assert_ok(fc_engine_open_on(&o, opener, &e));
    *out = run_request(e, &j->r);
    assert_int_equal(fc_engine_pages_used(e), 0);
    fc_engine_close(e);
}

static void devices_answer_as_one_backend_does(void **state) {
    (void)state;
    for (int i = 0; i < RANKS_JOBS; i++) {
        fc_event want, got;
        for (n_devices = 0; n_devices <= 4; n_devices += n_devices ? n_devices : 2) {
            emu_reset();
            emu_device_opts.devices = n_devices ? n_devices : 1;
            answer(&ranks_jobs()[i], open_cuda, n_devices ? &got : &want);
            if (!n_devices) continue;
            ranks_same(ranks_jobs()[i].name, got.result, want.result);
            fc_event_fini(&got);
        }
        fc_event_fini(&want);
    }
    emu_reset();
}

/* Whichever call of CUDA or NCCL fails, on whichever device: the request has an answer or an error, and the engine
 * closes. If this fails, or never ends, a device waits for one that failed. */
static void a_device_that_fails_ends_the_request(void **state) {
    enum { TRIES = 24 };
    const ranks_job *j = &ranks_jobs()[1];
    fc_engine_options o = j->o;
    fc_request r = j->r;
    uint64_t calls = 0, seed = 7;
    int failed = 0;
    (void)state;
    o.threads = 1;
    r.n = 3;
    r.sampling.max_tokens = 4;
    n_devices = 2;
    for (int i = 0; i <= TRIES; i++) {
        fc_engine *e;
        fc_event ev;
        uint64_t id, before;
        emu_reset();
        emu_device_opts.devices = 2;
        assert_ok(fc_engine_open_on(&o, open_cuda, &e));
        before = emu_calls();
        if (i) emu_fail_at(1 + fc_rng_next(&seed) % calls);
        assert_ok(fc_submit(e, &r, &id));
        do {
            assert_ok(fc_poll(e, ENGINE_PATIENCE, &ev));
            if (ev.type == FC_EVENT_DONE) break;
            fc_event_fini(&ev);
        } while (true);
        if (i == 0) calls = emu_calls() - before;
        failed += ev.status != FC_OK;
        assert_true(i > 0 || ev.status == FC_OK);
        fc_event_fini(&ev);
        fc_engine_close(e);
        assert_int_equal(emu_leaks(true), 0);
    }
    print_message("of %d requests among %llu calls %d failed\n", TRIES, (unsigned long long)calls, failed);
    assert_true(failed > TRIES / 4);
    emu_device_opts.devices = 0;
    emu_reset();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(devices_answer_as_one_backend_does),
                                       cmocka_unit_test(a_device_that_fails_ends_the_request)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
