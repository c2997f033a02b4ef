#include "engine/app/progress.h"

#include "engine/base/os.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void progress_begin(progress *p) { *p = (progress){.seen = isatty(STDERR_FILENO) == 1, .percent = -1}; }

void progress_say(progress *p, const char *fmt, ...) {
    char line[160];
    va_list ap;
    int n;
    if (!p->seen) return;
    va_start(ap, fmt);
    n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    fprintf(stderr, "\r%-*s", p->width, line); /* blanks over what a longer line left */
    p->width = n < (int)sizeof line ? n : (int)sizeof line - 1;
    p->said_ns = fc_clock_ns();
}

fc_status progress_event(void *self, const fc_event *ev) {
    const uint64_t often = 100000000; /* ns between two lines that only tokens have changed */
    progress *p = self;
    p->tokens += ev->type == FC_EVENT_TOKEN;
    p->drawn += ev->type == FC_EVENT_CANDIDATE;
    p->scored += ev->type == FC_EVENT_SCORE;
    if (ev->type == FC_EVENT_TOKEN && fc_clock_ns() - p->said_ns < often) return FC_OK;
    if (p->given) progress_say(p, "%d of %d candidates scored", p->scored, p->n);
    else if (p->n == 1) progress_say(p, "%d token%s drawn", p->tokens, p->tokens == 1 ? "" : "s");
    else progress_say(p, "%d of %d candidates drawn, %d scored, %d tokens", p->drawn, p->n, p->scored, p->tokens);
    return FC_OK;
}

void progress_bytes(void *self, uint64_t done, uint64_t total) {
    progress *p = self;
    int percent = total ? (int)(100.0 * (double)done / (double)total) : 100;
    if (percent == p->percent) return;
    p->percent = percent;
    progress_say(p, "%3d %% of %.0f MB", percent, (double)total * 1e-6);
}

void progress_rate(progress *p, const char *things, int64_t done, int64_t total, int64_t measured, uint64_t since_ns) {
    const uint64_t often = 100000000, now = fc_clock_ns();
    double seconds = (double)(now - since_ns) * 1e-9, rate, left;
    if (!p->seen || now - p->said_ns < often) return;
    if (measured <= 0 || seconds <= 0) {
        progress_say(p, "%lld of %lld %s", (long long)done, (long long)total, things);
        return;
    }
    rate = (double)measured / seconds;
    left = (double)(total - done) / rate;
    if (left < 120)
        progress_say(p, "%lld of %lld %s, %.1f/s, %.0f s left", (long long)done, (long long)total, things, rate, left);
    else
        progress_say(p, "%lld of %lld %s, %.1f/s, %.0f h %02d min left", (long long)done, (long long)total, things,
                     rate, floor(left / 3600), (int)fmod(left / 60, 60));
}

void progress_end(progress *p) {
    if (p->seen && p->width) fprintf(stderr, "\r%*s\r", p->width, "");
    p->width = 0;
}
