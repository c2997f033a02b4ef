#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"

static void sizes_are_checked(void **state) {
    size_t out = 7;
    (void)state;
    assert_true(fc_mul(SIZE_MAX / 2, 2, &out));
    assert_int_equal(out, SIZE_MAX - 1);
    assert_false(fc_mul(SIZE_MAX / 2 + 1, 2, &out));
    assert_int_equal(out, SIZE_MAX - 1); /* untouched */
    assert_true(fc_mul(0, SIZE_MAX, &out));
    assert_int_equal(out, 0);
    assert_true(fc_add(SIZE_MAX - 1, 1, &out));
    assert_int_equal(out, SIZE_MAX);
    assert_false(fc_add(SIZE_MAX, 1, &out));
    assert_int_equal(out, SIZE_MAX);
}

static void blocks_are_zero_and_aligned(void **state) {
    void *p = NULL;
    (void)state;
    for (size_t n = 0; n < 300; n += 7) {
        const unsigned char *b;
        assert_ok(fc_alloc(n, 3, "test", &p));
        b = p;
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < 3 * n; i++) assert_int_equal(b[i], 0);
        memset(p, 0xA5, n ? 3 * n : 1);
        fc_free(p);
    }
    fc_free(NULL);
    p = &p;
    assert_fails(fc_alloc(SIZE_MAX / 4, 8, "page table", &p), FC_ERR_MEM, "page table");
    assert_fails(fc_alloc(SIZE_MAX, 1, "page table", &p), FC_ERR_MEM, "page table"); /* wraps when padded */
    assert_ptr_equal(p, &p);
}

static void growing_keeps_and_zeroes(void **state) {
    int *v;
    void *p = NULL;
    size_t cap = 0, old = 0;
    (void)state;
    for (size_t want = 1; want < 5000; want += 97) {
        unsigned long long count = fc_alloc_count();
        assert_ok(fc_grow(&p, &cap, want, sizeof *v, "test"));
        assert_true(cap >= want);
        v = p;
        for (size_t i = old; i < cap; i++) {
            assert_int_equal(v[i], 0);
            v[i] = (int)i;
        }
        for (size_t i = 0; i < old; i++) assert_int_equal(v[i], (int)i);
        if (cap == old) assert_true(fc_alloc_count() == count);
        old = cap;
    }
    v = p;
    assert_fails(fc_grow(&p, &cap, SIZE_MAX / 2 + 2, sizeof *v, "branches"), FC_ERR_MEM, "branches");
    assert_fails(fc_grow(&p, &cap, SIZE_MAX / 8, sizeof *v * 8, "branches"), FC_ERR_MEM, "branches");
    assert_ptr_equal(p, v);
    assert_int_equal(cap, old);
    fc_free(p);
}

static void copies_end_in_nul(void **state) {
    char *s;
    (void)state;
    assert_ok(fc_copy_str("forkcast", "test", &s));
    assert_string_equal(s, "forkcast");
    fc_free(s);
    assert_ok(fc_copy_bytes("a\0b", 3, "test", &s));
    assert_memory_equal(s, "a\0b", 4);
    fc_free(s);
    assert_ok(fc_copy_bytes(NULL, 0, "test", &s));
    assert_string_equal(s, "");
    fc_free(s);
    assert_fails(fc_copy_bytes("", SIZE_MAX, "test", &s), FC_ERR_MEM, "test");
}

/* Pieces do not overlap: each holds its own pattern at the end. */
static void an_arena_hands_out_apart(void **state) {
    enum { N = 500 };
    fc_arena a;
    unsigned char *piece[N];
    size_t size[N];
    uint64_t seed = 11;
    unsigned long long before, blocks;
    (void)state;
    fc_arena_init(&a);
    before = fc_alloc_count();
    for (int i = 0; i < N; i++) {
        void *p;
        size[i] = (size_t)test_below(&seed, i % 50 ? 400 : 150000);
        assert_ok(fc_arena_alloc(&a, size[i], 1, &p));
        piece[i] = p;
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t j = 0; j < size[i]; j++) assert_int_equal(piece[i][j], 0);
        memset(p, i & 255, size[i]);
    }
    blocks = fc_alloc_count() - before;
    assert_true(blocks < 40); /* some 100 KB of small pieces and ten large ones: few calls */
    for (int i = 0; i < N; i++)
        for (size_t j = 0; j < size[i]; j++) assert_int_equal(piece[i][j], i & 255);
    assert_true(a.used > 0);
    assert_fails(fc_arena_alloc(&a, SIZE_MAX / 2, 4, (void **)&piece[0]), FC_ERR_MEM, "arena");
    assert_fails(fc_arena_alloc(&a, SIZE_MAX - 20, 1, (void **)&piece[0]), FC_ERR_MEM, "arena");
    fc_arena_fini(&a);
    assert_int_equal(a.used, 0);
    fc_arena_fini(&a);
}

/* Pages come when they are touched, so a size that the machine does not have must be told at once. */
static void pages_are_those_of_the_machine(void **state) {
    uint64_t ram = fc_ram_bytes();
    void *p;
    (void)state;
    assert_ok(fc_pages_alloc((size_t)ram, "all of it", &p));
    fc_pages_free(p, (size_t)ram);
    if (ram) assert_fails(fc_pages_alloc((size_t)ram + 1, "one byte more", &p), FC_ERR_MEM, "one byte more: ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_checked),        cmocka_unit_test(blocks_are_zero_and_aligned),
        cmocka_unit_test(growing_keeps_and_zeroes), cmocka_unit_test(copies_end_in_nul),
        cmocka_unit_test(an_arena_hands_out_apart), cmocka_unit_test(pages_are_those_of_the_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
