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
    TURNED_AWAY_MAX = 64, /* connections above the cap that are told so; the rest is closed without a word */
    BODY_GRACE_MS = 10000,
    LINGER_MS = 2000,
    ON_ITS_WAY_MS = 1000, /* a connection without a request for so long will hardly be sending one */
};

static uint64_t ms(int n) { return (uint64_t)n * 1000000u; }
size_t conn_pending(const http_conn *c) { return c->out.size - c->out_at; }

static void list_remove(http_conn *c) {
    if (c->prev) c->prev->next = c->next;
    if (c->next) c->next->prev = c->prev;
    if (c->list->first == c) c->list->first = c->next;
    if (c->list->last == c) c->list->last = c->prev;
    c->prev = c->next = NULL;
    c->list = NULL;
}

static void list_append(http_list *l, http_conn *c) {
    c->list = l;
    c->prev = l->last;
    if (l->last) l->last->next = c;
    if (!l->first) l->first = c;
    l->last = c;
}

static void enter(http_conn *c, conn_state state) {
    c->state = state;
    c->since_ns = fc_clock_ns();
    if (state == CONN_IDLE) c->half = false; /* what came before the end is still to be read */
    if (c->list) list_remove(c);
    list_append(state == CONN_IDLE ? &c->h->idle : &c->h->busy, c);
}

/* When its patience ends; 0: never. */
static uint64_t due(const http_conn *c) {
    const http_options *o = &c->h->o;
    uint64_t all, slow;
    switch (c->state) {
    case CONN_IDLE: return c->since_ns + ms(c->h->state >= HTTP_DRAINS ? ON_ITS_WAY_MS : o->idle_ms);
    case CONN_HEAD: return c->since_ns + ms(o->head_ms);
    case CONN_BODY:
        all = c->since_ns + ms(o->body_ms);
        slow = c->since_ns + ms(BODY_GRACE_MS) + c->req->msg.body.size * 1000000000u / (uint64_t)o->body_rate;
        return slow < all ? slow : all;
    case CONN_BUSY: return conn_pending(c) ? c->since_ns + ms(o->stall_ms) : 0;
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
    list_remove(c);
    fc_str_fini(&c->out);
    c->out_at = 0;
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

static void refuse(http_conn *c, int status, const char *why) {
    c->closing = true;
    enter(c, CONN_BUSY);
    answer_raw(c->req, status, why);
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
        refuse(c, 503, "the server is stopping");
        return;
    }
    if (!host_is_ours(c)) {
        refuse(c, 421,
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
    enter(c, CONN_BODY);
    if (r->msg.expects && r->msg.has_body) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        if (fc_str_put(&c->out, go_on, sizeof go_on - 1)) refuse(c, 503, "out of memory");
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

/* Bytes from p; how many of them are used. The rest waits until the request under way is answered. */
static size_t take(http_conn *c, const char *p, size_t size) {
    http *h = c->h;
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
        h->counts.bodies += m->body.size - c->req->counted;
        c->req->counted = m->body.size;
        if (h->counts.bodies > h->o.bodies && got != GOT_BAD) refuse(c, 503, "too many bodies are held");
        else if (got == GOT_HEAD) got_head(c);
        else if (got == GOT_DONE) got_request(c);
        else if (got == GOT_BAD) refuse(c, m->status, m->why);
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
    if (c->state == CONN_HEAD || c->state == CONN_BODY) {
        refuse(c, 408, "the request did not arrive in time");
        conn_ready(c);
    } else {
        conn_close(c, HTTP_GONE);
    }
}

void conn_open(http *h, size_t listener, int fd, const char *peer, bool loopback) {
    const bool many = h->counts.connections >= h->o.connections;
    const http_conn *oldest = h->idle.first;
    void *p = NULL;
    http_conn *c;
    if (many && oldest && fc_clock_ns() - oldest->since_ns > ms(ON_ITS_WAY_MS)) { /* it gives way */
        conn_close(h->idle.first, HTTP_GONE);
    } else if (many) {
        h->counts.turned_away++;
        if (h->counts.connections >= h->o.connections + TURNED_AWAY_MAX) {
            close(fd);
            return;
        }
    }
    if (fc_alloc(1, sizeof *c, "connection", &p)) {
        close(fd);
        return;
    }
    c = p;
    c->h = h;
    c->listener = (uint8_t)listener;
    c->loopback = loopback;
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
    enter(c, CONN_IDLE);
    if (h->counts.connections > h->o.connections) {
        if (!begin(c)) {
            conn_close(c, HTTP_GONE);
            return;
        }
        refuse(c, 503, "too many connections");
        conn_ready(c);
    }
    conn_arm(c);
}

/* False where the connection is broken. */
static bool flush(http_conn *c) {
    while (conn_pending(c)) {
        ssize_t n = send(c->io.fd, c->out.data + c->out_at, conn_pending(c), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN;
        c->out_at += (size_t)n;
        c->h->counts.bytes_out += (uint64_t)n;
        if (c->state == CONN_BUSY) c->since_ns = fc_clock_ns();
    }
    fc_str_clear(&c->out);
    c->out_at = 0;
    return true;
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
        if (!flush(c)) {
            conn_close(c, HTTP_GONE);
            return;
        }
        if (c->state == CONN_BUSY && r->at == REQ_ENDED) {
            if (conn_pending(c)) break;
            if (!finish(c)) return;
        } else if (c->state == CONN_BUSY && r->starved && !told && conn_pending(c) <= c->h->o.buffer / 2) {
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
    if (c->state == CONN_IDLE) fc_str_fini(&c->out); /* a kept connection costs its struct alone */
    conn_arm(c);
}

void conn_closing(http_conn *c) {
    http_req *r = c->req;
    switch (c->state) {
    case CONN_IDLE: conn_close(c, HTTP_CLOSING); return;
    case CONN_HEAD:
    case CONN_BODY: refuse(c, 503, "the server is stopping"); break;
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
    size_t bodies = 0;
    int n = 0, active = 0;
    const http_list *lists[2] = {&h->idle, &h->busy};
    for (int k = 0; k < 2; k++) {
        uint64_t before = 0;
        for (const http_conn *c = lists[k]->first; c; c = c->next, n++) {
            FC_ASSERT(c->list == lists[k]);
            FC_ASSERT((c->req != NULL) == (c->state == CONN_HEAD || c->state == CONN_BODY || c->state == CONN_BUSY));
            FC_ASSERT((c->state == CONN_IDLE) == (k == 0));
            FC_ASSERT(!c->in || (c->state == CONN_BUSY && c->in_size <= HTTP_READ));
            if (k == 0) FC_ASSERT(c->since_ns >= before);
            before = c->since_ns;
            active += c->req != NULL;
            if (c->req) bodies += c->req->counted;
        }
    }
    FC_ASSERT(bodies == h->counts.bodies && n == h->counts.connections && active == h->counts.active);
}
