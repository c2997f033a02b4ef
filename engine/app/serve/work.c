#include "engine/app/serve/work.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>

static void append(serve_tasks *l, serve_task *t) {
    if (!l->first) l->end = &l->first;
    t->next = NULL;
    *l->end = t;
    l->end = &t->next;
}

static serve_task *take(serve_tasks *l) {
    serve_task *t = l->first;
    l->first = t->next;
    return t;
}

static void *work(void *arg) {
    serve_worker *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        serve_task *t;
        while (!w->wait.first && !w->over) pthread_cond_wait(&w->come, &w->lock);
        if (w->over) break;
        t = take(&w->wait);
        w->busy = true;
        pthread_mutex_unlock(&w->lock);
        t->run(t);
        pthread_mutex_lock(&w->lock);
        w->busy = false;
        if (!w->made.first) w->wake(w->self); /* else it has been, and has not come yet */
        append(&w->made, t);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

fc_status serve_worker_open(serve_worker *w, const char *name, int most, void (*wake)(void *self), void *self) {
    sigset_t all, old;
    int err;
    w->most = most;
    w->wake = wake;
    w->self = self;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->come, NULL);
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&w->thread, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    w->runs = err == 0;
    if (!err) return FC_OK;
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->come);
    return FC_FAIL(FC_ERR_MEM, "%s thread: %s", name, strerror(err));
}

void serve_worker_close(serve_worker *w) {
    if (!w->runs) return;
    pthread_mutex_lock(&w->lock);
    w->over = true;
    pthread_cond_signal(&w->come);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    while (w->wait.first) append(&w->made, take(&w->wait));
    w->runs = false;
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->come);
}

bool serve_worker_full(const serve_worker *w) { return w->n >= w->most; }

bool serve_worker_idle(serve_worker *w) {
    bool idle;
    if (!w->runs) return true;
    pthread_mutex_lock(&w->lock);
    idle = !w->busy && !w->wait.first;
    pthread_mutex_unlock(&w->lock);
    return idle;
}

void serve_worker_put(serve_worker *w, serve_task *t) {
    FC_ASSERT(w->runs && !serve_worker_full(w));
    w->n++;
    pthread_mutex_lock(&w->lock);
    append(&w->wait, t);
    pthread_cond_signal(&w->come);
    pthread_mutex_unlock(&w->lock);
}

void serve_worker_back(serve_worker *w) {
    serve_tasks all;
    if (w->runs) pthread_mutex_lock(&w->lock);
    all = w->made;
    w->made.first = NULL;
    if (w->runs) pthread_mutex_unlock(&w->lock);
    while (all.first) {
        serve_task *t = take(&all);
        w->n--;
        t->back(t);
    }
}
