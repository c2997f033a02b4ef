/* serve - one server: what is served, and what its parts share. All of it is the loop's thread's, but while it loads.
 *
 *   cmd_serve (serve.c)     configuration, sockets, signals, the loop
 *   load.c            recipe, keys and names; models and engine, on a thread of their own while /health says 503
 *   routes.c          which path is answered by what; admission before a body is read
 *   begin.c           a body becomes requests of the engine,
 *   call.c            whose events become the answer
 *   lookup.c          /v1/lookup: a row of the table, or a request for what it lacks
 *   metrics.c         what is counted, and /metrics
 *   ui.c              the web page
 *
 * The engine's events wake the loop (fc_engine_notify, http_wake), which takes them without waiting.
 */
#ifndef FC_APP_SERVE_H
#define FC_APP_SERVE_H

#include "engine/app/http/http.h"
#include "engine/app/http/router.h"
#include "engine/app/openai/openai.h"
#include "engine/app/serve/config.h"
#include "engine/app/serve/metrics.h"

#include <pthread.h>
#include <stdatomic.h>

enum { SERVE_BUCKETS = 1024 /* of calls' requests by id: a power of 2 */ };

typedef struct serve {
    serve_config c;
    http *h;
    http_router router;
    http_keys *keys; /* NULL: nobody is asked for one */
    serve_metrics metrics;

    /* of the loader's thread until `ready` */
    fc_recipe *recipe;
    fc_option_target set; /* what the engine's options point to */
    fc_engine *e;
    fc_tokenizer *tok[2];
    openai_model *models; /* [api.n_models] */
    openai_server api;
    pthread_t loader;
    bool loading;     /* the thread is to be joined */
    atomic_bool over; /* it has done what it could */
    fc_status st;     /* how that went, */
    char why[1024];   /* and the sentence */

    struct serve_table *table; /* lookup.c; NULL: none is served */
    bool ready;
    struct serve_call *calls;                 /* all that are not forgotten */
    struct serve_job *buckets[SERVE_BUCKETS]; /* requests of calls, by id */
    int n_calls, jobs;                        /* whose answer is open; requests in the engine */
    size_t held;                              /* bytes of all calls that wait for readers */
    fc_str out;                               /* scratch of one event */
    int64_t seen_steps;                       /* of the engine, */
    uint64_t seen_ns;                         /* and when they last rose, or nothing ran */
} serve;

/* load.c */
fc_status serve_prepare(serve *s); /* recipe, taxonomy, keys: what is quick, and wrong at once */
fc_status serve_load(serve *s);    /* begins to load; http_wake follows, then serve_loaded */
fc_status serve_loaded(serve *s);  /* joins the loader where it is done; s->ready, or why not */
void serve_hush(serve *s);         /* waits for a loader under way; from now on nobody wakes the loop */
void serve_unload(serve *s);       /* then; zeroed and half-built are fine */

/* routes.c */
void serve_routes_init(serve *s); /* s->router */
void serve_on_head(void *self, http_req *r);
void serve_on_request(void *self, http_req *r);
void serve_on_end(void *self, const http_req *r, int status, double seconds);
fc_status serve_error_body(void *self, int status, const char *sentence, fc_str *out);
void serve_refuse(http_req *r, const openai_error *e); /* answers with it */

/* begin.c */
void serve_call_begin(serve *s, http_req *r, openai_route route);
void serve_call_begin_as(serve *s, http_req *r, openai_route route, const char *body, size_t size); /* of this body */

/* lookup.c */
fc_status serve_table_open(serve *s); /* s->table, where one is named */
void serve_table_close(serve *s);
void serve_lookup(void *self, http_req *r, const char *rest);

/* call.c */
void serve_events(serve *s);     /* takes what the engine has to say */
void serve_calls_fini(serve *s); /* forgets all, whose http_req have ended */

#endif
