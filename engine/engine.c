/* engine - open and close, the queue in front of the engine thread, and the thread itself. */
#include "engine/engine.h"

#include "engine/answer.h"
#include "engine/base/os.h"
#include "engine/counts.h"
#include "engine/events.h"
#include "engine/fit.h"
#include "engine/model_tok.h"
#include "engine/sched.h"
#include "engine/split.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* One model file with everything made of it. */
typedef struct {
    fc_weights *weights;
    fc_tok *tok;
    fc_model *model;
    fc_adapter_entry *adapters; /* [n_adapters] */
    const fc_adapter **table;   /* [n_adapters] the model's */
    int n_adapters;
    fc_lane lane;
    uint64_t fingerprint;
} loaded;

struct fc_engine {
    loaded models[2]; /* by role; the second empty without an alignment model, or when it is the first */
    bool has_alignment, one_file, shared; /* one file is both models; and is loaded once */
    bool apart;                           /* each model has GPUs of its own */
    fc_backend *be[2];                    /* of each model; one for both where operators run in their call */
    fc_sched sched;
    fc_job_rules rules;
    fc_engine_info info;

    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t lock; /* guards the queue below */
    pthread_cond_t work, idle;
    fc_job *inbox, **inbox_tail;
    uint64_t *live, *cancels; /* [max_requests] ids accepted and not ended; those to be cancelled */
    int n_cancels;
    uint64_t next_id;
    int unfinished, max_requests; /* accepted and not yet ended */
    fc_names **names;             /* [n_names] registered sets, guarded by lock */
    size_t n_names, names_cap;
    bool stop, draining;
    fc_events events;
    atomic_int pages_used;
    fc_counts counts;
};

/* ---- the engine thread ---- */

static void on_token(void *arg, fc_job *j, int candidate, const fc_path *p, const char *text, size_t size) {
    const size_t last = (size_t)p->n - 1, top = (size_t)j->sampling.top_logprobs, n_ids = j->sampling.n_logprob_ids;
    fc_engine *e = arg;
    fc_events_put(&e->events,
                  &(fc_event){.type = FC_EVENT_TOKEN,
                              .id = j->id,
                              .candidate = candidate,
                              .token = p->ids[last],
                              .logprob = p->logprobs[last],
                              .text = text,
                              .text_size = size,
                              .top_ids = top ? p->top_ids + last * top : NULL,
                              .top_logprobs = top ? p->top_logprobs + last * top : NULL,
                              .top_n = (int)top,
                              .id_logprobs = n_ids ? p->id_logprobs + last * n_ids : NULL,
                              .n_ids = (int)n_ids},
                  true);
}

static void on_candidate(void *arg, fc_job *j, int candidate, const fc_path *p) {
    fc_engine *e = arg;
    fc_events_put(&e->events,
                  &(fc_event){.type = FC_EVENT_CANDIDATE,
                              .id = j->id,
                              .candidate = candidate,
                              .text = fc_str_text(&p->text),
                              .text_size = p->text.size,
                              .finish = p->finish,
                              .stop = fc_path_stop(j, p),
                              .end_id = fc_path_end_id(p)},
                  true);
}

static void on_score(void *arg, fc_job *j, int candidate, double score) {
    fc_engine *e = arg;
    fc_events_put(&e->events,
                  &(fc_event){.type = FC_EVENT_SCORE, .id = j->id, .candidate = candidate, .score = score, .text = ""},
                  true);
}

/* For fc_engine_pages_used: before a done event is sent, so that whoever got it sees its pages gone. */
static void count_used_pages(fc_engine *e) {
    int used = 0;
    for (int i = 0; i < (e->has_alignment && !e->shared ? 2 : 1); i++) {
        const fc_kv *kv = e->sched.lane[i]->kv;
        used += fc_kv_pages_total(kv) - fc_cache_pages(&e->sched, i);
    }
    atomic_store(&e->pages_used, used);
}

/* One of e's lists of ids, without this one. */
static void forget(uint64_t *ids, int *n, uint64_t id) {
    for (int i = *n; i-- > 0;)
        if (ids[i] == id) ids[i] = ids[--*n];
}

static void on_done(void *arg, fc_job *j) {
    fc_engine *e = arg;
    fc_event ev = {.type = FC_EVENT_DONE, .id = j->id, .text = "", .memory = j};
    if (!j->failed) {
        fc_status st = fc_answer_make(j, e->info.load_ms, &ev.result);
        if (st) fc_job_fail(j, st);
    }
    ev.status = j->failed ? j->status : FC_OK;
    ev.error = j->error;
    if (j->failed) ev.result = NULL;
    count_used_pages(e);
    pthread_mutex_lock(&e->lock); /* who polls this event may submit the next request at once */
    forget(e->live, &e->unfinished, j->id);
    forget(e->cancels, &e->n_cancels, j->id); /* left since this step began: its place is the next request's */
    fc_events_put(&e->events, &ev, false);
    pthread_cond_broadcast(&e->idle);
    pthread_mutex_unlock(&e->lock);
}

/* Moves what callers left into the scheduler. The lock is held. */
static void take_inbox(fc_engine *e) {
    while (e->inbox) {
        fc_job *j = e->inbox;
        e->inbox = j->next;
        fc_sched_submit(&e->sched, j);
    }
    e->inbox_tail = &e->inbox;
    for (int i = 0; i < e->n_cancels; i++) fc_sched_cancel(&e->sched, e->cancels[i]);
    e->n_cancels = 0;
}

static void *engine_main(void *arg) {
    fc_engine *e = arg;
    for (;;) {
        pthread_mutex_lock(&e->lock);
        while (!e->stop && !e->inbox && !e->n_cancels && !fc_sched_busy(&e->sched))
            pthread_cond_wait(&e->work, &e->lock);
        take_inbox(e);
        if (e->stop) {
            pthread_mutex_unlock(&e->lock);
            return NULL;
        }
        pthread_mutex_unlock(&e->lock);
        fc_counts_put(&e->counts, &e->sched);
        fc_sched_step(&e->sched);
        count_used_pages(e);
        fc_counts_put(&e->counts, &e->sched);
    }
}

/* ---- open ---- */

static void describe_model(const loaded *m, fc_model_info *out) {
    const fc_model_config *c = &m->model->cfg;
    const fc_kv_shape *s = &fc_kv_store(m->lane.kv)->shape;
    *out = (fc_model_info){.vocab = c->V,
                           .layers = c->L,
                           .ctx = m->lane.ctx,
                           .weight_bytes = m->model->bytes,
                           .kv_page_bytes = fc_kv_bytes_per_page(m->lane.kv),
                           .kv_pages = s->n_pages,
                           .page_slots = s->P,
                           .reward_head = m->model->reward != NULL};
    snprintf(out->name, sizeof out->name, "%s", c->name);
    snprintf(out->arch, sizeof out->arch, "%s", c->arch);
    snprintf(out->path, sizeof out->path, "%s", fc_weights_path(m->weights));
    snprintf(out->kv_type, sizeof out->kv_type, "%s", fc_kv_type_name(s->type));
}

static bool caches_scores(const fc_engine *e, const fc_engine_options *o) {
    return e->has_alignment && !(o->off & FC_OFF_SCORE_CACHE);
}

static fc_status lane_options(const fc_engine_options *o, int rows, const fc_model_config *c, fc_dtype embed,
                              bool scores, fc_lane_options *out) {
    const char *kv = o->kv_type ? o->kv_type : embed == FC_F32 ? "f32" : "bf16";
    const int ctx = c->ctx < 8192 ? c->ctx : 8192;
    *out = (fc_lane_options){
        .ctx = o->ctx ? o->ctx : ctx,
        .page_slots = o->page_slots ? o->page_slots : 16,
        .max_rows = rows,
        .max_branches = o->max_branches ? o->max_branches : 1024,
        .scores = scores,
        .kv_touch = o->kv_touch,
    };
    FC_TRY(fc_kv_type_parse(kv, &out->kv_type));
    if (out->ctx > c->ctx)
        return FC_FAIL(FC_ERR_ARG, "ctx = %d; model %s was made for %d positions", out->ctx, c->name, c->ctx);
    if (out->page_slots != 8 && out->page_slots != 16 && out->page_slots != 32 && out->page_slots != 64)
        return FC_FAIL(FC_ERR_ARG, "page_slots = %d; 8, 16, 32 and 64 are possible", out->page_slots);
    return FC_OK;
}

static fc_status check_options(const fc_engine_options *o) {
    const struct {
        const char *name;
        int64_t v, max;
    } fields[] = {{"threads", o->threads, 1024},
                  {"ctx", o->ctx, 1 << 24},
                  {"page_slots", o->page_slots, 64},
                  {"max_rows", o->max_rows, 65535},
                  {"max_branches", o->max_branches, 65536},
                  {"max_requests", o->max_requests, 65536},
                  {"score_rows", o->score_rows, 65536},
                  {"off", o->off, FC_OFF_ALL}};
    bool imprecise; /* which backend it will be is not known: the word is */
    if (!o->novelty) return FC_FAIL(FC_ERR_ARG, "novelty: a model is needed");
    FC_TRY(fc_backend_imprecise(o, "", &imprecise));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].v < 0 || fields[i].v > fields[i].max)
            return FC_FAIL(FC_ERR_ARG, "%s = %lld; 0 (default) to %lld are possible", fields[i].name,
                           (long long)fields[i].v, (long long)fields[i].max);
    return FC_OK;
}

static fc_status load_files(fc_engine *e, const fc_engine_options *o) {
    const char *paths[2] = {o->novelty, o->alignment};
    e->has_alignment = o->alignment != NULL;
    e->one_file = o->alignment && (strcmp(o->novelty, o->alignment) == 0 || fc_path_same(o->novelty, o->alignment));
    e->shared = e->one_file && !(o->off & FC_OFF_SHARED_TRUNK);
    for (int i = 0; i < (e->has_alignment && !e->shared ? 2 : 1); i++) {
        FC_TRY(fc_weights_open(paths[i], &e->models[i].weights));
        FC_TRY(fc_model_tok_open(e->models[i].weights, &e->models[i].tok));
    }
    return FC_OK;
}

/* Adapters of model i; of both roles where it is both. */
static fc_status load_adapters(fc_engine *e, const fc_engine_options *o, int i) {
    loaded *m = &e->models[i];
    void *p;
    FC_TRY(fc_alloc(o->n_adapters, sizeof *m->adapters, "adapters", &p));
    m->adapters = p;
    FC_TRY(fc_alloc(o->n_adapters, sizeof *m->table, "adapters", &p));
    m->table = p;
    for (size_t k = 0; k < o->n_adapters; k++) {
        const fc_adapter_option *a = &o->adapters[k];
        fc_adapter_entry *entry = &m->adapters[m->n_adapters];
        if (!a->name || !a->name[0] || !a->path)
            return FC_FAIL(FC_ERR_ARG, "adapter %zu: it needs a name and a path", k);
        if (a->model != FC_NOVELTY && a->model != FC_ALIGNMENT)
            return FC_FAIL(FC_ERR_ARG, "adapter \"%.60s\": model %d", a->name, (int)a->model);
        if (a->model == FC_ALIGNMENT && !e->has_alignment)
            return FC_FAIL(FC_ERR_ARG, "adapter \"%.60s\": there is no alignment model", a->name);
        if (!e->one_file && (int)a->model != i) continue;
        for (int x = 0; x < m->n_adapters; x++)
            if (strcmp(m->adapters[x].name, a->name) == 0)
                return FC_FAIL(FC_ERR_ARG, "adapter \"%.60s\": two of one model have this name", a->name);
        if (m->n_adapters == FC_MAX_ADAPTERS)
            return FC_FAIL(FC_ERR_ARG, "adapter \"%.60s\": at most %d of one model", a->name, FC_MAX_ADAPTERS);
        FC_TRY(fc_copy_str(a->name, "adapter name", &entry->name));
        m->n_adapters++;
        FC_TRY(fc_adapter_open(m->model, a->path, &entry->adapter));
        m->table[m->n_adapters - 1] = entry->adapter;
    }
    m->model->adapters = m->table;
    m->model->n_adapters = m->n_adapters;
    return FC_OK;
}

/* Models whose operators run behind the host have a queue each: one draws while the other scores. What goes from one to
 * the other, drawn ids, goes by way of the host. Ranks have one for both, unless these are on other GPUs: two that meet
 * on the same devices would have to meet in one order. */
static fc_backend *backend_of(const fc_engine *e, int model) { return e->be[model] ? e->be[model] : e->be[0]; }

/* Who knows what memory model i's things will find: the backend that was opened last where both models are. */
static fc_backend *memory_of(const fc_engine *e, int i, int n) { return backend_of(e, e->apart ? i : n - 1); }

/* Both models' things fit where they are, side by side or each on GPUs of its own. */
static fc_status check_fit(const fc_engine *e, const fc_lane_options lane[2], const uint64_t weights[2], int n,
                           uint64_t scores) {
    fc_fit fit[2] = {{.scores = scores}, {0}};
    for (int i = 0; i < n; i++)
        fc_fit_lane(&fit[e->apart ? i : 0], fc_weights_config(e->models[i].weights), backend_of(e, i)->ranks,
                    weights[i], &lane[i]);
    for (int i = 0; i < (e->apart ? n : 1); i++) FC_TRY(fc_fit_check(&fit[i], memory_of(e, i, n)));
    return FC_OK;
}

/* On which GPUs each model is, and whether they can share it. */
static fc_status read_gpus(fc_engine *e, const fc_engine_options *o, int n, fc_gpu_list gpus[2]) {
    FC_TRY(fc_gpus_parse(o->gpus, gpus));
    e->apart = !fc_gpus_same(&gpus[0], &gpus[1]);
    if (e->apart && n == 1)
        return FC_FAIL(FC_ERR_ARG, "gpus \"%.80s\": there is one model, which needs one list", o->gpus);
    for (int i = 0; i < n; i++)
        if (gpus[i].n > 1) FC_TRY(fc_split_check(fc_weights_config(e->models[i].weights), gpus[i].n));
    return FC_OK;
}

static fc_status load_models(fc_engine *e, const fc_engine_options *o, fc_backend_opener open_backend) {
    int n = e->has_alignment && !e->shared ? 2 : 1;
    int threads = o->threads ? o->threads : fc_cpu_count(), rows;
    fc_op_limits limits = {0};
    fc_lane_options lane[2];
    fc_gpu_list gpus[2];
    uint64_t weights[2];
    void *p;
    e->max_requests = o->max_requests ? o->max_requests : 256;
    FC_TRY(fc_alloc((size_t)e->max_requests, sizeof *e->live, "request ids", &p));
    e->live = p;
    FC_TRY(fc_alloc((size_t)e->max_requests, sizeof *e->cancels, "request ids", &p));
    e->cancels = p;
    FC_TRY(read_gpus(e, o, n, gpus));
    rows = fc_backend_rows(o, &gpus[0], open_backend);
    for (int i = 0; i < n; i++) {
        const fc_tensor *t = fc_weights_find(e->models[i].weights, "blk.0.attn_q.weight");
        bool scores = e->has_alignment && (e->shared || i == (int)FC_ALIGNMENT);
        FC_TRY(lane_options(o, rows, fc_weights_config(e->models[i].weights), t ? t->dtype : FC_F32, scores, &lane[i]));
        fc_model_limits(fc_weights_config(e->models[i].weights), lane[i].max_rows, &limits);
    }
    FC_TRY(fc_backend_choose(o, &gpus[0], threads, &limits, open_backend, &e->be[0]));
    if (n == 2 && (e->apart || (e->be[0]->depth > 1 && e->be[0]->ranks == 1)))
        FC_TRY(fc_backend_choose(o, &gpus[1], threads, &limits, open_backend, &e->be[1]));
    for (int i = 0; i < n; i++) {
        const fc_weights *w = e->models[i].weights;
        FC_TRY(fc_fit_pool(memory_of(e, i, n), o->kv_pool, fc_weights_config(w), &lane[i]));
        weights[i] = fc_fit_tensors(w) / (uint64_t)backend_of(e, i)->ranks;
    }
    FC_TRY(check_fit(e, lane, weights, n, 0)); /* before minutes of packing */
    for (int i = 0; i < n; i++) {
        FC_TRY(fc_model_open(e->models[i].weights, backend_of(e, i), NULL, NULL, &e->models[i].model));
        FC_TRY(fc_backend_imprecise(o, backend_of(e, i)->name, &e->models[i].model->imprecise));
    }
    for (int i = 0; i < n; i++) FC_TRY(load_adapters(e, o, i));
    for (int i = 0; i < n; i++) weights[i] = e->models[i].model->bytes;
    FC_TRY(check_fit(e, lane, weights, n, caches_scores(e, o) ? fc_score_cache_bytes(o->score_cache) : 0));
    for (int i = 0; i < n; i++) FC_TRY(fc_lane_open(e->models[i].model, &lane[i], &e->models[i].lane));
    for (int i = 0; i < n; i++) { /* a file's scores outlive the model's: all its bytes count */
        bool whole = caches_scores(e, o) && o->score_cache_file && lane[i].scores;
        const fc_weights *w = e->models[i].weights;
        e->models[i].fingerprint = whole ? fc_weights_fingerprint_whole(w) : fc_weights_fingerprint(w);
    }
    e->info.threads = threads;
    snprintf(e->info.backend, sizeof e->info.backend, "%s", e->be[0]->name);
    /* it stands in keys of scores and tables: both, where they differ */
    if (n == 2 && strcmp(backend_of(e, 0)->level, backend_of(e, 1)->level) != 0)
        snprintf(e->info.cpu, sizeof e->info.cpu, "%s+%s", e->be[0]->level, e->be[1]->level);
    else snprintf(e->info.cpu, sizeof e->info.cpu, "%s", e->be[0]->level);
    return FC_OK;
}

static fc_status find_names(void *arg, const char *id, fc_names **out);
static fc_status fits(const void *sched, const fc_job *j) { return fc_sched_can_run(sched, j); }

static fc_status start(fc_engine *e, const fc_engine_options *o) {
    loaded *a = e->has_alignment ? &e->models[e->shared ? 0 : 1] : NULL;
    const fc_tok *const tok[2] = {e->models[0].tok, a ? a->tok : NULL};
    fc_sched_options so = {
        .tok = {tok[0], tok[1]},
        .score_rows = o->score_rows,
        .off = o->off & FC_OFF_FORK ? o->off | FC_OFF_COALESCE : o->off,
        .score_cache = o->score_cache,
        .score_cache_file = o->score_cache_file,
        .sink = {.arg = e, .token = on_token, .candidate = on_candidate, .score = on_score, .done = on_done},
    };
    fc_lane *lanes[2] = {&e->models[0].lane, a ? &a->lane : NULL};
    int max_branches = fc_kv_tables_free(lanes[0]->kv), err;
    bool same = a && (e->shared || fc_tok_same(tok[0], tok[1]));
    so.same_tokenizer = same;
    so.max_branches = max_branches;
    if (!so.score_rows && lanes[1]) FC_TRY(fc_lane_ridge(lanes[1], &so.score_rows));
    FC_TRY(fc_sched_open(lanes[0], lanes[1], &so, &e->sched));
    e->rules = (fc_job_rules){.tok = {tok[0], tok[1]},
                              .same_tokenizer = same,
                              .reward = a ? a->model->reward : NULL,
                              .coalesce = !(o->off & (FC_OFF_COALESCE | FC_OFF_FORK)),
                              .scores = e->sched.scores,
                              .backend = e->info.backend,
                              .cpu = e->info.cpu,
                              .max_branches = max_branches,
                              .names = find_names,
                              .names_arg = e,
                              .fits = fits,
                              .fits_arg = &e->sched};
    for (int i = 0; i < 2; i++)
        if (lanes[i]) {
            e->rules.cfg[i] = &lanes[i]->model->cfg;
            e->rules.ctx[i] = lanes[i]->ctx;
            e->rules.adapters[i] = e->models[e->shared ? 0 : i].adapters;
            e->rules.n_adapters[i] = e->models[e->shared ? 0 : i].n_adapters;
            e->rules.imprecise = lanes[i]->model->imprecise;
            e->rules.kv_type[i] = fc_kv_store(lanes[i]->kv)->shape.type;
            e->rules.model[i] = e->models[e->shared ? 0 : i].fingerprint;
        }
    describe_model(&e->models[0], &e->info.novelty);
    if (a) describe_model(a, &e->info.alignment);
    if (e->shared) e->info.alignment.weight_bytes = 0;
    e->info.has_alignment = a != NULL;
    e->info.same_tokenizer = same;
    e->info.shared_model = e->shared;
    err = pthread_create(&e->thread, NULL, engine_main, e);
    if (err) return FC_FAIL(FC_ERR_MEM, "engine thread: %s", strerror(err));
    e->thread_runs = true;
    return o->pin_threads ? e->be[0]->pin(e->be[0], e->thread) : FC_OK;
}

fc_status fc_engine_open(const fc_engine_options *o, fc_engine **out) { return fc_engine_open_on(o, NULL, out); }

fc_status fc_engine_open_on(const fc_engine_options *o, fc_backend_opener open_backend, fc_engine **out) {
    uint64_t begin = fc_clock_ns();
    fc_status st = FC_OK;
    fc_engine *e;
    void *p;
    FC_TRY(check_options(o));
    FC_TRY(fc_alloc(1, sizeof *e, "engine", &p));
    e = p;
    e->inbox_tail = &e->inbox;
    e->next_id = 1;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    pthread_cond_init(&e->idle, NULL);
    FC_TRY_GOTO(st, fc_events_open(&e->events), fail);
    FC_TRY_GOTO(st, load_files(e, o), fail);
    FC_TRY_GOTO(st, load_models(e, o, open_backend), fail);
    e->info.load_ms = (double)(fc_clock_ns() - begin) * 1e-6;
    FC_TRY_GOTO(st, start(e, o), fail);
    *out = e;
    return FC_OK;
fail:
    fc_engine_close(e);
    return st;
}

void fc_engine_close(fc_engine *e) {
    if (!e) return;
    if (e->thread_runs) {
        pthread_mutex_lock(&e->lock);
        e->stop = true;
        pthread_cond_broadcast(&e->work);
        pthread_mutex_unlock(&e->lock);
        pthread_join(e->thread, NULL);
    }
    if (e->sched.lane[0]) fc_sched_close(&e->sched);
    for (int i = 2; i-- > 0;) {
        fc_lane_close(&e->models[i].lane);
        for (int k = 0; k < e->models[i].n_adapters; k++) {
            fc_adapter_close(e->models[i].adapters[k].adapter);
            fc_free(e->models[i].adapters[k].name);
        }
        fc_free(e->models[i].table);
        fc_free(e->models[i].adapters);
        fc_model_close(e->models[i].model);
        fc_tok_close(e->models[i].tok);
        fc_weights_close(e->models[i].weights);
    }
    fc_backend_close(e->be[1]);
    fc_backend_close(e->be[0]);
    fc_events_close(&e->events);
    for (size_t i = 0; i < e->n_names; i++) fc_names_unref(e->names[i]);
    fc_free(e->names);
    fc_free(e->cancels);
    fc_free(e->live);
    pthread_cond_destroy(&e->idle);
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    fc_free(e);
}

/* ---- calls from any thread ---- */

static fc_names **place_of(fc_engine *e, const char *id) {
    for (size_t i = 0; i < e->n_names; i++)
        if (strcmp(fc_names_id(e->names[i]), id) == 0) return &e->names[i];
    return NULL;
}

fc_status fc_engine_set_taxonomy(fc_engine *e, const fc_taxonomy_names *t) {
    fc_names *n, *old = NULL, **place;
    fc_status st = FC_OK;
    void *mem;
    FC_TRY(fc_names_open(t, &n));
    pthread_mutex_lock(&e->lock);
    place = place_of(e, fc_names_id(n));
    if (place) {
        old = *place;
        *place = n;
    } else {
        mem = e->names;
        st = fc_grow(&mem, &e->names_cap, e->n_names + 1, sizeof *e->names, "taxonomies");
        e->names = mem;
        if (!st) e->names[e->n_names++] = n;
        else old = n;
    }
    pthread_mutex_unlock(&e->lock);
    fc_names_unref(old);
    return st;
}

void fc_engine_drop_taxonomy(fc_engine *e, const char *id) {
    fc_names *old = NULL, **place;
    pthread_mutex_lock(&e->lock);
    place = place_of(e, id ? id : "");
    if (place) {
        old = *place;
        *place = e->names[--e->n_names];
    }
    pthread_mutex_unlock(&e->lock);
    fc_names_unref(old);
}

/* For fc_job_open, on the caller's thread. */
static fc_status find_names(void *arg, const char *id, fc_names **out) {
    fc_engine *e = arg;
    fc_names **place;
    fc_status st = FC_OK;
    pthread_mutex_lock(&e->lock);
    place = place_of(e, id);
    if (place) st = fc_names_share(*place, out);
    pthread_mutex_unlock(&e->lock);
    if (!place) return FC_FAIL(FC_ERR_ARG, "taxonomy \"%.60s\": no set of names is registered under this id", id);
    return st;
}

fc_status fc_submit(fc_engine *e, const fc_request *r, uint64_t *id) {
    fc_job *j;
    FC_TRY(fc_job_open(&e->rules, r, &j));
    pthread_mutex_lock(&e->lock);
    if (e->draining || e->unfinished >= e->max_requests) {
        bool draining = e->draining;
        pthread_mutex_unlock(&e->lock);
        fc_job_close(j);
        return draining ? FC_FAIL(FC_ERR_FULL, "submit: the engine is draining")
                        : FC_FAIL(FC_ERR_FULL, "submit: %d requests are waiting or running; max_requests is %d",
                                  e->max_requests, e->max_requests);
    }
    j->id = e->next_id++;
    *id = j->id; /* before the engine thread can send its first event */
    *e->inbox_tail = j;
    e->inbox_tail = &j->next;
    e->live[e->unfinished++] = j->id;
    pthread_cond_broadcast(&e->work);
    pthread_mutex_unlock(&e->lock);
    return FC_OK;
}

fc_status fc_cancel(fc_engine *e, uint64_t id) {
    bool live = false;
    pthread_mutex_lock(&e->lock);
    for (int i = 0; i < e->unfinished; i++) live = live || e->live[i] == id;
    for (int i = 0; i < e->n_cancels; i++) live = live && e->cancels[i] != id; /* once is enough, and bounds the list */
    if (live) {
        e->cancels[e->n_cancels++] = id;
        pthread_cond_broadcast(&e->work);
    }
    pthread_mutex_unlock(&e->lock);
    return FC_OK;
}

fc_status fc_drain(fc_engine *e) {
    pthread_mutex_lock(&e->lock);
    e->draining = true;
    while (e->unfinished > 0) pthread_cond_wait(&e->idle, &e->lock);
    pthread_mutex_unlock(&e->lock);
    return FC_OK;
}

fc_status fc_poll(fc_engine *e, int timeout_ms, fc_event *out) { return fc_events_poll(&e->events, timeout_ms, out); }
void fc_engine_notify(fc_engine *e, void (*wake)(void *arg), void *arg) { fc_events_notify(&e->events, wake, arg); }

void fc_engine_describe(const fc_engine *e, fc_engine_info *out) { *out = e->info; }
fc_sched_stats fc_engine_stats(const fc_engine *e) { return fc_sched_counts(&e->sched); }
fc_score_cache_stats fc_engine_score_stats(const fc_engine *e) {
    return e->sched.scores ? fc_score_cache_counts(e->sched.scores) : (fc_score_cache_stats){0};
}
int fc_engine_pages_used(const fc_engine *e) { return atomic_load(&e->pages_used); }

void fc_engine_count(const fc_engine *e, fc_engine_counts *out) {
    fc_counts_get(&e->counts, out);
    out->pages_used = fc_engine_pages_used(e);
    out->pages = e->info.novelty.kv_pages + (e->shared ? 0 : e->info.alignment.kv_pages);
}

const char *fc_version(void) { return FC_VERSION; }
const char *fc_last_error(void) { return fc_status_text(); }
const char *fc_status_string(fc_status st) { return fc_status_name(st); }

const char *fc_finish_name(fc_finish f) {
    switch (f) {
    case FC_FINISH_NONE: return "none";
    case FC_FINISH_STOP: return "stop";
    case FC_FINISH_LENGTH: return "length";
    case FC_FINISH_GIVEN: return "given";
    }
    return "none";
}
