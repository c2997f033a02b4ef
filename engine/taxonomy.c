#include "engine/taxonomy.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "engine/base/str.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { COLUMNS = 4, FILE_MAX = 64 << 20 };

typedef struct {
    const char *text;
    int index;
} key; /* of an index in order of strcmp */

static int by_text(const void *a, const void *b) { return strcmp(((const key *)a)->text, ((const key *)b)->text); }

typedef struct {
    const char *file;
    fc_taxonomy *t;
    const char **names, **parents; /* [cap]; the latter id or NULL */
    size_t names_cap, parents_cap, entries_cap;
    key *keys; /* [n] scratch */
} reader;

static fc_status check_cell(const reader *r, int line, const char *what, const char *cell) {
    size_t n = strlen(cell), at;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)cell[i] < 32 || cell[i] == 127)
            return FC_FAIL(FC_ERR_FORMAT, "%s: line %d: the %s holds a control character, byte %d", r->file, line, what,
                           cell[i]);
    if (n && (cell[0] == ' ' || cell[n - 1] == ' '))
        return FC_FAIL(FC_ERR_FORMAT, "%s: line %d: the %s \"%.60s\" begins or ends with a blank", r->file, line, what,
                       cell);
    if (!fc_utf8_valid(cell, n, &at))
        return FC_FAIL(FC_ERR_FORMAT, "%s: line %d: byte %zu of the %s is not UTF-8", r->file, line, at + 1, what);
    return FC_OK;
}

/* "a, b" has no empty keyword. */
static fc_status check_keywords(const reader *r, int line, const char *cell) {
    const char *p = cell;
    if (!*p) return FC_OK;
    for (;;) {
        size_t n = strcspn(p, ",");
        if (n == 0) return FC_FAIL(FC_ERR_FORMAT, "%s: line %d: an empty keyword in \"%.60s\"", r->file, line, cell);
        if (!p[n]) return FC_OK;
        p += n + 1;
        p += *p == ' ';
    }
}

/* One line, with a NUL in place of its end; cuts it at its tabs. */
static fc_status add_line(reader *r, char *text, int line) {
    static const char *const titles[COLUMNS] = {"id", "name", "keywords", "parent id"};
    char *cells[COLUMNS] = {text};
    fc_taxonomy *t = r->t;
    int n = 1;
    void *p;
    for (char *c = text; *c; c++)
        if (*c == '\t') {
            *c = '\0';
            if (n == COLUMNS)
                return FC_FAIL(FC_ERR_FORMAT,
                               "%s: line %d: more than 4 columns; they are id, name, keywords, parent id", r->file,
                               line);
            cells[n++] = c + 1;
        }
    if (n < 3)
        return FC_FAIL(FC_ERR_FORMAT, "%s: line %d: %d column%s; id, name and keywords are needed, apart by tabs",
                       r->file, line, n, n == 1 ? "" : "s");
    if (t->n == 0 && strcasecmp(cells[0], "id") == 0 && strcasecmp(cells[1], "name") == 0)
        return FC_FAIL(FC_ERR_FORMAT, "%s: line %d: a line of titles; a # before it makes it a comment", r->file, line);
    for (int i = 0; i < n; i++) {
        if (i < 2 && !cells[i][0])
            return FC_FAIL(FC_ERR_FORMAT, "%s: line %d: the %s is empty", r->file, line, titles[i]);
        FC_TRY(check_cell(r, line, titles[i], cells[i]));
    }
    FC_TRY(check_keywords(r, line, cells[2]));
    p = r->names;
    FC_TRY(fc_grow(&p, &r->names_cap, (size_t)t->n + 1, sizeof *r->names, "taxonomy names"));
    r->names = p;
    p = r->parents;
    FC_TRY(fc_grow(&p, &r->parents_cap, (size_t)t->n + 1, sizeof *r->parents, "taxonomy parents"));
    r->parents = p;
    p = t->entries;
    FC_TRY(fc_grow(&p, &r->entries_cap, (size_t)t->n + 1, sizeof *t->entries, "taxonomy entries"));
    t->entries = p;
    r->names[t->n] = cells[1];
    r->parents[t->n] = n == COLUMNS && cells[3][0] ? cells[3] : NULL;
    t->entries[t->n] = (fc_taxonomy_entry){.id = cells[0], .keywords = cells[2], .parent = -1, .line = line};
    t->n++;
    return FC_OK;
}

static fc_status read_lines(reader *r, size_t size) {
    char *p = r->t->text, *end = p + size;
    int line = 1;
    if (memchr(p, '\0', size)) {
        for (const char *q = p; *q; q++) line += *q == '\n';
        return FC_FAIL(FC_ERR_FORMAT, "%s: line %d: a NUL byte", r->file, line);
    }
    if (size >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0) p += 3;
    for (; p < end; line++) {
        char *stop = memchr(p, '\n', (size_t)(end - p)), *next;
        if (!stop) stop = end; /* text ends in a NUL there */
        next = stop + 1;
        *stop = '\0';
        if (stop > p && stop[-1] == '\r') stop[-1] = '\0';
        if (*p && *p != '#') FC_TRY(add_line(r, p, line));
        p = next;
    }
    if (r->t->n == 0) return FC_FAIL(FC_ERR_FORMAT, "%s: no entries", r->file);
    return FC_OK;
}

/* Fills r->keys with the n ids or names in order; two that are equal are an error. */
static fc_status sort_keys(reader *r, bool ids) {
    const fc_taxonomy *t = r->t;
    for (int i = 0; i < t->n; i++) r->keys[i] = (key){.text = ids ? t->entries[i].id : r->names[i], .index = i};
    qsort(r->keys, (size_t)t->n, sizeof *r->keys, by_text);
    for (int i = 1; i < t->n; i++)
        if (by_text(&r->keys[i - 1], &r->keys[i]) == 0) {
            int a = t->entries[r->keys[i - 1].index].line, b = t->entries[r->keys[i].index].line;
            return FC_FAIL(FC_ERR_FORMAT, "%s: lines %d and %d have the same %s \"%.60s\"", r->file, a < b ? a : b,
                           a < b ? b : a, ids ? "id" : "name", r->keys[i].text);
        }
    return FC_OK;
}

static fc_status link_parents(reader *r) { /* keys are the ids */
    fc_taxonomy *t = r->t;
    int *seen; /* 1 + the entry from which the walk upwards first came by */
    void *p;
    fc_status st = FC_OK;
    for (int i = 0; i < t->n; i++) {
        const key wanted = {.text = r->parents[i]}, *found;
        if (!wanted.text) continue;
        found = bsearch(&wanted, r->keys, (size_t)t->n, sizeof *r->keys, by_text);
        if (!found)
            return FC_FAIL(FC_ERR_FORMAT, "%s: line %d: the parent id \"%.60s\" is no entry's id", r->file,
                           t->entries[i].line, wanted.text);
        t->entries[i].parent = found->index;
    }
    FC_TRY(fc_alloc((size_t)t->n, sizeof *seen, "taxonomy parents", &p));
    seen = p;
    for (int i = 0; i < t->n && !st; i++) {
        int k = i;
        for (; k >= 0 && !seen[k]; k = t->entries[k].parent) seen[k] = i + 1;
        if (k >= 0 && seen[k] == i + 1)
            st = FC_FAIL(FC_ERR_FORMAT, "%s: line %d: \"%.60s\" is its own ancestor", r->file, t->entries[k].line,
                         r->names[k]);
    }
    fc_free(seen);
    return st;
}

static fc_status build(reader *r, size_t size) {
    void *p;
    FC_TRY(read_lines(r, size));
    FC_TRY(fc_alloc((size_t)r->t->n, sizeof *r->keys, "taxonomy index", &p));
    r->keys = p;
    FC_TRY(fc_alloc((size_t)r->t->n, sizeof *r->t->by_name, "taxonomy index", &p));
    r->t->by_name = p;
    FC_TRY(sort_keys(r, true));
    FC_TRY(link_parents(r));
    FC_TRY(sort_keys(r, false));
    for (int i = 0; i < r->t->n; i++) r->t->by_name[i] = r->keys[i].index;
    FC_TRY(fc_alloc((size_t)r->t->n, sizeof *r->t->keywords, "taxonomy keywords", &p));
    r->t->keywords = p;
    for (int i = 0; i < r->t->n; i++)
        r->t->keywords[i] = r->t->entries[i].keywords[0] ? r->t->entries[i].keywords : NULL;
    return FC_OK;
}

fc_status fc_taxonomy_parse(const char *file, const char *text, size_t size, fc_taxonomy **out) {
    reader r = {.file = file};
    fc_status st;
    void *p;
    if (size > FILE_MAX) return FC_FAIL(FC_ERR_FORMAT, "%s: %zu bytes; at most %d are read", file, size, FILE_MAX);
    FC_TRY(fc_alloc(1, sizeof *r.t, "taxonomy", &p));
    r.t = p;
    st = fc_copy_bytes(text, size, "taxonomy", &r.t->text);
    if (!st) st = build(&r, size);
    r.t->names = r.names; /* the taxonomy's from here, also to be closed */
    r.t->parents = r.parents;
    fc_free(r.keys);
    if (st) {
        fc_taxonomy_close(r.t);
        return st;
    }
    *out = r.t;
    return FC_OK;
}

fc_status fc_taxonomy_open(const char *path, fc_taxonomy **out) {
    char *text;
    size_t size;
    fc_status st;
    FC_TRY(fc_file_read(path, FILE_MAX, &text, &size));
    st = fc_taxonomy_parse(path, text, size, out);
    fc_free(text);
    return st;
}

void fc_taxonomy_close(fc_taxonomy *t) {
    if (!t) return;
    fc_free(t->parents);
    fc_free(t->keywords);
    fc_free(t->by_name);
    fc_free(t->entries);
    fc_free((void *)(uintptr_t)t->names);
    fc_free(t->text);
    fc_free(t);
}

int fc_taxonomy_find(const fc_taxonomy *t, const char *name) {
    int low = 0, high = t->n - 1;
    while (low <= high) {
        int mid = low + (high - low) / 2, c = strcmp(name, t->names[t->by_name[mid]]);
        if (c == 0) return t->by_name[mid];
        if (c < 0) high = mid - 1;
        else low = mid + 1;
    }
    return -1;
}
