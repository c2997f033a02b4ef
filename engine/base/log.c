#include "engine/base/log.h"

#include <stdarg.h>
#include <stdio.h>

void fc_log(fc_log_level level, const char *fmt, ...) {
    static const char *const names[] = {"error", "warning"};
    char line[1024]; /* one write per line, so that threads do not mix theirs */
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(line, sizeof line, fmt, ap) < 0) line[0] = '\0';
    va_end(ap);
    fprintf(stderr, "forkcast: %s: %s\n", names[level], line);
}
