/* nccl.cpp - NCCL among the pretended devices: an all-gather runs when it is the next thing to do in the queue of every
 * rank, as on devices, where each waits for the others; its result is there all at once.
 *
 * Stricter than NCCL: ranks that differ in size break the device, and say which; a rank's x and out overlap in no way but
 * NCCL's own (x being the rank's place in out). A rank that aborts leaves the others waiting until they do.
 */
#include "kernels/comm/nccl.h"
#include "tests/cuda_emu/runtime_state.h"

#include <string.h>

/* NCCL's numbers. */
enum {
    ncclSuccess = FC_NCCL_OK,
    ncclUnhandledCudaError = 1,
    ncclInvalidArgument = 4,
    ncclInvalidUsage = 5,
};

struct emu_nccl_comm;

struct emu_nccl_group {
    int ranks, open;
    std::map<uint64_t, std::shared_ptr<emu_gathering>> meetings; /* by number: not all ranks have come */
};

struct emu_nccl_comm {
    std::shared_ptr<emu_nccl_group> group;
    int rank, device;
    uint64_t calls;
    bool aborted;
};

static const char COMM[] = "NCCL communicator";

static bool is(const emu_nccl_comm *c) {
    auto i = emu_rt.things.find(c);
    return i != emu_rt.things.end() && i->second == COMM;
}

static int of(cudaError_t e) { return e == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError; }

static int ncclCommInitAll(fc_nccl_comm *comms, int n, const int *devices) {
    emu_enter call(__func__, EMU_MEMORY | EMU_UNSAFE);
    if (call.error) return of(call.error);
    if (!comms || n < 1) return ncclInvalidArgument;
    auto g = std::make_shared<emu_nccl_group>();
    g->ranks = g->open = n;
    for (int r = 0; r < n; r++) {
        int device = devices ? devices[r] : r;
        if (device < 0 || device >= emu_devices()) return ncclInvalidArgument;
        for (int i = 0; i < r; i++)
            if ((devices ? devices[i] : i) == device) return ncclInvalidUsage;
    }
    for (int r = 0; r < n; r++) {
        comms[r] = new emu_nccl_comm{g, r, devices ? devices[r] : r, 0, false};
        emu_rt.things[comms[r]] = COMM;
    }
    return of(call.end());
}

static int drop(emu_nccl_comm *c) {
    if (!is(c)) return ncclInvalidArgument;
    emu_rt.things.erase(c);
    delete c;
    return ncclSuccess;
}

static int ncclCommDestroy(fc_nccl_comm comm) {
    emu_nccl_comm *c = (emu_nccl_comm *)comm;
    emu_enter call(__func__, EMU_RELEASE);
    return drop(c);
}

static int ncclCommAbort(fc_nccl_comm comm) {
    emu_nccl_comm *c = (emu_nccl_comm *)comm;
    emu_enter call(__func__, EMU_RELEASE);
    if (!is(c)) return ncclInvalidArgument;
    for (auto &m : c->group->meetings) m.second->ranks[(size_t)c->rank].aborted = true;
    return drop(c);
}

static int ncclCommGetAsyncError(fc_nccl_comm comm, int *out) {
    emu_nccl_comm *c = (emu_nccl_comm *)comm;
    emu_enter call(__func__, EMU_PLAIN);
    if (call.error) return of(call.error);
    if (!is(c) || !out) return ncclInvalidArgument;
    *out = ncclSuccess;
    return of(call.end());
}

static int ncclAllGather(const void *x, void *out, size_t n, int type, fc_nccl_comm comm, cudaStream_t stream) {
    emu_nccl_comm *c = (emu_nccl_comm *)comm;
    emu_enter call(__func__, EMU_PLAIN);
    if (call.error) return of(call.error);
    if (!is(c) || type != FC_NCCL_F32 || n == 0) return ncclInvalidArgument;
    emu_stream *s = emu_stream_of(call, stream);
    if (!s || s->capture) return ncclInvalidUsage;
    if (s->device != c->device || emu_device_now() != c->device) return ncclInvalidUsage;
    const size_t bytes = n * sizeof(float), rank = (size_t)c->rank;
    std::shared_ptr<emu_nccl_group> g = c->group;
    uint64_t number = c->calls++;
    std::shared_ptr<emu_gathering> &m = g->meetings[number];
    if (!m) {
        m = std::make_shared<emu_gathering>();
        m->ranks.resize((size_t)g->ranks);
        m->bytes = bytes;
    }
    if (const char *wrong = emu_check_device(x, bytes))
        emu_break(cudaErrorIllegalAddress, std::string("ncclAllGather of ") + wrong);
    if (const char *wrong = emu_check_device(out, bytes * (size_t)g->ranks))
        emu_break(cudaErrorIllegalAddress, std::string("ncclAllGather into ") + wrong);
    if (m->bytes != bytes)
        emu_break(cudaErrorLaunchFailure, "ncclAllGather: rank " + std::to_string(c->rank) + " has " +
                                              std::to_string(bytes) + " bytes, another " + std::to_string(m->bytes));
    if (emu_rt.broken) return of(call.end());
    m->ranks[rank].x = x;
    m->ranks[rank].out = out;
    m->ranks[rank].queue = s->queue;
    emu_op op = {};
    op.work = std::make_shared<emu_work>();
    op.meeting = m;
    op.rank = c->rank;
    std::shared_ptr<emu_gathering> keep = m;
    if (++keep->come == g->ranks) g->meetings.erase(number);
    emu_push(s, std::move(op));
    return of(call.end());
}

static const char *ncclGetErrorString(int r) {
    static const char *const words[] = {"no error",       "unhandled cuda error", "unhandled system error",
                                        "internal error", "invalid argument",     "invalid usage",
                                        "remote error",   "in progress"};
    return (unsigned)r < sizeof words / sizeof *words ? words[r] : "unknown result code";
}

/* In place of kernels/comm/nccl_open.cu: there is nothing to look for. */
fc_status fc_nccl_open(fc_nccl *out) {
    *out = {ncclCommInitAll, ncclAllGather, ncclCommGetAsyncError, ncclCommAbort, ncclCommDestroy, ncclGetErrorString};
    return FC_OK;
}
