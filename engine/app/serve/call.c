/* call - events of the engine to answers, and the ends that come from outside.
 *
 * Bytes of a stream that the connection does not take are held here, and count as unread in the budget: up to HELD_MAX
 * of an answer that goes on, and while there is room; one that is whole waits for its reader, who has stall_ms for each
 * part of it.
 */
#include "engine/app/serve/call.h"
#include "engine/base/os.h"

#include <stdio.h>
#include <string.h>

enum { HELD_MAX = 8 << 20, TURN_NS = 1000000 /* for events, before sockets have their turn */ };

static const char event_stream[] = "text/event-stream; charset=utf-8";

/* ---- the table of jobs ---- */

static serve_job **bucket(serve *s, uint64_t id) { return &s->buckets[id & (SERVE_BUCKETS - 1)]; }

static serve_job *find(serve *s, uint64_t id) {
    serve_job *j = *bucket(s, id);
    while (j && j->id != id) j = j->next;
    return j;
}

void serve_job_insert(serve *s, serve_job *j) {
    serve_job **b = bucket(s, j->id);
    j->next = *b;
    *b = j;
}

void serve_job_drop(serve *s, serve_job *j) {
    atomic_fetch_sub(&s->jobs, 1);
    atomic_fetch_sub(&s->candidates, j->candidates);
}

static void take_out(serve *s, serve_job *j) {
    serve_job **at = bucket(s, j->id);
    while (*at != j) at = &(*at)->next;
    *at = j->next;
    j->id = 0;
    serve_job_drop(s, j);
}

/* ---- bytes that wait ---- */

/* In the budget. False where there is no room for what is held. */
static bool count_held(serve_call *c) {
    http_budget *b = http_memory(c->s->h);
    const size_t now = c->held.cap, more = now > c->counted ? now - c->counted : 0;
    if (now < c->counted) http_budget_give(b, HTTP_UNREAD, c->counted - now);
    else if (c->whole) http_budget_hold(b, HTTP_UNREAD, more); /* it is there, and has been claimed */
    else if (more && !http_budget_take(b, HTTP_UNREAD, more)) return false;
    c->counted = now;
    return true;
}

/* Takes *bytes. */
static fc_status hold(serve_call *c, fc_str *bytes) {
    if (!c->whole && c->held.size + bytes->size > HELD_MAX)
        return FC_FAIL(FC_ERR_CANCELLED, "the client does not read: %zu bytes wait", c->held.size);
    if (c->held.size) {
        FC_TRY(fc_str_put(&c->held, bytes->data, bytes->size));
    } else {
        fc_str_fini(&c->held);
        c->held = *bytes;
        *bytes = (fc_str){0};
    }
    if (count_held(c)) return FC_OK;
    return FC_FAIL(FC_ERR_CANCELLED, "the client does not read: %zu bytes wait, and max_memory is in use",
                   c->held.size);
}

static void drop_held(serve_call *c) {
    fc_str_fini(&c->held); /* not only cleared: it may be large, and is rarely needed twice */
    (void)count_held(c);
}

/* ---- a call's ages ---- */

static void close_answer(serve_task *t) {
    serve_call *c = (serve_call *)t;
    openai_answer_close(c->answer);
    c->answer = NULL;
}

static void free_call(serve_task *t) {
    serve_call *c = (serve_call *)t;
    serve *s = c->s;
    openai_answer_close(c->answer); /* of a task that never ran */
    http_budget_give(http_memory(s->h), HTTP_ANSWERS, c->claim);
    for (size_t i = 0; i < c->n; i++) fc_free(c->jobs[i].drawn_ns);
    fc_free(c->jobs);
    fc_free(c);
}

/* What it holds may be large: the writer lets go of it. */
static void forget(serve_call *c) {
    serve *s = c->s;
    for (size_t i = 0; i < c->n; i++)
        if (c->jobs[i].id) take_out(s, &c->jobs[i]);
    if (c->prev) c->prev->next = c->next;
    else s->calls = c->next;
    if (c->next) c->next->prev = c->prev;
    c->end = (serve_task){.run = close_answer, .back = free_call};
    if (s->writer.runs && !serve_worker_full(&s->writer)) {
        serve_worker_put(&s->writer, &c->end);
    } else {
        close_answer(&c->end);
        free_call(&c->end);
    }
}

void serve_call_settle(serve_call *c) {
    if (!c->r && !c->reading && !c->writing && !c->left) forget(c);
}

static void cancel_jobs(serve_call *c) {
    for (size_t i = 0; i < c->n; i++)
        if (c->jobs[i].id) fc_cancel(c->s->e, c->jobs[i].id);
}

/* For the access log, before the request ends. */
static void note(serve_call *c) {
    const openai_call *k = c->answer ? openai_answer_call(c->answer) : NULL;
    fc_str s = {0};
    fc_status st;
    if (!k) return; /* it was not read */
    st = fc_str_puts(&s, "\"model\":");
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
    atomic_store(&c->gone, true);
    drop_held(c);
    if (c->left) cancel_jobs(c);
    serve_call_settle(c);
}

/* ---- bytes ---- */

static void end_if_whole(serve_call *c) {
    if (!c->whole || c->held.size) return;
    note(c);
    http_end(c->r);
    detach(c);
}

/* May take *bytes. */
static fc_status write_or_hold(serve_call *c, fc_str *bytes) {
    const fc_status st = c->held.size ? FC_ERR_FULL : http_write_own(c->r, bytes);
    return st == FC_ERR_FULL ? hold(c, bytes) : st;
}

static void cut(serve_call *c) {
    note(c);
    http_cut(c->r);
    detach(c);
}

/* Ends the answer with an error: of its own, or the stream's last event, behind what waits to be read. */
void serve_call_end(serve_call *c, const openai_error *e) {
    fc_str out = {0};
    if (!c->began) {
        note(c);
        serve_refuse(c->r, e);
        detach(c);
        return;
    }
    c->whole = true;
    cancel_jobs(c);
    if (openai_stream_error(e, &out) || write_or_hold(c, &out)) cut(c);
    else end_if_whole(c);
    fc_str_fini(&out);
}

void serve_call_fail(serve_call *c, const openai_error *e) {
    serve_failed(&c->s->metrics, SERVE_AT_ENGINE, e->http);
    serve_call_end(c, e);
}

/* False where the call has ended for it. */
static bool send(serve_call *c, fc_str *bytes) {
    fc_status st = FC_OK;
    openai_error e;
    if (!bytes->size) return true;
    if (!c->began) {
        st = http_field(c->r, "Cache-Control", "no-cache");
        if (!st) st = http_field(c->r, "X-Accel-Buffering", "no"); /* a proxy that would wait for more */
        if (!st) http_begin(c->r, 200, event_stream);
        c->began = !st;
    }
    if (!st) st = write_or_hold(c, bytes);
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
    serve_call_fail(c, &e);
    return false;
}

static void writable(void *self, http_req *r) {
    serve_call *c = self;
    fc_status st;
    if (!c->held.size) return;
    st = http_write_own(r, &c->held);
    if (st == FC_ERR_FULL) return;
    drop_held(c);
    if (st) cut(c);
    else end_if_whole(c);
}

/* ---- ends that come from outside ---- */

/* A stream's last event where it goes at once; nobody waits for its reader any more. */
static void end_or_cut(serve_call *c, const openai_error *e) {
    fc_str out = {0};
    serve_failed(&c->s->metrics, SERVE_AT_ENGINE, e->http);
    c->whole = true;
    cancel_jobs(c);
    if (c->held.size || openai_stream_error(e, &out) || http_write_own(c->r, &out)) cut(c);
    else end_if_whole(c);
    fc_str_fini(&out);
}

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
    if (!c->began) serve_call_fail(c, &e);
    else end_or_cut(c, &e);
}

const http_watcher serve_call_watcher = {.on_cancel = cancelled, .on_writable = writable};

void serve_call_out_of_time(http_timer *t) {
    serve_call *c = t->self;
    openai_error e;
    char why[96];
    if (c->whole) return; /* it is being read */
    snprintf(why, sizeof why, "the request took longer than %d ms", c->s->c.request_ms);
    openai_error_of(FC_ERR_TIMEOUT, why, NULL, false, &e);
    serve_count(&c->s->metrics, SERVE_CANCEL_DEADLINE, 1);
    serve_call_fail(c, &e);
}

void serve_call_silent(http_timer *t) {
    serve_call *c = t->self;
    const uint64_t patience = (uint64_t)c->s->c.ping_ms * 1000000u, now = fc_clock_ns();
    if (!c->whole && !c->held.size && now >= c->written_ns + patience) {
        fc_str ping = {0};
        bool sent = true;
        serve_count(&c->s->metrics, SERVE_PINGS, 1);
        if (fc_str_puts(&ping, openai_ping) == FC_OK) sent = send(c, &ping);
        fc_str_fini(&ping);
        if (!sent) return;
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

static void count_token(serve *s, serve_job *j, const fc_event *ev) {
    const uint64_t now = fc_clock_ns();
    if (ev->candidate < 0 || (size_t)ev->candidate >= j->n_drawn) return;
    if (j->drawn_ns[ev->candidate])
        serve_observe(&s->metrics, SERVE_ITL, (double)(now - j->drawn_ns[ev->candidate]) * 1e-9);
    j->drawn_ns[ev->candidate] = now;
}

void serve_call_bytes(serve_call *c, fc_str *bytes, bool whole) {
    c->whole = whole;
    if (openai_answer_call(c->answer)->stream) {
        if (send(c, bytes)) end_if_whole(c);
    } else if (whole) {
        note(c);
        http_answer_own(c->r, 200, "application/json", bytes);
        detach(c);
    }
}

/* The event's part of the answer: at once where it is small and nothing is in front of it. */
static void answer_event(serve_call *c, size_t at, fc_event *ev) {
    openai_error e;
    bool whole = false;
    fc_str *out = &c->s->out;
    fc_status st;
    if (ev->type == FC_EVENT_DONE || c->writing) {
        st = serve_write(c, at, ev);
        if (st) openai_error_of(st, fc_last_error(), NULL, false, &e);
    } else {
        fc_str_clear(out);
        st = openai_answer_event(c->answer, at, ev, out, &whole, &e);
        if (!st) serve_call_bytes(c, out, whole);
    }
    if (st) serve_call_fail(c, &e);
}

static void append_early(serve *s, serve_early_event *k) {
    if (!s->early) s->early_end = &s->early;
    k->next = NULL;
    *s->early_end = k;
    s->early_end = &k->next;
}

/* It may come before the reader has told of its job. */
static fc_status keep_early(serve *s, fc_event *ev) {
    serve_early_event *k;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *k, "event", &p));
    k = p;
    k->ev = *ev;
    *ev = (fc_event){0};
    append_early(s, k);
    return FC_OK;
}

static void fail_all(serve *s);

static void take_event(serve *s, fc_event *ev) {
    serve_job *j = find(s, ev->id);
    serve_call *c;
    size_t at;
    if (!j) {
        if (keep_early(s, ev)) fail_all(s);
        return;
    }
    c = j->call;
    at = (size_t)(j - c->jobs);
    if (ev->type == FC_EVENT_TOKEN) count_token(s, j, ev);
    if (ev->type == FC_EVENT_DONE) {
        count_done(c, at, ev);
        take_out(s, j);
        c->left--;
    }
    if (c->r && !c->whole) answer_event(c, at, ev);
    else if (ev->type != FC_EVENT_DONE || serve_write(c, at, ev)) serve_call_settle(c);
}

/* Those whose job is still not known stay, in order, and those that the writer has no place for. */
static void take_early(serve *s) {
    serve_early_event *all = s->early, *next;
    s->early = NULL;
    s->early_due = false;
    for (; all; all = next) {
        next = all->next;
        s->early_due = s->early_due || serve_worker_full(&s->writer);
        if (s->early_due) {
            append_early(s, all);
            continue;
        }
        take_event(s, &all->ev);
        fc_event_fini(&all->ev);
        fc_free(all);
    }
}

/* An event that was lost for want of memory may have been anybody's last. */
static void fail_all(serve *s) {
    openai_error e;
    openai_error_of(FC_ERR_MEM, fc_last_error(), NULL, false, &e);
    for (serve_call *c = s->calls, *next; c; c = next) {
        next = c->next;
        if (c->r && !c->whole) serve_call_fail(c, &e);
    }
}

void serve_events(serve *s) {
    fc_event ev;
    const uint64_t end = fc_clock_ns() + TURN_NS;
    if (s->early_due) take_early(s); /* in front of what comes now */
    while (fc_clock_ns() < end) {
        fc_status st;
        if (serve_worker_full(&s->writer)) return; /* it wakes the loop when it has written */
        st = fc_poll(s->e, 0, &ev);
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

/* ---- the last ---- */

void serve_calls_fini(serve *s) {
    while (s->early) {
        serve_early_event *k = s->early;
        s->early = k->next;
        fc_event_fini(&k->ev);
        fc_free(k);
    }
    while (s->calls) {
        if (s->calls->r) http_cut(s->calls->r); /* the loop has failed */
        forget(s->calls);
    }
    fc_str_fini(&s->out);
}
