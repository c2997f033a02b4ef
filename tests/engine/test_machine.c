/* What doctor reports: the processor's name from /proc/cpuinfo, and rates that no machine can lack. */
#include "engine/forkcast.h"
#include "engine/machine.h"
#include "kernels/cpu/roof.h"
#include "tests/util.h"

static void a_processor_is_named_from_its_text(void **state) {
    char name[32];
    (void)state;
    fc_machine_cpu_name(
        "processor\t: 0\nvendor_id\t: X\nmodel\t\t: 143\nmodel name\t: Fast(R)  CPU @ 2\t GHz  \nflags: x\n", name,
        sizeof name);
    assert_string_equal(name, "Fast(R) CPU @ 2 GHz");
    fc_machine_cpu_name("processor : 0\nBogoMIPS : 50\nModel : Small Board\n", name, sizeof name);
    assert_string_equal(name, "Small Board");
    fc_machine_cpu_name("model name : 0123456789012345678901234567890123456789", name, sizeof name);
    assert_string_equal(name, "0123456789012345678901234567890");
    fc_machine_cpu_name("", name, sizeof name);
    assert_string_equal(name, "unknown");
    fc_machine_cpu_name("model name\n", name, sizeof name);
    assert_string_equal(name, "unknown");
    fc_machine_cpu_name("model name :   \nmodel", name, sizeof name);
    assert_string_equal(name, "unknown");
}

static void inspection_without_measuring_is_quick_and_plain(void **state) {
    fc_machine m;
    (void)state;
    assert_ok(fc_machine_inspect(false, 0, &m));
    print_message("%s, %s, %d cores, %.1f GiB; %s: %s\n", m.cpu_name, m.cpu_level, m.cores,
                  (double)m.ram_bytes / (1 << 30), m.backend, m.backend_why);
    assert_true(m.cores >= 1 && m.ram_bytes > 1u << 28 && m.cpu_name[0]);
    assert_string_equal(m.cpu_level, fc_cpu_level_name(fc_cpu_best()));
    assert_true(m.read_gbs_dram == 0.0 && m.gops_int8 == 0.0 && m.gflops_f32 == 0.0);
    assert_string_equal(m.backend, m.gpus ? "cuda" : "cpu");
    assert_non_null(strstr(m.backend_why, m.gpus ? "CUDA device" : "no CUDA device: "));
    assert_fails(fc_machine_inspect(false, -1, &m), FC_ERR_ARG, "-1");
    assert_fails(fc_machine_inspect(true, 5000, &m), FC_ERR_ARG, "5000");
}

/* Bounds far outside any machine's: they catch a loop that the compiler dropped or that measures nothing. */
static void rates_are_those_of_a_machine(void **state) {
    (void)state;
    for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++) {
        fc_stream s;
        fc_roof r;
        double cores;
        assert_ok(fc_cpu_stream_open((fc_cpu_level)l, 0, 0, 0, &s));
        cores = fc_pool_threads(s->pool);
        assert_ok(fc_roof_measure(s, &r));
        fc_cpu_stream_close(s);
        print_message("%s: read %.1f GB/s from %zu MiB, %.1f from 64 MiB; int8 %.0f, bf16 %.0f, f32 %.0f\n",
                      fc_cpu_level_name((fc_cpu_level)l), r.read_gbs_dram, r.dram_bytes >> 20, r.read_gbs_cache,
                      r.gops_int8, r.gflops_bf16, r.gflops_f32);
        assert_true(r.dram_bytes >= 128u << 20);
        assert_true(r.read_gbs_dram > 0.01 && r.read_gbs_dram < 200.0 * cores);
        assert_true(r.read_gbs_cache > 0.01 && r.read_gbs_cache < 400.0 * cores);
        assert_true(r.gops_int8 > 0.01 &&
                    r.gops_int8 < 4096.0 * cores); /* 8 GHz, 2 units, 128 operations each, doubled */
        assert_true(r.gflops_bf16 > 0.01 && r.gflops_bf16 < 2048.0 * cores);
        assert_true(r.gflops_f32 > 0.01 && r.gflops_f32 < 1024.0 * cores);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_processor_is_named_from_its_text),
        cmocka_unit_test(inspection_without_measuring_is_quick_and_plain),
        cmocka_unit_test(rates_are_those_of_a_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
