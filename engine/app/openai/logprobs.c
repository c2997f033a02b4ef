/* logprobs - log-probs of tokens in the forms of both endpoints.
 *
 * The end token is in neither form, as it is in no text: a list covers the ids of token_ids. What is not known is null;
 * minus infinity is -9999.0 (engine/base/json.h).
 */
#include "engine/app/openai/answer.h"

#include <math.h>
#include <string.h>

static const fc_tokenizer *tok_of(const openai_answer *a) { return a->s->tok[FC_NOVELTY]; }

/* The token as a client sees it; first: of its text. */
static fc_status token_text(const openai_answer *a, int32_t id, bool first, fc_str *out) {
    const int32_t twice[2] = {id, id};
    fc_str_clear(out);
    if (a->w->ids_as_tokens) return fc_str_printf(out, "token_id:%d", id);
    return openai_token_text(tok_of(a), twice, first ? 0 : 1, true, out);
}

static fc_status put_lp(fc_str *out, float lp) { return fc_json_put_double(out, (double)lp); }

/* ---- /v1/completions ---- */

/* Members of one object must differ: what is written as an earlier one is left out. Bytes that are no text are all
 * written as U+FFFD. */
typedef struct {
    fc_str names; /* as written, each with a NUL behind */
    size_t n;
} seen;

static bool is_seen(const seen *s, size_t name) {
    for (size_t at = 0; at < name; at += strlen(s->names.data + at) + 1)
        if (strcmp(s->names.data + at, s->names.data + name) == 0) return true;
    return false;
}

static fc_status put_member(seen *s, const fc_str *name, float lp, fc_str *out) {
    size_t at = s->names.size;
    FC_TRY(fc_json_put_string(&s->names, fc_str_text(name), name->size));
    if (is_seen(s, at)) {
        s->names.size = at;
        return FC_OK;
    }
    if (s->n++) FC_TRY(fc_str_puts(out, ","));
    FC_TRY(fc_str_puts(out, s->names.data + at));
    FC_TRY(fc_str_put(&s->names, "", 1));
    FC_TRY(fc_str_puts(out, ":"));
    return put_lp(out, lp);
}

/* {"token":lp, ...}: the token itself, then the alternatives, then those that were asked for. */
static fc_status put_tops(const openai_answer *a, const openai_tokens *t, size_t at, fc_str *text, seen *s,
                          fc_str *out) {
    size_t top = (size_t)t->top, asked = (size_t)t->n_asked;
    s->n = 0;
    fc_str_clear(&s->names);
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(token_text(a, t->ids[at], at == 0, text));
    FC_TRY(put_member(s, text, t->lp[at], out));
    for (size_t k = 0; k < top; k++) {
        if (t->top_ids[at * top + k] < 0) continue;
        FC_TRY(token_text(a, t->top_ids[at * top + k], at == 0, text));
        FC_TRY(put_member(s, text, t->top_lp[at * top + k], out));
    }
    for (size_t k = 0; k < asked; k++) {
        FC_TRY(token_text(a, t->asked[k], at == 0, text));
        FC_TRY(put_member(s, text, t->asked_lp[at * asked + k], out));
    }
    return fc_str_puts(out, "}");
}

/* Characters that the token adds to the text. */
static fc_status width_of(const openai_answer *a, const openai_tokens *t, size_t at, fc_str *text, size_t *out) {
    fc_str_clear(text);
    FC_TRY(openai_token_text(tok_of(a), t->ids, at, !a->sampling->skip_special, text));
    *out = openai_chars(fc_str_text(text), text->size);
    return FC_OK;
}

enum { OFFSETS, LOGPROBS, TOKENS, TOPS, LISTS };

static fc_status put_entry(const openai_answer *a, const openai_tokens *t, size_t at, int list, size_t *offset,
                           fc_str *text, seen *s, fc_str *out) {
    size_t width;
    switch (list) {
    case OFFSETS:
        FC_TRY(fc_str_printf(out, "%zu", *offset));
        FC_TRY(width_of(a, t, at, text, &width));
        *offset += width;
        return FC_OK;
    case LOGPROBS: return put_lp(out, t->lp[at]);
    case TOKENS:
        FC_TRY(token_text(a, t->ids[at], at == 0, text));
        return fc_json_put_string(out, fc_str_text(text), text->size);
    default: return isnan(t->lp[at]) ? fc_str_puts(out, "null") : put_tops(a, t, at, text, s, out);
    }
}

static fc_status put_lists(const openai_answer *a, const openai_choice *c, size_t *offset, fc_str *text, seen *s,
                           fc_str *out) {
    static const char *const names[LISTS] = {"{\"text_offset\":[", "],\"token_logprobs\":[", "],\"tokens\":[",
                                             "],\"top_logprobs\":["};
    for (int list = 0; list < LISTS; list++) {
        bool some = false;
        FC_TRY(fc_str_puts(out, names[list]));
        for (size_t r = 0; r < c->n_runs; r++)
            for (size_t at = c->runs[r].from; at < c->runs[r].to; at++) {
                if (some) FC_TRY(fc_str_puts(out, ","));
                some = true;
                FC_TRY(put_entry(a, &c->runs[r], at, list, offset, text, s, out));
            }
    }
    return fc_str_puts(out, "]}");
}

/* ---- /v1/chat/completions ---- */

static fc_status put_token(const openai_answer *a, int32_t id, float lp, bool first, fc_str *text, fc_str *out) {
    FC_TRY(token_text(a, id, first, text));
    FC_TRY(fc_str_puts(out, "{\"token\":"));
    FC_TRY(fc_json_put_string(out, fc_str_text(text), text->size));
    FC_TRY(fc_str_puts(out, ",\"logprob\":"));
    FC_TRY(put_lp(out, lp));
    FC_TRY(fc_str_puts(out, ",\"bytes\":["));
    for (size_t i = 0; i < text->size; i++)
        FC_TRY(fc_str_printf(out, "%s%u", i ? "," : "", (unsigned)(unsigned char)text->data[i]));
    return fc_str_puts(out, "]");
}

static fc_status put_alternatives(const openai_answer *a, const openai_tokens *t, size_t at, fc_str *text,
                                  fc_str *out) {
    size_t top = (size_t)t->top, asked = (size_t)t->n_asked;
    FC_TRY(fc_str_puts(out, ",\"top_logprobs\":["));
    for (size_t k = 0; k < top + asked; k++) {
        int32_t id = k < top ? t->top_ids[at * top + k] : t->asked[k - top];
        float lp = k < top ? t->top_lp[at * top + k] : t->asked_lp[at * asked + k - top];
        if (k) FC_TRY(fc_str_puts(out, ","));
        FC_TRY(put_token(a, id, lp, at == 0, text, out));
        FC_TRY(fc_str_puts(out, "}"));
    }
    return fc_str_puts(out, "]}");
}

static fc_status put_content(const openai_answer *a, const openai_choice *c, fc_str *text, fc_str *out) {
    bool some = false;
    FC_TRY(fc_str_puts(out, "{\"content\":["));
    for (size_t r = 0; r < c->n_runs; r++)
        for (size_t at = c->runs[r].from; at < c->runs[r].to; at++) {
            const openai_tokens *t = &c->runs[r];
            if (some) FC_TRY(fc_str_puts(out, ","));
            some = true;
            FC_TRY(put_token(a, t->ids[at], t->lp[at], at == 0, text, out));
            FC_TRY(put_alternatives(a, t, at, text, out));
        }
    return fc_str_puts(out, "]}");
}

fc_status openai_put_logprobs(const openai_answer *a, const openai_choice *c, size_t *offset, fc_str *out) {
    fc_str text = {0};
    seen s = {{0}, 0};
    fc_status st = a->chat ? put_content(a, c, &text, out) : put_lists(a, c, offset, &text, &s, out);
    fc_str_fini(&s.names);
    fc_str_fini(&text);
    return st;
}

/* ---- prompt_logprobs, as vLLM has them ---- */

static fc_status put_ranked(const openai_answer *a, int32_t id, float lp, int rank, fc_str *text, fc_str *out) {
    FC_TRY(token_text(a, id, false, text));
    FC_TRY(fc_str_printf(out, "\"%d\":{\"logprob\":", id));
    FC_TRY(put_lp(out, lp));
    if (rank) FC_TRY(fc_str_printf(out, ",\"rank\":%d,\"decoded_token\":", rank));
    else FC_TRY(fc_str_puts(out, ",\"rank\":null,\"decoded_token\":")); /* behind the alternatives: not counted */
    FC_TRY(fc_json_put_string(out, fc_str_text(text), text->size));
    return fc_str_puts(out, "}");
}

static fc_status put_prompt_one(const openai_answer *a, const fc_result *r, size_t at, fc_str *text, fc_str *out) {
    size_t top = (size_t)r->prompt_top_n;
    const int32_t *ids = r->prompt_top_ids + at * top;
    int rank = 0;
    if (isnan(r->prompt_logprobs[at])) return fc_str_puts(out, "null");
    for (size_t k = 0; k < top; k++)
        if (ids[k] == r->prompt_ids[at]) rank = (int)k + 1;
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(put_ranked(a, r->prompt_ids[at], r->prompt_logprobs[at], rank, text, out));
    for (size_t k = 0; k < top; k++) {
        if (ids[k] == r->prompt_ids[at]) continue;
        FC_TRY(fc_str_puts(out, ","));
        FC_TRY(put_ranked(a, ids[k], r->prompt_top_logprobs[at * top + k], (int)k + 1, text, out));
    }
    return fc_str_puts(out, "}");
}

fc_status openai_put_prompt_logprobs(const openai_answer *a, const fc_result *r, fc_str *out) {
    fc_str text = {0};
    fc_status st = fc_str_puts(out, "[");
    for (size_t at = 0; at < r->prompt_tokens && !st; at++) {
        if (at) st = fc_str_puts(out, ",");
        if (!st) st = put_prompt_one(a, r, at, &text, out);
    }
    fc_str_fini(&text);
    return st ? st : fc_str_puts(out, "]");
}
