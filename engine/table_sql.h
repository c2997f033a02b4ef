/* table_sql - what a table's file is to SQLite; for the table's own files. */
#ifndef FC_ENGINE_TABLE_SQL_H
#define FC_ENGINE_TABLE_SQL_H

#include "engine/base/mem.h"
#include "engine/table.h"

#include <sqlite3.h>

enum { FC_TABLE_APPLICATION = 0x666b7462, FC_TABLE_WORK = 0x666b7477, FC_TABLE_SCHEMA = 1 };

typedef enum {
    FC_SQL_GET = 0,
    FC_SQL_ENTRIES,
    FC_SQL_HAS,
    FC_SQL_NEXT,
    FC_SQL_FAILURE,
    FC_SQL_READERS, /* the rest writes */
    FC_SQL_PUT = FC_SQL_READERS,
    FC_SQL_PUT_ENTRY,
    FC_SQL_DROP_ENTRIES,
    FC_SQL_DROP_ROW,
    FC_SQL_PUT_FAILURE,
    FC_SQL_DROP_FAILURE,
    FC_SQL_BEGIN,
    FC_SQL_COMMIT,
    FC_SQL_COUNT
} fc_table_sql;

struct fc_table {
    char *path;
    sqlite3 *db;
    bool writes;
    int waiting;         /* rows in the open transaction; 0: there is none */
    uint64_t flushed_ns; /* when the last one ended; 0: none has */
    sqlite3_stmt *st[FC_SQL_COUNT];
    fc_arena arena; /* of meta */
    fc_table_meta meta;
    void *entries;
    size_t cap_entries;
    fc_str text, key; /* of the row that was read last; of a failure */
};

/* FC_OK for what ends well; else the status and the sentence. */
fc_status fc_table_failed(const fc_table *t, int rc);
fc_status fc_table_exec(const fc_table *t, const char *sql);
/* A statement without results; it is reset. */
fc_status fc_table_run(const fc_table *t, sqlite3_stmt *st);
fc_status fc_table_number(const fc_table *t, const char *sql, int64_t *out);
fc_status fc_table_prepare(fc_table *t);
fc_status fc_table_check_kind(const fc_table *t, bool work); /* of this schema, and a work file or a table */
fc_status fc_table_read_meta(fc_table *t);

#endif
