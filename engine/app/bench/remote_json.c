#include "engine/app/bench/remote_json.h"

#include "engine/app/print.h"
#include "engine/base/json.h"
#include "engine/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {"forkcast", "vllm", "llama", "openai"};

const char *bench_api_name(bench_api a) { return names[a]; }
bool remote_salts(bench_api a) { return a != API_OPENAI; }

fc_status bench_api_parse(const char *name, bench_api *out) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (bench_api)i;
            return FC_OK;
        }
    return FC_FAIL(FC_ERR_ARG, "--api: \"%s\"; it is forkcast, vllm, llama or openai", name);
}

/* ---- asking ---- */

static fc_status text(json_object *o, const char *key, const char *v) { return json_text(o, key, v, strlen(v)); }

static fc_status word(json_object *o, const char *key, const char *v) {
    FC_TRY(json_key(o, key));
    return fc_str_puts(o->out, v);
}

static fc_status put_prompt(json_object *o, const remote_form *f, const bench_ask *ask) {
    const bench_line *line;
    json_object more = {.out = o->out};
    if (f->prompts->tokens) return json_ids(o, "prompt", f->prompts->ids, (size_t)f->prompts->tokens);
    line = bench_prompts_line(f->prompts, ask->prompt);
    if (!line->history) return text(o, "prompt", line->text);
    FC_TRY(json_key(o, "forkcast"));
    FC_TRY(fc_str_puts(o->out, "{"));
    FC_TRY(json_key(&more, "history"));
    FC_TRY(fc_str_puts(o->out, "["));
    for (size_t i = 0; i < line->n_history; i++) {
        FC_TRY(fc_str_puts(o->out, i ? "," : ""));
        FC_TRY(fc_json_put_string(o->out, line->history[i], strlen(line->history[i])));
    }
    return fc_str_puts(o->out, "]}");
}

/* Not OpenAI's, and refused by servers that do not know them. */
static fc_status put_own(json_object *o, const remote_form *f, const bench_ask *ask) {
    const fc_sampling *s = &f->r->sampling;
    char salt[BENCH_SALT];
    if (s->ignore_eos) FC_TRY(word(o, "ignore_eos", "true"));
    if (s->top_k) FC_TRY(json_int(o, "top_k", s->top_k));
    if (s->min_p > 0) FC_TRY(json_number(o, "min_p", (double)s->min_p));
    if (f->api == API_LLAMA) return ask->salt ? word(o, "cache_prompt", "false") : FC_OK;
    if (s->min_tokens) FC_TRY(json_int(o, "min_tokens", s->min_tokens));
    bench_salt_put(f->salt, ask->salt, salt);
    return ask->salt ? text(o, "cache_salt", salt) : FC_OK;
}

fc_status remote_body(const remote_form *f, const bench_ask *ask, fc_str *out) {
    const fc_sampling *s = &f->r->sampling;
    json_object o = {.out = out};
    int keep = f->r->keep && f->r->keep < ask->n ? f->r->keep : ask->n;
    FC_TRY(fc_str_puts(out, "{"));
    if (f->model) FC_TRY(text(&o, "model", f->model));
    FC_TRY(put_prompt(&o, f, ask));
    FC_TRY(json_int(&o, "n", f->api == API_FORKCAST ? keep : ask->n));
    if (f->api == API_FORKCAST) FC_TRY(json_int(&o, "best_of", ask->n));
    FC_TRY(json_int(&o, "max_tokens", s->max_tokens));
    FC_TRY(json_number(&o, "temperature", (double)s->temperature));
    if (s->top_p < 1) FC_TRY(json_number(&o, "top_p", (double)s->top_p));
    FC_TRY(json_int(&o, "seed", (int64_t)(ask->seed & 0x7fffffff)));
    if (f->api != API_OPENAI) FC_TRY(put_own(&o, f, ask));
    if (f->more) FC_TRY(fc_str_printf(out, ",%s", f->more));
    return fc_str_puts(out, "}");
}

/* ---- answers ---- */

/* A number where there is one; v is left otherwise. */
static void number(const fc_json *object, const char *key, double *v) {
    const fc_json *n = fc_json_get(object, key);
    if (n && fc_json_kind(n) == FC_JSON_NUMBER) fc_json_double(n, v);
}

/* forkcast's own record of one prompt. */
static void read_record(const fc_json *record, bench_sample *s) {
    const fc_json *a = fc_json_get(record, "accounting"), *t = fc_json_get(record, "timings_ms");
    const fc_json *kept = fc_json_get(record, "candidates"), *first = kept ? fc_json_first(kept) : NULL;
    static const char *const flat[] = {"rows_flat_prefill", "rows_flat_decode", "rows_flat_score"};
    double sum = 0, drawn = (double)NAN, used = (double)NAN;
    for (int i = PHASE_QUEUE; i < PHASES; i++) number(t, bench_phase_names[i], &s->ms[i]);
    for (int i = COUNT_ROWS_PREFILL; i <= COUNT_ROWS_REUSED; i++) number(a, bench_count_names[i], &s->counts[i]);
    for (int i = 0; i < 3; i++) {
        double v = (double)NAN;
        number(a, flat[i], &v);
        sum += v;
    }
    s->counts[COUNT_ROWS_FLAT] = sum;
    number(a, "kv_bytes", &s->counts[COUNT_KV_BYTES]);
    number(a, "rows_flat_decode", &drawn); /* of every candidate all ids but the last are fed back */
    number(fc_json_get(record, "confidence"), "n_used", &used);
    s->counts[COUNT_CANDIDATE_TOKENS] = drawn + used;
    number(fc_json_get(record, "confidence"), "distinct", &s->counts[COUNT_DISTINCT]);
    number(first, "score", &s->best);
}

fc_status remote_answer(bench_api api, const fc_json *root, bench_sample *s, remote_texts *texts) {
    const fc_json *choices = fc_json_get(root, "choices"), *usage = fc_json_get(root, "usage");
    const fc_json *record = fc_json_get(root, "best_of");
    size_t n = choices && fc_json_kind(choices) == FC_JSON_ARRAY ? fc_json_count(choices) : 0, at = 0;
    void *p;
    if (!n) return FC_FAIL(FC_ERR_FORMAT, "the answer has no choices");
    number(usage, "prompt_tokens", &s->counts[COUNT_PROMPT_TOKENS]);
    /* llama-server's is the first choice's alone */
    if (api != API_LLAMA || n == 1) number(usage, "completion_tokens", &s->counts[COUNT_RETURNED_TOKENS]);
    if (api != API_FORKCAST) s->counts[COUNT_CANDIDATE_TOKENS] = s->counts[COUNT_RETURNED_TOKENS];
    if (record && fc_json_kind(record) == FC_JSON_OBJECT) read_record(record, s);
    s->ok = true;
    if (!texts) return FC_OK;
    FC_TRY(fc_alloc(n, sizeof *texts->texts, "texts of choices", &p));
    *texts = (remote_texts){.texts = p, .n = n};
    for (const fc_json *c = fc_json_first(choices); c; c = fc_json_next(c)) {
        const fc_json *text_of = fc_json_get(c, "text");
        if (!text_of || fc_json_string(text_of, &texts->texts[at++])) {
            fc_free(p);
            s->ok = false;
            return FC_FAIL(FC_ERR_FORMAT, "a choice of the answer has no text");
        }
    }
    return FC_OK;
}

fc_status remote_rank_body(const char *model, const char *query, const remote_texts *texts, fc_str *out) {
    json_object o = {.out = out};
    FC_TRY(fc_str_puts(out, "{"));
    if (model) FC_TRY(text(&o, "model", model));
    FC_TRY(text(&o, "query", query));
    FC_TRY(json_key(&o, "documents"));
    FC_TRY(fc_str_puts(out, "["));
    for (size_t i = 0; i < texts->n; i++) {
        FC_TRY(fc_str_puts(out, i ? "," : ""));
        FC_TRY(fc_json_put_string(out, texts->texts[i], strlen(texts->texts[i])));
    }
    return fc_str_puts(out, "]}");
}

fc_status remote_rank_answer(const fc_json *root, double *best) {
    const fc_json *results = fc_json_get(root, "results");
    *best = (double)NAN;
    for (const fc_json *r = results ? fc_json_first(results) : NULL; r; r = fc_json_next(r)) {
        double v = (double)NAN;
        number(r, "relevance_score", &v);
        if (!isnan(v) && !(*best >= v)) *best = v;
    }
    return isnan(*best) ? FC_FAIL(FC_ERR_FORMAT, "the answer of --score-url has no relevance_score") : FC_OK;
}

void remote_error(int status, const char *body, size_t size, char *out, size_t room) {
    fc_json_doc *d = NULL;
    const char *said = NULL;
    if (fc_json_parse("answer", body ? body : "", size, &d) == FC_OK) {
        const fc_json *e = fc_json_get(fc_json_root(d), "error"), *m = fc_json_get(e, "message");
        if (!m) m = fc_json_get(fc_json_root(d), "message");
        if (m && fc_json_kind(m) == FC_JSON_STRING) (void)fc_json_string(m, &said);
    }
    if (said) snprintf(out, room, "status %d: %.160s", status, said);
    else snprintf(out, room, "status %d: %.*s", status, (int)(size < 120 ? size : 120), body ? body : "");
    fc_json_close(d);
}
