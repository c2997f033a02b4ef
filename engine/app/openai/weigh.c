/* weigh - what a body and its answer take of memory, told before they take it. Rather too much than too little: a
 * candidate is taken for as long as it may be. Sums that no memory has room for stay below OPENAI_WEIGHT_MAX.
 */
#include "engine/app/openai/answer.h"

enum {
    VALUE_BYTES = 160,  /* a value of a tree: cJSON's, ours, and the number or pointer that is made of it */
    TEXT_COPIES = 8,    /* of a body's bytes: strings, pieces of templates, ids */
    TOKEN_BYTES = 16,   /* an id with its text, in JSON; an id with its log-prob, in the engine */
    LOGPROB_BYTES = 64, /* of a token in JSON: log-prob, text, offset, bytes */
    TOP_BYTES = 64,     /* of an alternative in JSON */
    CHUNK_BYTES = 320,  /* around a token in a stream */
    RECORD_BYTES = 512, /* of a candidate, besides its tokens */
    CALL_BYTES = 128 * 1024,
    REQUEST_BYTES = 8 * 1024 /* of its answer, whatever was drawn */
};

static size_t plus(size_t a, size_t b) {
    return a > OPENAI_WEIGHT_MAX || b > OPENAI_WEIGHT_MAX - a ? OPENAI_WEIGHT_MAX : a + b;
}

static size_t times(size_t a, size_t b) {
    size_t r;
    return fc_mul(a, b, &r) && r < OPENAI_WEIGHT_MAX ? r : OPENAI_WEIGHT_MAX;
}

size_t openai_weigh_body(const char *body, size_t size) {
    size_t values = 1;
    for (size_t i = 0; i < size; i++) {
        if (body[i] == ',' || body[i] == '[' || body[i] == '{') values++;
        if (body[i] != '"') continue;
        for (i++; i < size && body[i] != '"'; i++)
            if (body[i] == '\\') i++;
    }
    return plus(CALL_BYTES, plus(times(values, VALUE_BYTES), times(size, TEXT_COPIES)));
}

static size_t drawn(const fc_request *r) { return (size_t)(r->n_max > r->n ? r->n_max : r->n); }
int64_t openai_candidates(const fc_request *r) { return (int64_t)(r->n_given ? r->n_given : drawn(r)); }

/* A token of a candidate that is returned: as a choice, and in the record. */
static size_t returned_token(const openai_call *c, const fc_sampling *s) {
    const openai_show *w = c->show;
    const size_t more = times((size_t)s->top_logprobs + s->n_logprob_ids, TOP_BYTES);
    size_t n = 2 * TOKEN_BYTES;
    if (w->return_ids) n += TOKEN_BYTES;
    if (w->logprobs) n += LOGPROB_BYTES + more;
    if (more) n += LOGPROB_BYTES + more;
    return c->stream && !w->live ? n + CHUNK_BYTES : n;
}

static size_t prompt_bytes(const openai_show *w, const fc_request *r, size_t at, size_t choices) {
    const openai_prompt *p = &w->prompts[at];
    const size_t shown = w->echo || w->prompt_logprobs ? choices + 1 : 2;
    const size_t each = r->prompt_logprobs ? LOGPROB_BYTES + times((size_t)r->prompt_top_logprobs, TOP_BYTES) : 2;
    return times(times(p->size + (r->prompt.ids ? r->prompt.n_ids : 0), each), shown);
}

static size_t drawn_weight(const openai_call *c, size_t at) {
    const openai_show *w = c->show;
    const fc_request *r = &c->requests[at];
    const fc_sampling *s = &r->sampling;
    const size_t n = drawn(r), tokens = s->max_tokens > 0 ? (size_t)s->max_tokens : 1;
    const size_t returned = w->all ? n : (size_t)w->n;
    const size_t inside = plus(TOKEN_BYTES, times((size_t)s->top_logprobs + s->n_logprob_ids, 2 * sizeof(float)));
    const size_t kept = plus(times(tokens, returned_token(c, s)), RECORD_BYTES);
    return plus(plus(times(times(n, tokens), inside), times(returned, kept)), prompt_bytes(w, r, at, (size_t)w->n));
}

size_t openai_weigh_answer(const openai_call *c) {
    const openai_show *w = c->show;
    size_t sum = plus(CALL_BYTES, c->held->kept.used);
    sum = plus(sum, times(c->n_requests, REQUEST_BYTES));
    for (size_t i = 0; w->prompts && i < c->n_requests; i++) sum = plus(sum, drawn_weight(c, i));
    for (size_t i = 0; i < w->n_docs; i++) sum = plus(sum, RECORD_BYTES + times(w->docs[i].size, w->with_text ? 2 : 1));
    return sum;
}

size_t openai_answer_size(const openai_answer *a) {
    size_t sum = CALL_BYTES + a->call->held->kept.used + a->held.cap;
    for (size_t i = 0; i < a->call->n_requests; i++) {
        const openai_part *p = &a->parts[i];
        sum += p->choices.cap + p->record.cap + p->beside.cap;
        for (size_t k = 0; k < p->n_live; k++)
            sum += p->live[k].text.cap + (p->live[k].cap_ids + p->live[k].cap_lps + p->live[k].cap_top_ids +
                                          p->live[k].cap_top_lps + p->live[k].cap_asked) *
                                             sizeof(int32_t);
    }
    return sum;
}
