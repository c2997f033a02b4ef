#include "kernels/cuda/copies.cuh"
#include "kernels/cuda/lt.cuh"
#include "kernels/cuda/replay.cuh"

extern "C" {
#include "engine/base/mem.h"
#include "kernels/cuda/backend_cuda.h"
}

enum {
    UP_BYTES = 32 << 20,   /* plans and lists of some batches; weights go in pieces */
    DOWN_BYTES = 16 << 20, /* drawn ids, log-probs, scores */
    DOWNLOADS = 65536,     /* that may wait for their mark */
    FULL_DRAWS = 64,       /* rows of whole logits that are drawn at once */
    ROOM_BYTES = 32 << 20, /* of a rank: what comes from all ranks at once */
};

/* A download whose bytes are on their way to pinned memory. */
typedef struct {
    void *to;
    const unsigned char *from;
    size_t bytes;
} delivery;

typedef struct {
    fc_backend face; /* first */
    struct fc_stream_s *stream;
    fc_ring up, down;
    delivery *deliveries; /* [DOWNLOADS] */
    int n_deliveries;
    uint64_t delivered; /* deliveries before the first of the list, since open */
    struct {
        cudaEvent_t event;
        uint64_t until; /* deliveries before the mark, since open */
        bool lost;      /* some of them will not come */
    } marks[FC_BACKEND_MARKS];
    unsigned long long
        *troubles;  /* pinned [FC_BACKEND_MARKS + 1]: what kernels complained of before each mark, and sync */
    size_t memory;  /* bytes that were free when all of these had been taken */
    char level[16]; /* "sm_90", "sm_90+lt" */
} device;

static device *device_of(fc_backend *be) { return (device *)be; }

static fc_status cuda_alloc(fc_backend *be, size_t bytes, const char *what, void **out) {
    device *d = device_of(be);
    void *p;
    FC_TRY(fc_cuda_alloc(what, bytes, &p));
    cudaError_t e = cudaMemsetAsync(p, 0, bytes ? bytes : 1, d->stream->queue);
    if (e != cudaSuccess) {
        cudaFree(p);
        return FC_CUDA_FAILED(e, "cudaMemsetAsync");
    }
    *out = p;
    return FC_OK;
}

static void cuda_free(fc_backend *be, void *buffer) {
    (void)be;
    if (buffer) cudaFree(buffer); /* waits for the device */
}

static fc_status cuda_upload(fc_backend *be, void *dst, const void *host, size_t bytes) {
    device *d = device_of(be);
    FC_TRY(fc_cuda_flush(d->stream));
    for (size_t done = 0; done < bytes;) {
        size_t n = bytes - done < d->up.segment ? bytes - done : d->up.segment;
        unsigned char *p;
        FC_TRY(fc_ring_take(&d->up, n, d->stream, &p));
        memcpy(p, (const char *)host + done, n);
        FC_CUDA_TRY(cudaMemcpyAsync((char *)dst + done, p, n, cudaMemcpyHostToDevice, d->stream->queue));
        done += n;
    }
    return FC_OK;
}

/* Deliveries up to `until`, whose copies have arrived. */
static void deliver(device *d, uint64_t until) {
    int n = until > d->delivered ? (int)(until - d->delivered) : 0;
    for (int i = 0; i < n; i++) memcpy(d->deliveries[i].to, d->deliveries[i].from, d->deliveries[i].bytes);
    d->n_deliveries -= n;
    memmove(d->deliveries, d->deliveries + n, (size_t)d->n_deliveries * sizeof *d->deliveries);
    d->delivered += (uint64_t)n;
}

/* Behind a call that failed: what is under way arrives now, or never. Nothing is written to its owner later on. */
static fc_status give_up(device *d, fc_status st) {
    if (cudaStreamSynchronize(d->stream->queue) == cudaSuccess) {
        deliver(d, d->delivered + (uint64_t)d->n_deliveries);
        return st;
    }
    FC_FAILS_HERE("cudaStreamSynchronize");
    cudaGetLastError(); /* the error stays with the thread otherwise */
    for (int i = 0; i < FC_BACKEND_MARKS; i++) d->marks[i].lost = d->marks[i].lost || d->marks[i].until > d->delivered;
    d->delivered += (uint64_t)d->n_deliveries;
    d->n_deliveries = 0;
    return st;
}

/* Everything that is under way. A complaint stays where it is, for the next mark. */
static fc_status deliver_all(device *d) {
    FC_TRY(fc_cuda_finish(d->stream));
    deliver(d, d->delivered + (uint64_t)d->n_deliveries);
    return FC_OK;
}

static fc_status cuda_download(fc_backend *be, void *host, const void *src, size_t bytes) {
    device *d = device_of(be);
    FC_TRY(fc_cuda_flush(d->stream));
    for (size_t done = 0; done < bytes;) {
        size_t n = bytes - done < d->down.segment ? bytes - done : d->down.segment;
        unsigned char *p;
        /* what lies in a segment must be with its owner before the segment is used again */
        if (d->n_deliveries == DOWNLOADS || fc_ring_turns(&d->down, n)) FC_TRY(deliver_all(d));
        FC_TRY(fc_ring_take(&d->down, n, d->stream, &p));
        FC_CUDA_TRY(cudaMemcpyAsync(p, (const char *)src + done, n, cudaMemcpyDeviceToHost, d->stream->queue));
        d->deliveries[d->n_deliveries++] = (delivery){(char *)host + done, p, n};
        done += n;
    }
    return FC_OK;
}

/* Complaints so far go to place `at` and are forgotten on the device. */
static fc_status read_complaints(device *d, int at) {
    FC_TRY(fc_cuda_flush(d->stream));
    FC_CUDA_TRY(cudaMemcpyAsync(d->troubles + at, d->stream->trouble, sizeof *d->troubles, cudaMemcpyDeviceToHost,
                                d->stream->queue));
    FC_CUDA_TRY(cudaMemsetAsync(d->stream->trouble, 0xff, sizeof *d->troubles, d->stream->queue));
    return FC_OK;
}

static fc_status cuda_sync(fc_backend *be) {
    device *d = device_of(be);
    fc_status st = read_complaints(d, FC_BACKEND_MARKS);
    if (!st) st = deliver_all(d);
    return st ? give_up(d, st) : fc_cuda_complaint(d->troubles[FC_BACKEND_MARKS]);
}

static fc_status cuda_mark(fc_backend *be, int mark) {
    device *d = device_of(be);
    FC_ASSERT(mark >= 0 && mark < FC_BACKEND_MARKS);
    FC_TRY(read_complaints(d, mark));
    FC_CUDA_TRY(cudaEventRecord(d->marks[mark].event, d->stream->queue));
    d->marks[mark].until = d->delivered + (uint64_t)d->n_deliveries;
    d->marks[mark].lost = false;
    return FC_OK;
}

static fc_status cuda_wait(fc_backend *be, int mark) {
    device *d = device_of(be);
    fc_status st;
    FC_ASSERT(mark >= 0 && mark < FC_BACKEND_MARKS);
    if (d->marks[mark].lost) return FC_FAIL(FC_ERR_INTERNAL, "cuda: what a batch left is lost with a call that failed");
    st = fc_cuda_await(d->stream, d->marks[mark].event);
    if (st) return give_up(d, st);
    deliver(d, d->marks[mark].until);
    return fc_cuda_complaint(d->troubles[mark]);
}

static fc_status cuda_memory(fc_backend *be, uint64_t *out) {
    *out = device_of(be)->memory;
    return FC_OK;
}

static fc_status cuda_pin(fc_backend *be, pthread_t caller) {
    (void)be;
    (void)caller;
    return FC_FAIL(FC_ERR_UNSUPPORTED, "pin_threads: the cuda backend has no threads");
}

static void cuda_close(fc_backend *be) {
    device *d = device_of(be);
    fc_comm *comm = d->stream ? d->stream->comm : NULL;
    if (comm) (void)comm->check(comm); /* if a rank failed, the queue ends without it */
    fc_cuda_stream_close(d->stream);
    for (int i = 0; i < FC_BACKEND_MARKS; i++)
        if (d->marks[i].event) cudaEventDestroy(d->marks[i].event);
    if (comm) {
        cudaFree(comm->room);
        comm->room = NULL;
    }
    if (d->troubles) cudaFreeHost(d->troubles);
    fc_free(d->deliveries);
    fc_ring_close(&d->down);
    fc_ring_close(&d->up);
    fc_free(d);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Whoever needs more works in pieces: draws want a row of the vocabulary each, and are at their best from some on. */
static size_t workspace_of(const fc_op_limits *l) { /* of one rank too: its heads keep more of each row, and do fewer */
    int rows = l->rows < FULL_DRAWS ? l->rows : FULL_DRAWS;
    size_t most = fc_linear_workspace_cuda(l->rows, l->cols, l->vocab);
    most = larger(most, fc_head_draw_workspace_cuda(l->rows, l->rows, l->cols, l->vocab));
    most = larger(most, fc_head_lse_workspace_cuda(l->rows, l->cols, l->vocab));
    most = larger(most, fc_draw_workspace_cuda(rows, l->vocab));
    most = larger(most, fc_logprob_workspace_cuda(l->rows, l->vocab));
    most = larger(most, fc_top_logprobs_workspace_cuda(rows, l->vocab));
    return larger(most, fc_list_logprob_workspace_cuda(l->rows, l->vocab));
}

static fc_status open_parts(device *d, const fc_cuda_options *o, const fc_op_limits *limits) {
    void *p;
    size_t all, workspace = workspace_of(limits) + (o->invariant ? 0 : FC_LT_WORKSPACE);
    FC_TRY(fc_cuda_stream_open(o->device, workspace, o->invariant, &d->stream));
    d->stream->threads = o->threads;
    if (o->comm) {
        FC_TRY(fc_cuda_alloc("what comes from all ranks", ROOM_BYTES, &p));
        o->comm->room = (float *)p;
        o->comm->room_floats = ROOM_BYTES / sizeof(float);
        d->stream->comm = o->comm;
    }
    FC_TRY(fc_ring_open(UP_BYTES, &d->up));
    FC_TRY(fc_ring_open(DOWN_BYTES, &d->down));
    FC_TRY(fc_alloc(DOWNLOADS, sizeof *d->deliveries, "downloads", &p));
    d->deliveries = (delivery *)p;
    for (int i = 0; i < FC_BACKEND_MARKS; i++)
        FC_CUDA_TRY(cudaEventCreateWithFlags(&d->marks[i].event, cudaEventDisableTiming));
    FC_CUDA_TRY(cudaMallocHost(&p, (FC_BACKEND_MARKS + 1) * sizeof *d->troubles));
    d->troubles = (unsigned long long *)p;
    memset(d->troubles, 0xff, (FC_BACKEND_MARKS + 1) * sizeof *d->troubles);
    FC_CUDA_TRY(cudaMemGetInfo(&d->memory, &all));
    /* sums of cuBLASLt are others: scores in files are keyed by it */
    snprintf(d->level, sizeof d->level, "sm_%d%s", d->stream->sm, o->invariant ? "" : "+lt");
    return FC_OK;
}

extern "C" fc_status fc_backend_open_cuda(const fc_cuda_options *o, const fc_op_limits *limits, fc_backend **out) {
    device *d;
    fc_status st;
    void *p;
    FC_TRY(fc_op_limits_check("cuda", limits));
    if (o->n_devices > 0) return fc_backend_open_cuda_ranks(o, limits, out);
    FC_TRY(fc_alloc(1, sizeof *d, "cuda backend", &p));
    d = (device *)p;
    st = open_parts(d, o, limits);
    if (st) {
        cuda_close(&d->face);
        return st;
    }
    fc_backend *be = &d->face;
    be->name = "cuda";
    be->level = d->level;
    be->self = d;
    be->stream = d->stream;
    be->alloc = cuda_alloc;
    be->free = cuda_free;
    be->memory = cuda_memory;
    be->upload = cuda_upload;
    be->download = cuda_download;
    be->sync = cuda_sync;
    be->ranks = 1;
    be->depth = 2;
    be->attn_units = 2 * d->stream->sms;
    be->mark = cuda_mark;
    be->wait = cuda_wait;
    be->weight_pack = fc_weight_pack_cuda;
    be->weight_free = fc_weight_free_cuda;
    be->embed = fc_embed_cuda;
    be->rmsnorm = fc_rmsnorm_cuda;
    be->rows_copy = fc_rows_copy_cuda;
    be->linear = fc_linear_cuda;
    be->linear_pick = fc_linear_pick_cuda;
    be->lora = fc_lora_cuda;
    be->rope_table = fc_rope_table_cuda;
    be->rope_kv = fc_rope_kv_cuda;
    be->attn_fits = fc_attn_fits_cuda;
    be->attn = fc_attn_cuda;
    be->softcap = fc_softcap_cuda;
    be->kv_copy = fc_kv_copy_cuda;
    be->draw = fc_draw_cuda;
    be->logprob = fc_logprob_cuda;
    be->top_logprobs = fc_top_logprobs_cuda;
    be->list_logprob = fc_list_logprob_cuda;
    be->list_gather = fc_list_gather_cuda;
    be->head_lse = fc_head_lse_cuda;
    be->head_draw = fc_head_draw_cuda;
    be->sum = fc_sum_cuda;
    be->join = fc_join_cuda;
    be->pin = cuda_pin;
    be->close = cuda_close;
    *out = be;
    return FC_OK;
}
