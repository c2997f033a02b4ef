/* runtime_capture.cpp - streams that write a graph down instead of running.
 *
 * A capturing stream's tail is what its next node comes behind: its last node, and what it waited for by events. A
 * stream that waits for an event recorded in a capture joins it. What may not be called meanwhile spoils the capture:
 * cudaStreamEndCapture then fails and leaves no graph.
 */
#include "tests/cuda_emu/runtime_state.h"

static cudaError_t spoilt(emu_enter &call) {
    return call.fail(cudaErrorStreamCaptureInvalidated, "an earlier call spoilt the capture");
}

cudaError_t emu_capture_work(emu_enter &call, emu_stream *s, emu_work_ref work) {
    if (s->capture->invalid) return spoilt(call);
    s->tail = {emu_graph_add(s->capture->graph.get(), std::move(work), s->tail)};
    return call.end();
}

cudaError_t emu_capture_record(emu_enter &call, emu_event *e, emu_stream *s) {
    if (s->capture->invalid) return spoilt(call);
    e->capture = s->capture;
    e->tail = s->tail;
    e->recorded = true;
    e->last = {};
    return call.end();
}

cudaError_t emu_capture_wait(emu_enter &call, emu_stream *s, emu_event *e) {
    if (!e->recorded) return call.end();
    if (!e->capture) {
        s->capture->invalid = true;
        return call.fail(cudaErrorStreamCaptureIsolation, "the event was recorded outside of the capture");
    }
    if (e->capture->ended) {
        if (s->capture) s->capture->invalid = true;
        return call.fail(cudaErrorCapturedEvent, "the event's last record was in a capture that has ended");
    }
    if (s->capture && s->capture != e->capture) {
        s->capture->invalid = e->capture->invalid = true;
        return call.fail(cudaErrorStreamCaptureMerge, "the event is of another capture");
    }
    if (s == emu_rt.streams[0].get()) {
        e->capture->invalid = true;
        return call.fail(cudaErrorStreamCaptureImplicit, "the legacy stream cannot be captured");
    }
    if (e->capture->invalid) return spoilt(call);
    if (!s->capture) {
        s->capture = e->capture;
        s->tail.clear();
    }
    for (emu_graph_node *n : e->tail) {
        bool known = false;
        for (emu_graph_node *t : s->tail) known = known || t == n;
        if (!known) s->tail.push_back(n);
    }
    return call.end();
}

cudaError_t emu_capture_refuse(emu_enter &call, emu_stream *s) {
    if (s->capture) {
        s->capture->invalid = true;
        return call.fail(cudaErrorStreamCaptureUnsupported, "the stream is capturing");
    }
    if (s != emu_rt.streams[0].get()) return cudaSuccess;
    for (const auto &other : emu_rt.streams)
        if (other->alive && other->capture && other->queue->blocking) {
            other->capture->invalid = true;
            return call.fail(cudaErrorStreamCaptureImplicit, "a blocking stream is capturing");
        }
    return cudaSuccess;
}

cudaError_t emu_capture_unsafe(void) {
    cudaError_t e = cudaSuccess;
    for (const auto &c : emu_rt.captures) {
        if (c->mode == cudaStreamCaptureModeRelaxed) continue;
        if (c->mode == cudaStreamCaptureModeThreadLocal && c->thread != std::this_thread::get_id()) continue;
        c->invalid = true;
        e = cudaErrorStreamCaptureUnsupported;
    }
    return e;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    EMU_ENTER(EMU_PLAIN);
    emu_stream *s = emu_stream_of(call, stream);
    if (!s) return call.failed;
    if (!stream) return call.fail(cudaErrorStreamCaptureUnsupported, "the legacy stream cannot be captured");
    if ((unsigned)mode > cudaStreamCaptureModeRelaxed) return call.fail(cudaErrorInvalidValue, "mode %d", (int)mode);
    if (s->capture) return call.fail(cudaErrorIllegalState, "the stream is capturing already");
    s->capture = std::make_shared<emu_capture>();
    s->capture->origin = s;
    s->capture->thread = std::this_thread::get_id();
    s->capture->mode = mode;
    s->capture->graph.reset(new emu_graph);
    s->tail.clear();
    emu_rt.captures.push_back(s->capture);
    return call.end();
}

/* Nodes that nothing comes behind, other than what the stream itself ends with. */
static bool joined(const emu_graph *g, const emu_stream *s) {
    for (const auto &n : g->nodes) {
        bool last = true;
        for (const auto &other : g->nodes)
            for (const emu_graph_node *b : other->before) last = last && b != n.get();
        for (const emu_graph_node *t : s->tail) last = last && t != n.get();
        if (last) return false;
    }
    return true;
}

static void finish(const std::shared_ptr<emu_capture> &c) {
    c->ended = true;
    for (const auto &s : emu_rt.streams)
        if (s->capture == c) {
            s->capture = nullptr;
            s->tail.clear();
        }
    for (size_t i = 0; i < emu_rt.captures.size(); i++)
        if (emu_rt.captures[i] == c) emu_rt.captures.erase(emu_rt.captures.begin() + (long)i--);
}

/* The capture ends, whatever comes of it, except for a call by the wrong thread or with the wrong stream. */
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    EMU_ENTER(EMU_RELEASE);
    emu_stream *s = emu_stream_of(call, stream);
    if (!s) return call.failed;
    std::shared_ptr<emu_capture> c = s->capture;
    if (!c) return call.fail(cudaErrorIllegalState, "the stream is not capturing");
    if (!graph) return call.fail(cudaErrorInvalidValue, "the graph is NULL");
    *graph = nullptr;
    if (c->mode != cudaStreamCaptureModeRelaxed && c->thread != std::this_thread::get_id())
        return call.fail(cudaErrorStreamCaptureWrongThread, "another thread began the capture");
    if (c->origin != s) {
        c->invalid = true;
        return call.fail(cudaErrorStreamCaptureUnmatched, "the capture began in another stream");
    }
    bool whole = joined(c->graph.get(), s);
    finish(c);
    if (c->invalid) return spoilt(call);
    if (!whole) return call.fail(cudaErrorStreamCaptureUnjoined, "no event leads from another stream's work back here");
    if (cudaError_t e = call.end()) return e;
    emu_rt.graphs.push_back(std::move(c->graph));
    *graph = emu_rt.graphs.back().get();
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
    EMU_ENTER(EMU_PLAIN);
    emu_stream *s = emu_stream_of(call, stream);
    if (!s) return call.failed;
    if (!status) return call.fail(cudaErrorInvalidValue, "the status is NULL");
    *status = !s->capture           ? cudaStreamCaptureStatusNone
              : s->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                    : cudaStreamCaptureStatusActive;
    return call.end();
}
