/* json - a strict reader over cJSON: the only file that sees cJSON is json.c.
 *
 * Refused with line, column or key in the sentence: invalid UTF-8, a NUL or \u0000, depth over 32, duplicate
 * keys in one object, trailing text, leading zeros, numbers that are not finite. Integers are read from the
 * number's raw text where 64 bits matter. Nodes are borrowed from the document.
 */
#ifndef FC_BASE_JSON_H
#define FC_BASE_JSON_H

#include "engine/base/status.h"
#include "engine/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fc_json_doc fc_json_doc;
typedef struct fc_json fc_json; /* a borrowed node */

/* name appears in errors (a path, or "request"). text need not end in NUL. */
fc_status fc_json_parse(const char *name, const char *text, size_t size, fc_json_doc **out);
fc_status fc_json_open(const char *path, size_t max_bytes, fc_json_doc **out);
void fc_json_close(fc_json_doc *d); /* NULL is fine */
const fc_json *fc_json_root(const fc_json_doc *d);

typedef enum { FC_JSON_NULL, FC_JSON_BOOL, FC_JSON_NUMBER, FC_JSON_STRING, FC_JSON_ARRAY, FC_JSON_OBJECT } fc_json_type;
fc_json_type fc_json_kind(const fc_json *n);
const char *fc_json_kind_name(fc_json_type t); /* "object" */

const fc_json *fc_json_get(const fc_json *object, const char *key); /* NULL when absent or not an object */
const fc_json *fc_json_first(const fc_json *n);                     /* first child of array or object, or NULL */
const fc_json *fc_json_next(const fc_json *n);                      /* sibling, or NULL: O(1) iteration */
size_t fc_json_count(const fc_json *n);                             /* children */
const char *fc_json_key(const fc_json *n);                          /* key inside its object, "" in an array */

/* Fails with "document: path of the node: sentence"; for rules that a reader of the document adds. */
fc_status fc_json_fail(const fc_json *n, fc_status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The value of a node, by type; FC_ERR_FORMAT names document and key otherwise. */
fc_status fc_json_string(const fc_json *n, const char **out);
fc_status fc_json_bool(const fc_json *n, bool *out);
fc_status fc_json_double(const fc_json *n, double *out);
fc_status fc_json_int(const fc_json *n, int64_t min, int64_t max, int64_t *out); /* a whole number in range */
fc_status fc_json_uint64(const fc_json *n, uint64_t *out);                       /* all 64 bits */

/* Writing: text is appended to an fc_str. Strings are escaped; invalid UTF-8 becomes U+FFFD. */
fc_status fc_json_put_string(fc_str *s, const char *text, size_t size); /* with quotes */
fc_status fc_json_put_double(fc_str *s, double v);                      /* %.9g; NaN is null, infinities are +-9999.0 */

#endif
