#define _GNU_SOURCE
#include "engine/app/http/conn.h"

#include "engine/app/http/head.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BODY_GRACE_MS = 10000,
    LINGER_MS = 2000,
    DRAIN_IDLE_MS = 1000, /* at the end: a connection without a request for so long will hardly be sending one */
};

static uint64_t ms(int n) { return (uint64_t)n * 1000000u; }
static void enter(http_conn *c, conn_state state) {
    c->state = state;
    c->since_ns = fc_clock_ns();
    c->waits = false;
    if (state == CONN_IDLE) c->half = false; /* what came before the end is still to be read */
    conn_list(c);
}

/* When its patience ends; 0: never. */
static uint64_t due(const http_conn *c) {
    const http_options *o = &c->h->o;
    uint64_t all, slow;
    if (c->spare && c->state <= CONN_BODY) return conn_spare_due(c);
    switch (c->state) {
    case CONN_IDLE: return c->since_ns + ms(c->h->state >= HTTP_DRAINS ? DRAIN_IDLE_MS : o->idle_ms);
    case CONN_HEAD: return c->since_ns + ms(o->head_ms);
    case CONN_BODY:
        all = c->since_ns + ms(o->body_ms);
        slow = c->since_ns + ms(BODY_GRACE_MS) + c->req->msg.body.size * 1000000000u / (uint64_t)o->body_rate;
        return slow < all ? slow : all;
    case CONN_BUSY: return c->waits ? c->since_ns + ms(o->stall_ms) : 0;
    case CONN_LINGER: return c->since_ns + ms(LINGER_MS);
    }
    return 0;
}

void conn_arm(http_conn *c) {
    const uint64_t end = due(c);
    uint32_t mask = conn_pending(c) || (c->req && c->req->starved) ? EPOLLOUT : 0;
    if (!c->half) mask |= c->state == CONN_BUSY ? EPOLLRDHUP : EPOLLIN;
    http_loop_mask(c->h->loop, &c->io, mask);
    /* A timer that fires too early finds that out by itself: most requests need not touch it. */
    if (end && (!c->timer.place || c->timer.due_ns > end) && http_timer_set(c->h->loop, &c->timer, end))
        conn_close(c, HTTP_GONE);
}

void conn_ready(http_conn *c) {
    if (c->ready) return;
    c->ready = true;
    c->next_ready = c->h->ready;
    c->h->ready = c;
}

void conn_close(http_conn *c, http_why why) {
    http *h = c->h;
    int fd = c->io.fd;
    if (fd < 0) return;
    http_loop_remove(h->loop, &c->io);
    http_timer_clear(h->loop, &c->timer);
    if (c->req) {
        http_req *r = c->req;
        r->gone = true;
        if (c->state == CONN_BUSY && r->at != REQ_ENDED && r->watcher) r->watcher->on_cancel(r->watcher_self, r, why);
        req_log(r);
        req_free(r);
    }
    close(fd);
    conn_unlist(c);
    h->n_spare -= c->spare;
    conn_drop_output(c);
    fc_free(c->in);
    c->in = NULL;
    h->counts.connections--;
    conn_ready(c); /* the list may name it already; it is freed when the list is empty */
}

void conn_free_dead(http *h) {
    while (h->dead) {
        http_conn *c = h->dead;
        h->dead = c->next;
        fc_free(c);
    }
}

static bool begin(http_conn *c) {
    void *p;
    http_req *r;
    if (fc_alloc(1, sizeof *r, "request", &p)) return false;
    r = p;
    r->c = c;
    r->late = c->h->state >= HTTP_DRAINS;
    r->began_ns = fc_clock_ns();
    http_msg_init(&r->msg, &c->h->limits);
    c->req = r;
    c->h->counts.active++;
    enter(c, CONN_HEAD);
    return true;
}

void conn_refuse(http_conn *c, int status, const char *why) {
    if (!c->req && !begin(c)) {
        conn_close(c, HTTP_GONE);
        return;
    }
    c->closing = true;
    enter(c, CONN_BUSY);
    answer_raw(c->req, status, why);
}

/* The budget is full. */
static void no_room(http_conn *c) {
    c->h->counts.no_room++;
    fc_str_fini(&c->req->msg.body);
    conn_refuse(c, 503, "the memory for requests is in use; max_memory bounds it");
}

static bool host_is_ours(const http_conn *c) {
    const http_options *o = &c->h->o;
    const char *host = c->req->msg.host;
    const size_t n = strlen(host);
    if (!c->loopback || n == 0 || http_host_is_loopback(host, n)) return true;
    for (size_t i = 0; i < o->n_hosts; i++)
        if (strcmp(o->hosts[i], "*") == 0 || http_host_is(host, n, o->hosts[i])) return true;
    return false;
}

static void take_id(http_req *r) {
    const char *id = http_msg_field(&r->msg, "x-request-id");
    if (id && http_id_valid(id)) snprintf(r->id, sizeof r->id, "%s", id);
}

static void got_head(http_conn *c) {
    http *h = c->h;
    http_req *r = c->req;
    take_id(r);
    if (r->late) {
        conn_refuse(c, 503, "the server is stopping");
        return;
    }
    if (!host_is_ours(c)) {
        conn_refuse(c, 421,
                    "this host is not served here: localhost is, and names that allowed_host (--allowed-host) gives");
        return;
    }
    if (h->o.on_head) {
        h->o.on_head(h->o.self, r);
        if (r->at != REQ_OPEN) {
            enter(c, CONN_BUSY);
            return;
        }
    }
    if (c->spare && !r->quick) {
        conn_turn_away(c);
        return;
    }
    while (r->msg.has_body && !http_budget_fits(&h->memory, (size_t)r->msg.length)) {
        if (conn_make_memory(c, (size_t)r->msg.length)) continue;
        no_room(c);
        return;
    }
    enter(c, CONN_BODY);
    if (r->msg.expects && r->msg.has_body) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        if (fc_str_put(&c->out, go_on, sizeof go_on - 1)) conn_refuse(c, 503, "out of memory");
    }
}

static void got_request(http_conn *c) {
    http *h = c->h;
    http_req *r = c->req;
    enter(c, CONN_BUSY);
    h->o.on_request(h->o.self, r);
    if (r->at != REQ_ENDED && !r->watcher) {
        if (r->at == REQ_OPEN) answer_raw(r, 500, "the request was not answered");
        else http_cut(r);
    }
}

/* What has come of the body is counted. False where there is no room for it. */
static bool count_body(http_req *r) {
    const size_t now = r->msg.body.cap;
    if (now == r->counted) return true; /* the budget may be overfull: of others */
    while (!http_budget_admit(&r->c->h->memory, HTTP_BODIES, now - r->counted))
        if (!conn_make_memory(r->c, now - r->counted)) return false;
    r->counted = now;
    return true;
}

/* Bytes from p; how many of them are used. The rest waits until the request under way is answered. */
static size_t take(http_conn *c, const char *p, size_t size) {
    size_t at = 0;
    for (;;) {
        http_msg *m;
        size_t used;
        http_got got;
        if (c->state == CONN_LINGER) return size;
        if (c->state == CONN_BUSY) return at;
        if (c->state == CONN_IDLE) {
            if (at == size) return at;
            if (!begin(c)) {
                conn_close(c, HTTP_GONE);
                return size;
            }
        }
        m = &c->req->msg;
        got = http_msg_feed(m, p + at, size - at, &used);
        at += used;
        if (got != GOT_BAD && !count_body(c->req)) no_room(c);
        else if (got == GOT_HEAD) got_head(c);
        else if (got == GOT_DONE) got_request(c);
        else if (got == GOT_BAD) conn_refuse(c, m->status, m->why);
        else return at;
    }
}

static void readable(http_conn *c) {
    http *h = c->h;
    ssize_t n = recv(c->io.fd, h->scratch, sizeof h->scratch, 0);
    size_t used;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) { /* what is under way will not be whole, or nothing is */
        conn_close(c, HTTP_GONE);
        return;
    }
    h->counts.bytes_in += (uint64_t)n;
    used = take(c, h->scratch, (size_t)n);
    if (used < (size_t)n) {
        FC_ASSERT(!c->in);
        if (fc_copy_bytes(h->scratch + used, (size_t)n - used, "pipelined bytes", &c->in)) {
            conn_close(c, HTTP_GONE);
            return;
        }
        c->in_at = 0;
        c->in_size = (size_t)n - used;
    }
    conn_ready(c);
}

static void event(http_fd *f, uint32_t events) {
    http_conn *c = (http_conn *)((char *)f - offsetof(http_conn, io));
    if (events & (EPOLLERR | EPOLLHUP)) {
        conn_close(c, HTTP_GONE);
        return;
    }
    if ((events & EPOLLIN) && c->state != CONN_BUSY) readable(c);
    if ((events & EPOLLRDHUP) && c->state == CONN_BUSY) {
        /* A client that has only stopped sending gets what is written already; nobody waits for more on its behalf. */
        c->half = true;
        if (c->req->at != REQ_ENDED) conn_close(c, HTTP_GONE);
        else conn_ready(c);
    }
    if (events & EPOLLOUT) conn_ready(c);
}

static void expired(http_timer *t) {
    http_conn *c = t->self;
    uint64_t end = due(c);
    if (end == 0) return;
    if (fc_clock_ns() < end) {
        conn_arm(c);
        return;
    }
    if (c->spare && c->state <= CONN_BODY) {
        conn_turn_away(c);
        conn_ready(c);
    } else if (c->state == CONN_HEAD || c->state == CONN_BODY) {
        conn_refuse(c, 408, "the request did not arrive in time");
        conn_ready(c);
    } else if (c->state == CONN_BUSY && conn_reads(c)) {
        conn_arm(c);
    } else {
        c->h->counts.too_slow += c->state == CONN_BUSY;
        conn_close(c, HTTP_GONE);
    }
}

void conn_open(http *h, size_t listener, int fd, const char *peer, bool loopback) {
    const bool room = conn_make_room(h);
    void *p = NULL;
    http_conn *c;
    if (fc_alloc(1, sizeof *c, "connection", &p)) {
        close(fd);
        return;
    }
    c = p;
    c->h = h;
    c->listener = (uint8_t)listener;
    c->loopback = loopback;
    c->local = strncmp(h->listeners[listener].name, "unix:", 5) == 0;
    c->io = (http_fd){.fd = fd, .ready = event};
    c->timer = (http_timer){.fire = expired, .self = c};
    snprintf(c->peer, sizeof c->peer, "%s", peer);
    if (http_loop_add(h->loop, &c->io, EPOLLIN)) {
        close(fd);
        fc_free(c);
        return;
    }
    h->counts.connections++;
    h->counts.accepted++;
    if (!room) conn_be_spare(c);
    enter(c, CONN_IDLE);
    conn_arm(c);
}

/* The answer is written. False where the connection is at its end. */
static bool finish(http_conn *c) {
    const bool cut = c->req->cut, silent = cut && !c->req->chunked;
    req_log(c->req);
    req_free(c->req);
    if (!c->closing) {
        enter(c, CONN_IDLE);
        return true;
    }
    if (silent) { /* without chunks an end looks like the end: a reset does not */
        const struct linger reset = {.l_onoff = 1};
        setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    if (cut || c->half || shutdown(c->io.fd, SHUT_WR)) {
        conn_close(c, HTTP_GONE);
        return false;
    }
    /* Closing with bytes unread would send a reset, which may overtake the answer: wait for the client's own end. */
    fc_free(c->in);
    c->in = NULL;
    enter(c, CONN_LINGER);
    return true;
}

void conn_settle(http_conn *c) {
    bool told = false; /* once a turn: a fast reader of a long stream is not alone */
    c->ready = false;
    if (c->io.fd < 0) {
        c->next = c->h->dead;
        c->h->dead = c;
        return;
    }
    for (;;) {
        http_req *r = c->req;
        if (!conn_flush(c)) {
            conn_close(c, HTTP_GONE);
            return;
        }
        if (c->state == CONN_BUSY && r->at == REQ_ENDED) {
            if (conn_pending(c)) break;
            if (!finish(c)) return;
        } else if (c->state == CONN_BUSY && r->starved && !told && conn_may_write(c)) {
            r->starved = false;
            told = true;
            if (r->watcher && r->watcher->on_writable) r->watcher->on_writable(r->watcher_self, r);
        } else if (c->state == CONN_IDLE && c->in) {
            char *in = c->in;
            size_t size = c->in_size;
            c->in = NULL;
            c->in_at += take(c, in + c->in_at, size - c->in_at);
            if (c->io.fd >= 0 && c->state != CONN_LINGER && c->in_at < size) c->in = in;
            else fc_free(in);
            if (c->io.fd < 0) return;
        } else {
            break;
        }
    }
    if (c->state == CONN_IDLE) conn_drop_output(c); /* a kept connection costs its struct alone */
    else conn_count(c);
    conn_arm(c);
}

void conn_closing(http_conn *c) {
    http_req *r = c->req;
    switch (c->state) {
    case CONN_IDLE: conn_close(c, HTTP_CLOSING); return;
    case CONN_HEAD:
    case CONN_BODY: conn_refuse(c, 503, "the server is stopping"); break;
    case CONN_BUSY:
        c->closing = true;
        if (r->at == REQ_ENDED) return;
        if (r->watcher) r->watcher->on_cancel(r->watcher_self, r, HTTP_CLOSING);
        if (r->at == REQ_OPEN) answer_raw(r, 503, "the server is stopping");
        if (r->at == REQ_STREAM) http_cut(r);
        break;
    case CONN_LINGER: return;
    }
    conn_ready(c);
}

void conn_check(const http *h) {
    size_t bodies = 0, unread = 0;
    int n = 0, active = 0, spare = 0;
    for (int k = 0; k < LISTS; k++) {
        uint64_t before = 0;
        for (const http_conn *c = h->lists[k].first; c; c = c->next, n++) {
            const bool sends = c->state == CONN_HEAD || c->state == CONN_BODY;
            const uint64_t came = k == LIST_SENDERS ? c->req->began_ns : c->since_ns;
            FC_ASSERT(c->list == &h->lists[k]);
            FC_ASSERT((c->req != NULL) == (sends || c->state == CONN_BUSY));
            FC_ASSERT(c->spare == (k == LIST_SPARE));
            if (!c->spare) FC_ASSERT((c->state == CONN_IDLE) == (k == LIST_IDLE) && sends == (k == LIST_SENDERS));
            FC_ASSERT(!c->in || (c->state == CONN_BUSY && c->in_size <= HTTP_READ));
            if (k <= LIST_SENDERS) FC_ASSERT(came >= before);
            before = came;
            active += c->req != NULL;
            spare += c->spare;
            if (c->req) bodies += c->req->counted;
            unread += c->out.cap + c->tail.cap - c->released + c->behind.cap;
        }
    }
    FC_ASSERT(bodies <= http_budget_share(&h->memory, HTTP_BODIES));
    FC_ASSERT(unread == http_budget_share(&h->memory, HTTP_UNREAD));
    FC_ASSERT(n == h->counts.connections && active == h->counts.active && spare == h->n_spare);
}
