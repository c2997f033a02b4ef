/* loop - one thread's wait for sockets, timers and other threads. It wakes for nothing else: with no timer set and
 * no event it sleeps.
 *
 * All calls are the loop's own thread's, but http_loop_wake.
 */
#ifndef FC_APP_HTTP_LOOP_H
#define FC_APP_HTTP_LOOP_H

#include "engine/base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct http_loop http_loop;

/* A descriptor that is waited for. The caller holds the struct, which stays where it is until it is removed. */
typedef struct http_fd {
    int fd;        /* the owner's; -1 once removed */
    uint32_t mask; /* EPOLLIN, ... */
    void (*ready)(struct http_fd *f, uint32_t events);
} http_fd;

/* Zeroed, then fire and self. */
typedef struct http_timer {
    void (*fire)(struct http_timer *t); /* once; it is no longer set then */
    void *self;
    uint64_t due_ns;
    size_t place; /* in the heap, counted from 1; 0: not set */
} http_timer;

/* on_wake: in the loop's thread, after any number of http_loop_wake. */
fc_status http_loop_open(void (*on_wake)(void *self), void *self, http_loop **out);
void http_loop_close(http_loop *l); /* NULL is fine */
void http_loop_wake(http_loop *l);  /* from any thread, and from a signal handler */

fc_status http_loop_add(http_loop *l, http_fd *f, uint32_t mask);
void http_loop_mask(http_loop *l, http_fd *f, uint32_t mask);
/* f may be freed when the turn is over, not before: an event of this turn may still name it. */
void http_loop_remove(http_loop *l, http_fd *f);

/* due_ns by fc_clock_ns. Set again, it moves. FC_ERR_MEM leaves it as it was. */
fc_status http_timer_set(http_loop *l, http_timer *t, uint64_t due_ns);
void http_timer_clear(http_loop *l, http_timer *t);

/* Waits once, at most wait_ms (-1: as long as it takes), and calls who is ready and whose time has come. */
fc_status http_loop_turn(http_loop *l, int wait_ms);
uint64_t http_loop_turns(const http_loop *l); /* so far: a loop without work makes none */

#endif
