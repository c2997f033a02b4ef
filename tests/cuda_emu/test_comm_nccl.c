/* What NCCL and ranks refuse, and how they end: devices that are not there, a device twice, a rank that fails alone. */
#include "kernels/comm/comm.h"
#include "kernels/cuda/backend_cuda.h"
#include "tests/cuda_emu/runtime_control.h"
#include "tests/util.h"

static fc_status open_on(const int *devices, int n, fc_backend **out) {
    const fc_cuda_options o = {.invariant = true, .devices = devices, .n_devices = n, .threads = 1};
    return fc_backend_open_cuda(&o, &(fc_op_limits){.rows = 4, .cols = 32, .vocab = 300}, out);
}

static void devices_are_checked(void **state) {
    fc_backend *be;
    (void)state;
    emu_reset();
    emu_device_opts.devices = 2;
    assert_fails(open_on((int[]){0, 2}, 2, &be), FC_ERR_INTERNAL, "ncclCommInitAll: invalid argument");
    assert_fails(open_on((int[]){1, 1}, 2, &be), FC_ERR_INTERNAL, "ncclCommInitAll: invalid usage");
    assert_fails(open_on((int[]){5}, 1, &be), FC_ERR_INTERNAL, "device 5; there are 2");
    assert_fails(open_on((int[]){0, 1, 2, 3, 4, 5, 6, 7, 8}, 9, &be), FC_ERR_ARG, "at most 8 work as one");
    assert_ok(open_on((int[]){1}, 1, &be)); /* by a thread of its own, without NCCL */
    assert_int_equal(be->ranks, 1);
    fc_backend_close(be);
    assert_int_equal(emu_leaks(true), 0);
}

/* Memory that one device does not have is no memory of the others either. */
static void opening_takes_all_or_nothing(void **state) {
    (void)state;
    emu_reset();
    emu_device_opts.devices = 2;
    for (uint64_t k = 1;; k++) {
        fc_backend *be = NULL;
        emu_reset();
        emu_fail_at(k);
        fc_status st = open_on((int[]){0, 1}, 2, &be);
        if (!st) {
            fc_backend_close(be);
            if (emu_calls() < k) break; /* all calls of opening have failed once */
            continue;
        }
        assert_int_equal(emu_leaks(true), 0);
    }
}

/* Of two ranks one fails between sums: the other's device would wait for it for ever. Whichever call fails, the next
 * sync says so, or all went well; later sums fail at once, or work. */
static void a_device_that_fails_alone_holds_nobody_up(void **state) {
    enum { N = 1000 };
    static float host[N];
    int failed = 0, lost = 0;
    (void)state;
    for (int i = 0; i < N; i++) host[i] = (float)i;
    for (uint64_t k = 1; k < 60; k++) {
        fc_backend *be;
        void *y;
        fc_status st;
        emu_reset();
        emu_device_opts.devices = 2;
        assert_ok(open_on((int[]){0, 1}, 2, &be));
        assert_ok(be->alloc(be, sizeof host, "y", &y));
        assert_ok(be->upload(be, y, host, sizeof host));
        assert_ok(be->sync(be));
        emu_fail_at(k);
        for (int i = 0; i < 3; i++) assert_ok(be->sum(be->stream, &(fc_sum_args){.y = y, .n = N}));
        st = be->sync(be);
        emu_fail_at(0);
        failed += st != FC_OK;
        assert_ok(be->sum(be->stream, &(fc_sum_args){.y = y, .n = N}));
        lost += be->sync(be) != FC_OK;
        be->free(be, y);
        fc_backend_close(be);
        assert_int_equal(emu_leaks(true), 0);
    }
    print_message("59 calls failed: %d syncs said so, %d ranks met no more\n", failed, lost);
    assert_true(failed > 10 && lost > 0 && lost <= failed);
    emu_device_opts.devices = 0;
    emu_reset();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_checked),
        cmocka_unit_test(opening_takes_all_or_nothing),
        cmocka_unit_test(a_device_that_fails_alone_holds_nobody_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
