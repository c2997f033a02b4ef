#include "kernels/cuda/replay.cuh"

extern "C" {
#include "engine/base/mem.h"
}

enum {
    NODES = 4096,          /* launches that may wait: a pass of a model of 300 layers */
    PARAM_BYTES = 2 << 20, /* their parameters */
    FEW = 8,               /* launches from which on a graph pays */
    GRAPHS = 24,           /* forms of a pass that are remembered */
    ATTRIBUTES = 128,      /* kernels that want much shared memory */
};

typedef struct {
    const char *name;
    const void *kernel;
    dim3 grid;
    int block;
    size_t shared;
    size_t params, bytes; /* place in the list's parameters */
} launch;

typedef struct {
    launch *nodes; /* [n] as the graph has them now */
    unsigned char *params;
    cudaGraphNode_t *handles;
    cudaGraph_t whole; /* kept: handles are its nodes */
    cudaGraphExec_t exec;
    int n;
    uint64_t used; /* the latest flush that used it */
} graph;

struct fc_replay {
    launch *list; /* [NODES] */
    unsigned char *params;
    int n;
    size_t used;
    graph graphs[GRAPHS];
    uint64_t flushes;
    size_t shared_max;
    fc_stream stream;             /* whose launches these are */
    const void *told[ATTRIBUTES]; /* kernels that may have so much */
    int n_told;
    fc_replay_counts counts;
};

fc_status fc_replay_open(size_t shared_max, fc_stream s, fc_replay **out) {
    fc_replay *r;
    fc_status st;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *r, "launches", &p));
    r = (fc_replay *)p;
    r->shared_max = shared_max;
    r->stream = s;
    st = fc_alloc(NODES, sizeof *r->list, "launches", &p);
    if (st) goto fail;
    r->list = (launch *)p;
    st = fc_alloc(PARAM_BYTES, 1, "parameters of launches", &p);
    if (st) goto fail;
    r->params = (unsigned char *)p;
    *out = r;
    return FC_OK;
fail:
    fc_replay_close(r);
    return st;
}

static void drop(graph *g) {
    if (g->exec) cudaGraphExecDestroy(g->exec);
    if (g->whole) cudaGraphDestroy(g->whole);
    fc_free(g->handles);
    fc_free(g->params);
    fc_free(g->nodes);
    memset(g, 0, sizeof *g);
}

void fc_replay_close(fc_replay *r) {
    if (!r) return;
    for (int i = 0; i < GRAPHS; i++) drop(&r->graphs[i]);
    fc_free(r->params);
    fc_free(r->list);
    fc_free(r);
}

fc_replay_counts fc_replay_counted(const fc_replay *r) { return r->counts; }

/* Above 48 KB a kernel must be told; once is enough. It holds for all streams of the process, so all say the same. */
static fc_status allow_shared(fc_replay *r, const void *kernel, size_t shared) {
    if (shared <= 48 * 1024) return FC_OK;
    for (int i = 0; i < r->n_told; i++)
        if (r->told[i] == kernel) return FC_OK;
    FC_CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)r->shared_max));
    if (r->n_told < ATTRIBUTES) r->told[r->n_told++] = kernel; /* else told again next time */
    return FC_OK;
}

fc_status fc_replay_add(fc_replay *r, cudaStream_t queue, const char *name, const void *kernel, dim3 grid, int block,
                        size_t shared, const void *params, size_t param_bytes) {
    size_t room = (param_bytes + 15) / 16 * 16;
    FC_TRY(allow_shared(r, kernel, shared));
    if (r->n == NODES || r->used + room > PARAM_BYTES) FC_TRY(fc_replay_flush(r, queue));
    r->list[r->n++] = (launch){name, kernel, grid, block, shared, r->used, param_bytes};
    memcpy(r->params + r->used, params, param_bytes);
    r->used += room;
    return FC_OK;
}

static fc_status one_by_one(fc_replay *r, cudaStream_t queue) {
    for (int i = 0; i < r->n; i++) {
        const launch *l = &r->list[i];
        void *args[1] = {r->params + l->params};
        cudaError_t e = cudaLaunchKernel(l->kernel, l->grid, dim3((unsigned)l->block), args, l->shared, queue);
        if (e != cudaSuccess) return FC_CUDA_FAILED(e, l->name);
    }
    r->counts.single += (uint64_t)r->n;
    return FC_OK;
}

static bool same_form(const fc_replay *r, const graph *g) {
    if (!g->exec || g->n != r->n) return false;
    for (int i = 0; i < r->n; i++) {
        const launch *a = &r->list[i], *b = &g->nodes[i];
        if (a->kernel != b->kernel || a->block != b->block || a->shared != b->shared) return false;
    }
    return true;
}

static cudaKernelNodeParams node_params(const launch *l, void **args) {
    cudaKernelNodeParams p = {};
    p.func = (void *)l->kernel;
    p.gridDim = l->grid;
    p.blockDim = dim3((unsigned)l->block);
    p.sharedMemBytes = (unsigned)l->shared;
    p.kernelParams = args;
    return p;
}

/* Nodes whose grid or parameters are not the graph's. */
static fc_status patch(fc_replay *r, graph *g) {
    for (int i = 0; i < r->n; i++) {
        const launch *l = &r->list[i];
        launch *have = &g->nodes[i];
        void *args[1] = {r->params + l->params};
        cudaKernelNodeParams p;
        if (memcmp(&l->grid, &have->grid, sizeof l->grid) == 0 &&
            memcmp(r->params + l->params, g->params + have->params, l->bytes) == 0)
            continue;
        p = node_params(l, args);
        FC_CUDA_TRY(cudaGraphExecKernelNodeSetParams(g->exec, g->handles[i], &p));
        have->grid = l->grid;
        memcpy(g->params + have->params, r->params + l->params, l->bytes);
        r->counts.patched++;
    }
    return FC_OK;
}

static fc_status build(const fc_replay *r, graph *g) {
    FC_CUDA_TRY(cudaGraphCreate(&g->whole, 0));
    for (int i = 0; i < r->n; i++) {
        void *args[1] = {r->params + r->list[i].params};
        cudaKernelNodeParams p = node_params(&r->list[i], args);
        FC_CUDA_TRY(cudaGraphAddKernelNode(&g->handles[i], g->whole, i ? &g->handles[i - 1] : NULL, i ? 1 : 0, &p));
    }
    FC_CUDA_TRY(cudaGraphInstantiate(&g->exec, g->whole, 0));
    return FC_OK;
}

static fc_status make(fc_replay *r, graph *g) {
    void *p;
    if (g->exec) FC_TRY(fc_cuda_finish(r->stream)); /* it may be running */
    drop(g);
    FC_TRY(fc_alloc((size_t)r->n, sizeof *g->nodes, "a pass's graph", &p));
    g->nodes = (launch *)p;
    FC_TRY(fc_alloc(r->used, 1, "a pass's graph", &p));
    g->params = (unsigned char *)p;
    FC_TRY(fc_alloc((size_t)r->n, sizeof *g->handles, "a pass's graph", &p));
    g->handles = (cudaGraphNode_t *)p;
    memcpy(g->nodes, r->list, (size_t)r->n * sizeof *g->nodes);
    memcpy(g->params, r->params, r->used);
    g->n = r->n;
    r->counts.made++;
    return build(r, g);
}

static fc_status as_graph(fc_replay *r, cudaStream_t queue) {
    graph *g = NULL, *oldest = &r->graphs[0];
    for (int i = 0; i < GRAPHS && !g; i++) {
        if (same_form(r, &r->graphs[i])) g = &r->graphs[i];
        if (r->graphs[i].used < oldest->used) oldest = &r->graphs[i];
    }
    if (g) {
        FC_TRY(patch(r, g));
    } else {
        fc_status st = make(r, oldest);
        if (st) {
            drop(oldest);
            return st;
        }
        g = oldest;
    }
    g->used = ++r->flushes;
    FC_CUDA_TRY(cudaGraphLaunch(g->exec, queue));
    r->counts.graphs++;
    return FC_OK;
}

fc_status fc_replay_flush(fc_replay *r, cudaStream_t queue) {
    fc_status st;
    if (r->n == 0) return FC_OK;
    r->counts.launches += (uint64_t)r->n;
    st = r->n < FEW ? one_by_one(r, queue) : as_graph(r, queue);
    r->n = 0;
    r->used = 0;
    return st;
}
