/* serve - one server: what is served, and what its parts share.
 *
 *   cmd_serve (serve.c)     configuration, sockets, signals, the loop
 *   load.c            recipe, keys and names; models and engine, on a thread of their own while /health says 503
 *   routes.c          which path is answered by what; admission before a body is read
 *   begin.c           a body goes to the reader, and comes back as requests of the engine,
 *   call.c            whose events become the answer
 *   read.c            in the reader's thread: parsing, admission, tokenising
 *   write.c           in the writer's thread: results to JSON
 *   ask.c             /tokenize and /detokenize, which the reader answers by itself
 *   work.c            what these threads are
 *   lookup.c          /v1/lookup: in the looker's thread a row of the table, else a request for what it lacks
 *   metrics.c         what is counted, and /metrics
 *   ui.c              the web page
 *   systemd.c         what the service manager is told
 *
 * Threads: the loop's has the sockets, and nothing that it does takes longer for a larger body or answer. The reader
 * has the recipe; the writer has an answer while it writes it; the looker has the table's file. Each works off a
 * bounded queue, one task after the other, and wakes the loop (work.h). The engine's events wake it, too
 * (fc_engine_notify), and it takes them without waiting.
 * A connection reads its next request when this one is answered, so answers are in order.
 *
 * Memory: the HTTP core's budget (http/budget.h), of max_memory, counts bodies, trees, claims of answers, and what is
 * unread. A body that finds no room is refused before it is read, one whose answer would find none before it is drawn.
 */
#ifndef FC_APP_SERVE_H
#define FC_APP_SERVE_H

#include "engine/app/http/http.h"
#include "engine/app/http/router.h"
#include "engine/app/openai/openai.h"
#include "engine/app/serve/config.h"
#include "engine/app/serve/metrics.h"
#include "engine/app/serve/work.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    SERVE_BUCKETS = 1024, /* of calls' requests by id: a power of 2 */
    SERVE_WRITINGS = 4096 /* events that wait for the writer */
};

typedef struct serve_early_event {
    struct serve_early_event *next;
    fc_event ev;
} serve_early_event;

typedef struct serve {
    serve_config c;
    http *h;
    http_router router, watch; /* watch: of the metrics port, */
    size_t watched;            /* which is the listeners from here on */
    http_keys *keys;           /* NULL: nobody is asked for one */
    serve_metrics metrics;

    /* of the loader's thread until `ready` */
    fc_recipe *recipe;
    fc_option_target set; /* what the engine's options point to */
    fc_engine *e;
    fc_tokenizer *tok[2];
    openai_model *models; /* [api.n_models] */
    openai_server api;
    const char *adapters[64]; /* [n_adapters] of the novelty model, in the engine's order */
    size_t n_adapters;
    pthread_t loader;
    bool loading;     /* the thread is to be joined */
    bool given_up;    /* it was to end while it loads */
    atomic_bool over; /* the thread has done what it could, or nobody waits for it */
    fc_status st;     /* how that went, */
    char why[1024];   /* and the sentence */

    struct serve_table *table;      /* lookup.c; NULL: none is served */
    openai_lookup lookup;           /* what it held at the look-up that is to be computed */
    const char *own[FC_TABLE_META]; /* what rows would be made with here, in a table's words; NULL: not compared */
    bool ready;
    struct serve_call *calls;                 /* all that are not forgotten */
    struct serve_job *buckets[SERVE_BUCKETS]; /* requests of calls, by id */
    serve_early_event *early, **early_end;    /* events of jobs that are not known yet, in order; */
    bool early_due;                           /* some may be known now */
    int n_calls;                              /* whose answer is open */
    serve_worker reader, writer, looker;      /* looker: runs where a table is served */
    atomic_int to_read;                       /* bodies whose requests are not counted yet; */
    atomic_int jobs;                          /* requests in the engine, */
    atomic_llong candidates;                  /* and what they draw: the reader adds */
    fc_str out;                               /* scratch of one event */
    http_timer watchdog;                      /* of systemd, and how often it wants to hear of us; 0: never */
    uint64_t watchdog_ns;
    int64_t seen_steps; /* of the engine, */
    uint64_t seen_ns;   /* and when they last rose, or nothing ran */
} serve;

/* load.c */
fc_status serve_prepare(serve *s); /* recipe, taxonomy, keys, names of hosts: what is quick, and wrong at once */
fc_status serve_check(serve *s);   /* then: what can be seen of models, adapters and addresses without taking them */
fc_status serve_address(const serve *s, int port, fc_str *out); /* with the host as one */
fc_status serve_load(serve *s);   /* begins to load; http_wake follows, then serve_loaded */
fc_status serve_loaded(serve *s); /* joins the loader where it is done; s->ready, or why not */
bool serve_give_up(serve *s); /* true: a loader is under way, which from now on wakes nobody, and is not to be joined */
void serve_hush(serve *s);    /* waits for a loader under way; from now on nobody wakes the loop */
void serve_unload(serve *s);  /* then; zeroed and half-built are fine */

/* routes.c */
bool serve_admit(serve *s, http_req *r); /* false: it is answered, 429; for those that need the engine */
bool serve_alive(serve *s);              /* the engine steps, or has nothing to do, and its device computes */
void serve_routes_init(serve *s);        /* s->router, s->watch */
void serve_on_head(void *self, http_req *r);
void serve_on_request(void *self, http_req *r);
void serve_on_end(void *self, const http_req *r, int status, double seconds);
fc_status serve_error_body(void *self, http_req *r, int status, const char *sentence, fc_str *out);
void serve_refuse(http_req *r, const openai_error *e);                   /* answers with it */
bool serve_worker_is_full(serve *s, const serve_worker *w, http_req *r); /* then r is refused */

/* systemd.c */
void serve_systemd_begin(serve *s); /* tells it how the server is, at once and as often as it wants to be told */
void serve_systemd_ready(serve *s);

/* begin.c */
void serve_call_begin(serve *s, http_req *r, openai_route route);
/* Of this body, which is copied; NULL: the request's own. */
void serve_call_begin_as(serve *s, http_req *r, openai_route route, const char *body, size_t size);

/* lookup.c */
fc_status serve_table_open(serve *s); /* s->table, where one is named */
void serve_table_close(serve *s);
fc_status serve_table_own(serve *s); /* s->own; while it is loaded */
void serve_table_compare(serve *s);  /* warns of a table whose rows were made with something else */
void serve_lookup(void *self, http_req *r, const char *rest);

/* ask.c; read.c: in the reader's thread. The bytes of *out are counted as an answer's. */
typedef fc_status (*serve_at_once)(openai_server *s, const char *body, size_t size, fc_str *out, openai_error *e);
void serve_ask(serve *s, http_req *r, serve_at_once work);
fc_status serve_read_at_once(serve *s, fc_str *body, serve_at_once work, fc_str *out, openai_error *e);

/* call.c */
void serve_events(serve *s);     /* takes what the engine has to say */
void serve_calls_fini(serve *s); /* forgets all; before the sockets are closed */

#endif
