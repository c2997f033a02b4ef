/* print_row - a row of a table as JSON: what `table export`, `table lookup` and /v1/lookup show. */
#ifndef FC_APP_PRINT_ROW_H
#define FC_APP_PRINT_ROW_H

#include "engine/app/print.h"
#include "engine/table.h"

/* "key":..,"seed":..,"n":..,"candidates":[..],"confidence":{..} as members of o. histories: the key is a list. */
fc_status print_row(const fc_table_row *r, bool histories, json_object *o);
/* The same of an answer that no table holds. */
fc_status print_row_live(const char *key, bool histories, uint64_t seed, const fc_result *r, json_object *o);

#endif
