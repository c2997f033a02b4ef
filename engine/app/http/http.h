/* http - HTTP/1.1 on sockets, in one thread: listeners, connections, requests and their answers. It knows nothing of
 * what is asked.
 *
 * Every call is the loop's own thread's, from within a callback or before http_run, but http_wake and http_stop. Bytes
 * leave when the callbacks of a turn are over.
 *
 *   on_head      once for each request whose head is in order, before its body is read: answer here to refuse early
 *   on_request   once, with the whole body, where on_head has not answered. Answer it now, or http_watch it and answer
 *                later; a request that is neither is answered 500
 *   on_wake      after http_wake: what other threads have made is taken up here
 *
 *               on_head --answer--> +
 *   request --> on_request -------> | http_answer or http_fail  ----------------> ended
 *                     |             | http_begin, http_write ..., http_end -----> ended
 *                     +-- watched --> later: the same, or
 *                                     on_cancel (who asked has gone, or the server closes) ----> ended
 *
 * An ended request is not touched again. What is read from one (path, headers, body) lives until it ends.
 *
 * Memory is bounded: a connection without a request is a few hundred bytes; heads and bodies have caps; bodies, and
 * what clients have not taken yet, count in one budget (budget.h), and where it is full a body is refused before it is
 * read, 503, unless a slow sender can give way. A stream takes pieces until `buffer` bytes wait, then http_write says
 * FC_ERR_FULL and on_writable follows. A client that takes less than read_rate for stall_ms is cut.
 *
 * Connections are bounded, too. Where they are too many, one without a request gives way to who comes, then the one
 * that has been sending its request for longest; where there is none, who comes is one of a few spare ones: it has a
 * second, and is answered once if it asks for something quick (http_quick), else 503.
 */
#ifndef FC_APP_HTTP_H
#define FC_APP_HTTP_H

#include "engine/app/http/budget.h"
#include "engine/app/http/loop.h"
#include "engine/base/status.h"
#include "engine/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct http http;         /* a server */
typedef struct http_req http_req; /* a request and its answer */

typedef enum {
    HTTP_GONE,   /* the client has closed, or reads no more */
    HTTP_CLOSING /* the server ends, and waits no longer: a last word may still be written, and the answer ended */
} http_why;

typedef struct {
    void (*on_cancel)(void *self, http_req *r, http_why why); /* needed; r is ended when it returns */
    void (*on_writable)(void *self, http_req *r);             /* after FC_ERR_FULL; NULL: not wanted */
} http_watcher;

/* Zero is a default; times are milliseconds. */
typedef struct {
    const char *const *listen; /* [n_listen] "127.0.0.1:8000", "[::1]:0", "unix:/run/forkcast.sock" */
    size_t n_listen;
    unsigned unix_mode;        /* 0660 */
    bool inherit;              /* also the sockets that systemd passes */
    const char *const *hosts;  /* [n_hosts] names, besides its own, that a request over loopback may ask for; "*" all */
    size_t n_hosts;            /* (a page of another name that resolves to 127.0.0.1 is kept out: DNS rebinding) */
    int connections;           /* 4096 */
    size_t head, target, body; /* 32 KiB, 8 KiB, 4 MiB of one request */
    size_t memory;             /* 256 MiB: the budget */
    size_t buffer;             /* 256 KiB that wait to be written of one answer */
    int head_ms, body_ms;      /* 10 s, 60 s for a head and a body to arrive; */
    int body_rate;             /* 512 bytes/s, after the first 10 s */
    int idle_ms, stall_ms;     /* 60 s between requests; 60 s in which a client that is written to takes too little: */
    int read_rate;             /* less than so many bytes/s; 0: nothing */
    int drain_delay_ms;        /* 0: how long after http_stop connections are still accepted */
    int drain_ms;              /* 15 s from then on for requests under way */
    bool no_log;               /* else an access log, JSON lines, */
    int log_fd;                /* to standard error */
    void (*on_head)(void *self, http_req *r); /* NULL: not wanted */
    void (*on_request)(void *self, http_req *r);
    void (*on_wake)(void *self); /* NULL: not wanted */
    /* The JSON body of an answer that is no success; NULL: the sentence as text. */
    fc_status (*error_body)(void *self, http_req *r, int status, const char *sentence, fc_str *out);
    /* Once for each request, when its answer is written or nobody waits for it: status 499. NULL: not wanted. */
    void (*on_end)(void *self, const http_req *r, int status, double seconds);
    void *self;
} http_options;

typedef struct {
    uint64_t accepted, turned_away; /* connections; turned away: too many */
    uint64_t gave_way;              /* that were sending slowly, while there were too many */
    uint64_t no_room;               /* bodies refused for want of memory */
    uint64_t too_slow;              /* clients cut that took too little */
    uint64_t requests;              /* answered, refused or cancelled */
    uint64_t cancelled;             /* of them: the client went before its answer was whole */
    uint64_t bytes_in, bytes_out;
    int connections, active; /* now; active: with a request */
} http_counts;

/* Listens; nothing is accepted before http_run. Strings of the options outlive the server. */
fc_status http_open(const http_options *o, http **out);
void http_close(http *h); /* NULL is fine; requests under way are cancelled */
/* Until it has been stopped and the last connection is closed. */
fc_status http_run(http *h);
/* One turn of it, of at most wait_ms (-1: until something happens). *over: nothing is left to do. */
fc_status http_turn(http *h, int wait_ms, bool *over);

size_t http_n_addresses(const http *h);
size_t http_last_listen(const http *h);            /* the first address that the last of `listen` has become */
const char *http_address(const http *h, size_t i); /* "127.0.0.1:43211": with the port that a 0 has become */
http_counts http_count(const http *h);
http_loop *http_timers(http *h);   /* for http_timer_set */
http_budget *http_memory(http *h); /* any thread */

void http_wake(http *h); /* any thread, any signal handler */
/* Ends the server, from any thread and any signal handler: drain_delay_ms in which all goes on, then no more
 * connections, drain_ms for what is under way, then HTTP_CLOSING. Called again: HTTP_CLOSING at once. */
void http_stop(http *h);
bool http_stopping(const http *h); /* for /health */

/* What was asked. All strings end in NUL, and none is NULL unless it is said. */
const char *http_method(const http_req *r);
const char *http_path(const http_req *r);                     /* as it came, percent escapes and all */
const char *http_query(const http_req *r);                    /* behind the '?', as it came */
const char *http_header(const http_req *r, const char *name); /* NULL: absent. Case does not matter */
const char *http_body(const http_req *r, size_t *size);       /* a NUL stands behind it */
/* The body is the caller's now, who frees it and gives its `cap` back to the budget, from any thread. */
void http_take_body(http_req *r, fc_str *out);
const char *http_peer(const http_req *r);   /* "127.0.0.1:50112", "unix" */
size_t http_listener_of(const http_req *r); /* which address it came in by */
const char *http_id(const http_req *r);     /* x-request-id as it came, if sane; or an own one */
uint64_t http_began_ns(const http_req *r);  /* when its first byte came */
http *http_server(const http_req *r);
uint64_t http_announced(const http_req *r);  /* of the body, in on_head: Content-Length or 0 */
void http_set_user(http_req *r, void *user); /* a pointer of the layer above */
void *http_user(const http_req *r);

bool http_answered(const http_req *r); /* or begun to be */

/* The answer. A field's value that holds control characters is FC_ERR_ARG. */
fc_status http_field(http_req *r, const char *name, const char *value);
/* type: NULL where there is no body. Copies the body; the request is ended. */
void http_answer(http_req *r, int status, const char *type, const void *body, size_t size);
void http_answer_own(http_req *r, int status, const char *type, fc_str *body); /* the same; takes it, uncopied */
void http_fail(http_req *r, int status, const char *sentence);                 /* with the body of error_body */
/* A stream, chunked. */
void http_begin(http_req *r, int status, const char *type);
fc_status http_write(http_req *r, const void *piece, size_t size); /* FC_ERR_FULL: nothing was taken */
fc_status http_write_own(http_req *r, fc_str *piece);              /* the same; FC_OK: it is taken, uncopied */
void http_end(http_req *r);
void http_cut(http_req *r); /* ends it so that the client sees it was not whole */
/* Who is told while it is not ended. w outlives it. */
void http_watch(http_req *r, const http_watcher *w, void *self);

/* In on_head: it is answered at once, and so even where connections are too many. */
void http_quick(http_req *r);

/* For the access log. */
void http_quiet(http_req *r);                     /* no line, unless it fails */
void http_note(http_req *r, const char *members); /* JSON members to add: "\"n\":16,\"rows\":123" */

#endif
