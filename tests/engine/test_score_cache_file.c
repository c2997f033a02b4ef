/* The score cache's file: what an error in the middle of a transaction leaves behind, and builds that share it. */
#include "engine/score_cache_file.h"
#include "kernels/backend.h"
#include "tests/engine/util_score_cache.h"

#include <sqlite3.h>

/* A connection's busy() fails like a lock of another process: times asked, and the one that fails. */
static int asked, fails_at;

static void busy(sqlite3_context *c, int n, sqlite3_value **v) {
    (void)n, (void)v;
    if (++asked == fails_at) sqlite3_result_error_code(c, SQLITE_BUSY);
}

static int on_open(sqlite3 *db, const char **error, const struct sqlite3_api_routines *api) {
    (void)error, (void)api;
    return sqlite3_create_function(db, "busy", 0, SQLITE_UTF8 | SQLITE_INNOCUOUS, NULL, busy, NULL, NULL);
}

static fc_score_row row_of(int i) { return (fc_score_row){.key = {{(uint64_t)i, 7}}, .score = score_of(i)}; }

static int count(fc_score_file *f, int n) {
    int found_n = 0;
    for (int i = 0; i < n; i++) {
        double score;
        bool found, damaged;
        assert_ok(fc_score_file_get(f, row_of(i).key, &score, &found, &damaged));
        assert_false(damaged);
        if (found) assert_true(same_bits(score, score_of(i)));
        found_n += found;
    }
    return found_n;
}

/* If this fails, scores that could not be written once can never be, and the file is given up; or half of them are
 * there. */
static void a_lock_that_comes_late_changes_nothing(void **state) {
    enum { ROWS = 4 };
    const char *path = fresh_file();
    fc_score_secret secret = {{1, 2}};
    fc_score_row rows[ROWS];
    fc_score_file *f;
    (void)state;
    for (int i = 0; i < ROWS; i++) rows[i] = row_of(i);
    assert_ok(fc_score_file_open(path, &secret, &f));
    fc_score_file_close(f);
    sqlite3_auto_extension((void (*)(void))on_open);
    run_sql(path, "CREATE TRIGGER late BEFORE INSERT ON scores BEGIN SELECT busy(); END");
    assert_ok(fc_score_file_open(path, &secret, &f));
    for (fails_at = 1; fails_at <= ROWS; fails_at++) {
        asked = 0;
        assert_fails(fc_score_file_put(f, rows, ROWS, 0), FC_ERR_FULL, "another process holds it");
        assert_int_equal(asked, fails_at);
        assert_int_equal(count(f, ROWS), 0);
        assert_int_equal(ask_sql(path, "SELECT count(*) FROM scores"), 1); /* the secret's row */
        run_sql(path, "BEGIN IMMEDIATE; ROLLBACK");                        /* nothing holds the file */
    }
    fails_at = 0;
    assert_ok(fc_score_file_put(f, rows, ROWS, 0));
    assert_int_equal(count(f, ROWS + 1), ROWS);
    fc_score_file_close(f);
    sqlite3_reset_auto_extension();
}

/* ---- builds that share a file ---- */

static fc_score_scope scope_of(const fc_score_cache *c, const char *version, int numerics) {
    const fc_score_material m = {.model = 5, .backend = "cpu", .cpu = "avx2", .kv_type = FC_BF16};
    fc_score_scope s;
    if (version) assert_ok(fc_score_cache_scope_of(c, &m, version, numerics, &s));
    else assert_ok(fc_score_cache_scope(c, &m, &s));
    return s;
}

/* If this fails, a build whose kernels sum in another order believes the scores of the one before. */
static void builds_are_told_apart(void **state) {
    static const struct {
        const char *version;
        int numerics;
        bool same;
    } builds[] = {{FC_VERSION, FC_NUMERICS, true},
                  {FC_VERSION, FC_NUMERICS + 1, false},
                  {FC_VERSION, 0, false},
                  {FC_VERSION "a", FC_NUMERICS, false}};
    fc_score_cache *c = open_cache(4, fresh_file());
    const fc_score_scope here = scope_of(c, NULL, 0);
    (void)state;
    for (size_t i = 0; i < sizeof builds / sizeof *builds; i++) {
        const fc_score_scope s = scope_of(c, builds[i].version, builds[i].numerics);
        if ((memcmp(&s, &here, sizeof s) == 0) != builds[i].same) fail_msg("build %zu", i);
    }
    fc_score_cache_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_that_comes_late_changes_nothing),
        cmocka_unit_test(builds_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
