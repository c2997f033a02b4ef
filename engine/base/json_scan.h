/* json_scan - the check of a JSON text (RFC 8259) before cJSON sees it, for json.c only.
 *
 * cJSON takes leading zeros, raw control characters, 64-character numbers and bad UTF-8 as they come, and cuts a string
 * at \u0000. After this scan none of that is left, so that building the tree can fail for want of memory only.
 */
#ifndef FC_BASE_JSON_SCAN_H
#define FC_BASE_JSON_SCAN_H

#include "engine/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FC_JSON_DEPTH = 32 };

/* A whole number of 16 digits or more, whose double may have lost its low bits. */
typedef struct {
    size_t value; /* which value of the document: 0 is the root, children follow their parent in order */
    uint64_t magnitude;
    bool negative;
} fc_json_wide;

typedef struct {
    size_t values;      /* in the document */
    fc_json_wide *wide; /* [n_wide] by value; whole numbers that fit in 64 bits only. fc_free */
    size_t n_wide;
} fc_json_census;

/* On success *out is owned by the caller; errors say name, line and column. */
fc_status fc_json_scan(const char *name, const char *text, size_t size, fc_json_census *out);

#endif
