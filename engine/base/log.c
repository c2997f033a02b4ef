#include "engine/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_int most_shown = FC_LOG_WARN;

void fc_log_set(fc_log_level most) { atomic_store(&most_shown, (int)most); }

void fc_log(fc_log_level level, const char *fmt, ...) {
    static const char *const names[] = {"error", "warning", "info", "debug"};
    char line[1024]; /* one write per line, so that threads do not mix theirs */
    va_list ap;
    if ((int)level > atomic_load(&most_shown)) return;
    va_start(ap, fmt);
    if (vsnprintf(line, sizeof line, fmt, ap) < 0) line[0] = '\0';
    va_end(ap);
    fprintf(stderr, "forkcast: %s: %s\n", names[level], line);
}
