/* serve - one server: what is served, and what its parts share. All of it is the loop's thread's, but while it loads.
 *
 *   cmd_serve (serve.c)     configuration, sockets, signals, the loop
 *   load.c            recipe, keys and names; models and engine, on a thread of their own while /health says 503
 *   routes.c          which path is answered by what; admission before a body is read
 *   begin.c           a body becomes requests of the engine,
 *   call.c            whose events become the answer
 *   metrics.c         what is counted, and /metrics
 *   ui.c              the web page
 *   systemd.c         what the service manager is told
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
    const char *adapters[64]; /* [n_adapters] of the novelty model, in the engine's order */
    size_t n_adapters;
    pthread_t loader;
    bool loading;     /* the thread is to be joined */
    atomic_bool over; /* it has done what it could */
    fc_status st;     /* how that went, */
    char why[1024];   /* and the sentence */

    bool ready;
    struct serve_call *calls;                 /* all that are not forgotten */
    struct serve_job *buckets[SERVE_BUCKETS]; /* requests of calls, by id */
    int n_calls, jobs;                        /* whose answer is open; requests in the engine */
    size_t held;                              /* bytes of all calls that wait for readers */
    fc_str out;                               /* scratch of one event */
    http_timer watchdog;                      /* of systemd, and how often it wants to hear of us; 0: never */
    uint64_t watchdog_ns;
    int64_t seen_steps; /* of the engine, */
    uint64_t seen_ns;   /* and when they last rose, or nothing ran */
} serve;

/* load.c */
fc_status serve_prepare(serve *s); /* recipe, taxonomy, keys, names of hosts: what is quick, and wrong at once */
fc_status serve_check(serve *s);   /* then: what can be seen of models, adapters and addresses without taking them */
fc_status serve_address(const serve *s, fc_str *out); /* host and port as one */
fc_status serve_load(serve *s);                       /* begins to load; http_wake follows, then serve_loaded */
fc_status serve_loaded(serve *s);                     /* joins the loader where it is done; s->ready, or why not */
void serve_hush(serve *s);   /* waits for a loader under way; from now on nobody wakes the loop */
void serve_unload(serve *s); /* then; zeroed and half-built are fine */

/* routes.c */
bool serve_alive(serve *s);       /* the engine steps, or has nothing to do */
void serve_routes_init(serve *s); /* s->router */
void serve_on_head(void *self, http_req *r);
void serve_on_request(void *self, http_req *r);
void serve_on_end(void *self, const http_req *r, int status, double seconds);
fc_status serve_error_body(void *self, int status, const char *sentence, fc_str *out);
void serve_refuse(http_req *r, const openai_error *e); /* answers with it */

/* systemd.c */
void serve_systemd_begin(serve *s); /* tells it how the server is, at once and as often as it wants to be told */
void serve_systemd_ready(serve *s);

/* begin.c */
void serve_call_begin(serve *s, http_req *r, openai_route route);

/* call.c */
void serve_events(serve *s);     /* takes what the engine has to say */
void serve_calls_fini(serve *s); /* forgets all, whose http_req have ended */

#endif
