/* head_wgmma.cu under emulation: heads of 17 rows and more by warpgroups have the bits of 16 rows at a time, which
 * others multiply; who takes them. */
#include "kernels/head/head_draw.h"
#include "kernels/head/head_lse.h"
#include "tests/cuda_emu/util_head.h"
#include "tests/cuda_emu/util_same.h"
#ifndef FC_TESTS_GPU
#include "tests/cuda_emu/runtime_control.h"
#endif

enum { ROOM = 16 << 20, ROWS = 300, ASKED = 90, MEMBERS = 3 * ROWS, FEW = 16, FIRST_CODE = 2 /* of matrix_types */ };

int fc_head_wgmma_rows(fc_stream s, const fc_weight *w, int n, bool precise); /* head_tiles.cuh */

/* What both heads leave. */
typedef struct {
    double lse[ROWS];
    float lp[ASKED], logprob[MEMBERS];
    int32_t token[MEMBERS];
} answer;

typedef struct {
    int32_t row[ASKED], id[ASKED];
    fc_head_draw_row rows[ROWS];
    fc_draw_member members[MEMBERS];
    int M;
} asked;

static void ask(asked *q, int R, int V, uint64_t *seed) {
    static const float t[] = {1.0f, 0.0f, 0.7f, 1.0f, 1.9f};
    memset(q, 0, sizeof *q);
    for (int m = 0; m < ASKED; m++) {
        q->row[m] = m * R / ASKED;
        q->id[m] = m == ASKED - 1 ? V - 1 : test_below(seed, V);
    }
    for (int r = 0; r < R; r++) {
        int n = r % 9 == 4 ? 0 : 1 + test_below(seed, 3);
        q->rows[r] = (fc_head_draw_row){.member = q->M, .n_members = n, .temperature = t[test_below(seed, 5)]};
        for (int i = 0; i < n; i++)
            q->members[q->M++] = (fc_draw_member){.seed = *seed, .candidate = (uint32_t)i, .position = (uint32_t)r};
    }
}

static void heads(answer *out, const head *h, const asked *q, fc_stream s) {
    double *lse = device_copy(s, NULL, sizeof out->lse);
    float *lp = device_copy(s, NULL, sizeof out->lp), *logprob = device_copy(s, NULL, sizeof out->logprob);
    int32_t *token = device_copy(s, NULL, sizeof out->token), *row = device_copy(s, q->row, sizeof q->row),
            *id = device_copy(s, q->id, sizeof q->id);
    fc_head_draw_row *rows = device_copy(s, q->rows, sizeof q->rows);
    fc_draw_member *members = device_copy(s, q->members, sizeof q->members);
    memset(out, 0, sizeof *out);
    assert_ok(fc_head_lse_cuda(s, &(fc_head_lse_args){.lse = lse,
                                                      .lp = lp,
                                                      .x = h->device_x,
                                                      .w = h->m.w,
                                                      .row = row,
                                                      .id = id,
                                                      .R = h->R,
                                                      .M = ASKED,
                                                      .cap = h->cap,
                                                      .precise = h->precise}));
    assert_ok(fc_head_draw_cuda(s, &(fc_head_draw_args){.token = token,
                                                        .logprob = logprob,
                                                        .x = h->device_x,
                                                        .w = h->m.w,
                                                        .rows = rows,
                                                        .members = members,
                                                        .R = h->R,
                                                        .M = q->M,
                                                        .cap = h->cap,
                                                        .precise = h->precise}));
    assert_ok(device_sync(s));
    device_read(s, out->lse, lse, (size_t)h->R * 8);
    device_read(s, out->lp, lp, sizeof out->lp);
    device_read(s, out->token, token, (size_t)q->M * 4);
    device_read(s, out->logprob, logprob, (size_t)q->M * 4);
    device_free(lse), device_free(lp), device_free(logprob), device_free(token);
    device_free(row), device_free(id), device_free(rows), device_free(members);
}

static void as_few_rows(fc_dtype t, int V, int R, float cap, bool precise, int broken, uint64_t seed) {
    static answer whole, few;
    static asked q;
    uint64_t used = seed;
    head h;
    fc_stream s = device_stream(ROOM), poor;
    size_t room;
    head_init(&h, s, t, V, R, cap, precise, broken, &used);
    ask(&q, R, V, &used);
    room = fc_head_draw_workspace_cuda(FEW, q.M, h.D, V); /* 16 rows at a time */
    poor = device_stream(room);
    assert_int_equal(fc_head_wgmma_rows(s, h.m.w, R, precise), R <= 32 ? 32 : R <= 64 ? 64 : 128);
    assert_int_equal(fc_head_wgmma_rows(poor, h.m.w, FEW, precise), 0);
    heads(&whole, &h, &q, s);
    heads(&few, &h, &q, poor);
    for (int r = 0; r < R; r++) {
        if (!same_double(whole.lse[r], few.lse[r]))
            fail_msg("%s V %d R %d cap %g precise %d seed %llu: lse[%d] = %.17g, of few rows %.17g", fc_dtype_name(t),
                     V, R, (double)cap, precise, (unsigned long long)seed, r, whole.lse[r], few.lse[r]);
        assert_int_equal(isnan(whole.lse[r]) != 0, r == broken);
    }
    for (int m = 0; m < ASKED; m++)
        if (!same_float(whole.lp[m], few.lp[m]))
            fail_msg("%s V %d R %d seed %llu: row %d, id %d: %.9g, of few rows %.9g", fc_dtype_name(t), V, R,
                     (unsigned long long)seed, q.row[m], q.id[m], (double)whole.lp[m], (double)few.lp[m]);
    for (int m = 0; m < q.M; m++)
        if (whole.token[m] != few.token[m] || !same_float(whole.logprob[m], few.logprob[m]))
            fail_msg("%s V %d R %d seed %llu: member %d drew %d, %.9g; of few rows %d, %.9g", fc_dtype_name(t), V, R,
                     (unsigned long long)seed, m, whole.token[m], (double)whole.logprob[m], few.token[m],
                     (double)few.logprob[m]);
    head_fini(&h);
    device_close(s), device_close(poor);
}

/* If this fails, many candidates draw other tokens on an H100 than few, or are scored otherwise. */
static void every_code_has_the_bits_of_few_rows(void **state) {
    static const int vocabs[] = {300, 129, 600, 128, 511}, rows[] = {17, 70, 33, 130, 64, 40};
    (void)state;
    for (int t = FIRST_CODE; t < test_cases(MATRIX_TYPES - FIRST_CODE) + FIRST_CODE; t++) {
        emu_opts = (emu_options){.order = (emu_order)(t % EMU_ORDERS), .seed = (uint64_t)t};
        as_few_rows(matrix_types[t], vocabs[t % 5], rows[t % 6], t % 3 ? 0.0f : 20.0f, t % 2, t % 4 ? -1 : 5,
                    600 + (uint64_t)t);
    }
    each_order(as_few_rows(FC_BF16, 300, 34, 0.0f, emu_opts.order % 2, -1, 7));
    each_order(as_few_rows(FC_Q4_K, 200, 20, 9.0f, emu_opts.order % 2, -1, 8));
    emu_opts = (emu_options){.order = EMU_WARPS};
    as_few_rows(FC_BF16, 260, 250, 0.0f, false, 230, 9); /* clusters of four */
    as_few_rows(FC_BF16, 40, 240, 0.0f, true, 130, 10);
    for (matrix_f8 = MATRIX_F8_NONE; matrix_f8 <= MATRIX_F8_BLOCKS; matrix_f8++)
        as_few_rows(FC_F8, 300, 40, 0.0f, true, -1, 11);
    matrix_f8 = 0;
}

/* Who has too little shared memory, other weights or another device stays with the kernels of any. */
static void others_are_not_taken(void **state) {
    static const fc_dtype types[] = {FC_F32, FC_F16, FC_BF16};
    uint64_t seed = 3;
    (void)state;
    for (int i = 0; i < 3; i++) {
        fc_stream s = device_stream(ROOM), variant = device_stream_variant(ROOM);
        head h, other;
        head_init(&h, s, types[i], 300, 20, 0.0f, true, -1, &seed);
        head_init(&other, variant, types[i], 300, 20, 0.0f, true, -1, &seed);
        assert_int_equal(fc_head_wgmma_rows(s, h.m.w, 20, true), types[i] == FC_BF16 ? 32 : 0);
        assert_int_equal(fc_head_wgmma_rows(variant, other.m.w, 20, true), 0);
        head_fini(&h), head_fini(&other);
        device_close(s), device_close(variant);
    }
    device_shared = DEVICE_SMALL;
    for (int precise = 0; precise < 2; precise++) {
        fc_stream s = device_stream(ROOM);
        head h;
        head_init(&h, s, FC_BF16, 300, 130, 0.0f, precise, -1, &seed);
        assert_int_equal(fc_head_wgmma_rows(s, h.m.w, 130, precise),
                         precise ? 0 : 128); /* of precise ones a stage fits */
        head_fini(&h);
        device_close(s);
    }
    device_shared = 0;
#ifndef FC_TESTS_GPU
    for (int sm = 80; sm <= 120; sm += 40) {
        fc_stream s;
        head h;
        emu_reset();
        emu_device_opts.sm = sm;
        s = device_stream(ROOM);
        head_init(&h, s, FC_BF16, 300, 20, 0.0f, true, -1, &seed);
        assert_int_equal(fc_head_wgmma_rows(s, h.m.w, 20, true), 0);
        head_fini(&h);
        device_close(s);
    }
    emu_reset();
    emu_device_opts.sm = 0;
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_code_has_the_bits_of_few_rows),
                                       cmocka_unit_test(others_are_not_taken)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
