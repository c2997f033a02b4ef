/* runtime_work.cpp - what operations do when they run, and the calls that copy and fill. */
#include "tests/cuda_emu/runtime_state.h"

#include <stdio.h>

static const double MS_EACH = 0.001;      /* what an operation takes by cudaEventElapsedTime */
static const size_t STAGED_MAX = 1 << 20; /* bytes of pageable memory beyond which a copy to the device waits */

/* ---- running ---- */

static bool broke(cudaError_t e, const std::string &why) {
    emu_break(e, why);
    return false;
}

static bool do_kernel(const emu_work &w) {
    emu_rt.counts.launches++;
    if (!w.kernel) {
        std::string problem;
        return w.run(&problem) || broke(cudaErrorIllegalAddress, std::string(w.name) + ": " + problem);
    }
    std::string by = "kernel " + w.kernel->name;
    emu_rt.illegal_address = false;
    emu_kernel_runs = w.kernel->name.c_str();
    bool ok = emu_run(w.kernel->call, w.kernel->function, w.params.data(), w.grid, w.block, w.shared,
                      w.kernel->cluster);
    emu_kernel_runs = nullptr;
    if (!ok)
        return broke(emu_rt.illegal_address ? cudaErrorIllegalAddress : cudaErrorLaunchFailure,
                     by + ": " + emu_error());
    return emu_check_around(w.params.data(), w.kernel->param_bytes, by.c_str());
}

/* Again, as the memory may have gone since: a graph keeps addresses. */
static const char *check_side(const void *p, size_t bytes, bool device) {
    if (device) return emu_check_device(p, bytes);
    return emu_is_pinned(p) ? emu_check_pinned(p, bytes) : nullptr;
}

static bool from_device(cudaMemcpyKind k) { return k == cudaMemcpyDeviceToHost || k == cudaMemcpyDeviceToDevice; }
static bool to_device(cudaMemcpyKind k) { return k == cudaMemcpyHostToDevice || k == cudaMemcpyDeviceToDevice; }

static bool do_copy(const emu_work &w) {
    const void *from = w.staged.empty() ? w.from : w.staged.data();
    const char *wrong = check_side(w.to, w.bytes, to_device(w.kind));
    if (!wrong) wrong = check_side(from, w.bytes, from_device(w.kind));
    if (wrong) return broke(cudaErrorIllegalAddress, std::string("a copy of ") + wrong);
    memcpy(w.to, from, w.bytes);
    emu_rt.counts.copies++;
    if (w.kind == cudaMemcpyHostToDevice) emu_rt.counts.bytes_to_device += w.bytes;
    if (w.kind == cudaMemcpyDeviceToHost) emu_rt.counts.bytes_to_host += w.bytes;
    if (w.kind == cudaMemcpyDeviceToDevice) emu_rt.counts.bytes_on_device += w.bytes;
    return true;
}

static bool do_fill(const emu_work &w) {
    const char *wrong = emu_check_device(w.to, w.bytes);
    if (wrong) return broke(cudaErrorIllegalAddress, std::string("a fill of ") + wrong);
    memset(w.to, w.value, w.bytes);
    emu_rt.counts.fills++;
    return true;
}

bool emu_do(const emu_work &w) {
    emu_memory_open();
    emu_rt.clock += MS_EACH;
    switch (w.type) {
    case cudaGraphNodeTypeKernel: return do_kernel(w);
    case cudaGraphNodeTypeMemcpy: return do_copy(w);
    case cudaGraphNodeTypeMemset: return do_fill(w);
    case cudaGraphNodeTypeHost:
        emu_rt.in_host_function = true;
        w.fn(w.data);
        emu_rt.in_host_function = false;
        return true;
    case cudaGraphNodeTypeEmpty:
        if (w.stamp) *w.stamp = emu_rt.clock;
        return true;
    }
    return true;
}

/* ---- copies ---- */

static cudaError_t check_device(emu_enter &call, const char *side, const void *p, size_t bytes) {
    const char *wrong = emu_check_device(p, bytes);
    return wrong ? call.fail(cudaErrorInvalidValue, "%s: %s", side, wrong) : cudaSuccess;
}

static cudaError_t check_host(emu_enter &call, const char *side, const void *p, size_t bytes) {
    const char *wrong = nullptr;
    if (!p) return call.fail(cudaErrorInvalidValue, "%s is NULL", side);
    if (emu_is_device(p)) return call.fail(cudaErrorInvalidValue, "%s is not the host's: %s", side, emu_where(p));
    if (emu_is_pinned(p)) wrong = emu_check_pinned(p, bytes);
    return wrong ? call.fail(cudaErrorInvalidValue, "%s: %s", side, wrong) : cudaSuccess;
}

cudaError_t emu_copy_work(emu_enter &call, void *to, const void *from, size_t bytes, cudaMemcpyKind kind, emu_work *w) {
    cudaError_t e;
    if (kind == cudaMemcpyDefault)
        kind = (cudaMemcpyKind)((emu_is_device(to) ? cudaMemcpyHostToDevice : 0) |
                                (emu_is_device(from) ? cudaMemcpyDeviceToHost : 0));
    if ((unsigned)kind > cudaMemcpyDeviceToDevice)
        return call.fail(cudaErrorInvalidMemcpyDirection, "kind %d", (int)kind);
    e = to_device(kind) ? check_device(call, "to", to, bytes) : check_host(call, "to", to, bytes);
    if (!e) e = from_device(kind) ? check_device(call, "from", from, bytes) : check_host(call, "from", from, bytes);
    if (e) return e;
    if ((const char *)to < (const char *)from + bytes && (const char *)from < (const char *)to + bytes)
        return call.fail(cudaErrorInvalidValue, "%zu bytes from %p to %p overlap", bytes, from, to);
    w->type = cudaGraphNodeTypeMemcpy;
    w->to = to;
    w->from = from;
    w->bytes = bytes;
    w->kind = kind;
    return cudaSuccess;
}

cudaError_t emu_fill_work(emu_enter &call, void *p, int value, size_t bytes, emu_work *w) {
    cudaError_t e = check_device(call, "the memory", p, bytes);
    w->type = cudaGraphNodeTypeMemset;
    w->to = p;
    w->value = value;
    w->bytes = bytes;
    return e;
}

static cudaError_t wait_for(emu_enter &call, emu_stream *s) {
    emu_rt.counts.syncs++;
    emu_wait(emu_all_of(s));
    return call.end();
}

/* blocks: cudaMemcpy. */
static cudaError_t copy(emu_enter &call, emu_stream *s, void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                        bool blocks) {
    auto w = std::make_shared<emu_work>();
    if (bytes == 0) return call.end();
    cudaError_t e = emu_copy_work(call, to, from, bytes, kind, w.get());
    if (e) return e;
    const void *host = w->kind == cudaMemcpyHostToDevice ? from : to;
    bool pageable = w->kind != cudaMemcpyDeviceToDevice && !emu_is_pinned(host);
    if (s->capture && (pageable || w->kind == cudaMemcpyHostToHost)) {
        s->capture->invalid = true; /* CUDA keeps the address, whatever lies there when the graph runs */
        return call.fail(cudaErrorStreamCaptureUnsupported, "a copy of pageable memory in a graph");
    }
    if (pageable && w->kind == cudaMemcpyHostToDevice) {
        w->staged.assign((const unsigned char *)from, (const unsigned char *)from + bytes);
        w->from = nullptr;
    }
    e = emu_issue(call, s, w);
    if (e) return e;
    if (w->kind == cudaMemcpyHostToHost || (w->kind == cudaMemcpyDeviceToHost && (pageable || blocks)) ||
        (w->kind == cudaMemcpyHostToDevice && (pageable ? bytes > STAGED_MAX : blocks)))
        return wait_for(call, s);
    return call.end();
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    EMU_ENTER(EMU_PLAIN);
    emu_stream *s = emu_stream_of(call, stream);
    if (!s) return call.failed;
    return copy(call, s, to, from, bytes, kind, false);
}

/* In the legacy stream. From pageable memory it returns when that has been read; on the device it does not wait. */
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    EMU_ENTER(EMU_UNSAFE);
    return copy(call, emu_stream_of(call, nullptr), to, from, bytes, kind, true);
}

static cudaError_t fill(emu_enter &call, emu_stream *s, void *p, int value, size_t bytes) {
    auto w = std::make_shared<emu_work>();
    if (bytes == 0) return call.end();
    if (cudaError_t e = emu_fill_work(call, p, value, bytes, w.get())) return e;
    return emu_issue(call, s, w);
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream) {
    EMU_ENTER(EMU_PLAIN);
    emu_stream *s = emu_stream_of(call, stream);
    if (!s) return call.failed;
    return fill(call, s, p, value, bytes);
}

cudaError_t cudaMemset(void *p, int value, size_t bytes) {
    EMU_ENTER(EMU_UNSAFE);
    return fill(call, emu_stream_of(call, nullptr), p, value, bytes);
}
