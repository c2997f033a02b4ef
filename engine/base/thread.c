#define _GNU_SOURCE
#include "engine/base/thread.h"

#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPIN_NS = 50000, KEPT = 3 /* units */ };

/* One cache line a thread: the caller lays a job there, and the thread finds it with the one line that it waits for. A
 * job ends with its last unit, not when every thread has seen it: one that the system does not run holds nobody up but
 * for units that it has taken, and the last few of its own where it keeps them. Late, it finds no unit, or takes one of
 * the next job. Whoever takes a unit reads job and arg in the line that it took it from, and until that unit is done no
 * other job begins. */
typedef struct {
    _Alignas(64) atomic_uint epoch; /* moves with each job */
    atomic_uint done;               /* units that this thread has ended, of all jobs */
    _Atomic uint64_t left; /* units that nobody has begun: the first, and above 32 bits the one behind the last */
    fc_unit_fn job;
    void *arg;
    fc_pool *pool;
    pthread_t id;
    atomic_int start;  /* the first unit of its own */
    atomic_bool keeps; /* the last few, once it has begun */
    atomic_bool few;   /* no thread has more than one unit: only the caller looks for those of late threads */
} place;
_Static_assert(sizeof(place) == 64, "a thread's place is one cache line");

/* What threads that sleep wait for. */
typedef struct {
    _Alignas(64) atomic_uint rung;
    atomic_uint sleepers;
} bell;

struct fc_pool {
    place *places; /* [threads], the caller's first */
    int threads, started;
    atomic_bool stop;
    bell begun, ended;
    unsigned epoch, units; /* of the last job; of all jobs. The caller's */
};

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* A worker's: has a job come since epoch `what`? The caller's, w NULL: have all `what` units ended? */
static bool is_there(const fc_pool *p, place *w, unsigned what) {
    unsigned sum = 0;
    if (w) return atomic_load_explicit(&w->epoch, memory_order_acquire) != what;
    for (int t = 0; t < p->threads; t++) sum += atomic_load(&p->places[t].done);
    return sum == what;
}

static void await(const fc_pool *p, bell *b, place *w, unsigned what) {
    uint64_t until = 0;
    for (unsigned i = 0;; i++) {
        if (is_there(p, w, what)) return;
        pause_cpu();
        if (i % 64 == 63) {
            uint64_t now = fc_clock_ns();
            if (!until) until = now + SPIN_NS;
            else if (now > until) break;
        }
    }
    atomic_fetch_add(&b->sleepers, 1);
    for (;;) {
        unsigned rung = atomic_load(&b->rung);
        if (is_there(p, w, what)) break;
        syscall(SYS_futex, &b->rung, FUTEX_WAIT_PRIVATE, rung, NULL, NULL, 0);
    }
    atomic_fetch_sub(&b->sleepers, 1);
}

static void ring(bell *b) {
    atomic_fetch_add(&b->rung, 1);
    syscall(SYS_futex, &b->rung, FUTEX_WAKE_PRIVATE, 1 << 20, NULL, NULL, 0);
}

/* Of `left` units, of which the first is `first`, another thread takes one; of those that are kept a quarter, as it has
 * to fetch what they read anyway. */
static int for_others(const place *from, int first, int left) {
    if (!atomic_load_explicit(&from->keeps, memory_order_relaxed)) return 1;
    return (left + 3 - (first != atomic_load_explicit(&from->start, memory_order_relaxed) ? KEPT : 0)) / 4;
}

/* Of its own units a thread takes the first, of another's the last ones. False: none is left for it. */
static bool take(place *from, bool own, int *at, int *end) {
    uint64_t left = atomic_load_explicit(&from->left, memory_order_relaxed), rest;
    do {
        int first = (int)(uint32_t)left, stop = (int)(left >> 32), n = own ? 1 : for_others(from, first, stop - first);
        if (first >= stop || n <= 0) return false;
        *at = own ? first : stop - n;
        *end = own ? first + n : stop;
        rest = own ? (uint64_t)stop << 32 | (uint32_t)*end : (uint64_t)*at << 32 | (uint32_t)first;
    } while (
        !atomic_compare_exchange_weak_explicit(&from->left, &left, rest, memory_order_acquire, memory_order_relaxed));
    return true;
}

static unsigned run_units_of(place *from, bool own, int thread) {
    unsigned done = 0;
    for (int at, end; take(from, own, &at, &end); done += (unsigned)(end - at))
        for (int u = at; u < end; u++) from->job(from->arg, u, thread);
    return done;
}

/* Its own, then those of the threads behind it, round to those before it. */
static void run_units(fc_pool *p, int thread) {
    place *w = &p->places[thread];
    unsigned done = run_units_of(w, true, thread);
    if (thread == 0 || !atomic_load_explicit(&w->few, memory_order_relaxed))
        for (int i = 1; i < p->threads; i++) done += run_units_of(&p->places[(thread + i) % p->threads], false, thread);
    if (!done) return;
    atomic_fetch_add(&w->done, done); /* the caller counts before it sleeps, and after it has said so */
    if (atomic_load(&p->ended.sleepers)) ring(&p->ended);
}

static void *worker_main(void *arg) {
    place *w = arg;
    fc_pool *p = w->pool;
    unsigned epoch = 0;
    for (;;) {
        await(p, &p->begun, w, epoch);
        epoch = atomic_load_explicit(&w->epoch, memory_order_acquire);
        if (atomic_load_explicit(&p->stop, memory_order_relaxed)) return NULL;
        run_units(p, (int)(w - p->places));
    }
}

fc_status fc_pool_open(int threads, fc_pool **out) {
    void *mem;
    fc_pool *p;
    if (threads < 1 || threads > 1024) return FC_FAIL(FC_ERR_ARG, "threads: %d; 1 to 1024 are possible", threads);
    FC_TRY(fc_alloc(1, sizeof *p, "thread pool", &mem));
    p = mem;
    p->threads = threads;
    p->started = 1;
    if (fc_alloc((size_t)threads, sizeof *p->places, "thread pool", &mem)) {
        fc_free(p);
        return FC_ERR_MEM;
    }
    p->places = mem;
    for (int i = 1; i < threads; i++) {
        int e;
        p->places[i].pool = p;
        e = pthread_create(&p->places[i].id, NULL, worker_main, &p->places[i]);
        if (e) {
            fc_pool_close(p);
            return FC_FAIL(FC_ERR_MEM, "thread pool: thread %d of %d: %s", i, threads, strerror(e));
        }
        p->started = i + 1;
    }
    *out = p;
    return FC_OK;
}

static void begin(fc_pool *p) {
    p->epoch++;
    for (int t = 1; t < p->started; t++) atomic_store_explicit(&p->places[t].epoch, p->epoch, memory_order_release);
    /* changed, not read: who comes to sleep after this finds the epoch */
    if (atomic_fetch_add(&p->begun.sleepers, 0)) ring(&p->begun);
}

void fc_pool_close(fc_pool *p) {
    if (!p) return;
    atomic_store(&p->stop, true);
    begin(p);
    for (int i = 1; i < p->started; i++) pthread_join(p->places[i].id, NULL);
    fc_free(p->places);
    fc_free(p);
}

int fc_pool_threads(const fc_pool *p) { return p->threads; }

int fc_pool_first(const fc_pool *p, int units, int thread) { return (int)((int64_t)units * thread / p->threads); }

fc_status fc_pool_pin(fc_pool *p, pthread_t caller) {
    cpu_set_t all, one;
    int e = pthread_getaffinity_np(pthread_self(), sizeof all, &all);
    size_t cpu = 0;
    if (e) return FC_FAIL(FC_ERR_UNSUPPORTED, "thread pool: the cores of this process: %s", strerror(e));
    if (CPU_COUNT(&all) < p->threads)
        return FC_FAIL(FC_ERR_UNSUPPORTED, "thread pool: %d threads to pin; this process may use %d cores", p->threads,
                       CPU_COUNT(&all));
    for (int i = 0; i < p->threads; i++) {
        while (!CPU_ISSET(cpu, &all)) cpu++;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        cpu++;
        e = pthread_setaffinity_np(i ? p->places[i].id : caller, sizeof one, &one);
        if (e) return FC_FAIL(FC_ERR_UNSUPPORTED, "thread pool: thread %d to core %zu: %s", i, cpu - 1, strerror(e));
    }
    return FC_OK;
}

static void run(fc_pool *p, int units, bool keeps, fc_unit_fn job, void *arg) {
    if (p->threads == 1 || units <= 1) {
        for (int u = 0; u < units; u++) job(arg, u, 0);
        return;
    }
    for (int t = 0; t < p->threads; t++) {
        place *w = &p->places[t];
        int start = fc_pool_first(p, units, t), stop = fc_pool_first(p, units, t + 1);
        w->job = job;
        w->arg = arg;
        atomic_store_explicit(&w->start, start, memory_order_relaxed);
        atomic_store_explicit(&w->keeps, keeps, memory_order_relaxed);
        atomic_store_explicit(&w->few, units <= p->threads, memory_order_relaxed);
        atomic_store_explicit(&w->left, (uint64_t)stop << 32 | (uint64_t)start, memory_order_release);
    }
    p->units += (unsigned)units;
    begin(p);
    run_units(p, 0);
    await(p, &p->ended, NULL, p->units);
}

void fc_pool_run(fc_pool *p, int units, fc_unit_fn job, void *arg) { run(p, units, false, job, arg); }

void fc_pool_run_near(fc_pool *p, int units, fc_unit_fn job, void *arg) { run(p, units, true, job, arg); }
