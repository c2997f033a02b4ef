#include "tests/engine/util_score_cache.h"

#include <sqlite3.h>
#include <unistd.h>

enum { MAX_FILES = 128 };

static char folder[64], files[MAX_FILES][96];
static int n_files;

static void remove_all(void) {
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    char path[128];
    for (int i = 0; i < n_files; i++)
        for (int k = 0; k < 4; k++) {
            snprintf(path, sizeof path, "%.95s%s", files[i], ends[k]);
            unlink(path);
        }
    rmdir(folder);
}

const char *fresh_file(void) {
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/tmp/forkcast-scores-XXXXXX");
        assert_non_null(mkdtemp(folder));
        atexit(remove_all);
    }
    assert_true(n_files < MAX_FILES);
    snprintf(files[n_files], sizeof files[n_files], "%s/%d.db", folder, n_files);
    return files[n_files++];
}

void run_sql(const char *path, const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

int64_t ask_sql(const char *path, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *st;
    int64_t v;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

size_t read_bytes(const char *path, unsigned char **bytes) {
    FILE *f = fopen(path, "rb");
    size_t n;
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    n = (size_t)ftell(f);
    rewind(f);
    *bytes = malloc(n + 1);
    assert_non_null(*bytes);
    assert_int_equal(fread(*bytes, 1, n, f), n);
    fclose(f);
    return n;
}

void write_bytes(const char *path, const unsigned char *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

fc_score_cache *open_cache(int n, const char *file) {
    const uint64_t each = 44; /* an entry of 40 bytes, and 4 of its chain's head; one place is not for scores */
    fc_score_cache *c;
    assert_ok(fc_score_cache_open((uint64_t)(n + 1) * each, file, &c));
    assert_int_equal(fc_score_cache_counts(c).max_scores, n);
    return c;
}

fc_score_key key_of(const fc_score_cache *c, int i) {
    const int32_t prompt[] = {1, 2, 3};
    const int32_t ids[] = {7, i};
    fc_score_scope s;
    assert_ok(fc_score_cache_scope(
        c, &(fc_score_material){.backend = "cpu", .cpu = "avx2", .prompt = prompt, .n_prompt = 3}, &s));
    return fc_score_cache_key(&s, ids, 2);
}

double score_of(int i) {
    static const double special[] = {0.0, -0.0, INFINITY, -INFINITY, 5e-324, -1.7976931348623157e308, 1.0, -3.0};
    uint64_t state = (uint64_t)i;
    if (i < 8) return special[i];
    return -(double)(fc_rng_next(&state) >> 11) * 0x1p-50;
}

bool same_bits(double a, double b) { return memcmp(&a, &b, sizeof a) == 0; }
