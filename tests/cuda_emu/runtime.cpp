/* runtime.cpp - how calls begin and end, errors, the pretended device, counts. */
#include "tests/cuda_emu/runtime_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

emu_queue_options emu_queue_opts;
emu_device_options emu_device_opts;
emu_state &emu_rt = *new emu_state;

static thread_local cudaError_t last_error, told_error;
static thread_local std::string told; /* what was wrong when told_error was returned */
static int depth;                     /* calls on the stack: host functions may try some */
static thread_local int device_now;

/* ---- calls ---- */

static void report_leaks(void) { emu_leaks(true); }

emu_enter::emu_enter(const char *call, int kind) : hold(emu_rt.lock), name(call) {
    static bool once = !atexit(report_leaks);
    (void)once;
    depth++;
    emu_rt.calls++;
    emu_rt.counts.calls++;
    if (kind & EMU_SYNC) emu_rt.counts.syncs++;
    if (emu_rt.streams.empty()) emu_queue_reset();
    if (emu_device_opts.none) {
        error = fail(cudaErrorNoDevice, "the emulator was told to have none");
        return;
    }
    if (emu_rt.in_host_function) {
        error = fail(cudaErrorNotPermitted, "a host function of a stream may not call CUDA");
        return;
    }
    if (emu_rt.calls == emu_rt.lose_at) emu_break(cudaErrorIllegalAddress, "the device is lost");
    if (emu_rt.fail_next && !strcmp(emu_rt.fail_next, call)) {
        emu_rt.fail_next = nullptr;
        emu_rt.fail_at = emu_rt.calls;
    }
    if (emu_rt.calls == emu_rt.fail_at) injected = kind & EMU_MEMORY ? cudaErrorMemoryAllocation : cudaErrorUnknown;
    if (!(kind & EMU_RELEASE) && (emu_rt.broken || injected)) {
        error = end();
        return;
    }
    if (kind & EMU_UNSAFE && emu_capture_unsafe())
        error = fail(cudaErrorStreamCaptureUnsupported, "not during a capture, which is now invalid");
}

emu_enter::~emu_enter() {
    if (--depth == 0) emu_memory_close();
}

cudaError_t emu_enter::fail(cudaError_t e, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    failed = last_error = told_error = e;
    told = std::string(name) + ": " + text;
    return e;
}

cudaError_t emu_enter::end(cudaError_t e) {
    if (e) return e;
    if (emu_rt.broken) return fail(emu_rt.broken, "%s", emu_rt.broken_why.c_str());
    if (injected) return fail(injected, "told to fail");
    return cudaSuccess;
}

void emu_break(cudaError_t e, const std::string &why) {
    if (emu_rt.broken) return;
    emu_rt.broken = e;
    emu_rt.broken_why = why;
    emu_forget_work();
}

/* ---- errors ---- */

static cudaError_t sticking(void) {
    std::lock_guard<std::recursive_mutex> hold(emu_rt.lock);
    return emu_rt.broken;
}

cudaError_t cudaPeekAtLastError(void) {
    cudaError_t e = sticking();
    return e ? e : last_error;
}

cudaError_t cudaGetLastError(void) {
    cudaError_t e = cudaPeekAtLastError();
    last_error = cudaSuccess;
    return e;
}

const char *cudaGetErrorName(cudaError_t e) {
#define EMU_ERROR(name, number, words)                                                                                 \
    case name: return #name;
    switch (e) { EMU_ERRORS(EMU_ERROR) }
#undef EMU_ERROR
    return "unrecognized error code";
}

static const char *words_of(cudaError_t e) {
#define EMU_ERROR(name, number, words)                                                                                 \
    case name: return words;
    switch (e) { EMU_ERRORS(EMU_ERROR) }
#undef EMU_ERROR
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t e) {
    static thread_local std::string text;
    if (e == cudaSuccess || e != told_error) return words_of(e);
    text = std::string(words_of(e)) + ": " + told;
    return text.c_str();
}

/* ---- the device ---- */

enum { SM_DEFAULT = 90, SMS_DEFAULT = 4, CUDA_VERSION_13 = 13000 };

cudaDeviceProp emu_device_prop(void) {
    cudaDeviceProp p = {};
    int sm = emu_device_opts.sm ? emu_device_opts.sm : SM_DEFAULT;
    size_t kib = 100; /* shared memory of a multiprocessor: 8.6, 8.9, 12.0 */
    if (sm == 80 || sm == 87) kib = 164;
    if (sm == 90 || (sm >= 100 && sm < 120)) kib = 228;
    snprintf(p.name, sizeof p.name, "emulated sm_%d", sm);
    p.totalGlobalMem = emu_device_opts.memory ? emu_device_opts.memory : (size_t)8 << 30;
    p.sharedMemPerBlock = 48 << 10;
    p.sharedMemPerMultiprocessor = kib << 10;
    p.reservedSharedMemPerBlock = 1 << 10;
    p.sharedMemPerBlockOptin = (kib - 1) << 10;
    p.major = sm / 10;
    p.minor = sm % 10;
    p.multiProcessorCount = emu_device_opts.sms ? emu_device_opts.sms : SMS_DEFAULT;
    p.warpSize = 32;
    p.maxThreadsPerBlock = 1024;
    p.maxThreadsPerMultiProcessor = kib == 100 ? 1536 : 2048;
    p.maxBlocksPerMultiProcessor = kib == 100 ? 16 : 32;
    p.regsPerBlock = p.regsPerMultiprocessor = 65536;
    p.l2CacheSize = 50 << 20;
    p.concurrentKernels = p.unifiedAddressing = 1;
    p.asyncEngineCount = 2;
    p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
    p.maxThreadsDim[2] = 64;
    p.maxGridSize[0] = 0x7fffffff;
    p.maxGridSize[1] = p.maxGridSize[2] = 65535;
    return p;
}

/* What the environment of a program says that has no test in it. */
static int said_devices(void) {
    const char *said = getenv("FORKCAST_EMULATED_DEVICES");
    char *end;
    long n;
    if (!said) return 1;
    n = strtol(said, &end, 10);
    if (end != said && !*end && n >= 1 && n <= 64) return (int)n;
    fprintf(stderr, "cuda_emu: FORKCAST_EMULATED_DEVICES is \"%s\"; it is 1 to 64\n", said);
    exit(2);
}

int emu_devices(void) {
    static const int said = said_devices();
    return emu_device_opts.devices ? emu_device_opts.devices : said;
}
int emu_device_now(void) { return device_now; }
static bool no_device(int device) { return device < 0 || device >= emu_devices(); }

cudaError_t cudaGetDeviceCount(int *count) {
    EMU_ENTER(EMU_PLAIN);
    if (!count) return call.fail(cudaErrorInvalidValue, "count is NULL");
    *count = emu_devices();
    return call.end();
}

cudaError_t cudaSetDevice(int device) {
    EMU_ENTER(EMU_PLAIN);
    if (no_device(device)) return call.fail(cudaErrorInvalidDevice, "device %d; there are %d", device, emu_devices());
    device_now = device;
    return call.end();
}

cudaError_t cudaGetDevice(int *device) {
    EMU_ENTER(EMU_PLAIN);
    if (!device) return call.fail(cudaErrorInvalidValue, "device is NULL");
    *device = device_now;
    return call.end();
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device) {
    EMU_ENTER(EMU_PLAIN);
    if (!p) return call.fail(cudaErrorInvalidValue, "the properties are NULL");
    if (no_device(device)) return call.fail(cudaErrorInvalidDevice, "device %d; there are %d", device, emu_devices());
    *p = emu_device_prop();
    return call.end();
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attr, int device) {
    EMU_ENTER(EMU_PLAIN);
    cudaDeviceProp p = emu_device_prop();
    int v;
    if (!value) return call.fail(cudaErrorInvalidValue, "value is NULL");
    if (no_device(device)) return call.fail(cudaErrorInvalidDevice, "device %d; there are %d", device, emu_devices());
    switch (attr) {
    case cudaDevAttrMaxThreadsPerBlock: v = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: v = (int)p.sharedMemPerBlock; break;
    case cudaDevAttrWarpSize: v = p.warpSize; break;
    case cudaDevAttrMultiProcessorCount: v = p.multiProcessorCount; break;
    case cudaDevAttrL2CacheSize: v = p.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: v = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: v = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: v = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: v = (int)p.sharedMemPerMultiprocessor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: v = (int)p.sharedMemPerBlockOptin; break;
    default: return call.fail(cudaErrorInvalidValue, "attribute %d is not emulated", (int)attr);
    }
    *value = v;
    return call.end();
}

static cudaError_t version(int *v, int number) {
    if (!v) return last_error = cudaErrorInvalidValue;
    *v = number; /* without a device too, as a program asks for versions to say why it finds none */
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *v) { return version(v, emu_device_opts.none ? 0 : CUDA_VERSION_13); }
cudaError_t cudaRuntimeGetVersion(int *v) { return version(v, CUDA_VERSION_13); }

/* ---- for tests ---- */

emu_counters emu_counts(void) {
    std::lock_guard<std::recursive_mutex> hold(emu_rt.lock);
    return emu_rt.counts;
}

void emu_counts_reset(void) {
    std::lock_guard<std::recursive_mutex> hold(emu_rt.lock);
    emu_rt.counts = {};
}

void emu_lose_device(void) {
    std::lock_guard<std::recursive_mutex> hold(emu_rt.lock);
    emu_break(cudaErrorIllegalAddress, "the device is lost");
}

void emu_fail_at(uint64_t k) {
    std::lock_guard<std::recursive_mutex> hold(emu_rt.lock);
    emu_rt.fail_at = k ? emu_rt.calls + k : 0;
}

void emu_fail_next(const char *call) {
    std::lock_guard<std::recursive_mutex> hold(emu_rt.lock);
    emu_rt.fail_next = call;
}

void emu_not_ready(uint64_t n) {
    std::lock_guard<std::recursive_mutex> hold(emu_rt.lock);
    emu_rt.not_ready = n;
}

void emu_lose_at(uint64_t k) {
    std::lock_guard<std::recursive_mutex> hold(emu_rt.lock);
    emu_rt.lose_at = k ? emu_rt.calls + k : 0;
}

uint64_t emu_calls(void) {
    std::lock_guard<std::recursive_mutex> hold(emu_rt.lock);
    return emu_rt.calls;
}

int emu_leaks(bool list) {
    std::lock_guard<std::recursive_mutex> hold(emu_rt.lock);
    int n = emu_memory_leaks(list) + emu_queue_leaks(list) + emu_graph_leaks(list);
    for (const auto &thing : emu_rt.things) {
        if (list) fprintf(stderr, "cuda_emu: not destroyed: %s %p\n", thing.second, thing.first);
        n++;
    }
    return n;
}

void emu_reset(void) {
    std::lock_guard<std::recursive_mutex> hold(emu_rt.lock);
    emu_rt.things.clear();
    emu_graph_reset();
    emu_queue_reset();
    emu_memory_reset();
    for (auto &k : emu_rt.kernels) k.second->shared_max = 48 << 10;
    emu_rt.counts = {};
    emu_rt.calls = emu_rt.fail_at = emu_rt.lose_at = emu_rt.not_ready = 0;
    emu_rt.fail_next = nullptr;
    emu_rt.broken = cudaSuccess;
    emu_rt.clock = 0;
    last_error = told_error = cudaSuccess;
    device_now = 0;
}
