/* prompt - requests out of a body's prompts. */
#include "engine/app/openai/call.h"

#include <stdio.h>
#include <string.h>

/* ---- pieces ---- */

static fc_status copy_text(openai_parse *p, const char *text, size_t size, bool keep, const char **out) {
    char *copy;
    FC_TRY(keep ? openai_keep(p, size + 1, 1, &copy) : openai_alloc(p, size + 1, 1, &copy));
    if (size) memcpy(copy, text, size);
    *out = copy;
    return FC_OK;
}

/* A recipe's pieces live until its next request. special: stays as it is, or what a request brings is data. */
static fc_status copy_prompt(openai_parse *p, const fc_prompt *from, bool special, fc_prompt *to) {
    fc_piece *pieces;
    FC_TRY(openai_alloc(p, from->n_pieces, sizeof *pieces, &pieces));
    for (size_t i = 0; i < from->n_pieces; i++) {
        pieces[i] = from->pieces[i];
        pieces[i].special = special && pieces[i].special;
        FC_TRY(copy_text(p, from->pieces[i].text, from->pieces[i].size, false, &pieces[i].text));
    }
    *to = (fc_prompt){.pieces = pieces, .n_pieces = from->n_pieces};
    return FC_OK;
}

static fc_status copy_labels(openai_parse *p, fc_request *r) {
    const char **labels;
    FC_TRY(openai_alloc(p, r->n_labels, sizeof *labels, &labels));
    for (size_t i = 0; i < r->n_labels; i++)
        FC_TRY(copy_text(p, r->labels[i], strlen(r->labels[i]), false, &labels[i]));
    r->labels = r->n_labels ? labels : NULL;
    return FC_OK;
}

/* The recipe's own copy of what is asked is ours while it fills its templates: they hang on the mode. */
static fc_status fill_from(openai_parse *p, fc_recipe *recipe, const fc_holes *holes, fc_request *out) {
    fc_recipe_info *info = fc_recipe_edit(recipe);
    fc_request saved = info->request;
    const char *model = info->alignment_model;
    fc_status st;
    info->request = *p->base;
    if (p->no_score) info->alignment_model = "none";
    st = fc_recipe_request(recipe, holes, out);
    info->request = saved;
    info->alignment_model = model;
    if (!st && p->no_score) out->blend = 0; /* what only scores are blended with goes with them */
    return st;
}

static size_t size_of(const fc_prompt *q) {
    size_t size = 0;
    for (size_t i = 0; i < q->n_pieces; i++) size += q->pieces[i].size;
    return size;
}

/* Templates multiply what a body says; all that it makes of them is within some contexts. */
static fc_status weigh_filled(openai_parse *p, const fc_request *r) {
    p->filled += size_of(&r->prompt) + size_of(&r->alignment_prompt) + size_of(&r->suffix);
    if (p->filled <= OPENAI_FILLED) return FC_OK;
    return FC_FAIL(FC_ERR_ARG, "the templates: filled, those of one body have more than %d bytes", OPENAI_FILLED);
}

static fc_status fill_own(openai_parse *p, const char *said, fc_request *r) {
    const fc_holes holes = {.prompt = said, .retrieved = ""};
    fc_request q;
    if (!p->held->own || !r->score) return FC_OK;
    p->param = "forkcast";
    FC_TRY(fill_from(p, p->held->own, &holes, &q));
    FC_TRY(weigh_filled(p, &q));
    if (p->own_template) FC_TRY(copy_prompt(p, &q.alignment_prompt, false, &r->alignment_prompt));
    if (p->own_suffix) FC_TRY(copy_prompt(p, &q.suffix, false, &r->suffix));
    if (!p->own_labels) return FC_OK;
    r->labels = q.labels;
    r->n_labels = q.n_labels;
    return copy_labels(p, r);
}

/* What the server's recipe says of a request; where its file lies is nobody's business. */
static fc_status blame(openai_parse *p, fc_status st) {
    const char *said = fc_last_error(), *name = p->s->has_recipe ? strstr(said, ": ") : NULL;
    char why[512];
    snprintf(why, sizeof why, "%s%s", name ? "recipe" : "", name ? name : said);
    if (strstr(why, "history") || strstr(why, "{keywords")) p->param = "forkcast"; /* its member */
    return FC_FAIL(st, "%s", why);
}

fc_status openai_fill(openai_parse *p, const char *said, fc_request *out) {
    const fc_holes holes = {.prompt = said,
                            .retrieved = p->retrieved ? p->retrieved : "",
                            .history = p->history,
                            .n_history = p->n_history};
    const char *param = p->param;
    fc_request r;
    fc_status st = fill_from(p, p->s->recipe, &holes, &r);
    if (st) return blame(p, st);
    FC_TRY(weigh_filled(p, &r));
    FC_TRY(copy_prompt(p, &r.prompt, true, &r.prompt));
    FC_TRY(copy_prompt(p, &r.alignment_prompt, true, &r.alignment_prompt));
    FC_TRY(copy_prompt(p, &r.suffix, true, &r.suffix));
    FC_TRY(copy_labels(p, &r));
    FC_TRY(fill_own(p, said, &r));
    p->param = param;
    r.names = p->choices; /* the recipe's are registered: p->taxonomy */
    r.n_names = p->n_choices;
    r.taxonomy = p->n_choices ? NULL : p->taxonomy;
    *out = r;
    return FC_OK;
}

/* ---- one prompt ---- */

/* What stands in the answer's record, and in front of an echo. */
static fc_status show_prompt(openai_parse *p, const fc_request *r, openai_prompt *w) {
    const fc_tokenizer *t = p->s->tok[FC_NOVELTY];
    const fc_prompt *q = &r->prompt;
    size_t size = 0;
    char *text;
    fc_status st = FC_OK;
    if (q->ids) {
        FC_TRY(fc_tokenizer_decode(t, q->ids, q->n_ids, !p->show->echo, &text, &w->size)); /* an echo has no <s> */
        st = copy_text(p, text, w->size, true, &w->text);
        fc_memory_free(text);
        return st;
    }
    for (size_t i = 0; i < q->n_pieces; i++) size += q->pieces[i].size;
    FC_TRY(openai_keep(p, size + 1, 1, &text));
    for (size_t i = 0, at = 0; i < q->n_pieces; at += q->pieces[i++].size)
        memcpy(text + at, q->pieces[i].text, q->pieces[i].size);
    w->text = text;
    w->size = size;
    return FC_OK;
}

static fc_status count_prompt(openai_parse *p, const fc_request *r, openai_prompt *w) {
    int32_t *ids;
    int k = r->truncate_prompt_tokens;
    if (k == -1) k = p->s->info.novelty.ctx - r->sampling.max_tokens;
    FC_TRY(openai_prompt_ids(p->s->tok[FC_NOVELTY], &r->prompt, !r->no_bos, &ids, &w->tokens));
    fc_memory_free(ids);
    if (k > 0 && w->tokens > (size_t)k) w->tokens = (size_t)k;
    return FC_OK;
}

static fc_status finish_request(openai_parse *p, fc_request *r, openai_prompt *w) {
    FC_TRY(show_prompt(p, r, w));
    return p->show->continuous ? count_prompt(p, r, w) : FC_OK;
}

/* Ids are fed as they are; text for the alignment model's template, or its other tokenizer, is made of them. */
static fc_status ids_request(openai_parse *p, const int32_t *ids, size_t n, fc_request *r) {
    const fc_tokenizer *t = p->s->tok[FC_NOVELTY];
    char *text;
    size_t size;
    fc_status st;
    FC_TRY(fc_tokenizer_decode(t, ids, n, false, &text, &size));
    st = openai_fill(p, size ? text : " ", r);
    if (!st && r->alignment_prompt.n_pieces && memchr(text, 0, size))
        st = openai_refuse(p, "prompt", "its ids spell a NUL byte, which the alignment template cannot take");
    if (!st && r->score && !r->alignment_prompt.n_pieces && !p->s->info.same_tokenizer) {
        const fc_piece piece = {.text = text, .size = size};
        st = copy_prompt(p, &(fc_prompt){.pieces = &piece, .n_pieces = 1}, false, &r->alignment_prompt);
    }
    fc_memory_free(text);
    r->prompt = (fc_prompt){.ids = ids, .n_ids = n};
    return st;
}

static fc_status one_prompt(openai_parse *p, const fc_json *n, size_t at) {
    fc_request *r = &p->call->requests[at];
    const int32_t *ids;
    const char *text;
    size_t n_ids;
    if (fc_json_kind(n) == FC_JSON_ARRAY) {
        FC_TRY(openai_get_ids(p, n, FC_NOVELTY, &ids, &n_ids));
        if (!n_ids) return openai_refuse(p, "prompt", "it is empty");
        FC_TRY(ids_request(p, ids, n_ids, r));
    } else {
        FC_TRY(fc_json_string(n, &text));
        if (!text[0] && !p->n_history) return openai_refuse(p, "prompt", "it is empty");
        FC_TRY(openai_fill(p, text[0] ? text : NULL, r));
    }
    return finish_request(p, r, &p->show->prompts[at]);
}

/* ---- all ---- */

static fc_status room(openai_parse *p, size_t n) {
    if (n > (size_t)p->s->max_prompts)
        return openai_refuse(p, "prompt", "%zu prompts; at most %d in one request (--max-prompts)", n,
                             p->s->max_prompts);
    FC_TRY(openai_keep(p, n, sizeof *p->call->requests, &p->call->requests));
    FC_TRY(openai_keep(p, n, sizeof *p->show->prompts, &p->show->prompts));
    p->call->n_requests = n;
    return FC_OK;
}

static fc_status chat_request(openai_parse *p) {
    const fc_json *list = openai_get(p, p->root, "messages");
    const openai_server *s = p->s;
    fc_prompt prompt, align = {0};
    const char *said;
    fc_request *r;
    if (!list) return openai_refuse(p, "messages", "it is missing");
    FC_TRY(room(p, 1));
    FC_TRY(openai_messages_read(p, list, FC_NOVELTY, &prompt, &said));
    r = &p->call->requests[0];
    FC_TRY(openai_fill(p, said[0] ? said : " ", r)); /* the last user's words, for the alignment template */
    r->prompt = prompt;
    /* another model's own template, where it has one */
    if (r->score && !r->alignment_prompt.n_pieces && s->tok[FC_ALIGNMENT] && !s->info.same_tokenizer &&
        openai_messages_read(p, list, FC_ALIGNMENT, &align, &said) == FC_OK)
        r->alignment_prompt = align;
    p->param = "messages";
    return finish_request(p, r, &p->show->prompts[0]);
}

fc_status openai_prompts_read(openai_parse *p) {
    const fc_json *n, *first;
    size_t at = 0;
    if (p->chat) return chat_request(p);
    n = openai_get(p, p->root, "prompt");
    if (!n && p->n_history) { /* the recipe's templates have holes for history alone */
        FC_TRY(room(p, 1));
        FC_TRY(openai_fill(p, NULL, &p->call->requests[0]));
        return finish_request(p, &p->call->requests[0], &p->show->prompts[0]);
    }
    if (!n) return openai_refuse(p, "prompt", "it is missing");
    first = fc_json_kind(n) == FC_JSON_ARRAY ? fc_json_first(n) : NULL;
    if (!first && fc_json_kind(n) == FC_JSON_ARRAY) return openai_refuse(p, "prompt", "it is empty");
    if (!first || fc_json_kind(first) == FC_JSON_NUMBER) { /* a text, or the ids of one prompt */
        FC_TRY(room(p, 1));
        return one_prompt(p, n, 0);
    }
    FC_TRY(room(p, fc_json_count(n)));
    for (const fc_json *k = first; k; k = fc_json_next(k), at++) {
        if (fc_json_kind(k) != fc_json_kind(first))
            return fc_json_fail(k, FC_ERR_ARG, "texts and lists of ids are not mixed");
        FC_TRY(one_prompt(p, k, at));
    }
    return FC_OK;
}
