/* ask - /tokenize and /detokenize: bodies that the reader answers by itself. */
#include "engine/app/serve/serve.h"

#include "engine/app/serve/call.h"

typedef struct {
    serve_task task;
    serve *s;
    http_req *r;      /* NULL: nobody waits, */
    atomic_bool gone; /* as the reader sees it */
    serve_at_once work;
    fc_str body, out;
    fc_status st;
    openai_error e;
} asking;

static void run(serve_task *t) {
    asking *a = (asking *)t;
    if (!atomic_load(&a->gone)) a->st = serve_read_at_once(a->s, &a->body, a->work, &a->out, &a->e);
    serve_drop_body(a->s, &a->body);
}

static void back(serve_task *t) {
    asking *a = (asking *)t;
    const size_t size = a->out.cap;
    if (a->r && a->st == FC_ERR_MEM) serve_count(&a->s->metrics, SERVE_REFUSED_MEMORY, 1);
    if (a->r && a->st) serve_refuse(a->r, &a->e);
    else if (a->r) http_answer_own(a->r, 200, "application/json", &a->out);
    http_budget_give(http_memory(a->s->h), HTTP_ANSWERS, size);
    serve_drop_body(a->s, &a->body); /* of a task that never ran */
    fc_str_fini(&a->out);
    fc_free(a);
}

static void cancelled(void *self, http_req *r, http_why why) {
    asking *a = self;
    openai_error e;
    a->r = NULL;
    atomic_store(&a->gone, true);
    if (why == HTTP_GONE) return;
    openai_error_http(503, "the server is stopping", &e);
    e.retry_after = 1;
    serve_refuse(r, &e);
}

static const http_watcher watcher = {.on_cancel = cancelled};

void serve_ask(serve *s, http_req *r, serve_at_once work) {
    asking *a;
    void *p;
    if (serve_worker_is_full(s, &s->reader, r)) return;
    if (fc_alloc(1, sizeof *a, "call", &p)) {
        http_fail(r, 503, "out of memory");
        return;
    }
    a = p;
    a->task = (serve_task){.run = run, .back = back};
    a->s = s;
    a->r = r;
    a->work = work;
    a->st = FC_ERR_CANCELLED; /* where it is never read */
    openai_error_http(503, "the server is stopping", &a->e);
    http_take_body(r, &a->body);
    http_watch(r, &watcher, a);
    serve_worker_put(&s->reader, &a->task);
}
