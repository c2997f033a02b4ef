/* routes - which path is answered by what, and who is turned away before a body is read. */
#include "engine/app/serve/serve.h"

#include "engine/app/openai/openapi.h"
#include "engine/app/print.h"
#include "engine/app/serve/ui.h"
#include "engine/base/os.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { PATIENCE_S = 120 /* an engine that has work and ends no step for so long is dead */ };

static const char json[] = "application/json";

/* What was refused, and of failures that are not the client's, why: a sentence may quote what was asked. */
static void note_error(http_req *r, const openai_error *e) {
    fc_str s = {0};
    fc_status st = fc_str_printf(&s, "\"error\":\"%s\"", e->type);
    if (!st && e->param[0]) st = fc_str_puts(&s, ",\"param\":");
    if (!st && e->param[0]) st = fc_json_put_string(&s, e->param, strlen(e->param));
    if (!st && e->http >= 500) st = fc_str_puts(&s, ",\"message\":");
    if (!st && e->http >= 500) st = fc_json_put_string(&s, e->message, strlen(e->message));
    if (!st) http_note(r, fc_str_text(&s));
    fc_str_fini(&s);
}

void serve_refuse(http_req *r, const openai_error *e) {
    char seconds[16];
    fc_str body = {0};
    fc_status st = openai_error_put(e, &body);
    snprintf(seconds, sizeof seconds, "%d", e->retry_after);
    if (!st && e->retry_after) st = http_field(r, "Retry-After", seconds);
    if (!st && !e->may_retry) st = http_field(r, "x-should-retry", "false");
    if (!st) note_error(r, e);
    if (st) http_fail(r, 503, "out of memory");
    else http_answer(r, e->http, json, fc_str_text(&body), body.size);
    fc_str_fini(&body);
}

fc_status serve_error_body(void *self, http_req *r, int status, const char *sentence, fc_str *out) {
    openai_error e;
    (void)self;
    openai_error_http(status, sentence, &e);
    note_error(r, &e);
    return openai_error_put(&e, out);
}

static void answer(http_req *r, fc_status st, const fc_str *body, const openai_error *e) {
    if (st) serve_refuse(r, e);
    else http_answer(r, 200, json, fc_str_text(body), body->size);
}

/* ---- what the server says of itself ---- */

bool serve_alive(serve *s) {
    fc_engine_counts n;
    const uint64_t now = fc_clock_ns();
    if (!s->ready) return true;
    fc_engine_count(s->e, &n);
    if (n.lost) return false;
    if (!atomic_load(&s->jobs)) return true;
    if (n.steps != s->seen_steps || !(n.running + n.waiting)) {
        s->seen_steps = n.steps;
        s->seen_ns = now;
    }
    return now - s->seen_ns < PATIENCE_S * UINT64_C(1000000000);
}

static void tell_health(serve *s, http_req *r, bool ready) {
    fc_str body = {0};
    const int status = openai_health(serve_alive(s), ready, &body);
    http_answer(r, status, body.size ? json : NULL, fc_str_text(&body), body.size);
    fc_str_fini(&body);
}

static void health(void *self, http_req *r, const char *rest) {
    serve *s = self;
    (void)rest;
    tell_health(s, r, s->ready && !http_stopping(s->h));
}

static void livez(void *self, http_req *r, const char *rest) {
    (void)rest;
    tell_health(self, r, true);
}

static void version(void *self, http_req *r, const char *rest) {
    fc_str body = {0};
    openai_error e;
    const fc_status st = openai_version(&body);
    (void)self, (void)rest;
    if (st) openai_error_of(st, fc_last_error(), NULL, false, &e);
    answer(r, st, &body, &e);
    fc_str_fini(&body);
}

static void openapi(void *self, http_req *r, const char *rest) {
    (void)self, (void)rest;
    http_answer(r, 200, json, (const char *)openapi_text, openapi_text_size);
}

static void models(void *self, http_req *r, const char *rest) {
    serve *s = self;
    fc_str body = {0};
    openai_error e;
    fc_status st;
    if (*rest) st = openai_model_one(&s->api, rest, &body, &e);
    else st = openai_models(&s->api, &body);
    if (st && !*rest) openai_error_of(st, fc_last_error(), NULL, false, &e);
    answer(r, st, &body, &e);
    fc_str_fini(&body);
}

static void tokenize(void *self, http_req *r, const char *rest) {
    (void)rest;
    serve_ask(self, r, openai_tokenize);
}

static void detokenize(void *self, http_req *r, const char *rest) {
    (void)rest;
    serve_ask(self, r, openai_detokenize);
}

static void metrics(void *self, http_req *r, const char *rest);

static void completions(void *self, http_req *r, const char *rest) {
    (void)rest;
    serve_call_begin(self, r, OPENAI_COMPLETIONS);
}

static void chat(void *self, http_req *r, const char *rest) {
    (void)rest;
    serve_call_begin(self, r, OPENAI_CHAT);
}

static void score(void *self, http_req *r, const char *rest) {
    (void)rest;
    serve_call_begin(self, r, OPENAI_SCORE);
}

static void rerank(void *self, http_req *r, const char *rest) {
    (void)rest;
    serve_call_begin(self, r, OPENAI_RERANK);
}

static void rerank_v2(void *self, http_req *r, const char *rest) {
    (void)rest;
    serve_call_begin(self, r, OPENAI_RERANK_V2);
}

/* ---- the table ---- */

static const http_route routes[] = {
    {.method = "GET", .path = "/health", .run = health, .open = true, .quiet = true},
    {.method = "GET", .path = "/livez", .run = livez, .open = true, .quiet = true},
    {.method = "GET", .path = "/ping", .run = health, .open = true, .quiet = true},
    {.method = "POST", .path = "/ping", .run = health, .open = true, .quiet = true},
    {.method = "GET", .path = "/version", .run = version},
    {.method = "GET", .path = "/openapi.json", .run = openapi},
    {.method = "GET", .path = "/metrics", .run = metrics, .quiet = true},
    {.method = "GET", .path = "/v1/models", .run = models},
    {.method = "GET", .path = "/v1/models/{}", .run = models},
    {.method = "POST", .path = "/tokenize", .run = tokenize},
    {.method = "POST", .path = "/detokenize", .run = detokenize},
    {.method = "POST", .path = "/v1/completions", .run = completions},
    {.method = "POST", .path = "/v1/chat/completions", .run = chat},
    {.method = "GET", .path = "/v1/lookup", .run = serve_lookup},
    {.method = "POST", .path = "/v1/lookup", .run = serve_lookup},
    {.method = "POST", .path = "/score", .run = score},
    {.method = "POST", .path = "/v1/score", .run = score},
    {.method = "POST", .path = "/rerank", .run = rerank},
    {.method = "POST", .path = "/v1/rerank", .run = rerank},
    {.method = "POST", .path = "/v2/rerank", .run = rerank_v2},
    {.method = "GET", .path = "/", .run = serve_ui, .open = true}, /* last: left out where it is off */
};

/* Of the metrics port: whoever reaches it may see these, and nothing else is there. */
static const http_route watched[] = {
    {.method = "GET", .path = "/health", .run = health, .open = true, .quiet = true},
    {.method = "GET", .path = "/livez", .run = livez, .open = true, .quiet = true},
    {.method = "GET", .path = "/ping", .run = health, .open = true, .quiet = true},
    {.method = "POST", .path = "/ping", .run = health, .open = true, .quiet = true},
    {.method = "GET", .path = "/metrics", .run = metrics, .open = true, .quiet = true},
};

enum { ROUTES = sizeof routes / sizeof *routes };

/* Which of the table answers, or how many there are. */
static int route_of(const serve *s, const http_req *r) {
    const char *method = strcmp(http_method(r), "HEAD") == 0 ? "GET" : http_method(r), *path = http_path(r);
    const int all = (int)s->router.n_routes;
    for (int i = 0; i < all; i++) {
        const size_t n = strcspn(routes[i].path, "{");
        const bool same =
            routes[i].path[n] ? strncmp(path, routes[i].path, n) == 0 && path[n] : strcmp(path, routes[i].path) == 0;
        if (same && strcmp(method, routes[i].method) == 0) return i;
    }
    return all;
}

static void metrics(void *self, http_req *r, const char *rest) {
    serve *s = self;
    serve_facts f = {.model = s->models[0].id,
                     .info = &s->api.info,
                     .adapters = s->adapters,
                     .n_adapters = s->n_adapters,
                     .now = (int64_t)time(NULL),
                     .http = http_count(s->h),
                     .routes = routes,
                     .n_routes = s->router.n_routes,
                     .memory = http_memory(s->h),
                     .calls = s->n_calls,
                     .to_read = atomic_load(&s->to_read),
                     .jobs = atomic_load(&s->jobs),
                     .candidates = atomic_load(&s->candidates)};
    fc_str out = {0};
    (void)rest;
    fc_engine_count(s->e, &f.engine);
    if (serve_metrics_put(&s->metrics, &f, &out)) http_fail(r, 503, "out of memory");
    else http_answer(r, 200, "text/plain; version=0.0.4; charset=utf-8", fc_str_text(&out), out.size);
    fc_str_fini(&out);
}

/* ---- before a body is read ---- */

static bool is_json(const char *type) {
    const size_t n = sizeof json - 1;
    return type && strncasecmp(type, json, n) == 0 && strchr("; \t", type[n]);
}

static void turn_away(serve *s, http_req *r, serve_counter why, int status, const char *sentence) {
    openai_error e;
    openai_error_http(status, sentence, &e);
    e.retry_after = 1;
    serve_count(&s->metrics, why, 1);
    serve_failed(&s->metrics, SERVE_AT_ADMISSION, status);
    serve_refuse(r, &e);
}

bool serve_worker_is_full(serve *s, const serve_worker *w, http_req *r) {
    if (!serve_worker_full(w)) return false;
    turn_away(s, r, SERVE_REFUSED_FULL, 429, "too many bodies wait to be read");
    return true;
}

/* Those that need the engine have their bounds; a body that waits to be read will bring one request or more. */
bool serve_admit(serve *s, http_req *r) {
    const int jobs = atomic_load(&s->jobs), most = s->c.max_requests;
    const long long candidates = atomic_load(&s->candidates);
    char why[160];
    if (jobs + atomic_load(&s->to_read) >= most)
        snprintf(why, sizeof why, "%d requests are waiting or running; max_requests is %d", jobs, most);
    else if (candidates >= s->c.max_candidates)
        snprintf(why, sizeof why, "%lld candidates are waiting or being drawn; max_candidates is %d", candidates,
                 s->c.max_candidates);
    else return true;
    turn_away(s, r, SERVE_REFUSED_FULL, 429, why);
    return false;
}

static bool is_encoded(const char *coding) { return coding && strcasecmp(coding, "identity") != 0; }

static const http_router *router_of(const serve *s, const http_req *r) {
    return http_listener_of(r) < s->watched ? &s->router : &s->watch;
}

void serve_on_head(void *self, http_req *r) {
    serve *s = self;
    const int at = route_of(s, r), none = (int)s->router.n_routes;
    const bool posts = at < none && strcmp(routes[at].method, "POST") == 0 && !routes[at].open;
    http_router_head(router_of(s, r), r);
    if (http_answered(r) || at == none || routes[at].open) return;
    if (!s->ready) turn_away(s, r, SERVE_REFUSED_LOADING, 503, "the models are being loaded");
    else if (posts && !is_json(http_header(r, "content-type")))
        http_fail(r, 415, "the body's Content-Type is to be application/json");
    else if (posts && is_encoded(http_header(r, "content-encoding")))
        http_fail(r, 415, "Content-Encoding: bodies are taken as they are, identity");
    else if (posts && (routes[at].run == tokenize || routes[at].run == detokenize))
        (void)serve_worker_is_full(s, &s->reader, r);
    else if (posts && routes[at].run != serve_lookup) (void)serve_admit(s, r);
}

void serve_on_request(void *self, http_req *r) {
    serve *s = self;
    http_router_request(router_of(s, r), r);
}

void serve_on_end(void *self, const http_req *r, int status, double seconds) {
    serve *s = self;
    const int at = http_method(r) && http_path(r) ? route_of(s, r) : (int)s->router.n_routes;
    serve_answered(&s->metrics, at, status, seconds);
}

void serve_routes_init(serve *s) {
    _Static_assert((int)ROUTES < (int)SERVE_HANDLERS_MAX, "a handler for each route, and one for the rest");
    s->router = (http_router){.routes = routes,
                              .n_routes = s->c.no_ui ? ROUTES - 1 : ROUTES,
                              .keys = s->keys,
                              .origins = s->c.origins.items,
                              .n_origins = s->c.origins.n,
                              .exposed = "x-request-id, retry-after, x-should-retry, x-forkcast-ignored",
                              .self = s};
    s->watch = (http_router){.routes = watched, .n_routes = sizeof watched / sizeof *watched, .self = s};
}
