#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/quant.h"
#include "kernels/cpu/cpu.h"
#include "kernels/embed/embed.h"

enum { V = 37, D = 64, T = 9 };

static uint64_t seed = 30;

static fc_stream open_stream(void) {
    fc_stream s = NULL;
    assert_ok(fc_cpu_stream_open(FC_CPU_AUTO, 2, fc_linear_workspace_cpu(T, D), 64, &s));
    return s;
}

/* A table of small random values in type t, and the same values as floats. */
static fc_weight *table(fc_stream s, fc_dtype t, float values[V * D]) {
    unsigned char data[V * D * 4];
    size_t row;
    fc_weight *w = NULL;
    assert_ok(fc_dtype_row_bytes(t, D, &row));
    for (int v = 0; v < V; v++) {
        float x[D];
        for (int d = 0; d < D; d++) x[d] = test_normal(&seed);
        assert_ok(fc_quant_row(t, x, data + (size_t)v * row, D));
        assert_ok(fc_dequant_row(t, data + (size_t)v * row, values + v * D, D));
    }
    assert_ok(
        fc_weight_pack_cpu(s, &(fc_weight_part){.name = "embed", .data = data, .dtype = t, .N = V, .K = D}, 1, &w));
    return w;
}

/* If this fails, every model reads the wrong words. */
static void rows_are_exact(void **state) {
    static const fc_dtype types[] = {FC_F32, FC_F16, FC_BF16, FC_F8, FC_Q8_0, FC_Q4_0};
    static const float scales[] = {1.0f, 7.5f};
    static const int32_t tokens[T] = {0, V - 1, 5, 5, 16, 15, 31, 32, 1};
    fc_stream s = open_stream();
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        for (int scaled = 0; scaled < 2; scaled++) {
            float values[V * D], y[T * D], ref[T * D];
            fc_weight *w = table(s, types[i], values);
            fc_embed_args a = {.y = y, .tokens = tokens, .w = w, .scale = scales[scaled], .T = T};
            assert_ok(fc_embed_cpu(s, &a));
            a.y = ref;
            assert_ok(fc_embed_ref(s, &a));
            for (int t = 0; t < T; t++)
                for (int d = 0; d < D; d++) {
                    float want = scaled ? values[tokens[t] * D + d] * scales[scaled] : values[tokens[t] * D + d];
                    assert_memory_equal(&y[t * D + d], &want, sizeof want);
                    assert_true(fabsf(ref[t * D + d] - want) <=
                                1e-7f * fabsf(want)); /* half a unit: its product is in double */
                }
            fc_weight_free_cpu(w);
        }
    fc_cpu_stream_close(s);
}

/* A token id from outside must never become an address. */
static void tokens_outside_are_refused(void **state) {
    fc_stream s = open_stream();
    float values[V * D], y[T * D];
    fc_weight *w = table(s, FC_F32, values);
    int32_t tokens[2] = {3, V};
    fc_embed_args a = {.y = y, .tokens = tokens, .w = w, .scale = 1.0f, .T = 2};
    (void)state;
    assert_fails(fc_embed_cpu(s, &a), FC_ERR_ARG, "token 37 at row 1; the vocabulary has 37");
    tokens[1] = -1;
    assert_fails(fc_embed_cpu(s, &a), FC_ERR_ARG, "token -1 at row 1");
    assert_fails(fc_embed_ref(s, &a), FC_ERR_ARG, "token -1 at row 1");
    a.T = 0;
    assert_fails(fc_embed_cpu(s, &a), FC_ERR_ARG, "T=0");
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(s);
}

static void cost_counts_one_row_each(void **state) {
    fc_stream s = open_stream();
    float values[V * D];
    fc_weight *w = table(s, FC_F32, values);
    fc_cost cost = fc_embed_cost(&(fc_embed_args){.w = w, .T = 4});
    double row = (double)w->bytes / V;
    (void)state;
    assert_true(cost.bytes == 4.0 * 4 + 4 * row + 4.0 * 4 * D && cost.flops == 2.0 * 4 * D);
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_exact),
        cmocka_unit_test(tokens_outside_are_refused),
        cmocka_unit_test(cost_counts_one_row_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
