/* score - bodies of the scoring endpoints to requests of given candidates: the prompt is computed once.
 *
 *   vLLM's /score     queries + documents (or items), data_1 + data_2, text_1 + text_2: one with one, one with many, or
 *                     pairs. A query stands where the recipe's alignment template says {prompt}
 *   rerank            query and documents; texts: TEI's form
 *   SGLang's /score   query, items, label_token_ids: probabilities of label tokens right behind query and item, without
 *                     any template. Among the labels (apply_softmax) by mode judge; of the whole vocabulary by the
 *                     log-probs of a drawn token, where one model is both
 */
#include "engine/app/openai/call.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { REQUESTS = 128, DOCS = FC_N_MAX };

/* ---- texts ---- */

/* "text", {"text":..}, {"type":"text","text":..} */
static fc_status read_text(const fc_json *n, fc_given *out) {
    const fc_json *text = fc_json_get(n, "text"), *type = text ? fc_json_get(n, "type") : NULL;
    const char *kind = "text";
    if (type && fc_json_kind(type) != FC_JSON_NULL) FC_TRY(fc_json_string(type, &kind));
    if (strcmp(kind, "text") != 0)
        return fc_json_fail(n, FC_ERR_ARG, "a part of type text is expected; no other kind is offered");
    FC_TRY(fc_json_string(text ? text : n, &out->text));
    out->size = strlen(out->text);
    return out->size ? FC_OK : fc_json_fail(n, FC_ERR_ARG, "it is empty");
}

static fc_status read_texts(openai_parse *p, const fc_json *n, fc_given **out, size_t *count) {
    bool list = fc_json_kind(n) == FC_JSON_ARRAY;
    size_t at = 0, most = list ? fc_json_count(n) : 1;
    if (!most || most > DOCS) return openai_refuse(p, p->param, "%zu texts; 1 to %d are possible", most, DOCS);
    FC_TRY(openai_alloc(p, most, sizeof **out, out));
    for (const fc_json *k = list ? fc_json_first(n) : n; k; k = list ? fc_json_next(k) : NULL)
        FC_TRY(read_text(k, &(*out)[at++]));
    *count = at;
    return FC_OK;
}

/* ---- what all have in common ---- */

static fc_status read_common(openai_parse *p, const char *kind, int form) {
    static const char *const options[] = {"truncate_prompt_tokens", "priority"};
    const openai_model *m;
    fc_request *r = p->base;
    const char *text, *side = "left";
    int64_t n = -1, best_of = -1;
    FC_TRY(openai_pick_model(p, &m));
    FC_TRY(openai_score_fields(p, form));
    p->call->model = m->id;
    if (m->alignment_adapter) r->alignment_adapter = m->alignment_adapter;
    if (p->c->priority) r->priority = *p->c->priority;
    FC_TRY(openai_get_text(p, "user", &text));
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const fc_json *v = openai_get(p, p->root, options[i]);
        if (v) FC_TRY(openai_set_option(p, options[i], v));
    }
    FC_TRY(openai_get_text(p, "truncation_side", &side));
    if (strcmp(side, "left") != 0) return openai_refuse(p, "truncation_side", "queries are cut at their left alone");
    FC_TRY(openai_read_specials(p));
    FC_TRY(openai_read_salt(p));
    FC_TRY(openai_read_id(p, kind));
    FC_TRY(openai_more_read(p, &n, &best_of));
    if (n >= 0 || best_of >= 0) return openai_refuse(p, "forkcast", "n and keep: nothing is drawn here");
    p->param = NULL;
    r->n = 1; /* what a recipe says of drawing and keeping says nothing here */
    r->keep = r->n_max = 0;
    r->token_budget = 0;
    r->stop_when = NULL;
    r->blend = 0;
    r->diversity = FC_DIVERSITY_OFF;
    r->constraint = FC_CONSTRAINT_OFF;
    r->draw = FC_DRAW_IID;
    r->full_logprob = r->prompt_logprobs = false;
    r->prompt_top_logprobs = 0;
    p->taxonomy = NULL;
    return FC_OK;
}

static fc_status need_alignment(openai_parse *p) {
    if (p->s->info.has_alignment) return FC_OK;
    return FC_FAIL(FC_ERR_UNSUPPORTED, "the server has no alignment model; nothing can be scored");
}

static fc_status room(openai_parse *p, size_t requests, size_t docs) {
    p->param = NULL;
    if (requests > REQUESTS)
        return FC_FAIL(FC_ERR_ARG, "%zu different prompts; at most %d in one request", requests, REQUESTS);
    FC_TRY(openai_keep(p, requests, sizeof *p->call->requests, &p->call->requests));
    FC_TRY(openai_keep(p, docs, sizeof *p->show->docs, &p->show->docs));
    p->call->n_requests = requests;
    p->show->n_docs = docs;
    return FC_OK;
}

/* truncate_prompt_tokens -1: what the context leaves beside the longest text and the suffix. The engine, which knows
 * the texts' ids only later, takes a number. */
static fc_status settle_truncation(openai_parse *p, fc_request *r) {
    const fc_tokenizer *t = p->s->tok[FC_ALIGNMENT];
    size_t longest = 0, suffix = 0;
    int64_t room;
    int32_t *ids = NULL;
    if (r->truncate_prompt_tokens != -1) return FC_OK;
    for (size_t i = 0; i < r->n_given; i++) {
        size_t n = r->given[i].n_ids;
        if (!r->given[i].ids)
            FC_TRY(fc_tokenizer_encode(t, r->given[i].text, r->given[i].size, false, false, &ids, &n));
        fc_memory_free(ids);
        ids = NULL;
        if (n > longest) longest = n;
    }
    if (r->suffix.n_ids || r->suffix.n_pieces) FC_TRY(openai_prompt_ids(t, &r->suffix, false, &ids, &suffix));
    fc_memory_free(ids);
    room = (int64_t)p->s->info.alignment.ctx - (int64_t)(longest + suffix);
    r->truncate_prompt_tokens = room > 1 ? (int)room : 1; /* the engine says with its own numbers what does not fit */
    return FC_OK;
}

/* ---- a query and its documents, by the recipe ---- */

static fc_status score_group(openai_parse *p, size_t request, const fc_given *query, const fc_given *docs, size_t n,
                             size_t first) {
    fc_request *r = &p->call->requests[request];
    p->param = p->call->prompt_field;
    FC_TRY(openai_fill(p, query->text, r));
    if (!r->score) return openai_refuse(p, "forkcast", "score: false leaves nothing to do here");
    r->given = docs;
    r->n_given = n;
    p->param = NULL;
    FC_TRY(settle_truncation(p, r));
    for (size_t i = 0; i < n; i++)
        p->show->docs[first + i] =
            (openai_scored){.text = docs[i].text, .size = docs[i].size, .request = request, .place = (int)i};
    return FC_OK;
}

static fc_status score_pairs(openai_parse *p, const fc_given *queries, size_t n_queries, const fc_given *docs,
                             size_t n_docs) {
    if (n_queries == 1) {
        FC_TRY(room(p, 1, n_docs));
        return score_group(p, 0, queries, docs, n_docs, 0);
    }
    if (n_queries != n_docs)
        return FC_FAIL(FC_ERR_ARG, "%zu queries and %zu documents: one query, or as many as documents", n_queries,
                       n_docs);
    FC_TRY(room(p, n_docs, n_docs));
    for (size_t i = 0; i < n_docs; i++) FC_TRY(score_group(p, i, &queries[i], &docs[i], 1, i));
    return FC_OK;
}

/* Two forms in one body say two things: only one could be answered. */
static fc_status refuse_others(openai_parse *p, const char *a, const char *b) {
    static const char *const sides[] = {"queries", "documents", "query",  "items",
                                        "data_1",  "data_2",    "text_1", "text_2"};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        if (strcmp(sides[i], a) != 0 && strcmp(sides[i], b) != 0 && openai_get(p, p->root, sides[i]))
            return openai_refuse(p, sides[i], "%s and %s are given, too", a, b);
    return FC_OK;
}

static fc_status read_pairs(openai_parse *p) {
    static const char *const forms[][2] = {
        {"queries", "documents"}, {"queries", "items"}, {"data_1", "data_2"}, {"text_1", "text_2"}};
    const fc_json *q = NULL, *d = NULL;
    fc_given *queries, *docs;
    size_t n_queries, n_docs, form = 0;
    for (; form < sizeof forms / sizeof *forms; form++) {
        q = openai_get(p, p->root, forms[form][0]);
        d = openai_get(p, p->root, forms[form][1]);
        if (q && d) break;
    }
    p->param = NULL;
    if (!q || !d)
        return FC_FAIL(FC_ERR_ARG, "queries and documents are expected (or data_1 and data_2, text_1 and text_2; or "
                                   "query, items and label_token_ids)");
    FC_TRY(refuse_others(p, forms[form][0], forms[form][1]));
    p->call->prompt_field = forms[form][0];
    p->call->given_field = forms[form][1];
    p->param = forms[form][0];
    FC_TRY(read_texts(p, q, &queries, &n_queries));
    p->param = forms[form][1];
    FC_TRY(read_texts(p, d, &docs, &n_docs));
    return score_pairs(p, queries, n_queries, docs, n_docs);
}

/* ---- labels ---- */

/* Text, or ids. */
static fc_status read_side(openai_parse *p, const fc_json *n, fc_given *out) {
    fc_role role = p->show->drawn ? FC_NOVELTY : FC_ALIGNMENT;
    if (fc_json_kind(n) != FC_JSON_ARRAY) return read_text(n, out);
    FC_TRY(openai_get_ids(p, n, role, &out->ids, &out->n_ids));
    return out->n_ids ? FC_OK : fc_json_fail(n, FC_ERR_ARG, "it is empty");
}

/* Texts that are exactly these tokens: the engine's labels are texts. */
static fc_status label_texts(openai_parse *p, const int32_t *ids, size_t n, const char ***out) {
    const fc_tokenizer *t = p->s->tok[FC_ALIGNMENT];
    FC_TRY(openai_alloc(p, 2 * n, sizeof **out, out)); /* twice: any rotation is a part of it */
    for (size_t i = 0; i < n; i++) {
        char *text, *copy;
        int32_t *back = NULL;
        size_t size, n_back = 0;
        bool same;
        fc_status st;
        FC_TRY(fc_tokenizer_decode(t, &ids[i], 1, true, &text, &size));
        st = openai_alloc(p, size + 1, 1, &copy);
        if (!st) memcpy(copy, text, size);
        same = !st && fc_tokenizer_encode(t, text, size, false, true, &back, &n_back) == FC_OK && n_back == 1 &&
               back[0] == ids[i];
        fc_memory_free(back);
        fc_memory_free(text);
        FC_TRY(st);
        if (!same) return openai_refuse(p, "label_token_ids", "id %d is no token that its own text gives", ids[i]);
        (*out)[i] = (*out)[i + n] = copy;
    }
    return FC_OK;
}

static fc_prompt prompt_of(openai_parse *p, const fc_given *g, const fc_piece **keep) {
    fc_piece *piece;
    if (g->ids) return (fc_prompt){.ids = g->ids, .n_ids = g->n_ids};
    if (openai_alloc(p, 1, sizeof *piece, &piece)) return (fc_prompt){0};
    *piece = (fc_piece){.text = g->text, .size = g->size};
    *keep = piece;
    return (fc_prompt){.pieces = piece, .n_pieces = 1};
}

/* Behind `front`, each of docs; label l leads in request first + l. */
static fc_status judge_group(openai_parse *p, size_t first, const fc_given *front, const fc_given *docs, size_t n_docs,
                             const char **labels) {
    const fc_piece *piece = NULL;
    size_t n = (size_t)p->show->n_labels;
    for (size_t l = 0; l < n; l++) {
        fc_request *r = &p->call->requests[first + l];
        *r = *p->base;
        r->score = true;
        r->mode = FC_SCORE_JUDGE;
        r->alignment_prompt = r->prompt = prompt_of(p, front, &piece);
        r->labels = labels + l;
        r->n_labels = n;
        r->given = docs;
        r->n_given = n_docs;
        FC_TRY(settle_truncation(p, r));
    }
    return FC_OK;
}

/* One token is drawn behind both, for the log-probs of the labels. */
static fc_status draw_label(openai_parse *p, size_t at, const fc_given *a, const fc_given *b, const int32_t *labels,
                            size_t n) {
    fc_request *r = &p->call->requests[at];
    const openai_model *m;
    if (!a->ids != !b->ids) return openai_refuse(p, "items", "texts and ids are not mixed");
    *r = *p->base;
    FC_TRY(openai_pick_model(p, &m));
    r->score = false;
    r->alignment_adapter = NULL;
    if (m->novelty_adapter) r->novelty_adapter = m->novelty_adapter;
    fc_sampling_init(&r->sampling);
    r->sampling.max_tokens = 1;
    r->sampling.logprob_ids = labels;
    r->sampling.n_logprob_ids = n;
    if (a->ids) {
        int32_t *ids;
        FC_TRY(openai_alloc(p, a->n_ids + b->n_ids, sizeof *ids, &ids));
        memcpy(ids, a->ids, a->n_ids * sizeof *ids);
        memcpy(ids + a->n_ids, b->ids, b->n_ids * sizeof *ids);
        r->prompt = (fc_prompt){.ids = ids, .n_ids = a->n_ids + b->n_ids};
    } else {
        fc_piece *pieces;
        FC_TRY(openai_alloc(p, 2, sizeof *pieces, &pieces));
        pieces[0] = (fc_piece){.text = a->text, .size = a->size};
        pieces[1] = (fc_piece){.text = b->text, .size = b->size};
        r->prompt = (fc_prompt){.pieces = pieces, .n_pieces = 2};
    }
    return FC_OK;
}

static fc_status drawn_labels(openai_parse *p, const fc_given *query, const fc_given *items, size_t n,
                              const int32_t *labels, bool item_first) {
    FC_TRY(room(p, n, n));
    for (size_t i = 0; i < n; i++) {
        FC_TRY(draw_label(p, i, item_first ? &items[i] : query, item_first ? query : &items[i], labels,
                          (size_t)p->show->n_labels));
        p->show->docs[i] = (openai_scored){.request = i};
    }
    return FC_OK;
}

static fc_status judged_labels(openai_parse *p, const fc_given *query, const fc_given *items, size_t n,
                               const int32_t *ids, bool item_first) {
    size_t n_labels = (size_t)p->show->n_labels, groups = item_first ? n : 1;
    const char **labels;
    FC_TRY(label_texts(p, ids, n_labels, &labels));
    FC_TRY(room(p, groups * n_labels, n));
    for (size_t g = 0; g < groups; g++)
        FC_TRY(judge_group(p, g * n_labels, item_first ? &items[g] : query, item_first ? query : items,
                           item_first ? 1 : n, labels));
    for (size_t i = 0; i < n; i++)
        p->show->docs[i] = (openai_scored){.request = item_first ? i * n_labels : 0, .place = item_first ? 0 : (int)i};
    return FC_OK;
}

/* Where the log-probs of the labels come from. */
static fc_status labels_form(openai_parse *p) {
    const fc_engine_info *info = &p->s->info;
    bool softmax = false;
    FC_TRY(openai_get_bool(p, "apply_softmax", &softmax));
    p->show->as = OPENAI_AS_LABELS;
    p->show->activation = softmax;
    p->show->drawn = !info->has_alignment || (info->shared_model && !softmax);
    return FC_OK;
}

static fc_status read_labels(openai_parse *p) {
    const fc_json *q = openai_get(p, p->root, "query"), *items = openai_get(p, p->root, "items"),
                  *labels = openai_get(p, p->root, "label_token_ids");
    bool item_first = false;
    fc_given *query, *list;
    const int32_t *ids;
    size_t n, at = 0;
    if (!q || !items || !labels)
        return openai_refuse(p, !q ? "query" : !items ? "items" : "label_token_ids", "it is missing");
    FC_TRY(openai_get_bool(p, "item_first", &item_first));
    p->call->prompt_field = item_first ? "items" : "query";
    p->call->given_field = item_first ? "query" : "items";
    if (!p->show->drawn && !p->show->activation)
        return openai_refuse(p, "apply_softmax",
                             "probabilities of the whole vocabulary need one model in both roles; "
                             "give true");
    p->param = "label_token_ids";
    FC_TRY(openai_get_ids(p, labels, p->show->drawn ? FC_NOVELTY : FC_ALIGNMENT, &ids, &n));
    if (n < (p->show->drawn ? 1 : 2) || n > FC_LABELS_MAX)
        return openai_refuse(p, "label_token_ids", "%zu ids; %d to %d are possible", n, p->show->drawn ? 1 : 2,
                             FC_LABELS_MAX);
    p->show->n_labels = (int)n;
    FC_TRY(openai_alloc(p, 1, sizeof *query, &query)); /* with item_first it is what is given: it stays */
    p->param = "query";
    FC_TRY(read_side(p, q, query));
    p->param = "items";
    if (fc_json_kind(items) != FC_JSON_ARRAY || !fc_json_count(items) || fc_json_count(items) > DOCS)
        return openai_refuse(p, "items", "a list of 1 to %d texts or lists of ids is expected", DOCS);
    FC_TRY(openai_alloc(p, fc_json_count(items), sizeof *list, &list));
    for (const fc_json *k = fc_json_first(items); k; k = fc_json_next(k)) FC_TRY(read_side(p, k, &list[at++]));
    return p->show->drawn ? drawn_labels(p, query, list, at, ids, item_first)
                          : judged_labels(p, query, list, at, ids, item_first);
}

fc_status openai_score_read(openai_parse *p) {
    if (openai_get(p, p->root, "label_token_ids") ||
        (openai_get(p, p->root, "query") && openai_get(p, p->root, "items"))) {
        FC_TRY(labels_form(p));
        FC_TRY(read_common(p, "score", p->show->drawn ? OPENAI_FORM_DRAWN : OPENAI_FORM_JUDGED));
        return read_labels(p);
    }
    FC_TRY(read_common(p, "score", OPENAI_FORM_PAIRS));
    FC_TRY(need_alignment(p));
    FC_TRY(openai_get_bool(p, "activation", &p->show->activation));
    FC_TRY(openai_get_bool(p, "use_activation", &p->show->activation));
    return read_pairs(p);
}

/* ---- rerank ---- */

/* The first k tokens of each document. */
static fc_status cut_docs(openai_parse *p, fc_given *docs, size_t n, int64_t k) {
    for (size_t i = 0; i < n; i++) {
        int32_t *ids, *copy;
        size_t n_ids;
        fc_status st = FC_OK;
        FC_TRY(fc_tokenizer_encode(p->s->tok[FC_ALIGNMENT], docs[i].text, docs[i].size, false, false, &ids, &n_ids));
        if (n_ids > (size_t)k) {
            st = openai_alloc(p, (size_t)k, sizeof *ids, &copy);
            if (!st) memcpy(copy, ids, (size_t)k * sizeof *ids);
            if (!st) docs[i] = (fc_given){.text = docs[i].text, .size = docs[i].size, .ids = copy, .n_ids = (size_t)k};
        }
        fc_memory_free(ids);
        FC_TRY(st);
    }
    return FC_OK;
}

/* TEI's truncate: what the context does not leave is cut off the documents, at their right, as their program does. */
static fc_status read_cut(openai_parse *p, bool *fit) {
    const char *direction = "right";
    FC_TRY(openai_get_bool(p, "truncate", fit));
    FC_TRY(openai_get_text(p, "truncation_direction", &direction));
    if (strcasecmp(direction, "right") != 0)
        return openai_refuse(p, "truncation_direction", "texts are cut at their right alone");
    return FC_OK;
}

static fc_status room_for_docs(openai_parse *p, const fc_given *query, int64_t *out) {
    const fc_tokenizer *t = p->s->tok[FC_ALIGNMENT];
    size_t front = 0, behind = 0;
    int32_t *ids = NULL;
    fc_request r;
    p->param = p->call->prompt_field;
    FC_TRY(openai_fill(p, query->text, &r));
    FC_TRY(
        openai_prompt_ids(t, r.alignment_prompt.n_pieces ? &r.alignment_prompt : &r.prompt, !r.no_bos, &ids, &front));
    fc_memory_free(ids);
    if (r.truncate_prompt_tokens > 0 && front > (size_t)r.truncate_prompt_tokens)
        front = (size_t)r.truncate_prompt_tokens;
    if (r.suffix.n_pieces) FC_TRY(openai_prompt_ids(t, &r.suffix, false, &ids, &behind));
    if (r.suffix.n_pieces) fc_memory_free(ids);
    *out = (int64_t)p->s->info.alignment.ctx - (int64_t)front - (int64_t)behind;
    if (*out < 1) *out = 1; /* the engine says with its own numbers that the query does not fit */
    return FC_OK;
}

/* Texts that the answer shows stand in the body, which does not live as long. */
static fc_status keep_texts(openai_parse *p) {
    openai_show *w = p->show;
    char *copy;
    for (size_t i = 0; w->with_text && i < w->n_docs; i++) {
        FC_TRY(openai_keep(p, w->docs[i].size + 1, 1, &copy));
        memcpy(copy, w->docs[i].text, w->docs[i].size);
        w->docs[i].text = copy;
    }
    return FC_OK;
}

fc_status openai_rerank_read(openai_parse *p) {
    const fc_json *q, *d, *texts;
    openai_show *w = p->show;
    fc_given *docs, query = {0};
    size_t n;
    int64_t top = 0, cut = 0, room = INT64_MAX;
    bool raw = false, fit = false, tei;
    texts = openai_get(p, p->root, "texts");
    d = openai_get(p, p->root, "documents");
    tei = texts && !d;
    if (texts && d) return openai_refuse(p, "texts", "documents are given, too; one of them is possible");
    FC_TRY(read_common(p, "rerank", tei ? OPENAI_FORM_TEI : OPENAI_FORM_RERANK));
    FC_TRY(need_alignment(p));
    q = openai_get(p, p->root, "query");
    if (!q) return openai_refuse(p, "query", "it is missing");
    FC_TRY(read_text(q, &query));
    p->call->prompt_field = "query";
    p->param = p->call->given_field = tei ? "texts" : "documents";
    if (!d && !texts) return openai_refuse(p, "documents", "it is missing");
    if (fc_json_kind(tei ? texts : d) != FC_JSON_ARRAY) return openai_refuse(p, p->param, "a list is expected");
    FC_TRY(read_texts(p, tei ? texts : d, &docs, &n));
    w->as = tei ? OPENAI_AS_TEI : p->call->route == OPENAI_RERANK_V2 ? OPENAI_AS_COHERE : OPENAI_AS_RERANK;
    w->with_text = w->as == OPENAI_AS_RERANK;
    FC_TRY(openai_get_int(p, "top_n", 0, INT32_MAX, &top));
    FC_TRY(openai_get_int(p, "max_tokens_per_doc", 1, INT32_MAX, &cut));
    FC_TRY(openai_get_bool(p, tei ? "return_text" : "return_documents", &w->with_text));
    FC_TRY(openai_get_bool(p, "raw_scores", &raw));
    if (tei) w->activation = !raw;
    else FC_TRY(openai_get_bool(p, "use_activation", &w->activation));
    w->top = top > 0 && (size_t)top < n ? (int)top : (int)n;
    if (tei) FC_TRY(read_cut(p, &fit));
    if (fit) FC_TRY(room_for_docs(p, &query, &room));
    if (!cut || room < cut) cut = room;
    if (cut < INT64_MAX) FC_TRY(cut_docs(p, docs, n, cut));
    FC_TRY(score_pairs(p, &query, 1, docs, n));
    return keep_texts(p);
}
