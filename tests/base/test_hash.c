/* SipHash against the vectors of its authors (key 00..0f, input 00, 01, 02, ...). */
#include "engine/base/hash.h"
#include "tests/util.h"

/* If this fails, caches that were written by another build are not found again. */
static void vectors_of_the_paper(void **state) {
    static const struct {
        size_t size;
        uint64_t hash;
    } cases[] = {{0, 0x726fdb47dd0e0e31u}, {1, 0x74f839c593dc67fdu},  {7, 0xab0200f58b01d137u},
                 {8, 0x93f5f5799a932462u}, {15, 0xa129ca6149be45e5u}, {16, 0x3f2acc7f57c29bdbu}};
    unsigned char in[16];
    (void)state;
    for (int i = 0; i < 16; i++) in[i] = (unsigned char)i;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(fc_siphash(0x0706050403020100u, 0x0f0e0d0c0b0a0908u, in, cases[i].size) == cases[i].hash);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors_of_the_paper)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
