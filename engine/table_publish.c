/* table_publish - a work file becomes a table: copied beside it, synced, renamed. */
#define _GNU_SOURCE
#include "engine/table_sql.h"

#include "engine/base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static fc_status failed(const char *path) { return FC_FAIL(FC_ERR_IO, "table %s: %s", path, strerror(errno)); }

/* The folder that holds the file: a rename is in it. */
static fc_status sync_folder(const char *path) {
    fc_str folder = {0};
    fc_status st = fc_path_beside(path, ".", &folder);
    int fd = -1;
    if (!st) fd = open(fc_str_text(&folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!st && (fd < 0 || fsync(fd))) st = failed(fc_str_text(&folder));
    if (fd >= 0) close(fd);
    fc_str_fini(&folder);
    return st;
}

/* Rows lie in key order in the copy, in whatever order they came; nothing else in it depends on how it was filled. */
static fc_status copy_to(fc_table *t, const char *path) {
    sqlite3_stmt *st = NULL;
    fc_status status;
    int rc = sqlite3_prepare_v2(t->db, "VACUUM INTO ?1", -1, &st, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_bind_text(st, 1, path, -1, SQLITE_STATIC);
    status = rc == SQLITE_OK ? fc_table_run(t, st) : fc_table_failed(t, rc);
    sqlite3_finalize(st);
    return status;
}

/* A copy says that it is one: a table is read without locks, which a work file must not be. */
static fc_status mark(const char *path) {
    fc_table copy = {.path = (char *)path};
    char sql[64];
    fc_status st;
    int rc = sqlite3_open_v2(path, &copy.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d", FC_TABLE_APPLICATION);
    st = rc == SQLITE_OK ? fc_table_exec(&copy, sql) : fc_table_failed(&copy, rc);
    sqlite3_close(copy.db);
    return st;
}

/* An empty file at the path, held by this process alone: a job that was killed may have left one, another may be at it.
 * Caller closes. */
static fc_status hold(const char *path, int *out) {
    for (;;) {
        struct stat mine, there;
        const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0) return failed(path);
        if (flock(fd, LOCK_EX | LOCK_NB)) {
            fc_status st;
            if (errno == EWOULDBLOCK) st = FC_FAIL(FC_ERR_FULL, "table %s: another process writes it", path);
            else st = failed(path);
            close(fd);
            return st;
        }
        if (fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
            mine.st_dev == there.st_dev) {
            *out = fd;
            return ftruncate(fd, 0) ? failed(path) : FC_OK;
        }
        close(fd); /* whoever held it has renamed it meanwhile */
    }
}

static fc_status publish(fc_table *t, const char *path, const char *temporary, const char *journal) {
    fc_status st;
    int fd = -1;
    st = hold(temporary, &fd);
    if (!st && unlink(journal) && errno != ENOENT) st = failed(journal);
    if (!st) st = copy_to(t, temporary);
    if (!st) st = mark(temporary);
    if (!st && fsync(fd)) st = failed(temporary);
    if (!st && rename(temporary, path)) st = failed(path);
    if (st && fd >= 0) (void)unlink(temporary); /* half of a copy is of no use; the rows are in the work file */
    if (fd >= 0) close(fd);
    return st ? st : sync_folder(path);
}

fc_status fc_table_publish(fc_table *t, const char *path) {
    fc_str temporary = {0}, journal = {0};
    fc_status st;
    fc_table_rewind(t); /* a statement that stands at a row is in the way of the copy */
    st = fc_table_flush(t);
    if (!st) st = fc_str_printf(&temporary, "%s.new", path);
    if (!st) st = fc_str_printf(&journal, "%s.new-journal", path);
    if (!st) st = publish(t, path, fc_str_text(&temporary), fc_str_text(&journal));
    fc_str_fini(&temporary);
    fc_str_fini(&journal);
    return st;
}

fc_status fc_table_work_remove(fc_table *t) {
    /* without a journal, which a later writer's would be named like, and while it is held */
    fc_str shared = {0};
    fc_status st = fc_table_exec(t, "PRAGMA journal_mode = DELETE");
    if (!st && unlink(t->path) && errno != ENOENT) st = failed(t->path);
    if (!st) st = fc_str_printf(&shared, "%s-shm", t->path);
    if (!st && unlink(fc_str_text(&shared)) && errno != ENOENT) st = failed(fc_str_text(&shared)); /* a reader's */
    fc_str_fini(&shared);
    fc_table_close(t);
    return st;
}
