/* work - a thread for what takes long, so that the loop never does it: tasks go there by a bounded queue, and come back
 * when the loop is woken. One thread, so tasks end in the order in which they came.
 *
 *   loop: serve_worker_put --> [wait] --> thread: run --> [made] --> loop: serve_worker_back, back
 *
 * A task belongs to the thread from put until back.
 */
#ifndef FC_APP_SERVE_WORK_H
#define FC_APP_SERVE_WORK_H

#include "engine/base/status.h"

#include <pthread.h>
#include <stdbool.h>

typedef struct serve_task {
    struct serve_task *next;
    void (*run)(struct serve_task *t);  /* in the thread */
    void (*back)(struct serve_task *t); /* in the loop's; t may be gone then */
} serve_task;

typedef struct {
    serve_task *first, **end;
} serve_tasks;

/* Zeroed, then serve_worker_open. */
typedef struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t come;
    serve_tasks wait, made;
    int n, most;              /* given and not yet back; at most */
    void (*wake)(void *self); /* when something was made */
    void *self;
    bool runs, over, busy; /* busy: a task is under way */
} serve_worker;

fc_status serve_worker_open(serve_worker *w, const char *name, int most, void (*wake)(void *self), void *self);
/* Waits for the task under way; what waits behind it is made without having run. serve_worker_back may follow. Not
 * open is fine. */
void serve_worker_close(serve_worker *w);

/* The loop's thread. */
bool serve_worker_full(const serve_worker *w);
bool serve_worker_idle(serve_worker *w);               /* no task waits, and none is under way */
void serve_worker_put(serve_worker *w, serve_task *t); /* where it is not full */
void serve_worker_back(serve_worker *w);               /* calls back of what was made */

#endif
