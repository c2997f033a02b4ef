/* The fused head: bits of linear, softcap and logprob one after another, for every weight type, level and cut; the
 * reference; broken rows by name. */
#include "kernels/head/head_lse.h"

#include "engine/base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/draw/draw.h"
#include "kernels/logprob/logprob.h"
#include "kernels/logprob/tile.h"
#include "kernels/softcap/softcap.h"
#include "tests/kernels/util_weight.h"
#include "tests/util.h"

static uint64_t seed = 31337;
enum { R = 27, PER_ROW = 4, M = R * PER_ROW };

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
    float *x, *logits; /* [R,D], [R,V] */
    int32_t row[M], id[M];
    int n;
} batch;

/* Row 4 is asked for nothing; the first and the last id of the vocabulary and both sides of a tile's edge are asked
 * for. */
static void make(batch *b, int V, int D) {
    static const int edges[] = {0, 255, 256, 511};
    *b = (batch){.x = must((size_t)R * (size_t)D, sizeof(float)), .logits = must((size_t)R * (size_t)V, sizeof(float))};
    for (int i = 0; i < R * D; i++) b->x[i] = test_normal(&seed) * (float)(1 + i / D % 3 * 4);
    for (int r = 0; r < R; r++)
        for (int i = 0; r != 4 && i < PER_ROW; i++, b->n++) {
            b->row[b->n] = r;
            b->id[b->n] = i == 0 ? V - 1 : i == 1 ? edges[r % 4] % V : test_below(&seed, V);
        }
}

static void drop(batch *b) {
    fc_free(b->x);
    fc_free(b->logits);
}

static void compare(const batch *b, const fc_weight *w, int level, float cap, bool precise, const char *what) {
    int V = w->N, D = w->K;
    float lp[M], want[M];
    double lse[R], want_lse[R];
    fc_stream s = stream_of(level, 2, fc_linear_workspace_cpu(R, D), V);
    fc_head_lse_args a = {.lse = lse,
                          .lp = lp,
                          .x = b->x,
                          .w = w,
                          .row = b->row,
                          .id = b->id,
                          .R = R,
                          .M = b->n,
                          .cap = cap,
                          .precise = precise};
    size_t row = fc_linear_workspace_cpu(1, D) + 8 * ((size_t)(V - 1) / 256 + 1);
    assert_ok(fc_linear_cpu(s, &(fc_linear_args){.y = b->logits, .x = b->x, .w = w, .T = R, .precise = precise}));
    if (cap > 0.0f)
        assert_ok(fc_softcap_cpu(s, &(fc_softcap_args){.x = b->logits, .n = (size_t)R * (size_t)V, .cap = cap}));
    assert_ok(fc_logprob_cpu(
        s, &(fc_logprob_args){.lp = want, .logits = b->logits, .row = b->row, .id = b->id, .R = R, .V = V, .M = b->n}));
    fc_cpu_stream_close(s);
    for (int r = 0; r < R; r++) {
        float top[8], sum[8];
        fc_row_lse row_lse;
        fc_tiler tiler = {fc_tile_ops_of((fc_cpu_level)level), NULL};
        assert_int_equal(fc_tiles_lse(tiler, b->logits + r * V, V, top, sum, &row_lse), FC_ROW_OK);
        want_lse[r] = row_lse.lse;
    }
    for (int cut = 0; cut < 3; cut++) { /* one row at a time, pieces, all at once */
        s = stream_of(level, 1 + cut, cut == 0 ? row : cut == 1 ? 4 * row : fc_head_lse_workspace_cpu(R, D, V), V);
        memset(lp, 0xff, sizeof lp);
        assert_ok(fc_head_lse_cpu(s, &a));
        fc_cpu_stream_close(s);
        for (int i = 0; i < b->n; i++)
            if (memcmp(lp + i, want + i, sizeof *lp))
                fail_msg("%s V=%d cap %g cut %d row %d id %d: %.9g, apart %.9g", what, V, (double)cap, cut, b->row[i],
                         b->id[i], (double)lp[i], (double)want[i]);
        assert_memory_equal(lse, want_lse, sizeof lse);
    }
    a.lse = want_lse;
    a.lp = want;
    assert_ok(fc_head_lse_ref(NULL, &a));
    for (int r = 0; r < R; r++) {
        float top = 0.0f; /* linear's tolerance is of the sum of absolute products: about the largest logit */
        for (int v = 0; v < V; v++) top = fmaxf(top, fabsf(b->logits[r * V + v]));
        if (!(fabs(lse[r] - want_lse[r]) <= 2e-6 + 1e-5 * (1.0 + (double)top)))
            fail_msg("%s V=%d row %d: lse %.12g, reference %.12g", what, V, r, lse[r], want_lse[r]);
    }
}

/* If this fails, a candidate's score depends on whether its head was fused. */
static void the_fused_head_has_the_bits_of_its_parts(void **state) {
    static const int vocabs[] = {1, 33, 256, 777, 1040};
    int k = 0;
    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int t = 0; t < WEIGHT_TYPES; t++)
        for (int v = 0; v < 5; v++, k++) {
            int block = (int)fc_dtype_block(weight_types[t]), D = block == 1 ? 37 : block == 32 ? 64 : 256;
            fc_stream s = stream_of(FC_CPU_AUTO, 1, 64, 1);
            fc_weight *w = weight_made_up(s, weight_types[t], vocabs[v], D, &seed);
            batch b;
            make(&b, vocabs[v], D);
            for (int l = FC_CPU_PORTABLE; l <= (int)fc_cpu_best(); l++)
                compare(&b, w, l, k % 3 == 0 ? 5.0f : 0.0f, k % 2, fc_dtype_name(weight_types[t]));
            drop(&b);
            fc_weight_free_cpu(w);
            fc_cpu_stream_close(s);
        }
}

static void broken_rows_say_so_and_arguments_are_named(void **state) {
    enum { D = 64, V = 300 };
    float lp[3], data[D] = {0}, *big = must(V * D, sizeof *big), *x = must(R * D, sizeof *x);
    double lse[R];
    int32_t row[3] = {0, 6, 6}, id[3] = {1, 2, 299};
    fc_stream s = stream_of(FC_CPU_AUTO, 2, fc_head_lse_workspace_cpu(R, D, V), V), none;
    fc_weight *w = weight_made_up(s, FC_Q8_0, V, D, &seed), *infinite = NULL, *two = NULL;
    fc_weight_part parts[2] = {{.name = "a", .data = data, .dtype = FC_F32, .N = 1, .K = D},
                               {.name = "b", .data = data, .dtype = FC_F32, .N = 1, .K = D}},
                   part = {.name = "c", .data = big, .dtype = FC_F32, .N = V, .K = D};
    fc_head_lse_args a = {.lse = lse, .lp = lp, .x = x, .w = w, .row = row, .id = id, .R = R, .M = 3};
    (void)state;
    assert_ok(fc_head_lse_cpu(s, &a));
    x[11 * D + 3] = NAN;
    x[6 * D] = INFINITY; /* of two picks */
    for (int ref = 0; ref < 2; ref++) {
        assert_ok((ref ? fc_head_lse_ref : fc_head_lse_cpu)(s, &a));
        for (int r = 0; r < R; r++) assert_int_equal(isnan(lse[r]) != 0, r == 6 || r == 11);
        for (int m = 0; m < 3; m++) assert_int_equal(isnan(lp[m]) != 0, row[m] == 6);
    }
    x[11 * D + 3] = x[6 * D] = 0.0f;
    for (int i = 0; i < V; i++) big[i * D] = -3e38f;
    assert_ok(fc_weight_pack_cpu(s, &part, 1, &infinite));
    a.w = infinite;
    x[5 * D] = 1e3f;
    for (int ref = 0; ref < 2; ref++) {
        assert_ok((ref ? fc_head_lse_ref : fc_head_lse_cpu)(s, &a));
        assert_true(isnan(lse[5]));
    }
    a.w = w;
    id[2] = V;
    assert_fails(fc_head_lse_cpu(s, &a), FC_ERR_ARG, "row 6: id 300");
    id[2] = -1;
    assert_fails(fc_head_lse_cpu(s, &a), FC_ERR_ARG, "row 6: id -1");
    row[2] = 5;
    assert_fails(fc_head_lse_cpu(s, &a), FC_ERR_ARG, "row[2]=5");
    row[2] = R;
    assert_fails(fc_head_lse_cpu(s, &a), FC_ERR_ARG, "row[2]=27 of 27");
    a.M = 2;
    a.cap = -1.0f;
    assert_fails(fc_head_lse_cpu(s, &a), FC_ERR_ARG, "cap=-1");
    a.cap = 0.0f;
    a.R = 0;
    assert_fails(fc_head_lse_cpu(s, &a), FC_ERR_ARG, "R=0");
    a.R = R;
    assert_ok(fc_weight_pack_cpu(s, parts, 2, &two));
    a.w = two;
    a.M = 0;
    assert_fails(fc_head_lse_cpu(s, &a), FC_ERR_UNSUPPORTED, "a matrix of 2 tensors");
    a.w = w;
    none = stream_of(FC_CPU_AUTO, 1, 64, 1);
    assert_fails(fc_head_lse_cpu(none, &a), FC_ERR_MEM, "head_lse");
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
        cmocka_unit_test(the_fused_head_has_the_bits_of_its_parts),
        cmocka_unit_test(broken_rows_say_so_and_arguments_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
