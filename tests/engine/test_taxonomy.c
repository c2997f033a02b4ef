#include "tests/util.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/str.h"
#include "engine/taxonomy.h"

/* From a block of exactly this size, for the address sanitizer. */
static fc_status parse_bytes(const char *text, size_t size, fc_taxonomy **out) {
    char *exact = malloc(size ? size : 1);
    fc_status st;
    assert_non_null(exact);
    memcpy(exact, text, size);
    st = fc_taxonomy_parse("t.tsv", exact, size, out);
    free(exact);
    return st;
}

static fc_taxonomy *parse(const char *text) {
    fc_taxonomy *t = NULL;
    assert_ok(parse_bytes(text, strlen(text), &t));
    return t;
}

static void refused(const char *text, const char *words) {
    fc_taxonomy *t = NULL;
    assert_fails(parse_bytes(text, strlen(text), &t), FC_ERR_FORMAT, words);
    assert_null(t);
}

static void a_table_is_read_as_written(void **state) {
    static const char *const texts[] = {
        "# comment\nc\tChess\tpawns, kings\tg\ng\tGames\t\n\ns\tSea\twaves\t\nb\tBoats\tsails\ts\n",
        "\xEF\xBB\xBF# comment\r\nc\tChess\tpawns, "
        "kings\tg\r\ng\tGames\t\r\n\r\ns\tSea\twaves\t\r\nb\tBoats\tsails\ts", /* BOM, CRLF, no end */
    };
    (void)state;
    for (int k = 0; k < 2; k++) {
        fc_taxonomy *t = parse(texts[k]);
        assert_int_equal(t->n, 4);
        assert_string_equal(t->names[0], "Chess");
        assert_string_equal(t->entries[0].id, "c");
        assert_string_equal(t->entries[0].keywords, "pawns, kings");
        assert_int_equal(t->entries[0].parent, 1);
        assert_int_equal(t->entries[0].line, 2);
        assert_string_equal(t->entries[1].keywords, "");
        assert_int_equal(t->entries[1].parent, -1);
        assert_int_equal(t->entries[2].parent, -1);
        assert_int_equal(t->entries[2].line, 5);
        assert_int_equal(t->entries[3].parent, 2);
        for (int i = 0; i < 4; i++) assert_int_equal(fc_taxonomy_find(t, t->names[i]), i);
        assert_int_equal(fc_taxonomy_find(t, "chess"), -1);
        assert_int_equal(fc_taxonomy_find(t, ""), -1);
        assert_int_equal(fc_taxonomy_find(t, "Zebra"), -1);
        fc_taxonomy_close(t);
    }
    fc_taxonomy_close(NULL);
}

static void wrong_tables_name_the_line(void **state) {
    (void)state;
    refused("", "t.tsv: no entries");
    refused("# only\n\n# comments\n", "no entries");
    refused("\xEF\xBB\xBF", "no entries");
    refused("a\tA\tx\nb\tB\n", "line 2: 2 columns; id, name and keywords");
    refused("a", "line 1: 1 column;");
    refused("a\tA\tx\t\t\n", "line 1: more than 4 columns");
    refused("id\tname\tkeywords\tparent id\na\tA\tx\t\n", "line 1: a line of titles; a # before it makes it a comment");
    refused("ID\tName\tKeywords\na\tA\tx\n", "line 1: a line of titles");
    refused("\tA\tx\n", "line 1: the id is empty");
    refused("# c\na\t\tx\n", "line 2: the name is empty");
    refused("a\tA\tx\nb\tB\tx\na\tC\tx\n", "lines 1 and 3 have the same id \"a\"");
    refused("a\tA\tx\r\nb\tB\tx\r\nc\tA\tx\r\n", "lines 1 and 3 have the same name \"A\"");
    refused("a\tA\tx\tq\n", "line 1: the parent id \"q\" is no entry's id");
    refused("a\tA\tx\ta\n", "line 1: \"A\" is its own ancestor");
    refused("z\tZ\tx\na\tA\tx\tb\nb\tB\tx\tc\nc\tC\tx\tb\n", "is its own ancestor");
    refused("a\t A\tx\n", "line 1: the name \" A\" begins or ends with a blank");
    refused("a\tA \tx\n", "begins or ends with a blank");
    refused("a\tA\x01\tx\n", "the name holds a control character, byte 1");
    refused("a\tA\rB\tx\n", "control character, byte 13");
    refused("a\tA\xFF\tx\n", "line 1: byte 2 of the name is not UTF-8");
    refused("a\tA\tx,, y\n", "an empty keyword");
    refused("a\tA\tx, \n", "begins or ends with a blank");
    refused("a\tA\t,x\n", "an empty keyword");
    {
        fc_taxonomy *t = NULL;
        assert_fails(parse_bytes("a\tA\tx\nb\0\tB\tx\n", 13, &t), FC_ERR_FORMAT, "line 2: a NUL");
        assert_fails(fc_taxonomy_open("tests/no such file", &t), FC_ERR_IO, "no such file");
        assert_null(t);
    }
}

/* Deep chains of parents and many names: the work grows as n log n. Pairwise comparison of 100,000 names would take
 * minutes; the bound is some 20 times what is needed. */
static void a_hundred_thousand_names_are_fast(void **state) {
    enum { N = 100000 };
    fc_str s = {0};
    fc_taxonomy *t;
    uint64_t start;
    double ms;
    (void)state;
    for (int i = 0; i < N; i++) {
        assert_ok(fc_str_printf(&s, "id%d\tname %d\tkeyword %d, other", i, (i * 7919) % N, i));
        assert_ok(i ? fc_str_printf(&s, "\tid%d\n", i - 1) : fc_str_puts(&s, "\n"));
    }
    start = fc_clock_ns();
    assert_ok(fc_taxonomy_parse("t.tsv", s.data, s.size, &t));
    ms = (double)(fc_clock_ns() - start) * 1e-6;
    print_message("%d names, %zu bytes: %.1f ms\n", N, s.size, ms);
    assert_true(ms < 5000.0);
    for (int i = 0; i < N; i += 37) {
        assert_int_equal(t->entries[i].parent, i - 1);
        assert_int_equal(fc_taxonomy_find(t, t->names[i]), i);
    }
    fc_taxonomy_close(t);
    fc_str_fini(&s);
}

/* Every cut and every changed byte of a small table gives an answer. */
static void damaged_tables_end_in_an_answer(void **state) {
    static const char text[] = "# c\na\tA\tx, y\nb\tB\tz\ta\nc\tC \xC3\xA9\tw\tb\n";
    char copy[sizeof text];
    int good = 0;
    (void)state;
    for (size_t n = 0; n <= strlen(text); n++) {
        fc_taxonomy *t = NULL;
        if (parse_bytes(text, n, &t) == FC_OK) good++;
        fc_taxonomy_close(t);
    }
    for (size_t i = 0; i < strlen(text); i++)
        for (int c = 0; c < 256; c++) {
            fc_taxonomy *t = NULL;
            memcpy(copy, text, sizeof text);
            copy[i] = (char)c;
            if (parse_bytes(copy, strlen(text), &t) == FC_OK) good++;
            else assert_true(strncmp(fc_status_text(), "t.tsv: ", 7) == 0);
            fc_taxonomy_close(t);
        }
    assert_true(good > 100);
}

/* The example is what its README says: names of 1 to 4 words, keywords for each, every entry at most one level deep. */
static void the_example_holds(void **state) {
    fc_taxonomy *t;
    int top = 0;
    (void)state;
    assert_ok(fc_taxonomy_open("examples/interests.tsv", &t));
    assert_int_equal(t->n, 284);
    for (int i = 0; i < t->n; i++) {
        int words = 1, parent = t->entries[i].parent;
        for (const char *c = t->names[i]; *c; c++) words += *c == ' ';
        assert_in_range(words, 1, 4);
        assert_non_null(strstr(t->entries[i].keywords, ", "));
        if (parent < 0) top++;
        else assert_int_equal(t->entries[parent].parent, -1);
    }
    assert_int_equal(top, 23);
    fc_taxonomy_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_is_read_as_written),
        cmocka_unit_test(wrong_tables_name_the_line),
        cmocka_unit_test(a_hundred_thousand_names_are_fast),
        cmocka_unit_test(damaged_tables_end_in_an_answer),
        cmocka_unit_test(the_example_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
