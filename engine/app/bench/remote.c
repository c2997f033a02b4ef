#include "engine/app/bench/remote.h"

#include "engine/app/bench/http_client.h"
#include "engine/base/json.h"
#include "engine/base/mem.h"
#include "engine/base/os.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A request whose choices are being ranked by the second server. */
typedef struct {
    int tag;
    bench_sample sample;
    uint64_t begun;
    bool used;
} ranking;

typedef struct {
    bench_target base;
    bench_remote_options o;
    http_client *client;
    fc_str url, score_url;
    ranking *rankings;
    size_t n_rankings, cap_rankings;
    int *prompt_of; /* by tag: the prompt that was asked */
    size_t cap_prompt_of;
} remote;

enum { RANKED = 1 << 30 }; /* of a tag: the place of a ranking */

static fc_status remote_send(bench_target *base, const bench_ask *ask, int tag) {
    remote *t = (remote *)base;
    fc_str body = {0};
    fc_status st = FC_OK;
    void *p = t->prompt_of;
    FC_TRY(fc_grow(&p, &t->cap_prompt_of, (size_t)tag + 1, sizeof *t->prompt_of, "requests"));
    t->prompt_of = p;
    t->prompt_of[tag] = ask->prompt;
    if (t->o.prompts->tokens) st = bench_prompts_draw(t->o.prompts, ask->prompt);
    if (!st) st = remote_body(&t->o.form, ask, &body);
    if (!st) st = http_client_send(t->client, fc_str_text(&t->url), fc_str_text(&body), body.size, tag);
    fc_str_fini(&body);
    return st;
}

/* ---- ranking behind it ---- */

static fc_status place_of(remote *t, size_t *out) {
    void *p = t->rankings;
    for (size_t i = 0; i < t->n_rankings; i++)
        if (!t->rankings[i].used) {
            *out = i;
            return FC_OK;
        }
    FC_TRY(fc_grow(&p, &t->cap_rankings, t->n_rankings + 1, sizeof *t->rankings, "rankings"));
    t->rankings = p;
    *out = t->n_rankings++;
    return FC_OK;
}

/* What the second server is told that the texts are to answer: the prompt's text. */
static fc_status put_query(remote *t, int prompt, const remote_texts *texts, fc_str *out) {
    bench_prompts *p = t->o.prompts;
    char *text;
    size_t size;
    fc_status st;
    if (!p->tokens) return remote_rank_body(t->o.score_model, bench_prompts_line(p, prompt)->text, texts, out);
    FC_TRY(bench_prompts_draw(p, prompt));
    FC_TRY(fc_tokenizer_decode(p->tokenizer, p->ids, (size_t)p->tokens, false, &text, &size));
    st = remote_rank_body(t->o.score_model, text, texts, out);
    fc_memory_free(text);
    return st;
}

static fc_status rank(remote *t, const remote_texts *texts, const bench_sample *s, int tag) {
    fc_str body = {0};
    size_t at;
    fc_status st;
    FC_TRY(place_of(t, &at));
    t->rankings[at] = (ranking){.tag = tag, .sample = *s, .begun = fc_clock_ns(), .used = true};
    st = put_query(t, t->prompt_of[tag], texts, &body);
    if (!st)
        st = http_client_send(t->client, fc_str_text(&t->score_url), fc_str_text(&body), body.size, RANKED | (int)at);
    if (st) t->rankings[at].used = false;
    fc_str_fini(&body);
    return st;
}

/* ---- answers ---- */

/* An answer into *out; false: it is being ranked, and another one is waited for. */
static bool read_first(remote *t, const http_answer *a, bench_sample *out) {
    fc_json_doc *d = NULL;
    remote_texts texts = {0};
    bool waits = false;
    fc_status st = fc_json_parse("answer", a->body ? a->body : "", a->size, &d);
    if (!st) st = remote_answer(t->o.form.api, fc_json_root(d), out, t->o.score_url ? &texts : NULL);
    if (!st && t->o.score_url) {
        st = rank(t, &texts, out, a->tag);
        waits = !st;
    }
    if (st) {
        out->ok = false;
        snprintf(out->why, sizeof out->why, "%s", fc_status_text());
    }
    fc_free(texts.texts);
    fc_json_close(d);
    return !waits;
}

static void read_second(remote *t, const http_answer *a, bench_sample *out) {
    ranking *r = &t->rankings[a->tag & ~RANKED];
    fc_json_doc *d = NULL;
    fc_status st = fc_json_parse("answer", a->body ? a->body : "", a->size, &d);
    *out = r->sample;
    if (!st) st = remote_rank_answer(fc_json_root(d), &out->best);
    out->ms[PHASE_SCORE] = (double)(fc_clock_ns() - r->begun) * 1e-6;
    out->counts[COUNT_SCORED_TOKENS] = out->counts[COUNT_CANDIDATE_TOKENS];
    if (st) {
        out->ok = false;
        snprintf(out->why, sizeof out->why, "%s", fc_status_text());
    }
    fc_json_close(d);
}

static fc_status remote_wait(bench_target *base, int timeout_ms, int *tag, bench_sample *out) {
    remote *t = (remote *)base;
    for (;;) {
        http_answer a;
        bool over = true;
        FC_TRY(http_client_wait(t->client, timeout_ms, &a));
        bench_sample_init(out);
        *tag = a.tag & RANKED ? t->rankings[a.tag & ~RANKED].tag : a.tag;
        if (!a.status) snprintf(out->why, sizeof out->why, "%s", a.error);
        else if (a.status != 200) remote_error(a.status, a.body, a.size, out->why, sizeof out->why);
        else if (a.tag & RANKED) read_second(t, &a, out);
        else over = read_first(t, &a, out);
        if (a.tag & RANKED) t->rankings[a.tag & ~RANKED].used = false;
        fc_free(a.body);
        if (over) return FC_OK;
    }
}

static void remote_cancel(bench_target *base) { http_client_cancel(((remote *)base)->client); }

static void remote_work(bench_target *base, bench_work *out) {
    (void)base;
    *out = (bench_work){0};
}

static void remote_close(bench_target *base) {
    remote *t = (remote *)base;
    if (!t) return;
    http_client_close(t->client);
    fc_str_fini(&t->url);
    fc_str_fini(&t->score_url);
    fc_free(t->prompt_of);
    fc_free(t->rankings);
    fc_free(t);
}

/* URL + path, unless it ends so already. */
static fc_status put_url(const char *url, const char *path, fc_str *out) {
    size_t n = strlen(url);
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return FC_FAIL(FC_ERR_ARG, "\"%.120s\" is no address; it begins with http:// or https://", url);
    while (n && url[n - 1] == '/') n--;
    FC_TRY(fc_str_put(out, url, n));
    return fc_ends_with(fc_str_text(out), path) ? FC_OK : fc_str_puts(out, path);
}

/* What the server calls itself: /version where it has one (forkcast, vLLM), or its Server header is not asked for. */
static fc_status ask_version(remote *t) {
    fc_str url = {0};
    http_answer a = {0};
    fc_json_doc *d = NULL;
    const char *version = NULL;
    fc_status st = put_url(t->o.url, "/version", &url);
    if (!st) st = http_client_send(t->client, fc_str_text(&url), NULL, 0, 0);
    fc_str_fini(&url);
    while (!st && (st = http_client_wait(t->client, 5000, &a)) == FC_ERR_TIMEOUT) http_client_cancel(t->client);
    if (st) return st;
    if (!a.status) st = FC_FAIL(FC_ERR_IO, "--url: %.120s: %s", t->o.url, a.error);
    if (!st && a.status == 200 && fc_json_parse("version", a.body ? a.body : "", a.size, &d) == FC_OK) {
        const fc_json *v = fc_json_get(fc_json_root(d), "version");
        if (v && fc_json_kind(v) == FC_JSON_STRING) (void)fc_json_string(v, &version);
    }
    if (!st) snprintf(t->base.version, sizeof t->base.version, "%s", version ? version : "of unknown version");
    fc_json_close(d);
    fc_free(a.body);
    return st;
}

fc_status bench_remote_open(const bench_remote_options *o, bench_target **out) {
    remote *t;
    fc_status st;
    void *p;
    FC_TRY(fc_alloc(1, sizeof *t, "target", &p));
    t = p;
    *t = (remote){.o = *o};
    t->base = (bench_target){.send = remote_send,
                             .wait = remote_wait,
                             .cancel = remote_cancel,
                             .work = remote_work,
                             .close = remote_close,
                             .scores = o->form.api == API_FORKCAST || o->score_url,
                             .salts = remote_salts(o->form.api)};
    st = put_url(o->url, "/v1/completions", &t->url);
    if (!st && o->score_url) st = put_url(o->score_url, "/v1/rerank", &t->score_url);
    if (!st) st = http_client_open(o->key, &t->client);
    if (!st) st = ask_version(t);
    if (st) {
        remote_close(&t->base);
        return st;
    }
    snprintf(t->base.weights, sizeof t->base.weights, "%.280s at %.280s%s%.30s",
             o->form.model ? o->form.model : "the model", o->url, o->score_url ? "; ranked at " : "",
             o->score_url ? o->score_url : "");
    *out = &t->base;
    return FC_OK;
}
