/* systemd - what the service manager is told (sd_notify): how the server is, and with WatchdogSec that it lives. The
 * loop says so itself, and only while the engine steps or has nothing to do: one that hangs is started anew.
 */
#include "engine/app/serve/serve.h"

#include "engine/app/http/listen.h"
#include "engine/base/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* first: "READY=1\n", "WATCHDOG=1\n", or nothing. */
static void tell(serve *s, const char *first) {
    char text[160];
    const http_counts n = http_count(s->h);
    if (!s->ready)
        snprintf(text, sizeof text, "%sSTATUS=%s", first, http_stopping(s->h) ? "ending" : "loading the models");
    else
        snprintf(text, sizeof text, "%sSTATUS=%s; %d requests, %d connections", first,
                 http_stopping(s->h) ? "ending" : "serving", s->jobs, n.connections);
    http_notify(text);
}

static void still_there(http_timer *t) {
    serve *s = t->self;
    if (serve_alive(s)) tell(s, "WATCHDOG=1\n");
    /* without memory for a timer it is silent, and started anew */
    (void)http_timer_set(http_timers(s->h), t, fc_clock_ns() + s->watchdog_ns);
}

/* Half of the time that it waits; 0: it does not, or for somebody else. */
static uint64_t period(void) {
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    char *end;
    unsigned long long v;
    if (!usec || *usec < '0' || *usec > '9' || (pid && strtol(pid, NULL, 10) != (long)getpid())) return 0;
    v = strtoull(usec, &end, 10);
    return *end || v > UINT64_MAX / 1000 ? 0 : v * 500;
}

void serve_systemd_begin(serve *s) {
    s->watchdog_ns = period();
    s->watchdog = (http_timer){.fire = still_there, .self = s};
    tell(s, "");
    if (s->watchdog_ns) still_there(&s->watchdog);
}

void serve_systemd_ready(serve *s) { tell(s, "READY=1\n"); }
