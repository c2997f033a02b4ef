/* The one enum that two headers publish, and the names of its values. */
#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"

/* The enum fc_status of a header, as text; fc_free frees. */
static char *enum_of(const char *path) {
    char *text, *begin, *end, *out;
    size_t size;
    assert_ok(fc_file_read(path, 1 << 20, &text, &size));
    begin = strstr(text, "typedef enum {\n    FC_OK = 0,");
    if (!begin) fail_msg("%s: no enum that begins with FC_OK", path);
    end = strstr(begin, "} fc_status;");
    assert_non_null(end);
    assert_ok(fc_copy_bytes(begin, (size_t)(end - begin), "enum", &out));
    fc_free(text);
    return out;
}

/* If this fails, a program and the library mean different failures by one number. */
static void both_headers_publish_one_enum(void **state) {
    char *inner = enum_of("engine/base/status.h"), *published = enum_of("engine/forkcast.h");
    (void)state;
    assert_string_equal(published, inner);
    fc_free(inner);
    fc_free(published);
}

static void every_status_has_its_name(void **state) {
    char *text = enum_of("engine/base/status.h");
    const char *at = text;
    int n = 0;
    (void)state;
    for (; (at = strstr(at, "    FC_")); n++) {
        const char *name = fc_status_name((fc_status)n);
        at += 4;
        if (strncmp(at, name, strlen(name)) != 0 || strcspn(at, " ,\n") != strlen(name))
            fail_msg("status %d is called %s, not %.*s", n, name, (int)strcspn(at, " ,\n"), at);
    }
    assert_int_equal(n, FC_ERR_INTERNAL + 1);
    fc_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_headers_publish_one_enum),
        cmocka_unit_test(every_status_has_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
