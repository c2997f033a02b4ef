/* out - what is written to a client: a buffer that grows, and behind it a large body that is not copied. It leaves in
 * parts, so that no reader, however fast, keeps the loop from the others; and a client that takes too little of it is
 * noticed by what it has acknowledged, not by what the system's buffers have room for.
 */
#define _GNU_SOURCE
#include "engine/app/http/conn.h"

#include "engine/base/os.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum {
    A_TURN = 256 * 1024,      /* bytes written to one client */
    RELEASE_MIN = 256 * 1024, /* whole pages that are given back to the system */
    PIECE_MIN = 1024,
    PAGE = 4096
};

size_t conn_pending(const http_conn *c) { return c->out.size - c->out_at + c->tail.size - c->tail_at + c->behind.size; }

bool conn_may_write(const http_conn *c) { return c->tail_at == c->tail.size && conn_pending(c) <= c->h->o.buffer / 2; }

/* What is sent next, and from where on; NULL: nothing. */
static const fc_str *front(http_conn *c, size_t **at) {
    fc_str spent;
    if (c->out_at < c->out.size) {
        *at = &c->out_at;
        return &c->out;
    }
    *at = &c->tail_at;
    if (c->tail_at < c->tail.size) return &c->tail;
    fc_str_fini(&c->tail);
    c->tail_at = c->released = c->out_at = 0;
    fc_str_clear(&c->out);
    if (!c->behind.size) return NULL;
    spent = c->out;
    c->out = c->behind;
    c->behind = spent;
    *at = &c->out_at;
    return &c->out;
}

/* A large body's memory goes as it is read, a few pages a turn, and not all at once. */
static void release(http_conn *c) {
    const uintptr_t begin = (uintptr_t)c->tail.data, from = (begin + c->released + PAGE - 1) / PAGE * PAGE,
                    to = (begin + c->tail_at) / PAGE * PAGE;
    if (to < from + RELEASE_MIN) return;
    if (madvise(c->tail.data + (from - begin), to - from, MADV_DONTNEED) == 0) c->released = to - begin;
}

/* What a client has to take while it is looked at once. */
static uint64_t least(const http_conn *c) {
    const uint64_t n = (uint64_t)c->h->o.read_rate * (uint64_t)c->h->o.stall_ms / 1000u;
    return n ? n : 1;
}

static uint64_t queue_of(const http_conn *c) {
    int n = 0;
    return ioctl(c->io.fd, SIOCOUTQ, &n) || n < 0 ? 0 : (uint64_t)n;
}

/* Bytes that the client's side has not taken yet. TCP's queue is told in bytes. A Unix socket's is told in memory,
 * which goes piece by piece, each when it is read to its end: of what is known to be in it the same share is left. */
static uint64_t untaken(http_conn *c) {
    const uint64_t queue = queue_of(c);
    if (!c->local) return queue;
    if (queue < c->queue) c->queued = c->queued * queue / c->queue;
    if (!queue) c->queued = 0;
    c->queue = queue;
    return c->queued;
}

/* Bytes that it has. */
static uint64_t taken(http_conn *c) {
    const uint64_t waits = untaken(c);
    return waits < c->sent ? c->sent - waits : 0;
}

/* For a Unix socket: small beside what is asked of a reader, so that one who takes more is not judged by the rest of a
 * piece. */
static size_t piece_of(const http_conn *c) {
    const uint64_t share = least(c) / 4;
    if (!c->local || !c->h->o.read_rate || share > A_TURN) return A_TURN;
    return share < PIECE_MIN ? PIECE_MIN : (size_t)share;
}

static ssize_t send_some(http_conn *c, const char *data, size_t size, int flags) {
    ssize_t n;
    if (c->local) (void)untaken(c);
    n = send(c->io.fd, data, size, flags);
    if (n <= 0) return n;
    c->sent += (uint64_t)n;
    if (!c->local) return n;
    c->queued += (uint64_t)n;
    c->queue = queue_of(c);
    return n;
}

bool conn_flush(http_conn *c) {
    const fc_str *s;
    size_t *at, most = A_TURN;
    const size_t piece = piece_of(c);
    while (most && (s = front(c, &at))) {
        const size_t left = s->size - *at, part = left < most ? left : most, size = part < piece ? part : piece;
        const int more = conn_pending(c) > size ? MSG_MORE : 0;
        const ssize_t n = send_some(c, s->data + *at, size, MSG_NOSIGNAL | more);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) return false;
        if (n < 0) break;
        *at += (size_t)n;
        most -= (size_t)n;
        c->h->counts.bytes_out += (uint64_t)n;
    }
    release(c);
    if (conn_pending(c) == 0) {
        c->waits = false;
        (void)front(c, &at); /* lets go of what is written */
    } else if (!c->waits) {
        c->waits = true;
        c->since_ns = fc_clock_ns();
        c->mark = taken(c);
    }
    return true;
}

bool conn_reads(http_conn *c) {
    const uint64_t now = taken(c);
    if (now < c->mark || now - c->mark < least(c)) return false;
    c->mark = now;
    c->since_ns = fc_clock_ns();
    return true;
}

void conn_count(http_conn *c) {
    const size_t now = c->out.cap + c->tail.cap - c->released + c->behind.cap;
    if (now > c->counted) http_budget_hold(&c->h->memory, HTTP_UNREAD, now - c->counted);
    else http_budget_give(&c->h->memory, HTTP_UNREAD, c->counted - now);
    c->counted = now;
}

void conn_drop_output(http_conn *c) {
    fc_str_fini(&c->out);
    fc_str_fini(&c->tail);
    fc_str_fini(&c->behind);
    c->out_at = c->tail_at = c->released = 0;
    conn_count(c);
}
