/* router - which function answers which path and method, and whom.
 *
 * A path is matched whole, as it came; one that ends in "{}" matches all that is longer than what stands before, and
 * hands the rest over, its percent escapes undone ("/v1/models/{}"). The first of the table that matches counts. HEAD
 * is answered by GET's function, OPTIONS here. What is refused (401, 404, 405, 413) is refused before a body is read.
 */
#ifndef FC_APP_HTTP_ROUTER_H
#define FC_APP_HTTP_ROUTER_H

#include "engine/app/http/http.h"
#include "engine/app/http/keys.h"

typedef struct {
    const char *method;                                     /* "GET", "POST" */
    const char *path;                                       /* "/health", "/v1/models/{}" */
    void (*run)(void *self, http_req *r, const char *rest); /* rest: of {}; "" without */
    bool open;                                              /* asks for no key */
    bool quiet;      /* no line in the access log unless it fails; open too: quick */
    size_t max_body; /* 0: the server's cap */
} http_route;

typedef struct {
    const http_route *routes; /* [n_routes] */
    size_t n_routes;
    const http_keys *keys; /* NULL: nobody is asked for one; else all but `open` routes want one */
    const char *const
        *origins; /* [n_origins] of pages that may read the answers ("https://app.example"); none: CORS is off */
    size_t n_origins;
    const char *exposed; /* fields of answers that those pages may read, "x-request-id, retry-after"; NULL: the usual */
    void *self;
} http_router;

/* For on_head and on_request, with the router as their self or part of it. */
void http_router_head(const http_router *t, http_req *r);
void http_router_request(const http_router *t, http_req *r);

/* *out is NULL where no route matches. *known: the path does, and allow is what it takes, "GET, HEAD, OPTIONS".
 * rest is what {} stands for. FC_ERR_FORMAT: its escapes make no text. */
fc_status http_route_find(const http_router *t, const char *method, const char *path, const http_route **out,
                          fc_str *rest, bool *known, fc_str *allow);

#endif
