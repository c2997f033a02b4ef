/* embed.cu under emulation: the values of the file, bit for bit; tokens that are none are told by the next sync. */
#include "engine/base/quant.h"
#include "kernels/embed/embed.h"
#include "tests/cuda_emu/util_matrix.h"

static uint64_t seed = 31;

/* Of Q8_W as the device holds it: codes from their middle on, the rest in the minimum. */
static void middle_row(const unsigned char *row, int K, float *out) {
    for (int k = 0; k < K; k += 32, row += fc_dtype_block_bytes(FC_Q8_W)) {
        uint8_t codes[32];
        float scale, min;
        assert_ok(fc_quant_codes(FC_Q8_W, row, 32, codes, &scale, &min));
        min += 128.0f * scale;
        for (int i = 0; i < 32; i++) out[k + i] = scale * (float)(codes[i] - 128) + min;
    }
}

static void file_row(const matrix *m, int n, float *out) {
    const fc_weight_part *p = m->parts;
    size_t bytes;
    while (n >= p->N) n -= p++->N;
    assert_ok(fc_dtype_row_bytes(p->dtype, (size_t)m->K, &bytes));
    if (p->dtype == FC_F8)
        for (int k = 0; k < m->K; k++)
            out[k] = fc_f8_to_f32(((const unsigned char *)p->data)[(size_t)n * bytes + (size_t)k]) *
                     fc_weight_part_scale(p, n, k);
    else assert_ok(fc_dequant_row(p->dtype, (const unsigned char *)p->data + (size_t)n * bytes, out, (size_t)m->K));
    if (p->dtype == FC_Q8_W) middle_row((const unsigned char *)p->data + (size_t)n * bytes, m->K, out);
}

static void gathers(const fc_dtype *types, const int *outputs, int n, int K, float scale) {
    enum { T = 40 };
    fc_stream s = device_stream(0);
    int32_t tokens[T];
    size_t k = (size_t)K;
    float *y = calloc(T * k, 4), *want = calloc(k, 4), *dy = device_copy(s, NULL, T * k * 4);
    fc_embed_args a = {.y = dy, .scale = scale, .T = T};
    matrix m;
    matrix_init(&m, s, types, outputs, n, K, &seed);
    for (int t = 0; t < T; t++) tokens[t] = t < 2 ? t * (m.N - 1) : test_below(&seed, m.N);
    a.tokens = device_copy(s, tokens, sizeof tokens);
    a.w = m.w;
    assert_ok(fc_embed_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, y, dy, T * k * 4);
    for (int t = 0; t < T; t++) {
        file_row(&m, tokens[t], want);
        for (size_t i = 0; i < k; i++) {
            if (scale != 1.0f) want[i] *= scale;
            if (memcmp(y + (size_t)t * k + i, want + i, 4))
                fail_msg("%s: token %d, element %zu: %.9g, in the file %.9g", fc_dtype_name(types[0]), (int)tokens[t],
                         i, (double)y[(size_t)t * k + i], (double)want[i]);
        }
    }
    device_free((void *)(uintptr_t)a.tokens), device_free(dy);
    matrix_fini(&m);
    device_close(s);
    free(y), free(want);
}

/* If this fails, a type of file is unpacked wrongly, or lies wrongly on the device. */
static void every_type_is_gathered_exactly(void **state) {
    (void)state;
    for (int t = 0; t < MATRIX_TYPES; t++) {
        int block = (int)fc_dtype_block(matrix_types[t]), outputs = 37;
        int times = matrix_types[t] == FC_F8 ? 6 : 1; /* with scales of several kinds, and without */
        while (times--)
            gathers(&matrix_types[t], &outputs, 1, block == 1 ? 71 : block == 32 ? 352 : 512, t % 2 ? 1.0f : 7.3f);
    }
}

static void stacked_parts_are_one_matrix(void **state) {
    static const fc_dtype types[] = {FC_Q5_0, FC_Q5_0, FC_Q5_0, FC_Q4_1};
    static const int outputs[] = {16, 5, 33, 20};
    (void)state;
    gathers(types, outputs, 4, 256, 1.0f);
}

static void a_token_outside_is_told(void **state) {
    static const fc_dtype types[] = {FC_BF16, FC_F32};
    static const int outputs[] = {10, 7};
    static const int32_t tokens[] = {3, 16, 17, -1};
    fc_stream s = device_stream(0);
    float *dy = device_copy(s, NULL, 4 * 9 * 4), y[4 * 9];
    fc_embed_args a = {.y = dy, .scale = 1.0f, .T = 4};
    matrix m;
    (void)state;
    matrix_init(&m, s, types, outputs, 2, 9, &seed);
    a.w = m.w;
    a.tokens = device_copy(s, tokens, sizeof tokens);
    assert_ok(fc_embed_cuda(s, &a));
    assert_fails(device_sync(s), FC_ERR_ARG, "embed: row 2");
    assert_ok(device_sync(s)); /* once */
    device_read(s, y, dy, sizeof y);
    for (int i = 0; i < 36; i++) assert_true(isnan(y[i]) == (i >= 18));
    a.T = 0;
    assert_fails(fc_embed_cuda(s, &a), FC_ERR_ARG, "T=0");
    device_free((void *)(uintptr_t)a.tokens), device_free(dy);
    matrix_fini(&m);
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_type_is_gathered_exactly),
                                       cmocka_unit_test(stacked_parts_are_one_matrix),
                                       cmocka_unit_test(a_token_outside_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
