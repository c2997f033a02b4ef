#define _GNU_SOURCE
#include "engine/events.h"

#include "engine/base/mem.h"
#include "engine/job.h"

#include <string.h>
#include <time.h>

/* A stored event, and what it keeps alive: the caller's fc_event.memory once polled. Text of small events stands
 * behind. */
struct fc_event_node {
    struct fc_event_node *next;
    fc_event ev;
    fc_job *job; /* of a done event */
    char text[]; /* and numbers in front of it */
};

/* What an event points to goes with it: numbers first, which want to be aligned. */
static size_t bytes_of(const fc_event *ev) {
    return (size_t)ev->top_n * (sizeof *ev->top_ids + sizeof *ev->top_logprobs) +
           (size_t)ev->n_ids * sizeof *ev->id_logprobs + ev->text_size + 1;
}

static char *put_bytes(char *to, const void *from, size_t size) {
    if (size) memcpy(to, from, size);
    return to + size;
}

static void copy_all(struct fc_event_node *n, const fc_event *ev) {
    char *at = n->text;
    n->ev.top_ids = (const int32_t *)(const void *)at;
    at = put_bytes(at, ev->top_ids, (size_t)ev->top_n * sizeof *ev->top_ids);
    n->ev.top_logprobs = (const float *)(const void *)at;
    at = put_bytes(at, ev->top_logprobs, (size_t)ev->top_n * sizeof *ev->top_logprobs);
    n->ev.id_logprobs = (const float *)(const void *)at;
    at = put_bytes(at, ev->id_logprobs, (size_t)ev->n_ids * sizeof *ev->id_logprobs);
    n->ev.text = at;
    put_bytes(at, ev->text, ev->text_size);
}

static void node_free(struct fc_event_node *n) {
    fc_job_close(n->job);
    fc_free(n);
}

fc_status fc_events_open(fc_events *q) {
    pthread_condattr_t attr;
    memset(q, 0, sizeof *q);
    q->tail = &q->head;
    pthread_mutex_init(&q->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&q->arrived, &attr);
    pthread_condattr_destroy(&attr);
    return FC_OK;
}

void fc_events_close(fc_events *q) {
    struct fc_event_node *n = q->head, *next;
    for (; n; n = next) {
        next = n->next;
        node_free(n);
    }
    pthread_cond_destroy(&q->arrived);
    pthread_mutex_destroy(&q->lock);
}

void fc_events_put(fc_events *q, const fc_event *ev, bool copy) {
    struct fc_event_node *n = NULL;
    bool first;
    void *p;
    if (fc_alloc(1, sizeof *n + (copy ? bytes_of(ev) : 0), "event", &p) == FC_OK) {
        n = p;
        n->ev = *ev;
        n->job = ev->memory;
        if (copy) copy_all(n, ev);
    } else {
        fc_job_close(ev->memory);
    }
    pthread_mutex_lock(&q->lock);
    first = !q->head && !q->lost;
    if (n) {
        *q->tail = n;
        q->tail = &n->next;
    } else {
        q->lost = true;
    }
    pthread_cond_broadcast(&q->arrived);
    if (first && q->wake) q->wake(q->arg);
    pthread_mutex_unlock(&q->lock);
}

void fc_events_notify(fc_events *q, void (*wake)(void *arg), void *arg) {
    pthread_mutex_lock(&q->lock);
    q->wake = wake;
    q->arg = arg;
    if (wake && (q->head || q->lost)) wake(arg);
    pthread_mutex_unlock(&q->lock);
}

fc_status fc_events_poll(fc_events *q, int timeout_ms, fc_event *out) {
    struct timespec until;
    struct fc_event_node *n;
    bool timed_out = false, lost;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms > 0 ? timeout_ms / 1000 : 0;
    until.tv_nsec += timeout_ms > 0 ? (long)(timeout_ms % 1000) * 1000000 : 0;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&q->lock);
    while (!q->head && !q->lost && timeout_ms != 0 && !timed_out)
        timed_out = timeout_ms < 0 ? pthread_cond_wait(&q->arrived, &q->lock) != 0
                                   : pthread_cond_timedwait(&q->arrived, &q->lock, &until) != 0;
    n = q->head;
    lost = !n && q->lost;
    if (lost) q->lost = false;
    if (n) {
        q->head = n->next;
        if (!q->head) q->tail = &q->head;
    }
    pthread_mutex_unlock(&q->lock);
    if (lost) return FC_FAIL(FC_ERR_MEM, "poll: an event was lost for want of memory");
    if (!n) return FC_FAIL(FC_ERR_TIMEOUT, "poll: no event in %d ms", timeout_ms);
    *out = n->ev;
    out->memory = n;
    return FC_OK;
}

void fc_event_fini(fc_event *ev) {
    if (ev->memory) node_free(ev->memory);
    memset(ev, 0, sizeof *ev);
}
