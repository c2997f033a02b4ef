#include "engine/app/http/router.h"

#include "engine/app/http/conn.h"

#include <string.h>

static int nibble(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

/* The server has checked that escapes are whole and not of NUL. */
static fc_status unescape(const char *text, fc_str *out) {
    fc_str_clear(out);
    for (; *text; text++) {
        char c = *text;
        if (c == '%' && text[1] && text[2]) {
            c = (char)(nibble(text[1]) << 4 | nibble(text[2]));
            text += 2;
        }
        FC_TRY(fc_str_put(out, &c, 1));
    }
    if (!fc_utf8_valid(fc_str_text(out), out->size, &(size_t){0}))
        return FC_FAIL(FC_ERR_FORMAT, "the path is not UTF-8");
    return FC_OK;
}

/* What {} stands for, "" where the route has none; NULL: no match. */
static const char *match(const http_route *t, const char *path) {
    size_t n = strlen(t->path);
    if (!fc_ends_with(t->path, "{}")) return strcmp(t->path, path) ? NULL : "";
    n -= 2;
    return strncmp(t->path, path, n) == 0 && path[n] ? path + n : NULL;
}

static fc_status allow_method(fc_str *allow, const char *method) {
    const bool get = strcmp(method, "GET") == 0;
    return fc_str_printf(allow, "%s%s%s", allow->size ? ", " : "", method, get ? ", HEAD" : "");
}

fc_status http_route_find(const http_router *t, const char *method, const char *path, const http_route **out,
                          fc_str *rest, bool *known, fc_str *allow) {
    const char *as = strcmp(method, "HEAD") == 0 ? "GET" : method;
    const bool all = strcmp(path, "*") == 0; /* the server itself */
    *out = NULL;
    *known = all;
    fc_str_clear(allow);
    for (size_t i = 0; i < t->n_routes; i++) {
        const char *part = match(&t->routes[i], path);
        if (!part && !all) continue;
        *known = true;
        if (part && !*out && strcmp(t->routes[i].method, as) == 0) {
            *out = &t->routes[i];
            FC_TRY(unescape(part, rest));
        }
        if (!strstr(fc_str_text(allow), t->routes[i].method)) FC_TRY(allow_method(allow, t->routes[i].method));
    }
    return *known ? fc_str_puts(allow, allow->size ? ", OPTIONS" : "OPTIONS") : FC_OK;
}

static bool origin_allowed(const http_router *t, const char *origin) {
    for (size_t i = 0; origin && i < t->n_origins; i++)
        if (strcmp(t->origins[i], origin) == 0) return true;
    return false;
}

/* A page's preflight, or somebody who asks what is offered. */
static void options(http_req *r, bool cors, const char *allow) {
    fc_status st = http_field(r, "Allow", allow);
    if (cors && !st) st = http_field(r, "Access-Control-Allow-Methods", allow);
    if (cors && !st)
        st = http_field(r, "Access-Control-Allow-Headers", "authorization, content-type, x-api-key, x-request-id");
    if (cors && !st) st = http_field(r, "Access-Control-Max-Age", "600");
    if (st) http_fail(r, 503, "out of memory");
    else http_answer(r, 204, NULL, "", 0);
}

static void refuse(http_req *r, int status, const char *sentence, const char *name, const char *value) {
    if (name && http_field(r, name, value)) status = 503;
    http_fail(r, status, sentence);
}

void http_router_head(const http_router *t, http_req *r) {
    const char *origin = http_header(r, "origin"), *method = http_method(r);
    const bool cors = origin_allowed(t, origin);
    const http_route *route;
    fc_str rest = {0}, allow = {0};
    bool known;
    fc_status st = http_route_find(t, method, http_path(r), &route, &rest, &known, &allow);
    if (!st && t->n_origins) st = http_field(r, "Vary", "Origin");
    if (!st && cors) st = http_field(r, "Access-Control-Allow-Origin", origin);
    if (!st && cors)
        st = http_field(r, "Access-Control-Expose-Headers", t->exposed ? t->exposed : "x-request-id, retry-after");
    if (st == FC_ERR_FORMAT) http_fail(r, 400, fc_status_text());
    else if (st) http_fail(r, 503, "out of memory");
    else if (known && strcmp(method, "OPTIONS") == 0) options(r, cors, fc_str_text(&allow));
    else if (t->keys && !(route && route->open) && !http_keys_have(t->keys, http_credential(r)))
        refuse(r, 401, "an API key is needed, and this request brings none that is known", "WWW-Authenticate",
               "Bearer");
    else if (!known) http_fail(r, 404, "nothing is found at this path");
    else if (!route) refuse(r, 405, "this path does not take that method", "Allow", fc_str_text(&allow));
    else if (route->max_body && http_announced(r) > route->max_body) http_fail(r, 413, "the body is too long");
    else r->route = route;
    if (route && route->quiet) http_quiet(r);
    if (route && route->open && route->quiet) http_quick(r);
    fc_str_fini(&rest);
    fc_str_fini(&allow);
}

void http_router_request(const http_router *t, http_req *r) {
    const http_route *route = r->route;
    const char *part = match(route, http_path(r));
    fc_str rest = {0};
    size_t size;
    http_body(r, &size);
    if (route->max_body && size > route->max_body) /* a chunked one, which announced nothing */
        http_fail(r, 413, "the body is too long");
    else if (unescape(part, &rest)) http_fail(r, 503, "out of memory");
    else route->run(t->self, r, fc_str_text(&rest));
    fc_str_fini(&rest);
}
