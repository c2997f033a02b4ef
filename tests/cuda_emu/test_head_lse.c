/* head_lse.cu under emulation: sums and picked log-probs with the bits of linear, softcap and logprob one after
 * another, in pieces of any size; refused rows by number. */
#include "kernels/cpu/cpu.h"
#include "kernels/head/head_lse.h"
#include "kernels/logprob/logprob.h"
#include "tests/cuda_emu/util_head.h"
#include "tests/cuda_emu/util_same.h"

enum { MEMBERS = 30 };

/* What a piece of `rows` rows takes, so that the call is cut; x lies in eights of rows. */
static size_t room(const head *h, int rows) {
    size_t x = (size_t)((rows + 7) / 8 * 8) * (size_t)(h->D + 64) * 8;
    return rows ? x + (size_t)rows * 8 * (size_t)(h->V / 256 + 1) + 1024 : fc_head_lse_workspace_cuda(h->R, h->D, h->V);
}

static fc_head_lse_args args_of(const head *h, fc_stream s, const int32_t *row, const int32_t *id, int M) {
    return (fc_head_lse_args){.lse = device_copy(s, NULL, (size_t)h->R * 8),
                              .lp = device_copy(s, NULL, (size_t)M * 4),
                              .x = h->device_x,
                              .w = h->m.w,
                              .row = device_copy(s, row, (size_t)M * 4),
                              .id = device_copy(s, id, (size_t)M * 4),
                              .R = h->R,
                              .M = M,
                              .cap = h->cap,
                              .precise = h->precise};
}

static void release(fc_head_lse_args *a) {
    device_free(a->lse);
    device_free(a->lp);
    device_free((void *)(uintptr_t)a->row);
    device_free((void *)(uintptr_t)a->id);
}

static void picks_have_the_bits(fc_dtype t, int V, int R, float cap, int piece, uint64_t seed) {
    uint64_t used = seed;
    fc_stream maker = device_stream(16 << 20), s, c;
    head h;
    float lp[MEMBERS], want[MEMBERS];
    int32_t row[MEMBERS], id[MEMBERS];
    fc_head_lse_args a;
    double *lse = calloc((size_t)R, 8);
    head_init(&h, maker, t, V, R, cap, true, -1, &used);
    for (int m = 0, r = 0; m < MEMBERS; m++) {
        row[m] = r;
        id[m] = m == 0 ? V - 1 : test_below(&used, V);
        r += test_below(&used, 3);
        r = r < R ? r : R - 1;
    }
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, 20000 + (size_t)V * 16, &c));
    assert_ok(fc_logprob_cpu(
        c, &(fc_logprob_args){.lp = want, .logits = h.logits, .row = row, .id = id, .R = R, .V = V, .M = MEMBERS}));
    s = device_stream(room(&h, piece));
    a = args_of(&h, s, row, id, MEMBERS);
    assert_ok(fc_head_lse_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, lp, a.lp, sizeof lp);
    device_read(s, lse, a.lse, (size_t)R * 8);
    for (int m = 0; m < MEMBERS; m++)
        if (!same_float(lp[m], want[m]))
            fail_msg("%s V %d R %d cap %g piece %d seed %llu: lp[%d] = %.9g, not %.9g", fc_dtype_name(t), V, R,
                     (double)cap, piece, (unsigned long long)seed, m, (double)lp[m], (double)want[m]);
    for (int r = 0; r < R; r++) { /* the formula, in double */
        double sum = 0.0;
        for (int v = 0; v < V; v++) sum += exp((double)h.logits[(size_t)r * (size_t)V + (size_t)v]);
        assert_true(fabs(lse[r] - log(sum)) <= 2e-6 + 2e-6 * fabs(lse[r]));
    }
    release(&a);
    head_fini(&h);
    device_close(s), device_close(maker);
    fc_cpu_stream_close(c);
    free(lse);
}

static void pieces_of_any_size(void **state) {
    (void)state;
    each_order(picks_have_the_bits(FC_Q8_0, 300, 20, 0.0f, 0, 1));
    emu_opts = (emu_options){.order = EMU_FORWARD};
    picks_have_the_bits(FC_Q8_0, 300, 20, 3.0f, 8, 2);
    picks_have_the_bits(FC_BF16, 700, 20, 0.0f, 3, 3);
    picks_have_the_bits(FC_F32, 513, 11, 3.0f, 1, 4);
    picks_have_the_bits(FC_Q4_K, 1, 3, 0.0f, 1, 5);
    picks_have_the_bits(FC_F16, 260, 70, 0.0f, 0, 6);
}

static void broken_rows_say_so_and_wrong_ones_are_named(void **state) {
    static const int32_t row[] = {0, 2, 4}, id[] = {1, 2, 3}, far[] = {1, 300, 3}, back[] = {2, 0, 4};
    uint64_t seed = 8;
    fc_stream s = device_stream(16 << 20);
    head h;
    fc_head_lse_args a;
    double lse[5];
    (void)state;
    emu_opts = (emu_options){.order = EMU_FORWARD};
    head_init(&h, s, FC_Q8_0, 300, 5, 0.0f, true, 3, &seed);
    a = args_of(&h, s, row, id, 3);
    assert_ok(fc_head_lse_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, lse, a.lse, sizeof lse);
    for (int r = 0; r < 5; r++) assert_true(r == 3 ? isnan(lse[r]) : isfinite(lse[r])); /* of the others as ever */
    release(&a);
    a = args_of(&h, s, row, far, 3);
    assert_ok(fc_head_lse_cuda(s, &a));
    assert_fails(device_sync(s), FC_ERR_ARG, "head_lse: row 2: an id is outside");
    release(&a);
    a = args_of(&h, s, back, id, 3);
    assert_ok(fc_head_lse_cuda(s, &a));
    assert_fails(device_sync(s), FC_ERR_ARG, "rows must not decrease");
    release(&a);
    head_fini(&h);
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_of_any_size),
                                       cmocka_unit_test(broken_rows_say_so_and_wrong_ones_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
