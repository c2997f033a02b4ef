/* Models without a file: the shapes of the preset, finite and different rows, next to no memory, nothing left behind.
 * */
#include "tests/util.h"
#include "weights_tools/layout.h"
#include "weights_tools/weights.h"

#include "engine/base/quant.h"

#include <dirent.h>
#include <unistd.h>

/* Pages of this process that are in memory. */
static long resident(void) {
    long all = 0, in = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &all, &in), 2);
    fclose(f);
    return in;
}

static void a_large_model_is_there_and_takes_no_memory(void **state) {
    fc_weights *w;
    long before = resident(), pages;
    size_t bytes = 0;
    (void)state;
    assert_ok(fc_weights_open("like:llama-3.1-8b", &w));
    pages = resident() - before;
    for (size_t i = 0; i < fc_weights_count(w); i++) bytes += fc_weights_at(w, i)->bytes;
    assert_true(bytes > 16000000000u);
    print_message("%zu bytes of weights, %ld pages of memory\n", bytes, pages);
    assert_true(pages * sysconf(_SC_PAGESIZE) < 400 << 20);
    assert_int_equal(fc_weights_config(w)->L, 32);
    assert_int_equal(fc_weights_count(w), fc_layout_count(fc_weights_config(w)));
    fc_weights_close(w);
}

/* Every type; the last rows lie where the pool has come round. */
static void rows_are_finite_and_differ(void **state) {
    static const char *const names[] = {"like:smollm2-135m", "like:smollm2-135m:F32", "like:smollm2-135m:Q8_0",
                                        "like:smollm2-135m:Q4_0", "like:smollm2-135m:F16"};
    (void)state;
    for (size_t k = 0; k < 5; k++) {
        fc_weights *w;
        assert_ok(fc_weights_open(names[k], &w));
        for (size_t i = 0; i < fc_weights_count(w); i += 7) {
            const fc_tensor *t = fc_weights_at(w, i);
            size_t row = t->bytes / (size_t)t->N;
            float *x = malloc(sizeof *x * (size_t)t->K);
            double sum = 0;
            assert_non_null(x);
            assert_ok(fc_dequant_row(t->dtype, (const char *)t->data + (size_t)(t->N - 1) * row, x, (size_t)t->K));
            for (int64_t j = 0; j < t->K; j++) sum += fabs((double)x[j]);
            if (!(sum > 0) || isinf(sum)) fail_msg("%s: %s: the last row adds up to %g", names[k], t->name, sum);
            if (t->N > 1) assert_true(memcmp(t->data, (const char *)t->data + row, row) != 0);
            free(x);
        }
        fc_weights_close(w);
    }
}

static int left_behind(void) {
    DIR *d = opendir("/tmp");
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) n += strncmp(e->d_name, "forkcast-like-", 14) == 0;
    if (d) closedir(d);
    return n;
}

static void what_is_no_preset_is_named_and_nothing_is_left(void **state) {
    fc_weights *w;
    int before = left_behind();
    (void)state;
    assert_fails(fc_weights_open("like:nope", &w), FC_ERR_ARG, "preset \"nope\" is unknown");
    assert_fails(fc_weights_open("like:", &w), FC_ERR_ARG, "like:");
    assert_fails(fc_weights_open("like:qwen3-0.6b:Q9", &w), FC_ERR_ARG, "type \"Q9\"");
    assert_fails(fc_weights_open("like:qwen3-0.6b:Q6_K", &w), FC_ERR_ARG, "Q6_K");
    assert_true(left_behind() <= before); /* others may run beside this */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_large_model_is_there_and_takes_no_memory),
                                       cmocka_unit_test(rows_are_finite_and_differ),
                                       cmocka_unit_test(what_is_no_preset_is_named_and_nothing_is_left)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
