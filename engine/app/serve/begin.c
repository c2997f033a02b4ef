/* begin - a body to requests of the engine: read, admitted, submitted. */
#include "engine/app/serve/call.h"
#include "engine/base/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static fc_status header_priority(http_req *r, int *out, const int **given) {
    const char *text = http_header(r, "x-vllm-priority");
    char *end;
    long v;
    *given = NULL;
    if (!text) return FC_OK;
    errno = 0;
    v = strtol(text, &end, 10);
    if (end == text || *end || errno || v < INT32_MIN || v > INT32_MAX)
        return FC_FAIL(FC_ERR_ARG, "priority: x-vllm-priority \"%.40s\" is not a whole number of 32 bits", text);
    *out = (int)v;
    *given = out;
    return FC_OK;
}

/* An error of parsing is in *e. */
static fc_status parse(serve *s, http_req *r, openai_route route, const char *body, size_t size, openai_call **out,
                       openai_error *e) {
    openai_context x = {
        .request_id = http_id(r), .now = (int64_t)time(NULL), .api_key = s->keys ? http_credential(r) : NULL};
    int priority;
    fc_status st = header_priority(r, &priority, &x.priority);
    if (!st && getrandom(&x.random, sizeof x.random, 0) != (ssize_t)sizeof x.random)
        st = FC_FAIL(FC_ERR_IO, "random bytes: %s", strerror(errno));
    if (!st) return openai_call_parse(&s->api, route, &x, body, size, out, e);
    openai_error_of(st, fc_last_error(), NULL, false, e);
    return st;
}

/* Takes k; on failure it is still the caller's. */
static fc_status open_call(serve *s, http_req *r, openai_call *k, serve_call **out) {
    const size_t n = k->n_requests;
    serve_call *c;
    void *p, *jobs = NULL;
    fc_status st;
    FC_TRY(fc_alloc(1, sizeof *c, "call", &p));
    c = p;
    st = fc_alloc(n, sizeof *c->jobs, "call", &jobs);
    if (!st) st = openai_answer_open(&s->api, k, &c->answer);
    if (st) {
        fc_free(jobs);
        fc_free(c);
        return st;
    }
    c->s = s;
    c->r = r;
    c->jobs = jobs;
    c->n = n;
    c->ping = (http_timer){.fire = serve_call_silent, .self = c};
    c->deadline = (http_timer){.fire = serve_call_out_of_time, .self = c};
    c->next = s->calls;
    if (c->next) c->next->prev = c;
    s->calls = c;
    s->n_calls++;
    *out = c;
    return FC_OK;
}

static fc_status watch_tokens(serve_job *j, const fc_request *r) {
    const size_t n = (size_t)(r->n_max > r->n ? r->n_max : r->n);
    void *p;
    if (!r->events) return FC_OK;
    FC_TRY(fc_alloc(n, sizeof *j->drawn_ns, "call", &p));
    j->drawn_ns = p;
    j->n_drawn = n;
    return FC_OK;
}

static fc_status submit(serve_call *c) {
    const openai_call *k = openai_answer_call(c->answer);
    c->submitted_ns = c->written_ns = fc_clock_ns();
    if (!c->s->jobs) c->s->seen_ns = c->submitted_ns; /* the engine has work from here on */
    for (size_t i = 0; i < c->n; i++) {
        FC_TRY(watch_tokens(&c->jobs[i], &k->requests[i]));
        FC_TRY(fc_submit(c->s->e, &k->requests[i], &c->jobs[i].id));
        c->jobs[i].call = c;
        serve_job_insert(c->s, &c->jobs[i]);
        c->left++;
    }
    return FC_OK;
}

static fc_status set_timers(serve_call *c) {
    const serve_config *o = &c->s->c;
    http_loop *l = http_timers(c->s->h);
    if (o->request_ms)
        FC_TRY(http_timer_set(l, &c->deadline, http_began_ns(c->r) + (uint64_t)o->request_ms * 1000000u));
    if (o->ping_ms && openai_answer_call(c->answer)->stream)
        FC_TRY(http_timer_set(l, &c->ping, c->written_ns + (uint64_t)o->ping_ms * 1000000u));
    return FC_OK;
}

void serve_call_begin(serve *s, http_req *r, openai_route route) {
    size_t size;
    const char *body = http_body(r, &size);
    serve_call_begin_as(s, r, route, body, size);
}

void serve_call_begin_as(serve *s, http_req *r, openai_route route, const char *body, size_t size) {
    openai_call *k;
    openai_error e;
    serve_call *c = NULL;
    fc_status st;
    if (parse(s, r, route, body, size, &k, &e)) {
        serve_refuse(r, &e);
        return;
    }
    if (k->n_requests > (size_t)(s->c.max_requests - s->jobs)) /* before anything is tokenised */
        st = FC_FAIL(FC_ERR_FULL, "%zu prompts; %d requests are waiting or running, max_requests is %d", k->n_requests,
                     s->jobs, s->c.max_requests);
    else st = open_call(s, r, k, &c);
    if (!c) openai_call_close(k);
    if (!st) st = submit(c);
    if (!st) st = set_timers(c);
    if (!st) {
        http_watch(r, &serve_call_watcher, c);
        return;
    }
    openai_error_of(st, fc_last_error(), NULL, http_stopping(s->h), &e);
    if (st == FC_ERR_FULL) serve_count(&s->metrics, e.http == 503 ? SERVE_REFUSED_DRAINING : SERVE_REFUSED_FULL, 1);
    if (c) serve_call_fail(c, &e);
    else serve_refuse(r, &e);
}
