/* The paged store: sizes, rounding to its types, and the copy of slots. */
#include "engine/base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/kv/kv_cpu.h"
#include "tests/util.h"

static const fc_dtype types[] = {FC_F32, FC_BF16, FC_I8, FC_F8};
enum { N_TYPES = sizeof types / sizeof types[0] };

static fc_kv_buf open_store(fc_kv_shape shape) {
    fc_kv_buf kv = {.shape = shape};
    size_t bytes;
    assert_ok(fc_kv_bytes(&shape, &bytes));
    assert_ok(fc_alloc(bytes, 1, "store", &kv.base));
    return kv;
}

static void sizes_are_what_the_layout_needs(void **state) {
    fc_kv_shape s = {.type = FC_F32, .n_pages = 7, .P = 16, .L = 30, .G = 3, .E = 64};
    size_t page, all;
    (void)state;
    assert_ok(fc_kv_page_bytes(&s, &page));
    assert_ok(fc_kv_bytes(&s, &all));
    assert_int_equal(page, 30u * 3 * 2 * 16 * 64 * 4);
    assert_int_equal(all, 7 * page);
    s.type = FC_BF16;
    assert_ok(fc_kv_page_bytes(&s, &page));
    assert_int_equal(page, 30u * 3 * 2 * 16 * 64 * 2);
    s.type = FC_I8;
    assert_ok(fc_kv_page_bytes(&s, &page));
    assert_int_equal(page, 30u * 3 * 2 * 16 * (64 + 4));
    s.type = FC_F8;
    assert_ok(fc_kv_page_bytes(&s, &page));
    assert_int_equal(page, 30u * 3 * 2 * 16 * (64 + 4));
}

static void refuses_shapes_it_cannot_hold(void **state) {
    const fc_kv_shape good = {.type = FC_F32, .n_pages = 7, .P = 16, .L = 30, .G = 3, .E = 64};
    fc_kv_shape s;
    size_t n = 12345;
    (void)state;
    s = good, s.type = FC_Q4_0;
    assert_fails(fc_kv_bytes(&s, &n), FC_ERR_ARG, "type");
    for (int P = -1; P <= 130; P++) {
        s = good, s.P = P;
        if (P == 1 || P == 2 || P == 4 || P == 8 || P == 16 || P == 32 || P == 64) assert_ok(fc_kv_bytes(&s, &n));
        else assert_fails(fc_kv_bytes(&s, &n), FC_ERR_ARG, "slots a page");
    }
    s = good, s.n_pages = 0;
    assert_fails(fc_kv_bytes(&s, &n), FC_ERR_ARG, "pages=0");
    s = good, s.E = -64;
    assert_fails(fc_kv_page_bytes(&s, &n), FC_ERR_ARG, "E=-64");
    s = (fc_kv_shape){.type = FC_I8, .n_pages = INT32_MAX, .P = 64, .L = INT32_MAX, .G = INT32_MAX, .E = INT32_MAX};
    n = 12345;
    assert_fails(fc_kv_bytes(&s, &n), FC_ERR_ARG, "do not fit");
    assert_int_equal(n, 12345); /* written only on OK */
    s = good, s.n_pages = INT32_MAX, s.L = INT32_MAX;
    assert_fails(fc_kv_page_bytes(&s, &n), FC_ERR_ARG, "do not fit"); /* a page fits, the store does not */
}

/* Every (page, layer, head, slot) has its own bytes, and nothing lies outside the store. */
static void no_two_slots_share_a_byte(void **state) {
    (void)state;
    for (int i = 0; i < N_TYPES; i++)
        for (int P = 1; P <= 8; P *= 2) {
            fc_kv_buf kv = open_store((fc_kv_shape){.type = types[i], .n_pages = 3, .P = P, .L = 2, .G = 2, .E = 16});
            float k[16], v[16], k2[16], v2[16];
            for (int pass = 0; pass < 2; pass++)
                for (int n = 0; n < 3 * P * 2 * 2; n++) {
                    int page = n % 3, slot = n / 3 % P, layer = n / 3 / P % 2, g = n / 6 / P;
                    const float most = types[i] == FC_F8 ? 448.0f : 127.0f;
                    for (int e = 0; e < 16; e++) { /* exact: the largest code times a power of two, sign by element */
                        k[e] = ldexpf(e % 2 ? most : -most, n % 60);
                        v[e] = ldexpf(e % 3 ? most : -most, n % 60 + 1);
                    }
                    if (pass == 0) {
                        fc_kv_put_cpu(&kv, page, slot, layer, g, k, v);
                        continue;
                    }
                    fc_kv_get_cpu(&kv, page, slot, layer, g, k2, v2);
                    assert_memory_equal(k, k2, sizeof k);
                    assert_memory_equal(v, v2, sizeof v);
                }
            fc_free(kv.base);
        }
}

static void rounds_as_the_header_says(void **state) {
    fc_kv_buf kv = open_store((fc_kv_shape){.type = FC_I8, .n_pages = 1, .P = 4, .L = 1, .G = 1, .E = 64});
    uint64_t seed = 42;
    float k[64], v[64], k2[64], v2[64];
    (void)state;
    for (int i = 0; i < 200; i++) {
        float most = 0.0f, size = ldexpf(1.0f, test_below(&seed, 80) - 40);
        for (int e = 0; e < 64; e++) k[e] = size * test_normal(&seed), v[e] = 0.0f;
        for (int e = 0; e < 64; e++) most = fmaxf(most, fabsf(k[e]));
        fc_kv_put_cpu(&kv, 0, 3, 0, 0, k, v);
        fc_kv_get_cpu(&kv, 0, 3, 0, 0, k2, v2);
        for (int e = 0; e < 64; e++) {
            float scale = most / 127.0f;
            assert_true(k2[e] == (float)(int)nearbyintf(k[e] / scale) * scale);
            assert_true(fabsf(k2[e] - k[e]) <= 0.5001f * scale);
            assert_true(v2[e] == 0.0f);
        }
    }
    /* a half goes to the even code: largest 127 makes the scale 1 */
    for (int e = 0; e < 64; e++) k[e] = 127.0f;
    k[1] = 2.5f, k[2] = 3.5f, k[3] = -0.5f;
    fc_kv_put_cpu(&kv, 0, 0, 0, 0, k, k);
    fc_kv_get_cpu(&kv, 0, 0, 0, 0, k2, v2);
    assert_true(k2[1] == 2.0f && k2[2] == 4.0f && k2[3] == 0.0f);
    /* subnormal numbers stay in range, a NaN is not lost */
    for (int e = 0; e < 64; e++) k[e] = 190.0f * 0x1p-149f;
    fc_kv_put_cpu(&kv, 0, 0, 0, 0, k, k);
    fc_kv_get_cpu(&kv, 0, 0, 0, 0, k2, v2);
    assert_true(k2[0] == 127.0f * 0x1p-149f);
    k[5] = NAN;
    fc_kv_put_cpu(&kv, 0, 0, 0, 0, k, v);
    fc_kv_get_cpu(&kv, 0, 0, 0, 0, k2, v2);
    assert_true(isnan(k2[5]) && isnan(k2[0]) && !isnan(v2[0]));
    k[5] = INFINITY;
    fc_kv_put_cpu(&kv, 0, 0, 0, 0, k, v);
    fc_kv_get_cpu(&kv, 0, 0, 0, 0, k2, v2);
    assert_true(isnan(k2[0]));
    fc_free(kv.base);
}

static void rounds_to_f8_as_the_header_says(void **state) {
    fc_kv_buf kv = open_store((fc_kv_shape){.type = FC_F8, .n_pages = 1, .P = 4, .L = 1, .G = 1, .E = 80});
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    uint64_t seed = 43;
    float k[80], v[80], k2[80], v2[80];
    (void)state;
    for (int i = 0; i < 200; i++) {
        float most = 0.0f, size = ldexpf(1.0f, test_below(&seed, 80) - 40);
        for (int e = 0; e < 80; e++) k[e] = size * test_normal(&seed), v[e] = 0.0f;
        for (int e = 0; e < 80; e++) most = fmaxf(most, fabsf(k[e]));
        fc_kv_put_cpu(&kv, 0, 3, 0, 0, k, v);
        fc_kv_get_cpu(&kv, 0, 3, 0, 0, k2, v2);
        for (int e = 0; e < 80; e++) {
            float scale = most / 448.0f;
            assert_true(k2[e] == fc_f8_to_f32(fc_f32_to_f8(k[e] / scale)) * scale);
            assert_true(fabsf(k2[e] - k[e]) <= 0.0626f * fabsf(k[e]) + 0.000977f * scale); /* half of 3 bits */
            assert_true(v2[e] == 0.0f);
        }
    }
    for (int e = 0; e < 80; e++) k[e] = 448.0f; /* the scale is 1 */
    k[1] = 17.0f, k[2] = 19.0f, k[3] = -0x1p-10f, k[4] = 0x1.8p-9f;
    fc_kv_put_cpu(&kv, 0, 0, 0, 0, k, k);
    fc_kv_get_cpu(&kv, 0, 0, 0, 0, k2, v2);
    assert_true(k2[0] == 448.0f && k2[1] == 16.0f && k2[2] == 20.0f && k2[3] == 0.0f && k2[4] == 0x1p-8f);
    for (int e = 0; e < 80; e++) k[e] = 700.0f * 0x1p-149f; /* the scale, 1.56 units, is rounded to 2: in range */
    fc_kv_put_cpu(&kv, 0, 0, 0, 0, k, k);
    fc_kv_get_cpu(&kv, 0, 0, 0, 0, k2, v2);
    assert_true(k2[0] == 704.0f * 0x1p-149f);
    for (int e = 0; e < 80; e++) k[e] = 600.0f * 0x1p-149f; /* to 1: the quotient passes 448 */
    fc_kv_put_cpu(&kv, 0, 0, 0, 0, k, k);
    fc_kv_get_cpu(&kv, 0, 0, 0, 0, k2, v2);
    assert_true(k2[0] == 448.0f * 0x1p-149f);
    for (int i = 0; i < 3; i++) {
        k[5] = bad[i];
        fc_kv_put_cpu(&kv, 0, 0, 0, 0, k, v);
        fc_kv_get_cpu(&kv, 0, 0, 0, 0, k2, v2);
        assert_true(isnan(k2[5]) && isnan(k2[0]) && !isnan(v2[0]));
        for (int e = 0; e < 80; e++) assert_int_equal(fc_kv_block_at(&kv, 0, 0, 0).k[e * 4], 0);
    }
    fc_free(kv.base);
}

/* If this fails, a branch that forks sees another branch's tokens, or loses its own. */
static void copy_moves_the_first_slots_and_nothing_else(void **state) {
    uint64_t seed = 7;
    (void)state;
    for (int i = 0; i < N_TYPES; i++)
        for (int P = 1; P <= 64; P *= 4)
            for (int threads = 1; threads <= 2; threads++) {
                const fc_kv_shape shape = {.type = types[i], .n_pages = 9, .P = P, .L = 3, .G = 2, .E = 32};
                fc_kv_buf fast = open_store(shape), slow = open_store(shape);
                const int32_t src[] = {0, 2, 0, 8}, dst[] = {5, 1, 7, 3}, n[] = {P, (P + 1) / 2, 0, P > 1 ? P - 1 : 1};
                fc_kv_copy_args a = {.kv = &fast, .src = src, .dst = dst, .n = n, .M = 4}, b = a;
                fc_stream s;
                size_t bytes;
                assert_ok(fc_kv_bytes(&shape, &bytes));
                for (size_t k = 0; k < bytes; k++) ((unsigned char *)fast.base)[k] = (unsigned char)fc_rng_next(&seed);
                memcpy(slow.base, fast.base, bytes);
                b.kv = &slow;
                assert_ok(fc_cpu_stream_open(FC_CPU_AUTO, threads, 0, 0, &s));
                assert_ok(fc_kv_copy_cpu(s, &a));
                assert_ok(fc_kv_copy_ref(s, &b));
                assert_memory_equal(fast.base, slow.base, bytes);
                fc_cpu_stream_close(s);
                fc_free(fast.base);
                fc_free(slow.base);
            }
}

static void copied_slots_read_back(void **state) {
    fc_kv_buf kv = open_store((fc_kv_shape){.type = FC_I8, .n_pages = 2, .P = 8, .L = 2, .G = 1, .E = 16});
    const int32_t src = 0, dst = 1, n = 3;
    fc_kv_copy_args a = {.kv = &kv, .src = &src, .dst = &dst, .n = &n, .M = 1};
    float k[16], v[16], from_k[16], from_v[16];
    uint64_t seed = 11;
    (void)state;
    for (int slot = 0; slot < 8; slot++)
        for (int layer = 0; layer < 2; layer++) {
            for (int e = 0; e < 16; e++) k[e] = test_normal(&seed), v[e] = test_normal(&seed);
            fc_kv_put_cpu(&kv, 0, slot, layer, 0, k, v);
        }
    assert_ok(fc_kv_copy_ref(NULL, &a));
    for (int slot = 0; slot < 8; slot++)
        for (int layer = 0; layer < 2; layer++) {
            fc_kv_get_cpu(&kv, 0, slot, layer, 0, from_k, from_v);
            fc_kv_get_cpu(&kv, 1, slot, layer, 0, k, v);
            if (slot >= 3) memset(from_k, 0, sizeof from_k), memset(from_v, 0, sizeof from_v);
            assert_memory_equal(k, from_k, sizeof k);
            assert_memory_equal(v, from_v, sizeof v);
        }
    fc_free(kv.base);
}

static void copy_refuses_pages_that_are_not_there(void **state) {
    fc_kv_buf kv = open_store((fc_kv_shape){.type = FC_F32, .n_pages = 4, .P = 8, .L = 1, .G = 1, .E = 16});
    int32_t src = 0, dst = 4, n = 3;
    fc_kv_copy_args a = {.kv = &kv, .src = &src, .dst = &dst, .n = &n, .M = 1};
    fc_stream s;
    (void)state;
    assert_ok(fc_cpu_stream_open(FC_CPU_PORTABLE, 1, 0, 0, &s));
    assert_fails(fc_kv_copy_cpu(s, &a), FC_ERR_ARG, "page 0 to page 4");
    dst = 1, src = -1;
    assert_fails(fc_kv_copy_cpu(s, &a), FC_ERR_ARG, "page -1");
    src = 0, n = 9;
    assert_fails(fc_kv_copy_cpu(s, &a), FC_ERR_ARG, "9 slots");
    n = 8;
    assert_ok(fc_kv_copy_cpu(s, &a));
    assert_true(fc_kv_copy_cost(&a).bytes == 2.0 * 8 * 16 * 2 * 4);
    fc_cpu_stream_close(s);
    fc_free(kv.base);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_what_the_layout_needs),
        cmocka_unit_test(refuses_shapes_it_cannot_hold),
        cmocka_unit_test(no_two_slots_share_a_byte),
        cmocka_unit_test(rounds_as_the_header_says),
        cmocka_unit_test(rounds_to_f8_as_the_header_says),
        cmocka_unit_test(copy_moves_the_first_slots_and_nothing_else),
        cmocka_unit_test(copied_slots_read_back),
        cmocka_unit_test(copy_refuses_pages_that_are_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
