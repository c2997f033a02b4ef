/* table_write - work files: made and filled. table_publish.c makes tables of them. */
#include "engine/table_sql.h"

#include "engine/base/os.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A transaction ends with so many rows, or a row that comes so long after the last end: a kill loses no more. */
enum { WRITE_BATCH = 256, WRITE_MS = 1000 };

static const char schema[] =
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE rows(key TEXT PRIMARY KEY, input INTEGER NOT NULL, seed INTEGER NOT NULL, n INTEGER NOT NULL, "
    "n_used INTEGER NOT NULL, n_valid INTEGER, distinct_count INTEGER NOT NULL, logprob REAL, entropy REAL, "
    "vote_share REAL, margin REAL, valid_mass REAL) WITHOUT ROWID;"
    "CREATE TABLE candidates(key TEXT NOT NULL, rank INTEGER NOT NULL, text TEXT NOT NULL, score REAL, logprob REAL, "
    "votes INTEGER NOT NULL, valid INTEGER, PRIMARY KEY(key, rank)) WITHOUT ROWID;"
    "CREATE TABLE failures(key TEXT PRIMARY KEY, status TEXT NOT NULL, error TEXT NOT NULL) WITHOUT ROWID;";

/* ---- open ---- */

static fc_status put_meta(fc_table *t, const fc_table_meta *m) {
    sqlite3_stmt *st = NULL;
    fc_status status = FC_OK;
    int rc = sqlite3_prepare_v2(t->db, "INSERT OR REPLACE INTO meta VALUES(?1, ?2)", -1, &st, NULL);
    for (int i = 0; i < FC_TABLE_META && rc == SQLITE_OK && !status; i++) {
        rc = sqlite3_bind_text(st, 1, fc_table_meta_text((fc_table_meta_name)i), -1, SQLITE_STATIC);
        if (rc == SQLITE_OK) rc = sqlite3_bind_text(st, 2, m->value[i], -1, SQLITE_STATIC);
        if (rc == SQLITE_OK) status = fc_table_run(t, st);
    }
    if (!status && rc != SQLITE_OK) status = fc_table_failed(t, rc);
    sqlite3_finalize(st);
    return status;
}

static fc_status make(fc_table *t, const fc_table_meta *m) {
    char sql[128];
    FC_TRY(fc_table_exec(t, "BEGIN IMMEDIATE"));
    FC_TRY(fc_table_exec(t, schema));
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d", FC_TABLE_WORK, FC_TABLE_SCHEMA);
    FC_TRY(fc_table_exec(t, sql));
    FC_TRY(put_meta(t, m));
    return fc_table_exec(t, "COMMIT");
}

static fc_status keep_meta(fc_table *t, const fc_table_meta *m) {
    for (int i = 0; i < FC_TABLE_META; i++) {
        size_t size = strlen(m->value[i]) + 1;
        void *p;
        FC_TRY(fc_arena_alloc(&t->arena, size, 1, &p));
        t->meta.value[i] = memcpy(p, m->value[i], size);
    }
    return FC_OK;
}

static fc_status check_meta(const fc_table *t, const fc_table_meta *m) {
    for (int i = 0; i < FC_META_KEYS_END; i++)
        if (strcmp(t->meta.value[i], m->value[i]) != 0)
            return FC_FAIL(
                FC_ERR_ARG,
                "table %s: it was begun with another %s: \"%.200s\", and now it is \"%.200s\"; end that job, "
                "or remove the file",
                t->path, fc_table_meta_text((fc_table_meta_name)i), t->meta.value[i], m->value[i]);
    return FC_OK;
}

static fc_status renew_meta(fc_table *t, const fc_table_meta *m) {
    for (int i = FC_META_KEYS_END; i < FC_TABLE_META; i++) {
        if (strcmp(t->meta.value[i], m->value[i]) == 0) continue;
        FC_TRY(put_meta(t, m));
        return keep_meta(t, m);
    }
    return FC_OK;
}

/* The connection holds the file alone from its first write on; the lock goes with the process. */
static fc_status set_modes(fc_table *t) {
    FC_TRY(fc_table_exec(t, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; "
                            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL"));
    return fc_table_exec(t, "PRAGMA synchronous = NORMAL"); /* a power cut may lose the last rows, never mix them */
}

/* SQLite says of a file that it may not make that there is none. */
static fc_status check_may_write(const char *path) {
    fc_str folder = {0};
    fc_status st = FC_OK;
    int no;
    if (fc_path_exists(path)) no = access(path, R_OK | W_OK);
    else {
        FC_TRY(fc_path_beside(path, ".", &folder));
        no = access(fc_str_text(&folder), W_OK | X_OK);
    }
    if (no) st = FC_FAIL(FC_ERR_IO, "table %s: %s", path, strerror(errno));
    fc_str_fini(&folder);
    return st;
}

static fc_status open_work(fc_table *t, const fc_table_meta *m, bool *made) {
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int64_t things = 0, id = 0;
    int rc;
    FC_TRY(check_may_write(t->path));
    rc = sqlite3_open_v2(t->path, &t->db, m ? flags : flags & ~SQLITE_OPEN_CREATE, NULL);
    if (rc != SQLITE_OK) return fc_table_failed(t, rc);
    if (sqlite3_db_readonly(t->db, "main")) return FC_FAIL(FC_ERR_IO, "table %s: it is read-only", t->path);
    FC_TRY(set_modes(t));
    FC_TRY(fc_table_exec(t, "BEGIN EXCLUSIVE; COMMIT"));
    FC_TRY(fc_table_number(t, "SELECT count(*) FROM sqlite_master", &things));
    FC_TRY(fc_table_number(t, "PRAGMA application_id", &id));
    *made = !things && !id;
    if (*made && m) {
        FC_TRY(make(t, m));
        FC_TRY(keep_meta(t, m));
    } else {
        FC_TRY(fc_table_check_kind(t, true));
        FC_TRY(fc_table_read_meta(t));
        if (m) FC_TRY(check_meta(t, m));
        if (m) FC_TRY(renew_meta(t, m));
    }
    return fc_table_prepare(t);
}

fc_status fc_table_work(const char *path, const fc_table_meta *m, fc_table **out, bool *made) {
    fc_table *t;
    void *p;
    fc_status st;
    FC_TRY(fc_alloc(1, sizeof *t, "table", &p));
    t = p;
    t->writes = true;
    fc_arena_init(&t->arena);
    st = fc_copy_str(path, "table", &t->path);
    if (!st) st = open_work(t, m, made);
    if (st) {
        fc_table_close(t);
        return st;
    }
    *out = t;
    return FC_OK;
}

/* ---- rows ---- */

static int bind_real(sqlite3_stmt *st, int at, double v) {
    return isnan(v) ? sqlite3_bind_null(st, at) : sqlite3_bind_double(st, at, v);
}

static int bind_count(sqlite3_stmt *st, int at, int v) {
    return v < 0 ? sqlite3_bind_null(st, at) : sqlite3_bind_int(st, at, v);
}

static int bind_row(sqlite3_stmt *st, const fc_table_row *r) {
    const fc_confidence *c = &r->confidence;
    const int ints[3] = {r->n, c->n_used, c->distinct}, places[3] = {4, 5, 7};
    const double reals[5] = {c->logprob, c->entropy, c->vote_share, c->margin, c->valid_mass};
    int rc = sqlite3_bind_text(st, 1, r->key, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK) rc = sqlite3_bind_int64(st, 2, (int64_t)r->input);
    if (rc == SQLITE_OK) rc = sqlite3_bind_int64(st, 3, (int64_t)r->seed);
    for (int i = 0; i < 3 && rc == SQLITE_OK; i++) rc = sqlite3_bind_int(st, places[i], ints[i]);
    if (rc == SQLITE_OK) rc = bind_count(st, 6, r->n_valid);
    for (int i = 0; i < 5 && rc == SQLITE_OK; i++) rc = bind_real(st, 8 + i, reals[i]);
    return rc;
}

static int bind_entry(sqlite3_stmt *st, const char *key, int rank, const fc_table_entry *e) {
    int rc = sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK) rc = sqlite3_bind_int(st, 2, rank);
    if (rc == SQLITE_OK) rc = sqlite3_bind_text(st, 3, e->text, (int)e->text_size, SQLITE_STATIC);
    if (rc == SQLITE_OK) rc = bind_real(st, 4, e->score);
    if (rc == SQLITE_OK) rc = bind_real(st, 5, e->logprob);
    if (rc == SQLITE_OK) rc = sqlite3_bind_int(st, 6, e->votes);
    if (rc == SQLITE_OK) rc = bind_count(st, 7, e->valid);
    return rc;
}

/* A statement about the key alone. */
static fc_status run_for(fc_table *t, fc_table_sql which, const char *key) {
    int rc = sqlite3_bind_text(t->st[which], 1, key, -1, SQLITE_STATIC);
    return rc == SQLITE_OK ? fc_table_run(t, t->st[which]) : fc_table_failed(t, rc);
}

fc_status fc_table_forget_failures(fc_table *t) { return fc_table_exec(t, "DELETE FROM failures"); }

static fc_status begin(fc_table *t) {
    if (t->waiting++) return FC_OK;
    return fc_table_run(t, t->st[FC_SQL_BEGIN]);
}

static bool is_due(const fc_table *t) {
    return t->waiting >= WRITE_BATCH || fc_clock_ns() - t->flushed_ns >= WRITE_MS * UINT64_C(1000000);
}

static fc_status put(fc_table *t, const fc_table_row *r) {
    int rc;
    FC_TRY(begin(t));
    FC_TRY(run_for(t, FC_SQL_DROP_ENTRIES, r->key));
    FC_TRY(run_for(t, FC_SQL_DROP_FAILURE, r->key));
    rc = bind_row(t->st[FC_SQL_PUT], r);
    FC_TRY(rc == SQLITE_OK ? fc_table_run(t, t->st[FC_SQL_PUT]) : fc_table_failed(t, rc));
    for (size_t i = 0; i < r->n_entries; i++) {
        rc = bind_entry(t->st[FC_SQL_PUT_ENTRY], r->key, (int)i + 1, &r->entries[i]);
        FC_TRY(rc == SQLITE_OK ? fc_table_run(t, t->st[FC_SQL_PUT_ENTRY]) : fc_table_failed(t, rc));
    }
    return is_due(t) ? fc_table_flush(t) : FC_OK;
}

static fc_status fail(fc_table *t, const char *key, const char *status, const char *error) {
    sqlite3_stmt *st = t->st[FC_SQL_PUT_FAILURE];
    int rc = sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    FC_TRY(begin(t));
    FC_TRY(run_for(t, FC_SQL_DROP_ENTRIES, key));
    if (rc == SQLITE_OK) rc = sqlite3_bind_text(st, 2, status, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK) rc = sqlite3_bind_text(st, 3, error, -1, SQLITE_STATIC);
    FC_TRY(rc == SQLITE_OK ? fc_table_run(t, st) : fc_table_failed(t, rc));
    FC_TRY(run_for(t, FC_SQL_DROP_ROW, key));
    return is_due(t) ? fc_table_flush(t) : FC_OK;
}

/* What an open transaction held is lost with it: it will be computed again. The first sentence stays. */
static fc_status give_up(fc_table *t, fc_status st) {
    char why[512];
    snprintf(why, sizeof why, "%s", fc_status_text());
    if (!sqlite3_get_autocommit(t->db)) (void)sqlite3_exec(t->db, "ROLLBACK", NULL, NULL, NULL);
    t->waiting = 0;
    return FC_FAIL(st, "%s", why);
}

fc_status fc_table_put(fc_table *t, const fc_table_row *r) {
    fc_status st = put(t, r);
    return st ? give_up(t, st) : FC_OK;
}

fc_status fc_table_fail(fc_table *t, const char *key, fc_status status, const char *error) {
    fc_status st = fail(t, key, fc_status_string(status), error);
    return st ? give_up(t, st) : FC_OK;
}

fc_status fc_table_flush(fc_table *t) {
    fc_status st;
    if (!t->waiting) return FC_OK;
    st = fc_table_run(t, t->st[FC_SQL_COMMIT]);
    if (st) return give_up(t, st);
    t->flushed_ns = fc_clock_ns();
    t->waiting = 0;
    return FC_OK;
}

fc_status fc_table_take(fc_table *t, fc_table *from) {
    fc_table_row row;
    bool more, found;
    const char *key = "", *status, *error;
    fc_str after = {0};
    fc_status st = FC_OK;
    uint64_t input;
    fc_table_rewind(from);
    for (;;) {
        FC_TRY(fc_table_next(from, &row, &more));
        if (!more) break;
        FC_TRY(fc_table_has(t, row.key, &input, &found));
        if (found)
            return FC_FAIL(FC_ERR_ARG, "table %s: key \"%.200s\" is in %s, and was taken before", t->path, row.key,
                           from->path);
        FC_TRY(fc_table_put(t, &row));
    }
    while (!st) {
        st = fc_table_failure(from, fc_str_text(&after), &key, &status, &error, &found);
        if (st || !found) break;
        fc_str_clear(&after);
        st = fc_str_puts(&after, key);
        if (!st) st = fail(t, key, status, error);
    }
    fc_str_fini(&after);
    return st ? st : fc_table_flush(t);
}
