/* replay - launches that wait for each other and go to the device as one CUDA graph.
 *
 * A pass is the same few hundred kernels again and again, with other parameters. So launches are listed;
 * fc_replay_flush sends them: a short list one by one, a long one as a graph. A graph is found by its kernels, block
 * sizes and shared memory; nodes whose parameters or grids differ from the graph's are patched before it is launched,
 * which leaves launches of it that are already queued as they were. A new form takes host memory for its graph.
 */
#ifndef FC_KERNELS_CUDA_REPLAY_CUH
#define FC_KERNELS_CUDA_REPLAY_CUH

#include "kernels/cuda/cuda.cuh"

typedef struct fc_replay fc_replay;

/* Since open. */
typedef struct {
    uint64_t launches;              /* kernels, however they were sent */
    uint64_t single;                /* of them, sent one by one        */
    uint64_t graphs, made, patched; /* graphs launched, made anew; nodes patched */
} fc_replay_counts;

/* shared_max: of a block, on this device. s: whose launches these are. */
fc_status fc_replay_open(size_t shared_max, fc_stream s, fc_replay **out);
void fc_replay_close(fc_replay *r); /* NULL is fine; what waits is dropped */

/* A full list is flushed first. */
fc_status fc_replay_add(fc_replay *r, cudaStream_t queue, const char *name, const void *kernel, dim3 grid, int block,
                        size_t shared, const void *params, size_t param_bytes);
fc_status fc_replay_flush(fc_replay *r, cudaStream_t queue);
fc_replay_counts fc_replay_counted(const fc_replay *r);

#endif
