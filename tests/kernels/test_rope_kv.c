/* Norm, rotation and the write of K and V: against the reference, and against what a rotation must do. */
#include "engine/base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/kv/kv_cpu.h"
#include "kernels/rope_kv/rope_kv.h"
#include "tests/util.h"

typedef struct {
    fc_rope_kv_args a;
    fc_kv_buf kv;
    float *qkv, *cs, *q_norm, *k_norm;
    int32_t page[64], slot[64], pos[64];
} rope_case;

static float *floats(size_t n) {
    void *p;
    assert_ok(fc_alloc(n, sizeof(float), "test", &p));
    return p;
}

static void case_open(rope_case *c, fc_dtype type, int T, int H, int G, int E, int R, int P, bool norm,
                      bool interleaved, uint64_t seed) {
    int n_pages = T / P + 2;
    size_t bytes, n = (size_t)T * (size_t)((H + 2 * G) * E);
    float inv_freq[256];
    fc_rope_table_args table;
    memset(c, 0, sizeof *c);
    c->kv.shape = (fc_kv_shape){.type = type, .n_pages = n_pages, .P = P, .L = 2, .G = G, .E = E};
    assert_ok(fc_kv_bytes(&c->kv.shape, &bytes));
    assert_ok(fc_alloc(bytes, 1, "test", &c->kv.base));
    c->qkv = floats(n);
    c->cs = floats((size_t)(T * R));
    c->q_norm = floats((size_t)E);
    c->k_norm = floats((size_t)E);
    for (size_t i = 0; i < n; i++) c->qkv[i] = 3.0f * test_normal(&seed);
    for (int e = 0; e < E; e++) c->q_norm[e] = 1.0f + test_uniform(&seed), c->k_norm[e] = 1.0f + test_uniform(&seed);
    for (int t = 0; t < T; t++) {
        c->pos[t] = test_below(&seed, 4000);
        c->page[t] = n_pages - 1 - t / P;
        c->slot[t] = (t * 5 + 3) % P;
        for (int u = 0; u < t; u++) assert_true(c->page[u] != c->page[t] || c->slot[u] != c->slot[t]);
    }
    for (int i = 0; i < R / 2; i++) inv_freq[i] = powf(10000.0f, -2.0f * (float)i / (float)R);
    table = (fc_rope_table_args){.cs = c->cs, .pos = c->pos, .inv_freq = inv_freq, .mscale = 1.0f, .T = T, .R = R};
    assert_ok(fc_rope_table_ref(NULL, &table));
    c->a = (fc_rope_kv_args){.qkv = c->qkv,
                             .cs = c->cs,
                             .page = c->page,
                             .slot = c->slot,
                             .q_norm = norm ? c->q_norm : NULL,
                             .k_norm = norm ? c->k_norm : NULL,
                             .kv = &c->kv,
                             .layer = 1,
                             .T = T,
                             .H = H,
                             .G = G,
                             .E = E,
                             .R = R,
                             .eps = 0.25f,
                             .interleaved = interleaved};
}

static void case_close(rope_case *c) {
    fc_free(c->kv.base);
    fc_free(c->qkv);
    fc_free(c->cs);
    fc_free(c->q_norm);
    fc_free(c->k_norm);
}

static fc_stream open_stream(fc_cpu_level level, int threads) {
    fc_stream s = NULL;
    assert_ok(fc_cpu_stream_open(level, threads, 0, 0, &s));
    return s;
}

/* 1e-6 of the largest element of the head: rope_kv.h. */
static void assert_head_near(const float *x, const float *ref, int E, const char *what) {
    float most = 0.0f;
    for (int e = 0; e < E; e++) most = fmaxf(most, fabsf(ref[e]));
    for (int e = 0; e < E; e++)
        if (!(fabsf(x[e] - ref[e]) <= 1e-6f * most))
            fail_msg("%s, element %d: %.9g, reference %.9g, largest %.9g", what, e, (double)x[e], (double)ref[e],
                     (double)most);
}

static const int shapes[][6] = {{1, 1, 1, 16, 16, 16},  {3, 9, 3, 64, 64, 16},  {33, 4, 1, 256, 256, 8},
                                {17, 2, 2, 96, 64, 64}, {5, 2, 1, 128, 32, 32}, {20, 6, 2, 48, 0, 4}}; /* T H G E R P */

static void matches_the_reference(void **state) {
    (void)state;
    for (int i = 0; i < 6 * 4; i++) {
        const int *d = shapes[i / 4];
        bool norm = i & 1, interleaved = i & 2;
        rope_case fast, slow;
        fc_stream s = open_stream(FC_CPU_AUTO, 1 + i % 3);
        float k[256], v[256], k2[256], v2[256];
        case_open(&fast, FC_F32, d[0], d[1], d[2], d[3], d[4], d[5], norm, interleaved, 99);
        case_open(&slow, FC_F32, d[0], d[1], d[2], d[3], d[4], d[5], norm, interleaved, 99);
        assert_ok(fc_rope_kv_cpu(s, &fast.a));
        assert_ok(fc_rope_kv_ref(s, &slow.a));
        for (int t = 0; t < d[0]; t++) {
            size_t row = (size_t)t * (size_t)((d[1] + 2 * d[2]) * d[3]);
            for (int h = 0; h < d[1]; h++) {
                size_t at = row + (size_t)(h * d[3]);
                assert_head_near(fast.qkv + at, slow.qkv + at, d[3], "q");
            }
            for (int g = 0; g < d[2]; g++) {
                fc_kv_get_cpu(&fast.kv, fast.page[t], fast.slot[t], 1, g, k, v);
                fc_kv_get_cpu(&slow.kv, fast.page[t], fast.slot[t], 1, g, k2, v2);
                assert_head_near(k, k2, d[3], "k");
                assert_memory_equal(v, v2, (size_t)d[3] * sizeof(float)); /* values are only moved */
            }
        }
        fc_cpu_stream_close(s);
        case_close(&fast);
        case_close(&slow);
    }
}

/* The formula once more, in the test's own words: complex numbers multiplied by e^(i angle). */
static void rotates_pairs_as_complex_numbers(void **state) {
    (void)state;
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        rope_case c;
        float before[8], want[8];
        fc_stream s = open_stream(FC_CPU_AUTO, 1);
        case_open(&c, FC_F32, 1, 1, 1, 8, 4, 16, false, interleaved, 5);
        memcpy(before, c.qkv, sizeof before);
        memcpy(want, before, sizeof want);
        for (int i = 0; i < 2; i++) {
            int re = interleaved ? 2 * i : i, im = interleaved ? 2 * i + 1 : i + 2;
            double angle = (double)((float)c.pos[0] * powf(10000.0f, -2.0f * (float)i / 4.0f));
            want[re] = (float)(before[re] * cos(angle) - before[im] * sin(angle));
            want[im] = (float)(before[re] * sin(angle) + before[im] * cos(angle));
        }
        assert_ok(fc_rope_kv_cpu(s, &c.a));
        assert_head_near(c.qkv, want, 8, "rotated");
        assert_memory_equal(c.qkv + 4, before + 4, 4 * sizeof(float)); /* beyond R nothing moves */
        fc_cpu_stream_close(s);
        case_close(&c);
    }
}

/* Rounding to the store's type is that of the f32 answer, and rows land in their own slots only. */
static void writes_what_it_computed_where_it_was_told(void **state) {
    static const fc_dtype types[] = {FC_BF16, FC_I8, FC_F8};
    (void)state;
    for (int i = 0; i < 3; i++) {
        rope_case exact, stored;
        fc_kv_buf want;
        size_t bytes;
        fc_stream s = open_stream(FC_CPU_AUTO, 2);
        float k[64], v[64];
        case_open(&exact, FC_F32, 40, 6, 2, 64, 64, 16, true, false, 3);
        case_open(&stored, types[i], 40, 6, 2, 64, 64, 16, true, false, 3);
        assert_ok(fc_rope_kv_cpu(s, &exact.a));
        assert_ok(fc_rope_kv_cpu(s, &stored.a));
        want = stored.kv;
        assert_ok(fc_kv_bytes(&want.shape, &bytes));
        assert_ok(fc_alloc(bytes, 1, "test", &want.base));
        for (int t = 0; t < 40; t++)
            for (int g = 0; g < 2; g++) {
                fc_kv_get_cpu(&exact.kv, exact.page[t], exact.slot[t], 1, g, k, v);
                fc_kv_put_cpu(&want, exact.page[t], exact.slot[t], 1, g, k, v);
            }
        assert_memory_equal(want.base, stored.kv.base, bytes);
        fc_free(want.base);
        fc_cpu_stream_close(s);
        case_close(&exact);
        case_close(&stored);
    }
}

/* A row's bits do not depend on its neighbours, the threads or the level. */
static void a_row_alone_has_the_same_bits(void **state) {
    rope_case all;
    size_t row = (9 + 6) * 64;
    fc_stream s = open_stream(FC_CPU_AUTO, 3), one = open_stream(FC_CPU_PORTABLE, 1);
    (void)state;
    case_open(&all, FC_F32, 50, 9, 3, 64, 64, 16, true, false, 8);
    assert_ok(fc_rope_kv_cpu(s, &all.a));
    for (int t = 0; t < 50; t += 7) {
        rope_case c;
        case_open(&c, FC_F32, 50, 9, 3, 64, 64, 16, true, false, 8);
        c.a.qkv += (size_t)t * row;
        c.a.cs += t * 64;
        c.a.page += t;
        c.a.slot += t;
        c.a.T = 1;
        assert_ok(fc_rope_kv_cpu(one, &c.a));
        assert_memory_equal(c.a.qkv, all.qkv + (size_t)t * row, row * sizeof(float));
        case_close(&c);
    }
    fc_cpu_stream_close(s);
    fc_cpu_stream_close(one);
    case_close(&all);
}

static void table_holds_cosines_and_sines(void **state) {
    const int32_t pos[] = {0, 1, 77, 1023, 130000, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18};
    float inv_freq[32], cs[19 * 64], ref[19 * 64];
    fc_rope_table_args a = {.cs = cs, .pos = pos, .inv_freq = inv_freq, .mscale = 1.25f, .T = 19, .R = 64}, b = a;
    fc_stream s = open_stream(FC_CPU_AUTO, 2);
    (void)state;
    b.cs = ref;
    for (int i = 0; i < 32; i++) inv_freq[i] = powf(500000.0f, -(float)i / 32.0f);
    assert_ok(fc_rope_table_cpu(s, &a));
    assert_ok(fc_rope_table_ref(s, &b));
    assert_memory_equal(cs, ref, sizeof cs);
    for (int t = 0; t < 19; t++)
        for (int i = 0; i < 32; i++) {
            long double angle = (long double)((float)pos[t] * inv_freq[i]);
            assert_true(fabsl((long double)cs[t * 64 + i] - 1.25L * cosl(angle)) < 1e-7L);
            assert_true(fabsl((long double)cs[t * 64 + 32 + i] - 1.25L * sinl(angle)) < 1e-7L);
        }
    a.R = 3;
    assert_fails(fc_rope_table_cpu(s, &a), FC_ERR_ARG, "R=3");
    fc_cpu_stream_close(s);
}

static void refuses_rows_outside_the_store(void **state) {
    rope_case c;
    fc_stream s = open_stream(FC_CPU_AUTO, 1);
    (void)state;
    case_open(&c, FC_F32, 4, 2, 1, 16, 16, 8, false, false, 1);
    c.page[2] = 99;
    assert_fails(fc_rope_kv_cpu(s, &c.a), FC_ERR_ARG, "row 2 writes slot");
    c.page[2] = 0;
    c.slot[3] = 8;
    assert_fails(fc_rope_kv_cpu(s, &c.a), FC_ERR_ARG, "slot 8 of page");
    c.slot[3] = 0;
    c.a.R = 18;
    assert_fails(fc_rope_kv_cpu(s, &c.a), FC_ERR_ARG, "R=18");
    c.a.R = 16;
    c.a.layer = 2;
    assert_fails(fc_rope_kv_cpu(s, &c.a), FC_ERR_ARG, "layer=2");
    fc_cpu_stream_close(s);
    case_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_reference),
        cmocka_unit_test(rotates_pairs_as_complex_numbers),
        cmocka_unit_test(writes_what_it_computed_where_it_was_told),
        cmocka_unit_test(a_row_alone_has_the_same_bits),
        cmocka_unit_test(table_holds_cosines_and_sines),
        cmocka_unit_test(refuses_rows_outside_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
