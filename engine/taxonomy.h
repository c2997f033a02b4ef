/* taxonomy - the closed set of names that a candidate may be one of, read from a table.
 *
 * One line an entry, columns apart by tabs: id, name, keywords separated by ", " (may be empty), optional parent id.
 * Lines that begin with # are comments, empty lines are skipped, a first line of titles is refused; CRLF and a byte
 * order mark are taken. Ids and names are unique, UTF-8, without control characters or blanks at their ends; parents
 * exist, in any order, and form no cycle.
 */
#ifndef FC_ENGINE_TAXONOMY_H
#define FC_ENGINE_TAXONOMY_H

#include "engine/base/status.h"

#include <stddef.h>

typedef struct {
    const char *id, *keywords; /* keywords "" when there are none */
    int parent;                /* index, -1 for none */
    int line;                  /* in the file, for messages */
} fc_taxonomy_entry;

typedef struct fc_taxonomy {
    int n;                      /* >= 1 */
    const char *const *names;   /* [n] in the file's order */
    const char **keywords;      /* [n] as in entries; NULL where there are none */
    const char **parents;       /* [n] the parent's id, or NULL */
    fc_taxonomy_entry *entries; /* [n] */
    int *by_name;               /* [n] indices in order of strcmp */
    char *text;                 /* all strings point into it */
} fc_taxonomy;

/* Errors are FC_ERR_FORMAT and name the file and line. Caller closes. */
fc_status fc_taxonomy_parse(const char *file, const char *text, size_t size, fc_taxonomy **out);
fc_status fc_taxonomy_open(const char *path, fc_taxonomy **out);
void fc_taxonomy_close(fc_taxonomy *t); /* NULL is fine */

/* Index of the entry of exactly this name, or -1. O(log n). */
int fc_taxonomy_find(const fc_taxonomy *t, const char *name);

#endif
