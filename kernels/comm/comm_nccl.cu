#include "kernels/cuda/cuda.cuh"

#include "kernels/comm/nccl.h"

extern "C" {
#include "engine/base/mem.h"
#include "kernels/comm/comm.h"
}

/* What the ranks share; the last one that is closed frees it. */
typedef struct {
    fc_nccl nccl;
    int open;     /* under lock */
    bool aborted; /* under lock */
    pthread_mutex_t lock;
} group;

typedef struct {
    fc_comm face; /* first */
    group *g;
    fc_nccl_comm comm; /* NULL once it was aborted */
} member;

static member *member_of(fc_comm *c) { return (member *)c; }

static bool is_aborted(group *g) {
    pthread_mutex_lock(&g->lock);
    bool aborted = g->aborted;
    pthread_mutex_unlock(&g->lock);
    return aborted;
}

static fc_status failed(const member *m, int r, const char *call) {
    FC_FAILS_HERE(call);
    return FC_FAIL(FC_ERR_INTERNAL, "rank %d: %s: %s", m->face.rank, call, m->g->nccl.words(r));
}

static void abort_group(fc_comm *c) {
    group *g = member_of(c)->g;
    pthread_mutex_lock(&g->lock);
    g->aborted = true;
    pthread_mutex_unlock(&g->lock);
}

/* A communicator is aborted by its own thread, so that nobody uses it meanwhile. */
static fc_status check(fc_comm *c) {
    member *m = member_of(c);
    int later = FC_NCCL_OK, r;
    if (m->comm && !is_aborted(m->g)) {
        r = m->g->nccl.async_error(m->comm, &later);
        if (r == FC_NCCL_OK) r = later;
        if (r == FC_NCCL_OK || r == FC_NCCL_IN_PROGRESS) return FC_OK;
        abort_group(c);
        m->g->nccl.abort(m->comm);
        m->comm = NULL;
        return failed(m, r, "ncclCommGetAsyncError");
    }
    if (m->comm) m->g->nccl.abort(m->comm);
    m->comm = NULL;
    return FC_FAIL(FC_ERR_CANCELLED, "rank %d: a rank failed, so that the GPUs exchange nothing any more",
                   m->face.rank);
}

static fc_status gather(fc_comm *c, fc_stream s, const float *x, size_t n, float *out) {
    member *m = member_of(c);
    int r;
    if (!m->comm || is_aborted(m->g)) return check(c);
    FC_TRY(fc_cuda_flush(s));
    r = m->g->nccl.all_gather(x, out, n, FC_NCCL_F32, m->comm, s->queue);
    return r == FC_NCCL_OK ? FC_OK : failed(m, r, "ncclAllGather");
}

static bool reset(fc_comm *c) { return !is_aborted(member_of(c)->g); }

static void close_member(fc_comm *c) {
    member *m = member_of(c);
    group *g = m->g;
    if (m->comm && is_aborted(g)) g->nccl.abort(m->comm);
    else if (m->comm) g->nccl.destroy(m->comm);
    pthread_mutex_lock(&g->lock);
    bool last = --g->open == 0;
    pthread_mutex_unlock(&g->lock);
    if (last) {
        pthread_mutex_destroy(&g->lock);
        fc_free(g);
    }
    fc_free(m);
}

extern "C" fc_status fc_comm_open_nccl(const int *devices, int ranks, fc_comm *out[]) {
    fc_nccl_comm comms[FC_RANKS_MAX] = {};
    fc_nccl nccl;
    member *members[FC_RANKS_MAX] = {};
    group *g;
    int r;
    fc_status st = FC_OK;
    void *p;
    if (ranks < 1 || ranks > FC_RANKS_MAX)
        return FC_FAIL(FC_ERR_ARG, "ranks: %d; 1 to %d are possible", ranks, (int)FC_RANKS_MAX);
    FC_TRY(fc_nccl_open(&nccl));
    FC_TRY(fc_alloc(1, sizeof *g, "ranks", &p));
    g = (group *)p;
    g->nccl = nccl;
    g->open = ranks;
    pthread_mutex_init(&g->lock, NULL);
    for (int i = 0; i < ranks && !st; i++) {
        st = fc_alloc(1, sizeof *members[i], "rank", &p);
        if (!st) members[i] = (member *)p;
    }
    if (!st) {
        r = nccl.comm_init_all(comms, ranks, devices);
        if (r != FC_NCCL_OK) {
            FC_FAILS_HERE("ncclCommInitAll");
            st = FC_FAIL(FC_ERR_INTERNAL, "ncclCommInitAll: %s", nccl.words(r));
        }
    }
    if (st) {
        for (int i = 0; i < ranks; i++) fc_free(members[i]);
        pthread_mutex_destroy(&g->lock);
        fc_free(g);
        return st;
    }
    for (int i = 0; i < ranks; i++) {
        members[i]->g = g;
        members[i]->comm = comms[i];
        members[i]->face.rank = i;
        members[i]->face.ranks = ranks;
        members[i]->face.gather = gather;
        members[i]->face.check = check;
        members[i]->face.abort = abort_group;
        members[i]->face.reset = reset;
        members[i]->face.close = close_member;
        out[i] = &members[i]->face;
    }
    return FC_OK;
}
