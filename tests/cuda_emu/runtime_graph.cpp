/* runtime_graph.cpp - graphs: nodes, instances, launches. */
#include "tests/cuda_emu/runtime_state.h"

#include <stdio.h>

/* ---- handles ---- */

static emu_graph *graph_of(emu_enter &call, cudaGraph_t g) {
    for (const auto &known : emu_rt.graphs)
        if (known.get() == g && g->alive) return g;
    call.fail(cudaErrorInvalidResourceHandle, "%p is no graph, or was destroyed", (void *)g);
    return nullptr;
}

static emu_graph_exec *exec_of(emu_enter &call, cudaGraphExec_t x) {
    for (const auto &known : emu_rt.execs)
        if (known.get() == x && x->alive) return x;
    call.fail(cudaErrorInvalidResourceHandle, "%p is no instantiated graph, or was destroyed", (void *)x);
    return nullptr;
}

static emu_graph_node *node_of(emu_enter &call, cudaGraphNode_t node) {
    for (const auto &g : emu_rt.graphs)
        for (const auto &n : g->nodes)
            if (n.get() == node && g->alive) return node;
    call.fail(cudaErrorInvalidResourceHandle, "%p is no node of a graph that is there", (void *)node);
    return nullptr;
}

static emu_graph_node *kernel_node_of(emu_enter &call, cudaGraphNode_t node) {
    emu_graph_node *n = node_of(call, node);
    if (!n || n->work->kernel) return n;
    call.fail(cudaErrorInvalidValue, "the node is no kernel whose parameters are known");
    return nullptr;
}

/* ---- nodes ---- */

emu_graph_node *emu_graph_add(emu_graph *g, emu_work_ref work, const std::vector<emu_graph_node *> &before) {
    g->nodes.emplace_back(new emu_graph_node{g, std::move(work), before, nullptr});
    return g->nodes.back().get();
}

static cudaError_t add(emu_enter &call, cudaGraphNode_t *node, emu_graph *g, const cudaGraphNode_t *deps, size_t n_deps,
                       emu_work_ref work) {
    std::vector<emu_graph_node *> before;
    if (!node) return call.fail(cudaErrorInvalidValue, "the node is NULL");
    if (n_deps && !deps) return call.fail(cudaErrorInvalidValue, "the dependencies are NULL");
    for (size_t i = 0; i < n_deps; i++) {
        emu_graph_node *n = node_of(call, deps[i]);
        if (!n) return call.failed;
        if (n->graph != g) return call.fail(cudaErrorInvalidValue, "dependency %zu is of another graph", i);
        for (emu_graph_node *b : before)
            if (b == n) return call.fail(cudaErrorInvalidValue, "dependency %zu is there twice", i);
        before.push_back(n);
    }
    *node = emu_graph_add(g, std::move(work), before);
    return call.end();
}

static cudaError_t kernel_work(emu_enter &call, const cudaKernelNodeParams *p, emu_work *w) {
    if (!p) return call.fail(cudaErrorInvalidValue, "the parameters are NULL");
    if (p->extra) return call.fail(cudaErrorNotSupported, "extra is not emulated");
    return emu_kernel_work(call, p->func, p->grid, p->block, p->kernelParams, p->sharedMemBytes, w);
}

cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *deps, size_t n_deps,
                                   const cudaKernelNodeParams *p) {
    EMU_ENTER(EMU_PLAIN);
    auto w = std::make_shared<emu_work>();
    emu_graph *g = graph_of(call, graph);
    if (!g) return call.failed;
    if (cudaError_t e = kernel_work(call, p, w.get())) return e;
    return add(call, node, g, deps, n_deps, w);
}

cudaError_t cudaGraphAddMemcpyNode1D(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *deps,
                                     size_t n_deps, void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    EMU_ENTER(EMU_PLAIN);
    auto w = std::make_shared<emu_work>();
    emu_graph *g = graph_of(call, graph);
    if (!g) return call.failed;
    if (cudaError_t e = emu_copy_work(call, to, from, bytes, kind, w.get())) return e;
    if ((!emu_is_device(to) && !emu_is_pinned(to)) || (!emu_is_device(from) && !emu_is_pinned(from)))
        return call.fail(cudaErrorNotSupported, "a copy of pageable memory in a graph");
    return add(call, node, g, deps, n_deps, w);
}

cudaError_t cudaGraphAddMemsetNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *deps, size_t n_deps,
                                   const cudaMemsetParams *p) {
    EMU_ENTER(EMU_PLAIN);
    auto w = std::make_shared<emu_work>();
    emu_graph *g = graph_of(call, graph);
    if (!g) return call.failed;
    if (!p || p->height != 1) return call.fail(cudaErrorInvalidValue, "the parameters are NULL, or not of one row");
    if (p->elementSize != 1) return call.fail(cudaErrorNotSupported, "elements of %u bytes", p->elementSize);
    if (cudaError_t e = emu_fill_work(call, p->dst, (int)p->value, p->width, w.get())) return e;
    return add(call, node, g, deps, n_deps, w);
}

cudaError_t cudaGraphAddEmptyNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *deps,
                                  size_t n_deps) {
    EMU_ENTER(EMU_PLAIN);
    emu_graph *g = graph_of(call, graph);
    if (!g) return call.failed;
    return add(call, node, g, deps, n_deps, std::make_shared<emu_work>());
}

/* list NULL: how many there are. Else up to *n, and NULL behind the last. */
template <typename Get>
static cudaError_t give_list(emu_enter &call, cudaGraphNode_t *list, size_t *n, size_t there, Get get) {
    if (!n) return call.fail(cudaErrorInvalidValue, "the count is NULL");
    if (list)
        for (size_t i = 0; i < *n; i++) list[i] = i < there ? get(i) : nullptr;
    if (!list || *n > there) *n = there;
    return call.end();
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n) {
    EMU_ENTER(EMU_PLAIN);
    emu_graph *g = graph_of(call, graph);
    if (!g) return call.failed;
    return give_list(call, nodes, n, g->nodes.size(), [g](size_t i) { return g->nodes[i].get(); });
}

cudaError_t cudaGraphNodeGetDependencies(cudaGraphNode_t node, cudaGraphNode_t *deps, cudaGraphEdgeData *edges,
                                         size_t *n) {
    EMU_ENTER(EMU_PLAIN);
    emu_graph_node *m = node_of(call, node);
    if (!m) return call.failed;
    if (edges && n) memset((void *)edges, 0, *n * sizeof *edges);
    return give_list(call, deps, n, m->before.size(), [m](size_t i) { return m->before[i]; });
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType *type) {
    EMU_ENTER(EMU_PLAIN);
    emu_graph_node *n = node_of(call, node);
    if (!n) return call.failed;
    if (!type) return call.fail(cudaErrorInvalidValue, "the type is NULL");
    *type = n->work->type;
    return call.end();
}

/* The parameter is the node's own: read it, until the node's next change. */
cudaError_t cudaGraphKernelNodeGetParams(cudaGraphNode_t node, cudaKernelNodeParams *p) {
    EMU_ENTER(EMU_PLAIN);
    emu_graph_node *n = kernel_node_of(call, node);
    if (!n) return call.failed;
    if (!p) return call.fail(cudaErrorInvalidValue, "the parameters are NULL");
    n->param = (void *)(uintptr_t)n->work->params.data();
    p->func = (void *)(uintptr_t)n->work->kernel->function;
    p->grid = n->work->grid;
    p->block = n->work->block;
    p->sharedMemBytes = n->work->shared;
    p->kernelParams = &n->param;
    p->extra = nullptr;
    return call.end();
}

cudaError_t cudaGraphKernelNodeSetParams(cudaGraphNode_t node, const cudaKernelNodeParams *p) {
    EMU_ENTER(EMU_PLAIN);
    auto w = std::make_shared<emu_work>();
    emu_graph_node *n = kernel_node_of(call, node);
    if (!n) return call.failed;
    if (cudaError_t e = kernel_work(call, p, w.get())) return e;
    n->work = w;
    return call.end();
}

/* ---- graphs ---- */

cudaError_t cudaGraphCreate(cudaGraph_t *graph, unsigned flags) {
    EMU_ENTER(EMU_MEMORY);
    if (!graph || flags) return call.fail(cudaErrorInvalidValue, "the graph is NULL, or flags %#x are not 0", flags);
    emu_rt.graphs.emplace_back(new emu_graph);
    *graph = emu_rt.graphs.back().get();
    return call.end();
}

static void bury(emu_graph *g) { /* nodes stay as dead handles */
    g->alive = false;
    for (auto &n : g->nodes) n->work = nullptr;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    EMU_ENTER(EMU_RELEASE);
    emu_graph *g = graph_of(call, graph);
    if (!g) return call.failed;
    bury(g);
    return call.end();
}

static size_t index_of(const emu_graph *g, const emu_graph_node *n) {
    for (size_t i = 0; i < g->nodes.size(); i++)
        if (g->nodes[i].get() == n) return i;
    return g->nodes.size();
}

static emu_steps steps_of(const emu_graph *g) {
    emu_steps steps = std::make_shared<std::vector<emu_step>>(g->nodes.size());
    for (size_t i = 0; i < g->nodes.size(); i++) {
        emu_step *s = &(*steps)[i];
        s->work = g->nodes[i]->work;
        s->origin = g->nodes[i].get();
        for (const emu_graph_node *b : g->nodes[i]->before) {
            size_t j = index_of(g, b);
            s->before.push_back((int)j);
            (*steps)[j].after.push_back((int)i);
        }
    }
    return steps;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags) {
    EMU_ENTER(EMU_MEMORY);
    emu_graph *g = graph_of(call, graph);
    if (!g) return call.failed;
    if (!exec) return call.fail(cudaErrorInvalidValue, "the instance is NULL");
    if (flags) return call.fail(cudaErrorInvalidValue, "flags %#llx are not emulated", flags);
    emu_rt.execs.emplace_back(new emu_graph_exec);
    *exec = emu_rt.execs.back().get();
    (*exec)->steps = steps_of(g);
    return call.end();
}

/* A launch that has not run yet keeps the steps that it was launched with. */
static std::vector<emu_step> *own_steps(emu_graph_exec *x) {
    if (x->steps.use_count() > 1) x->steps = std::make_shared<std::vector<emu_step>>(*x->steps);
    return x->steps.get();
}

cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaKernelNodeParams *p) {
    EMU_ENTER(EMU_PLAIN);
    auto w = std::make_shared<emu_work>();
    emu_graph_exec *x = exec_of(call, exec);
    emu_graph_node *n = x ? kernel_node_of(call, node) : nullptr;
    if (!n) return call.failed;
    if (cudaError_t e = kernel_work(call, p, w.get())) return e;
    std::vector<emu_step> *steps = own_steps(x);
    for (emu_step &s : *steps)
        if (s.origin == n) {
            s.work = w;
            return call.end();
        }
    return call.fail(cudaErrorInvalidValue, "the node is not of the graph that this was made of");
}

static cudaError_t cannot(emu_enter &call, cudaGraphExecUpdateResultInfo *info, cudaGraphExecUpdateResult why,
                          emu_graph_node *n, const char *what) {
    info->result = why;
    info->errorNode = n;
    return call.fail(cudaErrorGraphExecUpdateFailure, "%s", what);
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info) {
    EMU_ENTER(EMU_PLAIN);
    emu_graph_exec *x = exec_of(call, exec);
    emu_graph *g = x ? graph_of(call, graph) : nullptr;
    cudaGraphExecUpdateResultInfo unasked;
    if (!g) return call.failed;
    if (!info) info = &unasked;
    *info = {cudaGraphExecUpdateSuccess, nullptr, nullptr};
    emu_steps now = steps_of(g);
    if (now->size() != x->steps->size())
        return cannot(call, info, cudaGraphExecUpdateErrorTopologyChanged, nullptr, "another number of nodes");
    for (size_t i = 0; i < now->size(); i++) {
        const emu_step &is = (*now)[i], &was = (*x->steps)[i];
        if (is.work->type != was.work->type)
            return cannot(call, info, cudaGraphExecUpdateErrorNodeTypeChanged, is.origin, "a node of another type");
        if (is.before != was.before)
            return cannot(call, info, cudaGraphExecUpdateErrorTopologyChanged, is.origin, "other dependencies");
        if (is.work->kind != was.work->kind)
            return cannot(call, info, cudaGraphExecUpdateErrorParametersChanged, is.origin, "a copy of another kind");
    }
    std::vector<emu_step> *steps = own_steps(x);
    for (size_t i = 0; i < now->size(); i++) (*steps)[i].work = (*now)[i].work;
    return call.end();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    EMU_ENTER(EMU_PLAIN);
    emu_graph_exec *x = exec_of(call, exec);
    emu_stream *s = x ? emu_stream_of(call, stream) : nullptr;
    if (!s) return call.failed;
    if (s->capture) {
        s->capture->invalid = true;
        return call.fail(cudaErrorNotSupported, "graphs in graphs are not emulated");
    }
    if (cudaError_t e = emu_capture_refuse(call, s)) return e;
    auto run = std::make_shared<emu_graph_run>();
    run->steps = x->steps;
    run->left = x->steps->size();
    for (size_t i = 0; i < run->left; i++) {
        run->missing.push_back((int)(*run->steps)[i].before.size());
        if (run->missing[i] == 0) run->ready.push_back((int)i);
    }
    emu_op op = {nullptr, {}, run};
    if (!x->last.reached()) op.waits.push_back(x->last);
    x->last = {s->queue, s->queue->done + s->queue->ops.size() + 1};
    emu_rt.counts.graph_launches++;
    emu_push(s, std::move(op));
    return call.end();
}

/* What of it is in streams runs all the same. */
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    EMU_ENTER(EMU_RELEASE);
    emu_graph_exec *x = exec_of(call, exec);
    if (!x) return call.failed;
    *x = {};
    x->alive = false;
    return call.end();
}

/* ---- for tests ---- */

int emu_graph_leaks(bool list) {
    int n = 0;
    for (const auto &g : emu_rt.graphs) n += g->alive;
    if (list && n) fprintf(stderr, "cuda_emu: not destroyed: %d graphs\n", n);
    int execs = 0;
    for (const auto &x : emu_rt.execs) execs += x->alive;
    if (list && execs) fprintf(stderr, "cuda_emu: not destroyed: %d instantiated graphs\n", execs);
    if (list && !emu_rt.captures.empty())
        fprintf(stderr, "cuda_emu: not ended: %zu captures\n", emu_rt.captures.size());
    return n + execs + (int)emu_rt.captures.size();
}

void emu_graph_reset(void) {
    static auto &dead_graphs = *new std::vector<std::unique_ptr<emu_graph>>;
    static auto &dead_execs = *new std::vector<std::unique_ptr<emu_graph_exec>>;
    for (auto &g : emu_rt.graphs) {
        bury(g.get());
        dead_graphs.push_back(std::move(g));
    }
    for (auto &x : emu_rt.execs) {
        *x = {};
        dead_execs.push_back(std::move(x));
    }
    emu_rt.graphs.clear();
    emu_rt.execs.clear();
}
