#define _GNU_SOURCE
#include "tests/util.h"

#include "engine/base/os.h"
#include "engine/base/region.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST = 40 };
#define PAGE ((size_t)sysconf(_SC_PAGESIZE))
#define MIB  ((size_t)1 << 20)

static bool all_are(const unsigned char *p, size_t n, unsigned char v) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != v) return false;
    return true;
}

/* If this fails, one matrix overwrites another. Sizes from one byte to more than a region holds. */
static void pieces_are_apart_and_zero(void **state) {
    fc_region *r = NULL;
    fc_region_piece p[MOST];
    uint64_t seed = 11;
    (void)state;
    for (int i = 0; i < MOST; i++) {
        size_t n = i == 17 ? 70 * MIB : i == 30 ? 64 * MIB : 1 + (size_t)test_below(&seed, 5 * (int)MIB);
        assert_ok(fc_region_take(&r, n, "piece", &p[i]));
        assert_int_equal(p[i].bytes, n);
        assert_int_equal((uintptr_t)p[i].at % PAGE, 0);
        assert_true(all_are(p[i].at, n, 0));
        memset(p[i].at, i + 1, n);
    }
    fc_region_leave(&r);
    assert_null(r);
    for (int i = MOST; i-- > 0;) assert_true(all_are(p[i].at, p[i].bytes, (unsigned char)(i + 1)));
    for (int i = 0; i < MOST; i += 2) fc_region_give(&p[i]);
    for (int i = 1; i < MOST; i += 2) {
        assert_true(all_are(p[i].at, p[i].bytes, (unsigned char)(i + 1)));
        fc_region_give(&p[i]);
        fc_region_give(&p[i]); /* clear now */
    }
    fc_region_leave(&r);
}

/* If this fails, a model that is loaded and closed beside another one takes memory for good. */
static void pages_go_back_with_the_piece(void **state) {
    fc_region *r = NULL;
    fc_region_piece first, second;
    unsigned char resident[3];
    void *at;
    (void)state;
    assert_ok(fc_region_take(&r, 3 * PAGE, "first", &first));
    assert_ok(fc_region_take(&r, 3 * PAGE, "second", &second));
    at = first.at;
    memset(at, 1, 3 * PAGE);
    memset(second.at, 2, 3 * PAGE);
    assert_int_equal(mincore(at, 3 * PAGE, resident), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(resident[i] & 1, 1);
    fc_region_give(&first);
    assert_int_equal(mincore(at, 3 * PAGE, resident), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(resident[i] & 1, 0);
    assert_true(all_are(second.at, 3 * PAGE, 2));
    fc_region_give(&second);
    assert_int_equal(mincore(at, 3 * PAGE, resident), 0); /* more may come */
    fc_region_leave(&r);
    assert_int_not_equal(mincore(at, 3 * PAGE, resident), 0); /* addresses as well */
}

/* Is the mapping around `at` one that asks for huge pages? */
static bool asks_for_huge_pages(const void *at) {
    char line[512];
    FILE *f = fopen("/proc/self/smaps", "r");
    bool here = false, asks = false;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        unsigned long long begin, end;
        if (sscanf(line, "%llx-%llx ", &begin, &end) == 2) here = (uintptr_t)at >= begin && (uintptr_t)at < end;
        else if (here && strncmp(line, "VmFlags:", 8) == 0) asks = strstr(line, " hg") != NULL;
    }
    fclose(f);
    return asks;
}

/* If this fails, a core misses a translation every 4 KB of a model: a tenth of a step of 16 rows. */
static void small_pieces_share_huge_pages(void **state) {
    fc_region *r = NULL;
    fc_region_piece p[8];
    (void)state;
    for (int i = 0; i < 8; i++) {
        assert_ok(fc_region_take(&r, 300000, "piece", &p[i]));
        assert_ptr_equal(p[i].at, (char *)p[0].at + (size_t)i * ((300000 + PAGE - 1) / PAGE * PAGE));
    }
    assert_int_equal((uintptr_t)p[0].at % (2 * MIB), 0);
    if (access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0) assert_true(asks_for_huge_pages(p[7].at));
    for (int i = 0; i < 8; i++) fc_region_give(&p[i]);
    fc_region_leave(&r);
}

/* If this fails, a large matrix ends a region that has room. */
static void a_large_piece_has_its_own(void **state) {
    fc_region *r = NULL;
    fc_region_piece small[2], large[2];
    (void)state;
    assert_ok(fc_region_take(&r, 1, "small", &small[0]));
    assert_ok(fc_region_take(&r, 64 * MIB, "large", &large[0])); /* of a region's size */
    assert_ok(fc_region_take(&r, 40 * MIB, "large", &large[1]));
    assert_ok(fc_region_take(&r, 1, "small", &small[1]));
    assert_ptr_equal(small[1].at, (char *)small[0].at + PAGE);
    for (int i = 0; i < 2; i++) {
        assert_ptr_not_equal(large[i].region, small[0].region);
        fc_region_give(&large[i]);
        fc_region_give(&small[i]);
    }
    fc_region_leave(&r);
}

static void too_much_takes_nothing(void **state) {
    fc_region *r = NULL;
    fc_region_piece p = {0};
    uint64_t ram = fc_ram_bytes();
    (void)state;
    assert_fails(fc_region_take(&r, SIZE_MAX - 5, "w.weight", &p), FC_ERR_MEM, "w.weight: ");
    if (ram) assert_fails(fc_region_take(&r, (size_t)ram + 1, "w.weight", &p), FC_ERR_MEM, "w.weight: ");
    assert_null(r);
    assert_null(p.region);
    fc_region_give(&p);
    assert_ok(fc_region_take(&r, 0, "nothing", &p));
    fc_region_give(&p);
    fc_region_leave(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_apart_and_zero),     cmocka_unit_test(pages_go_back_with_the_piece),
        cmocka_unit_test(small_pieces_share_huge_pages), cmocka_unit_test(a_large_piece_has_its_own),
        cmocka_unit_test(too_much_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
