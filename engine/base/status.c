#include "engine/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local char last_text[1024];

const char *fc_status_name(fc_status st) {
    switch (st) {
    case FC_OK: return "FC_OK";
    case FC_ERR_ARG: return "FC_ERR_ARG";
    case FC_ERR_FORMAT: return "FC_ERR_FORMAT";
    case FC_ERR_IO: return "FC_ERR_IO";
    case FC_ERR_MEM: return "FC_ERR_MEM";
    case FC_ERR_FULL: return "FC_ERR_FULL";
    case FC_ERR_UNSUPPORTED: return "FC_ERR_UNSUPPORTED";
    case FC_ERR_CANCELLED: return "FC_ERR_CANCELLED";
    case FC_ERR_TIMEOUT: return "FC_ERR_TIMEOUT";
    case FC_ERR_INTERNAL: return "FC_ERR_INTERNAL";
    }
    return "unknown status";
}

const char *fc_status_text(void) { return last_text; }

void fc_status_record(const char *fmt, ...) {
    char text[sizeof last_text]; /* apart: an argument may be fc_status_text() itself */
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    snprintf(last_text, sizeof last_text, "%s", text);
}

void fc_assert_failed(const char *file, int line, const char *cond) {
    fprintf(stderr, "forkcast: bug at %s:%d: %s does not hold\n", file, line, cond);
    abort();
}
