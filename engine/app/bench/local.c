#include "engine/app/bench/local.h"

#include "engine/app/textio.h"
#include "engine/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    uint64_t id;
    int tag;
    bool exhaustive;
} flying;

typedef struct {
    bench_target base;
    request_args *args;
    fc_request r; /* what every request has */
    bench_prompts *prompts;
    uint64_t salt; /* of the run */
    fc_engine *engine;
    bool same_tokenizer;
    flying *flying;
    size_t n_flying, cap_flying;
} local;

/* ---- asking ---- */

/* What a request says of its prompts. Without a template ids are read by both models; an alignment model of another
 * tokenizer reads their text. */
static fc_status fill(local *t, int number, fc_piece *piece, fc_request *r) {
    bench_prompts *p = t->prompts;
    if (p->tokens) {
        char *text;
        size_t size;
        FC_TRY(bench_prompts_draw(p, number));
        r->prompt = (fc_prompt){.ids = p->ids, .n_ids = (size_t)p->tokens};
        r->alignment_prompt = (fc_prompt){0};
        if (!r->score || t->same_tokenizer) return FC_OK;
        FC_TRY(fc_tokenizer_decode(p->tokenizer, p->ids, (size_t)p->tokens, false, &text, &size));
        *piece = (fc_piece){.text = text, .size = size};
        r->alignment_prompt = (fc_prompt){.pieces = piece, .n_pieces = 1};
        return FC_OK;
    } else {
        const bench_line *line = bench_prompts_line(p, number);
        const fc_holes holes = {
            .prompt = line->history ? NULL : line->text, .history = line->history, .n_history = line->n_history};
        const char *taxonomy = r->taxonomy;
        if (t->args->recipe) {
            return request_args_fill(t->args, &holes, taxonomy, r); /* the engine's own copy of the names */
        }
        *piece = (fc_piece){.text = line->text, .size = strlen(line->text)};
        r->prompt = (fc_prompt){.pieces = piece, .n_pieces = 1};
        return FC_OK;
    }
}

/* Every name once, from the whole distribution: no filter may hide one. */
static void exhaust(const local *t, fc_request *r) {
    fc_sampling s;
    fc_sampling_init(&s);
    s.max_tokens = r->sampling.max_tokens;
    r->sampling = s;
    r->draw = FC_DRAW_EXACT;
    r->full_logprob = false;
    r->deadline_ms = 0;
    r->n = (int)t->base.names;
}

static fc_status local_send(bench_target *base, const bench_ask *ask, int tag) {
    local *t = (local *)base;
    fc_request r = t->r;
    fc_piece piece = {0};
    char salt[BENCH_SALT];
    uint64_t id;
    void *p = t->flying;
    fc_status st;
    FC_TRY(fc_grow(&p, &t->cap_flying, t->n_flying + 1, sizeof *t->flying, "requests under way"));
    t->flying = p;
    st = fill(t, ask->prompt, &piece, &r);
    r.n = ask->n;
    r.n_max = 0; /* n is what is measured: a recipe's rules that draw more or fewer do not count */
    r.stop_when = NULL;
    r.token_budget = 0;
    if (ask->exhaustive) exhaust(t, &r);
    if (r.keep > r.n) r.keep = r.n;
    r.seed = ask->seed;
    bench_salt_put(t->salt, ask->salt, salt);
    if (ask->salt) r.cache_salt = salt;
    if (!st) st = fc_submit(t->engine, &r, &id);
    if (t->prompts->tokens) fc_memory_free((char *)(uintptr_t)piece.text); /* the decoded one; else a line's */
    if (st) return st;
    t->flying[t->n_flying++] = (flying){.id = id, .tag = tag, .exhaustive = ask->exhaustive};
    return FC_OK;
}

/* ---- answers ---- */

static void read_result(const fc_result *r, bench_sample *s) {
    const fc_accounting *a = &r->accounting;
    const fc_timings_ms *t = &r->timings;
    double returned = 0, drawn = 0, scored = 0;
    for (int i = 0; i < r->n_kept; i++) returned += (double)r->kept[i].n_tokens;
    for (int i = 0; i < r->n_all; i++) {
        drawn += (double)r->all[i].n_tokens;
        if (r->scored && r->all[i].index == i) scored += (double)r->all[i].n_tokens;
    }
    s->ok = true;
    s->ms[PHASE_QUEUE] = t->queue;
    s->ms[PHASE_PREFILL] = t->prefill;
    s->ms[PHASE_DECODE] = t->decode;
    s->ms[PHASE_SCORE] = t->score;
    s->ms[PHASE_HOST] = t->host;
    s->best = r->scored && r->n_kept ? r->kept[0].score : (double)NAN;
    s->counts[COUNT_ROWS_PREFILL] = (double)a->rows_prefill;
    s->counts[COUNT_ROWS_DECODE] = (double)a->rows_decode;
    s->counts[COUNT_ROWS_SCORE] = (double)a->rows_score;
    s->counts[COUNT_ROWS_REUSED] = (double)a->rows_reused;
    s->counts[COUNT_ROWS_FLAT] = (double)(a->rows_flat_prefill + a->rows_flat_decode + a->rows_flat_score);
    s->counts[COUNT_KV_BYTES] = (double)a->kv_bytes;
    s->counts[COUNT_DISTINCT] = r->confidence.distinct;
    s->counts[COUNT_PROMPT_TOKENS] = (double)r->prompt_tokens;
    s->counts[COUNT_RETURNED_TOKENS] = returned;
    s->counts[COUNT_CANDIDATE_TOKENS] = drawn;
    s->counts[COUNT_SCORED_TOKENS] = scored;
}

static fc_status local_wait(bench_target *base, int timeout_ms, int *tag, bench_sample *out) {
    local *t = (local *)base;
    for (;;) {
        fc_event ev;
        size_t i = 0;
        FC_TRY(fc_poll(t->engine, timeout_ms, &ev));
        while (i < t->n_flying && t->flying[i].id != ev.id) i++;
        if (ev.type != FC_EVENT_DONE || i == t->n_flying) {
            fc_event_fini(&ev);
            continue;
        }
        bench_sample_init(out);
        if (ev.status) snprintf(out->why, sizeof out->why, "%s", ev.error);
        else read_result(ev.result, out);
        fc_event_fini(&ev);
        *tag = t->flying[i].tag;
        t->flying[i] = t->flying[--t->n_flying];
        return FC_OK;
    }
}

static void local_cancel(bench_target *base) {
    local *t = (local *)base;
    for (size_t i = 0; i < t->n_flying; i++) fc_cancel(t->engine, t->flying[i].id);
}

/* The last step says what it did a moment after its last event. */
static void local_work(bench_target *base, bench_work *out) {
    local *t = (local *)base;
    fc_engine_counts c;
    for (int i = 0; i < 1000; i++) {
        fc_engine_count(t->engine, &c);
        if (!c.running) break;
        usleep(500);
    }
    usleep(500);
    fc_engine_count(t->engine, &c);
    *out = (bench_work){.known = true, .bytes = c.bytes, .flops = c.flops};
}

static void local_close(bench_target *base) {
    local *t = (local *)base;
    if (!t) return;
    fc_engine_close(t->engine);
    fc_free(t->flying);
    fc_free(t);
}

void bench_local_describe(const bench_target *base, fc_engine_info *out) {
    fc_engine_describe(((const local *)base)->engine, out);
}

const char *bench_local_adapter(const bench_target *base, fc_role role) {
    const local *t = (const local *)base;
    if (role == FC_NOVELTY) return request_args_adapter(t->args, t->r.novelty_adapter);
    return request_args_adapter(t->args, t->r.score ? t->r.alignment_adapter : NULL);
}

fc_status bench_local_open(request_args *a, const fc_request *r, bench_prompts *prompts, uint64_t salt, progress *p,
                           bench_target **out) {
    fc_engine_info info;
    const char *const *names;
    local *t;
    fc_status st;
    void *q;
    FC_TRY(fc_alloc(1, sizeof *t, "target", &q));
    t = q;
    *t = (local){.args = a, .r = *r, .prompts = prompts, .salt = salt};
    t->base = (bench_target){.send = local_send,
                             .wait = local_wait,
                             .cancel = local_cancel,
                             .work = local_work,
                             .close = local_close,
                             .scores = r->score,
                             .salts = true};
    t->r.events = false;
    st = request_args_open(a, &t->r, p, &t->engine);
    if (st) {
        local_close(&t->base);
        return st;
    }
    fc_engine_describe(t->engine, &info);
    t->same_tokenizer = info.same_tokenizer;
    if (a->opened && t->r.score && t->r.constraint == FC_CONSTRAINT_MASK)
        t->base.names = fc_recipe_names(a->opened, &names);
    if (t->base.names > FC_N_MAX) t->base.names = 0;
    snprintf(t->base.version, sizeof t->base.version, "%s", fc_version());
    snprintf(t->base.weights, sizeof t->base.weights, "%.280s; alignment %.280s", text_file_name(a->novelty),
             r->score ? text_file_name(a->alignment) : "none");
    *out = &t->base;
    return FC_OK;
}
