/* runtime_queue.cpp - streams and events, and in which order what is in the streams runs.
 *
 * A stream is a queue; the first operation of each queue whose marks are reached can run (of a graph, each step whose
 * steps before have run). One of those is taken at a time. Nothing blocks: a mark is set before it is waited for.
 */
#include "tests/cuda_emu/runtime_state.h"

#include <stdio.h>
#include <string.h>

#include <chrono>

/* ---- chance ---- */

uint64_t emu_random(void) {
    uint64_t seed = emu_queue_opts.seed * 0x9e3779b97f4a7c15u ^ emu_opts.seed, z;
    if (seed != emu_rt.random_seed) emu_rt.random_seed = emu_rt.random = seed;
    z = emu_rt.random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(size_t n) { return (size_t)(emu_random() % n); }

/* ---- running ---- */

static bool waits_reached(const emu_queue *q) {
    for (const emu_mark &w : q->ops.front().waits)
        if (!w.reached()) return false;
    return true;
}

/* A rank's queue has come to the meeting. */
static bool has_come(const emu_queue *q, const emu_gathering *m) {
    return q && !q->ops.empty() && q->ops.front().meeting.get() == m && waits_reached(q);
}

static bool head_can_run(const emu_queue *q) {
    if (q->ops.empty() || !waits_reached(q)) return false;
    const emu_gathering *m = q->ops.front().meeting.get();
    if (!m || m->ranks[(size_t)q->ops.front().rank].aborted) return true;
    for (const emu_gathering::rank &r : m->ranks)
        if (r.aborted || !has_come(r.queue.get(), m)) return false;
    return true;
}

/* Every rank's x goes to its place in every rank's out. False: the device is broken. */
static bool run_meeting(const emu_gathering &m) {
    emu_work w;
    w.type = cudaGraphNodeTypeKernel;
    w.name = "ncclAllGather";
    w.run = [&m](std::string *) {
        for (size_t to = 0; to < m.ranks.size(); to++)
            for (size_t from = 0; from < m.ranks.size(); from++)
                memmove((char *)m.ranks[to].out + from * m.bytes, m.ranks[from].x, m.bytes);
        return true;
    };
    return emu_do(w);
}

/* The first operation of q, or one step of it; the device may be broken behind it, and q empty. */
static void run_head(emu_queue *q) {
    emu_op *op = &q->ops.front();
    emu_graph_run *g = op->graph.get();
    if (std::shared_ptr<emu_gathering> m = op->meeting) {
        if (!m->ranks[(size_t)op->rank].aborted) {
            if (!run_meeting(*m)) return;
            for (const emu_gathering::rank &r : m->ranks)
                if (r.queue.get() != q) {
                    r.queue->ops.pop_front();
                    r.queue->done++;
                }
        }
    } else if (!g) {
        if (!emu_do(*op->work)) return;
    } else if (g->left) {
        std::shared_ptr<emu_graph_run> keep = op->graph;
        size_t pick = below(g->ready.size());
        int i = g->ready[pick];
        g->ready.erase(g->ready.begin() + (long)pick);
        if (!emu_do(*(*g->steps)[(size_t)i].work)) return;
        for (int next : (*g->steps)[(size_t)i].after)
            if (--g->missing[(size_t)next] == 0) g->ready.push_back(next);
        if (--g->left) return;
    }
    q->ops.pop_front();
    q->done++;
}

/* The queue whose head has to run for q to get on. NULL: another thread has to do something first. */
static emu_queue *needed_for(emu_queue *q) {
    for (const emu_mark &w : q->ops.front().waits)
        if (!w.reached()) return needed_for(w.queue.get());
    const emu_gathering *m = q->ops.front().meeting.get();
    if (!m || head_can_run(q)) return q;
    for (const emu_gathering::rank &r : m->ranks) {
        emu_queue *other = r.queue.get();
        if (r.aborted || !other || other->ops.empty()) return nullptr;
        if (other->ops.front().meeting.get() != m) return needed_for(other);
        for (const emu_mark &w : other->ops.front().waits)
            if (!w.reached()) return needed_for(w.queue.get());
    }
    return nullptr;
}

/* Lets other threads call. The lock is held once, by the call that waits. */
static void let_others(void) {
    emu_rt.lock.unlock();
    std::this_thread::sleep_for(std::chrono::microseconds(20));
    emu_rt.lock.lock();
}

static std::vector<emu_queue *> all_that_can_run(const emu_queue *but) {
    std::vector<emu_queue *> can;
    for (const auto &q : emu_rt.queues)
        if (q.get() != but && head_can_run(q.get())) can.push_back(q.get());
    return can;
}

static bool run_any(void) {
    std::vector<emu_queue *> can = all_that_can_run(nullptr);
    if (can.empty()) return false;
    run_head(can[below(can.size())]);
    return true;
}

/* Whether a kernel, a copy or a graph lies behind one of the marks. */
static bool work_behind(const std::vector<emu_mark> &marks) {
    for (const emu_mark &m : marks)
        if (m.queue && m.queue->last_work > m.at) return true;
    return false;
}

/* How a wait goes about it, by chance: only what it needs runs, or anything, or everything else first. */
void emu_wait(const std::vector<emu_mark> &marks) {
    if (!work_behind(marks)) emu_rt.counts.gaps++;
    enum { NEEDED, ANY, OTHERS_FIRST, WAYS } way = (decltype(way))below(WAYS);
    for (const emu_mark &m : marks)
        while (!m.reached()) {
            emu_queue *q = needed_for(m.queue.get());
            if (way != NEEDED) {
                std::vector<emu_queue *> can = all_that_can_run(way == OTHERS_FIRST ? q : nullptr);
                if (!can.empty()) q = can[below(can.size())];
            }
            if (q) run_head(q);
            else let_others();
        }
}

void emu_drain(void) {
    while (run_any()) {
    }
}

static size_t queued(void) {
    size_t n = 0;
    for (const auto &q : emu_rt.queues) n += q->ops.size();
    return n;
}

/* Some of what is queued, at least one; what a query gives the device time for. */
void emu_run_some(void) {
    size_t n = queued();
    for (size_t left = n ? 1 + below(n) : 0; left && run_any(); left--) {
    }
}

void emu_forget_work(void) {
    for (const auto &q : emu_rt.queues) {
        q->done += q->ops.size();
        q->ops.clear();
    }
}

/* ---- putting work into streams ---- */

emu_stream *emu_stream_of(emu_enter &call, cudaStream_t s) {
    if (!s) return emu_rt.streams[0].get();
    for (const auto &known : emu_rt.streams)
        if (known.get() == s && s->alive) return s;
    call.fail(cudaErrorInvalidResourceHandle, "%p is no stream, or was destroyed", (void *)s);
    return nullptr;
}

emu_event *emu_event_of(emu_enter &call, cudaEvent_t e) {
    for (const auto &known : emu_rt.events)
        if (known.get() == e && e->alive) return e;
    call.fail(cudaErrorInvalidResourceHandle, "%p is no event, or was destroyed", (void *)e);
    return nullptr;
}

static emu_mark end_of(const std::shared_ptr<emu_queue> &q) { return {q, q->done + q->ops.size()}; }

/* The legacy stream and each blocking stream come behind all that was put into the other before. */
std::vector<emu_mark> emu_all_of(const emu_stream *s) {
    std::vector<emu_mark> marks;
    const emu_stream *legacy = emu_rt.streams[0].get();
    if (s == legacy) {
        for (const auto &q : emu_rt.queues)
            if (q->blocking) marks.push_back(end_of(q));
    } else {
        marks.push_back(end_of(s->queue));
    }
    return marks;
}

void emu_push(emu_stream *s, emu_op op) {
    emu_stream *legacy = emu_rt.streams[0].get();
    if (s == legacy) {
        for (const emu_mark &m : emu_all_of(s))
            if (m.queue != s->queue && !m.reached()) op.waits.push_back(m);
    } else if (s->queue->blocking && !end_of(legacy->queue).reached()) {
        op.waits.push_back(end_of(legacy->queue));
    }
    s->queue->ops.push_back(std::move(op));
    if (s->queue->ops.back().graph || s->queue->ops.back().work->type != cudaGraphNodeTypeEmpty)
        s->queue->last_work = s->queue->done + s->queue->ops.size();
    size_t n = queued();
    if (n > emu_rt.counts.most_queued) emu_rt.counts.most_queued = n;
    int early = emu_queue_opts.early ? emu_queue_opts.early : 20;
    if (early >= 1000) emu_drain();
    else if (early > 0 && below(1000) < (size_t)early) emu_run_some();
    while (s->queue->ops.size() > EMU_QUEUE_MAX && run_any()) { /* a launch waits for room, as on the device */
    }
}

cudaError_t emu_issue(emu_enter &call, emu_stream *s, emu_work_ref work) {
    if (work->type == cudaGraphNodeTypeKernel && s != emu_rt.streams[0].get() && s->device != emu_device_now())
        return call.fail(cudaErrorInvalidResourceHandle, "the stream is device %d's, the thread is at device %d",
                         s->device, emu_device_now());
    if (s->capture) return emu_capture_work(call, s, work);
    if (cudaError_t e = emu_capture_refuse(call, s)) return e;
    emu_push(s, {std::move(work), {}, nullptr});
    return call.end();
}

/* ---- streams ---- */

static cudaError_t create(emu_enter &call, cudaStream_t *s, unsigned flags) {
    if (!s) return call.fail(cudaErrorInvalidValue, "the stream is NULL");
    if (flags & ~(unsigned)cudaStreamNonBlocking) return call.fail(cudaErrorInvalidValue, "flags %#x", flags);
    emu_rt.streams.emplace_back(new emu_stream);
    *s = emu_rt.streams.back().get();
    (*s)->device = emu_device_now();
    (*s)->queue = std::make_shared<emu_queue>();
    (*s)->queue->blocking = !(flags & cudaStreamNonBlocking);
    emu_rt.queues.push_back((*s)->queue);
    return call.end();
}

cudaError_t cudaStreamCreate(cudaStream_t *s) {
    EMU_ENTER(EMU_MEMORY);
    return create(call, s, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags) {
    EMU_ENTER(EMU_MEMORY);
    return create(call, s, flags);
}

/* What is in it runs all the same. */
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    EMU_ENTER(EMU_RELEASE);
    emu_stream *s = emu_stream_of(call, stream);
    if (!s) return call.failed;
    if (!stream) return call.fail(cudaErrorInvalidResourceHandle, "the legacy stream cannot be destroyed");
    if (s->capture) s->capture->invalid = true;
    s->capture = nullptr;
    s->alive = false;
    for (size_t i = 0; i < emu_rt.queues.size();) /* those of streams destroyed earlier, once they are empty */
        if (emu_rt.queues[i].use_count() == 1 && emu_rt.queues[i]->ops.empty())
            emu_rt.queues.erase(emu_rt.queues.begin() + (long)i);
        else i++;
    s->queue = nullptr;
    return call.end();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    EMU_ENTER(EMU_UNSAFE | EMU_SYNC);
    emu_stream *s = emu_stream_of(call, stream);
    if (!s) return call.failed;
    if (cudaError_t e = emu_capture_refuse(call, s)) return e;
    emu_wait(emu_all_of(s));
    emu_check_around(nullptr, 0, "one of the kernels that ran, or the host,");
    return call.end();
}

static bool reached(const std::vector<emu_mark> &marks) {
    for (const emu_mark &m : marks)
        if (!m.reached()) return false;
    return true;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    EMU_ENTER(EMU_UNSAFE);
    emu_stream *s = emu_stream_of(call, stream);
    if (!s) return call.failed;
    if (cudaError_t e = emu_capture_refuse(call, s)) return e;
    std::vector<emu_mark> all = emu_all_of(s);
    if (!reached(all)) emu_run_some();
    if (!emu_rt.broken && !reached(all)) return call.fail(cudaErrorNotReady, "work is left");
    return call.end();
}

cudaError_t cudaDeviceSynchronize(void) {
    EMU_ENTER(EMU_UNSAFE | EMU_SYNC);
    if (!emu_rt.captures.empty()) {
        for (const auto &c : emu_rt.captures) c->invalid = true;
        return call.fail(cudaErrorStreamCaptureUnsupported, "a stream is capturing");
    }
    emu_drain();
    emu_check_around(nullptr, 0, "one of the kernels that ran, or the host,");
    return call.end();
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t fn, void *data) {
    EMU_ENTER(EMU_PLAIN);
    emu_stream *s = emu_stream_of(call, stream);
    if (!s) return call.failed;
    if (!fn) return call.fail(cudaErrorInvalidValue, "the function is NULL");
    auto w = std::make_shared<emu_work>();
    w->type = cudaGraphNodeTypeHost;
    w->fn = fn;
    w->data = data;
    return emu_issue(call, s, w);
}

/* ---- events ---- */

static cudaError_t create_event(emu_enter &call, cudaEvent_t *e, unsigned flags) {
    if (!e) return call.fail(cudaErrorInvalidValue, "the event is NULL");
    if (flags & ~(unsigned)(cudaEventBlockingSync | cudaEventDisableTiming))
        return call.fail(cudaErrorInvalidValue, "flags %#x are not emulated", flags);
    emu_rt.events.emplace_back(new emu_event);
    *e = emu_rt.events.back().get();
    (*e)->timed = !(flags & cudaEventDisableTiming);
    return call.end();
}

cudaError_t cudaEventCreate(cudaEvent_t *e) {
    EMU_ENTER(EMU_MEMORY);
    return create_event(call, e, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) {
    EMU_ENTER(EMU_MEMORY);
    return create_event(call, e, flags);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    EMU_ENTER(EMU_RELEASE);
    emu_event *e = emu_event_of(call, event);
    if (!e) return call.failed;
    *e = {};
    e->alive = false;
    return call.end();
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    EMU_ENTER(EMU_PLAIN);
    emu_event *e = emu_event_of(call, event);
    emu_stream *s = e ? emu_stream_of(call, stream) : nullptr;
    if (!s) return call.failed;
    if (s->capture) return emu_capture_record(call, e, s);
    if (cudaError_t refused = emu_capture_refuse(call, s)) return refused;
    auto w = std::make_shared<emu_work>();
    e->stamp = w->stamp = std::make_shared<double>(-1);
    e->recorded = true;
    e->capture = nullptr;
    e->last = end_of(s->queue);
    e->last.at++;
    emu_push(s, {w, {}, nullptr});
    return call.end();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
    EMU_ENTER(EMU_PLAIN);
    emu_event *e = emu_event_of(call, event);
    emu_stream *s = e ? emu_stream_of(call, stream) : nullptr;
    if (!s) return call.failed;
    if (flags) return call.fail(cudaErrorInvalidValue, "flags %#x are not emulated", flags);
    if (s->capture || e->capture) return emu_capture_wait(call, s, e);
    if (!e->recorded) return call.end(); /* nothing to wait for, as on the device */
    if (cudaError_t refused = emu_capture_refuse(call, s)) return refused;
    emu_push(s, {std::make_shared<emu_work>(), {e->last}, nullptr});
    return call.end();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    EMU_ENTER(EMU_UNSAFE | EMU_SYNC);
    emu_event *e = emu_event_of(call, event);
    if (!e) return call.failed;
    if (e->capture) return call.fail(cudaErrorCapturedEvent, "its last record was captured");
    emu_wait({e->last});
    emu_check_around(nullptr, 0, "one of the kernels that ran, or the host,");
    return call.end();
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    EMU_ENTER(EMU_UNSAFE);
    emu_event *e = emu_event_of(call, event);
    if (!e) return call.failed;
    if (e->capture) return call.fail(cudaErrorCapturedEvent, "its last record was captured");
    if (emu_rt.not_ready) {
        emu_rt.not_ready--;
        return call.fail(cudaErrorNotReady, "the test wants a slow device");
    }
    if (!e->last.reached()) emu_run_some();
    if (!emu_rt.broken && !e->last.reached()) return call.fail(cudaErrorNotReady, "work before it is left");
    return call.end();
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end) {
    EMU_ENTER(EMU_PLAIN);
    emu_event *a = emu_event_of(call, start), *b = a ? emu_event_of(call, end) : nullptr;
    if (!b) return call.failed;
    if (!ms) return call.fail(cudaErrorInvalidValue, "ms is NULL");
    if (!a->timed || !b->timed) return call.fail(cudaErrorInvalidResourceHandle, "an event takes no time");
    if (!a->recorded || !b->recorded || a->capture || b->capture)
        return call.fail(cudaErrorInvalidResourceHandle, "an event was not recorded");
    if (!a->last.reached() || !b->last.reached()) return call.fail(cudaErrorNotReady, "work before an event is left");
    *ms = (float)(*b->stamp - *a->stamp);
    return call.end();
}

/* ---- for tests ---- */

int emu_queue_leaks(bool list) {
    int n = 0;
    for (size_t i = 1; i < emu_rt.streams.size(); i++)
        if (emu_rt.streams[i]->alive) {
            if (list) fprintf(stderr, "cuda_emu: not destroyed: stream %zu\n", i);
            n++;
        }
    for (size_t i = 0; i < emu_rt.events.size(); i++)
        if (emu_rt.events[i]->alive) {
            if (list) fprintf(stderr, "cuda_emu: not destroyed: event %zu\n", i + 1);
            n++;
        }
    return n;
}

/* The objects stay behind as dead handles: their addresses do not come back. */
void emu_queue_reset(void) {
    static auto &dead_streams = *new std::vector<std::unique_ptr<emu_stream>>;
    static auto &dead_events = *new std::vector<std::unique_ptr<emu_event>>;
    emu_forget_work();
    for (auto &s : emu_rt.streams) {
        *s = {};
        dead_streams.push_back(std::move(s));
    }
    for (auto &e : emu_rt.events) {
        *e = {};
        dead_events.push_back(std::move(e));
    }
    emu_rt.streams.clear();
    emu_rt.events.clear();
    emu_rt.queues.clear();
    emu_rt.captures.clear();
    emu_rt.streams.emplace_back(new emu_stream);
    emu_rt.streams[0]->queue = std::make_shared<emu_queue>();
    emu_rt.streams[0]->queue->blocking = true;
    emu_rt.queues.push_back(emu_rt.streams[0]->queue);
}
