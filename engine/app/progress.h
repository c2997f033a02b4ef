/* progress - one line on standard error, rewritten while long work goes on; nothing where standard error is no
 * terminal. */
#ifndef FC_APP_PROGRESS_H
#define FC_APP_PROGRESS_H

#include "engine/forkcast.h"

#include <stdbool.h>
#include <stdint.h>

/* Zeroed, then progress_begin. */
typedef struct {
    bool seen;  /* standard error is a terminal */
    int n;      /* candidates to come; set by the caller */
    bool given; /* they are given, so none is drawn; set by the caller */
    int tokens, drawn, scored, width, percent;
    uint64_t said_ns;
} progress;

void progress_begin(progress *p);
void progress_say(progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
fc_status progress_event(void *self, const fc_event *ev); /* self: a progress; counts it, and says so */
/* self: a progress. An fc_progress of the model tools. */
void progress_bytes(void *self, uint64_t done, uint64_t total);
/* "12 of 100 things, 3.4/s, 26 s left"; at most ten times a second. measured: of them, those since since_ns. */
void progress_rate(progress *p, const char *things, int64_t done, int64_t total, int64_t measured, uint64_t since_ns);
void progress_end(progress *p); /* takes the line away */

#endif
