/* runtime_state - what the files of the fake runtime share: one state under one lock, and how a call begins and ends.
 *
 * A call of the API is an emu_enter on the stack. It holds the lock, refuses what must fail (no device, an error that
 * sticks, an injected one), and at its end locks device memory again if the call opened it.
 */
#ifndef FC_EMU_RUNTIME_STATE_H
#define FC_EMU_RUNTIME_STATE_H

#include "cuda_runtime.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#define EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMU_ASAN 1
#endif
#endif

enum { EMU_ALIGN = 256, EMU_PAGE = 4096, EMU_QUEUE_MAX = 1024 };

/* ---- work ---- */

struct emu_kernel {
    emu_call call = nullptr;
    const void *function = nullptr;
    size_t param_bytes = 0;
    std::string name;
    int shared_max = 48 << 10; /* cudaFuncSetAttribute raises it */
    dim3 cluster = 1;
};

struct alignas(64) emu_line {
    unsigned char bytes[64];
};

/* One thing for the device to do. Never changed once it is in a queue or in an instantiated graph. */
struct emu_work {
    cudaGraphNodeType type = cudaGraphNodeTypeEmpty;
    /* Kernel */
    const emu_kernel *kernel = nullptr; /* NULL: run */
    dim3 grid, block;
    unsigned shared = 0;
    std::vector<emu_line> params;                  /* a copy, aligned for any parameter */
    std::function<bool(std::string *problem)> run; /* a product of cuBLASLt */
    const char *name = nullptr;                    /* of run */
    /* Memcpy, Memset */
    void *to = nullptr;
    const void *from = nullptr; /* staged's bytes when it has any */
    std::vector<unsigned char> staged;
    size_t bytes = 0;
    cudaMemcpyKind kind = cudaMemcpyDefault;
    int value = 0;
    /* Host */
    cudaHostFn_t fn = nullptr;
    void *data = nullptr;
    /* Empty: an event's record sets the time when it ran */
    std::shared_ptr<double> stamp;
};
typedef std::shared_ptr<const emu_work> emu_work_ref;

struct emu_step { /* of an instantiated graph */
    emu_work_ref work;
    std::vector<int> after, before; /* steps that wait for it, that it waits for */
    emu_graph_node *origin;
};
typedef std::shared_ptr<std::vector<emu_step>> emu_steps;

struct emu_graph_run {
    emu_steps steps;
    std::vector<int> missing, ready; /* steps that each waits for still; steps that can run */
    size_t left;
};

/* ---- queues ---- */

struct emu_queue;
/* Reached when queue has done that many operations. No queue: always. */
struct emu_mark {
    std::shared_ptr<emu_queue> queue;
    uint64_t at = 0;
    bool reached() const;
};

/* An all-gather among ranks: it runs once it is the first operation of all their queues (nccl.cpp). */
struct emu_gathering {
    struct rank {
        std::shared_ptr<emu_queue> queue; /* NULL: it has not come */
        const void *x = nullptr;
        void *out = nullptr;
        bool aborted = false; /* what it has in its queue does nothing */
    };
    std::vector<rank> ranks;
    int come = 0;
    size_t bytes = 0; /* of x */
};

struct emu_op {
    emu_work_ref work;
    std::vector<emu_mark> waits;
    std::shared_ptr<emu_graph_run> graph;             /* NULL: work */
    std::shared_ptr<emu_gathering> meeting = nullptr; /* NULL: work or graph */
    int rank = 0;                                     /* in the meeting */
};

struct emu_queue {
    bool blocking; /* with the legacy stream */
    uint64_t done = 0;
    uint64_t last_work = 0; /* number of the last operation that is a kernel, a copy or a graph */
    std::deque<emu_op> ops; /* not done; the first may be a graph of which some steps are */
};
inline bool emu_mark::reached() const { return !queue || queue->done >= at; }

struct emu_capture;

/* Streams and events are kept when they are destroyed, so that a stale handle is known as one. */
struct emu_stream {
    bool alive = true;
    int device = 0;
    std::shared_ptr<emu_queue> queue;
    std::shared_ptr<emu_capture> capture;
    std::vector<emu_graph_node *> tail; /* of a capture: what the next node comes behind */
};

struct emu_event {
    bool alive = true, timed = true, recorded = false;
    emu_mark last;
    std::shared_ptr<double> stamp; /* -1 before it has run */
    std::shared_ptr<emu_capture> capture;
    std::vector<emu_graph_node *> tail;
};

/* ---- graphs ---- */

struct emu_graph_node {
    emu_graph *graph;
    emu_work_ref work;
    std::vector<emu_graph_node *> before;
    void *param; /* what cudaGraphKernelNodeGetParams gives out the address of */
};
struct emu_graph {
    bool alive = true;
    std::vector<std::unique_ptr<emu_graph_node>> nodes; /* in the order of creation, which is a legal one */
};
struct emu_graph_exec {
    bool alive = true;
    emu_steps steps;
    emu_mark last; /* launches of one graph run one after another */
};
struct emu_capture {
    emu_stream *origin;
    std::thread::id thread;
    cudaStreamCaptureMode mode;
    bool invalid = false, ended = false;
    std::unique_ptr<emu_graph> graph;
};

/* ---- the state ---- */

struct emu_state {
    std::recursive_mutex lock;
    emu_counters counts = {};
    uint64_t calls = 0;
    uint64_t fail_at = 0, lose_at = 0; /* the number of the call that fails, that finds the device lost; 0: none */
    const char *fail_next = nullptr;   /* the name of the call that fails next */
    uint64_t not_ready = 0;            /* queries of events that are answered so */
    cudaError_t broken = cudaSuccess;  /* sticks */
    std::string broken_why;
    bool in_host_function = false;
    bool illegal_address = false; /* a kernel touched what it may not */
    uint64_t random = 0, random_seed = 0;
    double clock = 0; /* ms, by what ran */
    std::unordered_map<const void *, std::unique_ptr<emu_kernel>> kernels;
    std::vector<std::unique_ptr<emu_stream>> streams; /* the first is the legacy stream */
    std::vector<std::shared_ptr<emu_queue>> queues;   /* live, or with work left */
    std::vector<std::unique_ptr<emu_event>> events;
    std::vector<std::unique_ptr<emu_graph>> graphs;
    std::vector<std::unique_ptr<emu_graph_exec>> execs;
    std::vector<std::shared_ptr<emu_capture>> captures; /* not ended */
    std::map<const void *, const char *> things; /* other handles that are alive (cuBLASLt's), and what they are */
};
extern emu_state &emu_rt; /* never destroyed */

/* ---- calls (runtime.cpp) ---- */

enum {
    EMU_PLAIN = 0,
    EMU_MEMORY = 1,  /* told to fail, it is out of memory */
    EMU_RELEASE = 2, /* told to fail, it does its work all the same */
    EMU_UNSAFE = 4,  /* fails during a capture that is not relaxed, and spoils it */
    EMU_SYNC = 8,    /* counted as one that waits */
};

struct emu_enter {
    std::lock_guard<std::recursive_mutex> hold;
    const char *name;
    cudaError_t injected = cudaSuccess, error = cudaSuccess; /* error: return it at once */
    cudaError_t failed = cudaSuccess;                        /* what fail was last told */
    emu_enter(const char *call, int kind);
    ~emu_enter();
    cudaError_t fail(cudaError_t e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
    /* The end of a call whose own outcome is e: a device that broke meanwhile, or an injected error, comes first. */
    cudaError_t end(cudaError_t e = cudaSuccess);
};
#define EMU_ENTER(kind)                                                                                                \
    emu_enter call(__func__, kind);                                                                                    \
    if (call.error) return call.error

void emu_break(cudaError_t e, const std::string &why); /* every later call fails with e; queued work is forgotten */
cudaDeviceProp emu_device_prop(void);
int emu_devices(void);    /* how many are pretended */
int emu_device_now(void); /* the calling thread's */

/* ---- memory (runtime_memory.cpp) ---- */

void emu_memory_open(void); /* for the device; emu_memory_close is in every call's end */
void emu_memory_close(void);
bool emu_is_device(const void *p); /* in the range of addresses where device memory lies */
/* NULL: [p, p + bytes) lies in one live allocation; else what is wrong, as a sentence. */
const char *emu_check_device(const void *p, size_t bytes);
bool emu_is_pinned(const void *p);
const char *emu_check_pinned(const void *p, size_t bytes);
/* Where p lies, in words: for complaints. The text is the thread's, until its next call. */
const char *emu_where(const void *p);
/* The bytes around allocations: those that a kernel was given (params), or all (NULL). False: broken, with the name. */
bool emu_check_around(const void *params, size_t bytes, const char *by);
int emu_memory_leaks(bool list);
void emu_memory_reset(void);
extern const char *volatile emu_kernel_runs; /* its name, while one runs */

/* ---- queues (runtime_queue.cpp) ---- */

/* NULL: not a stream; call.fail has been told. */
emu_stream *emu_stream_of(emu_enter &call, cudaStream_t s);
emu_event *emu_event_of(emu_enter &call, cudaEvent_t e);
/* Puts work into the stream, or into the graph that it captures. */
cudaError_t emu_issue(emu_enter &call, emu_stream *s, emu_work_ref work);
void emu_push(emu_stream *s, emu_op op);
std::vector<emu_mark> emu_all_of(const emu_stream *s); /* what a synchronisation with it waits for */
void emu_wait(const std::vector<emu_mark> &marks);     /* counts a gap, too */
void emu_drain(void);                                  /* everything, in any order */
void emu_run_some(void);
uint64_t emu_random(void);
void emu_forget_work(void);
int emu_queue_leaks(bool list);
void emu_queue_reset(void);

/* ---- work (runtime_work.cpp) ---- */

/* Runs it; false: the device is broken. */
bool emu_do(const emu_work &w);
/* Fills *w for a copy, checked; staged: pageable memory is copied now. */
cudaError_t emu_copy_work(emu_enter &call, void *to, const void *from, size_t bytes, cudaMemcpyKind kind, emu_work *w);
cudaError_t emu_fill_work(emu_enter &call, void *p, int value, size_t bytes, emu_work *w);
cudaError_t emu_kernel_work(emu_enter &call, const void *kernel, dim3 grid, dim3 block, void **args, size_t shared,
                            emu_work *w);

/* ---- captures and graphs (runtime_graph.cpp, runtime_capture.cpp) ---- */

cudaError_t emu_capture_work(emu_enter &call, emu_stream *s, emu_work_ref work);
cudaError_t emu_capture_record(emu_enter &call, emu_event *e, emu_stream *s);
cudaError_t emu_capture_wait(emu_enter &call, emu_stream *s, emu_event *e);
/* Fails a call that may not be made while s (or the legacy stream's dependants) captures, and spoils the capture. */
cudaError_t emu_capture_refuse(emu_enter &call, emu_stream *s);
/* cudaErrorStreamCaptureUnsupported when a capture forbids unsafe calls to this thread; it is spoilt. */
cudaError_t emu_capture_unsafe(void);
emu_graph_node *emu_graph_add(emu_graph *g, emu_work_ref work, const std::vector<emu_graph_node *> &before);
int emu_graph_leaks(bool list);
void emu_graph_reset(void);

#endif
