/* The rows of a batch where an engine is not told: by the backend that it will have. */
#include "engine/choose.h"
#include "tests/util.h"

static fc_status never(fc_cpu_level level, int threads, const fc_op_limits *limits, fc_backend **out) {
    (void)level, (void)threads, (void)limits, (void)out;
    return FC_FAIL(FC_ERR_INTERNAL, "nothing is opened here");
}

static int rows(int max_rows, const char *backend, int n_gpus, fc_backend_opener opener) {
    const fc_engine_options o = {.max_rows = max_rows, .backend = backend};
    const fc_gpu_list gpus = {.n = n_gpus};
    return fc_backend_rows(&o, &gpus, opener);
}

/* If this fails, a GPU idles in passes of the CPU's size, or a CPU holds everybody up in those of a GPU. */
static void rows_are_the_backends(void **state) {
    (void)state;
    assert_int_equal(rows(0, "cpu", 0, NULL), 512);
    assert_int_equal(rows(0, "cuda", 0, NULL), 1024);
    assert_int_equal(rows(0, "auto", 1, NULL), 1024); /* a list of GPUs is a choice */
    assert_int_equal(rows(0, NULL, 2, NULL), 1024);
    assert_int_equal(rows(0, "cuda", 1, never), 512); /* a test's own backend */
    assert_int_equal(rows(7, "cuda", 1, NULL), 7);
    assert_int_equal(rows(7, "cpu", 0, NULL), 7);
}

/* auto is one backend for the size of batches and for what is opened. */
static void auto_is_what_the_machine_has(void **state) {
    char why[256];
    bool cuda = strcmp(fc_backend_auto(why, sizeof why), "cuda") == 0;
    (void)state;
    assert_int_equal(rows(0, NULL, 0, NULL), cuda ? 1024 : 512);
    assert_int_equal(rows(0, "auto", 0, NULL), cuda ? 1024 : 512);
}

/* If this fails, a GPU multiplies twice for bits that nobody asked for, or a CPU gives up what it has. */
static void precise_is_the_backends(void **state) {
    static const struct {
        const char *word, *backend;
        bool imprecise;
    } cases[] = {{NULL, "cpu", false},    {NULL, "cuda", true},    {"auto", "cpu", false}, {"auto", "cuda", true},
                 {"true", "cuda", false}, {"false", "cuda", true}, {"true", "cpu", false}, {"false", "cpu", true}};
    fc_engine_options o = {.precise = "maybe"};
    bool imprecise;
    (void)state;
    assert_fails(fc_backend_imprecise(&o, "cpu", &imprecise), FC_ERR_ARG,
                 "precise \"maybe\"; it is auto, true or false");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        o.precise = cases[i].word;
        assert_ok(fc_backend_imprecise(&o, cases[i].backend, &imprecise));
        assert_int_equal(imprecise, cases[i].imprecise);
    }
}

static void names_that_are_none_are_refused(void **state) {
    const fc_engine_options o = {.backend = "gpu"};
    const fc_gpu_list gpus = {0};
    const fc_op_limits limits = {.rows = 1, .cols = 32, .vocab = 32, .heads = 1, .head_dim = 16};
    fc_backend *be;
    (void)state;
    assert_fails(fc_backend_choose(&o, &gpus, 1, &limits, NULL, &be), FC_ERR_ARG, "backend \"gpu\"; it is auto");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_the_backends),
        cmocka_unit_test(auto_is_what_the_machine_has),
        cmocka_unit_test(precise_is_the_backends),
        cmocka_unit_test(names_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
