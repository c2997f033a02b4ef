/* read - in the reader's thread: a body is parsed, admitted, tokenised and submitted, and its tree is let go of. Only
 * here are requests, candidates and claims added up, so that what is checked still holds when it is counted.
 */
#include "engine/app/serve/call.h"
#include "engine/base/os.h"

void serve_drop_body(serve *s, fc_str *body) {
    http_budget_give(http_memory(s->h), HTTP_BODIES, body->cap);
    fc_str_fini(body);
}

/* Claims bytes, or says why there is no room: now, or at all. */
static fc_status claim(serve *s, http_share share, size_t size, const char *what) {
    http_budget *b = http_memory(s->h);
    if (size > http_budget_new(b))
        return FC_FAIL(FC_ERR_ARG, "%s takes up to %zu bytes; max_memory has room for %zu", what, size,
                       http_budget_new(b));
    if (!http_budget_admit(b, share, size))
        return FC_FAIL(FC_ERR_MEM, "%s takes up to %zu bytes; %zu of max_memory's %zu are in use", what, size,
                       http_budget_used(b), http_budget_new(b));
    return FC_OK;
}

/* ---- what needs no engine ---- */

fc_status serve_read_at_once(serve *s, fc_str *body, serve_at_once work, fc_str *out, openai_error *e) {
    const size_t weight = openai_weigh_body(fc_str_text(body), body->size);
    fc_status st = claim(s, HTTP_PARSED, weight, "reading the body");
    if (st) {
        openai_error_of(st, fc_last_error(), "", false, e);
        return st;
    }
    st = work(&s->api, fc_str_text(body), body->size, out, e);
    http_budget_give(http_memory(s->h), HTTP_PARSED, weight);
    if (st) fc_str_fini(out);
    else http_budget_hold(http_memory(s->h), HTTP_ANSWERS, out->cap);
    return st;
}

/* ---- requests ---- */

/* *param: the field that a refusal is about. */
static fc_status room_for(const serve *s, const openai_call *k, int64_t candidates, const char **param) {
    const long long n = candidates, most = s->c.max_candidates, under_way = atomic_load(&s->candidates);
    const int jobs = atomic_load(&s->jobs);
    const bool given = k->route >= OPENAI_SCORE;
    *param = given ? "documents" : "prompt";
    if (k->n_requests > (size_t)s->c.max_requests)
        return FC_FAIL(FC_ERR_ARG, "%zu prompts; max_requests is %d, so they never find room: send fewer in one body",
                       k->n_requests, s->c.max_requests);
    if (!given) *param = "best_of";
    if (n > most)
        return FC_FAIL(FC_ERR_ARG,
                       "%zu prompts with %lld candidates in all; max_candidates is %lld, so they never "
                       "find room: ask for fewer in one body",
                       k->n_requests, n, most);
    *param = "";
    if (k->n_requests > (size_t)(s->c.max_requests - jobs))
        return FC_FAIL(FC_ERR_FULL, "%zu prompts; %d requests are waiting or running, max_requests is %d",
                       k->n_requests, jobs, s->c.max_requests);
    if (n > most - under_way)
        return FC_FAIL(FC_ERR_FULL, "%lld candidates; %lld are waiting or being drawn, max_candidates is %lld", n,
                       under_way, most);
    return FC_OK;
}

static fc_status watch_tokens(serve_job *j, const fc_request *r) {
    const size_t n = (size_t)(r->n_max > r->n ? r->n_max : r->n);
    void *p;
    if (!r->events) return FC_OK;
    FC_TRY(fc_alloc(n, sizeof *j->drawn_ns, "call", &p));
    j->drawn_ns = p;
    j->n_drawn = n;
    return FC_OK;
}

/* Takes k; on failure it is still the caller's. */
static fc_status open_answer(serve *s, serve_reading *m, openai_call *k) {
    void *p;
    FC_TRY(fc_alloc(k->n_requests, sizeof *m->jobs, "call", &p));
    m->jobs = p;
    FC_TRY(openai_answer_open(&s->api, k, &m->answer));
    m->n = k->n_requests;
    for (size_t i = 0; i < m->n; i++) {
        const fc_request *r = &k->requests[i];
        m->jobs[i].candidates = openai_candidates(r);
        FC_TRY(watch_tokens(&m->jobs[i], r));
    }
    return FC_OK;
}

/* All that are counted and not submitted count no more. */
static fc_status submit(serve *s, serve_reading *m, const openai_call *k) {
    fc_status st = FC_OK;
    for (size_t i = 0; i < m->n; i++) {
        if (!st && atomic_load(&m->call->gone)) st = FC_FAIL(FC_ERR_CANCELLED, "nobody waits for the answer");
        if (!st) st = fc_submit(s->e, &k->requests[i], &m->jobs[i].id);
        if (st) serve_job_drop(s, &m->jobs[i]);
    }
    return st;
}

static void now_read(serve_reading *m) {
    if (!m->read) atomic_fetch_sub(&m->call->s->to_read, 1);
    m->read = true;
}

/* The call's requests are in the engine, or *param is what is wrong. */
static fc_status begin(serve *s, serve_reading *m, openai_call *k, const char **param) {
    const size_t weight = openai_weigh_answer(k);
    int64_t candidates = 0;
    fc_status st;
    for (size_t i = 0; i < k->n_requests; i++) candidates += openai_candidates(&k->requests[i]);
    st = room_for(s, k, candidates, param);
    if (!st) {
        *param = "max_tokens";
        st = claim(s, HTTP_ANSWERS, weight, "the answer");
        if (st != FC_ERR_ARG) *param = "";
    }
    if (!st) m->claim = weight;
    if (!st) st = open_answer(s, m, k);
    if (!m->answer) openai_call_close(k);
    if (st) return st;
    now_read(m); /* its requests count from here on: not both */
    atomic_fetch_add(&s->jobs, (int)m->n);
    atomic_fetch_add(&s->candidates, candidates);
    *param = NULL; /* the engine's sentence says it */
    m->submitted_ns = fc_clock_ns();
    st = submit(s, m, k);
    openai_call_trim(k);
    return st;
}

/* With its tree in memory. */
static fc_status read_claimed(serve *s, serve_reading *m) {
    const char *param = "";
    openai_call *k;
    fc_status st = openai_call_parse(&s->api, m->route, &m->x, fc_str_text(&m->body), m->body.size, &k, &m->e);
    serve_drop_body(s, &m->body);
    if (st) return st;
    st = begin(s, m, k, &param);
    if (st) openai_error_of(st, fc_last_error(), param, false, &m->e);
    if (st && m->answer) openai_error_field(openai_answer_call(m->answer), &m->e);
    return st;
}

static fc_status read_body(serve *s, serve_reading *m) {
    const size_t weight = openai_weigh_body(fc_str_text(&m->body), m->body.size);
    fc_status st = FC_OK;
    if (atomic_load(&m->call->gone)) st = FC_FAIL(FC_ERR_CANCELLED, "nobody waits for the answer");
    if (!st) st = claim(s, HTTP_PARSED, weight, "reading the body");
    if (st) {
        openai_error_of(st, fc_last_error(), "", false, &m->e);
        return st;
    }
    st = read_claimed(s, m);
    http_budget_give(http_memory(s->h), HTTP_PARSED, weight);
    return st;
}

void serve_read(serve_task *t) {
    serve_reading *m = (serve_reading *)t;
    serve *s = m->call->s;
    m->st = read_body(s, m);
    now_read(m);
}
