/* The score cache by itself: against a plain list, its keys, and its file under other processes and damage. */
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "tests/engine/util_score_cache.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 600 };

static void put(fc_score_cache *c, int i) {
    fc_score_cache_put(c, key_of(c, i), score_of(i));
    assert_ok(fc_score_cache_check(c));
}

/* Whether score i is there; if so it must be right. */
static bool get(fc_score_cache *c, int i) {
    double got = NAN;
    bool hit = fc_score_cache_get(c, key_of(c, i), &got);
    if (hit && !same_bits(got, score_of(i))) fail_msg("score %d: %a, put was %a", i, got, score_of(i));
    return hit;
}

static int count(fc_score_cache *c, int from, int to) {
    int n = 0;
    for (int i = from; i < to; i++) n += get(c, i);
    assert_ok(fc_score_cache_check(c));
    return n;
}

static void put_many(const char *path, int from, int to) {
    fc_score_cache *c = open_cache(to - from, path);
    for (int i = from; i < to; i++) put(c, i);
    fc_score_cache_close(c);
}

/* ---- memory ---- */

/* A plain list, oldest first. */
typedef struct {
    int n, cap, of[64];
} list;

static bool touch(list *l, int i) {
    int at = 0;
    while (at < l->n && l->of[at] != i) at++;
    if (at == l->n) return false;
    memmove(l->of + at, l->of + at + 1, (size_t)(l->n - at - 1) * sizeof *l->of);
    l->of[l->n - 1] = i;
    return true;
}

static void add(list *l, int i) {
    if (touch(l, i)) return;
    if (l->n == l->cap) memmove(l->of, l->of + 1, (size_t)(--l->n) * sizeof *l->of);
    l->of[l->n++] = i;
}

/* If this fails, a score is lost early, kept too long, or is another candidate's. */
static void random_calls_match_a_list(void **state) {
    uint64_t seed = 31;
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 30; round++) {
        list l = {.cap = 1 + test_below(&seed, 40)};
        fc_score_cache *c = open_cache(l.cap, NULL);
        fc_score_key keys[80];
        int range = 1 + test_below(&seed, 80);
        unsigned long long allocs;
        for (int i = 0; i < range; i++) keys[i] = key_of(c, i);
        allocs = fc_alloc_count();
        for (int call = 0; call < 2000; call++) {
            int i = test_below(&seed, range);
            double got = NAN;
            if (test_below(&seed, 2)) {
                fc_score_cache_put(c, keys[i], score_of(i));
                add(&l, i);
            } else {
                bool hit = fc_score_cache_get(c, keys[i], &got);
                assert_int_equal(hit, touch(&l, i));
                if (hit) assert_true(same_bits(got, score_of(i)));
            }
            assert_ok(fc_score_cache_check(c));
            assert_int_equal(fc_score_cache_counts(c).scores, l.n);
        }
        assert_int_equal(fc_alloc_count(), allocs); /* nothing in get or put allocates */
        fc_score_cache_close(c);
    }
}

/* If this fails, the operator's bound on memory does not hold. */
static void bytes_are_a_bound(void **state) {
    fc_score_cache *c;
    (void)state;
    for (uint64_t bytes = 88; bytes < 5000; bytes += 37) {
        assert_ok(fc_score_cache_open(bytes, NULL, &c));
        for (int i = 0; i < 200; i++) put(c, i);
        assert_true((uint64_t)fc_score_cache_counts(c).max_scores * 40 <= bytes);
        assert_int_equal(fc_score_cache_counts(c).scores + fc_score_cache_counts(c).evicted, 200);
        fc_score_cache_close(c);
    }
    assert_fails(fc_score_cache_open(87, NULL, &c), FC_ERR_ARG, "score_cache = 87");
    assert_ok(fc_score_cache_open(0, NULL, &c));
    assert_true(fc_score_cache_counts(c).max_scores > 300000);
    fc_score_cache_close(c);
    fc_score_cache_close(NULL);
}

static void nan_is_not_kept_and_the_first_score_stays(void **state) {
    fc_score_cache *c = open_cache(4, NULL);
    double got = 0;
    (void)state;
    fc_score_cache_put(c, key_of(c, 1), NAN);
    assert_false(get(c, 1));
    put(c, 1);
    fc_score_cache_put(c, key_of(c, 1), 99.0);
    assert_true(fc_score_cache_get(c, key_of(c, 1), &got) && same_bits(got, score_of(1)));
    fc_score_cache_close(c);
}

/* ---- keys ---- */

typedef struct {
    fc_score_material m;
    int32_t ids[3];
    int n;
} full_key;

/* If this fails, two candidates of different requests, models, modes or callers have one score. */
static void everything_is_in_the_key(void **state) {
    static const int32_t p[] = {1, 2, 3, 4}, other[] = {1, 2, 9, 4}, zeros[] = {1, 0, 0, 2};
    const full_key base = {.m = {.api_key = "k",
                                 .cache_salt = "s",
                                 .model = 5,
                                 .adapter = 6,
                                 .mode = FC_SCORE_JUDGE,
                                 .kv_type = FC_BF16,
                                 .backend = "cpu",
                                 .cpu = "avx2",
                                 .prompt = p,
                                 .suffix = p,
                                 .labels = p,
                                 .n_prompt = 3,
                                 .n_suffix = 3,
                                 .n_labels = 3},
                           .ids = {7, 8, 9},
                           .n = 2};
    enum { N = 36 };
    full_key v[N];
    fc_score_key keys[N];
    fc_score_cache *c = open_cache(4, NULL), *d = open_cache(4, NULL);
    fc_score_scope s;
    int n = 0;
    (void)state;
    for (int i = 0; i < N; i++) v[i] = base;
    n++;
    v[n++].m.api_key = "l";
    v[n++].m.api_key = NULL;
    v[n++].m.api_key = "";
    v[n].m.api_key = "ks"; /* where one text ends and the next begins */
    v[n++].m.cache_salt = "";
    v[n].m.api_key = NULL;
    v[n++].m.cache_salt = "k";
    v[n++].m.cache_salt = NULL;
    v[n++].m.model = 6;
    v[n].m.model = 6;
    v[n++].m.adapter = 5;
    v[n++].m.adapter = 0;
    for (int mode = 0; mode < FC_SCORE_JUDGE; mode++) v[n++].m.mode = (fc_score_mode)mode;
    v[n++].m.kv_type = FC_F32;
    v[n++].m.backend = "cuda";
    v[n++].m.cpu = "avx512";
    v[n++].m.prompt = other;
    v[n++].m.n_prompt = 2;
    v[n++].m.n_prompt = 4;
    v[n++].m.suffix = other;
    v[n++].m.n_suffix = 0;
    v[n++].m.labels = other;
    v[n++].m.n_labels = 2;
    v[n].m.n_prompt = 4; /* where prompt, candidate and suffix meet: a log-likelihood counts other ids */
    v[n++].m.n_suffix = 2;
    v[n].m.n_suffix = 4;
    v[n++].m.n_labels = 2;
    v[n].m.prompt = zeros; /* sizes of lists are no ids */
    v[n].m.n_prompt = 1;
    v[n].m.suffix = zeros + 1;
    v[n++].m.n_suffix = 3;
    v[n].m.prompt = zeros;
    v[n].m.n_prompt = 3;
    v[n].m.suffix = zeros + 3;
    v[n++].m.n_suffix = 1;
    v[n++].ids[1] = 7;
    v[n++].n = 1;
    v[n++].n = 3;
    v[n++].n = 0;
    assert_true(n <= N);
    for (int i = 0; i < n; i++) {
        assert_ok(fc_score_cache_scope(c, &v[i].m, &s));
        keys[i] = fc_score_cache_key(&s, v[i].ids, v[i].n);
        for (int k = 0; k < i; k++)
            if (memcmp(&keys[i], &keys[k], sizeof keys[i]) == 0) fail_msg("materials %d and %d have one key", i, k);
        fc_score_cache_put(c, keys[i], 1.0);
    }
    assert_ok(fc_score_cache_scope(c, &base.m, &s));
    assert_memory_equal(fc_score_cache_key(&s, base.ids, base.n).k, keys[0].k, sizeof keys[0]); /* the same again */
    assert_ok(fc_score_cache_scope(d, &base.m, &s)); /* nobody outside can compute a key */
    assert_memory_not_equal(fc_score_cache_key(&s, base.ids, base.n).k, keys[0].k, sizeof keys[0]);
    fc_score_cache_close(d);
    fc_score_cache_close(c);
}

/* ---- file ---- */

/* If this fails, a restart computes everything anew, or a score comes back with other bits. */
static void scores_outlive_the_cache(void **state) {
    const char *path = fresh_file();
    fc_score_cache *c;
    (void)state;
    put_many(path, 0, MANY);
    c = open_cache(MANY, path);
    assert_int_equal(count(c, 0, MANY + 50), MANY);
    assert_int_equal(fc_score_cache_counts(c).file_hits, MANY);
    assert_int_equal(count(c, 0, MANY), MANY);
    assert_int_equal(fc_score_cache_counts(c).file_hits, MANY); /* by now from memory */
    fc_score_cache_close(c);
    c = open_cache(3, path); /* more than memory holds */
    assert_int_equal(count(c, 0, MANY), MANY);
    assert_int_equal(fc_score_cache_counts(c).file_written, 0);
    fc_score_cache_close(c);
}

static void writes_wait_for_a_batch_or_for_rest(void **state) {
    const char *path = fresh_file();
    fc_score_cache *a = open_cache(MANY, path), *b = open_cache(MANY, path);
    (void)state;
    for (int i = 0; i < 255; i++) put(a, i);
    assert_int_equal(fc_score_cache_counts(a).waiting, 255);
    assert_int_equal(count(b, 0, 255), 0);
    put(a, 255);
    assert_int_equal(fc_score_cache_counts(a).waiting, 0);
    assert_int_equal(count(b, 0, 256), 256);
    put(a, 256);
    assert_false(get(b, 256));
    fc_score_cache_flush(a);
    assert_true(get(b, 256));
    assert_int_equal(fc_score_cache_counts(a).file_written, 257);
    fc_score_cache_close(b);
    fc_score_cache_close(a);
}

/* If this fails, a lock of another process stops scoring, or is taken for damage. */
static void a_locked_file_is_waited_for_then_left(void **state) {
    const char *path = fresh_file();
    fc_score_cache *c = open_cache(MANY, path);
    fc_score_cache_stats n;
    sqlite3 *db;
    (void)state;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 10; i++) put(c, i);
    fc_score_cache_flush(c);
    assert_int_equal(fc_score_cache_counts(c).waiting, 10); /* another time */
    for (int i = 10; i < 256; i++) put(c, i);
    n = fc_score_cache_counts(c);
    assert_true(n.waiting == 0 && n.file_lost == 256 && n.file_written == 0 && n.file_errors == 0);
    for (int i = 256; i < 300; i++) put(c, i);
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(count(c, 0, 300), 300);
    fc_score_cache_close(c);
    c = open_cache(MANY, path);
    assert_int_equal(count(c, 0, 300), 44);
    fc_score_cache_close(c);
}

/* Exit code of a child that runs body. */
static int in_child(void (*body)(const char *path, int which), const char *path, int which, pid_t *pid) {
    int status = 0;
    fflush(NULL);
    *pid = fork();
    assert_true(*pid >= 0);
    if (*pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        body(path, which);
        _exit(0);
    }
    if (which >= 0) return 0; /* several at once: the caller waits */
    assert_int_equal(waitpid(*pid, &status, 0), *pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

enum { WRITERS = 4, EACH = 1000, COMMON = 300 };

static void write_some(const char *path, int which) {
    fc_score_cache *c = open_cache(EACH + COMMON, path);
    fc_score_cache_stats n;
    for (int i = 0; i < COMMON; i++) put(c, i);
    for (int i = 0; i < EACH; i++) put(c, COMMON + which * EACH + i);
    n = fc_score_cache_counts(c);
    fc_score_cache_close(c);
    if (n.file_errors) _exit(1);
    if (n.file_lost) _exit(2); /* may be: the machine was slow */
}

/* If this fails, servers on one machine cannot share what they have scored. */
static void processes_make_and_fill_one_file(void **state) {
    const char *path = fresh_file();
    pid_t pids[WRITERS];
    fc_score_cache *c;
    int lost = 0, found;
    (void)state;
    for (int w = 0; w < WRITERS; w++) in_child(write_some, path, w, &pids[w]);
    for (int w = 0; w < WRITERS; w++) {
        int status;
        assert_int_equal(waitpid(pids[w], &status, 0), pids[w]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 1);
        lost += WEXITSTATUS(status) == 2;
    }
    c = open_cache(16, path);
    found = count(c, 0, COMMON + WRITERS * EACH);
    if (!lost) assert_int_equal(found, COMMON + WRITERS * EACH);
    assert_int_equal(fc_score_cache_counts(c).file_errors, 0);
    fc_score_cache_close(c);
}

/* Another connection begins to write just before ours asks for WAL, and is through before it asks again. */
static sqlite3 *other;
static int times_asked;

static int on_statement(unsigned type, void *arg, void *st, void *text) {
    (void)type, (void)arg, (void)st;
    if (!strstr(text, "journal_mode = WAL")) return 0;
    return sqlite3_exec(other, times_asked++ ? "ROLLBACK" : "BEGIN IMMEDIATE", NULL, NULL, NULL);
}

static int on_open(sqlite3 *db, const char **error, const struct sqlite3_api_routines *api) {
    (void)error, (void)api;
    return sqlite3_trace_v2(db, SQLITE_TRACE_STMT, on_statement, NULL);
}

/* If this fails, an engine that starts beside one that is just making the file goes without it. */
static void a_file_being_made_is_waited_for(void **state) {
    const char *path = fresh_file();
    fc_score_cache *c;
    (void)state;
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    sqlite3_auto_extension((void (*)(void))on_open);
    c = open_cache(10, path);
    sqlite3_reset_auto_extension();
    assert_int_equal(times_asked, 2);
    assert_int_equal(fc_score_cache_counts(c).file_errors, 0);
    fc_score_cache_close(c);
    sqlite3_close(other);
}

static void die_after_flush(const char *path, int which) {
    fc_score_cache *c = open_cache(MANY, path);
    (void)which;
    for (int i = 0; i < 100; i++) put(c, i);
    fc_score_cache_flush(c);
    raise(SIGKILL);
}

static void a_killed_writer_leaves_what_it_flushed(void **state) {
    const char *path = fresh_file();
    fc_score_cache *c;
    pid_t pid;
    (void)state;
    assert_int_equal(in_child(die_after_flush, path, -1, &pid), 128 + SIGKILL);
    c = open_cache(MANY, path);
    assert_int_equal(count(c, 0, 200), 100);
    fc_score_cache_close(c);
}

static void fill_the_disk(const char *path, int which) {
    fc_score_cache *c = open_cache(20000, path);
    fc_score_cache_stats n;
    (void)which;
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &(struct rlimit){200000, 200000})) _exit(1);
    for (int i = 0; i < 20000; i++) fc_score_cache_put(c, key_of(c, i), score_of(i));
    if (fc_score_cache_check(c)) _exit(2);
    for (int i = 0; i < 20000; i++)
        if (!get(c, i)) _exit(3);
    n = fc_score_cache_counts(c);
    if (n.file_errors != 1 || n.file_written == 0 || n.file_lost == 0) _exit(4);
    fc_score_cache_close(c);
}

/* If this fails, a full disk ends an engine, or spoils what was written before. */
static void a_full_disk_is_survived(void **state) {
    const char *path = fresh_file();
    fc_score_cache *c;
    pid_t pid;
    int found;
    (void)state;
    assert_int_equal(in_child(fill_the_disk, path, -1, &pid), 0);
    c = open_cache(16, path);
    found = count(c, 0, 20000);
    assert_true(found >= 256 && found < 20000);
    fc_score_cache_close(c);
}

/* ---- damage ---- */

/* If this fails, a flipped bit on the disk is an answer. */
static void rows_that_do_not_match_are_misses(void **state) {
    static const char *const damage[] = {
        "UPDATE scores SET bits = bits + 1 WHERE length(key) = 16",
        "UPDATE scores SET mac = mac + 1 WHERE length(key) = 16",
        "UPDATE scores SET bits = 'a', mac = x'00' WHERE length(key) = 16",
        /* each row under its neighbour's key */
        "CREATE TEMP TABLE t AS SELECT key, lead(bits) OVER w b, lead(mac) OVER w m FROM scores WHERE length(key) = 16 "
        "WINDOW "
        "w AS (ORDER BY key); UPDATE scores SET bits = coalesce((SELECT b FROM t WHERE t.key = scores.key), 0), "
        "mac = coalesce((SELECT m FROM t WHERE t.key = scores.key), 0) WHERE length(key) = 16",
    };
    (void)state;
    for (int d = 0; d < 4; d++) {
        const char *path = fresh_file();
        fc_score_cache *c;
        put_many(path, 0, MANY);
        run_sql(path, damage[d]);
        c = open_cache(MANY, path);
        assert_int_equal(count(c, 0, MANY), 0);
        assert_int_equal(fc_score_cache_counts(c).file_damaged, MANY);
        assert_int_equal(fc_score_cache_counts(c).file_errors, 0);
        for (int i = 0; i < MANY; i++) put(c, i);
        fc_score_cache_close(c);
        c = open_cache(4, path);
        assert_int_equal(count(c, 0, MANY), MANY); /* put right again */
        fc_score_cache_close(c);
    }
}

/* If this fails, a file that a bad disk or a cut power line left behind gives wrong scores, or ends the program. */
static void random_damage_never_gives_a_wrong_score(void **state) {
    const char *path = fresh_file();
    unsigned char *whole, *bytes;
    size_t n;
    uint64_t seed = 77;
    int hits = 0, refused = 0;
    char wal[128];
    int err = dup(STDERR_FILENO);
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    fflush(stderr);
    assert_true(freopen("/dev/null", "w", stderr) != NULL); /* hundreds of warnings */
    put_many(path, 0, MANY);
    snprintf(wal, sizeof wal, "%s-wal", path);
    assert_int_not_equal(access(wal, F_OK), 0); /* all is in one file */
    n = read_bytes(path, &whole);
    bytes = malloc(n);
    for (int round = 0; round < 300; round++) {
        size_t size = test_below(&seed, 5) ? n : (size_t)test_below(&seed, (int)n);
        int spots = 1 + test_below(&seed, 4), run = 1 + test_below(&seed, test_below(&seed, 2) ? 4 : 100);
        fc_score_cache *c;
        memcpy(bytes, whole, n);
        for (int s = 0; s < spots; s++)
            for (int i = 0, at = test_below(&seed, test_below(&seed, 8) ? (int)n : 200); i < run && at + i < (int)n;
                 i++)
                bytes[at + i] = (unsigned char)fc_rng_next(&seed);
        write_bytes(path, bytes, size);
        c = open_cache(MANY, path);
        hits += count(c, 0, MANY);
        for (int i = 0; i < MANY; i++) put(c, i);
        fc_score_cache_flush(c);
        assert_int_equal(count(c, 0, MANY), MANY);
        refused += (int)fc_score_cache_counts(c).file_errors;
        fc_score_cache_close(c);
        unlink(wal);
    }
    printf("%d of %d scores were still there, %d of 300 files were given up\n", hits, 300 * MANY, refused);
    assert_true(hits > 1000 && refused > 10 && refused < 300);
    dup2(err, STDERR_FILENO);
    close(err);
    free(bytes);
    free(whole);
}

/* Damage that SQLite finds as it reads: the first look-up that meets it ends the file's use. */
static void a_file_that_cannot_be_read_is_given_up(void **state) {
    enum { PAGE = 4096 };
    const char *path = fresh_file();
    unsigned char *bytes;
    fc_score_cache *c;
    size_t n;
    (void)state;
    put_many(path, 0, MANY);
    n = read_bytes(path, &bytes);
    assert_true(n > 5 * PAGE);
    memset(bytes + 3 * PAGE, 0xff, n - 3 * PAGE); /* leaves, but not that of the secret */
    write_bytes(path, bytes, n);
    free(bytes);
    c = open_cache(MANY, path);
    assert_int_equal(fc_score_cache_counts(c).file_errors, 0);
    assert_true(count(c, 0, MANY) < MANY);
    assert_int_equal(fc_score_cache_counts(c).file_errors, 1);
    fc_score_cache_close(c);
}

/* The cache on such a file works in memory, says once that the file is out, and leaves the file as it is. */
static void check_refused(const char *path, bool there) {
    unsigned char *before = NULL, *after = NULL;
    size_t n = there ? read_bytes(path, &before) : 0;
    fc_score_cache *c = open_cache(MANY, path);
    assert_int_equal(fc_score_cache_counts(c).file_errors, 1);
    put(c, 1);
    assert_true(get(c, 1));
    fc_score_cache_flush(c);
    fc_score_cache_close(c);
    if (there) {
        assert_int_equal(read_bytes(path, &after), n);
        assert_memory_equal(before, after, n);
    }
    free(before);
    free(after);
}

/* If this fails, a wrong path destroys somebody's file, or an engine does not start for want of a cache. */
static void other_files_are_left_alone(void **state) {
    static const char *const changes[] = {
        "PRAGMA application_id = 0",
        "PRAGMA user_version = 2",
        "DROP TABLE scores",
        "DELETE FROM scores WHERE length(key) = 0",
    };
    const char *path;
    (void)state;
    path = fresh_file();
    write_bytes(path, (const unsigned char *)"id\tname\n1\tChess\n", 16);
    check_refused(path, true);
    path = fresh_file();
    run_sql(path, "CREATE TABLE scores(key BLOB PRIMARY KEY, bits INTEGER, mac INTEGER)"); /* somebody else's */
    check_refused(path, true);
    path = fresh_file();
    run_sql(path, "CREATE TABLE users(name)");
    check_refused(path, true);
    for (int i = 0; i < 4; i++) {
        path = fresh_file();
        put_many(path, 0, 10);
        run_sql(path, changes[i]);
        check_refused(path, true);
    }
    check_refused("/tmp", false);
    check_refused("/nowhere/at/all.db", false);
    check_refused("", false);
}

static void read_only_files_are_left_alone(void **state) {
    const char *path = fresh_file();
    char dir[128];
    bool root = geteuid() == 0;
    (void)state;
    put_many(path, 0, 10);
    snprintf(dir, sizeof dir, "%s", path);
    *strrchr(dir, '/') = '\0';
    assert_int_equal(chmod(dir, 0777), 0);
    assert_int_equal(chmod(path, 0444), 0);
    if (root) assert_int_equal(seteuid(65534), 0); /* root writes to anything */
    check_refused(path, true);
    if (root) assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(dir, 0700), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_calls_match_a_list),
        cmocka_unit_test(bytes_are_a_bound),
        cmocka_unit_test(nan_is_not_kept_and_the_first_score_stays),
        cmocka_unit_test(everything_is_in_the_key),
        cmocka_unit_test(scores_outlive_the_cache),
        cmocka_unit_test(writes_wait_for_a_batch_or_for_rest),
        cmocka_unit_test(a_locked_file_is_waited_for_then_left),
        cmocka_unit_test(processes_make_and_fill_one_file),
        cmocka_unit_test(a_file_being_made_is_waited_for),
        cmocka_unit_test(a_killed_writer_leaves_what_it_flushed),
        cmocka_unit_test(a_full_disk_is_survived),
        cmocka_unit_test(rows_that_do_not_match_are_misses),
        cmocka_unit_test(random_damage_never_gives_a_wrong_score),
        cmocka_unit_test(a_file_that_cannot_be_read_is_given_up),
        cmocka_unit_test(other_files_are_left_alone),
        cmocka_unit_test(read_only_files_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
