/* The CPU's stream: levels and their names, and memory that is there before anybody works. */
#include "kernels/cpu/cpu.h"
#include "tests/util.h"

static void levels_have_names_and_an_order(void **state) {
    fc_cpu_level l = FC_CPU_AUTO;
    (void)state;
    for (int i = FC_CPU_AUTO; i <= FC_CPU_AMX; i++) {
        assert_ok(fc_cpu_level_parse(fc_cpu_level_name((fc_cpu_level)i), &l));
        assert_int_equal(l, i);
    }
    assert_ok(fc_cpu_level_parse("AVX2", &l));
    assert_int_equal(l, FC_CPU_AVX2);
    assert_fails(fc_cpu_level_parse("avx1024", &l), FC_ERR_ARG, "avx1024");
    assert_int_equal(l, FC_CPU_AVX2);
    assert_true(fc_cpu_best() >= FC_CPU_PORTABLE && fc_cpu_best() <= FC_CPU_AVX512);
    assert_string_equal(fc_cpu_level_name((fc_cpu_level)9), "?");
}

static void a_stream_never_says_auto(void **state) {
    (void)state;
    for (int i = FC_CPU_AUTO; i <= FC_CPU_AMX; i++) {
        fc_stream s = NULL;
        if (fc_cpu_level_check((fc_cpu_level)i)) {
            assert_fails(fc_cpu_stream_open((fc_cpu_level)i, 1, 64, 64, &s), FC_ERR_UNSUPPORTED,
                         fc_cpu_level_name((fc_cpu_level)i));
            continue;
        }
        assert_ok(fc_cpu_stream_open((fc_cpu_level)i, 1, 64, 64, &s));
        assert_int_equal(s->level, i == FC_CPU_AUTO ? fc_cpu_best() : (fc_cpu_level)i);
        fc_cpu_stream_close(s);
    }
    fc_cpu_stream_close(NULL);
}

/* What a machine lacks is said in words; what it has, it is asked for by name alone. */
static void amx_is_refused_with_its_reason(void **state) {
    char line[4096];
    bool tile = false, int8 = false;
    FILE *f = fopen("/proc/cpuinfo", "r");
    fc_stream s = NULL;
    (void)state;
    if (!f || fc_cpu_best() < FC_CPU_AVX512) skip();
    while (fgets(line, sizeof line, f)) {
        tile = tile || strstr(line, " amx_tile");
        int8 = int8 || strstr(line, " amx_int8");
    }
    fclose(f);
    if (!tile || !int8) {
        assert_fails(fc_cpu_stream_open(FC_CPU_AMX, 1, 64, 64, &s), FC_ERR_UNSUPPORTED,
                     tile ? "cpu level amx asked for; this machine has no AMX-INT8" : "cpu level amx asked for; ");
        assert_null(s);
        if (!tile && !strstr(fc_status_text(), "no AMX-TILE")) assert_non_null(strstr(fc_status_text(), "XCR0"));
    } else {
        assert_ok(fc_cpu_stream_open(FC_CPU_AMX, 1, 64, 64, &s));
        assert_int_equal(s->level, FC_CPU_AMX);
        fc_cpu_stream_close(s);
    }
    assert_ok(fc_cpu_stream_open(FC_CPU_AUTO, 1, 64, 64, &s));
    assert_int_equal(s->level, fc_cpu_best());
    assert_int_not_equal(s->level, FC_CPU_AMX); /* auto never takes it */
    fc_cpu_stream_close(s);
}

static void note_thread(void *arg, int unit, int thread) {
    fc_stream s = arg;
    (void)unit;
    memset(fc_cpu_scratch_of(s, thread), thread + 1, s->scratch_bytes);
}

static void each_thread_has_its_own_scratch(void **state) {
    fc_stream s;
    (void)state;
    assert_ok(fc_cpu_stream_open(FC_CPU_AUTO, 3, 0, 1000, &s));
    assert_true(s->scratch_bytes >= 1000 && s->scratch_bytes % 64 == 0);
    for (int t = 0; t < 3; t++) assert_true((uintptr_t)fc_cpu_scratch_of(s, t) % 64 == 0);
    for (int t = 0; t < 3; t++) note_thread(s, 0, t);
    for (int t = 0; t < 3; t++)
        for (size_t i = 0; i < s->scratch_bytes; i++)
            assert_int_equal(((unsigned char *)fc_cpu_scratch_of(s, t))[i], t + 1);
    fc_pool_run(s->pool, 100, note_thread, s);
    assert_int_equal(fc_pool_threads(s->pool), 3);
    fc_cpu_stream_close(s);
}

static void asking_for_more_than_was_reserved_names_the_numbers(void **state) {
    fc_stream s;
    void *p = NULL;
    (void)state;
    assert_ok(fc_cpu_stream_open(FC_CPU_AUTO, 2, 4096, 128, &s));
    assert_ok(fc_cpu_workspace(s, 4096, "op", &p));
    assert_true(p && (uintptr_t)p % 64 == 0);
    memset(p, 1, 4096);
    assert_fails(fc_cpu_workspace(s, 4097, "op", &p), FC_ERR_MEM, "op: needs 4097 bytes of workspace, 4096 are");
    assert_ok(fc_cpu_scratch(s, 128, "op"));
    assert_fails(fc_cpu_scratch(s, 129, "op"), FC_ERR_MEM, "op: needs 129 bytes of scratch a thread, 128 are");
    fc_cpu_stream_close(s);
}

static void bad_arguments_open_nothing(void **state) {
    fc_stream s = NULL;
    (void)state;
    assert_fails(fc_cpu_stream_open(FC_CPU_AUTO, -1, 0, 0, &s), FC_ERR_ARG, "-1 threads");
    assert_fails(fc_cpu_stream_open((fc_cpu_level)7, 1, 0, 0, &s), FC_ERR_ARG, "level 7");
    assert_fails(fc_cpu_stream_open(FC_CPU_AUTO, 2, 0, SIZE_MAX - 200, &s), FC_ERR_MEM, "scratch");
    assert_fails(fc_cpu_stream_open(FC_CPU_AUTO, 2, 0, SIZE_MAX - 3, &s), FC_ERR_MEM, "scratch");
    assert_fails(fc_cpu_stream_open(FC_CPU_AUTO, 2, SIZE_MAX / 2, 64, &s), FC_ERR_MEM, "workspace");
    assert_null(s);
    assert_ok(fc_cpu_stream_open(FC_CPU_AUTO, 0, 0, 0, &s)); /* all cores */
    assert_true(fc_pool_threads(s->pool) >= 1);
    fc_cpu_stream_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_have_names_and_an_order),
        cmocka_unit_test(a_stream_never_says_auto),
        cmocka_unit_test(amx_is_refused_with_its_reason),
        cmocka_unit_test(each_thread_has_its_own_scratch),
        cmocka_unit_test(asking_for_more_than_was_reserved_names_the_numbers),
        cmocka_unit_test(bad_arguments_open_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
