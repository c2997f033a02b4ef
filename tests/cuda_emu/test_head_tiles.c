/* head_tiles.cu under emulation: sums of tiles of every type of matrix and number of rows have the bits of linear,
 * softcap and logprob; what the heads share in needs. */
#include "kernels/cpu/cpu.h"
#include "kernels/head/head_draw.h"
#include "kernels/head/head_lse.h"
#include "kernels/logprob/list_logprob.h"
#include "tests/cuda_emu/util_head.h"
#include "tests/cuda_emu/util_same.h"

enum { ROOM = 16 << 20 };

static void sums_have_the_bits(fc_dtype t, int V, int R, float cap, bool precise, uint64_t seed) {
    uint64_t used = seed;
    fc_stream s = device_stream(ROOM), c;
    head h;
    double *got = calloc((size_t)R, 8), *want = calloc((size_t)R, 8), *dlse = device_copy(s, NULL, (size_t)R * 8);
    int32_t *ids = calloc((size_t)V, 4);
    fc_list_row *rows = calloc((size_t)R, sizeof *rows);
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, 20000 + (size_t)V * 16, &c));
    head_init(&h, s, t, V, R, cap, precise, -1, &used);
    for (int i = 0; i < V; i++) ids[i] = i;
    for (int r = 0; r < R; r++) rows[r] = (fc_list_row){.row = r, .values = r * V, .n_ids = V};
    assert_ok(fc_list_logprob_cpu(
        c, &(fc_list_logprob_args){.lse = want, .value = h.logits, .ids = ids, .rows = rows, .n_rows = R, .V = V}));
    assert_ok(fc_head_lse_cuda(
        s, &(fc_head_lse_args){.lse = dlse, .x = h.device_x, .w = h.m.w, .R = R, .cap = cap, .precise = precise}));
    assert_ok(device_sync(s));
    device_read(s, got, dlse, (size_t)R * 8);
    for (int r = 0; r < R; r++)
        if (!same_double(got[r], want[r]))
            fail_msg("%s V %d R %d cap %g precise %d seed %llu: lse[%d] = %.17g, not %.17g", fc_dtype_name(t), V, R,
                     (double)cap, precise, (unsigned long long)seed, r, got[r], want[r]);
    head_fini(&h);
    device_free(dlse);
    fc_cpu_stream_close(c);
    device_close(s);
    free(got), free(want), free(ids), free(rows);
}

static void every_type_and_number_of_rows(void **state) {
    static const int vocabs[] = {300, 256, 1, 257, 17, 550}, counts[] = {1, 8, 9, 33, 70, 5};
    (void)state;
    for (int k = 0; k < MATRIX_TYPES; k++)
        for (int n = 0; n < 3; n++) {
            int i = k + 2 * n;
            emu_opts = (emu_options){.order = (emu_order)(i % EMU_ORDERS), .seed = (uint64_t)i};
            sums_have_the_bits(matrix_types[k], vocabs[(k + n) % 6], counts[i % 6], i % 2 ? 30.0f : 0.0f, i % 3 == 0,
                               50 + (uint64_t)i);
        }
    each_order(sums_have_the_bits(FC_Q8_0, 300, 9, 5.0f, true, 3));
    each_order(sums_have_the_bits(FC_BF16, 256, 2, 0.0f, false, 4));
    sums_have_the_bits(FC_F16, 256, 20, 0.0f, false, 5);
}

static void little_shared_memory_is_the_same_bits(void **state) {
    (void)state;
    device_shared = DEVICE_SMALL;
    for (int k = 0; k < MATRIX_TYPES; k++) {
        emu_opts = (emu_options){.order = (emu_order)(k % EMU_ORDERS), .seed = (uint64_t)k};
        sums_have_the_bits(matrix_types[k], 300, 5, 0.0f, true, 70 + (uint64_t)k);
        sums_have_the_bits(matrix_types[k], 300, 33, 30.0f, true, 80 + (uint64_t)k);
    }
    device_shared = 0;
}

static void needs_are_told(void **state) {
    static const fc_dtype types[] = {FC_BF16, FC_F32};
    static const int outputs[] = {16, 16};
    uint64_t seed = 1;
    fc_stream s = device_stream(ROOM), poor = device_stream(100);
    matrix one, two;
    (void)state;
    emu_opts = (emu_options){.order = EMU_FORWARD};
    matrix_init(&one, s, types, outputs, 1, 64, &seed);
    matrix_init(&two, s, types, outputs, 2, 64, &seed);
    assert_fails(fc_head_lse_cuda(s, &(fc_head_lse_args){.w = two.w, .R = 1}), FC_ERR_UNSUPPORTED, "2 tensors");
    assert_fails(fc_head_draw_cuda(s, &(fc_head_draw_args){.w = two.w, .R = 1}), FC_ERR_UNSUPPORTED, "2 tensors");
    assert_fails(fc_head_lse_cuda(s, &(fc_head_lse_args){.w = one.w, .R = 1, .cap = NAN}), FC_ERR_ARG, "cap=nan");
    assert_fails(fc_head_draw_cuda(s, &(fc_head_draw_args){.w = one.w, .R = 1, .cap = -1.0f}), FC_ERR_ARG, "cap=-1");
    assert_fails(fc_head_lse_cuda(s, &(fc_head_lse_args){.w = one.w, .R = 0}), FC_ERR_ARG, "R=0");
    assert_fails(fc_head_draw_cuda(s, &(fc_head_draw_args){.w = one.w, .R = 1, .M = -1}), FC_ERR_ARG, "M=-1");
    assert_fails(fc_head_lse_cuda(poor, &(fc_head_lse_args){.w = one.w, .R = 1}), FC_ERR_MEM, "head_lse");
    assert_fails(fc_head_draw_cuda(poor, &(fc_head_draw_args){.w = one.w, .R = 1}), FC_ERR_MEM, "head_draw");
    matrix_fini(&one);
    matrix_fini(&two);
    device_close(poor);
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_type_and_number_of_rows),
                                       cmocka_unit_test(little_shared_memory_is_the_same_bits),
                                       cmocka_unit_test(needs_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
