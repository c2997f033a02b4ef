/* stream - an answer as server-sent events: data: {json}, one line each.
 *
 *   live   each candidate is a choice: text goes out as it becomes certain, in candidate order of index; the chunk with
 *          finish_reason brings the score, and waits for it
 *   else   the choices are known at the end: they are sent then, a chunk a token; ranked, unless all that is drawn
 *          comes back, which is in candidate order, too
 *
 * A chunk with a finish_reason is held until the next one comes: the very last one carries the `best_of` record. Where
 * a chunk says more of its tokens than their text, a token waits for the next one: only then is it certain that it is
 * not the end token.
 */
#include "engine/app/openai/answer.h"

#include <math.h>
#include <string.h>

/* ---- chunks ---- */

static const char *chunk_object(const openai_answer *a) {
    return a->chat ? "chat.completion.chunk" : "text_completion";
}

static fc_status close_chunk(const openai_answer *a, bool usage, bool record, fc_str *out) {
    json_object o = {.out = out, .some = true};
    FC_TRY(fc_str_puts(out, "]"));
    if (usage || a->w->continuous) FC_TRY(openai_put_usage(a, out));
    FC_TRY(json_text(&o, "system_fingerprint", a->s->fingerprint, strlen(a->s->fingerprint)));
    if (record) {
        FC_TRY(fc_str_put(out, fc_str_text(&a->parts[0].beside), a->parts[0].beside.size));
        FC_TRY(openai_put_record(a, out));
    }
    return fc_str_puts(out, "}\n\n");
}

static fc_status open_chunk(const openai_answer *a, fc_str *out) {
    FC_TRY(fc_str_puts(out, "data: "));
    FC_TRY(openai_put_head(a, chunk_object(a), out));
    return fc_str_puts(out, ",\"choices\":[");
}

static fc_status flush_held(openai_answer *a, bool record, fc_str *out) {
    if (!a->held.size) return FC_OK;
    FC_TRY(fc_str_put(out, a->held.data, a->held.size));
    fc_str_clear(&a->held);
    return close_chunk(a, false, record, out);
}

static fc_status put_chunk(openai_answer *a, const openai_choice *c, size_t *offset, fc_str *out) {
    if (c->over) {
        FC_TRY(flush_held(a, false, out));
        FC_TRY(open_chunk(a, &a->held));
        return openai_put_choice(a, c, true, offset, &a->held);
    }
    FC_TRY(open_chunk(a, out));
    FC_TRY(openai_put_choice(a, c, true, offset, out));
    return close_chunk(a, false, false, out);
}

/* In front of a choice's first chunk: the role, or the prompt that is echoed. */
static fc_status begin_choice(openai_answer *a, int index, const char *echo, size_t size, const openai_tokens *prompt,
                              size_t *offset, fc_str *out) {
    openai_choice c = {.index = index, .text = echo, .size = size, .stop = -1};
    if (a->chat) {
        FC_TRY(open_chunk(a, out));
        FC_TRY(fc_str_printf(out,
                             "{\"index\":%d,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
                             "\"finish_reason\":null}",
                             index));
        return close_chunk(a, false, false, out);
    }
    if (!a->w->echo) return FC_OK;
    if (prompt) c.runs[c.n_runs++] = *prompt;
    FC_TRY(put_chunk(a, &c, offset, out));
    if (!prompt) *offset = openai_chars(c.text, c.size);
    return FC_OK;
}

/* ---- live ---- */

static bool detailed(const openai_answer *a) { return a->w->logprobs || a->w->return_ids; }

static openai_tokens live_tokens(const openai_answer *a, const openai_live *v, size_t from, size_t to) {
    return (openai_tokens){.ids = v->ids,
                           .lp = v->lps,
                           .from = from,
                           .to = to,
                           .top_ids = v->top_ids,
                           .top_lp = v->top_lps,
                           .top = a->sampling->top_logprobs,
                           .asked = a->sampling->logprob_ids,
                           .asked_lp = v->asked,
                           .n_asked = (int)a->sampling->n_logprob_ids};
}

/* Text and tokens that wait, in a chunk. */
static fc_status send_live(openai_answer *a, size_t at, openai_live *v, openai_choice *c, size_t to, fc_str *out) {
    const openai_prompt *w = &a->w->prompts[at];
    if (!v->began) FC_TRY(begin_choice(a, c->index, w->text, w->size, NULL, &v->offset, out));
    v->began = true;
    c->text = fc_str_text(&v->text);
    c->size = v->text.size;
    if (detailed(a)) c->runs[c->n_runs++] = live_tokens(a, v, v->shown, to);
    FC_TRY(put_chunk(a, c, &v->offset, out));
    v->shown = to;
    fc_str_clear(&v->text);
    return FC_OK;
}

/* values [each] of token n behind those of the tokens before it. */
static fc_status add_values(void **list, size_t *cap, size_t n, size_t each, const void *values, size_t size) {
    if (!each) return FC_OK;
    FC_TRY(fc_grow(list, cap, (n + 1) * each, size, "answer"));
    memcpy((char *)*list + n * each * size, values, each * size);
    return FC_OK;
}

static fc_status add_token(openai_live *v, const fc_event *ev) {
    const size_t top = (size_t)ev->top_n, asked = (size_t)ev->n_ids;
    FC_TRY(add_values(&v->ids, &v->cap_ids, v->n, 1, &ev->token, sizeof ev->token));
    FC_TRY(add_values(&v->lps, &v->cap_lps, v->n, 1, &ev->logprob, sizeof ev->logprob));
    FC_TRY(add_values(&v->top_ids, &v->cap_top_ids, v->n, top, ev->top_ids, sizeof *ev->top_ids));
    FC_TRY(add_values(&v->top_lps, &v->cap_top_lps, v->n, top, ev->top_logprobs, sizeof *ev->top_logprobs));
    FC_TRY(add_values(&v->asked, &v->cap_asked, v->n, asked, ev->id_logprobs, sizeof *ev->id_logprobs));
    v->n++;
    return FC_OK;
}

static fc_status live_token(openai_answer *a, size_t at, const fc_event *ev, fc_str *out) {
    openai_live *v = &a->parts[at].live[ev->candidate];
    openai_choice c = {.index = (int)at * a->w->n + ev->candidate, .stop = -1};
    a->parts[at].tokens++;
    if (detailed(a) && v->text.size) FC_TRY(send_live(a, at, v, &c, v->n, out));
    FC_TRY(add_token(v, ev));
    FC_TRY(fc_str_put(&v->text, ev->text_size ? ev->text : "", ev->text_size));
    v->came += ev->text_size;
    return !detailed(a) && v->text.size ? send_live(a, at, v, &c, v->n, out) : FC_OK;
}

/* r: of the request, once it has ended. Ids of the prompt come with a completion's end, and so wait for it. */
static fc_status finish_live(openai_answer *a, size_t at, int candidate, double score, const fc_result *r,
                             fc_str *out) {
    openai_live *v = &a->parts[at].live[candidate];
    openai_choice c = {.index = (int)at * a->w->n + candidate,
                       .over = true,
                       .finish = v->finish,
                       .stop = v->stop,
                       .stop_id = v->stop_id,
                       .score = score,
                       .candidate = candidate,
                       .prompt = r};
    if (v->told || !v->over || (!r && a->w->return_ids && !a->chat)) return FC_OK;
    v->told = true;
    return send_live(a, at, v, &c, v->n, out);
}

static fc_status live_candidate(openai_answer *a, size_t at, const fc_event *ev, fc_str *out) {
    openai_live *v = &a->parts[at].live[ev->candidate];
    v->over = true;
    v->finish = ev->finish;
    v->stop = ev->stop;
    v->stop_id = openai_is_stop_id(a, ev->end_id) ? ev->end_id : -1;
    if (ev->end_id >= 0 && v->n) v->n--; /* it was drawn, and is not shown */
    if (ev->text_size > v->came) FC_TRY(fc_str_put(&v->text, ev->text + v->came, ev->text_size - v->came));
    v->came = ev->text_size;
    return a->call->requests[at].score ? FC_OK : finish_live(a, at, ev->candidate, NAN, NULL, out);
}

/* ---- forkcast.events ---- */

static fc_status open_shown(const openai_answer *a, size_t at, const fc_event *ev, const char *type, fc_str *out) {
    FC_TRY(fc_str_puts(out, "data: "));
    FC_TRY(openai_put_head(a, "forkcast.event", out));
    return fc_str_printf(out, ",\"choices\":[],\"event\":{\"type\":\"%s\",\"prompt\":%zu,\"candidate\":%d", type, at,
                         ev->candidate);
}

/* Candidates that have ended in the same text so far; *same: the first of them. */
static int count_votes(openai_part *part, const fc_event *ev, int *same) {
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a: for display, the answer counts by ids */
    int votes = 0;
    for (size_t i = 0; i < ev->text_size; i++) hash = (hash ^ (unsigned char)ev->text[i]) * 0x100000001b3u;
    part->texts[ev->candidate] = hash | 1;
    *same = -1;
    for (size_t i = 0; i < part->n_live; i++) {
        if (part->texts[i] != (hash | 1)) continue;
        if (*same < 0) *same = (int)i;
        votes++;
    }
    return votes;
}

static fc_status show_event(openai_answer *a, size_t at, const fc_event *ev, fc_str *out) {
    json_object o = {.out = out, .some = true};
    const char *finish = fc_finish_name(ev->finish);
    if (ev->type == FC_EVENT_SCORE) {
        FC_TRY(open_shown(a, at, ev, "score", out));
        FC_TRY(json_number(&o, "score", ev->score));
    } else if (ev->type == FC_EVENT_TOKEN) {
        FC_TRY(open_shown(a, at, ev, "token", out));
        FC_TRY(json_int(&o, "token", ev->token));
        FC_TRY(json_text(&o, "text", ev->text, ev->text_size));
        FC_TRY(json_number(&o, "logprob", (double)ev->logprob));
    } else {
        int same, votes = count_votes(&a->parts[at], ev, &same);
        FC_TRY(open_shown(a, at, ev, "candidate", out));
        FC_TRY(json_text(&o, "text", ev->text, ev->text_size));
        FC_TRY(json_text(&o, "finish_reason", finish, strlen(finish)));
        FC_TRY(json_int(&o, "same_as", same));
        FC_TRY(json_int(&o, "votes", votes));
    }
    return fc_str_puts(out, "}}\n\n");
}

fc_status openai_stream_event(openai_answer *a, size_t request, const fc_event *ev, fc_str *out) {
    openai_part *part = &a->parts[request];
    if (!part->live || ev->candidate < 0 || (size_t)ev->candidate >= part->n_live) return FC_OK;
    if (!a->call->stream) return FC_OK;
    if (a->w->events) FC_TRY(show_event(a, request, ev, out));
    if (!a->w->live) return FC_OK;
    switch (ev->type) {
    case FC_EVENT_TOKEN: return live_token(a, request, ev, out);
    case FC_EVENT_CANDIDATE: return live_candidate(a, request, ev, out);
    case FC_EVENT_SCORE: return finish_live(a, request, ev->candidate, ev->score, NULL, out);
    case FC_EVENT_DONE: break;
    }
    return FC_OK;
}

/* ---- at the end ---- */

static openai_tokens slice(const openai_tokens *t, size_t from, size_t to) {
    openai_tokens s = *t;
    s.from = from;
    s.to = to;
    return s;
}

/* A chunk a token, but for those whose text is not whole yet; the last one has what is left, and the end. */
static fc_status put_tokens(openai_answer *a, openai_choice *whole, size_t *offset, fc_str *out) {
    const openai_tokens *t = &whole->runs[whole->n_runs - 1];
    const fc_tokenizer *tok = a->s->tok[FC_NOVELTY];
    fc_str text = {0};
    size_t sent = 0, shown = 0;
    openai_choice c = *whole;
    fc_status st = FC_OK;
    c.n_runs = detailed(a) ? 1 : 0;
    c.over = false;
    for (size_t k = 0; k + 1 < t->to && !st; k++) {
        size_t end;
        st = openai_token_text(tok, t->ids, k, !a->sampling->skip_special, &text);
        end = text.size < whole->size ? fc_utf8_complete(whole->text, text.size) : whole->size;
        if (st || end <= sent) continue;
        c.text = whole->text + sent;
        c.size = end - sent;
        c.runs[0] = slice(t, shown, k + 1);
        st = put_chunk(a, &c, offset, out);
        sent = end;
        shown = k + 1;
    }
    fc_str_fini(&text);
    c.over = true;
    c.text = whole->text + sent;
    c.size = whole->size - sent;
    c.runs[0] = slice(t, shown, t->to);
    return st ? st : put_chunk(a, &c, offset, out);
}

static fc_status put_late(openai_answer *a, size_t at, const fc_result *r, const fc_candidate *picked, int index,
                          fc_str *out) {
    openai_choice c;
    size_t offset = 0;
    const openai_tokens *prompt;
    fc_str echo = {0};
    fc_status st = a->w->echo ? openai_echoed(a, at, r, &echo) : FC_OK;
    openai_describe(a, r, picked, index, &c);
    prompt = a->w->logprobs && c.n_runs > 1 ? &c.runs[0] : NULL;
    if (!st) st = begin_choice(a, index, fc_str_text(&echo), echo.size, prompt, &offset, out);
    fc_str_fini(&echo);
    return st ? st : put_tokens(a, &c, &offset, out);
}

static fc_status send_late(openai_answer *a, size_t at, const fc_result *r, const fc_candidate *const *picked, size_t n,
                           fc_str *out) {
    for (size_t i = 0; i < n; i++) FC_TRY(put_late(a, at, r, picked[i], (int)at * a->w->n + (int)i, out));
    return FC_OK;
}

fc_status openai_stream_result(openai_answer *a, size_t request, const fc_result *r, fc_str *out) {
    const fc_candidate **picked;
    size_t n;
    void *mem;
    fc_status st;
    FC_TRY(fc_alloc((size_t)a->w->n, sizeof *picked, "choices", &mem));
    picked = mem;
    st = openai_pick(a, r, (double)a->call->requests[request].blend, picked, &n);
    if (!st) openai_count(a, &a->parts[request], r, picked, n);
    for (size_t i = 0; a->w->live && i < n && !st; i++) st = finish_live(a, request, (int)i, picked[i]->score, r, out);
    if (!st && !a->w->live) st = send_late(a, request, r, picked, n, out);
    fc_free(mem);
    return st;
}

fc_status openai_stream_end(openai_answer *a, fc_str *out) {
    FC_TRY(flush_held(a, true, out));
    if (a->w->include_usage) {
        FC_TRY(open_chunk(a, out));
        FC_TRY(close_chunk(a, true, false, out));
    }
    return fc_str_puts(out, "data: [DONE]\n\n");
}
