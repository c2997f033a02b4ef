/* lines - files of JSON objects, one a line: prompts, retrieved lines, test transitions.
 *
 *   prompts      {"key": "k1", "prompt": "..."}  or  {"key": .., "history": ["A", "B"], "retrieved": "..."}
 *   retrieved    {"key": ["A", "B"], "text": "..."}    the key of a history as its names
 *   transitions  {"key": ["A", "B"], "next": "C"}
 *
 * Empty lines are skipped; an unknown member is an error. A key is a text or a list of names. Sentences name the file
 * and the line.
 */
#ifndef FC_APP_BULK_LINES_H
#define FC_APP_BULK_LINES_H

#include "engine/base/json.h"
#include "engine/base/os.h"

typedef struct {
    const char *path;
    fc_map map;
    size_t at;
    int64_t line;
    fc_str name; /* "pairs.jsonl line 7" */
    fc_json_doc *doc;
} lines;

/* Zeroed, then lines_open; lines_close takes half-built. */
fc_status lines_open(lines *l, const char *path);
void lines_close(lines *l);
/* The next object, borrowed until the next call; *root NULL: there is none. known: its members, ends in NULL. */
fc_status lines_next(lines *l, const char *const *known, const fc_json **root);

/* The key of an object, appended to out; set: as of fc_table_key. */
fc_status lines_key(const fc_json *root, bool set, fc_str *out);
/* A text that must be there, borrowed. */
fc_status lines_text(const fc_json *root, const char *member, const char **out);

/* ---- texts by key: the retrieved lines ---- */

typedef struct {
    char *all; /* keys and texts, each with its NUL */
    struct lines_pair {
        const char *key, *text;
    } * pairs; /* [n] by key */
    size_t n;
    uint64_t fingerprint; /* of all */
} lines_map;

fc_status lines_map_open(lines_map *m, const char *path, bool set);
const char *lines_map_find(const lines_map *m, const char *key); /* NULL: it has none */
void lines_map_close(lines_map *m);

#endif
