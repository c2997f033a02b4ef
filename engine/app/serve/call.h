/* call - a body under way; for begin.c and call.c.
 *
 *   begin --submit--> [jobs in the engine] --events--> answered --> forgotten when its last job has ended
 *                          |                             ^
 *                          +-- client, deadline, end ----+   jobs are cancelled, their events dropped
 *
 * A call outlives its answer until the engine has let go of its jobs.
 */
#ifndef FC_APP_SERVE_CALL_H
#define FC_APP_SERVE_CALL_H

#include "engine/app/serve/serve.h"

typedef struct serve_job { /* one of the engine's requests */
    uint64_t id;           /* 0: it has ended */
    struct serve_call *call;
    struct serve_job *next; /* in its bucket */
    uint64_t *drawn_ns;     /* [n_drawn] each candidate's last token, where tokens are told as they are drawn */
    size_t n_drawn;
} serve_job;

typedef struct serve_call {
    struct serve_call *prev, *next;
    serve *s;
    http_req *r; /* NULL: answered, or given up */
    openai_answer *answer;
    serve_job *jobs; /* [n] by place in the call */
    size_t n, left;  /* left: in the engine */
    bool began;      /* a stream whose head is written */
    bool whole;      /* all bytes are known */
    fc_str held;     /* those that were not taken */
    uint64_t submitted_ns, written_ns;
    http_timer ping, deadline;
    int64_t prompt_tokens, drawn, rows; /* of jobs that ended, for the log */
} serve_call;

extern const http_watcher serve_call_watcher;
void serve_call_silent(http_timer *t);      /* a call's ping */
void serve_call_out_of_time(http_timer *t); /* its deadline */
void serve_job_insert(serve *s, serve_job *j);
/* Ends the answer with an error: of its own, or the stream's last event behind what waits to be read. c may be gone. */
void serve_call_end(serve_call *c, const openai_error *e);

#endif
