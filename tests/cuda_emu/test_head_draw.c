/* head_draw.cu under emulation: the tokens and log-probs of linear, softcap and the CPU's draw one after another, at
 * any temperatures, members a row, types and pieces; refused rows by number. */
#include "kernels/cpu/cpu.h"
#include "kernels/head/head_draw.h"
#include "tests/cuda_emu/util_head.h"
#include "tests/cuda_emu/util_same.h"

enum { ROWS = 24, MEMBERS = 400 };

typedef struct {
    fc_head_draw_row rows[ROWS];
    fc_draw_row plain[ROWS];
    fc_draw_member members[MEMBERS];
    int M;
} draws;

/* Some rows without members, some places between theirs that are nobody's. */
static void make_draws(draws *d, int R, uint64_t *seed) {
    static const float t[] = {0.0f, 1.0f, 1.0f, 0.5f, 1.6f};
    memset(d, 0, sizeof *d);
    for (int r = 0; r < R; r++) {
        int n = r % 5 == 4 ? 0 : r % 7 == 1 ? 40 : 1 + test_below(seed, 5);
        d->M += test_below(seed, 2);
        d->rows[r] = (fc_head_draw_row){.member = d->M, .n_members = n, .temperature = t[test_below(seed, 5)]};
        d->plain[r] = (fc_draw_row){.row = r,
                                    .member = d->M,
                                    .n_members = n,
                                    .temperature = d->rows[r].temperature,
                                    .top_p = 1.0f,
                                    .typical_p = 1.0f,
                                    .repetition = 1.0f};
        for (int i = 0; i < n; i++)
            d->members[d->M++] = (fc_draw_member){.seed = *seed, .candidate = (uint32_t)i, .position = (uint32_t)r};
    }
    d->M++;
    assert_true(d->M <= MEMBERS);
}

static fc_head_draw_args args_of(const head *h, const draws *d, fc_stream s) {
    return (fc_head_draw_args){.token = device_copy(s, NULL, sizeof(int32_t) * MEMBERS),
                               .logprob = device_copy(s, NULL, sizeof(float) * MEMBERS),
                               .x = h->device_x,
                               .w = h->m.w,
                               .rows = device_copy(s, d->rows, sizeof d->rows),
                               .members = device_copy(s, d->members, sizeof d->members),
                               .R = h->R,
                               .M = d->M,
                               .cap = h->cap,
                               .precise = h->precise};
}

static void release(fc_head_draw_args *a) {
    device_free(a->token);
    device_free(a->logprob);
    device_free((void *)(uintptr_t)a->rows);
    device_free((void *)(uintptr_t)a->members);
}

static void has_the_bits(fc_dtype t, int V, int R, float cap, bool precise, int piece, uint64_t seed) {
    uint64_t used = seed;
    fc_stream maker = device_stream(16 << 20), s, c;
    head h;
    draws d;
    fc_head_draw_args a;
    int32_t token[MEMBERS], want[MEMBERS];
    float logprob[MEMBERS], lp[MEMBERS];
    head_init(&h, maker, t, V, R, cap, precise, -1, &used);
    make_draws(&d, R, &used);
    memset(want, 0xff, sizeof want);
    memset(lp, 0xff, sizeof lp);
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, fc_draw_workspace_cpu(V), &c));
    assert_ok(fc_draw_cpu(c, &(fc_draw_args){.token = want,
                                             .logprob = lp,
                                             .logits = h.logits,
                                             .rows = d.plain,
                                             .members = d.members,
                                             .R = R,
                                             .V = V,
                                             .n_rows = R,
                                             .M = d.M}));
    s = device_stream(piece ? (size_t)piece * ((size_t)(h.D + 64) * 8 + 20 * (size_t)(V / 256 + 1) + 24) + 2048
                            : fc_head_draw_workspace_cuda(R, d.M, h.D, V));
    a = args_of(&h, &d, s);
    assert_ok(fc_head_draw_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, token, a.token, sizeof token);
    device_read(s, logprob, a.logprob, sizeof logprob);
    for (int m = 0; m < MEMBERS; m++) /* those of nobody are as they were */
        if (token[m] != want[m] || !same_float(logprob[m], lp[m]))
            fail_msg("%s V %d R %d cap %g precise %d piece %d seed %llu: member %d drew %d, %.9g; not %d, %.9g",
                     fc_dtype_name(t), V, R, (double)cap, precise, piece, (unsigned long long)seed, m, token[m],
                     (double)logprob[m], want[m], (double)lp[m]);
    release(&a);
    head_fini(&h);
    device_close(s), device_close(maker);
    fc_cpu_stream_close(c);
}

static void draws_have_the_bits(void **state) {
    static const int vocabs[] = {300, 700, 1, 257, 17, 550}, counts[] = {1, 8, 9, 24, 3, 5};
    (void)state;
    for (int k = 0; k < MATRIX_TYPES; k++) {
        emu_opts = (emu_options){.order = (emu_order)(k % EMU_ORDERS), .seed = (uint64_t)k};
        has_the_bits(matrix_types[k], vocabs[k % 6], counts[(k + k / 6) % 6], k % 2 ? 8.0f : 0.0f, k % 3 == 0,
                     k % 4 * 3, 200 + (uint64_t)k);
    }
    each_order(has_the_bits(FC_Q8_0, 600, 6, 4.0f, true, 0, 9));
    device_shared = DEVICE_SMALL; /* smaller tiles and rings */
    has_the_bits(FC_BF16, 300, 9, 8.0f, true, 0, 230);
    has_the_bits(FC_Q4_0, 300, 9, 8.0f, true, 0, 231);
    device_shared = 0;
}

static void broken_rows_say_so_and_wrong_ones_are_named(void **state) {
    uint64_t seed = 8;
    fc_stream s = device_stream(16 << 20);
    head h;
    draws d, bad;
    fc_head_draw_args a;
    int32_t token[MEMBERS];
    float lp[MEMBERS];
    (void)state;
    emu_opts = (emu_options){.order = EMU_FORWARD};
    head_init(&h, s, FC_Q8_0, 300, 6, 0.0f, true, 3, &seed);
    make_draws(&d, 6, &seed);
    a = args_of(&h, &d, s);
    assert_ok(fc_head_draw_cuda(s, &a));
    assert_ok(device_sync(s));
    device_read(s, token, a.token, sizeof token);
    device_read(s, lp, a.logprob, sizeof lp);
    for (int r = 0; r < 6; r++)
        for (int m = d.rows[r].member; m < d.rows[r].member + d.rows[r].n_members; m++)
            assert_true(r == 3 ? token[m] == -FC_ROW_BROKEN && isnan(lp[m]) : token[m] >= 0 && token[m] < 300);
    release(&a);
#define with(place, field, value, words)                                                                               \
    do {                                                                                                               \
        bad = d;                                                                                                       \
        bad.rows[place].field = value;                                                                                 \
        a = args_of(&h, &bad, s);                                                                                      \
        assert_ok(fc_head_draw_cuda(s, &a));                                                                           \
        assert_fails(device_sync(s), FC_ERR_ARG, words);                                                               \
        release(&a);                                                                                                   \
    } while (0)
    with(1, member, -1, "head_draw: row 1: its members");
    with(2, n_members, MEMBERS, "head_draw: row 2: its members");
    with(0, n_members, d.rows[1].member + 1, "head_draw: row 1: its members");
    with(0, temperature, -0.5f, "head_draw: row 0: its temperature");
    with(2, temperature, NAN, "head_draw: row 2: its temperature");
    head_fini(&h);
    device_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(draws_have_the_bits),
                                       cmocka_unit_test(broken_rows_say_so_and_wrong_ones_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
