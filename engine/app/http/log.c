#define _GNU_SOURCE
#include "engine/app/http/log.h"

#include "engine/base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct http_log {
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    fc_str waits, under_way; /* the thread swaps them, and writes without the lock */
    uint64_t dropped;
    bool over, idle;
};

/* A descriptor that others share may be non-blocking: then a full pipe is waited for, a little each time. */
static void write_all(int fd, const char *p, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, p, size);
        if (n > 0) {
            p += n;
            size -= (size_t)n;
        } else if (errno == EAGAIN) {
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        } else if (errno != EINTR) {
            return; /* nobody reads: there is no place to say so */
        }
    }
}

static void *writer(void *arg) {
    http_log *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        fc_str taken;
        while (l->waits.size == 0 && !l->over) {
            l->idle = true;
            pthread_cond_signal(&l->done);
            pthread_cond_wait(&l->work, &l->lock);
        }
        if (l->waits.size == 0) break;
        l->idle = false;
        taken = l->waits;
        l->waits = l->under_way;
        l->under_way = taken;
        pthread_mutex_unlock(&l->lock);
        write_all(l->fd, l->under_way.data, l->under_way.size);
        pthread_mutex_lock(&l->lock);
        fc_str_clear(&l->under_way);
    }
    l->idle = true;
    pthread_cond_signal(&l->done);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

fc_status http_log_open(int fd, http_log **out) {
    void *p;
    http_log *l;
    sigset_t all, old;
    int rc;
    FC_TRY(fc_alloc(1, sizeof *l, "access log", &p));
    l = p;
    l->fd = fd;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->done, NULL);
    sigfillset(&all); /* signals are for the threads that expect them; SIGPIPE of a closed log is for nobody */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&l->thread, NULL, writer, l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc) {
        fc_free(l);
        return FC_FAIL(FC_ERR_IO, "access log: %s", strerror(rc));
    }
    *out = l;
    return FC_OK;
}

void http_log_close(http_log *l) {
    struct timespec end;
    if (!l) return;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec++;
    pthread_mutex_lock(&l->lock);
    l->over = true;
    pthread_cond_signal(&l->work);
    while (!l->idle || l->waits.size > 0)
        if (pthread_cond_timedwait(&l->done, &l->lock, &end) == ETIMEDOUT) break;
    if (!l->idle) pthread_cancel(l->thread); /* in write, which nobody reads */
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->done);
    fc_str_fini(&l->waits);
    fc_str_fini(&l->under_way);
    fc_free(l);
}

void http_log_put(http_log *l, const char *line, size_t size) {
    pthread_mutex_lock(&l->lock);
    if (l->waits.size + size > HTTP_LOG_ROOM || fc_str_put(&l->waits, line, size)) {
        l->dropped++;
    } else if (l->dropped &&
               fc_str_printf(&l->waits, "{\"dropped\":%llu}\n", (unsigned long long)l->dropped) == FC_OK) {
        l->dropped = 0;
    }
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
}

fc_status http_log_time(fc_str *out) {
    struct timespec now;
    struct tm tm;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    return fc_str_printf(out, "%s.%03ldZ", text, now.tv_nsec / 1000000);
}
