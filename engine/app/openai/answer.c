/* answer - events to an answer: whole, once all requests of the call have ended, or as a stream. */
#include "engine/app/openai/answer.h"

#include <stdio.h>
#include <string.h>

/* ---- pieces of both kinds ---- */

fc_status openai_put_head(const openai_answer *a, const char *object, fc_str *out) {
    json_object o = {.out = out};
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(json_text(&o, "id", a->call->id, strlen(a->call->id)));
    FC_TRY(json_text(&o, "object", object, strlen(object)));
    FC_TRY(json_int(&o, "created", a->w->created));
    return json_text(&o, "model", a->call->model, strlen(a->call->model));
}

fc_status openai_put_usage(const openai_answer *a, fc_str *out) {
    int64_t prompt = 0, drawn = 0, cached = 0;
    for (size_t i = 0; i < a->call->n_requests; i++) {
        prompt += a->parts[i].prompt_tokens;
        drawn += a->parts[i].tokens;
        cached += a->parts[i].cached;
    }
    return fc_str_printf(out,
                         ",\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld,"
                         "\"prompt_tokens_details\":{\"cached_tokens\":%lld}}",
                         (long long)prompt, (long long)drawn, (long long)(prompt + drawn), (long long)cached);
}

fc_status openai_put_record(const openai_answer *a, fc_str *out) {
    size_t n = a->call->n_requests;
    FC_TRY(fc_str_puts(out, n > 1 ? ",\"best_of\":[" : ",\"best_of\":"));
    for (size_t i = 0; i < n; i++) {
        if (i) FC_TRY(fc_str_puts(out, ","));
        FC_TRY(fc_str_put(out, fc_str_text(&a->parts[i].record), a->parts[i].record.size));
    }
    return n > 1 ? fc_str_puts(out, "]") : FC_OK;
}

/* ---- a request that has ended ---- */

static fc_status record(const openai_answer *a, openai_part *part, const openai_prompt *p, const fc_result *r) {
    FC_TRY(print_json(r, &(print_options){.prompt = p->text, .prompt_size = p->size, .all = a->w->all}, &part->record));
    while (part->record.size && part->record.data[part->record.size - 1] == '\n') part->record.size--;
    return FC_OK;
}

void openai_count(const openai_answer *a, openai_part *part, const fc_result *r, const fc_candidate *const *picked,
                  size_t n) {
    part->prompt_tokens = (int64_t)r->prompt_tokens;
    part->cached = (int64_t)r->prompt_cached;
    part->tokens = 0;
    for (int i = 0; a->s->usage_all && i < r->n_all; i++) part->tokens += (int64_t)r->all[i].n_logprobs;
    for (size_t i = 0; !a->s->usage_all && i < n; i++) part->tokens += (int64_t)picked[i]->n_logprobs;
}

fc_status openai_echoed(const openai_answer *a, size_t at, const fc_result *r, fc_str *text) {
    const fc_tokenizer *t = a->s->tok[FC_NOVELTY];
    const openai_prompt *p = &a->w->prompts[at];
    char *fed;
    size_t size;
    fc_status st;
    fc_str_clear(text);
    if (!a->call->requests[at].truncate_prompt_tokens) return fc_str_put(text, p->text, p->size);
    FC_TRY(fc_tokenizer_decode(t, r->prompt_ids, r->prompt_tokens, false, &fed, &size)); /* what was left of it */
    st = fc_str_put(text, fed, size);
    fc_memory_free(fed);
    return st;
}

static fc_status put_choices(openai_answer *a, size_t at, const fc_result *r, const fc_candidate *const *picked,
                             size_t n, fc_str *text) {
    openai_part *part = &a->parts[at];
    for (size_t i = 0; i < n; i++) {
        openai_choice c;
        size_t offset = 0;
        openai_describe(a, r, picked[i], (int)at * a->w->n + (int)i, &c);
        if (a->w->echo) {
            FC_TRY(openai_echoed(a, at, r, text));
            FC_TRY(fc_str_put(text, c.text, c.size));
            c.text = fc_str_text(text);
            c.size = text->size;
        }
        if (part->choices.size) FC_TRY(fc_str_puts(&part->choices, ","));
        FC_TRY(openai_put_choice(a, &c, false, &offset, &part->choices));
    }
    return FC_OK;
}

static fc_status put_beside(const openai_answer *a, openai_part *part, const fc_result *r) {
    json_object o = {.out = &part->beside, .some = true};
    if (!a->chat) return FC_OK;
    if (a->w->return_ids) FC_TRY(json_ids(&o, "prompt_token_ids", r->prompt_ids, r->prompt_tokens));
    if (!a->w->prompt_logprobs || !r->prompt_logprobs) return FC_OK;
    FC_TRY(json_key(&o, "prompt_logprobs"));
    return openai_put_prompt_logprobs(a, r, &part->beside);
}

static fc_status ended(openai_answer *a, size_t at, const fc_result *r, fc_str *out) {
    openai_part *part = &a->parts[at];
    const fc_candidate **picked;
    fc_str text = {0};
    size_t n;
    void *mem;
    fc_status st;
    part->done = true;
    a->n_done++;
    if (a->call->route == OPENAI_LOOKUP) return openai_lookup_result(a, r, out);
    if (a->call->route >= OPENAI_SCORE) return openai_ranked_result(a, at, r);
    FC_TRY(record(a, part, &a->w->prompts[at], r));
    FC_TRY(put_beside(a, part, r));
    if (a->call->stream) return openai_stream_result(a, at, r, out);
    FC_TRY(fc_alloc((size_t)a->w->n, sizeof *picked, "choices", &mem));
    picked = mem;
    st = openai_pick(a, r, (double)a->call->requests[at].blend, picked, &n);
    if (!st) openai_count(a, part, r, picked, n);
    if (!st) st = put_choices(a, at, r, picked, n, &text);
    fc_str_fini(&text);
    fc_free(mem);
    return st;
}

/* ---- the whole answer ---- */

static fc_status whole(openai_answer *a, fc_str *out) {
    bool some = false;
    json_object o = {.out = out, .some = true};
    FC_TRY(openai_put_head(a, a->chat ? "chat.completion" : "text_completion", out));
    FC_TRY(fc_str_puts(out, ",\"choices\":["));
    for (size_t i = 0; i < a->call->n_requests; i++) {
        fc_str *c = &a->parts[i].choices;
        if (some && c->size) FC_TRY(fc_str_puts(out, ","));
        some = some || c->size;
        FC_TRY(fc_str_put(out, fc_str_text(c), c->size));
        fc_str_fini(c); /* it may be large */
    }
    FC_TRY(fc_str_puts(out, "]"));
    FC_TRY(openai_put_usage(a, out));
    FC_TRY(json_text(&o, "system_fingerprint", a->s->fingerprint, strlen(a->s->fingerprint)));
    FC_TRY(fc_str_put(out, fc_str_text(&a->parts[0].beside), a->parts[0].beside.size));
    FC_TRY(openai_put_record(a, out));
    return fc_str_puts(out, "}");
}

static fc_status take(openai_answer *a, size_t request, const fc_event *ev, fc_str *out, bool *over) {
    if (ev->type != FC_EVENT_DONE) return openai_stream_event(a, request, ev, out);
    FC_TRY(ended(a, request, ev->result, out));
    if (a->n_done < a->call->n_requests) return FC_OK;
    *over = true;
    if (a->call->route == OPENAI_LOOKUP) return FC_OK;
    if (a->call->route >= OPENAI_SCORE) return openai_ranked_end(a, out);
    return a->call->stream ? openai_stream_end(a, out) : whole(a, out);
}

fc_status openai_answer_event(openai_answer *a, size_t request, const fc_event *ev, fc_str *out, bool *over,
                              openai_error *err) {
    fc_status st;
    bool whole_now = false;
    FC_ASSERT(request < a->call->n_requests && !a->parts[request].done);
    if (ev->type == FC_EVENT_DONE && ev->status) st = FC_FAIL(ev->status, "%s", ev->error);
    else st = take(a, request, ev, out, &whole_now);
    *over = whole_now;
    if (st) openai_error_of(st, fc_last_error(), NULL, false, err);
    if (st) openai_error_field(a->call, err);
    return st;
}

/* ---- open and close ---- */

static fc_status open_part(openai_answer *a, size_t i) {
    const fc_request *r = &a->call->requests[i];
    openai_part *part = &a->parts[i];
    void *mem;
    if (a->w->prompts) part->prompt_tokens = (int64_t)a->w->prompts[i].tokens;
    if (!r->events) return FC_OK;
    part->n_live = (size_t)(r->n_max > r->n ? r->n_max : r->n);
    FC_TRY(fc_alloc(part->n_live, sizeof *part->live, "answer", &mem));
    part->live = mem;
    FC_TRY(fc_alloc(part->n_live, sizeof *part->texts, "answer", &mem));
    part->texts = mem;
    return FC_OK;
}

fc_status openai_answer_open(const openai_server *s, openai_call *c, openai_answer **out) {
    openai_answer *a;
    fc_status st = FC_OK;
    void *mem;
    FC_TRY(fc_alloc(1, sizeof *a, "answer", &mem));
    a = mem;
    FC_TRY_GOTO(st, fc_alloc(c->n_requests, sizeof *a->parts, "answer", &mem), fail);
    a->parts = mem;
    a->s = s;
    a->w = c->show;
    a->sampling = &c->requests[0].sampling;
    a->chat = c->route == OPENAI_CHAT;
    a->call = c;
    for (size_t i = 0; i < c->n_requests; i++) FC_TRY_GOTO(st, open_part(a, i), fail);
    *out = a;
    return FC_OK;
fail:
    a->call = NULL; /* it stays the caller's */
    openai_answer_close(a);
    return st;
}

void openai_answer_close(openai_answer *a) {
    size_t n = a && a->call ? a->call->n_requests : 0;
    if (!a) return;
    for (size_t i = 0; i < n; i++) {
        openai_part *part = &a->parts[i];
        for (size_t k = 0; part->live && k < part->n_live; k++) {
            fc_free(part->live[k].ids);
            fc_free(part->live[k].lps);
            fc_free(part->live[k].top_ids);
            fc_free(part->live[k].top_lps);
            fc_free(part->live[k].asked);
            fc_str_fini(&part->live[k].text);
        }
        fc_str_fini(&part->choices);
        fc_str_fini(&part->record);
        fc_str_fini(&part->beside);
        fc_free(part->live);
        fc_free(part->texts);
        fc_free(part->scores);
    }
    fc_str_fini(&a->held);
    fc_free(a->parts);
    openai_call_close(a->call);
    fc_free(a);
}

const openai_call *openai_answer_call(const openai_answer *a) { return a->call; }
