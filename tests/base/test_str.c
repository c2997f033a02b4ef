#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/str.h"

static void text_grows_and_ends_in_nul(void **state) {
    fc_str s = {0};
    size_t want = 0;
    (void)state;
    assert_string_equal(fc_str_text(&s), "");
    for (int i = 0; i < 1000; i++) {
        assert_ok(fc_str_puts(&s, "ab"));
        assert_ok(fc_str_printf(&s, "%d,%s", i, ""));
        want += 3 + strlen(i < 10 ? "1" : i < 100 ? "11" : "111");
        assert_int_equal(s.size, want);
        assert_int_equal(strlen(fc_str_text(&s)), want);
    }
    assert_memory_equal(s.data, "ab0,ab1,ab2,", 12);
    assert_string_equal(s.data + want - 6, "ab999,");
    fc_str_clear(&s);
    assert_string_equal(fc_str_text(&s), "");
    assert_ok(fc_str_put(&s, "x\0y", 3));
    assert_int_equal(s.size, 3);
    assert_memory_equal(s.data, "x\0y", 4);
    assert_ok(fc_str_put(&s, NULL, 0));
    assert_int_equal(s.size, 3);
    fc_str_fini(&s);
    assert_null(s.data);
    fc_str_fini(&s);
}

static void sizes_that_wrap_are_refused(void **state) {
    fc_str s = {0};
    (void)state;
    assert_ok(fc_str_puts(&s, "abc"));
    assert_fails(fc_str_put(&s, "x", SIZE_MAX), FC_ERR_MEM, "bytes");
    assert_fails(fc_str_put(&s, "x", SIZE_MAX - 3), FC_ERR_MEM, "bytes");
    assert_string_equal(s.data, "abc");
    fc_str_fini(&s);
}

/* The oracle: decode the number, then apply the definition (no overlong form, no surrogate, at most U+10FFFF). */
static int naive(const unsigned char *p, size_t n) {
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    int length = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    unsigned v = length == 1 ? p[0] : p[0] & (0x7Fu >> length);
    if (!length || (size_t)length > n) return 0;
    for (int i = 1; i < length; i++) {
        if (p[i] >> 6 != 2) return 0;
        v = v << 6 | (p[i] & 63u);
    }
    return v >= least[length] && v <= 0x10FFFF && (v < 0xD800 || v > 0xDFFF) ? length : 0;
}

static void utf8_is_the_definition(void **state) {
    uint64_t seed = 3;
    (void)state;
    for (unsigned a = 0; a < 256; a++) /* all pairs, with all kinds of bytes behind */
        for (unsigned b = 0; b < 256; b++)
            for (unsigned c = 0x70; c < 0x100; c += 0x10) {
                const unsigned char p[4] = {(unsigned char)a, (unsigned char)b, (unsigned char)c, 0x80};
                for (size_t n = 1; n <= 4; n++) {
                    size_t at = 99, want = 0;
                    bool ok;
                    while (want < n && naive(p + want, n - want)) want += (size_t)naive(p + want, n - want);
                    ok = fc_utf8_valid((const char *)p, n, &at);
                    if (ok != (want == n) || (!ok && at != want))
                        fail_msg("%02x %02x %02x 80, %zu bytes: valid %d at %zu; bad from %zu", a, b, c, n, ok, at,
                                 want);
                }
            }
    for (int round = 0; round < 2000; round++) { /* long texts with one bad byte: the eight-byte step */
        char text[64];
        size_t n = 0, at = 99, where;
        while (n < 56) {
            const char *piece = (const char *[]){"a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
                                                 "ascii ascii "}[test_below(&seed, 5)];
            if (n + strlen(piece) > sizeof text) break;
            memcpy(text + n, piece, strlen(piece));
            n += strlen(piece);
        }
        assert_true(fc_utf8_valid(text, n, &at));
        where = (size_t)test_below(&seed, (int)n);
        if ((unsigned char)text[where] >= 0x80) continue;
        text[where] = (char)0xFF;
        assert_false(fc_utf8_valid(text, n, &at));
        assert_int_equal(at, where);
    }
}

/* If this fails, a stream shows half a character. For every cut of a valid text the prefix ends between sequences. */
static void a_cut_text_ends_between_sequences(void **state) {
    static const char text[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z\xED\x9F\xBF\xF4\x8F\xBF\xBF";
    (void)state;
    for (size_t n = 0; n <= strlen(text); n++) {
        size_t whole = 0, at;
        for (size_t i = 0; i < n; i += (size_t)naive((const unsigned char *)text + i, 4)) {
            if (i + (size_t)naive((const unsigned char *)text + i, 4) > n) break;
            whole = i + (size_t)naive((const unsigned char *)text + i, 4);
        }
        assert_int_equal(fc_utf8_complete(text, n), whole);
        assert_true(fc_utf8_valid(text, whole, &at));
    }
    assert_int_equal(fc_utf8_complete("ab\x80", 3), 3);     /* a stray byte never becomes valid: complete */
    assert_int_equal(fc_utf8_complete("ab\xC0", 3), 3);     /* nor does an overlong lead */
    assert_int_equal(fc_utf8_complete("ab\xE0\x80", 4), 4); /* nor an overlong pair */
    assert_int_equal(fc_utf8_complete("ab\xE0\xA0", 4), 2);
    assert_int_equal(fc_utf8_complete("ab\xF4\x90", 4), 4);
    assert_int_equal(fc_utf8_complete("\xF0\x9F\x98", 3), 0);
    assert_int_equal(fc_utf8_complete("\x98\x98\x98\x98", 4), 4);
}

static void endings_are_compared(void **state) {
    (void)state;
    assert_true(fc_ends_with("model.gguf", ".gguf") && fc_ends_with(".gguf", ".gguf") && fc_ends_with("x", ""));
    assert_false(fc_ends_with("gguf", ".gguf") || fc_ends_with("model.gguf2", ".gguf") || fc_ends_with("", "x"));
}

/* RFC 4648's own examples, and what is none. */
static void base64_is_read(void **state) {
    static const char *const pairs[][2] = {{"", ""},
                                           {"Zg==", "f"},
                                           {"Zm8=", "fo"},
                                           {"Zm9v", "foo"},
                                           {"Zm9vYg==", "foob"},
                                           {"Zm9vYmE=", "fooba"},
                                           {"Zm9vYmFy", "foobar"},
                                           {"Zg", "f"},
                                           {"+/+/", "\xfb\xff\xbf"}};
    fc_str s = {0};
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        fc_str_clear(&s);
        assert_ok(fc_str_puts(&s, "> "));
        assert_ok(fc_str_put_base64(&s, pairs[i][0]));
        assert_int_equal(s.size, 2 + strlen(pairs[i][1]));
        assert_string_equal(s.data + 2, pairs[i][1]);
    }
    assert_fails(fc_str_put_base64(&s, "Zm=v"), FC_ERR_FORMAT, "character 2 is not base64");
    assert_fails(fc_str_put_base64(&s, "Zm9v\n"), FC_ERR_FORMAT, "character 4 is not base64");
    fc_str_fini(&s);
}

static void files_stand_beside_one_another(void **state) {
    static const char *const cases[][2] = {
        {"a/b/model.gguf", "a/b/x"}, {"model.gguf", "x"}, {"/m", "/x"}, {"a/", "a/x"}};
    fc_str s = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_ok(fc_path_beside(cases[i][0], "x", &s));
        assert_string_equal(s.data, cases[i][1]);
    }
    fc_str_fini(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_grows_and_ends_in_nul),     cmocka_unit_test(sizes_that_wrap_are_refused),
        cmocka_unit_test(utf8_is_the_definition),         cmocka_unit_test(a_cut_text_ends_between_sequences),
        cmocka_unit_test(endings_are_compared),           cmocka_unit_test(base64_is_read),
        cmocka_unit_test(files_stand_beside_one_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
