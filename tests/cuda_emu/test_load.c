/* Loads of products and heads under emulation: what kernels/linear/linear_load.h predicts is what is packed and
 * launched. */
#include "kernels/head/head_draw.h"
#include "kernels/head/head_lse.h"
#include "kernels/linear/linear_load.h"
#include "tests/cuda_emu/runtime_control.h"
#include "tests/cuda_emu/util_head.h"

enum { ROOM = 32 << 20 };
static const fc_load_device device = {.sms = 4, .shared_max = 227 << 10, .cache_bytes = 50e6, .warpgroups = true};
static uint64_t seed = 99;

static fc_scales scales_of(const matrix *m) {
    const fc_weight_part *p = &m->parts[0];
    return !p->scale ? FC_SCALES_NONE : p->scale_cols >= p->K ? FC_SCALES_ROWS : FC_SCALES_BLOCKS;
}

/* Launches of a call, and what its load says. */
static fc_load product_is_predicted(fc_dtype t, int N, int K, int T, bool precise, bool variant) {
    fc_stream s = variant ? device_stream_variant(ROOM) : device_stream(ROOM);
    fc_linear_shape shape = {.type = t, .T = T, .N = N, .K = K, .precise = precise, .variant = variant};
    float *x, *y;
    fc_load l;
    matrix m;
    matrix_init(&m, s, &t, &N, 1, K, &seed);
    shape.scales = scales_of(&m);
    l = fc_linear_load_cuda(&shape, &device);
    assert_true(fc_linear_packed_cuda(t, shape.scales, N, K) == (double)m.w->bytes);
    assert_true(l.memory >= (double)m.w->bytes);
    assert_true(fc_linear_packed_cpu(t, N, K, 0) > 0);
    x = device_copy(s, NULL, (size_t)T * (size_t)K * 4);
    y = device_copy(s, NULL, (size_t)T * (size_t)N * 4);
    assert_ok(device_sync(s));
    emu_counts_reset();
    assert_ok(fc_linear_cuda(s, &(fc_linear_args){.y = y, .x = x, .w = m.w, .T = T, .precise = precise}));
    assert_ok(device_sync(s));
    if ((int)emu_counts().launches != l.launches)
        fail_msg("%s [%d,%d] T=%d precise %d variant %d: %d launches are predicted, %d were made", fc_dtype_name(t), N,
                 K, T, precise, variant, l.launches, (int)emu_counts().launches);
    device_free(x), device_free(y);
    matrix_fini(&m);
    device_close(s);
    return l;
}

/* If this fails, bench model counts the bytes or launches of some product wrongly. */
static void products_are_predicted(void **state) {
    static const int rows[] = {1, 8, 9, 16, 17, 40, 70, 129};
    (void)state;
    for (int t = 0; t < MATRIX_TYPES; t++)
        for (int i = 0; i < 8; i++)
            product_is_predicted(matrix_types[t], i % 2 ? 35 : 530,
                                 matrix_types[t] == FC_Q6_K ? 256 : 256 + 256 * (i % 3), rows[i], i % 2 != t % 2,
                                 false);
    product_is_predicted(FC_BF16, 20, 64, 1100, true, false); /* x in pieces */
    product_is_predicted(FC_Q8_0, 20, 64, 1030, false, false);
    product_is_predicted(FC_F8, 140, 64, 1154, true, false);
    product_is_predicted(FC_BF16, 2100, 64, 40, true, false); /* blocks enough: nothing is folded */
    product_is_predicted(FC_Q8_0, 300, 64, 100, false, false);
    for (int T = 127; T < 200; T += 1 + 40 * (T > 127)) /* 128: from here on cuBLASLt may take them */
        for (int precise = 0; precise < 2; precise++) product_is_predicted(FC_BF16, 300, 128, T, precise, true);
    for (int i = 0; i < 8; i++) /* warpgroups: 17 rows and more, but for BF16 that is cuBLASLt's */
        for (int precise = 0; precise < 2; precise++) {
            assert_int_equal(product_is_predicted(FC_Q8_0, 300, 512, rows[i], precise, true).warpgroups, rows[i] > 16);
            assert_int_equal(product_is_predicted(FC_BF16, 600, 128, rows[i], precise, false).warpgroups, rows[i] > 16);
            assert_false(product_is_predicted(FC_BF16, 600, 128, rows[i], precise, true).warpgroups);
            assert_false(product_is_predicted(FC_F16, 40, 128, rows[i], precise, false).warpgroups);
        }
}

static void head_is_predicted(fc_dtype t, int V, int R) {
    uint64_t used = seed;
    fc_stream s = device_stream(64 << 20);
    fc_load l;
    head h;
    head_init(&h, s, t, V, R, 0, true, -1, &used);
    l = fc_head_load_cuda(
        &(fc_linear_shape){.type = t, .scales = scales_of(&h.m), .T = R, .N = V, .K = h.D, .precise = true}, 0,
        &device);
    {
        fc_head_lse_args a = {
            .lse = device_copy(s, NULL, (size_t)R * 8), .x = h.device_x, .w = h.m.w, .R = R, .precise = true};
        assert_ok(device_sync(s));
        emu_counts_reset();
        assert_ok(fc_head_lse_cuda(s, &a));
        assert_ok(device_sync(s));
        device_free(a.lse);
    }
    assert_int_equal(emu_counts().launches, l.launches);
    assert_true(l.memory >= (double)h.m.w->bytes);
    head_fini(&h);
    device_close(s);
}

/* A draw reads some tiles again: their x is made for others than warpgroups. */
static void draw_is_predicted(fc_dtype t, int R) {
    fc_head_draw_row rows[40] = {{0}};
    fc_draw_member members[40] = {{0}};
    uint64_t used = seed;
    fc_stream s = device_stream(64 << 20);
    fc_load l;
    head h;
    head_init(&h, s, t, 700, R, 0, true, -1, &used);
    for (int r = 0; r < R; r++) rows[r] = (fc_head_draw_row){.member = r, .n_members = 1, .temperature = 1.0f};
    l = fc_head_load_cuda(&(fc_linear_shape){.type = t, .T = R, .N = 700, .K = h.D, .precise = true}, R, &device);
    {
        fc_head_draw_args a = {.token = device_copy(s, NULL, sizeof members),
                               .logprob = device_copy(s, NULL, sizeof members),
                               .x = h.device_x,
                               .w = h.m.w,
                               .rows = device_copy(s, rows, sizeof rows),
                               .members = device_copy(s, members, sizeof members),
                               .R = R,
                               .M = R,
                               .precise = true};
        assert_ok(device_sync(s));
        emu_counts_reset();
        assert_ok(fc_head_draw_cuda(s, &a));
        assert_ok(device_sync(s));
        device_free(a.token), device_free(a.logprob);
        device_free((void *)(uintptr_t)a.rows), device_free((void *)(uintptr_t)a.members);
    }
    assert_int_equal(emu_counts().launches, l.launches);
    assert_true(l.warpgroups == (R > 16));
    head_fini(&h);
    device_close(s);
}

static void heads_are_predicted(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) draw_is_predicted(i ? FC_BF16 : FC_Q8_0, 10 + 30 * i);
    for (int t = 0; t < MATRIX_TYPES; t++) head_is_predicted(matrix_types[t], 700, 3 + 20 * (t % 3));
    head_is_predicted(FC_BF16, 20, 1100); /* pieces of 1024 rows */
}

/* Half of a turn leaves half of the places idle; a whole one none. */
static void busy_is_by_turns(void **state) {
    (void)state;
    assert_true(fc_load_busy(66, 132) == 0.5);
    assert_true(fc_load_busy(132, 132) == 1);
    assert_true(fc_load_busy(198, 132) == 0.75);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_predicted),
        cmocka_unit_test(heads_are_predicted),
        cmocka_unit_test(busy_is_by_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
