/* runtime_memory.cpp - device and pinned memory: one range of addresses each, every allocation between guard pages.
 *
 * An allocation ends where its last page ends, but for the bytes that round it up to EMU_ALIGN: those, and EMU_ALIGN
 * bytes before it where its first page has them, are filled and compared; the page behind it and the page before
 * cannot be touched. Linux 6.13 keeps guard pages whatever mprotect says, so that device memory opens and closes in one
 * call; before that it takes one for each allocation.
 */
#include "tests/cuda_emu/runtime_state.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#ifdef EMU_ASAN
#include <sanitizer/asan_interface.h>
#endif

static const size_t ADDRESSES = (size_t)64 << 30; /* of each range; memory only where it is written */
static const size_t HUGE_PAGE = 2 << 20;
enum { FILL = 0xff, AROUND = 0xa5 };
enum { PAGES_PER_OPERATION = 128 };               /* protecting a page and back takes about half a microsecond */
enum { GUARD_INSTALL = 102, GUARD_REMOVE = 103 }; /* of madvise, where the C library does not name them yet */

struct allocation {
    unsigned char *region; /* its pages */
    size_t region_bytes;
    unsigned char *base;
    size_t bytes;
    unsigned number;
};
typedef std::map<uintptr_t, allocation> allocations; /* by region */

struct range {
    const char *what;
    bool device;
    unsigned char *start;
    size_t used; /* handed out since the last time round */
    allocations live, freed;
    size_t live_bytes, live_pages; /* pages: a huge one counts once */
    unsigned number;
};
static range device_memory = {"device allocation", true, nullptr, 0, {}, {}, 0, 0, 0};
static range pinned_memory = {"pinned allocation", false, nullptr, 0, {}, {}, 0, 0, 0};
static bool has_guards; /* guard pages that outlive mprotect */

const char *volatile emu_kernel_runs;
static bool is_open, ran_since_check;
static size_t ran_since_open; /* operations */
static struct sigaction before_fault;

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static void protect(void *p, size_t bytes, int how) {
    if (!mprotect(p, bytes, how)) return;
    perror("cuda_emu: mprotect");
    abort();
}

/* ---- words ---- */

static bool inside(const range *r, const void *p) {
    return r->start && (const unsigned char *)p >= r->start && (const unsigned char *)p < r->start + ADDRESSES;
}

/* The allocation whose pages, with the unmapped ones around them, have p. */
static const allocation *near(const allocations &all, const void *p) {
    auto i = all.upper_bound((uintptr_t)p + EMU_PAGE);
    if (i == all.begin()) return nullptr;
    const allocation *a = &std::prev(i)->second;
    return (const unsigned char *)p < a->region + a->region_bytes + EMU_PAGE ? a : nullptr;
}

const char *emu_where(const void *p) {
    static thread_local char text[256];
    const unsigned char *at = (const unsigned char *)p;
    for (const range *r : {&device_memory, &pinned_memory}) {
        if (!inside(r, p)) continue;
        const allocation *live = near(r->live, p), *a = live ? live : near(r->freed, p);
        const char *freed = live ? "" : ", which was freed";
        if (!a) snprintf(text, sizeof text, "%p, which no %s has", p, r->what);
        else if (at < a->base)
            snprintf(text, sizeof text, "the byte %td before %s %u (%zu bytes%s)", a->base - at, r->what, a->number,
                     a->bytes, freed);
        else if (at >= a->base + a->bytes)
            snprintf(text, sizeof text, "the byte %td behind the end of %s %u (%zu bytes%s)",
                     at - a->base - (ptrdiff_t)a->bytes, r->what, a->number, a->bytes, freed);
        else
            snprintf(text, sizeof text, "byte %td of %s %u (%zu bytes%s)", at - a->base, r->what, a->number, a->bytes,
                     freed);
        return text;
    }
    snprintf(text, sizeof text, "%p, which is neither device nor pinned memory", p);
    return text;
}

static const char *check(const range *r, const void *p, size_t bytes) {
    static thread_local char text[400];
    const allocation *a = near(r->live, p);
    const unsigned char *at = (const unsigned char *)p;
    if (a && at >= a->base && at <= a->base + a->bytes && bytes <= (size_t)(a->base + a->bytes - at)) return nullptr;
    snprintf(text, sizeof text, "%zu bytes from %s", bytes, emu_where(p));
    return text;
}

bool emu_is_device(const void *p) { return inside(&device_memory, p); }
bool emu_is_pinned(const void *p) { return inside(&pinned_memory, p); }
const char *emu_check_device(const void *p, size_t bytes) { return check(&device_memory, p, bytes); }
const char *emu_check_pinned(const void *p, size_t bytes) { return check(&pinned_memory, p, bytes); }

/* ---- protection ---- */

#if defined EMU_ASAN && defined __x86_64__
/* Other handlers, cmocka's among them, would keep AddressSanitizer from telling the line. */
static void report(const siginfo_t *info, const void *context) {
    const greg_t *r = ((const ucontext_t *)context)->uc_mcontext.gregs;
    fprintf(stderr, "cuda_emu: kernel %s touches %s\n", emu_kernel_runs, emu_where(info->si_addr));
    __asan_report_error((void *)r[REG_RIP], (void *)r[REG_RBP], (void *)r[REG_RSP], info->si_addr,
                        (int)(r[REG_ERR] >> 1 & 1), 1);
}
#else
static void report(const siginfo_t *, const void *) {}
#endif

/* In a kernel, the launch fails; elsewhere, as without a handler: it faults again. */
static void on_fault(int, siginfo_t *info, void *context) {
    if (emu_kernel_runs && emu_at) {
        report(info, context);
        emu_rt.illegal_address = true;
        sigset_t segv;
        sigemptyset(&segv);
        sigaddset(&segv, SIGSEGV);
        pthread_sigmask(SIG_UNBLOCK, &segv, nullptr); /* this handler is not left, and TSan's own blocks it */
        emu_fail("touches %s", emu_where(info->si_addr));
    }
    sigaction(SIGSEGV, &before_fault, nullptr);
}

/* From the first to the last live allocation: page tables of what was freed before take time too. */
static void protect_device(int how) {
    const allocations &live = device_memory.live;
    if (live.empty()) return;
    if (has_guards) {
        const allocation *first = &live.begin()->second, *last = &live.rbegin()->second;
        protect(first->region, (size_t)(last->region + last->region_bytes - first->region), how);
        return;
    }
    for (auto &i : live) protect(i.second.region, i.second.region_bytes, how);
}

void emu_memory_open(void) {
    ran_since_check = true;
    ran_since_open++;
    if (is_open) return;
    is_open = true;
    protect_device(PROT_READ | PROT_WRITE);
    struct sigaction act = {};
    act.sa_sigaction = on_fault;
    act.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &act, &before_fault);
}

/* Not yet, where it would take longer than what has run. */
void emu_memory_close(void) {
    if (!is_open || emu_queue_opts.open_memory) return;
    if (ran_since_open * PAGES_PER_OPERATION < device_memory.live_pages) return;
    is_open = false;
    ran_since_open = 0;
    protect_device(PROT_NONE);
    sigaction(SIGSEGV, &before_fault, nullptr);
}

/* ---- the bytes around ---- */

#ifdef EMU_ASAN
static void surround(const allocation *a) {
    ASAN_POISON_MEMORY_REGION(a->region, (size_t)(a->base - a->region));
    ASAN_POISON_MEMORY_REGION(a->base + a->bytes, (size_t)(a->region + a->region_bytes - a->base) - a->bytes);
}
static const unsigned char *changed(const allocation *) { return nullptr; } /* reported where it is written */
#else
/* The bytes before: at most EMU_ALIGN, as many as the first page has. */
static size_t before(const allocation *a) {
    size_t n = (size_t)(a->base - a->region);
    return n < EMU_ALIGN ? n : (size_t)EMU_ALIGN;
}
static void surround(const allocation *a) {
    memset(a->base - before(a), AROUND, before(a));
    memset(a->base + a->bytes, AROUND, (size_t)(a->region + a->region_bytes - a->base) - a->bytes);
}
static const unsigned char *changed(const allocation *a) {
    const unsigned char *end = a->region + a->region_bytes;
    for (const unsigned char *p = a->base; p-- > a->base - before(a);)
        if (*p != AROUND) return p;
    for (const unsigned char *p = a->base + a->bytes; p < end; p++)
        if (*p != AROUND) return p;
    return nullptr;
}
#endif

static bool check_one(const allocation *a, const char *by) {
    const unsigned char *p = changed(a);
    if (!p) return true;
    emu_break(cudaErrorIllegalAddress, std::string(by) + " wrote " + emu_where(p));
    return false;
}

bool emu_check_around(const void *params, size_t bytes, const char *by) {
    if (params) {
        for (size_t i = 0; i + sizeof(void *) <= bytes; i += sizeof(void *)) {
            void *word;
            memcpy(&word, (const unsigned char *)params + i, sizeof word);
            const allocation *a = emu_is_device(word) ? near(device_memory.live, word) : nullptr;
            if (a && !check_one(a, by)) return false;
        }
        return true;
    }
    if (!ran_since_check) return true;
    if (!device_memory.live.empty()) emu_memory_open();
    ran_since_check = false;
    for (const range *r : {&device_memory, &pinned_memory})
        for (auto &i : r->live)
            if (!check_one(&i.second, by)) return false;
    return true;
}

/* ---- allocation ---- */

static void guard(void *p, size_t bytes) {
    if (has_guards && madvise(p, bytes, GUARD_INSTALL)) abort();
}

static bool reserve(range *r) {
    void *p = mmap(nullptr, ADDRESSES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return false;
    r->start = (unsigned char *)p;
    if (r->device) has_guards = madvise(p, EMU_PAGE, GUARD_INSTALL) == 0;
    return true;
}

/* Where pages for an allocation are free: behind the last one, or, once the range is used up, between others. */
static unsigned char *place(range *r, size_t pages, size_t align) {
    if (!r->start && !reserve(r)) return nullptr;
    size_t at = round_up((uintptr_t)r->start + r->used + EMU_PAGE, align) - (uintptr_t)r->start;
    if (at + pages + EMU_PAGE <= ADDRESSES) {
        if (r->device) guard(r->start + r->used, at - r->used);
        r->used = at + pages;
        return r->start + at;
    }
    r->freed.clear(); /* from here on addresses come back */
    unsigned char *from = r->start;
    for (auto i = r->live.begin();; i++) {
        unsigned char *to = (unsigned char *)round_up((uintptr_t)from + EMU_PAGE, align);
        unsigned char *end = i == r->live.end() ? r->start + ADDRESSES : i->second.region;
        if (to + pages + EMU_PAGE <= end) {
            if (r->device && has_guards && madvise(to, pages, GUARD_REMOVE)) abort();
            return to;
        }
        if (i == r->live.end()) return nullptr;
        from = i->second.region + i->second.region_bytes;
    }
}

static size_t pages_of(const allocation *a) {
    return a->bytes >= HUGE_PAGE ? a->region_bytes / HUGE_PAGE + 1 : a->region_bytes / EMU_PAGE;
}

/* NULL: no addresses. */
static void *take(range *r, size_t bytes) {
    allocation a;
    size_t padded = round_up(bytes, EMU_ALIGN);
    a.region_bytes = round_up(padded, EMU_PAGE);
    a.region = place(r, a.region_bytes, bytes >= HUGE_PAGE ? HUGE_PAGE : (size_t)EMU_PAGE);
    if (!a.region) return nullptr;
    a.base = a.region + a.region_bytes - padded;
    a.bytes = bytes;
    a.number = ++r->number;
    protect(a.region, a.region_bytes, PROT_READ | PROT_WRITE);
    if (bytes >= HUGE_PAGE) madvise(a.region, a.region_bytes, MADV_HUGEPAGE); /* protecting is by the page */
#ifdef EMU_ASAN
    ASAN_UNPOISON_MEMORY_REGION(a.region, a.region_bytes);
#endif
    memset(a.base, FILL, bytes);
    surround(&a);
    if (r->device && !is_open && !emu_queue_opts.open_memory) protect(a.region, a.region_bytes, PROT_NONE);
    r->live[(uintptr_t)a.region] = a;
    r->live_bytes += padded;
    r->live_pages += pages_of(&a);
    return a.base;
}

static void give_back(range *r, allocations::iterator i) {
    allocation a = i->second;
    r->live.erase(i);
    r->live_bytes -= round_up(a.bytes, EMU_ALIGN);
    r->live_pages -= pages_of(&a);
    r->freed[(uintptr_t)a.region] = a;
    if (r->device && has_guards) {
        guard(a.region, a.region_bytes); /* gives the memory back too */
        return;
    }
    protect(a.region, a.region_bytes, PROT_NONE);
    madvise(a.region, a.region_bytes, MADV_DONTNEED);
}

static cudaError_t allocate(emu_enter &call, range *r, size_t limit, void **p, size_t bytes) {
    if (!p) return call.fail(cudaErrorInvalidValue, "the pointer to the pointer is NULL");
    *p = nullptr;
    if (bytes == 0) return call.end();
    if (bytes > limit || round_up(bytes, EMU_ALIGN) > limit - r->live_bytes)
        return call.fail(cudaErrorMemoryAllocation, "%zu bytes; %zu of %zu are free", bytes, limit - r->live_bytes,
                         limit);
    *p = take(r, bytes);
    if (!*p) return call.fail(cudaErrorMemoryAllocation, "no addresses for %zu bytes", bytes);
    return call.end();
}

static cudaError_t release(emu_enter &call, range *r, void *p) {
    if (!p) return call.end();
    if (!emu_rt.broken) emu_drain(); /* as CUDA does: what is queued may use it */
    const allocation *a = inside(r, p) ? near(r->live, p) : nullptr;
    if (!a || a->base != p)
        return call.fail(cudaErrorInvalidValue, "%s is not where a %s starts", emu_where(p), r->what);
    emu_check_around(nullptr, 0, "a kernel, or the host,");
    if (!r->device) check_one(a, "the host"); /* which asks nobody before it writes */
    give_back(r, r->live.find((uintptr_t)a->region));
    return call.end();
}

cudaError_t cudaMalloc(void **p, size_t bytes) {
    EMU_ENTER(EMU_MEMORY | EMU_UNSAFE);
    return allocate(call, &device_memory, emu_device_prop().totalGlobalMem, p, bytes);
}

cudaError_t cudaFree(void *p) {
    EMU_ENTER(EMU_RELEASE | EMU_UNSAFE | EMU_SYNC);
    return release(call, &device_memory, p);
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags) {
    EMU_ENTER(EMU_MEMORY | EMU_UNSAFE);
    if (flags & ~(unsigned)cudaHostAllocPortable)
        return call.fail(cudaErrorInvalidValue, "flags %#x are not emulated", flags);
    return allocate(call, &pinned_memory, ADDRESSES, p, bytes);
}

cudaError_t cudaMallocHost(void **p, size_t bytes) {
    EMU_ENTER(EMU_MEMORY | EMU_UNSAFE);
    return allocate(call, &pinned_memory, ADDRESSES, p, bytes);
}

cudaError_t cudaFreeHost(void *p) {
    EMU_ENTER(EMU_RELEASE | EMU_UNSAFE | EMU_SYNC);
    return release(call, &pinned_memory, p);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    EMU_ENTER(EMU_PLAIN);
    if (!free_bytes || !total) return call.fail(cudaErrorInvalidValue, "free or total is NULL");
    *total = emu_device_prop().totalGlobalMem;
    *free_bytes = *total - device_memory.live_bytes;
    return call.end();
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *a, const void *p) {
    EMU_ENTER(EMU_PLAIN);
    if (!a) return call.fail(cudaErrorInvalidValue, "the attributes are NULL");
    *a = {};
    a->device = -2; /* CUDA's for memory that it does not know */
    a->hostPointer = (void *)(uintptr_t)p;
    if (emu_is_device(p) && !emu_check_device(p, 0)) {
        a->type = cudaMemoryTypeDevice;
        a->device = 0;
        a->devicePointer = a->hostPointer;
        a->hostPointer = nullptr;
    } else if (emu_is_pinned(p) && !emu_check_pinned(p, 0)) {
        a->type = cudaMemoryTypeHost;
        a->device = 0;
        a->devicePointer = a->hostPointer;
    }
    return call.end();
}

int emu_memory_leaks(bool list) {
    int n = 0;
    for (const range *r : {&device_memory, &pinned_memory})
        for (auto &i : r->live) {
            if (list)
                fprintf(stderr, "cuda_emu: not freed: %s %u (%zu bytes)\n", r->what, i.second.number, i.second.bytes);
            n++;
        }
    return n;
}

void emu_memory_reset(void) {
    for (range *r : {&device_memory, &pinned_memory}) {
        while (!r->live.empty()) give_back(r, r->live.begin());
        r->number = 0;
    }
    ran_since_check = false;
    if (emu_queue_opts.open_memory) return;
    emu_memory_close();
}
