#include "engine/app/bench/load.h"

#include "engine/app/bench/stats.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <math.h>
#include <stdio.h>

const char *const bench_phase_names[PHASES] = {"total", "queue", "prefill", "decode", "score", "host"};
const char *const bench_count_names[COUNTS] = {"rows_prefill",    "rows_decode",      "rows_score",   "rows_reused",
                                               "rows_flat",       "kv_bytes",         "distinct",     "prompt_tokens",
                                               "returned_tokens", "candidate_tokens", "scored_tokens"};

enum {
    AT_ONCE = 256,   /* separate requests under way: what an engine's queue holds unless told otherwise */
    OTHERS = 1 << 21 /* from a prompt's number to that of its separate requests */
};

void bench_sample_init(bench_sample *s) {
    *s = (bench_sample){.best = (double)NAN};
    for (int i = 0; i < PHASES; i++) s->ms[i] = (double)NAN;
    for (int i = 0; i < COUNTS; i++) s->counts[i] = (double)NAN;
}

void bench_salt_put(uint64_t run, uint64_t salt, char out[BENCH_SALT]) {
    snprintf(out, BENCH_SALT, "bench-%llx-%llx", (unsigned long long)run, (unsigned long long)salt);
}

void bench_run_fini(bench_run *r) {
    fc_free(r->samples.v);
    *r = (bench_run){0};
}

static fc_status add(bench_samples *s, const bench_sample *one) {
    void *p = s->v;
    FC_TRY(fc_grow(&p, &s->cap, s->n + 1, sizeof *s->v, "samples"));
    s->v = p;
    s->v[s->n++] = *one;
    return FC_OK;
}

/* ---- sending ---- */

typedef struct {
    bench_target *t;
    const bench_load *l;
    bench_run *out;
    uint64_t *due; /* [requests] */
    int sent, ended, late;
} driver;

static bench_ask ask_of(const bench_load *l, int i) {
    return (bench_ask){.n = l->n,
                       .seed = l->seed + (uint64_t)i,
                       .prompt = l->first + i,
                       .salt = l->keep_cache ? 0 : ((uint64_t)(uint32_t)l->series << 32) + (uint64_t)i};
}

static fc_status ended(driver *d, int tag, bench_sample *s) {
    s->ms[PHASE_TOTAL] = (double)(fc_clock_ns() - d->due[tag]) * 1e-6;
    d->ended++;
    d->late += !s->ok || s->ms[PHASE_TOTAL] > d->l->give_up_ms;
    return add(&d->out->samples, s);
}

static fc_status send_next(driver *d) {
    bench_ask ask = ask_of(d->l, d->sent);
    fc_status st = d->t->send(d->t, &ask, d->sent);
    bench_sample failed;
    d->sent++;
    if (!st) return FC_OK;
    bench_sample_init(&failed);
    snprintf(failed.why, sizeof failed.why, "%s", fc_last_error());
    return ended(d, d->sent - 1, &failed);
}

static fc_status take(driver *d, int timeout_ms) {
    bench_sample s;
    int tag;
    fc_status st = d->t->wait(d->t, timeout_ms, &tag, &s);
    if (st == FC_ERR_TIMEOUT) return FC_OK;
    return st ? st : ended(d, tag, &s);
}

static fc_status closed(driver *d) {
    while (d->ended < d->l->requests) {
        while (d->sent < d->l->requests && d->sent - d->ended < d->l->concurrency) {
            d->due[d->sent] = fc_clock_ns();
            FC_TRY(send_next(d));
        }
        if (d->ended < d->sent) FC_TRY(take(d, 1000));
    }
    return FC_OK;
}

static fc_status open_loop(driver *d) {
    uint64_t state = d->l->seed, start = fc_clock_ns();
    double at = 0;
    int can_be_late = d->l->requests / 100;
    for (int i = 0; i < d->l->requests; i++) {
        d->due[i] = start + (uint64_t)(at * 1e9);
        at += stats_gap(&state, d->l->rate);
    }
    while (d->ended < d->sent || d->sent < d->l->requests) {
        uint64_t now = fc_clock_ns();
        int wait_ms = 1000;
        if (d->l->give_up_ms > 0 && d->late > can_be_late && !d->out->gave_up) {
            d->out->gave_up = true;
            d->t->cancel(d->t);
        }
        if (d->out->gave_up && d->ended == d->sent) return FC_OK;
        if (d->sent < d->l->requests && !d->out->gave_up) {
            if (now >= d->due[d->sent]) {
                FC_TRY(send_next(d));
                continue;
            }
            wait_ms = (int)((d->due[d->sent] - now) / 1000000);
            if (wait_ms > 1000) wait_ms = 1000;
        }
        FC_TRY(take(d, wait_ms));
    }
    return FC_OK;
}

fc_status bench_load_run(bench_target *t, const bench_load *l, bench_run *out) {
    driver d = {.t = t, .l = l, .out = out};
    bench_work before, after;
    uint64_t begin;
    fc_status st;
    void *p;
    FC_TRY(fc_alloc((size_t)l->requests, sizeof *d.due, "requests", &p));
    d.due = p;
    t->work(t, &before);
    begin = fc_clock_ns();
    st = l->rate > 0 ? open_loop(&d) : closed(&d);
    out->seconds += (double)(fc_clock_ns() - begin) * 1e-9;
    fc_free(d.due);
    if (st) return st;
    t->work(t, &after);
    out->work.known = after.known;
    out->work.bytes += after.bytes - before.bytes;
    out->work.flops += after.flops - before.flops;
    return FC_OK;
}

fc_status bench_load_separate(bench_target *t, const bench_load *l, double *seconds) {
    const bench_ask whole = ask_of(l, 0);
    uint64_t begin = fc_clock_ns();
    bool failed = false;
    for (int sent = 0, done = 0; done < l->n;) {
        bench_sample s;
        int tag;
        fc_status st;
        while (sent < l->n && sent - done < AT_ONCE) {
            bench_ask one = whole;
            one.n = 1;
            one.seed = whole.seed + ((uint64_t)(uint32_t)sent << 20); /* apart from those of the next prompts */
            one.salt = l->keep_cache ? 0 : whole.salt ^ ((uint64_t)1 << 63);
            if (!t->salts && !l->keep_cache)
                one.prompt += OTHERS; /* the whole one has just left its own in the cache */
            st = t->send(t, &one, sent++);
            if (st) {
                failed = true;
                done++;
            }
        }
        if (done == l->n) break;
        st = t->wait(t, 1000, &tag, &s);
        if (st == FC_ERR_TIMEOUT) continue;
        if (st) return st;
        failed = failed || !s.ok;
        done++;
    }
    *seconds = failed ? (double)NAN : (double)(fc_clock_ns() - begin) * 1e-9;
    return FC_OK;
}

fc_status bench_load_one(bench_target *t, const bench_ask *ask, bench_sample *out) {
    fc_status st = t->send(t, ask, 0);
    int tag;
    if (st) {
        bench_sample_init(out);
        snprintf(out->why, sizeof out->why, "%s", fc_last_error());
        return FC_OK;
    }
    do st = t->wait(t, 1000, &tag, out);
    while (st == FC_ERR_TIMEOUT);
    return st;
}
