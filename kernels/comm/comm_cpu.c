#include "engine/base/mem.h"
#include "kernels/comm/comm.h"
#include "kernels/cpu/cpu.h"

#include <pthread.h>
#include <string.h>

/* Where the ranks meet; the last one that leaves frees it. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t all_here;
    int ranks, here, open;
    uint64_t turn; /* meetings that have been */
    bool aborted;
    const float *x[FC_RANKS_MAX];
} meeting;

typedef struct {
    fc_comm face; /* first */
    meeting *m;
} member;

/* False: a rank takes no part. */
static bool meet(meeting *m) {
    bool met;
    pthread_mutex_lock(&m->lock);
    if (!m->aborted) {
        const uint64_t turn = m->turn;
        if (++m->here == m->ranks) {
            m->here = 0;
            m->turn++;
            pthread_cond_broadcast(&m->all_here);
        }
        while (m->turn == turn && !m->aborted) pthread_cond_wait(&m->all_here, &m->lock);
        met = m->turn != turn;
    } else {
        met = false;
    }
    pthread_mutex_unlock(&m->lock);
    return met;
}

static fc_status gather(fc_comm *c, fc_stream s, const float *x, size_t n, float *out) {
    meeting *m = ((member *)c)->m;
    (void)s; /* program order */
    m->x[c->rank] = x;
    if (!meet(m)) return c->check(c);
    for (int r = 0; r < c->ranks; r++) memcpy(out + (size_t)r * n, m->x[r], n * sizeof *out);
    return meet(m) ? FC_OK : c->check(c);
}

static fc_status check(fc_comm *c) {
    meeting *m = ((member *)c)->m;
    bool aborted;
    pthread_mutex_lock(&m->lock);
    aborted = m->aborted;
    pthread_mutex_unlock(&m->lock);
    return aborted ? FC_FAIL(FC_ERR_CANCELLED, "rank %d: another rank failed", c->rank) : FC_OK;
}

static void abort_meeting(fc_comm *c) {
    meeting *m = ((member *)c)->m;
    pthread_mutex_lock(&m->lock);
    m->aborted = true;
    pthread_cond_broadcast(&m->all_here);
    pthread_mutex_unlock(&m->lock);
}

static bool reset(fc_comm *c) {
    meeting *m = ((member *)c)->m;
    pthread_mutex_lock(&m->lock);
    m->aborted = false;
    m->here = 0;
    pthread_mutex_unlock(&m->lock);
    return true;
}

static void close_member(fc_comm *c) {
    meeting *m = ((member *)c)->m;
    bool last;
    pthread_mutex_lock(&m->lock);
    last = --m->open == 0;
    pthread_mutex_unlock(&m->lock);
    if (last) {
        pthread_cond_destroy(&m->all_here);
        pthread_mutex_destroy(&m->lock);
        fc_free(m);
    }
    fc_free(c->room);
    fc_free(c);
}

fc_status fc_comm_open_cpu(int ranks, size_t room_floats, fc_comm *out[]) {
    meeting *m;
    fc_status st = FC_OK;
    void *p;
    if (ranks < 1 || ranks > FC_RANKS_MAX)
        return FC_FAIL(FC_ERR_ARG, "ranks: %d; 1 to %d are possible", ranks, (int)FC_RANKS_MAX);
    if (room_floats < (size_t)ranks) return FC_FAIL(FC_ERR_ARG, "ranks: a room of %zu floats", room_floats);
    FC_TRY(fc_alloc(1, sizeof *m, "ranks", &p));
    m = p;
    m->ranks = ranks;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->all_here, NULL);
    for (int r = 0; r < ranks && !st; r++) {
        member *c;
        void *room;
        st = fc_alloc(1, sizeof *c, "rank", &p);
        if (st) break;
        c = p;
        st = fc_alloc(room_floats, sizeof(float), "what comes from all ranks", &room);
        if (st) {
            fc_free(c);
            break;
        }
        c->m = m;
        c->face = (fc_comm){.rank = r,
                            .ranks = ranks,
                            .room = room,
                            .room_floats = room_floats,
                            .meets = true,
                            .gather = gather,
                            .check = check,
                            .abort = abort_meeting,
                            .reset = reset,
                            .close = close_member};
        out[r] = &c->face;
        m->open++;
    }
    if (!st) return FC_OK;
    if (m->open == 0) {
        pthread_cond_destroy(&m->all_here);
        pthread_mutex_destroy(&m->lock);
        fc_free(m);
    } else {
        for (int r = m->open; r-- > 0;) close_member(out[r]);
    }
    return st;
}

/* ---- operators ---- */

fc_status fc_sum_cpu(fc_stream s, const fc_sum_args *a) {
    fc_comm *c = s->comm;
    size_t piece;
    if (!c || c->ranks == 1) return FC_OK;
    piece = c->room_floats / (size_t)c->ranks;
    for (size_t at = 0, n; at < a->n; at += n) {
        float *y = a->y + at;
        n = a->n - at < piece ? a->n - at : piece;
        FC_TRY(c->gather(c, s, y, n, c->room));
        for (size_t i = 0; i < n; i++) {
            float sum = c->room[i];
            for (int r = 1; r < c->ranks; r++) sum += c->room[(size_t)r * n + i];
            y[i] = sum;
        }
    }
    return FC_OK;
}

fc_status fc_join_cpu(fc_stream s, const fc_join_args *a) {
    fc_comm *c = s->comm;
    int units, own, most, rows;
    if (!c) return FC_FAIL(FC_ERR_INTERNAL, "join: the stream is of no rank");
    if (a->R < 0 || a->N < 1 || a->unit < 1) return FC_FAIL(FC_ERR_ARG, "join: R=%d N=%d unit=%d", a->R, a->N, a->unit);
    units = (a->N - 1) / a->unit + 1;
    most = fc_comm_most(units, c->ranks) * a->unit;
    own = fc_comm_columns(a, c->ranks, c->rank);
    rows = (int)(c->room_floats / ((size_t)c->ranks * (size_t)most));
    if (rows < 1)
        return FC_FAIL(FC_ERR_MEM, "join: a row of %d ranks with %d columns each; %zu floats are reserved", c->ranks,
                       most, c->room_floats);
    for (int at = 0, n; at < a->R; at += n) {
        n = a->R - at < rows ? a->R - at : rows;
        FC_TRY(c->gather(c, s, a->x + (size_t)at * (size_t)own, (size_t)n * (size_t)most, c->room));
        for (int r = 0; r < c->ranks; r++) {
            const float *from = c->room + (size_t)r * (size_t)n * (size_t)most;
            const size_t cols = (size_t)fc_comm_columns(a, c->ranks, r);
            float *to = a->y + (size_t)at * (size_t)a->N + (size_t)fc_comm_first(units, c->ranks, r) * (size_t)a->unit;
            for (int i = 0; i < n; i++)
                memcpy(to + (size_t)i * (size_t)a->N, from + (size_t)i * cols, cols * sizeof *to);
        }
    }
    return FC_OK;
}

fc_cost fc_sum_cost(const fc_sum_args *a, int ranks) {
    return (fc_cost){.bytes = 4.0 * (double)a->n * (2 * ranks + 1), .flops = (double)a->n * (ranks - 1)};
}

fc_cost fc_join_cost(const fc_join_args *a) { return (fc_cost){.bytes = 12.0 * a->R * a->N}; }
