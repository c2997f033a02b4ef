/* linear_weight.cu under emulation: what a matrix holds, and that large ones are sent in pieces. Values: test_embed. */
#include "kernels/embed/embed.h"
#include "tests/cuda_emu/util_matrix.h"

static uint64_t seed = 8;

/* Bytes a panel of 16 outputs and 64 k: codes, scales and minimums, and no more. */
static void bytes_are_the_file_s(void **state) {
    static const size_t chunk[MATRIX_TYPES] = {4096, 2048, 2048, 1024, 1088, 576, 640,
                                               1088, 1152, 768,  1280, 1280, 768, 1280};
    fc_stream s = device_stream(0);
    (void)state;
    for (int t = 0; t < MATRIX_TYPES; t++) {
        matrix m;
        int outputs = 49;
        if (matrix_types[t] == FC_F8) continue; /* below */
        matrix_init(&m, s, &matrix_types[t], &outputs, 1, 256, &seed);
        assert_int_equal(m.w->bytes, 4 * 4 * chunk[t]);
        matrix_fini(&m);
    }
    for (matrix_f8 = MATRIX_F8_NONE; matrix_f8 <= MATRIX_F8_BLOCKS; matrix_f8++) {
        static const size_t more[] = {0, 4 * 64, 4 * 4 * 64}; /* 16 scales: none, a panel's, a chunk's */
        const fc_dtype f8 = FC_F8;
        matrix m;
        int outputs = 49;
        matrix_init(&m, s, &f8, &outputs, 1, 256, &seed);
        assert_int_equal(m.w->bytes, 4 * 4 * 1024 + more[matrix_f8 - MATRIX_F8_NONE]);
        matrix_fini(&m);
    }
    matrix_f8 = 0;
    device_close(s);
}

static void large_ones_are_sent_in_pieces(void **state) {
    enum { K = 4096, N = 2100 };
    static const fc_dtype type = FC_F32;
    static const int outputs = N;
    static const int32_t tokens[] = {0, 1023, 1024, N - 1};
    fc_stream s = device_stream(0);
    float *y = calloc(4 * K, 4), *dy = device_copy(s, NULL, 4 * K * 4);
    fc_embed_args a = {.y = dy, .tokens = device_copy(s, tokens, sizeof tokens), .scale = 1.0f, .T = 4};
    matrix m;
    (void)state;
    matrix_init(&m, s, &type, &outputs, 1, K, &seed);
    a.w = m.w;
    assert_ok(fc_embed_cuda(s, &a));
    device_read(s, y, dy, 4 * K * 4);
    for (int i = 0; i < 4; i++)
        assert_memory_equal(y + i * K, (const float *)m.parts[0].data + (size_t)tokens[i] * K, K * 4);
    device_free((void *)(uintptr_t)a.tokens), device_free(dy);
    matrix_fini(&m);
    device_close(s);
    free(y);
}

/* Several threads pack: the first panel that cannot be is told, whoever came to it. */
static void the_first_bad_panel_is_told(void **state) {
    enum { K = 4096, N = 2100 };
    static const int bad[][2] = {{1500, 7}, {900, 3}, {2099, 0}};
    unsigned char *codes = calloc(N, K);
    fc_stream s = device_stream(0);
    fc_weight_part part = {.name = "f", .data = codes, .dtype = FC_F8, .N = N, .K = K};
    fc_weight *w = NULL;
    (void)state;
    for (int i = 0; i < 3; i++) codes[bad[i][0] * K + bad[i][1]] = 0x7f;
    for (int round = 0; round < 20; round++)
        assert_fails(fc_weight_pack_cuda(s, &part, 1, &w), FC_ERR_FORMAT, "tensor f: [900,3] is NaN");
    for (int i = 0; i < 3; i++) codes[bad[i][0] * K + bad[i][1]] = 0;
    assert_ok(fc_weight_pack_cuda(s, &part, 1, &w));
    fc_weight_free_cuda(w);
    device_close(s);
    free(codes);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_are_the_file_s),
                                       cmocka_unit_test(large_ones_are_sent_in_pieces),
                                       cmocka_unit_test(the_first_bad_panel_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
