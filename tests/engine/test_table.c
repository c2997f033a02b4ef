/* Tables: keys, seeds and fingerprints; rows that come back as they were put; files that are the same bytes. */
#include "engine/base/os.h"
#include "engine/table_sql.h"
#include "tests/util.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

static char folder[] = "/tmp/forkcast_table_XXXXXX";

static const char *path(const char *name) {
    static char out[4][128];
    static int i;
    i = (i + 1) % 4;
    snprintf(out[i], sizeof out[i], "%s/%s", folder, name);
    return out[i];
}

static int open_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
    char command[160];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static const fc_table_meta meta = {{"0.1.0", "4", "cpu", "avx2", "f32", "00", "", "", "", "", "{\"mode\":\"judge\"}",
                                    "7", "{\"kind\":\"histories\",\"order\":\"set\"}", "1/1", "100", "aa", "bb", "cc"}};

static fc_table *work(const char *name) {
    fc_table *t;
    bool made;
    assert_ok(fc_table_work(path(name), &meta, &t, &made));
    return t;
}

/* Row i of a made-up job. */
static fc_table_row row_of(int i, char key[32], fc_table_entry e[3]) {
    snprintf(key, 32, "k%02d", i);
    for (int k = 0; k < 3; k++)
        e[k] = (fc_table_entry){.text = "a\0b",
                                .text_size = (size_t)k + 1,
                                .score = -i - 0.1 * k,
                                .logprob = k == 1 ? NAN : -1e-300,
                                .votes = 3 - k,
                                .valid = k - 1};
    return (fc_table_row){.key = key,
                          .input = UINT64_MAX - (uint64_t)i,
                          .seed = fc_table_seed(7, key),
                          .n = 16,
                          .n_valid = i % 2 ? -1 : 5,
                          .confidence = {.logprob = -0.1,
                                         .entropy = 1.0 / 3,
                                         .vote_share = 0.5,
                                         .distinct = 3,
                                         .margin = i ? 0.25 : NAN,
                                         .valid_mass = NAN,
                                         .n_used = 16},
                          .entries = e,
                          .n_entries = (size_t)(i % 4 == 3 ? 0 : 3)};
}

static void put(fc_table *t, int i) {
    char key[32];
    fc_table_entry e[3];
    fc_table_row r = row_of(i, key, e);
    assert_ok(fc_table_put(t, &r));
}

static void same_real(double a, double b) { assert_true(memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b))); }

static void same_row(const fc_table_row *got, int i) {
    char key[32];
    fc_table_entry e[3];
    fc_table_row r = row_of(i, key, e);
    assert_string_equal(got->key, key);
    assert_true(got->input == r.input && got->seed == r.seed && got->n == r.n && got->n_valid == r.n_valid);
    assert_int_equal(got->confidence.n_used, 16);
    assert_int_equal(got->confidence.distinct, 3);
    same_real(got->confidence.entropy, r.confidence.entropy);
    same_real(got->confidence.margin, r.confidence.margin);
    same_real(got->confidence.valid_mass, NAN);
    assert_int_equal(got->n_entries, r.n_entries);
    for (size_t k = 0; k < r.n_entries; k++) {
        assert_int_equal(got->entries[k].text_size, e[k].text_size);
        assert_memory_equal(got->entries[k].text, e[k].text, e[k].text_size);
        assert_true(got->entries[k].votes == e[k].votes && got->entries[k].valid == e[k].valid);
        same_real(got->entries[k].score, e[k].score);
        same_real(got->entries[k].logprob, e[k].logprob);
    }
}

/* ---- keys ---- */

/* If this fails, a set is two keys, or the server asks for another one than was computed. */
static void a_set_is_one_key(void **state) {
    const char *names[3] = {"Tea", "Chess", "Go"};
    fc_str a = {0};
    (void)state;
    assert_ok(fc_table_key(names, 3, false, &a));
    assert_string_equal(fc_str_text(&a), "Tea\tChess\tGo");
    fc_str_clear(&a);
    assert_ok(fc_table_key(names, 3, true, &a));
    assert_string_equal(fc_str_text(&a), "Chess\tGo\tTea");
    assert_string_equal(names[0], "Tea");
    names[1] = "a\tb";
    assert_int_equal(fc_table_key(names, 3, true, &a), FC_ERR_ARG);
    names[1] = "";
    assert_int_equal(fc_table_key(names, 3, true, &a), FC_ERR_ARG);
    assert_int_equal(fc_table_key(names, 0, true, &a), FC_ERR_ARG);
    fc_str_fini(&a);
}

/* If this fails, tables of other versions cannot be reproduced by bestof: a seed is forever. */
static void seeds_are_fixed(void **state) {
    (void)state;
    assert_true(fc_table_seed(7, "Chess\tJazz") == UINT64_C(2794312730281660));
    for (int i = 0; i < 1000; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        assert_true(fc_table_seed(7, key) >> 53 == 0);
        assert_true(fc_table_seed(7, key) != fc_table_seed(8, key));
        assert_true(fc_table_seed(7, key) != fc_table_seed(7, "k"));
    }
}

static uint64_t input_of(const char *a, const char *b, bool special, const char *suffix) {
    const fc_piece pieces[2] = {{a, strlen(a), special}, {b, strlen(b), false}}, end = {suffix, strlen(suffix), false};
    fc_request r;
    fc_request_init(&r);
    r.prompt = (fc_prompt){.pieces = pieces, .n_pieces = 2};
    r.suffix = (fc_prompt){.pieces = &end, .n_pieces = 1};
    return fc_table_input(&r);
}

/* If this fails, a row is kept although what it was computed from has changed. */
static void inputs_are_told_apart(void **state) {
    const uint64_t a = input_of("ab", "c", false, "x");
    const char *labels[2] = {"Yes", "No"};
    fc_request r;
    uint64_t b;
    (void)state;
    fc_request_init(&r);
    assert_true(a == input_of("ab", "c", false, "x"));
    assert_true(a != input_of("a", "bc", false, "x"));
    assert_true(a != input_of("ab", "c", true, "x"));
    assert_true(a != input_of("ab", "c", false, "y"));
    r.labels = labels;
    r.n_labels = 2;
    b = fc_table_input(&r);
    labels[1] = "no";
    assert_true(b != fc_table_input(&r));
}

/* If this fails, two settings that draw differently are one table. */
static void settings_say_what_changes_rows(void **state) {
    fc_request r;
    fc_engine_options e = {0};
    fc_str a = {0}, b = {0};
    const char *const stops[] = {"\n"};
    (void)state;
    fc_request_init(&r);
    assert_ok(fc_table_settings(&r, &e, &a));
    r.seed = 9;
    r.priority = 3;
    r.sampling.top_logprobs = 2;
    assert_ok(fc_table_settings(&r, &e, &b));
    assert_string_equal(fc_str_text(&a), fc_str_text(&b));
    r.sampling.stop = stops;
    r.sampling.n_stop = 1;
    r.draw = FC_DRAW_SBS;
    r.sampling.temperature = 0.7f;
    r.truncate_prompt_tokens = -1;
    e.batch_variant = true;
    e.ctx = 77;
    fc_str_clear(&b);
    assert_ok(fc_table_settings(&r, &e, &b));
    assert_non_null(strstr(fc_str_text(&b), "\"ctx\":77"));
    assert_null(strstr(fc_str_text(&a), "ctx"));
    assert_non_null(strstr(fc_str_text(&b), "\"stop\":[\"\\n\"]"));
    assert_non_null(strstr(fc_str_text(&b), "\"draw\":\"sbs\""));
    assert_non_null(strstr(fc_str_text(&b), "\"temperature\":0.699999988"));
    assert_non_null(strstr(fc_str_text(&b), "\"batch_invariant\":false"));
    assert_non_null(strstr(fc_str_text(&a), "\"batch_invariant\":true"));
    assert_non_null(strstr(fc_str_text(&a), "\"precise\":\"auto\""));
    e.precise = "auto"; /* said or not */
    fc_str_clear(&b);
    assert_ok(fc_table_settings(&r, &e, &b));
    assert_non_null(strstr(fc_str_text(&b), "\"precise\":\"auto\""));
    e.precise = "false";
    fc_str_clear(&b);
    assert_ok(fc_table_settings(&r, &e, &b));
    assert_non_null(strstr(fc_str_text(&b), "\"precise\":\"false\""));
    fc_str_fini(&a);
    fc_str_fini(&b);
}

static void fingerprints_are_of_bytes(void **state) {
    uint64_t a, b;
    FILE *f = fopen(path("m.gguf"), "wb");
    (void)state;
    fputs("model", f);
    fclose(f);
    assert_ok(fc_table_fingerprint(path("m.gguf"), &a));
    assert_int_equal(rename(path("m.gguf"), path("other.gguf")), 0);
    assert_ok(fc_table_fingerprint(path("other.gguf"), &b));
    assert_true(a == b);
    f = fopen(path("other.gguf"), "ab");
    fputs("!", f);
    fclose(f);
    assert_ok(fc_table_fingerprint(path("other.gguf"), &b));
    assert_true(a != b);
    assert_int_equal(fc_table_fingerprint(path("none.gguf"), &b), FC_ERR_IO);
    assert_ok(fc_table_fingerprint("like:llama-3.1-8b", &a));
    assert_ok(fc_table_fingerprint("like:llama-3.1-8b:F16", &b));
    assert_true(a != b);
}

/* ---- files ---- */

/* If this fails, the server reads a file that somebody writes, without locks; or a table is written to in place. */
static void a_work_file_is_no_table(void **state) {
    fc_table *t = work("kind.work"), *other = NULL;
    bool made;
    (void)state;
    put(t, 1);
    assert_ok(fc_table_publish(t, path("kind")));
    fc_table_close(t);
    assert_fails(fc_table_open(path("kind.work"), &other), FC_ERR_FORMAT, "a work file; forkcast table publish");
    assert_fails(fc_table_work(path("kind"), &meta, &other, &made), FC_ERR_FORMAT, "a table, and no work file");
    assert_fails(fc_table_work_open(path("kind"), &other), FC_ERR_FORMAT, "a table, and no work file");
    assert_ok(fc_table_open(path("kind"), &other));
    fc_table_close(other);
}

/* If this fails, two that publish one table at once write into each other's copy. */
static void one_publisher(void **state) {
    fc_table *t = work("pub.work");
    int fd = open(path("pub.new"), O_RDWR | O_CREAT, 0666);
    (void)state;
    put(t, 1);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_fails(fc_table_publish(t, path("pub")), FC_ERR_FULL, "another process writes it");
    assert_true(fc_path_exists(path("pub.new")));
    close(fd);
    assert_ok(fc_table_publish(t, path("pub")));
    assert_false(fc_path_exists(path("pub.new")) || fc_path_exists(path("pub.new-journal")));
    fc_table_close(t);
}

static void rows_come_back(void **state) {
    fc_table *t = work("back.work"), *r;
    fc_table_row row;
    bool found, more;
    int64_t rows, failures;
    uint64_t input;
    (void)state;
    for (int i = 20; i-- > 0;) put(t, i);
    put(t, 5); /* again: in place of what was there */
    assert_ok(fc_table_publish(t, path("back")));
    assert_ok(fc_table_open(path("back"), &r));
    assert_ok(fc_table_count(r, &rows, &failures));
    assert_true(rows == 20 && failures == 0);
    for (int i = 0; i < 20; i++) { /* in key order, whatever order they came in */
        assert_ok(fc_table_next(r, &row, &more));
        assert_true(more);
        same_row(&row, i);
    }
    assert_ok(fc_table_next(r, &row, &more));
    assert_false(more);
    assert_ok(fc_table_get(r, "k13", &row, &found));
    assert_true(found);
    same_row(&row, 13);
    assert_ok(fc_table_get(r, "k", &row, &found));
    assert_false(found);
    assert_ok(fc_table_has(r, "k13", &input, &found));
    assert_true(found && input == UINT64_MAX - 13);
    assert_ok(fc_table_check(r));
    for (int i = 0; i < FC_TABLE_META; i++) assert_string_equal(fc_table_meta_of(r)->value[i], meta.value[i]);
    fc_table_close(r);
    assert_ok(fc_table_work_remove(t));
    assert_false(fc_path_exists(path("back.work")));
}

static bool same_files(const char *a, const char *b) {
    char *x, *y;
    size_t n, m;
    bool same;
    assert_ok(fc_file_read(a, 1 << 30, &x, &n));
    assert_ok(fc_file_read(b, 1 << 30, &y, &m));
    same = n == m && memcmp(x, y, n) == 0;
    fc_free(x);
    fc_free(y);
    return same;
}

/* If this fails, a table's bytes tell of the run that made it: two of one job cannot be compared. */
static void order_and_history_leave_no_trace(void **state) {
    fc_table *t = work("a.work");
    (void)state;
    for (int i = 0; i < 100; i++) put(t, i);
    assert_ok(fc_table_publish(t, path("a")));
    fc_table_close(t);
    t = work("b.work");
    for (int i = 99; i >= 0; i--) put(t, (i * 37) % 100);
    assert_ok(fc_table_fail(t, "k05", FC_ERR_MEM, "no memory"));
    assert_ok(fc_table_flush(t));
    fc_table_close(t); /* and on another day */
    t = work("b.work");
    assert_ok(fc_table_forget_failures(t));
    put(t, 5);
    assert_ok(fc_table_publish(t, path("b")));
    assert_true(same_files(path("a"), path("b")));
    assert_ok(fc_table_publish(t, path("b")));
    assert_true(same_files(path("a"), path("b")));
    put(t, 6); /* the same row again, behind a publication */
    assert_ok(fc_table_publish(t, path("b")));
    assert_true(same_files(path("a"), path("b")));
    fc_table_close(t);
}

static void failures_are_no_rows(void **state) {
    fc_table *t = work("f.work");
    fc_table_row row;
    bool found;
    const char *key, *status, *error;
    int64_t rows, failures;
    (void)state;
    put(t, 1);
    put(t, 2);
    assert_ok(fc_table_fail(t, "k01", FC_ERR_ARG, "too long"));
    assert_ok(fc_table_fail(t, "k00", FC_ERR_MEM, "no memory"));
    assert_ok(fc_table_flush(t));
    assert_ok(fc_table_get(t, "k01", &row, &found));
    assert_false(found);
    assert_ok(fc_table_count(t, &rows, &failures));
    assert_true(rows == 1 && failures == 2);
    assert_ok(fc_table_failure(t, "", &key, &status, &error, &found));
    assert_true(found);
    assert_string_equal(key, "k00");
    assert_string_equal(status, "FC_ERR_MEM");
    assert_ok(fc_table_failure(t, "k00", &key, &status, &error, &found));
    assert_string_equal(error, "too long");
    assert_ok(fc_table_failure(t, "k01", &key, &status, &error, &found));
    assert_false(found);
    put(t, 1); /* a row at last */
    assert_ok(fc_table_flush(t));
    assert_ok(fc_table_count(t, &rows, &failures));
    assert_true(rows == 2 && failures == 1);
    fc_table_close(t);
}

/* If this fails, two jobs write one file, or a job goes on with what another has begun. */
static void one_writer(void **state) {
    fc_table *t = work("w.work"), *other = NULL;
    fc_table_meta m = meta;
    bool made;
    (void)state;
    put(t, 1);
    assert_ok(fc_table_flush(t));
    assert_fails(fc_table_work(path("w.work"), &meta, &other, &made), FC_ERR_FULL, "another process writes it");
    assert_int_equal(fc_table_work_open(path("w.work"), &other), FC_ERR_FULL);
    fc_table_close(t);
    m.value[FC_META_SEED] = "8";
    assert_fails(fc_table_work(path("w.work"), &m, &other, &made), FC_ERR_ARG,
                 "another seed: \"7\", and now it is \"8\"");
    assert_int_equal(fc_table_meta_differs(&meta, &m), FC_META_SEED);
    m = meta;
    m.value[FC_META_SHARD] = "2/2";
    assert_int_equal(fc_table_meta_differs(&meta, &m), FC_TABLE_META);
    m = meta;
    m.value[FC_META_TEXTS] = "dd"; /* rows say for themselves what they are computed from */
    assert_ok(fc_table_work(path("w.work"), &m, &t, &made));
    assert_string_equal(fc_table_meta_of(t)->value[FC_META_TEXTS], "dd");
    assert_int_equal(fc_table_meta_differs(&meta, &m), FC_META_TEXTS);
    fc_table_close(t);
    assert_ok(fc_table_work(path("w.work"), NULL, &t, &made));
    assert_string_equal(fc_table_meta_of(t)->value[FC_META_TEXTS], "dd");
    assert_false(made);
    fc_table_close(t);
    assert_int_equal(fc_table_work(path("none.work"), NULL, &t, &made), FC_ERR_IO);
    assert_int_equal(fc_table_open(path("none"), &t), FC_ERR_IO);
}

static void shards_are_taken_once(void **state) {
    fc_table *a = work("s1.work"), *b = work("s2.work"), *all = work("all.work");
    (void)state;
    for (int i = 0; i < 50; i++) put(i % 3 ? a : b, i);
    assert_ok(fc_table_fail(b, "k77", FC_ERR_ARG, "why"));
    assert_ok(fc_table_flush(a));
    assert_ok(fc_table_flush(b));
    assert_ok(fc_table_take(all, b));
    assert_ok(fc_table_take(all, a));
    assert_fails(fc_table_take(all, a), FC_ERR_ARG, "key \"k01\"");
    assert_ok(fc_table_publish(all, path("all")));
    for (int i = 0; i < 50; i++) put(a, i);
    assert_ok(fc_table_fail(a, "k77", FC_ERR_ARG, "why"));
    assert_ok(fc_table_publish(a, path("s1")));
    assert_true(same_files(path("all"), path("s1")));
    fc_table_close(a);
    fc_table_close(b);
    fc_table_close(all);
}

/* If this fails, a disk that is full takes rows with it, or half a table stands where a whole one was. */
static void full_disk_loses_nothing(void **state) {
    fc_table *t = work("full.work");
    int64_t rows, failures;
    bool full = false;
    (void)state;
    put(t, 1);
    assert_ok(fc_table_publish(t, path("full")));
    assert_int_equal(fc_table_publish(t, path("no/such/folder")), FC_ERR_IO);
    assert_ok(fc_table_exec(t, "PRAGMA max_page_count = 1")); /* what it has, and no more */
    for (int i = 0; i < 100 && !full; i++) {
        char key[32];
        fc_table_entry e[3];
        fc_table_row r = row_of(i, key, e);
        if (!fc_table_put(t, &r)) continue;
        assert_non_null(strstr(fc_status_text(), "the disk is full; what was written stays"));
        full = true;
    }
    assert_true(full);
    fc_table_close(t);
    t = work("full.work");
    assert_ok(fc_table_check(t));
    assert_ok(fc_table_count(t, &rows, &failures));
    assert_true(rows >= 1);
    for (int i = 0; i < 100; i++) put(t, i);
    assert_ok(fc_table_publish(t, path("full")));
    assert_true(same_files(path("full"), path("a")));
    fc_table_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_is_one_key),
        cmocka_unit_test(seeds_are_fixed),
        cmocka_unit_test(inputs_are_told_apart),
        cmocka_unit_test(settings_say_what_changes_rows),
        cmocka_unit_test(fingerprints_are_of_bytes),
        cmocka_unit_test(a_work_file_is_no_table),
        cmocka_unit_test(one_publisher),
        cmocka_unit_test(rows_come_back),
        cmocka_unit_test(order_and_history_leave_no_trace),
        cmocka_unit_test(failures_are_no_rows),
        cmocka_unit_test(one_writer),
        cmocka_unit_test(shards_are_taken_once),
        cmocka_unit_test(full_disk_loses_nothing),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
