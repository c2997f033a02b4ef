/* print - the best-of-n record as JSON and as a table. The JSON's names are used by HTTP, bulk and bench too. */
#ifndef FC_APP_PRINT_H
#define FC_APP_PRINT_H

#include "engine/base/str.h"
#include "engine/forkcast.h"

typedef struct {
    const char *prompt; /* as text */
    size_t prompt_size;
    bool all; /* also all_candidates */
} print_options;

fc_status print_json(const fc_result *r, const print_options *o, fc_str *out);
fc_status print_table(const fc_result *r, fc_str *out);

/* text with control characters written as \n, \t, \xNN and a backslash as \\; at most `columns` characters, 0: all. */
fc_status print_escaped(const char *text, size_t size, size_t columns, fc_str *out);

/* Pieces for JSON writers: ,"key":value after the first. */
typedef struct {
    fc_str *out;
    bool some;
} json_object;
fc_status json_key(json_object *o, const char *key);
fc_status json_text(json_object *o, const char *key, const char *text, size_t size);
fc_status json_number(json_object *o, const char *key, double v);
fc_status json_int(json_object *o, const char *key, int64_t v);
fc_status json_ids(json_object *o, const char *key, const int32_t *ids, size_t n);
fc_status print_confidence(json_object *o, const fc_confidence *c); /* "confidence":{..} */

#endif
