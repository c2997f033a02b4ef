/* kv_copy.cu under emulation: every byte of the store, in every type, page size and order of fibres. */
#include "kernels/kv/kv_buf.h"
#include "tests/cuda_emu/util_cuda.h"
#include "tests/cuda_emu/util_kv.h"

static const fc_dtype types[] = {FC_F32, FC_BF16, FC_I8, FC_F8};
enum { N_TYPES = 4, PAIRS = 5 };

typedef struct {
    int P, L, G, E;
} shape;
static const shape shapes[] = {{1, 2, 3, 16}, {2, 1, 1, 48}, {16, 3, 2, 64}, {64, 1, 2, 128}};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static void copies_the_filled_slots(const shape *c, fc_dtype type, uint64_t seed) {
    fc_kv_shape s = {.type = type, .n_pages = 2 * PAIRS + 1, .P = c->P, .L = c->L, .G = c->G, .E = c->E};
    int32_t src[PAIRS] = {7, 0, 2, 9, 4}, dst[PAIRS] = {1, 10, 3, 9, 5};
    int32_t n[PAIRS] = {s.P, 0, (s.P + 1) / 2, s.P, s.P > 1 ? s.P - 1 : 1}; /* page 9 onto itself: nothing */
    fc_stream st = device_stream(0);
    size_t bytes = kv_store_bytes(&s);
    unsigned char *want = kv_random_store(&s, seed), *got = malloc(bytes);
    fc_kv_buf kv = {.shape = s, .base = device_copy(st, want, bytes)};
    fc_kv_copy_args a = {.kv = &kv, .M = PAIRS};
    a.src = device_copy(st, src, sizeof src);
    a.dst = device_copy(st, dst, sizeof dst);
    a.n = device_copy(st, n, sizeof n);
    assert_ok(fc_kv_copy_cuda(st, &a));
    assert_ok(device_sync(st));
    device_read(st, got, kv.base, bytes);
    for (int m = 0; m < PAIRS; m++) kv_copy_slots(&s, want, src[m], dst[m], n[m]);
    for (size_t i = 0; i < bytes; i++)
        if (want[i] != got[i])
            fail_msg("%s P %d L %d G %d E %d seed %llu: byte %zu is %02x, not %02x", fc_dtype_name(type), s.P, s.L, s.G,
                     s.E, (unsigned long long)seed, i, got[i], want[i]);
    device_free(kv.base);
    device_free((void *)(uintptr_t)a.src);
    device_free((void *)(uintptr_t)a.dst);
    device_free((void *)(uintptr_t)a.n);
    device_close(st);
    free(want), free(got);
}

static void every_type_and_page_size(void **state) {
    (void)state;
    for (int k = 0; k < N_SHAPES; k++)
        for (int t = 0; t < N_TYPES; t++) each_order(copies_the_filled_slots(&shapes[k], types[t], 11 + (uint64_t)k));
}

/* One pair that the store does not have: it is told, nothing of it is copied, and the other pair is. */
static void a_wrong_pair_is_told(int which, int32_t value) {
    fc_kv_shape s = {.type = FC_I8, .n_pages = 4, .P = 4, .L = 2, .G = 1, .E = 16};
    int32_t list[3][2] = {{0, 2}, {1, 3}, {4, 4}}; /* src, dst, n */
    fc_stream st = device_stream(0);
    size_t bytes = kv_store_bytes(&s);
    unsigned char *want = kv_random_store(&s, 3), *got = malloc(bytes);
    fc_kv_buf kv = {.shape = s, .base = device_copy(st, want, bytes)};
    fc_kv_copy_args a = {.kv = &kv, .M = 2};
    list[which][1] = value;
    a.src = device_copy(st, list[0], sizeof list[0]);
    a.dst = device_copy(st, list[1], sizeof list[1]);
    a.n = device_copy(st, list[2], sizeof list[2]);
    assert_ok(fc_kv_copy_cuda(st, &a));
    assert_fails(device_sync(st), FC_ERR_ARG, "kv_copy: pair 1");
    assert_ok(device_sync(st));
    device_read(st, got, kv.base, bytes);
    kv_copy_slots(&s, want, 0, 1, 4);
    assert_memory_equal(got, want, bytes);
    device_free(kv.base);
    device_free((void *)(uintptr_t)a.src);
    device_free((void *)(uintptr_t)a.dst);
    device_free((void *)(uintptr_t)a.n);
    device_close(st);
    free(want), free(got);
}

static void wrong_pairs_are_told(void **state) {
    (void)state;
    for (int which = 0; which < 3; which++) {
        a_wrong_pair_is_told(which, -1);
        a_wrong_pair_is_told(which, which < 2 ? 4 : 5);
    }
}

static void needs_are_told(void **state) {
    fc_stream st = device_stream(0);
    fc_kv_buf kv = {.shape = {.type = FC_F32, .n_pages = 1, .P = 4, .L = 1, .G = 1, .E = 16}};
    fc_kv_copy_args a = {.kv = &kv, .M = 0};
    (void)state;
    assert_ok(fc_kv_copy_cuda(st, &a));
    a.M = -1;
    assert_fails(fc_kv_copy_cuda(st, &a), FC_ERR_ARG, "M=-1");
    a.M = 1;
    kv.shape.type = FC_F16;
    assert_fails(fc_kv_copy_cuda(st, &a), FC_ERR_ARG, "type F16");
    kv.shape.type = FC_F8;
    kv.shape.P = 6;
    assert_fails(fc_kv_copy_cuda(st, &a), FC_ERR_ARG, "6 slots");
    kv.shape.P = 8;
    kv.shape.L = 0;
    assert_fails(fc_kv_copy_cuda(st, &a), FC_ERR_ARG, "L=0");
    kv.shape.L = 1;
    kv.shape.E = 24;
    assert_fails(fc_kv_copy_cuda(st, &a), FC_ERR_UNSUPPORTED, "E=24");
    kv.shape.E = 16;
    kv.shape.L = 1000;
    kv.shape.G = 66;
    assert_fails(fc_kv_copy_cuda(st, &a), FC_ERR_UNSUPPORTED, "G=66");
    device_close(st);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_type_and_page_size),
                                       cmocka_unit_test(wrong_pairs_are_told), cmocka_unit_test(needs_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
