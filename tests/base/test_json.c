#include "tests/util.h"

#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <unistd.h>

/* From a block of exactly this size, so that a read past the end is seen by the address sanitizer. */
static fc_status parse_bytes(const char *text, size_t size, fc_json_doc **out) {
    char *exact = malloc(size ? size : 1);
    fc_status st;
    assert_non_null(exact);
    memcpy(exact, text, size);
    st = fc_json_parse("doc", exact, size, out);
    free(exact);
    return st;
}

static fc_json_doc *parse(const char *text) {
    fc_json_doc *d = NULL;
    assert_ok(parse_bytes(text, strlen(text), &d));
    return d;
}

#define refused_bytes(text, size, words)                                                                               \
    do {                                                                                                               \
        fc_json_doc *d_ = NULL;                                                                                        \
        assert_fails(parse_bytes(text, size, &d_), FC_ERR_FORMAT, words);                                              \
        assert_null(d_);                                                                                               \
    } while (0)
#define refused(text, words) refused_bytes(text, strlen(text), words)

static void a_document_is_read_as_written(void **state) {
    fc_json_doc *d = parse("\xEF\xBB\xBF { \"a\" : [1, -2.5e1, true, false, null, "
                           "\"x\\u00e9\\n\\ud83d\\ude00\"],\r\n\t\"A\":{}, \"\":[]}\n");
    const fc_json *root = fc_json_root(d), *a = fc_json_get(root, "a"), *n;
    const char *s;
    bool b;
    double v;
    (void)state;
    assert_int_equal(fc_json_kind(root), FC_JSON_OBJECT);
    assert_int_equal(fc_json_count(root), 3);
    assert_int_equal(fc_json_count(a), 6);
    assert_string_equal(fc_json_key(a), "a");
    n = fc_json_first(a);
    assert_string_equal(fc_json_key(n), "");
    assert_ok(fc_json_double(n, &v));
    assert_true(v == 1.0);
    n = fc_json_next(n);
    assert_ok(fc_json_double(n, &v));
    assert_true(v == -25.0);
    n = fc_json_next(n);
    assert_ok(fc_json_bool(n, &b));
    assert_true(b);
    n = fc_json_next(n);
    assert_ok(fc_json_bool(n, &b));
    assert_false(b);
    n = fc_json_next(n);
    assert_int_equal(fc_json_kind(n), FC_JSON_NULL);
    n = fc_json_next(n);
    assert_ok(fc_json_string(n, &s));
    assert_string_equal(s, "x\xC3\xA9\n\xF0\x9F\x98\x80");
    assert_null(fc_json_next(n));
    assert_int_equal(fc_json_kind(fc_json_get(root, "A")), FC_JSON_OBJECT); /* case counts */
    assert_null(fc_json_first(fc_json_get(root, "A")));
    assert_int_equal(fc_json_kind(fc_json_get(root, "")), FC_JSON_ARRAY);
    assert_null(fc_json_get(root, "b"));
    assert_null(fc_json_get(a, "b"));
    assert_null(fc_json_get(NULL, "b"));
    assert_string_equal(fc_json_kind_name(FC_JSON_OBJECT), "object");
    fc_json_close(d);
    fc_json_close(NULL);
}

/* Each of these is taken by cJSON, or cut, or read as another value. */
static void what_cjson_lets_through_is_refused(void **state) {
    (void)state;
    refused("\"a\\u0000b\"", "line 1, column 3: \\u0000");
    refused_bytes("\"a\0b\"", 5, "a NUL");
    refused_bytes("[1]\0", 4, "column 4: text behind");
    refused("{\"k\":\n  \"\xC3(\"}", "line 2, column 4: not UTF-8");
    refused("\"\xED\xA0\x80\"", "not UTF-8");
    refused("\"\x01\"", "control character");
    refused("\"a\nb\"", "control character");
    refused("01", "leading zero");
    refused("[-00.5]", "leading zero");
    refused("1e400", "the document: a number that no double can hold");
    refused("{\"a\":[0,{\"b\":-1e999}]}", "a[1].b: a number");
    refused("[1] []", "text behind");
    refused("{} x", "line 1, column 4: text behind");
    refused("[1.]", "ends in a point");
    refused("[1e]", "exponent");
    refused("[-]", "minus sign");
    refused("[.5]", "neither a value");
    refused("[+1]", "neither a value");
    refused("[0x10]", "a comma or ]");
    refused("[NaN]", "neither a value");
    refused("[Infinity]", "neither a value");
    refused("'a'", "neither a value");
    refused("[1,]", "neither a value");
    refused("{\"a\":1,}", "a key in quotes");
    refused("{a:1}", "a key in quotes");
    refused("[\"\\x41\"]", "unknown escape");
    refused("[\"\\u12g4\"]", "four hexadecimal");
    refused("[\"\\ud800\"]", "high surrogate");
    refused("[\"\\ud800\\u0041\"]", "high surrogate");
    refused("[\"\\udc00\"]", "low surrogate");
    refused("", "the text ends");
    refused(" \n ", "line 2, column 2: the text ends");
    refused("0.0000000000000000000000000000000000000000000000000000000000000001", "more than 63 characters");
    refused("// comment\n1", "neither a value");
}

static void duplicate_keys_are_refused(void **state) {
    fc_str s = {0};
    fc_json_doc *d;
    (void)state;
    refused("{\"a\":1,\"b\":2,\"a\":3}", "\"a\" appears twice");
    refused("{\"x\":[0,{\"k\":1,\"\\u006b\":2}]}", "x[1]: the key \"k\" appears twice"); /* equal behind the escape */
    fc_json_close(parse("{\"a\":{\"a\":1},\"A\":[{\"a\":1},{\"a\":2}]}"));
    for (int twin = -1; twin < 40; twin++) {
        fc_str_clear(&s);
        for (int i = 0; i < 40; i++) assert_ok(fc_str_printf(&s, "%c\"k%d\":%d", i ? ',' : '{', i, i));
        if (twin >= 0) assert_ok(fc_str_printf(&s, ",\"k%d\":0", twin));
        assert_ok(fc_str_puts(&s, "}"));
        if (twin < 0) {
            assert_ok(parse_bytes(s.data, s.size, &d));
            fc_json_close(d);
        } else {
            refused(s.data, "appears twice");
        }
    }
    fc_str_fini(&s);
}

static void depth_is_32(void **state) {
    char text[2 * 40 + 1];
    (void)state;
    for (int depth = 30; depth <= 36; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = '\0';
        if (depth <= 32) fc_json_close(parse(text));
        else refused(text, "more than 32 levels");
    }
    refused("{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "more than 32 levels");
}

/* If this fails, a seed loses its low bits and an answer cannot be reproduced. */
static void integers_keep_64_bits(void **state) {
    fc_json_doc *d =
        parse("[18446744073709551615, 9007199254740993, -9223372036854775808, 18446744073709551616, 1e3, 2.0,"
              " 0.5, -0, 1e17, 9223372036854775807, -9007199254740993, 1234567890123456,"
              " -9223372036854775809]");
    const fc_json *n[13];
    uint64_t u;
    int64_t v;
    int i = 0;
    (void)state;
    for (const fc_json *k = fc_json_first(fc_json_root(d)); k; k = fc_json_next(k)) n[i++] = k;
    assert_int_equal(i, 13);
    assert_ok(fc_json_uint64(n[0], &u));
    assert_true(u == UINT64_MAX);
    assert_fails(fc_json_int(n[0], INT64_MIN, INT64_MAX, &v), FC_ERR_FORMAT, "doc: [0] is 1.8446744073709552e+19");
    assert_ok(fc_json_uint64(n[1], &u));
    assert_true(u == 9007199254740993u);
    assert_ok(fc_json_int(n[1], 0, INT64_MAX, &v));
    assert_true(v == 9007199254740993);
    assert_ok(fc_json_int(n[2], INT64_MIN, INT64_MAX, &v));
    assert_true(v == INT64_MIN);
    assert_fails(fc_json_uint64(n[2], &u), FC_ERR_FORMAT, "[2] is -9.2233720368547758e+18");
    assert_fails(fc_json_uint64(n[3], &u), FC_ERR_FORMAT, "[3] is 1.8446744073709552e+19");
    assert_ok(fc_json_int(n[4], 0, 1000, &v));
    assert_int_equal(v, 1000);
    assert_ok(fc_json_int(n[5], 0, 2, &v));
    assert_int_equal(v, 2);
    assert_fails(fc_json_int(n[6], 0, 2, &v), FC_ERR_FORMAT, "[6] is 0.5; a whole number from 0 to 2");
    assert_ok(fc_json_uint64(n[7], &u));
    assert_true(u == 0);
    assert_fails(fc_json_uint64(n[8], &u), FC_ERR_FORMAT, "[8]");
    assert_ok(fc_json_int(n[9], 0, INT64_MAX, &v));
    assert_true(v == INT64_MAX);
    assert_fails(fc_json_int(n[9], 0, INT64_MAX - 1, &v), FC_ERR_FORMAT, "[9]");
    assert_ok(fc_json_int(n[10], INT64_MIN, 0, &v));
    assert_true(v == -9007199254740993);
    assert_fails(fc_json_int(n[10], -5, 0, &v), FC_ERR_FORMAT, "from -5 to 0");
    assert_ok(fc_json_int(n[11], 0, INT64_MAX, &v));
    assert_true(v == 1234567890123456);
    assert_fails(fc_json_int(n[12], INT64_MIN, INT64_MAX, &v), FC_ERR_FORMAT, "[12]");
    fc_json_close(d);
}

static void a_wrong_type_names_document_and_key(void **state) {
    fc_json_doc *d = parse("{\"sampling\":{\"stop\":[1,\"x\"],\"temperature\":\"hot\",\"bad\\u0007key\":0}}");
    const fc_json *s = fc_json_get(fc_json_root(d), "sampling");
    const char *text = "unchanged";
    double v = 5;
    bool b = true;
    int64_t i;
    (void)state;
    assert_fails(fc_json_string(fc_json_first(fc_json_get(s, "stop")), &text), FC_ERR_FORMAT,
                 "doc: sampling.stop[0] is of type number; string is expected");
    assert_string_equal(text, "unchanged");
    assert_fails(fc_json_double(fc_json_get(s, "temperature"), &v), FC_ERR_FORMAT,
                 "doc: sampling.temperature is of type string");
    assert_true(v == 5);
    assert_fails(fc_json_bool(s, &b), FC_ERR_FORMAT, "object; boolean");
    assert_fails(fc_json_int(fc_json_root(d), 0, 1, &i), FC_ERR_FORMAT, "the document is of type object");
    assert_fails(fc_json_string(fc_json_next(fc_json_get(s, "temperature")), &text), FC_ERR_FORMAT, "sampling.bad?key");
    assert_fails(fc_json_fail(fc_json_get(s, "stop"), FC_ERR_UNSUPPORTED, "%d of %s", 3, "them"), FC_ERR_UNSUPPORTED,
                 "doc: sampling.stop: 3 of them");
    fc_json_close(d);
}

static void writing_escapes_and_replaces(void **state) {
    fc_str s = {0};
    fc_json_doc *d;
    const char *back;
    char all[256];
    double nan_value = NAN;
    (void)state;
    assert_ok(fc_json_put_string(&s, "a\"\\\b\f\n\r\t\x01/\x7F\xC3\xA9", 13));
    assert_string_equal(s.data, "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001/\x7F\xC3\xA9\"");
    fc_str_clear(&s);
    assert_ok(fc_json_put_string(&s,
                                 "\xFF"
                                 "a\xC3\"\xE2\x82",
                                 6));
    assert_string_equal(s.data, "\"\xEF\xBF\xBD"
                                "a\xEF\xBF\xBD\\\"\xEF\xBF\xBD\xEF\xBF\xBD\"");
    fc_str_clear(&s);
    assert_ok(fc_json_put_string(&s, "a\0b", 3));
    assert_string_equal(s.data, "\"a\\u0000b\"");
    fc_str_clear(&s);
    for (int i = 0; i < 255; i++) all[i] = (char)(i < 127 ? i + 1 : 'x'); /* there and back */
    all[255] = '\0';
    assert_ok(fc_json_put_string(&s, all, 255));
    d = parse(s.data);
    assert_ok(fc_json_string(fc_json_root(d), &back));
    assert_string_equal(back, all);
    fc_json_close(d);
    fc_str_clear(&s);
    assert_ok(fc_json_put_double(&s, (double)-0.1f));
    assert_ok(fc_str_puts(&s, " "));
    assert_ok(fc_json_put_double(&s, nan_value));
    assert_ok(fc_str_puts(&s, " "));
    assert_ok(fc_json_put_double(&s, -INFINITY));
    assert_ok(fc_str_puts(&s, " "));
    assert_ok(fc_json_put_double(&s, INFINITY));
    assert_ok(fc_str_puts(&s, " "));
    assert_ok(fc_json_put_double(&s, 16.0));
    assert_string_equal(s.data, "-0.100000001 null -9999.0 9999.0 16");
    fc_str_fini(&s);
}

/* Every prefix, and every text with one byte changed, is an error or a document: nothing is read past the end. */
static void damaged_texts_end_in_an_answer(void **state) {
    static const char text[] =
        "{\"a\":[1,-2.5e1,true,false,null,\"x\\u00e9\\ud83d\\ude00\\n\"],\"b\":{\"c\":18446744073709551615,"
        "\"d\":\"\xE2\x82\xAC\"},\"e\":0.125}";
    char copy[sizeof text];
    int good = 0;
    (void)state;
    for (size_t n = 0; n < strlen(text); n++) refused_bytes(text, n, "doc: ");
    for (size_t i = 0; i < strlen(text); i++)
        for (int c = 0; c < 256; c++) {
            fc_json_doc *d = NULL;
            memcpy(copy, text, sizeof text);
            copy[i] = (char)c;
            if (parse_bytes(copy, strlen(text), &d) == FC_OK) {
                good++;
                fc_json_close(d);
            } else {
                assert_null(d);
            }
        }
    assert_true(good > (int)strlen(text)); /* letters for letters, digits for digits */
}

/* A tokenizer's vocabulary. Quadratic work on its keys would take minutes; the bound is some 20 times what is
 * needed. */
static void a_large_object_is_fast(void **state) {
    fc_str s = {0};
    fc_json_doc *d;
    uint64_t start;
    double ms;
    int64_t v;
    (void)state;
    assert_ok(fc_str_puts(&s, "{\"vocab\":{"));
    for (int i = 0; i < 50000; i++) assert_ok(fc_str_printf(&s, "%s\"token %d\":%d", i ? "," : "", i, i));
    assert_ok(fc_str_puts(&s, "},\"merges\":["));
    for (int i = 0; i < 50000; i++) assert_ok(fc_str_printf(&s, "%s\"tok en%d\"", i ? "," : "", i));
    assert_ok(fc_str_puts(&s, "]}"));
    start = fc_clock_ns();
    assert_ok(fc_json_parse("big", s.data, s.size, &d));
    ms = (double)(fc_clock_ns() - start) * 1e-6;
    print_message("%zu bytes, 100,000 values: %.1f ms\n", s.size, ms);
    assert_true(ms < 3000.0);
    assert_int_equal(fc_json_count(fc_json_get(fc_json_root(d), "merges")), 50000);
    assert_ok(fc_json_int(fc_json_get(fc_json_get(fc_json_root(d), "vocab"), "token 49999"), 0, 49999, &v));
    assert_int_equal(v, 49999);
    fc_json_close(d);
    fc_str_fini(&s);
}

static void files_are_bounded(void **state) {
    char path[] = "/tmp/forkcast_json_XXXXXX";
    int fd = mkstemp(path);
    fc_json_doc *d;
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "[1,2,3]", 7), 7);
    close(fd);
    assert_ok(fc_json_open(path, 7, &d));
    assert_int_equal(fc_json_count(fc_json_root(d)), 3);
    fc_json_close(d);
    assert_fails(fc_json_open(path, 6, &d), FC_ERR_FORMAT, "7 bytes; at most 6");
    unlink(path);
    assert_fails(fc_json_open(path, 6, &d), FC_ERR_IO, path);
    assert_fails(fc_json_open("tests", 6, &d), FC_ERR_IO, "regular");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_is_read_as_written), cmocka_unit_test(what_cjson_lets_through_is_refused),
        cmocka_unit_test(duplicate_keys_are_refused),    cmocka_unit_test(depth_is_32),
        cmocka_unit_test(integers_keep_64_bits),         cmocka_unit_test(a_wrong_type_names_document_and_key),
        cmocka_unit_test(writing_escapes_and_replaces),  cmocka_unit_test(damaged_texts_end_in_an_answer),
        cmocka_unit_test(a_large_object_is_fast),        cmocka_unit_test(files_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
