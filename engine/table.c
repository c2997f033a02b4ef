/* table - files opened, read, and told apart. table_write.c writes them. */
#include "engine/table_sql.h"

#include "engine/base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static const char *const texts[FC_SQL_COUNT] = {
    [FC_SQL_GET] = "SELECT key, input, seed, n, n_used, n_valid, distinct_count, logprob, entropy, vote_share, margin, "
                   "valid_mass FROM rows WHERE key = ?1",
    [FC_SQL_ENTRIES] = "SELECT text, score, logprob, votes, valid, rank FROM candidates WHERE key = ?1 ORDER BY rank",
    [FC_SQL_HAS] = "SELECT input FROM rows WHERE key = ?1",
    [FC_SQL_NEXT] = "SELECT key, input, seed, n, n_used, n_valid, distinct_count, logprob, entropy, vote_share, "
                    "margin, valid_mass FROM rows ORDER BY key",
    [FC_SQL_FAILURE] = "SELECT key, status, error FROM failures WHERE key > ?1 ORDER BY key LIMIT 1",
    [FC_SQL_PUT] = "INSERT OR REPLACE INTO rows VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    [FC_SQL_PUT_ENTRY] = "INSERT INTO candidates VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [FC_SQL_DROP_ENTRIES] = "DELETE FROM candidates WHERE key = ?1",
    [FC_SQL_PUT_FAILURE] = "INSERT OR REPLACE INTO failures VALUES(?1, ?2, ?3)",
    [FC_SQL_DROP_ROW] = "DELETE FROM rows WHERE key = ?1",
    [FC_SQL_DROP_FAILURE] = "DELETE FROM failures WHERE key = ?1",
    [FC_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [FC_SQL_COMMIT] = "COMMIT",
};

static const char *const meta_names[FC_TABLE_META] = {
    "version", "numerics", "backend", "cpu",  "kv_type", "novelty", "alignment", "novelty_adapter", "alignment_adapter",
    "names",   "settings", "seed",    "keys", "shard",   "planned", "taxonomy",  "templates",       "texts"};

const char *fc_table_meta_text(fc_table_meta_name m) { return meta_names[m]; }

/* ---- SQLite ---- */

fc_status fc_table_failed(const fc_table *t, int rc) {
    const char *why = t->db ? sqlite3_errmsg(t->db) : sqlite3_errstr(rc);
    int err = t->db ? sqlite3_system_errno(t->db) : 0;
    switch (rc & 0xff) { /* without the extended part */
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return FC_FAIL(FC_ERR_FULL, "table %s: another process writes it", t->path);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT: return FC_FAIL(FC_ERR_FORMAT, "table %s: %s", t->path, why);
    case SQLITE_NOMEM: return FC_FAIL(FC_ERR_MEM, "table %s: %s", t->path, why);
    case SQLITE_FULL: return FC_FAIL(FC_ERR_IO, "table %s: the disk is full; what was written stays", t->path);
    case SQLITE_READONLY: return FC_FAIL(FC_ERR_IO, "table %s: it is read-only", t->path);
    default:
        if (err) return FC_FAIL(FC_ERR_IO, "table %s: %s (SQLite: %s)", t->path, strerror(err), why);
        return FC_FAIL(FC_ERR_IO, "table %s: %s (SQLite %d)", t->path, why, rc);
    }
}

fc_status fc_table_exec(const fc_table *t, const char *sql) {
    int rc = sqlite3_exec(t->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? FC_OK : fc_table_failed(t, rc);
}

fc_status fc_table_run(const fc_table *t, sqlite3_stmt *st) {
    int rc = sqlite3_step(st);
    fc_status status = rc == SQLITE_DONE ? FC_OK : fc_table_failed(t, rc);
    sqlite3_reset(st);
    return status;
}

fc_status fc_table_number(const fc_table *t, const char *sql, int64_t *out) {
    sqlite3_stmt *st = NULL;
    fc_status status = FC_OK;
    int rc = sqlite3_prepare_v2(t->db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) *out = sqlite3_column_int64(st, 0);
    else if (rc == SQLITE_DONE) status = FC_FAIL(FC_ERR_FORMAT, "table %s: %s gives nothing", t->path, sql);
    else status = fc_table_failed(t, rc);
    sqlite3_finalize(st);
    return status;
}

fc_status fc_table_prepare(fc_table *t) {
    for (int i = 0; i < (t->writes ? FC_SQL_COUNT : FC_SQL_READERS); i++) {
        int rc = sqlite3_prepare_v3(t->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &t->st[i], NULL);
        if (rc != SQLITE_OK) return fc_table_failed(t, rc);
    }
    return FC_OK;
}

/* ---- open ---- */

fc_status fc_table_read_meta(fc_table *t) {
    sqlite3_stmt *st = NULL;
    fc_status status = FC_OK;
    int rc = sqlite3_prepare_v2(t->db, "SELECT value FROM meta WHERE name = ?1", -1, &st, NULL);
    for (int i = 0; i < FC_TABLE_META && rc == SQLITE_OK && !status; i++) {
        rc = sqlite3_bind_text(st, 1, meta_names[i], -1, SQLITE_STATIC);
        if (rc == SQLITE_OK) rc = sqlite3_step(st);
        if (rc == SQLITE_ROW && sqlite3_column_type(st, 0) == SQLITE_TEXT) {
            size_t size = (size_t)sqlite3_column_bytes(st, 0);
            void *p;
            status = fc_arena_alloc(&t->arena, size + 1, 1, &p);
            if (!status) t->meta.value[i] = memcpy(p, sqlite3_column_text(st, 0), size);
            rc = SQLITE_OK;
        } else if (rc == SQLITE_DONE || rc == SQLITE_ROW) {
            status = FC_FAIL(FC_ERR_FORMAT, "table %s: meta has no %s", t->path, meta_names[i]);
            rc = SQLITE_OK;
        }
        sqlite3_reset(st);
    }
    if (!status && rc != SQLITE_OK) status = fc_table_failed(t, rc);
    sqlite3_finalize(st);
    return status;
}

fc_status fc_table_check_kind(const fc_table *t, bool work) {
    int64_t id = 0, version = 0;
    FC_TRY(fc_table_number(t, "PRAGMA application_id", &id));
    FC_TRY(fc_table_number(t, "PRAGMA user_version", &version));
    if (id == FC_TABLE_WORK && !work)
        return FC_FAIL(FC_ERR_FORMAT, "table %s: a work file; forkcast table publish makes a table of it", t->path);
    if (id == FC_TABLE_APPLICATION && work)
        return FC_FAIL(FC_ERR_FORMAT, "table %s: a table, and no work file", t->path);
    if (id != (work ? FC_TABLE_WORK : FC_TABLE_APPLICATION))
        return FC_FAIL(FC_ERR_FORMAT, "table %s: an SQLite file, but no table (application_id %lld)", t->path,
                       (long long)id);
    if (version != FC_TABLE_SCHEMA)
        return FC_FAIL(FC_ERR_FORMAT, "table %s: its schema is version %lld; this program has %d", t->path,
                       (long long)version, FC_TABLE_SCHEMA);
    return FC_OK;
}

/* "file:" URI of the path: with % escapes where the path has what a URI reads. */
static fc_status uri_of(const char *path, const char *query, fc_str *out) {
    FC_TRY(fc_str_puts(out, "file:"));
    for (const char *p = path; *p; p++) {
        if (*p == '%' || *p == '?' || *p == '#') FC_TRY(fc_str_printf(out, "%%%02x", (unsigned char)*p));
        else FC_TRY(fc_str_put(out, p, 1));
    }
    return fc_str_puts(out, query);
}

/* A table is read here and there: what is not in memory is fetched before it is asked for, where there is room. */
static void read_ahead(const char *path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return; /* SQLite says what is wrong with it */
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
    close(fd);
}

/* immutable: nobody changes it, so there is nothing to lock, and no journal to look for. */
static fc_status open_read(fc_table *t, bool immutable) {
    const int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_URI;
    fc_str uri = {0};
    fc_status st;
    int rc;
    if (!fc_path_exists(t->path)) return FC_FAIL(FC_ERR_IO, "table %s: %s", t->path, strerror(errno));
    if (immutable) read_ahead(t->path);
    st = uri_of(t->path, immutable ? "?immutable=1" : "", &uri);
    if (!st) {
        rc = sqlite3_open_v2(fc_str_text(&uri), &t->db, flags, NULL);
        if (rc != SQLITE_OK) st = fc_table_failed(t, rc);
    }
    fc_str_fini(&uri);
    FC_TRY(st);
    /* Not mapped: a file that is overwritten in place must be an error of a read, not a signal. */
    FC_TRY(fc_table_exec(t, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0"));
    FC_TRY(fc_table_check_kind(t, !immutable));
    FC_TRY(fc_table_read_meta(t));
    return fc_table_prepare(t);
}

static fc_status open_any(const char *path, bool immutable, fc_table **out) {
    fc_table *t;
    void *p;
    fc_status st;
    FC_TRY(fc_alloc(1, sizeof *t, "table", &p));
    t = p;
    fc_arena_init(&t->arena);
    st = fc_copy_str(path, "table", &t->path);
    if (!st) st = open_read(t, immutable);
    if (st) {
        fc_table_close(t);
        return st;
    }
    *out = t;
    return FC_OK;
}

fc_status fc_table_open(const char *path, fc_table **out) { return open_any(path, true, out); }
fc_status fc_table_work_open(const char *path, fc_table **out) { return open_any(path, false, out); }

void fc_table_close(fc_table *t) {
    if (!t) return;
    for (int i = 0; i < FC_SQL_COUNT; i++) sqlite3_finalize(t->st[i]);
    sqlite3_close(t->db); /* an open transaction is rolled back */
    fc_str_fini(&t->text);
    fc_str_fini(&t->key);
    fc_free(t->entries);
    fc_arena_fini(&t->arena);
    fc_free(t->path);
    fc_free(t);
}

const char *fc_table_path(const fc_table *t) { return t->path; }
const fc_table_meta *fc_table_meta_of(const fc_table *t) { return &t->meta; }

int fc_table_meta_differs(const fc_table_meta *a, const fc_table_meta *b) {
    for (int i = 0; i < FC_TABLE_META; i++)
        if (i != FC_META_SHARD && i != FC_META_PLANNED && strcmp(a->value[i], b->value[i]) != 0) return i;
    return FC_TABLE_META;
}

/* ---- rows ---- */

static double real_at(sqlite3_stmt *st, int column) {
    return sqlite3_column_type(st, column) == SQLITE_NULL ? NAN : sqlite3_column_double(st, column);
}

static int whole_at(sqlite3_stmt *st, int column) {
    return sqlite3_column_type(st, column) == SQLITE_NULL ? -1 : sqlite3_column_int(st, column);
}

/* Texts end in NUL and lie one behind the other in t->text; entries point to them when all are there. */
static fc_status read_entries(fc_table *t, const char *key, fc_table_row *row) {
    sqlite3_stmt *st = t->st[FC_SQL_ENTRIES];
    fc_status status = FC_OK;
    size_t n = 0;
    int rc = sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK) rc = sqlite3_step(st);
    for (; rc == SQLITE_ROW && !status; rc = status ? rc : sqlite3_step(st)) {
        fc_table_entry *e;
        size_t size = (size_t)sqlite3_column_bytes(st, 0);
        const void *text = sqlite3_column_blob(st, 0);
        status = fc_grow(&t->entries, &t->cap_entries, n + 1, sizeof *e, "table row");
        if (!status) status = fc_str_put(&t->text, size ? text : "", size);
        if (!status) status = fc_str_put(&t->text, "", 1);
        if (status) break;
        e = (fc_table_entry *)t->entries + n++;
        *e = (fc_table_entry){.text_size = size,
                              .score = real_at(st, 1),
                              .logprob = real_at(st, 2),
                              .votes = sqlite3_column_int(st, 3),
                              .valid = whole_at(st, 4)};
    }
    if (!status && rc != SQLITE_DONE) status = fc_table_failed(t, rc);
    sqlite3_reset(st);
    FC_TRY(status);
    for (size_t i = 0, at = 0; i < n; i++) {
        fc_table_entry *e = (fc_table_entry *)t->entries + i;
        if (!i) at = strlen(key) + 1; /* behind the key */
        e->text = t->text.data + at;
        at += e->text_size + 1;
    }
    row->entries = t->entries;
    row->n_entries = n;
    return FC_OK;
}

/* st stands at a row. */
static fc_status read_row(fc_table *t, sqlite3_stmt *st, fc_table_row *row) {
    const char *key = (const char *)sqlite3_column_text(st, 0);
    fc_table_row r = {.input = (uint64_t)sqlite3_column_int64(st, 1),
                      .seed = (uint64_t)sqlite3_column_int64(st, 2),
                      .n = sqlite3_column_int(st, 3),
                      .n_valid = whole_at(st, 5)};
    r.confidence = (fc_confidence){.n_used = sqlite3_column_int(st, 4),
                                   .distinct = sqlite3_column_int(st, 6),
                                   .logprob = real_at(st, 7),
                                   .entropy = real_at(st, 8),
                                   .vote_share = real_at(st, 9),
                                   .margin = real_at(st, 10),
                                   .valid_mass = real_at(st, 11)};
    if (!key) return FC_FAIL(FC_ERR_FORMAT, "table %s: a row without a key", t->path);
    fc_str_clear(&t->text);
    FC_TRY(fc_str_put(&t->text, key, strlen(key) + 1));
    FC_TRY(read_entries(t, key, &r));
    r.key = t->text.data;
    *row = r;
    return FC_OK;
}

fc_status fc_table_get(fc_table *t, const char *key, fc_table_row *row, bool *found) {
    sqlite3_stmt *st = t->st[FC_SQL_GET];
    fc_status status = FC_OK;
    int rc = sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK) rc = sqlite3_step(st);
    *found = rc == SQLITE_ROW;
    if (*found) status = read_row(t, st, row);
    else if (rc != SQLITE_DONE) status = fc_table_failed(t, rc);
    sqlite3_reset(st);
    return status;
}

fc_status fc_table_has(fc_table *t, const char *key, uint64_t *input, bool *found) {
    sqlite3_stmt *st = t->st[FC_SQL_HAS];
    fc_status status = FC_OK;
    int rc = sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK) rc = sqlite3_step(st);
    *found = rc == SQLITE_ROW;
    if (*found) *input = (uint64_t)sqlite3_column_int64(st, 0);
    else if (rc != SQLITE_DONE) status = fc_table_failed(t, rc);
    sqlite3_reset(st);
    return status;
}

void fc_table_rewind(fc_table *t) { sqlite3_reset(t->st[FC_SQL_NEXT]); }

fc_status fc_table_next(fc_table *t, fc_table_row *row, bool *more) {
    int rc = sqlite3_step(t->st[FC_SQL_NEXT]);
    *more = rc == SQLITE_ROW;
    if (*more) return read_row(t, t->st[FC_SQL_NEXT], row);
    sqlite3_reset(t->st[FC_SQL_NEXT]);
    return rc == SQLITE_DONE ? FC_OK : fc_table_failed(t, rc);
}

fc_status fc_table_failure(fc_table *t, const char *after, const char **key, const char **status, const char **error,
                           bool *found) {
    sqlite3_stmt *st = t->st[FC_SQL_FAILURE];
    fc_status ok = FC_OK;
    int rc = sqlite3_bind_text(st, 1, after, -1, SQLITE_TRANSIENT);
    size_t at[3] = {0};
    if (rc == SQLITE_OK) rc = sqlite3_step(st);
    *found = rc == SQLITE_ROW;
    fc_str_clear(&t->key);
    if (!*found && rc != SQLITE_DONE) ok = fc_table_failed(t, rc);
    for (int i = 0; i < 3 && *found && !ok; i++) {
        const int size = sqlite3_column_bytes(st, i);
        at[i] = t->key.size;
        ok = fc_str_put(&t->key, size ? sqlite3_column_blob(st, i) : "", (size_t)size);
        if (!ok) ok = fc_str_put(&t->key, "", 1);
    }
    sqlite3_reset(st);
    if (ok || !*found) return ok;
    *key = t->key.data;
    *status = t->key.data + at[1];
    *error = t->key.data + at[2];
    return FC_OK;
}

fc_status fc_table_count(fc_table *t, int64_t *rows, int64_t *failures) {
    FC_TRY(fc_table_number(t, "SELECT count(*) FROM rows", rows));
    return fc_table_number(t, "SELECT count(*) FROM failures", failures);
}
