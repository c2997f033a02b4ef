/* room - who gives way where connections are too many, or bodies, so that neither clients that keep connections open
 * nor those that send a byte now and then shut out the others.
 */
#include "engine/app/http/conn.h"

#include "engine/base/os.h"

enum {
    SPARES = 64,          /* connections above the cap; the oldest of them gives way to the next */
    ON_ITS_WAY_MS = 1000, /* a connection that has not brought its request for so long gives way */
    SPARE_MS = 1000
};

static uint64_t ms(int n) { return (uint64_t)n * 1000000u; }

void conn_unlist(http_conn *c) {
    if (c->prev) c->prev->next = c->next;
    if (c->next) c->next->prev = c->prev;
    if (c->list->first == c) c->list->first = c->next;
    if (c->list->last == c) c->list->last = c->prev;
    c->prev = c->next = NULL;
    c->list = NULL;
}

static int list_of(const http_conn *c) {
    if (c->spare) return LIST_SPARE;
    switch (c->state) {
    case CONN_IDLE: return LIST_IDLE;
    case CONN_HEAD:
    case CONN_BODY: return LIST_SENDERS;
    case CONN_BUSY:
    case CONN_LINGER: break;
    }
    return LIST_BUSY;
}

void conn_list(http_conn *c) {
    http_list *l = &c->h->lists[list_of(c)];
    if (c->list == l && c->state != CONN_IDLE) return; /* its place is by when it came there */
    if (c->list) conn_unlist(c);
    c->list = l;
    c->prev = l->last;
    if (l->last) l->last->next = c;
    if (!l->first) l->first = c;
    l->last = c;
}

static void give_way(http_conn *sender) {
    sender->req->msg.why = "it was slow, and gave way to another connection";
    sender->h->counts.gave_way++;
    conn_close(sender, HTTP_GONE);
}

bool conn_make_memory(const http_conn *c, size_t size) {
    const http_budget *b = &c->h->memory;
    const size_t used = http_budget_used(b), bodies = http_budget_share(b, HTTP_BODIES);
    const uint64_t now = fc_clock_ns();
    if (used > bodies && used - bodies + size > http_budget_new(b)) return false; /* it would help nobody */
    for (http_conn *s = c->h->lists[LIST_SENDERS].first; s && now - s->req->began_ns > ms(ON_ITS_WAY_MS); s = s->next) {
        if (s == c || !s->req->counted) continue;
        give_way(s);
        return true;
    }
    return false;
}

bool conn_make_room(http *h) {
    http_conn *idle = h->lists[LIST_IDLE].first, *sender = h->lists[LIST_SENDERS].first;
    const uint64_t now = fc_clock_ns();
    if (h->counts.connections - h->n_spare < h->o.connections) return true;
    if (idle && now - idle->since_ns > ms(ON_ITS_WAY_MS)) {
        conn_close(idle, HTTP_GONE);
        return true;
    }
    if (sender && now - sender->req->began_ns > ms(ON_ITS_WAY_MS)) {
        give_way(sender);
        return true;
    }
    return false;
}

void conn_turn_away(http_conn *c) {
    c->h->counts.turned_away++;
    conn_refuse(c, 503, "too many connections");
}

void conn_be_spare(http_conn *c) {
    http *h = c->h;
    if (h->n_spare == SPARES) {
        h->counts.turned_away++; /* without a word: it had its time */
        conn_close(h->lists[LIST_SPARE].first, HTTP_GONE);
    }
    c->spare = c->closing = true;
    h->n_spare++;
}

uint64_t conn_spare_due(const http_conn *c) { return (c->req ? c->req->began_ns : c->since_ns) + ms(SPARE_MS); }
