/* comm - what the ranks of tensor parallelism give one another: sums of what each has, and columns side by side
 *
 *   sum   y[i] = y_0[i] + y_1[i] + ..., y_r being rank r's: one chain, in the order of ranks
 *   join  y [R,N]: in columns fc_comm_first(.., r) to fc_comm_first(.., r + 1) what rank r has in its x
 *
 * shapes  y [n]; x [R, own columns], in room for R times the most columns that a rank has; y [R,N]; row-major
 * dtype   f32; the same bits on every rank, whatever n and R: a row's bits depend on no other row
 * needs   every rank calls, with the same sizes and in the same order. Where one does not, because it failed, the calls
 *         of the others fail (abort)
 * memory  the comm's room takes what comes from all ranks; what is larger goes in pieces
 * bytes   of a rank: sum ranks * n * 4 received and as many read, join R * N * 4 received and twice as many moved
 * CUDA    gathered by NCCL's all-gather, which copies, then added by a kernel: an all-reduce of NCCL would add in an
 *         order that depends on n
 * source  Shoeybi et al., "Megatron-LM", 2019 (which matrices are cut by columns and which by rows)
 */
#ifndef FC_KERNELS_COMM_H
#define FC_KERNELS_COMM_H

#include "kernels/kernel.h"

#include <stdbool.h>

enum { FC_RANKS_MAX = 8 };

/* One rank's end. Operators of a stream that has one work for their rank alone. */
typedef struct fc_comm {
    int rank, ranks;
    float *room; /* backend memory of the rank */
    size_t room_floats;
    /* out [ranks,n]: x [n] of every rank, in their order, behind all that the stream was given before; x may be
     * written again by what comes behind. */
    fc_status (*gather)(struct fc_comm *c, fc_stream s, const float *x, size_t n, float *out);
    bool meets; /* gather waits for the other ranks; else it is their devices that wait for each other */
    /* By the rank's own thread: FC_OK, or why what is under way will not come; it ends then without. FC_ERR_CANCELLED,
     * from here and from gather: it is another rank that failed. */
    fc_status (*check)(struct fc_comm *c);
    /* A rank does not take part: whoever waits for it does so no longer, and no gather works until reset. */
    void (*abort)(struct fc_comm *c);
    /* Behind an abort, while no rank is in a call. False: they never meet again. */
    bool (*reset)(struct fc_comm *c);
    void (*close)(struct fc_comm *c);
} fc_comm;

static inline void fc_comm_close(fc_comm *c) {
    if (c) c->close(c);
}

/* n things among ranks: rank r has those from fc_comm_first(n, ranks, r) to that of r + 1. */
static FC_DEVICE inline int fc_comm_first(int n, int ranks, int rank) { return (int)((long long)n * rank / ranks); }
/* Who has thing i; and the most that a rank has. */
static FC_DEVICE inline int fc_comm_owner(int n, int ranks, int i) {
    return (int)(((long long)ranks * (i + 1) - 1) / n);
}
static FC_DEVICE inline int fc_comm_most(int n, int ranks) { return (n + ranks - 1) / ranks; }

typedef struct {
    float *y; /* [n] in and out */
    size_t n;
} fc_sum_args;

typedef struct {
    float *y;       /* [R,N] out */
    const float *x; /* [R, own columns] */
    int R, N;
    int unit; /* columns are cut between units of so many, the last of which may be smaller */
} fc_join_args;

/* Columns of a rank; N where it has the last. */
static FC_DEVICE inline int fc_comm_columns(const fc_join_args *a, int ranks, int rank) {
    int units = (a->N - 1) / a->unit + 1, first = fc_comm_first(units, ranks, rank) * a->unit;
    int end = fc_comm_first(units, ranks, rank + 1) * a->unit;
    return (end < a->N ? end : a->N) - first;
}

/* A stream without a comm is alone: sum leaves y as it is, join is refused. */
fc_status fc_sum_cpu(fc_stream s, const fc_sum_args *a);
fc_status fc_sum_cuda(fc_stream s, const fc_sum_args *a);
fc_status fc_join_cpu(fc_stream s, const fc_join_args *a);
fc_status fc_join_cuda(fc_stream s, const fc_join_args *a);
fc_cost fc_sum_cost(const fc_sum_args *a, int ranks);
fc_cost fc_join_cost(const fc_join_args *a);

/* Ranks that are threads of this process, each with a room of so many floats. Caller closes each. */
fc_status fc_comm_open_cpu(int ranks, size_t room_floats, fc_comm *out[]);
/* Ranks on CUDA devices, a thread each, by NCCL (libnccl.so.2, opened here: FC_ERR_UNSUPPORTED where it is missing). A
 * rank's room is allocated where its stream is opened. */
fc_status fc_comm_open_nccl(const int *devices, int ranks, fc_comm *out[]);

#endif
