/* call - a body under way; for begin.c, read.c, call.c and write.c.
 *
 *   begin --> [reader] --read--> [jobs in the engine] --events--> answered --> forgotten when nobody has it any more:
 *                |                 |          ^    |                 ^         reader, engine, writer
 *                |                 |          |    +--> [writer] ----+
 *                +-----------------+-- client, deadline, end --------+         jobs are cancelled, their events dropped
 *
 * A call is the loop's thread's, but what is said to be the writer's. The reader has a serve_reading of its own. What
 * is small is written in the loop, from events of tokens, candidates and scores; a request's result, and what comes
 * while the writer has one, is the writer's, in order.
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
    int64_t candidates; /* that it counts for */
} serve_job;

typedef struct serve_call {
    serve_task end; /* for the writer to let go of its answer */
    struct serve_call *prev, *next;
    serve *s;
    http_req *r;           /* NULL: answered, or given up, */
    atomic_bool gone;      /* which the threads see here */
    bool reading;          /* the reader has its body */
    int writing;           /* events that the writer has */
    openai_answer *answer; /* NULL while it is read; the writer's while `writing` */
    size_t claim;          /* of the budget's answers; likewise */
    bool broken;           /* an event could not be written; the writer's */
    serve_job *jobs;       /* [n] by place in the call */
    size_t n, left;        /* left: in the engine */
    bool began;            /* a stream whose head is written */
    bool whole;            /* all bytes are known */
    fc_str held;           /* those that were not taken */
    size_t counted;        /* of it, in the budget */
    uint64_t submitted_ns, written_ns;
    http_timer ping, deadline;
    int64_t prompt_tokens, drawn, rows; /* of jobs that ended, for the log */
} serve_call;

/* A body at the reader. */
typedef struct serve_reading {
    serve_task task;
    serve_call *call;
    openai_route route;
    fc_str body, key; /* key: of who asks, "" without */
    char id[160];
    int priority;
    openai_context x;
    bool read; /* it is no more one of those to be read */
    /* what it becomes */
    fc_status st;
    openai_error e;
    openai_answer *answer;
    serve_job *jobs; /* [n] those that are submitted have an id */
    size_t n, claim;
    uint64_t submitted_ns;
} serve_reading;

void serve_read(serve_task *t); /* read.c: in the reader's thread */
/* Frees bytes that the budget counts as bodies. */
void serve_drop_body(serve *s, fc_str *body);

/* call.c */
extern const http_watcher serve_call_watcher;
void serve_call_silent(http_timer *t);      /* a call's ping */
void serve_call_out_of_time(http_timer *t); /* its deadline */
void serve_job_insert(serve *s, serve_job *j);
void serve_job_drop(serve *s, serve_job *j); /* it counts no more */
/* Ends the answer with an error: of its own, or the stream's last event behind what waits to be read. c may be gone. */
void serve_call_end(serve_call *c, const openai_error *e);
void serve_call_fail(serve_call *c, const openai_error *e); /* the same, and what it asked for has failed */
/* Bytes of the answer, that may be taken out of *bytes; whole: the last ones. c may be gone. */
void serve_call_bytes(serve_call *c, fc_str *bytes, bool whole);
void serve_call_settle(serve_call *c); /* forgets it where nobody has it any more */

/* write.c: ev is the writer's, and with it the answer until it is back. What nobody waits for is let go of there. */
fc_status serve_write(serve_call *c, size_t at, fc_event *ev);

#endif
