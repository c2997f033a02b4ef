/* The CUDA guest: whatever is missing - library, symbol, driver, device - is a sentence and never a crash. */
#include "kernels/cuda/probe.h"
#include "kernels/gpu_probe.h"
#include "tests/util.h"

#include <unistd.h>

static void a_missing_library_is_named(void **state) {
    fc_gpus g;
    (void)state;
    fc_gpu_probe_file("/nowhere/libforkcast_cuda.so", &g);
    assert_int_equal(g.n, 0);
    assert_string_equal(g.found, "no CUDA device: /nowhere/libforkcast_cuda.so does not exist");
}

static void a_file_that_is_no_library_is_named(void **state) {
    fc_gpus g;
    (void)state;
    fc_gpu_probe_file("CMakeLists.txt", &g);
    assert_int_equal(g.n, 0);
    assert_non_null(strstr(g.found, "no CUDA device: "));
    assert_non_null(strstr(g.found, "CMakeLists.txt"));
}

static void a_library_of_something_else_is_named(void **state) {
    fc_gpus g;
    (void)state;
    if (access("/lib/x86_64-linux-gnu/libm.so.6", R_OK) != 0) skip();
    fc_gpu_probe_file("/lib/x86_64-linux-gnu/libm.so.6", &g);
    assert_int_equal(g.n, 0);
    assert_string_equal(g.found, "no CUDA device: /lib/x86_64-linux-gnu/libm.so.6 has no fc_cuda_probe");
}

/* What this machine has. With the library built, its answer and the device list must fit together. */
static void the_probe_answers_on_this_machine(void **state) {
    fc_gpus g;
    (void)state;
    fc_gpu_probe(&g);
    print_message("%s\n", g.found);
    assert_true(g.n >= 0 && g.n <= FC_GPUS);
    if (g.n == 0) assert_memory_equal(g.found, "no CUDA device: ", 16);
    for (int i = 0; i < g.n; i++) {
        print_message("  %s, %.1f GiB\n", g.name[i], (double)g.bytes[i] / (1 << 30));
        assert_true(g.name[i][0] && g.bytes[i] > 1u << 28);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_library_is_named),
        cmocka_unit_test(a_file_that_is_no_library_is_named),
        cmocka_unit_test(a_library_of_something_else_is_named),
        cmocka_unit_test(the_probe_answers_on_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
