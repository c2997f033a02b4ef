/* write - in the writer's thread: what is as large as an answer becomes JSON, and is let go of. */
#include "engine/app/serve/call.h"

typedef struct {
    serve_task task;
    serve_call *call;
    size_t at;
    fc_event ev;
    fc_str out;
    bool whole;
    bool drop; /* the event is only let go of */
    fc_status st;
    openai_error e;
} writing;

/* What the answer has become counts where it is more than was thought, and in the end whatever was thought. */
static fc_status claim(serve_call *c, size_t size, bool whole) {
    http_budget *b = http_memory(c->s->h);
    if (size > c->claim && !http_budget_take(b, HTTP_ANSWERS, size - c->claim))
        return FC_FAIL(FC_ERR_MEM, "the answer takes %zu bytes, and max_memory is in use", size);
    if (size < c->claim && whole) http_budget_give(b, HTTP_ANSWERS, c->claim - size);
    if (size > c->claim || whole) c->claim = size;
    return FC_OK;
}

static void run(serve_task *t) {
    writing *w = (writing *)t;
    serve_call *c = w->call;
    if (!c->broken && !w->drop && !atomic_load(&c->gone)) {
        w->st = openai_answer_event(c->answer, w->at, &w->ev, &w->out, &w->whole, &w->e);
        if (!w->st) {
            w->st = claim(c, openai_answer_size(c->answer) + w->out.cap, w->whole);
            if (w->st) openai_error_of(w->st, fc_last_error(), "", false, &w->e);
        }
        c->broken = w->st != FC_OK;
    }
    fc_event_fini(&w->ev);
}

static void back(serve_task *t) {
    writing *w = (writing *)t;
    serve_call *c = w->call;
    c->writing--;
    if (!c->r || c->whole) serve_call_settle(c);
    else if (w->st) serve_call_fail(c, &w->e);
    else serve_call_bytes(c, &w->out, w->whole);
    fc_event_fini(&w->ev); /* of a task that never ran */
    fc_str_fini(&w->out);
    fc_free(w);
}

fc_status serve_write(serve_call *c, size_t at, fc_event *ev) {
    writing *w;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *w, "event", &p));
    w = p;
    w->task = (serve_task){.run = run, .back = back};
    w->call = c;
    w->at = at;
    w->drop = !c->r || c->whole;
    w->ev = *ev;
    *ev = (fc_event){0};
    c->writing++;
    serve_worker_put(&c->s->writer, &w->task);
    return FC_OK;
}
