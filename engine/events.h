/* events - what happened, from the engine thread to whoever polls. Unbounded only in what accepted requests send. */
#ifndef FC_ENGINE_EVENTS_H
#define FC_ENGINE_EVENTS_H

#include "engine/forkcast.h"

#include <pthread.h>

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    struct fc_event_node *head, **tail;
    bool lost;               /* an event could not be stored for want of memory: poll says so once */
    void (*wake)(void *arg); /* NULL: nobody waits elsewhere than in poll */
    void *arg;
} fc_events;

fc_status fc_events_open(fc_events *q);
void fc_events_close(fc_events *q); /* frees what was never polled */

/* ev->memory is the job of a done event, taken over, or NULL. copy: what ev points to is copied; else it lives in the
 * job. */
void fc_events_put(fc_events *q, const fc_event *ev, bool copy);
/* As fc_engine_notify. */
void fc_events_notify(fc_events *q, void (*wake)(void *arg), void *arg);
fc_status fc_events_poll(fc_events *q, int timeout_ms, fc_event *out);

#endif
