#include "engine/app/bulk/run.h"

#include "engine/base/os.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { POLL_MS = 200, HOPELESS = 16 /* so many failures before the first row end the job */ };

/* A request in the engine. */
typedef struct {
    uint64_t id; /* 0: free */
    int64_t at;  /* of the plan */
    uint64_t input, seed;
    int tries;
    fc_str key;
} slot;

typedef struct {
    const run_job *j;
    fc_engine *e;
    run_counts *n;
    slot *slots; /* [j->flight] */
    int flying;
    int64_t tried; /* keys that ended, either way */
    uint64_t began_ns, ended_ns;
    void *entries; /* of the row that is written */
    size_t cap;
} run;

static volatile sig_atomic_t stopped;
static void on_signal(int n) {
    (void)n;
    stopped = 1;
}

/* ---- a key to a request ---- */

static fc_status fill(const run *u, const plan_item *item, fc_request *r) {
    const run_job *j = u->j;
    fc_holes holes = item->holes;
    if (j->retrieved && !holes.retrieved) holes.retrieved = lines_map_find(j->retrieved, item->key);
    if (!holes.retrieved) holes.retrieved = "";
    FC_TRY(request_args_fill(j->args, &holes, j->taxonomy, r));
    r->seed = fc_table_seed(j->seed, item->key);
    r->events = false;
    return FC_OK;
}

/* ---- an answer to a row ---- */

static fc_status put_row(run *u, const slot *s, const fc_result *r) {
    fc_table_row row = {.key = fc_str_text(&s->key),
                        .input = s->input,
                        .seed = s->seed,
                        .n = r->n,
                        .n_valid = u->j->names ? 0 : -1,
                        .confidence = r->confidence,
                        .n_entries = (size_t)r->n_kept};
    fc_table_entry *e;
    FC_TRY(fc_grow(&u->entries, &u->cap, row.n_entries + 1, sizeof *e, "table row"));
    row.entries = e = u->entries;
    for (int i = 0; i < r->n_kept; i++) {
        const fc_candidate *c = &r->kept[i];
        e[i] = (fc_table_entry){.text = c->text,
                                .text_size = c->text_size,
                                .score = c->score,
                                .logprob = c->logprob,
                                .votes = c->votes,
                                .valid = c->valid};
    }
    for (int i = 0; i < r->n_all && u->j->names; i++) row.n_valid += r->all[i].valid == 1;
    return fc_table_put(u->j->work, &row);
}

static void count(run *u, const fc_result *r) {
    const fc_accounting *a = &r->accounting;
    fc_accounting *s = &u->n->rows;
    s->rows_prefill += a->rows_prefill;
    s->rows_decode += a->rows_decode;
    s->rows_score += a->rows_score;
    s->rows_reused += a->rows_reused;
    s->scores_cached += a->scores_cached;
    s->redraws += a->redraws;
    s->rows_replayed += a->rows_replayed;
    s->rows_flat_prefill += a->rows_flat_prefill;
    s->rows_flat_decode += a->rows_flat_decode;
    s->rows_flat_score += a->rows_flat_score;
    if (a->kv_bytes > s->kv_bytes) s->kv_bytes = a->kv_bytes;
    u->n->prompt_tokens += (int64_t)r->prompt_tokens;
    u->n->prompt_cached += (int64_t)r->prompt_cached;
}

/* ---- progress ---- */

static void tell(const run *u) {
    const plan *p = u->j->p;
    const int64_t done = u->n->kept + u->n->copied + u->tried, total = p->end - p->first;
    progress_rate(u->j->shown, "keys", done, total, u->tried, u->began_ns);
}

/* ---- submit and wait ---- */

static fc_status submit(run *u, slot *s);

static fc_status give_up(run *u, slot *s, fc_status st, const char *why) {
    u->tried++;
    u->n->failed++;
    s->id = 0;
    FC_TRY(fc_table_fail(u->j->work, fc_str_text(&s->key), st, why));
    if (u->n->failed >= HOPELESS && u->n->failed == u->tried && !u->n->kept && !u->n->copied) {
        char first[512];
        snprintf(first, sizeof first, "%s", why);
        return FC_FAIL(st, "the first %d keys have failed, this one, \"%.200s\": %s", HOPELESS, fc_str_text(&s->key),
                       first);
    }
    return FC_OK;
}

/* What another try could mend. */
static bool may_pass(fc_status st) {
    return st == FC_ERR_MEM || st == FC_ERR_FULL || st == FC_ERR_IO || st == FC_ERR_TIMEOUT;
}

static fc_status failed(run *u, slot *s, fc_status st, const char *why) {
    if (!may_pass(st) || s->tries > u->j->retries) return give_up(u, s, st, why);
    u->n->retried++;
    return submit(u, s);
}

static fc_status submit(run *u, slot *s) {
    plan_item item;
    fc_request r;
    fc_status st;
    char why[1024];
    FC_TRY(plan_at(u->j->p, s->at, &item));
    st = fill(u, &item, &r);
    if (!st) st = fc_submit(u->e, &r, &s->id);
    s->tries++;
    if (!st) {
        u->flying++;
        return FC_OK;
    }
    snprintf(why, sizeof why, "%s", fc_last_error());
    s->id = 0;
    return give_up(u, s, st, why);
}

static fc_status take(run *u, const fc_event *ev) {
    slot *s = NULL;
    for (int i = 0; i < u->j->flight && !s; i++)
        if (u->slots[i].id == ev->id) s = &u->slots[i];
    if (!s || ev->type != FC_EVENT_DONE) return FC_OK;
    u->flying--;
    u->ended_ns = fc_clock_ns();
    if (ev->status) return failed(u, s, ev->status, ev->error);
    s->id = 0;
    u->tried++;
    u->n->computed++;
    count(u, ev->result);
    return put_row(u, s, ev->result);
}

/* One event, or none for a while. */
static fc_status wait(run *u) {
    fc_event ev;
    fc_status st = fc_poll(u->e, POLL_MS, &ev);
    if (st == FC_ERR_TIMEOUT) st = FC_OK;
    else if (!st) {
        st = take(u, &ev);
        fc_event_fini(&ev);
    }
    tell(u);
    if (!st && stopped) return FC_FAIL(FC_ERR_CANCELLED, "stopped");
    return st;
}

static slot *free_slot(run *u) {
    for (int i = 0; i < u->j->flight; i++)
        if (!u->slots[i].id) return &u->slots[i];
    return NULL;
}

/* Whether the key's row is there, or can be had without computing. */
static fc_status is_there(run *u, const plan_item *item, uint64_t input, bool *there) {
    const run_job *j = u->j;
    fc_table_row row;
    uint64_t had;
    FC_TRY(fc_table_has(j->work, item->key, &had, there));
    if (*there && had == input) {
        u->n->kept++;
        return FC_OK;
    }
    *there = false;
    if (!j->old) return FC_OK;
    FC_TRY(fc_table_get(j->old, item->key, &row, there));
    *there = *there && row.input == input;
    if (!*there) return FC_OK;
    u->n->copied++;
    return fc_table_put(j->work, &row);
}

static fc_status begin(run *u, int64_t at) {
    plan_item item;
    fc_request r;
    slot *s;
    bool there = false;
    char why[1024];
    fc_status st;
    while (u->flying >= (u->tried ? u->j->flight : 1)) FC_TRY(wait(u));
    s = free_slot(u);
    FC_TRY(plan_at(u->j->p, at, &item));
    fc_str_clear(&s->key);
    FC_TRY(fc_str_puts(&s->key, item.key));
    s->at = at;
    s->tries = 0;
    u->n->lines += u->j->retrieved && lines_map_find(u->j->retrieved, item.key);
    st = fill(u, &item, &r);
    if (st) {
        snprintf(why, sizeof why, "%s", fc_last_error());
        return give_up(u, s, st, why);
    }
    s->input = fc_table_input(&r);
    s->seed = r.seed;
    FC_TRY(is_there(u, &item, s->input, &there));
    if (there) return FC_OK;
    if (!u->began_ns) u->began_ns = u->ended_ns = fc_clock_ns();
    return submit(u, s);
}

static fc_status all(run *u) {
    for (int64_t i = u->j->p->first; i < u->j->p->end; i++) {
        FC_TRY(begin(u, i));
        if (stopped) return FC_FAIL(FC_ERR_CANCELLED, "stopped");
    }
    while (u->flying) FC_TRY(wait(u));
    return fc_table_flush(u->j->work);
}

fc_status run_keys(const run_job *j, fc_engine *e, run_counts *out) {
    const struct sigaction end = {.sa_handler = on_signal}, usual = {.sa_handler = SIG_DFL};
    run u = {.j = j, .e = e, .n = out};
    char why[1024];
    void *p;
    fc_status st;
    *out = (run_counts){0};
    FC_TRY(fc_alloc((size_t)j->flight, sizeof *u.slots, "requests", &p));
    u.slots = p;
    stopped = 0;
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    st = all(&u);
    sigaction(SIGTERM, &usual, NULL);
    sigaction(SIGINT, &usual, NULL);
    if (st == FC_ERR_CANCELLED) { /* what has come is kept */
        snprintf(why, sizeof why, "%s", fc_last_error());
        st = fc_table_flush(j->work);
        if (!st) st = FC_FAIL(FC_ERR_CANCELLED, "%s", why);
    }
    out->seconds = (double)(u.ended_ns - u.began_ns) * 1e-9;
    for (int i = 0; i < j->flight; i++) fc_str_fini(&u.slots[i].key);
    fc_free(u.slots);
    fc_free(u.entries);
    return st;
}
