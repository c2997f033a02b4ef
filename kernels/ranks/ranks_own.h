/* ranks_own - what the files of kernels/ranks share: the ring of calls, addresses, matrices. */
#ifndef FC_KERNELS_RANKS_OWN_H
#define FC_KERNELS_RANKS_OWN_H

#include "kernels/ranks/ranks.h"

#include <pthread.h>
#include <stdatomic.h>

enum { FC_RANKS_BUFFERS = 512, FC_RANKS_WHY = 512, FC_RANKS_GROUPS = 64 /* of adapters, in a call of lora */ };

typedef struct fc_ranks fc_ranks;

/* A failure, and its sentence: that of a thread is no other's. */
typedef struct {
    fc_status status;
    char why[FC_RANKS_WHY];
} fc_rank_failure;

typedef struct {
    fc_ranks *all;
    int number;
    fc_comm *comm;                              /* NULL: it is alone */
    fc_backend *be;                             /* its own */
    fc_rank_failure failure;                    /* of the first operator since the last mark: later ones are left out */
    fc_rank_failure unmarked[FC_BACKEND_MARKS]; /* of marks that could not be set */
    _Alignas(64) atomic_size_t done;            /* bytes of calls that it has been through, since open */
    pthread_t thread;
    bool runs; /* the thread */
} fc_rank;

/* A buffer: addresses from `at` on, of which none can be read, and each rank's memory. Rising. */
typedef struct {
    uintptr_t at;
    size_t bytes;
    void *own[FC_RANKS_MAX];
} fc_ranks_buffer;

struct fc_ranks {
    fc_backend face; /* first */
    int n;
    fc_rank rank[FC_RANKS_MAX];
    fc_rank_opener opener;
    void *arg;
    unsigned char *ring;
    _Alignas(64) atomic_size_t put; /* bytes of calls, since open */
    atomic_int asleep;              /* threads that wait for a change of put or done */
    pthread_mutex_t lock;           /* of those */
    pthread_cond_t changed;
    fc_ranks_buffer *buffers; /* [n_buffers]; changed while no rank runs anything */
    int n_buffers;
    pthread_barrier_t barrier;                   /* ranks at a mark */
    bool lost;                                   /* ranks exchange nothing any more; written between barriers */
    fc_rank_failure unasked;                     /* what nobody asks for: what failed before the end */
    fc_rank_failure marks[FC_BACKEND_MARKS + 1]; /* what failed before each mark, and before sync */
    char level[24];
};

/* One matrix of each rank. */
typedef struct {
    fc_weight w; /* first: rank 0's sizes */
    fc_ranks *all;
    fc_weight *own[FC_RANKS_MAX];
} fc_ranks_weight;

/* A rank's part of a call. args lie in the ring, and other ranks read them too. */
typedef fc_status (*fc_rank_fn)(fc_rank *r, const void *args);

/* Hands a call to all ranks; args are copied, with `more` behind them where there is some: rounded up to 16 bytes each.
 * */
void fc_ranks_put(fc_ranks *all, fc_rank_fn run, const void *args, size_t bytes, const void *more, size_t more_bytes);
/* The same, and waits until all have been through it; run leaves its failure where it likes, and returns FC_OK. */
void fc_ranks_ask(fc_ranks *all, fc_rank_fn run, const void *args, size_t bytes);

static inline fc_ranks *fc_ranks_of(fc_backend *be) { return (fc_ranks *)be; }
static inline fc_ranks *fc_ranks_of_stream(fc_stream s) { return (fc_ranks *)(void *)s; }
static inline size_t fc_ranks_round(size_t bytes) { return (bytes + 15) & ~(size_t)15; }

/* *pointer, an address of a buffer or NULL, becomes the rank's own. */
void fc_rank_find(const fc_rank *r, void *pointer);
static inline const fc_weight *fc_rank_weight(const fc_rank *r, const fc_weight *w) {
    return w ? ((const fc_ranks_weight *)w)->own[r->number] : NULL;
}

/* What has failed on this thread, into f, if nothing has before. */
void fc_rank_note(fc_rank_failure *f, fc_status st);
/* What came before, or the failures [n] of all ranks, come to: one that is more than noticing another's, if there is.
 * */
fc_status fc_ranks_failed(const fc_ranks *all, const fc_rank_failure *before, const fc_rank_failure *failures);

void fc_ranks_set_memory(fc_backend *be);    /* ranks_memory.c */
void fc_ranks_set_operators(fc_backend *be); /* ranks_ops.c */
void fc_ranks_free_buffers(fc_ranks *all);

#endif
