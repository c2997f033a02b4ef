/* conn - the insides of a server, for the files of this folder only: connections, requests, and what they share.
 * conn.c: their states and what is read; out.c: what is written, and who takes too little of it; room.c: who gives way.
 *
 *                   first byte        head            body            answered and written
 *   accepted --> IDLE ----------> HEAD ----------> BODY ----------> BUSY ----------------------> IDLE
 *                                   \______________/ \__ refused __^ |
 *                                                                    +-- the last answer --> LINGER --> closed
 *
 * Invariants, of conn_check():
 *   (1) a connection has a request if and only if it is in HEAD, BODY or BUSY;
 *   (2) a spare connection is in the list of those; of the others IDLE is in the idle list, oldest first, HEAD and BODY
 *       in the list of senders, by when their request began, the rest in the busy list;
 *   (3) only IDLE, HEAD, BODY and LINGER read; bytes behind a request under way wait in `in`, at most one read of them;
 *   (4) the budget counts all requests' bodies, those that were taken too, and all that is to be written here.
 */
#ifndef FC_APP_HTTP_CONN_H
#define FC_APP_HTTP_CONN_H

#include "engine/app/http/http.h"
#include "engine/app/http/listen.h"
#include "engine/app/http/log.h"
#include "engine/app/http/msg.h"

#include <stdatomic.h>

enum { HTTP_READ = 16 * 1024, HTTP_ID_MAX = 128 };

typedef enum { CONN_IDLE, CONN_HEAD, CONN_BODY, CONN_BUSY, CONN_LINGER } conn_state;

typedef struct http_conn {
    http_fd io;
    http *h;
    http_timer timer;
    struct http_conn *prev, *next;
    struct http_list *list; /* that it is in */
    struct http_conn *next_ready;
    http_req *req;
    fc_str out, tail, behind; /* to be written: out from out_at on, then tail from tail_at on, then behind */
    size_t out_at, tail_at;
    size_t released;        /* of tail's memory, from its begin on */
    size_t counted;         /* of the three, in the budget */
    uint64_t sent;          /* bytes that the system has taken */
    uint64_t mark;          /* of them, what the client had taken at since_ns; while it waits */
    uint64_t queued, queue; /* of a Unix socket: of them not taken when that was looked at, and the memory they took */
    char *in;               /* [in_size], from in_at on to be read */
    size_t in_at, in_size;
    uint64_t since_ns; /* of the state; of BUSY: from when on what the client takes is looked at */
    conn_state state;
    uint8_t listener;
    bool waits;    /* bytes wait for the client */
    bool spare;    /* above the cap */
    bool half;     /* the client sends no more */
    bool closing;  /* after this answer */
    bool ready;    /* on the list of those to be settled */
    bool local;    /* a Unix socket */
    bool loopback; /* came in by an address of the machine's own */
    char peer[64];
} http_conn;

typedef struct http_list {
    http_conn *first, *last;
} http_list;

enum { LIST_IDLE, LIST_SENDERS, LIST_BUSY, LIST_SPARE, LISTS };

typedef struct http_door { /* a listener, waited for */
    http_fd io;
    http *h;
    size_t listener;
} http_door;

struct http_req {
    http_conn *c;
    http_msg msg;
    const http_watcher *watcher;
    void *watcher_self, *user;
    const void *route; /* router.c's */
    size_t counted;    /* of the body, in the budget */
    enum { REQ_OPEN, REQ_STREAM, REQ_ENDED } at;
    int status;   /* 0: none yet */
    bool starved; /* a write was refused */
    bool chunked; /* the stream */
    bool cut;     /* not whole */
    bool quiet, quick, late, gone;
    uint64_t began_ns, bytes_out;
    fc_str fields, note;
    char id[HTTP_ID_MAX + 1];
};

struct http {
    http_options o; /* defaults filled in */
    http_limits limits;
    http_loop *loop;
    http_log *log;
    http_listener listeners[HTTP_LISTENERS_MAX];
    http_door doors[HTTP_LISTENERS_MAX];
    size_t n_listeners, last_listen;
    http_timer accept_again, drain;
    http_list lists[LISTS];
    int n_spare;
    http_conn *ready, *dead;
    enum { HTTP_RUNS, HTTP_LEAVES, HTTP_DRAINS, HTTP_ENDS } state;
    atomic_int stops; /* calls of http_stop */
    int stops_seen;
    http_counts counts;
    http_budget memory;
    uint64_t id_key[2], n_ids; /* of the ids made here */
    int64_t date_s;            /* of date */
    char date[32];
    char scratch[HTTP_READ];
};

/* conn.c */
void conn_open(http *h, size_t listener, int fd, const char *peer, bool loopback);
void conn_settle(http_conn *c); /* writes, ends, goes on; at the end of a turn */
void conn_ready(http_conn *c);  /* asks for that */
void conn_close(http_conn *c, http_why why);
void conn_closing(http_conn *c); /* HTTP_CLOSING to its request, or closes it */
void conn_arm(http_conn *c);     /* what it waits for, after a change */
void conn_free_dead(http *h);
void conn_refuse(http_conn *c, int status, const char *why); /* its request, and is closed; it may have none yet */
void conn_check(const http *h);

/* out.c */
size_t conn_pending(const http_conn *c); /* bytes to be written */
bool conn_may_write(const http_conn *c); /* a stream that was refused may go on */
bool conn_flush(http_conn *c);           /* some of them; false where the connection is broken */
bool conn_reads(http_conn *c);           /* the client took enough since since_ns, and is looked at anew */
void conn_count(http_conn *c);           /* in the budget, after any change of what is to be written */
void conn_drop_output(http_conn *c);

/* room.c */
bool conn_make_room(http *h);                           /* for one more: somebody gave way, or there is room */
bool conn_make_memory(const http_conn *c, size_t size); /* for its body: somebody slow gave way, who had one */
void conn_be_spare(http_conn *c);                       /* one that there was no room for */
void conn_list(http_conn *c);                           /* puts it in the list of its state */
void conn_unlist(http_conn *c);
uint64_t conn_spare_due(const http_conn *c);
void conn_turn_away(http_conn *c);

/* answer.c */
void answer_raw(http_req *r, int status, const char *sentence); /* where no handler has a say */
void req_log(http_req *r);
void req_free(http_req *r);
const char *http_date(http *h);

#endif
