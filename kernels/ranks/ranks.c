#define _GNU_SOURCE
#include "engine/base/mem.h"
#include "engine/base/os.h"
#include "kernels/ranks/ranks_own.h"

#include <stdio.h>
#include <string.h>

enum { RING_BYTES = 1 << 20, SPIN_NS = 50000 };

/* In front of each call in the ring. run NULL: what follows up to the ring's end is nothing. */
typedef struct {
    fc_rank_fn run;
    size_t bytes; /* with this head */
} call_head;
_Static_assert(sizeof(call_head) == 16, "calls are multiples of 16 bytes, and so is what is left of the ring");

void fc_rank_note(fc_rank_failure *f, fc_status st) {
    if (!st || f->status) return;
    f->status = st;
    snprintf(f->why, sizeof f->why, "%s", fc_status_text());
}

/* A rank has failed. Arguments and lists that are wrong are so on all ranks; else others may wait for it. */
static void stop_others(fc_rank *r, fc_status st) {
    if (st != FC_ERR_ARG && r->comm) r->comm->abort(r->comm);
}

/* ---- waiting: a spin, then sleep ---- */

static void tell(fc_ranks *all) {
    if (atomic_load(&all->asleep) == 0) return;
    pthread_mutex_lock(&all->lock);
    pthread_cond_broadcast(&all->changed);
    pthread_mutex_unlock(&all->lock);
}

/* Until *at is not below `until`. */
static void wait_for(fc_ranks *all, atomic_size_t *at, size_t until) {
    const uint64_t begin = fc_clock_ns();
    for (unsigned i = 1; atomic_load_explicit(at, memory_order_acquire) < until; i++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        if (i % 64 || fc_clock_ns() - begin < SPIN_NS) continue;
        pthread_mutex_lock(&all->lock);
        atomic_fetch_add(&all->asleep, 1);
        while (atomic_load(at) < until) pthread_cond_wait(&all->changed, &all->lock);
        atomic_fetch_sub(&all->asleep, 1);
        pthread_mutex_unlock(&all->lock);
        return;
    }
}

/* ---- the ring ---- */

/* Until the ring's bytes up to `end`, counted since open, are no rank's any more. */
static void wait_free(fc_ranks *all, size_t end) {
    for (int r = 0; r < all->n && end > RING_BYTES; r++) wait_for(all, &all->rank[r].done, end - RING_BYTES);
}

static unsigned char *room_for(fc_ranks *all, size_t bytes) {
    size_t put = atomic_load_explicit(&all->put, memory_order_relaxed), left = RING_BYTES - put % RING_BYTES;
    FC_ASSERT(bytes <= RING_BYTES / 4);
    if (left < bytes) { /* a call lies in one piece; left is a multiple of 16, a head's size */
        wait_free(all, put + left);
        memcpy(all->ring + put % RING_BYTES, &(call_head){.bytes = left}, sizeof(call_head));
        put += left;
        atomic_store(&all->put, put);
    }
    wait_free(all, put + bytes);
    return all->ring + put % RING_BYTES;
}

void fc_ranks_put(fc_ranks *all, fc_rank_fn run, const void *args, size_t bytes, const void *more, size_t more_bytes) {
    const size_t whole = sizeof(call_head) + fc_ranks_round(bytes) + fc_ranks_round(more_bytes);
    unsigned char *p = room_for(all, whole);
    memcpy(p, &(call_head){.run = run, .bytes = whole}, sizeof(call_head));
    memcpy(p + sizeof(call_head), args, bytes);
    if (more_bytes) memcpy(p + sizeof(call_head) + fc_ranks_round(bytes), more, more_bytes);
    atomic_store(&all->put, atomic_load_explicit(&all->put, memory_order_relaxed) + whole);
    tell(all);
}

void fc_ranks_ask(fc_ranks *all, fc_rank_fn run, const void *args, size_t bytes) {
    size_t until;
    fc_ranks_put(all, run, args, bytes, NULL, 0);
    until = atomic_load_explicit(&all->put, memory_order_relaxed);
    for (int r = 0; r < all->n; r++) wait_for(all, &all->rank[r].done, until);
}

static void settle(fc_rank *r, fc_rank_failure *out);

/* all: every rank's thread runs. */
static fc_status end_thread(fc_rank *r, const void *args) {
    bool all;
    memcpy(&all, args, sizeof all);
    if (all) settle(r, &r->all->unasked);
    if (r->be) r->be->close(r->be);
    r->be = NULL;
    return FC_OK;
}

static void *rank_main(void *arg) {
    fc_rank *r = arg;
    fc_ranks *all = r->all;
    for (size_t at = 0;;) {
        call_head head;
        wait_for(all, &all->put, at + 1);
        memcpy(&head, all->ring + at % RING_BYTES, sizeof head);
        if (head.run) {
            const fc_status st = head.run(r, all->ring + at % RING_BYTES + sizeof head);
            fc_rank_note(&r->failure, st);
            if (st) stop_others(r, st);
        }
        at += head.bytes;
        atomic_store(&r->done, at);
        tell(all);
        if (head.run == end_thread) return NULL;
    }
}

/* ---- marks ---- */

/* *out becomes f's, if that is the first, or who is in *out only noticed that another failed. */
static void join_failure(fc_rank_failure *out, const fc_rank_failure *f) {
    if (f->status && (!out->status || out->status == FC_ERR_CANCELLED)) *out = *f;
}

fc_status fc_ranks_failed(const fc_ranks *all, const fc_rank_failure *before, const fc_rank_failure *failures) {
    fc_rank_failure f = *before;
    for (int r = 0; r < all->n; r++) join_failure(&f, &failures[r]);
    if (!f.status) return FC_OK;
    return FC_FAIL(f.status == FC_ERR_CANCELLED ? FC_ERR_INTERNAL : f.status, "%s", f.why);
}

/* What has failed since the last mark, on any rank, goes to `out`, and all ranks begin anew. */
static void settle(fc_rank *r, fc_rank_failure *out) {
    fc_ranks *all = r->all;
    if (all->n > 1) pthread_barrier_wait(&all->barrier); /* nobody is in an operator */
    if (r->number == 0) {
        int failed = 0;
        out->status = FC_OK;
        for (int i = 0; i < all->n; i++) {
            failed += all->rank[i].failure.status != FC_OK;
            join_failure(out, &all->rank[i].failure);
        }
        if (failed && r->comm) {
            if (failed < all->n) r->comm->abort(r->comm);
            all->lost = !r->comm->reset(r->comm);
        }
    }
    if (all->n > 1) pthread_barrier_wait(&all->barrier);
    r->failure.status = FC_OK;
    if (all->lost) fc_rank_note(&r->failure, r->comm->check(r->comm)); /* which ends what the device waits for */
}

static fc_status run_mark(fc_rank *r, const void *args) {
    int mark;
    memcpy(&mark, args, sizeof mark);
    settle(r, &r->all->marks[mark]);
    r->unmarked[mark].status = FC_OK;
    fc_rank_note(&r->unmarked[mark], r->be->mark(r->be, mark));
    return FC_OK;
}

static fc_status ranks_mark(fc_backend *be, int mark) {
    FC_ASSERT(mark >= 0 && mark < FC_BACKEND_MARKS);
    fc_ranks_put(fc_ranks_of(be), run_mark, &mark, sizeof mark, NULL, 0);
    return FC_OK;
}

/* A question's answers: the failures of all ranks. */
typedef struct {
    int mark;                  /* FC_BACKEND_MARKS: sync */
    fc_rank_failure *failures; /* [n] */
} waiting;

static void note_wait(fc_rank *r, fc_rank_failure *f, fc_status st) {
    fc_rank_note(f, st);
    if (st) stop_others(r, st);
}

static fc_status run_wait(fc_rank *r, const void *args) {
    waiting w;
    memcpy(&w, args, sizeof w);
    w.failures[r->number] = r->unmarked[w.mark];
    if (!r->unmarked[w.mark].status) note_wait(r, &w.failures[r->number], r->be->wait(r->be, w.mark));
    return FC_OK;
}

static fc_status run_sync(fc_rank *r, const void *args) {
    waiting w;
    memcpy(&w, args, sizeof w);
    settle(r, &r->all->marks[FC_BACKEND_MARKS]);
    note_wait(r, &w.failures[r->number], r->be->sync(r->be));
    return FC_OK;
}

static fc_status answer(fc_ranks *all, fc_rank_fn run, int mark) {
    fc_rank_failure failures[FC_RANKS_MAX] = {{0}};
    waiting w = {mark, failures};
    fc_ranks_ask(all, run, &w, sizeof w);
    return fc_ranks_failed(all, &all->marks[mark], failures);
}

static fc_status ranks_wait(fc_backend *be, int mark) {
    FC_ASSERT(mark >= 0 && mark < FC_BACKEND_MARKS);
    return answer(fc_ranks_of(be), run_wait, mark);
}

static fc_status ranks_sync(fc_backend *be) { return answer(fc_ranks_of(be), run_sync, FC_BACKEND_MARKS); }

/* ---- open and close ---- */

static fc_status ranks_pin(fc_backend *be, pthread_t caller) {
    (void)be;
    (void)caller;
    return FC_FAIL(FC_ERR_UNSUPPORTED, "pin_threads: ranks have a thread each, which are not pinned");
}

static void ranks_close(fc_backend *be) {
    fc_ranks *all = fc_ranks_of(be);
    const bool whole = all->rank[all->n - 1].runs;
    if (all->rank[0].runs) fc_ranks_put(all, end_thread, &whole, sizeof whole, NULL, 0);
    for (int r = 0; r < all->n; r++)
        if (all->rank[r].runs) pthread_join(all->rank[r].thread, NULL);
    fc_ranks_free_buffers(all);
    for (int r = all->n; r-- > 0;) fc_comm_close(all->rank[r].comm);
    pthread_barrier_destroy(&all->barrier);
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->lock);
    fc_free(all->ring);
    fc_free(all);
}

static fc_status run_open(fc_rank *r, const void *args) {
    fc_rank_failure *failures;
    memcpy(&failures, args, sizeof failures);
    fc_rank_note(&failures[r->number], r->all->opener(r->all->arg, r->number, r->comm, &r->be));
    return FC_OK;
}

static fc_status open_ranks(fc_ranks *all) {
    fc_rank_failure failures[FC_RANKS_MAX] = {{0}}, *at = failures;
    const fc_rank_failure none = {0};
    fc_backend *be = &all->face, *first;
    for (int r = 0; r < all->n; r++) {
        int e = pthread_create(&all->rank[r].thread, NULL, rank_main, &all->rank[r]);
        if (e) return FC_FAIL(FC_ERR_MEM, "rank %d of %d: %s", r, all->n, strerror(e));
        all->rank[r].runs = true;
    }
    fc_ranks_ask(all, run_open, &at, sizeof at);
    FC_TRY(fc_ranks_failed(all, &none, failures));
    first = all->rank[0].be;
    for (int r = 1; r < all->n; r++) {
        const fc_backend *other = all->rank[r].be;
        if (strcmp(other->level, first->level) != 0 || other->attn_units != first->attn_units)
            return FC_FAIL(FC_ERR_UNSUPPORTED, "ranks are of one kind: rank 0 is %s with %d units, rank %d %s with %d",
                           first->level, first->attn_units, r, other->level, other->attn_units);
    }
    snprintf(all->level, sizeof all->level, all->n > 1 ? "%s/tp%d" : "%s", first->level, all->n);
    be->name = first->name;
    be->level = all->level;
    be->self = all;
    be->stream = (fc_stream)(void *)all;
    be->ranks = all->n;
    be->depth = first->depth;
    be->attn_units = first->attn_units;
    be->sync = ranks_sync;
    be->mark = ranks_mark;
    be->wait = ranks_wait;
    be->pin = ranks_pin;
    be->close = ranks_close;
    fc_ranks_set_memory(be);
    fc_ranks_set_operators(be);
    return FC_OK;
}

fc_status fc_backend_open_ranks(int n, fc_comm *const *comms, fc_rank_opener opener, void *arg, fc_backend **out) {
    fc_ranks *all;
    fc_status st;
    void *p;
    FC_ASSERT(n >= 1 && n <= FC_RANKS_MAX && (comms || n == 1));
    st = fc_alloc(1, sizeof *all, "ranks", &p);
    if (st) {
        for (int r = n; comms && r-- > 0;) fc_comm_close(comms[r]);
        return st;
    }
    all = p;
    all->n = n;
    all->opener = opener;
    all->arg = arg;
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->changed, NULL);
    pthread_barrier_init(&all->barrier, NULL, (unsigned)n);
    for (int r = 0; r < n; r++) {
        all->rank[r].all = all;
        all->rank[r].number = r;
        all->rank[r].comm = comms ? comms[r] : NULL;
    }
    FC_TRY_GOTO(st, fc_alloc(RING_BYTES, 1, "calls of ranks", &p), fail);
    all->ring = p;
    FC_TRY_GOTO(st, fc_alloc(FC_RANKS_BUFFERS, sizeof *all->buffers, "buffers of ranks", &p), fail);
    all->buffers = p;
    FC_TRY_GOTO(st, open_ranks(all), fail);
    *out = &all->face;
    return FC_OK;
fail:
    ranks_close(&all->face);
    return st;
}
