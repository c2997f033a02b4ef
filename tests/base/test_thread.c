#define _GNU_SOURCE
#include "tests/util.h"

#include "engine/base/os.h"
#include "engine/base/thread.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum { MOST_UNITS = 64 };

typedef struct {
    int ran[MOST_UNITS]; /* not atomic: a unit that runs twice, or late, is a race for the thread sanitizer too */
    int threads;
    atomic_int wrong;
} job_state;

static void count_unit(void *arg, int unit, int thread) {
    job_state *j = arg;
    if (thread < 0 || thread >= j->threads || unit < 0 || unit >= MOST_UNITS) atomic_fetch_add(&j->wrong, 1);
    else j->ran[unit]++;
}

/* If this fails, a matrix row is computed twice or never. 100,000 tiny jobs in all, so that a job starts while the last
 * one's threads are anywhere between spinning and sleeping. */
static void each_unit_runs_exactly_once(void **state) {
    static const int sizes[] = {1, 2, 3, 7}, jobs[] = {60000, 30000, 8000, 2000};
    (void)state;
    for (int k = 0; k < 4; k++) {
        fc_pool *p;
        uint64_t seed = 5;
        assert_ok(fc_pool_open(sizes[k], &p));
        assert_int_equal(fc_pool_threads(p), sizes[k]);
        for (int i = 0; i < jobs[k]; i++) {
            static job_state j;
            int units = test_below(&seed, 9);
            if (i % 1000 == 0) units = MOST_UNITS;
            memset(&j, 0, sizeof j);
            j.threads = sizes[k];
            if (i % 500 == 250) nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL); /* all asleep */
            (i % 2 ? fc_pool_run : fc_pool_run_near)(p, units, count_unit, &j);
            if (atomic_load(&j.wrong)) fail_msg("%d threads, job %d: a unit or thread out of range", sizes[k], i);
            for (int u = 0; u < MOST_UNITS; u++)
                if (j.ran[u] != (u < units))
                    fail_msg("%d threads, job %d: unit %d ran %d times", sizes[k], i, u, j.ran[u]);
        }
        fc_pool_close(p);
    }
}

typedef struct {
    atomic_int inside[8];
    atomic_int used, overlap;
} lane_state;

/* A thread number is in use by one unit at a time: scratch memory is indexed by it. */
static void hold_lane(void *arg, int unit, int thread) {
    lane_state *l = arg;
    (void)unit;
    if (atomic_fetch_add(&l->inside[thread], 1)) atomic_fetch_add(&l->overlap, 1);
    atomic_fetch_or(&l->used, 1 << thread);
    nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
    atomic_fetch_sub(&l->inside[thread], 1);
}

static void threads_share_the_work_and_keep_apart(void **state) {
    lane_state l = {0};
    fc_pool *p;
    (void)state;
    assert_ok(fc_pool_open(4, &p));
    fc_pool_run(p, 64, hold_lane, &l);
    assert_int_equal(atomic_load(&l.overlap), 0);
    assert_int_equal(atomic_load(&l.used), 15); /* 16 sleeps each: nobody can do it alone in time */
    fc_pool_close(p);
}

typedef struct {
    atomic_int ended;
    atomic_bool met; /* both threads have a unit, and the worker's id is there */
    pthread_t worker;
} pair;

/* One unit a thread: the caller's ends when the worker's has begun, which takes longer than the caller spins. */
static void meet(void *arg, int unit, int thread) {
    pair *p = arg;
    (void)unit;
    if (thread) {
        p->worker = pthread_self();
        atomic_store(&p->met, true);
        nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
    }
    while (!atomic_load(&p->met)) nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
    atomic_fetch_add(&p->ended, 1);
}

/* If this fails, a step never ends: its caller sleeps, and the last unit wakes nobody. */
static void the_last_unit_wakes_the_caller(void **state) {
    fc_pool *p;
    (void)state;
    assert_ok(fc_pool_open(2, &p));
    for (int i = 0; i < 10; i++) {
        pair j = {0};
        fc_pool_run(p, 2, meet, &j);
        assert_int_equal(atomic_load(&j.ended), 2);
    }
    fc_pool_close(p);
}

typedef struct {
    int first[3]; /* unit of each thread, -1: none yet */
    atomic_int begun;
} part_state;

/* Waits until each thread has one: so nobody is through with its own before another begins. */
static void note_first(void *arg, int unit, int thread) {
    part_state *s = arg;
    if (s->first[thread] >= 0) return;
    s->first[thread] = unit;
    atomic_fetch_add(&s->begun, 1);
    while (atomic_load(&s->begun) < 3) nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
}

/* If this fails, threads find nothing of the last operator in their caches. */
static void a_thread_begins_with_the_same_part_of_each_job(void **state) {
    fc_pool *p;
    (void)state;
    assert_ok(fc_pool_open(3, &p));
    for (int i = 0; i < 100; i++) {
        part_state s = {.first = {-1, -1, -1}};
        fc_pool_run(p, 11, note_first, &s);
        assert_int_equal(s.first[0], 0);
        assert_int_equal(s.first[1], 3);
        assert_int_equal(s.first[2], 7);
        for (int t = 0; t < 3; t++) assert_int_equal(fc_pool_first(p, 11, t), s.first[t]);
    }
    assert_int_equal(fc_pool_first(p, 11, 3), 11);
    assert_int_equal(fc_pool_first(p, INT_MAX, 2), INT_MAX / 3 * 2);
    fc_pool_close(p);
}

typedef struct {
    int thread[8]; /* of each unit */
    int others;    /* that must have ended before unit 4, the worker's first, does */
    atomic_int begun, ended;
} kept_state;

/* The caller has ended its four units while the worker is in its first. */
static void note_kept(void *arg, int unit, int thread) {
    kept_state *s = arg;
    s->thread[unit] = thread;
    atomic_fetch_add(&s->begun, 1);
    while (atomic_load(&s->begun) < 2) nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
    while (unit == 4 && atomic_load(&s->ended) < s->others) nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
    if (unit == 4) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    atomic_fetch_add(&s->ended, 1);
}

/* If this fails, the last pieces of a product wait for rows that lie in another core's cache;
 * or a long unit waits behind a longer one while the other thread idles. */
static void the_last_units_stay_where_they_are_near(void **state) {
    fc_pool *p;
    (void)state;
    assert_ok(fc_pool_open(2, &p));
    for (int i = 0; i < 20; i++) {
        kept_state near = {.others = 4}, far = {.others = 7};
        fc_pool_run_near(p, 8, note_kept, &near);
        for (int u = 0; u < 8; u++) assert_int_equal(near.thread[u], u / 4);
        fc_pool_run(p, 8, note_kept, &far);
        for (int u = 0; u < 8; u++) assert_int_equal(far.thread[u], u == 4);
    }
    fc_pool_close(p);
}

static atomic_bool held, hold;

static void stand_still(int signal) {
    (void)signal;
    atomic_store(&held, true);
    while (atomic_load(&hold)) {
    }
}

static void count_up(void *arg, int unit, int thread) {
    (void)unit;
    if (thread == 0) ++*(int *)arg;
}

/* If this fails, each operator waits for the slowest of all threads, whether it has work or not: where another program
 * takes a core, ten times the time of a step. */
static void a_thread_that_does_not_run_holds_nobody_up(void **state) {
    fc_pool *p;
    pair j = {0};
    int ran = 0;
    (void)state;
    signal(SIGUSR1, stand_still);
    assert_ok(fc_pool_open(2, &p));
    fc_pool_run(p, 2, meet, &j);
    atomic_store(&hold, true);
    pthread_kill(j.worker, SIGUSR1);
    while (!atomic_load(&held)) nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
    for (int i = 0; i < 1000; i++) fc_pool_run(p, 3, count_up, &ran);
    for (int i = 0; i < 1000; i++) fc_pool_run_near(p, 4, count_up, &ran); /* it has not begun, so it keeps none */
    assert_int_equal(ran, 7000);
    atomic_store(&hold, false);
    atomic_store(&j.met, false);
    fc_pool_run(p, 2, meet, &j); /* it goes on where it was, and takes part again */
    assert_int_equal(atomic_load(&j.ended), 4);
    fc_pool_close(p);
}

static void odd_pools(void **state) {
    fc_pool *p = NULL;
    job_state j = {.threads = 3};
    (void)state;
    assert_fails(fc_pool_open(0, &p), FC_ERR_ARG, "threads: 0");
    assert_fails(fc_pool_open(1025, &p), FC_ERR_ARG, "1025");
    assert_null(p);
    for (int i = 0; i < 50; i++) { /* closed before its threads ever ran */
        assert_ok(fc_pool_open(7, &p));
        fc_pool_close(p);
    }
    assert_ok(fc_pool_open(3, &p));
    fc_pool_run(p, 0, count_unit, &j);
    fc_pool_run(p, -1, count_unit, &j);
    fc_pool_close(p);
    for (int u = 0; u < MOST_UNITS; u++) assert_int_equal(j.ran[u], 0);
    fc_pool_close(NULL);
}

typedef struct {
    cpu_set_t cores[3]; /* of each thread, as it finds them */
    atomic_int met;
} core_state;

static void note_cores(void *arg, int unit, int thread) {
    core_state *s = arg;
    (void)unit;
    if (pthread_getaffinity_np(pthread_self(), sizeof s->cores[thread], &s->cores[thread])) CPU_ZERO(&s->cores[thread]);
    atomic_fetch_add(&s->met, 1);
    for (int i = 0; i < 1000 && atomic_load(&s->met) < 2; i++) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* If this fails, pinned threads share a core. */
static void pinned_threads_have_a_core_each(void **state) {
    core_state s = {.met = 0};
    cpu_set_t all;
    fc_pool *p;
    size_t core[2] = {0, 0};
    (void)state;
    assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof all, &all), 0);
    assert_ok(fc_pool_open(CPU_COUNT(&all) + 1, &p));
    assert_fails(fc_pool_pin(p, pthread_self()), FC_ERR_UNSUPPORTED, "threads to pin; this process may use");
    fc_pool_close(p);
    if (CPU_COUNT(&all) < 2) {
        print_message("one core: nothing to pin\n");
        return;
    }
    for (size_t cpu = 0, n = 0; n < 2; cpu++)
        if (CPU_ISSET(cpu, &all)) core[n++] = cpu;
    assert_ok(fc_pool_open(2, &p));
    assert_ok(fc_pool_pin(p, pthread_self()));
    fc_pool_run(p, 2, note_cores, &s);
    for (int t = 0; t < 2; t++) assert_true(CPU_COUNT(&s.cores[t]) == 1 && CPU_ISSET(core[t], &s.cores[t]));
    assert_int_equal(pthread_setaffinity_np(pthread_self(), sizeof all, &all), 0);
    fc_pool_close(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_unit_runs_exactly_once),
        cmocka_unit_test(threads_share_the_work_and_keep_apart),
        cmocka_unit_test(the_last_unit_wakes_the_caller),
        cmocka_unit_test(a_thread_begins_with_the_same_part_of_each_job),
        cmocka_unit_test(the_last_units_stay_where_they_are_near),
        cmocka_unit_test(a_thread_that_does_not_run_holds_nobody_up),
        cmocka_unit_test(odd_pools),
        cmocka_unit_test(pinned_threads_have_a_core_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
