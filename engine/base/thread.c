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

enum { SPIN_NS = 50000 };

/* One cache line each: the words that several threads write must not share one. */
typedef struct {
    _Alignas(64) atomic_uint v;
} line;

/* A job ends with its last unit, not when every worker has seen it: one that the system does not run holds nobody up.
 * Late, it finds no unit, or takes one of the next job. Either way it reads job, arg and units only behind a unit that
 * it took, and until that is done no other job begins. */
struct fc_pool {
    line epoch;    /* moves with each job; a worker waits for it to move */
    line untaken;  /* units of the current job that nobody has begun; below 0 once threads have asked in vain */
    line undone;   /* units of the current job that have not ended */
    line sleepers; /* threads asleep on epoch or undone: no wake-up call when 0 */
    _Alignas(64) fc_unit_fn job;
    void *arg;
    int units;
    int threads, started;
    atomic_bool stop;
    struct worker {
        fc_pool *pool;
        pthread_t id;
        int index;
    } * workers;
};

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Returns *word when it is not old. */
static unsigned wait_change(fc_pool *p, atomic_uint *word, unsigned old) {
    uint64_t until = 0;
    unsigned v;
    for (unsigned i = 0;; i++) {
        v = atomic_load_explicit(word, memory_order_acquire);
        if (v != old) return v;
        pause_cpu();
        if (i % 64 == 63) {
            uint64_t now = fc_clock_ns();
            if (!until) until = now + SPIN_NS;
            else if (now > until) break;
        }
    }
    atomic_fetch_add(&p->sleepers.v, 1);
    while ((v = atomic_load(word)) == old) syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&p->sleepers.v, 1);
    return v;
}

static void wake(fc_pool *p, atomic_uint *word) {
    if (atomic_load(&p->sleepers.v)) syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1 << 20, NULL, NULL, 0);
}

/* First to last. Returns true when it ended the last unit that had not ended. */
static bool take_units(fc_pool *p, int thread) {
    unsigned done = 0;
    for (;; done++) {
        int left = (int)atomic_fetch_sub_explicit(&p->untaken.v, 1, memory_order_acquire);
        if (left <= 0) break;
        p->job(p->arg, p->units - left, thread);
    }
    return done && atomic_fetch_sub(&p->undone.v, done) == done;
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    fc_pool *p = w->pool;
    unsigned epoch = 0;
    for (;;) {
        epoch = wait_change(p, &p->epoch.v, epoch);
        if (atomic_load(&p->stop)) return NULL;
        if (take_units(p, w->index)) wake(p, &p->undone.v);
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
    if (fc_alloc((size_t)threads, sizeof *p->workers, "thread pool", &mem)) {
        fc_free(p);
        return FC_ERR_MEM;
    }
    p->workers = mem;
    for (int i = 1; i < threads; i++) {
        int e;
        p->workers[i] = (struct worker){.pool = p, .index = i};
        e = pthread_create(&p->workers[i].id, NULL, worker_main, &p->workers[i]);
        if (e) {
            fc_pool_close(p);
            return FC_FAIL(FC_ERR_MEM, "thread pool: thread %d of %d: %s", i, threads, strerror(e));
        }
        p->started = i + 1;
    }
    *out = p;
    return FC_OK;
}

void fc_pool_close(fc_pool *p) {
    if (!p) return;
    atomic_store(&p->stop, true);
    atomic_fetch_add(&p->epoch.v, 1);
    syscall(SYS_futex, &p->epoch.v, FUTEX_WAKE_PRIVATE, 1 << 20, NULL, NULL, 0);
    for (int i = 1; i < p->started; i++) pthread_join(p->workers[i].id, NULL);
    fc_free(p->workers);
    fc_free(p);
}

int fc_pool_threads(const fc_pool *p) { return p->threads; }

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
        e = pthread_setaffinity_np(i ? p->workers[i].id : caller, sizeof one, &one);
        if (e) return FC_FAIL(FC_ERR_UNSUPPORTED, "thread pool: thread %d to core %zu: %s", i, cpu - 1, strerror(e));
    }
    return FC_OK;
}

void fc_pool_run(fc_pool *p, int units, fc_unit_fn job, void *arg) {
    unsigned left;
    if (units <= 0) return;
    if (p->threads == 1 || units == 1) {
        for (int u = 0; u < units; u++) job(arg, u, 0);
        return;
    }
    p->job = job;
    p->arg = arg;
    p->units = units;
    atomic_store_explicit(&p->undone.v, (unsigned)units, memory_order_relaxed);
    atomic_store_explicit(&p->untaken.v, (unsigned)units, memory_order_release);
    atomic_fetch_add(&p->epoch.v, 1);
    wake(p, &p->epoch.v);
    take_units(p, 0);
    while ((left = atomic_load_explicit(&p->undone.v, memory_order_acquire)) != 0) wait_change(p, &p->undone.v, left);
}
