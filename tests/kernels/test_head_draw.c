/* The head that draws: tokens and log-probs of linear, softcap and draw one after another, bit for bit, for every
 * weight type, level, temperature and cut; the reference; broken rows by name. */
#include "kernels/head/head_draw.h"

#include "engine/base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/softcap/softcap.h"
#include "tests/kernels/util_weight.h"
#include "tests/util.h"

static uint64_t seed = 4711;
enum { MAX_ROWS = 70, MAX_MEMBERS = 9, M_MAX = MAX_ROWS * (MAX_MEMBERS + 1), NOBODY = -77 };

static fc_stream stream_of(int level, int threads, size_t workspace, int V) {
    fc_stream s = NULL;
    assert_ok(fc_cpu_stream_open((fc_cpu_level)level, threads, workspace, fc_draw_workspace_cpu(V), &s));
    return s;
}

static void *must(size_t n, size_t size) {
    void *p = NULL;
    assert_ok(fc_alloc(n, size, "test", &p));
    return p;
}

typedef struct {
    float *x; /* [R,D] */
    fc_head_draw_row rows[MAX_ROWS];
    fc_draw_member members[M_MAX];
    int R, M;
} batch;

/* One to nine members a row, now and then none, and now and then a member of nobody's between two rows. */
static void make(batch *b, int R, int D) {
    static const float temperatures[] = {1.0f, 0.0f, 0.3f, 2.5f, 1e-40f};
    *b = (batch){.x = must((size_t)R * (size_t)D, sizeof(float)), .R = R};
    for (int i = 0; i < R * D; i++) b->x[i] = test_normal(&seed) * (float)(1 + i / D % 3 * 4);
    for (int r = 0; r < R; r++) {
        if (r % 5 == 3) b->M++;
        b->rows[r] = (fc_head_draw_row){.member = b->M,
                                        .n_members = r % 11 == 10 ? 0 : 1 + test_below(&seed, MAX_MEMBERS),
                                        .temperature = temperatures[r % 5]};
        b->M += b->rows[r].n_members;
    }
    for (int m = 0; m < b->M; m++)
        b->members[m] = (fc_draw_member){
            .seed = fc_rng_next(&seed), .candidate = (uint32_t)m, .attempt = (uint32_t)m % 3, .position = 7};
}

/* Tokens and log-probs by a whole array of logits. */
static void apart(const batch *b, const fc_weight *w, int level, float cap, bool precise, int32_t *token, float *lp) {
    int V = w->N;
    size_t n = (size_t)b->R * (size_t)V;
    float *logits = must(n, sizeof *logits);
    fc_draw_row rows[MAX_ROWS];
    fc_stream s = stream_of(level, 2, fc_linear_workspace_cpu(b->R, w->K), V);
    for (int r = 0; r < b->R; r++)
        rows[r] = (fc_draw_row){.row = r,
                                .member = b->rows[r].member,
                                .n_members = b->rows[r].n_members,
                                .temperature = b->rows[r].temperature,
                                .top_p = 1.0f,
                                .typical_p = 1.0f,
                                .repetition = 1.0f};
    assert_ok(fc_linear_cpu(s, &(fc_linear_args){.y = logits, .x = b->x, .w = w, .T = b->R, .precise = precise}));
    if (cap > 0.0f) assert_ok(fc_softcap_cpu(s, &(fc_softcap_args){.x = logits, .n = n, .cap = cap}));
    assert_ok(fc_draw_cpu(s, &(fc_draw_args){.token = token,
                                             .logprob = lp,
                                             .logits = logits,
                                             .rows = rows,
                                             .members = b->members,
                                             .R = b->R,
                                             .V = V,
                                             .n_rows = b->R,
                                             .M = b->M}));
    fc_cpu_stream_close(s);
    fc_free(logits);
}

/* Logits are within linear's tolerance of the reference's: where u lies that near a boundary, or two logits are that
 * near to each other, another id is as right. So near are fewer than one in a hundred. */
static void against_reference(const batch *b, fc_head_draw_args a, const char *what) {
    const int32_t *token = a.token;
    const float *lp = a.logprob;
    int32_t want[M_MAX];
    float want_lp[M_MAX];
    int apart_by = 0;
    a.token = want;
    a.logprob = want_lp;
    assert_ok(fc_head_draw_ref(NULL, &a));
    for (int r = 0; r < b->R; r++)
        for (int m = b->rows[r].member; m < b->rows[r].member + b->rows[r].n_members; m++) {
            if (token[m] != want[m]) apart_by++;
            else if (!(fabsf(lp[m] - want_lp[m]) <= 1e-3f + 1e-4f * fabsf(want_lp[m])))
                fail_msg("%s row %d member %d id %d: %.9g, reference %.9g", what, r, m, token[m], (double)lp[m],
                         (double)want_lp[m]);
        }
    if (apart_by > b->M / 100 + 1) fail_msg("%s: %d of %d ids are not the reference's", what, apart_by, b->M);
}

static void compare(const batch *b, const fc_weight *w, int level, float cap, bool precise, const char *what) {
    int V = w->N, D = w->K;
    int32_t token[M_MAX], want[M_MAX];
    float lp[M_MAX], want_lp[M_MAX];
    fc_head_draw_args a = {.token = token,
                           .logprob = lp,
                           .x = b->x,
                           .w = w,
                           .rows = b->rows,
                           .members = b->members,
                           .R = b->R,
                           .M = b->M,
                           .cap = cap,
                           .precise = precise};
    size_t one = fc_head_draw_workspace_cpu(1, D, V), row = fc_head_draw_workspace_cpu(2, D, V) - one;
    for (int m = 0; m < b->M; m++) want[m] = NOBODY;
    memset(want_lp, 0xff, sizeof want_lp);
    apart(b, w, level, cap, precise, want, want_lp);
    for (int cut = 0; cut < 4; cut++) { /* one row at a time, pieces, all at once; one thread to four */
        size_t space = cut == 0 ? one : cut == 1 ? one + 6 * row : fc_head_draw_workspace_cpu(b->R, D, V);
        fc_stream s = stream_of(level, 1 + cut, space, V);
        for (int m = 0; m < b->M; m++) token[m] = NOBODY;
        memset(lp, 0xff, sizeof lp);
        assert_ok(fc_head_draw_cpu(s, &a));
        fc_cpu_stream_close(s);
        for (int m = 0; m < b->M; m++)
            if (token[m] != want[m] || memcmp(lp + m, want_lp + m, sizeof *lp))
                fail_msg("%s V=%d R=%d level %d cap %g cut %d member %d: id %d %.9g, apart %d %.9g", what, V, b->R,
                         level, (double)cap, cut, m, token[m], (double)lp[m], want[m], (double)want_lp[m]);
    }
    if (level == (int)fc_cpu_best()) against_reference(b, a, what);
}

/* If this fails, what a request draws depends on what else it, or its neighbours in the batch, asked for. */
static void the_drawing_head_has_the_bits_of_its_parts(void **state) {
    static const int vocabs[] = {1, 33, 256, 777, 1040, 2500}, rows[] = {1, 2, 7, 27, 70};
    int k = 0;
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int t = 0; t < WEIGHT_TYPES; t++)
        for (int v = 0; v < 6; v++, k++) {
            int block = (int)fc_dtype_block(weight_types[t]), D = block == 1 ? 37 : block == 32 ? 64 : 256;
            fc_stream s = stream_of(FC_CPU_AUTO, 1, 64, 1);
            fc_weight *w = weight_made_up(s, weight_types[t], vocabs[v], D, &seed);
            batch b;
            make(&b, rows[k % 5], D);
            for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
                compare(&b, w, l, k % 3 == 0 ? 30.0f : 0.0f, k % 2, fc_dtype_name(weight_types[t]));
            fc_free(b.x);
            fc_weight_free_cpu(w);
            fc_cpu_stream_close(s);
        }
}

/* More rows than a piece ever has. If this fails, a large batch draws from another row's sums. */
static void more_rows_than_a_piece_are_each_their_own(void **state) {
    enum { D = 32, V = 300, N = 600 };
    static fc_head_draw_row rows[N];
    static fc_draw_member members[N];
    static int32_t token[N], alone[N];
    static float lp[N], lp_alone[N];
    float *x = must(N * D, sizeof *x);
    fc_stream s = stream_of(FC_CPU_AUTO, 3, fc_head_draw_workspace_cpu(N, D, V), V);
    fc_weight *w = weight_made_up(s, FC_Q8_0, V, D, &seed);
    (void)state;
    for (int i = 0; i < N * D; i++) x[i] = test_normal(&seed) * 5.0f;
    for (int i = 0; i < N; i++) {
        rows[i] = (fc_head_draw_row){.member = i, .n_members = 1, .temperature = 1.0f};
        members[i] = (fc_draw_member){.seed = seed, .candidate = (uint32_t)i};
    }
    assert_ok(fc_head_draw_cpu(
        s, &(fc_head_draw_args){
               .token = token, .logprob = lp, .x = x, .w = w, .rows = rows, .members = members, .R = N, .M = N}));
    for (int i = 0; i < N; i++)
        assert_ok(fc_head_draw_cpu(s, &(fc_head_draw_args){.token = alone,
                                                           .logprob = lp_alone,
                                                           .x = x + i * D,
                                                           .w = w,
                                                           .rows = rows + i,
                                                           .members = members,
                                                           .R = 1,
                                                           .M = N}));
    assert_memory_equal(token, alone, sizeof token);
    assert_memory_equal(lp, lp_alone, sizeof lp);
    fc_weight_free_cpu(w);
    fc_cpu_stream_close(s);
    fc_free(x);
}

/* If this fails, greedy decoding takes another id than the smallest of those that share the largest logit. */
static void ties_go_to_the_smaller_id(void **state) {
    enum { D = 32, V = 700 };
    float *data = must(V * D, sizeof *data), x[D] = {1.0f}, lp[2];
    int32_t token[2];
    fc_head_draw_row row = {.n_members = 2};
    fc_draw_member members[2] = {{.seed = 1}, {.seed = 2}};
    fc_weight_part part = {.name = "w", .data = data, .dtype = FC_F32, .N = V, .K = D};
    fc_weight *w = NULL;
    (void)state;
    for (int tied = 0; tied < 3; tied++) {
        static const int ids[3][2] = {{300, 301}, {255, 256}, {5, 699}};
        fc_stream s = stream_of(FC_CPU_AUTO, 2, fc_head_draw_workspace_cpu(1, D, V), V);
        for (int i = 0; i < V; i++) data[i * D] = i == ids[tied][0] || i == ids[tied][1] ? 3.0f : (float)(i % 3);
        assert_ok(fc_weight_pack_cpu(s, &part, 1, &w));
        assert_ok(fc_head_draw_cpu(
            s, &(fc_head_draw_args){
                   .token = token, .logprob = lp, .x = x, .w = w, .rows = &row, .members = members, .R = 1, .M = 2}));
        assert_int_equal(token[0], ids[tied][0]);
        assert_int_equal(token[1], ids[tied][0]);
        fc_weight_free_cpu(w);
        fc_cpu_stream_close(s);
    }
    fc_free(data);
}

static void broken_rows_say_so_and_arguments_are_named(void **state) {
    enum { D = 64, V = 300, R = 12 };
    float lp[R], data[D] = {0}, *big = must(V * D, sizeof *big), *x = must(R * D, sizeof *x);
    int32_t token[R];
    fc_head_draw_row rows[R];
    fc_draw_member members[R] = {0};
    fc_stream s = stream_of(FC_CPU_AUTO, 2, fc_head_draw_workspace_cpu(R, D, V), V), none;
    fc_weight *w = weight_made_up(s, FC_Q8_0, V, D, &seed), *infinite = NULL, *two = NULL;
    fc_weight_part parts[2] = {{.name = "a", .data = data, .dtype = FC_F32, .N = 1, .K = D},
                               {.name = "b", .data = data, .dtype = FC_F32, .N = 1, .K = D}},
                   part = {.name = "c", .data = big, .dtype = FC_F32, .N = V, .K = D};
    fc_head_draw_args a = {
        .token = token, .logprob = lp, .x = x, .w = w, .rows = rows, .members = members, .R = R, .M = R};
    (void)state;
    for (int i = 0; i < R; i++)
        rows[i] = (fc_head_draw_row){.member = i, .n_members = 1, .temperature = (float)(i % 3)};
    assert_ok(fc_head_draw_cpu(s, &a));
    x[11 * D + 3] = NAN;
    x[8 * D] = INFINITY;
    for (int ref = 0; ref < 2; ref++) {
        assert_ok((ref ? fc_head_draw_ref : fc_head_draw_cpu)(s, &a));
        for (int i = 0; i < R; i++) {
            assert_int_equal(token[i] == -FC_ROW_BROKEN, i == 8 || i == 11);
            assert_int_equal(isnan(lp[i]) != 0, i == 8 || i == 11);
        }
    }
    x[11 * D + 3] = x[8 * D] = 0.0f;
    for (int i = 0; i < V; i++) big[i * D] = -3e38f;
    assert_ok(fc_weight_pack_cpu(s, &part, 1, &infinite));
    a.w = infinite;
    x[5 * D] = 1e3f;
    for (int ref = 0; ref < 2; ref++) {
        assert_ok((ref ? fc_head_draw_ref : fc_head_draw_cpu)(s, &a));
        assert_int_equal(token[5], -FC_ROW_EMPTY);
        assert_true(isnan(lp[5]));
    }
    a.w = w;
    x[5 * D] = 0.0f;
    rows[7].member = 6;
    assert_fails(fc_head_draw_cpu(s, &a), FC_ERR_ARG, "row 7: members 6+1 of 12; 7 have gone before");
    rows[7].member = 7;
    rows[11].n_members = 2;
    assert_fails(fc_head_draw_cpu(s, &a), FC_ERR_ARG, "row 11: members 11+2 of 12");
    rows[11].n_members = -1;
    assert_fails(fc_head_draw_cpu(s, &a), FC_ERR_ARG, "row 11: members 11+-1");
    rows[11].n_members = 1;
    for (int i = 0; i < 3; i++) {
        static const float bad[] = {-1.0f, NAN, INFINITY};
        rows[3].temperature = bad[i];
        assert_fails(fc_head_draw_cpu(s, &a), FC_ERR_ARG, "row 3: temperature");
    }
    rows[3].temperature = 1.0f;
    a.cap = -1.0f;
    assert_fails(fc_head_draw_cpu(s, &a), FC_ERR_ARG, "cap=-1");
    a.cap = 0.0f;
    a.R = 0;
    assert_fails(fc_head_draw_cpu(s, &a), FC_ERR_ARG, "R=0");
    a.R = R;
    assert_ok(fc_weight_pack_cpu(s, parts, 2, &two));
    a.w = two;
    assert_fails(fc_head_draw_cpu(s, &a), FC_ERR_UNSUPPORTED, "a matrix of 2 tensors");
    a.w = w;
    none = stream_of(FC_CPU_AUTO, 1, 64, 1);
    assert_fails(fc_head_draw_cpu(none, &a), FC_ERR_MEM, "head_draw");
    fc_cpu_stream_close(none);
    fc_weight_free_cpu(infinite);
    fc_weight_free_cpu(two);
    fc_weight_free_cpu(w);
    fc_free(big);
    fc_free(x);
    fc_cpu_stream_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_drawing_head_has_the_bits_of_its_parts),
        cmocka_unit_test(more_rows_than_a_piece_are_each_their_own),
        cmocka_unit_test(ties_go_to_the_smaller_id),
        cmocka_unit_test(broken_rows_say_so_and_arguments_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
