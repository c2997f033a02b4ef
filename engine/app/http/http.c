#define _GNU_SOURCE
#include "engine/app/http/conn.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTED_A_TURN = 64, ACCEPT_AGAIN_MS = 100, LAST_WORDS_MS = 1000, OTHER_FILES = 256 };

static uint64_t in_ms(int n) { return fc_clock_ns() + (uint64_t)n * 1000000u; }

static bool is_loopback(const struct sockaddr_storage *a) {
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (a->ss_family == AF_INET) return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    if (a->ss_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)a)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(v6) || (memcmp(v6->s6_addr, mapped, 12) == 0 && v6->s6_addr[12] == 127);
    }
    return false;
}

static void name_peer(const struct sockaddr_storage *a, char *out, size_t size) {
    char host[INET6_ADDRSTRLEN] = "";
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        snprintf(out, size, "%s:%d", host, ntohs(v4->sin_port));
    } else if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        snprintf(out, size, "[%s]:%d", host, ntohs(v6->sin6_port));
    } else {
        snprintf(out, size, "unix");
    }
}

static void mask_listeners(http *h, uint32_t mask) {
    for (size_t i = 0; i < h->n_listeners; i++)
        if (h->doors[i].io.fd >= 0) http_loop_mask(h->loop, &h->doors[i].io, mask);
}

static void accept_again(http_timer *t) { mask_listeners(t->self, EPOLLIN); }

/* Takes up to `most` connections. */
static void accept_some(http *h, size_t i, int most) {
    while (most-- > 0) {
        struct sockaddr_storage a = {0}, own = {0};
        socklen_t size = sizeof a, own_size = sizeof own;
        char peer[64];
        int fd = accept4(h->listeners[i].fd, (struct sockaddr *)&a, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                /* It stays readable: without a rest the loop would spin until a descriptor is free. */
                mask_listeners(h, 0);
                if (http_timer_set(h->loop, &h->accept_again, in_ms(ACCEPT_AGAIN_MS))) mask_listeners(h, EPOLLIN);
                return;
            }
            if (errno == EAGAIN) return;
            continue; /* this one was broken before it was taken */
        }
        name_peer(&a, peer, sizeof peer);
        conn_open(h, i, fd, peer, getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 && is_loopback(&own));
    }
}

static void acceptable(http_fd *f, uint32_t events) {
    http_door *d = (http_door *)((char *)f - offsetof(http_door, io));
    (void)events;
    accept_some(d->h, d->listener, ACCEPTED_A_TURN);
}

static void for_all(http *h, void (*call)(http_conn *c)) {
    for (int k = 0; k < LISTS; k++)
        for (http_conn *c = h->lists[k].first, *next; c; c = next) {
            next = c->next;
            call(c);
        }
}

static void end(http_conn *c) { conn_close(c, HTTP_CLOSING); }
static void close_all(http *h) { for_all(h, end); }

static void settle(http *h) {
    while (h->ready) {
        http_conn *c = h->ready;
        h->ready = c->next_ready;
        conn_settle(c);
    }
    conn_free_dead(h);
}

static void set_drain(http *h, int n) {
    if (http_timer_set(h->loop, &h->drain, in_ms(n))) close_all(h); /* no memory for patience */
}

static void stop_listening(http *h) {
    for (size_t i = 0; i < h->n_listeners; i++) {
        http_loop_remove(h->loop, &h->doors[i].io);
        http_listener_close(&h->listeners[i]);
    }
}

/* Who has connected is told; who connects from now on finds nobody. */
static void drain(http *h) {
    for (size_t i = 0; i < h->n_listeners; i++) accept_some(h, i, h->o.connections);
    h->state = HTTP_DRAINS;
    stop_listening(h);
    http_timer_clear(h->loop, &h->accept_again);
    for (http_conn *c = h->lists[LIST_IDLE].first, *next; c; c = next) {
        next = c->next;
        conn_arm(c); /* their patience is shorter now */
    }
    set_drain(h, h->o.drain_ms);
}

static void finish(http *h) {
    if (h->state < HTTP_DRAINS) drain(h);
    h->state = HTTP_ENDS;
    for_all(h, conn_closing);
    set_drain(h, LAST_WORDS_MS);
}

static void drain_due(http_timer *t) {
    http *h = t->self;
    if (h->state == HTTP_LEAVES) drain(h);
    else if (h->state == HTTP_DRAINS) finish(h);
    else close_all(h);
}

static void stop(http *h) {
    if (h->state == HTTP_RUNS) {
        http_notify("STOPPING=1");
        h->state = HTTP_LEAVES;
        if (h->o.drain_delay_ms) set_drain(h, h->o.drain_delay_ms);
        else drain(h);
    } else if (h->state < HTTP_ENDS) {
        finish(h);
    }
}

static void woken(void *self) {
    http *h = self;
    for (int n = atomic_load(&h->stops); h->stops_seen < n && h->stops_seen < 2; h->stops_seen++) stop(h);
    if (h->o.on_wake) h->o.on_wake(h->o.self);
}

static void defaults(http_options *o) {
    const struct {
        int *value, fallback;
    } ints[] = {{&o->connections, 4096}, {&o->head_ms, 10000},  {&o->body_ms, 60000}, {&o->body_rate, 512},
                {&o->idle_ms, 60000},    {&o->stall_ms, 60000}, {&o->drain_ms, 15000}};
    const struct {
        size_t *value, fallback;
    } sizes[] = {{&o->head, 32u << 10},
                 {&o->target, 8u << 10},
                 {&o->body, 4u << 20},
                 {&o->memory, 256u << 20},
                 {&o->buffer, 256u << 10}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        if (*ints[i].value == 0) *ints[i].value = ints[i].fallback;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (*sizes[i].value == 0) *sizes[i].value = sizes[i].fallback;
    if (!o->unix_mode) o->unix_mode = 0660;
    if (!o->log_fd) o->log_fd = STDERR_FILENO;
}

/* As many descriptors as the cap on connections needs, where the hard limit has them; else the cap is what there is. */
static fc_status fit_files(http_options *o) {
    struct rlimit now;
    const rlim_t want = (rlim_t)o->connections + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &now)) return FC_FAIL(FC_ERR_IO, "limit of open files: %s", strerror(errno));
    if (now.rlim_cur < want) {
        struct rlimit more = {.rlim_cur = now.rlim_max < want ? now.rlim_max : want, .rlim_max = now.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0) now = more;
    }
    if (now.rlim_cur < OTHER_FILES * 2) o->connections = o->connections < 64 ? o->connections : 64;
    else if (now.rlim_cur < want) o->connections = (int)(now.rlim_cur - OTHER_FILES);
    return FC_OK;
}

fc_status http_open(const http_options *o, http **out) {
    fc_status st;
    void *p;
    http *h;
    if (!o->on_request) return FC_FAIL(FC_ERR_ARG, "http: nobody answers requests");
    if (o->head > HTTP_HEAD_MAX || o->target > HTTP_HEAD_MAX)
        return FC_FAIL(FC_ERR_ARG, "http: a head of %zu bytes; at most %d", o->head, (int)HTTP_HEAD_MAX);
    FC_TRY(fc_alloc(1, sizeof *h, "server", &p));
    h = p;
    h->o = *o;
    defaults(&h->o);
    h->memory.most = h->o.memory;
    h->limits = (http_limits){.head = h->o.head, .target = h->o.target, .body = h->o.body};
    h->accept_again = (http_timer){.fire = accept_again, .self = h};
    h->drain = (http_timer){.fire = drain_due, .self = h};
    FC_TRY_GOTO(st, fit_files(&h->o), fail);
    if (getrandom(h->id_key, sizeof h->id_key, 0) != (ssize_t)sizeof h->id_key) {
        st = FC_FAIL(FC_ERR_IO, "random bytes: %s", strerror(errno));
        goto fail;
    }
    FC_TRY_GOTO(st, http_loop_open(woken, h, &h->loop), fail);
    if (h->o.inherit) FC_TRY_GOTO(st, http_listen_inherited(h->listeners, &h->n_listeners), fail);
    for (size_t i = 0; i < h->o.n_listen; i++) {
        h->last_listen = h->n_listeners;
        FC_TRY_GOTO(st, http_listen(h->o.listen[i], h->o.unix_mode, h->listeners, &h->n_listeners), fail);
    }
    if (h->n_listeners == 0) {
        st = FC_FAIL(FC_ERR_ARG, "http: no address to listen at");
        goto fail;
    }
    for (size_t i = 0; i < h->n_listeners; i++) {
        h->doors[i] = (http_door){.io = {.fd = h->listeners[i].fd, .ready = acceptable}, .h = h, .listener = i};
        FC_TRY_GOTO(st, http_loop_add(h->loop, &h->doors[i].io, EPOLLIN), fail);
    }
    if (!h->o.no_log) FC_TRY_GOTO(st, http_log_open(h->o.log_fd, &h->log), fail);
    *out = h;
    return FC_OK;
fail:
    http_close(h);
    return st;
}

void http_close(http *h) {
    if (!h) return;
    if (h->loop) {
        close_all(h);
        settle(h);
    }
    for (size_t i = 0; i < h->n_listeners; i++) http_listener_close(&h->listeners[i]);
    http_log_close(h->log);
    http_loop_close(h->loop);
    fc_free(h);
}

fc_status http_turn(http *h, int wait_ms, bool *over) {
    settle(h); /* of calls before the first turn */
    FC_TRY(http_loop_turn(h->loop, wait_ms));
    settle(h);
    *over = h->state >= HTTP_DRAINS && h->counts.connections == 0;
    return FC_OK;
}

fc_status http_run(http *h) {
    for (bool over = false; !over;) FC_TRY(http_turn(h, -1, &over));
    return FC_OK;
}

size_t http_n_addresses(const http *h) { return h->n_listeners; }
size_t http_last_listen(const http *h) { return h->last_listen; }
const char *http_address(const http *h, size_t i) { return h->listeners[i].name; }
http_counts http_count(const http *h) { return h->counts; }
http_loop *http_timers(http *h) { return h->loop; }
http_budget *http_memory(http *h) { return &h->memory; }
void http_wake(http *h) { http_loop_wake(h->loop); }
bool http_stopping(const http *h) { return h->state != HTTP_RUNS; }

void http_stop(http *h) {
    atomic_fetch_add(&h->stops, 1);
    http_loop_wake(h->loop);
}
