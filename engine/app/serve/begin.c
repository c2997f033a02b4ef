/* begin - a body on its way to the reader, and back as requests of the engine. */
#include "engine/app/serve/call.h"
#include "engine/base/os.h"

#include <errno.h>
#include <stdio.h>
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

/* What is known of a request besides its body: copied, since r may end while it is read. */
static fc_status take_context(serve *s, http_req *r, serve_reading *m) {
    const char *key = s->keys ? http_credential(r) : NULL;
    snprintf(m->id, sizeof m->id, "%s", http_id(r));
    m->x.request_id = m->id;
    m->x.now = (int64_t)time(NULL);
    m->x.lookup = s->lookup;
    FC_TRY(header_priority(r, &m->priority, &m->x.priority));
    if (key) FC_TRY(fc_str_puts(&m->key, key));
    m->x.api_key = key ? m->key.data : NULL;
    if (getrandom(&m->x.random, sizeof m->x.random, 0) != (ssize_t)sizeof m->x.random)
        return FC_FAIL(FC_ERR_IO, "random bytes: %s", strerror(errno));
    return FC_OK;
}

static void free_reading(serve_reading *m) {
    serve_drop_body(m->call->s, &m->body);
    fc_str_fini(&m->key);
    fc_free(m);
}

/* What it has become is the call's; jobs first, so that those that run can be cancelled. */
static void take_over(serve_call *c, serve_reading *m) {
    c->answer = m->answer;
    c->claim = m->claim;
    c->jobs = m->jobs;
    c->n = m->n;
    c->submitted_ns = m->submitted_ns;
    c->written_ns = fc_clock_ns();
    for (size_t i = 0; i < c->n; i++) {
        c->jobs[i].call = c;
        if (!c->jobs[i].id) continue;
        serve_job_insert(c->s, &c->jobs[i]);
        c->left++;
    }
}

/* Fields that nobody knows, in front of whatever the answer is. */
static fc_status tell_ignored(serve_call *c, openai_error *e) {
    const char *names = openai_answer_call(c->answer)->ignored;
    const fc_status st = *names ? http_field(c->r, "x-forkcast-ignored", names) : FC_OK;
    if (st) openai_error_of(st, fc_last_error(), NULL, false, e);
    return st;
}

static void back(serve_task *t) {
    serve_reading *m = (serve_reading *)t;
    serve_call *c = m->call;
    serve *s = c->s;
    openai_error e = m->e;
    fc_status st = m->st;
    http_loop *l = http_timers(s->h);
    const bool lookup = m->route == OPENAI_LOOKUP;
    take_over(c, m);
    free_reading(m);
    c->reading = false;
    if (st == FC_ERR_FULL) {
        if (http_stopping(s->h)) openai_error_of(st, m->e.message, NULL, true, &e);
        serve_count(&s->metrics, e.http == 503 ? SERVE_REFUSED_DRAINING : SERVE_REFUSED_FULL, 1);
    }
    if (st == FC_ERR_MEM) serve_count(&s->metrics, SERVE_REFUSED_MEMORY, 1);
    if (!st && lookup) serve_count(&s->metrics, SERVE_LOOKUPS_LIVE, 1);
    if (!st && c->r) st = tell_ignored(c, &e);
    if (st && c->r) {
        serve_failed(&s->metrics, SERVE_AT_REQUEST, e.http);
        serve_call_end(c, &e);
    } else if (!c->r) {
        for (size_t i = 0; i < c->n; i++)
            if (c->jobs[i].id) fc_cancel(s->e, c->jobs[i].id);
        serve_call_settle(c);
    } else if (s->c.ping_ms && openai_answer_call(c->answer)->stream) {
        /* without memory for a timer the stream is silent: it is still whole */
        (void)http_timer_set(l, &c->ping, c->written_ns + (uint64_t)s->c.ping_ms * 1000000u);
    }
    s->early_due = true;
}

/* What a reading needs, all of it; on failure nothing is left. */
static fc_status open_reading(serve *s, http_req *r, openai_route route, const char *body, size_t size,
                              serve_reading **out) {
    serve_reading *m;
    serve_call *c = NULL;
    void *p;
    fc_status st;
    FC_TRY(fc_alloc(1, sizeof *m, "call", &p));
    m = p;
    st = fc_alloc(1, sizeof *c, "call", &p);
    if (!st) c = p;
    if (!st) st = take_context(s, r, m);
    if (!st && body) st = fc_str_put(&m->body, body, size);
    if (!st) {
        c->s = s;
        c->r = r;
        c->ping = (http_timer){.fire = serve_call_silent, .self = c};
        c->deadline = (http_timer){.fire = serve_call_out_of_time, .self = c};
        if (s->c.request_ms)
            st = http_timer_set(http_timers(s->h), &c->deadline,
                                http_began_ns(r) + (uint64_t)s->c.request_ms * 1000000u);
    }
    if (st) {
        fc_str_fini(&m->key);
        fc_str_fini(&m->body);
        fc_free(m);
        fc_free(c);
        return st;
    }
    m->task = (serve_task){.run = serve_read, .back = back};
    http_budget_hold(http_memory(s->h), HTTP_BODIES, m->body.cap);
    m->call = c;
    m->route = route;
    m->st = FC_ERR_CANCELLED; /* where it is never read */
    openai_error_http(503, "the server is stopping", &m->e);
    *out = m;
    return FC_OK;
}

void serve_call_begin(serve *s, http_req *r, openai_route route) { serve_call_begin_as(s, r, route, NULL, 0); }

void serve_call_begin_as(serve *s, http_req *r, openai_route route, const char *body, size_t size) {
    serve_reading *m;
    serve_call *c;
    openai_error e;
    fc_status st;
    if (serve_worker_is_full(s, &s->reader, r)) return;
    st = open_reading(s, r, route, body, size, &m);
    if (st) {
        openai_error_of(st, fc_last_error(), NULL, false, &e);
        serve_failed(&s->metrics, SERVE_AT_REQUEST, e.http);
        serve_refuse(r, &e);
        return;
    }
    c = m->call;
    c->next = s->calls;
    if (c->next) c->next->prev = c;
    s->calls = c;
    s->n_calls++;
    if (!atomic_load(&s->jobs)) s->seen_ns = fc_clock_ns(); /* the engine has work from here on */
    c->reading = true;
    if (!body) http_take_body(r, &m->body);
    http_watch(r, &serve_call_watcher, c);
    atomic_fetch_add(&s->to_read, 1);
    serve_worker_put(&s->reader, &m->task);
}
