/* ranked - scores in the forms of vLLM, SGLang, Jina, Cohere and TEI. */
#include "engine/app/openai/answer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

fc_status openai_ranked_result(openai_answer *a, size_t request, const fc_result *r) {
    openai_part *part = &a->parts[request];
    bool drawn = a->w->drawn;
    void *mem;
    const fc_request *q = &a->call->requests[request];
    if (!drawn && (size_t)r->n_all < q->n_given)
        return FC_FAIL(FC_ERR_TIMEOUT, "deadline_ms = %d: %d of %zu texts were scored by then", q->deadline_ms,
                       r->n_all, q->n_given);
    part->n_scores = drawn ? (size_t)a->w->n_labels : (size_t)r->n_all;
    FC_TRY(fc_alloc(part->n_scores, sizeof *part->scores, "scores", &mem));
    part->scores = mem;
    part->prompt_tokens = (int64_t)r->prompt_tokens;
    for (int i = 0; !drawn && i < r->n_all; i++) {
        part->scores[i] = r->all[i].score;
        part->prompt_tokens += (int64_t)r->all[i].n_tokens;
    }
    for (size_t l = 0; drawn && l < part->n_scores; l++) part->scores[l] = exp((double)r->all[0].id_logprobs[l]);
    return FC_OK;
}

/* Any score as a number between 0 and 1, in the same order. */
static double activated(fc_score_mode mode, double s) {
    switch (mode) {
    case FC_SCORE_LOGLIK_MEAN:
    case FC_SCORE_LOGLIK_SUM: return exp(s);
    case FC_SCORE_REWARD: return 1 / (1 + exp(-s));
    case FC_SCORE_JUDGE: break;
    }
    return s;
}

static double score_of(const openai_answer *a, size_t doc) {
    const openai_scored *d = &a->w->docs[doc];
    double s = a->parts[d->request].scores[d->place];
    return a->w->activation ? activated(a->call->requests[d->request].mode, s) : s;
}

/* Each prompt counts once, however many documents are behind it. */
static fc_status put_usage(const openai_answer *a, fc_str *out) {
    long long n = 0;
    size_t each = a->w->as == OPENAI_AS_LABELS && !a->w->drawn ? (size_t)a->w->n_labels : 1; /* the same text again */
    for (size_t i = 0; i < a->call->n_requests; i += each) n += (long long)a->parts[i].prompt_tokens;
    return fc_str_printf(out, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}", n, n);
}

/* ---- in the order of the request ---- */

static fc_status put_scores(const openai_answer *a, fc_str *out) {
    FC_TRY(openai_put_head(a, "list", out));
    FC_TRY(fc_str_puts(out, ",\"data\":["));
    for (size_t i = 0; i < a->w->n_docs; i++) {
        FC_TRY(fc_str_printf(out, "%s{\"index\":%zu,\"object\":\"score\",\"score\":", i ? "," : "", i));
        FC_TRY(fc_json_put_double(out, score_of(a, i)));
        FC_TRY(fc_str_puts(out, "}"));
    }
    FC_TRY(fc_str_puts(out, "]"));
    FC_TRY(put_usage(a, out));
    return fc_str_puts(out, "}");
}

/* Label l of a document: drawn, or the score of the request that it leads. */
static double label_of(const openai_answer *a, const openai_scored *d, size_t l) {
    const double *drawn = a->parts[d->request].scores;
    double sum = 0;
    if (!a->w->drawn) return a->parts[d->request + l].scores[d->place];
    for (int k = 0; k < a->w->n_labels; k++) sum += drawn[k];
    return !a->w->activation ? drawn[l] : sum > 0 ? drawn[l] / sum : NAN;
}

static fc_status put_labels(const openai_answer *a, fc_str *out) {
    json_object o = {.out = out, .some = true};
    FC_TRY(fc_str_puts(out, "{\"scores\":["));
    for (size_t i = 0; i < a->w->n_docs; i++) {
        FC_TRY(fc_str_puts(out, i ? ",[" : "["));
        for (int l = 0; l < a->w->n_labels; l++) {
            if (l) FC_TRY(fc_str_puts(out, ","));
            FC_TRY(fc_json_put_double(out, label_of(a, &a->w->docs[i], (size_t)l)));
        }
        FC_TRY(fc_str_puts(out, "]"));
    }
    FC_TRY(fc_str_puts(out, "]"));
    FC_TRY(json_text(&o, "model", a->call->model, strlen(a->call->model)));
    FC_TRY(put_usage(a, out));
    return fc_str_puts(out, ",\"object\":\"scoring\"}");
}

/* ---- best first ---- */

typedef struct {
    double score;
    size_t doc;
} placed;

static int in_order(const void *a, const void *b) {
    const placed *x = a, *y = b;
    double p = isnan(x->score) ? -INFINITY : x->score, q = isnan(y->score) ? -INFINITY : y->score;
    if (p != q) return p > q ? -1 : 1;
    return x->doc < y->doc ? -1 : x->doc > y->doc;
}

static fc_status put_result(const openai_answer *a, const placed *p, fc_str *out) {
    const openai_scored *d = &a->w->docs[p->doc];
    bool tei = a->w->as == OPENAI_AS_TEI;
    json_object o = {.out = out};
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(json_int(&o, "index", (int64_t)p->doc));
    if (tei && a->w->with_text) FC_TRY(json_text(&o, "text", d->text, d->size));
    if (!tei && a->w->with_text) {
        FC_TRY(fc_str_puts(out, ",\"document\":{\"text\":"));
        FC_TRY(fc_json_put_string(out, d->text, d->size));
        FC_TRY(fc_str_puts(out, "}"));
    }
    FC_TRY(json_number(&o, tei ? "score" : "relevance_score", p->score));
    return fc_str_puts(out, "}");
}

static fc_status put_results(const openai_answer *a, fc_str *out) {
    placed *list;
    void *mem;
    fc_status st;
    FC_TRY(fc_alloc(a->w->n_docs, sizeof *list, "results", &mem));
    list = mem;
    for (size_t i = 0; i < a->w->n_docs; i++) list[i] = (placed){score_of(a, i), i};
    qsort(list, a->w->n_docs, sizeof *list, in_order);
    st = fc_str_puts(out, "[");
    for (int i = 0; i < a->w->top && !st; i++) {
        if (i) st = fc_str_puts(out, ",");
        if (!st) st = put_result(a, &list[i], out);
    }
    fc_free(mem);
    return st ? st : fc_str_puts(out, "]");
}

static fc_status put_ranked(const openai_answer *a, fc_str *out) {
    json_object o = {.out = out};
    FC_TRY(fc_str_puts(out, "{"));
    FC_TRY(json_text(&o, "id", a->call->id, strlen(a->call->id)));
    FC_TRY(json_text(&o, "model", a->call->model, strlen(a->call->model)));
    FC_TRY(put_usage(a, out));
    FC_TRY(fc_str_puts(out, ",\"results\":"));
    FC_TRY(put_results(a, out));
    if (a->w->as == OPENAI_AS_COHERE)
        FC_TRY(
            fc_str_puts(out, ",\"meta\":{\"api_version\":{\"version\":\"2\"},\"billed_units\":{\"search_units\":1}}"));
    return fc_str_puts(out, "}");
}

fc_status openai_ranked_end(openai_answer *a, fc_str *out) {
    switch (a->w->as) {
    case OPENAI_AS_SCORES: return put_scores(a, out);
    case OPENAI_AS_LABELS: return put_labels(a, out);
    case OPENAI_AS_TEI: return put_results(a, out);
    case OPENAI_AS_RERANK:
    case OPENAI_AS_COHERE: break;
    }
    return put_ranked(a, out);
}
