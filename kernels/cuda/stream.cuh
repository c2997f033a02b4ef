/* stream - CUDA's side of fc_stream: the device, its queue, the memory that operators borrow, complaints of kernels. */
#ifndef FC_KERNELS_CUDA_STREAM_CUH
#define FC_KERNELS_CUDA_STREAM_CUH

enum { FC_CUDA_PARAMS = 1024, FC_CUDA_COUNTERS = 64 };

struct fc_replay;
struct fc_pool;
struct fc_comm;

/* What a kernel can find wrong about its data. The row is the sentence's number. */
typedef enum {
    FC_TROUBLE_NONE = 0,
    FC_TROUBLE_TOKEN,        /* embed: a token outside the vocabulary */
    FC_TROUBLE_ROWS_SRC,     /* rows_copy: a row that x does not have */
    FC_TROUBLE_ROWS_DST,     /* ... that y does not have */
    FC_TROUBLE_KV_COPY,      /* kv_copy: a pair of pages with a page or slots that the store does not have */
    FC_TROUBLE_KV_SLOT,      /* rope_kv: a row for a page or slot that the store does not have */
    FC_TROUBLE_PICK_SEGMENT, /* linear_pick: rows that are not in x, or sizes below 0 */
    FC_TROUBLE_PICK_ID,
    FC_TROUBLE_ATTN_SLOT,   /* attn: a position in no slot of the store; the number is the item's */
    FC_TROUBLE_LOGPROB_ROW, /* from here on: stream.cu has the sentences */
    FC_TROUBLE_LOGPROB_ID,
    FC_TROUBLE_TOP_ROW,
    FC_TROUBLE_LIST_IDS,
    FC_TROUBLE_GATHER_ROW,
    FC_TROUBLE_GATHER_IDS,
    FC_TROUBLE_DRAW_ROW,
    FC_TROUBLE_DRAW_OPTIONS,
    FC_TROUBLE_DRAW_IDS,
    FC_TROUBLE_DRAW_BIAS,
    FC_TROUBLE_DRAW_SEEN,
    FC_TROUBLE_HEAD_LSE_ROW,
    FC_TROUBLE_HEAD_LSE_ID,
    FC_TROUBLE_HEAD_DRAW_MEMBERS,
    FC_TROUBLE_HEAD_DRAW_TEMPERATURE,
    FC_TROUBLE_COUNT
} fc_trouble;

struct fc_stream_s {
    int device, sms;   /* multiprocessors */
    int sm;            /* compute capability: 80, 90 */
    size_t shared_max; /* bytes of shared memory that one block may have */
    cudaStream_t queue;
    cudaEvent_t end;          /* of what is in the queue: fc_cuda_finish */
    struct fc_replay *replay; /* launches that wait to be sent: replay.cuh */
    unsigned char *workspace; /* device, 256-byte aligned; of one operator at a time */
    size_t workspace_bytes;
    unsigned *counters; /* device, [FC_CUDA_COUNTERS]; zero between operators: who counts in them leaves zeroes */
    unsigned long long
        *trouble;         /* device: the smallest (row << 8 | fc_trouble) since it was last asked for; ~0: none */
    bool invariant;       /* products whose bits depend on no other row: never cuBLASLt */
    struct fc_lt *lt;     /* cuBLASLt, for large products, opened with the first matrix that it can multiply; or NULL */
    int threads;          /* that pack weights; 0: all cores */
    struct fc_pool *pool; /* theirs, opened with the first large matrix; or NULL */
    struct fc_comm *comm; /* borrowed: where it works for one of several ranks (kernels/comm), else NULL */
};

/* Takes the device's memory for workspace now. Caller closes. */
fc_status fc_cuda_stream_open(int device, size_t workspace, bool invariant, fc_stream *out);
void fc_cuda_stream_close(fc_stream s); /* NULL and half-built are fine */

fc_status fc_cuda_failed(cudaError_t e, const char *call);
/* cudaMalloc, at least a byte. FC_ERR_MEM says what for, how much, and what is left. */
fc_status fc_cuda_alloc(const char *what, size_t bytes, void **out);
fc_status fc_cuda_launch(fc_stream s, const char *name, const void *kernel, dim3 grid, int block, size_t shared,
                         const void *params, size_t param_bytes);
/* The operator's borrowed memory; FC_ERR_MEM with both numbers when less was reserved. */
fc_status fc_cuda_workspace(fc_stream s, size_t bytes, const char *what, void **out);

/* Sends launches that wait. Whoever puts anything else into the queue calls it first. */
fc_status fc_cuda_flush(fc_stream s);

/* Until what was put into the queue before the event has run; until all that was put into it has. A rank does not wait
 * for another that failed: fc_comm.check says so. */
fc_status fc_cuda_await(fc_stream s, cudaEvent_t e);
fc_status fc_cuda_finish(fc_stream s);

/* What a kernel complained of, as left in *trouble; FC_OK for none. */
fc_status fc_cuda_complaint(unsigned long long trouble);

/* In a kernel: what is wrong with row `row`. The rest of the kernel must stay inside its memory. */
static __device__ __forceinline__ void fc_complain(unsigned long long *trouble, fc_trouble what, int row) {
    atomicMin(trouble, (unsigned long long)(unsigned)row << 8 | (unsigned)what);
}

#endif
