#define _GNU_SOURCE
#include "engine/app/http/loop.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct http_loop {
    int epoll;
    http_fd wake;
    void (*on_wake)(void *self);
    void *self;
    http_timer **heap; /* [n_timers], the earliest first; heap[i] is due no later than heap[2i+1] and heap[2i+2] */
    size_t n_timers, cap;
    uint64_t turns;
};

static void woken(http_fd *f, uint32_t events) {
    http_loop *l = (http_loop *)((char *)f - offsetof(http_loop, wake));
    uint64_t count;
    (void)events;
    if (read(f->fd, &count, sizeof count) == (ssize_t)sizeof count) l->on_wake(l->self);
}

fc_status http_loop_open(void (*on_wake)(void *self), void *self, http_loop **out) {
    fc_status st;
    void *p;
    http_loop *l;
    FC_TRY(fc_alloc(1, sizeof *l, "event loop", &p));
    l = p;
    l->on_wake = on_wake;
    l->self = self;
    l->wake = (http_fd){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .ready = woken};
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0 || l->wake.fd < 0) {
        st = FC_FAIL(FC_ERR_IO, "event loop: %s", strerror(errno));
        goto fail;
    }
    FC_TRY_GOTO(st, http_loop_add(l, &l->wake, EPOLLIN), fail);
    *out = l;
    return FC_OK;
fail:
    http_loop_close(l);
    return st;
}

void http_loop_close(http_loop *l) {
    if (!l) return;
    if (l->wake.fd >= 0) close(l->wake.fd);
    if (l->epoll >= 0) close(l->epoll);
    fc_free(l->heap);
    fc_free(l);
}

void http_loop_wake(http_loop *l) {
    const uint64_t one = 1;
    const int saved = errno; /* a signal handler leaves it as it was */
    ssize_t n = write(l->wake.fd, &one, sizeof one);
    (void)n; /* EAGAIN: it has been woken often enough */
    errno = saved;
}

fc_status http_loop_add(http_loop *l, http_fd *f, uint32_t mask) {
    struct epoll_event ev = {.events = mask, .data.ptr = f};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, f->fd, &ev)) return FC_FAIL(FC_ERR_IO, "event loop: %s", strerror(errno));
    f->mask = mask;
    return FC_OK;
}

void http_loop_mask(http_loop *l, http_fd *f, uint32_t mask) {
    struct epoll_event ev = {.events = mask, .data.ptr = f};
    if (f->mask == mask) return;
    FC_ASSERT(epoll_ctl(l->epoll, EPOLL_CTL_MOD, f->fd, &ev) == 0);
    f->mask = mask;
}

void http_loop_remove(http_loop *l, http_fd *f) {
    if (f->fd >= 0) epoll_ctl(l->epoll, EPOLL_CTL_DEL, f->fd, NULL);
    f->fd = -1;
}

static void put(http_loop *l, size_t i, http_timer *t) {
    l->heap[i] = t;
    t->place = i + 1;
}

/* Moves t, whose place i is free, to where it belongs. */
static void settle(http_loop *l, size_t i, http_timer *t) {
    for (; i > 0 && t->due_ns < l->heap[(i - 1) / 2]->due_ns; i = (i - 1) / 2) put(l, i, l->heap[(i - 1) / 2]);
    for (size_t k; (k = 2 * i + 1) < l->n_timers; i = k) {
        if (k + 1 < l->n_timers && l->heap[k + 1]->due_ns < l->heap[k]->due_ns) k++;
        if (l->heap[k]->due_ns >= t->due_ns) break;
        put(l, i, l->heap[k]);
    }
    put(l, i, t);
}

fc_status http_timer_set(http_loop *l, http_timer *t, uint64_t due_ns) {
    if (!t->place) {
        void *p = l->heap;
        FC_TRY(fc_grow(&p, &l->cap, l->n_timers + 1, sizeof *l->heap, "timers"));
        l->heap = p;
        put(l, l->n_timers++, t);
    }
    t->due_ns = due_ns;
    settle(l, t->place - 1, t);
    return FC_OK;
}

void http_timer_clear(http_loop *l, http_timer *t) {
    size_t i;
    http_timer *last;
    if (!t->place) return;
    i = t->place - 1;
    t->place = 0;
    last = l->heap[--l->n_timers];
    if (last != t) settle(l, i, last);
}

/* Milliseconds until the first timer, rounded up, so that a turn never comes too early and spins. */
static int first_due(const http_loop *l, int wait_ms) {
    uint64_t now, ms;
    if (l->n_timers == 0) return wait_ms;
    now = fc_clock_ns();
    ms = l->heap[0]->due_ns > now ? (l->heap[0]->due_ns - now + 999999) / 1000000 : 0;
    if (ms > INT_MAX) ms = INT_MAX;
    return wait_ms >= 0 && (uint64_t)wait_ms < ms ? wait_ms : (int)ms;
}

fc_status http_loop_turn(http_loop *l, int wait_ms) {
    struct epoll_event events[256];
    int n = epoll_wait(l->epoll, events, sizeof events / sizeof *events, first_due(l, wait_ms));
    uint64_t now;
    if (n < 0 && errno != EINTR) return FC_FAIL(FC_ERR_IO, "event loop: %s", strerror(errno));
    l->turns++;
    for (int i = 0; i < n; i++) {
        http_fd *f = events[i].data.ptr;
        if (f->fd >= 0) f->ready(f, events[i].events);
    }
    now = fc_clock_ns();
    while (l->n_timers && l->heap[0]->due_ns <= now) {
        http_timer *t = l->heap[0];
        http_timer_clear(l, t);
        t->fire(t);
    }
    return FC_OK;
}

uint64_t http_loop_turns(const http_loop *l) { return l->turns; }
