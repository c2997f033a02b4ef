/* serve_call - a body that becomes requests of the engine, and their events its answer.
 *
 *   begin --submit--> [jobs in the engine] --events--> answered --> forgotten when its last job has ended
 *                          |                             ^
 *                          +-- client, deadline, end ----+   jobs are cancelled, their events dropped
 *
 * A call outlives its answer until the engine has let go of its jobs. Bytes that the connection does not take are held
 * here, up to HELD_MAX of an answer that goes on and HELD_ALL of all of them; one that is whole waits for its reader as
 * long as stall_ms lets it.
 */
#include "engine/app/serve.h"
#include "engine/base/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { HELD_MAX = 8 << 20, HELD_ALL = 128 << 20, EVENTS_A_TURN = 512 };

static const char event_stream[] = "text/event-stream; charset=utf-8";

typedef struct serve_job { /* one of the engine's requests */
    uint64_t id;           /* 0: it has ended */
    struct serve_call *call;
    struct serve_job *next; /* in its bucket */
} serve_job;

typedef struct serve_call {
    struct serve_call *prev, *next;
    serve *s;
    http_req *r; /* NULL: answered, or given up */
    openai_answer *answer;
    serve_job *jobs; /* [n] by place in the call */
    size_t n, left;  /* left: in the engine */
    bool began;      /* a stream whose head is written */
    bool whole;      /* all bytes are known */
    fc_str held;     /* those that were not taken */
    uint64_t submitted_ns, written_ns;
    http_timer ping, deadline;
    int64_t prompt_tokens, drawn, rows; /* of jobs that ended, for the log */
} serve_call;

/* ---- the table of jobs ---- */

static serve_job **bucket(serve *s, uint64_t id) { return &s->buckets[id & (SERVE_BUCKETS - 1)]; }

static serve_job *find(serve *s, uint64_t id) {
    serve_job *j = *bucket(s, id);
    while (j && j->id != id) j = j->next;
    return j;
}

static void insert(serve *s, serve_job *j) {
    serve_job **b = bucket(s, j->id);
    j->next = *b;
    *b = j;
    s->jobs++;
}

static void take_out(serve *s, serve_job *j) {
    serve_job **at = bucket(s, j->id);
    while (*at != j) at = &(*at)->next;
    *at = j->next;
    j->id = 0;
    s->jobs--;
}

/* ---- bytes that wait ---- */

static fc_status hold(serve_call *c, const char *bytes, size_t size) {
    if (!c->whole && (c->held.size + size > HELD_MAX || c->s->held + size > HELD_ALL))
        return FC_FAIL(FC_ERR_CANCELLED, "the client does not read: %zu bytes wait", c->held.size);
    FC_TRY(fc_str_put(&c->held, bytes, size));
    c->s->held += size;
    return FC_OK;
}

static void drop_held(serve_call *c) {
    c->s->held -= c->held.size;
    fc_str_fini(&c->held); /* not only cleared: it may be large, and is rarely needed twice */
}

/* ---- a call's ages ---- */

static void forget(serve_call *c) {
    serve *s = c->s;
    for (size_t i = 0; i < c->n; i++)
        if (c->jobs[i].id) take_out(s, &c->jobs[i]);
    if (c->prev) c->prev->next = c->next;
    else s->calls = c->next;
    if (c->next) c->next->prev = c->prev;
    openai_answer_close(c->answer);
    drop_held(c);
    fc_free(c->jobs);
    fc_free(c);
}

static void cancel_jobs(serve_call *c) {
    for (size_t i = 0; i < c->n; i++)
        if (c->jobs[i].id) fc_cancel(c->s->e, c->jobs[i].id);
}

/* For the access log, before the request ends. */
static void note(serve_call *c) {
    const openai_call *k = openai_answer_call(c->answer);
    fc_str s = {0};
    fc_status st = fc_str_puts(&s, "\"model\":");
    if (!st) st = fc_json_put_string(&s, k->model, strlen(k->model));
    if (!st && !k->requests[0].n_given)
        st = fc_str_printf(&s, ",\"n\":%d,\"best_of\":%d", k->requests[0].keep, k->requests[0].n);
    if (!st)
        st = fc_str_printf(&s, ",\"prompts\":%zu,\"prompt_tokens\":%lld,\"tokens\":%lld,\"rows\":%lld,\"stream\":%s",
                           c->n, (long long)c->prompt_tokens, (long long)c->drawn, (long long)c->rows,
                           k->stream ? "true" : "false");
    if (!st) http_note(c->r, fc_str_text(&s));
    fc_str_fini(&s);
}

/* Nobody is answered any more; c may be gone. */
static void detach(serve_call *c) {
    http_timer_clear(http_timers(c->s->h), &c->ping);
    http_timer_clear(http_timers(c->s->h), &c->deadline);
    if (c->r) c->s->n_calls--;
    c->r = NULL;
    drop_held(c);
    if (c->left) cancel_jobs(c);
    else forget(c);
}

/* ---- bytes ---- */

static void end_if_whole(serve_call *c) {
    if (!c->whole || c->held.size) return;
    note(c);
    http_end(c->r);
    detach(c);
}

static fc_status write_or_hold(serve_call *c, const char *bytes, size_t size) {
    const fc_status st = c->held.size ? FC_ERR_FULL : http_write(c->r, bytes, size);
    return st == FC_ERR_FULL ? hold(c, bytes, size) : st;
}

static void cut(serve_call *c) {
    note(c);
    http_cut(c->r);
    detach(c);
}

/* Ends the answer with an error: of its own, or the stream's last event, behind what waits to be read. */
static void fail(serve_call *c, const openai_error *e) {
    fc_str out = {0};
    if (!c->began) {
        note(c);
        serve_refuse(c->r, e);
        detach(c);
        return;
    }
    c->whole = true;
    cancel_jobs(c);
    if (openai_stream_error(e, &out) || write_or_hold(c, fc_str_text(&out), out.size)) cut(c);
    else end_if_whole(c);
    fc_str_fini(&out);
}

/* False where the call has ended for it. */
static bool send(serve_call *c, const char *bytes, size_t size) {
    fc_status st = FC_OK;
    openai_error e;
    if (!size) return true;
    if (!c->began) {
        st = http_field(c->r, "Cache-Control", "no-cache");
        if (!st) st = http_field(c->r, "X-Accel-Buffering", "no"); /* a proxy that would wait for more */
        if (!st) http_begin(c->r, 200, event_stream);
        c->began = !st;
    }
    if (!st) st = write_or_hold(c, bytes, size);
    if (!st) {
        c->written_ns = fc_clock_ns();
        return true;
    }
    if (st == FC_ERR_CANCELLED) {
        serve_count(&c->s->metrics, SERVE_CANCEL_CLIENT, 1);
        cut(c);
        return false;
    }
    openai_error_of(st, fc_last_error(), NULL, false, &e);
    fail(c, &e);
    return false;
}

static void writable(void *self, http_req *r) {
    serve_call *c = self;
    fc_status st;
    if (!c->held.size) return;
    st = http_write(r, c->held.data, c->held.size);
    if (st == FC_ERR_FULL) return;
    drop_held(c);
    if (st) cut(c);
    else end_if_whole(c);
}

/* ---- ends that come from outside ---- */

static void cancelled(void *self, http_req *r, http_why why) {
    serve_call *c = self;
    openai_error e;
    (void)r;
    serve_count(&c->s->metrics, why == HTTP_GONE ? SERVE_CANCEL_CLIENT : SERVE_CANCEL_SHUTDOWN, 1);
    if (why == HTTP_GONE) {
        note(c);
        detach(c);
        return;
    }
    openai_error_http(503, "the server is stopping", &e);
    e.retry_after = 1;
    if (c->held.size) cut(c); /* nobody waits for its reader any more */
    else fail(c, &e);
}

static const http_watcher watcher = {.on_cancel = cancelled, .on_writable = writable};

static void out_of_time(http_timer *t) {
    serve_call *c = t->self;
    openai_error e;
    char why[96];
    if (c->whole) return; /* it is being read */
    snprintf(why, sizeof why, "the request took longer than %d ms", c->s->c.request_ms);
    openai_error_of(FC_ERR_TIMEOUT, why, NULL, false, &e);
    serve_count(&c->s->metrics, SERVE_CANCEL_DEADLINE, 1);
    fail(c, &e);
}

static void silent(http_timer *t) {
    serve_call *c = t->self;
    const uint64_t patience = (uint64_t)c->s->c.ping_ms * 1000000u, now = fc_clock_ns();
    if (!c->whole && !c->held.size && now >= c->written_ns + patience) {
        serve_count(&c->s->metrics, SERVE_PINGS, 1);
        if (!send(c, openai_ping, strlen(openai_ping))) return;
    }
    /* without memory for a timer the stream is silent: it is still whole */
    (void)http_timer_set(http_timers(c->s->h), t, (now >= c->written_ns + patience ? now : c->written_ns) + patience);
}

/* ---- events ---- */

static void count_done(serve_call *c, size_t at, const fc_event *ev) {
    const openai_call *k = openai_answer_call(c->answer);
    serve_metrics *m = &c->s->metrics;
    const fc_result *r = ev->result;
    if (ev->status) {
        serve_count(m, ev->status == FC_ERR_CANCELLED ? SERVE_DONE_ABORT : SERVE_DONE_ERROR, 1);
        return;
    }
    c->prompt_tokens += (int64_t)r->prompt_tokens;
    for (int i = 0; i < r->n_all; i++) c->drawn += (int64_t)r->all[i].n_logprobs;
    c->rows += r->accounting.rows_prefill + r->accounting.rows_decode + r->accounting.rows_score;
    serve_finished(m, &k->requests[at], r, c->r ? http_began_ns(c->r) : c->submitted_ns, c->submitted_ns,
                   fc_clock_ns());
}

/* The event's part of the answer. */
static void answer_event(serve_call *c, size_t at, const fc_event *ev) {
    fc_str *out = &c->s->out;
    openai_error e;
    bool whole = false;
    const bool stream = openai_answer_call(c->answer)->stream;
    fc_str_clear(out);
    if (openai_answer_event(c->answer, at, ev, out, &whole, &e)) {
        fail(c, &e);
        return;
    }
    c->whole = whole;
    if (stream) {
        if (send(c, fc_str_text(out), out->size)) end_if_whole(c);
    } else if (whole) {
        note(c);
        http_answer(c->r, 200, "application/json", fc_str_text(out), out->size);
        detach(c);
    }
}

static void take_event(serve *s, const fc_event *ev) {
    serve_job *j = find(s, ev->id);
    serve_call *c;
    size_t at;
    if (!j) return;
    c = j->call;
    at = (size_t)(j - c->jobs);
    if (ev->type == FC_EVENT_DONE) {
        count_done(c, at, ev);
        take_out(s, j);
        c->left--;
    }
    if (c->r && !c->whole) answer_event(c, at, ev);
    else if (!c->r && !c->left) forget(c);
}

/* An event that was lost for want of memory may have been anybody's last. */
static void fail_all(serve *s) {
    openai_error e;
    openai_error_of(FC_ERR_MEM, fc_last_error(), NULL, false, &e);
    for (serve_call *c = s->calls, *next; c; c = next) {
        next = c->next;
        if (c->r && !c->whole) fail(c, &e);
    }
}

void serve_events(serve *s) {
    fc_event ev;
    for (int n = 0; n < EVENTS_A_TURN; n++) {
        const fc_status st = fc_poll(s->e, 0, &ev);
        if (st == FC_ERR_TIMEOUT) return;
        if (st) {
            fail_all(s);
            continue;
        }
        take_event(s, &ev);
        fc_event_fini(&ev);
    }
    http_wake(s->h); /* sockets come first */
}

/* ---- begin ---- */

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
static fc_status parse(serve *s, http_req *r, openai_route route, openai_call **out, openai_error *e) {
    openai_context x = {
        .request_id = http_id(r), .now = (int64_t)time(NULL), .api_key = s->keys ? http_credential(r) : NULL};
    int priority;
    size_t size;
    const char *body = http_body(r, &size);
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
    c->ping = (http_timer){.fire = silent, .self = c};
    c->deadline = (http_timer){.fire = out_of_time, .self = c};
    c->next = s->calls;
    if (c->next) c->next->prev = c;
    s->calls = c;
    s->n_calls++;
    *out = c;
    return FC_OK;
}

static fc_status submit(serve_call *c) {
    const openai_call *k = openai_answer_call(c->answer);
    c->submitted_ns = c->written_ns = fc_clock_ns();
    for (size_t i = 0; i < c->n; i++) {
        FC_TRY(fc_submit(c->s->e, &k->requests[i], &c->jobs[i].id));
        c->jobs[i].call = c;
        insert(c->s, &c->jobs[i]);
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
    openai_call *k;
    openai_error e;
    serve_call *c = NULL;
    fc_status st;
    if (parse(s, r, route, &k, &e)) {
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
        http_watch(r, &watcher, c);
        return;
    }
    openai_error_of(st, fc_last_error(), NULL, http_stopping(s->h), &e);
    if (st == FC_ERR_FULL) serve_count(&s->metrics, e.http == 503 ? SERVE_REFUSED_DRAINING : SERVE_REFUSED_FULL, 1);
    if (c) fail(c, &e);
    else serve_refuse(r, &e);
}

void serve_calls_fini(serve *s) {
    while (s->calls) forget(s->calls);
    fc_str_fini(&s->out);
}
