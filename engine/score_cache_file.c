#include "engine/score_cache_file.h"

#include "engine/base/hash.h"
#include "engine/base/mem.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum { APPLICATION_ID = 0x666b6373, SCHEMA_VERSION = 1, OPEN_WAIT_MS = 5000 };

typedef enum { GET, PUT, BEGIN, COMMIT, N_STATEMENTS } statement;

static const char *const texts[N_STATEMENTS] = {
    [GET] = "SELECT bits, mac FROM scores WHERE key = ?1",
    [PUT] = "INSERT OR REPLACE INTO scores(key, bits, mac) VALUES(?1, ?2, ?3)", /* a damaged row is replaced */
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
};

struct fc_score_file {
    char *path;
    sqlite3 *db;
    sqlite3_stmt *st[N_STATEMENTS];
    fc_score_secret secret;
};

static fc_status failed(const fc_score_file *f, int rc) {
    const char *why = f->db ? sqlite3_errmsg(f->db) : sqlite3_errstr(rc);
    switch (rc & 0xff) { /* without the extended part */
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return FC_FAIL(FC_ERR_FULL, "score_cache_file %s: another process holds it", f->path);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT: return FC_FAIL(FC_ERR_FORMAT, "score_cache_file %s: %s", f->path, why);
    case SQLITE_NOMEM: return FC_FAIL(FC_ERR_MEM, "score_cache_file %s: %s", f->path, why);
    default: return FC_FAIL(FC_ERR_IO, "score_cache_file %s: %s (SQLite %d)", f->path, why, rc);
    }
}

/* A statement without results. */
static fc_status run(const fc_score_file *f, sqlite3_stmt *st) {
    int rc = sqlite3_step(st);
    fc_status status = rc == SQLITE_DONE ? FC_OK : failed(f, rc);
    sqlite3_reset(st);
    return status;
}

static fc_status exec(const fc_score_file *f, const char *sql) {
    int rc = sqlite3_exec(f->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? FC_OK : failed(f, rc);
}

static fc_status ask_number(const fc_score_file *f, const char *sql, int64_t *out) {
    sqlite3_stmt *st = NULL;
    fc_status status = FC_OK;
    int rc = sqlite3_prepare_v2(f->db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) *out = sqlite3_column_int64(st, 0);
    else status = failed(f, rc);
    sqlite3_finalize(st);
    return status;
}

/* ---- rows ---- */

static void put_bytes(unsigned char *out, uint64_t v) {
    for (int i = 0; i < 8; i++) out[i] = (unsigned char)(v >> (8 * i));
}

static void key_bytes(fc_score_key key, unsigned char out[16]) {
    put_bytes(out, key.k[0]);
    put_bytes(out + 8, key.k[1]);
}

/* The first byte keeps it apart from the hashes of a scope, which are numbered 0 to 3. */
static int64_t mac_of(const fc_score_file *f, const unsigned char key[16], int64_t bits) {
    unsigned char all[25] = {4};
    memcpy(all + 1, key, 16);
    put_bytes(all + 17, (uint64_t)bits);
    return (int64_t)fc_siphash(f->secret.k[0], f->secret.k[1], all, sizeof all);
}

static fc_status put_row(const fc_score_file *f, const unsigned char *key, int size, int64_t bits, int64_t mac) {
    sqlite3_stmt *st = f->st[PUT];
    int rc = sqlite3_bind_blob(st, 1, key, size, SQLITE_TRANSIENT);
    if (rc == SQLITE_OK) rc = sqlite3_bind_int64(st, 2, bits);
    if (rc == SQLITE_OK) rc = sqlite3_bind_int64(st, 3, mac);
    return rc == SQLITE_OK ? run(f, st) : failed(f, rc);
}

static fc_status get_row(const fc_score_file *f, const unsigned char *key, int size, bool *found, int64_t *bits,
                         int64_t *mac) {
    sqlite3_stmt *st = f->st[GET];
    fc_status status = FC_OK;
    int rc = sqlite3_bind_blob(st, 1, key, size, SQLITE_TRANSIENT);
    if (rc == SQLITE_OK) rc = sqlite3_step(st);
    *found = rc == SQLITE_ROW;
    if (*found) { /* another type than was written reads as some number, which the hash then refuses */
        *bits = sqlite3_column_int64(st, 0);
        *mac = sqlite3_column_int64(st, 1);
    } else if (rc != SQLITE_DONE && (rc & 0xff) != SQLITE_BUSY) {
        status = failed(f, rc);
    }
    sqlite3_reset(st);
    return status;
}

/* ---- open ---- */

static fc_status prepare(fc_score_file *f, statement first, statement end) {
    for (statement i = first; i < end; i++) {
        int rc = sqlite3_prepare_v3(f->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &f->st[i], NULL);
        if (rc != SQLITE_OK) return failed(f, rc);
    }
    return FC_OK;
}

static fc_status make_schema(fc_score_file *f, const fc_score_secret *secret) {
    char sql[256];
    snprintf(sql, sizeof sql,
             "CREATE TABLE scores(key BLOB PRIMARY KEY, bits INTEGER NOT NULL, mac INTEGER NOT NULL) WITHOUT ROWID;"
             "PRAGMA application_id = %d; PRAGMA user_version = %d",
             APPLICATION_ID, SCHEMA_VERSION);
    FC_TRY(exec(f, sql));
    FC_TRY(prepare(f, GET, BEGIN));
    return put_row(f, (const unsigned char *)"", 0, (int64_t)secret->k[0], (int64_t)secret->k[1]);
}

/* Inside a transaction: of two processes that meet over a new file one makes it and the other finds it made. */
static fc_status make_or_check(fc_score_file *f, fc_score_secret *secret) {
    int64_t id = 0, version = 0, things = 0, k0, k1;
    bool found;
    FC_TRY(ask_number(f, "PRAGMA application_id", &id));
    FC_TRY(ask_number(f, "PRAGMA user_version", &version));
    FC_TRY(ask_number(f, "SELECT count(*) FROM sqlite_master", &things));
    if (!id && !version && !things) {
        FC_TRY(make_schema(f, secret));
    } else if (id != APPLICATION_ID) {
        return FC_FAIL(FC_ERR_FORMAT, "score_cache_file %s: an SQLite file, but no score cache (application_id %lld)",
                       f->path, (long long)id);
    } else if (version != SCHEMA_VERSION) {
        return FC_FAIL(FC_ERR_FORMAT, "score_cache_file %s: its schema is version %lld; this program has %d", f->path,
                       (long long)version, SCHEMA_VERSION);
    } else {
        FC_TRY(prepare(f, GET, BEGIN));
    }
    FC_TRY(get_row(f, (const unsigned char *)"", 0, &found, &k0, &k1));
    if (!found) return FC_FAIL(FC_ERR_FORMAT, "score_cache_file %s: the row of its secret is missing", f->path);
    f->secret = (fc_score_secret){{(uint64_t)k0, (uint64_t)k1}};
    return FC_OK;
}

/* Where another process is about to write, SQLite fails here at once, so the waiting is ours. */
static fc_status set_wal(const fc_score_file *f) {
    for (int waited = 0;; waited += 10) {
        sqlite3_stmt *st = NULL;
        fc_status status = FC_OK;
        int rc = sqlite3_prepare_v2(f->db, "PRAGMA journal_mode = WAL", -1, &st, NULL);
        if (rc == SQLITE_OK) rc = sqlite3_step(st);
        if (rc != SQLITE_ROW) status = failed(f, rc);
        else if (strcmp((const char *)sqlite3_column_text(st, 0), "wal") != 0)
            status = FC_FAIL(FC_ERR_UNSUPPORTED,
                             "score_cache_file %s: its file system cannot share memory (journal mode %s)", f->path,
                             (const char *)sqlite3_column_text(st, 0));
        sqlite3_finalize(st);
        if (status != FC_ERR_FULL || waited >= OPEN_WAIT_MS) return status;
        sqlite3_sleep(10);
    }
}

static fc_status open_db(fc_score_file *f, fc_score_secret *secret) {
    fc_status st;
    int rc =
        sqlite3_open_v2(f->path, &f->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc != SQLITE_OK) return failed(f, rc);
    if (sqlite3_db_readonly(f->db, "main")) return FC_FAIL(FC_ERR_IO, "score_cache_file %s: it is read-only", f->path);
    sqlite3_busy_timeout(f->db, OPEN_WAIT_MS);
    FC_TRY(exec(f, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON"));
    FC_TRY(prepare(f, BEGIN, N_STATEMENTS));
    FC_TRY(run(f, f->st[BEGIN]));
    st = make_or_check(f, secret);
    if (!st) st = run(f, f->st[COMMIT]);
    if (st) return st; /* closing rolls back */
    FC_TRY(set_wal(f));
    FC_TRY(exec(f, "PRAGMA synchronous = NORMAL")); /* a power cut may lose scores, never mix them */
    sqlite3_busy_timeout(f->db, 0);                 /* a read that would have to wait is a miss */
    return FC_OK;
}

fc_status fc_score_file_open(const char *path, fc_score_secret *secret, fc_score_file **out) {
    fc_status st = FC_OK;
    fc_score_file *f;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *f, "score cache file", &p));
    f = p;
    FC_TRY_GOTO(st, fc_copy_str(path, "score cache file", &f->path), fail);
    FC_TRY_GOTO(st, open_db(f, secret), fail);
    *secret = f->secret;
    *out = f;
    return FC_OK;
fail:
    fc_score_file_close(f);
    return st;
}

void fc_score_file_close(fc_score_file *f) {
    if (!f) return;
    for (int i = 0; i < N_STATEMENTS; i++) sqlite3_finalize(f->st[i]);
    sqlite3_close(f->db);
    fc_free(f->path);
    fc_free(f);
}

/* ---- scores ---- */

fc_status fc_score_file_get(fc_score_file *f, fc_score_key key, double *score, bool *found, bool *damaged) {
    unsigned char bytes[16];
    int64_t bits = 0, mac = 0;
    bool there;
    key_bytes(key, bytes);
    FC_TRY(get_row(f, bytes, sizeof bytes, &there, &bits, &mac));
    *damaged = there && mac != mac_of(f, bytes, bits);
    *found = there && !*damaged;
    if (*found) memcpy(score, &bits, sizeof *score);
    return FC_OK;
}

static fc_status put_all(const fc_score_file *f, const fc_score_row *rows, int n) {
    for (int i = 0; i < n; i++) {
        unsigned char bytes[16];
        int64_t bits;
        memcpy(&bits, &rows[i].score, sizeof bits);
        key_bytes(rows[i].key, bytes);
        FC_TRY(put_row(f, bytes, sizeof bytes, bits, mac_of(f, bytes, bits)));
    }
    return run(f, f->st[COMMIT]);
}

fc_status fc_score_file_put(fc_score_file *f, const fc_score_row *rows, int n, int wait_ms) {
    fc_status st;
    sqlite3_busy_timeout(f->db, wait_ms);
    st = run(f, f->st[BEGIN]);
    if (!st) st = put_all(f, rows, n);
    sqlite3_busy_timeout(f->db, 0);
    if (st && !sqlite3_get_autocommit(f->db)) /* some errors end the transaction, others leave it open */
        FC_TRY(exec(f, "ROLLBACK"));
    return st;
}
