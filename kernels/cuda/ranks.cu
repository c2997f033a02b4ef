/* ranks - a backend on each of several devices, as one (kernels/ranks). */
#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "kernels/cuda/backend_cuda.h"
#include "kernels/ranks/ranks.h"
}

typedef struct {
    const fc_cuda_options *o;
    const fc_op_limits *limits;
} opening;

static fc_status open_rank(void *arg, int rank, fc_comm *comm, fc_backend **out) {
    const opening *a = (const opening *)arg;
    fc_cuda_options one = *a->o;
    one.device = a->o->devices[rank];
    one.n_devices = 0;
    one.comm = comm;
    if (one.threads > 0) one.threads = (one.threads - 1) / a->o->n_devices + 1;
    return fc_backend_open_cuda(&one, a->limits, out);
}

extern "C" fc_status fc_backend_open_cuda_ranks(const fc_cuda_options *o, const fc_op_limits *limits,
                                                fc_backend **out) {
    opening a = {o, limits};
    fc_comm *comms[FC_RANKS_MAX];
    if (o->n_devices > FC_RANKS_MAX)
        return FC_FAIL(FC_ERR_ARG, "%d GPUs; at most %d work as one", o->n_devices, (int)FC_RANKS_MAX);
    if (o->n_devices > 1) FC_TRY(fc_comm_open_nccl(o->devices, o->n_devices, comms));
    return fc_backend_open_ranks(o->n_devices, o->n_devices > 1 ? comms : NULL, open_rank, &a, out);
}
